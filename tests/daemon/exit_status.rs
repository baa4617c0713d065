//! The exit statuses of the client, row by row as the manual page lists them.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::process::{MSYNC, Ran, command, run};
use crate::common::{Fleet, tree};

/// The rows of the table in msync(1): status and words.
fn rows() -> Vec<(i32, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/man/msync.1");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split(".Sh EXIT STATUS\n").nth(1).unwrap().split("\n.Sh ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix(".It ")?.split_once(" Ta "));
    rows.filter_map(|(status, words)| Some((status.parse().ok()?, words.to_owned()))).collect()
}

#[test]
fn every_exit_status_is_that_of_the_page() {
    let mut fleet = Fleet::with("exit-status", &[&["--mirror", "mirrored"], &[], &["-s"]]);
    tree::write(fleet.path(0, "good"), "x");
    tree::write(fleet.path(0, "d/f"), "x");
    tree::write(fleet.path(1, "stays"), "x");
    tree::write(fleet.path(1, "in-the-way/full"), "x");
    tree::write(fleet.path(0, "in-the-way"), "x");
    symlink("d", fleet.path(0, "link")).unwrap();
    let many: Vec<String> = (0..120).map(|at| format!("many/{at}")).collect();
    for host in 0..3 {
        tree::write(fleet.path(host, "many/0"), "x");
    }
    many.iter().for_each(|name| tree::write(fleet.path(1, name), "x"));
    let outside = format!("{}/elsewhere", fleet.dir().display());
    let through = fleet.path(0, "link/f").to_str().unwrap().to_owned();
    let empty = fleet.dir().join("empty");
    tree::write(&empty, "");
    let empty = empty.to_str().unwrap();
    fleet.msync(0, &["send", "good"]).ok();

    let mut seen = Vec::new();
    let mut row =
        |status: i32, words: &str, runs: &[(&str, &[&str])], ran: &dyn Fn(&[&str]) -> Ran| {
            seen.push((status, words.to_owned()));
            for (said, args) in runs {
                let ran = ran(args);
                assert_eq!(ran.code, Some(status), "{words}: {args:?}: {ran:?}");
                assert!(ran.err.contains(said), "{words}: {args:?}: {ran:?}");
            }
        };
    let here = |args: &[&str]| fleet.msync(0, args);
    let alone: &dyn Fn(&[&str]) -> Ran = &|args| run(command(MSYNC).args(args).current_dir("/"));
    row(
        0,
        "every host has everything, or the list was shown",
        &[
            ("", &["send", "good"]),
            ("", &["-r", "d"]),
            ("", &["-n", "d/f"]),
            ("", &["check", "good"]),
            ("", &["sync", "gone-everywhere"]),
            ("", &["--delete", "gone-everywhere"]),
            ("", &["members"]),
            ("", &["mirror"]),
            ("", &["conflicts"]),
            ("", &["conflicts", "drop", "--all"]),
            ("", &["status"]),
        ],
        &here,
    );
    row(
        1,
        "an option, command or value that is not understood",
        &[
            ("no such option", &["--nonsense"]),
            ("a PATH is missing", &["send"]),
            ("no such command", &["sned"]),
            ("a log level is", &["-l", "x", "-r"]),
            ("not an option of members", &["members", "-r"]),
        ],
        &here,
    );
    row(
        1,
        "a PATH outside the base directory",
        &[
            ("not below the base directory", &["send", &outside]),
            ("", &["send", "../elsewhere"]),
            ("", &["check", "d/../../x"]),
            ("", &["sync", "-r", "/"]),
        ],
        &here,
    );
    row(
        1,
        "a PATH through a symbolic link",
        &[
            ("Symbolic link in path", &["send", "link/f"]),
            ("Symbolic link in path", &["-n", "send", &through]),
            ("Symbolic link in path", &["check", "-r", "link/f"]),
            ("Symbolic link in path", &["sync", "link/f"]),
            ("Symbolic link in path", &["--delete", "link/gone"]),
            ("Symbolic link in path", &["dsync", "link/f"]),
            ("Symbolic link in path", &["--json", "link/f"]),
        ],
        &here,
    );
    row(
        1,
        "a PATH that is never sent: .makuosan, or a name too long",
        &[
            ("", &["send", ".makuosan"]),
            ("", &["send", "d/.makuosan/x"]),
            ("", &[&"x".repeat(300)]),
        ],
        &here,
    );
    row(1, "the base directory itself without -r", &[("needs -r", &["send", "."])], &here);
    row(
        1,
        "a file of -K, -f, --exclude-from or --files-from, or a pattern, that cannot be used",
        &[
            ("-K /nonexistent", &["-K", "/nonexistent", "-r"]),
            ("no password", &["-K", empty, "-r"]),
            ("-f /nonexistent", &["-f", "/nonexistent"]),
            ("--exclude-from /nonexistent", &["--exclude-from", "/nonexistent", "-r"]),
            ("--files-from /nonexistent", &["--files-from", "/nonexistent"]),
            ("--exclude", &["--exclude", "[a", "-r"]),
        ],
        &here,
    );
    row(
        1,
        "no daemon, none that lets you in, or the connection was lost",
        &[
            ("is makuosan running?", &["-c", "unix:/nonexistent", "members"]),
            ("is makuosan running?", &["-c", "tcp:127.0.0.1:1", "--json", "members"]),
        ],
        alone,
    );
    row(
        2,
        "doctor: something failed, also the connection to the daemon",
        &[
            ("", &["-c", "unix:/nonexistent", "doctor"]),
            ("", &["-c", "unix:/nonexistent", "doctor", "--json"]),
        ],
        alone,
    );
    row(
        1,
        "watch: no directory, watched already, or the daemon never sends",
        &[("No such file", &["watch", "nowhere"]), ("Not a directory", &["watch", "good"])],
        &here,
    );
    row(
        1,
        "flush, watch release: nothing is watched there",
        &[
            ("nothing is watched", &["flush", "good"]),
            ("nothing is watched", &["watch", "release", "good"]),
        ],
        &here,
    );
    row(
        1,
        "mirror, conflicts: nothing is mirrored there, or no such version",
        &[
            ("nothing is mirrored", &["mirror", "release", "good"]),
            ("nothing is mirrored", &["mirror", "adopt", "--json", "good"]),
            ("nothing is mirrored", &["conflicts", "drop", "good"]),
            ("no other version", &["conflicts", "take", "mirrored/f"]),
            ("no other version", &["conflicts", "take", "mirrored/f", "x"]),
        ],
        &here,
    );
    row(
        2,
        "mirror, conflicts: what was asked could not be done",
        &[("nothing was heard of other hosts", &["mirror", "adopt", "mirrored"])],
        &here,
    );
    row(
        2,
        "a PATH that does not exist",
        &[
            ("No such file", &["send", "nowhere"]),
            ("No such file", &["-r", "nowhere/x"]),
            ("Not a directory", &["send", "good/x"]),
            ("No such file", &["check", "nowhere"]),
            ("No such file", &["sync", "-r", "nowhere"]),
            ("No such file", &["--json", "-n", "nowhere"]),
            ("No such file", &["send", "good", "nowhere"]),
        ],
        &here,
    );
    row(
        2,
        "a host of -t or a group of -g that is not known or not allowed",
        &[
            ("not contained", &["-t", "nobody", "good"]),
            ("not found group", &["-g", "no-such-group", "good"]),
        ],
        &here,
    );
    row(
        2,
        "something failed on a host, or it stopped answering",
        &[
            ("Directory not empty", &["send", "in-the-way"]),
            ("Directory not empty", &["send", "-n", "in-the-way"]),
            // What went wrong elsewhere counts for more than a refused path.
            ("Symbolic link", &["send", "in-the-way", "link/f"]),
        ],
        &here,
    );
    tree::write(fleet.path(1, "good"), "other");
    tree::write(fleet.path(0, "new"), "x");
    row(
        2,
        "check found contents that differ or are missing",
        &[("", &["check", "good"]), ("", &["--json", "check", "good"]), ("", &["check", "new"])],
        &here,
    );
    row(
        2,
        "more would be deleted than is allowed",
        &[
            ("without --force", &["dsync", "-r", "many"]),
            ("over the limit", &["-r", "--delete", "--max-delete", "3", "many"]),
        ],
        &here,
    );
    row(2, "a line of -f was refused", &[("line 1: no such command", &["-f", "-"])], &|args| {
        crate::messages::fed(&fleet, 0, args, "nonsense\n")
    });
    row(2, "the daemon never sends", &[("this server can't send", &["send", "-r"])], &|args| {
        fleet.msync(2, args)
    });
    for host in [1, 2] {
        fleet.stop(host);
    }
    fleet.wait_for_members();
    let here = |args: &[&str]| fleet.msync(0, args);
    row(
        2,
        "there are no members",
        &[("no members to send to", &["good"]), ("no members to compare with", &["check", "good"])],
        &here,
    );
    row(
        2,
        "a host of -t is away",
        &[
            ("it gets this when it returns", &["-t", "h1", "good"]),
            ("away", &["-nt", "h1", "good"]),
        ],
        &here,
    );
    row(
        2,
        "not so many hosts have everything as --require says",
        &[
            ("all are required", &["--require", "all", "good"]),
            ("1 is required", &["check", "--require", "1", "good"]),
        ],
        &here,
    );
    row(
        2,
        "members --behind found a host that lacks something",
        &[("", &["members", "--behind"])],
        &here,
    );
    // Two transfers over one path: see `two_senders`.
    seen.push((2, "another host's transfer used the path for too long".to_owned()));
    // See `watching`, and the client's own tests.
    seen.push((2, "flush: something is not on some host, or deletions are held back".to_owned()));
    seen.push((2, "a watch that had begun was ended by the daemon".to_owned()));
    let mut rows = rows();
    rows.sort();
    seen.sort();
    assert_eq!(rows, seen, "the page and what was tried");
}
