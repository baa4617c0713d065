//! What this host lacks, and whom it asks for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::journal::Journal;
use super::record::RecordId;
use super::types::{Lists, State, To};
use crate::engine::rng::Rng;
use crate::name::{HostName, NodeId};
use crate::time::{Span, Time};
use crate::wire::behind::Why;
use crate::wire::names::Hash;
use crate::wire::records::{Key, Records};

/// The records that are asked for at a time.
const AT_ONCE: usize = 256;
/// How long those who have a record are waited for, at least.
const ANSWERS: Span = Span::from_millis(100);
/// How long the answer of the one that is to give it is waited for.
const PATIENCE: Span = Span::from_secs(3);
/// How long it may take until it begins.
const QUEUE: Span = Span::from_secs(10);
/// How often the same host is asked before it answers.
const TRIES: u32 = 3;
/// What failed here is tried again after this, twice as long each time.
const FIRST_RETRY: Span = Span::from_secs(60);
/// But never later than this.
const LAST_RETRY: Span = Span::from_secs(3_600);
/// What nobody has is asked for again after this.
const NOBODY: Span = Span::from_secs(60);

/// How a pull ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pulled {
    /// All of it is here, or something later.
    Complete,
    /// The other host could not give all of it.
    Declined,
    /// Something could not be written or deleted here.
    Failed(Why),
    /// It broke off.
    Lost,
}

