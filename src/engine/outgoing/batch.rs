//! One batch of an outgoing transfer.

use std::sync::Arc;

use super::commit::BatchCommit;
use super::progress::{Awaited, TargetProgress};
use super::repair::Stream;
use super::target::{Presence, Targets};
use crate::engine::ranges::RangeSet;
use crate::ids::{BlockNo, BlockRange, EntryNo, PollNo, TargetNo};
use crate::wire::begin::{Commit, Offer};
use crate::wire::bits::Bits;
use crate::wire::feedback::State;
use crate::wire::layout::Layout;
use crate::wire::outcome::{Code, Need, Outcome, Reason, Runs};

/// Where a batch stands, in this order. One that is done leaves the transfer's list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum BatchPhase {
    /// Its manifest is sent, its targets say what they need; none of its body has been sent.
    Offering,
    /// Blocks of its body are sent for the first time.
    Sending,
    /// All blocks that anyone needs have been sent; they are sent again to those who miss them.
    Repairing,
    /// All targets that others wait for have everything; its files are compared once more.
    Verifying,
    /// COMMIT is out. Only targets that still lack bytes of the batch, and so have not been told, will
    /// hear of strikes that come later.
    Committing,
}

/// What one target has said of one batch.
#[derive(Clone, Copy, Debug)]
struct Told {
    progress: TargetProgress,
    /// How many entries' needs, in order from the first.
    needs: u16,
    /// How many entries' outcomes, in order from the first.
    outcomes: u16,
}

/// A manifest as it is sent: in blocks.
#[derive(Debug)]
struct ManifestBlocks {
    bytes: Arc<[u8]>,
    slice_len: usize,
    /// How many have been sent once.
    sent: BlockNo,
}

impl ManifestBlocks {
    /// After the last.
    fn end(&self) -> BlockNo {
        BlockNo::new(self.bytes.len().div_ceil(self.slice_len) as u32)
    }

    fn payload(&self, block: BlockNo) -> Vec<u8> {
        let start = (block.get() as usize * self.slice_len).min(self.bytes.len());
        let end = (start + self.slice_len).min(self.bytes.len());
        Offer { manifest_len: self.bytes.len() as u32, slice: &self.bytes[start..end] }.emit()
    }
}

/// A batch that is not done everywhere.
#[derive(Debug)]
pub(super) struct OutgoingBatch {
    manifest: ManifestBlocks,
    entries: u16,
    layout: Arc<Layout>,
    phase: BatchPhase,
    /// The blocks of the body that anyone needs.
    needed: RangeSet,
    /// How far the first pass over them has got.
    sent: BlockNo,
    /// The entries whose bytes anyone needs.
    wanted: Bits<EntryNo>,
    commit: BatchCommit,
    targets: Vec<Told>,
    awaited: Awaited,
}

