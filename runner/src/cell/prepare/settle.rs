//! How the suite's files get to a guest, once its kernel is there.

use kvet_wire::paths;

use crate::error::Result;
use crate::initramfs::preflight;
use crate::kernel::Kernel;
use crate::plan::{CellPlan, ShareMode};
use crate::spec::suite::Root;

/// Settles a plan of `--share auto` on one way: over 9p where the kernel has it, else in the initramfs. Gives the note that
/// says so where it is not 9p.
///
/// A job with a root of its own has no choice: [`super::prepare`] says what the kernel lacks for it. Where neither a config nor
/// modules tell whether the kernel has 9p, it is expected to.
///
/// # Errors
/// The kernel's modules cannot be read.
pub fn settle_share(plan: &mut CellPlan, kernel: &Kernel) -> Result<Option<String>> {
    if plan.share != ShareMode::Auto {
        return Ok(None);
    }
    let lacks = match plan.root {
        Root::None => lacks_9p(plan, kernel)?,
        Root::Userland | Root::Host => None,
    };
    plan.share = if lacks.is_some() { ShareMode::Initramfs } else { ShareMode::NineP };
    Ok(lacks.map(|why| note(&why)))
}

fn note(why: &str) -> String {
    let results = paths::RESULTS;
    format!("the suite travels in the initramfs, and what it leaves in {results} is lost: {why}")
}

fn lacks_9p(plan: &CellPlan, kernel: &Kernel) -> Result<Option<String>> {
    let tree = super::open_tree(kernel)?;
    let lookup = |symbol: &str| kernel.config.as_ref()?.get(symbol).map(str::to_owned);
    let config: Option<preflight::Config> = if kernel.config.is_some() { Some(&lookup) } else { None };
    preflight::lacks_9p(&plan.kernel.to_string(), modules_are_lost(kernel), config, &tree)
}

/// Whether the archive has lost the kernel's modules: it is of packages, and none has any. A file of the user's may have 9p built in.
pub(super) fn modules_are_lost(kernel: &Kernel) -> bool {
    kernel.modules.is_none() && !kernel.facts.packages.is_empty()
}
