//! Which run is the latest: `results/latest` points at it.
//!
//! That link is a convenience. Where it cannot be made, because something else is called so or the file system has no links,
//! the run is what it is, and the latest one is found by the names of the folders.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, IoContext, Result, exit};

const LATEST: &str = "latest";

/// Makes `latest` beside a run point at it, in one step.
///
/// # Errors
/// The link cannot be made, which is no reason to doubt the run.
pub fn point_at(run: &Path) -> Result<()> {
    let (Some(output), Some(name)) = (run.parent(), run.file_name()) else {
        return Err(Error::host(format!("{} is no folder of a run", run.display())));
    };
    let latest = output.join(LATEST);
    let action = format!("point {} at {}", latest.display(), name.display());
    if fs::symlink_metadata(&latest).is_ok_and(|found| !found.is_symlink()) {
        return Err(Error::host(format!("cannot {action}: it is no link; remove it or rename it")));
    }
    // A temporary name beside it, as a symbolic link cannot be replaced in place.
    let temporary = output.join(format!(".latest-{}", name.display()));
    symlink(name, &temporary).host(&action)?;
    fs::rename(&temporary, &latest)
        .inspect_err(|_| {
            // The error that matters is the rename's.
            let _ = fs::remove_file(&temporary);
        })
        .host(&action)
}

/// After a run that was interrupted: `latest` points at the newest one that was not, if there is one.
///
/// # Errors
/// As [`point_at`].
pub fn pass_over(run: &Path) -> Result<()> {
    let (Some(output), Some(name)) = (run.parent(), run.file_name()) else { return Ok(()) };
    // Another run may have begun since.
    if fs::read_link(output.join(LATEST)).is_ok_and(|target| target != Path::new(name)) {
        return Ok(());
    }
    newest(output).map_or(Ok(()), |(run, _)| point_at(&run))
}

/// The latest run in a results folder, and a remark where `latest` is not what says so.
///
/// # Errors
/// The caller's: there is none.
pub fn find(output: &Path) -> Result<(PathBuf, Option<String>)> {
    let latest = output.join(LATEST);
    let found = fs::symlink_metadata(&latest);
    let is_link = found.as_ref().is_ok_and(fs::Metadata::is_symlink);
    if is_link && latest.join(REPORT).is_file() {
        return Ok((latest, None));
    }
    let why = match found {
        Ok(_) if is_link => "points at a run without a report",
        Ok(_) => "is no link",
        Err(e) if e.kind() == ErrorKind::NotFound => "is not there",
        Err(_) => "cannot be read",
    };
    // A folder may be a copy of a run that came without the others, or with older ones.
    let copy =
        (!is_link).then(|| head(&latest)).flatten().map(|head| (latest.clone(), Stamp::of(&head.run_id)));
    // A name that tells no time is older than any.
    let run = newest(output).into_iter().chain(copy.map(|(path, stamp)| (path, stamp.unwrap_or_default())));
    match run.max_by(|(_, a), (_, b)| a.cmp(b)) {
        Some((run, _)) => {
            let remark = format!("{} {why}; this is {}", latest.display(), run.display());
            Ok((run, Some(remark)))
        }
        None => Err(Error::caller(format!("no run with a report is in {}", output.display()))
            .hint("kvet report FOLDER shows a run that is somewhere else")),
    }
}

const REPORT: &str = "report.json";

/// When a run began, by its name: `20261120-101530`, and the second one of that second, `20261120-101530-2`.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp(String, u32);

impl Stamp {
    fn of(name: &str) -> Option<Self> {
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
        let mut parts = name.split('-');
        let (day, time) = (parts.next()?, parts.next()?);
        let number = parts.next().map_or(Some(1), |number| number.parse().ok())?;
        (digits(day, 8) && digits(time, 6) && parts.next().is_none())
            .then(|| Self(format!("{day}-{time}"), number))
    }
}

/// What of a report tells whether its run counts.
#[derive(Deserialize)]
struct Head {
    run_id: String,
    #[serde(default)]
    exit_code: u8,
}

