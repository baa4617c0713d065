//! What targets answer: ACCEPT, NEED, STATUS, DONE, DELETED, ENDED, BUSY.
//!
//! Each payload starts with the node id of the transfer's sender. A sender that was restarted has a new
//! node id and may use the same transfer numbers: answers to its earlier life are told apart by it.

use super::Error;
use super::bytes::{Put, Reader, varint_len};
use super::header::PacketKind;
use super::manifest::MAX_ENTRIES;
use super::outcome::{Code, DeletionTally, Need, Outcome, Reason, Runs, SpoolCode};
use crate::ids::{BatchNo, BlockNo, BlockRange, PollNo};
use crate::name::{MAX_PATH, NodeId, RelPath};

/// The most batches of a transfer that are open at one target.
pub const MAX_OPEN: usize = 16;
/// The most bytes of a path that a refusal carries.
pub const MAX_REFUSED_PATH: usize = 400;

/// Whether a target takes part in a transfer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It does.
    Accepted,
    /// It does, but this host, by its address, is sending to the same path.
    Shared(Vec<u8>),
    /// It does not, or no longer.
    Refused {
        /// Why.
        reason: Reason,
        /// The path that it is about, cut if it is very long; empty if it is about none.
        path: Vec<u8>,
    },
}

/// How far a target is with a batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum State {
    /// It has no memory for the batch now, and will say when it has.
    Waiting = 0,
    /// Blocks of the manifest are missing.
    Offer = 1,
    /// It compares the entries with what is there.
    Planning = 2,
    /// Blocks of the body may be missing.
    Body = 3,
    /// It has all blocks and is writing them to disk.
    Staging = 4,
    /// It can commit.
    Staged = 5,
    /// It is committing.
    Committing = 6,
    /// It has committed, or there was nothing to commit.
    Done = 7,
}

impl State {
    const ALL: [State; 8] = [
        State::Waiting,
        State::Offer,
        State::Planning,
        State::Body,
        State::Staging,
        State::Staged,
        State::Committing,
        State::Done,
    ];
}

/// One batch in a STATUS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchStatus {
    /// How far it is.
    pub state: State,
    /// In [`State::Offer`] and [`State::Body`]: the blocks that were sent and have not come, ascending
    /// and with gaps between the ranges; as many as fit into the packet.
    pub missing: Vec<BlockRange>,
}

/// The payload of STATUS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The poll it answers, or the last one before it.
    pub poll: PollNo,
    /// Whether it answers a poll that asked this target, rather than being sent unasked.
    pub asked: bool,
    /// How long after the poll the answer is sent, in microseconds.
    pub held: u32,
    /// How many bytes the sender may have in flight to this target.
    pub grant: u32,
    /// How many blocks of this transfer had come before that poll, of those sent to all targets.
    pub received: u32,
    /// How many bytes of the files that were announced it is through with, be it that it has digested them
    /// or that it has none to digest.
    pub digested: u64,
    /// The first batch that it is about; all before are done.
    pub first: BatchNo,
    /// That batch and those after it.
    pub batches: Vec<BatchStatus>,
}

/// The payload of DELETED: what a target says of the entries that it has spooled for deletion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// How many there are.
    Tally(DeletionTally),
    /// How many were deleted, and how many could not be.
    Ran {
        /// Deleted entries.
        deleted: u64,
        /// Entries that could not be deleted.
        failed: u64,
    },
    /// Some of them by name, in order; none if there are no more.
    Page {
        /// How many names come before these.
        skip: u64,
        /// The names, and what became of each.
        names: Vec<(SpoolCode, RelPath)>,
    },
}

/// The most bytes that a name takes in a [`Deleted::Page`] beside its own.
pub const PAGE_EACH: usize = 6;
/// The most bytes of a [`Deleted::Page`] that are not names.
pub const PAGE_AROUND: usize = 8 + 1 + 10;

