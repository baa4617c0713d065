//! Mirrors and their conflicts, as `mirror` and `conflicts` show them.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::json::quoted;
use crate::count::counted;

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
    /// How many deletions of others are held.
    pub held: u64,
    /// How many paths lack the contents that they should have.
    pub lacking: u64,
    /// The hosts that mirror it, too: whether each knows what is known here.
    pub peers: Vec<(String, bool)>,
}

impl MirrorRow {
    /// In lines.
    pub fn text(&self) -> String {
        let mut text = format!("{}: ", self.path);
        match (&self.stopped, self.settled) {
            (Some(why), _) => {
                let _ = write!(text, "held: {why}: msync mirror release {}", self.path);
            }
            (None, true) => text.push_str("settled"),
            (None, false) => text.push_str("comparing"),
        }
        let _ = write!(text, ", {}", counted(self.entries, "path"));
        let counts = [
            (self.conflicts, "conflict", "msync conflicts"),
            (self.listed, "listed path", "msync mirror adopt"),
            (self.held, "held deletion", "msync mirror release"),
        ];
        for (count, what, how) in counts.iter().filter(|(count, ..)| *count > 0) {
            let _ = write!(text, ", {} ({how})", counted(*count, what));
        }
        if self.lacking > 0 {
            let _ = write!(text, ", contents of {} not here yet", counted(self.lacking, "path"));
        }
        text.push('\n');
        for (at, why) in &self.away {
            let _ = writeln!(text, "  {at}: held: {why}: msync mirror release {at}");
        }
        if self.peers.is_empty() {
            text.push_str("  no other host mirrors it now\n");
        }
        for (host, equal) in &self.peers {
            let how = if *equal { "equal" } else { "not equal yet" };
            let _ = writeln!(text, "  {host}: {how}");
        }
        text
    }

    /// As an object of JSON.
    pub fn json(&self) -> String {
        let peer = |(host, equal): &(String, bool)| {
            format!("{{\"host\":{},\"equal\":{equal}}}", quoted(host))
        };
        let peers: Vec<String> = self.peers.iter().map(peer).collect();
        let away = |(at, why): &(String, String)| {
            format!("{{\"path\":{},\"why\":{}}}", quoted(at), quoted(why))
        };
        let away: Vec<String> = self.away.iter().map(away).collect();
        let stopped = self.stopped.as_ref().map_or("null".to_owned(), |why| quoted(why));
        format!(
            "{{\"path\":{},\"settled\":{},\"stopped\":{stopped},\"away\":[{}],\"entries\":{},\"conflicts\":{},\"listed\":{},\
             \"held\":{},\"lacking\":{},\"peers\":[{}]}}\n",
            quoted(&self.path),
            self.settled,
            away.join(","),
            self.entries,
            self.conflicts,
            self.listed,
            self.held,
            self.lacking,
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
    pub mtime: String,
    /// Where it is kept, from the base directory.
    pub kept: String,
}

impl ConflictRow {
    /// In a line.
    pub fn text(&self) -> String {
        let size = self.size.map_or(String::new(), |size| format!(", {}", counted(size, "byte")));
        let ConflictRow { path, version, what, mtime, kept, .. } = self;
        let time = if mtime.is_empty() { String::new() } else { format!(", {mtime}") };
        format!("{path}: version {version}: {what}{size}{time}: {kept}\n")
    }

    /// As an object of JSON.
    pub fn json(&self) -> String {
        let size = self.size.map_or("null".to_owned(), |size| size.to_string());
        format!(
            "{{\"path\":{},\"version\":{},\"what\":{},\"size\":{size},\"kept\":{}}}\n",
            quoted(&self.path),
            quoted(&self.version),
            quoted(&self.what),
            quoted(&self.kept)
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
            lacking: 0,
            peers: vec![("web2".to_owned(), true), ("web3".to_owned(), false)],
        }
    }

    #[test]
    fn a_mirror_has_a_line_and_one_for_each_peer() {
        let row = settled();
        assert_eq!(row.text(), "uploads: settled, 1 path\n  web2: equal\n  web3: not equal yet\n");
        assert_eq!(
            row.json(),
            "{\"path\":\"uploads\",\"settled\":true,\"stopped\":null,\"away\":[],\"entries\":1,\"conflicts\":0,\
             \"listed\":0,\"held\":0,\"lacking\":0,\"peers\":[{\"host\":\"web2\",\"equal\":true},\
             {\"host\":\"web3\",\"equal\":false}]}\n"
        );
    }

    #[test]
    fn what_somebody_has_to_decide_is_said_with_its_command() {
        let (conflicts, listed, held, lacking) = (2, 1, 3, 4);
        let row = MirrorRow { conflicts, listed, held, lacking, peers: Vec::new(), ..settled() };
        assert_eq!(
            row.text(),
            "uploads: settled, 1 path, 2 conflicts (msync conflicts), 1 listed path (msync mirror \
             adopt), 3 held deletions (msync mirror release), contents of 4 paths not here yet\n  \
             no other host mirrors it now\n"
        );
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
            mtime: "2026-11-28 02:00:00".to_owned(),
            kept: ".makuosan/conflicts/0f-3/uploads/a".to_owned(),
        };
        assert_eq!(
            row.text(),
            "uploads/a: version 0f-3: file, 7 bytes, 2026-11-28 02:00:00: \
             .makuosan/conflicts/0f-3/uploads/a\n"
        );
        assert_eq!(
            row.json(),
            "{\"path\":\"uploads/a\",\"version\":\"0f-3\",\"what\":\"file\",\"size\":7,\
             \"kept\":\".makuosan/conflicts/0f-3/uploads/a\"}\n"
        );
        let link = ConflictRow {
            what: "symbolic link".to_owned(),
            size: None,
            mtime: String::new(),
            ..row
        };
        assert_eq!(
            link.text(),
            "uploads/a: version 0f-3: symbolic link: .makuosan/conflicts/0f-3/uploads/a\n"
        );
        assert!(link.json().contains("\"size\":null,"));
    }
}
