//! A search over commits: git's own bisection, in a repository of ours that borrows the objects of the user's.
//!
//! git decides where to look (merges, skips and paths are its business, git-bisect(1)); we say what is newer and what is older.
//! The user's repository is only read.

mod repository;

use std::path::{Path, PathBuf};

use super::answer::{Answer, Commit};
use super::{Next, Search, Subject};
use crate::error::{Error, IoContext, Result};
use crate::parse::clean::one_line;
use kvet_host::fs::write_atomic;
use repository::{borrow, check_paths, git, is_hash, output, short, succeeds};

pub use repository::{check, check_ends, has_file, resolve};

/// git's terms for the two sides.
const OLDER: &str = "older";
const NEWER: &str = "newer";
/// git's word for what cannot be judged.
const SKIP: &str = "skip";

/// A bisection of commits.
#[derive(Debug)]
pub struct Commits {
    /// The user's repository, as kernels are named by it.
    repository: PathBuf,
    /// Ours.
    scratch: PathBuf,
    older: String,
    newer: String,
    /// What git said last.
    said: String,
    /// What was told: git's word and the commit.
    told: Vec<(&'static str, String)>,
    paths: Vec<String>,
}

impl Commits {
    /// Begins one. `scratch` is a folder that is made, or was made by an earlier beginning and is begun anew; `older` and `newer` are
    /// revisions of `repository`; only commits that touch `paths` count, if any are given.
    ///
    /// # Errors
    /// The caller's: no such repository, revision or path; the ends have no common history. The host's: git fails.
    pub fn begin(
        repository: &Path,
        scratch: &Path,
        older: &str,
        newer: &str,
        paths: &[String],
    ) -> Result<Self> {
        let repository = repository.canonicalize().given(format!("find {}", repository.display()))?;
        let older = resolve(&repository, older)?;
        let newer = resolve(&repository, newer)?;
        if !succeeds(git(&repository).args(["merge-base", &older, &newer]))? {
            return Err(Error::caller(format!(
                "{} and {} have no common history in {}",
                short(&older),
                short(&newer),
                repository.display()
            )));
        }
        borrow(&repository, scratch)?;
        check_paths(scratch, &[older.as_str(), newer.as_str()], paths)?;
        Self::start(repository, scratch.to_owned(), older, newer, paths.to_vec())
    }

    /// Begins in a repository that is there.
    fn start(
        repository: PathBuf,
        scratch: PathBuf,
        older: String,
        newer: String,
        paths: Vec<String>,
    ) -> Result<Self> {
        let mut search =
            Self { repository, scratch, older, newer, said: String::new(), told: Vec::new(), paths };
        search.point_head()?;
        // An unborn or an old bisection is forgotten: verdicts are kept elsewhere and told again.
        search.bisect(&["reset"])?;
        let begin = ["start", "--no-checkout", "--term-old", OLDER, "--term-new", NEWER];
        let ends = [search.newer.clone(), search.older.clone(), "--".to_owned()];
        let arguments: Vec<&str> = begin
            .into_iter()
            .chain(ends.iter().map(String::as_str))
            .chain(search.paths.iter().map(String::as_str))
            .collect();
        search.said = search.bisect(&arguments)?;
        Ok(search)
    }

    /// git wants some commit to be checked out, and remembers which.
    fn point_head(&self) -> Result<()> {
        let head = ["update-ref", "--no-deref", "HEAD", self.newer.as_str()];
        output(git(&self.scratch).args(head), "begin to bisect").map(drop)
    }

    /// The same in another repository, which has yet to be told.
    fn copy(&self, scratch: PathBuf) -> Self {
        let Self { repository, older, newer, told, paths, .. } = self;
        let (repository, told, paths) = (repository.clone(), told.clone(), paths.clone());
        Self {
            repository,
            scratch,
            older: older.clone(),
            newer: newer.clone(),
            said: String::new(),
            told,
            paths,
        }
    }

