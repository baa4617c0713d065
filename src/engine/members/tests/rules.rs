//! What each packet does.

use super::*;
use crate::engine::members::strangers::ATTEMPTS;

#[test]
fn a_start_is_four_hellos_and_then_one_every_15_seconds() {
    let mut members = Members::new(config(), at(0));
    members.set_oldest_open(TransferNo::new(3));
    let first = sent(&mut members);
    assert_eq!(first.len(), 1);
    let hellos = run(&mut members, secs(601));
    let times: Vec<u64> = hellos.iter().map(|(time, ..)| time.since(at(0)).millis()).collect();
    assert_eq!(times[..3], [200, 500, 1_000]);
    for pair in times[2..].windows(2) {
        assert!((10_000..=20_000).contains(&(pair[1] - pair[0])), "{pair:?}");
    }
    assert!((38..=44).contains(&times.len()), "{}", times.len());
    for (n, (_, to, packet)) in hellos.iter().enumerate() {
        let Packet::Hello(hello) = packet else { panic!("{packet:?}") };
        assert_eq!(*to, Destination::Group);
        assert_eq!((hello.new, hello.asks, hello.oldest_open.get()), (n < 3, false, 3));
        assert_eq!((hello.challenge, hello.echo), (None, None));
    }
    members.announce(secs(700));
    let first = sent(&mut members).len();
    assert_eq!((first, run(&mut members, secs(702)).len()), (1, 3));
}

#[test]
fn who_was_asleep_says_hello_once() {
    let mut members = started();
    members.timeout(secs(500));
    assert_eq!(sent(&mut members).len(), 1);
    assert!(members.poll_timeout().unwrap() >= secs(510));
}

#[test]
fn no_transfer_within_half_a_second() {
    let members = started();
    assert!(!members.settled(at(499)));
    assert!(members.settled(at(500)));
    assert_eq!(members.settles(), at(500));
}

#[test]
fn the_handshake_step_by_step() {
    let mut a = started();
    let mut b = Members::new(Config { me: NodeId(2), secret: [6; 16], ..config() }, at(0));
    sent(&mut b);
    let now = at(10);
    b.hello(now, ME, addr(1), 1, &Hello { new: true, ..plain() });
    let challenge = hellos_to(&mut b, to(1)).pop().unwrap();
    assert!(challenge.asks && challenge.challenge.is_some() && challenge.echo.is_none());

    a.hello(now, NodeId(2), addr(2), 1, &challenge);
    let both = hellos_to(&mut a, to(2)).pop().unwrap();
    assert!(both.asks && both.challenge.is_some());
    assert_eq!(both.echo, challenge.challenge);

    b.hello(now, ME, addr(1), 2, &both);
    let echo = hellos_to(&mut b, to(1)).pop().unwrap();
    assert!(!echo.asks && echo.challenge.is_none());
    assert_eq!(echo.echo, both.challenge);
    assert!(b.get(ME).is_some());

    a.hello(now, NodeId(2), addr(2), 2, &echo);
    assert_eq!(sent(&mut a), []);
    let member = a.get(NodeId(2)).unwrap().clone();
    assert_eq!((member.addr, member.joined, member.heard), (addr(2), now, now));
    assert_eq!((member.mtu, member.name.as_str()), (9_000, "me"));
    assert_eq!(events(&mut a), [Event::Joined(member)]);
    for members in [&mut a, &mut b] {
        assert_eq!(members.strangers(), 0, "no more repeats");
        assert!(run(members, secs(9)).iter().all(|(_, to, _)| *to == Destination::Group));
    }
}

#[test]
fn an_answer_is_repeated_until_there_is_an_echo() {
    let mut members = started();
    run(&mut members, secs(2));
    members.hello(secs(2), NodeId(2), addr(2), 1, &asking());
    let mut answers = hellos_to(&mut members, to(2));
    for (time, to, packet) in run(&mut members, secs(40)) {
        if let (Destination::One(_, to), Packet::Hello(hello)) = (to, packet) {
            assert!(to == addr(2) && time > secs(2));
            answers.push(hello);
        }
    }
    assert_eq!(answers.len(), ATTEMPTS as usize);
    assert!(answers.iter().all(|hello| hello.asks && hello.echo == Some([9; 16])));
    assert_eq!(members.strangers(), 0);
    // The first challenge is valid in the next slot too, which ends at 120 s on the clock.
    let first = Hello { echo: answers[0].challenge, ..plain() };
    members.hello(at(19_999), NodeId(2), addr(2), 2, &first);
    assert_eq!(members.len(), 1);
}

