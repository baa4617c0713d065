//! One transfer, seen by one of its targets.

use std::net::SocketAddrV4;
use std::sync::Arc;

use super::batch::Plan;
use super::batches::Batches;
use super::claim::{Claim, Conflict, barred, doubtful};
use super::deletion::{Deletion, Reaction};
use super::progress::Progress;
use super::replies::{Replies, Reply};
use super::shared::Shared;
use super::types::{Arrived, Outbound, Place};
use crate::engine::disk_job::{Body, DiskJob, Mode, TransferKey};
use crate::ids::{BatchNo, EntryNo, TargetNo};
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use crate::wire::begin::{Begin, Commit, Delete, End, Offer};
use crate::wire::feedback::{Deleted, Feedback, MAX_OPEN, Status, Verdict};
use crate::wire::header::Header;
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::{Need, Outcome, Reason, Runs};
use crate::wire::poll::Poll;

/// A manifest that does not parse (errno EBADMSG): the sender is broken, not the network.
const BAD_MANIFEST: Reason = Reason::Os(74);
/// Which batches a poll can ask for, counted from the first that it names.
const ASKABLE: u32 = 16;

/// What BEGIN says of the transfer and of this target's place in it.
#[derive(Clone, Copy, Debug)]
struct Terms {
    target: TargetNo,
    /// How many targets there are.
    total: u16,
    /// How many bytes of payload a packet carries.
    block: u16,
    mode: Mode,
    stamp: Stamp,
    /// A sender that is silent for so long does not hold its path any more.
    timeout: Span,
}

/// Why a transfer cannot go on here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    /// The path or the host that it is about; empty if there is none in particular.
    pub(super) what: Vec<u8>,
}

pub(super) struct IncomingTransfer<H> {
    pub(super) key: TransferKey,
    pub(super) from: SocketAddrV4,
    /// When its sender was last heard.
    pub(super) heard: Time,
    pub(super) claim: Option<Claim>,
    terms: Terms,
    batches: Batches<H>,
    progress: Progress,
    deletion: Deletion,
    replies: Replies,
    /// How many regular files are as they were sent, or would be.
    files: u64,
    /// How many bytes of announced files the disk is through with.
    digested: u64,
    /// Something of it is not here as it was sent, and will not be.
    has_failed: bool,
}

impl<H> IncomingTransfer<H> {
    pub(super) fn new(
        key: TransferKey,
        from: SocketAddrV4,
        now: Time,
        target: TargetNo,
        begin: &Begin,
    ) -> Self {
        let Begin { total, block, mode, stamp, .. } = *begin;
        let timeout = Span::from_secs(begin.timeout.into());
        IncomingTransfer {
            key,
            from,
            heard: now,
            claim: None,
            terms: Terms { target, total, block, mode, stamp, timeout },
            batches: Batches::new(key.node),
            progress: Progress::new(total),
            deletion: Deletion::default(),
            replies: Replies::default(),
            files: 0,
            digested: 0,
            has_failed: false,
        }
    }

    /// BEGIN has come, perhaps again.
    pub(super) fn begin(&mut self, now: Time) {
        self.heard = now;
        self.replies.accept(self.progress.accept_at(now));
    }

    /// Whether its sender has been silent for so long that it is taken for dead where another one wants
    /// the path: it says something each second, whatever it waits for.
    pub(super) fn is_dead(&self, now: Time) -> bool {
        now >= self.heard + self.terms.timeout
    }

    pub(super) fn path(&self, batch: BatchNo, entry: EntryNo) -> Option<Vec<u8>> {
        let path = self.batches.get(batch)?.path(entry)?;
        Some(path.as_bytes().to_vec())
    }

    /// The body of a batch could not be written to its file.
    pub(super) fn write_failed(&mut self, shared: &mut Shared, number: BatchNo, reason: Reason) {
        if let Some(batch) = self.batches.get_mut(number) {
            batch.write_failed(reason);
            self.stage_if_whole(shared, number);
        }
    }

