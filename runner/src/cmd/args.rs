//! The command line as it is typed. Each value is well-formed after parsing; what fits together is decided in
//! [`crate::plan`].

mod bisect;
#[cfg(test)]
mod documented;
mod kernel;
mod man;
mod matrix;
mod report;
mod run;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::arch::Arch;
use crate::kernel::{ConfigBase, Toolchain};
use crate::report::term::ColorChoice;
use crate::spec::suite::Root;
use crate::spec::units;
use crate::vm::accel::AccelChoice;

pub use bisect::{BisectArgs, FindArg, NEWEST};
pub use kernel::{ImageCommand, KernelCommand};
pub use man::ManArgs;
pub use matrix::{CiSystem, FlakyIs, MatrixArgs};
pub use report::{ReportArgs, ReportFormat};
pub use run::{RunArgs, Symptom};

const EXIT_CODES: &str = "\
Exit codes:
  0    every selected test passed, or was skipped with a reason
  1    a test failed, or the kernel crashed, hung, or could not be built or booted
  2    wrong usage or configuration; nothing was started
  3    infrastructure failure (no QEMU, no mirror, disk full): no verdict
  130  interrupted; what had finished is written

Environment:
  KVET_CACHE   the cache of kernels (default: $XDG_CACHE_HOME/kvet, else ~/.cache/kvet)
  KVET_MIRROR  the Debian archive to use: a URL or a folder (default: what apt is configured with)
  KVET_HOME    where configs/ and selftests/ are (default: above or beside the executable)
  NO_COLOR     no colours";

const RUN_EXAMPLES: &str = "\
Examples:
  kvet run                                  the default kernel, the dynptr suite
  kvet run -k 6.12 -k 7.2 -a arm64          two kernels, arm64
  kvet run -k 7.2 -t 'dynptr_success/*'     some tests
  kvet run -k file:./bzImage --modules DIR  a kernel of your own
  kvet run -k 7.2 -s upstream               the kernel's own dynptr selftests, built from its source
  kvet run -k tree:~/linux                  a kernel built (incrementally) from your source tree
  kvet run -k 7.2 -- ./my_static_test a b   any program; its exit status is the verdict
  kvet run --root userland -- ./test.sh     a script or dynamically linked program, in a minimal Debian root
  git bisect run kvet run -k file:./bzImage --git-bisect -t dynptr_success/test_adjust";

const MATRIX_EXAMPLES: &str = "\
Examples:
  kvet matrix                                       configs/matrix/dynptr.yaml
  kvet matrix smoke
  kvet matrix -k 6.1 -k 6.12 -k 7.2 -a x86_64 -a arm64 -j 2
  kvet matrix full --shard 2/4 --junit out.xml
  kvet matrix full --emit github --shards 4";

const BISECT_EXAMPLES: &str = "\
Examples:
  kvet bisect -t dynptr_success/test_adjust --good debian:6.12 --bad debian:7.2
  kvet bisect -t 'dynptr_success/*' --bad 7.2.6 --good 7.2.12       good is the newer one: finds the fix
  kvet bisect -t T --tree ~/linux --good v6.12 --bad HEAD --paths kernel/bpf
  kvet bisect -t 'dynptr/*' -s upstream --selftests debian-source:7.3 --bad 7.2.6 --good 7.2.12
  kvet bisect --resume                                              continue after any interruption";

const REPORT_EXAMPLES: &str = "\
Examples:
  kvet report                                     the latest run, as a table
  kvet report results/latest --format html -o report.html
  kvet report --diff results/BEFORE results/AFTER   exits 1 if something newly fails
  kvet report --merge shard1 shard2 --into results/all";

/// Run kernel selftests in QEMU: fetch or build kernels, boot them, run a suite in the guest, write JUnit
#[derive(Debug, Parser)]
#[command(name = "kvet", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    /// Flags that every command takes.
    pub common: Common,
    #[command(subcommand)]
    /// What to do.
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct Common {
    /// When to use colours
    #[arg(long, value_enum, default_value = "auto", global = true)]
    pub color: ColorChoice,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot kernels and run a suite on each
    #[command(after_help = RUN_EXAMPLES, after_long_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Fetch, build, list, show and prune kernels in the cache
    #[command(subcommand)]
    Kernel(KernelCommand),
    /// Build, list, show and prune userlands for guests
    #[command(subcommand)]
    Image(ImageCommand),
    /// List and show the suites that come with kvet
    #[command(subcommand)]
    Suite(SuiteCommand),
    /// Run suites on many kernels, several at the same time, and show tests × kernels
    #[command(after_help = MATRIX_EXAMPLES, after_long_help = MATRIX_EXAMPLES)]
    Matrix(Box<MatrixArgs>),
    /// Find the first kernel, or the first commit, on which a test fails
    #[command(after_help = BISECT_EXAMPLES, after_long_help = BISECT_EXAMPLES)]
    Bisect(Box<BisectArgs>),
    /// Show a run as a table of tests × kernels, compare two runs, or merge shards
    #[command(after_help = REPORT_EXAMPLES, after_long_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Boot a kernel and open a shell in it
    Shell(ShellArgs),
    /// Check this machine: QEMU, KVM, the mirror, the cache, the guest's programs
    Doctor,
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page (roff), or write all of them into a folder
    Man(ManArgs),
}

