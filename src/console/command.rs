//! What a line of words means.
//!
//! A line becomes a `Line`: a [`Command`] that the daemon must do, something the session does by
//! itself, or a text to answer with. Which commands the daemon does is its [`Offer`]; what it does
//! not offer is unknown, as if this page had never heard of it.
#![forbid(unsafe_code)]

use super::help;
use super::reply;
use super::words::Word;
use crate::name::{Escaped, RelPath};

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
    /// `sync`: a path that is gone here is deleted there.
    pub sync: bool,
    /// `-r`: the tree below the path.
    pub recursive: bool,
    /// `-n`: only say what would be done.
    pub dry_run: bool,
    /// `-t`, in the order given, each once; empty for every member. They are what was typed, not
    /// checked against anything, but made fit to be shown by [`Escaped`].
    pub targets: Vec<String>,
    /// `-g`: the group that the targets shall give what they write; as [`Send::targets`].
    pub group: Option<String>,
    /// What to send; the base directory (only with `-r`) if none was given.
    pub path: RelPath,
}

/// A `dsync`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dsync {
    /// `-n`: only say what would be deleted.
    pub dry_run: bool,
    /// `-r`. The base directory as a whole does not need it, for the sake of old clients.
    pub recursive: bool,
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

/// What the daemon can do, beyond what a session does by itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Offer {
    /// `send`.
    pub send: bool,
    /// `-g` of `send` and `sync`.
    pub group: bool,
    /// `sync`.
    pub sync: bool,
    /// `dsync`.
    pub dsync: bool,
    /// `check`, `md5`.
    pub check: bool,
    /// `members`.
    pub members: bool,
    /// `status`.
    pub status: bool,
    /// `exclude`: the daemon heeds [`super::Session::excludes`].
    pub exclude: bool,
}

impl Offer {
    /// Everything there is.
    pub const ALL: Offer = Offer {
        send: true,
        group: true,
        sync: true,
        dsync: true,
        check: true,
        members: true,
        status: true,
        exclude: true,
    };

    fn has(&self, verb: Verb) -> bool {
        match verb {
            Verb::Send => self.send,
            Verb::Sync => self.sync,
            Verb::Dsync => self.dsync,
            Verb::Check => self.check,
            Verb::Members => self.members,
            Verb::Status => self.status,
            Verb::Exclude => self.exclude,
            Verb::Alive | Verb::Loglevel | Verb::Progress => true,
            Verb::Echo | Verb::Help | Verb::Quit => true,
        }
    }
}

/// Every command there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Send,
    Sync,
    Dsync,
    Check,
    Members,
    Status,
    Exclude,
    Alive,
    Loglevel,
    Progress,
    Echo,
    Help,
    Quit,
}

/// Each name with its command; the first name of a command is the one that help shows.
pub(super) const VERBS: &[(&str, Verb)] = &[
    ("send", Verb::Send),
    ("sync", Verb::Sync),
    ("dsync", Verb::Dsync),
    ("check", Verb::Check),
    ("md5", Verb::Check),
    ("members", Verb::Members),
    ("status", Verb::Status),
    ("exclude", Verb::Exclude),
    ("alive", Verb::Alive),
    ("loglevel", Verb::Loglevel),
    ("progress", Verb::Progress),
    ("echo", Verb::Echo),
    ("help", Verb::Help),
    ("quit", Verb::Quit),
    ("exit", Verb::Quit),
    ("bye", Verb::Quit),
];

impl Verb {
    /// The command called `name`, if it is offered.
    pub(super) fn named(name: &[u8], offer: &Offer) -> Option<Verb> {
        let (_, verb) = VERBS.iter().find(|(known, _)| known.as_bytes() == name)?;
        offer.has(*verb).then_some(*verb)
    }
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
pub(super) enum Exclude {
    Add(Vec<u8>),
    Del(Vec<u8>),
    List,
    Clear,
}

/// What a line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    Do(Command),
    Exclude(Exclude),
    Alive(Option<bool>),
    Loglevel(Option<u8>),
    Progress(Option<Watch>),
    /// To be answered so: lines, parted by newlines. Nothing if empty.
    Say(String),
}

