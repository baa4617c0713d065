//! The mirrored trees of a base directory: their indexes, joined to what is on disk.
//!
//! - `all`: the trees. `types`: what is said of them.
//! - `tree`: one tree with its index and what lasts of it; everything is written down in the order that a crash needs.
//! - `looking`: what was changed here gets its dots; `unread`: after it was read.
//! - `giving`: what others get, as entries of a transfer.
//! - `taking`: what others give is merged, and the disk made what the index says; `settling` does that, with `hands`.
//! - `recovering`: what became of what was under way when the daemon ended.
//! - `asked`: what people decide: adoption, conflicts, what is held.
//!
//! One thread of the daemon looks and the disk thread takes; each holds the tree's lock from looking at the disk until
//! the index says what was done, so that a local change is never taken for a placed file, nor the other way round.

mod all;
mod asked;
mod giving;
mod hands;
mod looking;
mod recovering;
mod settling;
mod taken;
mod taking;
mod tree;
mod types;
mod unread;

pub use all::Mirrors;
pub use asked::{Asked, Conflict, MOST_TOLD, Told, Wait, Waiting};
pub use looking::{Look, Looking, Seen};
pub use tree::Tree;
pub use types::{Chunk, Delta, MirrorError, State, TreeNo};
