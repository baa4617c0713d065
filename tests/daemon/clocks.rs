//! What daemons say of their clocks, and in which order they put what they send.

use std::fs;
use std::time::Duration;

use makuosan::console::json::Value;
use makuosan::name::NodeId;
use makuosan::stamp::{LIMIT, Stamp};
use makuosan::wire::begin::Begin;
use makuosan::wire::header::PacketKind;
use makuosan::wire::hello::Hello;

use crate::common::enemy::Enemy;
use crate::common::wrong_clock::WrongClock;
use crate::common::{Fleet, LONG, eventually, tree, wall_millis, within};

const HOUR: u64 = LIMIT;

/// What the victim says in its next HELLO of its clock: height and wall clock.
#[track_caller]
fn clock_of_victim(member: &mut Enemy) -> (Stamp, u64) {
    let asked = wall_millis();
    within(LONG, "a HELLO of the victim", || {
        member.hello(true, None);
        let packets = std::iter::from_fn(|| member.receive());
        let mut hellos = packets.filter(|(header, _)| header.kind == PacketKind::Hello);
        let new = |payload: Vec<u8>| Hello::parse(&payload).ok().filter(|h| h.wall >= asked);
        hellos.find_map(|(_, payload)| new(payload)).map(|hello| (hello.height, hello.wall))
    })
}

/// The stamp of the transfer that a command begins; it is given up then. `last` is its number.
#[track_caller]
fn stamp_of(fleet: &Fleet, member: &mut Enemy, last: &mut u32, command: &[&str]) -> Stamp {
    let mut msync = fleet.msync_start(0, command);
    let stamp = within(LONG, "BEGIN", || {
        let (header, payload) = member.receive()?;
        // What was given up before is still spoken of for a while.
        let is_new = header.kind == PacketKind::Begin && header.transfer.get() > *last;
        is_new.then(|| {
            *last = header.transfer.get();
            Begin::parse(&payload).unwrap().stamp
        })
    });
    msync.kill();
    stamp
}

#[test]
fn each_transfer_that_changes_something_has_a_higher_stamp_and_the_others_have_none() {
    let mut fleet = Fleet::new("stamps", 1);
    let host = fleet.idle_host();
    tree::write(fleet.path(0, "file"), "x");
    let mut member = Enemy::new(&fleet, host, 0, NodeId(77));
    member.join(&fleet, 0, true);
    let mut number = 0;
    assert_eq!(clock_of_victim(&mut member).0, Stamp::ZERO, "nothing was sent yet");
    for nothing in [&["send", "-n", "file"][..], &["check", "file"], &["dsync", "-n", "file"]] {
        assert_eq!(stamp_of(&fleet, &mut member, &mut number, nothing), Stamp::ZERO, "{nothing:?}");
    }
    let mut last = Stamp::at(wall_millis() - 1_000);
    for command in [&["send", "file"][..], &["sync", "-r"], &["dsync", "file"]] {
        let stamp = stamp_of(&fleet, &mut member, &mut number, command);
        assert!(stamp > last && stamp < Stamp::at(wall_millis() + 1_000), "{stamp} after {last}");
        last = stamp;
    }
    let (height, wall) = clock_of_victim(&mut member);
    assert_eq!(height, last);
    assert!(wall.abs_diff(wall_millis()) < 60_000);
}

#[test]
fn what_is_sent_after_a_stamp_was_heard_has_a_higher_one() {
    for key in [None, Some("a secret of thirty-two characters")] {
        let mut fleet = Fleet::idle("adopted", 2);
        tree::write(fleet.path(0, "file"), "x");
        let options: Vec<String> = key.map_or(Vec::new(), |secret| {
            let path = fleet.dir().join("key");
            tree::write(&path, format!("{secret}\n"));
            tree::set_mode(&path, 0o600);
            vec!["-k".to_owned(), path.to_str().unwrap().to_owned()]
        });
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        fleet.start(0, &options);
        let node = NodeId(77);
        let mut member = match key {
            Some(secret) => Enemy::keyed(&fleet, 1, 0, node, secret),
            None => Enemy::new(&fleet, 1, 0, node),
        };
        // In a first HELLO, in a later one, and in BEGIN.
        let ahead = |minutes: u64| Stamp::at(wall_millis() + minutes * 60_000);
        member.height = ahead(10);
        member.join(&fleet, 0, true);
        let (mut heard, mut number) = (member.height, 0);
        for how in 0..3 {
            eventually("the stamp is adopted", || clock_of_victim(&mut member).0 == heard);
            let stamp = stamp_of(&fleet, &mut member, &mut number, &["send", "file"]);
            assert_eq!(stamp.bits(), heard.bits() + 1);
            // Too far ahead is not adopted.
            member.height = Stamp::at(wall_millis() + HOUR + 60_000);
            assert_eq!(clock_of_victim(&mut member).0, stamp);
            member.begin_at(how + 1, member.height);
            assert_eq!(clock_of_victim(&mut member).0, stamp);
            member.height = Stamp::ZERO;
            heard = ahead(20 + u64::from(how) * 10);
            match how {
                0 => member.height = heard,
                _ => member.begin_at(how + 10, heard),
            }
        }
    }
}

