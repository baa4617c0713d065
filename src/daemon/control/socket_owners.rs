//! Which user owns the other end of a TCP connection within this host.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::net::{IpAddr, SocketAddr};

use crate::sys::diag::SocketDiag;

/// A table may change while it is read, so that a row is missed: it is read so often.
const TRIES: u32 = 3;

/// The ways to find an owner, opened while they are still in reach.
#[derive(Debug)]
pub(crate) struct SocketOwners {
    /// Tells of one socket. None where the kernel cannot.
    diag: Option<SocketDiag>,
    /// The kernel's tables of all connections: milliseconds to read where there is room for many.
    tables: Vec<File>,
}

impl SocketOwners {
    /// Opens the ways. Without any, nobody's owner is known.
    pub(crate) fn open() -> Self {
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        let tables = tables.iter().filter_map(|path| File::open(path).ok()).collect();
        SocketOwners { diag: SocketDiag::open().ok(), tables }
    }

    /// The user that owns the socket at `peer` that is connected with `own`. None if one of the
    /// addresses is not a loopback address, as the other end may be on another host then; or if that
    /// socket is closed or unknown.
    pub(super) fn of(&mut self, peer: SocketAddr, own: SocketAddr) -> Option<u32> {
        let plain = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let (peer, own) = (plain(peer), plain(own));
        if !peer.ip().is_loopback() || !own.ip().is_loopback() {
            return None;
        }
        if let Some(Ok(owner)) = self.diag.as_mut().map(|diag| diag.tcp(peer, own)) {
            return (owner.inode != 0).then_some(owner.uid);
        }
        let tables = &self.tables;
        let found = (0..TRIES).find_map(|_| tables.iter().find_map(|table| row(table, peer, own)));
        if found.is_some() {
            // It does not know what there is: the kernel cannot tell of TCP sockets that way.
            self.diag = None;
        }
        found?
    }
}

/// The owner in a table's row about this connection. Some(None): the row has no owner any more.
fn row(mut table: &File, peer: SocketAddr, own: SocketAddr) -> Option<Option<u32>> {
    table.rewind().ok()?;
    owner_in(BufReader::with_capacity(1 << 16, table), peer, own)
}

/// The same in the text of a table (proc_pid_net(5)).
fn owner_in(table: impl BufRead, peer: SocketAddr, own: SocketAddr) -> Option<Option<u32>> {
    let wanted = [(peer, own), (mapped(peer), mapped(own))].map(|(a, b)| (shown(a), shown(b)));
    table.lines().map_while(Result::ok).find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, remote, _, _, _, _, uid, _, inode, ..] = words.as_slice() else {
            return None;
        };
        if !wanted.iter().any(|(peer, own)| peer == local && own == remote) {
            return None;
        }
        // A socket that its process has closed is shown as root's, with inode 0.
        Some(if *inode == "0" { None } else { uid.parse().ok() })
    })
}

/// An IPv4 address as a socket of IPv6 has it.
fn mapped(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// An address as the tables have it: words of four bytes as this machine's numbers.
fn shown(addr: SocketAddr) -> String {
    let bytes = match addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut text = String::new();
    for word in bytes.chunks_exact(4) {
        let number = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        text.push_str(&format!("{number:08X}"));
    }
    format!("{text}:{:04X}", addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ids;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    /// The tables alone, and what tells of one socket alone.
    fn one_way_each() -> [SocketOwners; 2] {
        let all = SocketOwners::open;
        [SocketOwners { diag: None, ..all() }, SocketOwners { tables: Vec::new(), ..all() }]
    }

    #[test]
    fn who_connects_on_this_host_is_known_until_he_closes() {
        one_way_each().iter_mut().for_each(known_until_he_closes);
    }

    fn known_until_he_closes(owners: &mut SocketOwners) {
        let addresses: [IpAddr; 3] = [
            Ipv4Addr::new(127, 4, 5, 6).into(),
            Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
            Ipv6Addr::LOCALHOST.into(),
        ];
        for address in addresses {
            let Ok(listener) = TcpListener::bind((address, 0)) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let own = server.local_addr().unwrap();
            assert_eq!(owners.of(peer, own), Some(ids::effective().uid), "{address}");
            // The server's own end is another row.
            assert_eq!(owners.of(SocketAddr::new(peer.ip(), 1), own), None);
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(owners.of(peer, own), Some(ids::effective().uid), "{address}");
            drop(client);
            assert_eq!(owners.of(peer, own), None, "{address}");
        }
    }

    /// A descriptor that takes questions and gives no answer, as where the kernel lacks the module.
    #[test]
    fn the_tables_tell_where_the_kernel_cannot_tell_of_one_socket() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, own) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let mute = File::options().read(true).write(true).open("/dev/null").unwrap();
        let mut owners = SocketOwners::open();
        owners.diag = Some(SocketDiag::with(mute));
        assert_eq!(owners.of(peer, SocketAddr::new(own.ip(), 1)), None);
        assert!(owners.diag.is_some());
        assert_eq!(owners.of(peer, own), Some(ids::effective().uid));
        assert!(owners.diag.is_none());
    }

    #[test]
    fn no_other_address_is_looked_up() {
        let mut owners = SocketOwners::open();
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(owners.of(at("10.0.0.1:5"), at("127.0.0.1:6")), None);
        assert_eq!(owners.of(at("127.0.0.1:5"), at("10.0.0.1:6")), None);
        assert_eq!(owners.of(at("[2001:db8::1]:5"), at("[::1]:6")), None);
    }

    #[test]
    fn odd_tables_have_no_owner() {
        let (peer, own) = ("127.0.0.1:5".parse().unwrap(), "127.0.0.1:6".parse().unwrap());
        let (a, b) = (shown(peer), shown(own));
        let found = |text: String| owner_in(text.as_bytes(), peer, own);
        let row = |uid: &str, inode: &str| format!("0: {a} {b} 01 0:0 0:0 0 {uid} 0 {inode} 1\n");
        assert_eq!(found(row("1000", "77")), Some(Some(1_000)));
        assert_eq!(found(row("0", "0")), Some(None));
        assert_eq!(found(row("x", "77")), Some(None));
        assert_eq!(found(format!("head\n0: {b} {a} 01 0:0 0:0 0 7 0 9\n{a} {b}\n")), None);
    }
}
