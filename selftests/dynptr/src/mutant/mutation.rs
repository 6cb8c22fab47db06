// SPDX-License-Identifier: GPL-2.0-only
//! The ways in which a program can be wrong.

use crate::tables::FUNCTIONS;
use dynptr_spec::{Run, Test};

/// What is wrong with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// This function of the kernel is not called, as if it did nothing; this is what it answers.
    Lost(&'static str, i32),
    /// The constants that a function gets as this argument are that much larger.
    Wrong(&'static Argument, i32),
    /// It is not asked whether this function gave any memory.
    MissingBound(&'static str),
    /// This function, which gives something back, is not called.
    SkippedRelease(&'static str),
    /// It is the other function that gives records back.
    ReplacedRelease(&'static str),
    /// The instruction with this number is not there, for which the verifier refuses the program.
    Repaired(usize),
    /// The program is as it is, and words are expected that no verifier says.
    OtherWords,
}

/// An argument that can be wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Argument {
    /// The function.
    pub function: &'static str,
    /// What it is.
    pub name: &'static str,
    /// Where it is.
    pub register: u8,
}

const fn argument(function: &'static str, name: &'static str, register: u8) -> Argument {
    Argument { function, name, register }
}

/// Offsets and sizes; and flags, which nobody knows: with one, the function fails.
const ARGUMENTS: &[Argument] = &[
    argument("bpf_dynptr_adjust", "start", 2),
    argument("bpf_dynptr_adjust", "end", 3),
    argument("bpf_dynptr_copy", "to_offset", 2),
    argument("bpf_dynptr_copy", "from_offset", 4),
    argument("bpf_dynptr_copy", "size", 5),
    argument("bpf_dynptr_data", "offset", 2),
    argument("bpf_dynptr_data", "size", 3),
    argument("bpf_dynptr_from_file", "flags", 2),
    argument("bpf_dynptr_from_mem", "size", 2),
    argument("bpf_dynptr_from_mem", "flags", 3),
    argument("bpf_dynptr_from_skb", "flags", 2),
    argument("bpf_dynptr_from_skb_meta", "flags", 2),
    argument("bpf_dynptr_from_xdp", "flags", 2),
    argument("bpf_dynptr_memset", "offset", 2),
    argument("bpf_dynptr_memset", "size", 3),
    argument("bpf_dynptr_memset", "byte", 4),
    argument("bpf_dynptr_read", "size", 2),
    argument("bpf_dynptr_read", "offset", 4),
    argument("bpf_dynptr_read", "flags", 5),
    argument("bpf_dynptr_slice", "offset", 2),
    argument("bpf_dynptr_slice", "size", 4),
    argument("bpf_dynptr_slice_rdwr", "offset", 2),
    argument("bpf_dynptr_slice_rdwr", "size", 4),
    argument("bpf_dynptr_write", "offset", 2),
    argument("bpf_dynptr_write", "size", 4),
    argument("bpf_dynptr_write", "flags", 5),
    argument("bpf_ringbuf_reserve_dynptr", "size", 2),
    argument("bpf_ringbuf_reserve_dynptr", "flags", 3),
    argument("bpf_probe_read_kernel_dynptr", "offset", 2),
    argument("bpf_probe_read_kernel_dynptr", "size", 3),
    argument("bpf_probe_read_kernel_str_dynptr", "offset", 2),
    argument("bpf_probe_read_kernel_str_dynptr", "size", 3),
    argument("bpf_probe_read_user_dynptr", "offset", 2),
    argument("bpf_probe_read_user_dynptr", "size", 3),
    argument("bpf_probe_read_user_str_dynptr", "offset", 2),
    argument("bpf_probe_read_user_str_dynptr", "size", 3),
    argument("bpf_copy_from_user_dynptr", "offset", 2),
    argument("bpf_copy_from_user_dynptr", "size", 3),
    argument("bpf_copy_from_user_str_dynptr", "offset", 2),
    argument("bpf_copy_from_user_str_dynptr", "size", 3),
    argument("bpf_copy_from_user_task_dynptr", "offset", 2),
    argument("bpf_copy_from_user_task_dynptr", "size", 3),
    argument("bpf_copy_from_user_task_str_dynptr", "offset", 2),
    argument("bpf_copy_from_user_task_str_dynptr", "size", 3),
];

/// They give memory, or null where there is none in these bounds.
const GIVE_MEMORY: [&str; 3] = ["bpf_dynptr_data", "bpf_dynptr_slice", "bpf_dynptr_slice_rdwr"];
/// How records end.
const END_RECORDS: [&str; 2] = ["bpf_ringbuf_submit_dynptr", "bpf_ringbuf_discard_dynptr"];
/// What has to be called for a dynptr that holds something.
const RELEASE: [&str; 3] = [END_RECORDS[0], END_RECORDS[1], "bpf_dynptr_file_discard"];

/// The other way in which a record can end.
pub fn other_release(function: &str) -> &'static str {
    if function == END_RECORDS[0] { END_RECORDS[1] } else { END_RECORDS[0] }
}

impl Mutation {
    /// What the mutant's name has for it behind the test's.
    pub fn name(self) -> String {
        match self {
            Self::Lost(function, _) => format!("{function}.lost"),
            Self::Wrong(argument, _) => format!("{}.wrong_{}", argument.function, argument.name),
            Self::MissingBound(function) => format!("{function}.missing_bound"),
            Self::SkippedRelease(function) => format!("{function}.skipped_release"),
            Self::ReplacedRelease(function) => format!("{function}.replaced_release"),
            Self::Repaired(_) => "repaired".into(),
            Self::OtherWords => "other_words".into(),
        }
    }

    /// The same the other way, for what the test expects anyhow.
    pub fn opposite(self) -> Option<Self> {
        match self {
            Self::Lost(function, 0) => Some(Self::Lost(function, 1)),
            Self::Wrong(argument, 1) => Some(Self::Wrong(argument, -1)),
            _ => None,
        }
    }

    /// The words with which the verifier has to refuse the mutant, where it is the verifier that has to notice.
    pub fn refused_with(self) -> Option<&'static str> {
        match self {
            // "invalid mem access 'mem_or_null'", "type=mem_or_null expected=…"
            Self::MissingBound(_) => Some("_or_null"),
            // "Unreleased reference id=3", "Leaking reference id=3", "cannot overwrite referenced dynptr"
            Self::SkippedRelease(_) => Some("reference"),
            _ => None,
        }
    }
}

/// What can be wrong with a test.
pub fn mutations(test: &Test) -> Vec<Mutation> {
    if matches!(test.run, Run::Rejected(_)) {
        // Which instruction it is, the verifier says.
        return vec![Mutation::Repaired(0)];
    }
    let calls = FUNCTIONS.iter().map(|function| function.name).filter(|name| test.calls.contains(name));
    calls.flat_map(mutations_of).collect()
}

/// What can be chosen to be wrong with a test. That other words fail it is so of all that are refused, in the same few lines of
/// code: there is no need to try each.
pub fn choice(test: &Test) -> Vec<Mutation> {
    let words = matches!(test.run, Run::Rejected(_)).then_some(Mutation::OtherWords);
    mutations(test).into_iter().chain(words).collect()
}

/// What can be wrong with the calls of a function.
pub fn mutations_of(function: &'static str) -> Vec<Mutation> {
    let is_release = RELEASE.contains(&function);
    let whole = if is_release { Mutation::SkippedRelease(function) } else { Mutation::Lost(function, 0) };
    let arguments = ARGUMENTS.iter().filter(|it| it.function == function).map(|it| Mutation::Wrong(it, 1));
    let bound = GIVE_MEMORY.contains(&function).then_some(Mutation::MissingBound(function));
    let other = END_RECORDS.contains(&function).then_some(Mutation::ReplacedRelease(function));
    std::iter::once(whole).chain(arguments).chain(bound).chain(other).collect()
}
