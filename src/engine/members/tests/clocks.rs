//! What HELLOs say of clocks.

use super::fleet::Fleet;
use super::*;

/// A wall clock.
const NOW: u64 = 1_795_804_200_000;

fn stamps(members: &mut Members) -> Vec<Stamp> {
    let stamp = |event| match event {
        Event::Height(stamp) => Some(stamp),
        _ => None,
    };
    events(members).into_iter().filter_map(stamp).collect()
}

#[test]
fn hellos_tell_the_clock_as_it_is_then() {
    // Also the first one, which has waited since the start.
    let mut members = Members::new(config(), at(0));
    for later in [0, 1, 2] {
        members.set_clock(Stamp::at(NOW + later), NOW + 10 * later);
        if later > 0 {
            members.announce(secs(later));
        }
        let (_, Packet::Hello(hello)) = sent(&mut members).pop().unwrap() else { panic!() };
        assert_eq!((hello.height, hello.wall), (Stamp::at(NOW + later), NOW + 10 * later));
    }
}

#[test]
fn a_members_higher_stamp_is_to_be_adopted() {
    for mut members in [started(), unkeyed()] {
        members.set_clock(Stamp::at(NOW), NOW);
        let says = |height| Hello { height: Stamp::at(height), ..plain() };
        // A stranger's is nothing.
        members.hello(secs(2), NodeId(2), addr(2), 1, &Hello { asks: true, ..says(NOW + 9) });
        assert_eq!(stamps(&mut members), []);
        let answer = hellos_to(&mut members, to(2)).pop().unwrap();
        let echo = Hello { echo: answer.challenge, ..says(NOW + 7) };
        members.hello(secs(2), NodeId(2), addr(2), 2, &echo);
        assert_eq!(stamps(&mut members), [Stamp::at(NOW + 7)]);
        members.set_clock(Stamp::at(NOW + 7), NOW);
        for (counter, height) in [(3, NOW), (4, NOW + 7), (5, NOW + 8)] {
            members.hello(secs(3), NodeId(2), addr(2), counter, &says(height));
        }
        assert_eq!(stamps(&mut members), [Stamp::at(NOW + 8)]);
        // From elsewhere, and again.
        members.hello(secs(3), NodeId(2), addr(3), 6, &says(NOW + 9));
        members.hello(secs(3), NodeId(2), addr(2), 5, &says(NOW + 9));
        assert_eq!(stamps(&mut members), []);
    }
}

/// What is odd about clocks and names, in words.
fn odd(members: &Members) -> Vec<String> {
    members.oddities().iter().map(ToString::to_string).collect()
}

/// A HELLO of a host whose clock is so many milliseconds ahead.
fn ahead(millis: i64) -> Hello {
    Hello { wall: NOW.saturating_add_signed(millis), ..plain() }
}

const MINUTE: i64 = 60_000;

#[test]
fn a_clock_that_is_off_is_news_once_and_again_when_it_changes() {
    let mut members = started();
    members.set_clock(Stamp::at(NOW), NOW);
    admit(&mut members, secs(2), 2, addr(2), 1);
    assert!(!members.records_possible(NodeId(2)), "its clock is at 1970");
    assert!(members.take_odd_news() && !members.take_odd_news());
    let mut counter = 10;
    let mut hear = |members: &mut Members, millis| {
        counter += 1;
        members.hello(secs(3), NodeId(2), addr(2), counter, &ahead(millis));
        members.take_odd_news()
    };
    assert!(hear(&mut members, 59 * MINUTE), "it is right again");
    assert!(members.records_possible(NodeId(2)));
    for millis in [60 * MINUTE, -60 * MINUTE, 0] {
        assert!(!hear(&mut members, millis));
        assert_eq!(members.get(NodeId(2)).unwrap().clock.ahead.millis(), millis);
    }
    let is = |what: &str| vec![format!("the clock of host2 (10.0.0.2) is {what} this host's")];
    for (minutes, text) in
        [(61, "1 h 1 min ahead of"), (-90, "1 h 30 min behind"), (5_000, "3 days 11 h ahead of")]
    {
        assert!(hear(&mut members, minutes * MINUTE));
        assert_eq!(odd(&members), is(text));
        assert!(!members.records_possible(NodeId(2)));
        // By less than a minute, however often.
        for less in [1, 30_000, 59_999] {
            assert!(!hear(&mut members, minutes * MINUTE + less));
        }
        assert_eq!(odd(&members), is(text));
    }
    // Ours was wrong.
    members.set_clock(Stamp::at(NOW), NOW + 5_000 * MINUTE as u64);
    assert!(hear(&mut members, 5_000 * MINUTE));
    assert_eq!(odd(&members), [""; 0]);
    assert!(hear(&mut members, 0));
    members.bye(secs(4), NodeId(2), addr(2), 99);
    assert!(members.take_odd_news() && odd(&members).is_empty());
}

