// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's types, parsed once: for what we want to know of them, and for libbpf.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::sync::{Mutex, MutexGuard};

use libbpf_sys as sys;

use crate::environment::VMLINUX_BTF;
use crate::isolate::lock;

/// Types and functions whose names begin so are found all at once: the functions that programs call, those that they are
/// attached to as security modules are, and what the kernel has for kinds of programs.
const PREFIX: &[u8] = b"bpf_";
/// The kinds of which that is so.
const KINDS: [u32; 2] = [sys::BTF_KIND_FUNC, sys::BTF_KIND_STRUCT];

/// What is known of the kernel's types.
struct Types {
    /// Where libbpf has them; 0 once they are [forgotten][forget].
    btf: usize,
    /// Name and kind → number, or a negative error.
    numbers: HashMap<(CString, u32), i32>,
}

static TYPES: Mutex<Option<Types>> = Mutex::new(None);

fn types() -> MutexGuard<'static, Option<Types>> {
    lock(&TYPES)
}

/// Reads them.
///
/// # Errors
/// Where they cannot be read.
pub fn read() -> Result<(), String> {
    // SAFETY: nobody frees what comes of it.
    let btf = unsafe { __real_btf__load_vmlinux_btf() };
    if btf.is_null() {
        return Err(format!("cannot read {VMLINUX_BTF}: {}", io::Error::last_os_error()));
    }
    // SAFETY: libbpf made it just now.
    *types() = Some(Types { btf: btf as usize, numbers: unsafe { named(btf) } });
    Ok(())
}

/// Gives their memory back, which would be copied for each process. What was asked for, and all with the prefix, stays known.
pub fn forget() {
    let btf = types().as_mut().map_or(0, |types| std::mem::take(&mut types.btf));
    // SAFETY: libbpf takes null; nobody else has them any more.
    unsafe { __real_btf__free(btf as *mut sys::btf) }
}

/// The number of the kernel's type with this name, of this kind.
pub fn number(name: &str, kind: u32) -> Option<i32> {
    let mut types = types();
    let number = types.as_mut()?.number(&CString::new(name).ok()?, kind);
    (number > 0).then_some(number)
}

/// Is there a string that is just this among their names? It may be of anything that has one.
pub fn has_string(name: &str) -> bool {
    let btf = types().as_ref().map_or(std::ptr::null(), |types| types.btf as *const sys::btf);
    if btf.is_null() {
        return false;
    }
    let needle = format!("\0{name}\0");
    let mut length = 0;
    // SAFETY: the types are read; libbpf says how long they are.
    let found = unsafe {
        let bytes = sys::btf__raw_data(btf, &raw mut length);
        libc::memmem(bytes, length as usize, needle.as_ptr().cast(), needle.len())
    };
    !found.is_null()
}

impl Types {
    fn number(&mut self, name: &CStr, kind: u32) -> i32 {
        let key = (name.to_owned(), kind);
        if KINDS.contains(&kind) && name.to_bytes().starts_with(PREFIX) {
            return self.numbers.get(&key).copied().unwrap_or(-libc::ENOENT);
        }
        let btf = self.btf as *const sys::btf;
        if btf.is_null() {
            return self.numbers.get(&key).copied().unwrap_or(-libc::ENOENT);
        }
        // SAFETY: the types are read, and the name ends with NUL.
        *self
            .numbers
            .entry(key)
            .or_insert_with(|| unsafe { __real_btf__find_by_name_kind(btf, name.as_ptr(), kind) })
    }
}

/// The types whose names have the prefix.
///
/// # Safety
/// These are types of libbpf's.
unsafe fn named(btf: *const sys::btf) -> HashMap<(CString, u32), i32> {
    let mut numbers = HashMap::new();
    // SAFETY: the numbers are those of types, and a type's name is a string.
    unsafe {
        for number in 1..sys::btf__type_cnt(btf) {
            let it = sys::btf__type_by_id(btf, number);
            let kind = (*it).info >> 24 & 0x1f;
            if !KINDS.contains(&kind) {
                continue;
            }
            let name = sys::btf__name_by_offset(btf, (*it).name_off);
            if libc::strncmp(name, PREFIX.as_ptr().cast(), PREFIX.len()) == 0 {
                // libbpf takes the first.
                let key = (CStr::from_ptr(name).to_owned(), kind);
                numbers.entry(key).or_insert(number.cast_signed());
            }
        }
    }
    numbers
}

unsafe extern "C" {
    fn __real_btf__load_vmlinux_btf() -> *mut sys::btf;
    fn __real_btf__free(btf: *mut sys::btf);
    fn __real_btf__find_by_name_kind(btf: *const sys::btf, name: *const c_char, kind: u32) -> i32;
}

/// What is called for `btf__load_vmlinux_btf` by libbpf, by the name that the linker gives it (`--wrap`).
///
/// # Safety
/// As for `btf__load_vmlinux_btf`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_btf__load_vmlinux_btf() -> *mut sys::btf {
    match types().as_ref() {
        Some(types) if types.btf != 0 => types.btf as *mut sys::btf,
        // SAFETY: the caller frees it.
        _ => unsafe { __real_btf__load_vmlinux_btf() },
    }
}

/// What is called for `btf__free`: the kernel's types stay.
///
/// # Safety
/// As for `btf__free`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_btf__free(btf: *mut sys::btf) {
    if !types().as_ref().is_some_and(|types| !btf.is_null() && types.btf == btf as usize) {
        // SAFETY: the caller answers for it.
        unsafe { __real_btf__free(btf) }
    }
}

/// What is called for `btf__find_by_name_kind`: libbpf compares the name with those of all types, some 130,000 of them,
/// for each function that is called or attached to.
///
/// # Safety
/// As for `btf__find_by_name_kind`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_btf__find_by_name_kind(
    btf: *const sys::btf,
    name: *const c_char,
    kind: u32,
) -> i32 {
    match types().as_mut() {
        // SAFETY: the caller answers for the name.
        Some(types) if types.btf == btf as usize => types.number(unsafe { CStr::from_ptr(name) }, kind),
        // SAFETY: the caller answers for it.
        _ => unsafe { __real_btf__find_by_name_kind(btf, name, kind) },
    }
}
