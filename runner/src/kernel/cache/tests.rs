use std::time::UNIX_EPOCH;

use kvet_host::disk::tree_size;

use super::*;

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("c")).unwrap();
    (dir, cache)
}

fn entry(cache: &Cache, id: &str, version: &str) -> EntryInfo {
    let info = EntryInfo {
        format: FORMAT,
        id: id.into(),
        version: version.parse().unwrap(),
        arch: Arch::X86_64,
        release: version.into(),
        suite: "stable".into(),
        origin: "a test".into(),
        image_kind: ImageKind::BzImage,
        image_sha256: Sha256Hex::of(b""),
        packages: vec![],
        btf: Some(true),
        modules: 0,
        size_bytes: 5,
        created_unix: 1,
        built: None,
    };
    let scratch = cache.scratch().unwrap();
    fs::write(scratch.path().join("image"), b"12345").unwrap();
    cache.commit(&scratch, Kind::Kernels, id, &info).unwrap();
    info
}

fn used(cache: &Cache, id: &str, seconds_ago: u64) -> Lock {
    let lock = Lock::try_take(&cache.lock_path(id), Mode::Shared).unwrap().unwrap();
    lock.file().set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).unwrap();
    lock
}

#[test]
fn the_root_comes_from_the_environment() {
    let at = |vars: &[(&str, &str)]| {
        let find = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Cache::locate(&find).map(|p| p.display().to_string())
    };
    assert_eq!(at(&[("KVET_CACHE", "c"), ("HOME", "/h")]).unwrap(), "c");
    assert_eq!(at(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]).unwrap(), "/x/kvet");
    assert_eq!(at(&[("XDG_CACHE_HOME", "x"), ("KVET_CACHE", ""), ("HOME", "/h")]).unwrap(), "/h/.cache/kvet");
    assert!(at(&[]).unwrap_err().to_string().contains("KVET_CACHE"));
}

#[test]
fn an_entry_is_listed_newest_first_and_says_whether_it_is_used() {
    let (_dir, cache) = cache();
    let old = entry(&cache, "a", "6.12.95");
    let new = entry(&cache, "b", "7.2.12");
    fs::create_dir(cache.entry_dir(Kind::Kernels, "broken")).unwrap();
    let held = used(&cache, "b", 10);
    let list = cache.list().unwrap();
    assert_eq!(list.iter().map(|l| &l.info).collect::<Vec<_>>(), [&new, &old]);
    assert_eq!((list[0].in_use, list[1].in_use), (true, false));
    drop(held);
    assert!(!cache.list().unwrap()[0].in_use);
}

#[test]
fn prune_goes_by_the_last_use_and_spares_what_is_in_use() {
    let (_dir, cache) = cache();
    for id in ["a", "b", "c"] {
        entry(&cache, id, "7.2.1");
    }
    fs::create_dir(cache.entry_dir(Kind::Kernels, "broken")).unwrap();
    let a = used(&cache, "a", 5000);
    used(&cache, "b", 3000);
    used(&cache, "c", 10);
    let done = cache.prune(Prune::UnusedFor(Duration::from_secs(1000))).unwrap();
    assert_eq!((done.names(), &*done.in_use), (vec!["b", "broken"], &["a".to_owned()][..]));
    assert!(done.freed_bytes() > 5);
    drop(a);
    let done = cache.prune(Prune::KeepNewest(1)).unwrap();
    assert_eq!(done.names(), ["a"]);
    fs::write(cache.index_path("stable-arm64"), "{}").unwrap();
    fs::write(cache.partial_path(&Sha256Hex::of(b"")), "part").unwrap();
    assert_eq!(cache.prune(Prune::All).unwrap().names(), ["c"]);
    assert_eq!(tree_size(&cache.root.join("index")) + tree_size(&cache.root.join("partial")), 0);
    assert_eq!(names(&cache.root.join("tmp")).unwrap(), Vec::<String>::new());
}

#[test]
fn so_many_of_each_kind_are_kept_whatever_was_used_of_others() {
    let (_dir, cache) = cache();
    let put = |kind: Kind, id: &str, seconds_ago: u64| {
        let scratch = cache.scratch().unwrap();
        fs::write(scratch.path().join("data"), b"12345").unwrap();
        cache.commit(&scratch, kind, id, &serde_json::json!({})).unwrap();
        drop(used(&cache, id, seconds_ago));
    };
    for (age, name) in [(3000, "old"), (2000, "middle"), (1000, "new")] {
        put(Kind::Kernels, &format!("k-{name}"), age);
        // All of them were used after the last of the kernels.
        put(Kind::Packages, &format!("p-{name}"), age / 10);
        put(Kind::Slices, &format!("s-{name}"), age / 100);
        let initramfs = cache.root.join(format!("initramfs/{name}.cpio"));
        fs::write(&initramfs, "cpio").unwrap();
        let then = SystemTime::now() - Duration::from_secs(age);
        fs::File::options().write(true).open(&initramfs).unwrap().set_modified(then).unwrap();
    }
    fs::create_dir(cache.entry_dir(Kind::Kernels, "k-broken")).unwrap();
    drop(used(&cache, "k-broken", 1));
    // Whoever uses an initramfs makes it the newest.
    drop(cache.hold(&cache.root.join("initramfs/old.cpio")).unwrap().unwrap());
    let done = cache.prune(Prune::KeepNewest(2)).unwrap();
    assert_eq!(done.names(), ["k-old", "k-broken", "p-old", "s-old"]);
    assert_eq!(
        done.removed.iter().map(|r| r.kind).collect::<Vec<_>>(),
        ["kernel", "kernel", "package", "slice"]
    );
    assert!(done.removed[0].size_bytes > 5, "{:?}", done.removed[0]);
    let kind = ("initramfs file", "initramfs files");
    assert_eq!(done.files, [RemovedFiles { kind, count: 1, size_bytes: 4 }]);
    assert_eq!(names(&cache.root.join("initramfs")).unwrap(), ["new.cpio", "old.cpio"]);
    assert_eq!(cache.prune(Prune::KeepNewest(2)).unwrap(), Pruned::default());
}

#[test]
fn leftovers_go_and_what_somebody_works_on_stays() {
    let (_dir, cache) = cache();
    let live = cache.scratch().unwrap();
    let dead = cache.root.join("tmp/4194305-0");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("half"), "x").unwrap();
    fs::write(cache.root.join("tmp/4194306-0.lock"), "").unwrap();
    let partial = cache.partial_path(&Sha256Hex::of(b"old"));
    fs::write(&partial, "x").unwrap();
    fs::File::open(&partial).unwrap().set_modified(UNIX_EPOCH).unwrap();
    fs::write(cache.partial_path(&Sha256Hex::of(b"new")), "x").unwrap();
    Cache::open(cache.root()).unwrap();
    let name = live.path().file_name().unwrap().to_str().unwrap().to_string();
    assert_eq!(names(&cache.root.join("tmp")).unwrap(), [name.clone(), format!("{name}.lock")]);
    assert!(!partial.exists() && cache.partial_path(&Sha256Hex::of(b"new")).exists());
    drop(live);
    assert!(names(&cache.root.join("tmp")).unwrap().is_empty());
}
