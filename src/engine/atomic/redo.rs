//! What is to be done with a slot, by what it holds: the same after a crash as at first. What is at the path says
//! nothing: somebody may have written there since.
//!
//! Every operation has a slot of its own among what is kept of its transaction. What is put in place was staged there; what
//! it displaces, or what is deleted, comes to be there.

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// Nothing.
    Nothing,
    /// What this operation is about.
    Own,
    /// Anything else; and if it is a directory with something in it.
    Other {
        /// Whether it is.
        is_tree: bool,
    },
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The operation itself.
    Do,
    /// Nothing: it was done.
    Done,
    /// What came into the slot must not be there, and goes back.
    PutBack,
}

/// For what gets its name from the slot.
pub fn of_put(holds: Holds) -> Step {
    match holds {
        Holds::Own => Step::Do,
        Holds::Other { is_tree: true } => Step::PutBack,
        Holds::Nothing | Holds::Other { is_tree: false } => Step::Done,
    }
}

/// For what goes to the slot, and is a directory with something in it by now if `is_tree` says so.
pub fn of_delete(holds: Holds, is_tree: bool) -> Step {
    match holds {
        Holds::Nothing => Step::Do,
        Holds::Own if !is_tree => Step::Done,
        Holds::Own | Holds::Other { .. } => Step::PutBack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_not_done_again_and_no_tree_stays_in_a_slot() {
        let other = |is_tree| Holds::Other { is_tree };
        let puts = [Holds::Nothing, Holds::Own, other(false), other(true)].map(of_put);
        assert_eq!(puts, [Step::Done, Step::Do, Step::Done, Step::PutBack]);
        let deletes = [Holds::Nothing, Holds::Own, other(false), other(true)];
        let deletes = deletes.map(|holds| of_delete(holds, false));
        assert_eq!(deletes, [Step::Do, Step::Done, Step::PutBack, Step::PutBack]);
        assert_eq!(of_delete(Holds::Own, true), Step::PutBack);
    }
}
