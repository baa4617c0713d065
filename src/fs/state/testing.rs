//! Helpers that the tests of this folder share.

use super::dir::{Keeps, StateDir};
use super::error::StateError;
use crate::fs::testing::{self, TempDir, path};
use crate::sys::fsat;
use crate::wire::manifest::{Entry, FileTime, Kind, Manifest};

pub fn dir(temp: &TempDir) -> StateDir {
    dir_that(Keeps::Journal, temp)
}

pub fn dir_that(keeps: Keeps, temp: &TempDir) -> StateDir {
    let base = TempDir::new("base");
    let us = fsat::process_ids().unwrap().uid;
    once_free(|| StateDir::elsewhere(keeps, temp.path(), &base.root(), us))
}

/// What is opened once nobody holds its lock.
pub fn once_free(open: impl Fn() -> Result<StateDir, StateError>) -> StateDir {
    testing::once_free(open, |error| matches!(error, StateError::InUse(_)))
}

/// The entry of a regular file.
pub fn file(name: &str, size: u64) -> Entry {
    let mtime = FileTime { secs: 1_700_000_000 + size as i64 * 31, nanos: size as u32 * 900 };
    let kind = Kind::File { size, data: None };
    Entry { path: path(name), kind, mode: 0o644, uid: 33, gid: 33, mtime }
}

pub fn manifest(entries: &[Entry]) -> Manifest {
    Manifest { entries: entries.to_vec(), ..Manifest::default() }
}

/// A manifest of so many files in a directory of its own.
pub fn batch(dir: u64, count: u64) -> Manifest {
    manifest(&(0..count).map(|at| file(&format!("d{dir}/f{at}"), at * 997)).collect::<Vec<_>>())
}
