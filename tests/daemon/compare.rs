//! What counts as changed: `check`, `--checksum`, `-I`; and the group that `-g` gives.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::common::process::ticks;
use crate::common::{Fleet, eventually, is_root, skip, tree};

/// Writes the same thing as is at `h0`, with its mtime.
fn twin(fleet: &Fleet, name: &str, content: &str) {
    for at in 0..fleet.len() {
        let path = fleet.path(at, name);
        tree::write(&path, content);
        tree::set_mode(&path, 0o644);
        tree::set_mtime(&path, 1_700_000_000, 5);
    }
}

/// What `h0` and `h1` have differs in every way there is; `h2` has the same as `h0`.
fn fleet_that_differs(name: &str) -> Fleet {
    let fleet = Fleet::new(name, 3);
    for name in ["ok", "ng", "attr", "sub/missing", "sub/ok"] {
        twin(&fleet, name, name);
    }
    // Same size and same time: only the content tells.
    fs::write(fleet.path(1, "ng"), "gn").unwrap();
    tree::set_mtime(&fleet.path(1, "ng"), 1_700_000_000, 5);
    tree::set_mode(&fleet.path(1, "attr"), 0o600);
    fs::remove_file(fleet.path(1, "sub/missing")).unwrap();
    tree::write(fleet.path(1, "sub/extra"), "x");
    for at in 0..3 {
        tree::set_mtime(&fleet.path(at, "sub"), 1_700_000_000, 5);
    }
    fleet
}

#[test]
fn check_says_what_differs_and_how_much() {
    let fleet = fleet_that_differs("check");
    let before: Vec<_> = (0..3).map(|at| tree::untouched(&fleet.base(at))).collect();
    let missing = "error: No such file or directory h1:sub/missing";
    for verb in ["check", "md5", "--check"] {
        let ran = fleet.msync(0, &[verb, "-r"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), "h1: NG ng\n"), "{verb}: {ran:?}");
        assert_eq!(ran.errors(), [missing]);
    }
    let ran = fleet.msync(0, &["-l", "1", "check", "-r"]);
    assert_eq!((ran.code, ran.errors()), (Some(2), vec![missing]), "{ran:?}");
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines.sort_unstable();
    let want = [
        "h1: 3 OK, 1 NG, 1 extra, 1 attr, 1 errors",
        "h1: NG ng",
        "h1: OK attr",
        "h1: OK ok",
        "h1: OK sub/ok",
        "h1: attr attr",
        "h1: extra sub/extra",
        "h2: 5 OK, 0 NG, 0 extra, 0 attr, 0 errors",
        "h2: OK attr",
        "h2: OK ng",
        "h2: OK ok",
        "h2: OK sub/missing",
        "h2: OK sub/ok",
    ];
    assert_eq!(lines, want);
    // One file, one host, one directory.
    fleet.msync(0, &["check", "ok"]).ok();
    fleet.msync(0, &["check", "-t", "h2", "-r"]).ok();
    assert_eq!(fleet.msync(0, &["check", "ng"]).out, "h1: NG ng\n");
    assert_eq!(fleet.msync(0, &["check", "-r", "sub"]).errors(), [missing]);
    // It only looked.
    for (at, before) in before.iter().enumerate() {
        assert_eq!(&tree::untouched(&fleet.base(at)), before);
    }
    let json = fleet.msync(0, &["--json", "check", "-r"]);
    assert_eq!(json.code, Some(2));
    let count = "\"check\":{\"ok\":3,\"ng\":1,\"extra\":1,\"attr\":1,\"errors\":1}";
    assert!(json.out.contains(count), "{json:?}");
}

