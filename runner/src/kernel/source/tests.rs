//! Sources of every kind, small ones.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::suites::DebianSuites;
use super::super::testing::{Behaviour, Server};
use super::super::{Base, Mirrors};
use super::*;
use crate::error::Fault;

/// The least that is a kernel's source.
pub fn tree(at: &Path, version: &str) {
    let (major, rest) = version.split_once('.').unwrap();
    let (minor, patch) = rest.split_once('.').unwrap();
    fs::create_dir_all(at.join("scripts")).unwrap();
    fs::create_dir_all(at.join("arch")).unwrap();
    fs::write(at.join("Kconfig"), "").unwrap();
    fs::write(at.join("scripts/Makefile.build"), "").unwrap();
    let text = format!("VERSION = {major}\nPATCHLEVEL = {minor}\nSUBLEVEL = {patch}\nEXTRAVERSION =\n");
    fs::write(at.join("Makefile"), text).unwrap();
    fs::write(at.join("arch/keep"), "").unwrap();
}

struct World {
    dir: tempfile::TempDir,
    cache: Cache,
    cancel: Cancel,
    sources: Sources,
    notes: Vec<String>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sources");
        let config = format!(
            "packages_suite: main\nkeyrings: [{}/archive.gpg]\nretired_keyrings: []\nsuites:\n  - {{ name: main }}\n",
            data.display()
        );
        let config: DebianSuites = crate::spec::parse(&config).unwrap();
        let mirrors = Mirrors { main: Base::Dir(data), security: None, proxy: None, accept_expired: false };
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        let sources = Sources::with_mirrors(config, mirrors);
        Self { dir, cache, cancel: Cancel::new().unwrap(), sources, notes: Vec::new() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn get(&mut self, spec: &str) -> Result<SourceTree> {
        self.get_for(Purpose::Kernel, spec)
    }

    fn get_for(&mut self, purpose: Purpose, spec: &str) -> Result<SourceTree> {
        let notes = &mut self.notes;
        let mut progress = |p| {
            if let Progress::Note(text) = p {
                notes.push(text);
            }
        };
        ensure(&spec.parse().unwrap(), purpose, &self.cache, &self.sources, &mut progress, &self.cancel)
    }

    fn git(&self, args: &[&str]) -> String {
        let done = Command::new("git")
            .arg("-C")
            .arg(self.at("repo"))
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"])
            .args(args)
            .output()
            .unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_string()
    }

    /// A repository with two tagged releases, at the second.
    fn repository(&self) {
        tree(&self.at("repo"), "7.2.1");
        self.git(&["init", "--quiet"]);
        fs::write(self.at("repo/.gitignore"), "*.o\n").unwrap();
        self.git(&["add", "."]);
        self.git(&["commit", "--quiet", "-m", "one"]);
        self.git(&["tag", "v7.2.1"]);
        tree(&self.at("repo"), "7.2.2");
        self.git(&["commit", "--quiet", "-a", "-m", "two"]);
        self.git(&["tag", "v7.2.2"]);
    }

    fn tarball(&self, name: &str, filter: &str) -> PathBuf {
        tree(&self.at("linux-7.2.1"), "7.2.1");
        let done = Command::new("tar")
            .arg("-C")
            .arg(self.dir.path())
            .args([filter, "-cf"])
            .arg(self.at(name))
            .arg("linux-7.2.1")
            .status();
        assert!(done.unwrap().success());
        self.at(name)
    }
}

#[test]
fn a_tree_tells_its_commit_and_its_changes_and_is_left_alone() {
    let mut world = World::new();
    world.repository();
    let spec = format!("tree:{}", world.at("repo").display());
    let index = world.at("repo/.git/index");
    let before = fs::metadata(&index).unwrap().modified().unwrap();
    let clean = world.get(&spec).unwrap();
    assert_eq!((clean.describe.as_deref(), clean.dirty, clean.settled), (Some("v7.2.2"), false, false));
    assert_eq!(clean.identity, format!("git-{}", world.git(&["rev-parse", "HEAD"])));
    fs::write(world.at("repo/product.o"), "").unwrap();
    assert_eq!(world.get(&spec).unwrap().identity, clean.identity, "ignored files do not count");
    crate::report::store::RunDir::create(&world.at("repo/results"), &[]).unwrap();
    assert_eq!(world.get(&spec).unwrap().identity, clean.identity, "nor do results of kvet");
    fs::write(world.at("repo/Kconfig"), "# changed\n").unwrap();
    let changed = world.get(&spec).unwrap();
    assert_eq!((changed.describe.as_deref(), changed.dirty), (Some("v7.2.2-dirty"), true));
    assert!(world.notes.iter().any(|n| n.contains("not committed")), "{:?}", world.notes);
    fs::write(world.at("repo/new.c"), "").unwrap();
    let more = world.get(&spec).unwrap();
    assert!(more.identity != changed.identity && changed.identity != clean.identity);
    assert_eq!(fs::metadata(&index).unwrap().modified().unwrap(), before, "the index is not refreshed");
}

#[test]
fn revisions_are_checked_out_elsewhere_and_at_once() {
    let mut world = World::new();
    world.repository();
    let spec = |rev: &str| format!("git:{}@{rev}", world.at("repo").display());
    let (one, two, head) = (spec("v7.2.1"), spec("v7.2.2"), spec("HEAD"));
    let first = world.get(&one).unwrap();
    assert_eq!((first.version.to_string().as_str(), first.describe.as_deref()), ("7.2.1", Some("v7.2.1")));
    let second = world.get(&two).unwrap();
    assert_eq!(second.version.to_string(), "7.2.2");
    assert_ne!(first.path, second.path, "the first is in use");
    assert_eq!(world.get(&head).unwrap().path, second.path, "the same commit by another name");
    // What a build or an accident left is gone when the next revision comes.
    let place = first.path.clone();
    drop(first);
    fs::write(place.join("Kconfig"), "spoilt").unwrap();
    fs::write(place.join("left.o"), "").unwrap();
    fs::write(place.join(".git/index.lock"), "").unwrap();
    drop(second);
    world.git(&["commit", "--quiet", "--allow-empty", "-m", "three"]);
    let third = world.get(&head).unwrap();
    assert_eq!(third.path, place);
    drop(third);
    let again = world.get(&two).unwrap();
    assert_eq!(again.path, place, "the second has it, but the first has the builds that are used");
    drop((again, world.get(&head).unwrap()));
    assert_eq!(fs::read_to_string(place.join("Kconfig")).unwrap(), "");
    assert!(!place.join("left.o").exists());
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    assert_eq!(world.git(&["worktree", "list"]).lines().count(), 1, "the caller's repository knows nothing");
}

/// A bisection tests one commit after another with the selftests of the newest one.
#[test]
fn selftests_and_a_kernel_do_not_take_each_others_checkouts() {
    let mut world = World::new();
    world.repository();
    let spec = |rev: &str| format!("git:{}@{rev}", world.at("repo").display());
    let (one, two) = (spec("v7.2.1"), spec("v7.2.2"));
    let kernel = world.get(&one).unwrap().path;
    let own = world.get_for(Purpose::Selftests, &one).unwrap().path;
    assert_eq!(own, kernel, "of a kernel's own there is one checkout");
    let selftests = world.get_for(Purpose::Selftests, &two).unwrap().path;
    assert_ne!(selftests, kernel);
    let before = world.notes.len();
    for _ in 0..2 {
        assert_eq!(world.get(&one).unwrap().path, kernel);
        assert_eq!(world.get_for(Purpose::Selftests, &two).unwrap().path, selftests);
    }
    assert_eq!(world.notes.len(), before, "nothing is checked out again: {:?}", world.notes);
}

#[test]
fn what_git_does_not_have_is_the_callers_mistake() {
    let mut world = World::new();
    world.repository();
    let repo = world.at("repo").display().to_string();
    for (spec, said) in [
        (format!("git:{repo}@v9.9"), "no revision 'v9.9'"),
        (format!("git:{repo}-not@v7.2.1"), "cannot open the repository"),
        (format!("git:{}@HEAD", world.dir.path().display()), "no git repository"),
        (format!("tree:{}", world.dir.path().display()), "no kernel source tree"),
    ] {
        let error = world.get(&spec).unwrap_err();
        assert_eq!(error.fault(), Fault::Caller, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn tarballs_are_unpacked_once_and_checked_before() {
    let mut world = World::new();
    for (name, filter) in
        [("a.tar", "--format=gnu"), ("b.tar.gz", "-z"), ("c.tar.xz", "-J"), ("d.tar.zst", "--zstd")]
    {
        let file = world.tarball(name, filter);
        let tree = world.get(&format!("tar:{}", file.display())).unwrap();
        assert_eq!(tree.version.to_string(), "7.2.1", "{name}");
        let said = world.notes.pop().unwrap();
        assert!(said.contains("taken as it is") && said.contains("#sha256="), "{said}");
        // The hash that was offered is right, and needs the file no more.
        let offered = said.split_once('(').unwrap().1.split_once(" would").unwrap().0.to_string();
        fs::remove_file(&file).unwrap();
        assert_eq!(world.get(&offered).unwrap().path, tree.path);
        assert!(world.notes.is_empty());
    }
    let file = world.tarball("e.tar.gz", "-z");
    let error = world.get(&format!("tar:{}#sha256={}", file.display(), "0".repeat(64))).unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
    assert!(error.to_string().contains("not what was asked for"), "{error}");
    assert_eq!(fs::read_dir(world.cache.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn what_is_no_archive_is_the_callers_and_its_bytes_stay_away_from_the_terminal() {
    let mut world = World::new();
    let whole = fs::read(world.tarball("whole.tar", "--format=gnu")).unwrap();
    let hostile: Vec<u8> = b"\x1b]0;owned\x07\x1b[2J\xff".iter().copied().cycle().take(4096).collect();
    let packed = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    for (name, bytes, said) in [
        ("text.tar.xz", b"hello".to_vec(), "is no tar archive"),
        ("text.tar.zst", b"hello".to_vec(), "is no tar archive"),
        ("text.tar", b"hello".to_vec(), "is no tar archive"),
        ("hostile.tar", hostile.clone(), "is no tar archive"),
        ("hostile.tar.gz", packed(&hostile), "is no tar archive"),
        ("half.tar", whole[..612].to_vec(), "is damaged"),
        ("zeros.tar", vec![0; 4096], "holds no kernel source"),
    ] {
        let file = world.at(name);
        fs::write(&file, bytes).unwrap();
        let error = world.get(&format!("tar:{}", file.display())).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.fault(), Fault::Caller, "{text}");
        assert!(text.contains(&format!("tarball {} {said}", file.display())), "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    assert_eq!(fs::read_dir(world.cache.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_url_is_fetched_and_must_be_what_the_hash_says() {
    let mut world = World::new();
    let file = world.tarball("l.tar.gz", "-z");
    let hash = crate::kernel::sha256(fs::File::open(&file).unwrap()).unwrap();
    let behaviour = Behaviour { cut_at: Some(200), cuts: 1, ..Behaviour::default() };
    let server = Server::start(world.dir.path(), behaviour);
    let url = format!("{}/l.tar.gz", server.url());
    let error = world.get(&format!("tar:{url}#sha256={}", "0".repeat(64))).unwrap_err();
    assert_eq!(error.fault(), Fault::Host);
    assert!(error.to_string().contains(hash.as_str()), "{error}");
    let tree = world.get(&format!("tar:{url}#sha256={hash}")).unwrap();
    assert_eq!((tree.version.to_string().as_str(), tree.settled), ("7.2.1", true));
    let asked = server.asked("l.tar.gz");
    world.get(&format!("tar:{url}#sha256={hash}")).unwrap();
    assert_eq!(server.asked("l.tar.gz"), asked, "it is in the cache");
}

#[test]
fn a_signature_beside_the_tarball_is_over_what_is_in_it() {
    let mut world = World::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sources");
    let keys = data.join("archive.gpg").display().to_string();
    let stranger = data.join("stranger.gpg").display().to_string();
    fs::copy(data.join("linux.tar.gz"), world.at("linux.tar.gz")).unwrap();
    fs::copy(data.join("linux.tar.sign"), world.at("linux.tar.sign")).unwrap();
    let file = world.at("linux.tar.gz").display().to_string();
    let error = world.get(&format!("tar:{file}#keyring={stranger}")).unwrap_err();
    assert!(error.to_string().contains("is refused: its signature"), "{error}");
    assert_eq!(world.get(&format!("tar:{file}#keyring={keys}")).unwrap().version.to_string(), "7.2.1");
    let other = world.tarball("other.tar.gz", "-z");
    let error = world.get(&format!("tar:{}#keyring={keys}", other.display())).unwrap_err();
    assert!(error.to_string().contains("other.tar.sign"), "{error}");
    fs::copy(world.at("linux.tar.sign"), world.at("other.tar.sign")).unwrap();
    fs::write(world.at("linux-7.2.1/Kconfig"), "another").unwrap();
    let other = world.tarball("other.tar.gz", "-z");
    let error = world.get(&format!("tar:{}#keyring={keys}", other.display())).unwrap_err();
    assert!(error.to_string().contains("is refused"), "{error}");
}

#[test]
fn the_archives_source_of_a_release() {
    let mut world = World::new();
    let newest = world.get("debian-source:7.2").unwrap();
    assert_eq!(newest.version.to_string(), "7.2.12");
    assert_eq!(newest.describe.as_deref(), Some("linux-source-7.2 7.2.12-1 (main)"));
    assert!(newest.settled && newest.path.join("Makefile").is_file());
    assert_eq!(world.get("debian-source:7.2.11").unwrap().version.to_string(), "7.2.11");
    assert_eq!(world.get("debian-source:7.3-rc").unwrap().version.to_string(), "7.3-rc7");
    // In the cache: no archive is needed any more.
    world.sources = Sources::with_mirrors(
        world.sources.config.clone(),
        Mirrors { main: Base::Dir(world.at("gone")), security: None, proxy: None, accept_expired: false },
    );
    assert_eq!(world.get("debian-source:7.2.11").unwrap().version.to_string(), "7.2.11");
    let error = world.get("debian-source:7.2.9").unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
    assert!(error.to_string().contains("available: 7.2.11 (main), 7.2.12 (main)"), "{error}");
}

#[test]
fn the_nearest_source_is_of_the_same_series() {
    let world = World::new();
    let near = |version: &str| {
        let version = version.parse().unwrap();
        nearest_debian(version, &world.cache, &world.sources, &mut |_| {}, &world.cancel)
            .map(|spec| spec.to_string())
    };
    assert_eq!(near("7.2.11").unwrap(), "debian-source:7.2.11");
    assert_eq!(near("7.2.3").unwrap(), "debian-source:7.2.11");
    assert_eq!(near("7.2.20").unwrap(), "debian-source:7.2.12");
    assert_eq!(near("7.3-rc5").unwrap(), "debian-source:7.3-rc7");
    assert!(near("6.19.1").unwrap_err().to_string().contains("nothing of that series"));
}
