//! What the talk of a fleet costs, and that it leads somewhere.

use super::fleet::Fleet;
use super::*;
use crate::wire::versions::{Dot, IndexId};

fn seeds(count: u64, test: impl Fn(u64)) {
    (1..=count).for_each(test);
}

#[test]
fn a_change_that_reaches_all_makes_no_question() {
    seeds(3, |seed| {
        let mut fleet = Fleet::started(60, 0, seed);
        fleet.quiet();
        fleet.change(3, &[]);
        fleet.run(Span::from_secs(60));
        // Several hosts at once, and one again and again.
        (10..20).for_each(|host| fleet.change(host, &[]));
        for _ in 0..50 {
            fleet.change(5, &[]);
            fleet.run(Span::from_millis(700));
        }
        fleet.run(Span::from_secs(60));
        assert!(fleet.all_know_the_same());
        assert_eq!((fleet.questions, fleet.packets, fleet.serves), (0, 0, 0), "seed {seed}");
    });
}

#[test]
fn who_misses_a_change_asks_once_and_gets_it() {
    seeds(5, |seed| {
        let mut fleet = Fleet::started(60, 0, seed);
        fleet.quiet();
        fleet.change(3, &[40]);
        fleet.run(Span::from_secs(30));
        assert!(fleet.all_know_the_same(), "seed {seed}");
        // The question is said to all and sent, it is answered, and one transfer serves one host.
        let cost = (fleet.questions, fleet.packets, fleet.serves, fleet.served);
        assert_eq!(cost, (1, 3, 1, 1), "seed {seed}");
    });
}

#[test]
fn who_misses_a_change_gets_it_although_its_host_is_gone() {
    seeds(10, |seed| {
        let mut fleet = Fleet::started(20, 0, seed);
        fleet.quiet();
        fleet.change(3, &[11]);
        fleet.run(Span::from_millis(50));
        fleet.stop(3);
        fleet.run(Span::from_secs(30));
        assert!(fleet.all_know_the_same(), "seed {seed}");
        assert!((1..=2).contains(&fleet.questions) && fleet.serves == 1, "seed {seed}");
    });
}

#[test]
fn two_halves_that_find_each_other_need_few_transfers() {
    seeds(5, |seed| {
        let mut fleet = Fleet::started(60, 0, seed);
        fleet.quiet();
        fleet.part(|host| host % 2);
        (0..10).for_each(|host| fleet.change(host, &[]));
        fleet.run(Span::from_secs(60));
        assert_eq!(fleet.questions, 0, "seed {seed}");
        fleet.heal();
        fleet.run(Span::from_secs(30));
        assert!(fleet.all_know_the_same(), "seed {seed}");
        assert!(fleet.serves <= 4, "seed {seed}: {} transfers", fleet.serves);
        assert!(fleet.questions <= 8, "seed {seed}: {} questions", fleet.questions);
        fleet.run(Span::from_secs(60));
        assert!(fleet.serves <= 4 && fleet.questions <= 8, "seed {seed}: it goes on");
    });
}

#[test]
fn all_who_return_are_served_at_once_and_send_only_then() {
    seeds(5, |seed| {
        let mut fleet = Fleet::started(40, 0, seed);
        fleet.quiet();
        let away = [3, 8, 20, 21, 22, 35];
        away.iter().for_each(|host| fleet.stop(*host));
        (10..15).for_each(|host| fleet.change(host, &[]));
        fleet.run(Span::from_secs(60));
        // One of them was changed meanwhile.
        let h = &mut fleet.hosts[20];
        h.height += 1;
        h.knowledge.learn(h.by, h.height);
        away.iter().for_each(|host| fleet.start(*host));
        fleet.run(Span::from_secs(2));
        assert!(away.iter().all(|host| !fleet.hosts[*host].dialogue.settled()), "seed {seed}");
        fleet.run(Span::from_secs(2));
        let know = |fleet: &Fleet, host: usize| {
            let of = |other: usize| fleet.hosts[other].by;
            (10..15).all(|other| fleet.hosts[host].knowledge.of(of(other)) == 1)
        };
        assert!(away.iter().all(|host| know(&fleet, *host)), "seed {seed}");
        assert!(fleet.serves <= 2, "seed {seed}: {} transfers", fleet.serves);
        // They wait for what the one has that was changed, too.
        fleet.run(Span::from_secs(6));
        assert!(away.iter().all(|host| fleet.hosts[*host].dialogue.settled()), "seed {seed}");
        fleet.run(Span::from_secs(40));
        assert!(fleet.all_know_the_same(), "seed {seed}");
        assert!(fleet.serves <= 4, "seed {seed}: {} transfers", fleet.serves);
    });
}

