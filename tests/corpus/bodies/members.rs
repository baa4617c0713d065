//! Membership, with HELLOs and BYEs of anybody, and echoes that are old, stolen or made up.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::input::Input;
use makuosan::engine::destination::Destination;
use makuosan::engine::members::{Config, KEEPALIVE, MAX_MEMBERS, Members, Packet, SILENCE};
use makuosan::ids::TransferNo;
use makuosan::name::{HostName, NodeId};
use makuosan::stamp::Stamp;
use makuosan::time::{Span, Time};
use makuosan::wire::hello::{Challenge, Hello};

const ME: NodeId = NodeId(1);
const MOST: usize = 600;
/// The most strangers that wait for an answer.
const MOST_WAITING: usize = 4_096;

struct World {
    members: Members,
    now: Time,
    /// The last challenge that each of eight addresses was sent, whoever it was meant for.
    challenges: [Option<Challenge>; 8],
    /// When each of these addresses was last answered.
    answers: u64,
    started: Time,
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let seed = input.u8();
    let config = Config {
        authentic: seed % 2 == 0,
        me: ME,
        name: HostName::parse(b"me").unwrap(),
        version: "2.0.0".to_owned(),
        mtu: 1_500,
        rcvbuf: 1 << 20,
        receives: true,
        secret: [3; 16],
        seed: seed.into(),
        silence: SILENCE,
        keepalive: KEEPALIVE,
    };
    let now = Time::from_micros(1_000_000);
    let mut world = World {
        members: Members::new(config, now),
        now,
        challenges: [None; 8],
        answers: 0,
        started: now,
    };
    let mut count = 0;
    while !input.is_empty() && count < MOST {
        count += 1;
        world.step(&mut input);
        world.check();
    }
    world.end();
}

fn address(at: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 + at), 5_000)
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        let who = input.u8();
        let node = match who >> 5 {
            0 => NodeId(input.u64()),
            some => NodeId(u64::from(some)),
        };
        let at = u32::from(who & 7);
        let from = address(at);
        let counter = match input.below(8) {
            0 => input.u64() >> 16,
            1 => (1 << 48) - 1,
            small => (u64::from(small) << 8) + u64::from(input.u8()),
        };
        let now = self.now;
        match input.below(16) {
            0..=8 => {
                let flags = input.u8();
                let echo = match flags >> 4 {
                    0 => None,
                    1 => Some([input.u8(); 16]),
                    // One that another address was sent.
                    2 => self.challenges[usize::from(input.u8() & 7)],
                    _ => self.challenges[at as usize],
                };
                let hello = Hello {
                    new: flags & 1 != 0,
                    receives: flags & 2 != 0,
                    asks: flags & 4 != 0,
                    mtu: 576 + u16::from(input.u8()),
                    rcvbuf: input.u8().into(),
                    oldest_open: TransferNo::new(input.number()),
                    challenge: (flags & 8 == 0).then_some([flags; 16]),
                    echo,
                    name: HostName::parse(b"other").unwrap(),
                    version: "2".to_owned(),
                    height: Stamp::ZERO,
                    wall: 0,
                    records: None,
                    mirrors: Vec::new(),
                };
                self.members.hello(now, node, from, counter, &hello);
            }
            9 => self.members.bye(now, node, from, counter),
            10 => self.members.heard(now, node),
            11 => self.members.drop_member(now, node),
            12 | 13 => {
                let span = match input.below(4) {
                    0 => Span::from_secs(input.u8().into()),
                    1 => Span::from_micros(input.u16().into()),
                    2 => Span::from_micros(u64::from(input.u32()) << 8),
                    _ => Span::from_millis(u64::from(input.u8()) * 20),
                };
                self.now = now + span;
                self.members.timeout(self.now);
            }
            14 => match input.below(16) {
                0 => self.members.announce(now),
                1 => self.members.leave(),
                2 => self.members.set_mtu(input.u16()),
                _ => self.members.set_oldest_open(TransferNo::new(input.number())),
            },
            // A storm: many nodes, many addresses, at once.
            _ => {
                let first = input.u16();
                let hello = Hello {
                    new: true,
                    receives: true,
                    asks: true,
                    mtu: 1_500,
                    rcvbuf: 0,
                    oldest_open: TransferNo::ZERO,
                    challenge: Some([1; 16]),
                    echo: None,
                    name: HostName::parse(b"storm").unwrap(),
                    version: "2".to_owned(),
                    height: Stamp::ZERO,
                    wall: 0,
                    records: None,
                    mirrors: Vec::new(),
                };
                for n in 0..u32::from(input.u8() & 15) {
                    let node = NodeId(1_000 + u64::from(first) + u64::from(n));
                    let from = address(1_000 + n % (1 + u32::from(who)));
                    self.members.hello(now, node, from, counter, &hello);
                }
            }
        }
    }

    fn check(&mut self) {
        while let Some((to, packet)) = self.members.poll_transmit() {
            if let (Destination::One(_, to), Packet::Hello(hello)) = (to, &packet) {
                self.answers += 1;
                let at = u32::from(*to.ip()).wrapping_sub(0x0a00_0000) as usize;
                if let Some(known) = self.challenges.get_mut(at) {
                    *known = hello.challenge;
                }
            }
            if let Packet::Hello(hello) = &packet {
                // A MTU that the wire does not take is its owner's own.
                let fine = hello.mtu < 576 || Hello::parse(&hello.emit()).as_ref() == Ok(hello);
                assert!(fine, "{hello:?}");
            }
        }
        while self.members.poll_event().is_some() {}
        // A burst, and then a hundred a second; as many again to members.
        let seconds = self.now.since(self.started).micros() / 1_000_000;
        assert!(self.answers <= 600 + 400 * (seconds + 1), "{} answers", self.answers);
        assert!(self.members.len() <= MAX_MEMBERS.min(64), "eight addresses can prove themselves");
        assert!(self.members.strangers() <= MOST_WAITING);
        let mut addresses: Vec<_> = self.members.members().map(|member| member.addr).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), self.members.len(), "two members at one address");
        assert!(self.members.members().all(|member| member.node != ME));
        if self.members.poll_timeout().is_some_and(|due| due <= self.now) {
            self.members.timeout(self.now);
            let next = self.members.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "due again at once: {next:?}");
        }
    }

    /// Nobody speaks any more: nobody is left.
    fn end(mut self) {
        for _ in 0..10_000 {
            let Some(next) = self.members.poll_timeout() else { return };
            if self.members.is_empty() && self.members.strangers() == 0 {
                return;
            }
            self.now = next.max(self.now);
            self.members.timeout(self.now);
            self.check();
        }
        panic!("{} members, {} strangers", self.members.len(), self.members.strangers());
    }
}
