//! `kvet shell`: an interactive shell in a guest.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use kvet_wire::{Job, JobStatus, LAST_WORDS_MARK, Tty};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};
use vmm_sys_util::signal::register_signal_handler;
use vmm_sys_util::terminal::Terminal;

use crate::cancel::restore_terminal_at_exit;
use crate::cell::command::Command;
use crate::cell::prepare::{self, Prepared};
use crate::cell::root::GuestRoot;
use crate::cell::tools::{self, Tools};
use crate::cell::{self, Resources};
use crate::cmd::args::ShellArgs;
use crate::cmd::{Setup, plain_progress};
use crate::error::{Error, IoContext, Result, exit};
use crate::event::{Event, Stream};
use crate::guest::{GuestEvent, Session};
use crate::kernel::{self, Kernel, Progress};
use crate::parse::clean::LineSplitter;
use crate::plan::{CellPlan, Plan, Request};
use crate::report::Reporter;
use crate::report::store::{RunDir, Store};
use crate::spec::suite::Root;
use crate::upstream::{self, BuiltSuite, Means};
use crate::vm::Vm;
use crate::vm::accel;

/// Ctrl-]: ends the guest, however it hangs.
const ESCAPE: u8 = 0x1d;
/// Most bytes of a file that is standard input.
const MAX_FILE: u64 = 1 << 20;
/// Bytes that go into one message.
const TYPED_AT_ONCE: usize = 4096;
/// How long the guest may take to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// Boots a kernel and connects the terminal with a shell in it. The exit code is 0 if the shell's was.
pub fn run(args: &ShellArgs) -> Result<u8> {
    let setup = Setup::new()?.with_jobs(args.build.jobs);
    setup.resources.cancel.on_signals()?;
    let mut plan = plan(&setup, args)?;
    let dir = RunDir::create(&args.output, std::slice::from_ref(&plan.id))?;
    // What the guest is made of stays locked in the cache until it is gone.
    let (session, held) = boot(&setup, &mut plan, &dir)?;
    let store = Store::new(dir.clone());
    let console = dir.cell(0).join("console.log");
    let shell = Shell {
        session,
        store,
        console: LineSplitter::default(),
        job: job(&plan, &held.prepared.told, args.command.as_deref())?,
        boot_deadline: Instant::now() + plan.limits.boot,
        typing: args.command.is_none(),
        interactive: std::io::stdin().is_terminal(),
        console_path: console.display().to_string(),
    };
    shell.run()
}

fn plan(setup: &Setup, args: &ShellArgs) -> Result<CellPlan> {
    let request = Request {
        kernels: args.kernel.iter().cloned().collect(),
        modules: args.files.modules.clone(),
        config: args.files.config.clone(),
        toolchain: args.build.toolchain,
        base: args.build.base,
        archs: args.arch.into_iter().collect(),
        suite: args.suite.clone(),
        accel: args.hardware.accel,
        memory_mib: args.hardware.memory,
        cpus: args.hardware.cpus,
        root: args.root,
        slices: args.slices.clone(),
        selftests: args.selftests.clone(),
        ..Request::default()
    };
    let plan = Plan::new(&request, &setup.home, &setup.config)?;
    plan.cells.into_iter().next().ok_or_else(|| Error::caller("there is no kernel to boot"))
}

/// A guest, and what it is made of.
type Booted = (Session<BufWriter<File>>, Held);

/// What stays as it is while the guest lives.
struct Held {
    prepared: Prepared,
    _kernel: Kernel,
    _built: Option<BuiltSuite>,
    _equipment: Equipment,
}

/// Where the shell comes from.
enum Equipment {
    Busybox(Tools),
    Root(GuestRoot),
}

impl Equipment {
    fn acquire(setup: &Setup, plan: &CellPlan, progress: &mut dyn FnMut(Progress)) -> Result<Self> {
        let Resources { home, cache, sources, cancel, .. } = &setup.resources;
        match GuestRoot::acquire(plan, home, cache, sources, progress, cancel)? {
            Some(root) => Ok(Self::Root(root)),
            None => Tools::acquire(plan.arch, cache, sources, progress, cancel).map(Self::Busybox),
        }
    }

