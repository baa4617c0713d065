//! The options of the commands that work on files: names, commands, meaning. The parser and `help`
//! use the same table.
#![forbid(unsafe_code)]

use super::MAX_DELAY;

use super::require::{Quorum, Require};
use super::usage_error::UsageError;
use super::verb::{Offer, Verb};
use super::words::Word;
use crate::name::{Escaped, RelPath};
use crate::time::Span;

/// What an option sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Means {
    Recursive,
    DryRun,
    Host,
    Group,
    Delete,
    DeleteBefore,
    Force,
    MaxDelete,
    IgnoreTimes,
    Checksum,
    LaxAttributes,
    Atomic,
    Quorum,
    Delay,
    Require,
    Listed,
    From,
    NoProbe,
}

/// One option.
pub(super) struct Opt {
    means: Means,
    letter: Option<u8>,
    long: Option<&'static str>,
    /// The name of its value.
    value: Option<&'static str>,
    verbs: &'static [Verb],
    offered: fn(&Offer, Verb) -> bool,
    /// One line for `help`.
    pub(super) help: &'static str,
}

const SENDS: &[Verb] = &[Verb::Send, Verb::Sync];
const DELETES: &[Verb] = &[Verb::Send, Verb::Sync, Verb::Dsync, Verb::Fetch];
const WRITES: &[Verb] = &[Verb::Send, Verb::Sync, Verb::Fetch];
const ALL: &[Verb] = &[Verb::Send, Verb::Sync, Verb::Dsync, Verb::Check, Verb::Fetch];
const HOSTS: &[Verb] =
    &[Verb::Send, Verb::Sync, Verb::Dsync, Verb::Check, Verb::Watch, Verb::Doctor];
const FETCHES: &[Verb] = &[Verb::Fetch];
const LISTS: &[Verb] = &[Verb::Send, Verb::Check];
const WATCHES: &[Verb] = &[Verb::Watch];

fn always(_: &Offer, _: Verb) -> bool {
    true
}

/// In the order of the help.
const OPTIONS: &[Opt] = &[
    Opt {
        means: Means::Recursive,
        letter: Some(b'r'),
        long: None,
        value: None,
        verbs: ALL,
        offered: always,
        help: "the whole tree below PATH, or below the base",
    },
    Opt {
        means: Means::DryRun,
        letter: Some(b'n'),
        long: None,
        value: None,
        verbs: DELETES,
        offered: always,
        help: "only say what would be done",
    },
    Opt {
        means: Means::Host,
        letter: Some(b't'),
        long: None,
        value: Some("HOST"),
        verbs: HOSTS,
        offered: always,
        help: "this member only; may be repeated",
    },
    Opt {
        means: Means::From,
        letter: None,
        long: Some("from"),
        value: Some("HOST"),
        verbs: FETCHES,
        offered: always,
        help: "from this member; else from one that lacks nothing there",
    },
    Opt {
        means: Means::Group,
        letter: Some(b'g'),
        long: None,
        value: Some("GROUP"),
        verbs: SENDS,
        offered: |offer, _| offer.group,
        help: "group that receivers set for what they write",
    },
    Opt {
        means: Means::Delete,
        letter: None,
        long: Some("delete"),
        value: None,
        verbs: SENDS,
        offered: |offer, _| offer.delete,
        help: "then delete on members what does not exist here",
    },
    Opt {
        means: Means::Delete,
        letter: None,
        long: Some("delete"),
        value: None,
        verbs: WATCHES,
        offered: always,
        help: "delete on members what goes here",
    },
    Opt {
        means: Means::Delay,
        letter: None,
        long: Some("delay"),
        value: Some("MS"),
        verbs: WATCHES,
        offered: always,
        help: "milliseconds that a change waits for more (100)",
    },
    Opt {
        means: Means::DeleteBefore,
        letter: None,
        long: Some("delete-before"),
        value: None,
        verbs: SENDS,
        offered: |offer, _| offer.delete,
        help: "the same before anything is sent, to make room",
    },
    Opt {
        means: Means::Delete,
        letter: None,
        long: Some("delete"),
        value: None,
        verbs: FETCHES,
        offered: always,
        help: "then delete here what does not exist there",
    },
    Opt {
        means: Means::DeleteBefore,
        letter: None,
        long: Some("delete-before"),
        value: None,
        verbs: FETCHES,
        offered: always,
        help: "the same before anything is sent, to make room",
    },
    Opt {
        means: Means::Force,
        letter: None,
        long: Some("force"),
        value: None,
        verbs: DELETES,
        offered: |offer, verb| offer.delete || verb == Verb::Dsync,
        help: "delete no matter how much that is",
    },
    Opt {
        means: Means::MaxDelete,
        letter: None,
        long: Some("max-delete"),
        value: Some("N"),
        verbs: DELETES,
        offered: |offer, verb| offer.delete || verb == Verb::Dsync,
        help: "delete nothing if more than N would go on a host",
    },
    Opt {
        means: Means::IgnoreTimes,
        letter: Some(b'I'),
        long: Some("ignore-times"),
        value: None,
        verbs: WRITES,
        offered: |offer, _| offer.compare,
        help: "treat every file as changed",
    },
    Opt {
        means: Means::Checksum,
        letter: None,
        long: Some("checksum"),
        value: None,
        verbs: WRITES,
        offered: |offer, _| offer.compare,
        help: "compare contents instead of time and size",
    },
    Opt {
        means: Means::LaxAttributes,
        letter: None,
        long: Some("lax-attributes"),
        value: None,
        verbs: WRITES,
        offered: |offer, _| offer.compare,
        help: "attributes that cannot be set there are no error",
    },
    Opt {
        means: Means::Atomic,
        letter: None,
        long: Some("atomic"),
        value: None,
        verbs: SENDS,
        offered: |offer, _| offer.atomic,
        help: "everything on all members at once, or nothing",
    },
    Opt {
        means: Means::Quorum,
        letter: None,
        long: Some("quorum"),
        value: Some("N"),
        verbs: SENDS,
        offered: |offer, _| offer.atomic,
        help: "of --atomic: N members, or N%, are enough",
    },
    Opt {
        means: Means::Require,
        letter: None,
        long: Some("require"),
        value: Some("N"),
        verbs: ALL,
        offered: |offer, _| offer.report,
        help: "fail unless N known hosts, or all, have everything",
    },
    Opt {
        means: Means::Listed,
        letter: None,
        long: Some("listed"),
        value: None,
        verbs: LISTS,
        offered: |offer, _| offer.files,
        help: "only what 'files' has listed, at PATH or below it",
    },
    Opt {
        means: Means::NoProbe,
        letter: None,
        long: Some("no-probe"),
        value: None,
        verbs: &[Verb::Doctor],
        offered: always,
        help: "send no packets to find out how they travel",
    },
];

