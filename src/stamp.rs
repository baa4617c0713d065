//! Stamps, which order what happens on different hosts, and the clock that they are drawn from.
//!
//! A stamp is close to the wall clock, and higher than every stamp that was known where it was drawn: a
//! hybrid clock. So what was sent later, knowing of what was sent before, has the higher stamp, also
//! where wall clocks differ a little or are set back.
#![forbid(unsafe_code)]

use std::fmt;

use crate::count::counted;

/// How far a stamp may be ahead of a wall clock, and how far two wall clocks may differ, in
/// milliseconds: an hour.
pub const LIMIT: u64 = 3_600_000;
/// The highest time that there is: 48 bits.
pub const MAX_MILLIS: u64 = (1 << 48) - 1;
/// An offset that has changed by less than this many milliseconds counts as the same.
const SAME: u64 = 60_000;

/// A moment of the fleet: 48 bits of milliseconds since 1970, and 16 bits that count up within one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Stamp(u64);

impl Stamp {
    /// No stamp; lower than all.
    pub const ZERO: Stamp = Stamp(0);

    /// The one with these bits, as they are written.
    pub const fn from_bits(bits: u64) -> Self {
        Stamp(bits)
    }

    /// Its bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The first of a millisecond; of the last one there is if it is later.
    pub const fn at(millis: u64) -> Self {
        let millis = if millis > MAX_MILLIS { MAX_MILLIS } else { millis };
        Stamp(millis << 16)
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// Which of its millisecond it is.
    pub const fn counter(self) -> u16 {
        self.0 as u16
    }

    /// How far it is ahead of this wall clock.
    pub fn ahead_of(self, wall: u64) -> Offset {
        Offset::between(self.millis(), wall)
    }

    fn next(self) -> Stamp {
        Stamp(self.0.saturating_add(1))
    }
}

/// `2026-11-27T18:30:00.123Z+5`: the date in UTC, and the counter.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, millis) = (self.millis() / 1_000, self.millis() % 1_000);
        let (year, month, day) = date(secs / 86_400);
        let (hour, minute, second) = (secs / 3_600 % 24, secs / 60 % 60, secs % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z+{}",
            self.counter()
        )
    }
}

/// Year, month and day, so many days after 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March end with the day that is not in all of them, and 400 years are as long
    // as any other 400.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, every five months have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day)
}

/// A daemon's clock. It is told the wall clock, in milliseconds since 1970.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HybridClock {
    height: Stamp,
}

impl HybridClock {
    /// The highest stamp that was drawn or adopted; [`Stamp::ZERO`] if none was.
    pub fn height(&self) -> Stamp {
        self.height
    }

    /// A new stamp, higher than all before and than the wall clock.
    pub fn draw(&mut self, wall: u64) -> Stamp {
        self.height = self.height.max(Stamp::at(wall)).next();
        self.height
    }

    /// Another host's stamp: what is drawn from now on is higher. False, and nothing has changed, if it
    /// is more than [`LIMIT`] ahead of the wall clock.
    #[must_use]
    pub fn adopt(&mut self, stamp: Stamp, wall: u64) -> bool {
        let near = !stamp.ahead_of(wall).is_ahead_too_far();
        if near {
            self.height = self.height.max(stamp);
        }
        near
    }

    /// The height that was kept when this host's daemon ran before. False, and it is dropped, if it is
    /// more than [`LIMIT`] ahead of the wall clock: that one was once wrong.
    #[must_use]
    pub fn restore(&mut self, kept: Stamp, wall: u64) -> bool {
        self.adopt(kept, wall)
    }
}

/// By how many milliseconds one clock is ahead of another; negative if it is behind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Offset(i64);

impl Offset {
    /// How far the first of two clocks is ahead of the second.
    pub fn between(one: u64, other: u64) -> Self {
        let [one, other] = [one, other].map(|millis| millis.min(MAX_MILLIS) as i64);
        Offset(one - other)
    }

