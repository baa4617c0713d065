//! Who lacks something of what was sent, as any host of the fleet shows it.

use std::os::unix::fs::PermissionsExt;

use makuosan::console::json::Value;

use crate::common::mounts::inside;
use crate::common::process::in_mounts;
use crate::common::{Fleet, eventually, tree};

/// What a host says of another one, or of itself.
fn hosts(fleet: &Fleet, at: usize) -> Vec<Value> {
    let out = fleet.msync(at, &["members", "--json"]).ok().out;
    let value = Value::parse(out.trim_end()).unwrap();
    value.get("hosts").map(|hosts| hosts.list().to_vec()).unwrap()
}

/// `presence`, and how many transfers are lacking; None if that is not known.
fn about(fleet: &Fleet, at: usize, name: &str) -> Option<(String, u64)> {
    let is = |host: &&Value| host.get("name").and_then(Value::text) == Some(name);
    let hosts = hosts(fleet, at);
    let host = hosts.iter().find(is)?;
    let presence = host.get("presence")?.text()?.to_owned();
    let behind = host.get("behind")?.get("transfers").and_then(Value::number);
    Some((presence, behind.unwrap_or(0)))
}

#[track_caller]
fn becomes(fleet: &Fleet, at: usize, name: &str, presence: &str, lacks: u64) {
    let want = Some((presence.to_owned(), lacks));
    eventually(&format!("{name} is {presence} and lacks {lacks}"), || {
        about(fleet, at, name) == want
    });
}

#[test]
fn who_is_away_is_shown_with_what_it_lacks_and_lacks_nothing_when_it_is_back() {
    let mut fleet = Fleet::new("behind", 3);
    tree::write(fleet.path(0, "a"), "1");
    fleet.msync(0, &["send", "a"]).ok();
    for (at, presence) in [(0, "live"), (1, "live"), (2, "self")] {
        becomes(&fleet, at, "h2", presence, 0);
    }
    fleet.stop(2);
    for at in 0..2 {
        becomes(&fleet, at, "h2", "away", 0);
    }
    tree::write(fleet.path(0, "b"), "2");
    fleet.msync(0, &["send", "b"]).ok();
    tree::write(fleet.path(1, "c"), "3");
    fleet.msync(1, &["send", "-t", "h0", "c"]).ok();
    for at in 0..2 {
        becomes(&fleet, at, "h2", "away", 1);
    }
    let text = fleet.msync(0, &["members", "-v"]).ok().out;
    assert!(text.contains(&format!("h2 ({}) is away, last seen ", fleet.ip(2))), "{text}");
    assert!(text.contains("lacks 1 transfer since "), "{text}");
    assert!(text.ends_with("Total: 1 members\n"), "{text}");
    // It is known after a start, whatever became of the daemon.
    fleet.stop(0);
    fleet.start(0, &[]);
    becomes(&fleet, 0, "h2", "away", 1);
    fleet.start(2, &[]);
    for (at, presence) in [(0, "live"), (1, "live"), (2, "self")] {
        becomes(&fleet, at, "h2", presence, 0);
    }
}

#[test]
fn monitoring_sees_by_the_exit_status_who_lacks_something() {
    let mut fleet = Fleet::new("behind-exit", 3);
    let behind = |fleet: &Fleet, at: usize| {
        let ran = fleet.msync(at, &["members", "--behind"]);
        (ran.code, ran.out)
    };
    let nobody = (Some(0), String::new());
    assert_eq!(behind(&fleet, 0), nobody);
    let ran = fleet.msync(0, &["--behind", "--json"]).ok();
    assert_eq!(ran.out, "{\"behind\":[]}\n");
    fleet.stop(2);
    eventually("who left in peace lacks nothing", || behind(&fleet, 0) == nobody);
    tree::write(fleet.path(0, "a"), "1");
    fleet.msync(0, &["send", "a"]).ok();
    eventually("who is away lacks it", || behind(&fleet, 1).0 == Some(2));
    for at in 0..2 {
        let (status, out) = behind(&fleet, at);
        assert_eq!((status, out.lines().count()), (Some(2), 1), "{out}");
        assert!(out.starts_with(&format!("h2 ({}) is away, last seen ", fleet.ip(2))), "{out}");
        assert!(out.contains(": lacks 1 transfer since "), "{out}");
        let ran = fleet.msync(at, &["members", "--behind", "--json"]);
        let value = Value::parse(ran.out.trim_end()).unwrap();
        let list = value.get("behind").map(|list| list.list().len());
        assert_eq!((ran.code, list), (Some(2), Some(1)), "{}", ran.out);
    }
    // What others have always read has nobody who is away.
    let table = fleet.msync(0, &["members"]).ok().out;
    assert!(!table.contains("h2") && table.ends_with("Total: 1 members\n"), "{table}");
    fleet.start(2, &[]);
    for at in 0..3 {
        eventually("it has got it", || behind(&fleet, at) == nobody);
    }
}

