//! The directories of what lasts: `journal`, `mirror` and `prepared`, in `.makuosan` at the top of the base directory or in a
//! directory that the operator has named.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StateError;
use crate::fs::claim;
use crate::fs::home;
use crate::fs::resolve::{self, Resolved};
use crate::fs::root::Root;
use crate::fs::sweep;
use crate::name::STAGING;
use crate::sys::fsat::{self, FileType, Rename};

/// What is kept in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeps {
    /// What was sent and received.
    Journal,
    /// What is known of mirrored trees.
    Mirror,
    /// What transactions are to do.
    Prepared,
}

impl Keeps {
    const ALL: [Keeps; 3] = [Keeps::Journal, Keeps::Mirror, Keeps::Prepared];

    /// The name of the directory.
    fn name(self) -> &'static [u8] {
        match self {
            Keeps::Journal => b"journal",
            Keeps::Mirror => b"mirror",
            Keeps::Prepared => b"prepared",
        }
    }
}

/// How the name of a file ends that is not complete yet.
const UNFINISHED: &[u8] = b".new";
/// How the name of a file ends that was set aside.
const ASIDE: &[u8] = b".aside";
/// The longest name of a file; more may be added to it.
const MOST_NAME: usize = 200;
/// The mode of all files.
const MODE: u32 = 0o600;

/// An open directory of what lasts, which no other daemon has. Clones share it.
#[derive(Clone, Debug)]
pub struct StateDir(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    fd: OwnedFd,
    path: PathBuf,
}

impl StateDir {
    /// That of a base directory, in `.makuosan`, made if it is missing, for a daemon of user `us`.
    ///
    /// # Errors
    /// It, or `.makuosan`, cannot be made or is somebody else's; another daemon has it.
    pub fn in_base(keeps: Keeps, root: &Root, us: u32) -> Result<Self, StateError> {
        let path = root.path().join(OsStr::from_bytes(STAGING));
        let fail = |error| StateError::Io(path.clone(), error);
        let claim = claim::claim(root.as_fd(), us).map_err(fail)?;
        if !claim.is_marked {
            // Without a marker, nothing but what is staged may be there: it would be taken for somebody's.
            match home::furnish(&claim, us).and_then(|_| claim::existing(root.as_fd(), us)) {
                Ok(claim) if claim.is_marked => {}
                Ok(_) => return Err(fail(io::Error::from_raw_os_error(libc::ENOSPC))),
                Err(error) => return Err(fail(error)),
            }
        }
        StateDir::open(keeps, claim.fd.as_fd(), &path, us)
    }

    /// That in the directory `dir`, which is made if it is missing (those above it are not), for a daemon
    /// with the base directory `root`.
    ///
    /// # Errors
    /// As [`StateDir::in_base`]; `dir` is where the daemon sends from or writes to; a symbolic link of
    /// another user's is on the way.
    pub fn elsewhere(keeps: Keeps, dir: &Path, root: &Root, us: u32) -> Result<Self, StateError> {
        let place = place(dir, root, us)?;
        make(place.dir().as_fd(), place.name()).map_err(|e| StateError::Io(dir.to_owned(), e))?;
        let (fd, path) = follow(dir, root, us)?;
        StateDir::open(keeps, fd.as_fd(), &path, us)
    }

    /// Makes `dir` for a daemon that will be another user than it is now, if it is missing: it will perhaps
    /// not be able to. What goes wrong is found out when it is opened.
    pub fn make_for(dir: &Path, root: &Root, uid: u32, gid: u32) {
        let Ok(place) = place(dir, root, uid) else { return };
        if fsat::mkdir_at(place.dir().as_fd(), place.name(), 0o700).is_err() {
            return;
        }
        // Whoever can write in the directory above could have put another one in its place.
        let made = fsat::open_at(place.dir().as_fd(), place.name(), fsat::LISTING, 0);
        let is_empty = |fd: &OwnedFd| sweep::names(fd.as_fd()).is_ok_and(|names| names.is_empty());
        if let Ok(fd) =
            made.map_err(drop).and_then(|fd| if is_empty(&fd) { Ok(fd) } else { Err(()) })
        {
            let _ = fsat::chown_fd(fd.as_fd(), Some(uid), Some(gid));
        }
    }

