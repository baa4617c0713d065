//! The receiver thread: reads the sockets, routes packets, and writes the blocks of streamed files.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::trail::Trail;
use crate::daemon::clock;
use crate::daemon::counters::{add, count};
use crate::daemon::messages::{AtomicNews, Jobs, ToControl, ToReceiver, ToSender};
use crate::daemon::shared::{Shared, lock};
use crate::daemon::strangers::Strange;
use crate::engine::atomic::Saying;
use crate::engine::disk_job::{DiskJob, TransferKey};
use crate::engine::incoming::{AbortReason, Arrived, Config, Event, Place, Reception};
use crate::engine::probe::{Probe, Probed};
use crate::errno::ErrorText;
use crate::fs::disk::{Closing, StagedFile};
use crate::ids::BatchNo;
use crate::log;
use crate::name::NodeId;
use crate::net::{RecvBatch, Which, wait};
use crate::seal::{Bad, Opens, Replays, Seal};
use crate::sys::{Waker, pwritev};
use crate::time::{Span, Time};
use crate::wire::feedback::Feedback;
use crate::wire::fetch::Fetch;
use crate::wire::header::{Header, PacketKind, Role};
use crate::wire::hello::{Foreign, Hello};
use crate::wire::mirror::Mirror;
use crate::wire::outcome::Reason;
use crate::wire::records::Records;

/// How many times both sockets are read before answers are sent.
const TURNS: usize = 4;
/// How often packets of a member are reported to the control thread.
const HEARD_EVERY: Span = Span::from_secs(1);

pub(crate) struct Receiver {
    shared: Arc<Shared>,
    waker: Waker,
    reception: Reception<StagedFile>,
    disk: Jobs,
    closing: Closing,
    seal: Seal,
    opens: Opens,
    replays: Replays,
    receives: bool,
    heard: HashMap<NodeId, Time>,
    trail: Trail,
    /// What has come of another host's probe.
    probed: Probed,
}

/// Consecutive blocks of a streamed file, written in one call.
struct Run<'a> {
    key: TransferKey,
    batch: BatchNo,
    file: StagedFile,
    offset: u64,
    end: u64,
    slices: Vec<IoSlice<'a>>,
}

