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
    seeds(10, |seed| {
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
