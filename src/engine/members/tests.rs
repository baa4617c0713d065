//! One machine, and scripted nodes around it.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::departed::MAX_DEPARTED;
use super::limit::MAX_SOURCES;
use super::waiting::MAX_WAITING;
use super::*;
use crate::name::HostName;

const ME: NodeId = NodeId(1);

fn at(millis: u64) -> Time {
    Time::from_micros(100_000_000 + millis * 1_000)
}

fn secs(secs: u64) -> Time {
    at(secs * 1_000)
}

fn config() -> Config {
    Config {
        me: ME,
        name: HostName::parse(b"me").unwrap(),
        version: "2.0.0".into(),
        mtu: 9_000,
        rcvbuf: 212_992,
        receives: true,
        secret: [5; 16],
        seed: 5,
        silence: SILENCE,
        keepalive: KEEPALIVE,
    }
}

fn started() -> Members {
    let mut members = Members::new(config(), at(0));
    sent(&mut members);
    members
}

fn addr(host: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 + host), 5_000)
}

/// A HELLO to the group.
fn plain() -> Hello {
    Hello {
        new: false,
        receives: true,
        asks: false,
        mtu: 1_500,
        rcvbuf: 425_984,
        oldest_open: 1,
        challenge: None,
        echo: None,
        name: HostName::parse(b"other").unwrap(),
        version: "2.0.1".into(),
    }
}

/// A HELLO that asks, with a challenge.
fn asking() -> Hello {
    Hello { asks: true, challenge: Some([9; 16]), ..plain() }
}

fn sent(members: &mut Members) -> Vec<(To, Packet)> {
    std::iter::from_fn(|| members.poll_transmit()).collect()
}

fn events(members: &mut Members) -> Vec<Event> {
    std::iter::from_fn(|| members.poll_event()).collect()
}

/// The HELLOs that were sent to `to`.
fn hellos_to(members: &mut Members, to: To) -> Vec<Hello> {
    let hello = |(target, packet)| match packet {
        Packet::Hello(hello) if target == to => Some(hello),
        _ => None,
    };
    sent(members).into_iter().filter_map(hello).collect()
}

/// Runs the deadlines up to `end` and gives what was sent, with its time.
fn run(members: &mut Members, end: Time) -> Vec<(Time, To, Packet)> {
    let mut all = Vec::new();
    while let Some(now) = members.poll_timeout().filter(|&time| time <= end) {
        members.timeout(now);
        all.extend(sent(members).into_iter().map(|(to, packet)| (now, to, packet)));
    }
    all
}

/// Goes through the handshake as `node` of `addr` with the counters from `counter` on.
fn admit(members: &mut Members, now: Time, node: u64, addr: SocketAddrV4, counter: u64) {
    sent(members);
    members.hello(now, NodeId(node), addr, counter, &asking());
    let answer = hellos_to(members, To::One(addr)).pop().expect("an answer");
    let echo = Hello { echo: answer.challenge, ..plain() };
    members.hello(now, NodeId(node), addr, counter + 1, &echo);
    assert!(members.get(NodeId(node)).is_some());
}

/// A machine with `count` members, of node ids and addresses from 1,000 on, at the time given back.
fn with_members(count: u32) -> (Members, Time) {
    let mut members = started();
    let mut now = secs(2);
    for host in 1_000..1_000 + count {
        now += Span::from_millis(20);
        admit(&mut members, now, host.into(), addr(host), 1);
        members.heard(now, NodeId(host.into()));
    }
    now += Span::from_secs(3);
    run(&mut members, now);
    for host in 1_000..1_000 + count {
        members.heard(now, NodeId(host.into()));
    }
    events(&mut members);
    assert_eq!(members.len(), count as usize);
    (members, now)
}

#[test]
fn a_start_is_four_hellos_and_then_one_every_15_seconds() {
    let mut members = Members::new(config(), at(0));
    members.set_oldest_open(3);
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
        assert_eq!(*to, To::Group);
        assert_eq!((hello.new, hello.asks, hello.oldest_open), (n < 3, false, 3));
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
    let challenge = hellos_to(&mut b, To::One(addr(1))).pop().unwrap();
    assert!(challenge.asks && challenge.challenge.is_some() && challenge.echo.is_none());

    a.hello(now, NodeId(2), addr(2), 1, &challenge);
    let both = hellos_to(&mut a, To::One(addr(2))).pop().unwrap();
    assert!(both.asks && both.challenge.is_some());
    assert_eq!(both.echo, challenge.challenge);

    b.hello(now, ME, addr(1), 2, &both);
    let echo = hellos_to(&mut b, To::One(addr(1))).pop().unwrap();
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
        assert!(run(members, secs(9)).iter().all(|(_, to, _)| *to == To::Group));
    }
}

