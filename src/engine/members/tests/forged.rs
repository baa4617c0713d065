//! Groups without a key, where somebody writes packets in a member's name and does not see the answers.

use super::*;
use crate::engine::members::waiting::MAX_WAITING;

/// The highest counter that there is.
const HIGHEST: u64 = (1 << 48) - 1;

fn with_one() -> Members {
    let mut members = unkeyed();
    admit(&mut members, secs(2), 2, addr(2), 1);
    sent(&mut members);
    events(&mut members);
    members
}

/// The member's answer to the question that it has been asked, from which `change` differs.
fn answer(members: &mut Members, now: Time, counter: u64, change: impl Fn(Hello) -> Hello) {
    let question = hellos_to(members, to(2)).pop().expect("a question");
    assert!(question.asks);
    let echo = Hello { echo: question.challenge, ..plain() };
    members.hello(now, NodeId(2), addr(2), counter, &change(echo));
}

#[test]
fn a_member_is_asked_before_its_bye_is_believed() {
    let mut members = with_one();
    members.bye(secs(3), NodeId(2), addr(2), HIGHEST);
    assert!(!members.settled(secs(3)), "it is not known who is there");
    answer(&mut members, at(3_001), 5, |hello| hello);
    assert!(members.settled(at(3_001)));
    // Again and again: it is asked once a second.
    let (mut members, mut asked) = (with_one(), 0);
    for millis in 3_002..6_000 {
        members.bye(at(millis), NodeId(2), addr(2), HIGHEST);
        if let Some(question) = hellos_to(&mut members, to(2)).pop() {
            asked += 1;
            let echo = Hello { echo: question.challenge, ..plain() };
            members.hello(at(millis), NodeId(2), addr(2), millis, &echo);
        }
        run(&mut members, at(millis));
    }
    assert_eq!((asked, members.len(), events(&mut members)), (3, 1, vec![]));
}

#[test]
fn a_member_that_does_leave_is_out_within_a_second() {
    let mut members = with_one();
    for counter in 5..8 {
        members.bye(secs(3), NodeId(2), addr(2), counter);
    }
    let asked = run(&mut members, at(3_999)).iter().filter(|packet| packet.1 == to(2)).count() + 1;
    assert!(asked <= 4, "{asked}");
    assert!(members.is_empty() && members.settled(secs(4)) && members.strangers() == 0);
    let left = events(&mut members);
    assert!(matches!(left[..], [Event::Left { reason: DepartureReason::Bye, .. }]), "{left:?}");
}

#[test]
fn a_member_that_cannot_be_asked_stays() {
    let mut members = with_one();
    for node in 0..2 * MAX_WAITING as u64 {
        members.hello(secs(3), NodeId(100 + node), addr(100 + node as u32), 1, &asking());
    }
    members.bye(secs(3), NodeId(2), addr(2), 9);
    run(&mut members, at(4_500));
    assert_eq!(members.len(), 1);
}

#[test]
fn a_counter_far_ahead_does_not_make_a_member_silent() {
    let mut members = with_one();
    members.hello(secs(3), NodeId(2), addr(2), HIGHEST, &plain());
    sent(&mut members);
    members.hello(secs(9), NodeId(2), addr(2), 5, &plain());
    assert_eq!(members.get(NodeId(2)).unwrap().heard, secs(3));
    answer(&mut members, secs(9), 6, |hello| hello);
    members.hello(secs(10), NodeId(2), addr(2), 7, &plain());
    assert_eq!(members.get(NodeId(2)).unwrap().heard, secs(10));
    // With a key nobody can forge it, and what has come before is not taken again.
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 10);
    sent(&mut members);
    members.hello(secs(3), NodeId(2), addr(2), 5, &plain());
    assert_eq!(sent(&mut members), []);
}

#[test]
fn what_a_hello_says_that_is_new_is_believed_when_the_member_says_it() {
    let mut members = with_one();
    let deaf = |hello: Hello| Hello { receives: false, mtu: 576, ..hello };
    members.hello(secs(3), NodeId(2), addr(2), 5, &deaf(plain()));
    let member = members.get(NodeId(2)).unwrap();
    assert!(member.receives && member.mtu == 1_500);
    answer(&mut members, secs(3), 6, deaf);
    let member = members.get(NodeId(2)).unwrap();
    assert!(!member.receives && member.mtu == 576);
    assert!(matches!(events(&mut members)[..], [Event::Changed(_)]));
    // Which of its transfers are closed is taken as it comes, in either direction.
    for (counter, oldest) in [(7, u32::MAX), (8, 9)] {
        let oldest_open = TransferNo::new(oldest);
        members.hello(
            secs(4),
            NodeId(2),
            addr(2),
            counter,
            &Hello { oldest_open, ..deaf(plain()) },
        );
        assert!(
            matches!(&events(&mut members)[..], [Event::Changed(m)] if m.oldest_open == oldest_open)
        );
    }
}
