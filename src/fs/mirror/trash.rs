//! The trash: what was removed or replaced because another host did so, as `.makuosan/trash/DATE/TIME/PATH`, for
//! a week, as long as there is room for ten times as much. Where it cannot be kept, it goes at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::kept;
use super::ops::Ops;
use super::slots::{self, Slot};
use super::tally::{Tallies, Tally, Upto};
use crate::fs::claim::TRASH;
use crate::fs::paths::split;
use crate::fs::sweep;
use crate::name::RelPath;
use crate::sys::fsat::{self, Rename, Stat};
use crate::sys::localtime;

/// How long it stays, in seconds.
const STAYS: i64 = 7 * 24 * 60 * 60;
/// One part in so many of the free space of a file system may be in its trash as well.
const SHARE: u64 = 10;
/// How often another directory is tried because a name is taken.
const TRIES: u32 = 100;

/// What is needed to put something into the trash.
pub(in crate::fs) struct Trash<'a> {
    pub us: u32,
    pub now: i64,
    pub tallies: &'a mut Tallies,
}

impl Trash<'_> {
    /// Moves what is there to the trash in the `.makuosan` of the same mount. Where it is then.
    ///
    /// # Errors
    /// It could not be moved, and is where it was.
    pub fn take(
        &mut self,
        top: BorrowedFd<'_>,
        from: (BorrowedFd<'_>, &[u8]),
        path: &RelPath,
    ) -> io::Result<(OwnedFd, Vec<u8>)> {
        let stat = fsat::stat_at(from.0, from.1)?;
        let trash = kept::dir(top, TRASH, self.us)?;
        let tally = self.tallies.entry(key(&fsat::stat_fd(trash.as_fd())?)).or_default();
        let (date, time) = moment(self.now);
        let day = kept::dirs(trash.as_fd(), &date)?;
        let (above, name) = split(path.as_bytes());
        let mut second = time.clone();
        for _ in 0..TRIES {
            let moved = kept::dirs(day.as_fd(), &second).and_then(|second| {
                let to = kept::dirs(second.as_fd(), above)?;
                fsat::rename_at(from.0, from.1, to.as_fd(), name, Rename::NoReplace).map(|()| to)
            });
            match moved.map_err(|e| (e.raw_os_error(), e)) {
                Ok(to) => {
                    if tally.has_counted(&date, &second) {
                        tally.bytes = tally.bytes.saturating_add(size(&stat));
                    }
                    return Ok((to, name.to_vec()));
                }
                // The name is that of something else, or something else that of a directory above.
                Err((Some(libc::EEXIST | libc::ENOTDIR | libc::ELOOP), _)) => {
                    tally.again += 1;
                    second = [&time[..], b"-", tally.again.to_string().as_bytes()].concat();
                }
                Err((_, e)) => return Err(e),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Tally {
    fn has_counted(&self, date: &[u8], time: &[u8]) -> bool {
        match &self.to {
            Upto::Nothing => false,
            Upto::This(day, second) => (date, time) <= (day, second),
            Upto::All => true,
        }
    }
}

impl Ops<'_> {
    /// Puts what is in a slot into the trash, or where that cannot be, removes it. The slot is free then.
    ///
    /// # Errors
    /// As [`Ops::empty_slot`].
    pub fn discard(&mut self, slot: Slot, path: &RelPath) -> io::Result<()> {
        let name = slot.name();
        if let Some(place) = slots::find(self.staging, self.rights, &name)? {
            let mut trash = Trash { us: self.rights.uid(), now: self.now, tallies: self.tallies };
            let _ = trash.take(place.top, (place.stage, &name), path);
        }
        self.empty_slot(slot)
    }

    /// Does a little to keep what is in the trash within bounds: counts some of it, or removes what was put there
    /// within one second. Whether there is more to do.
    pub fn tidy_trash(&mut self) -> bool {
        self.staging.open_left(self.rights);
        let is_root = self.rights.is_root();
        let oldest = moment(self.now.saturating_sub(STAYS));
        let tallies = &mut *self.tallies;
        self.staging.places().any(|(top, _)| {
            let trash = match fsat::open_at(top, TRASH, fsat::LISTING, 0) {
                Ok(trash) => trash,
                Err(_) => return false,
            };
            let Ok(stat) = fsat::stat_fd(trash.as_fd()) else { return false };
            let tally = tallies.entry(key(&stat)).or_default();
            step(trash.as_fd(), tally, &oldest, is_root).unwrap_or(false)
        })
    }
}

/// Counts a little, or removes the oldest. Whether there is more to do.
fn step(
    trash: BorrowedFd<'_>,
    tally: &mut Tally,
    oldest: &(Vec<u8>, Vec<u8>),
    is_root: bool,
) -> io::Result<bool> {
    let counted = match &tally.to {
        Upto::All => None,
        Upto::Nothing => Some(None),
        Upto::This(date, time) => Some(Some((&date[..], &time[..]))),
    };
    if let Some(after) = counted {
        match next(trash, after)? {
            None => tally.to = Upto::All,
            Some((date, time)) => {
                // What cannot be counted does not keep the rest from that.
                let held = open(trash, &date, &time);
                let bytes = held.and_then(|held| size_of(held.as_fd())).unwrap_or(0);
                tally.bytes = tally.bytes.saturating_add(bytes);
                tally.to = Upto::This(date, time);
            }
        }
        return Ok(true);
    }
    let mut stuck: Option<(Vec<u8>, Vec<u8>)> = None;
    while let Some(unit) = next(trash, stuck.as_ref().map(|(date, time)| (&date[..], &time[..])))? {
        let free = fsat::space(trash, is_root)?;
        let is_too_much = free.is_some_and(|free| tally.bytes > free / SHARE);
        if !is_too_much && unit >= *oldest {
            return Ok(false);
        }
        if let Ok(bytes) = remove(trash, &unit) {
            tally.bytes = tally.bytes.saturating_sub(bytes);
            return Ok(true);
        }
        // What cannot be removed does not keep the rest there.
        stuck = Some(unit);
    }
    if stuck.is_none() {
        tally.bytes = 0;
    }
    Ok(false)
}

/// Removes what was put there in one second: how much that gives back.
fn remove(trash: BorrowedFd<'_>, (date, time): &(Vec<u8>, Vec<u8>)) -> io::Result<u64> {
    let held = open(trash, date, time)?;
    let bytes = size_of(held.as_fd())?;
    sweep::empty(held.as_fd(), |_| false)?;
    let day = fsat::open_at(trash, date, fsat::PATH_ONLY, 0)?;
    fsat::rmdir_at(day.as_fd(), time).map(|()| bytes)
}

/// Which trash it is.
fn key(trash: &Stat) -> (u64, u64) {
    (trash.dev, trash.ino)
}

fn open(trash: BorrowedFd<'_>, date: &[u8], time: &[u8]) -> io::Result<OwnedFd> {
    fsat::open_beneath(trash, &[date, b"/", time].concat(), fsat::LISTING)
}

/// The second in which something was put there first, after this one. Days of which nothing is left go.
fn next(
    trash: BorrowedFd<'_>,
    after: Option<(&[u8], &[u8])>,
) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut dates = sweep::names(trash)?;
    dates.sort_unstable();
    for date in dates {
        if after.is_some_and(|after| &date[..] < after.0) {
            continue;
        }
        let day = match fsat::open_at(trash, &date, fsat::LISTING, 0) {
            Ok(day) => day,
            // It is not the daemon's.
            Err(_) => continue,
        };
        let times = sweep::names(day.as_fd())?;
        if times.is_empty() {
            let _ = fsat::rmdir_at(trash, &date);
        }
        let later = |time: &Vec<u8>| after.is_none_or(|after| (&date[..], &time[..]) > after);
        if let Some(time) = times.into_iter().filter(later).min() {
            return Ok(Some((date, time)));
        }
    }
    Ok(None)
}

/// How much all below a directory takes.
fn size_of(dir: BorrowedFd<'_>) -> io::Result<u64> {
    let mut all = 0u64;
    kept::each(dir, |_, dir, name| {
        all = all.saturating_add(size(&fsat::stat_at(dir, name)?));
        Ok(())
    })?;
    Ok(all)
}

/// How much it gives back when it goes. What has more names gives nothing.
fn size(stat: &Stat) -> u64 {
    if stat.nlink > 1 { 0 } else { stat.blocks.saturating_mul(512) }
}

/// The names of the directories for what is put into the trash at this time.
fn moment(secs: i64) -> (Vec<u8>, Vec<u8>) {
    let at = localtime::local(secs);
    let date = format!("{:04}-{:02}-{:02}", at.year, at.month, at.day);
    (date.into_bytes(), format!("{:02}.{:02}.{:02}", at.hour, at.minute, at.second).into_bytes())
}
