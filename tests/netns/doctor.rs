//! `doctor` in networks that have just one fault, and in one without.

use std::process::Command;
use std::thread;
use std::time::Duration;

use makuosan::console::json::Value;

use crate::hosts::{Ended, Hosts};
use crate::turn;

const LIMIT: Duration = Duration::from_secs(15);

/// Four receivers, with daemons.
fn hosts(what: &str) -> Option<(Hosts, impl Drop)> {
    let turn = turn(what)?;
    let mut hosts = Hosts::new(4);
    hosts.start(4, &[]);
    Some((hosts, turn))
}

fn doctor(hosts: &Hosts, args: &[&str]) -> Ended {
    hosts.msync(&[&["doctor"], args].concat(), LIMIT)
}

/// What is not `ok`: result, host, point, and the whole line.
fn faults(ended: &Ended) -> Vec<(String, String)> {
    let bad = ended.stdout.lines().filter(|line| !line.starts_with("ok "));
    let short = |line: &str| line.split(':').next().unwrap().replace("  ", " ");
    bad.map(|line| (short(line), line.to_owned())).collect()
}

/// Just this fault is found, and its line has these words; of the host alone it is the same, and of another there is
/// none.
#[track_caller]
fn just(hosts: &Hosts, fault: &str, words: &[&str]) {
    let code = if fault.starts_with("fail") { 2 } else { 0 };
    let named = fault.split(' ').nth(1).unwrap();
    for args in [&[][..], &["-t", named]] {
        let ended = doctor(hosts, args);
        let found = faults(&ended);
        let all = || format!("{args:?}: {}{}{}", ended.stdout, ended.stderr, hosts.logs());
        assert!(matches!(&found[..], [(short, _)] if short == fault), "{}", all());
        assert!(words.iter().all(|word| found[0].1.contains(word)), "{}", all());
        assert_eq!(ended.status.code(), Some(code), "{}", all());
        let others =
            ended.stdout.lines().filter(|line| line.split_whitespace().nth(1) != Some(named));
        assert!(args.is_empty() || others.count() == 0, "{}", all());
        thread::sleep(Duration::from_millis(1_100));
    }
    let other = doctor(hosts, &["-t", "h1"]);
    assert_eq!((faults(&other), other.status.code()), (vec![], Some(0)), "{}", other.stdout);
}

/// Drops packets that come to a host.
fn drop_at(hosts: &Hosts, host: usize, rule: &[&str]) {
    let mut iptables: Command = hosts.command(host, "iptables");
    iptables.args(["-A", "INPUT", "-i", "e0"]).args(rule).args(["-j", "DROP"]);
    assert!(iptables.status().unwrap().success());
}

#[test]
fn where_nothing_is_wrong_nothing_is_found() {
    let Some((hosts, _turn)) = hosts("doctor without a fault") else { return };
    for round in 0..3 {
        let ended = doctor(&hosts, &[]);
        assert_eq!(faults(&ended), [], "{round}: {}{}", ended.stdout, hosts.logs());
        assert_eq!(ended.status.code(), Some(0));
        for host in 1..=4 {
            assert!(
                ended
                    .stdout
                    .contains(&format!("ok   h{host} probe: 300 of 300 packets to the group"))
            );
        }
        assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    }
    // Without a probe nothing is sent.
    let before = hosts.counter(0, "tx_packets");
    let ended = doctor(&hosts, &["--no-probe"]);
    assert!(!ended.stdout.contains(" probe: ") && faults(&ended).is_empty(), "{}", ended.stdout);
    let sent = hosts.counter(0, "tx_packets") - before;
    assert!(sent < 50, "{sent} packets");
    let json = doctor(&hosts, &["--json", "-t", "h2", "-t", "10.77.0.4"]);
    let lines: Vec<Value> = json.stdout.lines().map(|line| Value::parse(line).unwrap()).collect();
    let host = |value: &Value| value.get("host").and_then(Value::text).map(str::to_owned);
    assert!(
        lines.iter().all(|value| ["h2", "h3"].map(str::to_owned).contains(&host(value).unwrap()))
    );
    assert_eq!(
        lines
            .iter()
            .filter(|value| value.get("check").and_then(Value::text) == Some("probe"))
            .count(),
        2
    );
    let unknown = doctor(&hosts, &["-t", "h7"]);
    assert_eq!(unknown.status.code(), Some(2), "{}{}", unknown.stdout, unknown.stderr);
    assert!(unknown.stderr.contains("h7"), "{}", unknown.stderr);
}

