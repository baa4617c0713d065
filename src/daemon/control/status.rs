//! The answers to `members` and `status`.

use std::os::unix::ffi::OsStringExt;

use super::membership::Membership;
use super::settings::Settings;
use crate::console::command::Form;
use crate::console::fleet::HostRow;
use crate::console::moment::Moment;
use crate::console::reply::Total;
use crate::console::report::{self, MemberRow, StrangerRow};
use crate::console::status_report::{Dropped, LastTransfer, Setting, StatusReport};
use crate::daemon::clock;
use crate::daemon::counters::of;
use crate::daemon::shared::{Shared, lock};
use crate::daemon::strangers::Strange;
use crate::engine::members::Members;
use crate::sys::localtime;
use crate::time::{Span, Time};

/// How often the rate is measured.
const SAMPLE: Span = Span::from_secs(1);

/// Figures that `status` shows over time.
#[derive(Debug)]
pub(super) struct Figures {
    /// The most transfers, in and out, that were open at the same time.
    most_open: u64,
    /// The bytes sent up to this time.
    sample: (u64, Time),
    /// The bits sent each second before that, in millions.
    mbits: u64,
    last: Option<LastTransfer>,
}

impl Figures {
    pub(super) fn new(now: Time) -> Self {
        Figures { most_open: 0, sample: (0, now), mbits: 0, last: None }
    }

    /// Notes how many transfers are open now, and how fast packets go.
    pub(super) fn note(&mut self, now: Time, shared: &Shared) {
        let open = lock(&shared.sends).len() + lock(&shared.recvs).len();
        self.most_open = self.most_open.max(open as u64);
        let took = now.since(self.sample.1);
        if took >= SAMPLE {
            let sent = shared.net.sent();
            let bits = sent.saturating_sub(self.sample.0) as f64 * 8.0;
            self.mbits = (bits / 1e6 / took.secs_f64()) as u64;
            self.sample = (sent, now);
        }
    }

    /// A client's command for a transfer has ended, with these results; none if the client has gone before.
    pub(super) fn ended(&mut self, command: &str, total: Option<Total>) {
        self.last = Some(LastTransfer { at: moment(), command: command.to_owned(), total });
    }

    /// The answer to `status`, without watches; `commands` are the running commands of other clients.
    pub(super) fn status(
        &mut self,
        now: Time,
        shared: &Shared,
        Membership { members, odd, .. }: &Membership,
        settings: &Settings,
        hosts: Vec<HostRow>,
        commands: Vec<(u32, String)>,
    ) -> StatusReport {
        let sends: Vec<String> = lock(&shared.sends).values().cloned().collect();
        let recvs: Vec<String> = lock(&shared.recvs)
            .iter()
            .map(|(key, addr)| {
                let named = members.get(key.node).map(|member| member.name.to_string());
                format!("from {} ({})", named.unwrap_or_else(|| key.node.to_string()), addr.ip())
            })
            .collect();
        self.note(now, shared);
        let base_error = shared.base.look().err();
        StatusReport {
            pid: std::process::id(),
            version: crate::VERSION.to_owned(),
            base: shared.base.path().into_os_string().into_vec(),
            base_error,
            chroot: settings.chroot,
            confined: settings.confined.clone(),
            mfalloc: self.most_open,
            recvsize: shared.net.receive_buffer() as u64,
            sendsize: settings.sendsize,
            sendrate: settings.rate.map(|limit| (self.mbits, limit.into())),
            commands,
            sends,
            recvs,
            dropped: dropped(shared, members),
            warnings: odd.lines(),
            watches: Vec::new(),
            setting: Setting { address: shared.net.address(), ..settings.setting.clone() },
            hosts,
            last: self.last.clone(),
        }
    }
}

/// This moment.
pub(crate) fn moment() -> Moment {
    let (secs, _) = clock::wall();
    Moment(secs, localtime::local(secs).to_string())
}

/// When something was that happened at this time.
pub(super) fn moment_of(now: Time, at: Time) -> Moment {
    let (secs, _) = clock::wall();
    let ago = i64::try_from(now.since(at).millis() / 1_000).unwrap_or(i64::MAX);
    let secs = secs.saturating_sub(ago);
    Moment(secs, localtime::local(secs).to_string())
}

/// The answer to `members`.
pub(super) fn members(
    now: Time,
    shared: &Shared,
    Membership { members, odd, .. }: &Membership,
    hosts: &[HostRow],
    form: Form,
) -> String {
    let twins = members.names_that_are_two();
    let stats = lock(&shared.stats);
    let rows: Vec<MemberRow> = members
        .members()
        .map(|member| {
            let ahead = member.clock.ahead.millis() / 1_000;
            let seen = stats.get(&member.node).copied().unwrap_or_default();
            MemberRow {
                name: member.name.clone(),
                address: *member.addr.ip(),
                version: member.version.clone(),
                node: member.node,
                rtt_us: seen.round_trip.map(Span::micros),
                lost: seen.lost,
                repairs: seen.repairs,
                rcvbuf: member.rcvbuf.into(),
                slowest: seen.slowest,
                last_heard_s: now.since(member.heard).millis() / 1_000,
                clock_ahead_s: u64::try_from(ahead).unwrap_or(0),
                clock_behind_s: u64::try_from(-ahead).unwrap_or(0),
                clock_off: !member.clock.is_sound(),
                name_shared: twins.contains(&member.name),
            }
        })
        .collect();
    drop(stats);
    let strangers: Vec<StrangerRow> = lock(&shared.strangers)
        .about(now)
        .into_iter()
        .map(|(address, strange, ago)| StrangerRow {
            address,
            has: strange.to_string(),
            foreign: match strange {
                Strange::OtherVersion(foreign) => Some(foreign),
                _ => None,
            },
            last_heard_s: ago.millis() / 1_000,
        })
        .collect();
    report::members(&rows, &strangers, hosts, &odd.lines(), form)
}

/// The counts of dropped packets, by reason.
pub(super) fn dropped(shared: &Shared, members: &Members) -> Dropped {
    let counters = &shared.counters;
    let members = members.counts();
    Dropped {
        invalid: of(&counters.bad_header),
        damaged: of(&counters.bad_trailer),
        other_version: of(&counters.other_version),
        other_key: of(&counters.other_key),
        replayed: of(&counters.replayed) + members.replayed,
        strangers: of(&counters.strangers) + members.elsewhere,
        foreign: of(&counters.foreign),
    }
}
