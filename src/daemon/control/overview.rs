//! What `status` and `members` are put together from.

use std::net::Ipv4Addr;

use super::control_loop::Control;
use super::fleet::KnownHost;
use super::membership::Membership;
use crate::console::fleet::{HostRow, Presence};
use crate::console::status_report::StatusReport;
use crate::daemon::clock;
use crate::time::Time;

impl Control {
    /// The hosts that are known, this one first.
    pub(super) fn hosts(&self, now: Time) -> Vec<HostRow> {
        let Membership { fleet, members, .. } = &self.membership;
        let own = KnownHost {
            name: self.settings.name.clone(),
            address: self.shared.net.address().unwrap_or(Ipv4Addr::UNSPECIFIED),
            presence: Presence::Own,
            last: clock::wall_millis(),
            receives: self.settings.receives,
            lacks: self.catching_up.said().map(|said| said.behind),
        };
        let known = fleet.known(now, members, &self.shared);
        std::iter::once(own).chain(known).map(KnownHost::row).collect()
    }

    pub(super) fn status(&mut self, now: Time, asking: usize, hosts: Vec<HostRow>) -> StatusReport {
        let commands = self
            .clients
            .iter()
            .enumerate()
            .filter(|(at, client)| *at != asking && client.session.is_busy())
            .map(|(_, client)| (client.id, client.session.current().to_owned()))
            .collect();
        let membership = &self.membership;
        let (shared, settings) = (&self.shared, &self.settings);
        let status = self.figures.status(now, shared, membership, settings, hosts, commands);
        StatusReport { watches: self.watches.rows(now), ..status }
    }
}
