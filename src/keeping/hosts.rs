//! The hosts that are known, also those that are away: when they were seen, and what they lacked then.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::engine::catch_up::{Behind, Journal, Why};
use crate::fs::state::dir::StateDir;
use crate::fs::state::error::StateError;
use crate::fs::state::record_file::{Limits, RecordFile};
use crate::log::{self, Level};
use crate::name::{HostName, MAX_HOST_NAME};
use crate::stamp::Stamp;
use crate::wire::bytes::{Put, Reader};
use crate::wire::mirror::{MAX_TREES, Standing};
use crate::wire::names::Hash;

/// The file of the hosts.
const FILE: &[u8] = b"hosts";
/// What it may become.
const LIMITS: Limits = Limits { file: 16 << 20, record: 1_024 };
/// The most hosts.
pub const MAX_HOSTS: usize = 4_096;
/// In milliseconds: how long a host is known that is away; how long one that had lived for less than an hour.
const KEPT: u64 = 30 * DAY;
/// How long one is waited for that mirrors a tree.
const KEPT_MIRROR: u64 = 90 * DAY;
const KEPT_SHORT: u64 = DAY;
const SHORT: u64 = 3_600_000;
const DAY: u64 = 86_400_000;
/// How often times are written, in milliseconds, where nothing else has changed.
const TIMES_EVERY: u64 = 300_000;
/// The most trees that are remembered of a host: it may mirror others than before.
const MOST_MIRRORS: usize = 2 * MAX_TREES;
/// The file is written anew when it is larger than this, and so much for each host.
const LEAST: u64 = 64 << 10;
const LEAST_EACH: u64 = 1_024;

const HOST: u8 = 1;
const FORGOTTEN: u8 = 2;

const RECEIVES: u8 = 1;
const KEEPS: u8 = 2;
const AGREED: u8 = 4;
const MIRRORS: u8 = 8;

/// What is known of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// Where it was last.
    pub address: Ipv4Addr,
    /// When it was first seen and when last, by this host's wall clock in milliseconds.
    pub first: u64,
    /// See above.
    pub last: u64,
    /// Whether it can be a target.
    pub receives: bool,
    /// What it said last of what it lacks; None if it keeps no records.
    pub said: Option<Behind>,
    /// When it last knew of the same records as this host: up to which stamp, and what it lacked of them.
    pub agreed: Option<(Stamp, Behind)>,
    /// It is away, or has come back and may not know yet what it lacks.
    pub may_lack_more: bool,
    /// The trees that it mirrors, and when it said so last.
    mirrors: Vec<(Hash, u64)>,
}

/// What has just been seen of a host.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Where it is.
    pub address: Ipv4Addr,
    /// Whether it can be a target.
    pub receives: bool,
    /// What it says that it lacks, if it keeps records.
    pub said: Option<Behind>,
    /// The stamp up to which this host knows all that there is, if that tells something of the other one.
    pub settled: Option<Stamp>,
    /// It keeps the same records as this host.
    pub agrees: bool,
    /// What it says of the trees that it mirrors.
    pub mirrors: &'a [Standing],
}

/// What is not on disk of a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Unwritten {
    Nothing,
    /// Only times.
    Times,
    Something,
}

/// The hosts that are known, by name.
#[derive(Debug)]
pub struct Hosts {
    known: BTreeMap<HostName, (Host, Unwritten)>,
    /// None: nothing is kept on disk.
    file: Option<RecordFile>,
    /// When times were last written.
    written: u64,
}

impl Host {
    /// What it lacks, if it is a member: what it says, once it can know.
    pub fn lacks_now(&self, name: &HostName, journal: Option<&Journal>) -> Option<Behind> {
        if self.may_lack_more { self.lacks(name, journal) } else { self.said }
    }

