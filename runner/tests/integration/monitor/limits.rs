//! What takes too long.

use super::*;

/// In the background: init's sign of life.
const BEATS: &str = "while sleep 0.3; do control '{\"type\":\"beat\",\"boottime_us\":1}'; done &\n";

#[test]
fn a_kernel_that_does_not_come_up_is_unbootable() {
    let p =
        Scenario::new("say '[    0.000000] Linux version 6.6.6'; obey").limits(|l| l.boot = ms(500)).play();
    p.assert_end("Unbootable", "not up after 0.5 s");
    p.assert_end("Unbootable", "Linux version 6.6.6");
    assert!(p.wall < ms(5000), "{:?}", p.wall);
}

#[test]
fn a_test_that_hangs_is_dumped_then_killed() {
    let hang = r#"
        hear; [[ $heard == *dump* ]] || exit 8
        say "[    4.900000] sysrq: Show Blocked State"
        hear; [[ $heard == *kill* ]] || exit 7
        done_with '{"how":"signaled","signal":9}'; hear; bye; obey
    "#;
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, BEATS, hang]).limits(|l| l.test = ms(1000)).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
    assert!(p.watched.cases[1].message.contains("two ran longer than 1 s"), "{:?}", p.watched.cases[1]);
    assert_eq!(p.watched.cases[1].cause, Some(Cause::TimeOut));
    let ran = p.watched.cases[1].duration.unwrap();
    assert!(ran >= ms(1000) && ran < p.wall, "{ran:?} of {:?}", p.wall);
    assert!(p.console.iter().any(|line| line.contains("Blocked State")));
}

#[test]
fn a_job_that_cannot_be_killed_is_given_up() {
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, BEATS, "obey"]).limits(|l| l.test = ms(500)).play();
    p.assert_end("TimedOut", "two ran longer than 0.5 s, and could not be killed");
    assert_eq!(p.watched.cases[1].cause, Some(Cause::TimeOut));
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
}

#[test]
fn a_cell_has_its_limit_though_no_test_hangs() {
    let busy = r##"
        for ((i = 0; i < 40; i++)); do out '# still here'; out "ok $((i + 2)) more$i"; sleep 0.1; done
        hear; hear; [[ $heard == *kill* ]] || exit 7
        done_with '{"how":"signaled","signal":9}'; hear; bye; obey
    "##;
    let p = scenario(&[FIRST_PASSED, busy]).limits(|l| l.cell = ms(1500)).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    let last = p.watched.cases.last().unwrap();
    assert!(last.message.contains("the cell took longer than 1.5 s"), "{last:?}");
}

#[test]
fn a_guest_without_a_sign_of_life_gets_an_nmi_and_is_given_up() {
    let deaf = r#"while read -r line <&$qmp; do
        case $line in
        *inject-nmi*) say "[    9.000000] NMI backtrace for cpu 0" ;;
        *quit*) exit 0 ;;
        esac
    done"#;
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, deaf]).limits(|l| l.silence = ms(5200)).play();
    p.assert_end("TimedOut", "no sign of life for 5.2 s");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
    assert!(p.console.iter().any(|line| line.contains("NMI backtrace")), "{:?}", p.console);
}
