//! Plays a scenario to the real monitor and gathers what it makes of it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kvet::cancel::Cancel;
use kvet::cell::watch::{Watch, Watched};
use kvet::event::{Accel, Event, Outcome, Phase};
use kvet::guest::Session;
use kvet::parse::OutputParser;
use kvet::parse::ktap::KtapParser;
use kvet::parse::splat::{Allowlist, Patterns, Scanner};
use kvet::parse::test_progs::TestProgsParser;
use kvet::plan::Limits;
use kvet::vm::Vm;
use kvet::vm::machine::Machine;
use kvet_wire::Job;

/// Nothing in a scenario takes this long, however busy the host is.
const LONG: Duration = Duration::from_secs(60);

/// A scenario and what the guest is watched with.
pub struct Scenario {
    script: String,
    pub limits: Limits,
    pub cancel: Cancel,
    parser: Box<dyn OutputParser>,
    stall: Duration,
}

/// What came out.
pub struct Played {
    pub watched: Watched,
    pub console: Vec<String>,
    pub console_bytes: usize,
    pub started: Vec<String>,
    pub phases: Vec<Phase>,
    pub wire: String,
    pub wall: Duration,
}

impl Scenario {
    /// The commands of a script; see fake-qemu for what they can use.
    pub fn new(script: &str) -> Self {
        let parser = Box::new(KtapParser::new("fake"));
        let limits = Limits { boot: LONG, test: LONG, cell: LONG * 2, silence: LONG };
        Self {
            script: script.to_owned(),
            limits,
            cancel: Cancel::new().unwrap(),
            parser,
            stall: Duration::ZERO,
        }
    }

    /// The job prints as test_progs does.
    pub fn test_progs(mut self) -> Self {
        self.parser = Box::new(TestProgsParser::new("fake", true));
        self
    }

    /// kvet stands still for so long when the console says `stand still`.
    pub fn standing_still(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }

    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Starts the guest alone. The folder holds the script.
    pub fn start(&self) -> (Vm, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("scenario");
        std::fs::write(&script, &self.script).unwrap();
        (Vm::start(&machine(script), &self.cancel).unwrap(), dir)
    }

    /// Plays it to the end, and makes sure that no process is left.
    pub fn play(self) -> Played {
        let (vm, _dir) = self.start();
        let pid = vm.pid();
        let seen = RefCell::new((Vec::new(), 0, Vec::new(), Vec::new()));
        let mut emit = |event: Event| {
            let (console, console_bytes, started, phases) = &mut *seen.borrow_mut();
            match event {
                Event::ConsoleLine { line, .. } => {
                    *console_bytes += line.len();
                    if line == "stand still" {
                        std::thread::sleep(self.stall);
                    }
                    if console.len() < 1000 {
                        console.push(line);
                    }
                }
                Event::TestStarted { name, .. } => started.push(name),
                Event::PhaseStarted { phase, .. } => phases.push(phase),
                _ => {}
            }
        };
        let mut log = Vec::new();
        let mut session = Session::new(vm, &mut log);
        let begun = Instant::now();
        let watch = Watch::new(0, job(), self.limits, self.parser, scanner(), &mut emit);
        let watched = watch.run(&mut session);
        session.end().unwrap();
        let wall = begun.elapsed();
        // A killed process is gone once the kernel and its new parent get round to it.
        let patience = Instant::now() + Duration::from_secs(5);
        while !group_of(pid).is_empty() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(group_of(pid), Vec::<u32>::new(), "processes left behind");
        let (console, console_bytes, started, phases) = seen.into_inner();
        let wire = String::from_utf8(log).unwrap();
        Played { watched, console, console_bytes, started, phases, wire, wall }
    }
}

impl Played {
    /// `name outcome` of every case.
    pub fn cases(&self) -> Vec<String> {
        self.watched.cases.iter().map(|c| format!("{} {}", c.name, word(c.outcome))).collect()
    }

    /// `kind test` of every splat.
    pub fn splats(&self) -> Vec<String> {
        let splats = self.watched.splats.iter();
        splats.map(|(s, test)| format!("{} {}", s.kind, test.as_deref().unwrap_or("-"))).collect()
    }

    /// The cell's end with its reason, on one line.
    pub fn end(&self) -> String {
        format!("{:?}", self.watched.end)
    }

    /// Checks the cell's end: how it is called, and what its reason says.
    pub fn assert_end(&self, kind: &str, reason: &str) {
        let end = self.end();
        assert!(end.starts_with(kind) && end.contains(reason), "{kind} with '{reason}' expected: {end}");
    }

    /// Checks that a remark was made.
    pub fn assert_note(&self, text: &str) {
        let notes = &self.watched.notes;
        assert!(notes.iter().any(|note| note.contains(text)), "'{text}' expected: {notes:?}");
    }
}

/// `NotRun` for [`Outcome::NotRun`].
fn word(outcome: Outcome) -> String {
    format!("{outcome:?}")
}

/// A job; the fake guest does not look at it.
pub fn job() -> Job {
    Job {
        stand_in: None,
        id: 0,
        shares: Vec::new(),
        modules: Vec::new(),
        argv: vec!["/kvet/tests/fake".into()],
        env: Vec::new(),
        cwd: "/".into(),
        deadline_ms: 0,
        drain_ms: 0,
        unix_time_ns: 0,
        seed: String::new(),
        tty: None,
        stdin: false,
        root: None,
    }
}

fn machine(script: PathBuf) -> Machine {
    Machine {
        qemu: root().join("runner/tests/integration/fake_qemu/fake-qemu"),
        machine: "fake".into(),
        cpu: "max".into(),
        accel: Accel::Tcg,
        cpus: 1,
        memory_mib: 64,
        kernel: script,
        initrd: "/dev/null".into(),
        cmdline: Vec::new(),
        shares: Vec::new(),
    }
}

fn scanner() -> Scanner {
    let patterns = Patterns::load(&root().join("configs/splats.yaml")).unwrap();
    Scanner::new(patterns, Allowlist::default())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Live processes of a process group.
pub fn group_of(leader: u32) -> Vec<u32> {
    let alive = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name in parentheses: state, parent, group (proc_pid_stat(5)).
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        fields.get(2).is_some_and(|group| *group == leader.to_string()) && fields[0] != "Z"
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|p| p.file_name().to_str()?.parse().ok()).filter(alive).collect()
}
