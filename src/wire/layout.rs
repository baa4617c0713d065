//! Where the bytes of a batch's regular files are in its body, and which blocks hold them.
//!
//! The body of a batch is the contents of its regular files, in order, one after the other. Block `n`
//! holds the bytes from `n * block` on. Sender and targets compute the same layout from the manifest.

use std::ops::Range;

use super::manifest::{Extent, Kind, Manifest};
use crate::ids::{BlockNo, BlockRange, EntryNo};

/// A body that is one file of more bytes than this streams from disk to disk; every other body is put
/// together in memory.
pub const STREAM_OVER: u64 = 512 << 10;
/// The most bytes of a body that is put together in memory.
pub const MAX_BODY: u64 = 4 << 20;

/// One file's place in a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Its entry in the manifest.
    pub entry: EntryNo,
    /// The place of its first byte in the body.
    pub start: u64,
    /// Its size in bytes; never 0 (empty files have no place).
    pub len: u64,
    data: Option<Vec<Extent>>,
}

/// The body of one batch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Layout {
    block: u32,
    len: u64,
    slots: Vec<Slot>,
}

impl Layout {
    /// Lays out the files of `manifest` in blocks of `block` bytes.
    ///
    /// None if the body would need more than 2^32 - 1 blocks, or `block` is 0.
    pub fn new(manifest: &Manifest, block: u32) -> Option<Self> {
        let mut layout = Layout { block, len: 0, slots: Vec::new() };
        for (entry, found) in manifest.entries.iter().enumerate() {
            let Kind::File { size: len @ 1.., data } = &found.kind else { continue };
            layout.slots.push(Slot {
                entry: u16::try_from(entry).ok().map(EntryNo::new)?,
                start: layout.len,
                len: *len,
                data: data.clone(),
            });
            layout.len = layout.len.checked_add(*len)?;
        }
        let blocks = layout.len.checked_add(u64::from(block))? / u64::from(block.max(1));
        (block > 0 && blocks < u64::from(u32::MAX)).then_some(layout)
    }

    /// The bytes of the body.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether this is one long file, which targets write as it arrives.
    pub fn streams(&self) -> bool {
        self.slots.len() == 1 && self.len > STREAM_OVER
    }

    /// Whether targets accept it: it streams, or fits into memory.
    pub fn is_sound(&self) -> bool {
        self.streams() || self.len <= MAX_BODY
    }

    /// The size of a block in bytes; the last one may be shorter.
    pub fn block(&self) -> u32 {
        self.block
    }

    /// How many blocks the body has.
    pub fn blocks(&self) -> u32 {
        // `new` has checked that this fits.
        self.len.div_ceil(self.block.max(1).into()) as u32
    }

    /// The end of the body: the number after its last block.
    pub fn end(&self) -> BlockNo {
        BlockNo::new(self.blocks())
    }

    /// The bytes of the body that `block` holds; empty past the end.
    pub fn bytes_of(&self, block: BlockNo) -> Range<u64> {
        let start = (u64::from(block.get()) * u64::from(self.block)).min(self.len);
        start..(start + u64::from(self.block)).min(self.len)
    }

    /// The bytes of the body that `blocks` hold.
    pub fn bytes_of_all(&self, blocks: BlockRange) -> Range<u64> {
        self.bytes_of(blocks.start).start..self.bytes_of(blocks.end).start
    }

    /// The files, in order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The files that have bytes in `bytes` of the body, in order.
    pub fn slots_in(&self, bytes: &Range<u64>) -> &[Slot] {
        let from = self.slots.partition_point(|slot| slot.start + slot.len <= bytes.start);
        let to = self.slots.partition_point(|slot| slot.start < bytes.end);
        self.slots.get(from..to).unwrap_or(&[])
    }

    /// The place of the file of `entry`, if it has one.
    pub fn slot(&self, entry: EntryNo) -> Option<&Slot> {
        self.slots.binary_search_by_key(&entry, |slot| slot.entry).ok().map(|at| &self.slots[at])
    }

    /// The blocks that hold data of `slot`, as ascending ranges, which may touch or share a block.
    pub fn blocks_of<'a>(&'a self, slot: &'a Slot) -> impl Iterator<Item = BlockRange> + 'a {
        let whole = Extent { start: 0, end: slot.len };
        // A body in memory is written as a whole, so that its holes are sent too.
        let data = slot.data.as_deref().filter(|_| self.streams());
        let extents = data.unwrap_or(&[]);
        let all = data.is_none().then_some(whole);
        let block = u64::from(self.block.max(1));
        extents.iter().copied().chain(all).map(move |extent| {
            let start = (slot.start + extent.start) / block;
            let end = (slot.start + extent.end).div_ceil(block);
            BlockRange::new(BlockNo::new(start as u32), BlockNo::new(end as u32))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::entry;
    use super::*;
    use crate::ids::blocks;

    fn file(size: u64) -> Kind {
        Kind::File { size, data: None }
    }

    #[test]
    fn small_files_share_blocks() {
        let entries = vec![
            entry("a", file(10)),
            entry("b", file(0)),
            entry("c", Kind::Fifo),
            entry("d", file(25)),
        ];
        let layout = Layout::new(&Manifest { entries, ..Manifest::default() }, 16).unwrap();
        assert_eq!((layout.len(), layout.blocks()), (35, 3));
        let d = layout.slot(EntryNo::new(3)).unwrap();
        assert_eq!(layout.blocks_of(d).collect::<Vec<_>>(), [blocks(0..3)]);
        assert_eq!(
            layout.blocks_of(layout.slot(EntryNo::ZERO).unwrap()).collect::<Vec<_>>(),
            [blocks(0..1)]
        );
        assert_eq!(layout.bytes_of(BlockNo::new(2)), 32..35);
        assert_eq!(layout.bytes_of(BlockNo::new(9)), 35..35);
        assert_eq!(layout.bytes_of_all(blocks(1..3)), 16..35);
        assert_eq!(layout.bytes_of_all(blocks(0..2)), 0..32);
        assert_eq!(layout.bytes_of_all(blocks(3..3)), 35..35);
        assert_eq!(layout.slots_in(&(0..16)).len(), 2);
        assert_eq!(layout.slots_in(&(10..11)), std::slice::from_ref(d));
        assert_eq!(layout.slots_in(&(35..35)), []);
        assert!(layout.slot(EntryNo::new(1)).is_none());
    }

    #[test]
    fn holes_have_no_blocks() {
        let data = Some(vec![Extent { start: 0, end: 1 }, Extent { start: 100, end: 140 }]);
        let entries = vec![entry("a", Kind::File { size: 1 << 40, data })];
        let layout = Layout::new(&Manifest { entries, ..Manifest::default() }, 1_424).unwrap();
        assert_eq!(layout.blocks_of(&layout.slots()[0]).collect::<Vec<_>>(), [blocks(0..1); 2]);
    }

    #[test]
    fn a_body_of_too_many_blocks_is_refused() {
        let entries = vec![entry("a", file(1 << 40))];
        assert!(
            Layout::new(&Manifest { entries: entries.clone(), ..Manifest::default() }, 128)
                .is_none()
        );
        assert!(
            Layout::new(&Manifest { entries: entries.clone(), ..Manifest::default() }, 0).is_none()
        );
        assert!(Layout::new(&Manifest { entries, ..Manifest::default() }, 1_424).is_some());
        let entries = vec![entry("a", file(i64::MAX as u64)); 3];
        assert!(Layout::new(&Manifest { entries, ..Manifest::default() }, 8_192).is_none());
    }
}
