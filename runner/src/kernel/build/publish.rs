//! From make's output to an entry of the cache.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use crate::error::{Error, IoContext, Result};
use crate::event::{BtfFacts, BuiltFacts};
use kvet_host::disk::{self, tree_size};
use kvet_host::fs::unix;
use kvet_host::process;

use super::super::cache::{Build, EntryInfo, FORMAT, Kind, Scratch};
use super::super::debian::count_modules;
use super::super::file::check_bootable;
use super::super::image::{self, ImageFacts};
use super::super::{Kernel, Progress};
use super::{Made, Work, elf, found};
use kvet_host::hash::Sha256Hex;
use kvet_host::lock::{Lock, Mode, Wait};

/// What an entry is made of, in a scratch folder.
struct Contents {
    scratch: Scratch,
    image: ImageFacts,
    modules: u64,
    signature: Sha256Hex,
    btf: BtfFacts,
}

impl Work<'_> {
    /// Copies what a guest needs into an entry named by the kernel's signature, unless it is there, notes who made it, and opens
    /// it. `dir` is the build folder, `key` what the build can be asked for by.
    pub(super) fn publish(
        &self,
        dir: &Path,
        key: Option<String>,
        made: &Made,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Kernel> {
        let contents = self.gather(made)?;
        let built = self.built_facts(dir, made, &contents)?;
        let entry = self.describe(&contents, &built);
        let lock = self.put(&contents.scratch, &entry, progress)?;
        let order = &self.order;
        order.cache.add_build(&entry.id, Build::over(key, built.clone()), progress, order.cancel)?;
        found::open(order.cache, order.spec, &entry.id, built, lock)?.ok_or_else(|| vanished(&entry.id))
    }

    /// The image, the config and the modules, and what they say of the kernel.
    fn gather(&self, made: &Made) -> Result<Contents> {
        let scratch = self.order.cache.scratch()?;
        let stripped = scratch.path().join("stripped");
        self.strip(&made.vmlinux(), &stripped)?;
        let mut signature = elf::Signature::default();
        signature.config(&made.config()?);
        let btf = signature.vmlinux(&stripped)?;
        let path = scratch.path().join("image");
        if made.image == made.vmlinux() {
            fs::rename(&stripped, &path).host(format_args!("write {}", path.display()))?;
        } else {
            copy(&made.image, &path)?;
            fs::remove_file(&stripped).host(format_args!("remove {}", stripped.display()))?;
        }
        let image = self.check_image(&path)?;
        copy(&made.out.join(".config"), &scratch.path().join("config"))?;
        let folder = scratch.path().join("lib/modules").join(&image.release);
        let modules = self.install_modules(made, scratch.path(), &folder)?;
        signature.modules(&folder, self.order.cancel)?;
        Ok(Contents { scratch, image, modules, signature: signature.end(), btf })
    }

    fn check_image(&self, path: &Path) -> Result<ImageFacts> {
        let facts = image::identify(path)
            .map_err(|e| Error::kernel("what was built is no kernel image").because(e))?;
        let arch = self.order.arch;
        if facts.arch != arch {
            return Err(Error::kernel(format!("what was built is for {}, not for {arch}", facts.arch)));
        }
        check_bootable(path, &facts)?;
        Ok(facts)
    }

    /// How it was built.
    fn built_facts(&self, dir: &Path, made: &Made, contents: &Contents) -> Result<BuiltFacts> {
        let vmlinux = made.vmlinux();
        let size = fs::metadata(&vmlinux).host(format_args!("read {}", vmlinux.display()))?.len();
        Ok(BuiltFacts {
            source: self.order.source.to_string(),
            describe: self.tree.describe.clone(),
            dirty: self.tree.dirty,
            identity: self.tree.identity.clone(),
            toolchain: self.tools.version(),
            fragments: self.order.recipe.fragments.iter().map(|f| f.display().to_string()).collect(),
            signature: contents.signature.to_string(),
            btf: contents.btf.clone(),
            objects: made.objects,
            seconds: made.seconds,
            vmlinux_bytes: size,
            folder: dir.to_path_buf(),
        })
    }

    fn describe(&self, contents: &Contents, built: &BuiltFacts) -> EntryInfo {
        let (version, arch) = (self.tree.version, self.order.arch);
        EntryInfo {
            format: FORMAT,
            id: format!("built-{version}-{arch}-{}", &contents.signature.as_str()[..12]),
            version,
            arch,
            release: contents.image.release.clone(),
            suite: String::new(),
            origin: found::origin(built),
            image_kind: contents.image.kind,
            image_sha256: contents.image.sha256.clone(),
            packages: Vec::new(),
            btf: Some(built.btf.bytes > 0),
            modules: contents.modules,
            size_bytes: tree_size(contents.scratch.path()),
            created_unix: unix(SystemTime::now()),
            built: Some(built.clone()),
        }
    }

    /// Makes it an entry, unless the same is there. Gives the entry's lock, with which nobody prunes it.
    fn put(&self, scratch: &Scratch, entry: &EntryInfo, progress: &mut dyn FnMut(Progress)) -> Result<Lock> {
        let cache = self.order.cache;
        let path = cache.lock_path(&entry.id);
        let image = cache.entry_dir(Kind::Kernels, &entry.id).join("image");
        // What is there is what we would put there, but for build ids: a guest may run just this kernel.
        let signature = |e: &EntryInfo| e.built.as_ref().map(|built| built.signature.clone());
        let is_there = || {
            let there = cache.read_entry::<EntryInfo>(Kind::Kernels, &entry.id);
            image.is_file() && there.is_some_and(|e| e.format == FORMAT && signature(&e) == signature(entry))
        };
        let mut wait = Wait::new("be done with the same kernel");
        loop {
            if let Some(lock) = Lock::try_take(&path, Mode::Shared)?
                && is_there()
            {
                return Ok(lock);
            }
            if let Some(lock) = Lock::try_take(&path, Mode::Exclusive)? {
                if !is_there() {
                    cache.commit(scratch, Kind::Kernels, &entry.id, entry)?;
                }
                lock.share()?;
                // Pruned between the two moments, it is gone, and so is what was to be put there.
                return if is_there() { Ok(lock) } else { Err(vanished(&entry.id)) };
            }
            wait.once(progress, self.order.cancel)?;
        }
    }

    /// A guest needs no debug information; BTF is no part of it.
    fn strip(&self, from: &Path, to: &Path) -> Result<()> {
        let mut command = Command::new(&self.tools.objcopy);
        command.arg("--strip-debug").arg(from).arg(to).env("LC_ALL", "C");
        let done = process::run(&mut command, "binutils", self.order.cancel)?;
        if done.status.success() {
            return Ok(());
        }
        let why = done.stderr.lines().next().unwrap_or("it says nothing").to_string();
        let error = Error::host(format!("cannot strip {}: {why}", from.display()));
        Err(if why.contains("No space left") { error.hint("`kvet kernel prune` makes room") } else { error })
    }

    /// The lists of what is built in and, where the config has any, the modules. Gives how many there are.
    fn install_modules(&self, made: &Made, root: &Path, modules: &Path) -> Result<u64> {
        fs::create_dir_all(modules).map_err(|e| disk::explain(e, modules, "make"))?;
        if made.modules {
            let make = self.kbuild(&made.out);
            // kvet has an index of its own, and depmod may not be installed; what the Makefile sets itself is not taken from the
            // environment.
            let mut command = make.command(&["DEPMOD=true", "modules_install"]);
            command.env("INSTALL_MOD_PATH", root).env("INSTALL_MOD_STRIP", "1");
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
}

fn vanished(id: &str) -> Error {
    Error::host(format!("the cache entry {id} vanished"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::kernel(format!("the build left no {}", from.display())),
        _ => disk::explain(e, to, "write"),
    })
}
