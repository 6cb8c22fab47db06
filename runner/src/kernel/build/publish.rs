//! From make's output to an entry of the cache.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use crate::error::{Error, IoContext, Result};
use crate::event::BuiltFacts;

use super::super::cache::{EntryInfo, FORMAT, Kind, tree_size, unix};
use super::super::debian::count_modules;
use super::super::file::check_bootable;
use super::super::image;
use super::super::lock::{Lock, Mode, Wait};
use super::super::{Kernel, Progress, child, space};
use super::{Made, Work, elf};

/// Copies what a guest needs into an entry named by the kernel's signature, unless it is there, and opens that.
pub(super) fn publish(
    work: &Work<'_>,
    dir: &Path,
    key: &str,
    made: &Made,
    progress: &mut dyn FnMut(Progress),
) -> Result<Kernel> {
    let scratch = work.cache.scratch()?;
    let config_text = fs::read_to_string(made.out.join(".config"))
        .host(format_args!("read the config in {}", made.out.display()))?;
    let vmlinux = made.out.join("vmlinux");
    let stripped = scratch.path().join("stripped");
    strip(work, &vmlinux, &stripped)?;
    let (signature, btf) = elf::signature(&config_text, &stripped)?;
    let image = scratch.path().join("image");
    if made.image == vmlinux {
        fs::rename(&stripped, &image).host(format_args!("write {}", image.display()))?;
    } else {
        copy(&made.image, &image)?;
        fs::remove_file(&stripped).host(format_args!("remove {}", stripped.display()))?;
    }
    let facts =
        image::identify(&image).map_err(|e| Error::kernel("what was built is no kernel image").because(e))?;
    if facts.arch != work.arch {
        return Err(Error::kernel(format!("what was built is for {}, not for {}", facts.arch, work.arch)));
    }
    check_bootable(&image, &facts)?;
    copy(&made.out.join(".config"), &scratch.path().join("config"))?;
    let modules = scratch.path().join("lib/modules").join(&facts.release);
    let count = install_modules(work, made, scratch.path(), &modules)?;
    let id = format!("built-{}-{}-{}", work.tree.version, work.arch, &signature.as_str()[..12]);
    let built = BuiltFacts {
        source: work.source.to_string(),
        describe: work.tree.describe.clone(),
        dirty: work.tree.dirty,
        identity: work.tree.identity.clone(),
        toolchain: work.tools.version(),
        fragments: work.recipe.fragments.iter().map(|f| f.display().to_string()).collect(),
        signature: signature.to_string(),
        btf,
        objects: made.objects,
        seconds: made.seconds,
        vmlinux_bytes: fs::metadata(&vmlinux).map_or(0, |m| m.len()),
        folder: dir.to_path_buf(),
    };
    let mut entry = EntryInfo {
        format: FORMAT,
        id: id.clone(),
        version: work.tree.version,
        arch: work.arch,
        release: facts.release,
        suite: String::new(),
        origin: origin(&built),
        image_kind: facts.kind,
        image_sha256: facts.sha256,
        packages: Vec::new(),
        btf: Some(built.btf.bytes > 0),
        modules: count,
        size_bytes: tree_size(scratch.path()),
        created_unix: unix(SystemTime::now()),
        build_keys: vec![key.to_string()],
        built: Some(built),
    };
    let mut wait = Wait::new("be done with the same kernel");
    loop {
        if let Some(_alone) = Lock::try_take(&work.cache.lock_path(&id), Mode::Exclusive)? {
            remember(work, &mut entry);
            work.cache.commit(&scratch, Kind::Kernels, &id, &entry)?;
            break;
        }
        // A guest runs just this kernel: what is there is what we would put there.
        if let Some(there) = work.cache.read_entry::<EntryInfo>(Kind::Kernels, &id)
            && there.image_sha256 == entry.image_sha256
        {
            break;
        }
        wait.once(progress, work.cancel)?;
    }
    work.open(&id, progress)?.ok_or_else(|| Error::host(format!("the cache entry {id} vanished")))
}

/// One kernel may come of several sources: all of them are known.
fn remember(work: &Work<'_>, entry: &mut EntryInfo) {
    if let Some(old) = work.cache.read_entry::<EntryInfo>(Kind::Kernels, &entry.id) {
        entry.build_keys.extend(old.build_keys.into_iter().take(63));
        entry.build_keys.dedup();
    }
}

/// Where it came from, in one line.
fn origin(built: &BuiltFacts) -> String {
    let what = built.describe.clone().unwrap_or_else(|| built.source.clone());
    let extra = match &built.fragments[..] {
        [] => String::new(),
        fragments => format!(" with {}", fragments.join(", ")),
    };
    format!("{what}{extra}, built by {}", built.toolchain)
}

/// A guest needs no debug information; BTF is no part of it.
fn strip(work: &Work<'_>, from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new(&work.tools.objcopy);
    command.arg("--strip-debug").arg(from).arg(to).env("LC_ALL", "C");
    let done = child::run(&mut command, "binutils", work.cancel)?;
    if done.status.success() {
        return Ok(());
    }
    let why = done.stderr.lines().next().unwrap_or("it says nothing").to_string();
    let error = Error::host(format!("cannot strip {}: {why}", from.display()));
    Err(if why.contains("No space left") { error.hint("`kvet kernel prune` makes room") } else { error })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::kernel(format!("the build left no {}", from.display())),
        _ => space::explain(e, to, "write"),
    })
}

/// The lists of what is built in and, where the config has any, the modules. Gives how many there are.
fn install_modules(work: &Work<'_>, made: &Made, root: &Path, modules: &Path) -> Result<u64> {
    fs::create_dir_all(modules).map_err(|e| space::explain(e, modules, "make"))?;
    if made.modules {
        let make = work.kbuild(&made.out);
        let mut command = make.command(&["modules_install"]);
        // kvet has an index of its own, and depmod may not be installed.
        command.env("INSTALL_MOD_PATH", root).env("INSTALL_MOD_STRIP", "1").env("DEPMOD", "true");
        make.run(&mut command, &mut |_| {})?;
        for link in ["build", "source"] {
            // They lead out of the cache; some releases make none.
            let _ = fs::remove_file(modules.join(link));
        }
    }
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        let from = made.out.join(name);
        if from.is_file() && !modules.join(name).exists() {
            copy(&from, &modules.join(name))?;
        }
    }
    Ok(count_modules(modules))
}
