// SPDX-License-Identifier: GPL-2.0-only
//! What the harness and the programs tell each other, in two maps with one value each. `bpf/harness.h` has the same
//! layouts.

/// The map from which programs read.
pub const CONFIG_MAP: &str = ".data.config";
/// The map into which programs write.
pub const REPORT_MAP: &str = ".data.report";

/// What a program is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// The process whose system calls count.
    pub pid: u32,
    /// Length of the packet, 0 where there is none.
    pub bytes: u32,
    /// So much of the packet is in one piece.
    pub linear: u32,
    /// Is the kernel in the test's release window?
    pub in_release_window: bool,
    /// Memory of the process, see [`crate::trigger::memory`].
    pub user: u64,
    /// The number of the interface under test.
    pub interface: u32,
    /// The number of a keyring.
    pub key: i32,
    /// The type that the frame says it has.
    pub protocol: u16,
    /// Another process.
    pub other: u32,
}

impl Config {
    /// The map's value.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [self.pid, self.bytes, self.linear, u32::from(self.in_release_window)] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend(self.user.to_ne_bytes());
        bytes.extend(self.interface.to_ne_bytes());
        bytes.extend(self.key.to_ne_bytes());
        bytes.extend(u32::from(self.protocol).to_ne_bytes());
        bytes.extend(self.other.to_ne_bytes());
        bytes
    }
}

/// What a program answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How often it ran to its end.
    pub runs: u32,
    /// How many expectations did not hold.
    pub failures: u32,
    /// The line of the first of them.
    pub line: u32,
    /// What it saw there.
    pub got: i64,
    /// What it expected.
    pub want: i64,
}

impl Report {
    /// Reads the map's value. None where it does not have the report's size.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| i64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
        Some(Self { runs: word(0), failures: word(4), line: word(8), got: long(16), want: long(24) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_program_wrote() {
        let mut bytes = Vec::new();
        for word in [1u32, 2, 57, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend((-7i64).to_ne_bytes());
        bytes.extend((-22i64).to_ne_bytes());
        let report = Report { runs: 1, failures: 2, line: 57, got: -7, want: -22 };
        assert_eq!(Report::from_bytes(&bytes), Some(report));
        assert_eq!(Report::from_bytes(&bytes[1..]), None);
    }

    #[test]
    fn config_has_the_size_of_the_programs_struct() {
        assert_eq!(Config::default().to_bytes().len(), 40);
    }
}
