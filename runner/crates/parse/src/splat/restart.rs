//! Whether a kernel's banner is that of a kernel that starts, or somebody quotes it (`cat /proc/version > /dev/kmsg`).

use std::time::Duration;

/// So many lines in a row whose stamps lie before the banner's show that the clock began again.
const PROOF: usize = 3;

/// The clock of the console, and a banner that may be a restart.
#[derive(Debug, Default)]
pub(super) struct Restart {
    /// The newest stamp of the kernel that runs.
    newest: Option<Duration>,
    /// Lines of a clock that began again, since the banner; none: no banner is in doubt.
    younger: Option<usize>,
}

/// What is known of a banner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Banner {
    /// The clock goes on: somebody says it.
    Quoted,
    /// What follows has to show.
    Unclear,
    /// Nothing on this console has stamps.
    Restart,
}

impl Restart {
    /// A banner after the first one.
    pub(super) fn banner(&mut self, at: Option<Duration>) -> Banner {
        match (at, self.newest) {
            (_, None) => Banner::Restart,
            (Some(at), Some(newest)) if at < newest => {
                self.younger = Some(0);
                Banner::Unclear
            }
            // The kernel stamps its lines, or none of them.
            _ => Banner::Quoted,
        }
    }

    /// Whether there is a banner of which nothing is known yet.
    pub(super) fn is_unclear(&self) -> bool {
        self.younger.is_some()
    }

    /// A line with its stamp. Gives what is now known of a banner that was unclear.
    pub(super) fn line(&mut self, at: Option<Duration>) -> Option<Banner> {
        let at = at?;
        let goes_back = self.newest.is_some_and(|newest| at < newest);
        match &mut self.younger {
            Some(lines) if goes_back => {
                *lines += 1;
                if *lines < PROOF {
                    return None;
                }
                (self.younger, self.newest) = (None, Some(at));
                Some(Banner::Restart)
            }
            Some(_) => {
                (self.younger, self.newest) = (None, Some(at));
                Some(Banner::Quoted)
            }
            None => {
                self.newest = self.newest.max(Some(at));
                None
            }
        }
    }
}
