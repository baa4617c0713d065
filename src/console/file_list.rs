//! The list of paths that a session is told.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::command::MOST_PATHS;
use super::error::{Code, ErrorLine};
use crate::name::RelPath;
use crate::pattern::PatternBudget;

/// The most bytes that they may have together.
const MOST_BYTES: usize = 16 << 20;

/// The list.
#[derive(Debug, Default)]
pub(super) struct FileList {
    budget: PatternBudget,
    charged: usize,
    /// The paths, in the order in which they came.
    pub(super) paths: Arc<Vec<RelPath>>,
    bytes: usize,
    /// A line that was to add something was refused: the list is not what it was to be.
    pub(super) refused: bool,
}

impl FileList {
    /// An empty list that shares `budget` with others.
    pub(super) fn new(budget: PatternBudget) -> Self {
        let mut list = FileList::default();
        list.budget = budget;
        list
    }

    /// Adds paths.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn add(&mut self, paths: Vec<RelPath>) -> Result<(), ErrorLine> {
        let refused = |why: String| Err(ErrorLine::new(Code::Usage, why));
        let bytes: usize = paths.iter().map(|path| path.as_bytes().len()).sum();
        let weight = bytes + paths.len() * 2 * size_of::<RelPath>();
        if self.paths.len() + paths.len() > MOST_PATHS || self.bytes + bytes > MOST_BYTES {
            return refused(format!(
                "a list has at most {MOST_PATHS} paths, with {} MiB together",
                MOST_BYTES >> 20
            ));
        }
        if !self.budget.charge(self.charged, self.charged + weight) {
            return refused("the lists of all clients take too much memory together".to_owned());
        }
        self.charged += weight;
        self.bytes += bytes;
        Arc::make_mut(&mut self.paths).extend(paths);
        Ok(())
    }

    /// Forgets all of it.
    pub(super) fn clear(&mut self) {
        *self = FileList::new(self.budget.clone());
    }
}

impl Drop for FileList {
    fn drop(&mut self) {
        self.budget.charge(self.charged, 0);
    }
}
