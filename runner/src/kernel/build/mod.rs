//! Kernels that are built here: from a source and a recipe to a kernel in the cache.
//!
//! make's output folder is kept in the cache for each source folder, architecture, config and toolchain, so that a second build
//! compiles only what changed. What comes out is copied into an entry of its own, named by its signature: a guest runs it while the
//! next one is being built.

mod checks;
mod configure;
mod elf;
mod expr;
mod failure;
mod folder;
mod found;
mod fragment;
mod make;
mod merge;
mod outdated;
mod pahole;
mod proof;
mod publish;
mod recipe;
mod settled;
mod symbols;
#[cfg(test)]
mod tests;
mod toolchain;
mod unfinished;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Fault, IoContext, Result};
use crate::event;
use crate::spec::arch::{ArchFacts, BuildFacts, BuiltImage};
use crate::spec::home::Home;
use kvet_host::disk;

use super::cache::{Cache, Kind};
use super::kconfig::KernelConfig;
use super::source::{self, Purpose, SourceSpec, SourceTree};
use super::suites::Sources;
use super::tree::Tree;
use super::{Kernel, KernelSpec, Progress, timed};
use kvet_host::hash::Sha256Hex;
use kvet_host::lock::{Lock, Mode};

use folder::Folder;
use make::{Count, Make};
use merge::Merged;
use toolchain::Found;

pub(super) use checks::check_available;
pub use checks::check_tools;
pub(crate) use failure::{Trouble, trouble};
pub use found::find_built;
pub(super) use recipe::check_fragment;
pub use recipe::{Base, Recipe};
pub use toolchain::Toolchain;

/// Make's target for what the config has as modules.
const MODULES: &str = "modules";

/// What building needs to know of this machine and of kvet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workshop {
    /// Where the shipped fragments and the facts about architectures are.
    pub home: Home,
    /// How many compilers run at once.
    pub jobs: usize,
}

/// What is to be built, and where everything for it comes from.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    /// The kernel as it was asked for.
    pub spec: &'a KernelSpec,
    /// The spec, taken apart.
    pub source: &'a SourceSpec,
    pub recipe: &'a Recipe,
    pub arch: Arch,
    pub cache: &'a Cache,
    pub sources: &'a Sources,
    pub cancel: &'a Cancel,
}

/// Everything that one build works with.
struct Work<'a> {
    order: Order<'a>,
    tree: SourceTree,
    facts: BuildFacts,
    merged: Merged,
    tools: Found,
    /// Not to be pruned meanwhile.
    _pahole: Option<Tree>,
    jobs: usize,
}

/// What make left.
struct Made {
    out: PathBuf,
    image: PathBuf,
    modules: bool,
    objects: u64,
    seconds: f64,
}

impl Made {
    fn vmlinux(&self) -> PathBuf {
        self.out.join("vmlinux")
    }

    fn config(&self) -> Result<String> {
        let path = self.out.join(".config");
        fs::read_to_string(&path).host(format_args!("read the config {}", path.display()))
    }
}

impl<'a> Order<'a> {
    /// Builds what changed, if anything did, and gives the kernel.
    pub fn acquire(self, progress: &mut dyn FnMut(Progress)) -> Result<Kernel> {
        let built = self.begin(progress)?.acquire(progress);
        built.map_err(|e| e.concerning(format_args!("kernel {}", self.spec)))
    }

    /// Makes and proves the config, builds nothing, and says what a build would be.
    pub fn dry_run(self, progress: &mut dyn FnMut(Progress)) -> Result<String> {
        let told = self.begin(progress)?.dry_run();
        told.map_err(|e| e.concerning(format_args!("kernel {}", self.spec)))
    }

    /// Everything that is needed before a build folder is touched.
    fn begin(self, progress: &mut dyn FnMut(Progress)) -> Result<Work<'a>> {
        let Self { recipe, arch, cache, sources, cancel, .. } = self;
        let workshop = sources.workshop()?;
        let facts = ArchFacts::load(&workshop.home, arch)?.build;
        recipe.check(&workshop.home)?;
        // Before anything is fetched for it.
        checks::check_callers_tree(self.source, &facts, &workshop.home)?;
        let mut tools = toolchain::find(recipe.toolchain, arch, &facts, cancel)?;
        let host = ArchFacts::load(&workshop.home, Arch::host()?)?.build;
        let _pahole = pahole::ensure(&mut tools, &host, cache, sources, progress, cancel)?;
        let tree = source::ensure(self.source, Purpose::Kernel, cache, sources, progress, cancel)?;
        checks::check_tree(&tree.path, &facts, &workshop.home)?;
        let merged = merge::merge(recipe.fragments(&workshop.home, arch, &tree.path)?, tree.version)?;
        Ok(Work { order: self, tree, facts, merged, tools, _pahole, jobs: workshop.jobs })
    }
}

