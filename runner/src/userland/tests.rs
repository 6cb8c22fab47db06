//! The whole way, against a small signed archive under `tests/data/userland` (made by `kernel/fixture.rs`).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::error::{Error, Fault};
use crate::kernel::{Base, DebianSuites, Mirrors, Prune};

struct World {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl World {
    fn new() -> Self {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/userland");
        let text = format!(
            "packages_suite: small\nkeyrings: [{}]\nretired_keyrings: []\nsuites: [{{ name: small }}]\n",
            data.join("archive.gpg").display()
        );
        let config: DebianSuites = crate::spec::parse(&text).unwrap();
        let main = Base::parse(data.to_str().unwrap()).unwrap();
        let mirrors = Mirrors { main, security: None, proxy: None, accept_expired: false };
        Self { dir: tempfile::tempdir().unwrap(), sources: Sources::with_mirrors(config, mirrors) }
    }

    fn cache(&self) -> Cache {
        Cache::open(self.dir.path().join("cache")).unwrap()
    }

    fn make(&self, names: &[&str], more: &str) -> Result<Userland> {
        self.make_for(Arch::X86_64, names, more)
    }

    fn make_for(&self, arch: Arch, names: &[&str], more: &str) -> Result<Userland> {
        let packages: Vec<String> = names.iter().map(|n| format!("{{ name: {n}, why: test }}")).collect();
        let text = format!("packages: [{}]\n{more}", packages.join(", "));
        let spec: UserlandSpec = crate::spec::parse(&text).unwrap();
        make(&spec, arch, &self.cache(), &self.sources, &mut |_| {}, &Cancel::new().unwrap())
    }

