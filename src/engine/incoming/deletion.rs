//! The end of a transfer that deletes, at a target: the disk counts what is spooled, deletes it and
//! names it, each when the sender asks for it.

use crate::engine::disk_job::{DeletionTally, DiskJob, Mode, TransferKey};
use crate::name::RelPath;
use crate::wire::begin::Delete;
use crate::wire::feedback::{Deleted, PAGE_AROUND, PAGE_EACH};
use crate::wire::outcome::SpoolCode;

/// How far the disk is with what is spooled. Nothing is counted or deleted twice, however often the
/// sender repeats itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Stage {
    #[default]
    Untouched,
    Counting,
    Counted(DeletionTally),
    Deleting(DeletionTally),
    Deleted {
        tally: DeletionTally,
        deleted: u64,
        failed: u64,
    },
}

impl Stage {
    /// What there was to delete, once that has been counted.
    fn tally(self) -> Option<DeletionTally> {
        match self {
            Stage::Untouched | Stage::Counting => None,
            Stage::Counted(tally) | Stage::Deleting(tally) | Stage::Deleted { tally, .. } => {
                Some(tally)
            }
        }
    }
}

/// What follows from a DELETE.
#[derive(Debug)]
pub(super) enum Reaction {
    /// The disk has something to do.
    Job(DiskJob),
    /// The disk has done it already.
    Report(Deleted),
    /// The disk is at work, or has to do something else first.
    Working,
    /// The transfer is not of the kind that deletes.
    Ignore,
}

/// What the disk has done with the entries that are spooled for deletion.
#[derive(Default, Debug)]
pub(super) struct Deletion {
    stage: Stage,
    /// The disk is collecting names.
    naming: bool,
}

impl Deletion {
    /// The sender asks for something; `block` is how many bytes its packets carry.
    pub(super) fn order(
        &mut self,
        key: TransferKey,
        mode: Mode,
        block: u16,
        order: Delete,
    ) -> Reaction {
        match (order, self.stage) {
            (Delete::Tally, Stage::Untouched) => {
                self.stage = Stage::Counting;
                Reaction::Job(DiskJob::Tally { key })
            }
            (Delete::Tally, stage) => match stage.tally() {
                Some(tally) => Reaction::Report(Deleted::Tally(tally)),
                None => Reaction::Working,
            },
            (Delete::Run(_), Stage::Deleted { deleted, failed, .. }) => {
                Reaction::Report(Deleted::Ran { deleted, failed })
            }
            (Delete::Run(_), _) if mode.changes_nothing() => Reaction::Ignore,
            (Delete::Run(_), Stage::Untouched | Stage::Counting) => Reaction::Ignore,
            (Delete::Run(_), Stage::Counted(tally)) => {
                self.stage = Stage::Deleting(tally);
                Reaction::Job(DiskJob::Delete { key })
            }
            (Delete::Run(_), Stage::Deleting(_)) => Reaction::Working,
            (Delete::Page(skip), stage) if stage.tally().is_some() && !self.naming => {
                self.naming = true;
                let room = usize::from(block).saturating_sub(PAGE_AROUND);
                Reaction::Job(DiskJob::Page { key, skip, room })
            }
            (Delete::Page(_), _) => Reaction::Working,
        }
    }

    /// Whether something that only this target has was to be deleted, and is not.
    pub(super) fn is_left(&self, mode: Mode) -> bool {
        let deletes = mode.spools() && !mode.changes_nothing();
        deletes
            && match self.stage {
                Stage::Untouched | Stage::Counting | Stage::Deleting(_) => true,
                Stage::Counted(tally) => tally.spooled > 0,
                Stage::Deleted { .. } => false,
            }
    }

    /// The disk has done one of these jobs; what is to be said of it in a block of `block` bytes.
    pub(super) fn done(&mut self, block: u16, report: Deleted) -> Deleted {
        match (report, self.stage) {
            (Deleted::Tally(tally), Stage::Untouched | Stage::Counting) => {
                self.stage = Stage::Counted(tally);
                Deleted::Tally(tally)
            }
            (Deleted::Ran { deleted, failed }, Stage::Deleting(tally)) => {
                self.stage = Stage::Deleted { tally, deleted, failed };
                Deleted::Ran { deleted, failed }
            }
            (Deleted::Page { skip, names }, _) => {
                self.naming = false;
                let room = usize::from(block).saturating_sub(PAGE_AROUND + PAGE_EACH);
                Deleted::Page { skip, names: fitting(names, room) }
            }
            (report, _) => report,
        }
    }
}

