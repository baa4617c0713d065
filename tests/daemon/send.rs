//! What arrives, and what is said of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use crate::common::process::{self, MSYNC, command};
use crate::common::{Fleet, is_root, skip, tree};

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn an_odd_tree_arrives_whole_and_once() {
    let fleet = Fleet::new("odd", 3);
    tree::make_odd(&fleet.base(0));
    let want = tree::snapshot(&fleet.base(0));
    let (lines, total) = fleet.console(0).send("send -r");
    assert_eq!(lines, [""; 0]);
    assert_eq!((total.hosts, total.failed, total.errors), (2, 0, 0));
    for at in 1..3 {
        tree::assert_same(&want, &tree::snapshot(&fleet.base(at)));
        assert_eq!(fleet.staged(at), [""; 0]);
    }
    // The source itself is as it was.
    tree::assert_same(&want, &tree::snapshot(&fleet.base(0)));
    let body: usize = want.values().map(|entry| entry.content.len()).sum();
    assert!(total.bytes as usize <= body && total.bytes as usize > body - 100_000, "{total:?}");

    let before = tree::untouched(&fleet.base(1));
    let (lines, again) = fleet.console(0).send("send -r");
    assert_eq!(lines, [""; 0]);
    assert_eq!((again.hosts, again.failed, again.errors), (2, 0, 0));
    assert_eq!((again.files, again.bytes), (0, 0), "{again:?}");
    assert_eq!(again.unchanged, total.files, "{again:?}");
    // The names take something; the bodies would take 6 MB.
    assert!(again.wire < 300_000, "{again:?}");
    assert_eq!(tree::untouched(&fleet.base(1)), before);
}

