//! `send --atomic`: on all hosts, or on none.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use makuosan::engine::rng::Rng;

use crate::common::mounts::inside;
use crate::common::process::in_mounts;
use crate::common::tree::Tree;
use crate::common::{Fleet, eventually, is_root, skip, tree};

const ATOMIC: &[&str] = &["send", "-r", "--atomic"];

/// What is below a base directory, without what is the daemon's.
fn look(base: &Path) -> Tree {
    tree::snapshot(base)
}

/// What was staged for transactions in a base directory, and their lists.
fn left(base: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for dir in ["stage", "prepared"] {
        for entry in fs::read_dir(base.join(".makuosan").join(dir)).into_iter().flatten() {
            left.push(entry.unwrap().file_name().to_string_lossy().into_owned());
        }
    }
    left.retain(|name| name != "log");
    left
}

#[track_caller]
fn wait_until_clean(bases: &[PathBuf]) {
    eventually("nothing is left of it", || bases.iter().all(|base| left(base).is_empty()));
}

/// Some files on the sender, sent to all.
fn fill(fleet: &Fleet) {
    for at in 0..40 {
        tree::write(fleet.path(0, format!("site/{}/{at}", at % 4)), format!("old {at}"));
    }
    symlink("site/0", fleet.path(0, "current")).unwrap();
    fleet.msync(0, &["send", "-r"]).well();
}

/// Changes of every kind.
fn change(fleet: &Fleet) {
    for at in 0..20 {
        tree::write(fleet.path(0, format!("site/{}/{at}", at % 4)), format!("new and longer {at}"));
    }
    tree::write(fleet.path(0, "site/new/deep/er"), "new");
    fs::remove_file(fleet.path(0, "site/1/21")).unwrap();
    fs::remove_dir_all(fleet.path(0, "site/3")).unwrap();
    tree::write(fleet.path(0, "site/3"), "a file now");
    tree::set_mode(&fleet.path(0, "site/2/22"), 0o600);
    fs::remove_file(fleet.path(0, "current")).unwrap();
    symlink("site/new", fleet.path(0, "current")).unwrap();
}

#[test]
fn all_hosts_have_all_of_it_and_nothing_is_left() {
    let fleet = Fleet::new("atomic", 3);
    fill(&fleet);
    change(&fleet);
    let args = ["send", "-r", "--delete", "--atomic", "-v"];
    let ran = fleet.msync(0, &args).well();
    for host in ["h1", "h2"] {
        let line = format!("{host}: put into place within ");
        assert!(ran.out.lines().any(|said| said.starts_with(&line)), "{ran:?}");
    }
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
    wait_until_clean(&[fleet.base(1), fleet.base(2)]);
    let again = fleet.msync(0, &["--json", "send", "-r", "--delete", "--atomic"]).well();
    assert!(again.out.contains("\"files\":0,"), "{again:?}");
    // It is a transfer like any other for those who were away.
    assert!(fleet.msync(0, &["members", "--behind"]).code == Some(0));
}

