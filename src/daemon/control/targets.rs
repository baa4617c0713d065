//! The targets of a command.

use std::collections::BTreeMap;

use super::attendance::{Attendance, Known};
use crate::console::absent::Absence;
use crate::console::error::{Code, ErrorLine};
use crate::console::reply::Total;
use crate::daemon::order::Order;
use crate::daemon::sending::launch::Refusal;
use crate::engine::members::{Member, Members};
use crate::name::{Escaped, NodeId};

/// Whom a command is for.
pub(super) struct Targets {
    /// Those that are there.
    pub(super) live: Vec<Member>,
    /// Who of all is there.
    pub(super) attendance: Attendance,
}

/// The member that a client has named as the one that something is to come from.
///
/// # Errors
/// The name does not stand for exactly one member.
pub(super) fn donor(members: &Members, name: &str) -> Result<Member, ErrorLine> {
    let is =
        |member: &&Member| member.name.as_str() == name || member.addr.ip().to_string() == *name;
    let found: Vec<&Member> = members.members().filter(is).collect();
    match found.as_slice() {
        [] => Err(ErrorLine::unknown_host(name)),
        [one] => Ok((*one).clone()),
        several => Err(ambiguous(name, several)),
    }
}

fn ambiguous(name: &str, several: &[&Member]) -> ErrorLine {
    let addresses: Vec<String> =
        several.iter().map(|member| member.addr.ip().to_string()).collect();
    let name = Escaped(name.as_bytes());
    let why = format!("{name} is the name of several members: {}", addresses.join(", "));
    ErrorLine::new(Code::AmbiguousHost, why).about(name, "")
}

/// The targets of a transfer: those that an earlier one did not reach, the members named, or all members
/// that receive. `known` are all hosts that are known.
///
/// # Errors
/// One for each name that does not stand for exactly one host that receives, and that is there or may be again.
pub(super) fn targets(
    members: &Members,
    known: &[Known],
    order: &Order,
) -> Result<Targets, Refusal> {
    let receiving = || members.members().filter(|member| member.receives);
    let named = &order.targets;
    if named.is_empty() || order.again().is_some() {
        let live = match order.again() {
            Some(unreached) => unreached.to_vec(),
            None => receiving().cloned().collect(),
        };
        let attendance = Attendance::new(order, known.iter().filter(|host| host.receives));
        return Ok(Targets { live, attendance });
    }
    let mut live: BTreeMap<NodeId, Member> = BTreeMap::new();
    let mut hosts = BTreeMap::new();
    let mut errors = Vec::new();
    for name in named {
        let is = |member: &&Member| {
            member.name.as_str() == name || member.addr.ip().to_string() == *name
        };
        let found: Vec<&Member> = receiving().filter(is).collect();
        match found.as_slice() {
            [] if members.members().any(|member| is(&member)) => errors.push(never(name)),
            [] => match absent(known, name) {
                Ok(host) => drop(hosts.insert((&host.name, host.address), host.clone())),
                Err(error) => errors.push(error),
            },
            [one] => {
                let (name, address) = (one.name.clone(), *one.addr.ip());
                let here = Known { name, address, receives: true, keeps: true, absence: None };
                hosts.insert((&one.name, address), here);
                live.insert(one.node, (*one).clone());
            }
            several => errors.push(ambiguous(name, several)),
        }
    }
    if errors.is_empty() {
        let attendance = Attendance::new(order, hosts.values());
        return Ok(Targets { live: live.into_values().collect(), attendance });
    }
    let count = errors.len() as u64;
    let total =
        Total { hosts: named.len() as u64, failed: count, errors: count, ..Total::default() };
    Err(Refusal { errors, total })
}

fn never(name: &str) -> ErrorLine {
    let name = Escaped(name.as_bytes());
    let why = format!("{name} never receives (it was started with -o)");
    ErrorLine::new(Code::NeverReceives, why).about(name, "")
}

/// The host that is meant by a name that no member has. By its address it is only known if no other one had that.
///
/// # Errors
/// There is none that could get anything later.
fn absent<'a>(known: &'a [Known], name: &str) -> Result<&'a Known, ErrorLine> {
    let mut found = known.iter().filter(|host| host.name.as_str() == name);
    let mut there = known.iter().filter(|host| host.address.to_string() == name);
    let host = match (found.next(), there.next(), there.next()) {
        (Some(host), ..) | (None, Some(host), None) => host,
        _ => return Err(ErrorLine::unknown_host(name)),
    };
    match host.absence {
        _ if !host.receives => Err(never(name)),
        Some(Absence::Away) => Ok(host),
        Some(why) => {
            let name = Escaped(name.as_bytes());
            let why = format!("{name} is not served: {why}");
            Err(ErrorLine::new(Code::Away, why).about(name, ""))
        }
        None => Err(ErrorLine::unknown_host(name)),
    }
}
