// SPDX-License-Identifier: GPL-2.0-only
//! A signed message, for programs that check signatures. `data/` has the certificate and the signature; the key that
//! made them is gone.

use std::io;

use libbpf_rs::{MapCore, MapFlags};
use libbpf_sys as sys;

use super::{NotRun, attach};
use crate::report::Config;
use crate::suite::Programs;
use dynptr_spec::Test;

const CERTIFICATE: &[u8] = include_bytes!("../../data/certificate.der");
const MESSAGE: &[u8] = include_bytes!("../../data/message.txt");
const SIGNATURE: &[u8] = include_bytes!("../../data/message.p7s");

/// The map, and the sizes of its value's parts; `bpf/harness.h` has the same.
const MAP: &str = "signed_messages";
const MESSAGE_BYTES: usize = 64;
const SIGNATURE_BYTES: usize = 1024;

/// Gives the program the message and its signature, the certificate to a keyring of this process, attaches the
/// program, and makes the system call `bpf`.
pub fn run(test: &Test, programs: &Programs, config: Config) -> Result<(), NotRun> {
    let key = keyring()?;
    programs.configure(Config { key, ..config })?;
    let map = programs.map(MAP)?;
    map.update(&0u32.to_ne_bytes(), &value(), MapFlags::ANY)
        .map_err(|err| format!("cannot fill {MAP}: {err}"))?;
    let _link = attach(test, programs)?;
    let mut id = 0;
    // SAFETY: the call reads one number and writes another.
    unsafe { sys::bpf_map_get_next_id(0, &raw mut id) };
    Ok(())
}

fn value() -> Vec<u8> {
    let mut value = Vec::new();
    value.extend((MESSAGE.len() as u32).to_ne_bytes());
    value.extend((SIGNATURE.len() as u32).to_ne_bytes());
    value.extend(MESSAGE);
    value.resize(8 + MESSAGE_BYTES, 0);
    value.extend(SIGNATURE);
    value.resize(8 + MESSAGE_BYTES + SIGNATURE_BYTES, 0);
    value
}

/// The number of this process' keyring, with the certificate in it.
fn keyring() -> Result<i32, NotRun> {
    const PROCESS_KEYRING: i32 = -2;
    const GET_ID: i32 = 0;
    // SAFETY: plain numbers.
    let id = unsafe { libc::syscall(libc::SYS_keyctl, GET_ID, PROCESS_KEYRING, 1) };
    if id < 0 {
        return Err(NotRun::of(&io::Error::last_os_error(), &[libc::ENOSYS], "cannot make a keyring"));
    }
    // SAFETY: the strings end with NUL, and the certificate is as long as is said.
    let key = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"asymmetric".as_ptr(),
            c"kvet".as_ptr(),
            CERTIFICATE.as_ptr(),
            CERTIFICATE.len(),
            PROCESS_KEYRING,
        )
    };
    if key < 0 {
        let err = io::Error::last_os_error();
        return Err(NotRun::of(&err, &[libc::ENODEV], "cannot add a certificate to a keyring"));
    }
    i32::try_from(id).map_err(|err| NotRun::Failed(err.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_has_the_size_of_the_programs_struct() {
        assert!(MESSAGE.len() <= MESSAGE_BYTES && SIGNATURE.len() <= SIGNATURE_BYTES);
        assert_eq!(value().len(), 8 + MESSAGE_BYTES + SIGNATURE_BYTES);
    }
}
