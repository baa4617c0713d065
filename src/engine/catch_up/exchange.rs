//! Comparing which records are kept, and passing on those that somebody lacks.
//!
//! HELLO says how a host's records add up. Where that differs after things have become quiet, one host asks the
//! other for the keys of its records, page by page, and then for the records that it lacks. Records are sent to the
//! group: who else lacks them has them then, too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::journal::Journal;
use super::parts::Parts;
use super::record::Record;
use super::types::{Learned, Lists, To};
use crate::engine::rng::Rng;
use crate::name::{HostName, NodeId};
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use crate::wire::names::Hash;
use crate::wire::records::{BEFORE_PART, Key, Records, Summary};

/// How long nothing must have changed before what others say is compared with it: their HELLO may be older.
const QUIET: Span = Span::from_secs(2);
/// How long others may answer after a start, so that all who start together choose the same one to ask.
const GREETING: Span = Span::from_millis(150);
/// How long an answer is waited for.
const PATIENCE: Span = Span::from_millis(400);
/// How often something is asked.
const TRIES: u32 = 4;
/// The records that are asked for and not here yet, at most.
const ASKED: usize = 256;
/// The packets of records that are sent at once, and then how long later the next.
const BURST: usize = 32;
const PACE: Span = Span::from_millis(5);
/// Who asks for a record that was sent so recently gets no second one.
const RECENT: Span = Span::from_millis(100);
/// The records that wait to be sent, at most.
const QUEUE: usize = 8_192;

/// Another host.
#[derive(Clone, Debug)]
struct Peer {
    name: HostName,
    summary: Summary,
    /// When it said so.
    at: Time,
    /// This was compared: the own checksum, and its summary.
    compared: Option<(u64, Summary)>,
}

/// A comparison under way.
#[derive(Clone, Copy, Debug)]
struct Talk {
    node: NodeId,
    /// What is asked for is before this stamp.
    below: Stamp,
    again: Time,
    tries: u32,
    /// All pages have come.
    is_read: bool,
}

/// A record that was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    again: Time,
    tries: u32,
}

/// Which records others keep, and what is passed on.
pub(super) struct Exchange {
    room: usize,
    rng: Rng,
    peers: BTreeMap<NodeId, Peer>,
    /// The own checksum, and since when it is that one; None from the start on.
    own: (u64, Option<Time>),
    started: Time,
    /// When the next comparison begins.
    due: Option<Time>,
    talk: Option<Talk>,
    asked: BTreeMap<Key, Asked>,
    parts: Parts,
    queue: VecDeque<Key>,
    queued: BTreeSet<Key>,
    recent: BTreeMap<Key, Time>,
    paced: Time,
    out: VecDeque<(To, Records)>,
    /// Something was learned that others do not know yet.
    has_news: bool,
}

impl Exchange {
    /// `room`: how many bytes of payload fit into a packet.
    pub fn new(now: Time, room: usize, seed: u64, journal: &Journal) -> Self {
        Exchange {
            room,
            rng: Rng::new(seed),
            peers: BTreeMap::new(),
            own: (journal.summary().checksum, None),
            started: now,
            due: None,
            talk: None,
            asked: BTreeMap::new(),
            parts: Parts::default(),
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
            recent: BTreeMap::new(),
            paced: now,
            out: VecDeque::new(),
            has_news: false,
        }
    }

    /// A member has said how its records add up; None if it keeps none.
    pub fn hello(&mut self, now: Time, node: NodeId, name: &HostName, summary: Option<Summary>) {
        match (summary, self.peers.get_mut(&node)) {
            (Some(summary), Some(peer)) => (peer.summary, peer.at) = (summary, now),
            (Some(summary), None) => {
                let peer = Peer { name: name.clone(), summary, at: now, compared: None };
                self.peers.insert(node, peer);
            }
            (None, _) => self.gone(node),
        }
    }

    /// A member has left.
    pub fn gone(&mut self, node: NodeId) {
        self.peers.remove(&node);
        self.parts.gone(node);
        if self.talk.is_some_and(|talk| talk.node == node) {
            self.talk = None;
        }
    }

    /// Whether others should soon be told how the own records add up now.
    pub fn take_news(&mut self) -> bool {
        // While more is coming, it is told at the end.
        let over = self.talk.is_none() && self.asked.is_empty();
        over && std::mem::take(&mut self.has_news)
    }