/// What a target answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Feedback {
    /// ACCEPT.
    Accept {
        /// Whether it takes part.
        verdict: Verdict,
        /// How many bytes the sender may have in flight to this target.
        grant: u32,
    },
    /// NEED, for the batch in the header.
    Need(Runs<Need>),
    /// STATUS.
    Status(Status),
    /// DONE, for the batch in the header.
    Done(Runs<Outcome>),
    /// DELETED.
    Deleted(Deleted),
    /// ENDED.
    Ended,
    /// BUSY.
    Busy,
}

impl Feedback {
    /// The bytes of a NEED or DONE before its runs.
    pub const PREFIX: usize = 8;

    /// The kind of packet it travels in.
    pub fn kind(&self) -> PacketKind {
        match self {
            Feedback::Accept { .. } => PacketKind::Accept,
            Feedback::Need(_) => PacketKind::Need,
            Feedback::Status(_) => PacketKind::Status,
            Feedback::Done(_) => PacketKind::Done,
            Feedback::Deleted(_) => PacketKind::Deleted,
            Feedback::Ended => PacketKind::Ended,
            Feedback::Busy => PacketKind::Busy,
        }
    }

    /// Reads the payload of a packet of `kind`: the sender of the transfer that it is about, and what it
    /// says.
    ///
    /// # Errors
    /// Anything that [`Feedback::emit`] does not produce, or a kind that is no feedback.
    pub fn parse(kind: PacketKind, payload: &[u8]) -> Result<(NodeId, Self), Error> {
        let mut reader = Reader::new(payload);
        let sender = NodeId(reader.u64()?);
        let feedback = match kind {
            PacketKind::Accept => parse_accept(&mut reader)?,
            PacketKind::Need => Feedback::Need(Runs::parse(&mut reader)?),
            PacketKind::Status => Feedback::Status(parse_status(&mut reader)?),
            PacketKind::Done => Feedback::Done(Runs::parse(&mut reader)?),
            PacketKind::Deleted => Feedback::Deleted(parse_deleted(&mut reader)?),
            PacketKind::Ended => Feedback::Ended,
            PacketKind::Busy => Feedback::Busy,
            _ => return Err(Error::Invalid),
        };
        reader.end()?;
        Ok((sender, feedback))
    }

    /// Writes the payload. A STATUS leaves out missing blocks that do not fit `room` bytes.
    pub fn emit(&self, sender: NodeId, room: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.put_u64(sender.0);
        match self {
            Feedback::Accept { verdict, grant } => {
                out.put_u32(*grant);
                match verdict {
                    Verdict::Accepted => out.push(0),
                    Verdict::Shared(with) => {
                        out.push(2);
                        out.put_counted(&with[..with.len().min(MAX_REFUSED_PATH)]);
                    }
                    Verdict::Refused { reason, path } => {
                        out.push(1);
                        out.put_varint(Need::Failed(*reason).number().into());
                        out.put_counted(&path[..path.len().min(MAX_REFUSED_PATH)]);
                    }
                }
            }
            Feedback::Need(runs) => runs.emit(&mut out),
            Feedback::Done(runs) => runs.emit(&mut out),
            Feedback::Deleted(deleted) => emit_deleted(deleted, &mut out),
            Feedback::Status(status) => emit_status(status, room, &mut out),
            Feedback::Ended | Feedback::Busy => {}
        }
        out
    }
}

fn parse_accept(reader: &mut Reader<'_>) -> Result<Feedback, Error> {
    let grant = reader.u32()?;
    let verdict = match reader.u8()? {
        0 => Verdict::Accepted,
        1 => match Need::from_number(reader.varint32()?)? {
            Need::Failed(reason) => {
                Verdict::Refused { reason, path: reader.counted(MAX_REFUSED_PATH)?.to_vec() }
            }
            _ => return Err(Error::Invalid),
        },
        2 => Verdict::Shared(reader.counted(MAX_REFUSED_PATH)?.to_vec()),
        _ => return Err(Error::Invalid),
    };
    Ok(Feedback::Accept { verdict, grant })
}

