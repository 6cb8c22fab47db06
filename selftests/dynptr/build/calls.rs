// SPDX-License-Identifier: GPL-2.0-only
//! Which functions of the kernel each program calls and which maps it uses, as the compiled object says: nobody has to
//! write it down.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind};

/// Bytes of an instruction.
const INSN: u64 = 8;
/// The opcode of a call.
const CALL: u8 = 0x85;
/// The opcode of a load of 64 bits, which has two parts.
const LOAD64: u8 = 0x18;
/// The value of a call's source register where a function of the program is called (`BPF_PSEUDO_CALL`).
const OF_PROGRAM: u8 = 1;

/// A function of the object: a program, or one that programs share.
#[derive(Debug, Default)]
struct Function {
    calls: BTreeSet<String>,
    maps: BTreeSet<String>,
    functions: BTreeSet<String>,
    section: String,
}

/// What a program refers to.
#[derive(Debug, Default)]
pub struct Uses {
    /// Functions of the kernel.
    pub calls: BTreeSet<String>,
    /// Maps.
    pub maps: BTreeSet<String>,
    /// The section that it is in itself.
    pub section: String,
}

/// Program → what it uses, itself or in what it calls. `helpers` are the functions that
/// are known by number; those with a name are found as the object has them.
pub fn of_programs(object: &Path, helpers: &BTreeMap<i32, String>) -> Result<BTreeMap<String, Uses>, String> {
    let at = |err: &dyn std::fmt::Display| format!("cannot read {}: {err}", object.display());
    let bytes = std::fs::read(object).map_err(|err| at(&err))?;
    let file = object::File::parse(&*bytes).map_err(|err| at(&err))?;
    let functions = functions(&file, helpers).map_err(|err| at(&err))?;
    Ok(functions.keys().map(|name| (name.clone(), closure(name, &functions))).collect())
}

/// What all functions use that can be reached from one.
fn closure(name: &str, functions: &BTreeMap<String, Function>) -> Uses {
    let section = functions.get(name).map_or_else(String::new, |it| it.section.clone());
    let mut uses = Uses { section, ..Uses::default() };
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([name.to_owned()]);
    while let Some(function) = queue.pop_front().filter(|name| seen.insert(name.clone())) {
        if let Some(found) = functions.get(&function) {
            uses.calls.extend(found.calls.iter().cloned());
            uses.maps.extend(found.maps.iter().cloned());
            queue.extend(found.functions.iter().filter(|it| !seen.contains(*it)).cloned());
        }
    }
    uses
}

fn functions(
    file: &object::File<'_>,
    helpers: &BTreeMap<i32, String>,
) -> Result<BTreeMap<String, Function>, String> {
    let mut functions = BTreeMap::new();
    for symbol in file.symbols().filter(|it| it.kind() == SymbolKind::Text && it.size() > 0) {
        let name = symbol.name().map_err(|err| err.to_string())?.to_owned();
        let Some(index) = symbol.section_index() else { continue };
        let section = file.section_by_index(index).map_err(|err| err.to_string())?;
        let range = symbol.address()..symbol.address() + symbol.size();
        let section_name = section.name().map_err(|err| err.to_string())?.to_owned();
        let mut function = Function { section: section_name, ..Function::default() };
        by_number(&mut function, file, &section, range.clone(), helpers)?;
        by_relocation(&mut function, file, &section, range)?;
        functions.insert(name, function);
    }
    Ok(functions)
}

/// Helpers, and functions of the same section, which are called by distance.
fn by_number(
    function: &mut Function,
    file: &object::File<'_>,
    section: &object::Section<'_, '_>,
    range: std::ops::Range<u64>,
    helpers: &BTreeMap<i32, String>,
) -> Result<(), String> {
    let code = section.data().map_err(|err| err.to_string())?;
    // What is to be relocated has a number that means something else.
    let relocated: BTreeSet<u64> = section.relocations().map(|(offset, _)| offset).collect();
    let mut offset = range.start;
    while offset < range.end {
        let insn = code
            .get(offset as usize..(offset + INSN) as usize)
            .ok_or("a function is longer than its section")?;
        let number = i32::from_le_bytes([insn[4], insn[5], insn[6], insn[7]]);
        match (insn[0], insn[1] >> 4) {
            (CALL, 0) => function.calls.extend(helpers.get(&number).cloned()),
            (CALL, OF_PROGRAM) if !relocated.contains(&offset) => {
                let target = offset.wrapping_add_signed((i64::from(number) + 1) * INSN as i64);
                function.functions.extend(function_at(file, section.index(), target));
            }
            _ => {}
        }
        offset += if insn[0] == LOAD64 { 2 * INSN } else { INSN };
    }
    Ok(())
}

/// Functions of the kernel that have a name, and functions of other sections.
fn by_relocation(
    function: &mut Function,
    file: &object::File<'_>,
    section: &object::Section<'_, '_>,
    range: std::ops::Range<u64>,
) -> Result<(), String> {
    let code = section.data().map_err(|err| err.to_string())?;
    for (offset, relocation) in section.relocations().filter(|(offset, _)| range.contains(offset)) {
        let RelocationTarget::Symbol(index) = relocation.target() else { continue };
        let symbol = file.symbol_by_index(index).map_err(|err| err.to_string())?;
        let name = symbol.name().map_err(|err| err.to_string())?;
        let insn = &code[offset as usize..(offset + INSN) as usize];
        let number = i32::from_le_bytes([insn[4], insn[5], insn[6], insn[7]]);
        match (symbol.is_undefined(), insn[0]) {
            (true, CALL) => {
                function.calls.insert(name.split("___").next().unwrap_or(name).to_owned());
            }
            (false, CALL) if symbol.kind() == SymbolKind::Text => {
                function.functions.insert(name.to_owned());
            }
            (false, CALL | LOAD64) if symbol.kind() == SymbolKind::Section => {
                // A static function, by its distance from the section's beginning: a call counts instructions from
                // the next one, a callback's address bytes.
                let target =
                    if insn[0] == CALL { (i64::from(number) + 1) * INSN as i64 } else { i64::from(number) };
                let section = symbol.section_index().ok_or("a section without a number")?;
                function.functions.extend(function_at(file, section, target as u64));
            }
            (false, LOAD64) if section_name(file, &symbol)? == ".maps" => {
                function.maps.insert(name.to_owned());
            }
            (false, LOAD64) if symbol.kind() == SymbolKind::Text => {
                function.functions.insert(name.to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

fn section_name(file: &object::File<'_>, symbol: &object::Symbol<'_, '_>) -> Result<String, String> {
    let Some(index) = symbol.section_index() else { return Ok(String::new()) };
    let section = file.section_by_index(index).map_err(|err| err.to_string())?;
    Ok(section.name().map_err(|err| err.to_string())?.to_owned())
}

fn function_at(file: &object::File<'_>, section: SectionIndex, address: u64) -> Option<String> {
    file.symbols()
        .find(|it| {
            it.kind() == SymbolKind::Text
                && it.section_index() == Some(section)
                && it.address() == address
                && it.size() > 0
        })
        .and_then(|it| it.name().ok().map(str::to_owned))
}
