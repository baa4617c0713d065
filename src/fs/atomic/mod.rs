//! Transfers of which all is put into place at once, or nothing: what was staged is kept in slots, and what is to be
//! done with it in a list, until the whole fleet has it. Nothing of it can be seen before.
//!
//! - `list`: the operations of a transaction, in a file, in the order in which they are done.
//! - `keep`: what a commit does instead of putting things into place; `foresee`: why that would fail later.
//! - `removal`: the same for what is deleted.
//! - `apply`: the operations, as [`redo`](crate::engine::atomic::redo) says what is to be done with a slot.
//! - [`transactions`]: from the first batch to the empty slots.
//!
//! Whether an operation was done is told by its slot, never by its path: what is there may be somebody's by then.

mod apply;
mod foresee;
mod keep;
pub(super) mod keeping;
pub(super) mod list;
mod removal;
#[cfg(test)]
mod tests;
pub mod transactions;
