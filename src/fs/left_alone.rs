//! What other transfers leave alone: trees that are mirrored.

use super::planner::Planner;
use crate::wire::manifest::{Entry, Kind};
use crate::wire::outcome::{Need, Reason};

impl Planner<'_> {
    /// The need of what is in a mirrored tree: its equals say what is there. Who sends it must know; who sends once more
    /// what was sent before it became a mirror need not.
    pub(super) fn mirrored_need(&mut self, entry: &Entry) -> Option<Need> {
        let is_mirrored = self.mirrored.iter().any(|top| entry.path.is_under(top));
        let is_close = matches!(entry.kind, Kind::Close { .. });
        if !is_mirrored || !(entry.is_object() || is_close) {
            return None;
        }
        if self.is_replay || is_close {
            return Some(Need::Skip);
        }
        if entry.kind == Kind::Open {
            self.opened.fail(entry.path.as_bytes());
        }
        Some(Need::Failed(Reason::Mirrored))
    }
}
