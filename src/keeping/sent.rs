//! Which hosts have what was sent from here: what they said at the end of it, and what became known later.

use std::collections::VecDeque;

use crate::fs::state::dir::StateDir;
use crate::fs::state::error::StateError;
use crate::fs::state::record_file::{Limits, RecordFile};
use crate::name::HostName;
use crate::stamp::Stamp;
use crate::wire::behind::Behind;

/// The file of it.
const FILE: &[u8] = b"sent";
/// What it may become.
const LIMITS: Limits = Limits { file: 16 << 20, record: 1_024 };
/// The most transfers, the latest.
const MOST: usize = 1_000;
/// The most hosts of which it is known.
const MOST_HOSTS: usize = 4_096;
/// The file is written anew when it is larger than this, and than twice what it was then.
const LEAST: u64 = 256 << 10;

/// The name of a host: its number is that of those before it.
const NAME: u8 = 1;
/// A transfer by its stamp, and a bit for each host that has it.
const ROW: u8 = 2;
/// A host by its number has all up to a stamp, but for what was sent from another one on (0: but for nothing).
const HAS: u8 = 3;

/// A bit for each host, by its number.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct HostBits(Vec<u8>);

impl HostBits {
    fn has(&self, host: usize) -> bool {
        self.0.get(host / 8).is_some_and(|byte| byte & (1 << (host % 8)) != 0)
    }

    /// Whether it is new.
    fn insert(&mut self, host: usize) -> bool {
        if self.0.len() <= host / 8 {
            self.0.resize(host / 8 + 1, 0);
        }
        let byte = &mut self.0[host / 8];
        let before = std::mem::replace(byte, *byte | 1 << (host % 8));
        before != *byte
    }
}

/// Which hosts have what was sent from here.
#[derive(Debug)]
pub(super) struct Sent {
    names: Vec<HostName>,
    /// By stamp, ascending.
    rows: VecDeque<(Stamp, HostBits)>,
    file: RecordFile,
    /// How large the file was when it was last written anew.
    was: u64,
}

