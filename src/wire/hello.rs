//! HELLO: a daemon says that it is there, and what can be sent to it. BYE, with which it leaves, has
//! no payload.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 1 | flags: 0 new, 1 does not receive, 2 asks for an answer, 3 has an echo, 4 has a challenge,
//! | | | 5 keeps records, 6 mirrors trees |
//! | 1 | 2 | MTU of its interface, bytes |
//! | 3 | 4 | receive buffer, bytes |
//! | 7 | 4 | the number of its oldest open transfer |
//! | 11 | 16 | challenge, or zeros |
//! | 27 | 16 | echo of a challenge, or zeros |
//! | 43 | 2–255 | host name, counted |
//! | | 2–33 | version, counted |
//! | | 8 | the height of its clock: a stamp |
//! | | 8 | its wall clock: milliseconds since 1970 |
//! | | 8, 8 | if it keeps records: their horizon, a stamp, and their checksum |
//! | | 26 | if it keeps records: what it lacks ([`Behind`]) |
//! | | | if it mirrors trees: how it stands with them ([`Standing`]) |

use std::fmt;

use super::Error;
use super::behind::Behind;
use super::bytes::{Put, Reader};
use super::header::{HEADER_LEN, Header, OVERHEAD, PacketKind, Role, VERSION};
use super::mirror::{STANDING_LEN, Standing};
use super::records::Summary;
use crate::ids::TransferNo;
use crate::name::{HostName, MAX_HOST_NAME};
use crate::stamp::{MAX_MILLIS, Stamp};

/// The smallest MTU that is accepted: what every host must be able to receive (RFC 791, section 3.1).
/// It bounds how small another host can make the blocks of a transfer.
pub const MIN_MTU: u16 = 576;
/// The longest version, in bytes.
pub const MAX_VERSION: usize = 32;

/// Random-looking bytes that a node must echo to prove that it receives packets at its address.
pub type Challenge = [u8; 16];

/// The payload of HELLO.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The daemon has just started and knows no other.
    pub new: bool,
    /// Whether it can be a target.
    pub receives: bool,
    /// It asks for a HELLO in return.
    pub asks: bool,
    /// The MTU of its interface, in bytes.
    pub mtu: u16,
    /// The size of its receive buffer as the kernel reports it, in bytes.
    pub rcvbuf: u32,
    /// Its transfers before this one are closed.
    pub oldest_open: TransferNo,
    /// To be echoed; only in a HELLO that is sent to one node.
    pub challenge: Option<Challenge>,
    /// The challenge of the node that this is sent to.
    pub echo: Option<Challenge>,
    /// Its host name.
    pub name: HostName,
    /// Its version: 1 to [`MAX_VERSION`] printable ASCII characters, no spaces.
    pub version: String,
    /// The highest stamp that it has drawn or adopted.
    pub height: Stamp,
    /// Its wall clock, in milliseconds since 1970, [`MAX_MILLIS`] at most.
    pub wall: u64,
    /// What it says of its records, if it keeps any.
    pub records: Option<Said>,
    /// How it stands with the trees that it mirrors, or with some of them.
    pub mirrors: Vec<Standing>,
}

/// What a daemon says of the records that it keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Said {
    /// How they add up.
    pub summary: Summary,
    /// What it lacks itself.
    pub behind: Behind,
}

const NEW: u8 = 1;
const DOES_NOT_RECEIVE: u8 = 2;
const ASKS: u8 = 4;
const HAS_ECHO: u8 = 8;
const HAS_CHALLENGE: u8 = 16;
const KEEPS_RECORDS: u8 = 32;
const MIRRORS: u8 = 64;
const ALL_FLAGS: u8 = 127;

