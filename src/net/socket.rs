//! The two sockets: opening them and joining the group.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::interface::{Facts, address_of};
use super::offload::Offload;
use super::{NetError, RecvMode, SendMode, Which};
use crate::name::Interface;
use crate::sys::socket;
use crate::sys::sockopt::{self, Opt};

/// The receive buffer asked for, in bytes. The kernel doubles it, for its own headers.
const RECV_BUFFER: usize = 8 << 20;

/// The send buffer asked for, in bytes. It is small, so that a full queue pushes back.
const SEND_BUFFER: usize = 512 << 10;

/// How long a send waits for room in the send buffer: a network that takes nothing for so long is
/// down, and the threads that send have more to do than wait for it.
const SEND_PATIENCE: Duration = Duration::from_secs(1);

/// Where the daemon listens and how it sends.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// The multicast group.
    pub group: Ipv4Addr,
    /// The UDP port, of the group and of each daemon; 0 lets the kernel choose (for tests).
    pub port: u16,
    /// The address of the interface that carries the group; `0.0.0.0` leaves it to the routes.
    pub interface: Ipv4Addr,
    /// How many networks a multicast packet may cross; 1 stays on its own.
    pub ttl: u8,
    /// Receive buffer of each socket in bytes, before the kernel doubles it; `None` is 8 MiB.
    pub rcvbuf: Option<usize>,
    /// Send buffer in bytes, before the kernel doubles it; `None` is 512 KiB.
    pub sndbuf: Option<usize>,
}

/// The daemon's two sockets, for all its threads.
pub struct Net {
    config: NetConfig,
    /// The interface whose address is followed.
    followed: Interface,
    group_socket: UdpSocket,
    unicast_socket: UdpSocket,
    group: SocketAddrV4,
    receive_buffer: AtomicUsize,
    joined: AtomicBool,
    /// The index of the interface on which the group is joined, or was last; 0 before that.
    member_on: AtomicU32,
    place: RwLock<Place>,
    /// How many bytes of packets the kernel has taken so far.
    pub(super) sent: AtomicU64,
    pub(super) offload: Offload,
}

/// Where the unicast socket is bound, and what is known of its interface.
struct Place {
    local: SocketAddrV4,
    /// Its interface has no address any more, or there is none of its name.
    lost: bool,
    facts: Facts,
}

impl Net {
    /// Opens both sockets, and tries to join the group. That this last step fails is no error: see
    /// [`joined`](Net::joined).
    ///
    /// Several daemons may share the host, the group and the port if each has an address of its
    /// own, such as 127.0.0.2 and 127.0.0.3: on the loopback interface all of them, the sender too,
    /// receive what is sent to the group. On other interfaces a host does not hear itself. The
    /// address need not be there yet. A daemon on `0.0.0.0` shares its port with nobody.
    ///
    /// # Errors
    /// [`NetError`] names the address: not multicast, in use, or a call that failed.
    pub fn open(config: &NetConfig) -> Result<Net, NetError> {
        let net = Net::bind(config)?;
        // The caller sees it by joined() and gets the error when it tries again.
        let _ = net.join();
        Ok(net)
    }

    /// As [`open`](Net::open), on an interface that may be given by its name. From then on
    /// [`join`](Net::join) looks which address it has.
    ///
    /// # Errors
    /// The same; or that there is no such interface, or that it has no IPv4 address.
    pub fn open_on(interface: &Interface, config: NetConfig) -> Result<Net, NetError> {
        let config = NetConfig { interface: address_of(interface, None)?, ..config };
        let mut net = Net::open(&config)?;
        net.followed = interface.clone();
        Ok(net)
    }

