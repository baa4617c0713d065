//! A member that cannot list a directory cannot know what is too much there: it says so.

use std::fs;
use std::os::unix::fs::chown;

use crate::common::fuse::{BROKEN, Fuse, Traits};
use crate::common::mounts::inside;
use crate::common::process::in_mount_namespace;
use crate::common::{Fleet, is_root, skip, tree};

const NOBODY: Option<u32> = Some(65_534);

/// `h1` runs as nobody; all there belongs to nobody but what `setup` changes.
fn fleet_of_nobody(name: &str, setup: impl FnOnce(&Fleet)) -> Option<Fleet> {
    if !is_root() {
        skip(name, "only root gives files away");
        return None;
    }
    let mut fleet = Fleet::idle(name, 2);
    for at in ["closed/file", "open/file", "file"] {
        // Of one time: there is nothing to write, where the member may not.
        for host in [0, 1] {
            tree::write(fleet.path(host, at), "x");
            tree::set_mtime(&fleet.path(host, at), 1_700_000_000, 0);
        }
    }
    for at in ["closed/extra", "closed/sub/extra", "open/extra", "extra"] {
        tree::write(fleet.path(1, at), "y");
    }
    give_away(&fleet.base(0));
    give_away(&fleet.base(1));
    setup(&fleet);
    fleet.start(0, &[]);
    fleet.start(1, &["-u", "nobody"]);
    fleet.wait_for_members();
    Some(fleet)
}

fn give_away(path: &std::path::Path) {
    chown(path, NOBODY, NOBODY).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}

/// What all ways to delete, and to look at what would be, say of `dir`; nothing in it goes.
#[track_caller]
fn assert_said(fleet: &Fleet, dir: &str, why: &str) {
    let line = format!("error: {why} h1:{dir}");
    for args in [&["check", "-r"][..], &["send", "-rn", "--delete"], &["send", "-r", "--delete"]] {
        let ran = fleet.msync(0, args);
        let about: Vec<&str> =
            ran.errors().into_iter().filter(|error| error.ends_with(&format!(":{dir}"))).collect();
        assert_eq!((ran.code, about), (Some(2), vec![line.as_str()]), "{args:?}: {ran:?}");
        assert!(!ran.out.contains(&format!("[delete:{dir}/extra]")), "{ran:?}");
    }
    let line = format!("delete error ({why}) h1:{dir}");
    for args in [&["dsync", "-rn"][..], &["dsync", "-r"]] {
        let ran = fleet.msync(0, args);
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        assert!(ran.err.lines().any(|said| said == line), "{args:?}: {ran:?}");
    }
    let ran = fleet.msync(0, &["--json", "send", "-r", "--delete"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let object = format!("{{\"path\":\"{dir}\",\"error\":\"{why}\"");
    assert!(ran.out.contains(&object) && ran.out.contains("\"status\":\"failed\""), "{ran:?}");
    assert!(ran.out.contains("\"errors\":1,"), "{ran:?}");
    let ran = fleet.msync(0, &["--json", "check", "-r"]);
    assert!(ran.out.contains(&object) && ran.out.contains("\"status\":\"failed\""), "{ran:?}");
    // A directory is no entry that would go.
    let ran = fleet.msync(0, &["send", "-r", "--delete", "--max-delete", "0"]);
    assert!(!ran.err.contains("would be deleted"), "{ran:?}");
}

#[test]
fn a_directory_that_the_daemon_may_not_list_is_an_error() {
    let closed = |fleet: &Fleet| {
        chown(fleet.path(1, "closed"), Some(0), Some(0)).unwrap();
        tree::set_mode(&fleet.path(1, "closed"), 0o711);
    };
    let Some(fleet) = fleet_of_nobody("not-listed", closed) else { return };
    assert_said(&fleet, "closed", "Permission denied");
    assert!(fleet.path(1, "closed/extra").exists() && fleet.path(1, "closed/sub/extra").exists());
    assert!(!fleet.path(1, "extra").exists() && !fleet.path(1, "open/extra").exists());
    // What the others have is no less deleted for it.
    tree::set_mode(&fleet.path(1, "closed"), 0o755);
    let ran = fleet.msync(0, &["check", "-r", "-l", "1"]);
    assert!(ran.out.contains("h1: extra closed/sub/extra\n"), "{ran:?}");
}

#[test]
fn a_base_directory_that_the_daemon_may_not_list_is_an_error() {
    let closed = |fleet: &Fleet| {
        chown(fleet.base(1), Some(0), Some(0)).unwrap();
        tree::set_mode(&fleet.base(1), 0o733);
    };
    let Some(fleet) = fleet_of_nobody("base-not-listed", closed) else { return };
    assert_said(&fleet, ".", "Permission denied");
    assert!(fleet.path(1, "extra").exists() && !fleet.path(1, "open/extra").exists());
}

#[test]
fn a_directory_whose_own_bits_forbid_to_list_it_is_an_error_once() {
    for mode in [0o333, 0o444, 0o111, 0o666, 0o000] {
        let closed = |fleet: &Fleet| tree::set_mode(&fleet.path(1, "closed"), mode);
        let name = format!("own-not-listed-{mode:o}");
        let Some(fleet) = fleet_of_nobody(&name, closed) else { return };
        for args in [&["send", "-rn", "--delete"][..], &["send", "-r", "--delete"]] {
            let ran = fleet.msync(0, args);
            assert_eq!(ran.code, Some(2), "{mode:o} {args:?}: {ran:?}");
            let line = "error: Permission denied h1:closed";
            assert!(ran.errors().contains(&line), "{mode:o} {args:?}: {ran:?}");
        }
        tree::set_mode(&fleet.path(1, "closed"), 0o755);
        assert!(fleet.path(1, "closed/extra").exists(), "{mode:o}");
        // With the sender's bits it can be listed.
        fleet.msync(0, &["send", "-r", "--delete"]).ok();
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    }
}

#[test]
fn a_directory_that_the_disk_cannot_read_is_an_error() {
    let mut fleet = Fleet::idle("eio", 2);
    let setup = Fuse::mount("\"$1/h1\"");
    let Some(fuse) = Fuse::new("a disk that fails", Traits::default()) else { return };
    let Some(mut by) = in_mount_namespace("a disk that fails", &setup, fleet.dir()) else { return };
    fuse.input(&mut by);
    for at in ["closed/file", "closed/sub/file", "file"] {
        tree::write(fleet.path(0, at), "x");
    }
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    fleet.msync(0, &["send", "-r"]).ok();
    let base = inside(&mut fleet, 1, "h1");
    tree::assert_equal_dirs(&fleet.base(0), &base);
    for at in ["closed/extra", "closed/sub/extra", "extra"] {
        tree::write(base.join(at), "y");
    }
    fuse.fail_listing("closed", BROKEN);
    assert_said(&fleet, "closed", "Input/output error");
    assert!(base.join("closed/extra").exists() && !base.join("extra").exists());
    assert!(!base.join("closed/sub/extra").exists(), "this one could be listed");
    fuse.fail_listing("closed", 0);
    fleet.msync(0, &["send", "-r", "--delete"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &base);
}
