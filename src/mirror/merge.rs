//! Deltas: what one host knows and others do not, and how it is taken in.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::contexts::beyond;
use super::entry::Entry;
use super::index::Index;
use super::rules::Rule;
use crate::wire::setup::MirrorSetup;
use crate::wire::versions::{Dot, IndexId, Knowledge, MAX_IDS, MAX_MEMBERS, Member};

/// An entry of a delta: a path and its set, and what is known of that path, if it is more than what the sender knows of
/// the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The path.
    pub path: Box<[u8]>,
    /// The set.
    pub members: Vec<Member>,
    /// The knowledge that it goes with; None for that of the delta.
    pub context: Option<Arc<Knowledge>>,
}

/// Why a delta, or an entry of it, is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It starts from what is not known here: what is between must be asked for.
    Gap,
    /// Too many hosts have begun to send and not gone on.
    TooManyContexts,
    /// There would be more versions of a path than are kept.
    TooManyMembers,
    /// It, and what is known here, are about more indexes than are kept.
    TooManyIds,
    /// Its set and its knowledge contradict each other.
    Invalid,
}

/// An own dot is not on disk yet: nothing may leave the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotSynced;

/// A delta that is being taken in. What is known of the tree moves when all of it was merged and not before: whoever
/// drops it leaves that as it was.
#[derive(Clone, Debug)]
#[must_use]
pub struct Taking {
    span: MirrorSetup,
    /// What this index is called if the sender has heard more of it than itself.
    id: IndexId,
    /// The hashes of the paths that it had, of a full one.
    had: Vec<u64>,
}

/// The contexts of a delta, by their numbers: many entries have the same.
type Shared = BTreeMap<u32, Option<Arc<Knowledge>>>;

