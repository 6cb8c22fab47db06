// SPDX-License-Identifier: GPL-2.0-only
//! The frame that programs are given. `bpf/harness.h` knows its form.

/// Length of an Ethernet header.
const ETH_HEADER: usize = 14;
/// Two addresses of nobody.
const ADDRESSES: [u8; ETH_HEADER - 2] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

/// A frame of that many bytes (at least the header's) and of that type: behind the header, each byte is its own offset.
pub fn frame(bytes: usize, protocol: u16) -> Vec<u8> {
    let payload = (ETH_HEADER..bytes).map(|offset| offset.to_le_bytes()[0]);
    ADDRESSES.into_iter().chain(protocol.to_be_bytes()).chain(payload).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_its_own_offset() {
        let frame = frame(300, 0x0800);
        assert_eq!(frame[12..14], [8, 0]);
        assert_eq!(frame.len(), 300);
        assert_eq!(frame[14], 14);
        assert_eq!(frame[20], 20);
        assert_eq!(frame[257], 1);
    }
}
