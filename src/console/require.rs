//! How many hosts a transfer has to reach.
#![forbid(unsafe_code)]

use std::fmt;

/// How many of the known hosts must take part in a transfer, and have everything in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Require {
    /// `all`: every one.
    All,
    /// A number: so many, at least.
    AtLeast(u64),
}

impl Require {
    /// Reads `all` or a number.
    pub fn parse(text: &str) -> Option<Require> {
        match text {
            "all" => Some(Require::All),
            _ if !text.bytes().all(|b| b.is_ascii_digit()) => None,
            _ => text.parse().ok().filter(|least| *least > 0).map(Require::AtLeast),
        }
    }
}

impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Require::All => f.write_str("all"),
            Require::AtLeast(least) => least.fmt(f),
        }
    }
}

/// How many targets must be ready for an atomic transfer to be committed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Quorum {
    /// All of them.
    #[default]
    All,
    /// So many, at least.
    AtLeast(u32),
    /// So many of a hundred, at least.
    Percent(u8),
}

impl Quorum {
    /// Reads `all`, a number, or a number with `%`.
    pub fn parse(text: &str) -> Option<Quorum> {
        let (digits, percent) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        match digits {
            "all" if !percent => Some(Quorum::All),
            _ if !digits.bytes().all(|b| b.is_ascii_digit()) => None,
            _ if percent => {
                digits.parse().ok().filter(|part| (1..=100).contains(part)).map(Quorum::Percent)
            }
            _ => digits.parse().ok().filter(|least| *least > 0).map(Quorum::AtLeast),
        }
    }

    /// How many of so many targets these are, at least one.
    pub fn of(self, targets: u32) -> u32 {
        match self {
            Quorum::All => targets,
            Quorum::AtLeast(least) => least,
            Quorum::Percent(part) => {
                (u64::from(targets) * u64::from(part)).div_ceil(100).max(1) as u32
            }
        }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quorum::All => f.write_str("all"),
            Quorum::AtLeast(least) => least.fmt(f),
            Quorum::Percent(part) => write!(f, "{part}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_all_a_number_or_a_part() {
        for (text, quorum, of_7) in [
            ("all", Quorum::All, 7),
            ("3", Quorum::AtLeast(3), 3),
            ("9", Quorum::AtLeast(9), 9),
            ("50%", Quorum::Percent(50), 4),
            ("1%", Quorum::Percent(1), 1),
            ("100%", Quorum::Percent(100), 7),
        ] {
            assert_eq!(Quorum::parse(text), Some(quorum), "{text}");
            assert_eq!((quorum.to_string().as_str(), quorum.of(7)), (text, of_7));
        }
        for bad in ["", "0", "0%", "101%", "%", "all%", "-1", "1.5%", "99999999999"] {
            assert_eq!(Quorum::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn all_or_a_number_that_says_something() {
        assert_eq!(Require::parse("all"), Some(Require::All));
        assert_eq!(Require::parse("12"), Some(Require::AtLeast(12)));
        for bad in ["", "0", "00", "-1", "+1", "All", "1 ", "99999999999999999999"] {
            assert_eq!(Require::parse(bad), None, "{bad}");
        }
        for text in ["all", "3"] {
            assert_eq!(
                Require::parse(text).map(|require| require.to_string()),
                Some(text.to_owned())
            );
        }
    }
}
