//! Power cuts: daemons and clients that are killed in mid-transfer.

use std::fs;
use std::time::Duration;

use crate::common::{Fleet, eventually, now, tree};

/// Slow enough that whatever a test does happens in mid-transfer: 1 MB a second.
const SLOW: &[&str] = &["-T", "8"];
const FAST: &[&str] = &[];
const TWO_SECONDS: Duration = Duration::from_secs(2);

/// Files in a tree that takes some seconds at [`SLOW`]: small ones, then one that is streamed.
fn make_tree(fleet: &Fleet, seed: u64) {
    for at in 0..40 {
        let path = fleet.path(0, format!("files/{at:02}"));
        tree::write(path, tree::bytes(50_000, seed * 1_000 + at));
    }
    tree::write(fleet.path(0, "streamed"), tree::bytes(5 << 20, seed));
}

/// Waits until the transfer is at the streamed file, and well in it.
#[track_caller]
fn wait_for_the_middle(fleet: &Fleet, at: usize) {
    eventually("the middle", || {
        let staged = fleet.staged(at);
        let stage = fleet.path(at, ".makuosan/stage");
        let size = |name: &String| stage.join(name).metadata().map(|m| m.len());
        fleet.path(at, "files/39").exists() && staged.iter().any(|n| size(n).is_ok_and(|s| s > 0))
    });
}

