//! `kvet image`: the guest's userland.

use std::fmt::Write;

use indicatif::{HumanBytes, HumanDuration};

use crate::arch::Arch;
use crate::cmd::args::ImageCommand;
use crate::cmd::kernel::{age, pruned};
use crate::cmd::{Setup, plain_progress, print};
use crate::error::{Result, exit};
use crate::kernel::ListedTree;
use crate::userland::{self, Userland, UserlandSpec};

/// Builds, lists, shows or prunes.
pub fn run(command: ImageCommand) -> Result<u8> {
    let setup = Setup::new()?;
    match command {
        ImageCommand::Build { archs, refresh } => build(setup, &archs, refresh),
        ImageCommand::List => print(&list(&setup.resources.cache.trees()?)),
        ImageCommand::Info { arch } => {
            let userland = ensure(&setup, arch.map_or_else(Arch::host, Ok)?)?;
            print(&info(&userland, &UserlandSpec::load(&setup.home)?))
        }
        ImageCommand::Prune(args) => print(&pruned(&setup.resources.cache.prune_trees(args.what())?)),
    }
}

fn ensure(setup: &Setup, arch: Arch) -> Result<Userland> {
    let resources = &setup.resources;
    resources.cancel.on_signals()?;
    let (cache, sources, cancel) = (&resources.cache, &resources.sources, &resources.cancel);
    userland::ensure(&setup.home, arch, cache, sources, &mut plain_progress(), cancel)
}

fn build(mut setup: Setup, archs: &[Arch], refresh: bool) -> Result<u8> {
    let archs = if archs.is_empty() { vec![Arch::host()?] } else { archs.to_vec() };
    setup.resources.sources = setup.resources.sources.refresh(refresh);
    for arch in archs {
        let facts = ensure(&setup, arch)?.facts;
        let (packages, size) = (facts.packages.len(), HumanBytes(facts.size_bytes));
        print(&format!("{}: {packages} packages, {size}\n", facts.id))?;
    }
    Ok(exit::PASSED)
}

fn list(trees: &[ListedTree]) -> String {
    let mut text = String::new();
    for tree in trees {
        let _ = writeln!(
            text,
            "{:<30} {:<7} {:>3} packages {:>10}  used {} ago{}",
            tree.info.id,
            tree.info.arch,
            tree.info.packages.len(),
            HumanBytes(tree.info.size_bytes).to_string(),
            HumanDuration(age(tree.last_used_unix)),
            if tree.in_use { ", in use" } else { "" },
        );
    }
    text
}

fn info(userland: &Userland, spec: &UserlandSpec) -> String {
    let facts = &userland.facts;
    let mut text = format!(
        "name      {}\narch      {}\nroot      {}\nsize      {}\n",
        facts.id,
        facts.arch,
        userland.root.display(),
        HumanBytes(facts.size_bytes),
    );
    for package in &facts.packages {
        let (name, version, suite) = (&package.facts.name, &package.facts.version, &package.facts.suite);
        let _ = writeln!(text, "package   {name} {version} ({suite})");
        let why = match &package.needed_by {
            Some(by) => format!("needed by {by}"),
            None => spec.packages.iter().find(|p| p.name == *name).map_or(String::new(), |p| p.why.clone()),
        };
        let _ = writeln!(text, "          {why}\n          sha256 {}", package.facts.sha256);
    }
    for left_out in &spec.left_out {
        let _ = writeln!(text, "left out  {}\n          {}", left_out.name, left_out.why);
    }
    for skipped in &spec.skipped {
        let _ = writeln!(text, "skipped   {}\n          {}", skipped.path, skipped.why);
    }
    text
}
