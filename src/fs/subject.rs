//! What a transfer is about: its path, and the patterns of what it neither sends nor deletes. A long list
//! of patterns comes in parts, with the first batches.

use crate::errno;
use crate::ids::BatchNo;
use crate::name::RelPath;
use crate::pattern::Patterns;
use crate::wire::bytes::Reader;
use crate::wire::manifest::Manifest;
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

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.patterns.memory() + size_of_val(self.ends.as_slice())
    }

    /// Notes the part that `batch` brings. No entry comes before all of them have.
    ///
    /// # Errors
    /// EINVAL if it is not valid, if it differs from what that batch brought before, or if it is not the
    /// next one.
    pub fn add(&mut self, batch: BatchNo, manifest: &Manifest) -> Result<(), Reason> {
        const INVALID: Reason = Reason::Os(errno::EINVAL);
        let Some(setup) = &manifest.setup else {
            return if self.path.is_none() || self.whole { Ok(()) } else { Err(INVALID) };
        };
        if setup.more && !manifest.entries.is_empty() {
            return Err(INVALID);
        }
        if self.path.is_none() {
            (self.path, self.first) = (Some(setup.path.clone()), batch);
        }
        let mut part = Patterns::default();
        if !setup.patterns.is_empty() {
            let mut reader = Reader::new(&setup.patterns);
            part.extend(&mut reader).and_then(|()| reader.end()).map_err(|_| INVALID)?;
        }
        let at = batch.since(self.first).ok_or(INVALID)?;
        let start =
            at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let valid = match self.ends.get(at) {
            Some(end) => {
                let known = self.patterns.rules().skip(start).take(end.saturating_sub(start));
                let is_last = at + 1 == self.ends.len() && self.whole;
                known.eq(part.rules()) && is_last != setup.more
            }
            // A part that brings nothing, and announces more, could come for ever.
            None => at == self.ends.len() && !self.whole && !(setup.more && part.is_empty()),
        };
        if !valid || self.path.as_ref() != Some(&setup.path) {
            return Err(INVALID);
        }
        if at == self.ends.len() {
            self.patterns.append(&part).map_err(|_| INVALID)?;
            self.ends.push(self.patterns.rules().count());
            self.whole = !setup.more;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{path, setup};
    use super::*;
    use crate::wire::manifest::Setup;

    fn part(rules: &[&str], more: bool) -> Manifest {
        of(Setup { more, ..setup(&path("d"), rules) })
    }

    fn of(setup: Setup) -> Manifest {
        Manifest { setup: Some(setup), ..Manifest::default() }
    }

    #[test]
    fn parts_come_in_order_and_as_often_as_they_like() {
        let mut subject = Subject::default();
        let [one, two, three] = [1, 2, 3].map(BatchNo::new);
        let (first, second) = (part(&["- a", "- b"], true), part(&["+ c"], false));
        assert_eq!(subject.add(one, &first), Ok(()));
        assert_eq!((subject.whole, subject.path()), (false, Some(&path("d"))));
        assert_eq!(subject.add(one, &first), Ok(()));
        assert_eq!(subject.add(two, &second), Ok(()));
        assert!(subject.whole);
        assert_eq!((subject.add(one, &first), subject.add(two, &second)), (Ok(()), Ok(())));
        assert_eq!(subject.add(three, &Manifest::default()), Ok(()));
        let all: Vec<(bool, &[u8])> = subject.patterns().rules().collect();
        assert_eq!(all, [(false, &b"a"[..]), (false, b"b"), (true, b"c")]);
        for (batch, wrong) in [
            (one, part(&["- a", "- b"], false)),
            (one, part(&["- a"], true)),
            (two, part(&["- c"], false)),
            (two, part(&["+ c"], true)),
            (three, part(&[], false)),
            (two, of(setup(&path("e"), &["+ c"]))),
        ] {
            assert!(subject.add(batch, &wrong).is_err(), "{batch:?} {wrong:?}");
        }
    }

    #[test]
    fn a_part_that_is_missing_or_brings_nothing_is_refused() {
        let [one, two, three] = [1, 2, 3].map(BatchNo::new);
        assert!(Subject::default().add(one, &part(&[], true)).is_err());
        let mut subject = Subject::default();
        assert_eq!(subject.add(one, &part(&["- a"], true)), Ok(()));
        assert!(subject.add(three, &part(&["- b"], false)).is_err());
        assert!(subject.add(two, &Manifest::default()).is_err(), "the rest of the patterns");
        assert!(!subject.whole && subject.memory() > 0);
        // Without any part, a transfer sends what it likes, but deletes nothing.
        assert_eq!(Subject::default().add(two, &Manifest::default()), Ok(()));
    }
}
