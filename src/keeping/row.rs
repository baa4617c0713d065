//! What is in the file of the journal: a row for each thing that has become known, the latest of which
//! counts.

use std::sync::Arc;

use crate::engine::catch_up::{Record, RecordId, State};
use crate::name::HostName;
use crate::stamp::Stamp;

const RECORD: u8 = 1;
const LIST: u8 = 2;
const DROPPED: u8 = 3;
const HORIZON: u8 = 4;
const HEIGHT: u8 = 5;

const ENDED: u8 = 16;
const IN_FILE: u8 = 32;
const IN_ROW: u8 = 64;
const STATES: [State; 6] = [
    State::Elsewhere,
    State::Lacking,
    State::Partial,
    State::Noted,
    State::Complete,
    State::Strange,
];

/// Its place in [`STATES`].
fn number(state: State) -> u8 {
    match state {
        State::Elsewhere => 0,
        State::Lacking => 1,
        State::Partial => 2,
        State::Noted => 3,
        State::Complete => 4,
        State::Strange => 5,
    }
}

/// Where the list of a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ListIn {
    /// There is none yet, or it was given up. If a row with one follows, that is it.
    Nothing,
    /// In the last row before this one that has one, unless one follows.
    Row,
    /// In a file of its own.
    File,
}

/// A row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Row {
    /// A record: how far this host is with it, whether its transfer has ended, where its list is.
    Record { record: Record, state: State, has_ended: bool, list: ListIn },
    /// The list of a record, in short; and what the number of the record is.
    List(u64, Vec<u8>),
    /// A record is no longer kept.
    Dropped(RecordId),
    /// Records up to this stamp were dropped because there were too many.
    Horizon(Stamp),
    /// What this host's clock has come to.
    Height(Stamp),
}

impl Row {
    /// Reads it; None if it is not one of ours.
    pub(super) fn parse(kind: u8, payload: &[u8]) -> Option<Self> {
        let stamp = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
        Some(match kind {
            RECORD => {
                let (&flags, record) = payload.split_first()?;
                let list = match flags & (IN_ROW | IN_FILE) {
                    0 => ListIn::Nothing,
                    IN_ROW => ListIn::Row,
                    IN_FILE => ListIn::File,
                    _ => return None,
                };
                if flags & !(15 | ENDED | IN_FILE | IN_ROW) != 0 {
                    return None;
                }
                Row::Record {
                    record: Record::parse(record).ok()?,
                    state: *STATES.get(usize::from(flags & 15))?,
                    has_ended: flags & ENDED != 0,
                    list,
                }
            }
            LIST => {
                let (key, list) = payload.split_at_checked(8)?;
                Row::List(stamp(key)?, list.to_vec())
            }
            DROPPED => {
                let (at, host) = payload.split_at_checked(8)?;
                let host = Arc::new(HostName::parse(host).ok()?);
                Row::Dropped(RecordId { stamp: Stamp::from_bits(stamp(at)?), host })
            }
            HORIZON => Row::Horizon(Stamp::from_bits(stamp(payload)?)),
            HEIGHT => Row::Height(Stamp::from_bits(stamp(payload)?)),
            _ => return None,
        })
    }

    /// Writes it: its kind and its payload.
    pub(super) fn emit(&self) -> (u8, Vec<u8>) {
        match self {
            Row::Record { record, state, has_ended, list } => {
                (RECORD, record_row(record, *state, *has_ended, *list))
            }
            Row::List(key, list) => (LIST, [&key.to_be_bytes()[..], list].concat()),
            Row::Dropped(id) => {
                let host = id.host.as_str().as_bytes();
                (DROPPED, [&id.stamp.bits().to_be_bytes()[..], host].concat())
            }
            Row::Horizon(stamp) => (HORIZON, stamp.bits().to_be_bytes().to_vec()),
            Row::Height(stamp) => (HEIGHT, stamp.bits().to_be_bytes().to_vec()),
        }
    }
}

fn record_row(record: &Record, state: State, has_ended: bool, list: ListIn) -> Vec<u8> {
    let list = match list {
        ListIn::Nothing => 0,
        ListIn::Row => IN_ROW,
        ListIn::File => IN_FILE,
    };
    let mut row = vec![number(state) | if has_ended { ENDED } else { 0 } | list];
    row.extend(record.emit());
    row
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::catch_up::{Audience, Deed, Names};
    use crate::name::RelPath;

    pub(in crate::keeping) fn record(stamp: u64, host: &str, path: &str) -> Record {
        let host = Arc::new(HostName::parse(host.as_bytes()).unwrap());
        Record {
            id: RecordId { stamp: Stamp::at(stamp), host },
            path: RelPath::parse_or_base(path.as_bytes()).unwrap(),
            deed: Deed { recursive: true, ..Deed::default() },
            audience: Audience::All,
            patterns: None,
            names: Names::default(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let record = record(7, "web-1", "a/b");
        let id = record.id.clone();
        let mut rows = vec![
            Row::List(9, b"list".to_vec()),
            Row::Dropped(id.clone()),
            Row::Horizon(id.stamp),
            Row::Height(Stamp::at(1 << 40)),
        ];
        for (at, state) in STATES.into_iter().enumerate() {
            assert_eq!(usize::from(number(state)), at);
            let list = [ListIn::Nothing, ListIn::Row, ListIn::File][at % 3];
            let (has_ended, record) = (at % 2 == 0, record.clone());
            rows.push(Row::Record { record, state, has_ended, list });
        }
        for row in rows {
            let (kind, payload) = row.emit();
            assert_eq!(Row::parse(kind, &payload), Some(row));
        }
    }

    #[test]
    fn nothing_else_is_a_row() {
        assert_eq!(Row::parse(0, &[]), None);
        assert_eq!(Row::parse(6, &[0; 8]), None);
        for kind in 1..6 {
            assert_eq!(Row::parse(kind, &[0; 7]), None, "{kind}");
        }
        assert_eq!(Row::parse(HORIZON, &[0; 9]), None);
        let (kind, mut payload) = Row::Record {
            record: record(7, "web-1", ""),
            state: State::Complete,
            has_ended: true,
            list: ListIn::Nothing,
        }
        .emit();
        for flags in [6, 15, 96, 128] {
            payload[0] = flags;
            assert_eq!(Row::parse(kind, &payload), None, "{flags}");
        }
    }
}
