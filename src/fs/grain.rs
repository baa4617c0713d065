//! How exactly a file system keeps times: measured by setting some, and used to compare them.
//!
//! The kernel rounds a time to what the file system can keep (`timestamp_truncate`, fs/inode.c): down
//! to a multiple of its granularity, and into the range between its earliest and latest time.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::fsat;
use crate::wire::manifest::FileTime;

/// The granularity and the range of the times that a file system keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Grain {
    /// In nanoseconds.
    unit: u64,
    first: i64,
    last: i64,
}

impl Grain {
    /// Every time is kept to the nanosecond: assumed until the file system was probed.
    pub const EXACT: Grain = Grain { unit: 1, first: i64::MIN, last: i64::MAX };

    /// Measures it by setting the mtime of the file `name` in `dir` several times.
    ///
    /// # Errors
    /// Those of utimensat(2) and statx(2).
    pub fn probe(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        const NANOS: u64 = 987_654_321;
        const SECS: i64 = 1_000_000_007;
        let keep = |secs, nanos| {
            fsat::set_mtime_at(dir, name, FileTime { secs, nanos })?;
            fsat::stat_at(dir, name).map(|stat| stat.mtime)
        };
        let kept = keep(SECS, NANOS as u32)?;
        let units = [1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000];
        let fits = |unit: &u64| u64::from(kept.nanos) == NANOS - NANOS % unit;
        let unit = match kept.secs {
            SECS => units.into_iter().find(fits).unwrap_or(1),
            _ => 2_000_000_000, // FAT
        };
        // Kernels before 5.4 wrap around instead of clamping: then there is no limit to know.
        let last = keep(i64::MAX, 0).map_or(0, |kept| kept.secs);
        let first = keep(i64::MIN, 0).map_or(0, |kept| kept.secs);
        Ok(Grain {
            unit,
            first: if first < 0 || last > i64::from(i32::MAX) { first } else { i64::MIN },
            last: if last >= i64::from(i32::MAX) { last } else { i64::MAX },
        })
    }

    /// Whether nothing of `sent` is lost when the file system stores it. What is, is the same for several
    /// times, and so are the files that have them.
    pub fn keeps(self, sent: FileTime) -> bool {
        let exact = Grain { unit: 1, first: i64::MIN, last: i64::MAX };
        exact == self || (self.in_range(sent) && self.same(sent, sent))
    }

    /// Whether the file system can store a time of that day.
    pub fn in_range(self, sent: FileTime) -> bool {
        (self.first..=self.last).contains(&sent.secs)
    }

    /// The length in seconds, rounded up, of what it cannot tell apart.
    pub fn secs(self) -> i64 {
        self.unit.div_ceil(1_000_000_000) as i64
    }

    /// Whether `kept` is how the file system stores `sent`.
    pub fn same(self, kept: FileTime, sent: FileTime) -> bool {
        let secs = sent.secs.clamp(self.first, self.last);
        if secs != sent.secs || [self.first, self.last].contains(&secs) {
            return kept.secs == secs;
        }
        let sent = match self.unit {
            0 | 1 => sent,
            unit @ ..=1_000_000_000 => {
                let nanos = u64::from(sent.nanos);
                FileTime { secs, nanos: (nanos - nanos % unit) as u32 }
            }
            unit => {
                let unit = (unit / 1_000_000_000) as i64;
                FileTime { secs: secs - secs.rem_euclid(unit), nanos: 0 }
            }
        };
        kept == sent
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn times_are_the_same_when_the_file_system_cannot_tell_them_apart() {
        let stamp = |secs, nanos| FileTime { secs, nanos };
        let sent = stamp(1_000_000_007, 123_456_789);
        for (unit, kept, same) in [
            (1, sent, true),
            (1, stamp(sent.secs, 0), false),
            (100, stamp(sent.secs, 123_456_700), true),
            (100, sent, false),
            (1_000_000_000, stamp(sent.secs, 0), true),
            (2_000_000_000, stamp(sent.secs - 1, 0), true),
            (2_000_000_000, stamp(sent.secs, 0), false),
        ] {
            let grain = Grain { unit, first: -(1 << 31), last: (1 << 34) - 1 };
            assert_eq!(grain.same(kept, sent), same, "{unit} {kept:?}");
        }
        let grain = Grain { unit: 1, first: 0, last: 100 };
        assert!(grain.same(stamp(100, 0), stamp(1 << 40, 5)));
        assert!(grain.same(stamp(0, 0), stamp(-1, 5)));
        assert!(!grain.same(stamp(50, 0), stamp(50, 5)));
        assert!(Grain::EXACT.same(stamp(i64::MIN, 3), stamp(i64::MIN, 3)));
        assert!(!Grain::EXACT.same(stamp(i64::MIN + 1, 3), stamp(i64::MIN + 1, 4)));
    }

    #[test]
    fn what_was_probed_holds() {
        let temp = TempDir::new("grain");
        std::fs::write(temp.join("probe"), b"").unwrap();
        std::fs::write(temp.join("f"), b"").unwrap();
        let dir = std::fs::File::open(temp.path()).unwrap();
        let grain = Grain::probe(dir.as_fd(), b"probe").unwrap();
        for secs in [i64::MIN, -(1 << 40), -1, 0, 1, 1_700_000_001, 1 << 33, 1 << 36, i64::MAX] {
            let sent = FileTime { secs, nanos: 123_456_789 };
            fsat::set_mtime_at(dir.as_fd(), b"f", sent).unwrap();
            let kept = fsat::stat_at(dir.as_fd(), b"f").unwrap().mtime;
            assert!(grain.same(kept, sent), "{grain:?} {kept:?} {sent:?}");
        }
    }
}
