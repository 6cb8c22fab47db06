//! Kernels that are built here: from a source and a recipe to a kernel in the cache.
//!
//! make's output folder is kept in the cache for each source folder, architecture, config and toolchain, so that a second build
//! compiles only what changed. What comes out is copied into an entry of its own, named by its signature: a guest runs it while the
//! next one is being built.

mod elf;
mod expr;
mod failure;
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
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::{Error, Fault, IoContext, Result};
use crate::event;
use crate::spec::arch::{ArchFacts, BuildFacts, BuiltImage};
use crate::spec::home::Home;

use super::cache::{Cache, ENTRY_FILE, EntryInfo, FORMAT, Kind, unix};
use super::hash::Sha256Hex;
use super::kconfig::KernelConfig;
use super::lock::{Lock, Mode};
use super::source::{self, SourceSpec, SourceTree};
use super::suites::Sources;
use super::tree::Tree;
use super::{Kernel, KernelSpec, Progress, space, timed};

use make::{Count, Make};
use merge::Merged;
use toolchain::Found;

pub(crate) use failure::{Trouble, trouble};
pub use recipe::{Base, Recipe};
pub use toolchain::Toolchain;

/// What a full build leaves in its folder.
const BUILD_BYTES: u64 = 3 << 30;

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

/// What is known of a build folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    format: u32,
    source: String,
    arch: Arch,
    /// Whether the last build came to its end.
    complete: bool,
    /// What was built last.
    identity: String,
    /// How many objects all of it has, and how long they took when they were all made; 0 where unknown.
    objects: u64,
    seconds: f64,
    created_unix: u64,
}

/// Everything that one build works with.
struct Work<'a> {
    spec: &'a KernelSpec,
    source: &'a SourceSpec,
    recipe: &'a Recipe,
    arch: Arch,
    tree: SourceTree,
    facts: BuildFacts,
    merged: Merged,
    tools: Found,
    /// Not to be pruned meanwhile.
    _pahole: Option<Tree>,
    cache: &'a Cache,
    jobs: usize,
    cancel: &'a Cancel,
}

/// Builds what changed, if anything did, and gives the kernel.
#[expect(clippy::too_many_arguments, reason = "the same as `acquire`, with the spec taken apart")]
pub(super) fn acquire(
    spec: &KernelSpec,
    source: &SourceSpec,
    recipe: &Recipe,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<Kernel> {
    let work = begin(spec, source, recipe, arch, cache, sources, progress, cancel)?;
    work.acquire(progress).map_err(|e| e.concerning(format_args!("kernel {spec}")))
}

/// Makes and proves the config, builds nothing, and says what a build would be.
#[expect(clippy::too_many_arguments, reason = "the same as `acquire`, with the spec taken apart")]
pub(super) fn dry_run(
    spec: &KernelSpec,
    source: &SourceSpec,
    recipe: &Recipe,
    arch: Arch,
    cache: &Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<String> {
    let work = begin(spec, source, recipe, arch, cache, sources, progress, cancel)?;
    work.dry_run().map_err(|e| e.concerning(format_args!("kernel {spec}")))
}

/// Everything that is needed before a build folder is touched.
#[expect(clippy::too_many_arguments, reason = "the same as `acquire`, with the spec taken apart")]
fn begin<'a>(
    spec: &'a KernelSpec,
    source: &'a SourceSpec,
    recipe: &'a Recipe,
    arch: Arch,
    cache: &'a Cache,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress),
    cancel: &'a Cancel,
) -> Result<Work<'a>> {
    let workshop = sources.workshop()?;
    let facts = ArchFacts::load(&workshop.home, arch)?.build;
    recipe.check(&workshop.home)?;
    let mut tools = toolchain::find(recipe.toolchain, arch, &facts, cancel)?;
    let host = ArchFacts::load(&workshop.home, Arch::host()?)?.build;
    let _pahole = pahole::ensure(&mut tools, &host, cache, sources, progress, cancel)?;
    let tree = source::ensure(source, cache, sources, progress, cancel)?;
    check_tree(&tree.path, &facts, &workshop.home)?;
    let merged = merge::merge(recipe.fragments(&workshop.home, arch, &tree.path)?, tree.version)?;
    let jobs = workshop.jobs;
    Ok(Work { spec, source, recipe, arch, tree, facts, merged, tools, _pahole, cache, jobs, cancel })
}

