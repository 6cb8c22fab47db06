//! The module index: which file a module is in, what must be loaded before it, and which aliases it answers to.
//!
//! Debian's kernel packages come without `modules.dep` (depmod makes it when the package is installed), and
//! depmod's work is slow in an emulated guest. So the host does it once per kernel and writes one text file;
//! the guest's modprobe helper looks modules up in it. Writer and reader share this file, the only home of the
//! format.
//!
//! ```text
//! kvet-modules 1
//! 9p⇥kernel/fs/9p/9p.ko.xz⇥9pnet,netfs⇥⇥⇥fs_9p
//! virtio_pci⇥⇥⇥⇥
//! ```
//!
//! A header line, then one line per module, sorted by name, with tab-separated fields: name, path relative to
//! the module tree (empty: built into the kernel; in an initramfs: relative to `/modules`), comma-separated modules it cannot load without,
//! modules to try before it and after it (`softdep`), and any number of aliases. Names and aliases are normalised
//! ([`normalize`]); aliases may be globs. Lines that begin with `#` say what the index leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What the index is called in a module tree.
pub const FILE_NAME: &str = "modules.kvet-index";

/// The first line; the number goes up when the format changes.
pub const HEADER: &str = "kvet-modules 1";

/// A chain of dependencies longer than this is a loop or an attack; Linux's own are below ten.
const MAX_DEPTH: usize = 64;

/// The spelling under which modules are compared: `-` becomes `_`, except between brackets, where it is a range.
pub fn normalize(name: &str) -> String {
    let mut in_brackets = false;
    let fold = |c| {
        match c {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            _ => {}
        }
        if c == '-' && !in_brackets { '_' } else { c }
    };
    name.chars().map(fold).collect()
}

/// The module that a file holds by its name (`i2c-dev.ko.xz` is `i2c_dev`), or nothing if it is no module.
pub fn module_of_file(file_name: &str) -> Option<String> {
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().find_map(|end| file_name.strip_suffix(end))?;
    (!stem.is_empty()).then(|| stem.replace('-', "_"))
}

/// Whether `text` matches the glob `pattern`: `*`, `?`, `[a-z]`, `[!a]` and `\` as in fnmatch(3) without flags.
///
/// Takes time proportional to the product of the two lengths at worst; both come from kernels under test.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to resume if the rest does not match: after the last star, which then swallows one byte more.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        if t == text.len() && p == pattern.len() {
            return true;
        }
        if let Some(next) = text.get(t).and_then(|&byte| match_one(pattern, p, byte)) {
            (p, t) = (next, t + 1);
            continue;
        }
        match retry {
            Some((after_star, from)) if from < text.len() => {
                (p, t) = (after_star, from + 1);
                retry = Some((after_star, from + 1));
            }
            _ => return false,
        }
    }
}

/// Matches one byte against the pattern element at `p`, which is not a star; returns where the next one begins.
fn match_one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => match bracket(&pattern[p + 1..], byte) {
            Some((len, hit)) => hit.then_some(p + 1 + len),
            // Never closed: an ordinary bracket.
            None => (byte == b'[').then_some(p + 1),
        },
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == byte).then_some(p + 2),
        literal => (literal == byte).then_some(p + 1),
    }
}

/// Reads a bracket expression (without its `[`): its length up to and including `]`, and whether `byte` is in it.
fn bracket(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let (mut i, mut hit) = (start, false);
    loop {
        let low = *pattern.get(i)?;
        // A bracket right at the beginning stands for itself.
        if low == b']' && i > start {
            return Some((i + 1, hit != negated));
        }
        if pattern.get(i + 1) == Some(&b'-') && pattern.get(i + 2).is_some_and(|&b| b != b']') {
            hit |= (low..=pattern[i + 2]).contains(&byte);
            i += 3;
        } else {
            hit |= low == byte;
            i += 1;
        }
    }
}

