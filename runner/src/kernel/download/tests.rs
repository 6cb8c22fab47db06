use super::*;
use crate::kernel::testing::{Behaviour, Server};
use std::fs::OpenOptions;

struct Case {
    dir: tempfile::TempDir,
    server: Server,
    content: Vec<u8>,
}

fn case(behaviour: Behaviour) -> Case {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    std::fs::create_dir_all(dir.path().join("pool")).unwrap();
    std::fs::write(dir.path().join("pool/x.deb"), &content).unwrap();
    let server = Server::start(dir.path(), behaviour);
    Case { dir, server, content }
}

impl Case {
    fn fetch(&self, before: &[u8]) -> (std::result::Result<(), Trouble>, Vec<u8>, Vec<Progress>) {
        let path = self.dir.path().join("part");
        std::fs::write(&path, before).unwrap();
        let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let sha256 = Sha256Hex::of(&self.content);
        let expected = Expected { what: "x.deb", size: self.content.len() as u64, sha256: &sha256 };
        let fetcher = Fetcher::impatient(Duration::from_millis(300));
        let mut seen = Vec::new();
        let base = Base::parse(&self.server.url()).unwrap();
        let mut progress = |p| seen.push(p);
        let done = fetcher.file(
            &base,
            "pool/x.deb",
            &mut file,
            &path,
            expected,
            &mut progress,
            &Cancel::new().unwrap(),
        );
        (done, std::fs::read(&path).unwrap(), seen)
    }
}

#[test]
fn a_whole_file_with_progress_to_the_end() {
    let case = case(Behaviour::default());
    let (done, got, seen) = case.fetch(b"");
    done.unwrap();
    assert_eq!(got, case.content);
    let total = case.content.len() as u64;
    let last = Progress::Bytes { what: "downloading x.deb".into(), done: total, total };
    assert_eq!(seen.last(), Some(&last));
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let case = case(Behaviour::default());
    let (done, got, _) = case.fetch(&case.content[..100_000]);
    done.unwrap();
    assert_eq!(got, case.content);
    assert_eq!(case.server.ranges(), [Some(100_000)]);
}

#[test]
fn a_server_that_cannot_resume_sends_it_all_again() {
    let case = case(Behaviour { no_ranges: true, ..Default::default() });
    let (done, got, _) = case.fetch(&case.content[..100_000]);
    done.unwrap();
    assert_eq!(got, case.content);
}

#[test]
fn a_wrong_beginning_costs_a_second_download_and_no_more() {
    let case = case(Behaviour::default());
    let (done, got, _) = case.fetch(&[7; 1000]);
    done.unwrap();
    assert_eq!(got, case.content);
    assert_eq!(case.server.ranges(), [Some(1000), None]);
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_stopped() {
    let case = case(Behaviour { cut_at: Some(120_000), cuts: 2, ..Default::default() });
    let (done, got, _) = case.fetch(b"");
    done.unwrap();
    assert_eq!(got, case.content);
    assert!(case.server.ranges().len() == 3, "{:?}", case.server.ranges());
}

#[test]
fn one_that_always_breaks_off_is_given_up_and_kept_for_later() {
    let case = case(Behaviour { cut_at: Some(0), cuts: usize::MAX, ..Default::default() });
    let (done, got, _) = case.fetch(&case.content[..5000]);
    let Err(Trouble::Away(error)) = done else { panic!("{done:?}") };
    assert!(error.to_string().contains("pool/x.deb"), "{error}");
    assert_eq!(got, case.content[..5000]);
}

#[test]
fn a_file_that_ends_too_early_for_the_index_is_not_accepted() {
    let case = case(Behaviour::default());
    std::fs::write(case.dir.path().join("pool/x.deb"), &case.content[..250_000]).unwrap();
    let (done, ..) = case.fetch(b"");
    let error = done.unwrap_err().into_error().to_string();
    assert!(error.contains("250000 of 300000") || error.contains("refuses to go on"), "{error}");
}

#[test]
fn changed_and_overlong_files_are_refused_and_deleted() {
    let case = case(Behaviour::default());
    let mut changed = case.content.clone();
    changed[299_999] ^= 1;
    std::fs::write(case.dir.path().join("pool/x.deb"), &changed).unwrap();
    let (done, got, _) = case.fetch(b"");
    let Err(Trouble::Fatal(error)) = done else { panic!("{done:?}") };
    let text = error.to_string();
    let (want, have) = (Sha256Hex::of(&case.content), Sha256Hex::of(&changed));
    assert!(text.contains(want.as_str()) && text.contains(have.as_str()) && text.contains("x.deb"), "{text}");
    assert!(got.is_empty());
    changed.push(0);
    std::fs::write(case.dir.path().join("pool/x.deb"), &changed).unwrap();
    let (done, got, _) = case.fetch(b"");
    assert!(done.unwrap_err().into_error().to_string().contains("longer than the 300000 bytes"));
    assert!(got.is_empty());
}

#[test]
fn a_stalled_transfer_is_tried_again_and_a_cancel_is_heard_at_once() {
    let case = case(Behaviour { stall_at: Some(100_000), cuts: 1, ..Default::default() });
    let (done, got, _) = case.fetch(b"");
    done.unwrap();
    assert_eq!(got, case.content);

    let server = Server::start(
        case.dir.path(),
        Behaviour { stall_at: Some(0), cuts: usize::MAX, ..Default::default() },
    );
    let cancel = Cancel::new().unwrap();
    let later = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        later.request();
    });
    let begun = Instant::now();
    let base = Base::parse(&server.url()).unwrap();
    let got = Fetcher::new(None).small(&base, "pool/x.deb", 1 << 20, &cancel);
    assert_eq!(got.unwrap_err().into_error().fault(), crate::error::Fault::Interrupted);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn small_files_are_bounded_and_missing_ones_are_missing() {
    let case = case(Behaviour::default());
    let fetcher = Fetcher::impatient(Duration::from_secs(1));
    for base in [Base::parse(&case.server.url()).unwrap(), Base::Dir(case.dir.path().into())] {
        let get = |path, max| fetcher.small(&base, path, max, &Cancel::new().unwrap());
        assert_eq!(get("pool/x.deb", 1 << 20).unwrap(), case.content);
        assert!(matches!(get("pool/x.deb", 299_999), Err(Trouble::Fatal(_))));
        assert!(matches!(get("pool/y.deb", 1 << 20), Err(Trouble::Missing(_))));
    }
    let nobody = Base::Http("http://127.0.0.1:1".into());
    assert!(matches!(fetcher.small(&nobody, "x", 1, &Cancel::new().unwrap()), Err(Trouble::Away(_))));
}

#[test]
fn odd_characters_are_escaped() {
    assert_eq!(escape("pool/a_1:2+b~c #?.deb"), "pool/a_1:2+b~c%20%23%3F.deb");
}
