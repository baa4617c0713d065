//! Those who ask what keeps files from arriving: one after the other, as each sends a probe.

use std::collections::VecDeque;

use crate::console::command::Doctor;
use crate::console::doctor::Finding;
use crate::engine::probe::{Probe, Prober};
use crate::name::NodeId;
use crate::time::Time;

/// Who asks, by the numbers of their clients.
#[derive(Default, Debug)]
pub(super) struct Checkups {
    pub(super) waiting: VecDeque<(u32, Doctor)>,
    pub(super) running: Option<Checkup>,
}

/// What is found for one of them, with a probe under way.
#[derive(Debug)]
pub(super) struct Checkup {
    pub(super) client: u32,
    pub(super) json: bool,
    /// What was found without it.
    pub(super) found: Vec<Finding>,
    pub(super) prober: Prober,
    /// The hosts that are probed, with their names.
    pub(super) hosts: Vec<(NodeId, String)>,
    /// The payloads of its large packets.
    pub(super) large: u16,
    /// What the sockets had dropped before.
    pub(super) dropped: Option<u32>,
}

impl Checkups {
    /// When there is something to do; the members are known at `settles`.
    pub(super) fn next(&self, settles: Time) -> Option<Time> {
        match &self.running {
            Some(checkup) => Some(checkup.prober.next().unwrap_or(Time::ZERO)),
            None => (!self.waiting.is_empty()).then_some(settles),
        }
    }

    /// A member says something of the probe.
    pub(super) fn answer(&mut self, now: Time, node: NodeId, probe: &Probe) {
        if let Some(checkup) = &mut self.running {
            checkup.prober.answer(now, node, probe);
        }
    }
}
