//! Parsing a command line that has been split into words.
//!
//! A line becomes a `Line`: a [`Command`] for the daemon, something the session does by itself, or
//! a text to answer with. A command that is not in the daemon's [`Offer`] is unknown.
#![forbid(unsafe_code)]

use std::sync::Arc;

pub use super::decision::Decision;
use super::error::{Code, ErrorLine};
use super::help;
use super::options::{self, Args};
use super::require::{Quorum, Require};
use super::verb::{Offer, Verb};
use super::words::Word;
use crate::name::{Escaped, HostName, RelPath};
use crate::pattern::Rule;
use crate::time::Span;
use crate::wire::mode::Mode;

/// A command for the daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// `send`, `sync`, `dsync`, `check` and `md5`.
    Transfer(Transfer),
    /// `fetch`: have another host send something to this one. [`Transfer::targets`] has that host, if it was
    /// named.
    Fetch(Transfer),
    /// `members`: the other members of the group.
    Members(Form),
    /// `members behind`: the hosts that lack something; whether in JSON.
    Behind(bool),
    /// `forget`: a host that is away is not known any more.
    Forget(HostName),
    /// `history`; whether in JSON.
    History(bool),
    /// `watch`: send, and then what changes.
    Watch(Watch),
    /// `flush`: wait until what was changed below this path is sent.
    Flush(RelPath),
    /// `release`: the watch of this path may delete what it holds back.
    Release(RelPath),
    /// `mirror`: how mirrors stand; whether in JSON.
    Mirror(bool),
    /// `mirror list`: what waits in mirrors, at this path and below it; whether in JSON.
    Waiting(RelPath, bool),
    /// `conflicts`: the versions that do not have their names, at this path and below it; whether in JSON.
    Conflicts(RelPath, bool),
    /// `mirror` and `conflicts` with something to be done.
    Decide(Decision),
    /// `status`: what the daemon is doing.
    Status(Form),
    /// `doctor`: what keeps files from arriving.
    Doctor(Doctor),
    /// `metrics`: the figures of the daemon, for Prometheus.
    Metrics,
    /// `quit`, `exit`, `bye`: write the pending output, then close.
    Quit,
}

/// A command that works on files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// What to do at the targets.
    pub mode: Mode,
    /// How much of the path it is about.
    pub scope: Scope,
    /// `--checksum`: files count as changed by their contents, not by time and size.
    pub checksum: bool,
    /// `--lax-attributes`: attributes that a target cannot set are no error.
    pub lax_attributes: bool,
    /// `--atomic`: all of it on so many targets at once, or nothing.
    pub atomic: Option<Quorum>,
    /// `--delete-before`: what is deleted goes before anything is sent.
    pub delete_before: bool,
    /// `--force`: delete no matter how much that is, also if the path is empty here.
    pub force: bool,
    /// `--max-delete`: delete nothing if more than this would go on a host.
    pub max_delete: Option<u64>,
    /// `--require`: how many of the known hosts must have everything in the end.
    pub require: Option<Require>,
    /// `-t`, in the order given, without duplicates; empty for every member. As typed and
    /// unchecked, but escaped by [`Escaped`].
    pub targets: Vec<String>,
    /// `-g`: the group that targets set for what they write; escaped like [`Transfer::targets`].
    pub group: Option<String>,
    /// With [`Scope::Listed`]: the list.
    pub files: Option<Files>,
    /// The path; the base directory (only with [`Scope::Tree`] and [`Scope::Listed`]) if none was given.
    pub path: RelPath,
}

impl Transfer {
    /// A transfer of one path to every member.
    pub fn new(mode: Mode, path: RelPath) -> Transfer {
        Transfer {
            mode,
            scope: Scope::Path,
            checksum: false,
            lax_attributes: false,
            atomic: None,
            delete_before: false,
            force: false,
            max_delete: None,
            require: None,
            targets: Vec::new(),
            group: None,
            files: None,
            path,
        }
    }
}

/// What keeps files from arriving.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doctor {
    /// `-t`, as in [`Transfer::targets`].
    pub targets: Vec<String>,
    /// Whether packets are sent to find out.
    pub probe: bool,
    /// Whether the answer is in JSON.
    pub json: bool,
}

