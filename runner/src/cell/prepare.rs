//! From a kernel to everything a guest of it needs: preflight, initramfs, hardware, job.

mod settle;
mod told;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvet_wire::{Job, JobRoot, Share, StandIn, modindex, paths};
use sha2::{Digest, Sha256};

use crate::cell::carry;
use crate::cell::command::Command;
use crate::cell::root::GuestRoot;
use crate::cell::tools::{self, Tools};
use crate::error::{Error, IoContext, Result};
use crate::event::Accel;
use crate::initramfs::index::ensure_index;
use crate::initramfs::modules::{ModuleTree, Place};
use crate::initramfs::preflight::{self, ConfigNeed, NeededBy, Needs, Problem};
use crate::initramfs::{Content, Contents, ExtraFile, Initramfs, ensure};
use crate::kernel::{Cache, Kernel, ensure_uncompressed, page_kib};
use crate::plan::{CellPlan, ShareMode};
use crate::spec::arch::ArchFacts;
use crate::spec::suite::{Need, Root};
use crate::vm::machine::{HostShare, Machine, Owners};

/// A guest that only has to be started.
#[derive(Debug)]
pub struct Prepared {
    /// Its initramfs.
    pub initramfs: Initramfs,
    /// Folders it may mount.
    pub shares: Vec<HostShare>,
    /// What could not be checked, and what the kernel lacks that the suite can live without.
    pub notes: Vec<String>,
    /// What the suite's program is told about the kernel: environment variables.
    pub told: Vec<(String, String)>,
}

pub use settle::settle_share;

/// What a guest has besides the suite's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Equipment<'a> {
    /// A shell.
    pub tools: Option<&'a Tools>,
    /// A root for the job.
    pub root: Option<&'a GuestRoot>,
    /// Where all runs have their folders: of a suite that travels in the initramfs it stays behind.
    pub all_results: Option<&'a Path>,
}

/// Makes everything ready. `results` is the folder that the guest may write to. How files are shared is settled before.
///
/// # Errors
/// The kernel's: it lacks what kvet or the suite cannot do without. The host's: files cannot be read or written.
pub fn prepare(
    plan: &CellPlan,
    kernel: &Kernel,
    cache: &Cache,
    results: &Path,
    equipment: Equipment<'_>,
) -> Result<Prepared> {
    let tree = open_tree(kernel)?;
    let notes = check(plan, kernel, &tree)?;
    let share_9p = plan.share == ShareMode::NineP;
    let identity = identity(kernel, &tree)?;
    let (mut shares, mut files) = (Vec::new(), Vec::new());
    if share_9p {
        shares.push(share(paths::TESTS_TAG, &plan.suite.share, true));
        shares.push(share(paths::RESULTS_TAG, results, false));
        if let Some(program) = &plan.suite.stand_in {
            files.push(carry::program(paths::PROGRAM.into(), program.clone()));
        }
        shares.extend(equipment.tools.map(Tools::share).transpose()?);
        shares.extend(equipment.root.map(GuestRoot::share));
    } else {
        files = carry::folder(&plan.suite.share, equipment.all_results)?;
        if let Some(program) = &plan.suite.stand_in {
            let guest = program_in_guest(plan);
            files.retain(|file| file.guest != guest);
            files.push(carry::program(guest, program.clone()));
        }
        files.extend(equipment.tools.map(Tools::carried).transpose()?);
    }
    if let (Some(root), true) = (tree.root(), share_9p) {
        shares.push(share(paths::MODULES_TAG, root, true));
        if root.starts_with(cache.root()) {
            ensure_index(&tree, cache, &root.join(modindex::FILE_NAME))?;
        } else {
            // Not ours: nothing is written into it, and the index travels in the initramfs.
            let index = ensure_index(&tree, cache, &foreign_index(cache, &identity))?;
            files.push(ExtraFile {
                guest: paths::TREE_INDEX.into(),
                content: Content::Of(index.path),
                mode: 0o644,
            });
        }
    }
    files.extend(config_file(kernel));
    let boot: Vec<&str> = preflight::transport_modules(share_9p).collect();
    let wanted = job_modules(plan);
    let mut wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    for name in &plan.suite.spec.may_load {
        if let Some(Place::File(_)) = tree.find(name)? {
            wanted.push(name);
        }
    }
    let initramfs = ensure(
        cache,
        &Contents {
            init: &plan.init,
            tree: &tree,
            release: Some(&kernel.facts.release),
            identity: &identity,
            boot: &boot,
            jobs: &wanted,
            files: &files,
        },
    )?;
    let told =
        told::about(&plan.suite.spec.tell, kernel, &tree, share_9p, &[&boot[..], &wanted[..]].concat())?;
    Ok(Prepared { initramfs, shares, notes, told })
}

/// The kernel's config, where libbpf looks for the values of `extern … __kconfig`, and people do: not every kernel has
/// /proc/config.gz.
fn config_file(kernel: &Kernel) -> Option<ExtraFile> {
    let text = kernel.config.as_ref()?.text().to_owned();
    let guest = format!("{}{}", paths::CONFIG, kernel.facts.release);
    Some(ExtraFile { guest, content: Content::Text(text), mode: 0o644 })
}

