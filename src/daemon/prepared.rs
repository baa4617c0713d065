//! Where transfers that are for all of their targets or none are kept, which is made when the first one comes.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::fs::root::Root;
use crate::fs::state::dir::{Keeps, StateDir};
use crate::keeping::transactions::Transactions;
use crate::log;
use crate::name::HostName;
use crate::stamp::Stamp;
use crate::time::Time;

/// Where it is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Nothing is kept.
    Nowhere,
    /// Below the base directory.
    Base,
    /// In the directory of `--state`.
    Dir(PathBuf),
}

/// The directory, once there is one.
#[derive(Debug)]
pub(crate) struct PreparedDir {
    place: Place,
    name: HostName,
    /// The user of the daemon.
    uid: u32,
    fsync: bool,
    /// When the daemon was started, in milliseconds since 1970: what was before that, a new directory does not know.
    started: u64,
    opened: Mutex<Option<StateDir>>,
}

impl PreparedDir {
    pub(crate) fn new(place: Place, name: HostName, uid: u32, fsync: bool, started: u64) -> Self {
        PreparedDir { place, name, uid, fsync, started, opened: Mutex::default() }
    }

    /// Whether an earlier daemon has made it.
    pub(crate) fn is_there(&self, root: &Root) -> bool {
        let path = match &self.place {
            Place::Nowhere => return false,
            Place::Base => root.path().join(std::ffi::OsStr::from_bytes(b".makuosan")),
            Place::Dir(dir) => dir.clone(),
        };
        path.join("prepared").is_dir()
    }

    /// The directory, made if it is missing. None if that is not possible.
    pub(crate) fn open(&self, root: &Root) -> Option<StateDir> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.is_none() {
            let dir = match &self.place {
                Place::Nowhere => return None,
                Place::Base => StateDir::in_base(Keeps::Prepared, root, self.uid),
                Place::Dir(dir) => StateDir::elsewhere(Keeps::Prepared, dir, root, self.uid),
            };
            *opened =
                dir.map_err(|why| log::error(format_args!("no --atomic transfers: {why}"))).ok();
        }
        opened.clone()
    }

    /// What is kept in it.
    pub(crate) fn take_up(&self, dir: StateDir, now: Time) -> Option<Transactions> {
        let (name, birth) = (self.name.clone(), Stamp::at(self.started));
        let opened = Transactions::open(dir, name, birth, self.fsync, now);
        opened.map_err(|why| log::error(format_args!("no --atomic transfers: {why}"))).ok()
    }
}
