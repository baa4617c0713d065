//! Whatever a remote host sends, in order or not: what the daemon keeps of it stays within bounds, and
//! the transfers of others complete.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use makuosan::ids::TargetNo;
use makuosan::name::{NodeId, RelPath};
use makuosan::wire::begin::Delete;
use makuosan::wire::bits::Bits;
use makuosan::wire::feedback::{Feedback, State};
use makuosan::wire::header::PacketKind;
use makuosan::wire::manifest::{Entry, FileTime, Kind, Manifest, Setup};
use makuosan::wire::mode::Mode;

use super::garbage::{Random, resident};
use crate::common::enemy::Enemy;
use crate::common::{Fleet, tree};

/// The resident memory that no daemon comes to, in KiB: the budgets of the engine and of the disk, with
/// what may go beyond them, and as much as it takes by itself.
const MOST_MEMORY: u64 = (32 + 56 + 32 + 16 + 64) << 10;
/// How long all files without a name are that a daemon has open, in bytes.
const MOST_SPOOL: u64 = 64 << 20;
/// How many entries a manifest has.
const ENTRIES: usize = 1_000;
/// How many manifests a transfer has.
const BATCHES: u32 = 20;

/// A path of 4,000 bytes, which hardly takes any in a manifest that has another one.
fn deep(below: &str) -> RelPath {
    let dirs = vec!["x".repeat(199); 19].join("/");
    RelPath::parse(format!("{dirs}/{below}").as_bytes()).unwrap()
}

fn entry(path: RelPath, kind: Kind) -> Entry {
    Entry { path, kind, mode: 0o755, uid: 0, gid: 0, mtime: FileTime::default() }
}

fn run() -> Delete {
    Delete::Run(Bits::of([TargetNo::ZERO]))
}

/// What a transfer consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kinds {
    /// Directories that are opened and never closed.
    Opens,
    /// New names in one directory.
    Names,
    /// The same names over and over.
    SameNames,
    /// One directory that is opened and closed again and again.
    Closes,
    /// Files with long paths.
    Files,
}

fn entries(kinds: Kinds, batch: u32) -> Vec<Entry> {
    let base = || RelPath::parse(b"full").unwrap();
    let mut entries = vec![entry(base(), Kind::Open)];
    entries.extend((0..ENTRIES).map(|at| match kinds {
        Kinds::Opens => entry(deep(&format!("{batch}-{at}")), Kind::Open),
        Kinds::Names => {
            let name = format!("full/{batch}-{at}{}", "y".repeat(200));
            entry(RelPath::parse(name.as_bytes()).unwrap(), Kind::Keep)
        }
        Kinds::SameNames => entry(RelPath::parse(b"full/again").unwrap(), Kind::Keep),
        Kinds::Closes if at % 2 == 0 => entry(base(), Kind::Close { listed: true }),
        Kinds::Closes => entry(base(), Kind::Open),
        Kinds::Files => entry(deep(&format!("{batch}-{at}")), Kind::File { size: 9, data: None }),
    }));
    entries
}

/// The highest that was seen.
#[derive(Default, Debug)]
struct Peak {
    kib: u64,
    spool: u64,
}

impl Peak {
    #[track_caller]
    fn look(&mut self, fleet: &mut Fleet, what: &str) {
        let pid = fleet.daemon(1).pid();
        let open = Path::new("/proc").join(pid.to_string()).join("fd");
        let spool = fs::read_dir(open).unwrap().filter_map(|fd| fs::metadata(fd.ok()?.path()).ok());
        let spool: u64 = spool.filter(|m| m.is_file() && m.nlink() == 0).map(|m| m.len()).sum();
        let kib = resident(pid);
        self.kib = self.kib.max(kib);
        self.spool = self.spool.max(spool);
        assert!(kib < MOST_MEMORY && spool < MOST_SPOOL, "{what}: {kib} KiB, {spool} bytes");
    }
}

/// Polls until all of `batch` is known to be planned, at least; false if the transfer is refused.
fn settle(enemy: &mut Enemy, number: u32, low: u32, batch: u32) -> bool {
    let mut accepted = true;
    enemy.until_at(number, low, Enemy::sent_before(batch + 1), |feedback| match feedback {
        Feedback::Status(status) => {
            let states = status.batches.iter().map(|batch| batch.state);
            status.first.get() > batch
                || status
                    .first
                    .onwards()
                    .zip(states)
                    .any(|(at, state)| at.get() == batch && state >= State::Body)
        }
        Feedback::Accept { verdict, .. } => {
            accepted &= *verdict == makuosan::wire::feedback::Verdict::Accepted;
            !accepted
        }
        _ => false,
    });
    accepted
}

