//! The figures of this daemon, as `metrics` shows them.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use super::control_loop::Control;
use super::status::dropped;
use crate::console::fleet::{HostRow, Presence};
use crate::console::metrics::{self, Metrics, WatchFigures};
use crate::console::watch_row::WatchRow;
use crate::daemon::clock;
use crate::daemon::counters::of;
use crate::sys::fsat;
use crate::sys::ids;
use crate::time::Time;

impl Control {
    /// Writes the file of figures for the first time.
    ///
    /// # Errors
    /// Its path, and why it cannot be written.
    pub(crate) fn begin_metrics(&mut self) -> Result<(), (PathBuf, io::Error)> {
        let now = clock::now();
        let text = self.metrics(now).text();
        let Some(file) = &mut self.metrics_file else { return Ok(()) };
        file.write(now, &text).map_err(|error| (file.path().to_owned(), error))
    }

    /// Writes the file of figures, if it is due.
    pub(super) fn write_metrics(&mut self, now: Time) {
        if self.metrics_file.as_ref().is_some_and(|file| file.next() <= now) {
            let text = self.metrics(now).text();
            self.metrics_file.iter_mut().for_each(|file| file.refresh(now, &text));
        }
    }

    /// The file says from now on that the daemon has stopped.
    pub(super) fn end_metrics(&mut self) {
        let (now, text) = (clock::now(), metrics::stopped());
        self.metrics_file.iter_mut().for_each(|file| file.refresh(now, &text));
    }

    /// The figures of this moment.
    pub(super) fn metrics(&self, now: Time) -> Metrics {
        let (shared, members) = (&self.shared, &self.membership.members);
        let counters = &shared.counters;
        let hosts = self.hosts(now);
        let count = |is: fn(&HostRow) -> bool| hosts.iter().filter(|host| is(host)).count() as u64;
        let (out, last) = counters.out.so_far();
        let (refused, watches): (Vec<WatchRow>, Vec<WatchRow>) =
            self.watches.rows(now).into_iter().partition(|watch| watch.refused.is_some());
        let mirrors = self.equals.rows(now, members);
        let figures = |watch: WatchRow| {
            let WatchRow { path, directories, pending, held, .. } = watch;
            // What the watcher holds, a mirror has not looked at yet.
            let of_mirror = mirrors.iter().find(|mirror| mirror.path == path);
            let held = held + of_mirror.map_or(0, |mirror| mirror.held);
            WatchFigures { path, directories, pending, held }
        };
        let is_root = ids::effective().uid == 0;
        Metrics {
            version: crate::VERSION.to_owned(),
            started: self.settings.setting.started.0,
            members: members.members().count() as u64,
            away: count(|host| host.presence == Presence::Away),
            behind: count(HostRow::is_behind),
            out,
            last,
            into: counters.into.so_far().0,
            wire_sent: shared.net.sent(),
            wire_received: of(&counters.received),
            repaired: of(&counters.repaired),
            dropped: dropped(shared, members),
            free: shared
                .base
                .look()
                .ok()
                .and_then(|root| fsat::space(root.as_fd(), is_root).ok().flatten()),
            watches: watches.into_iter().map(figures).collect(),
            refused: refused.len() as u64,
            mirrors,
        }
    }
}