impl Opt {
    /// Its synopsis: `-r`, `-t HOST`, `--max-delete N`; by its letter if it has one.
    pub(super) fn synopsis(&self) -> String {
        let name = match (self.letter, self.long) {
            (Some(letter), _) => format!("-{}", char::from(letter)),
            (None, Some(long)) => format!("--{long}"),
            (None, None) => String::new(),
        };
        match self.value {
            Some(value) => format!("{name} {value}"),
            None => name,
        }
    }

    /// Whether repeating it adds up.
    pub(super) fn adds_up(&self) -> bool {
        self.means == Means::Host
    }
}

/// The options of a command.
pub(super) fn of(verb: Verb, offer: &Offer) -> impl Iterator<Item = &'static Opt> {
    let offer = *offer;
    OPTIONS.iter().filter(move |o| o.verbs.contains(&verb) && (o.offered)(&offer, verb))
}

/// The parsed words after a command that works on files.
#[derive(Default, Debug)]
pub(super) struct Args {
    pub(super) recursive: bool,
    pub(super) dry_run: bool,
    pub(super) delete: bool,
    pub(super) delete_before: bool,
    pub(super) force: bool,
    pub(super) max_delete: Option<u64>,
    pub(super) ignore_times: bool,
    pub(super) checksum: bool,
    pub(super) lax_attributes: bool,
    atomic: bool,
    quorum: Option<Quorum>,
    pub(super) delay: Option<Span>,
    pub(super) require: Option<Require>,
    pub(super) listed: bool,
    pub(super) no_probe: bool,
    pub(super) targets: Vec<String>,
    pub(super) group: Option<String>,
    path: Option<Vec<u8>>,
}

impl Args {
    /// Parses `words`. Options may come after the path; those of one letter may be joined (`-rn`)
    /// and followed by their value (`-thost`), long ones by `=` and a value; `--` ends the options.
    pub(super) fn read(words: &[Word], verb: Verb, offer: &Offer) -> Result<Args, UsageError> {
        let mut args = Args::default();
        let mut words = words.iter();
        let mut options = true;
        while let Some(word) = words.next() {
            match word.bytes.strip_prefix(b"-") {
                Some(b"-") if options && !word.quoted => options = false,
                Some(rest) if options && !word.quoted && !rest.is_empty() => {
                    let mut next = || words.next().map(|word| word.bytes.as_slice());
                    match rest.strip_prefix(b"-") {
                        Some(long) => args.long(long, &mut next, verb, offer)?,
                        None => args.letters(rest, &mut next, verb, offer)?,
                    }
                }
                _ if args.path.is_some() => {
                    return Err(UsageError::SecondPath);
                }
                _ => args.path = Some(word.bytes.clone()),
            }
        }
        Ok(args)
    }

