//! The limit on log lines that other hosts can cause: counting by key, in windows of a minute, with a
//! bounded number of keys.

use super::level::Level;
use crate::time::{Span, Time};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

/// How long the lines of one key are counted together.
const WINDOW: Span = Span::from_secs(60);
/// The lines of one key that are shown in a window.
pub(super) const LINES: u64 = 5;
/// The same for what is worth its line each time, as long as nobody makes a flood of it: a fleet of
/// 1,000 that is started anew.
pub(super) const MANY: u64 = 2_000;
/// The addresses of one site that are counted apart; all others count together.
const ADDRESSES: usize = 8;
/// The keys that are counted apart; all others count together.
const KEYS: usize = 128;
/// What those others are called.
const OTHERS: Key = Key { site: "other lines", about: None };

/// What limited lines are counted by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    /// What it is.
    pub site: &'static str,
    /// The host, if it matters which.
    pub about: Option<IpAddr>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.about {
            Some(address) => write!(f, "{} ({address})", self.site),
            None => f.write_str(self.site),
        }
    }
}

/// A minute of one key.
#[derive(Debug)]
struct Window {
    end: Time,
    /// The lowest level of its lines, so that the count is seen by whoever misses one.
    level: Level,
    lines: u64,
    /// So many of them are shown.
    most: u64,
}

/// Counts limited lines.
#[derive(Default, Debug)]
pub(super) struct Limiter {
    windows: HashMap<Key, Window>,
    /// No window ends before this.
    next_end: Time,
}

impl Limiter {
    /// Whether to show a line of `key`, of which `most` are shown in a window.
    pub fn admit(&mut self, now: Time, level: Level, key: Key, most: u64) -> bool {
        let key = self.known(key);
        let end = now + WINDOW;
        let window = self.windows.entry(key).or_insert(Window { end, level, lines: 0, most });
        window.lines = window.lines.saturating_add(1);
        window.level = window.level.min(level);
        window.lines <= window.most
    }

    /// The key that a line of `key` counts for: its own, as long as there is room.
    fn known(&self, key: Key) -> Key {
        if self.windows.contains_key(&key) {
            return key;
        }
        let whole_site = Key { about: None, ..key };
        let of_site = self.windows.keys().filter(|k| k.site == key.site && k.about.is_some());
        let key = if of_site.count() < ADDRESSES { key } else { whole_site };
        if self.windows.contains_key(&key) || self.windows.len() < KEYS { key } else { OTHERS }
    }

    /// Forgets the windows that have ended, and gives those of which lines were left out, and how many.
    pub fn ended(&mut self, now: Time) -> Vec<(Key, Level, u64)> {
        let mut ended = Vec::new();
        if now < self.next_end {
            return ended;
        }
        self.windows.retain(|key, window| {
            let over = window.end <= now;
            if over && window.lines > window.most {
                ended.push((*key, window.level, window.lines - window.most));
            }
            !over
        });
        // A window that opens later ends later than in a minute.
        self.next_end = self.windows.values().map(|w| w.end).min().unwrap_or(now + WINDOW);
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { site: "strangers", about: None };

    fn seconds(n: u64) -> Time {
        Time::from_micros(n * 1_000_000)
    }

    #[test]
    fn a_window_shows_five_lines_and_begins_with_the_first() {
        let mut limiter = Limiter::default();
        let shown = |limiter: &mut Limiter, at| {
            (0..100).filter(|_| limiter.admit(seconds(at), Level::INFO, KEY, LINES)).count()
        };
        assert_eq!(shown(&mut limiter, 10), 5);
        assert_eq!(shown(&mut limiter, 69), 0);
        assert!(limiter.ended(seconds(69)).is_empty());
        assert_eq!(limiter.ended(seconds(70)), [(KEY, Level::INFO, 195)]);
        assert!(limiter.windows.is_empty());
        assert_eq!(shown(&mut limiter, 71), 5);
        assert!(limiter.ended(seconds(130)).is_empty());
        assert_eq!(limiter.ended(seconds(131)), [(KEY, Level::INFO, 95)]);
        // Five or less leave no line behind.
        limiter.admit(seconds(200), Level::INFO, KEY, LINES);
        assert!(limiter.ended(seconds(300)).is_empty());
        assert!(limiter.windows.is_empty());
    }

    #[test]
    fn the_gravest_line_left_out_names_the_level() {
        let mut limiter = Limiter::default();
        for level in [Level::DEBUG; 6].into_iter().chain([Level::ERROR, Level::INFO]) {
            limiter.admit(seconds(1), level, KEY, LINES);
        }
        assert_eq!(limiter.ended(seconds(61)), [(KEY, Level::ERROR, 3)]);
    }

    #[test]
    fn forged_addresses_fill_neither_log_nor_memory() {
        let mut limiter = Limiter::default();
        let shown = (0..10_000u32)
            .filter(|n| {
                let about = Some(std::net::Ipv4Addr::from(*n).into());
                limiter.admit(seconds(1), Level::INFO, Key { about, ..KEY }, LINES)
            })
            .count();
        assert_eq!(shown, ADDRESSES + 5, "one each, and five for all others");
        // Another site still has its own.
        let other = Key { site: "bad trailer", about: Some([10, 0, 0, 1].into()) };
        assert!(limiter.admit(seconds(1), Level::INFO, other, LINES));
        let mut ended = limiter.ended(seconds(61));
        ended.sort_by_key(|(_, _, count)| *count);
        assert_eq!(ended, [(KEY, Level::INFO, 10_000 - ADDRESSES as u64 - 5)]);
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let mut limiter = Limiter::default();
        for n in 0..1_000 {
            let site: &'static str = Box::leak(format!("site {n}").into_boxed_str());
            limiter.admit(seconds(1), Level::INFO, Key { site, about: None }, LINES);
        }
        assert_eq!(limiter.windows.len(), KEYS + 1);
        let left_out = 1_000 - KEYS as u64 - LINES;
        assert_eq!(limiter.ended(seconds(61)), [(OTHERS, Level::INFO, left_out)]);
    }

    #[test]
    fn what_is_worth_its_line_has_more_of_them() {
        let mut limiter = Limiter::default();
        let shown = (0..10_000).filter(|_| limiter.admit(seconds(1), Level::NOTICE, KEY, MANY));
        assert_eq!(shown.count() as u64, MANY);
        assert_eq!(limiter.ended(seconds(61)), [(KEY, Level::NOTICE, 10_000 - MANY)]);
    }
}
