//! A slice of the kernel's own selftests, really built: for a Debian kernel, from a source tree that somebody edits. The
//! kernel and the source come from the cache (`KVET_CACHE`) or are fetched.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use kvet::arch::Arch;
use kvet::cancel::Cancel;
use kvet::error::{Fault, Result};
use kvet::kernel::source::{self, SourceSpec};
use kvet::kernel::{self, Cache, Kernel, Progress, Sources};
use kvet::plan::config::KernelsConfig;
use kvet::spec::home::Home;
use kvet::upstream::manifest::Manifest;
use kvet::upstream::{self, BuiltSuite, Means, Request};

/// Of the two programs of this slice, the one that is edited.
const EDITED: &str = "tools/testing/selftests/bpf/progs/user_ringbuf_success.c";

/// The step of a build at which it is interrupted.
const INTERRUPTED_AT: u64 = 5;

struct World {
    dir: tempfile::TempDir,
    home: Home,
    cache: Cache,
    sources: Sources,
    cancel: Cancel,
    kernel: Kernel,
    manifest: Manifest,
    tree: PathBuf,
    /// Entries of the cache that are this test's alone.
    made: RefCell<BTreeSet<PathBuf>>,
}

impl Drop for World {
    /// The cache is everybody's: what was built of a tree that is gone would only take room.
    fn drop(&mut self) {
        for entry in self.made.borrow().iter() {
            let _ = fs::remove_dir_all(entry);
        }
    }
}

impl World {
    fn new() -> Self {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let home = Home::find(Some(top.into()), Path::new("/")).unwrap();
        let cache = Cache::open(Cache::locate(&|name| std::env::var_os(name)).unwrap()).unwrap();
        let sources = Sources::new(KernelsConfig::load(&home).unwrap().debian);
        let cancel = Cancel::new().unwrap();
        let (spec, arch) = ("debian:7.2".parse().unwrap(), Arch::host().unwrap());
        let kernel = kernel::acquire(&spec, arch, &cache, &sources, &mut |_| {}, &cancel).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("linux");
        let (manifest, made) = (Manifest::load(&home).unwrap(), RefCell::default());
        let world = Self { home, manifest, dir, cache, sources, cancel, kernel, tree, made };
        world.copy_source();
        // Of every run its own, whatever an earlier one left in the cache.
        let mark = format!("\n/* {} */\n", world.dir.path().display());
        world.edit(|text| text + &mark);
        world
    }

    /// A tree of the caller's: what there is of the archive's source, without what has nothing to do with selftests.
    fn copy_source(&self) {
        let log = self.log();
        let means = self.means(&log);
        let spec = upstream::source_of(&self.kernel, &means, &mut |_| {}).unwrap();
        let from = source::ensure(
            &spec,
            source::Purpose::Selftests,
            &self.cache,
            &self.sources,
            &mut |_| {},
            &self.cancel,
        )
        .unwrap();
        fs::create_dir(&self.tree).unwrap();
        let parts = [
            "Makefile",
            "Kconfig",
            "scripts",
            "tools",
            "kernel/bpf",
            "arch/arm64/include",
            "arch/x86/include",
        ];
        let mut copy = Command::new("cp");
        copy.current_dir(&from.path).args(["-r", "--parents"]).args(parts).arg(&self.tree);
        assert!(copy.status().unwrap().success());
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("build.log")
    }

    fn means<'a>(&'a self, log: &'a Path) -> Means<'a> {
        let Self { home, cache, sources, cancel, .. } = self;
        Means { home, cache, sources, cancel, log, wanted: &|_| Ok(()) }
    }

    fn build(&self) -> Result<BuiltSuite> {
        self.build_telling(&mut |_| {})
    }

    fn build_telling(&self, progress: &mut dyn FnMut(Progress)) -> Result<BuiltSuite> {
        let log = self.log();
        let _ = fs::remove_file(&log);
        let source = Some(SourceSpec::Tree(self.tree.clone()));
        let slices = self.manifest.choose(&["user_ringbuf".into()]).unwrap();
        let request = Request { manifest: self.manifest.clone(), slices, source };
        let built = upstream::ensure(&request, &self.kernel, &self.means(&log), progress);
        let shares = built.iter().filter_map(|built| built.share.parent()).map(Path::to_owned);
        self.made.borrow_mut().extend(shares.chain(self.workshop()));
        built
    }

    /// Where the last build was, by its log.
    fn workshop(&self) -> Option<PathBuf> {
        let slices = self.cache.root().join("slices");
        let log = fs::read_to_string(self.log()).ok()?;
        let (_, after) = log.split_once(&format!("-C {}/", slices.display()))?;
        Some(slices.join(after.split('/').next()?))
    }

    /// How many files of a kind were made in the last build.
    fn made(&self, kind: &str) -> usize {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.trim_start().starts_with(kind)).count()
    }

    fn edit(&self, change: impl FnOnce(String) -> String) {
        let path = self.tree.join(EDITED);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, change(text)).unwrap();
    }
}

/// Every file of a tree with its size and time.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let (mut found, mut open) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                found.insert(entry.path(), (metadata.len(), metadata.modified().unwrap()));
            }
        }
    }
    found
}

#[test]
fn a_slice_is_built_once_and_after_a_change_only_what_changed() {
    let mut world = World::new();
    let before = listing(&world.tree);

    // Interrupted in the middle, when some of it is made, and then again.
    let mut seen = 0;
    let interrupted = world.build_telling(&mut |told| {
        if let Progress::Steps { what, done, .. } = told
            && what.contains("selftests")
        {
            seen = done;
            if done == INTERRUPTED_AT {
                world.cancel.request();
            }
        }
    });
    assert_eq!(interrupted.unwrap_err().fault(), Fault::Interrupted);
    assert!((INTERRUPTED_AT..INTERRUPTED_AT + 20).contains(&seen), "{seen} steps");
    world.cancel = Cancel::new().unwrap();

    let built = world.build().unwrap();
    assert!(built.steps > 10, "{} steps", built.steps);
    assert_eq!(built.tests, ["user_ringbuf"]);
    for file in ["test_progs", "user_ringbuf_success.bpf.o", "user_ringbuf_fail.bpf.o"] {
        assert!(built.share.join(file).is_file(), "{file}");
    }
    assert_eq!(world.made("CLNG-BPF"), 2);
    assert!(listing(&world.tree) == before, "something was written into the caller's tree");

    let again = world.build().unwrap();
    assert_eq!((again.steps, &again.share), (0, &built.share));
    assert!(!world.log().exists(), "make was called");

    world.edit(|text| text + "\nint kvet_was_here;\n");
    let changed = world.build().unwrap();
    assert_ne!(changed.share, built.share);
    assert_eq!((world.made("CLNG-BPF"), world.made("GEN-SKEL"), world.made("CC")), (1, 1, 0));

    world.edit(|text| text.replace("int kvet_was_here;", "int kvet was here;"));
    let e = world.build().unwrap_err();
    assert_eq!(e.fault(), Fault::Kernel);
    assert!(
        e.to_string().contains("progs/user_ringbuf_success.c:") && e.to_string().contains("error:"),
        "{e}"
    );

    // Back to what it was: still there.
    world.edit(|text| text.replace("\nint kvet was here;\n", ""));
    assert_eq!(world.build().unwrap().share, built.share);
}