    /// Why `dir` could not be used by a daemon of user `us`, if that can be told without making anything.
    ///
    /// # Errors
    /// As [`StateDir::elsewhere`].
    pub fn check_elsewhere(
        keeps: Keeps,
        dir: &Path,
        root: &Root,
        us: u32,
    ) -> Result<(), StateError> {
        let home = root.path().join(OsStr::from_bytes(STAGING));
        let typed = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        if typed.parent() == Some(&home) && !home.exists() {
            return check_outside(&typed, root); // the daemon will have made what is above it
        }
        let place = place(dir, root, us)?;
        match fsat::stat_at(place.dir().as_fd(), place.name()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(StateError::Io(dir.to_owned(), e)),
            Ok(_) => {}
        }
        let (fd, path) = follow(dir, root, us)?;
        let fail = |error| StateError::Io(path.clone(), error);
        let is_ours = match fsat::open_at(fd.as_fd(), keeps.name(), libc::O_PATH, 0) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fsat::stat_fd(fd.as_fd()).map_err(fail)?.uid == us
            }
            Err(e) => return Err(fail(e)),
            Ok(named) => judge(named.as_fd(), &path.join(OsStr::from_bytes(keeps.name())), us)?.1,
        };
        match us == 0 || is_ours {
            true => Ok(()),
            false => Err(fail(io::Error::from_raw_os_error(libc::EACCES))),
        }
    }

    fn open(keeps: Keeps, above: BorrowedFd<'_>, path: &Path, us: u32) -> Result<Self, StateError> {
        let path = path.join(OsStr::from_bytes(keeps.name()));
        let fail = |error| StateError::Io(path.clone(), error);
        make(above, keeps.name()).map_err(fail)?;
        let named = fsat::open_at(above, keeps.name(), libc::O_PATH, 0).map_err(fail)?;
        let (fd, is_ours) = judge(named.as_fd(), &path, us)?;
        if is_ours {
            fsat::remove_acls(fd.as_fd())
                .and_then(|()| claim::close(fd.as_fd(), 0o700))
                .map_err(fail)?;
        }
        fsat::lock(fd.as_fd()).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => StateError::InUse(path.clone()),
            _ => StateError::Io(path.clone(), error),
        })?;
        let dir = StateDir(Arc::new(Opened { fd, path }));
        for name in dir.all_names()?.iter().filter(|name| name.ends_with(UNFINISHED)) {
            dir.remove_file(name)?;
        }
        Ok(dir)
    }

    /// The one in `.makuosan` of `dir`, a directory that is called `path`, whoever else has it. It is made if it is
    /// missing and `makes` says so.
    ///
    /// # Errors
    /// It is missing, or somebody else's; it cannot be made.
    pub(in crate::fs) fn beside(
        keeps: Keeps,
        dir: BorrowedFd<'_>,
        path: &Path,
        us: u32,
        makes: bool,
    ) -> io::Result<Self> {
        let name = keeps.name();
        let fd = if makes {
            let claim = claim::claim(dir, us)?;
            home::have_marked(claim.fd.as_fd(), us)?;
            home::open_own(claim.fd.as_fd(), name, us)?
        } else {
            fsat::open_at(claim::existing(dir, us)?.fd.as_fd(), name, fsat::LISTING, 0)?
        };
        let path = path.join(OsStr::from_bytes(STAGING)).join(OsStr::from_bytes(name));
        Ok(StateDir(Arc::new(Opened { fd, path })))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The names of the files in it, but for those that are not complete or were set aside.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, StateError> {
        let mut names = self.all_names()?;
        names.retain(|name| !name.ends_with(UNFINISHED) && !name.ends_with(ASIDE));
        Ok(names)
    }

    /// How many bytes the file `name` has; 0 if there is none.
    pub fn size(&self, name: &[u8]) -> u64 {
        fsat::stat_at(self.fd(), name).map_or(0, |stat| stat.size)
    }

    fn all_names(&self) -> Result<Vec<Vec<u8>>, StateError> {
        sweep::names(self.fd()).map_err(|error| StateError::Io(self.path().to_owned(), error))
    }

    /// Removes the file `name`, if it is there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &[u8]) -> Result<(), StateError> {
        self.check(name)?;
        self.remove_file(name)
    }

    fn remove_file(&self, name: &[u8]) -> Result<(), StateError> {
        match fsat::unlink_at(self.fd(), name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.fail(name)(e)),
            _ => Ok(()),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    /// The path of the file `name`.
    pub(super) fn join(&self, name: &[u8]) -> PathBuf {
        self.path().join(OsStr::from_bytes(name))
    }

    /// The error that a call for the file `name` failed.
    pub(super) fn fail(&self, name: &[u8]) -> impl Fn(io::Error) -> StateError + use<> {
        let path = self.join(name);
        move |error| StateError::Io(path.clone(), error)
    }

    /// Checks that `name` can be that of a file here.
    pub(super) fn check(&self, name: &[u8]) -> Result<(), StateError> {
        let fine = !matches!(name, b"" | b"." | b"..")
            && name.len() <= MOST_NAME
            && !name.ends_with(UNFINISHED)
            && !name.ends_with(ASIDE)
            && !name.iter().any(|byte| matches!(byte, b'/' | 0));
        let invalid = || self.fail(name)(io::Error::from_raw_os_error(libc::EINVAL));
        if fine { Ok(()) } else { Err(invalid()) }
    }

    /// Opens the file `name` with `flags`. None if there is none.
    pub(in crate::fs) fn open_file(
        &self,
        name: &[u8],
        flags: i32,
    ) -> Result<Option<File>, StateError> {
        match fsat::open_regular_at(self.fd(), name, flags) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.fail(name)(e)),
        }
    }

    /// Makes a new file that will be called `name` once it is complete.
    pub(in crate::fs) fn begin(&self, name: &[u8]) -> Result<File, StateError> {
        self.check(name)?;
        let unfinished = [name, UNFINISHED].concat();
        self.remove_file(&unfinished)?;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        let made = fsat::open_at(self.fd(), &unfinished, flags, MODE);
        made.map(File::from).map_err(self.fail(&unfinished))
    }

    /// Gives the file of [`StateDir::begin`] its name, in the place of any that has it.
    pub(in crate::fs) fn complete(&self, name: &[u8]) -> Result<(), StateError> {
        let unfinished = [name, UNFINISHED].concat();
        fsat::rename_at(self.fd(), &unfinished, self.fd(), name, Rename::Replace)
            .map_err(self.fail(name))
    }

    /// Writes the file `name`, in the place of any that has it, and waits until it is on the disk.
    ///
    /// # Errors
    /// It cannot be written. What was there is there still, or this is.
    pub(super) fn put(&self, name: &[u8], bytes: &[u8]) -> Result<(), StateError> {
        let mut file = self.begin(name)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        let written = written.map_err(self.fail(name)).and_then(|()| self.complete(name));
        written.inspect_err(|_| self.abandon(name))?;
        self.sync()
    }

    /// Removes what [`StateDir::begin`] made.
    pub(in crate::fs) fn abandon(&self, name: &[u8]) {
        // What stays goes at the next start.
        let _ = self.remove_file(&[name, UNFINISHED].concat());
    }

    /// Makes the file `name` for reading and writing, in the place of any that has the name.
    pub(super) fn create(&self, name: &[u8]) -> Result<File, StateError> {
        self.check(name)?;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        let make = || fsat::open_at(self.fd(), name, flags, MODE);
        let made = match make() {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.remove_file(name)?;
                make()
            }
            made => made,
        };
        made.map(File::from).map_err(self.fail(name))
    }

    /// Sets the file `name` aside, in the place of any that was set aside before.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn set_aside(&self, name: &[u8]) -> Result<(), StateError> {
        let aside = [name, ASIDE].concat();
        fsat::rename_at(self.fd(), name, self.fd(), &aside, Rename::Replace)
            .map_err(self.fail(name))
    }

    /// Syncs the names in it.
    pub(in crate::fs) fn sync(&self) -> Result<(), StateError> {
        fsat::sync_fd(self.fd()).map_err(|error| StateError::Io(self.path().to_owned(), error))
    }
}

