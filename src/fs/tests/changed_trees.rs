//! Random trees that change at random: a list of what has changed, with what was moved, makes another one the same.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::super::path_list::{Listed, PathList};
use super::super::testing::*;
use crate::engine::disk_job::Mode;
use crate::engine::rng::Rng;
use crate::name::RelPath;

const DELETE: Mode = Mode::Send { delete: true, ignore_times: false, dry_run: false };
const NAMES: [&str; 5] = ["a", "a.b", "b", "c", "-"];

/// Some path, up to three names deep.
fn some(rng: &mut Rng) -> String {
    let names = 1 + rng.below(3);
    (0..names).map(|_| NAMES[rng.below(5) as usize]).collect::<Vec<_>>().join("/")
}

fn remove(at: &Path) {
    match fs::symlink_metadata(at) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(at).unwrap(),
        Ok(_) => fs::remove_file(at).unwrap(),
        Err(_) => {}
    }
}

/// Whether the directory that `path` is in is there, and no link leads to it.
fn has_parent(base: &TempDir, path: &str) -> bool {
    let mut above = Path::new(path).ancestors().skip(1);
    above.all(|dir| base.path().join(dir).symlink_metadata().is_ok_and(|meta| meta.is_dir()))
}

/// Changes something; notes which paths are to be looked at, and what was moved from where.
fn change(rng: &mut Rng, base: &TempDir, changed: &mut BTreeMap<String, Option<String>>) {
    let path = some(rng);
    let at = base.join(&path);
    if !has_parent(base, &path) {
        return;
    }
    match rng.below(6) {
        0 => remove(&at),
        1 | 2 => {
            remove(&at);
            let len = [3, 20_000][rng.below(2) as usize];
            fs::write(&at, vec![rng.below(250) as u8; len]).unwrap();
        }
        3 => {
            remove(&at);
            fs::create_dir(&at).unwrap();
            fs::write(at.join("in"), format!("{}", rng.below(9))).unwrap();
        }
        4 => {
            remove(&at);
            symlink(some(rng), &at).unwrap();
        }
        _ => {
            let from = some(rng);
            let source = base.join(&from);
            let nested = path.starts_with(&format!("{from}/")) || from.starts_with(&path);
            if nested || !has_parent(base, &from) || source.symlink_metadata().is_err() {
                return;
            }
            remove(&at);
            fs::rename(source, &at).unwrap();
            changed.insert(from.clone(), None);
            changed.insert(path, Some(from));
            return;
        }
    }
    changed.insert(path, None);
}

/// What is there, without times.
fn tree(base: &TempDir) -> BTreeMap<Vec<u8>, String> {
    let mut all = snapshot(base.path());
    for (name, line) in &mut all {
        let words: Vec<&str> = line.split(' ').collect();
        let holds = words.get(4..).unwrap_or_default().join(" ");
        *line = format!("{} {holds} {}", words[0], name.len());
    }
    all
}

#[test]
fn a_list_of_what_has_changed_makes_another_tree_the_same() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let (from, to) = (TempDir::new("from"), TempDir::new("to"));
        for _ in 0..40 {
            change(&mut rng, &from, &mut BTreeMap::new());
        }
        send(&from, &to);
        assert_eq!(tree(&from), tree(&to), "seed {seed}");
        for round in 0..3 {
            let mut changed = BTreeMap::new();
            for _ in 0..12 {
                change(&mut rng, &from, &mut changed);
            }
            let listed = changed.iter().map(|(at, was)| {
                let from = was.as_ref().map(path);
                Listed { path: path(at), whole: true, keeps: false, from }
            });
            let list = PathList::new(listed.collect());
            let root = from.root();
            let mut disk = to.disk();
            let mut transfer = Transfer::new(81 + round, DELETE);
            for batch in listed_batches(&root, &RelPath::base(), DELETE, &[], Some(list)) {
                transfer.batch(&mut disk, &root, &batch);
            }
            let run = Spooling { transfer, lines: Vec::new() };
            run.tally(&mut disk);
            run.delete(&mut disk);
            run.transfer.close(&mut disk, false);
            assert_eq!(tree(&from), tree(&to), "seed {seed}, round {round}: {changed:?}");
            assert_eq!(staged(to.path()), 0, "seed {seed}");
        }
    }
}
