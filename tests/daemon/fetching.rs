//! `msync fetch`: one host gets something from another one by hand.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use makuosan::console::json::Value;

use crate::common::process::{Ran, signal};
use crate::common::{Console, Fleet, eventually, is_root, now, skip, tree};

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn is_like(fleet: &Fleet, host: usize, other: usize) -> bool {
    tree::snapshot(&fleet.base(host)) == tree::snapshot(&fleet.base(other))
}

/// Hosts that keep no records, so that nothing comes by itself.
fn plain(name: &str, hosts: usize) -> Fleet {
    Fleet::with(name, &vec![&["--no-catch-up"][..]; hosts])
}

#[track_caller]
fn well(ran: Ran) -> Ran {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.errors().is_empty(), "{ran:?}");
    ran
}

#[track_caller]
fn fails(ran: &Ran, error: &str) {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.errors().contains(&error), "{error}: {ran:?}");
}

#[test]
fn a_tree_comes_from_the_host_that_is_named_and_goes_to_no_other() {
    let fleet = plain("fetch-tree", 3);
    for n in 0..2_500 {
        tree::write(fleet.path(0, format!("d/e{}/f{n}", n % 9)), format!("{n}"));
    }
    tree::write(fleet.path(0, "d/large"), tree::bytes(3_000_000, 7));
    let ran = well(fleet.msync(1, &["fetch", "-v", "-r", "--from", "h0", "d"]));
    assert!(ran.out.contains("update h1:d/e3/f3\n"), "{}", ran.out);
    assert!(ran.err.contains("2,501 files, "), "{}", ran.err);
    assert!(ran.err.contains(" to 1 host in "), "{}", ran.err);
    assert!(is_like(&fleet, 1, 0));
    assert!(!fleet.path(2, "d").exists());
    let again = well(fleet.msync(1, &["fetch", "-vv", "-r", "--from", "h0", "d"]));
    assert!(again.out.contains("skip   h1:d/e3/f3\n"), "{}", again.out);
    assert!(again.err.contains("0 files, 0 B to 1 host in"), "{}", again.err);
}

