//! What is kept comes back, whatever became of the disk.

use std::fs;
use std::sync::Arc;

use super::recording::Recording;
use super::{Keeper, Opened};
use crate::engine::catch_up::{Names, Record, RecordId, State};
use crate::engine::rng::Rng;
use crate::fs::state::dir::{Keeps, StateDir};
use crate::fs::state::testing::once_free;
use crate::fs::testing::TempDir;
use crate::ids::EntryNo;
use crate::name::{HostName, RelPath};
use crate::stamp::{LIMIT, Stamp};
use crate::wire::begin::Recorded;
use crate::wire::manifest::tests::entry;
use crate::wire::manifest::{Kind, Manifest, Setup};
use crate::wire::mode::Mode;

/// 2026-11-27 18:30 UTC.
const NOW: u64 = 1_795_804_200_000;

fn host(name: &str) -> HostName {
    HostName::parse(name.as_bytes()).unwrap()
}

fn path(name: &str) -> RelPath {
    RelPath::parse_or_base(name.as_bytes()).unwrap()
}

fn open_as(temp: &TempDir, me: &str) -> Opened {
    let us = crate::sys::fsat::process_ids().unwrap().uid;
    // The base directory is another one.
    let base = TempDir::new("base");
    let dir = once_free(|| StateDir::elsewhere(Keeps::Journal, temp.path(), &base.root(), us));
    Keeper::open(dir, &host(me), NOW, Stamp::at(NOW)).unwrap()
}

fn open(temp: &TempDir) -> Keeper {
    let Opened { keeper, remarks, .. } = open_as(temp, "h0");
    assert_eq!(remarks, [""; 0]);
    keeper
}

fn setup(about: &str) -> Setup {
    Setup { path: path(about), recursive: true, ..Setup::default() }
}

fn manifest(names: &[String]) -> Manifest {
    let file = |name: &String| entry(name, Kind::File { size: 1, data: None });
    Manifest { entries: names.iter().map(file).collect(), ..Manifest::default() }
}

fn files(dir: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{dir}/f{at}")).collect()
}

fn id(stamp: u64, of: &str) -> RecordId {
    RecordId { stamp: Stamp::at(stamp), host: Arc::new(host(of)) }
}

/// A transfer of `h1` that names these files, and has ended.
fn receive(keeper: &mut Keeper, stamp: u64, about: &str, names: &[String]) -> RecordId {
    let setup = setup(about);
    let mut recording = Recording::new(Stamp::at(stamp), host("h1"), Mode::SEND, &setup);
    for some in names.chunks(50) {
        recording.batch(Some(&mut *keeper), &manifest(some), &[]);
    }
    let end = Recorded { names: recording.names(), deletes: false, folds: None };
    recording.ended(keeper, end, true);
    id(stamp, "h1")
}

fn all(keeper: &Keeper) -> Vec<(Record, State, bool)> {
    keeper.journal().iter().collect()
}

/// The paths in the list of a record.
fn listed(keeper: &mut Keeper, id: &RecordId) -> Option<Vec<String>> {
    let list = keeper.list(id)?;
    let entries = list.manifests().flat_map(|manifest| manifest.unwrap().entries);
    Some(entries.map(|entry| entry.path.to_string()).collect())
}

#[test]
fn short_and_long_lists_come_back_with_their_records() {
    let temp = TempDir::new("keeper");
    let mut keeper = open(&temp);
    let (few, many) = (files("few", 3), files("many", 500));
    let first = receive(&mut keeper, NOW, "few", &few);
    let second = receive(&mut keeper, NOW + 1, "many", &many);
    let before = all(&keeper);
    for _ in 0..2 {
        assert_eq!(listed(&mut keeper, &first).as_ref(), Some(&few));
        assert_eq!(listed(&mut keeper, &second).as_ref(), Some(&many));
        assert!(keeper.guards(&id(NOW - 9, "h2"), &path("many/f499")));
        assert!(!keeper.guards(&id(NOW - 9, "h2"), &path("many/f500")));
        drop(keeper);
        keeper = open(&temp);
        assert_eq!(all(&keeper), before);
    }
    // A later one that names all drops an earlier one with its list.
    receive(&mut keeper, NOW + 2, "many", &files("many", 501));
    assert_eq!(keeper.journal().len(), 2);
    let lists = || {
        let names = fs::read_dir(temp.join("journal")).unwrap();
        let own = ["records", "sent"];
        names
            .filter(|name| !own.iter().any(|own| name.as_ref().unwrap().file_name() == *own))
            .count()
    };
    assert_eq!((listed(&mut keeper, &second), lists()), (None, 1));
    // What no record has is removed at the start, and what is missing is done without.
    drop(keeper);
    fs::write(temp.join("journal/list-00000000000000ff"), b"").unwrap();
    drop(open(&temp));
    assert_eq!(lists(), 1);
    for name in fs::read_dir(temp.join("journal")).unwrap() {
        let name = name.unwrap().path();
        if name.file_name().unwrap() != "records" {
            fs::remove_file(name).unwrap();
        }
    }
    let mut keeper = open(&temp);
    assert_eq!(keeper.journal().len(), 2);
    assert_eq!(listed(&mut keeper, &id(NOW + 2, "h1")), None);
    assert_eq!(listed(&mut keeper, &first), Some(few));
}

