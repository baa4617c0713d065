//! The threads that look at mirrored trees: what was changed in them gets its dots. One does so at once; the other one reads
//! long files, and those that do not hold still, so that nothing else waits for these.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};

use super::clock;
use super::messages::{MirrorWork, ToControl, ToDisk};
use super::shared::Shared;
use super::spawn::spawn;
use crate::keeping::mirrors::{Look, Looking, MirrorError, Mirrors, TreeNo};
use crate::log;
use crate::name::RelPath;
use crate::time::{Span, Time};

/// What is to be looked at in a tree.
enum Task {
    /// These paths; None: everything.
    Look(TreeNo, Looking, Option<Vec<Look>>),
    /// Whether what is held is there again.
    Back(TreeNo, Looking),
}

/// A file that is looked at later, and after how long that is tried again if it does not hold still.
type Later = (TreeNo, Looking, RelPath, Span);

/// At first, and at the most.
const WAIT: [Span; 2] = [Span::from_secs(1), Span::from_secs(60)];

/// The threads. When this is dropped, they end.
#[derive(Debug)]
pub(super) struct Looker(Sender<Task>);

impl Looker {
    /// Starts them.
    ///
    /// # Errors
    /// There is no thread left.
    pub(super) fn start(shared: &Arc<Shared>, mirrors: Arc<Mirrors>) -> std::io::Result<Self> {
        let (sender, tasks) = mpsc::channel::<Task>();
        let (later, long) = mpsc::channel::<Later>();
        let (to, all) = (Arc::clone(shared), Arc::clone(&mirrors));
        spawn(shared, "long files", move || look_at_long(&to, &all, &long))?;
        let to = Arc::clone(shared);
        spawn(shared, "mirrors", move || {
            for task in tasks {
                let (tree, how, paths) = match task {
                    Task::Look(tree, how, paths) => (tree, how, paths),
                    Task::Back(tree, how) => {
                        if mirrors.is_back(tree, &how) {
                            to.control.send(ToControl::MirrorBack(tree));
                        }
                        continue;
                    }
                };
                let seen = match paths {
                    Some(paths) => mirrors.look(tree, &how, paths),
                    None => mirrors.look_at_all(tree, &how),
                };
                for path in seen.iter().flat_map(|seen| &seen.later) {
                    // If the thread has panicked, the daemon ends.
                    let _ = later.send((tree, how.clone(), path.clone(), WAIT[0]));
                }
                let seen = seen.map_err(|error| error.to_string());
                to.control.send(ToControl::Looked(tree, seen));
            }
        })?;
        Ok(Looker(sender))
    }

    /// Has something looked at; [`ToControl::Looked`] says that it is done.
    pub(super) fn look(&self, tree: TreeNo, how: Looking, paths: Option<Vec<Look>>) {
        // If the thread has panicked, the daemon ends.
        let _ = self.0.send(Task::Look(tree, how, paths));
    }

    /// Has it looked whether what is held is there again; [`ToControl::MirrorBack`] says that some of it is.
    pub(super) fn look_whether_back(&self, tree: TreeNo, how: Looking) {
        let _ = self.0.send(Task::Back(tree, how));
    }
}

/// Looks at files that take long, one after the other, until nobody can send any more.
fn look_at_long(shared: &Shared, mirrors: &Mirrors, tasks: &Receiver<Later>) {
    let mut waiting: VecDeque<(Time, Later)> = VecDeque::new();
    loop {
        let now = clock::now();
        let due = waiting.iter().map(|(due, _)| *due).min();
        let wait = due.map_or(WAIT[1], |due| due.since(now));
        match tasks.recv_timeout(wait.into()) {
            Ok(task) => waiting.push_back((now, task)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = clock::now();
        let next = waiting.iter().position(|(due, _)| *due <= now);
        let Some((_, later)) = next.and_then(|at| waiting.remove(at)) else { continue };
        let (tree, how, path, wait) = later;
        match mirrors.look_at_long(tree, &how, &path) {
            Ok(seen) if seen.later.is_empty() => {}
            // Also until a tree that stands still goes on.
            Ok(_) | Err(MirrorError::Stopped(_)) => {
                let next = Span::from_micros(wait.micros() * 2).at_most(WAIT[1]);
                waiting.push_back((clock::now() + wait, (tree, how, path, next)));
            }
            Err(error) => log::error(format_args!("mirror {path}: {error}")),
        }
        // What is to be done there, and what others are to get, is known now.
        shared.to_disk(ToDisk::Mirror(tree, None, MirrorWork::Settle));
    }
}
