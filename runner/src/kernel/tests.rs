//! The whole way, against a small signed archive under `tests/data/archive`: what must work, and everything
//! that must be refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::testing::{Behaviour, Server};
use super::*;
use crate::error::{Error, Fault};

const CONFIG: &str = r#"
packages_suite: main
keyrings: [KEYS/archive.gpg, KEYS/nosuch.gpg]
retired_keyrings: []
suites:
  - { name: main, series: ["6.12"] }
  - { name: fresh }
"#;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/archive")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// An archive of one's own to spoil, its server, and an empty cache.
struct World {
    dir: tempfile::TempDir,
    server: Server,
    config: DebianSuites,
}

struct Got {
    result: Result<Kernel>,
    notes: Vec<String>,
}

impl Got {
    fn kernel(self) -> Kernel {
        self.result.unwrap_or_else(|e| panic!("{e}; notes: {:?}", self.notes))
    }

    fn error(self) -> Error {
        self.result.err().unwrap_or_else(|| panic!("there is a kernel; notes: {:?}", self.notes))
    }
}

impl World {
    fn new() -> Self {
        Self::with(Behaviour::default(), "")
    }

    fn with(behaviour: Behaviour, more_suites: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&data(), &dir.path().join("archive"));
        let server = Server::start(&dir.path().join("archive"), behaviour);
        Self { dir, server, config: config(more_suites) }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("archive").join(path)
    }

    fn cache(&self) -> Cache {
        Cache::open(self.dir.path().join("cache")).unwrap()
    }

    fn sources(&self) -> Sources {
        Sources::with_mirrors(self.config.clone(), mirrors(&self.server.url()))
    }

    fn get(&self, spec: &str) -> Got {
        self.get_from(spec, Arch::X86_64, &self.sources())
    }

    fn get_from(&self, spec: &str, arch: Arch, sources: &Sources) -> Got {
        get(spec, arch, &self.cache(), sources)
    }

    /// Nothing half-made is left anywhere.
    fn assert_clean(&self) {
        for dir in ["tmp", "partial", "kernels"] {
            let left: Vec<_> =
                fs::read_dir(self.dir.path().join("cache").join(dir)).unwrap().flatten().collect();
            assert!(left.is_empty(), "{dir}: {left:?}");
        }
    }

    fn spoil(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path(path);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
    }

    fn deb(&self, stem: &str) -> String {
        let dir = fs::read_dir(self.path("pool")).unwrap();
        let name = dir.flatten().map(|e| e.file_name().into_string().unwrap()).find(|n| n.starts_with(stem));
        format!("pool/{}", name.unwrap_or_else(|| panic!("no {stem} in pool")))
    }
}

fn config(more_suites: &str) -> DebianSuites {
    let text = format!("{CONFIG}{more_suites}").replace("KEYS", data().to_str().unwrap());
    serde_yaml::from_str(&text).unwrap()
}

fn mirrors(base: &str) -> Mirrors {
    Mirrors { main: Base::parse(base).unwrap(), security: None, proxy: None, accept_expired: false }
}

fn get(spec: &str, arch: Arch, cache: &Cache, sources: &Sources) -> Got {
    let mut notes = Vec::new();
    let mut progress = |p| {
        if let Progress::Note(note) = p {
            notes.push(note);
        }
    };
    let result =
        acquire(&spec.parse().unwrap(), arch, cache, sources, &mut progress, &Cancel::new().unwrap());
    Got { result, notes }
}

#[test]
fn a_kernel_in_parts_is_put_together_and_then_needs_nobody() {
    let world = World::new();
    let kernel = world.get("7.2").kernel();
    assert_eq!(kernel.version, KernelVersion::new(7, 2, 12));
    assert_eq!(kernel.facts.release, "7.2.12+deb13-amd64");
    assert_eq!(kernel.facts.origin, "linux-image-7.2.12+deb13-amd64 7.2.12-1~bpo13+1 (fresh)");
    assert_eq!(kernel.facts.packages.len(), 3);
    assert_eq!(kernel.facts.image_sha256, Sha256Hex::of(&fs::read(&kernel.image).unwrap()).as_str());
    assert!(kernel.config.as_ref().unwrap().is_builtin("CONFIG_DEBUG_INFO_BTF"));
    let modules = kernel.modules.clone().unwrap();
    assert!(modules.ends_with("lib/modules/7.2.12+deb13-amd64"));
    assert!(modules.join("kernel/fs/9p/9p.ko.xz").is_file() && modules.join("modules.builtin").is_file());
    assert!(!modules.join("vmlinuz").exists() && !modules.join("System.map").exists());

    let listed = &world.cache().list().unwrap()[0];
    assert!(listed.in_use && listed.info.btf == Some(true) && listed.info.modules == 1);
    assert_eq!(world.cache().prune(Prune::All).unwrap().in_use.len(), 1);
    drop(kernel);

    world.get("7.2").kernel();
    world.server.forget();
    let begun = Instant::now();
    world.get("7.2").kernel();
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    assert_eq!(world.server.asked(""), 0, "a warm cache asks nobody");
    assert_eq!(world.cache().prune(Prune::All).unwrap().removed.len(), 1);
    world.assert_clean();
}

