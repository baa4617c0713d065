//! What goes into the machine and comes out of it.

use std::net::SocketAddrV4;

use crate::ids::TransferNo;
use crate::name::{HostName, NodeId};
use crate::time::{Span, Time};
use crate::wire::hello::Hello;

/// What a daemon knows of itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its node id.
    pub me: NodeId,
    /// Its host name.
    pub name: HostName,
    /// Its version: 1 to 32 printable ASCII characters.
    pub version: String,
    /// The MTU of its interface, in bytes.
    pub mtu: u16,
    /// Its receive buffer as the kernel counts it, in bytes.
    pub rcvbuf: u32,
    /// Whether it can be a target.
    pub receives: bool,
    /// Random, drawn at the start of this process, told to nobody.
    pub secret: [u8; 16],
    /// What spreads HELLOs over time; need not be secret.
    pub seed: u64,
    /// For how long a member may be silent: [`SILENCE`](super::SILENCE).
    pub silence: Span,
    /// How far apart HELLOs are, give or take a third; a second at least: [`KEEPALIVE`](super::KEEPALIVE).
    pub keepalive: Span,
}

/// A live daemon of our group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// What it is known by.
    pub node: NodeId,
    /// Its host name; two may have the same.
    pub name: HostName,
    /// Where it proved to be; packets of its node id from elsewhere are not its own.
    pub addr: SocketAddrV4,
    /// Its version.
    pub version: String,
    /// The MTU of its interface, in bytes; [`MIN_MTU`](crate::wire::hello::MIN_MTU) at least.
    pub mtu: u16,
    /// Its receive buffer as its kernel counts it, in bytes.
    pub rcvbuf: u32,
    /// Whether it may be a target.
    pub receives: bool,
    /// When it was admitted.
    pub joined: Time,
    /// When it was last heard.
    pub heard: Time,
    /// Its transfers below this number are closed.
    pub oldest_open: TransferNo,
}

/// Why a member left the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DepartureReason {
    /// It said so.
    Bye,
    /// Nothing came from it for too long.
    Silent,
    /// Another node has proven to be at its address: its host started anew.
    Replaced {
        /// That node.
        by: NodeId,
    },
    /// It did not answer in a transfer.
    Dropped,
}

/// What happened to the members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A node was admitted.
    Joined(Member),
    /// A member's HELLO says something new: MTU, receive buffer, whether it receives, or its oldest
    /// open transfer.
    Changed(Member),
    /// A member went.
    Left {
        /// What it was.
        member: Member,
        /// Why it left.
        reason: DepartureReason,
    },
}

/// A packet to send. Each takes the next counter of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// HELLO.
    Hello(Hello),
    /// BYE.
    Bye,
}

/// HELLOs and BYEs by what became of them, and answers; each only ever grows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// With our own node id.
    pub own: u64,
    /// From members, and good.
    pub members: u64,
    /// From nodes that are no members.
    pub strangers: u64,
    /// With a member's node id, from another address.
    pub elsewhere: u64,
    /// With a counter that was used before.
    pub replayed: u64,
    /// With an echo that is no (longer a) challenge of ours.
    pub bad_echo: u64,
    /// From one more node when there are [`MAX_MEMBERS`](super::MAX_MEMBERS).
    pub full: u64,
    /// That did not get their answer, because answers have a rate.
    pub limited: u64,
    /// Answers sent to nodes that are no members.
    pub answers_to_strangers: u64,
    /// Answers sent to members.
    pub answers_to_members: u64,
}
