//! Which directory the path of the base directory leads to now. It may be moved away and another be put
//! in its place, or something be mounted over it, while the daemon runs: what was opened at the start is
//! then not what anybody means any more.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::errno::ErrorText;
use crate::fs::resolve::{self, ResolveError};
use crate::fs::root::Root;
use crate::log;
use crate::sys::fsat::{self, FileType, Stat};
use crate::sys::lookout::{Answer, Lookout};
use crate::wire::outcome::Reason;

/// What keeps a daemon to the directory that it has opened at the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeldBy {
    /// Nothing: another directory can be opened.
    Nothing,
    /// Landlock, which knows directories by their inodes.
    Landlock,
    /// A chroot.
    Chroot,
}

/// The base directory by its path, which is looked at anew for each transfer.
#[derive(Debug)]
pub(super) struct Base {
    path: PathBuf,
    /// Where that led at the start.
    first: PathBuf,
    us: u32,
    held_by: HeldBy,
    /// Who looks, if this process does not see the path.
    lookout: Option<Lookout>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    root: Arc<Root>,
    /// Why transfers are refused since the last look, in the words of the log.
    refused: Option<String>,
}

/// An object, told from all others by device, inode, and the mount that it is reached by.
#[derive(Clone, Copy, Debug)]
struct Object {
    dev: u64,
    ino: u64,
    mount: Option<u64>,
}

impl Base {
    /// The base directory `root`, which was opened by `path` for a daemon of user `us` and led to `first`;
    /// `path` is absolute. A lookout that is not needed is dismissed.
    pub(super) fn new(
        path: PathBuf,
        first: PathBuf,
        us: u32,
        root: Arc<Root>,
        held_by: HeldBy,
        lookout: Option<Lookout>,
    ) -> Self {
        let sees = held_by != HeldBy::Chroot && look(&path, us).is_ok();
        let lookout = lookout.filter(|_| !sees);
        Base { path, first, us, held_by, lookout, state: Mutex::new(State { root, refused: None }) }
    }

    /// A process that sees `path` when the daemon of user `us` has given up its rights or is in a chroot.
    ///
    /// # Errors
    /// See [`Lookout::start`].
    pub(super) fn lookout(path: &Path, us: u32) -> io::Result<Lookout> {
        let path = path.to_owned();
        Lookout::start(move || match look(&path, us) {
            Ok(object) => [0, object.dev, object.ino, object.mount.map_or(0, |mount| mount + 1)],
            Err(error) => [error.raw_os_error().unwrap_or(libc::ELOOP) as u64, 0, 0, 0],
        })
    }

    /// The directory that is at the path now. Opens it if it is another one than at the last look, and
    /// says so in the log.
    ///
    /// # Errors
    /// [`Reason::BaseReplaced`]: it is another one, which this process cannot open.
    /// [`Reason::BaseMissing`]: there is no directory.
    pub(super) fn look(&self) -> Result<Arc<Root>, Reason> {
        let mut state = self.state();
        let (reason, why) = match self.seen().map(|seen| (seen, seen.is(&state.root))) {
            Ok((_, true)) => {
                if state.refused.take().is_some() {
                    let path = self.path.display();
                    // Without a free descriptor it comes and goes with each look.
                    let text = format_args!("base directory {path} is back");
                    log::limited(log::Level::NOTICE, "base directory", None, text);
                }
                return Ok(Arc::clone(&state.root));
            }
            Ok((seen, false)) => match self.open(seen, &state.root) {
                Ok(root) => {
                    let path = self.path.display();
                    log::notice(format_args!(
                        "base directory {path} was replaced: the one that is there now is used"
                    ));
                    state.root = Arc::new(root);
                    state.refused = None;
                    return Ok(Arc::clone(&state.root));
                }
                Err(why) => why,
            },
            Err(error) => (Reason::BaseMissing, Some(error)),
        };
        let said = match why {
            Some(why) => format!("{reason} ({})", ErrorText(&why)),
            None => reason.to_string(),
        };
        if state.refused.as_ref() != Some(&said) {
            let text = format_args!("{}: {said}", self.path.display());
            log::limited(log::Level::ERROR, "base directory", None, text);
        }
        state.refused = Some(said);
        Err(reason)
    }

    /// The directory that is used, by its path as seen from outside a chroot.
    pub(super) fn path(&self) -> PathBuf {
        match self.held_by {
            HeldBy::Chroot => self.first.clone(),
            _ => self.state().root.path().to_owned(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> io::Result<Object> {
        let Some(lookout) = &self.lookout else { return look(&self.path, self.us) };
        let [error, dev, ino, mount]: Answer = lookout.ask()?;
        match i32::try_from(error) {
            Ok(0) => Ok(Object { dev, ino, mount: mount.checked_sub(1) }),
            code => Err(io::Error::from_raw_os_error(code.unwrap_or(libc::EIO))),
        }
    }

    /// Opens what was `seen` at the path in place of `old`.
    fn open(&self, seen: Object, old: &Root) -> Result<Root, (Reason, Option<io::Error>)> {
        let same_inode =
            || Object::of(old).is_ok_and(|old| (old.dev, old.ino) == (seen.dev, seen.ino));
        match self.held_by {
            HeldBy::Nothing => {}
            HeldBy::Landlock if same_inode() => {}
            _ => return Err((Reason::BaseReplaced, None)),
        }
        match Root::open_trusted(&self.path, self.us).map_err(io_error) {
            Ok(root) => Ok(root),
            // The rights with which a daemon starts may be more than it has now.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                Err((Reason::BaseReplaced, Some(e)))
            }
            Err(e) => Err((Reason::BaseMissing, Some(e))),
        }
    }
}

impl Object {
    fn of(root: &Root) -> io::Result<Self> {
        fsat::stat_fd(root.as_fd()).map(|stat| Object::from(&stat))
    }

    /// Whether `root` is this. It is asked now: an overlay may give a directory another number.
    fn is(self, root: &Root) -> bool {
        Object::of(root).is_ok_and(|root| {
            let mounts = self.mount.zip(root.mount);
            (root.dev, root.ino) == (self.dev, self.ino) && mounts.is_none_or(|(a, b)| a == b)
        })
    }
}

impl From<&Stat> for Object {
    fn from(stat: &Stat) -> Self {
        Object { dev: stat.dev, ino: stat.ino, mount: stat.mount }
    }
}

/// What `path` leads to for a daemon of user `us`.
fn look(path: &Path, us: u32) -> io::Result<Object> {
    let resolved = resolve::follow(path, us).map_err(io_error)?;
    let (_, stat) = resolved.found()?;
    match stat.kind {
        FileType::Directory => Ok(Object::from(stat)),
        _ => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
    }
}

fn io_error(why: ResolveError) -> io::Error {
    match why {
        ResolveError::Io(error) => error,
        link @ ResolveError::Link(..) => io::Error::other(link),
    }
}
