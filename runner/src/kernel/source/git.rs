//! Repositories: what state a checkout is in, and any revision of it, checked out where nobody is disturbed.
//!
//! A revision is checked out in the cache, in a repository of our own that borrows the objects of the caller's
//! (gitrepository-layout(5), objects/info/alternates): nothing is written to the caller's, and nothing is copied.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use crate::event::Work;
use kvet_host::disk;
use kvet_host::fs::unix;

use super::super::cache::{Cache, ENTRY_FILE, FORMAT, Kind};
use super::super::{Progress, timed};
use super::SourceTree;
use super::tree::{self, State};
use kvet_host::hash::Sha256Hex;
use kvet_host::lock::{Lock, Mode, Wait};
use kvet_host::process::{self, Output};

/// Checkouts of one repository that may be in use at once, each 2 GB. More wait.
const SLOTS: usize = 4;
/// A kernel's tree, checked out, with its index.
const TREE_BYTES: u64 = 2 << 30;

/// A folder that git is asked about.
pub(super) struct Git {
    dir: PathBuf,
}

impl Git {
    /// Git for a tree, if it is the top of a checkout. The inner error says why not; none where there simply is no git in it.
    pub fn of_tree(tree: &Path, cancel: &Cancel) -> Result<std::result::Result<Self, Option<String>>> {
        if !tree.join(".git").exists() {
            return Ok(Err(None));
        }
        let git = Self { dir: tree.to_path_buf() };
        let asked = match git.run(&["rev-parse", "--verify", "HEAD^{commit}"], cancel) {
            Err(e) if e.fault() == crate::error::Fault::Interrupted => return Err(e),
            asked => asked,
        };
        Ok(match asked {
            Ok(done) if done.status.success() => Ok(git),
            Ok(done) => Err(Some(first_line(&done.stderr))),
            Err(e) => Err(Some(e.to_string())),
        })
    }

    /// The commit that is checked out, and whether there is more than that.
    pub fn state(&self, cancel: &Cancel) -> Result<State> {
        let commit = self.text(&["rev-parse", "--verify", "HEAD^{commit}"], cancel)?;
        let diff = self.bytes(&["diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD"], cancel)?;
        let untracked = self.untracked(cancel)?;
        let dirty = !diff.is_empty() || !untracked.is_empty();
        let describe = self.text(&["describe", "--tags", "--always", "--match", "v[0-9]*"], cancel)?;
        if !dirty {
            return Ok(State { identity: format!("git-{commit}"), describe: Some(describe), dirty });
        }
        let mut changes = diff;
        changes.extend_from_slice(&untracked);
        let hash = Sha256Hex::of(&changes);
        Ok(State {
            identity: format!("git-{commit}-dirty-{}", &hash.as_str()[..12]),
            describe: Some(format!("{describe}-dirty")),
            dirty,
        })
    }

