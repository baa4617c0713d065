//! What HELLO says of records, and when.

use super::*;
use crate::wire::behind::{Behind, Why};
use crate::wire::hello::Said;
use crate::wire::outcome::Reason;

fn said(count: u32, why: Why) -> Option<Said> {
    Some(Said { behind: Behind { count, why, ..Behind::default() }, ..Said::default() })
}

/// When a HELLO with news was sent to the group, in milliseconds after 100 s, until the next one that was due.
fn news(members: &mut Members, from: Time) -> Vec<u64> {
    let said = run(members, from + Span::from_secs(5));
    let to_group = said.into_iter().filter(|(_, to, _)| *to == Destination::Group);
    to_group.map(|(now, ..)| now.since(from).millis()).collect()
}

/// A machine whose next HELLO is some seconds off.
fn quiet() -> (Members, Time) {
    let mut members = started();
    members.set_records(at(0), said(0, Why::Asking));
    let mut now = at(0);
    for (at, to, _) in run(&mut members, secs(100)) {
        now = if to == Destination::Group { at } else { now };
    }
    assert!(now > secs(80));
    (members, now)
}

#[test]
fn that_something_is_lacking_or_not_any_more_is_said_if_it_lasts() {
    let full = Why::Failed(Reason::Os(28));
    let (mut members, now) = quiet();
    members.set_records(now, said(3, Why::Asking));
    // Which ones changes nothing, nor does asking often.
    for (millis, count) in [(100, 2), (500, 1), (900, 7)] {
        members.set_records(now + Span::from_millis(millis), said(count, Why::Asking));
    }
    assert_eq!(news(&mut members, now), [1_000]);
    let (mut members, now) = quiet();
    members.set_records(now, said(3, full));
    members.set_records(now + Span::from_millis(999), said(0, Why::Asking));
    assert!(news(&mut members, now).is_empty(), "it did not last");
    members.set_records(now, said(0, full));
    assert!(news(&mut members, now).is_empty(), "nothing has no reason");
    let (mut members, now) = quiet();
    members.set_records(now, said(1, full));
    assert_eq!(news(&mut members, now), [1_000]);
    members.set_records(now + Span::from_secs(5), said(1, Why::Nobody));
    assert_eq!(news(&mut members, now + Span::from_secs(5)), [1_000], "another reason");
}

#[test]
fn who_leaves_says_once_more_what_it_has_if_it_keeps_records() {
    let mut members = started();
    let records = said(2, Why::Nobody);
    members.set_records(at(0), records);
    members.leave();
    let last = sent(&mut members);
    assert_eq!(last.len(), 4);
    assert!(
        matches!(&last[0], (Destination::Group, Packet::Hello(hello)) if hello.records == records)
    );
    assert!(last[1..].iter().all(|(_, packet)| *packet == Packet::Bye));
}

#[test]
fn only_a_hello_that_is_a_members_is_taken() {
    let mut members = started();
    let hello = |members: &mut Members, node: u64, host: u32, counter: u64| {
        members.hello(secs(2), NodeId(node), addr(host), counter, &plain())
    };
    assert!(!hello(&mut members, 2, 2, 1), "a stranger");
    admit(&mut members, secs(2), 2, addr(2), 2);
    assert!(!hello(&mut members, 2, 2, 3), "said before");
    assert!(hello(&mut members, 2, 2, 4));
    assert!(!hello(&mut members, 2, 3, 5), "from elsewhere");
    assert!(!hello(&mut members, ME.0, 2, 6), "our own");
    members.leave();
    assert!(!hello(&mut members, 2, 2, 7));
}
