//! The names that have changed and are not sent yet, and when each of them is: the rules of settling.
//!
//! An event says that a name is to be looked at, and nothing else. It is looked at when nothing has happened to it
//! for a while: for the delay, or for a second if it is being written; ten seconds after the first event at the
//! latest. What is not there then waits for another second, as many programs remove a file and make it anew.
//!
//! What is ready waits a little for what has changed together with it, so that both travel together.

use std::collections::BTreeMap;

use super::types::MOST_PATHS;
use crate::sys::inotify::Wd;
use crate::time::{Span, Time};

/// How long a file is to be quiet that is being written.
const WRITING: Span = Span::from_secs(1);
/// How long a name waits at the most.
const LONGEST: Span = Span::from_secs(10);
/// How much longer what is gone waits.
const GONE: Span = Span::from_secs(1);
/// How long what is ready waits for more, at the most.
const GATHER: Span = Span::from_secs(1);
/// So many that are ready wait for no more.
const ENOUGH: usize = 1_024;
/// The most bytes of names, those that every name takes among them.
const MOST_BYTES: usize = 16 << 20;
/// What a name takes beside its bytes.
const EACH: usize = 160;
/// All names are looked through no sooner than this after the last time.
const PAUSE: Span = Span::from_millis(10);

/// A name in a watched directory. (One with slashes is that of something below it that is not watched by itself.)
pub(super) type Key = (Wd, Box<[u8]>);

/// What an event says of how soon a name is to be looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Settling {
    /// It is as it is meant to be.
    Settled,
    /// It is new. If it is a file, something will be written to it.
    New,
    /// It is being written.
    Writing,
    /// Its attributes are others: that changes nothing of how soon.
    Attributes,
}

/// What is known of a name that has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Name {
    first: Time,
    last: Time,
    settling: Settling,
    /// It is not looked at before this.
    not_before: Time,
    /// When it was found not to be there.
    missing: Option<Time>,
    /// An event, or a search, said that it has gone.
    pub(super) went: bool,
    /// What was there is somewhere else in this tree now.
    pub(super) moved: bool,
    /// It is a directory that was not there before, and is meant with all that is in it.
    pub(super) whole: bool,
    /// Where it was before, in bytes of a path.
    pub(super) from: Option<Box<[u8]>>,
    /// How often it was tried to send it.
    pub(super) tries: u8,
    /// How many entries were below it when it went.
    pub(super) weight: u64,
    /// It may go, however many go with it.
    pub(super) released: bool,
}

/// The names of one tree that have changed.
#[derive(Debug)]
pub(super) struct Dirty {
    delay: Span,
    names: BTreeMap<Key, Name>,
    bytes: usize,
    /// When a name became one of them last.
    newest: Time,
    /// What was there before this goes at once.
    hurry: Option<Time>,
    /// There may be one that is meant with all that is in it.
    has_wholes: bool,
    /// Nothing is ready before this.
    look: Option<Time>,
    looked: Time,
    /// There were too many: not all names are here.
    pub(super) is_full: bool,
}

