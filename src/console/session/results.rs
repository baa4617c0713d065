//! What a session says of a transfer.

use super::{BEHIND, Session};
use crate::console::absent::Absent;
use crate::console::command::{Follow, Reports};
use crate::console::error::ErrorLine;
use crate::console::reply::{HostReport, Progress, Said, Total, Watching};

impl Session {
    /// Writes an error; if the client has asked for reports, also as JSON.
    pub fn error(&mut self, error: &ErrorLine) {
        self.put(error.line());
        if self.reports() {
            self.put(&error.report.emit());
        }
    }

    /// Writes a line of either kind.
    pub fn said(&mut self, said: &Said) {
        match said {
            Said::Line(level, line) => self.line(*level, line),
            Said::Error(error) => self.error(error),
            Said::Differs(found) => {
                self.line(found.level(), &found.line());
                if self.reports() {
                    self.put(&found.emit());
                }
            }
        }
    }

    /// Writes the progress of the transfer, if the client asked for that and keeps up.
    pub fn progress(&mut self, progress: &Progress) {
        self.passing(&progress.emit());
    }

    /// Writes how a watch fares, likewise.
    pub fn watching(&mut self, watching: &Watching) {
        self.passing(&watching.emit());
    }

    /// Writes a line that a later one replaces.
    fn passing(&mut self, line: &str) {
        if self.follow == Follow::Progress && self.unread() < BEHIND {
            self.put(line);
        }
    }

    /// Writes the result of the transfer on one host, if the client asked for that.
    pub fn host(&mut self, report: &HostReport) {
        if self.reports() {
            self.put(&report.emit());
        }
    }

    /// Writes that a known host was not reached, if the client asked for that; after all [`Session::host`].
    pub fn absent(&mut self, absent: &Absent) {
        if self.report != Reports::Off {
            self.put(&absent.emit());
        }
    }

    /// Writes the result of the transfer, if the client asked for that; after all
    /// [`Session::host`] and [`Session::absent`].
    pub fn total(&mut self, total: &Total) {
        if self.follow != Follow::Off || self.report != Reports::Off {
            self.put(&total.emit());
        }
    }
}