    /// What it lacks if it is away: what it said, and what was sent for it since. None if that cannot be known,
    /// because it keeps no records.
    pub fn lacks(&self, name: &HostName, journal: Option<&Journal>) -> Option<Behind> {
        let said = self.said?;
        if !self.receives || said.takes_nothing() {
            return Some(said);
        }
        let (since, then) = self.agreed.unwrap_or((Stamp::at(self.last), said));
        let mut missed = journal.into_iter().flat_map(|journal| journal.missed(name, since));
        let earliest = missed.next();
        let count = missed.count() as u64 + u64::from(earliest.is_some());
        let times = [Some(then.since).filter(|_| !then.is_nothing()), earliest.map(|id| id.stamp)];
        Some(Behind {
            count: then.count.saturating_add(u32::try_from(count).unwrap_or(u32::MAX)),
            strange: then.strange,
            since: times.into_iter().flatten().min().unwrap_or(Stamp::ZERO),
            ..said
        })
    }

    fn is_short_lived(&self) -> bool {
        self.last.saturating_sub(self.first) < SHORT
    }

    fn is_over(&self, wall: u64) -> bool {
        let kept = if self.is_short_lived() { KEPT_SHORT } else { KEPT };
        wall.saturating_sub(self.last) > kept
            && !self.mirrors.iter().any(|(tree, _)| self.has_mirror(*tree, wall))
    }

    /// Whether it mirrors a tree, or did so lately.
    fn has_mirror(&self, tree: Hash, wall: u64) -> bool {
        let is_it = |(other, last): &(Hash, u64)| {
            *other == tree && wall.saturating_sub(*last) <= KEPT_MIRROR
        };
        self.mirrors.iter().any(is_it)
    }

    fn emit(&self, name: &HostName) -> Vec<u8> {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut out = vec![
            flag(self.receives, RECEIVES)
                | flag(self.said.is_some(), KEEPS)
                | flag(self.agreed.is_some(), AGREED)
                | flag(!self.mirrors.is_empty(), MIRRORS),
        ];
        out.put_counted(name.as_str().as_bytes());
        out.extend(self.address.octets());
        out.put_u64(self.first);
        out.put_u64(self.last);
        if let Some(said) = &self.said {
            said.put(&mut out);
        }
        if let Some((stamp, then)) = &self.agreed {
            out.put_u64(stamp.bits());
            then.put(&mut out);
        }
        if !self.mirrors.is_empty() {
            out.push(self.mirrors.len() as u8);
            for (tree, last) in &self.mirrors {
                out.put_u64(tree.0);
                out.put_u64(*last);
            }
        }
        out
    }

    fn parse(payload: &[u8]) -> Option<(HostName, Self)> {
        let mut reader = Reader::new(payload);
        let flags = reader.u8().ok()?;
        let name = HostName::parse(reader.counted(MAX_HOST_NAME).ok()?).ok()?;
        let address = Ipv4Addr::from(reader.array::<4>().ok()?);
        let (first, last) = (reader.u64().ok()?, reader.u64().ok()?);
        let said = match flags & KEEPS != 0 {
            true => Some(Behind::read(&mut reader).ok()?),
            false => None,
        };
        let agreed = match flags & AGREED != 0 {
            true => {
                let stamp = Stamp::from_bits(reader.u64().ok()?);
                Some((stamp, Behind::read(&mut reader).ok()?))
            }
            false => None,
        };
        let mut mirrors = Vec::new();
        if flags & MIRRORS != 0 {
            for _ in 0..reader.u8().ok()? {
                mirrors.push((Hash(reader.u64().ok()?), reader.u64().ok()?));
            }
        }
        reader.end().ok()?;
        let receives = flags & RECEIVES != 0;
        let host =
            Host { address, first, last, receives, said, agreed, may_lack_more: true, mirrors };
        (flags & !(RECEIVES | KEEPS | AGREED | MIRRORS) == 0).then_some((name, host))
    }
}

