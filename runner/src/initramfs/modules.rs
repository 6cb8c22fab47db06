//! A kernel's modules: where each is, what it needs, and in which order they are loaded.
//!
//! A tree is what `make modules_install` leaves in `lib/modules/<release>`. What depmod adds (`modules.dep`)
//! is used where it is there; Debian's packages come without it, and then the modules themselves are asked,
//! but only those that are wanted and what they lead to: a stock kernel has more than 4,000 of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use kvet_wire::modindex::{self, Entry, Index, LookupError, module_of_file};

use super::modinfo::{self, ModuleInfo, read_softdep};
use crate::error::{Error, Fault, IoContext, Result};

/// The largest `modules.*` file that is read, in bytes; Debian's largest, modules.alias, has 1.5 MiB.
const MAX_LIST_BYTES: u64 = 32 << 20;
/// More files and folders than this are no module tree.
const MAX_WALK: usize = 200_000;
/// Folders nested deeper than this are no module tree either.
const MAX_DEPTH: usize = 24;

/// The modules of one kernel: those in files, and those built in.
#[derive(Debug)]
pub struct ModuleTree {
    root: Option<PathBuf>,
    builtin: BTreeSet<String>,
    builtin_known: bool,
    listed: Listed,
    softdeps: BTreeMap<String, (Vec<String>, Vec<String>)>,
    walked: OnceLock<BTreeMap<String, String>>,
}

/// Where the tree's own lists say that the files are.
#[derive(Debug)]
enum Listed {
    /// `modules.dep`: paths and dependencies by name.
    Dep(BTreeMap<String, (String, Vec<String>)>),
    /// `modules.order`: paths by name, without the ending that compression adds.
    Order(BTreeMap<String, String>),
    /// No list, or none that can be relied upon.
    Nothing,
}

/// Where a module is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the kernel image.
    Builtin,
    /// In this file, relative to the tree.
    File(String),
}

/// What is to be loaded so that the wanted modules are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closure {
    /// The modules, dependencies first; paths are relative to the tree.
    pub load: Vec<Entry>,
    /// Wanted modules that are built in.
    pub builtin: Vec<String>,
    /// Wanted modules that the tree does not have. Where nothing tells what is built in (a kernel image that
    /// came alone), these may still be part of the image.
    pub missing: Vec<String>,
}

impl ModuleTree {
    /// Opens `lib/modules/<release>`. Reads its lists, opens no module.
    ///
    /// # Errors
    /// It is no folder, or there is no module and no list of modules in it: the caller's fault, because that is
    /// who named it. A list that cannot be read, or that names files outside, is the fault of the kernel.
    pub fn open(dir: &Path) -> Result<Self> {
        let root = dir.canonicalize().given(format!("open the modules in {}", dir.display()))?;
        let builtin = read_list(&root, "modules.builtin")?;
        let listed = Listed::read(&root)?;
        let softdeps = match &listed {
            Listed::Dep(_) => read_softdeps(&read_list(&root, "modules.softdep")?.unwrap_or_default()),
            _ => BTreeMap::new(),
        };
        let tree = Self {
            builtin_known: builtin.is_some(),
            builtin: builtin.unwrap_or_default().lines().filter_map(module_of_path).collect(),
            listed,
            softdeps,
            root: Some(root),
            walked: OnceLock::new(),
        };
        if !tree.builtin_known && matches!(tree.listed, Listed::Nothing) && tree.walk()?.is_empty() {
            return Err(Error::caller(format!("no modules in {}", dir.display()))
                .hint("name the folder that modules.order and 'kernel' are in: lib/modules/<release>"));
        }
        Ok(tree)
    }

    /// The tree of a kernel that came without modules.
    pub fn none() -> Self {
        Self {
            root: None,
            builtin: BTreeSet::new(),
            builtin_known: false,
            listed: Listed::Nothing,
            softdeps: BTreeMap::new(),
            walked: OnceLock::new(),
        }
    }

    /// Says that these modules are built in, as the caller knows from the kernel's config.
    pub fn add_builtin(&mut self, names: impl IntoIterator<Item = String>) {
        self.builtin.extend(names.into_iter().map(|name| modindex::normalize(&name)));
    }

    /// The folder, if there is one; absolute, without symbolic links.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Whether the tree says what is built in, so that a module found in neither place does not exist.
    pub fn is_complete(&self) -> bool {
        self.builtin_known
    }

