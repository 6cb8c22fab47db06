// SPDX-License-Identifier: GPL-2.0-only
//! A ring buffer that programs write to. It is mapped here and read as a consumer does: what is in the records, which of
//! them were discarded, and whether who waits for them was woken.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use libbpf_rs::ProgramInput;

use super::NotRun;
use crate::suite::Programs;
use dynptr_spec::Test;

/// The map, and its size; `bpf/harness.h` has the same.
pub const MAP: &str = "ringbuf";
const RING_BYTES: usize = 64 * 1024;
/// Bytes of a record's header: its length with two flags, and a number that is the kernel's own.
const HEADER: usize = 8;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

/// A record as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Record {
    /// What was submitted.
    Submitted(Vec<u8>),
    /// So many bytes that nobody should look at.
    Discarded(usize),
}

/// A record that a program should have left: its length, and what is at an offset of it.
struct Wanted {
    bytes: usize,
    /// None where it should have been discarded.
    has: Option<(usize, &'static [u8])>,
}

const fn submitted(bytes: usize, offset: usize, text: &'static [u8]) -> Wanted {
    Wanted { bytes, has: Some((offset, text)) }
}

const fn discarded(bytes: usize) -> Wanted {
    Wanted { bytes, has: None }
}

/// What tests leave in the buffer, by their names; `bpf/ringbuf.bpf.c` and others write it.
const LEFT: &[(&str, &[Wanted])] = &[
    ("dynptr_overwrite_clone_with_original", &[submitted(32, 28, &78u32.to_ne_bytes())]),
    ("dynptr_overwrite_ref_clone_slice_valid", &[submitted(32, 25, &[79])]),
    ("dynptr_overwrite_ref_with_clone", &[discarded(32)]),
    ("test_dynptr_copy_ringbuf", &[submitted(32, 8, &0x1122_3344_5566_7788u64.to_ne_bytes()), discarded(32)]),
    ("test_ringbuf", &[submitted(16, 8, &0x1122_3344_5566_7788u64.to_ne_bytes())]),
    ("test_ringbuf_clone", &[submitted(16, 4, &0x1122_3344u32.to_ne_bytes())]),
    ("test_ringbuf_data_slice", &[submitted(24, 16, &0x1122_3344_5566_7788u64.to_ne_bytes())]),
    ("test_ringbuf_discard", &[discarded(32), submitted(8, 0, &0x1122_3344_5566_7788u64.to_ne_bytes())]),
    ("test_ringbuf_reserve_flags", &[]),
    ("test_ringbuf_reserve_too_large", &[]),
    ("test_ringbuf_reserve_zero", &[submitted(0, 0, &[])]),
];

/// Runs of the tests about waking: whether everything is consumed before, and whether the program's record then has to
/// wake who waits. Without flags only the record does that the consumer waits for.
const WAKING: &[(bool, bool)] = &[
    (true, true),   // no flags, an empty buffer
    (false, false), // no flags, and there is something to read already
    (false, false), // BPF_RB_NO_WAKEUP
    (false, true),  // BPF_RB_FORCE_WAKEUP
    (true, false),  // BPF_RB_NO_WAKEUP, an empty buffer
    (true, true),   // no flags, an empty buffer again
];

/// Waking takes a moment: the kernel does it in an interrupt of its own. So long it may take, and so long it is waited for
/// in vain.
const PATIENCE_MS: i32 = 3000;
const IN_VAIN_MS: i32 = 20;

/// Runs the program, and sees what it has left in the buffer.
pub fn run(test: &Test, programs: &Programs) -> Result<(), NotRun> {
    let map = programs.map(MAP)?;
    let ring = Ring::of_map(map.as_fd()).map_err(|err| format!("cannot map the ring buffer: {err}"))?;
    if let Some(discards) = match test.name {
        "test_ringbuf_wakeup_discard" => Some(true),
        "test_ringbuf_wakeup_submit" => Some(false),
        _ => None,
    } {
        return waking(test, programs, &ring, map.as_fd(), discards);
    }
    let wanted = LEFT.iter().find(|(name, _)| *name == test.name).map(|it| it.1);
    let wanted = wanted.ok_or_else(|| format!("harness: nobody says what {} leaves", test.name))?;
    test_run(test, programs)?;
    Ok(compare(&ring.consume()?, wanted)?)
}

/// Sees what a program has left that was run in another way: records that were discarded, unless something else is known.
///
/// # Errors
/// What is in the buffer and should not be, or is missing.
pub fn left(test: &Test, programs: &Programs) -> Result<(), String> {
    let map = programs.map(MAP)?;
    let ring = Ring::of_map(map.as_fd()).map_err(|err| format!("cannot map the ring buffer: {err}"))?;
    let records = ring.consume()?;
    if let Some((_, wanted)) = LEFT.iter().find(|(name, _)| *name == test.name) {
        return compare(&records, wanted);
    }
    match records.iter().find(|it| matches!(it, Record::Submitted(_))) {
        Some(record) => Err(format!("{record:?} is in the buffer, expected none but what was discarded")),
        None => Ok(()),
    }
}

fn test_run(test: &Test, programs: &Programs) -> Result<(), String> {
    let program = programs.get(test.program)?;
    program.test_run(ProgramInput::default()).map_err(|err| format!("cannot test-run: {err}"))?;
    Ok(())
}

/// Are these the records that should be there?
fn compare(records: &[Record], wanted: &[Wanted]) -> Result<(), String> {
    if records.len() != wanted.len() {
        return Err(format!("{} records are in the buffer, expected {}", records.len(), wanted.len()));
    }
    for (index, (record, wanted)) in records.iter().zip(wanted).enumerate() {
        let fits = match (record, wanted.has) {
            (Record::Discarded(bytes), None) => *bytes == wanted.bytes,
            (Record::Submitted(bytes), Some((offset, text))) => {
                bytes.len() == wanted.bytes && bytes.get(offset..offset + text.len()) == Some(text)
            }
            _ => false,
        };
        if !fits {
            let what = match wanted.has {
                None => format!("{} bytes, discarded", wanted.bytes),
                Some((offset, text)) => format!("{} bytes with {text:?} at {offset}", wanted.bytes),
            };
            return Err(format!("record {index} is {record:?}, expected {what}"));
        }
    }
    Ok(())
}

/// Runs the program several times, each of which makes a record with the run's number, its bits inverted, and waits for it.
fn waking(
    test: &Test,
    programs: &Programs,
    ring: &Ring,
    map: BorrowedFd<'_>,
    discards: bool,
) -> Result<(), NotRun> {
    let waiter = Waiter::of(map).map_err(|err| format!("cannot wait for the ring buffer: {err}"))?;
    let mut records = Vec::new();
    for (index, (consumed, wakes)) in WAKING.iter().enumerate() {
        if *consumed {
            records.extend(ring.consume()?);
        }
        test_run(test, programs)?;
        let woken = waiter.is_woken(if *wakes { PATIENCE_MS } else { IN_VAIN_MS });
        let woken = woken.map_err(|err| format!("cannot wait for the ring buffer: {err}"))?;
        if woken != *wakes {
            let (was, wanted) = if woken { ("was", "nobody") } else { ("was not", "it") };
            return Err(format!("run {index}: who waits {was} woken, and {wanted} had to be").into());
        }
    }
    records.extend(ring.consume()?);
    let expected: Vec<Record> =
        (0..WAKING.len() as u64)
            .map(|it| {
                if discards { Record::Discarded(8) } else { Record::Submitted((!it).to_ne_bytes().to_vec()) }
            })
            .collect();
    if records != expected {
        return Err(format!("the records are {records:?}, expected {expected:?}").into());
    }
    Ok(())
}

/// Waits for the buffer. It is told of changes only (`EPOLLET`): what can be read without one wakes nobody.
struct Waiter(OwnedFd);

impl Waiter {
    fn of(map: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a new descriptor takes nothing from anyone.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was made just now, and is nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 0 };
        // SAFETY: both descriptors are open, and the call only reads the event.
        let result =
            unsafe { libc::epoll_ctl(fd.as_raw_fd(), libc::EPOLL_CTL_ADD, map.as_raw_fd(), &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(fd)) }
    }