#[test]
fn a_member_is_answered_when_it_asks_and_four_times_a_second() {
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 1);
    members.hello(secs(3), NodeId(2), addr(2), 10, &plain());
    assert_eq!(sent(&mut members), [], "it did not ask");
    for counter in 11..31 {
        members.hello(secs(3), NodeId(2), addr(2), counter, &asking());
    }
    let answers = hellos_to(&mut members, to(2));
    assert_eq!(answers.len(), 4);
    assert!(
        answers.iter().all(|hello| {
            !hello.asks && hello.challenge.is_none() && hello.echo == Some([9; 16])
        })
    );
    assert_eq!(members.counts().limited, 16);
    members.hello(secs(4), NodeId(2), addr(2), 31, &asking());
    assert_eq!(hellos_to(&mut members, to(2)).len(), 1);
}

#[test]
fn an_echo_admits_only_the_node_and_address_that_it_was_made_for() {
    let mut members = started();
    members.hello(secs(2), NodeId(2), addr(2), 1, &asking());
    let answer = hellos_to(&mut members, to(2)).pop().unwrap();
    let echo = Hello { echo: answer.challenge, ..plain() };
    let ported = SocketAddrV4::new(*addr(2).ip(), 5_001);
    for (node, from) in [(2, addr(3)), (3, addr(2)), (2, ported)] {
        members.hello(secs(2), NodeId(node), from, 9, &echo);
        // What a forger gets to see is a challenge for the forged address, sent there.
        assert!(members.is_empty(), "{node} {from}");
    }
    assert_eq!(members.counts().bad_echo, 3);
    // Made at 102 s on the clock, in the slot that ends at 105 s: valid until 120 s.
    members.hello(secs(20), NodeId(2), addr(2), 9, &echo);
    assert!(members.is_empty());
    assert_eq!(members.counts().bad_echo, 4);
    let mut other = Members::new(Config { secret: [6; 16], ..config() }, at(0));
    other.hello(secs(2), NodeId(2), addr(2), 9, &echo);
    assert!(other.is_empty(), "another process of the same node");
}

#[test]
fn a_members_hello_from_elsewhere_is_ignored() {
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 1);
    let before = members.get(NodeId(2)).cloned();
    sent(&mut members);
    members.hello(secs(3), NodeId(2), addr(3), 100, &asking());
    assert_eq!(sent(&mut members), []);
    assert_eq!(members.get(NodeId(2)).cloned(), before);
    assert_eq!(members.counts().elsewhere, 1);
    members.hello(secs(3), NodeId(2), addr(2), 3, &plain());
    assert_eq!(members.get(NodeId(2)).unwrap().heard, secs(3), "its counter is still its own");
}

#[test]
fn who_has_another_address_says_bye_from_there_and_is_another_node() {
    // With a key it is believed, once; without one, the member is asked where it was.
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 1);
    members.bye(secs(3), NodeId(2), addr(3), 2);
    assert_eq!((members.len(), members.counts().replayed), (1, 1));
    members.bye(secs(3), NodeId(2), addr(3), 3);
    assert!(members.is_empty());
    let mut members = unkeyed();
    admit(&mut members, secs(2), 2, addr(2), 1);
    members.bye(secs(3), NodeId(2), addr(3), 3);
    assert_eq!(hellos_to(&mut members, to(2)).len(), 1);
    assert!(!members.settled(secs(3)), "it is not known who is there");
    admit(&mut members, at(3_010), 7, addr(3), 1);
    run(&mut members, at(3_999));
    let nodes: Vec<NodeId> = members.members().map(|member| member.node).collect();
    assert_eq!(nodes, [NodeId(7)]);
}

