//! `kvet kernel build` of a small tree, with everything that can go wrong in the middle: the kvet command, make, compilers, signals
//! and full disks are real ones, only the source is none that boots. Whole kernels are built in `tests/vm/build.rs`.

#[path = "vm/kvet.rs"]
#[allow(dead_code, reason = "few guests are started here")]
mod kvet_command;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kvet::event::{CellEnd, Phase, RunReport};
use kvet_command::{Ended, Kvet, Running, cache_with, processes, when};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// A tree with three sources, a cache, and the host's programs with a pahole that is new enough: nothing has to be fetched.
struct World {
    dir: tempfile::TempDir,
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

#[test]
fn a_compile_error_is_unbuildable_and_the_next_build_goes_on() {
    let world = World::new();
    world.write("init/b.c", "int f(void)\n{\n\treturn planted;\n}\n");
    let ended = world.build().end().code(1);
    for said in [
        &format!("error: kernel {}: unbuildable: init/b.c:3:16: error: 'planted' undeclared", world.spec()),
        "3 |         return planted;",
        "hint: the whole log is ",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    assert!(ended.stderr.lines().count() < 20, "{}", ended.stderr);
    assert_eq!(world.compiled(), "a b");
    world.nothing_left();

    // As the verdict of a run, with the log.
    let run = ["run", "-k", &world.spec(), "-a", "x86_64", "--jobs", "1", "--junit", "j.xml"];
    let ended = world.kvet(&run).end().code(1);
    ended.ended("Unbootable", "unbuildable: init/b.c:3:16: error: 'planted' undeclared");
    assert!(ended.cell_file("build.log").contains("'planted' undeclared"));
    let junit = fs::read_to_string(ended.path("j.xml")).unwrap();
    assert!(junit.contains("name=\"build\""), "{junit}");
    assert_eq!(world.compiled(), "b");

    // That make came to its end by itself, and left nothing half-written to look for.
    world.write("init/b.c", "int b;\n");
    let ended = world.build().end().code(0);
    assert!(!ended.stderr.contains("going on with a build"), "{}", ended.stderr);
    assert_eq!(world.compiled(), "b banner");
    world.nothing_left();
}

#[test]
fn one_of_several_that_fails_holds_up_no_other_and_the_worst_decides() {
    let world = World::new();
    let copied = Command::new("cp").arg("-r").arg(world.at("linux")).arg(world.at("other")).status().unwrap();
    assert!(copied.success());
    world.write("init/b.c", "int f(void) { return planted; }\n");
    let [broken, good] = [world.spec(), format!("tree:{}", world.at("other").display())];
    let build = |sources: &[&str]| {
        world.kvet(&["kernel", "build", "-a", "x86_64", "--jobs", "1"]).args(sources).end()
    };
    let ended = build(&[&broken, &good]).code(1);
    assert!(ended.stdout.starts_with(&format!("{good} x86_64: 7.2.1-kvet in ")), "{}", ended.stdout);
    assert!(ended.stderr.contains(&format!("error: kernel {broken}: unbuildable: ")), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("\n1 of 2 kernels failed\n"), "{}", ended.stderr);
    let ended = build(&[&broken, "tree:/nowhere", &good]).code(2);
    assert!(ended.stderr.ends_with("\n2 of 3 kernels failed\n"), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 3, "{}", ended.stdout);
}

#[test]
fn an_option_that_cannot_be_set_is_refused_before_anything_is_compiled() {
    let world = World::new();
    let fragment = "CONFIG_REFUSED=y\nCONFIG_GRANTED=y\n";
    let ended = world.build().args(["--config", "./f.config"]).file("f.config", fragment).end().code(2);
    for said in
        ["1 of ", "CONFIG_REFUSED=y (", "f.config:1): its dependencies are unmet: Kconfig:1", "NEVER (is n)"]
    {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("GRANTED"), "{}", ended.stderr);
    assert!(!world.folder().join("out/compiled").exists());
    world.nothing_left();
    let fragment = "# CONFIG_REFUSED is not set\nCONFIG_GRANTED=y\n";
    world.build().args(["--config", "./f.config"]).file("f.config", fragment).end().code(0);
}

#[test]
fn a_tree_of_another_architecture_names_those_that_it_has() {
    let world = World::new();
    let arm64 = ["kernel", "build", &world.spec(), "-a", "arm64"];
    let ended = world.kvet(&arm64).end().code(2);
    assert!(ended.stderr.contains("linux has no arch/arm64"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: it has arch/x86: -a x86_64"), "{}", ended.stderr);
    let run = world.kvet(&["run", "-k", &world.spec(), "-a", "arm64"]).end().code(2);
    run.refused("linux has no arch/arm64");
    fs::rename(world.at("linux/arch/x86"), world.at("linux/arch/sparc")).unwrap();
    let ended = world.build().end().code(2);
    assert!(ended.stderr.contains("hint: is all of it checked out?"), "{}", ended.stderr);
    assert!(
        !world.at("cache/builds").exists() || fs::read_dir(world.at("cache/builds")).unwrap().count() == 0
    );
    fs::rename(world.at("linux/arch/sparc"), world.at("linux/arch/x86")).unwrap();
    world.build().end().code(0);
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

#[test]
fn a_test_that_the_trees_own_selftests_do_not_have_is_refused_before_the_kernel_is_built() {
    let world = World::new();
    world.add_selftests();
    let refused = |test: &str, why: &str, hint: &str| {
        let ended = world.run_slice(&world.spec(), test).code(2);
        ended.refused(why);
        assert!(ended.stderr.contains(&format!("hint: {hint}")), "{}", ended.stderr);
    };
    refused(
        "dynprt/*",
        "no test of suite upstream matches -t 'dynprt/*'",
        "there are dynptr; a subtest is named TEST/SUBTEST",
    );
    refused("dynpt", "-t 'dynpt'", "there is dynptr; '*' matches");
    refused(
        "timer_mim",
        "-t 'timer_mim'",
        "prog_tests/timer.c has such a test: --slice mine=timer builds it",
    );
    world.nothing_is_built();
}

#[test]
fn a_test_that_no_source_of_a_kernel_has_is_refused_as_soon_as_the_source_is_there() {
    let world = World::new();
    world.add_selftests();
    let tarball = world.at("linux-7.2.1.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(world.dir.path()).arg("-czf").arg(&tarball).arg("linux");
    assert!(tar.status().unwrap().success());
    git(&world, &["init", "--quiet"]);
    git(&world, &["add", "."]);
    git(&world, &["commit", "--quiet", "-m", "one"]);
    git(&world, &["tag", "v7.2.1"]);
    let repository = format!("git:{}@v7.2.1", world.at("linux").display());
    for kernel in [repository, format!("tar:{}", tarball.display())] {
        let ended = world.run_slice(&kernel, "dynprt/*").code(2);
        let why = "no test of suite upstream matches -t 'dynprt/*'";
        assert!(ended.stderr.contains(&format!("selftests of {kernel}: {why}")), "{}", ended.stderr);
        assert!(fs::read_dir(world.at("cache/sources")).unwrap().count() > 0, "the source was looked at");
        world.nothing_is_built();
        assert!(!ended.cell_dir().join("build.log").exists());
    }
}

/// git in the tree.
fn git(world: &World, args: &[&str]) -> String {
    let who = ["-c", "user.name=t", "-c", "user.email=t@example", "-c", "commit.gpgsign=false"];
    let done = Command::new("git").arg("-C").arg(world.at("linux")).args(who).args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn what_llvm_lacks_is_named_with_its_packages() {
    let world = World::new();
    for program in ["ld.lld-19", "llvm-ar-19"] {
        // It may not be installed anyway.
        let _ = fs::remove_file(world.at("bin").join(program));
    }
    let ended = world.build().args(["--toolchain", "clang-19"]).end().code(3);
    assert!(ended.stderr.contains("for x86_64 with clang-19 needs "), "{}", ended.stderr);
    assert!(ended.stderr.contains("ld.lld-19, llvm-ar-19"), "{}", ended.stderr);
    assert!(ended.stderr.contains("lld-19 llvm-19\n"), "{}", ended.stderr);
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

#[test]
fn ctrl_c_stops_the_compilers_and_the_next_build_goes_on() {
    let world = World::new();
    let running = world.build_held_at("b");
    running.signal(Signal::SIGINT);
    let ended = running.end().code(130);
    assert!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
    assert!(ended.wall < Duration::from_secs(5), "{:?}", ended.wall);
    world.nothing_left();
    assert!(!world.folder().join("out/init/b.o").exists(), "make has removed what was half made");
    assert_eq!(world.compiled(), "a b");
    // And again, and this time to the end.
    let running = world.build();
    let running = running.start();
    world.wait_for_step("b");
    running.signal(Signal::SIGTERM);
    assert!(running.end().code(130).stderr.contains("going on with a build"));
    assert_eq!(world.compiled(), "b");
    world.release("b");
    world.goes_on("b banner");
}

#[test]
fn what_a_kill_left_half_written_is_made_again() {
    let world = World::new();
    world.build().end().code(0);
    world.compiled();
    world.write("init/b.c", "int b2;\n");
    let running = world.build_held_at("b");
    // Nobody gets to tidy up.
    running.signal(Signal::SIGSTOP);
    let makes = world.makes();
    killpg(Pid::from_raw(makes[0]), Signal::SIGKILL).unwrap();
    running.signal(Signal::SIGKILL);
    let ended = running.end();
    assert_eq!(ended.code, None, "{}", ended.stderr);
    until("make's end", || world.makes().is_empty());
    assert_eq!(fs::read(world.folder().join("out/init/b.o")).unwrap(), b"half\n");
    world.compiled();
    world.release("b");
    let ended = world.goes_on("b");
    assert!(ended.stderr.contains("1 unfinished file"), "{}", ended.stderr);
}

#[test]
fn two_at_once_on_one_tree_take_turns() {
    let world = World::new();
    let first = world.build_held_at("b");
    let mut second = world.build().start();
    second.says("waiting for another kvet to finish the same build");
    assert_eq!(world.makes().len(), 1);
    world.release("b");
    let (first, second) = (first.end().code(0), second.end().code(0));
    assert_eq!(world.compiled(), "a b banner", "each once");
    let entry = |ended: &Ended| ended.stdout.lines().last().map(str::to_owned);
    assert!(entry(&first).is_some() && entry(&first) == entry(&second), "{} {}", first.stdout, second.stdout);
    world.nothing_left();
}

#[test]
fn the_second_goes_on_where_the_first_one_was_stopped() {
    let world = World::new();
    let first = world.build_held_at("b");
    let mut second = world.build().start();
    second.says("waiting for another kvet to finish the same build");
    first.signal(Signal::SIGINT);
    first.end().code(130);
    world.release("b");
    let second = second.end().code(0);
    assert!(second.stderr.contains("going on with a build"), "{}", second.stderr);
    let compiled = world.compiled();
    assert!(["a b banner", "a b b banner"].contains(&compiled.as_str()), "{compiled}");
    world.nothing_left();
}

/// The cache is a disk of its own, in memory. `steps` is what the shell does first; it has `build`, which is what is run in the end.
fn on_a_disk(world: &World, size: &str, steps: &str) -> Ended {
    let cache = world.at("cache");
    fs::create_dir_all(&cache).unwrap();
    let shell = format!(
        "cache={cache}\ntree={tree}\nmount -t tmpfs -o size={size} none $cache\nkvet=$0\n\
         build() {{ \"$kvet\" kernel build tree:$tree -a x86_64 --jobs 1; }}\n{steps}",
        cache = cache.display(),
        tree = world.at("linux").display(),
    );
    world.set(Kvet::unshared(&shell, ["kernel", "build", &world.spec(), "-a", "x86_64", "--jobs", "1"])).end()
}

#[test]
fn a_disk_that_is_too_small_is_refused_before_anything_is_compiled() {
    let ended = on_a_disk(&World::new(), "1G", "").code(3);
    assert!(
        ended.stderr.contains("not enough space for building 7.2.1: it needs 3072.0 MiB, 102"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("hint: `kvet kernel prune` makes room"), "{}", ended.stderr);
}

#[test]
fn no_space_left_in_the_middle_is_the_hosts_trouble_and_the_next_build_goes_on() {
    let world = World::new();
    // 32 MiB of an object on a disk that has room for 8.
    let steps = "build\n\
         echo 'char b[32 << 20] = {1};' > $tree/init/b.c\n\
         mount -o remount,size=8m $cache\n\
         code=0; build 2> full || code=$?; echo $code >> full\n\
         ls $cache/builds/*/out/init/b.o 2>> full || true\n\
         code=0; build 2> again || code=$?; echo $code >> again\n\
         mount -o remount,size=4G $cache\n\
         rm $cache/builds/*/out/compiled\n\
         build 2> third\n\
         cat $cache/builds/*/out/compiled > compiled\n\
         ls $cache/tmp > left\n";
    let ended = on_a_disk(&world, "4G", steps).code(0);
    let file = |name: &str| fs::read_to_string(ended.path(name)).unwrap();
    for name in ["full", "again"] {
        let said = file(name);
        assert!(said.contains("no space left on the disk (") && said.contains(" MiB free)"), "{said}");
        assert!(said.contains("hint: `kvet kernel prune` makes room, KVET_CACHE"), "{said}");
        assert!(said.contains("; the next build goes on from there"), "{said}");
        assert!(said.contains("\n3\n"), "{said}");
    }
    assert!(file("full").contains("b.o': No such file"), "make has removed what was half made");
    assert!(file("third").contains("going on with a build"), "{}", file("third"));
    assert_eq!(file("compiled"), "init/b\n", "what was made before is still good");
    assert_eq!(file("left"), "");
}

#[test]
fn a_make_that_somebody_else_ends_says_nothing_about_the_source() {
    let world = World::new();
    let running = world.build_held_at("b");
    let makes = world.makes();
    kill(Pid::from_raw(makes[0]), Signal::SIGTERM).unwrap();
    let ended = running.end().code(3);
    assert!(ended.stderr.contains("was broken off: make was ended by signal 15"), "{}", ended.stderr);
    assert_eq!(world.compiled(), "a b");
    world.release("b");
    world.goes_on("b banner");
}

/// Two guests are all that there may be at a time: the third kernel is built beside them, and not after them.
#[test]
fn the_next_kernel_of_a_matrix_is_built_while_the_guests_of_others_run() {
    let world = World::new();
    fs::rename(cache_with("7.2", "x86_64").keep(), world.at("cache")).unwrap();
    world.write("init/a.hold", "");
    let text = format!(
        "kernels: [debian:7.2, '{tree}']\narchs: [x86_64]\nsuites: [./first.yaml, ./second.yaml]\n\
         exclude: [{{kernel: '{tree}', suite: ./second.yaml}}]\n",
        tree = world.spec()
    );
    let steps = ["one=pass", "two=sleep:5000"];
    let call = Kvet::new(["matrix", "m.yaml", "-j", "2"]).file("m.yaml", &text);
    let call = call.fault_suite("first", &steps).fault_suite("second", &steps);
    let running = call.env("KVET_CACHE", &world.at("cache")).env("PATH", &world.at("bin")).start();
    let sleeps = |suite: &str| {
        let path = running.path(&format!("results/latest/debian-7.2-x86_64-{suite}/stdout"));
        fs::read_to_string(path).is_ok_and(|said| said.contains("RUN           two"))
    };
    until("both guests", || sleeps("first") && sleeps("second"));
    world.wait_for_step("a");
    world.release("a");
    let ended = running.end().code(1);
    let report = fs::read_to_string(ended.path("results/latest/report.json")).unwrap();
    let cells = serde_json::from_str::<RunReport>(&report).unwrap().cells;
    let build = when(&cells[2], Phase::Fetch);
    for cell in &cells[..2] {
        assert_eq!((&cell.end, cell.counts.passed), (&CellEnd::Completed, 2));
        let tests = when(cell, Phase::Tests);
        assert!(
            build.start < tests.start && tests.start < build.end,
            "tests at {tests:?}, a build at {build:?}"
        );
    }
    // It is built, and no kernel that boots. With several jobs the held source need not be the first.
    let compiled = world.compiled();
    let mut sources: Vec<&str> = compiled.split(' ').collect();
    sources.sort_unstable();
    assert_eq!(sources, ["a", "b", "banner"]);
    assert!(matches!(cells[2].end, CellEnd::Unbootable { .. }), "{:?}", cells[2].end);
}
