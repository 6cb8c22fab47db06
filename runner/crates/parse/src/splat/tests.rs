use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::report::MAX_BYTES;
use super::*;
use crate::clean::LineSplitter;

fn shipped() -> std::sync::Arc<Patterns> {
    Patterns::load("../../../configs/splats.yaml".as_ref()).unwrap()
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/console")
}

fn scanner() -> Scanner {
    Scanner::new(shipped(), Allowlist::load("../../../configs/SPLAT_ALLOWLIST".as_ref()).unwrap())
}

/// Feeds bytes as a serial line would deliver them.
fn scan(bytes: &[u8]) -> Vec<Splat> {
    let mut scanner = scanner();
    let mut splitter = LineSplitter::default();
    let mut lines = splitter.push(bytes);
    lines.extend(splitter.finish());
    let mut splats: Vec<Splat> = lines.iter().flat_map(|l| scanner.line(l)).collect();
    splats.extend(scanner.flush());
    assert_eq!(scanner.pending(), None);
    splats
}

fn scan_text(text: &str) -> Vec<Splat> {
    scan(text.as_bytes())
}

/// What the stack traces are about that belong to no report.
fn unknown(bytes: &[u8]) -> Vec<String> {
    let mut scanner = scanner();
    LineSplitter::default().push(bytes).iter().for_each(|line| drop(scanner.line(line)));
    scanner.unknown()
}

/// Every saved log, and what has to be found in it. After a change that is meant, run the test with KVET_BLESS=1
/// and read the difference.
#[test]
fn saved_logs() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(data())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    files.sort();
    assert!(files.len() > 40, "the logs are there");
    let mut got = String::new();
    for file in files {
        writeln!(got, "{}", file.file_name().unwrap().to_string_lossy()).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(
            unknown(&bytes),
            [] as [&str; 0],
            "{}: every stack trace belongs to a report",
            file.display()
        );
        for s in scan(&bytes) {
            let last = strip_prefix(s.text.lines().last().unwrap()).1;
            let fatal = if s.fatal { ", fatal" } else { "" };
            let lines = s.text.lines().count();
            writeln!(got, "  {}{fatal}: {}\n    {lines} lines, the last: {}", s.kind, s.title, last.trim())
                .unwrap();
        }
    }
    let expected = data().join("expected.txt");
    if std::env::var_os("KVET_BLESS").is_some() {
        std::fs::write(&expected, &got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(&expected).unwrap());
}

#[test]
fn the_shipped_tables_are_valid_and_their_examples_match() {
    let kinds = shipped();
    for kind in [
        "panic",
        "oops",
        "bug",
        "warn",
        "kasan",
        "lockdep",
        "rcu_stall",
        "soft_lockup",
        "hung_task",
        "oom_kill",
    ] {
        assert!(kinds.kinds().contains(&kind), "{kind}");
    }
    Allowlist::load("../../../configs/SPLAT_ALLOWLIST".as_ref()).unwrap();
}

#[test]
fn bad_tables_are_refused_with_the_place() {
    let table = |p: &str| Patterns::parse(&format!("patterns:\n  - {p}\ntail: []\nbody: []\n"), "my.yaml");
    let good = "{kind: x, start: '^a', about: words, example: abc}";
    assert!(table(good).is_ok());
    for (bad, says) in [
        ("{kind: x, start: '^a(', about: words, example: abc}", "'^a(' is no regular expression"),
        ("{kind: x, start: '^a', about: words, example: bcd}", "its example 'bcd' matches no pattern"),
        ("{kind: x, start: '^a', about: '', example: abc}", "'about' is empty"),
        ("{kind: x, start: '^a', about: words, example: abc, fatl: true}", "unknown field `fatl`"),
    ] {
        let e = table(bad).unwrap_err().to_string();
        assert!(e.contains("my.yaml") && e.contains(says), "{e}");
    }
}