impl Sent {
    /// Takes up what is in `dir`, for the host of this name.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(dir: &StateDir, me: &HostName) -> Result<Self, StateError> {
        let (mut names, mut rows) = (Vec::new(), VecDeque::new());
        let (file, _) = RecordFile::open(dir, FILE, me, 0, LIMITS, |_, kind, payload| {
            read(&mut names, &mut rows, kind, payload);
        })?;
        let was = file.size();
        Ok(Sent { names, rows, file, was })
    }

    /// The hosts that have what was sent with this stamp; None if that is not known any more.
    pub(super) fn hosts(&self, stamp: Stamp) -> Option<impl Iterator<Item = &HostName>> {
        let at = self.rows.binary_search_by_key(&stamp, |row| row.0).ok()?;
        let bits = &self.rows[at].1;
        let numbered = self.names.iter().enumerate();
        Some(numbered.filter(|(number, _)| bits.has(*number)).map(|(_, name)| name))
    }

    /// Something was sent, and these hosts have it; `is_kept` says of which transfers records are kept.
    ///
    /// # Errors
    /// It cannot be written down.
    pub(super) fn sent(
        &mut self,
        stamp: Stamp,
        hosts: &[HostName],
        is_kept: impl Fn(Stamp) -> bool,
    ) -> Result<(), StateError> {
        let mut bits = HostBits::default();
        for host in hosts {
            if let Some(number) = self.number(host)? {
                bits.insert(number);
            }
        }
        self.file.append(ROW, &row(stamp, &bits))?;
        put(&mut self.rows, stamp, bits);
        if self.rows.len() >= 2 * MOST {
            self.rows.retain(|(stamp, _)| is_kept(*stamp));
            let over = self.rows.len().saturating_sub(MOST);
            self.rows.drain(..over);
        }
        self.tidy()
    }

    /// A host keeps the same records as this one up to a stamp, and lacks this of them.
    ///
    /// # Errors
    /// It cannot be written down.
    pub(super) fn caught_up(
        &mut self,
        host: &HostName,
        upto: Stamp,
        lacks: Behind,
    ) -> Result<(), StateError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let since = if lacks.is_nothing() { Stamp::ZERO } else { lacks.since };
        let Some(number) = self.number(host)? else { return Ok(()) };
        if has(&mut self.rows, number, upto, since) {
            let number = (number as u64).to_be_bytes();
            let stamps = [upto, since].map(|stamp| stamp.bits().to_be_bytes());
            self.file.append(HAS, &[number, stamps[0], stamps[1]].concat())?;
        }
        self.tidy()
    }

    /// The number of a host; None if there are too many.
    fn number(&mut self, host: &HostName) -> Result<Option<usize>, StateError> {
        if let Some(number) = self.names.iter().position(|name| name == host) {
            return Ok(Some(number));
        }
        if self.names.len() >= MOST_HOSTS {
            return Ok(None);
        }
        self.file.append(NAME, host.as_str().as_bytes())?;
        self.names.push(host.clone());
        Ok(Some(self.names.len() - 1))
    }

    /// Writes the file anew, if that is worth it, without names that nothing is known of.
    fn tidy(&mut self) -> Result<(), StateError> {
        if self.file.size() < LEAST.max(2 * self.was) {
            return Ok(());
        }
        let used = |number: &usize| self.rows.iter().any(|(_, bits)| bits.has(*number));
        let kept: Vec<usize> = (0..self.names.len()).filter(used).collect();
        for (_, bits) in &mut self.rows {
            let old = std::mem::take(bits);
            for (new, _) in kept.iter().enumerate().filter(|(_, number)| old.has(**number)) {
                bits.insert(new);
            }
        }
        self.names = kept.iter().map(|number| self.names[*number].clone()).collect();
        let (names, rows) = (&self.names, &self.rows);
        self.file.rewrite(|new| {
            names
                .iter()
                .try_for_each(|name| new.append(NAME, name.as_str().as_bytes()).map(drop))?;
            rows.iter().try_for_each(|(stamp, bits)| new.append(ROW, &row(*stamp, bits)).map(drop))
        })?;
        self.was = self.file.size();
        Ok(())
    }
}

fn read(
    names: &mut Vec<HostName>,
    rows: &mut VecDeque<(Stamp, HostBits)>,
    kind: u8,
    payload: &[u8],
) {
    let number = |at: usize| -> Option<u64> {
        Some(u64::from_be_bytes(payload.get(at..at + 8)?.try_into().ok()?))
    };
    match (kind, number(0)) {
        (NAME, _) if names.len() < MOST_HOSTS => names.extend(HostName::parse(payload).ok()),
        (ROW, Some(stamp)) if payload.len() <= 8 + MOST_HOSTS / 8 => {
            put(rows, Stamp::from_bits(stamp), HostBits(payload[8..].to_vec()));
            if rows.len() > 2 * MOST {
                rows.pop_front();
            }
        }
        (HAS, Some(host)) if host < names.len() as u64 => {
            if let (Some(upto), Some(since)) = (number(8), number(16)) {
                let [upto, since] = [upto, since].map(Stamp::from_bits);
                has(rows, host as usize, upto, since);
            }
        }
        _ => {}
    }
}

fn put(rows: &mut VecDeque<(Stamp, HostBits)>, stamp: Stamp, bits: HostBits) {
    match rows.binary_search_by_key(&stamp, |row| row.0) {
        Ok(at) => rows[at].1 = bits,
        Err(at) => rows.insert(at, (stamp, bits)),
    }
}

/// A host has all up to a stamp, before `since`. Whether that is new.
fn has(rows: &mut VecDeque<(Stamp, HostBits)>, host: usize, upto: Stamp, since: Stamp) -> bool {
    let is_had = |stamp: Stamp| stamp <= upto && (since == Stamp::ZERO || stamp < since);
    let had = rows.iter_mut().filter(|(stamp, _)| is_had(*stamp));
    had.fold(false, |is_new, (_, bits)| bits.insert(host) || is_new)
}

