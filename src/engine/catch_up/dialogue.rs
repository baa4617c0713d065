//! What a host says to others of its records and hears from them: comparing, asking, giving.

use std::collections::BTreeMap;

use super::exchange::Exchange;
use super::giving::{Giving, Serve};
use super::journal::Journal;
use super::pulls::{Pulled, Pulls};
use super::record::{Record, RecordId};
use super::types::{Lists, To};
use crate::engine::rng::Rng;
use crate::name::{HostName, NodeId};
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use crate::wire::behind::{Behind, Why};
use crate::wire::records::{Key, Records, Summary};

/// The answers that wait, at most.
const ANSWERS: usize = 4_096;

/// What a host is like that talks.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many bytes of payload fit into a packet.
    pub room: usize,
    /// Seeds what is random.
    pub seed: u64,
    /// Records before are of a time when this host kept none, but had files: they are not pulled.
    pub born: Stamp,
    /// They are pulled nevertheless.
    pub takes_all: bool,
    /// Whether it can be a target.
    pub takes: bool,
    /// Whether it can send.
    pub gives: bool,
}

/// The talk of one host about its records. Hand in one thing, drain [`Dialogue::poll_transmit`] and
/// [`Dialogue::poll_serve`], and wait until [`Dialogue::poll_timeout`].
pub struct Dialogue {
    config: Config,
    rng: Rng,
    exchange: Exchange,
    pulls: Pulls,
    giving: Giving,
    /// The members that keep records.
    members: BTreeMap<NodeId, HostName>,
    /// What is to be said of what can be given, when, and to whom.
    answers: BTreeMap<(Time, NodeId), Vec<Key>>,
}

impl Dialogue {
    /// Nobody is known yet.
    pub fn new(now: Time, config: Config, journal: &Journal) -> Self {
        let Config { room, seed, .. } = config;
        Dialogue {
            rng: Rng::new(seed),
            exchange: Exchange::new(now, room, seed ^ 1, journal),
            pulls: Pulls::new(room, seed ^ 2),
            giving: Giving::default(),
            members: BTreeMap::new(),
            answers: BTreeMap::new(),
            config,
        }
    }

    /// A member's HELLO says how its records add up; None if it keeps none, or has a name that cannot tell it from others.
    pub fn hello(
        &mut self,
        now: Time,
        node: NodeId,
        name: &HostName,
        summary: Option<Summary>,
        journal: &Journal,
    ) {
        self.exchange.hello(now, node, name, summary);
        if summary.is_some() {
            self.members.insert(node, name.clone());
            self.pulls.joined(now, node, name, journal);
        } else {
            self.leaves(now, node);
        }
    }

    /// A member has left.
    pub fn gone(&mut self, now: Time, node: NodeId) {
        self.exchange.gone(node);
        self.leaves(now, node);
    }

    fn leaves(&mut self, now: Time, node: NodeId) {
        self.members.remove(&node);
        self.pulls.gone(now, node);
        self.giving.gone(node);
    }

    /// Whether a member keeps records.
    pub fn keeps(&self, node: NodeId) -> bool {
        self.members.contains_key(&node)
    }

    /// A member's packet; this host is `me`, and its wall clock is at `wall`.
    pub fn packet(
        &mut self,
        now: Time,
        (me, wall): (NodeId, u64),
        node: NodeId,
        records: Records,
        journal: &mut Journal,
        lists: &mut dyn Lists,
    ) {
        if !self.members.contains_key(&node) {
            return;
        }
        match records {
            Records::Compare { below } => self.exchange.compare(node, below, journal),
            Records::Keys { from, below, keys } => {
                self.exchange.keys(now, node, (from, below), keys, journal);
            }
            Records::Ask { keys } => self.exchange.asked(now, keys),
            Records::Part { key, len, offset, bytes } => {
                let Config { takes_all, born, .. } = self.config;
                if key.stamp.ahead_of(wall).is_ahead_too_far() {
                    // It would be later than all that is sent for a long time.
                    return;
                }
                let taking = |record: &Record| takes_all || record.id.stamp >= born;
                let part = (key, len as usize, offset as usize, bytes);
                self.exchange.part(node, part, taking, journal, lists);
            }
            Records::Want { donor: None, keys } => self.who_has(now, node, &keys, journal),
            Records::Want { donor: Some(donor), keys } if donor == me => {
                let can = |key: &&Key| journal.find(**key).is_some_and(|id| journal.can_give(&id));
                let keys = if self.config.gives { keys } else { Vec::new() };
                let given: Vec<Key> = keys.iter().filter(can).copied().collect();
                let queued = given.into_iter().filter(|key| {
                    journal.find(*key).is_some_and(|id| self.giving.want(now, node, &id))
                });
                let queued = queued.collect();
                self.answer(now, node, queued);
            }
            Records::Want { donor: Some(donor), keys } => {
                self.pulls.overhear(now, donor, &keys, journal);
            }
            Records::Have { keys } => self.pulls.have(now, node, &keys, journal),
        }
    }

