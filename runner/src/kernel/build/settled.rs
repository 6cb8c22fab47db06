//! Whether a config that was made and proved in a build folder still holds: making one takes longer than compiling what most
//! commits change.
//!
//! Kconfig notes which of its files a config was made of (include/config/auto.conf.cmd, scripts/kconfig/confdata.c). If neither they
//! nor what makes it have changed since, kbuild would make the same again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Result;
use kvet_host::disk;

use super::super::kconfig::KernelConfig;
use kvet_host::hash::Sha256Hex;

/// The mark of a proved config, in the build folder: a hash of it and of what was asked for, and the time since when it holds.
const PROVED: &str = "proved";
/// Make's config, in the build folder.
const CONFIG: &str = "out/.config";
/// What that was made of, by Kconfig's own notes: written when make turns the config into what compilers read (syncconfig).
const NOTES: &str = "out/include/config/auto.conf.cmd";

/// The config of a build folder, if it was proved for the same requests and would come out the same. `tree` is the source, `arch`
/// its folder for the architecture.
pub(super) fn known(dir: &Path, tree: &Path, arch: &str, asked: &str) -> Option<KernelConfig> {
    let mark = dir.join(PROVED);
    let since = fs::metadata(&mark).and_then(|meta| meta.modified()).ok()?;
    let text = fs::read_to_string(dir.join(CONFIG)).ok()?;
    if fs::read_to_string(&mark).ok()? != name(asked, &text) {
        return None;
    }
    let notes = fs::read_to_string(dir.join(NOTES)).ok()?;
    let made_of = made_of(&notes);
    let makers = ["Makefile", "scripts", "kernel/configs"].map(PathBuf::from);
    let of_arch = ["Makefile", "configs"].map(|name| Path::new("arch").join(arch).join(name));
    // Where a program is installed or replaced, its folder changes.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&path);
    let same = !made_of.is_empty()
        && made_of.iter().all(|file| is_older(&tree.join(file), since) == Some(true))
        && makers.iter().chain(&of_arch).all(|place| all_older(&tree.join(place), since))
        && programs.all(|folder| is_older(&folder, since) != Some(false));
    same.then(|| KernelConfig::parse(&text))
}

/// No config of this folder is proved any more.
pub(super) fn forget(dir: &Path) {
    // If it is there and cannot be removed, remembering fails as well.
    let _ = fs::remove_file(dir.join(PROVED));
}

/// A config that was proved, before make has made anything of it.
#[must_use = "only what is settled is known the next time"]
pub(super) struct Proved {
    name: String,
    begun: SystemTime,
}

impl Proved {
    /// Of this text, for these requests. It was begun to be made at that time.
    pub fn new(asked: &str, config: &str, begun: SystemTime) -> Self {
        Self { name: name(asked, config), begun }
    }

    /// Remembers it, if make came so far that Kconfig noted what it is made of: notes that are older than the config are those
    /// of another one.
    ///
    /// # Errors
    /// The host's: it cannot be written.
    pub fn settle(self, dir: &Path) -> Result<()> {
        let modified = |file: &str| fs::metadata(dir.join(file)).and_then(|meta| meta.modified()).ok();
        let (notes, config) = (modified(NOTES), modified(CONFIG));
        if notes.is_none() || notes < config {
            return Ok(());
        }
        // Whole and with its time at once: a mark with a later one would hide what was changed meanwhile.
        let (mark, aside) = (dir.join(PROVED), dir.join(format!("{PROVED}.new")));
        fs::write(&aside, self.name)
            .and_then(|()| fs::File::options().write(true).open(&aside)?.set_modified(self.begun))
            .and_then(|()| fs::rename(&aside, &mark))
            .map_err(|e| disk::explain(e, &mark, "write"))
    }
}

fn name(asked: &str, config: &str) -> String {
    Sha256Hex::of(format!("{asked}\0{config}").as_bytes()).to_string()
}

/// The files that Kconfig read, most of them relative to the source.
fn made_of(notes: &str) -> Vec<&str> {
    let list = notes.lines().skip_while(|line| !line.starts_with("deps_config :=")).skip(1);
    list.map_while(|line| line.strip_prefix('\t')).map(|line| line.trim_end_matches(['\\', ' '])).collect()
}

/// Whether a file was neither written nor moved there since; none if it is not there.
fn is_older(path: &Path, than: SystemTime) -> Option<bool> {
    let meta = fs::metadata(path).ok()?;
    let changed = u64::try_from(meta.ctime()).ok().map(Duration::from_secs)?;
    let nanos = u32::try_from(meta.ctime_nsec()).ok().map(|nanos| Duration::new(0, nanos))?;
    Some(UNIX_EPOCH + changed + nanos < than && meta.modified().ok()? < than)
}

