//! How important a line of the log is.

use std::fmt;

use crate::sys::syslog::Severity;

/// How much it takes for a line to be shown: 0 is always shown, 9 only when all is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Level(u8);

impl Level {
    /// Something failed that somebody has to see to.
    pub const ERROR: Level = Level(0);
    /// Start and stop, members that come and go: what an operator asks for afterwards.
    pub const NOTICE: Level = Level(1);
    /// Transfers and console commands.
    pub const INFO: Level = Level(2);
    /// What helps to find a fault.
    pub const DEBUG: Level = Level(5);
    /// Everything.
    pub const TRACE: Level = Level(9);
    /// What is shown unless told otherwise.
    pub const DEFAULT: Level = Level::NOTICE;

    /// The level `number`; 9 for all above.
    pub fn new(number: u8) -> Level {
        Level(number.min(9))
    }

    /// The number, 0 to 9.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The severity that syslog knows it by (syslog(3)).
    pub(super) fn severity(self) -> Severity {
        match self.0 {
            0 => Severity::Error,
            1 => Severity::Notice,
            2..=4 => Severity::Info,
            _ => Severity::Debug,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
