//! One transfer, seen by one of its targets.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::sync::Arc;

use super::batch::{Content, IncomingBatch, Stage};
use super::budget::Rank;
use super::{Outbound, Place, Shared};
use crate::engine::disk_job::{Body, DeletionTally, DiskJob, Mode, TransferKey};
use crate::ids::{BatchNo, BlockRange, EntryNo, PollNo, TargetNo};
use crate::name::RelPath;
use crate::time::{Span, Time};
use crate::wire::begin::{Begin, Commit, Delete, Offer};
use crate::wire::feedback::{Feedback, MAX_OPEN, PAGE_AROUND, PAGE_EACH, Spool, Status, Verdict};
use crate::wire::header::Header;
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::{Need, Outcome, Reason, Runs, SpoolCode};
use crate::wire::poll::{Mark, Poll};

/// A manifest that does not parse (errno EBADMSG): the sender is broken, not the network.
const BAD_MANIFEST: Reason = Reason::Os(crate::errno::EBADMSG);
/// The most batches kept: open ones, and done ones that others have not done yet.
const MAX_KEPT: usize = 128;
/// Fleets up to this size answer at once.
const AT_ONCE: u16 = 16;
/// How much each further target spreads the answers that no poll has asked for.
const SPREAD_EACH: Span = Span::from_micros(50);

/// The path that a transfer is about.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    path: RelPath,
    exclusive: bool,
    from: SocketAddrV4,
}

pub(super) struct IncomingTransfer<H> {
    pub(super) key: TransferKey,
    pub(super) claim: Option<Claim>,
    pub(super) from: SocketAddrV4,
    pub(super) heard: Time,
    target: TargetNo,
    total: u16,
    block: u16,
    mode: Mode,
    /// The lowest batch that is not done everywhere: the first of `batches`.
    low: BatchNo,
    batches: VecDeque<IncomingBatch<H>>,
    received: u32,
    offers: Mark,
    data: Mark,
    spread: Span,
    /// The newest poll, when it came, and how many blocks had come before it: what came later was
    /// sent later, and would make losses look like nothing and rates too high.
    polled: Option<(PollNo, Time, u32)>,
    accept_due: Option<Time>,
    status_due: Option<(Time, bool)>,
    needs_due: BTreeMap<BatchNo, (Time, EntryNo)>,
    dones_due: BTreeMap<BatchNo, (Time, EntryNo)>,
    spool: SpoolState,
}

/// What is known of what the disk has spooled, and what is to be said of it.
#[derive(Default)]
struct SpoolState {
    tally_asked: bool,
    tally: Option<DeletionTally>,
    run_asked: bool,
    ran: Option<(u64, u64)>,
    page_asked: Option<u64>,
    say: VecDeque<(Time, Feedback)>,
}

impl<H> IncomingTransfer<H> {
    pub(super) fn new(
        key: TransferKey,
        from: SocketAddrV4,
        now: Time,
        target: TargetNo,
        begin: &Begin,
    ) -> Self {
        let spread =
            if begin.total > AT_ONCE { SPREAD_EACH * begin.total.into() } else { Span::ZERO };
        IncomingTransfer {
            key,
            claim: None,
            spool: SpoolState::default(),
            from,
            heard: now,
            target,
            total: begin.total,
            block: begin.block,
            mode: begin.mode,
            low: BatchNo::FIRST,
            batches: VecDeque::new(),
            received: 0,
            offers: Mark::default(),
            data: Mark::default(),
            spread,
            polled: None,
            accept_due: None,
            status_due: None,
            needs_due: BTreeMap::new(),
            dones_due: BTreeMap::new(),
        }
    }

    /// BEGIN has come (again). In a large fleet, what follows nearly always says ACCEPT as well.
    pub(super) fn accept(&mut self, now: Time) {
        self.accept_due.get_or_insert(now + self.spread);
    }

    fn get(&mut self, batch: BatchNo) -> Option<&mut IncomingBatch<H>> {
        self.batches.get_mut(batch.since(self.low)?)
    }

