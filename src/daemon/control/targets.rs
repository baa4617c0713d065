//! The targets of a command.

use std::collections::BTreeMap;

use crate::console::error::{Code, ErrorLine};
use crate::console::reply::Total;
use crate::daemon::order::Order;
use crate::daemon::sending::launch::Refusal;
use crate::engine::members::{Member, Members};
use crate::name::{Escaped, NodeId};

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
/// that receive.
///
/// # Errors
/// One for each name that does not stand for exactly one member that receives.
pub(super) fn targets(members: &Members, order: &Order) -> Result<Vec<Member>, Refusal> {
    if let Some(unreached) = order.again() {
        return Ok(unreached.to_vec());
    }
    let named = &order.targets;
    let receiving = || members.members().filter(|member| member.receives);
    if named.is_empty() {
        return Ok(receiving().cloned().collect());
    }
    let mut chosen: BTreeMap<NodeId, Member> = BTreeMap::new();
    let mut errors = Vec::new();
    for name in named {
        let is = |member: &&Member| {
            member.name.as_str() == name || member.addr.ip().to_string() == *name
        };
        let found: Vec<&Member> = receiving().filter(is).collect();
        match found.as_slice() {
            [] if members.members().any(|member| is(&member)) => {
                let name = Escaped(name.as_bytes());
                let why = format!("{name} never receives (it was started with -o)");
                errors.push(ErrorLine::new(Code::NeverReceives, why).about(name, ""));
            }
            [] => errors.push(ErrorLine::unknown_host(name)),
            [one] => drop(chosen.insert(one.node, (*one).clone())),
            several => errors.push(ambiguous(name, several)),
        }
    }
    if errors.is_empty() {
        return Ok(chosen.into_values().collect());
    }
    let count = errors.len() as u64;
    let total =
        Total { hosts: named.len() as u64, failed: count, errors: count, ..Total::default() };
    Err(Refusal { errors, total })
}
