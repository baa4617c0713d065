//! What an earlier daemon has kept of transfers that are for all of their targets or none.

use std::collections::BTreeSet;

use crate::cli::daemon::Config;
use crate::daemon::clock;
use crate::daemon::prepared::{Place, PreparedDir};
use crate::fs::disk::Disk;
use crate::fs::root::Root;
use crate::fs::state::dir::StateDir;
use crate::keeping::transactions::Transactions;
use crate::log;
use crate::name::HostName;

/// Where they are kept, as the options say.
pub(super) fn place(config: &Config, name: &HostName, uid: u32) -> PreparedDir {
    let roles = &config.roles;
    let place = match &config.files.state {
        Some(dir) => Place::Dir(dir.clone()),
        None if roles.readonly || roles.no_recv => Place::Nowhere,
        None => Place::Base,
    };
    PreparedDir::new(place, name.clone(), uid, config.files.fsync, clock::wall_millis())
}

/// Takes up what was kept. None if nothing was.
pub(super) fn open(prepared: &PreparedDir, root: &Root) -> Option<(StateDir, Transactions)> {
    if !prepared.is_there(root) {
        return None;
    }
    let dir = prepared.open(root)?;
    let kept = prepared.take_up(dir.clone(), clock::now())?;
    Some((dir, kept))
}

/// The numbers of slots that are spared, with these.
pub(super) fn slots(
    opened: Option<&(StateDir, Transactions)>,
    mut slots: BTreeSet<u64>,
) -> BTreeSet<u64> {
    slots.extend(opened.iter().flat_map(|(_, kept)| kept.slots()));
    slots
}

/// Has the disk go on with those that were not over.
pub(super) fn recover(
    opened: Option<(StateDir, Transactions)>,
    disk: &mut Disk,
) -> Option<Transactions> {
    let (dir, kept) = opened?;
    match disk.keep_transactions(dir, &kept.ready()) {
        Ok(lost) => {
            if !lost.is_empty() {
                log::error(format_args!(
                    "what was staged for {} --atomic transfers is lost or damaged",
                    lost.len()
                ));
            }
            Some(kept)
        }
        Err(why) => {
            log::error(format_args!("no --atomic transfers: {why}"));
            None
        }
    }
}