/// Says HELLO, and answers what it is asked, until the victim asks nothing more.
fn say_hello(member: &mut Enemy) {
    member.hello(true, None);
    while let Some((header, payload)) = member.receive() {
        let Ok(hello) = Hello::parse(&payload) else { continue };
        if let (PacketKind::Hello, Some(challenge)) = (header.kind, hello.challenge) {
            member.hello(true, Some(challenge));
        }
    }
}

/// The answer to `members json` or `status json`.
#[track_caller]
fn json(fleet: &Fleet, at: usize, what: &str) -> Value {
    Value::parse(&fleet.console(at).ask(&format!("{what} json"))).unwrap()
}

/// The warnings of a host: the same in all of its answers.
#[track_caller]
fn warnings(fleet: &Fleet, at: usize) -> Vec<String> {
    let texts = |answer: &Value| -> Vec<String> {
        let list = answer.get("warnings").unwrap().list().iter();
        list.map(|line| line.text().unwrap().to_owned()).collect()
    };
    let lines = |answer: String, before: &str| -> Vec<String> {
        answer.lines().filter_map(|line| line.strip_prefix(before)).map(str::to_owned).collect()
    };
    // Something may change between two questions.
    let all = within(LONG, "answers that agree", || {
        let all = texts(&json(fleet, at, "members"));
        let others = [
            texts(&json(fleet, at, "status")),
            lines(fleet.console(at).ask("status"), "warning : "),
            lines(fleet.console(at).ask("members -v"), "warning: "),
        ];
        others.iter().all(|other| *other == all).then_some(all)
    });
    // What old clients read has the members alone.
    let plain = fleet.console(at).ask("members");
    assert!(
        plain.lines().all(|line| line.starts_with("Total: ") || line.ends_with(')')),
        "{plain}"
    );
    all
}

fn count(fleet: &mut Fleet, at: usize, text: &str) -> usize {
    fleet.daemon(at).log().matches(text).count()
}

#[test]
fn a_member_whose_clock_is_off_is_named_once_and_again_when_that_changes() {
    for key in [None, Some("a secret of thirty-two characters")] {
        let mut fleet = Fleet::idle("clock-off", 2);
        let path = fleet.dir().join("key");
        tree::write(&path, format!("{}\n", key.unwrap_or_default()));
        tree::set_mode(&path, 0o600);
        let options = ["-k", path.to_str().unwrap()];
        fleet.start(0, if key.is_some() { &options } else { &[] });
        let node = NodeId(77);
        let mut member = match key {
            Some(secret) => Enemy::keyed(&fleet, 1, 0, node, secret),
            None => Enemy::new(&fleet, 1, 0, node),
        };
        member.join(&fleet, 0, true);
        let ip = fleet.ip(1);
        assert_eq!(warnings(&fleet, 0), [""; 0]);
        let off = |fleet: &Fleet| {
            let answer = json(fleet, 0, "members");
            let row = answer.get("members").unwrap().list()[0].clone();
            let off = row.get("clock_off").unwrap() == &Value::Bool(true);
            let hours = |name: &str| row.get(name).and_then(Value::number).unwrap() / 3_600;
            (hours("clock_ahead_s"), hours("clock_behind_s"), off)
        };
        assert_eq!(off(&fleet), (0, 0, false));
        for (ahead, hours, text) in
            [(7_500, (2, 0), "2 h 5 min ahead of"), (-266_400, (0, 74), "3 days 2 h behind")]
        {
            let said = format!("the clock of evil ({ip}) is {text} this host's");
            for little in [0, 10, 20] {
                member.ahead = ahead + little;
                say_hello(&mut member);
                say_hello(&mut member);
            }
            eventually("it is named", || warnings(&fleet, 0).len() == 1);
            assert!(warnings(&fleet, 0)[0].starts_with(&said), "{:?}", warnings(&fleet, 0));
            assert_eq!(off(&fleet), (hours.0, hours.1, true));
            assert_eq!(count(&mut fleet, 0, &said), 1, "{}", fleet.daemon(0).log());
        }
        member.ahead = 0;
        say_hello(&mut member);
        eventually("it is right", || warnings(&fleet, 0).is_empty());
        assert!(!off(&fleet).2);
        assert_eq!(count(&mut fleet, 0, "the clock of evil"), 2);
        // Its stamps may be of a time that was wrong.
        member.height = Stamp::at(wall_millis() + 2 * HOUR);
        say_hello(&mut member);
        let said = format!(
            "the clock of evil ({ip}) was set back: its daemon still counts from {}: transfers with it",
            member.height
        );
        eventually("it is named", || {
            warnings(&fleet, 0).first().is_some_and(|w| w.starts_with(&said))
        });
        assert!(off(&fleet).2);
        // Without a key, what the member does not confirm is nothing.
        if key.is_none() {
            member.height = Stamp::ZERO;
            say_hello(&mut member);
            eventually("it is right", || warnings(&fleet, 0).is_empty());
            member.ahead = 100_000;
            for _ in 0..5 {
                member.hello(true, None);
                while member.receive().is_some() {}
            }
            assert_eq!(warnings(&fleet, 0), [""; 0]);
        }
    }
}

