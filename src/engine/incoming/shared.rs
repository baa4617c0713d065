//! What all incoming transfers share: the disk's queue, memory, and who this daemon is.

use std::collections::VecDeque;

use super::budget::Budget;
use super::claim::{InDoubt, Watched};
use super::types::Config;
use crate::engine::disk_job::{DiskJob, TransferKey};
use crate::engine::rng::Rng;
use crate::ids::BatchNo;
use crate::wire::feedback::{Feedback, Verdict};
use crate::wire::header::{Header, PacketKind, Role};

/// Buffers of bodies that are kept to be used again, at most.
const MAX_SPARE: usize = 2;

pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) rng: Rng,
    /// What the disk is to do next.
    pub(super) jobs: VecDeque<DiskJob>,
    pub(super) budget: Budget,
    /// How many transfers are active and so divide the receive buffer among them.
    pub(super) active: u32,
    /// What this host watches.
    pub(super) watched: Vec<Watched>,
    /// What is in doubt here.
    pub(super) doubtful: Vec<InDoubt>,
    spare: Vec<Vec<u8>>,
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        let rng = Rng::new(config.seed);
        let budget = Budget::new(config.budget);
        let (jobs, watched, spare) = (VecDeque::new(), Vec::new(), Vec::new());
        let doubtful = Vec::new();
        Shared { config, rng, jobs, budget, active: 0, watched, doubtful, spare }
    }

    /// The header of a reply about a transfer.
    pub(super) fn header(&self, key: TransferKey, kind: PacketKind, batch: BatchNo) -> Header {
        let mut header = Header::new(kind, self.config.me, Role::Receiver);
        header.transfer = key.number;
        header.batch = batch;
        header
    }

    /// An ACCEPT with this verdict.
    pub(super) fn accept(&self, verdict: Verdict) -> Feedback {
        Feedback::Accept { verdict, grant: self.grant() }
    }

    /// How many bytes one sender may have in flight: a quarter of the receive buffer, divided by the active transfers.
    pub(super) fn grant(&self) -> u32 {
        self.config.receive_buffer / 4 / self.active.max(1)
    }

    /// Memory for a body.
    pub(super) fn buffer(&mut self, len: usize) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(len, 0);
        buffer
    }

    /// Takes back memory that [`Shared::buffer`] has given.
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(buffer);
        }
    }
}