#[test]
fn without_a_key_a_clock_is_off_when_the_member_says_so_itself() {
    let mut members = unkeyed();
    members.set_clock(Stamp::at(NOW), NOW);
    members.hello(secs(2), NodeId(2), addr(2), 1, &asking());
    let answer = hellos_to(&mut members, to(2)).pop().unwrap();
    let echo = Hello { echo: answer.challenge, ..ahead(0) };
    members.hello(secs(2), NodeId(2), addr(2), 2, &echo);
    sent(&mut members);
    for (counter, millis) in (3..6).zip([100 * MINUTE, -100 * MINUTE, i64::MIN]) {
        members.hello(secs(3), NodeId(2), addr(2), counter, &ahead(millis));
        assert!(!members.take_odd_news() && members.records_possible(NodeId(2)));
    }
    let far = Hello { height: Stamp::at(NOW + (1 << 40)), ..ahead(0) };
    members.hello(secs(3), NodeId(2), addr(2), 6, &far);
    assert!(!members.take_odd_news());
    // It was asked, and answers.
    let question = hellos_to(&mut members, to(2)).pop().unwrap();
    let echo = Hello { echo: question.challenge, ..ahead(100 * MINUTE) };
    members.hello(secs(3), NodeId(2), addr(2), 7, &echo);
    assert!(members.take_odd_news());
    assert_eq!(odd(&members), ["the clock of other (10.0.0.2) is 1 h 40 min ahead of this host's"]);
}

#[test]
fn stamps_of_a_time_that_was_wrong_are_named_until_the_daemon_is_another() {
    let mut members = started();
    members.set_clock(Stamp::at(NOW), NOW);
    admit(&mut members, secs(2), 2, addr(2), 1);
    let far = Stamp::at(NOW + 61 * MINUTE as u64);
    let says = |height: Stamp| Hello { height, ..ahead(0) };
    members.hello(secs(3), NodeId(2), addr(2), 10, &says(far));
    let text =
        format!("the clock of host2 (10.0.0.2) was set back: its daemon still counts from {far}");
    assert_eq!(odd(&members), std::slice::from_ref(&text));
    assert!(!members.records_possible(NodeId(2)) && members.take_odd_news());
    // It counts on.
    members.hello(secs(4), NodeId(2), addr(2), 11, &says(Stamp::from_bits(far.bits() + 7)));
    assert_eq!((odd(&members), members.take_odd_news()), (vec![text], false));
    members.hello(secs(5), NodeId(2), addr(2), 12, &says(Stamp::at(NOW)));
    assert!(odd(&members).is_empty() && members.take_odd_news());
    // Our own.
    members.set_clock(far, NOW);
    assert!(members.take_odd_news() && !members.records_possible(NodeId(2)));
    assert_eq!(
        odd(&members),
        [format!("the clock of this host was set back: makuosan still counts from {far}")]
    );
    members.set_clock(Stamp::from_bits(far.bits() + 1), NOW);
    assert!(!members.take_odd_news());
    members.set_clock(far, NOW + MINUTE as u64);
    assert!(members.take_odd_news() && odd(&members).is_empty());
}

