//! What the verifier said while one test ran, out of the output of a whole job.

use super::line::Line;

/// Where a line of the output stands.
enum In {
    /// Outside of any log.
    Test,
    /// Behind `VERIFIER LOG:`, before the frame's first line.
    Title,
    /// In the frame of the selftests' own loader.
    Loader,
    /// In libbpf's.
    Libbpf,
}

/// The verifier's logs that stand before a test's result, back to the result before it. None if the test has no result there;
/// empty if test_progs printed no log: it does for programs that do not load, and for those of its own loader (`RUN_TESTS`).
pub fn verifier_said(output: &str, test: &str) -> Option<String> {
    let (mut said, mut at) = (String::new(), In::Test);
    for line in output.lines() {
        let (text, result) = match Line::glued(line) {
            Some((text, result)) => (text, result),
            None => ("", Line::parse(line)),
        };
        if let Line::Subtest { name, .. } | Line::Test { name, .. } = result {
            keep(text, &mut at, &mut said);
            if name == test {
                return Some(said);
            }
            (said, at) = (String::new(), In::Test);
        } else {
            keep(line, &mut at, &mut said);
        }
    }
    None
}

/// Adds a line, if it is part of a log.
fn keep(line: &str, at: &mut In, said: &mut String) {
    let text = line.trim_end();
    let frame = text.len() >= 8 && text.bytes().all(|b| b == b'=');
    *at = match at {
        In::Title if frame => In::Loader,
        In::Loader if frame => In::Test,
        In::Libbpf if text.ends_with("-- END PROG LOAD LOG --") => In::Test,
        In::Loader | In::Libbpf => {
            said.push_str(text);
            said.push('\n');
            return;
        }
        In::Test | In::Title if text == "VERIFIER LOG:" => In::Title,
        In::Test | In::Title if text.ends_with("-- BEGIN PROG LOAD LOG --") => In::Libbpf,
        In::Test | In::Title => In::Test,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_of_a_test_are_those_before_its_result() {
        let output = "VERIFIER LOG:\n=============\n0: (b7) r0 = 0\nprocessed 2 insns\n=============\n\
            #1/1     dynptr/a:OK\nx:PASS:y 0 nsec\n#1/2     dynptr/b:OK\n\
            libbpf: prog 'c': -- BEGIN PROG LOAD LOG --\n0: (85) call x\n==\n\
            libbpf: prog 'c': -- END PROG LOAD LOG --\nlibbpf: prog 'c': failed to load: -13\n\
            VERIFIER LOG:\n=============\nR1 is wrong\n=============\nhalf a line#1/3     dynptr/c:FAIL\n\
            #1       dynptr:FAIL\n";
        let said = |test| verifier_said(output, test);
        assert_eq!(said("dynptr/a").unwrap(), "0: (b7) r0 = 0\nprocessed 2 insns\n");
        assert_eq!(said("dynptr/b").unwrap(), "");
        assert_eq!(said("dynptr/c").unwrap(), "0: (85) call x\n==\nR1 is wrong\n");
        assert_eq!(said("dynptr").unwrap(), "");
        assert_eq!(said("dynptr/d"), None);
    }

    #[test]
    fn so_it_is_in_real_output() {
        let output = include_str!("../../../../tests/data/test_progs/7.2-v.txt");
        let said = verifier_said(output, "cgroup_xattr/use_css_iter_sleepable_missing_rcu_lock").unwrap();
        assert!(
            said.starts_with("kernel func bpf_iter_css_new requires RCU") && said.lines().count() == 2,
            "{said}"
        );
    }
}