    /// Tells git everything at once. The ends come after the start: with them in it git would say at once what is to be looked at,
    /// and where that is the merge base of two branches it would not go on with the rest.
    fn replay(&mut self) -> Result<()> {
        self.point_head()?;
        let mut log =
            format!("git bisect start '--no-checkout' '--term-old' '{OLDER}' '--term-new' '{NEWER}' '--'");
        for path in &self.paths {
            log += &format!(" '{}'", path.replace('\'', r"'\''"));
        }
        log.push('\n');
        let ends = [(NEWER, &self.newer), (OLDER, &self.older)];
        for (word, hash) in ends.into_iter().chain(self.told.iter().map(|(word, hash)| (*word, hash))) {
            log += &format!("git bisect {word} {hash}\n");
        }
        let file = self.scratch.join("replay");
        write_atomic(&file, log.as_bytes())?;
        self.said = self.bisect(&["replay", &file.to_string_lossy()])?;
        Ok(())
    }

    fn bisect(&self, arguments: &[&str]) -> Result<String> {
        let mut command = git(&self.scratch);
        command.arg("bisect").args(arguments);
        let done = command.output().host("run git bisect")?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let said = String::from_utf8_lossy(&done.stderr);
        let said = if said.trim().is_empty() { text.as_str() } else { &said };
        let said = one_line(said.trim());
        match done.status.code() {
            // 2: only commits are left that cannot be judged, which is an answer.
            Some(0 | 2) => Ok(text),
            // The merge base of two branches is not what the older end is.
            Some(3) => Err(Error::caller(said)
                .hint("the two ends are on different branches; an older end that is an ancestor of the newer one helps")),
            // After a verdict: of those that touch the paths none is left, and none was of the newer side.
            Some(4) if arguments.first() != Some(&"start") => {
                let paths = self.paths.join(" ");
                let said = "every commit that touches it is like the older end, and what is looked for is another one";
                Err(Error::caller(format!("--paths {paths}: {said}")).hint(
                    "without --paths, and with --replay of what `kvet bisect --log` prints, no commit is tested twice",
                ))
            }
            Some(4) => {
                Err(Error::caller(format!("no commit between the two ends touches what --paths names: {said}")))
            }
            _ => Err(Error::host(format!("git bisect {}: {said}", arguments.join(" ")))),
        }
    }

    /// How a commit is shown: its short hash and its subject.
    fn subject(&self, hash: &str) -> Result<Subject> {
        let text = output(git(&self.scratch).args(["log", "-1", "--format=%s", hash]), "look at a commit")?;
        Ok(Subject {
            kernel: format!("git:{}@{hash}", self.repository.display()),
            shown: format!("{} {}", short(hash), one_line(text.trim())),
        })
    }

    /// The same where it has to be named, whatever git says.
    fn named(&self, hash: &str) -> Subject {
        self.subject(hash).unwrap_or_else(|_| Subject {
            kernel: format!("git:{}@{hash}", self.repository.display()),
            shown: short(hash),
        })
    }

    fn commit(&self, hash: &str) -> Result<Commit> {
        let format = "--format=%H%n%an <%ae>%n%ad%n%s";
        let text = output(git(&self.scratch).args(["log", "-1", format, hash]), "look at a commit")?;
        let stat = ["show", "--stat=100", "--format=", "--no-color", hash];
        let stat = output(git(&self.scratch).args(stat), "look at a commit")?;
        let mut lines = text.lines();
        let mut line = || lines.next().unwrap_or_default().to_owned();
        Ok(Commit {
            hash: line(),
            author: line(),
            date: line(),
            subject: line(),
            stat: stat.trim_end().to_owned(),
        })
    }

    /// The commit that git asks for.
    fn head(&self) -> Result<String> {
        let head = ["rev-parse", "--verify", "--quiet", "BISECT_HEAD"];
        output(git(&self.scratch).args(head), "find the next commit").map(|hash| hash.trim().to_owned())
    }

