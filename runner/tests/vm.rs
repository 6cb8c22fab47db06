//! The kvet command on real kernels, in real guests. Kernels come from the cache (`KVET_CACHE`); what is missing there
//! is fetched. `KVET_TEST_BIN` names the kvet to test; `make test` gives the optimised one.

#[path = "vm/bisect.rs"]
mod bisect;
#[path = "vm/build.rs"]
mod build;
#[path = "vm/ci.rs"]
mod ci;
#[path = "vm/counts.rs"]
mod counts;
#[path = "vm/kvet.rs"]
mod kvet_command;
#[path = "vm/matrix.rs"]
mod matrix;
#[path = "vm/mutants.rs"]
mod mutants;
#[path = "vm/programs.rs"]
mod programs;
#[path = "vm/resume.rs"]
mod resume;
#[path = "vm/selection.rs"]
mod selection;
#[path = "vm/symptom.rs"]
mod symptom;
#[path = "vm/upstream.rs"]
mod upstream;

use std::path::Path;
use std::time::Duration;

use kvet::event::{Event, Outcome, TestCase};
use kvet_command::{Kvet, cached, check_junit, faults};
use nix::sys::signal::{Signal, kill};

/// The test of the dynptr suite that no kernel of Debian's is built for.
const LACKS_AN_OPTION: &str = "skb_meta/lwt_ioam6_encap";

// --- the dynptr suite -------------------------------------------------------------------------------------------

fn dynptr_passes(kernel: &str, arch: &str) {
    let ended = Kvet::run_on(kernel, arch).end().code(0);
    ended.check_files();
    not_passed_as_pinned(kernel, arch, &ended.cell().cases);
}

/// Every test of the suite has passed, but for those that `data/dynptr/` names, each with its outcome and its reason. With
/// `KVET_TEST_BLESS` set the file is written instead: look at what has changed in it.
fn not_passed_as_pinned(kernel: &str, arch: &str, cases: &[TestCase]) {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests/tests.list");
    let listed = std::fs::read_to_string(&list).unwrap().lines().count();
    assert_eq!(cases.len(), listed, "every test has a result on {kernel} {arch}");
    let mut lines: Vec<String> = cases
        .iter()
        .filter(|case| case.outcome != Outcome::Pass)
        .map(|case| format!("{:?} {}: {}\n", case.outcome, case.name, case.message))
        .collect();
    lines.sort();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dynptr");
    let path = data.join(format!("{kernel}-{arch}.txt"));
    if std::env::var_os("KVET_TEST_BLESS").is_some() {
        std::fs::write(&path, lines.concat()).unwrap();
    }
    let pinned = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let pinned: Vec<&str> = pinned.split_inclusive('\n').collect();
    let new: Vec<_> = lines.iter().filter(|line| !pinned.contains(&line.as_str())).collect();
    let gone: Vec<_> = pinned.iter().filter(|line| !lines.iter().any(|it| it == *line)).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "{}: KVET_TEST_BLESS=1 writes it anew\nnot in it: {new:#?}\nonly in it: {gone:#?}",
        path.display()
    );
}

#[test]
fn the_dynptr_suite_passes_on_6_1() {
    dynptr_passes("6.1", "x86_64");
}

#[test]
fn the_dynptr_suite_passes_on_6_12() {
    dynptr_passes("6.12", "x86_64");
}

#[test]
fn the_dynptr_suite_passes_on_7_2_on_arm64() {
    dynptr_passes("7.2", "arm64");
}

#[test]
fn the_dynptr_suite_passes_on_7_2_and_every_event_is_a_line_of_json() {
    let ended = Kvet::run_on("7.2", "x86_64")
        .args(["--message-format", "json", "--junit", "deep/j.xml"])
        .end()
        .code(0);
    ended.check_files();
    check_junit(&ended.path("deep/j.xml"), &ended.cell());
    let events: Vec<Event> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(matches!(events.first(), Some(Event::RunStarted { .. })));
    let Some(Event::RunFinished { report }) = events.last() else { panic!("the last event is another") };
    let finished = events.iter().filter(|e| matches!(e, Event::TestFinished { .. })).count();
    assert_eq!(finished, report.cells[0].cases.len());
    not_passed_as_pinned("7.2", "x86_64", &report.cells[0].cases);
}

