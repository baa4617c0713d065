//! What a transfer is about: its path, and the patterns of what it neither sends nor deletes. A long list
//! of patterns comes in parts, with the first batches.

use crate::errno;
use crate::ids::BatchNo;
use crate::name::RelPath;
use crate::pattern::Patterns;
use crate::wire::bytes::Reader;
use crate::wire::manifest::Setup;
use crate::wire::outcome::Reason;

/// The path and the patterns of one transfer, as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Subject {
    path: Option<RelPath>,
    /// The batch with the first part.
    first: BatchNo,
    /// How many patterns there are after each part.
    ends: Vec<usize>,
    patterns: Patterns,
    whole: bool,
}

impl Subject {
    /// The path; None before the first part has come.
    pub fn path(&self) -> Option<&RelPath> {
        self.path.as_ref()
    }

    /// The patterns.
    pub fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// The batch with the first part, once all parts have come.
    pub fn whole_since(&self) -> Option<BatchNo> {
        self.whole.then_some(self.first)
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.patterns.memory() + size_of_val(self.ends.as_slice())
    }

    /// Notes the part in `batch`.
    ///
    /// # Errors
    /// EINVAL if it is not valid, if it differs from what that batch brought before, or if it is not the
    /// next one.
    pub fn add(&mut self, batch: BatchNo, setup: &Setup) -> Result<(), Reason> {
        const INVALID: Reason = Reason::Os(errno::EINVAL);
        if self.path.is_none() {
            (self.path, self.first) = (Some(setup.path.clone()), batch);
        }
        if self.path.as_ref() != Some(&setup.path) {
            return Err(INVALID);
        }
        let mut reader = Reader::new(&setup.patterns);
        let mut part = Patterns::default();
        if !setup.patterns.is_empty() {
            part.extend(&mut reader).map_err(|_| INVALID)?;
        }
        reader.end().map_err(|_| INVALID)?;
        let at = batch.since(self.first).ok_or(INVALID)?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        match self.ends.get(at) {
            Some(end) => {
                let is_last = at + 1 == self.ends.len() && self.whole;
                let start = start.unwrap_or(0);
                let known = self.patterns.rules().skip(start).take(end.saturating_sub(start));
                let same = known.eq(part.rules());
                if same && is_last != setup.more { Ok(()) } else { Err(INVALID) }
            }
            // A part that brings nothing, and announces more, could come for ever.
            None if at == self.ends.len() && !self.whole && !(setup.more && part.is_empty()) => {
                let mut reader = Reader::new(&setup.patterns);
                if !part.is_empty() {
                    self.patterns.extend(&mut reader).map_err(|_| INVALID)?;
                }
                self.ends.push(self.patterns.rules().count());
                self.whole = !setup.more;
                Ok(())
            }
            None => Err(INVALID),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{path, setup};
    use super::*;

    fn part(rules: &[&str], more: bool) -> Setup {
        Setup { more, ..setup(&path("d"), rules) }
    }

    #[test]
    fn parts_come_in_order_and_as_often_as_they_like() {
        let mut subject = Subject::default();
        let [one, two, three] = [1, 2, 3].map(BatchNo::new);
        let (first, second) = (part(&["- a", "- b"], true), part(&["+ c"], false));
        assert_eq!(subject.add(one, &first), Ok(()));
        assert_eq!((subject.whole_since(), subject.path()), (None, Some(&path("d"))));
        assert_eq!(subject.add(one, &first), Ok(()));
        assert_eq!(subject.add(two, &second), Ok(()));
        assert_eq!(subject.whole_since(), Some(one));
        assert_eq!((subject.add(one, &first), subject.add(two, &second)), (Ok(()), Ok(())));
        let all: Vec<(bool, &[u8])> = subject.patterns().rules().collect();
        assert_eq!(all, [(false, &b"a"[..]), (false, b"b"), (true, b"c")]);
        for (batch, wrong) in [
            (one, part(&["- a", "- b"], false)),
            (one, part(&["- a"], true)),
            (two, part(&["- c"], false)),
            (two, part(&["+ c"], true)),
            (three, part(&[], false)),
            (two, Setup { path: path("e"), ..part(&["+ c"], false) }),
        ] {
            assert!(subject.add(batch, &wrong).is_err(), "{batch:?} {wrong:?}");
        }
    }

    #[test]
    fn a_part_that_skips_or_brings_nothing_is_refused() {
        let mut subject = Subject::default();
        assert!(subject.add(BatchNo::FIRST, &part(&[], true)).is_err());
        let mut subject = Subject::default();
        assert_eq!(subject.add(BatchNo::FIRST, &part(&["- a"], true)), Ok(()));
        assert!(subject.add(BatchNo::FIRST.after(2), &part(&["- b"], false)).is_err());
        assert_eq!(subject.whole_since(), None);
        assert!(subject.memory() > 0);
    }
}
