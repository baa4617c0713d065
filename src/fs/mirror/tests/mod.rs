//! What mirrors do to the disk, tried on real directories: those of the system, and in memory.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::look::Here;
use super::ops::Ops;
use super::slots::{self, Slot};
use crate::fs::disk::Disk;
use crate::fs::rights::PRIVATE;
use crate::fs::staging::create;
use crate::fs::testing::*;
use crate::name::RelPath;
use crate::wire::versions::{Dot, IndexId};

mod kept;
mod mounts;
mod placing;
mod removing;

const NOW: i64 = 1_000_000_000;
const WEEK: i64 = 7 * 24 * 60 * 60;

/// A directory on each kind of file system that there is here.
fn places(name: &str) -> Vec<TempDir> {
    let memory = Path::new("/dev/shm");
    let mut all = vec![TempDir::new(name)];
    if memory.is_dir() && !memory.metadata().unwrap().permissions().readonly() {
        all.push(TempDir::under(memory, name));
    }
    all
}

fn ops(disk: &mut Disk) -> Ops<'_> {
    disk.mirror(NOW).unwrap()
}

/// What is found at a path, which must be something.
fn here(ops: &mut Ops<'_>, name: &str) -> Here {
    ops.look(&path(name)).unwrap().unwrap()
}

/// A slot with a file in it, for the file `name`.
fn slot_with(ops: &mut Ops<'_>, name: &str, content: &str) -> Slot {
    slot_of(ops, name, |dir, number| {
        std::io::Write::write_all(&mut create(dir, number, PRIVATE)?, content.as_bytes())
    })
}

fn slot_of(
    ops: &mut Ops<'_>,
    name: &str,
    make: impl Fn(std::os::fd::BorrowedFd<'_>, &[u8]) -> std::io::Result<()>,
) -> Slot {
    let above = RelPath::parse(name.as_bytes()).unwrap().split_last().unwrap().0;
    let place = ops.staging.place_for(ops.dirs, above.as_bytes(), ops.rights).unwrap();
    let (staged, ()) = ops.staging.make(place, ops.rights, make).unwrap();
    slots::give(ops.staging, staged, ops.rights.uid()).unwrap()
}

fn dot(seq: u64) -> Dot {
    Dot { by: IndexId(0xabc), seq }
}

/// All files below a directory, by their path below it, with their content.
fn files(dir: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for one in std::fs::read_dir(&at).into_iter().flatten() {
            let (one, kind) = one.map(|one| (one.path(), one.file_type().unwrap())).unwrap();
            if kind.is_dir() {
                todo.push(one);
                continue;
            }
            let name = one.strip_prefix(dir).unwrap().as_os_str().as_bytes().to_vec();
            let content = if kind.is_file() { std::fs::read(&one).unwrap() } else { Vec::new() };
            let text = |bytes| String::from_utf8(bytes).unwrap();
            all.push((text(name), text(content)));
        }
    }
    all.sort();
    all
}

/// What is in the trash of a directory, by its path in the tree, in the order in which it was put there.
fn trashed(dir: &Path) -> Vec<(String, String)> {
    let all = files(&dir.join(".makuosan/trash"));
    all.into_iter()
        .map(|(name, content)| (name.splitn(3, '/').nth(2).unwrap().to_owned(), content))
        .collect()
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}
