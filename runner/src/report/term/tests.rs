use super::*;
use crate::event::{CellEnd, Flaky};
use crate::report::sample;

fn report(events: &[Event], options: Options) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut term = Term::plain(&mut out, &mut err, options);
    for event in events {
        term.event(event).unwrap();
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn plain_output_is_complete_and_has_no_escapes() {
    let (out, err) = report(&sample::events(), Options::default());
    let expected = "\
✓ dynptr_success/test_read_write  0.01s
✗ dynptr_success/test_clone  0.03s  expected 3, got 4
– dynptr_success/test_old  0.00s  needs 6.12, this is 6.1
✓ dynptr_success/test_known  0.00s  expected failure: known bug
✗ dynptr_fail/lost  0.09s  error: kernel panic: x
✗ kvet/splat  warn: WARNING: a.c:1 at f+0x1/0x2

failures:

  dynptr_success/test_clone debian:7.2 x86_64 dynptr
    expected 3, got 4
    │ esc [31m nul  cdata ]]> tag <a b=\"c\"> amp & \u{fffe}  ]]]]>>
    │ second line

  dynptr_fail/lost debian:7.2 x86_64 dynptr
    kernel panic: x
    │ the splat

  1 not run debian:7.2 x86_64 dynptr
    alone: not run: guest crashed

  kvet/splat debian:7.2 x86_64 dynptr
    warn: WARNING: a.c:1 at f+0x1/0x2
    │ WARNING: a.c:1 at f+0x1/0x2
    │ Call Trace:


debian:7.2 (7.2.12+deb13-amd64) x86_64 dynptr tcg · 1 passed, 1 failed, 1 skipped, 1 with an error, 1 not run, 1 failed as expected · fetch 0.0s boot 3.1s tests 0.8s
  tcg: the CPU has neither VT-x nor AMD-V
  note: KVM died early, TCG used
failed in 4.2s · results in results/20261120-101530
";
    assert_eq!(out, expected);
    let expected = "\
fetching the kernel…
downloading linux-binary: 2.0 MB
downloading linux-binary: 2.0 MB done
kernel 7.2.12+deb13-amd64 from linux-binary-7.2.12+deb13-amd64 7.2.12-1~bpo13+1 (trixie-backports)
booting…
running tests…
note: KVM died early, TCG used
kernel warn: WARNING: a.c:1 at f+0x1/0x2
ending…
";
    assert_eq!(err, expected);
}

#[test]
fn nothing_ran_is_no_pass() {
    let mut run = sample::run();
    let cell = &mut run.cells[0];
    cell.splats.clear();
    cell.cases.retain(|case| case.outcome == Outcome::Skip);
    for (style, said) in [
        (Style::Tests, "dynptr tcg · 0 passed, 0 failed, 1 skipped · nothing ran"),
        (Style::Cells, "– debian:7.2"),
    ] {
        let events = vec![
            sample::events().remove(0),
            Event::CellFinished { cell: 0, report: Box::new(run.cells[0].clone()) },
            Event::RunFinished { report: Box::new(run.clone()) },
        ];
        let (out, _) = report(&events, Options { style, ..Options::default() });
        assert!(out.contains(said) && out.contains("\nnothing ran in 4.2s · "), "{out}");
    }
}

#[test]
fn colours_only_where_wanted() {
    let (out, _) = report(&sample::events(), Options { color: true, ..Options::default() });
    assert!(out.contains("\x1b[32m✓\x1b[0m dynptr_success/test_read_write"), "{out}");
    assert!(
        !ColorChoice::Auto.is_on(false)
            && ColorChoice::Always.is_on(false)
            && !ColorChoice::Never.is_on(true)
    );
}

#[test]
fn verbose_shows_console_output_and_command() {
    let (_, err) = report(&sample::events(), Options { verbose: true, ..Options::default() });
    for part in [
        "console: [    0.000000] Linux version",
        "job: KTAP version 1",
        "qemu: qemu-system-x86_64",
        "accelerator tcg: the CPU",
    ] {
        assert!(err.contains(part), "{part} in {err}");
    }
}

