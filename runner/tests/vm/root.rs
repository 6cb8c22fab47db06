//! `--root`: jobs with a root of their own, on real kernels. The userland's packages come from the cache or the archive like kernels.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::{Ended, Kvet, cached};

/// What a test may expect of the userland. It stops at the first command that fails.
const EVERYTHING: &str = r#"#!/bin/bash
set -eux -o pipefail
# A shell with arrays, and another behind /bin/sh.
parts=(one "two three"); [[ ${#parts[@]} == 2 && ${parts[1]} == "two three" ]]
[[ $(readlink /bin/sh) == dash && $(readlink /bin) == usr/bin ]]
# It is root's, and new.
[[ $(id -u) == 0 ]]
for file in / /usr/bin/bash /usr/bin/sh /etc/passwd; do [[ $(stat -c %u:%g $file) == 0:0 ]]; done
[[ $(stat -c %a /usr/bin/bash) == 755 && $(stat -c %a /etc/passwd) == 644 && $(stat -c %a /var/tmp) == 1777 ]]
[[ $(setpriv --reuid 65534 --regid 65534 --clear-groups id -un) == nobody ]]
[[ ! -e /etc/written ]]
# What is mounted.
for type in proc sysfs devtmpfs devpts bpf tracefs debugfs securityfs cgroup2 tmpfs; do grep -q " $type " /proc/mounts; done
[[ $PWD == /kvet/tests && -w /dev/shm && -c /dev/pts/ptmx && -r /sys/kernel/tracing/trace && -d /lib/modules/$(uname -r)/kernel ]]
echo left > /kvet/results/left
# The network.
ip netns add here
ip netns exec here ip link set lo up
ip link add one type veth peer name two netns here
tc qdisc add dev one clsact
tc qdisc show dev one | grep -q clsact
sysctl -n net.ipv4.ip_forward
ping -c 1 -W 5 127.0.0.1
iptables -L -n
# The kernel's file systems and modules.
mkdir /tmp/bpf
mount -t bpf none /tmp/bpf
modprobe dummy numdummies=2
ip link show dummy1
rmmod dummy
! modprobe nosuch
! modprobe -r tun
truncate -s 16M /tmp/image
mkfs.ext4 -q -b 4096 -O verity /tmp/image
mount -o loop /tmp/image /mnt
echo text > /mnt/file
fsverity enable /mnt/file
umount /mnt
# The kernel's config, where libbpf and scripts look for it.
grep -qx CONFIG_BPF_SYSCALL=y /boot/config-$(uname -r)
# Neither chroot nor the lack of a user name is in the way.
[[ $(unshare --user --map-root-user id -u) == 0 ]]
unshare --mount umount /tmp/bpf
[[ $(echo 'a b' | awk '{ print $2 }') == b ]]
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -keyout /tmp/key -out /tmp/cert
# Everything can be written, changed and removed.
echo written > /etc/written
rm /etc/hosts
chmod 4755 /usr/bin/bash
touch /usr/bin/new
"#;

/// Every file below a folder with what a writer would change.
fn fingerprint(root: &Path) -> Vec<(PathBuf, u32, u64, i64, i64)> {
    let mut all = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let data = fs::symlink_metadata(entry.path()).unwrap();
            if data.is_dir() {
                folders.push(entry.path());
            }
            all.push((entry.path(), data.mode(), data.len(), data.mtime(), data.ctime()));
        }
    }
    all.sort();
    assert!(all.len() > 1000, "{} has {} files", root.display(), all.len());
    all
}

/// The folder of the userland in the cache.
fn userland(arch: &str) -> PathBuf {
    let ended = Kvet::new(["image", "info", "-a", arch]).end().code(0);
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix("root      ")).unwrap();
    PathBuf::from(line)
}

fn everything_works(kernel: &str, arch: &str) {
    let tree = userland(arch);
    let before = fingerprint(&tree);
    let kvet = Kvet::run_on(kernel, arch).file("t.sh", EVERYTHING).executable("t.sh");
    let ended = kvet.args(["--root", "userland", "--", "./t.sh"]).end().code(0);
    assert_eq!(ended.cases(), ["t_sh Pass"]);
    assert_eq!(ended.cell_file("files/left"), "left\n");
    assert!(ended.cell().provenance["root"].starts_with(&format!("userland-{arch}-")));
    assert!(fingerprint(&tree) == before, "a guest changed {}", tree.display());
}

