//! What the log says of transfers afterwards, at the sender and at every receiver.

use std::os::unix::fs::PermissionsExt;

use crate::common::{Fleet, eventually, tree};

/// A fleet that logs as much as it does by default.
fn quiet(name: &str, hosts: usize) -> Fleet {
    Fleet::with(name, &vec![&["-d", "1"][..]; hosts])
}

/// The lines about transfers that a daemon has logged, without their times.
fn trail(fleet: &mut Fleet, at: usize) -> Vec<String> {
    let log = fleet.daemon(at).log();
    let lines = log.lines().filter_map(|line| Some(&line[line.find(" transfer ")? + 1..]));
    lines.map(str::to_owned).collect()
}

/// Waits for so many lines; the last one, with its times of 0.012 s taken out.
#[track_caller]
fn last(fleet: &mut Fleet, at: usize, count: usize) -> String {
    eventually(&format!("{count} lines on h{at}"), || trail(fleet, at).len() >= count);
    let lines = trail(fleet, at);
    assert_eq!(lines.len(), count, "{lines:?}");
    let words: Vec<&str> = lines[count - 1].split(' ').collect();
    let is_time = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
    let words: Vec<&str> =
        words.iter().map(|word| if is_time(word) { "TIME" } else { *word }).collect();
    words.join(" ")
}

/// The name that both sides have for a transfer.
fn key(line: &str) -> &str {
    line.split(' ').nth(1).unwrap()
}

#[test]
fn every_transfer_is_one_line_on_each_side() {
    let mut fleet = quiet("trail", 3);
    tree::write(fleet.path(0, "d/a"), "12345");
    tree::write(fleet.path(0, "d/b"), "1234567");
    tree::write(fleet.path(1, "d/old"), "x");
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    fleet.msync(0, &["send", "-r", "--delete", "d"]).ok();
    let sent = last(&mut fleet, 0, 1);
    let want = format!(
        "transfer {} to 2 hosts: send with deletion of d: 2 files, 12 bytes, 0 unchanged, 1 deleted, \
         0 errors in TIME s: complete; \"send -r --delete d\" by uid {uid} at ",
        key(&sent)
    );
    assert!(sent.starts_with(&want), "{sent}");
    for (at, deleted) in [(1, 1), (2, 0)] {
        let got = last(&mut fleet, at, 1);
        let want = format!(
            "transfer {} from h0 ({}): send with deletion of d: 2 files, 12 bytes, 0 unchanged, {deleted} \
             deleted, 0 errors in TIME s: complete",
            key(&sent),
            fleet.ip(0)
        );
        assert_eq!(got, want);
    }
    // Nothing new, a dry run, a check: each is a line too.
    fleet.msync(0, &["send", "-r"]).ok();
    assert!(last(&mut fleet, 0, 2).contains("0 files, 0 bytes, 2 unchanged, 0 deleted"));
    assert!(last(&mut fleet, 1, 2).contains(": send of the base directory: 0 files, "));
    fleet.msync(0, &["-n", "-I", "d/a"]).ok();
    assert!(last(&mut fleet, 0, 3).contains(": complete; \"send -n -I d/a\" by "));
    assert!(last(&mut fleet, 1, 3).ends_with("0 errors in TIME s: complete"));
    fleet.msync(0, &["check", "d/a"]).ok();
    assert!(last(&mut fleet, 1, 4).ends_with("0 errors in TIME s: complete"));
    // What a path was that is gone.
    std::fs::remove_file(fleet.path(0, "d/a")).unwrap();
    fleet.msync(0, &["sync", "d/a"]).ok();
    assert!(last(&mut fleet, 0, 5).contains(" 1 deleted, 0 errors in "));
    let got = last(&mut fleet, 2, 5);
    assert!(got.contains(": deletion of d/a: ") && got.contains(" 1 deleted"), "{got}");
}

