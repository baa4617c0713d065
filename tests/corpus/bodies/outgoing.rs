//! A transfer at its sender, with targets that answer anything: it ends all the same.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::input::Input;
use super::manifests;
use makuosan::engine::destination::Destination;
use makuosan::engine::disk_job::{DeletionTally, Mode};
use makuosan::engine::outgoing::{Config, Event, Outgoing, Transmit};
use makuosan::ids::{BatchNo, BlockNo, BlockRange, EntryNo, PollNo, TransferNo};
use makuosan::name::{NodeId, RelPath};
use makuosan::stamp::Stamp;
use makuosan::time::{Span, Time};
use makuosan::wire::begin::{Begin, Commit, Delete, End, Offer};
use makuosan::wire::feedback::{BatchStatus, Deleted, Feedback, MAX_OPEN, State, Status, Verdict};
use makuosan::wire::header::{Header, PacketKind, Role};
use makuosan::wire::layout::Layout;
use makuosan::wire::manifest::Manifest;
use makuosan::wire::outcome::{Need, Outcome, Reason, Runs, SpoolCode};
use makuosan::wire::poll::Poll;

const ME: NodeId = NodeId(1);
const MOST: usize = 400;
/// No one moment has more to send than this.
const MOST_PACKETS: usize = 100_000;

struct World {
    outgoing: Outgoing,
    block: u16,
    targets: u16,
    /// The layout and the number of entries of each batch, from the first.
    batches: Vec<(Arc<Layout>, u16)>,
    now: Time,
    last_poll: PollNo,
    finished: bool,
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.u8();
    let spools = flags & 7;
    let (dry_run, ignore_times) = (flags & 0x70 == 0x70, flags & 8 != 0);
    let mode = match spools {
        2 => Mode::DeleteOnly { gone: flags & 8 != 0, dry_run },
        3 => Mode::Check,
        4 => Mode::Remove { dry_run },
        _ => Mode::Send { delete: spools == 1, ignore_times, dry_run },
    };
    let targets = [0, 1, 2, 3, 2, 3, 2, 20][input.below(8) as usize];
    let block = [480, 1_424, 8_192][input.below(3) as usize];
    let now = Time::from_micros(1_000_000);
    let config = Config {
        me: ME,
        number: TransferNo::new(7),
        oldest: TransferNo::new(7),
        targets: (0..targets).map(|at| (node(at), address(at))).collect(),
        mode,
        atomic: flags & 64 != 0,
        block,
        parallel: 1 + input.below(MAX_OPEN as u32) as usize,
        stamp: Stamp::ZERO,
        timeout: Span::from_secs(10),
        patience: Span::from_secs(10),
    };
    let outgoing = Outgoing::new(config, now);
    let batches = Vec::new();
    let mut world =
        World { outgoing, block, targets, batches, now, last_poll: PollNo::ZERO, finished: false };
    let mut count = 0;
    while !input.is_empty() && count < MOST {
        count += 1;
        world.step(&mut input);
        world.events(&mut input);
    }
    world.end();
}

fn node(at: u16) -> NodeId {
    NodeId(u64::from(at) + 10)
}

