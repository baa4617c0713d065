//! Errors: as text lines for people and old clients, and as JSON objects with a code for programs.
//!
//! Every client gets the same text line. A client that has said `report on` gets a second line
//! after it: `error ` and a JSON object with the same error.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use super::json::{Value, quoted};
use crate::errno;
use crate::name::{HostName, RelPath};
use crate::wire::outcome::Reason;

/// The prefix of error lines, except those of the two constants below.
const ERROR: &str = "error:";

/// The prefix of lines about what `dsync` could not delete.
pub const DELETE_ERROR: &str = "delete error (";

/// The prefix of the answer to an unknown command; the command follows in single quotes.
pub const UNKNOWN: &str = "mexec: command error";

/// The suffix of lines about an unknown host. Old daemons do not put `error:` in front.
pub const UNKNOWN_HOST: &str = " is not contained in members";

/// The beginning of the error about an unknown group.
pub const UNKNOWN_GROUP: &str = "not found group ";

/// The error of a daemon that never sends.
pub const CANNOT_SEND: &str = "this server can't send";

/// The errors about a host that takes no further part, with their codes. (`pong time out` is one of
/// old daemons.)
pub const GONE: [(&str, Code); 4] = [
    ("receive time out", Code::Timeout),
    ("pong time out", Code::Timeout),
    ("member exit", Code::Left),
    ("receives control but no data: check MTU and firewall", Code::NoData),
];

/// Whether a line is an error line.
pub fn is_error(line: &[u8]) -> bool {
    [ERROR, DELETE_ERROR, UNKNOWN].iter().any(|start| line.starts_with(start.as_bytes()))
}

/// A path as a line shows it; the base directory is `.`.
pub(super) struct Shown<'a>(pub(super) &'a RelPath);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_base() { f.write_str(".") } else { fmt::Display::fmt(self.0, f) }
    }
}

/// The kind of an error. Its text form never changes, so programs can rely on it; msync(1) lists
/// all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// A system error by its number; the text form is its name (`ENOENT`).
    Os(u16),
    /// A command, option or value that is not understood.
    Usage,
    /// A command that the daemon does not know.
    UnknownCommand,
    /// A path that can never be sent.
    InvalidPath,
    /// A pattern that is not understood, or too many of them.
    InvalidPattern,
    /// A host lacks something that it is asked for.
    Behind,
    /// There are no members to send to or to compare with.
    NoMembers,
    /// `-t` names no member.
    UnknownHost,
    /// `-t` names a host that is away, or one that is known and is not served.
    Away,
    /// Not so many hosts have everything as `--require` says.
    Required,
    /// `-t` is the name of more than one member.
    AmbiguousHost,
    /// `-t` names a member that never receives.
    NeverReceives,
    /// `-g` names no group.
    UnknownGroup,
    /// The caller does not belong to the group that `-g` names.
    NotYourGroup,
    /// It is not known which user asks for `-g`.
    UnknownCaller,
    /// The daemon never sends.
    CannotSend,
    /// The path, or a directory that was not before, is empty on the sender, and `--force` was not given.
    EmptySource,
    /// What was a mount on the sender is none now, and `--force` was not given.
    NotMounted,
    /// More would be deleted than is allowed.
    TooMuchToDelete,
    /// Another host's transfer holds the path.
    Held,
    /// What is to be watched is watched already, here or on another host.
    Watched,
    /// It is mirrored: its equals say what is in it.
    Mirrored,
    /// What a link points to is not all there.
    Incomplete,
    /// The file system cannot exchange names, as all or nothing needs.
    NoExchange,
    /// A staged file does not contain what was sent.
    Damaged,
    /// It is not known there what became of an earlier transfer for all or none.
    InDoubt,
    /// With --atomic: not all targets could have it.
    NotAgreed,
    /// With --atomic and a quorum: the others have it, this host does not.
    LeftOut,
    /// With --atomic: some of it could not be put into place there.
    Mixed,
    /// A host, or the daemon, stopped answering.
    Timeout,
    /// A host has left the group.
    Left,
    /// Only small packets reach a host.
    NoData,
    /// A host is read-only.
    ReadOnly,
    /// A directory in the path is a symbolic link.
    LinkInPath,
    /// A non-empty directory stands in the place of something else.
    DirectoryInPlace,
    /// Something else stands in the place of a directory.
    NotADirectoryInPlace,
    /// `.makuosan` on a host does not belong to the daemon.
    StagingNotOurs,
    /// A host accepts no devices.
    DeviceRefused,
    /// The base directory of a host was replaced, and its daemon has to be restarted.
    BaseReplaced,
    /// The base directory of a host is not there.
    BaseMissing,
    /// The base directory of a host was replaced during the transfer.
    BaseChanged,
    /// The number of entries of a host that were not tried, for want of room.
    NotTried,
    /// Attributes that a host may not set, or cannot keep.
    NotSet,
    /// Two names are one entry on a host.
    SameName,
    /// A file kept changing while it was read.
    Changed,
    /// The number of errors of a host that were left out.
    MoreErrors,
    /// The daemon cannot be reached, and there is no system error that says why.
    Unreachable,
    /// The daemon refused the connection.
    Refused,
    /// The daemon requires a password.
    PasswordWanted,
    /// The daemon rejected the password.
    PasswordWrong,
    /// The daemon closed the connection.
    Lost,
    /// What answers is not a makuosan daemon.
    NotADaemon,
    /// The daemon is too old for the request.
    TooOld,
    /// Any other error.
    Other,
}

