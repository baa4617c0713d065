//! Who is there: the members of the group as one daemon sees them.
//!
//! A daemon says HELLO to the group when it starts and every now and then. Whoever hears a HELLO from
//! a node that it does not know answers, to that node alone, with a challenge; a node becomes a member
//! when its echo of that challenge comes back from the address that it was sent to:
//!
//! ```text
//! A                                            B
//! HELLO to the group                    ──▶    does not know A
//!                                       ◀──    HELLO, asks, challenge of B
//! does not know B: HELLO, asks,
//!   echo, challenge of A                ──▶    A is a member
//! B is a member                         ◀──    HELLO, echo
//! ```
//!
//! An answer to a non-member is repeated a few times until it is a member; a member answers whenever
//! it is asked. So one HELLO that gets through, either way, is enough for both, whatever is lost
//! after it.
#![forbid(unsafe_code)]

mod challenge;
mod departed;
mod limit;
mod types;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;

use super::destination::Destination;
use super::rng::Rng;
use crate::ids::TransferNo;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::hello::{Challenge, Hello};
use challenge::{Challenges, Peer};
use departed::Departed;
use limit::{AnswerLimit, Rate, SourceLimits};
pub use types::{Config, Counts, DepartureReason, Event, Member, Packet};
use waiting::Waiting;

/// The most members.
pub const MAX_MEMBERS: usize = 1_000;
/// For how long a member may be silent.
pub const SILENCE: Span = Span::from_secs(60);
/// How far apart HELLOs are, on average.
pub const KEEPALIVE: Span = Span::from_secs(15);
/// How long after the first HELLO the first transfer may start.
pub const SETTLE: Span = Span::from_millis(500);

/// When HELLO is sent at the start, in milliseconds.
const SERIES: [u64; 4] = [0, 200, 500, 1_000];
/// How often BYE is sent, so that the loss of one does not cost the others a minute.
const BYES: usize = 3;
/// Answers to nodes that have proven nothing, in all.
const STRANGERS: Rate = Rate::per_second(100, 100);
/// The same for one source address. A handshake under loss takes several within a second.
const SOURCE: Rate = Rate::per_second(8, 1);
/// Answers to members, in all.
const MEMBERS: Rate = Rate::per_second(200, 200);
/// The same for one member.
const MEMBER: Rate = Rate::per_second(4, 4);
/// How often a non-member gets the same answer.
const ATTEMPTS: u32 = 8;
/// When the first repeat comes; each further one takes twice as long.
const REPEAT: Span = Span::from_millis(60);
/// From so many waiting for an answer on, whoever has had a share of them waits no longer.
const CROWD: usize = 256;
/// Fleets up to this size answer at once.
const NO_SPREAD: usize = 16;
/// More packets than an owner who drains them ever sees waiting.
const MAX_OUT: usize = 4_096;

struct Entry {
    member: Member,
    /// The highest counter of its HELLOs.
    counter: u64,
    answers: AnswerLimit,
}

/// The members of one group, without sockets and clock. Hand in one thing, drain
/// [`poll_transmit`](Members::poll_transmit) and [`poll_event`](Members::poll_event), then wait until
/// [`poll_timeout`](Members::poll_timeout).
pub struct Members {
    config: Config,
    challenges: Challenges,
    rng: Rng,
    started: Time,
    /// How many of [`SERIES`] are behind us.
    series: usize,
    next_hello: Time,
    oldest_open: TransferNo,
    has_left: bool,
    members: BTreeMap<NodeId, Entry>,
    by_addr: BTreeMap<SocketAddrV4, NodeId>,
    /// No member's silence ends before.
    silence_check: Option<Time>,
    departed: Departed,
    waiting: Waiting,
    strangers_limit: AnswerLimit,
    members_limit: AnswerLimit,
    sources: SourceLimits,
    out: VecDeque<(Destination, Packet)>,
    events: VecDeque<Event>,
    counts: Counts,
}