    /// How many commits may be left to be told apart after this one, whatever it is, and how often they have to be halved. git
    /// counts only those that are left if it is of the older side, and nothing while it asks for the merge base of two branches.
    fn left(&self, head: &str) -> Result<(usize, usize)> {
        let list = |arguments: &[&str]| -> Result<String> {
            let mut command = git(&self.scratch);
            command.arg("rev-list").args(arguments).arg("--").args(&self.paths);
            output(&mut command, "count the commits").map(|text| text.trim().to_owned())
        };
        let older = format!("--glob=refs/bisect/{OLDER}-*");
        let count = |of: &str| -> Result<usize> {
            let text = list(&["--count", of, "--not", &older])?;
            text.parse().map_err(|e| Error::host("git counts no commits").because(e))
        };
        let newer =
            self.told.iter().rev().find(|(word, _)| *word == NEWER).map_or(&self.newer, |(_, told)| told);
        let (here, all) = (count(head)?, count(newer)?);
        // The newer end is known, if it is one of them: it need not touch the paths.
        let known = usize::from(list(&["--max-count=1", newer])? == *newer);
        let left = (here.saturating_sub(1)).max(all.saturating_sub(here + known));
        Ok((left, super::releases::halvings(left)))
    }

    /// The answer, if git has one.
    fn answer(&self) -> Result<Option<Answer>> {
        let found = format!(" is the first {NEWER} commit");
        if let Some(hash) = self.said.lines().find_map(|line| line.strip_suffix(&found)) {
            return self.answer_of(hash, &[]).map(Some);
        }
        if !self.said.contains("We cannot bisect more!") {
            return Ok(None);
        }
        // The candidates, the certain one last: those that were skipped, and the oldest that is known to be newer.
        let candidates: Vec<&str> = self.said.lines().map(str::trim).filter(|line| is_hash(line)).collect();
        let skipped = |hash: &str| self.told.iter().any(|(word, told)| *word == SKIP && told == hash);
        let certain = candidates.iter().find(|hash| !skipped(hash));
        let Some(certain) = certain.or(candidates.last()) else {
            return Err(Error::host(format!("git bisect names no commit: {}", one_line(&self.said))));
        };
        let doubtful: Vec<&str> = candidates.iter().copied().filter(|hash| hash != certain).collect();
        self.answer_of(certain, &doubtful).map(Some)
    }

    /// Of the commits that were judged to be of the older side the one that the fewest commits tell from this one. Its parent
    /// need not have been judged: it may have been skipped, be on another branch, or not touch the paths.
    fn before(&self, hash: &str) -> Result<&str> {
        let judged = self.told.iter().rev().filter(|(word, _)| *word == OLDER).map(|(_, told)| told);
        let mut nearest: Option<(usize, &str)> = None;
        for older in judged.chain(std::iter::once(&self.older)) {
            let between = format!("{older}...{hash}");
            let count =
                output(git(&self.scratch).args(["rev-list", "--count", &between]), "look at the commits")?;
            let count = count.trim().parse().map_err(|e| Error::host("git counts no commits").because(e))?;
            if nearest.is_none_or(|(least, _)| count < least) {
                nearest = Some((count, older));
            }
        }
        Ok(nearest.map_or(&self.older, |(_, older)| older))
    }

    fn answer_of(&self, hash: &str, doubtful: &[&str]) -> Result<Answer> {
        Ok(Answer {
            first: self.subject(hash)?,
            before: self.subject(self.before(hash)?)?,
            doubtful: doubtful.iter().map(|hash| self.subject(hash)).collect::<Result<_>>()?,
            commit: Some(self.commit(hash)?),
        })
    }
}

impl Search for Commits {
    fn ends(&self) -> (Subject, Subject) {
        (self.named(&self.older), self.named(&self.newer))
    }

