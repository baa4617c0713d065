//! The options of the client, `msync`.
//!
//! There are two forms: `msync send -r dir`, and the older `msync -r dir`, where the command is
//! `send` unless `--sync`, `--check`, `--members` or `--status` is given. The first word is a
//! command if it is one of [`COMMANDS`]; a file of such a name is written `./send`, or after `--`.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::filter::filters;
use super::{Asked, Error, Filter, Text, Typed, value};
use crate::console::require::{Quorum, Require};
use crate::name::{Escaped, HostName, HostNameError};

mod config;
mod flags;
mod target;
mod trees;

use config::PROGRAM;
pub use config::{Command, Config, Files, Show, Verb, Watch};
pub use flags::{COMMANDS, FLAGS};
use flags::{NEW, is_option_of};
pub use target::Target;
use trees::{mirroring, watching};

/// The environment variable that names the daemon if `-c` is not given.
pub const VARIABLE: &str = "MSYNC_TARGET";

/// Reads the arguments (without the program's name) and [`VARIABLE`].
///
/// # Errors
/// The first error, in one line; the help if there is no argument.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Asked<Config>, Error> {
    let mut args = args.into_iter().peekable();
    if args.peek().is_none() {
        return Err(Error::Nothing(help().trim_end().to_owned()));
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
    let password = match typed.last("password") {
        Some(file) if file.is_empty() => {
            return Err(Error::bad_value(PROGRAM, "-K", &file, "must not be empty"));
        }
        file => file.map(PathBuf::from),
    };
    let filters = filters(PROGRAM, &typed)?;
    let (command, new_word) = command(&typed)?;
    let is_list = |files: &Files| files.list == Some(Text::Input);
    let inputs = filters.iter().filter(|f| matches!(f, Filter::From(Text::Input))).count()
        + usize::from(command == Command::Script(Text::Input))
        + usize::from(matches!(&command, Command::Files(files) if is_list(files)));
    if inputs > 1 {
        return Err(Error::new(PROGRAM, "-: standard input can be read only once"));
    }
    Ok(Asked::Run(Config {
        target,
        password,
        command,
        new_word,
        filters,
        from0: typed.has("from0"),
        loglevel,
        verbose: loglevel > 0,
        show: match () {
            () if quiet => Show::Quiet,
            () if typed.has("no-progress") => Show::NoProgress,
            () if typed.has("progress") => Show::Progress,
            () => Show::Auto,
        },
        json: typed.has("json"),
    }))
}

/// Whether `--json` is among the arguments, also if the command line is invalid.
pub fn wants_json(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json")
}

/// What `--help` prints.
pub fn help() -> String {
    let head = "Usage: msync [OPTIONS] send|sync|dsync|check|fetch [OPTIONS] [PATH...]\n\
                \x20      msync [OPTIONS] members | status | metrics | history\n\
                \x20      msync [OPTIONS] watch | watch release | flush [PATH] | forget HOST\n\
                \x20      msync [OPTIONS] [PATH...]      (send)\n\
                \x20      msync [OPTIONS] -f FILE\n\
                Has the daemon of this host send files to every member of its group. PATH is\n\
                relative to the daemon's base directory; else, if there is no such thing, to\n\
                the current directory, if that is below the base; or absolute, below the base.\n";
    let mut commands = String::from("\nCommands:\n");
    for (name, text) in COMMANDS {
        commands.push_str(&format!("  {name:8} {text}\n"));
    }
    let tail = "A file called like a command is ./send, or comes after --.\n\
                Exit status: 0 everything is everywhere; 1 wrong usage, also of a PATH, or no\n\
                daemon; 2 something is missing, failed or differs, or there is no member.\n";
    super::help(&format!("{head}{commands}"), FLAGS, tail)
}

fn read_target(name: &str, text: &OsStr) -> Result<Target, Error> {
    Target::parse(text).ok_or_else(|| {
        Error::bad_value(PROGRAM, name, text, "a target is tcp:HOST, tcp:HOST:PORT or unix:PATH")
    })
}

