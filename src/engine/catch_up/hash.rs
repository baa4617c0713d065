//! Short hashes of names, where the names themselves would take too much room.

use md5::{Digest, Md5};

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
}
