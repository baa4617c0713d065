//! Where what is kept of transfers goes, and taking up what an earlier daemon has kept.

use std::path::Path;

use super::error::StartError;
use super::identity::Identity;
use crate::cli::daemon::{CatchUp, Config};
use crate::daemon::clock::{self, FleetClock};
use crate::fs::root::Root;
use crate::fs::state::dir::{Keeps, StateDir};
use crate::fs::state::error::StateError;
use crate::keeping::hosts::Hosts;
use crate::keeping::{Keeper, Opened};
use crate::log;
use crate::name::HostName;
use crate::stamp::Stamp;

/// Where what is kept goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place<'a> {
    /// Nothing is kept, because of this option.
    Nowhere(&'static str),
    /// Below the base directory.
    Base,
    /// In the directory of `--state`.
    Dir(&'a Path),
}

impl<'a> Place<'a> {
    /// As the options say.
    pub(super) fn of(config: &'a Config) -> Self {
        let roles = &config.roles;
        match &config.files.state {
            _ if roles.catch_up == CatchUp::Never => Place::Nowhere("--no-catch-up"),
            Some(dir) => Place::Dir(dir),
            None if roles.readonly => Place::Nowhere("-r without --state"),
            None if roles.no_recv => Place::Nowhere("-o without --state"),
            None => Place::Base,
        }
    }

    /// Whether it could be used, as far as that can be told without making anything.
    ///
    /// # Errors
    /// Why the directory of `--state` could not.
    pub(super) fn check(self, root: &Root, us: u32) -> Result<(), StartError> {
        match self {
            Place::Dir(dir) => {
                StateDir::check_elsewhere(Keeps::Journal, dir, root, us).map_err(StartError::State)
            }
            Place::Nowhere(_) | Place::Base => Ok(()),
        }
    }

    /// What has to be done before rights are given up.
    pub(super) fn prepare(self, root: &Root, identity: &Identity) {
        if let (Place::Dir(dir), true) = (self, identity.drops) {
            StateDir::make_for(dir, root, identity.uid, identity.gid);
        }
    }

    /// Opens it for a daemon of user `us`; None if nothing is kept. Only a directory that was asked for has
    /// to be there.
    ///
    /// # Errors
    /// Why the directory of `--state` cannot be used.
    pub(super) fn open(self, root: &Root, us: u32) -> Result<Option<StateDir>, StartError> {
        match self {
            Place::Dir(dir) => StateDir::elsewhere(Keeps::Journal, dir, root, us)
                .map(Some)
                .map_err(StartError::State),
            Place::Base => {
                Ok(StateDir::in_base(Keeps::Journal, root, us).map_err(|why| not_kept(&why)).ok())
            }
            Place::Nowhere(option) => {
                log::info(format_args!("what is sent and received is not kept: {option}"));
                Ok(None)
            }
        }
    }
}

fn not_kept(why: &StateError) {
    log::warning(format_args!("what is sent and received is not kept: {why}"));
}

/// What is kept in `dir` for the host of this name, with the base directory `root`. None, and nothing is kept,
/// if that is not possible. The clock goes on from where it was.
pub(super) fn keeper(
    dir: StateDir,
    root: &Root,
    me: &HostName,
    clock: &FleetClock,
) -> Option<Keeper> {
    let wall = clock::wall_millis();
    // Who has nothing yet lacks all that was ever sent.
    let birth = if root.is_empty().unwrap_or(false) { Stamp::ZERO } else { Stamp::at(wall) };
    let opened = Keeper::open(dir, me, wall, birth);
    let Opened { keeper, height, remarks } = opened.map_err(|why| not_kept(&why)).ok()?;
    remarks.iter().for_each(|remark| log::warning(format_args!("{remark}")));
    if !clock.restore(height) {
        log::warning(format_args!(
            "the clock stood at {height} when this daemon ran before: that is left out"
        ));
    }
    Some(keeper)
}

/// The hosts that are known, as they are kept in `dir`, if anything is kept, for the host of this name.
pub(super) fn hosts(dir: Option<&StateDir>, me: &HostName) -> Hosts {
    let (hosts, trouble) = Hosts::open(dir, me, clock::wall_millis());
    if let Some(why) = trouble {
        log::warning(format_args!("which hosts are known cannot be kept: {why}"));
    }
    hosts
}
