//! What is deleted, when, and above all what is not.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use crate::common::process::{Ran, in_mount_namespace};
use crate::common::{Fleet, eventually, is_root, skip, tree};

/// The lines of deletions, without what says that they are only of a dry run.
fn deletions(ran: &Ran) -> Vec<String> {
    let lines = ran.out.lines().map(|line| line.trim_start_matches("(dryrun) ").to_owned());
    lines.filter(|line| line.starts_with("delete ")).collect()
}

/// Everybody has `dir/file`; `h1` has more.
fn fleet_with_more(name: &str, hosts: usize, options: &[&str]) -> Fleet {
    let mut all = vec![&[][..]; hosts];
    all[0] = options;
    let fleet = Fleet::with(name, &all);
    tree::write(fleet.path(0, "dir/file"), "x");
    fleet.msync(0, &["send", "-r"]).ok();
    tree::write(fleet.path(1, "dir/more"), "y");
    tree::write(fleet.path(1, "dir/deep/er/file"), "z");
    tree::write(fleet.path(1, "top"), "z");
    symlink("/", fleet.path(1, "link")).unwrap();
    fleet
}

const MORE: [&str; 6] = [
    "delete h1:dir/deep/er/file",
    "delete h1:dir/deep/er",
    "delete h1:dir/deep",
    "delete h1:dir/more",
    "delete h1:link",
    "delete h1:top",
];

#[test]
fn a_dry_run_says_just_what_the_real_one_does() {
    let real: &[&[&str]] =
        &[&["send", "-r", "--delete"], &["--delete", "-r"], &["dsync", "-r"], &["dsync", "-r"]];
    for (at, args) in real.iter().enumerate() {
        let fleet = fleet_with_more(&format!("dry-delete-{at}"), 3, &[]);
        let before = tree::snapshot(&fleet.base(1));
        let with = |more: &[&str]| fleet.msync(0, &[more, args].concat()).well();
        let dry = with(&["-n", "-l", "1"]);
        assert_eq!(deletions(&dry), MORE, "{args:?}");
        tree::assert_same(&before, &tree::snapshot(&fleet.base(1)));
        assert_eq!(deletions(&with(&["-l", "1"])), MORE, "{args:?}");
        tree::assert_equal_dirs(&fleet.base(2), &fleet.base(0));
        let files = |tree: tree::Tree| tree.into_keys().collect::<Vec<_>>();
        assert_eq!(files(tree::snapshot(&fleet.base(1))), files(tree::snapshot(&fleet.base(0))));
        // There is nothing left to be done.
        assert_eq!(deletions(&with(&["-n", "-l", "1"])), [""; 0]);
    }
}

