//! `modprobe`, as the kernel calls it: `modprobe -q -- NAME` (kernel/module/kmod.c; the path is what
//! /proc/sys/kernel/modprobe names).
//!
//! Modules come from the tree that the host shares. It is mounted here, at the first request: most tests need none,
//! and a 9p mount costs an emulated guest some milliseconds.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use kvet_wire::{Share, modindex, paths};

use crate::{modules, shares};

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// Modules or aliases.
    names: Vec<String>,
    /// `name=value …` for the only one.
    parameters: String,
    /// Whether failing is worth no word.
    quiet: bool,
}

impl Request {
    /// What the kernel says, and what people say who want a module loaded: `modprobe [-q] [-a] [-v] [--] NAME
    /// [PARAMETER=VALUE…]`. Anything else would have to be done differently, and is refused.
    fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut request = Request { names: Vec::new(), parameters: String::new(), quiet: false };
        let mut all = false;
        for arg in args {
            match arg.as_str() {
                "-q" | "--quiet" => request.quiet = true,
                "-a" | "--all" => all = true,
                "-v" | "--verbose" | "-b" | "--use-blacklist" | "-s" | "--syslog" | "--" => {}
                "-r" | "--remove" => {
                    return Err("this is kvet's modprobe, which only loads: use rmmod".into());
                }
                option if option.starts_with('-') => {
                    return Err(format!("this is kvet's modprobe, which does not know {option}"));
                }
                _ if request.names.is_empty() || all => request.names.push(arg),
                _ => {
                    if !request.parameters.is_empty() {
                        request.parameters.push(' ');
                    }
                    request.parameters.push_str(&arg);
                }
            }
        }
        if request.names.is_empty() { Err("no module is named".into()) } else { Ok(request) }
    }
}

/// Loads what the kernel, or a test, asks for. Exit status 1 where that cannot be had: the kernel goes on without.
pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let request = match Request::parse(args) {
        Ok(request) => request,
        Err(why) => {
            eprintln!("modprobe: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut status = ExitCode::SUCCESS;
    for name in &request.names {
        if let Err(why) = serve(name, &request.parameters) {
            // The kernel asks for much that nobody has (`-q`); who wonders reads the log (dmesg).
            let _ = fs::write("/dev/kmsg", format!("<7>kvet-init: modprobe {name}: {why}\n"));
            if !request.quiet {
                eprintln!("modprobe: {name}: {why}");
            }
            status = ExitCode::FAILURE;
        }
    }
    status
}

fn serve(request: &str, parameters: &str) -> Result<(), String> {
    let root = Path::new(paths::MODULES);
    let share = Share { tag: paths::MODULES_TAG.into(), path: paths::MODULES.into(), readonly: true };
    // The kernel asks for modules before init has mounted anything, and while 9p itself is being loaded: mounting a
    // share would then ask for 9p, and so for this helper, again.
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.lines().any(|line| line.split_whitespace().last() == Some("9p")) {
        return Err("9p is not there yet".into());
    }
    if !root.join("kernel").exists() {
        shares::mount_share(&share).map_err(|e| format!("mount {}: {e}", paths::MODULES))?;
    }
    // A tree that is not kvet's own has its index in the initramfs.
    let beside = root.join(modindex::FILE_NAME);
    let index = [beside.as_path(), Path::new(paths::TREE_INDEX)].into_iter().find(|path| path.exists());
    let index = index.ok_or("there is no module index")?;
    let text = fs::read_to_string(index).map_err(|e| format!("read {}: {e}", index.display()))?;
    let carried = fs::read_to_string(paths::JOB_MODULES).unwrap_or_default();
    modules::load_request(&text, root, &carried, request, parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, String> {
        Request::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_the_kernel_and_what_people_say() {
        let kernel = parse("-q -- net-pf-16").unwrap();
        assert_eq!(
            (kernel.names, kernel.parameters, kernel.quiet),
            (vec!["net-pf-16".into()], "".into(), true)
        );
        let person = parse("dummy numdummies=2 x=3").unwrap();
        assert_eq!((person.names, person.parameters), (vec!["dummy".into()], "numdummies=2 x=3".into()));
        assert_eq!(parse("-a veth tun").unwrap().names, ["veth", "tun"]);
    }

    #[test]
    fn what_it_cannot_do_is_refused() {
        assert!(parse("-r dummy").unwrap_err().contains("rmmod"));
        assert!(parse("--show-depends dummy").unwrap_err().contains("--show-depends"));
        assert!(parse("-q --").unwrap_err().contains("no module"));
    }
}
