//! The keys of the group, and what is derived of them.
//!
//! A secret becomes a *master* by PBKDF2, once. All keys that packets are sealed with are HMACs of a
//! label and numbers under the master: none of them tells anything of another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::crypto::{Cipher, HmacKey, Wiped, equal, pbkdf2, wipe};
use crate::name::NodeId;
use crate::wire::header::{COUNTER_BITS, Header, PacketKind};

/// Rounds of PBKDF2: 50 to 100 ms on a processor of 2020.
const ROUNDS: u32 = 200_000;
/// The salt: it keeps tables that were made for something else from being of use here.
const SALT: &[u8] = b"makuosan 8";
/// Packets of one role that share a cipher key, as bits of their counter.
const EPOCH_BITS: u32 = 16;
/// The most MAC keys of nodes that are kept.
const MAX_NODES: usize = 2_048;
/// The most ciphers that are kept, of 4 KiB each: those of 1,000 members, and their next ones.
const MAX_CIPHERS: usize = 2_048;

/// What one secret has become.
#[derive(Debug)]
pub struct Master {
    derive: HmacKey,
    /// Authenticates HELLO.
    hello: HmacKey,
    /// Tells keys apart. Two have the same one time in 256.
    check: u8,
    /// Tells for certain whether two are the same.
    name: [u8; 16],
}

impl Master {
    /// Stretches a secret, which takes its time.
    pub fn new(secret: &[u8]) -> Self {
        Master::stretched(secret, ROUNDS)
    }

    fn stretched(secret: &[u8], rounds: u32) -> Self {
        let mut master = Wiped::new([0; 16]);
        pbkdf2(secret, SALT, rounds, master.bytes_mut());
        let derive = HmacKey::new(master.bytes());
        let mut hello = derive.mac(&[b"hello"]);
        let made = Master {
            hello: HmacKey::new(&hello),
            check: derive.mac(&[b"check"])[0],
            name: derive.mac(&[b"name"]),
            derive,
        };
        wipe(&mut hello);
        made
    }

    /// What authenticates all packets of a node but HELLO.
    fn mac(&self, node: NodeId) -> HmacKey {
        let mut key = self.derive.mac(&[b"mac", &node.0.to_be_bytes()]);
        let mac = HmacKey::new(&key);
        wipe(&mut key);
        mac
    }

    fn cipher(&self, node: NodeId, epoch: u64) -> Cipher {
        let parts: [&[u8]; 3] = [b"enc", &node.0.to_be_bytes(), &epoch.to_be_bytes()];
        let mut key = self.derive.mac(&parts);
        let cipher = Cipher::new(&key);
        wipe(&mut key);
        cipher
    }
}

/// The keys: the first seals, all open.
#[derive(Debug)]
pub struct Keyring(Vec<Master>);

impl Keyring {
    /// Of these keys, of which there must be one; those that are there twice are kept once.
    pub fn new(masters: Vec<Master>) -> Self {
        let mut keys: Vec<Master> = Vec::new();
        for master in masters {
            if !keys.iter().any(|key| equal(&key.name, &master.name)) {
                keys.push(master);
            }
        }
        Keyring(keys)
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether both have the same keys in the same order.
    pub fn is_same(&self, other: &Keyring) -> bool {
        let names = |ring: &Keyring| ring.0.iter().map(|key| key.name).collect::<Vec<_>>();
        names(self) == names(other)
    }
}

/// Where the threads find the keyring: it may be another one at any time.
#[derive(Debug)]
pub struct Keys {
    /// Grows with each new keyring.
    generation: AtomicU64,
    ring: RwLock<Arc<Keyring>>,
}

impl Keys {
    /// Begins with this keyring.
    pub fn new(ring: Keyring) -> Self {
        Keys { generation: AtomicU64::new(0), ring: RwLock::new(Arc::new(ring)) }
    }

    /// Puts another keyring in the place of this one.
    pub fn replace(&self, ring: Keyring) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The keyring.
    pub fn ring(&self) -> Arc<Keyring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// The epoch of a packet: its counter with its role before it, less the lower bits.
fn epoch(header: &Header) -> u64 {
    ((header.role as u64) << COUNTER_BITS | header.counter) >> EPOCH_BITS
}

/// Seals the packets of one role of this node.
#[derive(Debug)]
pub(super) struct Sealer {
    keys: Arc<Keys>,
    generation: u64,
    ring: Arc<Keyring>,
    node: NodeId,
    mac: HmacKey,
    cipher: Option<(u64, Cipher)>,
}

impl Sealer {
    pub(super) fn new(keys: Arc<Keys>, node: NodeId) -> Self {
        let (generation, ring) = (keys.generation(), keys.ring());
        let mac = ring.0[0].mac(node);
        Sealer { keys, generation, ring, node, mac, cipher: None }
    }

