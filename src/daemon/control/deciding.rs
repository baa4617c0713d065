//! What clients ask about mirrors, and decide of them.

use super::client::Work;
use super::control_loop::Control;
use crate::console::command::Decision;
use crate::console::error::{Code, ErrorLine};
use crate::console::mirror_row::{ConflictRow, MirrorRow};
use crate::console::reply;
use crate::daemon::messages::{MirrorWork, ToDisk};
use crate::fs::mirror::giving::where_kept;
use crate::fs::root::Root;
use crate::keeping::mirrors::{Asked, Conflict, TreeNo};
use crate::name::{Escaped, RelPath, STAGING};
use crate::sys::localtime;
use crate::time::Time;
use crate::wire::versions::{Dot, IndexId, What};

/// The most conflicts that are shown.
const MOST: usize = 10_000;

impl Control {
    /// The answer to `mirror`.
    pub(super) fn mirror_rows(&self, json: bool) -> String {
        let rows = self.equals.rows(&self.membership.members);
        match (rows.is_empty(), json) {
            (true, false) => "nothing is mirrored here: see --mirror\n".to_owned(),
            (_, false) => rows.iter().map(MirrorRow::text).collect(),
            (_, true) => rows.iter().map(MirrorRow::json).collect(),
        }
    }

    /// The answer to `conflicts`.
    pub(super) fn conflict_rows(&self, json: bool) -> String {
        let root = self.shared.base.look().ok();
        let rows = self.all_conflicts().into_iter().map(|one| row(one, root.as_deref()));
        let rows: Vec<ConflictRow> = rows.collect();
        match json {
            false => rows.iter().map(ConflictRow::text).collect(),
            true => rows.iter().map(ConflictRow::json).collect(),
        }
    }

    fn all_conflicts(&self) -> Vec<Conflict> {
        let Some(mirrors) = &self.shared.mirrors else { return Vec::new() };
        mirrors.paths().flat_map(|(tree, _)| mirrors.conflicts(tree, MOST)).collect()
    }

    /// A client decides something of a mirror.
    pub(super) fn decide(&mut self, at: usize, decision: Decision) {
        let shown = reply::shown(decision.path());
        let found = self.equals.trees_of(decision.path(), matches!(decision, Decision::Drop(..)));
        let asked = match self.asked_of(&decision) {
            Err(why) => Err(why),
            Ok(_) if found.is_empty() => {
                Err(format!("nothing is mirrored at {shown}: see msync mirror"))
            }
            Ok(asked) => Ok(asked),
        };
        match asked {
            Ok(asked) => {
                let client = self.clients[at].id;
                self.clients[at].work = Work::Deciding(found.len(), shown);
                for tree in found {
                    let work = MirrorWork::Ask(asked.clone());
                    self.shared.to_disk(ToDisk::Mirror(tree, Some(client), work));
                }
                if let Decision::Release(path) = &decision {
                    // What the watcher holds back goes, too.
                    let _ = self.watches.release(path);
                }
            }
            Err(why) => {
                let session = &mut self.clients[at].session;
                session.error(&ErrorLine::new(Code::InvalidPath, why).about("", shown));
                session.finish();
            }
        }
    }

    fn asked_of(&self, decision: &Decision) -> Result<Asked, String> {
        Ok(match decision {
            Decision::Release(path) => Asked::Release(path.clone()),
            Decision::Adopt(path) => Asked::Adopt(path.clone()),
            Decision::Take(path, version) => {
                let shown = reply::shown(path);
                let all = self.all_conflicts();
                let of_path: Vec<&Conflict> = all.iter().filter(|one| one.path == *path).collect();
                let dot = match (version, of_path.as_slice()) {
                    (Some(version), _) => dot_of(version)?,
                    (None, [one]) => one.dot,
                    (None, []) => {
                        return Err(format!("{shown} has no other version: see msync conflicts"));
                    }
                    (None, _) => {
                        return Err(format!(
                            "{shown} has several: name a VERSION that msync conflicts shows"
                        ));
                    }
                };
                Asked::Take(path.clone(), dot)
            }
            Decision::Drop(path, version) => {
                Asked::Drop(path.clone(), version.as_deref().map(dot_of).transpose()?)
            }
        })
    }

    /// What a client has decided is done, in one tree.
    pub(super) fn decided(
        &mut self,
        now: Time,
        client: u32,
        tree: TreeNo,
        done: Result<u64, String>,
    ) {
        self.mirror_changed(now, tree);
        let Some(at) = self.clients.iter().position(|one| one.id == client) else { return };
        let client = &mut self.clients[at];
        let Work::Deciding(left, shown) = &mut client.work else { return };
        *left -= 1;
        let (is_last, shown) = (*left == 0, shown.clone());
        if let Err(why) = done {
            client.session.error(&ErrorLine::here(&shown, Code::Other, why));
        }
        if is_last {
            client.work = Work::Idle;
            client.session.finish();
        }
    }
}

/// What a version is called.
fn name_of(dot: Dot) -> String {
    format!("{}-{}", dot.by, dot.seq)
}

fn dot_of(name: &str) -> Result<Dot, String> {
    let dot = name.split_once('-').and_then(|(by, seq)| {
        Some(Dot { by: IndexId(u64::from_str_radix(by, 16).ok()?), seq: seq.parse().ok()? })
    });
    dot.filter(|dot| name_of(*dot) == name)
        .ok_or_else(|| format!("{name} is no VERSION: see msync conflicts"))
}

fn row(conflict: Conflict, root: Option<&Root>) -> ConflictRow {
    let Conflict { path, dot, version } = conflict;
    let (what, size, mtime) = match version.what {
        What::File { size, mtime, .. } => {
            ("file", Some(size), localtime::local(mtime.secs).to_string())
        }
        What::Directory => ("directory", None, String::new()),
        What::Symlink { .. } => ("symbolic link", None, String::new()),
        What::Fifo => ("FIFO", None, String::new()),
        What::Char(..) | What::Block(..) => ("device", None, String::new()),
    };
    let top = String::from_utf8_lossy(STAGING).into_owned();
    let kept = root.and_then(|root| where_kept(root, &path, dot));
    let kept = match kept {
        Some(kept) => Escaped(&kept).to_string(),
        None => format!("{top}/conflicts/{}/{path}", name_of(dot)),
    };
    ConflictRow {
        path: shown(&path),
        version: name_of(dot),
        what: what.to_owned(),
        size,
        mtime,
        kept,
    }
}

fn shown(path: &RelPath) -> String {
    reply::shown(path)
}
