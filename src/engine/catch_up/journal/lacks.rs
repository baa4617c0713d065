//! What hosts lack of what is kept here.

use std::collections::BTreeSet;

use super::{Journal, View};
use crate::engine::catch_up::record::RecordId;
use crate::name::HostName;
use crate::stamp::Stamp;
use crate::wire::behind::Behind;

impl Journal {
    /// What this host lacks; why is not known here.
    pub fn behind(&self) -> Behind {
        let earliest = [&self.lacking, &self.strange].into_iter().filter_map(BTreeSet::first);
        Behind {
            count: self.lacking.len() as u32,
            strange: self.strange.len() as u32,
            since: earliest.min().map_or(Stamp::ZERO, |id| id.stamp),
            complete: self.latest,
            ..Behind::default()
        }
    }

    /// What a host of this name lacks if it has got nothing since a stamp.
    pub fn missed(&self, host: &HostName, since: Stamp) -> impl Iterator<Item = RecordId> {
        let after = self.held.since(since).filter(move |view| view.stamp() > since);
        let held = after.filter(View::has_ended).filter_map(|view| view.held());
        held.filter(|held| held.record.is_for(host)).map(|held| held.record.id)
    }
}
