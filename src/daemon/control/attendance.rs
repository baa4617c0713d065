//! Which of the known hosts a command reaches, and what follows for its result.

use std::net::Ipv4Addr;

use crate::console::absent::{Absence, Absent, listed};
use crate::console::error::{Code, ErrorLine};
use crate::console::reply::HostStatus;
use crate::console::require::Require;
use crate::daemon::again::Results;
use crate::daemon::order::Order;
use crate::name::HostName;

/// A host that is known, other than this one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) name: HostName,
    /// Where it is, or was last.
    pub(super) address: Ipv4Addr,
    /// Whether it can be a target.
    pub(super) receives: bool,
    /// Whether it keeps records, and so asks for what it has missed.
    pub(super) keeps: bool,
    /// Why it is absent, if it is.
    pub(super) absence: Option<Absence>,
}

/// Who of the hosts that a command is for takes part.
#[derive(Debug)]
pub(super) struct Attendance {
    /// How many it is for.
    known: u32,
    absent: Vec<Absent>,
    /// They are the hosts that `-t` names.
    named: bool,
    changes_nothing: bool,
    require: Option<Require>,
}

impl Attendance {
    /// Of a command for these hosts.
    pub(super) fn new<'a>(order: &Order, known: impl Iterator<Item = &'a Known>) -> Self {
        let mut attendance = Attendance {
            known: 0,
            absent: Vec::new(),
            named: !order.targets.is_empty(),
            changes_nothing: order.mode.changes_nothing(),
            require: order.require,
        };
        for host in known {
            attendance.known += 1;
            let Known { name, address, keeps, .. } = host;
            attendance.absent.extend(host.absence.map(|why| Absent {
                name: name.clone(),
                address: *address,
                why,
                later: *keeps && why == Absence::Away,
            }));
        }
        attendance
    }

    /// The hosts that are named and away: what is sent is for them, too.
    pub(super) fn away(&self) -> impl Iterator<Item = &HostName> {
        self.absent.iter().filter(|_| self.named).map(|host| &host.name)
    }

    /// The command is done: what is wrong beside its results, which are brought up to date, and who was absent.
    pub(super) fn settle(mut self, results: &mut Results) -> (Vec<ErrorLine>, Vec<Absent>) {
        let total = &mut results.1;
        self.absent.iter_mut().for_each(|host| host.later &= total.recorded);
        // Those that share a name do take part.
        let away = self.absent.iter().filter(|host| host.why != Absence::SharedName).count();
        (total.known, total.absent) = (Some(self.known), away as u32);
        let mut errors: Vec<ErrorLine> = Vec::new();
        if self.named {
            errors.extend(self.absent.iter().map(|host| self.error(host)));
            total.hosts += u64::from(total.absent);
            total.failed += u64::from(total.absent);
        }
        errors.extend(self.lacking(results));
        results.1.errors += errors.len() as u64;
        (errors, self.absent)
    }

    fn error(&self, host: &Absent) -> ErrorLine {
        let name = &host.name;
        let later = match (self.changes_nothing, host.later) {
            (true, _) => "",
            (false, true) => ": it gets this when it returns",
            (false, false) => ": it does not get this later",
        };
        ErrorLine::new(Code::Away, format!("{name} is away{later}")).about(name, "")
    }

    /// The error if not so many hosts have everything as are required.
    fn lacking(&self, (hosts, _): &Results) -> Option<ErrorLine> {
        let is_absent = |name: &HostName| self.absent.iter().any(|host| host.name == *name);
        let counts = hosts.iter().filter(|host| !is_absent(&host.name));
        let (have, lack): (Vec<_>, Vec<_>) = counts.partition(|host| host.status == HostStatus::Ok);
        let (have, known) = (have.len() as u64, u64::from(self.known));
        let (is_met, required) = match self.require? {
            Require::All => (have >= known, "all are".to_owned()),
            Require::AtLeast(1) => (have >= 1, "1 is".to_owned()),
            Require::AtLeast(least) => (have >= least, format!("{least} are")),
        };
        if is_met {
            return None;
        }
        let absent = self.absent.iter().map(|host| format!("{} ({})", host.name, host.why));
        let lack = lack.iter().map(|host| format!("{} ({})", host.name, host.status));
        let mut missing: Vec<String> = absent.chain(lack).collect();
        missing.sort();
        missing.dedup();
        let missing = match missing.is_empty() {
            true => String::new(),
            false => format!(": missing {}", listed(&missing)),
        };
        let why = format!("{have} of {known} hosts have everything, {required} required{missing}");
        Some(ErrorLine::new(Code::Required, why))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::console::command::{Scope, Transfer};
    use crate::console::reply::{HostReport, Total};
    use crate::daemon::caller::Caller;
    use crate::name::RelPath;
    use crate::wire::mode::Mode;

    fn host(name: &str) -> HostName {
        HostName::parse(name.as_bytes()).unwrap()
    }

    fn known(name: &str, absence: Option<Absence>) -> Known {
        let (name, address) = (host(name), [10, 0, 0, 1].into());
        Known { name, address, receives: true, keeps: true, absence }
    }

    fn attendance(require: Option<Require>, targets: &[&str], known: &[Known]) -> Attendance {
        let targets = targets.iter().map(|&name| name.to_owned()).collect();
        let plain = Transfer::new(Mode::SEND, RelPath::base());
        let command = Transfer { require, targets, scope: Scope::Tree, ..plain };
        Attendance::new(&Order::new(command, &Arc::default(), Caller::nobody()), known.iter())
    }

    fn results(hosts: &[(&str, HostStatus)]) -> Results {
        let report = |(name, status): &(&str, HostStatus)| HostReport {
            status: *status,
            ..HostReport::new(host(name), [10, 0, 0, 1].into())
        };
        let total = Total { hosts: hosts.len() as u64, recorded: true, ..Total::default() };
        (hosts.iter().map(report).collect(), total)
    }

    /// The errors, without their prefix.
    fn errors(attendance: Attendance, results: &mut Results) -> Vec<String> {
        let (errors, _) = attendance.settle(results);
        errors.iter().map(|error| error.text().to_owned()).collect()
    }

    #[test]
    fn what_is_required_is_counted_among_the_known() {
        use Require::{All, AtLeast};
        let away = Some(Absence::Away);
        let fleet = [known("a", None), known("b", None), known("c", away)];
        let there = [("a", HostStatus::Ok), ("b", HostStatus::Ok)];
        let said = |require| errors(attendance(require, &[], &fleet), &mut results(&there));
        assert!(said(None).is_empty() && said(Some(AtLeast(2))).is_empty());
        let all = "2 of 3 hosts have everything, all are required: missing c (away)";
        assert_eq!(said(Some(All)), [all]);
        assert_eq!(said(Some(AtLeast(3))), [all.replace("all are", "3 are")]);
        let mut done = results(&there);
        let whole = attendance(Some(All), &[], &fleet[..2]);
        assert!(errors(whole, &mut done).is_empty());
        assert_eq!((done.1.known, done.1.absent, done.1.errors), (Some(2), 0, 0));
        let whole = attendance(Some(AtLeast(3)), &[], &fleet[..2]);
        let none_missing = "2 of 2 hosts have everything, 3 are required";
        assert_eq!(errors(whole, &mut results(&there)), [none_missing]);
    }

    #[test]
    fn who_has_not_everything_or_is_one_of_two_does_not_count() {
        let fleet = [
            known("a", None),
            known("b", None),
            known("two", Some(Absence::SharedName)),
            known("old", Some(Absence::OtherVersion)),
        ];
        let mut done =
            results(&[("a", HostStatus::Ok), ("b", HostStatus::Timeout), ("two", HostStatus::Ok)]);
        let said = errors(attendance(Some(Require::All), &[], &fleet), &mut done);
        assert_eq!(
            said,
            [
                "1 of 4 hosts have everything, all are required: missing b (timeout), old (another version of \
              the protocol), two (the name of several hosts)"
            ]
        );
        assert_eq!((done.1.known, done.1.absent, done.1.errors), (Some(4), 1, 1));
    }

    #[test]
    fn who_is_named_and_away_has_failed_and_may_get_it_later() {
        let away = Some(Absence::Away);
        let silent = Known { keeps: false, ..known("d", away) };
        let fleet = [known("a", None), known("c", away), silent];
        let named = attendance(None, &["a", "c", "d"], &fleet);
        assert_eq!(named.away().map(HostName::as_str).collect::<Vec<_>>(), ["c", "d"]);
        let mut done = results(&[("a", HostStatus::Ok)]);
        assert_eq!(
            errors(named, &mut done),
            ["c is away: it gets this when it returns", "d is away: it does not get this later"]
        );
        assert_eq!((done.1.hosts, done.1.failed, done.1.errors), (3, 2, 2));
        let mut unrecorded = results(&[]);
        unrecorded.1.recorded = false;
        let (errors, absent) = attendance(None, &["c"], &fleet[1..2]).settle(&mut unrecorded);
        assert!(errors[0].text().ends_with("does not get this later") && !absent[0].later);
        // For all, it is no error, and nobody is named.
        let all = attendance(None, &[], &fleet);
        assert_eq!(all.away().count(), 0);
        let (errors, absent) = all.settle(&mut results(&[]));
        assert!(errors.is_empty());
        assert_eq!(absent.iter().map(|host| host.later).collect::<Vec<_>>(), [true, false]);
    }
}
