//! A watch, as `status` shows it.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::json::quoted;
use super::moment::Moment;
use crate::count::counted;

/// A watch, and how it fares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchRow {
    /// What is watched; the base directory is `.`.
    pub path: String,
    /// Whether deletions are passed on.
    pub deletes: bool,
    /// The client that asked for it; None if the daemon was started with it.
    pub client: Option<u32>,
    /// Why it is not watched, if it is not.
    pub refused: Option<String>,
    /// The watched directories.
    pub directories: u64,
    /// The directories that lack a watch, and are looked at each minute.
    pub unwatched: u64,
    /// That is because the kernel gives no more: how many are needed.
    pub needed: Option<u64>,
    /// The names that have changed and are not sent yet.
    pub pending: u64,
    /// The deletions that are held back, and why.
    pub held: u64,
    /// Why they are.
    pub held_why: Option<String>,
    /// How often something was sent.
    pub flushes: u64,
    /// When that was last, and how many paths it had; none: the whole tree.
    pub last: Option<(Moment, Option<u64>)>,
    /// How often the tree was sent as a whole.
    pub rescans: u64,
    /// When and why that was last.
    pub rescan: Option<(Moment, String)>,
    /// Why not all that was sent is everywhere.
    pub lacking: Option<String>,
}

impl WatchRow {
    /// In a line.
    pub fn text(&self) -> String {
        let mut text = self.path.clone();
        let mut add = |more: std::fmt::Arguments<'_>| {
            let _ = write!(text, "{more}");
        };
        match self.client {
            Some(client) => add(format_args!(", for client {client}")),
            None => add(format_args!(", from start")),
        }
        if self.deletes {
            add(format_args!(", with deletions"));
        }
        if let Some(why) = &self.refused {
            add(format_args!(": not watched: {why}"));
            return text;
        }
        let directories = counted(self.directories, "directory");
        add(format_args!(": {directories}, {} pending", self.pending));
        if self.unwatched > 0 {
            add(format_args!(", {} without a watch (looked at each minute", self.unwatched));
            if let Some(needed) = self.needed {
                add(format_args!("; fs.inotify.max_user_watches: at least {needed}"));
            }
            add(format_args!(")"));
        }
        if self.held > 0 || self.held_why.is_some() {
            let why = self.held_why.as_deref().unwrap_or("");
            match self.held {
                0 => add(format_args!(", nothing is sent: {why}")),
                held => add(format_args!(", {} held back: {why}", counted(held, "deletion"))),
            }
        }
        if let Some((at, paths)) = &self.last {
            let what = match paths {
                Some(paths) => counted(*paths, "path"),
                None => "all of it".to_owned(),
            };
            add(format_args!(", last sent {} ({what})", at.1));
        }
        if let Some((at, why)) = &self.rescan {
            add(format_args!(", sent as a whole {} ({why})", at.1));
        }
        if let Some(why) = &self.lacking {
            add(format_args!(", {why}"));
        }
        text
    }

    /// As an object of JSON.
    pub fn json(&self) -> String {
        let null = || "null".to_owned();
        let text = |text: &Option<String>| text.as_deref().map_or_else(null, quoted);
        let number = |number: Option<u64>| number.map_or_else(null, |number| number.to_string());
        format!(
            "{{\"path\":{},\"delete\":{},\"client\":{},\"refused\":{},\"directories\":{},\"unwatched\":{},\
             \"pending\":{},\"held\":{},\"held_why\":{},\"flushes\":{},\"last\":{},\"last_paths\":{},\"rescans\":{},\
             \"rescan\":{},\"rescan_why\":{},\"lacking\":{}}}",
            quoted(&self.path),
            self.deletes,
            number(self.client.map(u64::from)),
            text(&self.refused),
            self.directories,
            self.unwatched,
            self.pending,
            self.held,
            text(&self.held_why),
            self.flushes,
            self.last.as_ref().map_or_else(null, |(at, _)| at.0.to_string()),
            number(self.last.as_ref().and_then(|(_, paths)| *paths)),
            self.rescans,
            self.rescan.as_ref().map_or_else(null, |(at, _)| at.0.to_string()),
            self.rescan.as_ref().map_or_else(null, |(_, why)| quoted(why)),
            text(&self.lacking),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_in_a_line_and_in_json() {
        let row = WatchRow {
            path: "htdocs".to_owned(),
            deletes: true,
            client: None,
            refused: None,
            directories: 3,
            unwatched: 0,
            needed: None,
            pending: 2,
            held: 0,
            held_why: None,
            flushes: 7,
            last: Some((Moment(60, "1970-01-01 00:01:00".to_owned()), Some(12))),
            rescans: 1,
            rescan: Some((Moment(1, "1970-01-01 00:00:01".to_owned()), "start".to_owned())),
            lacking: None,
        };
        assert_eq!(
            row.text(),
            "htdocs, from start, with deletions: 3 directories, 2 pending, last sent 1970-01-01 00:01:00 \
             (12 paths), sent as a whole 1970-01-01 00:00:01 (start)"
        );
        assert!(crate::console::json::Value::parse(&row.json()).is_some());
        let held =
            WatchRow { held: 1, held_why: Some("all entries went".to_owned()), ..row.clone() };
        assert!(held.text().contains(", 1 deletion held back: all entries went"));
        let replaced = WatchRow { held: 0, ..held };
        assert!(replaced.text().contains(", nothing is sent: all entries went"));
        let refused = WatchRow { refused: Some("no such directory".to_owned()), ..row };
        assert!(refused.text().ends_with(": not watched: no such directory"));
        let few = WatchRow { unwatched: 4, needed: Some(7), refused: None, ..refused };
        let text = ", 4 without a watch (looked at each minute; fs.inotify.max_user_watches: at least 7), ";
        assert!(few.text().contains(text), "{}", few.text());
    }
}
