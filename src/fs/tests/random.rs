//! Random trees: what is spooled is what a simple model says, in every mode, and exactly that goes.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use super::super::batch::SourceBatch;
use super::super::testing::*;
use crate::engine::disk_job::{DiskAnswer, Mode};
use crate::engine::rng::Rng;
use crate::ids::{BatchNo, EntryNo};
use crate::name::RelPath;
use crate::pattern::Patterns;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::{Outcome, SpoolCode};

const SEEDS: std::ops::Range<u64> = 0..12;
const NAMES: [&str; 9] = ["a", "b", "c", "d.tmp", "keep", "e", "f f", "g", "-h"];
const RULES: [&str; 3] = ["+ b/d.tmp", "- *.tmp", "- keep/"];

/// A tree that is the same for the same seed.
fn grow(rng: &mut Rng, at: &Path, depth: u32) {
    for name in NAMES {
        let at = at.join(name);
        match rng.below(10) {
            0..3 => std::fs::write(&at, format!("{}", rng.below(3))).unwrap(),
            3 => symlink("..", &at).unwrap(),
            4 if at.parent().unwrap().join("a").is_file() && name != "a" => {
                std::fs::hard_link(at.parent().unwrap().join("a"), &at).unwrap();
            }
            5..8 if depth > 0 => {
                std::fs::create_dir(&at).unwrap();
                grow(rng, &at, depth - 1);
            }
            _ => {}
        }
    }
}

fn tree(seed: u64) -> TempDir {
    let temp = TempDir::new("grown");
    grow(&mut Rng::new(seed), temp.path(), 3);
    temp
}

fn names(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|one| one.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != ".makuosan");
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    names
}

fn is_dir(at: &Path) -> bool {
    std::fs::symlink_metadata(at).is_ok_and(|meta| meta.is_dir())
}

/// What should be spooled of the directory `dir`, which both have and which is listed; with `sends`, also
/// the directories that something else takes the place of.
fn listed(
    (from, to, sends): (&Path, &Path, bool),
    dir: &str,
    patterns: &Patterns,
    all: &mut Vec<String>,
) {
    let (there, here) = (names(&from.join(dir)), names(&to.join(dir)));
    let below = |name: &str| if dir.is_empty() { name.into() } else { format!("{dir}/{name}") };
    for name in &there {
        let at = below(name);
        if is_dir(&from.join(&at)) && is_dir(&to.join(&at)) && !patterns.excludes(&path(&at), true)
        {
            listed((from, to, sends), &at, patterns, all);
        } else if sends
            && !is_dir(&from.join(&at))
            && !patterns.excludes(&path(&at), false)
            && is_dir(&to.join(&at))
            && !names(&to.join(&at)).is_empty()
        {
            doomed(to, &at, patterns, all);
        }
    }
    for name in here.iter().filter(|name| !there.contains(name)) {
        doomed(to, &below(name), patterns, all);
    }
}

/// Whether it stays.
fn doomed(to: &Path, at: &str, patterns: &Patterns, all: &mut Vec<String>) -> bool {
    let is_dir = is_dir(&to.join(at));
    let mut stays = patterns.excludes(&path(at), is_dir);
    if is_dir && !stays {
        for name in names(&to.join(at)) {
            stays |= doomed(to, &format!("{at}/{name}"), patterns, all);
        }
    }
    if !stays {
        all.push(at.to_string());
    }
    stays
}

fn everything(base: &Path) -> BTreeSet<String> {
    let names = snapshot(base).into_keys();
    names.map(|name| std::ffi::OsStr::from_bytes(&name).to_str().unwrap().to_string()).collect()
}

/// The same entries in batches of a few each.
fn crumbled(batches: &[SourceBatch], rng: &mut Rng) -> Vec<SourceBatch> {
    let mut small = Vec::new();
    for batch in batches {
        let (mut entries, mut at) = (&batch.manifest.entries[..], 0);
        let mut setup = batch.manifest.setup.clone();
        while !entries.is_empty() || setup.is_some() {
            let len = (1 + rng.below(4) as usize).min(entries.len());
            let (some, rest) = entries.split_at(len);
            let digests = batch.manifest.digests.iter();
            let digests = digests
                .filter_map(|&(n, digest)| Some((n.index().checked_sub(at)?, digest)))
                .filter(|&(n, _)| n < len)
                .map(|(n, digest)| (EntryNo::of(n), digest))
                .collect();
            let manifest = Manifest {
                setup: setup.take(),
                entries: some.to_vec(),
                digests,
                ..Manifest::default()
            };
            let contents = vec![None; len];
            let (manifest, contents) = (Arc::new(manifest), Arc::new(contents));
            small.push(SourceBatch { manifest, contents, declined: Vec::new() });
            (entries, at) = (rest, at + len);
        }
    }
    small
}

