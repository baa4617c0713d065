//! What goes into [`Members`](super::Members) and comes out of it.

use std::net::SocketAddrV4;

use super::clock::Clock;
use crate::ids::TransferNo;
use crate::name::{HostName, NodeId};
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use crate::wire::hello::Hello;
use crate::wire::mirror::{MAX_TREES, Standing};

/// What the membership needs to know of this daemon.
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
    /// The size of its receive buffer as the kernel reports it, in bytes.
    pub rcvbuf: u32,
    /// Whether it can be a target.
    pub receives: bool,
    /// Whether a packet proves which member sent it: the group has a key. If not, a member is asked
    /// before anything is believed that others would profit from.
    pub authentic: bool,
    /// Random bytes, drawn when this process starts and never sent.
    pub secret: [u8; 16],
    /// Seeds the jitter of HELLOs and answers; need not be secret.
    pub seed: u64,
    /// How long a member may be silent, usually [`SILENCE`](super::SILENCE).
    pub silence: Span,
    /// The average time between HELLOs, usually [`KEEPALIVE`](super::KEEPALIVE). The real one is up to a
    /// third shorter or longer. At least a second.
    pub keepalive: Span,
}

/// A daemon that is a member of the group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its node id.
    pub node: NodeId,
    /// Its host name; two may have the same.
    pub name: HostName,
    /// The address at which it has echoed a challenge; packets with its node id from elsewhere are
    /// ignored.
    pub addr: SocketAddrV4,
    /// Its version.
    pub version: String,
    /// The MTU of its interface, in bytes; [`MIN_MTU`](crate::wire::hello::MIN_MTU) at least.
    pub mtu: u16,
    /// The size of its receive buffer as its kernel reports it, in bytes.
    pub rcvbuf: u32,
    /// Whether it may be a target.
    pub receives: bool,
    /// When it became a member.
    pub joined: Time,
    /// When it was last heard.
    pub heard: Time,
    /// Its transfers before this one are closed.
    pub oldest_open: TransferNo,
    /// How its clock is against ours.
    pub clock: Clock,
    /// How it stands with the trees that it mirrors, [`MAX_TREES`] at most.
    pub mirrors: Vec<Standing>,
}

impl Member {
    /// Takes what a HELLO says, which need not be of all trees.
    pub(super) fn say(&mut self, mirrors: &[Standing]) {
        for said in mirrors {
            match self.mirrors.iter().position(|known| known.tree == said.tree) {
                Some(at) => self.mirrors[at] = *said,
                None if self.mirrors.len() < MAX_TREES => self.mirrors.push(*said),
                None => {}
            }
        }
    }
}

/// Why a member left the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DepartureReason {
    /// It sent BYE.
    Bye,
    /// Nothing has come from it for too long.
    Silent,
    /// Another node has proven to be at its address: the daemon there was restarted.
    Replaced {
        /// That node.
        by: NodeId,
    },
    /// It did not answer in a transfer.
    Dropped,
    /// A node of its name has proven to be at this address, and nothing answers at its own.
    Moved(SocketAddrV4),
}

/// What happened to the members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A node became a member.
    Joined(Member),
    /// A member's HELLO says something new: MTU, receive buffer, whether it receives, its oldest open
    /// transfer, or another time.
    Changed(Member),
    /// A member has this stamp, which is higher than all of this daemon: its clock is to adopt it.
    Height(Stamp),
    /// A member left.
    Left {
        /// What was known of it.
        member: Member,
        /// Why it left.
        reason: DepartureReason,
    },
}

/// A packet to send; the caller gives each a new counter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// HELLO.
    Hello(Hello),
    /// BYE.
    Bye,
}

/// How many HELLOs and BYEs came, by what became of them, and how many answers were sent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// With this daemon's own node id.
    pub own: u64,
    /// From members, and taken.
    pub members: u64,
    /// From nodes that are no members.
    pub strangers: u64,
    /// With a member's node id, from another address.
    pub elsewhere: u64,
    /// With a counter that was used before, and so perhaps not by who they say.
    pub replayed: u64,
    /// With an echo that is not a challenge of this daemon, or no longer.
    pub bad_echo: u64,
    /// From a node for which there is no place: there are [`MAX_MEMBERS`](super::MAX_MEMBERS).
    pub full: u64,
    /// Not answered, because answers are limited.
    pub limited: u64,
    /// Answers sent to nodes that are no members.
    pub answers_to_strangers: u64,
    /// Answers sent to members.
    pub answers_to_members: u64,
}
