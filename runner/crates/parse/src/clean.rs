//! Bytes from a guest to clean lines of text.
//!
//! Whatever a guest writes, what comes out here is valid UTF-8 without control characters and of bounded
//! length, so that a line can be printed on a terminal, put into XML, or matched by a pattern.

/// How many bytes of a line are kept. Verifier logs have long lines, and nothing worth reading is longer.
pub const MAX_LINE_BYTES: usize = 4096;

/// An escape sequence longer than this is not one: what follows is text again. Without the limit an unfinished
/// sequence would swallow the rest of its line.
const MAX_ESCAPE_BYTES: usize = 256;

/// Splits a stream of bytes into clean lines.
///
/// - `\n`, `\r\n`, `\r\r\n` (which serial consoles produce) and a lone `\r` end a line; a lone `\r` with nothing
///   before it ends none.
/// - ANSI escape sequences and control characters are removed, tabs kept.
/// - Invalid UTF-8 becomes U+FFFD.
/// - A line longer than the limit is cut there, and says how much is missing.
#[derive(Debug)]
pub struct LineSplitter {
    max: usize,
    line: Vec<u8>,
    cut: u64,
    after_cr: bool,
    escape: Escape,
    escape_len: usize,
}

/// Where in an escape sequence (ECMA-48) the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// In none.
    No,
    /// After ESC.
    Start,
    /// After ESC and an intermediate byte, as in the choice of a character set: one more byte ends it.
    Intermediate,
    /// After `ESC [`, to the final byte.
    Control,
    /// After `ESC ]`, `ESC P`, `ESC X`, `ESC ^` or `ESC _`, to BEL or `ESC \`.
    String,
    /// In such a string, after an ESC.
    StringEnd,
}

impl Default for LineSplitter {
    fn default() -> Self {
        Self::new(MAX_LINE_BYTES)
    }
}

impl LineSplitter {
    /// A splitter that keeps at most `max` bytes of each line.
    pub fn new(max: usize) -> Self {
        Self { max, line: Vec::new(), cut: 0, after_cr: false, escape: Escape::No, escape_len: 0 }
    }

    /// Takes some bytes and gives the lines they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            self.byte(byte, &mut lines);
        }
        lines
    }

    /// The stream ended, or paused long enough to look: gives what there is of an unfinished line.
    pub fn finish(&mut self) -> Option<String> {
        self.after_cr = false;
        self.escape = Escape::No;
        (!self.line.is_empty()).then(|| self.take())
    }

    fn byte(&mut self, byte: u8, lines: &mut Vec<String>) {
        if byte == b'\n' {
            self.after_cr = false;
            self.escape = Escape::No;
            lines.push(self.take());
            return;
        }
        if byte == b'\r' {
            self.after_cr = true;
            self.escape = Escape::No;
            return;
        }
        if self.after_cr {
            self.after_cr = false;
            if !self.line.is_empty() {
                lines.push(self.take());
            }
        }
        if self.escape == Escape::No {
            self.ground(byte);
        } else {
            self.escaped(byte);
        }
    }

    fn ground(&mut self, byte: u8) {
        match byte {
            0x1b => {
                self.escape = Escape::Start;
                self.escape_len = 0;
            }
            b'\t' => self.keep(byte),
            0..0x20 | 0x7f => {}
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.line.len() < self.max {
            self.line.push(byte);
        } else {
            self.cut += 1;
        }
    }

    fn escaped(&mut self, byte: u8) {
        self.escape_len += 1;
        if self.escape_len > MAX_ESCAPE_BYTES {
            self.escape = Escape::No;
            self.ground(byte);
            return;
        }
        self.escape = match (self.escape, byte) {
            (Escape::Start, b'[') => Escape::Control,
            (Escape::Start, b']' | b'P' | b'X' | b'^' | b'_') => Escape::String,
            (Escape::Start, 0x20..=0x2f) => Escape::Intermediate,
            (Escape::Start, 0x1b) => Escape::Start,
            (Escape::Control, 0x20..=0x3f) => Escape::Control,
            (Escape::Control, 0x1b) => Escape::Start,
            (Escape::String, 0x07) => Escape::No,
            (Escape::String | Escape::StringEnd, 0x1b) => Escape::StringEnd,
            (Escape::String, _) => Escape::String,
            (Escape::StringEnd, b'\\') => Escape::No,
            (Escape::StringEnd, _) => Escape::String,
            _ => Escape::No,
        };
    }

    fn take(&mut self) -> String {
        let mut bytes = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.cut);
        if cut > 0 {
            drop_half_character(&mut bytes);
        }
        let mut text: String = String::from_utf8_lossy(&bytes).chars().filter(|c| !hides(*c)).collect();
        if cut > 0 {
            text.push_str(&format!(" …[{cut} bytes cut]"));
        }
        text
    }
}

/// Cleans one string that came from a guest by another way than a stream: newlines become spaces.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' || c == '\r' { ' ' } else { c })
        .filter(|c| *c == '\t' || !(c.is_control() || hides(*c)))
        .collect()
}