#[test]
fn whatever_is_lost_all_know_the_same_in_the_end() {
    seeds(20, |seed| {
        let mut fleet = Fleet::started(12, 20, seed);
        fleet.run(Span::from_secs(30));
        let mut rng = Rng::new(seed);
        for _ in 0..20 {
            let host = rng.below(12) as usize;
            let missing: Vec<usize> = (0..12).filter(|_| rng.below(3) == 0).collect();
            fleet.change(host, &missing);
            match rng.below(6) {
                0 => fleet.part(|host| host / 6),
                1 => fleet.heal(),
                2 => {
                    fleet.stop(host);
                    fleet.run(Span::from_secs(rng.below(90)));
                    fleet.start(host);
                }
                _ => {}
            }
            fleet.run(Span::from_millis(rng.below(20_000)));
        }
        fleet.heal();
        fleet.run(Span::from_secs(200));
        assert!(fleet.all_know_the_same(), "seed {seed}");
        let (questions, serves) = (fleet.questions, fleet.serves);
        fleet.run(Span::from_secs(120));
        assert_eq!((fleet.questions, fleet.serves), (questions, serves), "seed {seed}: it goes on");
    });
}

#[test]
fn a_host_without_company_may_send_after_some_seconds() {
    let mut fleet = Fleet::started(1, 0, 1);
    fleet.run(Span::from_millis(4_900));
    assert!(!fleet.hosts[0].dialogue.settled());
    fleet.run(Span::from_millis(200));
    assert!(fleet.hosts[0].dialogue.settled());
}

#[test]
fn bytes_are_asked_for_until_somebody_has_them_and_if_nobody_does_that_is_known() {
    let mut fleet = Fleet::started(6, 0, 5);
    fleet.quiet();
    (0..6).for_each(|host| fleet.hosts[host].has_no_bytes = host != 4);
    let dot = Dot { by: IndexId(1), seq: 1 };
    fleet.needs(0, dot);
    fleet.run(Span::from_secs(60));
    assert!(fleet.hosts[0].needed.is_empty() && fleet.serves == 1);
    fleet.hosts[4].has_no_bytes = true;
    fleet.run(Span::from_secs(600));
    fleet.questions = 0;
    fleet.needs(0, dot);
    fleet.run(Span::from_secs(60));
    assert!(fleet.hosts[0].dialogue.nobody_has());
    fleet.run(Span::from_secs(3_600));
    assert!((5..120).contains(&fleet.questions), "{} questions in an hour", fleet.questions);
}

/// One host that talks to whatever the test makes up.
struct Lone {
    now: Time,
    knowledge: Knowledge,
    dialogue: Dialogue,
    out: Vec<(To, Mirror)>,
    serves: u64,
}

const ME: NodeId = NodeId(1);
const EVIL: NodeId = NodeId(2);
const TREE: crate::wire::names::Hash = crate::wire::names::Hash(7);

impl Lone {
    fn new(knowledge: Knowledge) -> Self {
        let now = Time::ZERO + Span::from_secs(100);
        let config = Config { tree: TREE, room: 1_424, seed: 3, gives: true };
        let mut lone = Lone {
            now,
            dialogue: Dialogue::new(now, config, &own(&knowledge)),
            knowledge,
            out: Vec::new(),
            serves: 0,
        };
        lone.run(Span::from_secs(10));
        assert!(lone.dialogue.settled());
        lone
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Dialogue, Time, &Own<'_>) -> T) -> T {
        act(&mut self.dialogue, self.now, &own(&self.knowledge))
    }

