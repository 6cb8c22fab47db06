//! `kvet doctor`: what works on this machine, and what to do about what does not.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;

use anstyle::{AnsiColor, Style};
use indicatif::HumanBytes;

use crate::arch::Arch;
use crate::cell::find_qemu;
use crate::cmd::{Setup, print};
use crate::error::{Error, Result, exit};
use crate::kernel::{self, Toolchain};
use crate::report::term::ColorChoice;
use crate::spec::arch::ArchFacts;
use crate::spec::suite;
use crate::upstream;
use crate::upstream::manifest::Manifest;
use crate::userland::{NAME, UserlandSpec};
use crate::vm::accel;

/// How a finding is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// It works.
    Good,
    /// kvet runs without it, only not as well.
    Worse,
    /// Something that kvet offers does not work.
    Broken,
}

/// One finding.
struct Finding {
    level: Level,
    what: String,
    found: String,
    remedy: Option<String>,
}

/// Prints every finding. The exit code is 3 if something is broken.
pub fn run(color: ColorChoice) -> Result<u8> {
    let setup = Setup::new()?;
    let mut findings = Vec::new();
    for arch in Arch::ALL {
        check_qemu(&setup, arch, &mut findings);
    }
    findings.push(check_kvm(&setup));
    for arch in Arch::ALL {
        check_guest(&setup, arch, &mut findings);
    }
    for arch in Arch::ALL {
        findings.push(check_userland(&setup, arch));
    }
    check_builds(&setup, &mut findings);
    findings.push(check_gpgv());
    check_archive(&setup, &mut findings);
    check_cache(&setup, &mut findings);
    print(&show(&findings, color.is_on(std::io::stdout().is_terminal())))?;
    let broken = findings.iter().any(|finding| finding.level == Level::Broken);
    Ok(if broken { exit::HOST } else { exit::PASSED })
}

fn show(findings: &[Finding], color: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (mark, tint) = match finding.level {
            Level::Good => ("✓", AnsiColor::Green),
            Level::Worse => ("!", AnsiColor::Yellow),
            Level::Broken => ("✗", AnsiColor::Red),
        };
        let style = if color { Style::new().fg_color(Some(tint.into())) } else { Style::new() };
        let _ = writeln!(text, "{style}{mark}{style:#} {:<16} {}", finding.what, finding.found);
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(text, "  {:<16} → {remedy}", "");
        }
    }
    text
}

fn good(what: impl Into<String>, found: impl Into<String>) -> Finding {
    Finding { level: Level::Good, what: what.into(), found: found.into(), remedy: None }
}

fn bad(level: Level, what: impl Into<String>, error: &Error, remedy: Option<String>) -> Finding {
    let remedy = remedy.or_else(|| error.hint_text().map(str::to_owned));
    Finding { level, what: what.into(), found: error.to_string(), remedy }
}

fn check_qemu(setup: &Setup, arch: Arch, findings: &mut Vec<Finding>) {
    let what = format!("QEMU {arch}");
    let checked = ArchFacts::load(&setup.home, arch).and_then(|facts| {
        let path = find_qemu(&facts)?;
        let version = first_line(&path, &["--version"])?;
        let devices = output(&path, &["-device", "help"])?;
        if devices.contains("virtio-9p-pci") {
            Ok(format!("{version} ({})", path.display()))
        } else {
            Err(Error::host(format!("{} was built without 9p", path.display()))
                .hint(format!("install Debian's {}", facts.package)))
        }
    });
    findings.push(match checked {
        Ok(found) => good(what, found),
        Err(error) => bad(Level::Broken, what, &error, None),
    });
}

fn check_kvm(setup: &Setup) -> Finding {
    let checked = Arch::host().and_then(|arch| {
        let qemu = find_qemu(&ArchFacts::load(&setup.home, arch)?)?;
        accel::kvm_works(arch, &qemu)
    });
    match checked {
        Ok(()) => good("KVM", "works (a trial guest ran)"),
        Err(error) => bad(
            Level::Worse,
            "KVM",
            &error,
            Some("guests are emulated (tcg) and some ten times slower; for KVM use hardware or a VM that exposes \
                  virtualisation, and be allowed to open /dev/kvm"
                .into()),
        ),
    }
}

fn check_guest(setup: &Setup, arch: Arch, findings: &mut Vec<Finding>) {
    let what = format!("guest {arch}");
    let checked = setup.home.init(arch).and_then(|init| {
        let suites = suite::shipped(&setup.home)?;
        for (manifest, spec) in suites.values() {
            spec.clone().resolve(manifest, &setup.home, arch)?;
        }
        let names = suites.into_keys().collect::<Vec<_>>().join(", ");
        Ok(format!("init and suites ({names}) in {}", init.parent().unwrap_or(Path::new("")).display()))
    });
    findings.push(match checked {
        Ok(found) => good(what, found),
        Err(error) => bad(Level::Broken, what, &error, Some("run `make build`".into())),
    });
}

