//! Makes the archive that the tests of this room use: `tests/data/archive`. It is signed once, with keys that are
//! thrown away, because a machine that runs the tests need not have gpg.
//!
//! `cargo test -p kvet --lib -- --ignored make_the_archive`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::image::tests::{bzimage, image};
use super::testing::{Tar, deb};
use kvet_host::hash::Sha256Hex;

struct Made {
    arch: &'static str,
    stanza: String,
}

impl Made {
    /// With more fields, each a line.
    fn with(mut self, fields: &str) -> Self {
        self.stanza = self.stanza.replacen("Installed-Size", &format!("{fields}\nInstalled-Size"), 1);
        self
    }
}

struct Maker {
    root: PathBuf,
}

impl Maker {
    fn package(
        &self,
        (name, version, arch): (&str, &str, &'static str),
        installed_kib: u64,
        compression: &str,
        fill: impl FnOnce(&mut Tar),
    ) -> Made {
        let bytes = deb(compression, fill);
        let file = format!("pool/{name}_{}_{arch}.deb", version.rsplit(':').next().unwrap());
        fs::write(self.root.join(&file), &bytes).unwrap();
        let stanza = format!(
            "Package: {name}\nVersion: {version}\nInstalled-Size: {installed_kib}\nArchitecture: {arch}\nFilename: \
             {file}\nSize: {}\nSHA256: {}\n\n",
            bytes.len(),
            Sha256Hex::of(&bytes)
        );
        Made { arch, stanza }
    }

    fn whole(&self, abi: &str, version: &str, arch: &'static str, kib: u64, compression: &str) -> Made {
        let image = if arch == "amd64" { bzimage(abi) } else { image(abi) };
        self.package((&format!("linux-image-{abi}"), version, arch), kib, compression, |tar| {
            tar.dir("./boot/");
            tar.file(&format!("./boot/vmlinuz-{abi}"), &image, 0o644);
            tar.file(&format!("./boot/config-{abi}"), b"CONFIG_DEBUG_INFO_BTF=y\nCONFIG_9P_FS=m\n", 0o644);
            tar.file(&format!("./boot/System.map-{abi}"), b"not here", 0o644);
            tar.file(&format!("./usr/lib/modules/{abi}/kernel/fs/9p/9p.ko.xz"), &noise(), 0o644);
            if kib == 1 {
                tar.file(&format!("./usr/lib/modules/{abi}/kernel/large.ko"), &vec![0; 2 << 20], 0o644);
            }
            tar.symlink(&format!("./usr/share/doc/linux-image-{abi}"), "../../../../elsewhere");
        })
    }

    fn parts(&self, abi: &str, version: &str, with_modules: bool) -> Vec<Made> {
        let dir = format!("./usr/lib/modules/{abi}");
        let mut all = vec![
            self.package((&format!("linux-image-{abi}"), version, "amd64"), 15, ".xz", |tar| {
                tar.dir("./usr/");
            }),
            self.package((&format!("linux-binary-{abi}"), version, "amd64"), 20, ".xz", |tar| {
                tar.file(&format!("{dir}/vmlinuz"), &bzimage(abi), 0o644);
            }),
            self.package((&format!("linux-base-{abi}"), version, "amd64"), 20, ".xz", |tar| {
                tar.file(&format!("{dir}/config"), b"CONFIG_DEBUG_INFO_BTF=y\n", 0o644);
                tar.file(&format!("{dir}/System.map"), b"not here", 0o644);
                tar.file(&format!("{dir}/modules.builtin"), b"kernel/a.ko\n", 0o644);
            }),
        ];
        if with_modules {
            all.push(self.package((&format!("linux-modules-{abi}"), version, "amd64"), 20, ".xz", |tar| {
                tar.file(&format!("{dir}/kernel/fs/9p/9p.ko.xz"), b"module", 0o644);
            }));
        }
        all
    }

    fn suite(&self, name: &str, key: &Key, fields: &str, by_hash: bool, packages: &[Made]) {
        let dists = self.root.join("dists").join(name.trim_end_matches("-before"));
        let mut sums = String::new();
        for arch in ["amd64", "arm64"] {
            let text: String =
                packages.iter().filter(|p| p.arch == arch).map(|p| p.stanza.as_str()).collect();
            let packed = xz(text.as_bytes());
            let hash = Sha256Hex::of(&packed);
            let dir = dists.join(format!("main/binary-{arch}"));
            let file =
                if by_hash { dir.join(format!("by-hash/SHA256/{hash}")) } else { dir.join("Packages.xz") };
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, &packed).unwrap();
            sums.push_str(&format!(" {hash} {} main/binary-{arch}/Packages.xz\n", packed.len()));
        }
        let codename = name.trim_end_matches("-before");
        let by_hash = if by_hash { "yes" } else { "no" };
        let text = format!(
            "Origin: kvet's tests\nSuite: {codename}\nCodename: {codename}\n{fields}Acquire-By-Hash: {by_hash}\nSHA256:\n{sums}"
        );
        let dir = self.root.join("dists").join(name);
        fs::create_dir_all(&dir).unwrap();
        key.sign(&text, &dir.join("InRelease"));
    }
}

