//! Runs the kvet command in a folder of its own and reads what it leaves there.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

use kvet::event::{CellReport, Phase, RunReport};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Guests that run at the same time: the tests of a machine with many CPUs would only slow each other down.
const GUESTS: usize = 2;
/// No run of these tests takes this long, however busy the host is.
const PATIENCE: Duration = Duration::from_secs(300);

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// The right to run a guest.
struct Slot;

impl Slot {
    fn take() -> Self {
        let running = RUNNING.lock().unwrap();
        *ENDED.wait_while(running, |running| *running >= GUESTS).unwrap() += 1;
        Slot
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap() -= 1;
        ENDED.notify_one();
    }
}

/// A call of kvet, in a new folder.
pub struct Kvet {
    command: Command,
    /// The folder that it runs in.
    pub dir: tempfile::TempDir,
    starts_guest: bool,
}

/// A kvet that runs. Dropping it kills it.
pub struct Running {
    /// Its process.
    pub child: Child,
    dir: tempfile::TempDir,
    _slot: Option<Slot>,
}

/// A kvet that has ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub wall: Duration,
    dir: tempfile::TempDir,
}

impl Kvet {
    /// `kvet ARGS…`, with nothing on standard input.
    pub fn new<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary());
        command.args(args).current_dir(dir.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, dir, starts_guest: true }
    }

    /// The same, by a shell that first does something that kvet is then under.
    pub fn under<S: AsRef<std::ffi::OsStr>>(shell: &str, args: impl IntoIterator<Item = S>) -> Self {
        let mut kvet = Self::new(args);
        let mut command = Command::new("sh");
        command.args(["-e", "-c", &format!("{shell}\nexec \"$0\" \"$@\"")]).arg(binary());
        command.args(kvet.command.get_args()).current_dir(kvet.dir.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        kvet.command = command;
        kvet
    }

    /// The same, in a mount namespace of its own, so that the shell can mount something. Whoever is not root is root there.
    pub fn unshared<S: AsRef<std::ffi::OsStr>>(shell: &str, args: impl IntoIterator<Item = S>) -> Self {
        let mut kvet = Self::under(shell, args);
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !nix::unistd::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.arg(kvet.command.get_program()).args(kvet.command.get_args());
        command.current_dir(kvet.dir.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        kvet.command = command;
        kvet
    }

    /// It starts no guest, and needs not wait for other tests' guests.
    pub fn without_guest(mut self) -> Self {
        self.starts_guest = false;
        self
    }

    fn slot(&self) -> Option<Slot> {
        self.starts_guest.then(Slot::take)
    }

    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn env(mut self, name: &str, value: &Path) -> Self {
        self.command.env(name, value);
        self
    }

    /// Writes a file into the folder.
    pub fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    /// A suite of the program kvet-faults, in NAME.yaml, with these tests: `name=action`. They are faults/name.
    pub fn fault_suite(self, name: &str, steps: &[&str]) -> Self {
        let names: Vec<String> =
            steps.iter().map(|step| format!("faults/{}\n", step.split_once('=').unwrap().0)).collect();
        let suite = format!(
            "name: {name}\ntitle: Trouble\nprogram: '{{guest}}/faults/kvet-faults'\nargs: [--ktap, {}]\n\
             format: ktap\ntests: {name}.tests\nselect: --test\nmemory: 256M\n",
            steps.join(", ")
        );
        self.file(&format!("{name}.yaml"), &suite).file(&format!("{name}.tests"), &names.concat())
    }

    /// Makes a file of the folder executable.
    pub fn executable(self, name: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    pub fn start(mut self) -> Running {
        let slot = self.slot();
        let child = self.command.spawn().unwrap_or_else(|e| panic!("start {}: {e}", binary().display()));
        Running { child, dir: self.dir, _slot: slot }
    }

    /// Runs it to its end and makes sure that no QEMU is left.
    pub fn end(mut self) -> Ended {
        let slot = self.slot();
        let started = Instant::now();
        let output = self.command.output().unwrap();
        drop(slot);
        let ended = Ended::new(output, started.elapsed(), self.dir);
        assert_eq!(qemus(ended.dir.path()), Vec::<i32>::new(), "QEMU was left behind");
        ended
    }
}

impl Running {
    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for its end and for that of its QEMU.
    pub fn end(mut self) -> Ended {
        let started = Instant::now();
        // Nothing here says more than a pipe holds, so that the end can be waited for first.
        wait("kvet's end", || self.child.try_wait().unwrap().is_some());
        let read = |pipe: Option<&mut dyn std::io::Read>| {
            let mut bytes = Vec::new();
            pipe.unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        };
        let stdout = read(self.child.stdout.as_mut().map(|pipe| pipe as _));
        let stderr = read(self.child.stderr.as_mut().map(|pipe| pipe as _));
        let status = self.child.wait().unwrap();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        wait("QEMU's end", || qemus(dir.path()).is_empty());
        Ended::new(Output { status, stdout, stderr }, started.elapsed(), dir)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    fn new(output: Output, wall: Duration, dir: tempfile::TempDir) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("kvet prints UTF-8");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            wall,
            dir,
        }
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Checks that it says why on standard error, in one line after `error:`, and that nothing was started.
    #[track_caller]
    pub fn refused(&self, text: &str) {
        assert!(self.stderr.starts_with("error: ") && self.stderr.contains(text), "{}", self.stderr);
        assert!(
            self.stderr.lines().filter(|line| !line.starts_with("hint: ")).count() == 1,
            "{}",
            self.stderr
        );
        assert!(!self.path("results/latest").exists(), "nothing should have been started");
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The folder of the first cell.
    pub fn cell_dir(&self) -> PathBuf {
        first_cell(&self.path("results/latest")).expect("a cell's folder")
    }

    /// A file of the first cell.
    pub fn cell_file(&self, name: &str) -> String {
        let path = self.cell_dir().join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The report of the first cell.
    pub fn cell(&self) -> CellReport {
        let text = fs::read_to_string(self.path("results/latest/report.json")).unwrap();
        let report: RunReport = serde_json::from_str(&text).unwrap();
        report.cells.into_iter().next().unwrap()
    }

    /// Checks how the cell ended.
    #[track_caller]
    pub fn ended(&self, kind: &str, reason: &str) {
        let end = format!("{:?}", self.cell().end);
        assert!(end.starts_with(kind) && end.contains(reason), "{kind} with '{reason}' expected: {end}");
    }
}

/// When a cell was in a phase, in seconds since the epoch.
pub fn when(cell: &CellReport, phase: Phase) -> Range<f64> {
    let at = cell.times.iter().position(|time| time.phase == phase);
    let at = at.unwrap_or_else(|| panic!("no {phase:?} in {:?}", cell.times));
    let before: f64 = cell.times[..at].iter().map(|time| time.wall.as_secs_f64()).sum();
    let begin = cell.started_unix + before;
    begin..begin + cell.times[at].wall.as_secs_f64()
}

/// The kvet under test.
fn binary() -> PathBuf {
    std::env::var_os("KVET_TEST_BIN").map_or_else(|| env!("CARGO_BIN_EXE_kvet").into(), PathBuf::from)
}

/// Gets a kernel into the cache, once.
pub fn have(kernel: &str, arch: &str) {
    static HAD: LazyLock<Mutex<Vec<String>>> = LazyLock::new(Mutex::default);
    let mut had = HAD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let name = format!("{kernel} {arch}");
    if had.contains(&name) {
        return;
    }
    let output = Command::new(binary()).args(["kernel", "fetch", kernel, "-a", arch]).output().unwrap();
    assert!(
        output.status.success(),
        "these tests boot {name}: it is not in the cache (KVET_CACHE) and cannot be fetched:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    had.push(name);
}

/// The image and the modules of a kernel in the cache.
pub fn cached(kernel: &str, arch: &str) -> (String, String) {
    have(kernel, arch);
    let output = Command::new(binary()).args(["kernel", "info", kernel, "-a", arch]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let field = |name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
        line[name.len()..].trim().to_owned()
    };
    (field("image"), field("modules"))
}

/// A cache in a new folder that has one kernel and all indexes, as the cache of these tests has them.
pub fn cache_with(kernel: &str, arch: &str) -> tempfile::TempDir {
    let (image, _) = cached(kernel, arch);
    let entry = Path::new(&image).ancestors().find(|dir| dir.join("entry.json").is_file()).expect("an entry");
    let whole = entry.ancestors().nth(2).expect("a cache");
    let cache = tempfile::tempdir().unwrap();
    fs::create_dir(cache.path().join("kernels")).unwrap();
    for (from, to) in [(entry, "kernels"), (&whole.join("index"), ".")] {
        let copied = Command::new("cp").arg("-a").arg(from).arg(cache.path().join(to)).status().unwrap();
        assert!(copied.success(), "{} cannot be copied", from.display());
    }
    cache
}

/// The QEMUs that share a folder below `dir` with their guests.
pub fn qemus(dir: &Path) -> Vec<i32> {
    let dir = dir.to_str().unwrap();
    processes(|command| {
        command.split('\0').next().unwrap_or_default().contains("qemu-system-") && command.contains(dir)
    })
}

/// Those whose command line, with its NULs, is like that.
pub fn processes(is_meant: impl Fn(&str) -> bool) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|p| p.file_name().to_str()?.parse().ok());
    let command = |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    pids.filter(|pid| is_meant(&String::from_utf8_lossy(&command(pid)))).collect()
}

pub fn first_cell(run: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(run).ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| path.is_dir())
}

pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}