    pub fn compare(&mut self, node: NodeId, below: Stamp, journal: &Journal) {
        let (from, keys) = journal.keys_below(below, Records::keys_in(self.room));
        let keys = keys.into_iter().take(Records::keys_in(self.room)).collect();
        self.out.push_back((To::Node(node), Records::Keys { from, below, keys }));
    }

    /// Another host keeps these.
    pub fn keys(
        &mut self,
        now: Time,
        node: NodeId,
        (from, below): (Stamp, Stamp),
        keys: Vec<Key>,
        journal: &Journal,
    ) {
        let Some(talk) = &mut self.talk else { return };
        if talk.node != node || talk.below != below || talk.is_read {
            return;
        }
        let theirs: BTreeSet<Key> = keys.into_iter().collect();
        let unknown = theirs.iter().copied().filter(|key| !journal.knows(*key));
        let asks: Vec<Key> = unknown.filter(|key| !self.asked.contains_key(key)).collect();
        // What the other lacks: it is told what there is.
        let horizon = self.peers.get(&node).map_or(Stamp::ZERO, |peer| peer.summary.horizon);
        let lacks = journal.keys_from(from.max(horizon), below);
        let lacks: Vec<Key> =
            lacks.filter(|key| key.stamp > horizon && !theirs.contains(key)).collect();
        talk.below = from;
        talk.tries = 0;
        talk.again = now;
        talk.is_read = from == Stamp::ZERO;
        self.ask(now, &asks);
        lacks.into_iter().for_each(|key| self.enqueue(now, key));
    }

    fn ask(&mut self, now: Time, keys: &[Key]) {
        let Some(Talk { node, .. }) = self.talk else { return };
        for keys in keys.chunks(Records::keys_in(self.room)) {
            for key in keys {
                let asked = self.asked.entry(*key).or_insert(Asked { again: now, tries: 0 });
                asked.tries += 1;
                asked.again = now + PATIENCE;
            }
            self.out.push_back((To::Node(node), Records::Ask { keys: keys.to_vec() }));
        }
    }

    /// Somebody asks for these records.
    pub fn asked(&mut self, now: Time, keys: Vec<Key>) {
        keys.into_iter().for_each(|key| self.enqueue(now, key));
    }

    fn enqueue(&mut self, now: Time, key: Key) {
        self.recent.retain(|_, at| now < *at + RECENT);
        let is_recent = self.recent.contains_key(&key);
        if !is_recent && self.queue.len() < QUEUE && self.queued.insert(key) {
            self.queue.push_back(key);
        }
    }

    /// Some bytes of a record have come.
    pub fn part(
        &mut self,
        node: NodeId,
        part: (Key, usize, usize, Vec<u8>),
        taking: impl Fn(&Record) -> bool,
        journal: &mut Journal,
        lists: &mut dyn Lists,
    ) -> Option<Learned> {
        let (key, len, offset, bytes) = part;
        if journal.knows(key) {
            self.asked.remove(&key);
            return None;
        }
        let record = Record::parse(&self.parts.take(node, key, len, offset, bytes)?).ok()?;
        if record.id.wire_key() != key {
            return None;
        }
        self.asked.remove(&key);
        let takes = taking(&record);
        let learned = journal.learn(record, takes, lists);
        self.has_news |= matches!(learned, Learned::New(_));
        Some(learned)
    }

    pub fn timeout(&mut self, now: Time, journal: &Journal) {
        self.send_queue(now, journal);
        let checksum = journal.summary().checksum;
        if self.own.0 != checksum {
            self.own = (checksum, Some(now));
        }
        self.ask_again(now, journal);
        match &mut self.talk {
            Some(talk) if talk.is_read => {
                if self.asked.is_empty() {
                    let node = talk.node;
                    self.talk = None;
                    if let Some(peer) = self.peers.get_mut(&node) {
                        peer.compared = Some((checksum, peer.summary));
                    }
                }
            }
            Some(talk) if talk.again <= now && self.asked.len() < ASKED => {
                if talk.tries == TRIES {
                    let node = talk.node;
                    self.talk = None;
                    if let Some(peer) = self.peers.get_mut(&node) {
                        peer.compared = Some((checksum, peer.summary));
                    }
                    return;
                }
                talk.tries += 1;
                talk.again = now + PATIENCE;
                let (node, below) = (talk.node, talk.below);
                self.out.push_back((To::Node(node), Records::Compare { below }));
            }
            Some(_) => {}
            None => self.consider(now, journal),
        }
    }

