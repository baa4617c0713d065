//! Mirrors and their conflicts, as `mirror` and `conflicts` show them.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::json::quoted;
use super::moment::{Moment, lasting};
use crate::count::counted;
use crate::time::Span;

/// A mirror, and how it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorRow {
    /// The tree; the base directory is `.`.
    pub path: String,
    /// It has compared with those who are there since it started.
    pub settled: bool,
    /// Why it stands still, if it does.
    pub stopped: Option<String>,
    /// What is mounted below it, or was, of which that is so: where, and why.
    pub away: Vec<(String, String)>,
    /// How many paths it has.
    pub entries: u64,
    /// How many versions do not have their names.
    pub conflicts: u64,
    /// How many files and directories were found where the index could not vouch for them.
    pub listed: u64,
    /// How many deletions are held.
    pub held: u64,
    /// How many of these are of this host.
    pub held_here: u64,
    /// How many paths lack the contents that they should have.
    pub lacking: u64,
    /// How many indexes are known, of this host and others: each new one is remembered for ever.
    pub indexes: u64,
    /// A path that could not be made as it should be, and why, if there is one.
    pub failed: Option<(String, String)>,
    /// The hosts that mirror it, too.
    pub peers: Vec<PeerRow>,
}

/// A host that mirrors a tree, too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerRow {
    /// Its name.
    pub host: String,
    /// How long it has not known the same as this one; None: it does.
    pub apart: Option<Span>,
    /// It has compared with others since it started.
    pub settled: bool,
    /// It holds deletions.
    pub held: bool,
    /// It stands still.
    pub stopped: bool,
    /// It lacks something that it knows of.
    pub lacks: bool,
}

impl PeerRow {
    /// How it stands, in words.
    pub fn said(&self) -> String {
        let mut text = match self.apart {
            None => "equal".to_owned(),
            Some(span) => format!("not equal for {}", lasting(span)),
        };
        let states = [
            (!self.settled, "comparing"),
            (self.stopped, "stands still"),
            (self.held, "holds deletions"),
            (self.lacks, "lacks something that it knows of"),
        ];
        for (_, state) in states.iter().filter(|(is_so, _)| *is_so) {
            let _ = write!(text, ", {state}");
        }
        text
    }

    fn json(&self) -> String {
        let apart =
            self.apart.map_or("null".to_owned(), |span| (span.millis() / 1_000).to_string());
        let PeerRow { host, settled, held, stopped, lacks, .. } = self;
        let (host, equal) = (quoted(host), self.apart.is_none());
        format!(
            "{{\"host\":{host},\"equal\":{equal},\"apart_s\":{apart},\"settled\":{settled},\
             \"held\":{held},\"stopped\":{stopped},\"lacks\":{lacks}}}"
        )
    }
}

impl MirrorRow {
    /// Why deletions are held, if they are.
    pub fn held_why(&self) -> Option<&'static str> {
        match (self.held, self.held_here) {
            (0, _) => None,
            (_, 0) => Some("many went at once on another host"),
            (all, here) if all == here => Some("many went at once here"),
            _ => Some("many went at once, here and on another host"),
        }
    }

    /// Whether it has compared with others, in a word.
    pub fn state(&self) -> &'static str {
        if self.settled { "settled" } else { "comparing" }
    }

    /// In lines.
    pub fn text(&self) -> String {
        let mut text = match &self.stopped {
            Some(why) => format!("{0}: held: {why}: msync mirror release {0}", self.path),
            None => format!("{}: {}", self.path, self.state()),
        };
        let _ = write!(text, ", {}", counted(self.entries, "path"));
        let counts = [
            (self.conflicts, "conflict", "conflicts"),
            (self.listed, "listed path", "mirror list"),
        ];
        for (count, what, how) in counts.iter().filter(|(count, ..)| *count > 0) {
            let _ = write!(text, ", {} (msync {how})", counted(*count, what));
        }
        if let Some(why) = self.held_why() {
            let held = counted(self.held, "held deletion");
            let _ = write!(text, ", {held}: {why} (msync mirror release)");
        }
        if self.lacking > 0 {
            let _ = write!(text, ", contents of {} not here yet", counted(self.lacking, "path"));
        }
        if let Some((path, why)) = &self.failed {
            let _ = write!(text, ", not done: {path}: {why} (msync mirror list)");
        }
        text.push('\n');
        for (at, why) in &self.away {
            let _ = writeln!(text, "  {at}: held: {why}: msync mirror release {at}");
        }
        if self.peers.is_empty() {
            text.push_str("  no other host mirrors it now\n");
        }
        for peer in &self.peers {
            let _ = writeln!(text, "  {}: {}", peer.host, peer.said());
        }
        text
    }

    /// As an object of JSON.
    pub fn json(&self) -> String {
        let peers: Vec<String> = self.peers.iter().map(PeerRow::json).collect();
        let null = || "null".to_owned();
        let stopped = self.stopped.as_deref().map_or_else(null, quoted);
        let held_why = self.held_why().map_or_else(null, quoted);
        let failed = |(path, why): &(String, String)| {
            format!("{{\"path\":{},\"why\":{}}}", quoted(path), quoted(why))
        };
        let away = |(at, why): &(String, String)| {
            format!("{{\"path\":{},\"why\":{}}}", quoted(at), quoted(why))
        };
        let away: Vec<String> = self.away.iter().map(away).collect();
        let failed = self.failed.as_ref().map_or_else(null, failed);
        format!(
            "{{\"path\":{},\"settled\":{},\"stopped\":{stopped},\"away\":[{}],\"entries\":{},\"conflicts\":{},\"listed\":{},\
             \"held\":{},\"held_why\":{held_why},\"lacking\":{},\"indexes\":{},\"failed\":{failed},\"peers\":[{}]}}\n",
            quoted(&self.path),
            self.settled,
            away.join(","),
            self.entries,
            self.conflicts,
            self.listed,
            self.held,
            self.lacking,
            self.indexes,
            peers.join(",")
        )
    }
}

