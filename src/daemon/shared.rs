//! What the threads of the daemon share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::mailbox::Mailbox;
use super::messages::{ToControl, ToReceiver, ToSender};
use super::strangers::Strangers;
use crate::engine::disk_job::TransferKey;
use crate::engine::outgoing::Stats;
use crate::fs::root::Root;
use crate::ids::TransferNo;
use crate::name::NodeId;
use crate::net::Net;
use crate::seal::Keys;
use crate::sys::Waker;
use crate::time::Time;

/// A member, as the receiver and the sender have to know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Peer {
    pub(super) addr: SocketAddrV4,
}

/// Packets by what became of them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: AtomicU64,
    pub(super) bad_header: AtomicU64,
    pub(super) bad_trailer: AtomicU64,
    pub(super) strangers: AtomicU64,
    pub(super) foreign: AtomicU64,
    /// Sealed with another key than ours, or not as we do.
    pub(super) other_key: AtomicU64,
    /// Sealed with our key, and here before.
    pub(super) replayed: AtomicU64,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(super) struct Shared {
    pub(super) me: NodeId,
    pub(super) net: Net,
    /// The keys, if the daemon has any.
    pub(super) keys: Option<Arc<Keys>>,
    pub(super) root: Arc<Root>,
    pub(super) control: Mailbox<ToControl>,
    pub(super) sender: Mailbox<ToSender>,
    pub(super) receiver: Mailbox<ToReceiver>,
    pub(super) peers: RwLock<HashMap<NodeId, Peer>>,
    pub(super) counters: Counters,
    pub(super) strangers: Mutex<Strangers>,
    /// What the last transfers showed of each member.
    pub(super) stats: Mutex<HashMap<NodeId, Stats>>,
    /// The numbers of the transfers that go out, from before their first packet until after their last.
    pub(super) open: Mutex<BTreeSet<TransferNo>>,
    /// A line for `status` for each transfer that goes out, by its number.
    pub(super) sends: Mutex<BTreeMap<TransferNo, String>>,
    /// The transfers that come in.
    pub(super) recvs: Mutex<Vec<(TransferKey, SocketAddrV4)>>,
    /// When the receiver began to write to a disk, in microseconds; 0 while it does not.
    pub(super) writing_since: AtomicU64,
    /// Bytes of packets that went out, for `status`.
    pub(super) sent_bytes: AtomicU64,
}

/// Locks what no thread leaves half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// `control` and `receiver` wake those threads.
    pub(super) fn new(
        me: NodeId,
        net: Net,
        keys: Option<Keys>,
        root: Arc<Root>,
        control: Waker,
        receiver: Waker,
    ) -> Self {
        Shared {
            me,
            net,
            keys: keys.map(Arc::new),
            root,
            control: Mailbox::waking(control),
            sender: Mailbox::new(),
            receiver: Mailbox::waking(receiver),
            peers: RwLock::default(),
            counters: Counters::default(),
            strangers: Mutex::default(),
            stats: Mutex::default(),
            open: Mutex::default(),
            sends: Mutex::default(),
            recvs: Mutex::default(),
            writing_since: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
        }
    }

    /// Whether a packet of `node` may come from `addr`.
    pub(super) fn is_member(&self, node: NodeId, addr: SocketAddrV4) -> bool {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&node).is_some_and(|peer| peer.addr == addr)
    }

    /// Whether a node is a member.
    pub(super) fn knows(&self, node: NodeId) -> bool {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).contains_key(&node)
    }

    /// Whether a member has this address.
    pub(super) fn is_member_address(&self, addr: Ipv4Addr) -> bool {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().any(|peer| *peer.addr.ip() == addr)
    }

    pub(super) fn set_peer(&self, node: NodeId, peer: Option<Peer>) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        match peer {
            Some(peer) => peers.insert(node, peer),
            None => peers.remove(&node),
        };
    }

    /// The receiver writes to a disk until the guard is gone.
    pub(super) fn writing(&self, now: Time) -> Writing<'_> {
        self.writing_since.store(now.micros(), Ordering::Relaxed);
        Writing(self)
    }
}

/// See [`Shared::writing`].
pub(super) struct Writing<'a>(&'a Shared);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writing_since.store(0, Ordering::Relaxed);
    }
}
