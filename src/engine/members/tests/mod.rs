//! One machine and scripted nodes around it; the helpers that the tests share.

mod bounds;
mod clocks;
mod fleet;
mod forged;
mod mirrors;
mod records;
mod rules;

use std::net::{Ipv4Addr, SocketAddrV4};

use super::*;
use crate::name::HostName;
use crate::stamp::Stamp;

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
        authentic: true,
        secret: [5; 16],
        seed: 5,
        silence: SILENCE,
        keepalive: KEEPALIVE,
    }
}

/// A machine of a group without a key.
fn unkeyed() -> Members {
    let mut members = Members::new(Config { authentic: false, ..config() }, at(0));
    sent(&mut members);
    members
}

fn started() -> Members {
    let mut members = Members::new(config(), at(0));
    sent(&mut members);
    members
}

fn addr(host: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 + host), 5_000)
}

/// The node and the address of a host.
fn to(host: u32) -> Destination {
    Destination::One(NodeId(host.into()), addr(host))
}

/// A HELLO to the group.
fn plain() -> Hello {
    Hello {
        new: false,
        receives: true,
        asks: false,
        mtu: 1_500,
        rcvbuf: 425_984,
        oldest_open: TransferNo::new(1),
        challenge: None,
        echo: None,
        name: HostName::parse(b"other").unwrap(),
        version: "2.0.1".into(),
        height: Stamp::ZERO,
        wall: 0,
        records: None,
        mirrors: Vec::new(),
    }
}

/// A HELLO that asks, with a challenge.
fn asking() -> Hello {
    Hello { asks: true, challenge: Some([9; 16]), ..plain() }
}

fn sent(members: &mut Members) -> Vec<(Destination, Packet)> {
    std::iter::from_fn(|| members.poll_transmit()).collect()
}

fn events(members: &mut Members) -> Vec<Event> {
    std::iter::from_fn(|| members.poll_event()).collect()
}

/// The HELLOs that were sent to `to`.
fn hellos_to(members: &mut Members, to: Destination) -> Vec<Hello> {
    let hello = |(target, packet)| match packet {
        Packet::Hello(hello) if target == to => Some(hello),
        _ => None,
    };
    sent(members).into_iter().filter_map(hello).collect()
}

/// Runs the deadlines up to `end` and gives what was sent, with its time.
fn run(members: &mut Members, end: Time) -> Vec<(Time, Destination, Packet)> {
    let mut all = Vec::new();
    while let Some(now) = members.poll_timeout().filter(|&time| time <= end) {
        members.timeout(now);
        all.extend(sent(members).into_iter().map(|(to, packet)| (now, to, packet)));
    }
    all
}

/// Goes through the handshake as `node` of `addr` with the counters from `counter` on.
fn admit(members: &mut Members, now: Time, node: u64, addr: SocketAddrV4, counter: u64) {
    admit_as(&format!("host{node}"), members, now, node, addr, counter);
}

/// The same, by this name.
fn admit_as(
    name: &str,
    members: &mut Members,
    now: Time,
    node: u64,
    addr: SocketAddrV4,
    counter: u64,
) {
    sent(members);
    members.hello(now, NodeId(node), addr, counter, &asking());
    let answer = hellos_to(members, Destination::One(NodeId(node), addr)).pop().expect("an answer");
    let name = HostName::parse(name.as_bytes()).unwrap();
    let echo = Hello { echo: answer.challenge, name, ..plain() };
    members.hello(now, NodeId(node), addr, counter + 1, &echo);
    assert!(members.get(NodeId(node)).is_some());
}
