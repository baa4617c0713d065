//! `-i` with the name of an interface: which address that is, and what happens when it is another one.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Output;
use std::thread;
use std::time::Duration;

use super::hosts::{Hosts, now, say};
use super::{all_equal, turn, within_a_second};

const KEY: &str = "/key";

/// Waits until something holds, no longer than five seconds.
#[track_caller]
pub(super) fn soon(hosts: &Hosts, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}: {}", hosts.logs());
        thread::sleep(Duration::from_millis(20));
    }
}

fn members(hosts: &Hosts) -> String {
    hosts.msync(&["members"], Duration::from_secs(5)).stdout
}

/// Sends a new file from the first host, and looks whether all the others get it, at once.
#[track_caller]
fn sends(hosts: &Hosts, file: &str, receivers: usize) {
    fs::write(hosts.base(0).join(file), vec![7; 300_000]).unwrap();
    let ended = hosts.msync(&["send", "-r"], Duration::from_secs(20));
    assert!(ended.status.success(), "{}{}{}", ended.stdout, ended.stderr, hosts.logs());
    assert!(ended.took < Duration::from_secs(4), "{:?}{}", ended.took, hosts.logs());
    all_equal(hosts, 1..=receivers);
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&[&out.stdout[..], &out.stderr].concat()).into_owned()
}

#[test]
fn a_changed_address_of_an_interface_given_by_name_is_followed() {
    let Some(_turn) = turn("-i NAME") else { return };
    for keyed in [false, true] {
        let mut hosts = Hosts::new(3);
        let key = hosts.dir.display().to_string() + KEY;
        let mut options = vec!["-i", "e0"];
        if keyed {
            let daemon = env!("CARGO_BIN_EXE_makuosan");
            let made = hosts.command(0, daemon).args(["--genkey", &key]).status().unwrap();
            assert!(made.success());
            options.extend(["-k", &key]);
        }
        hosts.start(3, &options);
        sends(&hosts, "before", 3);
        // A target, then the sender, then both.
        for (round, moving) in [vec![1], vec![0], vec![0, 2]].iter().enumerate() {
            for &host in moving {
                let old = match (round, host) {
                    (2, 0) => "10.77.0.120".to_owned(),
                    _ => hosts.address(host),
                };
                let new = format!("10.77.0.1{}{host}", round + 1);
                hosts.ip(host, &format!("addr del {old}/24 dev e0"));
                hosts.ip(host, &format!("addr add {new}/24 dev e0"));
                let line = format!("interface e0 has the address {new} now; it was {old}");
                within_a_second(&hosts, &line, || hosts.log(host).contains(&line));
                soon(&hosts, "the others know it by that", || {
                    (0..=3)
                        .filter(|other| *other != host && !moving.contains(other))
                        .all(|other| hosts.log(other).contains(&format!("h{host} ({new}) joined")))
                });
            }
            soon(&hosts, "three members", || members(&hosts).contains("Total: 3 members"));
            sends(&hosts, &format!("after{round}"), 3);
            assert!(members(&hosts).contains("Total: 3 members"), "{}", members(&hosts));
        }
        let status = hosts.msync(&["status", "-v"], Duration::from_secs(5)).stdout;
        assert!(status.contains("5000, interface e0 (10.77.0.130)"), "{status}");
    }
}

#[test]
fn an_interface_given_by_name_may_lose_its_address_and_get_another_one_later() {
    let Some(_turn) = turn("-i NAME without an address") else { return };
    let mut hosts = Hosts::new(2);
    hosts.start(2, &["-i", "e0"]);
    let json = |hosts: &Hosts| hosts.msync(&["--json", "status"], Duration::from_secs(5)).stdout;
    assert!(
        json(&hosts).contains("\"interface\":\"e0\",\"address\":\"10.77.0.1\""),
        "{}",
        json(&hosts)
    );
    hosts.ip(0, "addr flush dev e0");
    let lost = "cannot reach 224.0.0.108:5000 any more: -i e0: it has no IPv4 address";
    within_a_second(&hosts, "it has none", || hosts.log(0).contains(lost));
    assert!(json(&hosts).contains("\"interface\":\"e0\",\"address\":null"), "{}", json(&hosts));
    thread::sleep(Duration::from_secs(5));
    let lines = hosts.log(0).matches("it has no IPv4 address").count();
    assert_eq!(lines, 1, "said once: {}", hosts.log(0));
    hosts.ip(0, "addr add 10.77.0.99/24 dev e0");
    within_a_second(&hosts, "it has one", || {
        hosts.log(0).contains("e0 has the address 10.77.0.99 now; it was 10.77.0.1")
    });
    soon(&hosts, "it is known by that", || hosts.log(1).contains("h0 (10.77.0.99) joined"));
    sends(&hosts, "one", 2);
    // Taken away and made again, with an address of another subnet, and of all hosts.
    for host in 0..=2 {
        hosts.unplug(host);
        within_a_second(&hosts, "it is gone", || {
            hosts.log(host).contains("-i e0: there is no such interface, but lo")
        });
    }
    for host in 0..=2 {
        hosts.plug(host);
        hosts.ip(host, "addr flush dev e0");
        hosts.ip(host, &format!("addr add 192.168.7.{}/24 dev e0", host + 1));
    }
    for host in 0..=2 {
        let line = format!("e0 has the address 192.168.7.{} now", host + 1);
        within_a_second(&hosts, &line, || hosts.log(host).contains(&line));
    }
    soon(&hosts, "two members", || members(&hosts).matches("192.168.7.").count() == 2);
    soon(&hosts, "and no others", || members(&hosts).contains("Total: 2 members"));
    sends(&hosts, "two", 2);
}

