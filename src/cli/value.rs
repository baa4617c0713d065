//! Parsing values of options.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::ops::RangeInclusive;

/// A decimal number within `range`; None for anything else, including signs and spaces.
pub fn number(value: &OsStr, range: RangeInclusive<u64>) -> Option<u64> {
    let text = value.to_str()?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| range.contains(number))
}

/// A number of bytes within `range`, optionally followed by `k`, `m` or `g` (2^10, 2^20, 2^30).
pub fn bytes(value: &OsStr, range: RangeInclusive<u64>) -> Option<u64> {
    let text = value.to_str()?;
    let (digits, unit) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (&text[..text.len() - 1], 1 << 10),
        b'm' => (&text[..text.len() - 1], 1 << 20),
        b'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    number(OsStr::new(digits), 0..=u64::MAX)?
        .checked_mul(unit)
        .filter(|number| range.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_within_a_range() {
        assert_eq!(number(OsStr::new("16"), 1..=16), Some(16));
        for bad in ["", "0", "17", "+1", "-1", " 1", "1x", "99999999999999999999"] {
            assert_eq!(number(OsStr::new(bad), 1..=16), None, "{bad}");
        }
    }

    #[test]
    fn byte_counts_take_a_suffix() {
        let read = |text: &str| bytes(OsStr::new(text), 1..=1 << 40);
        assert_eq!(read("100"), Some(100));
        assert_eq!(read("8m"), Some(8 << 20));
        assert_eq!(read("64K"), Some(64 << 10));
        assert_eq!(read("1g"), Some(1 << 30));
        for bad in ["", "k", "0", "1t", "1.5m", "99999999999g", "é", "-1k"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
