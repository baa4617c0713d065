//! FETCH: what a host says to another one of which it wants to have something as it is there.
//!
//! | what | byte | then |
//! | --- | --- | --- |
//! | ask: some bytes of a request | 1 | 8, the ticket; 4, the request's length; 4, the offset; the bytes |
//! | wait: is it still being sent | 2 | 8, the ticket |
//! | stop: it is not wanted any more | 3 | 8, the ticket |
//! | state: an answer to each of these | 4 | 8, the ticket; a byte: 0 the request is not known here, 1 it is being done, 2 it is over; after 2, how it ended |
//!
//! How it ended: a byte (0 done, 1 nothing was sent, 2 try again later, 3 try again later because the path is held,
//! 4 this host is behind itself, 5 some of it failed where it was to be written); how many transfers were begun, bytes on the wire, how many errors there were,
//! and how many follow (varints); these: a byte (1 it is about the host that sends), path, code (empty for what is no error) and text (counted).
//!
//! A request: the flags of BEGIN, two bytes of flags (recursive 1, a path that is gone is to be deleted 2, contents are
//! compared 4, deletion goes first 8, forced 16, not if this host is behind 32, lax about attributes 64,
//! there is a limit of deletion 128; the second byte is the level of lines, 0 to 9), the limit (a varint, if
//! there is one), the path and the patterns (counted).

use super::Error;
use super::begin::{flags_of, mode_of};
use super::bytes::{Put, Reader};
use super::mode::Mode;
use crate::ids::Ticket;
use crate::name::{MAX_PATH, RelPath};

/// The longest request, in bytes.
pub const MAX_REQUEST: usize = 64 << 10;
/// The bytes before those of a part of a request.
pub const BEFORE_PART: usize = 1 + 8 + 4 + 4;
/// The most bytes of each text of a trouble.
pub const MAX_TEXT: usize = 4 * MAX_PATH;

/// The payload of FETCH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fetch {
    /// Some bytes of a request.
    Ask {
        /// Of which one.
        ticket: Ticket,
        /// How long it is; [`MAX_REQUEST`] at most.
        len: u32,
        /// Where in it the bytes are.
        offset: u32,
        /// The bytes, one at least.
        bytes: Vec<u8>,
    },
    /// Is it still being sent?
    Wait(Ticket),
    /// It is not wanted any more.
    Stop(Ticket),
    /// How far it is.
    State(Ticket, State),
}

/// How far a request is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It is not known, or not all of it has come.
    Unknown,
    /// It is being done.
    Running,
    /// It is over.
    Over(Over),
}

/// How a request ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Over {
    /// In short.
    pub end: End,
    /// How many transfers were begun for it.
    pub transfers: u64,
    /// How many bytes they took on the wire.
    pub wire: u64,
    /// How many errors there were.
    pub errors: u64,
    /// Some of them.
    pub troubles: Vec<Trouble>,
}

/// How a request ended, in short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It was done, as far as it went.
    Done,
    /// Nothing was sent.
    Refused,
    /// There is too much to do now.
    Busy,
    /// The path is held by another transfer.
    Held,
    /// This host lacks something itself.
    Behind,
    /// Some of it failed at the host that had asked.
    Failed,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// On the host that sends, and not on the one that asked.
    pub is_there: bool,
    /// Of which path, as it is shown; empty if of none.
    pub path: String,
    /// Its code; empty if it is no error.
    pub code: String,
    /// In words.
    pub text: String,
}

/// What a host asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// What the transfer is to do; always [`Mode::Send`].
    pub mode: Mode,
    /// The path with all that is below it.
    pub recursive: bool,
    /// If it is gone, it is to be deleted.
    pub or_gone: bool,
    /// Contents are compared.
    pub checksum: bool,
    /// What is deleted goes before anything is sent.
    pub delete_before: bool,
    /// The guards of deletion do not hold it up.
    pub forced: bool,
    /// Only of a host that lacks nothing there itself.
    pub unless_behind: bool,
    /// Attributes that cannot be set are no error.
    pub lax_attributes: bool,
    /// The level of the lines that are shown where it was asked for.
    pub level: u8,
    /// Nothing is deleted if it would be more than this.
    pub max_delete: Option<u64>,
    /// The path.
    pub path: RelPath,
    /// The patterns, as `pattern` writes them; empty without any.
    pub patterns: Vec<u8>,
}

