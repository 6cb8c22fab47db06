//! What can be read out of what was linked: a kernel's signature and its BTF.

use std::ops::Range;
use std::path::Path;

use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use sha2::{Digest, Sha256};

use crate::cancel::Cancel;
use crate::error::{Error, IoContext, Result};
use crate::event::BtfFacts;

use super::outdated::each_file;
use kvet_host::hash::Sha256Hex;

/// NT_GNU_BUILD_ID (elf.h).
const BUILD_ID: u32 = 3;
/// Where the linker puts a module's (`ld --build-id`).
const BUILD_ID_SECTION: &str = ".note.gnu.build-id";
/// Largest vmlinux or module without debug information, in bytes.
const MAX_FILE: u64 = 512 << 20;
/// `struct btf_header` (Documentation/bpf/btf.rst): magic, version, flags, length, and four numbers.
const BTF_HEADER: usize = 24;
const BTF_MAGIC: u16 = 0xeb9f;
const KINDS: [&str; 20] = [
    "void",
    "int",
    "ptr",
    "array",
    "struct",
    "union",
    "enum",
    "fwd",
    "typedef",
    "volatile",
    "const",
    "restrict",
    "func",
    "func_proto",
    "var",
    "datasec",
    "float",
    "decl_tag",
    "type_tag",
    "enum64",
];

/// What tells kernels apart: a hash of the config, of vmlinux and of the modules, as far as they say what the kernel does.
#[derive(Default)]
pub(super) struct Signature(Sha256);

impl Signature {
    /// Takes the options of a config.
    pub fn config(&mut self, text: &str) {
        for line in text.lines().filter(|l| !l.starts_with("# ") || l.ends_with("is not set")) {
            self.0.update(line);
            self.0.update("\n");
        }
    }

    /// Takes everything in a vmlinux but its build id: that one is the hash of the debug information, too, which has been
    /// taken away. Gives what is known of its BTF.
    ///
    /// # Errors
    /// The host's: it is none, or cannot be read.
    pub fn vmlinux(&mut self, vmlinux: &Path) -> Result<BtfFacts> {
        let mut bytes = read(vmlinux)?;
        let damaged = || Error::host(format!("{} is no vmlinux", vmlinux.display()));
        let places = build_ids(&bytes).ok_or_else(damaged)?;
        for (start, length) in places {
            bytes.get_mut(start..start + length).ok_or_else(damaged)?.fill(0);
        }
        self.0.update(&bytes);
        Ok(section(&bytes, ".BTF").map(facts).unwrap_or_default())
    }

    /// Takes the modules below a folder, by name, without their build ids. Where there are none, nothing changes.
    ///
    /// # Errors
    /// The host's: they cannot be read. Interrupted.
    pub fn modules(&mut self, folder: &Path, cancel: &Cancel) -> Result<()> {
        let mut paths = Vec::new();
        each_file(folder, cancel, &mut |dir, name, _| {
            paths.extend(name.contains(".ko").then(|| dir.join(name)));
            Ok(())
        })?;
        paths.sort();
        for path in paths {
            cancel.check()?;
            let mut bytes = read(&path)?;
            if let Some(range) = section_range(&bytes, BUILD_ID_SECTION)
                && let Some(id) = bytes.get_mut(range)
            {
                id.fill(0);
            }
            self.0.update(path.strip_prefix(folder).unwrap_or(&path).as_os_str().as_encoded_bytes());
            self.0.update((bytes.len() as u64).to_le_bytes());
            self.0.update(&bytes);
        }
        Ok(())
    }

    /// The hash of all of it.
    pub fn end(self) -> Sha256Hex {
        Sha256Hex::from_digest(&self.0.finalize())
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let size = file.metadata().host(format_args!("read {}", file.display()))?.len();
    if size > MAX_FILE {
        return Err(Error::host(format!("{} has {size} bytes: too large", file.display())));
    }
    std::fs::read(file).host(format_args!("read {}", file.display()))
}

/// Where the descriptions of build ids are. A note may be seen twice, through a segment and through another one.
fn build_ids(bytes: &[u8]) -> Option<Vec<(usize, usize)>> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let mut places = Vec::new();
    for segment in header.program_headers(endian, bytes).ok()? {
        let Ok(Some(mut notes)) = segment.notes(endian, bytes) else { continue };
        while let Ok(Some(note)) = notes.next() {
            if note.name() == b"GNU" && note.n_type(endian).0 == BUILD_ID {
                let start = note.desc().as_ptr() as usize - bytes.as_ptr() as usize;
                places.push((start, note.desc().len()));
            }
        }
    }
    Some(places)
}

fn section<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    bytes.get(section_range(bytes, name)?)
}

/// Where a section is in a file.
fn section_range(bytes: &[u8], name: &str) -> Option<Range<usize>> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let (_, section) = sections.section_by_name(endian, name.as_bytes())?;
    let (start, length) = section.file_range(endian)?;
    Some(start.try_into().ok()?..start.checked_add(length)?.try_into().ok()?)
}

