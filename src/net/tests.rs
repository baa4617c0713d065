//! Both sockets of several daemons on the loopback interface, in every way of sending and
//! receiving.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use super::*;
use crate::sys::refuse::refusing;
use crate::sys::sockopt::{self, Opt};
use crate::time::Span;

/// A group of this test alone, whatever else runs on this machine.
fn group() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(239, high, low, NEXT.fetch_add(1, Relaxed) as u8)
}

fn config(last: u8, port: u16, group: Ipv4Addr) -> NetConfig {
    let interface = Ipv4Addr::new(127, 0, 0, last);
    NetConfig { group, port, interface, ttl: 1, rcvbuf: None, sndbuf: None }
}

/// 127.0.0.2 and 127.0.0.3 on one port, which the kernel chooses for the first; should another
/// program have it at the second address, then again.
fn pair() -> (Net, Net) {
    let group = group();
    for _ in 0..20 {
        let one = Net::open(&config(2, 0, group)).unwrap();
        match Net::open(&config(3, one.local().port(), group)) {
            Ok(two) => return (one, two),
            Err(NetError::InUse(_)) => continue,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no port is free at two addresses");
}

/// `count` packets of `length` bytes and one of `last`, each with its number in front.
fn numbered(count: usize, length: usize, last: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..=count {
        let end = bytes.len() + if number < count { length } else { last };
        bytes.extend((number as u32).to_be_bytes());
        bytes.extend((bytes.len()..end).map(|i| (i % 251) as u8));
    }
    bytes
}

/// What came: who sent it, the bytes, the stride.
type Taken = (SocketAddrV4, Vec<u8>, usize);

/// Receives until at least `slots` slots were taken, for which it waits 10 s at most each time.
fn take(net: &Net, batch: &mut RecvBatch, which: Which, slots: usize) -> Vec<Taken> {
    let waker = Waker::new().unwrap();
    let (mut taken, mut all) = (0, Vec::new());
    loop {
        let ready = wait(net, &waker, Some(Span::from_secs(10))).unwrap();
        assert_ne!(ready, Ready::default(), "{taken} slots came");
        let came = batch.recv(net, which).unwrap();
        assert_ne!(came, 0, "packets came to the other socket");
        taken += came;
        all.extend(batch.packets().map(|(from, bytes, stride)| (from, bytes.to_vec(), stride)));
        if taken >= slots {
            return all;
        }
    }
}

/// Packets by number and source.
type Packets = BTreeMap<(u32, SocketAddrV4), Vec<u8>>;

/// Receives until there are `count` packets, whatever slots they take.
fn receive(net: &Net, batch: &mut RecvBatch, which: Which, count: usize) -> Packets {
    let mut packets = Packets::new();
    while packets.len() < count {
        for (from, bytes, stride) in take(net, batch, which, 1) {
            for packet in bytes.chunks(stride) {
                let number = u32::from_be_bytes(packet[..4].try_into().unwrap());
                let twice = packets.insert((number, from), packet.to_vec());
                assert_eq!(twice, None, "packet {number} came twice");
            }
        }
    }
    assert_eq!(packets.len(), count);
    packets
}

/// Nothing is there, now that all that was sent has been received.
fn assert_silent(net: &Net, batch: &mut RecvBatch) {
    for which in [Which::Group, Which::Unicast] {
        assert_eq!(batch.recv(net, which).unwrap(), 0);
        assert_eq!(batch.packets().count(), 0);
    }
}

fn expected(bytes: &[u8], segment: usize, from: &Net) -> Packets {
    let numbered = bytes.chunks(segment).enumerate();
    numbered.map(|(i, packet)| ((i as u32, from.local()), packet.to_vec())).collect()
}

/// Sends 44 packets and a short one to the group and to the other, and checks that all are there.
fn exchange(one: &Net, two: &Net) {
    let (mut batch_one, mut batch_two) = (RecvBatch::new(one), RecvBatch::new(two));
    let bytes = numbered(44, 1_424, 300);
    let wanted = expected(&bytes, 1_424, one);

    one.send(&Transmit { to: one.group(), bytes: &bytes, segment: 1_424 }).unwrap();
    // The sender hears itself on the loopback interface.
    assert_eq!(receive(one, &mut batch_one, Which::Group, 45), wanted);
    assert_eq!(receive(two, &mut batch_two, Which::Group, 45), wanted);

    one.send(&Transmit { to: two.local(), bytes: &bytes, segment: 1_424 }).unwrap();
    assert_eq!(receive(two, &mut batch_two, Which::Unicast, 45), wanted);

    one.send_one(two.local(), &bytes[..9]).unwrap();
    let wanted = expected(&bytes[..9], 9, one);
    assert_eq!(receive(two, &mut batch_two, Which::Unicast, 1), wanted);

    assert_silent(one, &mut batch_one);
    assert_silent(two, &mut batch_two);
    assert_eq!(batch_one.truncated() + batch_two.truncated(), 0);
}

#[test]
fn every_way_of_sending_reaches_every_way_of_receiving() {
    for send in [SendMode::Gso, SendMode::Mmsg, SendMode::Single] {
        for recv in [RecvMode::Gro, RecvMode::Mmsg, RecvMode::Single] {
            let (one, two) = pair();
            assert!(one.joined() && two.joined());
            one.demote_send(send);
            one.demote_recv(recv);
            two.demote_recv(recv);
            exchange(&one, &two);
            assert_eq!(one.send_mode(), send, "demoted without a cause");
            assert_eq!(two.gro(), recv == RecvMode::Gro);
            assert_eq!(two.recvmmsg(), recv != RecvMode::Single);
        }
    }
}

#[test]
fn joined_packets_come_joined() {
    let (one, two) = pair();
    let mut batch = RecvBatch::new(&two);
    let bytes = numbered(44, 1_424, 300);
    one.send(&Transmit { to: two.local(), bytes: &bytes, segment: 1_424 }).unwrap();
    let all = take(&two, &mut batch, Which::Unicast, 1);
    assert_eq!(all, [(one.local(), bytes, 1_424)]);
    // The next call replaces them.
    assert_silent(&two, &mut batch);
}

#[test]
fn a_refused_segmented_send_goes_another_way_and_loses_nothing() {
    let (one, two) = pair();
    // Without checksums the kernel takes no segmented sends: EINVAL.
    sockopt::set(one.fd(Which::Unicast), Opt::NoCheck, 1).unwrap();
    assert_eq!(one.send_mode(), SendMode::Gso);
    exchange(&one, &two);
    assert_eq!(one.send_mode(), SendMode::Mmsg);
    sockopt::set(one.fd(Which::Unicast), Opt::NoCheck, 0).unwrap();
    exchange(&one, &two);
    assert_eq!(one.send_mode(), SendMode::Mmsg, "for good");
}

#[test]
fn calls_that_the_kernel_does_not_have_are_done_one_by_one() {
    let (one, two) = pair();
    one.demote_send(SendMode::Mmsg);
    refusing(&[libc::SYS_sendmmsg, libc::SYS_recvmmsg], libc::ENOSYS, || exchange(&one, &two))
        .unwrap();
    assert_eq!(one.send_mode(), SendMode::Single);
    // Joined packets can be received by recvmsg too: what is queued is not lost.
    assert_eq!((two.recvmmsg(), two.gro()), (false, true));
}

#[test]
fn all_ways_refused_is_an_error_and_no_reason_to_change() {
    let (one, two) = pair();
    let transmit = Transmit { to: two.local(), bytes: &[0; 300], segment: 100 };
    let calls = [libc::SYS_sendmsg, libc::SYS_sendmmsg, libc::SYS_sendto];
    for errno in [libc::EIO, libc::ENETDOWN] {
        let error = refusing(&calls, errno, || one.send(&transmit)).unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno));
        assert_eq!(one.send_mode(), SendMode::Gso);
    }
}

