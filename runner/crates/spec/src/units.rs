//! Quantities as people type them.

use std::fmt;
use std::time::Duration;

use serde::Deserializer;
use serde::de::Visitor;

use kvet_base::error::{Error, Result};

/// A duration: `90s`, `10m`, `1h30m`, `250ms`.
///
/// # Errors
/// The caller's: not such a text, or not more than zero.
pub fn duration(text: &str) -> Result<Duration> {
    let wrong = || Error::caller(format!("'{text}' is no duration; write 90s, 10m or 1h30m"));
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    let duration = Duration::try_from(span).map_err(|_| wrong())?;
    if duration.is_zero() { Err(wrong()) } else { Ok(duration) }
}

/// An amount of memory in MiB: `512M`, `1G`, `1.5G`.
///
/// # Errors
/// The caller's: not such a text, or not a whole number of MiB between 64 MiB and 1 TiB.
pub fn mebibytes(text: &str) -> Result<u32> {
    let wrong = || Error::caller(format!("'{text}' is no amount of memory; write 512M or 1G (64M to 1024G)"));
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "M" | "MiB" | "m" => 1.0,
        "G" | "GiB" | "g" => 1024.0,
        _ => return Err(wrong()),
    };
    let mib = digits.parse::<f64>().map_err(|_| wrong())? * factor;
    if (64.0..=1_048_576.0).contains(&mib) && mib.fract() == 0.0 { Ok(mib as u32) } else { Err(wrong()) }
}

/// For serde: a field that is a duration.
///
/// # Errors
/// As [`duration`].
pub fn de_duration<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<Duration>, D::Error> {
    d.deserialize_str(Text(duration)).map(Some)
}

/// For serde: a field that is an amount of memory.
///
/// # Errors
/// As [`mebibytes`].
pub fn de_mebibytes<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<u32>, D::Error> {
    d.deserialize_str(Text(mebibytes)).map(Some)
}

/// The most CPUs that a guest can have.
pub const MAX_CPUS: u32 = 64;

/// For serde: a field that is a number of CPUs.
///
/// # Errors
/// Not a number from 1 to [`MAX_CPUS`].
pub fn de_cpus<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<u32>, D::Error> {
    d.deserialize_u64(Cpus).map(Some)
}

/// A text that is read while it is visited: only then an error has the place of the value, and not that of what it is in.
struct Text<T>(fn(&str) -> Result<T>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<T, E> {
        self.0(text).map_err(E::custom)
    }
}

struct Cpus;

impl Visitor<'_> for Cpus {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number of CPUs from 1 to {MAX_CPUS}")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> std::result::Result<u32, E> {
        let cpus = u32::try_from(number).ok().filter(|cpus| (1..=MAX_CPUS).contains(cpus));
        cpus.ok_or_else(|| E::custom(format!("{number} CPUs are no guest's: 1 to {MAX_CPUS}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        for bad in ["", "90", "-1s", "0s", "soon", "1e9999h"] {
            assert!(duration(bad).unwrap_err().to_string().contains(&format!("'{bad}'")), "{bad}");
        }
    }

    #[test]
    fn memory() {
        assert_eq!(mebibytes("512M").unwrap(), 512);
        assert_eq!(mebibytes("1.5G").unwrap(), 1536);
        for bad in ["", "1", "1T", "G", "0.3M", "9999999G", "-1G", "NaNG", "12M34"] {
            assert!(mebibytes(bad).is_err(), "{bad}");
        }
    }
}