    fn between(&self) -> (Subject, Subject) {
        let last = |side: &'static str| {
            self.told.iter().rev().filter(move |(word, _)| *word == side).map(|(_, told)| told)
        };
        let newer = last(NEWER).next().unwrap_or(&self.newer);
        // What was judged on a branch that the newer one does not have is no end of a range to it.
        let in_newer = |older: &&String| {
            succeeds(git(&self.scratch).args(["merge-base", "--is-ancestor", older.as_str(), newer.as_str()]))
                .unwrap_or(false)
        };
        let older = last(OLDER).find(in_newer).unwrap_or(&self.older);
        (self.named(older), self.named(newer))
    }

    fn next(&mut self) -> Result<Next> {
        if let Some(answer) = self.answer()? {
            return Ok(Next::Done(answer));
        }
        let head = self.head()?;
        let (left, steps) = self.left(&head)?;
        Ok(Next::Test { subject: self.subject(&head)?, left, steps })
    }

    fn tell(&mut self, subject: &Subject, newer: Option<bool>) -> Result<()> {
        let (word, hash) = (word(newer), hash(subject));
        self.said = self.bisect(&[word, &hash])?;
        self.told.push((word, hash));
        Ok(())
    }

    /// git is asked in a copy, which is told in one call what this one knows and what may come.
    fn after(&self, subject: &Subject) -> Result<Vec<Subject>> {
        let scratch = self.scratch.with_extension("ahead");
        borrow(&self.repository, &scratch)?;
        let mut likely: Vec<Subject> = Vec::new();
        for newer in [true, false] {
            let mut copy = self.copy(scratch.clone());
            copy.told.push((word(Some(newer)), hash(subject)));
            // A verdict that would end the bisection, as "newer" does for the merge base of two branches, has nothing after it.
            // If it is given, git says so again.
            if copy.replay().is_err() {
                continue;
            }
            if copy.answer()?.is_none() {
                let subject = copy.subject(&copy.head()?)?;
                if !likely.contains(&subject) {
                    likely.push(subject);
                }
            }
        }
        Ok(likely)
    }
}

/// git's word for a verdict.
fn word(newer: Option<bool>) -> &'static str {
    match newer {
        Some(true) => NEWER,
        Some(false) => OLDER,
        None => SKIP,
    }
}

