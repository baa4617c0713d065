//! What was sent and received, as text and as JSON.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::absent::listed;
use super::json::quoted;
use super::moment::Moment;
use super::reply::shown;
use crate::count::counted;
use crate::engine::catch_up::{Record, State};
use crate::name::HostName;

/// A transfer of which a record is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryRow {
    /// When it began.
    pub began: Moment,
    /// What is kept of it.
    pub record: Record,
    /// It was sent from here.
    pub own: bool,
    /// It came to its end.
    pub ended: bool,
    /// How far this host is with it.
    pub state: State,
    /// The hosts that have it, if it was sent from here and that is known.
    pub have: Option<Vec<HostName>>,
}

impl HistoryRow {
    fn line(&self) -> String {
        let Record { id, path, deed, audience, names, .. } = &self.record;
        let mut line = match self.own {
            true => format!("{} sent", self.began.1),
            false => format!("{} from {}", self.began.1, id.host),
        };
        for (is_so, option) in [
            (deed.recursive && !deed.listed, " -r"),
            (deed.listed, " --files-from"),
            (deed.deletes && !deed.gone, " --delete"),
            (deed.forced, " --force"),
        ] {
            line += if is_so { option } else { "" };
        }
        let path = if path.is_base() { ".".to_owned() } else { shown(path) };
        let hosts: Vec<&str> = audience.hosts().iter().map(HostName::as_str).collect();
        let to = if hosts.is_empty() { "" } else { " to " };
        let what = match deed.gone {
            // How many it would have named is not known.
            _ if !self.ended => String::new(),
            true => "deleted, ".to_owned(),
            false => format!("{}, ", counted(names.count, "entry")),
        };
        // A String takes any write.
        let _ = write!(line, " {path}{to}{}: {what}{}", hosts.join(", "), self.state().0);
        match self.have.as_deref() {
            None => {}
            Some([]) => line += "; on no other host",
            Some(have) => drop(write!(line, "; on {}", listed(have))),
        }
        line
    }

    /// How far it has come here, for people and for programs.
    fn state(&self) -> (&'static str, &'static str) {
        match self.state {
            _ if !self.ended => ("not finished", "unfinished"),
            State::Elsewhere => ("not for this host", "elsewhere"),
            State::Strange => ("older than the records of this host", "strange"),
            State::Lacking => ("missing here", "missing"),
            State::Partial => ("incomplete here", "partial"),
            State::Noted => ("incomplete here, and nobody has the rest", "noted"),
            State::Complete => ("complete", "complete"),
        }
    }

    fn json(&self) -> String {
        let Record { id, path, deed, audience, names, .. } = &self.record;
        let list = |hosts: &[HostName]| {
            let hosts: Vec<String> = hosts.iter().map(|host| quoted(host.as_str())).collect();
            format!("[{}]", hosts.join(","))
        };
        let hosts = match audience.hosts() {
            [] => "null".to_owned(),
            some => list(some),
        };
        let have = self.have.as_deref().map_or("null".to_owned(), list);
        format!(
            "{{\"time\":{},\"stamp\":\"{:016x}\",\"host\":{},\"own\":{},\"path\":{},\"recursive\":{},\
             \"listed\":{},\"delete\":{},\"gone\":{},\"force\":{},\"hosts\":{hosts},\"entries\":{},\"state\":{},\
             \"have\":{have}}}",
            self.began.0,
            id.stamp.bits(),
            quoted(id.host.as_str()),
            self.own,
            quoted(&path.to_string()),
            deed.recursive,
            deed.listed,
            deed.deletes,
            deed.gone,
            deed.forced,
            names.count,
            quoted(self.state().1),
        )
    }
}

