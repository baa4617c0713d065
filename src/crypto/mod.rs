//! The checksum of packets, keyed digests, encryption, constant-time comparison. Blowfish and MD5 are
//! those of their crates; what is built of them is here.
#![forbid(unsafe_code)]

mod checksum;
mod ctr;
mod hmac;
mod pbkdf2;
mod wipe;

pub use checksum::checksum;
pub use ctr::{Cipher, MAX_DATA};
pub use hmac::HmacKey;
pub use pbkdf2::pbkdf2;
pub use wipe::{Wiped, wipe};

/// Whether `a` and `b` are the same bytes, in a time that depends on their lengths alone, so that
/// whoever guesses a MAC learns nothing from how long its refusal took.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let differing = a.iter().zip(b).fold(0u8, |bits, (x, y)| bits | (x ^ y));
    // The barrier keeps the compiler from leaving the loop at the first difference.
    std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_means_every_bit_of_every_byte() {
        let a: [u8; 16] = std::array::from_fn(|i| i as u8 * 17);
        assert!(equal(&a, &a.clone()));
        assert!(equal(&[], &[]));
        for bit in 0..a.len() * 8 {
            let mut b = a;
            b[bit / 8] ^= 1 << (bit % 8);
            assert!(!equal(&a, &b), "bit {bit}");
        }
        assert!(!equal(&a, &a[..15]));
        assert!(!equal(&[], &a));
    }
}