fn address(at: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x7f00_0010 + u32::from(at)), 5_000)
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0 | 1 => self.batch(input),
            2..=8 => {
                let feedback = self.feedback(input);
                let batch = self.number(input);
                // As it would come from the wire.
                let mut payload = feedback.emit(ME, self.block.into());
                input.damage(&mut payload);
                if let Ok((_, feedback)) = Feedback::parse(feedback.kind(), &payload) {
                    let from = node(input.below(u32::from(self.targets) + 1) as u16);
                    self.outgoing.feedback(self.now, from, batch, feedback);
                }
            }
            9 => {
                let kind = PacketKind::ALL[input.below(17) as usize];
                if let Ok((_, feedback)) = Feedback::parse(kind, input.bytes(255)) {
                    self.outgoing.feedback(
                        self.now,
                        node(0),
                        BatchNo::new(input.number()),
                        feedback,
                    );
                }
            }
            10 | 11 => self.drain(input.below(16) != 0),
            12 => {
                let span = match input.below(3) {
                    0 => Span::from_millis(input.u8().into()),
                    1 => Span::from_secs(input.below(20).into()),
                    _ => Span::from_micros(input.u16().into()),
                };
                self.now += span;
                self.outgoing.timeout(self.now);
            }
            13 => {
                let number = self.number(input);
                self.outgoing.strike(self.now, number, &[(EntryNo::ZERO, Reason::Changed)]);
            }
            14 if input.below(8) == 0 => self.outgoing.end_input(self.now),
            14 if input.below(8) == 0 => self.outgoing.abort(self.now),
            14 => {
                let gone = node(input.below(u32::from(self.targets) + 1) as u16);
                if input.below(4) == 0 {
                    self.outgoing.member_gone(self.now, gone);
                }
            }
            _ => {
                let some = self.outgoing.poll_transmit(self.now, 1 + input.below(44), true);
                if let Some(transmit) = some {
                    self.transmit(&transmit);
                }
            }
        }
    }

    fn batch(&mut self, input: &mut Input<'_>) {
        let bytes = manifests::choose(input, false);
        // The walker is ours: it makes batches that hold together.
        let Ok(manifest) = Manifest::parse(&bytes) else { return };
        let layout = Layout::new(&manifest, self.block.into()).filter(Layout::is_sound);
        let Some(layout) = layout.filter(|_| self.outgoing.wants_batch()) else { return };
        let (layout, entries) = (Arc::new(layout), manifest.entries.len());
        self.batches.push((Arc::clone(&layout), entries as u16));
        let number = self.outgoing.batch(self.now, &manifest, layout);
        assert_eq!(number, BatchNo::ZERO.after(self.batches.len()));
    }

    /// The number of a batch, nearly always of one that there is.
    fn number(&self, input: &mut Input<'_>) -> BatchNo {
        BatchNo::new(match input.below(12) {
            0 => input.number(),
            some => 1 + some % (self.batches.len() as u32).max(1),
        })
    }

    fn batch_of(&self, number: BatchNo) -> Option<&(Arc<Layout>, u16)> {
        self.batches.get(number.since(BatchNo::FIRST)?)
    }

    fn entries(&self, number: BatchNo) -> u16 {
        self.batch_of(number).map_or(1, |(_, entries)| *entries)
    }

    fn feedback(&self, input: &mut Input<'_>) -> Feedback {
        let grant = match input.below(3) {
            0 => input.number(),
            1 => u32::MAX,
            _ => 1 << 18,
        };
        let whole = self.entries(BatchNo::new(1 + input.below(4))).max(1);
        match input.below(14) {
            0 => Feedback::Accept { verdict: Verdict::Accepted, grant },
            1 => match input.below(12) {
                0 => {
                    let verdict = Verdict::Refused { reason: Reason::Held, path: Vec::new() };
                    Feedback::Accept { verdict, grant }
                }
                _ => Feedback::Accept { verdict: Verdict::Shared(b"x".to_vec()), grant },
            },
            2 | 3 => {
                let need = [Need::All, Need::All, Need::Skip, Need::Attributes];
                let need = need[input.below(4) as usize];
                Feedback::Need(Runs { first: EntryNo::ZERO, runs: vec![(need, whole)] })
            }
            4 => {
                let outcome = [Outcome::Updated, Outcome::Struck][input.below(2) as usize];
                Feedback::Done(Runs { first: EntryNo::ZERO, runs: vec![(outcome, whole)] })
            }
            5 => Feedback::Busy,
            6 if input.below(8) == 0 => Feedback::Ended,
            6 | 7 => Feedback::Deleted(match input.below(4) {
                0 | 1 => Deleted::Tally(DeletionTally {
                    spooled: input.u8().into(),
                    failed: 0,
                    entries: 1_000,
                }),
                2 => Deleted::Ran { deleted: input.u64(), failed: input.u8().into() },
                _ => {
                    let name = RelPath::parse(b"d/gone").unwrap();
                    let names = vec![(SpoolCode::Deleted, name); input.below(4) as usize];
                    Deleted::Page { skip: input.number().into(), names }
                }
            }),
            _ => self.status(input, grant),
        }
    }

    fn status(&self, input: &mut Input<'_>, grant: u32) -> Feedback {
        let batch = |input: &mut Input<'_>| {
            let state = [
                State::Waiting,
                State::Offer,
                State::Planning,
                State::Body,
                State::Body,
                State::Staging,
                State::Staged,
                State::Committing,
                State::Done,
            ][input.below(9) as usize];
            let mut missing = Vec::new();
            let mut at = 0u32;
            if matches!(state, State::Offer | State::Body) {
                for _ in 0..input.below(4) {
                    let start = at.saturating_add(input.number());
                    let end = start.saturating_add(1 + input.number() % 1_000_000);
                    if start < end {
                        missing.push(BlockRange::new(BlockNo::new(start), BlockNo::new(end)));
                    }
                    at = end.saturating_add(1);
                }
            }
            BatchStatus { state, missing }
        };
        let poll = match input.below(8) {
            0 => input.number(),
            back => self.last_poll.get().saturating_sub(back / 3),
        };
        Feedback::Status(Status {
            poll: PollNo::new(poll),
            asked: input.flag(),
            held: input.number(),
            grant,
            received: input.u16().into(),
            digested: input.u16().into(),
            first: self.number(input),
            batches: (0..1 + input.below(4)).map(|_| batch(input)).collect(),
        })
    }

    fn events(&mut self, input: &mut Input<'_>) {
        while let Some(event) = self.outgoing.poll_event() {
            match event {
                Event::Verify(number) => {
                    let changed = input.below(8) == 0 && self.entries(number) > 0;
                    let strikes = [(EntryNo::ZERO, Reason::Changed)];
                    let strikes = if changed { &strikes[..] } else { &[] };
                    self.outgoing.verified(self.now, number, strikes);
                }
                Event::Tallied(_) => {
                    self.outgoing.decide(self.now, input.flag(), input.flag());
                }
                Event::Outcomes(number, target, runs) => {
                    assert!(target.index() < self.targets.into());
                    let entries = self.entries(number);
                    assert!(runs.iter().all(|(entry, _)| entry.get() < entries));
                }
                Event::Staged => self.outgoing.agreed(self.now, input.flag()),
                Event::Finished => {
                    assert!(!self.finished, "finished twice");
                    self.finished = true;
                }
                _ => {}
            }
        }
    }

    /// Everything that may leave now leaves, and then nothing is due.
    fn drain(&mut self, blocks_too: bool) {
        let mut none = Input::new(&[]);
        let mut count = 0;
        for _ in 0..100 {
            self.outgoing.timeout(self.now);
            while let Some(transmit) = self.outgoing.poll_transmit(self.now, 44, blocks_too) {
                self.transmit(&transmit);
                count += 1;
                assert!(count < MOST_PACKETS, "there is always more to send");
            }
            self.events(&mut none);
            if self.outgoing.poll_timeout(blocks_too).is_none_or(|next| next > self.now) {
                return;
            }
        }
        panic!("always due: {:?} at {:?}", self.outgoing.poll_timeout(blocks_too), self.now);
    }

    fn transmit(&mut self, transmit: &Transmit) {
        let known = |to: &Destination| match to {
            Destination::Group => self.targets > 1,
            Destination::One(_, addr) => (0..self.targets).any(|at| address(at) == *addr),
        };
        let (to, header) = match transmit {
            Transmit::Packet { to, header, .. } | Transmit::Data { to, header, .. } => (to, header),
        };
        assert!(known(to), "{to:?}");
        let Header { node, role, transfer, .. } = *header;
        assert_eq!((node, role, transfer), (ME, Role::Sender, TransferNo::new(7)));
        match transmit {
            Transmit::Packet { payload, .. } => {
                assert!(payload.len() <= self.block.into(), "{} {:?}", payload.len(), header.kind);
                let fine = match header.kind {
                    PacketKind::Begin => Begin::parse(payload).is_ok(),
                    PacketKind::Offer => Offer::parse(payload).is_ok(),
                    PacketKind::Poll => {
                        self.last_poll = self.last_poll.max(header.poll());
                        Poll::parse(payload).is_ok()
                    }
                    PacketKind::Commit => Commit::parse(payload).is_ok(),
                    PacketKind::Delete => Delete::parse(payload).is_ok(),
                    PacketKind::End => End::parse(payload).is_ok(),
                    PacketKind::Abort => payload.is_empty(),
                    _ => false,
                };
                assert!(fine, "{header:?} {payload:?}");
            }
            Transmit::Data { blocks, .. } => {
                let (layout, _) = self.batch_of(header.batch).unwrap();
                assert_eq!((header.kind, header.block), (PacketKind::Data, blocks.start));
                assert!(!blocks.is_empty() && blocks.len() <= 44, "{blocks:?}");
                assert!(blocks.end <= layout.end(), "{blocks:?} of {}", layout.blocks());
            }
        }
    }

    /// No batch follows, and all targets fall silent: it is over soon.
    fn end(mut self) {
        self.outgoing.end_input(self.now);
        let until = self.now + Span::from_secs(180);
        for _ in 0..100_000 {
            self.drain(true);
            let Some(next) = self.outgoing.poll_timeout(true) else { break };
            self.now = self.now.max(next);
            assert!(self.now < until, "does not end");
        }
        assert!(self.outgoing.is_over() && self.finished);
    }
}