/// One module, as the writer gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its file, relative to the module tree. Empty: it is built into the kernel.
    pub path: String,
    /// The modules that it cannot be loaded without.
    pub depends: Vec<String>,
    /// Modules to try to load before it.
    pub pre: Vec<String>,
    /// Modules to try to load after it.
    pub post: Vec<String>,
    /// What else it answers to; globs.
    pub aliases: Vec<String>,
}

impl Entry {
    /// The entry as a line of the index.
    ///
    /// # Errors
    /// A name, path or alias holds what the format cannot carry. It comes from the kernel under test, so this
    /// is not a bug of ours.
    pub fn to_line(&self) -> Result<String, String> {
        let control = |s: &String| s.bytes().any(|b| b.is_ascii_control());
        let bad_name = |s: &String| s.is_empty() || control(s) || s.contains([',', '#']);
        let names = || std::iter::once(&self.name).chain(&self.depends).chain(&self.pre).chain(&self.post);
        if let Some(bad) = names().find(|name| bad_name(name)) {
            return Err(format!("unusable module name {bad:?}"));
        }
        if let Some(bad) = std::iter::once(&self.path).chain(&self.aliases).find(|text| control(text)) {
            return Err(format!("control character in {bad:?}"));
        }
        let list = |names: &[String]| names.iter().map(|n| normalize(n)).collect::<Vec<_>>().join(",");
        let mut fields = vec![normalize(&self.name), self.path.clone()];
        fields.extend([list(&self.depends), list(&self.pre), list(&self.post)]);
        fields.extend(self.aliases.iter().filter(|a| !a.is_empty()).map(|alias| normalize(alias)));
        Ok(fields.join("\t"))
    }
}

/// The text of an index. What cannot be written is left out and named in a comment, as are the `left_out` texts.
pub fn write(entries: &[Entry], left_out: &[String]) -> String {
    let mut comments = left_out.to_vec();
    let mut lines = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry.to_line() {
            Ok(line) => lines.push(line),
            Err(why) => comments.push(format!("{:?}: {why}", entry.path)),
        }
    }
    // By name, as the reader's binary search wants it; a tab sorts before whatever a name may go on with.
    lines.sort_unstable();
    lines.dedup_by(|a, b| name_of(a) == name_of(b));
    let mut text = format!("{HEADER}\n");
    for comment in &comments {
        text.extend(["# ", &comment.replace('\n', " "), "\n"]);
    }
    for line in &lines {
        text.extend([line, "\n"]);
    }
    text
}

fn name_of(line: &str) -> &str {
    line.split('\t').next().unwrap_or_default()
}

/// Why a request cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupError {
    /// No module has this name, and no alias matches it.
    Unknown(String),
    /// A module needs another that the index does not have.
    Broken {
        /// The module.
        module: String,
        /// What it needs.
        missing: String,
    },
    /// A chain of dependencies that does not end.
    TooDeep(String),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "no module is called, or answers to, '{name}'"),
            Self::Broken { module, missing } => {
                write!(f, "module '{module}' needs '{missing}', which this kernel does not have")
            }
            Self::TooDeep(module) => {
                write!(f, "module '{module}' is at the end of more than {MAX_DEPTH} dependencies")
            }
        }
    }
}

impl std::error::Error for LookupError {}

/// One module, as the reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    line: &'a str,
}

impl<'a> Record<'a> {
    fn field(self, n: usize) -> &'a str {
        self.line.split('\t').nth(n).unwrap_or_default()
    }

    fn list(self, n: usize) -> impl Iterator<Item = &'a str> {
        self.field(n).split(',').filter(|name| !name.is_empty())
    }

    /// Its normalised name.
    pub fn name(self) -> &'a str {
        name_of(self.line)
    }

    /// Its file, relative to the module tree, or nothing if it is built into the kernel.
    pub fn path(self) -> Option<&'a str> {
        Some(self.field(1)).filter(|path| !path.is_empty())
    }

    /// The modules that it cannot be loaded without.
    pub fn depends(self) -> impl Iterator<Item = &'a str> {
        self.list(2)
    }

    /// Modules to try to load before it.
    pub fn pre(self) -> impl Iterator<Item = &'a str> {
        self.list(3)
    }

    /// Modules to try to load after it.
    pub fn post(self) -> impl Iterator<Item = &'a str> {
        self.list(4)
    }

    /// What else it answers to; globs.
    pub fn aliases(self) -> impl Iterator<Item = &'a str> {
        self.line.split('\t').skip(5)
    }
}

