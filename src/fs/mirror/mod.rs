//! What mirrors do to the disk, path by path. An index says what is to be done, and is told what was found;
//! nothing here knows of it.
//!
//! - [`ground`]: the mounts that a tree is on, and whether each is there.
//! - [`mod@look`]: what is at a path, as lstat tells. [`reading`]: with its content, as hosts compare it.
//! - [`slots`]: lasting names in `.makuosan/stage`, where a version waits for its name, and where afterwards
//!   that lies which had the name before.
//! - [`place`], [`set`], [`remove`]: a version gets its name, other attributes, or goes.
//! - `conflicts`: versions that do not have their name. [`trash`]: what was removed or replaced.
//!
//! Whoever else writes in the tree does not wait for any of this. So what was renamed is looked at afterwards;
//! what nobody expected is told, and its bytes are kept.

mod batches;
mod conflicts;
pub mod giving;
pub mod ground;
mod kept;
pub mod look;
pub mod ops;
pub mod place;
pub mod reading;
pub mod remove;
pub mod set;
pub mod slots;
pub(super) mod tally;
#[cfg(test)]
mod tests;
pub mod trash;
