//! Whole fleets over a simulated network: seeded loss, delay and duplication, a virtual clock.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::super::*;
use crate::name::HostName;
use crate::stamp::{HybridClock, Stamp};

/// After this, who stops is gone also where packets prove nothing and it is asked first.
const AT_ONCE: Span = Span::from_millis(600);

/// A packet on its way.
#[derive(Clone)]
struct Flight {
    to: usize,
    from: NodeId,
    addr: SocketAddrV4,
    counter: u64,
    /// None for BYE.
    hello: Option<Vec<u8>>,
}

/// A daemon on a host; a new one each time the host starts it.
pub(super) struct Daemon {
    pub members: Members,
    pub clock: HybridClock,
    counter: u64,
    seen: Vec<(Time, Event)>,
    sent_to_group: u64,
    sent_to_one: u64,
}

pub(super) struct Fleet {
    pub now: Time,
    pub rng: Rng,
    /// Lost, of 100.
    loss: u64,
    /// Doubled, of 100.
    doubled: u64,
    hosts: Vec<Option<Daemon>>,
    /// What each host is called, and how many milliseconds its wall clock is ahead.
    pub names: Vec<String>,
    pub skews: Vec<i64>,
    flights: BTreeMap<(Time, u64), Flight>,
    launched: u64,
    /// Everything that was ever sent, to be replayed.
    recorded: Vec<Flight>,
}

fn host_addr(host: usize) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x0a00_0001 + host as u32), 5_000)
}

fn secs(secs: u64) -> Span {
    Span::from_secs(secs)
}

impl Fleet {
    pub fn new(hosts: usize, loss: u64, seed: u64) -> Self {
        Fleet {
            now: Time::ZERO + secs(100),
            rng: Rng::new(seed),
            loss,
            doubled: 2,
            hosts: (0..hosts).map(|_| None).collect(),
            names: (0..hosts).map(|host| format!("host{host}")).collect(),
            skews: vec![0; hosts],
            flights: BTreeMap::new(),
            launched: 0,
            recorded: Vec::new(),
        }
    }

    /// A fleet whose daemons all start within a millisecond.
    pub fn started(hosts: usize, loss: u64, seed: u64) -> Self {
        let mut fleet = Fleet::new(hosts, loss, seed);
        for host in 0..hosts {
            fleet.start(host);
            fleet.now += Span::from_micros(fleet.rng.below(1_000) / hosts as u64);
        }
        fleet
    }