#[test]
fn cells_are_told_apart_where_there_are_several() {
    let mut events = sample::events();
    if let Event::RunStarted { cells, .. } = &mut events[0] {
        let other = CellId { kernel: "debian:6.1".into(), ..cells[0].clone() };
        cells.push(other);
    }
    let (out, err) = report(&events, Options::default());
    assert!(out.starts_with("[debian:7.2 x86_64 dynptr] ✓ dynptr_success/test_read_write"), "{out}");
    assert!(err.starts_with("[debian:7.2 x86_64 dynptr] fetching"), "{err}");
}

#[test]
fn a_result_that_changed_after_the_fact_is_told_again() {
    let mut events = sample::events();
    for event in &mut events {
        if let Event::CellFinished { report, .. } = event {
            report.cases[0].outcome = Outcome::Error;
            report.cases[0].message = "warn: WARNING: a.c:1".into();
        }
    }
    let (out, _) = report(&events, Options::default());
    assert!(
        out.contains("\n✗ dynptr_success/test_read_write  0.01s  error: warn: WARNING: a.c:1\n"),
        "{out}"
    );
    assert_eq!(out.matches("test_clone  ").count(), 1, "what did not change is not: {out}");
}

#[test]
fn after_a_crash_the_end_of_the_console_is_shown() {
    let mut run = sample::run();
    run.cells[0].end = CellEnd::Crashed { reason: "kernel panic".into() };
    let mut events = vec![sample::events().remove(0)];
    for i in 0..100 {
        events.push(Event::ConsoleLine { cell: 0, line: format!("line {i}") });
    }
    events.push(Event::RunFinished { report: Box::new(run) });
    let (out, _) = report(&events, Options::default());
    assert!(out.contains("the end of the console") && out.contains("│ line 99"), "{out}");
    assert!(out.contains("console.log") && !out.contains("│ line 79\n"), "{out}");
    assert!(out.contains("· crashed: kernel panic ·"), "{out}");
}

#[test]
fn a_long_detail_keeps_its_beginning_and_its_end() {
    let mut events = sample::events();
    for event in &mut events {
        if let Event::RunFinished { report } = event {
            report.cells[0].cases[1].detail = (0..50).map(|i| format!("detail {i}\n")).collect();
        }
    }
    let (out, _) = report(&events, Options::default());
    assert!(out.contains("│ detail 9\n    │ … 30 lines\n    │ detail 40\n"), "{out}");
    assert!(out.contains("│ detail 0\n") && out.contains("│ detail 49\n"), "{out}");
}

#[test]
fn a_reader_that_went_away_stops_only_the_writing() {
    let mut term = Term::plain(sample::Gone, sample::Gone, Options { verbose: true, ..Options::default() });
    for event in sample::events() {
        term.event(&event).unwrap();
    }
}

/// A disk that is full: whatever is written fails with ENOSPC.
struct Full;

impl std::io::Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_terminal_is_told_once_and_no_error() {
    let mut err = Vec::new();
    let mut term = Term::plain(Full, &mut err, Options::default());
    for event in sample::events() {
        term.event(&event).unwrap();
    }
    let err = String::from_utf8(err).unwrap();
    assert_eq!(err.matches("note: cannot write to standard output: no storage space").count(), 1, "{err}");
    assert!(err.ends_with("ending…\n"), "the rest is told: {err}");
    let mut term = Term::plain(Full, Full, Options { verbose: true, ..Options::default() });
    for event in sample::events() {
        term.event(&event).unwrap();
    }
}

#[test]
fn what_a_program_prints_is_no_command_in_a_job() {
    let say =
        |stream, line: &str| Event::OutputLine { cell: 0, stream, at: Duration::ZERO, line: line.into() };
    let mut events = vec![sample::events().remove(0)];
    for line in ["::add-mask::passed", "##[group]x", "##vso[y]", "section_start:1:x"] {
        events.extend([say(Stream::Stdout, line), say(Stream::Stderr, line)]);
    }
    let shown = "\\::add-mask::passed\n##\\[group]x\n##vso\\[y]\nsection_start\\:1:x\n";
    let options = Options { style: Style::Program, ..Options::default() };
    let (out, err) = report(&events, Options { job: true, ..options });
    assert_eq!((out.as_str(), err.as_str()), (shown, shown));
    let (out, _) = report(&events, options);
    assert_eq!(out, shown.replace('\\', ""), "elsewhere it is what it is");
}

