// SPDX-License-Identifier: GPL-2.0-only
//! Programs that the kernel runs because it is asked to.

use libbpf_rs::ProgramInput;

use super::{NotRun, attach};
use crate::packet;
use crate::suite::Programs;
use dynptr_spec::Test;

/// Attaches the program to the system call, and makes it once.
pub fn nanosleep(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let _link = attach(test, programs)?;
    Ok(sleep()?)
}

/// Makes the system call `nanosleep`, for a nanosecond.
pub fn sleep() -> Result<(), String> {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 1 };
    // glibc's functions make another system call, clock_nanosleep.
    // SAFETY: the call reads the time, and has nowhere to write the rest of it.
    let result = unsafe {
        libc::syscall(libc::SYS_nanosleep, &raw const time, std::ptr::null_mut::<libc::timespec>())
    };
    if result < 0 { Err(format!("nanosleep: {}", std::io::Error::last_os_error())) } else { Ok(()) }
}

/// Runs the other program, if there is one, and then the program under test.
pub fn call(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    for name in test.with.into_iter().chain([test.program]) {
        let output = programs
            .get(name)?
            .test_run(ProgramInput::default())
            .map_err(|err| format!("cannot test-run {name}: {err}"))?;
        if test.with == Some(name) && output.return_value != 0 {
            return Err(format!("{name} returned {}", output.return_value.cast_signed()).into());
        }
    }
    Ok(())
}

/// The size of `struct __sk_buff`, and where in it `data_end` is.
const SK_BUFF_BYTES: usize = 192;
const SK_BUFF_DATA_END: usize = 80;

/// Has the kernel run the program on a packet.
pub fn packet(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    if let Some(with) = test.with {
        let before = programs.get(with)?.test_run(ProgramInput::default());
        let before = before.map_err(|err| format!("cannot test-run {with}: {err}"))?;
        if before.return_value != 0 {
            return Err(format!("{with} returned {}", before.return_value.cast_signed()).into());
        }
    }
    let frame = packet::frame(test.bytes, test.protocol);
    let mut context = [0u8; SK_BUFF_BYTES];
    let mut input = ProgramInput { data_in: Some(&frame), ..Default::default() };
    if let Some(linear) = test.linear {
        let linear = u32::try_from(linear).map_err(|err| err.to_string())?;
        context[SK_BUFF_DATA_END..SK_BUFF_DATA_END + 4].copy_from_slice(&linear.to_ne_bytes());
        input.context_in = Some(&mut context);
    }
    programs.get(test.program)?.test_run(input).map_err(|err| format!("cannot test-run: {err}"))?;
    Ok(())
}

/// A `struct xdp_md` for the kernel: `data_meta`, `data` and `data_end`, the rest 0.
fn xdp_md(meta: u32, data: u32, end: u32, interface: u32) -> [u8; 24] {
    let mut context = [0; 24];
    for (index, field) in [data, end, meta, interface, 0, 0].into_iter().enumerate() {
        context[4 * index..4 * index + 4].copy_from_slice(&field.to_ne_bytes());
    }
    context
}

/// Is it this error of the system? Only some of them have a kind of their own; all of them have their number at the end.
fn is_errno(err: &libbpf_rs::Error, wanted: i32) -> bool {
    err.to_string().ends_with(&format!("(os error {wanted})"))
}

/// Has the kernel run the program on packets with and without metadata, and refuse what makes no sense.
pub fn xdp_context(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let mut frame = packet::frame(test.bytes, test.protocol);
    // The first bytes of the data are the metadata, which the program checks: each is its own offset as well.
    for (offset, byte) in frame.iter_mut().enumerate() {
        *byte = offset.to_le_bytes()[0];
    }
    let length = u32::try_from(frame.len()).map_err(|err| err.to_string())?;
    let program = programs.get(test.program)?;
    let attempt = |meta, data, end, interface| {
        let mut context = xdp_md(meta, data, end, interface);
        let input =
            ProgramInput { data_in: Some(&frame), context_in: Some(&mut context), ..Default::default() };
        program.test_run(input).map(|output| output.return_value)
    };
    attempt(0, 32, length, 0).map_err(|err| format!("metadata of 32 bytes were refused: {err}"))?;
    for (what, meta, data, end, interface, wanted) in [
        ("metadata behind the data", 40, 36, length, 0, libc::EINVAL),
        ("metadata that do not begin at 0", 4, 36, length, 0, libc::EINVAL),
        ("metadata of an odd length", 0, 6, length, 0, libc::EINVAL),
        ("more metadata than there may be", 0, 256, length, 0, libc::EINVAL),
        ("an end behind the packet's", 0, 32, length + 1, 0, libc::EINVAL),
        ("an interface that does not exist", 0, 32, length, 77_777, libc::ENODEV),
    ] {
        match attempt(meta, data, end, interface) {
            Err(err) if is_errno(&err, wanted) => {}
            Err(err) => {
                let wanted = std::io::Error::from_raw_os_error(wanted);
                return Err(format!("{what}: expected: {wanted}, got: {err}").into());
            }
            Ok(_) => return Err(format!("{what}: the kernel took it").into()),
        }
    }
    Ok(())
}