/// Where `dir` is or will be.
fn place(dir: &Path, root: &Root, us: u32) -> Result<Resolved, StateError> {
    let place = resolve::place(dir, us).map_err(|why| StateError::Way(dir.to_owned(), why))?;
    check_outside(place.path(), root)?;
    Ok(place)
}

/// Opens `dir`, and says where it is without symbolic links.
fn follow(dir: &Path, root: &Root, us: u32) -> Result<(OwnedFd, PathBuf), StateError> {
    let resolved = resolve::follow(dir, us).map_err(|why| StateError::Way(dir.to_owned(), why))?;
    let path = resolved.path().to_owned();
    check_outside(&path, root)?;
    let (named, _) = resolved.found().map_err(|error| StateError::Io(path.clone(), error))?;
    let (fd, _) = judge(named.as_fd(), &path, us)?;
    Ok((fd, path))
}

/// Checks that what is kept in `dir` is neither sent nor written to as part of the base directory.
fn check_outside(dir: &Path, root: &Root) -> Result<(), StateError> {
    let is_in = |keeps: Keeps| root.path().starts_with(dir.join(OsStr::from_bytes(keeps.name())));
    let mut below = dir.strip_prefix(root.path()).into_iter().flatten().map(OsStr::as_bytes);
    let is_apart = match (below.next(), below.next()) {
        (Some(STAGING), Some(name)) => name != claim::STAGE,
        (None, _) => dir != root.path() && !Keeps::ALL.into_iter().any(is_in),
        _ => false,
    };
    if is_apart { Ok(()) } else { Err(StateError::InBase(dir.to_owned())) }
}

