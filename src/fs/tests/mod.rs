//! The whole way: walk, batch, source, disk, between two base directories in one process.

mod attacks;
mod changed_trees;
mod changes;
mod compare;
mod deletion;
mod failures;
mod kinds;
mod listed;
mod mirrored;
mod mounts;
mod nobody;
mod random;
mod round_trip;
mod transfers;
mod walks;

/// What the threads of the daemon hand to each other or share.
#[test]
fn what_threads_share_can_be_shared() {
    fn send<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    send::<super::walk::Walker>();
    send::<super::source::Source>();
    send::<super::disk::Disk>();
    shared::<super::root::Root>();
    shared::<super::batch::SourceBatch>();
    shared::<super::disk::StagedFile>();
}
