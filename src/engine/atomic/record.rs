//! What is kept on disk of transactions, record by record, and its bytes.
//!
//! Each payload begins with the transaction: its stamp (8 bytes) and its sender's name, counted; only that of BORN
//! is a stamp alone. A plan is how many targets there are (varint), their names, counted, ascending, and how many
//! are needed (2). A set of targets is counted bytes, one bit for each.
//!
//! | kind | record | what follows |
//! | --- | --- | --- |
//! | 1 | BORN | |
//! | 2 | PREPARED | plan, how many operations (varint) |
//! | 3 | PROMISE | |
//! | 4 | COMMIT | set of targets |
//! | 5 | APPLIED | how many operations failed (varint) |
//! | 6 | ABORT | why: 0 nobody commits it, 1 left out, 2 an operator (1) |
//! | 7 | REFUSE | |
//! | 8 | DECISION | plan, set of targets |
//! | 9 | OVER | |

use std::sync::Arc;

use super::types::{Included, Plan, Transaction, Why};
use crate::name::{HostName, MAX_HOST_NAME};
use crate::stamp::Stamp;
use crate::wire::Error;
use crate::wire::begin::MAX_TARGETS;
use crate::wire::bytes::{Put, Reader};

/// The longest payload.
pub const MAX_PAYLOAD: u32 = 300 + (MAX_TARGETS * (MAX_HOST_NAME + 3)) as u32;

/// A record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// About other transactions up to this stamp, nothing is known here.
    Born(Stamp),
    /// A target: all is staged; it votes yes. How many operations there are.
    Prepared(Transaction, Plan, u64),
    /// A target: it will refuse what the sender may still say.
    Promise(Transaction),
    /// A target: it puts in place what is staged, as these do.
    Commit(Transaction, Included),
    /// A target: that is done, but for so many operations.
    Applied(Transaction, u32),
    /// A target: it drops what is staged.
    Abort(Transaction, Why),
    /// A target: it has not voted and will not.
    Refuse(Transaction),
    /// The sender: these put it in place.
    Decision(Transaction, Plan, Included),
    /// All targets know how it ended, or it was forgotten here: nothing is known.
    Over(Transaction),
}

impl Record {
    /// Its kind, and its payload.
    pub fn emit(&self) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        let kind = match self {
            Record::Born(stamp) => {
                out.put_u64(stamp.bits());
                return (1, out);
            }
            Record::Prepared(..) => 2,
            Record::Promise(_) => 3,
            Record::Commit(..) => 4,
            Record::Applied(..) => 5,
            Record::Abort(..) => 6,
            Record::Refuse(_) => 7,
            Record::Decision(..) => 8,
            Record::Over(_) => 9,
        };
        if let Some(transaction) = self.transaction() {
            out.put_u64(transaction.stamp.bits());
            out.put_counted(transaction.host.as_str().as_bytes());
        }
        match self {
            Record::Prepared(_, plan, operations) => {
                emit_plan(plan, &mut out);
                out.put_varint(*operations);
            }
            Record::Commit(_, included) => included.emit(&mut out),
            Record::Applied(_, failed) => out.put_varint((*failed).into()),
            Record::Abort(_, why) => out.push(match why {
                Why::Undecided => 0,
                Why::Excluded => 1,
                Why::Operator => 2,
            }),
            Record::Decision(_, plan, included) => {
                emit_plan(plan, &mut out);
                included.emit(&mut out);
            }
            _ => {}
        }
        (kind, out)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Whatever [`Record::emit`] does not write.
    pub fn parse(kind: u8, payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let stamp = Stamp::from_bits(reader.u64()?);
        if kind == 1 {
            reader.end()?;
            return Ok(Record::Born(stamp));
        }
        let of = Transaction { stamp, host: Arc::new(host_name(&mut reader)?) };
        let record = match kind {
            2 => Record::Prepared(of, parse_plan(&mut reader)?, reader.varint()?),
            3 => Record::Promise(of),
            4 => Record::Commit(of, Included::parse(&mut reader, MAX_TARGETS)?),
            5 => Record::Applied(of, reader.varint32()?),
            6 => match reader.u8()? {
                0 => Record::Abort(of, Why::Undecided),
                1 => Record::Abort(of, Why::Excluded),
                2 => Record::Abort(of, Why::Operator),
                _ => return Err(Error::Invalid),
            },
            7 => Record::Refuse(of),
            8 => {
                let plan = parse_plan(&mut reader)?;
                Record::Decision(of, plan, Included::parse(&mut reader, MAX_TARGETS)?)
            }
            9 => Record::Over(of),
            _ => return Err(Error::Invalid),
        };
        reader.end()?;
        Ok(record)
    }