    /// Turns to the keyring that is there now.
    fn refresh(&mut self) {
        if self.keys.generation() != self.generation {
            *self = Sealer::new(Arc::clone(&self.keys), self.node);
        }
    }

    /// What packets are marked with that are sealed from now on.
    pub(super) fn check(&mut self) -> u8 {
        self.refresh();
        self.ring.0[0].check
    }

    /// Encrypts the payload of a packet in place, and gives the MAC of all of it. `head` is the
    /// `header` as it leaves.
    pub(super) fn seal(&mut self, header: &Header, head: &[u8], payload: &mut [u8]) -> [u8; 16] {
        let master = &self.ring.0[0];
        if header.kind == PacketKind::Hello {
            return master.hello.mac(&[head, payload]);
        }
        let epoch = epoch(header);
        if self.cipher.as_ref().is_none_or(|(of, _)| *of != epoch) {
            self.cipher = Some((epoch, master.cipher(self.node, epoch)));
        }
        if let Some((_, cipher)) = &self.cipher {
            cipher.apply(header.counter, payload);
        }
        self.mac.mac(&[head, payload])
    }
}

/// Which key of the keyring has sealed a packet whose MAC is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Proof(usize);

/// A sealed packet that does not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// None of the keys is marked as the packet is.
    OtherKey,
    /// One is, but the MAC is wrong.
    BadMac,
}

/// Opens packets. It keeps what it derives for nodes that have proven to have the key, within bounds.
#[derive(Debug)]
pub(super) struct Opener {
    keys: Arc<Keys>,
    generation: u64,
    ring: Arc<Keyring>,
    macs: HashMap<(usize, NodeId), HmacKey>,
    ciphers: HashMap<(usize, NodeId, u64), Kept>,
}

#[derive(Debug)]
struct Kept {
    cipher: Cipher,
    /// Used since it was last asked whether it may go.
    used: bool,
}

impl Opener {
    pub(super) fn new(keys: Arc<Keys>) -> Self {
        let (generation, ring) = (keys.generation(), keys.ring());
        let (macs, ciphers) = (HashMap::new(), HashMap::new());
        Opener { keys, generation, ring, macs, ciphers }
    }

    /// Turns to the keyring that is there now. To be called now and then.
    pub(super) fn refresh(&mut self) {
        if self.keys.generation() != self.generation {
            *self = Opener::new(Arc::clone(&self.keys));
        }
    }

    /// Checks the MAC of a packet. Nothing of the packet but its header, as far as it tells which key
    /// it is of, has been looked at before.
    ///
    /// # Errors
    /// Why it does not open.
    pub(super) fn check(
        &mut self,
        header: &Header,
        head: &[u8],
        payload: &[u8],
        mac: &[u8],
    ) -> Result<Proof, Refused> {
        let mut refused = Refused::OtherKey;
        for (at, master) in self.ring.0.iter().enumerate() {
            if master.check != header.key_check {
                continue;
            }
            refused = Refused::BadMac;
            let message = [head, payload];
            if header.kind == PacketKind::Hello {
                if equal(&master.hello.mac(&message), mac) {
                    return Ok(Proof(at));
                }
                continue;
            }
            if let Some(key) = self.macs.get(&(at, header.node)) {
                if equal(&key.mac(&message), mac) {
                    return Ok(Proof(at));
                }
                continue;
            }
            // Whoever makes up node ids costs the time of this, and no memory.
            let key = master.mac(header.node);
            if equal(&key.mac(&message), mac) {
                if self.macs.len() >= MAX_NODES {
                    self.macs.clear();
                }
                self.macs.insert((at, header.node), key);
                return Ok(Proof(at));
            }
        }
        Err(refused)
    }

    /// Decrypts the payload of a packet that was checked, in place.
    pub(super) fn decrypt(&mut self, proof: Proof, header: &Header, payload: &mut [u8]) {
        if header.kind == PacketKind::Hello || payload.is_empty() {
            return;
        }
        let place = (proof.0, header.node, epoch(header));
        if let Some(kept) = self.ciphers.get_mut(&place) {
            kept.used = true;
            return kept.cipher.apply(header.counter, payload);
        }
        let Some(master) = self.ring.0.get(proof.0) else { return };
        let cipher = master.cipher(header.node, place.2);
        cipher.apply(header.counter, payload);
        if self.ciphers.len() >= MAX_CIPHERS {
            self.ciphers.retain(|_, kept| std::mem::take(&mut kept.used));
            // All are in use, by turns: whoever comes next starts anew.
            if self.ciphers.len() >= MAX_CIPHERS / 2 {
                self.ciphers.clear();
            }
        }
        self.ciphers.insert(place, Kept { cipher, used: true });
    }