/// What is sent whenever it changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// The tree; the base directory if none was given.
    pub path: RelPath,
    /// `--delete`: what goes here is deleted there.
    pub delete: bool,
    /// `--delay`: how long a change waits for more.
    pub delay: Option<Span>,
    /// `-t`, as in [`Transfer::targets`].
    pub targets: Vec<String>,
}

/// What a connection wants to be told of a transfer, for programs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Reports {
    /// Nothing: what old clients expect.
    #[default]
    Off,
    /// The known hosts that it did not reach.
    Absent,
    /// These, each host that it reached, and each error and difference.
    All,
}

/// The list that a command is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// The paths that the session was told, in that order.
    pub paths: Arc<Vec<RelPath>>,
    /// `-r`: with all that is in them.
    pub whole: bool,
}

/// How much of a path a command is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The path alone. It must be there.
    Path,
    /// The path alone; if it is gone here, it is to be deleted there (`sync`, `dsync`, and
    /// `send --delete`, each without `-r`).
    PathOrGone,
    /// `-r`: the path, which must be there, and the tree below it.
    Tree,
    /// The path, which must be there, and below it what is in a list.
    Listed,
}

/// The format of the list of members, and of the status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `members`, `status`: what old clients read.
    Table,
    /// `-v`: with statistics of the link to each member; with what the daemon was started with.
    Verbose,
    /// `json`: one line.
    Json,
}

/// What a connection wants to be told about a running transfer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Follow {
    /// Nothing: what old clients expect.
    #[default]
    Off,
    /// The `total` line at its end.
    Total,
    /// `progress` lines too, about five a second.
    Progress,
}

/// The most paths in a list.
pub const MOST_PATHS: usize = 65_536;

/// What to do with the list of paths of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum FilesEdit {
    Add(Vec<RelPath>),
    Clear,
}

/// What to do with the patterns of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Edit {
    Add(Rule),
    Del(Rule),
    List,
    Clear,
}

/// What a line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    Do(Command),
    Patterns(Edit),
    Files(FilesEdit),
    Alive(Option<bool>),
    Loglevel(Option<u8>),
    Progress(Option<Follow>),
    Report(Option<Reports>),
    /// A text to answer with: lines separated by newlines; nothing if empty.
    Say(String),
    /// The line cannot be carried out.
    Error(ErrorLine),
}