/// An index, read. It borrows the text and reads a line when it is asked for it: the modprobe helper is a new
/// process for every request.
#[derive(Debug, Clone)]
pub struct Index<'a> {
    lines: Vec<&'a str>,
}

impl<'a> Index<'a> {
    /// Reads the text of an index.
    ///
    /// # Errors
    /// It is not one, or of another version, or it is not sorted.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let mut lines = text.lines();
        match lines.next() {
            Some(HEADER) => {}
            other => {
                return Err(format!(
                    "not a module index: '{}' instead of '{HEADER}'",
                    other.unwrap_or_default()
                ));
            }
        }
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        match lines.windows(2).find(|pair| name_of(pair[0]) >= name_of(pair[1])) {
            Some(pair) => Err(format!("module index out of order at '{}'", name_of(pair[1]))),
            None => Ok(Self { lines }),
        }
    }

    /// Every module, by name.
    pub fn iter(&self) -> impl Iterator<Item = Record<'a>> {
        self.lines.iter().map(|&line| Record { line })
    }

    /// The module of this name, whichever way its dashes are written.
    pub fn get(&self, name: &str) -> Option<Record<'a>> {
        let name = normalize(name);
        let at = self.lines.binary_search_by(|line| name_of(line).cmp(&name)).ok()?;
        Some(Record { line: self.lines[at] })
    }

    /// The modules with an alias that fits this normalised name.
    fn answering_to(&self, name: &str) -> impl Iterator<Item = Record<'a>> {
        self.iter().filter(move |record| record.aliases().any(|alias| matches(alias, name)))
    }

    /// The modules that a request (a name or an alias, as the kernel gives it to modprobe) asks for, in the
    /// order in which they are to be loaded. Those built in are not among them, so the answer may be empty.
    ///
    /// A name goes before aliases; when an alias fits several modules, all of them are meant. Modules that a
    /// `softdep` names and that are not there, or are broken, are passed over.
    ///
    /// # Errors
    /// Nothing fits, or nothing that fits can be loaded.
    pub fn resolve(&self, request: &str) -> Result<Vec<Record<'a>>, LookupError> {
        let mut order = Order::new(self);
        if let Some(record) = self.get(request) {
            order.visit(record, 0)?;
            return Ok(order.load);
        }
        let request = normalize(request);
        let mut outcome = Err(LookupError::Unknown(request.clone()));
        for record in self.answering_to(&request) {
            match order.attempt(record, 0) {
                Ok(()) => outcome = Ok(()),
                Err(e) if matches!(outcome, Err(LookupError::Unknown(_))) => outcome = Err(e),
                Err(_) => {}
            }
        }
        outcome.map(|()| order.load)
    }

    /// The order in which these modules and all that they need are to be loaded, each once; see [`Index::resolve`].
    ///
    /// # Errors
    /// One of them cannot be loaded, or there is none of that name.
    pub fn load_order(&self, names: &[&str]) -> Result<Vec<Record<'a>>, LookupError> {
        let mut order = Order::new(self);
        for name in names {
            let record = self.get(name).ok_or_else(|| LookupError::Unknown((*name).to_owned()))?;
            order.visit(record, 0)?;
        }
        Ok(order.load)
    }
}

