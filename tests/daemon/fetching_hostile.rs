//! A member that asks for things without end, and sends what nobody has asked for (`fetch`).

use std::fs;

use makuosan::ids::Ticket;
use makuosan::name::{NodeId, RelPath};
use makuosan::wire::feedback::Feedback;
use makuosan::wire::fetch::{self as wire, End, Over, Request};
use makuosan::wire::header::{Header, PacketKind, Role};
use makuosan::wire::manifest::{Entry, FileTime, Kind, Manifest, Setup};
use makuosan::wire::mode::Mode;

use crate::common::enemy::Enemy;
use crate::common::{Fleet, eventually, tree};

fn say(enemy: &mut Enemy, fetch: &wire::Fetch) {
    let mut header = Header::new(PacketKind::Fetch, enemy.node, Role::Control);
    header.addressed = false;
    let packet = enemy.seal(header, &fetch.emit());
    enemy.send_raw(&packet);
}

fn request(path: &str) -> Vec<u8> {
    Request {
        mode: Mode::SEND,
        recursive: true,
        or_gone: false,
        checksum: false,
        delete_before: false,
        forced: false,
        unless_behind: false,
        lax_attributes: false,
        level: 0,
        max_delete: None,
        path: RelPath::parse(path.as_bytes()).unwrap(),
        patterns: Vec::new(),
    }
    .emit()
}

#[test]
fn a_transfer_that_nobody_has_asked_for_is_refused() {
    let fleet = Fleet::new("fetch-unasked", 1);
    let mut enemy = Enemy::new(&fleet, 7, 0, NodeId(3));
    enemy.join(&fleet, 0, true);
    for (number, ticket) in [(5, 0), (6, 1), (7, u64::MAX)] {
        let entry = Entry {
            path: RelPath::parse(b"evil").unwrap(),
            kind: Kind::Fifo,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: FileTime { secs: 5, nanos: 0 },
        };
        let setup = Setup { ticket: Some(Ticket::new(ticket)), ..Setup::default() };
        let manifest = Manifest { setup: Some(setup), entries: vec![entry], ..Manifest::default() };
        enemy.begin(number);
        enemy.until(number, |feedback| matches!(feedback, Feedback::Accept { .. }));
        enemy.offer(number, 1, &manifest.emit());
        let refused =
            |feedback: &Feedback| format!("{feedback:?}").contains("Refused { reason: Os(1)");
        enemy.until(number, refused);
    }
    assert!(!fleet.path(0, "evil").exists());
}

#[test]
fn requests_without_end_and_answers_that_nobody_waits_for_do_no_harm() {
    let mut fleet = Fleet::with("fetch-hostile", &[&["--no-catch-up"], &["--no-catch-up"]]);
    let mut enemy = Enemy::new(&fleet, 7, 0, NodeId(3));
    enemy.join(&fleet, 0, true);
    tree::write(fleet.path(0, "large"), tree::bytes(4_000_000, 1));
    let threads = |fleet: &mut Fleet| {
        let pid = fleet.daemon(0).pid();
        fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
    };
    let before = threads(&mut fleet);
    for n in 0..500 {
        let ticket = Ticket::new(n);
        // One that never comes whole, one that is none, one that is sound and one to end it.
        for bytes in [vec![7; 60_000], vec![0xff; 9], request("large")] {
            let Some(part) = wire::Fetch::parts(ticket, &bytes, 480).next() else { continue };
            say(&mut enemy, &part);
        }
        say(&mut enemy, &wire::Fetch::Wait(Ticket::new(n + 7)));
        let over = Over {
            transfers: u64::MAX,
            errors: u64::MAX,
            wire: u64::MAX,
            ..Over::nothing(End::Done)
        };
        say(&mut enemy, &wire::Fetch::State(ticket, wire::State::Over(over)));
        say(&mut enemy, &wire::Fetch::State(ticket, wire::State::Running));
        let whole = Ticket::new(1_000 + n);
        wire::Fetch::parts(whole, &request("large"), 480).for_each(|part| say(&mut enemy, &part));
    }
    let log = fleet.daemon(0).log();
    assert!(log.contains("\"fetch large\" by host evil"), "{log}");
    let most = threads(&mut fleet);
    assert!(most <= before + 8, "{before}, then {most} threads");
    // Others are served all the time.
    fleet.msync(1, &["fetch", "--from", "h0", "large"]).ok();
    enemy.leave();
    eventually("all of it is over", || {
        let status = fleet.msync(0, &["status"]).ok().out;
        !status.contains("fetch large")
    });
}
