//! Kernels built of the archive's source. Proving a config takes seconds, once the source is unpacked; building takes ten minutes on two
//! quiet CPUs, and is for `make test-full`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use kvet::event::Outcome;

use crate::guests::cache;
use crate::support::Kvet;

fn dry<'a>(source: &'a str, rest: &[&'a str]) -> Kvet {
    Kvet::new(["kernel", "build", "--dry-run", source]).args(rest)
}

#[test]
fn every_option_of_our_config_is_granted_by_7_2() {
    let ended = dry("debian-source:7.2", &["-a", "x86_64", "-a", "arm64"]).end().code(0);
    let granted = ended.stdout.lines().filter(|line| line.contains("all of them granted")).count();
    assert_eq!(granted, 2, "{}", ended.stdout);
    assert!(ended.stdout.contains(" vmlinux\n") && ended.stdout.contains(" Image\n"), "{}", ended.stdout);
    dry("debian-source:7.2", &["--config", "debug"]).end().code(0);
}

#[test]
fn other_bases_and_the_selftests_own_fragment_can_be_asked_for() {
    for arch in ["x86_64", "arm64"] {
        dry("debian-source:7.2", &["-a", arch, "--base", "defconfig"]).end().code(0);
    }
    dry(
        "debian-source:7.2",
        &["-a", "x86_64", "--config", "menus", "--config", "tree:tools/testing/selftests/bpf/config"],
    )
    .end()
    .code(0);
}

