//! `kvet kernel`.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{HumanBytes, HumanDuration};

use crate::arch::Arch;
use crate::cell::Resources;
use crate::cmd::args::{BuildFlags, KernelCommand, KernelFiles};
use crate::cmd::{Setup, complain, exit_code, plain_progress, print};
use crate::error::{Fault, Result, exit};
use crate::event::BuiltFacts;
use crate::kernel::source::SourceSpec;
use crate::kernel::{self, Cache, Kernel, KernelSpec, Pruned, Recipe, Removed, RemovedFiles};
use crate::report::term::ColorChoice;

/// Fetches, lists, shows or prunes.
pub fn run(command: KernelCommand, color: ColorChoice) -> Result<u8> {
    let setup = Setup::new()?;
    match command {
        KernelCommand::Fetch { kernels, archs, refresh } => fetch(setup, &kernels, &archs, refresh),
        KernelCommand::Build { kernels, archs, config, build, dry_run } => {
            let setup = setup.with_jobs(build.jobs);
            let specs = built_specs(&kernels, &config, &build)?;
            let archs = if archs.is_empty() { vec![Arch::host()?] } else { archs };
            let run = if dry_run { dry_build } else { self::build };
            run(&setup, &specs, &archs, color)
        }
        KernelCommand::List => print(&list(&setup.resources.cache)?),
        KernelCommand::Info { kernel, arch, files } => print(&info(&find(&setup, &kernel, arch, files)?)),
        KernelCommand::Prune(args) => print(&pruned(&setup.resources.cache.prune(args.what())?)),
    }
}

/// The kernel that `info` is asked about. One that has to be built first is not built for that.
fn find(setup: &Setup, text: &str, arch: Option<Arch>, files: KernelFiles) -> Result<Kernel> {
    match text.parse::<KernelSpec>() {
        Ok(KernelSpec::Source { .. }) => kernel::find_built(text, arch, &setup.resources.cache),
        Err(wrong) => kernel::find_built(text, arch, &setup.resources.cache).map_err(|_| wrong),
        Ok(spec) => {
            let arch = arch.map_or_else(Arch::host, Ok)?;
            let spec = spec.with_files(files.modules, files.config)?;
            let Resources { cache, sources, cancel, .. } = &setup.resources;
            match &spec {
                KernelSpec::Debian { suite, version } => {
                    kernel::find_cached(&spec, suite.as_deref(), *version, arch, cache, sources, cancel)
                }
                _ => acquire(setup, &spec, arch),
            }
        }
    }
}

/// What is no source is refused before anything is built.
fn built_specs(sources: &[String], config: &[PathBuf], how: &BuildFlags) -> Result<Vec<KernelSpec>> {
    let source = |text: &String| {
        let source: SourceSpec = text.parse()?;
        let recipe = Recipe { base: how.base, fragments: config.to_vec(), toolchain: how.toolchain };
        Ok(KernelSpec::Source { source, recipe })
    };
    sources.iter().map(source).collect()
}

/// Proves configs.
fn dry_build(setup: &Setup, specs: &[KernelSpec], archs: &[Arch], color: ColorChoice) -> Result<u8> {
    let resources = &setup.resources;
    resources.cancel.on_signals()?;
    let (cache, sources, cancel) = (&resources.cache, &resources.sources, &resources.cancel);
    each(specs, archs, color, &mut |spec, arch| {
        print(&kernel::dry_build(spec, arch, cache, sources, &mut plain_progress(), cancel)?).map(drop)
    })
}

/// Builds, and says what came of it.
fn build(setup: &Setup, specs: &[KernelSpec], archs: &[Arch], color: ColorChoice) -> Result<u8> {
    each(specs, archs, color, &mut |spec, arch| {
        let started = Instant::now();
        let kernel = acquire(setup, spec, arch)?;
        let facts = &kernel.facts;
        let signature = facts.built.as_ref().map_or("", |b| b.signature.get(..12).unwrap_or_default());
        print(&format!(
            "{spec} {arch}: {} in {:.1}s, signature {signature}\n  {}\n  {}\n",
            facts.release,
            started.elapsed().as_secs_f64(),
            facts.origin,
            kernel.image.display(),
        ))
        .map(drop)
    })
}