impl Work<'_> {
    fn acquire(&self, progress: &mut dyn FnMut(Progress)) -> Result<Kernel> {
        let key = self.tree.settled.then(|| self.key());
        let built = |progress: &mut dyn FnMut(Progress)| match &key {
            Some(key) => self.built(key, progress),
            None => Ok(None),
        };
        if let Some(kernel) = built(progress)? {
            return Ok(kernel);
        }
        let Order { cache, cancel, .. } = self.order;
        checks::usable_path(&self.tree.path)?;
        checks::usable_path(cache.root())?;
        let id = self.folder();
        let path = cache.lock_path(&id);
        let lock = Lock::take(&path, Mode::Exclusive, "finish the same build", progress, cancel)?;
        lock.touch();
        // Another kvet may just have built it.
        if let Some(kernel) = built(progress)? {
            return Ok(kernel);
        }
        let mut folder = Folder::open(self, &id, progress)?;
        let made = self.make(&mut folder, progress);
        if made.as_ref().is_err_and(|error| error.fault() == Fault::Kernel) {
            // make came to its end, and left nothing that is half made.
            folder.set_complete()?;
        }
        let made = made?;
        let publish = |progress: &mut dyn FnMut(Progress)| self.publish(&folder.path, key, &made, progress);
        let kernel = timed(event::Work::Publish, progress, publish)?;
        folder.set_complete()?;
        Ok(kernel)
    }

    /// What decides about every byte of the kernel.
    fn key(&self) -> String {
        self.name_with(&self.tree.identity, &[])
    }

    /// The name of the folder in which it is built: the same for every state of one source folder.
    fn folder(&self) -> String {
        let hash = self.name_with(&self.tree.path.display().to_string(), &self.tools.arguments);
        format!("build-{}-{}", self.order.arch, &hash[..12])
    }

    fn name_with(&self, source: &str, more: &[String]) -> String {
        let (arch, base) = (self.order.arch.name(), self.order.recipe.base.target());
        let (config, tools) = (self.merged.text(), self.tools.decisive());
        let parts = [source, arch, base, &config, &tools, &more.join(" ")];
        Sha256Hex::of(parts.join("\0").as_bytes()).to_string()
    }

    fn dry_run(&self) -> Result<String> {
        let scratch = self.order.cache.scratch()?;
        let out = scratch.path().join("out");
        fs::create_dir(&out).map_err(|e| disk::explain(e, &out, "make"))?;
        let (config, _) = self.configure(&self.kbuild(&out), scratch.path())?;
        let plan = self.facts.plan(|option| config.is_builtin(option))?;
        let out = self.order.cache.entry_dir(Kind::Builds, &self.folder()).join("out");
        Ok(format!(
            "{} {}: {} options asked for, all of them granted; {} set in all\n  {}\n  {}\n",
            self.tree.version,
            self.order.arch,
            self.merged.requests.len(),
            config.len(),
            self.tools.version(),
            shown(&self.kbuild(&out).command(&targets(plan, &config))),
        ))
    }

    /// kbuild for this source, into a folder with a log beside it.
    fn kbuild<'b>(&'b self, out: &'b Path) -> Make<'b> {
        let mut arguments = vec![format!("ARCH={}", self.order.arch)];
        arguments.extend(self.tools.arguments.iter().cloned());
        Make {
            program: &self.tools.make,
            tree: &self.tree.path,
            out,
            arguments,
            jobs: self.jobs,
            log: folder::log_beside(out),
            cancel: self.order.cancel,
        }
    }

    /// Configures and builds. Gives what there is to publish.
    fn make(&self, folder: &mut Folder<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Made> {
        let started = Instant::now();
        let out = folder.out();
        let make = self.kbuild(&out);
        begin_log(&make)?;
        progress(Progress::BuildLog(make.log.clone()));
        let configure = |_: &mut dyn FnMut(Progress)| self.configure(&make, &folder.path);
        let (config, proved) = timed(event::Work::Configure, progress, configure)?;
        let plan = self.facts.plan(|option| config.is_builtin(option))?;
        let mut count = Count::new(format!("building {} {}", self.tree.version, self.order.arch));
        let targets = targets(plan, &config);
        self.expect(&make, folder, &targets, &mut count, progress)?;
        let compile = |progress: &mut dyn FnMut(Progress)| {
            make.run(&mut make.command(&targets), &mut |line| count.line(line, progress))
        };
        let compiled = timed(event::Work::Make, progress, compile);
        if let Some(proved) = proved {
            proved.settle(&folder.path)?;
        }
        compiled?;
        folder.set_compiled()?;
        let (seconds, objects) = (started.elapsed().as_secs_f64(), count.done);
        count.over(progress);
        let modules = targets.contains(&MODULES);
        Ok(Made { image: out.join(&plan.image), modules, out, objects, seconds })
    }

    /// Counts what there is to compile.
    fn expect(
        &self,
        make: &Make<'_>,
        folder: &Folder<'_>,
        targets: &[&str],
        count: &mut Count,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let total = if folder.is_compiled() {
            outdated::count(make.out, self.order.cancel)?
        } else {
            make.run(&mut make.command(&["prepare"]), &mut |line| count.preparing(line, progress))?;
            make.dry_run(targets, &mut |n| count.tell(&format!("counting: {n}"), progress))?
        };
        count.expect(total);
        Ok(())
    }
}

/// What make is to make.
fn targets<'a>(plan: &'a BuiltImage, config: &KernelConfig) -> Vec<&'a str> {
    let modules = config.is_builtin("CONFIG_MODULES").then_some(MODULES);
    std::iter::once(plan.target.as_str()).chain(modules).collect()
}

/// An empty log that says what is run.
fn begin_log(make: &Make<'_>) -> Result<()> {
    let text = format!("$ {}\n", shown(&make.command(&["…"])));
    fs::write(&make.log, text).map_err(|e| disk::explain(e, &make.log, "write"))
}

/// A command line, for people.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    crate::quote::command(&words)
}
