//! Sets of block numbers, as ranges.

use std::ops::Range;

/// A set of `u32`, kept as ranges that are ascending and apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeSet {
    ranges: Vec<Range<u32>>,
}

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        RangeSet { ranges: Vec::new() }
    }

    /// The set of one range.
    pub fn of(range: Range<u32>) -> Self {
        let mut set = RangeSet::new();
        set.insert(range);
        set
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many ranges it takes.
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// How many numbers are in it.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.end - range.start)).sum()
    }

    /// The ranges, ascending and apart.
    pub fn iter(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.ranges.iter().cloned()
    }

    /// The smallest number.
    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|range| range.start)
    }

    /// Whether `number` is in it.
    pub fn contains(&self, number: u32) -> bool {
        self.ranges.get(self.ending_after(number)).is_some_and(|range| range.start <= number)
    }

    /// The ranges below `mark`, the last one cut there.
    pub fn below(&self, mark: u32) -> impl Iterator<Item = Range<u32>> + '_ {
        self.ranges
            .iter()
            .take_while(move |range| range.start < mark)
            .map(move |range| range.start..range.end.min(mark))
    }

    /// The first run of at most `most` numbers at or after `from`.
    pub fn next_run(&self, from: u32, most: u32) -> Option<Range<u32>> {
        let range = self.ranges.get(self.ending_after(from))?;
        let start = range.start.max(from);
        Some(start..range.end.min(start.saturating_add(most)))
    }

    /// Adds a range.
    pub fn insert(&mut self, range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        // The usual case: at or past the end.
        match self.ranges.last_mut() {
            Some(last) if range.start > last.end => return self.ranges.push(range),
            Some(last) if range.start >= last.start => {
                last.end = last.end.max(range.end);
                return;
            }
            None => return self.ranges.push(range),
            Some(_) => {}
        }
        let from = self.ranges.partition_point(|have| have.end < range.start);
        let to = self.ranges.partition_point(|have| have.start <= range.end);
        if from == to {
            self.ranges.insert(from, range);
        } else {
            let start = range.start.min(self.ranges[from].start);
            let end = range.end.max(self.ranges[to - 1].end);
            self.ranges[from] = start..end;
            self.ranges.drain(from + 1..to);
        }
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        let from = self.ending_after(range.start);
        let Some(first) = self.ranges.get_mut(from) else { return };
        // The usual cases: one range loses its head, its tail or a number in its middle.
        if first.start < range.start {
            let end = first.end;
            first.end = range.start;
            if end > range.end {
                self.ranges.insert(from + 1, range.end..end);
                return;
            }
            return self.remove_heads(from + 1, range.end);
        }
        self.remove_heads(from, range.end);
    }

    fn remove_heads(&mut self, from: usize, end: u32) {
        let to = from + self.ranges[from..].partition_point(|have| have.end <= end);
        if let Some(cut) = self.ranges.get_mut(to) {
            cut.start = cut.start.max(end);
        }
        self.ranges.drain(from..to);
    }

    /// The index of the first range that ends after `number`.
    fn ending_after(&self, number: u32) -> usize {
        // Blocks come nearly in order, so the range is nearly always the first.
        match self.ranges.first() {
            Some(first) if first.end > number => 0,
            _ => self.ranges.partition_point(|range| range.end <= number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rng::Rng;

    #[test]
    fn agrees_with_a_bitmap_under_random_operations() {
        for seed in 1..200 {
            let mut rng = Rng::new(seed);
            let mut set = RangeSet::new();
            let mut bitmap = [false; 120];
            for _ in 0..200 {
                let start = rng.below(110) as u32;
                let range = start..start + rng.below(10) as u32;
                let add = rng.below(2) == 0;
                bitmap[range.start as usize..range.end as usize].fill(add);
                if add {
                    set.insert(range)
                } else {
                    set.remove(range)
                }
                for (number, &has) in bitmap.iter().enumerate() {
                    assert_eq!(set.contains(number as u32), has, "seed {seed}");
                }
                assert!(set.iter().all(|r| r.start < r.end), "seed {seed}: {set:?}");
                assert!(
                    set.ranges.windows(2).all(|w| w[0].end < w[1].start),
                    "seed {seed}: {set:?}"
                );
                assert_eq!(set.len(), bitmap.iter().filter(|&&has| has).count() as u64);
            }
        }
    }

    #[test]
    fn runs_and_marks_cut_ranges() {
        let mut set = RangeSet::of(5..10);
        set.insert(20..30);
        assert_eq!(set.below(22).collect::<Vec<_>>(), [5..10, 20..22]);
        assert_eq!(set.next_run(0, 3), Some(5..8));
        assert_eq!(set.next_run(8, 9), Some(8..10));
        assert_eq!(set.next_run(10, 9), Some(20..29));
        assert_eq!(set.next_run(30, 9), None);
    }
}
