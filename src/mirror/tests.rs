//! An index alone, by hand.

use super::contexts::MAX_CONTEXTS;
use super::index::{Index, Record};
use super::look::{Found, Looked};
use super::merge::{NotSynced, Refused};
use super::show::{IMPLIED_MODE, Shown, Todo};
use super::types::{Intent, Object};
use crate::stamp::Stamp;
use crate::wire::file_time::FileTime;
use crate::wire::setup::MirrorSetup;
use crate::wire::versions::{Dot, IndexId, Knowledge, MAX_IDS, Member, Version, What};

const OWN: IndexId = IndexId(1);

fn index() -> Index {
    let mut index = Index::new(OWN);
    index.set_wall(1_000);
    index
}

fn file(size: u64) -> Version {
    let what = What::File { size, mtime: FileTime { secs: 7, nanos: 0 }, digest: size + 1 };
    Version { what, mode: 0o644, uid: 0, gid: 0 }
}

fn directory(mode: u32) -> Version {
    Version { what: What::Directory, mode, uid: 0, gid: 0 }
}

fn found(version: Version, ino: u64) -> Found {
    Some((version, Object { ino, ctime: FileTime { secs: 7, nanos: 0 } }))
}

fn dot(by: u64, seq: u64) -> Dot {
    Dot { by: IndexId(by), seq }
}

fn member(dot: Dot, version: Option<Version>) -> Member {
    Member { dot, stamp: Stamp::at(dot.seq), version }
}

fn known(dots: &[Dot]) -> Knowledge {
    let mut known = Knowledge::default();
    dots.iter().for_each(|dot| known.learn(dot.by, dot.seq));
    known
}

fn setup(to: Knowledge) -> MirrorSetup {
    let (from, floor) = (Knowledge::default(), Knowledge::default());
    MirrorSetup { from, to, floor, full: false, by: IndexId(2) }
}

/// As it is read at the start of the next run.
fn again(records: &[Record]) -> Index {
    let mut new = Index::new(OWN);
    for record in records {
        new.apply(&Record::parse(&record.emit()).unwrap()).unwrap();
    }
    Index::restore(&new.head(), new.map().clone(), IndexId(77)).unwrap()
}

#[test]
fn nothing_leaves_before_it_is_on_disk() {
    let mut index = index();
    assert!(matches!(index.look(b"a", found(file(1), 1), false), Looked::Changed(_)));
    assert_eq!(index.delta(&Knowledge::default()).err(), Some(NotSynced));
    assert_eq!(index.part_of(b"a").err(), Some(NotSynced));
    let due = index.due();
    assert!(due.first.contains(&b"a"[..]) && !due.records.is_empty());
    assert!(index.delta(&Knowledge::default()).is_err(), "it was taken, and is not written yet");
    // What is given meanwhile is not in what was synced.
    index.look(b"b", found(file(1), 2), false);
    index.synced();
    assert!(index.delta(&Knowledge::default()).is_err());
    let _ = index.due();
    index.synced();
    let (setup, parts) = index.delta(&Knowledge::default()).unwrap();
    assert_eq!((setup.to, parts.count()), (known(&[dot(1, 2)]), 2));
}

#[test]
fn what_is_as_it_was_changes_nothing() {
    let mut index = index();
    index.look(b"a", found(file(1), 1), false);
    let _ = index.due();
    assert_eq!(index.look(b"a", found(file(1), 1), false), Looked::Same);
    assert!(index.due().records.is_empty());
    // Another inode with the same in it, as `cp -al` makes.
    assert_eq!(index.look(b"a", found(file(1), 2), false), Looked::Same);
    assert_eq!((index.due().records.len(), index.height()), (1, 1));
    // A directory has another time whenever something in it is made.
    index.look(b"d", found(directory(0o700), 3), false);
    let _ = index.due();
    let later = Object { ino: 3, ctime: FileTime { secs: 99, nanos: 0 } };
    assert_eq!(index.look(b"d", Some((directory(0o700), later)), false), Looked::Same);
    assert!(index.due().records.is_empty());
}

