//! The files of a run under `results/`.
//!
//! ```text
//! results/latest -> 20261120-101530                the newest run ([`super::latest`])
//! results/20261120-101530/report.json              the RunReport, for `kvet report`
//! results/20261120-101530/junit.xml
//! results/20261120-101530/report.html              tests × kernels
//! results/20261120-101530/debian-7.2-x86_64-dynptr/
//!     console.log    the serial console, cleaned of control bytes; console.2.log of the second guest, where there is one
//!     stdout stderr  the job's output; stdout.2 …
//!     events.jsonl   the events of the cell, one a line, without the console
//!     wire.jsonl     the messages between kvet and init, one a line
//!     qemu.argv      the exact QEMU command, for a shell
//!     run.yaml       what was tested, with what, and what came of it
//! ```
//!
//! Streams are written as they come, so that a kvet that is killed leaves them; whole files appear by rename.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, LineWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::table::{Table, html};
use super::{Reporter, json, junit};
use crate::error::{Error, IoContext, Result};
use crate::event::{
    Accel, CellEnd, CellId, CellReport, Counts, Event, KernelFacts, PhaseTime, RunReport, Splat, Stream,
};
use crate::quote;
use kvet_host::fs::write_atomic;

/// Bytes that one stream of one cell may fill: a guest must not fill the host's disk.
const MAX_STREAM_BYTES: u64 = 64 << 20;

/// How many runs can begin in one second before that is an error.
const MAX_SAME_SECOND: u32 = 1000;

/// The folder of a run, with one folder per cell in it.
#[derive(Debug, Clone)]
pub struct RunDir {
    run_id: String,
    dir: PathBuf,
    cells: Vec<PathBuf>,
}

impl RunDir {
    /// Makes the folder of a new run in `output` (itself made where missing), named after the local time and made
    /// unique, and one in it for each cell.
    ///
    /// # Errors
    /// The folders cannot be made: the caller's fault where `output` is not a place to write to, else the host's.
    pub fn create(output: &Path, cells: &[CellId]) -> Result<Self> {
        let made = Self::create_at(output, &jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string(), cells)?;
        // Where that fails, results are seen by git; no verdict depends on it.
        let _ = hide_from_git(output);
        Ok(made)
    }

    /// The same, named otherwise than after the time.
    ///
    /// # Errors
    /// As [`RunDir::create`].
    pub fn create_at(output: &Path, stamp: &str, cells: &[CellId]) -> Result<Self> {
        fs::create_dir_all(output).given(format!("make the results folder {}", output.display()))?;
        let output = output.canonicalize().given(format!("find the results folder {}", output.display()))?;
        let (run_id, dir) = claim(&output, stamp)?;
        let names = cell_names(cells);
        let cells: Vec<PathBuf> = names.iter().map(|n| dir.join(n)).collect();
        for cell in &cells {
            fs::create_dir(cell).host(format!("make {}", cell.display()))?;
        }
        Ok(Self { run_id, dir, cells })
    }

    /// The run's name: `20261120-101530`, or `20261120-101530-2` for the second of that second.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Its folder, absolute.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The folder of a cell, by its index in the list given to [`RunDir::create`].
    ///
    /// # Panics
    /// There is no such cell.
    pub fn cell(&self, index: usize) -> &Path {
        &self.cells[index]
    }
}

/// Has git ignore a results folder, unless somebody else keeps something there: what was not made by kvet stays visible.
fn hide_from_git(output: &Path) -> std::io::Result<()> {
    let is_ours = |name: &std::ffi::OsStr| {
        name == "latest"
            || name.to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
    };
    for entry in fs::read_dir(output)? {
        if !is_ours(&entry?.file_name()) {
            return Ok(());
        }
    }
    fs::write(output.join(".gitignore"), crate::event::RESULTS_IGNORE)
}

/// Makes the first free folder of that name.
fn claim(output: &Path, stamp: &str) -> Result<(String, PathBuf)> {
    for number in 1..=MAX_SAME_SECOND {
        let run_id = if number == 1 { stamp.to_owned() } else { format!("{stamp}-{number}") };
        let dir = output.join(&run_id);
        match fs::create_dir(&dir) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            made => return made.given(format!("make {}", dir.display())).map(|()| (run_id, dir)),
        }
    }
    Err(Error::host(format!("{} has {MAX_SAME_SECOND} runs named {stamp}", output.display())))
}

