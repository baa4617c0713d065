//! What other hosts have asked this one for (`fetch`): one thing each.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::console::error::ErrorLine;
use crate::daemon::order::Order;
use crate::daemon::unread::Unread;
use crate::ids::Ticket;
use crate::ids::TransferNo;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::fetch::{End, Over, State, Trouble};
use crate::wire::header::block_for_mtu;
use crate::wire::hello::MIN_MTU;

/// The most hosts of which something is kept.
const MOST: usize = 256;
/// Who does not ask for so long how far it is does not want it any more.
const SILENT: Span = Span::from_secs(20);
/// The most errors that are kept to be told.
const TROUBLES: usize = 16;

/// What other hosts have asked for, by their nodes.
#[derive(Debug, Default)]
pub(super) struct Served(BTreeMap<NodeId, Asked>);

/// What one host has asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ticket: Ticket,
    /// When it last asked.
    pub(super) heard: Time,
    pub(super) stage: Stage,
    /// The level of the lines that are shown there.
    pub(super) level: u8,
    /// How many transfers were begun for it.
    pub(super) transfers: u64,
    /// Their bytes on the wire.
    pub(super) wire: u64,
    /// How much went wrong here.
    errors: u64,
    pub(super) troubles: Vec<Trouble>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// So many bytes of the request have come.
    Coming(Vec<u8>, usize),
    /// The transfer runs, for this client that there is not.
    Running {
        client: u32,
        number: TransferNo,
        order: Arc<Order>,
        unread: Unread,
    },
    Over(Over),
}

impl Served {
    /// What a node has asked for.
    pub(super) fn get(&mut self, node: NodeId) -> Option<&mut Asked> {
        self.0.get_mut(&node)
    }

    /// The same, if it is this.
    pub(super) fn of(&mut self, node: NodeId, ticket: Ticket) -> Option<&mut Asked> {
        self.get(node).filter(|asked| asked.ticket == ticket)
    }

    /// Whose transfer runs for this client.
    pub(super) fn find(&mut self, client: u32) -> Option<(NodeId, &mut Asked)> {
        let is = |asked: &Asked| matches!(asked.stage, Stage::Running { client: it, .. } if it == client);
        self.0.iter_mut().find(|(_, asked)| is(asked)).map(|(node, asked)| (*node, asked))
    }

    /// A node begins to ask for something. False if too many have.
    pub(super) fn begin(&mut self, now: Time, node: NodeId, ticket: Ticket, len: usize) -> bool {
        let has_room = self.0.len() < MOST;
        if has_room {
            self.0.insert(node, Asked::new(ticket, now, len));
        }
        has_room
    }

    /// Forgets what a node has asked for. Returns the transfer, if one runs for it.
    pub(super) fn remove(&mut self, node: NodeId) -> Option<TransferNo> {
        match self.0.remove(&node)?.stage {
            Stage::Running { number, .. } => Some(number),
            Stage::Coming(..) | Stage::Over(_) => None,
        }
    }

    /// How many transfers run.
    pub(super) fn running(&self) -> usize {
        self.0.values().filter(|asked| matches!(asked.stage, Stage::Running { .. })).count()
    }

    /// Who has not asked for too long.
    pub(super) fn late(&self, now: Time) -> Vec<NodeId> {
        let late = self.0.iter().filter(|(_, asked)| now >= asked.heard + SILENT);
        late.map(|(node, _)| *node).collect()
    }

    /// When the next one is late.
    pub(super) fn next(&self) -> Option<Time> {
        self.0.values().map(|asked| asked.heard + SILENT).min()
    }
}

impl Asked {
    fn new(ticket: Ticket, heard: Time, len: usize) -> Self {
        Asked {
            ticket,
            heard,
            stage: Stage::Coming(vec![0; len], 0),
            level: 0,
            transfers: 0,
            wire: 0,
            errors: 0,
            troubles: Vec::new(),
        }
    }

    /// Takes a part of the request. Returns all of it with the last one; parts come in order.
    pub(super) fn take(&mut self, offset: usize, part: &[u8]) -> Option<Vec<u8>> {
        let Stage::Coming(bytes, have) = &mut self.stage else { return None };
        if offset == 0 {
            *have = 0;
        }
        let place = bytes.get_mut(offset..offset.checked_add(part.len())?);
        place.filter(|_| *have == offset)?.copy_from_slice(part);
        *have += part.len();
        (*have == bytes.len()).then(|| std::mem::take(bytes))
    }

    /// Something is wrong.
    pub(super) fn note(&mut self, error: &ErrorLine) {
        let report = &error.report;
        let is_there = report.host.is_empty();
        self.errors += u64::from(is_there);
        if self.troubles.len() < TROUBLES {
            self.troubles.push(Trouble {
                is_there,
                path: report.path.clone(),
                code: report.code.clone(),
                text: report.error.clone(),
            });
        }
    }

    /// It is over.
    pub(super) fn over(&mut self, end: End) {
        let troubles = std::mem::take(&mut self.troubles);
        let Asked { transfers, wire, errors, .. } = *self;
        self.stage = Stage::Over(Over { end, transfers, wire, errors, troubles });
    }

    /// How far it is, in one packet.
    pub(super) fn state(&self) -> State {
        match &self.stage {
            Stage::Coming(..) => State::Unknown,
            Stage::Running { .. } => State::Running,
            Stage::Over(over) => State::Over(over.clone().within(block_for_mtu(MIN_MTU).into())),
        }
    }
}