#[test]
fn a_run_has_an_id_of_its_own_unless_all_say_that_it_need_not() {
    let mut first = index();
    first.look(b"a", found(file(1), 1), false);
    let mut records = first.due().records;
    let mut second = again(&records);
    assert_eq!((second.id(), second.height()), (OWN, 1), "nothing was given yet");
    second.look(b"b", found(file(1), 2), false);
    assert_eq!((second.id(), second.height()), (IndexId(77), 1));
    assert!(second.known().covers(dot(1, 1)));
    let mut kept = again(&records);
    kept.keep_id();
    kept.look(b"b", found(file(1), 2), false);
    assert_eq!((kept.id(), kept.height()), (OWN, 2));
    assert!(kept.guard(3, IndexId(5)) && kept.id() == IndexId(5) && kept.height() == 0);
    // The log without its end is not as it was.
    records.pop();
    assert_eq!(again(&records).height(), 0);
}

#[test]
fn contexts_are_bounded_and_their_numbers_are_not_used_again() {
    let mut index = index();
    let one = |n: u64| [member(dot(n, 1), Some(file(n)))];
    for n in 0..MAX_CONTEXTS as u64 {
        let path = format!("{n}");
        index.merge(path.as_bytes(), &one(n + 10), &known(&[dot(n + 10, 1)])).unwrap();
    }
    let more = known(&[dot(9, 1)]);
    assert_eq!(index.merge(b"x", &one(9), &more), Err(Refused::TooManyContexts));
    assert_eq!(index.entry(b"x").members, []);
    // One that is known wholly needs none any more.
    let taking = index.take_in(setup(known(&[dot(10, 1)])), IndexId(5)).unwrap();
    assert_eq!(index.finish(taking), Ok(Vec::new()));
    assert_eq!(index.merge(b"x", &one(9), &more), Ok(true));

    let records = index.due().records;
    let all: Vec<Dot> = (0..=MAX_CONTEXTS as u64).map(|n| dot(n + 9, 1)).collect();
    let mut index = again(&records);
    let taking = index.take_in(setup(known(&all)), IndexId(5)).unwrap();
    index.finish(taking).unwrap();
    let records = index.due().records;
    let mut later = index.clone();
    records.iter().for_each(|record| later.apply(record).unwrap());
    let mut later = Index::restore(&later.head(), later.map().clone(), IndexId(78)).unwrap();
    later.merge(b"y", &one(200), &known(&[dot(200, 1)])).unwrap();
    let entry = later.entry(b"0");
    assert!(later.context(&entry).is_none(), "it knows what the tree does");
    assert!(later.context(&later.entry(b"y")).is_some());
}

#[test]
fn what_a_peer_knows_is_bounded() {
    let mut index = index();
    let ids = |from: u64, count: usize| -> Knowledge {
        known(&(from..from + count as u64).map(|n| dot(n, 1)).collect::<Vec<_>>())
    };
    let taking = index.take_in(setup(ids(10, MAX_IDS)), IndexId(5)).unwrap();
    index.finish(taking).unwrap();
    let more = ids(100_000, 1);
    assert_eq!(index.take_in(setup(more.clone()), IndexId(5)).err(), Some(Refused::TooManyIds));
    let theirs = [member(dot(100_000, 1), None)];
    assert_eq!(index.merge(b"a", &theirs, &more), Err(Refused::TooManyIds));
    assert_eq!(index.merge(b"a", &theirs, &ids(10, 1)), Err(Refused::Invalid), "not covered");
    assert_eq!(index.known().len(), MAX_IDS);
}

