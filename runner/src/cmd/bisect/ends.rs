//! From what was typed to searches.

use std::path::{Path, PathBuf};

use super::find_of;
use super::lab::arch;
use crate::bisect::git::{self, Commits};
use crate::bisect::releases::Row;
use crate::bisect::state::State;
use crate::bisect::{Find, Search, Subject};
use crate::cmd::args::BisectArgs;
use crate::cmd::{Setup, plain_progress};
use crate::error::{Error, Result};
use crate::kernel::source::SourceSpec;
use crate::kernel::{self, KernelSpec, KernelVersion, Release, VersionPattern};

/// What every kernel's source has at its top.
const KCONFIG: &str = "Kconfig";

/// The kernel specs of both ends, the older one first.
pub type Ends = (String, String);

/// A search that is ready.
pub struct Stage {
    pub search: Box<dyn Search>,
    pub find: Find,
}

/// A search over commits whose ends may have to be found first.
pub struct CommitStage {
    tree: PathBuf,
    scratch: PathBuf,
    paths: Vec<String>,
    /// Revisions, the older one first; none if they are what a search over releases finds.
    ends: Option<(String, String)>,
    find: Find,
}

impl CommitStage {
    /// Begins it. `between` are the neighbours that a search over releases found; `pinned` are the ends of a bisection that goes
    /// on, which may be other commits than their names say by now.
    ///
    /// # Errors
    /// As [`git::check_ends`] and [`Commits::begin`]; the caller's: an end is no kernel's source.
    pub fn stage(self, between: Option<(&str, &str)>, pinned: Option<&Ends>) -> Result<Stage> {
        let (tree, older, newer) = match (pinned, self.ends, between) {
            (Some((older, newer)), ..) => {
                let ((tree, older), (_, newer)) = (commit(older)?, commit(newer)?);
                (tree, older, newer)
            }
            (None, Some((older, newer)), _) => (self.tree, older, newer),
            (None, None, Some((older, newer))) => {
                let (older, newer) = (tag(older)?, tag(newer)?);
                for tag in [&older, &newer] {
                    git::resolve(&self.tree, tag).map_err(|e| {
                        e.hint("the tags of stable releases are needed; `kvet bisect --resume` goes on when they are there")
                    })?;
                }
                (self.tree, older, newer)
            }
            (None, None, None) => return Err(Error::host("a bisection of commits without ends")),
        };
        if pinned.is_none() {
            let (good, bad) = match self.find {
                Find::Bug => (&older, &newer),
                Find::Fix => (&newer, &older),
            };
            git::check_ends(&tree, self.find, good, bad)?;
            for (flag, end) in [("--good", good), ("--bad", bad)] {
                if !git::has_file(&tree, end, KCONFIG)? {
                    let tree = tree.display();
                    return Err(Error::caller(format!(
                        "{flag} {end}: no kernel: {tree} has no {KCONFIG} there"
                    )));
                }
            }
        }
        let search = Commits::begin(&tree, &self.scratch, &older, &newer, &self.paths)?;
        Ok(Stage { search: Box::new(search), find: self.find })
    }
}

/// The repository and the commit that a kernel spec names.
fn commit(kernel: &str) -> Result<(PathBuf, String)> {
    match kernel.parse()? {
        KernelSpec::Source { source: SourceSpec::Git { repository, revision }, .. } => {
            Ok((repository, revision))
        }
        other => Err(Error::caller(format!("{other} names no commit, as an end of this bisection must"))),
    }
}

/// The tag that a release has in a kernel's tree.
fn tag(kernel: &str) -> Result<String> {
    match kernel.parse()? {
        KernelSpec::Debian { version: VersionPattern::Exact(version), .. } => Ok(format!("v{version}")),
        other => Err(Error::host(format!("{other} names no release"))),
    }
}