/// A version that does not have its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConflictRow {
    /// The path.
    pub path: String,
    /// What it is called here.
    pub version: String,
    /// What it is.
    pub what: String,
    /// Its size, if it is a file.
    pub size: Option<u64>,
    /// When it was changed, if it is a file.
    pub mtime: Option<Moment>,
    /// The host that has written it, if that is known.
    pub host: Option<String>,
    /// Where it is kept, from the base directory.
    pub kept: String,
}

impl ConflictRow {
    /// In a line.
    pub fn text(&self) -> String {
        let size = self.size.map_or(String::new(), |size| format!(", {}", counted(size, "byte")));
        let ConflictRow { path, version, what, kept, .. } = self;
        let time = self.mtime.as_ref().map_or(String::new(), |Moment(_, at)| format!(", {at}"));
        let host = self.host.as_ref().map_or(String::new(), |host| format!(", of {host}"));
        format!("{path}: version {version}: {what}{size}{time}{host}: {kept}\n")
    }

    /// As an object of JSON.
    pub fn json(&self) -> String {
        let null = || "null".to_owned();
        let size = self.size.map_or_else(null, |size| size.to_string());
        let mtime = self.mtime.as_ref().map_or_else(null, |at| at.0.to_string());
        let host = self.host.as_deref().map_or_else(null, quoted);
        format!(
            "{{\"path\":{},\"version\":{},\"what\":{},\"size\":{size},\"mtime\":{mtime},\"host\":{host},\"kept\":{}}}\n",
            quoted(&self.path),
            quoted(&self.version),
            quoted(&self.what),
            quoted(&self.kept)
        )
    }
}

/// Something that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitingRow {
    /// The path.
    pub path: String,
    /// For what, in a word that never changes.
    pub waits: &'static str,
    /// Why, if that is known.
    pub why: Option<String>,
}

impl WaitingRow {
    /// In a line.
    pub fn text(&self) -> String {
        let says = match self.waits {
            "listed" => "listed: msync mirror adopt",
            "held" => "its deletion is held: msync mirror release",
            "contents" => "its contents are not here yet",
            _ => "not as it should be yet",
        };
        let why = self.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        format!("{}: {says}{why}\n", self.path)
    }