#[test]
fn an_address_that_is_added_changes_nothing_and_two_hosts_may_swap_theirs() {
    let Some(_turn) = turn("-i NAME with two addresses") else { return };
    let mut hosts = Hosts::new(2);
    hosts.ip(1, "addr add 10.77.0.200/24 dev e0");
    hosts.start(2, &["-i", "e0"]);
    // Of another subnet, one before the others, and a secondary one.
    for address in ["10.99.0.1/24", "10.77.0.9/32 scope link", "10.77.0.201/24"] {
        hosts.ip(1, &format!("addr add {address} dev e0"));
    }
    sends(&hosts, "one", 2);
    assert!(!hosts.log(1).contains("has the address"), "{}", hosts.log(1));
    // The host's others go with the first one of their subnet.
    hosts.ip(1, "addr flush dev e0");
    hosts.ip(2, "addr flush dev e0");
    hosts.ip(1, &format!("addr add {}/24 dev e0", hosts.address(2)));
    hosts.ip(2, &format!("addr add {}/24 dev e0", hosts.address(1)));
    // As whoever gives out addresses makes all hosts do.
    (0..=2).for_each(|host| hosts.ip(host, "neigh flush all"));
    for (host, other) in [(1, 2), (2, 1)] {
        let line = format!("has the address {} now; it was", hosts.address(other));
        within_a_second(&hosts, &line, || hosts.log(host).contains(&line));
        let joined = format!("h{host} ({}) joined", hosts.address(other));
        soon(&hosts, &joined, || hosts.log(0).contains(&joined));
    }
    soon(&hosts, "two members", || members(&hosts).contains("Total: 2 members"));
    sends(&hosts, "two", 2);
}

#[test]
fn a_host_whose_routes_choose_another_address_is_known_by_that_soon() {
    let Some(_turn) = turn("an address that routes choose") else { return };
    let mut hosts = Hosts::new(2);
    (0..=2).for_each(|host| hosts.ip(host, "route add 224.0.0.0/4 dev e0"));
    hosts.start(2, &["-i", "0.0.0.0", "-l", "127.0.0.1"]);
    sends(&hosts, "one", 2);
    hosts.ip(1, "addr flush dev e0");
    hosts.ip(1, "addr add 10.77.0.50/24 dev e0");
    hosts.ip(1, "route replace 224.0.0.0/4 dev e0");
    let line = "this host sends to the group from the address 10.77.0.50 now; it was 10.77.0.2";
    within_a_second(&hosts, line, || hosts.log(1).contains(line));
    soon(&hosts, "it is known by that", || hosts.log(0).contains("h1 (10.77.0.50) joined"));
    soon(&hosts, "two members", || members(&hosts).contains("Total: 2 members"));
    sends(&hosts, "two", 2);
}

#[test]
fn a_transfer_during_which_an_address_changes_fails_and_says_why() {
    let Some(_turn) = turn("-i NAME during a transfer") else { return };
    for host in [0, 1] {
        let mut hosts = Hosts::new(2);
        hosts.start(2, &["-i", "e0", "-T", "40"]);
        fs::write(hosts.base(0).join("long"), vec![9; 10 << 20]).unwrap();
        let sending = hosts.begin(&["send", "-r"]);
        thread::sleep(Duration::from_millis(700));
        let changed = now();
        hosts.ip(host, "addr flush dev e0");
        hosts.ip(host, "addr add 10.77.0.50/24 dev e0");
        let ended = hosts.finish(sending, Duration::from_secs(20));
        let said = format!("{}{}", ended.stdout, ended.stderr);
        say(&format!("the address of host {host} changes: {said}"));
        assert_eq!(ended.status.code(), Some(2), "{said}{}", hosts.logs());
        let wrong = |host: &str| {
            ended.stderr.lines().any(|line| line.starts_with("error:") && line.contains(host))
        };
        if host == 0 {
            let why = "the address of this host has changed during the transfer: send again";
            assert!(said.contains(why), "{said}");
            assert!(changed.elapsed() < Duration::from_secs(3), "{:?}", changed.elapsed());
        } else {
            assert!(wrong("h1") && !wrong("h2"), "{said}");
            let why = "aborted: the address of this host has changed";
            assert!(hosts.log(1).contains(why), "{}", hosts.log(1));
            all_equal(&hosts, 2..=2);
        }
        soon(&hosts, "two members", || members(&hosts).contains("Total: 2 members"));
        let ended = hosts.msync(&["send", "-r"], Duration::from_secs(20));
        assert!(ended.status.success(), "{}{}{}", ended.stdout, ended.stderr, hosts.logs());
        all_equal(&hosts, 1..=2);
    }
}