fn row(stamp: Stamp, bits: &HostBits) -> Vec<u8> {
    [&stamp.bits().to_be_bytes()[..], &bits.0].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::state::testing::dir;
    use crate::fs::testing::TempDir;

    const NOW: u64 = 1_795_804_200_000;

    fn host(name: &str) -> HostName {
        HostName::parse(name.as_bytes()).unwrap()
    }

    fn at(after: u64) -> Stamp {
        Stamp::at(NOW + after)
    }

    fn open(dir: &StateDir) -> Sent {
        Sent::open(dir, &host("me")).unwrap()
    }

    fn has_it(sent: &Sent, stamp: Stamp) -> Vec<String> {
        sent.hosts(stamp).into_iter().flatten().map(HostName::to_string).collect()
    }

    #[test]
    fn who_has_it_at_the_end_or_later_is_known_after_a_start() {
        let temp = TempDir::new("sent");
        let dir = dir(&temp);
        let mut sent = open(&dir);
        let (a, b) = (host("a"), host("b"));
        sent.sent(at(1), &[a.clone(), b.clone()], |_| true).unwrap();
        sent.sent(at(2), std::slice::from_ref(&a), |_| true).unwrap();
        sent.sent(at(3), &[], |_| true).unwrap();
        for _ in 0..2 {
            assert_eq!(has_it(&sent, at(1)), ["a", "b"]);
            assert_eq!(has_it(&sent, at(2)), ["a"]);
            assert!(has_it(&sent, at(3)).is_empty() && sent.hosts(at(4)).is_none());
            sent = open(&dir);
        }
        // It lacks what was sent from the third on; and one that is up to date has all up to then.
        let lacks = Behind { count: 1, since: at(3), ..Behind::default() };
        sent.caught_up(&b, at(9), lacks).unwrap();
        sent.caught_up(&host("c"), at(2), Behind::default()).unwrap();
        for _ in 0..2 {
            assert_eq!(has_it(&sent, at(2)), ["a", "b", "c"]);
            assert!(has_it(&sent, at(3)).is_empty());
            sent = open(&dir);
        }
        // What is known is not written again.
        let size = sent.file.size();
        sent.caught_up(&b, at(9), lacks).unwrap();
        assert_eq!(sent.file.size(), size);
    }

    #[test]
    fn it_has_bounds_and_the_latest_that_are_kept_stay() {
        let temp = TempDir::new("sent-many");
        let dir = dir(&temp);
        let mut sent = open(&dir);
        let names: Vec<HostName> = (0..100).map(|at| host(&format!("host{at}"))).collect();
        let mut largest = 0;
        for round in 0..20_000 {
            let some = [names[round as usize % 100].clone(), names[0].clone()];
            let is_kept = |stamp: Stamp| stamp.bits().is_multiple_of(2) || stamp >= at(19_000);
            sent.sent(at(round), &some, is_kept).unwrap();
            largest = largest.max(sent.file.size());
        }
        assert!(sent.rows.len() <= 2 * MOST && largest < 2 * LEAST, "{largest}");
        let again = open(&dir);
        assert!(again.names.len() == 100 && again.rows.len() <= 2 * MOST);
        let last = [names[19_999 % 100].clone(), names[0].clone()];
        assert!(last.iter().all(|name| has_it(&again, at(19_999)).contains(&name.to_string())));
        assert!(again.hosts(at(19_999 - 999)).is_some());
    }

    #[test]
    fn nothing_that_is_in_the_file_hurts() {
        let (mut names, mut rows) = (Vec::new(), VecDeque::new());
        for kind in 0..6 {
            for len in [0, 1, 7, 8, 9, 23, 24, 25, 600, 1_024] {
                for byte in [0, b'a', 0xff] {
                    read(&mut names, &mut rows, kind, &vec![byte; len]);
                }
            }
        }
        assert!(names.len() < 10 && rows.len() < 10);
    }
}