/// Parses a line.
pub(super) fn parse(words: &[Word], offer: &Offer) -> Line {
    let Some((name, rest)) = words.split_first() else { return Line::Say(String::new()) };
    let Some(verb) = Verb::named(&name.bytes, offer) else {
        return Line::Error(ErrorLine::unknown_command(Escaped(&name.bytes)));
    };
    match verb {
        Verb::Send | Verb::Sync | Verb::Dsync | Verb::Check | Verb::Fetch => {
            transfer(verb, rest, offer)
        }
        Verb::Members if texts(rest).first() == Some(&&b"behind"[..]) => {
            match texts(rest).as_slice() {
                [_] => Line::Do(Command::Behind(false)),
                [_, b"json"] => Line::Do(Command::Behind(true)),
                _ => usage(verb, offer),
            }
        }
        Verb::Members | Verb::Status => {
            let form = match texts(rest).as_slice() {
                [] => Form::Table,
                [b"-v"] => Form::Verbose,
                [b"json"] => Form::Json,
                _ => return usage(verb, offer),
            };
            Line::Do(if verb == Verb::Members {
                Command::Members(form)
            } else {
                Command::Status(form)
            })
        }
        Verb::Metrics if rest.is_empty() => Line::Do(Command::Metrics),
        Verb::Metrics => usage(verb, offer),
        Verb::History => match texts(rest).as_slice() {
            [] => Line::Do(Command::History(false)),
            [b"json"] => Line::Do(Command::History(true)),
            _ => usage(verb, offer),
        },
        Verb::Doctor => doctor(rest, offer),
        Verb::Watch | Verb::Flush | Verb::Release => watching(verb, rest, offer),
        Verb::Mirror | Verb::Conflicts => mirroring(verb, &texts(rest), offer),
        Verb::Forget => match texts(rest).as_slice() {
            [host] => match HostName::parse(host) {
                Ok(host) => Line::Do(Command::Forget(host)),
                Err(_) => Line::Error(ErrorLine::unknown_host(&Escaped(host).to_string())),
            },
            _ => usage(verb, offer),
        },
        Verb::Exclude | Verb::Include => {
            let include = verb == Verb::Include;
            let rule = |pattern: &[u8]| Rule { include, pattern: pattern.to_vec() };
            match texts(rest).as_slice() {
                [b"add", pattern] if !pattern.is_empty() => {
                    Line::Patterns(Edit::Add(rule(pattern)))
                }
                [b"del", pattern] => Line::Patterns(Edit::Del(rule(pattern))),
                [b"list"] => Line::Patterns(Edit::List),
                [b"clear"] => Line::Patterns(Edit::Clear),
                _ => usage(verb, offer),
            }
        }
        Verb::Files => match texts(rest).as_slice() {
            [b"clear"] => Line::Files(FilesEdit::Clear),
            [b"add", paths @ ..] if !paths.is_empty() => listed(paths),
            _ => usage(verb, offer),
        },
        Verb::Alive => match texts(rest).as_slice() {
            [] => Line::Alive(None),
            [b"on"] => Line::Alive(Some(true)),
            [b"off"] => Line::Alive(Some(false)),
            _ => usage(verb, offer),
        },
        Verb::Loglevel => match texts(rest).as_slice() {
            [] => Line::Loglevel(None),
            [[digit @ b'0'..=b'9']] => Line::Loglevel(Some(digit - b'0')),
            _ => usage(verb, offer),
        },
        Verb::Progress => match texts(rest).as_slice() {
            [] => Line::Progress(None),
            [b"on"] => Line::Progress(Some(Follow::Progress)),
            [b"total"] => Line::Progress(Some(Follow::Total)),
            [b"off"] => Line::Progress(Some(Follow::Off)),
            _ => usage(verb, offer),
        },
        Verb::Report => match texts(rest).as_slice() {
            [] => Line::Report(None),
            [b"on"] => Line::Report(Some(Reports::All)),
            [b"absent"] => Line::Report(Some(Reports::Absent)),
            [b"off"] => Line::Report(Some(Reports::Off)),
            _ => usage(verb, offer),
        },
        Verb::Echo => {
            let words: Vec<String> = rest.iter().map(|w| Escaped(&w.bytes).to_string()).collect();
            Line::Say(format!("{}\n", words.join(" ")))
        }
        Verb::Help => match texts(rest).as_slice() {
            [] => Line::Say(help::all(offer)),
            [name] => match Verb::named(name, offer) {
                Some(verb) => Line::Say(help::of(verb, offer)),
                None => {
                    let why = format!("no help for '{}'", Escaped(name));
                    Line::Error(ErrorLine::new(Code::Usage, why))
                }
            },
            _ => usage(verb, offer),
        },
        Verb::Quit => Line::Do(Command::Quit),
    }
}

fn texts(words: &[Word]) -> Vec<&[u8]> {
    words.iter().map(|word| word.bytes.as_slice()).collect()
}

fn usage(verb: Verb, offer: &Offer) -> Line {
    Line::Say(help::of(verb, offer))
}

/// The line that adds these paths.
fn listed(typed: &[&[u8]]) -> Line {
    let mut paths = Vec::with_capacity(typed.len());
    for one in typed {
        match options::path(one) {
            Ok(path) => paths.push(path.unwrap_or_default()),
            Err(why) => return Line::Error(why.line()),
        }
    }
    Line::Files(FilesEdit::Add(paths))
}

fn transfer(verb: Verb, words: &[Word], offer: &Offer) -> Line {
    let read = Args::read(words, verb, offer).and_then(|args| Ok((args.path()?, args)));
    let read = read.and_then(|(path, args)| Ok((path, args.atomic()?, args)));
    let (path, atomic, args) = match read {
        Ok(read) => read,
        Err(why) => return Line::Error(why.line()),
    };
    // Old clients say `dsync -r ` for the whole base directory. `dsync` without any word has always
    // shown its help.
    let whole = args.recursive || args.listed || (verb == Verb::Dsync && !words.is_empty());
    let path = match path {
        Some(path) => path,
        None if whole => RelPath::base(),
        None => return usage(verb, offer),
    };
    let Args { recursive, dry_run, delete, delete_before, ignore_times, checksum, .. } = args;
    let lax_attributes = args.lax_attributes;
    let scope = match verb {
        _ if args.listed => Scope::Listed,
        _ if recursive || path.is_base() => Scope::Tree,
        Verb::Sync | Verb::Dsync => Scope::PathOrGone,
        Verb::Send | Verb::Fetch if delete => Scope::PathOrGone,
        _ => Scope::Path,
    };
    let mode = match verb {
        Verb::Check => Mode::Check,
        Verb::Dsync => Mode::DeleteOnly { gone: false, dry_run },
        // Without -r or a list there is nothing below the path that could be surplus.
        _ => Mode::Send {
            delete: delete && matches!(scope, Scope::Tree | Scope::Listed),
            ignore_times,
            dry_run,
        },
    };
    let Args { force, max_delete, require, targets, group, .. } = args;
    let transfer = Transfer {
        mode,
        scope,
        checksum,
        lax_attributes,
        atomic,
        delete_before,
        force,
        max_delete,
        require,
        targets,
        group,
        files: (scope == Scope::Listed).then(|| Files { paths: Arc::default(), whole: recursive }),
        path,
    };
    Line::Do(match verb {
        Verb::Fetch => Command::Fetch(transfer),
        _ => Command::Transfer(transfer),
    })
}

