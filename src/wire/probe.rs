//! PROBE: packets by which a host finds out how packets travel, because somebody has asked `doctor`.
//!
//! | what | byte | then |
//! | --- | --- | --- |
//! | begin: may I | 1 | 8, the ticket; zeros: 48 bytes in all at least |
//! | train: one of many, to the group | 2 | 8, the ticket; a sample |
//! | request: one of many, to a host | 3 | 8, the ticket; a sample |
//! | echo: the answer to a request, as long | 4 | 8, the ticket; the sample of the request |
//! | ask: what has come | 5 | 8, the ticket; zeros: 48 bytes in all at least |
//! | busy: an answer to begin | 6 | 8, the ticket |
//! | report: an answer to begin and ask | 7 | 8, the ticket; what has come to the group and alone, 14 bytes each; 4, packets for which its receive buffers had no room, or all ones |
//!
//! A sample: a byte, 1 if it is a large packet, else 0; a byte, the number of the train; 2, its number in the train;
//! zeros up to its length.
//!
//! What has come: 2, large packets; 2, small ones; 2, those that came after a later one; 4 and 4, the bytes of the large
//! packets of the fastest train from number 3 on after its first, and the microseconds that they took, or zeros.

use super::Error;
use super::bytes::{Put, Reader};
use crate::ids::Ticket;

/// The length of a question, so that no answer is longer.
pub const ASK_LEN: usize = 48;
/// The least payload of a sample.
pub const MIN_SAMPLE: usize = 1 + 8 + 4;

/// The payload of PROBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// May this host send a probe?
    Begin(Ticket),
    /// One of many packets to the group.
    Train(Ticket, Sample),
    /// One of many packets to one host.
    Request(Ticket, Sample),
    /// The answer to that.
    Echo(Ticket, Sample),
    /// What has come?
    Ask(Ticket),
    /// Another host's probe is under way.
    Busy(Ticket),
    /// This has come so far.
    Report(Ticket, Report),
}

/// A packet of many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// It is as large as the network is to carry.
    pub large: bool,
    /// The number of its train.
    pub train: u8,
    /// Its number in the train.
    pub number: u16,
    /// The length of its payload, in bytes: [`MIN_SAMPLE`] at least.
    pub len: u16,
}

/// What has come of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// To the group.
    pub group: Came,
    /// To this host alone.
    pub alone: Came,
    /// Packets of any kind for which the receive buffers had no room meanwhile; None if the kernel does not tell.
    pub dropped: Option<u32>,
}

/// What has come of packets of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Came {
    /// Large packets.
    pub large: u16,
    /// Small packets.
    pub small: u16,
    /// Packets that came after a later one.
    pub late: u16,
    /// The bytes of the large packets of the fastest train after its first one, and the microseconds that they took.
    pub fastest: Option<(u32, u32)>,
}

impl Came {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let (large, small, late) = (reader.u16()?, reader.u16()?, reader.u16()?);
        let fastest = (reader.u32()?, reader.u32()?);
        Ok(Came { large, small, late, fastest: (fastest.0 > 0).then_some(fastest) })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        [self.large, self.small, self.late].iter().for_each(|number| out.put_u16(*number));
        let (bytes, micros) = self.fastest.unwrap_or_default();
        out.put_u32(bytes);
        out.put_u32(micros);
    }
}

