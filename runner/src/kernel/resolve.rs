//! From the packages that are asked for to all that have to come with them.
//!
//! One suite is consistent in itself: nothing has to be tried and taken back. A dependency that is met already adds
//! nothing; else its first alternative that the suite can meet is taken. What then does not go together is an error.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::error::{Error, Result};

use super::depends::{self, Relation};
use super::index::Package;
use super::version::cmp_debian;

/// What to resolve.
pub(super) struct Wanted<'a> {
    /// What is asked for.
    pub names: &'a [String],
    /// What is done without, whoever depends on it.
    pub left_out: &'a [String],
    /// Where the packages come from, for messages.
    pub place: &'a str,
}

/// A package that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Needed {
    pub package: Package,
    /// Which package brought it in; none for one that was asked for.
    pub by: Option<String>,
}

/// The packages asked for, those that they depend on, and so on; by name.
///
/// # Errors
/// The caller's: no such package. The host's: the suite does not hold what a package of it depends on, or two of the
/// packages exclude each other.
pub(super) fn resolve(packages: &[Package], wanted: &Wanted) -> Result<Vec<Needed>> {
    let offers = packages.iter().map(Offer::read).collect::<Result<Vec<_>>>()?;
    let mut work = Resolver::new(&offers, wanted);
    // All of them first: an alternative that is asked for goes before one that is not.
    for name in wanted.names {
        let offer = work
            .newest(&Relation { name: name.clone(), version: None })
            .ok_or_else(|| Error::caller(format!("{} has no package '{name}'", wanted.place)))?;
        work.take(offer, None);
    }
    while let Some(offer) = work.open.pop_front() {
        work.follow(offer)?;
    }
    work.check_conflicts()?;
    let needed = work.taken.into_values();
    Ok(needed.map(|(offer, by)| Needed { package: offer.package.clone(), by }).collect())
}

/// A package with its fields read.
struct Offer<'a> {
    package: &'a Package,
    provides: Vec<Relation>,
}

impl<'a> Offer<'a> {
    fn read(package: &'a Package) -> Result<Self> {
        let provides = fields(package, "Provides", &package.provides)?;
        Ok(Self { package, provides: provides.into_iter().flatten().collect() })
    }

    fn name(&self) -> &'a str {
        &self.package.name
    }

    fn meets(&self, relation: &Relation) -> bool {
        relation.is_met_by(self.name(), &self.package.version, &self.provides)
    }
}

fn fields(package: &Package, field: &str, text: &str) -> Result<Vec<Vec<Relation>>> {
    depends::parse(text).map_err(|why| Error::host(format!("package {}: {field}: {why}", package.name)))
}

struct Resolver<'a> {
    wanted: &'a Wanted<'a>,
    /// Who can be meant by a name: packages of that name, the newest first, then those that provide it, by name.
    by_name: HashMap<&'a str, Vec<&'a Offer<'a>>>,
    /// What is needed, and who brought it in.
    taken: BTreeMap<&'a str, (&'a Offer<'a>, Option<String>)>,
    /// Those whose dependencies have not been looked at.
    open: VecDeque<&'a Offer<'a>>,
}

