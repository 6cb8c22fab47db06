use super::modinfo::fixture;
use super::*;
use crate::error::Fault;

/// A tree of modules as Debian ships it: modules.order, no modules.dep, and several ways of packing.
struct World {
    dir: tempfile::TempDir,
}

const RELEASE: &str = "7.2.0-test";

impl World {
    fn new() -> Self {
        let world = World { dir: tempfile::tempdir().unwrap() };
        world.put("tree/kernel/netfs.ko", &module("", ""));
        world.put("tree/kernel/9pnet.ko.xz", &fixture::xz(&module("netfs", "")));
        world.put("tree/kernel/9p.ko.zst", &fixture::zst(&module("9pnet,netfs", "fs-9p")));
        world.put("tree/kernel/9pnet-virtio.ko.gz", &fixture::gz(&module("9pnet", "virtio:d9*")));
        world.put("tree/kernel/tun.ko", &module("", ""));
        world.put("tree/modules.builtin", b"kernel/drivers/virtio/virtio-pci.ko\n");
        let order: String = ["9p", "9pnet", "9pnet-virtio", "netfs", "tun"]
            .iter()
            .map(|n| format!("kernel/{n}.ko\n"))
            .collect();
        world.put("tree/modules.order", order.as_bytes());
        world.put("init", b"\x7fELF init");
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        std::fs::write(self.at(name), bytes).unwrap();
    }

    /// Makes an initramfs of the usual contents, changed by `change`.
    fn ensure(&self, change: impl FnOnce(&mut Wishes)) -> Result<Initramfs> {
        let mut wishes = Wishes {
            init: self.at("init"),
            tree: ModuleTree::open(&self.at("tree"))?,
            release: Some(RELEASE),
            identity: "one",
            boot: &["virtio_pci", "9pnet_virtio", "9p"],
            jobs: &["tun"],
            files: Vec::new(),
        };
        change(&mut wishes);
        let Wishes { init, tree, release, identity, boot, jobs, files } = &wishes;
        let (release, identity) = (*release, *identity);
        let cache = Cache::open(self.at("cache"))?;
        ensure(&cache, &Contents { init, tree, release, identity, boot, jobs, files })
    }
}

/// [`Contents`] that own what they are made of.
struct Wishes {
    init: PathBuf,
    tree: ModuleTree,
    release: Option<&'static str>,
    identity: &'static str,
    boot: &'static [&'static str],
    jobs: &'static [&'static str],
    files: Vec<ExtraFile>,
}

fn module(depends: &str, alias: &str) -> Vec<u8> {
    let vermagic = format!("vermagic={RELEASE} SMP mod_unload ");
    fixture::module(&[&format!("depends={depends}"), &format!("alias={alias}"), &vermagic])
}

/// One entry as the format's description has it, read without the crate that wrote it.
#[derive(Debug)]
struct Raw {
    name: String,
    fields: Vec<u32>,
    data: Vec<u8>,
}

const INO: usize = 0;
const MODE: usize = 1;
const NLINK: usize = 4;
const MTIME: usize = 5;

fn read_raw(bytes: &[u8]) -> Vec<Raw> {
    let (mut at, mut entries) = (0, Vec::new());
    loop {
        assert_eq!(at % 4, 0, "headers are aligned to 4 bytes");
        assert_eq!(&bytes[at..at + 6], b"070701");
        let number = |n: usize| {
            let digits = std::str::from_utf8(&bytes[at + 6 + n * 8..at + 14 + n * 8]).unwrap();
            u32::from_str_radix(digits, 16).unwrap()
        };
        let fields: Vec<u32> = (0..13).map(number).collect();
        let (size, name_size) = (fields[6] as usize, fields[11] as usize);
        let name = String::from_utf8(bytes[at + 110..at + 110 + name_size - 1].to_vec()).unwrap();
        assert_eq!(bytes[at + 110 + name_size - 1], 0);
        let start = (at + 110 + name_size).next_multiple_of(4);
        if name == "TRAILER!!!" {
            assert_eq!(start, bytes.len());
            return entries;
        }
        entries.push(Raw { name, fields, data: bytes[start..start + size].to_vec() });
        at = (start + size).next_multiple_of(4);
    }
}

fn text<'a>(entries: &'a [Raw], name: &str) -> &'a str {
    std::str::from_utf8(&entries.iter().find(|e| e.name == name).unwrap().data).unwrap()
}

