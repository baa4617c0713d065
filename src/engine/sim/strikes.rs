//! Files that change while they are sent.

use super::scenarios::{assert_all_equal, fleet, seeds, small_tree, tree};
use super::sender::When;
use super::{Action, Sim};
use crate::engine::rng::Rng;
use crate::ids::{BatchNo, EntryNo};
use crate::time::Span;

/// Lets some files change at random moments.
fn change_some(sim: &mut Sim, rng: &mut Rng, most: u64) {
    let files = sim.files(0);
    for _ in 0..1 + rng.below(most) {
        let (batch, entry) = files[rng.below(files.len() as u64) as usize];
        let many = 1 << rng.below(7);
        let when = match rng.below(4) {
            0 => When::Verified,
            1 => When::Committed,
            _ => When::Sent(1 + rng.below(many) as u32),
        };
        sim.senders[0].changes.push((batch, entry, when));
    }
}

#[test]
fn files_that_change_at_any_step_are_sent_whole_or_again() {
    seeds(40, |seed| {
        let mut rng = Rng::new(seed ^ 0x57);
        let targets = 1 + rng.below(4) as usize;
        let mut sim = fleet(&mut rng, seed, targets, small_tree(1));
        sim.net.member_loss = rng.below(2) * rng.below(200);
        sim.net.doubled = rng.below(50);
        sim.net.late = rng.below(100);
        sim.senders[0].forgetful = true;
        change_some(&mut sim, &mut rng, 8);
        sim.start();
        assert!(sim.run(Span::from_secs(120)), "seed {seed} does not end");
        assert_all_equal(&sim);
    });
}

#[test]
fn files_that_change_while_a_target_is_away_are_not_torn_there() {
    seeds(40, |seed| {
        let mut rng = Rng::new(seed ^ 0x58);
        let targets = 1 + rng.below(4) as usize;
        let mut sim = fleet(&mut rng, seed, targets, small_tree(1));
        sim.net.member_loss = rng.below(2) * rng.below(100);
        sim.net.late = rng.below(100);
        sim.senders[0].forgetful = true;
        sim.senders[0].parallel = 1 + rng.below(16) as usize;
        change_some(&mut sim, &mut rng, 20);
        let cut = Span::from_micros(rng.below(20_000));
        sim.after(cut, Action::Cut(0));
        sim.after(cut + Span::from_millis(rng.below(3_000)), Action::Mend(0));
        sim.start();
        assert!(sim.run(Span::from_secs(120)), "seed {seed} does not end");
        assert_all_equal(&sim);
    });
}

#[test]
fn a_streamed_file_that_changes_is_struck_whatever_its_targets_do() {
    seeds(20, |seed| {
        let mut rng = Rng::new(seed ^ 0x59);
        let mut sim = fleet(&mut rng, seed, 3, tree(1, &[&[10], &[5 << 20], &[20], &[6 << 20]]));
        sim.net.member_loss = rng.below(300);
        let at = 1 + rng.below(100) as u32;
        sim.senders[0].changes = vec![
            (BatchNo::new(2), EntryNo::new(1), When::Sent(at)),
            (BatchNo::new(4), EntryNo::new(1), When::Sent(1)),
        ];
        if rng.below(2) == 0 {
            sim.after(Span::from_micros(rng.below(10_000)), Action::Cut(1));
            sim.after(Span::from_secs(4), Action::Mend(1));
        }
        // One has both files already.
        let files = sim.senders[0].input.iter().flat_map(|manifest| manifest.entries.clone());
        let files: Vec<_> = files.map(|e| (e.path.as_bytes().to_vec(), e.mtime)).collect();
        sim.targets[2].disk_mut().files.extend(files);
        sim.start();
        assert!(sim.run(Span::from_secs(120)), "seed {seed} does not end");
        assert_all_equal(&sim);
        assert!(sim.senders[0].struck >= 2);
    });
}