impl<'a> Resolver<'a> {
    fn new(offers: &'a [Offer<'a>], wanted: &'a Wanted<'a>) -> Self {
        let mut by_name: HashMap<&str, Vec<&Offer>> = HashMap::new();
        for offer in offers {
            by_name.entry(offer.name()).or_default().push(offer);
            for provided in &offer.provides {
                by_name.entry(&provided.name).or_default().push(offer);
            }
        }
        for (name, offers) in &mut by_name {
            offers.sort_by(|a, b| {
                let other = |offer: &Offer| offer.name() != *name;
                let by_version = || cmp_debian(&b.package.version, &a.package.version);
                (other(a), a.name()).cmp(&(other(b), b.name())).then_with(by_version)
            });
        }
        Self { wanted, by_name, taken: BTreeMap::new(), open: VecDeque::new() }
    }

    /// The best package for a relation.
    fn newest(&self, relation: &Relation) -> Option<&'a Offer<'a>> {
        self.by_name.get(relation.name.as_str())?.iter().find(|offer| offer.meets(relation)).copied()
    }

    fn take(&mut self, offer: &'a Offer<'a>, by: Option<&str>) {
        if !self.taken.contains_key(offer.name()) {
            self.taken.insert(offer.name(), (offer, by.map(str::to_owned)));
            self.open.push_back(offer);
        }
    }

    fn is_met(&self, relation: &Relation) -> bool {
        self.wanted.left_out.contains(&relation.name)
            || self.taken.values().any(|(offer, _)| offer.meets(relation))
    }

    /// Takes what a package depends on.
    fn follow(&mut self, offer: &'a Offer<'a>) -> Result<()> {
        for group in fields(offer.package, "Depends", &offer.package.depends)? {
            if group.iter().any(|relation| self.is_met(relation)) {
                continue;
            }
            // Two versions of one package cannot be: one that is taken is not looked for anew.
            let free = |found: &&Offer| !self.taken.contains_key(found.name());
            let best = group.iter().find_map(|relation| self.newest(relation).filter(free));
            match best {
                Some(best) => self.take(best, Some(offer.name())),
                None => return Err(self.unmet(offer, &group)),
            }
        }
        Ok(())
    }

    fn unmet(&self, offer: &Offer, group: &[Relation]) -> Error {
        let asked = group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
        let has: Vec<String> = group
            .iter()
            .filter_map(|relation| self.by_name.get(relation.name.as_str())?.first())
            .map(|found| format!("{} {}", found.name(), found.package.version))
            .collect();
        let has = if has.is_empty() { "nothing of that name".to_owned() } else { has.join(", ") };
        let (place, name) = (self.wanted.place, offer.name());
        Error::host(format!(
            "{place} cannot meet what {} depends on: {asked}; it has {has}",
            self.chain(name)
        ))
    }

    /// `libc6 (needed by bash)`, back to what was asked for.
    fn chain(&self, name: &str) -> String {
        let mut text = name.to_owned();
        let mut at = name;
        while let Some((_, Some(by))) = self.taken.get(at) {
            text += &format!(", needed by {by}");
            at = by;
        }
        text
    }

    fn check_conflicts(&self) -> Result<()> {
        for (offer, _) in self.taken.values() {
            for relation in
                fields(offer.package, "Conflicts", &offer.package.conflicts)?.into_iter().flatten()
            {
                // A package that provides what it conflicts with wants to be the only one.
                let other = self.taken.values().map(|(other, _)| other);
                let other =
                    other.filter(|other| other.name() != offer.name()).find(|other| other.meets(&relation));
                if let Some(other) = other {
                    return Err(Error::caller(format!(
                        "{}: {} excludes {relation}, which is {}",
                        self.wanted.place,
                        self.chain(offer.name()),
                        self.chain(other.name()),
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Which of these may be needed by those named: every alternative and every provider counts. `of` gives what a package is
/// called, what it provides and what it depends on.
pub(super) fn reachable<'a, T>(
    all: &'a [T],
    named: &'a [String],
    of: impl Fn(&'a T) -> (&'a str, &'a str, &'a str),
) -> Vec<bool> {
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, one) in all.iter().enumerate() {
        let (name, provides, _) = of(one);
        for name in std::iter::once(name).chain(depends::names(provides)) {
            by_name.entry(name).or_default().push(index);
        }
    }
    let mut reached = vec![false; all.len()];
    let mut open: Vec<&str> = named.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        for index in by_name.remove(name).unwrap_or_default() {
            if !std::mem::replace(&mut reached[index], true) {
                open.extend(depends::names(of(&all[index]).2));
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Sha256Hex;

    /// `name version; depends; provides; conflicts`, the last ones if there are any.
    fn packages(lines: &[&str]) -> Vec<Package> {
        let read = |line: &&str| {
            let mut fields = line.split(';').map(|field| field.trim().to_owned());
            let head = fields.next().unwrap();
            let (name, version) = head.split_once(' ').unwrap();
            let mut next = || fields.next().unwrap_or_default();
            Package {
                name: name.into(),
                version: version.into(),
                filename: "x".into(),
                size: 1,
                installed_kib: 1,
                sha256: Sha256Hex::of(b""),
                depends: next(),
                provides: next(),
                conflicts: next(),
            }
        };
        lines.iter().map(read).collect()
    }

    fn resolved(lines: &[&str], names: &[&str], left_out: &[&str]) -> Result<Vec<String>> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (names, left_out) = (owned(names), owned(left_out));
        let wanted = Wanted { names: &names, left_out: &left_out, place: "suite t" };
        let shown = |needed: Needed| match needed.by {
            Some(by) => format!("{} {} by {by}", needed.package.name, needed.package.version),
            None => format!("{} {}", needed.package.name, needed.package.version),
        };
        Ok(resolve(&packages(lines), &wanted)?.into_iter().map(shown).collect())
    }

    #[track_caller]
    fn refused(lines: &[&str], names: &[&str], said: &str) {
        let error = resolved(lines, names, &[]).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("suite t"), "{error}");
    }

    #[test]
    fn what_is_needed_comes_with_what_needs_it_and_loops_end() {
        let lines =
            ["bash 5; libc6 (>= 2), tinfo", "libc6 2.41; gcc", "gcc 14; libc6", "tinfo 6; libc6", "more 1"];
        let found = resolved(&lines, &["bash"], &[]).unwrap();
        assert_eq!(found, ["bash 5", "gcc 14 by libc6", "libc6 2.41 by bash", "tinfo 6 by bash"]);
    }

    #[test]
    fn the_first_alternative_that_can_be_had_unless_another_is_there() {
        let lines = ["a 1; gone | old (>= 2) | b | c", "b 1", "c 1", "old 1"];
        assert_eq!(resolved(&lines, &["a"], &[]).unwrap(), ["a 1", "b 1 by a"]);
        assert_eq!(resolved(&lines, &["a", "c"], &[]).unwrap(), ["a 1", "c 1"]);
    }

    #[test]
    fn a_virtual_package_is_whoever_provides_it_and_who_was_asked_for_goes_first() {
        let lines = ["base 1; awk", "mawk 1; ; awk", "gawk 5; libmpfr; awk", "libmpfr 4"];
        assert_eq!(resolved(&lines, &["base", "mawk"], &[]).unwrap(), ["base 1", "mawk 1"]);
        let found = resolved(&lines, &["base"], &[]).unwrap();
        assert_eq!(found, ["base 1", "gawk 5 by base", "libmpfr 4 by gawk"], "the first by name, always");
        let lines = ["a 1; v (>= 2)", "p 9; ; v", "q 1; ; v (= 2)"];
        assert_eq!(resolved(&lines, &["a"], &[]).unwrap(), ["a 1", "q 1 by a"], "only q says a version");
    }

    #[test]
    fn the_newest_of_a_name_and_never_two() {
        let lines = ["a 1; b (>= 1)", "b 1", "b 1.10", "b 1.9"];
        assert_eq!(resolved(&lines, &["a"], &[]).unwrap(), ["a 1", "b 1.10 by a"]);
        let lines = ["a 1; b, c", "b 2", "b 1", "c 1; b (<< 2)"];
        refused(&lines, &["a"], "what c, needed by a depends on: b (<< 2); it has b 2");
    }

    #[test]
    fn what_is_left_out_is_not_missed() {
        let lines = ["tools 1; pam, libc6", "pam 1; debconf", "libc6 2"];
        assert_eq!(resolved(&lines, &["tools"], &["pam"]).unwrap(), ["libc6 2 by tools", "tools 1"]);
    }

    #[test]
    fn what_is_missing_is_named_with_who_needs_it() {
        refused(&["a 1"], &["b"], "has no package 'b'");
        refused(&["a 1; b", "b 1; nosuch"], &["a"], "what b, needed by a depends on: nosuch; it has nothing");
        refused(&["a 1; b (>= 2) | x", "b 1"], &["a"], "b (>= 2) | x; it has b 1");
        let error = resolved(&["a 1; b (?? 2)"], &["a"], &[]).unwrap_err().to_string();
        assert!(error.contains("package a: Depends: 'b (?? 2)'"), "{error}");
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        let lines = ["a 1; b", "b 1; ; ; c (<< 3)", "c 2"];
        refused(&lines, &["a", "c"], "b, needed by a excludes c (<< 3), which is c");
        assert!(resolved(&["a 1; ; mta; mta", "b 1"], &["a", "b"], &[]).is_ok(), "itself is no other");
        refused(&["a 1; ; mta; mta", "b 1; ; mta"], &["a", "b"], "excludes mta, which is b");
    }

    #[test]
    fn everything_that_could_be_needed_is_reached() {
        let all = packages(&["a 1; b | v (>= 1)", "b 1; c", "c 1; a", "p 1; q; v", "q 1", "z 1; a"]);
        let named = ["a".to_owned(), "nosuch".to_owned()];
        let reached = reachable(&all, &named, |p| (&p.name, &p.provides, &p.depends));
        assert_eq!(reached, [true, true, true, true, true, false]);
    }
}
