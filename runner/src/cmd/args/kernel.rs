//! `kvet kernel` and `kvet image`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{BuildFlags, KernelFiles};
use crate::arch::Arch;
use crate::kernel::Prune;

const BUILD_EXAMPLES: &str = "\
Examples:
  kvet kernel build tree:~/linux                     a tree of your own; nothing is written into it
  kvet kernel build git:~/linux@v6.12 -a arm64       a revision, without touching the checkout
  kvet kernel build debian-source:7.2 --config debug the archive's source, with KASAN and lockdep
  kvet kernel build tar:linux-6.12.30.tar.xz         a tarball; a URL needs #sha256=… or #keyring=FILE";

/// `kvet kernel …`.
#[derive(Debug, Subcommand)]
pub enum KernelCommand {
    /// Get kernels into the cache
    Fetch {
        /// Kernels: debian:7.2, 6.12.95, …
        #[arg(value_name = "SPEC", required = true)]
        kernels: Vec<String>,
        /// An architecture; repeatable (default: the host's)
        #[arg(short, long = "arch", value_name = "ARCH")]
        archs: Vec<Arch>,
        /// Read the archive's indexes again
        #[arg(long)]
        refresh: bool,
    },
    /// Build kernels from source (incrementally)
    #[command(after_help = BUILD_EXAMPLES, after_long_help = BUILD_EXAMPLES)]
    Build {
        /// Sources: tree:~/linux, git:~/linux@v6.12, debian-source:7.2, tar:linux-6.12.30.tar.xz
        #[arg(value_name = "SOURCE", required = true)]
        kernels: Vec<String>,
        /// An architecture; repeatable (default: the host's)
        #[arg(short, long = "arch", value_name = "ARCH")]
        archs: Vec<Arch>,
        /// A config fragment: a file, `debug`, or tree:PATH below the source; repeatable
        #[arg(long, value_name = "FRAGMENT")]
        config: Vec<PathBuf>,
        #[command(flatten)]
        /// How.
        build: BuildFlags,
        /// Make and verify the config, print make's command line, and build nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List what is in the cache
    List,
    /// Show a kernel of the cache, or of your own; nothing is fetched
    Info {
        /// A kernel: debian:7.2, file:./bzImage, or what was built of tree:~/linux, by its source or its signature
        #[arg(value_name = "SPEC")]
        kernel: String,
        /// Its architecture (default: the host's)
        #[arg(short, long, value_name = "ARCH")]
        arch: Option<Arch>,
        #[command(flatten)]
        /// Its files.
        files: KernelFiles,
    },
    /// Remove kernels and intermediate files from the cache: packages, sources, builds, selftests, initramfs files;
    /// entries in use stay
    Prune(PruneArgs),
}

/// `kvet image …`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make the userland of images/userland.yaml, unless it is in the cache
    Build {
        /// An architecture; repeatable (default: the host's)
        #[arg(short, long = "arch", value_name = "ARCH")]
        archs: Vec<Arch>,
        /// Read the archive's index again
        #[arg(long)]
        refresh: bool,
    },
    /// List the userlands in the cache
    List,
    /// Show what the userland is made of, and what each package is for
    Info {
        /// Its architecture (default: the host's)
        #[arg(short, long, value_name = "ARCH")]
        arch: Option<Arch>,
    },
    /// Remove userlands from the cache; those in use stay
    Prune(PruneArgs),
}

/// What is removed from the cache.
#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = false)]
pub struct PruneArgs {
    /// All of them
    #[arg(long)]
    all: bool,
    /// Those not used for this many days
    #[arg(long, value_name = "DAYS")]
    unused_for: Option<u32>,
    /// All but the N of each kind that were used last
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
}

impl PruneArgs {
    /// The same for the cache; one of the three is there.
    pub fn what(&self) -> Prune {
        match (self.all, self.unused_for, self.keep) {
            (true, _, _) => Prune::All,
            (_, Some(days), _) => Prune::UnusedFor(Duration::from_secs(u64::from(days) * 86_400)),
            (_, _, keep) => Prune::KeepNewest(keep.unwrap_or_default()),
        }
    }
}
