//! What a kernel image says about itself: its kind, its architecture, its release.
//!
//! The image is read once, front to back, in small pieces: a vmlinux with debug information has hundreds of
//! megabytes. Formats: Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst, elf(5).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::error::{Error, IoContext, Result};

use super::kconfig::MAX_CONFIG_BYTES;
use kvet_host::hash::{HashingReader, Sha256Hex};

/// The forms of an image that can be booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageKind {
    /// x86: `arch/x86/boot/bzImage`, Debian's vmlinuz.
    BzImage,
    /// arm64: `arch/arm64/boot/Image`, Debian's vmlinuz.
    Image,
    /// arm64: the same, compressed by gzip.
    ImageGz,
    /// The ELF file at the top of a build tree.
    Vmlinux,
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BzImage => "bzImage",
            Self::Image => "Image",
            Self::ImageGz => "Image.gz",
            Self::Vmlinux => "vmlinux",
        })
    }
}

/// What was found out about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Its form.
    pub kind: ImageKind,
    /// The architecture it runs on.
    pub arch: Arch,
    /// What `uname -r` will say.
    pub release: String,
    /// SHA-256 of the file.
    pub sha256: Sha256Hex,
    /// The config inside it (CONFIG_IKCONFIG), where that can be had without unpacking the image: not in a bzImage.
    pub config: Option<String>,
}

/// The setup header of a bzImage ends within this many bytes, the version text included.
const HEAD: usize = 0x200 + 0x1_0000 + 256;
/// How much is read at a time.
const CHUNK: usize = 128 << 10;
/// No unpacked Image comes near this; it bounds what a gzip bomb can cost.
const MAX_UNPACKED: u64 = 2 << 30;
/// `__NEW_UTS_LEN`: a release has at most 64 bytes.
const MAX_RELEASE: usize = 64;

/// Reads an image.
///
/// # Errors
/// The caller's, when the file is missing or is no kernel image that kvet can boot; the message says what it
/// looks like instead.
pub fn identify(path: &Path) -> Result<ImageFacts> {
    let file = File::open(path).given(format_args!("open the kernel image {}", path.display()))?;
    if !file.metadata().host(format_args!("stat {}", path.display()))?.is_file() {
        return Err(Error::caller(format!("kernel image {} is not a regular file", path.display())));
    }
    read(file).map_err(|problem| match problem {
        Problem::Io(e) => Error::host(format!("cannot read the kernel image {}", path.display())).because(e),
        Problem::Not(what) => Error::caller(format!("{} {what}", path.display()))
            .hint("kvet boots x86_64 bzImage and vmlinux, arm64 Image, Image.gz and vmlinux"),
    })
}

enum Problem {
    Io(io::Error),
    Not(String),
}

impl From<io::Error> for Problem {
    fn from(e: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match e.kind() {
            Kind::UnexpectedEof | Kind::InvalidData | Kind::InvalidInput => {
                Problem::Not(format!("is damaged: it does not unpack ({e})"))
            }
            _ => Problem::Io(e),
        }
    }
}

fn not<T>(what: impl Into<String>) -> std::result::Result<T, Problem> {
    Err(Problem::Not(what.into()))
}

fn read(source: impl Read) -> std::result::Result<ImageFacts, Problem> {
    let mut source = HashingReader::new(source);
    let head = read_up_to(&mut source, HEAD)?;
    let (kind, arch, release, config);
    if head.starts_with(&[0x1f, 0x8b]) {
        let mut plain = GzDecoder::new(io::Cursor::new(head).chain(&mut source)).take(MAX_UNPACKED);
        let inner = match read_up_to(&mut plain, HEAD) {
            Ok(inner) => inner,
            Err(e) => return not(format!("begins like a gzip file and does not unpack ({e})")),
        };
        if classify(&inner)? != (ImageKind::Image, Arch::Arm64) {
            return not("is compressed by gzip and does not hold an arm64 Image");
        }
        (kind, arch) = (ImageKind::ImageGz, Arch::Arm64);
        (release, config) = scan(io::Cursor::new(inner).chain(plain))?;
    } else {
        (kind, arch) = classify(&head)?;
        (release, config) = if kind == ImageKind::BzImage {
            (Some(bzimage_release(&head)?), None)
        } else {
            scan(io::Cursor::new(head).chain(&mut source))?
        };
    }
    let Some(release) = release else {
        return not(format!(
            "is an {arch} {kind} without a 'Linux version' text in it: its release is unknown"
        ));
    };
    io::copy(&mut source, &mut io::sink())?;
    Ok(ImageFacts { kind, arch, release, sha256: source.finish(), config })
}

fn read_up_to(source: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(limit);
    source.take(limit as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn u16_at(head: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?))
}

