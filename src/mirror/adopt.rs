//! What people decide: listed files and conflicts.

use super::index::Index;
use super::look::Looked;
use super::rules::Rule;
use super::show::{Shown, is_directory};
use super::types::Placed;
use crate::wire::versions::{Dot, Version};

impl Index {
    /// The paths that are listed: neither sent nor overwritten until somebody decides.
    pub fn listed(&self) -> impl Iterator<Item = (Box<[u8]>, Version)> + '_ {
        self.entries_from(&[])
            .filter(|(_, entry)| entry.listed)
            .filter_map(|(path, entry)| Some((path, entry.on_disk()?)))
    }

    /// Whether anything was heard of the tree: before, nobody can tell what to do with what is listed, but for the host
    /// that is the origin.
    pub fn has_heard(&self) -> bool {
        !self.known.is_empty()
    }

    /// A listed object takes the place of all that others have at its path. It was looked at before.
    pub fn push(&mut self, path: &[u8]) -> Looked {
        let mut entry = self.entry(path);
        let Some(found) = entry.placed.found.filter(|_| entry.listed) else { return Looked::Same };
        let replaced: Vec<Dot> = entry.members.iter().map(|member| member.dot).collect();
        let dot = self.give(&mut entry, Some(found.0), &replaced);
        entry.placed = Placed { found: Some(found), dots: vec![dot] };
        entry.listed = false;
        self.put(path, entry, true);
        Looked::Changed(dot)
    }

    /// A listed object gives way to what others have, if they have anything.
    pub fn give_way(&mut self, path: &[u8]) {
        let mut entry = self.entry(path);
        entry.listed = false;
        self.put(path, entry, false);
    }

    /// Drops a version that does not have the name. None if it is none of those.
    pub fn drop_conflict(&mut self, path: &[u8], version: &Version) -> Option<Dot> {
        let (_, dots) = self.losers(path).into_iter().find(|(other, _)| other == version)?;
        let mut entry = self.entry(path);
        if !self.rules.has(Rule::DropDot) {
            entry.members.retain(|member| !dots.contains(&member.dot));
            self.put(path, entry, false);
            return None;
        }
        let dot = self.give(&mut entry, None, &dots);
        self.put(path, entry, false);
        Some(dot)
    }

    /// A version that does not have the name takes it; what had it is replaced. None if it is none of those. What is there
    /// was looked at before, and the bytes of that version are here.
    pub fn take_conflict(&mut self, path: &[u8], version: &Version) -> Option<Dot> {
        let (_, mut dots) = self.losers(path).into_iter().find(|(other, _)| other == version)?;
        let view = self.view(path);
        let stays = matches!(view.shown, Shown::Implied)
            || matches!(view.shown, Shown::One(shown) if is_directory(shown) && !is_directory(*version));
        if stays && self.has_live_below(path) {
            return None;
        }
        dots.extend(view.dots);
        let mut entry = self.entry(path);
        let dot = self.give(&mut entry, Some(*version), &dots);
        self.put(path, entry, false);
        Some(dot)
    }

    /// What nobody holds the bytes of any more is given up.
    pub fn give_up(&mut self, path: &[u8], dot: Dot) -> Option<Dot> {
        let mut entry = self.entry(path);
        entry.live().find(|(other, _)| *other == dot)?;
        let dot = self.give(&mut entry, None, &[dot]);
        self.put(path, entry, false);
        Some(dot)
    }
}
