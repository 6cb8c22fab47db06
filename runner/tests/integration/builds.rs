//! `kvet kernel build` of a small tree, with everything that can go wrong in the middle: the kvet command, make, compilers, signals
//! and full disks are real ones, only the source is none that boots. Whole kernels are built in `tests/vm/builds.rs`.

mod fails;
mod interrupted;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Ended, Kvet, Running, cache_with, processes, when};
use kvet::event::{CellEnd, Phase, RunReport};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// A tree with three sources, a cache, and the host's programs with a pahole that is new enough: nothing has to be fetched.
struct World {
    dir: tempfile::TempDir,
}

impl Running {
    /// Waits until it says something on standard error. What it said up to there is not kept for its end.
    fn says(&mut self, text: &str) {
        let mut said = String::new();
        let mut stderr = BufReader::new(self.child.stderr.as_mut().unwrap());
        while !said.contains(text) {
            let read = stderr.read_line(&mut said).unwrap();
            assert!(read > 0, "{text} in {said}");
        }
    }
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        for (name, text) in [
            ("Makefile", include_str!("builds/kbuild.mk")),
            ("Kconfig", "config REFUSED\n\tbool \"refused\"\n\tdepends on NEVER\n"),
            ("scripts/Makefile.build", ""),
            ("arch/x86/Makefile", ""),
            ("init/a.c", "int a;\n"),
            ("init/b.c", "int b;\n"),
            ("init/banner.c", include_str!("builds/banner.c")),
            ("boot/header.S", include_str!("builds/header.S")),
            ("modules/extra.c", include_str!("builds/extra.c")),
        ] {
            world.write(name, text);
        }
        let bin = world.at("bin");
        fs::create_dir(&bin).unwrap();
        let programs = Path::new("/usr/bin").read_dir().unwrap().flatten();
        for program in programs.filter(|program| program.file_name() != "pahole") {
            symlink(program.path(), bin.join(program.file_name())).unwrap();
        }
        fs::write(bin.join("pahole"), "#!/bin/sh\necho v1.30\n").unwrap();
        fs::set_permissions(bin.join("pahole"), fs::Permissions::from_mode(0o755)).unwrap();
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn spec(&self) -> String {
        format!("tree:{}", self.at("linux").display())
    }

