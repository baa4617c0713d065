//! What the host's interfaces say: the MTU of the one that carries the group, and the subnets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;

use super::NetError;
use crate::name::{Escaped, Interface};
use crate::sys::ifaddr::{self, InterfaceAddr};

/// The MTU of Ethernet, and the guess as long as nothing is known.
pub(super) const DEFAULT_MTU: u16 = 1_500;

/// A range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Subnet {
    network: u32,
    mask: u32,
}

impl Subnet {
    fn of(found: &InterfaceAddr) -> Self {
        let mask = found.netmask.to_bits();
        Subnet { network: found.address.to_bits() & mask, mask }
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.network
    }
}

/// What is known of the interface. It changes as interfaces come and go.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Facts {
    /// Of the interface that carries the group, in bytes.
    pub(super) mtu: u16,
    /// Of the same, the one that packets to the group leave from.
    pub(super) address: Option<Ipv4Addr>,
    /// Of the same; none is 0.
    pub(super) index: u32,
    subnets: Vec<Subnet>,
}

impl Facts {
    /// As long as there is no interface.
    pub(super) const NONE: Facts =
        Facts { mtu: DEFAULT_MTU, address: None, index: 0, subnets: Vec::new() };

    /// Asks the kernel about the interface with the address `interface`; if it is `0.0.0.0`, about
    /// the one that the route to `group` takes, and about the subnets of all.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` if there is no such interface, `ENETDOWN` if it is down, `ENETUNREACH` if there
    /// is no such route.
    pub(super) fn read(interface: Ipv4Addr, group: SocketAddrV4) -> io::Result<Facts> {
        // Any socket will do for asking.
        let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        let all = ifaddr::interface_addrs()?;
        let address =
            if interface.is_unspecified() { route_source(&socket, group)? } else { interface };
        let Some(carrier) = choose(&all, address) else {
            return Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
        };
        if !carrier.up {
            return Err(io::Error::from_raw_os_error(libc::ENETDOWN));
        }
        let mtu = ifaddr::mtu(socket.as_fd(), &carrier.name)?;
        let subnets = if interface.is_unspecified() {
            all.iter().map(Subnet::of).collect()
        } else {
            vec![Subnet::of(carrier)]
        };
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        let index = ifaddr::index(&carrier.name)?;
        Ok(Facts { mtu, address: Some(address), index, subnets })
    }

    /// Whether `address` is in a subnet of ours.
    pub(super) fn subnet_contains(&self, address: Ipv4Addr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(address))
    }
}

/// The address by which to use an interface, or `0.0.0.0` for any. Of one that is given by its name,
/// `current`, if it still has that: another that is added to it, even before that, changes nothing.
///
/// # Errors
/// There is no interface of this name, or it has no IPv4 address.
pub fn address_of(interface: &Interface, current: Option<Ipv4Addr>) -> Result<Ipv4Addr, NetError> {
    let name = match interface {
        Interface::Any => return Ok(Ipv4Addr::UNSPECIFIED),
        Interface::Address(address) => return Ok(*address),
        Interface::Named(name) => name,
    };
    let unlisted = |error| NetError::Unlisted(name.clone(), error);
    let all = ifaddr::interface_addrs().map_err(unlisted)?;
    if let Some(address) = first(&all, name.as_bytes(), current) {
        return Ok(address);
    }
    let there = ifaddr::interface_names().map_err(unlisted)?;
    let bare = name.split(':').next().unwrap_or(name);
    match there.iter().any(|one| one == bare.as_bytes()) {
        true => Err(NetError::NoAddress(name.clone())),
        false => {
            let there = there.iter().map(|one| Escaped(one).to_string()).collect();
            Err(NetError::NoInterface(name.clone(), there))
        }
    }
}

/// The name of the interface that has this address.
///
/// # Errors
/// `ENOMEM`, or whatever netlink gives.
pub fn interface_of(address: Ipv4Addr) -> io::Result<Option<Vec<u8>>> {
    let all = ifaddr::interface_addrs()?;
    Ok(choose(&all, address).map(|found| found.name.clone()))
}

/// The address that packets to `address` leave from.
///
/// # Errors
/// `ENETUNREACH` if there is no route to it.
pub fn source_to(address: Ipv4Addr) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    // Any port will do: nothing is sent.
    route_source(&socket, SocketAddrV4::new(address, 9))
}

/// The first address of the interface of this name, or with this label. One that a host gives itself
/// where nobody gives it one (169.254.0.0/16) is the last choice, wherever it stands.
fn first(all: &[InterfaceAddr], name: &[u8], current: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let is_meant = |found: &&InterfaceAddr| match name.contains(&b':') {
        true => found.label == name,
        false => found.name == name,
    };
    let meant = all.iter().filter(is_meant).map(|found| found.address);
    meant.min_by_key(|address| (address.is_link_local(), Some(*address) != current))
}

/// The address that packets to `group` leave from. Connecting a UDP socket looks up the route and
/// sends nothing.
fn route_source(socket: &UdpSocket, group: SocketAddrV4) -> io::Result<Ipv4Addr> {
    socket.connect(group)?;
    match socket.local_addr()? {
        SocketAddr::V4(local) => Ok(*local.ip()),
        SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
    }
}