#[test]
fn check_of_what_is_the_same_and_of_what_is_nowhere() {
    let fleet = fleet_that_differs("check-same");
    let ran = fleet.msync(0, &["check", "nowhere"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    fleet.msync(0, &["--delete", "-r", "--checksum"]).ok();
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
    assert_eq!(fleet.msync(0, &["check", "-r"]).ok().out, "");
}

#[test]
fn contents_instead_of_times_and_everything_whatever_its_time() {
    let fleet = Fleet::new("checksum", 3);
    twin(&fleet, "changed", "old text");
    twin(&fleet, "touched", "the same");
    fs::write(fleet.path(0, "changed"), "new text").unwrap();
    tree::set_mtime(&fleet.path(0, "changed"), 1_700_000_000, 5);
    // As it looks, nothing has changed.
    let (_, total) = fleet.console(0).send("send -r");
    assert_eq!((total.files, total.bytes, total.unchanged), (0, 0, 2), "{total:?}");
    assert_eq!(fs::read(fleet.path(1, "changed")).unwrap(), b"old text");
    tree::set_mtime(&fleet.path(0, "touched"), 1_700_000_001, 5);
    let before = fs::metadata(fleet.path(1, "touched")).unwrap().ino();
    let (lines, total) = fleet.console(0).send("send -r --checksum");
    assert_eq!((lines.len(), total.errors, total.bytes), (0, 0, 8), "{lines:?} {total:?}");
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
    assert_eq!(fs::metadata(fleet.path(1, "touched")).unwrap().ino(), before, "it was replaced");
    for line in ["send -r -I", "send --ignore-times -r"] {
        let (_, total) = fleet.console(0).send(line);
        assert_eq!((total.files, total.bytes), (2, 16), "{line}: {total:?}");
    }
    // A dry run with either says the same.
    fs::write(fleet.path(1, "touched"), "not same").unwrap();
    tree::set_mtime(&fleet.path(1, "touched"), 1_700_000_001, 5);
    let ran = fleet.msync(0, &["-n", "-l", "1", "--checksum", "send", "-r"]).well();
    assert_eq!(ran.out, "(dryrun) update h1:touched\n");
    assert_eq!(fs::read(fleet.path(1, "touched")).unwrap(), b"not same");
}

#[test]
fn big_files_are_compared_to_their_last_byte() {
    let fleet = Fleet::new("digests", 3);
    let size = 12_000_000;
    for at in 0..3 {
        let path = fleet.path(at, "big");
        tree::write(&path, tree::bytes(size, 1));
        tree::set_mtime(&path, 1_700_000_000, 0);
    }
    fleet.msync(0, &["check", "-r"]).ok();
    for at in [size as u64 - 1, 0, size as u64 / 2] {
        let path = fleet.path(2, "big");
        let file = fs::File::options().read(true).write(true).open(&path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        tree::set_mtime(&path, 1_700_000_000, 0);
        let ran = fleet.msync(0, &["check", "-r"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), "h2: NG big\n"), "{ran:?}");
        let (_, total) = fleet.console(0).send("send -r --checksum");
        assert_eq!((total.files, total.errors), (1, 0), "{total:?}");
        fleet.msync(0, &["check", "-r"]).ok();
    }
}

#[test]
fn a_group_for_the_receivers_alone() {
    if !is_root() {
        return skip("-g", "only root gives files away");
    }
    let fleet = Fleet::new("group-option", 2);
    tree::write(fleet.path(0, "dir/file"), "x");
    let gid = |at, name| fs::metadata(fleet.path(at, name)).unwrap().gid();
    let here = gid(0, "dir/file");
    let passwd = fs::read_to_string("/etc/group").unwrap();
    let line = passwd.lines().find(|line| line.starts_with("daemon:")).unwrap();
    let daemon: u32 = line.split(':').nth(2).unwrap().parse().unwrap();
    assert_ne!(here, daemon);
    let before = tree::untouched(&fleet.base(0));
    fleet.msync(0, &["-g", "daemon", "send", "-r"]).ok();
    assert_eq!([gid(1, "dir/file"), gid(1, "dir")], [daemon; 2]);
    assert_eq!(tree::untouched(&fleet.base(0)), before, "the source was touched");
    // Again: there is nothing to be done.
    let (_, total) = fleet.console(0).send("send -r -g daemon");
    assert_eq!((total.files, total.unchanged, total.errors), (0, 1, 0), "{total:?}");
    fleet.msync(0, &["send", "-r"]).ok();
    assert_eq!(gid(1, "dir/file"), here);
}

#[test]
fn nobody_reads_on_when_the_client_has_gone() {
    let mut fleet = Fleet::new("check-left", 2);
    for at in 0..2 {
        // To digest it takes many seconds.
        tree::write_scattered(fleet.path(at, "huge"), 4 << 30);
    }
    let pids = [0, 1].map(|at| fleet.daemon(at).pid());
    let mut msync = fleet.msync_start(0, &["check", "huge"]);
    let began = pids.map(ticks);
    eventually("both are at it", || (0..2).all(|at| ticks(pids[at]) > began[at] + 20));
    msync.kill();
    eventually("both have stopped", || {
        let before = pids.map(ticks);
        std::thread::sleep(std::time::Duration::from_millis(300));
        (0..2).all(|at| ticks(pids[at]) < before[at] + 5)
    });
    // And serve others.
    tree::write(fleet.path(0, "small"), "x");
    fleet.msync(0, &["send", "small"]).ok();
}