    /// The error, and that nothing is left of it.
    #[track_caller]
    fn refused(&self, names: &[&str], more: &str, said: &str) -> Error {
        let error = self.make(names, more).err().unwrap_or_else(|| panic!("{names:?} was made"));
        assert!(error.to_string().contains(said), "{error}");
        for folder in ["tmp", "images", "partial"] {
            let left = fs::read_dir(self.dir.path().join("cache").join(folder)).unwrap().count();
            assert_eq!(left, 0, "{folder} after {names:?}");
        }
        error
    }
}

const MORE: &str = "skipped:
  - { path: usr/share/doc, why: test }
  - { path: usr/lib/*/gconv, why: test }
links:
  - { path: usr/bin/awk, to: mawk, why: test }
files:
  - { path: etc/passwd, why: test, text: \"root:x:0:0\\n\" }
";

fn packages(userland: &Userland) -> Vec<String> {
    let shown = |p: &kernel::TreePackage| match &p.needed_by {
        Some(by) => format!("{} by {by}", p.facts.name),
        None => p.facts.name.clone(),
    };
    userland.facts.packages.iter().map(shown).collect()
}

#[test]
fn packages_come_with_what_they_need_as_one_tree() {
    let world = World::new();
    let userland = world.make(&["base", "mawk"], MORE).unwrap();
    assert_eq!(packages(&userland), ["base", "mawk", "prompt by tool", "tool by base"]);
    let root = &userland.root;
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(text("usr/bin/old"), "#!/bin/sh\n", "/bin is /usr/bin");
    assert_eq!(text("etc/passwd"), "root:x:0:0\n");
    assert!(!root.join("usr/share/doc").exists() && !root.join("usr/lib/x-linux-gnu/gconv").exists());
    for folder in ["proc", "sys", "dev", "run", "tmp", "kvet", "usr/lib/modules"] {
        assert!(root.join(folder).is_dir(), "{folder}");
    }
    // Links are written down; everything is root's, nothing is set-uid.
    for (path, target) in [("bin", "usr/bin"), ("usr/bin/alias", "../../bin/tool"), ("usr/bin/awk", "mawk")] {
        assert_eq!(text(path), target);
        let note = Path::new(path)
            .parent()
            .unwrap()
            .join(".virtfs_metadata")
            .join(Path::new(path).file_name().unwrap());
        assert_eq!(text(note.to_str().unwrap()), "virtfs.uid=0\nvirtfs.gid=0\nvirtfs.mode=41471\n");
    }
    // S_IFREG, S_IFDIR and the mode, in decimal.
    for (note, mode) in [
        ("usr/bin/.virtfs_metadata/tool", 0o100_755),
        ("etc/.virtfs_metadata/passwd", 0o100_644),
        (".virtfs_metadata/usr", 0o040_755),
        (".virtfs_metadata/tmp", 0o041_777),
        (".virtfs_metadata_root", 0o040_755),
    ] {
        assert_eq!(text(note), format!("virtfs.uid=0\nvirtfs.gid=0\nvirtfs.mode={mode}\n"), "{note}");
    }
    let mode = fs::metadata(root.join("usr/bin/tool")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    assert_no_links(root);
}

#[track_caller]
fn assert_no_links(root: &Path) {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            assert!(kind.is_dir() || kind.is_file(), "{}", entry.path().display());
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

#[test]
fn what_a_guest_would_find() {
    let world = World::new();
    let userland = world.make(&["base", "mawk"], MORE).unwrap();
    for (path, there) in [
        ("/bin/tool", true),
        ("/usr/bin/alias", true),
        ("/bin/awk", true),
        ("/bin/../bin/./tool", true),
        ("/var/run", true),
        ("/usr/bin/gawk", false),
        ("/usr/bin/loop", false),
        ("/bin/tool/x", false),
        ("/../../../../bin/tool", true),
    ] {
        assert_eq!(userland.has(path), there, "{path}");
    }
}

#[test]
fn it_is_made_once_and_made_anew_when_what_it_is_made_of_changes() {
    let world = World::new();
    let first = world.make(&["base", "mawk"], MORE).unwrap();
    let again = world.make(&["mawk", "base"], MORE).unwrap();
    assert_eq!(first.facts, again.facts);
    let other = world.make(&["base", "mawk"], &MORE.replace("root:x:0:0", "root:x:1:1")).unwrap();
    assert_ne!(first.facts.id, other.facts.id);
    let without = world.make(&["base"], "left_out: [{ name: awk, why: test }]").unwrap();
    assert_eq!(packages(&without), ["base", "prompt by tool", "tool by base"]);
    let arm64 = world.make_for(Arch::Arm64, &["prompt"], "").unwrap();
    assert!(arm64.facts.id.starts_with("userland-arm64-"));

    let cache = world.cache();
    assert!(cache.trees().unwrap().iter().all(|tree| tree.in_use));
    assert_eq!(cache.prune_trees(Prune::All).unwrap().in_use.len(), 4);
    drop((first, again, other, without, arm64));
    assert_eq!(cache.prune(Prune::All).unwrap().names(), Vec::<&str>::new(), "kernels are pruned apart");
    assert_eq!(cache.prune_trees(Prune::KeepNewest(1)).unwrap().removed.len(), 3);
    assert_eq!(cache.trees().unwrap().len(), 1);
}

#[test]
fn what_is_missing_or_excludes_another_is_said() {
    let world = World::new();
    let error = world.refused(&["nosuch"], "", "suite small for x86_64 has no package 'nosuch'");
    assert_eq!(error.fault(), Fault::Caller);
    let error = world.refused(&["lonely"], "", "lonely depends on: tool (>= 2:3); it has tool 2:2.0-1");
    assert_eq!(error.fault(), Fault::Host);
    world.refused(&["jealous", "tool"], "", "jealous excludes tool, which is tool");
}

#[test]
fn hostile_packages_get_neither_out_nor_in() {
    let world = World::new();
    world.refused(&["digger"], "", "is a link out of the package");
    world.refused(&["walker"], "", "goes through a link");
    world.refused(&["double"], "", "comes twice");
    world.refused(&["noter"], "", "it has a file");
    world.refused(&["rooter"], "", "it has a file");
    world.refused(&["device"], "", "neither a file nor a folder nor a link");
    world.refused(&["etcetera"], MORE, "something else where the folder etc must be");
    world.refused(
        &["prompt"],
        "files: [{ path: usr/bin/prompt, why: test, text: x }]",
        "a package has usr/bin/prompt",
    );
    // Step by step these links lead out of the tree. For the host they are no links.
    let climber = world.make(&["climber"], "").unwrap();
    assert_no_links(&climber.root);
    assert!(!climber.has("/usr/out"), "there is no /etc/passwd in it, whatever the host has");
}

#[test]
fn a_program_without_its_libraries_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("usr/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy(std::env::current_exe().unwrap(), bin.join("me")).unwrap();
    fs::write(bin.join("text"), "#!/bin/sh").unwrap();
    let host = Arch::host().unwrap();
    let error = libraries::check(dir.path(), host).unwrap_err().to_string();
    assert!(error.contains("usr/bin/me needs lib"), "{error}");
    let other = Arch::ALL.into_iter().find(|arch| *arch != host).unwrap();
    let error = libraries::check(dir.path(), other).unwrap_err().to_string();
    assert!(error.contains("is for ELF machine"), "{error}");
    // In a folder that the linker does not look in, they are as good as missing.
    for (folder, fine) in [("usr/lib/private", false), ("usr/lib/x86_64-linux-gnu", true)] {
        let lib = dir.path().join(folder);
        fs::create_dir_all(&lib).unwrap();
        for name in
            ["libgcc_s.so.1", "libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"]
        {
            fs::write(lib.join(name), "").unwrap();
        }
        assert_eq!(libraries::check(dir.path(), host).is_ok(), fine, "{folder}");
    }
}