/// Does not compress: a real image package is larger than a meta package.
fn noise() -> Vec<u8> {
    let mut x = 1u64;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (x >> 33) as u8
    };
    (0..20_000).map(|_| next()).collect()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    std::io::copy(&mut liblzma::read::XzEncoder::new(bytes, 6), &mut out).unwrap();
    out
}

struct Key(tempfile::TempDir);

impl Key {
    fn new(name: &str, public: &Path) -> Self {
        let key = Key(tempfile::tempdir().unwrap());
        key.gpg(&["--quick-generate-key", name, "ed25519", "sign", "never"]);
        key.gpg(&["--yes", "--output", public.to_str().unwrap(), "--export"]);
        key
    }

    fn gpg(&self, args: &[&str]) {
        let done = Command::new("gpg")
            .arg("--homedir")
            .arg(self.0.path())
            // gpgv distrusts what was signed after its own now: long ago suits every clock.
            .args(["--faked-system-time", "20240101T000000"])
            .args(["--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"])
            .args(args)
            .status();
        assert!(done.unwrap().success());
    }

    fn sign(&self, text: &str, to: &Path) {
        let plain = self.0.path().join("text");
        fs::write(&plain, text).unwrap();
        let (plain, to) = (plain.to_str().unwrap(), to.to_str().unwrap());
        self.gpg(&["--yes", "--digest-algo", "SHA512", "--output", to, "--clearsign", plain]);
    }
}

#[test]
#[ignore = "makes the test data anew, with new keys; needs gpg"]
fn make_the_archive() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/archive");
    for dir in ["dists", "pool"] {
        let _ = fs::remove_dir_all(root.join(dir));
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    let key = Key::new("kvet test archive", &root.join("archive.gpg"));
    let stranger = Key::new("kvet test stranger", &root.join("stranger.gpg"));
    let maker = Maker { root };
    let date = "Date: Sat, 12 Sep 2026 07:55:41 UTC\n";
    let main = [
        maker.whole("6.12.94+deb13-amd64", "6.12.94-1", "amd64", 60, ".xz"),
        maker.whole("6.12.95+deb13-amd64", "6.12.95-1", "amd64", 60, ".zst"),
        maker.whole("6.12.95+deb13-arm64", "6.12.95-1", "arm64", 300, ".gz"),
        maker.package(("busybox-static", "1:1.37.0-6", "amd64"), 8, ".xz", |tar| {
            tar.file("./usr/bin/busybox", b"#!", 0o755);
        }),
    ];
    maker.suite("main", &key, date, true, &main);
    maker.suite("main-before", &key, "Date: Fri, 11 Sep 2026 07:55:41 UTC\n", true, &main);
    let mut fresh = Vec::new();
    for (abi, version, modules) in [
        ("7.1.13+deb13-amd64", "7.1.13-1~bpo13+1", false),
        ("7.2.11+deb13-amd64", "7.2.11-1~bpo13+1", true),
        ("7.2.12+deb13-amd64", "7.2.12-1~bpo13+1", true),
        ("7.3-amd64", "7.3~rc7-1~exp1", true),
    ] {
        fresh.extend(maker.parts(abi, version, modules));
    }
    // It says that it is small, and is not.
    fresh.push(maker.whole("5.4.1-1-amd64", "5.4.1-1", "amd64", 1, ".xz"));
    maker.suite("fresh", &key, date, false, &fresh);
    maker.suite("stranger", &stranger, date, false, &[]);
    let dates = "Date: Sat, 01 Sep 2001 07:55:41 UTC\nValid-Until: Sun, 09 Sep 2001 01:46:40 UTC\n";
    maker.suite("expired", &key, dates, false, &maker.parts("7.2.20+deb13-amd64", "7.2.20-1", true));
}

/// A tar of a kernel's source tree, such as it is, in a folder of its own as the archive has it.
fn source(version: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("linux-source-{version}");
    super::source::tests::tree(&dir.path().join(&name), version);
    let mut tar = tar::Builder::new(Vec::new());
    tar.mode(tar::HeaderMode::Deterministic);
    tar.append_dir_all(&name, dir.path().join(&name)).unwrap();
    tar.into_inner().unwrap()
}

