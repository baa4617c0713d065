//! What a host says to others of a mirrored tree and hears from them: who asks whom, when, and who serves whom.
//!
//! Nobody asks as long as all is well. HELLO says how high a host's own changes are, and a hash of what it knows. Who
//! does not know all of a member's changes asks soon, if no transfer of them is coming in. Otherwise only a hash
//! that is unknown makes anybody ask, said when the own one has been the same for a while: what a host knew
//! before, it covers now. Of those that know the same, one asks, and says so to the group; whoever serves serves all
//! of them, and everybody else who asks within two seconds, in one transfer.
//!
//! A host that has started says HELLO, receives, and only then sends: [`Dialogue::settled`].

mod asking;
mod giving;
mod known;
mod types;

#[cfg(test)]
mod fleet;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use crate::engine::catch_up::To;
use crate::engine::rng::Rng;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::mirror::{Answer, Mirror, Question, Standing};
use crate::wire::versions::Knowledge;
use asking::{Asking, Fate};
use giving::{GATHER, Giving};
use known::Known;
pub use types::{Config, Own, Serve};
use types::{Pause, Peer, rank};

/// How long the own knowledge has to have been the same before another's hash means anything.
const QUIET: Span = Span::from_secs(2);
/// How long a transfer of changes that a HELLO tells of may take to begin; if it is of a host that has started,
/// and receives before it sends.
const GRACE: Span = Span::from_millis(500);
const RETURN: Span = Span::from_secs(10);
/// The questions of a fleet are spread over this for each host, so that one of many that know the same asks.
const SPREAD: Span = Span::from_millis(4);
/// How much later than the transfer may begin that another has asked for, the same is asked for.
const OVERHEARD: Span = Span::from_secs(3);
/// By when a HELLO has said what is known.
const SAID: Span = Span::from_secs(20);
/// How often that is put off.
const PUT_OFF: u32 = 3;
/// After how long a host that hears nobody may send, and one that hears somebody.
const ALONE: Span = Span::from_secs(5);
const TOGETHER: Span = Span::from_secs(1);
/// How long a member is not asked that did not answer.
const ASKS: (Span, Span) = (Span::from_secs(5), Span::from_secs(300));
/// How long one is not given anything that was given the same in vain; anything at all.
const GIVES: (Span, Span) = (Span::from_secs(15), Span::from_secs(600));
const GIVES_LEAST: Span = Span::from_secs(3);
/// The most packets that wait to be sent; a caller that drains them never sees so many.
const MAX_OUT: usize = 1_024;

/// The talk of one host about one tree. Hand in one thing, drain [`Dialogue::poll_transmit`] and
/// [`Dialogue::poll_serve`], and wait until [`Dialogue::poll_timeout`].
pub struct Dialogue {
    config: Config,
    rng: Rng,
    started: Time,
    settled: bool,
    known: Known,
    /// The members that mirror the tree.
    peers: BTreeMap<NodeId, Peer>,
    /// Who sends something of it that is taken here, and the hash of what that leads to.
    receiving: BTreeMap<NodeId, u64>,
    /// When the next question is asked, and how often that was put off.
    ask_at: Option<Time>,
    /// When it would have been asked without chance and others.
    wanted_at: Time,
    put_off: u32,
    asking: Option<Asking>,
    /// Who was asked by others lately, and when.
    asked: BTreeMap<NodeId, Time>,
    giving: Giving,
    /// How many have not had the bytes that are lacking here.
    in_vain: usize,
    in_doubt: bool,
    out: VecDeque<(To, Mirror)>,
    serves: Option<Serve>,
}

impl Dialogue {
    /// Nobody is known yet.
    pub fn new(now: Time, config: Config, own: &Own<'_>) -> Self {
        Dialogue {
            config,
            rng: Rng::new(config.seed),
            started: now,
            settled: false,
            known: Known::new(now, own.hash),
            peers: BTreeMap::new(),
            receiving: BTreeMap::new(),
            ask_at: None,
            wanted_at: now,
            put_off: 0,
            asking: None,
            asked: BTreeMap::new(),
            giving: Giving::default(),
            in_vain: 0,
            in_doubt: false,
            out: VecDeque::new(),
            serves: None,
        }
    }

    /// Whether this host may send changes: it has compared with those who are there, or nobody is.
    pub fn settled(&self) -> bool {
        self.settled
    }

    /// Whether a transfer of the tree is coming in.
    pub fn is_receiving(&self) -> bool {
        !self.receiving.is_empty()
    }

    /// Since when a member has not known the same as this host; None: it does, or it does not mirror the tree.
    pub fn apart(&self, node: NodeId) -> Option<Time> {
        self.peers.get(&node)?.apart
    }

