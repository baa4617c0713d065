//! Targets that cannot take what is sent: a line for each, and the others complete.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::common::process::in_mount_namespace;
use crate::common::{Fleet, eventually, fleet, is_root, skip, tree};

/// Sends everything from `h0`, and expects just these `error:` lines, and `h2` to have it all.
#[track_caller]
fn send_with_errors(fleet: &Fleet, want: &[&str]) {
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    assert_eq!(ran.err.lines().collect::<Vec<_>>(), want);
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
    assert_eq!(fleet.staged(2), [""; 0]);
}

/// A path as a process in another mount namespace sees it.
fn seen_by(pid: u32, path: &Path) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("root").join(path.strip_prefix("/").unwrap())
}

/// `h0` and `h2` as usual, and `h1` in a namespace that `setup` prepares in its base directory.
fn fleet_with_odd_mounts(name: &str, setup: &str) -> Option<(Fleet, PathBuf)> {
    let mut fleet = Fleet::idle(name, 3);
    let base = fleet.base(1);
    tree::write(base.join("ro/old"), "old");
    let by = in_mount_namespace(name, setup, &base)?;
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.start(2, &[]);
    fleet.wait_for_members();
    let pid = fleet.daemon(1).pid();
    Some((fleet, seen_by(pid, &base)))
}