    /// As an object of JSON.
    pub fn json(&self) -> String {
        let why = self.why.as_deref().map_or("null".to_owned(), quoted);
        format!(
            "{{\"path\":{},\"waits\":{},\"why\":{why}}}\n",
            quoted(&self.path),
            quoted(self.waits)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled() -> MirrorRow {
        MirrorRow {
            path: "uploads".to_owned(),
            settled: true,
            stopped: None,
            away: Vec::new(),
            entries: 1,
            conflicts: 0,
            listed: 0,
            held: 0,
            held_here: 0,
            lacking: 0,
            indexes: 2,
            failed: None,
            peers: vec![peer("web2", None), peer("web3", Some(7))],
        }
    }

    fn peer(host: &str, apart: Option<u64>) -> PeerRow {
        let (host, apart) = (host.to_owned(), apart.map(Span::from_secs));
        PeerRow { host, apart, settled: true, held: false, stopped: false, lacks: false }
    }

    #[test]
    fn a_mirror_has_a_line_and_one_for_each_peer() {
        let row = settled();
        assert_eq!(
            row.text(),
            "uploads: settled, 1 path\n  web2: equal\n  web3: not equal for 7 s\n"
        );
        assert_eq!(
            row.json(),
            "{\"path\":\"uploads\",\"settled\":true,\"stopped\":null,\"away\":[],\"entries\":1,\"conflicts\":0,\
             \"listed\":0,\"held\":0,\"held_why\":null,\"lacking\":0,\"indexes\":2,\"failed\":null,\"peers\":[\
             {\"host\":\"web2\",\"equal\":true,\"apart_s\":null,\"settled\":true,\"held\":false,\"stopped\":false,\"lacks\":false},\
             {\"host\":\"web3\",\"equal\":false,\"apart_s\":7,\"settled\":true,\"held\":false,\"stopped\":false,\"lacks\":false}]}\n"
        );
        let odd = PeerRow { settled: false, held: true, lacks: true, ..peer("web2", None) };
        assert_eq!(
            odd.said(),
            "equal, comparing, holds deletions, lacks something that it knows of"
        );
    }

    #[test]
    fn what_somebody_has_to_decide_is_said_with_its_command() {
        let (conflicts, listed, held, lacking) = (2, 1, 3, 4);
        let failed = Some(("up/f".to_owned(), "No space left on device".to_owned()));
        let row =
            MirrorRow { conflicts, listed, held, lacking, failed, peers: vec![], ..settled() };
        assert_eq!(
            row.text(),
            "uploads: settled, 1 path, 2 conflicts (msync conflicts), 1 listed path (msync mirror \
             list), 3 held deletions: many went at once on another host (msync mirror release), \
             contents of 4 paths not here yet, not done: up/f: No space left on device (msync mirror \
             list)\n  no other host mirrors it now\n"
        );
        assert!(row.json().contains(
            "\"held_why\":\"many went at once on another host\",\"lacking\":4,\"indexes\":2,\"failed\":{\"path\":\
             \"up/f\",\"why\":\"No space left on device\"},"
        ));
        let here = |held_here| MirrorRow { held_here, ..row.clone() }.held_why();
        assert_eq!(here(3), Some("many went at once here"));
        assert_eq!(here(1), Some("many went at once, here and on another host"));
        let why = Some("its directory is another one than before".to_owned());
        let row = MirrorRow { stopped: why, settled: false, ..row };
        assert!(row.text().starts_with(
            "uploads: held: its directory is another one than before: msync mirror release uploads, "
        ));
        assert!(row.json().contains("\"stopped\":\"its directory is another one than before\""));
        let away = vec![("uploads/disk".to_owned(), "it is not mounted".to_owned())];
        let row = MirrorRow { stopped: None, away, ..row };
        assert!(row.text().starts_with("uploads: comparing, "));
        assert!(row.text().contains(
            "\n  uploads/disk: held: it is not mounted: msync mirror release uploads/disk\n"
        ));
        assert!(
            row.json()
                .contains("\"away\":[{\"path\":\"uploads/disk\",\"why\":\"it is not mounted\"}]")
        );
    }

    #[test]
    fn a_conflict_is_a_line_that_says_where_it_is_kept() {
        let row = ConflictRow {
            path: "uploads/a".to_owned(),
            version: "0f-3".to_owned(),
            what: "file".to_owned(),
            size: Some(7),
            mtime: Some(Moment(1_795_831_200, "2026-11-28 02:00:00".to_owned())),
            host: Some("web2".to_owned()),
            kept: ".makuosan/conflicts/0f-3/uploads/a".to_owned(),
        };
        assert_eq!(
            row.text(),
            "uploads/a: version 0f-3: file, 7 bytes, 2026-11-28 02:00:00, of web2: \
             .makuosan/conflicts/0f-3/uploads/a\n"
        );
        assert_eq!(
            row.json(),
            "{\"path\":\"uploads/a\",\"version\":\"0f-3\",\"what\":\"file\",\"size\":7,\
             \"mtime\":1795831200,\"host\":\"web2\",\"kept\":\".makuosan/conflicts/0f-3/uploads/a\"}\n"
        );
        let link = ConflictRow {
            what: "symbolic link".to_owned(),
            size: None,
            mtime: None,
            host: None,
            ..row
        };
        assert_eq!(
            link.text(),
            "uploads/a: version 0f-3: symbolic link: .makuosan/conflicts/0f-3/uploads/a\n"
        );
        assert!(link.json().contains("\"size\":null,\"mtime\":null,\"host\":null,"));
    }

    #[test]
    fn what_waits_is_a_line_with_what_it_waits_for() {
        let row = |waits, why: Option<&str>| WaitingRow {
            path: "up/a".to_owned(),
            waits,
            why: why.map(str::to_owned),
        };
        let full = row("contents", Some("No space left on device"));
        assert_eq!(full.text(), "up/a: its contents are not here yet: No space left on device\n");
        assert_eq!(
            full.json(),
            "{\"path\":\"up/a\",\"waits\":\"contents\",\"why\":\"No space left on device\"}\n"
        );
        assert_eq!(row("listed", None).text(), "up/a: listed: msync mirror adopt\n");
        assert_eq!(row("held", None).text(), "up/a: its deletion is held: msync mirror release\n");
        assert!(row("rest", None).json().ends_with("\"waits\":\"rest\",\"why\":null}\n"));
    }
}