/// Whether a build could begin, as far as that shows without a source being fetched.
pub(super) fn check_available(
    source: &SourceSpec,
    recipe: &Recipe,
    arch: Arch,
    sources: &Sources,
    cancel: &Cancel,
) -> Result<()> {
    let workshop = sources.workshop()?;
    recipe.check(&workshop.home)?;
    let facts = ArchFacts::load(&workshop.home, arch)?.build;
    if let SourceSpec::Tree(path) = source {
        let path = path.canonicalize().given(format_args!("open the source tree {}", path.display()))?;
        source::version_of_tree(&path)?;
        check_tree(&path, &facts, &workshop.home)?;
    }
    toolchain::find(recipe.toolchain, arch, &facts, cancel).map(drop)
}

/// Looks for what a build needs, and gives the versions of what is there.
///
/// # Errors
/// The host's: programs are missing; all of them are named, with the packages.
pub fn check_tools(toolchain: Toolchain, arch: Arch, home: &Home, cancel: &Cancel) -> Result<String> {
    let found = toolchain::find(toolchain, arch, &ArchFacts::load(home, arch)?.build, cancel)?;
    let newer = if pahole::is_new_enough(&found.pahole) { "" } else { " (a newer one is fetched)" };
    let ccache = if found.ccache { "with ccache" } else { "without ccache, which is not installed" };
    Ok(format!("{}{newer}, {ccache}", found.version()))
}

/// What was built last of a source, whatever became of the source since. `name` may also be the name of an entry, or the
/// beginning of a signature.
///
/// # Errors
/// The caller's: nothing was. The host's: the cache cannot be read.
pub fn find_built(name: &str, arch: Option<Arch>, cache: &Cache) -> Result<Kernel> {
    let source = name.parse::<SourceSpec>().ok().map(|s| s.to_string());
    // Two builds may end within one second: what tells them apart is when their entries were written.
    let written = |dir: &Path| fs::metadata(dir.join(ENTRY_FILE)).and_then(|m| m.modified()).ok();
    let mut found: Vec<_> =
        cache.list()?.into_iter().map(|listed| (written(&listed.dir), listed.info)).collect();
    found.retain(|(_, e)| {
        let of_source = |b: &crate::event::BuiltFacts| source.as_ref() == Some(&b.source);
        let signed = |b: &crate::event::BuiltFacts| name.len() >= 8 && b.signature.starts_with(name);
        e.built.as_ref().is_some_and(|b| of_source(b) || signed(b) || e.id == name)
            && arch.is_none_or(|a| a == e.arch)
    });
    found.sort_by_key(|(written, e)| (*written, e.created_unix));
    let nothing = || {
        let arch = arch.map_or(String::new(), |a| format!(" for {a}"));
        Error::caller(format!("nothing was built of {name}{arch} yet"))
            .hint(format!("kvet kernel build {name}"))
    };
    let (_, entry) = found.pop().ok_or_else(nothing)?;
    let lock = Lock::try_take(&cache.lock_path(&entry.id), Mode::Shared)?;
    let source = entry.built.as_ref().and_then(|b| b.source.parse().ok()).ok_or_else(nothing)?;
    let spec = KernelSpec::Source { source, recipe: Recipe::default() };
    match lock {
        Some(lock) => super::debian::open(cache, &spec, &entry.id, lock)?.ok_or_else(nothing),
        None => Err(Error::host(format!("{} is being replaced just now", entry.id))),
    }
}