#[test]
fn a_full_disk_fails_what_it_has_no_room_for() {
    let setup = "mount -t tmpfs -o size=2m tmpfs \"$1\"";
    let Some((fleet, there)) = fleet_with_odd_mounts("full", setup) else { return };
    tree::write(there.join("0-old"), "old");
    tree::write(fleet.path(0, "0-small"), "fits");
    fleet.msync(0, &["send", "-r"]).ok();
    assert_eq!(fs::read(there.join("0-small")).unwrap(), b"fits");
    // Small files of one batch; then a streamed one, too large by itself.
    for round in 0..2 {
        for at in 0..30 {
            let path = fleet.path(0, format!("many{round}/{at:02}"));
            tree::write(path, tree::bytes(100_000, at));
        }
        tree::write(fleet.path(0, "streamed"), tree::bytes(5 << 20, round));
        let ran = fleet.msync(0, &["send", "-r"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
        let errors = ran.errors();
        let known = |line: &str| {
            line.starts_with("error: No space left on device h1:") || line.contains(" not tried ")
        };
        assert!(errors.iter().all(|line| known(line)), "{ran:?}");
        assert!(errors.contains(&"error: No space left on device h1:streamed"), "{ran:?}");
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
        assert_eq!(fleet::staged(&there), [""; 0]);
        // What was there is there, and whatever arrived is whole.
        assert_eq!(fs::read(there.join("0-old")).unwrap(), b"old");
        let want = tree::snapshot(&fleet.base(0));
        for (path, entry) in tree::snapshot(&there) {
            let same = want.get(&path).is_some_and(|want| want.content == entry.content);
            assert!(same || path == b"0-old", "{}", String::from_utf8_lossy(&path));
        }
    }
    // With room again it gets the rest of what fits.
    for round in 0..2 {
        fs::remove_dir_all(fleet.path(0, format!("many{round}"))).unwrap();
        let _ = fs::remove_dir_all(there.join(format!("many{round}")));
    }
    tree::write(fleet.path(0, "streamed"), "short now");
    fleet.msync(0, &["send", "-r"]).ok();
    assert_eq!(fs::read(there.join("streamed")).unwrap(), b"short now");
}

#[test]
fn a_read_only_mount_fails_what_belongs_there() {
    let setup = "mount --bind \"$1/ro\" \"$1/ro\"; mount -o remount,ro,bind \"$1/ro\"";
    let Some((fleet, there)) = fleet_with_odd_mounts("rofs", setup) else { return };
    assert!(fs::write(there.join("ro/try"), "x").is_err(), "the mount is not read-only");
    tree::write(fleet.path(0, "before"), "x");
    tree::write(fleet.path(0, "ro/old"), "new");
    tree::write(fleet.path(0, "ro/other"), "x");
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    let lines = ["ro/old", "ro/other", "ro"];
    let lines = lines.map(|path| format!("error: Read-only file system h1:{path}"));
    assert_eq!(ran.errors(), lines, "{ran:?}");
    assert_eq!(fs::read(there.join("before")).unwrap(), b"x");
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
    assert_eq!(fs::read(there.join("ro/old")).unwrap(), b"old");
    assert_eq!(fleet::staged(&there), [""; 0]);
}

#[test]
fn another_file_system_below_the_base_is_written_to_like_any_other() {
    let setup = "mount -t tmpfs tmpfs \"$1/ro\"";
    let Some((fleet, there)) = fleet_with_odd_mounts("mount", setup) else { return };
    tree::write(fleet.path(0, "ro/small"), "x");
    tree::write(fleet.path(0, "ro/dir/streamed"), tree::bytes(5 << 20, 1));
    tree::write(fleet.path(0, "file"), "x");
    fleet.msync(0, &["send", "-r"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
    // Whatever was staged on that file system is gone when the transfer has ended there, too.
    eventually("the end", || !there.join("ro/.makuosan").exists());
    tree::assert_equal_dirs(&fleet.base(0), &there);
    assert_eq!(fleet::staged(&there), [""; 0]);
    let (_, again) = fleet.console(0).send("send -r");
    assert_eq!((again.files, again.bytes, again.failed), (0, 0, 0), "{again:?}");
}

#[test]
fn a_directory_without_write_permission() {
    if !is_root() {
        return skip("a directory of another user", "only root gives directories away");
    }
    let mut fleet = Fleet::idle("denied", 3);
    std::os::unix::fs::chown(fleet.base(1), Some(65_534), Some(65_534)).unwrap();
    tree::write(fleet.path(1, "root/old"), "old");
    for (at, options) in [&[][..], &["-u", "nobody"], &[]].into_iter().enumerate() {
        fleet.start(at, options);
    }
    fleet.wait_for_members();
    for name in ["a", "root/old", "root/new", "z"] {
        tree::write(fleet.path(0, name), "new");
    }
    let mode = fs::metadata(fleet.path(1, "root")).unwrap().permissions();
    fs::set_permissions(fleet.path(0, "root"), mode).unwrap();
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    for line in ran.err.lines() {
        let known = ["error: Permission denied h1:root", "error: Operation not permitted h1:root"];
        assert!(known.iter().any(|known| line.starts_with(known)), "{ran:?}");
    }
    for path in ["root/old", "root/new"] {
        let line = format!("error: Permission denied h1:{path}");
        assert_eq!(ran.err.lines().filter(|got| *got == line).count(), 1, "{ran:?}");
    }
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
    // What could be written was.
    assert_eq!(fs::read(fleet.path(1, "a")).unwrap(), b"new");
    assert_eq!(fs::read(fleet.path(1, "z")).unwrap(), b"new");
    assert_eq!(fs::read(fleet.path(1, "root/old")).unwrap(), b"old");
    assert!(!fleet.path(1, "root/new").exists());
    assert_eq!(fleet.staged(1), [""; 0]);
}

#[test]
fn a_file_or_a_link_on_the_way_to_a_path_stays() {
    let fleet = Fleet::new("on-the-way", 3);
    for name in ["place/sub/two", "linked/sub/two"] {
        tree::write(fleet.path(0, name), "new");
    }
    let outside = fleet.dir().join("outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    tree::write(fleet.path(1, "place"), "precious");
    symlink(&outside, fleet.path(1, "linked")).unwrap();
    let before = (tree::snapshot(&outside), tree::untouched(&outside));
    for (path, error) in [
        ("place/sub/two", "error: Not a directory in its place h1:place\n"),
        ("linked/sub/two", "error: Symbolic link in path h1:linked\n"),
    ] {
        let ran = fleet.msync(0, &["send", path]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(2), error), "{ran:?}");
        assert!(fleet.path(2, path).exists());
    }
    assert_eq!(fs::read(fleet.path(1, "place")).unwrap(), b"precious");
    assert_eq!(fs::read_link(fleet.path(1, "linked")).unwrap(), outside);
    assert_eq!((tree::snapshot(&outside), tree::untouched(&outside)), before);
    assert_eq!(fleet.staged(1), [""; 0]);
}

#[test]
fn a_full_directory_in_the_place_of_a_file() {
    let fleet = Fleet::new("dir-in-place", 3);
    for name in ["a", "place", "z"] {
        tree::write(fleet.path(0, name), "new");
    }
    tree::write(fleet.path(1, "place/precious"), "precious");
    send_with_errors(
        &fleet,
        &["error: Directory not empty in its place (send -r --delete replaces it) h1:place"],
    );
    assert_eq!(fs::read(fleet.path(1, "place/precious")).unwrap(), b"precious");
    assert_eq!(fs::read(fleet.path(1, "z")).unwrap(), b"new");
    assert_eq!(fleet.staged(1), [""; 0]);
}

#[test]
fn after_a_hundred_errors_of_a_host_they_are_only_counted() {
    let fleet = Fleet::new("many-errors", 3);
    for at in 0..150 {
        tree::write(fleet.path(0, format!("{at:03}")), "new");
        tree::write(fleet.path(1, format!("{at:03}/precious")), "precious");
    }
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!(ran.code, Some(2));
    let errors = ran.errors();
    assert_eq!(errors.len(), 101, "{ran:?}");
    assert_eq!(errors[100], "error: 50 more errors h1");
    let (lines, total) = fleet.console(0).send("send -r");
    assert_eq!((lines.len(), total.failed, total.errors, total.unchanged), (101, 1, 150, 0));
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
}
