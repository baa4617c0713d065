//! Watches in places that are not as others are: in a chroot, without rights, with mounts in them, read-only.

use std::fs;
use std::os::unix::fs::chown;

use crate::common::process::{command, in_mounts, run};
use crate::common::{Fleet, eventually, is_root, mounts::inside, process, skip, tree};

/// The numbers of `nobody`.
fn nobody() -> [u32; 2] {
    ["-u", "-g"]
        .map(|which| run(command("id").args([which, "nobody"])).ok().out.trim().parse().unwrap())
}

#[test]
fn a_watch_works_in_a_chroot_and_as_another_user() {
    if !is_root() {
        return skip("watches in a chroot", "only root may change its root directory");
    }
    let [uid, gid] = nobody();
    for options in [&["-c"][..], &["-u", "nobody"], &["-c", "-u", "nobody"]] {
        let mut fleet = Fleet::idle("watch-chroot", 2);
        for at in 0..2 {
            chown(fleet.base(at), Some(uid), Some(gid)).unwrap();
        }
        tree::write(fleet.path(0, "d/e/before"), "1");
        fleet.start(1, options);
        fleet.start(0, &[options, &["-w", ".", "--watch-delete"]].concat());
        fleet.wait_for_members();
        let own = |at: &str| chown(fleet.path(0, at), Some(uid), Some(gid)).unwrap();
        ["d", "d/e", "d/e/before"].into_iter().for_each(own);
        fleet.msync(0, &["flush"]).ok();
        for (at, name) in ["d/e/new", "d/f/g/new", "new"].into_iter().enumerate() {
            tree::write(fleet.path(0, name), format!("{options:?} {at}"));
        }
        ["d/e/new", "d/f", "d/f/g", "d/f/g/new", "new"].into_iter().for_each(own);
        fs::rename(fleet.path(0, "d/e"), fleet.path(0, "moved")).unwrap();
        tree::write(fleet.path(0, "moved/newer"), "x");
        own("moved/newer");
        fs::remove_file(fleet.path(0, "new")).unwrap();
        fleet.msync(0, &["flush"]).ok();
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    }
}

