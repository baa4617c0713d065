//! A daemon with as many records as it may keep: how much memory it takes, and how soon it is there.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use makuosan::fs::root::Root;
use makuosan::fs::state::dir::{Keeps, StateDir};
use makuosan::keeping::Keeper;
use makuosan::keeping::recording::Recording;
use makuosan::name::{HostName, RelPath};
use makuosan::stamp::Stamp;
use makuosan::wire::begin::Recorded;
use makuosan::wire::manifest::{Entry, FileTime, Kind, Manifest, Setup};
use makuosan::wire::mode::Mode;

use crate::common::process::status_of;
use crate::common::{Fleet, now, wall_millis};

/// How many records are kept at most.
const MOST: u64 = 65_536;

/// Files of their own directories, sent one by one by a host that is away, as they are kept on `h0`.
fn keep(fleet: &Fleet, sent: u64) {
    let base = fleet.base(0);
    let root = Root::open(&base).unwrap();
    let dir = StateDir::in_base(Keeps::Journal, &root, base.metadata().unwrap().uid()).unwrap();
    let [sender, me] = ["h1", "h0"].map(|name| HostName::parse(name.as_bytes()).unwrap());
    let wall = wall_millis();
    let first = wall - 600_000;
    let mut keeper = Keeper::open(dir, &me, wall, Stamp::at(first)).unwrap().keeper;
    for at in 0..sent {
        let path = format!("srv/www/shop/{:03}/page-{at:05}.html", at / 100);
        let path = RelPath::parse(path.as_bytes()).unwrap();
        let setup = Setup { path: path.clone(), ..Setup::default() };
        let mtime = FileTime { secs: 1_700_000_000 + at as i64, nanos: 123_456_789 };
        let kind = Kind::File { size: 4_096, data: None };
        let entry = Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime };
        let manifest = Manifest { entries: vec![entry], ..Manifest::default() };
        let stamp = Stamp::at(first + at);
        let mut one = Recording::new(stamp, sender.clone(), Mode::SEND, &setup);
        one.batch(Some(&mut keeper), &manifest, &[]);
        let end = Recorded { names: one.names(), deletes: false, folds: None };
        assert!(one.ended(&mut keeper, end, true));
    }
    assert_eq!(keeper.journal().len() as u64, sent.min(MOST));
}

/// The memory of the daemon after its start with so many records, in KiB, and how long that took.
fn started(fleet: &mut Fleet, records: u64) -> (u64, Duration) {
    keep(fleet, records);
    let began = now();
    fleet.start(0, &[]);
    let took = began.elapsed();
    assert_eq!(fleet.console(0).ask("members"), "Total: 0 members\n");
    let pid = fleet.daemon(0).pid();
    let resident = status_of(format!("/proc/{pid}"), "VmRSS:")[0].parse().unwrap();
    fleet.stop(0);
    (resident, took)
}

#[test]
fn as_many_records_as_are_kept_take_little_memory_and_time() {
    let mut fleet = Fleet::idle("many-records", 1);
    let (few, _) = started(&mut fleet, 1);
    let (many, took) = started(&mut fleet, MOST);
    println!("{few} KiB with one record, {many} KiB with {MOST}: there after {took:?}");
    // 8 MiB more are what it may be; allocators differ.
    assert!(many < few + 9_216, "{few} KiB with one record, {many} KiB with {MOST}");
    // The daemon may not be optimised, and the machine have other work.
    assert!(took < Duration::from_secs(20), "{took:?}");
}
