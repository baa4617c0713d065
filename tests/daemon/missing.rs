//! Mounts that are missing at the sender, and directories that have become empty there, are not taken for
//! files that were deleted.

use std::fs;

use crate::common::process::{self, command, in_mounts};
use crate::common::{Fleet, is_root, mounts::inside, skip, tree};

const EMPTY: &str = "without --force nothing is deleted below what is empty now: ";
const MOUNT: &str = "without --force nothing is deleted below what was a mount: ";

/// That something deletes nothing below `path`, for this reason, and says so in text and in JSON.
#[track_caller]
fn assert_kept(fleet: &Fleet, args: &[&str], why: &str, path: &str) {
    let ran = fleet.msync(0, args);
    assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
    assert_eq!(ran.errors(), [format!("error: {why}{path}")], "{args:?}: {ran:?}");
    let ran = fleet.msync(0, &[&["--json"], args].concat());
    let code = if why == MOUNT { "not_mounted" } else { "empty_source" };
    assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
    let object = format!("\"path\":\"{path}\",\"error\":\"{}\"", why.trim_end());
    assert!(ran.out.contains(&object), "{args:?}: {ran:?}");
    assert!(ran.out.contains(&format!("\"code\":\"{code}\"")), "{args:?}: {ran:?}");
}

