//! Why the sockets could not be opened.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::errno::ErrorText;

/// So many interfaces are named where none is the right one.
const MOST_NAMED: usize = 16;

/// Why the sockets could not be opened.
#[derive(Debug)]
pub enum NetError {
    /// The group's address is not one of multicast, 224.0.0.0 to 239.255.255.255 (RFC 5771).
    NotMulticast(Ipv4Addr),
    /// Another socket of this host, most likely another daemon, has this address and port.
    InUse(SocketAddrV4),
    /// There is no interface of this name; these there are.
    NoInterface(String, Vec<String>),
    /// The interface of this name has no IPv4 address, or none with this label.
    NoAddress(String),
    /// The interfaces could not be listed, to find the one of this name.
    Unlisted(String, io::Error),
    /// A system call failed.
    Call {
        /// What was being done.
        what: &'static str,
        /// The address it was done for.
        address: SocketAddrV4,
        /// The errno.
        source: io::Error,
    },
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetError::NotMulticast(address) => write!(f, "{address} is not a multicast address"),
            NetError::InUse(address) => write!(
                f,
                "UDP address {} port {} is in use: is another daemon running on it?",
                address.ip(),
                address.port()
            ),
            NetError::NoInterface(name, there) => {
                let some = &there[..there.len().min(MOST_NAMED)];
                let more = if some.len() < there.len() { " and others" } else { "" };
                write!(f, "-i {name}: there is no such interface, but {}{more}", some.join(", "))
            }
            NetError::NoAddress(name) => write!(f, "-i {name}: it has no IPv4 address"),
            NetError::Unlisted(name, source) => write!(f, "-i {name}: {}", ErrorText(source)),
            NetError::Call { what, address, source } => {
                write!(
                    f,
                    "cannot {what} for UDP address {} port {}: ",
                    address.ip(),
                    address.port()
                )?;
                ErrorText(source).fmt(f)
            }
        }
    }
}

impl std::error::Error for NetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NetError::Call { source, .. } | NetError::Unlisted(_, source) => Some(source),
            NetError::NotMulticast(_)
            | NetError::InUse(_)
            | NetError::NoInterface(..)
            | NetError::NoAddress(_) => None,
        }
    }
}
