// SPDX-License-Identifier: GPL-2.0-only
//! What libbpf does for a program before the kernel gets it, done once for all: it loads the whole object in the parent,
//! and each program that it is about to give to the kernel is [kept][Request] instead, under a descriptor that holds the
//! place. A test's process gives its programs to the kernel and puts them into their places, where libbpf finds them.
//!
//! Otherwise libbpf would do in each process what it does when an object has been loaded: go through all programs and free
//! what they do not need any more, so that all of the pages with it are copied.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::Mutex;

use libbpf_sys as sys;

use crate::isolate::lock;
use crate::types;

/// A program as libbpf would have it loaded. What it refers to belongs to the object, which is never closed.
pub struct Request {
    kind: sys::bpf_prog_type,
    name: *const c_char,
    license: *const c_char,
    insns: &'static [sys::bpf_insn],
    options: sys::bpf_prog_load_opts,
    place: RawFd,
}

// SAFETY: what the pointers point to is not changed any more.
unsafe impl Send for Request {}

impl Request {
    /// The instructions.
    pub fn insns(&self) -> &'static [sys::bpf_insn] {
        self.insns
    }

    /// Has the kernel load the program, with these instructions, and puts it into its place. The verifier's words go into
    /// `log`; where there is room for none, it does not say any.
    ///
    /// # Errors
    /// What the system call had to say.
    pub fn load(&self, insns: &[sys::bpf_insn], level: u32, log: &mut [u8]) -> io::Result<()> {
        let mut options = sys::bpf_prog_load_opts {
            log_level: level,
            log_size: u32::try_from(log.len()).unwrap_or(u32::MAX),
            log_buf: if log.is_empty() { std::ptr::null_mut() } else { log.as_mut_ptr().cast() },
            ..self.options
        };
        // SAFETY: the request is as libbpf made it; the log has the length that is said.
        let fd = unsafe {
            let count = insns.len() as sys::size_t;
            __real_bpf_prog_load(self.kind, self.name, self.license, insns.as_ptr(), count, &raw mut options)
        };
        if fd < 0 {
            return Err(io::Error::from_raw_os_error(-fd));
        }
        // SAFETY: it was opened just now, and is nobody else's.
        let program = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: both are open descriptors.
        if unsafe { libc::dup3(program.as_raw_fd(), self.place, libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// What is to be kept, and what was: by the address of a program's instructions.
#[derive(Default)]
struct Keeping {
    places: BTreeMap<usize, RawFd>,
    requests: BTreeMap<usize, Request>,
}

/// While the object is loaded.
static KEEPING: Mutex<Option<Keeping>> = Mutex::new(None);

/// Loads a prepared object without giving the kernel any program: instead, what was asked for is returned, by program. Those
/// in `together` are loaded along with others, and get a place of their own.
///
/// # Errors
/// What libbpf says where it cannot, as a negative number; or where there is no place.
pub fn load<'a>(
    object: NonNull<sys::bpf_object>,
    programs: &BTreeMap<&'a str, NonNull<sys::bpf_program>>,
    together: &BTreeSet<&str>,
) -> io::Result<BTreeMap<&'a str, Request>> {
    let shared = place()?;
    let mut places = BTreeMap::new();
    let mut names = BTreeMap::new();
    for (name, program) in programs {
        // SAFETY: the program belongs to an object that is prepared.
        let insns = unsafe { sys::bpf_program__insns(program.as_ptr()) } as usize;
        places.insert(insns, if together.contains(name) { place()? } else { shared });
        names.insert(insns, *name);
    }
    *lock(&KEEPING) = Some(Keeping { places, ..Keeping::default() });
    // SAFETY: the object is prepared, and not loaded.
    let result = unsafe { sys::bpf_object__load(object.as_ptr()) };
    let kept = lock(&KEEPING).take().unwrap_or_default();
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(kept.requests.into_iter().filter_map(|(insns, it)| Some((*names.get(&insns)?, it))).collect())
}

/// A descriptor that is open, for as long as we are.
fn place() -> io::Result<RawFd> {
    Ok(std::os::fd::IntoRawFd::into_raw_fd(std::fs::File::open("/dev/null")?))
}

unsafe extern "C" {
    fn __real_bpf_prog_load(
        kind: sys::bpf_prog_type,
        name: *const c_char,
        license: *const c_char,
        insns: *const sys::bpf_insn,
        count: sys::size_t,
        options: *mut sys::bpf_prog_load_opts,
    ) -> c_int;
    fn __real_bpf_prog_bind_map(program: c_int, map: c_int, options: *const sys::bpf_prog_bind_opts)
    -> c_int;
}

/// What is called for `bpf_prog_load` by libbpf, by the name that the linker gives it (`--wrap`).
///
/// # Safety
/// As for `bpf_prog_load`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_bpf_prog_load(
    kind: sys::bpf_prog_type,
    name: *const c_char,
    license: *const c_char,
    insns: *const sys::bpf_insn,
    count: sys::size_t,
    options: *mut sys::bpf_prog_load_opts,
) -> c_int {
    // What libbpf tries out of its own accord is no program of the object.
    if let Some(keeping) = lock(&KEEPING).as_mut()
        && let Some(place) = keeping.places.get(&(insns as usize)).copied()
    {
        // SAFETY: libbpf has given so many instructions, and options of the size that it was built with.
        let (insns, options) = unsafe {
            (slice::from_raw_parts(insns, count as usize), own_descriptors(*options, insns, count))
        };
        let request = Request { kind, name, license, insns, options, place };
        keeping.requests.insert(insns.as_ptr() as usize, request);
        return place;
    }
    // SAFETY: the caller answers for it.
    unsafe { __real_bpf_prog_load(kind, name, license, insns, count, options) }
}

