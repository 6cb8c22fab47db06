//! Which accelerator a guest gets, and why.
//!
//! A node /dev/kvm that opens is not yet KVM that works: on a host without VT-x or AMD-V (nested in something that
//! offers a paravirtual KVM) QEMU fails an assertion, or the guest dies in its decompressor. So three things are
//! asked, the cheap ones first: the CPU's flags, the API of /dev/kvm, and a guest of a few instructions that has to
//! run to its end under QEMU.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use kvet_base::arch::Arch;
use kvet_base::error::{Error, IoContext, Result};
use kvet_base::event::Accel;

/// What the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccelChoice {
    /// KVM where it works, else TCG.
    #[default]
    Auto,
    /// KVM; anything else is an error.
    Kvm,
    /// TCG.
    Tcg,
}

impl std::str::FromStr for AccelChoice {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "auto" => Ok(AccelChoice::Auto),
            "kvm" => Ok(AccelChoice::Kvm),
            "tcg" => Ok(AccelChoice::Tcg),
            _ => Err(Error::caller(format!("unknown accelerator '{s}'; known: auto, kvm, tcg"))),
        }
    }
}

/// An accelerator and why it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub accel: Accel,
    /// Why, in one line.
    pub reason: String,
}

/// The version of the KVM API that every kernel since 2.6.22 has (Documentation/virt/kvm/api.rst, 4.1).
const KVM_API_VERSION: i32 = 12;
/// How long the trial guest may take. It runs five instructions.
const TRIAL_PATIENCE: Duration = Duration::from_secs(10);

/// Decides for a guest of `arch` run by `qemu`.
///
/// # Errors
/// KVM was asked for and does not work (the host's fault, or the caller's where the architectures differ).
pub fn choose(choice: AccelChoice, arch: Arch, qemu: &Path) -> Result<Chosen> {
    if choice == AccelChoice::Tcg {
        return Ok(Chosen { accel: Accel::Tcg, reason: "asked for".into() });
    }
    match kvm_works(arch, qemu) {
        Ok(()) => Ok(Chosen { accel: Accel::Kvm, reason: "KVM works here".into() }),
        Err(why) if choice == AccelChoice::Auto => Ok(Chosen { accel: Accel::Tcg, reason: why.to_string() }),
        Err(why) => Err(Error::host(format!("--accel kvm: {why}")).hint("--accel auto falls back to tcg")),
    }
}

/// Whether KVM can run a guest of `arch`; the error says why not.
///
/// # Errors
/// The first of the three questions that was answered with no.
pub fn kvm_works(arch: Arch, qemu: &Path) -> Result<()> {
    if Arch::host()? != arch {
        return Err(Error::host(format!("KVM runs only {} guests here", Arch::host()?)));
    }
    check_cpu_flags(arch, &fs::read_to_string("/proc/cpuinfo").host("read /proc/cpuinfo")?)?;
    check_api(Path::new("/dev/kvm"))?;
    trial(arch, Accel::Kvm, qemu).map_err(|e| e.context("a trial guest did not run under KVM"))
}

fn check_cpu_flags(arch: Arch, cpuinfo: &str) -> Result<()> {
    // arm64 does not list its virtualisation extension; the API and the trial have to tell there.
    let flags_known = arch == Arch::X86_64;
    let mut flags = cpuinfo.lines().filter(|l| l.starts_with("flags")).flat_map(str::split_whitespace);
    if flags_known && !flags.any(|flag| flag == "vmx" || flag == "svm") {
        return Err(Error::host("the CPU shows neither VT-x (vmx) nor AMD-V (svm)"));
    }
    Ok(())
}

fn check_api(device: &Path) -> Result<()> {
    nix::ioctl_none_bad!(get_api_version, nix::request_code_none!(0xAE, 0x00));
    nix::ioctl_write_int_bad!(create_vm, nix::request_code_none!(0xAE, 0x01));

    let kvm = OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .map_err(|e| Error::host(format!("cannot open {}", device.display())).because(e))?;
    let failed = |what: &str, e: nix::Error| Error::host(format!("{what} on {}: {e}", device.display()));
    // SAFETY: an ioctl without argument on an open descriptor.
    let version =
        unsafe { get_api_version(kvm.as_raw_fd()) }.map_err(|e| failed("KVM_GET_API_VERSION", e))?;
    if version != KVM_API_VERSION {
        return Err(Error::host(format!("{} speaks API {version}, not {KVM_API_VERSION}", device.display())));
    }
    // SAFETY: an ioctl with an integer argument (the machine type, 0) on an open descriptor.
    let vm = unsafe { create_vm(kvm.as_raw_fd(), 0) }.map_err(|e| failed("KVM_CREATE_VM", e))?;
    // SAFETY: the descriptor is new and ours.
    drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(vm) });
    Ok(())
}

