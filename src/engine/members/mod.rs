//! The members of the group as one daemon sees them.
//!
//! A daemon sends HELLO to the group when it starts and every now and then. A daemon that hears a HELLO
//! from a node that it does not know answers that node alone, with a challenge. The node becomes a
//! member when it echoes that challenge from the address that it was sent to:
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
//! Without a key, anybody who knows a member's node id can forge its packets, and does not see what is
//! answered. So what its BYE says, or what its HELLO says that is new, is believed only when the member
//! has been asked in the same way, and has echoed the challenge.
//!
//! A member that another one is called like, when that one joins, is asked as well, with a key or without:
//! it may be the same host, which has another address and another node id now.
//!
//! An answer to a stranger, a node that is no member, is repeated a few times until it is one; a
//! member is answered whenever it asks. So a single HELLO that gets through, in either direction, is
//! enough for both to become members, whatever is lost after it.
#![forbid(unsafe_code)]

mod challenge;
mod clock;
mod departed;
mod doubts;
mod hellos;
mod leaving;
mod limit;
mod odd;
mod roster;
mod schedule;
mod strangers;
mod types;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddrV4;

use super::destination::Destination;
use super::rng::Rng;
use crate::ids::TransferNo;
use crate::name::{HostName, NodeId};
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use crate::wire::hello::{Challenge, Hello, Said};
use crate::wire::mirror::Standing;
use challenge::{Challenges, Peer};
pub use clock::Clock;
use departed::Departed;
use doubts::Doubts;
use limit::{AnswerLimit, Rate};
pub use odd::{Oddity, Who};
use roster::Roster;
pub use schedule::SETTLE;
use schedule::{Due, Schedule};
use strangers::Strangers;
pub use types::{Config, Counts, DepartureReason, Event, Member, Packet};

/// The most members.
pub const MAX_MEMBERS: usize = 1_000;
/// How long a member may be silent.
pub const SILENCE: Span = Span::from_secs(60);
/// The average time between HELLOs.
pub const KEEPALIVE: Span = Span::from_secs(15);

/// All answers to members together.
const MEMBERS: Rate = Rate::per_second(200, 200);
/// Those to one member.
const MEMBER: Rate = Rate::per_second(4, 4);
/// In fleets up to this size, all answer a HELLO at once.
const NO_SPREAD: usize = 16;
/// How long what others are to be told of records has to last, if it is no HELLO's turn.
const NEWS: Span = Span::from_secs(1);
/// The most packets that wait to be sent; a caller that drains them never sees so many.
const MAX_OUT: usize = 4_096;

/// The members of one group, without sockets and clock. Hand in one thing, drain
/// [`poll_transmit`](Members::poll_transmit) and [`poll_event`](Members::poll_event), then wait until
/// [`poll_timeout`](Members::poll_timeout).
pub struct Members {
    config: Config,
    challenges: Challenges,
    rng: Rng,
    schedule: Schedule,
    oldest_open: TransferNo,
    /// The height of this daemon's clock, and its wall clock in milliseconds.
    clock: (Stamp, u64),
    /// What it says of its records, what it has said last to all, and when it says it again.
    records: Option<Said>,
    told: Option<Said>,
    news_at: Option<Time>,
    /// How it stands with the trees that it mirrors, and which of them is told of first next time.
    mirrors: Vec<Standing>,
    mirrors_turn: usize,
    /// The first of its stamps that was too far ahead of its wall clock, while they are.
    own_far: Option<Stamp>,
    /// What is odd is not what it was.
    has_odd_news: bool,
    has_left: bool,
    roster: Roster,
    departed: Departed,
    doubts: Doubts,
    strangers: Strangers,
    members_limit: AnswerLimit,
    out: VecDeque<(Destination, Packet)>,
    events: VecDeque<Event>,
    counts: Counts,
}

impl Members {
    /// Without members yet, and with a HELLO to send.
    pub fn new(config: Config, now: Time) -> Self {
        let mut members = Members {
            challenges: Challenges::new(config.secret),
            rng: Rng::new(config.seed),
            config,
            schedule: Schedule::new(now),
            oldest_open: TransferNo::ZERO,
            clock: (Stamp::ZERO, 0),
            records: None,
            told: None,
            news_at: None,
            mirrors: Vec::new(),
            mirrors_turn: 0,
            own_far: None,
            has_odd_news: false,
            has_left: false,
            roster: Roster::default(),
            departed: Departed::default(),
            doubts: Doubts::default(),
            strangers: Strangers::default(),
            members_limit: AnswerLimit::default(),
            out: VecDeque::new(),
            events: VecDeque::new(),
            counts: Counts::default(),
        };
        members.send_due_hello(now);
        members
    }

    /// Sends the HELLOs of a start again, for example when the group has been joined anew.
    pub fn announce(&mut self, now: Time) {
        if self.has_left {
            return;
        }
        self.schedule = Schedule::new(now);
        self.send_due_hello(now);
    }

