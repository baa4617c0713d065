//! What is deleted here, and is not passed on: when much goes at once, it may be a mistake, or a file system that is
//! not there. It is held then, until it is back or somebody says that it is meant.

use std::collections::{BTreeSet, VecDeque};

use super::types::{Held, MOST_PATHS};
use crate::name::RelPath;
use crate::time::{Span, Time};

/// Deletions are counted over this.
const WINDOW: Span = Span::from_secs(60);
/// So many are never too many.
const FEW: u64 = 100;
/// So many always are.
const MANY: u64 = 10_000;
/// A root that had so many entries and has none was emptied.
const EMPTIED: u64 = 2;
/// The most bytes of paths that are held.
const MOST_BYTES: usize = 16 << 20;
/// What a path takes beside its bytes.
const EACH: usize = 64;

/// Deletions that are to be judged together.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Going {
    /// How many entries go.
    pub(super) entries: u64,
    /// How many of them are in the watched directory itself.
    pub(super) at_top: u64,
}

/// The deletions of one tree.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    /// What went lately, by the second.
    recent: VecDeque<(Time, Going)>,
    held: BTreeSet<RelPath>,
    bytes: usize,
    /// Why they are held.
    why: Option<Held>,
    /// More are held than are known by name.
    pub(super) unknown: u64,
}

impl Deletions {
    /// Why deletions are held, if they are.
    pub(super) fn why(&self) -> Option<Held> {
        self.why
    }

    /// How many paths are held.
    pub(super) fn count(&self) -> u64 {
        self.held.len() as u64 + self.unknown
    }

    /// Whether what is `going` is to be held, where `left` entries are left in the tree and `left_at_top` in the
    /// watched directory itself.
    pub(super) fn judge(
        &mut self,
        now: Time,
        going: Going,
        left: u64,
        left_at_top: u64,
    ) -> Option<Held> {
        if self.why.is_some() || going.entries == 0 {
            return self.why;
        }
        while self.recent.front().is_some_and(|(then, _)| now.since(*then) >= WINDOW) {
            self.recent.pop_front();
        }
        let sum = self.recent.iter().fold(going, |sum, (_, more)| Going {
            entries: sum.entries + more.entries,
            at_top: sum.at_top + more.at_top,
        });
        let of = left + sum.entries;
        if left_at_top == 0 && sum.at_top >= EMPTIED {
            self.why = Some(Held::Emptied);
        } else if sum.entries > FEW && (sum.entries > MANY || sum.entries > of / 10) {
            self.why = Some(Held::Many(sum.entries, of));
        } else {
            match self.recent.back_mut() {
                Some((then, last)) if now.since(*then) < Span::from_secs(1) => {
                    last.entries += going.entries;
                    last.at_top += going.at_top;
                }
                _ => self.recent.push_back((now, going)),
            }
        }
        self.why
    }

    /// Whether a tree of which `left` of `before` entries are left, without anybody having seen the others go, is
    /// to be sent without deletions.
    pub(super) fn judge_unseen(&mut self, left: u64, before: u64) -> Option<Held> {
        let gone = before.saturating_sub(left);
        let is_much = gone > FEW && (gone > MANY || gone > before / 10);
        if self.why.is_none() && (is_much || (left == 0 && before >= EMPTIED)) {
            self.why = Some(Held::Unseen(left, before));
            self.unknown += gone;
        }
        self.why
    }

    /// Holds the deletion of this path.
    pub(super) fn hold(&mut self, path: RelPath) {
        let bytes = path.as_bytes().len() + EACH;
        if self.held.len() >= MOST_PATHS || self.bytes + bytes > MOST_BYTES {
            self.unknown += 1;
        } else if self.held.insert(path) {
            self.bytes += bytes;
        }
    }