#[test]
fn a_receiver_is_killed_and_the_others_complete() {
    // With the timeout that is the default.
    let mut fleet = Fleet::with("receiver", &[SLOW, FAST, FAST, FAST]);
    make_tree(&fleet, 1);
    let msync = fleet.msync_start(0, &["send", "-r"]);
    wait_for_the_middle(&fleet, 2);
    fleet.kill(2);
    let killed = now();
    let ran = msync.end();
    let took = killed.elapsed();
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    let line = format!("error: receive time out: {}(h2)", fleet.ip(2));
    assert_eq!(ran.errors(), [line.as_str()]);
    assert!(took < Duration::from_secs(15), "{took:?}");
    for at in [1, 3] {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
    // Nobody waits for it the next time.
    eventually("it is no member", || fleet.members(0) == ["h1", "h3"]);
    tree::write(fleet.path(0, "next"), "x");
    fleet.msync(0, &["send", "next"]).ok();
    // What it had under way does not survive its next start.
    assert!(!fleet.path(2, "streamed").exists());
    assert!(!fleet.staged(2).is_empty());
    fleet.start(2, &[]);
    assert_eq!(fleet.staged(2), [""; 0]);
    fleet.wait_for_members();
    fs::remove_file(fleet.path(0, "streamed")).unwrap();
    fleet.msync(0, &["send", "-r"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
}

#[test]
fn a_receiver_that_is_back_at_once_is_replaced_and_left_out() {
    let mut fleet = Fleet::with("restarted", &[SLOW, FAST, FAST]);
    // Older versions that must stay whole, or become the new ones.
    make_tree(&fleet, 1);
    for at in 1..3 {
        tree::write(fleet.path(at, "streamed"), "old");
    }
    let msync = fleet.msync_start(0, &["send", "-r"]);
    wait_for_the_middle(&fleet, 1);
    fleet.kill(1);
    fleet.start(1, &[]);
    let ran = msync.end();
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    let line = format!("error: member exit: {}(h1)", fleet.ip(1));
    assert_eq!(ran.errors(), [line.as_str()]);
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
    // The new self knows nothing of the transfer and got nothing of it.
    assert_eq!(fs::read(fleet.path(1, "streamed")).unwrap(), b"old");
    assert_eq!(fleet.staged(1), [""; 0]);
    let want = tree::snapshot(&fleet.path(0, "files"));
    let got = tree::snapshot(&fleet.path(1, "files"));
    tree::assert_same(&want, &got);
    // The rest comes with a second send.
    fs::write(fleet.path(0, "streamed"), "short now").unwrap();
    fleet.wait_for_members();
    fleet.msync(0, &["send", "-r"]).ok();
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
}

#[test]
fn a_sender_is_killed_and_its_next_file_is_the_right_one() {
    let mut fleet = Fleet::with("sender", &[SLOW, FAST, FAST]);
    let old = tree::bytes(5 << 20, 77);
    for at in 1..3 {
        tree::write(fleet.path(at, "streamed"), &old);
    }
    make_tree(&fleet, 1);
    let sent = tree::snapshot(&fleet.path(0, "files"));
    let msync = fleet.msync_start(0, &["send", "-r"]);
    wait_for_the_middle(&fleet, 1);
    wait_for_the_middle(&fleet, 2);
    fleet.kill(0);
    let ran = msync.end();
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.err.starts_with("msync: lost the daemon at "), "{ran:?}");
    let whole = |fleet: &Fleet| {
        for at in 1..3 {
            assert!(
                fs::read(fleet.path(at, "streamed")).unwrap() == old,
                "h{at}: not the old file"
            );
            tree::assert_same(&sent, &tree::snapshot(&fleet.path(at, "files")));
        }
    };
    whole(&fleet);
    // Its new self ends what the old one had under way.
    fleet.start(0, &[]);
    fleet.wait_until_clean(TWO_SECONDS);
    whole(&fleet);
    // The same numbers start again; what comes under them is another file.
    let other = tree::bytes(4_500_000, 99);
    tree::write(fleet.path(0, "other"), &other);
    fleet.msync(0, &["send", "other"]).ok();
    for at in 1..3 {
        assert!(fs::read(fleet.path(at, "other")).unwrap() == other, "h{at}: not the other file");
    }
    whole(&fleet);
    fleet.msync(0, &["send", "-r"]).ok();
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
}

#[test]
fn a_sender_killed_among_small_files_leaves_each_old_or_new() {
    let mut fleet = Fleet::with("small", &[&["-T", "16"], FAST, FAST]);
    let count = 600;
    let content = |at: u64, version: u64| tree::bytes(10_000, at * 2 + version);
    for host in 0..3 {
        for at in 0..count {
            let version = u64::from(host == 0);
            tree::write(fleet.path(host, format!("{at:03}")), content(at, version));
        }
    }
    let _msync = fleet.msync_start(0, &["send", "-r"]);
    // Batches of 4 MiB: the first is there, the second on its way.
    eventually("the first batch", || fs::read(fleet.path(1, "000")).unwrap() == content(0, 1));
    fleet.kill(0);
    let mut fresh = [0, 0];
    for host in 1..3 {
        for at in 0..count {
            let got = fs::read(fleet.path(host, format!("{at:03}"))).unwrap();
            let (old, new) = (content(at, 0), content(at, 1));
            assert!(got == old || got == new, "h{host}: {at} is neither");
            fresh[host - 1] += u64::from(got == new);
        }
    }
    assert!(fresh.iter().any(|&fresh| (1..count).contains(&fresh)), "not in the middle: {fresh:?}");
    fleet.start(0, &[]);
    fleet.wait_until_clean(TWO_SECONDS);
    fleet.wait_for_members();
    fleet.msync(0, &["send", "-r"]).ok();
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
}

#[test]
fn a_client_is_killed_and_its_transfer_ends_everywhere() {
    let fleet = Fleet::with("client", &[SLOW, FAST, FAST]);
    make_tree(&fleet, 1);
    for at in 1..3 {
        tree::write(fleet.path(at, "streamed"), "old");
    }
    let mut msync = fleet.msync_start(0, &["send", "-r"]);
    wait_for_the_middle(&fleet, 1);
    wait_for_the_middle(&fleet, 2);
    let status = fleet.console(0).ask("status");
    assert!(status.contains("send op : 1\n"), "{status}");
    let status = fleet.console(1).ask("status");
    assert!(status.contains("recv op : 1\n  from h0 ("), "{status}");
    msync.kill();
    fleet.wait_until_clean(TWO_SECONDS);
    for at in 0..3 {
        eventually("nothing is open", || {
            let status = fleet.console(at).ask("status");
            status.contains("send op : 0\n") && status.contains("recv op : 0\n")
        });
    }
    for at in 1..3 {
        assert_eq!(fs::read(fleet.path(at, "streamed")).unwrap(), b"old");
    }
    // The daemon goes on serving.
    tree::write(fleet.path(0, "streamed"), "new");
    fleet.msync(0, &["send", "-r"]).ok();
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
}