#[test]
fn a_host_with_a_wrong_clock_gets_and_sends_as_ever_with_a_warning() {
    let what = "a wrong clock";
    let mut fleet = Fleet::idle("wrong-clock", 3);
    let Some(clock) = WrongClock::new(what, fleet.dir()) else { return };
    clock.set(7_500);
    fleet.start(0, &[]);
    fleet.start(1, &[]);
    fleet.start_by(clock.makuosan(), 2, &[]);
    fleet.wait_for_members();
    let ips = [0, 1, 2].map(|at| fleet.ip(at));
    let advice =
        "transfers between the two leave no record; set both clocks right, for example by NTP";
    let late = format!("the clock of h2 ({}) is 2 h 5 min ahead of this host's", ips[2]);
    let early =
        |at: usize| format!("the clock of h{at} ({}) is 2 h 5 min behind this host's", ips[at]);
    for at in [0, 1] {
        eventually("it is named", || warnings(&fleet, at) == [format!("{late}: {advice}")]);
        fleet.daemon(at).wait_for_log(&late);
    }
    eventually("they are named", || warnings(&fleet, 2).len() == 2);
    tree::write(fleet.path(0, "d/file"), "x");
    let warned = |out: &str| -> Vec<String> {
        out.lines().filter(|line| line.starts_with("warning: ")).map(str::to_owned).collect()
    };
    let one = [format!("warning: {late}: {advice}")];
    for command in [
        &["send", "-r", "d"][..],
        &["send", "--delete", "-r"],
        &["send", "-r", "--delete", "--delete-before"],
        &["send", "-t", "h2", "d/file"],
        &["sync", "d/gone"],
        &["dsync", "-r", "d"],
    ] {
        let ran = fleet.msync(0, command).ok();
        assert_eq!(warned(&ran.out), one, "{command:?}");
    }
    for at in [1, 2] {
        tree::assert_equal_dirs(&fleet.path(0, "d"), &fleet.path(at, "d"));
    }
    for quiet in [
        &["send", "-t", "h1", "-r"][..],
        &["send", "-n", "-r"],
        &["check", "-r"],
        &["dsync", "-n", "-r"],
    ] {
        let ran = fleet.msync(0, quiet).ok();
        assert_eq!(warned(&ran.out), [""; 0], "{quiet:?}");
    }
    // For programs the line is beside the JSON.
    let ran = fleet.msync(0, &["--json", "send", "-r"]);
    assert_eq!((ran.code, ran.err), (Some(0), format!("{}\n", one[0])));
    assert!(ran.out.lines().all(|line| line.starts_with('{')), "{}", ran.out);
    // Where the clock is wrong itself, one line has all hosts.
    tree::write(fleet.path(2, "back"), "y");
    let ran = fleet.msync(2, &["send", "back"]).ok();
    assert_eq!(warned(&ran.out), [format!("warning: {}, {}: {advice}", early(0), early(1))]);
    assert_eq!(fs::read(fleet.path(1, "back")).unwrap(), b"y");
    // It is set right while the daemon runs: what that has counted stays ahead until it is another.
    clock.set(0);
    let limit = Duration::from_secs(40);
    within(limit, "the stamps are named", || {
        let was = format!("the clock of h2 ({}) was set back", ips[2]);
        warnings(&fleet, 0).first().is_some_and(|line| line.starts_with(&was)).then_some(())
    });
    within(limit, "and at the host itself", || {
        let was = "the clock of this host was set back: makuosan still counts from ";
        let all = warnings(&fleet, 2);
        (all.len() == 1 && all[0].starts_with(was)).then_some(())
    });
    assert_eq!(warned(&fleet.msync(2, &["send", "back"]).ok().out).len(), 1);
    fleet.stop(2);
    fleet.start_by(clock.makuosan(), 2, &[]);
    fleet.wait_for_members();
    (0..3).for_each(|at| eventually("all is well", || warnings(&fleet, at).is_empty()));
    assert_eq!(warned(&fleet.msync(0, &["send", "-r"]).ok().out), [""; 0]);
}

