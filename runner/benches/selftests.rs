//! `make bench`: what a slice of the kernel's own selftests takes, and what `make test_progs` takes on the same machine.
//!
//! Everything is built from one source (that of debian:7.2, or of `KVET_BENCH_KERNEL`), one after the other: the slices
//! dynptr and skb_meta from nothing (bpftool, libbpf and vmlinux.h included), the same again, the same after a change of
//! one program, and at last everything with the tree's own Makefile. What is downloaded is not counted. Wall time, and the
//! CPU time of all that was run, which other work on the machine changes less.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kvet::arch::Arch;
use kvet::cancel::Cancel;
use kvet::kernel::source::{self, SourceSpec};
use kvet::kernel::{self, Cache, Kernel, Sources};
use kvet::plan::config::KernelsConfig;
use kvet::spec::home::Home;
use kvet::upstream::manifest::Manifest;
use kvet::upstream::{self, BuiltSuite, Means, Request};
use nix::sys::resource::{UsageWho, getrusage};

const SELFTESTS: &str = "tools/testing/selftests/bpf";
/// The program that is changed.
const EDITED: &str = "progs/dynptr_fail.c";
/// What of a source tree the selftests are built from.
const PARTS: [&str; 7] =
    ["Makefile", "Kconfig", "scripts", "tools", "kernel/bpf", "arch/arm64/include", "arch/x86/include"];

fn main() {
    // `cargo test --benches` and `cargo clippy` call a benchmark too; it is only run when asked for.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let bench = Bench::new();
    println!("selftests of {}, {} CPUs, load {}", bench.kernel.facts.release, cpus(), load());
    // Packages and BTF, and nothing that is compiled.
    upstream::foresee(&bench.request, &bench.kernel, &bench.means(), &mut |_| {}).expect("foresee");
    let slice = Taken::by("dynptr and skb_meta, from nothing", || drop(bench.build()));
    Taken::by("again", || assert_eq!(bench.build().steps, 0, "something was built"));
    let edited = bench.tree.join(SELFTESTS).join(EDITED);
    let text = fs::read_to_string(&edited).expect("read a program") + "\nint kvet_was_here;\n";
    fs::write(&edited, text).expect("change a program");
    Taken::by("after a change of one program", || drop(bench.build()));
    let full = Taken::by("make test_progs, everything", || bench.make());
    println!(
        "the slices take 1/{:.1} of the wall time of everything, 1/{:.1} of its CPU time",
        full.wall.as_secs_f64() / slice.wall.as_secs_f64(),
        full.cpu.as_secs_f64() / slice.cpu.as_secs_f64()
    );
}

struct Bench {
    home: Home,
    /// A cache of its own: nothing was built before.
    cache: Cache,
    sources: Sources,
    cancel: Cancel,
    kernel: Kernel,
    request: Request,
    tree: PathBuf,
    log: PathBuf,
    btf: PathBuf,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let home = Home::find(Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").into()), Path::new("/"))
            .expect("find kvet's files");
        let common = Cache::open(Cache::locate(&|name| std::env::var_os(name)).expect("a cache"))
            .expect("open the cache");
        let sources = Sources::new(KernelsConfig::load(&home).expect("read configs/kernels.yaml").debian);
        let cancel = Cancel::new().expect("an eventfd");
        let spec = std::env::var("KVET_BENCH_KERNEL").unwrap_or_else(|_| "debian:7.2".into());
        let (spec, arch) = (spec.parse().expect("a kernel"), Arch::host().expect("an architecture"));
        let kernel =
            kernel::acquire(&spec, arch, &common, &sources, &mut |_| {}, &cancel).expect("get a kernel");
        // Beside the common cache: on the same disk.
        let dir = tempfile::tempdir_in(common.root()).expect("a temporary folder");
        let (tree, log) = (dir.path().join("linux"), dir.path().join("log"));
        let wanted = |_: &[String]| Ok(());
        let means = Means {
            home: &home,
            cache: &common,
            sources: &sources,
            cancel: &cancel,
            log: &log,
            wanted: &wanted,
        };
        let own = upstream::source_of(&kernel, &means, &mut |_| {}).expect("name its source");
        let from = source::ensure(&own, source::Purpose::Selftests, &common, &sources, &mut |_| {}, &cancel)
            .expect("get its source");
        fs::create_dir(&tree).expect("make a folder");
        let mut copy = Command::new("cp");
        copy.current_dir(&from.path).args(["-r", "--parents"]).args(PARTS).arg(&tree);
        assert!(copy.status().expect("run cp").success());
        let cache = Cache::open(dir.path().join("cache")).expect("open a cache");
        let btf = kernel::ensure_btf(&kernel, &cache).expect("find the kernel's BTF").path;
        let manifest = Manifest::load(&home).expect("read slices.yaml");
        let slices = manifest.choose(&["dynptr".into(), "skb_meta".into()]).expect("slices");
        let request = Request { manifest, slices, source: Some(SourceSpec::Tree(tree.clone())) };
        Self { home, cache, sources, cancel, kernel, request, tree, log, btf, dir }
    }

