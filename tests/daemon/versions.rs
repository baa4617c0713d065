//! Daemons of other versions of the protocol.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::common::{Fleet, eventually, tree};
use makuosan::console::json::Value;
use makuosan::ids::TransferNo;
use makuosan::name::{HostName, NodeId};
use makuosan::stamp::Stamp;
use makuosan::wire::header::{Header, PacketKind, Role, TRAILER_LEN, VERSION};
use makuosan::wire::hello::Hello;

/// A packet as a daemon of this version sends it.
fn packet(version: u8, kind: PacketKind, role: Role, payload: &[u8]) -> Vec<u8> {
    let mut packet = Header::new(kind, NodeId(7), role).emit().to_vec();
    packet[0] = version;
    packet.extend(payload);
    packet.extend([0; TRAILER_LEN]);
    packet
}

fn hello(version: u8, name: &str) -> Vec<u8> {
    let hello = Hello {
        new: true,
        receives: true,
        asks: false,
        mtu: 1_500,
        rcvbuf: 1 << 20,
        oldest_open: TransferNo::ZERO,
        challenge: None,
        echo: None,
        name: HostName::parse(name.as_bytes()).unwrap(),
        version: "2.0.0".to_owned(),
        height: Stamp::ZERO,
        wall: 0,
        records: None,
        mirrors: Vec::new(),
    };
    let payload = hello.emit();
    // Version 8 ends where the clock begins.
    let len = payload.len() - if version == 8 { 16 } else { 0 };
    packet(version, PacketKind::Hello, Role::Control, &payload[..len])
}

/// A host of the loopback interface that has no daemon.
fn host(last: u8) -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::new(127, 9, 9, last), 0)).unwrap()
}

#[test]
fn a_daemon_of_another_version_is_named_once_and_ignored() {
    let mut fleet = Fleet::new("versions", 2);
    let noisy = UdpSocket::bind((fleet.ip(0), 0)).unwrap();
    let lines = |fleet: &mut Fleet| {
        let log = fleet.daemon(1).log();
        log.lines().filter(|line| line.contains("of the protocol")).count()
    };
    let (address, garbage) = (fleet.address(1), [0; 100]);
    let hear = |from: &UdpSocket, packet: &[u8]| assert!(from.send_to(packet, address).is_ok());
    // From an address that a member has, or that says something else, it is nothing.
    hear(&noisy, &hello(8, "liar"));
    let noisy = host(9);
    hear(&noisy, &packet(8, PacketKind::Data, Role::Sender, &garbage));
    hear(&noisy, &packet(3, PacketKind::Hello, Role::Control, &garbage));
    hear(&noisy, &packet(200, PacketKind::Hello, Role::Control, &garbage));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(lines(&mut fleet), 0, "{}", fleet.daemon(1).log());
    for version in [8, VERSION + 1, 8, 8] {
        hear(&noisy, &hello(version, "web8"));
    }
    let has = "it has version 8 of the protocol, not 9 (host web8, makuosan 2.0.0)";
    fleet.daemon(1).wait_for_log(&format!("ignoring the daemon at 127.9.9.9: {has}"));
    eventually("all were heard", || {
        fleet.console(1).ask("members -v").contains(&format!("127.9.9.9 is a stranger: {has}"))
    });
    assert_eq!(lines(&mut fleet), 1, "{}", fleet.daemon(1).log());
    fleet.msync(0, &["status"]).ok();
    assert_eq!(fleet.members(1), ["h0"]);
}

