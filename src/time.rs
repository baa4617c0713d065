//! Instants and spans in microseconds. There is no clock here: time is handed in.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

/// An instant, in microseconds since an arbitrary zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Time(u64);

/// A length of time, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Span(u64);

impl Time {
    /// The arbitrary zero.
    pub const ZERO: Time = Time(0);

    /// The instant `micros` microseconds after zero.
    pub const fn from_micros(micros: u64) -> Self {
        Time(micros)
    }

    /// Microseconds since zero.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A span of whole microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Span(micros)
    }

    /// A span of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Span(millis.saturating_mul(1_000))
    }

    /// A span of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Span(secs.saturating_mul(1_000_000))
    }

    /// In whole microseconds.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// In whole milliseconds, rounded down.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000
    }

    /// In seconds.
    pub fn secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The longer of the two.
    pub fn at_least(self, other: Span) -> Span {
        self.max(other)
    }

    /// The shorter of the two.
    pub fn at_most(self, other: Span) -> Span {
        self.min(other)
    }
}

impl From<Span> for std::time::Duration {
    fn from(span: Span) -> Self {
        std::time::Duration::from_micros(span.0)
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for Time {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Span {
    type Output = Span;
    fn mul(self, factor: u64) -> Span {
        Span(self.0.saturating_mul(factor))
    }
}

impl Div<u64> for Span {
    type Output = Span;
    fn div(self, divisor: u64) -> Span {
        Span(self.0 / divisor.max(1))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n < 1_000 => write!(f, "{n} us"),
            n if n < 1_000_000 => write!(f, "{}.{:03} ms", n / 1_000, n % 1_000),
            n => write!(f, "{}.{:03} s", n / 1_000_000, n / 1_000 % 1_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_and_never_panics() {
        assert_eq!(Time::ZERO.since(Time::from_micros(5)), Span::ZERO);
        assert_eq!(Time::from_micros(u64::MAX) + Span::from_secs(1), Time::from_micros(u64::MAX));
        assert_eq!(Span::from_secs(u64::MAX).micros(), u64::MAX);
        assert_eq!(Span::from_millis(3) / 0, Span::from_millis(3));
    }

    #[test]
    fn spans_read_well() {
        assert_eq!(Span::from_micros(12).to_string(), "12 us");
        assert_eq!(Span::from_micros(1_500).to_string(), "1.500 ms");
        assert_eq!(Span::from_millis(61_250).to_string(), "61.250 s");
    }
}
