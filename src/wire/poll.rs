//! POLL: how far the sender has got, and who must answer.

use super::Error;
use super::begin::MAX_TARGETS;
use super::bits::Bits;
use super::bytes::{Put, Reader};
use crate::ids::{BatchNo, BlockNo, TargetNo};

/// Everything before this has been sent once, in a stream of batches and their blocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Mark {
    /// The batch that is being sent.
    pub batch: BatchNo,
    /// The first of its blocks that has not been sent.
    pub block: BlockNo,
}

impl Mark {
    /// The mark within one batch: the first block of `batch` that has not been sent.
    pub fn within(&self, batch: BatchNo) -> BlockNo {
        match batch.cmp(&self.batch) {
            std::cmp::Ordering::Less => BlockNo::END,
            std::cmp::Ordering::Equal => self.block,
            std::cmp::Ordering::Greater => BlockNo::ZERO,
        }
    }

    /// The last batch of which anything has been sent.
    pub fn last_begun(&self) -> BatchNo {
        if self.block == BlockNo::ZERO { self.batch.previous() } else { self.batch }
    }
}

/// Which targets must answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// From this target on so many, going on with the first after the last.
    Slice(TargetNo, u16),
    /// These.
    These(Bits<TargetNo>),
}

impl Asked {
    /// How many of `total` targets must answer.
    pub fn count(&self, total: u16) -> u16 {
        match self {
            Asked::Slice(_, count) => (*count).min(total),
            Asked::These(bits) => bits.iter().count() as u16,
        }
    }

    /// Whether `target`, one of `total`, must answer.
    pub fn includes(&self, target: TargetNo, total: u16) -> bool {
        match self {
            Asked::Slice(first, count) => {
                let total = u32::from(total.max(1));
                let (target, first) = (u32::from(target.get()), u32::from(first.get()));
                let distance = (target + total - first % total) % total;
                distance < u32::from(*count)
            }
            Asked::These(bits) => bits.contains(target),
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
    pub want_first: BatchNo,
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
        let mut mark = || {
            let (batch, block) = (reader.u32()?, reader.u32()?);
            Ok(Mark { batch: BatchNo::new(batch), block: BlockNo::new(block) })
        };
        let offers = mark()?;
        let data = mark()?;
        let spread = reader.u32()?;
        let want_first = BatchNo::new(reader.u32()?);
        let want_need = reader.u16()?;
        let want_done = reader.u16()?;
        let asked = match reader.u8()? {
            0 => Asked::Slice(TargetNo::new(reader.u16()?), reader.u16()?),
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
            out.put_u32(mark.batch.get());
            out.put_u32(mark.block.get());
        }
        out.put_u32(self.spread);
        out.put_u32(self.want_first.get());
        out.put_u16(self.want_need);
        out.put_u16(self.want_done);
        match &self.asked {
            Asked::Slice(first, count) => {
                out.push(0);
                out.put_u16(first.get());
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

    fn mark(batch: u32, block: u32) -> Mark {
        Mark { batch: BatchNo::new(batch), block: BlockNo::new(block) }
    }

    #[test]
    fn round_trips_in_both_forms() {
        let these = Bits::of([3, 999].map(TargetNo::new));
        for asked in [Asked::Slice(TargetNo::new(998), 7), Asked::These(these)] {
            let poll = Poll {
                offers: mark(9, 1),
                data: mark(7, u32::MAX),
                spread: 50_000,
                want_first: BatchNo::new(5),
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
        let slice = Asked::Slice(TargetNo::new(8), 4);
        let all = TargetNo::ZERO.onwards().take(10);
        let asked: Vec<TargetNo> = all.filter(|&target| slice.includes(target, 10)).collect();
        assert_eq!(asked, [0, 1, 8, 9].map(TargetNo::new));
        assert!(!Asked::Slice(TargetNo::ZERO, 0).includes(TargetNo::ZERO, 0));
    }

    #[test]
    fn a_mark_says_how_much_of_a_batch_was_sent() {
        let sent = [3, 4, 5].map(|batch| mark(4, 10).within(BatchNo::new(batch)));
        assert_eq!(sent, [BlockNo::END, BlockNo::new(10), BlockNo::ZERO]);
        assert_eq!(mark(4, 10).last_begun(), BatchNo::new(4));
        assert_eq!(mark(4, 0).last_begun(), BatchNo::new(3));
    }
}