/// Names for the folders of cells, all different.
fn cell_names(cells: &[CellId]) -> Vec<String> {
    let mut used = HashSet::new();
    cells
        .iter()
        .map(|id| {
            let name = safe_name(&format!("{}-{}-{}", id.kernel, id.arch, id.suite));
            let mut unique = name.clone();
            let mut number = 1;
            while !used.insert(unique.clone()) {
                number += 1;
                unique = format!("{name}-{number}");
            }
            unique
        })
        .collect()
}

/// A name that is one harmless path component: letters, digits and `._+-`, not hidden, not too long.
pub fn safe_name(text: &str) -> String {
    const MAX: usize = 120;
    let mut name: String = text
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '+' | '-' => c,
            ':' => '-',
            _ => '_',
        })
        .take(MAX)
        .collect();
    if name.is_empty() || name.starts_with(['.', '-']) {
        name.insert(0, '_');
    }
    name
}

/// The name of a file that every guest of a cell has: `console.log`, `console.2.log`.
pub fn numbered(name: &str, boot: u32, ending: &str) -> String {
    if boot < 2 { format!("{name}{ending}") } else { format!("{name}.{boot}{ending}") }
}

/// Keeps the files of a run.
pub struct Store {
    dir: RunDir,
    cells: Vec<Files>,
}

/// The streams of one cell.
#[derive(Default)]
struct Files {
    console: Option<StreamFile>,
    stdout: Option<StreamFile>,
    stderr: Option<StreamFile>,
    wire: Option<StreamFile>,
    /// Which guest of the cell it is; 0 before the first.
    boot: u32,
    argv: Vec<String>,
}

impl Store {
    /// Will keep the files of the run whose folder this is.
    pub fn new(dir: RunDir) -> Self {
        let cells = dir.cells.iter().map(|_| Files::default()).collect();
        Self { dir, cells }
    }

    fn cell_event(&mut self, cell: usize, event: &Event) -> Result<()> {
        let (Some(files), Some(dir)) = (self.cells.get_mut(cell), self.dir.cells.get(cell)) else {
            return Err(Error::host(format!("an event is for cell {cell} of {}", self.cells.len())));
        };
        match event {
            Event::ConsoleLine { line, .. } => {
                return append(&mut files.console, dir, &numbered("console", files.boot, ".log"), line);
            }
            Event::Progress { .. } => return Ok(()),
            Event::CellFinished { report, .. } => {
                let argv = std::mem::take(&mut files.argv);
                *files = Files::default();
                return write_atomic(&dir.join("run.yaml"), &run_yaml(report, &argv)?);
            }
            Event::OutputLine { stream: Stream::Stdout, line, .. } => {
                append(&mut files.stdout, dir, &numbered("stdout", files.boot, ""), line)?;
            }
            Event::OutputLine { stream: Stream::Stderr, line, .. } => {
                append(&mut files.stderr, dir, &numbered("stderr", files.boot, ""), line)?;
            }
            Event::Rebooted { boot, .. } => {
                files.boot = *boot;
                (files.console, files.stdout, files.stderr) = (None, None, None);
            }
            Event::VmStarted { argv, .. } => {
                files.argv.clone_from(argv);
                write_atomic(&dir.join("qemu.argv"), quote::command_in_lines(argv).as_bytes())?;
            }
            _ => {}
        }
        append(&mut files.wire, dir, "events.jsonl", json::line(event)?.trim_end())
    }
}

impl Reporter for Store {
    fn event(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::RunStarted { .. } => Ok(()),
            Event::RunFinished { report } => write_reports(&self.dir.dir, report),
            Event::PhaseStarted { cell, .. }
            | Event::Progress { cell, .. }
            | Event::Note { cell, .. }
            | Event::KernelReady { cell, .. }
            | Event::VmStarted { cell, .. }
            | Event::Rebooted { cell, .. }
            | Event::GuestReady { cell, .. }
            | Event::ConsoleLine { cell, .. }
            | Event::OutputLine { cell, .. }
            | Event::TestStarted { cell, .. }
            | Event::TestFinished { cell, .. }
            | Event::SplatSeen { cell, .. }
            | Event::CellFinished { cell, .. } => self.cell_event(*cell, event),
        }
    }
}