/// The options with descriptors that stay open when libbpf closes those of the types of modules.
///
/// # Safety
/// The options and the instructions are as libbpf gives them.
unsafe fn own_descriptors(
    mut options: sys::bpf_prog_load_opts,
    insns: *const sys::bpf_insn,
    count: sys::size_t,
) -> sys::bpf_prog_load_opts {
    // SAFETY: plain numbers; a descriptor that is not open cannot be copied, and the kernel says so later.
    let copy = |fd: c_int| unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if options.attach_btf_obj_fd > 0 {
        options.attach_btf_obj_fd = copy(options.attach_btf_obj_fd.cast_signed()).cast_unsigned();
    }
    // SAFETY: the caller answers for the number of instructions.
    let insns = unsafe { slice::from_raw_parts(insns, count as usize) };
    let is_call =
        |insn: &&sys::bpf_insn| insn.code == 0x85 && u32::from(insn.src_reg()) == sys::BPF_PSEUDO_KFUNC_CALL;
    let last = insns.iter().filter(is_call).map(|insn| insn.off).max().unwrap_or(0);
    if last > 0 && !options.fd_array.is_null() {
        // Number 0 is the kernel itself, and has no descriptor.
        // SAFETY: the calls refer to the elements by number.
        let fds = unsafe { slice::from_raw_parts(options.fd_array, last.unsigned_abs() as usize + 1) };
        let own: Vec<c_int> =
            fds.iter().enumerate().map(|(index, fd)| if index == 0 { *fd } else { copy(*fd) }).collect();
        options.fd_array = own.leak().as_ptr();
    }
    options
}

/// What is called for `bpf_prog_bind_map`: what holds a place is no program, and those that are loaded hold the maps that they
/// use.
///
/// # Safety
/// As for `bpf_prog_bind_map`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_bpf_prog_bind_map(
    program: c_int,
    map: c_int,
    options: *const sys::bpf_prog_bind_opts,
) -> c_int {
    if lock(&KEEPING).is_some() {
        return 0;
    }
    // SAFETY: the caller answers for it.
    unsafe { __real_bpf_prog_bind_map(program, map, options) }
}

/// The function of the kernel that a program would be attached to, and that this kernel does not have.
pub fn lacks_target(program: NonNull<sys::bpf_program>) -> Option<String> {
    // SAFETY: the program belongs to an object that is prepared.
    let (kind, attach, section) = unsafe {
        let section = CStr::from_ptr(sys::bpf_program__section_name(program.as_ptr()));
        let attach = sys::bpf_program__expected_attach_type(program.as_ptr());
        (sys::bpf_program__type(program.as_ptr()), attach, section.to_str().ok()?)
    };
    let target = section.split_once('/')?.1;
    let (name, of_kind) = match (kind, attach) {
        (sys::BPF_PROG_TYPE_LSM, _) => (format!("bpf_lsm_{target}"), sys::BTF_KIND_FUNC),
        (sys::BPF_PROG_TYPE_TRACING, sys::BPF_TRACE_RAW_TP) => {
            (format!("btf_trace_{target}"), sys::BTF_KIND_TYPEDEF)
        }
        (sys::BPF_PROG_TYPE_TRACING, sys::BPF_TRACE_ITER) => {
            (format!("bpf_iter_{target}"), sys::BTF_KIND_FUNC)
        }
        (sys::BPF_PROG_TYPE_TRACING, _) => (target.to_owned(), sys::BTF_KIND_FUNC),
        _ => return None,
    };
    types::number(&name, of_kind).is_none().then_some(name)
}