impl Hello {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown flag, an MTU below [`MIN_MTU`], a challenge or an echo without
    /// its flag, bad characters, or a time past [`MAX_MILLIS`]; [`Error::TooLarge`] for a long name or
    /// version; the wrong length.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let head = Self::parse_head(&mut reader)?;
        let height = Stamp::from_bits(reader.u64()?);
        let wall = reader.u64()?;
        let has = |flag: u8| payload.first().is_some_and(|flags| flags & flag != 0);
        let records = match has(KEEPS_RECORDS) {
            true => {
                let horizon = Stamp::from_bits(reader.u64()?);
                let summary = Summary { horizon, checksum: reader.u64()? };
                Some(Said { summary, behind: Behind::read(&mut reader)? })
            }
            false => None,
        };
        let mirrors = if has(MIRRORS) { Standing::parse_all(&mut reader)? } else { Vec::new() };
        reader.end()?;
        if wall > MAX_MILLIS {
            return Err(Error::Invalid);
        }
        Ok(Hello { height, wall, records, mirrors, ..head })
    }

    /// Reads what version 8 of the protocol has too; the rest is zero.
    fn parse_head(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let flags = reader.u8()?;
        if flags & !ALL_FLAGS != 0 {
            return Err(Error::Invalid);
        }
        let mtu = reader.u16()?;
        if mtu < MIN_MTU {
            return Err(Error::Invalid);
        }
        let rcvbuf = reader.u32()?;
        let oldest_open = TransferNo::new(reader.u32()?);
        let challenge = optional(flags & HAS_CHALLENGE != 0, reader.array()?)?;
        let echo = optional(flags & HAS_ECHO != 0, reader.array()?)?;
        let name = HostName::parse(reader.counted(MAX_HOST_NAME)?).map_err(|_| Error::Invalid)?;
        let version = parse_version(reader.counted(MAX_VERSION)?)?;
        Ok(Hello {
            new: flags & NEW != 0,
            receives: flags & DOES_NOT_RECEIVE == 0,
            asks: flags & ASKS != 0,
            mtu,
            rcvbuf,
            oldest_open,
            challenge,
            echo,
            name,
            version,
            height: Stamp::ZERO,
            wall: 0,
            records: None,
            mirrors: Vec::new(),
        })
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut out = Vec::with_capacity(62 + self.name.as_str().len() + self.version.len());
        out.push(
            flag(self.new, NEW)
                | flag(!self.receives, DOES_NOT_RECEIVE)
                | flag(self.asks, ASKS)
                | flag(self.echo.is_some(), HAS_ECHO)
                | flag(self.challenge.is_some(), HAS_CHALLENGE)
                | flag(self.records.is_some(), KEEPS_RECORDS)
                | flag(!self.mirrors.is_empty(), MIRRORS),
        );
        out.put_u16(self.mtu);
        out.put_u32(self.rcvbuf);
        out.put_u32(self.oldest_open.get());
        out.extend_from_slice(&self.challenge.unwrap_or_default());
        out.extend_from_slice(&self.echo.unwrap_or_default());
        out.put_counted(self.name.as_str().as_bytes());
        out.put_counted(self.version.as_bytes());
        out.put_u64(self.height.bits());
        out.put_u64(self.wall);
        if let Some(Said { summary: Summary { horizon, checksum }, behind }) = self.records {
            out.put_u64(horizon.bits());
            out.put_u64(checksum);
            behind.put(&mut out);
        }
        if !self.mirrors.is_empty() {
            Standing::emit_all(&self.mirrors, &mut out);
        }
        out
    }

    /// Of how many mirrored trees it has room to speak, in one packet of its MTU.
    pub fn room_for_mirrors(&self) -> usize {
        // At most this much is not known before the packet is sealed.
        let before = OVERHEAD + 62 + self.name.as_str().len() + self.version.len();
        let records = if self.records.is_some() { 42 } else { 0 };
        usize::from(self.mtu).saturating_sub(before + records + 1) / STANDING_LEN
    }
}

/// What a daemon says of itself that speaks another version of the protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Foreign {
    /// The version of the protocol.
    pub protocol: u8,
    /// Its host name, if its HELLO is like ours.
    pub name: Option<HostName>,
    /// Its own version, the same.
    pub version: Option<String>,
}

impl Foreign {
    /// Reads the HELLO of a daemon of version 8 or a later one than this, or any packet of version 7.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        const HELLO: u8 = PacketKind::Hello as u8;
        const CONTROL: u8 = Role::Control as u8;
        let (header, payload, _) = Header::split(packet)?;
        match header[0] {
            // The C program has other packets.
            7 => Some(Foreign { protocol: 7, name: None, version: None }),
            // A later version is expected to keep these fields where they are.
            protocol @ 8..32
                if protocol != VERSION
                    && header[1] == HELLO
                    && header[HEADER_LEN - 16..][..2] == [0, CONTROL] =>
            {
                let hello = Hello::parse_head(&mut Reader::new(payload)).ok();
                let (name, version) = hello.map(|hello| (hello.name, hello.version)).unzip();
                Some(Foreign { protocol, name, version })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Foreign { protocol, name, version } = self;
        write!(f, "version {protocol} of the protocol, not {VERSION}")?;
        match (name, version) {
            (Some(name), Some(version)) => write!(f, " (host {name}, makuosan {version})"),
            _ if *protocol == 7 => f.write_str(" (makuosan 1)"),
            _ => Ok(()),
        }
    }
}

fn optional(there: bool, value: Challenge) -> Result<Option<Challenge>, Error> {
    if !there && value != Challenge::default() {
        return Err(Error::Invalid);
    }
    Ok(there.then_some(value))
}

fn parse_version(bytes: &[u8]) -> Result<String, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(text.to_owned())
        }
        _ => Err(Error::Invalid),
    }
}