#[test]
fn a_check_and_a_dry_run_count_what_they_looked_at_on_each_side() {
    let mut fleet = quiet("trail-looks", 2);
    tree::write(fleet.path(0, "d/a"), "12345");
    tree::write(fleet.path(0, "d/b"), "1234567");
    fleet.msync(0, &["send", "-r", "d"]).ok();
    tree::write(fleet.path(0, "d/b"), "12345678");
    tree::write(fleet.path(1, "d/mine"), "x");
    for (at, (args, counts)) in [
        (
            &["check", "-r", "d"][..],
            ": 1 file, 0 bytes, 1 unchanged, 0 deleted, 0 errors in TIME s: ",
        ),
        (&["send", "-rn", "d"], ": 1 file, 8 bytes, 1 unchanged, 0 deleted, 0 errors in TIME s: "),
        (
            &["send", "-rn", "--delete", "d"],
            ": 1 file, 8 bytes, 1 unchanged, 1 deleted, 0 errors in TIME s: ",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        fleet.msync(0, args);
        for host in 0..2 {
            let line = last(&mut fleet, host, at + 2);
            assert!(line.contains(counts), "{line}");
        }
    }
    tree::write(fleet.path(1, "d/b"), "12345678");
    fleet.msync(0, &["check", "d/b"]);
    let line = last(&mut fleet, 1, 5);
    assert!(
        line.contains(": check of d/b: 0 files, 0 bytes, 1 unchanged, 0 deleted, 0 "),
        "{line}"
    );
}

#[test]
fn what_went_wrong_is_in_the_lines_with_who_and_why() {
    let mut fleet =
        Fleet::with("trail-wrong", &[&["-d", "1", "-T", "8"], &["-d", "1"], &["-d", "1"]]);
    tree::write(fleet.path(0, "f"), "x");
    tree::write(fleet.path(0, "g"), "x");
    tree::write(fleet.path(2, "f/full"), "x");
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let sent = last(&mut fleet, 0, 1);
    assert!(
        sent.contains(" 1 error in ") && sent.contains(": incomplete on h2; \"send -r\" by "),
        "{sent}"
    );
    assert!(last(&mut fleet, 1, 1).ends_with(": complete"));
    let got = last(&mut fleet, 2, 1);
    assert!(
        got.contains(": incomplete")
            && got.contains("1 file, 1 byte, 0 unchanged, 0 deleted, 1 error in "),
        "{got}"
    );
    // What does not begin is a line at the sender.
    for (args, why) in [
        (&["nowhere"][..], "No such file or directory nowhere"),
        (&["-t", "h9", "g"], "h9 is not contained in members"),
        (&["-g", "no-such-group", "g"], "not found group no-such-group"),
    ] {
        let count = trail(&mut fleet, 0).len() + 1;
        fleet.msync(0, args);
        let line = last(&mut fleet, 0, count);
        let path = args.last().unwrap();
        let said = format!("transfer refused: send of {path}: {why}; \"send ");
        assert!(line.starts_with(&said) && line.contains("\" by uid "), "{line}");
    }
    // A client that goes away.
    tree::write(fleet.path(0, "big"), tree::bytes(20_000_000, 1));
    let count = trail(&mut fleet, 0).len() + 1;
    let mut msync = fleet.msync_start(0, &["send", "big"]);
    fleet.wait_until_staged(1);
    msync.kill();
    let line = last(&mut fleet, 0, count);
    assert!(line.contains(": aborted: given up: its client has gone"), "{line}");
    eventually("the receiver's line", || {
        trail(&mut fleet, 1).last().is_some_and(|line| line.contains(": aborted: "))
    });
    let got = trail(&mut fleet, 1).pop().unwrap();
    assert!(
        got.contains("h0 (") && got.contains(" of big: ") && got.contains("called it off"),
        "{got}"
    );
}

#[test]
fn a_caller_at_the_unix_socket_is_its_user() {
    let mut fleet = Fleet::idle("trail-unix", 2);
    let socket = fleet.dir().join("sock");
    fleet.start(0, &["-d", "1", "-U", socket.to_str().unwrap()]);
    fleet.start(1, &["-d", "1"]);
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    tree::write(fleet.path(0, "f"), "x");
    let mut console = crate::common::Console::open_unix(&socket);
    eventually("members", || console.ask("members").contains("Total: 1 members"));
    console.ask("send f");
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    let line = last(&mut fleet, 0, 1);
    assert!(line.contains(": send of f: 1 file, "), "{line}");
    assert!(line.ends_with(&format!(": complete; \"send f\" by uid {uid}")), "{line}");
}

#[test]
fn each_level_says_more_than_the_one_below() {
    let levels = ["0", "1", "2", "5", "9"];
    let options: Vec<[&str; 2]> = levels.iter().map(|level| ["-d", level]).collect();
    let options: Vec<&[&str]> = options.iter().map(<[&str; 2]>::as_slice).collect();
    let mut fleet = Fleet::with("trail-levels", &options);
    tree::write(fleet.path(0, "from-0"), "x");
    fleet.msync(0, &["from-0"]).ok();
    for at in 0..5 {
        tree::write(fleet.path(at, "own"), format!("{at}"));
        fleet.msync(at, &["own"]).ok();
    }
    let marks = [" to 4 hosts: ", " started\n", ": send own\n", ": own: Updated"];
    for (at, level) in levels.iter().enumerate() {
        eventually("the last line", || at == 0 || trail(&mut fleet, at).len() > 4);
        let log = fleet.daemon(at).log();
        let shown: Vec<bool> = marks.iter().map(|mark| log.contains(mark)).collect();
        let want: Vec<bool> = (0..4).map(|mark| mark < at).collect();
        assert_eq!(shown, want, "-d {level}: {log}");
    }
}

/// The fields of a line: what it is about, its counts, how it ended.
fn fields(line: &str) -> Vec<String> {
    let line = line.split("; \"").next().unwrap();
    line.split(": ").skip(1).map(str::to_owned).collect()
}

#[test]
fn one_search_finds_what_became_of_a_path_on_every_host() {
    let mut fleet = quiet("trail-search", 3);
    tree::write(fleet.path(0, "htdocs/a"), "12345");
    fleet.msync(0, &["send", "-r", "htdocs"]).ok();
    let sent = last(&mut fleet, 0, 1);
    assert!(sent.contains(" of htdocs: "), "{sent}");
    for at in [1, 2] {
        assert_eq!(fields(&last(&mut fleet, at, 1)), fields(&sent));
    }
    // One host that wants it back: its line says who has asked, that of the other host for whom.
    std::fs::remove_file(fleet.path(1, "htdocs/a")).unwrap();
    fleet.msync(1, &["fetch", "-r", "--from", "h0", "htdocs"]).ok();
    let got = last(&mut fleet, 1, 2);
    let given = last(&mut fleet, 0, 2);
    let from = format!("from h0 ({}): send of htdocs: 1 file, 5 bytes, ", fleet.ip(0));
    assert!(got.contains(&from), "{got}");
    assert!(got.contains(": complete; \"fetch -r --from h0 htdocs\" by uid "), "{got}");
    assert_eq!(fields(&got), fields(&given));
    assert!(given.ends_with("; \"fetch htdocs\" by host h1"), "{given}");
    // What the other host does not have is a line on both.
    fleet.msync(1, &["fetch", "--from", "h0", "nowhere"]);
    for (at, command) in
        [(1, "\"fetch --from h0 nowhere\" by uid "), (0, "\"fetch nowhere\" by host h1")]
    {
        let line = last(&mut fleet, at, 3);
        assert!(line.starts_with("transfer refused: send of nowhere: No such file or directory"));
        assert!(line.contains(command), "{line}");
    }
    // Who was away, and catches up.
    fleet.stop(2);
    tree::write(fleet.path(0, "htdocs/b"), "1");
    fleet.msync(0, &["send", "-r", "htdocs"]).ok();
    fleet.start(2, &["-d", "1"]);
    eventually("it is there", || fleet.path(2, "htdocs/b").exists());
    let got = last(&mut fleet, 2, 1);
    assert!(got.contains(": send of htdocs: ") && got.ends_with(": complete"), "{got}");
    // Of two hosts that have it, one gives it.
    let given = || -> Option<String> {
        let mut all = trail(&mut fleet, 0);
        all.extend(trail(&mut fleet, 1));
        all.into_iter().find(|line| line.contains(" once more\" by a host that lacks it"))
    };
    let given = crate::common::within(std::time::Duration::from_secs(20), "its line", given);
    assert!(given.contains(" to 1 host: send of htdocs: "), "{given}");
    assert_eq!(key(&given), key(&got));
}

#[test]
fn each_flush_of_a_watch_is_a_line_of_its_path() {
    let mut fleet = Fleet::idle("trail-watch", 2);
    tree::write(fleet.path(0, "htdocs/a"), "1");
    fleet.start(0, &["-d", "1", "-w", "htdocs", "--watch-delete", "--delay", "0"]);
    fleet.start(1, &["-d", "1"]);
    fleet.wait_for_members();
    eventually("it is there", || fleet.path(1, "htdocs/a").exists());
    fleet.msync(0, &["flush"]).ok();
    tree::write(fleet.path(0, "htdocs/b"), "12");
    fleet.msync(0, &["flush"]).ok();
    let got = trail(&mut fleet, 1).pop().unwrap();
    let sent = trail(&mut fleet, 0).into_iter().find(|line| key(line) == key(&got)).unwrap();
    assert!(got.contains(" of htdocs: 1 file, 2 bytes, "), "{got}");
    assert!(sent.ends_with(": complete; \"watch --delete htdocs\" by this daemon"), "{sent}");
    let part = |line: &str| fields(line)[0].clone();
    assert_eq!(part(&got), part(&sent));
}