fn classify(head: &[u8]) -> std::result::Result<(ImageKind, Arch), Problem> {
    if head.starts_with(b"\x7fELF") {
        // EI_CLASS 2 is 64 bit, EI_DATA 1 is little endian.
        let machine = u16_at(head, 18).unwrap_or(0);
        return match Arch::ALL.into_iter().find(|a| a.elf_machine() == machine) {
            Some(arch) if head.get(4..6) == Some(&[2, 1]) => Ok((ImageKind::Vmlinux, arch)),
            _ => not(format!("is an ELF file for machine {machine}; kvet knows x86_64 (62) and arm64 (183)")),
        };
    }
    if head.get(0x202..0x206) == Some(b"HdrS") && u16_at(head, 0x1fe) == Some(0xaa55) {
        // XLF_KERNEL_64 in xloadflags, from boot protocol 2.12 (Linux 3.8).
        let is_64 = u16_at(head, 0x206) >= Some(0x20c) && u16_at(head, 0x236).is_some_and(|f| f & 1 != 0);
        return if is_64 { Ok((ImageKind::BzImage, Arch::X86_64)) } else { not("is a 32-bit x86 kernel") };
    }
    if head.get(56..60) == Some(b"ARM\x64") {
        return Ok((ImageKind::Image, Arch::Arm64));
    }
    if head.starts_with(b"MZ") && head.get(4..8) == Some(b"zimg") {
        return not("is an EFI zboot image; use the Image or vmlinux of that build");
    }
    not(match head {
        [] => "is empty".to_string(),
        [0xfd, b'7', b'z', ..] => "is an xz file, not a kernel image".to_string(),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "is a zstd file, not a kernel image".to_string(),
        [b'!', b'<', ..] => "is a package or an archive, not a kernel image".to_string(),
        _ => format!("is no kernel image: it begins with {:02x?}", &head[..head.len().min(8)]),
    })
}

/// The text that the setup header points to: `7.2.12+deb13-amd64 (someone@somewhere) #1 SMP …`.
fn bzimage_release(head: &[u8]) -> std::result::Result<String, Problem> {
    let at = usize::from(u16_at(head, 0x20e).unwrap_or(0));
    match head.get(0x200 + at..).filter(|_| at != 0).and_then(release_at) {
        Some(release) => Ok(release),
        None => not("is a bzImage whose setup header names no release"),
    }
}

/// A release at the start of these bytes: a digit, then printable ASCII up to a space or NUL, which must come.
fn release_at(text: &[u8]) -> Option<String> {
    let end = text.iter().take(MAX_RELEASE + 1).position(|c| matches!(c, b' ' | 0))?;
    let release = std::str::from_utf8(&text[..end]).ok()?;
    // It becomes a file name: no slash gets in.
    let clean = release.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-._~".contains(&c));
    (clean && release.starts_with(|c: char| c.is_ascii_digit())).then(|| release.to_string())
}

const BANNER: &[u8] = b"Linux version ";
const CONFIG_START: &[u8] = b"IKCFG_ST";

/// Looks through an uncompressed image for its banner and its config.
fn scan(mut source: impl Read) -> io::Result<(Option<String>, Option<String>)> {
    let (mut release, mut config) = (None, None);
    let mut window: Vec<u8> = Vec::with_capacity(2 * CHUNK);
    loop {
        let before = window.len();
        (&mut source).take(CHUNK as u64).read_to_end(&mut window)?;
        let end = window.len() == before;
        find_release(&mut release, &window);
        let start = if config.is_none() { positions(&window, CONFIG_START).next() } else { None };
        if let Some(at) = start {
            let rest = window.split_off(at + CONFIG_START.len());
            (config, window) = config_at(rest, &mut source)?;
            find_release(&mut release, &window);
        }
        if end || (release.is_some() && config.is_some()) {
            return Ok((release, config));
        }
        // What may be the beginning of something stays for the next look.
        let keep = (BANNER.len() + MAX_RELEASE + 1).min(window.len());
        window.drain(..window.len() - keep);
    }
}

fn find_release(release: &mut Option<String>, window: &[u8]) {
    if release.is_none() {
        *release = positions(window, BANNER).find_map(|at| release_at(&window[at + BANNER.len()..]));
    }
}

/// The gzip stream at the start of `rest`, continued by `source`; and the bytes read and not used.
fn config_at(mut rest: Vec<u8>, source: &mut impl Read) -> io::Result<(Option<String>, Vec<u8>)> {
    source.take(MAX_CONFIG_BYTES / 4).read_to_end(&mut rest)?;
    let mut text = String::new();
    let complete = GzDecoder::new(rest.as_slice()).take(MAX_CONFIG_BYTES).read_to_string(&mut text).is_ok();
    Ok(((complete && text.contains("CONFIG_")).then_some(text), rest))
}

