//! The batches of a transfer that are on their way, and the bytes of their files.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::sync::Arc;

use super::packets_out::PacketsOut;
use crate::engine::destination::Destination;
use crate::fs::batch::SourceBatch;
use crate::fs::root::Root;
use crate::fs::source::Source;
use crate::ids::{BatchNo, BlockRange, EntryNo};
use crate::name::RelPath;
use crate::time::Time;
use crate::wire::bits::Bits;
use crate::wire::header::Header;
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::Reason;

/// The bodies of so many batches stay in memory; those of older ones are read again for repairs.
const BODIES: usize = 4;

/// Entries that cannot be sent as their manifest says, and why.
pub(super) type Struck = Vec<(EntryNo, Reason)>;

/// A batch that is on its way.
#[derive(Debug)]
struct OpenBatch {
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
    source: Source,
    body: Option<Vec<u8>>,
    /// The entries whose bytes are in `body`.
    loaded: Bits<EntryNo>,
}

/// The batches that are on their way.
#[derive(Default, Debug)]
pub(super) struct OpenBatches {
    batches: BTreeMap<BatchNo, OpenBatch>,
    /// The memory of a body that is not needed any more, for the next one.
    spare: Vec<u8>,
}

impl OpenBatches {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// A batch sets out.
    pub(super) fn open(
        &mut self,
        number: BatchNo,
        root: &Arc<Root>,
        batch: &SourceBatch,
        layout: Arc<Layout>,
    ) {
        let open = OpenBatch {
            manifest: Arc::clone(&batch.manifest),
            source: Source::new(Arc::clone(root), batch, Arc::clone(&layout)),
            layout,
            body: None,
            loaded: Bits::default(),
        };
        self.batches.insert(number, open);
    }

    /// A batch is done.
    pub(super) fn close(&mut self, number: BatchNo) {
        if let Some(body) = self.batches.remove(&number).and_then(|open| open.body) {
            self.spare = body;
        }
    }

    /// The path of a file that was offered without its digest.
    pub(super) fn without_digest(&self, number: BatchNo, entry: EntryNo) -> Option<&RelPath> {
        let manifest = &self.batches.get(&number)?.manifest;
        manifest.age(entry)?;
        manifest.entries.get(entry.index()).map(|entry| &entry.path)
    }

    /// The path of an entry, if its batch is open.
    pub(super) fn path(&self, number: BatchNo, entry: EntryNo) -> Option<&RelPath> {
        let entries = &self.batches.get(&number)?.manifest.entries;
        entries.get(entry.index()).map(|entry| &entry.path)
    }

    /// Compares the files of a batch that are `wanted` with its manifest once more.
    pub(super) fn verify(&self, number: BatchNo, wanted: &dyn Fn(EntryNo) -> bool) -> Struck {
        self.batches.get(&number).map(|open| open.source.verify(wanted)).unwrap_or_default()
    }

    /// Reads and sends neighbouring blocks; `sent` says which entries' bytes have to be right.
    pub(super) fn send(
        &mut self,
        now: Time,
        out: &mut PacketsOut,
        to: Destination,
        header: Header,
        blocks: BlockRange,
        sent: &dyn Fn(EntryNo) -> bool,
    ) -> Struck {
        let Some(open) = self.batches.get_mut(&header.batch) else { return Struck::new() };
        let layout = &open.layout;
        if layout.streams() {
            let read =
                |offset: u64, slices: &mut [IoSliceMut<'_>]| open.source.read_at(offset, slices);
            return match out.blocks(now, to, header, blocks, layout, read) {
                Ok(()) => Struck::new(),
                Err(reason) => {
                    layout.slots().first().map(|slot| (slot.entry, reason)).into_iter().collect()
                }
            };
        }
        let bytes = layout.bytes_of_all(blocks);
        let slots = layout.slots_in(&bytes);
        let lacking =
            slots.iter().any(|slot| !open.loaded.contains(slot.entry) && sent(slot.entry));
        let mut struck = Struck::new();
        if open.body.is_none() || lacking {
            let memory = open.body.take().unwrap_or_else(|| std::mem::take(&mut self.spare));
            let (body, failed) = open.source.load(memory, sent);
            let entries = layout.slots().iter().map(|slot| slot.entry);
            open.loaded = Bits::of(entries.filter(|&entry| sent(entry)));
            open.body = Some(body);
            struck = failed;
        }
        let body = open.body.as_deref().unwrap_or_default();
        // The body is as long as its layout says.
        let _ = out
            .blocks(now, to, header, blocks, layout, |offset, slices| copy(body, offset, slices));
        self.keep_few_bodies(header.batch);
        struck
    }

    fn keep_few_bodies(&mut self, used: BatchNo) {
        let held = self.batches.values().filter(|open| open.body.is_some()).count();
        if held > BODIES {
            let mut others = self.batches.iter_mut().filter(|(number, _)| **number != used);
            if let Some((_, oldest)) = others.find(|(_, open)| open.body.is_some()) {
                self.spare = oldest.body.take().unwrap_or_default();
            }
        }
    }
}

/// Fills `slices` with what is in `body` from `offset` on.
fn copy(body: &[u8], offset: u64, slices: &mut [IoSliceMut<'_>]) -> Result<(), ()> {
    let mut at = offset as usize;
    for slice in slices {
        let from = body.get(at..at + slice.len()).ok_or(())?;
        slice.copy_from_slice(from);
        at += slice.len();
    }
    Ok(())
}