    /// Forgets a node.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.macs.retain(|(_, of), _| *of != node);
        self.ciphers.retain(|(_, of, _), _| *of != node);
    }
}

/// A keyring without the time that stretching takes.
#[cfg(test)]
pub(super) fn quick(secrets: &[&str]) -> Keyring {
    Keyring::new(secrets.iter().map(|s| Master::stretched(s.as_bytes(), 1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::Role;

    fn keys(secrets: &[&str]) -> Arc<Keys> {
        Arc::new(Keys::new(quick(secrets)))
    }

    fn header(kind: PacketKind, node: u64, role: Role, counter: u64) -> Header {
        Header { counter, ..Header::new(kind, NodeId(node), role) }
    }

    #[test]
    fn every_node_role_and_epoch_has_a_cipher_of_its_own() {
        let ring = quick(&["one secret", "another one"]);
        let mut streams = std::collections::HashSet::new();
        for master in &ring.0 {
            for node in [1, 2] {
                for role in [Role::Sender, Role::Receiver, Role::Control] {
                    for counter in [1, 1 << 16, 2 << 16] {
                        let header = header(PacketKind::Data, node, role, counter);
                        let mut stream = [0; 16];
                        master.cipher(NodeId(node), epoch(&header)).apply(9, &mut stream);
                        assert!(streams.insert(stream), "{header:?}");
                    }
                }
            }
        }
        let same = |a, b| {
            epoch(&header(PacketKind::Data, 1, Role::Sender, a))
                == epoch(&header(PacketKind::Data, 1, Role::Sender, b))
        };
        assert!(same(1 << 16, (2 << 16) - 1) && !same(1 << 16, (1 << 16) - 1));
    }

    #[test]
    fn keys_are_the_same_if_their_secrets_are() {
        assert_eq!(quick(&["a secret", "a secret"]).count(), 1);
        assert_eq!(quick(&["a secret", "other secret"]).count(), 2);
        assert!(quick(&["a", "b"]).is_same(&quick(&["a", "b"])));
        assert!(!quick(&["a", "b"]).is_same(&quick(&["b", "a"])));
        assert!(!quick(&["a"]).is_same(&quick(&["a", "b"])));
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut opener = Opener::new(keys(&["a secret"]));
        for node in 0..5_000 {
            let header = header(PacketKind::Data, node, Role::Sender, 1);
            opener.decrypt(Proof(0), &header, &mut [0]);
            let key = opener.ring.0[0].mac(NodeId(node)).mac(&[b"h", b"p"]);
            let check = opener.ring.0[0].check;
            let header = Header { key_check: check, ..header };
            assert_eq!(opener.check(&header, b"h", b"p", &key), Ok(Proof(0)));
            assert!(opener.macs.len() <= MAX_NODES && opener.ciphers.len() <= MAX_CIPHERS);
        }
        let known = opener.ciphers.len();
        opener.forget(NodeId(4_999));
        assert_eq!(opener.ciphers.len(), known - 1);
    }

    #[test]
    fn whoever_makes_up_nodes_leaves_nothing_behind() {
        let mut opener = Opener::new(keys(&["a secret"]));
        let check = opener.ring.0[0].check;
        for node in 0..100 {
            let header =
                Header { key_check: check, ..header(PacketKind::Data, node, Role::Sender, 1) };
            assert_eq!(opener.check(&header, b"h", b"p", &[0; 16]), Err(Refused::BadMac));
        }
        assert!(opener.macs.is_empty() && opener.ciphers.is_empty());
    }

    #[test]
    fn a_new_keyring_is_used_from_the_next_packet_on() {
        let keys = keys(&["an old secret"]);
        let mut sealer = Sealer::new(Arc::clone(&keys), NodeId(1));
        let mut opener = Opener::new(Arc::clone(&keys));
        let old = sealer.check();
        let header =
            |check| Header { key_check: check, ..header(PacketKind::Poll, 1, Role::Sender, 1) };
        let mut payload = *b"text";
        let mac = sealer.seal(&header(old), b"head", &mut payload);
        keys.replace(quick(&["a new secret", "an old secret"]));
        let new = sealer.check();
        assert_ne!(new, old);
        opener.refresh();
        let proof = opener.check(&header(old), b"head", &payload, &mac);
        assert_eq!(proof, Ok(Proof(1)));
        opener.decrypt(Proof(1), &header(old), &mut payload);
        assert_eq!(&payload, b"text");
        let mac = sealer.seal(&header(new), b"head", &mut payload);
        assert_eq!(opener.check(&header(new), b"head", &payload, &mac), Ok(Proof(0)));
        keys.replace(quick(&["a new secret"]));
        opener.refresh();
        assert_eq!(opener.check(&header(old), b"head", &payload, &mac), Err(Refused::OtherKey));
    }
}
