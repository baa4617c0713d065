//! Targets that are cut off for a while or stand still, senders that have nothing to send.

use super::disk::Step;
use super::scenarios::{assert_all_equal, assert_equal, fleet, seeds, small_tree, tree};
use super::{Action, Sim};
use crate::engine::outgoing::Gone;
use crate::engine::rng::Rng;
use crate::ids::BatchNo;
use crate::time::Span;
use crate::wire::header::{Header, PacketKind, Role};
use crate::wire::manifest::{FileTime, Manifest};
use crate::wire::outcome::Reason;

/// More batches than are kept for a target that lags.
fn long_tree(rng: &mut Rng) -> Vec<Manifest> {
    let mut sizes: Vec<Vec<u64>> = Vec::new();
    for _ in 0..40 + rng.below(80) {
        sizes.push((0..rng.below(4)).map(|_| rng.below(6_000)).collect());
    }
    sizes[3].push(300_000);
    let at = rng.below(sizes.len() as u64) as usize;
    sizes[at] = vec![(4 << 20) + rng.below(1 << 20)];
    tree(1, &sizes.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

#[test]
fn a_target_that_is_cut_off_for_a_while_catches_up() {
    seeds(20, |seed| {
        let mut rng = Rng::new(seed ^ 0xc07);
        let targets = 1 + rng.below(4) as usize;
        let tree = long_tree(&mut rng);
        let mut sim = fleet(&mut rng, seed, targets, tree);
        sim.net.member_loss = rng.below(2) * rng.below(200);
        sim.net.late = rng.below(100);
        sim.senders[0].forgetful = true;
        sim.senders[0].parallel = 1 + rng.below(16) as usize;
        for target in 0..1 + rng.below(targets as u64) as usize {
            let cut = Span::from_micros(rng.below(60_000));
            sim.after(cut, Action::Cut(target));
            let back = cut + Span::from_millis(200 + rng.below(8_000));
            sim.after(back, Action::Mend(target));
            sim.after(back + Span::from_millis(rng.below(100)), Action::Cut(target));
            sim.after(back + Span::from_millis(100 + rng.below(1_500)), Action::Mend(target));
        }
        sim.start();
        assert!(sim.run(Span::from_secs(120)), "seed {seed} does not end");
        assert_all_equal(&sim);
    });
}

#[test]
fn a_target_whose_receiver_stands_still_says_busy_and_stays() {
    seeds(20, |seed| {
        let mut rng = Rng::new(seed);
        let tree = long_tree(&mut rng);
        let mut sim = fleet(&mut rng, seed, 3, tree);
        let stall = Span::from_secs(11 + rng.below(40));
        sim.after(Span::from_micros(rng.below(30_000)), Action::Stall(1, stall));
        sim.start();
        assert!(sim.run(Span::from_secs(120)), "seed {seed} does not end");
        assert_all_equal(&sim);
    });
    // A minute is too much.
    let mut sim = Sim::new(1, 3, small_tree(1));
    sim.after(Span::from_millis(5), Action::Stall(1, Span::from_secs(90)));
    sim.start();
    assert!(sim.run(Span::from_secs(120)));
    assert_eq!(sim.senders[0].gone[1], Some(Gone::Silent));
    assert_equal(&sim, 2);
}

#[test]
fn a_sender_with_nothing_to_send_for_a_minute_keeps_its_targets() {
    for targets in [1, 3, 40] {
        let mut sim = Sim::new(1, targets, tree(1, &[&[5_000], &[9], &[], &[3_000]]));
        sim.net.member_loss = 100;
        sim.senders[0].walk_takes = Span::from_secs(61);
        sim.start();
        assert!(sim.run(Span::from_secs(600)));
        assert_all_equal(&sim);
    }
}

#[test]
fn a_client_that_reads_nothing_for_minutes_pauses_its_transfer() {
    seeds(30, |seed| {
        let mut rng = Rng::new(seed);
        let mut sim = fleet(&mut rng, seed, 3, small_tree(1));
        sim.net.member_loss = rng.below(100);
        let pause = Span::from_micros(rng.below(60_000));
        sim.after(pause, Action::Pause(0));
        sim.after(pause + Span::from_secs(200), Action::Resume(0));
        sim.start();
        assert!(sim.run(Span::from_secs(300)));
        assert_all_equal(&sim);
    });
}

#[test]
fn waiting_long_for_one_target_loses_no_other() {
    let mut sim = Sim::new(1, 4, small_tree(1));
    sim.senders[0].timeout = Span::from_secs(100);
    sim.after(Span::from_millis(4), Action::Cut(2));
    sim.after(Span::from_secs(80), Action::Mend(2));
    sim.start();
    assert!(sim.run(Span::from_secs(200)));
    for target in [0, 1, 3] {
        assert_eq!(sim.senders[0].gone[target], None);
        assert_equal(&sim, target);
    }
    // The one that was away has given up by itself.
    assert_eq!(sim.senders[0].gone[2], Some(Gone::Left));
}

#[test]
fn when_all_targets_are_gone_it_is_over_at_once() {
    let mut sim = Sim::new(1, 3, small_tree(1));
    sim.senders[0].walk_takes = Span::from_secs(5);
    for target in 0..3 {
        sim.after(Span::from_millis(1), Action::KillTarget(target));
    }
    let began = sim.now;
    sim.start();
    assert!(sim.run(Span::from_secs(100)));
    assert_eq!(sim.senders[0].gone, vec![Some(Gone::Silent); 3]);
    let took = sim.senders[0].finished.unwrap().since(began);
    assert!(took < Span::from_secs(15), "{took}");
}

#[test]
fn a_disk_that_fails_in_any_step_ends_that_targets_part_alone() {
    for step in [Step::Plan, Step::Stage, Step::Commit] {
        for batch in 1..=10 {
            let mut sim = Sim::new(batch.into(), 3, small_tree(1));
            sim.net.member_loss = 50;
            sim.targets[1].disk_mut().fails = Some((step, BatchNo::new(batch), Reason::Os(28)));
            sim.start();
            assert!(sim.run(Span::from_secs(60)), "{step:?} {batch}");
            assert!(matches!(sim.senders[0].gone[1], Some(Gone::Refused(Reason::Os(28), _))));
            assert!(sim.disk(1).is_clean());
            assert_eq!(sim.targets[1].memory(), 0);
            assert_equal(&sim, 0);
            assert_equal(&sim, 2);
        }
    }
}

#[test]
fn a_write_that_fails_costs_that_target_that_file_alone() {
    // The last block of 3,682 too.
    for block in [1, 2, 1_000, 3_681, 3_682] {
        let mut sim = Sim::new(block.into(), 3, tree(1, &[&[5], &[5 << 20], &[7]]));
        sim.targets[1].bad_write = Some(block);
        sim.start();
        assert!(sim.run(Span::from_secs(60)));
        assert_eq!(sim.senders[0].gone, vec![None; 3]);
        assert!(sim.disk(1).is_clean());
        assert_equal(&sim, 0);
        assert_equal(&sim, 2);
        let mut files = sim.disk(0).files.clone();
        assert!(files.remove(&b"d1/f0"[..]).is_some());
        assert_eq!(sim.disk(1).files, files);
    }
}

#[test]
fn a_disk_that_hangs_for_a_while_holds_the_transfer_up_and_breaks_nothing() {
    for step in [Step::Plan, Step::Stage, Step::Commit] {
        for batch in [1, 4, 9] {
            let mut sim = Sim::new(batch.into(), 3, small_tree(1));
            sim.targets[1].disk_mut().hangs =
                Some((step, BatchNo::new(batch), Span::from_secs(100)));
            sim.start();
            assert!(sim.run(Span::from_secs(200)), "{step:?} {batch}");
            assert_all_equal(&sim);
        }
    }
}

#[test]
fn a_target_that_hears_and_is_not_heard_takes_nothing_that_was_not_read() {
    seeds(20, |seed| {
        let mut rng = Rng::new(seed ^ 0x3e);
        let mut sim =
            fleet(&mut rng, seed, 3, tree(1, &[&[700; 60], &[5], &[500; 90], &[300; 200]]));
        sim.senders[0].walk_takes = Span::from_millis(rng.below(800));
        // The others have most files, so that few are read.
        for manifest in sim.senders[0].input.clone() {
            for entry in manifest.entries.iter().filter(|_| rng.below(5) > 0) {
                for target in 1..3 {
                    let path = entry.path.as_bytes().to_vec();
                    sim.targets[target].disk_mut().files.insert(path, entry.mtime);
                }
            }
        }
        sim.after(Span::from_micros(rng.below(3_000)), Action::Mute(0, true));
        sim.after(Span::from_millis(1_000 + rng.below(3_000)), Action::Mute(0, false));
        sim.start();
        assert!(sim.run(Span::from_secs(60)), "seed {seed} does not end");
        assert_all_equal(&sim);
    });
}

#[test]
fn a_target_that_dies_during_a_long_file_is_noticed_meanwhile() {
    for targets in [3, 40] {
        let mut sim = Sim::new(1, targets, tree(1, &[&[16 << 20]]));
        sim.net.rate = Some(1e6);
        sim.net.member_loss = 10;
        sim.senders[0].timeout = Span::from_secs(2);
        sim.after(Span::from_secs(1), Action::KillTarget(1));
        sim.start();
        assert!(!sim.run(Span::from_secs(8)));
        assert_eq!(sim.senders[0].gone[1], Some(Gone::Silent), "of {targets}");
        assert!(sim.run(Span::from_secs(60)));
        let others: Vec<_> = sim.senders[0].gone.iter().filter(|gone| gone.is_some()).collect();
        assert_eq!(others.len(), 1, "{others:?}");
        assert_equal(&sim, 0);
    }
}

#[test]
fn the_dead_of_a_large_fleet_do_not_slow_down_the_living() {
    let mut sim = Sim::new(1, 200, tree(1, &[&[100], &[8 << 20]]));
    sim.senders[0].timeout = Span::from_secs(2);
    sim.senders[0].walk_takes = Span::from_secs(10);
    for target in 4..200 {
        sim.targets[target].kill();
    }
    sim.start();
    // The second batch is found after ten seconds.
    sim.run(Span::from_millis(11_500));
    assert_eq!(sim.senders[0].gone.iter().filter(|gone| gone.is_some()).count(), 196);
    assert_equal(&sim, 0);
}

/// A fleet in which every target has something to be deleted.
fn with_extras(targets: usize) -> Sim {
    let mut sim = Sim::new(1, targets, tree(1, &[&[100]]));
    sim.senders[0].delete = true;
    for target in 0..targets {
        let files = &mut sim.targets[target].disk_mut().files;
        files.extend((0..300).map(|n| (format!("extra{n}").into_bytes(), FileTime::default())));
    }
    sim
}

#[test]
fn a_target_that_takes_minutes_to_delete_loses_no_other() {
    for step in [Step::Tally, Step::Delete, Step::Page] {
        let mut sim = with_extras(3);
        sim.targets[1].disk_mut().hangs = Some((step, BatchNo::ZERO, Span::from_secs(100)));
        sim.start();
        assert!(sim.run(Span::from_secs(200)));
        assert_all_equal(&sim);
        assert_eq!(sim.senders[0].deleted, [300; 3]);
    }
}

#[test]
fn a_target_that_is_lost_during_the_count_deletes_nothing() {
    // So many that they are all told at once, and the lost one hears it, too.
    for targets in [3, 20, 40] {
        seeds(10, |seed| {
            let mut sim = with_extras(targets);
            let lost = seed as usize % targets;
            sim.net.member_loss = 10 * (seed % 3);
            // It hears all that is said; of its answers, those to the count are lost, and all after.
            let mut counts = false;
            sim.filter = Some(Box::new(move |target, header: &Header| {
                counts |= target == lost && header.kind == PacketKind::Deleted;
                let answers = header.role != Role::Sender;
                counts && target == lost && answers
            }));
            sim.start();
            assert!(sim.run(Span::from_secs(100)));
            assert_eq!(sim.senders[0].gone[lost], Some(Gone::Silent));
            for target in 0..targets {
                let files = sim.disk(target).files.keys();
                let extras = files.filter(|path| path.starts_with(b"extra")).count();
                let (left, ran) = if target == lost { (300, 0) } else { (0, 300) };
                assert_eq!((extras, sim.senders[0].deleted[target]), (left, ran), "{target}");
            }
        });
    }
}

#[test]
fn a_target_that_no_block_reaches_is_noticed_and_costs_no_more_than_some_dozen() {
    let size = 3 << 20;
    for targets in [1, 3] {
        seeds(10, |seed| {
            let mut sim = Sim::new(1, targets, tree(1, &[&[size]]));
            sim.net.member_loss = 5 * (seed % 3);
            sim.filter = Some(Box::new(|target, header: &Header| {
                target == 0 && header.kind == PacketKind::Data
            }));
            sim.start();
            assert!(sim.run(Span::from_secs(20)));
            let gone: Vec<bool> = sim.senders[0].gone.iter().map(Option::is_some).collect();
            assert_eq!(sim.senders[0].gone[0], Some(Gone::NoData));
            assert!(gone[1..].iter().all(|gone| !gone));
            (1..targets).for_each(|target| assert_equal(&sim, target));
            let share = if targets > 1 { size + size / 3 } else { 0 };
            assert!(sim.wire_bytes < share + 300_000, "{} of {share}", sim.wire_bytes);
        });
    }
}

#[test]
fn a_target_that_is_away_when_all_is_done_still_deletes_or_is_reported() {
    for (back, gone) in [(5, None), (50, Some(Gone::Silent))] {
        let mut sim = with_extras(3);
        // All is done long before the walk ends, and the sender notices that one is silent.
        sim.senders[0].walk_takes = Span::from_secs(3);
        sim.after(Span::from_millis(500), Action::Cut(1));
        sim.after(Span::from_secs(back), Action::Mend(1));
        sim.start();
        assert!(sim.run(Span::from_secs(100)), "{back}");
        assert_eq!(sim.senders[0].gone[1], gone);
        let deleted = if gone.is_none() { 300 } else { 0 };
        assert_eq!(sim.senders[0].deleted, [300, deleted, 300]);
    }
}
