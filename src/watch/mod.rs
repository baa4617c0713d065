//! What changes in trees, told as it does: one thread that waits for events of the kernel (inotify(7)), and says
//! what is to be sent.
//!
//! An event says that a name in a directory is to be looked at, and nothing else; what is there is found out when
//! the name has settled. What events cannot tell is found by searches.
//!
//! - [`types`]: what the daemon and the watcher tell each other.
//! - Pure, told the time: `dirty` (names that have changed, and when each is sent), `deletions` (what is held),
//!   `rescans` (when a tree is sent as a whole), `table` over `index` (the watched directories).
//! - `ground`: a tree on the disk, with its watches. `news` is what the kernel tells of it, `mounts`
//!   what is mounted, `moment` the time. `scan` watches and searches its directories, `flush` looks at
//!   names and puts together what is sent, `tree` joins all that is about one tree, `said` has its lines of the log, [`watcher`] is the thread.
#![forbid(unsafe_code)]

mod deletions;
mod dirty;
mod flush;
mod ground;
mod index;
mod moment;
pub mod mounts;
mod news;
mod rescans;
mod said;
mod scan;
mod table;
mod tree;
pub mod types;
pub mod watcher;

#[cfg(test)]
mod tests;
