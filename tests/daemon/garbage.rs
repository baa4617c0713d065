//! Packets that no daemon sent.

use std::net::UdpSocket;
use std::time::Duration;

use makuosan::crypto::checksum;
use makuosan::ids::{BatchNo, BlockNo, TransferNo};
use makuosan::name::NodeId;
use makuosan::wire::header::{HEADER_LEN, Header, PacketKind, Role};

use crate::common::{Fleet, eventually, now, process, tree};

/// The most packets that a test sends.
const MOST: usize = 30_000;

/// Bytes in the order that a seed says.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A packet as it should be, of any kind, with a payload of anything.
fn sealed(random: &mut Random, nodes: &[NodeId]) -> Vec<u8> {
    let kind = PacketKind::ALL[random.below(15) as usize];
    let node = match random.below(2) {
        0 => nodes[random.below(nodes.len() as u64) as usize],
        _ => NodeId(random.next()),
    };
    let role = [Role::Sender, Role::Receiver, Role::Control][random.below(3) as usize];
    let mut header = Header::new(kind, node, role);
    header.transfer = TransferNo::new(random.below(5) as u32);
    header.counter = random.next() >> 16;
    header.batch = BatchNo::new(random.below(3) as u32);
    header.block = BlockNo::new(random.below(100) as u32);
    let length = [0, 8, 60, 1_424][random.below(4) as usize] + random.below(9) as usize;
    let payload = tree::bytes(length, random.next());
    let head = header.emit();
    [&head[..], &payload, &checksum(&head, &payload)].concat()
}

/// Something to send: noise, the old protocol, packets cut short or damaged, or sound but strange.
pub(crate) fn packet(random: &mut Random, nodes: &[NodeId]) -> Vec<u8> {
    match random.below(5) {
        0 => {
            let length = random.below(2_000) as usize;
            tree::bytes(length, random.next())
        }
        1 => {
            let mut old = tree::bytes(40 + random.below(1_000) as usize, random.next());
            old[0] = 7;
            old
        }
        2 => {
            let mut cut = sealed(random, nodes);
            cut.truncate(random.below(cut.len() as u64 + 1) as usize);
            cut
        }
        3 => {
            let mut damaged = sealed(random, nodes);
            let at = random.below(damaged.len() as u64) as usize;
            damaged[at] ^= 1 << random.below(8);
            damaged
        }
        _ => sealed(random, nodes),
    }
}

/// The node ids of everybody.
pub(crate) fn nodes(fleet: &Fleet) -> Vec<NodeId> {
    let mut all = Vec::new();
    for at in 0..fleet.len() {
        let json = fleet.console(at).ask("members json");
        let ids = json.split("\"node\":\"").skip(1).map(|part| part.split('"').next().unwrap());
        all.extend(ids.map(|id| NodeId(u64::from_str_radix(id, 16).unwrap())));
    }
    assert!(!all.is_empty());
    all
}

/// The resident memory of a process, in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    process::status_of(format!("/proc/{pid}"), "VmRSS:")[0].parse().unwrap()
}

#[test]
fn noise_on_both_sockets_changes_nothing() {
    let mut fleet = Fleet::new("noise", 3);
    let nodes = nodes(&fleet);
    tree::write(fleet.path(0, "big"), tree::bytes(3 << 20, 1));
    let mut msync = fleet.msync_start(0, &["send", "-r"]);
    // From an address of its own, and from those of members.
    let noisy = [7, 0, 1].map(|at| UdpSocket::bind((fleet.ip(at), 0)).unwrap());
    let port = fleet.address(0).port();
    let group = (fleet.group(), port).into();
    let to = [fleet.address(0), fleet.address(1), fleet.address(2), group];
    let mut random = Random(0x1234_5678_9abc_def1);
    let (deadline, mut sent) = (now() + Duration::from_secs(1), 0);
    let mut served = 0;
    while now() < deadline && sent < MOST {
        let packet = packet(&mut random, &nodes);
        let (from, to) = (random.below(3) as usize, to[random.below(4) as usize]);
        // A full queue is no failure.
        sent += usize::from(noisy[from].send_to(&packet, to).is_ok());
        if sent % 100 == 0 {
            std::thread::sleep(Duration::from_millis(3));
        }
        if !msync.is_running() {
            msync.end().ok();
            served += 1;
            tree::write(fleet.path(0, format!("file{served}")), tree::bytes(100_000, served));
            msync = fleet.msync_start(0, &["send", "-r"]);
        }
    }
    assert!(sent > 1_000, "only {sent} packets");
    eprintln!("{sent} packets; {served} sends meanwhile");
    msync.end().ok();
    fleet.msync(0, &["send", "-r"]).ok();
    // Nobody came, nobody left, nothing was written that was not sent.
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
        assert_eq!(fleet.staged(at), [""; 0]);
    }
    fleet.wait_for_members();
    eventually("nothing is open", || {
        (0..3).all(|at| fleet.console(at).ask("status").contains("recv op : 0\n"))
    });
    for at in 0..3 {
        let pid = fleet.daemon(at).pid();
        assert!(resident(pid) < 64 << 10, "h{at}: {} KiB", resident(pid));
        let log = fleet.daemon(at).log();
        assert!(log.len() < 100_000, "h{at}: {} bytes of log", log.len());
        for line in [" left", " restarted", "did not answer"] {
            assert!(!log.contains(line), "{line}: {log}");
        }
    }
}

#[test]
fn an_old_daemon_is_named_once() {
    let mut fleet = Fleet::new("old", 1);
    let old = UdpSocket::bind((fleet.ip(5), 0)).unwrap();
    let line = format!("ignoring the daemon at {}: it has version 7 of the protocol", fleet.ip(5));
    let mut packet = vec![0; 200];
    packet[0] = 7;
    for to in [fleet.address(0), (fleet.group(), fleet.address(0).port()).into()] {
        for _ in 0..100 {
            old.send_to(&packet, to).unwrap();
        }
    }
    fleet.daemon(0).wait_for_log(&line);
    // It has read them all when it has read what came after them, which another is known by.
    let other = UdpSocket::bind((fleet.ip(6), 0)).unwrap();
    other.send_to(&packet, fleet.address(0)).unwrap();
    let next = format!("the daemon at {}: it has version 7", fleet.ip(6));
    fleet.daemon(0).wait_for_log(&next);
    assert_eq!(fleet.daemon(0).log().matches(&line).count(), 1);
    assert_eq!(fleet.members(0), [""; 0]);
}

#[test]
fn a_bye_from_elsewhere_takes_nobody_out() {
    let fleet = Fleet::new("bye", 3);
    let mut counter = 1 << 40;
    for node in nodes(&fleet) {
        for from in [7, 0, 1, 2] {
            let socket = UdpSocket::bind((fleet.ip(from), 0)).unwrap();
            let mut header = Header::new(PacketKind::Bye, node, Role::Control);
            counter += 1;
            header.counter = counter;
            let head = header.emit();
            assert_eq!(head.len(), HEADER_LEN);
            let packet = [&head[..], &checksum(&head, &[])].concat();
            for to in 0..3 {
                socket.send_to(&packet, fleet.address(to)).unwrap();
            }
        }
    }
    // They are all behind what is sent now.
    tree::write(fleet.path(0, "file"), "x");
    let (_, total) = fleet.console(0).send("send -r");
    assert_eq!((total.hosts, total.failed, total.files), (2, 0, 1));
    for at in 0..3 {
        assert_eq!(fleet.members(at).len(), 2);
    }
}
