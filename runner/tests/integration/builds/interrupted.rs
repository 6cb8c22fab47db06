//! Builds that are stopped, disturbed, or beside others.

use super::*;

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