#[test]
fn a_name_of_two_members_or_of_one_and_ours_is_no_lasting_name() {
    let mut members = started();
    let twins = |members: &Members| -> Vec<String> {
        members.names_that_are_two().into_iter().map(|name| name.as_str().to_owned()).collect()
    };
    admit_as("other", &mut members, secs(2), 2, addr(2), 1);
    assert!(!members.take_odd_news() && members.records_possible(NodeId(2)));
    admit_as("other", &mut members, secs(2), 3, addr(3), 1);
    // The first may be the second, at another address: it is asked.
    assert_eq!((odd(&members), twins(&members)), (vec![], vec!["other".to_owned()]));
    members.take_odd_news();
    let question = hellos_to(&mut members, to(2)).pop().unwrap();
    members.hello(secs(2), NodeId(2), addr(2), 3, &Hello { echo: question.challenge, ..plain() });
    assert!(members.take_odd_news());
    let [two, three] = [2, 3].map(|node| format!("10.0.0.{node} (node {})", NodeId(node)));
    assert_eq!(odd(&members), [format!("other is the name of {two} and {three}")]);
    assert!(!members.records_possible(NodeId(2)) && !members.records_possible(NodeId(3)));
    members.bye(secs(3), NodeId(2), addr(2), 9);
    assert!(members.take_odd_news() && odd(&members).is_empty() && twins(&members).is_empty());
    assert!(members.records_possible(NodeId(3)));
    // One that bears ours is in the way of all.
    admit_as("me", &mut members, secs(4), 4, addr(4), 1);
    assert!(members.take_odd_news() && twins(&members) == ["me"]);
    assert_eq!(
        odd(&members),
        [format!("me is the name of this host and of 10.0.0.4 (node {})", NodeId(4))]
    );
    assert!(!members.records_possible(NodeId(3)) && !members.records_possible(NodeId(4)));
}

/// What each host of a fleet finds odd.
fn found(fleet: &Fleet, host: usize) -> BTreeSet<Oddity> {
    fleet.daemon(host).members.oddities()
}

#[test]
fn whoever_sends_after_having_heard_of_a_transfer_draws_a_higher_stamp() {
    for seed in 0..40 {
        let mut fleet = Fleet::new(5, 5, seed);
        // Half an hour this way or that.
        fleet.skews =
            (0..5).map(|_| fleet.rng.below(60 * MINUTE as u64) as i64 - 30 * MINUTE).collect();
        for host in 0..5 {
            fleet.start(host);
        }
        let mut last = Stamp::ZERO;
        for _ in 0..25 {
            // The longest pause between HELLOs, twice, as one may be lost.
            fleet.run(Span::from_secs(45));
            let host = fleet.rng.below(5) as usize;
            match fleet.rng.below(4) {
                0 => fleet.skews[host] = fleet.rng.below(60 * MINUTE as u64) as i64 - 30 * MINUTE,
                1 => {
                    fleet.kill(host);
                    fleet.start(host);
                    fleet.run(Span::from_secs(45));
                }
                _ => {}
            }
            let stamp = fleet.draw(host);
            assert!(stamp > last, "seed {seed}: {stamp} after {last}");
            last = stamp;
        }
    }
}

#[test]
fn all_name_the_same_clocks_and_names_and_only_those() {
    for seed in 0..60 {
        let mut fleet = Fleet::new(6, 10, seed);
        let mut rng = Rng::new(seed);
        for host in 0..6 {
            fleet.names[host] = format!("name{}", rng.below(9));
            fleet.start(host);
        }
        for _ in 0..5 {
            // Whole minutes, so that nobody is at the limit.
            let minutes = [0, 0, 0, 29, -29, 91, -125, 3_000];
            let host = rng.below(6) as usize;
            fleet.skews[host] = minutes[rng.below(8) as usize] * MINUTE;
            if rng.below(3) == 0 {
                fleet.names[host] = format!("name{}", rng.below(9));
                fleet.kill(host);
                fleet.start(host);
            }
            fleet.run(Span::from_secs(150));
            for one in 0..6 {
                for other in (0..6).filter(|&other| other != one) {
                    let node = fleet.node(other);
                    let apart = fleet.skews[one].abs_diff(fleet.skews[other]);
                    let odd = found(&fleet, one);
                    let clock = odd
                        .iter()
                        .any(|odd| matches!(odd, Oddity::Clock(who, _) if who.node == node));
                    assert_eq!(clock, apart > 60 * MINUTE as u64, "seed {seed}: {odd:?}");
                    let same = |name: &String| fleet.names.iter().filter(|of| *of == name).count();
                    let named = odd.iter().any(|odd| {
                        matches!(odd, Oddity::Name { members, .. } if members.iter().any(|m| m.1 == node))
                    });
                    assert_eq!(named, same(&fleet.names[other]) > 1, "seed {seed}: {odd:?}");
                    let possible = !clock && !named && same(&fleet.names[one]) == 1;
                    assert_eq!(fleet.daemon(one).members.records_possible(node), possible);
                }
            }
        }
    }
}
