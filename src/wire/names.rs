//! What a list of entries names, in short: the hashes of paths, and their sum.

use md5::{Digest, Md5};

use super::manifest::{Entry, Kind, Manifest};
use crate::name::RelPath;

/// The first 64 bits of an MD5 (RFC 1321). Among a million of them, two are equal in one of 37 million
/// cases; where that happens, a file counts as known that is not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Hash(pub u64);

impl Hash {
    /// That of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let [a, b, c, d, e, f, g, h, ..]: [u8; 16] = Md5::digest(bytes).into();
        Hash(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// That of a path.
    pub fn of_path(path: &RelPath) -> Self {
        Hash::of(path.as_bytes())
    }

    /// That of all that is below a path: no path ends with a slash.
    pub fn of_all_below(path: &[u8]) -> Self {
        Hash::of(&[path, b"/"].concat())
    }
}

/// What there is in a list of entries, in short: how many objects, and the sum of the hashes of their
/// paths. Lists with the same objects have the same, in any order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// How many.
    pub count: u64,
    /// The sum of their hashes, modulo 2^64.
    pub sum: u64,
}

impl Names {
    /// Adds a path.
    pub fn add(&mut self, path: Hash) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(path.0);
    }

    /// Adds what a manifest names. A directory is named once, and what is only kept is not.
    pub fn add_all(&mut self, manifest: &Manifest) {
        named(manifest).for_each(|entry| self.add(Hash::of_path(&entry.path)));
    }

    /// The hash of the only path there is.
    pub fn only(&self) -> Option<Hash> {
        (self.count == 1).then_some(Hash(self.sum))
    }

    /// Whether a path is among them, if that can be told.
    pub fn tell(&self, path: Hash) -> Option<bool> {
        match self.count {
            0 => Some(false),
            1 => Some(self.only() == Some(path)),
            _ => None,
        }
    }
}

/// The entries of a manifest that say what is to be at their paths: an object, or nothing.
pub fn named(manifest: &Manifest) -> impl Iterator<Item = &Entry> {
    manifest.entries.iter().filter(|entry| entry.is_object() || entry.kind == Kind::Gone)
}

/// The hashes of what a list has of a manifest: those of what it names, and [`Hash::of_all_below`] where it
/// says that nothing else is there.
pub fn hashes(manifest: &Manifest) -> impl Iterator<Item = Hash> {
    let below = |entry: &&Entry| matches!(entry.kind, Kind::Gone | Kind::Close { listed: true });
    let below = manifest.entries.iter().filter(below);
    named(manifest)
        .map(|entry| Hash::of_path(&entry.path))
        .chain(below.map(|entry| Hash::of_all_below(entry.path.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::manifest::tests::{entry, path};

    #[test]
    fn a_directory_is_one_object_and_what_is_kept_is_none() {
        let entries = vec![
            entry("d", Kind::Open),
            entry("d/f", Kind::File { size: 1, data: None }),
            entry("d/k", Kind::Keep),
            entry("d/long", Kind::Ahead { size: 9 }),
            entry("d", Kind::Close { listed: true }),
        ];
        let mut names = Names::default();
        names.add_all(&Manifest { entries, ..Manifest::default() });
        let mut other = Names::default();
        assert_eq!(other.only(), None);
        other.add(Hash::of_path(&path("d/f")));
        assert_eq!(other.only(), Some(Hash::of(b"d/f")));
        other.add(Hash::of_path(&path("d")));
        assert_eq!((names, names.only()), (other, None));
    }

    #[test]
    fn a_hash_is_the_start_of_an_md5() {
        assert_eq!(Hash::of(b"abc"), Hash(0x9001_5098_3cd2_4fb0));
    }
}
