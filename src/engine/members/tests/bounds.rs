//! Large fleets, storms, and calls in any order: what it costs and where it ends.

use super::*;
use crate::engine::members::departed::MAX_DEPARTED;
use crate::engine::members::limit::MAX_SOURCES;
use crate::engine::members::waiting::MAX_WAITING;

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
            let to = Destination::One(NodeId(newcomer + 10), addr(newcomer as u32));
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
    let echo = |members: &mut Members, now: Time, packets: Vec<(Destination, Packet)>| {
        let mut count = 0;
        for (to, packet) in packets {
            let (Destination::One(_, to), Packet::Hello(hello)) = (to, packet) else { continue };
            let node = u64::from(u32::from(*to.ip()) - 0x0a00_0000);
            count += 1;
            let name = HostName::parse(format!("host{node}").as_bytes()).unwrap();
            let echo = Hello { echo: hello.challenge, name, ..plain() };
            members.hello(now + Span::from_micros(200), NodeId(node), to, 2, &echo);
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
        answers +=
            sent(&mut members).iter().filter(|packet| packet.0 != Destination::Group).count();
        answers += run(&mut members, now).iter().filter(|p| p.1 != Destination::Group).count();
    }
    // A second: the burst, and what grew back.
    assert!((100..=201).contains(&answers), "{answers}");
    assert!(members.strangers() <= MAX_WAITING);
    assert!(members.strangers.source_count() <= MAX_SOURCES.min(20 + answers));
    assert!(members.departed.len() <= MAX_DEPARTED);
    assert_eq!((members.len(), members.events.len(), members.out.len()), (20, 0, 0));
    let counts = members.counts();
    assert_eq!(counts.strangers - before.strangers, 200_000);
    assert_eq!(counts.bad_echo - before.bad_echo, 33_334);
    assert!(counts.limited - before.limited > 95_000);
    // A member that asks meanwhile gets its answer, and the storm leaves nothing behind.
    members.hello(now, NodeId(1_000), addr(1_000), 99, &asking());
    assert_eq!(hellos_to(&mut members, to(1_000)).len(), 1);
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
        answers += run(&mut members, now).iter().filter(|p| p.1 != Destination::Group).count();
        members.hello(now, NodeId(rng.next_u64()), source, n, &asking());
        answers += sent(&mut members).iter().filter(|p| p.0 != Destination::Group).count();
    }
    assert!((30..=38).contains(&answers), "{answers}");
    // Others are answered at once all the same.
    members.hello(secs(33), NodeId(2), addr(2), 1, &asking());
    assert_eq!(hellos_to(&mut members, to(2)).len(), 1);
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
                        oldest_open: TransferNo::new(flags as u32),
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
                _ => members.set_oldest_open(TransferNo::new(counter as u32)),
            }
            for (to, packet) in sent(&mut members) {
                if let (Destination::One(_, to), Packet::Hello(hello)) = (to, packet) {
                    challenges.push((to, hello.challenge));
                }
            }
            events(&mut members);
            assert!(members.len() <= 6 && members.roster.address_count() == members.len());
            for member in members.members() {
                assert_ne!(member.node, ME);
                assert_eq!(members.roster.at(member.addr), Some(member.node));
            }
            if members.poll_timeout().is_some_and(|time| time <= now) {
                members.timeout(now);
                assert!(members.poll_timeout().is_none_or(|time| time > now));
            }
        }
    }
}
