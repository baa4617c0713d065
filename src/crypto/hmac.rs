//! HMAC (RFC 2104) over MD5. MD5 no longer resists collisions, which HMAC does not need (RFC 6151,
//! section 2.3).

use md5::{Digest, Md5};

use super::wipe::wipe;

/// MD5's input block, in bytes.
const BLOCK: usize = 64;

/// A key with its two first blocks already digested: what can be paid once for many messages.
/// Overwritten when it is dropped.
#[derive(Clone)]
pub struct HmacKey {
    inner: Md5,
    outer: Md5,
}

impl HmacKey {
    /// Takes a key of any length; one over 64 bytes stands for its digest (RFC 2104, section 2).
    pub fn new(key: &[u8]) -> Self {
        let digest: [u8; 16];
        let key = if key.len() > BLOCK {
            digest = Md5::digest(key).into();
            &digest[..]
        } else {
            key
        };
        let padded = |pad: u8| {
            let mut block = [pad; BLOCK];
            for (byte, k) in block.iter_mut().zip(key) {
                *byte ^= k;
            }
            let digest = Md5::new_with_prefix(block);
            wipe(&mut block);
            digest
        };
        HmacKey { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// The MAC of `parts`, laid end to end.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut inner = self.inner.clone();
        for part in parts {
            inner.update(part);
        }
        let mut outer = self.outer.clone();
        outer.update(inner.finalize());
        outer.finalize().into()
    }
}

impl Drop for HmacKey {
    fn drop(&mut self) {
        self.inner = Md5::new();
        self.outer = Md5::new();
        // As in `wipe`: the new values may be read here, so they are written.
        std::hint::black_box(self);
    }
}

/// Says nothing of the key.
impl std::fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HmacKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn rfc_2202_section_2() {
        let counting: Vec<u8> = (1..=25).collect();
        let cases: [(&[u8], &[u8], &str); 7] = [
            (&[0x0b; 16], b"Hi There", "9294727a3638bb1c13f48ef8158bfc9d"),
            (b"Jefe", b"what do ya want for nothing?", "750c783e6ab0b503eaa86e310a5db738"),
            (&[0xaa; 16], &[0xdd; 50], "56be34521d144c88dbb8c733f0e8b3f6"),
            (&counting, &[0xcd; 50], "697eaf0aca3a3aea3a75164746ffaa79"),
            (&[0x0c; 16], b"Test With Truncation", "56461ef2342edc00f9bab995690efd4c"),
            (
                &[0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd",
            ),
            (
                &[0xaa; 80],
                b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data",
                "6f630fad67cda0ee1fb1f562db3aa53e",
            ),
        ];
        for (key, data, expected) in cases {
            assert_eq!(hex(&HmacKey::new(key).mac(&[data])), expected);
        }
    }

    #[test]
    fn where_a_message_is_cut_does_not_matter() {
        let key = HmacKey::new(b"key");
        let message: Vec<u8> = (0..=255).collect();
        let whole = key.mac(&[&message]);
        for cut in 0..=message.len() {
            let (front, back) = message.split_at(cut);
            assert_eq!(key.mac(&[front, &[], back]), whole);
        }
    }

    #[test]
    fn a_key_of_64_bytes_is_used_as_it_is_and_one_of_65_is_not() {
        let long = [7u8; 65];
        assert_eq!(HmacKey::new(&long).mac(&[b"x"]), {
            let digest: [u8; 16] = Md5::digest(long).into();
            HmacKey::new(&digest).mac(&[b"x"])
        });
        let mut zero_padded = [0u8; 64];
        zero_padded[..3].copy_from_slice(b"key");
        assert_eq!(HmacKey::new(&zero_padded).mac(&[b"x"]), HmacKey::new(b"key").mac(&[b"x"]));
    }

    #[test]
    fn a_key_does_not_print_itself() {
        assert_eq!(format!("{:?}", HmacKey::new(b"secret")), "HmacKey");
    }
}