/// The folder that all runs have theirs in, of the one that a guest may write to: `RESULTS/RUN/CELL/files`.
pub fn all_results(files: &Path) -> Option<&Path> {
    files.ancestors().nth(3)
}

fn open_tree(kernel: &Kernel) -> Result<ModuleTree> {
    let mut tree = match &kernel.modules {
        Some(dir) => ModuleTree::open(dir)?,
        None => ModuleTree::none(),
    };
    if let Some(config) = &kernel.config {
        let lookup = |name: &str| config.get(name).map(str::to_owned);
        tree.add_builtin(preflight::transport_builtin(&lookup));
    }
    Ok(tree)
}

/// Compares the kernel with what is needed. Gives what is worth a note.
fn check(plan: &CellPlan, kernel: &Kernel, tree: &ModuleTree) -> Result<Vec<String>> {
    let console = |symbol: &String| ConfigNeed {
        symbol: symbol.clone(),
        any_of: vec!["y".into()],
        module: None,
        why: "to see the kernel's messages on the serial console".into(),
    };
    let overlay = (plan.root != Root::None).then(|| ConfigNeed {
        symbol: "CONFIG_OVERLAY_FS".into(),
        any_of: vec!["y".into(), "m".into()],
        module: Some(OVERLAY.into()),
        why: "to put memory over a root that the guest may not write to (--root)".into(),
    });
    let wanted = |(symbol, need): (&String, &Need)| ConfigNeed {
        symbol: symbol.clone(),
        any_of: match need {
            Need::BuiltIn => vec!["y".into()],
            Need::Module => vec!["y".into(), "m".into()],
        },
        module: None,
        why: format!("to run suite {}", plan.suite.spec.name),
    };
    let needs = Needs {
        share_9p: plan.share == ShareMode::NineP,
        modules_lost: settle::modules_are_lost(kernel),
        machine: plan.facts.console.kconfig.iter().map(console).chain(overlay).collect(),
        suite: plan.suite.spec.kconfig.iter().map(wanted).collect(),
        suite_modules: plan.suite.spec.modules.clone(),
    };
    let name = plan.kernel.to_string();
    let lookup = |symbol: &str| kernel.config.as_ref()?.get(symbol).map(str::to_owned);
    let config: Option<preflight::Config> = if kernel.config.is_some() { Some(&lookup) } else { None };
    let findings = preflight::check(&name, &needs, config, tree)?;
    findings.usable(&name).map_err(|e| match plan.root {
        _ if !findings.of(NeededBy::Kvet).all(Problem::is_9p) => e,
        Root::None => e.hint("--share auto carries a suite to kernels without 9p"),
        _ => e.hint("a root of its own comes over 9p; --root none runs a suite without both"),
    })?;
    let (musts, modules): (Vec<_>, Vec<_>) =
        findings.of(NeededBy::Suite).partition(|problem| problem.what.starts_with("CONFIG_"));
    if !musts.is_empty() {
        let reasons: Vec<&str> = musts.iter().map(|problem| problem.text.as_str()).collect();
        return Err(Error::kernel(reasons.join("; ")));
    }
    // A module that is not there fails or skips the tests that need it, and no others.
    let modules = modules.into_iter().map(|problem| problem.text.clone());
    Ok(findings.notes.iter().cloned().chain(modules).collect())
}

/// Something that differs when a kernel's image or modules do. A kernel in the cache never changes; of a folder of the
/// user's every module's size and time count, because any of them may be replaced.
fn identity(kernel: &Kernel, tree: &ModuleTree) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(kernel.facts.image_sha256.as_bytes());
    // The same image may come with its modules, with others, or with none.
    hash.update(tree.root().unwrap_or(Path::new("no modules")).as_os_str().as_encoded_bytes());
    if let (Some(root), false) = (tree.root(), kernel.is_cached()) {
        for path in tree.files()?.values() {
            let file = root.join(path);
            let metadata = fs::metadata(&file).host(format!("read {}", file.display()))?;
            let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            hash.update(path.as_bytes());
            hash.update(metadata.len().to_le_bytes());
            hash.update(modified.unwrap_or_default().as_nanos().to_le_bytes());
        }
    }
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// How long what a program left behind may go on printing.
const DRAIN: Duration = Duration::from_secs(10);
/// The module of overlayfs.
const OVERLAY: &str = "overlay";

/// What a job has init load first.
fn job_modules(plan: &CellPlan) -> Vec<String> {
    let overlay = (plan.root != Root::None).then(|| OVERLAY.to_owned());
    plan.suite.spec.modules.iter().cloned().chain(overlay).collect()
}

fn foreign_index(cache: &Cache, identity: &str) -> PathBuf {
    cache.root().join("initramfs").join(format!("{identity}.modules"))
}

fn share(tag: &str, dir: &Path, readonly: bool) -> HostShare {
    let owners = if readonly { Owners::Real } else { Owners::WrittenDown };
    HostShare { tag: tag.into(), dir: dir.to_owned(), readonly, owners }
}