    fn is_woken(&self, milliseconds: i32) -> io::Result<bool> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: there is room for the one event.
        match unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, milliseconds) } {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The buffer's pages: the consumer's position, the producer's, and the data, which are there twice. They stay mapped for
/// as long as the process lives.
struct Ring {
    consumer: *const AtomicU64,
    producer: *const AtomicU64,
    data: *const u8,
}

impl Ring {
    fn of_map(map: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: the call only asks.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)?;
        let mapping = |length, protection, offset: usize| {
            let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
            // SAFETY: a new mapping takes nothing from anyone.
            let start = unsafe {
                libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, map.as_raw_fd(), offset)
            };
            if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start) }
        };
        let consumer = mapping(page, libc::PROT_READ | libc::PROT_WRITE, 0)?;
        let producer = mapping(page + 2 * RING_BYTES, libc::PROT_READ, page)?;
        // SAFETY: the mapping is that long.
        let data = unsafe { producer.byte_add(page) };
        Ok(Self { consumer: consumer.cast(), producer: producer.cast(), data: data.cast() })
    }

    /// Takes all records out of the buffer.
    fn consume(&self) -> Result<Vec<Record>, String> {
        // SAFETY: both are mapped for as long as the process lives.
        let (consumer, producer) = unsafe { (&*self.consumer, &*self.producer) };
        let mut records = Vec::new();
        let mut position = consumer.load(Ordering::Acquire);
        while position < producer.load(Ordering::Acquire) {
            let at = position as usize % RING_BYTES;
            // SAFETY: `at` is less than the data's length and a multiple of 8.
            let header = unsafe { (*self.data.add(at).cast::<AtomicU32>()).load(Ordering::Acquire) };
            if header & BUSY != 0 {
                return Err(format!("the record at {position} is neither submitted nor discarded"));
            }
            let length = (header & !DISCARDED) as usize;
            if length > RING_BYTES - HEADER {
                return Err(format!("the record at {position} says that it has {length} bytes"));
            }
            records.push(if header & DISCARDED == 0 {
                // SAFETY: the data are there twice, so no record reaches over their end.
                let bytes = unsafe { std::slice::from_raw_parts(self.data.add(at + HEADER), length) };
                Record::Submitted(bytes.to_vec())
            } else {
                Record::Discarded(length)
            });
            position += (HEADER + length).next_multiple_of(8) as u64;
            consumer.store(position, Ordering::Release);
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_to_be_the_one_that_was_written() {
        let wanted = [submitted(4, 1, b"yz"), discarded(8)];
        let good = [Record::Submitted(b"xyzx".to_vec()), Record::Discarded(8)];
        assert_eq!(compare(&good, &wanted), Ok(()));
        let other = |record: Record| [record, Record::Discarded(8)];
        for bad in [
            Record::Submitted(b"xxzx".to_vec()),
            Record::Submitted(b"xyz".to_vec()),
            Record::Discarded(4),
            Record::Submitted(Vec::new()),
        ] {
            assert!(compare(&other(bad.clone()), &wanted).is_err(), "{bad:?}");
        }
        assert!(compare(&good[..1], &wanted).is_err());
        let text = compare(&[good[0].clone(), Record::Submitted(vec![0; 8])], &wanted).unwrap_err();
        assert!(text.ends_with("expected 8 bytes, discarded"), "{text}");
    }

    #[test]
    fn every_test_of_ring_buffers_is_one_of_the_table() {
        let known =
            |name: &str| LEFT.iter().any(|it| it.0 == name) || name.starts_with("test_ringbuf_wakeup_");
        for test in crate::tables::GROUPS.iter().flat_map(|group| group.tests) {
            let is_ours = matches!(test.run, dynptr_spec::Run::Trigger(dynptr_spec::Trigger::Ringbuf));
            assert!(!is_ours || known(test.name), "{}", test.name);
        }
    }
}
