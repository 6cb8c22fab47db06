// SPDX-License-Identifier: GPL-2.0-only
//! The BPF object: prepared once, loaded program by program.
//!
//! libbpf parses the kernel's BTF once per object and looks every function up in it. So there is one object, and
//! [`Suite::prepare`] does all of that in the parent: BTF, look-ups, relocations, maps, all but to give the programs to the
//! kernel ([`loader`]). Each test then [loads][Suite::load] one program in a forked copy, which costs one system call. What
//! tests must not share are maps: each copy gets new ones under the old file descriptors, which the instructions refer to.

#[cfg(feature = "selftests")]
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{NonNull, null};
use std::sync::Mutex;

use libbpf_rs::{
    AsRawLibbpf, Link, MapCore, MapFlags, Object, ObjectBuilder, PrintLevel, Program, ProgramMut, set_print,
};
use libbpf_sys as sys;

use crate::isolate::lock;
use crate::loader::{self, Request};
use crate::report::{CONFIG_MAP, Config, REPORT_MAP, Report};
use crate::tables;
use crate::types;
use dynptr_spec::Test;

/// How much the verifier tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing about a program that it takes, and the way to what it refuses in one that it should have taken.
    Surprise,
    /// The way to what it refuses.
    Refusal,
    /// Every way through the program, instruction by instruction, with the lines of the source.
    Everything,
}

impl Detail {
    fn level(self) -> u32 {
        match self {
            // libbpf loads it once more to get the log.
            Self::Surprise => 0,
            Self::Refusal => 1,
            Self::Everything => 2,
        }
    }

    /// Space for the log. Kernels since 6.4 keep its end where it is longer, older ones its beginning.
    fn bytes(self) -> usize {
        match self {
            Self::Surprise | Self::Refusal => 1 << 20,
            Self::Everything => 16 << 20,
        }
    }
}

/// An object's programs.
type ByName = BTreeMap<&'static str, NonNull<sys::bpf_program>>;

/// The object, ready to load programs of.
pub struct Suite {
    /// For as long as the harness: tests' processes have copies of it, and none takes it apart.
    object: &'static Object,
    /// Its programs, by name.
    programs: &'static ByName,
    /// Those that were asked for, but for what is in `unattachable`.
    requests: BTreeMap<&'static str, Request>,
    /// Programs for a function that this kernel does not have, and its name.
    unattachable: BTreeMap<&'static str, String>,
    /// Programs that this process has changed.
    #[cfg(feature = "selftests")]
    changed: RefCell<BTreeMap<String, &'static [sys::bpf_insn]>>,
}

/// What loading came to.
pub enum Loaded {
    /// The verifier took the programs.
    Accepted {
        /// They can be run.
        programs: Programs,
        /// The verifier's log of the program under test.
        log: String,
    },
    /// It did not take one of them.
    Refused {
        /// The verifier's log.
        log: String,
        /// What the system call, or libbpf before it, had to say.
        reason: String,
    },
}