#[test]
fn what_is_struck_is_not_named() {
    let temp = TempDir::new("keeper-struck");
    let mut keeper = open(&temp);
    let names = files("d", 3);
    let mut recording = Recording::new(Stamp::at(NOW), host("h1"), Mode::SEND, &setup("d"));
    recording.batch(Some(&mut keeper), &manifest(&names), &[EntryNo::new(1)]);
    let mut want = Names::default();
    want.add_all(&manifest(&[names[0].clone(), names[2].clone()]));
    assert_eq!(recording.names(), want);
    let end = Recorded { names: want, deletes: false, folds: None };
    recording.ended(&mut keeper, end, true);
    let left = vec![names[0].clone(), names[2].clone()];
    assert_eq!(listed(&mut keeper, &id(NOW, "h1")), Some(left));
}

#[test]
fn what_has_not_ended_is_known_as_such_and_what_was_never_written_is_not_kept() {
    let temp = TempDir::new("keeper-unfinished");
    let mut keeper = open(&temp);
    let begin = |stamp: u64| Recording::new(Stamp::at(stamp), host("h1"), Mode::SEND, &setup("d"));
    let mut left = begin(NOW);
    left.batch(Some(&mut keeper), &manifest(&files("d", 200)), &[]);
    left.batch(Some(&mut keeper), &manifest(&files("d/e", 200)), &[]);
    let mut never = begin(NOW + 1);
    never.begin(Some(&mut keeper));
    never.given_up(&mut keeper, false);
    // The process dies here.
    drop((left, keeper));
    let Opened { mut keeper, height, .. } = open_as(&temp, "h0");
    let kept = all(&keeper);
    assert_eq!((kept.len(), kept[0].1, kept[0].2), (1, State::Partial, false));
    assert_eq!(height, Stamp::at(NOW + 1));
    // What was put there is not taken from an earlier one.
    assert!(keeper.guards(&id(NOW - 1, "h2"), &path("d/e/f199")));
    assert!(!keeper.guards(&id(NOW - 1, "h2"), &path("d/e/f200")));
}

#[test]
fn the_journal_of_another_host_or_of_a_time_to_come_is_not_taken_up() {
    let temp = TempDir::new("keeper-other");
    let mut keeper = open(&temp);
    receive(&mut keeper, NOW, "d", &files("d", 3));
    let far = receive(&mut keeper, NOW + LIMIT + 1, "e", &files("e", 300));
    drop(keeper);
    let Opened { mut keeper, height, remarks } = open_as(&temp, "h0");
    assert_eq!((keeper.journal().len(), height), (1, Stamp::at(NOW)));
    assert!(remarks.len() == 1 && remarks[0].contains("times to come"), "{remarks:?}");
    assert_eq!(listed(&mut keeper, &far), None);
    drop(keeper);
    let Opened { keeper, remarks, .. } = open_as(&temp, "clone");
    assert!(keeper.journal().is_empty());
    assert!(remarks.len() == 1 && remarks[0].contains("host h0"), "{remarks:?}");
}

#[test]
fn cut_anywhere_it_has_a_beginning_of_what_was() {
    let temp = TempDir::new("keeper-cut");
    let mut keeper = open(&temp);
    let mut states = vec![all(&keeper)];
    for at in 0..6 {
        let dir = format!("d{}", at % 3);
        receive(&mut keeper, NOW + at, &dir, &files(&dir, 2 + at as usize));
        states.push(all(&keeper));
    }
    drop(keeper);
    let file = temp.join("journal/records");
    let whole = fs::read(&file).unwrap();
    let mut most = 0;
    for cut in (0..whole.len()).step_by(3) {
        fs::write(&file, &whole[..cut]).unwrap();
        let mut keeper = open_as(&temp, "h0").keeper;
        let kept = all(&keeper);
        most = most.max(kept.len());
        for (record, state, ended) in kept {
            let known = |all: &Vec<(Record, State, bool)>| {
                all.iter().any(|(other, _, _)| other.id == record.id)
            };
            assert!(states.iter().any(known), "{record:?}");
            assert!(ended || state == State::Partial);
            // Its list, as far as it is known, is its own.
            if let Some(names) = listed(&mut keeper, &record.id) {
                assert!(names.iter().all(|name| path(name).is_under(&record.path)));
            }
        }
        // It goes on.
        receive(&mut keeper, NOW + 50, "new", &files("new", 1));
        drop(keeper);
        assert!(all(&open(&temp)).iter().any(|(record, ..)| record.path == path("new")));
    }
    assert!(most >= 3, "{most}");
}

