//! What a session says of a transfer.

use super::{BEHIND, Session};
use crate::console::absent::Absent;
use crate::console::command::{Reports, Watch};
use crate::console::error::ErrorLine;
use crate::console::reply::{HostReport, Progress, Said, Total};

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
        if self.watch == Watch::Progress && self.unread() < BEHIND {
            self.put(&progress.emit());
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
        if self.watch != Watch::Off || self.report != Reports::Off {
            self.put(&total.emit());
        }
    }
}