/// A file that grows line by line, to a limit.
struct StreamFile {
    path: PathBuf,
    /// None once it failed or is full: what is missing was said.
    to: Option<LineWriter<File>>,
    bytes: u64,
}

/// Appends a line to a stream, which is opened with its first line.
fn append(stream: &mut Option<StreamFile>, dir: &Path, name: &str, line: &str) -> Result<()> {
    let file = match stream {
        Some(file) => file,
        None => stream.insert(StreamFile::create(dir.join(name))?),
    };
    file.line(line)
}

impl StreamFile {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).host(format!("write {}", path.display()))?;
        Ok(Self { path, to: Some(LineWriter::new(file)), bytes: 0 })
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let Some(to) = &mut self.to else { return Ok(()) };
        self.bytes += line.len() as u64 + 1;
        let full = self.bytes > MAX_STREAM_BYTES;
        let line =
            if full { "[kvet: the limit of this file is reached; the rest is not kept]" } else { line };
        let written = to.write_all(line.as_bytes()).and_then(|()| to.write_all(b"\n"));
        if full || written.is_err() {
            self.to = None;
        }
        written.host(format!("write {}", self.path.display()))
    }
}

/// What is written of a run as a whole, in place of what is there. One report that cannot be written keeps no other from being.
/// report.json, by which a run is known, comes last.
///
/// # Errors
/// The host's: disk full.
pub fn write_reports(dir: &Path, report: &RunReport) -> Result<()> {
    let junit = write_atomic(&dir.join("junit.xml"), &junit::to_xml(report)?);
    let page = html::render(&Table::of(report), dir);
    let html = write_atomic(&dir.join("report.html"), page.as_bytes());
    let json = write_atomic(&dir.join("report.json"), &report_json(report)?);
    junit.and(html).and(json)
}

/// Keeps a run that was put together from others, in a folder that is made if need be.
///
/// # Errors
/// The folder is another run's, or cannot be made: the caller's. The host's: disk full.
pub fn store_report(dir: &Path, report: &RunReport) -> Result<()> {
    if dir.join("report.json").exists() {
        return Err(Error::caller(format!("{} has the report of a run already", dir.display())));
    }
    fs::create_dir_all(dir).given(format!("make {}", dir.display()))?;
    write_reports(dir, &RunReport { dir: dir.to_owned(), ..report.clone() })
}

fn report_json(report: &RunReport) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(report)
        .map_err(|e| Error::host("cannot turn the report into JSON").because(e))?;
    text.push(b'\n');
    Ok(text)
}

/// Reads the report of a run back: a folder (or `latest`) with a report.json, or that file itself. A folder that was moved
/// since, or came from another machine, is taken to be where it is now.
///
/// # Errors
/// It is not there or not readable as one: the caller's.
pub fn load(path: &Path) -> Result<RunReport> {
    let file = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
    let text = fs::read(&file).given(format!("read the report {}", file.display()))?;
    let mut report: RunReport = serde_json::from_slice(&text).map_err(|e| unreadable(&file, &text, e))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    for cell in &mut report.cells {
        let here = cell.dir.file_name().map(|name| folder.join(name));
        if let Some(here) = here.filter(|dir| dir.is_dir()) {
            cell.dir = here;
        }
    }
    Ok(report)
}

/// Why a report cannot be read: it is damaged, or another kvet wrote words into it that this one does not have. Whatever it
/// cannot read might be a failure, so nothing of it is taken.
fn unreadable(file: &Path, text: &[u8], error: serde_json::Error) -> Error {
    #[derive(serde::Deserialize)]
    struct Writer {
        kvet: String,
    }
    let ours = env!("CARGO_PKG_VERSION");
    let cut = error.is_eof();
    let message = if cut { "ends in the middle" } else { "is no report of kvet's" };
    let error = Error::caller(format!("{} {message}", file.display())).because(error);
    match serde_json::from_slice::<Writer>(text) {
        Ok(writer) if writer.kvet != ours => error.hint(format!(
            "kvet {} wrote it and this is kvet {ours}: read it with that one",
            crate::parse::clean::one_line(&writer.kvet)
        )),
        _ if cut => error.hint("kvet, or the copy of the file, was stopped: run it again or copy it again"),
        _ => error,
    }
}