/// A kernel and its files.
#[derive(Debug, Args)]
pub struct KernelFiles {
    /// Module tree for a file: kernel (lib/modules/<release>)
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// The .config of a file: kernel. For a built kernel a config fragment: a file, `debug`, or tree:PATH in the source;
    /// repeatable
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
}

/// How kernels are built.
#[derive(Debug, Args)]
pub struct BuildFlags {
    /// Compiler for built kernels: gcc, gcc-12, clang, clang-19
    #[arg(long, value_name = "WHICH", default_value = "gcc")]
    pub toolchain: Toolchain,
    /// Base config for built kernels
    #[arg(long, value_enum, value_name = "WHICH", default_value = "tiny")]
    pub base: ConfigBase,
    /// Number of parallel compile jobs (default: one per CPU)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

/// The guest's hardware.
#[derive(Debug, Args)]
pub struct Hardware {
    /// Accelerator of the guest: auto, kvm or tcg
    #[arg(long, default_value = "auto", value_name = "WHICH")]
    pub accel: AccelChoice,
    /// The guest's memory (default: the suite's, else 1G)
    #[arg(long, value_name = "SIZE", value_parser = units::mebibytes)]
    pub memory: Option<u32>,
    /// The guest's CPUs (default: the suite's, else 1)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::spec::units::MAX_CPUS)))]
    pub cpus: Option<u32>,
}

/// How long tests and kernels may take.
#[derive(Debug, Args)]
pub struct TimeLimits {
    /// Time limit of one test: 90s, 2m
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub timeout: Option<Duration>,
    /// Time limit of one kernel, boot included: 10m
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub deadline: Option<Duration>,
}

/// What a cell comes to in which every test was skipped.
#[derive(Debug, Args)]
pub struct NothingRan {
    /// Fail (exit code 1) if every test of a kernel was skipped. This is the default with -t;
    /// --fail-if-nothing-ran=false allows it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub fail_if_nothing_ran: Option<bool>,
}

impl NothingRan {
    /// Whether it fails, given what `-t` selects: who names tests wants to see them run.
    pub fn fails(&self, tests: &[String]) -> bool {
        self.fail_if_nothing_ran.unwrap_or(!tests.is_empty())
    }
}

/// Where a run is reported.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Folder for results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub output: PathBuf,
    /// Also write JUnit to this file
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Format of standard output: text for people, or every event as a JSON line
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "human")]
    pub message_format: MessageFormat,
}

/// What standard output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MessageFormat {
    /// Text for people.
    Human,
    /// JSON lines.
    Json,
}

/// `kvet suite …`.
#[derive(Debug, Subcommand)]
pub enum SuiteCommand {
    /// List the suites
    List,
    /// Show a suite and its tests
    Show {
        /// Its name, or the path of its suite.yaml
        name: String,
    },
}

