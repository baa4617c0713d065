//! Release directories, and the link that says which of them is live.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::time::Duration;

use crate::common::mounts::inside;
use crate::common::process::in_mounts;
use crate::common::{Fleet, is_root, skip, tree};

const FILES: usize = 3_000;

/// Makes release `n` with so many files, and the link point to it.
fn release(fleet: &Fleet, n: u32, files: usize) {
    for at in 0..files {
        tree::write(
            fleet.path(0, format!("releases/{n}/{:02}/{at}", at % 50)),
            format!("{n} {at}"),
        );
    }
    let link = fleet.path(0, "current");
    let _ = fs::remove_file(&link);
    symlink(format!("releases/{n}"), link).unwrap();
}

fn live(base: &Path) -> String {
    fs::read_link(base.join("current")).unwrap().to_string_lossy().into_owned()
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, |dirs| {
        dirs.map(|dir| fs::read_dir(dir.unwrap().path()).map_or(0, Iterator::count)).sum()
    })
}

#[test]
fn a_link_points_to_a_release_only_when_all_of_it_is_there() {
    let fleet = Fleet::new("releases", 3);
    release(&fleet, 1, 10);
    symlink("current/../../common", fleet.path(0, "again")).unwrap();
    fleet.msync(0, &["send", "-r"]).well();
    release(&fleet, 2, FILES);
    for args in [&["send", "-r"][..], &["send", "-r", "--delete"]] {
        let mut running = fleet.msync_start(0, args);
        let mut early = 0;
        loop {
            for at in 1..3 {
                if live(&fleet.base(at)) == "releases/2" {
                    assert_eq!(count(&fleet.path(at, "releases/2")), FILES);
                } else {
                    early += 1;
                }
            }
            if !running.is_running() {
                break;
            }
        }
        running.end().well();
        assert!(early > 0 || args.len() > 2);
        for at in 1..3 {
            tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
        }
    }
    // Nothing is left to be done.
    assert_eq!(fleet.msync(0, &["send", "-r", "-v"]).well().out, "");
}

#[test]
fn a_send_that_is_called_off_leaves_the_link_as_it_was() {
    let fleet = Fleet::new("called-off", 2);
    release(&fleet, 1, 10);
    fleet.msync(0, &["send", "-r"]).well();
    release(&fleet, 2, FILES);
    let mut running = fleet.msync_start(0, &["send", "-r"]);
    fleet.wait_until_staged(1);
    running.kill();
    fleet.wait_until_clean(Duration::from_secs(10));
    if count(&fleet.path(1, "releases/2")) < FILES {
        assert_eq!(live(&fleet.base(1)), "releases/1");
    }
    fleet.msync(0, &["send", "-r"]).well();
    assert_eq!(live(&fleet.base(1)), "releases/2");
}

#[test]
fn with_deletion_a_link_takes_the_place_of_a_directory_at_once() {
    let fleet = Fleet::new("link-for-directory", 3);
    tree::write(fleet.path(0, "dir/file"), "x");
    tree::write(fleet.path(0, "later/file"), "y");
    for args in [&["send", "-r", "--delete"][..], &["send", "-r", "--delete", "--atomic"]] {
        fleet.msync(0, args).well();
        fs::remove_dir_all(fleet.path(0, "dir")).unwrap();
        symlink("later", fleet.path(0, "dir")).unwrap();
        fleet.msync(0, args).well();
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
        fs::remove_file(fleet.path(0, "dir")).unwrap();
        tree::write(fleet.path(0, "dir/file"), "x");
    }
}

#[test]
fn where_a_release_does_not_fit_the_link_stays() {
    let mut fleet = Fleet::idle("release-no-room", 3);
    let setup = "mount -t tmpfs -o size=2m tmpfs \"$1/h1\"";
    let Some(by) = in_mounts("release-no-room", setup, fleet.dir()) else { return };
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.start(2, &[]);
    fleet.wait_for_members();
    let base = inside(&mut fleet, 1, "h1");
    release(&fleet, 1, 10);
    fleet.msync(0, &["send", "-r"]).well();
    release(&fleet, 2, 10);
    tree::write(fleet.path(0, "releases/2/large"), tree::bytes(4 << 20, 1));
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(
        ran.errors(),
        [
            "error: No space left on device h1:releases/2/large",
            "error: Not put in place: what it points to is incomplete h1:current"
        ],
        "{ran:?}"
    );
    assert_eq!((live(&base), live(&fleet.base(2))), ("releases/1".into(), "releases/2".into()));
    // It fits, and so the link follows.
    tree::write(fleet.path(0, "releases/2/large"), tree::bytes(1 << 20, 1));
    fleet.msync(0, &["send", "-r"]).well();
    assert_eq!(live(&base), "releases/2");
}

#[test]
fn what_cannot_be_read_keeps_the_link_everywhere_as_it_was() {
    if !is_root() {
        return skip("release-unread", "only root gives files away");
    }
    let mut fleet = Fleet::idle("release-unread", 2);
    release(&fleet, 1, 10);
    chown(fleet.base(0), Some(65_534), Some(65_534)).unwrap();
    fleet.start(0, &["-u", "nobody"]);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    fleet.msync(0, &["send", "-r"]).well();
    release(&fleet, 2, 10);
    tree::write(fleet.path(0, "releases/2/secret"), "x");
    tree::set_mode(&fleet.path(0, "releases/2/secret"), 0o600);
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(
        ran.errors(),
        [
            "error: Permission denied releases/2/secret",
            "error: Not put in place: what it points to is incomplete current"
        ],
        "{ran:?}"
    );
    assert_eq!(
        (live(&fleet.base(1)).as_str(), count(&fleet.path(1, "releases/2"))),
        ("releases/1", 10)
    );
}