#[test]
fn what_a_watch_may_not_read_is_said_and_deletes_nothing() {
    if !is_root() {
        return skip(
            "directories that a daemon may not read",
            "only root can start it as another user",
        );
    }
    let mut fleet = Fleet::idle("watch-unreadable", 2);
    for at in ["closed/a", "open/b"] {
        tree::write(fleet.path(0, at), "1");
    }
    let [uid, gid] = nobody();
    chown(fleet.base(0), Some(uid), Some(gid)).unwrap();
    fleet.start(1, &[]);
    tree::write(fleet.path(1, "closed/theirs"), "1");
    tree::set_mode(&fleet.path(0, "closed"), 0o700);
    fleet.start(0, &["-u", "nobody", "-w", ".", "--watch-delete"]);
    fleet.wait_for_members();
    let flush = fleet.msync(0, &["flush"]);
    assert_eq!(flush.code, Some(2), "{flush:?}");
    assert!(fleet.path(1, "closed/theirs").exists() && !fleet.path(1, "closed/a").exists());
    // The others go on, and it does too once it may be read.
    tree::write(fleet.path(0, "open/c"), "2");
    fs::remove_file(fleet.path(0, "open/b")).unwrap();
    eventually("the others go on", || {
        fleet.path(1, "open/c").exists() && !fleet.path(1, "open/b").exists()
    });
    tree::set_mode(&fleet.path(0, "closed"), 0o755);
    eventually("it is sent", || fleet.path(1, "closed/a").exists());
    tree::write(fleet.path(0, "closed/d"), "3");
    eventually("it is watched", || fleet.path(1, "closed/d").exists());
    // As at any start, what targets have beside it is deleted with the first flush of it.
    fleet.msync(0, &["flush"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn mounts_below_a_watch_come_and_go_and_nothing_is_deleted_by_that() {
    let mut fleet = Fleet::idle("watch-mounts", 2);
    fs::create_dir_all(fleet.path(0, "m/there")).unwrap();
    tree::write(fleet.path(0, "m/late/under"), "what will be covered");
    let setup = "mount -t tmpfs tmpfs \"$1/h0/m/there\"; mkdir \"$1/h0/m/there/d\"; \
        echo 1 >\"$1/h0/m/there/d/f\"";
    let Some(by) = in_mounts("watch of mounts", setup, fleet.dir()) else { return };
    fleet.start(1, &[]);
    fleet.start_by(by, 0, &["-w", ".", "--watch-delete"]);
    fleet.wait_for_members();
    let here = inside(&mut fleet, 0, "h0");
    fleet.msync(0, &["flush"]).ok();
    tree::assert_equal_dirs(&here, &fleet.base(1));
    tree::write(here.join("m/there/d/new/g"), "2");
    fs::remove_file(here.join("m/there/d/f")).unwrap();
    fleet.msync(0, &["flush"]).ok();
    tree::assert_equal_dirs(&here, &fleet.base(1));
    // One more, over a directory with something in it.
    let pid = fleet.daemon(0).pid().to_string();
    let inside = |words: &[&str]| {
        process::run(command("nsenter").args(["-t", &pid, "-m", "--"]).args(words)).ok()
    };
    let late = fleet.path(0, "m/late");
    let late = late.to_str().unwrap();
    inside(&["mount", "-t", "tmpfs", "tmpfs", late]);
    tree::write(here.join("m/late/over"), "3");
    eventually("what is mounted is sent", || fleet.path(1, "m/late/over").exists());
    fleet.msync(0, &["flush"]).ok();
    assert!(fleet.path(1, "m/late/under").exists(), "what is covered has not gone");
    tree::write(here.join("m/late/deep/er"), "4");
    fs::remove_file(here.join("m/late/over")).unwrap();
    fleet.msync(0, &["flush"]).ok();
    assert!(fleet.path(1, "m/late/deep/er").exists() && !fleet.path(1, "m/late/over").exists());
    // And away.
    for at in [late, fleet.path(0, "m/there").to_str().unwrap()] {
        inside(&["umount", at]);
    }
    eventually("the mounts are missed", || {
        fleet.msync(0, &["status"]).ok().out.contains("mounts have changed")
    });
    tree::write(here.join("m/late/under"), "5");
    tree::write(here.join("m/there/under"), "6");
    fleet.msync(0, &["flush"]).ok();
    for at in ["m/late/under", "m/late/deep/er", "m/there/under", "m/there/d/new/g"] {
        assert!(fleet.path(1, at).exists(), "{at}");
    }
    assert_eq!(fs::read(fleet.path(1, "m/late/under")).unwrap(), b"5");
}

#[test]
fn a_read_only_base_is_watched_and_one_that_receives_is_named() {
    let mut fleet = Fleet::idle("watch-read-only", 2);
    tree::write(fleet.dir().join("disk/d/f"), "1");
    let setup = "mount --bind \"$1/disk\" \"$1/h0\"; mount -o remount,bind,ro \"$1/h0\"";
    let Some(by) = in_mounts("watch of a read-only base", setup, fleet.dir()) else { return };
    fleet.start(1, &[]);
    fleet.start_by(by, 0, &["--readonly", "-w", ".", "--watch-delete"]);
    fleet.wait_for_members();
    let here = inside(&mut fleet, 0, "h0");
    assert!(fs::write(here.join("x"), "").is_err(), "it is read-only");
    fleet.msync(0, &["flush"]).ok();
    // It changes by another mount.
    let disk = fleet.dir().join("disk");
    tree::write(disk.join("d/g/h"), "2");
    fs::rename(disk.join("d/f"), disk.join("f")).unwrap();
    fleet.msync(0, &["flush"]).ok();
    tree::assert_equal_dirs(&disk, &fleet.base(1));
    // The other way round, whoever waits is told.
    let mut fleet = Fleet::idle("watch-to-read-only", 2);
    let setup = "mount --bind \"$1/h1\" \"$1/h1\"; mount -o remount,bind,ro \"$1/h1\"";
    let Some(by) = in_mounts("a read-only target", setup, fleet.dir()) else { return };
    fleet.start_by(by, 1, &["--readonly"]);
    fleet.start(0, &["-w", "."]);
    fleet.wait_for_members();
    tree::write(fleet.path(0, "f"), "1");
    let flush = fleet.msync(0, &["flush"]);
    assert_eq!(flush.code, Some(2), "{flush:?}");
}
