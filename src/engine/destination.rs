//! Where a packet is sent.

use std::net::SocketAddrV4;

/// Where a packet is sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Destination {
    /// To the multicast group, and so to every member.
    Group,
    /// To one address.
    One(SocketAddrV4),
}
