//! What comes of many packets: how many, how fast, in which order.
#![forbid(unsafe_code)]

use super::{Came, FIRST, Sample};
use crate::time::Time;

/// What has come of packets of one kind from one host.
#[derive(Clone, Default, Debug)]
pub struct Meter {
    came: Came,
    /// The highest train and number that has come.
    latest: Option<(u8, u16)>,
    /// Of the large packets of the train that is coming: its number, when the first and the last came, the bytes after
    /// the first.
    train: Option<(u8, Time, Time, u32)>,
}

impl Meter {
    /// A packet has come.
    pub fn take(&mut self, now: Time, sample: Sample) {
        let Sample { large, train, number, len } = sample;
        let place = Some((train, number));
        self.came.late = self.came.late.saturating_add((place < self.latest).into());
        self.latest = self.latest.max(place);
        let count = if large { &mut self.came.large } else { &mut self.came.small };
        *count = count.saturating_add(1);
        if !large || train < FIRST {
            return;
        }
        self.train = Some(match self.train {
            Some((at, first, _, bytes)) if at == train => {
                (at, first, now, bytes.saturating_add(len.into()))
            }
            _ => {
                self.came = self.came();
                (train, now, now, 0)
            }
        });
    }

    /// What has come so far.
    pub fn came(&self) -> Came {
        let fastest = match (self.came.fastest, self.train) {
            (known, Some((_, first, last, bytes))) if bytes > 0 => {
                let micros = u32::try_from(last.since(first).micros()).unwrap_or(u32::MAX);
                let is_faster = |(known, took): (u32, u32)| {
                    u64::from(bytes) * u64::from(took) > u64::from(known) * u64::from(micros)
                };
                known.filter(|known| !is_faster(*known)).or(Some((bytes, micros)))
            }
            (known, _) => known,
        };
        Came { fastest, ..self.came }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn at(micros: u64) -> Time {
        Time::ZERO + Span::from_micros(micros)
    }

    fn large(train: u8, number: u16) -> Sample {
        Sample { large: true, train, number, len: 1_000 }
    }

    #[test]
    fn the_fastest_train_counts_and_what_comes_late_is_told() {
        let mut meter = Meter::default();
        assert_eq!(meter.came(), Came::default());
        for (train, gap) in [(2, 1), (3, 900), (4, 100), (5, 500)] {
            for number in 0..10 {
                let base = u64::from(train) * 1_000_000;
                meter.take(at(base + u64::from(number) * gap), large(train, number));
            }
        }
        let came = Came { large: 40, fastest: Some((9_000, 900)), ..Came::default() };
        assert_eq!(meter.came(), came);
        meter.take(at(9_000_000), large(4, 3));
        meter.take(at(9_000_000), Sample { large: false, ..large(6, 0) });
        assert_eq!(meter.came(), Came { large: 41, small: 1, late: 1, ..came });
    }

    #[test]
    fn one_packet_has_no_speed_and_all_at_once_is_the_fastest() {
        let mut meter = Meter::default();
        meter.take(at(5), large(3, 0));
        assert_eq!(meter.came().fastest, None);
        meter.take(at(9), large(3, 1));
        meter.take(at(50), large(4, 0));
        meter.take(at(50), large(4, 1));
        meter.take(at(60), large(5, 0));
        meter.take(at(61), large(5, 1));
        assert_eq!(meter.came().fastest, Some((1_000, 0)));
    }
}