    /// The batch, opened with all before it if it is new and not too far ahead.
    fn get_or_open(&mut self, batch: BatchNo) -> Option<&mut IncomingBatch<H>> {
        let at = batch.since(self.low)?;
        let ahead = batch.since(self.lowest_open()).unwrap_or(0);
        if at >= MAX_KEPT || ahead >= MAX_OPEN {
            return None;
        }
        while self.batches.len() <= at {
            self.batches.push_back(IncomingBatch::new(self.key.node));
        }
        self.batches.get_mut(at)
    }

    fn lowest_open(&self) -> BatchNo {
        self.low.after(self.batches.iter().take_while(|b| b.is_done()).count())
    }

    fn rank(&self, first: bool, batch: BatchNo) -> Rank {
        match (batch == self.lowest_open(), first) {
            (true, true) => Rank::First,
            (true, false) => Rank::Lowest,
            (false, _) => Rank::Later,
        }
    }

    pub(super) fn path(&self, batch: BatchNo, entry: EntryNo) -> Option<Vec<u8>> {
        let batch = self.batches.get(batch.since(self.low)?)?;
        Some(batch.path(entry)?.as_bytes().to_vec())
    }

    pub(super) fn path_of_body(&self, batch: BatchNo) -> Option<Vec<u8>> {
        let layout = self.batches.get(batch.since(self.low)?)?.layout.as_ref()?;
        self.path(batch, layout.slots().first()?.entry)
    }

    /// A block of a manifest. Some reason, with what it is about, if the transfer cannot go on.
    /// `others` is what other transfers are about, for the first batch.
    pub(super) fn offer(
        &mut self,
        shared: &mut Shared,
        first: bool,
        header: &Header,
        payload: &[u8],
        others: &[Claim],
    ) -> Option<(Reason, Vec<u8>)> {
        self.received = self.received.wrapping_add(u32::from(!header.alone));
        let offer = Offer::parse(payload).ok()?;
        let (mode, block_size) = (self.mode, self.block);
        let rank = self.rank(first, header.batch);
        let batch = self.get_or_open(header.batch)?;
        if !batch.offer(shared, rank, block_size, header.block, &offer) {
            return None;
        }
        let Stage::Offered { bytes, .. } = std::mem::replace(&mut batch.stage, Stage::Planning)
        else {
            return None;
        };
        let bad = Some((BAD_MANIFEST, Vec::new()));
        let Ok(manifest) = Manifest::parse(&bytes) else { return bad };
        let layout = Layout::new(&manifest, block_size.into()).filter(Layout::is_sound);
        let Some(layout) = layout else { return bad };
        if !batch.settle(shared, rank, manifest.memory()) {
            return None;
        }
        if let (Some(setup), BatchNo::FIRST) = (&manifest.setup, header.batch) {
            let path = setup.path.clone();
            let claim = Claim { path, exclusive: mode.is_exclusive(), from: self.from };
            let overlaps = |other: &&Claim| {
                claim.path.is_under(&other.path) || other.path.is_under(&claim.path)
            };
            let shared_with = others
                .iter()
                .filter(overlaps)
                .find(|other| claim.exclusive || other.exclusive || other.from != claim.from);
            if let Some(other) = shared_with {
                let who = other.from.ip().to_string().into_bytes();
                if claim.exclusive || other.exclusive {
                    return Some((Reason::Held, who));
                }
                let verdict = Verdict::Shared(who);
                let say = Feedback::Accept { verdict, grant: shared.grant() };
                self.spool.say.push_back((Time::ZERO, say));
            }
            self.claim = Some(claim);
        }
        let batch = self.get(header.batch)?;
        batch.manifest = Some(Arc::new(manifest));
        batch.layout = Some(Arc::new(layout));
        self.plan_next(shared);
        None
    }

    /// Asks the disk for the plans of the batches whose manifests are whole, in order: what a batch
    /// opens, later ones have to know.
    fn plan_next(&mut self, shared: &mut Shared) {
        let (key, mode) = (self.key, self.mode);
        for (number, batch) in self.low.onwards().zip(&mut self.batches) {
            if batch.plan_asked {
                continue;
            }
            let (Some(manifest), Some(layout)) = (&batch.manifest, &batch.layout) else { return };
            let (manifest, layout) = (Arc::clone(manifest), Arc::clone(layout));
            shared.jobs.push_back(DiskJob::Plan { key, batch: number, manifest, layout, mode });
            batch.plan_asked = true;
        }
    }

