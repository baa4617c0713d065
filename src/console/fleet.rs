//! What the hosts that are known lack, as text and as JSON.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::json::quoted;
use super::moment::Moment;
use crate::count::counted;
use crate::name::HostName;
use crate::wire::behind::Behind;

/// Whether a host is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Presence {
    /// It is the one that answers.
    Own,
    /// It is a member.
    Live,
    /// It is no member now.
    Away,
    /// It is there, but cannot be told from another or understood: why.
    Odd(String),
}

/// A host that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostRow {
    /// Its name.
    pub name: HostName,
    /// Where it is, or was last; None of this host, if its interface has no address.
    pub address: Option<Ipv4Addr>,
    /// Whether it is there.
    pub presence: Presence,
    /// When it was last seen.
    pub seen: Moment,
    /// Whether it can be a target.
    pub receives: bool,
    /// What it lacks. None if it keeps no records: then nobody knows.
    pub lacks: Option<Behind>,
    /// When the earliest of what it lacks was sent, if it lacks something.
    pub since: Option<Moment>,
    /// When the latest transfer was sent that is complete there, if there is one.
    pub complete: Option<Moment>,
}

impl HostRow {
    /// Whether it is known to lack something.
    pub fn is_behind(&self) -> bool {
        self.lacks.is_some_and(|behind| !behind.is_nothing())
    }

    /// What it lacks, in words.
    pub fn said(&self) -> String {
        let mut text = match self.lacks {
            None if !self.receives => "never receives".to_owned(),
            None => "keeps no records: what it lacks is not known".to_owned(),
            Some(behind) => self.lacking(behind),
        };
        if let Some(Moment(_, at)) = &self.complete {
            // A String takes any write.
            let _ = write!(text, ", last complete {at}");
        }
        text
    }

    fn lacking(&self, behind: Behind) -> String {
        let Behind { count, strange, why, .. } = behind;
        let since = self.since.as_ref().map_or("-", |since| &since.1);
        let why = match (&self.presence, why) {
            (Presence::Away | Presence::Odd(_), why) if why == Default::default() => String::new(),
            (_, why) => format!(" ({why})"),
        };
        let mut parts = Vec::new();
        if count > 0 {
            let count = counted(u64::from(count), "transfer");
            parts.push(format!("lacks {count} since {since}{why}"));
        }
        if strange > 0 {
            let strange = counted(u64::from(strange), "transfer");
            parts.push(format!(
                "new here, {strange} since {since} not taken by itself: msync fetch"
            ));
        }
        match parts.is_empty() {
            true if behind.takes_nothing() => "takes nothing (read-only)".to_owned(),
            true => "lacks nothing".to_owned(),
            false => parts.join("; "),
        }
    }

    /// A line about one that has no line among the members.
    fn line(&self) -> String {
        let name = &self.name;
        let place = self.address.map_or(String::new(), |address| format!(" ({address})"));
        let is = match &self.presence {
            Presence::Own => "is this host".to_owned(),
            Presence::Live => "is a member".to_owned(),
            Presence::Away => format!("is away, last seen {}", self.seen.1),
            Presence::Odd(why) => format!("is not served: {why}"),
        };
        format!("{name}{place} {is}: {}\n", self.said())
    }

    fn json(&self) -> String {
        let text = |text: Option<String>| text.map_or("null".to_owned(), |text| quoted(&text));
        let secs =
            |at: &Option<Moment>| at.as_ref().map_or("null".to_owned(), |at| at.0.to_string());
        let (presence, odd) = match &self.presence {
            Presence::Own => ("self", None),
            Presence::Live => ("live", None),
            Presence::Away => ("away", None),
            Presence::Odd(why) => ("odd", Some(why.clone())),
        };
        let behind = match self.lacks.filter(|behind| !behind.is_nothing()) {
            None => "null".to_owned(),
            Some(behind) => format!(
                "{{\"transfers\":{},\"not_taken\":{},\"since\":{},\"why\":{}}}",
                behind.count,
                behind.strange,
                secs(&self.since),
                quoted(&behind.why.to_string()),
            ),
        };
        format!(
            "{{\"name\":{},\"address\":{},\"presence\":\"{presence}\",\"odd\":{},\"last_seen\":{},\
             \"receives\":{},\"keeps_records\":{},\"behind\":{behind},\"last_complete\":{}}}",
            quoted(self.name.as_str()),
            text(self.address.map(|address| address.to_string())),
            text(odd),
            self.seen.0,
            self.receives,
            self.lacks.is_some(),
            secs(&self.complete),
        )
    }
}

/// A line for each host that has none among the members: this one, those that are away, and those that are odd.
pub(super) fn others(rows: &[HostRow]) -> String {
    let others = rows.iter().filter(|row| !matches!(row.presence, Presence::Live));
    others.map(HostRow::line).collect()
}

/// The answer to `members behind`: those that are known to lack something.
pub fn behind(rows: &[HostRow], json: bool) -> String {
    let behind: Vec<&HostRow> = rows.iter().filter(|row| row.is_behind()).collect();
    if json {
        let rows: Vec<String> = behind.iter().map(|row| row.json()).collect();
        return format!("{BEHIND}[{}]}}\n", rows.join(","));
    }
    let lines: String = behind.iter().map(|row| row.line()).collect();
    format!("{lines}Total: {} behind\n", counted(behind.len() as u64, "host"))
}

/// What the answer to `members behind json` begins with.
pub const BEHIND: &str = "{\"behind\":";

/// What a member lacks, in words.
pub(super) fn said_of(rows: &[HostRow], name: &HostName, address: Ipv4Addr) -> Option<String> {
    let is = |row: &&HostRow| row.name == *name && row.address == Some(address);
    let row = rows.iter().filter(|row| row.presence == Presence::Live).find(is)?;
    Some(row.said())
}

