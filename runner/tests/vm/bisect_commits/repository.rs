//! A repository made of a kernel's source, with a history in which we know what broke and what mended a test.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

/// What a commit does to its file. Whatever it replaces must be there exactly once.
enum Change {
    /// Nothing that reaches the kernel's image.
    Comment,
    /// Something that does, and that nobody notices.
    Mark,
    /// Puts a text in the place of another.
    Replace(&'static str, &'static str),
    /// Adds to the end.
    Append(&'static str),
    /// Takes away what an earlier commit added.
    Without(&'static str),
}

use Change::{Append, Comment, Mark, Replace, Without};

const SIZE: &str = "bpf_dynptr_set_size(ptr, end - start);";
const WRONG_SIZE: &str = "bpf_dynptr_set_size(ptr, size - start);";
const CLONE: &str = "\t*clone = *ptr;\n";
const CRASHING_CLONE: &str = "\t*clone = *ptr;\n\tBUG();\n";
/// What releases before 7.2.9 did: a difference that has no sign is compared, so that what begins behind the packet's first
/// piece is within it.
const SLICE: &str = "\t\t\treturn skb_pointer_if_linear(ptr->data, ptr->offset + offset, len);\n";
const WRONG_SLICE: &str = "\t\t\treturn skb_headlen(ptr->data) - (ptr->offset + offset) < len ? NULL :\n\
                           \t\t\t\t((struct sk_buff *)ptr->data)->data + ptr->offset + offset;\n";
const NO_COMPILE: &str = "\n#error this commit does not compile\n";
const NO_BOOT: &str = "\nstatic int __init no_boot(void)\n{\n\tpanic(\"this commit does not boot\");\n}\n\
                       core_initcall(no_boot);\n";
/// What is compiled for none of the kernels here, and half of the source.
const LEFT_OUT: &str = "drivers/gpu/drm/amd/";

/// The subjects of the commits that are to be found.
pub const BREAKS: &str = "dynptr: sizes, simplified";
pub const MENDS: &str = "dynptr: sizes, corrected";
pub const MENDS_SLICES: &str = "dynptr: slices, corrected";

const HISTORY: [(&str, &str, Change); 32] = [
    ("tnum: words", "kernel/bpf/tnum.c", Comment),
    ("log: a mark", "kernel/bpf/log.c", Mark),
    ("xdp: words", "net/core/xdp.c", Comment),
    ("map_iter: a mark", "kernel/bpf/map_iter.c", Mark),
    ("queues: a mark", "kernel/bpf/queue_stack_maps.c", Mark),
    ("lwt: a mark", "net/core/lwt_bpf.c", Mark),
    ("bloom filter: words", "kernel/bpf/bloom_filter.c", Comment),
    ("link_iter: a mark", "kernel/bpf/link_iter.c", Mark),
    ("prog_iter: a mark", "kernel/bpf/prog_iter.c", Mark),
    ("lpm_trie: unfinished", "kernel/bpf/lpm_trie.c", Append(NO_COMPILE)),
    ("lpm_trie: finished", "kernel/bpf/lpm_trie.c", Without(NO_COMPILE)),
    ("dynptr: clones crash", "kernel/bpf/helpers.c", Replace(CLONE, CRASHING_CLONE)),
    ("dynptr: clones do not", "kernel/bpf/helpers.c", Replace(CRASHING_CLONE, CLONE)),
    (BREAKS, "kernel/bpf/helpers.c", Replace(SIZE, WRONG_SIZE)),
    ("ringbuf: does not boot", "kernel/bpf/ringbuf.c", Append(NO_BOOT)),
    ("ringbuf: boots", "kernel/bpf/ringbuf.c", Without(NO_BOOT)),
    ("skmsg: a mark", "net/core/skmsg.c", Mark),
    ("stackmap: a mark", "kernel/bpf/stackmap.c", Mark),
    ("dst: words", "net/core/dst.c", Comment),
    ("range_tree: a mark", "kernel/bpf/range_tree.c", Mark),
    ("gro: a mark", "net/core/gro.c", Mark),
    ("inode: words", "kernel/bpf/inode.c", Comment),
    ("test_run: a mark", "net/bpf/test_run.c", Mark),
    (MENDS, "kernel/bpf/helpers.c", Replace(WRONG_SIZE, SIZE)),
    ("dispatcher: a mark", "kernel/bpf/dispatcher.c", Mark),
    ("percpu_freelist: words", "kernel/bpf/percpu_freelist.c", Comment),
    ("dynptr: slices, as they were", "kernel/bpf/helpers.c", Replace(SLICE, WRONG_SLICE)),
    ("hashtab: words", "kernel/bpf/hashtab.c", Comment),
    ("cpumask: a mark", "kernel/bpf/cpumask.c", Mark),
    (MENDS_SLICES, "kernel/bpf/helpers.c", Replace(WRONG_SLICE, SLICE)),
    ("cpumap: a mark", "kernel/bpf/cpumap.c", Mark),
    ("devmap: words", "kernel/bpf/devmap.c", Comment),
];

/// The tags, by the number of commits before them. The last two are of releases, which have the tests that these have.
const TAGS: [(usize, &str); 5] =
    [(0, "imported"), (20, "broken"), (26, "mended"), (27, "v7.2.6"), (32, "v7.2.9")];

/// Makes the repository with its [`TAGS`], unless it is there. The same source gives the same commits.
pub fn make(source: &Path, repository: &Path) {
    if repository.join("whole").is_file() {
        return;
    }
    let _ = fs::remove_dir_all(repository);
    fs::create_dir_all(repository).unwrap();
    let git = |args: &[&str]| {
        assert!(Command::new("git").arg("-C").arg(repository).args(args).status().unwrap().success());
    };
    git(&["init", "--quiet", "--bare", "--initial-branch=main"]);
    let mut import = Command::new("git");
    import.arg("-C").arg(repository).args(["-c", "core.compression=1", "fast-import", "--quiet"]);
    let mut child = import.stdin(Stdio::piped()).spawn().unwrap();
    let mut stream = BufWriter::new(child.stdin.take().unwrap());
    write(source, &mut stream);
    drop(stream);
    assert!(child.wait().unwrap().success());
    fs::write(repository.join("whole"), "").unwrap();
}

/// All of it as git-fast-import(1) takes it.
fn write(source: &Path, to: &mut BufWriter<ChildStdin>) {
    commit(to, 0, "the archive's source");
    import(source, Path::new(""), to);
    tag_at(to, 0);
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for (index, (subject, file, change)) in HISTORY.iter().enumerate() {
        let text = files.entry(file).or_insert_with(|| fs::read_to_string(source.join(file)).unwrap());
        *text = changed(text, file, change, index + 1);
        commit(to, index + 1, subject);
        inline(to, "100644", file.as_bytes(), text.as_bytes());
        tag_at(to, index + 1);
    }
}

fn changed(text: &str, file: &str, change: &Change, number: usize) -> String {
    let replaced = |old: &str, new: &str| {
        assert_eq!(text.matches(old).count(), 1, "'{old}' in {file}");
        text.replace(old, new)
    };
    match change {
        Comment => format!("{text}\n/* Commit {number}. */\n"),
        Mark => format!("{text}\nconst int kvet_mark_{number} __used = {number};\n"),
        Append(more) => format!("{text}{more}"),
        Replace(old, new) => replaced(old, new),
        Without(old) => replaced(old, ""),
    }
}

fn commit(to: &mut impl Write, number: usize, subject: &str) {
    commit_to(to, "main", number, subject);
}

fn commit_to(to: &mut impl Write, branch: &str, number: usize, subject: &str) {
    let who = format!("T. Ester <t@example> {} +0000", 1_700_000_000 + number);
    write!(to, "commit refs/heads/{branch}\ncommitter {who}\ndata {}\n{subject}\n", subject.len()).unwrap();
}

fn tag_at(to: &mut impl Write, commits: usize) {
    for (_, name) in TAGS.iter().filter(|(number, _)| *number == commits) {
        write!(to, "reset refs/tags/{name}\nfrom refs/heads/main\n\n").unwrap();
    }
}

fn inline(to: &mut impl Write, mode: &str, path: &[u8], data: &[u8]) {
    write!(to, "M {mode} inline ").unwrap();
    to.write_all(path).unwrap();
    write!(to, "\ndata {}\n", data.len()).unwrap();
    to.write_all(data).unwrap();
    to.write_all(b"\n").unwrap();
}

/// A folder of the source, in the order of names.
fn import(source: &Path, below: &Path, to: &mut impl Write) {
    let mut entries: Vec<PathBuf> = fs::read_dir(source.join(below))
        .unwrap()
        .map(|entry| below.join(entry.unwrap().file_name()))
        .collect();
    entries.sort();
    for path in entries {
        let full = source.join(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let name = path.as_os_str().as_bytes();
        if meta.is_dir() {
            import(source, &path, to);
        } else if meta.is_symlink() {
            inline(to, "120000", name, fs::read_link(&full).unwrap().as_os_str().as_bytes());
        } else if !path.starts_with(LEFT_OUT) || path.file_name().is_some_and(|name| name == "Kconfig") {
            let mode = if meta.permissions().mode() & 0o100 == 0 { "100644" } else { "100755" };
            inline(to, mode, name, &fs::read(&full).unwrap());
        }
    }
}

/// The commit of [`selftests`] that is to be found.
pub const SPOILS: &str = "selftests: a size that is wrong";

/// A file of the kernel's own selftests, and what is wrong in it after that commit.
const SELFTEST: &str = "tools/testing/selftests/bpf/progs/dynptr_success.c";
const EXPECTED: &str = "(&ptr) != trim - off)";
const WRONG: &str = "(&ptr) != trim)";

/// A branch `selftests` of the import on which the kernel stays what it is, and a test of its own does not.
pub fn selftests(repository: &Path) {
    let git = |args: &[&str]| Command::new("git").arg("-C").arg(repository).args(args).output().unwrap();
    if git(&["rev-parse", "--verify", "--quiet", "selftests"]).status.success() {
        return;
    }
    let file = |name: &str| String::from_utf8(git(&["show", &format!("imported:{name}")]).stdout).unwrap();
    let (tnum, xdp, test) = (file("kernel/bpf/tnum.c"), file("net/core/xdp.c"), file(SELFTEST));
    assert_eq!(test.matches(EXPECTED).count(), 1, "'{EXPECTED}' in {SELFTEST}");
    let mut stream = Vec::new();
    for (number, (subject, name, text)) in [
        ("tnum: other words", "kernel/bpf/tnum.c", format!("{tnum}\n/* Other words. */\n")),
        (SPOILS, SELFTEST, test.replace(EXPECTED, WRONG)),
        ("xdp: other words", "net/core/xdp.c", format!("{xdp}\n/* Other words. */\n")),
    ]
    .into_iter()
    .enumerate()
    {
        commit_to(&mut stream, "selftests", 100 + number, subject);
        if number == 0 {
            stream.extend(b"from refs/tags/imported^0\n");
        }
        inline(&mut stream, "100644", name.as_bytes(), text.as_bytes());
    }
    let mut import = Command::new("git");
    import.arg("-C").arg(repository).args(["fast-import", "--quiet"]);
    let mut child = import.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&stream).unwrap();
    assert!(child.wait().unwrap().success());
}