/// What kbuild would refuse, said before it is started.
fn check_tree(path: &Path, facts: &BuildFacts, home: &Home) -> Result<()> {
    let has = |facts: &BuildFacts| path.join("arch").join(&facts.source_arch).is_dir();
    if has(facts) {
        return clean_of_products(path, facts);
    }
    let mut others = Vec::new();
    for arch in Arch::ALL {
        let facts = ArchFacts::load(home, arch)?.build;
        if has(&facts) {
            others.push(format!("arch/{}: -a {arch}", facts.source_arch));
        }
    }
    let hint = match &others[..] {
        // A sparse checkout, an archive of some folders.
        [] => format!("is all of it checked out? kvet builds {}", Arch::ALL.map(Arch::name).join(" and ")),
        others => format!("it has {}", others.join(", ")),
    };
    Err(Error::caller(format!("{} has no arch/{}", path.display(), facts.source_arch)).hint(hint))
}

fn clean_of_products(tree: &Path, facts: &BuildFacts) -> Result<()> {
    let products =
        [".config".into(), "include/config".into(), format!("arch/{}/include/generated", facts.source_arch)];
    if let Some(product) = products.iter().find(|p| tree.join(p).exists()) {
        return Err(Error::caller(format!(
            "{} was built in ({product} is there): kbuild cannot build it elsewhere then",
            tree.display()
        ))
        .hint(format!("make -C {} mrproper", tree.display())));
    }
    Ok(())
}

/// Kbuild splits paths at spaces and colons.
fn usable_path(path: &Path) -> Result<()> {
    match path.to_str() {
        Some(text) if !text.contains([' ', ':', '\t', '\n', '#', '%', '$', '\\']) => Ok(()),
        _ => Err(Error::caller(format!(
            "kbuild cannot handle the path {}: it has a special character",
            path.display()
        ))),
    }
}