    fn means(&self) -> Means<'_> {
        let Self { home, cache, sources, cancel, log, .. } = self;
        Means { home, cache, sources, cancel, log, wanted: &|_| Ok(()) }
    }

    fn build(&self) -> BuiltSuite {
        upstream::ensure(&self.request, &self.kernel, &self.means(), &mut |_| {}).expect("build the slices")
    }

    /// As somebody without kvet would do it; what does not compile is left out.
    fn make(&self) {
        let log = fs::File::create(self.dir.path().join("make.log")).expect("make a log");
        let mut make = Command::new("make");
        make.arg("-C").arg(self.tree.join(SELFTESTS)).args(["-k", &format!("-j{}", cpus())]);
        make.arg(format!("VMLINUX_BTF={}", self.btf.display()));
        make.args([format!("CLANG={}", self.request.manifest.clang.package).as_str(), "BPF_STRICT_BUILD=0"]);
        make.args(["LLD=bfd", "LLVM_STRIP=true", "SKIP_DOCS=1", "SKIP_LLVM=1", "TEST_KMODS=", "test_progs"]);
        // Every test waits for this library, which clang 19 cannot compile: without it they would not be built at all.
        make.args(["LIBARENA_SKEL=", "LIBARENA_ASAN_SKEL="]);
        make.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        make.env("TMPDIR", self.dir.path()).stdin(Stdio::null());
        make.stdout(log.try_clone().expect("a second handle")).stderr(log);
        // Whether all of it compiles is not the question here; how much did is printed.
        let _ = make.status().expect("run make");
        let made = fs::read_dir(self.tree.join(SELFTESTS)).expect("read the selftests").flatten();
        let names: Vec<String> = made.map(|f| f.file_name().to_string_lossy().into_owned()).collect();
        let count = |end: &str| names.iter().filter(|name| name.ends_with(end)).count();
        let linked = names.iter().any(|name| name == "test_progs");
        println!(
            "  {} programs, {} tests, test_progs {}",
            count(".bpf.o"),
            count(".test.o"),
            if linked { "linked" } else { "not linked" }
        );
    }
}

struct Taken {
    wall: Duration,
    /// Of kvet and of all programs it ran, user and system.
    cpu: Duration,
}

impl Taken {
    fn by(what: &str, work: impl FnOnce()) -> Self {
        let (started, before) = (Instant::now(), cpu());
        work();
        let taken = Self { wall: started.elapsed(), cpu: cpu().saturating_sub(before) };
        println!("{what}: {:.1} s, CPU {:.1} s", taken.wall.as_secs_f64(), taken.cpu.as_secs_f64());
        taken
    }
}

fn cpu() -> Duration {
    let of = |who| {
        let usage = getrusage(who).expect("getrusage");
        [usage.user_time(), usage.system_time()]
    };
    let times = [of(UsageWho::RUSAGE_SELF), of(UsageWho::RUSAGE_CHILDREN)].concat();
    let micros = |time: &nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    Duration::from_micros(times.iter().map(micros).sum::<i64>().max(0).cast_unsigned())
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}