/// A walk through dependencies that has collected what is to be loaded.
struct Order<'i, 'a> {
    index: &'i Index<'a>,
    seen: BTreeSet<&'a str>,
    /// What failed once is not tried again: an index made for it could have us try for ever.
    failed: BTreeMap<&'a str, LookupError>,
    load: Vec<Record<'a>>,
}

impl<'i, 'a> Order<'i, 'a> {
    fn new(index: &'i Index<'a>) -> Self {
        Self { index, seen: BTreeSet::new(), failed: BTreeMap::new(), load: Vec::new() }
    }

    fn visit(&mut self, record: Record<'a>, depth: usize) -> Result<(), LookupError> {
        if let Some(error) = self.failed.get(record.name()) {
            return Err(error.clone());
        }
        self.collect(record, depth).inspect_err(|error| {
            self.failed.insert(record.name(), error.clone());
        })
    }

    fn collect(&mut self, record: Record<'a>, depth: usize) -> Result<(), LookupError> {
        if depth > MAX_DEPTH {
            return Err(LookupError::TooDeep(record.name().to_owned()));
        }
        // Modules that need each other could not be loaded by anyone; the kernel will say so.
        if !self.seen.insert(record.name()) {
            return Ok(());
        }
        self.try_each(record.pre(), depth);
        for name in record.depends() {
            let broken =
                || LookupError::Broken { module: record.name().to_owned(), missing: name.to_owned() };
            self.visit(self.index.get(name).ok_or_else(broken)?, depth + 1)?;
        }
        if record.path().is_some() {
            self.load.push(record);
        }
        self.try_each(record.post(), depth);
        Ok(())
    }

    fn try_each(&mut self, names: impl Iterator<Item = &'a str>, depth: usize) {
        let index = self.index;
        for name in names {
            // These may be aliases: jbd2 asks for `crypto-crc32c`.
            let by_name = index.get(name);
            let by_alias = by_name.is_none().then(|| index.answering_to(name));
            for record in by_name.into_iter().chain(by_alias.into_iter().flatten()) {
                // "Soft" means just this: a failure is nobody's business.
                let _ = self.attempt(record, depth + 1);
            }
        }
    }