#[test]
fn packets_that_no_network_takes_are_an_error_and_no_reason_to_change() {
    let (one, two) = pair();
    let bytes = vec![0; 140_000];
    for length in [65_508, 70_000] {
        let transmit = Transmit { to: two.local(), bytes: &bytes, segment: length };
        for result in [one.send(&transmit), one.send_one(two.local(), &bytes[..length])] {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
        }
    }
    let error = one.send(&Transmit { to: two.local(), bytes: &bytes, segment: 0 }).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    assert_eq!(one.send_mode(), SendMode::Gso);
    one.send(&Transmit { to: two.local(), bytes: &[], segment: 10 }).unwrap();
    assert_silent(&two, &mut RecvBatch::new(&two));
}

#[test]
fn a_batch_of_any_size_is_split() {
    // More than 64 packets; more than 64 KiB; packets of which no two fit in one send.
    for (count, length, last) in [(300, 100, 50), (100, 1_424, 1_424), (9, 8_240, 1_000)] {
        for mode in [SendMode::Gso, SendMode::Mmsg] {
            let (one, two) = pair();
            one.demote_send(mode);
            let mut batch = RecvBatch::new(&two);
            let bytes = numbered(count, length, last);
            one.send(&Transmit { to: two.group(), bytes: &bytes, segment: length }).unwrap();
            let came = receive(&two, &mut batch, Which::Group, count + 1);
            assert_eq!(came, expected(&bytes, length, &one));
            assert_eq!(one.send_mode(), mode);
        }
    }
}

