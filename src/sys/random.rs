//! Random bits from the kernel, good enough for keys and node ids.

use super::cvt::cvt_r;
use std::io;

/// Fills `buffer` from the kernel's generator (getrandom(2)), waiting at most until it is seeded,
/// which on a running system it is.
///
/// # Errors
/// `ENOSYS` on kernels before 3.17; nothing else is known to happen.
pub fn fill(buffer: &mut [u8]) -> io::Result<()> {
    let mut rest = buffer;
    while !rest.is_empty() {
        // Above 256 bytes a signal can cut it short (getrandom(2)).
        // SAFETY: `rest` is writable for the whole of its length.
        let got = cvt_r(|| unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) })?;
        rest = rest.get_mut(got.unsigned_abs()..).unwrap_or_default();
    }
    Ok(())
}

/// `N` random bytes.
///
/// # Errors
/// As [`fill`].
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut out = [0; N];
    fill(&mut out)?;
    Ok(out)
}

/// 64 random bits.
///
/// # Errors
/// As [`fill`].
pub fn u64() -> io::Result<u64> {
    bytes().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_buffer_is_filled_and_never_twice_the_same() {
        let one: [u8; 4096] = bytes().unwrap();
        let two: [u8; 4096] = bytes().unwrap();
        assert_ne!(one, two);
        // 32 equal bytes in a row have a chance of about 2^-236.
        assert!(one.windows(32).all(|w| w.iter().any(|&b| b != w[0])));
        assert_ne!(u64().unwrap(), u64().unwrap());
        fill(&mut []).unwrap();
    }
}
