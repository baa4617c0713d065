//! A map from paths to bytes that takes little memory: in blocks of some dozens of entries, of each of which only
//! what differs from the one before it is there, of its path and of its value.
//!
//! The order is that of [`tree_order`]: what is below a directory comes directly after it. The blocks are what is
//! written to disk, too.

use std::cmp::Ordering;

use crate::name::tree_order;
use crate::wire::bytes::{Put, Reader};

/// How many bytes a block has at most, if it has more than one entry.
const BLOCK: usize = 2_048;
/// How much more room a block gets than it needs when it grows.
const SLACK: usize = 128;

/// A sorted map from paths to values. It is small where neighbours have the beginning of their values in common.
#[derive(Clone, Default, Debug)]
pub struct Packed {
    /// None is empty.
    blocks: Vec<Vec<u8>>,
    len: usize,
}

/// Bytes are not a block that may follow those that are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadBlock;

/// The entries from one on, in ascending order.
#[derive(Debug)]
pub struct Entries<'a> {
    cursor: Cursor<'a>,
    /// The blocks that follow.
    blocks: &'a [Vec<u8>],
    /// The entry of the cursor was not given yet.
    is_next: bool,
}

impl Packed {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes of memory it takes, about.
    pub fn bytes(&self) -> usize {
        const ALLOCATED: usize = 16;
        let blocks = self.blocks.iter().map(|block| block.capacity() + ALLOCATED);
        blocks.sum::<usize>() + self.blocks.capacity() * size_of::<Vec<u8>>()
    }

    /// The value of a path.
    pub fn get(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut cursor = Cursor::of(self.blocks.get(self.block_of(path))?);
        (cursor.seek(path) == Some(Ordering::Equal)).then_some(cursor.here.value)
    }

    /// Gives a path this value; whether it had none.
    pub fn insert(&mut self, path: &[u8], value: &[u8]) -> bool {
        !self.edit(path, Some(value))
    }

    /// Removes a path; whether it was there.
    pub fn remove(&mut self, path: &[u8]) -> bool {
        self.edit(path, None)
    }

