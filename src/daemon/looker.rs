//! The thread that looks at mirrored trees: what was changed in them gets its dots.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use super::messages::ToControl;
use super::shared::Shared;
use super::spawn::spawn;
use crate::keeping::mirrors::{Look, Looking, Mirrors, TreeNo};

/// What is to be looked at in a tree; None: everything.
type Task = (TreeNo, Looking, Option<Vec<Look>>);

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
            for (tree, how, paths) in tasks {
                let seen = match paths {
                    Some(paths) => mirrors.look(tree, &how, paths),
                    None => mirrors.look_at_all(tree, &how),
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
        let _ = self.0.send((tree, how, paths));
    }
}
