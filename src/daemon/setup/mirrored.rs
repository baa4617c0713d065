//! The trees that a daemon mirrors, from its start on.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::error::StartError;
use super::identity::Identity;
use crate::cli::daemon::Config;
use crate::console::reply;
use crate::daemon::clock;
use crate::errno::ErrorText;
use crate::fs::disk::Disk;
use crate::fs::mirror::ground::Ground;
use crate::fs::root::Root;
use crate::fs::state::dir::{Keeps, StateDir};
use crate::fs::state::root_id::RootIs;
use crate::keeping::mirror_store::{Found, MirrorStore};
use crate::keeping::mirrors::{Mirrors, Tree};
use crate::log;
use crate::mirror::index::{Index, Record};
use crate::name::{HostName, RelPath};
use crate::sys::{fsat, random};
use crate::wire::versions::IndexId;

/// A tree whose index was read.
pub(super) struct Ready {
    path: RelPath,
    tree: Tree,
}

/// Makes what is to be mirrored where it is missing, and reads its indexes.
///
/// # Errors
/// It cannot be made, or what is kept of it cannot be read or written.
pub(super) fn open(
    config: &Config,
    root: &Root,
    name: &HostName,
    identity: &Identity,
) -> Result<Vec<Ready>, StartError> {
    let paths = &config.mirror.paths;
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let dir = match &config.files.state {
        Some(dir) => StateDir::elsewhere(Keeps::Mirror, dir, root, identity.uid),
        None => StateDir::in_base(Keeps::Mirror, root, identity.uid),
    };
    let dir = dir.map_err(StartError::State)?;
    let open = |path: &RelPath| one(&dir, path, root, (name, identity.uid), config.mirror.first);
    paths.iter().map(open).collect()
}

fn one(
    dir: &StateDir,
    path: &RelPath,
    root: &Root,
    (name, us): (&HostName, u32),
    first: bool,
) -> Result<Ready, StartError> {
    let failed = |error| StartError::Option("--mirror", path.to_string(), error);
    let shown = reply::shown(path);
    make(root, path).map_err(failed)?;
    let id = || random::u64().map_err(failed);
    let opened = MirrorStore::open(dir, path, name, id()?).map_err(StartError::State)?;
    let ground = Ground::open(dir.clone(), path, opened.store.id(), name, us);
    let mut ground = ground.map_err(StartError::State)?;
    let root_is = ground.top_is(root).map_err(failed)?;
    let mut is_whole = opened.found == Found::Whole && opened.other_host.is_none();
    let index = match opened.found {
        Found::New | Found::Lost(_) => Ok(Index::new(IndexId(id()?))),
        Found::Whole | Found::Cut(_) => {
            // Without a snapshot, the log has the whole head, too.
            let head = opened.head.unwrap_or_else(|| Index::new(IndexId(0)).head());
            Index::restore(&head, opened.entries, IndexId(id()?))
        }
    };
    let index = index.and_then(|mut index| {
        for record in &opened.records {
            index.apply(&Record::parse(record)?)?;
        }
        Ok(index)
    });
    let mut index = match index {
        Ok(index) => index,
        Err(why) => {
            log::error(format_args!("mirror {shown}: what is kept of it cannot be used: {why}"));
            is_whole = false;
            Index::new(IndexId(id()?))
        }
    };
    // If the directory is another one, it stands still until it is the same again.
    let vouches = is_whole && ground.is_known() && !matches!(root_is, RootIs::OfHost(_));
    if !vouches {
        index.renew(IndexId(id()?));
        if !ground.is_known() {
            ground.take_top(root).map_err(failed)?;
        }
        if opened.found != Found::New {
            let why = match (&opened.found, &root_is) {
                (Found::Whole, RootIs::OfHost(host)) => format!("it is that of {host}"),
                (Found::Whole, _) => "it does not belong to this directory".to_owned(),
                (Found::Cut(bytes), _) => format!("{bytes} bytes of it are damaged"),
                _ => "it is damaged".to_owned(),
            };
            log::warning(format_args!(
                "mirror {shown}: the index does not vouch for what is here: {why}; what differs from other \
                 hosts is listed: see msync mirror"
            ));
        }
    }
    let kept = (path.clone(), index, opened.store);
    let tree = Tree::new(ground, kept, vouches, clock::wall_millis, first);
    Ok(Ready { path: path.clone(), tree })
}

fn make(root: &Root, path: &RelPath) -> std::io::Result<std::os::fd::OwnedFd> {
    for (at, byte) in path.as_bytes().iter().chain(b"/").enumerate() {
        if *byte != b'/' || path.is_base() {
            continue;
        }
        let so_far = &path.as_bytes()[..at];
        let (above, name) = match so_far.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&so_far[..slash], &so_far[slash + 1..]),
            None => (&b""[..], so_far),
        };
        let above = root.open_dir(above, fsat::PATH_ONLY)?;
        match fsat::mkdir_at(above.as_fd(), name, 0o755) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    root.open_dir(path.as_bytes(), fsat::LISTING)
}

/// The slots that the indexes speak of.
pub(super) fn slots(ready: &[Ready]) -> std::collections::BTreeSet<u64> {
    ready.iter().flat_map(|one| one.tree.slots()).collect()
}

/// Finds out what became of what was under way when the last daemon ended. None if nothing is mirrored.
///
/// # Errors
/// It cannot be told, or written down.
pub(super) fn recover(
    ready: Vec<Ready>,
    disk: &mut Disk,
) -> Result<Option<Arc<Mirrors>>, StartError> {
    let mut trees = Vec::new();
    let root = Arc::clone(disk.root());
    for Ready { path, mut tree } in ready {
        tree.is_in_place(&root);
        let failed = |why: String| {
            StartError::Option("--mirror", path.to_string(), std::io::Error::other(why))
        };
        let now = i64::try_from(clock::wall_millis() / 1_000).unwrap_or(i64::MAX);
        let mut ops = disk.mirror(now).map_err(|error| failed(ErrorText(&error).to_string()))?;
        tree.recover(&mut ops).map_err(|error| failed(error.to_string()))?;
        trees.push((path, tree));
    }
    disk.leave_alone(trees.iter().map(|(path, _)| path.clone()).collect());
    Ok((!trees.is_empty()).then(|| Arc::new(Mirrors::new(trees))))
}
