//! Whose directory `.makuosan` is: the daemon's own it takes over, and nobody else's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::process::{self, Ran, in_mount_namespace};
use crate::common::{Fleet, eventually, is_root, skip, tree};

/// A user who is not the daemon's, and not nobody.
const USER: u32 = 54_321;

/// All that can be seen of a directory and what is in it, times of access aside.
fn seen(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        let meta = fs::symlink_metadata(&at).unwrap();
        let (ino, mode, uid) = (meta.ino(), meta.mode(), meta.uid());
        let (mtime, ctime) = (meta.mtime_nsec(), meta.ctime_nsec());
        let content = if meta.is_file() { fs::read(&at).unwrap() } else { Vec::new() };
        let text = format!("{ino} {mode:o} {uid} {mtime} {ctime} {content:?}");
        if meta.is_dir() {
            todo.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(at, text);
    }
    all
}

/// That a daemon does not start at `h0`, says why in a line with all of `words`, and touches nothing in
/// `.makuosan`.
#[track_caller]
fn assert_refused(fleet: &Fleet, words: &[&str]) {
    let staging = fleet.path(0, ".makuosan");
    let before = seen(&staging);
    let ran: Ran = process::run(&mut fleet.command(0, &[]));
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    let check = process::run(&mut fleet.command(0, &["--check-config"]));
    assert_eq!((check.code, &check.out, &check.err), (Some(1), &ran.out, &ran.err));
    let base = format!("makuosan: -b {}: ", fleet.base(0).display());
    assert!(ran.err.starts_with(&base), "{ran:?}");
    for word in [".makuosan"].iter().chain(words) {
        assert!(ran.err.contains(word), "{word:?} in {ran:?}");
    }
    assert_eq!(seen(&staging), before);
}

/// Makes an empty `.makuosan` as version 2.0 left it.
fn make_staging(fleet: &Fleet) -> PathBuf {
    let staging = fleet.path(0, ".makuosan");
    fs::create_dir(&staging).unwrap();
    tree::set_mode(&staging, 0o700);
    staging
}

/// The daemon's own name in it, beside which there is only what is staged and what is kept.
fn marker_of(staging: &Path) -> PathBuf {
    let names = fs::read_dir(staging).unwrap().map(|entry| entry.unwrap().path());
    let names: Vec<PathBuf> =
        names.filter(|name| !name.ends_with("stage") && !name.ends_with("journal")).collect();
    assert_eq!(names.len(), 1, "only a marker: {names:?}");
    names[0].clone()
}

