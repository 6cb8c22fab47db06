//! The index of all of a kernel's modules, for the guest's modprobe helper.
//!
//! The kernel asks for modules by alias (`net-pf-16-proto-16`, `crypto-sha256`) whenever a test touches something
//! that is not loaded. The guest serves that from a share of the module tree, and finds its way in it by this
//! index ([`kvet_wire::modindex`]). It is computed once per kernel. Where depmod has been at work that takes
//! milliseconds. Otherwise every module must be opened: the 4,216 of Debian's 7.2, 177 MiB of xz, take about 7 s of
//! CPU time, spread over the CPUs there are; the 4,023 of its 6.1, which are not compressed, 0.7 s.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kvet_wire::modindex::{self, Entry};

use super::modules::{ModuleTree, entry_of};
use crate::error::{Error, IoContext, Result};

/// Aliases that only a device manager asks for, when it finds the device; the guest has none. They are two thirds
/// of all text (of 7.2: 1.3 MB to 0.4 MB), which the modprobe helper would read through 9p at every request.
const HARDWARE: [&str; 7] = ["pci:", "usb:", "of:", "hid:", "pcmcia:", "cpu:", "dmi"];

/// An index in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleIndex {
    /// The file.
    pub path: PathBuf,
    /// How long it took to make, or nothing if it was there.
    pub made_in: Option<Duration>,
    /// Modules that could not be read, as `path: why`. They are in the file as comments, too. Empty if the index
    /// was there.
    pub left_out: Vec<String>,
}

/// Makes the index of a tree at `path`, unless it is there. The file's paths are relative to the tree.
///
/// The caller chooses the path so that it changes with the modules: inside the tree for a tree in the cache, which
/// never changes (then [`modindex::FILE_NAME`] is the name), and elsewhere for a tree that is not ours. Two
/// processes that do this at once both make it, and get the same bytes.
///
/// # Errors
/// The tree cannot be read, or the file not be written. A single module that is damaged is left out and named.
pub fn ensure_index(tree: &ModuleTree, path: &Path) -> Result<ModuleIndex> {
    if path.is_file() {
        return Ok(ModuleIndex { path: path.to_owned(), made_in: None, left_out: Vec::new() });
    }
    let started = Instant::now();
    let (mut entries, left_out) =
        if tree.has_depmod_lists() { (listed(tree)?, Vec::new()) } else { opened(tree)? };
    for entry in &mut entries {
        entry.aliases.retain(|alias| !HARDWARE.iter().any(|bus| alias.starts_with(bus)));
    }
    entries.extend(tree.builtin().map(|name| Entry { name: name.to_owned(), ..Entry::default() }));
    publish(path, modindex::write(&entries, &left_out).as_bytes())?;
    Ok(ModuleIndex { path: path.to_owned(), made_in: Some(started.elapsed()), left_out })
}

/// Writes a file so that it appears whole or not at all.
pub(super) fn publish(path: &Path, bytes: &[u8]) -> Result<()> {
    let action = || format!("write {}", path.display());
    let Some(dir) = path.parent() else {
        return Err(Error::host(format!("cannot {}: it has no folder", action())));
    };
    std::fs::create_dir_all(dir).host(format!("create {}", dir.display()))?;
    let mut file = tempfile::NamedTempFile::new_in(dir).host(action())?;
    file.write_all(bytes).host(action())?;
    place(file, path)
}

/// Gives a finished temporary file its name.
pub(super) fn place(file: tempfile::NamedTempFile, path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let action = || format!("write {}", path.display());
    // Temporary files are private; what is in the cache is not secret, and QEMU may run as somebody else.
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).host(action())?;
    file.as_file().sync_data().host(action())?;
    file.persist(path).map_err(|e| Error::host(format!("cannot {}", action())).because(e.error))?;
    Ok(())
}

/// The modules as depmod's lists have them.
fn listed(tree: &ModuleTree) -> Result<Vec<Entry>> {
    let aliases = tree.list("modules.alias")?.unwrap_or_default();
    let mut by_name = std::collections::BTreeMap::<String, Vec<String>>::new();
    for line in aliases.lines() {
        let mut words = line.split_whitespace();
        if let (Some("alias"), Some(alias), Some(name)) = (words.next(), words.next(), words.next()) {
            by_name.entry(modindex::normalize(name)).or_default().push(alias.to_owned());
        }
    }
    let files = tree.files()?;
    let entry = |(name, path): (&String, &String)| {
        let mut entry = tree.listed_entry(name, path)?;
        entry.aliases = by_name.remove(name).unwrap_or_default();
        Ok(entry)
    };
    files.iter().map(entry).collect()
}

