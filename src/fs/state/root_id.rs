//! The file by which the root of a mirrored tree is known again. It is kept on the mount that the root is on: where
//! another file system is mounted, or none, it is missing.

use std::io::Read;

use super::dir::StateDir;
use super::error::StateError;
use super::record::{self, Header, MAX_HEADER};
use crate::crypto::checksum;
use crate::name::{HostName, RelPath};
use crate::wire::bytes::Put;

/// The kind of its only record.
const ROOT: u8 = 1;

/// What is said of a root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootId {
    /// Whose index it is: the number that the index on disk has for good.
    pub index: u64,
    /// The inode of the root. (Its device has another number after the next start of the machine, perhaps.)
    pub ino: u64,
    /// The name of the host.
    pub host: HostName,
}

/// What there is in the place of a [`RootId`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootIs {
    /// The same.
    Same,
    /// That of another root or of another index, or it cannot be told: it is damaged.
    Another,
    /// That of the same root and index on a host of this name: the host was renamed, or its disk was copied.
    OfHost(HostName),
    /// Nothing.
    Absent,
}

/// The name of a file about a mirrored tree.
pub fn tree_name(tree: &RelPath, ending: &str) -> Vec<u8> {
    let sum = u128::from_be_bytes(checksum(&[], tree.as_bytes()));
    format!("{sum:032x}{ending}").into_bytes()
}

impl RootId {
    /// Writes it down in `dir` for a tree, in the place of any that is there, and waits until it is on the disk.
    ///
    /// # Errors
    /// It cannot be written. What was there is there still, or this is.
    pub fn write(&self, dir: &StateDir, tree: &RelPath) -> Result<(), StateError> {
        dir.put(&name(tree), &self.emit())
    }

    /// Compares it with what is in `dir` for a tree.
    ///
    /// # Errors
    /// That cannot be read.
    pub fn compare(&self, dir: &StateDir, tree: &RelPath) -> Result<RootIs, StateError> {
        let name = name(tree);
        let Some(file) = dir.open_file(&name, libc::O_RDONLY)? else { return Ok(RootIs::Absent) };
        let mut found = Vec::new();
        file.take(2 * MAX_HEADER as u64).read_to_end(&mut found).map_err(dir.fail(&name))?;
        let Ok((header, _)) = Header::parse(&found) else { return Ok(RootIs::Another) };
        // All but the name of the host has to be the same.
        let theirs = RootId { host: header.host, ..self.clone() };
        Ok(match theirs.emit() == found {
            false => RootIs::Another,
            true if theirs.host == self.host => RootIs::Same,
            true => RootIs::OfHost(theirs.host),
        })
    }

    fn emit(&self) -> Vec<u8> {
        let mut out = Header { birth: self.index, host: self.host.clone() }.emit();
        let mut root = Vec::new();
        root.put_u64(self.ino);
        let at = out.len() as u64;
        record::emit(self.index, at, ROOT, &root, &mut out);
        out
    }
}

fn name(tree: &RelPath) -> Vec<u8> {
    tree_name(tree, ".root")
}

#[cfg(test)]
mod tests {
    use super::super::dir::Keeps;
    use super::super::testing::dir_that;
    use super::*;
    use crate::fs::testing::{TempDir, path};

    fn host(name: &str) -> HostName {
        HostName::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn a_root_is_known_again_and_everything_else_is_not() {
        let temp = TempDir::new("root-id");
        let dir = dir_that(Keeps::Mirror, &temp);
        let (www, other) = (path("srv/www"), path("srv/ww"));
        let id = RootId { index: 7, ino: 4_711, host: host("h") };
        assert_eq!(id.compare(&dir, &www).unwrap(), RootIs::Absent);
        id.write(&dir, &www).unwrap();
        let is = |id: &RootId| id.compare(&dir, &www).unwrap();
        assert_eq!(is(&id), RootIs::Same);
        assert_eq!(id.compare(&dir, &other).unwrap(), RootIs::Absent);
        assert_eq!(is(&RootId { ino: 4_712, ..id.clone() }), RootIs::Another);
        assert_eq!(is(&RootId { index: 8, ..id.clone() }), RootIs::Another);
        let clone = RootId { host: host("clone"), ..id.clone() };
        assert_eq!(is(&clone), RootIs::OfHost(host("h")));
        assert_eq!(is(&RootId { ino: 1, ..clone.clone() }), RootIs::Another);
        clone.write(&dir, &www).unwrap();
        assert_eq!((is(&clone), is(&id)), (RootIs::Same, RootIs::OfHost(host("clone"))));
    }

    #[test]
    fn one_that_is_damaged_anywhere_is_another() {
        let temp = TempDir::new("root-damaged");
        let dir = dir_that(Keeps::Mirror, &temp);
        let (tree, id) = (path("www"), RootId { index: 7, ino: 4_711, host: host("h") });
        id.write(&dir, &tree).unwrap();
        let file = temp.join("mirror").join(String::from_utf8(name(&tree)).unwrap());
        let whole = std::fs::read(&file).unwrap();
        let mut bad: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
        bad.push([&whole[..], b"\0"].concat());
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            bad.push(flipped);
        }
        for bytes in bad {
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, &bytes).unwrap();
            assert_eq!(id.compare(&dir, &tree).unwrap(), RootIs::Another, "{bytes:?}");
        }
    }

    #[test]
    fn one_that_cannot_be_written_leaves_the_one_that_is_there() {
        let temp = TempDir::new("root-fails");
        let dir = dir_that(Keeps::Mirror, &temp);
        let (tree, id) = (path("www"), RootId { index: 7, ino: 4_711, host: host("h") });
        id.write(&dir, &tree).unwrap();
        // Something stands where the new file would be made.
        let new = [name(&tree).as_slice(), b".new"].concat();
        temp.mkdir(&format!("mirror/{}", String::from_utf8(new).unwrap()));
        let other = RootId { ino: 1, ..id.clone() };
        let error = other.write(&dir, &tree).unwrap_err();
        assert!(error.errno().is_some() && error.path().starts_with(dir.path()), "{error}");
        assert_eq!(id.compare(&dir, &tree).unwrap(), RootIs::Same);
    }
}