/// Counts the types.
fn facts(btf: &[u8]) -> BtfFacts {
    let mut facts = BtfFacts { bytes: btf.len() as u64, ..BtfFacts::default() };
    let word = |at: usize| btf.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let (Some(first), Some(header), Some(types), Some(length), Some(strings), Some(strings_length)) =
        (word(0), word(4), word(8), word(12), word(16), word(20))
    else {
        return facts;
    };
    if first & 0xffff != usize::from(BTF_MAGIC) || header < BTF_HEADER {
        return facts;
    }
    let text = btf.get(header + strings..header + strings + strings_length).unwrap_or_default();
    facts.kfuncs_marked = text.split(|c| *c == 0).any(|name| name == b"bpf_kfunc");
    let mut at = header + types;
    let end = at + length;
    while at + 12 <= end {
        let Some(info) = word(at + 4) else { break };
        let (kind, count) = (info >> 24 & 0x1f, info & 0xffff);
        *facts.kinds.entry(KINDS.get(kind).copied().unwrap_or("unknown").to_string()).or_default() += 1;
        at += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * count,
                6 | 13 => 8 * count,
                _ => 0,
            };
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_counted_by_kind() {
        let mut types = Vec::new();
        let mut add = |kind: u32, count: u32, extra: usize| {
            types.extend_from_slice(&1u32.to_le_bytes());
            types.extend_from_slice(&(kind << 24 | count).to_le_bytes());
            types.extend_from_slice(&4u32.to_le_bytes());
            types.extend(std::iter::repeat_n(0u8, extra));
        };
        add(1, 0, 4);
        add(4, 2, 24);
        add(13, 3, 24);
        add(12, 0, 0);
        add(17, 0, 4);
        let strings = b"\0int\0bpf_kfunc\0";
        let mut btf = Vec::new();
        btf.extend_from_slice(&BTF_MAGIC.to_le_bytes());
        btf.extend_from_slice(&[1, 0]);
        for word in [24u32, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            btf.extend_from_slice(&word.to_le_bytes());
        }
        btf.extend_from_slice(&types);
        btf.extend_from_slice(strings);
        let found = facts(&btf);
        let shown: Vec<String> = found.kinds.iter().map(|(k, n)| format!("{k} {n}")).collect();
        assert_eq!(shown, ["decl_tag 1", "func 1", "func_proto 1", "int 1", "struct 1"]);
        assert!(found.kfuncs_marked);
        assert_eq!(facts(b"short"), BtfFacts { bytes: 5, ..BtfFacts::default() });
    }

    #[test]
    fn our_own_executable_has_a_signature_that_its_build_id_does_not_change() {
        let dir = tempfile::tempdir().unwrap();
        let original = std::env::current_exe().unwrap();
        let copy = dir.path().join("vmlinux");
        let mut bytes = std::fs::read("/bin/true").unwrap();
        std::fs::write(&copy, &bytes).unwrap();
        let signature = |config: &str, vmlinux: &Path| -> Result<_> {
            let mut signature = Signature::default();
            signature.config(config);
            let btf = signature.vmlinux(vmlinux)?;
            Ok((signature.end(), btf))
        };
        let (first, btf) = signature("# comment\nCONFIG_A=y\n", &copy).unwrap();
        assert_eq!(btf, BtfFacts::default());
        assert_eq!(signature("# other\nCONFIG_A=y\n", &copy).unwrap().0, first);
        assert_ne!(signature("CONFIG_A=y\n# CONFIG_B is not set\n", &copy).unwrap().0, first);
        let places = build_ids(&bytes).unwrap();
        assert!(!places.is_empty(), "Debian's programs have build ids");
        for (start, length) in places {
            bytes[start..start + length].fill(7);
        }
        std::fs::write(&copy, &bytes).unwrap();
        assert_eq!(signature("CONFIG_A=y\n", &copy).unwrap().0, first);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&copy, &bytes).unwrap();
        assert_ne!(signature("CONFIG_A=y\n", &copy).unwrap().0, first);
        assert!(signature("", Path::new("/dev/null")).is_err() && original.exists());
    }

    #[test]
    fn modules_count_by_name_and_content_without_their_build_ids() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = Cancel::new().unwrap();
        let signature = || {
            let mut signature = Signature::default();
            signature.modules(dir.path(), &cancel).unwrap();
            signature.end()
        };
        let module = dir.path().join("kernel/net/m.ko");
        std::fs::create_dir_all(module.parent().unwrap()).unwrap();
        std::fs::write(dir.path().join("modules.builtin"), "kernel/x.ko\n").unwrap();
        assert_eq!(signature(), Signature::default().end(), "without modules it is what it was");
        let mut bytes = std::fs::read("/bin/true").unwrap();
        std::fs::write(&module, &bytes).unwrap();
        let first = signature();
        assert_ne!(first, Signature::default().end());
        let id = section_range(&bytes, BUILD_ID_SECTION).unwrap();
        bytes[id].fill(7);
        std::fs::write(&module, &bytes).unwrap();
        assert_eq!(signature(), first);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&module, &bytes).unwrap();
        let changed = signature();
        assert_ne!(changed, first);
        std::fs::rename(&module, module.with_file_name("n.ko")).unwrap();
        assert_ne!(signature(), changed);
        std::fs::write(&module, "compressed, or no module at all").unwrap();
        signature();
    }
}
