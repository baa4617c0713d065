//! What clients ask about mirrors, and decide of them.

use super::asking::Asking;
use super::client::Work;
use super::control_loop::Control;
use crate::console::command::Decision;
use crate::console::error::{Code, ErrorLine};
use crate::console::mirror_row::{ConflictRow, MirrorRow, WaitingRow};
use crate::console::moment::Moment;
use crate::console::reply;
use crate::daemon::messages::{MirrorWork, ToDisk};
use crate::errno::ErrorText;
use crate::fs::mirror::giving::where_kept;
use crate::fs::root::Root;
use crate::keeping::mirrors::{
    Asked, Conflict, MOST_TOLD, MirrorError, Told, TreeNo, Wait, Waiting,
};
use crate::name::{Escaped, RelPath, STAGING};
use crate::sys::localtime;
use crate::time::Time;
use crate::wire::versions::What;

impl Control {
    /// The answer to `mirror`.
    pub(super) fn mirror_rows(&self, now: Time, json: bool) -> String {
        let rows = self.equals.rows(now, &self.membership.members);
        match (rows.is_empty(), json) {
            (true, false) => "nothing is mirrored here: see --mirror\n".to_owned(),
            (_, false) => rows.iter().map(MirrorRow::text).collect(),
            (_, true) => rows.iter().map(MirrorRow::json).collect(),
        }
    }

    /// A client wants to know what there is, at a path and below it.
    pub(super) fn list_of_mirrors(
        &mut self,
        at: usize,
        asked: fn(RelPath) -> Asked,
        path: &RelPath,
        json: bool,
    ) {
        if self.equals.trees.is_empty() && path.is_base() {
            return self.answer(at, String::new());
        }
        self.ask_mirrors(at, asked(path.clone()), path, (true, json), None);
    }

    /// A client decides something of a mirror.
    pub(super) fn decide(&mut self, at: usize, decision: Decision) {
        let path = decision.path().clone();
        let below = matches!(decision, Decision::Drop(..));
        let none = match &decision {
            Decision::Drop(path, _) if !path.is_base() => {
                Some(format!("{path} has no other version: see msync conflicts"))
            }
            _ => None,
        };
        let asked = match decision {
            Decision::Release(path) => {
                // What the watcher holds back goes, too.
                let _ = self.watches.release(&path);
                Asked::Release(path)
            }
            Decision::Adopt(path) => Asked::Adopt(path),
            Decision::Take(path, version) => Asked::Take(path, version),
            Decision::Drop(path, version) => Asked::Drop(path, version),
        };
        self.ask_mirrors(at, asked, &path, (below, false), none);
    }

    fn ask_mirrors(
        &mut self,
        at: usize,
        asked: Asked,
        path: &RelPath,
        (below, json): (bool, bool),
        none: Option<String>,
    ) {
        let shown = reply::shown(path);
        let found = self.equals.trees_of(path, below);
        if found.is_empty() {
            let why = format!("nothing is mirrored at {shown}: see msync mirror");
            let error = ErrorLine::new(Code::InvalidPath, why).about("", shown);
            return self.answer_error(at, &error);
        }
        let client = self.clients[at].id;
        let asking = Asking {
            left: found.len(),
            shown,
            json,
            none,
            count: 0,
            failed: false,
            said: String::new(),
        };
        self.clients[at].work = Work::Asking(asking);
        for tree in found {
            let work = MirrorWork::Ask(asked.clone());
            self.shared.to_disk(ToDisk::Mirror(tree, Some(client), work));
        }
    }

    /// What came of what a client has asked, in one tree.
    pub(super) fn mirrors_told(
        &mut self,
        now: Time,
        client: u32,
        tree: TreeNo,
        told: Result<Told, MirrorError>,
    ) {
        self.mirror_changed(now, tree);
        let Some(at) = self.clients.iter().position(|one| one.id == client) else { return };
        let Work::Asking(Asking { json, .. }) = &self.clients[at].work else { return };
        let (json, members) = (*json, &self.membership.members);
        let root = self.shared.base.look().ok();
        let (count, lines) = match &told {
            Ok(Told::Done(count)) => (usize::try_from(*count).unwrap_or(usize::MAX), Vec::new()),
            Ok(Told::Conflicts(all)) => {
                let line = |one: &Conflict| {
                    let of = self.equals.host_of(tree, one.dot.by, &self.settings.name, members);
                    let row = row(one, of, root.as_deref());
                    if json { row.json() } else { row.text() }
                };
                (all.len(), all.iter().map(line).collect())
            }
            Ok(Told::Waiting(all)) => {
                let line = |row: WaitingRow| if json { row.json() } else { row.text() };
                (all.len(), all.iter().map(waiting).map(line).collect())
            }
            Err(_) => (0, Vec::new()),
        };
        let client = &mut self.clients[at];
        let Work::Asking(asking) = &mut client.work else { return };
        let room = MOST_TOLD.saturating_sub(asking.count);
        asking.said.extend(lines.into_iter().take(room));
        asking.count = asking.count.saturating_add(count);
        asking.left -= 1;
        if let Err(error) = told {
            asking.failed = true;
            client.session.error(&line_of(&error, asking.shown.clone()));
        }
        if asking.left > 0 {
            return;
        }
        client.session.lines(0, &asking.said);
        let shown = asking.shown.clone();
        if let (Some(none), 0, false) = (&asking.none, asking.count, asking.failed) {
            client.session.error(&ErrorLine::new(Code::InvalidPath, none).about("", shown));
        } else if !asking.said.is_empty() && asking.count > MOST_TOLD {
            let why = format!("these are {MOST_TOLD} of more: name a PATH");
            client.session.error(&ErrorLine::new(Code::Other, why).about("", shown));
        }
        client.work = Work::Idle;
        client.session.finish();
    }
}

fn line_of(error: &MirrorError, shown: String) -> ErrorLine {
    match error {
        MirrorError::Unknown(why) => ErrorLine::new(Code::InvalidPath, why).about("", shown),
        MirrorError::Io(path, error) => {
            ErrorLine::here(reply::shown(path), Code::of_io(error), ErrorText(error))
        }
        error => ErrorLine::here(shown, Code::Other, error),
    }
}

fn waiting(Waiting { path, wait }: &Waiting) -> WaitingRow {
    let (waits, why) = match wait {
        Wait::Listed => ("listed", None),
        Wait::Held => ("held", None),
        Wait::Contents(why) => ("contents", *why),
        Wait::Rest(why) => ("rest", *why),
    };
    WaitingRow { path: reply::shown(path), waits, why: why.map(|why| why.to_string()) }
}

fn row(
    Conflict { path, dot, version }: &Conflict,
    host: Option<String>,
    root: Option<&Root>,
) -> ConflictRow {
    let (what, file) = match version.what {
        What::File { size, mtime, .. } => ("file", Some((size, mtime.secs))),
        What::Directory => ("directory", None),
        What::Symlink { .. } => ("symbolic link", None),
        What::Fifo => ("FIFO", None),
        What::Char(..) | What::Block(..) => ("device", None),
    };
    let top = String::from_utf8_lossy(STAGING);
    let kept = root.and_then(|root| where_kept(root, path, *dot));
    let kept = kept.map(|kept| Escaped(&kept).to_string());
    ConflictRow {
        path: reply::shown(path),
        version: dot.to_string(),
        what: what.to_owned(),
        size: file.map(|(size, _)| size),
        mtime: file.map(|(_, secs)| Moment(secs, localtime::local(secs).to_string())),
        host,
        kept: kept.unwrap_or_else(|| format!("{top}/conflicts/{dot}/{path}")),
    }
}