/// The modules as they describe themselves, and those that could not be read.
fn opened(tree: &ModuleTree) -> Result<(Vec<Entry>, Vec<String>)> {
    let files: Vec<(String, String)> = tree.files()?.into_iter().collect();
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(files.len().max(1));
    let work = || {
        let mut done = Vec::new();
        while let Some((name, path)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let entry = tree.read(path).map(|(_, info)| entry_of(name, path.clone(), info));
            done.push(entry.map_err(|e| format!("{path}: {e}")));
        }
        done
    };
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect::<std::result::Result<Vec<_>, _>>()
    })
    .map_err(|_| Error::host("a thread that reads modules has died"))?;
    let (mut entries, mut left_out) = (Vec::new(), Vec::new());
    for result in results.into_iter().flatten() {
        match result {
            Ok(entry) => entries.push(entry),
            Err(why) => left_out.push(why),
        }
    }
    // The threads finish in any order; the file must not depend on it.
    left_out.sort_unstable();
    Ok((entries, left_out))
}

#[cfg(test)]
mod tests {
    use super::super::modinfo::fixture;
    use super::*;

    fn put(root: &Path, name: &str, bytes: &[u8]) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn modules_that_are_opened_give_the_index_that_depmods_lists_give() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        put(root, "modules.builtin", b"kernel/x/virtio-pci.ko\n");
        let a = ["depends=b-c", "alias=fs-a", "alias=pci:v*", "alias=a-[0-9]", "softdep=pre: d post: e"];
        put(root, "kernel/a.ko.xz", &fixture::xz(&fixture::module(&a)));
        for name in ["b-c", "d", "e"] {
            put(root, &format!("kernel/{name}.ko"), &fixture::module(&["depends="]));
        }
        let path = root.join("cache").join(modindex::FILE_NAME);
        let made = ensure_index(&ModuleTree::open(root).unwrap(), &path).unwrap();
        assert!(made.made_in.is_some() && made.left_out.is_empty());
        let opened = std::fs::read_to_string(&path).unwrap();
        let expected = "kvet-modules 1\n\
            a\tkernel/a.ko.xz\tb_c\td\te\tfs_a\ta_[0-9]\n\
            b_c\tkernel/b-c.ko\t\t\t\n\
            d\tkernel/d.ko\t\t\t\n\
            e\tkernel/e.ko\t\t\t\n\
            virtio_pci\t\t\t\t\n";
        assert_eq!(opened, expected);
        assert_eq!(ensure_index(&ModuleTree::open(root).unwrap(), &path).unwrap().made_in, None);

        std::fs::remove_file(&path).unwrap();
        let dep = "kernel/a.ko.xz: kernel/b-c.ko\nkernel/b-c.ko:\nkernel/d.ko:\nkernel/e.ko:\n";
        put(root, "modules.dep", dep.as_bytes());
        put(root, "modules.softdep", b"softdep a pre: d post: e\n");
        put(root, "modules.alias", b"# x\nalias fs-a a\nalias pci:v* a\nalias a-[0-9] a\n");
        ensure_index(&ModuleTree::open(root).unwrap(), &path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), opened);
    }

    #[test]
    fn a_damaged_module_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "kernel/good.ko", &fixture::module(&["depends="]));
        put(dir.path(), "kernel/text.ko", b"hello");
        put(dir.path(), "kernel/elf.ko", &fixture::other_elf());
        let path = dir.path().join(modindex::FILE_NAME);
        let made = ensure_index(&ModuleTree::open(dir.path()).unwrap(), &path).unwrap();
        assert_eq!(made.left_out.len(), 2);
        assert!(made.left_out[0].starts_with("kernel/elf.ko: ") && made.left_out[1].contains("not an ELF"));
        let text = std::fs::read_to_string(&path).unwrap();
        let index = modindex::Index::parse(&text).unwrap();
        assert_eq!(index.iter().map(modindex::Record::name).collect::<Vec<_>>(), ["good"]);
        assert!(text.contains("# kernel/text.ko: "), "{text}");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_the_hosts_fault() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "kernel/a.ko", &fixture::module(&["depends="]));
        let tree = ModuleTree::open(dir.path()).unwrap();
        let e = ensure_index(&tree, &dir.path().join("kernel/a.ko/index")).unwrap_err();
        assert_eq!(e.fault(), crate::error::Fault::Host);
    }
}
