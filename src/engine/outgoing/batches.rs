//! The batches of an outgoing transfer that are not done everywhere, in order.
//!
//! What travels first travels in order, in two streams: manifests, which run ahead, and bodies.

use std::collections::VecDeque;

use super::batch::OutgoingBatch;
use super::target::Presence;
use crate::ids::{BatchNo, BlockNo, BlockRange, PollNo, TargetNo};
use crate::wire::poll::Mark;

/// The most batches kept for targets that lag.
const MAX_KEPT: usize = 64;
/// So many bytes of bodies wait in the targets' memory to be staged, at the most: each has room for
/// more from one sender.
const BODIES_AHEAD: u64 = 16 << 20;

/// What the answers of some targets lack: the first batch of it, and from there on, a bit each, the
/// batches whose NEED and DONE are lacking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lacking {
    pub(super) first: BatchNo,
    pub(super) need: u16,
    pub(super) done: u16,
}

/// The batches that are not done everywhere.
#[derive(Debug)]
pub(super) struct Batches {
    /// The number of the first.
    first: BatchNo,
    list: VecDeque<OutgoingBatch>,
    /// How many regular files all had that were ever here.
    files: u64,
}

impl Batches {
    pub(super) fn new() -> Self {
        Batches { first: BatchNo::FIRST, list: VecDeque::new(), files: 0 }
    }

    /// The lowest batch that is not done everywhere, or the next to come.
    pub(super) fn first(&self) -> BatchNo {
        self.first
    }