#[test]
fn of_a_flood_only_the_number_is_shown() {
    let mut run = sample::run();
    let case = |number: usize| sample::case(&format!("t{number}"), Outcome::Fail, 1, "no", "a\nb");
    run.cells[0].cases = (0..7000).map(case).collect();
    let mut events = vec![sample::events().remove(0)];
    for case in &run.cells[0].cases {
        events.push(Event::TestFinished { cell: 0, case: case.clone() });
    }
    events.push(Event::CellFinished { cell: 0, report: Box::new(run.cells[0].clone()) });
    events.push(Event::RunFinished { report: Box::new(run) });
    let options = Options { style: Style::Tests, ..Options::default() };
    let (out, _) = report(&events, options);
    assert_eq!(out.matches("✗ t").count(), 5000, "each has a line");
    assert!(
        out.contains("\n… 2000 more results, which are in the results folder\n"),
        "it says what is left out"
    );
    assert_eq!(out.matches("\n    │ a\n").count(), 500, "each has its text");
    assert!(
        out.contains("  6500 more failures debian:7.2 x86_64 dynptr\n    from t500 on; "),
        "of the others, too"
    );
}

#[test]
fn events_for_cells_that_do_not_exist_do_no_harm() {
    let mut events = sample::events();
    events.remove(0);
    let (out, _) = report(&events, Options::default());
    assert!(out.contains("test_read_write"), "{out}");
}

#[test]
fn a_matrix_shows_failures_cells_and_the_table() {
    let options = Options { style: Style::Cells, ..Options::default() };
    let (out, _) = report(&sample::events(), options);
    assert!(!out.contains("test_read_write  0.01s"), "a pass is no news: {out}");
    for part in [
        "✗ dynptr_success/test_clone  0.03s  expected 3, got 4\n",
        "✗ debian:7.2 x86_64 dynptr (7.2.12+deb13-amd64) · 1 passed, 1 failed",
        "\nfailures:\n",
        "  a  7.2.12  7.2.12+deb13-amd64  1 pass, 1 fail",
        "   F  dynptr_success/test_clone  always fails\n",
        "failed in 4.2s · results in results/20261120-101530\n",
    ] {
        assert!(out.contains(part), "{part} in {out}");
    }
}

#[test]
fn what_is_flaky_is_said_when_its_cell_is_finished() {
    let events: Vec<Event> = sample::events()
        .into_iter()
        .map(|event| match event {
            Event::CellFinished { cell, mut report } => {
                let case = &mut report.cases[1];
                (case.outcome, case.message) = (Outcome::Pass, "flaky: passed in run 2, before: x".into());
                let (test, message) = (case.name.clone(), "x".into());
                report.flaky.push(Flaky { test, run: 2, outcome: Outcome::Fail, message });
                Event::CellFinished { cell, report }
            }
            event => event,
        })
        .collect();
    let (out, _) = report(&events, Options { style: Style::Cells, ..Options::default() });
    assert!(out.contains("~ dynptr_success/test_clone  flaky: passed in run 2, before: x\n"), "{out}");
    assert!(out.contains(", 1 flaky · "), "{out}");
}

#[test]
fn a_log_has_the_time_and_folds_the_tests() {
    let options = Options {
        style: Style::Cells,
        clock: true,
        fold: Some(Fold::Github),
        job: true,
        ..Options::default()
    };
    let (out, err) = report(&sample::events(), options);
    assert!(out.starts_with("[ 0:00] ✗ dynptr_success/test_clone"), "{out}");
    assert!(err.starts_with("[ 0:00] fetching the kernel…"), "{err}");
    let begin = out.find("::group::[ 0:00] ✗ debian:7.2 x86_64 dynptr").expect(&out);
    let folded = out.find("✓ dynptr_success/test_read_write").expect(&out);
    let end = out.find("::endgroup::\n").expect(&out);
    assert!(begin < folded && folded < end, "{out}");
}