/// That there is none yet is no trouble: the first run that needs it makes it.
fn check_userland(setup: &Setup, arch: Arch) -> Finding {
    let what = format!("userland {arch}");
    let checked = UserlandSpec::load(&setup.home).and_then(|_| setup.resources.cache.trees());
    match checked {
        Ok(trees) => match trees.iter().find(|tree| tree.info.id.starts_with(&format!("{NAME}-{arch}-"))) {
            Some(tree) => good(what, format!("{}, {}", tree.info.id, HumanBytes(tree.info.size_bytes))),
            None => good(what, "not made yet: `kvet image build`, or the first run with --root userland"),
        },
        Err(error) => bad(Level::Broken, what, &error, Some("mend images/userland.yaml".into())),
    }
}

/// The compilers and their companions, for kernels and for the kernel's own selftests.
fn check_builds(setup: &Setup, findings: &mut Vec<Finding>) {
    let cancel = &setup.resources.cancel;
    let kernels = |toolchain, arch| kernel::check_tools(toolchain, arch, &setup.home, cancel);
    let mut add = |level, what: String, checked: Result<String>| {
        findings.push(match checked {
            Ok(found) => good(what, found),
            Err(error) => bad(level, what, &error, None),
        });
    };
    for arch in Arch::ALL {
        add(Level::Broken, format!("builds {arch}"), kernels(Toolchain::default(), arch));
    }
    let manifest = match Manifest::load(&setup.home) {
        Ok(manifest) => manifest,
        Err(error) => return add(Level::Broken, "selftests".into(), Err(error)),
    };
    // Who does not ask for it does not need it.
    let llvm = manifest.clang.package.parse().and_then(|toolchain| kernels(toolchain, Arch::host()?));
    add(Level::Worse, "builds with LLVM".into(), llvm);
    for arch in Arch::ALL {
        add(Level::Broken, format!("selftests {arch}"), upstream::check_tools(arch, &setup.home, &manifest));
    }
}

fn check_gpgv() -> Finding {
    match first_line(Path::new("gpgv"), &["--version"]) {
        Ok(version) => good("gpgv", version),
        Err(error) => bad(Level::Broken, "gpgv", &error, Some("apt-get install gpgv".into())),
    }
}

fn check_archive(setup: &Setup, findings: &mut Vec<Finding>) {
    match setup.resources.sources.probe(&setup.resources.cancel) {
        Ok(line) => findings.push(good("mirror", line)),
        Err(error) => {
            let some = setup.resources.cache.list().is_ok_and(|kernels| !kernels.is_empty());
            let (level, cached) = if some {
                (Level::Worse, "cached kernels still work; ")
            } else {
                (Level::Broken, "there are no cached kernels to work with; ")
            };
            let remedy = format!("{cached}check the network and /etc/apt, or set KVET_MIRROR");
            findings.push(bad(level, "mirror", &error, Some(remedy)));
        }
    }
}

fn check_cache(setup: &Setup, findings: &mut Vec<Finding>) {
    let cache = &setup.resources.cache;
    let root = cache.root().display().to_string();
    match cache.list() {
        Ok(kernels) => {
            let bytes = kernels.iter().map(|kernel| kernel.info.size_bytes).sum();
            let found = format!("{root}: {} kernels, {}", kernels.len(), HumanBytes(bytes));
            findings.push(good("cache", found));
        }
        Err(error) => findings.push(bad(Level::Broken, "cache", &error, Some("set KVET_CACHE".into()))),
    }
    let Ok(stat) = nix::sys::statvfs::statvfs(cache.root()) else { return };
    let free = stat.blocks_available() * stat.fragment_size();
    let found = format!("{} free for the cache", HumanBytes(free));
    // A stock kernel with its modules takes up to 700 MB while it is unpacked.
    if free > 1 << 30 {
        findings.push(good("disk", found));
    } else {
        let remedy = Some("`kvet kernel prune --keep 3`, or set KVET_CACHE to a larger disk".into());
        findings.push(Finding { level: Level::Worse, what: "disk".into(), found, remedy });
    }
}

fn first_line(program: &Path, args: &[&str]) -> Result<String> {
    Ok(output(program, args)?.lines().next().unwrap_or_default().to_owned())
}

fn output(program: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|e| Error::host(format!("cannot start {}", program.display())).because(e))?;
    if !output.status.success() {
        return Err(Error::host(format!("{} {} failed", program.display(), args.join(" "))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_followed_by_its_remedy() {
        let findings = [
            good("gpgv", "2.2"),
            bad(Level::Broken, "QEMU arm64", &Error::host("not installed").hint("apt-get install it"), None),
        ];
        let text = show(&findings, false);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().nth(2).unwrap().ends_with("→ apt-get install it"), "{text}");
    }
}