impl Hosts {
    /// Takes up what is in `dir` for the host of this name; without a directory, nothing is kept on disk. `wall`
    /// is its wall clock. Also why the file cannot be used, if that is so: then all is in memory only.
    pub fn open(dir: Option<&StateDir>, me: &HostName, wall: u64) -> (Self, Option<StateError>) {
        let mut hosts = Hosts { known: BTreeMap::new(), file: None, written: wall };
        let Some(dir) = dir else { return (hosts, None) };
        let opened =
            RecordFile::open(dir, FILE, me, Stamp::at(wall).bits(), LIMITS, |_, kind, row| {
                hosts.row(wall, kind, row);
            });
        match opened {
            Ok((file, _)) => {
                hosts.file = Some(file);
                (hosts, None)
            }
            Err(error) => (hosts, Some(error)),
        }
    }

    fn row(&mut self, wall: u64, kind: u8, row: &[u8]) {
        match kind {
            HOST => {
                let Some((name, mut host)) = Host::parse(row) else { return };
                // The clock was wrong then, or is now.
                host.last = host.last.min(wall);
                host.first = host.first.min(host.last);
                host.mirrors.iter_mut().for_each(|(_, last)| *last = (*last).min(wall));
                self.make_room(&name);
                self.known.insert(name, (host, Unwritten::Nothing));
            }
            FORGOTTEN => {
                if let Ok(name) = HostName::parse(row) {
                    self.known.remove(&name);
                }
            }
            _ => {}
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&HostName, &Host)> {
        self.known.iter().map(|(name, (host, _))| (name, host))
    }

    /// What is known of a host.
    pub fn get(&self, name: &HostName) -> Option<&Host> {
        self.known.get(name).map(|(host, _)| host)
    }

    /// The hosts that mirror a tree, also those that are away.
    pub fn mirroring(&self, tree: Hash, wall: u64) -> impl Iterator<Item = &HostName> {
        self.iter().filter(move |(_, host)| host.has_mirror(tree, wall)).map(|(name, _)| name)
    }

    /// A host has said something.
    pub fn seen(&mut self, wall: u64, name: &HostName, seen: Seen<'_>) {
        let Seen { address, receives, said, settled, agrees, mirrors } = seen;
        self.make_room(name);
        let (first, last, agreed, may_lack_more) = (wall, wall, None, false);
        let mirrors: Vec<_> = mirrors.iter().map(|standing| (standing.tree, wall)).collect();
        let mut new = Host { address, first, last, receives, said, agreed, may_lack_more, mirrors };
        let is_new = !self.known.contains_key(name);
        let (host, unwritten) =
            self.known.entry(name.clone()).or_insert_with(|| (new.clone(), Unwritten::Something));
        for (tree, at) in &host.mirrors {
            let says = new.mirrors.iter().any(|(other, _)| other == tree);
            if !says && host.has_mirror(*tree, wall) && new.mirrors.len() < MOST_MIRRORS {
                new.mirrors.push((*tree, *at));
            }
        }
        // One that has come back says at first what it said before.
        let what = |said: Option<Behind>| said.map(|said| Behind { why: Why::Asking, ..said });
        let knows = agrees || what(said) != what(host.said);
        let may_lack_more = host.may_lack_more && !knows;
        // One that was there all the time knows of what there is, though it may keep more or less of it.
        let agreed = match (said, settled) {
            (Some(behind), Some(settled)) if agrees || !(is_new || may_lack_more) => {
                Some((settled, behind))
            }
            (Some(_), _) => host.agreed,
            (None, _) => None,
        };
        let now = Host { first: host.first, agreed, may_lack_more, ..new };
        let gist = |host: &Host| {
            let said = host.said.map(|said| (said.total(), said.why));
            let mut mirrors: Vec<Hash> = host.mirrors.iter().map(|(tree, _)| *tree).collect();
            mirrors.sort_unstable();
            (host.address, host.receives, said, mirrors)
        };
        let change = match is_new || gist(host) != gist(&now) {
            true => Unwritten::Something,
            false => Unwritten::Times,
        };
        (*host, *unwritten) = (now, (*unwritten).max(change));
    }

    /// A host has left, and was last heard then.
    pub fn left(&mut self, heard: u64, name: &HostName) {
        if let Some((host, unwritten)) = self.known.get_mut(name) {
            (host.last, *unwritten) = (host.last.max(heard), Unwritten::Something);
            host.may_lack_more = true;
        }
    }

    /// Forgets a host; false if none of that name is known.
    pub fn forget(&mut self, name: &HostName) -> bool {
        let is_known = self.known.remove(name).is_some();
        if is_known {
            self.append(FORGOTTEN, name.as_str().as_bytes());
        }
        is_known
    }

    /// Forgets who was away for too long, and writes what has changed; times only now and then, or if `all` of it
    /// is to be written.
    pub fn keep(&mut self, wall: u64, all: bool) {
        let over = self.known.iter().filter(|(_, (host, _))| host.is_over(wall));
        for name in over.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.forget(&name);
        }
        let with_times = all || self.written.abs_diff(wall) >= TIMES_EVERY;
        let least = if with_times { Unwritten::Times } else { Unwritten::Something };
        let mut rows = Vec::new();
        for (name, (host, unwritten)) in &mut self.known {
            if *unwritten >= least {
                *unwritten = Unwritten::Nothing;
                rows.push(host.emit(name));
            }
        }
        rows.iter().for_each(|row| self.append(HOST, row));
        if with_times {
            self.written = wall;
        }
        self.tidy();
    }

