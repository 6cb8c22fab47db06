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
    assert_eq!((done.removed, done.in_use), (vec!["b".into(), "broken".into()], vec!["a".into()]));
    assert!(done.freed_bytes > 5);
    drop(a);
    let done = cache.prune(Prune::KeepNewest(1)).unwrap();
    assert_eq!(done.removed, ["a"]);
    fs::write(cache.index_path("stable-arm64"), "{}").unwrap();
    fs::write(cache.partial_path(&Sha256Hex::of(b"")), "part").unwrap();
    assert_eq!(cache.prune(Prune::All).unwrap().removed, ["c"]);
    assert_eq!(tree_size(&cache.root.join("index")) + tree_size(&cache.root.join("partial")), 0);
    assert_eq!(names(&cache.root.join("tmp")).unwrap(), Vec::<String>::new());
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
