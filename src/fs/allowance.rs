//! How much memory incoming transfers may keep here beyond the batches that are being received.
//!
//! The engine has a budget for manifests and bodies. What outlives them, such as the names that a sender
//! has in its open directories, is charged here, to its sender. A transfer that needs more than there
//! is fails with ENOMEM at this host.

use std::collections::HashMap;

use crate::name::NodeId;

/// What all transfers together may have, in bytes: the names of 4 million files in open directories.
pub(super) const TOTAL: usize = 32 << 20;
/// What each sender may have even if others have used up the total.
const EACH: usize = 2 << 20;
/// What can be in use beyond the total because of that.
const BEYOND: usize = 16 << 20;

/// The memory in use, by sender.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    used: usize,
    by_node: HashMap<NodeId, usize>,
}

impl Allowance {
    /// A transfer of `node` used to have `before` bytes, and has `now`. False if that is too much.
    pub fn charge(&mut self, node: NodeId, before: usize, now: usize) -> bool {
        let own = self.by_node.entry(node).or_default();
        *own = own.saturating_sub(before).saturating_add(now);
        self.used = self.used.saturating_sub(before).saturating_add(now);
        let own = *own;
        if own == 0 {
            self.by_node.remove(&node);
        }
        now <= before || self.used <= TOTAL || (own <= EACH && self.used <= TOTAL + BEYOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greedy_sender_leaves_something_for_others() {
        let mut allowance = Allowance::default();
        let mut greedy = 0;
        while allowance.charge(NodeId(1), greedy, greedy + 1_000) {
            greedy += 1_000;
        }
        assert!(greedy <= TOTAL);
        assert!(allowance.charge(NodeId(2), 0, EACH));
        assert!(!allowance.charge(NodeId(2), EACH, EACH + 1));
        // What gets less is never too much.
        assert!(allowance.charge(NodeId(2), EACH + 1, EACH + 1));
        assert!(allowance.charge(NodeId(1), greedy + 1_000, 0));
        assert!(allowance.charge(NodeId(2), EACH + 1, TOTAL));
        assert!(allowance.charge(NodeId(2), TOTAL, 0));
        assert!(allowance.used == 0 && allowance.by_node.is_empty());
    }

    #[test]
    fn many_greedy_senders_have_a_limit_too() {
        let mut allowance = Allowance::default();
        let mut used = 0;
        for node in 0..1_000 {
            if allowance.charge(NodeId(node), 0, EACH) {
                used += EACH;
            } else {
                allowance.charge(NodeId(node), EACH, 0);
            }
        }
        assert!((TOTAL..=TOTAL + BEYOND).contains(&used), "{used}");
    }
}
