//! A transfer with its driver, for tests.

use std::net::SocketAddrV4;
use std::sync::Arc;

use super::Outgoing;
use super::types::{Config, Event, Transmit};
use crate::engine::destination::Destination;
use crate::engine::disk_job::Mode;
use crate::ids::{BatchNo, EntryNo, PollNo, TransferNo};
use crate::name::NodeId;
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use crate::wire::feedback::{BatchStatus, Feedback, State, Status};
use crate::wire::header::PacketKind;
use crate::wire::layout::Layout;
use crate::wire::manifest::tests::entry;
use crate::wire::manifest::{Kind, Manifest};
use crate::wire::outcome::{Need, Outcome, Runs};

pub(super) const BLOCK: u16 = 1_000;
pub(super) const A: NodeId = NodeId(10);
pub(super) const B: NodeId = NodeId(11);
pub(super) const FIRST: BatchNo = BatchNo::FIRST;

pub(super) struct Driver {
    pub(super) outgoing: Outgoing,
    pub(super) now: Time,
    last_poll: PollNo,
}

impl Driver {
    pub(super) fn new(targets: usize, mode: Mode) -> Self {
        let now = Time::from_micros(1_000_000);
        let addr = |at: u8| SocketAddrV4::new([10, 0, 0, at].into(), 5_000);
        let targets = (1..).zip([A, B]).take(targets).map(|(at, node)| (node, addr(at)));
        let config = Config {
            me: NodeId(1),
            number: TransferNo::new(7),
            oldest: TransferNo::new(7),
            targets: targets.collect(),
            mode,
            atomic: false,
            block: BLOCK,
            parallel: 8,
            stamp: Stamp::ZERO,
            timeout: Span::from_secs(10),
            patience: Span::from_secs(10),
        };
        Driver { outgoing: Outgoing::new(config, now), now, last_poll: PollNo::ZERO }
    }

    /// Hands in a batch of a directory and a file.
    pub(super) fn batch(&mut self, size: u64) -> BatchNo {
        let file = entry("d/f", Kind::File { size, data: None });
        let entries = vec![entry("d", Kind::Open), file];
        let manifest = Manifest { entries, ..Manifest::default() };
        let layout = Arc::new(Layout::new(&manifest, BLOCK.into()).unwrap());
        self.outgoing.batch(self.now, &manifest, layout)
    }

    /// All events that there are; of what is needed only where nothing else tells what a target said.
    pub(super) fn events(&mut self) -> Vec<Event> {
        let dry_run = self.outgoing.config.mode.changes_nothing();
        let events = std::iter::from_fn(|| self.outgoing.poll_event());
        events.filter(|event| dry_run || !matches!(event, Event::Needs(..))).collect()
    }

    /// Sends all there is to send: the kinds of packets and where they go.
    pub(super) fn sent(&mut self) -> Vec<(PacketKind, Destination)> {
        let mut sent = Vec::new();
        while let Some(transmit) = self.outgoing.poll_transmit(self.now, 44, true) {
            let (Transmit::Packet { to, header, .. } | Transmit::Data { to, header, .. }) =
                transmit;
            if header.kind == PacketKind::Poll {
                self.last_poll = header.poll();
            }
            sent.push((header.kind, to));
        }
        sent
    }

    /// The kinds of packets alone.
    pub(super) fn kinds(&mut self) -> Vec<PacketKind> {
        self.sent().into_iter().map(|(kind, _)| kind).collect()
    }

    pub(super) fn hear(&mut self, from: NodeId, feedback: Feedback) {
        self.outgoing.feedback(self.now, from, FIRST, feedback);
    }

    /// A target answers the last poll: how far it is with the first batch.
    pub(super) fn status(&mut self, from: NodeId, state: State) {
        let status = Status {
            poll: self.last_poll,
            asked: true,
            held: 0,
            grant: u32::MAX,
            received: 0,
            digested: 0,
            first: FIRST,
            batches: vec![BatchStatus { state, missing: Vec::new() }],
        };
        self.hear(from, Feedback::Status(status));
    }

    /// A target needs everything of the first batch.
    pub(super) fn need(&mut self, from: NodeId) {
        self.hear(from, Feedback::Need(runs(Need::All)));
    }

    /// A target has done the first batch.
    pub(super) fn done(&mut self, from: NodeId) {
        self.hear(from, Feedback::Done(runs(Outcome::Updated)));
    }

    /// Lets time pass, deadline by deadline; all that is sent meanwhile.
    pub(super) fn wait(&mut self, span: Span) -> Vec<(PacketKind, Destination)> {
        let end = self.now + span;
        let mut sent = self.sent();
        while let Some(next) = self.outgoing.poll_timeout(true).filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.outgoing.timeout(self.now);
            sent.extend(self.sent());
        }
        self.now = end;
        sent
    }
}

pub(super) fn runs<C>(code: C) -> Runs<C> {
    Runs { first: EntryNo::ZERO, runs: vec![(code, 2)] }
}