    fn says(&mut self, by: u64, height: u64, hash: u64) {
        let (by, settled) = (IndexId(by), height % 2 == 0);
        let standing = Standing { settled, ..Standing::plain(TREE, by, height, hash) };
        self.with(|dialogue, now, own| dialogue.hello(now, EVIL, Some(standing), own));
    }

    fn hears(&mut self, mirror: Mirror) {
        self.with(|dialogue, now, own| dialogue.packet(now, ME, EVIL, mirror, own));
    }

    fn asks(&mut self, number: u32, question: &Question) {
        let question = question.emit();
        let all: Vec<_> = crate::wire::mirror::parts(TREE, number, &question, 0, 1_424).collect();
        all.into_iter().for_each(|part| self.hears(part));
    }

    /// Lets time pass; every transfer is over at once.
    fn run(&mut self, span: Span) {
        let until = self.now + span;
        loop {
            let now = self.now;
            self.with(|dialogue, now, own| dialogue.timeout(now, own));
            self.out.extend(std::iter::from_fn(|| self.dialogue.poll_transmit()));
            if self.dialogue.poll_serve().is_some() {
                self.serves += 1;
                self.with(|dialogue, now, own| dialogue.served(now, false, own));
            }
            let due = self.with(|dialogue, now, own| dialogue.poll_timeout(now, own));
            let Some(at) = due.filter(|at| *at <= until) else { break };
            assert!(at > now, "it does nothing");
            self.now = at;
        }
        self.now = until;
    }

    fn questions(&self) -> usize {
        self.out.iter().filter(|(_, mirror)| matches!(mirror, Mirror::Asking { .. })).count()
    }
}

fn own(knowledge: &Knowledge) -> Own<'_> {
    let (by, hash) = (IndexId(1), knowledge.hash());
    Own { by, height: 1, knowledge, hash, needed: &[], in_part: false, wall: 0 }
}

fn of_one() -> Knowledge {
    let mut knowledge = Knowledge::default();
    knowledge.learn(IndexId(1), 1);
    knowledge
}

#[test]
fn a_member_that_claims_ever_more_is_asked_ever_less() {
    for answers in [false, true] {
        let mut lone = Lone::new(of_one());
        for second in 0..3_600 {
            lone.says(9, 1_000 + second, second);
            lone.run(Span::from_secs(1));
            let last = lone.out.iter().rev().find_map(|(_, mirror)| match mirror {
                Mirror::Ask { number, .. } => Some(*number),
                _ => None,
            });
            if let Some(number) = last.filter(|_| answers) {
                let answer = Answer::Nothing { hash: second };
                lone.hears(Mirror::Answer { tree: TREE, number, answer });
            }
        }
        let questions = lone.questions();
        assert!((5..40).contains(&questions), "{questions} in an hour");
        assert!(lone.out.len() < 400, "{} packets in an hour", lone.out.len());
    }
}

#[test]
fn a_member_that_asks_for_everything_again_and_again_is_served_ever_less() {
    let mut lone = Lone::new(of_one());
    lone.says(9, 1, 5);
    for second in 0..3_600u32 {
        lone.asks(second, &Question::default());
        lone.run(Span::from_secs(1));
    }
    assert!((3..20).contains(&lone.serves), "{} in an hour", lone.serves);
    // With other knowledge each time: one after the other.
    let mut lone = Lone::new(of_one());
    lone.says(9, 1, 5);
    for second in 0..600u32 {
        let mut knowledge = Knowledge::default();
        knowledge.learn(IndexId(second.into()), 1);
        lone.asks(second, &Question { knowledge, needed: Vec::new() });
        lone.run(Span::from_secs(1));
    }
    assert!(lone.serves <= 200, "{} in ten minutes", lone.serves);
}