    /// Where a module is, or nothing if the tree does not have it.
    ///
    /// # Errors
    /// The tree cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Place>> {
        let name = modindex::normalize(name);
        if self.builtin.contains(&name) {
            return Ok(Some(Place::Builtin));
        }
        let path = match &self.listed {
            Listed::Dep(list) => return Ok(list.get(&name).map(|(path, _)| Place::File(path.clone()))),
            Listed::Order(list) => list.get(&name).and_then(|path| self.with_ending(path)),
            Listed::Nothing => None,
        };
        Ok(match path {
            Some(path) => Some(Place::File(path)),
            // A list that does not have it may be older than the files.
            None => self.walk()?.get(&name).cloned().map(Place::File),
        })
    }

    /// The file behind a path that `modules.order` gives.
    fn with_ending(&self, path: &str) -> Option<String> {
        let root = self.root.as_ref()?;
        ["", ".xz", ".zst", ".gz"].iter().map(|end| format!("{path}{end}")).find(|p| root.join(p).is_file())
    }

    /// What must be loaded, and in which order, for these modules to be there.
    ///
    /// A `softdep` that is an alias (`crypto-crc32c`) is not followed here: that would take the index of all modules.
    /// The kernel asks for it by itself when it comes to that.
    ///
    /// # Errors
    /// A module that is there cannot be read, or needs one that is not there (the kernel's fault).
    pub fn closure(&self, wanted: &[&str]) -> Result<Closure> {
        let mut closure = Closure::default();
        let mut first = Vec::new();
        for name in wanted {
            let name = modindex::normalize(name);
            match self.find(&name)? {
                Some(Place::File(_)) => first.push(name),
                Some(Place::Builtin) => closure.builtin.push(name),
                None => closure.missing.push(name),
            }
        }
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        let mut ask = first.clone();
        while let Some(name) = ask.pop() {
            if entries.contains_key(&name) {
                continue;
            }
            // One that is not there is an error only if something cannot do without it: `order` knows.
            let Some(place) = self.find(&name)? else { continue };
            let entry = self.entry(&name, place)?;
            let leads_to = entry.depends.iter().chain(&entry.pre).chain(&entry.post);
            ask.extend(leads_to.map(|name| modindex::normalize(name)));
            entries.insert(name, entry);
        }
        closure.load = self.order(&entries, &first)?;
        Ok(closure)
    }

    fn order(&self, entries: &BTreeMap<String, Entry>, first: &[String]) -> Result<Vec<Entry>> {
        let list: Vec<Entry> = entries.values().cloned().collect();
        let text = modindex::write(&list, &[]);
        let index = Index::parse(&text).map_err(|e| Error::kernel(format!("{}: {e}", self.display())))?;
        let names: Vec<&str> = first.iter().map(String::as_str).collect();
        let order = index.load_order(&names).map_err(|e| self.broken(&e))?;
        Ok(order.iter().filter_map(|record| entries.get(record.name()).cloned()).collect())
    }

    fn broken(&self, error: &LookupError) -> Error {
        match error {
            LookupError::Broken { module, missing } => Error::kernel(format!(
                "module '{module}' needs '{missing}', which is neither built in nor in {}",
                self.display()
            ))
            .hint("the module tree is incomplete; install it with 'make modules_install'"),
            other => Error::kernel(format!("{}: {other}", self.display())),
        }
    }

    /// What has to be known of a module in order to load it.
    fn entry(&self, name: &str, place: Place) -> Result<Entry> {
        let Place::File(path) = place else {
            return Ok(Entry { name: name.to_owned(), ..Entry::default() });
        };
        if let Listed::Dep(list) = &self.listed {
            let depends = list.get(name).map(|(_, depends)| depends.clone()).unwrap_or_default();
            let (pre, post) = self.softdeps.get(name).cloned().unwrap_or_default();
            return Ok(Entry { name: name.to_owned(), path, depends, pre, post, aliases: Vec::new() });
        }
        let (_, info) = self.read(&path)?;
        Ok(entry_of(name, path, info))
    }

    /// Reads a module of the tree: the ELF file, decompressed, and what it says about itself.
    ///
    /// # Errors
    /// The path leads out of the tree, or the file cannot be read or is no module.
    pub fn read(&self, path: &str) -> Result<(Vec<u8>, ModuleInfo)> {
        let file = self.resolve(path)?;
        let elf = modinfo::read_module(&file)?;
        let info =
            modinfo::parse(&elf).map_err(|why| Error::kernel(format!("module {} {why}", file.display())))?;
        Ok((elf, info))
    }

    /// The file of a path in the tree, which may have been made by somebody who wants our other files read.
    fn resolve(&self, path: &str) -> Result<PathBuf> {
        let Some(root) = &self.root else {
            return Err(Error::kernel(format!("module {path}: the kernel came without modules")));
        };
        let file = root.join(path);
        let real = file.canonicalize().host(format!("read module {}", file.display()))?;
        if is_inside(path) && real.starts_with(root) {
            return Ok(real);
        }
        Err(Error::kernel(format!("module {} leads out of its tree, to {}", file.display(), real.display()))
            .hint("copy the modules, without links that leave the folder"))
    }

    /// Every module that is a file: paths by name.
    ///
    /// # Errors
    /// The tree cannot be read.
    pub fn files(&self) -> Result<BTreeMap<String, String>> {
        match &self.listed {
            Listed::Dep(list) => {
                Ok(list.iter().map(|(name, (path, _))| (name.clone(), path.clone())).collect())
            }
            _ => self.walk().cloned(),
        }
    }

    /// Every module that is known to be built in.
    pub fn builtin(&self) -> impl Iterator<Item = &str> {
        self.builtin.iter().map(String::as_str)
    }

    /// Whether dependencies come from depmod's lists, so that no module needs to be opened for them.
    pub(super) fn has_depmod_lists(&self) -> bool {
        matches!(self.listed, Listed::Dep(_))
    }

    /// The module as depmod's lists describe it, without its aliases.
    pub(super) fn listed_entry(&self, name: &str, path: &str) -> Result<Entry> {
        self.entry(name, Place::File(path.to_owned()))
    }

    /// The text of one of the tree's own lists, if it is there.
    pub(super) fn list(&self, name: &str) -> Result<Option<String>> {
        self.root.as_deref().map_or(Ok(None), |root| read_list(root, name))
    }

    fn walk(&self) -> Result<&BTreeMap<String, String>> {
        if let Some(walked) = self.walked.get() {
            return Ok(walked);
        }
        let mut found = BTreeMap::new();
        if let Some(root) = &self.root {
            walk(root, &mut found)?;
        }
        Ok(self.walked.get_or_init(|| found))
    }

    fn display(&self) -> String {
        self.root.as_ref().map_or_else(|| "a kernel without modules".to_owned(), |r| r.display().to_string())
    }
}

