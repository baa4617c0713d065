//! What the talk about a tree is told, and what comes out of it.

use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::mirror::Standing;
use crate::wire::names::Hash;
use crate::wire::versions::{Dot, IndexId, Knowledge};

/// What a host is like that talks.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which tree it is about.
    pub tree: Hash,
    /// How many bytes of payload fit into a packet.
    pub room: usize,
    /// Seeds what is random.
    pub seed: u64,
    /// Whether it may send.
    pub gives: bool,
}

/// How this host stands with the tree now.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// The id of its index.
    pub by: IndexId,
    /// The number of its own latest change.
    pub height: u64,
    /// What it knows.
    pub knowledge: &'a Knowledge,
    /// The hash of that.
    pub hash: u64,
    /// The dots of which it lacks the bytes, as many as a question has room for.
    pub needed: &'a [Dot],
    /// Some entries go beyond what it knows.
    pub in_part: bool,
    /// Its wall clock, in milliseconds since 1970.
    pub wall: u64,
}

/// A delta that is to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Serve {
    /// What all know that it is for.
    pub from: Knowledge,
    /// Those.
    pub nodes: Vec<NodeId>,
    /// The dots of which one of them lacks the bytes, though it knows of them.
    pub needed: Vec<Dot>,
}

/// Not before a time, and each time twice as long, unless that is long ago.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Pause {
    pub until: Time,
    pub span: Span,
}

impl Pause {
    /// Pauses from now on.
    pub fn hold(&mut self, now: Time, least: Span, most: Span) {
        let is_old = now.since(self.until) > self.span * 4;
        let span = if is_old { Span::ZERO } else { self.span };
        self.span = (span * 2).at_least(least).at_most(most);
        self.until = now + self.span;
    }
}

/// A member that mirrors the tree.
#[derive(Debug)]
pub(super) struct Peer {
    pub standing: Standing,
    /// When it said that.
    pub heard: Time,
    /// Since when it has not known the same as this host, and said nothing new; None: it does.
    pub apart: Option<Time>,
    /// It knows something that this host does not, whatever its HELLO says.
    pub ahead: bool,
    /// When it may be asked, and when it may be given something; the hash of what it knew last time.
    pub asks: Pause,
    pub gives: Pause,
    pub given: u64,
    /// The hash of what was known here when it was asked for parts that go beyond what it knows.
    pub parts: Option<u64>,
}

/// The order in which hosts ask, and serve: the same for all of them, and another one each 15 seconds.
pub(super) fn rank(by: IndexId, wall: u64) -> u64 {
    const SLOT: u64 = 15_000;
    Hash::of(&[by.0.to_be_bytes(), (wall / SLOT).to_be_bytes()].concat()).0
}
