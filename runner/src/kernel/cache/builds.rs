//! Which builds came to a kernel of the cache: several sources, or several states of one, may make the same kernel.
//!
//! An entry is in use most of the time, and is never changed then. So this stands in a file of its own beside it, which is
//! replaced whole by a rename; who does that holds a lock of its own for that instant, and the entry's shared, lest it vanish.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::error::Result;
use crate::event::BuiltFacts;
use crate::kernel::Progress;
use kvet_host::lock::{Lock, Mode};

use super::{Cache, Kind, read_json};

/// Builds that are remembered of one kernel: a bisection comes to the same one often.
const MAX_BUILDS: usize = 64;
/// The file, in the entry's folder.
const FILE: &str = "builds.json";

/// A build that came to a kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::kernel) struct Build {
    /// What it was built of: a name of source, config and toolchain. None where the source may change under that name.
    pub key: Option<String>,
    /// How it was built.
    pub facts: BuiltFacts,
    /// When it was over, nanoseconds since the epoch: two builds of which nothing is new take no second.
    pub ended_unix_ns: u64,
}

impl Build {
    /// One that is over now.
    pub fn over(key: Option<String>, facts: BuiltFacts) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { key, facts, ended_unix_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) }
    }
}

impl Cache {
    /// The builds that came to a kernel, the newest first.
    pub(in crate::kernel) fn builds(&self, id: &str) -> Vec<Build> {
        read_json(&self.builds_path(id)).unwrap_or_default()
    }

    /// Remembers a build. The caller holds the lock of the kernel's entry, which is there.
    ///
    /// # Errors
    /// The host's: it cannot be written. Interrupted.
    pub(in crate::kernel) fn add_build(
        &self,
        id: &str,
        build: Build,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<()> {
        let lock = self.lock_path(&format!("{id}.builds"));
        let _alone = Lock::take(&lock, Mode::Exclusive, "note a build", progress, cancel)?;
        let mut all = self.builds(id);
        // What a folder of the caller's held before can never be asked for again.
        all.retain(|old| old.key != build.key || old.facts.source != build.facts.source);
        all.insert(0, build);
        all.truncate(MAX_BUILDS);
        self.replace_json(&self.builds_path(id), &all)
    }

    fn builds_path(&self, id: &str) -> PathBuf {
        self.entry_dir(Kind::Kernels, id).join(FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(key: Option<&str>, source: &str) -> Build {
        let facts = BuiltFacts {
            source: source.into(),
            describe: None,
            dirty: false,
            identity: String::new(),
            toolchain: String::new(),
            fragments: vec![],
            signature: String::new(),
            btf: crate::event::BtfFacts::default(),
            objects: 0,
            seconds: 0.0,
            vmlinux_bytes: 0,
            folder: PathBuf::new(),
        };
        Build::over(key.map(str::to_owned), facts)
    }

    #[test]
    fn the_newest_go_first_each_source_keeps_its_own_and_they_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        std::fs::create_dir(cache.entry_dir(Kind::Kernels, "k")).unwrap();
        let cancel = Cancel::new().unwrap();
        let add = |build| cache.add_build("k", build, &mut |_| {}, &cancel).unwrap();
        let sources = || cache.builds("k").into_iter().map(|b| b.facts.source).collect::<Vec<_>>();
        assert_eq!(cache.builds("k"), []);
        for (key, source) in
            [(None, "tree:/a"), (Some("1"), "git:b"), (Some("2"), "git:b"), (None, "tree:/a")]
        {
            add(build(key, source));
        }
        assert_eq!(sources(), ["tree:/a", "git:b", "git:b"]);
        assert!(cache.builds("k").is_sorted_by(|a, b| a.ended_unix_ns >= b.ended_unix_ns));
        for n in 0..2 * MAX_BUILDS {
            add(build(Some(&format!("key {n}")), "git:c"));
        }
        assert_eq!(cache.builds("k").len(), MAX_BUILDS);
        assert_eq!(cache.builds("k")[0].key, Some(format!("key {}", 2 * MAX_BUILDS - 1)));
    }

    #[test]
    fn two_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        std::fs::create_dir(cache.entry_dir(Kind::Kernels, "k")).unwrap();
        std::thread::scope(|scope| {
            for side in ["a", "b"] {
                let cache = &cache;
                scope.spawn(move || {
                    let cancel = Cancel::new().unwrap();
                    for n in 0..10 {
                        let build = build(Some(&format!("{side}{n}")), side);
                        cache.add_build("k", build, &mut |_| {}, &cancel).unwrap();
                    }
                });
            }
        });
        assert_eq!(cache.builds("k").len(), 20);
    }
}
