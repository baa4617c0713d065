//! The options of the client, `msync`.
//!
//! Two spellings mean the same: `msync send -r dir`, and the older `msync -r dir`, where the
//! command is `send` unless `--members` or `--status` says otherwise. The first word is a command
//! if it is one of [`COMMANDS`] or [`RESERVED`]; a file of such a name is `./send`, or comes after
//! `--`.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{Asked, DEFAULT_PORT, Error, Typed, value};
use crate::name::{Escaped, HostName, HostNameError};

mod flags;

pub use flags::{COMMANDS, FLAGS, RESERVED};

const PROGRAM: &str = "msync";

/// The variable of the environment that names the daemon when `-c` does not.
pub const VARIABLE: &str = "MSYNC_TARGET";

/// Where the daemon's console is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A host by name or address, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Reads `tcp:HOST:PORT`, `tcp:HOST`, `tcp:[IPV6]:PORT`, `unix:PATH` or a bare path.
    /// None for an empty host or path, or a bad port.
    pub fn parse(text: &OsStr) -> Option<Target> {
        let bytes = text.as_bytes();
        let Some(place) = bytes.strip_prefix(b"tcp:") else {
            let path = OsStr::from_bytes(bytes.strip_prefix(b"unix:").unwrap_or(bytes));
            return (!path.is_empty()).then(|| Target::Unix(PathBuf::from(path)));
        };
        let place = std::str::from_utf8(place).ok()?;
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => match rest.split_once(']')? {
                (host, "") => (host, None),
                (host, port) => (host, Some(port.strip_prefix(':')?)),
            },
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = match port {
            Some(port) => value::number(OsStr::new(port), 1..=65_535)?.try_into().ok()?,
            None => DEFAULT_PORT,
        };
        (!host.is_empty()).then(|| Target::Tcp(host.to_owned(), port))
    }
}

impl Default for Target {
    fn default() -> Self {
        Target::Tcp("127.0.0.1".to_owned(), DEFAULT_PORT)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(host, port) if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Target::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
            Target::Unix(path) => write!(f, "unix:{}", Escaped(path.as_os_str().as_bytes())),
        }
    }
}

/// What to have the daemon do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Send files.
    Send(Send),
    /// List the members.
    Members,
    /// Show the daemon's state.
    Status,
}

/// What to send, and to whom.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Send {
    /// `-r`.
    pub recursive: bool,
    /// `-n`.
    pub dry_run: bool,
    /// `-t`, as often as given; empty for every member.
    pub hosts: Vec<HostName>,
    /// As typed; empty (with `-r`) for the whole base directory.
    pub paths: Vec<Vec<u8>>,
}

/// When to show progress and a summary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Show {
    /// `-q`: never, and no normal lines of a send either.
    Quiet,
    /// `--no-progress`: no progress; the summary as with [`Show::Auto`].
    NoProgress,
    /// On a terminal; the summary also with `-v`.
    Auto,
    /// `--progress`: always.
    Progress,
}

/// How the client is to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where the daemon is.
    pub target: Target,
    /// What to do.
    pub command: Command,
    /// 0 to 9: which lines the daemon shows.
    pub loglevel: u8,
    /// Whether `-v` or `-l 1` and above was given.
    pub verbose: bool,
    /// Progress and summary.
    pub show: Show,
}

