//! Mounts below the base directory, and base directories that are mounts of odd kinds.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::process::in_mounts;
use crate::common::{Fleet, eventually, mounts::inside, tree};

/// An overlay on `$1/h1`, whose lower layer is on the disk of the tests and whose upper one is in
/// memory: what is of the lower layer has another device number than its directory.
const OVERLAY: &str = "mkdir -p \"$1/memory\"; mount -t tmpfs tmpfs \"$1/memory\"; \
    mkdir \"$1/memory/upper\" \"$1/memory/work\"; \
    mount -t overlay -o \"lowerdir=$1/lower,upperdir=$1/memory/upper,workdir=$1/memory/work,xino=off\" \
    overlay \"$1/h1\"";

/// `h1` is on an overlay, with more in either layer than `h0` has.
fn fleet_on_overlay(name: &str, more: &str) -> Option<Fleet> {
    let mut fleet = Fleet::idle(name, 2);
    let lower = fleet.dir().join("lower");
    for at in ["extra", "dir/extra", "dir/sub/extra", "gone/deep/extra", "dir/same", "changed"] {
        tree::write(lower.join(at), "lower");
    }
    symlink("nowhere", lower.join("dir/link")).unwrap();
    fs::create_dir(lower.join("empty")).unwrap();
    tree::write(fleet.path(0, "dir/same"), "lower");
    tree::write(fleet.path(0, "changed"), "from h0");
    tree::write(fleet.path(0, "dir/new"), "from h0");
    let above = "mkdir -p \"$1/h1/above/sub\" \"$1/h1/gone/above\"; \
        echo upper >\"$1/h1/above/sub/extra\"; echo upper >\"$1/h1/dir/upper\"; \
        echo upper >\"$1/h1/gone/above/extra\"; echo more >>\"$1/h1/dir/sub/extra\"";
    let by = in_mounts(name, &format!("{OVERLAY}; {above}; {more}"), fleet.dir())?;
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    Some(fleet)
}

#[test]
fn a_receiver_on_an_overlay_deletes_what_the_sender_has_not() {
    let Some(mut fleet) = fleet_on_overlay("overlay-delete", ":") else { return };
    let base = inside(&mut fleet, 1, "h1");
    let ran = fleet.msync(0, &["-l", "1", "check", "-r"]);
    let extra: Vec<&str> = ran.out.lines().filter(|l| l.starts_with("h1: extra ")).collect();
    assert_eq!(extra.len(), 15, "{extra:#?}");
    let dry = fleet.msync(0, &["-l", "1", "send", "-rn", "--delete"]).well();
    let ran = fleet.msync(0, &["-l", "1", "send", "-r", "--delete"]).well();
    let gone = |out: &str| {
        let lines = out.lines().map(|line| line.trim_start_matches("(dryrun) ").to_owned());
        lines.filter(|line| line.starts_with("delete ")).collect::<Vec<_>>()
    };
    assert_eq!(gone(&ran.out).len(), 15, "{ran:?}");
    assert_eq!(gone(&dry.out), gone(&ran.out));
    tree::assert_equal_dirs(&fleet.base(0), &base);
    // And the other commands that delete.
    fs::remove_dir_all(fleet.path(0, "dir")).unwrap();
    fleet.msync(0, &["sync", "dir"]).ok();
    assert!(!base.join("dir").exists() && base.join("changed").exists());
    fs::remove_file(fleet.path(0, "changed")).unwrap();
    fleet.msync(0, &["dsync", "-r", "--force"]).ok();
    assert_eq!(tree::snapshot(&base), tree::Tree::new());
}

