//! How packets are sent and received, and the one-way street from the best way to the plainest.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

/// How a batch of packets is sent, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SendMode {
    /// One `sendmsg` with `UDP_SEGMENT`: the kernel or the card cuts it into packets.
    Gso,
    /// One `sendmmsg` for up to 64 packets.
    Mmsg,
    /// One `sendto` for each packet.
    Single,
}

impl SendMode {
    /// The next plainer way.
    pub(super) fn plainer(self) -> Option<SendMode> {
        match self {
            SendMode::Gso => Some(SendMode::Mmsg),
            SendMode::Mmsg => Some(SendMode::Single),
            SendMode::Single => None,
        }
    }

    /// Whether `error` may mean that this way of sending is refused, and not this packet: then the
    /// same is tried the plainer way, and if that works, this one is not tried again.
    pub(super) fn may_be_refused(self, error: &io::Error) -> bool {
        let Some(errno) = error.raw_os_error() else { return false };
        match self {
            // EIO: no checksums by the card, or IPsec; EINVAL, EMSGSIZE: udp_send_skb in
            // net/ipv4/udp.c, by kernel version; the rest: kernels and cards without it.
            SendMode::Gso => matches!(
                errno,
                libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::ENOPROTOOPT | libc::EOPNOTSUPP
            ),
            // Not EPERM: that is how a firewall drops one packet.
            SendMode::Mmsg => matches!(errno, libc::ENOSYS | libc::EOPNOTSUPP),
            SendMode::Single => false,
        }
    }
}

/// How packets are received, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RecvMode {
    /// `recvmmsg` of buffers in which the kernel has joined neighboring packets (`UDP_GRO`).
    Gro,
    /// `recvmmsg` of packets.
    Mmsg,
    /// One `recvmsg` for each packet.
    Single,
}

/// What still works. It only ever gets less, so that threads may share it without a lock.
pub(super) struct Offload {
    /// A `SendMode`: 0 is `Gso`.
    send: AtomicU8,
    gro: AtomicBool,
    recvmmsg: AtomicBool,
}

impl Offload {
    /// What the probes found; `sendmmsg` and `recvmmsg` are found out when used.
    pub(super) fn new(gso: bool, gro: bool) -> Self {
        let send = if gso { SendMode::Gso } else { SendMode::Mmsg };
        Offload {
            send: AtomicU8::new(send as u8),
            gro: AtomicBool::new(gro),
            recvmmsg: AtomicBool::new(true),
        }
    }

    pub(super) fn send_mode(&self) -> SendMode {
        match self.send.load(Relaxed) {
            0 => SendMode::Gso,
            1 => SendMode::Mmsg,
            _ => SendMode::Single,
        }
    }

    /// Sends no better than by `mode` from now on.
    pub(super) fn demote_send(&self, mode: SendMode) {
        self.send.fetch_max(mode as u8, Relaxed);
    }

    pub(super) fn gro(&self) -> bool {
        self.gro.load(Relaxed)
    }

    pub(super) fn drop_gro(&self) {
        self.gro.store(false, Relaxed);
    }

    pub(super) fn recvmmsg(&self) -> bool {
        self.recvmmsg.load(Relaxed)
    }

    pub(super) fn drop_recvmmsg(&self) {
        self.recvmmsg.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_never_gets_better() {
        let offload = Offload::new(true, true);
        assert_eq!(offload.send_mode(), SendMode::Gso);
        offload.demote_send(SendMode::Single);
        offload.demote_send(SendMode::Mmsg);
        assert_eq!(offload.send_mode(), SendMode::Single);
        assert_eq!(Offload::new(false, true).send_mode(), SendMode::Mmsg);
    }

    #[test]
    fn a_dropped_packet_or_a_dead_network_is_no_refusal() {
        let refused =
            |mode: SendMode, errno| mode.may_be_refused(&io::Error::from_raw_os_error(errno));
        for errno in [libc::EPERM, libc::ENETDOWN, libc::EHOSTUNREACH, libc::EAGAIN] {
            assert!(!refused(SendMode::Gso, errno) && !refused(SendMode::Mmsg, errno));
        }
        assert!(refused(SendMode::Gso, libc::EIO));
        assert!(refused(SendMode::Mmsg, libc::ENOSYS));
        assert!(!refused(SendMode::Mmsg, libc::EMSGSIZE));
    }
}
