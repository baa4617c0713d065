//! How far a transfer is, for who watches its progress.

use std::sync::atomic::Ordering;

use crate::console::reply::Progress;
use crate::daemon::messages::Totals;
use crate::daemon::order::Order;
use crate::fs::long_digests::LONG;
use crate::time::Time;

/// How far it is with large files that are not done.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct UnderWay {
    /// How many of their bytes were sent.
    pub(crate) streamed: u64,
    /// How many bytes of all long files that are compared all hosts are through with, those that are done
    /// included.
    pub(crate) digested: u64,
}

/// What a transfer does with contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Does {
    /// It compares them, and no more.
    Compares,
    /// It compares them, and sends what differs.
    Both,
    /// It sends them.
    Sends,
}

/// What is done on all hosts.
#[derive(Debug)]
pub(crate) struct Advance {
    does: Does,
    done: Progress,
    /// The bytes of the long files that were compared and are done.
    compared: u64,
    /// When it was told last, and how many bytes were done.
    last: (Time, u64),
}

impl Does {
    pub(crate) fn of(order: &Order) -> Does {
        match (order.mode.changes_nothing(), order.compares()) {
            (true, true) => Does::Compares,
            (false, true) => Does::Both,
            (_, false) => Does::Sends,
        }
    }
}

impl Advance {
    pub(crate) fn new(does: Does, began: Time) -> Self {
        Advance { does, done: Progress::default(), compared: 0, last: (began, 0) }
    }

    /// An entry was compared, and what came of that is done.
    pub(crate) fn compared(&mut self, size: u64) {
        if size > LONG {
            self.compared += size;
        }
    }

    /// An entry is done.
    pub(crate) fn done(&mut self, size: u64) {
        self.done.entries_done += 1;
        self.done.bytes_done += size;
    }

    /// What is told now.
    pub(crate) fn tell(
        &mut self,
        now: Time,
        under_way: UnderWay,
        totals: Option<&Totals>,
        hosts: u32,
    ) -> Progress {
        let mut progress = Progress { hosts, ..self.done };
        let compared = under_way.digested.saturating_sub(self.compared);
        let more = match self.does {
            Does::Compares => compared,
            // What is compared may have to be sent too: each counts half.
            Does::Both => compared.saturating_add(under_way.streamed) / 2,
            Does::Sends => under_way.streamed,
        };
        progress.bytes_done = progress.bytes_done.saturating_add(more);
        if let Some(totals) = totals.filter(|totals| totals.whole.load(Ordering::Relaxed)) {
            let bytes = totals.bytes.load(Ordering::Relaxed);
            // A file that changed while it was compared was compared more than once.
            progress.bytes_done = progress.bytes_done.min(bytes.max(self.done.bytes_done));
            progress.bytes_total = Some(bytes);
            progress.entries_total = Some(totals.entries.load(Ordering::Relaxed));
        }
        progress.bytes_done = progress.bytes_done.max(self.last.1);
        let took = now.since(self.last.0).secs_f64();
        let moved = progress.bytes_done - self.last.1;
        progress.rate = if took > 0.0 { (moved as f64 / took) as u64 } else { 0 };
        self.last = (now, progress.bytes_done);
        progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    const MIB: u64 = 1 << 20;

    /// How many MiB are done of so many in all, each time that it is told.
    fn told(advance: &mut Advance, all: u64, under_way: &[(u64, u64)]) -> Vec<u64> {
        let totals = Totals::default();
        totals.bytes.store(all * MIB, Ordering::Relaxed);
        totals.whole.store(true, Ordering::Relaxed);
        let one = |&(streamed, digested): &(u64, u64)| {
            let under_way = UnderWay { streamed: streamed * MIB, digested: digested * MIB };
            let now = advance.last.0 + Span::from_secs(1);
            let before = advance.last.1;
            let progress = advance.tell(now, under_way, Some(&totals), 3);
            assert_eq!((progress.rate, progress.hosts), (progress.bytes_done - before, 3));
            progress.bytes_done / MIB
        };
        under_way.iter().map(one).collect()
    }

    #[test]
    fn what_is_compared_and_what_is_sent_are_counted_once() {
        let new = |does| Advance::new(does, Time::ZERO);
        assert_eq!(told(&mut new(Does::Sends), 200, &[(0, 0), (90, 0), (200, 0)]), [0, 90, 200]);
        let mut advance = new(Does::Compares);
        assert_eq!(told(&mut advance, 200, &[(0, 30), (0, 110)]), [30, 110]);
        advance.compared(100 * MIB);
        advance.done(100 * MIB);
        assert_eq!(told(&mut advance, 200, &[(0, 110), (0, 170)]), [110, 170]);
        let mut advance = new(Does::Both);
        assert_eq!(told(&mut advance, 200, &[(0, 30), (0, 100), (50, 100)]), [15, 50, 75]);
        advance.compared(100 * MIB);
        advance.done(100 * MIB);
        assert_eq!(told(&mut advance, 200, &[(0, 100), (0, 140), (0, 200)]), [100, 120, 150]);
    }

    #[test]
    fn it_neither_goes_back_nor_over_what_there_is() {
        let mut advance = Advance::new(Does::Compares, Time::ZERO);
        // A file that has changed is compared once more; a host that counted less has come to be waited for.
        assert_eq!(told(&mut advance, 200, &[(0, 150), (0, 250), (0, 20)]), [150, 200, 200]);
        advance.done(300 * MIB);
        assert_eq!(told(&mut advance, 200, &[(0, u64::MAX / MIB)]), [300]);
    }
}
