//! Sets of entries and of targets, as COMMIT and POLL carry them: one bit each, in counted bytes.

use std::marker::PhantomData;

use super::Error;
use super::bytes::{Put, Reader};
use crate::ids::Index;

/// A set of entries or of targets, one bit each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bits<N> {
    bytes: Vec<u8>,
    numbers: PhantomData<N>,
}

impl<N> Default for Bits<N> {
    fn default() -> Self {
        Bits { bytes: Vec::new(), numbers: PhantomData }
    }
}

impl<N: Index> Bits<N> {
    /// The set of `numbers`.
    pub fn of(numbers: impl IntoIterator<Item = N>) -> Self {
        let mut bits = Bits::default();
        for number in numbers {
            bits.insert(number);
        }
        bits
    }

    /// Adds a number.
    pub fn insert(&mut self, number: N) {
        let index = number.index();
        if self.bytes.len() <= index / 8 {
            self.bytes.resize(index / 8 + 1, 0);
        }
        self.bytes[index / 8] |= 1 << (index % 8);
    }

    /// Takes a number out.
    pub fn remove(&mut self, number: N) {
        let index = number.index();
        if let Some(byte) = self.bytes.get_mut(index / 8) {
            *byte &= !(1 << (index % 8));
        }
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: N) -> bool {
        let index = number.index();
        self.bytes.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 != 0)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.iter().all(|&byte| byte == 0)
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = N> + '_ {
        (0..self.bytes.len() * 8).map(N::of).filter(|&number| self.contains(number))
    }

    /// Reads a counted set of numbers under `bound`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it has room for more; [`Error::Truncated`].
    pub fn parse(reader: &mut Reader<'_>, bound: usize) -> Result<Self, Error> {
        let bytes = reader.counted(bound.div_ceil(8))?.to_vec();
        Ok(Bits { bytes, numbers: PhantomData })
    }

    /// Writes it with its count.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.put_counted(&self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EntryNo, TargetNo};

    #[test]
    fn a_set_holds_what_was_put_in_and_not_taken_out() {
        let mut set = Bits::of([0, 9, 999].map(TargetNo::new));
        set.insert(TargetNo::new(7));
        set.remove(TargetNo::new(9));
        set.remove(TargetNo::new(5_000));
        assert_eq!(set.iter().map(TargetNo::get).collect::<Vec<_>>(), [0, 7, 999]);
        assert!(set.contains(TargetNo::new(7)) && !set.contains(TargetNo::new(9)));
        assert!(!set.contains(TargetNo::new(u16::MAX)));
        [0, 7, 999].map(TargetNo::new).into_iter().for_each(|number| set.remove(number));
        assert!(set.is_empty());
    }

    #[test]
    fn a_set_with_room_for_more_than_its_bound_is_refused() {
        let mut bytes = Vec::new();
        Bits::of([EntryNo::new(1_023)]).emit(&mut bytes);
        let parse = |bound| Bits::<EntryNo>::parse(&mut Reader::new(&bytes), bound);
        assert_eq!(parse(1_024), Ok(Bits::of([EntryNo::new(1_023)])));
        assert_eq!(parse(1_016), Err(Error::TooLarge));
    }
}
