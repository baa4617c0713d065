//! Sending: one packet, or many of equal length.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use super::{Net, SendMode, Which};
use crate::sys::mmsg;

/// The most bytes in one packet: what IPv4 counts in 16 bits, less an IP and a UDP header.
const MAX_PACKET: usize = 0xFFFF - 28;

/// The most packets in one segmented send: `UDP_MAX_SEGMENTS` in include/linux/udp.h, which was 64
/// from Linux 4.18 and is 128 in newer ones.
const MAX_SEGMENTS: usize = 64;

/// The most bytes in one segmented send. A device takes less than 65,536 at once
/// (`GSO_LEGACY_MAX_SIZE` in include/linux/netdevice.h), with the headers of UDP, IP and Ethernet
/// (tagged); more would be cut in software.
const MAX_SEGMENTED: usize = 65_535 - 8 - 20 - 18;

/// How often a send is repeated for which the kernel had no memory, and how long the pause is.
const NO_BUFFER_TRIES: u32 = 20;
const NO_BUFFER_PAUSE: Duration = Duration::from_millis(1);

/// Packets to one address.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'bytes> {
    /// Where they go: the group, or a member.
    pub to: SocketAddrV4,
    /// The packets, end to end.
    pub bytes: &'bytes [u8],
    /// The length of each of them, at least 1; the last may be shorter.
    pub segment: usize,
}

impl Net {
    /// Sends one packet. Waits up to a second for room in the send buffer.
    ///
    /// # Errors
    /// `EMSGSIZE` beyond the MTU; `EAGAIN` if there was no room for a second; `ENETUNREACH` and the
    /// like, `EPERM` by a firewall: the packet is lost then, nothing more. Never `ECONNREFUSED` for
    /// a single earlier packet.
    pub fn send_one(&self, to: SocketAddrV4, bytes: &[u8]) -> io::Result<()> {
        check_size(bytes.len())?;
        patiently(|| mmsg::send_one(self.sending(), to, bytes))?;
        self.sent.fetch_add(bytes.len() as u64, Relaxed);
        Ok(())
    }

    /// How many bytes of packets have been sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Sends packets, in as few system calls as it can, however many they are. Waits up to a
    /// second at a time for room in the send buffer.
    ///
    /// If the kernel or the card refuses the way of sending ([`send_mode`](Net::send_mode)), the
    /// same packets go the next plainer way, and so do all from then on.
    ///
    /// # Errors
    /// As for [`send_one`](Net::send_one), of the first packet that could not be sent; those after
    /// it were not sent either. `EINVAL` for a segment of 0 bytes.
    pub fn send(&self, batch: &Transmit<'_>) -> io::Result<()> {
        self.send_counted(batch).1
    }

    /// The same, and how many bytes the kernel has taken.
    pub fn send_counted(&self, batch: &Transmit<'_>) -> (usize, io::Result<()>) {
        if batch.segment == 0 {
            return (0, Err(io::Error::from_raw_os_error(libc::EINVAL)));
        }
        if let Err(error) = check_size(batch.segment.min(batch.bytes.len())) {
            return (0, Err(error));
        }
        let mut rest = batch.bytes;
        while !rest.is_empty() {
            match self.send_some(&Transmit { bytes: rest, ..*batch }) {
                Ok(sent) => {
                    self.sent.fetch_add(sent as u64, Relaxed);
                    rest = rest.get(sent..).unwrap_or_default();
                }
                Err(error) => return (batch.bytes.len() - rest.len(), Err(error)),
            }
        }
        (batch.bytes.len(), Ok(()))
    }

    /// Sends at least the first packet, and returns how many bytes have gone.
    fn send_some(&self, batch: &Transmit<'_>) -> io::Result<usize> {
        let usual = self.offload.send_mode();
        let mut mode = usual;
        loop {
            match patiently(|| send_by(self.sending(), mode, batch)) {
                Ok(sent) => {
                    // Only that the plainer way works shows that the way was at fault, and not
                    // the packets.
                    if mode != usual {
                        self.offload.demote_send(mode);
                    }
                    return Ok(sent);
                }
                Err(error) => match mode.plainer() {
                    Some(plainer) if mode.may_be_refused(&error) => mode = plainer,
                    _ => return Err(error),
                },
            }
        }
    }

    fn sending(&self) -> BorrowedFd<'_> {
        self.fd(Which::Unicast)
    }
}

/// Refuses what no UDP packet holds. The kernel does so too, but 65,508 bytes on the loopback
/// interface only by an ICMP message to ourselves: it renews the route, and packets of others that
/// are on it just then are lost.
fn check_size(length: usize) -> io::Result<()> {
    if length > MAX_PACKET { Err(io::Error::from_raw_os_error(libc::EMSGSIZE)) } else { Ok(()) }
}

/// Sends the first packets of `batch`, as many as one call takes, and returns their bytes. What
/// would be a batch of one is sent plainly.
fn send_by(fd: BorrowedFd<'_>, mode: SendMode, batch: &Transmit<'_>) -> io::Result<usize> {
    let Transmit { to, bytes, segment } = *batch;
    if bytes.len() > segment {
        match mode {
            SendMode::Gso => {
                let limit = MAX_SEGMENTS.min(MAX_SEGMENTED / segment) * segment;
                let bytes = bytes.get(..limit).unwrap_or(bytes);
                if let (true, Ok(size)) = (bytes.len() > segment, u16::try_from(segment)) {
                    mmsg::send_segments(fd, to, bytes, size)?;
                    return Ok(bytes.len());
                }
            }
            SendMode::Mmsg => {
                let packets = mmsg::send_many(fd, to, bytes, segment)?;
                return Ok(bytes.len().min(packets * segment));
            }
            SendMode::Single => {}
        }
    }
    let packet = bytes.get(..segment).unwrap_or(bytes);
    mmsg::send_one(fd, to, packet)?;
    Ok(packet.len())
}

/// Makes a call again where that helps: once after `ECONNREFUSED`, which reports that an *earlier*
/// packet met a closed port and has kept this one from being sent; a few times, after a pause, when
/// the kernel had no memory for the packet.
fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut refused = false;
    let mut tries = 0;
    loop {
        let error = match call() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) if !refused => refused = true,
            Some(libc::ENOBUFS | libc::ENOMEM) if tries < NO_BUFFER_TRIES => {
                tries += 1;
                thread::sleep(NO_BUFFER_PAUSE);
            }
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls that fail with each errno in turn, then work.
    fn after(errnos: &[i32]) -> Result<(), Option<i32>> {
        let mut errnos = errnos.iter();
        patiently(|| match errnos.next() {
            Some(&errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        })
        .map_err(|error| error.raw_os_error())
    }

    #[test]
    fn patience_has_bounds() {
        assert_eq!(after(&[libc::ECONNREFUSED]), Ok(()));
        assert_eq!(after(&[libc::ECONNREFUSED; 2]), Err(Some(libc::ECONNREFUSED)));
        assert_eq!(after(&[libc::ENOBUFS, libc::ECONNREFUSED, libc::ENOMEM]), Ok(()));
        assert_eq!(after(&[libc::ENOBUFS; NO_BUFFER_TRIES as usize]), Ok(()));
        assert_eq!(after(&[libc::ENOBUFS; 99]), Err(Some(libc::ENOBUFS)));
        assert_eq!(after(&[libc::EPERM]), Err(Some(libc::EPERM)));
    }
}
