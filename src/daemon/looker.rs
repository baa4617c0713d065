//! The thread that looks at mirrored trees: what was changed in them gets its dots.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use super::messages::ToControl;
use super::shared::Shared;
use super::spawn::spawn;
use crate::keeping::mirrors::{Look, Looking, Mirrors, TreeNo};

/// What is to be looked at in a tree.
enum Task {
    /// These paths; None: everything.
    Look(TreeNo, Looking, Option<Vec<Look>>),
    /// Whether what is held is there again.
    Back(TreeNo, Looking),
}

/// The thread. When this is dropped, it ends.
#[derive(Debug)]
pub(super) struct Looker(Sender<Task>);

impl Looker {
    /// Starts it.
    ///
    /// # Errors
    /// There is no thread left.
    pub(super) fn start(shared: &Arc<Shared>, mirrors: Arc<Mirrors>) -> std::io::Result<Self> {
        let (sender, tasks) = mpsc::channel::<Task>();
        let to = Arc::clone(shared);
        spawn(shared, "mirrors", move || {
            for task in tasks {
                let (tree, seen) = match task {
                    Task::Look(tree, how, Some(paths)) => (tree, mirrors.look(tree, &how, paths)),
                    Task::Look(tree, how, None) => (tree, mirrors.look_at_all(tree, &how)),
                    Task::Back(tree, how) => {
                        if mirrors.is_back(tree, &how) {
                            to.control.send(ToControl::MirrorBack(tree));
                        }
                        continue;
                    }
                };
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
