//! A cell as far as it goes without a guest: what `--dry-run` shows, and what a bisection looks at before its first boot.

use std::path::{Path, PathBuf};

use super::command::ALL_SKIPPED;
use super::prepare::{self, Equipment, Prepared};
use super::root::GuestRoot;
use super::tools::Tools;
use super::{Resources, SUITE_LOG, check_source, command, expected, find_qemu};
use crate::error::Result;
use crate::kernel::{self, Kernel, Progress};
use crate::plan::CellPlan;
use crate::quote;
use crate::upstream::{self, Foreseen, Means};
use crate::vm::accel::{self, Chosen};
use crate::vm::machine::Sockets;

/// What a dry run shows in place of the folder that the guest may write to.
const NO_RESULTS: &str = "RESULTS";

/// All that a guest is started with.
struct Rehearsal {
    plan: CellPlan,
    kernel: Kernel,
    /// The suite that would be built, if it is one that is.
    foreseen: Option<Foreseen>,
    prepared: Prepared,
    qemu: PathBuf,
    chosen: Chosen,
    /// What would be run.
    job: String,
}

/// Goes through everything that comes before a guest: its kernel is fetched or built, and looked at. Nothing is started.
///
/// # Errors
/// As a real run would have until QEMU starts.
pub fn rehearse(
    plan: &CellPlan,
    resources: &Resources,
    all_results: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    Rehearsal::of(plan, resources, all_results, progress).map(|_| ())
}

/// What a cell would do, as text for `--dry-run`: the exact QEMU command line and the contents of the initramfs. The
/// kernel is fetched if it is not in the cache; nothing is started. `all_results` is the folder that runs have theirs in.
///
/// # Errors
/// As a real run would have until QEMU starts.
pub fn dry_run(
    plan: &CellPlan,
    resources: &Resources,
    all_results: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<String> {
    Rehearsal::of(plan, resources, all_results, progress)?.text(resources)
}

impl Rehearsal {
    fn of(
        plan: &CellPlan,
        resources: &Resources,
        all_results: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let Resources { home, cache, sources, cancel, .. } = resources;
        check_source(plan, resources, progress)?;
        let kernel = kernel::acquire(&plan.kernel, plan.arch, cache, sources, progress, cancel)?;
        let log = std::env::temp_dir().join(SUITE_LOG);
        let wanted = |names: &[String]| plan.filter.check_tests(names, &plan.id.suite);
        let means = Means { home, cache, sources, cancel, log: &log, wanted: &wanted };
        let foreseen = match &plan.upstream {
            Some(request) => Some(upstream::foresee(request, &kernel, &means, progress)?),
            None => None,
        };
        let mut plan = plan.clone();
        if let Some(foreseen) = &foreseen {
            plan.suite.share.clone_from(&foreseen.share);
        }
        let share_note = prepare::settle_share(&mut plan, &kernel)?;
        let tools = match plan.suite.script {
            true => Some(Tools::acquire(plan.arch, cache, sources, progress, cancel)?),
            false => None,
        };
        let root = GuestRoot::acquire(&plan, home, cache, sources, progress, cancel)?;
        let qemu = find_qemu(&plan.facts)?;
        let all_results = Some(all_results);
        let equipment = Equipment { tools: tools.as_ref(), root: root.as_ref(), all_results };
        let mut prepared = prepare::prepare(&plan, &kernel, cache, Path::new(NO_RESULTS), equipment)?;
        prepared.notes.splice(0..0, share_note);
        let chosen = accel::choose(plan.accel, plan.arch, &qemu)?;
        let mut rehearsal = Self { plan, kernel, foreseen, prepared, qemu, chosen, job: String::new() };
        rehearsal.job = rehearsal.job()?;
        Ok(rehearsal)
    }

    fn job(&self) -> Result<String> {
        let Self { plan, kernel, prepared, chosen, foreseen, .. } = self;
        if foreseen.as_ref().is_some_and(|foreseen| !foreseen.built) {
            // What is not built yet does not say which arguments it takes.
            return Ok(format!("{}, with arguments that suit it", plan.suite.spec.program));
        }
        let selftests = foreseen.as_ref().map(|foreseen| foreseen.version);
        let expected = expected(plan, kernel, selftests, chosen.accel);
        let left_out = command::left_out(plan, &expected, &[]);
        if command::is_nothing(plan, &left_out) {
            return Ok(format!("none: {ALL_SKIPPED}"));
        }
        let command = command::command(plan, &left_out)?;
        Ok(quote::command(&prepare::job(plan, &prepared.told, command)?.argv))
    }

    fn text(self, resources: &Resources) -> Result<String> {
        let Self { plan, kernel, foreseen, prepared, qemu, chosen, job } = self;
        let machine = prepare::machine(&plan, &kernel, &prepared, &resources.cache, chosen.accel, &qemu)?;
        let mut lines = vec![
            format!("cell       {}", plan.id),
            format!("kernel     {} ({})", kernel.facts.release, kernel.facts.origin),
            format!("accel      {} ({})", chosen.accel, chosen.reason),
            format!(
                "limits     boot {:?}, test {:?}, cell {:?}",
                plan.limits.boot, plan.limits.test, plan.limits.cell
            ),
            format!("job        {job}"),
        ];
        lines.extend(foreseen.map(|foreseen| foreseen.text.trim_end().to_owned()));
        lines.extend(plan.selected.map(|selected| format!("tests      {}", selected.len())));
        lines.push(format!("results    {NO_RESULTS} stands for a folder that a real run makes"));
        lines.extend(prepared.notes.iter().map(|note| format!("note       {note}")));
        let sockets = Sockets { console: 3, wire: 4, qmp: 5 };
        lines.push(format!("\n{}", quote::command(&machine.argv(sockets))));
        lines.push(format!("\ninitramfs  {}", machine.initrd.display()));
        lines.extend(prepared.initramfs.list()?.iter().map(|entry| format!("  {entry}")));
        lines.push(String::new());
        Ok(lines.join("\n"))
    }
}