impl Receiver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        waker: Waker,
        disk: Jobs,
        closing: Closing,
        receives: bool,
        budget: usize,
    ) -> Self {
        let config = Config {
            me: shared.me(),
            receive_buffer: shared.receive_buffer(),
            budget,
            seed: shared.me().0 ^ 0x7265_6376,
        };
        let seal = Seal::new(shared.me(), Role::Receiver, shared.keys.as_ref());
        let opens = Opens::new(shared.me(), shared.keys.as_ref());
        let reception = Reception::new(config);
        let heard = HashMap::new();
        let replays = Replays::default();
        let trail = Trail::default();
        Receiver {
            shared,
            waker,
            reception,
            disk,
            closing,
            seal,
            opens,
            replays,
            receives,
            heard,
            trail,
            probed: Probed::default(),
        }
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        let mut batch = RecvBatch::new(&self.shared.net);
        loop {
            let timeout = self.reception.poll_timeout().map(|at| at.since(clock::now()));
            let ready = match wait(&self.shared.net, &self.waker, timeout) {
                Ok(ready) => ready,
                Err(error) => {
                    log::error(format_args!("cannot wait for packets: {}", ErrorText(&error)));
                    return self.shared.control.send(ToControl::Died("receiver"));
                }
            };
            if ready.woken && !self.messages() {
                return;
            }
            if ready.group || ready.unicast {
                self.receive(&mut batch);
            }
            let now = clock::now();
            self.reception.timeout(now);
            self.act(now);
        }
    }

    /// Handles the queued messages; false if told to stop.
    fn messages(&mut self) -> bool {
        self.waker.drain();
        let now = clock::now();
        for message in self.shared.receiver.take() {
            match message {
                ToReceiver::Answer(answer) => {
                    self.trail.answer(&answer);
                    self.reception.answer(now, answer);
                }
                ToReceiver::Gone(node) => {
                    self.heard.remove(&node);
                    self.opens.forget(node);
                    self.replays.gone(node);
                    self.reception.member_gone(now, node);
                }
                ToReceiver::Anew => {
                    let (me, keys) = (self.shared.me(), self.shared.keys.as_ref());
                    self.seal = Seal::new(me, Role::Receiver, keys);
                    self.opens = Opens::new(me, keys);
                    self.reception.begin_anew(now, me, self.shared.receive_buffer());
                }
                ToReceiver::Watched(watched) => self.reception.set_watched(watched),
                ToReceiver::Doubtful(doubtful) => self.reception.set_doubtful(doubtful),
                ToReceiver::Ready(of, key, last) => match self.reception.is_staged(key, last) {
                    true => self.disk.prepare(of, key),
                    false => {
                        self.shared
                            .control
                            .send(ToControl::Atomic(AtomicNews::Ready(of, Err(Vec::new()))));
                    }
                },
                ToReceiver::Oldest(node, oldest) => self.reception.oldest_open(now, node, oldest),
                ToReceiver::Stop => {
                    let senders: Vec<NodeId> =
                        self.reception.open().map(|(key, _)| key.node).collect();
                    for node in senders {
                        self.reception.member_gone(now, node);
                    }
                    self.act(now);
                    return false;
                }
            }
        }
        true
    }

    /// Reads both sockets. Repairs and polls may arrive on different sockets, and what was sent before a
    /// poll should be read before the poll is answered.
    fn receive(&mut self, batch: &mut RecvBatch) {
        for _ in 0..TURNS {
            let mut got = 0;
            for which in [Which::Group, Which::Unicast] {
                match batch.recv(&self.shared.net, which) {
                    Ok(0) => {}
                    Ok(some) => {
                        got += some;
                        self.packets(batch);
                    }
                    Err(error) => log::limited(
                        log::Level::WARNING,
                        "receive",
                        None,
                        format_args!("cannot receive: {}", ErrorText(&error)),
                    ),
                }
            }
            if got == 0 {
                return;
            }
        }
    }

    fn packets(&mut self, batch: &mut RecvBatch) {
        let now = clock::now();
        let shared = Arc::clone(&self.shared);
        let mut run: Option<Run<'_>> = None;
        let mut last: Option<(NodeId, SocketAddrV4)> = None;
        self.opens.refresh();
        let mut received = 0;
        for (from, bytes, stride) in batch.packets_mut() {
            received += bytes.len() as u64;
            for packet in bytes.chunks_mut(stride.max(1)) {
                let (header, checked) = match self.opens.check(packet) {
                    Ok(opened) => opened,
                    Err(bad) => {
                        self.bad(now, from, packet, bad);
                        continue;
                    }
                };
                if !shared.net.subnet_contains(*from.ip()) {
                    count(&shared.counters.foreign);
                    continue;
                }
                if matches!(header.kind, PacketKind::Hello | PacketKind::Bye) {
                    let payload = self.opens.payload(&header, checked, packet);
                    self.membership(from, &header, payload);
                    continue;
                }
                if last != Some((header.node, from)) {
                    if !shared.is_member(header.node, from) {
                        count(&shared.counters.strangers);
                        continue;
                    }
                    last = Some((header.node, from));
                    self.heard(now, header.node);
                }
                if self.opens.is_keyed()
                    && !self.replays.take(header.node, header.role, header.counter)
                {
                    count(&shared.counters.replayed);
                    continue;
                }
                let payload = self.opens.payload(&header, checked, packet);
                if header.kind == PacketKind::Data {
                    self.block(now, &header, payload, &mut run);
                } else {
                    self.flush(now, run.take());
                    self.other(now, from, &header, payload);
                }
            }
        }
        add(&shared.counters.received, received);
        self.flush(now, run);
    }

    fn bad(&mut self, now: Time, from: SocketAddrV4, packet: &[u8], bad: Bad) {
        let counters = &self.shared.counters;
        match bad {
            Bad::Own => {}
            Bad::Trailer => count(&counters.bad_trailer),
            Bad::Hello => {
                count(&counters.bad_trailer);
                let addr = *from.ip();
                if lock(&self.shared.strangers).suspect(addr) {
                    self.stranger(now, addr, Strange::OtherKey);
                }
            }
            Bad::NoKey | Bad::HasKey | Bad::OtherKey => {
                count(&counters.other_key);
                let strange = match bad {
                    Bad::NoKey => Strange::Unkeyed,
                    Bad::HasKey => Strange::Keyed,
                    _ => Strange::OtherKey,
                };
                self.stranger(now, *from.ip(), strange);
            }
            Bad::Header => match Foreign::parse(packet) {
                Some(foreign) => {
                    count(&counters.other_version);
                    self.stranger(now, *from.ip(), Strange::OtherVersion(foreign));
                }
                None => count(&counters.bad_header),
            },
        }
    }

    /// Notes a packet of a daemon that cannot take part, or of somebody pretending to be one.
    fn stranger(&self, now: Time, addr: Ipv4Addr, strange: Strange) {
        let mut strangers = lock(&self.shared.strangers);
        if !self.shared.net.subnet_contains(addr) {
            return;
        }
        // A damaged packet does not turn a member into a stranger.
        if !strangers.knows(addr) && self.shared.is_member_address(addr) {
            return;
        }
        let line = format!("ignoring the daemon at {addr}: it has {strange}");
        if strangers.seen(now, addr, strange) {
            log::warning(format_args!("{line}"));
        }
    }

    fn membership(&self, addr: SocketAddrV4, header: &Header, payload: &[u8]) {
        let (from, counter) = (header.node, header.counter);
        if header.role != Role::Control {
            return;
        }
        if header.kind == PacketKind::Bye {
            self.shared.control.send_lossy(ToControl::Bye { from, addr, counter });
        } else if let Ok(hello) = Hello::parse(payload) {
            self.shared.control.send_lossy(ToControl::Hello { from, addr, counter, hello });
        }
    }

    fn heard(&mut self, now: Time, node: NodeId) {
        if self.heard.get(&node).is_none_or(|&last| now >= last + HEARD_EVERY) {
            self.heard.insert(node, now);
            self.shared.control.send_lossy(ToControl::Heard(node));
        }
    }

    /// Takes a block of a body: into memory immediately, into a file together with adjacent blocks.
    fn block<'a>(
        &mut self,
        now: Time,
        header: &Header,
        payload: &'a [u8],
        run: &mut Option<Run<'a>>,
    ) {
        let key = TransferKey { node: header.node, number: header.transfer };
        let batch = header.batch;
        let (file, offset) = match self.reception.data(now, header, payload.len()) {
            Place::Nowhere => return,
            Place::Memory(memory) => return memory.copy_from_slice(payload),
            Place::File(file, offset) => (file, offset),
        };
        if let Some(run) = run {
            if (run.key, run.batch, run.end) == (key, batch, offset) {
                run.end += payload.len() as u64;
                run.slices.push(IoSlice::new(payload));
                return;
            }
        }
        let next = Run {
            key,
            batch,
            file: file.clone(),
            offset,
            end: offset + payload.len() as u64,
            slices: vec![IoSlice::new(payload)],
        };
        let before = run.replace(next);
        self.flush(now, before);
    }

    fn flush(&mut self, now: Time, run: Option<Run<'_>>) {
        let Some(mut run) = run else { return };
        let shared = Arc::clone(&self.shared);
        let writing = shared.writing(now);
        let written = write_all(&run.file, &mut run.slices, run.offset);
        drop(writing);
        if let Err(error) = written {
            self.reception.write_failed(run.key, run.batch, Reason::from_io(&error));
        }
    }

    fn other(&mut self, now: Time, from: SocketAddrV4, header: &Header, payload: &[u8]) {
        use PacketKind::{
            Abort, Accept, Begin, Busy, Commit, Delete, Deleted, Done, End, Ended, Need, Offer,
            Poll, Status,
        };
        match header.kind {
            Begin | Offer | Poll | Commit | Delete | End | Abort => {
                if self.receives && header.role == Role::Sender {
                    self.reception.packet(now, from, header, payload);
                }
            }
            Accept | Need | Status | Done | Deleted | Ended | Busy => {
                if let Ok((sender, feedback)) = Feedback::parse(header.kind, payload) {
                    if sender == self.shared.me() {
                        let (node, number, batch) = (header.node, header.transfer, header.batch);
                        let message = ToSender::Feedback { node, number, batch, feedback };
                        self.shared.sender.send_lossy(message);
                    }
                }
            }
            PacketKind::Records => {
                if let (Role::Control, Ok(records)) = (header.role, Records::parse(payload)) {
                    self.shared.control.send_lossy(ToControl::Records(header.node, records));
                }
            }
            PacketKind::Fetch => {
                if let (Role::Control, Ok(fetch)) = (header.role, Fetch::parse(payload)) {
                    self.shared.control.send_lossy(ToControl::Fetch(header.node, fetch));
                }
            }
            PacketKind::Mirror if self.shared.mirrors.is_some() => {
                if let (Role::Control, Ok(said)) = (header.role, Mirror::parse(payload)) {
                    self.shared.control.send_lossy(ToControl::Mirror(header.node, said));
                }
            }
            PacketKind::Probe => {
                if let Ok(probe) = Probe::parse(payload) {
                    self.probe(now, from, header.node, probe);
                }
            }
            PacketKind::Atomic => {
                if let (Role::Control, Ok((of, said))) = (header.role, Saying::parse(payload)) {
                    self.shared.control.send_lossy(ToControl::Atomic(AtomicNews::Said(
                        header.node,
                        of,
                        said,
                    )));
                }
            }
            PacketKind::Mirror => {}
            PacketKind::Hello | PacketKind::Bye | PacketKind::Data => {}
        }
    }

    fn ended(&mut self, now: Time, key: TransferKey, how: Result<Arrived, AbortReason>) {
        self.trail.ended(now, key, how, &self.shared.counters.into);
    }

    /// A packet of a probe: of another host's, which is answered, or of this one's.
    fn probe(&mut self, now: Time, from: SocketAddrV4, node: NodeId, probe: Probe) {
        match probe {
            Probe::Echo(ticket, sample) => {
                let mut echoes = lock(&self.shared.echoes);
                let of = echoes.as_mut().filter(|(known, _)| *known == ticket);
                if let Some(meter) = of.and_then(|(_, meters)| meters.get_mut(&node)) {
                    meter.take(now, sample);
                }
            }
            Probe::Busy(_) | Probe::Report(..) => {
                self.shared.control.send_lossy(ToControl::Probe(node, probe));
            }
            _ => {
                let net = &self.shared.net;
                if let Some(answer) = self.probed.packet(now, node, &probe, || net.dropped()) {
                    let header = Header::new(PacketKind::Probe, self.shared.me(), Role::Receiver);
                    self.send(from, node, header, &answer.emit());
                }
            }
        }
    }

    fn send(&mut self, to: SocketAddrV4, node: NodeId, header: Header, payload: &[u8]) {
        let packet = self.seal.packet(Some(node), header, payload);
        if let Err(error) = self.shared.net.send_one(to, &packet) {
            let about = Some(IpAddr::V4(*to.ip()));
            let text = format_args!("cannot send to {to}: {}", ErrorText(&error));
            log::limited(log::Level::WARNING, "feedback", about, text);
        }
    }

    /// Passes on the results: disk jobs, answers, log lines.
    fn act(&mut self, now: Time) {
        // First: a job may belong to a transfer that has just begun.
        let mut changed = false;
        while let Some(event) = self.reception.poll_event() {
            changed = true;
            match event {
                Event::Opened(key, stamp) => {
                    self.shared.clock.adopt(stamp);
                    let from = self.shared.peer_shown(key.node);
                    self.trail.opened(now, key, from);
                }
                Event::Ended(key, arrived) => self.ended(now, key, Ok(arrived)),
                Event::Aborted(key, why) => self.ended(now, key, Err(why)),
            }
        }
        if changed {
            *lock(&self.shared.recvs) = self.reception.open().collect();
        }
        while let Some(job) = self.reception.poll_job() {
            self.trail.job(&job, &self.shared.wanted);
            if let DiskJob::Close { key, .. } = job {
                self.closing.add(key);
            }
            if self.disk.send(job).is_err() {
                return;
            }
        }
        while let Some(outbound) = self.reception.poll_transmit(now) {
            self.send(outbound.to, outbound.to_node, outbound.header, &outbound.payload);
        }
    }
}

fn write_all(file: &StagedFile, slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    let mut rest = slices;
    while !rest.is_empty() {
        let written = pwritev(file.as_fd(), rest, offset)?;
        if written == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        offset += written as u64;
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}