#[test]
fn a_kernel_in_one_package_on_both_architectures() {
    let world = World::new();
    let sources = world.sources();
    for (arch, release) in [(Arch::X86_64, "6.12.95+deb13-amd64"), (Arch::Arm64, "6.12.95+deb13-arm64")] {
        let kernel = world.get_from("debian:main/6.12", arch, &sources).kernel();
        assert_eq!((kernel.facts.release.as_str(), kernel.arch), (release, arch));
        assert_eq!(kernel.facts.packages.len(), 1);
        assert!(kernel.modules.unwrap().join("kernel/fs/9p/9p.ko.xz").is_file());
    }
    // By hash, as this suite's InRelease offers.
    assert_eq!((world.server.asked("Packages.xz"), world.server.asked("InRelease")), (0, 2));
}

#[test]
fn an_exact_version_and_a_named_suite() {
    let world = World::new();
    assert_eq!(world.get("6.12.94").kernel().facts.version, "6.12.94");
    assert_eq!(world.get("debian:main/6.12.95").kernel().facts.version, "6.12.95");
    assert_eq!(world.get("debian:7.2.11").kernel().facts.version, "7.2.11");
    let error = world.get("debian:fresh/6.12").error();
    assert!(error.to_string().contains("suite fresh does not offer 6.12"), "{error}");
    let error = world.get("debian:sarge/2.6").error();
    assert_eq!(error.fault(), Fault::Caller);
    assert!(error.to_string().contains("'sarge' is not configured; known: main, fresh"), "{error}");
}

#[test]
fn what_cannot_be_had_says_what_can() {
    let world = World::new();
    world.get("6.12").kernel();
    let error = world.get("7.2.99").error();
    assert_eq!(error.fault(), Fault::Caller);
    let text = error.to_string();
    assert!(
        text.contains("debian:7.2.99") && text.contains("7.2.12 (fresh)") && text.contains("x86_64"),
        "{text}"
    );
    let text = world.get("5.15").error().to_string();
    assert!(text.contains("6.12.94 (main)"), "suites that were not asked are known from before: {text}");
}

#[test]
fn a_kernel_whose_modules_left_the_archive_is_had_without_them_and_that_is_said() {
    let world = World::new();
    let got = world.get("7.1");
    assert!(
        got.notes[0].starts_with("linux-modules-7.1.13+deb13-amd64 is gone from the archive"),
        "{:?}",
        got.notes
    );
    assert_eq!(got.kernel().modules, None);
}

#[test]
fn a_candidate_is_taken_where_there_is_no_release_and_that_is_said() {
    let world = World::new();
    let got = world.get("7.3");
    assert_eq!(got.notes, ["7.3 is not released yet: taking 7.3-rc7"]);
    assert_eq!(got.kernel().facts.version, "7.3-rc7");
    for spec in ["7.3-rc", "7.3-rc7"] {
        let got = world.get(spec);
        assert!(got.notes.is_empty());
        assert_eq!(got.kernel().facts.release, "7.3-amd64");
    }
    assert!(world.get("7.2-rc").error().to_string().contains("7.2-rc"));
}