#[test]
fn a_daemon_keeps_little_of_what_a_hostile_member_sends() {
    let mut fleet = Fleet::new("hostile-memory", 2);
    for at in 0..1_000 {
        tree::write(fleet.path(1, format!("full/{at}")), "x");
    }
    let mut enemy = Enemy::new(&fleet, 7, 1, NodeId(3));
    enemy.join(&fleet, 1, false);
    let modes = [
        ("dry run", Mode::SEND.dry()),
        ("check", Mode::Check),
        ("deletion", Mode::Send { delete: true, ignore_times: false, dry_run: true }),
        ("names only", Mode::DeleteOnly { gone: false, dry_run: false }),
        ("gone", Mode::Remove { dry_run: true }),
    ];
    let all = [Kinds::Opens, Kinds::Names, Kinds::SameNames, Kinds::Closes, Kinds::Files];
    let mut peak = Peak::default();
    let mut number = 0;
    for (name, mode) in modes {
        for kinds in all {
            for with_setup in [false, true] {
                number += 1;
                let what = format!("{name}, {kinds:?}, with a setup: {with_setup}");
                enemy.begin_with(number, mode);
                for batch in 1..=BATCHES {
                    let path = RelPath::parse(if mode.path_is_gone() { b"gone" } else { b"full" })
                        .unwrap();
                    let setup =
                        (with_setup && batch == 1).then(|| Setup { path, ..Setup::default() });
                    let entries = entries(kinds, batch);
                    let manifest = Manifest { setup, entries, ..Manifest::default() }.emit();
                    enemy.offer(number, batch, &manifest);
                    if !settle(&mut enemy, number, batch.saturating_sub(15).max(1), batch) {
                        break;
                    }
                    if !mode.changes_nothing() {
                        enemy.commit(number, batch);
                    }
                    if batch % 10 == 0 {
                        peak.look(&mut fleet, &what);
                    }
                }
                for order in [Delete::Page(3), Delete::Tally, Delete::Page(9), run()] {
                    enemy.delete(number, &order);
                }
                peak.look(&mut fleet, &what);
                eprintln!("{what}: {peak:?}");
                // Every other one stays open, as many as a daemon lets one host have.
                if number % 2 == 0 {
                    enemy.send(PacketKind::Abort, number, 0, 0, &[]);
                }
            }
        }
    }
    // The others do not notice.
    tree::write(fleet.path(0, "honest"), tree::bytes(5 << 20, 1));
    fleet.msync(0, &["send", "honest"]).well();
    fleet.msync(0, &["check", "honest"]).well();
    peak.look(&mut fleet, "an honest transfer");
    enemy.leave();
}

#[test]
fn a_daemon_keeps_little_of_packets_in_no_order() {
    let mut fleet = Fleet::new("no-order", 2);
    for at in 0..100 {
        tree::write(fleet.path(1, format!("full/{at}")), "x");
    }
    let mut enemy = Enemy::new(&fleet, 7, 1, NodeId(3));
    enemy.join(&fleet, 1, false);
    let mut random = Random(0x0123_4567_89ab_cdef);
    let mut peak = Peak::default();
    let kinds = [Kinds::Opens, Kinds::Names, Kinds::Closes, Kinds::Files];
    for round in 0..3_000 {
        let number = 1 + random.below(40) as u32;
        let batch = 1 + random.below(16) as u32;
        match random.below(9) {
            0 | 1 => {
                let flags = [random.below(2), random.below(2), random.below(2)].map(|bit| bit == 1);
                let [delete, ignore_times, dry_run] = flags;
                let modes = [
                    Mode::Send { delete, ignore_times, dry_run },
                    Mode::Remove { dry_run },
                    Mode::DeleteOnly { gone: delete, dry_run },
                    Mode::Check,
                ];
                enemy.begin_with(number, modes[random.below(4) as usize]);
            }
            2..=4 => {
                let kinds = kinds[random.below(4) as usize];
                let mut entries = entries(kinds, batch);
                entries.truncate(1 + random.below(ENTRIES as u64) as usize);
                let setup = (random.below(3) == 0).then(Setup::default);
                let manifest = Manifest { setup, entries, ..Manifest::default() };
                enemy.offer(number, batch, &manifest.emit());
            }
            5 => enemy.commit(number, batch),
            6 => enemy.data(number, batch, &[7; 1_424]),
            7 => {
                let orders = [Delete::Tally, run(), Delete::Page(random.below(200))];
                enemy.delete(number, &orders[random.below(3) as usize]);
            }
            _ => enemy.poll(number, batch, Enemy::sent_before(batch + 1)),
        }
        if round % 100 == 0 {
            // Leaves it time to keep up.
            while enemy.receive().is_some() {}
            peak.look(&mut fleet, "no order");
        }
    }
    eprintln!("no order: {peak:?}");
    tree::write(fleet.path(0, "honest"), tree::bytes(5 << 20, 1));
    fleet.msync(0, &["send", "honest"]).well();
    enemy.leave();
}
