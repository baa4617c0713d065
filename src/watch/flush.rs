//! Looking at names that are ready, and putting together what is sent of them.

use std::collections::HashSet;
use std::os::fd::AsFd;

use super::deletions::{Deletions, Going};
use super::dirty::{Key, Name};
use super::ground::Ground;
use super::types::{Changed, Held, Now};
use crate::fs::root::Dirs;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType};
use crate::sys::inotify::Wd;
use crate::time::{Span, Time};

/// How long to wait with what could not be sent: at first, and at the most. It doubles.
const AGAIN: Span = Span::from_secs(10);
const LONGEST: Span = Span::from_secs(300);
/// What could not be sent so often waits for an event, or for somebody who asks for it; so long, if that is not many
/// names.
const MOST_TRIES: u8 = 6;
const DAY: Span = Span::from_secs(86_400);
const FEW: usize = 1_024;
/// The most bytes of paths in one flush.
const MOST_BYTES: usize = 8 << 20;

/// What is sent together.
#[derive(Debug, Default)]
pub(super) struct Composed {
    /// By path, none twice.
    pub(super) changed: Vec<Changed>,
    /// The names of these, in the same order.
    pub(super) names: Vec<Name>,
    /// Deletions are held because of this from now on.
    pub(super) held: Option<Held>,
}

/// What was found of a name.
enum Found {
    There {
        is_directory: bool,
    },
    Gone,
    /// It is not time yet.
    Waits,
    /// There is nothing to be said of it.
    Nothing,
    /// It cannot be looked at.
    Failed,
}

/// Looks at all names that are ready. What `may_delete` forbids stays.
pub(super) fn compose(
    ground: &mut Ground,
    deletions: &mut Deletions,
    now: Time,
    may_delete: bool,
) -> Composed {
    let mut dirs = Dirs::new(ground.root.clone());
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    let mut replaced = Vec::new();
    let mut left: Vec<(Key, Wd)> = Vec::new();
    let mut bytes = 0;
    for key in ground.dirty.ready(now) {
        let path = ground.path(&key);
        bytes += path.as_ref().map_or(0, |path| path.as_bytes().len());
        if bytes > MOST_BYTES {
            ground.dirty.look_again(now);
            break;
        }
        let Some(path) = path.filter(|path| !path.is_base()) else {
            ground.dirty.take(&key);
            continue;
        };
        match look(ground, &mut dirs, &key, &path) {
            Found::There { is_directory } => {
                let Some(name) = ground.dirty.take(&key) else { continue };
                let now = match name.whole && is_directory {
                    true => Now::Whole,
                    false => Now::Itself,
                };
                if now == Now::Whole && name.went {
                    replaced.push((there.len(), key));
                }
                let from = name.from.as_deref().and_then(|from| RelPath::parse(from).ok());
                there.push((Changed { path, now, from }, name));
            }
            Found::Gone => {
                if let Some(wd) = ground.table.child(key.0, &key.1) {
                    left.push((key.clone(), wd));
                }
                if ground.dirty.miss(now, &key) && may_delete {
                    gone.push((path, key));
                }
            }
            Found::Failed => {
                if let Some(name) = ground.dirty.take(&key) {
                    try_again(ground, now, key, &name, MOST_TRIES);
                }
            }
            Found::Waits => {}
            Found::Nothing => drop(ground.dirty.take(&key)),
        }
    }
    leave(ground, left);
    let replaced: Vec<usize> = replaced
        .into_iter()
        .filter_map(|(at, key)| {
            let (_, name) = there.get_mut(at)?;
            let below = went_below(ground, &mut dirs, name, &key);
            let is_less = name.weight > 0 || !below.is_empty();
            gone.extend(below.into_iter().filter(|_| may_delete));
            is_less.then_some(at)
        })
        .collect();
    let mut composed = Composed::default();
    let gone = gone.into_iter().filter_map(|(path, key)| {
        ground.dirty.take(&key).map(|name| (Changed { path, now: Now::Gone, from: None }, name))
    });
    let mut gone: Vec<(Changed, Name)> = gone.collect();
    let before = deletions.why();
    let of = |&at: &usize| there.get(at).map_or(0, |(_, name): &(Changed, Name)| name.weight);
    let weight: u64 = replaced.iter().map(of).sum();
    let is_held = hold(ground, deletions, now, &mut gone, weight);
    if is_held {
        deletions.unknown += weight;
    }
    for at in replaced.into_iter().filter(|_| is_held || !may_delete) {
        if let Some((changed, _)) = there.get_mut(at) {
            changed.now = Now::Merged;
        }
    }
    composed.held = deletions.why().filter(|why| Some(*why) != before);
    let mut all = there;
    all.append(&mut gone);
    let covering = all.iter().filter(|(changed, _)| changed.now != Now::Itself);
    let covering: HashSet<RelPath> = covering.map(|(changed, _)| changed.path.clone()).collect();
    all.retain(|(changed, _)| !is_below(&changed.path, &covering));
    all.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
    all.dedup_by(|(a, _), (b, _)| a.path == b.path);
    (composed.changed, composed.names) = all.into_iter().unzip();
    composed
}

/// Has what could not be sent tried again after a while, if that was not tried too often.
pub(super) fn try_again(ground: &mut Ground, now: Time, key: Key, name: &Name, most: u8) {
    let wait = match name.tries < most {
        true => (AGAIN * (1 << name.tries.min(6))).at_most(LONGEST),
        false if ground.dirty.len() < FEW => DAY,
        false => return,
    };
    ground.dirty.again(now, now + wait, key, name);
}