    /// Opens both sockets without joining the group.
    pub(super) fn bind(config: &NetConfig) -> Result<Net, NetError> {
        if !config.group.is_multicast() {
            return Err(NetError::NotMulticast(config.group));
        }
        let wanted = SocketAddrV4::new(config.interface, config.port);
        let call = |what| move |source| NetError::Call { what, address: wanted, source };

        let unicast_socket = unicast_socket(config).map_err(call("make a socket"))?;
        bind(&unicast_socket, wanted)?;
        let local = match unicast_socket.local_addr().map_err(call("get the port"))? {
            SocketAddr::V4(local) => local,
            SocketAddr::V6(_) => {
                let source = io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
                return Err(NetError::Call { what: "get the port", address: wanted, source });
            }
        };

        let group = SocketAddrV4::new(config.group, local.port());
        let group_socket = group_socket(config).map_err(call("make a socket"))?;
        if config.interface.is_unspecified() {
            // 0.0.0.0 is also the group's address, for bind. Both sockets must then allow reuse at
            // that moment; but only then, lest another daemon get our address too. Its unicast
            // socket asks for it without reuse, as ours just did, so no moment is too short.
            let fd = unicast_socket.as_fd();
            sockopt::set(fd, Opt::ReuseAddr, 1).map_err(call("share the port"))?;
            bind(&group_socket, group)?;
            sockopt::set(fd, Opt::ReuseAddr, 0).map_err(call("keep the port"))?;
        } else {
            bind(&group_socket, group)?;
        }

        let sockets = [group_socket.as_fd(), unicast_socket.as_fd()];
        let receive_buffer = receive_buffer(sockets).map_err(call("get the buffer size"))?;
        let offload = probe(sockets);
        Ok(Net {
            config: config.clone(),
            followed: config.interface.into(),
            group_socket,
            unicast_socket,
            group,
            receive_buffer: AtomicUsize::new(receive_buffer),
            joined: AtomicBool::new(false),
            member_on: AtomicU32::new(0),
            place: RwLock::new(Place { local, lost: false, facts: Facts::NONE }),
            sent: AtomicU64::new(0),
            offload,
        })
    }

    /// Joins the group on the interface, and looks again at the interface's MTU and subnet. Being a
    /// member already is success: to be called every few seconds, so that an interface that came
    /// late, went and came back, or is another one by now, is joined again.
    ///
    /// If the interface was given by its name and has another address now, that is the one of the
    /// unicast socket from now on: [`local`](Net::local) tells.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` or `ENODEV` while there is no such interface, `ENETDOWN` while it is down,
    /// `ENETUNREACH` while there is no route to the group (with any interface); a [`NetError`] while
    /// there is no interface of the name, or its address is in use.
    pub fn join(&self) -> io::Result<()> {
        let result = self.try_join();
        self.joined.store(result.is_ok(), Relaxed);
        result
    }

    fn try_join(&self) -> io::Result<()> {
        let interface = self.follow()?;
        if !interface.is_unspecified() {
            sockopt::set_multicast_interface(self.unicast_socket.as_fd(), interface)?;
        }
        let facts = Facts::read(interface, self.group);
        let index = facts.as_ref().map_or(0, |facts| facts.index);
        let before = self.member_on.load(Relaxed);
        if index != before && index != 0 && before != 0 {
            // A socket has few memberships (igmp_max_memberships), and keeps those of interfaces that
            // are no more.
            let _ = sockopt::leave_multicast(self.group_socket.as_fd(), *self.group.ip(), before);
        }
        match self.group_socket.join_multicast_v4(self.group.ip(), &interface) {
            // A member already (ip_mc_join_group in net/ipv4/igmp.c).
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            result => result?,
        }
        let facts = facts?;
        self.member_on.store(index, Relaxed);
        self.place.write().unwrap_or_else(PoisonError::into_inner).facts = facts;
        Ok(())
    }

    /// The address of the interface. Where it is another one than it was, the unicast socket is
    /// replaced by one that is bound to it.
    fn follow(&self) -> io::Result<Ipv4Addr> {
        let old = self.local();
        let other = |error| io::Error::new(io::ErrorKind::AddrNotAvailable, error);
        let found = address_of(&self.followed, Some(*old.ip()));
        self.place.write().unwrap_or_else(PoisonError::into_inner).lost = found.is_err();
        let address = found.map_err(other)?;
        if address == *old.ip() {
            return Ok(address);
        }
        let local = SocketAddrV4::new(address, old.port());
        let socket = unicast_socket(&self.config)?;
        bind(&socket, local).map_err(other)?;
        if self.offload.gro() {
            sockopt::set(socket.as_fd(), Opt::UdpGro, 1)?;
        }
        socket::replace(&self.unicast_socket, socket)?;
        let mut place = self.place.write().unwrap_or_else(PoisonError::into_inner);
        *place = Place { local, lost: false, facts: Facts::NONE };
        let sockets = [self.group_socket.as_fd(), self.unicast_socket.as_fd()];
        self.receive_buffer.store(receive_buffer(sockets)?, Relaxed);
        Ok(address)
    }