/// The commit that is meant.
fn hash(subject: &Subject) -> String {
    subject.kernel.rsplit('@').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::state::State;
    use super::super::{Bisection, Find, Lab, News};
    use super::*;
    use crate::error::Fault;
    use crate::event::{CellReport, Outcome};
    use crate::report::table::sample::cell;

    /// Runs git in a repository of a test's.
    fn run(folder: &Path, arguments: &[&str]) {
        let mut command = git(folder);
        for (name, value) in [("NAME", "T"), ("EMAIL", "t@example")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        output(command.args(arguments), "set up").unwrap();
    }

    fn commit(folder: &Path, file: &str, number: usize) {
        std::fs::write(folder.join(file), format!("{number}\n")).unwrap();
        run(folder, &["add", file]);
        run(folder, &["commit", "--quiet", "-m", &format!("commit {number}")]);
    }

    /// A repository with a commit on one line for each of these files, into which it writes its number.
    pub(crate) fn history(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), &["init", "--quiet", "--initial-branch=main"]);
        for (number, file) in files.iter().enumerate() {
            commit(dir.path(), file, number);
        }
        dir
    }

    fn repository(commits: usize) -> tempfile::TempDir {
        history(&vec!["file"; commits])
    }

    fn find(commits: usize, first: usize, skip: &[usize]) -> (Answer, usize) {
        let repository = repository(commits);
        let scratch = tempfile::tempdir().unwrap();
        let older = format!("HEAD~{}", commits - 1);
        let mut search =
            Commits::begin(repository.path(), &scratch.path().join("bisect"), &older, "HEAD", &[]).unwrap();
        for verdicts in 0..commits {
            match search.next().unwrap() {
                Next::Done(answer) => return (answer, verdicts),
                Next::Test { subject, .. } => {
                    let number: usize = subject.shown.rsplit(' ').next().unwrap().parse().unwrap();
                    search.tell(&subject, (!skip.contains(&number)).then_some(number >= first)).unwrap();
                }
            }
        }
        panic!("no end");
    }

    #[test]
    fn the_first_commit_is_found() {
        let (answer, verdicts) = find(20, 13, &[]);
        assert!(answer.first.shown.ends_with(" commit 13"), "{answer:?}");
        assert!(answer.before.shown.ends_with(" commit 12"), "{answer:?}");
        assert!(answer.first.kernel.starts_with("git:/"), "{answer:?}");
        let commit = answer.commit.unwrap();
        assert_eq!((commit.author.as_str(), commit.subject.as_str()), ("T <t@example>", "commit 13"));
        assert!(commit.stat.contains("file | 2 +-"), "{}", commit.stat);
        assert!(verdicts <= 5);
    }

    #[test]
    fn what_cannot_be_judged_is_gone_around_or_named() {
        let (answer, _) = find(20, 13, &[9, 15]);
        assert!(answer.first.shown.ends_with(" commit 13") && answer.doubtful.is_empty(), "{answer:?}");
        let (answer, _) = find(6, 4, &[2, 3]);
        assert!(answer.first.shown.ends_with(" commit 4"), "{answer:?}");
        let doubtful: Vec<&str> =
            answer.doubtful.iter().map(|s| s.shown.rsplit(' ').next().unwrap()).collect();
        assert_eq!(doubtful.len(), 2, "{doubtful:?}");
        assert!(answer.before.shown.ends_with(" commit 1"), "the last that was judged: {answer:?}");
    }

    #[test]
    fn what_comes_next_is_known_before_the_verdict() {
        let repository = repository(20);
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().join("bisect");
        let mut search = Commits::begin(repository.path(), &at, "HEAD~19", "HEAD", &[]).unwrap();
        let ask = |search: &mut Commits| match search.next().unwrap() {
            Next::Test { subject, .. } => subject,
            Next::Done(answer) => panic!("{answer:?}"),
        };
        // One that cannot be judged first: the copy has to know of it.
        let skipped = ask(&mut search);
        search.tell(&skipped, None).unwrap();
        for newer in [true, false] {
            let subject = ask(&mut search);
            let likely = search.after(&subject).unwrap();
            assert_eq!(likely.len(), 2);
            assert_eq!(ask(&mut search), subject, "asking ahead changes nothing");
            search.tell(&subject, Some(newer)).unwrap();
            assert_eq!(ask(&mut search), likely[usize::from(!newer)]);
        }
    }

    /// A lab that remembers what it was told to expect, and what it was asked for.
    struct Expecting {
        first: usize,
        likely: Vec<String>,
        met: Vec<bool>,
        /// What it did, and on which kernel.
        done: Vec<(&'static str, String)>,
    }

    impl Lab for Expecting {
        fn signature(&mut self, subject: &Subject) -> Result<String> {
            if !self.likely.is_empty() {
                self.met.push(self.likely.contains(&subject.kernel));
            }
            Ok(subject.kernel.clone())
        }

        fn run(&mut self, subject: &Subject, _: Option<&[String]>) -> Result<CellReport> {
            if let Some((_, kernel)) = self.done.last_mut().filter(|(word, _)| *word == "ahead") {
                kernel.clone_from(&subject.kernel);
            }
            self.done.push(("run", subject.kernel.clone()));
            let number: usize = subject.shown.rsplit(' ').next().unwrap().parse().unwrap();
            let outcome = if number >= self.first { Outcome::Fail } else { Outcome::Pass };
            Ok(cell(&subject.kernel, "7.2", &[("t", outcome, "x")]))
        }

        fn recall(&mut self, _: &Path) -> Option<CellReport> {
            None
        }

        fn looks_ahead(&self) -> bool {
            true
        }

        fn foresee(&mut self, likely: Vec<Subject>) {
            self.done.push(("ahead", String::new()));
            self.likely = likely.into_iter().map(|subject| subject.kernel).collect();
        }
    }

    fn searched(search: &mut Commits, lab: &mut Expecting) -> Answer {
        let state = State::new(vec!["bisect".into()], Find::Bug, None, 1);
        let (save, tell) = (&mut |_: &State| Ok(()), &mut |_: News| {});
        Bisection { state, search, lab, save, tell }.run().unwrap()
    }

    #[test]
    fn a_lab_that_looks_ahead_is_told_what_it_will_be_asked_for() {
        let repository = repository(20);
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().join("bisect");
        let mut search = Commits::begin(repository.path(), &at, "HEAD~19", "HEAD", &[]).unwrap();
        let mut lab = Expecting { first: 7, likely: Vec::new(), met: Vec::new(), done: Vec::new() };
        assert!(searched(&mut search, &mut lab).first.shown.ends_with(" commit 7"));
        assert!(lab.met.len() >= 2 && lab.met.iter().all(|met| *met), "{:?}", lab.met);
    }

    #[test]
    fn with_several_runs_the_last_one_of_a_kernel_is_when_it_looks_ahead() {
        let repository = repository(20);
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().join("bisect");
        let mut search = Commits::begin(repository.path(), &at, "HEAD~19", "HEAD", &[]).unwrap();
        let mut lab = Expecting { first: 7, likely: Vec::new(), met: Vec::new(), done: Vec::new() };
        let state = State::new(vec!["bisect".into()], Find::Bug, None, 3);
        let (save, tell) = (&mut |_: &State| Ok(()), &mut |_: News| {});
        Bisection { state, search: &mut search, lab: &mut lab, save, tell }.run().unwrap();
        // Three runs of each end. One run shows that a kernel is bad, and another commit is built in the last of three.
        let words: Vec<&str> = lab.done.iter().map(|(word, _)| *word).collect();
        assert_eq!(words[..6], ["run"; 6]);
        let mut good = 0;
        for kernel in lab.done[6..].chunk_by(|one, next| one.1 == next.1) {
            let words: Vec<&str> = kernel.iter().map(|(word, _)| *word).collect();
            good += usize::from(words.len() > 1);
            assert!(words == ["run"] || words == ["run", "run", "ahead", "run"], "{:?}", lab.done);
        }
        assert!(good >= 1, "{:?}", lab.done);
    }

    /// Commits 0 to 2, and from there 3 to 9 on one branch and another 0 on the other.
    fn branches() -> tempfile::TempDir {
        let repository = repository(3);
        run(repository.path(), &["switch", "--quiet", "-c", "side"]);
        commit(repository.path(), "other", 0);
        run(repository.path(), &["switch", "--quiet", "main"]);
        (3..10).for_each(|number| commit(repository.path(), "file", number));
        repository
    }

    #[test]
    fn on_two_branches_one_verdict_on_their_merge_base_has_nothing_after_it() {
        let repository = branches();
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().join("bisect");
        let mut search = Commits::begin(repository.path(), &at, "side", "main", &[]).unwrap();
        let Next::Test { subject: base, .. } = search.next().unwrap() else { panic!() };
        assert!(base.shown.ends_with(" commit 2"), "git asks for the merge base first: {base:?}");
        let likely = search.after(&base).unwrap();
        search.tell(&base, Some(false)).unwrap();
        let (older, newer) = search.between();
        assert_eq!((older, newer), (base, search.ends().1), "what was judged last");
        let Next::Test { subject, .. } = search.next().unwrap() else { panic!() };
        assert_eq!(likely, [subject]);

        let mut search = Commits::begin(repository.path(), &at, "side", "main", &[]).unwrap();
        let mut lab = Expecting { first: 7, likely: Vec::new(), met: Vec::new(), done: Vec::new() };
        let answer = searched(&mut search, &mut lab);
        assert!(answer.first.shown.ends_with(" commit 7"), "{answer:?}");
        assert!(answer.before.shown.ends_with(" commit 6"), "{answer:?}");
    }

    #[test]
    fn begun_again_it_asks_the_same() {
        let repository = repository(8);
        let scratch = tempfile::tempdir().unwrap();
        let begin =
            || Commits::begin(repository.path(), &scratch.path().join("b"), "HEAD~7", "HEAD", &[]).unwrap();
        let first = begin().next().unwrap();
        assert_eq!(begin().next().unwrap(), first);
        let Next::Test { left, steps, .. } = first else { panic!() };
        assert_eq!((left, steps), (3, 2));
    }

    #[test]
    fn what_is_no_commit_is_named() {
        let repository = repository(3);
        let scratch = tempfile::tempdir().unwrap();
        let begin = |older, newer| {
            Commits::begin(repository.path(), &scratch.path().join("b"), older, newer, &[]).unwrap_err()
        };
        let e = begin("v6.12", "HEAD");
        assert_eq!(e.fault(), Fault::Caller);
        assert!(e.to_string().contains("'v6.12' is no commit of"), "{e}");
        assert!(begin("HEAD", "--help").to_string().contains("'--help' is no commit"));
    }

    #[test]
    fn ends_that_are_the_same_or_the_wrong_way_round() {
        let repository = repository(3);
        let refused = |find, good, bad| {
            let e = check_ends(repository.path(), find, good, bad).unwrap_err();
            assert_eq!(e.fault(), Fault::Caller, "{e}");
            format!("{e} {}", e.hint_text().unwrap_or_default())
        };
        let said = refused(Find::Bug, "HEAD", "main");
        assert!(said.contains("--good HEAD and --bad main are the same commit, "), "{said}");
        let said = refused(Find::Bug, "HEAD", "HEAD~1");
        assert!(said.contains("--good HEAD is newer than --bad HEAD~1"), "{said}");
        assert!(said.contains("swap them, or `--find fix`"), "{said}");
        let said = refused(Find::Fix, "HEAD~2", "HEAD");
        assert!(said.contains("--bad HEAD is newer than --good HEAD~2"), "{said}");
        assert!(said.contains("swap them, or `--find bug`"), "{said}");
        check_ends(repository.path(), Find::Fix, "HEAD", "HEAD~2").unwrap();
        assert!(has_file(repository.path(), "HEAD~1", "file").unwrap());
        assert!(!has_file(repository.path(), "HEAD", "Kconfig").unwrap());
        let branches = branches();
        for find in [Find::Bug, Find::Fix] {
            check_ends(branches.path(), find, "side", "main").unwrap();
        }
    }

    #[test]
    fn half_a_beginning_and_paths_that_nobody_touched() {
        let repository = repository(4);
        let scratch = tempfile::tempdir().unwrap();
        // What a kvet leaves that was killed while it made the folder.
        std::fs::create_dir_all(scratch.path().join("b/objects")).unwrap();
        std::fs::write(scratch.path().join("b/HEAD"), "ref: refs/heads/main\n").unwrap();
        let begin = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            Commits::begin(repository.path(), &scratch.path().join("b"), "HEAD~3", "HEAD", &paths)
        };
        assert!(matches!(begin(&[]).unwrap().next().unwrap(), Next::Test { .. }));
        for paths in [&["nothing/there"][..], &["file", "nothing/there"]] {
            let e = begin(paths).unwrap_err();
            assert_eq!(e.fault(), Fault::Caller, "{e}");
            assert!(e.to_string().starts_with("--paths nothing/there: no commit touches such a path"), "{e}");
        }
        begin(&["file"]).unwrap();
        check(repository.path(), &["file".to_owned()]).unwrap();
        assert!(
            check(repository.path(), &["fiel".to_owned()]).unwrap_err().to_string().contains("--paths fiel")
        );
        let e = check(scratch.path(), &[]).unwrap_err();
        assert!(e.fault() == Fault::Caller && e.to_string().contains("is no git repository"), "{e}");
    }
}
