// SPDX-License-Identifier: GPL-2.0-only
//! The tables of tests and the BPF object that the build script embeds.

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// The linked BPF object, aligned as ELF wants it.
pub fn object() -> &'static [u8] {
    #[repr(C, align(16))]
    struct Aligned<T: ?Sized>(T);
    static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/suite.bpf.o")));
    &OBJECT.0
}

/// Line `line`, counted from 1, of a source by its name, or nothing where there is no such line.
pub fn source_line(source: &str, line: u32) -> &'static str {
    let text = SOURCES.iter().find(|(name, _)| *name == source).map_or("", |(_, text)| text);
    text.lines().nth((line as usize).wrapping_sub(1)).unwrap_or("").trim()
}

#[cfg(test)]
mod tests {
    use dynptr_spec::{Expectation, Has, Release, Run, Running, Test};

    use super::*;

    /// Releases with and without each change, and the ones that are really out there.
    const RELEASES: &[&str] = &[
        "5.10.223", "5.19", "6.0", "6.1", "6.1.192", "6.2", "6.3", "6.4", "6.5", "6.6.140", "6.8", "6.12",
        "6.12.7", "6.12.8", "6.12.107", "6.13", "6.15", "6.16.12", "6.17", "6.18.15", "6.19.14", "7.0.13",
        "7.1.13", "7.2", "7.2.6", "7.2.9", "7.2.12", "7.3", "7.4",
    ];

    fn all() -> impl Iterator<Item = &'static Test> {
        GROUPS.iter().flat_map(|group| group.tests)
    }

    #[test]
    fn every_rejection_has_exactly_one_expectation_on_every_release_that_runs_it() {
        for test in all() {
            let Run::Rejected(expectations) = test.run else { continue };
            for text in RELEASES {
                let release = Release::parse(text).unwrap_or_else(|| panic!("{text}"));
                let running = Running::from(release);
                if test.missing_in(running).is_none() {
                    let covers = |it: &&Expectation| it.covers(running);
                    let rows = expectations.iter().filter(covers).count();
                    let unsure = |it: &&Expectation| {
                        it.since.iter().chain(it.until).any(|point| point.of(running) == Has::Unknown)
                    };
                    let doubtful = expectations.iter().filter(covers).any(|it| unsure(&it));
                    assert!(rows == 1 || (rows == 2 && doubtful), "{} on {text}: {rows}", test.name);
                }
            }
        }
    }

    #[test]
    fn names_are_sorted_and_unique_and_fit_ktap() {
        for group in GROUPS {
            let names: Vec<_> = group.tests.iter().map(|test| test.name).collect();
            assert!(names.is_sorted_by(|a, b| a < b), "{}: {names:?}", group.name);
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(names.iter().all(|name| name.chars().all(plain)));
        }
    }

    #[test]
    fn every_test_needs_something_so_that_a_kernel_without_dynptrs_runs_none() {
        let old = Release::new(5, 10, 223);
        for test in all() {
            assert!(test.missing_in(old.into()).is_some(), "{}", test.name);
        }
    }

    #[test]
    fn the_newest_missing_feature_is_the_reason() {
        let test = all().find(|test| test.name == "test_skb_adjust").expect("in the table");
        let need = test.missing_in(Release::new(6, 1, 0).into()).expect("missing");
        assert_eq!(need.since.mainline, Release::new(6, 5, 0));
        assert!(test.missing_in(Release::new(6, 5, 0).into()).is_none());
    }

    #[test]
    fn finds_the_line_of_a_source() {
        assert_eq!(source_line("local", 1), "// SPDX-License-Identifier: GPL-2.0-only");
        assert_eq!(source_line("local", 0), "");
        assert_eq!(source_line("local", 1_000_000), "");
        assert_eq!(source_line("nowhere", 1), "");
    }
}