impl OutgoingBatch {
    /// A batch from its manifest, how many entries that has, and where their bytes are.
    pub(super) fn new(
        manifest: Arc<[u8]>,
        entries: usize,
        layout: Arc<Layout>,
        block: u16,
        targets: &Targets,
    ) -> Self {
        let slice_len = Offer::slice_len(block);
        let mut awaited = Awaited::default();
        for (_, target) in targets.iter() {
            awaited += TargetProgress::NEW.awaited(target.presence());
        }
        let nothing = Told { progress: TargetProgress::NEW, needs: 0, outcomes: 0 };
        OutgoingBatch {
            manifest: ManifestBlocks { bytes: manifest, slice_len, sent: BlockNo::ZERO },
            entries: entries as u16,
            layout,
            phase: BatchPhase::Offering,
            needed: RangeSet::new(),
            sent: BlockNo::ZERO,
            wanted: Bits::default(),
            commit: BatchCommit::new(targets.len()),
            targets: vec![nothing; targets.len()],
            awaited,
        }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What is awaited from its targets.
    pub(super) fn awaited(&self) -> Awaited {
        self.awaited
    }

    /// How far a target is with it.
    pub(super) fn progress(&self, target: TargetNo) -> Option<TargetProgress> {
        self.targets.get(target.index()).map(|told| told.progress)
    }

    // What is sent.

    /// The block of its manifest that is to be sent next, of those that were never sent.
    pub(super) fn next_offer(&self) -> Option<BlockNo> {
        (self.manifest.sent < self.manifest.end()).then_some(self.manifest.sent)
    }

    /// The next block of its manifest has been sent.
    pub(super) fn offer_sent(&mut self) {
        self.manifest.sent = self.manifest.sent.next();
    }

    /// The payload of a block of its manifest.
    pub(super) fn offer(&self, block: BlockNo) -> Vec<u8> {
        self.manifest.payload(block)
    }

    /// Whether blocks of its body may still be sent for the first time.
    pub(super) fn is_in_first_pass(&self) -> bool {
        self.phase <= BatchPhase::Sending
    }

    /// Whether nothing of its body has been sent.
    pub(super) fn is_offering(&self) -> bool {
        self.phase == BatchPhase::Offering
    }

    /// The next blocks of its body in the first pass, `most` at most. There are none as long as it is
    /// not known which are needed.
    pub(super) fn next_body(&self, most: u32) -> Option<BlockRange> {
        if !self.is_in_first_pass() || self.awaited.needs > 0 {
            return None;
        }
        self.needed.next_run(self.sent, most)
    }

    /// Blocks of its body have been sent in the first pass.
    pub(super) fn body_sent(&mut self, blocks: BlockRange) {
        if self.is_in_first_pass() {
            self.phase = BatchPhase::Sending;
            self.sent = blocks.end;
        }
    }

    /// Ends the first pass if nothing is left for it. Whether it has ended.
    pub(super) fn end_first_pass(&mut self) -> bool {
        let through = self.awaited.needs == 0
            && self.next_offer().is_none()
            && self.needed.next_run(self.sent, 1).is_none();
        if through && self.is_in_first_pass() {
            self.phase = BatchPhase::Repairing;
        }
        !self.is_in_first_pass()
    }

    /// How far its body has been sent once.
    pub(super) fn sent(&self) -> BlockNo {
        self.sent
    }

    /// How many bytes of it are in a target's memory until they are staged.
    pub(super) fn in_memory(&self) -> u64 {
        if self.layout.streams() { 0 } else { self.layout.len() }
    }

    /// Whether anyone needs the bytes of an entry.
    pub(super) fn is_wanted(&self, entry: EntryNo) -> bool {
        self.wanted.contains(entry)
    }

    /// Whether a block that anyone needs holds bytes of an entry.
    pub(super) fn sends(&self, entry: EntryNo) -> bool {
        let Some(slot) = self.layout.slot(entry) else { return false };
        self.layout.blocks_of(slot).any(|blocks| {
            self.needed.next_run(blocks.start, 1).is_some_and(|run| run.start < blocks.end)
        })
    }

    fn want(&mut self, entry: EntryNo) {
        if self.is_wanted(entry) {
            return;
        }
        self.wanted.insert(entry);
        if let Some(slot) = self.layout.slot(entry) {
            self.layout.blocks_of(slot).for_each(|blocks| self.needed.insert(blocks));
        }
    }

    // What targets say.

    /// A target that takes part says what it needs. Whether this is new.
    pub(super) fn need(
        &mut self,
        target: TargetNo,
        presence: Presence,
        runs: &Runs<Need>,
        dry_run: bool,
    ) -> bool {
        let entries = self.entries;
        let Some(told) = self.targets.get_mut(target.index()) else { return false };
        let Some(next) = goes_on(told.needs, runs, entries) else { return false };
        told.needs = next;
        if !dry_run {
            let all = runs.iter().filter(|(_, need)| *need == Need::All);
            all.for_each(|(entry, _)| self.want(entry));
        }
        self.change(target, presence, |progress| progress.need(next == entries, dry_run));
        true
    }

    /// A target says what it has done. Whether this is new.
    pub(super) fn outcomes(
        &mut self,
        target: TargetNo,
        presence: Presence,
        runs: &Runs<Outcome>,
    ) -> bool {
        let entries = self.entries;
        let Some(told) = self.targets.get_mut(target.index()) else { return false };
        let Some(next) = goes_on(told.outcomes, runs, entries) else { return false };
        told.outcomes = next;
        if next == entries {
            self.change(target, presence, |_| TargetProgress::Done);
        }
        true
    }

    /// A STATUS says how far a target is. Gives the stream that it may miss blocks of, and how many of
    /// its blocks have been sent.
    pub(super) fn status(
        &mut self,
        target: TargetNo,
        presence: Presence,
        state: State,
    ) -> Option<(Stream, BlockNo)> {
        let needs_known = self.progress(target)?.needs_known();
        self.change(target, presence, |progress| progress.status(state));
        match state {
            State::Offer => Some((Stream::Offer, self.manifest.sent)),
            // Before its whole NEED is here, nobody has read what it needs from the disk.
            State::Body if needs_known && self.is_in_first_pass() => {
                Some((Stream::Data, self.sent))
            }
            State::Body if needs_known => Some((Stream::Data, self.layout.end())),
            _ => None,
        }
    }

    /// A STATUS of a target speaks of later batches only.
    pub(super) fn passed(&mut self, target: TargetNo, presence: Presence) {
        self.change(target, presence, TargetProgress::passed);
    }

    /// Changes the progress of a target.
    fn change(
        &mut self,
        target: TargetNo,
        presence: Presence,
        change: impl FnOnce(TargetProgress) -> TargetProgress,
    ) {
        let Some(told) = self.targets.get_mut(target.index()) else { return };
        self.awaited -= told.progress.awaited(presence);
        told.progress = change(told.progress);
        self.awaited += told.progress.awaited(presence);
    }

    /// A target comes or goes.
    pub(super) fn set_presence(&mut self, target: TargetNo, before: Presence, after: Presence) {
        let Some(told) = self.targets.get(target.index()) else { return };
        self.awaited -= told.progress.awaited(before);
        self.awaited += told.progress.awaited(after);
    }

    // Verify, strike, commit.

    /// Begins to verify it if all that others wait for have everything. Whether it begins now.
    pub(super) fn verify(&mut self) -> bool {
        let ready = self.phase < BatchPhase::Verifying
            && self.awaited.staged == 0
            && self.awaited.needs == 0;
        if ready {
            self.phase = BatchPhase::Verifying;
        }
        ready
    }

    /// Whether COMMIT is out.
    pub(super) fn is_committing(&self) -> bool {
        self.phase == BatchPhase::Committing
    }

    /// Adds strikes; gives those that are new.
    pub(super) fn strike(&mut self, entries: &[(EntryNo, Reason)]) -> Vec<(EntryNo, Reason)> {
        self.commit.strike(entries)
    }

    /// Begins to commit, unless it has begun: gives all strikes that there are by now.
    pub(super) fn commit(&mut self) -> Option<Vec<(EntryNo, Reason)>> {
        if self.is_committing() {
            return None;
        }
        self.phase = BatchPhase::Committing;
        Some(self.commit.strikes())
    }

    /// The COMMIT for these targets, which leaves now.
    pub(super) fn send_commit(&mut self, targets: &[TargetNo], last_poll: PollNo) -> Commit {
        self.commit.send(targets, last_poll)
    }

    /// Whether COMMIT is to be sent (again) to a target that has answered the poll `answered`.
    pub(super) fn is_commit_due(&self, target: TargetNo, answered: PollNo) -> bool {
        let due = |progress| self.commit.is_due(target, progress, answered, self.layout.streams());
        self.is_committing() && self.progress(target).is_some_and(due)
    }
}

/// Where a sequence of codes that has got to `next` gets to with `runs`; None if they do not go on
/// there.
fn goes_on<C: Code>(next: u16, runs: &Runs<C>, entries: u16) -> Option<u16> {
    let count: u32 = runs.runs.iter().map(|&(_, count)| u32::from(count)).sum();
    let end = u32::from(runs.first.get()) + count;
    let some = count > 0 || entries == 0;
    (runs.first.get() == next && some && end <= u32::from(entries)).then_some(end as u16)
}

/// A batch of a directory and one file of `size` bytes, for tests.
#[cfg(test)]
pub(super) fn of_file(size: u64, block: u16, targets: &Targets) -> OutgoingBatch {
    use crate::wire::manifest::tests::entry;
    use crate::wire::manifest::{Kind, Manifest};

    let entries = vec![entry("d", Kind::Open), entry("d/f", Kind::File { size, data: None })];
    let manifest = Manifest { entries, ..Manifest::default() };
    let layout = Layout::new(&manifest, block.into()).unwrap();
    OutgoingBatch::new(manifest.emit().into(), 2, Arc::new(layout), block, targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outgoing::target;
    use crate::ids::blocks;

    const A: TargetNo = TargetNo::new(0);
    const B: TargetNo = TargetNo::new(1);
    const FILE: EntryNo = EntryNo::new(1);
    const ACTIVE: Presence = Presence::Active;

    fn needs(
        batch: &mut OutgoingBatch,
        target: TargetNo,
        first: u16,
        need: Need,
        count: u16,
    ) -> bool {
        batch.need(
            target,
            ACTIVE,
            &Runs { first: EntryNo::new(first), runs: vec![(need, count)] },
            false,
        )
    }

    #[test]
    fn a_body_is_sent_once_when_all_have_said_what_they_need() {
        let mut batch = of_file(4_000, 1_000, &target::some(2));
        assert_eq!(batch.next_offer(), Some(BlockNo::ZERO));
        batch.offer_sent();
        assert_eq!(batch.next_offer(), None);
        assert!(needs(&mut batch, A, 0, Need::All, 2));
        assert!(batch.is_wanted(FILE) && batch.sends(FILE));
        assert_eq!((batch.next_body(9), batch.end_first_pass()), (None, false));
        assert!(needs(&mut batch, B, 0, Need::Skip, 2));
        assert_eq!(batch.next_body(3), Some(blocks(0..3)));
        assert!(batch.is_offering());
        batch.body_sent(blocks(0..3));
        assert!(!batch.is_offering() && !batch.end_first_pass());
        batch.body_sent(batch.next_body(3).unwrap());
        assert!(batch.end_first_pass());
        assert_eq!((batch.phase, batch.next_body(3)), (BatchPhase::Repairing, None));
    }

    #[test]
    fn only_what_goes_on_counts() {
        let mut batch = of_file(4_000, 1_000, &target::some(1));
        assert!(!needs(&mut batch, A, 1, Need::All, 1), "the first is missing");
        assert!(!needs(&mut batch, A, 0, Need::All, 3), "more than there are");
        assert!(needs(&mut batch, A, 0, Need::Skip, 1));
        assert!(!needs(&mut batch, A, 0, Need::Skip, 1), "twice");
        assert_eq!(batch.awaited().needs, 1);
        assert!(needs(&mut batch, A, 1, Need::All, 1));
        assert_eq!(batch.awaited().needs, 0);
        let none = Runs { first: EntryNo::new(2), runs: Vec::new() };
        assert!(!batch.need(A, ACTIVE, &none, false), "nothing");
        let beyond = TargetNo::new(9);
        assert!(!needs(&mut batch, beyond, 0, Need::All, 2), "no such target");
    }

    #[test]
    fn blocks_that_were_not_sent_are_not_missed() {
        let mut batch = of_file(4_000, 1_000, &target::some(1));
        let offers = Some((Stream::Offer, BlockNo::ZERO));
        assert_eq!(batch.status(A, ACTIVE, State::Offer), offers);
        // Nobody has read what it needs before that is known.
        assert_eq!(batch.status(A, ACTIVE, State::Body), None);
        batch.offer_sent();
        needs(&mut batch, A, 0, Need::All, 2);
        batch.body_sent(blocks(0..1));
        let sent = |number| Some((Stream::Data, BlockNo::new(number)));
        assert_eq!(batch.status(A, ACTIVE, State::Body), sent(1));
        batch.body_sent(blocks(1..4));
        assert!(batch.end_first_pass());
        assert_eq!(batch.status(A, ACTIVE, State::Body), sent(4));
        assert_eq!(batch.status(A, ACTIVE, State::Staging), None);
    }

    #[test]
    fn a_batch_is_verified_once_when_all_that_are_waited_for_are_staged() {
        let mut batch = of_file(4_000, 1_000, &target::some(2));
        for target in [A, B] {
            needs(&mut batch, target, 0, Need::All, 2);
        }
        batch.status(A, ACTIVE, State::Staged);
        assert!(!batch.verify());
        batch.set_presence(B, ACTIVE, Presence::Suspended);
        assert!(batch.verify() && !batch.verify());
        assert_eq!(batch.next_body(1), None);
        assert!(!batch.is_commit_due(A, PollNo::ZERO));
        let struck = (FILE, Reason::Changed);
        batch.strike(&[struck]);
        assert_eq!(batch.commit(), Some(vec![struck]));
        assert_eq!(batch.commit(), None);
        assert!(batch.is_committing() && !batch.verify());
        assert!(batch.is_commit_due(A, PollNo::ZERO) && !batch.is_commit_due(B, PollNo::ZERO));
        batch.send_commit(&[A], PollNo::ZERO);
        assert!(!batch.is_commit_due(A, PollNo::ZERO));
    }

    #[test]
    fn a_batch_is_done_when_nobody_that_is_left_has_more_to_say() {
        let mut batch = of_file(4_000, 1_000, &target::some(2));
        let done = |first, count| Runs {
            first: EntryNo::new(first),
            runs: vec![(Outcome::Updated, count)],
        };
        assert!(batch.outcomes(A, ACTIVE, &done(0, 1)));
        assert_eq!(batch.awaited().done, 2);
        assert!(batch.outcomes(A, ACTIVE, &done(1, 1)));
        assert_eq!(batch.awaited(), Awaited { needs: 1, staged: 1, done: 1, done_by_any: 1 });
        batch.set_presence(B, ACTIVE, Presence::Suspended);
        assert_eq!(batch.awaited(), Awaited { done_by_any: 1, ..Awaited::default() });
        batch.set_presence(B, Presence::Suspended, Presence::Gone);
        assert_eq!(batch.awaited(), Awaited::default());
    }

    #[test]
    fn later_batches_alone_in_a_status_mean_that_outcomes_are_on_their_way() {
        let mut batch = of_file(4_000, 1_000, &target::some(1));
        needs(&mut batch, A, 0, Need::All, 2);
        batch.passed(A, ACTIVE);
        assert_eq!(batch.awaited(), Awaited { done: 1, done_by_any: 1, ..Awaited::default() });
    }
}