    /// Whether the last [`join`](Net::join) worked.
    pub fn joined(&self) -> bool {
        self.joined.load(Relaxed)
    }

    /// Where the unicast socket is bound: what others see as our address, unless it is `0.0.0.0`.
    pub fn local(&self) -> SocketAddrV4 {
        self.place.read().unwrap_or_else(PoisonError::into_inner).local
    }

    /// The address that packets to the group leave from. None while the interface that was given by its
    /// name has none, and while there is no route to the group, if that is left to the routes.
    pub fn address(&self) -> Option<Ipv4Addr> {
        let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
        match self.followed {
            Interface::Any => place.facts.address.filter(|_| self.joined()),
            Interface::Address(_) | Interface::Named(_) => {
                (!place.lost).then_some(*place.local.ip())
            }
        }
    }

    /// The interface that carries the group, as it was given.
    pub fn interface(&self) -> &Interface {
        &self.followed
    }

    /// The group's address and port.
    pub fn group(&self) -> SocketAddrV4 {
        self.group
    }

    /// The MTU in bytes of the interface that carries the group, IP header included; 1,500 until
    /// the first successful [`join`](Net::join). The loopback's 65,536 is given as 65,535.
    pub fn mtu(&self) -> u16 {
        self.place.read().unwrap_or_else(PoisonError::into_inner).facts.mtu
    }

    /// Whether `address` is in the interface's own subnet, or, with `0.0.0.0`, in that of any
    /// interface of the host. Nothing is until the first successful [`join`](Net::join).
    pub fn subnet_contains(&self, address: Ipv4Addr) -> bool {
        let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
        place.facts.subnet_contains(address)
    }

    /// The smaller receive buffer of the two sockets, in bytes as the kernel counts: packets with
    /// its own overhead.
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer.load(Relaxed)
    }

    /// How many packets the sockets had no room for so far. None if the kernel does not tell.
    pub fn dropped(&self) -> Option<u32> {
        let of = |which| sockopt::drops(self.fd(which)).ok();
        Some(of(Which::Group)?.wrapping_add(of(Which::Unicast)?))
    }

    /// The receive buffer that was asked for, as the kernel counts.
    pub fn wanted_buffer(&self) -> usize {
        // It doubles what is asked for, for its own headers.
        self.config.rcvbuf.unwrap_or(RECV_BUFFER).saturating_mul(2)
    }

    /// The send buffer of the socket that everything leaves from, in bytes, as the kernel tells it;
    /// 0 if it does not.
    pub fn send_buffer(&self) -> usize {
        let value = sockopt::value(self.unicast_socket.as_fd(), Opt::SendBuffer);
        value.ok().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
    }

    /// How batches are sent now.
    pub fn send_mode(&self) -> SendMode {
        self.offload.send_mode()
    }

    /// Whether the kernel joins packets on receiving (`UDP_GRO`).
    pub fn gro(&self) -> bool {
        self.offload.gro()
    }

    /// Whether several packets are received in one call (`recvmmsg`).
    pub fn recvmmsg(&self) -> bool {
        self.offload.recvmmsg()
    }

    /// Sends no better than by `mode` from now on, for good.
    pub fn demote_send(&self, mode: SendMode) {
        self.offload.demote_send(mode);
    }

    /// Receives no better than by `mode` from now on, for good. Before the first packet, if
    /// possible: what is already queued in joined form can no longer be told apart.
    pub fn demote_recv(&self, mode: RecvMode) {
        if mode > RecvMode::Gro {
            for which in [Which::Group, Which::Unicast] {
                // Where there is no such option, it is off.
                let _ = sockopt::set(self.fd(which), Opt::UdpGro, 0);
            }
            self.offload.drop_gro();
        }
        if mode > RecvMode::Mmsg {
            self.offload.drop_recvmmsg();
        }
    }

    /// The descriptor of one of the sockets, to wait for.
    pub fn fd(&self, which: Which) -> BorrowedFd<'_> {
        match which {
            Which::Group => self.group_socket.as_fd(),
            Which::Unicast => self.unicast_socket.as_fd(),
        }
    }
}