/// What a module file says about itself, as an entry of the index.
pub(super) fn entry_of(name: &str, path: String, info: ModuleInfo) -> Entry {
    Entry {
        name: name.to_owned(),
        path,
        depends: info.depends,
        pre: info.pre,
        post: info.post,
        aliases: info.aliases,
    }
}

impl Listed {
    fn read(root: &Path) -> Result<Self> {
        if let Some(text) = read_list(root, "modules.dep")? {
            return read_dep(&text)
                .map(Listed::Dep)
                .map_err(|why| Error::kernel(format!("{}: {why}", root.join("modules.dep").display())));
        }
        // Modules in `updates` or `extra` replace those of the kernel, and modules.order does not know them.
        let entries = std::fs::read_dir(root).host(format!("list {}", root.display()))?;
        let others = entries
            .filter_map(std::result::Result::ok)
            .any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != "kernel");
        match read_list(root, "modules.order")? {
            Some(text) if !others => Ok(Listed::Order(
                text.lines()
                    .filter(|path| is_inside(path))
                    .filter_map(|path| Some((module_of_path(path)?, path.to_owned())))
                    .collect(),
            )),
            _ => Ok(Listed::Nothing),
        }
    }
}

/// Reads `path: dependency dependency …` lines (modules.dep(5)), paths relative to the tree.
fn read_dep(text: &str) -> std::result::Result<BTreeMap<String, (String, Vec<String>)>, String> {
    let mut list = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (path, depends) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
        if !is_inside(path) {
            return Err(format!("{path:?} leads out of the tree"));
        }
        let name = module_of_path(path).ok_or_else(|| format!("{path:?} is no module"))?;
        let depends = depends
            .split_whitespace()
            .map(|path| module_of_path(path).ok_or_else(|| format!("{path:?} is no module")))
            .collect::<std::result::Result<_, _>>()?;
        list.insert(name, (path.to_owned(), depends));
    }
    Ok(list)
}