impl Dirty {
    pub(super) fn new(delay: Span) -> Self {
        Dirty {
            delay,
            names: BTreeMap::new(),
            bytes: 0,
            newest: Time::ZERO,
            hurry: None,
            has_wholes: false,
            look: None,
            looked: Time::ZERO,
            is_full: false,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether a directory among them may be meant with all that is in it.
    pub(super) fn has_wholes(&self) -> bool {
        self.has_wholes
    }

    /// Something has happened to a name. None if there are too many already.
    pub(super) fn touch(&mut self, now: Time, key: Key, settling: Settling) -> Option<&mut Name> {
        if !self.names.contains_key(&key) {
            let bytes = key.1.len() + EACH;
            if self.names.len() >= MOST_PATHS || self.bytes + bytes > MOST_BYTES {
                self.is_full = true;
                return None;
            }
            self.bytes += bytes;
            self.newest = now;
        }
        let name = self.names.entry(key).or_insert_with(|| Name::new(now, settling));
        name.last = now;
        (name.missing, name.not_before, name.tries) = (None, Time::ZERO, 0);
        // Whoever writes a file may set its mode on the way.
        name.settling = match settling {
            Settling::Attributes => name.settling,
            settling => settling,
        };
        let due = name.due(self.delay, self.hurry);
        self.look = Some(self.look.map_or(due, |look| look.min(due)));
        Some(name)
    }

    /// A directory was found that was not there before.
    /// `weight` entries were below another one that it has replaced.
    pub(super) fn touch_whole(&mut self, now: Time, key: Key, weight: u64) {
        if let Some(name) = self.touch(now, key, Settling::Settled) {
            name.whole = true;
            name.weight += weight;
            self.has_wholes = true;
        }
    }

    /// What is known of a name.
    pub(super) fn get(&self, key: &Key) -> Option<&Name> {
        self.names.get(key)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Name> {
        self.names.get_mut(key)
    }

    /// A name is tried again, not before `then`.
    pub(super) fn again(&mut self, now: Time, then: Time, key: Key, before: &Name) {
        self.has_wholes |= before.whole;
        if let Some(name) = self.names.get_mut(&key) {
            name.whole |= before.whole;
            name.went |= before.went;
            return;
        }
        let Some(name) = self.touch(now, key, Settling::Settled) else { return };
        *name = Name {
            first: now,
            last: now,
            settling: Settling::Settled,
            not_before: then,
            missing: None,
            tries: before.tries.saturating_add(1),
            ..before.clone()
        };
        self.look = Some(self.look.map_or(then, |look| look.min(then)));
    }

    /// All that is here now, and what is touched again of it, goes without waiting.
    pub(super) fn hurry(&mut self, now: Time) {
        if !self.names.is_empty() {
            (self.hurry, self.look) = (Some(now), Some(now));
        }
    }

    /// Whether something is still to be sent that was here at `then`.
    pub(super) fn has_from(&self, then: Time) -> bool {
        self.names.values().any(|name| name.first <= then)
    }

    /// Leads the directory of a name that goes to a directory that stays: `rest` is put before the name.
    pub(super) fn hand_up(&mut self, from: Wd, to: Wd, rest: &[u8]) {
        for key in self.keys_in(from) {
            let Some(name) = self.take(&key) else { continue };
            let mut path = rest.to_vec();
            path.push(b'/');
            path.extend_from_slice(&key.1);
            let bytes = path.len() + EACH;
            if self.names.len() >= MOST_PATHS || self.bytes + bytes > MOST_BYTES {
                self.is_full = true;
                return;
            }
            if self.names.insert((to, path.into()), name).is_none() {
                self.bytes += bytes;
            }
        }
    }

    /// Forgets what is known of names in a directory.
    pub(super) fn forget_in(&mut self, wd: Wd) {
        self.keys_in(wd).iter().for_each(|key| drop(self.take(key)));
    }

    /// The names below this one that have gone.
    pub(super) fn went_below(&self, key: &Key) -> Vec<Key> {
        let first: Key = (key.0, [&*key.1, b"/"].concat().into());
        let below = self.names.range(first.clone()..);
        let below = below.take_while(|(at, _)| at.0 == first.0 && at.1.starts_with(&first.1));
        below.filter(|(_, name)| name.went).map(|(at, _)| at.clone()).collect()
    }

    fn keys_in(&self, wd: Wd) -> Vec<Key> {
        let here = self.names.range((wd, Box::default())..).take_while(|(key, _)| key.0 == wd);
        here.map(|(key, _)| key.clone()).collect()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Dirty { looked: self.looked, ..Dirty::new(self.delay) };
    }

    /// Takes a name out.
    pub(super) fn take(&mut self, key: &Key) -> Option<Name> {
        let name = self.names.remove(key)?;
        self.bytes = self.bytes.saturating_sub(key.1.len() + EACH);
        if self.names.is_empty() {
            (self.hurry, self.look, self.has_wholes) = (None, None, false);
        }
        Some(name)
    }

    /// A name that was ready is not there. Whether it has waited for that long enough.
    pub(super) fn miss(&mut self, now: Time, key: &Key) -> bool {
        let hurry = self.hurry;
        let Some(name) = self.names.get_mut(key) else { return false };
        if name.missing.is_some() || name.is_hurried(hurry) {
            return true;
        }
        name.missing = Some(now);
        self.look = Some(self.look.map_or(now + GONE, |look| look.min(now + GONE)));
        false
    }

    /// A name that was ready turned out to be a file that is being written. Whether it waits for that.
    pub(super) fn put_off(&mut self, key: &Key) -> bool {
        let (delay, hurry) = (self.delay, self.hurry);
        let Some(name) = self.names.get_mut(key) else { return false };
        if name.settling != Settling::New || name.is_hurried(hurry) {
            return false;
        }
        name.settling = Settling::Writing;
        let due = name.due(delay, hurry);
        self.look = Some(self.look.map_or(due, |look| look.min(due)));
        true
    }

    /// When to ask [`Dirty::ready`].
    pub(super) fn next(&self) -> Option<Time> {
        self.look.map(|look| look.max(self.looked + PAUSE))
    }

    /// The names that are to be looked at now, because something is ready, and waits for no more.
    pub(super) fn ready(&mut self, now: Time) -> Vec<Key> {
        if self.next().is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.looked = now;
        let (delay, hurry) = (self.delay, self.hurry);
        let due = |name: &Name| name.due(delay, hurry);
        let oldest = self.names.values().map(due).min();
        let Some(oldest) = oldest.filter(|&oldest| oldest <= now) else {
            self.look = oldest;
            return Vec::new();
        };
        let ready = self.names.iter().filter(|(_, name)| due(name) <= now);
        let ready: Vec<Key> = ready.map(|(key, _)| key.clone()).collect();
        let waits_until = (self.newest + self.delay).min(oldest + GATHER);
        let is_hurried = hurry.is_some_and(|hurry| {
            ready.iter().any(|key| self.names.get(key).is_some_and(|name| name.first <= hurry))
        });
        if ready.len() < ENOUGH && waits_until > now && !is_hurried {
            self.look = Some(waits_until);
            return Vec::new();
        }
        let later = self.names.values().map(due).filter(|&due| due > now).min();
        // What is ready and stays here is asked for again.
        self.look = later;
        ready
    }

    /// Names are ready and were not taken.
    pub(super) fn look_again(&mut self, now: Time) {
        if !self.names.is_empty() {
            self.look = Some(self.look.map_or(now, |look| look.min(now)));
        }
    }
}

impl Name {
    /// What is known of a name that is sent though no event was seen.
    pub(super) fn found(now: Time) -> Self {
        Name::new(now, Settling::Settled)
    }

    fn new(now: Time, settling: Settling) -> Self {
        Name {
            first: now,
            last: now,
            settling,
            not_before: Time::ZERO,
            missing: None,
            went: false,
            moved: false,
            whole: false,
            from: None,
            tries: 0,
            weight: 0,
            released: false,
        }
    }

    fn is_hurried(&self, hurry: Option<Time>) -> bool {
        hurry.is_some_and(|hurry| self.first <= hurry)
    }

    fn due(&self, delay: Span, hurry: Option<Time>) -> Time {
        if self.is_hurried(hurry) {
            return Time::ZERO;
        }
        if let Some(missing) = self.missing {
            return missing + GONE;
        }
        let wait = match self.settling {
            Settling::Settled | Settling::New | Settling::Attributes => delay,
            Settling::Writing => delay.at_least(WRITING),
        };
        // A longer delay than the longest wait is what was asked for.
        let latest = self.first + LONGEST.at_least(delay);
        (self.last + wait).min(latest).max(self.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Settling::{New, Settled, Writing};

    fn at(millis: u64) -> Time {
        Time::from_micros((1_000_000 + millis) * 1_000)
    }

    fn key(name: &str) -> Key {
        (Wd(1), name.as_bytes().into())
    }

    fn dirty() -> Dirty {
        Dirty::new(Span::from_millis(100))
    }

    /// What is ready at this time, and taken.
    fn ready(dirty: &mut Dirty, millis: u64) -> Vec<String> {
        let keys = dirty.ready(at(millis));
        keys.iter().for_each(|key| drop(dirty.take(key)));
        let mut names: Vec<_> =
            keys.iter().map(|key| String::from_utf8_lossy(&key.1).into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_was_closed_is_ready_after_the_delay_and_one_being_written_after_a_second() {
        let mut dirty = dirty();
        dirty.touch(at(0), key("closed"), Settled);
        dirty.touch(at(0), key("written"), Writing);
        dirty.touch(at(0), key("new"), New);
        assert_eq!(dirty.next(), Some(at(100)));
        assert_eq!(ready(&mut dirty, 99), [""; 0]);
        // What is new and turns out to be no file goes at once.
        assert_eq!(ready(&mut dirty, 100), ["closed", "new"]);
        assert_eq!(dirty.next(), Some(at(1_000)));
        assert_eq!(ready(&mut dirty, 1_000), ["written"]);
        assert_eq!((dirty.next(), dirty.len(), dirty.bytes), (None, 0, 0));
    }

    #[test]
    fn a_new_file_waits_like_one_that_is_being_written() {
        let mut dirty = dirty();
        dirty.touch(at(0), key("link"), New);
        assert_eq!(dirty.ready(at(100)).len(), 1);
        assert!(dirty.put_off(&key("link")));
        assert_eq!(ready(&mut dirty, 999), [""; 0]);
        assert_eq!(dirty.ready(at(1_000)).len(), 1);
        assert!(!dirty.put_off(&key("link")));
        // Closed meanwhile: settled.
        dirty.touch(at(2_000), key("f"), New);
        dirty.touch(at(2_001), key("f"), Writing);
        dirty.touch(at(2_002), key("f"), Settled);
        assert!(ready(&mut dirty, 2_102).contains(&"f".to_owned()));
    }

    #[test]
    fn a_file_that_is_written_all_the_time_goes_every_ten_seconds() {
        let mut dirty = dirty();
        let mut flushed = Vec::new();
        for millis in (0..60_000).step_by(50) {
            dirty.touch(at(millis), key("log"), Writing);
            if !ready(&mut dirty, millis).is_empty() {
                flushed.push(millis);
            }
        }
        assert_eq!(flushed.len(), 5);
        assert!(flushed.windows(2).all(|two| (10_000..10_100).contains(&(two[1] - two[0]))));
    }

    #[test]
    fn a_file_beside_one_that_is_written_all_the_time_waits_no_longer() {
        let mut dirty = dirty();
        for millis in (0..3_000).step_by(10) {
            dirty.touch(at(millis), key("log"), Writing);
            if millis == 2_000 {
                dirty.touch(at(millis), key("f"), Settled);
            }
            let ready = ready(&mut dirty, millis);
            assert_eq!(ready.len(), usize::from(millis == 2_100), "{millis}");
        }
    }

    #[test]
    fn what_is_gone_waits_another_second_and_is_no_deletion_if_it_comes_back() {
        let mut dirty = dirty();
        dirty.touch(at(0), key("f"), Settled);
        assert_eq!(dirty.ready(at(100)), [key("f")]);
        assert!(!dirty.miss(at(100), &key("f")));
        assert_eq!(dirty.ready(at(1_099)), []);
        dirty.touch(at(1_099), key("f"), Settled);
        assert_eq!(dirty.ready(at(1_100)), []);
        assert_eq!(dirty.ready(at(1_199)), [key("f")]);
        assert!(!dirty.miss(at(1_199), &key("f")));
        assert_eq!(dirty.ready(at(2_199)), [key("f")]);
        assert!(dirty.miss(at(2_199), &key("f")));
    }

    #[test]
    fn what_changes_together_goes_together_and_waits_for_a_second_at_most() {
        let mut dirty = dirty();
        dirty.touch(at(0), key("a"), Settled);
        dirty.touch(at(90), key("b"), Settled);
        assert_eq!(ready(&mut dirty, 100), [""; 0]);
        assert_eq!(ready(&mut dirty, 190), ["a", "b"]);
        let mut first = None;
        for millis in (1_000..4_000).step_by(10) {
            dirty.touch(at(millis), key(&format!("{millis}")), Settled);
            let ready = ready(&mut dirty, millis);
            if !ready.is_empty() {
                first = first.or(Some((millis, ready.len())));
            }
        }
        assert_eq!(first, Some((2_100, 101)));
    }

    #[test]
    fn a_thousand_wait_for_no_more() {
        let mut dirty = dirty();
        for n in 0..ENOUGH {
            dirty.touch(at(n as u64 / 100), key(&format!("{n}")), Settled);
        }
        dirty.touch(at(105), key("late"), Settled);
        assert_eq!(ready(&mut dirty, 112).len(), ENOUGH);
        assert_eq!(ready(&mut dirty, 205), ["late"]);
    }

    #[test]
    fn who_hurries_does_not_wait_but_for_what_comes_later() {
        let mut dirty = dirty();
        dirty.touch(at(0), key("log"), Writing);
        dirty.touch(at(0), key("gone"), Settled);
        dirty.hurry(at(20));
        dirty.touch(at(30), key("later"), Settled);
        dirty.touch(at(30), key("log"), Writing);
        assert!(dirty.has_from(at(20)));
        let mut keys = dirty.ready(at(30));
        keys.sort();
        assert_eq!(keys, [key("gone"), key("log")]);
        assert!(dirty.miss(at(30), &key("gone")));
        keys.iter().for_each(|key| drop(dirty.take(key)));
        assert!(!dirty.has_from(at(20)));
        assert_eq!(ready(&mut dirty, 130), ["later"]);
    }

    #[test]
    fn what_failed_is_tried_later_unless_it_changes() {
        let mut dirty = dirty();
        let before = Name { whole: true, ..Name::new(at(0), Settled) };
        dirty.again(at(0), at(10_000), key("f"), &before);
        dirty.again(at(0), at(10_000), key("g"), &before);
        dirty.again(at(0), at(10_000), key("h"), &before);
        dirty.touch(at(50), key("g"), Settled);
        assert_eq!(ready(&mut dirty, 150), ["g"]);
        assert_eq!(dirty.ready(at(10_000)), [key("f"), key("h")]);
        let name = dirty.take(&key("f")).unwrap();
        assert!(name.whole && name.tries == 1);
    }

    #[test]
    fn the_names_of_a_directory_that_goes_stay_in_the_one_above() {
        let mut dirty = dirty();
        dirty.touch(at(0), (Wd(2), b"x"[..].into()), Settled).unwrap().went = true;
        dirty.touch(at(0), (Wd(3), b"x"[..].into()), Settled);
        dirty.hand_up(Wd(2), Wd(1), b"d");
        assert!(dirty.take(&key("d/x")).unwrap().went);
        dirty.forget_in(Wd(3));
        assert_eq!((dirty.len(), dirty.bytes), (0, 0));
    }

    #[test]
    fn names_beyond_the_limits_are_not_kept() {
        let mut dirty = dirty();
        for n in 0..MOST_PATHS + 10 {
            let kept = dirty.touch(at(0), key(&format!("{n}")), Settled).is_some();
            assert_eq!(kept, n < MOST_PATHS);
        }
        assert!(dirty.is_full);
        assert!(dirty.touch(at(0), key("7"), Settled).is_some());
        dirty.clear();
        assert!(!dirty.is_full && dirty.len() == 0);
        let long = "x".repeat(4_000);
        let count = (0..MOST_PATHS)
            .take_while(|n| dirty.touch(at(0), key(&format!("{long}{n}")), Settled).is_some())
            .count();
        assert!(dirty.bytes <= MOST_BYTES && count < 5_000);
    }
}