#[test]
fn what_is_not_for_a_host_is_not_owed_to_it() {
    let mut fleet = Fleet::new("behind-named", 3);
    fleet.stop(2);
    tree::write(fleet.path(0, "a"), "1");
    tree::write(fleet.path(0, "d/b"), "2");
    fleet.msync(0, &["send", "-t", "h1", "a"]).ok();
    fleet.msync(0, &["send", "-r", "-n"]).ok();
    fleet.msync(0, &["check", "-r"]);
    std::thread::sleep(std::time::Duration::from_secs(1));
    becomes(&fleet, 0, "h2", "away", 0);
    assert_eq!(fleet.msync(0, &["--behind"]).code, Some(0));
}

#[test]
fn a_host_that_will_not_return_can_be_forgotten() {
    let mut fleet = Fleet::new("behind-forget", 3);
    fleet.stop(2);
    tree::write(fleet.path(0, "a"), "1");
    fleet.msync(0, &["send", "a"]).ok();
    becomes(&fleet, 0, "h2", "away", 1);
    for (name, why) in [
        ("h1", "h1 is there: only a host that is away can be forgotten"),
        ("h0", "h0 is there: only a host that is away can be forgotten"),
        ("h9", "no host h9 is known: see members -v"),
    ] {
        let ran = fleet.msync(0, &["forget", name]);
        assert_eq!((ran.code, ran.err.trim_end()), (Some(2), &*format!("error: {why}")));
    }
    fleet.msync(0, &["forget", "h2"]).ok();
    for _ in 0..2 {
        assert_eq!(about(&fleet, 0, "h2"), None);
        assert_eq!(fleet.msync(0, &["members", "--behind"]).code, Some(0));
        fleet.stop(0);
        fleet.start(0, &[]);
        fleet.console(0);
    }
    becomes(&fleet, 1, "h2", "away", 1);
    // One that returns all the same is known again, and gets what it lacks.
    fleet.start(2, &[]);
    becomes(&fleet, 0, "h2", "live", 0);
    eventually("it gets what it lacks", || {
        std::fs::read_to_string(fleet.path(2, "a")).is_ok_and(|text| text == "1")
    });
}

#[test]
fn a_host_that_had_files_before_says_that_it_is_new_and_what_to_do() {
    let mut fleet = Fleet::new("behind-new", 2);
    tree::write(fleet.path(0, "a"), "sent before");
    fleet.msync(0, &["send", "a"]).ok();
    let at = fleet.idle_host();
    tree::write(fleet.path(at, "a"), "what it had");
    fleet.start(at, &[]);
    let said = "new here, 1 transfer since ";
    for from in [at, 0, 1] {
        eventually("it is new", || fleet.msync(from, &["--behind"]).out.contains(said));
        assert!(fleet.msync(from, &["members", "-v"]).ok().out.contains(said));
    }
    fleet.daemon(at).wait_for_log("this host is new here: ");
    // As it was told to.
    fleet.msync(at, &["fetch", "-r"]).ok();
    assert_eq!(std::fs::read_to_string(fleet.path(at, "a")).unwrap(), "sent before");
    for from in [at, 0, 1] {
        eventually("nobody is new", || fleet.msync(from, &["--behind"]).code == Some(0));
    }
}