impl Members {
    /// Starts with nobody, and with a HELLO to send.
    pub fn new(config: Config, now: Time) -> Self {
        let mut members = Members {
            challenges: Challenges::new(config.secret),
            rng: Rng::new(config.seed),
            config,
            started: now,
            series: 0,
            next_hello: now,
            oldest_open: TransferNo::ZERO,
            has_left: false,
            members: BTreeMap::new(),
            by_addr: BTreeMap::new(),
            silence_check: None,
            departed: Departed::default(),
            waiting: Waiting::default(),
            strangers_limit: AnswerLimit::default(),
            members_limit: AnswerLimit::default(),
            sources: SourceLimits::default(),
            out: VecDeque::new(),
            events: VecDeque::new(),
            counts: Counts::default(),
        };
        members.send_due_hello(now);
        members
    }

    /// Sends the HELLOs of a start again, e.g. once the interface is up and the group joined.
    pub fn announce(&mut self, now: Time) {
        if self.has_left {
            return;
        }
        self.started = now;
        self.series = 0;
        self.next_hello = now;
        self.send_due_hello(now);
    }

    /// A HELLO came, whose trailer is right.
    pub fn hello(
        &mut self,
        now: Time,
        from: NodeId,
        addr: SocketAddrV4,
        counter: u64,
        hello: &Hello,
    ) {
        if self.has_left {
            return;
        }
        if from == self.config.me {
            self.counts.own += 1;
        } else if self.members.contains_key(&from) {
            self.member_hello(now, Peer { node: from, addr }, counter, hello);
        } else {
            self.stranger_hello(now, Peer { node: from, addr }, counter, hello);
        }
    }

    /// A BYE came, whose trailer is right.
    pub fn bye(&mut self, now: Time, from: NodeId, addr: SocketAddrV4, counter: u64) {
        if self.has_left {
            return;
        }
        if from == self.config.me {
            self.counts.own += 1;
            return;
        }
        let Some(entry) = self.members.get_mut(&from) else {
            self.counts.strangers += 1;
            self.waiting.remove(Peer { node: from, addr });
            return;
        };
        if addr != entry.member.addr {
            self.counts.elsewhere += 1;
        } else if counter <= entry.counter {
            self.counts.replayed += 1;
        } else {
            self.counts.members += 1;
            entry.counter = counter;
            self.remove(now, from, DepartureReason::Bye);
        }
    }

    /// Another packet of a member came, from its address, and its trailer is right.
    pub fn heard(&mut self, now: Time, from: NodeId) {
        if let Some(entry) = self.members.get_mut(&from) {
            entry.member.heard = entry.member.heard.max(now);
        }
    }

    /// A member was silent in a transfer for too long. It may come back as it came.
    pub fn drop_member(&mut self, now: Time, node: NodeId) {
        self.remove(now, node, DepartureReason::Dropped);
    }