    /// Writes a file of the tree, later than anything that was made of it.
    fn write(&self, name: &str, text: &str) {
        std::thread::sleep(Duration::from_millis(20));
        let path = self.at("linux").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn set(&self, kvet: Kvet) -> Kvet {
        kvet.without_guest().env("KVET_CACHE", &self.at("cache")).env("PATH", &self.at("bin"))
    }

    fn kvet(&self, args: &[&str]) -> Kvet {
        self.set(Kvet::new(args))
    }

    fn build(&self) -> Kvet {
        self.kvet(&["kernel", "build", &self.spec(), "-a", "x86_64", "--jobs", "1"])
    }

    /// The only build folder.
    fn folder(&self) -> PathBuf {
        let folders = fs::read_dir(self.at("cache/builds")).into_iter().flatten().flatten();
        let folders: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders[0].clone()
    }

    /// What was compiled since the last call, in order.
    fn compiled(&self) -> String {
        let path = self.folder().join("out/compiled");
        let names = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        names.replace("init/", "").replace('\n', " ").trim_end().to_owned()
    }

    /// Starts a build, and waits until a source is being compiled that takes until [`World::release`].
    fn build_held_at(&self, source: &str) -> Running {
        self.write(&format!("init/{source}.hold"), "");
        let running = self.build().start();
        self.wait_for_step(source);
        running
    }

    fn wait_for_step(&self, source: &str) {
        let object = format!("out/init/{source}.o");
        let half = || {
            let folders = fs::read_dir(self.at("cache/builds")).into_iter().flatten().flatten();
            folders.into_iter().any(|f| fs::read(f.path().join(&object)).is_ok_and(|text| text == b"half\n"))
        };
        until(&format!("{source}.o"), half);
    }

    fn release(&self, source: &str) {
        fs::remove_file(self.at(&format!("linux/init/{source}.hold"))).unwrap();
    }

    /// The make processes for this tree.
    fn makes(&self) -> Vec<i32> {
        let tree = self.at("linux").display().to_string();
        processes(|command| command.starts_with("make\0") && command.contains(&tree))
    }

    /// The next build comes to its end, and says that it goes on where the last one stopped.
    #[track_caller]
    fn goes_on(&self, compiles: &str) -> Ended {
        let ended = self.build().end().code(0);
        assert!(ended.stderr.contains("going on with a build"), "{}", ended.stderr);
        assert_eq!(self.compiled(), compiles);
        self.nothing_left();
        ended
    }

    /// No half unpacked folder in the cache, no make, no compiler.
    #[track_caller]
    fn nothing_left(&self) {
        assert_eq!(fs::read_dir(self.at("cache/tmp")).unwrap().count(), 0);
        let world = self.dir.path().display().to_string();
        assert_eq!(processes(|command| command.contains(&world)), Vec::<i32>::new());
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Everything below a folder, with contents and times.
fn snapshot(dir: &Path) -> Vec<String> {
    let listed = Command::new("find").arg(dir).args(["-printf", "%P %y %s %T@ %m\n"]).output().unwrap();
    let mut lines: Vec<String> =
        String::from_utf8(listed.stdout).unwrap().lines().map(String::from).collect();
    lines.sort();
    lines
}

#[test]
fn a_tree_is_built_beside_itself_and_then_only_what_changed() {
    let world = World::new();
    let before = snapshot(&world.at("linux"));
    let ended = world.build().end().code(0);
    assert!(ended.stdout.contains("7.2.1-kvet in "), "{}", ended.stdout);
    assert_eq!(world.compiled(), "a b banner");
    assert_eq!(snapshot(&world.at("linux")), before, "nothing is written into the tree");
    world.build().end().code(0);
    assert_eq!(world.compiled(), "");
    world.write("init/b.c", "int b2;\n");
    world.build().end().code(0);
    assert_eq!(world.compiled(), "b");
    world.nothing_left();
}

#[test]
fn two_sources_of_one_kernel_are_both_known_by_it() {
    let world = World::new();
    let copied = Command::new("cp").arg("-r").arg(world.at("linux")).arg(world.at("other")).status().unwrap();
    assert!(copied.success());
    let sources = [world.spec(), format!("tree:{}", world.at("other").display())];
    let [first, second] = &sources;
    let built = world.kvet(&["kernel", "build", first, second, "-a", "x86_64", "--jobs", "1"]).end().code(0);
    let images: Vec<_> = built.stdout.lines().filter(|line| line.ends_with("/image")).collect();
    assert_eq!((images.len(), images[0]), (2, images[1]), "{}", built.stdout);
    for source in &sources {
        let info = world.kvet(&["kernel", "info", source]).end().code(0).stdout;
        assert!(info.contains(&format!("\nsource    {source}\n")), "{info}");
    }
    let listed = world.kvet(&["kernel", "list"]).end().code(0).stdout;
    assert!(listed.contains(&format!(", built of {second} and 1 more\n")), "{listed}");
}

#[test]
fn nothing_of_the_callers_environment_gets_into_a_kernel() {
    let world = World::new();
    let built = |kvet: Kvet| kvet.end().code(0).stdout.split("signature ").nth(1).unwrap()[..12].to_owned();
    let plain = built(world.build());
    let names = |world: &World| fs::read_to_string(world.folder().join("out/environment")).unwrap();
    assert!(names(&world).lines().any(|name| name == "PATH"), "{}", names(&world));

    let nonsense = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let path = nonsense.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    at("as", "#!/bin/sh\necho no assembler >&2\nexit 1\n");
    let makefile = at("makefile", "$(error read)\n");
    let folder = nonsense.path();
    let mut kvet = world.build().env("KVET_CACHE", &world.at("second"));
    let all = [
        ("GNUMAKEFLAGS", Path::new("--no-such-option")),
        ("MAKEFLAGS", Path::new("--no-such-option")),
        ("MAKEFILES", &makefile),
        ("COMPILER_PATH", folder),
        ("GCC_EXEC_PREFIX", folder),
        ("CPATH", folder),
        ("C_INCLUDE_PATH", folder),
        ("LD_LIBRARY_PATH", folder),
        ("HOSTCFLAGS", Path::new("-no-such-flag")),
        ("KCFLAGS", Path::new("-no-such-flag")),
        ("LLVM_IAS", Path::new("0")),
        ("INSTALL_MOD_STRIP", Path::new("--no-such-option")),
        ("SOURCE_DATE_EPOCH", Path::new("1")),
        ("CCACHE_COMPILER", Path::new("/bin/false")),
    ];
    for (name, value) in all {
        kvet = kvet.env(name, value);
    }
    assert_eq!(built(kvet), plain);
    let second = fs::read_dir(world.at("second/builds")).unwrap().next().unwrap().unwrap().path();
    let seen = fs::read_to_string(second.join("out/environment")).unwrap();
    let leaked: Vec<_> = all.iter().filter(|(name, _)| seen.lines().any(|line| line == *name)).collect();
    // Make sets this one itself.
    assert!(leaked.iter().all(|(name, _)| *name == "MAKEFLAGS"), "{leaked:?}");
}

#[test]
fn another_linker_makes_another_kernel() {
    let world = World::new();
    world.build().end().code(0);
    let ld = world.at("bin/ld");
    fs::remove_file(&ld).unwrap();
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'GNU ld 9.99' && exit\nexec /usr/bin/ld \"$@\"\n";
    fs::write(&ld, script).unwrap();
    fs::set_permissions(&ld, fs::Permissions::from_mode(0o755)).unwrap();
    world.build().end().code(0);
    let folders = fs::read_dir(world.at("cache/builds")).unwrap().flatten();
    let logs = folders.map(|folder| fs::read_to_string(folder.path().join("out/compiled")).unwrap());
    assert_eq!(logs.collect::<Vec<_>>(), ["init/a\ninit/b\ninit/banner\n"; 2], "both are whole builds");
    let info = world.kvet(&["kernel", "info", &world.spec(), "-a", "x86_64"]).end().code(0).stdout;
    assert!(info.contains(", GNU ld 9.99, pahole v1.30\n"), "{info}");
}

impl World {
    /// The tree's own selftests: two tests.
    fn add_selftests(&self) {
        let selftests = "tools/testing/selftests/bpf";
        self.write(&format!("{selftests}/Makefile"), "all:\n");
        self.write(&format!("{selftests}/prog_tests/dynptr.c"), "void test_dynptr(void)\n{\n}\n");
        self.write(&format!("{selftests}/prog_tests/timer.c"), "void serial_test_timer_mim(void)\n{\n}\n");
    }

    /// A run of one slice of them on a kernel.
    fn run_slice(&self, kernel: &str, test: &str) -> Ended {
        let args = ["run", "-k", kernel, "-a", "x86_64", "-s", "upstream", "--slice", "mine=dynptr"];
        self.kvet(&args).args(["-t", test]).end()
    }

    fn nothing_is_built(&self) {
        let builds = self.at("cache/builds");
        assert!(!builds.exists() || fs::read_dir(builds).unwrap().count() == 0);
    }
}

fn git(world: &World, args: &[&str]) -> String {
    let who = ["-c", "user.name=t", "-c", "user.email=t@example", "-c", "commit.gpgsign=false"];
    let done = Command::new("git").arg("-C").arg(world.at("linux")).args(who).args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn modules_and_a_compressed_image_are_made_where_the_config_says_so() {
    let world = World::new();
    let fragment = "CONFIG_MODULES=y\n#@ override\n# CONFIG_PVH is not set\n";
    let dry =
        world.build().args(["--config", "./f.config", "--dry-run"]).file("f.config", fragment).end().code(0);
    assert!(dry.stdout.trim_end().ends_with(" -j1 bzImage modules"), "{}", dry.stdout);
    let ended = world.build().args(["--config", "./f.config"]).file("f.config", fragment).end().code(0);
    let image = PathBuf::from(ended.stdout.lines().last().unwrap().trim());
    assert_eq!(&fs::read(&image).unwrap()[0x202..0x206], b"HdrS", "the compressed image");
    let modules = image.with_file_name("lib/modules/7.2.1-kvet");
    assert!(modules.join("kernel/extra.ko").is_file());
    assert!(fs::symlink_metadata(modules.join("build")).is_err(), "a link that leads out of the cache");
    let info = world.kvet(&["kernel", "info", &world.spec(), "-a", "x86_64"]).end().code(0).stdout;
    assert!(info.contains(&format!("modules   {}\n", modules.display())), "{info}");
    world.nothing_left();

    // Another module is another kernel, though vmlinux is the same.
    let extra = include_str!("builds/extra.c");
    world.write("modules/extra.c", &format!("{extra}const int more __attribute__((used)) = 1;\n"));
    let other = world.build().args(["--config", "./f.config"]).file("f.config", fragment).end().code(0);
    assert_ne!(other.stdout.lines().last(), ended.stdout.lines().last());

    let dry = world.build().args(["--dry-run"]).end().code(0);
    assert!(dry.stdout.trim_end().ends_with(" -j1 vmlinux"), "{}", dry.stdout);
}

#[test]
fn a_dirty_tree_is_built_as_it_is_and_named_so() {
    let world = World::new();
    let git = |args: &[&str]| git(&world, args);
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "one"]);
    git(&["tag", "v7.2.1"]);
    let identity = || {
        let info = world.kvet(&["kernel", "info", &world.spec(), "-a", "x86_64"]).end().code(0).stdout;
        let field = |name: &str| info.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
        (field("describe"), field("identity"))
    };
    let clean = world.build().end().code(0);
    assert!(!clean.stderr.contains("not committed"), "{}", clean.stderr);
    let (describe, committed) = identity();
    assert_eq!(describe, "v7.2.1");

    world.write("init/b.c", "int changed;\n");
    let ended = world.build().end().code(0);
    assert!(ended.stderr.contains("has changes that are not committed (v7.2.1-dirty)"), "{}", ended.stderr);
    let (describe, changed) = identity();
    assert_eq!(describe, "v7.2.1-dirty (changes that are not committed)");
    assert!(changed.starts_with(&format!("{committed}-dirty-")), "{changed}");

    // A file that git does not know is a change, too, and is compiled.
    world.write("init/new.c", "int new;\n");
    world.compiled();
    world.build().end().code(0);
    assert_eq!(world.compiled(), "new");
    assert_ne!(identity().1, changed);
    assert_eq!(git(&["status", "--porcelain"]), " M init/b.c\n?? init/new.c\n", "git sees nothing of ours");
}
