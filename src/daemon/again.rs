//! Hosts that a transfer's packets are too large for, and that another one serves with smaller ones: a
//! link on the way takes less than its two ends, and tells nobody.

use crate::console::error::{Code, ErrorLine};
use crate::console::reply::{HostReport, HostStatus, Said, Total};
use crate::engine::members::Member;
use crate::log;
use crate::wire::header::{IP_UDP_LEN, block_for_mtu};
use crate::wire::mode::Mode;

/// What a transfer came to, by host and in all.
pub(super) type Results = (Vec<HostReport>, Total);

/// The MTUs that are tried: below those of tunnels, and the one that every network has. Their packets
/// carry 1,200 and 548 bytes.
const MTUS: [u16; 2] = [1_200 + IP_UDP_LEN as u16, 548 + IP_UDP_LEN as u16];

/// The largest of them whose blocks are smaller than these.
pub(super) fn smaller(block: u16) -> Option<u16> {
    MTUS.into_iter().find(|mtu| block_for_mtu(*mtu) < block)
}

/// The lines about hosts that were served with packets for this MTU, if it was for them alone.
pub(super) fn served<'a>(
    hosts: impl Iterator<Item = &'a HostReport>,
    mtu: Option<u16>,
) -> Vec<Said> {
    let Some(bytes) = mtu.map(|mtu| usize::from(mtu).saturating_sub(IP_UDP_LEN)) else {
        return Vec::new();
    };
    let line = |HostReport { name, address, .. }: &HostReport| {
        let line = format!(
            "warning: large packets do not reach {name} ({address}): it was served again with \
             packets of {bytes} bytes: check the MTU on the way"
        );
        log::notice(format_args!("{line}"));
        Said::Line(0, line)
    };
    hosts.map(line).collect()
}

/// Whom a transfer's packets were too large for.
#[derive(Clone, Debug)]
pub(super) struct Unreached {
    pub(super) hosts: Vec<Member>,
    /// Into which their packets are to fit.
    pub(super) mtu: u16,
}

/// Why a transfer follows another one of the same command.
#[derive(Clone, Debug)]
pub(super) struct Again {
    pub(super) to: Unreached,
    /// What those before came to. The unreached have failed there.
    before: Results,
}

impl Again {
    pub(super) fn new(to: Unreached, before: Results) -> Self {
        Again { to, before }
    }

    /// What it is to do. What was forbidden on one host is deleted on none.
    pub(super) fn mode(&self, mode: Mode) -> Mode {
        let forbidden = Code::TooMuchToDelete.to_string();
        let errors = self.before.0.iter().flat_map(|host| &host.errors);
        match { errors }.any(|error| error.code == forbidden) {
            true => mode.without_deletion(),
            false => mode,
        }
    }

    /// The errors of the unreached, where this transfer does not come about either.
    pub(super) fn errors(&self) -> Vec<ErrorLine> {
        let error = |host: &Member| ErrorLine::gone(&host.name, *host.addr.ip(), Code::NoData);
        self.to.hosts.iter().map(error).collect()
    }

