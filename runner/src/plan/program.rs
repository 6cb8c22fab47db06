//! `kvet run -- ./prog a b`: a program of the caller's as a suite of one test.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use object::Endianness;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{ReadCache, elf::FileHeader64};

use crate::arch::Arch;
use crate::error::{Error, IoContext, Result};
use crate::spec::suite::{Format, Named, Root, Suite, SuiteSpec};

/// Makes a suite of a command line. The program's folder is what the guest sees.
///
/// # Errors
/// The caller's: the program is not there, not executable, or cannot run in such a guest.
pub fn suite(command: &[String], arch: Arch, root: Root) -> Result<Suite> {
    let (program, args) =
        command.split_first().ok_or_else(|| Error::caller("there is no command after --"))?;
    let Named { folder, name, stand_in } =
        Named::find(Path::new(program)).given(format!("find the program {program}"))?;
    let kind = check(&folder.join(&name), program, arch, root)?;
    let spec = SuiteSpec {
        name: suite_name(&name.to_string_lossy()),
        title: command.join(" "),
        build: None,
        program: program.clone(),
        args: args.to_vec(),
        format: Format::Exit,
        share: None,
        tests: None,
        select: None,
        strict: None,
        shuffle: None,
        logs: None,
        expectations: None,
        allowed_splats: Vec::new(),
        env: BTreeMap::new(),
        modules: Vec::new(),
        may_load: Vec::new(),
        kconfig: BTreeMap::new(),
        tell: BTreeMap::new(),
        timeout: None,
        deadline: None,
        memory: None,
        cpus: None,
        root,
    };
    Ok(Suite {
        spec,
        share: folder,
        program: name,
        tests: None,
        expectations: None,
        script: kind == Kind::Script,
        stand_in,
    })
}

/// The name of the suite, which also names a folder of the results.
fn suite_name(file: &str) -> String {
    file.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect()
}

/// How a program runs in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By itself.
    Direct,
    /// By busybox's shell.
    Script,
}

/// Whether a program can run in a guest of an architecture: a static ELF file for it, or a script for `sh`. A guest without
/// a root has no libraries, and no interpreter but busybox; with one, whatever is in it will do.
///
/// # Errors
/// The caller's: it cannot.
pub fn check(path: &Path, shown: &str, arch: Arch, root: Root) -> Result<Kind> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = path.metadata().given(format!("read {shown}"))?;
    let mode = metadata.permissions().mode() & 0o7777;
    match metadata {
        found if found.is_dir() => return Err(Error::caller(format!("{shown} is a folder, not a program"))),
        found if !found.is_file() => {
            return Err(Error::caller(format!("{shown} is not a regular file, and so not a program")));
        }
        _ if mode & 0o111 == 0 => {
            return Err(Error::caller(format!("{shown} is not executable: its mode is {mode:04o}"))
                .hint(format!("chmod +x {shown}")));
        }
        found if found.len() == 0 => return Err(Error::caller(format!("{shown} is empty"))),
        _ => {}
    }
    let form = form(path, shown)?;
    match &form {
        Form::Elf => {
            let elf = Elf::read(path, shown, arch)?;
            if elf.interpreter.is_some() && root == Root::None {
                return Err(Error::caller(format!(
                    "{shown} is dynamically linked, and the guest has no libraries"
                ))
                .hint(
                    "--root userland has the C library; or link it with -static (Rust: -C \
                           target-feature=+crt-static)",
                ));
            }
            Ok(Kind::Direct)
        }
        Form::Script(interpreter) if root != Root::None => {
            if !interpreter.starts_with('/') {
                return Err(Error::caller(format!(
                    "{shown} is a script for '{interpreter}', which is no absolute path"
                )));
            }
            Ok(Kind::Direct)
        }
        Form::Script(interpreter) if is_plain_shell(interpreter) => Ok(Kind::Script),
        Form::Script(interpreter) => Err(Error::caller(format!(
            "{shown} is a script for '{interpreter}', and the guest has only busybox's sh"
        ))
        .hint("--root userland has bash; or write it for #!/bin/sh, or use a static program")),
        Form::Other => Err(Error::caller(format!("{shown} is neither an ELF program nor a script"))),
    }
}

