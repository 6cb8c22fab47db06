//! git, as this program calls it.

use std::path::Path;
use std::process::{Command, Stdio};

/// git for a folder: in English, asking nobody, and for that folder even where a hook or a bisection that calls us has
/// set another repository (git(1), "Environment Variables").
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null());
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"] {
        command.env_remove(variable);
    }
    command
}
