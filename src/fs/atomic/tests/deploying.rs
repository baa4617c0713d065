//! What can be seen, and when.

use super::*;
use crate::wire::outcome::{Need, Outcome, Reason};

#[test]
fn nothing_is_seen_before_and_all_of_it_after() {
    for fsync in [false, true] {
        deploy(DiskConfig { fsync, ..DiskConfig::default() });
    }
}

fn deploy(config: DiskConfig) {
    let (from, to) = trees();
    let mut disk = start_with(&to, &[], config);
    let before = exact(to.path());
    let kept = keep(&from, &mut disk, Mode::SEND);
    let names: Vec<&str> = news(&kept.lines).iter().map(|line| line.0).collect();
    let want = [
        "changed/f",
        "current",
        "-mode/d",
        "mode/f",
        "+tree",
        "+tree/empty",
        "+tree/of",
        "tree/of/files",
        "tree/of/new",
        "was-empty",
        "+was-file",
        "was-file/f",
        "+was-link",
        "was-link/f",
    ];
    assert!(news(&kept.lines).iter().all(|line| line.1 == Outcome::Updated), "{:?}", kept.lines);
    let mut sorted = names.clone();
    sorted.retain(|name| !name.starts_with("-changed"));
    sorted.sort_by_key(|name| name.trim_start_matches(['+', '-']).to_owned());
    assert_eq!(sorted, want);
    assert_eq!(exact(to.path()), before);
    let prepared = disk.prepare(kept.transfer.key).unwrap();
    kept.transfer.close(&mut disk, false);
    assert_eq!(exact(to.path()), before);
    assert!(staged(to.path()) > 5 && disk.is_ready(NO));
    let applied = apply(&mut disk);
    assert_eq!((applied.done, applied.failed), (prepared.operations, 0), "{applied:?}");
    assert_same(&from, &to);
    clear(&mut disk, &to);
    assert_same(&from, &to);
    assert!(!disk.is_ready(NO) && disk.apply_transaction(NO).is_err());
}

#[test]
fn what_is_decided_against_leaves_nothing() {
    let (from, to) = trees();
    let before = exact(to.path());
    let mut disk = start(&to, &[]);
    // The transfer ends early; or is ready; or the daemon is killed.
    keep(&from, &mut disk, Mode::SEND).transfer.close(&mut disk, true);
    assert_eq!(staged(to.path()), 0);
    assert_eq!(std::fs::read_dir(to.join(".makuosan/prepared")).unwrap().count(), 0);
    ready(&from, &mut disk, Mode::SEND);
    clear(&mut disk, &to);
    ready(&from, &mut disk, Mode::SEND);
    drop(disk);
    let mut disk = start(&to, &[]);
    assert_eq!(staged(to.path()), 0);
    assert_eq!(std::fs::read_dir(to.join(".makuosan/prepared")).unwrap().count(), 0);
    let prepared = ready(&from, &mut disk, DELETES);
    drop(disk);
    let mut disk = start(&to, &[prepared]);
    assert!(staged(to.path()) > 5);
    clear(&mut disk, &to);
    assert_eq!(exact(to.path()), before);
}

#[test]
fn what_only_the_target_has_goes_with_the_rest() {
    let (from, to) = trees();
    to.write("extra/tree/f", "1");
    to.write("same/extra", "1");
    to.write("extra-link", "1");
    // In the place of files.
    from.write("late", "1");
    to.write("late/with/f", "1");
    to.write("changed/f2/x", "1");
    from.write("changed/f2", "1");
    for temp in [&from, &to] {
        set_mtime(&temp.join("same"), 1_000, 5);
    }
    let mut disk = start(&to, &[]);
    let before = exact(to.path());
    let kept = keep(&from, &mut disk, DELETES);
    let late: Vec<_> = kept.lines.iter().filter(|line| line.2 == Outcome::Late).collect();
    assert_eq!(late.len(), 2);
    assert_eq!(kept.tally(&mut disk).0, 10);
    assert_eq!(kept.delete(&mut disk), (10, 0));
    assert_eq!(kept.pages(&mut disk).len(), 10);
    disk.prepare(kept.transfer.key).unwrap();
    assert_eq!(exact(to.path()), before);
    kept.transfer.close(&mut disk, false);
    let applied = apply(&mut disk);
    assert_eq!(applied.failed, 0, "{applied:?}");
    assert_same(&from, &to);
    clear(&mut disk, &to);
    assert_same(&from, &to);
}

#[test]
fn what_a_file_contains_is_read_once_more() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("f", "1234");
    from.write("g", "1234");
    let mut disk = start(&to, &[]);
    let mut transfer = Transfer::new(1, Mode::SEND);
    disk.begin_atomic(transfer.key, NO).unwrap();
    let batch = &digested(&from)[0];
    let (number, needs, file) = transfer.plan(&mut disk, batch);
    assert_eq!(needs, [Need::All; 2]);
    transfer.stage(&mut disk, &from.root(), batch, (number, &needs, file));
    let one = std::fs::read_dir(to.join(".makuosan/stage")).unwrap().next().unwrap().unwrap();
    std::fs::write(one.path(), "1235").unwrap();
    let outcomes = transfer.commit(&mut disk, number, &[]);
    let failed = outcomes.iter().filter(|one| **one == Outcome::Failed(Reason::Damaged)).count();
    assert_eq!((failed, staged(to.path())), (1, 1));
}
