// SPDX-License-Identifier: GPL-2.0-only
//! A ring buffer that the kernel reads from. It is mapped here, so that messages can be wrong as well.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use libbpf_rs::ProgramInput;
use libbpf_sys as sys;

use super::NotRun;
use crate::suite::Programs;
use dynptr_spec::Test;

/// The map, and its size; `bpf/harness.h` has the same.
const MAP: &str = "user_ringbuf";
const RING_BYTES: usize = 64 * 1024;
/// Bytes of a message's header: its length and flags, and four that mean nothing.
const HEADER: usize = 8;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

/// What is put into the buffer before the program drains it, and how often both are done.
type Scenario = (&'static str, u32, fn(&Ring));

/// By the test's name; for all others, it is [`three`].
const SCENARIOS: &[Scenario] = &[
    ("empty", 1, |_| {}),
    ("loop", 40, |ring| ring.post_numbers(0..8)),
    ("discards_properly_ignored", 1, |ring| {
        for number in 0..6u64 {
            let flags = if number % 2 == 0 { DISCARDED } else { 0 };
            ring.post(&number.to_ne_bytes(), 8 | flags);
        }
    }),
    ("only_discards", 1, |ring| (0..3).for_each(|_| ring.post(&[0; 8], 8 | DISCARDED))),
    ("busy", 1, |ring| {
        ring.post_numbers(0..1);
        ring.post(&7u64.to_ne_bytes(), 8 | BUSY);
        ring.post_numbers(2..3);
    }),
    ("post_alignment_autoadjust", 1, |ring| {
        ring.post(&[1, 2, 3, 4, 5], 5);
        ring.post_numbers(9..10);
    }),
    ("sample_full_ring_buffer", 1, |ring| {
        ring.post(&[0x5a; RING_BYTES - HEADER], (RING_BYTES - HEADER) as u32);
    }),
    ("overfill", 2, |ring| ring.post_numbers(0..(RING_BYTES / 16) as u64)),
    ("wraps", 4, |ring| {
        let bytes: Vec<u8> = (0..40_000usize).map(|offset| offset.to_le_bytes()[0]).collect();
        ring.post(&bytes, 40_000);
    }),
    ("post_misaligned", 1, |ring| ring.set_producer(7)),
    ("post_producer_wrong_offset", 1, |ring| ring.set_producer(4)),
    ("post_larger_than_ringbuf_sz", 1, |ring| {
        ring.post(&[0; 8], RING_BYTES as u32);
        ring.set_producer(2 * RING_BYTES as u64);
    }),
    ("longer_than_posted", 1, |ring| ring.post(&[0; 8], 64)),
];

/// The numbers 0 to 2.
fn three(ring: &Ring) {
    ring.post_numbers(0..3);
}

/// Fills the buffer, and has the kernel run the program.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let map = programs.map(MAP)?;
    if test.name == "mappings" {
        check_mappings(map.as_fd())?;
    }
    if test.name == "blocking_reserve" {
        return blocking_reserve(map.as_fd(), programs.get(test.program)?.as_fd());
    }
    let ring = Ring::of_map(map.as_fd()).map_err(|err| format!("cannot map the ring buffer: {err}"))?;
    let known = SCENARIOS.iter().find(|(name, ..)| *name == test.name);
    let (_, rounds, fill) = *known.unwrap_or(&("", 1, three));
    let program = programs.get(test.program)?;
    for _ in 0..rounds {
        fill(&ring);
        program.test_run(ProgramInput::default()).map_err(|err| format!("cannot test-run: {err}"))?;
    }
    Ok(())
}

/// How long libbpf may wait for room: in vain, and while the program makes some.
const IN_VAIN_MS: i32 = 10;
const PATIENCE_MS: i32 = 3000;