#[test]
fn the_allow_list_needs_reasons_and_covers_by_line() {
    let list = "# comment\n\n^WARNING: lib/refcount.c:\\d+ at # driver x, reported as 1234\n";
    let log = "[    1.000000] ------------[ cut here ]------------\n[    1.000001] WARNING: lib/refcount.c:25 at f+0x1/0x2\n[    1.000002] ---[ end trace 0 ]---\n";
    let run = |tail: &str| {
        let mut s = Scanner::new(shipped(), Allowlist::parse(list, "l").unwrap());
        let mut out: Vec<Splat> = log.lines().chain(tail.lines()).flat_map(|l| s.line(l)).collect();
        out.extend(s.flush());
        out.remove(0)
    };
    assert_eq!(run("").allowed.as_deref(), Some("driver x, reported as 1234"));
    let panicked = run("[    1.000003] Kernel panic - not syncing: panic_on_warn set");
    assert_eq!((panicked.fatal, panicked.allowed), (true, None), "a panic is never covered");
    for (bad, says) in [
        ("abc", "l:1: 'abc' gives no reason"),
        ("abc # ", "gives no reason"),
        ("a( # r", "l:1: '(?m)a(' is no regular expression"),
        (".* # all", "would cover every splat"),
    ] {
        let e = Allowlist::parse(bad, "l").unwrap_err().to_string();
        assert!(e.contains(says), "{e}");
    }
}

#[test]
fn prefixes() {
    let t = |s, us| Some(Duration::from_secs(s) + Duration::from_micros(us));
    for (line, at, text) in [
        ("[    2.125610] Kernel panic", t(2, 125_610), "Kernel panic"),
        ("[    2.125610][  T123] a", t(2, 125_610), "a"),
        ("[    2.125610] [    C0]  indented", t(2, 125_610), " indented"),
        ("<4>[12345.000001] a", t(12345, 1), "a"),
        ("[    2.125610] [  pid  ]   uid", t(2, 125_610), "[  pid  ]   uid"),
        ("[    2.125610]", t(2, 125_610), ""),
        ("no prefix", None, "no prefix"),
        ("[ OK ] Started", None, "[ OK ] Started"),
        ("[99999999999.000000] x", None, "[99999999999.000000] x"),
        ("<x>[    1.000000] y", None, "<x>[    1.000000] y"),
    ] {
        assert_eq!(strip_prefix(line), (at, text), "{line}");
    }
}

#[test]
fn a_report_is_given_as_soon_as_it_is_certain() {
    let mut s = scanner();
    assert!(s.line("[    1.000000] WARNING: a.c:1 at f+0x1/0x2, CPU#0: x/1").is_empty());
    assert!(s.line("[    1.000001] ---[ end trace 0000000000000000 ]---").is_empty());
    assert_eq!(
        s.pending().map(|p| (p.kind, p.fatal)),
        Some((Some("warn"), false)),
        "a panic may still follow"
    );
    let splats = s.line("[    1.200000] the next thing");
    assert_eq!(splats.len(), 1, "but not that late");
    assert_eq!(splats[0].at, Some(Duration::from_secs(1)));
    assert_eq!(s.pending(), None);
}

#[test]
fn user_space_does_not_look_like_a_kernel_in_trouble() {
    let quiet = "\
[    1.000000] traps: sh[60] general protection fault ip:401000 sp:7ffe0000 error:0 in sh[400000+1000]
[    1.000001] sh[61]: segfault at 0 ip 0000000000401000 sp 00007ffe error 6 in sh[400000+1000]
[    1.000002] debug: this is a BUG: report, said nobody
[    1.000003] x: Kernel panic - not syncing, he joked
Segmentation fault
";
    assert_eq!(scan_text(quiet), []);
}

#[test]
fn floods_and_endless_reports_are_bounded() {
    let mut s = scanner();
    let mut splats = Vec::new();
    for i in 0..1000 {
        splats.extend(s.line(&format!("[{:5}.000000] WARNING: a.c:1 at f+0x1/0x2, CPU#0: x/1", 2 * i + 1)));
    }
    splats.extend(s.flush());
    assert_eq!((splats.len(), s.suppressed()), (MAX_SPLATS, 900));
    splats.clear();
    s.line("[ 3000.000000] Kernel panic - not syncing: endless");
    for _ in 0..100_000 {
        splats.extend(s.line("[ 3000.000000]  more of it"));
    }
    splats.extend(s.flush());
    assert_eq!(splats.len(), 1, "a fatal one is always given");
    assert!(splats[0].text.len() < MAX_BYTES + 100);
}

#[test]
fn hostile_lines_never_panic() {
    let pieces = [
        "[",
        "]",
        "    1.000000",
        "<4>",
        "T1",
        " ",
        "BUG: ",
        "Call Trace:",
        "------------[ cut here ]------------",
        "====================",
        "---[ end trace",
        "Kernel panic - not syncing",
        "Linux version 1",
        "é",
    ];
    let mut x: u64 = 88_172_645_463_325_252;
    let mut s = scanner();
    for _ in 0..20_000 {
        let mut line = String::new();
        for _ in 0..4 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            line.push_str(pieces[(x >> 16) as usize % pieces.len()]);
        }
        s.line(&line);
    }
    s.flush();
}