/// Understands a line.
pub(super) fn parse(words: &[Word], offer: &Offer) -> Line {
    let Some((name, rest)) = words.split_first() else { return Line::Say(String::new()) };
    let Some(verb) = Verb::named(&name.bytes, offer) else {
        return Line::Say(format!("{} '{}'", super::UNKNOWN, Escaped(&name.bytes)));
    };
    match verb {
        Verb::Send => transfer(verb, "nrtg", rest, offer),
        Verb::Sync => transfer(verb, "nrtg", rest, offer),
        Verb::Dsync => transfer(verb, "nrt", rest, offer),
        Verb::Check => transfer(verb, "rt", rest, offer),
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
        Verb::Exclude => match texts(rest).as_slice() {
            [b"add", pattern] if !pattern.is_empty() => {
                Line::Exclude(Exclude::Add(pattern.to_vec()))
            }
            [b"del", pattern] => Line::Exclude(Exclude::Del(pattern.to_vec())),
            [b"list"] => Line::Exclude(Exclude::List),
            [b"clear"] => Line::Exclude(Exclude::Clear),
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
            [b"on"] => Line::Progress(Some(Watch::Progress)),
            [b"total"] => Line::Progress(Some(Watch::Total)),
            [b"off"] => Line::Progress(Some(Watch::Off)),
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

/// What the words after a command that works on files say.
#[derive(Default)]
struct Args {
    recursive: bool,
    dry_run: bool,
    targets: Vec<String>,
    group: Option<String>,
    path: Option<Vec<u8>>,
}

impl Args {
    /// Reads `words`; `letters` are the options that the command has. Options may come after the
    /// path, be joined (`-rn`), and have their value in the same word (`-thost`); `--` ends them.
    fn read(words: &[Word], letters: &str) -> Result<Args, String> {
        let mut args = Args::default();
        let mut words = words.iter();
        let mut options = true;
        while let Some(word) = words.next() {
            let cluster = match word.bytes.strip_prefix(b"-") {
                Some(b"-") if options && !word.quoted => {
                    options = false;
                    continue;
                }
                Some(cluster) if options && !word.quoted && !cluster.is_empty() => cluster,
                _ if args.path.is_some() => {
                    return Err("more than one path (\"a b\" is one path with a space)".to_owned());
                }
                _ => {
                    args.path = Some(word.bytes.clone());
                    continue;
                }
            };
            let mut cluster = cluster;
            while let [letter, rest @ ..] = cluster {
                let known = letters.as_bytes().contains(letter);
                match letter {
                    b'r' if known => args.recursive = true,
                    b'n' if known => args.dry_run = true,
                    b't' | b'g' if known => {
                        let value = match rest {
                            [] => words.next().map(|word| word.bytes.as_slice()),
                            _ => Some(rest),
                        };
                        let value = value.filter(|value| !value.is_empty());
                        let value = value.map(|value| Escaped(value).to_string());
                        match (letter, value) {
                            (b't', Some(host)) if args.targets.contains(&host) => {}
                            (b't', Some(host)) => args.targets.push(host),
                            (_, Some(group)) => args.group = Some(group),
                            (b't', None) => return Err("-t needs a host".to_owned()),
                            (_, None) => return Err("-g needs a group".to_owned()),
                        }
                        break;
                    }
                    _ => return Err(format!("unknown option -{}", Escaped(&[*letter]))),
                }
                cluster = rest;
            }
        }
        Ok(args)
    }

    /// The path, cut as it always was (a trailing `/`) and where it changes nothing (a leading
    /// `./`, a doubled `/`). None if there is none, or it is empty.
    fn path(&self) -> Result<Option<RelPath>, String> {
        let Some(typed) = self.path.as_deref().filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let absolute = typed.starts_with(b"/");
        let mut parts: Vec<&[u8]> = typed.split(|&b| b == b'/').filter(|p| !p.is_empty()).collect();
        while parts.len() > 1 && parts[0] == b"." {
            parts.remove(0);
        }
        if !absolute && parts == [b"."] {
            return Ok(None);
        }
        let cut = if absolute { typed.to_vec() } else { parts.join(&b'/') };
        match RelPath::parse(&cut) {
            Ok(path) => Ok(Some(path)),
            Err(_) if absolute => Err(format!("not a relative path {}", Escaped(typed))),
            Err(why) => Err(format!("{why} {}", Escaped(typed))),
        }
    }
}

fn transfer(verb: Verb, letters: &str, words: &[Word], offer: &Offer) -> Line {
    let letters = if offer.group { letters } else { letters.trim_end_matches('g') };
    let read = Args::read(words, letters).and_then(|args| Ok((args.path()?, args)));
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
    let Args { recursive, dry_run, targets, group, .. } = args;
    Line::Do(match verb {
        Verb::Dsync => Command::Dsync(Dsync { dry_run, recursive, targets, path }),
        Verb::Check => Command::Check(Check { recursive, targets, path }),
        _ => {
            let sync = verb == Verb::Sync;
            Command::Send(Send { sync, recursive, dry_run, targets, group, path })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::words;
    use super::*;

    fn line(text: &str) -> Line {
        parse(&words::split(text.as_bytes()).unwrap(), &Offer::ALL)
    }

    fn send(text: &str) -> Send {
        match line(text) {
            Line::Do(Command::Send(send)) => send,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn said(text: &str) -> String {
        match line(text) {
            Line::Say(text) => text,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn sends_of_old_and_new_clients() {
        let plain = Send {
            sync: false,
            recursive: false,
            dry_run: false,
            targets: vec![],
            group: None,
            path: path("index.html"),
        };
        assert_eq!(send("send index.html"), plain);
        assert_eq!(send("send ./index.html"), plain);
        assert_eq!(send("send  index.html/"), plain);
        let base = Send { recursive: true, path: RelPath::base(), ..plain.clone() };
        assert_eq!(send("send -r "), base);
        assert_eq!(send("send -r ."), base);
        assert_eq!(send("send -r \"\""), base);
        assert_eq!(send("send -r -n "), Send { dry_run: true, ..base.clone() });
        let some = Send {
            recursive: true,
            dry_run: true,
            targets: vec!["a".to_owned(), "b".to_owned()],
            group: Some("www".to_owned()),
            path: path("d e/f"),
            sync: true,
        };
        assert_eq!(send(r"sync -rn -t a -tb -t a -g www d\ e/f"), some);
        assert_eq!(send("sync \"d e//f\" -nt a -r -t b -gwww"), some);
        assert_eq!(send("send -- -r").path, path("-r"));
        assert_eq!(send("send \"-r\"").path, path("-r"));
        assert_eq!(send("send -").path, path("-"));
        assert_eq!(send("send -- --").path, path("--"));
    }

    #[test]
    fn what_cannot_be_sent_is_said_in_one_line() {
        assert_eq!(said("send ../x"), "error: path component \"..\" ../x");
        assert_eq!(said("send a/./b"), "error: path component \".\" a/./b");
        assert_eq!(said("send -r /etc/"), "error: not a relative path /etc/");
        assert_eq!(said("send -r /"), "error: not a relative path /");
        assert_eq!(said(r#"send "a\000b""#), "error: NUL byte in path a\\000b");
        assert_eq!(
            said("send .makuosan/x"),
            "error: reserved name \".makuosan\" in path .makuosan/x"
        );
        assert!(said("send a b").starts_with("error: more than one path"));
        assert_eq!(said("send -x a"), "error: unknown option -x");
        assert_eq!(said("send -rt"), "error: -t needs a host");
        assert_eq!(said("send a -t \"\""), "error: -t needs a host");
        assert_eq!(said("send -g"), "error: -g needs a group");
        assert_eq!(said("check -n a"), "error: unknown option -n");
        assert_eq!(said("dsync -g x a"), "error: unknown option -g");
    }

    #[test]
    fn a_command_without_a_path_shows_its_help() {
        for text in ["send", "send -n", "send .", "send \"\"", "sync -t a", "check", "dsync"] {
            assert!(said(text).starts_with("usage: "), "{text}");
        }
        for text in ["members x", "status -r", "alive yes", "loglevel 10", "loglevel -1"] {
            assert!(said(text).starts_with("usage: "), "{text}");
        }
        for text in ["exclude", "exclude add", "exclude add \"\"", "exclude list x", "progress x"] {
            assert!(said(text).starts_with("usage: "), "{text}");
        }
    }

    #[test]
    fn the_other_commands() {
        let dsync = |dry_run, recursive, path| {
            Line::Do(Command::Dsync(Dsync { dry_run, recursive, targets: vec![], path }))
        };
        assert_eq!(line("dsync -r "), dsync(false, true, RelPath::base()));
        assert_eq!(line("dsync -n"), dsync(true, false, RelPath::base()));
        assert_eq!(line("dsync d"), dsync(false, false, path("d")));
        let check = Check { recursive: true, targets: vec!["h".to_owned()], path: path("d") };
        assert_eq!(line("check -r -t h d"), Line::Do(Command::Check(check.clone())));
        assert_eq!(line("md5 -r -t h d"), Line::Do(Command::Check(check)));
        assert_eq!(line("members"), Line::Do(Command::Members(Form::Table)));
        assert_eq!(line("members -v"), Line::Do(Command::Members(Form::Verbose)));
        assert_eq!(line("members json"), Line::Do(Command::Members(Form::Json)));
        assert_eq!(line("status"), Line::Do(Command::Status { json: false }));
        assert_eq!(line("status json"), Line::Do(Command::Status { json: true }));
        for quit in ["quit", "exit", "bye"] {
            assert_eq!(line(quit), Line::Do(Command::Quit));
        }
        assert_eq!(line("loglevel 2"), Line::Loglevel(Some(2)));
        assert_eq!(line("progress total"), Line::Progress(Some(Watch::Total)));
        assert_eq!(line("exclude add *.tmp"), Line::Exclude(Exclude::Add(b"*.tmp".to_vec())));
        assert_eq!(line("exclude add \"a b\""), Line::Exclude(Exclude::Add(b"a b".to_vec())));
        assert_eq!(said("echo a  b"), "a b\n");
        assert_eq!(said("echo"), "\n");
    }

    #[test]
    fn what_is_not_offered_is_unknown() {
        let now = Offer { send: true, members: true, status: true, ..Offer::default() };
        let line = |text: &str| parse(&words::split(text.as_bytes()).unwrap(), &now);
        for name in ["sync", "dsync", "check", "md5", "exclude", "nonsense"] {
            let unknown = Line::Say(format!("mexec: command error '{name}'"));
            assert_eq!(line(name), unknown);
            assert_eq!(line(&format!("{name} -r x")), unknown);
            assert_eq!(
                line(&format!("help {name}")),
                Line::Say(format!("error: no help for '{name}'"))
            );
        }
        assert_eq!(line("send -g x y"), Line::Say("error: unknown option -g".to_owned()));
        assert!(matches!(line("send y"), Line::Do(Command::Send(_))));
    }
}