#[test]
fn a_kernel_without_modules_gets_the_suite_in_its_initramfs() {
    let ended = Kvet::run_on("7.1", "x86_64").args(["--junit", "j.xml"]).end().code(0);
    let cell = ended.cell();
    let note = "the suite travels in the initramfs, and what it leaves in /kvet/results is lost: its modules are gone";
    assert!(cell.notes.iter().any(|said| said.starts_with(note)), "{:?}", cell.notes);
    let junit = std::fs::read_to_string(ended.path("j.xml")).unwrap();
    assert!(ended.stdout.contains(note) && junit.contains(note), "{}\n{junit}", ended.stdout);
    not_passed_as_pinned("7.1", "x86_64", &cell.cases);
    assert!(cell.notes.iter().any(|note| note.contains("without its modules")), "{:?}", cell.notes);
    assert!(!ended.cell_file("qemu.argv").contains("virtio-9p"), "nothing is shared");
}

/// What a guest without modules says about four tests, by what it is told of the kernel's config.
fn without_modules(config: Option<&dyn Fn(&str) -> String>, flags: &[&str]) -> kvet_command::Ended {
    let (image, modules) = cached("7.2", "x86_64");
    let image = format!("file:{image}");
    let mut call = Kvet::new(["run", "-a", "x86_64", "-k", &image, "--share", "initramfs"]);
    call = call.args(flags.iter().copied());
    for test in
        ["skb_meta/dynptr_read", "files/fsverity_digest", "files/file_slice", "program_types/skb_in_qdisc"]
    {
        call = call.args(["-t", test]);
    }
    if let Some(change) = config {
        // The config is beside the folder that the modules are in.
        let entry = Path::new(&modules).ancestors().find(|dir| dir.join("config").is_file()).unwrap();
        let text = std::fs::read_to_string(entry.join("config")).unwrap();
        call = call.file("config", &change(&text)).args(["--config", "config"]);
    }
    call.end()
}

#[test]
fn what_the_config_has_and_the_kernel_does_not_do_is_a_failure_and_what_it_lacks_is_a_skip() {
    // It says that tun is built in, and it is not; that no file system in memory has attributes, and they have.
    let told = without_modules(
        Some(&|config: &str| {
            assert!(config.contains("CONFIG_TUN=m\n") && config.contains("CONFIG_TMPFS_XATTR=y\n"));
            config.replace("CONFIG_TUN=m\n", "CONFIG_TUN=y\n").replace("CONFIG_TMPFS_XATTR=y\n", "")
        }),
        &[],
    )
    .code(1);
    assert_eq!(
        told.cases(),
        [
            "skb_meta/dynptr_read Fail",
            "files/file_slice Skip",
            "files/fsverity_digest Skip",
            "program_types/skb_in_qdisc Pass"
        ]
    );
    let message = told.case("skb_meta/dynptr_read").0;
    let (what, options) = message.split_once(", although the kernel was built with ").expect(&message);
    assert!(what.contains("/dev/net/tun") && options.contains("CONFIG_TUN=y"), "{message}");
    let skipped = |name, why: &str| assert_eq!(told.case(name).0, why);
    skipped("files/fsverity_digest", "needs module loop (CONFIG_BLK_DEV_LOOP=m), which is not at hand");
    skipped("files/file_slice", "needs CONFIG_TMPFS_XATTR, which is not set");
}

#[test]
fn what_happens_decides_where_the_config_is_not_known() {
    let untold = without_modules(None, &[]).code(0);
    assert_eq!(
        untold.cases(),
        [
            "skb_meta/dynptr_read Skip",
            "files/file_slice Pass",
            "files/fsverity_digest Skip",
            "program_types/skb_in_qdisc Pass"
        ]
    );
    let message = untold.case("skb_meta/dynptr_read").0;
    assert!(message.contains("/dev/net/tun") && message.contains("CONFIG_TUN"), "{message}");
    assert!(message.ends_with("and the kernel's config is not known"), "{message}");
}