const RECURSIVE: u8 = 1;
const OR_GONE: u8 = 2;
const CHECKSUM: u8 = 4;
const DELETE_BEFORE: u8 = 8;
const FORCED: u8 = 16;
const UNLESS_BEHIND: u8 = 32;
const LAX: u8 = 64;
const LIMITED: u8 = 128;

impl Request {
    /// Reads it.
    ///
    /// # Errors
    /// It is too long; it is not one of `send`; a level over 9; a bad path; the wrong length.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_REQUEST {
            return Err(Error::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        let mode = reader.u8()?;
        let (flags, level) = (reader.u8()?, reader.u8()?);
        let has = |flag: u8| flags & flag != 0;
        let is_sound =
            flags_of(mode_of(mode)) == mode && matches!(mode_of(mode), Mode::Send { .. });
        if !is_sound || level > 9 || (has(RECURSIVE) && has(OR_GONE)) {
            return Err(Error::Invalid);
        }
        let max_delete = if has(LIMITED) { Some(reader.varint()?) } else { None };
        let path = RelPath::parse_or_base(reader.counted(MAX_PATH)?).map_err(|_| Error::Invalid)?;
        let patterns = reader.counted(MAX_REQUEST)?.to_vec();
        reader.end()?;
        Ok(Request {
            mode: mode_of(mode),
            recursive: has(RECURSIVE),
            or_gone: has(OR_GONE),
            checksum: has(CHECKSUM),
            delete_before: has(DELETE_BEFORE),
            forced: has(FORCED),
            unless_behind: has(UNLESS_BEHIND),
            lax_attributes: has(LAX),
            level,
            max_delete,
            path,
            patterns,
        })
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.recursive, RECURSIVE)
            | flag(self.or_gone, OR_GONE)
            | flag(self.checksum, CHECKSUM)
            | flag(self.delete_before, DELETE_BEFORE)
            | flag(self.forced, FORCED)
            | flag(self.unless_behind, UNLESS_BEHIND)
            | flag(self.lax_attributes, LAX)
            | flag(self.max_delete.is_some(), LIMITED);
        let mut out = vec![flags_of(self.mode), flags, self.level];
        if let Some(most) = self.max_delete {
            out.put_varint(most);
        }
        out.put_counted(self.path.as_bytes());
        out.put_counted(&self.patterns);
        out
    }
}

impl Over {
    /// Nothing was done, for this reason, which says it all.
    pub fn nothing(end: End) -> Self {
        Over { end, transfers: 0, wire: 0, errors: 0, troubles: Vec::new() }
    }

    /// The same, with as many of its troubles as fit into a payload of `room` bytes.
    #[must_use]
    pub fn within(mut self, room: usize) -> Self {
        /// What stands before the troubles, at most.
        const BEFORE: usize = 1 + 8 + 1 + 1 + 4 * 10;
        let mut left = room.saturating_sub(BEFORE);
        let fits = self.troubles.iter().take_while(|trouble| {
            let len = trouble.len_bound();
            let fits = len <= left;
            left = left.saturating_sub(len);
            fits
        });
        let fits = fits.count();
        self.troubles.truncate(fits);
        self
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let end = match reader.u8()? {
            0 => End::Done,
            1 => End::Refused,
            2 => End::Busy,
            3 => End::Held,
            4 => End::Behind,
            5 => End::Failed,
            _ => return Err(Error::Invalid),
        };
        let (transfers, wire, errors) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let mut troubles = Vec::new();
        for _ in 0..reader.varint()? {
            troubles.push(Trouble::parse(reader)?);
        }
        Ok(Over { end, transfers, wire, errors, troubles })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.push(match self.end {
            End::Done => 0,
            End::Refused => 1,
            End::Busy => 2,
            End::Held => 3,
            End::Behind => 4,
            End::Failed => 5,
        });
        for number in [self.transfers, self.wire, self.errors, self.troubles.len() as u64] {
            out.put_varint(number);
        }
        self.troubles.iter().for_each(|trouble| trouble.emit(out));
    }
}