#[test]
fn it_is_written_anew_when_most_of_it_is_of_no_use() {
    let temp = TempDir::new("keeper-anew");
    let mut keeper = open(&temp);
    let names: Vec<Vec<String>> = (0..4).map(|dir| files(&format!("d{dir}"), 40)).collect();
    let size = || fs::metadata(temp.join("journal/records")).unwrap().len();
    let (mut largest, mut shrunk) = (0, false);
    for round in 0..1_500 {
        let dir = round as usize % 4;
        receive(&mut keeper, NOW + round, &format!("d{dir}"), &names[dir]);
        shrunk |= size() < largest;
        largest = largest.max(size());
    }
    assert!(shrunk && largest < 3 << 20, "{largest}");
    let before = all(&keeper);
    assert_eq!(before.len(), 4);
    drop(keeper);
    let mut keeper = open(&temp);
    assert_eq!(all(&keeper), before);
    for (record, ..) in before {
        let dir = record.path.to_string();
        assert_eq!(listed(&mut keeper, &record.id), Some(files(&dir, 40)));
    }
}

#[test]
fn random_transfers_are_the_same_after_any_restart() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let temp = TempDir::new("keeper-random");
        let mut keeper = open(&temp);
        for round in 0..40 {
            let stamp = NOW + round;
            let dir = ["", "a", "a/b", "c"][rng.below(4) as usize];
            let below = if dir.is_empty() { "x" } else { dir };
            let names = files(below, [1, 3, 70, 200][rng.below(4) as usize]);
            match rng.below(5) {
                0 => {
                    let record = Record {
                        id: id(stamp, "h2"),
                        path: path(dir),
                        deed: Default::default(),
                        audience: Default::default(),
                        patterns: None,
                        names: Names { count: 3, sum: rng.below(1 << 40) },
                    };
                    let takes = rng.below(2) == 0;
                    keeper.with(|journal, lists| journal.learn(record, takes, lists));
                }
                1 => {
                    let wanted = keeper.journal().wanted().next().cloned();
                    if let Some(id) = wanted {
                        keeper.pulls(&id);
                        keeper.named(&id, &manifest(&names));
                        keeper.pulled(&id);
                        keeper.with(|journal, lists| journal.advance(&id, State::Complete, lists));
                    }
                }
                2 => {
                    let setup = setup(dir);
                    let mode = Mode::Send { delete: true, ignore_times: false, dry_run: false };
                    let mut one = Recording::new(Stamp::at(stamp), host("h0"), mode, &setup);
                    one.batch(Some(&mut keeper), &manifest(&names), &[]);
                    let end = Recorded { names: one.names(), deletes: true, folds: None };
                    one.ended(&mut keeper, end, rng.below(3) > 0);
                }
                _ => drop(receive(&mut keeper, stamp, dir, &names)),
            }
            if rng.below(4) == 0 {
                let (before, summary) = (all(&keeper), keeper.summary());
                let lists: Vec<_> =
                    before.iter().map(|(record, ..)| listed(&mut keeper, &record.id)).collect();
                drop(keeper);
                keeper = open(&temp);
                assert_eq!((all(&keeper), keeper.summary()), (before.clone(), summary), "{seed}");
                for ((record, ..), list) in before.iter().zip(lists) {
                    assert_eq!(listed(&mut keeper, &record.id), list, "{seed}: {:?}", record.id);
                }
            }
        }
    }
}

#[test]
fn lists_have_bounds_and_records_outlive_them() {
    let temp = TempDir::new("keeper-bounds");
    let mut keeper = open(&temp);
    let dirs: Vec<String> = (0..20).map(|at| format!("d{at}")).collect();
    let mut growing = Vec::new();
    for (at, dir) in dirs.iter().enumerate() {
        let (stamp, setup) = (Stamp::at(NOW + at as u64), setup(dir));
        let mut one = Recording::new(stamp, host("h1"), Mode::SEND, &setup);
        for some in files(dir, 300).chunks(50) {
            one.batch(Some(&mut keeper), &manifest(some), &[]);
        }
        growing.push(one);
    }
    for one in growing {
        let end = Recorded { names: one.names(), deletes: false, folds: None };
        one.ended(&mut keeper, end, true);
    }
    let with_lists = |keeper: &mut Keeper| -> Vec<bool> {
        (0..20).map(|at| keeper.list(&id(NOW + at, "h1")).is_some()).collect()
    };
    // So many grow at once, and the others are done without.
    let want: Vec<bool> = (0..20).map(|at| at < 16).collect();
    assert_eq!(with_lists(&mut keeper), want);
    drop(keeper);
    let mut keeper = open(&temp);
    assert_eq!((keeper.journal().len(), with_lists(&mut keeper)), (20, want));
    // When they are too large together, those of the oldest go.
    let size = fs::read_dir(temp.join("journal")).unwrap();
    let size = size.map(|file| file.unwrap()).filter(|file| file.file_name() != "records");
    let size = size.map(|file| file.metadata().unwrap().len()).max().unwrap();
    keeper.set_most_files(4 * size);
    receive(&mut keeper, NOW + 50, "new", &files("new", 200));
    assert!(keeper.list(&id(NOW + 50, "h1")).is_some());
    let left = with_lists(&mut keeper).iter().filter(|has| **has).count();
    assert!((2..=4).contains(&left), "{left}");
    drop(keeper);
    let mut keeper = open(&temp);
    assert_eq!(keeper.journal().len(), 21);
    assert_eq!(with_lists(&mut keeper).iter().filter(|has| **has).count(), left);
}
