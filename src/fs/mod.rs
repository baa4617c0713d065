//! The base directory: what a sender walks and reads, and what a target plans, stages and commits.
//!
//! Every path is resolved from a descriptor of the base directory, and no symbolic link is followed
//! in any of its components ([`root`], openat2(2)).
//!
//! - Sending: [`walk`] finds entries ([`found`]), [`batch`] groups them, [`source`] reads their
//!   contents, [`listings`] tells which directories have changed since they were listed,
//!   [`before`] which mounts are missing; of a file that goes on changing, `moment` takes what it contained
//!   at one moment, if need be as a private copy ([`copies`]).
//! - Receiving: [`disk`] runs the jobs of the engine one at a time. `plan` compares (`planner`), `stage`
//!   writes below `.makuosan` (`staging`, `home`, `claim`), `commit` renames into place, `attributes` sets owner, mode and
//!   mtime; `rebase` moves all of it to another base directory.
//!   [`long_digests`] computes digests of long files beside that (`long_files`, `held_up`).
//! - Deletion: `surplus` collects what only the target has (`collect`), `spool` keeps that list in a file,
//!   `delete` counts, shows and removes what is on it.
//!
//! - Transactions: what [`atomic`] keeps of a transfer, to put it all into place at once.
//! - Mirrors: what [`mirror`] does at single paths, whatever else goes on in the tree.
//!
//! [`resolve`] judges the symbolic links in the paths of options.
//!
//! [`state`] keeps what must outlive the daemon: records, and lists of what was sent.
//!
//! `folding` knows about file systems that take several names for one.
//!
//! Both sides use `identity` (is it still the same file?), `digest`, `grain` (how exactly times are
//! kept), `names`, `paths` and `errors`. Files import each other in one direction only.
#![forbid(unsafe_code)]

mod allowance;
pub mod atomic;
mod attributes;
pub mod batch;
pub mod before;
mod claim;
mod collect;
mod commit;
pub mod contents;
pub mod copies;
mod delete;
mod digest;
pub mod disk;
mod errors;
mod exchange;
mod extents;
pub mod folding;
pub mod found;
mod grain;
pub mod guard;
mod held_up;
mod heritage;
mod home;
mod identity;
mod left_alone;
pub mod links;
pub mod listings;
pub mod long_digests;
mod long_files;
mod measured;
pub mod mirror;
mod moment;
mod moved;
mod name_set;
mod names;
mod opened;
mod owner_access;
pub mod path_list;
mod paths;
mod plan;
mod planner;
mod rebase;
mod recorded;
pub mod regroup;
mod replace;
pub mod replay;
pub mod resolve;
mod rights;
mod room;
pub mod root;
mod slots;
pub mod source;
mod spool;
mod stage;
mod staging;
pub mod state;
mod subject;
mod surplus;
mod sweep;
mod syncing;
pub mod walk;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
