//! The kernel's log beside the console. The console is where everything is seen first and a dying kernel speaks last; the
//! log that init reads has what a busy serial line lost.

use kvet_wire::MAX_KERNEL_LOG;

use super::*;
use crate::parse::kmsg::Records;

/// What init read of the kernel's log.
pub(super) struct KernelLog {
    records: Records,
    scanner: Scanner,
    splats: Vec<Splat>,
    taken: usize,
    file: Option<Box<dyn Write + 'static>>,
}

impl KernelLog {
    pub(super) fn new(scanner: Scanner) -> Self {
        Self { records: Records::default(), scanner, splats: Vec::new(), taken: 0, file: None }
    }

    pub(super) fn keep(&mut self, file: Box<dyn Write>) {
        self.file = Some(file);
    }
}

impl Watch<'_> {
    pub(super) fn on_kernel_log(&mut self, bytes: &[u8]) {
        let log = &mut self.kernel_log;
        let bytes = &bytes[..bytes.len().min(MAX_KERNEL_LOG - log.taken)];
        log.taken += bytes.len();
        let mut text = String::new();
        for line in log.records.push(bytes) {
            log.splats.extend(log.scanner.line(&line));
            text.push_str(&line);
            text.push('\n');
        }
        if let Some(file) = &mut log.file
            && let Err(error) = file.write_all(text.as_bytes())
        {
            log.file = None;
            self.note(format!("kmsg.log is incomplete: {error}"));
        }
        if self.kernel_log.taken == MAX_KERNEL_LOG && !bytes.is_empty() {
            self.note(format!(
                "the kernel's log went past {} MiB; the rest is not kept",
                MAX_KERNEL_LOG >> 20
            ));
        }
    }

    /// Complaints that the console lost are added, each in its place.
    pub(super) fn fill_in(&mut self) {
        let log = &mut self.kernel_log;
        let mut splats = std::mem::take(&mut log.splats);
        splats.extend(log.scanner.flush());
        let lost = missing(splats, self.out.splats.iter().map(|(splat, _)| splat));
        if lost.is_empty() {
            return;
        }
        self.note(format!(
            "the console lost {} of the kernel's complaints; they are from kmsg.log",
            lost.len()
        ));
        self.on_splats(lost);
        if self.out.splats.iter().all(|(splat, _)| splat.at.is_some()) {
            self.out.splats.sort_by_key(|(splat, _)| splat.at);
        }
    }
}

/// Those of the log's splats that the console does not have. A splat is the same by its time, its kind and its title; where
/// the console's lines are damaged, by its time and kind.
fn missing<'a>(log: Vec<Splat>, console: impl Iterator<Item = &'a Splat>) -> Vec<Splat> {
    let mut seen: Vec<&Splat> = console.collect();
    let mut left = Vec::new();
    for splat in log {
        let same =
            |other: &&Splat| (&other.kind, &other.title, other.at) == (&splat.kind, &splat.title, splat.at);
        match seen.iter().position(same) {
            Some(at) => drop(seen.swap_remove(at)),
            None => left.push(splat),
        }
    }
    left.retain(|splat| {
        let damaged = seen.iter().position(|other| (&other.kind, other.at) == (&splat.kind, splat.at));
        damaged.map(|at| seen.swap_remove(at)).is_none()
    });
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_splat_is_not_counted_twice() {
        let splat = |seconds, title: &str| Splat {
            kind: "warn".into(),
            title: title.into(),
            text: String::new(),
            at: Some(Duration::from_secs(seconds)),
            fatal: false,
            allowed: None,
            test: None,
            during: None,
        };
        let log = || vec![splat(0, "a"), splat(0, "b"), splat(5, "c")];
        let titles = |console: &[Splat]| -> Vec<String> {
            missing(log(), console.iter()).into_iter().map(|splat| splat.title).collect()
        };
        assert_eq!(titles(&[]), ["a", "b", "c"]);
        assert_eq!(titles(&log()), [] as [&str; 0]);
        assert_eq!(titles(&[splat(0, "b"), splat(5, "c"), splat(9, "d")]), ["a"]);
        assert_eq!(titles(&[splat(0, "dam"), splat(5, "c"), splat(0, "b")]), [] as [&str; 0]);
        assert_eq!(titles(&[splat(4, "c")]), ["a", "b", "c"]);
    }
}
