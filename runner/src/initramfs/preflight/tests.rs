use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::error::Fault;

/// A saved config, by symbol.
fn saved(name: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let set = |line: &str| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    text.lines().filter(|line| !line.starts_with('#')).filter_map(set).collect()
}

/// A tree with these modules as files and these built in.
fn tree(files: &[&str], builtin: Option<&[&str]>) -> (tempfile::TempDir, ModuleTree) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("kernel")).unwrap();
    for name in files {
        std::fs::write(dir.path().join(format!("kernel/{name}.ko")), "").unwrap();
    }
    if let Some(builtin) = builtin {
        let list: String = builtin.iter().map(|name| format!("kernel/{name}.ko\n")).collect();
        std::fs::write(dir.path().join("modules.builtin"), list).unwrap();
    }
    let tree = ModuleTree::open(dir.path()).unwrap();
    (dir, tree)
}

fn need(symbol: &str, any_of: &[&str], module: Option<&str>) -> ConfigNeed {
    ConfigNeed {
        symbol: symbol.into(),
        any_of: any_of.iter().map(ToString::to_string).collect(),
        module: module.map(str::to_owned),
        why: "to test it".into(),
    }
}

fn texts(findings: &Findings, side: NeededBy) -> Vec<&str> {
    findings.of(side).map(|problem| problem.text.as_str()).collect()
}

const NINE_P: [&str; 3] = ["9p", "9pnet", "9pnet_virtio"];

fn over_9p() -> Needs {
    Needs { share_9p: true, ..Needs::default() }
}

#[test]
fn stock_debian_kernels_will_do() {
    let machine = vec![need("CONFIG_SERIAL_8250_CONSOLE", &["y"], None)];
    let needs = Needs { machine, ..over_9p() };
    let builtin: &[&str] = &["virtio_pci", "virtio-console"];
    for (config, files, builtin) in [
        ("debian-7.2-amd64.config", &NINE_P[..], builtin),
        ("debian-6.1-amd64.config", &["9p", "9pnet", "9pnet_virtio", "virtio_pci", "virtio_console"], &[]),
    ] {
        let config = saved(config);
        let (_dir, tree) = tree(files, Some(builtin));
        let findings = check("debian:x", &needs, Some(&|s| config.get(s).cloned()), &tree).unwrap();
        assert_eq!(findings, Findings::default());
        assert!(findings.usable("debian:x").is_ok());
    }
}

#[test]
fn what_the_archive_has_lost_is_told_before_the_boot_unless_nothing_is_shared() {
    let name = "debian:7.1";
    let lost = Needs { modules_lost: true, ..over_9p() };
    let findings = check(name, &lost, None, &ModuleTree::none()).unwrap();
    let said = texts(&findings, NeededBy::Kvet);
    assert!(said.len() == 1 && said[0].contains("its modules are gone from the archive"), "{said:?}");
    assert!(!findings.notes.iter().any(|note| note.contains("9P")), "{:?}", findings.notes);
    assert_eq!(findings.usable(name).unwrap_err().fault(), Fault::Kernel);
    for needs in [Needs { share_9p: false, ..lost }, over_9p()] {
        check(name, &needs, None, &ModuleTree::none()).unwrap().usable(name).unwrap();
    }
}

#[test]
fn the_cloud_flavour_is_refused_in_one_line_with_a_way_out() {
    let config = saved("debian-7.2-cloud-amd64.config");
    let (_dir, tree) = tree(&["tun"], Some(&["virtio_pci", "virtio_console"]));
    let name = "debian:7.2-cloud";
    let findings = check(name, &over_9p(), Some(&|s| config.get(s).cloned()), &tree).unwrap();
    assert_eq!(
        texts(&findings, NeededBy::Kvet),
        ["CONFIG_NET_9P is not set in debian:7.2-cloud; y or m is needed to share files with the guest"]
    );
    let e = findings.usable(name).unwrap_err();
    assert_eq!(e.fault(), Fault::Kernel);
    assert!(e.hint_text().unwrap().contains("normal flavour"), "{e:?}");
}

#[test]
fn a_module_that_the_config_promises_must_be_there() {
    let config = saved("debian-7.2-amd64.config");
    let (dir, tree) = tree(&["9p", "9pnet"], Some(&["virtio_pci", "virtio_console"]));
    let findings = check("k", &over_9p(), Some(&|s| config.get(s).cloned()), &tree).unwrap();
    let root = dir.path().canonicalize().unwrap();
    let expected = format!(
        "module 9pnet_virtio of k is not in {} (CONFIG_NET_9P_VIRTIO=m, needed to share files with the guest)",
        root.display()
    );
    assert_eq!(texts(&findings, NeededBy::Kvet), [expected]);
    let lone = check("k", &over_9p(), Some(&|s| config.get(s).cloned()), &ModuleTree::none()).unwrap();
    assert_eq!(lone.problems.len(), 3, "{lone:?}");
    assert!(lone.problems[0].text.contains("the kernel came without modules"), "{lone:?}");
}