impl Pulled {
    /// Why what was asked for is not all here.
    pub fn why(self) -> Why {
        match self {
            Pulled::Complete => Why::Asking,
            Pulled::Declined => Why::Declined,
            Pulled::Failed(why) => why,
            Pulled::Lost => Why::BrokeOff,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It is asked for at this time.
    Idle(Time),
    /// Those who have it answer, until this time.
    Asking(Time),
    /// This one is to give it, and is asked again at this time.
    Waiting(NodeId, Time, u32),
    /// It comes from this one.
    Running(NodeId),
}

#[derive(Debug)]
struct Want {
    stage: Stage,
    /// Those that have it, and were not tried.
    holders: BTreeSet<NodeId>,
    /// The hosts that could not give all of it.
    tried: BTreeSet<HostName>,
    failures: u32,
    /// Why it has not come yet.
    why: Why,
}

/// What is lacking here.
pub(super) struct Pulls {
    room: usize,
    rng: Rng,
    wants: BTreeMap<RecordId, Want>,
    names: BTreeMap<NodeId, HostName>,
    out: VecDeque<(To, Records)>,
}

impl Pulls {
    pub fn new(room: usize, seed: u64) -> Self {
        Pulls {
            room,
            rng: Rng::new(seed),
            wants: BTreeMap::new(),
            names: BTreeMap::new(),
            out: VecDeque::new(),
        }
    }

    /// A host that keeps records is there. What no other could give is asked for once more.
    pub fn joined(&mut self, now: Time, node: NodeId, name: &HostName, journal: &Journal) {
        if self.names.insert(node, name.clone()).is_some() {
            return;
        }
        for (record, state, _) in journal.iter().rev().take(AT_ONCE * 4) {
            let again = state == State::Noted && journal.is_wanted(&record.id);
            if again && self.wants.len() < AT_ONCE {
                self.wants.entry(record.id.clone()).or_insert_with(|| Want::new(now + ANSWERS));
            }
        }
        for want in self.wants.values_mut() {
            if let Stage::Idle(at) = &mut want.stage {
                // A host whose disk is full does not need the others for that.
                if want.failures == 0 && !want.tried.contains(name) {
                    *at = (*at).min(now + ANSWERS);
                }
            }
        }
    }

    pub fn gone(&mut self, now: Time, node: NodeId) {
        self.names.remove(&node);
        for want in self.wants.values_mut() {
            want.holders.remove(&node);
            if matches!(want.stage, Stage::Waiting(donor, ..) if donor == node) {
                want.stage = Stage::Idle(now);
            }
        }
    }

    /// Why what is lacking has not come yet: the worst of it.
    pub fn why(&self) -> Why {
        self.wants.values().map(|want| want.why).max().unwrap_or_default()
    }

    /// What waits for its next try is tried at once.
    pub fn hurry(&mut self, now: Time) {
        for want in self.wants.values_mut() {
            if let Stage::Idle(at) = &mut want.stage {
                *at = now;
                want.tried.clear();
            }
        }
    }

    /// Another host says that it can give these.
    pub fn have(&mut self, now: Time, node: NodeId, keys: &[Key], journal: &Journal) {
        let Some(name) = self.names.get(&node) else { return };
        for key in keys {
            let Some(want) = journal.find(*key).and_then(|id| self.wants.get_mut(&id)) else {
                continue;
            };
            if want.tried.contains(name) {
                continue;
            }
            want.holders.insert(node);
            match &mut want.stage {
                Stage::Waiting(donor, again, tries) if *donor == node => {
                    (*again, *tries) = (now + QUEUE, 0);
                }
                _ => {}
            }
        }
    }

    /// Another host wants these of a third one: who wants the same joins in.
    pub fn overhear(&mut self, now: Time, donor: NodeId, keys: &[Key], journal: &Journal) {
        let mut same = Vec::new();
        for key in keys {
            let Some(want) = journal.find(*key).and_then(|id| self.wants.get_mut(&id)) else {
                continue;
            };
            let known = self.names.get(&donor).is_some_and(|name| !want.tried.contains(name));
            if known && matches!(want.stage, Stage::Idle(_) | Stage::Asking(_)) {
                want.stage = Stage::Waiting(donor, now + PATIENCE, 1);
                same.push(*key);
            }
        }
        self.send(Some(donor), &same);
    }

    /// The transfer of a record has begun to come.
    pub fn begun(&mut self, id: &RecordId, node: NodeId) {
        if let Some(want) = self.wants.get_mut(id) {
            want.stage = Stage::Running(node);
        }
    }

    /// It is over.
    pub fn over(
        &mut self,
        now: Time,
        id: &RecordId,
        how: Pulled,
        journal: &mut Journal,
        lists: &mut dyn Lists,
    ) {
        if how == Pulled::Complete {
            journal.advance(id, State::Complete, lists);
            self.wants.remove(id);
            return;
        }
        let Some(want) = self.wants.get_mut(id) else { return };
        let Stage::Running(node) = want.stage else { return };
        want.stage = Stage::Idle(now);
        want.why = how.why();
        match how {
            Pulled::Declined => {
                want.holders.remove(&node);
                want.tried.extend(self.names.get(&node).cloned());
            }
            Pulled::Failed(_) => {
                want.failures += 1;
                let wait = FIRST_RETRY * (1 << (want.failures - 1).min(6));
                want.stage = Stage::Idle(now + wait.at_most(LAST_RETRY));
            }
            Pulled::Lost | Pulled::Complete => {
                want.stage = Stage::Idle(now + Span::from_micros(self.rng.below(1_000_000)));
            }
        }
    }

    pub fn timeout(&mut self, now: Time, journal: &mut Journal, lists: &mut dyn Lists) {
        self.wants.retain(|id, _| journal.is_wanted(id));
        for id in journal.wanted() {
            if self.wants.len() >= AT_ONCE {
                break;
            }
            self.wants.entry(id.clone()).or_insert_with(|| Want::new(now));
        }
        let answers = ANSWERS + Span::from_millis(self.names.len() as u64);
        let mut asks = Vec::new();
        let mut donors: BTreeMap<NodeId, Vec<Key>> = BTreeMap::new();
        let mut noted = Vec::new();
        for (id, want) in self.wants.iter_mut().rev() {
            let key = id.wire_key();
            match want.stage {
                Stage::Idle(at) if at <= now && !self.names.is_empty() => {
                    want.holders.clear();
                    want.stage = Stage::Asking(now + answers);
                    asks.push(key);
                }
                Stage::Asking(until) if until <= now => {
                    match best(&want.holders, &self.names) {
                        Some(donor) => {
                            want.stage = Stage::Waiting(donor, now + PATIENCE, 1);
                            donors.entry(donor).or_default().push(key);
                        }
                        // All that have it were tried.
                        None if !want.tried.is_empty() => noted.push(id.clone()),
                        None => {
                            want.stage = Stage::Idle(now + NOBODY);
                            want.why = want.why.max(Why::Nobody);
                        }
                    }
                }
                Stage::Waiting(donor, again, tries) if again <= now => {
                    if tries >= TRIES {
                        want.tried.extend(self.names.get(&donor).cloned());
                        want.stage = Stage::Idle(now);
                    } else {
                        want.stage = Stage::Waiting(donor, now + PATIENCE, tries + 1);
                        donors.entry(donor).or_default().push(key);
                    }
                }
                _ => {}
            }
        }
        self.send(None, &asks);
        donors.iter().for_each(|(donor, keys)| self.send(Some(*donor), keys));
        for id in noted {
            self.wants.remove(&id);
            journal.advance(&id, State::Noted, lists);
        }
    }

    fn send(&mut self, donor: Option<NodeId>, keys: &[Key]) {
        for keys in keys.chunks(Records::keys_in(self.room)) {
            self.out.push_back((To::Group, Records::Want { donor, keys: keys.to_vec() }));
        }
    }

    pub fn poll_timeout(&self) -> Option<Time> {
        let at = |want: &Want| match want.stage {
            Stage::Idle(at) if !self.names.is_empty() => Some(at),
            Stage::Asking(at) | Stage::Waiting(_, at, _) => Some(at),
            Stage::Idle(_) | Stage::Running(_) => None,
        };
        self.wants.values().filter_map(at).min()
    }

    pub fn poll_transmit(&mut self) -> Option<(To, Records)> {
        self.out.pop_front()
    }
}

impl Want {
    fn new(at: Time) -> Self {
        Want {
            stage: Stage::Idle(at),
            holders: BTreeSet::new(),
            tried: BTreeSet::new(),
            failures: 0,
            why: Why::Asking,
        }
    }
}

/// Whom to ask: all who want something of the same hosts ask the same.
fn best(holders: &BTreeSet<NodeId>, names: &BTreeMap<NodeId, HostName>) -> Option<NodeId> {
    let rank = |node: &&NodeId| names.get(node).map(|name| Hash::of(name.as_str().as_bytes()));
    holders.iter().filter(|node| names.contains_key(node)).min_by_key(rank).copied()
}
