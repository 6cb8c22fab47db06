//! Builds of the commits that are likely to be asked for next, while a guest runs.
//!
//! They go into the folder in which all commits are built, one after the other; the next verdict ends what turns out not to be
//! wanted. What make has done by then stays done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::kernel::{self, Cache, KernelSpec, Sources};

/// How often somebody who waits for a build looks whether the user wants to stop.
pub const LOOK: Duration = Duration::from_millis(50);

/// What every build needs.
pub struct Means {
    /// The cache.
    pub cache: Cache,
    /// Where kernels come from, and how they are built.
    pub sources: Sources,
    /// What they are built for.
    pub arch: Arch,
}

/// Builds that go on in a thread of their own.
pub struct Ahead {
    cancel: Cancel,
    wanted: Vec<KernelSpec>,
    /// Which of them is being built.
    at: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Begins to build these, in this order.
    ///
    /// # Errors
    /// The host's: it has no descriptor left.
    pub fn begin(wanted: Vec<KernelSpec>, means: Means) -> Result<Self> {
        Self::begin_with(wanted, move |spec, cancel| {
            let Means { cache, sources, arch } = &means;
            // Whatever goes wrong is told when the kernel is asked for, if it ever is.
            drop(kernel::acquire(spec, *arch, cache, sources, &mut |_| {}, cancel));
        })
    }

    fn begin_with(
        wanted: Vec<KernelSpec>,
        build: impl Fn(&KernelSpec, &Cancel) + Send + 'static,
    ) -> Result<Self> {
        let cancel = Cancel::new()?;
        let at = Arc::new(AtomicUsize::new(0));
        let (specs, stop, now) = (wanted.clone(), cancel.clone(), Arc::clone(&at));
        let thread = std::thread::spawn(move || {
            for spec in &specs {
                build(spec, &stop);
                now.fetch_add(1, Ordering::SeqCst);
                if stop.requested() {
                    break;
                }
            }
        });
        Ok(Self { cancel, wanted, at, thread: Some(thread) })
    }

    /// Ends it. If what is asked for now is just being built, it is waited for. `stop` is the user's.
    pub fn end(self, asked_for: &KernelSpec, stop: &Cancel) {
        let wanted = |at: usize| self.wanted.get(at) == Some(asked_for);
        while wanted(self.at.load(Ordering::SeqCst)) && !stop.requested() {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                break;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.cancel.request();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;

    /// Asks for a kernel while the first of two is built. Gives what was built to its end.
    fn built(asked_for: &str) -> Vec<String> {
        let spec = |name: &str| format!("git:/linux@{name}").parse::<KernelSpec>().unwrap();
        let done = Arc::new(Mutex::new(Vec::new()));
        let whole = Arc::clone(&done);
        let ahead = Ahead::begin_with(vec![spec("a"), spec("b")], move |spec, cancel| {
            let started = Instant::now();
            while !cancel.requested() {
                if started.elapsed() > Duration::from_millis(300) {
                    whole.lock().unwrap().push(spec.to_string());
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let ahead = ahead.unwrap();
        std::thread::sleep(Duration::from_millis(100));
        ahead.end(&spec(asked_for), &Cancel::new().unwrap());
        let done = done.lock().unwrap();
        done.iter().map(|name| name.rsplit('@').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_is_asked_for_is_waited_for_and_nothing_else() {
        assert_eq!(built("a"), ["a"]);
        assert_eq!(built("b"), Vec::<String>::new());
        assert_eq!(built("c"), Vec::<String>::new());
    }
}