#[test]
fn the_suites_needs_are_kept_apart() {
    let config = saved("debian-7.2-amd64.config");
    let (_dir, tree) =
        tree(&["9p", "9pnet", "9pnet_virtio", "veth"], Some(&["virtio_pci", "virtio_console"]));
    let needs = Needs {
        suite: vec![
            need("CONFIG_BPF_SYSCALL", &["y"], None),
            need("CONFIG_TUN", &["y", "m"], Some("tun")),
            need("CONFIG_TUN", &["y"], None),
            need("CONFIG_FUNCTION_ERROR_INJECTION", &["y"], None),
            need("CONFIG_FUNCTION_ERROR_INJECTION", &["n"], None),
            need("CONFIG_DEFAULT_HOSTNAME", &["(none)"], None),
        ],
        suite_modules: vec!["veth".into(), "virtio-pci".into(), "test_bpf".into()],
        ..over_9p()
    };
    let findings = check("k", &needs, Some(&|s| config.get(s).cloned()), &tree).unwrap();
    assert!(findings.usable("k").is_ok(), "the suite's needs are not kvet's");
    let texts = texts(&findings, NeededBy::Suite);
    assert_eq!(texts.len(), 4, "{texts:#?}");
    assert!(texts[0].starts_with("module tun of k is not in "), "{texts:#?}");
    assert_eq!(texts[1], "CONFIG_TUN is m in k; y is needed to test it");
    assert_eq!(texts[2], "CONFIG_FUNCTION_ERROR_INJECTION is not set in k; y is needed to test it");
    assert_eq!(texts[3], "k has no test_bpf, neither built in nor as a module, which the suite asks for");
}

#[test]
fn without_a_config_the_modules_tell_what_they_can() {
    let (_dir, full) = tree(&NINE_P, Some(&["virtio_pci", "virtio_console"]));
    let findings = check("file:bzImage", &over_9p(), None, &full).unwrap();
    assert_eq!(findings.problems, []);
    assert_eq!(findings.notes.len(), 1);
    assert!(
        findings.notes[0]
            .starts_with("file:bzImage came with no config; not checked: CONFIG_BLK_DEV_INITRD,")
    );
    assert!(!findings.notes[0].contains("9P"), "what could be checked is not in the note: {findings:?}");

    let (_dir, lacking) = tree(&["9p"], Some(&["virtio_pci", "virtio_console"]));
    let findings = check("file:bzImage", &over_9p(), None, &lacking).unwrap();
    assert_eq!(
        texts(&findings, NeededBy::Kvet),
        ["file:bzImage has no 9pnet, neither built in nor as a module, needed to share files with the guest"]
    );

    let findings = check("file:bzImage", &over_9p(), None, &ModuleTree::none()).unwrap();
    assert_eq!(findings.problems, [], "the image may have it all");
    assert!(findings.notes[0].contains("neither a config nor modules.builtin"), "{findings:?}");
    assert!(findings.notes[0].contains("CONFIG_9P_FS"), "{findings:?}");
}

#[test]
fn the_config_says_what_is_built_in() {
    let config = saved("debian-7.2-amd64.config");
    let builtin = transport_builtin(&|s| config.get(s).cloned());
    assert_eq!(builtin, ["virtio_pci", "virtio_console"]);
    assert_eq!(transport_modules(true).count(), 5);
    assert!(transport_modules(false).eq(["virtio_pci", "virtio_console"]));
}

#[test]
fn without_sharing_over_9p_a_kernel_need_not_have_it() {
    let config = saved("debian-7.2-cloud-amd64.config");
    let lookup = |s: &str| config.get(s).cloned();
    let findings = check("cloud", &Needs::default(), Some(&lookup), &ModuleTree::none()).unwrap();
    assert_eq!(findings.of(NeededBy::Kvet).filter(|p| p.is_9p()).count(), 0, "{findings:?}");
}

#[test]
fn what_lacks_9p_says_why() {
    let config = saved("debian-7.2-amd64.config");
    let cloud = saved("debian-7.2-cloud-amd64.config");
    let (_whole, whole) = tree(&NINE_P, Some(&[]));
    let (_part, part) = tree(&["9p"], Some(&[]));
    let none = ModuleTree::none();
    let of = |config: &BTreeMap<String, String>, lost, tree| {
        lacks_9p("k", lost, Some(&|s| config.get(s).cloned()), tree).unwrap()
    };
    assert_eq!(of(&config, false, &whole), None);
    let why = of(&cloud, false, &whole).unwrap();
    assert!(why.starts_with("CONFIG_NET_9P is not set in k"), "{why}");
    let why = of(&config, false, &part).unwrap();
    assert!(why.starts_with("module 9pnet of k is not in"), "{why}");
    let why = lacks_9p("k", true, None, &none).unwrap().unwrap();
    assert!(why.starts_with("its modules are gone from the archive"), "{why}");
    assert_eq!(lacks_9p("k", false, None, &none).unwrap(), None, "the image may have it");
}