/// `kvet shell`.
#[derive(Debug, Args)]
pub struct ShellArgs {
    /// A kernel, as for `kvet run`
    #[arg(short, long, value_name = "SPEC")]
    pub kernel: Option<String>,
    #[command(flatten)]
    /// Its files.
    pub files: KernelFiles,
    #[command(flatten)]
    /// How it is built.
    pub build: BuildFlags,
    /// Its architecture (default: the host's)
    #[arg(short, long, value_name = "ARCH")]
    pub arch: Option<Arch>,
    /// The suite whose programs are in /kvet/tests (default: dynptr)
    #[arg(short, long, value_name = "SUITE")]
    pub suite: Option<String>,
    #[command(flatten)]
    /// The guest.
    pub hardware: Hardware,
    /// For -s upstream: the slice to build, as for kvet run; repeatable
    #[arg(long = "slice", value_name = "NAME[=GLOB,…]")]
    pub slices: Vec<String>,
    /// For -s upstream: the source of the selftests (default: the kernel's source)
    #[arg(long, value_name = "SOURCE")]
    pub selftests: Option<String>,
    /// Root file system of the shell (default: the suite's, else none); without one the shell is busybox in the initramfs
    #[arg(long, value_enum, value_name = "ROOT")]
    pub root: Option<Root>,
    /// Folder for results (the guest's /kvet/results)
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub output: PathBuf,
    /// Run this line in the guest's shell, and exit
    #[arg(short, long, value_name = "LINE")]
    pub command: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn values_are_checked_and_named() {
        for (args, expected) in [
            (&["kvet", "run", "-a", "riscv"][..], "riscv"),
            (&["kvet", "run", "--timeout", "5"], "'5' is no duration"),
            (&["kvet", "run", "--memory", "1T"], "'1T' is no amount"),
            (&["kvet", "run", "--cpus", "0"], "0"),
            (&["kvet", "run", "--accel", "xen"], "xen"),
            (&["kvet", "run", "--colour", "never"], "--colour"),
        ] {
            let e = Cli::try_parse_from(args).unwrap_err();
            assert!(e.to_string().contains(expected), "{e}");
            assert_eq!(e.exit_code(), 2);
        }
    }

    #[test]
    fn nothing_ran_fails_where_tests_are_named() {
        for (flags, expected) in [
            (&[][..], false),
            (&["-t", "x"], true),
            (&["-t", "x", "--fail-if-nothing-ran=false"], false),
            (&["--fail-if-nothing-ran"], true),
            (&["--fail-if-nothing-ran=true"], true),
        ] {
            let run = Cli::try_parse_from(["kvet", "run"].iter().chain(flags)).unwrap();
            let Command::Run(run) = run.command else { panic!() };
            assert_eq!(run.nothing_ran.fails(&run.tests), expected, "{flags:?}");
            let matrix = Cli::try_parse_from(["kvet", "matrix"].iter().chain(flags)).unwrap();
            let Command::Matrix(matrix) = matrix.command else { panic!() };
            assert_eq!(matrix.nothing_ran.fails(&matrix.tests), expected, "{flags:?}");
        }
    }

    #[test]
    fn a_bisection_that_goes_on_stays_what_it_was() {
        let parse = |go_on: &str, more: &[&str]| {
            Cli::try_parse_from(["kvet", "bisect", go_on, "results/bisect-1"].iter().chain(more))
        };
        for go_on in ["--resume", "--log"] {
            for more in [
                &["-t", "x"][..],
                &["--tree", "x"],
                &["--tree", "x", "--paths", "y"],
                &["--tree", "x", "--find", "fix"],
                &["--tree", "x", "--config", "y"],
                &["--match", "x"],
                &["--runs", "1"],
                &["-a", "arm64"],
                &["-s", "upstream"],
                &["--slice", "x"],
                &["--selftests", "own"],
                &["--replay", "x"],
                &["--toolchain", "clang"],
                &["--base", "tiny"],
                &["--jobs", "2"],
                &["--accel", "tcg"],
                &["--memory", "2G"],
                &["--cpus", "2"],
                &["--timeout", "5s"],
                &["--deadline", "5s"],
            ] {
                let e = parse(go_on, more).unwrap_err();
                assert_eq!(e.kind(), clap::error::ErrorKind::ArgumentConflict, "{go_on} {more:?}: {e}");
            }
            parse(go_on, &["--output", "other"]).unwrap();
        }
        parse("--resume", &["--verbose"]).unwrap();
    }

    #[test]
    fn a_bisection_needs_no_folder_to_go_on() {
        for (flags, expected) in [(&["--resume"][..], NEWEST), (&["--resume", "x/y"], "x/y")] {
            let cli = Cli::try_parse_from(["kvet", "bisect"].iter().chain(flags)).unwrap();
            let Command::Bisect(args) = cli.command else { panic!() };
            assert_eq!(args.resume.unwrap(), PathBuf::from(expected));
        }
        assert!(Cli::try_parse_from(["kvet", "bisect", "--log"]).is_ok());
        assert!(Cli::try_parse_from(["kvet", "bisect", "-t", "x"]).is_err(), "the ends have to be named");
    }

    #[test]
    fn a_command_after_the_dashes_keeps_its_flags() {
        let cli = Cli::try_parse_from(["kvet", "run", "-k", "7.2", "--", "./t", "-k", "--help"]).unwrap();
        let Command::Run(run) = cli.command else { panic!() };
        assert_eq!(run.command, ["./t", "-k", "--help"]);
    }
}