    /// All entries.
    pub fn entries(&self) -> Entries<'_> {
        Entries { cursor: Cursor::of(&[]), blocks: &self.blocks, is_next: false }
    }

    /// The entry of `path`, if it is there, and all that come after it: at first those below it.
    pub fn entries_from(&self, path: &[u8]) -> Entries<'_> {
        let at = self.block_of(path);
        let mut cursor = Cursor::of(self.blocks.get(at).map_or(&[], Vec::as_slice));
        let is_next = cursor.seek(path).is_some();
        Entries { cursor, blocks: self.blocks.get(at + 1..).unwrap_or_default(), is_next }
    }

    /// What it consists of, for [`Packed::push_block`].
    pub fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().map(Vec::as_slice)
    }

    /// Takes up a block that follows those that are there.
    ///
    /// # Errors
    /// It is none, or its entries do not follow.
    pub fn push_block(&mut self, block: &[u8]) -> Result<(), BadBlock> {
        let last = self.blocks.last().map(|block| {
            let mut cursor = Cursor::of(block);
            while cursor.step() {}
            cursor.before.path
        });
        let mut cursor = Cursor::of(block);
        let mut count = 0;
        while cursor.step() {
            let before = if count == 0 { last.as_ref() } else { Some(&cursor.before.path) };
            let path = &cursor.here.path;
            let is_short = count > 0 && common(&cursor.before.path, path) != cursor.shared;
            if is_short || before.is_some_and(|before| tree_order(before, path).is_ge()) {
                return Err(BadBlock);
            }
            count += 1;
        }
        if count == 0 || cursor.end != block.len() {
            return Err(BadBlock);
        }
        self.blocks.push(block.to_vec());
        self.len += count;
        Ok(())
    }

    /// Which block has a path, if there is any.
    fn block_of(&self, path: &[u8]) -> usize {
        self.blocks
            .partition_point(|block| tree_order(first_path(block), path).is_le())
            .saturating_sub(1)
    }

    /// Gives a path a value or removes it; whether it was there.
    fn edit(&mut self, path: &[u8], value: Option<&[u8]>) -> bool {
        let at = self.block_of(path);
        if self.blocks.is_empty() && value.is_some() {
            self.blocks.push(Vec::new());
        }
        let is_last = at + 1 == self.blocks.len();
        let Some(block) = self.blocks.get_mut(at) else { return false };
        let mut cursor = Cursor::of(block);
        let is_there = cursor.seek(path) == Some(Ordering::Equal);
        if !is_there && value.is_none()
            || is_there && value.is_some_and(|value| *value == cursor.here.value)
        {
            return is_there;
        }
        let (from, mut before) = (cursor.start, cursor.before.clone());
        if is_there {
            cursor.step();
        }
        let mut new = Vec::new();
        if let Some(value) = value {
            before.emit_next(path, value, &mut new);
            before = Entry { path: path.to_vec(), value: value.to_vec() };
        }
        let is_at_end = cursor.is_over;
        if !is_at_end {
            before.emit_next(&cursor.here.path, &cursor.here.value, &mut new);
        }
        let old = from..cursor.end;
        let more = new.len().saturating_sub(old.len());
        if block.capacity() - block.len() < more {
            block.reserve_exact(more + SLACK);
        }
        block.splice(old, new);
        match (is_there, value) {
            (false, _) => self.len += 1,
            (true, None) => self.len -= 1,
            (true, Some(_)) => {}
        }
        if block.len() > BLOCK {
            // What is filled in order makes full blocks.
            let half = if is_last && is_at_end { from } else { block.len() / 2 };
            self.split(at, half);
        } else {
            self.join(at);
        }
        is_there
    }

    /// Makes blocks of one that is too large: the second begins with the first entry at or after `half`, or with
    /// the last one.
    fn split(&mut self, at: usize, half: usize) {
        let Some(block) = self.blocks.get_mut(at) else { return };
        let mut cursor = Cursor::of(block);
        while cursor.step() && cursor.start < half.max(1) && cursor.end < block.len() {}
        if cursor.start == 0 {
            return;
        }
        let mut second = Vec::with_capacity(block.len() - cursor.start + SLACK);
        Entry::default().emit_next(&cursor.here.path, &cursor.here.value, &mut second);
        second.extend_from_slice(&block[cursor.end..]);
        let end = cursor.start;
        block.truncate(end);
        block.shrink_to_fit();
        self.blocks.insert(at + 1, second);
        for at in [at + 1, at] {
            let len = self.blocks.get(at).map_or(0, Vec::len);
            if len > BLOCK {
                self.split(at, len / 2);
            }
        }
    }

    /// Removes a block that is empty, or takes the next one into one if both are small.
    fn join(&mut self, at: usize) {
        if self.blocks.get(at).is_some_and(Vec::is_empty) {
            self.blocks.remove(at);
            return;
        }
        let [one, other, ..] = self.blocks.get(at..).unwrap_or_default() else { return };
        if one.len() + other.len() > BLOCK / 2 {
            return;
        }
        let (mut left, mut right) = (Cursor::of(one), Cursor::of(other));
        while left.step() {}
        right.step();
        let mut joined = one.clone();
        left.before.emit_next(&right.here.path, &right.here.value, &mut joined);
        joined.extend_from_slice(&other[right.end..]);
        self.blocks[at] = joined;
        self.blocks.remove(at + 1);
    }
}

impl Entries<'_> {
    /// The next one: its path and its value.
    pub fn next_entry(&mut self) -> Option<(&[u8], &[u8])> {
        if !std::mem::take(&mut self.is_next) {
            while !self.cursor.step() {
                let (block, rest) = self.blocks.split_first()?;
                self.blocks = rest;
                self.cursor.go_to(block);
            }
        }
        Some((&self.cursor.here.path, &self.cursor.here.value))
    }
}

#[derive(Clone, Default, Debug)]
struct Entry {
    path: Vec<u8>,
    value: Vec<u8>,
}

impl Entry {
    /// Appends an entry that comes after this one.
    fn emit_next(&self, path: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let shared = [common(&self.path, path), common(&self.value, value)];
        let rest = [&path[shared[0]..], &value[shared[1]..]];
        for (shared, rest) in shared.iter().zip(rest) {
            out.put_varint(*shared as u64);
            out.put_varint(rest.len() as u64);
        }
        rest.iter().for_each(|rest| out.extend_from_slice(rest));
    }
}

/// A place in a block.
#[derive(Debug)]
struct Cursor<'a> {
    block: &'a [u8],
    /// Where the entry begins and ends.
    start: usize,
    end: usize,
    here: Entry,
    /// The entry before it; empty if there is none.
    before: Entry,
    /// How many bytes the paths of both begin with.
    shared: usize,
    /// It is after the last one.
    is_over: bool,
}

