//! What the other hosts that mirror a tree are known to know in this run: whether this host may go on under the id of its
//! index, and which deletions all of them know of.

use std::collections::BTreeSet;

use crate::wire::versions::Knowledge;

/// What others have said in this run. `N` is what a host is called over its runs.
#[derive(Clone, Debug)]
pub struct Roster<N> {
    /// Those that have known exactly what this host knew, and nothing beyond that in part.
    sure: BTreeSet<N>,
    /// What was known here at some time, and those that have known all that was known here at some time after it.
    mark: Option<Knowledge>,
    since: BTreeSet<N>,
}

impl<N> Default for Roster<N> {
    fn default() -> Self {
        Roster { sure: BTreeSet::new(), mark: None, since: BTreeSet::new() }
    }
}

impl<N: Ord + Clone> Roster<N> {
    /// A host has said that it knows exactly what is known here; `in_part`: it has entries that go beyond it.
    pub fn equal(&mut self, who: &N, in_part: bool) {
        if !self.since.contains(who) {
            self.since.insert(who.clone());
        }
        if !in_part && !self.sure.contains(who) {
            self.sure.insert(who.clone());
        }
    }

    /// Whether all of these, one at the least, have said that they know no own dot that is not known here, so that the id
    /// may stay ([`super::index::Index::keep_id`]). One that has said so learns of none later: nobody has any.
    pub fn vouches<'a>(&self, all: impl IntoIterator<Item = &'a N>) -> bool
    where
        N: 'a,
    {
        let mut all = all.into_iter().peekable();
        all.peek().is_some() && all.all(|who| self.sure.contains(who))
    }

    /// What all of these know for sure, and perhaps more. From now on it is asked of what is known now.
    pub fn known_to<'a>(
        &mut self,
        all: impl IntoIterator<Item = &'a N>,
        known: &Knowledge,
    ) -> Knowledge
    where
        N: 'a,
    {
        let is_told = all.into_iter().all(|who| self.since.contains(who));
        if self.mark.is_some() && !is_told {
            return Knowledge::default();
        }
        self.since.clear();
        self.mark.replace(known.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::versions::IndexId;

    fn known(seq: u64) -> Knowledge {
        let mut known = Knowledge::default();
        known.learn(IndexId(1), seq);
        known
    }

    #[test]
    fn the_id_stays_if_all_have_said_that_they_know_no_more() {
        let mut roster = Roster::default();
        assert!(!roster.vouches(&[] as &[u8]), "nobody is there who could say so");
        roster.equal(&1, false);
        roster.equal(&2, true);
        assert!(roster.vouches(&[1]) && !roster.vouches(&[1, 2]) && !roster.vouches(&[1, 3]));
        roster.equal(&2, false);
        assert!(roster.vouches(&[1, 2]));
    }

    #[test]
    fn all_know_what_was_known_before_the_last_of_them_was_equal() {
        let mut roster = Roster::default();
        let (all, none) = ([1, 2], Knowledge::default());
        roster.equal(&1, false);
        roster.equal(&2, false);
        assert_eq!(roster.known_to(&all, &known(5)), none, "it was not asked before");
        roster.equal(&1, false);
        assert_eq!(roster.known_to(&all, &known(6)), none);
        roster.equal(&2, true);
        assert_eq!(roster.known_to(&all, &known(7)), known(5));
        assert_eq!(roster.known_to(&all, &known(8)), none);
        // One is forgotten.
        roster.equal(&2, false);
        assert_eq!(roster.known_to(&[2], &known(9)), known(7));
    }
}
