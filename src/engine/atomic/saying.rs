//! What ATOMIC carries: a transaction (its stamp, 8 bytes, and its sender's name, counted), a byte for what is said
//! of it, and what belongs to that.
//!
//! | byte | what | what follows |
//! | --- | --- | --- |
//! | 0 | PREPARE | the number of the transfer, and its last batch (4 bytes each) |
//! | 1 | VOTE | 0 yes, or 1 to 5 a refusal, and then failures |
//! | 2 | COMMIT | set of targets |
//! | 3 | ABORT | why (1) |
//! | 4 | DONE | how many operations failed (varint), for how long before this they began and how long they took (microseconds, varints), failures |
//! | 5 | REFUSED | why (1) |
//! | 6 | ASK | |
//! | 7 | ANSWER | 0 committed, 1 decided, with the set of targets; 2 aborted, with why; 3 promised, 4 never voted, 5 no decision, 6 unknown |
//! | 8 | OVER | |
//!
//! Failures go up to the end: a reason (varint, as in NEED) and a path (counted, perhaps cut).

use std::sync::Arc;

use super::types::{Included, Known, Message, Plan, Refusal, Transaction, Why};
use crate::ids::{BatchNo, TransferNo};
use crate::name::{HostName, MAX_HOST_NAME, MAX_PATH};
use crate::stamp::Stamp;
use crate::time::Span;
use crate::wire::Error;
use crate::wire::begin::MAX_TARGETS;
use crate::wire::bytes::{Put, Reader};
use crate::wire::outcome::{Code, Need, Reason};

/// About how many bytes of failures are said.
const ROOM: usize = 300;
/// Paths are cut to so many bytes.
const CUT: usize = 200;

/// Something that could not be done at a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The path, perhaps cut.
    pub path: Vec<u8>,
    /// Why.
    pub reason: Reason,
}

/// When a target did the operations of a transaction, and which of them it could not do.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// It began so long before it says so.
    pub ago: Span,
    /// It took so long.
    pub took: Span,
    /// Some of what failed.
    pub failures: Vec<Failure>,
}

/// What is said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Saying {
    /// [`Message::Prepare`], whose plan the transfer has brought already: its number, and its last batch.
    Prepare(TransferNo, BatchNo),
    /// [`Message::Vote`], and what has failed.
    Vote(Result<(), Refusal>, Vec<Failure>),
    /// [`Message::Done`], and more about it.
    Done(u32, Report),
    /// Any other.
    Other(Message),
}