    /// What is held and is there again, as `is_there` says, is held no longer. Deletions that come later are
    /// judged anew once nothing is held.
    pub(super) fn recheck(&mut self, mut is_there: impl FnMut(&RelPath) -> bool) {
        let bytes = &mut self.bytes;
        self.held.retain(|path| {
            let stays = !is_there(path);
            if !stays {
                *bytes = bytes.saturating_sub(path.as_bytes().len() + EACH);
            }
            stays
        });
        if self.held.is_empty() && self.unknown == 0 {
            self.why = None;
        }
    }

    /// Lets go what is held: the paths, and whether there is more than these.
    pub(super) fn release(&mut self) -> (BTreeSet<RelPath>, bool) {
        let before = std::mem::take(self);
        (before.held, before.unknown > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::from_micros((100 + secs) * 1_000_000)
    }

    fn going(entries: u64) -> Going {
        Going { entries, at_top: 0 }
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn many_are_held_if_they_are_a_tenth_or_ten_thousand() {
        let judge = |gone, left| Deletions::default().judge(at(0), going(gone), left, 5);
        assert_eq!(judge(100, 10), None);
        assert_eq!(judge(101, 10), Some(Held::Many(101, 111)));
        assert_eq!(judge(101, 909), None);
        assert_eq!(judge(101, 908), Some(Held::Many(101, 1_009)));
        assert_eq!(judge(10_000, 1_000_000), None);
        assert_eq!(judge(10_001, 1_000_000), Some(Held::Many(10_001, 1_010_001)));
    }

    #[test]
    fn they_are_counted_over_a_minute() {
        let mut slow = Deletions::default();
        for secs in 0..600 {
            assert_eq!(slow.judge(at(secs), going(1), 10, 5), None, "{secs}");
        }
        assert!(slow.recent.len() <= 61);
        let mut quick = Deletions::default();
        let held = (0..600).find(|&n| quick.judge(at(n / 2), going(1), 10, 5).is_some());
        assert_eq!(held, Some(100));
        // From then on all are.
        assert!(quick.judge(at(10_000), going(1), 10_000, 5).is_some());
    }

    #[test]
    fn a_root_that_was_emptied_is_held_unless_it_had_one_entry() {
        let top = |at_top| Going { entries: at_top, at_top };
        assert_eq!(Deletions::default().judge(at(0), top(1), 0, 0), None);
        assert_eq!(Deletions::default().judge(at(0), top(2), 0, 0), Some(Held::Emptied));
        let mut one_by_one = Deletions::default();
        assert_eq!(one_by_one.judge(at(0), top(1), 1, 1), None);
        assert_eq!(one_by_one.judge(at(30), top(1), 0, 0), Some(Held::Emptied));
        assert_eq!(Deletions::default().judge_unseen(0, 2), Some(Held::Unseen(0, 2)));
        assert_eq!(Deletions::default().judge_unseen(900, 1_000), None);
        assert_eq!(Deletions::default().judge_unseen(899, 1_000), Some(Held::Unseen(899, 1_000)));
    }

    #[test]
    fn what_is_back_is_held_no_longer_and_what_is_released_goes() {
        let mut held = Deletions::default();
        held.judge(at(0), going(1_000), 0, 5);
        held.hold(path("a"));
        held.hold(path("b"));
        held.recheck(|path| path.as_bytes() == b"a");
        assert_eq!((held.count(), held.why().is_some()), (1, true));
        held.recheck(|_| true);
        assert_eq!((held.count(), held.why(), held.bytes), (0, None, 0));
        held.judge(at(100), going(1_000), 0, 5);
        held.hold(path("c"));
        assert_eq!(held.release(), (BTreeSet::from([path("c")]), false));
        assert_eq!((held.count(), held.why()), (0, None));
    }

    #[test]
    fn more_than_fits_is_only_counted() {
        let mut held = Deletions::default();
        for n in 0..MOST_PATHS + 3 {
            held.hold(path(&n.to_string()));
        }
        assert_eq!((held.count(), held.unknown), (MOST_PATHS as u64 + 3, 3));
        assert!(held.release().1);
    }
}