fn positions<'a>(hay: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            from += hay[from..].iter().position(|c| *c == needle[0])?;
            let at = from;
            from += 1;
            if hay[at..].starts_with(needle) {
                return Some(at);
            }
        }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    /// The least that is a bzImage.
    pub fn bzimage(release: &str) -> Vec<u8> {
        let mut image = vec![0u8; 0x1000];
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
        image[0x20e..0x210].copy_from_slice(&0x600u16.to_le_bytes());
        image[0x236] = 1;
        let text = format!("{release} (a@b) #1 SMP\0");
        image[0x800..0x800 + text.len()].copy_from_slice(text.as_bytes());
        image
    }

    /// The least that is an arm64 Image, its banner across the border of two reads.
    pub fn image(release: &str) -> Vec<u8> {
        let mut image = vec![b'L'; HEAD + CHUNK + 4096];
        image[56..60].copy_from_slice(b"ARM\x64");
        let text = format!("Linux version {release} (a@b) #1 SMP\0");
        let at = CHUNK - 7;
        image[at..at + text.len()].copy_from_slice(text.as_bytes());
        image
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn identified(bytes: &[u8]) -> Result<ImageFacts> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        std::fs::write(&path, bytes).unwrap();
        identify(&path)
    }

    #[test]
    fn each_form_tells_its_arch_and_release() {
        let found = |bytes: &[u8]| identified(bytes).map(|f| (f.kind, f.arch, f.release)).unwrap();
        assert_eq!(
            found(&bzimage("7.2.12+deb13-amd64")),
            (ImageKind::BzImage, Arch::X86_64, "7.2.12+deb13-amd64".into())
        );
        let arm = image("6.12.0-rc3-next");
        assert_eq!(found(&arm), (ImageKind::Image, Arch::Arm64, "6.12.0-rc3-next".into()));
        assert_eq!(found(&gzip(&arm)), (ImageKind::ImageGz, Arch::Arm64, "6.12.0-rc3-next".into()));
        let mut elf = arm;
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18..20].copy_from_slice(&62u16.to_le_bytes());
        assert_eq!(found(&elf), (ImageKind::Vmlinux, Arch::X86_64, "6.12.0-rc3-next".into()));
    }

    #[test]
    fn the_hash_is_that_of_the_whole_file() {
        use sha2::{Digest, Sha256};
        for bytes in [bzimage("7.2.1"), image("7.2.1"), gzip(&image("7.2.1"))] {
            let facts = identified(&bytes).unwrap();
            assert_eq!(facts.sha256, Sha256Hex::from_digest(&Sha256::digest(&bytes)));
        }
    }

    #[test]
    fn the_config_inside_is_found_before_and_after_the_banner() {
        let packed = gzip(b"CONFIG_BPF=y\nCONFIG_X=m\n");
        for at in [200, CHUNK - 3, HEAD + CHUNK] {
            let mut bytes = image("7.2.1");
            bytes.resize(bytes.len() + 8192, b'x');
            bytes[at..at + 8].copy_from_slice(b"IKCFG_ST");
            if at == CHUNK - 3 {
                // The banner is there too: let it come later.
                bytes[HEAD + CHUNK..HEAD + CHUNK + 20].copy_from_slice(b"Linux version 7.2.1 ");
            }
            bytes[at + 8..at + 8 + packed.len()].copy_from_slice(&packed);
            let facts = identified(&bytes).unwrap();
            assert_eq!(facts.release, "7.2.1", "{at}");
            assert!(facts.config.unwrap().contains("CONFIG_X=m"), "{at}");
        }
    }

    #[test]
    fn what_is_no_image_is_named() {
        let mut i386 = bzimage("7.2.1");
        i386[0x236] = 0;
        let mut ppc = b"\x7fELF\x02\x01".to_vec();
        ppc.resize(64, 21);
        let mut no_banner = vec![0u8; 100_000];
        no_banner[56..60].copy_from_slice(b"ARM\x64");
        let mut slash = bzimage("7.2/../../x");
        slash.truncate(0x900);
        for (bytes, said) in [
            (i386, "is a 32-bit x86 kernel"),
            (ppc, "ELF file for machine"),
            (no_banner, "without a 'Linux version' text"),
            (slash, "names no release"),
            (bzimage("7.2.1")[..0x804].to_vec(), "names no release"),
            (bzimage("7.2.1")[..0x204].to_vec(), "is no kernel image"),
            (Vec::new(), "is empty"),
            (b"!<arch>\ndebian-binary".to_vec(), "is a package"),
            (gzip(b"hello"), "is no kernel image"),
            (vec![0x1f, 0x8b, 9, 9, 9], "does not unpack"),
        ] {
            let error = identified(&bytes).unwrap_err();
            assert_eq!(error.fault(), crate::error::Fault::Caller);
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