impl Trouble {
    fn len_bound(&self) -> usize {
        1 + [&self.path, &self.code, &self.text].map(|text| 3 + text.len()).iter().sum::<usize>()
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let is_there = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Error::Invalid),
        };
        let mut text = || {
            let bytes = reader.counted(MAX_TEXT)?;
            let text = std::str::from_utf8(bytes).map_err(|_| Error::Invalid)?;
            // They are shown on a terminal.
            let is_plain = !text.chars().any(char::is_control);
            is_plain.then(|| text.to_owned()).ok_or(Error::Invalid)
        };
        Ok(Trouble { is_there, path: text()?, code: text()?, text: text()? })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.is_there.into());
        [&self.path, &self.code, &self.text]
            .iter()
            .for_each(|text| out.put_counted(text.as_bytes()));
    }
}

impl Fetch {
    /// The parts of a request, each for a payload of `room` bytes.
    pub fn parts(ticket: Ticket, request: &[u8], room: usize) -> impl Iterator<Item = Fetch> + '_ {
        let most = room.saturating_sub(BEFORE_PART).max(1);
        let len = request.len() as u32;
        request.chunks(most).enumerate().map(move |(at, bytes)| Fetch::Ask {
            ticket,
            len,
            offset: (at * most) as u32,
            bytes: bytes.to_vec(),
        })
    }

    /// Reads it.
    ///
    /// # Errors
    /// An unknown number, a part that is not within its request, a text that cannot be shown, the wrong length.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let what = reader.u8()?;
        let ticket = Ticket::new(reader.u64()?);
        let fetch = match what {
            1 => {
                let (len, offset) = (reader.u32()?, reader.u32()?);
                let bytes = reader.take(reader.rest().len())?.to_vec();
                let end = offset as usize + bytes.len();
                if bytes.is_empty() || len as usize > MAX_REQUEST || end > len as usize {
                    return Err(Error::Invalid);
                }
                Fetch::Ask { ticket, len, offset, bytes }
            }
            2 => Fetch::Wait(ticket),
            3 => Fetch::Stop(ticket),
            4 => {
                let state = match reader.u8()? {
                    0 => State::Unknown,
                    1 => State::Running,
                    2 => State::Over(Over::parse(&mut reader)?),
                    _ => return Err(Error::Invalid),
                };
                Fetch::State(ticket, state)
            }
            _ => return Err(Error::Invalid),
        };
        reader.end()?;
        Ok(fetch)
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let head = |what: u8, ticket: Ticket| {
            let mut out = vec![what];
            out.put_u64(ticket.get());
            out
        };
        match self {
            Fetch::Ask { ticket, len, offset, bytes } => {
                let mut out = head(1, *ticket);
                out.put_u32(*len);
                out.put_u32(*offset);
                out.extend_from_slice(bytes);
                out
            }
            Fetch::Wait(ticket) => head(2, *ticket),
            Fetch::Stop(ticket) => head(3, *ticket),
            Fetch::State(ticket, state) => {
                let mut out = head(4, *ticket);
                match state {
                    State::Unknown => out.push(0),
                    State::Running => out.push(1),
                    State::Over(over) => {
                        out.push(2);
                        over.emit(&mut out);
                    }
                }
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(path: &str) -> Trouble {
        Trouble {
            is_there: true,
            path: path.into(),
            code: "ENOENT".into(),
            text: "not there".into(),
        }
    }

    fn over(troubles: usize) -> Over {
        let troubles = (0..troubles).map(|n| trouble(&format!("d/{n}"))).collect();
        Over { end: End::Done, transfers: 2, wire: 1 << 40, errors: 9, troubles }
    }

    fn samples() -> Vec<Fetch> {
        let ticket = Ticket::new(0x0102_0304_0506_0708);
        let ends = [End::Done, End::Refused, End::Busy, End::Held, End::Behind, End::Failed];
        let mut all = vec![
            Fetch::Ask { ticket, len: 9, offset: 7, bytes: vec![1, 2] },
            Fetch::Wait(ticket),
            Fetch::Stop(ticket),
            Fetch::State(ticket, State::Unknown),
            Fetch::State(ticket, State::Running),
            Fetch::State(ticket, State::Over(over(3))),
        ];
        all.extend(ends.map(|end| Fetch::State(ticket, State::Over(Over::nothing(end)))));
        all
    }

    fn request(bits: u8) -> Request {
        let has = |bit: u8| bits & bit != 0;
        Request {
            mode: Mode::Send { delete: has(1), ignore_times: has(2), dry_run: has(4) },
            recursive: has(8),
            or_gone: has(16) && !has(8),
            checksum: has(32),
            delete_before: has(64),
            forced: has(128),
            unless_behind: has(1),
            lax_attributes: has(2),
            level: bits % 10,
            max_delete: has(4).then_some(u64::from(bits)),
            path: if has(8) { RelPath::base() } else { RelPath::parse(b"a/b").unwrap() },
            patterns: vec![7; bits.into()],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for fetch in samples() {
            let bytes = fetch.emit();
            (0..bytes.len())
                .for_each(|len| assert_ne!(Fetch::parse(&bytes[..len]).as_ref(), Ok(&fetch)));
            assert_eq!(Fetch::parse(&bytes), Ok(fetch));
        }
        for bits in 0..=255 {
            let bytes = request(bits).emit();
            (0..bytes.len()).for_each(|len| assert!(Request::parse(&bytes[..len]).is_err()));
            assert_eq!(Request::parse(&bytes), Ok(request(bits)));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let ticket = Ticket::new(1);
        for (len, offset, bytes) in
            [(7, 6, 2), (MAX_REQUEST as u32 + 1, 0, 1), (1, u32::MAX, 1), (7, 7, 0)]
        {
            let part = Fetch::Ask { ticket, len, offset, bytes: vec![0; bytes] };
            assert_eq!(Fetch::parse(&part.emit()), Err(Error::Invalid), "{part:?}");
        }
        for text in ["\x1b[2J", "a\nb", "\u{9b}"] {
            let over = Over { troubles: vec![trouble(text)], ..over(0) };
            let said = Fetch::State(ticket, State::Over(over));
            assert_eq!(Fetch::parse(&said.emit()), Err(Error::Invalid), "{text:?}");
        }
        for mode in [Mode::Check, Mode::Remove { dry_run: false }] {
            let request = Request { mode, ..request(0) };
            assert_eq!(Request::parse(&request.emit()), Err(Error::Invalid), "{mode:?}");
        }
        let loud = Request { level: 10, ..request(0) };
        assert_eq!(Request::parse(&loud.emit()), Err(Error::Invalid));
        assert_eq!(Request::parse(&vec![0; MAX_REQUEST + 1]), Err(Error::TooLarge));
        assert_eq!(Fetch::parse(&[5; 9]), Err(Error::Invalid));
    }

    #[test]
    fn a_request_comes_in_parts_and_an_end_in_one_packet() {
        let bytes: Vec<u8> = (0..2_000u32).map(|n| n as u8).collect();
        let mut whole = Vec::new();
        for part in Fetch::parts(Ticket::new(5), &bytes, 480) {
            assert!(part.emit().len() <= 480);
            let Fetch::Ask { len, offset, bytes, .. } = part else { panic!() };
            assert_eq!((len, offset as usize), (2_000, whole.len()));
            whole.extend(bytes);
        }
        assert_eq!(whole, bytes);
        for (troubles, path, fit) in [(3, 5, 3), (100, 10, 10), (1, 4_000, 0)] {
            let troubles = vec![trouble(&"x".repeat(path)); troubles];
            let over = Over { wire: u64::MAX, errors: u64::MAX, troubles, ..over(0) }.within(480);
            assert!(
                over.troubles.len() >= fit && (fit > 0 || over.troubles.is_empty()),
                "{over:?}"
            );
            assert!(Fetch::State(Ticket::new(5), State::Over(over)).emit().len() <= 480);
        }
    }
}
