//! What a job has as its root, where it has one of its own: kvet's userland, or the host's files.

use std::path::Path;

use kvet_wire::paths;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::kernel::{Cache, Progress, Sources};
use crate::plan::{CellPlan, program};
use crate::spec::home::Home;
use crate::spec::suite::Root;
use crate::userland::{self, Userland};
use crate::vm::machine::{HostShare, Owners};

/// Where programs are looked for, besides the suite's own folder: as [`super::prepare::environment`] has it.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A root that guests may have. While it lives, nobody prunes it.
#[derive(Debug)]
pub enum GuestRoot {
    /// Out of the cache.
    Userland(Box<Userland>),
    /// `/` of this machine.
    Host,
}

impl GuestRoot {
    /// Gets what a plan asks for; nothing where its job runs in the initramfs.
    ///
    /// # Errors
    /// As for the userland; the caller's: what the program is run by is not in it.
    pub fn acquire(
        plan: &CellPlan,
        home: &Home,
        cache: &Cache,
        sources: &Sources,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Option<Self>> {
        let root = match plan.root {
            Root::None => return Ok(None),
            Root::Host => Self::Host,
            Root::Userland => {
                Self::Userland(userland::ensure(home, plan.arch, cache, sources, progress, cancel)?.into())
            }
        };
        root.check(plan)?;
        Ok(Some(root))
    }

    fn has(&self, path: &str) -> bool {
        match self {
            Self::Userland(userland) => userland.has(path),
            Self::Host => Path::new(path).exists(),
        }
    }

    /// The kernel only says that there is no such file, and lets the program look guilty.
    fn check(&self, plan: &CellPlan) -> Result<()> {
        // What kvet builds is static, and in a dry run it may not be there yet.
        if plan.upstream.is_some() {
            return Ok(());
        }
        let suite = &plan.suite;
        let program = suite.share.join(&suite.program);
        let interpreter = program::interpreter(&program)?.filter(|path| !self.has(path));
        let in_path = |name: &String| FOLDERS.iter().any(|folder| self.has(&format!("{folder}/{name}")));
        // Beside the program there may be one of that name: its folder is the first in PATH.
        let sought = program::sought_by_env(&program)?
            .filter(|name| !in_path(name) && !suite.share.join(name).exists());
        let Some(lacking) = interpreter.or(sought) else { return Ok(()) };
        let (shown, name) = (&suite.spec.program, self.name());
        let hint = match self {
            Self::Userland(_) => "images/userland.yaml names its packages",
            Self::Host => "--root userland has bash, dash and the C library",
        };
        Err(Error::caller(format!("{shown} is run by {lacking}, which {name} does not have")).hint(hint))
    }

    /// What reports say of it.
    pub fn name(&self) -> String {
        match self {
            Self::Userland(userland) => userland.facts.id.clone(),
            Self::Host => "the host's /".to_owned(),
        }
    }

    /// Its packages with their versions, in one line, where it is made of some.
    pub fn packages(&self) -> Option<String> {
        match self {
            Self::Userland(userland) => Some(userland.facts.packages_line()),
            Self::Host => None,
        }
    }

    /// The folder, as a share.
    pub fn share(&self) -> HostShare {
        let (dir, owners) = match self {
            Self::Userland(userland) => (userland.root.clone(), Owners::WrittenDown),
            Self::Host => ("/".into(), Owners::Real),
        };
        HostShare { tag: paths::ROOT_TAG.into(), dir, readonly: true, owners }
    }
}
