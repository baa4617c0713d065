//! Hosts: their disks and their logs, and what of these a loss of power leaves.

use std::collections::BTreeMap;

use super::{Contents, Crash, Duty, Ops, PATHS, World, object, version};
use crate::mirror::index::{Index, Record};
use crate::mirror::look::Found;
use crate::mirror::merge::Taking;
use crate::mirror::roster::Roster;
use crate::wire::versions::IndexId;

/// A file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct File {
    pub ino: u64,
    pub content: u32,
    pub deeds: Ops,
}

impl File {
    pub(super) fn found(&self) -> Found {
        Some((version(self.content), object(self.ino)))
    }
}

/// What is on disk of a path.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Disk {
    pub file: Option<File>,
    /// The number of a slot, and what lies in it.
    pub slot: Option<(u64, File)>,
    pub conflicts: Contents,
    /// All deeds that led there.
    pub deeds: Ops,
}

impl Disk {
    pub(super) fn found(&self) -> Found {
        self.file.as_ref().and_then(File::found)
    }
}

/// A record that was written, and the deeds that the index knows of at its path then.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    record: Record,
    ghosts: Vec<Ops>,
}

/// An index, and the deeds that it knows of.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub index: Index,
    pub ghosts: Vec<Ops>,
}

impl Image {
    /// As it is when it is read at the start of a run.
    pub(super) fn as_read(&self, run: IndexId) -> Image {
        recovered(self, &[], 0, run)
    }
}

/// A host of the model.
#[derive(Clone)]
pub(super) struct Host {
    pub n: usize,
    pub index: Index,
    /// The deeds that the index knows of.
    pub ghosts: Vec<Ops>,
    pub disk: Vec<Disk>,
    /// What each path may be after a loss of power: the last is what it is.
    hist: Vec<Vec<Disk>>,
    /// What of the log is synced, and what was written since.
    synced: Image,
    log: Vec<Logged>,
    /// What was synced before that.
    old: Vec<Image>,
    pub snapshots: Vec<(Vec<Disk>, Image)>,
    pub is_up: bool,
    pub is_mounted: bool,
    pub is_full: bool,
    pub holds: bool,
    /// Its log does not vouch, and it has not started since.
    pub is_unvouched: bool,
    /// An own dot was given that is not written down yet.
    pub gives: bool,
    /// What others have said since it started.
    pub roster: Roster<usize>,
    /// After so many more ticks it dies, so.
    pub fuse: Option<(u32, Death)>,
    /// What a user does to a path while it is being replaced.
    pub race: Option<(usize, bool)>,
    /// What came of messages, in memory.
    pub takings: BTreeMap<u64, (Taking, Vec<usize>)>,
    /// Bytes that came, in memory.
    pub staged: Vec<Contents>,
}

/// How a host dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Death {
    /// The power fails, and what was not synced may be lost.
    pub power: bool,
    pub seed: u64,
    /// What was synced may be lost, too.
    pub lies: bool,
}

impl Host {
    pub(super) fn new(n: usize, index: Index) -> Self {
        let ghosts = vec![Ops::new(); PATHS.len()];
        let disk = vec![Disk::default(); PATHS.len()];
        Host {
            n,
            synced: Image { index: index.clone(), ghosts: ghosts.clone() },
            index,
            ghosts,
            hist: disk.iter().map(|disk| vec![disk.clone()]).collect(),
            disk,
            log: Vec::new(),
            old: Vec::new(),
            snapshots: Vec::new(),
            is_up: true,
            is_mounted: true,
            is_full: false,
            holds: false,
            is_unvouched: false,
            gives: false,
            roster: Roster::default(),
            fuse: None,
            race: None,
            takings: BTreeMap::new(),
            staged: vec![Contents::new(); PATHS.len()],
        }
    }

    /// What was only in memory is gone.
    pub(super) fn forget(&mut self) {
        self.takings.clear();
        self.roster = Roster::default();
        self.staged.iter_mut().for_each(Contents::clear);
        (self.fuse, self.race, self.gives) = (None, None, false);
    }

    /// Changes the disk at a path.
    pub(super) fn write(&mut self, path: usize, change: impl FnOnce(&mut Disk)) {
        change(&mut self.disk[path]);
        self.hist[path].push(self.disk[path].clone());
    }

    /// Changes what is known of the file there, and not the disk.
    pub(super) fn recall(&mut self, path: usize, deeds: Ops) {
        if let Some(file) = &mut self.disk[path].file {
            file.deeds = deeds;
            *self.hist[path].last_mut().unwrap() = self.disk[path].clone();
        }
    }

    /// The disk is this, and all of it is synced.
    pub(super) fn set_disk(&mut self, disk: Vec<Disk>) {
        self.hist = disk.iter().map(|disk| vec![disk.clone()]).collect();
        self.disk = disk;
    }

