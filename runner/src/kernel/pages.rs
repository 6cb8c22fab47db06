//! How large the pages of an arm64 kernel are: not every CPU can have them all.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use super::{ImageKind, Kernel, KernelConfig};
use crate::arch::Arch;
use crate::error::{IoContext, Result};

/// The header of an Image, up to and with its magic (Documentation/arch/arm64/booting.rst).
const HEADER: usize = 64;
/// The sizes of pages that its flags may name, in KiB; the first means that they say nothing.
const SIZES: [Option<u32>; 4] = [None, Some(4), Some(16), Some(64)];
/// The options that say the same in a config.
const OPTIONS: [(&str, u32); 3] =
    [("CONFIG_ARM64_4K_PAGES", 4), ("CONFIG_ARM64_16K_PAGES", 16), ("CONFIG_ARM64_64K_PAGES", 64)];

/// The size of a kernel's pages, in KiB, where the architecture leaves a choice: out of its image, or else its config. `None` where
/// neither says it.
///
/// # Errors
/// The host's: the image cannot be read.
pub fn page_kib(kernel: &Kernel) -> Result<Option<u32>> {
    let Kernel { arch, image_kind, image, config, .. } = kernel;
    if *arch != Arch::Arm64 {
        return Ok(None);
    }
    let header = header(image, *image_kind).host(format!("read {}", image.display()))?;
    Ok(header.as_deref().and_then(of_header).or_else(|| of_config(config.as_ref()?)))
}

/// What an image begins with, where it has such a header.
fn header(image: &Path, kind: ImageKind) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(image)?;
    let mut bytes = Vec::new();
    match kind {
        ImageKind::Image => file.take(HEADER as u64).read_to_end(&mut bytes)?,
        ImageKind::ImageGz => GzDecoder::new(file).take(HEADER as u64).read_to_end(&mut bytes)?,
        ImageKind::BzImage | ImageKind::Vmlinux => return Ok(None),
    };
    Ok(Some(bytes))
}

/// Bits 1 and 2 of the flags, which are 64 bits at 24, little endian.
fn of_header(header: &[u8]) -> Option<u32> {
    let flags = *header.get(24)?;
    SIZES[usize::from(flags >> 1 & 3)]
}

fn of_config(config: &KernelConfig) -> Option<u32> {
    OPTIONS.iter().find(|(option, _)| config.get(option) == Some("y")).map(|(_, size)| *size)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::kernel::image::tests::image;

    #[test]
    fn the_header_tells_the_size_of_pages() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Image");
        let found = |kind| header(&path, kind).unwrap().as_deref().and_then(of_header);
        // Bit 3, which tells where the kernel may be placed, has nothing to do with it.
        for (flags, size) in [(0b1010, Some(4)), (0b1100, Some(16)), (0b0110, Some(64)), (0b1000, None)] {
            let mut image = image("7.2.1");
            image[24] = flags;
            std::fs::write(&path, &image).unwrap();
            assert_eq!(found(ImageKind::Image), size, "{flags:b}");
            assert_eq!(found(ImageKind::Vmlinux), None, "{flags:b}");
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(&image).unwrap();
            std::fs::write(&path, packed.finish().unwrap()).unwrap();
            assert_eq!(found(ImageKind::ImageGz), size, "{flags:b}");
        }
        std::fs::write(&path, "short").unwrap();
        assert_eq!(found(ImageKind::Image), None);
    }

    #[test]
    fn the_config_tells_what_the_header_does_not() {
        let of = |text: &str| of_config(&KernelConfig::parse(text));
        assert_eq!(of("CONFIG_ARM64_64K_PAGES=y\n"), Some(64));
        assert_eq!(of("# CONFIG_ARM64_64K_PAGES is not set\nCONFIG_ARM64_16K_PAGES=y\n"), Some(16));
        assert_eq!(of("CONFIG_X=y\n"), None);
    }
}
