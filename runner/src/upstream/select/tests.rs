use super::*;

/// A source tree with these files.
struct World {
    dir: tempfile::TempDir,
    cancel: Cancel,
}

const MAKEFILE: &str = "LINKED_SKELS := pair.skel.h other.skel.h\npair.skel.h-deps := p1.bpf.o p2.bpf.o\n\
    other.skel.h-deps := o1.bpf.o\nLSKELS := light.c heavy.c\nLSKELS_SIGNED := signed.c\n\
    TRUNNER_EXTRA_SOURCES := test_progs.c helper.c made.h\n\
    SETUP := $(CURDIR)/setup.sh\n\
    TRUNNER_EXTRA_FILES := $(OUTPUT)/sign-file $(OUTPUT)/urandom_read mod.ko $(SETUP) \\\n\
    \t$(wildcard progs/dump_case_*.c)\n";

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), cancel: Cancel::new().unwrap() };
        world.write("Makefile", MAKEFILE);
        world.write("test_progs.c", "#include \"helper.h\"\n");
        world.write("helper.c", "#include \"shared.skel.h\"\n");
        world.write("helper.h", "");
        for program in [
            "shared",
            "plain",
            "p1",
            "p2",
            "o1",
            "light",
            "heavy",
            "signed",
            "opened",
            "dump_case_a",
            "part",
            "whole",
        ] {
            world.write(&format!("progs/{program}.c"), "");
        }
        world.write("progs/common.h", "");
        world.write("prog_tests/plain.c", "#include \"plain.skel.h\"\n#include \"near.h\"\n");
        world.write("prog_tests/near.h", "x = \"./opened.bpf.o\";\n");
        world
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(SELFTESTS).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn select(&self, tests: &[&str]) -> Result<Selection> {
        self.select_without(tests, &[])
    }

    fn select_without(&self, tests: &[&str], broken: &[&str]) -> Result<Selection> {
        let tree = Tree::open(self.dir.path(), "arm64", &self.cancel).unwrap();
        tree.select(&set(tests), &set(broken), false, &["tools/include".into()])
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn programs_are_found_by_skeleton_and_by_object_also_through_headers() {
    let world = World::new();
    let selection = world.select(&["plain"]).unwrap();
    assert_eq!(selection.programs, set(&["shared", "plain", "opened"]));
    let bpf = |name: &str| selection.files.contains_key(&format!("{SELFTESTS}/{name}"));
    assert!(bpf("Makefile") && bpf("progs/plain.c") && bpf("progs/common.h") && bpf("prog_tests/near.h"));
    assert!(!bpf("progs/light.c") && !bpf("progs/p1.c"));
    assert_eq!(selection.variables["LSKELS"], "");
    assert_eq!(selection.variables["LINKED_SKELS"], "");
    assert_eq!(selection.variables["TRUNNER_EXTRA_FILES"], "");
    assert!(!selection.signs && !selection.runs_bpftool);
}

#[test]
fn linked_light_signed_and_included_programs_come_whole() {
    let world = World::new();
    world.write("progs/whole.c", "#include \"part.c\"\n");
    world.write(
        "prog_tests/many.c",
        "#include \"pair.skel.h\"\n#include \"light.lskel.h\"\n#include \"signed.lskel.h\"\n#include \"whole.subskel.h\"\n",
    );
    let selection = world.select(&["many"]).unwrap();
    assert_eq!(selection.programs, set(&["shared", "p1", "p2", "light", "signed", "whole", "part"]));
    assert_eq!(selection.variables["LINKED_SKELS"], "pair.skel.h");
    assert_eq!(selection.variables["LSKELS"], "light.c");
    assert!(selection.signs);
}

#[test]
fn extra_files_come_when_a_string_names_them() {
    let world = World::new();
    world.write(
        "prog_tests/extra.c",
        "e(\"./sign-file\"); e(\"./setup.sh\"); e(\"mod.ko\"); e(\"./urandom_read\");",
    );
    let selection = world.select(&["extra"]).unwrap();
    let expected =
        ["$(OUTPUT)/sign-file", "$(OUTPUT)/urandom_read", "setup.sh", "$(OUTPUT)/liburandom_read.so"];
    assert_eq!(selection.extras, expected);
    world.write(
        "prog_tests/dump.c",
        "e(\"dump_case_a\"); sprintf(x, \"%s.bpf.o\", y); r(\"tools/sbin/bpftool\");",
    );
    world.write("prog_tests/pasted.c", "f(\"dump_case_\" #name \".bpf.o\");");
    assert_eq!(world.select(&["pasted"]).unwrap().programs, set(&["shared", "dump_case_a"]));
    let selection = world.select(&["dump"]).unwrap();
    assert_eq!(selection.extras, ["$(wildcard progs/dump_case_*.c)"]);
    assert_eq!(selection.programs, set(&["shared", "dump_case_a"]));
    assert!(selection.runs_bpftool);
}

#[test]
fn headers_elsewhere_in_the_tree_come_along_and_nothing_from_outside() {
    let world = World::new();
    let root = world.dir.path();
    for (name, text) in [
        (
            "tools/include/uapi/asm/x.h",
            "#include \"../../arch/arm64/x.h\"\n#include \"../../../../../../../../../etc/passwd\"\n",
        ),
        ("arch/arm64/x.h", "#include \"../arm/y.h\"\n"),
        ("arch/arm/y.h", ""),
        ("kernel/bpf/disasm.c", ""),
    ] {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("../../../../kernel/bpf/disasm.c", root.join(SELFTESTS).join("disasm.c"))
        .unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join(SELFTESTS).join("stolen.h")).unwrap();
    let files = world.select(&["plain"]).unwrap().files;
    assert!(files.contains_key("arch/arm64/x.h") && files.contains_key("arch/arm/y.h"));
    assert!(files[&format!("{SELFTESTS}/disasm.c")].ends_with("kernel/bpf/disasm.c"));
    assert!(files.values().all(|path| path.starts_with(root.canonicalize().unwrap())));
}

#[test]
fn what_does_not_compile_takes_its_tests_along() {
    let world = World::new();
    world.write("prog_tests/other.c", "#include \"light.skel.h\"\n");
    world.write("prog_tests/third.c", "");
    let selection = world.select_without(&["plain", "other", "third"], &["plain", "third.test"]).unwrap();
    assert_eq!(selection.tests, set(&["other"]));
    assert_eq!(selection.programs, set(&["shared", "light"]));
    // A skeleton that a folder of its own makes.
    world.write("libx/Makefile", "");
    world.write("prog_tests/other.c", "#include \"libx/libx.skel.h\"\n");
    assert_eq!(world.select(&["other"]).unwrap().libraries, set(&["libx"]));
    assert_eq!(world.select_without(&["other", "third"], &["libx"]).unwrap().tests, set(&["third"]));
}

#[test]
fn what_is_not_there_is_named() {
    let world = World::new();
    world.write("prog_tests/lost.c", "#include \"nowhere.skel.h\"\n");
    let e = world.select(&["lost"]).unwrap_err().to_string();
    assert!(e.contains("lost includes nowhere.skel.h"), "{e}");
    let tree = Tree::open(world.dir.path(), "arm64", &world.cancel).unwrap();
    let selection = tree.select(&set(&["lost", "plain"]), &set(&[]), true, &[]).unwrap();
    assert_eq!((selection.tests, selection.lost), (set(&["plain"]), set(&["lost.test"])));
    let empty = tempfile::tempdir().unwrap();
    let e = Tree::open(empty.path(), "x86", &world.cancel).err().unwrap();
    assert!(e.to_string().contains("no selftests of BPF"), "{e}");
    assert_eq!(e.fault(), crate::error::Fault::Caller);
}
