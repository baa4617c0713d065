//! What is kept of a transfer that has ended.

use std::fmt;
use std::sync::Arc;

use crate::name::{HostName, RelPath};
use crate::stamp::Stamp;
use crate::wire::audience::Audience;
use crate::wire::names::{Hash, Names};
use crate::wire::records::Key;

/// Which transfer it was: when, and whose. Later ones are greater.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RecordId {
    /// The stamp that its sender drew for it.
    pub stamp: Stamp,
    /// The name of its sender.
    pub host: Arc<HostName>,
}

impl RecordId {
    /// A number for it, that differs from those of all others but by bad luck.
    pub fn key(&self) -> u64 {
        let stamp = self.stamp.bits().to_be_bytes();
        Hash::of(&[&stamp[..], self.host.as_str().as_bytes()].concat()).0
    }

    /// What it is called on the wire.
    pub fn wire_key(&self) -> Key {
        Key { stamp: self.stamp, hash: self.key() }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.stamp, self.host)
    }
}

/// What a transfer did at its targets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deed {
    /// All that is below the path, too.
    pub recursive: bool,
    /// Only what was named in a list of paths, each at the path or below it.
    pub listed: bool,
    /// What its sender did not have below the path was deleted, everywhere below it: it had no errors at
    /// its sender.
    pub deletes: bool,
    /// The path was gone at its sender.
    pub gone: bool,
    /// The guards of deletion did not hold it up.
    pub forced: bool,
    /// What its sender has sent like it from this stamp on is in its list, too.
    pub since: Option<Stamp>,
}

/// What is kept of a transfer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Which one it is.
    pub id: RecordId,
    /// What it was about.
    pub path: RelPath,
    /// What it did.
    pub deed: Deed,
    /// For whom.
    pub audience: Audience,
    /// The hash of its patterns, if it had any.
    pub patterns: Option<Hash>,
    /// What it named.
    pub names: Names,
}

impl Record {
    /// Whether it was for this host.
    pub fn is_for(&self, host: &HostName) -> bool {
        *self.id.host != *host && self.audience.includes(host)
    }

    /// Whether the host had a part in it: it was for that host, or sent by it.
    pub fn concerns(&self, host: &HostName) -> bool {
        *self.id.host == *host || self.audience.includes(host)
    }

    /// Whether it wrote or deleted below its path, too.
    pub(super) fn reaches_below(&self) -> bool {
        self.deed.recursive || self.deed.gone
    }

    /// Whether `path` is where it wrote or deleted.
    pub fn reaches(&self, path: &RelPath) -> bool {
        match self.reaches_below() {
            true => path.is_under(&self.path),
            false => *path == self.path,
        }
    }

    /// Whether nothing is left, where it reached, but what it named.
    pub fn settles(&self) -> bool {
        self.deed.gone || (self.deed.deletes && self.deed.recursive && !self.deed.listed)
    }

    /// Whether whoever has all of this one lacks nothing of `earlier`. `names_all_of`: whether this one
    /// names every entry of the earlier one.
    pub fn covers(&self, earlier: &Record, names_all_of: impl FnOnce() -> bool) -> bool {
        if self.id <= earlier.id
            || !self.reaches(&earlier.path)
            || (earlier.deed.recursive && !self.deed.recursive && !self.deed.gone)
            || !self.audience.includes_all_of(&earlier.audience)
        {
            return false;
        }
        if self.settles() {
            let all = self.patterns.is_none() || self.patterns == earlier.patterns;
            let as_strong = self.deed.forced || !earlier.deed.forced;
            return all && (as_strong || !earlier.deletes_anything());
        }
        let as_strong = self.deed.deletes || !earlier.deletes_listed();
        !earlier.deletes_anything() && as_strong && names_all_of()
    }

    /// Whether an earlier one is in its list.
    pub(super) fn folds(&self, earlier: &Record) -> bool {
        let is_since = self.deed.since.is_some_and(|since| since <= earlier.id.stamp);
        is_since && self.continues(earlier)
    }

    /// Whether an earlier list is like this one: this one may take its place.
    pub(super) fn continues(&self, earlier: &Record) -> bool {
        let as_before =
            Deed { deletes: earlier.deed.deletes, since: earlier.deed.since, ..self.deed };
        self.id.host == earlier.id.host
            && self.id.stamp > earlier.id.stamp
            && (&self.path, &self.audience, self.patterns)
                == (&earlier.path, &earlier.audience, earlier.patterns)
            && self.deed.listed
            && earlier.deed == as_before
            && (self.deed.deletes || !earlier.deed.deletes)
    }

    /// Whether it deleted what its list says is gone, and nothing else.
    pub(super) fn deletes_listed(&self) -> bool {
        self.deed.listed && self.deed.deletes
    }

    /// Whether it says what is to be at a path: by naming it, or by having deleted all that was there or above it.
    /// `has`: whether its list has a hash. None if that cannot be told.
    pub(super) fn says(
        &self,
        path: &RelPath,
        mut has: impl FnMut(Hash) -> Option<bool>,
    ) -> Option<bool> {
        let hash = Hash::of_path(path);
        if !self.deletes_listed() {
            return has(hash).or_else(|| self.names.tell(hash));
        }
        let mut found = has(hash)?;
        let bytes = path.as_bytes();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([bytes.len()]) {
            let above = bytes.get(..end).unwrap_or_default();
            found |= has(Hash::of_all_below(above))?;
        }
        Some(found)
    }

    fn deletes_anything(&self) -> bool {
        (self.deed.deletes && !self.deed.listed) || self.deed.gone
    }

    /// Whether this one's entries can be told to be among those of a later one without its list: there is
    /// but one, which `has` finds, or they are the same.
    pub fn is_named_by(&self, later: &Record, has: impl FnOnce(Hash) -> Option<bool>) -> bool {
        self.names.count == 0
            || self.names == later.names
            || self.names.only().and_then(has) == Some(true)
    }
}