#[test]
fn all_kinds_of_files_come_as_they_are() {
    let fleet = plain("fetch-kinds", 2);
    tree::make_odd(&fleet.base(0));
    let ip = fleet.ip(0).to_string();
    well(fleet.msync(1, &["fetch", "-r", "--from", &ip]));
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    // What is in the way is replaced as by a send.
    fs::create_dir_all(fleet.path(0, "x/y")).unwrap();
    tree::write(fleet.path(1, "x"), "a file");
    symlink("nowhere", fleet.path(0, "link")).unwrap();
    fs::create_dir(fleet.path(1, "link")).unwrap();
    well(fleet.msync(1, &["fetch", "-r", "--from", "h0", "x", "link"]));
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn what_is_not_there_is_an_error_with_the_host_that_was_asked() {
    let fleet = plain("fetch-missing", 2);
    tree::write(fleet.path(0, "b"), "b");
    let ran = fleet.msync(1, &["fetch", "--from", "h0", "a", "b"]);
    fails(&ran, "error: No such file or directory h0:a");
    assert_eq!(read(fleet.path(1, "b")).as_deref(), Some("b"), "the others come nevertheless");
    fails(
        &fleet.msync(1, &["fetch", "--from", "h7", "b"]),
        "error: h7 is not contained in members",
    );
    let json = fleet.msync(1, &["--json", "fetch", "--from", "h0", "a"]);
    assert_eq!(json.code, Some(2));
    let lines: Vec<Value> = json.out.lines().map(|line| Value::parse(line).unwrap()).collect();
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::text).map(str::to_owned);
    let host = lines.iter().find(|line| text(line, "type").as_deref() == Some("host")).unwrap();
    assert_eq!(text(host, "name").as_deref(), Some("h1"), "{json:?}");
    assert_eq!(text(host, "status").as_deref(), Some("failed"), "{json:?}");
    assert!(json.out.contains(r#""host":"h0","code":"ENOENT""#), "{json:?}");
}

#[test]
fn json_has_the_objects_of_a_send() {
    let fleet = plain("fetch-json", 2);
    tree::write(fleet.path(0, "d/a"), "12345");
    let ran = well(fleet.msync(1, &["--json", "fetch", "-r", "--from", "h0"]));
    let lines: Vec<Value> = ran.out.lines().map(|line| Value::parse(line).unwrap()).collect();
    let [host, total] = &lines[..] else { panic!("{ran:?}") };
    for (object, name, value) in [(host, "files", 1), (host, "bytes", 5), (total, "hosts", 1)] {
        assert_eq!(object.get(name).and_then(Value::number), Some(value), "{name}: {ran:?}");
    }
    assert!(total.get("wire").and_then(Value::number).unwrap() > 5, "{ran:?}");
}

#[test]
fn a_dry_run_says_what_would_come_and_go() {
    let fleet = plain("fetch-dry", 2);
    tree::write(fleet.path(0, "d/a"), "there");
    tree::write(fleet.path(1, "d/b"), "here");
    let ran = well(fleet.msync(1, &["fetch", "-rn", "--delete", "--from", "h0", "d"]));
    assert!(ran.out.contains("(dryrun) [update:d/a]\n"), "{ran:?}");
    assert!(ran.out.contains("(dryrun) [delete:d/b]\n"), "{ran:?}");
    assert!(!fleet.path(1, "d/a").exists() && fleet.path(1, "d/b").exists());
    let ran = well(fleet.msync(1, &["fetch", "-rnv", "--delete", "--from", "h0", "d"]));
    assert!(ran.out.contains("(dryrun) update h1:d/a\n"), "{ran:?}");
    assert!(ran.out.contains("(dryrun) delete h1:d/b\n"), "{ran:?}");
}

#[test]
fn what_does_not_exist_there_is_deleted_here_within_the_limits() {
    let fleet = plain("fetch-delete", 3);
    tree::write(fleet.path(0, "d/a"), "there");
    for at in [1, 2] {
        (0..150).for_each(|n| tree::write(fleet.path(at, format!("d/old{n}")), "x"));
    }
    let fetch = |more: &[&str]| {
        fleet.msync(1, &[&["fetch", "-r", "--delete", "--from", "h0"], more, &["d"]].concat())
    };
    let much =
        "error: 150 of 151 entries would be deleted on h1: nothing is deleted without --force";
    let ran = fetch(&[]);
    fails(&ran, much);
    assert_eq!(ran.errors().len(), 1, "{ran:?}");
    assert!(fleet.path(1, "d/a").exists() && fleet.path(1, "d/old7").exists());
    let limit =
        "error: 150 entries would be deleted on h1, over the limit of 149: nothing is deleted";
    fails(&fetch(&["--force", "--max-delete", "149"]), limit);
    assert!(fleet.path(1, "d/old7").exists());
    let ran = well(fetch(&["-v", "--force"]));
    assert!(ran.out.contains("delete h1:d/old7\n"), "{ran:?}");
    assert!(ran.err.contains("; 150 deleted\n"), "{ran:?}");
    assert!(is_like(&fleet, 1, 0));
    assert!(fleet.path(2, "d/old7").exists(), "another host");
    // What is empty there takes nothing away by itself.
    fs::remove_file(fleet.path(0, "d/a")).unwrap();
    let ran = fetch(&[]);
    fails(&ran, "error: without --force nothing is deleted below what is empty now: h0:d");
    fs::create_dir(fleet.path(0, "e")).unwrap();
    tree::write(fleet.path(1, "e/a"), "here");
    let ran = fleet.msync(1, &["fetch", "-r", "--delete", "--from", "h0", "e"]);
    fails(&ran, "error: e is empty there: nothing is deleted without --force h0:e");
    assert_eq!(ran.errors().len(), 1, "{ran:?}");
    assert!(fleet.path(1, "d/a").exists() && fleet.path(1, "e/a").exists());
    well(fleet.msync(1, &["fetch", "-r", "--delete", "--force", "--from", "h0", "d", "e"]));
    assert!(is_like(&fleet, 1, 0));
}

#[test]
fn deletion_first_and_a_path_that_is_gone_there() {
    let fleet = plain("fetch-before", 2);
    tree::write(fleet.path(0, "d/a"), "there");
    tree::write(fleet.path(1, "d/b"), "here");
    let before = ["fetch", "-rv", "--delete-before", "--from", "h0", "d"];
    let ran = well(fleet.msync(1, &before));
    let at = |text: &str| ran.out.find(text).unwrap_or_else(|| panic!("{text}: {ran:?}"));
    assert!(at("delete h1:d/b\n") < at("update h1:d/a\n"), "{ran:?}");
    assert!(
        ran.err.contains("1 file, 5 B to 1 host in ") && ran.err.contains("1 deleted"),
        "{ran:?}"
    );
    assert!(is_like(&fleet, 1, 0));
    tree::write(fleet.path(1, "gone"), "here");
    fails(
        &fleet.msync(1, &["fetch", "--from", "h0", "gone"]),
        "error: No such file or directory h0:gone",
    );
    well(fleet.msync(1, &["fetch", "--delete", "--from", "h0", "gone"]));
    assert!(is_like(&fleet, 1, 0));
}

#[test]
fn patterns_contents_and_times_count_as_in_a_send() {
    let fleet = plain("fetch-options", 2);
    for name in ["d/a", "d/b.log", "d/c"] {
        tree::write(fleet.path(0, name), "there");
    }
    tree::write(fleet.path(1, "d/own.log"), "here");
    let from = ["--from", "h0", "d"];
    let fetch = |more: &[&str]| fleet.msync(1, &[&["fetch", "-rv"], more, &from[..]].concat());
    well(fetch(&["--delete", "--exclude", "*.log"]));
    assert!(fleet.path(1, "d/a").exists() && !fleet.path(1, "d/b.log").exists());
    assert!(fleet.path(1, "d/own.log").exists(), "what is excluded is not deleted");
    // The same size and time, and other contents.
    let stat = fs::metadata(fleet.path(0, "d/a")).unwrap();
    tree::write(fleet.path(1, "d/a"), "HERE!");
    tree::set_mtime(&fleet.path(1, "d/a"), stat.mtime(), stat.mtime_nsec() as u32);
    well(fetch(&["--exclude", "*.log"]));
    assert_eq!(read(fleet.path(1, "d/a")).as_deref(), Some("HERE!"));
    well(fetch(&["--checksum"]));
    assert_eq!(read(fleet.path(1, "d/a")).as_deref(), Some("there"));
    let ran = well(fetch(&["-I"]));
    assert!(ran.err.contains("3 files, "), "{ran:?}");
    // More patterns than fit into one packet; and more than into a request.
    let few: String = (0..500).map(|n| format!("/no-such-directory/{n}\n")).collect();
    let many: String = (0..5_000).map(|n| format!("/no-such-directory/{n}\n")).collect();
    for (name, text) in [("few", few + "a\n"), ("many", many)] {
        fs::write(fleet.dir().join(name), text).unwrap();
    }
    fs::remove_dir_all(fleet.path(1, "d")).unwrap();
    let file = |name: &str| format!("--exclude-from={}", fleet.dir().join(name).display());
    well(fetch(&[&file("few")]));
    assert!(fleet.path(1, "d/c").exists() && !fleet.path(1, "d/a").exists());
    fails(&fetch(&[&file("many")]), "error: too many patterns for a fetch");
}

#[test]
fn who_never_writes_or_never_sends_says_so() {
    let options: &[&[&str]] = &[&["-s"], &["-r"], &["-o"], &["--no-catch-up"]];
    let fleet = Fleet::with("fetch-roles", options);
    (0..2).for_each(|at| tree::write(fleet.path(at, "a"), "x"));
    let read_only =
        "error: this host is not written to: its daemon was started with --readonly or --no-recv";
    for at in [1, 2] {
        fails(&fleet.msync(at, &["fetch", "--from", "h0", "a"]), read_only);
    }
    fails(&fleet.msync(3, &["fetch", "--from", "h0", "a"]), "error: this server can't send: h0");
    assert!(!fleet.path(3, "a").exists());
    // Who is only read from gives what it has; who never sends may fetch.
    well(fleet.msync(3, &["fetch", "--from", "h1", "a"]));
    fs::remove_file(fleet.path(0, "a")).unwrap();
    well(fleet.msync(0, &["fetch", "--from", "h1", "a"]));
    assert!(is_like(&fleet, 3, 1) && is_like(&fleet, 0, 1));
}

#[test]
fn without_a_name_it_comes_from_a_host_that_lacks_nothing() {
    let mut fleet = Fleet::new("fetch-choice", 3);
    tree::write(fleet.path(0, "d/a"), "first");
    fleet.msync(0, &["send", "-r"]).ok();
    fleet.stop(1);
    tree::write(fleet.path(0, "d/a"), "second");
    fleet.msync(0, &["send", "-r"]).ok();
    // h1 will lack it: something is in the way.
    fs::remove_file(fleet.path(1, "d/a")).unwrap();
    tree::write(fleet.path(1, "d/a/in-the-way"), "x");
    fleet.start(1, &[]);
    fleet.wait_for_members();
    eventually("it was tried", || fleet.daemon(1).log().contains("not caught up"));
    fs::remove_file(fleet.path(2, "d/a")).unwrap();
    let ran = well(fleet.msync(2, &["fetch", "-r", "d"]));
    let said = format!("fetching from h0 ({})\n", fleet.ip(0));
    assert!(ran.out.starts_with(&said), "{ran:?}");
    assert_eq!(read(fleet.path(2, "d/a")).as_deref(), Some("second"));
    // Only that one is left.
    fleet.stop(0);
    fails(&fleet.msync(2, &["fetch", "-r", "d"]), "error: h1 lacks something itself");
    fleet.stop(1);
    eventually("nobody is there", || fleet.members(2).is_empty());
    let ran = fleet.msync(2, &["fetch", "-r", "d"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("msync: no members to fetch from\n"), "{ran:?}");
}

#[test]
fn a_new_host_with_files_is_made_like_the_others_and_lacks_nothing_then() {
    let mut fleet = Fleet::idle("fetch-new", 3);
    fleet.start(0, &[]);
    fleet.start(1, &[]);
    tree::write(fleet.path(0, "d/a"), "new");
    tree::write(fleet.path(0, "d/b"), "b");
    eventually("they know each other", || fleet.members(0).len() == 1);
    fleet.msync(0, &["send", "-r"]).ok();
    tree::write(fleet.path(2, "d/a"), "an old copy");
    tree::set_mtime(&fleet.path(2, "d/a"), 1_000_000_000, 0);
    tree::write(fleet.path(2, "d/old"), "an old copy");
    fleet.start(2, &[]);
    fleet.wait_for_members();
    let about = |fleet: &Fleet, at: usize| {
        let out = fleet.msync(at, &["members", "-v"]).out;
        out.lines().find(|line| line.starts_with("h2 ")).unwrap_or_default().to_owned()
    };
    eventually("it is known as new", || about(&fleet, 0).contains("new here, 1 transfer"));
    assert!(!fleet.path(2, "d/b").exists());
    let others = [0, 1].map(|at| tree::untouched(&fleet.base(at)));
    well(fleet.msync(2, &["fetch", "-r", "--delete"]));
    assert!(is_like(&fleet, 2, 0));
    eventually("it lacks nothing", || {
        [0, 2].iter().all(|at| about(&fleet, *at).contains("lacks nothing, last complete"))
    });
    assert_eq!([0, 1].map(|at| tree::untouched(&fleet.base(at))), others, "no other is changed");
    // What was fetched is no edit: it goes when it is deleted while this host is away.
    fleet.stop(2);
    fs::remove_file(fleet.path(0, "d/a")).unwrap();
    fleet.msync(0, &["send", "-r", "--delete"]).ok();
    fleet.start(2, &[]);
    eventually("it goes here, too", || is_like(&fleet, 2, 0));
}

#[test]
fn a_new_host_keeps_its_own_files_unless_they_are_to_go() {
    let mut fleet = Fleet::idle("fetch-own", 2);
    fleet.start(0, &[]);
    tree::write(fleet.path(0, "d/a"), "new");
    // Nobody is there yet.
    fleet.msync(0, &["send", "-r", "--delete"]);
    tree::write(fleet.path(1, "d/own"), "own");
    fleet.start(1, &[]);
    fleet.wait_for_members();
    let about = |fleet: &Fleet| fleet.msync(1, &["members", "-v"]).out;
    eventually("it is new", || about(&fleet).contains("new here, 1 transfer"));
    well(fleet.msync(1, &["fetch", "-r"]));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(read(fleet.path(1, "d/own")).as_deref(), Some("own"));
    assert_eq!(read(fleet.path(1, "d/a")).as_deref(), Some("new"));
    assert!(about(&fleet).contains("new here, 1 transfer"), "{}", about(&fleet));
    well(fleet.msync(1, &["fetch", "-r", "--delete"]));
    assert!(is_like(&fleet, 1, 0));
    eventually("it lacks nothing", || !about(&fleet).contains("new here"));
}

#[test]
fn what_cannot_be_read_there_is_an_error_and_the_rest_comes() {
    if !is_root() {
        return skip("what cannot be read", "not root");
    }
    let mut fleet = Fleet::idle("fetch-unreadable", 2);
    for name in ["d/a", "d/secret", "d/of-root"] {
        tree::write(fleet.path(0, name), "x");
    }
    tree::set_mode(&fleet.path(0, "d/secret"), 0);
    for name in ["", "d", "d/a", "d/secret"] {
        chown(fleet.path(0, name), Some(65_534), Some(65_534)).unwrap();
    }
    let _socket = UnixListener::bind(fleet.path(0, "d/socket")).unwrap();
    fleet.start(0, &["--no-catch-up", "-u", "nobody", "-O"]);
    fleet.start(1, &["--no-catch-up"]);
    fleet.wait_for_members();
    let ran = fleet.msync(1, &["fetch", "-r", "--from", "h0", "d"]);
    fails(&ran, "error: Permission denied h0:d/secret");
    assert_eq!(ran.errors().len(), 1, "{ran:?}");
    for skipped in ["h0: skip: unix domain socket d/socket\n", "h0: skip: owner unmatch d/of-root"]
    {
        assert!(ran.out.contains(skipped), "{skipped}: {ran:?}");
    }
    assert!(fleet.path(1, "d/a").exists() && !fleet.path(1, "d/secret").exists());
    let json = fleet.msync(1, &["--json", "fetch", "-r", "--from", "h0", "d"]);
    assert_eq!(json.code, Some(2), "{json:?}");
    assert!(json.out.contains(r#""host":"h0","code":"EACCES""#), "{json:?}");
}

#[test]
fn what_cannot_be_written_here_is_an_error_as_in_a_send() {
    let fleet = plain("fetch-in-place", 2);
    tree::write(fleet.path(0, "d/a"), "a file");
    tree::write(fleet.path(0, "d/b"), "x");
    tree::write(fleet.path(1, "d/a/own"), "in the way");
    let fetch =
        |more: &[&str]| fleet.msync(1, &[&["fetch", "-r", "--from", "h0"], more, &["d"]].concat());
    let ran = fetch(&[]);
    let why = "error: Directory not empty in its place (send -r --delete replaces it) h1:d/a";
    fails(&ran, why);
    assert_eq!(ran.errors().len(), 1, "{ran:?}");
    assert!(fleet.path(1, "d/b").exists());
    let ran = well(fetch(&["-v", "--delete"]));
    assert!(ran.out.contains("delete h1:d/a/own\n"), "{ran:?}");
    assert!(ran.out.contains("update h1:d/a\n"), "{ran:?}");
    assert!(is_like(&fleet, 1, 0));
}

#[test]
fn a_path_that_is_held_is_waited_for() {
    let options: &[&[&str]] =
        &[&["--no-catch-up"], &["--no-catch-up"], &["--no-catch-up", "-T", "16"]];
    let mut fleet = Fleet::with("fetch-held", options);
    tree::write(fleet.path(0, "d/a"), "x");
    tree::write(fleet.path(2, "d/large"), tree::bytes(6_000_000, 1));
    let sending = fleet.msync_start(2, &["send", "-r", "--delete", "-t", "h1", "d"]);
    fleet.wait_until_staged(1);
    let ran = well(fleet.msync(1, &["fetch", "-r", "--from", "h0", "d"]));
    assert!(ran.err.is_empty(), "{ran:?}");
    sending.end().ok();
    assert!(fleet.path(1, "d/a").exists() && fleet.path(1, "d/large").exists());
    let _ = fleet.daemon(1);
}

#[test]
fn several_hosts_fetch_from_one_at_a_time() {
    let fleet = plain("fetch-many", 10);
    (0..200).for_each(|n| tree::write(fleet.path(0, format!("d/{n}")), tree::bytes(5_000, n)));
    let all: Vec<_> =
        (1..10).map(|at| fleet.msync_start(at, &["fetch", "-r", "--from", "h0", "d"])).collect();
    all.into_iter().for_each(|one| drop(well(one.end())));
    (1..10).for_each(|at| assert!(is_like(&fleet, at, 0), "{at}"));
}

#[test]
fn a_client_that_goes_stops_it() {
    let mut fleet = Fleet::with("fetch-stop", &[&["-T", "8", "--no-catch-up"], &["--no-catch-up"]]);
    tree::write(fleet.path(0, "large"), tree::bytes(30_000_000, 1));
    tree::write(fleet.path(0, "small"), "x");
    let mut running = fleet.msync_start(1, &["fetch", "--from", "h0", "large"]);
    fleet.wait_until_staged(1);
    fails(
        &fleet.msync(1, &["fetch", "--from", "h0", "small"]),
        "error: another fetch is running on this host",
    );
    running.kill();
    fleet.wait_until_clean(Duration::from_secs(5));
    eventually("it is given up there", || fleet.daemon(0).log().contains("given up"));
    assert!(!fleet.path(1, "large").exists());
    well(fleet.msync(1, &["fetch", "--from", "h0", "small"]));
}

#[test]
fn the_death_of_either_daemon_is_an_error_in_bounded_time() {
    let slow: &[&str] = &["-T", "8", "--no-catch-up"];
    let mut fleet = Fleet::with("fetch-death", &[slow, slow, slow]);
    tree::write(fleet.path(0, "large"), tree::bytes(30_000_000, 1));
    for how in ["TERM", "KILL", "STOP"] {
        let running = fleet.msync_start(1, &["fetch", "--from", "h0", "large"]);
        fleet.wait_until_staged(1);
        let began = now();
        let pid = fleet.daemon(0).pid();
        signal(pid, how);
        let ran = running.end();
        assert_eq!(ran.code, Some(2), "{how}: {ran:?}");
        let error = ran.errors().first().copied().unwrap_or_default().to_owned();
        let ip = fleet.ip(0);
        let expected =
            [format!("error: member exit: {ip}(h0)"), format!("error: receive time out: {ip}(h0)")];
        assert!(expected.contains(&error), "{how}: {ran:?}");
        assert!(began.elapsed() < Duration::from_secs(60), "{how}");
        assert!(!fleet.path(1, "large").exists());
        if how == "STOP" {
            signal(pid, "CONT");
        } else {
            fleet.kill(0);
            fleet.start(0, slow);
        }
        fleet.wait_for_members();
        fleet.wait_until_clean(Duration::from_secs(60));
    }
    let running = fleet.msync_start(1, &["fetch", "--from", "h0", "large"]);
    fleet.wait_until_staged(1);
    fleet.kill(1);
    let ran = running.end();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    eventually("the donor ends it", || {
        fleet.daemon(0).log().contains("incomplete") || fleet.daemon(0).log().contains("given up")
    });
}

#[test]
fn a_client_that_does_not_read_makes_it_wait_and_holds_up_nobody_else() {
    let mut fleet = Fleet::idle("fetch-unread", 3);
    let socket = fleet.dir().join("socket");
    let unix = ["--no-catch-up", "-U", socket.to_str().unwrap()];
    (0..3).for_each(|at| fleet.start(at, if at == 1 { &unix } else { &unix[..1] }));
    eventually("they know each other", || [0, 2].iter().all(|at| fleet.members(*at).len() == 2));
    let count = 6_000;
    for n in 0..count {
        tree::write(fleet.path(0, format!("d/{}/{n}-{}", n % 10, "x".repeat(150))), "x");
    }
    let mut deaf = Console::open_unix(&socket);
    deaf.write(b"loglevel 1\nfetch -r --from h0 d\n");
    let (mut last, mut same) = (0, 0);
    while same < 10 {
        std::thread::sleep(Duration::from_millis(200));
        let now = walk(&fleet.path(1, "d"));
        (last, same) = if now == last && now > 0 { (last, same + 1) } else { (now, 0) };
    }
    assert!(last < count, "it did not wait");
    tree::write(fleet.path(2, "other"), "x");
    fleet.msync(2, &["send", "other"]).ok();
    assert_eq!(deaf.answer(), "");
    let lines = deaf.answer();
    assert!(lines.lines().filter(|line| line.starts_with("update h1:d")).count() > count);
    tree::assert_equal_dirs(&fleet.path(0, "d"), &fleet.path(1, "d"));
}

fn walk(dir: &Path) -> usize {
    let Ok(found) = fs::read_dir(dir) else { return 0 };
    let found: Vec<_> = found.flatten().collect();
    let below = |entry: &fs::DirEntry| match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        true => walk(&entry.path()),
        false => 1,
    };
    found.iter().map(below).sum()
}

#[test]
fn in_a_chroot_and_with_a_key_it_is_the_same() {
    let mut fleet = Fleet::idle("fetch-key", 2);
    let key = fleet.dir().join("key");
    fs::write(&key, "a secret of sixteen or more characters\n").unwrap();
    tree::set_mode(&key, 0o600);
    let key = key.to_str().unwrap().to_owned();
    let chroot: &[&str] = if is_root() { &["-k", &key, "-c"] } else { &["-k", &key] };
    fleet.start(0, chroot);
    fleet.start(1, chroot);
    fleet.wait_for_members();
    tree::write(fleet.path(0, "d/a"), "x");
    well(fleet.msync(1, &["fetch", "-r"]));
    assert!(is_like(&fleet, 1, 0));
}

#[test]
fn a_file_called_like_the_command_is_not_meant() {
    let fleet = plain("fetch-word", 2);
    tree::write(fleet.path(1, "fetch"), "12345");
    let mut command = fleet.msync_command(1, &["fetch", "-r"]);
    let ran = crate::common::process::run(command.current_dir(fleet.base(1)));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("./fetch is the file"), "{ran:?}");
}