/// Reads `softdep NAME pre: … post: …` lines, as depmod writes them.
fn read_softdeps(text: &str) -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let mut softdeps: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, rest)) = line.strip_prefix("softdep ").and_then(|rest| rest.split_once(' ')) {
            let (pre, post) = softdeps.entry(modindex::normalize(name)).or_default();
            read_softdep(rest, pre, post);
        }
    }
    softdeps
}

fn module_of_path(path: &str) -> Option<String> {
    module_of_file(path.trim().rsplit('/').next()?)
}

/// Whether a path is relative and goes only downwards.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Reads one of the `modules.*` lists.
fn read_list(root: &Path, name: &str) -> Result<Option<String>> {
    let path = root.join(name);
    let action = || format!("read {}", path.display());
    let file = match File::open(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.host(action())?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_LIST_BYTES + 1).read_to_end(&mut bytes).host(action())?;
    if bytes.len() as u64 > MAX_LIST_BYTES {
        let limit = MAX_LIST_BYTES >> 20;
        return Err(Error::kernel(format!("{} is larger than {limit} MiB", path.display())));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| Error::kernel(format!("{} is no text", path.display())))
}

/// Finds every module file. Links to folders (`build`, `source`) are not followed.
fn walk(root: &Path, found: &mut BTreeMap<String, String>) -> Result<()> {
    let mut todo = vec![(root.to_owned(), 0)];
    let mut seen = 0;
    while let Some((dir, depth)) = todo.pop() {
        for entry in std::fs::read_dir(&dir).host(format!("list {}", dir.display()))? {
            let entry = entry.host(format!("list {}", dir.display()))?;
            seen += 1;
            if seen > MAX_WALK || depth > MAX_DEPTH {
                let why = format!("{} is too large or too deep for a module tree", root.display());
                return Err(Error::new(Fault::Caller, why)
                    .hint("name the folder that modules.order and 'kernel' are in: lib/modules/<release>"));
            }
            if entry.file_type().host(format!("list {}", dir.display()))?.is_dir() {
                todo.push((entry.path(), depth + 1));
            } else if let Some((name, path)) = module_at(root, &entry.path()) {
                found
                    .entry(name)
                    .and_modify(|old| {
                        if precedence(&path) < precedence(old) {
                            old.clone_from(&path);
                        }
                    })
                    .or_insert(path);
            }
        }
    }
    Ok(())
}

fn module_at(root: &Path, path: &Path) -> Option<(String, String)> {
    let relative = path.strip_prefix(root).ok()?.to_str()?;
    Some((module_of_path(relative)?, relative.to_owned()))
}