/// Makes a directory unless there is something of that name.
fn make(above: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match fsat::mkdir_at(above, name, 0o700) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Opens what `named` is open on for its path only, if it is a directory in which nobody but root and
/// the daemon's user may write; whether it is that user's own.
fn judge(named: BorrowedFd<'_>, path: &Path, us: u32) -> Result<(OwnedFd, bool), StateError> {
    let fail = |error| StateError::Io(path.to_owned(), error);
    let stat = fsat::stat_fd(named).map_err(fail)?;
    if stat.kind != FileType::Directory {
        return Err(StateError::NotADirectory(path.to_owned()));
    }
    if stat.uid != us && stat.uid != 0 {
        return Err(StateError::OfUser(path.to_owned(), stat.uid));
    }
    if stat.mode & 0o022 != 0 {
        return Err(StateError::OpenToOthers(path.to_owned(), stat.mode));
    }
    let fd = fsat::open_at(named, b".", fsat::LISTING, 0).map_err(fail)?;
    Ok((fd, stat.uid == us))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::super::testing::once_free;
    use super::*;
    use crate::fs::testing::TempDir;

    fn us() -> u32 {
        fsat::process_ids().unwrap().uid
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn it_is_made_once_for_one_daemon_and_for_nobody_else() {
        let temp = TempDir::new("state-made");
        let dir = StateDir::in_base(Keeps::Journal, &temp.root(), us()).unwrap();
        assert_eq!(dir.path(), temp.join(".makuosan/journal"));
        assert_eq!((mode(dir.path()), mode(&temp.join(".makuosan"))), (0o700, 0o700));
        let again = StateDir::in_base(Keeps::Journal, &temp.root(), us());
        assert!(matches!(again, Err(StateError::InUse(path)) if path == dir.path()));
        let shared = dir.clone();
        drop(dir);
        assert!(StateDir::in_base(Keeps::Journal, &temp.root(), us()).is_err());
        drop(shared);
        set_mode(&temp.join(".makuosan/journal"), 0o755);
        temp.write(".makuosan/journal/list.new", "left behind");
        temp.write(".makuosan/journal/list", "kept");
        let dir = once_free(|| StateDir::in_base(Keeps::Journal, &temp.root(), us()));
        assert_eq!(mode(dir.path()), 0o700);
        assert_eq!(dir.names().unwrap(), [b"list"]);
    }

    #[test]
    fn what_is_not_a_directory_or_is_open_to_others_is_refused_and_stays() {
        let temp = TempDir::new("state-refused");
        drop(StateDir::in_base(Keeps::Journal, &temp.root(), us()).unwrap());
        let journal = temp.join(".makuosan/journal");
        std::fs::remove_dir(&journal).unwrap();
        let elsewhere = temp.mkdir("elsewhere");
        symlink(&elsewhere, &journal).unwrap();
        let refused = |what: &str| {
            let error = StateDir::in_base(Keeps::Journal, &temp.root(), us()).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!(error.path(), journal);
        };
        refused("is not a directory");
        std::fs::remove_file(&journal).unwrap();
        std::fs::write(&journal, "precious").unwrap();
        refused("is not a directory");
        assert_eq!(std::fs::read(&journal).unwrap(), b"precious");
        std::fs::remove_file(&journal).unwrap();
        std::fs::create_dir(&journal).unwrap();
        set_mode(&journal, 0o770);
        refused("chmod 700");
        if us() == 0 {
            set_mode(&journal, 0o700);
            std::os::unix::fs::chown(&journal, Some(54_321), None).unwrap();
            refused("belongs to user 54321");
        }
        assert_eq!(std::fs::read_dir(elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_of_the_operators_is_made_but_not_those_above_it() {
        let (temp, base) = (TempDir::new("state-elsewhere"), TempDir::new("state-base"));
        let elsewhere =
            |dir: &str| StateDir::elsewhere(Keeps::Journal, &temp.join(dir), &base.root(), us());
        let check = |dir: &str| {
            StateDir::check_elsewhere(Keeps::Journal, &temp.join(dir), &base.root(), us())
        };
        check("state").unwrap();
        assert!(!temp.join("state").exists());
        let dir = elsewhere("state").unwrap();
        assert_eq!(dir.path(), temp.join("state/journal"));
        assert_eq!(mode(&temp.join("state")), 0o700);
        check("state").unwrap();
        assert!(matches!(elsewhere("state"), Err(StateError::InUse(_))));
        drop(dir);
        symlink("state", temp.join("link")).unwrap();
        let dir = elsewhere("link").unwrap();
        assert_eq!(dir.path(), temp.join("state/journal"));
        let error = elsewhere("no/state").unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT), "{error}");
        assert_eq!(check("no/state").unwrap_err().errno(), Some(libc::ENOENT));
        set_mode(&temp.join("state"), 0o777);
        assert!(matches!(elsewhere("state"), Err(StateError::OpenToOthers(..))));
        assert!(matches!(check("state"), Err(StateError::OpenToOthers(..))));
        temp.write("file", "");
        assert!(matches!(elsewhere("file"), Err(StateError::NotADirectory(_))));
        assert!(matches!(check("file"), Err(StateError::NotADirectory(_))));
    }

    #[test]
    fn nothing_is_kept_where_it_would_be_sent_or_swept() {
        let temp = TempDir::new("state-inside");
        let root = temp.root();
        symlink(temp.path(), temp.join("link")).unwrap();
        temp.mkdir(".makuosan/stage");
        temp.mkdir("journal");
        for dir in
            ["", "sub", "link", "link/sub", ".makuosan", ".makuosan/stage", ".makuosan/stage/x"]
        {
            let error =
                StateDir::elsewhere(Keeps::Journal, &temp.join(dir), &root, us()).unwrap_err();
            assert!(matches!(error, StateError::InBase(_)), "{dir}: {error}");
            let error = StateDir::check_elsewhere(Keeps::Journal, &temp.join(dir), &root, us())
                .unwrap_err();
            assert!(matches!(error, StateError::InBase(_)), "{dir}: {error}");
        }
        StateDir::elsewhere(Keeps::Journal, &temp.join(".makuosan/state"), &root, us()).unwrap();
        // The base directory would be among the lists.
        let inner = Root::open(&temp.join("journal")).unwrap();
        let error = StateDir::elsewhere(Keeps::Journal, temp.path(), &inner, us()).unwrap_err();
        assert!(matches!(error, StateError::InBase(_)), "{error}");
        assert!(!temp.join("sub").exists());
    }

    #[test]
    fn no_name_leads_out_of_it() {
        let temp = TempDir::new("state-names");
        let dir = StateDir::in_base(Keeps::Journal, &temp.root(), us()).unwrap();
        let long = [b'x'; 201];
        for name in [&b""[..], b".", b"..", b"a/b", b"../x", b"a\0", b"x.new", b"x.aside", &long] {
            assert!(dir.remove(name).is_err(), "{name:?}");
            assert!(dir.begin(name).is_err(), "{name:?}");
        }
        dir.remove(b"none").unwrap();
    }
}
