//! What must be so at the end of a history.

use super::disk::{Names, Operation, P, Place, Q, R};
use super::{A, B, BACK, World};
use crate::engine::atomic::{Fate, Why};

impl World {
    /// The first thing that is wrong.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.quiet();
        for which in self.begun.keys().copied().collect::<Vec<_>>() {
            self.check_ends(which)?;
            self.check_fates(which)?;
        }
        let well = (0..self.hosts.len()).filter(|at| !self.hosts[*at].is_wiped);
        well.clone().try_for_each(|at| self.check_files(at))?;
        // Whoever commits both commits them in the same order.
        let both = |at: &usize| [A, B].iter().all(|of| self.hosts[*at].committed.contains(of));
        let mut first = well
            .filter(both)
            .map(|at| self.hosts[at].committed.iter().copied().find(|of| *of != BACK));
        let one = first.next();
        if first.any(|other| Some(other) != one) {
            return Err("ORDER: not all have committed the same first".to_owned());
        }
        Ok(())
    }

    fn are_all_well(&self, which: usize) -> bool {
        let mut targets = self.begun[&which].plan.targets().iter().map(|name| self.host(name));
        !self.hosts.iter().any(|host| host.is_wiped || host.has_forgotten)
            && targets.all(|at| !self.hosts[at].is_dead)
    }

    /// Nobody commits what another one aborts, nobody does both, and nobody is in doubt.
    fn check_ends(&self, which: usize) -> Result<(), String> {
        let begun = &self.begun[&which];
        // Who has lost its disk, or is gone, or was told to forget, does not know how it ended.
        let are_all_well = self.are_all_well(which);
        let (mut have_committed, mut have_not) = (Vec::new(), Vec::new());
        for (number, name) in begun.plan.numbered() {
            let at = self.host(name);
            let host = &self.hosts[at];
            if host.is_wiped || host.is_dead {
                continue;
            }
            let commits = host.committed.iter().filter(|of| **of == which).count();
            if commits > 1 || (commits == 1 && host.aborted.contains(&which)) {
                return Err(format!("FLIP: h{at} did both with {which}"));
            }
            let phase = host.target.log().phase(&begun.id);
            if phase.is_some_and(|phase| !phase.has_ended()) {
                if phase.is_some_and(|phase| phase.is_in_doubt()) && !are_all_well {
                    continue;
                }
                return Err(format!("DOUBT: h{at} is {phase:?} with {which}"));
            }
            match commits {
                0 => have_not.push((number, at)),
                _ => have_committed.push((number, at)),
            }
        }
        let Some(decided) = &begun.decided else {
            return match have_committed.first() {
                Some((_, at)) => Err(format!("SPLIT: h{at} committed {which} without decision")),
                None => Ok(()),
            };
        };
        if let Some((_, at)) = have_committed.iter().find(|(number, _)| !decided.contains(*number))
        {
            return Err(format!("EXCLUDED-COMMITS: h{at} committed {which}"));
        }
        let split = have_not.iter().find(|(number, _)| decided.contains(*number));
        match (have_committed.first(), split) {
            (Some((_, one)), Some((_, other))) => {
                Err(format!("SPLIT: h{one} committed {which}, h{other} did not"))
            }
            _ => Ok(()),
        }
    }

    /// The sender says what is so.
    fn check_fates(&self, which: usize) -> Result<(), String> {
        let begun = &self.begun[&which];
        let sender = &self.hosts[self.host(&begun.id.host)];
        if !sender.is_up {
            return Ok(());
        }
        for (name, fate) in sender.coordinator.fates(&begun.id) {
            let at = self.host(&name);
            let host = &self.hosts[at];
            let has_committed = host.committed.contains(&which);
            let is_so = match fate {
                _ if host.is_wiped => true,
                Fate::Committed(_) => has_committed,
                Fate::LeftOut(_) | Fate::NotDecided(_) => !has_committed,
                Fate::Aborted(why) => !has_committed && why == Why::Undecided,
                Fate::Lost => false,
                Fate::InDoubt => !self.are_all_well(which),
            };
            if !is_so {
                return Err(format!("FATE: h{at} of {which} is said to be {fate:?}"));
            }
        }
        Ok(())
    }

    /// The files are what the commits made of them, and what was displaced is kept.
    fn check_files(&self, at: usize) -> Result<(), String> {
        let host = &self.hosts[at];
        if host.is_dead {
            return Ok(());
        }
        let has = |place| host.disk.at(place);
        let first = at as u32;
        let mut names =
            Names::from([(P, 1_000 + first), (R, 2_000 + first)].map(|(f, i)| (Place::At(f), i)));
        let mut kept = Names::new();
        for which in &host.committed {
            for operation in host.disk.lists.get(which).into_iter().flatten() {
                let (Operation::Put(file, _) | Operation::Delete(file, _)) = *operation;
                let old = names.remove(&Place::At(file));
                if let Operation::Put(_, ino) = operation {
                    names.insert(Place::At(file), *ino);
                }
                old.map(|old| kept.insert(Place::Slot(*which, file), old));
            }
        }
        let (has_a, has_back) = (host.committed.contains(&A), host.committed.contains(&BACK));
        let is_edited = |file| host.edits.contains_key(&file);
        let is_replaced = is_edited(P) && !host.committed.is_empty() && !has_back;
        if is_replaced && has(Place::At(P)) == Some(1_000 + first) {
            return Err(format!("RESURRECT: h{at} has the first p again"));
        }
        if let Some((ino, after)) = host.edits.get(&R).filter(|_| has_a && !has_back) {
            let is_there = has(Place::At(R)) == Some(*ino);
            let is_kept = has(Place::Slot(A, R)) == Some(*ino);
            let was_after = host.committed[..*after].contains(&A);
            if !is_there && !is_kept {
                return Err(format!("EDIT-LOST: h{at} r, edited after a commit: {was_after}"));
            }
        }
        for file in [P, Q, R] {
            let place = Place::At(file);
            if has(place) != names.get(&place).copied() && !is_edited(file) {
                return Err(format!(
                    "FS: h{at} has {:?} at {file}, not {:?}",
                    has(place),
                    names.get(&place)
                ));
            }
        }
        for file in [P, R].into_iter().filter(|_| has_a) {
            let place = Place::Slot(A, file);
            if has(place) != kept.get(&place).copied() && host.edits.is_empty() {
                return Err(format!("GENERATION: h{at} has {:?} kept of {file}", has(place)));
            }
        }
        let is_open = |which: &usize| {
            let phase = host.target.log().phase(&self.begun[which].id);
            phase.is_some_and(|phase| !phase.has_ended())
        };
        let is_kept = |which: &usize| host.committed.contains(which) || is_open(which);
        let left = host.disk.names.keys().find(|place| match place {
            Place::Slot(which, _) => !is_kept(which),
            Place::At(_) => false,
        });
        match left {
            Some(left) => Err(format!("LEFT: h{at} still has {left:?}")),
            None => Ok(()),
        }
    }
}
