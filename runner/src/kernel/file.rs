//! The `file:` source: an image on the caller's disk, and what can be found out about it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::error::{Error, IoContext, Result};
use crate::event::KernelFacts;

use super::image::{self, ImageFacts, ImageKind};
use super::kconfig::{KernelConfig, MAX_CONFIG_BYTES};
use super::version::KernelVersion;
use super::vmlinux::has_pvh_entry;
use super::{Kernel, KernelSpec, Progress};

pub(super) fn acquire(
    spec: &KernelSpec,
    image: &Path,
    modules: Option<&Path>,
    config: Option<&Path>,
    arch: Arch,
    progress: &mut dyn FnMut(Progress),
) -> Result<Kernel> {
    let typed = image;
    let image = std::path::absolute(typed).host("find the current directory")?;
    let facts = image::identify(&image).map_err(|e| match mistaken(typed) {
        Some(meant) if !image.exists() => e.hint(format!("a kernel of a suite is written {meant}")),
        _ => e,
    })?;
    if facts.arch != arch {
        return Err(Error::caller(format!(
            "{} is a kernel for {} ({} {}); asked for is {arch}",
            image.display(),
            facts.arch,
            facts.kind,
            facts.release
        ))
        .hint(format!("-a {} runs it", facts.arch)));
    }
    check_bootable(&image, &facts)?;
    let version = KernelVersion::parse_prefix(&facts.release).map(|(v, _)| v).ok_or_else(|| {
        Error::caller(format!("{} calls itself '{}': no kernel version", image.display(), facts.release))
    })?;
    let modules = modules.map(|dir| find_modules(dir, &facts.release)).transpose()?;
    let found = find_config(&image, &facts, modules.as_deref(), config)?;
    progress(Progress::Note(describe(&image, &facts, modules.as_deref(), found.as_ref())));
    let config = found.map(|(config, _)| config);
    Ok(Kernel {
        spec: spec.clone(),
        facts: KernelFacts {
            spec: spec.to_string(),
            release: facts.release,
            version: version.to_string(),
            origin: format!("{} {}", facts.kind, image.display()),
            image_sha256: facts.sha256.to_string(),
            packages: Vec::new(),
            config: config.as_ref().map(KernelConfig::telling).unwrap_or_default(),
            built: None,
        },
        version,
        arch,
        image_kind: facts.kind,
        image,
        modules,
        config,
        lock: None,
    })
}

/// QEMU enters an x86 vmlinux where its PVH note says, and cannot load one of arm64 at all: its segments name virtual
/// addresses.
pub(super) fn check_bootable(image: &Path, facts: &ImageFacts) -> Result<()> {
    if facts.kind != ImageKind::Vmlinux {
        return Ok(());
    }
    match facts.arch {
        Arch::X86_64 if has_pvh_entry(image) => Ok(()),
        Arch::X86_64 => Err(Error::caller(format!("{} has no PVH entry point for QEMU", image.display()))
            .hint("set CONFIG_PVH=y, or give arch/x86/boot/bzImage")),
        Arch::Arm64 => {
            Err(Error::caller(format!("{}: QEMU does not boot a vmlinux of arm64", image.display()))
                .hint("give arch/arm64/boot/Image"))
        }
    }
}

/// `trixie/6.12` is a path to us; whoever typed it may have meant the suite.
fn mistaken(typed: &Path) -> Option<String> {
    let spec: KernelSpec = format!("debian:{}", typed.to_str()?).parse().ok()?;
    Some(spec.to_string())
}

fn describe(
    image: &Path,
    facts: &ImageFacts,
    modules: Option<&Path>,
    config: Option<&(KernelConfig, String)>,
) -> String {
    let modules = modules.map_or("no modules given".to_string(), |m| format!("modules in {}", m.display()));
    let config = config.map_or("no config found".to_string(), |(_, place)| format!("config from {place}"));
    format!("{}: {} {} {}, {modules}, {config}", image.display(), facts.arch, facts.kind, facts.release)
}

fn is_modules(dir: &Path) -> bool {
    dir.join("kernel").is_dir() || dir.join("modules.dep").is_file()
}

