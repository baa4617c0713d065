//! What is needed to do anything of this. What can be done is in the other files.

use std::io;

use super::tally::Tallies;
use crate::fs::disk::Disk;
use crate::fs::rights::Rights;
use crate::fs::root::Dirs;
use crate::fs::staging::Staging;

/// What can be done to the disk of a host, while nothing else is done to it by this daemon.
#[derive(Debug)]
pub struct Ops<'a> {
    pub(super) staging: &'a mut Staging,
    pub(super) dirs: &'a mut Dirs,
    pub(super) rights: &'a Rights,
    pub(super) tallies: &'a mut Tallies,
    /// The wall clock, in seconds since 1970.
    pub(super) now: i64,
}

impl Disk {
    /// What can be done to this disk for mirrors. It is `now` by the wall clock, in seconds since 1970.
    ///
    /// # Errors
    /// EROFS if it is never changed; `.makuosan` was removed and cannot be made again.
    pub fn mirror(&mut self, now: i64) -> io::Result<Ops<'_>> {
        let Disk { dirs, rights, tallies, staging, .. } = self;
        let staging = staging.as_mut().ok_or_else(|| io::Error::from_raw_os_error(libc::EROFS))?;
        staging.ensure_home(rights)?;
        dirs.forget();
        Ok(Ops { staging, dirs, rights, tallies, now })
    }
}

impl Ops<'_> {
    /// Syncs the file systems of all places where mirrors have put something.
    ///
    /// # Errors
    /// Those of syncfs(2).
    pub fn sync_all(&self) -> io::Result<()> {
        self.staging.sync_all()
    }
}
