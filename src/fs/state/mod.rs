//! What lasts on disk beside the files themselves: records, and lists of what was sent.
//!
//! - [`dir`]: the directories that they are in, below `.makuosan` or one of the operator's.
//! - [`record_file`]: an append-only file of records, each with a checksum; `record` has its bytes.
//! - [`list_writer`] writes the manifests of a transfer, to a file of its own or as bytes for a record, and
//!   [`list`] reads them and says what is named there; `list_index` is how it knows.
//! - [`mount_list`]: the mounts that a mirrored tree is on.
//! - [`root_id`]: the file by which the root of a mirrored tree is known again.
//!
//! What a power cut, a bad disk or a copied disk made of them is found out when they are read, and no more
//! than what is damaged and what follows is given up.

pub mod dir;
pub mod error;
pub mod list;
mod list_index;
pub mod list_writer;
pub mod mount_list;
mod record;
pub mod record_file;
pub mod root_id;
#[cfg(test)]
pub(crate) mod testing;