#[test]
fn an_answer_is_repeated_until_there_is_an_echo() {
    let mut members = started();
    run(&mut members, secs(2));
    members.hello(secs(2), NodeId(2), addr(2), 1, &asking());
    let mut answers = hellos_to(&mut members, To::One(addr(2)));
    for (time, to, packet) in run(&mut members, secs(40)) {
        if let (To::One(to), Packet::Hello(hello)) = (to, packet) {
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
    let answers = hellos_to(&mut members, To::One(addr(2)));
    assert_eq!(answers.len(), 4);
    assert!(
        answers.iter().all(|hello| {
            !hello.asks && hello.challenge.is_none() && hello.echo == Some([9; 16])
        })
    );
    assert_eq!(members.counts().limited, 16);
    members.hello(secs(4), NodeId(2), addr(2), 31, &asking());
    assert_eq!(hellos_to(&mut members, To::One(addr(2))).len(), 1);
}

#[test]
fn an_echo_admits_only_the_node_and_address_that_it_was_made_for() {
    let mut members = started();
    members.hello(secs(2), NodeId(2), addr(2), 1, &asking());
    let answer = hellos_to(&mut members, To::One(addr(2))).pop().unwrap();
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
fn a_members_node_id_from_elsewhere_is_ignored() {
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 1);
    let before = members.get(NodeId(2)).cloned();
    sent(&mut members);
    members.hello(secs(3), NodeId(2), addr(3), 100, &asking());
    members.bye(secs(3), NodeId(2), addr(3), 100);
    assert_eq!(sent(&mut members), []);
    assert_eq!(members.get(NodeId(2)).cloned(), before);
    assert_eq!(members.counts().elsewhere, 2);
    members.hello(secs(3), NodeId(2), addr(2), 3, &plain());
    assert_eq!(members.get(NodeId(2)).unwrap().heard, secs(3), "its counter is still its own");
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
    let answer = hellos_to(&mut members, To::One(addr(2))).pop().unwrap();
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
    members.heard(secs(20), NodeId(4));
    events(&mut members);
    run(&mut members, at(61_999));
    assert_eq!(events(&mut members), []);
    run(&mut members, at(62_000));
    let left = events(&mut members);
    assert!(
        matches!(&left[..], [Event::Left { member, why: Why::Silent }] if member.node == NodeId(2))
    );
    run(&mut members, at(89_999));
    assert_eq!(members.len(), 1);
    run(&mut members, secs(90));
    assert!(members.is_empty());
    members.drop_member(secs(91), NodeId(3));
    assert_eq!(events(&mut members).len(), 1, "silent, and not dropped after that");
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
        [Event::Left { member: old, why: Why::Replaced { by: NodeId(4) } }, Event::Joined(new)]
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
fn what_changes_is_told_and_closed_transfers_stay_closed() {
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 1);
    events(&mut members);
    members.hello(secs(3), NodeId(2), addr(2), 3, &plain());
    assert_eq!(events(&mut members), []);
    let news = Hello { oldest_open: 8, receives: false, mtu: 1_400, ..plain() };
    members.hello(secs(4), NodeId(2), addr(2), 4, &news);
    let member = members.get(NodeId(2)).unwrap().clone();
    assert_eq!((member.oldest_open, member.receives, member.mtu), (8, false, 1_400));
    assert_eq!(events(&mut members), [Event::Changed(member)]);
    let renamed = HostName::parse(b"renamed").unwrap();
    members.hello(
        secs(5),
        NodeId(2),
        addr(2),
        5,
        &Hello { oldest_open: 7, name: renamed, ..news.clone() },
    );
    assert_eq!(events(&mut members), []);
    let member = members.get(NodeId(2)).unwrap();
    assert_eq!((member.oldest_open, member.name.as_str()), (8, "other"));
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
    admit(&mut members, secs(2), 2, addr(2), 1);
    admit(&mut members, secs(2), 3, addr(3), 1);
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
    assert_eq!(sent(&mut members), vec![(To::Group, Packet::Bye); 3]);
    assert_eq!(members.poll_timeout(), None);
    members.hello(secs(3), NodeId(3), addr(3), 2, &asking());
    members.bye(secs(3), NodeId(2), addr(2), 9);
    members.timeout(secs(300));
    members.announce(secs(300));
    assert_eq!((sent(&mut members), events(&mut members)), (vec![], vec![]));
}

#[test]
fn there_are_1_000_members_at_most() {
    let (mut members, now) = with_members(MAX_MEMBERS as u32);
    sent(&mut members);
    members.hello(now, NodeId(7), addr(7), 1, &asking());
    assert_eq!(sent(&mut members), []);
    assert_eq!(members.counts().full, 1);
    // A host that starts anew still takes its old place.
    admit(&mut members, now, 7, addr(1_500), 1);
    assert_eq!(members.len(), MAX_MEMBERS);
    assert!(members.get(NodeId(1_500)).is_none());
}

#[test]
fn small_fleets_answer_the_group_at_once_and_large_ones_one_by_one() {
    for (count, least, most) in [(16, 0, 0), (50, 1, 50), (999, 3_500, 9_000)] {
        let (mut members, mut now) = with_members(count);
        let mut delays = Vec::new();
        for newcomer in 0..100 {
            now += Span::from_secs(10);
            for host in 1_000..1_000 + count {
                members.heard(now, NodeId(host.into()));
            }
            run(&mut members, now);
            members.hello(now, NodeId(newcomer + 10), addr(newcomer as u32), 1, &plain());
            let to = To::One(addr(newcomer as u32));
            let delay = if sent(&mut members).iter().any(|packet| packet.0 == to) {
                Span::ZERO
            } else {
                let later = run(&mut members, now + Span::from_secs(10));
                later.iter().find(|packet| packet.1 == to).expect("an answer").0.since(now)
            };
            delays.push(delay.millis());
            now += Span::from_secs(10);
        }
        let mean = delays.iter().sum::<u64>() / 100;
        assert!(delays.iter().all(|&delay| delay <= most), "{count}: {delays:?}");
        assert!((least..=most).contains(&mean), "{count}: {mean} ms on average");
    }
    // What was sent to us alone does not wait: nobody else answers it.
    let (mut members, now) = with_members(999);
    sent(&mut members);
    members.hello(now, NodeId(7), addr(7), 1, &asking());
    assert_eq!(sent(&mut members).len(), 1);
}

#[test]
fn a_newcomer_knows_a_fleet_of_999_within_its_spread() {
    let mut members = started();
    let mut rng = Rng::new(3);
    // They answer its first HELLO as the others would, and echo whatever they are asked to.
    let mut arrivals: Vec<(Time, u32)> = (1_000..1_999)
        .map(|host| (at(0) + Span::from_micros(rng.below(spread(999).micros())), host))
        .collect();
    arrivals.sort();
    let mut unicasts = 0;
    let echo = |members: &mut Members, now: Time, packets: Vec<(To, Packet)>| {
        let mut count = 0;
        for (to, packet) in packets {
            let (To::One(to), Packet::Hello(hello)) = (to, packet) else { continue };
            let node = u64::from(u32::from(*to.ip()) - 0x0a00_0000);
            count += 1;
            members.hello(
                now + Span::from_micros(200),
                NodeId(node),
                to,
                2,
                &Hello { echo: hello.challenge, ..plain() },
            );
        }
        count
    };
    for (now, host) in arrivals {
        for (time, to, packet) in run(&mut members, now) {
            unicasts += echo(&mut members, time, vec![(to, packet)]);
        }
        members.hello(now, NodeId(host.into()), addr(host), 1, &asking());
        let packets = sent(&mut members);
        unicasts += echo(&mut members, now, packets);
    }
    for (time, to, packet) in run(&mut members, secs(12)) {
        unicasts += echo(&mut members, time, vec![(to, packet)]);
    }
    assert_eq!(members.len(), 999);
    assert!(members.members().all(|member| member.joined <= secs(11)));
    assert!(unicasts <= 1_050, "{unicasts} answers");
}

#[test]
fn storms_of_strangers_cost_little() {
    let (mut members, start) = with_members(20);
    let mut rng = Rng::new(1);
    let mut answers = 0;
    let mut now = start;
    let before = members.counts();
    for n in 0..100_000u64 {
        now = start + Span::from_micros(n * 10);
        let from = NodeId(rng.next_u64());
        let source = SocketAddrV4::new(Ipv4Addr::from(rng.next_u64() as u32), 5_000);
        let mut hello = if n % 2 == 0 { asking() } else { plain() };
        if n % 3 == 0 {
            hello.echo = Some([n as u8; 16]);
        }
        members.hello(now, from, source, rng.next_u64(), &hello);
        members.bye(now, NodeId(rng.next_u64()), source, n);
        answers += sent(&mut members).iter().filter(|packet| packet.0 != To::Group).count();
        answers += run(&mut members, now).iter().filter(|p| p.1 != To::Group).count();
    }
    // A second: the burst, and what grew back.
    assert!((100..=201).contains(&answers), "{answers}");
    assert!(members.strangers() <= MAX_WAITING);
    assert!(members.sources.len() <= MAX_SOURCES.min(20 + answers));
    assert!(members.departed.len() <= MAX_DEPARTED);
    assert_eq!((members.len(), members.events.len(), members.out.len()), (20, 0, 0));
    let counts = members.counts();
    assert_eq!(counts.strangers - before.strangers, 200_000);
    assert_eq!(counts.bad_echo - before.bad_echo, 33_334);
    assert!(counts.limited - before.limited > 95_000);
    // A member that asks meanwhile gets its answer, and the storm leaves nothing behind.
    members.hello(now, NodeId(1_000), addr(1_000), 99, &asking());
    assert_eq!(hellos_to(&mut members, To::One(addr(1_000))).len(), 1);
    run(&mut members, now + Span::from_secs(40));
    assert_eq!(members.strangers(), 0);
}

#[test]
fn one_source_gets_eight_answers_and_then_one_a_second() {
    let mut members = started();
    run(&mut members, secs(2));
    let source = addr(66);
    let mut rng = Rng::new(2);
    let mut answers = 0;
    // Half of a minute, a thousand HELLOs a second: many node ids from one address.
    for n in 0..30_000u64 {
        let now = at(2_000 + n);
        answers += run(&mut members, now).iter().filter(|p| p.1 == To::One(source)).count();
        members.hello(now, NodeId(rng.next_u64()), source, n, &asking());
        answers += hellos_to(&mut members, To::One(source)).len();
    }
    assert!((30..=38).contains(&answers), "{answers}");
    // Others are answered at once all the same.
    members.hello(secs(33), NodeId(2), addr(2), 1, &asking());
    assert_eq!(hellos_to(&mut members, To::One(addr(2))).len(), 1);
}

#[test]
fn no_order_of_calls_panics_or_leaves_a_deadline_behind() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut members = Members::new(Config { seed, ..config() }, at(0));
        let mut now = at(0);
        let mut challenges: Vec<(SocketAddrV4, Option<Challenge>)> = Vec::new();
        for _ in 0..3_000 {
            let node = NodeId(rng.below(6));
            let from = addr(rng.below(6) as u32);
            let counter = rng.below(50) * rng.below(50);
            match rng.below(12) {
                0..=5 => {
                    // Echo something that was sent to this address, now and then.
                    let known = challenges.iter().rev().find(|known| known.0 == from);
                    let flags = rng.next_u64();
                    let hello = Hello {
                        new: flags & 1 != 0,
                        receives: flags & 2 != 0,
                        asks: flags & 4 != 0,
                        challenge: (flags & 8 != 0).then_some([flags as u8; 16]),
                        echo: known.and_then(|known| known.1),
                        oldest_open: flags as u32,
                        ..plain()
                    };
                    members.hello(now, node, from, counter, &hello);
                }
                6 => members.bye(now, node, from, counter),
                7 => members.heard(now, node),
                8 => members.drop_member(now, node),
                9 => members.timeout(now),
                10 => now += Span::from_micros(rng.below(20_000_000)),
                _ if rng.below(50) == 0 => now = Time::from_micros(rng.next_u64()),
                _ if rng.below(200) == 0 => members.announce(now),
                _ if rng.below(400) == 0 => members.leave(),
                _ => members.set_oldest_open(counter as u32),
            }
            for (to, packet) in sent(&mut members) {
                if let (To::One(to), Packet::Hello(hello)) = (to, packet) {
                    challenges.push((to, hello.challenge));
                }
            }
            events(&mut members);
            assert!(members.len() <= 6 && members.by_addr.len() == members.len());
            for member in members.members() {
                assert_ne!(member.node, ME);
                assert_eq!(members.by_addr.get(&member.addr), Some(&member.node));
            }
            if members.poll_timeout().is_some_and(|time| time <= now) {
                members.timeout(now);
                assert!(members.poll_timeout().is_none_or(|time| time > now));
            }
        }
    }
}
