//! What guests share: CPUs and memory of the host.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::Result;

/// CPUs and memory that guests may take. A guest waits until there is enough for it; one that needs more than there is
/// runs alone.
#[derive(Debug)]
pub struct Slots {
    whole: Share,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    left: Share,
    guests: u32,
    /// Why no guest is started any more, if so.
    closed: Option<String>,
}

/// CPUs and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// CPUs.
    pub cpus: u32,
    /// MiB.
    pub memory_mib: u64,
}

/// A part of it that is taken until it is dropped.
#[derive(Debug)]
pub struct Slot<'a> {
    slots: &'a Slots,
    share: Share,
}

/// How often somebody who waits looks whether the run was cancelled.
const LOOK: Duration = Duration::from_millis(100);

impl Slots {
    /// So much.
    pub fn new(whole: Share) -> Self {
        let state = State { left: whole, guests: 0, closed: None };
        Self { whole, state: Mutex::new(state), freed: Condvar::new() }
    }

    /// Nobody gets a part any more, for this reason; whoever has one keeps it.
    pub fn close(&self, reason: &str) {
        self.state().closed.get_or_insert_with(|| reason.to_owned());
        self.freed.notify_all();
    }

    /// Why nobody gets a part any more, if so.
    pub fn closed(&self) -> Option<String> {
        self.state().closed.clone()
    }

    /// Takes a part, when there is enough. Where it has to be waited for, `waits` is called before. None if they are closed before.
    ///
    /// # Errors
    /// Interrupted: a cancel came first.
    pub fn take(&self, wanted: Share, cancel: &Cancel, waits: impl FnOnce()) -> Result<Option<Slot<'_>>> {
        let mut state = self.state();
        let mut waits = Some(waits);
        loop {
            cancel.check()?;
            if state.closed.is_some() {
                return Ok(None);
            }
            if let Some(slot) = self.part(&mut state, wanted) {
                return Ok(Some(slot));
            }
            if let Some(waits) = waits.take() {
                drop(state);
                waits();
                state = self.state();
                continue;
            }
            state = match self.freed.wait_timeout(state, LOOK) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn part(&self, state: &mut State, wanted: Share) -> Option<Slot<'_>> {
        let share = Share {
            cpus: wanted.cpus.min(self.whole.cpus),
            memory_mib: wanted.memory_mib.min(self.whole.memory_mib),
        };
        let enough = share.cpus <= state.left.cpus && share.memory_mib <= state.left.memory_mib;
        if !enough || state.closed.is_some() {
            return None;
        }
        state.left.cpus -= share.cpus;
        state.left.memory_mib -= share.memory_mib;
        state.guests += 1;
        Some(Slot { slots: self, share })
    }

    /// How many guests have a part now.
    pub fn guests(&self) -> u32 {
        self.state().guests
    }

    /// Nothing that is done under the lock can panic half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.left.cpus += self.share.cpus;
        state.left.memory_mib += self.share.memory_mib;
        state.guests -= 1;
        drop(state);
        self.slots.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn never_more_than_there_is_and_everybody_gets_a_turn() {
        let slots = Slots::new(Share { cpus: 2, memory_mib: 1000 });
        let (cancel, most, done) = (Cancel::new().unwrap(), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for i in 0..8 {
                let (slots, cancel, most, done) = (&slots, &cancel, &most, &done);
                scope.spawn(move || {
                    // Every fourth wants more than there is.
                    let cpus = if i % 4 == 0 { 16 } else { 1 };
                    let slot = slots.take(Share { cpus, memory_mib: 300 }, cancel, || ()).unwrap().unwrap();
                    most.fetch_max(slots.guests(), Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    drop(slot);
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(done.into_inner(), 8);
        assert!(most.into_inner() <= 2);
        assert_eq!(slots.guests(), 0);
    }

    #[test]
    fn that_it_waits_is_told_before_and_of_nobody_else() {
        let slots = Slots::new(Share { cpus: 2, memory_mib: 1000 });
        let cancel = Cancel::new().unwrap();
        let share = Share { cpus: 2, memory_mib: 300 };
        let mut first = slots.take(share, &cancel, || panic!("all of it is free")).unwrap();
        // The other one goes as soon as it is waited for.
        let second = slots.take(share, &cancel, || drop(first.take())).unwrap();
        assert!(second.is_some() && slots.guests() == 1);
        drop(second);
        assert!(first.is_none(), "it was told");
        cancel.request();
        let stopped = slots.take(share, &cancel, || panic!("nobody wants it any more"));
        assert!(stopped.is_err(), "though all of it is free");
    }

    #[test]
    fn memory_counts_as_well() {
        let slots = Slots::new(Share { cpus: 8, memory_mib: 1000 });
        let cancel = Cancel::new().unwrap();
        let first = slots.take(Share { cpus: 1, memory_mib: 800 }, &cancel, || ()).unwrap().unwrap();
        cancel.request();
        assert!(
            slots.take(Share { cpus: 1, memory_mib: 300 }, &cancel, || ()).is_err(),
            "it waited until the cancel"
        );
        drop(first);
    }

    #[test]
    fn nobody_who_waits_gets_a_part_after_the_end() {
        let one = Share { cpus: 1, memory_mib: 1 };
        let slots = Slots::new(one);
        let cancel = Cancel::new().unwrap();
        let first = slots.take(one, &cancel, || ()).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| slots.take(one, &cancel, || ()).unwrap().is_none());
            slots.close("a failed");
            slots.close("b failed");
            assert!(waiting.join().unwrap());
        });
        drop(first);
        let late = slots.take(one, &cancel, || panic!("nothing comes of it")).unwrap();
        assert!(late.is_none(), "there is enough, and it is not for anybody");
        assert_eq!(slots.closed().as_deref(), Some("a failed"));
    }
}