impl Suite {
    /// Prepares the object for these tests, and only these: a kernel may know nothing of the others' maps.
    ///
    /// # Errors
    /// What libbpf says where it cannot: it is our object or the kernel's BPF that does not work then.
    pub fn prepare(tests: &[&Test]) -> Result<Self, String> {
        set_print(Some((PrintLevel::Warn, keep_message)));
        let mut object = ObjectBuilder::default()
            .name("dynptr")
            .and_then(|builder| builder.open_memory(tables::object()))
            .map_err(|err| explain("cannot open", &err))?;
        let programs: BTreeSet<&str> = tests.iter().flat_map(|test| test.programs()).collect();
        for mut program in object.progs_mut() {
            let wanted = program.name().to_str().is_some_and(|name| programs.contains(&name));
            program.set_autoload(wanted);
        }
        let maps: BTreeSet<&str> = tests.iter().flat_map(|test| test.maps).copied().collect();
        for mut map in object.maps_mut() {
            // Those of global data have names of their own.
            let wanted = map.name().to_str().is_some_and(|name| name.contains('.') || maps.contains(name));
            map.set_autocreate(wanted).map_err(|err| explain("cannot leave a map out", &err))?;
        }
        let object = object.take_ptr();
        // SAFETY: the object is open and not loaded.
        let result = unsafe { sys::bpf_object__prepare(object.as_ptr()) };
        if result < 0 {
            return Err(explain("cannot prepare", &io::Error::from_raw_os_error(-result)));
        }
        let all = programs_of(object);
        let unattachable: BTreeMap<&str, String> = all
            .iter()
            .filter(|(name, _)| programs.contains(*name))
            .filter_map(|(name, program)| Some((*name, loader::lacks_target(*program)?)))
            .collect();
        for name in unattachable.keys() {
            // SAFETY: the program is not loaded.
            unsafe { sys::bpf_program__set_autoload(all[name].as_ptr(), false) };
        }
        let together = tests.iter().flat_map(|test| test.programs().skip(1)).collect();
        let requests =
            loader::load(object, &all, &together).map_err(|err| explain("cannot prepare to load", &err))?;
        types::forget();
        // SAFETY: libbpf has loaded it.
        let object = Box::leak(Box::new(unsafe { Object::from_ptr(object) }));
        let all = Box::leak(Box::new(all));
        Ok(Self {
            object,
            programs: all,
            requests,
            unattachable,
            #[cfg(feature = "selftests")]
            changed: RefCell::default(),
        })
    }

    /// Loads these programs (the first is the one under test) with maps that nothing else has. To be called in a
    /// child process, once.
    ///
    /// # Errors
    /// Where new maps cannot be had, or there is no such program.
    pub fn load(&self, programs: &[&str], config: Config, detail: Detail) -> Result<Loaded, String> {
        self.renew_maps(programs)?;
        take_messages();
        let mut told = String::new();
        for name in programs {
            if let Some(target) = self.unattachable.get(name) {
                let reason = format!("program {name}: this kernel has no {target} to attach it to");
                return Ok(Loaded::Refused { log: String::new(), reason });
            }
            let request = self.requests.get(name).ok_or_else(|| format!("no program {name} was prepared"))?;
            #[cfg(feature = "selftests")]
            let insns = self.changed.borrow().get(*name).copied().unwrap_or(request.insns());
            #[cfg(not(feature = "selftests"))]
            let insns = request.insns();
            // What a test expects of a log is about the program under test.
            let is_first = programs.first() == Some(name);
            let (result, log) = give(request, insns, if is_first { detail } else { Detail::Surprise });
            if let Err(err) = result {
                return Ok(Loaded::Refused {
                    log,
                    reason: explain(&format!("program {name}: not loaded"), &err),
                });
            }
            if is_first {
                told = log;
            }
        }
        let programs = Programs { object: self.object, programs: self.programs };
        programs.configure(config)?;
        Ok(Loaded::Accepted { programs, log: told })
    }

    /// Has this process load a program with other instructions. They are leaked: a test's process
    /// ends soon.
    #[cfg(feature = "selftests")]
    pub fn change(&self, program: &str, insns: Vec<sys::bpf_insn>) {
        self.changed.borrow_mut().insert(program.to_owned(), insns.leak());
    }