    /// Files that git neither tracks nor ignores, each with its hash: a new driver is a change as well.
    fn untracked(&self, cancel: &Cancel) -> Result<Vec<u8>> {
        let names = self.bytes(&["ls-files", "--others", "--exclude-standard", "-z"], cancel)?;
        let mut all = Vec::new();
        for name in names.split(|c| *c == 0).filter(|n| !n.is_empty()) {
            let path = self.dir.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
            all.extend_from_slice(name);
            // A link's own target, and a file that went away meanwhile, are told apart from any content.
            let hash = match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_file() => fs::File::open(&path)
                    .and_then(kvet_host::hash::sha256)
                    .host(format_args!("read {}", path.display()))?
                    .to_string(),
                _ => fs::read_link(&path).unwrap_or_default().display().to_string(),
            };
            all.extend_from_slice(format!("\0{hash}\n").as_bytes());
        }
        Ok(all)
    }

    /// The commit that a revision names; the caller's error where it names none.
    fn resolve(&self, revision: &str, cancel: &Cancel) -> Result<String> {
        let spec = format!("{revision}^{{commit}}");
        let done = self.run(&["rev-parse", "--verify", "--end-of-options", &spec], cancel)?;
        let text = String::from_utf8_lossy(&done.stdout).trim().to_string();
        if done.status.success() && !text.is_empty() && text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Ok(text);
        }
        Err(Error::caller(format!(
            "{} has no revision '{revision}': {}",
            self.dir.display(),
            first_line(&done.stderr)
        )))
    }

    fn text(&self, args: &[&str], cancel: &Cancel) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(args, cancel)?).trim().to_string())
    }

    fn bytes(&self, args: &[&str], cancel: &Cancel) -> Result<Vec<u8>> {
        let done = self.run(args, cancel)?;
        if done.status.success() {
            return Ok(done.stdout);
        }
        Err(Error::host(format!(
            "git {} in {} failed: {}",
            args.first().unwrap_or(&""),
            self.dir.display(),
            first_line(&done.stderr)
        )))
    }

    fn run(&self, args: &[&str], cancel: &Cancel) -> Result<Output> {
        let mut command = kvet_host::git::command(&self.dir);
        command.args(args).env("GIT_OPTIONAL_LOCKS", "0");
        process::run(&mut command, "git", cancel)
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("it says nothing").trim_start_matches("fatal: ").to_string()
}

/// What is checked out in a slot.
#[derive(Serialize, Deserialize)]
struct Checkout {
    format: u32,
    /// The caller's repository.
    repository: PathBuf,
    /// Empty while a checkout is under way.
    commit: String,
    created_unix: u64,
}

/// What a source is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A kernel is built of it.
    Kernel,
    /// Selftests are, and the kernel may be another commit's.
    Selftests,
}

/// A revision of a repository, in a checkout of our own.
pub(super) fn checkout(
    repository: &Path,
    revision: &str,
    purpose: Purpose,
    cache: &Cache,
    progress: &mut dyn FnMut(Progress),
    cancel: &Cancel,
) -> Result<SourceTree> {
    let named =
        repository.canonicalize().given(format_args!("open the repository {}", repository.display()))?;
    let git = Git { dir: named.clone() };
    let done = git.run(&["rev-parse", "--path-format=absolute", "--git-common-dir"], cancel)?;
    if !done.status.success() {
        let why = first_line(&done.stderr);
        return Err(Error::caller(format!("{} is no git repository: {why}", named.display())));
    }
    let common = PathBuf::from(String::from_utf8_lossy(&done.stdout).trim());
    let commit = git.resolve(revision, cancel)?;
    let describe = git.text(&["describe", "--tags", "--always", "--match", "v[0-9]*", &commit], cancel)?;
    let key = Sha256Hex::of(common.as_os_str().as_encoded_bytes());
    let slots = Slots { cache, key: &key.as_str()[..12], common: &common, commit: &commit, purpose };
    let (id, lock) = slots.take(&describe, progress, cancel)?;
    let path = cache.entry_dir(Kind::Sources, &id).join("tree");
    let version =
        tree::version(&path).map_err(|e| e.context(format_args!("{describe} of {}", named.display())))?;
    lock.touch();
    Ok(SourceTree {
        path,
        version,
        describe: Some(describe),
        dirty: false,
        identity: format!("git-{commit}"),
        settled: true,
        lock: Some(lock),
    })
}

/// The checkouts of one repository.
struct Slots<'a> {
    cache: &'a Cache,
    key: &'a str,
    common: &'a Path,
    commit: &'a str,
    purpose: Purpose,
}