    /// Whether a member has since this was asked last known of a change of this index that is unknown here.
    pub fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.in_doubt)
    }

    /// Whether no member that is there has the bytes that are lacking here.
    pub fn nobody_has(&self) -> bool {
        self.in_vain > 0 && self.in_vain >= self.peers.len()
    }

    /// A member's HELLO says how it stands with the tree; None if it does not mirror it.
    pub fn hello(&mut self, now: Time, node: NodeId, standing: Option<Standing>, own: &Own<'_>) {
        let Some(standing) = standing else { return self.gone(now, node, own) };
        let new = Peer {
            standing,
            heard: now,
            apart: None,
            ahead: false,
            asks: Pause::default(),
            gives: Pause::default(),
            given: 0,
            parts: None,
        };
        let peer = self.peers.entry(node).or_insert(new);
        // What it knew before, this host has known since: it is on its way.
        if peer.standing.hash != standing.hash && self.known.covers(standing.hash) {
            peer.apart = None;
        }
        (peer.standing, peer.heard) = (standing, now);
        self.in_doubt |= standing.by == own.by && standing.height > own.height;
        self.look(now, own);
    }

    /// A member has left.
    pub fn gone(&mut self, now: Time, node: NodeId, own: &Own<'_>) {
        self.peers.remove(&node);
        self.receiving.remove(&node);
        self.asked.remove(&node);
        self.giving.gone(node);
        self.asking.take_if(|asking| asking.of == node);
        self.look(now, own);
    }

    /// A member has said something of what it knows, which this host does not.
    pub fn is_ahead(&mut self, now: Time, node: NodeId, own: &Own<'_>) {
        if let Some(peer) = self.peers.get_mut(&node) {
            (peer.ahead, peer.heard) = (true, now);
        }
        self.look(now, own);
    }

    /// Whether it asks for changes, or takes some.
    pub fn is_busy(&self) -> bool {
        self.asking.as_ref().is_some_and(|asking| !asking.is_for_bytes)
            || !self.receiving.is_empty()
    }

    /// This host knows more, or lacks other bytes.
    pub fn changed(&mut self, now: Time, own: &Own<'_>) {
        self.known.is(now, own.hash);
        self.look(now, own);
    }

    /// A transfer of the tree begins to come from a member. Whether it is to be taken: there is no gap before it.
    pub fn begun(
        &mut self,
        now: Time,
        node: NodeId,
        (from, to): (&Knowledge, &Knowledge),
        own: &Own<'_>,
    ) -> bool {
        self.giving.begun(from);
        self.in_doubt |= to.of(own.by) > own.height;
        let takes = own.knowledge.is_at_least(from);
        if takes {
            self.receiving.insert(node, to.hash());
            if self.asking.as_ref().is_some_and(|asking| asking.of == node || !asking.is_for_bytes)
            {
                self.asking = None;
            }
        } else if let Some(peer) = self.peers.get_mut(&node) {
            peer.ahead = true;
        }
        self.look(now, own);
        takes
    }

    /// It is over; whether every batch of it was committed.
    pub fn ended(&mut self, now: Time, node: NodeId, complete: bool, own: &Own<'_>) {
        if let Some(hash) = self.receiving.remove(&node) {
            self.known.is(now, own.hash);
            self.put_off = 0;
            if complete {
                self.known.covers_too(hash);
                self.in_vain = 0;
            }
            if let Some(peer) = self.peers.get_mut(&node) {
                match complete {
                    true => (peer.ahead, peer.asks) = (false, Pause::default()),
                    false => peer.asks.hold(now, ASKS.0, ASKS.1),
                }
            }
        }
        self.look(now, own);
    }

    /// What was to be served is over. If there was `nothing` to be given, those who asked are told.
    pub fn served(&mut self, now: Time, nothing: bool, own: &Own<'_>) {
        for (node, number) in self.giving.serving.take().unwrap_or_default() {
            if nothing {
                self.answer(node, number, Answer::Nothing { hash: own.hash });
            }
        }
        self.look(now, own);
    }

    /// A member's packet about the tree.
    pub fn packet(&mut self, now: Time, me: NodeId, node: NodeId, mirror: Mirror, own: &Own<'_>) {
        if !self.peers.contains_key(&node) || mirror.tree() != self.config.tree {
            return;
        }
        match mirror {
            Mirror::Asking { of, hash, .. } => {
                self.asked.retain(|_, at| now.since(*at) < GATHER * 2);
                if self.peers.contains_key(&of) {
                    self.asked.insert(of, now);
                }
                // It is served as well, by whoever is asked, if that has heard what this host knows now.
                let since = self.known.since;
                let has_said = since == self.started || now.since(since) >= SAID;
                let is_same = hash == own.hash && of != me && own.needed.is_empty() && has_said;
                if is_same && self.ask_at.is_some() && self.put_off < PUT_OFF {
                    self.put_off += 1;
                    self.ask_at = Some(now + GATHER + OVERHEARD + self.jitter());
                }
            }
            Mirror::Ask { number, len, offset, bytes, .. } => {
                let (len, offset) = (len as usize, offset as usize);
                match self.giving.part(now, node, (number, len, offset), &bytes) {
                    Ok(question) => {
                        if let Ok(question) = Question::parse(&question) {
                            let answer = self.question(now, node, number, question, own);
                            self.answer(node, number, answer);
                        }
                    }
                    Err(have) if offset + bytes.len() == len => {
                        self.answer(node, number, Answer::Part(have as u32));
                    }
                    Err(_) => {}
                }
            }
            // Those are no part of it.
            Mirror::Reach { .. } | Mirror::Reached { .. } => {}
            Mirror::Answer { number, answer, .. } => {
                let Some(asking) = self.asking.as_mut().filter(|asking| asking.of == node) else {
                    return;
                };
                let (fate, more) = asking.answered(now, number, answer);
                if more {
                    self.send_question();
                }
                self.fate(now, fate);
            }
        }
        self.look(now, own);
    }

    /// A question has come as a whole.
    fn question(
        &mut self,
        now: Time,
        node: NodeId,
        number: u32,
        question: Question,
        own: &Own<'_>,
    ) -> Answer {
        let Some(peer) = self.peers.get_mut(&node) else { return Answer::Later };
        let hash = question.knowledge.hash();
        (peer.standing.hash, peer.heard) = (hash, now);
        self.in_doubt |= question.knowledge.of(own.by) > own.height;
        match own.knowledge.is_at_least(&question.knowledge) {
            true => self.known.covers_too(hash),
            false => peer.ahead = true,
        }
        let knows_all = question.knowledge.is_at_least(own.knowledge) && !own.in_part;
        if question.needed.is_empty() && knows_all {
            return Answer::Nothing { hash: own.hash };
        }
        if self.giving.waits(node) {
            return Answer::Coming;
        }
        if !self.config.gives || peer.gives.until > now {
            return Answer::Later;
        }
        // Who asks for the same again has not been able to take it.
        match peer.given == hash {
            true => peer.gives.hold(now, GIVES.0, GIVES.1),
            false => peer.gives = Pause { until: now + GIVES_LEAST, span: Span::ZERO },
        }
        peer.given = hash;
        // Whoever knows the same is served, too. What was said before this host's own latest news may be out of date.
        let is_same =
            |peer: &Peer| peer.standing.hash == hash && peer.heard >= self.known.since + QUIET;
        let same = self.peers.iter().filter(|(_, peer)| is_same(peer)).map(|(node, _)| *node);
        self.giving.add(now, (node, number), same, question);
        Answer::Coming
    }

    fn answer(&mut self, node: NodeId, number: u32, answer: Answer) {
        self.push(To::Node(node), Mirror::Answer { tree: self.config.tree, number, answer });
    }

    fn push(&mut self, to: To, mirror: Mirror) {
        if self.out.len() < MAX_OUT {
            self.out.push_back((to, mirror));
        }
    }

    fn send_question(&mut self) {
        let Some(asking) = &self.asking else { return };
        let parts: Vec<Mirror> = asking.parts(self.config.tree, self.config.room).collect();
        let to = To::Node(asking.of);
        parts.into_iter().for_each(|part| self.push(to, part));
    }

    /// What became of the question.
    fn fate(&mut self, now: Time, fate: Fate) {
        if fate == Fate::Open {
            return;
        }
        let Some(asking) = self.asking.take() else { return };
        self.in_vain += usize::from(asking.is_for_bytes);
        let Some(peer) = self.peers.get_mut(&asking.of) else { return };
        peer.asks.hold(now, ASKS.0, ASKS.1);
        if let Fate::Nothing(hash) = fate {
            peer.standing.hash = hash;
            peer.ahead = false;
            self.known.covers_too(hash);
        }
    }

    /// A random time, longer in larger fleets.
    fn jitter(&mut self) -> Span {
        Span::from_micros(self.rng.below((SPREAD * self.peers.len() as u64).micros()))
    }

    /// Whether a member knows something that this host does not: for sure, or perhaps.
    fn knows_more(&self, peer: &Peer, own: &Own<'_>) -> Option<bool> {
        if peer.ahead || peer.standing.height > own.knowledge.of(peer.standing.by) {
            return Some(true);
        }
        let is_quiet = !self.settled || peer.heard >= self.known.since + QUIET;
        // Whoever sent the rest of it may never do so again.
        let has_parts = peer.standing.in_part && peer.parts != Some(own.hash) && self.settled;
        (is_quiet && (has_parts || !self.known.covers(peer.standing.hash))).then_some(false)
    }

    /// Decides when to ask, and whether this host has compared with all.
    fn look(&mut self, now: Time, own: &Own<'_>) {
        let mut waits = None;
        let mut is_open = self.asking.is_some() || !self.receiving.is_empty();
        for peer in self.peers.values_mut() {
            match peer.standing.hash == own.hash {
                true => peer.apart = None,
                false => drop(peer.apart.get_or_insert(now)),
            }
        }
        for peer in self.peers.values() {
            let Some(for_sure) = self.knows_more(peer, own) else { continue };
            let sends_first = self.settled && !peer.standing.settled;
            let grace = if sends_first { RETURN } else { GRACE };
            let from = if for_sure { peer.heard + grace } else { now }.max(peer.asks.until);
            waits = Some(waits.map_or(from, |at: Time| at.min(from)));
            // Who could not be asked is not waited for.
            is_open |= peer.asks.span == Span::ZERO;
        }
        let since = now.since(self.started);
        self.settled |= match self.peers.is_empty() {
            true => since >= ALONE,
            false => since >= TOGETHER && !is_open,
        };
        if own.needed.is_empty() {
            self.in_vain = 0;
        } else if waits.is_none() {
            waits = self.peers.values().map(|peer| peer.asks.until.max(now)).min();
        }
        match waits {
            Some(at) if self.asking.is_none() && self.receiving.is_empty() => {
                if self.ask_at.is_none() || at < self.wanted_at {
                    (self.ask_at, self.wanted_at) = (Some(at.max(now) + self.jitter()), at);
                }
            }
            _ => self.ask_at = None,
        }
        if waits.is_none() {
            self.put_off = 0;
        }
    }

    /// Asks the one of those that may help who comes first.
    fn ask(&mut self, now: Time, own: &Own<'_>) {
        self.ask_at = None;
        let helps = |peer: &Peer| match self.knows_more(peer, own) {
            Some(for_sure) => Some((!for_sure, false)),
            None => (!own.needed.is_empty()).then_some((true, true)),
        };
        let may = self.peers.iter().filter(|(_, peer)| peer.asks.until <= now);
        let best = may
            .filter_map(|(node, peer)| {
                let (perhaps, for_bytes) = helps(peer)?;
                let rank = rank(peer.standing.by, own.wall);
                Some(((for_bytes, perhaps, peer.standing.held, rank), *node))
            })
            .min();
        let Some(((is_for_bytes, ..), of)) = best else { return };
        let number = self.rng.next_u64() as u32;
        self.asking = Some(Asking::new(now, of, number, is_for_bytes, own));
        if let Some(peer) = self.peers.get_mut(&of) {
            peer.parts = Some(own.hash);
        }
        let tree = self.config.tree;
        self.push(To::Group, Mirror::Asking { tree, of, hash: own.hash });
        self.send_question();
    }

    /// How many that were asked, too, serve before this host.
    fn before(&self, own: &Own<'_>) -> usize {
        let mine = rank(own.by, own.wall);
        let asked = self.asked.keys().filter_map(|node| self.peers.get(node));
        asked.filter(|peer| rank(peer.standing.by, own.wall) < mine).count()
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Time, own: &Own<'_>) {
        if let Some(asking) = self.asking.as_mut().filter(|asking| asking.until <= now) {
            match asking.is_late(now) {
                true => self.send_question(),
                false => self.fate(now, Fate::Failed),
            }
        }
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask(now, own);
        }
        if self.giving.due(self.before(own)).is_some_and(|at| at <= now) {
            self.serves = self.giving.serve();
            self.asked.clear();
        }
        self.look(now, own);
    }

    /// When something is due.
    pub fn poll_timeout(&self, now: Time, own: &Own<'_>) -> Option<Time> {
        let starts = self.started + if self.peers.is_empty() { ALONE } else { TOGETHER };
        [
            self.asking.as_ref().map(|asking| asking.until),
            self.ask_at,
            self.giving.due(self.before(own)),
            // Later, something has to happen for that.
            Some(starts).filter(|at| !self.settled && *at > now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What is to be sent.
    pub fn poll_transmit(&mut self) -> Option<(To, Mirror)> {
        self.out.pop_front()
    }

    /// What is to be served.
    pub fn poll_serve(&mut self) -> Option<Serve> {
        self.serves.take()
    }
}
