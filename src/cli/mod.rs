//! The options of both programs, as data.
//!
//! Each program has one table of [`Flag`]s. The parser, `--help` and the tests that compare the
//! manual pages all read that table, so they cannot disagree. Parsing has two stages: `Typed` is
//! what was typed; each program's `Config` is what that means, with every value checked.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fmt;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

pub mod daemon;
mod filter;
pub mod msync;
mod similar;
mod value;

pub use filter::{Filter, Text};
pub use similar::{did_you_mean, similar};

/// The UDP port of the group, and the TCP port of the console, unless an option says otherwise.
pub const DEFAULT_PORT: u16 = 5000;

/// One option of a program. Every option may be repeated; the last one wins, unless its text says
/// that they add up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flag {
    /// The one-letter name, without its dash.
    pub short: Option<char>,
    /// The long name, without its dashes; unique within a program.
    pub long: &'static str,
    /// What its value is called in the help; None for an option without a value.
    pub value: Option<&'static str>,
    /// One line for `--help`, without a full stop.
    pub help: &'static str,
    /// Whole sentences for the manual; may be empty when the one line says it all.
    pub more: &'static str,
}

impl Flag {
    /// How messages call it: `-p`, or `--timeout` if it has no letter.
    pub fn spelled(&self) -> String {
        match self.short {
            Some(letter) => format!("-{letter}"),
            None => format!("--{}", self.long),
        }
    }

    /// The left column of the help: `-p, --port PORT`.
    fn synopsis(&self) -> String {
        let mut text = match self.short {
            Some(letter) => format!("-{letter}, --{}", self.long),
            None => format!("    --{}", self.long),
        };
        if let Some(value) = self.value {
            text.push(' ');
            text.push_str(value);
        }
        text
    }
}

/// What a command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked<C> {
    /// To run, so configured.
    Run(C),
    /// To print this on standard output (help or version) and exit with 0.
    Print(String),
}

/// An invalid command line. Its text is for standard error, without the last newline: one line that
/// begins with the program's name, or the program's help. The exit status is 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// There are no arguments: the program's help.
    Nothing(String),
    /// An argument is wrong.
    Usage {
        /// The program.
        program: &'static str,
        /// What is wrong, and with what.
        why: String,
    },
}

impl Error {
    fn new(program: &'static str, why: impl fmt::Display) -> Self {
        Error::Usage { program, why: why.to_string() }
    }

    /// An invalid value of an option or an environment variable.
    fn bad_value(program: &'static str, name: &str, value: &OsStr, why: impl fmt::Display) -> Self {
        let shown = crate::name::Escaped(value.as_bytes());
        let between = if name.starts_with('-') { ' ' } else { '=' };
        Error::new(program, format_args!("{name}{between}{shown}: {why}"))
    }

