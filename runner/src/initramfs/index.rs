//! The index of all of a kernel's modules, for the guest's modprobe helper.
//!
//! The kernel asks for modules by alias (`net-pf-16-proto-16`, `crypto-sha256`) whenever a test touches something
//! that is not loaded. The guest serves that from a share of the module tree, and finds its way in it by this
//! index ([`kvet_wire::modindex`]). It is computed once per kernel. Where depmod has been at work that takes
//! milliseconds, and the index has every module. Otherwise modules must be opened. All 4,216 of Debian's 7.2,
//! 177 MiB of xz, take 7 s of CPU time; so drivers of hardware are left out (see [`ensure_index`]), and the
//! remaining 1,021 take 2 s, spread over the CPUs there are. Those of its 6.1, not compressed, take 0.3 s.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kvet_wire::modindex::{self, Entry};

use super::modules::{ModuleTree, entry_of};
use crate::error::{Error, IoContext, Result};
use crate::kernel::Cache;

/// Aliases that only a device manager asks for, when it finds the device; the guest has none. They are two thirds
/// of the text (1.3 MB where all modules of 7.2 are in it), which the helper reads through 9p at every request.
const HARDWARE: [&str; 7] = ["pci:", "usb:", "of:", "hid:", "pcmcia:", "cpu:", "dmi"];

/// The drivers that a test in a guest may ask for: those without hardware, and those of hardware that QEMU has.
/// The rest is two thirds of all there is to decompress.
const DRIVERS: [&str; 18] = [
    "block/",
    "char/",
    "cpufreq/",
    "crypto/",
    "dax/",
    "dma-buf/",
    "infiniband/core/",
    "infiniband/sw/",
    "infiniband/ulp/",
    "md/",
    "net/",
    "nvdimm/",
    "nvme/",
    "target/",
    "tty/",
    "vdpa/",
    "vhost/",
    "virtio/",
];

/// What of these drives hardware all the same.
const NOT_DRIVERS: [&str; 7] =
    ["net/ethernet/", "net/wireless/", "net/usb/", "net/phy/", "net/wwan/", "net/can/usb/", "net/dsa/"];

/// An index in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleIndex {
    /// The file.
    pub path: PathBuf,
    /// How long it took to make, or nothing if it was there.
    pub made_in: Option<Duration>,
    /// What is not in it: how many drivers of hardware, and modules that could not be read, as `path: why`. In the
    /// file these are comments. Empty if the index was there.
    pub left_out: Vec<String>,
}

/// Makes the index of a tree at `path`, unless it is there. The file's paths are relative to the tree.
///
/// Without depmod's lists, drivers of hardware that a guest does not have (sound, GPUs, media, network cards, …) are
/// in it only if another module needs them. A suite that names such a module gets it all the same, in the
/// initramfs ([`super::Contents::jobs`]).
///
/// The caller chooses the path so that it changes with the modules: inside the tree for a tree in the cache, which
/// never changes (then [`modindex::FILE_NAME`] is the name), and elsewhere for a tree that is not ours.
///
/// # Errors
/// The tree cannot be read, or the file not be written. A single module that is damaged is left out and named.
pub fn ensure_index(tree: &ModuleTree, cache: &Cache, path: &Path) -> Result<ModuleIndex> {
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
    cache.publish(path, |file| {
        file.write_all(modindex::write(&entries, &left_out).as_bytes())
            .host(format!("write {}", path.display()))
    })?;
    Ok(ModuleIndex { path: path.to_owned(), made_in: Some(started.elapsed()), left_out })
}