/// Does something to every kernel. Of several, one that fails holds up no other: its error is told at once, and the worst decides
/// about the exit code.
///
/// # Errors
/// Of a single kernel what `work` says. Interrupted: at once.
fn each(
    specs: &[KernelSpec],
    archs: &[Arch],
    color: ColorChoice,
    work: &mut dyn FnMut(&KernelSpec, Arch) -> Result<()>,
) -> Result<u8> {
    let all: Vec<_> = specs.iter().flat_map(|spec| archs.iter().map(move |&arch| (spec, arch))).collect();
    let mut faults = Vec::new();
    for &(spec, arch) in &all {
        match work(spec, arch) {
            Ok(()) => {}
            Err(error) if error.fault() == Fault::Interrupted || all.len() == 1 => return Err(error),
            Err(error) => {
                complain(&error, color);
                faults.push(error.fault());
            }
        }
    }
    if !faults.is_empty() {
        tell!("{} of {} kernels failed", faults.len(), all.len());
    }
    let worst = [Fault::Caller, Fault::Host, Fault::Kernel].into_iter().find(|fault| faults.contains(fault));
    Ok(worst.map_or(exit::PASSED, exit_code))
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

fn list(cache: &Cache) -> Result<String> {
    let mut text = String::new();
    for entry in cache.list()? {
        let used = age(entry.last_used_unix);
        let _ = writeln!(
            text,
            "{:<10} {:<7} {:<28} {:>10}  used {} ago{}{}",
            entry.info.version.to_string(),
            entry.info.arch,
            entry.info.release,
            HumanBytes(entry.info.size_bytes).to_string(),
            HumanDuration(used),
            if entry.in_use { ", in use" } else { "" },
            built_of(&entry.built_of),
        );
    }
    for work in cache.list_work()? {
        let in_use = if work.in_use { ", in use" } else { "" };
        let size = HumanBytes(work.size_bytes).to_string();
        let _ = writeln!(text, "{:<18} {:<28} {size:>10}  {}{in_use}", work.kind, work.id, work.what);
    }
    Ok(text)
}

fn built_of(sources: &[String]) -> String {
    match sources {
        [] => String::new(),
        [one] => format!(", built of {one}"),
        [newest, others @ ..] => format!(", built of {newest} and {} more", others.len()),
    }
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
    if let Some(built) = &facts.built {
        text.push_str(&info_built(built));
    }
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

fn info_built(built: &BuiltFacts) -> String {
    let mut text = format!(
        "source    {}\ndescribe  {}{}\nidentity  {}\ntoolchain {}\n",
        built.source,
        built.describe.as_deref().unwrap_or("unknown"),
        if built.dirty { " (changes that are not committed)" } else { "" },
        built.identity,
        built.toolchain,
    );
    let fragments = if built.fragments.is_empty() { "none".to_owned() } else { built.fragments.join(", ") };
    let _ = writeln!(text, "fragments {fragments}, besides kvet's own");
    let _ = writeln!(text, "signature {}", built.signature);
    let kinds: Vec<String> = built.btf.kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let _ = writeln!(text, "btf       {} ({})", HumanBytes(built.btf.bytes), kinds.join(", "));
    let marked = if built.btf.kfuncs_marked { "marked" } else { "not marked (that needs pahole 1.26)" };
    let _ = writeln!(text, "          kernel functions for BPF are {marked}");
    let _ = writeln!(
        text,
        "built     {} objects in {:.1}s; vmlinux with debug information {}",
        built.objects,
        built.seconds,
        HumanBytes(built.vmlinux_bytes)
    );
    let _ = writeln!(text, "folder    {}", built.folder.display());
    text
}

/// How long ago something was.
pub(super) fn age(unix: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(unix))
}

/// What was pruned, for people.
pub(super) fn pruned(pruned: &Pruned) -> String {
    let mut text = String::new();
    for Removed { kind, id, size_bytes } in &pruned.removed {
        let _ = writeln!(text, "removed {kind:<8} {id}  {}", HumanBytes(*size_bytes));
    }
    for RemovedFiles { kind: (one, several), count, size_bytes } in &pruned.files {
        let word = if *count == 1 { one } else { several };
        let _ = writeln!(text, "removed {count} {word}  {}", HumanBytes(*size_bytes));
    }
    for name in &pruned.in_use {
        let _ = writeln!(text, "in use, kept {name}");
    }
    let _ = writeln!(text, "{} freed", HumanBytes(pruned.freed_bytes()));
    text
}