    /// A program's instructions, those of the functions that it calls behind its own. Nothing where there is no such program.
    #[cfg(feature = "selftests")]
    pub fn instructions(&self, program: &str) -> &'static [sys::bpf_insn] {
        self.program(program).map_or(&[], instructions)
    }

    fn program(&self, name: &str) -> Option<NonNull<sys::bpf_program>> {
        self.programs.get(name).copied()
    }

    /// The descriptors of the maps that these programs refer to.
    fn maps_of(&self, programs: &[&str]) -> BTreeSet<i32> {
        let programs = programs.iter().filter_map(|name| self.program(name));
        programs
            .flat_map(|program| instructions(program).iter())
            .filter(|insn| {
                insn.code == LOAD_NUMBER
                    && [sys::BPF_PSEUDO_MAP_FD, sys::BPF_PSEUDO_MAP_VALUE]
                        .contains(&u32::from(insn.src_reg()))
            })
            .map(|insn| insn.imm)
            .collect()
    }

    /// Puts a new map in the place of each one that the programs refer to.
    fn renew_maps(&self, programs: &[&str]) -> Result<(), String> {
        let used = self.maps_of(programs);
        // SAFETY: programs of an open object have a type.
        let kind = |program: NonNull<_>| unsafe { sys::bpf_program__type(program.as_ptr()) };
        let operate = programs
            .iter()
            .filter_map(|name| self.program(name))
            .any(|it| kind(it) == sys::BPF_PROG_TYPE_STRUCT_OPS);
        let object = self.object.as_libbpf_object();
        let mut map = null();
        loop {
            // SAFETY: the object is open, and `map` is null or the one before.
            map = unsafe { sys::bpf_object__next_map(object.as_ptr(), map) }.cast_const();
            let Some(found) = NonNull::new(map.cast_mut()) else { return Ok(()) };
            // SAFETY: a map of an object that is prepared has a descriptor, or -1 where it was left out.
            let (fd, kind) = unsafe { (sys::bpf_map__fd(map), sys::bpf_map__type(map)) };
            // No instruction refers to a structure of operations.
            let is_ops = kind == sys::BPF_MAP_TYPE_STRUCT_OPS
                && operate
                // SAFETY: as above.
                && unsafe { sys::bpf_map__autocreate(map) };
            if !used.contains(&fd) && !is_ops {
                continue;
            }
            renew(object, found).map_err(|err| {
                // SAFETY: a map of an open object has a name.
                let name = unsafe { CStr::from_ptr(sys::bpf_map__name(map)) };
                format!("cannot make a new map {}: {err}", name.to_string_lossy())
            })?;
        }
    }
}

/// A load of a 64-bit number, such as a map's address.
const LOAD_NUMBER: u8 = 0x18;

/// A program's instructions, those of the functions that it calls behind its own.
fn instructions(program: NonNull<sys::bpf_program>) -> &'static [sys::bpf_insn] {
    // SAFETY: the program belongs to an object that is prepared and is not freed; libbpf says how many instructions
    // there are.
    unsafe {
        let count = sys::bpf_program__insn_cnt(program.as_ptr());
        std::slice::from_raw_parts(sys::bpf_program__insns(program.as_ptr()), count as usize)
    }
}

/// Gives a program to the kernel. The log is what the verifier says, as far as it was asked.
fn give(request: &Request, insns: &[sys::bpf_insn], detail: Detail) -> (io::Result<()>, String) {
    let level = detail.level();
    if level == 0 {
        match request.load(insns, 0, &mut []) {
            Ok(()) => return (Ok(()), String::new()),
            // Once more, for the words.
            Err(_) => return give(request, insns, Detail::Refusal),
        }
    }
    with_log(detail.bytes(), |log| {
        // Where the verifier is not even asked.
        log[0] = 0;
        let result = request.load(insns, level, log);
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        (result, String::from_utf8_lossy(&log[..end]).into_owned())
    })
}

/// Lends what the verifier writes to, of that many bytes. It is kept: to have the kernel give so much memory, and to give it back,
/// takes its time. Not locked meanwhile: who is killed in the verifier unlocks nothing, and its memory may be that of others.
pub fn with_log<R>(bytes: usize, work: impl FnOnce(&mut [u8]) -> R) -> R {
    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let mut log = std::mem::take(&mut *lock(&LOG));
    if log.len() < bytes {
        log = vec![0; bytes];
    }
    let result = work(&mut log[..bytes]);
    *lock(&LOG) = log;
    result
}

