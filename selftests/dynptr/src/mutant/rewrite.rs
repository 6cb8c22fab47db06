// SPDX-License-Identifier: GPL-2.0-only
//! A program's instructions, with something wrong in them.

use std::collections::{BTreeMap, BTreeSet};

use libbpf_sys as sys;

use super::mutation::{Mutation, other_release};
use crate::tables::{FUNCTIONS, HELPERS};
use crate::types;

/// `r0 = 0`, where the rest of the instruction is 0 (`BPF_ALU64 | BPF_MOV | BPF_K`).
const MOVE_NUMBER: u8 = 0xb7;
/// The same with 32 bits.
const MOVE_SHORT: u8 = 0xb4;
/// A register into another.
const MOVE: u8 = 0xbf;
/// A jump; without a distance, it does nothing.
const JUMP: u8 = 0x05;
/// Jumps if a register is the number, and if it is not.
const IF_EQUAL: u8 = 0x15;
const IF_DIFFERENT: u8 = 0x55;
/// Jumps if a register is the other one, and if it is not.
const IF_SAME: u8 = 0x1d;
const IF_OTHER: u8 = 0x5d;
/// The kinds of instructions, in the lowest three bits: loads from memory, stores, jumps.
const CLASS: u8 = 7;
const LOAD: u8 = 1;
const STORES: [u8; 2] = [2, 3];
const JUMPS: [u8; 2] = [5, 6];
/// A load of a 64-bit number, such as a map's address.
const LOAD_NUMBER: u8 = 0x18;
/// A call.
const CALL: u8 = 0x85;