#[test]
fn only_below_the_path() {
    let fleet = fleet_with_more("delete-below", 2, &[]);
    for args in [&["dsync", "-r", "dir/deep"][..], &["dsync", "-r", "dir"]] {
        fleet.msync(0, args);
    }
    assert!(!fleet.path(1, "dir/more").exists() && !fleet.path(1, "dir/deep").exists());
    assert!(fleet.path(1, "top").exists() && fleet.path(1, "link").is_symlink());
    assert!(fleet.path(1, "dir/file").exists());
    // As an old client says it.
    let mut console = fleet.console(0);
    let answer = console.ask("dsync -r ");
    assert_eq!(answer.lines().collect::<Vec<_>>(), ["delete h1:link", "delete h1:top"]);
    assert_eq!(console.ask("send -r "), "");
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn a_path_that_is_gone_here_is_deleted_there() {
    let fleet = fleet_with_more("sync-gone", 3, &[]);
    for args in [&["sync", "-n", "dir/deep"][..], &["-n", "sync", "dir/deep"]] {
        let ran = fleet.msync(0, args).ok();
        assert_eq!(deletions(&ran), MORE[..3]);
    }
    assert!(fleet.path(1, "dir/deep/er/file").exists());
    // A tree that is gone here is not what `sync -r` is for.
    let ran = fleet.msync(0, &["sync", "-r", "dir/deep"]);
    let line = "error: No such file or directory dir/deep";
    assert_eq!((ran.code, ran.errors()), (Some(2), vec![line]));
    assert!(fleet.path(1, "dir/deep/er/file").exists());
    let ran = fleet.msync(0, &["sync", "dir/deep"]).ok();
    assert_eq!(deletions(&ran), MORE[..3]);
    // A link goes, not what it leads to; nothing leads through one.
    fleet.msync(0, &["sync", "link/etc/hostname"]);
    assert!(fs::exists("/etc/hostname").unwrap());
    fleet.msync(0, &["sync", "link", "top"]).ok();
    assert!(!fleet.path(1, "link").is_symlink() && !fleet.path(1, "top").exists());
    // What is here is sent, and what is nowhere is no error.
    fs::write(fleet.path(0, "dir/file"), "new").unwrap();
    fleet.msync(0, &["sync", "dir/file", "nowhere"]).ok();
    assert_eq!(fs::read(fleet.path(2, "dir/file")).unwrap(), b"new");
}

#[test]
fn the_data_comes_first() {
    let fleet = fleet_with_more("data-first", 3, &["-T", "24"]);
    tree::write(fleet.path(0, "zz-big"), tree::bytes(5 << 20, 1));
    let msync = fleet.msync_start(0, &["--delete", "-r", "-l", "1"]);
    fleet.wait_until_staged(1);
    assert!(fleet.path(1, "top").exists() && fleet.path(1, "dir/more").exists());
    let ran = msync.end().well();
    let at = |text: &str| ran.out.find(text).unwrap_or_else(|| panic!("{text}: {ran:?}"));
    assert!(at("update h1:zz-big") < at("delete h1:dir/deep/er/file"));
    assert_eq!(deletions(&ran), MORE);
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn over_a_limit_the_data_is_sent_and_nothing_goes() {
    let fleet = fleet_with_more("limits", 3, &[]);
    tree::write(fleet.path(0, "new"), "n");
    for args in [
        &["--delete", "-r", "--max-delete", "5"][..],
        &["dsync", "-r", "--max-delete", "5"],
        &["--delete", "-r", "--force", "--max-delete", "0"],
    ] {
        let ran = fleet.msync(0, args);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let line = ran.errors().join("\n");
        assert!(
            line.starts_with("error: 6 entries would be deleted on h1, over the limit of "),
            "{line}"
        );
        assert!(fleet.path(1, "top").exists() && fleet.path(1, "dir/deep/er").exists());
        assert!(fleet.path(1, "new").exists() && fleet.path(2, "new").exists());
    }
    fleet.msync(0, &["--delete", "-r", "--max-delete", "6"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    // A hundred at least, and more than half of what there is.
    for at in 0..100 {
        tree::write(fleet.path(1, format!("many/{at}")), "");
    }
    let ran = fleet.msync(0, &["--delete", "-r"]);
    assert_eq!((ran.code, ran.errors().len()), (Some(2), 1), "{ran:?}");
    assert!(ran.err.contains("entries would be deleted on h1: nothing is deleted without --force"));
    assert_eq!(fs::read_dir(fleet.path(1, "many")).unwrap().count(), 100);
    fleet.msync(0, &["--delete", "-r", "--force"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn what_is_excluded_stays_with_its_directories() {
    let fleet = fleet_with_more("delete-excluded", 2, &[]);
    tree::write(fleet.path(1, "dir/deep/own.log"), "stays");
    tree::write(fleet.path(1, "cache/a/b"), "stays");
    let args = ["-l", "1", "--delete", "-r", "--exclude", "*.log", "--exclude", "cache/"];
    let ran = fleet.msync(0, &args).well();
    let gone = deletions(&ran);
    assert_eq!(gone, MORE.into_iter().filter(|l| *l != "delete h1:dir/deep").collect::<Vec<_>>());
    assert_eq!(fs::read(fleet.path(1, "dir/deep/own.log")).unwrap(), b"stays");
    assert_eq!(fs::read(fleet.path(1, "cache/a/b")).unwrap(), b"stays");
    // Excluded at the sender and there at both: as before.
    tree::write(fleet.path(0, "here.log"), "not sent");
    tree::write(fleet.path(1, "here.log"), "stays");
    fleet.msync(0, &args).well();
    assert_eq!(fs::read(fleet.path(1, "here.log")).unwrap(), b"stays");
}

#[test]
fn whatever_has_a_name_here_protects_it_there() {
    let mut fleet = Fleet::idle("protected", 2);
    for name in ["socket", "shut/file", "other", "dir/gone", "dir/stays"] {
        tree::write(fleet.path(1, name), "stays");
    }
    tree::write(fleet.path(0, "dir/stays"), "x");
    tree::write(fleet.path(0, "other"), "x");
    fs::create_dir(fleet.path(0, "shut")).unwrap();
    let _socket = UnixListener::bind(fleet.path(0, "socket")).unwrap();
    let mut options = vec![];
    let by_nobody = is_root();
    if by_nobody {
        // All is the daemon's but one file, and a directory that nobody may read.
        for name in ["", "dir", "dir/stays", "socket"] {
            std::os::unix::fs::chown(fleet.path(0, name), Some(65_534), Some(65_534)).unwrap();
        }
        options = vec!["-u", "nobody", "-O"];
    } else {
        skip("-O", "only root gives files away");
    }
    tree::set_mode(&fleet.path(0, "shut"), 0);
    fleet.start(0, &options);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    for args in [&["dsync", "-r"][..], &["--delete", "-r"]] {
        let ran = fleet.msync(0, args);
        assert!(ran.code.is_some_and(|code| code != 1), "{ran:?}");
        for name in ["socket", "shut/file", "other", "dir/stays"] {
            assert!(fleet.path(1, name).exists(), "{args:?} deleted {name}: {ran:?}");
        }
    }
    assert!(!fleet.path(1, "dir/gone").exists());
    tree::set_mode(&fleet.path(0, "shut"), 0o700);
}

#[test]
fn what_changes_after_it_was_listed_stays() {
    let mut fleet = Fleet::with("changed-candidate", &[&["-T", "24"], &[], &[]]);
    tree::write(fleet.path(0, "a/file"), "x");
    tree::write(fleet.path(0, "zz-big"), tree::bytes(6 << 20, 1));
    let outside = fleet.dir().join("outside");
    tree::write(outside.join("in"), "stays");
    for name in ["a/same", "a/rewritten", "a/dir/in", "a/swapped/in", "a/replaced"] {
        tree::write(fleet.path(1, name), "old");
    }
    let msync = fleet.msync_start(0, &["--delete", "-r", "-l", "1"]);
    eventually("the streamed file", || {
        fleet.path(1, "a/file").exists() && !fleet.staged(1).is_empty()
    });
    // `a` is closed, and was listed before the long file began.
    std::thread::sleep(std::time::Duration::from_millis(300));
    fs::write(fleet.path(1, "a/rewritten"), "new content").unwrap();
    tree::write(fleet.path(1, "a/dir/new"), "new");
    fs::rename(fleet.path(1, "a/swapped"), fleet.path(1, "a/aside")).unwrap();
    symlink(&outside, fleet.path(1, "a/swapped")).unwrap();
    fs::remove_file(fleet.path(1, "a/replaced")).unwrap();
    fs::create_dir(fleet.path(1, "a/replaced")).unwrap();
    let ran = msync.end().well();
    let gone = deletions(&ran);
    assert!(gone.contains(&"delete h1:a/same".to_owned()), "{ran:?}");
    assert!(!gone.iter().any(|line| line.contains("swapped") || line.contains("rewritten")));
    assert_eq!(fs::read(fleet.path(1, "a/rewritten")).unwrap(), b"new content");
    assert_eq!(fs::read(fleet.path(1, "a/dir/new")).unwrap(), b"new");
    assert_eq!(fs::read_link(fleet.path(1, "a/swapped")).unwrap(), outside);
    assert_eq!(fs::read(outside.join("in")).unwrap(), b"stays");
    assert!(fleet.path(1, "a/aside/in").exists() && fleet.path(1, "a/replaced").is_dir());
    assert_eq!(fleet.stop(0).code(), Some(0));
}

#[test]
fn who_restarts_or_comes_late_loses_nothing() {
    let mut fleet = fleet_with_more("delete-restart", 3, &["-T", "24"]);
    tree::write(fleet.path(2, "extra"), "goes");
    tree::write(fleet.path(0, "zz-big"), tree::bytes(6 << 20, 1));
    let msync = fleet.msync_start(0, &["--delete", "-r"]);
    fleet.wait_until_staged(1);
    let before = ["dir/more", "dir/deep/er/file", "top"];
    fleet.kill(1);
    fleet.start(1, &[]);
    let ran = msync.end();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    fleet.wait_for_members();
    for name in before {
        assert!(fleet.path(1, name).exists(), "{name}");
    }
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
    // Starting, stopping and rejoining alone delete nothing, and plain sends never do.
    fleet.kill(0);
    fleet.start(0, &[]);
    fleet.wait_for_members();
    fleet.msync(0, &["send", "-r"]).ok();
    fleet.msync(0, &["sync", "-r"]).ok();
    for name in before {
        assert!(fleet.path(1, name).exists(), "{name}");
    }
}

#[test]
fn a_readonly_member_loses_nothing() {
    let fleet = Fleet::with("delete-readonly", &[&[], &["-r"], &[]]);
    tree::write(fleet.path(0, "file"), "x");
    for at in 1..3 {
        tree::write(fleet.path(at, "extra/file"), "y");
    }
    for args in [&["--delete", "-r"][..], &["dsync", "-r"], &["sync", "extra"]] {
        fleet.msync(0, args);
        assert!(fleet.path(1, "extra/file").exists(), "{args:?}");
    }
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
}

#[test]
fn what_cannot_be_deleted_is_named() {
    let mut fleet = Fleet::idle("delete-fails", 3);
    let base = fleet.base(1);
    for at in 1..3 {
        tree::write(fleet.path(at, "ro/extra"), "x");
        tree::write(fleet.path(at, "extra"), "x");
    }
    tree::write(base.join("gone/mounted/kept"), "x");
    for at in 0..3 {
        tree::write(fleet.path(at, "ro/file"), "x");
    }
    let setup = "mount --bind \"$1/ro\" \"$1/ro\"; mount -o remount,bind,ro \"$1/ro\"; \
                 mount -t tmpfs tmpfs \"$1/gone/mounted\"";
    let Some(by) = in_mount_namespace("fails", setup, &base) else { return };
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.start(2, &[]);
    fleet.wait_for_members();
    let ran = fleet.msync(0, &["dsync", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let line = "delete error (Read-only file system) h1:ro/extra";
    assert!(ran.out.contains(line) || ran.err.contains(line), "{ran:?}");
    // What is mounted stays, and keeps what it is in; the rest goes.
    assert!(base.join("ro/extra").exists() && base.join("gone/mounted").is_dir());
    assert!(!base.join("extra").exists());
    assert!(!fleet.path(2, "ro/extra").exists() && !fleet.path(2, "extra").exists());
}
