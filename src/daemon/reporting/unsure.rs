//! Files that are offered a second time, with their digests, because hosts that keep times less exactly
//! could not tell whether they have them.

use std::collections::HashMap;

use crate::ids::TargetNo;
use crate::name::RelPath;

/// Who could not tell, by file, so that nothing is counted or said twice.
#[derive(Default, Debug)]
pub(super) struct Unsure(HashMap<RelPath, Asked>);

#[derive(Default, Debug)]
struct Asked {
    by: Vec<TargetNo>,
    /// Another host got the file in the first round.
    updated: bool,
}

impl Unsure {
    /// `target` cannot tell.
    pub(super) fn add(&mut self, path: &RelPath, target: TargetNo) {
        self.0.entry(path.clone()).or_default().by.push(target);
    }

    /// Whether `target` has told of a file that comes again.
    pub(super) fn has_told(&self, path: &RelPath, target: TargetNo) -> bool {
        !self.0.is_empty() && self.0.get(path).is_some_and(|asked| !asked.by.contains(&target))
    }

    /// The first round of a file is over; whether some host got it then.
    pub(super) fn first_round(&mut self, path: &RelPath, updated: bool) {
        if let Some(asked) = self.0.get_mut(path) {
            asked.updated = updated;
        }
    }

    /// The second round of a file is over: whether a host got it in the first; None if this was the only
    /// round.
    pub(super) fn second_round(&mut self, path: &RelPath) -> Option<bool> {
        if self.0.is_empty() { None } else { self.0.remove(path).map(|asked| asked.updated) }
    }
}