#[test]
fn a_namesake_that_joins_is_the_same_host_if_nobody_answers_at_its_other_address() {
    for authentic in [true, false] {
        let mut members = Members::new(Config { authentic, ..config() }, at(0));
        admit_as("web1", &mut members, secs(2), 2, addr(2), 1);
        admit_as("web1", &mut members, secs(3), 3, addr(3), 1);
        assert!(!members.settled(secs(3)));
        events(&mut members);
        // The one is there still.
        let question = hellos_to(&mut members, to(2)).pop().expect("a question");
        let echo = Hello { echo: question.challenge, ..plain() };
        members.hello(at(3_001), NodeId(2), addr(2), 9, &echo);
        run(&mut members, secs(4));
        assert_eq!((members.len(), members.settled(secs(4))), (2, true));
        assert_eq!(events(&mut members), []);
        // It is not.
        admit_as("web1", &mut members, secs(5), 4, addr(4), 1);
        let question = hellos_to(&mut members, to(3)).pop().expect("a question");
        let echo = Hello { echo: question.challenge, ..plain() };
        members.hello(at(5_001), NodeId(3), addr(3), 9, &echo);
        run(&mut members, secs(6));
        let left = events(&mut members);
        let [Event::Joined(_), Event::Left { member, reason }] = &left[..] else {
            panic!("{left:?}")
        };
        assert_eq!((member.node, *reason), (NodeId(2), DepartureReason::Moved(addr(4))));
    }
}

#[test]
fn who_begins_anew_says_bye_and_then_hello_as_another_node() {
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 1);
    run(&mut members, secs(60));
    members.heard(secs(60), NodeId(2));
    members.say_bye();
    assert_eq!(sent(&mut members), vec![(Destination::Group, Packet::Bye); 3]);
    members.begin_anew(secs(60), NodeId(99), 1_000);
    let hellos: Vec<_> = run(&mut members, secs(62));
    let first = hellos_to(&mut members, Destination::Group);
    assert!(hellos.len() + first.len() >= 4 && !members.settled(secs(60)));
    assert!(members.settled(at(60_500)) && members.len() == 1);
    // What it was before is another node's now.
    members.hello(secs(61), ME, addr(1), 1, &asking());
    members.hello(secs(61), NodeId(99), addr(3), 1, &asking());
    assert_eq!(members.counts().own, 1);
}

#[test]
fn counters_must_grow() {
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 10);
    for counter in [0, 10, 11] {
        members.hello(secs(3), NodeId(2), addr(2), counter, &plain());
        members.bye(secs(3), NodeId(2), addr(2), counter);
    }
    assert_eq!(members.get(NodeId(2)).unwrap().heard, secs(2));
    assert_eq!(members.counts().replayed, 6);
    members.bye(secs(3), NodeId(2), addr(2), 12);
    assert!(members.is_empty());
    let before = members.counts();
    members.bye(secs(3), NodeId(2), addr(2), 13);
    members.bye(secs(3), ME, addr(2), 13);
    let counts = members.counts();
    assert_eq!((counts.strangers - before.strangers, counts.own - before.own), (1, 1));
}

#[test]
fn who_has_gone_comes_back_only_with_higher_counters() {
    let mut members = started();
    members.hello(secs(2), NodeId(2), addr(2), 1, &asking());
    let answer = hellos_to(&mut members, to(2)).pop().unwrap();
    let echo = Hello { echo: answer.challenge, ..plain() };
    members.hello(secs(2), NodeId(2), addr(2), 2, &echo);
    members.bye(secs(2), NodeId(2), addr(2), 3);
    events(&mut members);
    for counter in 0..=3 {
        members.hello(secs(3), NodeId(2), addr(2), counter, &echo);
    }
    assert!(members.is_empty());
    assert_eq!(members.counts().replayed, 4);
    members.hello(secs(3), NodeId(2), addr(2), 4, &echo);
    assert_eq!(members.len(), 1);
}