#[test]
fn a_stamp_splits_an_unfinished_line() {
    for (line, parts) in [
        ("progress: 40%[   12.345678] BUG: x", vec!["progress: 40%", "[   12.345678] BUG: x"]),
        ("[    1.000001] a[    2.000002][    T1] b", vec!["[    1.000001] a", "[    2.000002][    T1] b"]),
        ("<4>[    1.000001][    C0] a", vec!["<4>[    1.000001][    C0] a"]),
        ("[    1.000001] at [1.5] and [x]", vec!["[    1.000001] at [1.5] and [x]"]),
        ("", vec![""]),
        ("[[[[", vec!["[[[["]),
    ] {
        assert_eq!(at_stamps(line), parts, "{line}");
    }
}

/// Kind and title of what is found in lines that come two seconds apart.
fn kinds_of(lines: &[&str]) -> Vec<String> {
    let mut s = scanner();
    let mut splats = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        splats.extend(s.line(&format!("[{:5}.000000] {line}", 10 + 2 * number)));
    }
    splats.extend(s.flush());
    splats.into_iter().map(|splat| splat.kind).collect()
}

#[test]
fn complaints_in_one_line_are_known() {
    for (line, kind) in [
        ("unregister_netdevice: waiting for veth0 to become free. Usage count = 2", "netdev_leak"),
        ("ref_tracker: veth0@00000000c0ffee00 has 1/1 users at", "ref_tracker"),
        ("ref_tracker: leaked reference.", "ref_tracker"),
        ("irq 11: nobody cared (try booting with the \"irqpoll\" option)", "unhandled_irq"),
        ("irq event 9: bogus return value 7", "unhandled_irq"),
        ("swapper/0: page allocation failure: order:0, mode:0x820(GFP_ATOMIC)", "alloc_failure"),
        ("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", "kmemleak"),
        ("unreferenced object 0xffff88810a4c2e00 (size 256):", "kmemleak"),
        ("ODEBUG: object 00000000a1b2c3d4 is on stack 00000000a1b20000, but NOT annotated.", "debugobjects"),
        ("UBSAN: array index out of bounds at demo+0x1/0x2", "ubsan"),
        ("WARNING: possible recursive locking detected", "lockdep"),
        ("BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 42s!", "workqueue_lockup"),
        ("BUG: scheduling while atomic: demo/84/0x00000003", "atomic_sleep"),
        ("BUG: KFENCE: use-after-free read in demo+0x1/0x2", "kfence"),
        ("rust_kernel: panicked at drivers/demo/demo.rs:12:5:", "rust_panic"),
        ("panicked at 'no room', rust/kernel/demo.rs:12:5", "rust_panic"),
        ("page_pool_release_retry() stalled pool shutdown: id 7, 1 inflight 60 sec", "page_pool_leak"),
        ("VFS: Busy inodes after unmount of loop0 (ext4)", "busy_inodes"),
        ("Unhandled 64-bit el1h sync exception on CPU0, ESR 0x0000000002000000", "oops"),
        ("kobject_add_internal failed", ""),
        ("kmemleak: Kernel memory leak detector initialized (mem pool available: 15700)", ""),
        ("ODEBUG: selftest passed", ""),
        ("ODEBUG: Out of memory. ODEBUG disabled", ""),
        ("unregister_netdevice: all is well", ""),
    ] {
        let expected: Vec<&str> = if kind.is_empty() { vec![] } else { vec![kind] };
        assert_eq!(kinds_of(&[line]), expected, "{line}");
    }
}

#[test]
fn a_cgroup_at_its_limit_is_no_guest_without_memory() {
    let log = |constraint: &str, end: &str| {
        format!(
            "[   10.000000] awk invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
[   10.000100] Call Trace:
[   10.000200]  dump_header+0x4a/0x210
[   10.000300] oom-kill:constraint={constraint},nodemask=(null),cpuset=/,mems_allowed=0,task=awk,pid=91,uid=0
[   10.000400] {end}: Killed process 91 (awk) total-vm:24520kB
[   10.600000] the next thing
"
        )
    };
    for (constraint, end, kind) in [
        ("CONSTRAINT_MEMCG", "Memory cgroup out of memory", "memcg_oom"),
        ("CONSTRAINT_NONE", "Out of memory", "oom_kill"),
        ("CONSTRAINT_NONE", "Out of memory (oom_kill_allocating_task)", "oom_kill"),
    ] {
        let splats = scan_text(&log(constraint, end));
        assert_eq!(splats.len(), 1, "{splats:?}");
        assert_eq!(splats[0].kind, kind);
        assert!(splats[0].title.starts_with("awk invoked") && splats[0].text.ends_with("24520kB"));
    }
}