/// The command, from the first word or an equivalent option, with its options; and that word, if earlier versions
/// would have taken it for a file to be sent.
fn command(typed: &Typed) -> Result<(Command, Option<&'static str>), Error> {
    let (mut words, before) = typed.words();
    let first = words.first().filter(|_| before > 0).and_then(|word| word.to_str());
    let named = COMMANDS.iter().map(|(name, _)| *name).find(|name| first == Some(name));
    if named.is_some() {
        words.remove(0);
    }
    let given = || FLAGS.iter().filter(|flag| typed.has(flag.long));
    let new_word = named
        .filter(|name| NEW.contains(name) && given().all(|flag| is_option_of("send", flag.long)));
    let or_file = new_word.map_or(String::new(), |word| format!(" (a file is ./{word})"));
    let named = named.map(|name| if name == "md5" { "check" } else { name });
    let mut commands: Vec<&str> = named.into_iter().collect();
    commands.extend(["sync", "check", "members", "status"].iter().filter(|flag| typed.has(flag)));
    commands.extend(typed.has("behind").then_some("members"));
    commands.extend(typed.has("script").then_some("-f"));
    let name = match commands.as_slice() {
        [] => "send",
        [one] => one,
        [one, other, ..] if one == other => one,
        [one, other, ..] => {
            let why = format!("{one} and {other}: one command at a time{or_file}");
            return Err(Error::new(PROGRAM, why));
        }
    };
    if let Some(flag) = given().find(|flag| !is_option_of(name, flag.long)) {
        let why = format!("{}: not an option of {name}{or_file}", flag.spelled());
        return Err(Error::new(PROGRAM, why));
    }
    let verb = match name {
        "send" => Verb::Send,
        "sync" => Verb::Sync,
        "dsync" => Verb::Dsync,
        "check" => Verb::Check,
        "watch" | "flush" => return Ok((watching(typed, name, words, hosts(typed)?)?, new_word)),
        "mirror" | "conflicts" => return Ok((mirroring(typed, name, words)?, new_word)),
        "forget" => {
            let [host] = words.as_slice() else {
                let why = format!("forget: one HOST, as members -v names it{or_file}");
                return Err(Error::new(PROGRAM, why));
            };
            let host = HostName::parse(host.as_bytes())
                .map_err(|why| Error::bad_value(PROGRAM, "forget", host, why))?;
            return Ok((Command::Forget(host), new_word));
        }
        "fetch" => Verb::Fetch,
        _ => {
            if let Some(word) = words.first() {
                let shown = Escaped(word.as_bytes());
                let why = format!("{shown}: {name} takes no path{or_file}");
                return Err(Error::new(PROGRAM, why));
            }
            let command = match (name, typed.last("script")) {
                ("members", _) => {
                    let (verbose, behind) = (typed.has("verbose"), typed.has("behind"));
                    Command::Members { verbose, behind }
                }
                ("status", _) => Command::Status { verbose: typed.has("verbose") },
                ("doctor", _) => {
                    Command::Doctor { hosts: hosts(typed)?, probe: !typed.has("no-probe") }
                }
                ("metrics", _) => Command::Metrics,
                ("history", _) => Command::History,
                (_, script) => {
                    let script = script.unwrap_or_default();
                    Text::read(&script).map(Command::Script).ok_or_else(|| {
                        Error::bad_value(PROGRAM, "-f", &script, "must not be empty")
                    })?
                }
            };
            return Ok((command, new_word));
        }
    };
    // What comes after `--` is no command.
    let files = files(typed, verb, !commands.is_empty() || before == 0, words)?;
    Ok((Command::Files(files), new_word))
}

fn hosts(typed: &Typed) -> Result<Vec<HostName>, Error> {
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
    Ok(hosts)
}

fn files(typed: &Typed, verb: Verb, named: bool, words: Vec<OsString>) -> Result<Files, Error> {
    let hosts = hosts(typed)?;
    let from =
        match typed.last("from") {
            Some(text) => Some(HostName::parse(text.as_bytes()).map_err(|HostNameError| {
                Error::bad_value(PROGRAM, "--from", &text, HostNameError)
            })?),
            None => None,
        };
    let group = match typed.last("group") {
        Some(text) => {
            let odd = |c: char| c.is_control() || c.is_whitespace() || "\\\"".contains(c);
            let group = text.to_str().filter(|group| !group.is_empty() && !group.contains(odd));
            let why = "a group is a name or a number, without spaces";
            Some(group.ok_or_else(|| Error::bad_value(PROGRAM, "-g", &text, why))?.to_owned())
        }
        None => None,
    };
    let max_delete = match typed.last("max-delete") {
        Some(text) => Some(value::number(&text, 0..=u64::MAX).ok_or_else(|| {
            Error::bad_value(PROGRAM, "--max-delete", &text, "a number of entries, 0 or more")
        })?),
        None => None,
    };
    let require = match typed.last("require") {
        Some(text) => Some(text.to_str().and_then(Require::parse).ok_or_else(|| {
            Error::bad_value(PROGRAM, "--require", &text, "all, or a number of hosts from 1 on")
        })?),
        None => None,
    };
    let atomic = match (typed.has("atomic"), typed.last("quorum")) {
        (false, Some(_)) => return Err(Error::new(PROGRAM, "--quorum: only with --atomic")),
        (false, None) => None,
        (true, None) => Some(Quorum::All),
        (true, Some(text)) => Some(text.to_str().and_then(Quorum::parse).ok_or_else(|| {
            let why = "all, a number of hosts from 1 on, or a part such as 80%";
            Error::bad_value(PROGRAM, "--quorum", &text, why)
        })?),
    };
    if atomic.is_some() && typed.has("delete-before") {
        return Err(Error::new(PROGRAM, "--atomic: not with --delete-before (--delete is enough)"));
    }
    if atomic.is_some() && verb != Verb::Send && words.len() > 1 {
        return Err(Error::new(PROGRAM, "sync --atomic: one PATH at most"));
    }
    let recursive = typed.has("recursive");
    let list = match typed.last("files-from") {
        Some(text) => {
            let why = "must not be empty";
            let from = Text::read(&text)
                .ok_or_else(|| Error::bad_value(PROGRAM, "--files-from", &text, why))?;
            Some(from)
        }
        None => None,
    };
    if list.is_some() && words.len() > 1 {
        return Err(Error::new(PROGRAM, "--files-from: one PATH at most"));
    }
    let missing = words.is_empty() || words.iter().any(|word| word.is_empty());
    if missing && !recursive && list.is_none() {
        let name = verb.name();
        let why = format!("{name}: a PATH is missing (the whole base directory is -r)");
        return Err(Error::new(PROGRAM, why));
    }
    Ok(Files {
        verb,
        named,
        recursive,
        dry_run: typed.has("dry-run"),
        delete: typed.has("delete") || typed.has("delete-before"),
        delete_before: typed.has("delete-before"),
        force: typed.has("force"),
        max_delete,
        ignore_times: typed.has("ignore-times"),
        checksum: typed.has("checksum"),
        lax_attributes: typed.has("lax-attributes"),
        atomic,
        require,
        hosts,
        from,
        group,
        list,
        paths: words.into_iter().map(OsString::into_vec).collect(),
    })
}

#[cfg(test)]
mod tests;