/// The interface that has `address`: every address of the loopback's subnet is its own, listed or
/// not, such as 127.0.0.2.
fn choose(all: &[InterfaceAddr], address: Ipv4Addr) -> Option<&InterfaceAddr> {
    let listed = all.iter().find(|found| found.address == address);
    listed
        .or_else(|| all.iter().find(|found| found.loopback && Subnet::of(found).contains(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, address: [u8; 4], netmask: [u8; 4], loopback: bool) -> InterfaceAddr {
        let label = name.as_bytes().to_vec();
        let name = label.split(|&byte| byte == b':').next().unwrap().to_vec();
        let (address, netmask) = (address.into(), netmask.into());
        InterfaceAddr { name, label, address, netmask, up: true, loopback }
    }

    #[test]
    fn the_interface_of_an_address() {
        let all = [
            found("lo", [127, 0, 0, 1], [255, 0, 0, 0], true),
            found("eth0", [10, 1, 2, 3], [255, 255, 255, 0], false),
            found("lo", [10, 9, 9, 9], [255, 255, 255, 255], true),
        ];
        let name = |address: [u8; 4]| choose(&all, address.into()).map(|found| &found.name[..]);
        assert_eq!(name([10, 1, 2, 3]), Some(&b"eth0"[..]));
        assert_eq!(name([127, 4, 5, 6]), Some(&b"lo"[..]));
        assert_eq!(name([10, 9, 9, 9]), Some(&b"lo"[..]));
        // Somebody else's address in our subnet is not ours.
        assert_eq!(name([10, 1, 2, 4]), None);
    }

    #[test]
    fn the_address_of_a_name() {
        let mask = [255, 255, 255, 0];
        let mut all = vec![
            found("lo", [127, 0, 0, 1], [255, 0, 0, 0], true),
            found("eth0", [169, 254, 7, 7], [255, 255, 0, 0], false),
            found("eth0", [10, 1, 2, 3], mask, false),
            found("eth0", [10, 1, 2, 9], mask, false),
            found("eth0:1", [10, 1, 2, 4], mask, false),
            found("eth01", [10, 1, 2, 5], mask, false),
        ];
        let of = |all: &[InterfaceAddr], name: &str, current: Option<[u8; 4]>| {
            first(all, name.as_bytes(), current.map(Ipv4Addr::from)).map(|found| found.octets())
        };
        assert_eq!(of(&all, "eth0", None), Some([10, 1, 2, 3]));
        assert_eq!(of(&all, "eth0:1", None), Some([10, 1, 2, 4]));
        assert_eq!(of(&all, "eth0:2", None), None);
        assert_eq!(of(&all, "eth", None), None);
        // It is kept as long as it is there, unless nobody has given it.
        assert_eq!(of(&all, "eth0", Some([10, 1, 2, 9])), Some([10, 1, 2, 9]));
        assert_eq!(of(&all, "eth0", Some([10, 1, 2, 5])), Some([10, 1, 2, 3]));
        assert_eq!(of(&all, "eth0", Some([169, 254, 7, 7])), Some([10, 1, 2, 3]));
        all.retain(|found| found.address.is_link_local() || found.loopback);
        assert_eq!(of(&all, "eth0", Some([10, 1, 2, 9])), Some([169, 254, 7, 7]));
        assert_eq!(address_of(&Interface::Named("lo".into()), None).unwrap(), Ipv4Addr::LOCALHOST);
        let error = address_of(&Interface::Named("nosuch0".into()), None).unwrap_err().to_string();
        assert!(error.starts_with("-i nosuch0: there is no such interface, but "), "{error}");
        assert!(error.contains("lo"), "{error}");
        let error = address_of(&Interface::Named("lo:7".into()), None).unwrap_err().to_string();
        assert_eq!(error, "-i lo:7: it has no IPv4 address");
    }

    #[test]
    fn the_edges_of_a_subnet() {
        let subnet = Subnet::of(&found("e", [10, 1, 2, 131], [255, 255, 255, 128], false));
        for (last, inside) in [(127, false), (128, true), (131, true), (255, true)] {
            assert_eq!(subnet.contains(Ipv4Addr::new(10, 1, 2, last)), inside);
        }
        assert!(!subnet.contains(Ipv4Addr::new(10, 1, 3, 131)));
        let one = Subnet::of(&found("e", [10, 1, 2, 3], [255; 4], false));
        assert!(one.contains(Ipv4Addr::new(10, 1, 2, 3)));
        assert!(!one.contains(Ipv4Addr::new(10, 1, 2, 2)));
        let all = Subnet::of(&found("e", [10, 1, 2, 3], [0; 4], false));
        assert!(all.contains(Ipv4Addr::new(200, 1, 2, 3)));
    }

    #[test]
    fn loopback_by_an_address_that_no_list_has() {
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 1, 1, 1), 5000);
        let facts = Facts::read(Ipv4Addr::new(127, 0, 0, 44), group).unwrap();
        assert!(facts.mtu >= DEFAULT_MTU);
        assert!(facts.subnet_contains(Ipv4Addr::new(127, 200, 0, 1)));
        assert!(!facts.subnet_contains(Ipv4Addr::new(128, 0, 0, 1)));
        assert!(!Facts::NONE.subnet_contains(Ipv4Addr::LOCALHOST));
        let error = Facts::read(Ipv4Addr::new(240, 0, 0, 1), group).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
