//! Blowfish in counter mode (NIST SP 800-38A, section 6.5): the cipher makes a stream of bytes that
//! is added to the data, so that encrypting and decrypting are the same.

use blowfish::Blowfish;
use blowfish::cipher::generic_array::GenericArray;
use blowfish::cipher::{BlockEncrypt, KeyInit};

/// Bytes in a block of the cipher.
const BLOCK: usize = 8;
/// Blocks that are made in one call.
const AT_ONCE: usize = 32;
/// The most bytes of data for one packet number: after that the blocks' own 16 bits are used up.
pub const MAX_DATA: usize = BLOCK << 16;

/// A Blowfish key that is set up (4 KiB, and about 40 µs to make). Overwritten when it is dropped.
pub struct Cipher(Box<Blowfish>);

impl Cipher {
    /// Sets a key of 16 bytes up.
    pub fn new(key: &[u8; 16]) -> Self {
        // A key of 4 to 56 bytes is never refused.
        let Ok(cipher) = Blowfish::new_from_slice(key) else { unreachable!() };
        Cipher(Box::new(cipher))
    }

    /// Encrypts or decrypts `data` in place, [`MAX_DATA`] bytes at most, with the stream of a packet's
    /// `number` (48 bits). The blocks are the number in the upper 48 bits and 0, 1, 2, … in the lower
    /// 16. A number must be used for one packet only.
    pub fn apply(&self, number: u64, data: &mut [u8]) {
        debug_assert!(data.len() <= MAX_DATA);
        let mut counter = number << 16;
        let mut blocks = [GenericArray::default(); AT_ONCE];
        for piece in data.chunks_mut(BLOCK * AT_ONCE) {
            let blocks = &mut blocks[..piece.len().div_ceil(BLOCK)];
            for block in blocks.iter_mut() {
                *block = counter.to_be_bytes().into();
                counter += 1;
            }
            self.0.encrypt_blocks(blocks);
            let mut words = piece.chunks_exact_mut(BLOCK);
            for (word, block) in (&mut words).zip(blocks.iter()) {
                for (byte, stream) in word.iter_mut().zip(block) {
                    *byte ^= stream;
                }
            }
            if let Some(last) = blocks.last() {
                let rest = words.into_remainder();
                rest.iter_mut().zip(last).for_each(|(byte, stream)| *byte ^= stream);
            }
        }
    }
}

