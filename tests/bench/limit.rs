//! The limit that the benchmark compares with: what a multicast can be without a protocol.
//!
//! One process sends a file as super-packets (`UDP_SEGMENT`) of full datagrams, each with a header
//! and the project's own checksum; each receiver takes them joined (`UDP_GRO`, `recvmmsg`), verifies
//! the checksum and writes the payload where it belongs (`pwritev`). Nothing is repaired: what is
//! lost is counted. Receivers tell how much came, twice a MiB, and the sender waits while the
//! slowest is too far behind; that is all the control there is.
//!
//! ```text
//! limit recv SENDER OWN FILE      a receiver, at the address OWN
//! limit send OWN FILE COUNT       the sender, for COUNT receivers; they may start before or after
//! ```
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::process::ExitCode;

use makuosan::crypto::{checksum, equal};
use makuosan::daemon::clock;
use makuosan::net::{Net, NetConfig, RecvBatch, Transmit, Which, wait};
use makuosan::sys::{Waker, preadv, pwritev};
use makuosan::time::Span;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 109);
const PORT: u16 = 5_009;

/// Bytes before and after the payload of a datagram, as many as makuosan's.
const HEADER: usize = 32;
const TRAILER: usize = 16;
/// File bytes in a datagram: what an MTU of 1,500 leaves.
const PAYLOAD: usize = 1_500 - 28 - HEADER - TRAILER;
const DATAGRAM: usize = HEADER + PAYLOAD + TRAILER;
/// Datagrams in a super-packet: as many as 64 KiB hold.
const SEGMENTS: usize = 44;

/// How far the slowest receiver may be behind, in bytes, and how often receivers tell. The window is
/// below the receive buffer (8 MiB, 16 as the kernel counts), also when each datagram is counted with
/// 2 KiB of the kernel's own.
const WINDOW: u64 = 6 << 20;
const TELL: u64 = 512 << 10;
/// What has not been told after this time is lost.
const PATIENCE: Span = Span::from_millis(200);

/// What a datagram is, in the first byte of its header.
const DATA: u8 = 1;
const CREDIT: u8 = 2;
const END: u8 = 3;
const FINAL: u8 = 4;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["send", own, file, count] => address(own).and_then(|own| send(own, file, count.parse()?)),
        ["recv", sender, own, file] => {
            address(sender).and_then(|sender| receive(sender, address(own)?, file))
        }
        _ => Err("usage: limit send OWN FILE COUNT | limit recv SENDER OWN FILE".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // That this fails too changes nothing: the status tells.
            let _ = writeln!(io::stderr(), "limit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn address(text: &str) -> Result<Ipv4Addr> {
    text.parse().map_err(|_| format!("no IPv4 address: {text}").into())
}

fn open(interface: Ipv4Addr) -> Result<Net> {
    let config =
        NetConfig { group: GROUP, port: PORT, interface, ttl: 1, rcvbuf: None, sndbuf: None };
    let net = Net::open(&config)?;
    if net.joined() { Ok(net) } else { Err(format!("cannot join {GROUP} on {interface}").into()) }
}

/// The header of a datagram: its kind and one number, an offset or a count of bytes.
fn header(kind: u8, number: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = kind;
    header[8..16].copy_from_slice(&number.to_be_bytes());
    header
}

/// A whole datagram: the kind, the number and the payload, if the checksum is right.
fn parse(packet: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (head, rest) = packet.split_first_chunk::<HEADER>()?;
    let (payload, trailer) = rest.split_last_chunk::<TRAILER>()?;
    if !equal(&checksum(head, payload), trailer) {
        return None;
    }
    let number = head[8..16].try_into().map(u64::from_be_bytes).ok()?;
    Some((head[0], number, payload))
}

fn send_control(net: &Net, to: SocketAddrV4, kind: u8, number: u64) -> io::Result<()> {
    let head = header(kind, number);
    let mut packet = head.to_vec();
    packet.extend_from_slice(&checksum(&head, &[]));
    net.send_one(to, &packet)
}

/// What the sender knows of its receivers.
struct Told {
    net: Net,
    batch: RecvBatch,
    waker: Waker,
    /// The bytes that each has, by its address, and whether it says it has seen the end.
    bytes: HashMap<SocketAddrV4, (u64, bool)>,
}

impl Told {
    /// Takes what receivers say, and waits for it no longer than `timeout`. Returns whether any did.
    fn listen(&mut self, timeout: Span) -> io::Result<bool> {
        if !wait(&self.net, &self.waker, Some(timeout))?.unicast {
            return Ok(false);
        }
        self.batch.recv(&self.net, Which::Unicast)?;
        let mut any = false;
        for (from, bytes, stride) in self.batch.packets() {
            for (kind, number, _) in bytes.chunks(stride).filter_map(parse) {
                let known = self.bytes.entry(from).or_insert((0, false));
                *known = (known.0.max(number), known.1 || kind == FINAL);
                any = true;
            }
        }
        Ok(any)
    }

    fn slowest(&self) -> u64 {
        self.bytes.values().map(|known| known.0).min().unwrap_or(0)
    }
}

fn send(own: Ipv4Addr, path: &str, count: usize) -> Result<()> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let net = open(own)?;
    let group = net.group();
    let batch = RecvBatch::new(&net);
    let mut told = Told { net, batch, waker: Waker::new()?, bytes: HashMap::new() };
    let begun = clock::now();
    while told.bytes.len() < count {
        told.listen(Span::from_millis(100))?;
        if clock::now().since(begun) > Span::from_secs(10) {
            return Err(format!("only {} receivers are there", told.bytes.len()).into());
        }
    }

    let start = clock::now();
    let mut buffer = vec![0; SEGMENTS * DATAGRAM];
    // Bytes that the slowest receiver will never have: gaps after which nothing was told for long.
    let (mut at, mut given_up) = (0, 0);
    while at < size {
        let sent = fill(&file, &mut buffer, at)?;
        if sent == 0 {
            return Err("the file got shorter".into());
        }
        let datagrams = sent.div_ceil(PAYLOAD);
        let bytes = &buffer[..sent + datagrams * (HEADER + TRAILER)];
        told.net.send(&Transmit { to: group, bytes, segment: DATAGRAM })?;
        at += sent as u64;
        while at > told.slowest() + given_up + WINDOW {
            if !told.listen(PATIENCE)? {
                given_up = at - told.slowest();
            }
        }
    }
    for _ in 0..50 {
        if told.bytes.values().all(|known| known.1) {
            break;
        }
        send_control(&told.net, group, END, size)?;
        told.listen(PATIENCE)?;
    }
    let seconds = clock::now().since(start).secs_f64();
    if !told.bytes.values().all(|known| known.1) {
        return Err("not every receiver has answered the end".into());
    }
    let lost = size.saturating_sub(told.slowest());
    println!("{seconds:.4} seconds, {:.3} % lost", 100.0 * lost as f64 / (size.max(1)) as f64);
    Ok(())
}