/// All of them, as a list of JSON.
pub(super) fn json(rows: &[HostRow]) -> String {
    let rows: Vec<String> = rows.iter().map(HostRow::json).collect();
    format!("[{}]", rows.join(","))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::console::json::Value;
    use crate::stamp::Stamp;
    use crate::wire::behind::Why;
    use crate::wire::outcome::Reason;

    fn moment(secs: i64) -> Moment {
        Moment(secs, format!("T{secs}"))
    }

    pub(in crate::console) fn row(
        name: &str,
        presence: Presence,
        lacks: Option<Behind>,
    ) -> HostRow {
        let behind = lacks.filter(|behind| !behind.is_nothing());
        HostRow {
            name: HostName::parse(name.as_bytes()).unwrap(),
            address: Some([10, 0, 0, 3].into()),
            presence,
            seen: moment(9),
            receives: true,
            lacks,
            since: behind.map(|_| moment(5)),
            complete: Some(moment(4)),
        }
    }

    pub(in crate::console) fn lacking(count: u32, strange: u32, why: Why) -> Option<Behind> {
        Some(Behind { count, strange, since: Stamp::at(5_000), why, complete: Stamp::at(4_000) })
    }

    const FULL: Why = Why::Failed(Reason::Os(28));

    #[test]
    fn what_a_host_lacks_is_said_in_words() {
        let said = |presence, lacks| row("web3", presence, lacks).said();
        let well = Some(Behind::default());
        assert_eq!(said(Presence::Live, well), "lacks nothing, last complete T4");
        assert_eq!(
            said(Presence::Live, lacking(1, 0, FULL)),
            "lacks 1 transfer since T5 (No space left on device), last complete T4"
        );
        assert_eq!(
            said(Presence::Live, lacking(2, 0, Why::Asking)),
            "lacks 2 transfers since T5 (being fetched), last complete T4"
        );
        assert_eq!(
            said(Presence::Away, lacking(2, 0, Why::Asking)),
            "lacks 2 transfers since T5, last complete T4"
        );
        assert_eq!(
            said(Presence::Own, lacking(0, 3, Why::Asking)),
            "new here, 3 transfers since T5 not taken by itself: msync fetch, last complete T4"
        );
        let reads = Behind { why: Behind::TAKES_NOTHING, ..Behind::default() };
        assert_eq!(
            said(Presence::Away, Some(reads)),
            "takes nothing (read-only), last complete T4"
        );
        let never = HostRow { complete: None, ..row("web3", Presence::Live, None) };
        assert_eq!(never.said(), "keeps no records: what it lacks is not known");
        assert_eq!(HostRow { receives: false, ..never }.said(), "never receives");
    }

    #[test]
    fn who_is_no_member_has_a_line_and_who_is_one_has_none() {
        let rows = [
            row("a", Presence::Own, Some(Behind::default())),
            row("b", Presence::Live, Some(Behind::default())),
            row("c", Presence::Away, lacking(1, 0, FULL)),
            row("d", Presence::Odd("it has x".to_owned()), None),
        ];
        assert_eq!(
            others(&rows),
            "a (10.0.0.3) is this host: lacks nothing, last complete T4\n\
             c (10.0.0.3) is away, last seen T9: lacks 1 transfer since T5 (No space left on device), \
             last complete T4\n\
             d (10.0.0.3) is not served: it has x: keeps no records: what it lacks is not known, \
             last complete T4\n"
        );
        let of = |row: &HostRow| said_of(&rows, &row.name, [10, 0, 0, 3].into());
        assert_eq!(rows.each_ref().map(|row| of(row).is_some()), [false, true, false, false]);
    }

    #[test]
    fn only_those_that_lack_something_are_behind() {
        let rows = [
            row("a", Presence::Own, Some(Behind::default())),
            row("b", Presence::Live, lacking(1, 0, FULL)),
            row("c", Presence::Away, lacking(0, 1, Why::Asking)),
            row("d", Presence::Away, None),
        ];
        let text = behind(&rows, false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("b (10.0.0.3) is a member: lacks 1 transfer "), "{text}");
        assert!(lines[1].starts_with("c (10.0.0.3) is away, last seen T9: new here, "), "{text}");
        assert_eq!(lines[2..], ["Total: 2 hosts behind"]);
        assert_eq!(behind(&rows[..1], false), "Total: 0 hosts behind\n");
        assert_eq!(behind(&rows, true), format!("{BEHIND}{}}}\n", json(&rows[1..3])));
        assert_eq!(behind(&[], true), "{\"behind\":[]}\n");
    }

    #[test]
    fn json_has_all_of_it() {
        let rows = [
            row("a", Presence::Own, Some(Behind::default())),
            row("c", Presence::Away, lacking(1, 2, FULL)),
        ];
        let text = json(&rows);
        assert_eq!(
            text,
            "[{\"name\":\"a\",\"address\":\"10.0.0.3\",\"presence\":\"self\",\"odd\":null,\
             \"last_seen\":9,\"receives\":true,\"keeps_records\":true,\"behind\":null,\
             \"last_complete\":4},\
             {\"name\":\"c\",\"address\":\"10.0.0.3\",\"presence\":\"away\",\"odd\":null,\
             \"last_seen\":9,\"receives\":true,\"keeps_records\":true,\
             \"behind\":{\"transfers\":1,\"not_taken\":2,\"since\":5,\
             \"why\":\"No space left on device\"},\"last_complete\":4}]"
        );
        assert!(Value::parse(&text).is_some());
    }
}