    pub(super) fn planned(
        &mut self,
        shared: &mut Shared,
        now: Time,
        number: BatchNo,
        needs: Vec<Need>,
        file: Option<H>,
    ) {
        let dry_run = self.mode.changes_nothing();
        let Some(batch) = self.get(number) else { return };
        if !matches!(batch.stage, Stage::Planning) {
            return;
        }
        batch.needs = needs;
        batch.missing = batch.needed(&[]);
        if dry_run {
            // A dry run ends here; what each entry needs is the result.
            batch.stage = Stage::Done(Vec::new());
            batch.finish(shared);
        } else {
            let body = file.map_or(Content::None, Content::File);
            batch.stage = Stage::Body { body, starved: false };
            if let Some(strikes) = batch.strikes.take() {
                batch.strike(strikes);
            }
        }
        let due = self.soon(shared, now);
        self.needs_due.insert(number, (due, EntryNo::ZERO));
        self.stage_if_whole(shared, number);
    }

    /// Memory may be free: go on with what waits for it, in order.
    pub(super) fn readmit(&mut self, shared: &mut Shared, now: Time, first: bool) {
        for at in 0..self.batches.len() {
            let rank = self.rank(first, self.low.after(at));
            let batch = &mut self.batches[at];
            let has_room = match batch.stage {
                Stage::Body { starved: true, .. } => batch.make_room(shared, rank),
                Stage::Unknown { refused: true } => shared.budget.has_room(self.key.node, rank),
                _ => continue,
            };
            if !has_room {
                return;
            }
            if let Stage::Unknown { refused } = &mut batch.stage {
                *refused = false;
            }
            self.status_soon(shared, now);
        }
    }

