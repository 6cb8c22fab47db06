//! The table in the dynptr suite's docs/COUNTS.md is what its kernels give.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::Kvet;

#[test]
#[ignore = "eighteen kernels: some three minutes"]
fn no_dynptr_test_fails_on_the_kernels_of_the_table_and_its_counts_are_true() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../selftests/dynptr").canonicalize().unwrap();
    let matrix = suite.join("counts.yaml");
    let ended = Kvet::new(["matrix", matrix.to_str().unwrap()]).end().code(0);
    let script = Command::new("sh")
        .arg(suite.join("counts.sh"))
        .arg(ended.path("results/latest"))
        .output()
        .expect("a shell");
    assert!(script.status.success(), "counts.sh: {}", String::from_utf8_lossy(&script.stderr));
    let counted = String::from_utf8(script.stdout).unwrap();
    let page = std::fs::read_to_string(suite.join("docs/COUNTS.md")).unwrap();
    let written = table(&page, counted.lines().next().expect("a heading"));
    let difference = difference(&written, &counted.lines().collect::<Vec<_>>());
    assert!(
        difference.is_empty(),
        "selftests/dynptr/docs/COUNTS.md has another table of counts than these kernels give:\n{difference}\n\
         the whole table:\n{counted}"
    );
}

/// The lines of the table that has this heading.
fn table<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    text.lines().skip_while(|line| *line != heading).take_while(|line| line.starts_with('|')).collect()
}

/// What only one of them has, and what stands elsewhere, a line each.
fn difference(written: &[&str], counted: &[&str]) -> String {
    let only = |mark: &str, these: &[&str], those: &[&str]| {
        let those: BTreeSet<&str> = those.iter().copied().collect();
        let only = these.iter().filter(|line| !those.contains(**line));
        only.map(|line| format!("{mark} {line}\n")).collect::<String>()
    };
    let lines = only("- written:", written, counted) + &only("+ counted:", counted, written);
    if lines.is_empty() && written != counted { "the lines are in another order\n".into() } else { lines }
}

#[test]
fn a_difference_of_tables_names_the_lines_of_each() {
    let page = "text\n| Kernel |\n| --- |\n| 6.1 | 2 |\n| 6.12 | 3 |\n\n| 7.2 | 9 |\n";
    let written = table(page, "| Kernel |");
    assert_eq!(written, ["| Kernel |", "| --- |", "| 6.1 | 2 |", "| 6.12 | 3 |"]);
    assert_eq!(difference(&written, &written), "");
    let counted = ["| Kernel |", "| --- |", "| 6.1 | 1 |", "| 6.12 | 3 |"];
    assert_eq!(difference(&written, &counted), "- written: | 6.1 | 2 |\n+ counted: | 6.1 | 1 |\n");
    assert_eq!(difference(&[], &["| 6.1 | 1 |"]), "+ counted: | 6.1 | 1 |\n");
    assert_eq!(difference(&["a", "b"], &["b", "a"]), "the lines are in another order\n");
}
