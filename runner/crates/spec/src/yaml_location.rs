//! Where a value stands in a YAML file. serde_yaml tells the place of an error and of nothing else, so one is raised there.

use std::collections::HashSet;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// A step on the way to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Into a mapping.
    Key(&'a str),
    /// Into a list, from 0.
    Index(usize),
}

/// The line of a value, from 1, in a text that can be read. None where there is no such value.
pub fn line(text: &str, path: &[Step]) -> Option<usize> {
    let found = Probe(path).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    found.location().map(|place| place.line())
}

/// Follows a path and fails at its end.
#[derive(Clone, Copy)]
struct Probe<'p>(&'p [Step<'p>]);

impl Probe<'_> {
    fn scalar<E: Error>(self) -> Result<(), E> {
        if self.0.is_empty() { Err(E::custom("here")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.scalar()?;
        while let Some(key) = map.next_key::<String>()? {
            match self.0 {
                [Step::Key(wanted), rest @ ..] if key == *wanted => map.next_value_seed(Probe(rest))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.scalar()?;
        for index in 0.. {
            let more = match self.0 {
                [Step::Index(wanted), rest @ ..] if index == *wanted => seq.next_element_seed(Probe(rest))?,
                _ => seq.next_element::<IgnoredAny>()?.map(drop),
            };
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }

    /// A value with a `!tag`.
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<(), A::Error> {
        let (_, value) = data.variant::<IgnoredAny>()?;
        value.newtype_variant_seed(self)
    }
}

/// Anything in which no mapping has a key twice. The error is at the second one.
pub(crate) struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Unique)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut seen = HashSet::new();
        while map.next_key_seed(Key(&mut seen))?.is_some() {
            map.next_value::<Unique>()?;
        }
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
        while seq.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E: Error>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    /// A value with a `!tag`.
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Unique, A::Error> {
        let (_, value) = data.variant::<IgnoredAny>()?;
        value.newtype_variant()
    }
}

/// A key that must not be among those before it.
struct Key<'s>(&'s mut HashSet<String>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        if self.0.insert(key.to_owned()) { Ok(()) } else { Err(E::custom(format!("'{key}' is there twice"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_whatever_is_asked_for() {
        const TEXT: &str = "# 7.2 is not meant\na:\n  - 6.10\n  - {b: true,\n     c: ~}\n  -\n    - x\n    - 'y'\nd: &e\n  f: 1\n";
        use Step::{Index, Key};
        for (path, expected) in [
            (&[Key("a"), Index(0)][..], Some(3)),
            (&[Key("a"), Index(1)], Some(4)),
            (&[Key("a"), Index(1), Key("b")], Some(4)),
            (&[Key("a"), Index(1), Key("c")], Some(5)),
            (&[Key("a"), Index(2), Index(1)], Some(8)),
            (&[Key("d"), Key("f")], Some(10)),
            (&[Key("a"), Index(3)], None),
            (&[Key("g")], None),
            (&[Key("a"), Key("a")], None),
        ] {
            assert_eq!(line(TEXT, path), expected, "{path:?}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_told_with_its_line() {
        let error = |text| serde_yaml::from_str::<Unique>(text).err().map(|e| e.to_string());
        assert_eq!(error("a: 1\nb: {a: 2}\nc: [x, {y: ~}, !t {b: 1}]\n2: x\n"), None);
        let said = error("kernels: [a]\narchs: [b]\nkernels: [c]\n").unwrap();
        assert!(said.contains("'kernels' is there twice at line 3"), "{said}");
        let said = error("a:\n  - b: 1\n    b: 2\n").unwrap();
        assert!(said.contains("'b' is there twice at line 3"), "{said}");
    }
}
