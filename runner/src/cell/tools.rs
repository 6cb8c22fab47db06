//! A shell for guests: busybox, static, for the guest's architecture, from the archive like a kernel.

use std::path::PathBuf;

use kvet_wire::{Job, Share, paths};

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::cell::carry;
use crate::error::{Error, Result};
use crate::initramfs::ExtraFile;
use crate::kernel::{self, Cache, Package, Progress, Sources};
use crate::plan::ShareMode;
use crate::vm::machine::{HostShare, Owners};

/// The package. There is one for every architecture.
const PACKAGE: &str = "busybox-static";
/// Links for every applet, then what is to be run: the arguments.
const START: &str =
    "/kvet/tools/busybox mkdir -p /bin && /kvet/tools/busybox --install -s /bin && exec \"$@\"";

/// The tools, in the cache. While this lives, nobody prunes them.
#[derive(Debug)]
pub struct Tools {
    package: Package,
}

impl Tools {
    /// Gets them out of the cache or the archive.
    ///
    /// # Errors
    /// The host's, as for a kernel.
    pub fn acquire(
        arch: Arch,
        cache: &Cache,
        sources: &Sources,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Self> {
        let packages = kernel::acquire_packages(&[PACKAGE], arch, cache, sources, progress, cancel)?;
        let package = packages.into_iter().next().ok_or_else(|| Error::host(format!("no {PACKAGE} came")))?;
        Ok(Self { package })
    }

    /// The folder with busybox, as a share.
    ///
    /// # Errors
    /// The host's: the package does not hold it.
    pub fn share(&self) -> Result<HostShare> {
        Ok(HostShare {
            tag: paths::TOOLS_TAG.into(),
            dir: self.folder()?,
            readonly: true,
            owners: Owners::Real,
        })
    }

    /// Busybox, for an initramfs.
    ///
    /// # Errors
    /// The host's: the package does not hold it.
    pub fn carried(&self) -> Result<ExtraFile> {
        Ok(carry::program(busybox(), self.folder()?.join("busybox")))
    }

    fn folder(&self) -> Result<PathBuf> {
        let root = &self.package.root;
        let dirs = ["usr/bin", "bin"].map(|dir| root.join(dir));
        let dir = dirs.into_iter().find(|dir| dir.join("busybox").is_file());
        dir.ok_or_else(|| Error::host(format!("there is no busybox in {}", root.display())))
    }
}

fn busybox() -> String {
    format!("{}/busybox", paths::TOOLS)
}

/// Has a job find the tools in /bin and run `command` with them.
pub fn equip(job: &mut Job, how: ShareMode, command: impl IntoIterator<Item = String>) {
    if how == ShareMode::NineP {
        job.shares.push(Share { tag: paths::TOOLS_TAG.into(), path: paths::TOOLS.into(), readonly: true });
    }
    job.argv = [busybox(), "sh".into(), "-c".into(), START.into(), "sh".into()].into();
    job.argv.extend(command);
}
