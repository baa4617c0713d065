//! Sets of blocks, as ranges.

use crate::ids::{BlockNo, BlockRange};

/// A set of blocks, kept as ascending ranges with gaps between them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeSet {
    ranges: Vec<BlockRange>,
}

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        RangeSet { ranges: Vec::new() }
    }

    /// The set of the blocks of one range.
    pub fn of(range: BlockRange) -> Self {
        let mut set = RangeSet::new();
        set.insert(range);
        set
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many ranges it consists of.
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// How many blocks are in it.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.len())).sum()
    }

    /// The ranges, ascending, with gaps between them.
    pub fn iter(&self) -> impl Iterator<Item = BlockRange> + '_ {
        self.ranges.iter().copied()
    }

    /// The first block.
    pub fn first(&self) -> Option<BlockNo> {
        self.ranges.first().map(|range| range.start)
    }

    /// Whether `block` is in it.
    pub fn contains(&self, block: BlockNo) -> bool {
        self.ranges.get(self.ending_after(block)).is_some_and(|range| range.start <= block)
    }

    /// The ranges of the blocks before `mark`.
    pub fn below(&self, mark: BlockNo) -> impl Iterator<Item = BlockRange> + '_ {
        self.ranges
            .iter()
            .take_while(move |range| range.start < mark)
            .map(move |range| range.below(mark))
    }

    /// The first run of at most `most` blocks at or after `from`.
    pub fn next_run(&self, from: BlockNo, most: u32) -> Option<BlockRange> {
        let range = self.ranges.get(self.ending_after(from))?;
        let start = range.start.max(from);
        Some(BlockRange::new(start, range.end.min(start.after(most))))
    }

    /// Adds a range.
    pub fn insert(&mut self, range: BlockRange) {
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
            self.ranges[from] = BlockRange::new(start, end);
            self.ranges.drain(from + 1..to);
        }
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: BlockRange) {
        if range.is_empty() {
            return;
        }
        let from = self.ending_after(range.start);
        let Some(first) = self.ranges.get_mut(from) else { return };
        // The usual cases: one range loses its head, its tail or blocks in its middle.
        if first.start < range.start {
            let end = first.end;
            first.end = range.start;
            if end > range.end {
                self.ranges.insert(from + 1, BlockRange::new(range.end, end));
                return;
            }
            return self.remove_heads(from + 1, range.end);
        }
        self.remove_heads(from, range.end);
    }

    fn remove_heads(&mut self, from: usize, end: BlockNo) {
        let to = from + self.ranges[from..].partition_point(|have| have.end <= end);
        if let Some(cut) = self.ranges.get_mut(to) {
            cut.start = cut.start.max(end);
        }
        self.ranges.drain(from..to);
    }

    /// The index of the first range that ends after `block`.
    fn ending_after(&self, block: BlockNo) -> usize {
        // Blocks come nearly in order, so it is nearly always the first range.
        match self.ranges.first() {
            Some(first) if first.end > block => 0,
            _ => self.ranges.partition_point(|range| range.end <= block),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rng::Rng;
    use crate::ids::blocks;

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
                    set.insert(blocks(range))
                } else {
                    set.remove(blocks(range))
                }
                for (number, &has) in bitmap.iter().enumerate() {
                    assert_eq!(set.contains(BlockNo::new(number as u32)), has, "seed {seed}");
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
        let mut set = RangeSet::of(blocks(5..10));
        set.insert(blocks(20..30));
        assert_eq!(
            set.below(BlockNo::new(22)).collect::<Vec<_>>(),
            [blocks(5..10), blocks(20..22)]
        );
        let next = |from, most| set.next_run(BlockNo::new(from), most);
        assert_eq!(next(0, 3), Some(blocks(5..8)));
        assert_eq!(next(8, 9), Some(blocks(8..10)));
        assert_eq!(next(10, 9), Some(blocks(20..29)));
        assert_eq!(next(30, 9), None);
    }
}
