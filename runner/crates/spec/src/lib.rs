//! Files that people write, as closed types. An unknown field, a wrong type or an unknown name is an error that
//! names file, line and value; nothing is guessed.
//!
//! It is the only crate that reads YAML. What the values mean together is decided by the plan, not here.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod allowed;
pub mod arch;
pub mod home;
pub mod matrix;
pub mod suite;
pub mod units;
mod yaml_location;

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use kvet_base::error::{Error, IoContext, Result};

/// Largest YAML file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Reads a YAML file. This is the only place that reads YAML; every type it is used with denies unknown fields.
///
/// # Errors
/// The caller's: the file is not there, too large, or not what it should be.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T> {
    load_with_text(path).map(|(value, _)| value)
}

/// The same, with the text that it was read from.
///
/// # Errors
/// As [`load`].
pub fn load_with_text<T: DeserializeOwned>(path: &Path) -> Result<(T, String)> {
    let context = format!("read {}", path.display());
    let mut text = String::new();
    let file = fs::File::open(path).given(&context)?;
    let length = file.take(MAX_FILE + 1).read_to_string(&mut text).given(&context)?;
    if length as u64 > MAX_FILE {
        return Err(Error::caller(format!("{} has more than {MAX_FILE} bytes", path.display())));
    }
    let value = parse(&text).map_err(|e| e.context(path.display()))?;
    Ok((value, text))
}

/// Reads YAML from a text.
///
/// # Errors
/// The caller's: it is not what it should be, or a key is there twice, of which the types would take the second without a word.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    let unique = serde_yaml::from_str::<yaml_location::Unique>(text);
    unique.and_then(|_| serde_yaml::from_str(text)).map_err(|e| Error::caller(e.to_string()))
}

/// Writes YAML.
///
/// # Errors
/// The value has no YAML form, which is a mistake in its type.
pub fn to_yaml<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_yaml::to_string(value).map_err(|e| Error::host("cannot write YAML").because(e))
}