#[test]
fn strict_makes_failures_of_what_is_not_there() {
    let strict = without_modules(None, &["--strict"]).code(1);
    assert_eq!(
        strict.cases(),
        [
            "skb_meta/dynptr_read Fail",
            "files/file_slice Pass",
            "files/fsverity_digest Fail",
            "program_types/skb_in_qdisc Pass"
        ]
    );
    let message = strict.case("skb_meta/dynptr_read").0;
    assert!(message.contains("CONFIG_TUN"), "{message}");
}

#[test]
fn what_a_dynptr_test_leaves_behind_is_named() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../selftests/dynptr/leaks.yaml");
    let manifest = manifest.canonicalize().unwrap();
    let ended = Kvet::run_on("7.2", "x86_64").args(["--suite", manifest.to_str().unwrap()]).end().code(0);
    let cell = ended.cell();
    assert_eq!(cell.counts.passed, cell.cases.len(), "nothing is skipped: {:?}", cell.counts);
    let told = ended.cell_file("stdout");
    for words in [
        "left behind: /sys/fs/bpf/kvet-leak-link",
        "pinned_objects left behind: BPF link ",
        "left behind: /sys/fs/cgroup/kvet-leak",
        "left behind: mount /run/netns/kvet-leak",
        "left behind: /sys/class/net/kvet-leak0",
        "left behind: process ",
        "left behind: attribute user.kvet-leak of /sys/fs/cgroup is \"left\"",
        "left behind: attribute user.kvet-leak of /tmp is \"left\"",
        "left behind: /proc/sys/net/ipv4/ip_forward is 1",
        "key left behind: key ",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // Without its tunnel, each test of one fails.
    let tunnels = cell.cases.iter().filter(|case| case.name.starts_with("tunnels/lwt_")).count();
    assert_eq!(tunnels, 4);
    let deaths = cell.cases.iter().filter(|case| case.name.starts_with("deaths/")).count();
    assert_eq!(deaths, 7);
}

#[test]
fn the_order_of_the_dynptr_tests_does_not_matter_and_one_option_is_missing_to_run_them() {
    let ended = Kvet::run_on("7.2", "x86_64").args(["--shuffle", "4711", "--strict"]).end().code(1);
    let mut cases = ended.cell().cases;
    let lacking = cases.iter_mut().find(|case| case.name == LACKS_AN_OPTION).unwrap();
    assert_eq!(lacking.outcome, Outcome::Fail);
    let without = lacking.message.strip_suffix(", and --strict allows nothing to be missing").unwrap();
    (lacking.outcome, lacking.message) = (Outcome::Skip, without.to_owned());
    not_passed_as_pinned("7.2", "x86_64", &cases);
    assert_ne!(cases[0].name, "dynptr_success/dynptr_invalidate_slice_success", "it is another order");
}

#[test]
fn a_filter_selects_and_a_good_kernel_is_0_for_git_bisect() {
    let filter = ["-t", "dynptr_success/test_a*", "-t", "!*_err", "--git-bisect"];
    let ended = Kvet::run_on("7.2", "x86_64").args(filter).end().code(0);
    let cases = ended.cell().cases;
    assert!(
        !cases.is_empty() && cases.iter().all(|c| c.name.starts_with("dynptr_success/test_a")),
        "{cases:?}"
    );
    assert!(cases.iter().all(|c| !c.name.ends_with("_err") && c.outcome == Outcome::Pass), "{cases:?}");
}

// --- programs and suites of one's own ---------------------------------------------------------------------------

#[test]
fn the_exit_status_of_a_program_is_the_verdict() {
    let program = faults("x86_64");
    let ended = Kvet::run_on("7.2", "x86_64").args(["--", &program, "exit:3"]).end().code(1);
    assert_eq!(ended.cases(), ["kvet-faults Fail"]);
    assert_eq!(ended.case("kvet-faults").0, "exit status 3");
}