    /// The batch that comes next.
    fn end(&self) -> BatchNo {
        self.first.after(self.list.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn get(&self, number: BatchNo) -> Option<&OutgoingBatch> {
        self.list.get(number.since(self.first)?)
    }

    pub(super) fn get_mut(&mut self, number: BatchNo) -> Option<&mut OutgoingBatch> {
        self.list.get_mut(number.since(self.first)?)
    }

    fn iter(&self) -> impl Iterator<Item = (BatchNo, &OutgoingBatch)> {
        self.first.onwards().zip(&self.list)
    }

    /// The last batch that there was, and how many regular files all had, for END.
    pub(super) fn total(&self) -> (BatchNo, u64) {
        (self.end().previous(), self.files)
    }

    /// Whether another may come, if `parallel` may be on their way at once.
    pub(super) fn have_room(&self, parallel: usize) -> bool {
        let open = self.list.iter().filter(|batch| batch.awaited().done > 0).count();
        open < parallel && self.list.len() < MAX_KEPT
    }

    /// Takes the next batch, with so many regular files; gives its number.
    pub(super) fn push(&mut self, batch: OutgoingBatch, files: u64) -> BatchNo {
        let number = self.end();
        self.files += files;
        self.list.push_back(batch);
        number
    }

    /// Takes out the first batch if it is done by all targets that are left.
    pub(super) fn pop_done(&mut self) -> Option<BatchNo> {
        if self.list.front()?.awaited().done_by_any > 0 {
            return None;
        }
        self.list.pop_front()?;
        let number = self.first;
        self.first = number.next();
        Some(number)
    }

    /// Nothing of them is to be done any more.
    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// How many bytes of long files that are not done have been sent once.
    pub(super) fn streamed(&self) -> u64 {
        let open = self.list.iter().filter(|batch| batch.layout().streams());
        open.map(|batch| batch.layout().bytes_of(batch.sent()).start).sum()
    }

    // The first pass.

    /// The block of a manifest that is to be sent next, of those that were never sent.
    pub(super) fn next_offer(&self) -> Option<(BatchNo, BlockNo)> {
        self.iter().find_map(|(number, batch)| Some((number, batch.next_offer()?)))
    }

    /// The next blocks of bodies that were never sent, `most` at most. Only the first batch whose
    /// first pass has not ended gives any, and it begins only if there is room for it.
    pub(super) fn next_body(&self, most: u32) -> Option<(BatchNo, BlockRange)> {
        let at = self.list.iter().position(OutgoingBatch::is_in_first_pass)?;
        let batch = &self.list[at];
        let blocks = batch.next_body(most)?;
        if batch.is_offering() && !self.is_room_for(at) {
            return None;
        }
        Some((self.first.after(at), blocks))
    }

    /// Whether the body of a batch may begin: those before it, as far as some target still has them in
    /// memory, leave room for it there. What a target has no room for is lost, and sent again to all.
    fn is_room_for(&self, at: usize) -> bool {
        let before = self.list.iter().take(at).filter(|batch| batch.awaited().staged > 0);
        let before: u64 = before.map(OutgoingBatch::in_memory).sum();
        let this = self.list.get(at).map_or(0, OutgoingBatch::in_memory);
        before == 0 || before + this <= BODIES_AHEAD
    }

    /// Ends the first pass of batches that have nothing (more) to send in it.
    pub(super) fn end_first_passes(&mut self) {
        let passing = self.list.iter_mut().filter(|batch| batch.is_in_first_pass());
        for batch in passing {
            if !batch.end_first_pass() {
                return;
            }
        }
    }

    /// How far manifests have been sent.
    pub(super) fn offer_mark(&self) -> Mark {
        let (batch, block) = self.next_offer().unwrap_or((self.end(), BlockNo::ZERO));
        Mark { batch, block }
    }

    /// How far bodies have been sent.
    pub(super) fn data_mark(&self) -> Mark {
        let open = self.iter().find(|(_, batch)| batch.is_in_first_pass());
        let open = open.map(|(number, batch)| (number, batch.sent()));
        let (batch, block) = open.unwrap_or((self.end(), BlockNo::ZERO));
        Mark { batch, block }
    }

    // What is awaited.

    /// Whether anyone that others wait for has more to say.
    pub(super) fn await_anything(&self) -> bool {
        self.list.iter().any(|batch| batch.awaited().done > 0)
    }

    /// The first batch that anyone has more to say of that others wait for.
    pub(super) fn first_awaited(&self) -> Option<&OutgoingBatch> {
        self.list.iter().find(|batch| batch.awaited().done > 0)
    }

    /// What the answers of these targets lack.
    pub(super) fn lacking(&self, targets: &[TargetNo]) -> Lacking {
        let progress = |batch: &OutgoingBatch| {
            let progress = targets.iter().filter_map(|&target| batch.progress(target));
            progress.fold((false, false), |(need, done), progress| {
                (need || !progress.needs_known(), done || !progress.is_done())
            })
        };
        let lacking = |batch: &OutgoingBatch| progress(batch).1;
        let at = self.list.iter().position(lacking).unwrap_or(0);
        let mut found = Lacking { first: self.first.after(at), need: 0, done: 0 };
        for (bit, batch) in self.list.iter().skip(at).take(16).enumerate() {
            let (need, done) = progress(batch);
            found.need |= u16::from(need) << bit;
            found.done |= u16::from(done) << bit;
        }
        found
    }

    /// A target comes or goes.
    pub(super) fn set_presence(&mut self, target: TargetNo, before: Presence, after: Presence) {
        self.list.iter_mut().for_each(|batch| batch.set_presence(target, before, after));
    }

    /// A STATUS of a target speaks of batches from `first` on: those before it have passed.
    pub(super) fn passed(&mut self, target: TargetNo, presence: Presence, first: BatchNo) {
        let count = first.since(self.first).unwrap_or(0);
        self.list.iter_mut().take(count).for_each(|batch| batch.passed(target, presence));
    }

    // Verify and commit, in order.

    /// Lets the first batch that is not committed be verified, if it can be now.
    pub(super) fn verify_next(&mut self) -> Option<BatchNo> {
        // What comes later waits.
        let at = self.list.iter().position(|batch| !batch.is_committing())?;
        self.list[at].verify().then(|| self.first.after(at))
    }

    /// The batches of which COMMIT is to be sent (again) to a target that has answered the poll
    /// `answered`.
    pub(super) fn commits_due(&self, target: TargetNo, answered: PollNo) -> Vec<BatchNo> {
        let committing = self.iter().take_while(|(_, batch)| batch.is_committing());
        committing
            .filter(|(_, batch)| batch.is_commit_due(target, answered))
            .map(|(number, _)| number)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outgoing::batch;
    use crate::engine::outgoing::target::{self, Targets};
    use crate::ids::EntryNo;
    use crate::wire::feedback::State;
    use crate::wire::outcome::{Need, Outcome, Runs};

    const A: TargetNo = TargetNo::new(0);
    const B: TargetNo = TargetNo::new(1);
    const ACTIVE: Presence = Presence::Active;
    const BLOCK: u16 = 8_000;

    fn of_sizes(sizes: &[u64], targets: &Targets) -> Batches {
        let mut batches = Batches::new();
        for &size in sizes {
            batches.push(batch::of_file(size, BLOCK, targets), 1);
        }
        batches
    }

    fn number(raw: u32) -> BatchNo {
        BatchNo::new(raw)
    }

    fn need(batches: &mut Batches, batch: u32, target: TargetNo) {
        let runs = Runs { first: EntryNo::ZERO, runs: vec![(Need::All, 2)] };
        assert!(batches.get_mut(number(batch)).unwrap().need(target, ACTIVE, &runs, false));
    }

    fn state(batches: &mut Batches, batch: u32, target: TargetNo, state: State) {
        batches.get_mut(number(batch)).unwrap().status(target, ACTIVE, state);
    }

    fn done(batches: &mut Batches, batch: u32, target: TargetNo) {
        let runs = Runs { first: EntryNo::ZERO, runs: vec![(Outcome::Updated, 2)] };
        assert!(batches.get_mut(number(batch)).unwrap().outcomes(target, ACTIVE, &runs));
    }

    /// Sends all there is to send.
    fn send(batches: &mut Batches) -> Vec<(BatchNo, BlockRange)> {
        let mut sent = Vec::new();
        while let Some((at, _)) = batches.next_offer() {
            batches.get_mut(at).unwrap().offer_sent();
        }
        batches.end_first_passes();
        while let Some((at, blocks)) = batches.next_body(u32::MAX) {
            batches.get_mut(at).unwrap().body_sent(blocks);
            sent.push((at, blocks));
            batches.end_first_passes();
        }
        sent
    }

    fn mark(batch: u32, block: u32) -> Mark {
        Mark { batch: number(batch), block: BlockNo::new(block) }
    }

    #[test]
    fn bodies_go_in_order_behind_their_manifests() {
        let mut batches = of_sizes(&[20_000, 100], &target::some(1));
        assert_eq!((batches.offer_mark(), batches.data_mark()), (mark(1, 0), mark(1, 0)));
        need(&mut batches, 2, A);
        assert_eq!(send(&mut batches), []);
        assert_eq!((batches.offer_mark(), batches.data_mark()), (mark(3, 0), mark(1, 0)));
        need(&mut batches, 1, A);
        let blocks = |end| BlockRange::from_len(BlockNo::ZERO, end);
        assert_eq!(send(&mut batches), [(number(1), blocks(3)), (number(2), blocks(1))]);
        assert_eq!(batches.data_mark(), mark(3, 0));
    }

    #[test]
    fn bodies_wait_while_targets_have_much_in_memory() {
        let large = (BODIES_AHEAD / 5).min(crate::wire::layout::STREAM_OVER);
        let count = (BODIES_AHEAD / large) as u32;
        let mut batches = of_sizes(&vec![large; count as usize + 1], &target::some(1));
        (1..=count + 1).for_each(|batch| need(&mut batches, batch, A));
        assert_eq!(send(&mut batches).len(), count as usize);
        state(&mut batches, 3, A, State::Staged);
        assert_eq!(send(&mut batches).len(), 1);
    }

    #[test]
    fn batches_are_verified_in_order() {
        let mut batches = of_sizes(&[1, 1], &target::some(1));
        for batch in [1, 2] {
            need(&mut batches, batch, A);
        }
        state(&mut batches, 2, A, State::Staged);
        assert_eq!(batches.verify_next(), None);
        state(&mut batches, 1, A, State::Staged);
        assert_eq!(batches.verify_next(), Some(number(1)));
        assert_eq!(batches.verify_next(), None);
        assert_eq!(batches.commits_due(A, PollNo::ZERO), []);
        batches.get_mut(number(1)).unwrap().commit();
        assert_eq!(batches.commits_due(A, PollNo::ZERO), [number(1)]);
        assert_eq!(batches.verify_next(), Some(number(2)));
    }

    #[test]
    fn batches_leave_in_order_when_all_have_done_them() {
        let mut batches = of_sizes(&[1, 1], &target::some(2));
        done(&mut batches, 1, A);
        done(&mut batches, 2, A);
        done(&mut batches, 2, B);
        assert_eq!(batches.pop_done(), None);
        assert!(batches.await_anything());
        // One that is away keeps a batch, but nobody waits for it.
        batches.set_presence(B, ACTIVE, Presence::Suspended);
        assert!(!batches.await_anything() && batches.pop_done().is_none());
        batches.set_presence(B, Presence::Suspended, Presence::Gone);
        assert_eq!(batches.pop_done(), Some(number(1)));
        assert_eq!(batches.pop_done(), Some(number(2)));
        assert!(batches.is_empty() && batches.pop_done().is_none());
        assert_eq!(batches.first(), number(3));
        assert!(batches.get(number(2)).is_none());
    }

    #[test]
    fn what_is_lacking_counts_from_the_first_batch_that_lacks_anything() {
        let mut batches = of_sizes(&[1; 20], &target::some(2));
        done(&mut batches, 1, A);
        need(&mut batches, 2, A);
        let lacking = batches.lacking(&[A]);
        assert_eq!((lacking.first, lacking.need, lacking.done), (number(2), 0xfffe, 0xffff));
        let lacking = batches.lacking(&[A, B]);
        assert_eq!((lacking.first, lacking.need, lacking.done), (number(1), 0xffff, 0xffff));
        batches.passed(A, ACTIVE, number(3));
        assert!(batches.lacking(&[A]).done & 1 != 0, "its outcomes are still awaited");
        batches.passed(A, ACTIVE, number(1_000_000));
        let none = Lacking { first: number(1), need: 0, done: 0 };
        assert_eq!(batches.lacking(&[]), none);
    }

    #[test]
    fn few_are_on_their_way_and_few_are_kept() {
        let mut batches = of_sizes(&[1, 1], &target::some(1));
        assert!(batches.have_room(3) && !batches.have_room(2));
        done(&mut batches, 2, A);
        assert!(batches.have_room(2));
        let kept = of_sizes(&[1; MAX_KEPT], &target::some(0));
        assert!(!kept.have_room(usize::MAX));
    }
}