#[test]
fn options_that_cannot_be_had_are_named_with_their_reasons() {
    let fragment =
        "CONFIG_BTRFS_FS_RUN_SANITY_TESTS=y\nCONFIG_NO_SUCH=y\n# CONFIG_HAVE_EBPF_JIT is not set\n";
    let kvet =
        dry("debian-source:7.2", &["-a", "x86_64", "--config", "./f.config"]).file("f.config", fragment);
    let ended = kvet.end().code(2);
    for said in [
        "f.config:1): its dependencies are unmet: fs/btrfs/Kconfig:",
        "BTRFS_FS (is n)",
        "f.config:2): this release has no such option",
        "f.config:3): it is y: ",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
}

#[test]
fn fragments_that_contradict_each_other_are_named_with_their_lines() {
    let kvet = dry("debian-source:7.2", &["--config", "./f.config"]).file("f.config", "\nCONFIG_INET=n\n");
    let ended = kvet.end().code(2);
    assert!(
        ended.stderr.contains("CONFIG_INET is y in ") && ended.stderr.contains("net.config:"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("f.config:2") && ended.stderr.contains("#@ override"), "{}", ended.stderr);
}

/// Everything that is installed but for some programs.
fn programs_without(lacking: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in Path::new("/usr/bin").read_dir().unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if !lacking.iter().any(|lacking| name.to_string_lossy().starts_with(lacking)) {
            symlink(path, dir.path().join(name)).unwrap();
        }
    }
    dir
}

#[test]
fn doctor_names_the_packages_that_builds_lack() {
    let programs =
        programs_without(&["flex", "bison", "pahole", "clang", "ld.lld", "llvm-", "aarch64-linux-gnu-gcc"]);
    let ended = Kvet::new(["doctor"]).env("PATH", programs.path()).end().code(3);
    let after = |what: &str| {
        let mut lines = ended.stdout.lines().skip_while(|line| !line.contains(what));
        [lines.next().unwrap_or_default(), lines.next().unwrap_or_default()].join("\n")
    };
    for (what, needs, packages) in [
        ("builds x86_64 ", "needs flex, bison, pahole: not", "apt-get install bison flex pahole"),
        ("builds arm64 ", "pahole, aarch64-linux-gnu-gcc: not", "flex gcc-aarch64-linux-gnu pahole"),
        (
            "builds with LLVM ",
            "pahole, clang-19, ld.lld-19, llvm-ar-19, llvm-objcopy-19: not",
            "apt-get install bison clang-19 flex lld-19 llvm-19 pahole",
        ),
        ("selftests x86_64 ", "clang 17 or newer", "apt-get install clang-19"),
    ] {
        let said = after(what);
        assert!(
            said.starts_with(['✗', '!']) && said.contains(needs) && said.contains(packages),
            "{}",
            ended.stdout
        );
    }
}

#[test]
#[ignore = "unpacks three more sources, 6 GB"]
fn every_option_of_our_config_is_granted_by_other_releases() {
    for release in ["6.1", "6.12", "7.3"] {
        dry(&format!("debian-source:{release}"), &["-a", "x86_64", "-a", "arm64"]).end().code(0);
    }
}

/// Builds a kernel, runs the dynptr suite on it with nothing left out that it is not too old for, and builds nothing the second time.
fn built(release: &str, arch: &str) {
    let source = &format!("debian-source:{release}");
    let ended = Kvet::new(["run", "-k", source, "-a", arch, "--strict"]).end().code(0);
    let cell = ended.cell();
    // What stock kernels lack an option for is run here.
    super::dynptr::not_passed_as_pinned(&format!("built-{release}"), arch, &cell.cases);
    let first = cell.kernel.unwrap().built.unwrap();
    assert!(first.btf.bytes > 0 && first.signature.len() == 64, "{first:?}");
    let again = Kvet::new(["kernel", "build", source, "-a", arch]).end().code(0);
    assert!(again.stdout.contains(&first.signature[..12]), "{}", again.stdout);
    assert!(!again.stderr.contains("build log"), "nothing is built: {}", again.stderr);
    let info = Kvet::new(["kernel", "info", source, "-a", arch]).end().code(0);
    assert!(info.stdout.contains(&first.signature), "{}", info.stdout);
}

#[test]
#[ignore = "builds a whole kernel"]
fn a_built_7_2_passes_the_dynptr_suite() {
    built("7.2", "x86_64");
}

#[test]
#[ignore = "builds a whole kernel"]
fn a_built_7_2_passes_the_dynptr_suite_on_arm64() {
    built("7.2", "arm64");
}

#[test]
#[ignore = "builds a whole kernel"]
fn a_built_6_12_passes_the_dynptr_suite() {
    built("6.12", "x86_64");
}

/// A copy of the archive's 7.2 with a `bpf_dynptr_adjust` that lets a dynptr begin behind its end. What is built of it is removed from the
/// cache in the end: nobody else has this source.
struct Planted {
    dir: tempfile::TempDir,
}

impl Planted {
    fn new() -> Self {
        let source = "debian-source:7.2";
        dry(source, &["-a", "x86_64"]).end().code(0);
        let of_7_2 = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("debian-7.2.");
        let sources = fs::read_dir(cache().join("sources")).unwrap().map(|entry| entry.unwrap().path());
        let from = sources.filter(of_7_2).max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        // Beside the cache, where there is room for it and a file may share its bytes with the original.
        let dir = tempfile::tempdir_in(cache()).unwrap();
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto"]).arg(from.unwrap().join("tree")).arg(dir.path().join("linux"));
        assert!(copy.status().unwrap().success());
        let planted = Self { dir };
        let helpers = planted.tree().join("kernel/bpf/helpers.c");
        let text = fs::read_to_string(&helpers).unwrap();
        let (before, after) = text.split_once(" bpf_dynptr_adjust(").unwrap();
        let (function, rest) = after.split_once("\n}\n").unwrap();
        let without = function.replacen("!ptr->data || start > end", "!ptr->data", 1);
        assert_ne!(without, function, "another release checks it in another way");
        fs::write(&helpers, format!("{before} bpf_dynptr_adjust({without}\n}}\n{rest}")).unwrap();
        planted
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("linux")
    }

    fn spec(&self) -> String {
        format!("tree:{}", self.tree().display())
    }

    /// The tests of a suite that fail.
    fn failed(&self, suite: &str) -> Vec<String> {
        let ended = Kvet::new(["run", "-k", &self.spec(), "-a", "x86_64", "-s", suite]).end().code(1);
        let cell = ended.cell();
        assert!(cell.counts.passed > 200, "{:?}", cell.counts);
        let failed = cell.cases.into_iter().filter(|case| case.outcome == Outcome::Fail);
        failed.map(|case| case.name).collect()
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let here = self.tree().display().to_string();
        for kind in ["builds", "kernels"] {
            for entry in fs::read_dir(cache().join(kind)).into_iter().flatten().flatten() {
                let told = fs::read_to_string(entry.path().join("entry.json")).unwrap_or_default();
                if told.contains(&here) {
                    let _ = fs::remove_dir_all(entry.path());
                }
            }
        }
    }
}

#[test]
#[ignore = "builds a whole kernel"]
fn a_planted_bug_fails_the_tests_that_should_see_it_and_no_others() {
    let planted = Planted::new();
    assert_eq!(
        planted.failed("dynptr"),
        ["dynptr_success/test_adjust_err", "dynptr_success/test_wide_adjust"]
    );
    assert_eq!(planted.failed("upstream"), ["dynptr/test_adjust_err"]);
}
