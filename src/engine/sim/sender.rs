//! A sending host's part in one transfer: what the daemon does around [`Outgoing`].

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::{Packet, Sim, Source, address};
use crate::engine::destination::Destination;
use crate::engine::disk_job::Mode;
use crate::engine::outgoing::{Config, Event, Gone, Outgoing, Transmit};
use crate::engine::rng::Rng;
use crate::ids::{BatchNo, BlockNo, BlockRange, EntryNo, TransferNo};
use crate::name::NodeId;
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use crate::wire::bits::Bits;
use crate::wire::header::Header;
use crate::wire::layout::Layout;
use crate::wire::manifest::{Kind, Manifest};
use crate::wire::outcome::Reason;

/// When a file changes on the sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    /// Before the n-th time that blocks of its batch are sent.
    Sent(u32),
    /// Before its batch is looked at for the commit.
    Verified,
    /// Right after that.
    Committed,
}

/// A batch on its way.
struct Open {
    number: BatchNo,
    source: Rc<Source>,
    /// The entries whose bytes were wanted when the body was loaded, and those whose bytes it has.
    body: Option<(Bits<EntryNo>, Rc<Bits<EntryNo>>)>,
    sent: u32,
}

pub(super) struct Sender {
    /// Which host it is on: transfers of one host have one node id.
    pub(super) host: usize,
    pub(super) life: u32,
    pub(super) number: TransferNo,
    pub(super) outgoing: Option<Outgoing>,
    /// Batches to be handed in; what is struck is added at the end.
    pub(super) input: Vec<Manifest>,
    next_input: usize,
    /// How long the walk takes for each batch after the first.
    pub(super) walk_takes: Span,
    walked: Time,
    open: Vec<Open>,
    /// The files that change, by batch and entry, and when; and those that have changed.
    pub(super) changes: Vec<(BatchNo, EntryNo, When)>,
    changed: BTreeSet<(BatchNo, EntryNo)>,
    /// Entries that were struck, in all.
    pub(super) struck: u64,
    /// Whether bodies are often dropped from memory.
    pub(super) forgetful: bool,
    /// Whether the client reads nothing.
    pub(super) paused: bool,
    /// By target: how many outcomes have come, and why it left the transfer.
    pub(super) outcomes: Vec<u64>,
    pub(super) gone: Vec<Option<Gone>>,
    pub(super) suspended: u64,
    pub(super) resumed: u64,
    pub(super) finished: Option<Time>,
    pub(super) wake: Option<Time>,
    pub(super) spins: u32,
    pub(super) block: u16,
    pub(super) parallel: usize,
    pub(super) dry_run: bool,
    pub(super) atomic: bool,
    /// How often all was staged.
    pub(super) staged: u32,
    pub(super) delete: bool,
    /// By target: how many spooled entries were named, and how many deleted.
    pub(super) named: Vec<u64>,
    pub(super) deleted: Vec<u64>,
    pub(super) timeout: Span,
    rng: Rng,
}

impl Sender {
    pub(super) fn new(host: usize, number: u32, input: Vec<Manifest>, seed: u64) -> Self {
        Sender {
            host,
            life: 0,
            number: TransferNo::new(number),
            outgoing: None,
            input,
            next_input: 0,
            walk_takes: Span::ZERO,
            walked: Time::ZERO,
            open: Vec::new(),
            changes: Vec::new(),
            changed: BTreeSet::new(),
            struck: 0,
            forgetful: false,
            paused: false,
            outcomes: Vec::new(),
            gone: Vec::new(),
            suspended: 0,
            resumed: 0,
            finished: None,
            wake: None,
            spins: 0,
            block: 1_424,
            parallel: 8,
            dry_run: false,
            atomic: false,
            staged: 0,
            delete: false,
            named: Vec::new(),
            deleted: Vec::new(),
            timeout: Span::from_secs(10),
            rng: Rng::new(seed),
        }
    }

    /// Its host's node id in this life.
    pub(super) fn node(&self) -> NodeId {
        NodeId(((self.host as u64 + 1) << 48) + u64::from(self.life))
    }

    pub(super) fn addr(&self) -> std::net::SocketAddrV4 {
        address(0xffff - self.host)
    }

    pub(super) fn kill(&mut self, now: Time) {
        self.outgoing = None;
        self.life += 1;
        self.wake = None;
        self.finished = Some(now);
    }