/// Takes `lib/modules/<release>` itself or a folder above it, as `make modules_install` leaves it.
fn find_modules(given: &Path, release: &str) -> Result<PathBuf> {
    let given = std::path::absolute(given).host("find the current directory")?;
    if !fs::metadata(&given).given(format_args!("open the modules {}", given.display()))?.is_dir() {
        return Err(Error::caller(format!("modules {} are not a folder", given.display())));
    }
    if is_modules(&given) {
        return match given.file_name().and_then(|name| name.to_str()) {
            Some(name) if name != release && given.parent().is_some_and(|p| p.ends_with("lib/modules")) => {
                Err(Error::caller(format!(
                    "{} are modules of {name}, and the image is {release}",
                    given.display()
                )))
            }
            _ => Ok(given),
        };
    }
    let parents = [given.join("lib/modules"), given.join("usr/lib/modules"), given.clone()];
    if let Some(found) = parents.iter().map(|p| p.join(release)).find(|p| is_modules(p)) {
        return Ok(found);
    }
    let others = releases(&parents);
    let why = if others.is_empty() {
        format!("neither kernel/ nor modules.dep nor lib/modules/{release} is in it")
    } else {
        format!("it holds modules of {}, and the image is {release}", others.join(", "))
    };
    Err(Error::caller(format!("no modules for this kernel in {}: {why}", given.display()))
        .hint("make modules_install INSTALL_MOD_PATH=DIR, then --modules DIR"))
}

fn releases(parents: &[PathBuf]) -> Vec<String> {
    let dirs = parents.iter().filter_map(|p| fs::read_dir(p).ok()).flatten().flatten();
    let mut names: Vec<String> =
        dirs.filter(|d| is_modules(&d.path())).filter_map(|d| d.file_name().into_string().ok()).collect();
    names.sort();
    names.truncate(5);
    names
}

/// The config and where it was: the one given, else the one inside the image, beside the modules, beside the
/// image, at the top of the build tree that the image is in.
fn find_config(
    image: &Path,
    facts: &ImageFacts,
    modules: Option<&Path>,
    given: Option<&Path>,
) -> Result<Option<(KernelConfig, String)>> {
    if let Some(path) = given {
        let config = read_config(path)?;
        if config.is_empty() {
            return Err(Error::caller(format!(
                "{} is no kernel config: it sets no CONFIG_ option",
                path.display()
            )));
        }
        return Ok(Some((config, path.display().to_string())));
    }
    if let Some(text) = &facts.config {
        return Ok(Some((KernelConfig::parse(text), "the image itself".to_string())));
    }
    let dir = image.parent().unwrap_or(Path::new("/"));
    let name = image.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let mut places = vec![dir.join(format!("config-{}", facts.release))];
    places.extend(modules.map(|m| m.join("config")));
    // arch/x86/boot/bzImage and arch/arm64/boot/Image are three folders below the top, vmlinux is in it.
    match facts.kind {
        ImageKind::Vmlinux => places.push(dir.join(".config")),
        _ if ["bzImage", "Image", "Image.gz"].contains(&name) && dir.ends_with("boot") => {
            places.extend(dir.ancestors().nth(3).map(|top| top.join(".config")));
        }
        _ => {}
    }
    for place in places.into_iter().filter(|p| p.is_file()) {
        let config = read_config(&place)?;
        if !config.is_empty() {
            return Ok(Some((config, place.display().to_string())));
        }
    }
    Ok(None)
}