/// Sets an access control list that lets [`USER`] do everything: `name` is `access` or `default`. False,
/// said aloud, where that cannot be.
fn set_acl(dir: &Path, name: &str) -> bool {
    // posix_acl_xattr.h of the kernel: a version, then tag, permissions and id of each entry.
    let entries: [(u16, u16, u32); 5] = [
        (1, 7, u32::MAX),    // the owner
        (2, 7, USER),        // this user
        (4, 7, u32::MAX),    // the group
        (0x10, 7, u32::MAX), // at most
        (0x20, 5, u32::MAX), // others
    ];
    let entry = |(tag, perm, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let bytes: Vec<u8> =
        [2, 0, 0, 0].into_iter().chain(entries.into_iter().flat_map(entry)).collect();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let code = "import os, sys\n\
                os.setxattr(sys.argv[1], 'system.posix_acl_' + sys.argv[2], bytes.fromhex(sys.argv[3]))";
    let set = Command::new("python3").args(["-c", code]).arg(dir).args([name, &hex]).output();
    let set = set.is_ok_and(|set| set.status.success());
    if !set {
        skip("access control lists", "python3 cannot set one here");
    }
    set
}

/// The names of the access control lists of a file or directory.
fn acls(path: &Path) -> String {
    let code = "import os, sys\n\
                print(*(x for x in os.listxattr(sys.argv[1]) if x.startswith('system.posix_acl')))";
    let out = Command::new("python3").args(["-c", code]).arg(path).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_directory_of_a_users_own_keeps_all_that_is_in_it() {
    let fleet = Fleet::idle("staging-users", 1);
    let staging = fleet.path(0, ".makuosan");
    for name in ["notes/todo", "letter", "2024-12", "1/f", "mount-x", "probe~", "lifted-1/f", "00"]
    {
        tree::write(staging.join(name), "precious");
        for mode in [0o755, 0o700] {
            tree::set_mode(&staging, mode);
            assert_refused(&fleet, &["remove"]);
        }
        // Beside what looks like ours, too.
        tree::write(staging.join("3f"), "precious");
        assert_refused(&fleet, &["remove"]);
        fs::remove_dir_all(&staging).unwrap();
    }
    // Nor is an empty one taken that others may enter: nobody of ours has made it.
    fs::create_dir(&staging).unwrap();
    tree::set_mode(&staging, 0o750);
    assert_refused(&fleet, &["remove"]);
}

#[test]
fn one_of_another_user_is_refused_whatever_is_in_it() {
    if !is_root() {
        return skip("somebody else's .makuosan", "only root gives files away");
    }
    let mut fleet = Fleet::idle("staging-others", 1);
    fleet.start(0, &[]);
    fleet.stop(0);
    let staging = fleet.path(0, ".makuosan");
    let marker = marker_of(&staging);
    let (name, content) = (marker.file_name().unwrap().to_owned(), fs::read(&marker).unwrap());
    fs::remove_dir_all(&staging).unwrap();
    chown(fleet.base(0), Some(USER), None).unwrap();
    // Made before the daemon is there, by the owner of the base directory.
    make_staging(&fleet);
    chown(&staging, Some(USER), None).unwrap();
    let user = USER.to_string();
    assert_refused(&fleet, &[&user, "remove"]);
    set_acl(&staging, "default");
    assert_refused(&fleet, &[&user]);
    // With the marker that he has seen elsewhere.
    fs::write(staging.join(&name), &content).unwrap();
    assert_refused(&fleet, &[&user]);
    chown(staging.join(&name), Some(USER), None).unwrap();
    assert_refused(&fleet, &[&user]);
    // A directory of root's that he has moved there, as he may, with a marker that is not root's.
    chown(&staging, Some(0), None).unwrap();
    assert_refused(&fleet, &["remove"]);
    // A marker that is none.
    fs::remove_file(staging.join(&name)).unwrap();
    symlink("/etc/passwd", staging.join(&name)).unwrap();
    assert_refused(&fleet, &["remove"]);
    fs::remove_file(staging.join(&name)).unwrap();
    fs::create_dir(staging.join(&name)).unwrap();
    assert_refused(&fleet, &["remove"]);
    fs::remove_dir(staging.join(&name)).unwrap();
    assert!(Command::new("mkfifo").arg(staging.join(&name)).status().unwrap().success());
    assert_refused(&fleet, &["remove"]);
}

#[test]
fn what_version_2_0_left_is_taken_over_and_marked() {
    let mut fleet = Fleet::idle("staging-old", 1);
    let staging = make_staging(&fleet);
    for name in ["1", "a2", "ffffffffffffffff", "mount-1f", "probe", "lifted-12"] {
        fs::write(staging.join(name), "left behind").unwrap();
    }
    symlink("nowhere", staging.join("b")).unwrap();
    fs::create_dir(staging.join("c")).unwrap();
    // One that it recorded on another file system, and one that is somebody's.
    for name in ["far", "users"] {
        tree::write(fleet.path(0, name).join(".makuosan/3"), "left behind");
        tree::set_mode(&fleet.path(0, name).join(".makuosan"), 0o700);
    }
    tree::write(fleet.path(0, "users/.makuosan/notes"), "precious");
    fs::write(staging.join("mount-1"), "far").unwrap();
    fs::write(staging.join("mount-2"), "users").unwrap();
    for _ in 0..2 {
        fleet.start(0, &[]);
        assert_eq!(fleet.staged(0), [""; 0]);
        let marker = fs::symlink_metadata(marker_of(&staging)).unwrap();
        assert!(marker.is_file());
        for dir in [staging.clone(), staging.join("stage")] {
            assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o700);
        }
        assert!(!fleet.path(0, "far/.makuosan").exists());
        assert!(fleet.path(0, "users/.makuosan/3").exists());
        fleet.stop(0);
        // What is left where it stages goes, whatever it is.
        tree::write(staging.join("stage/any/thing"), "left behind");
        tree::set_mode(&staging, 0o755);
        tree::set_mode(&staging.join("stage"), 0o755);
    }
}

#[test]
fn what_a_user_puts_into_the_daemons_own_directory_stays() {
    let mut fleet = Fleet::idle("staging-beside", 2);
    fleet.start(0, &[]);
    fleet.start(1, &[]);
    fleet.stop(1);
    let staging = fleet.path(1, ".makuosan");
    let mine = ["todo", "5", "mount-3", "probe", "lifted-1", "notes/stage/f", "journal.old"];
    for name in mine {
        tree::write(staging.join(name), "precious");
        tree::write(staging.join("stage").join(name), "left behind");
    }
    symlink("stage", staging.join("link")).unwrap();
    fs::create_dir(staging.join("8")).unwrap();
    let content = || {
        let mut all = seen(&staging);
        let own = ["stage", "journal"].map(|name| staging.join(name));
        all.retain(|path, _| !own.iter().any(|own| path.starts_with(own)) && *path != staging);
        all
    };
    let before = content();
    assert!(before.len() > mine.len());
    for round in ["first", "second"] {
        fleet.start(1, &[]);
        fleet.wait_for_members();
        assert_eq!(fleet.staged(1), [""; 0]);
        tree::write(fleet.path(0, "d/file"), round);
        fleet.msync(0, &["send", "-r", "--delete"]).ok();
        assert_eq!(fs::read(fleet.path(1, "d/file")).unwrap(), round.as_bytes());
        assert_eq!(content(), before);
        fleet.kill(1);
        tree::write(staging.join("stage/1"), "left behind");
    }
}

#[test]
fn what_is_in_the_place_of_the_stage_is_not_touched() {
    let mut fleet = Fleet::idle("staging-stage", 2);
    fleet.start(0, &[]);
    fleet.stop(0);
    let staging = fleet.path(0, ".makuosan");
    let stage = staging.join("stage");
    let outside = fleet.dir().join("outside");
    tree::write(outside.join("precious"), "precious");
    fs::remove_dir(&stage).unwrap();
    symlink(&outside, &stage).unwrap();
    assert_refused(&fleet, &["stage", "not a directory"]);
    fs::remove_file(&stage).unwrap();
    fs::write(&stage, "precious").unwrap();
    assert_refused(&fleet, &["stage", "not a directory"]);
    fs::remove_file(&stage).unwrap();
    if is_root() {
        tree::write(stage.join("mine"), "precious");
        chown(&stage, Some(USER), None).unwrap();
        assert_refused(&fleet, &["stage", &USER.to_string()]);
        fs::remove_dir_all(&stage).unwrap();
    }
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
    // While it runs: what it stages goes nowhere else.
    fleet.start(0, &[]);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    let stage = fleet.path(1, ".makuosan/stage");
    fs::remove_dir(&stage).unwrap();
    symlink(&outside, &stage).unwrap();
    tree::write(fleet.path(0, "file"), "x");
    let ran = fleet.msync(0, &["send", "file"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.errors(), ["error: .makuosan there is not the daemon's h1:file"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    fs::remove_file(&stage).unwrap();
    fleet.msync(0, &["send", "file"]).ok();
}

#[test]
fn no_access_list_lets_another_user_read_what_is_staged() {
    let mut fleet = Fleet::idle("staging-acl", 2);
    if !set_acl(&fleet.base(1), "default") {
        return;
    }
    tree::write(fleet.path(0, "secret"), "for the owner");
    tree::set_mode(&fleet.path(0, "secret"), 0o640);
    fleet.start(0, &[]);
    // What it makes inherits the list of the base directory.
    fleet.start(1, &[]);
    fleet.wait_for_members();
    let staging = fleet.path(1, ".makuosan");
    assert_eq!(acls(&staging), "");
    fleet.msync(0, &["send", "-r"]).ok();
    // In its place it has the list that a file has that is made there, and its own mode.
    assert_eq!(acls(&fleet.path(1, "secret")), "system.posix_acl_access");
    assert_eq!(fs::metadata(fleet.path(1, "secret")).unwrap().mode() & 0o7777, 0o640);
    // One that somebody gave it since goes at the next start.
    fleet.stop(1);
    assert!(set_acl(&staging, "default") && set_acl(&staging, "access"));
    fleet.start(1, &[]);
    assert_eq!(acls(&staging), "");
    assert_eq!(fs::metadata(&staging).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn one_that_takes_its_place_while_the_daemon_runs_is_not_touched() {
    let mut fleet = Fleet::new("staging-swap", 2);
    let staging = fleet.path(1, ".makuosan");
    fs::remove_dir_all(&staging).unwrap();
    tree::write(staging.join("notes/todo"), "precious");
    let before = seen(&staging);
    tree::write(fleet.path(0, "d/file"), "x");
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let line = "error: .makuosan there is not the daemon's h1:d/file";
    assert_eq!(ran.errors(), [line]);
    assert_eq!(seen(&staging), before);
    // The user takes it away, and all is well again.
    fs::remove_dir_all(&staging).unwrap();
    fleet.msync(0, &["send", "-r"]).ok();
    assert_eq!(fs::read(fleet.path(1, "d/file")).unwrap(), b"x");
    fleet.stop(1);
    fleet.start(1, &[]);
    marker_of(&staging);
}

#[test]
fn on_other_mounts_too_a_users_own_is_never_touched() {
    let mut fleet = Fleet::idle("staging-mounts", 2);
    let base = fleet.base(1);
    for name in ["full", "empty", "ours"] {
        fs::create_dir(base.join(name)).unwrap();
    }
    let setup = "for m in full empty ours; do mount -t tmpfs tmpfs \"$1/$m\"; done; \
                 mkdir \"$1/full/.makuosan\" \"$1/empty/.makuosan\"; \
                 echo precious >\"$1/full/.makuosan/1\"";
    let Some(by) = in_mount_namespace("staging on other mounts", setup, &base) else { return };
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    let inside = format!("/proc/{}/root{}", fleet.daemon(1).pid(), base.display());
    let inside = Path::new(&inside);
    let users = [inside.join("full/.makuosan"), inside.join("empty/.makuosan")];
    let before = users.clone().map(|dir| seen(&dir));
    for name in ["full/a", "full/d/b", "empty/c", "ours/e", "f"] {
        tree::write(fleet.path(0, name), name);
    }
    for dir in ["full", "empty", "ours"] {
        tree::set_mode(&fleet.path(0, dir), 0o755);
    }
    for _ in 0..2 {
        let ran = fleet.msync(0, &["send", "-r"]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let mut errors = ran.errors();
        errors.sort_unstable();
        let line = |path| format!("error: .makuosan there is not the daemon's h1:{path}");
        assert_eq!(errors, ["empty/c", "full/a", "full/d/b"].map(line));
        assert_eq!(users.clone().map(|dir| seen(&dir)), before);
    }
    // The rest is there, and nothing of ours stays where there was nothing.
    assert_eq!(fs::read(inside.join("ours/e")).unwrap(), b"ours/e");
    assert_eq!(fs::read(inside.join("f")).unwrap(), b"f");
    eventually("the end of staging", || !inside.join("ours/.makuosan").exists());
    assert_eq!(fleet.staged(1), [""; 0]);
}

#[test]
fn what_a_killed_daemon_recorded_is_looked_at_before_it_is_removed() {
    let mut fleet = Fleet::idle("staging-recorded", 1);
    fleet.start(0, &[]);
    let staging = fleet.path(0, ".makuosan");
    let marker = marker_of(&staging);
    fleet.kill(0);
    for (at, name) in ["users", "empty", "left", "old", "both"].iter().enumerate() {
        fs::create_dir_all(fleet.path(0, name).join(".makuosan")).unwrap();
        fs::write(staging.join(format!("stage/mount-{at}")), name).unwrap();
    }
    tree::write(fleet.path(0, "users/.makuosan/todo"), "precious");
    tree::set_mode(&fleet.path(0, "old/.makuosan"), 0o700);
    tree::write(fleet.path(0, "old/.makuosan/7"), "left behind");
    fs::copy(&marker, fleet.path(0, "left/.makuosan").join(marker.file_name().unwrap())).unwrap();
    tree::write(fleet.path(0, "left/.makuosan/stage/any/thing"), "left behind");
    // Ours, with something of a user's beside it.
    let both = fleet.path(0, "both/.makuosan");
    fs::copy(&marker, both.join(marker.file_name().unwrap())).unwrap();
    tree::write(both.join("stage/any/thing"), "left behind");
    tree::write(both.join("7"), "precious");
    let before = [seen(&fleet.path(0, "users/.makuosan")), seen(&fleet.path(0, "empty/.makuosan"))];
    fleet.start(0, &[]);
    let after = [seen(&fleet.path(0, "users/.makuosan")), seen(&fleet.path(0, "empty/.makuosan"))];
    assert_eq!(after, before);
    for name in ["left", "old"] {
        assert!(!fleet.path(0, name).join(".makuosan").exists(), "{name}");
    }
    assert_eq!(fleet.staged(0), [""; 0]);
    assert_eq!(fs::read(both.join("7")).unwrap(), b"precious");
    assert!(both.join(marker.file_name().unwrap()).exists() && !both.join("stage").exists());
}
