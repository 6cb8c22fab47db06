//! `make bench`: what kvet costs over a bare QEMU, and where the time of a run goes.
//!
//! In each round the same kernel is booted three times under TCG: by a bare QEMU with a do-nothing initramfs, to
//! power-off, from the bzImage as shipped; the same from the uncompressed kernel that kvet boots; and by
//! `kvet run -t` with one dynptr test. Medians of the rounds are printed, and the ratios pair by pair.
//!
//! After them a matrix of equal cells is run with `-j 1` and `-j 2`: on two idle CPUs two guests at a time should take little
//! more than half as long. What else the machine is doing is said, and spoils it.
//!
//! `KVET_BENCH_ROUNDS` (5) and `KVET_BENCH_KERNEL` (debian:7.2) change what is measured; with `KVET_BENCH_HOST=1` (as root) the
//! dynptr suite is also run on this machine's own kernel.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TEST: &str = "dynptr_success/test_read_write";

fn main() {
    // `cargo test --benches` and `cargo clippy` call a benchmark too; it is only run when asked for.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let rounds: usize =
        std::env::var("KVET_BENCH_ROUNDS").map_or(5, |n| n.parse().expect("a number of rounds"));
    let kernel = std::env::var("KVET_BENCH_KERNEL").unwrap_or_else(|_| "debian:7.2".into());
    let bench = Bench::new(kernel);
    // Fetches the kernel, makes the initramfs and warms the page cache; not counted.
    bench.kvet();
    bench.whole_suite();
    let mut table = Table::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let shipped = bench.bare(&bench.bzimage);
        let uncompressed = bench.bare(&bench.vmlinux);
        table.add(shipped, uncompressed, bench.kvet());
    }
    table.print(&bench);
    bench.matrix();
}

/// Equal cells of the matrix.
const CELLS: usize = 4;

/// What is measured.
struct Bench {
    binary: PathBuf,
    kernel: String,
    dir: tempfile::TempDir,
    bzimage: PathBuf,
    vmlinux: PathBuf,
    initramfs: PathBuf,
}

/// One run of kvet.
struct Run {
    wall: Duration,
    /// The runner's own CPU time, QEMU's not included.
    cpu: Duration,
    /// The runner's peak resident set.
    peak_kib: u64,
    /// Wall times of the phases, as the report has them.
    phases: Vec<(String, f64)>,
    /// Guest time from boot to init, and to Ready.
    init: f64,
    ready: f64,
}

impl Bench {
    fn new(kernel: String) -> Self {
        let binary =
            std::env::var_os("KVET_TEST_BIN").map_or(env!("CARGO_BIN_EXE_kvet").into(), PathBuf::from);
        let dir = tempfile::tempdir().expect("a temporary folder");
        let initramfs = dir.path().join("nothing.cpio");
        fs::write(&initramfs, do_nothing_initramfs()).expect("write the initramfs");
        let info = Command::new(&binary).args(["kernel", "info", &kernel]).output().expect("start kvet");
        let info = String::from_utf8_lossy(&info.stdout).into_owned();
        let image = info.lines().find_map(|line| line.strip_prefix("image")).expect("an image").trim();
        let bzimage = PathBuf::from(image);
        let vmlinux = bzimage.with_file_name("vmlinux");
        Self { binary, kernel, dir, bzimage, vmlinux, initramfs }
    }

