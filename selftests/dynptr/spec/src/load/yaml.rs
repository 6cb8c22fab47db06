// SPDX-License-Identifier: GPL-2.0-only
//! Reads YAML into closed types.

use serde::de::DeserializeOwned;

/// Reads a text. A duplicate key is an error: the types alone would take the second value silently.
///
/// # Errors
/// Where the text is wrong.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let typed = serde_yaml::from_str(text);
    typed
        .and_then(|it| serde_yaml::from_str::<serde_yaml::Value>(text).map(|_| it))
        .map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn no_key_is_there_twice_however_deep() {
        type Words = BTreeMap<String, BTreeMap<String, String>>;
        assert_eq!(parse::<Words>("a: { x: y, z: y }\nb: { x: y }").map(|it| it.len()), Ok(2));
        for (text, key) in [("a: { x: y }\na: { x: z }", "\"a\""), ("a: { x: y, x: z }", "\"x\"")] {
            let err = parse::<Words>(text).expect_err(text);
            assert!(err.contains("duplicate") && err.contains(key), "{err}");
        }
    }
}