    fn for_guest<'a>(&'a self, all_results: Option<&'a Path>) -> prepare::Equipment<'a> {
        let (tools, root) = match self {
            Self::Busybox(tools) => (Some(tools), None),
            Self::Root(root) => (None, Some(root)),
        };
        prepare::Equipment { tools, root, all_results }
    }
}

/// Builds the suite, where it is built from the kernel's source: its programs are to be at hand.
fn build(
    setup: &Setup,
    plan: &mut CellPlan,
    kernel: &Kernel,
    dir: &RunDir,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<BuiltSuite>> {
    let Some(request) = &plan.upstream else { return Ok(None) };
    let Resources { home, cache, sources, cancel, .. } = &setup.resources;
    let log = dir.cell(0).join(cell::SUITE_LOG);
    let means = Means { home, cache, sources, cancel, log: &log, wanted: &|_| Ok(()) };
    let built = upstream::ensure(request, kernel, &means, progress)?;
    for note in &built.notes {
        tell!("note: {note}");
    }
    plan.suite.share.clone_from(&built.share);
    plan.suite.program.clone_from(&built.program);
    Ok(Some(built))
}

fn boot(setup: &Setup, plan: &mut CellPlan, dir: &RunDir) -> Result<Booted> {
    let resources = &setup.resources;
    let (cache, sources, cancel) = (&resources.cache, &resources.sources, &resources.cancel);
    let mut progress = plain_progress();
    cell::check_source(plan, resources, &mut progress)?;
    let kernel = kernel::acquire(&plan.kernel, plan.arch, cache, sources, &mut progress, cancel)?;
    let built = build(setup, plan, &kernel, dir, &mut progress)?;
    let equipment = Equipment::acquire(setup, plan, &mut progress)?;
    let results = dir.cell(0).join(cell::FILES);
    std::fs::create_dir_all(&results).host(format!("create {}", results.display()))?;
    if let Some(note) = prepare::settle_share(plan, &kernel)? {
        tell!("note: {note}");
    }
    let prepared = prepare::prepare(
        plan,
        &kernel,
        cache,
        &results,
        equipment.for_guest(prepare::all_results(&results)),
    )?;
    for note in &prepared.notes {
        tell!("note: {note}");
    }
    let qemu = cell::find_qemu(&plan.facts)?;
    let chosen = accel::choose(plan.accel, plan.arch, &qemu)?;
    tell!("booting {} ({}, {}: {})", kernel.facts.release, plan.arch, chosen.accel, chosen.reason);
    let machine = prepare::machine(plan, &kernel, &prepared, cache, chosen.accel, &qemu)?;
    let log = dir.cell(0).join("wire.jsonl");
    let log = BufWriter::new(File::create(&log).host(format!("create {}", log.display()))?);
    let held = Held { prepared, _kernel: kernel, _built: built, _equipment: equipment };
    Ok((Session::new(Vm::start(&machine, cancel)?, log), held))
}

fn job(plan: &CellPlan, told: &[(String, String)], command: Option<&str>) -> Result<Job> {
    let mut job = prepare::job(plan, told, Command::default())?;
    let line = command.map_or_else(Vec::new, |line| vec!["-c".to_owned(), line.to_owned()]);
    match plan.root {
        Root::None => tools::equip(&mut job, plan.share, ["/bin/sh".to_owned()].into_iter().chain(line)),
        // Without the set-up of the root's own shells: the prompt is ours.
        Root::Userland => job.argv = ["/bin/bash".into(), "--norc".into()].into_iter().chain(line).collect(),
        Root::Host => job.argv = ["/bin/sh".into()].into_iter().chain(line).collect(),
    }
    job.env.push(("PS1".into(), "\\w # ".into()));
    job.cwd = "/".into();
    let terminal = std::env::var("TERM").unwrap_or_else(|_| "dumb".into());
    job.env.push(("TERM".into(), terminal));
    match command {
        None if std::io::stdin().is_terminal() => {
            job.tty = Some(window_size().unwrap_or(Tty { cols: 80, rows: 24 }));
        }
        // A script on standard input: no terminal, so no prompts, no echo, and an end.
        None => job.stdin = true,
        Some(_) => {}
    }
    Ok(job)
}

/// A guest with a shell, and our terminal.
struct Shell {
    session: Session<BufWriter<File>>,
    store: Store,
    console: LineSplitter,
    job: Job,
    boot_deadline: Instant,
    typing: bool,
    interactive: bool,
    console_path: String,
}

impl Shell {
    fn run(mut self) -> Result<u8> {
        self.wait_for_ready()?;
        let resized = watch_window()?;
        self.session.vm().also_watch(resized.as_raw_fd())?;
        let stdin = std::io::stdin();
        // Declared after everything that could fail above, and dropped on every way out below: the terminal is
        // the user's again whatever happens.
        let _raw = if self.typing { Some(RawMode::enter()?) } else { None };
        // A plain file and /dev/null cannot be waited for (epoll_ctl(2), EPERM); they can be read at once.
        let waits = self.typing && self.session.vm().also_watch(stdin.as_raw_fd()).is_ok();
        self.session.run(self.job.clone())?;
        if self.typing && self.interactive {
            // The terminal is raw: a line needs its carriage return.
            tell!("Ctrl-] ends the guest at any time\r");
        }
        if self.typing && !waits {
            self.type_all()?;
        }
        let status = self.converse(stdin.as_raw_fd(), &resized)?;
        self.session.power_off()?;
        self.leave()?;
        Ok(if status == (JobStatus::Exited { code: 0 }) { exit::PASSED } else { exit::FAILED })
    }

    fn wait_for_ready(&mut self) -> Result<()> {
        loop {
            match self.next(Some(self.boot_deadline))? {
                GuestEvent::Ready(_) => return Ok(()),
                GuestEvent::Deadline => return Err(self.lost("the kernel did not come up in time")),
                _ => {}
            }
        }
    }

    /// Until the shell ends.
    fn converse(&mut self, stdin: RawFd, resized: &EventFd) -> Result<JobStatus> {
        let mut out = std::io::stdout();
        loop {
            match self.next(None)? {
                GuestEvent::Output { stream: Stream::Stdout, bytes, .. } => {
                    out.write_all(&bytes).and_then(|()| out.flush()).host("write to the terminal")?;
                }
                GuestEvent::Output { stream: Stream::Stderr, bytes, .. } => {
                    std::io::stderr().write_all(&bytes).host("write to the terminal")?;
                }
                GuestEvent::Also(fd) if fd == stdin => self.forward_input()?,
                GuestEvent::Also(_) => {
                    let _ = resized.read();
                    if let Some(size) = window_size() {
                        self.session.resize(size)?;
                    }
                }
                GuestEvent::JobDone { status, .. } => {
                    if let JobStatus::NotStarted { stage, error } = &status {
                        return Err(Error::host(format!(
                            "cannot start a shell in the guest: {stage}: {error}"
                        )));
                    }
                    return Ok(status);
                }
                _ => {}
            }
        }
    }

    fn type_all(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        std::io::stdin().take(MAX_FILE + 1).read_to_end(&mut bytes).host("read standard input")?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::caller(format!(
                "standard input is a file of more than {} MiB",
                MAX_FILE >> 20
            ))
            .hint("use a pipe: cat FILE | kvet shell"));
        }
        bytes.chunks(TYPED_AT_ONCE).try_for_each(|piece| self.session.type_into(piece))?;
        self.session.type_into(&[])
    }

    fn forward_input(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        let stdin = std::io::stdin();
        // Past the standard library's buffer: what stays in there would not be seen by the wait.
        match nix::unistd::read(&stdin, &mut buffer)
            .map_err(std::io::Error::from)
            .host("read standard input")?
        {
            0 => {
                self.session.vm().stop_watching(stdin.as_raw_fd())?;
                self.session.type_into(&[])
            }
            // From a terminal only: a file may hold the byte for its own reasons.
            n if self.interactive && buffer[..n].contains(&ESCAPE) => Err(Error::interrupted()),
            n => self.session.type_into(&buffer[..n]),
        }
    }

    fn leave(mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.session.next_event(Some(deadline))? {
                GuestEvent::Bye | GuestEvent::Exited { .. } | GuestEvent::Deadline => break,
                _ => {}
            }
        }
        self.session.end()
    }

    /// The next event; the console is kept, and whatever ends the guest is an error.
    fn next(&mut self, deadline: Option<Instant>) -> Result<GuestEvent> {
        let event = self.session.next_event(deadline)?;
        match &event {
            GuestEvent::Console(bytes) => {
                for line in self.console.push(bytes) {
                    if let Some((_, words)) = line.split_once(LAST_WORDS_MARK) {
                        return Err(Error::host(format!("the guest's init failed: {words}")));
                    }
                    self.store.event(&Event::ConsoleLine { cell: 0, line })?;
                }
            }
            GuestEvent::LastWords(words) => {
                return Err(Error::host(format!("the guest's init failed: {words}")));
            }
            GuestEvent::Violation(why) => {
                return Err(self.lost(&format!("the guest broke the protocol: {why}")));
            }
            GuestEvent::Exited { clean: true, .. } => return Err(self.lost("the guest is gone")),
            GuestEvent::Exited { status, stderr, .. } => {
                return Err(Error::host(format!("QEMU ended with {status}: {stderr}")));
            }
            GuestEvent::Cancelled => return Err(Error::interrupted()),
            _ => {}
        }
        Ok(event)
    }

    fn lost(&self, what: &str) -> Error {
        Error::kernel(what).hint(format!("its console is in {}", self.console_path))
    }
}

