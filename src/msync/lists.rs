//! The commands `members`, `status`, `metrics` and `history`.
#![forbid(unsafe_code)]

use super::dialogue::Client;
use super::failure::Failure;
use super::old::{self, Row};
use super::status::{INCOMPLETE, SUCCESS};
use crate::console::error::is_error;
use crate::console::fleet::BEHIND;
use crate::console::report::WARNING;
use crate::name::HostName;

impl Client<'_> {
    /// Lists the members.
    pub(super) fn members(&mut self, verbose: bool, json: bool) -> Result<u8, Failure> {
        let new = (verbose || json) && self.understood(b"progress total")?;
        match (json, new) {
            (true, true) => self.list(b"members json", json),
            (true, false) => {
                let (rows, _) = self.rows()?;
                self.screen.line(old::members(&rows).as_bytes());
                Ok(SUCCESS)
            }
            (false, true) => self.list(b"members -v", json),
            (false, false) => {
                // A daemon that knows no more than the table has been found out already.
                if !verbose {
                    self.warnings()?;
                }
                self.list(b"members", json)
            }
        }
    }

    /// Lists the hosts that lack something: 2 if there is one.
    pub(super) fn behind(&mut self, json: bool) -> Result<u8, Failure> {
        let command = if json { &b"members behind json"[..] } else { b"members behind" };
        let mut lines: Vec<Vec<u8>> = Vec::new();
        self.ask(command, |_, line| lines.push(line.to_vec()))?;
        let is_last = |line: &Vec<u8>| match json {
            true => line.starts_with(BEHIND.as_bytes()),
            false => line.starts_with(b"Total: "),
        };
        // One that does not know it answers with its help.
        let last = lines.pop().filter(is_last).ok_or(Failure::TooOld("members --behind"))?;
        let none = match json {
            true => last.starts_with(format!("{BEHIND}[]").as_bytes()),
            false => lines.is_empty(),
        };
        lines.extend(json.then_some(last));
        lines.iter().for_each(|line| self.screen.line(line));
        Ok(if none { SUCCESS } else { INCOMPLETE })
    }

    /// Has the daemon forget a host.
    pub(super) fn forget(&mut self, host: &HostName, json: bool) -> Result<u8, Failure> {
        self.list(format!("forget {host}").as_bytes(), json)
    }

    /// Shows the figures of the daemon. What is no figure never gets among them.
    pub(super) fn metrics(&mut self) -> Result<u8, Failure> {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        self.ask(b"metrics", |_, line| lines.push(line.to_vec()))?;
        if !lines.first().is_some_and(|line| line.starts_with(b"# HELP ")) {
            return Err(Failure::TooOld("metrics"));
        }
        lines.iter().for_each(|line| self.screen.line(line));
        Ok(SUCCESS)
    }

    /// Lists what was sent and received.
    pub(super) fn history(&mut self, json: bool) -> Result<u8, Failure> {
        self.list(if json { b"history json" } else { b"history" }, json)
    }

    /// Shows how mirrors stand.
    pub(super) fn mirror(&mut self, json: bool) -> Result<u8, Failure> {
        self.list(if json { b"mirror json" } else { b"mirror" }, json)
    }

    /// At a terminal, says what is odd about the members, which the table does not.
    fn warnings(&mut self) -> Result<(), Failure> {
        if self.screen.sums_up() && self.understood(b"progress total")? {
            self.ask(b"members -v", |screen, line| {
                if line.starts_with(WARNING.as_bytes()) {
                    screen.trouble(line);
                }
            })?;
        }
        Ok(())
    }

    /// Shows what the daemon is doing.
    pub(super) fn status(&mut self, verbose: bool, json: bool) -> Result<u8, Failure> {
        let new = (verbose || json) && self.understood(b"progress total")?;
        match (json, new) {
            (true, true) => return self.list(b"status json", json),
            (true, false) => {}
            (false, true) => return self.list(b"status -v", json),
            (false, false) => return self.list(b"status", json),
        }
        let mut lines = Vec::new();
        self.ask(b"status", |_, line| lines.push(line.to_vec()))?;
        self.screen.line(old::status(&lines).as_bytes());
        Ok(SUCCESS)
    }

    /// The members in the table, and whether it says that there are none.
    pub(super) fn rows(&mut self) -> Result<(Vec<Row>, bool), Failure> {
        let mut rows = Vec::new();
        let mut none = false;
        self.ask(b"members", |_, line| {
            none |= line.starts_with(b"Total: 0 ");
            rows.extend(Row::parse(line));
        })?;
        Ok((rows, none))
    }

    /// Runs a command and writes its answer to standard output.
    fn list(&mut self, command: &[u8], json: bool) -> Result<u8, Failure> {
        let mut status = SUCCESS;
        self.ask(command, |screen, line| {
            if is_error(line) {
                screen.trouble(line);
                if json {
                    screen.line(old::error(line, |_| false).json_line().as_bytes());
                }
                status = INCOMPLETE;
            } else {
                screen.line(line);
            }
        })?;
        Ok(status)
    }
}
