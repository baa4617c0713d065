//! The command `doctor`.
#![forbid(unsafe_code)]

use super::dialogue::Client;
use super::failure::Failure;
use super::old;
use super::status::{INCOMPLETE, SUCCESS};
use crate::cli::msync::Target;
use crate::console::doctor::{Finding, has_failed};
use crate::console::error::{UNKNOWN, is_error};
use crate::name::HostName;

impl Client<'_> {
    /// Shows what keeps files from arriving: 2 if anything does.
    pub(super) fn doctor(
        &mut self,
        hosts: &[HostName],
        probe: bool,
        json: bool,
    ) -> Result<u8, Failure> {
        let mut command = "doctor".to_owned();
        hosts.iter().for_each(|host| command += &format!(" -t {host}"));
        command += if probe { "" } else { " --no-probe" };
        command += if json { " json" } else { "" };
        let (mut status, mut is_known) = (SUCCESS, false);
        self.ask(command.as_bytes(), |screen, line| match has_failed(line, json) {
            Some(failed) => {
                is_known = true;
                screen.line(line);
                status = if failed { INCOMPLETE } else { status };
            }
            None if is_error(line) => {
                // A daemon that does not know it says no more than that.
                is_known = !line.starts_with(UNKNOWN.as_bytes());
                if is_known {
                    screen.trouble(line);
                    if json {
                        screen.line(old::error(line, |_| false).json_line().as_bytes());
                    }
                }
                status = INCOMPLETE;
            }
            None => {}
        })?;
        if is_known { Ok(status) } else { Err(Failure::TooOld("doctor")) }
    }
}

/// What `doctor` finds where there is no daemon, as a line.
pub(super) fn unreachable(failure: &Failure, target: &Target, json: bool) -> String {
    let advice = "start makuosan, or say with -c where it is";
    let why = failure.text(target).to_string();
    let found = Finding::fail("daemon", &target.to_string(), why, advice);
    if json { found.json() } else { found.line() }
}
