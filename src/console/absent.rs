//! Hosts that are known, and that a transfer did not reach: each as a line `absent {JSON}` for programs, all
//! together in a few words for people.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use super::json::{Value, quoted};
use crate::name::HostName;

/// The prefix of the line.
const MARK: &str = "absent ";
/// The most hosts that are named for people.
const NAMED: usize = 8;

/// Why a host is absent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Absence {
    /// It is no member now.
    Away,
    /// It has another version of the protocol.
    OtherVersion,
    /// Several members have its name, so that nothing can be kept for it.
    SharedName,
}

impl Absence {
    const ALL: [(Absence, &'static str, &'static str); 3] = [
        (Absence::Away, "away", "away"),
        (Absence::OtherVersion, "other_version", "another version of the protocol"),
        (Absence::SharedName, "shared_name", "the name of several hosts"),
    ];

    fn words(self) -> (&'static str, &'static str) {
        let found = Self::ALL.iter().find(|(absence, ..)| *absence == self);
        found.map_or(("away", "away"), |(_, code, text)| (code, text))
    }
}

/// In words.
impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)
    }
}

/// A host that is known, and absent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Absent {
    /// Its name.
    pub name: HostName,
    /// Where it is, or was last.
    pub address: Ipv4Addr,
    /// Why it is absent.
    pub why: Absence,
    /// Whether it gets the transfer when it is back.
    pub later: bool,
}

impl Absent {
    /// As an object of JSON.
    pub fn json(&self) -> String {
        let Absent { name, address, why, later } = self;
        format!(
            "{{\"type\":\"absent\",\"name\":{},\"address\":\"{address}\",\"why\":\"{}\",\"later\":{later}}}",
            quoted(name.as_str()),
            why.words().0,
        )
    }

    /// The line.
    pub fn emit(&self) -> String {
        format!("{MARK}{}", self.json())
    }

    /// Reads a line; None if it is another. What is missing or unknown is taken for a host that is away, and does
    /// not get it later.
    pub fn parse(line: &[u8]) -> Option<Absent> {
        let read = Value::parse(std::str::from_utf8(line).ok()?.strip_prefix(MARK)?)?;
        let text = |name: &str| read.get(name).and_then(Value::text);
        let why = text("why").unwrap_or_default();
        let known = Absence::ALL.iter().find(|(_, code, _)| *code == why);
        Some(Absent {
            name: HostName::parse(text("name")?.as_bytes()).ok()?,
            address: text("address")?.parse().ok()?,
            why: known.map_or(Absence::Away, |(absence, ..)| *absence),
            later: matches!(read.get("later"), Some(Value::Bool(true))),
        })
    }
}

/// Some of these, and how many more there are.
pub fn listed<T: fmt::Display>(all: &[T]) -> String {
    let shown: Vec<String> = all.iter().take(NAMED).map(T::to_string).collect();
    match all.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What there is to say of them; `served`: something was to be sent, so that it matters whether they get it later.
pub fn lines(absent: &[Absent], served: bool) -> Vec<String> {
    let some = |of: &dyn Fn(&Absent) -> bool| -> Vec<&HostName> {
        let names = absent.iter().filter(|host| of(host)).map(|host| &host.name);
        names.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let away = |host: &Absent| host.why == Absence::Away;
    let one = |names: &[&HostName], one: &'static str, more: &'static str| {
        if names.len() == 1 { one } else { more }
    };
    let mut lines = Vec::new();
    let later = some(&|host| served && away(host) && host.later);
    if !later.is_empty() {
        let get = one(&later, "it gets this when it returns", "they get this when they return");
        lines.push(format!("away: {}: {get}", listed(&later)));
    }
    let never = some(&|host| away(host) && !(served && host.later));
    if !never.is_empty() {
        let get = match served {
            true => one(&never, ": it does not get this later", ": they do not get this later"),
            false => "",
        };
        lines.push(format!("away: {}{get}", listed(&never)));
    }
    for why in [Absence::OtherVersion, Absence::SharedName] {
        let names = some(&|host| host.why == why);
        if !names.is_empty() {
            let not = match (served, why) {
                (true, Absence::SharedName) => "not served later",
                (true, _) => "not served",
                (false, _) => "not counted",
            };
            lines.push(format!("{not}: {}: {why}", listed(&names)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(name: &str, why: Absence, later: bool) -> Absent {
        let name = HostName::parse(name.as_bytes()).unwrap();
        Absent { name, address: [10, 0, 0, 3].into(), why, later }
    }

    #[test]
    fn lines_go_both_ways() {
        for (why, code, _) in Absence::ALL {
            for later in [false, true] {
                let one = absent("web3", why, later);
                let json = format!(
                    "{{\"type\":\"absent\",\"name\":\"web3\",\"address\":\"10.0.0.3\",\"why\":\"{code}\",\
                     \"later\":{later}}}"
                );
                assert_eq!(one.json(), json);
                assert_eq!(Absent::parse(one.emit().as_bytes()), Some(one));
            }
        }
        let new = "absent {\"name\":\"a\",\"address\":\"10.0.0.3\",\"why\":\"new\",\"more\":[]}";
        assert_eq!(Absent::parse(new.as_bytes()), Some(absent("a", Absence::Away, false)));
        for other in ["absent", "absent x", "absent {}", "absent {\"name\":\"a\"}", "absence: x"] {
            assert_eq!(Absent::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn people_read_a_few_names_and_what_becomes_of_them() {
        let all = [
            absent("a", Absence::Away, true),
            absent("b", Absence::Away, false),
            absent("c", Absence::OtherVersion, false),
            absent("d", Absence::SharedName, false),
            absent("d", Absence::SharedName, false),
        ];
        assert_eq!(
            lines(&all, true),
            [
                "away: a: it gets this when it returns",
                "away: b: it does not get this later",
                "not served: c: another version of the protocol",
                "not served later: d: the name of several hosts",
            ]
        );
        assert_eq!(lines(&all, false)[0], "away: a, b");
        assert_eq!(lines(&[], true), [""; 0]);
        let many: Vec<Absent> =
            (0..20).map(|at| absent(&format!("h{at:02}"), Absence::Away, true)).collect();
        assert_eq!(
            lines(&many, true),
            [
                "away: h00, h01, h02, h03, h04, h05, h06, h07 and 12 more: they get this when they return"
            ]
        );
    }
}