    pub(super) fn start(&mut self, now: Time, targets: Vec<(NodeId, std::net::SocketAddrV4)>) {
        let count = targets.len();
        let config = Config {
            me: self.node(),
            number: self.number,
            oldest: TransferNo::new(1),
            targets,
            mode: Mode::Send { delete: self.delete, ignore_times: false, dry_run: self.dry_run },
            atomic: self.atomic,
            block: self.block,
            parallel: self.parallel,
            stamp: Stamp::ZERO,
            timeout: self.timeout,
            patience: self.timeout,
        };
        self.outgoing = Some(Outgoing::new(config, now));
        self.next_input = 0;
        self.walked = now;
        self.open.clear();
        self.changed.clear();
        self.outcomes = vec![0; count];
        self.named = vec![0; count];
        self.deleted = vec![0; count];
        self.gone = vec![None; count];
        self.finished = None;
    }

    /// Whether the transfer is over.
    pub(super) fn is_over(&self) -> bool {
        self.outgoing.as_ref().is_none_or(Outgoing::is_over) && self.finished.is_some()
    }

    /// The packets that leave now; None if there are none left.
    pub(super) fn drive(&mut self, now: Time) -> Option<Vec<(Destination, Packet, usize)>> {
        let mut outgoing = self.outgoing.take()?;
        let sent = loop {
            while let Some(event) = outgoing.poll_event() {
                self.event(now, &mut outgoing, event);
            }
            if !self.paused && outgoing.wants_batch() && self.hand_in(now, &mut outgoing) {
                continue;
            }
            match outgoing.poll_transmit(now, 44, !self.paused) {
                None => break None,
                Some(transmit) => {
                    let packets = self.transmit(now, &mut outgoing, transmit);
                    if !packets.is_empty() {
                        break Some(packets);
                    }
                }
            }
        };
        self.outgoing = Some(outgoing);
        sent
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let outgoing = self.outgoing.as_ref()?;
        let more = self.next_input < self.input.len() || self.open.is_empty();
        let walks = outgoing.wants_batch() && more && !self.paused;
        let found = walks.then(|| self.walked + self.walk_takes);
        outgoing.poll_timeout(!self.paused).into_iter().chain(found).min()
    }

    fn hand_in(&mut self, now: Time, outgoing: &mut Outgoing) -> bool {
        if self.next_input > 0 && now < self.walked + self.walk_takes {
            return false;
        }
        let Some(manifest) = self.input.get(self.next_input) else {
            if self.open.is_empty() {
                outgoing.end_input(now);
                return true;
            }
            return false;
        };
        self.walked = now;
        self.next_input += 1;
        let manifest = Arc::new(manifest.clone());
        let layout = Arc::new(Layout::new(&manifest, self.block.into()).unwrap());
        let number = outgoing.batch(now, &manifest, Arc::clone(&layout));
        let source = Rc::new(Source { manifest, layout });
        self.open.push(Open { number, source, body: None, sent: 0 });
        true
    }

    fn change(&mut self, batch: BatchNo, when: When) {
        let due = self.changes.iter().filter(|(of, _, at)| *of == batch && *at == when);
        self.changed.extend(due.map(|&(batch, entry, _)| (batch, entry)));
    }

    fn event(&mut self, now: Time, outgoing: &mut Outgoing, event: Event) {
        match event {
            Event::Verify(batch) => {
                self.change(batch, When::Verified);
                let changed: Vec<_> = self
                    .changed
                    .iter()
                    .filter(|&&(of, entry)| of == batch && outgoing.is_wanted(batch, entry))
                    .map(|&(_, entry)| (entry, Reason::Changed))
                    .collect();
                outgoing.verified(now, batch, &changed);
                self.change(batch, When::Committed);
            }
            Event::Outcomes(_, target, runs) => {
                self.outcomes[target.index()] += runs.iter().count() as u64;
            }
            Event::Needs(_, target, runs) if self.dry_run => {
                self.outcomes[target.index()] += runs.iter().count() as u64
            }
            Event::Closed(batch) => self.open.retain(|open| open.number != batch),
            Event::Gone(target, why) => self.gone[target.index()] = Some(why),
            Event::Staged => {
                self.staged += 1;
                outgoing.agreed(now, true);
            }
            Event::Finished => self.finished = Some(now),
            Event::Struck(batch, entries) => self.offer_again(batch, &entries),
            Event::Tallied(tallies) => {
                let most = tallies.iter().map(|(_, tally)| tally.spooled).max().unwrap_or(0);
                outgoing.decide(now, most > 0 && !self.dry_run, most > 0);
            }
            Event::Ran(target, deleted, _) => self.deleted[target.index()] += deleted,
            Event::Page(target, names) => self.named[target.index()] += names.len() as u64,
            Event::Needs(..) | Event::Shared(..) => {}
            Event::Suspended(_) => self.suspended += 1,
            Event::Resumed(_) => self.resumed += 1,
        }
    }