#[test]
fn silence_ends_a_membership_and_any_packet_puts_that_off() {
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 1);
    admit(&mut members, secs(2), 3, addr(3), 1);
    members.heard(secs(30), NodeId(3));
    members.heard(secs(20), NodeId(3));
    members.heard(secs(20), NodeId(9));
    admit(&mut members, secs(40), 4, addr(4), 1);
    events(&mut members);
    let mut left = |end: Time| -> Vec<(u64, DepartureReason)> {
        run(&mut members, end);
        let left = |event| match event {
            Event::Left { member, reason } => Some((member.node.0, reason)),
            _ => None,
        };
        events(&mut members).into_iter().filter_map(left).collect()
    };
    assert_eq!(left(at(61_999)), []);
    assert_eq!(left(at(62_000)), [(2, DepartureReason::Silent)]);
    assert_eq!(left(at(89_999)), []);
    assert_eq!(left(at(90_000)), [(3, DepartureReason::Silent)]);
    assert_eq!(left(at(100_000)), [(4, DepartureReason::Silent)]);
    members.drop_member(secs(101), NodeId(4));
    assert_eq!(events(&mut members), [], "silent, and not dropped after that");
}

#[test]
fn a_new_node_at_the_same_address_replaces_the_old_one() {
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 50);
    admit(&mut members, secs(2), 3, addr(3), 50);
    events(&mut members);
    admit(&mut members, secs(3), 4, addr(2), 1);
    let happened = events(&mut members);
    assert!(matches!(
        &happened[..],
        [Event::Left { member: old, reason: DepartureReason::Replaced { by: NodeId(4) } }, Event::Joined(new)]
            if old.node == NodeId(2) && new.node == NodeId(4)
    ));
    assert_eq!(members.len(), 2);
    // The old one's late BYE is nobody's.
    members.bye(secs(3), NodeId(2), addr(2), 60);
    assert_eq!(members.len(), 2);
    // And its address belongs to the new one, also when that goes.
    members.bye(secs(3), NodeId(4), addr(2), 60);
    admit(&mut members, secs(4), 5, addr(2), 1);
    assert_eq!(members.len(), 2);
}

#[test]
fn what_changes_is_told() {
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 1);
    events(&mut members);
    members.hello(secs(3), NodeId(2), addr(2), 3, &plain());
    assert_eq!(events(&mut members), []);
    let news = Hello { oldest_open: TransferNo::new(8), receives: false, mtu: 1_400, ..plain() };
    members.hello(secs(4), NodeId(2), addr(2), 4, &news);
    let member = members.get(NodeId(2)).unwrap().clone();
    assert_eq!((member.oldest_open.get(), member.receives, member.mtu), (8, false, 1_400));
    assert_eq!(events(&mut members), [Event::Changed(member)]);
    let renamed = HostName::parse(b"renamed").unwrap();
    members.hello(
        secs(5),
        NodeId(2),
        addr(2),
        5,
        &Hello { oldest_open: TransferNo::new(7), name: renamed, ..news.clone() },
    );
    let member = members.get(NodeId(2)).unwrap().clone();
    assert_eq!((member.oldest_open.get(), member.name.as_str()), (7, "host2"));
    assert_eq!(events(&mut members), [Event::Changed(member)]);
}

#[test]
fn our_own_packets_are_dropped_first() {
    let mut members = started();
    members.hello(secs(2), ME, addr(1), 1, &asking());
    assert_eq!((members.counts().own, members.strangers()), (1, 0));
    assert_eq!(sent(&mut members), []);
}

#[test]
fn two_hosts_may_have_one_name() {
    let mut members = started();
    admit_as("other", &mut members, secs(2), 2, addr(2), 1);
    admit_as("other", &mut members, secs(2), 3, addr(3), 1);
    let names: Vec<&str> = members.members().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["other", "other"]);
}

#[test]
fn leaving_is_three_byes_and_then_silence() {
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 1);
    members.hello(secs(2), NodeId(3), addr(3), 1, &asking());
    events(&mut members);
    members.leave();
    members.leave();
    assert_eq!(sent(&mut members), vec![(Destination::Group, Packet::Bye); 3]);
    assert_eq!(members.poll_timeout(), None);
    members.hello(secs(3), NodeId(3), addr(3), 2, &asking());
    members.bye(secs(3), NodeId(2), addr(2), 9);
    members.timeout(secs(300));
    members.announce(secs(300));
    assert_eq!((sent(&mut members), events(&mut members)), (vec![], vec![]));
}
