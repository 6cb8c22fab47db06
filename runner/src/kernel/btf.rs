//! The kernel's own type information, out of its image: what `vmlinux.h` is made from.
//!
//! Format: Documentation/bpf/btf.rst. In an ELF file it is the section `.BTF`; an arm64 Image has no sections, and is
//! searched for the header.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use object::{Object, ObjectSection};

use crate::error::{Error, IoContext, Result};

use super::vmlinux::{MAX_VMLINUX, open_payload};
use super::{Cache, ImageKind, Kernel};
use kvet_host::hash::Sha256Hex;

/// The name in the kernel's cache entry.
const FILE_NAME: &str = "btf";
/// Magic number, version 1, no flags, a header of 24 bytes: little endian, as on both architectures.
const HEADER: [u8; 8] = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
const HEADER_LEN: usize = 24;
/// The types of a kernel's own BTF have megabytes, those of a module that is linked in by chance kilobytes.
const MIN_TYPES: usize = 100_000;

/// A kernel's BTF, as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Btf {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of it.
    pub sha256: Sha256Hex,
}

/// A kernel's BTF, taken out of its image at the first call.
///
/// # Errors
/// The kernel's: it has none. The host's: files cannot be read or written, or the image is damaged.
pub fn ensure_btf(kernel: &Kernel, cache: &Cache) -> Result<Btf> {
    let path = match kernel.is_cached() {
        true => kernel.image.with_file_name(FILE_NAME),
        // Beside the indexes of other trees that are not ours.
        false => cache.root().join("initramfs").join(format!("{}.btf", kernel.facts.image_sha256)),
    };
    if !path.is_file() {
        let context = format!("read the BTF of {}", kernel.image.display());
        let image = plain(&kernel.image, kernel.image_kind).host(&context)?;
        let btf = find(&image).ok_or_else(|| {
            Error::kernel(format!("{} {} has no BTF", kernel.spec, kernel.facts.release))
                .hint("a kernel needs CONFIG_DEBUG_INFO_BTF=y for BPF selftests to be built for it")
        })?;
        cache.publish(&path, |file| file.write_all(btf).host(format!("write {}", path.display())))?;
    }
    let bytes = fs::read(&path).host(format!("read {}", path.display()))?;
    Ok(Btf { path, sha256: Sha256Hex::of(&bytes) })
}

/// The image as the kernel has it in memory, or its ELF file.
fn plain(image: &Path, kind: ImageKind) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut source: Box<dyn Read> = match kind {
        ImageKind::BzImage => open_payload(image)?
            .ok_or_else(|| std::io::Error::other("its compression is none of gzip, xz and zstd"))?,
        ImageKind::ImageGz => Box::new(GzDecoder::new(File::open(image)?)),
        // One with its debug information may be large.
        ImageKind::Vmlinux => return Ok(section(image)?.unwrap_or_default()),
        ImageKind::Image => Box::new(File::open(image)?),
    };
    source.by_ref().take(MAX_VMLINUX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_VMLINUX {
        return Err(std::io::Error::other(format!("it has more than {MAX_VMLINUX} bytes")));
    }
    Ok(bytes)
}

/// The section of an ELF file, read piece by piece.
fn section(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let cache = object::ReadCache::new(File::open(path)?);
    let file = object::File::parse(&cache).map_err(std::io::Error::other)?;
    match file.section_by_name(".BTF") {
        Some(section) if section.size() <= MAX_VMLINUX => {
            section.data().map(|data| Some(data.to_vec())).map_err(std::io::Error::other)
        }
        _ => Ok(None),
    }
}

/// The BTF in an image: by its section where there are any, else the largest thing that has its header.
fn find(image: &[u8]) -> Option<&[u8]> {
    if image.starts_with(b"\x7fELF") {
        let file = object::File::parse(image).ok()?;
        let data = file.section_by_name(".BTF")?.data().ok()?;
        return length(data).filter(|length| *length <= data.len()).map(|length| &data[..length]);
    }
    let starts = memchr::memmem::find_iter(image, &HEADER);
    let found = starts.filter_map(|at| Some(&image[at..][..length(&image[at..])?]));
    found.max_by_key(|btf| btf.len())
}

/// How long the BTF is that begins here, if one does: types, and then a string section that begins with an empty one.
fn length(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..HEADER_LEN)?;
    let word =
        |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
    let (types_at, types, strings_at, strings) = (word(8), word(12), word(16), word(20));
    let end = HEADER_LEN.checked_add(strings_at)?.checked_add(strings)?;
    let ordered = types_at == 0 && types >= MIN_TYPES && strings_at == types && strings > 0;
    let closed = || bytes.get(HEADER_LEN + strings_at) == Some(&0) && bytes.get(end - 1) == Some(&0);
    (header.starts_with(&HEADER) && ordered && closed()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btf(types: usize) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        for word in [0, types as u32, types as u32, 5] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend(vec![7; types]);
        bytes.extend_from_slice(b"\0int\0");
        bytes
    }

    #[test]
    fn the_largest_that_is_whole_is_taken() {
        let whole = btf(MIN_TYPES + 8);
        let mut image = vec![1; 100];
        image.extend(btf(MIN_TYPES));
        image.extend(b"between");
        image.extend(&whole);
        image.extend([9; 50]);
        // A header whose end is behind the image's.
        image.extend(&btf(MIN_TYPES * 2)[..MIN_TYPES]);
        assert_eq!(find(&image), Some(&whole[..]));
    }

    #[test]
    fn what_only_resembles_it_is_none() {
        assert_eq!(find(&btf(MIN_TYPES - 1)), None);
        for at in [0, 8, 16, HEADER_LEN + MIN_TYPES] {
            let mut broken = btf(MIN_TYPES);
            broken[at] ^= 0x40;
            assert_eq!(find(&broken), None, "{at}");
        }
        assert_eq!(find(&HEADER), None);
        assert_eq!(find(b"\x7fELF no more"), None);
    }
}