impl Saying {
    /// The message that it carries; `plan` is that of the transaction, without which PREPARE says nothing.
    pub fn message(self, plan: Option<Plan>) -> Option<Message> {
        Some(match self {
            Saying::Prepare(..) => Message::Prepare(plan?),
            Saying::Vote(vote, _) => Message::Vote(vote),
            Saying::Done(failed, _) => Message::Done(failed),
            Saying::Other(message) => message,
        })
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Whatever [`Saying::emit`] does not write.
    pub fn parse(payload: &[u8]) -> Result<(Transaction, Saying), Error> {
        let mut reader = Reader::new(payload);
        let stamp = Stamp::from_bits(reader.u64()?);
        let host = HostName::parse(reader.counted(MAX_HOST_NAME)?).map_err(|_| Error::Invalid)?;
        let of = Transaction { stamp, host: Arc::new(host) };
        let said = match reader.u8()? {
            0 => {
                let number = TransferNo::new(reader.u32()?);
                Saying::Prepare(number, BatchNo::new(reader.u32()?))
            }
            1 => match reader.u8()? {
                0 => Saying::Vote(Ok(()), Vec::new()),
                refusal => Saying::Vote(Err(refusal_of(refusal)?), failures(&mut reader)?),
            },
            2 => Saying::Other(Message::Commit(included(&mut reader)?)),
            3 => Saying::Other(Message::Abort(why(&mut reader)?)),
            4 => {
                let failed = reader.varint32()?;
                let ago = Span::from_micros(reader.varint()?);
                let took = Span::from_micros(reader.varint()?);
                Saying::Done(failed, Report { ago, took, failures: failures(&mut reader)? })
            }
            5 => Saying::Other(Message::Refused(why(&mut reader)?)),
            6 => Saying::Other(Message::Ask),
            7 => Saying::Other(Message::Answer(match reader.u8()? {
                0 => Known::Committed(included(&mut reader)?),
                1 => Known::Decided(included(&mut reader)?),
                2 => Known::Aborted(why(&mut reader)?),
                3 => Known::Promised,
                4 => Known::NeverVoted,
                5 => Known::NoDecision,
                6 => Known::Unknown,
                _ => return Err(Error::Invalid),
            })),
            8 => Saying::Other(Message::Over),
            _ => return Err(Error::Invalid),
        };
        reader.end()?;
        Ok((of, said))
    }

    /// Writes it.
    pub fn emit(&self, of: &Transaction) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.put_u64(of.stamp.bits());
        out.put_counted(of.host.as_str().as_bytes());
        match self {
            Saying::Prepare(number, last) => {
                out.push(0);
                out.put_u32(number.get());
                out.put_u32(last.get());
            }
            Saying::Vote(Ok(()), _) => out.extend([1, 0]),
            Saying::Vote(Err(refusal), failures) => {
                out.extend([1, number_of(*refusal)]);
                put_failures(&mut out, failures);
            }
            Saying::Done(failed, Report { ago, took, failures }) => {
                out.push(4);
                out.put_varint((*failed).into());
                out.put_varint(ago.micros());
                out.put_varint(took.micros());
                put_failures(&mut out, failures);
            }
            Saying::Other(message) => put_message(&mut out, message),
        }
        out
    }
}

fn put_message(out: &mut Vec<u8>, message: &Message) {
    match message {
        Message::Commit(included) => {
            out.push(2);
            included.emit(out);
        }
        Message::Abort(why) => out.extend([3, number_of_why(*why)]),
        Message::Refused(why) => out.extend([5, number_of_why(*why)]),
        Message::Ask => out.push(6),
        Message::Answer(known) => {
            out.push(7);
            match known {
                Known::Committed(included) => {
                    out.push(0);
                    included.emit(out);
                }
                Known::Decided(included) => {
                    out.push(1);
                    included.emit(out);
                }
                Known::Aborted(why) => out.extend([2, number_of_why(*why)]),
                Known::Promised => out.push(3),
                Known::NeverVoted => out.push(4),
                Known::NoDecision => out.push(5),
                Known::Unknown => out.push(6),
            }
        }
        Message::Over => out.push(8),
        // These have forms of their own, and do not come here: a question does no harm.
        Message::Prepare(_) | Message::Vote(_) | Message::Done(_) => out.push(6),
    }
}

fn included(reader: &mut Reader<'_>) -> Result<Included, Error> {
    Included::parse(reader, MAX_TARGETS)
}

const REFUSALS: [Refusal; 5] =
    [Refusal::Failed, Refusal::Overlaps, Refusal::Young, Refusal::TooMany, Refusal::Refused];

fn number_of(refusal: Refusal) -> u8 {
    1 + REFUSALS.iter().position(|one| *one == refusal).unwrap_or(0) as u8
}

fn refusal_of(number: u8) -> Result<Refusal, Error> {
    let at = usize::from(number).checked_sub(1).ok_or(Error::Invalid)?;
    REFUSALS.get(at).copied().ok_or(Error::Invalid)
}

fn number_of_why(why: Why) -> u8 {
    match why {
        Why::Undecided => 0,
        Why::Excluded => 1,
        Why::Operator => 2,
    }
}

fn why(reader: &mut Reader<'_>) -> Result<Why, Error> {
    match reader.u8()? {
        0 => Ok(Why::Undecided),
        1 => Ok(Why::Excluded),
        2 => Ok(Why::Operator),
        _ => Err(Error::Invalid),
    }
}

