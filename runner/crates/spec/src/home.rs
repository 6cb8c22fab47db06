//! Where kvet's own files are: `configs/`, `selftests/` and the guest's programs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kvet_base::arch::Arch;
use kvet_base::error::{Error, Result};

/// The folders that come with kvet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Holds `configs/`, `selftests/` and `images/`.
    root: PathBuf,
    /// Holds a folder per architecture with `init` and the suites' programs.
    guest: PathBuf,
}

impl Home {
    /// Finds it: `$KVET_HOME`, else above the executable (a checkout: `target/release/kvet`), else
    /// `../share/kvet` from the executable (an installed kvet).
    ///
    /// # Errors
    /// The host's: it is in none of these places.
    pub fn find(kvet_home: Option<OsString>, executable: &Path) -> Result<Self> {
        if let Some(root) = kvet_home {
            return Self::at(Path::new(&root)).ok_or_else(|| {
                Error::caller(format!("KVET_HOME={}: there is no configs/kernels.yaml", root.display()))
            });
        }
        let above = executable.ancestors().skip(1).find_map(Self::at);
        let beside = || Self::at(&executable.parent()?.parent()?.join("share/kvet"));
        above.or_else(beside).ok_or_else(|| {
            Error::host(format!("cannot find configs/kernels.yaml above {}", executable.display()))
                .hint("set KVET_HOME to a checkout of kvet")
        })
    }

    fn at(root: &Path) -> Option<Self> {
        let root = root.canonicalize().ok()?;
        if !root.join("configs/kernels.yaml").is_file() {
            return None;
        }
        let guest = [root.join("guests"), root.join("target/guests")].into_iter().find(|p| p.is_dir());
        let guest = guest.unwrap_or_else(|| root.join("target/guests"));
        Some(Self { root, guest })
    }

    /// A file below `configs/`.
    pub fn config(&self, name: &str) -> PathBuf {
        self.root.join("configs").join(name)
    }

    /// The folder with the suites.
    pub fn selftests(&self) -> PathBuf {
        self.root.join("selftests")
    }

    /// The folder with what guests are made of, apart from their programs.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The folder with the guest's programs of an architecture.
    pub fn guest(&self, arch: Arch) -> PathBuf {
        self.guest.join(arch.name())
    }

    /// PID 1 for guests of an architecture.
    ///
    /// # Errors
    /// The host's: it was not built.
    pub fn init(&self, arch: Arch) -> Result<PathBuf> {
        let path = self.guest(arch).join("init");
        if path.is_file() {
            return Ok(path);
        }
        Err(Error::host(format!("{} is missing", path.display())).hint("`make build` makes it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("configs")).unwrap();
        std::fs::create_dir_all(dir.path().join("target/release")).unwrap();
        std::fs::write(dir.path().join("configs/kernels.yaml"), "").unwrap();
        dir
    }

    #[test]
    fn found_above_the_executable_or_by_the_variable() {
        let dir = checkout();
        let exe = dir.path().join("target/release/kvet");
        let home = Home::find(None, &exe).unwrap();
        assert_eq!(home.config("x"), dir.path().canonicalize().unwrap().join("configs/x"));
        let by_name = Home::find(Some(dir.path().into()), Path::new("/usr/bin/kvet")).unwrap();
        assert_eq!(home, by_name);
    }

    #[test]
    fn an_installed_kvet_finds_its_share() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("share/kvet/configs")).unwrap();
        std::fs::write(dir.path().join("share/kvet/configs/kernels.yaml"), "").unwrap();
        assert!(Home::find(None, &dir.path().join("bin/kvet")).is_ok());
    }

    #[test]
    fn a_wrong_place_is_named() {
        let e = Home::find(Some("/nonexistent".into()), Path::new("/x/y")).unwrap_err();
        assert!(e.to_string().contains("KVET_HOME=/nonexistent"), "{e}");
    }
}
