//! Groups without a key: packets that somebody has written in a member's name.

use std::time::Duration;

use makuosan::ids::TransferNo;
use makuosan::name::NodeId;
use makuosan::wire::header::PacketKind;
use makuosan::wire::hello::Hello;

use crate::common::enemy::Enemy;
use crate::common::{Fleet, eventually, now, tree, within};

/// Answers each question of the victim's, for so long. How many there were.
fn answer(member: &mut Enemy, time: Duration) -> usize {
    let (deadline, mut asked) = (now() + time, 0);
    while now() < deadline {
        let Some((header, payload)) = member.receive() else { continue };
        let Ok(hello) = Hello::parse(&payload) else { continue };
        if let (PacketKind::Hello, true, Some(_)) = (header.kind, hello.asks, hello.challenge) {
            asked += 1;
            member.hello(true, hello.challenge);
        }
    }
    asked
}

fn is_accepted(member: &mut Enemy, number: u32) {
    eventually("its BEGIN is heard", || {
        member.begin(number);
        let answers = std::iter::from_fn(|| member.receive());
        let mut of_this = answers.filter(|(header, _)| header.transfer == TransferNo::new(number));
        of_this.any(|(header, _)| header.kind == PacketKind::Accept)
    });
    member.send(PacketKind::Abort, number, 0, 0, &[]);
}

#[test]
fn a_hello_or_begin_that_closes_numbers_far_ahead_silences_nobody() {
    let fleet = Fleet::new("far-ahead", 2);
    let mut member = Enemy::new(&fleet, 7, 1, NodeId(3));
    member.join(&fleet, 1, false);
    is_accepted(&mut member, 5);
    for (number, far) in (6..).step_by(2).zip([1_000, 1 << 30, 1 << 31, u32::MAX]) {
        // What somebody else could have written.
        member.oldest = TransferNo::new(far);
        member.hello(false, None);
        is_accepted(&mut member, far);
        // And the member itself.
        member.oldest = TransferNo::new(number);
        is_accepted(&mut member, number);
        member.hello(false, None);
        is_accepted(&mut member, number + 1);
    }
    tree::write(fleet.path(0, "file"), "x");
    fleet.msync(0, &["send", "-r", "-t", "h1"]).well();
}

#[test]
fn who_is_said_to_leave_is_asked_and_stays() {
    let mut fleet = Fleet::new("said-to-leave", 2);
    let mut member = Enemy::new(&fleet, 7, 1, NodeId(3));
    member.join(&fleet, 1, false);
    for _ in 0..3 {
        member.leave();
        assert!(answer(&mut member, Duration::from_millis(1_200)) > 0, "it was not asked");
        assert_eq!(fleet.members(1), ["evil", "h0"]);
    }
    // Nobody waits for the answer longer than it takes.
    tree::write(fleet.path(1, "file"), "x");
    member.leave();
    let begun = now();
    fleet.msync(1, &["send", "-r", "-t", "h0"]).well();
    assert!(begun.elapsed() < Duration::from_secs(2));
    within(Duration::from_secs(1), "it has left", || (fleet.members(1) == ["h0"]).then_some(()));
    fleet.daemon(1).wait_for_log("evil (");
    let log = fleet.daemon(1).log();
    assert_eq!(log.matches("evil (").count(), 2, "{log}");
}
