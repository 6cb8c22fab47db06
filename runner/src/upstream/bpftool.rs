//! bpftool for the build itself: it turns BTF into `vmlinux.h` and objects into skeletons.
//!
//! It comes from the same source as the tests, and is kept by content: point releases of a series share it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::error::{Error, IoContext, Result};
use crate::kernel::{Btf, Entry, Progress, Sha256Hex};

use super::Means;
use super::make::{Make, failed_targets, first_error};
use super::place;
use super::select::SELFTESTS;
use super::toolchain::Toolchain;

/// A bpftool that runs here.
#[derive(Debug)]
pub(super) struct Bpftool {
    /// The program.
    pub program: PathBuf,
    _entry: Entry,
}

impl Bpftool {
    /// Finds or builds it. The small one, as it is built for its own skeletons, does everything but sign programs:
    /// `signs` wants the whole one.
    ///
    /// # Errors
    /// The kernel's: it does not compile. The host's: no space. Interrupted.
    pub fn ensure(
        files: &BTreeMap<String, PathBuf>,
        signs: bool,
        btf: &Btf,
        toolchain: &Toolchain,
        means: &Means,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let cancel = means.cancel;
        let own: BTreeMap<String, PathBuf> = files
            .iter()
            .filter(|(name, _)| !name.starts_with(SELFTESTS))
            .map(|(n, p)| (n.clone(), p.clone()))
            .collect();
        let mut text = format!("bpftool 1\n{signs}\n{}\n", toolchain.hostcc_version);
        if signs {
            text += &toolchain.clang_version;
        }
        for (name, hash) in place::hashes(&own, cancel)? {
            text += &format!("{name} {hash}\n");
        }
        let id = format!("bpftool-{}", &Sha256Hex::of(text.as_bytes()).as_str()[..12]);
        let entry = means.cache.ensure_suite(&id, progress, cancel, &mut |into, progress| {
            place::sync(into, &own, cancel)?;
            let out = into.join("out");
            fs::create_dir(&out).host(format!("make {}", out.display()))?;
            let mut variables: BTreeMap<String, String> = [
                ("OUTPUT", format!("{}/", out.display())),
                ("VMLINUX_BTF", btf.path.display().to_string()),
                ("CLANG", toolchain.clang.clone()),
                ("LLVM_STRIP", "true".into()),
                ("SKIP_LLVM", "1".into()),
                ("SKIP_LIBBFD", "1".into()),
                ("feature_display", "0".into()),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
            if !signs {
                variables.insert("SKIP_CRYPTO".into(), "1".into());
            }
            let made = Make {
                dir: &into.join("tree/tools/bpf/bpftool"),
                target: if signs { "" } else { "bootstrap" },
                variables: &variables,
                keep_going: false,
                what: "building bpftool",
                expected: if signs { 100 } else { 42 },
                log: means.log,
            }
            .run(progress, cancel)?;
            if !made.succeeded {
                let what = failed_targets(&made.lines).first().cloned().unwrap_or_default();
                let error = first_error(&made.lines);
                return Err(Error::kernel(format!("its bpftool does not build ({what}): {error}")));
            }
            let built = out.join(if signs { "bpftool" } else { "bootstrap/bpftool" });
            fs::rename(&built, into.join("program")).host(format!("find {}", built.display()))?;
            for dir in ["out", "tree"] {
                fs::remove_dir_all(into.join(dir)).host(format!("remove {dir}"))?;
            }
            Ok(())
        })?;
        Ok(Self { program: entry.dir.join("program"), _entry: entry })
    }
}