/// What is wrong with the archive, how it is made so, and what is said about it.
type Spoiled = (&'static str, fn(&World), &'static [&'static str]);

#[test]
fn what_debian_did_not_sign_is_refused_and_deleted() {
    let cases: [Spoiled; 8] = [
        (
            "a changed InRelease",
            |w| w.spoil("dists/fresh/InRelease", |b| flip(b, b"Date:")),
            &["InRelease", "is bad"],
        ),
        (
            "text before the signature",
            |w| w.spoil("dists/fresh/InRelease", |b| drop(b.splice(..0, *b"x\n"))),
            &["refused"],
        ),
        (
            "two messages in one",
            |w| w.spoil("dists/fresh/InRelease", |b| b.extend_from_within(..)),
            &["one signed message"],
        ),
        (
            "text after it",
            |w| w.spoil("dists/fresh/InRelease", |b| b.extend(*b"SHA256:\n")),
            &["one signed message"],
        ),
        ("no signature", |w| w.spoil("dists/fresh/InRelease", |b| b.truncate(200)), &["refused"]),
        (
            "a stranger's signature",
            |w| drop(fs::copy(w.path("dists/stranger/InRelease"), w.path("dists/fresh/InRelease"))),
            &["unknown keys only", "archive.gpg"],
        ),
        (
            "another suite's InRelease",
            |w| drop(fs::copy(w.path("dists/main/InRelease"), w.path("dists/fresh/InRelease"))),
            &["'main'", "not of 'fresh'"],
        ),
        (
            "a changed index",
            |w| w.spoil("dists/fresh/main/binary-amd64/Packages.xz", |b| b[40] ^= 1),
            &["Packages.xz", "SHA-256 expected"],
        ),
    ];
    for (what, spoil, said) in cases {
        let world = World::new();
        spoil(&world);
        let error = world.get("7.2").error();
        assert_eq!(error.fault(), Fault::Host, "{what}");
        let text = error.to_string();
        assert!(said.iter().all(|s| text.contains(s)), "{what}: {text}");
        assert_eq!(world.server.asked(".deb"), 0, "{what}");
        world.assert_clean();
    }
}

fn flip(bytes: &mut [u8], before: &[u8]) {
    let at = bytes.windows(before.len()).position(|w| w == before).unwrap() + before.len() + 2;
    bytes[at] ^= 1;
}

#[test]
fn a_changed_package_is_refused_and_deleted_and_a_good_one_taken_later() {
    let world = World::new();
    let deb = world.deb("linux-modules-7.2.12");
    world.spoil(&deb, |b| *b.last_mut().unwrap() ^= 1);
    let error = world.get("7.2").error();
    let text = error.to_string();
    assert!(text.contains("linux-modules-7.2.12") && text.contains("SHA-256 expected"), "{text}");
    assert_eq!(error.fault(), Fault::Host);
    world.assert_clean();
    world.spoil(&deb, |b| b.push(0));
    assert!(world.get("7.2").error().to_string().contains("longer than"));
    world.assert_clean();
    fs::copy(data().join(&deb), world.path(&deb)).unwrap();
    world.get("7.2").kernel();
}

#[test]
fn a_file_that_is_gone_is_asked_for_anew_only_where_the_index_may_be_old() {
    let world = World::new();
    world.get("6.12").kernel();
    fs::remove_file(world.path(&world.deb("linux-modules-7.2.12"))).unwrap();
    let error = world.get("7.2").error();
    assert!(error.hint_text().unwrap().contains("has lost its file"), "{error} {:?}", error.hint_text());
    // The next kvet has it from the cache, and it may have changed since.
    std::thread::sleep(Duration::from_millis(1100));
    let error = world.get("7.2").error();
    assert!(error.hint_text().unwrap().contains("kernel fetch --refresh"), "{error} {:?}", error.hint_text());
    let error = world.get_from("7.2", Arch::X86_64, &world.sources().refresh(true)).error();
    assert!(error.hint_text().unwrap().contains("has lost its file"), "{error} {:?}", error.hint_text());
}

#[test]
fn a_download_that_breaks_off_is_taken_up_again() {
    let world = World::with(Behaviour { cut_at: Some(15_000), cuts: 1, ..Default::default() }, "");
    world.get("6.12").kernel();
    assert!(world.server.ranges().contains(&Some(15_000)), "{:?}", world.server.ranges());
}

#[test]
fn an_expired_index_is_left_out_or_used_with_a_note() {
    let world = World::with(Behaviour::default(), "  - { name: expired }\n");
    let got = world.get("7.2");
    assert!(
        got.notes.iter().any(|n| n.contains("expired is left out") && n.contains("2001-09-09")),
        "{:?}",
        got.notes
    );
    assert_eq!(got.kernel().facts.version, "7.2.12");
    let error = world.get("debian:expired/7.2").error();
    assert!(error.to_string().contains("expired on 2001-09-09"), "{error}");
    assert!(error.hint_text().unwrap().contains("check_valid_until"));

    for (option, noted) in [("check_valid_until: false", true), ("archived: true", false)] {
        let world = World::with(Behaviour::default(), &format!("  - {{ name: expired, {option} }}\n"));
        let got = world.get("7.2");
        assert_eq!(
            got.notes.iter().any(|n| n.contains("newer kernels may exist")),
            noted,
            "{option}: {:?}",
            got.notes
        );
        assert_eq!(got.kernel().facts.version, "7.2.20");
    }
}

#[test]
fn a_mirror_that_is_away_is_told_and_old_knowledge_serves() {
    let mut world = World::new();
    world.config.index_ttl_hours = 0;
    world.get("6.12").kernel();
    let away = Sources::with_mirrors(world.config.clone(), mirrors("http://127.0.0.1:1"));
    let got = world.get_from("6.12", Arch::X86_64, &away);
    assert!(got.notes[0].contains("index of main is 0 h old and could not be renewed"), "{:?}", got.notes);
    assert_eq!(got.kernel().facts.version, "6.12.95");
    let error = world.get_from("6.12.94", Arch::X86_64, &away).error();
    assert_eq!(error.fault(), Fault::Host);
    let fresh = Cache::open(world.dir.path().join("other")).unwrap();
    assert_eq!(get("7.2", Arch::X86_64, &fresh, &away).error().fault(), Fault::Host);
    // An exact version that is there needs no mirror at all, not even a word about it.
    let got = world.get_from("6.12.95", Arch::X86_64, &away);
    assert!(got.notes.is_empty(), "{:?}", got.notes);
    got.kernel();
}

#[test]
fn an_older_index_than_was_seen_before_is_not_believed() {
    let mut world = World::new();
    world.config.index_ttl_hours = 0;
    world.get("6.12").kernel();
    fs::copy(world.path("dists/main-before/InRelease"), world.path("dists/main/InRelease")).unwrap();
    let got = world.get("6.12");
    assert!(got.notes[0].contains("is older than the one of"), "{:?}", got.notes);
    assert_eq!(got.kernel().facts.version, "6.12.95");
}

#[test]
fn a_kernel_that_left_the_archive_is_taken_from_the_cache_with_a_note() {
    let mut world = World::new();
    world.get("debian:7.2").kernel();
    world.config.suites.retain(|s| s.name == "main");
    world.config.suites[0].series.clear();
    let got = world.get("debian:7.2");
    assert!(got.notes[0].contains("from the cache: no suite offers it any more"), "{:?}", got.notes);
    assert_eq!(got.kernel().facts.version, "7.2.12");
}

#[test]
fn refresh_asks_even_where_the_index_is_fresh_but_once() {
    let world = World::new();
    world.get("debian:main/6.12").kernel();
    world.server.forget();
    std::thread::sleep(Duration::from_millis(1100));
    let sources = world.sources().refresh(true);
    for _ in 0..2 {
        world.get_from("debian:main/6.12", Arch::X86_64, &sources).kernel();
    }
    assert_eq!(world.server.asked("InRelease"), 1);
    assert_eq!(world.server.asked(""), 1, "the index did not change and is not fetched again");
}

#[test]
fn two_at_once_wait_for_each_other() {
    let world = World::with(Behaviour { slow: Some(200), ..Default::default() }, "");
    let all: Vec<Got> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| world.get("6.12"))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(world.server.asked(".deb"), 1);
    assert!(all.iter().any(|g| g.notes.iter().any(|n| n.starts_with("waiting for another kvet to fetch"))));
    for got in all {
        assert_eq!(got.kernel().facts.version, "6.12.95");
    }
}

#[test]
fn packages_of_the_userland_are_fetched_by_name() {
    let world = World::new();
    let get = |names: &[&str]| {
        acquire_packages(
            names,
            Arch::X86_64,
            &world.cache(),
            &world.sources(),
            &mut |_| {},
            &Cancel::new().unwrap(),
        )
    };
    let busybox = get(&["busybox-static"]).unwrap().remove(0);
    assert_eq!(busybox.facts.version, "1:1.37.0-6");
    assert_eq!(fs::read(busybox.root.join("usr/bin/busybox")).unwrap(), b"#!");
    world.server.forget();
    get(&["busybox-static"]).unwrap();
    assert_eq!(world.server.asked(""), 0);
    assert!(get(&["busybox-static", "nosuch"]).unwrap_err().to_string().contains("'nosuch'"));
    assert_eq!(world.cache().prune(Prune::All).unwrap().in_use.len(), 1);
}

#[test]
fn a_mirror_on_disk_and_a_cancel() {
    let world = World::new();
    let sources = Sources::with_mirrors(world.config.clone(), mirrors(data().to_str().unwrap()));
    let cancel = Cancel::new().unwrap();
    cancel.request();
    let spec = "6.12".parse().unwrap();
    let error = acquire(&spec, Arch::X86_64, &world.cache(), &sources, &mut |_| {}, &cancel).unwrap_err();
    assert_eq!(error.fault(), Fault::Interrupted);
    world.get_from("6.12", Arch::X86_64, &sources).kernel();
}

/// One of the ignored tests below, in a process of its own.
fn inner(name: &str, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", &format!("kernel::tests::{name}")]);
    command.envs(env.iter().copied());
    command
}

/// The same with a small disk of its own at `dir`: in a mount namespace, for which root needs no user namespace.
fn inner_on_small_disk(name: &str, dir: &str, size: &str, env: &[(&str, &str)]) -> Command {
    let plain = inner(name, env);
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = r#"mount -t tmpfs -o "size=$0" none "$1"; shift; exec "$@""#;
    command.args(["--mount", "sh", "-ec", script, size, dir]);
    command.arg(plain.get_program()).args(plain.get_args()).envs(env.iter().copied());
    command
}

#[test]
fn a_full_disk_is_named_and_nothing_is_left_on_it() {
    for (size, spec, said) in [
        ("1m", "5.4", "no space left on its disk"),
        ("40k", "6.12", "not enough space for kernel 6.12.95 x86_64"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let env = [("KVET_TEST_CACHE", path), ("KVET_TEST_SPEC", spec), ("KVET_TEST_SAID", said)];
        let output =
            inner_on_small_disk("inner_full_disk", path, size, &env).output().expect("unshare(1) is there");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "(needs root or user namespaces) {text}"
        );
    }
}

#[test]
#[ignore = "run by a_full_disk_is_named_and_nothing_is_left_on_it, on a small disk of its own"]
fn inner_full_disk() {
    let var = |name| std::env::var(name).unwrap();
    let cache = Cache::open(var("KVET_TEST_CACHE")).unwrap();
    let sources = Sources::with_mirrors(config(""), mirrors(data().to_str().unwrap()));
    let error = get(&var("KVET_TEST_SPEC"), Arch::X86_64, &cache, &sources).error();
    assert_eq!(error.fault(), Fault::Host);
    assert!(error.to_string().contains(&var("KVET_TEST_SAID")), "{error}");
    assert!(error.hint_text().unwrap().contains("kvet kernel prune"));
    for dir in ["tmp", "partial", "kernels"] {
        assert_eq!(fs::read_dir(cache.root().join(dir)).unwrap().count(), 0, "{dir}");
    }
}

#[test]
fn a_killed_kvet_leaves_nothing_that_the_next_one_minds() {
    let world = World::with(Behaviour { slow: Some(20), ..Default::default() }, "");
    let cache = world.dir.path().join("cache");
    let env = [("KVET_TEST_CACHE", cache.to_str().unwrap()), ("KVET_TEST_MIRROR", &world.server.url())];
    let mut child = inner("inner_slow_fetch", &env).spawn().unwrap();
    let partial = || fs::read_dir(cache.join("partial")).into_iter().flatten().flatten().next();
    let half =
        || world.server.asked(".deb") == 1 && partial().is_some_and(|p| p.metadata().unwrap().len() > 4000);
    let until = Instant::now() + Duration::from_secs(30);
    while !half() {
        assert!(Instant::now() < until, "the download never began");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        partial().is_some() && fs::read_dir(cache.join("tmp")).unwrap().count() > 0,
        "it was killed too late"
    );
    assert_eq!(world.cache().list().unwrap(), []);
    world.get("6.12").kernel();
    let resumed = world.server.ranges().last().copied().flatten();
    assert!(resumed.is_some_and(|at| at > 4000), "it goes on where the dead one stopped: {resumed:?}");
    for dir in ["tmp", "partial"] {
        assert_eq!(fs::read_dir(cache.join(dir)).unwrap().count(), 0, "{dir}");
    }
}

#[test]
#[ignore = "run by a_killed_kvet_leaves_nothing_that_the_next_one_minds, and killed by it"]
fn inner_slow_fetch() {
    let var = |name| std::env::var(name).unwrap();
    let cache = Cache::open(var("KVET_TEST_CACHE")).unwrap();
    let sources = Sources::with_mirrors(config(""), mirrors(&var("KVET_TEST_MIRROR")));
    get("6.12", Arch::X86_64, &cache, &sources).kernel();
}