impl<'a> Cursor<'a> {
    /// Before the first entry.
    fn of(block: &'a [u8]) -> Self {
        let (here, before) = (Entry::default(), Entry::default());
        Cursor { block, start: 0, end: 0, here, before, shared: 0, is_over: false }
    }

    fn go_to(&mut self, block: &'a [u8]) {
        (self.block, self.start, self.end, self.is_over) = (block, 0, 0, false);
        self.here.path.clear();
        self.here.value.clear();
    }

    /// Goes to the next entry; whether there is one.
    fn step(&mut self) -> bool {
        if self.is_over {
            return false;
        }
        std::mem::swap(&mut self.here, &mut self.before);
        self.here.path.clear();
        self.here.value.clear();
        self.start = self.end;
        self.is_over = self.read().is_none();
        !self.is_over
    }

    fn read(&mut self) -> Option<()> {
        let mut reader = Reader::new(self.block.get(self.start..)?);
        let mut count = || usize::try_from(reader.varint().ok()?).ok();
        let counts = [count()?, count()?, count()?, count()?];
        let rests = [reader.take(counts[1]).ok()?, reader.take(counts[3]).ok()?];
        self.here.path.extend_from_slice(self.before.path.get(..counts[0])?);
        self.here.path.extend_from_slice(rests[0]);
        self.here.value.extend_from_slice(self.before.value.get(..counts[2])?);
        self.here.value.extend_from_slice(rests[1]);
        (self.shared, self.end) = (counts[0], self.block.len() - reader.rest().len());
        Some(())
    }

    /// Goes to the first entry of `path` or after it, and says how that compares; None if it is over.
    fn seek(&mut self, path: &[u8]) -> Option<Ordering> {
        // How many bytes the entry before has as `path`. It is less: what has more in common with it is less, too, and
        // what has less in common with it is greater.
        let mut matched = 0;
        while self.step() {
            match self.shared.cmp(&matched) {
                Ordering::Greater => continue,
                Ordering::Less => return Some(Ordering::Greater),
                Ordering::Equal => {}
            }
            matched += common(&self.here.path[matched..], &path[matched..]);
            let order = tree_order(&self.here.path[matched..], &path[matched..]);
            if order.is_ge() {
                return Some(order);
            }
        }
        None
    }
}

/// The path of the first entry of a block.
fn first_path(block: &[u8]) -> &[u8] {
    let mut reader = Reader::new(block);
    let mut count = || reader.varint().ok();
    let counts = (count(), count(), count(), count());
    let len = counts.1.and_then(|len| usize::try_from(len).ok());
    len.and_then(|len| reader.take(len).ok()).unwrap_or_default()
}

