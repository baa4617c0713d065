//! Which packets of a member have come before: with a key, each is taken once.
//!
//! Every member has a window for each of its roles: the highest counter that came, and which of those
//! below it did. What is below the window counts as come. A packet that was late for that is lost, and
//! repaired as a lost one.

use std::collections::{HashMap, VecDeque};

use crate::name::NodeId;
use crate::wire::header::Role;

/// Counters in a sender's window: more than a receive buffer holds in packets, since what is in one
/// socket may be read after much that came later by the other.
const SENDER: usize = 16_384;
/// Counters in the others' windows.
const OTHERS: usize = 1_024;
/// So many departed nodes keep their highest counters.
const MAX_DEPARTED: usize = 4_096;

/// The roles of one node, by their number less 1.
type Highest = [u64; 3];

fn place(role: Role) -> usize {
    role as usize - 1
}

/// What has come of one role. Counters are kept in a ring of words; the word that the highest one is
/// in is not full yet, so the window is up to 63 counters shorter than the ring.
#[derive(Debug)]
struct Window {
    highest: u64,
    words: Box<[u64]>,
}

impl Window {
    /// A window in which all up to `floor` have come.
    fn above(floor: u64, counters: usize) -> Self {
        let mut words = vec![u64::MAX; counters / 64].into_boxed_slice();
        let at = (floor / 64) as usize % words.len();
        words[at] = u64::MAX >> (63 - floor % 64);
        Window { highest: floor, words }
    }

    /// Whether this counter comes for the first time.
    fn take(&mut self, counter: u64) -> bool {
        let ring = self.words.len() as u64;
        let (word, newest) = (counter / 64, self.highest / 64);
        if word + ring <= newest {
            return false;
        }
        for fresh in newest + 1..=word.min(newest + ring) {
            self.words[(fresh % ring) as usize] = 0;
        }
        self.highest = self.highest.max(counter);
        let (word, bit) = (&mut self.words[(word % ring) as usize], 1 << (counter % 64));
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

/// The windows of all members.
#[derive(Default, Debug)]
pub struct Replays {
    members: HashMap<NodeId, [Option<Window>; 3]>,
    departed: HashMap<NodeId, Highest>,
    /// In the order in which they are forgotten.
    order: VecDeque<NodeId>,
}

impl Replays {
    /// Whether a packet of a member, which is what it was when it was sealed, comes for the first time.
    pub fn take(&mut self, node: NodeId, role: Role, counter: u64) -> bool {
        let at = place(role);
        let windows = self.members.entry(node).or_default();
        let window = windows[at].get_or_insert_with(|| {
            let floor = self.departed.get(&node).map_or(0, |highest| highest[at]);
            Window::above(floor, if role == Role::Sender { SENDER } else { OTHERS })
        });
        window.take(counter)
    }

    /// A member has gone; it may come back.
    pub fn gone(&mut self, node: NodeId) {
        let Some(windows) = self.members.remove(&node) else { return };
        let before = self.departed.get(&node).copied();
        let mut highest = before.unwrap_or_default();
        for (highest, window) in highest.iter_mut().zip(&windows) {
            *highest = window.as_ref().map_or(*highest, |window| window.highest);
        }
        self.departed.insert(node, highest);
        if before.is_none() {
            self.order.push_back(node);
        }
        if self.order.len() > MAX_DEPARTED {
            if let Some(oldest) = self.order.pop_front() {
                self.departed.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_counter_is_taken_once_in_any_order() {
        let mut replays = Replays::default();
        let node = NodeId(1);
        for counter in (1..5_000).rev() {
            assert!(replays.take(node, Role::Sender, counter), "{counter}");
        }
        for counter in 0..5_000 {
            assert!(!replays.take(node, Role::Sender, counter), "{counter}");
        }
        // Other roles and nodes are others' business.
        assert!(replays.take(node, Role::Control, 7));
        assert!(replays.take(node, Role::Receiver, 7));
        assert!(replays.take(NodeId(2), Role::Sender, 7));
    }

    #[test]
    fn it_is_what_a_set_would_say_within_the_window() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for (role, size) in [(Role::Sender, SENDER as u64), (Role::Receiver, OTHERS as u64)] {
            let (mut replays, mut set, mut highest) = (Replays::default(), HashSet::new(), 0u64);
            for _ in 0..200_000 {
                let ahead = if random(50) == 0 { random(3 * size) } else { random(4) };
                let counter = (highest + 2).saturating_sub(random(size + 100)) + ahead;
                let taken = replays.take(NodeId(1), role, counter.max(1));
                let counter = counter.max(1);
                highest = highest.max(counter);
                let first = set.insert(counter);
                assert!(first || !taken, "{counter} was taken twice");
                if counter + size - 64 > highest {
                    assert_eq!(taken, first, "{counter} of {highest}");
                }
                if counter + size <= highest {
                    assert!(!taken);
                }
            }
        }
    }

    #[test]
    fn who_comes_back_goes_on_where_it_was() {
        let mut replays = Replays::default();
        let node = NodeId(1);
        for counter in [1, 2, 3, 1_000, 100_000] {
            assert!(replays.take(node, Role::Sender, counter));
        }
        for _ in 0..2 {
            replays.gone(node);
            for counter in [0, 1, 4, 99_999, 100_000] {
                assert!(!replays.take(node, Role::Sender, counter), "{counter}");
            }
        }
        assert!(replays.take(node, Role::Sender, 100_001));
        assert!(replays.take(node, Role::Receiver, 1));
    }

    #[test]
    fn what_is_kept_of_departed_nodes_has_a_bound() {
        let mut replays = Replays::default();
        for node in 0..3 * MAX_DEPARTED as u64 {
            assert!(replays.take(NodeId(node), Role::Control, 5));
            replays.gone(NodeId(node));
            replays.gone(NodeId(node));
        }
        assert!(replays.members.is_empty());
        assert_eq!((replays.departed.len(), replays.order.len()), (MAX_DEPARTED, MAX_DEPARTED));
    }
}