#[test]
fn a_question_that_is_too_long_for_a_packet_gets_through_although_much_is_lost() {
    let mut rng = Rng::new(7);
    let mut knowledge = of_one();
    (0..4_000).for_each(|n| knowledge.learn(IndexId(n << 40), n + 1));
    let (mut asker, mut donor) = (Lone::new(of_one()), Lone::new(of_one()));
    asker.knowledge = knowledge.clone();
    donor.knowledge = knowledge;
    donor.knowledge.learn(IndexId(9), 4);
    let hash = donor.knowledge.hash();
    asker.says(9, 4, hash);
    donor.says(1, 1, 5);
    for _ in 0..80 {
        asker.run(Span::from_millis(100));
        donor.run(Span::from_millis(100));
        let (there, back) = (std::mem::take(&mut asker.out), std::mem::take(&mut donor.out));
        let mut arrives = |_: &(To, Mirror)| rng.below(100) >= 5;
        there.into_iter().filter(&mut arrives).for_each(|(_, mirror)| donor.hears(mirror));
        back.into_iter().filter(&mut arrives).for_each(|(_, mirror)| asker.hears(mirror));
    }
    assert_eq!(donor.serves, 1);
}

#[test]
fn whatever_comes_from_members_it_goes_on_and_keeps_little() {
    let mut rng = Rng::new(11);
    let mut lone = Lone::new(of_one());
    let own_dot = |knowledge: &mut Knowledge| knowledge.learn(IndexId(1), 7);
    for round in 0..20_000u64 {
        let node = NodeId(2 + rng.below(40));
        let number = rng.below(3) as u32;
        match rng.below(9) {
            0 => {
                let (by, height) = (IndexId(rng.below(5)), rng.below(9));
                let (settled, held) = (rng.below(2) == 0, rng.below(2) == 0);
                let standing =
                    Standing { settled, held, ..Standing::plain(TREE, by, height, round) };
                lone.with(|dialogue, now, own| dialogue.hello(now, node, Some(standing), own));
            }
            1 if rng.below(9) == 0 => lone.with(|dialogue, now, own| dialogue.gone(now, node, own)),
            2 | 3 => {
                let (len, offset) = (1 + rng.below(90_000) as u32, rng.below(2_000) as u32);
                let bytes = vec![0; (1 + rng.below(1_400) as usize).min(len as usize)];
                let mirror = Mirror::Ask { tree: TREE, number, len, offset, bytes };
                // As it would have been refused by the decoder otherwise.
                if Mirror::parse(&mirror.emit()).is_ok() {
                    lone.with(|dialogue, now, own| dialogue.packet(now, ME, node, mirror, own));
                }
            }
            4 => {
                let mut knowledge = Knowledge::default();
                if rng.below(4) == 0 {
                    own_dot(&mut knowledge);
                }
                let question = Question { knowledge, needed: Vec::new() }.emit();
                for mirror in crate::wire::mirror::parts(TREE, number, &question, 0, 480) {
                    lone.with(|dialogue, now, own| dialogue.packet(now, ME, node, mirror, own));
                }
            }
            5 => {
                let hash = if rng.below(2) == 0 { lone.knowledge.hash() } else { round };
                let mirror = Mirror::Asking { tree: TREE, of: NodeId(rng.below(50)), hash };
                lone.with(|dialogue, now, own| dialogue.packet(now, ME, node, mirror, own));
            }
            6 => {
                let to = Knowledge::default();
                lone.with(|dialogue, now, own| {
                    dialogue.begun(now, node, (&Knowledge::default(), &to), own);
                    dialogue.ended(now, node, round % 2 == 0, own);
                });
            }
            _ => lone.run(Span::from_millis(rng.below(3_000))),
        }
        assert!(lone.dialogue.giving.kept() <= 16 && lone.dialogue.peers.len() <= 40);
    }
    assert!(lone.dialogue.take_doubt(), "one has claimed to know of a later change of this host");
}