    /// A block of a manifest has come; `first`: this transfer is the first of all. `others` is what the
    /// other transfers are about, when it is the first batch's.
    ///
    /// # Errors
    /// Why the transfer cannot go on.
    pub(super) fn offer(
        &mut self,
        shared: &mut Shared,
        first: bool,
        header: &Header,
        payload: &[u8],
        others: &[Claim],
    ) -> Result<(), Refusal> {
        self.progress.block_came(header.alone);
        let Ok(offer) = Offer::parse(payload) else { return Ok(()) };
        let block_size = self.terms.block;
        let rank = self.batches.rank(first, header.batch);
        let Some(batch) = self.batches.get_or_open(header.batch) else { return Ok(()) };
        let Some(bytes) = batch.offer(shared, rank, block_size, header.block, &offer) else {
            return Ok(());
        };
        let plan = parse_manifest(&bytes, block_size)?;
        let manifest = Arc::clone(&plan.manifest);
        if !batch.queue(shared, rank, plan) {
            return Ok(());
        }
        if let (Some(setup), BatchNo::FIRST) = (&manifest.setup, header.batch) {
            if let Some(what) = barred(&shared.watched, setup, shared.config.me, self.key.node) {
                return Err(Refusal { reason: Reason::Watched, what });
            }
            let path = setup.path.clone();
            if let Some(what) =
                doubtful(&shared.doubtful, &path).filter(|_| !self.terms.mode.changes_nothing())
            {
                return Err(Refusal { reason: Reason::InDoubt, what });
            }
            let exclusive = self.terms.mode.is_exclusive() || setup.atomic.is_some();
            self.claim(shared, Claim { path, exclusive, from: self.from }, others)?;
        }
        self.plan_next(shared);
        Ok(())
    }

    /// Claims the path that the transfer is about, unless another transfer holds it.
    fn claim(&mut self, shared: &Shared, claim: Claim, others: &[Claim]) -> Result<(), Refusal> {
        match claim.conflict(others) {
            Some(Conflict::Held(what)) => return Err(Refusal { reason: Reason::Held, what }),
            Some(Conflict::Shared(who)) => {
                self.replies.ready(Time::ZERO, shared.accept(Verdict::Shared(who)));
            }
            None => {}
        }
        self.claim = Some(claim);
        Ok(())
    }

    /// Asks the disk for the plans of the batches whose manifests are whole, in order: a later batch
    /// may stand in directories that an earlier one opens.
    fn plan_next(&mut self, shared: &mut Shared) {
        let (key, Terms { mode, stamp, .. }) = (self.key, self.terms);
        let whole = self.batches.iter_mut().take_while(|(_, batch)| !batch.lacks_manifest());
        for (batch, one) in whole {
            if let Some((manifest, layout)) = one.begin_planning() {
                shared.jobs.push_back(DiskJob::Plan { key, batch, manifest, layout, mode, stamp });
            }
        }
    }

    /// The disk has planned a batch.
    pub(super) fn planned(
        &mut self,
        shared: &mut Shared,
        now: Time,
        number: BatchNo,
        needs: Vec<Need>,
        file: Option<H>,
    ) {
        let commits = !self.terms.mode.changes_nothing();
        let Some(batch) = self.batches.get_mut(number) else { return };
        if batch.planned(shared, needs, file, commits) {
            self.files += batch.files;
            self.replies.need(number, self.progress.soon(shared, now));
            self.stage_if_whole(shared, number);
        }
    }

    /// Memory may be free: the batches that wait for it go on, in order.
    pub(super) fn readmit(&mut self, shared: &mut Shared, now: Time, first: bool) {
        let lowest = self.batches.lowest_open();
        for (number, batch) in self.batches.iter_mut() {
            let rank = Batches::<H>::rank_beside(lowest, first, number);
            match batch.readmit(shared, rank) {
                None => {}
                Some(false) => return,
                Some(true) if self.replies.has_status() => {}
                Some(true) => self.replies.tell_status(self.progress.soon(shared, now)),
            }
        }
    }

