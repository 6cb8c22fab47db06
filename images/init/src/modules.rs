//! Kernel modules: out of the initramfs, where the host has put them uncompressed and in order, and out of the
//! shared module tree, where they are as their packager left them.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::Path;

use kvet_wire::modindex::Index;
use kvet_wire::{ModuleProblem, paths};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// Loads what the transport needs, in the order the host wrote down. Returns what did not load: whether that is
/// a problem shows when the port is looked for.
pub fn load_boot_set() -> Result<Vec<String>, String> {
    let list = match fs::read_to_string(paths::BOOT_MODULES) {
        Ok(list) => list,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(format!("read {}: {e}", paths::BOOT_MODULES)),
    };
    let files = list.lines().map(str::trim).filter(|file| !file.is_empty());
    let load = |file: &str| {
        let path = Path::new(CARRIED).join(file);
        open_decompressed(&path)
            .and_then(|file| insert(&file, ""))
            .map_err(|e| format!("load module {file}: {e}"))
    };
    Ok(files.filter_map(|file| load(file).err()).collect())
}

/// Loads modules that a job asks for, from the initramfs. Builtin ones are fine.
pub fn load_named(names: &[String]) -> Vec<ModuleProblem> {
    if names.is_empty() {
        return Vec::new();
    }
    let index = match fs::read_to_string(paths::JOB_MODULES) {
        Ok(text) => text,
        Err(e) => {
            let error = format!("read {}: {e}", paths::JOB_MODULES);
            return names
                .iter()
                .map(|name| ModuleProblem { name: name.clone(), error: error.clone() })
                .collect();
        }
    };
    let load = |name: &String| load_request(&index, Path::new(CARRIED), "", name, "");
    let problem = |name: &String| load(name).err().map(|error| ModuleProblem { name: name.clone(), error });
    names.iter().filter_map(problem).collect()
}

/// Where the initramfs has modules.
const CARRIED: &str = "/modules";

/// Loads what a name or an alias asks for, dependencies first. The paths of `index` are relative to `root`; the
/// `parameters` are for the last one. What the initramfs has as well, by the index `carried` (empty: nothing), is taken
/// from there: it need not be decompressed, which takes longer than all the rest.
pub fn load_request(
    index: &str,
    root: &Path,
    carried: &str,
    request: &str,
    parameters: &str,
) -> Result<(), String> {
    let index = Index::parse(index)?;
    // One that is damaged is as good as none: the tree has everything.
    let carried = Index::parse(carried).ok();
    let records = index.resolve(request).map_err(|e| e.to_string())?;
    for (rank, record) in records.iter().enumerate() {
        if let Some(path) = record.path() {
            let here = carried.as_ref().and_then(|it| it.get(record.name())?.path());
            let path = here.map_or_else(|| root.join(path), |path| Path::new(CARRIED).join(path));
            let file = open_decompressed(&path)?;
            let parameters = if rank + 1 == records.len() { parameters } else { "" };
            insert(&file, parameters).map_err(|e| format!("load {}: {e}", record.name()))?;
        }
    }
    Ok(())
}

/// finit_module(2); a module that is loaded already is fine.
pub fn insert(file: &File, parameters: &str) -> Result<(), String> {
    let parameters = CString::new(parameters).map_err(|e| e.to_string())?;
    match finit_module(file.as_fd(), &parameters, ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.to_string()),
    }
}

/// Largest module that is decompressed, in bytes.
const MAX_MODULE: u64 = 256 << 20;

/// Opens a module file of the shared tree; compressed ones are decompressed into memory.
pub fn open_decompressed(path: &Path) -> Result<File, String> {
    let context = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let file = File::open(path).map_err(|e| context(&e))?;
    match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => {
            let mut out = Bounded::new().map_err(|e| context(&e))?;
            lzma_rs::xz_decompress(&mut std::io::BufReader::new(file), &mut out)
                .map_err(|e| context(&format!("{e:?}")))?;
            out.rewind().map_err(|e| context(&e))
        }
        Some("zst") => {
            let mut reader = ruzstd::decoding::StreamingDecoder::new(file).map_err(|e| context(&e))?;
            let mut out = Bounded::new().map_err(|e| context(&e))?;
            std::io::copy(&mut reader, &mut out).map_err(|e| context(&e))?;
            out.rewind().map_err(|e| context(&e))
        }
        _ => Ok(file),
    }
}

/// A file in memory that refuses to grow past [`MAX_MODULE`].
struct Bounded {
    file: File,
    left: u64,
}

impl Bounded {
    fn new() -> std::io::Result<Self> {
        let name = CString::from(c"module");
        let fd = nix::sys::memfd::memfd_create(&*name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
        Ok(Self { file: File::from(fd), left: MAX_MODULE })
    }

    fn rewind(mut self) -> std::io::Result<File> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(self.file)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(std::io::Error::other("larger than 256 MiB"));
        }
        let written = self.file.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
