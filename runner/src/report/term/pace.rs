//! How far something is that is done in steps, such as a build: a line of words, and a bar beside it.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::live::TICK;
use crate::parse::clean::one_line;

/// Steps after which a forecast is worth something: the first ones tell nothing, the compiler has hardly begun.
const ENOUGH: u64 = 20;

/// The end of a line as wide as the terminal: where the cursor rests is room for what the terminal writes there itself, ^C, which
/// would else begin another line, and the one above would stay for good. The last part moves the cursor back (ECMA-48, CUB).
const ROOM: &str = "   \x1b[3D";

/// The time that something takes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    begun: Instant,
    /// When the first step was done. What was prepared and counted before says nothing about the pace.
    first: Option<(Instant, u64)>,
}

impl Pace {
    /// It begins now.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), first: None }
    }

    /// How far it is: `building 7.2.12 x86_64: 512 of 1680, 3m 10s, about 7m 14s left: net/core/dev.o`. A `total` of 0 is unknown.
    pub fn line(&mut self, what: &str, done: u64, total: u64, current: &str) -> String {
        let now = Instant::now();
        if done > 0 && self.first.is_none() {
            self.first = Some((now, done));
        }
        let spent = self.first.map(|(first, already)| (now - first, done.saturating_sub(already)));
        steps_line(what, (done, total), now - self.begun, spent.unwrap_or_default(), current)
    }
}

/// `spent` is a time and the steps that were done in it.
fn steps_line(
    what: &str,
    (done, total): (u64, u64),
    elapsed: Duration,
    spent: (Duration, u64),
    current: &str,
) -> String {
    let mut line = one_line(what);
    line.push_str(&match total {
        0 if done == 0 => String::new(),
        0 => format!(": {done}"),
        _ if done >= total => format!(": all {done}"),
        _ => format!(": {done} of {total}"),
    });
    line.push_str(&format!(", {}", minutes(elapsed)));
    if spent.1 >= ENOUGH && done < total {
        let left = spent.0.mul_f64((total - done) as f64 / spent.1 as f64);
        line.push_str(&format!(", about {} left", minutes(left)));
    }
    if !current.is_empty() {
        line.push_str(&format!(": {}", one_line(current)));
    }
    line
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m {:02}s", seconds / 60, seconds % 60) }
}

/// Puts a line of words beside a bar, or beside a spinner while nobody knows how much there is to do.
pub fn draw(bar: &ProgressBar, done: u64, total: u64, line: String) {
    if bar.length() != Some(total) || bar.message().is_empty() {
        bar.set_length(total);
        let template = if total == 0 { "{spinner} {wide_msg}" } else { "{bar:24} {wide_msg}" };
        bar.set_style(style(&format!("{template}{ROOM}")));
        // It turns while make says nothing, too.
        if total == 0 { bar.enable_steady_tick(TICK) } else { bar.disable_steady_tick() }
    }
    bar.set_position(done);
    bar.set_message(line);
}

/// The templates are constants; one that did not compile would show indicatif's own.
pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_build_says_how_far_it_is_and_how_long_it_will_take() {
        let seconds = Duration::from_secs;
        let line = |steps, spent, current: &str| steps_line("building", steps, seconds(190), spent, current);
        assert_eq!(line((0, 0), (seconds(0), 0), "counting: 12"), "building, 3m 10s: counting: 12");
        assert_eq!(line((3, 0), (seconds(9), 3), "a.o"), "building: 3, 3m 10s: a.o");
        assert_eq!(line((19, 100), (seconds(9), 18), "a.o"), "building: 19 of 100, 3m 10s: a.o");
        // A minute and a half went into preparations: they are not to come again.
        let said = line((51, 151), (seconds(100), 50), "net/core/dev.o");
        assert_eq!(said, "building: 51 of 151, 3m 10s, about 3m 20s left: net/core/dev.o");
        assert_eq!(line((7, 7), (seconds(100), 7), ""), "building: all 7, 3m 10s");
    }

    /// Keeps what is drawn on it.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl Paper {
        /// The last line, once it was asked for, without the room at its end.
        fn last(&self) -> String {
            let text = std::mem::take(&mut *self.0.lock().unwrap());
            let line = text.trim().rsplit('\n').next().unwrap_or_default();
            line.strip_suffix(ROOM).unwrap_or_else(|| panic!("{line:?}")).trim().to_owned()
        }
    }

    impl indicatif::TermLike for Paper {
        fn width(&self) -> u16 {
            60
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> std::io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> std::io::Result<()> {
            self.write_str("\n")
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_takes_the_place_of_the_spinner_once_the_total_is_known() {
        let paper = Paper::default();
        let target = indicatif::ProgressDrawTarget::term_like(Box::new(paper.clone()));
        let bar = ProgressBar::with_draw_target(Some(0), target);
        draw(&bar, 0, 0, "building, 1s: counting".into());
        bar.force_draw();
        let said = paper.last();
        assert!(said.ends_with(" building, 1s: counting") && !said.contains(['█', '░']), "{said}");
        draw(&bar, 6, 12, "building: 6 of 12".into());
        bar.force_draw();
        assert_eq!(paper.last(), "████████████░░░░░░░░░░░░ building: 6 of 12");
        // However long it is, all of it is on one line of the terminal, with its room.
        draw(&bar, 6, 12, "x".repeat(100));
        bar.force_draw();
        assert_eq!(paper.last().chars().count(), 60 - 3);
        bar.finish_and_clear();
    }
}
