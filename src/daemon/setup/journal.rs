//! Takes up what an earlier daemon has kept of transfers.

use crate::daemon::clock::{self, FleetClock};
use crate::fs::root::Root;
use crate::fs::state::dir::StateDir;
use crate::keeping::{Keeper, Opened};
use crate::log;
use crate::name::HostName;
use crate::stamp::Stamp;

/// What is kept below the base directory for the host of this name, whose daemon has user `us`. None, and
/// nothing is kept, if that is not possible. The clock goes on from where it was.
pub(super) fn keeper(root: &Root, us: u32, me: &HostName, clock: &FleetClock) -> Option<Keeper> {
    let opened = StateDir::in_base(root, us);
    let wall = clock::wall_millis();
    // Who has nothing yet lacks all that was ever sent.
    let birth = if root.is_empty().unwrap_or(false) { Stamp::ZERO } else { Stamp::at(wall) };
    let opened = opened.and_then(|dir| Keeper::open(dir, me, wall, birth));
    let Opened { keeper, height, remarks } = match opened {
        Ok(opened) => opened,
        Err(error) => {
            log::warning(format_args!("what is sent and received is not kept: {error}"));
            return None;
        }
    };
    remarks.iter().for_each(|remark| log::warning(format_args!("{remark}")));
    if !clock.restore(height) {
        log::warning(format_args!(
            "the clock stood at {height} when this daemon ran before: that is left out"
        ));
    }
    Some(keeper)
}
