//! One module file: decompressed within bounds, and what it says about itself.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection};

use crate::error::{Error, IoContext, Result};

/// The largest module that is taken, decompressed, in bytes. Debian's largest, amdgpu of 7.2, has 49 MB.
pub const MAX_MODULE_BYTES: u64 = 256 << 20;

/// What a decoder may allocate, in bytes. The kernel's build compresses with dictionaries of 2 MiB (xz) and
/// 8 MiB (zstd); a file that asks for more than this is not from there.
const MAX_DECODER_BYTES: u64 = 128 << 20;

/// What a module's `.modinfo` section says, as far as loading it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Modules that it cannot be loaded without, as modpost found them: those built in are not among them.
    pub depends: Vec<String>,
    /// Modules that its `softdep` wants before it.
    pub pre: Vec<String>,
    /// Modules that its `softdep` wants after it.
    pub post: Vec<String>,
    /// What it answers to; globs.
    pub aliases: Vec<String>,
    /// The kernel release that it was built for: the first word of `vermagic`.
    pub release: Option<String>,
    /// Whether it carries symbol versions, so that a kernel of another release may take it.
    pub versioned: bool,
}

/// Reads a module file, compressed (xz, zstd, gzip) or not, and returns the ELF file in it.
///
/// # Errors
/// It cannot be read (the host's fault), or is damaged, too large, or no ELF file (the kernel's).
pub fn read_module(path: &Path) -> Result<Vec<u8>> {
    read_bounded(path, MAX_MODULE_BYTES)
}

fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let action = || format!("read module {}", path.display());
    let bad = |why: &str| Error::kernel(format!("module {} {why}", path.display()));
    let too_large = || bad(&format!("is larger than {} MiB", limit >> 20));
    let file = File::open(path).host(action())?;
    let mut packed = Vec::new();
    // One byte more than allowed shows that there is more.
    file.take(limit + 1).read_to_end(&mut packed).host(action())?;
    if packed.len() as u64 > limit {
        return Err(too_large());
    }
    let elf = match Packing::of(&packed) {
        Packing::None => packed,
        packing => {
            let damaged = |e| bad(&format!("does not decompress ({packing:?})")).because(e);
            let mut elf = Vec::new();
            let decoder = packing.decoder(&packed).map_err(damaged)?;
            decoder.take(limit + 1).read_to_end(&mut elf).map_err(damaged)?;
            elf
        }
    };
    if elf.len() as u64 > limit {
        return Err(too_large());
    }
    if !elf.starts_with(b"\x7fELF") {
        return Err(bad("is not an ELF file"));
    }
    Ok(elf)
}

/// How a module file is packed. Told by its first bytes: the end of the name is only a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Xz,
    Zstd,
    Gzip,
}

impl Packing {
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
            [0x1f, 0x8b, ..] => Packing::Gzip,
            _ => Packing::None,
        }
    }

    fn decoder<'a>(self, packed: &'a [u8]) -> std::io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Packing::None => Box::new(packed),
            Packing::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(MAX_DECODER_BYTES, 0)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(packed, stream))
            }
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(MAX_DECODER_BYTES.ilog2())?;
                Box::new(decoder)
            }
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        })
    }
}

/// Reads the `.modinfo` section of a module.
///
/// # Errors
/// It is no 64-bit ELF file, or has no such section; the text says what.
pub fn parse(elf: &[u8]) -> std::result::Result<ModuleInfo, String> {
    let file = ElfFile64::<Endianness>::parse(elf).map_err(|e| format!("is not a 64-bit ELF file: {e}"))?;
    let section = file.section_by_name(".modinfo").ok_or("has no .modinfo section")?;
    let data = section.data().map_err(|e| format!("has a damaged .modinfo section: {e}"))?;
    let mut info = read_fields(data);
    info.versioned = file.section_by_name("__versions").is_some();
    Ok(info)
}

