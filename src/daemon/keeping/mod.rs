//! What this daemon keeps of transfers, in memory and on disk.

mod keeper;
pub(super) mod recording;
mod row;
mod shelf;

pub(super) use keeper::{Keeper, Opened};
