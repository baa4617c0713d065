//! Where a packet is sent.

use std::net::SocketAddrV4;

use crate::name::NodeId;

/// Where a packet is sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Destination {
    /// To the multicast group, and so to every member.
    Group,
    /// To this node alone, which is at this address. No other takes the packet.
    One(NodeId, SocketAddrV4),
}

impl Destination {
    /// The node that it is for alone, if it is not for all.
    pub fn node(self) -> Option<NodeId> {
        match self {
            Destination::Group => None,
            Destination::One(node, _) => Some(node),
        }
    }
}