    /// The results of both as those of one: for those that were served again, the later one counts, and
    /// what the earlier one had written there already.
    pub(super) fn joined(&self, mode: Mode, (later, then): Results) -> Results {
        let (mut hosts, before) = self.before.clone();
        let repeats = mode.changes_nothing() || mode.ignores_times();
        for mut host in later {
            let is_it = |other: &&mut HostReport| {
                (&other.name, other.address) == (&host.name, host.address)
            };
            let Some(first) = hosts.iter_mut().find(is_it) else { continue };
            if !repeats {
                let known = first.files.min(host.unchanged);
                host.unchanged -= known;
                host.files += known;
                host.bytes += first.bytes;
            }
            host.deleted += first.deleted;
            *first = host;
        }
        let most = |of: fn(&HostReport) -> u64| hosts.iter().map(of).max().unwrap_or(0);
        let files = before.files.max(then.files).max(most(|host| host.files));
        let unchanged = match then.files + then.unchanged {
            0 => before.unchanged,
            entries => entries.saturating_sub(files),
        };
        let total = Total {
            hosts: before.hosts,
            failed: hosts.iter().filter(|host| host.status != HostStatus::Ok).count() as u64,
            files,
            bytes: before.bytes.max(then.bytes).max(most(|host| host.bytes)),
            unchanged,
            deleted: before.deleted.max(then.deleted),
            errors: before.errors + then.errors,
            wire: before.wire + then.wire,
            time: before.time + then.time,
            recorded: before.recorded || then.recorded,
            ..then
        };
        (hosts, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{HostName, NodeId};
    use crate::time::{Span, Time};

    fn member(name: &str) -> Member {
        Member {
            node: NodeId(1),
            name: HostName::parse(name.as_bytes()).unwrap(),
            addr: "10.0.0.9:5000".parse().unwrap(),
            version: "9".to_owned(),
            mtu: 1_500,
            rcvbuf: 1,
            receives: true,
            joined: Time::ZERO,
            heard: Time::ZERO,
            oldest_open: crate::ids::TransferNo::ZERO,
            clock: crate::engine::members::Clock::default(),
            mirrors: Vec::new(),
        }
    }

    fn report(name: &str, status: HostStatus, counts: [u64; 4]) -> HostReport {
        let Member { name, addr, .. } = member(name);
        let [files, bytes, unchanged, deleted] = counts;
        let report = HostReport::new(name, *addr.ip());
        HostReport { status, files, bytes, unchanged, deleted, ..report }
    }

    fn total(failed: u64, [files, bytes, unchanged, deleted]: [u64; 4]) -> Total {
        let (hosts, wire, time) = (2, 100, Span::from_secs(1));
        Total { hosts, failed, files, bytes, unchanged, deleted, wire, time, ..Total::default() }
    }

    fn again() -> Again {
        let mut left = report("left", HostStatus::Timeout, [2, 20, 1, 0]);
        let to = Unreached { hosts: vec![member("left")], mtu: 576 };
        to.hosts.iter().for_each(|host| {
            let error = ErrorLine::gone(&host.name, *host.addr.ip(), Code::NoData);
            left.error(error.report);
        });
        let whole = report("whole", HostStatus::Ok, [3, 30, 2, 4]);
        Again::new(to, (vec![left, whole], total(1, [3, 30, 1, 4])))
    }

    #[test]
    fn packets_get_smaller_twice_at_the_most() {
        let tried =
            |block| std::iter::successors(smaller(block), |mtu| smaller(block_for_mtu(*mtu)));
        assert_eq!(tried(8_192).collect::<Vec<_>>(), MTUS);
        assert_eq!(tried(1_424).collect::<Vec<_>>(), MTUS);
        assert_eq!(tried(1_000).collect::<Vec<_>>(), [576]);
        assert_eq!(tried(480).count(), 0);
    }

    #[test]
    fn each_host_counts_once() {
        // What it had written in the first is up to date in the second.
        let then = report("left", HostStatus::Ok, [1, 10, 4, 4]);
        let served = vec![then.clone()];
        let (hosts, all) = again().joined(Mode::SEND, (served, total(0, [1, 10, 4, 4])));
        assert_eq!(hosts[0], report("left", HostStatus::Ok, [3, 30, 2, 4]));
        assert_eq!(hosts.len(), 2);
        let twice = Total { wire: 200, time: Span::from_secs(2), ..total(0, [3, 30, 2, 4]) };
        assert_eq!(all, twice);
        // What changes nothing says the same of it again.
        let (hosts, _) = again().joined(Mode::Check, (vec![then.clone()], total(0, [1, 10, 4, 4])));
        assert_eq!(hosts[0], then);
    }

    #[test]
    fn who_is_not_served_has_failed_and_is_named() {
        let again = again();
        let (hosts, all) = again.joined(Mode::SEND, (Vec::new(), Total::default()));
        assert_eq!((hosts[0].status, all.failed, all.unchanged), (HostStatus::Timeout, 1, 1));
        let [error] = &again.errors()[..] else { panic!() };
        assert!(error.line().contains("receives control but no data"), "{}", error.line());
    }

    #[test]
    fn what_was_forbidden_once_is_deleted_nowhere() {
        let deletes = Mode::Send { delete: true, ignore_times: false, dry_run: false };
        let mut again = again();
        assert_eq!(again.mode(deletes), deletes);
        let error = ErrorLine::new(Code::TooMuchToDelete, "100 of 120 entries");
        again.before.0[1].error(error.report);
        assert_eq!(again.mode(deletes), deletes.without_deletion());
    }
}