#[test]
fn a_quoted_banner_is_no_restart() {
    let first = "[    0.000000] Linux version 7.2.12\n[    1.000000] up\n[    5.000000] working\n";
    let banner = "Linux version 7.2.12 (somebody)";
    for quoted in [
        format!("[    6.000000] {banner}\n[    7.000000] on\n"),
        format!("{banner}\n[    7.000000] on\n"),
        // A forged stamp: the clock of what follows goes on.
        format!("[    0.000000] {banner}\n[    7.000000] on\n"),
        format!("[    0.000000] {banner}\n[    0.000000] a\n[    0.000000] b\n[    7.000000] on\n"),
        format!("[    0.000000] {banner}\n"),
    ] {
        assert_eq!(scan_text(&format!("{first}{quoted}")), [], "{quoted}");
    }
    let again = "[    0.000000] a\n[    0.000000] b\n[    0.100000] c\n";
    let splats = scan_text(&format!("{first}[    0.000000] {banner}\n{again}"));
    assert_eq!(splats.iter().map(|s| (s.kind.as_str(), s.fatal)).collect::<Vec<_>>(), [("reboot", true)]);
}

#[test]
fn a_banner_before_the_end_is_a_restart() {
    let mut s = scanner();
    for line in ["[    0.000000] Linux version 1", "[    5.000000] up", "[    0.000000] Linux version 1"] {
        assert_eq!(s.line(line), []);
    }
    assert_eq!(s.gone().len(), 1);
    assert_eq!(s.gone(), []);
}

#[test]
fn a_stack_trace_of_no_kind_is_told() {
    let told = |log: &str| {
        let mut s = scanner();
        let splats: Vec<Splat> = log.lines().flat_map(|line| s.line(line)).collect();
        assert_eq!(splats, []);
        s.unknown()
    };
    let trace = "[   10.000100] CPU: 0 PID: 7 Comm: demo Not tainted\n[   10.000150] Hardware name: QEMU\n\
                 [   10.000200] Call Trace:\n[   10.000300]  <TASK>\n[   10.000400]  demo+0x1/0x2\n";
    assert_eq!(told(&format!("[   10.000000] demo: what is this\n{trace}")), ["demo: what is this"]);
    assert_eq!(told(&format!("[    2.000000] long ago\n{trace}")), ["Call Trace:"]);
    assert_eq!(told(&format!("[    9.500000] sysrq: Show Blocked State\n{trace}")), [] as [&str; 0]);
    let mut s = scanner();
    for _ in 0..1000 {
        s.line("[   10.000200] Call trace:");
    }
    assert_eq!((s.unknown().len(), s.untold()), (10, 990));
}

#[test]
fn an_allowed_report_swallows_no_other() {
    let list = "^unregister_netdevice: # a known leak\n";
    let mut s = Scanner::new(shipped(), Allowlist::parse(list, "l").unwrap());
    let log = "[   10.000000] unregister_netdevice: waiting for veth0 to become free. Usage count = 2
[   10.000500] BUG: KASAN: slab-use-after-free in f+0x1/0x2
[   10.000600] BUG: sleeping function called from invalid context at a.c:1
";
    let mut splats: Vec<Splat> = log.lines().flat_map(|line| s.line(line)).collect();
    splats.extend(s.flush());
    let kinds: Vec<(&str, bool)> = splats.iter().map(|s| (s.kind.as_str(), s.allowed.is_some())).collect();
    assert_eq!(kinds, [("netdev_leak", true), ("kasan", false), ("atomic_sleep", false)]);
}

#[test]
fn what_a_suite_provokes_takes_no_room() {
    let provoked = Regex::new("^WARNING: mine").unwrap();
    let mut s = scanner().provoking([provoked].into_iter());
    let mut splats = Vec::new();
    for i in 0..6000 {
        splats.extend(s.line(&format!("[{:5}.000000] WARNING: mine at f+0x1/0x2", 2 * i + 1)));
    }
    splats.extend(s.line("[20000.000000] WARNING: other at f+0x1/0x2"));
    splats.extend(s.flush());
    assert_eq!((s.suppressed(), s.suppressed_provoked(), splats.len()), (0, 1000, 5001));
    assert!(splats[5000].title.contains("other") && splats[4999].text == splats[4999].title);
    assert_eq!(s.suppressed_provoked(), 0, "it is told once");
}