    /// Where a block of a body goes.
    pub(super) fn data(
        &mut self,
        shared: &mut Shared,
        now: Time,
        first: bool,
        header: &Header,
        len: usize,
    ) -> Place<'_, H> {
        self.received = self.received.wrapping_add(u32::from(!header.alone));
        self.heard = now;
        let number = header.batch;
        let rank = self.rank(first, number);
        let Some(at) = number.since(self.low) else { return Place::Nowhere };
        let Some(batch) = self.batches.get_mut(at) else { return Place::Nowhere };
        let Some(layout) = &batch.layout else { return Place::Nowhere };
        let bytes = layout.bytes_of(header.block);
        let fits = bytes.end - bytes.start == len as u64;
        if !fits || !matches!(batch.stage, Stage::Body { .. }) {
            return Place::Nowhere;
        }
        if !batch.wants(shared, rank, header.block) || !batch.make_room(shared, rank) {
            return Place::Nowhere;
        }
        batch.missing.remove(BlockRange::one(header.block));
        if batch.missing.is_empty() {
            // The disk gets it with the next `poll_job`, after the caller has put this block in place.
            shared.jobs.push_back(DiskJob::Stage {
                key: self.key,
                batch: number,
                body: Body::None,
            });
        }
        match &mut batch.stage {
            Stage::Body { body: Content::Memory(memory), .. } => memory
                .get_mut(bytes.start as usize..bytes.end as usize)
                .map_or(Place::Nowhere, Place::Memory),
            Stage::Body { body: Content::File(file), .. } => Place::File(file, bytes.start),
            _ => Place::Nowhere,
        }
    }

    /// Fills in the body of a [`DiskJob::Stage`] that [`IncomingTransfer::data`] has queued.
    pub(super) fn take_body(&mut self, number: BatchNo) -> Option<Body> {
        let batch = self.get(number)?;
        if !matches!(batch.stage, Stage::Body { .. }) {
            return None;
        }
        let Stage::Body { body, .. } = std::mem::replace(&mut batch.stage, Stage::Staging) else {
            return None;
        };
        Some(match body {
            Content::Memory(memory) => Body::Memory(memory),
            Content::File(_) => Body::File,
            Content::None => Body::None,
        })
    }

    fn stage_if_whole(&mut self, shared: &mut Shared, number: BatchNo) {
        let key = self.key;
        let Some(batch) = self.get(number) else { return };
        if matches!(batch.stage, Stage::Body { .. }) && batch.missing.is_empty() {
            shared.jobs.push_back(DiskJob::Stage { key, batch: number, body: Body::None });
        }
    }

    pub(super) fn staged(&mut self, shared: &mut Shared, now: Time, number: BatchNo) {
        let Some(batch) = self.get(number) else { return };
        if !matches!(batch.stage, Stage::Staging) {
            return;
        }
        batch.stage = Stage::Staged;
        batch.free_body(shared);
        if batch.strikes.is_some() {
            self.commit_next(shared);
        } else {
            self.status_soon(shared, now);
        }
    }

    /// COMMIT: remembered until the batch can be committed.
    pub(super) fn commit(&mut self, shared: &mut Shared, number: BatchNo, payload: &[u8]) {
        let Ok(commit) = Commit::parse(payload) else { return };
        if !commit.targets.contains(self.target) {
            return;
        }
        let Some(batch) = self.get(number) else { return };
        if batch.strikes.is_none() && !batch.is_done() {
            batch.strike(commit.strikes.iter().collect());
            self.stage_if_whole(shared, number);
            self.commit_next(shared);
        }
    }

    /// Commits the lowest open batch if it is staged and may be.
    fn commit_next(&mut self, shared: &mut Shared) {
        let (key, number) = (self.key, self.lowest_open());
        let Some(batch) = self.get(number) else { return };
        if let (Stage::Staged, Some(strikes)) = (&batch.stage, &batch.strikes) {
            shared.jobs.push_back(DiskJob::Commit { key, batch: number, strikes: strikes.clone() });
            batch.stage = Stage::Committing;
        }
    }

    pub(super) fn done(
        &mut self,
        shared: &mut Shared,
        now: Time,
        number: BatchNo,
        outcomes: Vec<Outcome>,
    ) {
        let Some(batch) = self.get(number) else { return };
        if !matches!(batch.stage, Stage::Committing) {
            return;
        }
        batch.stage = Stage::Done(outcomes);
        // The outcomes say it all.
        batch.needs = Vec::new();
        batch.finish(shared);
        let due = self.soon(shared, now);
        self.dones_due.insert(number, (due, EntryNo::ZERO));
        self.commit_next(shared);
    }

    pub(super) fn poll(&mut self, shared: &mut Shared, now: Time, header: &Header, payload: &[u8]) {
        let Ok(poll) = Poll::parse(payload) else { return };
        self.forget_below(shared, header.batch);
        self.offers = self.offers.max(poll.offers);
        self.data = self.data.max(poll.data);
        self.spread = Span::from_micros(poll.spread.into());
        if self.polled.is_some_and(|(number, ..)| number >= header.poll()) {
            return;
        }
        // Batches of which nothing has come are missing all of it.
        let begun = poll.offers.last_begun();
        self.get_or_open(begun.min(self.lowest_open().after(MAX_OPEN - 1)));
        self.polled = Some((header.poll(), now, self.received));
        let mut due = self.soon(shared, now);
        if poll.asked.includes(self.target, self.total) {
            // Those asked spread their answers among themselves.
            let spread =
                self.spread * poll.asked.count(self.total).into() / self.total.max(1).into();
            due = now + Span::from_micros(shared.rng.below(spread.micros() + 1));
            // An answer that is due already is not put off by the next poll.
            let due = self.status_due.map_or(due, |(before, _)| before.min(due));
            self.status_due = Some((due, true));
            for bit in 0..16 {
                let number = poll.want_first.after(bit);
                let Some(batch) = self.get(number) else { continue };
                let (done, planned) = (batch.is_done(), batch.is_planned());
                if poll.want_need >> bit & 1 != 0 && planned {
                    self.needs_due.entry(number).or_insert((due, EntryNo::ZERO));
                }
                if poll.want_done >> bit & 1 != 0 && done {
                    self.dones_due.entry(number).or_insert((due, EntryNo::ZERO));
                }
            }
        } else if self.status_due.is_none() && self.misses_something() {
            self.status_due = Some((due, false));
        }
    }

    /// DELETE: count, delete or name what is spooled.
    pub(super) fn delete(&mut self, shared: &mut Shared, now: Time, payload: &[u8]) {
        let Ok(order) = Delete::parse(payload) else { return };
        // Nothing more is spooled when all is done, and nothing is done twice.
        if !self.mode.spools() || self.batches.iter().any(|batch| !batch.is_done()) {
            return;
        }
        let key = self.key;
        let known = match order {
            Delete::Tally => self.spool.tally.map(Spool::Tally),
            Delete::Run => self.spool.ran.map(|(deleted, failed)| Spool::Ran { deleted, failed }),
            Delete::Page(_) => None,
        };
        if let Some(spool) = known {
            return self.say_spool(shared, now, Feedback::Spool(spool));
        }
        let job = match order {
            Delete::Tally if !std::mem::replace(&mut self.spool.tally_asked, true) => {
                Some(DiskJob::Tally { key })
            }
            Delete::Run if self.mode.changes_nothing() => return,
            Delete::Run if self.spool.tally.is_none() => return,
            Delete::Run if !std::mem::replace(&mut self.spool.run_asked, true) => {
                Some(DiskJob::Delete { key })
            }
            Delete::Page(skip) if self.spool.page_asked.is_none() && self.spool.tally.is_some() => {
                self.spool.page_asked = Some(skip);
                let room = usize::from(self.block).saturating_sub(PAGE_AROUND);
                Some(DiskJob::Page { key, skip, room })
            }
            _ => None,
        };
        match job {
            Some(job) => shared.jobs.push_back(job),
            // The disk is at it: that this daemon lives is all there is to say.
            None => {
                let grant = shared.grant();
                self.say_spool(shared, now, Feedback::Accept { verdict: Verdict::Accepted, grant });
            }
        }
    }

    fn say_spool(&mut self, shared: &mut Shared, now: Time, feedback: Feedback) {
        let due = self.soon(shared, now);
        if self.spool.say.len() < MAX_OPEN {
            self.spool.say.push_back((due, feedback));
        }
    }

    /// The disk has answered.
    pub(super) fn spooled(&mut self, shared: &mut Shared, now: Time, spool: Spool) {
        let room = usize::from(self.block).saturating_sub(PAGE_AROUND + PAGE_EACH);
        let spool = match spool {
            Spool::Page { skip, names } => Spool::Page { skip, names: fitting(names, room) },
            spool => spool,
        };
        match &spool {
            Spool::Tally(tally) => self.spool.tally = Some(*tally),
            Spool::Ran { deleted, failed } => self.spool.ran = Some((*deleted, *failed)),
            Spool::Page { .. } => self.spool.page_asked = None,
        }
        self.say_spool(shared, now, Feedback::Spool(spool));
    }

    fn misses_something(&self) -> bool {
        let mut numbered = self.low.onwards().zip(&self.batches);
        numbered.any(|(number, batch)| {
            batch.misses(self.offers.within(number), self.data.within(number))
        })
    }

    fn forget_below(&mut self, shared: &mut Shared, low: BatchNo) {
        while self.low < low && self.batches.front().is_some_and(IncomingBatch::is_done) {
            if let Some(mut batch) = self.batches.pop_front() {
                batch.free(shared);
            }
            self.needs_due.remove(&self.low);
            self.dones_due.remove(&self.low);
            self.low = self.low.next();
        }
    }

    /// When something that nobody asked for is to be said.
    fn soon(&self, shared: &mut Shared, now: Time) -> Time {
        now + Span::from_micros(shared.rng.below(self.spread.micros() + 1))
    }

    fn status_soon(&mut self, shared: &mut Shared, now: Time) {
        if self.status_due.is_none() {
            self.status_due = Some((self.soon(shared, now), false));
        }
    }

    /// When the next feedback is due.
    pub(super) fn due(&self) -> Option<Time> {
        let accept = self.accept_due;
        let status = self.status_due.map(|(due, _)| due);
        let codes = self.needs_due.values().chain(self.dones_due.values()).map(|&(due, _)| due);
        let spool = self.spool.say.iter().map(|(due, _)| *due);
        accept.into_iter().chain(status).chain(codes).chain(spool).min()
    }

    pub(super) fn transmit(&mut self, shared: &mut Shared, now: Time) -> Option<Outbound> {
        if self.accept_due.is_some_and(|due| due <= now) {
            let verdict = Verdict::Accepted;
            return Some(self.outbound(
                shared,
                BatchNo::ZERO,
                &Feedback::Accept { verdict, grant: shared.grant() },
            ));
        }
        if let Some((number, first)) = first_due(&self.needs_due, now) {
            let needs =
                self.get(number).map(|batch| std::mem::take(&mut batch.needs)).unwrap_or_default();
            let (runs, next) = Runs::pack(&needs, first, self.room());
            goes_on(&mut self.needs_due, number, next, needs.len());
            let outbound = self.outbound(shared, number, &Feedback::Need(runs));
            if let Some(batch) = self.get(number) {
                batch.needs = needs;
            }
            return Some(outbound);
        }
        if let Some((number, first)) = first_due(&self.dones_due, now) {
            let room = self.room();
            let Some(IncomingBatch { stage: Stage::Done(outcomes), .. }) = self.get(number) else {
                self.dones_due.remove(&number);
                return None;
            };
            let (runs, next) = Runs::pack(outcomes, first, room);
            let len = outcomes.len();
            goes_on(&mut self.dones_due, number, next, len);
            return Some(self.outbound(shared, number, &Feedback::Done(runs)));
        }
        if let Some(at) = self.spool.say.iter().position(|(due, _)| *due <= now) {
            let (_, feedback) = self.spool.say.remove(at)?;
            return Some(self.outbound(shared, BatchNo::ZERO, &feedback));
        }
        let (due, asked) = self.status_due?;
        if due > now {
            return None;
        }
        self.status_due = None;
        let status = Feedback::Status(self.status(shared, now, asked));
        Some(self.outbound(shared, BatchNo::ZERO, &status))
    }

    fn room(&self) -> usize {
        usize::from(self.block) - Feedback::PREFIX
    }

    fn status(&self, shared: &Shared, now: Time, asked: bool) -> Status {
        let first = self.lowest_open();
        let skip = first.since(self.low).unwrap_or(0);
        let batches = first.onwards().zip(self.batches.iter().skip(skip)).take(MAX_OPEN);
        let (poll, came, received) = self.polled.unwrap_or((PollNo::ZERO, now, self.received));
        Status {
            poll,
            asked,
            held: u32::try_from(now.since(came).micros()).unwrap_or(u32::MAX),
            grant: shared.grant(),
            received,
            first,
            batches: batches
                .map(|(number, batch)| {
                    batch.status(self.offers.within(number), self.data.within(number))
                })
                .collect(),
        }
    }

    fn outbound(&mut self, shared: &Shared, batch: BatchNo, feedback: &Feedback) -> Outbound {
        self.accept_due = None;
        let header = shared.answer(self.key, feedback.kind(), batch);
        Outbound { to: self.from, header, payload: feedback.emit(self.key.node, self.block.into()) }
    }

    /// What it has of the budget, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.batches.iter().map(|batch| batch.reserved + batch.reserved_body).sum()
    }
}

/// Names as they fit a packet: one that is too long for any is cut, since it is only to be shown.
fn fitting(names: Vec<(SpoolCode, RelPath)>, room: usize) -> Vec<(SpoolCode, RelPath)> {
    let cut = |path: RelPath| {
        let mut len = path.as_bytes().len().min(room);
        while len > 1 && path.as_bytes().len() > room {
            if let Ok(short) = RelPath::parse(&path.as_bytes()[..len]) {
                return short;
            }
            len -= 1;
        }
        path
    };
    names.into_iter().map(|(code, path)| (code, cut(path))).collect()
}

fn first_due(due: &BTreeMap<BatchNo, (Time, EntryNo)>, now: Time) -> Option<(BatchNo, EntryNo)> {
    due.iter().find(|(_, (when, _))| *when <= now).map(|(&number, &(_, first))| (number, first))
}

fn goes_on(
    due: &mut BTreeMap<BatchNo, (Time, EntryNo)>,
    number: BatchNo,
    next: EntryNo,
    len: usize,
) {
    if next.index() >= len {
        due.remove(&number);
    } else if let Some((_, first)) = due.get_mut(&number) {
        *first = next;
    }
}
