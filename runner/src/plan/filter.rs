//! `-t`: which tests of a suite are meant.

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result};

/// Most names of tests in a hint.
const SHOWN: usize = 12;

/// A selection by globs: `dynptr_success/*`, and `!*skb*` to leave some out.
#[derive(Debug, Clone)]
pub struct Filter {
    texts: Vec<String>,
    /// Names of tests that would mean something else as a pattern: they begin with a `!`, or are no glob.
    named: Vec<String>,
    /// What is no glob, and why: it may be the name of a test.
    broken: Vec<(String, String)>,
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Filter {
    /// Compiles what the user typed. A test is meant if it matches one of the plain globs (or there is none), and
    /// none of those with `!`. `*` matches any characters, `/` included. What is no glob, [`Filter::among`] refuses.
    pub fn new(texts: &[String]) -> Self {
        let (excluded, included): (Vec<&String>, Vec<&String>) =
            texts.iter().partition(|text| text.starts_with('!'));
        let mut broken = Vec::new();
        let exclude = compile(&excluded, "!", &mut broken);
        let include = (!included.is_empty()).then(|| compile(&included, "", &mut broken));
        Self { texts: texts.to_vec(), named: Vec::new(), broken, include, exclude }
    }

    /// The same for a suite whose tests are known, if they are: `!x` is the test of that name where there is one, and leaves out
    /// `x` where there is none.
    ///
    /// # Errors
    /// The caller's: what is neither a glob nor the name of a test.
    pub fn among(&self, names: &[String]) -> Result<Self> {
        let is_broken = |text: &str| self.broken.iter().any(|(broken, _)| broken == text);
        if let Some((_, why)) = self.broken.iter().find(|(text, _)| !names.contains(text)) {
            return Err(Error::caller(why).hint("a glob has * ? [abc] {one,two}; quote it from the shell"));
        }
        let is_name = |text: &&String| (text.starts_with('!') || is_broken(text)) && names.contains(text);
        let (named, others): (Vec<&String>, Vec<&String>) = self.texts.iter().partition(is_name);
        let others: Vec<String> = others.into_iter().cloned().collect();
        let named = named.into_iter().cloned().collect();
        Ok(Self { texts: self.texts.clone(), named, ..Self::new(&others) })
    }

    /// What selects and matches none of these names.
    pub fn unmatched<'a>(&'a self, names: &[&str]) -> Vec<&'a str> {
        let is_named = |text: &&str| self.named.iter().any(|named| named == text);
        let selecting =
            self.includes().filter(|text| !is_named(text)).chain(self.named.iter().map(String::as_str));
        let matches_none = |text: &&str| {
            let alone = Self { exclude: GlobSet::empty(), ..Self::new(&[(*text).to_owned()]) };
            let is_name = |name: &&str| *name == *text || without_ordinal(name) == *text;
            !names.iter().any(|name| is_name(name) || (!text.starts_with('!') && alone.matches(name)))
        };
        selecting.filter(matches_none).collect()
    }

    /// The globs that select.
    pub fn includes(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str).filter(|text| !text.starts_with('!'))
    }

    /// The globs that leave out, without their `!`.
    pub fn excludes(&self) -> impl Iterator<Item = &str> {
        let excluding = self.texts.iter().filter(|text| !self.named.contains(text));
        excluding.filter_map(|text| text.strip_prefix('!'))
    }

    /// Whether everything is meant.
    pub fn is_all(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether a test is meant. A test that has the very name that was typed is, whatever that means as a glob, and so is
    /// each of several tests of that name (`x`, `x#2`).
    pub fn matches(&self, name: &str) -> bool {
        let base = without_ordinal(name);
        let mut typed = self.includes().chain(self.named.iter().map(String::as_str));
        let mut exactly = || typed.any(|text| text == name || text == base);
        let included = match &self.include {
            Some(set) => set.is_match(name) || set.is_match(base) || exactly(),
            None => self.named.is_empty() || exactly(),
        };
        included
            && !(self.exclude.is_match(name)
                || self.exclude.is_match(base)
                || self.excludes_exactly(name, base))
    }

    fn excludes_exactly(&self, name: &str, base: &str) -> bool {
        self.excludes().any(|text| text == name || text == base)
    }

    /// Those of the names that are meant.
    ///
    /// # Errors
    /// The caller's: none is.
    pub fn select(&self, names: &[String], suite: &str) -> Result<Vec<String>> {
        let selected: Vec<String> = names.iter().filter(|name| self.matches(name)).cloned().collect();
        if selected.is_empty() {
            return Err(self.nothing(suite, names));
        }
        Ok(selected)
    }

    /// Whether one of these tests, or a subtest of one, may be meant. What their subtests are called is not known before they run: only
    /// what cannot be the name of any is refused.
    ///
    /// # Errors
    /// The caller's: none can be.
    pub fn check_tests(&self, names: &[String], suite: &str) -> Result<()> {
        if self.include.is_none() || names.iter().any(|name| self.may_reach(name)) {
            return Ok(());
        }
        let error = self.nothing(suite, names);
        if names.iter().any(|name| self.resembles(name)) {
            return Err(error);
        }
        let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Err(error.hint(format!("there are {shown}{more}; a subtest is named TEST/SUBTEST")))
    }

    /// Whether a glob matches a test, or could match `NAME/…`: as far as it has no wildcard it must be the beginning of that, or begin
    /// with it.
    fn may_reach(&self, name: &str) -> bool {
        let below = format!("{name}/");
        let reaches = |glob: &str| {
            let literal = glob.split(['*', '?', '[', '{', '\\']).next().unwrap_or_default();
            let open = literal.len() < glob.len();
            literal.starts_with(&below) || (open && below.starts_with(literal))
        };
        self.matches(name) || self.includes().any(reaches)
    }

    /// The error for a filter that nothing matches.
    pub fn nothing(&self, suite: &str, names: &[String]) -> Error {
        let typed = self.texts.iter().map(|t| format!("'{t}'")).collect::<Vec<_>>().join(" ");
        let error = Error::caller(format!("no test of suite {suite} matches -t {typed}"));
        let near: Vec<&String> = names.iter().filter(|name| self.resembles(name)).take(3).collect();
        match near.first() {
            Some(name) => error.hint(format!("there is {name}; '*' matches any part of a name")),
            None => error.hint(format!("`kvet suite show {suite}` lists its tests")),
        }
    }

    /// Whether a name holds what was typed, wildcards aside: what a forgotten `*` looks like.
    fn resembles(&self, name: &str) -> bool {
        self.texts.iter().any(|text| {
            let core = text.trim_matches(|c: char| "*!?".contains(c));
            !core.is_empty() && name.contains(core)
        })
    }
}