    /// A HELLO has come, and its trailer is right. Whether it is that of a member, and was taken.
    pub fn hello(
        &mut self,
        now: Time,
        from: NodeId,
        addr: SocketAddrV4,
        counter: u64,
        hello: &Hello,
    ) -> bool {
        if self.has_left {
            return false;
        }
        if from == self.config.me {
            self.counts.own += 1;
            return false;
        }
        let taken = self.counts.members;
        if self.roster.contains(from) {
            self.member_hello(now, Peer { node: from, addr }, counter, hello);
            self.counts.members > taken
        } else {
            self.stranger_hello(now, Peer { node: from, addr }, counter, hello);
            self.roster.contains(from)
        }
    }

    /// Another packet of a member has come from its address, and its trailer is right.
    pub fn heard(&mut self, now: Time, from: NodeId) {
        if let Some(entry) = self.roster.get_mut(from) {
            entry.member.heard = entry.member.heard.max(now);
        }
    }

    /// The interface has another MTU now, in bytes; the next HELLOs say so.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.config.mtu = mtu;
    }

    /// This daemon's transfers before `number` are closed; the next HELLOs say so.
    pub fn set_oldest_open(&mut self, number: TransferNo) {
        self.oldest_open = number;
    }

    /// This daemon's clock, for the next HELLOs and those that come: the highest stamp that it has, and the
    /// wall clock in milliseconds since 1970.
    pub fn set_clock(&mut self, height: Stamp, wall: u64) {
        self.clock = (height, wall);
        let far = clock::far(height, wall);
        if far.is_some() != self.own_far.is_some() {
            self.own_far = far;
            self.has_odd_news = true;
        }
    }

    /// When [`timeout`](Members::timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.has_left {
            return None;
        }
        let (silence, answer) = (self.roster.silence_check(), self.strangers.poll_timeout());
        let out = self.doubts.poll_timeout();
        let timers = [Some(self.schedule.next()), silence, answer, out, self.news_at];
        timers.into_iter().flatten().min()
    }

    /// A deadline has passed.
    pub fn timeout(&mut self, now: Time) {
        if self.has_left {
            return;
        }
        self.send_due_hello(now);
        if self.news_at.is_some_and(|at| at <= now) {
            self.say_hello();
        }
        self.remove_silent(now);
        for (node, moved_to) in self.doubts.out(now) {
            let reason = moved_to.map_or(DepartureReason::Bye, DepartureReason::Moved);
            self.remove(now, node, reason);
        }
        self.send_due_answers(now);
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<(Destination, Packet)> {
        let mut next = self.out.pop_front()?;
        if let Packet::Hello(hello) = &mut next.1 {
            (hello.height, hello.wall) = self.clock;
        }
        Some(next)
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// All members, by node id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.roster.iter()
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.roster.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.roster.len() == 0
    }

    /// The member with this node id.
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.roster.get(node).map(|entry| &entry.member)
    }

    /// Whether the other daemons have had the time to answer, so that a transfer may start: after the
    /// first HELLO, and when somebody may just have left.
    pub fn settled(&self, now: Time) -> bool {
        self.settles() <= now
    }

    /// When [`settled`](Members::settled) becomes true.
    pub fn settles(&self) -> Time {
        self.doubts.settles().map_or(self.schedule.settles(), |at| at.max(self.schedule.settles()))
    }

    /// Whether what this daemon and a member send to each other can be put in order and kept in mind by the
    /// names of hosts. If not, their transfers run as any other, and leave no record.
    pub fn records_possible(&self, node: NodeId) -> bool {
        let is_sound = self.get(node).is_none_or(|member| member.clock.is_sound());
        self.own_records_possible() && is_sound && !self.is_of_two(node)
    }

    /// Whether what this daemon sends can be.
    fn own_records_possible(&self) -> bool {
        self.own_far.is_none() && self.roster.named(&self.config.name) == 0
    }

    /// Whether that is so of any of these; if there are none, whether hosts that come later may have a record
    /// of it.
    pub fn any_records_possible(&self, members: &[Member]) -> bool {
        match members {
            [] => self.own_records_possible(),
            some => some.iter().any(|member| self.records_possible(member.node)),
        }
    }

    /// The names that several members have, or one of them and this daemon: no host can be known by such
    /// a name.
    pub fn names_that_are_two(&self) -> BTreeSet<&HostName> {
        self.members().map(|member| &member.name).filter(|name| self.is_two(name)).collect()
    }

    /// What is odd about members and this daemon.
    pub fn oddities(&self) -> BTreeSet<Oddity> {
        // One that does not answer any more is somewhere else now, and not another of its name.
        let in_doubt = |member: &Member| self.doubts.may_have_moved(member.node);
        let in_doubt: BTreeSet<&HostName> =
            self.members().filter(|member| in_doubt(member)).map(|member| &member.name).collect();
        let is_two = |name: &HostName| self.is_two(name) && !in_doubt.contains(name);
        odd::of(self.members(), self.own_far, &self.config.name, is_two)
    }

    /// Whether [`oddities`](Members::oddities) may have changed since this was asked last.
    pub fn take_odd_news(&mut self) -> bool {
        std::mem::take(&mut self.has_odd_news)
    }

    fn is_of_two(&self, node: NodeId) -> bool {
        self.get(node).is_some_and(|member| self.is_two(&member.name))
    }

    /// Whether a member has this name.
    pub fn is_named(&self, name: &HostName) -> bool {
        self.roster.named(name) > 0
    }

    /// Whether several members have this name, or one of them and this daemon.
    pub fn is_two(&self, name: &HostName) -> bool {
        self.roster.named(name) + usize::from(*name == self.config.name) > 1
    }

    /// How many strangers are about to get an answer, or a repeat of one.
    pub fn strangers(&self) -> usize {
        self.strangers.len()
    }

    /// How many packets came, by what became of them.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn send_due_hello(&mut self, now: Time) {
        let keepalive = self.config.keepalive;
        if let Some(due) = self.schedule.take(now, keepalive, &mut self.rng) {
            let hello = Hello { new: due == Due::Start, ..self.plain_hello() };
            self.push(Destination::Group, hello);
        }
    }

    fn answer_member(&mut self, now: Time, node: NodeId, echo: Option<Challenge>) {
        let Some(entry) = self.roster.get_mut(node) else { return };
        if !self.members_limit.has(now, MEMBERS) || !entry.answers.take(now, MEMBER) {
            self.counts.limited += 1;
            return;
        }
        self.members_limit.take(now, MEMBERS);
        self.counts.answers_to_members += 1;
        let to = Destination::One(node, entry.member.addr);
        let hello = Hello { echo, ..self.plain_hello() };
        self.push(to, hello);
    }

    fn send_due_answers(&mut self, now: Time) {
        while let Some((peer, answer)) = self.strangers.next(now, &mut self.counts.limited) {
            self.counts.answers_to_strangers += 1;
            self.doubts.asked(now, peer.node);
            let challenge = Some(self.challenges.issue(now, peer));
            let hello = Hello { asks: true, challenge, echo: answer.echo, ..self.plain_hello() };
            self.push(Destination::One(peer.node, peer.addr), hello);
            let spread = spread(self.len());
            self.strangers.sent(now, peer, answer, spread, &mut self.rng);
        }
    }

    /// A HELLO with what all of them say, but for the clock, which goes in when it is sent.
    fn plain_hello(&mut self) -> Hello {
        let mut hello = Hello {
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
            height: Stamp::ZERO,
            wall: 0,
            records: self.records,
            mirrors: Vec::new(),
        };
        // On a link with small packets not all fit, and the others have their turn next.
        let room = hello.room_for_mirrors().min(self.mirrors.len());
        let in_turn = self.mirrors.iter().cycle().skip(self.mirrors_turn);
        hello.mirrors = in_turn.take(room).copied().collect();
        self.mirrors_turn = (self.mirrors_turn + room) % self.mirrors.len().max(1);
        hello
    }

    /// How this daemon stands with the trees that it mirrors; the next HELLOs say so.
    /// [`MAX_TREES`](crate::wire::mirror::MAX_TREES) at most.
    pub fn set_mirrors(&mut self, mirrors: Vec<Standing>) {
        self.mirrors = mirrors;
    }

    /// How a member stands with a mirrored tree now, as it has said.
    pub fn stands(&mut self, node: NodeId, standing: Standing) {
        if let Some(entry) = self.roster.get_mut(node) {
            entry.member.say(&[standing]);
        }
    }

    /// What this daemon has to say of its records; the next HELLOs do. If it has come to lack something, or
    /// lacks nothing any more, and that lasts, one is sent for that.
    pub fn set_records(&mut self, now: Time, records: Option<Said>) {
        self.records = records;
        let gist = |said: Option<Said>| {
            let behind = said.map(|said| said.behind).filter(|behind| !behind.is_nothing());
            behind.map(|behind| behind.why)
        };
        if gist(records) == gist(self.told) {
            self.news_at = None;
        } else if self.news_at.is_none() {
            self.news_at = Some(now + NEWS + self.jitter(spread(self.len())));
        }
    }

    /// Says HELLO once more, out of turn: there is something new in it.
    pub fn say_hello(&mut self) {
        if !self.has_left {
            let hello = self.plain_hello();
            self.push(Destination::Group, hello);
        }
    }

    /// A random span below `end`; zero if `end` is.
    fn jitter(&mut self, end: Span) -> Span {
        Span::from_micros(self.rng.below(end.micros()))
    }

    fn push(&mut self, to: Destination, hello: Hello) {
        if to == Destination::Group {
            (self.told, self.news_at) = (hello.records, None);
        }
        if self.out.len() < MAX_OUT {
            self.out.push_back((to, Packet::Hello(hello)));
        }
    }
}

/// Over how long a fleet of `members` spreads its answers to a HELLO that all have heard: a newcomer
/// answers 100 of them at once and then 100 a second, and its receive buffer may be small.
fn spread(members: usize) -> Span {
    if members <= NO_SPREAD {
        return Span::ZERO;
    }
    let members = members as u64;
    Span::from_millis(members).at_least(Span::from_millis(members.saturating_sub(100) * 10))
}
