//! The mounts that a mirrored tree is on, as far as they were met: what is on one of them is not deleted when it is not
//! mounted. Each is known again by a file on it (`root_id`).

use std::collections::BTreeSet;
use std::io::Read;

use super::dir::StateDir;
use super::error::StateError;
use super::record::{self, EXTRA, HEAD, Header};
use super::root_id::tree_name;
use crate::name::{HostName, RelPath};
use crate::wire::bytes::{Put, Reader};

/// The kind of the only record.
const LIST: u8 = 2;
/// The most mounts of a tree.
pub const MOST: usize = 1_024;
/// The longest file that is read.
const MOST_BYTES: u64 = 8 << 20;

/// The mounts of a tree.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MountList {
    /// Where they are; the top of the tree is among them once the index vouches for what is there.
    pub mounts: BTreeSet<RelPath>,
    /// What is at these and below them is not vouched for.
    pub listing: BTreeSet<RelPath>,
}

impl MountList {
    /// What is in `dir` of a tree whose index has this number. None if there is nothing, or nothing that can be used.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(dir: &StateDir, tree: &RelPath, index: u64) -> Result<Option<Self>, StateError> {
        let name = name(tree);
        let Some(file) = dir.open_file(&name, libc::O_RDONLY)? else { return Ok(None) };
        let mut found = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut found).map_err(dir.fail(&name))?;
        Ok(parse(&found, index))
    }

    /// Writes it down, and waits until it is on the disk.
    ///
    /// # Errors
    /// It cannot be written. What was there is there still, or this is.
    pub fn write(
        &self,
        dir: &StateDir,
        tree: &RelPath,
        index: u64,
        host: &HostName,
    ) -> Result<(), StateError> {
        dir.put(&name(tree), &self.emit(index, host))
    }

    fn emit(&self, index: u64, host: &HostName) -> Vec<u8> {
        let mut out = Header { birth: index, host: host.clone() }.emit();
        let mut list = Vec::new();
        for (paths, kind) in [(&self.mounts, 0), (&self.listing, 1)] {
            for path in paths {
                list.push(kind);
                list.put_counted(path.as_bytes());
            }
        }
        let at = out.len() as u64;
        record::emit(index, at, LIST, &list, &mut out);
        out
    }
}

fn parse(bytes: &[u8], index: u64) -> Option<MountList> {
    let (header, at) = Header::parse(bytes).ok()?;
    let payload = bytes.get(at + HEAD..bytes.len().checked_sub(EXTRA - HEAD)?)?;
    let mut list = MountList::default();
    let mut reader = Reader::new(payload);
    while !reader.rest().is_empty() {
        let paths = match reader.u8().ok()? {
            0 => &mut list.mounts,
            _ => &mut list.listing,
        };
        paths.insert(RelPath::parse_or_base(reader.counted(payload.len()).ok()?).ok()?);
    }
    (header.birth == index && list.emit(index, &header.host) == bytes).then_some(list)
}

fn name(tree: &RelPath) -> Vec<u8> {
    tree_name(tree, ".mounts")
}

#[cfg(test)]
mod tests {
    use super::super::dir::Keeps;
    use super::super::testing::dir_that;
    use super::*;
    use crate::fs::testing::{TempDir, path};

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let temp = TempDir::new("mount-list");
        let dir = dir_that(Keeps::Mirror, &temp);
        let (tree, host) = (path("www"), HostName::parse(b"h").unwrap());
        assert_eq!(MountList::read(&dir, &tree, 7).unwrap(), None);
        let list = MountList {
            mounts: [RelPath::base(), path("www"), path("www/a b")].into(),
            listing: [path("www/a b")].into(),
        };
        list.write(&dir, &tree, 7, &host).unwrap();
        assert_eq!(MountList::read(&dir, &tree, 7).unwrap(), Some(list.clone()));
        assert_eq!(MountList::read(&dir, &tree, 8).unwrap(), None, "of another index");
        assert_eq!(MountList::read(&dir, &path("ww"), 7).unwrap(), None);
        let bytes = list.emit(7, &host);
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut], 7), None);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&flipped, 7), None, "{bit}");
        }
        assert_eq!(parse(&MountList::default().emit(7, &host), 7), Some(MountList::default()));
    }
}
