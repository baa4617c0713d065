//! What this host has asked another one for, as the disk thread has to know it.

use std::sync::Arc;

use super::order::Order;
use super::unread::Unread;
use crate::console::command::Follow;
use crate::ids::Ticket;
use crate::name::{HostName, NodeId};

/// What this host has asked another one for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) ticket: Ticket,
    /// Who is to send it.
    pub(super) donor: NodeId,
    /// This host's name.
    pub(super) me: HostName,
    pub(super) order: Arc<Order>,
    pub(super) client: u32,
    /// The command as the client wrote it.
    pub(super) command: String,
    pub(super) level: u8,
    pub(super) follow: Follow,
    /// The client's unread output.
    pub(super) unread: Unread,
}