#[test]
fn a_daemon_that_has_given_up_root_follows_its_interface() {
    let Some(_turn) = turn("-i NAME -u nobody") else { return };
    let mut hosts = Hosts::new(1);
    for host in 0..=1 {
        chown(hosts.base(host), Some(65_534), Some(65_534)).unwrap();
    }
    hosts.start(1, &["-i", "e0", "-u", "nobody", "-c"]);
    hosts.ip(1, "addr flush dev e0");
    hosts.ip(1, "addr add 10.77.0.50/24 dev e0");
    soon(&hosts, "it has moved", || hosts.log(0).contains("h1 (10.77.0.50) joined"));
    soon(&hosts, "one member", || members(&hosts).contains("Total: 1 member"));
    fs::write(hosts.base(0).join("file"), "x").unwrap();
    chown(hosts.base(0).join("file"), Some(65_534), Some(65_534)).unwrap();
    let ended = hosts.msync(&["send", "-r"], Duration::from_secs(20));
    assert!(ended.status.success(), "{}{}{}", ended.stdout, ended.stderr, hosts.logs());
    all_equal(&hosts, 1..=1);
}

#[test]
fn a_name_that_no_interface_has_is_an_error_that_names_those_there_are() {
    let Some(_turn) = turn("-i with wrong names") else { return };
    let hosts = Hosts::new(0);
    hosts.ip(0, "link add name bare0 type bridge");
    hosts.ip(0, "addr add 10.78.0.1/24 dev e0 label e0:1");
    let daemon = |interface: &str, more: &[&str]| {
        let mut command = hosts.command(0, env!("CARGO_BIN_EXE_makuosan"));
        command.arg("-b").arg(hosts.base(0)).args(["-i", interface]).args(more).output().unwrap()
    };
    for more in [&["-n"][..], &[], &["--check-config"]] {
        for (interface, line) in [
            ("e1", "makuosan: -i e1: there is no such interface, but lo, "),
            ("bare0", "makuosan: -i bare0: it has no IPv4 address\n"),
            ("e0:2", "makuosan: -i e0:2: it has no IPv4 address\n"),
            (
                "10.77.0.300",
                "makuosan: -i 10.77.0.300: not the IPv4 address or the name of an interface",
            ),
        ] {
            let out = daemon(interface, more);
            assert_eq!(out.status.code(), Some(1), "{}", text(&out));
            assert!(text(&out).starts_with(line), "{}", text(&out));
        }
    }
    assert!(text(&daemon("e1", &["-n"])).contains("bare0"));
    for (interface, line) in [
        ("e0", ", interface e0 (10.77.0.1), "),
        ("e0:1", ", interface e0:1 (10.78.0.1), "),
        ("lo", ", interface lo (127.0.0.1), "),
        ("10.77.0.1", ", interface 10.77.0.1, "),
    ] {
        let out = daemon(interface, &["--check-config"]);
        assert!(out.status.success() && text(&out).contains(line), "{}", text(&out));
    }
}

#[test]
fn an_interface_may_be_made_anew_any_number_of_times() {
    let Some(_turn) = turn("an interface that is made anew often") else { return };
    let mut hosts = Hosts::new(2);
    hosts.start(2, &[]);
    // A socket may have 20 memberships.
    for round in 0..25 {
        hosts.unplug(1);
        // Now and then it is back before anybody looks.
        thread::sleep(Duration::from_millis(if round % 3 == 0 { 0 } else { 250 }));
        hosts.plug(1);
        soon(&hosts, "it is back", || {
            let maddr = hosts.command(1, "ip").args(["maddr", "show", "dev", "e0"]).output();
            text(&maddr.unwrap()).contains("224.0.0.108")
        });
    }
    let why = "No buffer space available";
    assert!(!hosts.log(1).contains(why), "{}", hosts.log(1));
    sends(&hosts, "file", 2);
}