#[test]
fn a_mount_on_an_overlay_stays_with_the_directories_that_it_is_in() {
    let more = "mkdir \"$1/h1/gone/mounted\" \"$1/h1/gone/bound\"; touch \"$1/h1/gone/file\"; \
        mount -t tmpfs tmpfs \"$1/h1/gone/mounted\"; touch \"$1/h1/gone/mounted/stays\"; \
        mount --bind \"$1/h1/gone/deep\" \"$1/h1/gone/bound\"; \
        mount --bind \"$1/h1/changed\" \"$1/h1/gone/file\"";
    let Some(mut fleet) = fleet_on_overlay("overlay-mounts", more) else { return };
    let base = inside(&mut fleet, 1, "h1");
    fleet.msync(0, &["send", "-r", "--delete"]).ok();
    assert!(base.join("gone/mounted/stays").exists());
    assert!(base.join("gone/bound").is_dir() && base.join("gone/file").is_file());
    assert!(!base.join("gone/deep").exists() && !base.join("gone/above").exists());
    assert!(!base.join("extra").exists() && !base.join("dir/extra").exists());
}

#[test]
fn a_bind_mount_of_the_same_file_system_stays_as_any_mount_does() {
    let mut fleet = Fleet::idle("bind-mounts", 2);
    tree::write(fleet.dir().join("elsewhere/stays"), "of another place");
    tree::write(fleet.dir().join("elsewhere/deep/stays"), "of another place");
    tree::write(fleet.path(0, "file"), "x");
    for at in ["gone/a", "gone/file", "top", "own/bound/extra", "own/here/a", "both/extra"] {
        tree::write(fleet.path(1, at), "extra");
    }
    for at in ["gone/bound", "gone/own", "top-bound"] {
        fs::create_dir_all(fleet.path(1, at)).unwrap();
    }
    fs::create_dir(fleet.path(0, "both")).unwrap();
    let setup = "cd \"$1\"; mount --bind elsewhere h1/gone/bound; mount --bind elsewhere h1/top-bound; \
        mount --bind elsewhere/stays h1/gone/file; mount --bind h1/own h1/gone/own; \
        mount --bind elsewhere h1/both; cd /";
    let Some(by) = in_mounts("bind mounts", setup, fleet.dir()) else { return };
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    let base = inside(&mut fleet, 1, "h1");
    let ran = fleet.msync(0, &["-l", "1", "check", "-r"]);
    assert!(!ran.out.contains("gone/bound") && !ran.out.contains("top-bound"), "{ran:?}");
    fleet.msync(0, &["dsync", "-r", "--force", "both"]).ok();
    // A directory that both have is listed, whatever it is mounted from.
    assert!(!fleet.dir().join("elsewhere/stays").exists());
    tree::write(fleet.dir().join("elsewhere/stays"), "of another place");
    fleet.msync(0, &["send", "-r", "--delete", "--exclude", "/both/"]).ok();
    assert!(fleet.dir().join("elsewhere/stays").exists(), "through a mount");
    for at in ["gone/bound/stays", "gone/file", "gone/own", "top-bound/stays"] {
        assert!(base.join(at).exists(), "{at}");
    }
    for at in ["gone/a", "top", "own"] {
        assert!(!base.join(at).exists(), "{at}");
    }
}

#[test]
fn subvolumes_of_btrfs_are_no_mounts() {
    let mut fleet = Fleet::idle("subvolumes", 2);
    tree::write(fleet.path(0, "both/file"), "x");
    let image = fleet.dir().join("image");
    fs::File::create(&image).unwrap().set_len(200 << 20).unwrap();
    let setup = "mkfs.btrfs -q -f \"$1/image\"; mount -o loop \"$1/image\" \"$1/h1\"; \
        for at in extra both deep; do btrfs -q subvolume create \"$1/h1/$at\"; done; \
        mkdir \"$1/h1/dir\"; btrfs -q subvolume create \"$1/h1/dir/in\"; \
        touch \"$1/h1/extra/a\" \"$1/h1/both/b\" \"$1/h1/dir/in/c\" \"$1/h1/d\"";
    let Some(by) = in_mounts("subvolumes", setup, fleet.dir()) else { return };
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    let base = inside(&mut fleet, 1, "h1");
    fleet.msync(0, &["send", "-r", "--delete"]).ok();
    // The target is told that the transfer is over, and needs a moment.
    eventually("no staging left", || !base.join("both/.makuosan").exists());
    tree::assert_equal_dirs(&fleet.base(0), &base);
}
