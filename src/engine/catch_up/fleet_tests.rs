//! How fleets find out who lacks what, and with how many packets.

use super::fleet::Fleet;
use super::types::State;
use crate::errno::ENOSPC;
use crate::time::Span;
use crate::wire::behind::Why;
use crate::wire::outcome::Reason;

fn secs(secs: u64) -> Span {
    Span::from_secs(secs)
}

#[test]
fn nothing_is_said_where_nothing_is_missing() {
    let mut fleet = Fleet::started(20, 0, 1);
    fleet.run(secs(60));
    let id = fleet.send(3, "a", &[]);
    fleet.run(secs(120));
    assert!(fleet.all_have(&id));
    assert_eq!((fleet.packets(), fleet.transfers), (0, 0));
}

#[test]
fn a_host_that_returns_has_all_soon() {
    for (seed, loss) in [(1, 0), (2, 0), (3, 10), (4, 30)] {
        let mut fleet = Fleet::started(5, loss, seed);
        fleet.run(secs(5));
        fleet.stop(2);
        let ids: Vec<_> = (0..10).map(|n| fleet.send(n % 2, &format!("f{n}"), &[])).collect();
        fleet.run(secs(5));
        let transfers = fleet.transfers;
        fleet.start(2);
        fleet.run(if loss == 0 { Span::from_millis(2_500) } else { secs(90) });
        for id in &ids {
            assert!(fleet.all_have(id), "seed {seed}: {:?}", fleet.has(2, id));
        }
        if loss == 0 {
            assert_eq!(fleet.transfers - transfers, 10);
            assert!(fleet.all_agree());
        }
    }
}

#[test]
fn a_rack_that_returns_at_once_is_served_once() {
    for seed in 0..20 {
        let mut fleet = Fleet::started(12, 0, seed);
        fleet.run(secs(5));
        (4..12).for_each(|host| fleet.stop(host));
        let ids: Vec<_> = (0..5).map(|n| fleet.send(n % 3, &format!("f{n}"), &[])).collect();
        fleet.run(secs(5));
        let transfers = fleet.transfers;
        (4..12).for_each(|host| {
            fleet.start(host);
            fleet.run(Span::from_millis(100));
        });
        fleet.run(secs(4));
        assert!(ids.iter().all(|id| fleet.all_have(id)), "seed {seed}");
        let more = fleet.transfers - transfers;
        assert!(more <= 6, "seed {seed}: {more} transfers of 5 records");
    }
}

#[test]
fn what_one_member_missed_it_gets() {
    for seed in 0..20 {
        let mut fleet = Fleet::started(8, 0, seed);
        fleet.run(secs(20));
        let id = fleet.send(0, "a", &[5]);
        fleet.run(secs(60));
        assert!(fleet.all_have(&id), "seed {seed}");
        assert!(fleet.all_agree(), "seed {seed}");
        assert_eq!(fleet.transfers, 1, "seed {seed}");
    }
}

#[test]
fn after_a_partition_both_halves_get_what_the_other_sent() {
    for seed in 0..20 {
        let mut fleet = Fleet::started(9, 2, seed);
        fleet.run(secs(20));
        let one = fleet.send(0, "a", &[5, 6, 7, 8]);
        let other = fleet.send(5, "b", &[0, 1, 2, 3, 4]);
        fleet.run(secs(120));
        assert!(fleet.all_have(&one) && fleet.all_have(&other), "seed {seed}");
        assert!(fleet.all_agree(), "seed {seed}");
    }
}

#[test]
fn a_full_disk_is_tried_again_and_a_file_that_nobody_has_is_noted() {
    let mut fleet = Fleet::started(4, 0, 7);
    fleet.run(secs(5));
    fleet.disk_is_full(3, true);
    let full = fleet.send(0, "a", &[3]);
    fleet.run(secs(300));
    assert_eq!(fleet.has(3, &full), Some(State::Partial));
    let behind = fleet.behind(3);
    let why = Why::Failed(Reason::Os(ENOSPC));
    assert_eq!((behind.count, behind.since, behind.why), (1, full.stamp, why));
    // After 1, 2, 4 minutes and so on.
    assert!((2..=4).contains(&fleet.transfers), "{} transfers", fleet.transfers);
    fleet.disk_is_full(3, false);
    fleet.run(secs(3_700));
    assert!(fleet.all_have(&full));
    let behind = fleet.behind(3);
    assert!(behind.is_nothing() && behind.complete == full.stamp, "{behind:?}");

    let mut fleet = Fleet::started(4, 0, 8);
    fleet.run(secs(5));
    (0..3).for_each(|host| fleet.gives_nothing(host));
    let gone = fleet.send(0, "a", &[3]);
    fleet.run(secs(300));
    assert_eq!(fleet.has(3, &gone), Some(State::Noted));
    assert!(fleet.behind(3).is_nothing(), "what nobody has is not waited for");
    assert_eq!(fleet.transfers, 3, "each was asked once");
}

/// All start at once; then many miss the same. Returns the packets to all.
fn storm(hosts: usize) -> u64 {
    let mut fleet = Fleet::started(hosts, 1, 1);
    fleet.run(secs(20));
    assert_eq!(fleet.packets(), 0);
    let missing: Vec<usize> = (hosts / 3..hosts * 2 / 3).collect();
    let id = fleet.send(0, "a", &missing);
    fleet.run(secs(60));
    assert!(fleet.all_have(&id) && fleet.all_agree());
    assert!(fleet.transfers <= 3, "{} transfers", fleet.transfers);
    fleet.to_group
}

#[test]
fn many_that_start_at_once_make_no_storm() {
    let packets = storm(60);
    assert!(packets <= 120, "{packets} packets to all");
}

#[test]
#[ignore = "takes minutes"]
fn a_thousand_that_start_at_once_make_no_storm() {
    let packets = storm(1_000);
    assert!(packets <= 2_000, "{packets} packets to all");
}
