//! The dynptr suite on the kernels that it is for.

use std::path::Path;

use kvet::event::{Event, Outcome, TestCase};

use crate::guests::check_junit;
use crate::support::{Kvet, cached};

/// The test of the dynptr suite that no kernel of Debian's is built for.
pub const LACKS_AN_OPTION: &str = "skb_meta/lwt_ioam6_encap";

fn dynptr_passes(kernel: &str, arch: &str) {
    let ended = Kvet::run_on(kernel, arch).end().code(0);
    ended.check_files();
    not_passed_as_pinned(kernel, arch, &ended.cell().cases);
}

/// Every test of the suite has passed, but for those that `data/dynptr/` names, each with its outcome and its reason. With
/// `KVET_TEST_BLESS` set the file is written instead: look at what has changed in it.
pub fn not_passed_as_pinned(kernel: &str, arch: &str, cases: &[TestCase]) {
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
fn without_modules(config: Option<&dyn Fn(&str) -> String>, flags: &[&str]) -> crate::support::Ended {
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
    let crashes = cell.cases.iter().filter(|case| case.name.starts_with("crashes/")).count();
    assert_eq!(crashes, 7);
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
