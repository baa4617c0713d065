//! What others get of a tree, some paths at a time.

use std::sync::Arc;

use super::all::Mirrors;
use super::tree::Tree;
use super::types::{Chunk, Delta, MirrorError, TreeNo};
use crate::fs::mirror::giving::Given;
use crate::wire::setup::MirrorSetup;
use crate::wire::versions::Knowledge;

/// So many paths are read of the index without a pause for others.
const SLICE: usize = 4_096;
/// So many paths are in a chunk.
const MOST: usize = 512;

impl Mirrors {
    /// What who knows `from` lacks now, and has to have.
    ///
    /// # Errors
    /// Not all of it is on disk yet.
    pub fn delta(
        &self,
        tree: TreeNo,
        from: Knowledge,
        needed: Vec<crate::wire::versions::Dot>,
    ) -> Option<Delta> {
        let setup = self.with(tree, |tree| {
            let (span, _) = tree.index.delta(&from).ok()?;
            let by = tree.index.id();
            Some(MirrorSetup {
                from: span.from,
                to: span.to,
                floor: span.floor,
                full: span.full,
                by,
            })
        });
        setup.flatten().map(|setup| Delta { setup, needed })
    }

    /// Some paths of a delta, after those that were given.
    ///
    /// # Errors
    /// Something of it is not on disk.
    pub fn entries(
        &self,
        tree: TreeNo,
        delta: &Delta,
        after: Option<&[u8]>,
    ) -> Result<Chunk, MirrorError> {
        self.with(tree, |tree| tree.entries(delta, after)).unwrap_or_else(|| Ok(Chunk::default()))
    }
}

impl Tree {
    fn entries(&self, delta: &Delta, after: Option<&[u8]>) -> Result<Chunk, MirrorError> {
        if self.index.is_unsafe() {
            let why = "what was changed here could not be written down yet";
            return Err(MirrorError::Stopped(why.to_owned()));
        }
        let mut chunk = Chunk::default();
        let (from, known) = (after.unwrap_or_default(), Arc::new(self.index.known().clone()));
        let all = self.index.parts_from(from).filter(|part| Some(&*part.path) != after);
        for (at, part) in all.enumerate() {
            if at >= SLICE || chunk.entries.len() >= MOST {
                break;
            }
            chunk.more = Some(part.path.clone());
            let is_new = |dot| !delta.setup.from.covers(dot) || delta.needed.contains(&dot);
            let is_meant = delta.setup.full || part.members.iter().any(|member| is_new(member.dot));
            if let Some(path) = self.full(&part.path).filter(|_| is_meant) {
                // What is known of it by now may be more than what the delta leads to.
                let context = part.context.unwrap_or_else(|| Arc::clone(&known));
                let context = Some(context).filter(|known| **known != delta.setup.to);
                let placed = self.index.entry(&part.path).placed.found;
                chunk.entries.push(Given { path, members: part.members, context, placed });
            }
        }
        Ok(chunk)
    }
}