    /// From the start of a bare QEMU to its end.
    fn bare(&self, kernel: &Path) -> Duration {
        let started = Instant::now();
        let status = Command::new("qemu-system-x86_64")
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "512M"])
            .args(["-serial", "file:/dev/null", "-append", "console=ttyS0 panic=-1"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .stdin(Stdio::null())
            .status()
            .expect("start QEMU");
        assert!(status.success(), "the bare guest ended with {status}");
        started.elapsed()
    }

    /// The whole dynptr suite in one boot: its time against the boot's, and tests per second in the guest. With
    /// `KVET_BENCH_HOST=1` (as root) also on this machine's own kernel, without a guest.
    fn whole_suite(&self) {
        let status = Command::new(&self.binary)
            .args(["run", "-k", &self.kernel, "--accel", "tcg", "--output"])
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("start kvet").success(), "the suite failed");
        let report = fs::read_to_string(self.dir.path().join("latest/report.json")).expect("a report");
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        let cell = &report["cells"][0];
        let wall = |phase: &str| {
            let times = cell["times"].as_array().into_iter().flatten();
            times.filter(|t| t["phase"] == phase).filter_map(|t| t["wall"].as_f64()).sum::<f64>()
        };
        let tests = cell["cases"].as_array().map_or(0, Vec::len) as f64;
        let (boot, suite) = (wall("boot"), wall("tests"));
        println!("dynptr suite: {tests} tests in {suite:.1} s after a boot of {boot:.1} s");
        println!("  suite / boot                            {:6.2}    goal: at most 3", suite / boot);
        println!("  tests per second in the guest           {:6.1}", tests / suite);
        if std::env::var_os("KVET_BENCH_HOST").is_some() {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests");
            let arch = std::env::consts::ARCH.replace("aarch64", "arm64");
            let program = root.join(arch).join("dynptr/dynptr-selftests");
            let started = Instant::now();
            let output = Command::new(program).output().expect("start the suite");
            let wall = started.elapsed().as_secs_f64();
            // 1 is that a test failed: this machine's kernel is what it is. Anything else is no measurement.
            assert!(
                matches!(output.status.code(), Some(0 | 1)),
                "the suite on this machine: {}",
                output.status
            );
            let results = String::from_utf8_lossy(&output.stdout);
            let tests =
                results.lines().filter(|line| line.starts_with("    ok") || line.starts_with("    not ok"));
            println!("  tests per second on this machine        {:6.1}", tests.count() as f64 / wall);
        }
    }

    /// The same cells one after the other, and two at a time.
    fn matrix(&self) {
        let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../selftests/dynptr/suite.yaml");
        let suite = fs::read_to_string(suite).expect("the suite's manifest");
        let mut matrix = format!("kernels: ['{}']\narchs: [x86_64]\nsuites:\n", self.kernel);
        for cell in 1..=CELLS {
            let named = suite.replace("name: dynptr\n", &format!("name: dynptr{cell}\n"));
            let manifest = self.dir.path().join(format!("dynptr{cell}.yaml"));
            fs::write(&manifest, named).expect("write a suite");
            matrix.push_str(&format!("  - {}\n", manifest.display()));
        }
        let file = self.dir.path().join("equal.yaml");
        fs::write(&file, matrix).expect("write the matrix");
        let load = fs::read_to_string("/proc/loadavg").expect("the load");
        let load = load.split(' ').next().unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        println!("matrix of {CELLS} equal cells, on {cpus} CPUs with a load of {load} before");
        let wall = |jobs: &str| {
            let started = Instant::now();
            let status = Command::new(&self.binary)
                .args(["matrix", "--accel", "tcg", "-j", jobs, "--output"])
                .arg(self.dir.path())
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(status.expect("start kvet").success(), "the matrix failed");
            started.elapsed().as_secs_f64()
        };
        let (serial, parallel) = (wall("1"), wall("2"));
        println!("  one at a time                           {serial:6.2} s");
        println!("  two at a time                           {parallel:6.2} s");
        println!("  two / one                               {:6.2}    goal: at most 0.55", parallel / serial);
    }

    fn kvet(&self) -> Run {
        let started = Instant::now();
        let mut child = Command::new(&self.binary)
            .args(["run", "-k", &self.kernel, "-t", TEST, "--accel", "tcg", "--output"])
            .arg(self.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start kvet");
        let pid = child.id();
        let watcher = std::thread::spawn(move || watch(pid));
        let mut out = String::new();
        child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("read");
        let status = child.wait().expect("wait for kvet");
        let wall = started.elapsed();
        let (cpu, peak_kib) = watcher.join().expect("watch kvet");
        assert!(status.success(), "kvet failed:\n{out}");
        let report = fs::read_to_string(self.dir.path().join("latest/report.json")).expect("a report");
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        let cell = &report["cells"][0];
        let phases = cell["times"].as_array().expect("times");
        let phases = phases
            .iter()
            .map(|t| (t["phase"].as_str().unwrap_or("?").to_owned(), t["wall"].as_f64().unwrap_or(0.0)))
            .collect();
        let wire = fs::read_to_string(Path::new(cell["dir"].as_str().expect("dir")).join("wire.jsonl"))
            .expect("wire");
        let ready: serde_json::Value =
            serde_json::from_str(wire.lines().next().expect("Ready")).expect("JSON");
        let us = |field: &str| ready["from_guest"][field].as_f64().unwrap_or(0.0) / 1e6;
        Run { wall, cpu, peak_kib, phases, init: us("init_us"), ready: us("boottime_us") }
    }
}

