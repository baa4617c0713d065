//! Room on the file systems below the base directory: whether a file can fit at all, and which file systems
//! have refused so much, one after the other, that the rest is not tried.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use super::errors::{is_of_file_system, is_want_of_room};
use super::paths::split;
use super::root::Dirs;
use crate::sys::fsat;
use crate::wire::outcome::{Need, Reason};

/// After this many refusals in a row by one file system, its other entries are not tried.
const MOST: u32 = 16;

/// What the file systems have refused in one transfer.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// By device.
    refusals: BTreeMap<u64, Refusals>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    /// How many there were in a row.
    count: u32,
    /// The file system is read-only: attributes cannot be changed either.
    is_readonly: bool,
}

impl Room {
    /// Whether something in the directory `dir` would fail like all before it: to write it, or only to
    /// change its attributes.
    pub fn is_out(&self, dirs: &mut Dirs, dir: &[u8], need: Need) -> bool {
        let is_out = |of: &Refusals| of.count >= MOST && (of.is_readonly || need == Need::All);
        // Nearly always there are none, and nothing is looked at.
        self.refusals.values().any(is_out)
            && device(dirs, dir).and_then(|dev| self.refusals.get(&dev)).is_some_and(is_out)
    }

    /// Something in the directory `dir` went well, or failed.
    pub fn note<T>(&mut self, dirs: &mut Dirs, dir: &[u8], done: &Result<T, Reason>) {
        match done {
            Ok(_) if !self.refusals.is_empty() => {
                if let Some(dev) = device(dirs, dir) {
                    self.refusals.remove(&dev);
                }
            }
            Err(reason) if is_of_file_system(*reason) => {
                if let Some(dev) = device(dirs, dir) {
                    let of = self.refusals.entry(dev).or_default();
                    of.count = of.count.saturating_add(1);
                    of.is_readonly = !is_want_of_room(*reason);
                }
            }
            _ => {}
        }
    }
}

/// The device that is, or will be, the one of the directory `dir`.
fn device(dirs: &mut Dirs, dir: &[u8]) -> Option<u64> {
    let fd = nearest(dirs, dir)?;
    fsat::stat_fd(fd.as_fd()).ok().map(|stat| stat.dev)
}

/// How many bytes fit into the file system of the directory `dir`, if that can be told.
pub(super) fn free(dirs: &mut Dirs, dir: &[u8], is_root: bool) -> Option<u64> {
    let fd = nearest(dirs, dir)?;
    fsat::space(fd.as_fd(), is_root).ok()?
}

fn nearest(dirs: &mut Dirs, mut dir: &[u8]) -> Option<std::sync::Arc<std::os::fd::OwnedFd>> {
    loop {
        match dirs.dir(dir) {
            Ok(fd) => return Some(fd),
            Err(_) if dir.is_empty() => return None,
            Err(_) => dir = split(dir).0,
        }
    }
}