fn read_config(path: &Path) -> Result<KernelConfig> {
    let size = fs::metadata(path).given(format_args!("open the config {}", path.display()))?.len();
    if size > MAX_CONFIG_BYTES {
        return Err(Error::caller(format!(
            "{} has {size} bytes: too large for a kernel config",
            path.display()
        )));
    }
    let bytes = fs::read(path).given(format_args!("read the config {}", path.display()))?;
    Ok(KernelConfig::parse(&String::from_utf8_lossy(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::image::tests::{bzimage, image};
    use super::*;
    use crate::error::Fault;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            Tree(tempfile::tempdir().unwrap())
        }

        fn put(&self, path: &str, content: &[u8]) -> PathBuf {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        }

        fn get(&self, image: &str, modules: Option<&str>, arch: Arch) -> (Result<Kernel>, String) {
            let at = |p: &str| self.0.path().join(p);
            let spec = KernelSpec::File { image: at(image), modules: modules.map(at), config: None };
            let KernelSpec::File { image, modules, config } = &spec else { unreachable!() };
            let mut said = String::new();
            let mut progress = |p| said = format!("{p:?}");
            let kernel = acquire(&spec, image, modules.as_deref(), config.as_deref(), arch, &mut progress);
            (kernel, said)
        }
    }

    #[test]
    fn what_was_found_is_told() {
        let tree = Tree::new();
        tree.put("linux/arch/x86/boot/bzImage", &bzimage("7.2.0-rc3-next"));
        tree.put("linux/.config", b"CONFIG_BPF_SYSCALL=y\n");
        tree.put("inst/lib/modules/7.2.0-rc3-next/kernel/a.ko", b"");
        let (kernel, said) = tree.get("linux/arch/x86/boot/bzImage", Some("inst"), Arch::X86_64);
        let kernel = kernel.unwrap();
        assert_eq!(
            (kernel.facts.release.as_str(), kernel.facts.version.as_str()),
            ("7.2.0-rc3-next", "7.2-rc3")
        );
        assert!(kernel.config.unwrap().is_builtin("CONFIG_BPF_SYSCALL"));
        assert!(kernel.modules.unwrap().ends_with("lib/modules/7.2.0-rc3-next"));
        for part in ["x86_64 bzImage 7.2.0-rc3-next", "modules in", "config from", "linux/.config"] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn a_kernel_of_the_wrong_arch_names_both() {
        let tree = Tree::new();
        tree.put("Image", &image("6.12.5"));
        let error = tree.get("Image", None, Arch::X86_64).0.unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        let text = error.to_string();
        assert!(text.contains("for arm64") && text.contains("asked for is x86_64"), "{text}");
        assert_eq!(error.hint_text(), Some("-a arm64 runs it"));
        let (kernel, said) = tree.get("Image", None, Arch::Arm64);
        assert!(kernel.unwrap().config.is_none() && said.contains("no config found"), "{said}");
    }

    #[test]
    fn modules_of_another_kernel_are_refused() {
        let tree = Tree::new();
        tree.put("k", &bzimage("7.2.1"));
        tree.put("m/lib/modules/6.1.0/modules.dep", b"");
        tree.put("empty/x", b"");
        tree.put("direct/modules.dep", b"");
        let refused = |dir: &str| {
            let error = tree.get("k", Some(dir), Arch::X86_64).0.unwrap_err();
            assert_eq!(error.fault(), Fault::Caller);
            error.to_string()
        };
        assert!(refused("m").contains("modules of 6.1.0, and the image is 7.2.1"));
        assert!(refused("empty").contains("lib/modules/7.2.1"));
        assert!(refused("k").contains("are not a folder"));
        assert!(refused("nowhere").contains("nowhere"));
        assert!(tree.get("direct/../k", Some("direct"), Arch::X86_64).0.is_ok());
    }

    #[test]
    fn the_config_beside_the_image_as_in_slash_boot() {
        let tree = Tree::new();
        tree.put("boot/vmlinuz-6.1.0", &bzimage("6.1.0"));
        tree.put("boot/config-6.1.0", b"CONFIG_KASAN=y\n");
        let kernel = tree.get("boot/vmlinuz-6.1.0", None, Arch::X86_64).0.unwrap();
        assert_eq!(kernel.facts.config["CONFIG_KASAN"], "y");
    }

    #[test]
    fn a_config_that_is_none_and_an_image_that_is_none() {
        let tree = Tree::new();
        let image = tree.put("k", &bzimage("6.1.0"));
        let config = tree.put("c", b"hello\n");
        let spec: KernelSpec = "./k".parse().unwrap();
        let error = acquire(&spec, &image, None, Some(&config), Arch::X86_64, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("is no kernel config"), "{error}");
        let error = acquire(&spec, &config, None, None, Arch::X86_64, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("is no kernel image"), "{error}");
        let error =
            acquire(&spec, Path::new("trixie/6.12"), None, None, Arch::X86_64, &mut |_| {}).unwrap_err();
        assert!(error.hint_text().unwrap().contains("debian:trixie/6.12"));
        let error = acquire(&spec, Path::new("nowhere"), None, None, Arch::X86_64, &mut |_| {}).unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
    }
}