/// What the kernel runs a program by: the interpreter of a script, or the dynamic linker.
///
/// # Errors
/// The caller's: the program is not there or damaged.
pub fn interpreter(path: &Path) -> Result<Option<String>> {
    let shown = path.display().to_string();
    match form(path, &shown)? {
        Form::Elf => Ok(Elf::open(path, &shown)?.interpreter),
        Form::Script(line) => Ok(line.split_whitespace().next().map(str::to_owned)),
        Form::Other => Ok(None),
    }
}

/// What a script has `env` look for in `PATH`: `bash` of `#!/usr/bin/env bash`. None if it is run by something else, or if what
/// stands there is more than a name.
///
/// # Errors
/// The caller's: the program is not there or damaged.
pub fn sought_by_env(path: &Path) -> Result<Option<String>> {
    let Form::Script(line) = form(path, &path.display().to_string())? else { return Ok(None) };
    let mut words = line.split_whitespace();
    let is_env = words.next().is_some_and(|first| first.ends_with("/env"));
    let name = words.find(|word| *word != "-S" && !word.contains('='));
    Ok(name.filter(|name| is_env && !name.starts_with('-') && !name.contains('/')).map(str::to_owned))
}

/// What a file is to the kernel.
enum Form {
    Elf,
    /// What stands behind `#!`.
    Script(String),
    Other,
}

fn form(path: &Path, shown: &str) -> Result<Form> {
    let mut head = Vec::new();
    let file = File::open(path).given(format!("read {shown}"))?;
    file.take(MAX_SHEBANG).read_to_end(&mut head).given(format!("read {shown}"))?;
    if head.starts_with(&object::elf::ELFMAG) {
        return Ok(Form::Elf);
    }
    let first = head.split(|&b| b == b'\n').next().unwrap_or_default();
    let Some(line) = String::from_utf8_lossy(first).strip_prefix("#!").map(str::to_owned) else {
        return Ok(Form::Other);
    };
    if line.ends_with('\r') {
        let interpreter = line.split_whitespace().next().unwrap_or_default();
        return Err(Error::caller(format!(
            "{shown} has the line ends of Windows (CRLF): Linux would look for an interpreter named '{interpreter}\\r'"
        ))
        .hint(format!("sed -i 's/\\r$//' {shown}")));
    }
    Ok(Form::Script(line.trim().to_owned()))
}

/// Longest first line of a script that is looked at, as in the kernel (BINPRM_BUF_SIZE).
const MAX_SHEBANG: u64 = 256;

fn is_plain_shell(interpreter: &str) -> bool {
    let mut words = interpreter.split_whitespace();
    let name = |word: Option<&str>| word.and_then(|w| w.rsplit('/').next()).unwrap_or_default().to_owned();
    let program = match name(words.next()) {
        env if env == "env" || env == "busybox" => name(words.next()),
        program => program,
    };
    program == "sh" || program == "ash"
}

/// What matters of an ELF program.
struct Elf {
    machine: u16,
    /// PT_INTERP: the dynamic linker.
    interpreter: Option<String>,
}

