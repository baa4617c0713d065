//! What simulated fleets must survive. `MAKUO_SEED=n` replays one seed; a failure prints it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Action, Sim};
use crate::engine::outgoing::Gone;
use crate::engine::rng::Rng;
use crate::time::Span;
use crate::wire::manifest::tests::entry;
use crate::wire::manifest::{FileTime, Kind, Manifest};

pub(super) fn seeds(count: u64, test: impl Fn(u64)) {
    if let Ok(seed) = std::env::var("MAKUO_SEED") {
        return test(seed.parse().expect("MAKUO_SEED is a number"));
    }
    for seed in 1..=count {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("failed with MAKUO_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Some batches: `sizes` of files each.
pub(super) fn tree(version: i64, batches: &[&[u64]]) -> Vec<Manifest> {
    let mut made = Vec::new();
    for (at, sizes) in batches.iter().enumerate() {
        let mut entries = vec![entry(&format!("d{at}"), Kind::Open)];
        for (file, &size) in sizes.iter().enumerate() {
            let mut found = entry(&format!("d{at}/f{file}"), Kind::File { size, data: None });
            found.mtime = FileTime { secs: version, nanos: 1 };
            entries.push(found);
        }
        entries.push(entry(&format!("d{at}"), Kind::Close { listed: false }));
        made.push(Manifest { entries, ..Manifest::default() });
    }
    made
}

pub(super) fn small_tree(version: i64) -> Vec<Manifest> {
    let small: &[u64] = &[1, 0, 5_000, 1_424, 300, 20_000];
    tree(
        version,
        &[small, &[100_000, 7], &[], &[5 << 20], small, &[60_000; 20], small, small, small, small],
    )
}

/// A fleet whose blocks are of some size; large ones are cheap to simulate.
pub(super) fn fleet(rng: &mut Rng, seed: u64, targets: usize, input: Vec<Manifest>) -> Sim {
    let mut sim = Sim::new(seed, targets, input);
    sim.senders[0].block = [1_424, 4_000, 8_000, 8_100, 8_191, 8_192][rng.below(6) as usize];
    sim
}

pub(super) fn assert_equal(sim: &Sim, target: usize) {
    // What is offered twice is in place as it was offered last.
    let wanted: BTreeMap<_, _> = sim
        .senders
        .iter()
        .flat_map(|sender| &sender.input)
        .flat_map(|manifest| &manifest.entries)
        .filter(|entry| matches!(entry.kind, Kind::File { .. }))
        .map(|entry| (entry.path.as_bytes().to_vec(), entry.mtime))
        .collect();
    let disk = sim.disk(target);
    for (path, mtime) in &wanted {
        assert_eq!(
            disk.files.get(path),
            Some(mtime),
            "target {target}: {}",
            String::from_utf8_lossy(path)
        );
    }
    assert!(disk.is_clean(), "target {target} has something staged");
}

pub(super) fn assert_all_equal(sim: &Sim) {
    for target in 0..sim.targets.len() {
        for sender in &sim.senders {
            assert_eq!(sender.gone[target], None, "target {target}");
        }
        assert_equal(sim, target);
        assert_eq!(sim.targets[target].memory(), 0);
    }
}

#[test]
fn a_clean_network_needs_three_round_trips() {
    let mut sim = Sim::new(1, 3, tree(1, &[&[4_096]]));
    let began = sim.now;
    sim.start();
    assert!(sim.run(Span::from_secs(10)));
    assert_all_equal(&sim);
    let took = sim.senders[0].finished.unwrap().since(began);
    // Three round trips of 0.2 ms, and the disk three times 0.3 ms.
    assert!(took <= Span::from_micros(1_600), "{took}");
    assert_eq!(sim.senders[0].outcomes, [3, 3, 3]);
}

#[test]
fn a_second_send_has_nothing_to_do() {
    let mut sim = Sim::new(1, 3, small_tree(1));
    sim.start();
    assert!(sim.run(Span::from_secs(60)));
    assert_all_equal(&sim);
    let before = sim.wire_bytes;
    assert!(before > 5 << 20);
    sim.senders[0].number = sim.senders[0].number.next();
    sim.start();
    assert!(sim.run(Span::from_secs(60)));
    assert_all_equal(&sim);
    let again = sim.wire_bytes - before;
    assert!(again < 40_000, "{again} bytes");
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut sim = Sim::new(1, 3, small_tree(1));
    sim.senders[0].dry_run = true;
    sim.net.member_loss = 100;
    sim.start();
    assert!(sim.run(Span::from_secs(60)));
    assert!((0..3).all(|target| sim.disk(target).files.is_empty() && sim.disk(target).is_clean()));
    let entries: usize = small_tree(1).iter().map(|manifest| manifest.entries.len()).sum();
    assert_eq!(sim.senders[0].outcomes, [entries as u64; 3]);
}

#[test]
fn everyone_gets_everything_despite_loss_doubles_and_late_packets() {
    seeds(60, |seed| {
        let mut rng = Rng::new(seed ^ 0xabcd);
        let targets = 1 + rng.below(6) as usize;
        let mut sim = fleet(&mut rng, seed, targets, small_tree(1));
        sim.net.shared_loss = rng.below(100);
        sim.net.member_loss = rng.below(300);
        sim.net.doubled = rng.below(100);
        sim.net.late = rng.below(100);
        sim.net.delay = Span::from_micros(50 + rng.below(5_000));
        sim.start();
        assert!(sim.run(Span::from_secs(600)), "seed {seed} does not end");
        assert_all_equal(&sim);
    });
}

#[test]
fn a_target_that_dies_at_any_step_is_reported_and_holds_nobody_up() {
    seeds(50, |seed| {
        let mut rng = Rng::new(seed);
        let mut sim = fleet(&mut rng, seed, 4, small_tree(1));
        sim.net.member_loss = rng.below(50);
        sim.script = vec![(rng.below(15_000), Action::KillTarget(2))];
        sim.start();
        let began = sim.now;
        assert!(sim.run(Span::from_secs(60)), "seed {seed} does not end");
        for target in [0, 1, 3] {
            assert_eq!(sim.senders[0].gone[target], None);
            assert_equal(&sim, target);
        }
        // It may have died after its last answer.
        assert!(
            matches!(sim.senders[0].gone[2], Some(Gone::Silent) | None),
            "{:?}",
            sim.senders[0].gone[2]
        );
        if sim.senders[0].gone[2].is_none() {
            assert_equal(&sim, 2);
        }
        assert!(sim.senders[0].finished.unwrap().since(began) < Span::from_secs(15));
    });
}

#[test]
fn a_target_that_restarts_at_any_step_is_not_harmed() {
    seeds(50, |seed| {
        let mut rng = Rng::new(seed);
        let mut sim = fleet(&mut rng, seed, 3, small_tree(1));
        sim.net.member_loss = rng.below(50);
        sim.net.late = 50;
        let kill = rng.below(10_000);
        sim.script = vec![
            (kill, Action::KillTarget(1)),
            (kill + rng.below(2_000), Action::RestartTarget(1)),
        ];
        sim.start();
        assert!(sim.run(Span::from_secs(60)), "seed {seed} does not end");
        for target in [0, 2] {
            assert_equal(&sim, target);
        }
        assert!(sim.targets[1].life == 0 || sim.disk(1).is_clean());
    });
}

#[test]
fn a_sender_that_restarts_at_any_step_mixes_nothing_up() {
    seeds(50, |seed| {
        let mut rng = Rng::new(seed);
        let mut sim = fleet(&mut rng, seed, 3, small_tree(1));
        sim.net.member_loss = rng.below(100);
        sim.net.late = 100;
        sim.net.doubled = 100;
        sim.script = vec![(rng.below(8_000), Action::KillSender)];
        sim.start();
        sim.run(Span::from_millis(rng.below(200)));
        // Other files under the same names and the same transfer number.
        sim.script.clear();
        if sim.senders[0].life == 0 {
            sim.act(Action::KillSender);
        }
        sim.senders[0].input = small_tree(2);
        sim.act(Action::RestartSender);
        assert!(sim.run(Span::from_secs(600)), "seed {seed} does not end");
        assert_all_equal(&sim);
    });
}

#[test]
fn a_sender_that_dies_leaves_nothing_staged() {
    seeds(40, |seed| {
        let mut rng = Rng::new(seed);
        let mut sim = fleet(&mut rng, seed, 3, small_tree(1));
        sim.script = vec![(rng.below(12_000), Action::KillSender)];
        sim.start();
        sim.run(Span::from_secs(40));
        for target in 0..3 {
            assert!(sim.disk(target).is_clean(), "target {target}");
            assert_eq!(sim.targets[target].memory(), 0);
        }
    });
}

#[test]
fn an_abort_leaves_nothing_staged() {
    seeds(40, |seed| {
        let mut rng = Rng::new(seed);
        let mut sim = fleet(&mut rng, seed, 3, small_tree(1));
        sim.net.member_loss = rng.below(200);
        sim.script = vec![(rng.below(8_000), Action::Abort)];
        sim.start();
        assert!(sim.run(Span::from_secs(60)));
        assert!((0..3).all(|target| sim.disk(target).is_clean()));
    });
}

/// Files that only targets have: target `n` has `100 * n`.
fn add_extra(sim: &mut Sim) -> Vec<u64> {
    for target in 0..sim.targets.len() {
        for file in 0..100 * target {
            let path = format!("extra/{}{file}", "long".repeat(10)).into_bytes();
            sim.targets[target].disk_mut().files.insert(path, FileTime::default());
        }
    }
    (0..sim.targets.len() as u64).map(|target| target * 100).collect()
}

#[test]
fn what_only_targets_have_goes_once_and_is_named_despite_loss() {
    seeds(30, |seed| {
        let mut rng = Rng::new(seed ^ 0xde1);
        let mut sim = Sim::new(seed, 4, small_tree(1));
        sim.senders[0].delete = true;
        sim.senders[0].dry_run = seed % 4 == 0;
        sim.senders[0].atomic = seed % 3 == 0;
        sim.net.member_loss = rng.below(250);
        sim.net.doubled = rng.below(100);
        sim.net.late = rng.below(100);
        let extra = add_extra(&mut sim);
        sim.start();
        assert!(sim.run(Span::from_secs(600)), "seed {seed} does not end");
        assert_eq!(sim.senders[0].named, extra);
        let agrees = sim.senders[0].atomic && !sim.senders[0].dry_run;
        assert_eq!(sim.senders[0].staged, u32::from(agrees));
        if sim.senders[0].dry_run {
            assert_eq!(sim.senders[0].deleted, [0; 4]);
            assert_eq!(sim.disk(3).files.len(), 300);
        } else {
            assert_eq!(sim.senders[0].deleted, extra);
            assert_all_equal(&sim);
            let files = sim.disk(0).files.len();
            assert!((1..4).all(|target| sim.disk(target).files.len() == files));
        }
    });
}

#[test]
fn a_target_that_dies_while_others_delete_holds_nobody_up() {
    seeds(60, |seed| {
        let mut rng = Rng::new(seed);
        let mut sim = Sim::new(seed, 3, tree(1, &[&[100]]));
        sim.senders[0].delete = true;
        let extra = add_extra(&mut sim);
        sim.script = vec![(rng.below(120), Action::KillTarget(1))];
        sim.start();
        assert!(sim.run(Span::from_secs(60)), "seed {seed} does not end");
        assert_eq!(sim.senders[0].deleted[2], extra[2]);
        assert_eq!(sim.senders[0].named[2], extra[2]);
        assert_equal(&sim, 2);
    });
}

#[test]
fn a_thin_link_with_a_short_queue_is_used_well() {
    let mut sim = Sim::new(5, 4, tree(1, &[&[20 << 20]]));
    sim.net.rate = Some(12.5e6);
    sim.net.queue = 64;
    let began = sim.now;
    sim.start();
    assert!(sim.run(Span::from_secs(60)));
    assert_all_equal(&sim);
    let took = sim.senders[0].finished.unwrap().since(began).secs_f64();
    let used = (20 << 20) as f64 / 1_424.0 * 1_500.0 / 12.5e6 / took;
    eprintln!(
        "100 Mbit/s, queue of 64: {:.1} % used, {} packets dropped, {} feedback",
        used * 100.0,
        sim.net.dropped,
        sim.feedback
    );
    assert!(used >= 0.85, "{used}");
    assert!(sim.net.dropped < 4_000, "{}", sim.net.dropped);
}

fn gigabit(targets: usize, rcvbuf: u32, size: u64) -> (f64, f64) {
    let mut sim = Sim::new(9, targets, tree(1, &[&[size]]));
    for target in 0..targets {
        sim.targets[target].set_receive_buffer(rcvbuf);
        sim.targets[target].disk_mut().slowness = Span::from_micros(100);
    }
    sim.net.rate = Some(125e6);
    let began = sim.now;
    sim.start();
    assert!(sim.run(Span::from_secs(60)));
    assert_all_equal(&sim);
    let took = sim.senders[0].finished.unwrap().since(began).secs_f64();
    (took, sim.feedback as f64 / took)
}

#[test]
fn a_thousand_targets_take_hardly_longer_than_ten() {
    // What getsockopt says of buffers of 208 KiB and of 8 MiB.
    for rcvbuf in [212_992, 16 << 20] {
        let size = 96 << 20;
        let (ten, few) = gigabit(10, rcvbuf, size);
        let (thousand, many) = gigabit(1_000, rcvbuf, size);
        eprintln!(
            "{} KiB buffers: 10 targets {ten:.3} s, {few:.0} feedback/s; 1,000 targets {thousand:.3} s, {many:.0} feedback/s; ratio {:.2}",
            rcvbuf / 1_024,
            thousand / ten
        );
        assert!(thousand < ten * 1.3);
        assert!(many < 25_000.0);
    }
}
