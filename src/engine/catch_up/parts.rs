//! Records that come in parts, because one packet has no room for them.

use std::collections::BTreeMap;

use crate::name::NodeId;
use crate::wire::records::Key;

/// The bytes of unfinished records that are kept for one node.
const PER_NODE: usize = 640 << 10;
/// The nodes for which any are kept.
const NODES: usize = 16;

/// A record of which some bytes have come.
#[derive(Debug)]
struct Unfinished {
    key: Key,
    bytes: Vec<u8>,
    /// How many have come from the start on.
    have: usize,
}

/// The records that come in parts, by the nodes that send them. Parts come in order, or the record is asked for again.
#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<NodeId, Unfinished>);

impl Parts {
    /// Takes some bytes. Returns the record if it is complete.
    pub fn take(
        &mut self,
        node: NodeId,
        key: Key,
        len: usize,
        offset: usize,
        bytes: Vec<u8>,
    ) -> Option<Vec<u8>> {
        if offset == 0 && bytes.len() == len {
            return Some(bytes);
        }
        if offset == 0 {
            if len > PER_NODE || (self.0.len() >= NODES && !self.0.contains_key(&node)) {
                return None;
            }
            self.0.insert(node, Unfinished { key, bytes: vec![0; len], have: 0 });
        }
        let unfinished = self.0.get_mut(&node)?;
        let fits =
            unfinished.key == key && unfinished.have == offset && unfinished.bytes.len() == len;
        if !fits {
            return None;
        }
        unfinished.bytes.get_mut(offset..offset + bytes.len())?.copy_from_slice(&bytes);
        unfinished.have += bytes.len();
        match unfinished.have == len {
            true => self.0.remove(&node).map(|whole| whole.bytes),
            false => None,
        }
    }

    /// A node has left.
    pub fn gone(&mut self, node: NodeId) {
        self.0.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    #[test]
    fn parts_make_a_record_only_in_order() {
        let key = |n| Key { stamp: Stamp::from_bits(n), hash: n };
        let (a, b) = (NodeId(1), NodeId(2));
        let mut parts = Parts::default();
        assert_eq!(parts.take(a, key(1), 2, 0, vec![1, 2]), Some(vec![1, 2]));
        assert_eq!(parts.take(a, key(1), 3, 0, vec![1]), None);
        assert_eq!(parts.take(b, key(1), 3, 1, vec![9, 9]), None, "of another node");
        assert_eq!(parts.take(a, key(2), 3, 1, vec![9, 9]), None, "of another record");
        assert_eq!(parts.take(a, key(1), 4, 1, vec![9, 9]), None, "of another length");
        assert_eq!(parts.take(a, key(1), 3, 2, vec![9]), None, "out of order");
        assert_eq!(parts.take(a, key(1), 3, 1, vec![2, 3]), Some(vec![1, 2, 3]));
        assert_eq!(parts.take(a, key(1), PER_NODE + 1, 0, vec![1]), None);
        (0..100).for_each(|n| assert_eq!(parts.take(NodeId(n), key(1), 9, 0, vec![1]), None));
        assert_eq!(parts.0.len(), NODES);
        parts.gone(NodeId(3));
        assert_eq!(parts.0.len(), NODES - 1);
    }
}