    pub fn start(&mut self, host: usize) -> NodeId {
        let me = NodeId(self.rng.next_u64());
        let mut secret = [0; 16];
        secret[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
        let config = Config {
            authentic: me.0 % 2 == 0,
            me,
            name: HostName::parse(self.names[host].as_bytes()).unwrap(),
            version: "2.0.0".into(),
            mtu: 1_500,
            rcvbuf: 212_992,
            receives: true,
            secret,
            seed: self.rng.next_u64(),
            silence: SILENCE,
            keepalive: KEEPALIVE,
        };
        self.hosts[host] = Some(Daemon {
            members: Members::new(config, self.now),
            clock: HybridClock::default(),
            counter: 0,
            seen: Vec::new(),
            sent_to_group: 0,
            sent_to_one: 0,
        });
        self.drain(host);
        me
    }

    pub fn daemon(&self, host: usize) -> &Daemon {
        self.hosts[host].as_ref().unwrap()
    }

    /// The wall clock of a host.
    pub fn wall(&self, host: usize) -> u64 {
        let right = 1_795_804_200_000 + self.now.micros() / 1_000;
        right.saturating_add_signed(self.skews[host])
    }

    /// A host draws a stamp.
    pub fn draw(&mut self, host: usize) -> Stamp {
        let wall = self.wall(host);
        self.hosts[host].as_mut().unwrap().clock.draw(wall)
    }

    fn set_clock(&mut self, host: usize) {
        let wall = self.wall(host);
        if let Some(daemon) = &mut self.hosts[host] {
            daemon.members.set_clock(daemon.clock.height(), wall);
        }
    }

    pub fn node(&self, host: usize) -> NodeId {
        self.daemon(host).members.config.me
    }

    fn stop(&mut self, host: usize) {
        self.hosts[host].as_mut().unwrap().members.leave();
        self.drain(host);
        self.kill(host);
    }

    pub fn kill(&mut self, host: usize) {
        self.hosts[host] = None;
    }

    fn drain(&mut self, host: usize) {
        let wall = self.wall(host);
        let Some(daemon) = &mut self.hosts[host] else { return };
        while let Some(event) = daemon.members.poll_event() {
            if let Event::Height(stamp) = event {
                let _ = daemon.clock.adopt(stamp, wall);
                continue;
            }
            daemon.seen.push((self.now, event));
        }
        let mut sent = Vec::new();
        while let Some((to, packet)) = daemon.members.poll_transmit() {
            daemon.counter += 1;
            let hello = match packet {
                Packet::Hello(hello) => Some(hello.emit()),
                Packet::Bye => None,
            };
            let to = match to {
                Destination::Group => {
                    daemon.sent_to_group += 1;
                    None
                }
                Destination::One(_, addr) => {
                    daemon.sent_to_one += 1;
                    Some(addr)
                }
            };
            let from = daemon.members.config.me;
            sent.push((to, from, daemon.counter, hello));
        }
        let hosts = self.hosts.len();
        for (to, from, counter, hello) in sent {
            for target in (0..hosts).filter(|&t| to.is_none_or(|addr| addr == host_addr(t))) {
                let addr = host_addr(host);
                let flight = Flight { to: target, from, addr, counter, hello: hello.clone() };
                self.recorded.push(flight.clone());
                self.launch(flight);
            }
        }
    }

    /// Puts a packet on the network.
    fn launch(&mut self, flight: Flight) {
        let copies = 1 + u64::from(self.rng.below(100) < self.doubled);
        for _ in 0..copies {
            if self.rng.below(100) < self.loss {
                continue;
            }
            let arrival = self.now + Span::from_micros(50 + self.rng.below(2_000));
            self.launched += 1;
            self.flights.insert((arrival, self.launched), flight.clone());
        }
    }

    /// Runs until `end`, event by event.
    fn run_until(&mut self, end: Time) {
        loop {
            let timeouts = self.hosts.iter().flatten().filter_map(|d| d.members.poll_timeout());
            let arrival = self.flights.first_key_value().map(|(&(time, _), _)| time);
            let Some(next) = timeouts.chain(arrival).min().filter(|&next| next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while self.flights.first_key_value().is_some_and(|(key, _)| key.0 <= self.now) {
                let (_, flight) = self.flights.pop_first().unwrap();
                self.arrive(flight);
            }
            for host in 0..self.hosts.len() {
                self.set_clock(host);
                let Some(daemon) = &mut self.hosts[host] else { continue };
                if daemon.members.poll_timeout().is_some_and(|time| time <= self.now) {
                    daemon.members.timeout(self.now);
                    let again = daemon.members.poll_timeout();
                    assert!(again.is_none_or(|time| time > self.now), "a deadline that stays");
                    self.drain(host);
                }
            }
        }
    }

    pub fn run(&mut self, span: Span) {
        self.run_until(self.now + span);
    }

    fn arrive(&mut self, flight: Flight) {
        self.set_clock(flight.to);
        let Some(daemon) = &mut self.hosts[flight.to] else { return };
        let Flight { from, addr, counter, .. } = flight;
        match &flight.hello {
            Some(payload) => {
                let hello = Hello::parse(payload).unwrap();
                daemon.members.hello(self.now, from, addr, counter, &hello);
            }
            None => daemon.members.bye(self.now, from, addr, counter),
        }
        self.drain(flight.to);
    }

    /// How many daemons know how many others that run, and how many nodes that do not.
    fn links(&self) -> (usize, usize) {
        let running: Vec<NodeId> =
            self.hosts.iter().flatten().map(|daemon| daemon.members.config.me).collect();
        let known = |live: bool| {
            self.hosts
                .iter()
                .flatten()
                .flat_map(|daemon| daemon.members.members())
                .filter(|member| running.contains(&member.node) == live)
                .count()
        };
        (known(true), known(false))
    }

    fn departures(&self, host: usize, of: NodeId) -> Vec<DepartureReason> {
        let left = |event: &Event| match event {
            Event::Left { member, reason } if member.node == of => Some(*reason),
            _ => None,
        };
        self.daemon(host).seen.iter().filter_map(|(_, event)| left(event)).collect()
    }
}

#[test]
fn without_loss_all_know_all_within_a_second() {
    for hosts in [2, 5, 16, 17, 50] {
        for seed in 0..3 {
            let mut fleet = Fleet::started(hosts, 0, seed);
            fleet.run(secs(1));
            assert_eq!(fleet.links(), (hosts * (hosts - 1), 0), "{hosts} hosts, seed {seed}");
            for host in 0..hosts {
                assert!(fleet.daemon(host).members.settled(fleet.now));
                let joined = fleet.daemon(host).seen.len();
                assert_eq!(joined, hosts - 1, "each of them once");
            }
        }
    }
}

#[test]
fn with_30_percent_loss_nearly_all_within_a_second_and_all_with_the_next_hello() {
    for (hosts, seeds) in [(2, 100), (5, 40), (50, 3)] {
        let mut known = 0;
        for seed in 0..seeds {
            let mut fleet = Fleet::started(hosts, 30, 1_000 + seed);
            fleet.run(secs(1));
            known += fleet.links().0;
            // A second, the longest pause between HELLOs, and time for the answers.
            fleet.run(secs(23));
            assert_eq!(fleet.links(), (hosts * (hosts - 1), 0), "{hosts} hosts, seed {seed}");
        }
        let pairs = hosts * (hosts - 1) * seeds as usize;
        assert!(known * 100 >= pairs * 95, "{hosts} hosts: {known} of {pairs}");
    }
}

#[test]
fn a_daemon_that_starts_later_is_known_within_a_second_and_stays() {
    for (hosts, loss) in [(5, 0), (50, 0), (5, 10)] {
        let mut fleet = Fleet::started(hosts, loss, 7);
        fleet.kill(0);
        fleet.run(secs(90));
        let before = fleet.links();
        assert_eq!(before, ((hosts - 1) * (hosts - 2), 0));
        fleet.start(0);
        fleet.run(secs(1));
        assert_eq!(fleet.links(), (hosts * (hosts - 1), 0), "{hosts} hosts, {loss} % loss");
        fleet.run(secs(if hosts < 10 { 600 } else { 70 }));
        assert_eq!(fleet.links(), (hosts * (hosts - 1), 0));
        let events = fleet.daemon(0).seen.len();
        assert_eq!(events, hosts - 1, "nobody went and came back");
    }
}

#[test]
fn who_stops_is_gone_at_once() {
    let mut fleet = Fleet::started(5, 0, 3);
    fleet.run(secs(30));
    let gone = fleet.node(2);
    fleet.stop(2);
    fleet.run(AT_ONCE);
    assert_eq!(fleet.links(), (4 * 3, 0));
    assert_eq!(fleet.departures(0, gone), [DepartureReason::Bye]);
    fleet.run(secs(120));
    assert_eq!(fleet.links(), (4 * 3, 0));
    assert_eq!(fleet.departures(0, gone), [DepartureReason::Bye]);
}

#[test]
fn the_loss_of_a_bye_is_made_up_for() {
    let mut known = 0;
    for seed in 0..50 {
        let mut fleet = Fleet::started(5, 0, seed);
        fleet.run(secs(2));
        fleet.loss = 30;
        fleet.stop(2);
        fleet.run(AT_ONCE);
        known += fleet.links().1;
    }
    assert!(known <= 200 * 5 / 100, "{known} of 200 still think it is there");
}

#[test]
fn who_dies_is_gone_after_a_minute_of_silence() {
    let mut fleet = Fleet::started(5, 0, 4);
    fleet.run(secs(30));
    let gone = fleet.node(2);
    fleet.kill(2);
    fleet.run(secs(38));
    assert_eq!(fleet.links(), (4 * 3, 4), "its last HELLO is 22 s old at most");
    fleet.run(secs(23));
    assert_eq!(fleet.links(), (4 * 3, 0));
    assert_eq!(fleet.departures(0, gone), [DepartureReason::Silent]);
}

#[test]
fn who_restarts_replaces_its_old_self() {
    let mut fleet = Fleet::started(5, 0, 5);
    fleet.run(secs(30));
    let old = fleet.node(2);
    fleet.kill(2);
    let new = fleet.start(2);
    fleet.run(secs(1));
    assert_eq!(fleet.links(), (5 * 4, 0));
    for host in [0, 1, 3, 4] {
        assert_eq!(fleet.departures(host, old), [DepartureReason::Replaced { by: new }]);
        let last_two: Vec<&Event> =
            fleet.daemon(host).seen.iter().rev().take(2).map(|(_, event)| event).collect();
        assert!(matches!(last_two[0], Event::Joined(member) if member.node == new));
        assert!(matches!(last_two[1], Event::Left { member, .. } if member.node == old));
    }
}

#[test]
fn who_is_dropped_comes_back_with_its_next_hello() {
    let mut fleet = Fleet::started(3, 0, 6);
    fleet.run(secs(30));
    let node = fleet.node(1);
    let now = fleet.now;
    fleet.hosts[0].as_mut().unwrap().members.drop_member(now, node);
    fleet.drain(0);
    assert_eq!(fleet.departures(0, node), [DepartureReason::Dropped]);
    assert_eq!(fleet.links(), (5, 0));
    fleet.run(secs(21));
    assert_eq!(fleet.links(), (6, 0));
    assert!(fleet.departures(1, fleet.node(0)).is_empty(), "the other side never noticed");
}

#[test]
fn a_replay_of_all_that_was_ever_said_brings_nobody_back() {
    let mut fleet = Fleet::started(5, 0, 8);
    fleet.run(secs(2));
    let gone = fleet.node(2);
    fleet.stop(2);
    // Who has gone, and who has been replaced, by their own packets from their own addresses.
    fleet.kill(3);
    let old = fleet.recorded.iter().find(|f| f.addr == host_addr(3)).unwrap().from;
    let new = fleet.start(3);
    fleet.run(secs(1));
    assert_eq!(fleet.links(), (4 * 3, 0));
    for pause in [0, 1, 5, 10, 20, 30, 60, 200] {
        fleet.run(secs(pause));
        let recorded = fleet.recorded.clone();
        for flight in recorded {
            if flight.from == gone || flight.from == old {
                fleet.launch(flight);
            }
        }
        fleet.run(secs(1));
        assert_eq!(fleet.links(), (4 * 3, 0), "after {pause} s more");
    }
    for host in [0, 1, 4] {
        assert_eq!(fleet.departures(host, gone), [DepartureReason::Bye]);
        assert_eq!(fleet.departures(host, old), [DepartureReason::Replaced { by: new }]);
        assert!(fleet.daemon(host).members.counts().replayed > 0);
    }
}

#[test]
fn replays_of_the_living_change_nothing_not_even_their_silence() {
    let mut fleet = Fleet::started(3, 0, 9);
    fleet.run(secs(30));
    let dead = fleet.node(1);
    fleet.kill(1);
    for _ in 0..61 {
        let recorded = fleet.recorded.clone();
        for flight in recorded.into_iter().filter(|flight| flight.from == dead) {
            fleet.launch(flight);
        }
        fleet.run(secs(1));
    }
    assert_eq!(fleet.links(), (2, 0));
    assert_eq!(fleet.departures(0, dead), [DepartureReason::Silent]);
}

#[test]
fn a_quiet_fleet_says_hello_four_times_a_minute_and_nothing_else() {
    let mut fleet = Fleet::started(20, 0, 10);
    fleet.run(secs(10));
    let sent = |fleet: &Fleet| -> (u64, u64) {
        let daemons = || fleet.hosts.iter().flatten();
        (daemons().map(|d| d.sent_to_group).sum(), daemons().map(|d| d.sent_to_one).sum())
    };
    let before = sent(&fleet);
    assert_eq!(before.0, 20 * 4, "the series of the start");
    assert!(before.1 <= 20 * 19 * 4, "{} answers", before.1);
    fleet.run(secs(600));
    let after = sent(&fleet);
    assert_eq!(after.1, before.1);
    let each = (after.0 - before.0) as f64 / 20.0;
    assert!((38.0..=42.0).contains(&each), "{each} in ten minutes");
}