#[test]
fn a_script_for_bash_has_what_it_needs_on_7_2() {
    everything_works("7.2", "x86_64");
}

#[test]
fn a_script_for_bash_has_what_it_needs_on_6_12() {
    everything_works("6.12", "x86_64");
}

#[test]
fn a_script_for_bash_has_what_it_needs_on_7_2_on_arm64() {
    everything_works("7.2", "arm64");
}

/// A copy of a program of this machine, so that its folder holds nothing else.
fn copy_of(program: &str, ended_in: &Path) -> String {
    let copy = ended_in.join(Path::new(program).file_name().unwrap());
    fs::copy(program, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy.to_str().unwrap().to_owned()
}

#[test]
fn a_dynamic_program_runs_and_its_status_counts() {
    let dir = tempfile::tempdir().unwrap();
    let program = copy_of("/usr/bin/expr", dir.path());
    let ended = Kvet::run_on("7.2", "x86_64").args(["--root", "userland", "--", &program, "6", "*", "7"]);
    assert!(ended.end().code(0).stdout.contains("42\n"));
    let ended = Kvet::run_on("7.2", "x86_64").args(["--root", "userland", "--", &program, "1", "=", "2"]);
    let ended = ended.end().code(1);
    assert_eq!(ended.case("expr").0, "exit status 1");
}

#[test]
fn a_suite_can_ask_for_a_root_and_an_arm64_guest_has_one_too() {
    let manifest = "name: mine\ntitle: t\nprogram: ./t.sh\nformat: ktap\nroot: userland\n";
    let script = "#!/usr/bin/env bash\necho 1..1\n[[ $(uname -m) == aarch64 ]] && echo ok 1 there\n";
    let kvet =
        Kvet::run_on("7.2", "arm64").file("suite.yaml", manifest).file("t.sh", script).executable("t.sh");
    let ended = kvet.args(["--suite", "./suite.yaml"]).end().code(0);
    assert_eq!(ended.cases(), ["there Pass"]);
}

#[test]
fn the_hosts_files_are_there_and_stay_as_they_are() {
    let script = "#!/bin/bash\nset -eux\ncmp /etc/debian_version <(echo \"$1\")\ntest -x /usr/bin/expr\n\
                  touch /usr/bin/from-a-guest /etc/from-a-guest\nrm /usr/bin/expr\n";
    let version = fs::read_to_string("/etc/debian_version").unwrap();
    let kvet = Kvet::run_on("7.2", "x86_64").file("t.sh", script).executable("t.sh");
    let ended = kvet.args(["--root", "host", "--", "./t.sh", version.trim()]).end().code(0);
    assert_eq!(ended.cell().provenance["root"], "the host's /");
    assert!(!Path::new("/usr/bin/from-a-guest").exists() && !Path::new("/etc/from-a-guest").exists());
    assert!(Path::new("/usr/bin/expr").exists());
}

#[test]
fn a_host_whose_boot_is_a_link_is_a_root_like_any() {
    cached("7.2", "x86_64");
    // This machine's files, under a root in which /boot leads nowhere.
    let shell = r#"
        root=$PWD/root here=$PWD
        mkdir $root
        mount -t tmpfs none $root
        for entry in /*; do
            if [ $entry = /boot ]; then ln -s /nowhere/boot $root/boot
            elif [ -L $entry ]; then cp -a $entry $root/
            elif [ -d $entry ]; then mkdir $root$entry; mount --rbind $entry $root$entry
            fi
        done
        exec chroot $root sh -c 'cd "$0"; exec "$@"' $here "$0" "$@""#;
    let script = "#!/bin/bash\nset -eux\ngrep -qx CONFIG_BPF_SYSCALL=y /boot/config-$(uname -r)\n";
    let args = ["run", "-k", "7.2", "-a", "x86_64", "--root", "host", "--", "./t.sh"];
    let kvet = Kvet::unshared(shell, args).file("t.sh", script).executable("t.sh");
    assert_eq!(kvet.end().code(0).cases(), ["t_sh Pass"]);
}

#[test]
fn a_shell_in_the_userland() {
    cached("7.2", "x86_64");
    let line = "a=(x y); echo said-${a[1]}; ip -V; ls /kvet/tests; false";
    let ended =
        Kvet::new(["shell", "-k", "7.2", "-a", "x86_64", "--root", "userland", "-c", line]).end().code(1);
    for expected in ["said-y", "ip utility, iproute2", "dynptr-selftests"] {
        assert!(ended.stdout.contains(expected), "{expected}: {}", ended.stdout);
    }
}

// --- refused before anything is started -------------------------------------------------------------------------

/// `kvet run -a ARCH ARGS`, beside a script.
fn run(arch: &str, first: &str, args: &[&str]) -> Ended {
    let kvet = Kvet::new(["run", "-k", "7.2", "-a", arch]).file("t.sh", first).executable("t.sh");
    kvet.args(args).args(["--", "./t.sh"]).end()
}

#[test]
fn what_does_not_fit_together_is_refused() {
    cached("7.2", "x86_64");
    run("x86_64", "#!/bin/bash\n", &[]).code(2).refused("./t.sh is a script for '/bin/bash'");
    run("arm64", "#!/bin/bash\n", &["--root", "host"]).code(2).refused("this machine's programs are x86_64");
    let args = ["--root", "userland", "--share", "initramfs"];
    run("x86_64", "#!/bin/bash\n", &args).code(2).refused("--root and --share initramfs exclude each other");
    run("x86_64", "#!bash\n", &["--root", "userland"]).code(2).refused("'bash', which is no absolute path");
    assert!(run("x86_64", "#!/bin/sh\n", &["--root", "chroot"]).code(2).stderr.contains("userland"));
}

#[test]
fn an_interpreter_that_the_userland_lacks_is_named() {
    cached("7.2", "x86_64");
    let ended = run("x86_64", "#!/usr/bin/python3 -u\n", &["--root", "userland"]).code(2);
    assert!(
        ended.stderr.contains("./t.sh is run by /usr/bin/python3, which userland-x86_64-"),
        "{}",
        ended.stderr
    );
    assert!(!ended.path("results").exists(), "nothing was begun");
}

#[test]
fn a_kernel_without_overlayfs_is_one_clear_line_and_no_boot() {
    let (image, modules) = cached("7.2", "x86_64");
    let config = fs::read_to_string(Path::new(&image).with_file_name("config")).unwrap();
    let without = config.replace("CONFIG_OVERLAY_FS=m", "# CONFIG_OVERLAY_FS is not set");
    assert_ne!(config, without);
    let kernel = format!("file:{image}");
    let args = ["run", "-a", "x86_64", "-k", &kernel, "--modules", &modules, "--config", "config"];
    let kvet = Kvet::new(args).file("config", &without).file("t.sh", "#!/bin/sh\n").executable("t.sh");
    let ended = kvet.args(["--root", "userland", "--", "./t.sh"]).end().code(1);
    ended.ended("Unbootable", "CONFIG_OVERLAY_FS is not set");
    assert!(!ended.cell_dir().join("qemu.argv").exists(), "nothing was booted");
}

#[test]
fn the_userland_is_shown_with_the_reason_of_each_package() {
    let ended = Kvet::new(["image", "info", "-a", "arm64"]).end().code(0);
    for expected in ["package   bash 5", "needed by bash", "ip and tc; busybox's", "left out  debconf"] {
        assert!(ended.stdout.contains(expected), "{expected}: {}", ended.stdout);
    }
    let ended = Kvet::new(["image", "list"]).end().code(0);
    assert!(ended.stdout.contains("userland-arm64-"), "{}", ended.stdout);
    let cache = tempfile::tempdir().unwrap();
    let empty = |args: &[&str]| Kvet::new(args).env("KVET_CACHE", cache.path()).end();
    assert_eq!(empty(&["image", "list"]).code(0).stdout, "");
    assert_eq!(empty(&["image", "prune", "--all"]).code(0).stdout, "0 B freed\n");
    empty(&["image", "prune"]).code(2);
}
