//! What a line of words means.
//!
//! A line becomes a `Line`: a [`Command`] that the daemon must do, something the session does by
//! itself, or a text to answer with. A command that the daemon's [`Offer`] does not have is unknown.
#![forbid(unsafe_code)]

use super::help;
use super::options::Args;
use super::reply::{self, UNKNOWN};
use super::verb::{Offer, Verb};
use super::words::Word;
use crate::name::{Escaped, RelPath};
use crate::pattern::Rule;

/// A command that the daemon must do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// `send` and `sync`: send a path.
    Send(Send),
    /// `dsync`: delete there what is not here.
    Dsync(Dsync),
    /// `check` and `md5`: compare contents.
    Check(Check),
    /// `members`: the other members of the group.
    Members(Form),
    /// `status`: what the daemon is doing.
    Status {
        /// `status json`.
        json: bool,
    },
    /// `quit`, `exit`, `bye`: write what is left to write, and close.
    Quit,
}

/// A `send` or a `sync`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Send {
    /// `sync`, or `send --delete` without `-r`: a path that is gone here is deleted there.
    pub sync: bool,
    /// `-r`: the tree below the path.
    pub recursive: bool,
    /// `-n`: only say what would be done.
    pub dry_run: bool,
    /// `--delete`, only with `-r`: when all is sent, delete there what is not here.
    pub delete: bool,
    /// `--force`: delete however much that is, also where all is gone here.
    pub force: bool,
    /// `--max-delete`: delete nothing if it is more than this on a host.
    pub max_delete: Option<u64>,
    /// `-I`: all files count as changed.
    pub ignore_times: bool,
    /// `--checksum`: files count as changed by their contents, not by time and size.
    pub checksum: bool,
    /// `-t`, in the order given, each once; empty for every member. They are what was typed, not
    /// checked against anything, but made fit to be shown by [`Escaped`].
    pub targets: Vec<String>,
    /// `-g`: the group that the targets shall give what they write; as [`Send::targets`].
    pub group: Option<String>,
    /// What to send; the base directory (only with `-r`) if none was given.
    pub path: RelPath,
}

impl Send {
    /// A plain send of `path` to every member.
    pub fn new(path: RelPath) -> Send {
        Send {
            sync: false,
            recursive: false,
            dry_run: false,
            delete: false,
            force: false,
            max_delete: None,
            ignore_times: false,
            checksum: false,
            targets: Vec::new(),
            group: None,
            path,
        }
    }
}

/// A `dsync`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dsync {
    /// `-n`: only say what would be deleted.
    pub dry_run: bool,
    /// `-r`. The base directory as a whole does not need it, for the sake of old clients.
    pub recursive: bool,
    /// As [`Send::force`].
    pub force: bool,
    /// As [`Send::max_delete`].
    pub max_delete: Option<u64>,
    /// As [`Send::targets`].
    pub targets: Vec<String>,
    /// Below what to delete; the base directory if none was given.
    pub path: RelPath,
}

/// A `check`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// `-r`: the tree below the path.
    pub recursive: bool,
    /// As [`Send::targets`].
    pub targets: Vec<String>,
    /// What to compare; the base directory (only with `-r`) if none was given.
    pub path: RelPath,
}

/// How a list of members shall look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `members`: the table that old clients read.
    Table,
    /// `members -v`: with what is known of each member's link.
    Verbose,
    /// `members json`: one line.
    Json,
}

/// How much a connection wants to know of a transfer while it works.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Watch {
    /// Nothing: what old clients expect.
    #[default]
    Off,
    /// The `total` line at its end.
    Total,
    /// `progress` lines too, about five a second.
    Progress,
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
    Alive(Option<bool>),
    Loglevel(Option<u8>),
    Progress(Option<Watch>),
    Report(Option<bool>),
    /// To be answered so: lines, parted by newlines. Nothing if empty.
    Say(String),
}

/// Understands a line.
pub(super) fn parse(words: &[Word], offer: &Offer) -> Line {
    let Some((name, rest)) = words.split_first() else { return Line::Say(String::new()) };
    let Some(verb) = Verb::named(&name.bytes, offer) else {
        return Line::Say(format!("{UNKNOWN} '{}'", Escaped(&name.bytes)));
    };
    match verb {
        Verb::Send | Verb::Sync | Verb::Dsync | Verb::Check => transfer(verb, rest, offer),
        Verb::Members => match texts(rest).as_slice() {
            [] => Line::Do(Command::Members(Form::Table)),
            [b"-v"] => Line::Do(Command::Members(Form::Verbose)),
            [b"json"] => Line::Do(Command::Members(Form::Json)),
            _ => usage(verb, offer),
        },
        Verb::Status => match texts(rest).as_slice() {
            [] => Line::Do(Command::Status { json: false }),
            [b"json"] => Line::Do(Command::Status { json: true }),
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
            [b"on"] => Line::Progress(Some(Watch::Progress)),
            [b"total"] => Line::Progress(Some(Watch::Total)),
            [b"off"] => Line::Progress(Some(Watch::Off)),
            _ => usage(verb, offer),
        },
        Verb::Report => match texts(rest).as_slice() {
            [] => Line::Report(None),
            [b"on"] => Line::Report(Some(true)),
            [b"off"] => Line::Report(Some(false)),
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
                None => Line::Say(format!("error: no help for '{}'", Escaped(name))),
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

fn transfer(verb: Verb, words: &[Word], offer: &Offer) -> Line {
    let read = Args::read(words, verb, offer).and_then(|args| Ok((args.path()?, args)));
    let (path, args) = match read {
        Ok(read) => read,
        Err(why) => return Line::Say(reply::trouble(&why)),
    };
    // An old client that wants the whole base deleted from says `dsync -r ` or `dsync`, and the
    // latter without a word more has always been a question.
    let whole = args.recursive || (verb == Verb::Dsync && !words.is_empty());
    let path = match path {
        Some(path) => path,
        None if whole => RelPath::base(),
        None => return usage(verb, offer),
    };
    let Args { recursive, dry_run, force, max_delete, targets, group, .. } = args;
    Line::Do(match verb {
        Verb::Dsync => {
            Command::Dsync(Dsync { dry_run, recursive, force, max_delete, targets, path })
        }
        Verb::Check => Command::Check(Check { recursive, targets, path }),
        _ => Command::Send(Send {
            sync: verb == Verb::Sync || (args.delete && !recursive),
            recursive,
            dry_run,
            delete: args.delete && recursive,
            force,
            max_delete,
            ignore_times: args.ignore_times,
            checksum: args.checksum,
            targets,
            group,
            path,
        }),
    })
}

#[cfg(test)]
mod tests;
