//! What was said between two results, and which program it was about.

use super::super::text::{HeadTail, shorten};

/// Longest part of a message.
const MAX_PART: usize = 300;

/// The log of one test.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) text: HeadTail,
    pub(super) lines: u64,
    failed: Option<String>,
    skipped: Option<String>,
    mismatch: Option<String>,
    /// The first program that did not load.
    load: Option<Load>,
    /// The last thing the verifier said of the program whose log is being read.
    verifier: Option<String>,
    log: Log,
    last: Option<String>,
}

/// In whose frame a log of the verifier stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// None is being read.
    No,
    /// libbpf's, which says where it ends.
    Libbpf,
    /// That of the selftests' loader: two lines of `=`, so many of which were seen.
    Loader(u8),
}

/// A program that did not load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) program: String,
    /// Error code and the verifier's last words.
    pub(super) why: String,
}

impl Talk {
    pub(super) fn new(max: usize) -> Self {
        Self {
            text: HeadTail::new(max),
            lines: 0,
            failed: None,
            skipped: None,
            mismatch: None,
            load: None,
            verifier: None,
            log: Log::No,
            last: None,
        }
    }

    pub(super) fn heard(&mut self, line: &str) {
        self.lines += 1;
        self.text.push(line);
        let text = line.trim();
        if text.is_empty() {
            return;
        }
        if self.log(text) {
            return;
        }
        let keep = |place: &mut Option<String>, text: &str| {
            if place.is_none() {
                *place = Some(shorten(text, MAX_PART));
            }
        };
        if text.contains(":FAIL:") {
            keep(&mut self.failed, text);
        } else if let Some((_, why)) = text.split_once(":SKIP:") {
            keep(&mut self.skipped, why.trim());
        } else if text.starts_with("EXPECTED ") {
            keep(&mut self.mismatch, text);
        } else if self.load.is_none()
            && let Some((program, code)) = load_failure(text)
        {
            let verifier = self.verifier.as_ref().map(|said| format!(": {said}")).unwrap_or_default();
            let (program, why) = (shorten(program, MAX_PART), format!("{code}{verifier}"));
            self.load = Some(Load { program, why: shorten(&why, MAX_PART) });
        }
        self.last = Some(shorten(text, MAX_PART));
    }

    /// Whether a line is the verifier's, as libbpf or the selftests' own loader frame its log.
    fn log(&mut self, text: &str) -> bool {
        let begins = match text {
            "VERIFIER LOG:" => Some(Log::Loader(0)),
            _ if text.ends_with("-- BEGIN PROG LOAD LOG --") => Some(Log::Libbpf),
            _ => None,
        };
        if let Some(log) = begins {
            self.log = log;
            self.verifier = None;
            return true;
        }
        let line = text.len() >= 8 && text.bytes().all(|b| b == b'=');
        self.log = match self.log {
            Log::No => return false,
            Log::Libbpf if text.ends_with("-- END PROG LOAD LOG --") => Log::No,
            Log::Loader(0) if line => Log::Loader(1),
            Log::Loader(_) if line => Log::No,
            // The frame was not closed.
            _ if text.starts_with("libbpf: ") || text.contains(":FAIL:") => {
                self.log = Log::No;
                return false;
            }
            log => {
                if !is_statistics(text) {
                    self.verifier = Some(shorten(text, MAX_PART));
                }
                log
            }
        };
        true
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        (self.failed, self.skipped, self.mismatch, self.load, self.verifier) = (None, None, None, None, None);
        (self.log, self.last) = (Log::No, None);
    }

    /// The program that kept a test from being run, unless it is what the test is about.
    pub(super) fn blocked_by(&self, test: &str) -> Option<&Load> {
        self.load.as_ref().filter(|load| load.program != own_program(test))
    }

    /// A failure in one line.
    pub(super) fn failure(&self, test: &str) -> String {
        let mut parts = Vec::new();
        if let Some(load) = &self.load {
            let other = if load.program == own_program(test) { "" } else { ", which is not this test's own" };
            // A program that is to be refused was refused with other words: those are what counts.
            if self.mismatch.is_none() || !other.is_empty() {
                parts.push(format!("prog '{}' failed to load{other}: {}", load.program, load.why));
            }
        }
        parts.extend(self.failed.clone());
        parts.extend(self.mismatch.clone());
        // The selftests' loader shows the verifier's log after it said that a program did not load.
        if let Some(said) = &self.verifier
            && !parts.iter().any(|part| part.contains(said.as_str()))
        {
            parts.push(format!("the verifier said: {said}"));
        }
        if parts.is_empty() {
            parts.push(self.last.clone().unwrap_or_else(|| "failed, and nothing was said about it".into()));
        }
        parts.join("; ")
    }