#[test]
fn one_host_that_is_full_keeps_it_from_all_and_nobody_sees_any_of_it() {
    let mut fleet = Fleet::idle("atomic-full", 3);
    let Some(by) =
        in_mounts("atomic-full", "mount -t tmpfs -o size=2m tmpfs \"$1/h1\"", fleet.dir())
    else {
        return;
    };
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.start(2, &[]);
    fleet.wait_for_members();
    let bases = [inside(&mut fleet, 1, "h1"), fleet.base(2)];
    fill(&fleet);
    let before: Vec<Tree> = bases.iter().map(|base| look(base)).collect();
    change(&fleet);
    tree::write(fleet.path(0, "site/zz-large"), tree::bytes(4 << 20, 1));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                bases
                    .iter()
                    .zip(&before)
                    .for_each(|(base, tree)| tree::assert_same(tree, &look(base)));
            }
        });
        let ran = fleet.msync(0, &["send", "-r", "--delete", "--atomic"]);
        over.store(true, Ordering::Relaxed);
        watch.join().unwrap();
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let errors = ran.errors();
        assert!(errors.contains(&"error: No space left on device h1:site/zz-large"), "{ran:?}");
        let nothing = "error: nothing was changed on any host (--atomic)";
        assert_eq!(errors.last(), Some(&nothing), "{ran:?}");
    });
    wait_until_clean(&bases);
    // With a quorum, those go on that can.
    let ran = fleet.msync(0, &["send", "-r", "--delete", "--atomic", "--quorum", "50%"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("error: left out: not all of it is there h1"), "{ran:?}");
    tree::assert_equal_dirs(&fleet.base(0), &bases[1]);
    tree::assert_same(&before[0], &look(&bases[0]));
    wait_until_clean(&bases);
    // It is behind, and gets it when there is room.
    fs::remove_file(fleet.path(0, "site/zz-large")).unwrap();
    fleet.msync(0, &["send", "-r", "--delete", "--atomic"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &bases[0]);
}

#[test]
fn what_cannot_be_put_into_place_is_found_before() {
    let fleet = Fleet::new("atomic-foreseen", 3);
    fill(&fleet);
    let before = [look(&fleet.base(1)), look(&fleet.base(2))];
    change(&fleet);
    // There is something in the way on one host, and nothing is to be deleted.
    tree::write(fleet.path(1, "site/new"), "a file");
    let in_the_way = look(&fleet.base(1));
    let ran = fleet.msync(0, ATOMIC);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.errors().iter().any(|line| line.ends_with(":site/3")), "{ran:?}");
    tree::assert_same(&in_the_way, &look(&fleet.base(1)));
    tree::assert_same(&before[1], &look(&fleet.base(2)));
    fleet.msync(0, &["send", "-r", "--delete", "--atomic"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    wait_until_clean(&[fleet.base(1), fleet.base(2)]);
}

#[test]
fn what_cannot_be_read_here_keeps_it_from_all() {
    if !is_root() {
        return skip("atomic-unread", "only root gives files away");
    }
    let mut fleet = Fleet::idle("atomic-unread", 2);
    std::os::unix::fs::chown(fleet.base(0), Some(65_534), Some(65_534)).unwrap();
    fleet.start(0, &["-u", "nobody"]);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    fill(&fleet);
    let before = look(&fleet.base(1));
    tree::write(fleet.path(0, "site/0/secret"), "x");
    tree::set_mode(&fleet.path(0, "site/0/secret"), 0o600);
    tree::write(fleet.path(0, "site/0/0"), "changed, too");
    let ran = fleet.msync(0, ATOMIC);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let errors = ran.errors();
    assert_eq!(errors.first(), Some(&"error: Permission denied site/0/secret"), "{ran:?}");
    let nothing = "error: nothing was changed on any host (--atomic)";
    assert_eq!(errors.last(), Some(&nothing), "{ran:?}");
    tree::assert_same(&before, &look(&fleet.base(1)));
}

#[test]
fn several_paths_are_one() {
    let mut fleet = Fleet::idle("atomic-paths", 3);
    let Some(by) =
        in_mounts("atomic-paths", "mount -t tmpfs -o size=2m tmpfs \"$1/h1\"", fleet.dir())
    else {
        return;
    };
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.start(2, &[]);
    fleet.wait_for_members();
    tree::write(fleet.path(0, "a/file"), "x");
    tree::write(fleet.path(0, "b"), tree::bytes(4 << 20, 1));
    assert_eq!(fleet.msync(0, &["send", "-r", "--atomic", "a", "b"]).code, Some(2));
    assert!(!fleet.path(2, "a").exists() && !fleet.path(2, "b").exists());
    tree::write(fleet.path(0, "b"), "small");
    tree::write(fleet.path(0, "c"), "not sent");
    fleet.msync(0, &["send", "-r", "--atomic", "a", "b"]).well();
    assert!(fleet.path(2, "a/file").exists() && fleet.path(2, "b").exists());
    assert!(!fleet.path(2, "c").exists());
}

#[test]
fn who_keeps_nothing_says_so() {
    let fleet = Fleet::with("atomic-readonly", &[&["-r"], &[]]);
    tree::write(fleet.path(0, "file"), "x");
    let ran = fleet.msync(0, ATOMIC);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("--atomic: this daemon keeps nothing"), "{ran:?}");
    assert!(!fleet.path(1, "file").exists());
}

/// Sends with kills, from a seed: after each, all targets have the same, and that is what was sent or what was there.
fn with_kills(name: &str, seed: u64, rounds: u32) {
    let mut fleet = Fleet::new(name, 3);
    let mut rng = Rng::new(seed);
    let mut below = move |most: u64| rng.below(most);
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..rounds {
        for at in 0..300 {
            tree::write(fleet.path(0, format!("dir/{}/{at}", at % 7)), format!("{round} {at}"));
        }
        let gone = fleet.path(0, format!("dir/{}/{}", round % 7, round % 300));
        if round % 2 == 1 {
            let _ = fs::remove_file(gone);
        }
        let before = look(&fleet.base(1));
        tree::assert_same(&before, &look(&fleet.base(2)));
        let sent = look(&fleet.base(0));
        let mut running = fleet.msync_start(0, &["send", "-r", "--delete", "--atomic", "--force"]);
        thread::sleep(Duration::from_millis(below(250)));
        let victim = below(3) as usize;
        fleet.kill(victim);
        let _ = running.is_running();
        thread::sleep(Duration::from_millis(below(100)));
        fleet.start(victim, &[]);
        let ran = running.end();
        fleet.wait_for_members();
        eventually("both have the same, and nothing is left", || {
            let clean = [1, 2].iter().all(|at| left(&fleet.base(*at)).is_empty());
            clean && look(&fleet.base(1)) == look(&fleet.base(2))
        });
        let now = look(&fleet.base(1));
        let is_new = now == sent;
        assert!(is_new || now == before, "seed {seed}, round {round}, {ran:?}");
        assert!(is_new || ran.code != Some(0), "seed {seed}, round {round}, {ran:?}");
        *outcomes.entry(if is_new { "new" } else { "old" }).or_default() += 1;
    }
    eprintln!("seed {seed}: {outcomes:?}");
}

#[test]
fn a_host_that_is_killed_leaves_all_with_the_old_or_all_with_the_new() {
    thread::scope(|scope| {
        for seed in 1..=4 {
            scope.spawn(move || with_kills(&format!("atomic-killed-{seed}"), seed, 5));
        }
    });
}

#[test]
#[ignore = "takes long: MAKUOSAN_SEED and MAKUOSAN_ROUNDS"]
fn many_hosts_that_are_killed() {
    let number = |name: &str, or: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
    };
    with_kills("atomic-many", number("MAKUOSAN_SEED", 1), number("MAKUOSAN_ROUNDS", 200) as u32);
}