impl Probe {
    /// Of which probe it is.
    pub fn ticket(&self) -> Ticket {
        match self {
            Probe::Begin(ticket) | Probe::Ask(ticket) | Probe::Busy(ticket) => *ticket,
            Probe::Train(ticket, _) | Probe::Request(ticket, _) | Probe::Echo(ticket, _) => *ticket,
            Probe::Report(ticket, _) => *ticket,
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// An unknown number, what is no zero where one has to be, the wrong length.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let what = reader.u8()?;
        let ticket = Ticket::new(reader.u64()?);
        let len = u16::try_from(payload.len()).map_err(|_| Error::TooLarge)?;
        let mut filled = |is_sample: bool| {
            let sample = match is_sample {
                true => {
                    let large = match reader.u8()? {
                        0 => false,
                        1 => true,
                        _ => return Err(Error::Invalid),
                    };
                    Sample { large, train: reader.u8()?, number: reader.u16()?, len }
                }
                false => Sample { large: false, train: 0, number: 0, len },
            };
            let is_zero = reader.rest().iter().all(|byte| *byte == 0);
            let is_long = is_sample || payload.len() >= ASK_LEN;
            if is_zero && is_long { Ok(sample) } else { Err(Error::Invalid) }
        };
        Ok(match what {
            1 => filled(false).map(|_| Probe::Begin(ticket))?,
            2 => Probe::Train(ticket, filled(true)?),
            3 => Probe::Request(ticket, filled(true)?),
            4 => Probe::Echo(ticket, filled(true)?),
            5 => filled(false).map(|_| Probe::Ask(ticket))?,
            6 => {
                reader.end()?;
                Probe::Busy(ticket)
            }
            7 => {
                let (group, alone) = (Came::parse(&mut reader)?, Came::parse(&mut reader)?);
                let dropped = Some(reader.u32()?).filter(|number| *number != u32::MAX);
                reader.end()?;
                Probe::Report(ticket, Report { group, alone, dropped })
            }
            _ => return Err(Error::Invalid),
        })
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let (what, len) = match self {
            Probe::Begin(_) => (1, ASK_LEN),
            Probe::Train(_, sample) => (2, sample.len.into()),
            Probe::Request(_, sample) => (3, sample.len.into()),
            Probe::Echo(_, sample) => (4, sample.len.into()),
            Probe::Ask(_) => (5, ASK_LEN),
            Probe::Busy(_) => (6, 0),
            Probe::Report(..) => (7, 0),
        };
        let mut out = vec![what];
        out.put_u64(self.ticket().get());
        match self {
            Probe::Train(_, sample) | Probe::Request(_, sample) | Probe::Echo(_, sample) => {
                out.extend([u8::from(sample.large), sample.train]);
                out.put_u16(sample.number);
            }
            Probe::Report(_, Report { group, alone, dropped }) => {
                group.emit(&mut out);
                alone.emit(&mut out);
                out.put_u32(dropped.unwrap_or(u32::MAX));
            }
            Probe::Begin(_) | Probe::Ask(_) | Probe::Busy(_) => {}
        }
        out.resize(out.len().max(len), 0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Probe> {
        let ticket = Ticket::new(0x0102_0304_0506_0708);
        let sample = Sample { large: true, train: 4, number: 49, len: 1_424 };
        let least = Sample { large: false, train: 0, number: 0, len: MIN_SAMPLE as u16 };
        let group = Came { large: 250, small: 50, late: 1, fastest: Some((69_776, 600)) };
        let alone = Came { fastest: None, ..group };
        vec![
            Probe::Begin(ticket),
            Probe::Train(ticket, sample),
            Probe::Train(ticket, least),
            Probe::Request(ticket, sample),
            Probe::Echo(ticket, sample),
            Probe::Ask(ticket),
            Probe::Busy(ticket),
            Probe::Report(ticket, Report { group, alone, dropped: Some(7) }),
            Probe::Report(ticket, Report::default()),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for probe in samples() {
            let bytes = probe.emit();
            (0..bytes.len())
                .for_each(|len| assert_ne!(Probe::parse(&bytes[..len]).as_ref(), Ok(&probe)));
            assert_eq!(Probe::parse(&bytes), Ok(probe));
        }
    }

    #[test]
    fn no_answer_is_longer_than_its_question() {
        for probe in samples() {
            let len = probe.emit().len();
            match probe {
                Probe::Busy(_) | Probe::Report(..) => assert!(len <= ASK_LEN, "{probe:?}"),
                Probe::Begin(_) | Probe::Ask(_) => assert_eq!(len, ASK_LEN),
                Probe::Train(_, sample) | Probe::Request(_, sample) | Probe::Echo(_, sample) => {
                    assert_eq!(len, usize::from(sample.len));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let bytes = |what: u8, more: &[u8]| [&[what][..], &[0; 8], more].concat();
        for bad in [
            vec![],
            bytes(0, &[]),
            bytes(8, &[]),
            bytes(1, &[0; 38]),
            bytes(5, &[1; 40]),
            bytes(2, &[2, 0, 0, 0]),
            bytes(2, &[1, 0, 0]),
            bytes(3, &[1, 0, 0, 0, 1]),
            bytes(6, &[0]),
            vec![0; 70_000],
        ] {
            assert!(Probe::parse(&bad).is_err(), "{:?}", bad.get(..12));
        }
    }
}
