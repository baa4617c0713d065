//! What goes into [`Reception`](super::Reception) and comes out of it.

use std::fmt;
use std::net::SocketAddrV4;

use crate::engine::disk_job::TransferKey;
use crate::name::NodeId;
use crate::time::Span;
use crate::wire::header::Header;
use crate::wire::outcome::Reason;

/// A transfer whose sender is silent for this long is closed.
pub const SILENCE: Span = Span::from_secs(30);

/// What incoming transfers need to know of this daemon.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its node id.
    pub me: NodeId,
    /// The size of its receive buffer as the kernel reports it, in bytes.
    pub receive_buffer: u32,
    /// The memory for manifests and bodies, in bytes.
    pub budget: usize,
    /// Seeds the jitter of replies.
    pub seed: u64,
}

/// A packet to be sealed and sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outbound {
    /// The node that it is for.
    pub to_node: NodeId,
    /// The address to send it to.
    pub to: SocketAddrV4,
    /// The header, complete but for its counter.
    pub header: Header,
    /// What follows the header.
    pub payload: Vec<u8>,
}

/// Where the payload of a block belongs.
#[derive(Debug)]
pub enum Place<'a, H> {
    /// Nowhere: it is not needed, or no longer.
    Nowhere,
    /// Here.
    Memory(&'a mut [u8]),
    /// In this file, at this offset in bytes.
    File(&'a H, u64),
}

/// What is worth a line in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A transfer began.
    Opened(TransferKey),
    /// A transfer is complete here.
    Ended(TransferKey),
    /// A transfer ended early.
    Aborted(TransferKey, AbortReason),
}

/// Why a transfer ended early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AbortReason {
    /// Its sender aborted it.
    Sender,
    /// Its sender is no longer a member.
    Left,
    /// Its sender has been silent for [`SILENCE`].
    Silence,
    /// It cannot go on here.
    Failed(Reason),
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AbortReason::Sender => f.write_str("its sender called it off"),
            AbortReason::Left => f.write_str("its sender has left"),
            AbortReason::Silence => f.write_str("its sender is silent"),
            AbortReason::Failed(reason) => write!(f, "{reason}"),
        }
    }
}
