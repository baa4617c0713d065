//! Versions of mirrored objects: what hosts compare of them.
//!
//! A byte for what it is (1 a file, 2 a directory, 3 a symbolic link, 4 a FIFO, 5 a character device, 6 a block device), mode,
//! uid, gid (varints); of a file its size (varint), mtime and digest (8), of a link the digest of its target (8), of a device
//! two varints.

use super::Error;
use super::bytes::{Put, Reader};
use super::file_time::FileTime;

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum What {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// When its content last changed.
        mtime: FileTime,
        /// The first bytes of the digest of its content, as manifests have it; [`UNREAD`] where that was not read yet. It
        /// tells apart what has the same size and time. It is no defence against somebody who makes collisions.
        digest: u64,
    },
    /// A directory. Neither its size nor its time count.
    Directory,
    /// A symbolic link, by a digest of what it points to.
    Symlink {
        /// The first bytes of the MD5 of its target.
        target: u64,
    },
    /// A FIFO.
    Fifo,
    /// A character device.
    Char(u32, u32),
    /// A block device.
    Block(u32, u32),
}

/// The digest of what was not read: of nothing that a host tells.
pub const UNREAD: u64 = 0;

/// What a version has of the digest of a content.
pub fn short(digest: &[u8; 16]) -> u64 {
    digest.first_chunk().map_or(UNREAD, |first| u64::from_be_bytes(*first)).max(UNREAD + 1)
}

/// Content and attributes of an object, as far as hosts compare them. What has the same looks the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    /// What it is.
    pub what: What,
    /// Its permission bits (the low twelve); 0 of a symbolic link.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Version {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.what == What::Directory
    }

    /// Whether all of it is known: it is no regular file of which the content was not read.
    pub fn is_read(&self) -> bool {
        !matches!(self.what, What::File { digest: UNREAD, .. })
    }

    /// With this digest, if it is a regular file.
    #[must_use]
    pub fn with_digest(mut self, of: u64) -> Version {
        if let What::File { digest, .. } = &mut self.what {
            *digest = of;
        }
        self
    }

    /// As lstat tells of it, which does not read its content.
    #[must_use]
    pub fn unread(self) -> Version {
        self.with_digest(UNREAD)
    }

    /// Size and digest of its content, if it is a regular file.
    pub fn content(&self) -> Option<(u64, u64)> {
        match self.what {
            What::File { size, digest, .. } => Some((size, digest)),
            _ => None,
        }
    }
}

/// Kind, mode, owner and group, as far as they were read; of a tombstone the kind 0 alone.
pub(crate) type Attributes = (u8, [u32; 3]);

/// Reads what [`put_attributes`] writes.
pub(crate) fn parse_attributes(reader: &mut Reader<'_>) -> Result<Attributes, Error> {
    Ok(match reader.u8()? {
        0 => (0, [0; 3]),
        kind => (kind, [reader.varint32()?, reader.varint32()?, reader.varint32()?]),
    })
}

/// Reads what [`put_content`] writes; None for a tombstone.
pub(crate) fn parse_content(
    reader: &mut Reader<'_>,
    (kind, [mode, uid, gid]): Attributes,
) -> Result<Option<Version>, Error> {
    let what = match kind {
        0 => return Ok(None),
        1 => What::File {
            size: reader.varint()?,
            mtime: FileTime::parse(reader)?,
            digest: reader.u64()?,
        },
        2 => What::Directory,
        3 => What::Symlink { target: reader.u64()? },
        4 => What::Fifo,
        5 => What::Char(reader.varint32()?, reader.varint32()?),
        6 => What::Block(reader.varint32()?, reader.varint32()?),
        _ => return Err(Error::Invalid),
    };
    let version = Version { what, mode, uid, gid };
    let is_sound = mode <= 0o7777
        && version.is_read()
        && !matches!(what, What::File { size, .. } if size > i64::MAX as u64);
    if is_sound { Ok(Some(version)) } else { Err(Error::Invalid) }
}

/// Writes what has no more than a few values: kind, mode, owner and group. None is a tombstone.
pub(crate) fn put_attributes(version: Option<&Version>, out: &mut Vec<u8>) {
    let Some(version) = version else { return out.push(0) };
    out.push(match version.what {
        What::File { .. } => 1,
        What::Directory => 2,
        What::Symlink { .. } => 3,
        What::Fifo => 4,
        What::Char(..) => 5,
        What::Block(..) => 6,
    });
    [version.mode, version.uid, version.gid].iter().for_each(|one| out.put_varint((*one).into()));
}

/// Writes what only its kind has.
pub(crate) fn put_content(version: Option<&Version>, out: &mut Vec<u8>) {
    match version.map(|version| version.what) {
        Some(What::File { size, mtime, digest }) => {
            out.put_varint(size);
            mtime.emit(out);
            out.put_u64(digest);
        }
        Some(What::Symlink { target }) => out.put_u64(target),
        Some(What::Char(major, minor) | What::Block(major, minor)) => {
            out.put_varint(major.into());
            out.put_varint(minor.into());
        }
        Some(What::Directory | What::Fifo) | None => {}
    }
}