/// What the runner itself used, without QEMU: read from /proc every few milliseconds until it has ended, because
/// wait4(2) would count its reaped children too.
fn watch(pid: u32) -> (Duration, u64) {
    let tick =
        1.0 / nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    let (mut cpu, mut peak_kib) = (Duration::ZERO, 0);
    while let (Ok(stat), Ok(status)) =
        (fs::read_to_string(format!("/proc/{pid}/stat")), fs::read_to_string(format!("/proc/{pid}/status")))
    {
        // Fields 14 and 15, counted behind the name in parentheses (proc_pid_stat(5)).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        if fields.first() == Some(&"Z") {
            break;
        }
        let ticks: f64 = [11, 12].iter().filter_map(|&i| fields.get(i)?.parse::<f64>().ok()).sum();
        cpu = cpu.max(Duration::from_secs_f64(ticks * tick));
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|text| text.split_whitespace().next()?.parse().ok());
        peak_kib = peak.unwrap_or(0).max(peak_kib);
        std::thread::sleep(Duration::from_millis(5));
    }
    (cpu, peak_kib)
}

#[derive(Default)]
struct Table {
    shipped: Vec<f64>,
    uncompressed: Vec<f64>,
    runs: Vec<Run>,
}

impl Table {
    fn add(&mut self, shipped: Duration, uncompressed: Duration, run: Run) {
        self.shipped.push(shipped.as_secs_f64());
        self.uncompressed.push(uncompressed.as_secs_f64());
        self.runs.push(run);
    }

    fn print(&self, bench: &Bench) {
        let kvet: Vec<f64> = self.runs.iter().map(|run| run.wall.as_secs_f64()).collect();
        let ratio = |bare: &[f64]| median(kvet.iter().zip(bare).map(|(a, b)| a / b));
        let mut out = std::io::stdout().lock();
        let mut line = |text: String| writeln!(out, "{text}").expect("write");
        line(format!("{} on x86_64, tcg, {} rounds, medians", bench.kernel, self.runs.len()));
        line(format!(
            "  bare boot to power-off, bzImage         {:6.2} s",
            median(self.shipped.iter().copied())
        ));
        line(format!(
            "  bare boot to power-off, uncompressed    {:6.2} s",
            median(self.uncompressed.iter().copied())
        ));
        line(format!("  kvet run -t {TEST:<27}{:6.2} s", median(kvet.iter().copied())));
        line(format!(
            "  (a) kvet / bare bzImage                 {:6.2}    goal: at most 1.25",
            ratio(&self.shipped)
        ));
        line(format!("      kvet / bare uncompressed            {:6.2}", ratio(&self.uncompressed)));
        let share = median(self.runs.iter().map(|r| 100.0 * r.cpu.as_secs_f64() / r.wall.as_secs_f64()));
        line(format!("  (b) runner's own CPU / wall             {share:6.2} %  goal: under 5"));
        let peak = median(self.runs.iter().map(|r| r.peak_kib as f64 / 1024.0));
        line(format!("  (c) runner's peak memory                {peak:6.1} MiB  goal: under 64"));
        line("where the time goes".into());
        let names: Vec<&str> = self.runs[0].phases.iter().map(|(name, _)| name.as_str()).collect();
        for (index, name) in names.iter().enumerate() {
            let time = median(self.runs.iter().map(|r| r.phases.get(index).map_or(0.0, |p| p.1)));
            line(format!("  {name:<40}{time:6.3} s"));
            if *name == "boot" {
                let init = median(self.runs.iter().map(|r| r.init));
                let modules = median(self.runs.iter().map(|r| r.ready - r.init));
                line(format!("    QEMU, firmware, early kernel          {:6.3} s", time - init - modules));
                line(format!("    kernel to init                        {init:6.3} s"));
                line(format!("    init: mounts and modules              {modules:6.3} s"));
            }
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A cpio with one file, /init: an ELF program of three instructions that calls
/// `reboot(LINUX_REBOOT_CMD_POWER_OFF)`.
fn do_nothing_initramfs() -> Vec<u8> {
    let program = power_off_program();
    let mut writer = cpio::NewcBuilder::new("init").mode(0o100_755).write(Vec::new(), program.len() as u32);
    writer.write_all(&program).expect("write to memory");
    cpio::newc::trailer(writer.finish().expect("write to memory")).expect("write to memory")
}

fn power_off_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let code: &[u8] = &[
        0xbf, 0xad, 0xde, 0xe1, 0xfe, // mov edi, 0xfee1dead
        0xbe, 0x69, 0x19, 0x12, 0x28, // mov esi, 0x28121969
        0xba, 0xdc, 0xfe, 0x21, 0x43, // mov edx, 0x4321fedc (power off)
        0xb8, 0xa9, 0x00, 0x00, 0x00, // mov eax, 169 (reboot)
        0x0f, 0x05, // syscall
        0xf4, // hlt: never reached
    ];
    let length = (120 + code.len()) as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // e_type EXEC, e_machine x86-64, e_version, e_entry, e_phoff, e_shoff, e_flags.
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [BASE + 120, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0; 4]);
    // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx.
    elf.extend([64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // One PT_LOAD segment, readable and executable, of the whole file.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, length, length, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}