#[test]
fn two_members_of_one_name_are_named_by_all() {
    let mut fleet = Fleet::idle("twins", 4);
    for (at, name) in ["one", "web", "web", "four"].iter().enumerate() {
        fleet.start(at, &["-N", name]);
    }
    let node = |fleet: &Fleet, at: usize| {
        let answer = json(fleet, (at + 1) % 4, "members");
        let rows = answer.get("members").unwrap().list().to_vec();
        let address = fleet.ip(at).to_string();
        let row = rows.into_iter().find(|row| row.get("address").unwrap().text() == Some(&address));
        row.map(|row| row.get("node").unwrap().text().unwrap().to_owned())
    };
    (0..4).for_each(|at| eventually("all are members", || fleet.members(at).len() == 3));
    let whose =
        |fleet: &Fleet, at: usize| format!("{} (node {})", fleet.ip(at), node(fleet, at).unwrap());
    let advice = "start each with a name of its own (-N)";
    let both = format!("web is the name of {} and {}", whose(&fleet, 1), whose(&fleet, 2));
    let others = format!("{both}: transfers with them leave no record; {advice}");
    let ours = |fleet: &Fleet, other: usize| {
        let whose = whose(fleet, other);
        format!("web is the name of this host and of {whose}: transfers leave no record; {advice}")
    };
    let want = [others.clone(), ours(&fleet, 2), ours(&fleet, 1), others.clone()];
    for (at, want) in want.iter().enumerate() {
        eventually("they are named", || warnings(&fleet, at) == [want.clone()]);
        fleet.daemon(at).wait_for_log(want);
        assert_eq!(count(&mut fleet, at, want), 1, "{}", fleet.daemon(at).log());
    }
    let shared = |fleet: &Fleet, at: usize| -> Vec<bool> {
        let answer = json(fleet, at, "members");
        let rows = answer.get("members").unwrap().list().iter();
        rows.map(|row| row.get("name_shared") == Some(&Value::Bool(true))).collect()
    };
    assert_eq!(shared(&fleet, 0), [false, true, true]);
    assert_eq!(shared(&fleet, 1), [false, false, true]);
    tree::write(fleet.path(0, "file"), "x");
    tree::write(fleet.path(1, "file"), "y");
    let warned = |fleet: &Fleet, at: usize, command: &[&str]| -> Vec<String> {
        let ran = fleet.msync(at, command).ok();
        ran.out.lines().filter(|line| line.starts_with("warning: ")).map(str::to_owned).collect()
    };
    let (two, line) = (fleet.ip(2).to_string(), format!("warning: {others}"));
    assert_eq!(warned(&fleet, 0, &["send", "file"]), std::slice::from_ref(&line));
    assert_eq!(warned(&fleet, 0, &["send", "-t", &two, "file"]), [line]);
    assert_eq!(fs::read(fleet.path(2, "file")).unwrap(), b"x");
    assert_eq!(
        warned(&fleet, 1, &["send", "-t", "four", "file"]),
        [format!("warning: {}", want[1])]
    );
    for nothing in
        [&["send", "-t", "four", "file"][..], &["send", "-n", "file"], &["dsync", "-n", "-r"]]
    {
        assert_eq!(warned(&fleet, 0, nothing), [""; 0], "{nothing:?}");
    }
    // One of them gets another name.
    fleet.stop(2);
    fleet.start(2, &["-N", "web2"]);
    for at in 0..4 {
        eventually("all is well", || {
            fleet.members(at).len() == 3 && warnings(&fleet, at).is_empty()
        });
    }
    assert_eq!(warned(&fleet, 0, &["send", "file"]), [""; 0]);
    for at in [0, 1, 3] {
        assert_eq!(count(&mut fleet, at, "web is the name of"), 1);
    }
}