#[test]
fn one_file_brings_the_directories_on_its_way_and_nothing_else() {
    let fleet = Fleet::new("one", 3);
    tree::write(fleet.path(0, "a/b/file"), "content");
    tree::write(fleet.path(0, "a/b/other"), "other");
    tree::write(fleet.path(0, "a/other"), "other");
    tree::set_mode(&fleet.path(0, "a/b"), 0o711);
    tree::set_mtime(&fleet.path(0, "a/b"), 1_000_000_000, 5);
    tree::set_mtime(&fleet.path(0, "a"), 1_000_000_001, 6);
    fleet.msync(0, &["send", "a/b/file"]).ok();
    let mut want = tree::snapshot(&fleet.base(0));
    want.retain(|path, _| !path.ends_with(b"other"));
    for at in 1..3 {
        tree::assert_same(&want, &tree::snapshot(&fleet.base(at)));
    }
    // A directory without -r comes alone.
    fs::create_dir(fleet.path(0, "c")).unwrap();
    tree::write(fleet.path(0, "c/file"), "x");
    tree::set_mtime(&fleet.path(0, "c"), 1_000_000_002, 7);
    fleet.msync(0, &["send", "c"]).ok();
    let got = tree::snapshot(&fleet.base(1));
    assert!(got.contains_key(&b"c"[..]) && !got.contains_key(&b"c/file"[..]));
    assert_eq!(got[&b"c"[..]].mtime, (1_000_000_002, 7));
    // A subtree, several, and the older spelling.
    fleet.msync(0, &["-r", "c", "a"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
}

#[test]
fn every_name_can_be_said() {
    let fleet = Fleet::new("said", 2);
    let names: [&[u8]; 13] = [
        b"new\nline",
        b"with spaces",
        b" leading",
        b"trailing ",
        b"-r",
        b"--",
        b"send",
        b"\xff\xfe",
        b"quote\"s",
        b"back\\slash",
        b"> prompt",
        b"\x7f\x1b",
        &[b'x'; 255],
    ];
    for name in names {
        tree::write(fleet.path(0, OsStr::from_bytes(name)), name);
        let ran = fleet.msync(0, &[OsStr::new("send"), OsStr::new("--"), OsStr::from_bytes(name)]);
        ran.ok();
        let got = fs::read(fleet.path(1, OsStr::from_bytes(name))).unwrap();
        assert_eq!(got, name);
    }
    assert_eq!(tree::snapshot(&fleet.base(1)).len(), names.len());
}

#[test]
fn what_differs_is_brought_up_to_date_and_no_more() {
    let fleet = Fleet::new("differs", 2);
    let base = fleet.base(0);
    for name in ["same", "content", "mode", "mtime", "grown", "d/file"] {
        tree::write(base.join(name), tree::bytes(50_000, 1));
        tree::set_mtime(&base.join(name), 1_600_000_000, 1);
    }
    tree::write(fleet.path(1, "only-there"), "x");
    fleet.msync(0, &["send", "-r"]).ok();
    fs::remove_file(fleet.path(1, "only-there")).unwrap();
    tree::assert_equal_dirs(&base, &fleet.base(1));
    let before = tree::untouched(&fleet.base(1));

    // The same size, one nanosecond later.
    tree::write(base.join("content"), tree::bytes(50_000, 2));
    tree::set_mtime(&base.join("content"), 1_600_000_000, 2);
    tree::set_mode(&base.join("mode"), 0o600);
    tree::set_mtime(&base.join("mtime"), 1_600_000_001, 1);
    tree::write(base.join("grown"), tree::bytes(50_001, 1));
    tree::set_mtime(&base.join("grown"), 1_600_000_000, 1);
    let (lines, total) = fleet.console(0).send("send -r");
    assert_eq!((lines.len(), total.files, total.unchanged), (0, 4, 2), "{lines:?} {total:?}");
    assert_eq!(total.bytes, 150_001, "the mode alone takes no body");
    tree::assert_equal_dirs(&base, &fleet.base(1));
    let after = tree::untouched(&fleet.base(1));
    for name in [&b"same"[..], b"d", b"d/file"] {
        assert_eq!(before[name], after[name], "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(before[&b"mode"[..]].0, after[&b"mode"[..]].0, "no new file for a mode");

    // What was changed there goes back to what it is here.
    tree::write(fleet.path(1, "same"), "changed there");
    fs::remove_file(fleet.path(1, "mode")).unwrap();
    tree::set_mode(&fleet.path(1, "d"), 0o700);
    fleet.msync(0, &["send", "-r"]).ok();
    tree::assert_equal_dirs(&base, &fleet.base(1));
}

#[test]
fn one_type_takes_the_place_of_another() {
    let fleet = Fleet::new("types", 2);
    // Something of every type, in the place of everything else but a full directory.
    let make = |path: &std::path::Path, kind: usize| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match kind {
            0 => tree::write(path, "file"),
            1 => symlink("target", path).unwrap(),
            2 => fs::create_dir(path).unwrap(),
            3 => symlink(".", path).unwrap(),
            _ => {
                let made = process::run(command("mkfifo").arg(path));
                assert_eq!(made.code, Some(0), "{made:?}");
            }
        }
    };
    for here in 0..5 {
        for there in 0..5 {
            make(&fleet.path(0, format!("{here}/{there}")), here);
            // A directory may only become something else while nothing else is needed for it.
            if here != 2 || there == 2 {
                make(&fleet.path(1, format!("{here}/{there}")), there);
            }
        }
    }
    fleet.msync(0, &["send", "-r"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_it_would() {
    let fleet = Fleet::new("dry", 3);
    tree::write(fleet.path(0, "both"), "x");
    fleet.msync(0, &["send", "-r"]).ok();
    tree::write(fleet.path(0, "new"), "new");
    tree::write(fleet.path(0, "dir/new"), "new");
    let before = [1, 2].map(|at| tree::untouched(&fleet.base(at)));
    let ran = fleet.msync(0, &["send", "-r", "-n"]).ok();
    // One line whatever the number of hosts.
    let want = ["dir", "dir/new", "new"].map(|path| format!("(dryrun) [update:{path}]\n"));
    assert_eq!(ran.out, want.concat());
    let ran = fleet.msync(0, &["-v", "send", "-rn"]);
    let lines = sorted(&ran.out);
    let each =
        |host: &str| ["dir", "dir/new", "new"].map(|path| format!("(dryrun) update {host}:{path}"));
    assert_eq!(lines, [each("h1"), each("h2")].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.starts_with("(dryrun) 2 files, "), "{ran:?}");
    assert_eq!([1, 2].map(|at| tree::untouched(&fleet.base(at))), before);
}

#[test]
fn only_to_those_named() {
    let fleet = Fleet::new("named", 4);
    let has = |at: usize, name: &str| fleet.path(at, name).exists();
    let sent_to = |name: &str| [1, 2, 3].map(|at| has(at, name));
    let ip = fleet.ip(2).to_string();
    for (name, args, want) in [
        ("name", &["-t", "h1", "send", "-r"][..], [true, false, false]),
        ("address", &["send", "-r", "-t", &ip], [false, true, false]),
        ("several", &["send", "-t", "h1", "-t", "h3", "several"], [true, false, true]),
        ("same", &["-t", "h2", "-t", &ip, "-r"], [false, true, false]),
        ("all", &["send", "-r"], [true; 3]),
    ] {
        tree::write(fleet.path(0, name), "x");
        fleet.msync(0, args).ok();
        assert_eq!(sent_to(name), want, "{args:?}");
    }
    // Whoever names a host that is not there wants to know before anything is done.
    tree::write(fleet.path(0, "nobody"), "x");
    let own = fleet.ip(0).to_string();
    for unknown in ["nobody", "h0", "127.0.0.1", own.as_str()] {
        let ran = fleet.msync(0, &["send", "-r", "-t", unknown, "-t", "h1"]);
        let line = format!(
            "error: {unknown} is not contained in members\nmsync: the members are h1, h2, h3\n"
        );
        assert_eq!((ran.code, ran.out.as_str(), ran.err), (Some(2), "", line));
    }
    assert_eq!(sent_to("nobody"), [false; 3]);
}

#[test]
fn a_name_that_two_have_names_neither() {
    let mut fleet = Fleet::idle("ambiguous", 3);
    fleet.start(0, &[]);
    fleet.start(1, &["-N", "twin"]);
    fleet.start(2, &["-N", "twin"]);
    crate::common::eventually("both", || fleet.members(0) == ["twin", "twin"]);
    tree::write(fleet.path(0, "file"), "x");
    let ran = fleet.msync(0, &["send", "-t", "twin", "file"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let line = "error: twin is the name of several members: ";
    assert!(ran.errors().len() == 1 && ran.err.starts_with(line), "{ran:?}");
    assert!(!fleet.path(1, "file").exists() && !fleet.path(2, "file").exists());
    fleet.msync(0, &["send", "-t", &fleet.ip(1).to_string(), "file"]).ok();
    assert!(fleet.path(1, "file").exists() && !fleet.path(2, "file").exists());
}

#[test]
fn nobody_to_send_to_and_nobody_to_ask() {
    let mut fleet = Fleet::new("nobody", 1);
    tree::write(fleet.path(0, "file"), "x");
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!(ran.code, Some(2));
    let later = "msync: no members to send to: hosts that come later get it\n";
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", later));
    // Members alone, on the other hand, is a question that has an answer.
    assert_eq!(fleet.msync(0, &["members"]).ok().out, "Total: 0 members\n");
    let target = fleet.target(0);
    fleet.stop(0);
    for args in [&["send", "-r"][..], &["members"], &["status"]] {
        let ran = fleet.msync(0, args);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let line = format!(
            "msync: cannot reach the daemon at {target}: Connection refused: is makuosan running?\n"
        );
        assert_eq!((ran.out.as_str(), ran.err), ("", line));
    }
    let missing = fleet.dir().join("no-socket");
    let ran = process::run(command(MSYNC).arg("-c").arg(&missing).arg("members"));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("No such file or directory"), "{ran:?}");
}

#[test]
fn lines_by_level() {
    let fleet = Fleet::new("levels", 3);
    tree::write(fleet.path(0, "old"), "old");
    assert_eq!(fleet.msync(0, &["send", "-r"]).ok().out, "");
    tree::write(fleet.path(0, "dir/new\n"), "new");
    let ran = fleet.msync(0, &["-v", "send", "-r", "-t", "h1"]);
    assert_eq!(sorted(&ran.out), ["update h1:dir", "update h1:dir/new\\012"]);
    assert_eq!(ran.code, Some(0));
    let summary = ran.err.strip_prefix("1 file, 3 B to 1 host in ");
    assert!(summary.is_some_and(|rest| rest.ends_with("; 1 unchanged\n")), "{ran:?}");
    let ran = fleet.msync(0, &["-v", "-v", "send", "-r"]);
    let mut want = ["skip   h1:dir", "skip   h1:dir/new\\012", "skip   h1:old", "skip   h2:old"]
        .map(str::to_owned)
        .to_vec();
    want.extend(["update h2:dir", "update h2:dir/new\\012"].map(str::to_owned));
    assert_eq!(sorted(&ran.out), want);
    let ran = fleet.msync(0, &["-l", "2", "send", "old"]);
    assert_eq!(sorted(&ran.out), ["skip   h1:old", "skip   h2:old"]);
    assert_eq!(fleet.msync(0, &["-q", "-l", "2", "send", "-r"]).ok().out, "");
}

#[test]
fn paths_that_cannot_be_sent() {
    let fleet = Fleet::new("paths", 2);
    tree::write(fleet.path(0, "file"), "x");
    tree::write(fleet.dir().join("outside"), "outside");
    symlink("../../outside", fleet.path(0, "out")).unwrap();
    symlink("..", fleet.path(0, "up")).unwrap();
    // The daemon finds out.
    let ran = fleet.msync(0, &["send", "missing"]);
    let line = "error: No such file or directory missing\n";
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(2), "", line));
    let ran = fleet.msync(0, &["send", "file/below"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.err, "error: Not a directory file/below\n");
    let ran = fleet.msync(0, &["send", "up/outside"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let line = "error: Symbolic link in path up/outside";
    assert!(ran.errors().len() == 1 && ran.errors()[0].starts_with(line), "{ran:?}");
    // The client itself does.
    let outside = fleet.dir().join("outside").to_str().unwrap().to_owned();
    for path in ["../outside", outside.as_str(), "/etc/hostname", ".makuosan", "a/.makuosan/b"] {
        let ran = fleet.msync(0, &["send", path]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.err.starts_with(&format!("msync: {path}: ")), "{ran:?}");
    }
    // Nor does the daemon believe a client.
    let mut console = fleet.console(0);
    for path in ["../outside", "/etc/hostname", ".makuosan", "file/../file"] {
        let answer = console.ask(&format!("send {path}"));
        assert!(answer.starts_with("error: ") && answer.lines().count() == 1, "{path}: {answer}");
    }
    assert_eq!(tree::snapshot(&fleet.base(1)).len(), 0);
    // An absolute path below the base is as good as any.
    let path = fleet.path(0, "file");
    fleet.msync(0, &[OsStr::new("send"), path.as_os_str()]).ok();
    assert!(fleet.path(1, "file").exists());
}

#[test]
fn what_is_not_sent_is_said() {
    let fleet = Fleet::new("not-sent", 2);
    tree::write(fleet.path(0, "file"), "x");
    let _socket = UnixListener::bind(fleet.path(0, "socket")).unwrap();
    let ran = fleet.msync(0, &["send", "-r"]).ok();
    assert_eq!(ran.out, "skip: unix domain socket socket\n");
    let got: Vec<Vec<u8>> = tree::snapshot(&fleet.base(1)).into_keys().collect();
    assert_eq!(got, [b"file"]);
}

#[test]
fn what_the_sender_may_not_read_fails_and_the_rest_arrives() {
    let mut fleet = Fleet::idle("unreadable", 2);
    tree::write(fleet.path(0, "closed"), "secret");
    tree::write(fleet.path(0, "dir/closed/file"), "secret");
    tree::write(fleet.path(0, "open"), "open");
    tree::set_mode(&fleet.path(0, "closed"), 0);
    tree::set_mode(&fleet.path(0, "dir/closed"), 0);
    match is_root() {
        true => {
            std::os::unix::fs::chown(fleet.base(0), Some(65_534), None).unwrap();
            fleet.start(0, &["-u", "nobody"]);
        }
        false => fleet.start(0, &[]),
    }
    fleet.start(1, &[]);
    fleet.wait_for_members();
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    let mut errors = ran.errors();
    errors.sort_unstable();
    assert_eq!(errors, ["error: Permission denied closed", "error: Permission denied dir/closed"]);
    assert_eq!(fs::read(fleet.path(1, "open")).unwrap(), b"open");
    assert!(!fleet.path(1, "closed").exists());
    assert!(!fleet.path(1, "dir/closed/file").exists());
    if !is_root() {
        skip("unreadable files of others", "not root");
    }
}

#[test]
fn both_ways_at_once() {
    let fleet = Fleet::new("both-ways", 3);
    for at in 0..3 {
        for file in 0..20 {
            let path = fleet.path(at, format!("from{at}/{file}"));
            tree::write(path, tree::bytes(20_000 * file, file as u64));
        }
    }
    let own: Vec<_> =
        (0..3).map(|at| tree::snapshot(&fleet.path(at, format!("from{at}")))).collect();
    // Twice from the first: two transfers of one sender at once, too.
    let runs = [0, 1, 2, 0].map(|at| fleet.msync_start(at, &["send", "-r", &format!("from{at}")]));
    runs.into_iter().for_each(|run| drop(run.end().ok()));
    for at in 0..3 {
        for (from, own) in own.iter().enumerate() {
            tree::assert_same(own, &tree::snapshot(&fleet.path(at, format!("from{from}"))));
        }
        assert_eq!(fleet.staged(at), [""; 0]);
    }
}

#[test]
fn two_senders_of_one_path_leave_what_one_of_them_has() {
    let fleet = Fleet::new("two-senders", 4);
    let content = |from: usize| tree::bytes(4_500_000, from as u64);
    for from in 0..2 {
        tree::write(fleet.path(from, "dir/big"), content(from));
        for at in 0..50 {
            let small = fleet.path(from, format!("dir/{at}"));
            tree::write(small, tree::bytes(10_000, (from * 100 + at) as u64));
        }
    }
    for _ in 0..3 {
        let args = ["send", "-r", "dir", "-t", "h2", "-t", "h3"];
        let runs = [0, 1].map(|from| fleet.msync_start(from, &args));
        runs.into_iter().for_each(|run| drop(run.end().ok()));
        let have = [0, 1].map(|from| tree::snapshot(&fleet.base(from)));
        for at in 2..4 {
            let got = tree::snapshot(&fleet.base(at));
            assert_eq!(got.len(), have[0].len());
            for (path, entry) in got {
                let name = String::from_utf8_lossy(&path);
                let same = |from: &tree::Tree| from[&path].content == entry.content;
                assert!(have.iter().any(same), "h{at}: {name} is neither's");
            }
            assert_eq!(fleet.staged(at), [""; 0]);
        }
    }
}
