//! What a host does on its disk: staging, putting in place, dropping what was staged; and what somebody edits there.

use super::disk::{Change, Listed, P, Place, Q, R};
use super::{A, B, BACK, Dies, Duty, Job, World};
use crate::engine::atomic::Refusal;
use crate::engine::atomic::redo::{AtPath, InSlot, Operation, Step, step};

impl World {
    pub(super) fn work(&mut self, at: usize, job: &Job) -> Result<(), Dies> {
        let now = self.now;
        let actions = match *job {
            Job::Stage(which) => {
                let staged = self.stage(at, which)?;
                let id = self.begun[&which].id.clone();
                self.hosts[at].target.staged(now, &id, staged)
            }
            Job::Apply(which) => {
                self.apply(at, which)?;
                let id = self.begun[&which].id.clone();
                self.hosts[at].target.applied(&id, 0)
            }
        };
        self.act(at, actions)
    }

    fn change(&mut self, at: usize, change: Change) -> Result<(), Dies> {
        self.step(at)?;
        self.say(|_| format!("    h{at} {change:?}"));
        self.hosts[at].disk.change(change);
        Ok(())
    }

    fn sync(&mut self, at: usize, duty: Duty) -> Result<(), Dies> {
        self.step(at)?;
        if self.switches.has(duty) {
            self.hosts[at].disk.sync();
        }
        Ok(())
    }

    fn stage(&mut self, at: usize, which: usize) -> Result<Result<u64, Refusal>, Dies> {
        let id = &self.begun[&which].id;
        let host = &self.hosts[at];
        if self.switches.has(Duty::Lock) && host.target.log().open().any(|(of, _)| of != id) {
            return Ok(Err(Refusal::Overlaps));
        }
        let mut list: Vec<Listed> = Vec::new();
        if which == BACK {
            // What is not in place any more cannot be taken back; what never was need not be.
            let was = host.disk.lists.get(&A).filter(|_| host.committed.contains(&A));
            let put = was.and_then(|list| list.iter().find(|(file, ..)| *file == P)?.2);
            if put.is_some() && host.disk.at(Place::At(P)) != put {
                return Ok(Err(Refusal::Failed));
            }
            if put.is_some() {
                for file in [P, R] {
                    let from = Place::Slot(A, file);
                    let Some(ino) = self.hosts[at].disk.at(from) else { continue };
                    list.push((file, Operation::Put, Some(ino)));
                    let to = Place::Slot(BACK, file);
                    let change = match self.switches.has(Duty::Link) {
                        true => Change::Link(from, to),
                        false => Change::Exchange(from, to),
                    };
                    self.change(at, change)?;
                }
                list.push((Q, Operation::Delete, None));
            }
        } else {
            let puts: &[_] = if which == B { &[P] } else { &[P, Q] };
            for file in puts {
                self.inodes += 1;
                let ino = self.inodes;
                self.change(at, Change::Make(Place::Slot(which, *file), ino))?;
                list.push((*file, Operation::Put, Some(ino)));
            }
            if which == A && self.hosts[at].disk.at(Place::At(R)).is_some() {
                list.push((R, Operation::Delete, None));
            }
        }
        self.sync(at, Duty::StageSync)?;
        let count = list.len() as u64;
        self.hosts[at].disk.lists.insert(which, list);
        Ok(Ok(count))
    }

    fn apply(&mut self, at: usize, which: usize) -> Result<(), Dies> {
        let list = self.hosts[at].disk.lists.get(&which).cloned().unwrap_or_default();
        for (file, operation, staged) in list {
            let (slot, path) = (Place::Slot(which, file), Place::At(file));
            let disk = &self.hosts[at].disk;
            let (in_slot, at_path) = (disk.at(slot), disk.at(path));
            let is_done_by_path = match operation {
                Operation::Delete => at_path.is_none(),
                _ => at_path == staged,
            };
            let in_slot = match in_slot {
                // As if it had to be done whenever the path is not as it should be.
                _ if !self.switches.has(Duty::Slot) => match (operation, is_done_by_path) {
                    (Operation::Delete, false) => InSlot::Nothing,
                    (_, false) if in_slot.is_some() => InSlot::Staged,
                    _ => InSlot::Other,
                },
                None => InSlot::Nothing,
                same if same == staged => InSlot::Staged,
                Some(_) => InSlot::Other,
            };
            let at_path = at_path.map_or(AtPath::Nothing, |_| AtPath::Other);
            match step(operation, in_slot, at_path) {
                Step::Exchange | Step::Place => self.change(at, Change::Exchange(slot, path))?,
                Step::Keep => {
                    self.change(at, Change::Remove(slot))?;
                    self.change(at, Change::Exchange(path, slot))?;
                }
                Step::SetAttributes | Step::Nothing => {}
            }
        }
        self.sync(at, Duty::ApplySync)
    }

    pub(super) fn drop_staged(&mut self, at: usize, which: usize) -> Result<(), Dies> {
        for file in [P, Q, R] {
            let slot = Place::Slot(which, file);
            if self.hosts[at].disk.at(slot).is_some() {
                self.change(at, Change::Remove(slot))?;
            }
        }
        self.hosts[at].disk.lists.remove(&which);
        Ok(())
    }

    /// At a start: what was staged for what is neither open nor committed is removed.
    pub(super) fn sweep(&mut self, at: usize) {
        for which in [A, B, BACK] {
            let host = &self.hosts[at];
            let id = self.begun.get(&which).map(|begun| &begun.id);
            let phase = id.and_then(|id| host.target.log().phase(id));
            let is_open = phase.is_some_and(|phase| !phase.has_ended());
            let is_kept = host.committed.contains(&which);
            if !is_open && !is_kept {
                let _ = self.drop_staged(at, which);
            }
        }
    }

    pub(super) fn edit(&mut self, at: usize, r: bool) {
        self.inodes += 1;
        let (file, ino) = (if r { R } else { P }, self.inodes);
        self.say(|_| format!("h{at} edits {file}: {ino}"));
        let host = &mut self.hosts[at];
        host.disk.change(Change::Make(Place::At(file), ino));
        host.disk.sync();
        host.edits.insert(file, (ino, host.committed.len()));
    }
}