/// Says nothing of the key.
impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blowfish::cipher::BlockDecrypt;

    /// Of the vectors that Eric Young made and Bruce Schneier publishes with Blowfish: key, clear
    /// text, cipher text.
    const VECTORS: [(u64, u64, u64); 34] = [
        (0x0000000000000000, 0x0000000000000000, 0x4EF997456198DD78),
        (0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 0x51866FD5B85ECB8A),
        (0x3000000000000000, 0x1000000000000001, 0x7D856F9A613063F2),
        (0x1111111111111111, 0x1111111111111111, 0x2466DD878B963C9D),
        (0x0123456789ABCDEF, 0x1111111111111111, 0x61F9C3802281B096),
        (0x1111111111111111, 0x0123456789ABCDEF, 0x7D0CC630AFDA1EC7),
        (0x0000000000000000, 0x0000000000000000, 0x4EF997456198DD78),
        (0xFEDCBA9876543210, 0x0123456789ABCDEF, 0x0ACEAB0FC6A0A28D),
        (0x7CA110454A1A6E57, 0x01A1D6D039776742, 0x59C68245EB05282B),
        (0x0131D9619DC1376E, 0x5CD54CA83DEF57DA, 0xB1B8CC0B250F09A0),
        (0x07A1133E4A0B2686, 0x0248D43806F67172, 0x1730E5778BEA1DA4),
        (0x3849674C2602319E, 0x51454B582DDF440A, 0xA25E7856CF2651EB),
        (0x04B915BA43FEB5B6, 0x42FD443059577FA2, 0x353882B109CE8F1A),
        (0x0113B970FD34F2CE, 0x059B5E0851CF143A, 0x48F4D0884C379918),
        (0x0170F175468FB5E6, 0x0756D8E0774761D2, 0x432193B78951FC98),
        (0x43297FAD38E373FE, 0x762514B829BF486A, 0x13F04154D69D1AE5),
        (0x07A7137045DA2A16, 0x3BDD119049372802, 0x2EEDDA93FFD39C79),
        (0x04689104C2FD3B2F, 0x26955F6835AF609A, 0xD887E0393C2DA6E3),
        (0x37D06BB516CB7546, 0x164D5E404F275232, 0x5F99D04F5B163969),
        (0x1F08260D1AC2465E, 0x6B056E18759F5CCA, 0x4A057A3B24D3977B),
        (0x584023641ABA6176, 0x004BD6EF09176062, 0x452031C1E4FADA8E),
        (0x025816164629B007, 0x480D39006EE762F2, 0x7555AE39F59B87BD),
        (0x49793EBC79B3258F, 0x437540C8698F3CFA, 0x53C55F9CB49FC019),
        (0x4FB05E1515AB73A7, 0x072D43A077075292, 0x7A8E7BFA937E89A3),
        (0x49E95D6D4CA229BF, 0x02FE55778117F12A, 0xCF9C5D7A4986ADB5),
        (0x018310DC409B26D6, 0x1D9D5C5018F728C2, 0xD1ABB290658BC778),
        (0x1C587F1C13924FEF, 0x305532286D6F295A, 0x55CB3774D13EF201),
        (0x0101010101010101, 0x0123456789ABCDEF, 0xFA34EC4847B268B2),
        (0x1F1F1F1F0E0E0E0E, 0x0123456789ABCDEF, 0xA790795108EA3CAE),
        (0xE0FEE0FEF1FEF1FE, 0x0123456789ABCDEF, 0xC39E072D9FAC631D),
        (0x0000000000000000, 0xFFFFFFFFFFFFFFFF, 0x014933E0CDAFF6E4),
        (0xFFFFFFFFFFFFFFFF, 0x0000000000000000, 0xF21E9A77B71C49BC),
        (0x0123456789ABCDEF, 0x0000000000000000, 0x245946885754369A),
        (0xFEDCBA9876543210, 0xFFFFFFFFFFFFFFFF, 0x6B5C5A9C5D9E0A5A),
    ];

    #[test]
    fn published_vectors() {
        for (key, clear, secret) in VECTORS {
            let cipher: Blowfish = Blowfish::new_from_slice(&key.to_be_bytes()).unwrap();
            let mut block = clear.to_be_bytes().into();
            cipher.encrypt_block(&mut block);
            assert_eq!(u64::from_be_bytes(block.into()), secret, "{key:016x}");
            cipher.decrypt_block(&mut block);
            assert_eq!(u64::from_be_bytes(block.into()), clear, "{key:016x}");
            // A key of 16 bytes that repeats itself is the same key.
            let twice = (u128::from(key) << 64 | u128::from(key)).to_be_bytes();
            let mut stream = [0; 8];
            if clear & 0xffff == 0 {
                Cipher::new(&twice).apply(clear >> 16, &mut stream);
                assert_eq!(u64::from_be_bytes(stream), secret, "{key:016x}");
            }
        }
    }

    #[test]
    fn any_length_goes_there_and_back_by_the_same_stream() {
        let cipher = Cipher::new(&[7; 16]);
        let mut stream = vec![0; 700];
        cipher.apply(5, &mut stream);
        let clear: Vec<u8> = (0..700).map(|i| (i * 31) as u8).collect();
        for length in 0..700 {
            let mut data = clear[..length].to_vec();
            cipher.apply(5, &mut data);
            assert!(data.iter().zip(&clear).zip(&stream).all(|((d, c), s)| *d == c ^ s));
            cipher.apply(5, &mut data);
            assert_eq!(data, clear[..length]);
        }
        let mut other = vec![0; 700];
        cipher.apply(6, &mut other);
        assert!(stream.chunks(8).all(|block| !other.chunks(8).any(|o| o == block)));
    }
}
