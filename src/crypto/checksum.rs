//! The trailer of packets without a key: it tells a damaged packet from a whole one. It is no MAC:
//! whoever can write a packet can write its checksum too.
//!
//! Words of 64 bits (little-endian) go in turn to four lanes, which do not wait for each other. Each
//! step of a lane, `((lane ^ word) * odd) rotated`, is a bijection of the lane for a given word and of
//! the word for a given lane: damage within one word always changes the lane, and nothing that
//! follows can hide it. Damage in a second word of the lane could undo it (the top bit of a word
//! becomes one known bit of the lane), so each lane also sums up its states; the sum remembers what
//! the lane was in between. Lanes fold into one half of the result and sums into the other, in steps
//! that are bijections of each.

/// Where the lanes start: the first bits of the fractions of the square roots of 2, 3, 5 and 7.
const START: [u64; 4] =
    [0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];
/// What the lanes multiply by: odd, and about half of the bits set.
const FACTOR: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0x7137_4491_23ef_65cd, 0xb5c0_fbcf_ec4d_3b2f, 0x59f1_11f1_b605_d019];
/// How far a lane rotates: it brings the best mixed bits, the upper ones, down.
const ROTATE: u32 = 31;
/// Bytes that one round takes: a word for each lane.
const ROUND: usize = 32;

#[derive(Clone, Copy)]
struct Lanes {
    lane: [u64; 4],
    sum: [u64; 4],
}

impl Lanes {
    #[inline(always)]
    fn round(&mut self, bytes: &[u8; ROUND]) {
        for (i, word) in bytes.chunks_exact(8).enumerate() {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            self.lane[i] = (self.lane[i] ^ word).wrapping_mul(FACTOR[i]).rotate_left(ROTATE);
            self.sum[i] = self.sum[i].wrapping_add(self.lane[i]);
        }
    }

    #[inline(always)]
    fn absorb(&mut self, mut bytes: &[u8]) {
        while let Some((round, rest)) = bytes.split_first_chunk() {
            self.round(round);
            bytes = rest;
        }
        if !bytes.is_empty() {
            let mut last = [0; ROUND];
            last[..bytes.len()].copy_from_slice(bytes);
            self.round(&last);
        }
    }
}

/// A bijection of `into` for a given `word`, and of `word` for a given `into`.
#[inline(always)]
fn fold(into: u64, word: u64, factor: u64) -> u64 {
    let mixed = (into ^ word).wrapping_mul(factor);
    mixed ^ (mixed >> 32)
}