/// Reads the arguments (without the program's name) and [`VARIABLE`].
///
/// # Errors
/// The first thing wrong, in one line; the whole help if there is no argument.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Asked<Config>, Error> {
    let mut args = args.into_iter().peekable();
    if args.peek().is_none() {
        return Err(Error(help().trim_end().to_owned()));
    }
    let typed = Typed::parse(PROGRAM, FLAGS, args)?;
    if typed.has("help") {
        return Ok(Asked::Print(help()));
    }
    if typed.has("version") {
        return Ok(Asked::Print(super::version(PROGRAM)));
    }
    let target = match (typed.last("connect"), env(VARIABLE).filter(|text| !text.is_empty())) {
        (Some(text), _) => read_target("-c", &text)?,
        (None, Some(text)) => read_target(VARIABLE, &text)?,
        (None, None) => Target::default(),
    };
    let quiet = typed.has("quiet");
    let loglevel = match typed.last("loglevel") {
        Some(text) => value::number(&text, 0..=9)
            .ok_or_else(|| Error::bad_value(PROGRAM, "-l", &text, "a log level is 0 to 9"))?,
        None => typed.count("verbose").min(9) as u64,
    };
    let loglevel = if quiet { 0 } else { loglevel as u8 };
    Ok(Asked::Run(Config {
        target,
        command: command(&typed)?,
        loglevel,
        verbose: loglevel > 0,
        show: match () {
            () if quiet => Show::Quiet,
            () if typed.has("no-progress") => Show::NoProgress,
            () if typed.has("progress") => Show::Progress,
            () => Show::Auto,
        },
    }))
}

/// What `--help` prints.
pub fn help() -> String {
    let head = "Usage: msync [OPTIONS] send [OPTIONS] [PATH...]\n\
                \x20      msync [OPTIONS] members | status\n\
                \x20      msync [OPTIONS] [PATH...]      (send)\n\
                Has the daemon of this host send files to every member of its group. PATH is\n\
                relative to the daemon's base directory; else, if there is no such thing, to\n\
                the current directory, if that is below the base; or absolute, below the base.\n";
    let mut commands = String::from("\nCommands:\n");
    for (name, text) in COMMANDS {
        commands.push_str(&format!("  {name:8} {text}\n"));
    }
    let tail = "A file called like a command is ./send, or comes after --.\n\
                Exit status: 0 everything is everywhere; 1 wrong usage or no daemon;\n\
                2 something failed on some host, or there is no member to send to.\n";
    super::help(&format!("{head}{commands}"), FLAGS, tail)
}

fn read_target(name: &str, text: &OsStr) -> Result<Target, Error> {
    Target::parse(text).ok_or_else(|| {
        Error::bad_value(PROGRAM, name, text, "a target is tcp:HOST, tcp:HOST:PORT or unix:PATH")
    })
}

/// The command, from the first word or from `--members` and `--status`, with its options.
fn command(typed: &Typed) -> Result<Command, Error> {
    let (mut words, before) = typed.words();
    let first = words.first().filter(|_| before > 0).and_then(|word| word.to_str());
    let named = first.filter(|word| COMMANDS.iter().any(|(name, _)| name == word));
    if let Some(word) = first.filter(|word| RESERVED.contains(word)) {
        let why = format!("{word}: this version has no such command (a file is ./{word})");
        return Err(Error::new(PROGRAM, why));
    }
    let mut commands: Vec<String> = named.iter().map(|&word| word.to_owned()).collect();
    commands.extend(["members", "status"].iter().filter(|f| typed.has(f)).map(|&f| f.to_owned()));
    if named.is_some() {
        words.remove(0);
    }
    let name = match commands.as_slice() {
        [] => "send",
        [one] => one.as_str(),
        [one, other, ..] if one == other => one.as_str(),
        [one, other, ..] => {
            return Err(Error::new(
                PROGRAM,
                format_args!("{one} and {other}: one command, please"),
            ));
        }
    };
    if name == "send" {
        return send(typed, words).map(Command::Send);
    }
    for long in ["host", "recursive", "dry-run"] {
        if let Some(flag) = FLAGS.iter().find(|flag| flag.long == long && typed.has(long)) {
            let why = format!("{}: not an option of {name}", flag.spelled());
            return Err(Error::new(PROGRAM, why));
        }
    }
    match (words.first(), name) {
        (Some(word), _) => {
            let shown = Escaped(word.as_bytes());
            Err(Error::new(PROGRAM, format_args!("{shown}: {name} takes no path")))
        }
        (None, "members") => Ok(Command::Members),
        (None, _) => Ok(Command::Status),
    }
}

