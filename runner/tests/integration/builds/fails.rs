//! Kernels that cannot be built, or not as they are asked for.

use super::*;

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