#[test]
fn a_program_that_a_signal_kills_has_failed_and_is_1_for_git_bisect() {
    let program = faults("arm64");
    let ended =
        Kvet::run_on("7.2", "arm64").args(["--git-bisect", "--", &program, "signal:11"]).end().code(1);
    assert_eq!(ended.case("kvet-faults").0, "killed by SIGSEGV");
}

#[test]
fn a_daemon_that_holds_the_output_is_not_waited_for() {
    let program = faults("x86_64");
    let ended = Kvet::run_on("6.12", "x86_64").args(["--", &program, "orphan"]).end().code(0);
    let tests = ended.cell().times.iter().find(|t| t.phase == kvet::event::Phase::Tests).unwrap().wall;
    assert!(tests < Duration::from_secs(5), "{tests:?}");
}

const SCRIPT: &str = r#"#!/bin/sh
echo 'KTAP version 1'
echo '1..3'
echo 'ok 1 foo'
# Nothing of this may hide the warning from the console.
echo 1 > /proc/sys/kernel/printk
echo '<4>WARNING: CPU: 0 PID: 1 at kernel/fake.c:1 quiet+0x1/0x2' > /dev/kmsg
echo 'ok 2 bar'
exit 1
"#;

#[test]
fn a_script_runs_by_busybox_and_a_filter_hides_neither_its_end_nor_a_splat() {
    let manifest = "name: mine\ntitle: t\nprogram: ./t.sh\nformat: ktap\n";
    let kvet =
        Kvet::run_on("7.2", "x86_64").file("suite.yaml", manifest).file("t.sh", SCRIPT).executable("t.sh");
    let ended = kvet.args(["--suite", "./suite.yaml", "-t", "foo"]).end().code(1);
    let cell = ended.cell();
    let names: Vec<&str> = cell.cases.iter().map(|case| case.name.as_str()).collect();
    assert!(names.contains(&"foo") && !names.contains(&"bar"), "{names:?}");
    assert!(names.iter().any(|name| name.contains("test 3")), "a plan that was not met is said: {names:?}");
    let blamed = cell.cases.iter().any(|case| case.detail.contains("quiet+0x1/0x2"));
    assert!(blamed || cell.splats.iter().any(|splat| splat.text.contains("quiet+0x1/0x2")), "{cell:?}");
}

// --- kernels in trouble -----------------------------------------------------------------------------------------