/// Characters that show nothing and change how the rest of a line looks: C1 controls, line separators, and those
/// that turn the direction of writing.
fn hides(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Removes the first bytes of a character whose last bytes were cut.
fn drop_half_character(bytes: &mut Vec<u8>) {
    let tail = bytes.iter().rev().take(4).take_while(|b| **b & 0xc0 == 0x80).count();
    let Some(lead) = bytes.len().checked_sub(tail + 1) else { return };
    let needs = match bytes[lead] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    if tail + 1 < needs {
        bytes.truncate(lead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<String> {
        let mut splitter = LineSplitter::default();
        let mut lines = splitter.push(bytes);
        lines.extend(splitter.finish());
        lines
    }

    #[test]
    fn every_kind_of_line_end_ends_one_line() {
        assert_eq!(all(b"a\nb\r\nc\r\r\nd\re\n\nf"), ["a", "b", "c", "d", "e", "", "f"]);
        assert_eq!(all(b"\r\rx\n"), ["x"], "a carriage return with nothing before it is no line");
        assert_eq!(all(b"\n\r\n"), ["", ""]);
    }

    #[test]
    fn a_line_end_may_come_in_two_pieces() {
        let mut s = LineSplitter::default();
        assert_eq!(s.push(b"half"), Vec::<String>::new());
        assert_eq!(s.push(b" a line\r"), Vec::<String>::new());
        assert_eq!(s.push(b"\nnext"), ["half a line"]);
        assert_eq!(s.finish().as_deref(), Some("next"));
        assert_eq!(s.finish(), None);
    }

    #[test]
    fn escape_sequences_leave_nothing() {
        assert_eq!(
            all(b"\x1b[1;31mred\x1b[0m \x1b(Bplain\x1b]0;title\x07!\x1b]8;;x\x1b\\?\n"),
            ["red plain!?"]
        );
        assert_eq!(all(b"\x1bcreset\x1b[?25lhidden\n"), ["resethidden"]);
        assert_eq!(all(b"\x1b]0;never closed\nnext line\n"), ["", "next line"]);
    }

    #[test]
    fn an_endless_escape_sequence_does_not_swallow_the_line() {
        let mut bytes = b"\x1b]".to_vec();
        bytes.extend(std::iter::repeat_n(b'x', 1000));
        let lines = all(&bytes);
        assert!(lines[0].len() >= 1000 - MAX_ESCAPE_BYTES, "{}", lines[0].len());
    }

    #[test]
    fn control_bytes_and_invalid_utf8() {
        assert_eq!(all(b"a\0b\x08c\x7f\td\xff\xc2\x85e\n"), ["abc\td\u{fffd}e"]);
        assert_eq!(all("sch\u{f6}n \u{202e}gnp.exe\n".as_bytes()), ["sch\u{f6}n gnp.exe"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_says_so() {
        let mut s = LineSplitter::new(5);
        assert_eq!(s.push("abcd\u{e9}fgh\n".as_bytes()), ["abcd …[4 bytes cut]"]);
        assert_eq!(s.push("abc\u{e9}\n".as_bytes()), ["abc\u{e9}"], "exactly full is not cut");
        assert_eq!(s.push("\u{20ac}\u{20ac}\n".as_bytes()), ["\u{20ac} …[1 bytes cut]"]);
    }

    #[test]
    fn one_line_of_foreign_text() {
        assert_eq!(one_line("a\nb\x1b[1m\tc"), "a b[1m\tc");
    }

    /// A small generator of pseudo-random bytes (xorshift), biased towards the bytes that mean something here.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        const SPICE: &[u8] = b"\n\r\x1b[]P\\\x07;m0\xc3\xa9\xe2\x80\xaa\xf0\x9f\x00\x7fok#";
        let mut x = seed | 1;
        (0..len)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                if x & 3 == 0 { (x >> 8) as u8 } else { SPICE[(x >> 8) as usize % SPICE.len()] }
            })
            .collect()
    }

    #[test]
    fn whatever_comes_in_clean_bounded_lines_come_out_however_it_is_cut_up() {
        for seed in 1..200 {
            let bytes = noise(seed * 0x9e37_79b9, 3000);
            let mut whole = LineSplitter::new(64);
            let mut expected = whole.push(&bytes);
            expected.extend(whole.finish());
            let mut pieces = LineSplitter::new(64);
            let mut got: Vec<String> =
                bytes.chunks(1 + seed as usize % 7).flat_map(|c| pieces.push(c)).collect();
            got.extend(pieces.finish());
            assert_eq!(got, expected, "seed {seed}");
            for line in &got {
                assert!(line.chars().all(|c| c == '\t' || !c.is_control()), "seed {seed}: {line:?}");
                // Each invalid byte can become three; the marker comes on top.
                assert!(line.len() <= 64 * 3 + 40, "seed {seed}: {} bytes", line.len());
            }
        }
    }
}