impl Code {
    /// Every code and its text form, except system errors.
    pub const ALL: &[(Code, &str)] = &[
        (Code::Usage, "usage"),
        (Code::UnknownCommand, "unknown_command"),
        (Code::InvalidPath, "invalid_path"),
        (Code::InvalidPattern, "invalid_pattern"),
        (Code::NoMembers, "no_members"),
        (Code::Behind, "behind"),
        (Code::UnknownHost, "unknown_host"),
        (Code::Away, "away"),
        (Code::Required, "required"),
        (Code::AmbiguousHost, "ambiguous_host"),
        (Code::NeverReceives, "never_receives"),
        (Code::UnknownGroup, "unknown_group"),
        (Code::NotYourGroup, "not_your_group"),
        (Code::UnknownCaller, "unknown_caller"),
        (Code::CannotSend, "cannot_send"),
        (Code::EmptySource, "empty_source"),
        (Code::NotMounted, "not_mounted"),
        (Code::TooMuchToDelete, "too_much_to_delete"),
        (Code::Held, "held"),
        (Code::Watched, "watched"),
        (Code::Mirrored, "mirrored"),
        (Code::Incomplete, "incomplete"),
        (Code::NoExchange, "no_exchange"),
        (Code::Damaged, "damaged"),
        (Code::InDoubt, "in_doubt"),
        (Code::NotAgreed, "not_agreed"),
        (Code::LeftOut, "left_out"),
        (Code::Mixed, "mixed"),
        (Code::Timeout, "timeout"),
        (Code::Left, "left"),
        (Code::NoData, "no_data"),
        (Code::ReadOnly, "read_only"),
        (Code::LinkInPath, "link_in_path"),
        (Code::DirectoryInPlace, "directory_in_place"),
        (Code::NotADirectoryInPlace, "not_a_directory_in_place"),
        (Code::StagingNotOurs, "staging_not_ours"),
        (Code::DeviceRefused, "device_refused"),
        (Code::BaseReplaced, "base_replaced"),
        (Code::BaseMissing, "base_missing"),
        (Code::BaseChanged, "base_changed"),
        (Code::NotTried, "not_tried"),
        (Code::NotSet, "not_set"),
        (Code::SameName, "same_name"),
        (Code::Changed, "changed"),
        (Code::MoreErrors, "more_errors"),
        (Code::Unreachable, "unreachable"),
        (Code::Refused, "refused"),
        (Code::PasswordWanted, "password_wanted"),
        (Code::PasswordWrong, "password_wrong"),
        (Code::Lost, "lost"),
        (Code::NotADaemon, "not_a_daemon"),
        (Code::TooOld, "too_old"),
        (Code::Other, "other"),
    ];

    /// The code of a system error.
    pub fn of_io(error: &io::Error) -> Code {
        let number = error.raw_os_error().and_then(|number| u16::try_from(number).ok());
        let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<Reason>());
        number.map(Code::Os).or(reason.map(|reason| (*reason).into())).unwrap_or(Code::Other)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = if let Code::Os(number) = self { errno::name(*number) } else { None } {
            return f.write_str(name);
        }
        let found = Self::ALL.iter().find(|(code, _)| code == self);
        f.write_str(found.map_or("other", |(_, name)| name))
    }
}