/// The searches that are asked for: over releases, over commits, or one after the other.
pub fn stages(
    args: &BisectArgs,
    setup: &Setup,
    folder: &Path,
    known: Option<&State>,
) -> Result<(Option<Stage>, Option<CommitStage>)> {
    let (Some(good), Some(bad)) = (&args.good, &args.bad) else {
        return Err(Error::caller("--good and --bad name the two ends"));
    };
    let commits = |ends, find| CommitStage {
        tree: args.tree.clone().unwrap_or_default(),
        scratch: folder.join("git"),
        paths: args.paths.clone(),
        ends,
        find,
    };
    if let Some(tree) = &args.tree {
        git::check(tree, &args.paths)?;
    }
    let stock = |end: &str| end.starts_with("debian:");
    match &args.tree {
        Some(_) if stock(good) != stock(bad) => Err(Error::caller(format!(
            "{good} and {bad}: one is a release and the other a revision; both must be the same"
        ))),
        Some(_) if !stock(good) => {
            let find = find_of(args);
            let (older, newer) = match find {
                Find::Bug => (good, bad),
                Find::Fix => (bad, good),
            };
            Ok((None, Some(commits(Some((older.clone(), newer.clone())), find))))
        }
        tree => {
            if tree.is_some() && args.find.is_some() {
                return Err(Error::caller(
                    "--find is for commits; the versions of two releases say which is older",
                ));
            }
            let (good, bad) = match known.map(|state| (&state.ends, state.find)) {
                Some((Some((older, newer)), Find::Bug)) => (older, newer),
                Some((Some((older, newer)), Find::Fix)) => (newer, older),
                _ => (good, bad),
            };
            let stage = release_stage(args, setup, good, bad)?;
            let find = stage.find;
            Ok((Some(stage), tree.is_some().then(|| commits(None, find))))
        }
    }
}

fn release_stage(args: &BisectArgs, setup: &Setup, good: &str, bad: &str) -> Result<Stage> {
    let good = version(args, setup, good, "--good")?;
    let bad = version(args, setup, bad, "--bad")?;
    if good == bad {
        return Err(Error::caller(format!("--good and --bad are the same kernel, {good}")));
    }
    let (from, to) = (good.min(bad), good.max(bad));
    let resources = &setup.resources;
    let all = kernel::releases(
        from,
        to,
        arch(args)?,
        &resources.cache,
        &resources.sources,
        &mut plain_progress(),
        &resources.cancel,
    )?;
    let subjects = row(&all, from, to);
    let find = if good < bad { Find::Bug } else { Find::Fix };
    Ok(Stage { search: Box::new(Row::new(subjects)), find })
}

/// The releases between two others, and these.
fn row(all: &[Release], from: KernelVersion, to: KernelVersion) -> Vec<Subject> {
    let between = all.iter().map(|release| release.version).filter(|v| *v > from && *v < to);
    let versions = std::iter::once(from).chain(between).chain(std::iter::once(to));
    versions
        .map(|version| Subject {
            kernel: KernelSpec::Debian { suite: None, version: VersionPattern::Exact(version) }.to_string(),
            shown: version.to_string(),
        })
        .collect()
}

/// Which release an end is: a series is its newest one.
fn version(args: &BisectArgs, setup: &Setup, end: &str, flag: &str) -> Result<KernelVersion> {
    let spec: KernelSpec = end.parse().map_err(|e: Error| e.context(flag))?;
    if !matches!(spec, KernelSpec::Debian { .. }) {
        return Err(Error::caller(format!(
            "{flag} {end}: a bisection over releases has debian: kernels as its ends"
        ))
        .hint("commits are bisected with --tree DIR, and --good and --bad are then revisions"));
    }
    let resources = &setup.resources;
    let (cache, sources, cancel) = (&resources.cache, &resources.sources, &resources.cancel);
    let kernel = kernel::acquire(&spec, arch(args)?, cache, sources, &mut plain_progress(), cancel)?;
    Ok(kernel.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_both_ends_once_and_what_is_between() {
        let v = |text: &str| text.parse::<KernelVersion>().unwrap();
        let all: Vec<Release> = ["6.1.192", "7.2.6", "7.2.9", "7.2.12", "7.3-rc7"]
            .map(|text| Release { version: v(text), modules: true })
            .to_vec();
        let names: Vec<String> = row(&all, v("7.2.6"), v("7.2.12")).into_iter().map(|s| s.kernel).collect();
        assert_eq!(names, ["debian:7.2.6", "debian:7.2.9", "debian:7.2.12"]);
    }

    #[test]
    fn a_commit_is_found_again_by_its_kernel() {
        let (tree, hash) = commit("git:/home/a@b/linux@0123456789abcdef").unwrap();
        assert_eq!((tree.to_str(), hash.as_str()), (Some("/home/a@b/linux"), "0123456789abcdef"));
        assert!(commit("debian:7.2.9").unwrap_err().to_string().contains("names no commit"));
    }

    #[test]
    fn releases_have_tags() {
        assert_eq!(tag("debian:7.2.9").unwrap(), "v7.2.9");
        assert_eq!(tag("debian:7.3-rc7").unwrap(), "v7.3-rc7");
        assert_eq!(tag("debian:7.0.0").unwrap(), "v7.0");
    }
}
