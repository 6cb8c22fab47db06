//! The user's repository, which is only read, and one of ours that borrows its objects.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Find;
use crate::error::{Error, IoContext, Result};
use crate::parse::clean::one_line;
use kvet_host::fs::write_atomic;

pub(super) fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

pub(super) fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// The commit that a revision of the user's names.
///
/// # Errors
/// The caller's: it names none.
pub fn resolve(repository: &Path, revision: &str) -> Result<String> {
    let name = format!("{revision}^{{commit}}");
    let mut command = git(repository);
    command.args(["rev-parse", "--verify", "--quiet", "--end-of-options", &name]);
    let done = command.output().host("run git")?;
    let hash = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    if done.status.success() && is_hash(&hash) {
        return Ok(hash);
    }
    Err(Error::caller(format!("'{revision}' is no commit of {}", repository.display())))
}

/// Whether a folder is a repository that can be bisected, and its history has each of these paths.
///
/// # Errors
/// The caller's: no repository, or no such path.
pub fn check(repository: &Path, paths: &[String]) -> Result<()> {
    let repository = repository.canonicalize().given(format!("find {}", repository.display()))?;
    let common = common_dir(&repository)?;
    check_paths(&common, &["--all"], paths)
}

/// Whether two revisions can be the ends of a search for this.
///
/// # Errors
/// The caller's: one is no commit, they are the same one, or the one that should be older is the newer one.
pub fn check_ends(repository: &Path, find: Find, good: &str, bad: &str) -> Result<()> {
    let (good_hash, bad_hash) = (resolve(repository, good)?, resolve(repository, bad)?);
    if good_hash == bad_hash {
        let same = short(&good_hash);
        return Err(Error::caller(format!("--good {good} and --bad {bad} are the same commit, {same}")));
    }
    let (older, newer, said, hint) = match find {
        Find::Bug => {
            (good_hash, bad_hash, format!("--good {good} is newer than --bad {bad}"), "`--find fix`")
        }
        Find::Fix => {
            (bad_hash, good_hash, format!("--bad {bad} is newer than --good {good}"), "`--find bug`")
        }
    };
    let of_older = ["merge-base", "--is-ancestor", newer.as_str(), older.as_str()];
    if succeeds(git(repository).args(of_older))? {
        return Err(Error::caller(format!("{said}: the first {} commit is not between them", find.word()))
            .hint(format!("swap them, or {hint}")));
    }
    Ok(())
}

/// Whether a file is in a commit.
///
/// # Errors
/// The host's: git cannot be run.
pub fn has_file(repository: &Path, revision: &str, file: &str) -> Result<bool> {
    succeeds(git(repository).args(["cat-file", "-e", "--end-of-options", &format!("{revision}:{file}")]))
}

/// A mistyped path would leave every commit out that was meant by it. Paths are those of a whole tree.
pub(super) fn check_paths(repository: &Path, revisions: &[&str], paths: &[String]) -> Result<()> {
    for path in paths {
        let mut command = git(repository);
        command.args(["rev-list", "--max-count=1"]).args(revisions).arg("--").arg(path);
        let done = command.output().host("run git")?;
        if !done.status.success() || done.stdout.is_empty() {
            let said = String::from_utf8_lossy(&done.stderr);
            let said = if said.is_empty() { String::new() } else { format!(" ({})", one_line(said.trim())) };
            return Err(Error::caller(format!("--paths {path}: no commit touches such a path{said}")));
        }
    }
    Ok(())
}

fn common_dir(repository: &Path) -> Result<PathBuf> {
    let mut command = git(repository);
    command.args(["rev-parse", "--path-format=absolute", "--git-common-dir"]);
    let done = command.output().host("run git")?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let said = one_line(said.trim());
        return Err(Error::caller(format!("{} is no git repository: {said}", repository.display())));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&done.stdout).trim()))
}

/// Makes a bare repository that has every object of another one and nothing else of it. Each part can be done again: whoever
/// was killed here goes on.
pub(super) fn borrow(repository: &Path, scratch: &Path) -> Result<()> {
    let ask = |what: &str| {
        let mut command = git(repository);
        command.args(["rev-parse", "--path-format=absolute", what]);
        output(&mut command, "look at the repository").map(|text| text.trim().to_owned())
    };
    let common = common_dir(repository)?;
    let format = format!("--object-format={}", ask("--show-object-format")?);
    let mut init = git(Path::new("/"));
    init.args(["init", "--quiet", "--bare", "--template=", &format]).arg(scratch);
    output(&mut init, "make a repository to bisect in")?;
    let info = scratch.join("objects/info");
    std::fs::create_dir_all(&info).host(format!("make {}", info.display()))?;
    write_atomic(&info.join("alternates"), format!("{}\n", common.join("objects").display()).as_bytes())?;
    // Where the history of a shallow clone ends.
    let shallow = common.join("shallow");
    if shallow.is_file() {
        let bytes = std::fs::read(&shallow).host(format!("read {}", shallow.display()))?;
        return write_atomic(&scratch.join("shallow"), &bytes);
    }
    // It may have been one when this was begun.
    match std::fs::remove_file(scratch.join("shallow")) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::host(format!("cannot remove {}/shallow", scratch.display())).because(e))
        }
        _ => Ok(()),
    }
}

/// git with nothing of the user's settings that changes what it says. A Ctrl-C is not for it: each call is short, and half a
/// call would look like trouble of the host.
pub(super) fn git(folder: &Path) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = kvet_host::git::command(folder);
    command.args(["-c", "log.showSignature=false", "-c", "core.hooksPath=/dev/null"]).process_group(0);
    command.env("GIT_PAGER", "cat");
    command
}

pub(super) fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(command.output().host("run git")?.status.success())
}

pub(super) fn output(command: &mut Command, action: &str) -> Result<String> {
    let done = command.output().host("run git")?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(Error::host(format!("cannot {action}: {}", one_line(said.trim()))));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