/// `cargo test -p kvet --lib -- --ignored make_the_sources`
#[test]
#[ignore = "makes the test data anew, with new keys; needs gpg"]
fn make_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sources");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("pool")).unwrap();
    let key = Key::new("kvet test sources", &root.join("archive.gpg"));
    let _stranger = Key::new("kvet test stranger", &root.join("stranger.gpg"));
    let maker = Maker { root: root.clone() };
    let package = |series: &str, version: &str, debian: &str| {
        maker.package((&format!("linux-source-{series}"), debian, "amd64"), 20, ".xz", |tar| {
            let packed = xz(&source(version));
            tar.file(&format!("./usr/src/linux-source-{series}.tar.xz"), &packed, 0o644);
            tar.file("./usr/share/doc/linux-source/copyright", b"not here", 0o644);
        })
    };
    let packages = [
        package("7.2", "7.2.11", "7.2.11-1"),
        package("7.2", "7.2.12", "7.2.12-1"),
        package("7.3", "7.3.0", "7.3~rc7-1~exp1"),
    ];
    maker.suite("main", &key, "Date: Sat, 12 Sep 2026 07:55:41 UTC\n", false, &packages);
    let (plain, signed) = (root.join("linux.tar"), root.join("linux.tar.sign"));
    fs::write(&plain, source("7.2.1")).unwrap();
    let names = [signed.to_str().unwrap(), plain.to_str().unwrap()];
    key.gpg(&[
        "--yes",
        "--digest-algo",
        "SHA512",
        "--armor",
        "--output",
        names[0],
        "--detach-sign",
        names[1],
    ]);
    assert!(Command::new("gzip").arg("-n").arg(&plain).status().unwrap().success());
}

#[test]
#[ignore = "makes the test data anew, with new keys; needs gpg"]
fn make_the_userland() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/userland");
    for dir in ["dists", "pool"] {
        let _ = fs::remove_dir_all(root.join(dir));
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    let key = Key::new("kvet test userland", &root.join("archive.gpg"));
    let maker = Maker { root };
    let mut packages = Vec::new();
    for arch in ["amd64", "arm64"] {
        packages.extend(maker.small(arch));
    }
    packages.extend(maker.hostile());
    maker.suite("small", &key, "Date: Sat, 12 Sep 2026 07:55:41 UTC\n", true, &packages);
}

impl Maker {
    /// A base, a tool that it needs, and a choice.
    fn small(&self, arch: &'static str) -> Vec<Made> {
        let package = |name, version, fill: &dyn Fn(&mut Tar)| {
            self.package((name, version, arch), 4, ".xz", |tar| fill(tar))
        };
        vec![
            package("base", "13.1", &|tar| {
                tar.dir("./etc/");
                tar.symlink("./bin", "usr/bin");
                tar.symlink("./lib", "usr/lib");
                tar.file("./etc/os-release", b"ID=test\n", 0o644);
                tar.symlink("./var/run", "/run");
            })
            .with("Pre-Depends: awk\nDepends: gone | tool (>= 2)"),
            package("tool", "2:2.0-1", &|tar| {
                tar.file("./usr/bin/tool", b"#!/bin/sh\n", 0o4755);
                tar.hardlink("./usr/bin/twin", "./usr/bin/tool");
                tar.file("./bin/old", b"#!/bin/sh\n", 0o755);
                tar.symlink("./usr/bin/alias", "/bin/tool");
                tar.symlink("./usr/bin/loop", "loop");
                tar.file("./usr/share/doc/tool/changelog", b"long", 0o644);
                tar.file("./usr/lib/x-linux-gnu/gconv/UTF-7.so", b"no ELF file", 0o644);
            })
            .with("Depends: base, prompt"),
            package("prompt", "1", &|tar| tar.file("./usr/bin/prompt", b"", 0o755)),
            package("gawk", "5", &|tar| tar.file("./usr/bin/gawk", b"", 0o755)).with("Provides: awk (= 5)"),
            package("mawk", "1", &|tar| tar.file("./usr/bin/mawk", b"", 0o755)).with("Provides: awk"),
            package("lonely", "1", &|tar| tar.dir("./usr/")).with("Depends: tool (>= 2:3)"),
            package("jealous", "1", &|tar| tar.dir("./usr/")).with("Breaks: tool"),
        ]
    }

    /// Packages that want to get out, or in.
    fn hostile(&self) -> Vec<Made> {
        let package =
            |name, fill: &dyn Fn(&mut Tar)| self.package((name, "1", "amd64"), 4, ".gz", |tar| fill(tar));
        vec![
            // As text each stays below the root; followed one after the other they do not.
            package("climber", &|tar| {
                tar.symlink("./usr/a/b/c/up", "../../../..");
                tar.symlink("./usr/out", "a/b/c/up/../../../etc/passwd");
            }),
            package("digger", &|tar| {
                tar.symlink("./usr/dir", "../../../../tmp");
            }),
            package("walker", &|tar| {
                tar.symlink("./usr/local", "share");
                tar.file("./usr/local/x", b"x", 0o644);
            }),
            package("double", &|tar| tar.file("./bin/tool", b"mine now", 0o755)).with("Depends: tool"),
            package("noter", &|tar| {
                tar.file("./usr/bin/.virtfs_metadata/tool", b"virtfs.mode=35309\n", 0o644);
            }),
            package("rooter", &|tar| tar.file("./usr/.virtfs_metadata_root", b"virtfs.uid=5\n", 0o644)),
            package("device", &|tar| tar.device("./dev/sda")),
            // What is to be written below etc would be written through it.
            package("etcetera", &|tar| tar.symlink("./etc", "tmp")),
        ]
    }
}