#[test]
fn what_is_larger_than_a_slot_is_counted_and_not_delivered() {
    for mode in [RecvMode::Mmsg, RecvMode::Single] {
        let (one, two) = pair();
        two.demote_recv(mode);
        let mut batch = RecvBatch::new(&two);
        let bytes = numbered(0, 0, 9_217);
        one.send_one(two.local(), &bytes[..9_216]).unwrap();
        one.send_one(two.local(), &bytes).unwrap();
        one.send_one(two.local(), &bytes[..30]).unwrap();
        let all = take(&two, &mut batch, Which::Unicast, 3);
        let lengths: Vec<_> = all.iter().map(|one| one.1.len()).collect();
        assert_eq!(lengths, [9_216, 30]);
        assert_eq!(batch.truncated(), 1);
    }
}

#[test]
fn buffers_made_for_joined_packets_take_plain_ones() {
    let (one, two) = pair();
    let mut batch = RecvBatch::new(&two);
    two.demote_recv(RecvMode::Single);
    let bytes = numbered(44, 1_424, 300);
    one.send(&Transmit { to: two.local(), bytes: &bytes, segment: 1_424 }).unwrap();
    let came = receive(&two, &mut batch, Which::Unicast, 45);
    assert_eq!(came, expected(&bytes, 1_424, &one));
}

#[test]
fn an_empty_packet_is_delivered_and_has_no_chunk() {
    let (one, two) = pair();
    let mut batch = RecvBatch::new(&two);
    one.send_one(two.local(), &[]).unwrap();
    let all = take(&two, &mut batch, Which::Unicast, 1);
    assert_eq!(all, [(one.local(), vec![], 1)]);
}

#[test]
fn a_second_daemon_at_the_same_address_is_refused_by_name() {
    let (one, two) = pair();
    let port = one.local().port();
    let error = Net::open(&config(2, port, *one.group().ip())).err().unwrap();
    let line = error.to_string();
    assert!(matches!(error, NetError::InUse(address) if address == one.local()), "{line}");
    assert!(line.contains("127.0.0.2") && line.contains(&port.to_string()), "{line}");
    // Another group does not help.
    assert!(matches!(Net::open(&config(2, port, group())), Err(NetError::InUse(_))));
    // Neither does a program that would share.
    let thief = crate::sys::socket::udp().unwrap();
    sockopt::set(thief.as_fd(), Opt::ReuseAddr, 1).unwrap();
    assert!(crate::sys::socket::bind(thief.as_fd(), one.local()).is_err());
    // The first goes on, and the address is free when it ends.
    exchange(&two, &one);
    let again = config(2, port, *one.group().ip());
    drop(one);
    exchange(&two, &Net::open(&again).unwrap());
}

/// A daemon on 0.0.0.0, not joined (which would reach for a real network).
fn on_any(port: u16, group: Ipv4Addr) -> Result<Net, NetError> {
    Net::bind(&NetConfig { interface: Ipv4Addr::UNSPECIFIED, ..config(0, port, group) })
}

#[test]
fn a_daemon_on_any_address_has_the_port_alone() {
    let first = on_any(0, group()).unwrap();
    let port = first.local().port();
    for result in [on_any(port, group()), Net::bind(&config(2, port, group()))] {
        assert!(matches!(result, Err(NetError::InUse(_))));
    }
    let other = Net::bind(&config(2, 0, group())).unwrap();
    assert!(matches!(on_any(other.local().port(), group()), Err(NetError::InUse(_))));
}

#[test]
fn on_any_address_nothing_comes_twice() {
    let net = on_any(0, group()).unwrap();
    // Joined by hand on the loopback interface.
    let member = UdpSocket::from(net.fd(Which::Group).try_clone_to_owned().unwrap());
    member.join_multicast_v4(net.group().ip(), &Ipv4Addr::LOCALHOST).unwrap();

    let other = UdpSocket::bind("127.0.0.4:0").unwrap();
    let SocketAddr::V4(from) = other.local_addr().unwrap() else { panic!("not IPv4") };
    sockopt::set_multicast_interface(other.as_fd(), Ipv4Addr::LOCALHOST).unwrap();
    let to_one = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 5), net.local().port());
    let mut batch = RecvBatch::new(&net);
    for (which, to, bytes) in
        [(Which::Group, net.group(), b"to all"), (Which::Unicast, to_one, b"to one")]
    {
        other.send_to(bytes, to).unwrap();
        assert_eq!(take(&net, &mut batch, which, 1), [(from, bytes.to_vec(), 6)]);
    }
    assert_silent(&net, &mut batch);
}