    fn ask_again(&mut self, now: Time, journal: &Journal) {
        self.asked.retain(|key, asked| asked.tries < TRIES && !journal.knows(*key));
        let late: Vec<Key> = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.again <= now)
            .map(|(key, _)| *key)
            .collect();
        match self.talk {
            Some(_) => self.ask(now, &late),
            None => self.asked.clear(),
        }
    }

    /// Begins a comparison, if there is one to be made.
    fn consider(&mut self, now: Time, journal: &Journal) {
        let Some((node, _)) = self.candidates(now, journal).min_by_key(|(_, rank)| *rank) else {
            self.due = None;
            return;
        };
        // In a large fleet, all see what one has more or less: the first who asks tells the others.
        let spread = match self.own.1 {
            None => Span::ZERO,
            Some(_) => Span::from_millis(20 * self.peers.len() as u64),
        };
        let due = match self.due {
            Some(due) => due,
            None => now + GREETING + Span::from_micros(self.rng.below(spread.micros())),
        };
        self.due = Some(due);
        if due <= now {
            self.due = None;
            let below = Stamp::from_bits(u64::MAX);
            self.talk = Some(Talk { node, below, again: now, tries: 0, is_read: false });
            self.timeout(now, journal);
        }
    }

    /// Whether a peer has said something else since the own records are as they are, and it was not compared.
    fn differs(&self, peer: &Peer, journal: &Journal) -> bool {
        let (checksum, since) = self.own;
        since.is_none_or(|since| peer.at >= since + QUIET / 2)
            && peer.compared != Some((checksum, peer.summary))
            && !journal.agrees_with(&peer.summary)
    }

    /// From when on the own records may be compared.
    fn quiet_at(&self) -> Time {
        self.own.1.map_or(self.started, |since| since + QUIET)
    }

    /// Those with whom the own records are to be compared; all hosts that lack the same give them the same rank.
    fn candidates<'a>(
        &'a self,
        now: Time,
        journal: &'a Journal,
    ) -> impl Iterator<Item = (NodeId, Hash)> + 'a {
        let is_quiet = now >= self.quiet_at();
        let peers =
            self.peers.iter().filter(move |(_, peer)| is_quiet && self.differs(peer, journal));
        peers.map(|(node, peer)| (*node, Hash::of(peer.name.as_str().as_bytes())))
    }

    /// Sends some of the records that somebody lacks.
    fn send_queue(&mut self, now: Time, journal: &Journal) {
        if self.queue.is_empty() || now < self.paced {
            return;
        }
        self.paced = now + PACE;
        let most = self.room.saturating_sub(BEFORE_PART).max(1);
        let mut sent = 0;
        while sent < BURST {
            let Some(key) = self.queue.pop_front() else { return };
            self.queued.remove(&key);
            let record = journal.find(key).and_then(|id| journal.get(&id));
            let Some((record, _, true)) = record else { continue };
            let bytes = record.emit();
            let len = bytes.len() as u32;
            for (at, bytes) in bytes.chunks(most).enumerate() {
                let (offset, bytes) = ((at * most) as u32, bytes.to_vec());
                self.out.push_back((To::Group, Records::Part { key, len, offset, bytes }));
                sent += 1;
            }
            self.recent.insert(key, now);
        }
    }

    pub fn poll_timeout(&self, now: Time, journal: &Journal) -> Option<Time> {
        let queue = (!self.queue.is_empty()).then_some(self.paced);
        let asked = self.asked.values().map(|asked| asked.again).min();
        let talk = self.talk.map(|talk| match talk.is_read && self.asked.is_empty() {
            true => now,
            false if self.asked.len() >= ASKED || talk.is_read => now + PATIENCE,
            false => talk.again,
        });
        let due = match (self.talk, self.due) {
            (Some(_), _) => None,
            (None, Some(due)) => Some(due),
            (None, None) => {
                let differs = self.peers.values().any(|peer| self.differs(peer, journal));
                differs.then(|| self.quiet_at())
            }
        };
        [queue, asked, talk, due].into_iter().flatten().min()
    }

    pub fn poll_transmit(&mut self) -> Option<(To, Records)> {
        self.out.pop_front()
    }
}
