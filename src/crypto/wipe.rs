//! Overwriting what should not stay in memory.

use std::hint::black_box;

/// Bytes that are overwritten with zeros when they are dropped, and are not printed.
pub struct Wiped<const N: usize>([u8; N]);

impl<const N: usize> Wiped<N> {
    /// Takes bytes over. Whoever had them before should not have them any more.
    pub fn new(bytes: [u8; N]) -> Self {
        Wiped(bytes)
    }

    /// The bytes, to be used at once and not copied.
    pub fn bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, to be filled in.
    pub fn bytes_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> Drop for Wiped<N> {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Says nothing of the bytes.
impl<const N: usize> std::fmt::Debug for Wiped<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wiped")
    }
}

/// Overwrites bytes with zeros.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // To the compiler this may read them, so it cannot leave the zeros out.
    black_box(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_go_and_none_is_printed() {
        let mut bytes = [0xa5; 100];
        wipe(&mut bytes);
        assert_eq!(bytes, [0; 100]);
        let mut kept = Wiped::new([1, 2]);
        kept.bytes_mut()[0] = 3;
        assert_eq!(kept.bytes(), &[3, 2]);
        assert_eq!(format!("{kept:?}"), "Wiped");
    }
}
