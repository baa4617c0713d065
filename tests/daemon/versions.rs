//! Daemons of other versions of the protocol.

use std::net::UdpSocket;
use std::time::Duration;

use crate::common::Fleet;
use makuosan::name::NodeId;
use makuosan::wire::header::{Header, PacketKind, Role, TRAILER_LEN, VERSION};

#[test]
fn a_daemon_of_another_version_is_named_once_and_ignored() {
    let mut fleet = Fleet::new("versions", 2);
    let noisy = UdpSocket::bind((fleet.ip(0), 0)).unwrap();
    let packet = |version: u8, kind: PacketKind, role: Role| {
        let mut packet = Header::new(kind, NodeId(7), role).emit().to_vec();
        packet[0] = version;
        packet.extend([0; 100 + TRAILER_LEN]);
        packet
    };
    let log = |fleet: &mut Fleet| {
        let log = fleet.daemon(1).log();
        log.lines().filter(|line| line.contains("version of the protocol")).count()
    };
    let address = fleet.address(1);
    let hear = |packet: &[u8]| assert!(noisy.send_to(packet, address).is_ok());
    // From an address that a member has, or that says something else, it is nothing.
    hear(&packet(8, PacketKind::Hello, Role::Control));
    let noisy = UdpSocket::bind((std::net::Ipv4Addr::new(127, 9, 9, 9), 0)).unwrap();
    let hear = |packet: &[u8]| assert!(noisy.send_to(packet, address).is_ok());
    hear(&packet(8, PacketKind::Data, Role::Sender));
    hear(&packet(3, PacketKind::Hello, Role::Control));
    hear(&packet(200, PacketKind::Hello, Role::Control));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(log(&mut fleet), 0, "{}", fleet.daemon(1).log());
    for version in [8, VERSION + 1, 8, 8] {
        hear(&packet(version, PacketKind::Hello, Role::Control));
    }
    let line = "ignoring the daemon at 127.9.9.9: it has another version of the protocol";
    fleet.daemon(1).wait_for_log(line);
    assert_eq!(log(&mut fleet), 1, "{}", fleet.daemon(1).log());
    let members = fleet.console(1).ask("members -v");
    let row = "127.9.9.9 is a stranger: it has another version of the protocol";
    assert!(members.contains(row), "{members}");
    fleet.msync(0, &["status"]).ok();
}