/// `mirror` and `conflicts`.
fn mirroring(verb: Verb, words: &[&[u8]], offer: &Offer) -> Line {
    let is_mirror = verb == Verb::Mirror;
    let (json, words) = match words {
        [b"json", rest @ ..] if matches!(rest, [] | [b"list", ..]) => (true, rest),
        words => (false, words),
    };
    let shown = |typed: &[u8], command: fn(RelPath, bool) -> Command| match options::path(typed) {
        Ok(path) => Line::Do(command(path.unwrap_or_else(RelPath::base), json)),
        Err(why) => Line::Error(why.line()),
    };
    let at = |typed: &[u8], decide: &dyn Fn(RelPath) -> Decision| match options::path(typed) {
        Ok(path) => Line::Do(Command::Decide(decide(path.unwrap_or_else(RelPath::base)))),
        Err(why) => Line::Error(why.line()),
    };
    let text = |version: &[u8]| Some(Escaped(version).to_string());
    match (is_mirror, words) {
        (true, []) => Line::Do(Command::Mirror(json)),
        (true, [b"list"]) => shown(b".", Command::Waiting),
        (true, [b"list", path]) => shown(path, Command::Waiting),
        (false, [] | [b"list"]) => shown(b".", Command::Conflicts),
        (false, [b"list", path]) => shown(path, Command::Conflicts),
        (true, [b"release", path]) => at(path, &Decision::Release),
        (true, [b"adopt", path]) => at(path, &Decision::Adopt),
        (false, [b"take", path]) => at(path, &|path| Decision::Take(path, None)),
        (false, [b"take", path, version]) => at(path, &|path| Decision::Take(path, text(version))),
        (false, [b"drop"]) => Line::Do(Command::Decide(Decision::Drop(RelPath::base(), None))),
        (false, [b"drop", path]) => at(path, &|path| Decision::Drop(path, None)),
        (false, [b"drop", path, version]) => at(path, &|path| Decision::Drop(path, text(version))),
        _ => usage(verb, offer),
    }
}

fn doctor(words: &[Word], offer: &Offer) -> Line {
    let verb = Verb::Doctor;
    let args = match Args::read(words, verb, offer) {
        Ok(args) => args,
        Err(why) => return Line::Error(why.line()),
    };
    let json = match args.path() {
        Ok(None) => false,
        Ok(Some(word)) if word.as_bytes() == b"json" => true,
        _ => return usage(verb, offer),
    };
    let Args { targets, no_probe, .. } = args;
    Line::Do(Command::Doctor(Doctor { targets, probe: !no_probe, json }))
}

fn watching(verb: Verb, words: &[Word], offer: &Offer) -> Line {
    let read = Args::read(words, verb, offer).and_then(|args| Ok((args.path()?, args)));
    let (path, args) = match read {
        Ok(read) => read,
        Err(why) => return Line::Error(why.line()),
    };
    if verb == Verb::Release && words.is_empty() {
        return usage(verb, offer);
    }
    let path = path.unwrap_or_else(RelPath::base);
    let Args { delete, delay, targets, .. } = args;
    Line::Do(match verb {
        Verb::Flush => Command::Flush(path),
        Verb::Release => Command::Release(path),
        _ => Command::Watch(Watch { path, delete, delay, targets }),
    })
}

#[cfg(test)]
mod tests;