    /// In milliseconds.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Whether it is over the [`LIMIT`], one way or the other.
    pub fn is_too_far(self) -> bool {
        self.0.unsigned_abs() > LIMIT
    }

    /// Whether it is over the [`LIMIT`], and ahead.
    pub fn is_ahead_too_far(self) -> bool {
        self.0 > 0 && self.is_too_far()
    }

    /// Whether there is something new to be said: it is over the [`LIMIT`] and the other was not, or the
    /// other way round, or both are and they differ by a minute.
    pub fn differs_from(self, other: Offset) -> bool {
        match (self.is_too_far(), other.is_too_far()) {
            (false, false) => false,
            (true, true) => self.0.abs_diff(other.0) >= SAME,
            _ => true,
        }
    }
}

/// `2 h 5 min ahead of`, `3 days 1 h behind`: what follows is the other clock.
impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = (self.0.unsigned_abs() + 30_000) / 60_000;
        let (days, hours) = (minutes / 1_440, minutes / 60 % 24);
        match days {
            0 if hours == 0 => write!(f, "{minutes} min")?,
            0 => write!(f, "{hours} h {} min", minutes % 60)?,
            _ => write!(f, "{} {hours} h", counted(days, "day"))?,
        }
        f.write_str(if self.0 < 0 { " behind" } else { " ahead of" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-27 18:30 UTC.
    const NOW: u64 = 1_795_804_200_000;

    #[test]
    fn stamps_are_shown_as_dates() {
        let shown = |millis: u64, counter: u64| {
            Stamp::from_bits(Stamp::at(millis).bits() + counter).to_string()
        };
        assert_eq!(shown(NOW + 7, 5), "2026-11-27T18:30:00.007Z+5");
        assert_eq!(Stamp::ZERO.to_string(), "1970-01-01T00:00:00.000Z+0");
        assert_eq!(shown(951_782_399_999, 0), "2000-02-28T23:59:59.999Z+0");
        assert_eq!(shown(951_782_400_000, 1), "2000-02-29T00:00:00.000Z+1");
        assert_eq!(shown(4_107_542_400_000, 0), "2100-03-01T00:00:00.000Z+0");
        assert_eq!(Stamp::from_bits(u64::MAX).to_string(), "10889-08-02T05:31:50.655Z+65535");
    }

    #[test]
    fn days_follow_each_other() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..200_000 {
            assert_eq!(date(days), (year, month, day), "{days}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn each_stamp_is_higher_than_all_before_and_than_the_wall_clock() {
        let mut clock = HybridClock::default();
        let mut last = Stamp::ZERO;
        // It goes on, stands still, runs back by more than the limit, and goes on again.
        for wall in [NOW, NOW + 1, NOW + 1, NOW - 3 * LIMIT, NOW - 3 * LIMIT, 0, NOW + 2, NOW + 9] {
            let stamp = clock.draw(wall);
            assert!(stamp > last && stamp > Stamp::at(wall), "{stamp} after {last}");
            assert_eq!(clock.height(), stamp);
            last = stamp;
        }
        assert_eq!(last, Stamp::from_bits(Stamp::at(NOW + 9).bits() + 1));
    }

    #[test]
    fn the_counter_runs_over_into_the_next_millisecond() {
        let mut clock = HybridClock::default();
        let mut last = Stamp::ZERO;
        for _ in 0..200_000 {
            let stamp = clock.draw(NOW);
            assert!(stamp > last);
            last = stamp;
        }
        assert_eq!((last.millis(), last.counter()), (NOW + 3, (200_000u32 % 65_536) as u16));
        // The wall clock comes after.
        assert_eq!(clock.draw(NOW + 4), Stamp::from_bits(Stamp::at(NOW + 4).bits() + 1));
    }

    #[test]
    fn what_is_too_far_ahead_is_not_adopted() {
        let mut clock = HybridClock::default();
        let edge = Stamp::from_bits(Stamp::at(NOW + LIMIT).bits() + 65_535);
        assert!(!clock.adopt(Stamp::at(NOW + LIMIT + 1), NOW));
        assert_eq!(clock.height(), Stamp::ZERO);
        assert!(clock.adopt(edge, NOW));
        assert_eq!(clock.height(), edge);
        let next = clock.draw(NOW);
        assert!(next > edge);
        // What is behind is no news, however far.
        assert!(clock.adopt(Stamp::ZERO, NOW) && clock.adopt(Stamp::at(NOW), NOW));
        assert_eq!(clock.height(), next);
        assert!(!clock.adopt(Stamp::from_bits(u64::MAX), NOW));
        assert!(clock.draw(NOW) > next);
    }

    #[test]
    fn a_kept_height_is_restored_unless_the_clock_was_wrong_then() {
        let mut clock = HybridClock::default();
        assert!(clock.restore(Stamp::at(NOW + 5), NOW));
        assert!(clock.draw(NOW) > Stamp::at(NOW + 5));
        let mut clock = HybridClock::default();
        let in_2030 = Stamp::at(NOW + 4 * 365 * 24 * LIMIT);
        assert!(!clock.restore(in_2030, NOW));
        assert!(clock.draw(NOW) < Stamp::at(NOW + 1));
    }

    #[test]
    fn hosts_that_hear_each_other_draw_in_the_order_of_what_happens() {
        // Each host has a clock of its own, up to half the limit off; each is heard by the next.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..200 {
            let walls: Vec<u64> = (0..4).map(|_| NOW + random(LIMIT / 2)).collect();
            let mut clocks = vec![HybridClock::default(); 4];
            let mut last = Stamp::ZERO;
            for step in 0..100 {
                let host = random(4) as usize;
                let wall = walls[host] + step;
                assert!(clocks[host].adopt(last, wall));
                let stamp = clocks[host].draw(wall);
                assert!(stamp > last);
                last = stamp;
            }
        }
    }

    #[test]
    fn offsets_over_the_limit() {
        let far = |one, other| Offset::between(one, other);
        assert!(!far(NOW, NOW + LIMIT).is_too_far() && !far(NOW + LIMIT, NOW).is_too_far());
        let (ahead, behind) = (far(NOW + LIMIT + 1, NOW), far(NOW, NOW + LIMIT + 1));
        assert!(ahead.is_too_far() && behind.is_too_far());
        assert!(ahead.is_ahead_too_far() && !behind.is_ahead_too_far());
        assert_eq!(far(u64::MAX, 0).millis(), MAX_MILLIS as i64);
        let more = |by| far(NOW + LIMIT + 1 + by, NOW);
        assert!(!ahead.differs_from(more(59_999)) && ahead.differs_from(more(60_000)));
        assert!(ahead.differs_from(behind) && ahead.differs_from(far(NOW, NOW)));
        assert!(!far(NOW, NOW).differs_from(far(NOW + LIMIT, NOW)));
        assert!(far(NOW, NOW).differs_from(behind));
    }

    #[test]
    fn offsets_read_well() {
        let shown = |minutes: i64| Offset(minutes * 60_000).to_string();
        assert_eq!(
            [shown(0), shown(5), shown(-125)],
            ["0 min ahead of", "5 min ahead of", "2 h 5 min behind"]
        );
        assert_eq!([shown(1_440), shown(-4_400)], ["1 day 0 h ahead of", "3 days 1 h behind"]);
        assert_eq!(Offset(i64::MIN).to_string(), "106751991167 days 7 h behind");
        let near = [7_229_999, 7_170_000, 7_169_999].map(|millis| Offset(millis).to_string());
        assert_eq!(near, ["2 h 0 min ahead of", "2 h 0 min ahead of", "1 h 59 min ahead of"]);
    }
}