    /// A file that was struck is offered once more, as it is now.
    fn offer_again(&mut self, batch: BatchNo, entries: &[(EntryNo, Reason)]) {
        let Some(open) = self.open.iter().find(|open| open.number == batch) else { return };
        let mut again = Vec::new();
        for &(entry, reason) in entries {
            assert_eq!(reason, Reason::Changed);
            assert!(self.changed.contains(&(batch, entry)), "struck, and has not changed");
            let mut entry = open.source.manifest.entries[entry.index()].clone();
            entry.mtime.secs += 1;
            again.push(entry);
        }
        self.struck += again.len() as u64;
        self.input.push(Manifest { entries: again, ..Manifest::default() });
    }

    fn transmit(
        &mut self,
        now: Time,
        outgoing: &mut Outgoing,
        transmit: Transmit,
    ) -> Vec<(Destination, Packet, usize)> {
        let from = self.addr();
        match transmit {
            Transmit::Packet { to, header, payload } => {
                let len = payload.len();
                vec![(to, Packet { from, header, payload: Rc::new(payload), body: None }, len)]
            }
            Transmit::Data { to, header, blocks } => {
                let number = header.batch;
                let Some(at) = self.open.iter().position(|open| open.number == number) else {
                    return Vec::new();
                };
                self.open[at].sent += 1;
                self.change(number, When::Sent(self.open[at].sent));
                let source = Rc::clone(&self.open[at].source);
                assert!(blocks.end <= source.layout.end(), "blocks past the end");
                let has = self.read(now, outgoing, at, blocks);
                let Some(has) = has else { return Vec::new() };
                let packet = |block: BlockNo| {
                    let bytes = source.layout.bytes_of(block);
                    let body = Some((Rc::clone(&source), Rc::clone(&has)));
                    let header = Header { block, ..header };
                    let len = (bytes.end - bytes.start) as usize;
                    (to, Packet { from, header, payload: Rc::default(), body }, len)
                };
                blocks.iter().map(packet).collect()
            }
        }
    }

    /// The entries whose bytes the blocks really hold; None if nothing can be sent.
    fn read(
        &mut self,
        now: Time,
        outgoing: &mut Outgoing,
        at: usize,
        blocks: BlockRange,
    ) -> Option<Rc<Bits<EntryNo>>> {
        let forget = self.forgetful && self.rng.below(4) == 0;
        let changed = &self.changed;
        let open = &mut self.open[at];
        let (number, layout) = (open.number, Arc::clone(&open.source.layout));
        if layout.streams() {
            let entry = layout.slots()[0].entry;
            if changed.contains(&(number, entry)) {
                outgoing.strike(now, number, &[(entry, Reason::Changed)]);
                return None;
            }
            return Some(Rc::new(Bits::of([entry])));
        }
        let bytes = layout.bytes_of_all(blocks);
        let wanted = |entry: EntryNo| outgoing.is_sent(number, entry);
        let lacking = |loaded: &Bits<EntryNo>| {
            let mut slots = layout.slots_in(&bytes).iter();
            slots.any(|slot| !loaded.contains(slot.entry) && wanted(slot.entry))
        };
        let mut failed = Vec::new();
        if forget || open.body.as_ref().is_none_or(|(loaded, _)| lacking(loaded)) {
            let slots = layout.slots().iter().map(|slot| slot.entry).filter(|&entry| wanted(entry));
            let loaded: Vec<EntryNo> = slots.collect();
            let is_there = |entry: &EntryNo| !changed.contains(&(number, *entry));
            let there = loaded.iter().copied().filter(is_there);
            let has = Rc::new(Bits::of(there));
            failed.extend(loaded.iter().filter(|entry| !is_there(entry)).copied());
            open.body = Some((Bits::of(loaded), has));
        }
        let has = open.body.as_ref().map(|(_, has)| Rc::clone(has));
        if !failed.is_empty() {
            let struck: Vec<_> = failed.into_iter().map(|entry| (entry, Reason::Changed)).collect();
            outgoing.strike(now, number, &struck);
        }
        has
    }
}

impl Sim {
    /// Starts all transfers that have not run yet.
    pub(super) fn start(&mut self) {
        for who in 0..self.senders.len() {
            self.start_one(who);
        }
    }

    pub(super) fn start_one(&mut self, who: usize) {
        let targets = self.targets.iter().map(|host| (host.node(), host.addr())).collect();
        self.senders[who].start(self.now, targets);
        self.drive_sender(who);
    }

    /// The files that are not empty: only those can change.
    pub(super) fn files(&self, who: usize) -> Vec<(BatchNo, EntryNo)> {
        let mut files = Vec::new();
        for (batch, manifest) in BatchNo::FIRST.onwards().zip(&self.senders[who].input) {
            for (entry, found) in EntryNo::ZERO.onwards().zip(&manifest.entries) {
                if matches!(found.kind, Kind::File { size: 1.., .. }) {
                    files.push((batch, entry));
                }
            }
        }
        files
    }
}
