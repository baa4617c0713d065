//! What a watch sends while nothing changes: nothing.

use std::fs;
use std::thread;
use std::time::Duration;

use super::hosts::Hosts;
use super::turn;

/// How many datagrams a host has sent.
fn sent(hosts: &Hosts, host: usize) -> u64 {
    let out = hosts.command(host, "cat").arg("/proc/net/snmp").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "OutDatagrams").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

#[test]
fn after_quiet_a_watch_sends_nothing_but_hello() {
    let Some(_turn) = turn("a watch that is quiet") else { return };
    let mut hosts = Hosts::new(2);
    hosts.start(2, &[]);
    let mut watch = hosts.command(0, env!("CARGO_BIN_EXE_msync"));
    watch.args(["watch", "--delete", "."]);
    let mut watch = watch.spawn().unwrap();
    let flush = |hosts: &Hosts| hosts.msync(&["flush"], Duration::from_secs(20));
    super::names::soon(&hosts, "it is watched", || flush(&hosts).status.success());
    for n in 0..200 {
        let dir = hosts.base(0).join(format!("d{}", n % 20));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{n}")), "x").unwrap();
    }
    fs::remove_dir_all(hosts.base(0).join("d7")).unwrap();
    assert!(flush(&hosts).status.success(), "{}", hosts.logs());
    super::all_equal(&hosts, 1..=2);
    thread::sleep(Duration::from_secs(3));
    let before = [0, 1, 2].map(|host| sent(&hosts, host));
    thread::sleep(Duration::from_secs(10));
    // A HELLO goes each 15 s.
    let since = [0, 1, 2].map(|host| sent(&hosts, host) - before[host]);
    assert!(before[0] > 0 && since.iter().all(|&sent| sent <= 1), "{since:?}\n{}", hosts.logs());
    watch.kill().unwrap();
    watch.wait().unwrap();
}