/// The same of a folder with all that is in it, or of a file. What is not there makes nothing.
fn all_older(place: &Path, than: SystemTime) -> bool {
    let mut open = vec![place.to_path_buf()];
    while let Some(path) = open.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_symlink() {
            continue;
        }
        if is_older(&path, than) != Some(true) {
            return false;
        }
        if meta.is_dir() {
            let Ok(entries) = fs::read_dir(&path) else { return false };
            open.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTED: &str = "autoconfig := include/config/auto.conf\n\ndeps_config := \\\n\tKconfig \\\n\t\
                         init/Kconfig \\\n\n$(autoconfig): $(deps_config)\n\t@:\n";

    struct World {
        dir: tempfile::TempDir,
    }

    impl World {
        /// A source and a build folder with a config that was proved in an instant.
        fn new() -> Self {
            let world = Self { dir: tempfile::tempdir().unwrap() };
            for (file, text) in [
                ("tree/Kconfig", ""),
                ("tree/init/Kconfig", ""),
                ("tree/Makefile", ""),
                ("tree/scripts/kconfig/conf.c", ""),
                ("tree/arch/x86/configs/x.config", ""),
                ("build/out/.config", "CONFIG_A=y\n"),
                ("build/out/include/config/auto.conf.cmd", NOTED),
            ] {
                world.write(file, text);
            }
            // The file system's clock is coarse.
            std::thread::sleep(Duration::from_millis(20));
            world.proved().settle(&world.at("build")).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            world
        }

        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn proved(&self) -> Proved {
            Proved::new("asked", "CONFIG_A=y\n", SystemTime::now())
        }

        fn write(&self, file: &str, text: &str) {
            fs::create_dir_all(self.at(file).parent().unwrap()).unwrap();
            fs::write(self.at(file), text).unwrap();
        }

        fn known(&self, asked: &str) -> bool {
            known(&self.at("build"), &self.at("tree"), "x86", asked).is_some_and(|c| c.is_builtin("CONFIG_A"))
        }
    }

    #[test]
    fn it_holds_until_something_changes_that_it_is_made_of() {
        let world = World::new();
        assert!(world.known("asked") && !world.known("something else"));
        world.write("tree/kernel/bpf/helpers.c", "changed");
        assert!(world.known("asked"), "code makes no config");
        for file in [
            "tree/init/Kconfig",
            "tree/Makefile",
            "tree/scripts/kconfig/conf.c",
            "tree/arch/x86/configs/x.config",
            "build/out/.config",
        ] {
            let world = World::new();
            world.write(file, "changed");
            assert!(!world.known("asked"), "{file}");
        }
    }

    #[test]
    fn old_files_that_are_put_in_the_place_of_others_count() {
        let world = World::new();
        let old = world.at("old");
        fs::write(&old, "").unwrap();
        fs::File::options().write(true).open(&old).unwrap().set_modified(UNIX_EPOCH).unwrap();
        fs::rename(&old, world.at("tree/Kconfig")).unwrap();
        assert!(!world.known("asked"));
    }

    #[test]
    fn it_is_known_only_once_make_has_settled_it() {
        let world = World::new();
        forget(&world.at("build"));
        world.write("build/out/.config", "CONFIG_A=y\n");
        std::thread::sleep(Duration::from_millis(20));
        world.proved().settle(&world.at("build")).unwrap();
        assert!(!world.known("asked"), "make was stopped before it read the config");
        world.write("build/out/include/config/auto.conf.cmd", NOTED);
        world.proved().settle(&world.at("build")).unwrap();
        assert!(world.known("asked"));
        fs::remove_file(world.at("build/out/include/config/auto.conf.cmd")).unwrap();
        world.proved().settle(&world.at("build")).unwrap();
        assert!(!world.known("asked"));
    }

    #[test]
    fn what_is_not_known_is_made() {
        for file in ["build/proved", "build/out/include/config/auto.conf.cmd", "tree/init/Kconfig"] {
            let world = World::new();
            fs::remove_file(world.at(file)).unwrap();
            assert!(!world.known("asked"), "{file}");
        }
        let world = World::new();
        world.write("build/out/include/config/auto.conf.cmd", "");
        assert!(!world.known("asked"), "nothing is made of nothing");
        let world = World::new();
        forget(&world.at("build"));
        assert!(!world.known("asked"));
    }
}
