//! What a host does on its disk: staging, putting in place, dropping what was staged; and what somebody edits there.

use super::disk::{Change, Operation, P, Place, Q, R};
use super::{A, B, BACK, Dies, Duty, Job, World};
use crate::engine::atomic::Refusal;
use crate::engine::atomic::redo::{self, Holds, Step};

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
        let mut list: Vec<Operation> = Vec::new();
        if which == BACK {
            // What is not in place any more cannot be taken back; what never was need not be.
            let was = host.disk.lists.get(&A).filter(|_| host.committed.contains(&A));
            let put = was.and_then(|list| {
                list.iter().find_map(|operation| match operation {
                    Operation::Put(P, ino) => Some(*ino),
                    _ => None,
                })
            });
            if put.is_some() && host.disk.at(Place::At(P)) != put {
                return Ok(Err(Refusal::Failed));
            }
            if put.is_some() {
                for file in [P, R] {
                    let from = Place::Slot(A, file);
                    let Some(ino) = self.hosts[at].disk.at(from) else { continue };
                    list.push(Operation::Put(file, ino));
                    let to = Place::Slot(BACK, file);
                    let change = match self.switches.has(Duty::Link) {
                        true => Change::Link(from, to),
                        false => Change::Exchange(from, to),
                    };
                    self.change(at, change)?;
                }
                let seen = self.hosts[at].disk.at(Place::At(Q));
                list.extend(seen.map(|ino| Operation::Delete(Q, ino)));
            }
        } else {
            let puts: &[_] = if which == B { &[P] } else { &[P, Q] };
            for file in puts {
                self.inodes += 1;
                let ino = self.inodes;
                self.change(at, Change::Make(Place::Slot(which, *file), ino))?;
                list.push(Operation::Put(*file, ino));
            }
            let seen = self.hosts[at].disk.at(Place::At(R)).filter(|_| which == A);
            list.extend(seen.map(|ino| Operation::Delete(R, ino)));
        }
        self.sync(at, Duty::StageSync)?;
        let count = list.len() as u64;
        self.hosts[at].disk.lists.insert(which, list);
        Ok(Ok(count))
    }

    fn apply(&mut self, at: usize, which: usize) -> Result<(), Dies> {
        let list = self.hosts[at].disk.lists.get(&which).cloned().unwrap_or_default();
        for operation in list {
            let (Operation::Put(file, ino) | Operation::Delete(file, ino)) = operation;
            let (slot, path) = (Place::Slot(which, file), Place::At(file));
            let disk = &self.hosts[at].disk;
            let (in_slot, at_path) = (disk.at(slot), disk.at(path));
            let holds = match in_slot {
                None => Holds::Nothing,
                Some(found) if found == ino => Holds::Own,
                Some(_) => Holds::Other { is_tree: false },
            };
            let by_slot = self.switches.has(Duty::Slot);
            let change = match operation {
                Operation::Put(..) if by_slot => redo::of_put(holds) == Step::Do,
                // As if it had to be done whenever the path is not as it should be.
                Operation::Put(..) => in_slot.is_some() && at_path != Some(ino),
                // What has changed since stays.
                Operation::Delete(..) => {
                    redo::of_delete(holds, false) == Step::Do && at_path == Some(ino)
                }
            };
            let (from, to) = match operation {
                Operation::Put(..) => (slot, path),
                Operation::Delete(..) => (path, slot),
            };
            if change {
                self.change(at, Change::Exchange(from, to))?;
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