#[test]
fn every_other_version_is_a_stranger_in_members_and_counted_in_status() {
    let mut fleet = Fleet::new("many-versions", 1);
    let group = SocketAddr::from((fleet.group(), fleet.address(0).port()));
    let unlike = packet(VERSION + 5, PacketKind::Hello, Role::Control, &[0xff; 9]);
    let c_program = packet(7, PacketKind::Offer, Role::Receiver, &[0; 50]);
    let cases = [
        (hello(8, "web8"), "version 8 of the protocol, not 9 (host web8, makuosan 2.0.0)", 8),
        (hello(10, "web10"), "version 10 of the protocol, not 9 (host web10, makuosan 2.0.0)", 10),
        (unlike, "version 14 of the protocol, not 9", 14),
        (c_program, "version 7 of the protocol, not 9 (makuosan 1)", 7),
    ];
    for (last, (packet, ..)) in (1..).zip(&cases) {
        let socket = host(last);
        for to in [fleet.address(0), group] {
            let _ = socket.send_to(packet, to);
        }
    }
    let strangers = || {
        let json = Value::parse(&fleet.console(0).ask("members json")).unwrap();
        json.get("strangers").unwrap().list().to_vec()
    };
    eventually("four strangers", || strangers().len() == 4);
    for (stranger, (_, has, protocol)) in strangers().iter().zip(&cases) {
        let text = |name: &str| stranger.get(name).and_then(Value::text).unwrap_or_default();
        assert_eq!(text("has"), *has);
        assert_eq!(stranger.get("protocol").and_then(Value::number), Some(*protocol));
        let name = if has.contains("host") { format!("web{protocol}") } else { String::new() };
        assert_eq!(text("name"), name);
        assert_eq!(text("version").is_empty(), name.is_empty());
    }
    let status = Value::parse(&fleet.console(0).ask("status json")).unwrap();
    let dropped = |why| status.get("dropped").unwrap().get(why).and_then(Value::number).unwrap();
    assert!(dropped("other_version") >= 4 && dropped("invalid") == 0);
    assert!(fleet.console(0).ask("status").contains(" other version"));
    // The table that old clients read has members alone.
    assert_eq!(fleet.console(0).ask("members"), "Total: 0 members\n");
    // What a daemon writes arrives here a moment later.
    eventually("four lines", || {
        fleet.daemon(0).log().matches("ignoring the daemon at").count() >= 4
    });
    let log = fleet.daemon(0).log();
    assert_eq!(log.matches("ignoring the daemon at").count(), 4, "{log}");
}

#[test]
fn a_daemon_of_another_version_counts_as_absent_and_send_says_that_it_is_not_served() {
    let fleet = Fleet::new("version-absent", 2);
    tree::write(fleet.path(0, "a"), "1");
    let stranger = host(8);
    stranger.send_to(&hello(8, "web8"), fleet.address(0)).unwrap();
    eventually("it was heard", || fleet.console(0).ask("members -v").contains("web8"));
    let ran = fleet.msync(0, &["send", "-v", "a"]).well();
    assert!(ran.err.contains(" to 1 of 2 hosts in "), "{ran:?}");
    assert!(ran.err.ends_with("not served: web8: another version of the protocol\n"), "{ran:?}");
    let ran = fleet.msync(0, &["send", "--json", "--require", "all", "a"]);
    let why = "1 of 2 hosts have everything, all are required: missing web8 (another version of the protocol)";
    assert!(ran.code == Some(2) && ran.out.contains(why), "{ran:?}");
    assert!(ran.out.contains("\"why\":\"other_version\",\"later\":false"), "{ran:?}");
    for target in ["web8", "127.9.9.8"] {
        let ran = fleet.msync(0, &["send", "-t", target, "a"]);
        let why = format!("error: {target} is not served: another version of the protocol\n");
        assert_eq!((ran.code, ran.err), (Some(2), why));
    }
    let history = fleet.msync(0, &["history"]).ok().out;
    assert!(!history.contains("web8"), "{history}");
}

#[test]
fn two_members_of_one_name_count_as_absent_and_send_says_that_they_get_nothing_later() {
    let mut fleet = Fleet::new("name-absent", 2);
    let two = fleet.idle_host();
    fleet.start(two, &["-N", "h1"]);
    eventually("both are there", || fleet.members(0) == ["h1", "h1"]);
    tree::write(fleet.path(0, "a"), "1");
    let ran = fleet.msync(0, &["send", "-v", "a"]).well();
    assert!(ran.err.contains(" to 2 hosts in "), "{ran:?}");
    assert!(ran.err.ends_with("not served later: h1: the name of several hosts\n"), "{ran:?}");
    assert!(fleet.path(1, "a").exists() && fleet.path(two, "a").exists());
    let ran = fleet.msync(0, &["check", "--require", "1", "a"]);
    let why = "error: 0 of 2 hosts have everything, 1 is required: missing h1 (the name of several hosts)\n";
    assert_eq!((ran.code, ran.err.as_str()), (Some(2), why));
}