    /// Somebody asks who has these; in a large fleet, not all answer at once.
    fn who_has(&mut self, now: Time, node: NodeId, keys: &[Key], journal: &Journal) {
        if !self.config.gives {
            return;
        }
        let can = |key: &&Key| journal.find(**key).is_some_and(|id| journal.can_give(&id));
        let keys: Vec<Key> = keys.iter().filter(can).copied().collect();
        let spread = Span::from_micros(self.rng.below(self.members.len() as u64 * 1_000));
        self.answer(now + spread, node, keys);
    }

    fn answer(&mut self, at: Time, node: NodeId, keys: Vec<Key>) {
        if !keys.is_empty() && self.answers.len() < ANSWERS {
            self.answers.entry((at, node)).or_default().extend(keys);
        }
    }

    /// The transfer of a record begins to come from a node.
    pub fn begun(&mut self, id: &RecordId, node: NodeId) {
        self.pulls.begun(id, node);
    }

    /// It is over.
    pub fn pulled(
        &mut self,
        now: Time,
        id: &RecordId,
        how: Pulled,
        journal: &mut Journal,
        lists: &mut dyn Lists,
    ) {
        self.pulls.over(now, id, how, journal, lists);
    }

    /// The transfer of a record that was to be served is over, or did not begin.
    pub fn served(&mut self, id: &RecordId) {
        self.giving.over(id);
    }

    /// What waits for its next try is tried now.
    pub fn hurry(&mut self, now: Time) {
        self.pulls.hurry(now);
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Time, journal: &mut Journal, lists: &mut dyn Lists) {
        self.exchange.timeout(now, journal);
        if self.config.takes {
            self.pulls.timeout(now, journal, lists);
        }
        self.giving.timeout(now, journal);
    }

    /// What this host lacks, for others.
    pub fn behind(&self, journal: &Journal) -> Behind {
        if !self.config.takes {
            let complete = journal.behind().complete;
            return Behind { why: Behind::TAKES_NOTHING, complete, ..Behind::default() };
        }
        let why = if self.members.is_empty() { Why::Nobody } else { Why::Asking };
        Behind { why: why.max(self.pulls.why()), ..journal.behind() }
    }

    /// When something is due.
    pub fn poll_timeout(&self, now: Time, journal: &Journal) -> Option<Time> {
        let answers = self.answers.keys().next().map(|(at, _)| *at);
        [
            self.exchange.poll_timeout(now, journal),
            self.pulls.poll_timeout(),
            self.giving.poll_timeout(),
            answers,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What is to be sent.
    pub fn poll_transmit(&mut self, now: Time) -> Option<(To, Records)> {
        if let Some(out) = self.exchange.poll_transmit().or_else(|| self.pulls.poll_transmit()) {
            return Some(out);
        }
        let entry = self.answers.first_entry().filter(|entry| entry.key().0 <= now)?;
        let (_, node) = *entry.key();
        Some((To::Node(node), Records::Have { keys: entry.remove() }))
    }

    /// Which record is to be sent to whom.
    pub fn poll_serve(&mut self) -> Option<Serve> {
        self.giving.poll_serve()
    }

    /// Whether HELLO should soon say how the records add up now.
    pub fn take_news(&mut self) -> bool {
        self.exchange.take_news()
    }
}