/// The terminal in raw mode while this lives, and afterwards exactly as it was found.
struct RawMode {
    found: Option<Termios>,
}

impl RawMode {
    fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self { found: None });
        }
        let found = tcgetattr(&stdin).map_err(|e| Error::host(format!("cannot read the terminal: {e}")))?;
        restore_terminal_at_exit(Some(found.clone().into()));
        let mode = Self { found: Some(found.clone()) };
        let failed = |e: &dyn std::fmt::Display| Error::host(format!("cannot set the terminal: {e}"));
        stdin.lock().set_raw_mode().map_err(|e| failed(&e))?;
        // That leaves Ctrl-S, Ctrl-Q and Ctrl-V to the terminal, and they are the guest's.
        let mut raw = found;
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).map_err(|e| failed(&e))?;
        Ok(mode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(found) = &self.found {
            // Nothing better can be done about a terminal that is gone.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, found);
            restore_terminal_at_exit(None);
        }
    }
}

/// Written to by the handler of SIGWINCH.
static WINDOW_FD: AtomicI32 = AtomicI32::new(-1);

fn watch_window() -> Result<EventFd> {
    let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).host("create an eventfd")?;
    WINDOW_FD.store(event.as_raw_fd(), Ordering::SeqCst);
    register_signal_handler(libc::SIGWINCH, on_window_change)
        .map_err(|e| Error::host(format!("cannot handle SIGWINCH: {e}")))?;
    Ok(event)
}

extern "C" fn on_window_change(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let one = 1u64;
    // SAFETY: write(2) is async-signal-safe; the pointer and length describe `one`.
    unsafe { libc::write(WINDOW_FD.load(Ordering::SeqCst), (&raw const one).cast(), 8) };
}

fn window_size() -> Option<Tty> {
    nix::ioctl_read_bad!(get_window_size, libc::TIOCGWINSZ, nix::pty::Winsize);
    let mut size = nix::pty::Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the struct is what the ioctl fills (ioctl_tty(2)).
    unsafe { get_window_size(std::io::stdout().as_raw_fd(), &mut size) }.ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(Tty { cols: size.ws_col, rows: size.ws_row })
}
