//! A delta that comes in.

use crate::ids::BatchNo;
use crate::mirror::merge::Taking;
use crate::name::RelPath;
use crate::wire::versions::Member;

/// A delta that comes in.
#[derive(Debug)]
pub(super) struct Taken {
    /// None: nothing of it is taken, since what it starts from is not known here.
    pub taking: Option<Taking>,
    /// The set that came last, of the path that the objects after it are of.
    pub last: Option<(RelPath, Vec<Member>)>,
    /// The batch that is to be committed next.
    pub next: Option<BatchNo>,
    /// Something of it was not merged: what it leads to is not known here in the end.
    pub is_broken: bool,
}
