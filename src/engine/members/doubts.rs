//! Members that are said to have left. Without a key anybody can write BYE in another's name, and two
//! hosts may have one name, so a member is asked first, and is out only if it does not answer.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use crate::name::NodeId;
use crate::time::{Span, Time};

/// A member that does not answer so many questions is out...
pub(super) const QUESTIONS: u32 = 3;
/// ...when so much time has passed since the last of them.
const PATIENCE: Span = Span::from_millis(100);
/// A transfer that begins waits so long for the answer, but no longer: questions may be late.
const SETTLE: Span = Span::from_millis(500);
/// A member that has answered is not asked again for so long.
const QUIET: Span = Span::from_secs(1);

/// What is known of one member's leaving.
#[derive(Debug)]
enum Doubt {
    /// It is being asked.
    Asked { since: Time, questions: u32, out: Option<Time>, moved_to: Option<SocketAddrV4> },
    /// It has answered.
    Refuted(Time),
}

/// The members in doubt, each of which is a member still.
#[derive(Default, Debug)]
pub(super) struct Doubts(BTreeMap<NodeId, Doubt>);

impl Doubts {
    /// Somebody says that a member leaves, or it seems to be at another address. Whether it is to be
    /// asked.
    pub fn begin(&mut self, now: Time, node: NodeId, address: Option<SocketAddrV4>) -> bool {
        match self.0.get_mut(&node) {
            Some(Doubt::Asked { moved_to, .. }) => {
                *moved_to = address.or(*moved_to);
                false
            }
            Some(Doubt::Refuted(at)) if now < *at + QUIET => false,
            _ => {
                let (questions, out, moved_to) = (0, None, address);
                self.0.insert(node, Doubt::Asked { since: now, questions, out, moved_to });
                true
            }
        }
    }

    /// A node has been asked.
    pub fn asked(&mut self, now: Time, node: NodeId) {
        let Some(Doubt::Asked { questions, out, .. }) = self.0.get_mut(&node) else { return };
        *questions += 1;
        if *questions == QUESTIONS {
            *out = Some(now + PATIENCE);
        }
    }

    /// A member has answered.
    pub fn refute(&mut self, now: Time, node: NodeId) {
        if let Some(doubt) = self.0.get_mut(&node) {
            *doubt = Doubt::Refuted(now);
        }
    }

    /// Whether a member is being asked because it seems to be at another address.
    pub fn may_have_moved(&self, node: NodeId) -> bool {
        matches!(self.0.get(&node), Some(Doubt::Asked { moved_to: Some(_), .. }))
    }

    /// A node is no member any more.
    pub fn forget(&mut self, node: NodeId) {
        self.0.remove(&node);
    }

    /// When the next member is out.
    pub fn poll_timeout(&self) -> Option<Time> {
        let out = self.0.values().filter_map(|doubt| match doubt {
            Doubt::Asked { out, .. } => *out,
            Doubt::Refuted(_) => None,
        });
        out.min()
    }

    /// The members that are out now, which the caller removes, and where they are if that is known.
    pub fn out(&self, now: Time) -> Vec<(NodeId, Option<SocketAddrV4>)> {
        let out = self.0.iter().filter_map(|(node, doubt)| match doubt {
            Doubt::Asked { out: Some(at), moved_to, .. } if *at <= now => Some((*node, *moved_to)),
            Doubt::Asked { .. } | Doubt::Refuted(_) => None,
        });
        out.collect()
    }

    /// When it is known who is still there, if that is in doubt.
    pub fn settles(&self) -> Option<Time> {
        let since = self.0.values().filter_map(|doubt| match doubt {
            Doubt::Asked { since, .. } => Some(*since + SETTLE),
            Doubt::Refuted(_) => None,
        });
        since.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(7);
    const MOVED: Option<SocketAddrV4> =
        Some(SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, 9), 5_000));

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    #[test]
    fn who_answers_no_question_is_out_a_moment_after_the_last() {
        let mut doubts = Doubts::default();
        assert!(doubts.begin(at(0), NODE, None) && !doubts.begin(at(1), NODE, MOVED));
        assert_eq!((doubts.poll_timeout(), doubts.settles()), (None, Some(at(500))));
        for question in 0..u64::from(QUESTIONS) {
            assert_eq!(doubts.out(at(9_000)), []);
            doubts.asked(at(100 * question), NODE);
        }
        assert_eq!(doubts.poll_timeout(), Some(at(300)));
        assert_eq!((doubts.out(at(299)), doubts.out(at(300))), (vec![], vec![(NODE, MOVED)]));
        doubts.forget(NODE);
        assert_eq!((doubts.out(at(400)), doubts.settles()), (vec![], None));
        // Nobody is in doubt of whom nothing was said.
        doubts.asked(at(500), NODE);
        doubts.refute(at(500), NODE);
        assert!(doubts.0.is_empty());
    }

    #[test]
    fn who_answers_stays_and_is_left_alone_for_a_while() {
        let mut doubts = Doubts::default();
        doubts.begin(at(0), NODE, None);
        (0..QUESTIONS).for_each(|_| doubts.asked(at(0), NODE));
        doubts.refute(at(10), NODE);
        assert_eq!((doubts.out(at(9_000)), doubts.settles()), (vec![], None));
        assert!(!doubts.begin(at(1_009), NODE, None));
        assert!(doubts.begin(at(1_010), NODE, None));
    }
}
