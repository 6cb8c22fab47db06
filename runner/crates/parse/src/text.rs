//! Text of bounded size that keeps its beginning and its end.

use std::collections::VecDeque;

/// How much of a job's output is kept as the detail of one test case, in bytes.
pub(crate) const MAX_DETAIL_BYTES: usize = 256 << 10;

/// Lines of output, of which the first and the last are kept when there are too many.
#[derive(Debug)]
pub(crate) struct HeadTail {
    head: String,
    head_max: usize,
    tail: VecDeque<String>,
    tail_bytes: usize,
    tail_max: usize,
    dropped: u64,
}

impl HeadTail {
    /// Keeps at most `max` bytes: a quarter from the beginning, the rest from the end, where failures tell why.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            head: String::new(),
            head_max: max / 4,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_max: max - max / 4,
            dropped: 0,
        }
    }

    /// Adds a line.
    pub(crate) fn push(&mut self, line: &str) {
        let bytes = line.len() + 1;
        if self.tail.is_empty() && self.dropped == 0 && self.head.len() + bytes <= self.head_max {
            self.head.push_str(line);
            self.head.push('\n');
            return;
        }
        self.tail.push_back(line.to_owned());
        self.tail_bytes += bytes;
        while self.tail_bytes > self.tail_max
            && let Some(oldest) = self.tail.pop_front()
        {
            self.tail_bytes -= oldest.len() + 1;
            self.dropped += 1;
        }
    }

    /// Takes the text and leaves nothing. Missing lines are counted where they are missing.
    pub(crate) fn take(&mut self) -> String {
        let mut text = std::mem::take(&mut self.head);
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            text.push_str(&format!("[… {dropped} lines left out …]\n"));
        }
        for line in self.tail.drain(..) {
            text.push_str(&line);
            text.push('\n');
        }
        self.tail_bytes = 0;
        text.truncate(text.trim_end().len());
        text
    }

    /// The same, within what is `left` for all texts together; one for which that is not enough is cut to `spare` bytes, and
    /// nothing is left.
    pub(crate) fn take_within(&mut self, left: &mut usize, spare: usize) -> String {
        let text = self.take();
        if text.len() <= *left {
            *left -= text.len();
            return text;
        }
        *left = 0;
        shorten(&text, spare)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.tail.clear();
        self.tail_bytes = 0;
        self.dropped = 0;
    }
}

/// The text cut to at most `max` bytes between two characters, with an ellipsis where something is missing.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// The same, but what is missing is in the middle: of a long name the end tells most.
pub(crate) fn shorten_middle(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let (mut head, mut tail) = (max / 2, text.len() - max / 2);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}…{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_survive_a_flood() {
        let mut t = HeadTail::new(400);
        for i in 0..10_000 {
            t.push(&format!("line {i}"));
        }
        let text = t.take();
        assert!(text.starts_with("line 0\n") && text.ends_with("line 9999"), "{text}");
        assert!(text.contains("lines left out") && text.len() < 450, "{text}");
        assert_eq!(t.take(), "", "taking leaves nothing");
        t.push("again");
        assert_eq!(t.take(), "again");
    }

    #[test]
    fn a_line_longer_than_the_whole_is_counted_not_kept() {
        let mut t = HeadTail::new(16);
        t.push(&"x".repeat(100));
        assert_eq!(t.take(), "[… 1 lines left out …]");
    }

    #[test]
    fn shortening_respects_characters() {
        assert_eq!(shorten("h\u{e9}llo", 2), "h…");
        assert_eq!(shorten("hello", 5), "hello");
        assert_eq!(shorten_middle("h\u{e9}lloh\u{e9}llo", 4), "h…lo");
        assert_eq!(shorten_middle("hello", 5), "hello");
    }
}