/// Runs a guest of a few instructions to its end, with the CPU model that real guests get.
///
/// x86_64: a 64 KiB ROM whose reset vector writes 0x10 to QEMU's debug-exit port (`isa-debug-exit`), which ends QEMU
/// with status 0x21. arm64: a raw image that calls PSCI SYSTEM_OFF (Arm DEN 0022), which ends it with status 0.
///
/// # Errors
/// QEMU did not start, died, gave another status, or hung.
pub fn trial(arch: Arch, accel: Accel, qemu: &Path) -> Result<()> {
    let dir = tempfile::tempdir().host("create a temporary folder")?;
    let guest = dir.path().join("guest");
    let (code, expected) = match arch {
        Arch::X86_64 => (x86_reset_rom(), 0x21),
        Arch::Arm64 => (ARM64_SYSTEM_OFF.iter().flat_map(|i| i.to_le_bytes()).collect(), 0),
    };
    fs::File::create(&guest).and_then(|mut f| f.write_all(&code)).host("write the trial guest")?;
    let cpu = if accel == Accel::Kvm { "host" } else { "max" };
    let mut command = Command::new(qemu);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "64M"]);
    command.args(["-accel", &accel.to_string(), "-cpu", cpu]);
    match arch {
        Arch::X86_64 => {
            command.args(["-machine", "q35", "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios"])
        }
        // TCG has to offer PSCI through the call that the code makes, as KVM does.
        Arch::Arm64 => command.args(["-machine", "virt,gic-version=max", "-kernel"]),
    };
    command.arg(&guest).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    finish_trial(command, expected)
}

fn finish_trial(mut command: Command, expected: i32) -> Result<()> {
    // SAFETY: the closure makes one async-signal-safe system call.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(Into::into)
        })
    };
    let mut child = command.spawn().host(format!("start {}", command.get_program().to_string_lossy()))?;
    let deadline = Instant::now() + TRIAL_PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().host("wait for the trial guest")? {
            break Some(status);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            child.wait().host("wait for the trial guest")?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut stderr = Vec::new();
    if let Some(pipe) = child.stderr.take() {
        // QEMU has ended, so the pipe does too; an assertion's text is a few lines.
        std::io::Read::read_to_end(&mut std::io::Read::take(pipe, 4096), &mut stderr)
            .host("read QEMU's stderr")?;
    }
    let stderr = String::from_utf8_lossy(&stderr);
    match status {
        Some(status) if status.code() == Some(expected) => Ok(()),
        Some(status) => Err(Error::host(format!(
            "QEMU ended with {}{}{}",
            super::process::describe(status),
            if stderr.trim().is_empty() { "" } else { ": " },
            stderr.lines().next().unwrap_or_default().trim()
        ))),
        None => Err(Error::host(format!("it hung for {} s", TRIAL_PATIENCE.as_secs()))),
    }
}

/// `mov al, 0x10; out 0xf4, al; hlt; jmp $-1` at the reset vector, 16 bytes below 4 GiB.
fn x86_reset_rom() -> Vec<u8> {
    let mut rom = vec![0xf4; 64 * 1024];
    let vector = rom.len() - 16;
    rom[vector..vector + 7].copy_from_slice(&[0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd]);
    rom
}

/// `movz w0, #8; movk w0, #0x8400, lsl #16; hvc #0; b .`: PSCI's SYSTEM_OFF is function 0x8400_0008.
const ARM64_SYSTEM_OFF: [u32; 4] = [0x5280_0100, 0x72b0_8000, 0xd400_0002, 0x1400_0000];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_decide_on_x86_only() {
        assert!(check_cpu_flags(Arch::X86_64, "processor: 0\nflags : fpu vmx sse\n").is_ok());
        assert!(check_cpu_flags(Arch::X86_64, "flags : fpu svm\n").is_ok());
        let e = check_cpu_flags(Arch::X86_64, "flags : fpu vmxx hypervisor\n").unwrap_err();
        assert!(e.to_string().contains("VT-x"), "{e}");
        assert!(check_cpu_flags(Arch::Arm64, "Features : fp asimd\n").is_ok());
    }

    #[test]
    fn a_device_that_is_no_kvm_is_named() {
        let e = check_api(Path::new("/dev/null")).unwrap_err().to_string();
        assert!(e.contains("/dev/null") && e.contains("KVM_GET_API_VERSION"), "{e}");
        let e = check_api(Path::new("/nonexistent/kvm")).unwrap_err().to_string();
        assert!(e.contains("/nonexistent/kvm"), "{e}");
    }

    #[test]
    fn tcg_needs_no_probe() {
        let chosen = choose(AccelChoice::Tcg, Arch::Arm64, Path::new("/nonexistent")).unwrap();
        assert_eq!(chosen.accel, Accel::Tcg);
    }

    #[test]
    fn the_trial_guest_of_each_architecture_runs_to_its_end() {
        trial(Arch::X86_64, Accel::Tcg, Path::new("qemu-system-x86_64")).unwrap();
        trial(Arch::Arm64, Accel::Tcg, Path::new("qemu-system-aarch64")).unwrap();
    }

    #[test]
    fn a_qemu_that_dies_or_lies_is_no_kvm() {
        let e = trial(Arch::X86_64, Accel::Tcg, Path::new("/bin/true")).unwrap_err().to_string();
        assert!(e.contains("exit status 0"), "{e}");
        let e = trial(Arch::Arm64, Accel::Tcg, Path::new("/nonexistent/qemu")).unwrap_err().to_string();
        assert!(e.contains("/nonexistent/qemu"), "{e}");
    }
}