fn put_failures(out: &mut Vec<u8>, failures: &[Failure]) {
    let most = out.len() + ROOM;
    for Failure { path, reason } in failures {
        let path = &path[..path.len().min(CUT)];
        if out.len() + path.len() + 8 > most {
            return;
        }
        out.put_varint(Need::Failed(*reason).number().into());
        out.put_counted(path);
    }
}

fn failures(reader: &mut Reader<'_>) -> Result<Vec<Failure>, Error> {
    let mut failures = Vec::new();
    while !reader.rest().is_empty() {
        let Need::Failed(reason) = Need::from_number(reader.varint32()?)? else {
            return Err(Error::Invalid);
        };
        failures.push(Failure { path: reader.counted(MAX_PATH)?.to_vec(), reason });
    }
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TargetNo;

    fn all() -> Vec<Saying> {
        let included = Included::of([0, 7, 999].map(TargetNo::new));
        let failures = vec![
            Failure { path: b"a/b".to_vec(), reason: Reason::Os(28) },
            Failure { path: Vec::new(), reason: Reason::NoExchange },
        ];
        let (ago, took) = (Span::from_millis(5), Span::from_secs(3));
        let mut all = vec![
            Saying::Prepare(TransferNo::new(5), BatchNo::new(77)),
            Saying::Vote(Ok(()), Vec::new()),
            Saying::Done(0, Report::default()),
            Saying::Done(70_000, Report { ago, took, failures: failures.clone() }),
        ];
        all.extend(REFUSALS.map(|refusal| Saying::Vote(Err(refusal), failures.clone())));
        let whys = [Why::Undecided, Why::Excluded, Why::Operator];
        let known = [Known::Promised, Known::NeverVoted, Known::NoDecision, Known::Unknown];
        let known = known
            .into_iter()
            .chain(whys.map(Known::Aborted))
            .chain([Known::Committed(included.clone()), Known::Decided(included.clone())]);
        let messages = known
            .map(Message::Answer)
            .chain(whys.map(Message::Abort))
            .chain(whys.map(Message::Refused))
            .chain([Message::Commit(included), Message::Ask, Message::Over]);
        all.extend(messages.map(Saying::Other));
        all
    }

    #[test]
    fn everything_comes_back_as_it_was_and_fits_the_smallest_packet() {
        let host = Arc::new(HostName::parse(&[b'n'; MAX_HOST_NAME]).unwrap());
        let of = Transaction { stamp: Stamp::from_bits(0x0102_0304_0506_0708), host };
        for said in all() {
            let bytes = said.emit(&of);
            assert_eq!(Saying::parse(&bytes), Ok((of.clone(), said.clone())));
            assert!(bytes.len() <= 480, "{said:?}");
            let has_end = !matches!(said, Saying::Vote(Err(_), _) | Saying::Done(..));
            for len in 0..bytes.len() {
                assert!(!has_end || Saying::parse(&bytes[..len]).is_err(), "{said:?} {len}");
            }
        }
    }

    #[test]
    fn what_nobody_says_is_refused() {
        let of =
            Transaction { stamp: Stamp::at(1), host: Arc::new(HostName::parse(b"h").unwrap()) };
        let ask = Saying::Other(Message::Ask).emit(&of);
        let head = &ask[..ask.len() - 1];
        for rest in [&[9][..], &[1, 6], &[3, 3], &[7, 7], &[6, 0], &[1, 1, 0], &[]] {
            assert!(Saying::parse(&[head, rest].concat()).is_err(), "{rest:?}");
        }
        // Many failures are cut to what fits.
        let failure = Failure { path: vec![b'x'; 4_000], reason: Reason::Os(28) };
        let said = Saying::Vote(Err(Refusal::Failed), vec![failure; 9]);
        let (_, said) = Saying::parse(&said.emit(&of)).unwrap();
        assert!(matches!(said, Saying::Vote(_, failures) if failures.len() == 1));
    }
}