    /// The index is this, and all of it is synced.
    pub(super) fn set_index(&mut self, image: Image) {
        (self.index, self.ghosts) = (image.index.clone(), image.ghosts.clone());
        self.synced = image;
        self.log.clear();
        self.old.clear();
    }

    pub(super) fn image(&self) -> Image {
        Image { index: self.index.clone(), ghosts: self.ghosts.clone() }
    }

    /// What is synced of the index.
    pub(super) fn synced(&self) -> &Image {
        &self.synced
    }

    /// Whether the bytes of a content are here.
    pub(super) fn has(&self, path: usize, content: u32) -> bool {
        let disk = &self.disk[path];
        disk.conflicts.contains(&content)
            || disk.file.as_ref().is_some_and(|file| file.content == content)
            || self.staged[path].contains(&content)
    }
}

impl World {
    /// Something that takes time happens on a host: it may die there.
    pub(super) fn tick(&mut self, host: usize) -> Result<(), Crash> {
        match &mut self.hosts[host].fuse {
            Some((0, _)) => Err(Crash(host)),
            Some((ticks, _)) => {
                *ticks -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What is at a path is on disk.
    pub(super) fn sync_path(&mut self, host: usize, path: usize) -> Result<(), Crash> {
        self.tick(host)?;
        let h = &mut self.hosts[host];
        h.hist[path] = vec![h.disk[path].clone()];
        Ok(())
    }

    /// Writes the journal to the log.
    pub(super) fn log(&mut self, host: usize) -> Result<(), Crash> {
        let due = self.hosts[host].index.due();
        let duty = match std::mem::take(&mut self.hosts[host].gives) {
            true => Duty::DataSync,
            false => Duty::PlacedSync,
        };
        if self.switches.has(duty) {
            for path in due.first {
                let path = PATHS.iter().position(|p| **p == *path).unwrap();
                self.sync_path(host, path)?;
            }
        }
        self.append(host, due.records);
        Ok(())
    }

    pub(super) fn append(&mut self, host: usize, records: Vec<Record>) {
        let h = &mut self.hosts[host];
        let ghosts = &h.ghosts;
        h.log.extend(records.into_iter().map(|record| Logged { record, ghosts: ghosts.clone() }));
    }

    /// The log is synced.
    pub(super) fn sync_log(&mut self, host: usize) -> Result<(), Crash> {
        self.tick(host)?;
        let id = self.id();
        let h = &mut self.hosts[host];
        let image = recovered(&h.synced, &h.log, h.log.len(), id);
        if !same(&image.index, &h.index) {
            self.bad.insert("the log is not the index", format!("h{host}"));
        }
        h.old.push(std::mem::replace(&mut h.synced, image));
        if h.old.len() > 4 {
            h.old.remove(0);
        }
        h.log.clear();
        h.index.synced();
        self.tick(host)
    }

    /// What dies with a host: memory, and what was not synced.
    pub(super) fn lose(
        &mut self,
        host: usize,
        death: Death,
        mut below: impl FnMut(usize) -> usize,
    ) {
        let id = self.id();
        let h = &mut self.hosts[host];
        let whole = h.log.len();
        let image = match death {
            Death { power: false, .. } => recovered(&h.synced, &h.log, whole, id),
            Death { lies: false, .. } => recovered(&h.synced, &h.log, below(whole + 1), id),
            Death { .. } => {
                // What was synced last, or what was before that.
                let all: Vec<&Image> = h.old.iter().chain([&h.synced]).collect();
                recovered(all[below(all.len())], &[], 0, id)
            }
        };
        if death.power && !death.lies {
            let disk = h.hist.iter().map(|hist| hist[below(hist.len())].clone()).collect();
            h.set_disk(disk);
        } else {
            h.set_disk(h.disk.clone());
        }
        h.set_index(image);
        h.forget();
    }
}

/// An index as it is read after so many records.
fn recovered(from: &Image, log: &[Logged], len: usize, run: IndexId) -> Image {
    let head = from.index.head();
    let mut index = Index::restore(&head, from.index.map().clone(), run).unwrap();
    index.rules = from.index.rules;
    for logged in &log[..len] {
        let bytes = logged.record.emit();
        index.apply(&Record::parse(&bytes).unwrap()).unwrap();
    }
    let ghosts = log[..len].last().map_or(&from.ghosts, |logged| &logged.ghosts);
    Image { index, ghosts: ghosts.clone() }
}

fn same(a: &Index, b: &Index) -> bool {
    let all = |index: &Index| index.entries_from(&[]).collect::<Vec<_>>();
    a.head() == b.head() && all(a) == all(b)
}