#[test]
fn it_works_the_same_with_a_key_a_state_directory_and_without_rights_to_write() {
    let state = |fleet: &Fleet, at: usize| fleet.dir().join(format!("state{at}"));
    let mut fleet = Fleet::idle("behind-options", 3);
    let key = fleet.dir().join("key");
    std::fs::write(&key, "a secret of some length for tests\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let of = |fleet: &Fleet, at: usize| -> Vec<String> {
        let (dir, key) = (state(fleet, at), key.display().to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let mut options = vec!["-k".into(), key, "--state".into(), dir.display().to_string()];
        options.extend((at == 1).then(|| "-r".to_owned()));
        options
    };
    let start = |fleet: &mut Fleet, at: usize| {
        let options = of(fleet, at);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        fleet.start(at, &options);
    };
    (0..3).for_each(|at| start(&mut fleet, at));
    fleet.wait_for_members();
    fleet.stop(2);
    tree::write(fleet.path(0, "a"), "1");
    fleet.msync(0, &["send", "-t", "h1", "a"]);
    fleet.msync(0, &["send", "a"]);
    becomes(&fleet, 0, "h2", "away", 1);
    start(&mut fleet, 2);
    becomes(&fleet, 0, "h2", "live", 0);
    assert!(state(&fleet, 0).join("journal/hosts").exists());
    // Nobody waits for one that is never written to, there or away.
    for at in [0, 1] {
        let text = fleet.msync(at, &["members", "-v"]).ok().out;
        let line = text.lines().find(|line| line.starts_with("h1 ")).unwrap();
        assert!(line.contains(" takes nothing (read-only)"), "{text}");
    }
    fleet.stop(1);
    tree::write(fleet.path(0, "b"), "2");
    fleet.msync(0, &["send", "b"]).ok();
    becomes(&fleet, 0, "h1", "away", 0);
    assert_eq!(fleet.msync(0, &["--behind"]).code, Some(0));
}

#[test]
fn a_host_that_keeps_no_records_is_not_said_to_lack_or_to_have_anything() {
    let fleet = Fleet::with("behind-off", &[&[], &["--no-catch-up"], &["-o"]]);
    let text = fleet.msync(0, &["members", "-v"]).ok().out;
    let of = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or("").to_owned();
    assert!(of("h1 ").ends_with("  keeps no records: what it lacks is not known"), "{text}");
    assert!(of("h2 ").ends_with("  never receives"), "{text}");
    assert_eq!(fleet.msync(0, &["--behind"]).code, Some(0));
    let text = fleet.msync(1, &["members", "-v"]).ok().out;
    assert!(text.contains("h1 ("), "{text}");
    assert!(text.contains(" is this host: keeps no records"), "{text}");
}

#[test]
fn a_host_whose_disk_is_full_says_so_and_gets_the_file_once_there_is_room() {
    let mut fleet = Fleet::idle("behind-full", 2);
    let setup = "mount -t tmpfs -o size=16m tmpfs \"$1/h1\"";
    let Some(by) = in_mounts("behind-full", setup, fleet.dir()) else { return };
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    let base = inside(&mut fleet, 1, "h1");
    std::fs::write(base.join("other"), tree::bytes(12 << 20, 1)).unwrap();
    tree::write(fleet.path(0, "large"), tree::bytes(8 << 20, 2));
    assert_eq!(fleet.msync(0, &["send", "large"]).code, Some(2));
    let said = ": lacks 1 transfer since ";
    for at in 0..2 {
        let why = "(No space left on device)";
        eventually("it says why", || fleet.msync(at, &["--behind"]).out.contains(why));
        let ran = fleet.msync(at, &["--behind"]);
        assert!(ran.code == Some(2) && ran.out.contains(said), "{ran:?}");
        assert_eq!(ran.out.lines().count(), 1, "{ran:?}");
    }
    let status = fleet.msync(1, &["status", "-v"]).ok().out;
    assert!(status.contains("records : lacks 1 transfer since "), "{status}");
    std::fs::remove_file(base.join("other")).unwrap();
    fleet.daemon(1).signal("HUP");
    for at in 0..2 {
        eventually("it lacks nothing", || fleet.msync(at, &["--behind"]).code == Some(0));
    }
    assert_eq!(base.join("large").metadata().unwrap().len(), 8 << 20);
}
