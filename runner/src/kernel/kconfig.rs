//! A kernel's configuration: the `.config` it was built with.

use std::collections::BTreeMap;

/// The options that are set. An option that is not in it is off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelConfig {
    options: BTreeMap<Box<str>, Box<str>>,
    text: Box<str>,
}

/// No kernel's config comes near this; a larger file is something else.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Options that a reader of a report wants to see.
const TELLING: &[&str] = &[
    "CONFIG_9P_FS",
    "CONFIG_BPF_JIT",
    "CONFIG_BPF_JIT_ALWAYS_ON",
    "CONFIG_BPF_LSM",
    "CONFIG_BPF_SYSCALL",
    "CONFIG_DEBUG_INFO_BTF",
    "CONFIG_FUNCTION_ERROR_INJECTION",
    "CONFIG_KASAN",
    "CONFIG_LOCALVERSION",
    "CONFIG_NET_9P_VIRTIO",
    "CONFIG_PREEMPT_RT",
    "CONFIG_PROVE_LOCKING",
    "CONFIG_VIRTIO_CONSOLE",
    "CONFIG_VIRTIO_PCI",
];

impl KernelConfig {
    /// Reads a `.config`. Lines that set nothing (comments, `# CONFIG_X is not set`, noise) are passed over, as
    /// the kernel's own tools do; string values lose their quotes and escapes.
    pub fn parse(text: &str) -> Self {
        let mut options = BTreeMap::new();
        for line in text.lines() {
            if let Some((name, value)) = line.trim_end().split_once('=')
                && name.starts_with("CONFIG_")
                && value != "n"
            {
                options.insert(name.into(), unquote(value).into());
            }
        }
        Self { options, text: text.into() }
    }

    /// What was parsed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of an option: `y`, `m`, a number, or a string without its quotes; none where it is not set.
    /// The name is understood with and without `CONFIG_`.
    pub fn get(&self, name: &str) -> Option<&str> {
        if name.starts_with("CONFIG_") {
            self.options.get(name).map(AsRef::as_ref)
        } else {
            self.options.get(format!("CONFIG_{name}").as_str()).map(AsRef::as_ref)
        }
    }

    /// Whether it is built into the image.
    pub fn is_builtin(&self, name: &str) -> bool {
        self.get(name) == Some("y")
    }

    /// Whether it is a module.
    pub fn is_module(&self, name: &str) -> bool {
        self.get(name) == Some("m")
    }

    /// Whether it is there at all, built in or as a module.
    pub fn has(&self, name: &str) -> bool {
        matches!(self.get(name), Some("y" | "m"))
    }

    /// How many options are set.
    pub fn len(&self) -> usize {
        self.options.len()
    }

    /// Whether none is set: then the text was no config.
    pub fn is_empty(&self) -> bool {
        self.options.is_empty()
    }

    /// The few options that belong into a report, `n` where off.
    pub fn telling(&self) -> BTreeMap<String, String> {
        TELLING.iter().map(|name| ((*name).to_string(), self.get(name).unwrap_or("n").to_string())).collect()
    }
}

/// A value as it is meant: strings without their quotes and escapes.
pub(super) fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) else {
        return value.to_string();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value() {
        let config = KernelConfig::parse(
            "# Linux/x86 7.2.12 Kernel Configuration\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=n\n\
             CONFIG_S=\"a \\\"b\\\" c\"\nCONFIG_N=0x1000\nnoise\nOTHER=y\nCONFIG_E=y\r\n",
        );
        assert!(config.is_builtin("CONFIG_A") && config.is_builtin("A") && config.is_builtin("E"));
        assert!(config.is_module("CONFIG_B") && config.has("B") && !config.is_builtin("B"));
        assert_eq!(config.get("CONFIG_C"), None);
        assert_eq!(config.get("CONFIG_D"), None);
        assert_eq!(config.get("CONFIG_S"), Some("a \"b\" c"));
        assert_eq!(config.get("CONFIG_N"), Some("0x1000"));
        assert_eq!(config.len(), 5);
        assert_eq!(config.telling()["CONFIG_KASAN"], "n");
        assert!(KernelConfig::parse("\u{7f}ELF").is_empty());
    }
}
