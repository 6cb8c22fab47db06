//! The proof that a config has what was asked for; and, where it has not, why not.

use std::fmt::Write;
use std::path::Path;

use crate::error::{Error, Result};

use super::super::kconfig::{KernelConfig, unquote};
use super::super::version::KernelVersion;
use super::expr::{holds, unmet};
use super::fragment::Request;
use super::merge::Merged;
use super::symbols::{Definition, Symbols};

/// Most missing options that are told one by one.
const SHOWN: usize = 20;

/// Compares what was asked for with what kbuild made of it.
///
/// # Errors
/// The caller's: something is missing; the message names each option, its place and the reason.
pub(super) fn prove(
    merged: &Merged,
    config: &KernelConfig,
    tree: &Path,
    source_arch: &str,
    version: KernelVersion,
) -> Result<()> {
    let missing: Vec<&Request> = merged.requests.values().filter(|r| !granted(r, config)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let symbols = Symbols::read(tree, source_arch);
    let mut text = format!(
        "{} of {} config options that were asked for cannot be had in {version}:",
        missing.len(),
        merged.requests.len()
    );
    for request in missing.iter().take(SHOWN) {
        let why = reason(request, config, &symbols);
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {}={} ({}): {why}", request.option, request.value, request.place);
    }
    if missing.len() > SHOWN {
        let _ = write!(text, "\n  and {} more", missing.len() - SHOWN);
    }
    let error = Error::caller(text);
    // Another release may have what this one does not know; it helps with nothing else.
    let unknown = missing.iter().any(|request| !symbols.defined.contains_key(bare(&request.option)));
    Err(if unknown {
        error.hint(
            "an option that only some releases have says so in the line above it: `#@ since 6.7` or `#@ until 6.15`",
        )
    } else {
        error
    })
}

/// The name as Kconfig has it.
fn bare(option: &str) -> &str {
    option.trim_start_matches("CONFIG_")
}

fn granted(request: &Request, config: &KernelConfig) -> bool {
    let got = config.get(&request.option);
    match request.value.as_str() {
        "n" => got.is_none(),
        "m" => matches!(got, Some("m" | "y")),
        wanted => got == Some(unquote(wanted).as_str()),
    }
}

/// Why a request was not granted.
fn reason(request: &Request, config: &KernelConfig, symbols: &Symbols) -> String {
    let name = bare(&request.option);
    let Some(definitions) = symbols.defined.get(name) else {
        return "this release has no such option".into();
    };
    let got = config.get(name).unwrap_or("n");
    if request.value == "n" {
        return format!("it is {got}: {}", selectors(name, config, symbols));
    }
    let mut reasons = Vec::new();
    for definition in definitions {
        let mut parts: Vec<String> = definition.depends.iter().flat_map(|d| unmet(d, config)).collect();
        if let Some(condition) = &definition.prompt
            && holds(condition, config) == Some(false)
        {
            parts.extend(unmet(condition, config));
        }
        parts.dedup();
        if parts.is_empty() {
            reasons.clear();
            break;
        }
        reasons.push(format!("{} needs {}", definition.place, parts.join(" and ")));
    }
    if !reasons.is_empty() {
        return format!("its dependencies are unmet: {}", reasons.join("; or "));
    }
    if definitions.iter().all(|d| d.prompt.is_none()) {
        return format!("it cannot be set, only selected: {}", selectors(name, config, symbols));
    }
    let chosen = definitions.iter().filter_map(|d| d.choice).flat_map(|c| symbols.choice(c));
    if let Some(other) = chosen.into_iter().find(|other| *other != name && config.is_builtin(other)) {
        return format!("it is one of a choice, and {other} was chosen");
    }
    let ranges = definitions.iter().filter_map(|definition| out_of_range(&request.value, definition, config));
    if let Some(range) = ranges.into_iter().next() {
        return format!("it is {got}: {range}");
    }
    format!("it is {got}, for a reason that its dependencies do not tell")
}

/// The range that a number is not in, with its place.
fn out_of_range(wanted: &str, definition: &Definition, config: &KernelConfig) -> Option<String> {
    let number = |text: &str| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    // A bound may be another option.
    let bound = |text: &str| number(text).or_else(|| number(config.get(text)?));
    let in_force = |condition: &str| condition.is_empty() || holds(condition, config) == Some(true);
    let (least, most, _) = definition.ranges.iter().find(|(_, _, condition)| in_force(condition))?;
    let outside = !(bound(least)?..=bound(most)?).contains(&number(wanted)?);
    outside.then(|| format!("{} allows {least} to {most}", definition.place))
}

/// Who switches an option on.
fn selectors(name: &str, config: &KernelConfig, symbols: &Symbols) -> String {
    let all = symbols.selected_by.get(name).map(Vec::as_slice).unwrap_or_default();
    let active = |(by, condition): &&(String, String)| {
        config.has(by) && (condition.is_empty() || holds(condition, config) != Some(false))
    };
    let list = |names: Vec<&str>| names.into_iter().take(8).collect::<Vec<_>>().join(", ");
    let on: Vec<&str> = all.iter().filter(active).map(|(by, _)| by.as_str()).collect();
    match (all, on) {
        ([], _) => "nothing selects it, its default decides".into(),
        (_, on) if !on.is_empty() => format!("{} select it", list(on)),
        (all, _) => {
            format!("it can be selected by {}", list(all.iter().map(|(by, _)| by.as_str()).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fragment::parse;
    use super::super::merge::merge;
    use super::*;

    const KCONFIG: &str = "config NET\n\tbool \"net\"\nconfig TUN\n\ttristate \"tun\"\n\tdepends on NET && PCI\nconfig PCI\n\tbool \"pci\"\n\
        config HIDDEN\n\tbool\nconfig SELECTS\n\tbool \"s\"\n\tselect HIDDEN\nchoice\n\tprompt \"c\"\nconfig ONE\n\tbool \"1\"\n\
        config TWO\n\tbool \"2\"\nendchoice\nconfig SHIFT\n\tint \"s\"\n\trange 1 9 if PCI\n\trange 12 MOST\n\tdefault 17\n\
        config MOST\n\tint\n\tdefault 25\n";

    fn proved(asked: &str, got: &str) -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Kconfig"), KCONFIG).unwrap();
        let version = KernelVersion::new(7, 2, 0);
        let merged = merge([parse(asked, Path::new("f")).unwrap()], version).unwrap();
        prove(&merged, &KernelConfig::parse(got), dir.path(), "x86", version)
    }

    #[test]
    fn what_was_granted_is_granted() {
        proved(
            "CONFIG_NET=y\nCONFIG_TUN=m\n# CONFIG_PCI is not set\nCONFIG_S=\"a b\"\nCONFIG_N=0x10\n",
            "CONFIG_NET=y\nCONFIG_TUN=y\nCONFIG_S=\"a b\"\nCONFIG_N=0x10\n",
        )
        .unwrap();
    }

    #[test]
    fn every_kind_of_refusal_has_its_reason() {
        for (asked, got, said) in [
            ("CONFIG_GONE=y\n", "", "CONFIG_GONE=y (f:1): this release has no such option"),
            ("CONFIG_TUN=y\n", "CONFIG_NET=y\n", "Kconfig:3 needs PCI (is n)"),
            ("CONFIG_TUN=y\n", "", "NET (is n) and PCI (is n)"),
            ("CONFIG_HIDDEN=y\n", "", "only selected: it can be selected by SELECTS"),
            (
                "# CONFIG_HIDDEN is not set\n",
                "CONFIG_HIDDEN=y\nCONFIG_SELECTS=y\n",
                "it is y: SELECTS select it",
            ),
            ("CONFIG_ONE=y\n", "CONFIG_TWO=y\n", "one of a choice, and TWO was chosen"),
            ("CONFIG_NET=y\n", "CONFIG_NET=m\n", "it is m"),
            (
                "CONFIG_SHIFT=99\n",
                "CONFIG_SHIFT=25\nCONFIG_MOST=25\n",
                "CONFIG_SHIFT=99 (f:1): it is 25: Kconfig:20 allows 12 to MOST",
            ),
            ("CONFIG_SHIFT=0x63\n", "CONFIG_PCI=y\nCONFIG_SHIFT=9\n", "allows 1 to 9"),
            ("CONFIG_SHIFT=13\n", "CONFIG_SHIFT=25\nCONFIG_MOST=25\n", "do not tell"),
        ] {
            let error = proved(asked, got).unwrap_err();
            assert_eq!(error.fault(), crate::error::Fault::Caller);
            assert!(error.to_string().contains(said), "{asked}: {error}");
            assert!(error.to_string().contains("in 7.2"), "{error}");
            // Another release is no help where this one has the option.
            assert_eq!(
                error.hint_text().is_some(),
                asked.contains("GONE"),
                "{asked}: {:?}",
                error.hint_text()
            );
        }
    }
}
