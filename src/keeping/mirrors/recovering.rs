//! After a start: what became of what was about to be placed, and of what is kept, when the daemon ended.

use super::tree::Tree;
use super::types::MirrorError;
use crate::fs::mirror::look::Here;
use crate::fs::mirror::ops::Ops;
use crate::fs::mirror::reading::Reader;
use crate::fs::mirror::slots::Slot;
use crate::mirror::look::Verdict;
use crate::name::RelPath;
use crate::wire::versions::Dot;
use std::io;

impl Tree {
    /// Finds out, after a start, what became of what was about to be placed when the last daemon ended, and what is
    /// kept here.
    ///
    /// # Errors
    /// It cannot be told, or written down.
    pub fn recover(&mut self, ops: &mut Ops<'_>) -> Result<(), MirrorError> {
        self.tell_time();
        self.decide(ops)?;
        self.find_kept(ops).map_err(|error| MirrorError::Io(self.path.clone(), error))
    }

    /// Decides what became of what was about to be placed. Where what it is on is not there, it waits.
    pub(super) fn decide(&mut self, ops: &mut Ops<'_>) -> Result<(), MirrorError> {
        let intents = self.index.intents_at(&self.undecided);
        if intents.is_empty() {
            return Ok(());
        }
        let at_top = |error| MirrorError::Io(self.path.clone(), error);
        let mut all: Vec<(RelPath, Dot, Here)> = Vec::new();
        ops.conflicts(|path, dot, here| all.push((path, dot, here))).map_err(at_top)?;
        let (mut slots, mut back) = (Vec::new(), Vec::new());
        let mut reader = Reader::new(self.wall);
        for (within, intent) in intents {
            let Some(path) = self.full(&within).filter(|path| !self.ground.is_held(path)) else {
                continue;
            };
            let at = |error| MirrorError::Io(path.clone(), error);
            let mut slot = Slot(intent.slot);
            let found = ops.look(&path).map_err(at)?;
            let mut staged = ops.recover(&path, slot).map_err(at)?;
            // What came out was a local edit, and was kept by a dot that was not written down any more.
            let members = self.index.entry(&within).members;
            let is_lost = |dot: Dot| {
                !self.index.known().covers(dot) && !members.iter().any(|member| member.dot == dot)
            };
            let lost = all.iter().find(|(of, dot, _)| *of == path && is_lost(*dot));
            if let (None, Some((_, dot, here))) = (staged, lost) {
                (slot, staged) = (ops.take_conflict(&path, *dot).map_err(at)?, Some(*here));
            }
            if let Some(here) = staged.filter(|(_, object)| object.ino != intent.ino) {
                staged = ops.read_slot(&mut reader, slot, here).map_err(at)?.or(staged);
            }
            match self.index.recover(&within, staged, found, !self.lists) {
                Verdict::NotDone => back.push((within.clone(), path, intent)),
                Verdict::Done if staged.is_none() => {}
                Verdict::Done => {
                    self.put_away(ops, &within, &path, slot, staged, None).map_err(at)?;
                }
                Verdict::Edited(dot) => ops.keep_conflict(&path, dot, slot).map_err(at)?,
            }
            self.undecided.remove(&within);
            slots.push(slot);
        }
        if slots.is_empty() {
            return Ok(());
        }
        self.write(|_| ops.sync_all())?;
        for (within, path, intent) in back {
            self.put_back(ops, &within, &path, &intent);
        }
        for slot in slots {
            let _ = ops.empty_slot(slot);
        }
        Ok(())
    }

    /// Finds out which versions without a name are kept. What the index does not know of goes to the trash.
    pub(super) fn find_kept(&mut self, ops: &mut Ops<'_>) -> io::Result<()> {
        let mut all: Vec<(RelPath, Dot)> = Vec::new();
        ops.conflicts(|path, dot, _| all.push((path, dot)))?;
        self.kept_at.clear();
        for (path, dot) in all {
            let Some(within) = self.within(&path).map(Box::<[u8]>::from) else { continue };
            match self.worth_keeping(&within).iter().any(|(_, dots)| dots.contains(&dot)) {
                true => self.kept_at.entry(within).or_default().push(dot),
                false => ops.drop_conflict(&path, dot)?,
            }
        }
        Ok(())
    }

    /// The slots that are spoken of: nothing in them may be removed before [`Tree::recover`].
    pub fn slots(&self) -> Vec<u64> {
        let intents = self.index.intents();
        intents.iter().map(|(_, intent)| intent.slot).collect()
    }
}