    /// What is wrong, without the program's name.
    pub fn why(&self) -> &str {
        match self {
            Error::Nothing(_) => "nothing to do",
            Error::Usage { why, .. } => why,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Nothing(help) => f.write_str(help),
            Error::Usage { program, why } => write!(f, "{program}: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// The arguments, parsed by a table of flags; values are not interpreted yet.
struct Typed {
    matches: getopts::Matches,
}

impl Typed {
    /// Reads `args` (without the program's name). Options and words may be mixed; after `--` all
    /// are words.
    fn parse(
        program: &'static str,
        flags: &[Flag],
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, Error> {
        let mut options = getopts::Options::new();
        for flag in flags {
            let letter = flag.short.map(String::from).unwrap_or_default();
            match flag.value {
                Some(value) => options.optmulti(&letter, flag.long, "", value),
                None => options.optflagmulti(&letter, flag.long, ""),
            };
        }
        let args: Vec<String> = args.into_iter().map(|arg| widen(&arg)).collect();
        match options.parse(&args) {
            Ok(matches) => Ok(Typed { matches }),
            Err(fail) => Err(Error::new(program, explain(&fail, flags, &args))),
        }
    }

    fn count(&self, long: &str) -> usize {
        self.matches.opt_count(long)
    }

    fn has(&self, long: &str) -> bool {
        self.count(long) > 0
    }

    /// The last value given.
    fn last(&self, long: &str) -> Option<OsString> {
        self.all(long).pop()
    }

    fn all(&self, long: &str) -> Vec<OsString> {
        self.matches.opt_strs(long).iter().map(|text| narrow(text)).collect()
    }

    /// All values given, each with its place in the command line.
    fn all_at(&self, long: &str) -> Vec<(usize, OsString)> {
        let given = self.matches.opt_strs_pos(long);
        given.into_iter().map(|(at, text)| (at, narrow(&text))).collect()
    }

    /// The words that are no options, and how many of them came before a `--`.
    fn words(&self) -> (Vec<OsString>, usize) {
        let words: Vec<OsString> = self.matches.free.iter().map(|text| narrow(text)).collect();
        let before = self.matches.free_trailing_start().unwrap_or(words.len());
        (words, before)
    }
}

/// `getopts` accepts only text, but a path is bytes. Each byte becomes the character of the same
/// number; ASCII, which options consist of, stays the same.
fn widen(arg: &OsStr) -> String {
    arg.as_bytes().iter().map(|&byte| char::from(byte)).collect()
}

/// The inverse of [`widen`].
fn narrow(text: &str) -> OsString {
    OsString::from_vec(text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect())
}

fn explain(fail: &getopts::Fail, flags: &[Flag], args: &[String]) -> String {
    let spelled = |name: &str| {
        if let Some(flag) = flags.iter().find(|flag| flag.long == name) {
            return flag.spelled();
        }
        let dashes = if name.chars().count() == 1 { "-" } else { "--" };
        let name = narrow(name);
        format!("{dashes}{}", crate::name::Escaped(name.as_bytes()))
    };
    match fail {
        getopts::Fail::ArgumentMissing(name) => format!("{}: a value is missing", spelled(name)),
        getopts::Fail::UnexpectedArgument(name) => format!("{}: takes no value", spelled(name)),
        getopts::Fail::UnrecognizedOption(name) => {
            let longs = || flags.iter().map(|flag| flag.long);
            let letter = name.chars().count() == 1;
            // A long name after one dash was read as letters.
            let single = args.iter().take_while(|arg| *arg != "--").find_map(|arg| {
                let word = arg.strip_prefix('-').filter(|word| word.len() > 2 && letter)?;
                similar(word.split('=').next()?, longs()).filter(|_| word.contains(name.as_str()))
            });
            let meant = if letter { single } else { similar(name, longs()) };
            let meant = meant.map(|long| format!("--{long}"));
            format!("{}: no such option{}", spelled(name), did_you_mean(meant.as_deref()))
        }
        getopts::Fail::OptionMissing(name) => format!("{}: required", spelled(name)),
        getopts::Fail::OptionDuplicated(name) => format!("{}: given twice", spelled(name)),
    }
}

/// The help: `head`, a table of the flags, `tail`.
fn help(head: &str, flags: &[Flag], tail: &str) -> String {
    let column = flags.iter().map(|flag| flag.synopsis().len()).max().unwrap_or(0) + 2;
    let mut text = format!("{head}\nOptions:\n");
    for flag in flags {
        // A String takes any write.
        let _ = writeln!(text, "  {:column$}{}", flag.synopsis(), flag.help);
    }
    if !tail.is_empty() {
        text.push('\n');
        text.push_str(tail);
    }
    text
}

/// The version of a program, as `-V` prints it.
fn version(program: &str) -> String {
    format!("{program} {}\n", crate::VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_survives_the_way_through_the_parser() {
        let all: Vec<u8> = (1..=255).collect();
        let word = OsString::from_vec(all.clone());
        assert_eq!(narrow(&widen(&word)), word);
    }

    #[test]
    fn tables_are_well_formed() {
        for flags in [daemon::FLAGS, msync::FLAGS] {
            for (at, flag) in flags.iter().enumerate() {
                assert!(flag.long.len() > 1, "{flag:?}");
                assert!(
                    flag.long.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')),
                    "{flag:?}"
                );
                assert!(!flag.help.is_empty() && !flag.help.ends_with('.'), "{flag:?}");
                assert!(flag.more.is_empty() || flag.more.ends_with('.'), "{flag:?}");
                for other in &flags[..at] {
                    assert_ne!(flag.long, other.long);
                    assert!(flag.short.is_none() || flag.short != other.short, "{flag:?}");
                }
            }
        }
    }

    #[test]
    fn help_fits_a_terminal_and_names_every_flag() {
        for (text, flags) in [(daemon::help(), daemon::FLAGS), (msync::help(), msync::FLAGS)] {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
            for flag in flags {
                assert!(text.contains(&flag.synopsis()), "{flag:?}");
            }
        }
    }
}