/// Takes `.modinfo` apart: strings of the form `key=value`, each with a NUL behind it.
fn read_fields(data: &[u8]) -> ModuleInfo {
    let mut info = ModuleInfo::default();
    for field in data.split(|&byte| byte == 0) {
        // Bytes that are no text cannot name a module that exists under a name of text.
        let Ok(Some((key, value))) = std::str::from_utf8(field).map(|text| text.split_once('=')) else {
            continue;
        };
        match key {
            "depends" => {
                info.depends.extend(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
            }
            "alias" => info.aliases.push(value.to_owned()),
            "softdep" => read_softdep(value, &mut info.pre, &mut info.post),
            "vermagic" => info.release = value.split_whitespace().next().map(str::to_owned),
            _ => {}
        }
    }
    info
}

/// Reads `pre: a b post: c` (modprobe.d(5)).
pub fn read_softdep(text: &str, pre: &mut Vec<String>, post: &mut Vec<String>) {
    let mut list = None;
    for word in text.split_whitespace() {
        match word {
            "pre:" => list = Some(&mut *pre),
            "post:" => list = Some(&mut *post),
            name => {
                if let Some(list) = &mut list {
                    list.push(name.to_owned());
                }
            }
        }
    }
}

/// Makes ELF files that are modules as far as this room can tell.
#[cfg(test)]
pub(super) mod fixture {
    /// A section's name, its contents, and nothing else that a module has.
    fn elf(sections: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut names = b"\0".to_vec();
        let mut headers = vec![[0u8; 64]];
        let mut body: Vec<u8> = Vec::new();
        let mut add = |name: &str, kind: u32, data: &[u8], names: &mut Vec<u8>| {
            let mut header = [0u8; 64];
            header[0..4].copy_from_slice(&u32::try_from(names.len()).unwrap().to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
            header[48..56].copy_from_slice(&1u64.to_le_bytes());
            names.extend(name.bytes().chain([0]));
            let data = if name == ".shstrtab" { names.clone() } else { data.to_vec() };
            header[32..40].copy_from_slice(&(data.len() as u64).to_le_bytes());
            body.extend(&data);
            headers.push(header);
        };
        for (name, data) in sections {
            add(name, 1, data, &mut names);
        }
        add(".shstrtab", 3, &[], &mut names);
        let mut file = vec![0u8; 64];
        // ELFCLASS64, little-endian, version 1; relocatable, x86-64.
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..20].copy_from_slice(&[1, 0, 62, 0]);
        file[20] = 1;
        file[40..48].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
        file[52] = 64;
        file[58] = 64;
        file[60] = u8::try_from(headers.len()).unwrap();
        file[62] = u8::try_from(headers.len() - 1).unwrap();
        file.extend(body);
        file.extend(headers.concat());
        file
    }

    /// A module with these `.modinfo` fields, and a signature appended as the kernel's build does.
    pub fn module(fields: &[&str]) -> Vec<u8> {
        let info = fields.iter().flat_map(|field| field.bytes().chain([0])).collect();
        let mut module = elf(&[(".text", vec![0x90; 37]), (".modinfo", info)]);
        sign(&mut module);
        module
    }

    fn sign(module: &mut Vec<u8>) {
        module.extend(b"signature");
        module.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        module.extend(b"~Module signature appended~\n");
    }

    /// A module with symbol versions.
    pub fn versioned_module(fields: &[&str]) -> Vec<u8> {
        let info = fields.iter().flat_map(|field| field.bytes().chain([0])).collect();
        elf(&[("__versions", vec![0; 64]), (".modinfo", info)])
    }

    /// An ELF file that is no module.
    pub fn other_elf() -> Vec<u8> {
        elf(&[(".text", vec![0x90])])
    }

    pub fn xz(bytes: &[u8]) -> Vec<u8> {
        liblzma::encode_all(bytes, 1).unwrap()
    }

    pub fn zst(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    pub fn gz(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_module_says_what_it_needs() {
        let elf = fixture::module(&[
            "license=GPL",
            "alias=fs-9p",
            "alias=second",
            "depends=9pnet,netfs",
            "softdep=pre: a b post: c",
            "softdep=pre: d",
            "vermagic=7.2.12+deb13-amd64 SMP preempt mod_unload ",
            "parm=no equals sign in front",
            "empty",
        ]);
        let info = parse(&elf).unwrap();
        assert_eq!(info.depends, strings(&["9pnet", "netfs"]));
        assert_eq!(info.pre, strings(&["a", "b", "d"]));
        assert_eq!(info.post, strings(&["c"]));
        assert_eq!(info.aliases, strings(&["fs-9p", "second"]));
        assert_eq!(info.release.as_deref(), Some("7.2.12+deb13-amd64"));
        assert!(!info.versioned);
        assert_eq!(parse(&fixture::module(&["depends="])).unwrap(), ModuleInfo::default());
        assert!(parse(&fixture::versioned_module(&["depends="])).unwrap().versioned);
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(parse(&fixture::other_elf()).unwrap_err().contains(".modinfo"));
        assert!(parse(b"\x7fELF").unwrap_err().contains("64-bit ELF"));
        let module = fixture::module(&["depends=a"]);
        for length in 0..module.len() {
            // Cut anywhere: an error or a module, never a panic.
            let _ = parse(&module[..length]);
        }
        let mut other_class = module;
        other_class[4] = 1;
        assert!(parse(&other_class).is_err());
    }

    #[test]
    fn every_compression_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let module = fixture::module(&["depends=a"]);
        // The name lies on purpose: only the bytes count.
        for (name, bytes) in [
            ("a.ko", module.clone()),
            ("b.ko", fixture::xz(&module)),
            ("c.ko.gz", fixture::zst(&module)),
            ("d.ko.gz", fixture::gz(&module)),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read_module(&path).unwrap(), module, "{name}");
        }
    }

    #[test]
    fn bombs_and_damage_are_the_kernels_fault_and_end_early() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.ko");
        let refuse = |bytes: &[u8], limit, expected: &str| {
            std::fs::write(&path, bytes).unwrap();
            let e = read_bounded(&path, limit).unwrap_err();
            assert_eq!(e.fault(), Fault::Kernel);
            assert!(e.to_string().contains(expected) && e.to_string().contains("m.ko"), "{e}");
        };
        let mut big = b"\x7fELF".to_vec();
        big.resize(3 << 20, 0);
        for pack in [fixture::xz, fixture::zst, fixture::gz] {
            let packed = pack(&big);
            refuse(&packed, 1 << 20, "larger than 1 MiB");
            refuse(&packed[..packed.len() / 2], 4 << 20, "does not decompress");
            std::fs::write(&path, &packed).unwrap();
            assert_eq!(read_bounded(&path, 3 << 20).unwrap().len(), 3 << 20, "exactly the limit is taken");
        }
        refuse(&big, (3 << 20) - 1, "larger than 2 MiB");
        refuse(b"", 1 << 20, "not an ELF");
        refuse(&fixture::gz(b"text"), 1 << 20, "not an ELF");
        let missing = read_module(&folder.path().join("absent.ko")).unwrap_err();
        assert_eq!(missing.fault(), Fault::Host);
    }
}