/// The modules as depmod's lists have them.
fn listed(tree: &ModuleTree) -> Result<Vec<Entry>> {
    let aliases = tree.list("modules.alias")?.unwrap_or_default();
    let mut by_name = BTreeMap::<String, Vec<String>>::new();
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

/// The modules as they describe themselves, and what was left out: hardware, and files that could not be read.
fn opened(tree: &ModuleTree) -> Result<(Vec<Entry>, Vec<String>)> {
    let files = tree.files()?;
    let (mut round, rest): (Vec<_>, Vec<_>) = files.iter().partition(|(_, path)| is_wanted(path));
    let mut others: BTreeMap<&String, &String> = rest.into_iter().collect();
    let (mut entries, mut left_out) = (Vec::new(), Vec::new());
    // What a wanted module needs is wanted, wherever it is.
    while !round.is_empty() {
        let mut next = Vec::new();
        for result in open_all(tree, &round)? {
            match result {
                Ok(entry) => {
                    let needs = entry.depends.iter().map(|name| modindex::normalize(name));
                    next.extend(needs.filter_map(|name| others.remove_entry(&name)));
                    entries.push(entry);
                }
                Err(why) => left_out.push(why),
            }
        }
        round = next;
    }
    // The threads finish in any order; the file must not depend on it.
    left_out.sort_unstable();
    if !others.is_empty() {
        left_out.insert(0, format!("{} drivers of hardware that the guest does not have", others.len()));
    }
    Ok((entries, left_out))
}

/// Whether a module is worth opening: all are but the drivers of hardware.
fn is_wanted(path: &str) -> bool {
    let Some(driver) = path.strip_prefix("kernel/drivers/") else {
        return !path.starts_with("kernel/sound/");
    };
    let is_in = |folders: &[&str]| folders.iter().any(|folder| driver.starts_with(folder));
    is_in(&DRIVERS) && !is_in(&NOT_DRIVERS)
}

/// Opens these modules, on all CPUs.
fn open_all(
    tree: &ModuleTree,
    files: &[(&String, &String)],
) -> Result<Vec<std::result::Result<Entry, String>>> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let work = || {
        let mut done = Vec::new();
        while let Some((name, path)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let entry = tree.read(path).map(|(_, info)| entry_of(name, path.to_string(), info));
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
    });
    let results = results.map_err(|_| Error::host("a thread that reads modules has died"))?;
    Ok(results.into_iter().flatten().collect())
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

    fn index(tree: &ModuleTree, path: &Path) -> Result<ModuleIndex> {
        let dir = tempfile::tempdir().unwrap();
        ensure_index(tree, &Cache::open(dir.path())?, path)
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
        let made = index(&ModuleTree::open(root).unwrap(), &path).unwrap();
        assert!(made.made_in.is_some() && made.left_out.is_empty());
        let opened = std::fs::read_to_string(&path).unwrap();
        let expected = "kvet-modules 1\n\
            a\tkernel/a.ko.xz\tb_c\td\te\tfs_a\ta_[0-9]\n\
            b_c\tkernel/b-c.ko\t\t\t\n\
            d\tkernel/d.ko\t\t\t\n\
            e\tkernel/e.ko\t\t\t\n\
            virtio_pci\t\t\t\t\n";
        assert_eq!(opened, expected);
        assert_eq!(index(&ModuleTree::open(root).unwrap(), &path).unwrap().made_in, None);

        std::fs::remove_file(&path).unwrap();
        let dep = "kernel/a.ko.xz: kernel/b-c.ko\nkernel/b-c.ko:\nkernel/d.ko:\nkernel/e.ko:\n";
        put(root, "modules.dep", dep.as_bytes());
        put(root, "modules.softdep", b"softdep a pre: d post: e\n");
        put(root, "modules.alias", b"# x\nalias fs-a a\nalias pci:v* a\nalias a-[0-9] a\n");
        index(&ModuleTree::open(root).unwrap(), &path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), opened);
    }

    #[test]
    fn a_damaged_module_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "kernel/good.ko", &fixture::module(&["depends="]));
        put(dir.path(), "kernel/text.ko", b"hello");
        put(dir.path(), "kernel/elf.ko", &fixture::other_elf());
        let path = dir.path().join(modindex::FILE_NAME);
        let made = index(&ModuleTree::open(dir.path()).unwrap(), &path).unwrap();
        assert_eq!(made.left_out.len(), 2, "{made:?}");
        assert!(made.left_out[0].starts_with("kernel/elf.ko: ") && made.left_out[1].contains("not an ELF"));
        let text = std::fs::read_to_string(&path).unwrap();
        let index = modindex::Index::parse(&text).unwrap();
        assert_eq!(index.iter().map(modindex::Record::name).collect::<Vec<_>>(), ["good"]);
        assert!(text.contains("# kernel/text.ko: "), "{text}");
    }

    #[test]
    fn drivers_of_hardware_are_left_out_unless_something_needs_them() {
        let dir = tempfile::tempdir().unwrap();
        let plain = fixture::module(&["depends="]);
        put(dir.path(), "kernel/drivers/net/dummy.ko", &fixture::module(&["depends=i2c-core"]));
        put(dir.path(), "kernel/drivers/i2c/i2c-core.ko", &fixture::module(&["depends=regmap"]));
        put(dir.path(), "kernel/drivers/base/regmap.ko", &plain);
        put(dir.path(), "kernel/drivers/net/ethernet/e1000.ko", &plain);
        put(dir.path(), "kernel/drivers/gpu/i915.ko", b"never opened");
        put(dir.path(), "kernel/sound/snd.ko", b"never opened");
        put(dir.path(), "kernel/net/mpls.ko", &plain);
        put(dir.path(), "extra/mine.ko", &plain);
        let path = dir.path().join(modindex::FILE_NAME);
        let made = index(&ModuleTree::open(dir.path()).unwrap(), &path).unwrap();
        assert_eq!(made.left_out, ["3 drivers of hardware that the guest does not have"]);
        let text = std::fs::read_to_string(&path).unwrap();
        let index = modindex::Index::parse(&text).unwrap();
        let names: Vec<_> = index.iter().map(modindex::Record::name).collect();
        assert_eq!(names, ["dummy", "i2c_core", "mine", "mpls", "regmap"]);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_the_hosts_fault() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "kernel/a.ko", &fixture::module(&["depends="]));
        let tree = ModuleTree::open(dir.path()).unwrap();
        let e = index(&tree, &dir.path().join("kernel/a.ko/index")).unwrap_err();
        assert_eq!(e.fault(), crate::error::Fault::Host);
    }
}
