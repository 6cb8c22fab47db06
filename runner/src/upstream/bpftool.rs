//! bpftool for the build itself: it turns BTF into `vmlinux.h` and objects into skeletons.
//!
//! It comes from the same source as the tests, and is kept by content: point releases of a series share it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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
        let own = files.iter().filter(|(name, _)| !name.starts_with(SELFTESTS));
        let recipe =
            Recipe { files: own.map(|(n, p)| (n.clone(), p.clone())).collect(), signs, btf, toolchain };
        let id = recipe.id(means)?;
        let entry = means.cache.ensure_suite(&id, progress, means.cancel, &mut |into, progress| {
            recipe.build(into, means, progress)
        })?;
        Ok(Self { program: entry.dir.join("program"), _entry: entry })
    }
}

/// What it is built of.
struct Recipe<'a> {
    /// Its sources and the headers that they need.
    files: BTreeMap<String, PathBuf>,
    signs: bool,
    btf: &'a Btf,
    toolchain: &'a Toolchain,
}

impl Recipe<'_> {
    fn id(&self, means: &Means) -> Result<String> {
        let mut text = format!("bpftool 1\n{}\n{}\n", self.signs, self.toolchain.hostcc_version);
        if self.signs {
            text += &self.toolchain.clang_version;
        }
        for (name, hash) in place::hashes(&self.files, means.cancel)? {
            text += &format!("{name} {hash}\n");
        }
        Ok(format!("bpftool-{}", &Sha256Hex::of(text.as_bytes()).as_str()[..12]))
    }

    /// Builds it in an empty folder, and leaves nothing there but the program.
    fn build(&self, into: &Path, means: &Means, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        place::sync(into, &self.files, means.cancel)?;
        let out = into.join("out");
        fs::create_dir(&out).host(format!("make {}", out.display()))?;
        let made = Make {
            dir: &into.join("tree/tools/bpf/bpftool"),
            target: if self.signs { "" } else { "bootstrap" },
            variables: &self.variables(&out),
            keep_going: false,
            what: "building bpftool",
            expected: if self.signs { 100 } else { 42 },
            log: means.log,
        }
        .run(progress, means.cancel)?;
        if !made.succeeded {
            let what = failed_targets(&made.lines).first().cloned().unwrap_or_default();
            let error = first_error(&made.lines);
            return Err(Error::kernel(format!("its bpftool does not build ({what}): {error}")));
        }
        let built = out.join(if self.signs { "bpftool" } else { "bootstrap/bpftool" });
        fs::rename(&built, into.join("program")).host(format!("find {}", built.display()))?;
        for dir in ["out", "tree"] {
            fs::remove_dir_all(into.join(dir)).host(format!("remove {dir}"))?;
        }
        Ok(())
    }

    fn variables(&self, out: &Path) -> BTreeMap<String, String> {
        let mut variables = vec![
            ("OUTPUT", format!("{}/", out.display())),
            ("VMLINUX_BTF", self.btf.path.display().to_string()),
            ("CLANG", self.toolchain.clang.clone()),
            ("LLVM_STRIP", "true".into()),
            ("SKIP_LLVM", "1".into()),
            ("SKIP_LIBBFD", "1".into()),
            ("feature_display", "0".into()),
        ];
        if !self.signs {
            variables.push(("SKIP_CRYPTO", "1".into()));
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
