//! What an earlier daemon has kept of transfers that are for all of their targets or none.

use std::collections::BTreeSet;

use crate::cli::daemon::Config;
use crate::daemon::clock;
use crate::fs::disk::Disk;
use crate::fs::root::Root;
use crate::fs::state::dir::{Keeps, StateDir};
use crate::keeping::transactions::Transactions;
use crate::log;
use crate::name::HostName;
use crate::stamp::Stamp;

/// Takes up what was kept for the host of this name. None, and there can be no such transfers, if nothing can be kept.
pub(super) fn open(
    config: &Config,
    root: &Root,
    name: &HostName,
    us: u32,
) -> Option<(StateDir, Transactions)> {
    let roles = &config.roles;
    let dir = match &config.files.state {
        Some(dir) => StateDir::elsewhere(Keeps::Prepared, dir, root, us),
        None if roles.readonly || roles.no_recv => return None,
        None => StateDir::in_base(Keeps::Prepared, root, us),
    };
    let opened = dir.and_then(|dir| {
        let birth = Stamp::at(clock::wall_millis());
        let (fsync, now) = (config.files.fsync, clock::now());
        let kept = Transactions::open(dir.clone(), name.clone(), birth, fsync, now)?;
        Ok((dir, kept))
    });
    opened.map_err(|why| log::warning(format_args!("no --atomic transfers: {why}"))).ok()
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