fn head(run: &Path) -> Option<Head> {
    serde_json::from_slice(&fs::read(run.join(REPORT)).ok()?).ok()
}

/// The newest run that has a report and was not interrupted.
fn newest(output: &Path) -> Option<(PathBuf, Stamp)> {
    let entries = fs::read_dir(output).ok()?.flatten();
    let named = entries.filter_map(|entry| Some((entry.path(), Stamp::of(entry.file_name().to_str()?)?)));
    let mut runs: Vec<(PathBuf, Stamp)> = named.collect();
    runs.sort_by(|(_, a), (_, b)| b.cmp(a));
    runs.into_iter().find(|(run, _)| head(run).is_some_and(|head| head.exit_code != exit::INTERRUPTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(runs: &[(&str, u8)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, exit_code) in runs {
            fs::create_dir(dir.path().join(name)).unwrap();
            let head = serde_json::json!({"run_id": name, "exit_code": exit_code});
            fs::write(dir.path().join(name).join(REPORT), head.to_string()).unwrap();
        }
        dir
    }

    fn found(dir: &tempfile::TempDir) -> String {
        let (run, _) = find(dir.path()).unwrap();
        run.file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_run_is_passed_over_when_interrupted() {
        let dir = results(&[("20260101-000000", 1), ("20260102-000000", 130), ("20260103-000000", 130)]);
        let link = || fs::read_link(dir.path().join(LATEST)).unwrap();
        let run = dir.path().join("20260103-000000");
        point_at(&run).unwrap();
        pass_over(&run).unwrap();
        assert_eq!(link(), Path::new("20260101-000000"));
        // Another one that runs meanwhile keeps it.
        point_at(&dir.path().join("20260102-000000")).unwrap();
        pass_over(&run).unwrap();
        assert_eq!(link(), Path::new("20260102-000000"));
        // The only one there is stays.
        let dir = results(&[("20260103-000000", 130)]);
        let run = dir.path().join("20260103-000000");
        point_at(&run).unwrap();
        pass_over(&run).unwrap();
        assert_eq!(fs::read_link(dir.path().join(LATEST)).unwrap(), Path::new("20260103-000000"));
    }

    #[test]
    fn the_newest_is_found_without_the_link() {
        let names = ["20260101-000000", "20260101-000000-2", "20260101-000000-10", "20251231-235959", "all"];
        let dir = results(&names.map(|name| (name, 0)));
        fs::create_dir(dir.path().join("20260909-000000")).unwrap();
        assert_eq!(found(&dir), "20260101-000000-10", "one without a report does not count");
        let (_, remark) = find(dir.path()).unwrap();
        assert!(remark.unwrap().contains("latest is not there; this is "));
        symlink("20260909-000000", dir.path().join(LATEST)).unwrap();
        assert_eq!(found(&dir), "20260101-000000-10");
        point_at(&dir.path().join("20251231-235959")).unwrap();
        assert_eq!(found(&dir), LATEST, "the link decides");
        assert!(find(&dir.path().join("none")).unwrap_err().to_string().contains("no run with a report"));
    }

    #[test]
    fn a_folder_called_latest_is_a_copy() {
        let dir = results(&[("20260101-000000", 0), (LATEST, 0)]);
        let error = point_at(&dir.path().join("20260101-000000")).unwrap_err();
        assert!(
            error.to_string().ends_with("latest at 20260101-000000: it is no link; remove it or rename it")
        );
        let copy_of = |run: &str| {
            let head = serde_json::json!({"run_id": run, "exit_code": 0});
            fs::write(dir.path().join(LATEST).join(REPORT), head.to_string()).unwrap();
            found(&dir)
        };
        assert_eq!(copy_of("20251231-000000"), "20260101-000000");
        assert_eq!(copy_of("20260102-000000"), LATEST);
        assert_eq!(copy_of("something"), "20260101-000000");
        fs::remove_dir_all(dir.path().join("20260101-000000")).unwrap();
        assert_eq!(found(&dir), LATEST, "there is nothing else");
    }
}