    /// A block of a body has come: where does it go?
    pub(super) fn data(
        &mut self,
        shared: &mut Shared,
        now: Time,
        first: bool,
        header: &Header,
        len: usize,
    ) -> Place<'_, H> {
        self.progress.block_came(header.alone);
        self.heard = now;
        let number = header.batch;
        let rank = self.batches.rank(first, number);
        let Some(batch) = self.batches.get_mut(number) else { return Place::Nowhere };
        let Some(bytes) = batch.receive(shared, rank, header.block, len) else {
            return Place::Nowhere;
        };
        if batch.is_whole() {
            // `Reception::poll_job` adds the body: the caller has put this block in place by then.
            let key = self.key;
            shared.jobs.push_back(DiskJob::Stage { key, batch: number, body: Body::None });
        }
        batch.place(bytes)
    }

    /// The body for a [`DiskJob::Stage`] that waits in the queue. None if the batch was handed to the
    /// disk before.
    pub(super) fn take_body(&mut self, number: BatchNo) -> Option<Body> {
        self.batches.get_mut(number)?.begin_staging()
    }

    fn stage_if_whole(&mut self, shared: &mut Shared, number: BatchNo) {
        if self.batches.get(number).is_some_and(|batch| batch.is_whole()) {
            let key = self.key;
            shared.jobs.push_back(DiskJob::Stage { key, batch: number, body: Body::None });
        }
    }

    /// The disk is so far with the digests of announced files.
    pub(super) fn digested(&mut self, shared: &mut Shared, now: Time, bytes: u64) {
        self.digested = bytes;
        self.status_soon(shared, now);
    }

    /// The disk has staged a batch.
    pub(super) fn staged(&mut self, shared: &mut Shared, now: Time, number: BatchNo) {
        let Some(batch) = self.batches.get_mut(number) else { return };
        if !batch.staged(shared) {
            return;
        }
        if batch.may_commit() {
            self.commit_next(shared);
        } else {
            self.status_soon(shared, now);
        }
    }

    /// COMMIT has come; it is remembered until the batch can be committed.
    pub(super) fn commit(&mut self, shared: &mut Shared, number: BatchNo, payload: &[u8]) {
        let Ok(commit) = Commit::parse(payload) else { return };
        if !commit.targets.contains(self.terms.target) {
            return;
        }
        let Some(batch) = self.batches.get_mut(number) else { return };
        if batch.commit(commit.strikes.iter().collect()) {
            self.stage_if_whole(shared, number);
            self.commit_next(shared);
        }
    }

    /// Commits the lowest open batch, if it is staged and COMMIT has come.
    fn commit_next(&mut self, shared: &mut Shared) {
        let (key, number) = (self.key, self.batches.lowest_open());
        let Some(batch) = self.batches.get_mut(number) else { return };
        if let Some(strikes) = batch.begin_commit() {
            shared.jobs.push_back(DiskJob::Commit { key, batch: number, strikes });
        }
    }

    /// The disk has committed a batch.
    pub(super) fn done(
        &mut self,
        shared: &mut Shared,
        now: Time,
        number: BatchNo,
        outcomes: Vec<Outcome>,
    ) {
        let Some(batch) = self.batches.get_mut(number) else { return };
        self.has_failed |= outcomes.iter().any(|outcome| outcome.has_failed());
        if batch.committed(shared, outcomes) {
            self.files += batch.files;
            self.replies.done(number, self.progress.soon(shared, now));
            self.commit_next(shared);
        }
    }

    /// A poll has come.
    pub(super) fn poll(&mut self, shared: &mut Shared, now: Time, header: &Header, payload: &[u8]) {
        let Ok(poll) = Poll::parse(payload) else { return };
        let low = self.batches.forget_below(shared, header.batch);
        self.replies.forget_below(low);
        if !self.progress.polled(now, header.poll(), &poll) {
            return;
        }
        // Batches of which nothing has come are missing all of it.
        self.batches.open_up_to(poll.offers.last_begun());
        let soon = self.progress.soon(shared, now);
        let Terms { target, total, .. } = self.terms;
        if poll.asked.includes(target, total) {
            let at = self.progress.turn(shared, now, poll.asked.count(total), total);
            self.answer(at, &poll);
        } else if !self.replies.has_status() && self.misses_something() {
            self.replies.tell_status(soon);
        }
    }

    /// Answers a poll that asks this target.
    fn answer(&mut self, at: Time, poll: &Poll) {
        self.replies.answer_poll(at);
        for (bit, number) in (0..ASKABLE).zip(poll.want_first.onwards()) {
            let Some(batch) = self.batches.get(number) else { continue };
            if poll.want_need >> bit & 1 != 0 && batch.is_planned() {
                self.replies.need_again(number, at);
            }
            if poll.want_done >> bit & 1 != 0 && batch.is_done() {
                self.replies.done_again(number, at);
            }
        }
    }

    fn misses_something(&self) -> bool {
        self.batches.iter().any(|(number, batch)| batch.misses(self.progress.sent(number)))
    }

    /// DELETE has come: count, delete or name what is spooled.
    pub(super) fn delete(&mut self, shared: &mut Shared, now: Time, payload: &[u8]) {
        let Ok(order) = Delete::parse(payload) else { return };
        let Terms { target, mode, block, .. } = self.terms;
        // Whoever is not named was not judged by the sender's limits.
        if matches!(&order, Delete::Run(named) if !named.contains(target)) {
            return;
        }
        // What is spooled is complete only when all batches are done.
        if !mode.spools() || self.batches.iter().any(|(_, batch)| !batch.is_done()) {
            return;
        }
        let feedback = match self.deletion.order(self.key, mode, block, order) {
            Reaction::Job(job) => return shared.jobs.push_back(job),
            Reaction::Ignore => return,
            Reaction::Report(report) => Feedback::Deleted(report),
            // That this daemon lives is all there is to say.
            Reaction::Working => shared.accept(Verdict::Accepted),
        };
        self.replies.ready(self.progress.soon(shared, now), feedback);
    }

    /// The disk has counted, deleted or named what is spooled.
    pub(super) fn deletion_done(&mut self, shared: &mut Shared, now: Time, report: Deleted) {
        let report = self.deletion.done(self.terms.block, report);
        self.replies.ready(self.progress.soon(shared, now), Feedback::Deleted(report));
    }

    /// Whether all up to this batch is done here, and nothing of it has failed.
    pub(super) fn is_staged(&self, last: BatchNo) -> bool {
        let undeleted = self.deletion.is_left(self.terms.mode);
        self.batches.lowest_open() > last && !undeleted && !self.has_failed
    }

    /// END has come: what there is here.
    pub(super) fn arrived(&self, last: BatchNo, end: End) -> Arrived {
        let unfinished = self.batches.lowest_open() <= last;
        Arrived {
            files: end.files,
            missing: end.files.saturating_sub(self.files),
            unfinished,
            undeleted: self.deletion.is_left(self.terms.mode),
            recorded: end.recorded,
        }
    }

    fn status_soon(&mut self, shared: &mut Shared, now: Time) {
        if !self.replies.has_status() {
            self.replies.tell_status(self.progress.soon(shared, now));
        }
    }

    /// When the next reply is due.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.replies.poll_timeout()
    }

    /// The next reply that is due.
    pub(super) fn poll_transmit(&mut self, shared: &Shared, now: Time) -> Option<Outbound> {
        let reply = self.replies.next(now)?;
        let room = usize::from(self.terms.block) - Feedback::PREFIX;
        let (batch, feedback) = match reply {
            Reply::Accept => (BatchNo::ZERO, shared.accept(Verdict::Accepted)),
            Reply::Ready(feedback) => (BatchNo::ZERO, feedback),
            Reply::Status { asked } => {
                (BatchNo::ZERO, Feedback::Status(self.status(shared, now, asked)))
            }
            Reply::Need(number, first) => {
                let needs = self.batches.get(number).map_or(&[][..], |batch| batch.needs());
                let (runs, next) = Runs::pack(needs, first, room);
                self.replies.need_said(number, next, needs.len());
                (number, Feedback::Need(runs))
            }
            Reply::Done(number, first) => {
                let batch = self.batches.get(number);
                let outcomes = batch.and_then(|batch| batch.outcomes()).unwrap_or_default();
                let (runs, next) = Runs::pack(outcomes, first, room);
                self.replies.done_said(number, next, outcomes.len());
                (number, Feedback::Done(runs))
            }
        };
        let header = shared.header(self.key, feedback.kind(), batch);
        let payload = feedback.emit(self.key.node, self.terms.block.into());
        Some(Outbound { to_node: self.key.node, to: self.from, header, payload })
    }

    fn status(&self, shared: &Shared, now: Time, asked: bool) -> Status {
        let first = self.batches.lowest_open();
        let open = self.batches.iter().skip_while(|(number, _)| *number < first).take(MAX_OPEN);
        let (poll, held, received) = self.progress.newest_poll(now);
        Status {
            poll,
            asked,
            held,
            grant: shared.grant(),
            received,
            digested: self.digested,
            first,
            batches: open.map(|(number, batch)| batch.status(self.progress.sent(number))).collect(),
        }
    }

    /// What it takes of the budget, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.batches.iter().map(|(_, batch)| batch.memory()).sum()
    }
}

/// A whole manifest, and the layout of its body.
fn parse_manifest(bytes: &[u8], block_size: u16) -> Result<Plan, Refusal> {
    const BAD: Refusal = Refusal { reason: BAD_MANIFEST, what: Vec::new() };
    let manifest = Manifest::parse(bytes).map_err(|_| BAD)?;
    let layout = Layout::new(&manifest, block_size.into()).filter(Layout::is_sound).ok_or(BAD)?;
    Ok(Plan { manifest: Arc::new(manifest), layout: Arc::new(layout) })
}

#[cfg(test)]
mod tests;
