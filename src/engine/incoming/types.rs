//! What goes into [`Reception`](super::Reception) and comes out of it.

use std::fmt;
use std::net::SocketAddrV4;

use crate::count::counted;
use crate::engine::disk_job::{Ended, Recorded, TransferKey};
use crate::name::NodeId;
use crate::stamp::Stamp;
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
    /// A transfer began, with this place in the order of all.
    Opened(TransferKey, Stamp),
    /// A transfer has come to its end, with this here.
    Ended(TransferKey, Arrived),
    /// A transfer ended early.
    Aborted(TransferKey, AbortReason),
}

/// What there is of a transfer when its sender says that it is over. The sender may have gone on
/// without this target.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Arrived {
    /// How many regular files it had.
    pub files: u64,
    /// How many of them are not as they were sent.
    pub missing: u64,
    /// Some batch is not done here.
    pub unfinished: bool,
    /// What only this host has was to be deleted, and is still there.
    pub undeleted: bool,
    /// What its sender says is to be kept of it.
    pub recorded: Option<Recorded>,
}

impl Arrived {
    /// What the disk is told of it.
    pub(super) fn ended(&self) -> Ended {
        // What nobody was to delete does not count.
        let spared = self.recorded.is_some_and(|recorded| !recorded.deletes);
        let arrived = Arrived { undeleted: self.undeleted && !spared, ..*self };
        let (is_complete, is_whole) = (!arrived.is_incomplete(), !self.unfinished);
        Ended { is_complete, is_whole, recorded: self.recorded }
    }

    /// Whether anything is not as it was sent.
    pub fn is_incomplete(&self) -> bool {
        self.missing > 0 || self.unfinished || self.undeleted
    }
}

impl fmt::Display for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arrived { files, missing, unfinished, undeleted, .. } = *self;
        let mut parts = Vec::new();
        if missing > 0 {
            parts.push(format!(
                "{missing} of {} {} not as sent",
                counted(files, "file"),
                if missing == 1 { "is" } else { "are" }
            ));
        } else if unfinished {
            parts.push("something other than its files is not as sent".to_owned());
        }
        if undeleted {
            parts.push("what was to be deleted is still there".to_owned());
        }
        match parts.as_slice() {
            [] => f.write_str("complete"),
            parts => write!(f, "incomplete: {}", parts.join(", and ")),
        }
    }
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
    /// This daemon has another address.
    Moved,
    /// It cannot go on here.
    Failed(Reason),
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AbortReason::Sender => f.write_str("its sender called it off"),
            AbortReason::Left => f.write_str("its sender has left"),
            AbortReason::Silence => f.write_str("its sender is silent"),
            AbortReason::Moved => f.write_str("the address of this host has changed"),
            AbortReason::Failed(reason) => write!(f, "{reason}"),
        }
    }
}
