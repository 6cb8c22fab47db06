//! The kernel proper out of a bzImage, for guests that are emulated.
//!
//! A bzImage is a decompressor with the compressed kernel in it (Documentation/arch/x86/boot.rst). Under TCG the
//! decompressor takes a quarter of the whole boot, so it is done here, once per kernel. QEMU boots the result through
//! the PVH entry point (Documentation/arch/x86/pvh.rst), which the kernel names in an ELF note where it has one. What
//! is lost is what the decompressor does besides: the kernel is not moved to a random address.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use object::Endianness;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{ReadCache, elf::FileHeader64};

use crate::error::{Error, IoContext, Result};

use super::{Cache, ImageKind, Kernel};

/// The name in the kernel's cache entry.
const FILE_NAME: &str = "vmlinux";
/// Largest kernel that is taken out of a bzImage, in bytes. Debian's has 62 MB.
pub(super) const MAX_VMLINUX: u64 = 512 << 20;
/// XEN_ELFNOTE_PHYS32_ENTRY (xen/include/public/elfnote.h): where a PVH boot begins.
const PVH_NOTE: u32 = 18;

/// The uncompressed kernel of a cached bzImage, taken out at the first call.
///
/// `None` where there is no such thing to boot: the image is no bzImage, or is not in the cache, its compression is
/// none of gzip, xz and zstd, or the kernel has no PVH entry point. The bzImage boots in any case.
///
/// # Errors
/// The host's: files cannot be read or written, or the bzImage is damaged.
pub fn ensure_uncompressed(kernel: &Kernel, cache: &Cache) -> Result<Option<PathBuf>> {
    if kernel.image_kind != ImageKind::BzImage || !kernel.is_cached() {
        return Ok(None);
    }
    let path = kernel.image.with_file_name(FILE_NAME);
    if !path.is_file() {
        let context = format!("take the kernel out of {}", kernel.image.display());
        let Some(mut payload) = open_payload(&kernel.image).host(&context)? else { return Ok(None) };
        cache.publish(&path, |file| {
            let length = io::copy(&mut payload, file).host(&context)?;
            if length > MAX_VMLINUX {
                return Err(Error::host(format!("cannot {context}: it has more than {MAX_VMLINUX} bytes")));
            }
            Ok(())
        })?;
    }
    Ok(Some(path).filter(|path| has_pvh_entry(path)))
}

/// The compressed kernel of a bzImage as a stream of its bytes, at most one more than [`MAX_VMLINUX`].
pub(super) fn open_payload(bzimage: &Path) -> io::Result<Option<Box<dyn Read>>> {
    let mut file = File::open(bzimage)?;
    let mut header = [0; 0x250];
    file.read_exact(&mut header)?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    // setup_sects is 4 where it says 0; the protected-mode code follows the boot sector and the setup code.
    let setup_sectors = u64::from(if header[0x1f1] == 0 { 4 } else { header[0x1f1] });
    let start = (setup_sectors + 1) * 512 + u64::from(word(0x248));
    file.seek(SeekFrom::Start(start))?;
    let mut magic = [0; 6];
    file.read_exact(&mut magic)?;
    file.seek(SeekFrom::Start(start))?;
    // The payload ends with the uncompressed length, which is no part of its format: but of gzip's (RFC 1952) it is.
    let is_gzip = magic.starts_with(&[0x1f, 0x8b]);
    let length = u64::from(word(0x24c)).saturating_sub(if is_gzip { 0 } else { 4 });
    let raw = BufReader::with_capacity(1 << 20, file.take(length));
    let plain: Box<dyn Read> = match magic {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(raw)?.single_frame()),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(liblzma::bufread::XzDecoder::new(raw)),
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::GzDecoder::new(raw)),
        _ => return Ok(None),
    };
    Ok(Some(Box::new(plain.take(MAX_VMLINUX + 1))))
}

/// Whether a file is a 64-bit ELF kernel that says where a PVH boot begins.
pub(super) fn has_pvh_entry(path: &Path) -> bool {
    let read = || -> Option<bool> {
        let cache = ReadCache::new(File::open(path).ok()?);
        let header = FileHeader64::<Endianness>::parse(&cache).ok()?;
        let endian = header.endian().ok()?;
        for segment in header.program_headers(endian, &cache).ok()? {
            let Ok(Some(mut notes)) = segment.notes(endian, &cache) else { continue };
            while let Ok(Some(note)) = notes.next() {
                if note.name() == b"Xen" && note.n_type(endian).0 == PVH_NOTE {
                    return Some(true);
                }
            }
        }
        Some(false)
    };
    read().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A bzImage with this payload and nothing else that works.
    fn bzimage(payload: &[u8]) -> tempfile::NamedTempFile {
        let mut bytes = vec![0; 1024];
        bytes[0x1f1] = 1;
        bytes[0x248..0x24c].copy_from_slice(&8u32.to_le_bytes());
        // What kbuild appends to all but gzip, which has it already (scripts/Makefile.lib).
        let length: &[u8] = if payload.starts_with(&[0x1f, 0x8b]) { &[] } else { &[1, 2, 3, 4] };
        bytes[0x24c..0x250].copy_from_slice(&((payload.len() + length.len()) as u32).to_le_bytes());
        bytes.extend_from_slice(&[0x90; 8]);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(length);
        bytes.extend_from_slice(&[0xcc; 16]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    fn unpacked(payload: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        open_payload(bzimage(payload).path()).unwrap()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn every_compression_gives_the_kernel_back() {
        let kernel = b"\x7fELF and so on".repeat(100);
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&kernel).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&kernel).unwrap();
        for payload in
            [zstd::encode_all(&kernel[..], 1).unwrap(), xz.finish().unwrap(), gzip.finish().unwrap()]
        {
            assert_eq!(unpacked(&payload).as_deref(), Some(&kernel[..]));
        }
        assert_eq!(unpacked(b"LZ4 is not read"), None);
    }

    #[test]
    fn what_is_cut_off_or_no_kernel_is_refused() {
        let whole = zstd::encode_all(&[7u8; 100_000][..], 1).unwrap();
        let cut = bzimage(&whole[..whole.len() / 2]);
        let mut payload = open_payload(cut.path()).unwrap().unwrap();
        assert!(io::copy(&mut payload, &mut io::sink()).is_err());
        assert!(open_payload(Path::new("/dev/null")).is_err());
        assert!(!has_pvh_entry(&std::env::current_exe().unwrap()), "an ELF file without the note");
        assert!(!has_pvh_entry(Path::new("/dev/null")));
    }
}
