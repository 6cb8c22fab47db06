//! Quantities as people type them.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};

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
    let text = String::deserialize(d)?;
    duration(&text).map(Some).map_err(serde::de::Error::custom)
}

/// For serde: a field that is an amount of memory.
///
/// # Errors
/// As [`mebibytes`].
pub fn de_mebibytes<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<u32>, D::Error> {
    let text = String::deserialize(d)?;
    mebibytes(&text).map(Some).map_err(serde::de::Error::custom)
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
