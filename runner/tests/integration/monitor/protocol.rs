//! Guests that break the protocol.

use super::*;

#[test]
fn garbage_on_the_wire_ends_the_cell_and_says_what_it_was() {
    let table = [
        ("printf 'hello, wire' >&$wire", "no frame begins with bytes 68 65"),
        ("printf 'KV\\x01\\x00\\xff\\xff\\xff\\x7f' >&$wire", "frame of 2147483647 bytes"),
        ("printf 'KV\\x09\\x00\\x00\\x00\\x00\\x00' >&$wire", "unknown frame kind 9"),
        ("printf 'KV\\x01\\x07\\x00\\x00\\x00\\x00' >&$wire", "reserved header byte"),
        ("frame 1 $'{\"type\":\"be\\xff\\xfe\"}'", "bad payload"),
        ("frame 1 '{\"type\":\"explode\"}'", "explode"),
        ("control '{\"type\":\"beat\",\"boottime_us\":1,\"more\":2}'", "more"),
        ("frame 2 short", "output of 5 bytes"),
        ("frame 3 keys", "input frame"),
        ("frame 5 what", "unknown frame kind 5"),
        ("ready", "Ready was said twice"),
        (
            "control '{\"type\":\"job_done\",\"job\":7,\"boottime_us\":1,\"status\":{\"how\":\"exited\",\"code\":0}}'",
            "job 7 while job 1 runs",
        ),
    ];
    for (garbage, expected) in table {
        let p = scenario(&[FIRST_PASSED, SECOND_RUNS, garbage, "\nobey"]).play();
        p.assert_end("Crashed", expected);
        assert_eq!(p.cases(), ["one Pass", "two Error"], "{garbage}");
        assert!(p.wire.lines().last().unwrap().contains("violation"), "{garbage}: {}", p.wire);
    }
}

#[test]
fn nothing_is_taken_before_ready() {
    let table = [
        ("out 'ok 1 one'", "job 1, and none runs"),
        ("control '{\"type\":\"beat\",\"boottime_us\":1}'", "before Ready"),
        ("done_with '{\"how\":\"exited\",\"code\":0}'", "before Ready"),
        ("kmsg '6,1,0,-;early'", "before Ready"),
    ];
    for (early, expected) in table {
        let p = scenario(&["say booting\n", early, "\nobey"]).play();
        p.assert_end("Crashed", expected);
        assert!(p.cases().is_empty());
    }
}

#[test]
fn halves_at_the_end_are_kept_or_dropped_but_break_nothing() {
    let halves =
        "printf 'half a li' >&$console; printf 'KV\\x01\\x00\\x40\\x00\\x00\\x00{\"ty' >&$wire; exit 0";
    let p = scenario(&[FIRST_PASSED, SECOND_RUNS, halves]).play();
    p.assert_end("Crashed", "without a word");
    assert_eq!(p.console.last().unwrap(), "half a li");
    assert_eq!(p.cases(), ["one Pass", "two Error"]);
}

#[test]
fn hostile_bytes_on_the_console_come_out_as_text() {
    let bytes = "printf '\\x1b[2J\\x00\\xff\\xfe\\x07hello\\r\\n' >&$console\n";
    let p = scenario(&[FIRST_PASSED, bytes, "out 'ok 2 two'\n", LEAVE]).play();
    let line = p.console.iter().find(|line| line.contains("hello")).unwrap();
    assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    assert_eq!(p.watched.end, CellEnd::Completed);
}

#[test]
fn nonsense_on_qmp_is_passed_over() {
    let nonsense =
        "event 'no json'; event '{\"event\": 7}'; head -c 1000000 /dev/zero | tr '\\0' x >&$qmp; event ''\n";
    let p = scenario(&[FIRST_PASSED, nonsense, "out 'ok 2 two'\n", LEAVE]).play();
    assert_eq!((p.cases().len(), p.watched.end), (2, CellEnd::Completed));
}
