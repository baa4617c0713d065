//! The answer to `history`.

use std::collections::BTreeSet;

use crate::console::history::{self, HistoryRow};
use crate::console::moment::Moment;
use crate::daemon::shared::Shared;
use crate::engine::catch_up::{Record, State};
use crate::keeping::lock;
use crate::name::HostName;
use crate::sys::localtime;

/// The most transfers that are listed: the latest.
const MOST: usize = 1_000;

/// The answer to `history`, on the host of this name.
pub(super) fn history(shared: &Shared, me: &HostName, json: bool) -> String {
    let Some(keeper) = &shared.keeper else { return history::history(None, 0, json) };
    let keeper = lock(keeper);
    let journal = keeper.journal();
    let row = |(record, state, ended): (Record, State, bool)| {
        let secs = (record.id.stamp.millis() / 1_000) as i64;
        let began = Moment(secs, localtime::local(secs).to_string());
        let own = *record.id.host == *me;
        let have = keeper.have(record.id.stamp).filter(|_| own && ended);
        // What else a host that has all has, it has not got from here.
        let have = have.map(|have| {
            let have = have.filter(|host| record.is_for(host)).cloned();
            have.collect::<BTreeSet<_>>().into_iter().collect()
        });
        HistoryRow { began, own, record, ended, state, have }
    };
    // What was for others is neither sent nor received here.
    let own = || journal.iter().rev().filter(|(_, state, _)| *state != State::Elsewhere);
    let mut rows: Vec<HistoryRow> = own().take(MOST).map(row).collect();
    rows.reverse();
    let earlier = own().skip(MOST).count() as u64;
    drop(keeper);
    history::history(Some(&rows), earlier, json)
}