impl From<Reason> for Code {
    fn from(reason: Reason) -> Code {
        match reason {
            Reason::Os(number) => Code::Os(number),
            Reason::LinkInPath => Code::LinkInPath,
            Reason::DirectoryInPlace => Code::DirectoryInPlace,
            Reason::NotADirectoryInPlace => Code::NotADirectoryInPlace,
            Reason::ReadOnly => Code::ReadOnly,
            Reason::Changed | Reason::Restless => Code::Changed,
            Reason::Held => Code::Held,
            Reason::StagingNotOurs => Code::StagingNotOurs,
            Reason::DeviceRefused => Code::DeviceRefused,
            Reason::BaseReplaced => Code::BaseReplaced,
            Reason::BaseMissing => Code::BaseMissing,
            Reason::BaseChanged => Code::BaseChanged,
            Reason::NotTried => Code::NotTried,
            Reason::Watched => Code::Watched,
            Reason::Mirrored => Code::Mirrored,
            Reason::Incomplete => Code::Incomplete,
            Reason::NoExchange => Code::NoExchange,
            Reason::Damaged => Code::Damaged,
            Reason::InDoubt => Code::InDoubt,
            Reason::SameName(_) => Code::SameName,
            Reason::Unknown(_) => Code::Other,
        }
    }
}

/// An error in the form for programs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ErrorReport {
    /// The host it happened on; empty for the sending host, or if it is not about a host.
    pub host: String,
    /// The path it is about, escaped by [`crate::name::Escaped`]; empty if there is none.
    pub path: String,
    /// The text for people.
    pub error: String,
    /// The text form of a [`Code`], perhaps of one that only a newer daemon knows; empty if the
    /// daemon is too old to send codes.
    pub code: String,
}

impl ErrorReport {
    /// An error that is not about a host or a path.
    pub fn new(code: Code, error: impl fmt::Display) -> ErrorReport {
        ErrorReport { error: error.to_string(), code: code.to_string(), ..ErrorReport::default() }
    }

    /// The same, about a path.
    #[must_use]
    pub fn of_path(self, path: impl fmt::Display) -> ErrorReport {
        ErrorReport { path: path.to_string(), ..self }
    }

    /// The same, about a host.
    #[must_use]
    pub fn of_host(self, host: impl fmt::Display) -> ErrorReport {
        ErrorReport { host: host.to_string(), ..self }
    }

    /// Whether it has this code.
    pub fn is(&self, code: Code) -> bool {
        self.code == code.to_string()
    }

    /// Whether a path was refused as such, and on no other host.
    pub fn is_about_argument(&self) -> bool {
        self.host.is_empty() && (self.is(Code::LinkInPath) || self.is(Code::InvalidPath))
    }

    /// The number of bytes in its texts.
    pub fn size(&self) -> usize {
        self.host.len() + self.path.len() + self.error.len() + self.code.len()
    }

    /// As a JSON object for the list of a host's errors.
    pub fn json(&self) -> String {
        format!("{{{}}}", self.members())
    }

    /// As a JSON object on a line of its own.
    pub fn json_line(&self) -> String {
        format!("{{\"type\":\"error\",{}}}", self.members())
    }

    fn members(&self) -> String {
        let (path, error) = (quoted(&self.path), quoted(&self.error));
        let (host, code) = (quoted(&self.host), quoted(&self.code));
        format!("\"path\":{path},\"error\":{error},\"host\":{host},\"code\":{code}")
    }

    /// The line that follows the text line.
    pub fn emit(&self) -> String {
        format!("{MARK}{}", self.json_line())
    }

    /// Reads that line; None if it is another.
    pub fn parse(line: &[u8]) -> Option<ErrorReport> {
        let text = std::str::from_utf8(line).ok()?.strip_prefix(MARK)?;
        let value = Value::parse(text)?;
        value.get("error")?;
        Some(ErrorReport::read(&value))
    }

    /// Reads an object; what is missing is empty.
    pub fn read(value: &Value) -> ErrorReport {
        let text = |name| value.get(name).and_then(Value::text).unwrap_or_default().to_owned();
        ErrorReport {
            host: text("host"),
            path: text("path"),
            error: text("error"),
            code: text("code"),
        }
    }
}

/// The prefix of a line with an error in JSON.
const MARK: &str = "error ";

/// An error as a line of the console and in the form for programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorLine {
    line: String,
    /// The form for programs.
    pub report: ErrorReport,
}