impl Elf {
    fn open(path: &Path, shown: &str) -> Result<Self> {
        let file = File::open(path).given(format!("read {shown}"))?;
        let cache = ReadCache::new(BufReader::new(file));
        let wrong =
            |e: object::Error| Error::caller(format!("{shown} is not a 64-bit ELF program")).because(e);
        let header = FileHeader64::<Endianness>::parse(&cache).map_err(wrong)?;
        let endian = header.endian().map_err(wrong)?;
        let mut interpreter = None;
        for segment in header.program_headers(endian, &cache).map_err(wrong)? {
            if let Some(name) = segment.interpreter(endian, &cache).map_err(wrong)? {
                interpreter = Some(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(Self { machine: header.e_machine(endian).0, interpreter })
    }

    /// Of a program that is for `arch`.
    fn read(path: &Path, shown: &str, arch: Arch) -> Result<Self> {
        let elf = Self::open(path, shown)?;
        if elf.machine != arch.elf_machine() {
            let built = machine_name(elf.machine);
            return Err(Error::caller(format!("{shown} is built for {built}, the guest is {arch}")));
        }
        Ok(elf)
    }
}

fn machine_name(machine: u16) -> String {
    match Arch::ALL.into_iter().find(|arch| arch.elf_machine() == machine) {
        Some(arch) => arch.name().to_owned(),
        None => format!("ELF machine {machine}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(bytes: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn what_cannot_run_in_a_guest_is_refused_with_the_reason() {
        let bash = file(b"#!/bin/bash -e\n", 0o755);
        let e = check(bash.path(), "./t.sh", Arch::X86_64, Root::None).unwrap_err();
        assert!(e.to_string().contains("'/bin/bash -e'"), "{e}");
        let windows = file(b"#!/bin/sh -e\r\necho\r\n", 0o755);
        for root in [Root::None, Root::Userland, Root::Host] {
            let e = check(windows.path(), "./w.sh", Arch::X86_64, root).unwrap_err();
            assert!(e.to_string().contains(r"CRLF") && e.to_string().contains(r"'/bin/sh\r'"), "{e}");
            assert_eq!(e.hint_text(), Some(r"sed -i 's/\r$//' ./w.sh"));
        }
        let e = check(Path::new("/proc"), "/proc", Arch::X86_64, Root::None).unwrap_err();
        assert_eq!(e.to_string(), "/proc is a folder, not a program");
        let empty = file(b"", 0o755);
        let e = check(empty.path(), "./empty", Arch::X86_64, Root::None).unwrap_err();
        assert_eq!(e.to_string(), "./empty is empty");
        let text = file(b"hello\n", 0o755);
        let e = check(text.path(), "./text", Arch::X86_64, Root::None).unwrap_err();
        assert!(e.to_string().contains("neither"), "{e}");
        let plain = file(b"\x7fELF", 0o644);
        assert!(
            check(plain.path(), "x", Arch::X86_64, Root::None)
                .unwrap_err()
                .to_string()
                .contains("not executable: its mode is 0644")
        );
        let cut = file(b"\x7fELF\x02\x01", 0o755);
        assert!(
            check(cut.path(), "./cut", Arch::X86_64, Root::None).unwrap_err().to_string().contains("./cut")
        );
        let me = std::env::current_exe().unwrap();
        let host = Arch::host().unwrap();
        let e = check(&me, "me", host, Root::None).unwrap_err();
        assert!(e.to_string().contains("dynamically linked"), "{e}");
        let other = Arch::ALL.into_iter().find(|a| *a != host).unwrap();
        let e = check(&me, "me", other, Root::None).unwrap_err().to_string();
        assert!(e.contains(host.name()) && e.contains(other.name()), "{e}");
    }

    #[test]
    fn with_a_root_whatever_is_in_it_will_do() {
        let host = Arch::host().unwrap();
        let me = std::env::current_exe().unwrap();
        assert_eq!(check(&me, "me", host, Root::Userland).unwrap(), Kind::Direct);
        let linker = interpreter(&me).unwrap().unwrap();
        assert!(linker.starts_with('/') && linker.contains("ld-linux"), "{linker}");
        let bash = file(b"#! /bin/bash -e\n", 0o755);
        assert_eq!(check(bash.path(), "x", host, Root::Host).unwrap(), Kind::Direct);
        assert_eq!(interpreter(bash.path()).unwrap().as_deref(), Some("/bin/bash"));
        for (first, sought) in [
            ("#!/usr/bin/env bash\n", Some("bash")),
            ("#!/usr/bin/env -S A=b python3 -u\n", Some("python3")),
            ("#!/usr/bin/env -i sh\n", None),
            ("#!/usr/bin/env /bin/sh\n", None),
            ("#!/bin/bash env\n", None),
        ] {
            let script = file(first.as_bytes(), 0o755);
            assert_eq!(sought_by_env(script.path()).unwrap().as_deref(), sought, "{first}");
        }
        let near = file(b"#!bash\n", 0o755);
        let e = check(near.path(), "x", host, Root::Userland).unwrap_err().to_string();
        assert!(e.contains("'bash', which is no absolute path"), "{e}");
        let other = Arch::ALL.into_iter().find(|a| *a != host).unwrap();
        assert!(check(&me, "me", other, Root::Userland).is_err(), "for another architecture");
    }

    #[test]
    fn scripts_for_a_plain_shell_run_anywhere() {
        for first in ["#!/bin/sh\n", "#! /bin/sh -eu\necho", "#!/usr/bin/env sh\n", "#!/bin/busybox ash\n"] {
            let script = file(first.as_bytes(), 0o755);
            for arch in Arch::ALL {
                assert_eq!(check(script.path(), "x", arch, Root::None).unwrap(), Kind::Script, "{first}");
            }
        }
    }

    #[test]
    fn names_are_safe() {
        assert_eq!(suite_name("my test.bin"), "my_test_bin");
        assert!(suite(&[], Arch::X86_64, Root::None).is_err());
    }
}
