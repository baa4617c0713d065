//! What a command has said already: a transfer that follows another one, for some of its targets, walks
//! the same tree and finds the same faults.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::console::reply::Said;

/// So many lines are remembered.
const MOST: usize = 100_000;

/// What a client's command has said.
#[derive(Default, Debug)]
pub(super) struct Repeats {
    keys: RandomState,
    /// The hashes of its lines.
    said: HashSet<u64>,
    /// How many errors were said a second time.
    errors: u64,
}

impl Repeats {
    /// Whether a line is to be shown: in a transfer that serves hosts `again`, what was not said yet.
    pub(super) fn is_new(&mut self, said: &Said, again: bool) -> bool {
        let hash = match said {
            Said::Line(_, line) => self.keys.hash_one(line),
            Said::Error(error) => self.keys.hash_one(error.line()),
            Said::Differs(found) => self.keys.hash_one(found.line()),
        };
        let repeated = again && self.said.contains(&hash);
        self.errors += u64::from(repeated && matches!(said, Said::Error(_)));
        if self.said.len() < MOST {
            self.said.insert(hash);
        }
        !repeated
    }

    /// How many errors were said again since this was last asked.
    pub(super) fn take_errors(&mut self) -> u64 {
        std::mem::take(&mut self.errors)
    }

    /// The command is done.
    pub(super) fn clear(&mut self) {
        (self.said, self.errors) = (HashSet::new(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::error::{Code, ErrorLine};

    #[test]
    fn what_was_said_is_said_once_and_counted_once() {
        let mut repeats = Repeats::default();
        let error = |why: &str| Said::Error(ErrorLine::new(Code::Other, why));
        for _ in 0..2 {
            assert!(repeats.is_new(&error("a"), false), "one transfer says what it likes");
        }
        assert!(!repeats.is_new(&error("a"), true) && repeats.is_new(&error("b"), true));
        assert!(!repeats.is_new(&error("b"), true));
        assert_eq!((repeats.take_errors(), repeats.take_errors()), (2, 0));
        repeats.clear();
        assert!(repeats.is_new(&error("a"), true));
    }
}
