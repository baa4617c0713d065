//! Anything may happen in a tree, at any time; once it is quiet, the target has the same.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::stage::{Stage, config, temp_dir};
use crate::engine::rng::Rng;
use crate::time::Span;
use crate::watch::types::{Config, Flush};

/// A path of few names, so that they are in each other's way.
fn some_path(rng: &mut Rng) -> String {
    let depth = 1 + rng.below(3);
    (0..depth).map(|_| ["a", "b", "c"][rng.below(3) as usize]).collect::<Vec<_>>().join("/")
}

/// Does something; that it cannot be done is no matter.
fn act(rng: &mut Rng, stage: &Stage, outside: &Path, round: u64) {
    let (one, other) = (stage.join(&some_path(rng)), stage.join(&some_path(rng)));
    let away = outside.join(rng.below(2).to_string());
    let _ = match rng.below(13) {
        0..3 => {
            let _ = one.parent().map(fs::create_dir_all);
            fs::write(&one, round.to_string())
        }
        3 | 4 => fs::create_dir_all(&one),
        5 => fs::remove_file(&one),
        6 => fs::remove_dir_all(&one),
        7 | 8 => fs::rename(&one, &other),
        9 => symlink("a", &one),
        10 => fs::hard_link(&one, &other),
        11 => fs::rename(&one, &away),
        _ => fs::rename(&away, &one),
    };
}

fn history(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut stage = Stage::of(temp_dir("history"), config(""));
    let outside = temp_dir("history-outside");
    for round in 0..60 {
        act(&mut rng, &stage, outside.path(), round);
        match rng.below(6) {
            0 => stage.pass(10),
            1 => stage.pass(150),
            2 => stage.pass(1_200),
            3 if rng.below(8) == 0 => stage.tree.overflow(stage.at.now),
            _ => {}
        }
    }
    stage.settle();
    stage.settle();
    // What is written by one name of a file is told of that name alone: the slow search finds the others.
    stage.at.now += Span::from_secs(4_600);
    stage.settle();
    if stage.tree.numbers().held_why.is_some() {
        let release = crate::watch::types::Command::Release(super::stage::WATCH);
        stage.tree.command(stage.at, release);
        stage.settle();
    }
    stage.same();
    // And nothing more comes.
    stage.flushes.clear();
    stage.settle();
    let only_retries = stage.flushes.iter().all(|(_, flush)| matches!(flush, Flush::Tree { .. }));
    assert!(only_retries && stage.tree.numbers().pending == 0, "{:?}", stage.flushes);
}

fn histories(seeds: std::ops::Range<u64>) {
    let one = std::env::var("MAKUO_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in one.map_or(seeds, |seed: u64| seed..seed + 1) {
        if let Err(panic) = std::panic::catch_unwind(|| history(seed)) {
            eprintln!("failed with MAKUO_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn whatever_happens_is_at_the_target_in_the_end() {
    histories(0..60);
}

#[test]
#[ignore = "minutes"]
fn whatever_happens_is_at_the_target_in_the_end_for_long() {
    histories(1_000..5_000);
}

#[test]
fn without_deletions_nothing_is_ever_deleted() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let config = Config { deletes: false, ..config("") };
        let mut stage = Stage::of(temp_dir("history-keeps"), config);
        for round in 0..60 {
            let at = some_path(&mut rng);
            if rng.below(3) == 0 {
                let _ = fs::remove_file(stage.join(&at));
            } else {
                let _ = stage.join(&at).parent().map(fs::create_dir_all);
                let _ = fs::write(stage.join(&at), round.to_string());
            }
            stage.pass(rng.below(3) * 100);
        }
        stage.settle();
        let is_deletion = |path: &String| path.starts_with('-') || path.ends_with("deletes");
        assert!(!stage.sent().iter().any(is_deletion));
    }
}
