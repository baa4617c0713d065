//! Attributes are never given to what was not looked at: to a content that nobody has compared, to
//! another file that has taken the place of the right one, or to one that is also somewhere else.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use makuosan::errno::ESTALE;
use makuosan::ids::EntryNo;
use makuosan::name::{NodeId, RelPath};
use makuosan::wire::feedback::{Feedback, State};
use makuosan::wire::manifest::{Entry, FileTime, Kind, Manifest};
use makuosan::wire::outcome::{Outcome, Reason};
use md5::{Digest as _, Md5};

use crate::common::enemy::Enemy;
use crate::common::{Fleet, is_root, skip, tree};

/// A user who is nobody in particular.
const USER: u32 = 12_345;
const STALE: Outcome = Outcome::Failed(Reason::Os(ESTALE));

/// A file of the sender's, and at the receiver one with the same size and mtime, but another content.
fn same_but_for_content(fleet: &Fleet, name: &str) {
    for (at, content) in [(0, "the right content"), (1, "the wrong content")] {
        tree::write(fleet.path(at, name), content);
        tree::set_mtime(&fleet.path(at, name), 1_000_000_000, 5);
    }
}

#[test]
fn a_file_of_a_users_does_not_become_roots_with_the_users_content() {
    if !is_root() {
        return skip("files of other users", "only root gives files away");
    }
    let fleet = Fleet::new("others-files", 2);
    // Mode and owner at the sender, and at the receiver before.
    let cases = [
        ("setuid", (0o4755, 0, 0), (0o755, USER, USER)),
        ("plain", (0o755, 0, 0), (0o755, USER, USER)),
        ("setgid", (0o2755, USER, 42), (0o755, USER, USER)),
        ("setuid-of-its-owner", (0o4755, USER, USER), (0o755, USER, USER)),
        ("another-group-with-setgid", (0o2755, USER, 42), (0o2755, USER, USER)),
        ("another-user", (0o644, USER + 1, 0), (0o644, USER, 0)),
    ];
    for (name, sent, before) in cases {
        same_but_for_content(&fleet, name);
        for (at, (mode, uid, gid)) in [(0, sent), (1, before)] {
            chown(fleet.path(at, name), Some(uid), Some(gid)).unwrap();
            tree::set_mode(&fleet.path(at, name), mode);
        }
    }
    let ran = fleet.msync(0, &["send", "-rv"]).well();
    for (name, ..) in cases {
        assert!(ran.out.contains(name), "{name}: {ran:?}");
    }
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    // What a user may not abuse is changed in place, as it always was: its content is not sent.
    same_but_for_content(&fleet, "setuid-of-its-owner");
    for at in [0, 1] {
        let mode = [0o755, 0o700][at];
        tree::set_mode(&fleet.path(at, "setuid-of-its-owner"), mode);
    }
    fleet.msync(0, &["send", "-r"]).well();
    let path = fleet.path(1, "setuid-of-its-owner");
    assert_eq!(fs::read(&path).unwrap(), b"the wrong content");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn a_file_that_has_other_links_is_written_anew() {
    let fleet = Fleet::new("other-links", 2);
    let outside = fleet.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    for at in [0, 1] {
        tree::write(fleet.path(at, "file"), "the same");
        tree::set_mtime(&fleet.path(at, "file"), 1_000_000_000, 5);
        let made = std::process::Command::new("mkfifo").arg(fleet.path(at, "fifo")).status();
        assert!(made.unwrap().success());
    }
    for name in ["file", "fifo"] {
        tree::set_mode(&fleet.path(0, name), 0o666);
        tree::set_mode(&fleet.path(1, name), 0o600);
        fs::hard_link(fleet.path(1, name), outside.join(name)).unwrap();
    }
    let kept = tree::snapshot(&outside);
    fleet.msync(0, &["send", "-r"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    tree::assert_same(&kept, &tree::snapshot(&outside));
    for name in ["file", "fifo"] {
        assert_eq!(fs::symlink_metadata(outside.join(name)).unwrap().nlink(), 1, "{name}");
    }
}

fn entry(path: &str, kind: Kind) -> Entry {
    let path = RelPath::parse(path.as_bytes()).unwrap();
    let mtime = FileTime { secs: 1_000_000_000, nanos: 0 };
    Entry { path, kind, mode: 0o755, uid: 0, gid: 0, mtime }
}

/// Sends one batch; between its plan and its commit, `meanwhile` happens. The outcome of each entry.
fn transfer(
    enemy: &mut Enemy,
    number: u32,
    manifest: &Manifest,
    meanwhile: impl FnOnce(),
) -> Vec<Outcome> {
    enemy.begin(number);
    enemy.offer(number, 1, &manifest.emit());
    enemy.until_state(number, State::Staged);
    meanwhile();
    enemy.commit(number, 1);
    let mut outcomes = Vec::new();
    enemy.until(number, |feedback| {
        let Feedback::Done(runs) = feedback else { return false };
        outcomes = runs.iter().map(|(_, outcome)| outcome).collect();
        true
    });
    outcomes
}

fn mode_and_owner(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.mode() & 0o7777, meta.uid())
}

#[test]
fn what_takes_the_place_of_a_file_before_the_commit_gets_nothing() {
    let fleet = Fleet::new("place-taken", 2);
    let mut enemy = Enemy::new(&fleet, 7, 1, NodeId(3));
    enemy.join(&fleet, 1, false);
    let make = |name: &str| {
        tree::write(fleet.path(1, name), "1234");
        tree::set_mtime(&fleet.path(1, name), 1_000_000_000, 0);
        tree::set_mode(&fleet.path(1, name), 0o600);
    };
    make("file");
    make("other");
    let dirs = ["dir", "other-dir"].map(|name| fleet.path(1, name));
    for dir in &dirs {
        fs::create_dir(dir).unwrap();
        tree::set_mode(dir, 0o700);
    }
    let entries = vec![
        entry("dir", Kind::Open),
        entry("dir", Kind::Close { listed: false }),
        entry("file", Kind::File { size: 4, data: None }),
    ];
    let manifest = Manifest { entries, ..Manifest::default() };
    let outcomes = transfer(&mut enemy, 1, &manifest, || {
        fs::remove_dir(&dirs[0]).unwrap();
        fs::rename(&dirs[1], &dirs[0]).unwrap();
        fs::rename(fleet.path(1, "other"), fleet.path(1, "file")).unwrap();
    });
    assert_eq!(outcomes, [Outcome::Skipped, STALE, STALE]);
    assert_eq!(mode_and_owner(&dirs[0]).0, 0o700);
    assert_eq!(mode_and_owner(&fleet.path(1, "file")).0, 0o600);
    // A link to it that comes in between.
    make("file");
    let outcomes = transfer(&mut enemy, 2, &manifest, || {
        fs::hard_link(fleet.path(1, "file"), fleet.path(1, "link")).unwrap();
    });
    assert_eq!(outcomes, [Outcome::Skipped, Outcome::Updated, STALE]);
    assert_eq!(mode_and_owner(&fleet.path(1, "link")).0, 0o600);
    // Nothing comes in between.
    fs::remove_file(fleet.path(1, "link")).unwrap();
    tree::set_mode(&dirs[0], 0o700);
    let outcomes = transfer(&mut enemy, 3, &manifest, || {});
    assert_eq!(outcomes, [Outcome::Skipped, Outcome::Updated, Outcome::Updated]);
    assert_eq!(mode_and_owner(&fleet.path(1, "file")).0, 0o755);
}

#[test]
fn a_content_that_was_compared_and_then_changed_gets_no_other_owner() {
    if !is_root() {
        return skip("files of other users", "only root gives files away");
    }
    let fleet = Fleet::new("compared-then-changed", 2);
    let mut enemy = Enemy::new(&fleet, 7, 1, NodeId(3));
    enemy.join(&fleet, 1, false);
    let path = fleet.path(1, "file");
    let write = |content: &str| {
        fs::write(&path, content).unwrap();
        tree::set_mtime(&path, 1_000_000_000, 0);
    };
    write("good");
    chown(&path, Some(USER), Some(0)).unwrap();
    tree::set_mode(&path, 0o644);
    let manifest = Manifest {
        entries: vec![entry("file", Kind::File { size: 4, data: None })],
        // The offset of the only block, its bytes, and the length.
        digests: vec![(
            EntryNo::ZERO,
            Md5::digest([&0u64.to_be_bytes()[..], b"good", &4u64.to_be_bytes()].concat()).into(),
        )],
        ..Manifest::default()
    };
    assert_eq!(transfer(&mut enemy, 1, &manifest, || write("evil")), [STALE]);
    assert_eq!(mode_and_owner(&path), (0o644, USER));
    // Compared and not changed, it is given away where it is.
    write("good");
    let inode = fs::metadata(&path).unwrap().ino();
    assert_eq!(transfer(&mut enemy, 2, &manifest, || {}), [Outcome::Updated]);
    assert_eq!((mode_and_owner(&path), fs::metadata(&path).unwrap().ino()), ((0o755, 0), inode));
}