    /// The interface has another MTU now, in bytes; the next HELLOs say so.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.config.mtu = mtu;
    }

    /// Our transfers before `number` are closed; the next HELLOs say so.
    pub fn set_oldest_open(&mut self, number: TransferNo) {
        self.oldest_open = number;
    }

    /// Says BYE. Nothing happens any more after that.
    pub fn leave(&mut self) {
        if self.has_left {
            return;
        }
        self.has_left = true;
        self.waiting.clear();
        self.out.clear();
        self.out.extend(std::iter::repeat_n((Destination::Group, Packet::Bye), BYES));
    }

    /// When [`timeout`](Members::timeout) wants to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.has_left {
            return None;
        }
        let answer =
            self.waiting.first_due().map(|due| due.max(self.strangers_limit.ready(STRANGERS)));
        [Some(self.next_hello), self.silence_check, answer].into_iter().flatten().min()
    }

    /// It is `now`.
    pub fn timeout(&mut self, now: Time) {
        if self.has_left {
            return;
        }
        self.send_due_hello(now);
        self.remove_silent(now);
        self.send_due_answers(now);
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<(Destination, Packet)> {
        self.out.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// All members, by node id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values().map(|entry| &entry.member)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member with this node id.
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node).map(|entry| &entry.member)
    }

    /// Whether those who are there have had the time to answer, so that a transfer may start.
    pub fn settled(&self, now: Time) -> bool {
        self.settles() <= now
    }

    /// When [`settled`](Members::settled) turns true.
    pub fn settles(&self) -> Time {
        self.started + SETTLE
    }

    /// How many nodes that are no members are about to get an answer, or one more.
    pub fn strangers(&self) -> usize {
        self.waiting.len()
    }

    /// What came and what became of it.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn member_hello(&mut self, now: Time, peer: Peer, counter: u64, hello: &Hello) {
        let Some(entry) = self.members.get_mut(&peer.node) else { return };
        if peer.addr != entry.member.addr {
            self.counts.elsewhere += 1;
            return;
        }
        if counter <= entry.counter {
            self.counts.replayed += 1;
            return;
        }
        self.counts.members += 1;
        entry.counter = counter;
        let member = &mut entry.member;
        member.heard = member.heard.max(now);
        let oldest_open = member.oldest_open.max(hello.oldest_open);
        let known = (member.mtu, member.rcvbuf, member.receives, member.oldest_open);
        if known != (hello.mtu, hello.rcvbuf, hello.receives, oldest_open) {
            member.mtu = hello.mtu;
            member.rcvbuf = hello.rcvbuf;
            member.receives = hello.receives;
            member.oldest_open = oldest_open;
            self.events.push_back(Event::Changed(member.clone()));
        }
        if hello.asks {
            self.answer_member(now, peer.node, hello.challenge);
        }
    }

    fn stranger_hello(&mut self, now: Time, peer: Peer, counter: u64, hello: &Hello) {
        self.counts.strangers += 1;
        if self.departed.has_used(now, peer.node, counter) {
            self.counts.replayed += 1;
            return;
        }
        if self.members.len() >= MAX_MEMBERS && !self.by_addr.contains_key(&peer.addr) {
            self.counts.full += 1;
            return;
        }
        match &hello.echo {
            Some(echo) if self.challenges.is_valid(now, peer, echo) => {
                self.admit(now, peer, counter, hello);
                if hello.asks {
                    self.answer_member(now, peer.node, hello.challenge);
                }
                return;
            }
            Some(_) => self.counts.bad_echo += 1,
            None => {}
        }
        // What was sent to us alone has a challenge; only what all have heard is answered by all.
        let due = match hello.challenge {
            Some(_) => now,
            None => now + self.jitter(spread(self.len())),
        };
        if !self.waiting.add(peer, hello.challenge, due) {
            self.counts.limited += 1;
        }
        self.send_due_answers(now);
    }

    fn admit(&mut self, now: Time, peer: Peer, counter: u64, hello: &Hello) {
        self.waiting.remove(peer);
        if let Some(&old) = self.by_addr.get(&peer.addr) {
            self.remove(now, old, DepartureReason::Replaced { by: peer.node });
        }
        let member = Member {
            node: peer.node,
            name: hello.name.clone(),
            addr: peer.addr,
            version: hello.version.clone(),
            mtu: hello.mtu,
            rcvbuf: hello.rcvbuf,
            receives: hello.receives,
            joined: now,
            heard: now,
            oldest_open: hello.oldest_open,
        };
        let silent = now + self.config.silence;
        self.silence_check = Some(self.silence_check.map_or(silent, |check| check.min(silent)));
        self.by_addr.insert(peer.addr, peer.node);
        self.events.push_back(Event::Joined(member.clone()));
        self.members.insert(peer.node, Entry { member, counter, answers: AnswerLimit::default() });
    }

    fn remove(&mut self, now: Time, node: NodeId, reason: DepartureReason) {
        let Some(Entry { member, counter, .. }) = self.members.remove(&node) else { return };
        self.by_addr.remove(&member.addr);
        self.departed.add(now, node, counter);
        self.events.push_back(Event::Left { member, reason });
    }

    fn remove_silent(&mut self, now: Time) {
        if self.silence_check.is_none_or(|check| now < check) {
            return;
        }
        let silence = self.config.silence;
        let silent: Vec<NodeId> =
            self.members().filter(|m| m.heard + silence <= now).map(|m| m.node).collect();
        for node in silent {
            self.remove(now, node, DepartureReason::Silent);
        }
        self.silence_check = self.members().map(|m| m.heard + silence).min();
    }

    fn send_due_hello(&mut self, now: Time) {
        if now < self.next_hello {
            return;
        }
        let time_of = |started: Time, at: usize| {
            SERIES.get(at).map(|&millis| started + Span::from_millis(millis))
        };
        let new = self.series < SERIES.len();
        // Whoever was asleep skips what is past, rather than send it all at once.
        while time_of(self.started, self.series).is_some_and(|time| time <= now) {
            self.series += 1;
        }
        let keepalive = self.config.keepalive.at_least(Span::from_secs(1));
        let third = keepalive / 3;
        let later = now + (keepalive - third) + self.jitter(third * 2);
        self.next_hello = time_of(self.started, self.series).unwrap_or(later);
        let hello = Hello { new, ..self.plain_hello() };
        self.push(Destination::Group, hello);
    }

    fn answer_member(&mut self, now: Time, node: NodeId, echo: Option<Challenge>) {
        let Some(entry) = self.members.get_mut(&node) else { return };
        if !self.members_limit.has(now, MEMBERS) || !entry.answers.take(now, MEMBER) {
            self.counts.limited += 1;
            return;
        }
        self.members_limit.take(now, MEMBERS);
        self.counts.answers_to_members += 1;
        let to = Destination::One(entry.member.addr);
        let hello = Hello { echo, ..self.plain_hello() };
        self.push(to, hello);
    }

    fn send_due_answers(&mut self, now: Time) {
        while let Some((peer, answer)) = self.waiting.first(now) {
            if !self.strangers_limit.has(now, STRANGERS) {
                return;
            }
            self.waiting.remove(peer);
            // Repeats must not take what others need for their first answer.
            let repeats = answer.sent > 0;
            let half_full = if repeats { self.strangers_limit.half_full(STRANGERS) } else { now };
            let source = *peer.addr.ip();
            let ready = half_full.max(self.sources.ready(source, SOURCE));
            if ready > now && self.waiting.len() < CROWD {
                self.waiting.postpone(peer, answer, ready);
                continue;
            }
            if ready > now || !self.sources.take(now, source, SOURCE) {
                self.counts.limited += u64::from(!repeats);
                continue;
            }
            self.strangers_limit.take(now, STRANGERS);
            self.counts.answers_to_strangers += 1;
            let challenge = Some(self.challenges.issue(now, peer));
            let hello = Hello { asks: true, challenge, echo: answer.echo, ..self.plain_hello() };
            self.push(Destination::One(peer.addr), hello);
            if answer.sent + 1 < ATTEMPTS {
                let pause = REPEAT * (1 << answer.sent) + spread(self.len()) / 4;
                let due = now + pause + self.jitter(pause / 4);
                self.waiting.repeat(peer, answer, due);
            }
        }
    }

    /// What every HELLO of ours says.
    fn plain_hello(&self) -> Hello {
        Hello {
            new: false,
            receives: self.config.receives,
            asks: false,
            mtu: self.config.mtu,
            rcvbuf: self.config.rcvbuf,
            oldest_open: self.oldest_open,
            challenge: None,
            echo: None,
            name: self.config.name.clone(),
            version: self.config.version.clone(),
        }
    }

    /// A random span below `end`; zero if `end` is.
    fn jitter(&mut self, end: Span) -> Span {
        Span::from_micros(self.rng.below(end.micros()))
    }

    fn push(&mut self, to: Destination, hello: Hello) {
        if self.out.len() < MAX_OUT {
            self.out.push_back((to, Packet::Hello(hello)));
        }
    }
}

/// Over what time a fleet of `members` answers one HELLO that all of them heard. The newcomer can
/// answer 100 at once and 100 a second after that, and its receive buffer may be small.
fn spread(members: usize) -> Span {
    if members <= NO_SPREAD {
        return Span::ZERO;
    }
    let members = members as u64;
    Span::from_millis(members).at_least(Span::from_millis(members.saturating_sub(100) * 10))
}
