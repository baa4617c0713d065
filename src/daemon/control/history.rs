//! The answer to `history`.

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
    let row = |(record, state, ended): (&Record, State, bool)| {
        let secs = (record.id.stamp.millis() / 1_000) as i64;
        let began = Moment(secs, localtime::local(secs).to_string());
        HistoryRow { began, own: *record.id.host == *me, record: record.clone(), ended, state }
    };
    // What was for others is neither sent nor received here.
    let own = || journal.iter().rev().filter(|(_, state, _)| *state != State::Elsewhere);
    let mut rows: Vec<HistoryRow> = own().take(MOST).map(row).collect();
    rows.reverse();
    let earlier = own().skip(MOST).count() as u64;
    drop(keeper);
    history::history(Some(&rows), earlier, json)
}
