//! The prefix that the kernel's log puts before the lines of KUnit.

/// A line without the prefix of printk, as the console and `dmesg` show it, or None where there is none: a level (`<6>`), a
/// time (`[    4.101001]`, `[  +0.000013]`, `[Tue Dec  1 08:00:00 2026]`), the caller (`[    T1]`).
pub(super) fn without_prefix(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('<').and_then(|r| r.split_once('>')).filter(|(level, _)| is_number(level));
    let rest = rest.map_or(line, |(_, rest)| rest);
    let (stamp, after) = bracketed(rest)?;
    if !(is_time(stamp) || is_date(stamp)) {
        return None;
    }
    let after = match bracketed(after.trim_start_matches(' ')) {
        Some((caller, text)) if is_caller(caller) => text,
        _ => after,
    };
    Some(after.strip_prefix(' ').unwrap_or(after))
}

fn bracketed(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('[')?.split_once(']')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `   12.345678`, `  +0.000013`.
fn is_time(stamp: &str) -> bool {
    let stamp = stamp.trim_start();
    let stamp = stamp.strip_prefix('+').unwrap_or(stamp);
    stamp
        .split_once('.')
        .is_some_and(|(seconds, micros)| is_number(seconds) && micros.len() == 6 && is_number(micros))
}

/// `Tue Dec  1 08:00:00 2026`.
fn is_date(stamp: &str) -> bool {
    let words: Vec<&str> = stamp.split_ascii_whitespace().collect();
    let [day, month, date, time, year] = words[..] else { return false };
    let name = |word: &str| word.len() == 3 && word.bytes().all(|b| b.is_ascii_alphabetic());
    name(day)
        && name(month)
        && is_number(date)
        && is_number(year)
        && time.split(':').count() == 3
        && time.split(':').all(is_number)
}

/// `    T1`, `   C0`.
fn is_caller(text: &str) -> bool {
    text.trim_start().strip_prefix(['T', 'C']).is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_prefix() {
        for prefix in [
            "[    4.101001]",
            "<6>[    4.101001]",
            "[    4.101001][    T1]",
            "[    4.101001] [  T314]",
            "[  +0.000013]",
            "[Tue Dec  1 08:00:00 2026]",
        ] {
            let line = format!("{prefix}     ok 1 x");
            assert_eq!(without_prefix(&line), Some("    ok 1 x"), "{prefix}");
        }
    }

    #[test]
    fn other_brackets_are_text() {
        for text in ["ok 1 x", "[ OK ] x", "[4.1] x", "<b> x", "[ RUN      ] x.y", "[4.101001", "[    T1] x"]
        {
            assert_eq!(without_prefix(text), None, "{text}");
        }
    }
}
