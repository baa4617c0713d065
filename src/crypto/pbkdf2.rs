//! PBKDF2 (RFC 8018, section 5.2) over HMAC-MD5: makes each guess at a secret as dear as `rounds`
//! HMACs.

use super::hmac::HmacKey;
use super::wipe::wipe;

/// Fills `out` with what `password` and `salt` become in `rounds` rounds (at least 1).
pub fn pbkdf2(password: &[u8], salt: &[u8], rounds: u32, out: &mut [u8]) {
    let key = HmacKey::new(password);
    for (number, block) in (1u32..).zip(out.chunks_mut(16)) {
        let mut link = key.mac(&[salt, &number.to_be_bytes()]);
        let mut sum = link;
        for _ in 1..rounds {
            link = key.mac(&[&link]);
            for (s, l) in sum.iter_mut().zip(link) {
                *s ^= l;
            }
        }
        block.copy_from_slice(&sum[..block.len()]);
        wipe(&mut sum);
        wipe(&mut link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_round_is_one_hmac() {
        let mut out = [0; 16];
        pbkdf2(b"secret", b"salt", 1, &mut out);
        assert_eq!(out, HmacKey::new(b"secret").mac(&[b"salt", &[0, 0, 0, 1]]));
    }
}