#[test]
fn the_archive_has_what_the_guest_needs_in_order() {
    let world = World::new();
    let made = world.ensure(|_| {}).unwrap();
    assert!(made.made && made.missing.is_empty(), "{made:?}");
    let entries = read_raw(&std::fs::read(&made.path).unwrap());
    let modes: Vec<(&str, u32)> = entries.iter().map(|e| (e.name.as_str(), e.fields[MODE])).collect();
    assert_eq!(
        modes,
        [
            ("dev", 0o40755),
            ("modules", 0o40755),
            ("proc", 0o40755),
            ("run", 0o40755),
            ("sbin", 0o40755),
            ("sys", 0o40755),
            ("tmp", 0o40755),
            ("dev/console", 0o20600),
            ("dev/null", 0o20666),
            ("init", 0o100_755),
            ("sbin/modprobe", 0o120_777),
            ("modules/01-netfs.ko", 0o100_644),
            ("modules/02-9pnet.ko", 0o100_644),
            ("modules/03-9pnet_virtio.ko", 0o100_644),
            ("modules/04-9p.ko", 0o100_644),
            ("modules/05-tun.ko", 0o100_644),
            ("modules/load", 0o100_644),
            ("modules/index", 0o100_644),
        ]
    );
    assert_eq!(
        entries[7].fields[9..11],
        [5, 1],
        "/dev/console is 5:1 (Documentation/admin-guide/devices.txt)"
    );
    assert_eq!(entries[8].fields[9..11], [1, 3], "/dev/null is 1:3");
    assert_eq!(text(&entries, "sbin/modprobe"), "/init");
    assert_eq!(entries[9].data, b"\x7fELF init");
    assert_eq!(entries[12].data, module("netfs", ""), "modules are decompressed");
    assert_eq!(
        text(&entries, "modules/load"),
        "01-netfs.ko\n02-9pnet.ko\n03-9pnet_virtio.ko\n04-9p.ko\n",
        "what only jobs want is not loaded at boot"
    );
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!((entry.fields[INO], entry.fields[NLINK], entry.fields[MTIME]), (n as u32 + 1, 1, 0));
    }
    let index = modindex::Index::parse(text(&entries, "modules/index")).unwrap();
    let order: Vec<_> = index.resolve("fs-9p").unwrap().iter().map(|r| r.path().unwrap()).collect();
    assert_eq!(order, ["01-netfs.ko", "02-9pnet.ko", "04-9p.ko"]);
    assert_eq!(index.resolve("virtio-pci"), Ok(vec![]), "built in: nothing to load, and no error");

    let listed = made.list().unwrap();
    assert_eq!(listed.len(), entries.len());
    for (line, entry) in listed.iter().zip(&entries) {
        assert_eq!((&line.name, line.size as usize), (&format!("/{}", entry.name), entry.data.len()));
    }
    assert_eq!(listed[9].to_string(), "-0755         9 /init");
}

#[test]
fn the_same_contents_are_made_once_and_are_the_same_bytes() {
    let world = World::new();
    let first = world.ensure(|_| {}).unwrap();
    let bytes = std::fs::read(&first.path).unwrap();
    let again = world.ensure(|_| {}).unwrap();
    assert_eq!((again.made, &again.path), (false, &first.path));
    std::fs::remove_file(&first.path).unwrap();
    assert!(world.ensure(|_| {}).unwrap().made);
    assert_eq!(std::fs::read(&first.path).unwrap(), bytes);
    let left: Vec<_> = std::fs::read_dir(world.at("cache/initramfs")).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
}

#[test]
fn a_warm_one_opens_no_module() {
    let world = World::new();
    world.ensure(|_| {}).unwrap();
    world.put("tree/kernel/netfs.ko", b"no longer a module");
    assert!(!world.ensure(|_| {}).unwrap().made);
}

#[test]
fn anything_that_changes_the_archive_changes_its_name() {
    let world = World::new();
    let first = world.ensure(|_| {}).unwrap().path;
    let file =
        |guest: &str, mode| ExtraFile { guest: guest.into(), content: Content::Of(world.at("init")), mode };
    let other = |content| ExtraFile { content, ..file("/a", 0o644) };
    let mut paths = vec![
        first,
        world.ensure(|c| c.identity = "two").unwrap().path,
        world.ensure(|c| c.release = None).unwrap().path,
        world.ensure(|c| c.boot = &["virtio_pci", "9pnet_virtio"]).unwrap().path,
        world.ensure(|c| c.jobs = &[]).unwrap().path,
        world
            .ensure(|c| (c.boot, c.jobs) = (&["virtio_pci", "9pnet_virtio", "9p", "tun"], &[]))
            .unwrap()
            .path,
        world.ensure(|c| c.files = vec![file("/a", 0o644)]).unwrap().path,
        world.ensure(|c| c.files = vec![file("/b", 0o644)]).unwrap().path,
        world.ensure(|c| c.files = vec![file("/a", 0o755)]).unwrap().path,
        world.ensure(|c| c.files = vec![other(Content::Text(String::new()))]).unwrap().path,
        world.ensure(|c| c.files = vec![other(Content::Folder)]).unwrap().path,
        world.ensure(|c| c.files = vec![other(Content::Link("b".into()))]).unwrap().path,
        world.ensure(|c| c.files = vec![other(Content::Text("b".into()))]).unwrap().path,
    ];
    world.put("init", b"\x7fELF another init");
    paths.push(world.ensure(|_| {}).unwrap().path);
    let different: std::collections::BTreeSet<_> = paths.iter().collect();
    assert_eq!(different.len(), paths.len());
}