    /// Why a test was skipped.
    pub(super) fn skip(&self) -> String {
        let said = self.skipped.clone().filter(|why| !why.is_empty()).or_else(|| self.last.clone());
        said.unwrap_or_else(|| "skipped, and no reason given".into())
    }

    /// The last thing said, whatever it was.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }
}

/// The name of the program that a subtest of the selftests' own loader is about.
fn own_program(test: &str) -> &str {
    let name = test.split_once('/').map_or(test, |(_, subtest)| subtest);
    name.strip_suffix(" @unpriv").unwrap_or(name)
}

/// `libbpf: prog 'X': failed to load: -22`; newer libbpf writes `-EINVAL`.
fn load_failure(text: &str) -> Option<(&str, &str)> {
    let (program, code) = text.strip_prefix("libbpf: prog '")?.split_once("': failed to load: ")?;
    Some((program, code))
}

/// How the verifier's log ends whatever it says.
fn is_statistics(text: &str) -> bool {
    text.starts_with("processed ") && text.contains(" insns ")
        || text.starts_with("verification time ")
        || text.starts_with("stack depth ")
        || text.starts_with("mark_precise:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &str) -> Talk {
        let mut talk = Talk::new(1 << 16);
        lines.lines().for_each(|line| talk.heard(line));
        talk
    }

    const REFUSED: &str = "\
libbpf: prog 'other': BPF program load failed: Permission denied
libbpf: prog 'other': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
__x64_sys_nanosleep is not sleepable
processed 0 insns (limit 1000000) max_states_per_insn 0
-- END PROG LOAD LOG --
libbpf: prog 'other': failed to load: -13
libbpf: failed to load object 'dynptr_success'
verify_success:FAIL:dynptr_success__load unexpected error: -13 (errno 13)";

    #[test]
    fn the_program_that_did_not_load_is_named_with_the_verifiers_words() {
        let talk = after(REFUSED);
        assert_eq!(
            talk.failure("dynptr/test_x"),
            "prog 'other' failed to load, which is not this test's own: -13: __x64_sys_nanosleep is not sleepable; \
             verify_success:FAIL:dynptr_success__load unexpected error: -13 (errno 13)"
        );
        assert_eq!(talk.blocked_by("dynptr/test_x").unwrap().program, "other");
        assert_eq!(talk.blocked_by("dynptr/other"), None);
        assert_eq!(talk.blocked_by("dynptr/other @unpriv"), None);
        assert!(talk.failure("dynptr/other").starts_with("prog 'other' failed to load: -13: __x64"));
    }

    #[test]
    fn a_refusal_with_other_words_is_about_the_words() {
        let talk = after(
            "VERIFIER LOG:\n=============\n0: (85) call x\nR1 is wrong\nprocessed 9 insns (limit 1)\n=============\n\
             libbpf: prog 'mine': failed to load: -22\n\
             EXPECTED   SUBSTR: 'R2 is wrong'\nvalidate_msgs:FAIL:expect_msg unexpected",
        );
        let message = talk.failure("dynptr/mine");
        assert_eq!(
            message,
            "validate_msgs:FAIL:expect_msg unexpected; EXPECTED   SUBSTR: 'R2 is wrong'; the verifier said: R1 is wrong"
        );
    }

    #[test]
    fn a_log_that_says_nothing_ends_all_the_same() {
        let talk =
            after("VERIFIER LOG:\n=============\nprocessed 2 insns (limit 1)\n=============\nx:FAIL:y z");
        assert_eq!(talk.failure("a/b"), "x:FAIL:y z");
        let open = after("VERIFIER LOG:\n=============\nR1 is wrong\nx:FAIL:y z");
        assert_eq!(open.failure("a/b"), "x:FAIL:y z; the verifier said: R1 is wrong");
    }

    #[test]
    fn failures_without_words_and_skips() {
        assert_eq!(after("").failure("a/b"), "failed, and nothing was said about it");
        assert_eq!(after("oh\n\n").failure("a/b"), "oh");
        assert_eq!(after("x\ntest_x:SKIP:no veth here\ny").skip(), "no veth here");
        assert_eq!(after("").skip(), "skipped, and no reason given");
    }
}
