//! The proof that nothing is missing: every program of a tree finds the libraries that it names.
//!
//! Packages are left out of the userland although others depend on them; this tells when one too many is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use object::read::elf::FileHeader;
use object::{Endianness, ReadCache, ReadRef, elf};

use crate::arch::Arch;
use crate::error::{Error, IoContext, Result};

/// Checks a tree before it is dressed for the guest. No link of it is followed.
pub(super) fn check(root: &Path, arch: Arch) -> Result<()> {
    let mut found: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    let mut programs = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let reading = || format!("read {}", root.join(&folder).display());
        for entry in fs::read_dir(root.join(&folder)).host(reading())? {
            let entry = entry.host(reading())?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().host(reading())?;
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains(".so") {
                found.entry(name).or_default().insert(folder.clone());
            }
            if kind.is_file() {
                programs.push(path);
            }
        }
    }
    for program in programs {
        let Some(needs) = needs(&root.join(&program), arch)? else { continue };
        let home = program.parent().unwrap_or(Path::new(""));
        let missing = needs.libraries.iter().find(|name| {
            let places = found.get(*name);
            !places.is_some_and(|places| places.iter().any(|place| needs.looks_in(place, home)))
        });
        if let Some(missing) = missing {
            return Err(Error::caller(format!(
                "{} needs {missing}, which no package brings",
                program.display()
            ))
            .hint("images/userland.yaml leaves out a package too many"));
        }
    }
    Ok(())
}

/// What a program asks of the dynamic linker.
struct Needs {
    /// DT_NEEDED.
    libraries: Vec<String>,
    /// DT_RUNPATH and DT_RPATH.
    paths: Vec<String>,
}

impl Needs {
    /// Whether the linker looks in a folder: those that Debian's is built for, and what the program says itself.
    fn looks_in(&self, folder: &Path, home: &Path) -> bool {
        let text = folder.to_string_lossy();
        let usual = matches!(&*text, "usr/lib" | "usr/lib64")
            || text
                .strip_prefix("usr/lib/")
                .is_some_and(|rest| rest.ends_with("-linux-gnu") && !rest.contains('/'));
        let home = format!("/{}", home.display());
        usual || self.paths.iter().any(|path| path.replace("$ORIGIN", &home).trim_matches('/') == text)
    }
}

/// None for what is no ELF file, or is static.
fn needs(path: &Path, arch: Arch) -> Result<Option<Needs>> {
    let reading = || format!("read {}", path.display());
    let mut file = File::open(path).host(reading())?;
    let mut magic = [0; 4];
    if file.read_exact(&mut magic).is_err() || magic != elf::ELFMAG {
        return Ok(None);
    }
    let damaged =
        |e: object::Error| Error::host(format!("{} is no usable ELF file", path.display())).because(e);
    let cache = ReadCache::new(BufReader::new(file));
    let data: &ReadCache<_> = &cache;
    let header = elf::FileHeader64::<Endianness>::parse(data).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let machine = header.e_machine(endian).0;
    if machine != arch.elf_machine() {
        return Err(Error::host(format!("{} is for ELF machine {machine}, not for {arch}", path.display())));
    }
    let sections = header.sections(endian, data).map_err(damaged)?;
    read_dynamic(&sections, endian, data).map_err(damaged)
}

fn read_dynamic<'data, R: ReadRef<'data>>(
    sections: &object::read::elf::SectionTable<'data, elf::FileHeader64<Endianness>, R>,
    endian: Endianness,
    data: R,
) -> object::Result<Option<Needs>> {
    let table = sections.dynamic_table(endian, data)?;
    let mut needs = Needs { libraries: Vec::new(), paths: Vec::new() };
    for entry in &table {
        let text = |entry| table.string(entry).map(|text| String::from_utf8_lossy(text).into_owned());
        match entry.tag {
            elf::DT_NEEDED => needs.libraries.push(text(entry)?),
            elf::DT_RUNPATH | elf::DT_RPATH => {
                needs.paths.extend(text(entry)?.split(':').map(str::to_owned));
            }
            _ => {}
        }
    }
    Ok(Some(needs).filter(|needs| !needs.libraries.is_empty()))
}