    /// Which transaction it is about; none for [`Record::Born`].
    pub fn transaction(&self) -> Option<&Transaction> {
        match self {
            Record::Born(_) => None,
            Record::Prepared(of, ..)
            | Record::Promise(of)
            | Record::Commit(of, _)
            | Record::Applied(of, _)
            | Record::Abort(of, _)
            | Record::Refuse(of)
            | Record::Decision(of, ..)
            | Record::Over(of) => Some(of),
        }
    }
}

fn emit_plan(plan: &Plan, out: &mut Vec<u8>) {
    out.put_varint(plan.targets().len() as u64);
    plan.targets().iter().for_each(|host| out.put_counted(host.as_str().as_bytes()));
    out.put_u16(plan.needed());
}

fn parse_plan(reader: &mut Reader<'_>) -> Result<Plan, Error> {
    let count = reader.varint32()? as usize;
    if count > MAX_TARGETS {
        return Err(Error::TooLarge);
    }
    let hosts = (0..count).map(|_| host_name(reader)).collect::<Result<Vec<_>, _>>()?;
    let ascend = hosts.is_sorted_by(|a, b| a < b);
    let plan = Plan::new(hosts, reader.u16()?).filter(|_| ascend);
    plan.ok_or(Error::Invalid)
}

fn host_name(reader: &mut Reader<'_>) -> Result<HostName, Error> {
    HostName::parse(reader.counted(MAX_HOST_NAME)?).map_err(|_| Error::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TargetNo;

    fn name(name: &str) -> HostName {
        HostName::parse(name.as_bytes()).unwrap()
    }

    fn samples() -> Vec<Record> {
        let of = Transaction { stamp: Stamp::at(1_795_804_200_000), host: Arc::new(name("web1")) };
        let plan = Plan::new(vec![name("c"), name("a"), name("b")], 2).unwrap();
        let some = Included::of([TargetNo::new(0), TargetNo::new(2)]);
        vec![
            Record::Born(Stamp::at(7)),
            Record::Prepared(of.clone(), plan.clone(), 1_000_000),
            Record::Promise(of.clone()),
            Record::Commit(of.clone(), some.clone()),
            Record::Applied(of.clone(), 3),
            Record::Abort(of.clone(), Why::Undecided),
            Record::Abort(of.clone(), Why::Excluded),
            Record::Abort(of.clone(), Why::Operator),
            Record::Refuse(of.clone()),
            Record::Decision(of.clone(), plan, some),
            Record::Over(of),
        ]
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for record in samples() {
            let (kind, payload) = record.emit();
            assert_eq!(Record::parse(kind, &payload), Ok(record.clone()));
            for len in 0..payload.len() {
                assert!(Record::parse(kind, &payload[..len]).is_err(), "{record:?}: {len} bytes");
            }
            assert!(Record::parse(kind, &[&payload[..], &[0]].concat()).is_err());
            for bit in 0..payload.len() * 8 {
                let mut other = payload.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                if let Ok(read) = Record::parse(kind, &other) {
                    assert!(read != record && read.emit() == (kind, other), "{record:?}: {bit}");
                }
            }
        }
        for kind in [0, 10, 255] {
            let (_, payload) = samples()[2].emit();
            assert_eq!(Record::parse(kind, &payload), Err(Error::Invalid));
        }
    }

    #[test]
    fn the_longest_fits_into_its_bound() {
        let long = |at: usize| name(&format!("{at:0>253}"));
        let of = Transaction { stamp: Stamp::at(1), host: Arc::new(long(0)) };
        let plan = Plan::new((0..MAX_TARGETS).map(long).collect(), 1).unwrap();
        let all = plan.all();
        let (_, payload) = Record::Decision(of, plan, all).emit();
        assert!(payload.len() <= MAX_PAYLOAD as usize, "{}", payload.len());
    }

    #[test]
    fn a_plan_is_of_some_hosts_and_can_be_fulfilled() {
        assert!(Plan::new(Vec::new(), 0).is_none());
        assert!(Plan::new(vec![name("a"), name("a")], 2).is_none());
        assert!(Plan::new(vec![name("a")], 0).is_none());
        assert_eq!(Plan::new(vec![name("b"), name("a")], 2).unwrap().targets()[0], name("a"));
    }
}