/// Reads file bytes from `at` on straight into the datagrams of `buffer`, and finishes these. Returns
/// how many bytes of the file there are in it; only at its end fewer than fit.
fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut slices: Vec<IoSliceMut<'_>> = buffer
        .chunks_exact_mut(DATAGRAM)
        .map(|datagram| IoSliceMut::new(&mut datagram[HEADER..HEADER + PAYLOAD]))
        .collect();
    let read = preadv(file.as_fd(), &mut slices, at)?;
    for (i, datagram) in buffer.chunks_exact_mut(DATAGRAM).enumerate().take(read.div_ceil(PAYLOAD))
    {
        let payload = PAYLOAD.min(read - i * PAYLOAD);
        let head = header(DATA, at + (i * PAYLOAD) as u64);
        datagram[..HEADER].copy_from_slice(&head);
        let sum = checksum(&head, &datagram[HEADER..HEADER + payload]);
        datagram[HEADER + payload..HEADER + payload + TRAILER].copy_from_slice(&sum);
    }
    Ok(read)
}

fn receive(sender: Ipv4Addr, own: Ipv4Addr, path: &str) -> Result<()> {
    let file = File::create(path)?;
    let net = open(own)?;
    let to = SocketAddrV4::new(sender, PORT);
    let (mut batch, waker) = (RecvBatch::new(&net), Waker::new()?);
    let (mut got, mut told, mut ended) = (0, 0, false);
    // Until data comes, the sender may not be there yet.
    let begun = clock::now();
    while got == 0 && !ended {
        let _ = send_control(&net, to, CREDIT, 0);
        if wait(&net, &waker, Some(Span::from_millis(20)))?.group {
            (got, ended) = take(&net, &mut batch, &file)?;
        }
        if clock::now().since(begun) > Span::from_secs(20) {
            return Err("nothing came".into());
        }
    }
    while !ended {
        if got >= told + TELL {
            told = got;
            send_control(&net, to, CREDIT, got)?;
        }
        if !wait(&net, &waker, Some(Span::from_secs(20)))?.group {
            return Err("the sender is silent".into());
        }
        let (more, end) = take(&net, &mut batch, &file)?;
        got += more;
        ended = end;
    }
    send_control(&net, to, FINAL, got)?;
    Ok(())
}

/// Takes what waits in the group's socket and writes it: the bytes written, and whether the end was
/// among it.
fn take(net: &Net, batch: &mut RecvBatch, file: &File) -> Result<(u64, bool)> {
    batch.recv(net, Which::Group)?;
    let (mut written, mut ended) = (0, false);
    let mut run: Vec<IoSlice<'_>> = Vec::with_capacity(SEGMENTS);
    for (_, bytes, stride) in batch.packets() {
        let (mut from, mut next) = (0, 0);
        for (kind, number, payload) in bytes.chunks(stride).filter_map(parse) {
            ended |= kind == END;
            if kind != DATA {
                continue;
            }
            if number != next {
                written += write(file, &run, from, next)?;
                run.clear();
                from = number;
            }
            run.push(IoSlice::new(payload));
            next = number + payload.len() as u64;
        }
        written += write(file, &run, from, next)?;
        run.clear();
    }
    Ok((written, ended))
}

/// Writes neighboring payloads, which fill the file between the two offsets.
fn write(file: &File, run: &[IoSlice<'_>], from: u64, to: u64) -> Result<u64> {
    if run.is_empty() {
        return Ok(0);
    }
    let written = pwritev(file.as_fd(), run, from)? as u64;
    if written == to - from { Ok(written) } else { Err("a short write".into()) }
}