#[test]
fn what_is_empty_and_was_not_before_deletes_nothing() {
    let fleet = Fleet::new("emptied", 2);
    for at in ["d/1", "d/2", "d/e/3", "d/e/4", "other/x", "other/y"] {
        tree::write(fleet.path(0, at), at);
    }
    fs::create_dir(fleet.path(0, "empty")).unwrap();
    fleet.msync(0, &["send", "-r"]).well();
    tree::write(fleet.path(1, "extra"), "only there");
    tree::write(fleet.path(1, "empty/extra"), "only there");
    for name in ["3", "4"] {
        fs::remove_file(fleet.path(0, "d/e").join(name)).unwrap();
    }
    fs::remove_file(fleet.path(0, "other/y")).unwrap();
    assert_kept(&fleet, &["send", "-rn", "--delete"], EMPTY, "d/e");
    assert_kept(&fleet, &["dsync", "-rn"], EMPTY, "d/e");
    assert!(fleet.path(1, "extra").exists());
    // As often as it is tried; what is elsewhere goes.
    assert_kept(&fleet, &["send", "-r", "--delete"], EMPTY, "d/e");
    assert_kept(&fleet, &["send", "-r", "--delete", "d"], EMPTY, "d/e");
    assert_kept(&fleet, &["dsync", "-r"], EMPTY, "d/e");
    for (at, stays) in [
        ("d/e/3", true),
        ("d/e/4", true),
        ("other/y", false),
        ("extra", false),
        // It was empty before.
        ("empty/extra", false),
    ] {
        assert_eq!(fleet.path(1, at).exists(), stays, "{at}");
    }
    // A comparison and a send that deletes nothing say nothing of it.
    fleet.msync(0, &["send", "-r"]).well();
    let ran = fleet.msync(0, &["-l", "1", "check", "-r"]);
    assert!(ran.out.contains("h1: extra d/e/3") && ran.errors().is_empty(), "{ran:?}");
    // What is filled again is as it was.
    tree::write(fleet.path(0, "d/e/5"), "new");
    fleet.msync(0, &["send", "-r", "--delete"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    // A dry run with --force forgets nothing.
    fs::remove_file(fleet.path(0, "d/e/5")).unwrap();
    fleet.msync(0, &["send", "-rn", "--delete", "--force"]).well();
    assert_kept(&fleet, &["send", "-r", "--delete"], EMPTY, "d/e");
    fleet.msync(0, &["send", "-r", "--delete", "--force"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    fleet.msync(0, &["send", "-r", "--delete"]).well();
    // A directory that is gone as a whole is nothing of the kind.
    fs::remove_dir_all(fleet.path(0, "d")).unwrap();
    fleet.msync(0, &["send", "-r", "--delete"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

/// `h0` has a mount on `deep/mnt` with `files`, and its daemon is where that is to be seen; `h1` has all of
/// it. None, said aloud, where that cannot be.
fn mounted_fleet(name: &str, options: &[&str]) -> Option<Fleet> {
    if !is_root() {
        skip(name, "only root enters a namespace of mounts");
        return None;
    }
    let mut fleet = Fleet::idle(name, 2);
    tree::write(fleet.path(0, "top"), "top");
    tree::write(fleet.path(0, "deep/beside"), "beside");
    tree::write(fleet.path(0, "deep/mnt/hidden/below"), "of the mount point");
    let files = "mkdir \"$1/h0/deep/mnt/sub\"; for n in 1 2 3 4 5; do \
        echo $n >\"$1/h0/deep/mnt/$n\"; echo $n >\"$1/h0/deep/mnt/sub/$n\"; done";
    let mount = "mount -t tmpfs tmpfs \"$1/h0/deep/mnt\"";
    let by = in_mounts(name, &format!("{mount}; {files}"), fleet.dir())?;
    fleet.start_by(by, 0, options);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    Some(fleet)
}

/// Does something where the daemon of `h0` is.
#[track_caller]
fn in_its(fleet: &mut Fleet, words: &[&str]) {
    let pid = fleet.daemon(0).pid().to_string();
    let mut enter = command("nsenter");
    enter.args(["-t", &pid, "-m"]).args(words);
    process::run(&mut enter).ok();
}

#[test]
fn a_mount_that_is_missing_deletes_nothing() {
    for options in [&[][..], &["-c"]] {
        let Some(mut fleet) = mounted_fleet("unmounted", options) else { return };
        let point = fleet.path(0, "deep/mnt").display().to_string();
        // The daemon has seen it at its start, and nothing was sent: the target has it from elsewhere.
        let seen = |fleet: &mut Fleet| match options {
            [] => inside(fleet, 0, "h0"),
            _ => format!("/proc/{}/root", fleet.daemon(0).pid()).into(),
        };
        let there = seen(&mut fleet);
        process::run(command("cp").arg("-a").arg(there.join(".")).arg(fleet.base(1))).ok();
        in_its(&mut fleet, &["umount", &point]);
        let list = fleet.dir().join("list").display().to_string();
        fs::write(&list, "deep/mnt/1\ndeep/mnt/2\ndeep/mnt/sub\n").unwrap();
        let listed = ["send", "--delete", "--files-from", &list];
        for args in [
            &listed[..],
            &["send", "-rn", "--delete"],
            &["send", "-r", "--delete"],
            &["send", "-r", "--delete", "deep"],
            &["send", "-r", "--delete", "deep/mnt"],
            &["send", "-r", "--delete", "deep/mnt/hidden"],
            &["dsync", "-r"],
            &["sync", "deep/mnt/1"],
            &["sync", "deep/mnt/sub"],
            &["dsync", "deep/mnt/sub/1"],
        ] {
            assert_kept(&fleet, args, MOUNT, "deep/mnt");
        }
        // What is below the mount point was sent.
        assert!(fleet.path(1, "deep/mnt/hidden/below").exists());
        // The mount point is gone as well, and the directory that it was in.
        fs::rename(fleet.path(0, "deep/mnt"), fleet.dir().join("away")).unwrap();
        assert_kept(&fleet, &["send", "-r", "--delete"], MOUNT, "deep/mnt");
        assert_kept(&fleet, &["sync", "deep/mnt"], MOUNT, "deep/mnt");
        assert_kept(&fleet, &listed, MOUNT, "deep/mnt");
        fs::rename(fleet.path(0, "deep"), fleet.dir().join("deeper")).unwrap();
        assert_kept(&fleet, &["send", "-r", "--delete"], MOUNT, "deep");
        assert_kept(&fleet, &["sync", "deep"], MOUNT, "deep/mnt");
        assert_kept(&fleet, &["sync", "deep/mnt/3"], MOUNT, "deep/mnt");
        for at in ["1", "5", "sub/1", "sub/5"] {
            assert!(fleet.path(1, "deep/mnt").join(at).exists(), "{at}");
        }
        // Back: what is deleted there is deleted everywhere.
        fs::rename(fleet.dir().join("deeper"), fleet.path(0, "deep")).unwrap();
        fs::rename(fleet.dir().join("away"), fleet.path(0, "deep/mnt")).unwrap();
        in_its(&mut fleet, &["mount", "-t", "tmpfs", "tmpfs", &point]);
        tree::write(there.join("deep/mnt/1"), "new");
        fleet.msync(0, &["sync", "deep/mnt/5"]).well();
        fleet.msync(0, &["send", "-r", "--delete"]).well();
        tree::assert_equal_dirs(&there, &fleet.base(1));
        // Away for good.
        in_its(&mut fleet, &["umount", &point]);
        fleet.msync(0, &["send", "-r", "--delete", "--force"]).well();
        tree::assert_equal_dirs(&there, &fleet.base(1));
        fleet.msync(0, &["send", "-r", "--delete"]).well();
    }
}

#[test]
fn a_mount_that_came_after_the_start_is_known_from_the_last_send() {
    let Some(mut fleet) = mounted_fleet("mounted-later", &[]) else { return };
    let point = fleet.path(0, "later").display().to_string();
    fs::create_dir(&point).unwrap();
    in_its(&mut fleet, &["mount", "-t", "tmpfs", "tmpfs", &point]);
    let there = inside(&mut fleet, 0, "h0");
    tree::write(there.join("later/f"), "content");
    fleet.msync(0, &["send", "-r"]).well();
    in_its(&mut fleet, &["umount", &point]);
    assert_kept(&fleet, &["send", "-r", "--delete"], MOUNT, "later");
    assert!(fleet.path(1, "later/f").exists());
}
