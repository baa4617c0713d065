//! The state shared by the daemon's threads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::base::Base;
use super::clock::FleetClock;
use super::counters::Counters;
use super::mailbox::Mailbox;
use super::messages::{ToControl, ToDisk, ToReceiver, ToSender};
use super::prepared::PreparedDir;
use super::strangers::Strangers;
use super::wanted::Wanted;
use crate::engine::disk_job::TransferKey;
use crate::engine::outgoing::Stats;
use crate::engine::probe::Meter;
use crate::fs::before::{Before, SharedBefore};
use crate::ids::{Ticket, TransferNo};
use crate::keeping::Keeper;
use crate::keeping::mirrors::Mirrors;
use crate::name::{HostName, NodeId};
use crate::net::Net;
use crate::seal::Keys;
use crate::sys::Waker;
use crate::time::Time;

/// What the receiver and the sender need to know of a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Peer {
    pub(super) addr: SocketAddrV4,
    pub(super) name: HostName,
}

pub(super) struct Shared {
    /// This daemon's node id.
    me: AtomicU64,
    pub(super) net: Net,
    pub(super) clock: FleetClock,
    /// The group's keys, if any.
    pub(super) keys: Option<Arc<Keys>>,
    pub(super) base: Base,
    /// What is kept of transfers; None if nothing is.
    pub(super) keeper: Option<Arc<Mutex<Keeper>>>,
    /// What the tree below the base directory was like before.
    pub(super) before: SharedBefore,
    /// The mirrored trees, if there are any.
    pub(super) mirrors: Option<Arc<Mirrors>>,
    /// Where transfers for all of their targets or none are kept.
    pub(super) prepared: PreparedDir,
    /// To the disk thread.
    disk: Mutex<Sender<ToDisk>>,
    pub(super) control: Mailbox<ToControl>,
    pub(super) sender: Mailbox<ToSender>,
    pub(super) receiver: Mailbox<ToReceiver>,
    pub(super) peers: RwLock<HashMap<NodeId, Peer>>,
    pub(super) counters: Counters,
    pub(super) strangers: Mutex<Strangers>,
    /// Statistics of each member from past transfers.
    pub(super) stats: Mutex<HashMap<NodeId, Stats>>,
    /// The outgoing transfers, from before their first packet until after their last.
    pub(super) open: Mutex<BTreeSet<TransferNo>>,
    /// A description of each outgoing transfer, for `status`.
    pub(super) sends: Mutex<BTreeMap<TransferNo, String>>,
    /// What this host has asked another one for.
    pub(super) wanted: Mutex<Option<Wanted>>,
    /// What comes back of this host's probe.
    pub(super) echoes: Mutex<Option<Echoes>>,
    /// The incoming transfers.
    pub(super) recvs: Mutex<Vec<(TransferKey, SocketAddrV4)>>,
    /// Since when the receiver has been writing to a disk, in microseconds; 0 if it is not.
    pub(super) writing_since: AtomicU64,
}

/// What comes back of a probe, by the hosts that are probed.
pub(super) type Echoes = (Ticket, BTreeMap<NodeId, Meter>);

/// Locks a mutex even if a thread panicked while holding it: no thread leaves the data half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Tells the disk thread something.
    pub(super) fn to_disk(&self, message: ToDisk) {
        // If it has panicked, the daemon ends.
        let _ = lock(&self.disk).send(message);
    }

    /// The wakers are those of the control thread and the receiver.
    pub(super) fn new(
        me: NodeId,
        net: Net,
        keys: Option<Keys>,
        (base, before): (Base, Before),
        (clock, keeper, prepared): (FleetClock, Option<Keeper>, PreparedDir),
        (mirrors, disk): (Option<Arc<Mirrors>>, Sender<ToDisk>),
        [control, receiver]: [Waker; 2],
    ) -> Self {
        Shared {
            me: AtomicU64::new(me.0),
            net,
            clock,
            keys: keys.map(Arc::new),
            base,
            keeper: keeper.map(|keeper| Arc::new(Mutex::new(keeper))),
            before: Arc::new(Mutex::new(before)),
            mirrors,
            prepared,
            disk: Mutex::new(disk),
            control: Mailbox::waking(control),
            sender: Mailbox::new(),
            receiver: Mailbox::waking(receiver),
            peers: RwLock::default(),
            counters: Counters::default(),
            strangers: Mutex::default(),
            stats: Mutex::default(),
            open: Mutex::default(),
            sends: Mutex::default(),
            wanted: Mutex::default(),
            echoes: Mutex::default(),
            recvs: Mutex::default(),
            writing_since: AtomicU64::new(0),
        }
    }

    /// This daemon's node id. It is another one when its address is.
    pub(super) fn me(&self) -> NodeId {
        NodeId(self.me.load(Ordering::Relaxed))
    }

    /// This daemon is another node from now on; the threads are told apart from this.
    pub(super) fn begin_anew(&self, me: NodeId) {
        self.me.store(me.0, Ordering::Relaxed);
    }

    /// The receive buffer, as others are told of it.
    pub(super) fn receive_buffer(&self) -> u32 {
        u32::try_from(self.net.receive_buffer()).unwrap_or(u32::MAX)
    }

    /// Whether `node` is a member with this address.
    pub(super) fn is_member(&self, node: NodeId, addr: SocketAddrV4) -> bool {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&node).is_some_and(|peer| peer.addr == addr)
    }

    /// Whether `node` is a member.
    pub(super) fn knows(&self, node: NodeId) -> bool {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).contains_key(&node)
    }

    /// The name of a member.
    pub(super) fn peer_name(&self, node: NodeId) -> Option<HostName> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&node).map(|peer| peer.name.clone())
    }

    /// A member as lines of the log name it.
    pub(super) fn peer_shown(&self, node: NodeId) -> String {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        match peers.get(&node) {
            Some(peer) => format!("{} ({})", peer.name, peer.addr.ip()),
            None => node.to_string(),
        }
    }

    /// Whether any member has this address.
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

    /// Marks the receiver as writing to a disk until the guard is dropped.
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
