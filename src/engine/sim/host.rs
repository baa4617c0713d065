//! A target of the simulated fleet.

use std::net::SocketAddrV4;

use super::disk::{Handle, MemDisk, fill};
use super::hostile::EVIL;
use super::{Packet, address};
use crate::engine::disk_job::{DiskAnswer, TransferKey};
use crate::engine::incoming::{Config, Outbound, Place, Reception};
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::header::PacketKind;
use crate::wire::outcome::Reason;

pub(super) struct Host {
    index: usize,
    pub(super) life: u32,
    alive: bool,
    /// No packet comes or leaves.
    pub(super) is_cut: bool,
    /// No packet leaves.
    pub(super) is_mute: bool,
    /// Its receiver stands still until then; and how many packets have come meanwhile.
    pub(super) stalled: Time,
    pub(super) queued: u32,
    seed: u64,
    rcvbuf: u32,
    budget: usize,
    reception: Reception<Handle>,
    disk: MemDisk,
    /// The write of a streamed file's block that fails, counted down.
    pub(super) bad_write: Option<u32>,
    wake: Option<Time>,
    spins: u32,
    pub(super) peak_memory: usize,
}

impl Host {
    pub(super) fn new(index: usize, seed: u64, rcvbuf: u32) -> Self {
        let mut host = Host {
            index,
            life: 0,
            alive: true,
            is_cut: false,
            is_mute: false,
            stalled: Time::ZERO,
            queued: 0,
            seed,
            rcvbuf,
            budget: 32 << 20,
            reception: Reception::new(Config { me: NodeId(0), receive_buffer: 0, budget: 0, seed }),
            disk: MemDisk::new(),
            bad_write: None,
            wake: None,
            spins: 0,
            peak_memory: 0,
        };
        host.reset();
        host
    }

    pub(super) fn set_receive_buffer(&mut self, bytes: u32) {
        self.rcvbuf = bytes;
        self.reset();
    }

    pub(super) fn set_budget(&mut self, bytes: usize) {
        self.budget = bytes;
        self.reset();
    }

    fn reset(&mut self) {
        self.reception = Reception::new(Config {
            me: self.node(),
            receive_buffer: self.rcvbuf,
            budget: self.budget,
            seed: self.seed,
        });
    }

    pub(super) fn node(&self) -> NodeId {
        NodeId((self.index as u64 + 1) << 16 | u64::from(self.life))
    }

    pub(super) fn old_node(&self) -> Option<NodeId> {
        self.life.checked_sub(1).map(|life| NodeId((self.index as u64 + 1) << 16 | u64::from(life)))
    }

    pub(super) fn addr(&self) -> SocketAddrV4 {
        address(self.index)
    }

    pub(super) fn disk(&self) -> &MemDisk {
        &self.disk
    }

    pub(super) fn disk_mut(&mut self) -> &mut MemDisk {
        &mut self.disk
    }

    pub(super) fn is_idle(&self) -> bool {
        let is_idle = self.reception.open().next().is_none() && self.reception.memory() == 0;
        !self.alive || self.is_cut || is_idle
    }

    pub(super) fn memory(&self) -> usize {
        self.reception.memory()
    }

    pub(super) fn open(&self) -> Vec<(TransferKey, SocketAddrV4)> {
        self.reception.open().collect()
    }

    pub(super) fn kill(&mut self) {
        self.alive = false;
    }

    pub(super) fn restart(&mut self, seed: u64) {
        self.alive = true;
        self.life += 1;
        self.seed = seed;
        self.wake = None;
        self.disk.restart();
        self.reset();
    }

    /// A packet comes in; whether anything may follow from it at once.
    pub(super) fn packet(&mut self, now: Time, packet: &Packet) -> bool {
        if !self.alive {
            return false;
        }
        let header = &packet.header;
        match &packet.body {
            Some((source, has)) => {
                let key = TransferKey { node: header.node, number: header.transfer };
                let bytes = source.layout.bytes_of(header.block);
                match self.reception.data(now, header, (bytes.end - bytes.start) as usize) {
                    Place::Nowhere => return false,
                    Place::Memory(memory) => {
                        fill(&source.manifest, &source.layout, bytes.start, memory, has)
                    }
                    Place::File(handle, offset) => {
                        assert_eq!(offset, bytes.start);
                        handle.write(bytes);
                        self.bad_write = self.bad_write.map(|left| left.saturating_sub(1));
                        if self.bad_write == Some(0) {
                            self.bad_write = None;
                            self.reception.write_failed(key, header.batch, Reason::Os(28));
                        }
                    }
                }
            }
            None if header.kind == PacketKind::Data => {
                assert_eq!(header.node, EVIL);
                if let Place::Memory(memory) =
                    self.reception.data(now, header, packet.payload.len())
                {
                    memory.copy_from_slice(&packet.payload);
                }
            }
            None => {
                self.reception.packet(now, packet.from, header, &packet.payload);
            }
        };
        self.peak_memory = self.peak_memory.max(self.reception.memory());
        true
    }

    /// The disk's answers to all jobs that are due, and when they come.
    pub(super) fn jobs(&mut self, now: Time) -> Vec<(Time, DiskAnswer<Handle>)> {
        let mut answers = Vec::new();
        while let Some(job) = self.reception.poll_job() {
            answers.push(self.disk.run(now, job));
        }
        answers
    }

    pub(super) fn answer(&mut self, now: Time, answer: DiskAnswer<Handle>) {
        if self.alive {
            self.reception.answer(now, answer);
        }
    }

    pub(super) fn transmit(&mut self, now: Time) -> Option<Outbound> {
        if self.alive && self.stalled <= now { self.reception.poll_transmit(now) } else { None }
    }

    pub(super) fn timeout(&mut self, now: Time) {
        self.wake = None;
        if self.alive && self.stalled <= now {
            self.reception.timeout(now);
        }
    }

    pub(super) fn member_gone(&mut self, now: Time, node: NodeId) {
        self.reception.member_gone(now, node);
    }

    /// The next deadline, if it is earlier than the one that is set.
    pub(super) fn new_wake(&mut self, now: Time) -> Option<Time> {
        if !self.alive {
            return None;
        }
        // What has come is taken before the clock is looked at.
        let wake = self.reception.poll_timeout()?.max(self.stalled + Span::from_micros(1));
        if self.wake.is_some_and(|old| old <= wake) {
            return None;
        }
        self.spins = if wake <= now { self.spins + 1 } else { 0 };
        assert!(self.spins < super::MOST_SPINS, "target {} spins", self.index);
        self.wake = Some(wake);
        Some(wake)
    }
}
