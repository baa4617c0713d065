//! What the watcher and the daemon tell each other.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::errno::ErrorText;
use crate::fs::root::Root;
use crate::name::RelPath;
use crate::pattern::Patterns;
use crate::time::{Span, Time};

/// What editors and desktops make for a moment; left out unless somebody wants it.
pub const TEMPORARIES: [&str; 6] = ["4913", "*.swp", "*.swx", "*~", ".#*", ".goutputstream-*"];
/// The most paths of a flush, and the most names of a watch that are remembered at a time. What is more has the
/// tree sent as a whole.
pub const MOST_PATHS: usize = 65_536;
/// The usual wait between the last change of a file and its flush.
pub const DELAY: Span = Span::from_millis(100);

/// The number of a watch. The daemon gives it, and never gives one twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WatchNo(pub u32);

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory.
    pub path: RelPath,
    /// What is left out.
    pub patterns: Arc<Patterns>,
    /// How long a file that was written is to be quiet before it is sent.
    pub delay: Span,
    /// Whether deletions are passed on.
    pub deletes: bool,
    /// Whether many of them at once are held until somebody says that they are meant. If not, who is told of them
    /// judges.
    pub holds: bool,
}

/// What the daemon tells the watcher.
#[derive(Debug)]
pub enum Command {
    /// Watch this. A flush of all of it is the first answer, or that it is refused.
    Add {
        /// Its number from now on.
        watch: WatchNo,
        /// The base directory.
        root: Arc<Root>,
        /// What is watched.
        config: Config,
    },
    /// Watch it no longer. Nothing is said of it any more.
    Remove(WatchNo),
    /// The base directory is another one now. To be told before any flush is sent from it.
    Base(Arc<Root>),
    /// Let deletions go that are held.
    Release(WatchNo),
    /// Say when all is sent that has changed until now.
    Reach {
        /// Which.
        watch: WatchNo,
        /// What the answer is to name.
        cookie: u64,
    },
    /// The flush that was under way is over.
    Done {
        /// Which.
        watch: WatchNo,
        /// What came of it.
        went: Went,
    },
    /// No more commands follow.
    Stop,
}

/// What came of a flush.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Went {
    /// It was sent, but for what could not be read here, or went on changing.
    Sent {
        /// That.
        again: Vec<RelPath>,
    },
    /// It was not sent: it is tried again after a while.
    NotSent,
}

/// What the watcher tells the daemon.
#[derive(Debug)]
pub enum Event {
    /// This is to be sent. There is one flush of a watch at a time: the next one comes after
    /// [`Command::Done`].
    Flush(WatchNo, Flush),
    /// All that had changed when it was asked is sent.
    Reached {
        /// Which.
        watch: WatchNo,
        /// What the question named.
        cookie: u64,
        /// Why something is held nevertheless, and how many deletions.
        held: Option<(Held, u64)>,
    },
    /// It is not watched.
    Refused(WatchNo, Refusal),
    /// The base directory may be another one now: [`Command::Base`] is to say which, if it is.
    LookAtBase,
}

/// What is to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flush {
    /// Paths, in the order of [`RelPath`], none twice; at most [`MOST_PATHS`].
    Paths(Arc<Vec<Changed>>),
    /// All of the watched tree, as an ordinary transfer.
    Tree {
        /// Why.
        why: Why,
        /// Whether what targets have beside it is deleted.
        deletes: bool,
    },
}

/// A path that has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// The path.
    pub path: RelPath,
    /// What was found there.
    pub now: Now,
    /// Where targets are likely to have the same thing, if it was moved.
    pub from: Option<RelPath>,
}

/// What was found at a path that has changed. It may have changed again: what is there without being
/// expected, or is not there any more, is left alone, and comes once more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Now {
    /// Something, of which nothing but itself is meant: of a directory its attributes.
    Itself,
    /// A directory that was not there before, with all that is in it.
    Whole,
    /// The same, and what targets have in it besides is held.
    Merged,
    /// Nothing: it is to be deleted, with all that is in it.
    Gone,
}

/// Why a tree is sent as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// It is watched from now on.
    Begun,
    /// The kernel could not keep all events.
    Overflow,
    /// More names than [`MOST_PATHS`] have changed.
    TooMany,
    /// Something was unmounted, or mounted over it.
    Mounts,
    /// Deletions that were held are released.
    Released,
    /// The watched directory is another one now.
    Replaced,
    /// What was sent so because of this is complete, and what targets have beside it may go.
    Deletions(Box<Why>),
}

impl Why {
    /// Whether deletions that were held are released.
    pub fn is_released(&self) -> bool {
        match self {
            Why::Released => true,
            Why::Deletions(why) => why.is_released(),
            _ => false,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Begun => f.write_str("start"),
            Why::Overflow => f.write_str("too many events at once (fs.inotify.max_queued_events)"),
            Why::TooMany => write!(f, "more than {MOST_PATHS} names have changed"),
            Why::Mounts => f.write_str("mounts have changed"),
            Why::Released => f.write_str("deletions were released"),
            Why::Replaced => f.write_str("the directory was replaced"),
            Why::Deletions(why) => write!(f, "{why}; deletions"),
        }
    }
}

/// Why something is not watched.
#[derive(Debug)]
pub enum Refusal {
    /// There is no directory that could be listed.
    Directory(io::Error),
    /// The kernel has no watches for this user (inotify(7)).
    Inotify(io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Directory(error) => write!(f, "{}", ErrorText(error)),
            Refusal::Inotify(error) => {
                let setting = match error.raw_os_error() {
                    Some(libc::EMFILE) => " (fs.inotify.max_user_instances, ulimit -n)",
                    Some(libc::ENOSPC) => " (fs.inotify.max_user_watches)",
                    _ => "",
                };
                write!(f, "inotify: {}{setting}", ErrorText(error))
            }
        }
    }
}

/// Why deletions are held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    /// So many at once, of so many entries.
    Many(u64, u64),
    /// There is nothing in the directory any more.
    Emptied,
    /// The directory is another one now, or gone: nothing at all is sent.
    Replaced,
    /// They were not seen one by one, and much less is there than before.
    Unseen(u64, u64),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::Many(gone, of) => write!(f, "{gone} of {of} entries went at once"),
            Held::Emptied => f.write_str("all entries went"),
            Held::Replaced => f.write_str("the directory was replaced"),
            Held::Unseen(now, before) => write!(f, "{now} of {before} entries are left"),
        }
    }
}

/// How a watch fares.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Numbers {
    /// The watched directories.
    pub directories: u64,
    /// The directories that lack a watch, and are looked at each minute.
    pub unwatched: u64,
    /// That is because the kernel gives no more.
    pub is_full: bool,
    /// The entries in all of them, about.
    pub entries: u64,
    /// The names that have changed and are not sent yet.
    pub pending: u64,
    /// The deletions that are held.
    pub held: u64,
    /// Why they are held.
    pub held_why: Option<Held>,
    /// How many flushes were sent.
    pub flushes: u64,
    /// When the last one was over, and how many paths were in it (none: the whole tree).
    pub last: Option<(Time, Option<u64>)>,
    /// How often the tree was sent as a whole.
    pub rescans: u64,
    /// When and why it was last.
    pub rescan: Option<(Time, Why)>,
    /// Whether a flush is under way.
    pub flushing: bool,
}
