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

#[cfg(test)]
mod tests {
    use super::*;

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