    fn append(&mut self, kind: u8, row: &[u8]) {
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.append(kind, row)) {
            warn(&error);
        }
    }

    /// Writes the file anew, if that is worth it.
    fn tidy(&mut self) {
        let Hosts { known, file: Some(file), .. } = self else { return };
        if file.size() < LEAST + LEAST_EACH * known.len() as u64 {
            return;
        }
        let rows = known.iter().map(|(name, (host, _))| host.emit(name));
        let rewritten = file
            .rewrite(|new| rows.into_iter().try_for_each(|row| new.append(HOST, &row).map(drop)));
        if let Err(error) = rewritten {
            warn(&error);
        }
    }

    /// If there are too many, one gives way to a new one: one that lived but for a short time, and was seen longest
    /// ago.
    fn make_room(&mut self, name: &HostName) {
        if self.known.len() < MAX_HOSTS || self.known.contains_key(name) {
            return;
        }
        let worth = |(_, (host, _)): &(&HostName, &(Host, _))| (!host.is_short_lived(), host.last);
        if let Some(name) = self.known.iter().min_by_key(worth).map(|(name, _)| name.clone()) {
            self.forget(&name);
        }
    }
}

fn warn(error: &StateError) {
    let text = format_args!("which hosts are known cannot be kept: {error}");
    log::limited(Level::WARNING, "what is kept of hosts", None, text);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::row::tests::record;
    use super::*;
    use crate::engine::catch_up::{Audience, Lists, MAX_RECORDS, RecordId};
    use crate::fs::state::testing::dir;
    use crate::fs::testing::TempDir;
    use crate::wire::begin::Recorded;
    use crate::wire::names::Hash;
    use crate::wire::versions::IndexId;

    const NOW: u64 = 1_795_804_200_000;
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    fn host(name: &str) -> HostName {
        HostName::parse(name.as_bytes()).unwrap()
    }

    fn seen(said: Option<Behind>, agrees: Option<Stamp>) -> Seen<'static> {
        let (receives, agrees, settled) = (true, agrees.is_some(), agrees);
        Seen { address: ADDRESS, receives, said, settled, agrees, mirrors: &[] }
    }

    fn well(stamp: u64) -> Seen<'static> {
        seen(Some(Behind::default()), Some(Stamp::at(stamp)))
    }

    fn names(hosts: &Hosts) -> Vec<&str> {
        hosts.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// What is on disk of them.
    fn kept(hosts: &Hosts) -> impl Iterator<Item = (&HostName, Host)> {
        hosts.iter().map(|(name, host)| (name, Host { may_lack_more: true, ..host.clone() }))
    }

    fn in_memory() -> Hosts {
        Hosts::open(None, &host("me"), NOW).0
    }

    #[test]
    fn who_was_known_is_known_after_a_start_and_who_was_forgotten_is_not() {
        let temp = TempDir::new("hosts");
        let dir = dir(&temp);
        let open = || Hosts::open(Some(&dir), &host("me"), NOW + 9);
        let mut hosts = open().0;
        let why = Why::Failed(crate::wire::outcome::Reason::Os(28));
        let behind =
            Behind { count: 3, strange: 1, since: Stamp::at(4), why, complete: Stamp::at(2) };
        hosts.seen(NOW, &host("web1"), well(5));
        hosts.seen(NOW, &host("web2"), seen(Some(behind), None));
        hosts.seen(NOW, &host("web3"), seen(None, None));
        hosts.keep(NOW, false);
        // A time alone is not worth a row.
        hosts.seen(NOW + 5, &host("web1"), well(6));
        hosts.keep(NOW + 5, false);
        let again = open().0;
        assert_eq!(names(&again), ["web1", "web2", "web3"]);
        assert_eq!(again.get(&host("web1")).unwrap().last, NOW);
        hosts.keep(NOW + 6, true);
        assert!(hosts.forget(&host("web3")) && !hosts.forget(&host("web3")));
        let again = open().0;
        assert!(kept(&again).eq(kept(&hosts)));
        assert_eq!(again.get(&host("web2")).unwrap().said, Some(behind));
        assert_eq!(names(&again), ["web1", "web2"]);
        // With another name, it is another host.
        assert_eq!(Hosts::open(Some(&dir), &host("other"), NOW).0.iter().count(), 0);
    }

    #[test]
    fn who_is_away_is_forgotten_in_time() {
        let mut hosts = in_memory();
        hosts.seen(NOW, &host("old"), well(1));
        hosts.seen(NOW + SHORT, &host("old"), well(1));
        hosts.seen(NOW + SHORT, &host("short"), well(1));
        let at = |days: u64| NOW + SHORT + days * DAY;
        hosts.keep(at(1), false);
        assert_eq!(names(&hosts), ["old", "short"]);
        hosts.keep(at(1) + 1, false);
        assert_eq!(names(&hosts), ["old"]);
        hosts.keep(at(30), false);
        assert_eq!(names(&hosts), ["old"]);
        hosts.keep(at(30) + 1, false);
        assert!(names(&hosts).is_empty());
    }

    #[test]
    fn a_host_that_mirrors_is_waited_for_longer_unless_it_is_forgotten() {
        let temp = TempDir::new("hosts-mirror");
        let dir = dir(&temp);
        let mut hosts = Hosts::open(Some(&dir), &host("me"), NOW).0;
        let standing = |tree: u64| Standing::plain(Hash(tree), IndexId(1), 0, 0);
        let (one, both) = ([standing(1)], [standing(1), standing(2)]);
        hosts.seen(NOW, &host("web1"), Seen { mirrors: &both, ..well(1) });
        // It starts anew, and has not looked at its trees yet; one of them it does not mirror any more.
        hosts.seen(NOW + DAY, &host("web1"), well(1));
        hosts.seen(NOW + DAY, &host("web1"), Seen { mirrors: &one, ..well(1) });
        hosts.seen(NOW, &host("web2"), Seen { mirrors: &one, ..well(1) });
        hosts.seen(NOW, &host("plain"), well(1));
        hosts.keep(NOW, true);
        let at = |tree, days: u64, hosts: &Hosts| -> Vec<String> {
            let names = hosts.mirroring(Hash(tree), NOW + days * DAY);
            names.map(|name| name.as_str().to_owned()).collect()
        };
        let mut again = Hosts::open(Some(&dir), &host("me"), NOW + 80 * DAY).0;
        again.keep(NOW + 80 * DAY, false);
        assert_eq!(names(&again), ["web1", "web2"]);
        for hosts in [&hosts, &again] {
            assert_eq!(at(1, 90, hosts), ["web1", "web2"]);
            assert_eq!(at(1, 91, hosts), ["web1"]);
            assert_eq!((at(2, 90, hosts), at(2, 91, hosts)), (vec!["web1".to_owned()], vec![]));
        }
        assert!(again.forget(&host("web1")));
        assert_eq!(at(1, 80, &again), ["web2"]);
        again.keep(NOW + 91 * DAY, false);
        assert!(names(&again).is_empty());
    }

    #[test]
    fn there_is_an_end_to_them_and_those_known_for_long_stay() {
        let temp = TempDir::new("hosts-many");
        let dir = dir(&temp);
        let mut hosts = Hosts::open(Some(&dir), &host("me"), NOW).0;
        hosts.seen(NOW - SHORT, &host("web1"), well(1));
        hosts.seen(NOW, &host("web1"), well(1));
        for n in 0..3 * MAX_HOSTS as u64 {
            hosts.seen(NOW + n, &host(&format!("h{n}")), well(1));
            if n % 500 == 0 {
                hosts.keep(NOW + n, false);
            }
        }
        hosts.keep(NOW, true);
        assert_eq!(hosts.iter().count(), MAX_HOSTS);
        assert!(hosts.get(&host("web1")).is_some());
        assert!(hosts.file.as_ref().unwrap().size() < LEAST + LEAST_EACH * MAX_HOSTS as u64);
        let again = Hosts::open(Some(&dir), &host("me"), NOW + DAY / 2).0;
        assert!(kept(&again).eq(kept(&hosts)));
    }

    struct NoLists;

    impl Lists for NoLists {
        fn names(&mut self, _: &RecordId, _: Hash) -> Option<bool> {
            None
        }

        fn names_all_of(&mut self, _: &RecordId, _: &RecordId) -> Option<bool> {
            None
        }
    }

    #[test]
    fn who_is_away_lacks_what_was_sent_for_it_since() {
        let mut journal = Journal::new(Arc::new(host("me")), MAX_RECORDS);
        let mut sent = |stamp: u64, from: &str, audience: Audience| {
            let record = crate::engine::catch_up::Record {
                audience,
                ..record(stamp, from, &format!("f{stamp}"))
            };
            journal.began(record.clone());
            let end = Recorded { names: record.names, deletes: false, folds: None };
            journal.ended(&record.id, end, true, &mut NoLists);
        };
        let named = |name: &str| Audience::named(vec![host(name)]);
        sent(10, "me", Audience::All);
        sent(20, "web3", Audience::All);
        sent(30, "me", named("web2"));
        sent(40, "me", named("web3"));
        sent(50, "web2", Audience::All);
        let lacks = |hosts: &Hosts, name: &str| {
            let host = host(name);
            let behind = hosts.get(&host).unwrap().lacks(&host, Some(&journal));
            behind.map(|behind| (behind.count, behind.since.millis()))
        };
        let mut hosts = in_memory();
        hosts.seen(NOW, &host("web3"), well(10));
        assert_eq!(lacks(&hosts, "web3"), Some((2, 40)), "its own is not missed");
        hosts.seen(NOW, &host("web3"), well(50));
        assert_eq!(lacks(&hosts, "web3"), Some((0, 0)));
        // It lacked something when it kept the same records: that is of before.
        let behind = Behind { count: 4, since: Stamp::at(3), ..Behind::default() };
        hosts.seen(NOW, &host("web3"), seen(Some(behind), Some(Stamp::at(40))));
        assert_eq!(lacks(&hosts, "web3"), Some((5, 3)));
        // What it says while it does not keep the same is not counted twice.
        hosts.seen(NOW, &host("web3"), seen(Some(Behind { count: 5, ..behind }), None));
        assert_eq!(lacks(&hosts, "web3"), Some((5, 3)));
        hosts.seen(NOW, &host("web3"), seen(None, None));
        assert_eq!(lacks(&hosts, "web3"), None, "who keeps no records");
        // Who is back has not heard of it at first.
        let now = |hosts: &Hosts| {
            let web3 = host("web3");
            let behind = hosts.get(&web3).unwrap().lacks_now(&web3, Some(&journal));
            behind.map(|behind| behind.count)
        };
        let nothing = Some(Behind::default());
        for (come, lacks) in
            [(seen(nothing, Some(Stamp::at(10))), Some(0)), (seen(nothing, None), Some(0))]
        {
            hosts.seen(NOW, &host("web3"), come);
            assert_eq!(now(&hosts), lacks, "it was there all the time");
        }
        hosts.left(NOW, &host("web3"));
        hosts.seen(NOW, &host("web3"), seen(nothing, None));
        assert_eq!(now(&hosts), Some(2));
        hosts.seen(NOW, &host("web3"), seen(Some(Behind { count: 1, ..behind }), None));
        assert_eq!(now(&hosts), Some(1));
        hosts.seen(NOW, &host("web3"), seen(nothing, None));
        assert_eq!(now(&hosts), Some(0));
        let reads = Some(Behind { why: Behind::TAKES_NOTHING, ..Behind::default() });
        hosts.seen(NOW, &host("web8"), seen(reads, Some(Stamp::at(1))));
        assert_eq!(lacks(&hosts, "web8"), Some((0, 0)), "who is never written to");
        let never = Seen { receives: false, ..well(1) };
        hosts.seen(NOW, &host("web9"), never);
        assert_eq!(lacks(&hosts, "web9"), Some((0, 0)), "who never receives");
    }

    /// The other one.
    struct Life {
        journal: Journal,
        is_up: bool,
    }

    /// One life of a fleet of two: what one sends while the other comes and goes, and what it then thinks that the
    /// other lacks. Returns how often that was compared while something was lacking.
    fn live(seed: u64) -> u64 {
        let mut rng = crate::engine::rng::Rng::new(seed);
        let (me, web2) = (Arc::new(host("me")), host("web2"));
        let mut own = Journal::new(Arc::clone(&me), MAX_RECORDS);
        let journal = Journal::new(Arc::new(web2.clone()), MAX_RECORDS);
        let mut other = Life { journal, is_up: true };
        let (mut hosts, mut compared) = (in_memory(), 0);
        let hello = |hosts: &mut Hosts, own: &Journal, other: &Life| {
            let same = own.agrees_with(&other.journal.summary());
            let seen = seen(Some(other.journal.behind()), Some(own.height()));
            hosts.seen(NOW, &web2, Seen { agrees: same, ..seen });
        };
        hello(&mut hosts, &own, &other);
        for stamp in 1..60 {
            match rng.below(6) {
                0..=2 => {
                    let audience = match rng.below(3) {
                        0 => Audience::named(vec![host("web9")]),
                        1 => Audience::named(vec![web2.clone()]),
                        _ => Audience::All,
                    };
                    let path = format!("f{}", rng.below(9));
                    let mut names = crate::wire::names::Names::default();
                    let row = record(stamp, "me", &path);
                    names.add(Hash::of_path(&row.path));
                    let row = crate::engine::catch_up::Record { audience, names, ..row };
                    let end = Recorded { names, deletes: false, folds: None };
                    // It may have been too full for it.
                    let fits = rng.below(4) > 0;
                    let journals = [
                        (&mut own, &*me, true, true),
                        (&mut other.journal, &web2, other.is_up, fits),
                    ];
                    for (journal, name, hears, complete) in journals {
                        if hears && !row.concerns(name) {
                            journal.learn(row.clone(), true, &mut NoLists);
                        } else if hears {
                            journal.began(row.clone());
                            journal.ended(&row.id, end, complete, &mut NoLists);
                        }
                    }
                }
                3 if other.is_up => {
                    // It stops, and says what it has.
                    hello(&mut hosts, &own, &other);
                    other.is_up = false;
                    hosts.left(NOW, &web2);
                }
                3 => {
                    // It is back, hears of all there is, and gets it, unless it goes again at once.
                    hello(&mut hosts, &own, &other);
                    other.is_up = rng.below(3) > 0;
                    if !other.is_up {
                        hosts.left(NOW, &web2);
                        continue;
                    }
                    let all: Vec<_> = own.iter().map(|(record, ..)| record.clone()).collect();
                    for row in all {
                        other.journal.learn(row.clone(), true, &mut NoLists);
                        let state = crate::engine::catch_up::State::Complete;
                        if row.is_for(&web2) {
                            other.journal.advance(&row.id, state, &mut NoLists);
                        }
                    }
                }
                _ if other.is_up => hello(&mut hosts, &own, &other),
                _ => {
                    let kept = hosts.get(&web2).unwrap();
                    let is_complete = |id: &RecordId| {
                        let found = other.journal.get(id);
                        found.is_some_and(|(_, state, _)| {
                            state == crate::engine::catch_up::State::Complete
                        })
                    };
                    let missed = own
                        .iter()
                        .filter(|(record, ..)| record.is_for(&web2) && !is_complete(&record.id));
                    let (missed, lacks) = (missed.count(), kept.lacks(&web2, Some(&own)).unwrap());
                    // What a later one covers may be counted with it: that it lacked it was said before.
                    // What a later one covers may be counted with it: that it lacked it was said before.
                    if lacks.is_nothing() != (missed == 0)
                        || lacks.count as usize > missed + lacks_of(&kept.agreed)
                    {
                        for (n, j) in [("own", &own), ("other", &other.journal)] {
                            for (r, st, e) in j.iter() {
                                eprintln!("{n} {} {} {:?} {st:?} {e}", r.id, r.path, r.audience);
                            }
                        }
                        eprintln!("{kept:?}");
                    }
                    let (count, most) = (lacks.count as usize, missed + lacks_of(&kept.agreed));
                    assert!((missed..=most).contains(&count), "seed {seed}: {lacks:?}, {missed}");
                    assert_eq!(lacks.is_nothing(), missed == 0, "seed {seed}: {lacks:?}");
                    compared += u64::from(missed > 0);
                }
            }
        }
        compared
    }

    fn lacks_of(agreed: &Option<(Stamp, Behind)>) -> usize {
        agreed.map_or(0, |(_, then)| then.count as usize)
    }

    #[test]
    fn what_one_thinks_that_another_lacks_is_what_it_lacks() {
        let compared: u64 = (0..400).map(live).sum();
        assert!(compared > 400, "{compared}");
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        let mut rng = crate::engine::rng::Rng::new(7);
        let (mut hosts, mut row) = (in_memory(), Vec::new());
        hosts.seen(NOW, &host("web1"), well(5));
        for (name, host) in hosts.iter() {
            row = host.emit(name);
        }
        for _ in 0..20_000 {
            let mut bytes = row.clone();
            bytes.truncate(rng.below(row.len() as u64 + 1) as usize);
            for _ in 0..rng.below(3).min(bytes.len() as u64) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.below(256) as u8;
            }
            hosts.row(NOW, rng.below(4) as u8, &bytes);
            assert!(hosts.iter().all(|(_, host)| host.last <= NOW && host.first <= NOW));
        }
    }
}