impl Index {
    /// What who knows `from` lacks. For several receivers that is what all of them know ([`Knowledge::meet`]).
    ///
    /// # Errors
    /// An own dot is not on disk yet.
    pub fn delta<'a>(
        &'a self,
        from: &Knowledge,
    ) -> Result<(MirrorSetup, impl Iterator<Item = Part> + 'a), NotSynced> {
        if self.is_unsafe() {
            return Err(NotSynced);
        }
        let full = self.rules.has(Rule::Floor) && !from.is_at_least(&self.floor);
        let span = MirrorSetup {
            from: from.clone(),
            to: self.known.clone(),
            floor: self.floor.clone(),
            full,
            by: self.id(),
        };
        let from = from.clone();
        let mut contexts = Shared::new();
        let parts = self.entries_from(&[]).filter_map(move |(path, entry)| {
            // What has no member is told of by its absence, where everything is.
            let is_new = |member: &Member| full || !from.covers(member.dot);
            let is_new = entry.members.iter().any(is_new);
            is_new.then(|| self.part(path, entry, &mut contexts))
        });
        Ok((span, parts))
    }

    /// The entry of a path as it is sent to whoever asks for its bytes.
    ///
    /// # Errors
    /// An own dot is not on disk yet.
    pub fn part_of(&self, path: &[u8]) -> Result<(Knowledge, Part), NotSynced> {
        match self.is_unsafe() {
            true => Err(NotSynced),
            false => Ok((
                self.known.clone(),
                self.part(path.into(), self.entry(path), &mut Shared::new()),
            )),
        }
    }

    /// The entries from a path on, as they are sent.
    pub fn parts_from<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = Part> + 'a {
        let mut contexts = Shared::new();
        self.entries_from(path).map(move |(path, entry)| self.part(path, entry, &mut contexts))
    }

    fn part(&self, path: Box<[u8]>, entry: Entry, contexts: &mut Shared) -> Part {
        let context = || self.context(&entry).map(Arc::new);
        let context = match self.rules.has(Rule::WireContext) {
            true => contexts.entry(entry.context).or_insert_with(context).clone(),
            false => None,
        };
        Part { path, members: entry.members, context }
    }

    /// The paths that have one of these dots.
    pub fn paths_of(&self, dots: &[Dot]) -> Vec<Box<[u8]>> {
        let has = |entry: &Entry| entry.members.iter().any(|member| dots.contains(&member.dot));
        self.entries_from(&[]).filter(|(_, entry)| has(entry)).map(|(path, _)| path).collect()
    }

    /// Begins to take a delta in. `id` is a new one, drawn at random, in case that the sender knows more of this host than
    /// itself.
    ///
    /// # Errors
    /// [`Refused::Gap`], [`Refused::TooManyIds`].
    pub fn take_in(&mut self, span: MirrorSetup, id: IndexId) -> Result<Taking, Refused> {
        let all = [&self.known, &self.floor, &span.to, &span.floor];
        if union(&all).len() > MAX_IDS {
            return Err(Refused::TooManyIds);
        }
        self.guard(span.to.of(self.id()), id);
        if self.rules.has(Rule::Gap) && !span.full && !self.known.is_at_least(&span.from) {
            return Err(Refused::Gap);
        }
        // Before its first entry: that of which the tombstone is missing there may be here.
        if self.rules.has(Rule::FloorTravels) && !self.floor.is_at_least(&span.floor) {
            self.floor.join(&span.floor);
            self.write_head();
        }
        if !self.rules.has(Rule::KnownLast) {
            self.learn(&span.to);
        }
        Ok(Taking { span, id, had: Vec::new() })
    }

    /// Merges an entry of a delta, as soon as it is there and as often as it comes. Whether anything changed: what is to
    /// be done at its path, and at those above it, may be something else then.
    ///
    /// # Errors
    /// All but [`Refused::Gap`].
    pub fn merge_part(&mut self, taking: &mut Taking, part: &Part) -> Result<bool, Refused> {
        let context = part.context.as_deref().unwrap_or(&taking.span.to);
        if self.rules.has(Rule::GuardContext) && self.id() != taking.id {
            self.guard(context.of(self.id()), taking.id);
        }
        let changed = self.merge(&part.path, &part.members, context)?;
        if taking.span.full {
            taking.had.push(hash(&part.path));
        }
        Ok(changed)
    }

    /// All of a delta was merged, and what is on disk follows: its knowledge is that of this host, too. What a full one
    /// did not have is gone; the paths where that changed anything are returned.
    ///
    /// # Errors
    /// [`Refused::TooManyContexts`]: what is known stays as it was.
    pub fn finish(&mut self, mut taking: Taking) -> Result<Vec<Box<[u8]>>, Refused> {
        let mut changed = Vec::new();
        if taking.span.full {
            taking.had.sort_unstable();
            let is_missing = |path: &[u8]| taking.had.binary_search(&hash(path)).is_err();
            let all = self.entries_from(&[]).filter(|(_, entry)| !entry.members.is_empty());
            let missing: Vec<_> =
                all.map(|(path, _)| path).filter(|path| is_missing(path)).collect();
            for path in missing {
                if self.merge(&path, &[], &taking.span.to)? {
                    changed.push(path);
                }
            }
            self.floor.join(&taking.span.floor);
        }
        self.learn(&taking.span.to);
        Ok(changed)
    }

    fn learn(&mut self, to: &Knowledge) {
        if !self.known.is_at_least(to) {
            self.known.join(to);
            self.contexts.covered_by(&self.known);
            self.write_head();
        }
    }

    /// Merges what another host has of a path into what is here. It is a join: the order, repetition and who passes it
    /// on do not matter. Whether anything changed.
    ///
    /// # Errors
    /// All but [`Refused::Gap`].
    pub fn merge(
        &mut self,
        path: &[u8],
        theirs: &[Member],
        context: &Knowledge,
    ) -> Result<bool, Refused> {
        if theirs.iter().any(|member| !context.covers(member.dot)) {
            return Err(Refused::Invalid);
        }
        let mut entry = self.entry(path);
        let own = self.context(&entry);
        let own = own.as_ref().unwrap_or(&self.known);
        let has = |set: &[Member], dot| set.iter().any(|member| member.dot == dot);
        let ours = &entry.members;
        let kept = ours.iter().filter(|m| has(theirs, m.dot) || !context.covers(m.dot));
        let new = theirs.iter().filter(|m| !has(ours, m.dot) && !own.covers(m.dot));
        let mut members: Vec<Member> = kept.chain(new).copied().collect();
        members.sort_unstable_by_key(|member| member.dot);
        members.dedup_by_key(|member| member.dot);
        if !self.rules.has(Rule::Tomb) && members.iter().any(|member| member.version.is_some()) {
            members.retain(|member| member.version.is_some());
        }
        if members.len() > MAX_MEMBERS {
            return Err(Refused::TooManyMembers);
        }
        if self.rules.has(Rule::Context) {
            let both = union(&[own, context]);
            if both.len() > MAX_IDS {
                return Err(Refused::TooManyIds);
            }
            let more = beyond(&both, &self.known);
            entry.context = self.context_number(more).ok_or(Refused::TooManyContexts)?;
        }
        for member in theirs {
            // A stamp that is too far ahead loses nothing but the name.
            let _ = self.clock.adopt(member.stamp, self.wall);
        }
        let changed = members != entry.members;
        entry.members = members;
        self.put(path, entry, false);
        Ok(changed)
    }

    /// The number of the context with this.
    fn context_number(&mut self, known: Knowledge) -> Option<u32> {
        let last = self.contexts.last();
        let mut contexts = std::mem::take(&mut self.contexts);
        let number = contexts.number(known, || self.used_contexts());
        self.contexts = contexts;
        if self.contexts.last() > last {
            self.write_head();
        }
        number
    }
}

/// What any of them knows.
fn union(all: &[&Knowledge]) -> Knowledge {
    let mut union = Knowledge::default();
    all.iter().for_each(|known| union.join(known));
    union
}

/// FNV-1a.
fn hash(path: &[u8]) -> u64 {
    path.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