impl ErrorLine {
    /// An error whose line is only its text.
    pub fn new(code: Code, error: impl fmt::Display) -> ErrorLine {
        let report = ErrorReport::new(code, error);
        ErrorLine { line: format!("{ERROR} {}", report.error), report }
    }

    /// The same; its text names the host and the path already.
    #[must_use]
    pub fn about(self, host: impl fmt::Display, path: impl fmt::Display) -> ErrorLine {
        ErrorLine { report: self.report.of_host(host).of_path(path), ..self }
    }

    /// An error with a path on the sender.
    pub fn here(path: impl fmt::Display, code: Code, why: impl fmt::Display) -> ErrorLine {
        let report = ErrorReport::new(code, why).of_path(path);
        ErrorLine { line: format!("{ERROR} {} {}", report.error, report.path), report }
    }

    /// The same for a path below the base directory.
    pub fn of_path(path: &RelPath, reason: Reason) -> ErrorLine {
        ErrorLine::here(Shown(path), reason.into(), reason)
    }

    /// An error with a path on a host.
    pub fn on(host: &HostName, path: &RelPath, reason: Reason) -> ErrorLine {
        ErrorLine::refused(host, Shown(path), reason)
    }

    /// On a host `path` is the same entry as `other`, if that is known.
    pub fn same_name(host: &HostName, path: &RelPath, other: Option<&RelPath>) -> ErrorLine {
        let error = ErrorLine::on(host, path, Reason::SameName(0));
        let Some(other) = other else { return error };
        let why = format!("Same name there as {other}");
        let line = format!("{ERROR} {why} {host}:{}", error.report.path);
        ErrorLine { line, report: ErrorReport { error: why, ..error.report } }
    }

    /// A host takes no further part; `path`, where that happened, is escaped already.
    pub fn refused(host: &HostName, path: impl fmt::Display, reason: Reason) -> ErrorLine {
        let report = ErrorReport::new(reason.into(), reason).of_host(host).of_path(path);
        ErrorLine { line: format!("{ERROR} {} {host}:{}", report.error, report.path), report }
    }

    /// An error that another host has told of; its texts are escaped already.
    pub fn told(host: &HostName, path: &str, code: &str, error: &str) -> ErrorLine {
        let report = ErrorReport {
            host: host.to_string(),
            path: path.to_owned(),
            error: error.to_owned(),
            code: code.to_owned(),
        };
        let line = match path {
            "" => format!("{ERROR} {error}: {host}"),
            path => format!("{ERROR} {error} {host}:{path}"),
        };
        ErrorLine { line, report }
    }

    /// From `dsync`: a host's copy could not be deleted.
    pub fn not_deleted(host: &HostName, path: &RelPath, reason: Reason) -> ErrorLine {
        let report = ErrorReport::new(reason.into(), reason).of_host(host).of_path(Shown(path));
        ErrorLine {
            line: format!("{DELETE_ERROR}{}) {host}:{}", report.error, report.path),
            report,
        }
    }

    /// A host takes no further part, for one of the reasons in [`GONE`].
    pub fn gone(host: &HostName, address: Ipv4Addr, code: Code) -> ErrorLine {
        let why = GONE.iter().find(|(_, known)| *known == code).map_or("gone", |(why, _)| why);
        let report = ErrorReport::new(code, why).of_host(host);
        ErrorLine { line: format!("{ERROR} {}: {address}({host})", report.error), report }
    }

    /// `-t` names no member; `host` is escaped already.
    pub fn unknown_host(host: &str) -> ErrorLine {
        let error = ErrorLine::new(Code::UnknownHost, format_args!("{host}{UNKNOWN_HOST}"));
        error.about(host, "")
    }

    /// `-g` names no group; `name` is escaped already.
    pub fn unknown_group(name: &str) -> ErrorLine {
        ErrorLine::new(Code::UnknownGroup, format_args!("{UNKNOWN_GROUP}{name}"))
    }

    /// The daemon never sends.
    pub fn cannot_send() -> ErrorLine {
        ErrorLine::new(Code::CannotSend, CANNOT_SEND)
    }

    /// There is no such command; `name` is escaped already.
    pub fn unknown_command(name: impl fmt::Display) -> ErrorLine {
        let report = ErrorReport::new(Code::UnknownCommand, format_args!("{UNKNOWN} '{name}'"));
        ErrorLine { line: report.error.clone(), report }
    }

