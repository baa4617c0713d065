//! Who is a member, and when.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::common::{Fleet, eventually, process, tree, within};

const SECOND: Duration = Duration::from_secs(1);

/// Waits until `members` of a host says this.
#[track_caller]
fn wait_for(fleet: &Fleet, at: usize, limit: Duration, want: &str) {
    let mut got = String::new();
    let mut ask = || {
        got = fleet.console(at).ask("members");
        (got == want).then_some(())
    };
    within(limit, &format!("members {want:?}"), &mut ask);
}

/// The node ids of a host's members.
fn nodes(fleet: &Fleet, at: usize) -> Vec<String> {
    let json = fleet.console(at).ask("members json");
    let parts: Vec<&str> = json.split("\"node\":\"").skip(1).collect();
    parts.iter().map(|part| part.split('"').next().unwrap().to_owned()).collect()
}

/// How often the threads of a process went to sleep so far; they woke up as often.
fn sleeps(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: PathBuf| process::status_of(task, "voluntary_ctxt_switches:")[0].parse::<u64>();
    tasks.map(|task| of(task.unwrap().path()).unwrap()).sum()
}

#[test]
fn a_daemon_that_has_nothing_to_do_sleeps() {
    let mut fleet = Fleet::new("sleeps", 3);
    tree::write(fleet.path(0, "file"), "x");
    fleet.msync(0, &["send", "file"]).ok();
    // What follows a join and a transfer.
    thread::sleep(3 * SECOND);
    let pids: Vec<u32> = (0..3).map(|at| fleet.daemon(at).pid()).collect();
    let before: Vec<u64> = pids.iter().map(|&pid| sleeps(pid)).collect();
    thread::sleep(8 * SECOND);
    for (pid, before) in pids.into_iter().zip(before) {
        let woken = sleeps(pid) - before;
        assert!(woken < 8 * 3, "woken {woken} times in 8 seconds");
    }
}

#[test]
fn whoever_starts_is_everybodys_member_within_a_second() {
    let mut fleet = Fleet::with("joins", &[&[], &[]]);
    let third = fleet.idle_host();
    fleet.start(third, &[]);
    for at in 0..2 {
        within(SECOND, "the newcomer is a member", || {
            fleet.members(at).contains(&"h2".to_owned()).then_some(())
        });
    }
    within(SECOND, "the newcomer knows everybody", || {
        (fleet.members(2) == ["h0", "h1"]).then_some(())
    });
}

#[test]
fn whoever_stops_is_out_at_once() {
    for signal in ["TERM", "INT"] {
        let mut fleet = Fleet::new("leaves", 3);
        fleet.daemon(2).signal(signal);
        for at in 0..2 {
            within(SECOND, "it has left", || (fleet.members(at).len() == 1).then_some(()));
        }
        let status = fleet.daemon(2).wait(SECOND * 5);
        assert_eq!(status.code(), Some(0), "{signal}: {status}");
        let line = format!("h2 ({}) left", fleet.ip(2));
        fleet.daemon(0).wait_for_log(&line);
        assert!(fleet.daemon(2).log().contains("stopping"));
    }
}

#[test]
fn whoever_is_killed_and_started_anew_replaces_its_old_self() {
    let mut fleet = Fleet::new("replaced", 2);
    let before = nodes(&fleet, 0);
    fleet.kill(1);
    // Silence of a moment is no leave.
    assert_eq!(fleet.members(0), ["h1"]);
    fleet.start(1, &[]);
    let after =
        within(SECOND, "a new node id", || Some(nodes(&fleet, 0)).filter(|now| *now != before));
    assert_eq!((before.len(), after.len()), (1, 1));
    fleet.wait_for_members();
    let line = format!("h1 ({}) restarted", fleet.ip(1));
    fleet.daemon(0).wait_for_log(&line);
}

#[test]
fn a_new_name_at_the_same_address_is_the_same_place() {
    let mut fleet = Fleet::new("renamed", 2);
    fleet.kill(1);
    fleet.start(1, &["-N", "other"]);
    within(SECOND, "the new name", || (fleet.members(0) == ["other"]).then_some(()));
}

#[test]
fn the_table_of_members() {
    let mut fleet = Fleet::idle("table", 4);
    let version = makuosan::VERSION;
    fleet.start(0, &[]);
    wait_for(&fleet, 0, SECOND, "Total: 0 members\n");
    fleet.start(1, &["-N", "web-with-a-long-name"]);
    fleet.start(2, &["-N", "db"]);
    // Without -N it is the machine's name, which may be too odd to be one.
    let ips = [1, 2, 3].map(|at| fleet.ip(at).to_string());
    let rows = [("db", &ips[1]), ("web-with-a-long-name", &ips[0])];
    let table = |rows: &[(&str, &String)]| {
        let width = rows.iter().map(|row| row.1.len()).max().unwrap();
        let line =
            |row: &(&str, &String)| format!("{:20} {:width$} (Ver{version})\n", row.0, row.1);
        let lines: String = rows.iter().map(line).collect();
        format!("{lines}Total: {} members\n", rows.len())
    };
    wait_for(&fleet, 0, SECOND, &table(&rows));
    // By address where the names are the same.
    fleet.start(3, &["-N", "db"]);
    let rows = [("db", &ips[1]), ("db", &ips[2]), ("web-with-a-long-name", &ips[0])];
    wait_for(&fleet, 0, SECOND, &table(&rows));
    // The client shows the same.
    assert_eq!(fleet.msync(0, &["members"]).ok().out, table(&rows));
    assert_eq!(fleet.msync(0, &["--members"]).ok().out, table(&rows));
}

#[test]
fn another_group_or_port_is_another_fleet() {
    let mut fleet = Fleet::idle("apart", 4);
    fleet.start(0, &[]);
    fleet.start(1, &["-m", "239.254.253.252"]);
    let port = (fleet.address(2).port() + 1).to_string();
    let listen = fleet.address(2).to_string();
    fleet.start(2, &["-p", &port, "-l", &listen]);
    // This one comes last, so when it is a member the others would be.
    fleet.start(3, &[]);
    eventually("its own fleet", || fleet.members(0) == ["h3"]);
    // Each of two admits the other by itself.
    eventually("its own fleet, the other way", || fleet.members(3) == ["h0"]);
    assert_eq!(fleet.members(1), [""; 0]);
    assert_eq!(fleet.members(2), [""; 0]);
}