fn send(typed: &Typed, words: Vec<OsString>) -> Result<Send, Error> {
    let mut hosts = Vec::new();
    for host in typed.all("host") {
        match HostName::parse(host.as_bytes()) {
            Ok(name) if hosts.contains(&name) => {}
            Ok(name) => hosts.push(name),
            Err(HostNameError) => {
                return Err(Error::bad_value(PROGRAM, "-t", &host, HostNameError));
            }
        }
    }
    let recursive = typed.has("recursive");
    let missing = words.is_empty() || words.iter().any(|word| word.is_empty());
    if missing && !recursive {
        return Err(Error::new(
            PROGRAM,
            "send: a PATH is missing (the whole base directory is -r)",
        ));
    }
    Ok(Send {
        recursive,
        dry_run: typed.has("dry-run"),
        hosts,
        paths: words.into_iter().map(std::os::unix::ffi::OsStringExt::into_vec).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn run(args: &[&str]) -> Result<Asked<Config>, Error> {
        parse(args.iter().map(OsString::from), |_| None)
    }

    fn config(args: &[&str]) -> Config {
        match run(args) {
            Ok(Asked::Run(config)) => config,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    fn sent(args: &[&str]) -> Send {
        match config(args).command {
            Command::Send(send) => send,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    fn error(args: &[&str]) -> String {
        run(args).unwrap_err().to_string()
    }

    #[test]
    fn every_option_of_the_table_does_something_by_both_names() {
        let plain = config(&["-r"]);
        for flag in FLAGS {
            let value = match flag.long {
                "connect" => Some("tcp:a"),
                "host" => Some("web1"),
                "loglevel" => Some("3"),
                _ => None,
            };
            assert_eq!(flag.value.is_some(), value.is_some(), "{flag:?}");
            let go = |name: String| {
                // What every command takes, and what makes a send valid.
                let given = ["members", "status"].contains(&flag.long);
                let rest = if given { None } else { Some("x") };
                let args = [Some(name.as_str()), value, rest];
                run(&args.into_iter().flatten().collect::<Vec<_>>())
            };
            let given = ["members", "status", "recursive"].contains(&flag.long);
            let without = if given { plain.clone() } else { config(&["x"]) };
            let asked = go(format!("--{}", flag.long)).unwrap();
            assert_ne!(asked, Asked::Run(without), "{flag:?}");
            if let Some(letter) = flag.short {
                assert_eq!(go(format!("-{letter}")).unwrap(), asked, "{flag:?}");
            }
        }
    }

    #[test]
    fn both_spellings_mean_the_same() {
        assert_eq!(config(&["send", "-r", "dir"]), config(&["-r", "dir"]));
        assert_eq!(config(&["-r", "send", "dir"]), config(&["-r", "dir"]));
        assert_eq!(config(&["-t", "host3", "send", "-r"]), config(&["-r", "-t", "host3"]));
        assert_eq!(config(&["members"]), config(&["--members"]));
        assert_eq!(config(&["status"]).command, Command::Status);
        assert_eq!(config(&["--status", "status"]).command, Command::Status);
        assert_eq!(sent(&["index.html"]).paths, [b"index.html"]);
        assert_eq!(sent(&["send", "a", "b"]).paths, [b"a", b"b"]);
    }

    #[test]
    fn a_file_may_be_called_like_a_command() {
        assert_eq!(sent(&["./send"]).paths, [b"./send"]);
        assert_eq!(sent(&["--", "send"]).paths, [b"send"]);
        assert_eq!(sent(&["send", "--", "-x", "status"]).paths, [&b"-x"[..], b"status"]);
        assert_eq!(sent(&["send", "send"]).paths, [b"send"]);
        assert_eq!(
            error(&["check", "-r"]),
            "msync: check: this version has no such command (a file is ./check)"
        );
        assert_eq!(sent(&["./check"]).paths, [b"./check"]);
    }

    #[test]
    fn paths_are_bytes() {
        let args = [OsString::from("-r"), OsString::from_vec(b"\xff\xfe \n".to_vec())];
        let Ok(Asked::Run(config)) = parse(args, |_| None) else { panic!() };
        let Command::Send(send) = config.command else { panic!() };
        assert_eq!(send.paths, [b"\xff\xfe \n"]);
    }

    #[test]
    fn levels_and_progress() {
        assert_eq!(config(&["-r"]).loglevel, 0);
        assert_eq!(config(&["-rv"]).loglevel, 1);
        assert_eq!(config(&["-rvv"]).loglevel, 2);
        assert_eq!(config(&["-rv", "-l", "5"]).loglevel, 5);
        assert!(config(&["-rv"]).verbose && !config(&["-r"]).verbose);
        let quiet = config(&["-rqv", "--progress"]);
        assert_eq!((quiet.loglevel, quiet.verbose, quiet.show), (0, false, Show::Quiet));
        assert_eq!(config(&["-r", "--progress", "--no-progress"]).show, Show::NoProgress);
        assert_eq!(error(&["-r", "-l", "10"]), "msync: -l 10: a log level is 0 to 9");
    }

    #[test]
    fn targets() {
        let read = |text: &str| Target::parse(OsStr::new(text)).map(|t| t.to_string());
        assert_eq!(read("tcp:web1").as_deref(), Some("tcp:web1:5000"));
        assert_eq!(read("tcp:127.0.0.2:6000").as_deref(), Some("tcp:127.0.0.2:6000"));
        assert_eq!(read("tcp:[::1]:6000").as_deref(), Some("tcp:[::1]:6000"));
        assert_eq!(read("tcp:[::1]").as_deref(), Some("tcp:[::1]:5000"));
        assert_eq!(read("unix:/run/m").as_deref(), Some("unix:/run/m"));
        assert_eq!(read("/run/m").as_deref(), Some("unix:/run/m"));
        for bad in ["", "unix:", "tcp:", "tcp:a:", "tcp:a:0", "tcp:a:b", "tcp:[::1", "tcp:[::1]x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let env = |text: &'static str| move |_: &str| Some(OsString::from(text));
        let target = |args: &[&str], text| match parse(args.iter().map(OsString::from), env(text)) {
            Ok(Asked::Run(config)) => config.target.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(target(&["-r"], "unix:/s"), "unix:/s");
        assert_eq!(target(&["-r", "-c", "tcp:x"], "unix:/s"), "tcp:x:5000");
        assert_eq!(target(&["-r"], ""), "tcp:127.0.0.1:5000");
        let bad = parse([OsString::from("-r")], env("tcp:a:b")).unwrap_err().to_string();
        assert!(bad.starts_with("msync: MSYNC_TARGET=tcp:a:b: a target is"), "{bad}");
    }

    #[test]
    fn what_cannot_be_obeyed_is_one_clear_line() {
        assert!(error(&["send"]).starts_with("msync: send: a PATH is missing"));
        assert!(error(&["-v"]).starts_with("msync: send: a PATH is missing"));
        assert!(error(&["send", ""]).starts_with("msync: send: a PATH is missing"));
        assert_eq!(error(&["members", "x"]), "msync: x: members takes no path");
        assert_eq!(error(&["status", "-r"]), "msync: -r: not an option of status");
        assert_eq!(error(&["--members", "-t", "a"]), "msync: -t: not an option of members");
        assert_eq!(
            error(&["send", "--status", "x"]),
            "msync: send and status: one command, please"
        );
        assert!(error(&["-r", "-t", "a b"]).starts_with("msync: -t a b: a host name has"));
        assert_eq!(error(&["-r", "-x"]), "msync: -x: no such option");
        assert!(error(&[]).starts_with("Usage: msync"));
        // Left for later.
        for absent in ["-g", "-K", "--delete", "--json", "--sync"] {
            assert!(error(&["-r", absent]).ends_with("no such option"), "{absent}");
        }
    }

    #[test]
    fn the_same_host_twice_is_one_host() {
        assert_eq!(sent(&["-r", "-t", "a", "-t", "b", "-t", "a"]).hosts.len(), 2);
    }
}