/// The same of some `paths` of what was sent.
pub(super) fn try_paths_again(
    ground: &mut Ground,
    now: Time,
    sent: &[Changed],
    names: &[Name],
    paths: &[RelPath],
) {
    for path in paths {
        if !path.is_under(&ground.config.path) {
            continue;
        }
        let key = ground.key(path);
        let found = sent.binary_search_by(|changed| changed.path.cmp(path));
        let name = found.ok().and_then(|at| names.get(at)).cloned();
        let name = name.unwrap_or_else(|| Name::found(now));
        try_again(ground, now, key, &name, MOST_TRIES);
    }
}

fn look(ground: &mut Ground, dirs: &mut Dirs, key: &Key, path: &RelPath) -> Found {
    let found = dirs.parent(path).and_then(|(dir, name)| fsat::stat_at(dir.as_fd(), name));
    match found {
        Ok(stat) => {
            let is_directory = stat.kind == FileType::Directory;
            if stat.kind == FileType::Socket || is_left_out(ground, path, is_directory) {
                return Found::Nothing;
            }
            // A link to a file is as it is meant to be.
            let is_new_file = stat.kind == FileType::File && stat.nlink == 1;
            match is_new_file && ground.dirty.put_off(key) {
                true => Found::Waits,
                false => Found::There { is_directory },
            }
        }
        Err(error) => match error.raw_os_error() {
            // What nobody has said is gone may be covered by a mount.
            Some(libc::ENOENT) if ground.dirty.get(key).is_some_and(|name| name.went) => {
                match ground.config.deletes && !is_left_out(ground, path, false) {
                    true => Found::Gone,
                    false => Found::Nothing,
                }
            }
            // The directory that it is in is told of by itself.
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Found::Nothing,
            _ => Found::Failed,
        },
    }
}

/// Whether something is left out, or a directory that it is in.
fn is_left_out(ground: &Ground, path: &RelPath, is_directory: bool) -> bool {
    if ground.excludes(path, is_directory) {
        return true;
    }
    let mut at = path.clone();
    while let Some((parent, _)) = at.split_last().filter(|_| at != ground.config.path) {
        if ground.excludes(&parent, true) {
            return true;
        }
        at = parent;
    }
    false
}

/// Directories that were watched are not at their places any more: those that have not come up elsewhere have left
/// the tree.
fn leave(ground: &mut Ground, left: Vec<(Key, Wd)>) {
    if left.is_empty() {
        return;
    }
    let roots: Vec<Wd> = left.iter().map(|(_, wd)| *wd).collect();
    let below = ground.table.entries_below(&roots);
    for ((key, wd), weight) in left.into_iter().zip(below) {
        if let Some(name) = ground.dirty.get_mut(&key) {
            name.weight = weight;
        }
        ground.table.detach(wd);
    }
    for wd in ground.table.strays(ground.top) {
        ground.abandon(wd);
    }
}

/// Holds deletions that are too many together, with `weight` that go with what has replaced them: whether they are.
/// They are taken out of `gone`.
fn hold(
    ground: &Ground,
    deletions: &mut Deletions,
    now: Time,
    gone: &mut Vec<(Changed, Name)>,
    weight: u64,
) -> bool {
    if !ground.config.holds {
        return false;
    }
    let is_judged = |name: &Name| !name.moved && !name.released;
    let top = ground.config.path.components().count() + 1;
    let going = gone.iter().filter(|(_, name)| is_judged(name)).fold(
        Going { entries: weight, at_top: 0 },
        |going, (changed, name)| Going {
            entries: going.entries + 1 + name.weight,
            at_top: going.at_top + u64::from(changed.path.components().count() == top),
        },
    );
    let table = &ground.table;
    let left_at_top = table.entries_in(ground.top).into();
    if deletions.judge(now, going, table.entries(), left_at_top).is_none() {
        return false;
    }
    let covering: HashSet<RelPath> = gone.iter().map(|(changed, _)| changed.path.clone()).collect();
    gone.retain(|(changed, name)| {
        let is_held = is_judged(name);
        if is_held && !is_below(&changed.path, &covering) {
            deletions.hold(changed.path.clone());
        }
        !is_held
    });
    true
}

/// A directory has taken the place of another: what went with that, and is not in this one. What is not known by
/// name counts in `name`, with less for what this one has.
fn went_below(
    ground: &mut Ground,
    dirs: &mut Dirs,
    name: &mut Name,
    key: &Key,
) -> Vec<(RelPath, Key)> {
    if let Some(wd) = ground.table.child(key.0, &key.1).filter(|_| name.weight > 0) {
        let now: u64 = ground.table.entries_below(&[wd]).iter().sum();
        name.weight = name.weight.saturating_sub(now);
    }
    let mut went = Vec::new();
    for key in ground.dirty.went_below(key) {
        let Some(path) = ground.path(&key) else { continue };
        if matches!(look(ground, dirs, &key, &path), Found::Gone) {
            went.push((path, key));
        }
    }
    went
}

/// Whether a path is below one of these.
fn is_below(path: &RelPath, those: &HashSet<RelPath>) -> bool {
    let mut at = path.clone();
    while let Some((parent, _)) = at.split_last() {
        if those.contains(&parent) {
            return true;
        }
        at = parent;
    }
    false
}