/// What `run.yaml` holds.
#[derive(Serialize)]
struct RunYaml<'a> {
    kvet: &'static str,
    cell: &'a CellId,
    started: String,
    end: &'a CellEnd,
    counts: Counts,
    kernel: &'a Option<KernelFacts>,
    accel: Option<Accel>,
    accel_reason: &'a str,
    provenance: &'a std::collections::BTreeMap<String, String>,
    times_seconds: &'a [PhaseTime],
    notes: &'a [String],
    splats: &'a [Splat],
    qemu_argv: &'a [String],
}

fn run_yaml(report: &CellReport, argv: &[String]) -> Result<Vec<u8>> {
    let yaml = RunYaml {
        kvet: env!("CARGO_PKG_VERSION"),
        cell: &report.id,
        started: rfc3339(report.started_unix),
        end: &report.end,
        counts: Counts::of(&report.cases),
        kernel: &report.kernel,
        accel: report.accel,
        accel_reason: &report.accel_reason,
        provenance: &report.provenance,
        times_seconds: &report.times,
        notes: &report.notes,
        splats: &report.splats,
        qemu_argv: argv,
    };
    crate::spec::to_yaml(&yaml).map(String::into_bytes)
}

fn rfc3339(unix: f64) -> String {
    match jiff::Timestamp::from_millisecond((unix * 1000.0) as i64) {
        Ok(time) => time.to_string(),
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::sample;
    use super::*;

    fn stored() -> (tempfile::TempDir, PathBuf) {
        let output = tempfile::tempdir().unwrap();
        let dir = RunDir::create_at(output.path(), "20261120-101530", &[sample::id()]).unwrap();
        let path = dir.path().to_owned();
        let mut store = Store::new(dir);
        for event in sample::events() {
            store.event(&event).unwrap();
        }
        (output, path)
    }

    #[test]
    fn every_file_is_there_and_nothing_else() {
        let (output, run) = stored();
        let names = |dir: &Path| {
            let mut names: Vec<String> =
                fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names(output.path()), ["20261120-101530"]);
        assert_eq!(names(&run), ["debian-7.2-x86_64-dynptr", "junit.xml", "report.html", "report.json"]);
        let cell = run.join("debian-7.2-x86_64-dynptr");
        assert_eq!(
            names(&cell),
            ["console.log", "events.jsonl", "qemu.argv", "run.yaml", "stderr", "stdout"]
        );
        let read = |name: &str| fs::read_to_string(cell.join(name)).unwrap();
        assert_eq!(read("console.log"), "[    0.000000] Linux version 7.2.12\n");
        assert_eq!((read("stdout").as_str(), read("stderr").as_str()), ("KTAP version 1\n", "libbpf: x\n"));
        assert_eq!(
            read("qemu.argv"),
            "qemu-system-x86_64 \\\n  -append \\\n  'console=ttyS0 it'\\''s' \\\n  ''\n"
        );
        assert!(!read("events.jsonl").contains("console_line"));
        for line in read("events.jsonl").lines() {
            serde_json::from_str::<Event>(line).unwrap();
        }
        let mode = fs::metadata(cell.join("run.yaml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "for others to read, not only for who ran it");
    }

    #[test]
    fn run_yaml_says_what_was_tested() {
        let (_output, run) = stored();
        let text = fs::read_to_string(run.join("debian-7.2-x86_64-dynptr/run.yaml")).unwrap();
        for part in [
            "started: 2026-11-20T10:15:30Z",
            "release: 7.2.12+deb13-amd64",
            &format!("sha256: {}", "cd".repeat(32)),
            "CONFIG_BPF_SYSCALL: y",
            "accel: tcg",
            "passed: 1",
            "kind: completed",
            "- qemu-system-x86_64",
            "phase: boot\n  wall: 3.1",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn the_report_reads_back() {
        let (output, run) = stored();
        let mut expected = sample::run();
        expected.cells[0].dir = run.join("debian-7.2-x86_64-dynptr");
        assert_eq!(load(&run).unwrap(), expected);
        assert_eq!(load(&output.path().join("nothing")).unwrap_err().fault(), crate::error::Fault::Caller);
        fs::write(run.join("report.json"), "{}").unwrap();
        assert!(load(&run).unwrap_err().to_string().contains("is no report of kvet's"));
    }

    #[test]
    fn a_damaged_or_foreign_report_is_refused() {
        let (_output, run) = stored();
        let file = run.join("report.json");
        let text = fs::read_to_string(&file).unwrap();
        for end in [0, 1, text.len() / 2, text.len() - 3] {
            fs::write(&file, &text[..end]).unwrap();
            let e = load(&run).unwrap_err();
            assert_eq!(e.fault(), crate::error::Fault::Caller);
            assert!(e.to_string().contains("report.json ends in the middle"), "{e}");
        }
        // Another kvet has an outcome that this one does not know.
        let other = text.replace("\"fail\"", "\"quarantined\"").replace("\"0.1.0\"", "\"9.1.0\"");
        fs::write(&file, other).unwrap();
        let e = load(&run).unwrap_err();
        assert!(e.to_string().contains("unknown variant `quarantined`"), "{e}");
        assert!(e.hint_text().unwrap().starts_with("kvet 9.1.0 wrote it"), "{e}");
    }

    #[test]
    fn runs_of_one_second_and_cells_of_one_name_are_kept_apart() {
        let output = tempfile::tempdir().unwrap();
        let id = |kernel: &str| CellId { kernel: kernel.into(), ..sample::id() };
        let cells = [id("a/b"), id("a?b"), id("../../etc"), id("")];
        let first = RunDir::create_at(output.path(), "20261120-101530", &cells).unwrap();
        let second = RunDir::create_at(output.path(), "20261120-101530", &cells).unwrap();
        assert_eq!((first.run_id(), second.run_id()), ("20261120-101530", "20261120-101530-2"));
        let names: Vec<_> = (0..4).map(|i| first.cell(i).file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["a_b-x86_64-dynptr", "a_b-x86_64-dynptr-2", "_.._.._etc-x86_64-dynptr", "_-x86_64-dynptr"]
        );
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let output = tempfile::tempdir().unwrap();
        let file = output.path().join("file");
        fs::write(&file, "").unwrap();
        let e = RunDir::create(&file.join("results"), &[]).unwrap_err();
        assert_eq!(e.fault(), crate::error::Fault::Caller);
        assert!(e.to_string().contains("/file/results"), "{e}");
        let e = write_atomic(&output.path().join("no/such/junit.xml"), b"x").unwrap_err();
        assert!(
            e.to_string().starts_with("cannot write ") && e.to_string().contains("no/such/junit.xml"),
            "{e}"
        );
    }

    #[test]
    fn a_full_disk_is_said_once_per_file() {
        let mut file = StreamFile::create("/dev/full".into()).unwrap();
        let e = file.line("x").unwrap_err();
        assert!(e.to_string().starts_with("cannot write /dev/full"), "{e}");
        file.line("y").unwrap();
    }

    #[test]
    fn git_ignores_a_folder_of_results_only() {
        let output = tempfile::tempdir().unwrap();
        RunDir::create(output.path(), &[]).unwrap();
        let file = output.path().join(".gitignore");
        assert_eq!(fs::read_to_string(&file).unwrap(), crate::event::RESULTS_IGNORE);
        fs::remove_file(&file).unwrap();
        fs::write(output.path().join("notes.txt"), "mine").unwrap();
        RunDir::create(output.path(), &[]).unwrap();
        assert!(!file.exists(), "it would hide what is not kvet's");
        fs::remove_file(output.path().join("notes.txt")).unwrap();
        fs::write(&file, "mine").unwrap();
        RunDir::create(output.path(), &[]).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn a_flood_does_not_fill_the_disk() {
        let output = tempfile::tempdir().unwrap();
        let mut file = StreamFile::create(output.path().join("f")).unwrap();
        file.bytes = MAX_STREAM_BYTES - 2;
        for line in ["a", "b", "c"] {
            file.line(line).unwrap();
        }
        let text = fs::read_to_string(output.path().join("f")).unwrap();
        assert!(text.starts_with("a\n[kvet: the limit") && text.lines().count() == 2, "{text}");
    }
}
