//! Symbolic links that change what is seen elsewhere: `current` that comes to point to another release.
//!
//! The sender sends such a link after all that it points to is in place everywhere ([`LateLinks`]). A
//! target does not put it into place where something of that has failed ([`Incomplete`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::paths::{above, split};
use crate::name::{RelPath, tree_order};

/// The most links that are sent later; the others are sent in their place.
const MOST_LATE: usize = 65_536;
/// The most paths that are remembered to have failed.
const MOST_FAILED: usize = 4_096;

/// Where a link leads, by its text alone: links on the way are not followed. None if that is the base
/// directory, above it, or an absolute path.
fn leads_to(link: &RelPath, text: &[u8]) -> Option<RelPath> {
    if text.starts_with(b"/") {
        return None;
    }
    let mut at: Vec<&[u8]> =
        split(link.as_bytes()).0.split(|&b| b == b'/').filter(|name| !name.is_empty()).collect();
    for name in text.split(|&b| b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(at.pop()?),
            name => at.push(name),
        }
    }
    RelPath::parse(&at.join(&b'/')).ok()
}

/// Links that wait until what they point to is in place.
#[derive(Default, Debug)]
pub struct LateLinks {
    /// Where each leads.
    waiting: BTreeMap<RelPath, RelPath>,
}

impl LateLinks {
    /// Whether a link that a walk has met waits. Those wait that lead to something at `about` or below it
    /// that comes after them, or to what waits itself.
    pub fn defer(&mut self, about: &RelPath, link: &RelPath, text: &[u8]) -> bool {
        let Some(to) = leads_to(link, text) else { return false };
        let comes_later = tree_order(to.as_bytes(), link.as_bytes()).is_gt() || self.awaits(&to);
        let waits = to.is_under(about)
            && !link.is_under(&to)
            && comes_later
            && self.waiting.len() < MOST_LATE;
        if waits {
            self.waiting.insert(link.clone(), to);
        }
        waits
    }

    /// Whether what is at a path is one of these, or behind one.
    fn awaits(&self, path: &RelPath) -> bool {
        let mut up = above(path.as_bytes()).filter_map(|dir| RelPath::parse(dir).ok());
        self.waiting.contains_key(path) || up.any(|dir| self.waiting.contains_key(&dir))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next ones, with where they lead: those that lead to none of the others, if there is one such.
    pub fn take(&mut self) -> Vec<(RelPath, RelPath)> {
        let free: Vec<RelPath> = self
            .waiting
            .iter()
            .filter(|(_, to)| !self.awaits(to))
            .map(|(link, _)| link.clone())
            .collect();
        match free.is_empty() {
            true => std::mem::take(&mut self.waiting).into_iter().collect(),
            false => free.iter().filter_map(|link| self.waiting.remove_entry(link)).collect(),
        }
    }
}

/// What of a transfer is not at this target as it was sent.
#[derive(Default, Debug)]
pub(super) struct Incomplete {
    paths: BTreeSet<Vec<u8>>,
    /// There were more than can be remembered: anything may be incomplete.
    more: bool,
}

impl Incomplete {
    /// Notes whether what was sent at a path has failed.
    pub(super) fn note(&mut self, path: &RelPath, failed: bool) {
        if !failed {
            self.paths.remove(path.as_bytes());
        } else if self.paths.len() < MOST_FAILED {
            self.paths.insert(path.as_bytes().to_vec());
        } else {
            self.more = true;
        }
    }

    /// Whether what a link leads to is incomplete.
    pub(super) fn is_behind(&self, link: &RelPath, text: &[u8]) -> bool {
        if self.paths.is_empty() && !self.more {
            return false;
        }
        let Some(to) = leads_to(link, text) else { return false };
        let to = to.as_bytes();
        let from = Bound::Included([to, b"/"].concat());
        let below = self.paths.range((from, Bound::Unbounded)).next();
        self.more
            || self.paths.contains(to)
            || above(to).any(|dir| self.paths.contains(dir))
            || below.is_some_and(|path| RelPath::is_below(path, to))
    }

    /// About how much memory it takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.paths.iter().map(|path| 64 + path.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::path;
    use super::*;

    #[test]
    fn a_link_leads_to_what_its_text_says() {
        for (link, text, to) in [
            ("current", "releases/42", Some("releases/42")),
            ("a/b/link", "../c/./d/", Some("a/c/d")),
            ("a/link", "../../x", None),
            ("a/link", "..", None),
            ("link", "/var/www/releases/42", None),
            ("link", ".makuosan/x", None),
        ] {
            let led = leads_to(&path(link), text.as_bytes());
            assert_eq!(led.map(|to| to.to_string()).as_deref(), to, "{link} -> {text}");
        }
    }

    #[test]
    fn links_wait_for_what_comes_after_them_and_for_each_other() {
        let mut late = LateLinks::default();
        let base = RelPath::base();
        assert!(late.defer(&base, &path("current"), b"releases/42"));
        // What comes before is there already, and what it is in itself cannot be waited for.
        assert!(!late.defer(&base, &path("old"), b"a/b"));
        assert!(!late.defer(&base, &path("releases/42/top"), b".."));
        assert!(!late.defer(&path("d"), &path("d/out"), b"../else/where"));
        // To another link that waits, and through it.
        assert!(late.defer(&base, &path("live"), b"current"));
        assert!(late.defer(&base, &path("main"), b"live/etc/main"));
        let taken = |late: &mut LateLinks| -> Vec<String> {
            late.take().iter().map(|(link, _)| link.to_string()).collect()
        };
        assert_eq!(taken(&mut late), ["current"]);
        assert_eq!(taken(&mut late), ["live"]);
        assert_eq!(taken(&mut late), ["main"]);
        assert!(late.is_empty());
        // A ring goes as it is.
        assert!(late.defer(&base, &path("a"), b"b"));
        assert!(late.defer(&base, &path("b"), b"a"));
        assert_eq!(taken(&mut late), ["a", "b"]);
    }

    #[test]
    fn what_has_failed_at_below_or_above_makes_it_incomplete_until_it_is_there() {
        let mut incomplete = Incomplete::default();
        let link = path("current");
        assert!(!incomplete.is_behind(&link, b"r/42"));
        for failed in ["r", "r/42", "r/42/x/y"] {
            incomplete.note(&path(failed), true);
            assert!(incomplete.is_behind(&link, b"r/42"), "{failed}");
            assert!(!incomplete.is_behind(&link, b"s/42"), "{failed}");
            incomplete.note(&path(failed), false);
            assert!(!incomplete.is_behind(&link, b"r/42"), "{failed}");
        }
        incomplete.note(&path("r/42-old"), true);
        incomplete.note(&path("r/421"), true);
        assert!(!incomplete.is_behind(&link, b"r/42"));
        (0..=MOST_FAILED).for_each(|n| incomplete.note(&path(format!("f/{n}")), true));
        assert!(incomplete.is_behind(&link, b"r/42") && incomplete.memory() > 0);
    }
}