/// The numbers by which the running kernel knows its functions.
#[derive(Debug, Default)]
pub struct FunctionIds(BTreeMap<&'static str, i32>);

impl FunctionIds {
    /// Looks up the functions of [`FUNCTIONS`].
    pub fn of_kernel() -> Self {
        let functions = FUNCTIONS.iter().map(|function| function.name);
        Self(functions.filter_map(|it| Some((it, types::number(it, sys::BTF_KIND_FUNC)?))).collect())
    }

    /// Is this a call of that function?
    fn calls(&self, insn: &sys::bpf_insn, function: &str) -> bool {
        let number = match u32::from(insn.src_reg()) {
            0 => helper(function),
            sys::BPF_PSEUDO_KFUNC_CALL => self.0.get(function).copied(),
            _ => None,
        };
        insn.code == CALL && number == Some(insn.imm)
    }
}

/// The instructions as this mutation would have them. Nothing where there is nothing of the kind in them.
pub fn mutated(
    before: &[sys::bpf_insn],
    mutation: Mutation,
    ids: &FunctionIds,
) -> Option<Vec<sys::bpf_insn>> {
    let calls = |function: &str| -> Vec<usize> {
        (0..before.len()).filter(|index| ids.calls(&before[*index], function)).collect()
    };
    let mut insns = before.to_vec();
    let places: BTreeSet<usize> = match mutation {
        Mutation::Lost(function, _)
        | Mutation::SkippedRelease(function)
        | Mutation::ReplacedRelease(function) => calls(function).into_iter().collect(),
        Mutation::Wrong(argument, _) => calls(argument.function)
            .into_iter()
            .filter_map(|call| constant(&before[..call], argument.register))
            .collect(),
        Mutation::MissingBound(function) => {
            calls(function).into_iter().filter_map(|call| bound(before, call)).collect()
        }
        Mutation::Repaired(index) => (index < before.len()).then_some(index).into_iter().collect(),
        Mutation::OtherWords => return None,
    };
    for place in &places {
        let insn = &mut insns[*place];
        match mutation {
            Mutation::Lost(_, value) => *insn = move_number(0, value),
            Mutation::SkippedRelease(_) => *insn = move_number(0, 0),
            Mutation::ReplacedRelease(function) => insn.imm = helper(other_release(function))?,
            Mutation::Wrong(_, more) => insn.imm = insn.imm.wrapping_add(more),
            Mutation::MissingBound(_) => *insn = always_there(insn),
            Mutation::Repaired(_) => *insn = without(insn),
            Mutation::OtherWords => {}
        }
    }
    (!places.is_empty()).then_some(insns)
}

fn move_number(register: u8, value: i32) -> sys::bpf_insn {
    let mut insn = sys::bpf_insn { code: MOVE_NUMBER, imm: value, ..Default::default() };
    insn.set_dst_reg(register);
    insn
}

/// What stands for an instruction that is taken out: what it would have read, or been answered, is 0.
fn without(insn: &sys::bpf_insn) -> sys::bpf_insn {
    if insn.code == CALL {
        move_number(0, 0)
    } else if insn.code & CLASS == LOAD {
        move_number(insn.dst_reg(), 0)
    } else {
        sys::bpf_insn { code: JUMP, ..Default::default() }
    }
}

/// What stands for a jump that asks whether a pointer is null: it goes where it would go if it were not, and the verifier, which
/// refuses what cannot be reached, learns nothing about the pointer.
fn always_there(insn: &sys::bpf_insn) -> sys::bpf_insn {
    let mut same = *insn;
    same.code = if insn.code == IF_DIFFERENT { IF_SAME } else { IF_OTHER };
    same.set_src_reg(insn.dst_reg());
    same
}

/// The instruction, on the straight way to a call, that puts a constant into this register.
fn constant(before: &[sys::bpf_insn], register: u8) -> Option<usize> {
    for (index, insn) in before.iter().enumerate().rev() {
        let class = insn.code & CLASS;
        if JUMPS.contains(&class) {
            return None;
        }
        if !STORES.contains(&class) && insn.code != 0 && insn.dst_reg() == register {
            let is_number = [MOVE_NUMBER, MOVE_SHORT].contains(&insn.code)
                || insn.code == LOAD_NUMBER && insn.src_reg() == 0;
            return is_number.then_some(index);
        }
    }
    None
}

/// The jump, on the straight way from a call, that asks whether its answer is null.
fn bound(insns: &[sys::bpf_insn], call: usize) -> Option<usize> {
    let mut answer = BTreeSet::from([0]);
    for (index, insn) in insns.iter().enumerate().skip(call + 1) {
        if JUMPS.contains(&(insn.code & CLASS)) {
            let asks = [IF_EQUAL, IF_DIFFERENT].contains(&insn.code) && insn.imm == 0;
            return (asks && answer.contains(&insn.dst_reg())).then_some(index);
        }
        if insn.code == MOVE && insn.off == 0 && answer.contains(&insn.src_reg()) {
            answer.insert(insn.dst_reg());
        } else if !STORES.contains(&(insn.code & CLASS)) && insn.code != 0 {
            answer.remove(&insn.dst_reg());
        }
    }
    None
}

/// The number of a function that has one.
fn helper(function: &str) -> Option<i32> {
    HELPERS.iter().find(|helper| helper.1 == function).map(|helper| helper.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "bpf_dynptr_data";
    const READ: &str = "bpf_dynptr_read";
    const DISCARD: &str = "bpf_ringbuf_discard_dynptr";

    fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> sys::bpf_insn {
        let mut insn = sys::bpf_insn { code, off, imm, ..Default::default() };
        insn.set_dst_reg(dst);
        insn.set_src_reg(src);
        insn
    }

    fn call(function: &str) -> sys::bpf_insn {
        insn(CALL, 0, 0, 0, helper(function).expect("it has a number"))
    }

    fn codes(before: &[sys::bpf_insn], mutation: Mutation) -> Option<Vec<(u8, i16, i32)>> {
        let insns = mutated(before, mutation, &FunctionIds::default())?;
        Some(insns.iter().map(|it| (it.code, it.off, it.imm)).collect())
    }

    #[test]
    fn a_check_for_null_is_passed_as_if_there_were_something() {
        for (jump, expected) in [
            (insn(IF_EQUAL, 6, 0, 5, 0), Some((IF_OTHER, 5, 0))),
            (insn(IF_DIFFERENT, 6, 0, 5, 0), Some((IF_SAME, 5, 0))),
            // About something else.
            (insn(IF_EQUAL, 7, 0, 5, 0), None),
            (insn(IF_EQUAL, 6, 0, 5, 3), None),
        ] {
            let program = [call(DATA), insn(MOVE, 6, 0, 0, 0), insn(MOVE_NUMBER, 0, 0, 0, 9), jump];
            let got = codes(&program, Mutation::MissingBound(DATA)).map(|it| it[3]);
            assert_eq!(got, expected, "{:#x} {}", jump.code, jump.dst_reg());
        }
    }

    #[test]
    fn a_release_is_dropped_or_another_one() {
        let program = [call(DISCARD)];
        assert_eq!(codes(&program, Mutation::SkippedRelease(DISCARD)), Some(vec![(MOVE_NUMBER, 0, 0)]));
        let submit = helper("bpf_ringbuf_submit_dynptr").expect("it has a number");
        assert_eq!(codes(&program, Mutation::ReplacedRelease(DISCARD)), Some(vec![(CALL, 0, submit)]));
        assert_eq!(codes(&program, Mutation::SkippedRelease("bpf_dynptr_file_discard")), None);
    }

    #[test]
    fn a_constant_is_changed_where_it_is_put_into_the_register_on_the_straight_way() {
        let offset = super::super::mutation::mutations_of(READ)
            .into_iter()
            .find(|it| it.name() == format!("{READ}.wrong_offset"))
            .expect("it has one");
        let number = insn(MOVE_NUMBER, 4, 0, 0, 7);
        assert_eq!(codes(&[number, call(READ)], offset).map(|it| it[0].2), Some(8));
        assert_eq!(codes(&[number, insn(JUMP, 0, 0, 0, 0), call(READ)], offset), None);
        assert_eq!(codes(&[number, insn(MOVE, 4, 1, 0, 0), call(READ)], offset), None);
    }
}