/// Which of two modules of one name is meant, the lesser: what was added later replaces the kernel's own, as
/// depmod's default `search updates built-in` has it; then by path, so that it is always the same one.
fn precedence(path: &str) -> (u8, &str) {
    let rank = match path.split('/').next() {
        Some("updates") => 0,
        Some("kernel") => 2,
        _ => 1,
    };
    (rank, path)
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

    fn module(depends: &str, softdep: &str) -> Vec<u8> {
        fixture::module(&[&format!("depends={depends}"), &format!("softdep={softdep}")])
    }

    fn names(closure: &Closure) -> Vec<&str> {
        closure.load.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn without_lists_the_modules_are_asked_and_only_those_that_matter() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "kernel/fs/a.ko", &module("b-c,d", "pre: s not_there post: e"));
        put(dir.path(), "kernel/b-c.ko.xz", &fixture::xz(&module("d", "")));
        for name in ["d", "e", "s"] {
            put(dir.path(), &format!("kernel/{name}.ko"), &module("", ""));
        }
        put(dir.path(), "kernel/unrelated.ko", b"not even a module");
        let tree = ModuleTree::open(dir.path()).unwrap();
        assert!(!tree.is_complete());
        let closure = tree.closure(&["a", "B", "b-c", "a"]).unwrap();
        assert_eq!(names(&closure), ["s", "d", "b_c", "a", "e"]);
        assert_eq!(closure.load[2].path, "kernel/b-c.ko.xz");
        assert_eq!(closure.missing, ["B"]);
        let e = tree.closure(&["unrelated"]).unwrap_err();
        assert_eq!(e.fault(), Fault::Kernel);
        assert!(e.to_string().contains("unrelated.ko is not an ELF file"), "{e}");
    }

    #[test]
    fn depmods_lists_are_believed_and_no_module_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let dep = "kernel/a.ko.zst: kernel/b-c.ko.zst kernel/d.ko.zst\nkernel/b-c.ko.zst: kernel/d.ko.zst\n\
                   kernel/d.ko.zst:\nkernel/s.ko.zst:\n";
        put(dir.path(), "modules.dep", dep.as_bytes());
        put(dir.path(), "modules.softdep", b"# comment\nsoftdep b_c pre: s\n");
        put(dir.path(), "modules.builtin", b"kernel/drivers/virtio/virtio-pci.ko\n");
        let tree = ModuleTree::open(dir.path()).unwrap();
        let closure = tree.closure(&["virtio_pci", "a"]).unwrap();
        assert_eq!(names(&closure), ["s", "d", "b_c", "a"]);
        assert_eq!(closure.builtin, ["virtio_pci"]);
        assert_eq!(tree.files().unwrap().len(), 4);
    }

    #[test]
    fn lists_that_lead_out_of_the_tree_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for line in ["../../etc/x.ko:", "/etc/x.ko:", "kernel/../../x.ko:", "kernel/x.ko", "kernel/x.txt:"] {
            put(dir.path(), "modules.dep", line.as_bytes());
            assert_eq!(ModuleTree::open(dir.path()).unwrap_err().fault(), Fault::Kernel, "{line}");
        }
        put(dir.path(), "modules.dep", &[0xff, 0xfe]);
        assert!(ModuleTree::open(dir.path()).unwrap_err().to_string().contains("is no text"));
    }

    #[test]
    fn links_that_lead_out_of_the_tree_are_refused() {
        let outside = tempfile::tempdir().unwrap();
        put(outside.path(), "secret.ko", &module("", ""));
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "kernel/real.ko", &module("", ""));
        std::os::unix::fs::symlink("real.ko", dir.path().join("kernel/inner.ko")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret.ko"), dir.path().join("kernel/outer.ko"))
            .unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("build")).unwrap();
        let tree = ModuleTree::open(dir.path()).unwrap();
        assert!(tree.closure(&["inner"]).is_ok());
        assert!(tree.closure(&["outer"]).unwrap_err().to_string().contains("leads out of its tree"));
        assert_eq!(tree.find("secret").unwrap(), None, "links to folders are not followed");
    }

    #[test]
    fn what_was_added_later_goes_before_the_kernels_own() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "kernel/a.ko", &module("", ""));
        put(dir.path(), "modules.order", b"kernel/a.ko\n");
        let find = || ModuleTree::open(dir.path()).unwrap().find("a").unwrap();
        assert_eq!(find(), Some(Place::File("kernel/a.ko".into())));
        put(dir.path(), "extra/a.ko.xz", b"");
        assert_eq!(find(), Some(Place::File("extra/a.ko.xz".into())));
        put(dir.path(), "updates/a.ko", b"");
        assert_eq!(find(), Some(Place::File("updates/a.ko".into())));
    }

    #[test]
    fn what_is_no_tree_is_the_callers_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let e = ModuleTree::open(dir.path()).unwrap_err();
        assert_eq!(e.fault(), Fault::Caller);
        assert!(e.hint_text().unwrap().contains("lib/modules/<release>"));
        assert_eq!(ModuleTree::open(&dir.path().join("absent")).unwrap_err().fault(), Fault::Caller);
        let mut none = ModuleTree::none();
        assert_eq!(none.closure(&["9p"]).unwrap().missing, ["9p"]);
        none.add_builtin(["virtio-pci".to_owned()]);
        assert_eq!(none.find("virtio_pci").unwrap(), Some(Place::Builtin));
    }

    #[test]
    fn a_module_that_needs_what_is_not_there_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "kernel/a.ko", &module("b", ""));
        put(dir.path(), "kernel/b.ko", &module("gone", ""));
        put(dir.path(), "kernel/c.ko", &module("", "pre: b"));
        let tree = ModuleTree::open(dir.path()).unwrap();
        let e = tree.closure(&["a"]).unwrap_err();
        assert!(
            e.to_string().starts_with("module 'b' needs 'gone', which is neither built in nor in /"),
            "{e}"
        );
        assert_eq!(
            names(&tree.closure(&["c"]).unwrap()),
            ["c"],
            "a soft dependency that fails is passed over"
        );
    }
}