/// What QEMU boots. An emulated guest gets the kernel without its decompressor where that is possible.
///
/// # Errors
/// The host's: the kernel cannot be taken out of its image.
fn boot_image(kernel: &Kernel, cache: &Cache, accel: Accel) -> Result<PathBuf> {
    let uncompressed = match accel {
        Accel::Tcg => ensure_uncompressed(kernel, cache)?,
        Accel::Kvm => None,
    };
    Ok(uncompressed.unwrap_or_else(|| kernel.image.clone()))
}

/// The guest's hardware.
///
/// # Errors
/// The host's: the kernel cannot be read, or not be taken out of its image. The kernel's: no CPU is known to suit it.
pub fn machine(
    plan: &CellPlan,
    kernel: &Kernel,
    prepared: &Prepared,
    cache: &Cache,
    accel: Accel,
    qemu: &Path,
) -> Result<Machine> {
    Ok(Machine {
        qemu: qemu.to_owned(),
        machine: plan.facts.machine.get(accel).to_owned(),
        cpu: plan.facts.cpu_for(accel, page_kib(kernel)?)?.to_owned(),
        accel,
        cpus: plan.cpus,
        memory_mib: plan.memory_mib,
        kernel: boot_image(kernel, cache, accel)?,
        initrd: prepared.initramfs.path.clone(),
        cmdline: cmdline(&plan.facts),
        shares: prepared.shares.clone(),
    })
}

/// Kernel arguments (Documentation/admin-guide/kernel-parameters.txt).
fn cmdline(facts: &ArchFacts) -> Vec<String> {
    let mut arguments = vec![
        format!("console={}", facts.console.device),
        // A panic resets at once, and a reset ends QEMU: nothing hangs on a panic.
        "panic=-1".to_owned(),
        // After an oops no result can be trusted: stop there, with the test that provoked it still running.
        "oops=panic".to_owned(),
        // Whatever a test or a config does to the console's log level: a warning that is not printed is not seen.
        "ignore_loglevel".to_owned(),
        // Tests and init write marks to /dev/kmsg; none may be dropped.
        "printk.devkmsg=on".to_owned(),
    ];
    arguments.extend(facts.cmdline.iter().cloned());
    arguments
}

/// The job that runs the suite, with its command line and what it is told.
///
/// # Errors
/// The host's: it has no randomness.
pub fn job(plan: &CellPlan, told: &[(String, String)], command: Command) -> Result<Job> {
    let Command { argv, tty, .. } = command;
    let mut job = Job {
        id: 0,
        shares: match plan.share {
            ShareMode::NineP => vec![
                Share { tag: paths::TESTS_TAG.into(), path: paths::TESTS.into(), readonly: true },
                Share { tag: paths::RESULTS_TAG.into(), path: paths::RESULTS.into(), readonly: false },
            ],
            ShareMode::Auto | ShareMode::Initramfs => Vec::new(),
        },
        stand_in: stand_in(plan),
        modules: job_modules(plan),
        argv,
        env: [environment(plan.suite.spec.env.iter()), told.to_vec()].concat(),
        cwd: paths::TESTS.into(),
        // A backstop: the host counts from the start of the boot, and is first unless it is stuck.
        deadline_ms: plan.limits.cell.as_millis() as u64,
        drain_ms: (plan.limits.test / 2).min(DRAIN).as_millis() as u64,
        unix_time_ns: unix_time_ns(),
        seed: seed()?,
        tty,
        stdin: false,
        root: (plan.root != Root::None).then(|| JobRoot { tag: paths::ROOT_TAG.into() }),
    };
    if plan.suite.script {
        let argv = std::mem::take(&mut job.argv);
        tools::equip(&mut job, plan.share, ["sh".to_owned()].into_iter().chain(argv));
    }
    Ok(job)
}

/// Where the guest has the program.
fn program_in_guest(plan: &CellPlan) -> String {
    format!("{}/{}", paths::TESTS, plan.suite.program.display())
}

/// What takes the place of a link that the guest cannot follow. In an initramfs it is in its place already.
fn stand_in(plan: &CellPlan) -> Option<StandIn> {
    let wanted = plan.suite.stand_in.is_some() && plan.share == ShareMode::NineP;
    wanted.then(|| StandIn { from: paths::PROGRAM.into(), to: program_in_guest(plan) })
}

/// The environment of every job, and the suite's own.
pub fn environment<'a>(own: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<(String, String)> {
    let base = [
        ("PATH", "/kvet/tests:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LANG", "C.UTF-8"),
        ("KVET_TESTS", paths::TESTS),
        ("KVET_RESULTS", paths::RESULTS),
    ];
    let base = base.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    base.chain(own.map(|(name, value)| (name.clone(), value.clone()))).collect()
}

/// Now, for the guest's clock.
pub fn unix_time_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// Randomness for the guest's pool, in hexadecimal.
///
/// # Errors
/// The host's: it has none.
pub fn seed() -> Result<String> {
    let mut bytes = [0u8; 32];
    fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes)).host("read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