/// The answer to `history`: these rows, the earliest first, and how many earlier ones there are. Without
/// rows, nothing is kept here.
pub fn history(rows: Option<&[HistoryRow]>, earlier: u64, json: bool) -> String {
    if json {
        let all: Vec<String> = rows.unwrap_or_default().iter().map(HistoryRow::json).collect();
        let kept = rows.is_some();
        return format!(
            "{{\"kept\":{kept},\"earlier\":{earlier},\"transfers\":[{}]}}\n",
            all.join(",")
        );
    }
    let Some(rows) = rows else { return "Nothing is kept here of what is sent.\n".to_owned() };
    let mut text = String::new();
    if earlier > 0 {
        let _ = writeln!(text, "{} earlier", counted(earlier, "transfer"));
    }
    for row in rows {
        let _ = writeln!(text, "{}", row.line());
    }
    let _ = writeln!(text, "Total: {}", counted(rows.len() as u64 + earlier, "transfer"));
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::console::json::Value;
    use crate::engine::catch_up::{Audience, Deed, Names, RecordId};
    use crate::name::RelPath;
    use crate::stamp::Stamp;

    fn host(name: &str) -> HostName {
        HostName::parse(name.as_bytes()).unwrap()
    }

    fn row() -> HistoryRow {
        let deed = Deed { recursive: true, deletes: true, ..Deed::default() };
        let record = Record {
            id: RecordId { stamp: Stamp::from_bits(0x1a2), host: Arc::new(host("web1")) },
            path: RelPath::parse(b"htdocs/a b").unwrap(),
            deed,
            audience: Audience::named(vec![host("web2"), host("web3")]),
            patterns: None,
            names: Names { count: 1, sum: 7 },
        };
        let began = Moment(1_795_804_200, "2026-11-27 18:30:00".to_owned());
        let have = Some(vec![host("web2")]);
        HistoryRow { began, record, own: true, ended: true, state: State::Complete, have }
    }

    #[test]
    fn a_line_says_what_was_sent_by_whom_to_whom_and_how_far_it_is_here() {
        let deed = Deed { deletes: true, gone: true, forced: true, ..Deed::default() };
        let record = Record { deed, audience: Audience::All, ..row().record };
        let gone = HistoryRow { record, own: false, state: State::Lacking, have: None, ..row() };
        let record = Record {
            path: RelPath::base(),
            deed: Deed { recursive: true, ..Deed::default() },
            audience: Audience::All,
            names: Names { count: 3, sum: 1 },
            ..row().record
        };
        let base = HistoryRow { record, ended: false, have: None, ..row() };
        let text = history(Some(&[row(), gone, base]), 2, false);
        assert_eq!(
            text,
            "2 transfers earlier\n\
             2026-11-27 18:30:00 sent -r --delete htdocs/a b to web2, web3: 1 entry, complete; on web2\n\
             2026-11-27 18:30:00 from web1 --force htdocs/a b: deleted, missing here\n\
             2026-11-27 18:30:00 sent -r .: not finished\n\
             Total: 5 transfers\n"
        );
        assert_eq!(history(Some(&[]), 0, false), "Total: 0 transfers\n");
        assert_eq!(history(None, 0, false), "Nothing is kept here of what is sent.\n");
    }

    #[test]
    fn every_state_is_told_apart() {
        use State::{Complete, Elsewhere, Lacking, Noted, Partial};
        let states =
            [Elsewhere, Lacking, Partial, Noted, Complete].map(|state| row_in(state).state());
        for (at, state) in states.iter().enumerate() {
            for other in &states[..at] {
                assert!(state.0 != other.0 && state.1 != other.1);
            }
        }
        assert!(row_in(Noted).json().ends_with("\"state\":\"noted\",\"have\":[\"web2\"]}"));
        let nobody = HistoryRow { have: Some(Vec::new()), ..row() };
        assert!(nobody.line().ends_with(": 1 entry, complete; on no other host"));
        assert!(nobody.json().ends_with(",\"have\":[]}"));
    }

    fn row_in(state: State) -> HistoryRow {
        HistoryRow { state, ..row() }
    }

    #[test]
    fn json_is_one_object_on_one_line() {
        let record = Record { audience: Audience::All, ..row().record };
        let all = HistoryRow { record, ..row() };
        let line = history(Some(&[row(), all]), 7, true);
        assert_eq!((line.matches('\n').count(), line.ends_with('\n')), (1, true));
        let value = Value::parse(line.trim_end()).unwrap();
        let text = format!("{value:?}");
        assert!(text.contains("web2") && text.contains("00000000000001a2"), "{text}");
        assert!(Value::parse(history(None, 0, true).trim_end()).is_some());
    }
}