/// The names, each short enough for a packet: one that is not is cut, since it is only to be shown.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incoming::testing::KEY;
    use crate::wire::bits::Bits;

    const DELETE: Mode = Mode::Send { delete: true, ignore_times: false, dry_run: false };

    fn order(deletion: &mut Deletion, order: Delete) -> Reaction {
        deletion.order(KEY, DELETE, 1_424, order)
    }

    fn tally() -> DeletionTally {
        DeletionTally { spooled: 3, entries: 9, ..DeletionTally::default() }
    }

    fn run() -> Delete {
        Delete::Run(Bits::default())
    }

    fn counted() -> Deletion {
        let mut deletion = Deletion::default();
        order(&mut deletion, Delete::Tally);
        deletion.done(1_424, Deleted::Tally(tally()));
        deletion
    }

    #[test]
    fn each_step_is_done_once_and_reported_as_often_as_it_is_asked_for() {
        use Reaction::{Job, Report, Working};
        let mut deletion = Deletion::default();
        assert!(matches!(order(&mut deletion, Delete::Tally), Job(DiskJob::Tally { key: KEY })));
        assert!(matches!(order(&mut deletion, Delete::Tally), Working));
        assert_eq!(deletion.done(1_424, Deleted::Tally(tally())), Deleted::Tally(tally()));
        for _ in 0..2 {
            let again = order(&mut deletion, Delete::Tally);
            assert!(matches!(again, Report(Deleted::Tally(said)) if said == tally()));
        }
        assert!(matches!(order(&mut deletion, run()), Job(DiskJob::Delete { key: KEY })));
        assert!(matches!(order(&mut deletion, run()), Working));
        deletion.done(1_424, Deleted::Ran { deleted: 2, failed: 1 });
        for _ in 0..2 {
            let again = order(&mut deletion, run());
            assert!(matches!(again, Report(Deleted::Ran { deleted: 2, failed: 1 })), "{again:?}");
        }
        assert!(matches!(order(&mut deletion, Delete::Tally), Report(Deleted::Tally(_))));
    }

    #[test]
    fn nothing_is_deleted_before_it_was_counted_nor_in_a_dry_run_or_a_check() {
        let mut deletion = Deletion::default();
        assert!(matches!(order(&mut deletion, run()), Reaction::Ignore));
        order(&mut deletion, Delete::Tally);
        assert!(matches!(order(&mut deletion, run()), Reaction::Ignore));
        for mode in [DELETE.dry(), Mode::Check] {
            let reaction = counted().order(KEY, mode, 1_424, run());
            assert!(matches!(reaction, Reaction::Ignore), "{mode:?}");
        }
    }

    #[test]
    fn names_are_collected_one_page_at_a_time_once_they_were_counted() {
        let mut deletion = Deletion::default();
        assert!(matches!(order(&mut deletion, Delete::Page(0)), Reaction::Working));
        let mut deletion = counted();
        let job = order(&mut deletion, Delete::Page(7));
        let room = 1_424 - PAGE_AROUND;
        assert!(matches!(job, Reaction::Job(DiskJob::Page { skip: 7, room: r, .. }) if r == room));
        assert!(matches!(order(&mut deletion, Delete::Page(7)), Reaction::Working));
        deletion.done(1_424, Deleted::Page { skip: 7, names: Vec::new() });
        assert!(matches!(order(&mut deletion, Delete::Page(8)), Reaction::Job(_)));
    }

    #[test]
    fn a_name_that_is_too_long_for_a_packet_is_cut() {
        let long = RelPath::parse(&[b"dir/".as_slice(), &[b'n'; 250]].concat().repeat(3)).unwrap();
        let room = 480 - PAGE_AROUND - PAGE_EACH;
        assert!(long.as_bytes().len() > room);
        let names = vec![(SpoolCode::Spooled, long.clone())];
        let page = counted().done(480, Deleted::Page { skip: 0, names });
        let Deleted::Page { names, .. } = page else { panic!("{page:?}") };
        let cut = names[0].1.as_bytes();
        assert!(cut.len() <= room && long.as_bytes().starts_with(cut), "{}", cut.len());
    }
}
