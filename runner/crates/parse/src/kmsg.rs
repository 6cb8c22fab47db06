//! The kernel's log as init reads it from /dev/kmsg: records to lines as the console has them.

use crate::clean::LineSplitter;

/// Turns records (`6,339,5140900,-;text`) into lines (`[    5.140900] text`).
#[derive(Debug, Default)]
pub struct Records {
    unfinished: Vec<u8>,
    next: Option<u64>,
    lost: u64,
}

/// Longest record that is taken.
const MAX_RECORD: usize = 16 << 10;

impl Records {
    /// Takes the next bytes and gives the lines of the records they complete, cleaned.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_RECORD.saturating_sub(self.unfinished.len());
            self.unfinished.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let record = std::mem::take(&mut self.unfinished);
                lines.extend(self.record(&String::from_utf8_lossy(&record)).unwrap_or_default());
            }
        }
        lines
    }

    /// How many records the kernel had overwritten before init could read them.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// None: it is no record.
    fn record(&mut self, record: &str) -> Option<Vec<String>> {
        let (head, text) = record.trim_end_matches('\n').split_once(';')?;
        let mut fields = head.split(',');
        let (_priority, number, at) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?);
        let at: u64 = at.parse().ok()?;
        if let Some(next) = self.next.replace(u64::checked_add(number, 1)?) {
            self.lost = self.lost.saturating_add(number.saturating_sub(next));
        }
        let mut splitter = LineSplitter::default();
        let mut lines = splitter.push(&unescaped(text));
        lines.extend(splitter.finish());
        if lines.is_empty() {
            lines.push(String::new());
        }
        let (seconds, micros) = (at / 1_000_000, at % 1_000_000);
        Some(lines.into_iter().map(|line| format!("[{seconds:5}.{micros:06}] {line}")).collect())
    }
}

/// Undoes the kernel's escapes: `\x0a` for a newline, `\x5c` for a backslash.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let digits = rest.get(at + 2..at + 4);
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[at + 4..];
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = &rest[at + 2..];
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_console_lines() {
        let mut records = Records::default();
        assert_eq!(
            records.push(b"6,339,5140900,-;NET: up\n4,340,123456789012,-,caller=T1;a; b"),
            ["[    5.140900] NET: up"]
        );
        assert_eq!(records.push(b",c\n"), ["[123456.789012] a; b,c"]);
        assert_eq!(
            records.push(b"3,341,0,-;one\\x0a two \\x5c \\xc3\\xbc \\x1b[2J\n"),
            ["[    0.000000] one", "[    0.000000]  two \\ ü "]
        );
        assert_eq!(records.push(b"6,342,1,-;\n"), ["[    0.000001] "]);
        assert_eq!(records.lost(), 0);
        records.push(b"6,350,2,-;later\n");
        assert_eq!(records.lost(), 7);
    }

    #[test]
    fn what_is_no_record_is_left_out() {
        let mut records = Records::default();
        for bytes in [&b"\n"[..], b"text\n", b"6,x,1,-;a\n", b"6,1,-;a\n", b" KEY=value\n", b"\xff\xfe\n"] {
            assert_eq!(records.push(bytes), [] as [&str; 0]);
        }
        assert_eq!(records.push(b"6,18446744073709551615,1,-;a\n"), [] as [&str; 0]);
        let mut flood = vec![b'x'; 1 << 20];
        flood.extend_from_slice(b"\n6,1,1000000,-;after\n");
        assert_eq!(records.push(&flood), ["[    1.000000] after"]);
    }

    #[test]
    fn odd_escapes_stay() {
        assert_eq!(unescaped("a\\xzz \\x4"), b"a\\xzz \\x4");
        assert_eq!(unescaped("\\x\u{fc}\u{fc}"), "\\xüü".as_bytes());
    }
}