    /// The line, without a newline.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The line without its `error:` prefix.
    pub fn text(&self) -> &str {
        self.line.strip_prefix(ERROR).map_or(&*self.line, str::trim_start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_clients_parse() {
        let host = HostName::parse(b"web1").unwrap();
        let path = RelPath::parse(b"a/b\n").unwrap();
        let denied = Reason::Os(errno::EACCES);
        let code = Code::from(denied);
        for (error, line, json) in [
            (
                ErrorLine::on(&host, &path, denied),
                "error: Permission denied web1:a/b\\012",
                r#""path":"a/b\\012","error":"Permission denied","host":"web1","code":"EACCES""#,
            ),
            (
                ErrorLine::here(Shown(&path), code, denied),
                "error: Permission denied a/b\\012",
                r#""path":"a/b\\012","error":"Permission denied","host":"","code":"EACCES""#,
            ),
            (
                ErrorLine::here(Shown(&RelPath::base()), code, denied),
                "error: Permission denied .",
                r#""path":".","error":"Permission denied","host":"","code":"EACCES""#,
            ),
            (
                ErrorLine::not_deleted(&host, &path, Reason::Os(errno::ENOTEMPTY)),
                "delete error (Directory not empty) web1:a/b\\012",
                r#""path":"a/b\\012","error":"Directory not empty","host":"web1","code":"ENOTEMPTY""#,
            ),
            (
                ErrorLine::gone(&host, [10, 0, 0, 1].into(), Code::Timeout),
                "error: receive time out: 10.0.0.1(web1)",
                r#""path":"","error":"receive time out","host":"web1","code":"timeout""#,
            ),
            (
                ErrorLine::same_name(&host, &path, Some(&RelPath::parse(b"a/B").unwrap())),
                "error: Same name there as a/B web1:a/b\\012",
                r#""path":"a/b\\012","error":"Same name there as a/B","host":"web1","code":"same_name""#,
            ),
            (
                ErrorLine::unknown_host("x"),
                "error: x is not contained in members",
                r#""path":"","error":"x is not contained in members","host":"x","code":"unknown_host""#,
            ),
            (
                ErrorLine::unknown_command("x"),
                "mexec: command error 'x'",
                r#""path":"","error":"mexec: command error 'x'","host":"","code":"unknown_command""#,
            ),
        ] {
            assert_eq!(error.line(), line);
            assert!(is_error(line.as_bytes()));
            assert_eq!(error.text(), line.strip_prefix("error: ").unwrap_or(line));
            let json_line = format!("error {{\"type\":\"error\",{json}}}");
            assert_eq!(error.report.emit(), json_line);
            assert_eq!(error.report.json(), format!("{{{json}}}"));
            assert_eq!(ErrorReport::parse(json_line.as_bytes()), Some(error.report));
        }
    }

    #[test]
    fn other_lines_are_no_errors() {
        for other in ["update a:b", " error: x", "error {}", "mexec", "> error:", ""] {
            assert!(!is_error(other.as_bytes()), "{other}");
        }
        for other in ["error: x", "error ", "error x", "error {}", "error {\"error\":\"x\"", ""] {
            assert_eq!(ErrorReport::parse(other.as_bytes()), None, "{other}");
        }
        let new =
            ErrorReport::parse(b"error {\"error\":\"x\",\"code\":\"new\",\"since\":[1]}").unwrap();
        assert_eq!((new.error.as_str(), new.code.as_str(), new.size()), ("x", "new", 4));
    }

    #[test]
    fn every_code_has_a_text_of_its_own() {
        for (at, (code, text)) in Code::ALL.iter().enumerate() {
            assert_eq!(code.to_string(), *text);
            assert!(Code::ALL[..at].iter().all(|(_, other)| other != text), "{text}");
            assert!(text.bytes().all(|b| b == b'_' || b.is_ascii_lowercase()), "{text}");
        }
        assert_eq!(Code::Os(errno::ENOENT).to_string(), "ENOENT");
        assert_eq!(Code::Os(4_000).to_string(), "other");
        assert_eq!(Code::of_io(&io::Error::other("x")), Code::Other);
        let same = Reason::SameName(1);
        assert_ne!(Code::from(same), Code::Other);
        assert!(Reason::OWN.iter().all(|&reason| Code::from(reason) != Code::Other));
    }
}
