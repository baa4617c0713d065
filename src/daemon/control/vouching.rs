//! What the hosts that mirror a tree are known to know in this run: whether the id of its index may stay, and which
//! deletions may be forgotten.

use super::control_loop::Control;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::versions::Knowledge;

/// How long the first look at a tree waits for others: what was changed while the daemon was away gets its dots then, and
/// with them a new id unless all say that it need not.
pub(super) const WAITS: Span = Span::from_secs(2);

impl Control {
    /// A member says how it stands with a tree.
    pub(super) fn mirror_heard(&mut self, at: usize, node: NodeId) {
        let (Some(state), members) = (self.equals.state(at), &self.membership.members) else {
            return;
        };
        let one = &mut self.equals.trees[at];
        let Some(member) = members.get(node).filter(|member| !members.is_two(&member.name)) else {
            return;
        };
        let standing = member.mirrors.iter().find(|standing| standing.tree == one.hash);
        if let Some(standing) = standing.filter(|standing| standing.hash == state.hash) {
            one.roster.equal(&member.name, standing.in_part);
        }
        self.mirror_vouch(at);
    }

    /// If all have said that they know no more of this host's index than itself, its id may stay.
    fn mirror_vouch(&mut self, at: usize) {
        let one = &mut self.equals.trees[at];
        let (fleet, members) = (&self.membership.fleet, &self.membership.members);
        if one.is_vouched || !one.roster.vouches(&fleet.mirroring(one.hash, members)) {
            return;
        }
        one.is_vouched = true;
        if let Some(mirrors) = &self.equals.mirrors {
            mirrors.keep_id(one.tree);
        }
        if !one.is_ready && one.looking == 0 {
            one.waits = None;
            self.mirror_look_at_all(at, false);
        }
    }

    /// Whether the first look at a tree is still to wait for others.
    pub(super) fn mirror_waits(&self, at: usize, now: Time) -> bool {
        let one = &self.equals.trees[at];
        let (fleet, members) = (&self.membership.fleet, &self.membership.members);
        one.waits.is_some_and(|until| now < until)
            && !one.is_ready
            && !one.is_vouched
            && !fleet.mirroring(one.hash, members).is_empty()
    }

    /// They have been waited for in vain.
    pub(super) fn mirror_waited(&mut self, at: usize, now: Time) {
        let one = &mut self.equals.trees[at];
        if one.waits.take_if(|until| *until <= now).is_some() && one.flush && one.looking == 0 {
            self.mirror_look_at_all(at, false);
        }
    }

    /// What all that mirror a tree know for sure, also those that are away.
    pub(super) fn mirror_known_to_all(&mut self, at: usize, known: &Knowledge) -> Knowledge {
        let one = &mut self.equals.trees[at];
        let (fleet, members) = (&self.membership.fleet, &self.membership.members);
        one.roster.known_to(&fleet.mirroring(one.hash, members), known)
    }
}
