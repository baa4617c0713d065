//! Transactions, on real directories.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::transactions::{Applied, Prepared};
use crate::fs::disk::{Disk, DiskConfig};
use crate::fs::state::dir::{Keeps, StateDir};
use crate::fs::testing::*;
use crate::name::RelPath;
use crate::wire::mode::Mode;

mod deploying;
mod foreseeing;
mod mounts;
mod redoing;
mod speed;

const NO: u64 = 0xab_cdef;

fn lists(temp: &TempDir) -> StateDir {
    let us = std::fs::metadata(temp.path()).unwrap().uid();
    once_free(|| StateDir::in_base(Keeps::Prepared, &temp.root(), us), |_| true)
}

/// The disk of a directory, as it is when a daemon starts that knows these transactions.
fn start(temp: &TempDir, known: &[Prepared]) -> Disk {
    start_with(temp, known, DiskConfig::default())
}

fn start_with(temp: &TempDir, known: &[Prepared], config: DiskConfig) -> Disk {
    let spared = known.iter().map(|one| one.no).collect();
    let open = || Disk::sparing(temp.root(), config, std::collections::BTreeSet::clone(&spared));
    let mut disk = once_free(open, |e| e.kind() == std::io::ErrorKind::WouldBlock);
    let known: Vec<_> = known.iter().map(|one| (one.no, one.list)).collect();
    assert_eq!(disk.keep_transactions(lists(temp), &known).unwrap(), []);
    disk
}

/// What a transfer of everything keeps, and the transfer.
fn keep(from: &TempDir, disk: &mut Disk, mode: Mode) -> Spooling {
    let mut transfer = Transfer::new(77, mode);
    disk.begin_atomic(transfer.key, NO).unwrap();
    let root = from.root();
    let batches = spooling_batches(&root, &RelPath::base(), mode, &[]);
    let lines = batches.iter().flat_map(|batch| transfer.batch(disk, &root, batch)).collect();
    Spooling { transfer, lines }
}

/// The same to the end, where it is ready and no transfer any more.
fn ready(from: &TempDir, disk: &mut Disk, mode: Mode) -> Prepared {
    let kept = keep(from, disk, mode);
    if mode.spools() {
        kept.tally(disk);
        assert_eq!(kept.delete(disk).1, 0);
    }
    let prepared = disk.prepare(kept.transfer.key).unwrap();
    kept.transfer.close(disk, false);
    prepared
}

fn apply(disk: &mut Disk) -> Applied {
    disk.apply_transaction(NO).unwrap()
}

fn clear(disk: &mut Disk, temp: &TempDir) {
    disk.drop_transaction(NO);
    assert_eq!(staged(temp.path()), 0);
    assert_eq!(std::fs::read_dir(temp.join(".makuosan/prepared")).unwrap().count(), 0);
}

const DELETES: Mode = Mode::Send { delete: true, ignore_times: false, dry_run: false };

/// Everything below a directory but what is the daemon's, as exactly as it can be told.
fn exact(base: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![base.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for one in std::fs::read_dir(&dir).unwrap() {
            let at = one.unwrap().path();
            if at.ends_with(".makuosan") {
                continue;
            }
            let meta = std::fs::symlink_metadata(&at).unwrap();
            if meta.is_dir() {
                todo.push(at.clone());
            }
            let name = at.strip_prefix(base).unwrap().as_os_str().as_bytes().to_vec();
            let (times, ids) = (
                (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()),
                (meta.ino(), meta.uid(), meta.gid()),
            );
            all.insert(
                name,
                format!("{:o} {ids:?} {times:?} {} {}", meta.mode(), meta.size(), meta.nlink()),
            );
        }
    }
    all
}

/// A tree with everything that a transfer can have to do to another one, and that one.
fn trees() -> (TempDir, TempDir) {
    let (from, to) = (TempDir::new("new"), TempDir::new("old"));
    for temp in [&from, &to] {
        temp.write("same/f", "same");
        temp.write("changed/f", "1");
        temp.write("mode/f", "mode");
        temp.mkdir("mode/d");
        for at in ["same/f", "same", "mode/f", "mode/d", "mode"] {
            set_mtime(&temp.join(at), 1_000, 5);
        }
    }
    from.write("changed/f", "other");
    chmod(&from.join("mode/f"), 0o604);
    chmod(&from.join("mode/d"), 0o705);
    std::os::unix::fs::symlink("changed/f", from.join("current")).unwrap();
    std::os::unix::fs::symlink("same/f", to.join("current")).unwrap();
    from.write("tree/of/new", "new");
    from.write("tree/of/files", vec![7; 3 << 20]);
    from.mkdir("tree/empty");
    chmod(&from.join("tree/empty"), 0o555);
    // Of other types.
    from.write("was-file/f", "1");
    to.write("was-file", "0");
    from.write("was-empty", "1");
    to.mkdir("was-empty");
    std::os::unix::fs::symlink("same", to.join("was-link")).unwrap();
    from.write("was-link/f", "1");
    set_mtime(&from.join("tree/of"), 77, 7);
    (from, to)
}
