//! Guests that say too much.

use super::*;

/// Peak memory of this process in MiB (proc_pid_status(5)).
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_console_flood_is_cut_and_the_job_goes_on() {
    let flood = "head -c 80000000 /dev/zero | tr '\\0' f | fold -w 4000 >&$console\n";
    let p = scenario(&[FIRST_PASSED, flood, "out 'ok 2 two'\n", LEAVE]).play();
    assert_eq!((p.cases().len(), &p.watched.end), (2, &CellEnd::Completed));
    assert!(p.console_bytes <= 64 << 20, "{} bytes were passed on", p.console_bytes);
    p.assert_note("console went past 64 MiB");
    assert!(peak_mib() < 128, "{} MiB", peak_mib());
    eprintln!("flood: {:?}", p.wall);
}

#[test]
fn a_line_without_end_is_bounded() {
    let flood = "head -c 30000000 /dev/zero | tr '\\0' f >&$console; say\n";
    let p = scenario(&[FIRST_PASSED, flood, "out 'ok 2 two'\n", LEAVE]).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    assert!(p.console_bytes < 10_000, "{}", p.console_bytes);
    assert!(peak_mib() < 128, "{} MiB", peak_mib());
}

#[test]
fn a_flood_of_warnings_is_counted_not_kept() {
    let warnings = "for ((i = 0; i < 300; i++)); do warning \"$((5 + i)).000000\"; done; out 'ok 2 two'\n";
    let p = scenario(&[WARNING, FIRST_PASSED, SECOND_RUNS, warnings, LEAVE]).play();
    assert_eq!(p.watched.end, CellEnd::Completed);
    assert_eq!(p.watched.splats.len(), 100);
    p.assert_note("200 more");
}

#[test]
fn a_flood_on_stderr_of_qemu_is_cut() {
    let p =
        Scenario::new("head -c 20000000 /dev/zero | tr '\\0' e >&2; echo >&2; echo 'the end' >&2; exit 1")
            .play();
    p.assert_end("Infra", "exit status 1: the end");
    assert!(p.end().len() < 1000, "{}", p.end().len());
    assert!(p.watched.stillborn);
}

#[test]
fn a_guest_that_does_not_read_has_its_input_bounded() {
    let (vm, _dir) = Scenario::new("ready; sleep 30").start();
    let mut session = Session::new(vm, std::io::sink());
    session.run(job()).unwrap();
    let mut typed = 0usize;
    let error = loop {
        match session.type_into(&[b'x'; 4096]) {
            Ok(()) => typed += 4096,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("unread"), "{error}");
    assert!((16 << 20..20 << 20).contains(&typed), "{typed} bytes");
    session.vm().kill();
    session.end().unwrap();
}