    /// Visits, and forgets what was collected if it fails.
    fn attempt(&mut self, record: Record<'a>, depth: usize) -> Result<(), LookupError> {
        let (seen, length) = (self.seen.clone(), self.load.len());
        self.visit(record, depth).inspect_err(|_| {
            self.seen = seen;
            self.load.truncate(length);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, path: &str, depends: &[&str], aliases: &[&str]) -> Entry {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Entry {
            name: name.into(),
            path: path.into(),
            depends: own(depends),
            aliases: own(aliases),
            ..Entry::default()
        }
    }

    fn sample() -> Vec<Entry> {
        let mut ext4 = entry("ext4", "fs/ext4.ko", &["jbd2", "mbcache"], &["fs-ext4", "fs-ext3"]);
        ext4.pre = vec!["crc32c".into(), "not-there".into()];
        vec![
            ext4,
            entry("jbd2", "fs/jbd2.ko", &[], &[]),
            entry("mbcache", "fs/mbcache.ko", &[], &[]),
            entry("crc32c-generic", "crypto/crc32c_generic.ko", &[], &["crypto-crc32c"]),
            entry("crc32c", "lib/crc32c.ko", &["crc32c_generic"], &["crypto-crc32c"]),
            entry("virtio-pci", "", &[], &[]),
            entry("9pnet_virtio", "net/9pnet_virtio.ko", &["virtio_pci"], &["virtio:d00000009v*"]),
            entry("broken", "b.ko", &["jbd2", "gone"], &["crypto-crc32c", "only-broken"]),
        ]
    }

    fn names(load: Result<Vec<Record>, LookupError>) -> Vec<String> {
        load.unwrap().iter().map(|record| record.name().to_owned()).collect()
    }

    #[test]
    fn globs_match_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("abcd", "abc", false),
            ("a?c", "abc", true),
            ("a?", "a", false),
            ("pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF4d00001009sv00001AF4sd00000009bc00sc02i00", true),
            ("pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF5d00001009sv00001AF4sd00000009bc00sc02i00", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxxcx", false),
            ("a[0-9]b", "a7b", true),
            ("a[!0-9]b", "a7b", false),
            ("a[^0-9]b", "axb", true),
            ("a[]x]b", "a]b", true),
            ("a[x-]b", "a-b", true),
            ("a[9-0]b", "a5b", false),
            ("a[bc", "a[bc", true),
            ("a[bc", "ab", false),
            ("a[", "a[", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a\\", "a\\", true),
            ("ab*", "ab", true),
            ("*b", "aab", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} against {text:?}");
        }
    }

    #[test]
    fn a_glob_made_to_explode_ends_soon() {
        let (pattern, text) = ("a*".repeat(200) + "b", "a".repeat(4000));
        assert!(!matches(&pattern, &text));
    }

    #[test]
    fn names_are_compared_without_regard_to_dashes_but_ranges_are_kept() {
        assert_eq!(normalize("net-pf-16-proto-[0-9]-x"), "net_pf_16_proto_[0-9]_x");
        assert_eq!(module_of_file("i2c-dev.ko.xz").as_deref(), Some("i2c_dev"));
        assert_eq!(module_of_file("9p.ko").as_deref(), Some("9p"));
        assert_eq!(module_of_file("a.ko.zst").as_deref(), Some("a"));
        for not_one in ["modules.dep", ".ko", "a.kon", "a.o", "a.ko.bz2"] {
            assert_eq!(module_of_file(not_one), None, "{not_one}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = write(&sample(), &["x.ko: not an ELF\nfile".into()]);
        let index = Index::parse(&text).unwrap();
        assert_eq!(index.iter().count(), sample().len());
        for mut expected in sample() {
            let record = index.get(&expected.name).unwrap();
            expected.name = normalize(&expected.name);
            assert_eq!(record.name(), expected.name);
            assert_eq!(record.path().unwrap_or_default(), expected.path);
            assert_eq!(record.depends().collect::<Vec<_>>(), expected.depends);
            let aliases: Vec<_> = expected.aliases.iter().map(|a| normalize(a)).collect();
            assert_eq!(record.aliases().collect::<Vec<_>>(), aliases);
        }
        assert!(text.contains("# x.ko: not an ELF file\n"), "{text}");
        assert_eq!(index.get("ext4").unwrap().pre().collect::<Vec<_>>(), ["crc32c", "not_there"]);
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let text = write(&sample(), &[]);
        let index = Index::parse(&text).unwrap();
        assert_eq!(names(index.resolve("ext4")), ["crc32c_generic", "crc32c", "jbd2", "mbcache", "ext4"]);
        assert_eq!(names(index.load_order(&["jbd2", "ext4", "jbd2"]))[0], "jbd2");
        assert_eq!(index.load_order(&["jbd2", "ext4", "jbd2"]).unwrap().len(), 5);
        assert_eq!(names(index.resolve("9pnet-virtio")), ["9pnet_virtio"], "what is built in is not loaded");
        assert_eq!(index.resolve("virtio_pci"), Ok(vec![]));
    }

    #[test]
    fn an_alias_means_every_module_that_it_fits_and_that_loads() {
        let text = write(&sample(), &[]);
        let index = Index::parse(&text).unwrap();
        assert_eq!(names(index.resolve("fs-ext3")).last().unwrap(), "ext4");
        assert_eq!(names(index.resolve("virtio:d00000009v00001AF4")), ["9pnet_virtio"]);
        let mut entries = sample();
        entries[1].pre = vec!["crypto-crc32c".into()];
        let text = write(&entries, &[]);
        let jbd2 = names(Index::parse(&text).unwrap().resolve("jbd2"));
        assert_eq!(jbd2, ["crc32c_generic", "crc32c", "jbd2"], "a softdep may be an alias");
        // `broken` answers to it as well: neither it nor the jbd2 that it would have brought along is loaded.
        assert_eq!(names(index.resolve("crypto-crc32c")), ["crc32c_generic", "crc32c"]);
    }

    #[test]
    fn what_cannot_be_loaded_is_said() {
        let text = write(&sample(), &[]);
        let index = Index::parse(&text).unwrap();
        let broken = LookupError::Broken { module: "broken".into(), missing: "gone".into() };
        assert_eq!(index.resolve("broken"), Err(broken.clone()));
        assert_eq!(index.resolve("only-broken"), Err(broken.clone()));
        assert_eq!(index.load_order(&["jbd2", "broken"]), Err(broken));
        assert_eq!(index.resolve("net-pf-99"), Err(LookupError::Unknown("net_pf_99".into())));
        assert_eq!(index.resolve(""), Err(LookupError::Unknown(String::new())));
    }

    #[test]
    fn loops_end() {
        let mut entries = vec![entry("a", "a.ko", &["b"], &[]), entry("b", "b.ko", &["a"], &[])];
        entries[0].pre = vec!["a".into()];
        let text = write(&entries, &[]);
        assert_eq!(Index::parse(&text).unwrap().resolve("a").unwrap().len(), 2);
        let chain: Vec<_> =
            (0..1000).map(|i| entry(&format!("m{i}"), "m.ko", &[&format!("m{}", i + 1)], &[])).collect();
        let text = write(&chain, &[]);
        let e = Index::parse(&text).unwrap().resolve("m0").unwrap_err();
        assert!(matches!(e, LookupError::TooDeep(_)), "{e}");
    }

    #[test]
    fn soft_dependencies_that_fail_are_tried_once() {
        // Two broken modules a level, each of which asks for both of the next: 2^60 ways through.
        let module = |level: usize, side: &str| {
            let mut entry = entry(&format!("m{level}{side}"), "m.ko", &["gone"], &[]);
            entry.pre = vec![format!("m{}a", level + 1), format!("m{}b", level + 1)];
            entry
        };
        let entries: Vec<_> = (0..60).flat_map(|level| [module(level, "a"), module(level, "b")]).collect();
        let text = write(&entries, &[]);
        assert!(Index::parse(&text).unwrap().resolve("m0a").is_err());
    }

    #[test]
    fn hostile_names_do_not_reach_the_file() {
        let entries = [
            entry("good", "good.ko", &[], &["plain"]),
            entry("tab\tbed", "a.ko", &[], &[]),
            entry("a,b", "b.ko", &[], &[]),
            entry("", "c.ko", &[], &[]),
            entry("d", "d\n.ko", &[], &[]),
            entry("e", "e.ko", &["x\ny"], &[]),
            entry("f", "f.ko", &[], &["a\tb"]),
            entry("good", "twice.ko", &[], &[]),
        ];
        let text = write(&entries, &[]);
        let index = Index::parse(&text).unwrap();
        assert_eq!(index.iter().map(Record::name).collect::<Vec<_>>(), ["good"]);
        assert_eq!(text.lines().filter(|line| line.starts_with("# ")).count(), 6, "{text}");
    }

    #[test]
    fn other_files_are_refused() {
        assert!(Index::parse("").unwrap_err().contains("not a module index"));
        assert!(Index::parse("kvet-modules 2\n").unwrap_err().contains("'kvet-modules 2'"));
        assert!(Index::parse("kvet-modules 1\nb\t\nb\t\n").unwrap_err().contains("out of order at 'b'"));
        assert!(Index::parse("kvet-modules 1\nb\na\n").is_err());
        // A line with too few fields is a module with nothing: it must not panic.
        let index = Index::parse("kvet-modules 1\nshort").unwrap();
        assert_eq!(index.resolve("short"), Ok(vec![]));
    }
}
