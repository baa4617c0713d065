//! What other hosts have asked this one for (`fetch`): one thing each.

use std::collections::{BTreeMap, BTreeSet};
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

/// The most transfers for other hosts that are open at a time; who comes then tries again.
const MOST_OPEN: usize = 8;
/// The most of these for one node: one that is given up may take a while to end.
const MOST_OF_ONE: usize = 2;

/// What other hosts have asked for, by their nodes.
#[derive(Debug, Default)]
pub(super) struct Served {
    asked: BTreeMap<NodeId, Asked>,
    /// The transfers that were begun, and are not known to have ended.
    begun: Vec<(NodeId, TransferNo)>,
}

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
        self.asked.get_mut(&node)
    }

    /// The same, if it is this.
    pub(super) fn of(&mut self, node: NodeId, ticket: Ticket) -> Option<&mut Asked> {
        self.get(node).filter(|asked| asked.ticket == ticket)
    }

    /// Whose transfer runs for this client.
    pub(super) fn find(&mut self, client: u32) -> Option<(NodeId, &mut Asked)> {
        let is = |asked: &Asked| matches!(asked.stage, Stage::Running { client: it, .. } if it == client);
        self.asked.iter_mut().find(|(_, asked)| is(asked)).map(|(node, asked)| (*node, asked))
    }

    /// A node begins to ask for something. False if too many have.
    pub(super) fn begin(&mut self, now: Time, node: NodeId, ticket: Ticket, len: usize) -> bool {
        let has_room = self.asked.len() < MOST;
        if has_room {
            self.asked.insert(node, Asked::new(ticket, now, len));
        }
        has_room
    }

    /// Forgets what a node has asked for. Returns the transfer, if one runs for it.
    pub(super) fn remove(&mut self, node: NodeId) -> Option<TransferNo> {
        match self.asked.remove(&node)?.stage {
            Stage::Running { number, .. } => Some(number),
            Stage::Coming(..) | Stage::Over(_) => None,
        }
    }

    /// A transfer begins for a node.
    pub(super) fn begun(&mut self, node: NodeId, number: TransferNo) {
        self.begun.push((node, number));
    }

    /// Whether no further transfer may begin for a node now; those that are `open` have not ended.
    pub(super) fn is_busy(&mut self, node: NodeId, open: &BTreeSet<TransferNo>) -> bool {
        self.begun.retain(|(_, number)| open.contains(number));
        let of_one = self.begun.iter().filter(|(other, _)| *other == node).count();
        self.begun.len() >= MOST_OPEN || of_one >= MOST_OF_ONE
    }

    /// Who has not asked for too long.
    pub(super) fn late(&self, now: Time) -> Vec<NodeId> {
        let late = self.asked.iter().filter(|(_, asked)| now >= asked.heard + SILENT);
        late.map(|(node, _)| *node).collect()
    }

    /// When the next one is late.
    pub(super) fn next(&self) -> Option<Time> {
        self.asked.values().map(|asked| asked.heard + SILENT).min()
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

    /// Something is to be known that is no error.
    pub(super) fn remark(&mut self, text: &str) {
        if self.troubles.len() < TROUBLES {
            let (path, code, text) = (String::new(), String::new(), text.to_owned());
            self.troubles.push(Trouble { is_there: true, path, code, text });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::error::Code;

    #[test]
    fn a_request_is_taken_only_in_order_and_within_its_length() {
        let mut asked = Asked::new(Ticket::new(1), Time::default(), 4);
        assert_eq!(asked.take(0, b"ab"), None);
        for (offset, part) in
            [(1, &b"x"[..]), (3, b"x"), (2, b"xyz"), (usize::MAX, b"x"), (5, b"x")]
        {
            assert_eq!(asked.take(offset, part), None, "{offset}");
        }
        assert_eq!(asked.take(2, b"cd").as_deref(), Some(&b"abcd"[..]));
        let mut again = Asked::new(Ticket::new(1), Time::default(), 4);
        assert_eq!((again.take(0, b"abc"), again.take(0, b"efgh")), (None, Some(b"efgh".to_vec())));
        assert_eq!(again.state(), State::Unknown);
    }

    #[test]
    fn what_went_wrong_here_is_counted_and_some_of_it_is_told() {
        let mut asked = Asked::new(Ticket::new(1), Time::default(), 1);
        (0..100).for_each(|n| asked.note(&ErrorLine::new(Code::Other, format!("{n}"))));
        asked.note(&ErrorLine::new(Code::Other, "at the other end").about("h1", ""));
        asked.over(End::Failed);
        let State::Over(over) = asked.state() else { panic!("{asked:?}") };
        assert_eq!((over.errors, over.end), (100, End::Failed));
        assert!((1..=TROUBLES).contains(&over.troubles.len()) && over.troubles[0].text == "0");
    }

    #[test]
    fn one_node_cannot_have_all_and_what_is_given_up_counts_until_it_has_ended() {
        let (mut served, mut open) = (Served::default(), BTreeSet::new());
        let (a, b) = (NodeId(1), NodeId(2));
        for n in 1..=2 {
            assert!(!served.is_busy(a, &open));
            assert!(served.begin(Time::default(), a, Ticket::new(n), 1));
            served.begun(a, TransferNo::new(n as u32));
            open.insert(TransferNo::new(n as u32));
        }
        served.remove(a);
        assert!(served.is_busy(a, &open) && !served.is_busy(b, &open));
        open.remove(&TransferNo::new(1));
        assert!(!served.is_busy(a, &open));
        for n in 3..=9 {
            served.begun(NodeId(n), TransferNo::new(n as u32));
            open.insert(TransferNo::new(n as u32));
        }
        assert!(served.is_busy(b, &open));
        assert!(
            (0..1_000)
                .filter(|n| served.begin(Time::default(), NodeId(*n), Ticket::ZERO, 1))
                .count()
                <= MOST
        );
    }
}