/// Reads the payload of BYE: nothing.
///
/// # Errors
/// [`Error::Trailing`].
pub fn parse_bye(payload: &[u8]) -> Result<(), Error> {
    Reader::new(payload).end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Hello {
        Hello {
            new: true,
            receives: true,
            asks: true,
            mtu: 1_500,
            rcvbuf: 8 << 20,
            oldest_open: TransferNo::new(7),
            challenge: Some([0xc1; 16]),
            echo: Some([0xec; 16]),
            name: HostName::parse(b"web-1").unwrap(),
            version: "2.0.0".into(),
            height: Stamp::from_bits(0x0102_0304_0506_0708),
            wall: 0x0a0b_0c0d_0e0f,
            records: None,
            mirrors: Vec::new(),
        }
    }

    fn standing(n: u64) -> Standing {
        let by = crate::wire::versions::IndexId(n);
        let tree = crate::wire::names::Hash(n);
        Standing { stopped: true, lacks: true, ..Standing::plain(tree, by, 3, 4) }
    }

    fn foreign(protocol: u8, kind: PacketKind, payload: &[u8]) -> Option<String> {
        let mut head = Header::new(kind, crate::name::NodeId(1), Role::Control).emit();
        head[0] = protocol;
        Foreign::parse(&[&head, payload, &[0; 16]].concat()).map(|foreign| foreign.to_string())
    }

    #[test]
    fn daemons_of_other_versions_are_told_by_their_sample() {
        let ours = sample().emit();
        // Version 8 ends where the clock begins.
        let old = &ours[..ours.len() - 16];
        let said = |protocol, payload: &[u8]| foreign(protocol, PacketKind::Hello, payload);
        let named = format!("(host {}, makuosan {})", sample().name, sample().version);
        assert_eq!(said(8, old), Some(format!("version 8 of the protocol, not 9 {named}")));
        assert_eq!(said(31, &ours), Some(format!("version 31 of the protocol, not 9 {named}")));
        assert_eq!(said(10, &[0; 9]).as_deref(), Some("version 10 of the protocol, not 9"));
        assert_eq!(said(7, &[]).as_deref(), Some("version 7 of the protocol, not 9 (makuosan 1)"));
        for protocol in [0, 6, VERSION, 32, 200, 255] {
            assert_eq!(said(protocol, &ours), None, "{protocol}");
        }
        assert_eq!(foreign(8, PacketKind::Data, &ours), None);
        assert_eq!(Foreign::parse(&[7; 47]), None);
    }

    #[test]
    fn known_bytes() {
        let hello = Hello { asks: false, echo: None, ..sample() };
        let mut bytes = vec![0x11, 0x05, 0xdc, 0, 0x80, 0, 0, 0, 0, 0, 7];
        bytes.extend([0xc1; 16]);
        bytes.extend([0; 16]);
        bytes.extend(b"\x05web-1\x052.0.0");
        bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        bytes.extend([0, 0, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f]);
        assert_eq!(hello.emit(), bytes);
        assert_eq!(Hello::parse(&bytes), Ok(hello));
    }

    #[test]
    fn every_flag_round_trips() {
        for bits in 0..32u8 {
            let hello = Hello {
                new: bits & 1 != 0,
                receives: bits & 2 != 0,
                asks: bits & 4 != 0,
                challenge: (bits & 8 != 0).then_some([1; 16]),
                echo: (bits & 16 != 0).then_some([2; 16]),
                records: (bits & 1 != 0).then(|| Said {
                    summary: Summary { horizon: Stamp::at(3), checksum: 4 },
                    behind: Behind { count: 5, ..Behind::default() },
                }),
                mirrors: (0..u64::from(bits & 3)).map(standing).collect(),
                ..sample()
            };
            assert_eq!(Hello::parse(&hello.emit()), Ok(hello));
        }
        let zero = Hello { challenge: Some([0; 16]), ..sample() };
        assert_eq!(Hello::parse(&zero.emit()), Ok(zero));
    }

    #[test]
    fn the_longest_names_fit_into_the_smallest_mtu() {
        let hello = Hello {
            name: HostName::parse(&[b'n'; MAX_HOST_NAME]).unwrap(),
            version: "v".repeat(MAX_VERSION),
            records: Some(Said::default()),
            ..sample()
        };
        let bytes = hello.emit();
        // IP and UDP headers, our header and trailer: 28 + 32 + 16.
        assert!(bytes.len() + 76 <= MIN_MTU.into());
        assert_eq!(Hello::parse(&bytes), Ok(hello));
    }

    #[test]
    fn one_packet_has_room_for_all_trees_or_as_many_as_it_says() {
        for (mtu, name, least) in
            [(1_500, MAX_HOST_NAME, 16), (MIN_MTU, MAX_HOST_NAME, 3), (MIN_MTU, 5, 10)]
        {
            let mut hello = Hello {
                mtu,
                name: HostName::parse(&vec![b'n'; name]).unwrap(),
                version: "v".repeat(MAX_VERSION),
                records: Some(Said::default()),
                ..sample()
            };
            let room = hello.room_for_mirrors();
            assert!(room >= least, "{mtu} {name}: {room}");
            hello.mirrors = (0..room.min(16) as u64).map(standing).collect();
            let bytes = hello.emit();
            assert!(bytes.len() + 76 <= mtu.into());
            assert_eq!(Hello::parse(&bytes), Ok(hello));
        }
    }

    #[test]
    fn our_own_version_is_a_version() {
        assert_eq!(parse_version(crate::VERSION.as_bytes()).as_deref(), Ok(crate::VERSION));
    }

    #[test]
    fn every_truncation_and_every_addition_is_refused() {
        let bytes = sample().emit();
        for len in 0..bytes.len() {
            assert_eq!(Hello::parse(&bytes[..len]), Err(Error::Truncated), "{len}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(Hello::parse(&longer), Err(Error::Trailing));
        assert_eq!(parse_bye(&[]), Ok(()));
        assert_eq!(parse_bye(&[0]), Err(Error::Trailing));
    }

    #[test]
    fn each_bad_field_is_refused() {
        let change = |at: usize, byte: u8| {
            let mut bytes = Hello { challenge: None, echo: None, ..sample() }.emit();
            bytes[at] = byte;
            Hello::parse(&bytes)
        };
        assert!(change(0, 0x05).is_ok());
        assert_eq!(change(0, 0x80), Err(Error::Invalid), "an unknown flag");
        assert_eq!(change(0, 0x40), Err(Error::Truncated), "trees, but none");
        assert_eq!(change(0, 0x20), Err(Error::Truncated), "records without their sum");
        assert_eq!(change(1, 0x01), Err(Error::Invalid), "MTU 476");
        assert_eq!(change(11, 1), Err(Error::Invalid), "a challenge without its flag");
        assert_eq!(change(42, 1), Err(Error::Invalid), "an echo without its flag");
        assert_eq!(change(44, b' '), Err(Error::Invalid), "a space in the name");
        assert_eq!(change(43, 0), Err(Error::Invalid), "no name");
        assert_eq!(change(50, b' '), Err(Error::Invalid), "a space in the version");
        assert_eq!(change(50, 0xff), Err(Error::Invalid), "no ASCII");
        assert_eq!(change(49, 33), Err(Error::TooLarge), "a long version");
        assert!(change(55, 0xff).is_ok(), "any stamp");
        assert_eq!(change(64, 1), Err(Error::Invalid), "a time of more than 48 bits");
    }

    #[test]
    fn random_bytes_do_no_harm_and_what_parses_is_emitted_again() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let good = sample().emit();
        let mut parsed = 0;
        for _ in 0..20_000 {
            // Either noise, or a good HELLO with a few bytes changed.
            let mut bytes = good.clone();
            if random() % 4 == 0 {
                bytes = (0..random() % 100).map(|_| random() as u8).collect();
            } else {
                for _ in 0..random() % 3 {
                    let at = random() as usize % bytes.len();
                    bytes[at] = random() as u8;
                }
            }
            if let Ok(hello) = Hello::parse(&bytes) {
                parsed += 1;
                assert_eq!(hello.emit(), bytes);
            }
        }
        assert!(parsed > 1_000, "{parsed}");
    }
}
