//! What is kept of one transfer, while it runs.

use std::sync::Arc;

use super::keeper::Keeper;
use crate::engine::catch_up::{Audience, Deed, Hash, Names, Record, RecordId};
use crate::ids::EntryNo;
use crate::name::HostName;
use crate::stamp::Stamp;
use crate::wire::begin::Recorded;
use crate::wire::manifest::{Manifest, Setup};
use crate::wire::mode::Mode;
use crate::wire::records::MAX_RECORD;

/// A transfer of which a record is kept if it comes to its end.
#[derive(Debug)]
pub struct Recording {
    record: Record,
    names: Names,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing has been written for it, here or anywhere.
    Waiting,
    /// It is in the journal.
    Begun,
    /// Nothing is kept of it here.
    Refused,
}

/// Whether a transfer with this mode and this stamp is one that hosts keep a record of. Where only names
/// are sent, there is nothing that could be made up for.
pub fn leaves_record(mode: Mode, stamp: Stamp) -> bool {
    let only_names = mode.names_only() && !mode.path_is_gone();
    stamp != Stamp::ZERO && !mode.changes_nothing() && !only_names
}

impl Recording {
    /// Of the transfer of `host` with this setup.
    pub fn new(stamp: Stamp, host: HostName, mode: Mode, setup: &Setup) -> Self {
        let deed = Deed {
            recursive: setup.recursive,
            listed: setup.listed,
            deletes: false,
            gone: mode.path_is_gone(),
            forced: setup.forced,
            since: None,
        };
        let mut recording = Recording {
            record: Record {
                id: RecordId { stamp, host: Arc::new(host) },
                path: setup.path.clone(),
                deed,
                audience: setup.audience.clone(),
                patterns: None,
                names: Names::default(),
            },
            names: Names::default(),
            phase: Phase::Waiting,
        };
        recording.add_patterns(setup);
        if recording.record.emit().len() > MAX_RECORD {
            recording.phase = Phase::Refused;
            recording.record.audience = Audience::All;
        }
        recording
    }

    /// The patterns in a setup, or the next part of them.
    pub fn add_patterns(&mut self, setup: &Setup) {
        if setup.patterns.is_empty() {
            return;
        }
        let before = self.record.patterns.map_or(Vec::new(), |hash| hash.0.to_be_bytes().to_vec());
        self.record.patterns = Some(Hash::of(&[&before[..], &setup.patterns].concat()));
    }

    /// Which one it is.
    pub fn id(&self) -> &RecordId {
        &self.record.id
    }

    /// What it has named so far.
    pub fn names(&self) -> Names {
        self.names
    }

    /// Something may be written for it from now on.
    pub fn begin(&mut self, keeper: Option<&mut Keeper>) {
        if self.phase == Phase::Waiting {
            self.phase = match keeper.is_some_and(|keeper| keeper.began(&self.record)) {
                true => Phase::Begun,
                false => Phase::Refused,
            };
        }
    }

    /// A batch of it, but for these entries, ascending, is or will be in place.
    pub fn batch(
        &mut self,
        mut keeper: Option<&mut Keeper>,
        manifest: &Manifest,
        strikes: &[EntryNo],
    ) {
        self.begin(keeper.as_deref_mut());
        let manifest = without(manifest, strikes);
        self.names.add_all(&manifest);
        if let (Some(keeper), Phase::Begun) = (keeper, self.phase) {
            keeper.named(&self.record.id, &manifest);
        }
    }

    /// It is about to come to its end at its sender: what that is to say.
    pub fn end(&self, keeper: Option<&mut Keeper>, deletes: bool) -> Recorded {
        let keeper = keeper.filter(|_| self.phase == Phase::Begun);
        let folds = keeper.and_then(|keeper| keeper.fold(&self.record.id, self.names, deletes));
        Recorded { names: self.names, deletes, folds }
    }

    /// It has come to its end. Whether it leaves a record here.
    pub fn ended(mut self, keeper: &mut Keeper, end: Recorded, complete: bool) -> bool {
        self.begin(Some(&mut *keeper));
        let is_kept = self.phase == Phase::Begun;
        if is_kept {
            keeper.ended(&self.record.id, end, complete);
        }
        is_kept
    }

    /// It has not come to its end. If `wrote` says so, something of it may be in place somewhere.
    pub fn given_up(self, keeper: &mut Keeper, wrote: bool) {
        if self.phase == Phase::Begun {
            keeper.given_up(&self.record.id, wrote);
        }
    }

    /// It has come to its end, and leaves nothing, but has written below its path.
    pub fn unrecorded(self, keeper: &mut Keeper) {
        let path = self.record.path.clone();
        self.given_up(keeper, false);
        keeper.unrecorded(&path);
    }
}

/// What a list has of a manifest: nothing that helps to compare contents only while they are sent.
fn without(manifest: &Manifest, strikes: &[EntryNo]) -> Manifest {
    let entries = EntryNo::ZERO.onwards().zip(&manifest.entries);
    let entries = entries.filter(|(at, _)| strikes.binary_search(at).is_err());
    Manifest {
        setup: manifest.setup.clone(),
        entries: entries.map(|(_, entry)| entry.clone()).collect(),
        ..Manifest::default()
    }
}