#[test]
fn missing_modules_are_named_and_broken_ones_refused() {
    let world = World::new();
    let boot: &[&str] = &["virtio_pci", "nope", "9p"];
    for _ in ["cold", "warm"] {
        assert_eq!(world.ensure(|c| c.boot = boot).unwrap().missing, ["nope"]);
    }
    std::fs::remove_file(world.at("tree/kernel/netfs.ko")).unwrap();
    let e = world.ensure(|_| {}).unwrap_err();
    assert_eq!(e.fault(), Fault::Kernel);
    assert!(e.to_string().contains("needs 'netfs'"), "{e}");
    let left: Vec<_> = std::fs::read_dir(world.at("cache/initramfs")).unwrap().collect();
    assert_eq!(left.len(), 1, "a failure leaves nothing behind: {left:?}");
}

#[test]
fn modules_of_another_release_are_refused_unless_they_carry_versions() {
    let world = World::new();
    let e = world.ensure(|c| c.release = Some("6.1.0")).unwrap_err();
    assert!(e.to_string().contains("built for 7.2.0-test, but the kernel is 6.1.0"), "{e}");
    assert_eq!(e.fault(), Fault::Kernel);
    let versioned = fixture::versioned_module(&["depends=", "vermagic=5.10 SMP"]);
    world.put("tree/kernel/tun.ko", &versioned);
    assert!(world.ensure(|c| (c.boot, c.jobs) = (&["tun"], &[])).is_ok());
}

#[test]
fn a_kernel_without_modules_gets_an_initramfs_all_the_same() {
    let world = World::new();
    let made = world.ensure(|c| c.tree = ModuleTree::none()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(made.missing, ["virtio_pci", "9pnet_virtio", "9p", "tun"]);
    let entries = read_raw(&std::fs::read(&made.path).unwrap());
    assert_eq!(text(&entries, "modules/load"), "");
    assert_eq!(text(&entries, "modules/index"), "kvet-modules 1\n");
}

#[test]
fn files_of_the_caller_go_where_they_may() {
    let world = World::new();
    for size in 0..5 {
        world.put("file", &vec![b'x'; size]);
        let file = ExtraFile {
            guest: "/usr/lib/kvet/file".into(),
            content: Content::Of(world.at("file")),
            mode: 0o644,
        };
        let made = world.ensure(|c| c.files = vec![file]).unwrap();
        let entries = read_raw(&std::fs::read(&made.path).unwrap());
        let names: Vec<_> = entries[entries.len() - 4..].iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["usr", "usr/lib", "usr/lib/kvet", "usr/lib/kvet/file"]);
        assert_eq!(entries.last().unwrap().data.len(), size);
        assert_eq!(made.list().unwrap().last().unwrap().size as usize, size);
    }
    let entry = |guest: &str, content, mode| ExtraFile { guest: guest.into(), content, mode };
    let files = vec![
        entry("/t/d", Content::Folder, 0o1750),
        entry("/t/d/f", Content::Text("x".into()), 0o4711),
        entry("/t/l", Content::Link("d/f".into()), 0o777),
    ];
    let made = world.ensure(|c| c.files = files).unwrap();
    let entries = read_raw(&std::fs::read(&made.path).unwrap());
    let last: Vec<_> =
        entries[entries.len() - 4..].iter().map(|e| (e.name.as_str(), e.fields[MODE])).collect();
    assert_eq!(last, [("t", 0o40755), ("t/d", 0o41750), ("t/d/f", 0o104_711), ("t/l", 0o120_777)]);
    assert_eq!(text(&entries, "t/l"), "d/f");
    for (guest, why) in [
        ("relative", "not absolute"),
        ("/", "empty parts"),
        ("", "not absolute"),
        ("/a/../b", "'..'"),
        ("/./a", "'.'"),
        ("//a", "empty parts"),
        ("/a//b", "empty parts"),
        ("/a/", "empty parts"),
        ("/a\nb", "control"),
        ("/init", "twice"),
        ("/dev", "twice"),
        ("/sbin/modprobe/x", "/sbin/modprobe is no folder"),
    ] {
        let file = ExtraFile { guest: guest.into(), content: Content::Of(world.at("file")), mode: 0o755 };
        let e = world.ensure(|c| c.files = vec![file]).unwrap_err();
        assert_eq!(e.fault(), Fault::Caller, "{guest}");
        assert!(e.to_string().contains(why), "{guest}: {e}");
    }
    let e = world.ensure(|c| c.init = "/nonexistent/init".into()).unwrap_err();
    assert_eq!(e.fault(), Fault::Caller);
}