/// The unicast socket, not yet bound.
fn unicast_socket(config: &NetConfig) -> io::Result<UdpSocket> {
    let socket = socket::udp()?;
    let fd = socket.as_fd();
    // At boot the daemon may be there before its address is.
    sockopt::set(fd, Opt::FreeBind, 1)?;
    // Without it, a socket bound to 0.0.0.0 would get a copy of what is sent to the group.
    sockopt::set(fd, Opt::MulticastAll, 0)?;
    // Never fragment, and go by the interface's MTU alone: unlike IP_PMTUDISC_DO, PROBE does not
    // believe ICMP messages, which anybody can forge.
    sockopt::set(fd, Opt::MtuDiscover, libc::IP_PMTUDISC_PROBE)?;
    // The loopback interface does not care, as it loops back by nature: ip_mc_output, which this
    // option stops, is not used there (__mkroute_output in net/ipv4/route.c).
    socket.set_multicast_loop_v4(false)?;
    socket.set_multicast_ttl_v4(config.ttl.into())?;
    socket.set_write_timeout(Some(SEND_PATIENCE))?;
    let bytes = config.sndbuf.unwrap_or(SEND_BUFFER);
    set_buffer(fd, Opt::SendBufferForce, Opt::SendBuffer, bytes)?;
    set_receive_buffer(fd, config)?;
    Ok(socket)
}

/// The group socket, not yet bound.
fn group_socket(config: &NetConfig) -> io::Result<UdpSocket> {
    let socket = socket::udp()?;
    let fd = socket.as_fd();
    // The other daemons of this host have the same group and port.
    sockopt::set(fd, Opt::ReuseAddr, 1)?;
    // Not what others joined on other interfaces.
    sockopt::set(fd, Opt::MulticastAll, 0)?;
    set_receive_buffer(fd, config)?;
    Ok(socket)
}

fn bind(socket: &UdpSocket, address: SocketAddrV4) -> Result<(), NetError> {
    socket::bind(socket.as_fd(), address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => NetError::InUse(address),
        _ => NetError::Call { what: "bind a socket", address, source },
    })
}

fn set_receive_buffer(fd: BorrowedFd<'_>, config: &NetConfig) -> io::Result<()> {
    let bytes = config.rcvbuf.unwrap_or(RECV_BUFFER);
    set_buffer(fd, Opt::RecvBufferForce, Opt::RecvBuffer, bytes)
}

/// Past the system's limit with the privilege for it, else up to the limit.
fn set_buffer(fd: BorrowedFd<'_>, force: Opt, plain: Opt, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    sockopt::set(fd, force, bytes).or_else(|_| sockopt::set(fd, plain, bytes))
}

/// The smaller of the buffers that the sockets have in the end.
fn receive_buffer(sockets: [BorrowedFd<'_>; 2]) -> io::Result<usize> {
    let [one, two] = sockets.map(|fd| sockopt::value(fd, Opt::RecvBuffer));
    Ok(usize::try_from(one?.min(two?)).unwrap_or(0))
}

/// Finds out what the kernel knows, and turns it on.
fn probe([group, unicast]: [BorrowedFd<'_>; 2]) -> Offload {
    // 0 is what it is anyway: only a kernel that does not know the option refuses it.
    let gso = sockopt::set(unicast, Opt::UdpSegment, 0).is_ok();
    let gro = sockopt::set(unicast, Opt::UdpGro, 1).is_ok()
        && sockopt::set(group, Opt::UdpGro, 1).is_ok();
    Offload::new(gso, gro)
}
