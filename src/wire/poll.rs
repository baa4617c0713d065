//! POLL: how far the sender has got, and who must answer.

use super::Error;
use super::begin::{Bits, MAX_TARGETS};
use super::bytes::{Put, Reader};

/// Everything before this has been sent once, in a stream of batches and their blocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Mark {
    /// The batch that is being sent.
    pub batch: u32,
    /// The first of its blocks that has not been sent.
    pub block: u32,
}

impl Mark {
    /// How many blocks of `batch` are below the mark.
    pub fn below(&self, batch: u32) -> u32 {
        match batch.cmp(&self.batch) {
            std::cmp::Ordering::Less => u32::MAX,
            std::cmp::Ordering::Equal => self.block,
            std::cmp::Ordering::Greater => 0,
        }
    }
}

/// Which targets must answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// So many targets from this index on, around the end.
    Slice(u16, u16),
    /// These.
    These(Bits),
}

impl Asked {
    /// How many of `total` targets must answer.
    pub fn count(&self, total: u16) -> u16 {
        match self {
            Asked::Slice(_, count) => (*count).min(total),
            Asked::These(bits) => bits.iter().count() as u16,
        }
    }

    /// Whether the target of `index` among `total` must answer.
    pub fn includes(&self, index: u16, total: u16) -> bool {
        match self {
            Asked::Slice(first, count) => {
                let total = u32::from(total.max(1));
                let distance = (u32::from(index) + total - u32::from(*first) % total) % total;
                distance < u32::from(*count)
            }
            Asked::These(bits) => bits.contains(index.into()),
        }
    }
}

/// The payload of POLL. Its number is the header's block, the lowest batch that is not done
/// everywhere the header's batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Poll {
    /// How far manifests have been sent.
    pub offers: Mark,
    /// How far bodies have been sent.
    pub data: Mark,
    /// Over how many microseconds the answers spread.
    pub spread: u32,
    /// The batch of the first bit of the next two.
    pub want_first: u32,
    /// Batches whose NEED the sender lacks from someone asked.
    pub want_need: u16,
    /// Batches whose DONE the sender lacks from someone asked.
    pub want_done: u16,
    /// Who must answer.
    pub asked: Asked,
}

impl Poll {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown form of `asked`; a set over its bound; the wrong length.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let mut mark = || Ok(Mark { batch: reader.u32()?, block: reader.u32()? });
        let offers = mark()?;
        let data = mark()?;
        let spread = reader.u32()?;
        let want_first = reader.u32()?;
        let want_need = reader.u16()?;
        let want_done = reader.u16()?;
        let asked = match reader.u8()? {
            0 => Asked::Slice(reader.u16()?, reader.u16()?),
            1 => Asked::These(Bits::parse(&mut reader, MAX_TARGETS)?),
            _ => return Err(Error::Invalid),
        };
        reader.end()?;
        Ok(Poll { offers, data, spread, want_first, want_need, want_done, asked })
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        for mark in [self.offers, self.data] {
            out.put_u32(mark.batch);
            out.put_u32(mark.block);
        }
        out.put_u32(self.spread);
        out.put_u32(self.want_first);
        out.put_u16(self.want_need);
        out.put_u16(self.want_done);
        match &self.asked {
            Asked::Slice(first, count) => {
                out.push(0);
                out.put_u16(*first);
                out.put_u16(*count);
            }
            Asked::These(bits) => {
                out.push(1);
                bits.emit(&mut out);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_in_both_forms() {
        for asked in [Asked::Slice(998, 7), Asked::These(Bits::of([3, 999]))] {
            let poll = Poll {
                offers: Mark { batch: 9, block: 1 },
                data: Mark { batch: 7, block: u32::MAX },
                spread: 50_000,
                want_first: 5,
                want_need: 0x8001,
                want_done: 3,
                asked,
            };
            let bytes = poll.emit();
            assert_eq!(Poll::parse(&bytes), Ok(poll));
            for len in 0..bytes.len() {
                assert_eq!(Poll::parse(&bytes[..len]), Err(Error::Truncated));
            }
        }
    }

    #[test]
    fn a_slice_goes_around_the_end() {
        let slice = Asked::Slice(8, 4);
        let asked: Vec<u16> = (0..10).filter(|&index| slice.includes(index, 10)).collect();
        assert_eq!(asked, [0, 1, 8, 9]);
        assert!(!Asked::Slice(0, 0).includes(0, 0));
    }

    #[test]
    fn a_mark_says_how_much_of_a_batch_was_sent() {
        let mark = Mark { batch: 4, block: 10 };
        assert_eq!([mark.below(3), mark.below(4), mark.below(5)], [u32::MAX, 10, 0]);
    }
}
