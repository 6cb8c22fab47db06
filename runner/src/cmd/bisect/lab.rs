//! Kernels for a bisection, had and run as `kvet run` does.

use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::bisect::{Lab, Subject};
use crate::cmd::args::BisectArgs;
use crate::cmd::{Setup, plain_progress};
use crate::error::{Error, Result};
use crate::event::{CellId, CellReport, Event};
use crate::kernel::{self, KernelSpec};
use crate::plan::{Plan, Request, ShareMode};
use crate::report::Fanout;
use crate::report::store::{RunDir, Store, safe_name};
use crate::report::term::{ColorChoice, Style, Term};
use crate::schedule::{self, Options};

/// Runs kernels one at a time; each run has a folder below `steps/`.
pub struct Kernels<'a> {
    setup: &'a Setup,
    request: Request,
    arch: Arch,
    steps: PathBuf,
    verbose: bool,
    color: ColorChoice,
}

impl<'a> Kernels<'a> {
    pub fn new(args: &BisectArgs, setup: &'a Setup, folder: &Path, color: ColorChoice) -> Result<Self> {
        let arch = arch(args)?;
        let request = Request {
            archs: vec![arch],
            suite: args.suite.clone(),
            tests: args.tests.clone(),
            accel: args.hardware.accel,
            timeout: args.timeout,
            memory_mib: args.hardware.memory,
            cpus: args.hardware.cpus,
            ..Request::default()
        };
        Ok(Self { setup, request, arch, steps: folder.join("steps"), verbose: args.verbose, color })
    }

    fn acquire(&self, subject: &Subject) -> Result<kernel::Kernel> {
        let spec: KernelSpec = subject.kernel.parse()?;
        let resources = &self.setup.resources;
        let (cache, sources, cancel) = (&resources.cache, &resources.sources, &resources.cancel);
        kernel::acquire(&spec, self.arch, cache, sources, &mut plain_progress(), cancel)
    }

    /// Where the archive has lost a kernel's modules the suite travels in the initramfs.
    fn share(&self, subject: &Subject) -> Result<ShareMode> {
        let stock = matches!(subject.kernel.parse()?, KernelSpec::Debian { .. });
        let bare = stock && self.acquire(subject)?.modules.is_none();
        Ok(if bare { ShareMode::Initramfs } else { ShareMode::NineP })
    }
}

/// The architecture that is bisected on.
pub fn arch(args: &BisectArgs) -> Result<Arch> {
    args.arch.map_or_else(Arch::host, Ok)
}

impl Lab for Kernels<'_> {
    fn signature(&mut self, subject: &Subject) -> Result<String> {
        Ok(self.acquire(subject)?.facts.image_sha256)
    }

    fn run(&mut self, subject: &Subject, tests: Option<&[String]>) -> Result<CellReport> {
        let request = Request {
            kernels: vec![subject.kernel.clone()],
            tests: match tests {
                Some(names) => names.iter().map(|name| globset::escape(name)).collect(),
                None => self.request.tests.clone(),
            },
            share: self.share(subject)?,
            ..self.request.clone()
        };
        let plan = Plan::new(&request, &self.setup.home, &self.setup.config)?;
        let ids: Vec<CellId> = plan.cells.iter().map(|cell| cell.id.clone()).collect();
        let dir = RunDir::create_at(&self.steps, &safe_name(&subject.shown), &ids)?;
        let mut reporters = Fanout::new().with("the results folder", Store::new(dir.clone()));
        if self.verbose {
            reporters = reporters.with("the terminal", Term::stdio(self.color, true, Style::Tests));
        }
        let mut emit = |event: Event| {
            for trouble in reporters.event(&event) {
                eprintln!("error: {trouble}");
            }
        };
        let resources = &self.setup.resources;
        let options = Options::sequential(&plan);
        let report = schedule::run(&plan, &dir, Vec::new(), resources, &options, &mut emit);
        reporters.finish()?;
        report.cells.into_iter().next().ok_or_else(|| Error::host("a run without a cell"))
    }
}
