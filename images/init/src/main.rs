//! PID 1 of a kvet guest.
//!
//! Lives in an initramfs made on the host. It mounts what tests expect, loads the modules that the transport
//! needs, announces itself on the wire, and then runs the jobs that the host sends until it is told to power
//! off. It must never be the reason that a guest dies: whatever goes wrong here is said on the wire and on the
//! console, and the machine is powered off.
//!
//! Called as `modprobe` (the kernel's usermode helper, /proc/sys/kernel/modprobe) it loads the module that the
//! kernel asks for from the module tree that the host shares.

mod agent;
mod job;
mod kernel_log;
mod last_words;
mod leftovers;
mod modprobe;
mod modules;
mod mounts;
mod port;
mod root;
mod shares;
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    if name.ends_with("modprobe") {
        return modprobe::main(args);
    }
    if std::process::id() != 1 {
        eprintln!("kvet-init: this is the first process of a kvet guest; it does nothing elsewhere");
        return ExitCode::from(2);
    }
    last_words::install();
    match boot_and_serve() {
        Ok(()) => sys::power_off(),
        Err(Trouble::KernelLacks(what)) => last_words::blame_the_kernel(&what),
        Err(Trouble::Fault(why)) => last_words::say_and_power_off(&why),
    }
}

/// Why init cannot go on.
enum Trouble {
    /// The kernel has not got something that no guest can do without.
    KernelLacks(String),
    /// Anything else: ours.
    Fault(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Trouble::Fault(why)
    }
}

/// From the first instruction to the order to power off.
fn boot_and_serve() -> Result<(), Trouble> {
    let started = sys::boottime_us();
    let mut problems = mounts::mount_all().map_err(Trouble::KernelLacks)?;
    problems.extend(modules::load_boot_set()?);
    problems.extend(sys::prepare_kernel());
    let port = port::open().map_err(Trouble::KernelLacks)?;
    last_words::use_wire(&port);
    let mut agent = agent::Agent::new(port)?;
    agent.announce(started, problems)?;
    Ok(agent.serve()?)
}
