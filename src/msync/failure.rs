//! Why the client ends early.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;

use super::input::InputError;
use super::line::LineError;
use super::link::LinkError;
use super::place::PlaceError;
use crate::cli::Text;
use crate::cli::did_you_mean;
use crate::cli::msync::Target;
use crate::console::error::{Code, ErrorReport};
use crate::errno::ErrorText;
use crate::name::Escaped;

/// Why the client ends early, always with [`super::status::UNUSABLE`].
#[derive(Debug)]
pub enum Failure {
    /// A file that is needed before connecting cannot be used.
    Input(InputError),
    /// There is no connection.
    Connect(io::Error),
    /// The connection failed.
    Link(LinkError),
    /// The daemon did not start with a prompt; what it said was shown.
    Refused,
    /// The daemon requires a password, and there is none.
    NoPassword,
    /// The daemon rejected the password.
    WrongPassword,
    /// A path that is not one below the base directory, as typed.
    Place(Vec<u8>, PlaceError),
    /// The base directory itself, without `-r`; as typed.
    WholeBase(Vec<u8>),
    /// A path that cannot be sent to this daemon as part of a command.
    Path(Vec<u8>, LineError),
    /// A pattern that the daemon rejected, and its answer.
    Pattern(Vec<u8>, String),
    /// The list of paths is refused, and why.
    List(String),
    /// The daemon is too old for this option.
    TooOld(&'static str),
    /// The script cannot be read.
    Script(Text, io::Error),
    /// A pattern in this line of the script was refused; the reason was shown.
    ScriptPattern(Text, u64),
    /// The first word is no command, and no file either; the command that may be meant.
    NoCommand(Vec<u8>, &'static str),
    /// The command is also the name of a file here, and was not one in earlier versions.
    AlsoFile(&'static str),
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Failure::Link(error)
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Failure::Input(error)
    }
}

impl Failure {
    /// The error in the form for programs.
    pub fn report(&self, target: &Target) -> ErrorReport {
        let report = ErrorReport::new(self.code(), self.text(target));
        match self {
            Failure::Place(path, _) | Failure::WholeBase(path) | Failure::Path(path, _) => {
                report.of_path(Escaped(path))
            }
            _ => report,
        }
    }

    /// The message for the user.
    pub fn text<'a>(&'a self, target: &'a Target) -> impl fmt::Display + 'a {
        Words { failure: self, target }
    }

    fn code(&self) -> Code {
        match self {
            Failure::Input(error) => error.code(),
            Failure::Connect(error) => match Code::of_io(error) {
                Code::Other => Code::Unreachable,
                code => code,
            },
            Failure::Link(error) => error.code(),
            Failure::Refused => Code::Refused,
            Failure::NoPassword => Code::PasswordWanted,
            Failure::WrongPassword => Code::PasswordWrong,
            Failure::Place(..) | Failure::WholeBase(_) => Code::InvalidPath,
            Failure::Path(_, error) => error.code(),
            Failure::Pattern(..) | Failure::ScriptPattern(..) => Code::InvalidPattern,
            Failure::NoCommand(..) | Failure::AlsoFile(_) | Failure::List(_) => Code::Usage,
            Failure::TooOld(_) => Code::TooOld,
            Failure::Script(_, error) => Code::of_io(error),
        }
    }
}

struct Words<'a> {
    failure: &'a Failure,
    target: &'a Target,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target;
        match self.failure {
            Failure::Input(error) => error.fmt(f),
            Failure::Connect(error) => {
                write!(f, "cannot reach the daemon at {target}: {}", ErrorText(error))?;
                // Nobody listens, or there is no socket.
                let absent = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
                let absent = error.raw_os_error().is_some() && absent.contains(&error.kind());
                f.write_str(if absent { ": is makuosan running?" } else { "" })
            }
            Failure::Link(error) => write!(f, "lost the daemon at {target}: {error}"),
            Failure::Refused => write!(f, "the daemon at {target} refused"),
            Failure::List(why) => write!(f, "--files-from: {why}"),
            Failure::NoPassword => {
                write!(f, "the daemon at {target} wants a password (-K FILE)")
            }
            Failure::WrongPassword => {
                write!(f, "the daemon at {target} rejects the password of -K")
            }
            Failure::Place(path, why) => write!(f, "{}: {why}", Escaped(path)),
            Failure::WholeBase(path) => {
                write!(f, "{}: the base directory itself needs -r", Escaped(path))
            }
            Failure::Path(path, why) => write!(f, "{}: {why}", Escaped(path)),
            Failure::Pattern(pattern, why) => {
                let pattern = Escaped(pattern);
                write!(f, "the daemon at {target} rejects the pattern {pattern}: {why}")
            }
            Failure::TooOld(option) => write!(f, "the daemon at {target} is too old for {option}"),
            Failure::Script(script, error) => write!(f, "-f {script}: {}", ErrorText(error)),
            Failure::ScriptPattern(script, number) => {
                write!(f, "-f {script}: line {number}: stopped at a pattern that was refused")
            }
            Failure::NoCommand(word, meant) => {
                let meant = did_you_mean(Some(meant));
                write!(f, "{}: no such command, and no such file{meant}", Escaped(word))
            }
            Failure::AlsoFile(word) => write!(
                f,
                "{word}: a command, and a file here: ./{word} is the file; the command can be called from \
                 another directory"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno;

    #[test]
    fn failures_in_words_and_as_codes() {
        let target = Target::default();
        let refused = io::Error::from_raw_os_error(errno::ECONNREFUSED.into());
        let told = |failure: Failure| {
            let report = failure.report(&target);
            assert_eq!(report.error, failure.text(&target).to_string());
            (report.error, report.path, report.code)
        };
        let (error, _, code) = told(Failure::Connect(refused));
        assert_eq!(
            error,
            "cannot reach the daemon at tcp:127.0.0.1:5000: Connection refused: is makuosan running?"
        );
        assert_eq!(code, "ECONNREFUSED");
        assert_eq!(told(Failure::Connect(io::Error::other("x"))).2, "unreachable");
        let (error, path, code) = told(Failure::WholeBase(b".".to_vec()));
        assert_eq!((path.as_str(), code.as_str()), (".", "invalid_path"));
        assert_eq!(error, ".: the base directory itself needs -r");
    }
}