fn parse_deleted(reader: &mut Reader<'_>) -> Result<Deleted, Error> {
    Ok(match reader.u8()? {
        0 => {
            let (spooled, failed) = (reader.varint()?, reader.varint()?);
            Deleted::Tally(DeletionTally { spooled, failed, entries: reader.varint()? })
        }
        1 => Deleted::Ran { deleted: reader.varint()?, failed: reader.varint()? },
        2 => {
            let skip = reader.varint()?;
            let mut names = Vec::new();
            while !reader.rest().is_empty() {
                let code = SpoolCode::from_number(reader.varint32()?)?;
                let path = RelPath::parse_or_base(reader.counted(MAX_PATH)?);
                let path = path.map_err(|_| Error::Invalid)?;
                names.push((code, path));
            }
            Deleted::Page { skip, names }
        }
        _ => return Err(Error::Invalid),
    })
}

fn emit_deleted(deleted: &Deleted, out: &mut Vec<u8>) {
    match deleted {
        Deleted::Tally(DeletionTally { spooled, failed, entries }) => {
            out.push(0);
            out.put_varint(*spooled);
            out.put_varint(*failed);
            out.put_varint(*entries);
        }
        Deleted::Ran { deleted, failed } => {
            out.push(1);
            out.put_varint(*deleted);
            out.put_varint(*failed);
        }
        Deleted::Page { skip, names } => {
            out.push(2);
            out.put_varint(*skip);
            for (code, path) in names {
                out.put_varint(code.number().into());
                out.put_counted(path.as_bytes());
            }
        }
    }
}

fn parse_status(reader: &mut Reader<'_>) -> Result<Status, Error> {
    let poll = PollNo::new(reader.u32()?);
    let held = reader.u32()?;
    let grant = reader.u32()?;
    let received = reader.u32()?;
    let digested = reader.u64()?;
    let first = BatchNo::new(reader.u32()?);
    let flags = reader.u8()?;
    let count = usize::from(flags & 0x7f);
    if count > MAX_OPEN {
        return Err(Error::TooLarge);
    }
    let mut batches = Vec::with_capacity(count);
    for _ in 0..count {
        let state = *State::ALL.get(usize::from(reader.u8()?)).ok_or(Error::Invalid)?;
        let mut missing = Vec::new();
        if matches!(state, State::Offer | State::Body) {
            let ranges = reader.varint()?;
            let mut at = 0u32;
            // Each range takes two bytes at least, so the packet's length bounds the loop.
            for number in 0..ranges {
                let gap = reader.varint32()?;
                let len = reader.varint32()?;
                let start = at.checked_add(gap).ok_or(Error::TooLarge)?;
                let end = start.checked_add(len).ok_or(Error::TooLarge)?;
                if len == 0 || (gap == 0 && number > 0) {
                    return Err(Error::Invalid);
                }
                missing.push(BlockRange::new(BlockNo::new(start), BlockNo::new(end)));
                at = end;
            }
        }
        batches.push(BatchStatus { state, missing });
    }
    let asked = flags & 0x80 != 0;
    Ok(Status { poll, asked, held, grant, received, digested, first, batches })
}

fn emit_status(status: &Status, room: usize, out: &mut Vec<u8>) {
    out.put_u32(status.poll.get());
    out.put_u32(status.held);
    out.put_u32(status.grant);
    out.put_u32(status.received);
    out.put_u64(status.digested);
    out.put_u32(status.first.get());
    let batches = &status.batches[..status.batches.len().min(MAX_OPEN)];
    out.push(batches.len() as u8 | u8::from(status.asked) << 7);
    // Every batch gets its state and an empty list; the lists of the first batches get the remaining
    // room.
    let mut spare = room.saturating_sub(out.len() + batches.len() * 3);
    for batch in batches {
        out.push(batch.state as u8);
        if !matches!(batch.state, State::Offer | State::Body) {
            continue;
        }
        let mut at = BlockNo::ZERO;
        let mut ranges = Vec::new();
        let mut count = 0u64;
        for range in &batch.missing {
            let gap = BlockRange::new(at, range.start).len();
            let (gap, len) = (u64::from(gap), u64::from(range.len()));
            let takes = varint_len(gap) + varint_len(len);
            if takes > spare {
                spare = 0;
                break;
            }
            spare -= takes;
            ranges.put_varint(gap);
            ranges.put_varint(len);
            at = range.end;
            count += 1;
        }
        out.put_varint(count);
        out.extend_from_slice(&ranges);
    }
}