/// How many bytes both begin with.
fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::rng::Rng;

    /// A path as the order of [`Packed`] has it.
    #[derive(Clone, PartialEq, Eq, Debug)]
    struct Path(Vec<u8>);

    impl Ord for Path {
        fn cmp(&self, other: &Self) -> Ordering {
            tree_order(&self.0, &other.0)
        }
    }

    impl PartialOrd for Path {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    type Plain = BTreeMap<Path, Vec<u8>>;

    fn all(mut entries: Entries<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some((path, value)) = entries.next_entry() {
            all.push((path.to_vec(), value.to_vec()));
        }
        all
    }

    fn plain_from(plain: &Plain, from: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let range = plain.range(Path(from.to_vec())..);
        range.map(|(path, value)| (path.0.clone(), value.clone())).collect()
    }

    /// Looks at all that has to hold of the blocks.
    fn check(packed: &Packed, plain: &Plain) {
        assert_eq!(packed.len(), plain.len());
        assert_eq!(packed.is_empty(), plain.is_empty());
        assert_eq!(all(packed.entries()), plain_from(plain, b""));
        let mut again = Packed::default();
        for block in packed.blocks() {
            again.push_block(block).unwrap();
            let mut cursor = Cursor::of(block);
            let count = std::iter::from_fn(|| cursor.step().then_some(())).count();
            assert!(block.len() <= BLOCK || count == 1, "{count} in {}", block.len());
        }
        assert_eq!(all(again.entries()), all(packed.entries()));
        assert_eq!(again.len(), packed.len());
    }

    fn random(rng: &mut Rng, long: bool) -> Vec<u8> {
        const NAMES: [&str; 9] =
            ["a", "a-", "a.b", "b", "images", "image", "x\u{1}", "\u{ff}", "0"];
        let depth = rng.below(6);
        let mut parts: Vec<String> =
            (0..depth).map(|_| NAMES[rng.below(9) as usize].to_owned()).collect();
        if depth > 3 {
            parts.push(format!("{:04}", rng.below(300)));
        }
        if long && rng.below(50) == 0 {
            parts.push("long".repeat(1 + rng.below(900) as usize));
        }
        parts.join("/").into_bytes()
    }

    fn value(rng: &mut Rng) -> Vec<u8> {
        let len = if rng.below(100) == 0 { rng.below(9_000) } else { rng.below(120) };
        let fill = rng.below(3) as u8;
        let mut value = vec![fill; len as usize];
        value.iter_mut().rev().take(9).for_each(|byte| *byte = rng.below(256) as u8);
        value
    }

    #[test]
    fn random_histories_are_as_those_of_a_plain_map() {
        for seed in 0..12 {
            let mut rng = Rng::new(seed);
            let (mut packed, mut plain) = (Packed::default(), Plain::new());
            for step in 0..3_000 {
                let path = random(&mut rng, seed % 2 == 0);
                // Grows, then shrinks to nothing or nearly.
                if rng.below(10) < if step < 1_500 { 7 } else { 2 } {
                    let value = value(&mut rng);
                    let is_new = plain.insert(Path(path.clone()), value.clone()).is_none();
                    assert_eq!(packed.insert(&path, &value), is_new, "{seed} {step}");
                } else {
                    let was_there = plain.remove(&Path(path.clone())).is_some();
                    assert_eq!(packed.remove(&path), was_there, "{seed} {step}");
                }
                let other = random(&mut rng, false);
                assert_eq!(packed.get(&other), plain.get(&Path(other.clone())).cloned());
                if step % 150 == 0 {
                    check(&packed, &plain);
                    assert_eq!(all(packed.entries_from(&other)), plain_from(&plain, &other));
                }
            }
            check(&packed, &plain);
            for path in plain.keys() {
                assert!(packed.remove(&path.0));
            }
            check(&packed, &Plain::new());
            assert_eq!(packed.blocks().count(), 0);
        }
    }

    #[test]
    fn what_is_below_a_directory_comes_directly_after_it() {
        let order = ["", "a", "a/b", "a/b/c", "a/b.d", "a\u{1}", "a-", "a.d", "a.d/x", "b"];
        let mut packed = Packed::default();
        for at in [4, 7, 1, 0, 9, 3, 2, 8, 6, 5] {
            assert!(packed.insert(order[at].as_bytes(), &[at as u8]));
        }
        let found: Vec<_> = all(packed.entries());
        assert_eq!(found.len(), order.len());
        for (at, (path, value)) in found.iter().enumerate() {
            assert_eq!(
                (path.as_slice(), value.as_slice()),
                (order[at].as_bytes(), &[at as u8][..])
            );
        }
        let mut below = packed.entries_from(b"a/");
        assert_eq!(below.next_entry().unwrap().0, b"a/b");
        assert!(packed.entries_from(b"c").next_entry().is_none());
    }

    #[test]
    fn any_bytes_are_a_block_or_are_refused() {
        let mut rng = Rng::new(3);
        let mut packed = Packed::default();
        for at in 0..40 {
            packed.insert(format!("dir/file-{at:03}").as_bytes(), &value(&mut rng));
        }
        let block = packed.blocks().next().unwrap().to_vec();
        assert_eq!(packed.clone().push_block(&block), Err(BadBlock), "it does not follow");
        assert_eq!(packed.push_block(&[]), Err(BadBlock));
        for _ in 0..5_000 {
            let mut bytes = block[..rng.below(block.len() as u64 + 1) as usize].to_vec();
            for _ in 0..rng.below(4) {
                if let Some(at) = bytes.len().checked_sub(1).map(|_| rng.below(bytes.len() as u64))
                {
                    bytes[at as usize] = rng.below(256) as u8;
                }
            }
            let mut new = Packed::default();
            let is_fine = new.push_block(&bytes).is_ok();
            assert_eq!(all(new.entries()).len(), new.len());
            assert_eq!(is_fine, !new.is_empty());
            // What was taken up is a map like any other.
            new.insert(b"dir/file-010x", b"new");
            assert_eq!(new.get(b"dir/file-010x").as_deref(), Some(&b"new"[..]));
            new.remove(b"dir/file-010x");
        }
    }
}
