//! What is to be done of an operation, by what is there now: the same after a crash as at first.
//!
//! Every operation has a *slot*, a name of its own among what is kept of the transaction. What is put in place was
//! staged there; what it displaces, or what is deleted, comes to be there. So the slot says whether it is done, and
//! the path does not: by the path, what somebody has put there since would be taken for what is to be replaced.

/// An operation of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// What is staged comes to the path, and what is there to the slot.
    Put,
    /// A directory comes to the path, if there is none.
    MakeDirectory,
    /// What is at the path comes to the slot.
    Delete,
    /// Mode, owner and times change of what was at the path when it was staged.
    Attributes,
}

/// What is in the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InSlot {
    /// Nothing.
    Nothing,
    /// The inode that was staged.
    Staged,
    /// Another one.
    Other,
}

/// What is at the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtPath {
    /// Nothing.
    Nothing,
    /// The inode that was there when it was staged.
    Seen,
    /// Another one, a directory.
    Directory,
    /// Another one, something else.
    Other,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Slot and path change places.
    Exchange,
    /// From the slot to the path, where nothing may be.
    Place,
    /// From the path to the slot, where nothing may be.
    Keep,
    /// The attributes are set.
    SetAttributes,
    /// Nothing: it is done, or there is nothing to do it to.
    Nothing,
}

/// What is to be done.
pub fn step(operation: Operation, slot: InSlot, path: AtPath) -> Step {
    let is_staged = slot == InSlot::Staged;
    match (operation, path) {
        (Operation::Put | Operation::MakeDirectory, AtPath::Nothing) if is_staged => Step::Place,
        (Operation::MakeDirectory, AtPath::Directory) if is_staged => Step::SetAttributes,
        (Operation::Put | Operation::MakeDirectory, _) if is_staged => Step::Exchange,
        (Operation::Delete, AtPath::Seen | AtPath::Directory | AtPath::Other)
            if slot == InSlot::Nothing =>
        {
            Step::Keep
        }
        (Operation::Attributes, AtPath::Seen) => Step::SetAttributes,
        _ => Step::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: [InSlot; 3] = [InSlot::Nothing, InSlot::Staged, InSlot::Other];
    const PATHS: [AtPath; 4] = [AtPath::Nothing, AtPath::Seen, AtPath::Directory, AtPath::Other];

    /// What is in the slot and at the path after a step.
    fn after(step: Step, slot: InSlot, path: AtPath) -> (InSlot, AtPath) {
        match step {
            Step::Exchange => (InSlot::Other, AtPath::Other),
            Step::Place => (InSlot::Nothing, AtPath::Other),
            Step::Keep => (InSlot::Other, AtPath::Nothing),
            Step::SetAttributes | Step::Nothing => (slot, path),
        }
    }

    #[test]
    fn what_was_done_is_not_done_again_whatever_is_at_the_path_since() {
        for operation in [Operation::Put, Operation::Delete] {
            for (slot, path) in SLOTS.iter().flat_map(|slot| PATHS.map(|path| (*slot, path))) {
                let first = step(operation, slot, path);
                let (slot, _) = after(first, slot, path);
                for since in PATHS.iter().filter(|_| first != Step::Nothing) {
                    assert_eq!(step(operation, slot, *since), Step::Nothing, "{operation:?}");
                }
            }
        }
    }

    #[test]
    fn a_directory_that_is_there_keeps_what_is_in_it() {
        let make = |path| step(Operation::MakeDirectory, InSlot::Staged, path);
        assert_eq!(make(AtPath::Nothing), Step::Place);
        assert_eq!(make(AtPath::Directory), Step::SetAttributes);
        assert_eq!(make(AtPath::Other), Step::Exchange);
    }

    #[test]
    fn attributes_are_set_of_what_was_seen_alone() {
        let set = |path| step(Operation::Attributes, InSlot::Nothing, path);
        assert_eq!(set(AtPath::Seen), Step::SetAttributes);
        for path in [AtPath::Nothing, AtPath::Directory, AtPath::Other] {
            assert_eq!(set(path), Step::Nothing);
        }
    }
}