/// The programs of an object, by name.
fn programs_of(object: NonNull<sys::bpf_object>) -> ByName {
    let next = |program: *mut sys::bpf_program| {
        // SAFETY: the object is open, and `program` is null or the one before.
        NonNull::new(unsafe { sys::bpf_object__next_program(object.as_ptr(), program) })
    };
    std::iter::successors(next(std::ptr::null_mut()), |program| next(program.as_ptr()))
        .filter_map(|program| {
            // SAFETY: a program of an open object has a name, for as long as the object is open: always.
            let name = unsafe { CStr::from_ptr(sys::bpf_program__name(program.as_ptr())) };
            Some((name.to_str().ok()?, program))
        })
        .collect()
}

/// Makes a map like this one, with the contents that it had in the object file, under the same descriptor.
fn renew(object: NonNull<sys::bpf_object>, map: NonNull<sys::bpf_map>) -> io::Result<()> {
    let map = map.as_ptr();
    // SAFETY: all of these read properties of a map of an object that is open and prepared.
    let (fd, map_type, key_size, value_size, max_entries, internal, mut options) = unsafe {
        let options = sys::bpf_map_create_opts {
            sz: size_of::<sys::bpf_map_create_opts>() as sys::size_t,
            btf_fd: u32::try_from(sys::bpf_object__btf_fd(object.as_ptr())).unwrap_or(0),
            btf_key_type_id: sys::bpf_map__btf_key_type_id(map),
            btf_value_type_id: sys::bpf_map__btf_value_type_id(map),
            map_flags: sys::bpf_map__map_flags(map),
            map_extra: sys::bpf_map__map_extra(map),
            ..Default::default()
        };
        (
            sys::bpf_map__fd(map),
            sys::bpf_map__type(map),
            sys::bpf_map__key_size(map),
            sys::bpf_map__value_size(map),
            sys::bpf_map__max_entries(map),
            sys::bpf_map__is_internal(map),
            options,
        )
    };
    if options.map_flags & sys::BPF_F_RDONLY_PROG != 0 {
        // Constants: frozen, nobody can change them.
        return Ok(());
    }
    if map_type == sys::BPF_MAP_TYPE_STRUCT_OPS {
        // Its values are the kernel's, and so is their type.
        options = sys::bpf_map_create_opts {
            btf_key_type_id: 0,
            btf_value_type_id: 0,
            btf_vmlinux_value_type_id: kernel_type(fd)?,
            ..options
        };
    }
    // SAFETY: the options have their size in them; a map needs no name.
    let new = unsafe {
        sys::bpf_map_create(map_type, null(), key_size, value_size, max_entries, &raw const options)
    };
    if new < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was made just now, and is nobody else's.
    let new = unsafe { OwnedFd::from_raw_fd(new) };
    if internal && map_type != sys::BPF_MAP_TYPE_STRUCT_OPS {
        let mut value = vec![0u8; value_size as usize];
        copy_value(fd, new.as_raw_fd(), &mut value)?;
    }
    // SAFETY: both are open descriptors.
    if unsafe { libc::dup3(new.as_raw_fd(), fd, libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The kernel's type of the values of a structure of operations.
fn kernel_type(fd: i32) -> io::Result<u32> {
    let mut info = sys::bpf_map_info::default();
    let mut length = size_of::<sys::bpf_map_info>() as u32;
    // SAFETY: the structure is as long as is said.
    let result = unsafe { sys::bpf_map_get_info_by_fd(fd, &raw mut info, &raw mut length) };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(info.btf_vmlinux_value_type_id)
}

/// Copies value 0 of a map with one value, which has the size of `buffer`.
fn copy_value(from: i32, to: i32, buffer: &mut [u8]) -> io::Result<()> {
    let key = 0u32;
    let value = buffer.as_mut_ptr();
    // SAFETY: the maps of global data have keys of 4 bytes, and values of the buffer's size.
    let result = unsafe {
        match sys::bpf_map_lookup_elem(from, (&raw const key).cast(), value.cast()) {
            0 => sys::bpf_map_update_elem(to, (&raw const key).cast(), value.cast(), 0),
            failed => failed,
        }
    };
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

/// Programs that are loaded.
pub struct Programs {
    object: &'static Object,
    programs: &'static ByName,
}

impl Programs {
    /// The program of this name.
    pub fn get(&self, name: &str) -> Result<ProgramMut<'_>, String> {
        let program = self.programs.get(name).ok_or_else(|| format!("the object has no program {name}"))?;
        // SAFETY: it belongs to the object, and nobody else changes it while a test uses it.
        Ok(ProgramMut::new_mut(unsafe { &mut *program.as_ptr() }))
    }

    /// Has the kernel use a structure of operations, under the name that it has in it.
    pub fn attach_ops(&self, map: &str) -> Result<Link, String> {
        let found = self.map(map)?;
        // SAFETY: the map belongs to an object that is loaded.
        let link = unsafe { sys::bpf_map__attach_struct_ops(found.as_libbpf_object().as_ptr()) };
        let link = NonNull::new(link).ok_or_else(|| explain("cannot attach", &io::Error::last_os_error()))?;
        // SAFETY: libbpf made it just now.
        Ok(unsafe { Link::from_ptr(link) })
    }

    /// What the programs have reported so far.
    pub fn report(&self) -> Result<Report, String> {
        let value = self
            .map(REPORT_MAP)?
            .lookup(&0u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|err| explain("cannot read the report", &err))?;
        value
            .as_deref()
            .and_then(Report::from_bytes)
            .ok_or_else(|| format!("the map {REPORT_MAP} does not have the report's layout"))
    }

    /// Tells the programs what they have to know.
    pub fn configure(&self, config: Config) -> Result<(), String> {
        self.map(CONFIG_MAP)?
            .update(&0u32.to_ne_bytes(), &config.to_bytes(), MapFlags::ANY)
            .map_err(|err| explain("cannot write the configuration", &err))
    }

    /// The map of this name.
    pub fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, String> {
        self.object
            .maps()
            .find(|map| map.name().to_str() == Some(name))
            .ok_or_else(|| format!("the object has no map {name}"))
    }
}

/// Attaches a program to this process' network namespace; it stays for as long as the process.
pub fn attach_namespace(program: &Program<'_>) -> io::Result<()> {
    let namespace = std::fs::File::open("/proc/self/ns/net")?;
    // SAFETY: the program is loaded, and the descriptor open.
    let link =
        unsafe { sys::bpf_program__attach_netns(program.as_libbpf_object().as_ptr(), namespace.as_raw_fd()) };
    if link.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Attaches a program to TC ingress of an interface; it stays for as long as the process.
pub fn attach_tcx_ingress(program: &Program<'_>, interface: i32) -> io::Result<()> {
    // SAFETY: the program is loaded; libbpf takes no options as the usual ones.
    let link =
        unsafe { sys::bpf_program__attach_tcx(program.as_libbpf_object().as_ptr(), interface, null()) };
    if link.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What libbpf wrote since it was asked last.
static MESSAGES: Mutex<String> = Mutex::new(String::new());

#[expect(clippy::needless_pass_by_value, reason = "the signature is that of libbpf-rs")]
fn keep_message(_level: PrintLevel, message: String) {
    if let Ok(mut messages) = MESSAGES.lock() {
        messages.push_str(&message);
    }
}

/// Takes libbpf's messages.
fn take_messages() -> String {
    MESSAGES.lock().map(|mut messages| std::mem::take(&mut *messages)).unwrap_or_default()
}

/// An error with what libbpf wrote about it.
fn explain(what: &str, err: &dyn std::fmt::Display) -> String {
    let messages = take_messages();
    // libbpf repeats the log among its messages; we have it, and it is long.
    let messages = messages.split("-- BEGIN PROG LOAD LOG --").next().unwrap_or_default();
    format!("{what}: {err}\n{}", messages.trim_end()).trim_end().to_owned()
}
