//! Packets that reach others than those they were for.

use std::net::SocketAddr;

use makuosan::ids::TargetNo;
use makuosan::name::NodeId;
use makuosan::wire::begin::Delete;
use makuosan::wire::bits::Bits;
use makuosan::wire::feedback::{Deleted, Feedback, State};
use makuosan::wire::header::PacketKind;
use makuosan::wire::manifest::{Manifest, Setup};
use makuosan::wire::mode::Mode;

use super::keys::{dropped, keyed};
use crate::common::enemy::Enemy;
use crate::common::{Fleet, eventually, tree};

const SECRET: &str = "a key for what is redirected";

/// How many transfers come in to a host.
fn open(fleet: &Fleet, at: usize) -> usize {
    let status = fleet.console(at).ask("status");
    let line = status.lines().find(|line| line.starts_with("recv op")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn all() -> Manifest {
    let setup = Some(Setup::default());
    Manifest { setup, ..Manifest::default() }
}

#[test]
fn a_keyed_packet_for_one_member_does_nothing_at_another() {
    let (fleet, _) = keyed("redirected", 2, &format!("{SECRET}\n"));
    for at in 0..2 {
        tree::write(fleet.path(at, "only here"), "x");
    }
    let mut sender = Enemy::keyed(&fleet, 7, 0, NodeId(3), SECRET);
    let nodes = [0, 1].map(|at| {
        sender.victim = fleet.address(at);
        sender.join(&fleet, at, false);
        sender.victim_node
    });
    let delete = Mode::Send { delete: true, ignore_times: false, dry_run: false };
    for (number, kind) in (1..).zip(PacketKind::ALL) {
        // Both are in the middle of a transfer of two.
        for at in [0, 1] {
            (sender.victim, sender.to) = (fleet.address(at), Some(nodes[at]));
            sender.begin_for(number, delete, nodes.to_vec());
            sender.offer(number, 1, &all().emit());
            eventually("a transfer is open", || open(&fleet, at) == 1);
        }
        let everybody = Bits::of([0, 1].map(TargetNo::new));
        let payload = match kind {
            PacketKind::Delete => Delete::Run(everybody).emit(),
            PacketKind::Hello | PacketKind::Begin => vec![0; 40],
            PacketKind::End => vec![0, 0],
            _ => Vec::new(),
        };
        // What one of them is told is told to the other, byte for byte.
        sender.to = Some(nodes[1]);
        let packet = sender.packet(kind, number, 1, 0, &payload);
        let (damaged, before) = (dropped(&fleet, 0, "damaged"), tree::snapshot(&fleet.base(0)));
        sender.socket.send_to(&packet, fleet.address(0)).unwrap();
        eventually("it is counted as damaged", || dropped(&fleet, 0, "damaged") == damaged + 1);
        assert_eq!(open(&fleet, 0), 1, "{kind:?}");
        assert_eq!(tree::snapshot(&fleet.base(0)), before, "{kind:?}");
        let damaged = dropped(&fleet, 1, "damaged");
        sender.socket.send_to(&packet, fleet.address(1)).unwrap();
        if matches!(kind, PacketKind::End | PacketKind::Abort) {
            eventually("it ends where it was to end", || open(&fleet, 1) == 0);
        }
        for at in [0, 1] {
            (sender.victim, sender.to) = (fleet.address(at), Some(nodes[at]));
            sender.send(PacketKind::Abort, number, 0, 0, &[]);
            eventually("nothing is open", || open(&fleet, at) == 0);
        }
        assert_eq!(dropped(&fleet, 1, "damaged"), damaged, "{kind:?}");
    }
    assert!(fleet.path(0, "only here").exists() && fleet.path(1, "only here").exists());
    fleet.msync(0, &["status"]).ok();
}

/// Hears what the victim has to say of a deletion, until it is this.
#[track_caller]
fn hears(enemy: &mut Enemy, number: u32, order: &Delete, mut wanted: impl FnMut(&Deleted) -> bool) {
    eventually("an answer to DELETE", || {
        enemy.delete(number, order);
        while let Some((header, payload)) = enemy.receive() {
            if let Ok((_, Feedback::Deleted(report))) = Feedback::parse(header.kind, &payload) {
                if wanted(&report) {
                    return true;
                }
            }
        }
        false
    });
}

#[test]
fn who_was_not_judged_by_max_delete_deletes_nothing() {
    let fleet = Fleet::new("unjudged", 2);
    for at in 0..50 {
        tree::write(fleet.path(1, format!("dir/{at}")), "x");
    }
    let mut enemy = Enemy::new(&fleet, 7, 1, NodeId(3));
    enemy.join(&fleet, 1, false);
    let delete = Mode::Send { delete: true, ignore_times: false, dry_run: false };
    let before = tree::snapshot(&fleet.base(1));
    enemy.begin_for(1, delete, vec![enemy.victim_node, NodeId(99)]);
    enemy.offer(1, 1, &all().emit());
    enemy.until_state(1, State::Staged);
    enemy.commit(1, 1);
    enemy.until_state(1, State::Done);
    hears(
        &mut enemy,
        1,
        &Delete::Tally,
        |report| matches!(report, Deleted::Tally(tally) if tally.spooled == 51),
    );
    // The sender has lost its answer and goes on with the other one, through the group.
    let address: SocketAddr = enemy.victim;
    let group = SocketAddr::from((fleet.group(), address.port()));
    for (named, to) in [(vec![1], group), (vec![1, 2, 9], address), (vec![], group)] {
        let order = Delete::Run(Bits::of(named.into_iter().map(TargetNo::new)));
        let packet = enemy.packet(PacketKind::Delete, 1, 0, 0, &order.emit());
        enemy.socket.send_to(&packet, to).unwrap();
    }
    // Behind these.
    hears(&mut enemy, 1, &Delete::Tally, |report| matches!(report, Deleted::Tally(_)));
    hears(
        &mut enemy,
        1,
        &Delete::Page(0),
        |report| matches!(report, Deleted::Page { names, .. } if !names.is_empty()),
    );
    assert_eq!(tree::snapshot(&fleet.base(1)), before);
    let order = Delete::Run(Bits::of([0, 1].map(TargetNo::new)));
    hears(&mut enemy, 1, &order, |report| matches!(report, Deleted::Ran { deleted: 51, .. }));
    assert!(!fleet.path(1, "dir").exists());
}
