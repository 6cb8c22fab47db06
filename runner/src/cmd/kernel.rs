//! `kvet kernel`.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::{HumanBytes, HumanDuration};

use crate::arch::Arch;
use crate::cmd::args::{KernelCommand, KernelFiles};
use crate::cmd::{Setup, plain_progress, print};
use crate::error::{Result, exit};
use crate::kernel::{self, Kernel, KernelSpec, Listed, Prune, Pruned};

/// Fetches, lists, shows or prunes.
pub fn run(command: KernelCommand) -> Result<u8> {
    let setup = Setup::new()?;
    match command {
        KernelCommand::Fetch { kernels, archs, refresh } => fetch(setup, &kernels, &archs, refresh),
        KernelCommand::List => print(&list(&setup.resources.cache.list()?)),
        KernelCommand::Info { kernel, arch, files } => {
            let arch = arch.map_or_else(Arch::host, Ok)?;
            print(&info(&acquire(&setup, &spec(&kernel, files)?, arch)?))
        }
        KernelCommand::Prune { all, unused_for, keep } => {
            print(&pruned(&setup.resources.cache.prune(what_to_prune(all, unused_for, keep))?))
        }
    }
}

fn spec(text: &str, files: KernelFiles) -> Result<KernelSpec> {
    text.parse::<KernelSpec>()?.with_files(files.modules, files.config)
}

fn acquire(setup: &Setup, spec: &KernelSpec, arch: Arch) -> Result<Kernel> {
    let resources = &setup.resources;
    resources.cancel.on_signals()?;
    let mut progress = plain_progress();
    kernel::acquire(spec, arch, &resources.cache, &resources.sources, &mut progress, &resources.cancel)
}

fn fetch(mut setup: Setup, kernels: &[String], archs: &[Arch], refresh: bool) -> Result<u8> {
    let specs = kernels.iter().map(|text| text.parse()).collect::<Result<Vec<KernelSpec>>>()?;
    let archs = if archs.is_empty() { vec![Arch::host()?] } else { archs.to_vec() };
    setup.resources.sources = setup.resources.sources.refresh(refresh);
    for spec in &specs {
        for &arch in &archs {
            let kernel = acquire(&setup, spec, arch)?;
            let facts = &kernel.facts;
            print(&format!("{spec} {arch}: {} ({})\n", facts.release, facts.origin))?;
        }
    }
    Ok(exit::PASSED)
}

fn list(entries: &[Listed]) -> String {
    let mut text = String::new();
    for entry in entries {
        let used = age(entry.last_used_unix);
        let _ = writeln!(
            text,
            "{:<10} {:<7} {:<28} {:>10}  used {} ago{}",
            entry.info.version.to_string(),
            entry.info.arch,
            entry.info.release,
            HumanBytes(entry.info.size_bytes).to_string(),
            HumanDuration(used),
            if entry.in_use { ", in use" } else { "" },
        );
    }
    text
}

fn info(kernel: &Kernel) -> String {
    let facts = &kernel.facts;
    let mut text = format!(
        "spec      {}\nrelease   {}\nversion   {}\narch      {}\norigin    {}\nimage     {}\nsha256    {}\n",
        facts.spec,
        facts.release,
        kernel.version,
        kernel.arch,
        facts.origin,
        kernel.image.display(),
        facts.image_sha256,
    );
    let modules = kernel.modules.as_ref().map_or("none".to_owned(), |dir| dir.display().to_string());
    let _ = writeln!(text, "modules   {modules}");
    for package in &facts.packages {
        let _ = writeln!(text, "package   {} {} ({})", package.name, package.version, package.suite);
        let _ = writeln!(text, "          sha256 {}", package.sha256);
    }
    match &kernel.config {
        Some(config) => {
            let _ = writeln!(text, "config    {} options", config.len());
            for (symbol, value) in &facts.config {
                let _ = writeln!(text, "          {symbol}={value}");
            }
        }
        None => text.push_str("config    unknown\n"),
    }
    text
}

/// What the flags of `prune` mean.
pub(super) fn what_to_prune(all: bool, unused_for: Option<u32>, keep: Option<usize>) -> Prune {
    match (all, unused_for, keep) {
        (true, _, _) => Prune::All,
        (_, Some(days), _) => Prune::UnusedFor(Duration::from_secs(u64::from(days) * 86_400)),
        (_, _, keep) => Prune::KeepNewest(keep.unwrap_or_default()),
    }
}

/// How long ago something was.
pub(super) fn age(unix: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(unix))
}

/// What was pruned, for people.
pub(super) fn pruned(pruned: &Pruned) -> String {
    let mut text = String::new();
    for name in &pruned.removed {
        let _ = writeln!(text, "removed {name}");
    }
    for name in &pruned.in_use {
        let _ = writeln!(text, "in use, kept {name}");
    }
    let _ = writeln!(text, "{} freed", HumanBytes(pruned.freed_bytes));
    text
}