/// Fills the buffer with numbers by libbpf's functions, and waits for room while the program drains it: the kernel has to
/// wake who waits.
fn blocking_reserve(map: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), NotRun> {
    // SAFETY: the map is open, and libbpf takes no options as the usual ones. It is freed with the process.
    let ring = unsafe { sys::user_ring_buffer__new(map.as_raw_fd(), ptr::null()) };
    if ring.is_null() {
        return Err(format!("libbpf cannot map the ring buffer: {}", io::Error::last_os_error()).into());
    }
    // SAFETY: the ring buffer is open, and what is handed out has room for a number.
    let post = |number: u64, sample: *mut libc::c_void| unsafe {
        sample.cast::<u64>().write_unaligned(number);
        sys::user_ring_buffer__submit(ring, sample);
    };
    // SAFETY: as above.
    let wait = |milliseconds| unsafe { sys::user_ring_buffer__reserve_blocking(ring, 8, milliseconds) };
    for number in 0..(RING_BYTES / 16) as u64 {
        // SAFETY: as above.
        let sample = unsafe { sys::user_ring_buffer__reserve(ring, 8) };
        if sample.is_null() {
            return Err(format!("no room for number {number}: {}", io::Error::last_os_error()).into());
        }
        post(number, sample);
    }
    if !wait(IN_VAIN_MS).is_null() || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSPC) {
        return Err(format!("a full buffer has room: {}", io::Error::last_os_error()).into());
    }
    let (sample, drained) = std::thread::scope(|scope| {
        let drained = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(IN_VAIN_MS as u64));
            test_run(program)
        });
        (wait(PATIENCE_MS), drained.join())
    });
    drained.map_err(|_| "harness: the thread that drains the buffer panicked".to_owned())??;
    if sample.is_null() {
        return Err(format!("nobody was woken when there was room: {}", io::Error::last_os_error()).into());
    }
    post(4711, sample);
    Ok(test_run(program)?)
}

fn test_run(program: BorrowedFd<'_>) -> Result<(), String> {
    let mut options = sys::bpf_test_run_opts {
        sz: size_of::<sys::bpf_test_run_opts>() as sys::size_t,
        ..Default::default()
    };
    // SAFETY: the program is loaded, and the options have their size in them.
    let result = unsafe { sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    if result < 0 {
        Err(format!("cannot test-run: {}", io::Error::from_raw_os_error(-result)))
    } else {
        Ok(())
    }
}

/// The consumer's position is the kernel's: no process may write it.
fn check_mappings(map: BorrowedFd<'_>) -> Result<(), NotRun> {
    let map_consumer = |protection| {
        // SAFETY: a new mapping takes nothing from anyone.
        unsafe { libc::mmap(ptr::null_mut(), 4096, protection, libc::MAP_SHARED, map.as_raw_fd(), 0) }
    };
    if map_consumer(libc::PROT_READ | libc::PROT_WRITE) != libc::MAP_FAILED {
        return Err("the consumer's position can be mapped for writing".to_owned().into());
    }
    let consumer = map_consumer(libc::PROT_READ);
    if consumer == libc::MAP_FAILED {
        let err = io::Error::last_os_error();
        return Err(format!("the consumer's position cannot be mapped for reading: {err}").into());
    }
    // SAFETY: nobody refers to the mapping.
    if unsafe { libc::mprotect(consumer, 4096, libc::PROT_READ | libc::PROT_WRITE) } == 0 {
        return Err("the consumer's position can be made writable".to_owned().into());
    }
    Ok(())
}

/// The buffer's pages: the producer's position, and the data, which are there twice. They stay mapped for as long as
/// the process lives.
struct Ring {
    producer: *const AtomicU64,
    data: *mut u8,
}

impl Ring {
    fn of_map(map: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: the call only asks.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)?;
        let (length, protection) = (page + 2 * RING_BYTES, libc::PROT_READ | libc::PROT_WRITE);
        // The consumer's page is the first, and the kernel's to write.
        let offset = libc::off_t::try_from(page).map_err(io::Error::other)?;
        // SAFETY: a new mapping takes nothing from anyone.
        let producer = unsafe {
            libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, map.as_raw_fd(), offset)
        };
        if producer == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is that long.
        let data = unsafe { producer.byte_add(page) };
        Ok(Self { producer: producer.cast(), data: data.cast() })
    }

    fn producer(&self) -> &AtomicU64 {
        // SAFETY: it is mapped for as long as the process lives.
        unsafe { &*self.producer }
    }

    fn set_producer(&self, position: u64) {
        self.producer().store(position, Ordering::Release);
    }

    /// Puts a message with that header into the buffer; it has to fit.
    fn post(&self, bytes: &[u8], header: u32) {
        let position = self.producer().load(Ordering::Acquire);
        let at = position as usize % RING_BYTES;
        // SAFETY: `at` is less than the data's length, and behind them they are there once more.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.data.add(at + HEADER), bytes.len());
            (*self.data.add(at).cast::<AtomicU32>()).store(header, Ordering::Release);
        }
        let length = (HEADER + bytes.len()).next_multiple_of(8) as u64;
        self.set_producer(position + length);
    }

    fn post_numbers(&self, numbers: std::ops::Range<u64>) {
        numbers.for_each(|number| self.post(&number.to_ne_bytes(), 8));
    }
}