#[test]
fn what_would_go_is_what_the_model_says_and_just_that_goes() {
    let list = patterns(&RULES);
    let delete = Mode::Send { delete: true, ignore_times: false, dry_run: false };
    let names_only = Mode::DeleteOnly { gone: false, dry_run: false };
    let mut spooled_in_all = 0;
    for seed in SEEDS {
        let from = tree(seed);
        let root = from.root();
        let start = match seed % 4 {
            0 if is_dir(&from.join("b")) => path("b"),
            _ => RelPath::base(),
        };
        for mode in [delete, names_only] {
            let to = tree(seed + 1_000);
            let about = start.to_string();
            let wanted = |sends| {
                let mut want = Vec::new();
                if start.is_base() || is_dir(&to.join(&about)) {
                    listed((from.path(), to.path(), sends), &about, &list, &mut want);
                }
                want
            };
            let want = wanted(mode.sends_and_deletes());
            spooled_in_all += want.len();
            let mut disk = to.disk();
            let before = snapshot(to.path());
            for mode in [delete.dry(), Mode::Check, names_only.dry()] {
                let run = Spooling::send(&root, &mut disk, &start, mode, &RULES);
                let (spooled, entries) = run.tally(&mut disk);
                let want = wanted(mode.sends_and_deletes());
                assert_eq!(run.names(&mut disk), want, "seed {seed}, {mode:?}");
                assert!(spooled == want.len() as u64 && entries >= spooled);
                assert_eq!(run.delete(&mut disk), (0, 0));
                run.transfer.close(&mut disk, false);
            }
            assert_eq!(snapshot(to.path()), before, "seed {seed}");
            let run = Spooling::send(&root, &mut disk, &start, mode, &RULES);
            // What was found does not change any more.
            let tally = run.tally(&mut disk);
            assert_eq!((tally, tally.0), (run.tally(&mut disk), want.len() as u64));
            let pages: Vec<_> = want.iter().map(|at| (at.clone(), SpoolCode::Spooled)).collect();
            assert_eq!(run.pages(&mut disk), pages, "seed {seed}, {mode:?}");
            let before = everything(to.path());
            let mtimes = |run: &Spooling| -> Vec<_> {
                let closed = run.lines.iter().filter(|line| line.2 != Outcome::Silent);
                let closed = closed.filter_map(|line| line.0.strip_prefix('-'));
                let there = closed.filter_map(|at| to.join(at).symlink_metadata().ok());
                there.map(|meta| meta.modified().unwrap()).collect()
            };
            let mtimes_before = mtimes(&run);
            for _ in 0..2 {
                assert_eq!(run.delete(&mut disk), (want.len() as u64, 0), "seed {seed}");
            }
            let pages: Vec<_> = want.iter().map(|at| (at.clone(), SpoolCode::Deleted)).collect();
            assert_eq!(run.pages(&mut disk), pages, "seed {seed}, {mode:?}");
            let gone: BTreeSet<String> = want.into_iter().collect();
            let mut left: BTreeSet<String> = before.difference(&gone).cloned().collect();
            let sent = |at: &&String| from.join(at).symlink_metadata().is_ok();
            if mode.sends_and_deletes() {
                left.extend(gone.iter().filter(sent).cloned());
            }
            assert_eq!(everything(to.path()), left, "seed {seed}, {mode:?}");
            if mode.sends_and_deletes() {
                assert_eq!(mtimes(&run), mtimes_before, "seed {seed}");
            }
            run.transfer.close(&mut disk, false);
            let again = Spooling::send(&root, &mut disk, &start, mode, &RULES);
            assert_eq!(again.tally(&mut disk).0, 0, "seed {seed}");
            again.transfer.close(&mut disk, false);
        }
    }
    assert!(spooled_in_all > 300, "{spooled_in_all}");
}

#[test]
fn batches_are_followed_in_order_however_they_are_planned() {
    let list = patterns(&RULES);
    for seed in SEEDS {
        let mut rng = Rng::new(seed);
        let (from, to) = (tree(seed), tree(seed + 1_000));
        let root = from.root();
        let mut want = Vec::new();
        listed((from.path(), to.path(), false), "", &list, &mut want);
        for mode in [Mode::DeleteOnly { gone: false, dry_run: false }, Mode::Check] {
            let base = RelPath::base();
            let all = crumbled(&spooling_batches(&root, &base, mode, &RULES), &mut rng);
            let mut order: Vec<usize> = (0..all.len()).collect();
            for at in (1..order.len()).rev() {
                order.swap(at, at.saturating_sub(rng.below(9) as usize));
            }
            let lost = (seed % 4 == 3).then(|| order.pop()).flatten();
            let mut disk = to.disk();
            let mut run = Spooling { transfer: Transfer::new(5, mode), lines: Vec::new() };
            for at in order {
                run.transfer.next = BatchNo::new(9).after(at);
                let answer = run.transfer.try_plan(&mut disk, &all[at]).1;
                assert!(matches!(answer, DiskAnswer::Planned { .. }), "{answer:?}");
            }
            match lost {
                // If one never came, nobody knows what it named.
                Some(at) if at + 1 < all.len() => {
                    assert_eq!(run.tally(&mut disk), (0, 0), "seed {seed}");
                    assert_eq!((run.names(&mut disk), run.delete(&mut disk)), (vec![], (0, 0)));
                }
                Some(_) => {}
                None => {
                    assert_eq!(run.tally(&mut disk).0, want.len() as u64, "seed {seed}");
                    assert_eq!(run.names(&mut disk), want, "seed {seed}, {mode:?}");
                }
            }
            run.transfer.close(&mut disk, true);
        }
    }
}