impl Slots<'_> {
    /// A slot with the commit in it, its lock shared. For a kernel the first one that has it or is free: it is not worth while to look
    /// for the commit in the later ones, because each has build folders of its own, of which the first one's are the freshest.
    /// For selftests any that has it, or else the last one that is free: in a bisection they stay what they are, and the kernel's
    /// checkout is to change from one commit to the next only in what differs.
    fn take(
        &self,
        describe: &str,
        progress: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<(String, Lock)> {
        let what = format!("be done with a checkout of {}", self.common.display());
        let mut wait = Wait::new(&what);
        let mut ids: Vec<String> = (0..SLOTS).map(|n| format!("git-{}-{n}", self.key)).collect();
        if self.purpose == Purpose::Selftests {
            ids.reverse();
        }
        loop {
            if self.purpose == Purpose::Selftests
                && let Some(found) = self.checked_out(&ids)?
            {
                return Ok(found);
            }
            for id in &ids {
                if let Some(lock) = Lock::try_take(&self.cache.lock_path(id), Mode::Shared)?
                    && self.has(id)
                {
                    return Ok((id.clone(), lock));
                }
                let Some(lock) = Lock::try_take(&self.cache.lock_path(id), Mode::Exclusive)? else {
                    continue;
                };
                if !self.has(id) {
                    progress(Progress::Note(format!("checking out {describe}")));
                    timed(Work::Checkout, progress, |_| self.fill(id, cancel))?;
                }
                lock.share()?;
                // Between the two locks somebody else may have had it.
                if self.has(id) {
                    return Ok((id.clone(), lock));
                }
            }
            wait.once(progress, cancel)?;
        }
    }

    /// A slot that has the commit.
    fn checked_out(&self, ids: &[String]) -> Result<Option<(String, Lock)>> {
        for id in ids.iter().filter(|id| self.has(id)) {
            if let Some(lock) = Lock::try_take(&self.cache.lock_path(id), Mode::Shared)?
                && self.has(id)
            {
                return Ok(Some((id.clone(), lock)));
            }
        }
        Ok(None)
    }

    fn has(&self, id: &str) -> bool {
        self.cache
            .read_entry::<Checkout>(Kind::Sources, id)
            .is_some_and(|c| c.format == FORMAT && c.commit == self.commit)
    }

    /// Checks the commit out. The slot's lock is held alone.
    fn fill(&self, id: &str, cancel: &Cancel) -> Result<()> {
        let dir = self.cache.entry_dir(Kind::Sources, id);
        let entry = dir.join(ENTRY_FILE);
        let mut state = Checkout {
            format: FORMAT,
            repository: self.common.to_path_buf(),
            commit: String::new(),
            created_unix: unix(SystemTime::now()),
        };
        if self.cache.read_entry::<Checkout>(Kind::Sources, id).is_none_or(|c| c.format != FORMAT) {
            disk::require(self.cache.root(), TREE_BYTES, "a checkout of the kernel")?;
            let scratch = self.cache.scratch()?;
            let tree = scratch.path().join("tree");
            fs::create_dir(&tree).map_err(|e| disk::explain(e, &tree, "make"))?;
            // No hooks come along from a template.
            Git { dir: tree }.bytes(&["init", "--quiet", "--template="], cancel)?;
            self.cache.commit(&scratch, Kind::Sources, id, &state)?;
        } else {
            self.cache.replace_json(&entry, &state)?;
        }
        let tree = dir.join("tree");
        let alternates = tree.join(".git/objects/info/alternates");
        let objects = self.common.join("objects");
        fs::create_dir_all(tree.join(".git/objects/info"))
            .and_then(|()| fs::write(&alternates, format!("{}\n", objects.display())))
            .map_err(|e| disk::explain(e, &alternates, "write"))?;
        // We hold the lock alone: this one was left by a killed git.
        let _ = fs::remove_file(tree.join(".git/index.lock"));
        let git = Git { dir: tree.clone() };
        let done = git.run(&["checkout", "--quiet", "--force", "--detach", self.commit], cancel)?;
        if !done.status.success() {
            let full = disk::free(&tree).is_some_and(|free| free < 16 << 20);
            let error =
                Error::host(format!("cannot check {} out: {}", self.commit, first_line(&done.stderr)));
            return Err(if full {
                error.hint("the disk is full: `kvet kernel prune` makes room")
            } else {
                error
            });
        }
        git.bytes(&["clean", "--quiet", "-ffdx"], cancel)?;
        self.commit.clone_into(&mut state.commit);
        self.cache.replace_json(&entry, &state)
    }
}
