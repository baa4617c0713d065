//! Why not all that was sent of a watch is everywhere.

use std::fmt;

use crate::console::reply::HostStatus;
use crate::count::counted;
use crate::daemon::again::Results;
use crate::name::HostName;
use crate::time::{Span, Time};

/// So long after a flush every host has said whether it lacks something of it.
const HEARD: Span = Span::from_secs(30);

/// Why not all of a flush is everywhere.
pub(super) enum Lacking {
    /// It has failed here.
    Here(String),
    /// These hosts lack something of it since then, which no later flush brings.
    Hosts(Vec<HostName>, Time),
}

impl Lacking {
    /// Of a flush with these results; None if all of it is everywhere.
    pub(super) fn of(now: Time, (hosts, total): &Results) -> Option<Self> {
        let failed = hosts.iter().filter(|host| host.status != HostStatus::Ok);
        let failed: Vec<HostName> = failed.map(|host| host.name.clone()).collect();
        match (failed.is_empty(), total.errors) {
            (true, 0) => None,
            (true, errors) => {
                Some(Lacking::Here(format!("the last flush had {}", counted(errors, "error"))))
            }
            (false, _) => Some(Lacking::Hosts(failed, now)),
        }
    }

    /// The same, with what was lacking on hosts before.
    pub(super) fn and(now: Option<Self>, before: Option<Self>) -> Option<Self> {
        match (now, before) {
            (Some(Lacking::Hosts(mut hosts, at)), Some(Lacking::Hosts(before, _))) => {
                let more = before.into_iter().filter(|host| !hosts.contains(host));
                let more: Vec<HostName> = more.collect();
                hosts.extend(more);
                Some(Lacking::Hosts(hosts, at))
            }
            (None | Some(Lacking::Here(_)), Some(before @ Lacking::Hosts(..))) => Some(before),
            (now, _) => now,
        }
    }

    /// Whether no host lacks anything any more: `lacks` says so, or None of one that is not there.
    pub(super) fn heals(&mut self, now: Time, lacks: impl Fn(&HostName) -> Option<bool>) -> bool {
        let Lacking::Hosts(hosts, since) = self else { return false };
        // What they said before they knew of it counts for nothing.
        let is_new = now.since(*since) < HEARD;
        hosts.retain(|host| lacks(host).is_some_and(|lacks| lacks || is_new));
        hosts.is_empty()
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lacking::Here(why) => f.write_str(why),
            Lacking::Hosts(hosts, _) => {
                let hosts = counted(hosts.len() as u64, "host");
                write!(f, "not all that was sent is on {hosts}")
            }
        }
    }
}
