//! How important a line of the log is.

use std::fmt;

use crate::sys::syslog::Severity;

/// How much it takes for a line to be shown: 0 is always shown, 9 only when all is; and what syslog
/// knows it by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Level {
    number: u8,
    severity: Severity,
}

impl Level {
    /// Something failed that somebody has to see to.
    pub const ERROR: Level = Level { number: 0, severity: Severity::Error };
    /// Something is not as it should be: a host that is lost, a client that is refused.
    pub const WARNING: Level = Level { number: 0, severity: Severity::Warning };
    /// Start and stop, members that come and go: what an operator asks for afterwards.
    pub const NOTICE: Level = Level { number: 1, severity: Severity::Notice };
    /// What a transfer has come to.
    pub const TRANSFER: Level = Level { number: 1, severity: Severity::Info };
    /// Transfers that begin, and what happens to them meanwhile.
    pub const INFO: Level = Level { number: 2, severity: Severity::Info };
    /// What helps to find a fault: clients and their commands.
    pub const DEBUG: Level = Level { number: 5, severity: Severity::Debug };
    /// Everything: each entry of a transfer.
    pub const TRACE: Level = Level { number: 9, severity: Severity::Debug };
    /// What is shown unless told otherwise.
    pub const DEFAULT: Level = Level::NOTICE;

    /// The level `number`; 9 for all above.
    pub fn new(number: u8) -> Level {
        let number = number.min(9);
        let severity = match number {
            0 => Severity::Error,
            1 => Severity::Notice,
            2..=4 => Severity::Info,
            _ => Severity::Debug,
        };
        Level { number, severity }
    }

    /// The number, 0 to 9.
    pub fn number(self) -> u8 {
        self.number
    }

    /// The severity that syslog knows it by (syslog(3)).
    pub(super) fn severity(self) -> Severity {
        self.severity
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_a_warning_and_daily_business_is_none() {
        let of = |level: Level| (level.number(), level.severity());
        assert_eq!(of(Level::ERROR), (0, Severity::Error));
        assert_eq!(of(Level::WARNING), (0, Severity::Warning));
        assert_eq!(of(Level::NOTICE), (1, Severity::Notice));
        assert_eq!(of(Level::TRANSFER), (1, Severity::Info));
        assert_eq!(of(Level::DEBUG), (5, Severity::Debug));
        // A threshold says only how much is shown.
        for number in 0..=9 {
            assert_eq!(Level::new(number).number(), number);
        }
    }
}