    fn letters<'a>(
        &mut self,
        mut cluster: &'a [u8],
        next: &mut dyn FnMut() -> Option<&'a [u8]>,
        verb: Verb,
        offer: &Offer,
    ) -> Result<(), UsageError> {
        while let [letter, rest @ ..] = cluster {
            let Some(opt) = of(verb, offer).find(|opt| opt.letter == Some(*letter)) else {
                return Err(UsageError::UnknownOption(format!("-{}", Escaped(&[*letter]))));
            };
            if opt.value.is_some() {
                let value = if rest.is_empty() { next() } else { Some(rest) };
                return self.set(opt, value);
            }
            self.set(opt, None)?;
            cluster = rest;
        }
        Ok(())
    }

    fn long<'a>(
        &mut self,
        text: &'a [u8],
        next: &mut dyn FnMut() -> Option<&'a [u8]>,
        verb: Verb,
        offer: &Offer,
    ) -> Result<(), UsageError> {
        let mut halves = text.splitn(2, |&b| b == b'=');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next());
        let named = |opt: &&Opt| opt.long.is_some_and(|long| long.as_bytes() == name);
        let Some(opt) = of(verb, offer).find(named) else {
            return Err(UsageError::UnknownOption(format!("--{}", Escaped(name))));
        };
        match (opt.value, value) {
            (None, Some(_)) => Err(UsageError::NeedlessValue(format!("--{}", Escaped(name)))),
            (Some(_), None) => self.set(opt, next()),
            _ => self.set(opt, value),
        }
    }

    fn set(&mut self, opt: &Opt, value: Option<&[u8]>) -> Result<(), UsageError> {
        let text = || value.filter(|v| !v.is_empty()).map(|v| Escaped(v).to_string());
        match opt.means {
            Means::Recursive => self.recursive = true,
            Means::DryRun => self.dry_run = true,
            Means::Delete => self.delete = true,
            Means::DeleteBefore => (self.delete, self.delete_before) = (true, true),
            Means::Force => self.force = true,
            Means::IgnoreTimes => self.ignore_times = true,
            Means::Checksum => self.checksum = true,
            Means::LaxAttributes => self.lax_attributes = true,
            Means::Atomic => self.atomic = true,
            Means::Listed => self.listed = true,
            Means::NoProbe => self.no_probe = true,
            Means::Host => {
                let host = text().ok_or(UsageError::NoHost)?;
                if !self.targets.contains(&host) {
                    self.targets.push(host);
                }
            }
            Means::From => self.targets = vec![text().ok_or(UsageError::NoFrom)?],
            Means::Group => self.group = Some(text().ok_or(UsageError::NoGroup)?),
            Means::Require => {
                let require = text().and_then(|text| Require::parse(&text));
                self.require = Some(require.ok_or(UsageError::NoRequirement)?);
            }
            Means::Quorum => {
                let quorum = text().and_then(|text| Quorum::parse(&text));
                self.quorum = Some(quorum.ok_or(UsageError::NoQuorum)?);
            }
            Means::MaxDelete => {
                let digits = |text: &String| text.bytes().all(|b| b.is_ascii_digit());
                let number = text().filter(digits).and_then(|text| text.parse().ok());
                self.max_delete = Some(number.ok_or(UsageError::NoNumber)?);
            }
            Means::Delay => {
                let millis = text().and_then(|text| text.parse().ok());
                let millis = millis.filter(|millis| (0..=MAX_DELAY).contains(millis));
                self.delay = Some(Span::from_millis(millis.ok_or(UsageError::NoDelay)?));
            }
        }
        Ok(())
    }

    /// Whether it is for all or none, and how many are enough.
    pub(super) fn atomic(&self) -> Result<Option<Quorum>, UsageError> {
        match (self.atomic, self.quorum) {
            (false, Some(_)) => Err(UsageError::QuorumAlone),
            (false, None) => Ok(None),
            // What is deleted before would be gone whatever comes of the rest.
            (true, _) if self.delete_before => Err(UsageError::AtomicWith("--delete-before")),
            (true, quorum) => Ok(Some(quorum.unwrap_or_default())),
        }
    }

    /// The path; None if there is none, or it is empty.
    pub(super) fn path(&self) -> Result<Option<RelPath>, UsageError> {
        self.path.as_deref().filter(|path| !path.is_empty()).map_or(Ok(None), path)
    }
}

/// A path as it was typed, without a trailing `/`, a leading `./` and doubled `/`. None for the base.
pub(super) fn path(typed: &[u8]) -> Result<Option<RelPath>, UsageError> {
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
        Err(why) => {
            let why = if absolute { None } else { Some(why) };
            Err(UsageError::Path(why, Escaped(typed).to_string()))
        }
    }
}