#[test]
fn a_warning_and_a_panic_are_blamed_on_their_tests_and_the_rest_was_not_run() {
    let steps = ["one=pass", "two=warn", "three=skip", "four=fail", "five=panic", "six=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).end().code(1);
    ended.ended("Crashed", "sysrq triggered crash");
    let mut cases = ended.cases();
    cases.sort();
    assert_eq!(cases, ["five Error", "four Fail", "one Pass", "six NotRun", "three Skip", "two Error"]);
    let (message, detail) = ended.case("faults/two");
    assert!(
        message.contains("faults_warn+0x2a/0x40") && detail.contains("[ cut here ]"),
        "{message}\n{detail}"
    );
    let (_, detail) = ended.case("faults/five");
    assert!(detail.contains("Kernel panic") && detail.contains("sysrq_handle_crash"), "{detail}");
    let (message, _) = ended.case("faults/six");
    assert!(message.starts_with("not run: the guest crashed"), "{message}");
    check_junit(&ended.path("results/latest/junit.xml"), &ended.cell());
    assert!(
        ended.stdout.contains("faults/five") && ended.stdout.contains("Kernel panic"),
        "{}",
        ended.stdout
    );
}

#[test]
fn without_marks_a_warning_is_blamed_by_the_stamps() {
    let suite = "name: faults\ntitle: t\nprogram: '{guest}/faults/kvet-faults'\nformat: ktap\n\
                 args: [--ktap, --no-marks, one=sleep:300, two=warn, three=sleep:300]\n";
    let kvet = Kvet::run_on("6.1", "x86_64").file("suite.yaml", suite).args(["--suite", "./suite.yaml"]);
    let ended = kvet.end().code(1);
    assert_eq!(ended.cases(), ["one Pass", "two Error", "three Pass"]);
}

#[test]
fn a_panic_is_125_for_git_bisect() {
    let ended = Kvet::run_on("7.2", "arm64")
        .faults(&["one=pass", "two=panic"])
        .args(["--git-bisect"])
        .end()
        .code(125);
    ended.ended("Crashed", "sysrq triggered crash");
    assert_eq!(ended.cases(), ["one Pass", "two Error"]);
}

#[test]
fn a_test_that_hangs_is_ended_after_its_time() {
    let steps = ["one=pass", "two=hang", "three=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).args(["--timeout", "2s"]).end().code(1);
    assert_eq!(ended.cases(), ["one Pass", "two Error", "three NotRun"]);
    assert!(
        ended.case("faults/two").0.contains("faults/two ran longer than 2 s"),
        "{:?}",
        ended.case("faults/two")
    );
    assert!(ended.cell_file("console.log").contains("sysrq: Show"), "the kernel was asked what its tasks do");
}

#[test]
fn a_kernel_that_is_starved_is_given_up() {
    let steps = ["one=pass", "two=spin:0", "three=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).args(["--timeout", "8s"]).end().code(1);
    ended.ended("TimedOut", "faults/two ran longer than 8 s");
    assert_eq!(ended.cases(), ["one Pass", "two Error", "three NotRun"]);
}

// --- init, QEMU and kvet in trouble -----------------------------------------------------------------------------

#[test]
fn a_test_that_kills_init_crashes_the_guest() {
    let ended = Kvet::run_on("7.2", "x86_64").faults(&["one=pass", "two=kill-init"]).end().code(1);
    ended.ended("Crashed", "the guest's init failed: killed by a signal");
    assert_eq!(ended.cases(), ["one Pass", "two Error"]);
}

#[test]
fn an_init_that_is_gone_skips_the_commit() {
    let ended = Kvet::run_on("7.2", "arm64")
        .faults(&["one=pass", "two=wipe-init"])
        .args(["--git-bisect"])
        .end()
        .code(125);
    ended.ended("Crashed", "Attempted to kill init!");
}

/// A run whose second test sleeps forever, seen to do so.
fn hanging() -> kvet_command::Running {
    let running = Kvet::run_on("7.2", "x86_64").faults(&["one=pass", "two=hang", "three=pass"]).start();
    running.wait_for("stdout", "RUN           two");
    running
}

#[test]
fn a_killed_qemu_is_the_hosts_trouble() {
    let running = hanging();
    kill(running.qemu(), Signal::SIGKILL).unwrap();
    let ended = running.end().code(3);
    ended.ended("Infra", "SIGKILL");
    assert_eq!(ended.cases(), ["one Pass", "two Error", "three NotRun"]);
}

#[test]
fn a_killed_kvet_takes_its_qemu_along_and_leaves_the_logs() {
    let running = hanging();
    running.signal(Signal::SIGKILL);
    // Waits for the end of QEMU, too.
    let ended = running.end();
    assert_eq!(ended.code, None);
    assert!(
        ended.cell_file("stdout").contains("ok 1 one") && ended.cell_file("console.log").contains("Linux")
    );
}

#[test]
fn an_interrupt_writes_what_had_finished() {
    let running = hanging();
    running.signal(Signal::SIGINT);
    let ended = running.end().code(130);
    ended.ended("Interrupted", "");
    assert_eq!(ended.cases(), ["one Pass", "two Error", "three NotRun"]);
    check_junit(&ended.path("results/latest/junit.xml"), &ended.cell());
    assert!(ended.wall < Duration::from_secs(10), "{:?}", ended.wall);
}

#[test]
fn two_interrupts_end_it_at_once() {
    let running = hanging();
    running.signal(Signal::SIGINT);
    running.signal(Signal::SIGINT);
    let ended = running.end().code(130);
    assert!(ended.wall < Duration::from_secs(5), "{:?}", ended.wall);
}

// --- refused before anything is started -------------------------------------------------------------------------

#[test]
fn a_filter_that_matches_nothing_is_refused() {
    let ended = Kvet::new(["run", "-k", "7.2", "-a", "x86_64", "-t", "test_adjust"]).end().code(2);
    ended.refused("no test of suite dynptr matches -t 'test_adjust'");
    assert!(ended.stderr.contains("dynptr_success/test_adjust"), "what was near is named: {}", ended.stderr);
    // Beside one that is there a mistake would go unnoticed.
    let both = ["-t", "dynptr_success/test_adjust", "-t", "dynptr_sucess/*"];
    let ended = Kvet::new(["run", "-k", "7.2", "-a", "x86_64"]).args(both).end().code(2);
    ended.refused("no test of suite dynptr matches -t 'dynptr_sucess/*'");
}

#[test]
fn an_order_is_for_suites_that_can_be_run_in_another() {
    let ended = Kvet::new(["run", "-a", "x86_64", "--shuffle", "1", "--", &faults("x86_64"), "pass"]).end();
    ended.code(2).refused("suite kvet-faults has an order of its own");
}

#[test]
fn what_is_no_verdict_about_the_kernel_stops_git_bisect() {
    for args in [
        &["run", "--git-bisect", "--suite", "nosuch"][..],
        &["run", "--git-bisect", "-k", "nonsense:1"],
        &["run", "--git-bisect", "--output", "/proc/nowhere", "-k", "7.2"],
        &["run", "--git-bisect", "--no-such-flag"],
    ] {
        Kvet::new(args).end().code(128);
    }
}

#[test]
fn a_bad_manifest_is_refused_and_the_place_is_named() {
    for (suite, expected) in [
        ("name: x\ntitle: t\nprogram: ./missing\nformat: ktap\n", "./missing"),
        ("name: x\ntitle: t\nprogram: ./x\nformat: tap14\n", "tap14"),
        ("name: x\ntitle: t\nprogramm: ./x\nformat: ktap\n", "programm"),
        ("name: [\n", "suite.yaml"),
    ] {
        let kvet = Kvet::new(["run", "-a", "x86_64", "--suite", "./suite.yaml"]).file("suite.yaml", suite);
        let ended = kvet.end().code(2);
        assert!(ended.stderr.contains(expected) && ended.stderr.contains("suite.yaml"), "{}", ended.stderr);
        assert!(!ended.path("results").exists());
    }
}

#[test]
fn a_program_that_cannot_run_in_a_guest_is_refused() {
    let ended = Kvet::new(["run", "-a", "x86_64", "--", "/bin/ls"]).end().code(2);
    ended.refused("/bin/ls is dynamically linked");
    let ended = Kvet::new(["run", "-a", "x86_64", "--", &faults("arm64"), "pass"]).end().code(2);
    ended.refused("is built for arm64, the guest is x86_64");
}

#[test]
fn a_kernel_of_another_architecture_is_refused() {
    let (image, _) = cached("7.2", "arm64");
    let ended = Kvet::new(["run", "-a", "x86_64", "-k", &format!("file:{image}")]).end().code(2);
    assert!(ended.stderr.contains("is a kernel for arm64"), "{}", ended.stderr);
    assert!(!ended.path("results").exists(), "nothing was begun");
}

#[test]
fn a_kernel_without_9p_is_one_clear_line_and_no_boot() {
    let (image, _) = cached("7.2", "x86_64");
    let config = Path::new(&image).with_file_name("config");
    let kernel = format!("file:{image}");
    let kvet = Kvet::new(["run", "-a", "x86_64", "-k", &kernel, "--config", config.to_str().unwrap()]);
    let ended = kvet.args(["--share", "9p"]).end().code(1);
    ended.ended("Unbootable", "CONFIG_NET_9P_VIRTIO");
    assert!(!ended.cell_dir().join("qemu.argv").exists(), "nothing was booted");
}

#[test]
fn a_kernel_of_which_nothing_is_known_says_itself_that_it_has_no_9p() {
    let (image, _) = cached("7.2", "x86_64");
    let bare = tempfile::tempdir().unwrap();
    let copy = bare.path().join("image");
    std::fs::copy(image, &copy).unwrap();
    let kernel = format!("file:{}", copy.display());
    let ended =
        Kvet::new(["run", "-a", "x86_64", "-k", &kernel, "--", &faults("x86_64"), "pass"]).end().code(1);
    ended.ended("Unbootable", "the kernel has no 9p");
}

#[test]
fn a_dry_run_shows_everything_and_starts_nothing() {
    cached("7.2", "x86_64");
    let ended = Kvet::new(["run", "-k", "7.2", "-a", "x86_64", "--dry-run"]).end().code(0);
    for expected in [
        "qemu-system-x86_64 -nodefaults",
        "path=RESULTS,",
        "initramfs",
        "virtio-9p-pci",
        "tests      ",
        "9pnet_virtio",
    ] {
        assert!(ended.stdout.contains(expected), "{expected}: {}", ended.stdout);
    }
    assert!(!ended.path("results").exists());
}

// --- other ways in ----------------------------------------------------------------------------------------------

#[test]
fn a_kernel_file_runs_with_its_modules() {
    let (image, modules) = cached("6.12", "x86_64");
    let cache = tempfile::tempdir().unwrap();
    let image = format!("file:{image}");
    let args = ["run", "-a", "x86_64", "-k", &image, "--modules", &modules, "--", &faults("x86_64"), "pass"];
    // With another cache the modules are somebody else's, and nothing may be written beside them.
    let ended = Kvet::new(args).env("KVET_CACHE", cache.path()).end().code(0);
    assert_eq!(ended.cases(), ["kvet-faults Pass"]);
    let kernel = ended.cell().kernel.unwrap();
    assert!(kernel.release.starts_with("6.12") && kernel.packages.is_empty(), "{kernel:?}");
}

#[test]
fn a_shell_runs_one_line_and_gives_its_status() {
    cached("7.2", "x86_64");
    let line = "echo said-$((6 * 7)); uname -m; ls /kvet/tests; false";
    let ended = Kvet::new(["shell", "-k", "7.2", "-a", "x86_64", "-c", line]).end().code(1);
    for expected in ["said-42", "x86_64", "dynptr-selftests"] {
        assert!(ended.stdout.contains(expected), "{expected}: {}", ended.stdout);
    }
}

// --- long ones, for `make test-full` ----------------------------------------------------------------------------

#[test]
#[ignore = "fills a guest's memory: 15 s"]
fn an_oom_kill_is_blamed_on_its_test() {
    let steps = ["one=pass", "two=oom", "three=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).end().code(1);
    let (message, detail) = ended.case("faults/two");
    assert!(detail.contains("Out of memory") || message.contains("oom"), "{message}\n{detail}");
}

#[test]
#[ignore = "100 MiB over an emulated wire: 30 s"]
fn a_flood_of_output_is_cut_and_the_tests_go_on() {
    let steps = ["one=pass", "two=flood:100", "three=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).end().code(0);
    assert_eq!(ended.cases(), ["one Pass", "two Pass", "three Pass"]);
    let size = std::fs::metadata(ended.cell_dir().join("stdout")).unwrap().len();
    assert!(size <= 65 << 20, "{size} bytes");
    assert!(ended.cell().notes.iter().any(|note| note.contains("64 MiB")), "{:?}", ended.cell().notes);
}

#[test]
#[ignore = "100,000 lines over an emulated serial line: 60 s"]
fn a_flood_on_the_console_does_not_hide_the_results() {
    let steps = ["one=kmsg-flood:100000", "two=pass"];
    let ended = Kvet::run_on("7.2", "x86_64").faults(&steps).args(["--timeout", "4m"]).end().code(0);
    assert_eq!(ended.cases(), ["one Pass", "two Pass"]);
}

#[test]
#[ignore = "a hang without a time limit is noticed after 45 s of silence"]
fn a_guest_without_a_sign_of_life_is_given_up() {
    let ended = Kvet::run_on("6.12", "x86_64").faults(&["one=pass", "two=spin:0"]).end().code(1);
    ended.ended("TimedOut", "no sign of life for 45 s");
    assert_eq!(ended.cases(), ["one Pass", "two Error"]);
}