/// The name that a test asked for, where it was the second of that name: `connect` for `connect#2`.
fn without_ordinal(name: &str) -> &str {
    match name.rsplit_once('#') {
        Some((base, ordinal)) if !ordinal.is_empty() && ordinal.bytes().all(|b| b.is_ascii_digit()) => base,
        _ => name,
    }
}

/// Whether a name has something that is special in a glob.
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{', '\\'])
}

fn compile(texts: &[&String], prefix: &str, broken: &mut Vec<(String, String)>) -> GlobSet {
    let wrong = |text: &str, e: &globset::Error| format!("-t '{text}': {}", e.kind());
    let mut globs = Vec::new();
    for text in texts {
        match Glob::new(text.strip_prefix(prefix).unwrap_or(text)) {
            Ok(glob) => globs.push(glob),
            Err(e) => broken.push(((*text).clone(), wrong(text, &e))),
        }
    }
    let mut set = GlobSetBuilder::new();
    globs.into_iter().for_each(|glob| {
        set.add(glob);
    });
    set.build().unwrap_or_else(|e| {
        let all: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
        broken.push((all.join(" "), wrong(&all.join(" "), &e)));
        GlobSet::empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(texts: &[&str]) -> Result<Vec<String>> {
        let names = ["a/read", "a/write", "b/read", "b/odd name"].map(String::from);
        Filter::new(&texts.iter().map(ToString::to_string).collect::<Vec<_>>()).select(&names, "mine")
    }

    #[test]
    fn an_exact_name_always_selects() {
        let matches = |text: &str, name: &str| Filter::new(&[text.to_owned()]).matches(name);
        assert!(matches("mmap[4k]", "mmap[4k]"));
        assert!(matches("mmap[4k]", "mmap[4k]#2"));
        assert!(matches("connect", "connect") && matches("connect", "connect#2"));
        assert!(matches("connect#2", "connect#2") && !matches("connect#2", "connect"));
        assert!(!matches("connect", "connect#x") && !matches("connect", "reconnect#2"));
        assert!(!matches("!connect", "connect#2") && !matches("!mmap[4k]", "mmap[4k]"));
    }

    #[test]
    fn a_name_may_begin_with_an_exclamation_mark() {
        let names = ["!inverted", "inverted", "other"].map(String::from);
        let selected = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            Filter::new(&texts).among(&names).unwrap().select(&names, "mine").unwrap()
        };
        assert_eq!(selected(&["!inverted"]), ["!inverted"]);
        assert_eq!(selected(&["!inverted", "oth*"]), ["!inverted", "other"]);
        assert_eq!(selected(&["!other"]), ["!inverted", "inverted"]);
        assert_eq!(selected(&["inverted"]), ["inverted"]);
        assert_eq!(selected(&["*inverted", "!i*"]), ["!inverted"]);
    }

    #[test]
    fn what_is_no_glob_may_be_a_name() {
        let names = ["a[", "b{x", "c"].map(String::from);
        let filter = |text: &str| Filter::new(&[text.to_owned()]).among(&names);
        assert_eq!(filter("a[").unwrap().select(&names, "mine").unwrap(), ["a["]);
        assert_eq!(filter("b{x").unwrap().select(&names, "mine").unwrap(), ["b{x"]);
        for wrong in ["c[", "!c["] {
            let error = filter(wrong).unwrap_err();
            assert!(error.to_string().starts_with(&format!("-t '{wrong}': ")), "{error}");
        }
    }

    #[test]
    fn each_pattern_has_to_match_something() {
        let texts = ["a", "b*", "!c", "d[", "none", "!no*"].map(String::from);
        let names = ["a#2", "bb", "!c", "c", "d["].map(String::from);
        let filter = Filter::new(&texts).among(&names).unwrap();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(filter.unmatched(&all), ["none"]);
        assert_eq!(filter.unmatched(&["x"]), ["a", "b*", "none", "!c", "d["]);
    }

    #[test]
    fn globs_include_and_exclude() {
        assert_eq!(select(&[]).unwrap().len(), 4);
        assert_eq!(select(&["a/*"]).unwrap(), ["a/read", "a/write"]);
        assert_eq!(select(&["*read", "!a/*"]).unwrap(), ["b/read"]);
        assert_eq!(select(&["!*/read"]).unwrap(), ["a/write", "b/odd name"]);
        assert_eq!(select(&["*odd name"]).unwrap(), ["b/odd name"]);
    }

    #[test]
    fn what_may_be_a_subtest_is_not_refused() {
        let names = ["dynptr", "file_reader", "cgroup_xattr"].map(String::from);
        let check = |text: &str| Filter::new(&[text.to_owned()]).check_tests(&names, "upstream");
        for fine in [
            "dynptr",
            "dynptr/*",
            "dynptr/test_read*",
            "dynptr/anything",
            "*read*",
            "dyn*",
            "d?nptr/x",
            "{dynptr,x}/*",
            "!dynptr",
        ] {
            check(fine).unwrap_or_else(|e| panic!("{fine}: {e}"));
        }
        for wrong in ["dynprt", "dynprt/*", "dynptr_fail/x", "dynptrs*", "xattr", "file_reader2", "dynpt/x"] {
            let e = check(wrong).unwrap_err();
            assert!(e.to_string().contains(&format!("-t '{wrong}'")), "{e}");
        }
        let hint = |text| check(text).unwrap_err().hint_text().unwrap().to_owned();
        assert_eq!(
            hint("zzz"),
            "there are dynptr, file_reader, cgroup_xattr; a subtest is named TEST/SUBTEST"
        );
        assert!(hint("xattr").contains("there is cgroup_xattr"));
    }

    #[test]
    fn nothing_matched_says_what_was_near() {
        let e = select(&["write"]).unwrap_err();
        assert!(e.to_string().contains("'write'") && e.hint_text().unwrap().contains("a/write"), "{e}");
        let e = select(&["zzz*"]).unwrap_err();
        assert!(e.hint_text().unwrap().contains("kvet suite show mine"));
        let e = select(&["a/[*"]).unwrap_err().to_string();
        assert!(e.contains("'a/[*'"), "{e}");
    }
}