impl Work<'_> {
    fn acquire(&self, progress: &mut dyn FnMut(Progress)) -> Result<Kernel> {
        let key = self.key();
        if self.tree.settled
            && let Some(kernel) = self.built(&key, progress)?
        {
            return Ok(kernel);
        }
        usable_path(&self.tree.path)?;
        usable_path(self.cache.root())?;
        let id = self.folder();
        let lock_path = self.cache.lock_path(&id);
        let lock = Lock::take(&lock_path, Mode::Exclusive, "finish the same build", progress, self.cancel)?;
        lock.touch();
        // Another kvet may just have built it.
        if self.tree.settled
            && let Some(kernel) = self.built(&key, progress)?
        {
            return Ok(kernel);
        }
        let mut record = self.open_folder(&id, progress)?;
        let dir = self.cache.entry_dir(Kind::Builds, &id);
        let made = self.make(&dir, &mut record, progress);
        if made.as_ref().is_err_and(|error| error.fault() == Fault::Kernel) {
            // make came to its end, and left nothing that is half made.
            record.complete = true;
            self.cache.replace_json(&dir.join(ENTRY_FILE), &record)?;
        }
        let made = made?;
        let publish =
            |progress: &mut dyn FnMut(Progress)| publish::publish(self, &dir, &key, &made, progress);
        let kernel = timed(event::Work::Publish, progress, publish)?;
        record.complete = true;
        self.tree.identity.clone_into(&mut record.identity);
        self.cache.replace_json(&dir.join(ENTRY_FILE), &record)?;
        Ok(kernel)
    }

    /// What decides about every byte of the kernel.
    fn key(&self) -> String {
        let parts = [
            self.tree.identity.as_str(),
            self.arch.name(),
            self.recipe.base.target(),
            &self.merged.text(),
            &self.tools.version(),
        ];
        Sha256Hex::of(parts.join("\0").as_bytes()).to_string()
    }

    /// The name of the folder in which it is built: the same for every state of one source folder.
    fn folder(&self) -> String {
        let tree = self.tree.path.display().to_string();
        let parts = [
            tree.as_str(),
            self.arch.name(),
            self.recipe.base.target(),
            &self.merged.text(),
            &self.tools.version(),
            &self.tools.arguments.join(" "),
        ];
        let hash = Sha256Hex::of(parts.join("\0").as_bytes());
        format!("build-{}-{}", self.arch, &hash.as_str()[..12])
    }

    /// A kernel that was built of exactly this.
    fn built(&self, key: &str, progress: &mut dyn FnMut(Progress)) -> Result<Option<Kernel>> {
        for id in self.cache.ids(Kind::Kernels)? {
            let entry = self.cache.read_entry::<EntryInfo>(Kind::Kernels, &id);
            if entry.is_some_and(|e| e.format == FORMAT && e.build_keys.iter().any(|k| k == key))
                && let Some(kernel) = self.open(&id, progress)?
            {
                return Ok(Some(kernel));
            }
        }
        Ok(None)
    }

    fn open(&self, id: &str, progress: &mut dyn FnMut(Progress)) -> Result<Option<Kernel>> {
        let what = format!("be done with {id}");
        let lock = Lock::take(&self.cache.lock_path(id), Mode::Shared, &what, progress, self.cancel)?;
        super::debian::open(self.cache, self.spec, id, lock)
    }

    /// Makes the folder or goes on in it. Its lock is held alone.
    fn open_folder(&self, id: &str, progress: &mut dyn FnMut(Progress)) -> Result<Record> {
        let dir = self.cache.entry_dir(Kind::Builds, id);
        let old = self.cache.read_entry::<Record>(Kind::Builds, id).filter(|r| r.format == FORMAT);
        let Some(mut record) = old else {
            space::require(self.cache.root(), BUILD_BYTES, &format!("building {}", self.tree.version))?;
            let record = Record {
                format: FORMAT,
                source: self.source.to_string(),
                arch: self.arch,
                complete: false,
                identity: String::new(),
                objects: 0,
                seconds: 0.0,
                created_unix: unix(SystemTime::now()),
            };
            let scratch = self.cache.scratch()?;
            let out = scratch.path().join("out");
            fs::create_dir(&out).map_err(|e| space::explain(e, &out, "make"))?;
            self.cache.commit(&scratch, Kind::Builds, id, &record)?;
            return Ok(record);
        };
        if !std::mem::take(&mut record.complete) {
            let removed = unfinished::remove(&dir.join("out"), &dir.join("build.log"), self.cancel)?;
            let left = match removed {
                0 => String::new(),
                1 => "; 1 unfinished file removed".to_string(),
                n => format!("; {n} unfinished files removed"),
            };
            progress(Progress::Note(format!("going on with a build that did not come to its end{left}")));
        }
        self.cache.replace_json(&dir.join(ENTRY_FILE), &record)?;
        Ok(record)
    }

    fn dry_run(&self) -> Result<String> {
        let scratch = self.cache.scratch()?;
        let out = scratch.path().join("out");
        fs::create_dir(&out).map_err(|e| space::explain(e, &out, "make"))?;
        let make = self.kbuild(&out);
        let config = self.configure(&make, scratch.path())?;
        let plan = self.facts.plan(|option| config.is_builtin(option))?;
        let out = self.cache.entry_dir(Kind::Builds, &self.folder()).join("out");
        let command = self.kbuild(&out).command(&targets(plan, &config));
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        Ok(format!(
            "{} {}: {} options asked for, all of them granted; {} set in all\n  {}\n  {}\n",
            self.tree.version,
            self.arch,
            self.merged.requests.len(),
            config.len(),
            self.tools.version(),
            crate::quote::command(&words),
        ))
    }

    /// kbuild for this source, into a folder with a log beside it.
    fn kbuild<'b>(&'b self, out: &'b Path) -> Make<'b> {
        let mut arguments = vec![format!("ARCH={}", self.arch)];
        arguments.extend(self.tools.arguments.iter().cloned());
        Make {
            program: &self.tools.make,
            tree: &self.tree.path,
            out,
            arguments,
            jobs: self.jobs,
            log: out.with_file_name("build.log"),
            cancel: self.cancel,
        }
    }

    /// Configures and builds. Gives what there is to publish.
    fn make(&self, dir: &Path, record: &mut Record, progress: &mut dyn FnMut(Progress)) -> Result<Made> {
        let started = Instant::now();
        let out = dir.join("out");
        let log = dir.join("build.log");
        let make = self.kbuild(&out);
        begin_log(&log, &make)?;
        progress(Progress::BuildLog(log));
        let config = timed(event::Work::Configure, progress, |_| self.configure(&make, dir))?;
        let plan = self.facts.plan(|option| config.is_builtin(option))?;
        let what = format!("building {} {}", self.tree.version, self.arch);
        let mut count = Count::new(what);
        let targets = targets(plan, &config);
        // Once everything was compiled here, what is outdated or gone is all that there is to do.
        let total = if record.objects == 0 {
            make.run(&mut make.command(&["prepare"]), &mut |line| count.preparing(line, progress))?;
            make.dry_run(&targets, &mut |n| count.tell(&format!("counting: {n}"), progress))?
        } else {
            outdated::count(&out, self.cancel)?
        };
        count.expect(total);
        let compile = |progress: &mut dyn FnMut(Progress)| {
            make.run(&mut make.command(&targets), &mut |line| count.line(line, progress))
        };
        timed(event::Work::Make, progress, compile)?;
        let (seconds, objects) = (started.elapsed().as_secs_f64(), count.done);
        count.over(progress);
        if objects > record.objects {
            (record.objects, record.seconds) = (objects, seconds);
        }
        let modules = targets.contains(&MODULES);
        Ok(Made { image: out.join(&plan.image), modules, out, objects, seconds })
    }

    /// Makes the config, proves it, and puts it where make looks, if it differs from what is there: then nothing is built
    /// again for it. One that was proved before and would come out the same is taken as it is.
    fn configure(&self, make: &Make<'_>, dir: &Path) -> Result<KernelConfig> {
        let asked_for = self.merged.text();
        if let Some(config) = settled::known(dir, &self.tree.path, &self.facts.source_arch, &asked_for) {
            return Ok(config);
        }
        settled::forget(dir);
        let begun = SystemTime::now();
        let asked = dir.join("asked.config");
        fs::write(&asked, &asked_for).map_err(|e| space::explain(e, &asked, "write"))?;
        let made = dir.join("made.config");
        let _ = fs::remove_file(&made);
        let run = |target: &str, all: bool| {
            let mut command = make.command(&[target]);
            command.env("KCONFIG_CONFIG", &made);
            if all {
                command.env("KCONFIG_ALLCONFIG", &asked);
            }
            make.run(&mut command, &mut |_| {})
        };
        match self.recipe.base {
            Base::Tiny => run(Base::Tiny.target(), true)?,
            Base::Defconfig => {
                run(Base::Defconfig.target(), false)?;
                let mut text = fs::read_to_string(&made).host(format_args!("read {}", made.display()))?;
                // Of two lines for one option the later one counts.
                text.push_str(&asked_for);
                fs::write(&made, text).map_err(|e| space::explain(e, &made, "write"))?;
            }
        }
        run("olddefconfig", false)?;
        let text = fs::read_to_string(&made).host(format_args!("read {}", made.display()))?;
        let config = KernelConfig::parse(&text);
        proof::prove(&self.merged, &config, &self.tree.path, &self.facts.source_arch, self.tree.version)?;
        let used = dir.join("out/.config");
        if fs::read_to_string(&used).ok().as_ref() != Some(&text) {
            fs::write(&used, &text).map_err(|e| space::explain(e, &used, "write"))?;
        }
        settled::remember(dir, &asked_for, &text, begun)?;
        Ok(config)
    }
}

/// What make is to make.
fn targets<'a>(plan: &'a BuiltImage, config: &KernelConfig) -> Vec<&'a str> {
    let modules = config.is_builtin("CONFIG_MODULES").then_some(MODULES);
    std::iter::once(plan.target.as_str()).chain(modules).collect()
}

/// What make left.
struct Made {
    out: PathBuf,
    image: PathBuf,
    modules: bool,
    objects: u64,
    seconds: f64,
}

/// An empty log that says what is run.
fn begin_log(log: &Path, make: &Make<'_>) -> Result<()> {
    let command = make.command(&["…"]);
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    fs::write(log, format!("$ {}\n", crate::quote::command(&words)))
        .map_err(|e| space::explain(e, log, "write"))
}