#[test]
fn a_probe_is_bounded_and_there_is_one_a_second() {
    let Some((hosts, _turn)) = hosts("how much a doctor sends") else { return };
    let before = [hosts.counter(0, "tx_packets"), hosts.counter(0, "tx_bytes")];
    let ended = doctor(&hosts, &[]);
    let after = [hosts.counter(0, "tx_packets"), hosts.counter(0, "tx_bytes")];
    // 300 to the group, and some 210 to each host.
    let (packets, bytes) = (after[0] - before[0], after[1] - before[1]);
    assert!((500..1_500).contains(&packets), "{packets} packets, {}", ended.stdout);
    assert!(bytes < 1_000_000, "{bytes} bytes");
    // Two at a time: one waits for the other.
    let running = hosts.begin(&["doctor", "-t", "h1"]);
    let second = doctor(&hosts, &["-t", "h1"]);
    let first = hosts.finish(running, LIMIT);
    for ended in [&first, &second] {
        assert!(ended.stdout.contains("ok   h1 probe: "), "{}", ended.stdout);
    }
    assert!(first.took.max(second.took) > Duration::from_secs(1));
}

#[test]
fn a_host_that_multicast_does_not_reach() {
    let Some((hosts, _turn)) = hosts("doctor without multicast") else { return };
    drop_at(&hosts, 2, &["-d", "224.0.0.0/4"]);
    just(&hosts, "fail h2 multicast", &["IGMP snooping", "querier", "firewall"]);
}

#[test]
fn a_port_with_a_small_mtu() {
    let Some((hosts, _turn)) = hosts("doctor and a small MTU") else { return };
    hosts.swallow_over(2, 1_280);
    just(&hosts, "fail h2 large", &["1500 bytes", "smaller MTU"]);
}

#[test]
fn a_port_of_10_megabits() {
    let Some((hosts, _turn)) = hosts("doctor and a slow port") else { return };
    hosts.slow_port(2, 10);
    just(&hosts, "warn h2 rate", &["Mbit/s", "cable"]);
}

#[test]
fn loss_on_the_way_to_a_host() {
    let Some((hosts, _turn)) = hosts("doctor and loss") else { return };
    drop_at(&hosts, 2, &["-m", "statistic", "--mode", "random", "--probability", "0.05"]);
    just(&hosts, "warn h2 loss", &["lost on the way to it"]);
}

#[test]
fn loss_on_the_way_back_from_a_host() {
    let Some((hosts, _turn)) = hosts("doctor and loss on the way back") else { return };
    let chance = ["-m", "statistic", "--mode", "random", "--probability", "0.05"];
    drop_at(&hosts, 0, &[&["-s", "10.77.0.3"][..], &chance].concat());
    just(&hosts, "warn h2 loss", &["lost on the way back from it"]);
}

#[test]
fn a_host_that_is_busy_or_stands_still() {
    let Some((hosts, _turn)) = hosts("doctor and a busy host") else { return };
    let signal = |name: &str| {
        let kill = Command::new("kill").args([name, &hosts.pid(2).to_string()]).status();
        assert!(kill.unwrap().success());
    };
    signal("-STOP");
    let running = hosts.begin(&["doctor"]);
    thread::sleep(Duration::from_secs(1));
    signal("-CONT");
    let ended = hosts.finish(running, LIMIT);
    let found = faults(&ended);
    assert!(matches!(&found[..], [(short, _)] if short == "warn h2 busy"), "{}", ended.stdout);
    thread::sleep(Duration::from_millis(1_100));
    signal("-STOP");
    let ended = doctor(&hosts, &[]);
    signal("-CONT");
    let found = faults(&ended);
    assert!(matches!(&found[..], [(short, _)] if short == "fail h2 answer"), "{}", ended.stdout);
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
}

#[test]
fn an_interface_of_another_mtu_or_that_is_down() {
    let Some((hosts, _turn)) = hosts("doctor and interfaces") else { return };
    hosts.set_mtu(2, 1_280);
    let until = crate::hosts::now() + Duration::from_secs(5);
    loop {
        let found = faults(&doctor(&hosts, &["--no-probe"]));
        if matches!(&found[..], [(short, _)] if short == "warn h2 mtus") {
            break;
        }
        assert!(crate::hosts::now() < until, "{found:?}");
    }
    hosts.silence(0);
    thread::sleep(Duration::from_millis(500));
    let ended = doctor(&hosts, &[]);
    let found = faults(&ended);
    assert!(found.iter().any(|(short, _)| short == "fail h0 interface"), "{}", ended.stdout);
    assert!(found.iter().any(|(short, _)| short == "fail h0 group"), "{}", ended.stdout);
    assert_eq!(ended.status.code(), Some(2));
}
