//! What is refused before anything is started.

use std::path::Path;

use crate::guests::faults;
use crate::support::{Kvet, cached};

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
