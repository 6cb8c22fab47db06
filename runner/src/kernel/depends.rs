//! What packages say of each other: the relation fields of Debian's control files (deb-control(5), Debian Policy 7.1).

use std::cmp::Ordering;
use std::fmt;

use super::version::cmp_debian;

/// `libc6 (>= 2.38)`: a package or a virtual one, of some versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    pub name: String,
    /// How its version must be to another, and that one.
    pub version: Option<(Operator, String)>,
}

/// How a version must be to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

impl Operator {
    const ALL: [(&str, Operator); 5] = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("=", Operator::Equal),
    ];

    fn holds(self, order: Ordering) -> bool {
        match self {
            Operator::Earlier => order.is_lt(),
            Operator::EarlierOrEqual => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::LaterOrEqual => order.is_ge(),
            Operator::Later => order.is_gt(),
        }
    }
}

impl Relation {
    /// Whether a package of this version is meant.
    pub fn allows(&self, version: &str) -> bool {
        self.version.as_ref().is_none_or(|(operator, wanted)| operator.holds(cmp_debian(version, wanted)))
    }

    /// Whether a package is meant, under its own name or one that it provides. What is provided without a version
    /// fits no relation that asks for one.
    pub fn is_met_by(&self, name: &str, version: &str, provides: &[Relation]) -> bool {
        if self.name == name && self.allows(version) {
            return true;
        }
        provides.iter().filter(|provided| provided.name == self.name).any(|provided| {
            match &provided.version {
                Some((_, version)) => self.allows(version),
                None => self.version.is_none(),
            }
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no relation to a package");
        let (name, rest) = text.split_once('(').map_or((text, None), |(name, rest)| (name, Some(rest)));
        // `perl:any`: of any architecture, ours among them.
        let name = name.trim();
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        if !is_name(name) {
            return Err(wrong());
        }
        let version = match rest {
            None => None,
            Some(rest) => {
                let inner = rest.trim_end().strip_suffix(')').ok_or_else(wrong)?.trim();
                let (sign, operator) =
                    Operator::ALL.into_iter().find(|(sign, _)| inner.starts_with(sign)).ok_or_else(wrong)?;
                let version = inner[sign.len()..].trim();
                if version.is_empty() || version.contains(char::is_whitespace) {
                    return Err(wrong());
                }
                Some((operator, version.to_owned()))
            }
        };
        Ok(Self { name: name.to_owned(), version })
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let Some((operator, version)) = &self.version else { return Ok(()) };
        let sign = Operator::ALL.into_iter().find(|(_, o)| o == operator).map_or("", |(sign, _)| sign);
        write!(f, " ({sign} {version})")
    }
}

/// The name of a package (Debian Policy 5.6.1). It also names files of the cache.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+-.".contains(&c))
}

/// Reads a field: groups, of which each must be met by one of its alternatives.
///
/// # Errors
/// What is wrong, with the text that is.
pub(super) fn parse(field: &str) -> Result<Vec<Vec<Relation>>, String> {
    let groups = field.split(',').map(str::trim).filter(|group| !group.is_empty());
    groups.map(|group| group.split('|').map(|text| Relation::parse(text.trim())).collect()).collect()
}

/// The names in a field, without looking further: for what may be needed.
pub(super) fn names(field: &str) -> impl Iterator<Item = &str> {
    field
        .split([',', '|'])
        .map(|relation| relation.trim().split([' ', '(', ':']).next().unwrap_or_default())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_as_the_archive_has_them() {
        let groups = parse("libc6 (>= 2.38), debconf (>= 0.5) | debconf-2.0, perl:any, x (<<1:2~)").unwrap();
        let shown: Vec<Vec<String>> =
            groups.iter().map(|g| g.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(
            shown,
            [
                vec!["libc6 (>= 2.38)"],
                vec!["debconf (>= 0.5)", "debconf-2.0"],
                vec!["perl"],
                vec!["x (<< 1:2~)"]
            ]
        );
        assert!(parse(" ").unwrap().is_empty());
        assert_eq!(names("a (>= 1) | b:any, c").collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_no_relation_is_named() {
        for bad in ["../x", "Foo", "a (2)", "a (>= )", "a (>= 1", "a (~ 1)", "a b", "a (>= 1 2)", "|"] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains("is no relation"), "{bad}: {error}");
        }
    }

    #[test]
    fn versions_and_provided_names() {
        let relation = |text: &str| Relation::parse(text).unwrap();
        for (text, version, fits) in [
            ("a (>= 1.9)", "1.10", true),
            ("a (>= 1.9)", "1.9~rc1", false),
            ("a (<< 1.9)", "1.9~rc1", true),
            ("a (= 1:1-2)", "1-2", false),
            ("a (>> 1)", "1", false),
            ("a (<= 1)", "1", true),
        ] {
            assert_eq!(relation(text).is_met_by("a", version, &[]), fits, "{text} {version}");
        }
        let provides = [relation("v"), relation("w (= 3)")];
        assert!(relation("v").is_met_by("a", "1", &provides));
        assert!(!relation("v (>= 1)").is_met_by("a", "1", &provides), "a version was not provided");
        assert!(relation("w (>= 2)").is_met_by("a", "1", &provides));
        assert!(!relation("w (>= 4)").is_met_by("a", "5", &provides));
    }
}