/// The most codes of one batch; it bounds what a sender collects.
pub const MAX_CODES: usize = MAX_ENTRIES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EntryNo, blocks};

    fn status(ranges: u32) -> Status {
        let missing = |ranges: u32| (0..ranges).map(|n| blocks(n * 700..n * 700 + 300)).collect();
        Status {
            poll: PollNo::new(12),
            asked: true,
            held: 7,
            grant: 1 << 20,
            received: 99,
            digested: 5 << 32,
            first: BatchNo::new(4),
            batches: vec![
                BatchStatus { state: State::Committing, missing: Vec::new() },
                BatchStatus { state: State::Body, missing: missing(ranges) },
                BatchStatus { state: State::Offer, missing: vec![blocks(0..u32::MAX)] },
                BatchStatus { state: State::Waiting, missing: Vec::new() },
            ],
        }
    }

    fn all() -> Vec<Feedback> {
        vec![
            Feedback::Accept { verdict: Verdict::Accepted, grant: 5 },
            Feedback::Accept {
                verdict: Verdict::Refused { reason: Reason::Os(28), path: b"a/b".to_vec() },
                grant: 0,
            },
            Feedback::Need(Runs {
                first: EntryNo::new(3),
                runs: vec![(Need::All, 4), (Need::Skip, 900)],
            }),
            Feedback::Done(Runs {
                first: EntryNo::ZERO,
                runs: vec![(Outcome::Failed(Reason::LinkInPath), 1)],
            }),
            Feedback::Status(status(5)),
            Feedback::Accept { verdict: Verdict::Shared(b"10.0.0.1".to_vec()), grant: 9 },
            Feedback::Deleted(Deleted::Tally(DeletionTally {
                spooled: 5,
                failed: 1,
                entries: u64::MAX,
            })),
            Feedback::Deleted(Deleted::Ran { deleted: 3, failed: 2 }),
            Feedback::Deleted(Deleted::Page {
                skip: 7,
                names: vec![
                    (SpoolCode::Deleted, RelPath::parse(b"a/b").unwrap()),
                    (SpoolCode::Failed(Reason::Os(13)), RelPath::parse(b"c").unwrap()),
                    (SpoolCode::Failed(Reason::Os(5)), RelPath::base()),
                ],
            }),
            Feedback::Ended,
            Feedback::Busy,
        ]
    }

    #[test]
    fn every_feedback_round_trips() {
        for feedback in all() {
            let bytes = feedback.emit(NodeId(77), 1_424);
            assert_eq!(Feedback::parse(feedback.kind(), &bytes), Ok((NodeId(77), feedback)));
        }
    }

    #[test]
    fn cut_or_changed_feedback_never_panics() {
        for feedback in all() {
            let bytes = feedback.emit(NodeId(77), 1_424);
            for len in 0..bytes.len() {
                let cut = Feedback::parse(feedback.kind(), &bytes[..len]);
                assert!(
                    cut.is_err()
                        || matches!(
                            cut,
                            Ok((_, Feedback::Need(_) | Feedback::Done(_) | Feedback::Deleted(_)))
                        )
                );
            }
            for at in 0..bytes.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] = value;
                    let _ = Feedback::parse(feedback.kind(), &changed);
                }
            }
        }
    }

    #[test]
    fn a_long_status_keeps_its_packet_and_drops_the_newest_ranges() {
        let full = status(2_000);
        let bytes = Feedback::Status(full.clone()).emit(NodeId(1), 1_424);
        assert!(bytes.len() <= 1_424, "{}", bytes.len());
        let Ok((_, Feedback::Status(parsed))) = Feedback::parse(PacketKind::Status, &bytes) else {
            panic!("does not parse");
        };
        assert!(parsed.batches[1].missing.len() > 300);
        assert!(full.batches[1].missing.starts_with(&parsed.batches[1].missing));
        assert_eq!(parsed.batches[2].missing, []);
        assert_eq!(parsed.batches[3].state, State::Waiting);
    }
}