/// The checksum of `header` (32 bytes, as all headers are) and `payload`.
///
/// Two checksums of the same lengths always differ if the packets differ in one aligned 64-bit word
/// alone, or in two words of one lane in neighboring rounds; otherwise they agree with a probability
/// of about 2^-128.
pub fn checksum(header: &[u8], payload: &[u8]) -> [u8; 16] {
    let mut lanes = Lanes { lane: START, sum: [0; 4] };
    lanes.absorb(header);
    lanes.absorb(payload);
    // Zeros fill up the last round, so the lengths tell "a" from "a\0".
    let length = (header.len() as u64).rotate_left(32) ^ payload.len() as u64;
    let (mut low, mut high) = (length, !length);
    for i in 0..4 {
        low = fold(low, lanes.lane[i], FACTOR[i]);
        high = fold(high, lanes.sum[i], FACTOR[3 - i]);
    }
    // Each half now hears of the other: still a bijection of the pair.
    low = low.wrapping_add(high.rotate_left(ROTATE)).wrapping_mul(FACTOR[0]);
    high = fold(high, low, FACTOR[1]);
    let mut result = [0; 16];
    result[..8].copy_from_slice(&low.to_le_bytes());
    result[8..].copy_from_slice(&high.to_le_bytes());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that differ from their neighbors, and from the same place in other words.
    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + 3) as u8).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn it_is_what_it_always_was() {
        // From a reference in another language; packets of one version must agree for good.
        let cases: [(&[u8], &[u8], &str); 5] = [
            (&[], &[], "618cda638e7887b2f0a6515257fef0ab"),
            (&[0; 32], &[], "27345cadbf1ff7345c6bdb03fb6ecc2a"),
            (&[0; 32], b"a", "87ce0d95bb8758f9861a42a356cb9f36"),
            (&sample(32), &sample(33), "c16d3d68d83011c5f79e12be2c1756fe"),
            (&sample(32), &sample(1_424), "deb51d9178dd4ed627f59bb70234702c"),
        ];
        for (header, payload, expected) in cases {
            assert_eq!(hex(&checksum(header, payload)), expected);
        }
    }

    #[test]
    fn every_flipped_bit_shows_and_no_two_flips_look_alike() {
        let mut packet = sample(1_456);
        let mut seen = std::collections::HashSet::new();
        seen.insert(checksum(&packet[..32], &packet[32..]));
        for bit in 0..packet.len() * 8 {
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(checksum(&packet[..32], &packet[32..])), "bit {bit}");
            packet[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn the_flip_that_undoes_a_flip_in_its_lane_shows_too() {
        // The top bit of a word becomes bit 30 of its lane, where bit 30 of the lane's next word
        // cancels it. Only the sums still know.
        let packet = sample(256);
        let whole = checksum(&packet[..32], &packet[32..]);
        for word in 0..packet.len() / 8 - 4 {
            let mut damaged = packet.clone();
            damaged[word * 8 + 7] ^= 0x80;
            damaged[(word + 4) * 8 + 3] ^= 0x40;
            assert_ne!(checksum(&damaged[..32], &damaged[32..]), whole, "word {word}");
        }
    }

    #[test]
    fn every_swap_of_two_words_shows() {
        let packet: Vec<u8> = (0..60u64).flat_map(|i| (i * i + 1).to_le_bytes()).collect();
        let whole = checksum(&packet[..32], &packet[32..]);
        for first in 0..60 {
            for second in 0..first {
                let mut swapped = packet.clone();
                for i in 0..8 {
                    swapped.swap(first * 8 + i, second * 8 + i);
                }
                assert_ne!(checksum(&swapped[..32], &swapped[32..]), whole, "{first} {second}");
            }
        }
    }

    #[test]
    fn every_length_counts_also_of_zeros() {
        let mut seen = std::collections::HashSet::new();
        let zeros = [0; 1_500];
        for len in 0..=zeros.len() {
            assert!(seen.insert(checksum(&zeros[..32], &zeros[..len])), "{len} zeros");
        }
        let packet = sample(1_500);
        for len in 0..=packet.len() {
            assert!(seen.insert(checksum(&packet[..32], &packet[..len])), "{len} bytes");
        }
        // A byte that moves from one part to the other.
        assert_ne!(checksum(&zeros[..31], &zeros[..1]), checksum(&zeros[..32], &[]));
    }

    #[test]
    fn where_it_lies_in_memory_does_not_matter() {
        let payload = sample(1_424);
        let whole = checksum(&payload[..32], &payload);
        for shift in 1..40 {
            let mut moved = vec![0xa5; shift];
            moved.extend_from_slice(&payload);
            assert_eq!(checksum(&moved[shift..shift + 32], &moved[shift..]), whole);
        }
    }

    #[test]
    fn bursts_of_stuck_bytes_show() {
        let packet = sample(1_456);
        let whole = checksum(&packet[..32], &packet[32..]);
        for (at, len) in (0..1_456).step_by(5).zip((1..200).cycle()) {
            for stuck in [0x00, 0xff] {
                let mut damaged = packet.clone();
                let end = (at + len).min(packet.len());
                damaged[at..end].fill(stuck);
                let same = damaged == packet;
                assert_eq!(checksum(&damaged[..32], &damaged[32..]) == whole, same);
            }
        }
    }
}