#[test]
fn what_is_listed_stays_and_what_is_equal_is_taken() {
    let mut index = index();
    for (path, version) in
        [("d", directory(0o700)), ("d/own", file(1)), ("e", file(2)), ("f", file(3))]
    {
        assert_eq!(index.list(path.as_bytes(), found(version, 1)), Looked::Listed);
    }
    assert_eq!(index.listed().count(), 4);
    let theirs = [("d", directory(0o755)), ("e", file(2)), ("f/below", file(4)), ("g", file(5))];
    for (n, (path, version)) in theirs.into_iter().enumerate() {
        let dot = dot(2, n as u64 + 1);
        index.merge(path.as_bytes(), &[member(dot, Some(version))], &known(&[dot])).unwrap();
    }
    let paths = ["d", "d/own", "e", "f", "f/below", "g"].map(str::as_bytes);
    let work = index.work(paths);
    assert!(matches!(&work[..], [(path, Todo::Place { .. })] if &**path == b"g"), "{work:?}");
    let listed: Vec<_> = index.listed().map(|(path, _)| path).collect();
    assert_eq!(
        listed,
        [b"d".as_slice().into(), b"d/own".as_slice().into(), b"f".as_slice().into()]
    );
    assert_eq!(index.height(), 0, "nothing was given");
    // Whoever removes a listed file gets the others'.
    assert_eq!(index.look(b"f", None, false), Looked::Same);
    let work = index.work(paths);
    let paths = |work: &[(Box<[u8]>, Todo)]| -> Vec<String> {
        work.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect()
    };
    assert_eq!(paths(&work), ["f", "f/below", "g"]);
    assert!(matches!(index.push(b"d/own"), Looked::Changed(_)));
    assert_eq!(index.listed().count(), 1);
}

#[test]
fn a_directory_that_was_made_before_a_crash_is_no_local_change() {
    let mut index = index();
    let theirs = [member(dot(2, 1), Some(file(1)))];
    index.merge(b"d/f", &theirs, &known(&[dot(2, 1)])).unwrap();
    let theirs = [member(dot(2, 2), Some(directory(0o750)))];
    index.merge(b"e", &theirs, &known(&[dot(2, 2)])).unwrap();
    assert_eq!(index.view(b"d").shown, Shown::Implied);
    assert_eq!(index.look(b"d", found(directory(IMPLIED_MODE), 1), false), Looked::Same);
    assert_eq!(index.look(b"e", found(directory(0o750), 2), false), Looked::Same);
    assert_eq!(index.todo(b"e"), Todo::Nothing);
    assert_eq!(index.height(), 0);
    // With other attributes, somebody made it.
    assert!(matches!(index.look(b"d", found(directory(0o700), 1), false), Looked::Changed(_)));
}

#[test]
fn a_host_that_cannot_set_all_attributes_does_not_place_for_ever() {
    let mut index = index();
    let owned = |version: Version| Version { uid: 1_000, ..version };
    let theirs = [member(dot(2, 1), Some(file(1)))];
    index.merge(b"a", &theirs, &known(&[dot(2, 1)])).unwrap();
    let Todo::Place { version, dots } = index.todo(b"a") else { panic!() };
    let intent = Intent { version: owned(version), ino: 9, dots, slot: 1 };
    index.begin(b"a", intent);
    assert_eq!(index.committed(b"a", None, found(owned(version), 9).unwrap().1), None);
    assert_eq!(index.look(b"a", found(owned(version), 9), false), Looked::Same);
    assert_eq!(index.todo(b"a"), Todo::Nothing);
    assert_eq!(index.needed(|_, _| false).count(), 0);
    // Somebody writes the same elsewhere: that shows as one.
    let same = [theirs[0], member(dot(3, 1), Some(file(1)))];
    index.merge(b"a", &same, &known(&[dot(2, 1), dot(3, 1)])).unwrap();
    assert_eq!(index.todo(b"a"), Todo::Nothing);
    assert_eq!(index.losers(b"a"), []);
    assert_eq!(index.height(), 0);
}

#[test]
fn all_hosts_of_a_fleet_may_remove_a_file_at_once() {
    let mut index = index();
    index.look(b"a", found(file(1), 1), false);
    index.look(b"a", None, false);
    for host in 2..=1_000 {
        let all = [dot(1, 1), dot(host, 1)];
        let theirs = [member(all[1], None)];
        let taking = index.take_in(setup(known(&all)), IndexId(5000)).unwrap();
        assert_eq!(index.merge(b"a", &theirs, &known(&all)), Ok(true));
        assert_eq!(index.finish(taking), Ok(Vec::new()));
    }
    assert_eq!(index.counts(), (0, 1_000));
    assert_eq!((index.todo(b"a"), index.losers(b"a").len()), (Todo::Nothing, 0));
    // All of that is forgotten when all know it.
    let all = index.known().clone();
    index.bury(&all, Stamp::ZERO, usize::MAX);
    assert_eq!((index.counts(), index.map().len()), ((0, 0), 0));
    assert!(index.floor().is_at_least(&all));
}