#[test]
fn an_address_that_is_not_there_yet_can_be_joined_later() {
    let absent = NetConfig { interface: Ipv4Addr::new(240, 0, 0, 1), ..config(0, 0, group()) };
    let net = Net::open(&absent).unwrap();
    assert!(!net.joined());
    assert_eq!(net.mtu(), 1_500);
    assert!(!net.subnet_contains(Ipv4Addr::new(240, 0, 0, 2)));
    assert_eq!(net.join().unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    assert!(!net.joined());
    let (mut batch, there) = (RecvBatch::new(&net), Net::open(&config(2, 0, group())).unwrap());
    assert_silent(&net, &mut batch);
    // Joining again and again is the same as joining once.
    there.join().unwrap();
    there.join().unwrap();
    assert!(there.joined());
}

#[test]
fn facts_of_the_loopback_interface() {
    let (one, two) = pair();
    assert_eq!(*one.local().ip(), Ipv4Addr::new(127, 0, 0, 2));
    assert_eq!(one.local().port(), two.group().port());
    assert!(one.mtu() >= 1_500);
    assert!(one.subnet_contains(*two.local().ip()));
    assert!(!one.subnet_contains(Ipv4Addr::new(10, 0, 0, 1)));
    assert!(!one.subnet_contains(*one.group().ip()));
}

#[test]
fn buffers_are_as_large_as_the_configuration_says() {
    let small = NetConfig { rcvbuf: Some(50_000), sndbuf: Some(30_000), ..config(2, 0, group()) };
    let net = Net::open(&small).unwrap();
    // The kernel doubles them (sock_setsockopt in net/core/sock.c).
    assert_eq!(net.receive_buffer(), 100_000);
    let sndbuf = sockopt::value(net.fd(Which::Unicast), Opt::SendBuffer).unwrap();
    assert_eq!(sndbuf, 60_000);
    assert!(Net::open(&config(2, 0, group())).unwrap().receive_buffer() > 100_000);
    // More than any kernel gives is what it gives.
    let huge = NetConfig { rcvbuf: Some(usize::MAX), ..config(2, 0, group()) };
    assert!(Net::open(&huge).unwrap().receive_buffer() > 100_000);
}

#[test]
fn a_group_must_be_multicast() {
    let error = Net::open(&config(2, 0, Ipv4Addr::new(10, 0, 0, 1))).err().unwrap();
    assert!(matches!(error, NetError::NotMulticast(_)));
    assert!(error.to_string().contains("10.0.0.1"));
}

#[test]
fn a_wait_ends_with_a_packet_a_wake_up_or_the_time() {
    let (one, two) = pair();
    let waker = Waker::new().unwrap();
    assert_eq!(wait(&two, &waker, Some(Span::from_micros(10))).unwrap(), Ready::default());
    waker.wake();
    let ready = wait(&two, &waker, None).unwrap();
    assert_eq!(ready, Ready { woken: true, ..Ready::default() });
    waker.drain();
    one.send_one(two.local(), b"x").unwrap();
    let ready = wait(&two, &waker, None).unwrap();
    assert_eq!(ready, Ready { unicast: true, ..Ready::default() });
    assert_eq!(RecvBatch::new(&two).recv(&two, Which::Unicast).unwrap(), 1);
    one.send_one(two.group(), b"x").unwrap();
    waker.wake();
    let ready = wait(&two, &waker, None).unwrap();
    assert!(ready.woken && !ready.unicast);
    waker.drain();
    let ready = wait(&two, &waker, None).unwrap();
    assert_eq!(ready, Ready { group: true, ..Ready::default() });
}

#[test]
fn a_closed_port_does_not_spoil_the_next_send() {
    let (one, two) = pair();
    let gone = two.local();
    drop(two);
    for _ in 0..3 {
        one.send_one(gone, b"anybody?").unwrap();
        one.send(&Transmit { to: gone, bytes: &[0; 300], segment: 100 }).unwrap();
    }
    assert_eq!(one.send_mode(), SendMode::Gso);
}
