//! What patterns are held to, and why something is none.

use std::fmt;

/// The longest list of patterns.
pub const MAX_RULES: usize = 65_536;

/// The most bytes of all patterns of a list together.
pub const MAX_TEXT: usize = 4 << 20;

/// The longest pattern, in bytes.
pub const MAX_PATTERN: usize = 1_024;

/// The most sets in brackets in a whole list: a token can be one of these.
pub(super) const MAX_SETS: usize = 65_000;

/// Why bytes are no pattern, or patterns no list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PatternError {
    /// Nothing, or nothing but slashes.
    Empty,
    /// More than [`MAX_PATTERN`] bytes.
    TooLong,
    /// It ends in a backslash that has nothing to make ordinary.
    Backslash,
    /// More than [`MAX_RULES`] patterns.
    TooMany,
    /// More than [`MAX_TEXT`] bytes in all patterns together.
    TooMuch,
    /// The lists that share a budget have used it up.
    TooMuchTogether,
    /// More than 65,000 sets in brackets in all patterns together.
    TooManySets,
    /// It is a comment.
    Comment,
    /// It begins with what says, elsewhere, what is to be done with the rest.
    Rule,
    /// It begins with an exclamation mark.
    Exclamation,
    /// Two stars in a row.
    Stars,
    /// A bracket that is not closed before the next slash.
    Bracket,
    /// `[:name:]` of an unknown name, `[.x.]` or `[=x=]`.
    Class,
    /// A range of a set ends before it begins.
    Range,
    /// Alternatives in braces.
    Braces,
    /// A component that is a period.
    Dot,
    /// A component that is two periods.
    DotDot,
    /// It begins with a byte order mark.
    ByteOrderMark,
    /// It holds the byte 0, which is in no name.
    Nul,
    /// A line of a file begins or ends with a blank.
    Blank,
    /// A carriage return in a line of a file.
    CarriageReturn,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::Empty => f.write_str("empty pattern"),
            PatternError::TooLong => write!(f, "a pattern has at most {MAX_PATTERN} bytes"),
            PatternError::Backslash => f.write_str("a pattern cannot end in a backslash"),
            PatternError::TooMany => write!(f, "at most {MAX_RULES} patterns"),
            PatternError::TooMuch => {
                write!(f, "at most {} MiB of patterns", MAX_TEXT >> 20)
            }
            PatternError::TooMuchTogether => {
                f.write_str("all clients together have too many patterns: try again later")
            }
            PatternError::TooManySets => {
                write!(f, "at most {MAX_SETS} sets in brackets in all patterns")
            }
            PatternError::Comment => {
                f.write_str("there are no comments (a name that begins so takes a '\\' before it)")
            }
            PatternError::Rule => f.write_str(
                "a rule of another program: write the pattern alone (include is --include; a name \
                 that begins so takes a '\\' before it)",
            ),
            PatternError::Exclamation => f.write_str(
                "a leading '!' means nothing here (a name that begins so takes a '\\' before it)",
            ),
            PatternError::Stars => f.write_str(
                "'**' is no more than '*', which stands for no '/' (without a leading '/' a pattern \
                 matches at any depth)",
            ),
            PatternError::Bracket => f.write_str(
                "a '[' without its ']' before the next '/' (a name with one takes a '\\' before it)",
            ),
            PatternError::Class => f.write_str("no such class of characters in brackets"),
            PatternError::Range => f.write_str("a range in brackets ends before it begins"),
            PatternError::Braces => f.write_str(
                "braces mean nothing here: write one pattern for each (a name with braces and a \
                 comma takes a '\\' before its '{')",
            ),
            PatternError::Dot => f.write_str("'.' is part of no path: leave it out"),
            PatternError::DotDot => f.write_str("'..' is part of no path"),
            PatternError::ByteOrderMark => {
                f.write_str("it begins with a byte order mark: save the text as plain UTF-8")
            }
            PatternError::Nul => f.write_str("a NUL is in no name: is the text UTF-16?"),
            PatternError::Blank => f.write_str(
                "a blank at the beginning or the end (one that belongs to the name takes a '\\' \
                 before it)",
            ),
            PatternError::CarriageReturn => f.write_str(
                "a carriage return (one that belongs to the name takes a '\\' before it)",
            ),
        }
    }
}

impl std::error::Error for PatternError {}
