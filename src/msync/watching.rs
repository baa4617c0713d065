//! The commands `watch`, `watch release` and `flush`.
#![forbid(unsafe_code)]

use super::answer::{Answer, Daemon};
use super::dialogue::Client;
use super::failure::Failure;
use super::line::push_path;
use super::request::located;
use super::status::{INCOMPLETE, SUCCESS, UNUSABLE};
use super::summary::Summary;
use crate::cli::msync::{Config, Verb, Watch};
use crate::console::reply::{Total, Watching};
use crate::name::RelPath;
use crate::pattern::Rule;

impl Client<'_> {
    /// Has the daemon send something, and then what changes, until one of both ends it.
    pub(super) fn watch(
        &mut self,
        watch: &Watch,
        config: &Config,
        rules: &[Rule],
    ) -> Result<u8, Failure> {
        let manner = self.settle(config, rules)?;
        if !manner.daemon.new {
            return Err(Failure::TooOld("watch"));
        }
        let mut line = b"watch".to_vec();
        if watch.delete {
            line.extend_from_slice(b" --delete");
        }
        if let Some(millis) = watch.delay {
            line.extend_from_slice(format!(" --delay {millis}").as_bytes());
        }
        for host in &watch.hosts {
            line.extend_from_slice(format!(" -t {host}").as_bytes());
        }
        self.place(&mut line, &watch.path, manner.daemon.new)?;
        let mut flush = Summary::default();
        let mut flushes = 0_u64;
        self.ask(&line, |screen, line| match Answer::read(line, manner.daemon, false) {
            Answer::Error => {
                if manner.daemon.reports {
                    flush.error_line(line);
                }
                screen.trouble(line);
            }
            Answer::Report(report) => flush.error_was(report),
            Answer::Progress(progress) => screen.progress(&progress),
            Answer::Host(report) => flush.host(&report),
            Answer::Total(total) => {
                flush.add(total);
                let done = std::mem::take(&mut flush);
                if manner.json {
                    done.json().iter().for_each(|line| screen.line(line.as_bytes()));
                } else if flushes == 0 || says_something(&total) {
                    screen.summary(Verb::Send, &total, false);
                }
                flushes += 1;
            }
            _ if manner.json => {}
            _ => match Watching::parse(line) {
                Some(watching) => screen.status(&watching.text()),
                None if manner.quiet => {}
                None => screen.line(line),
            },
        })?;
        if manner.json {
            self.json(&flush.json_so_far());
        }
        Ok(if flushes == 0 { UNUSABLE } else { INCOMPLETE })
    }

    /// Has the daemon do something about a watch: `flush` or `release`.
    pub(super) fn flush(
        &mut self,
        verb: &[u8],
        path: &[u8],
        more: Option<&[u8]>,
        config: &Config,
    ) -> Result<u8, Failure> {
        let manner = self.settle(config, &[])?;
        if !manner.daemon.new {
            return Err(Failure::TooOld("watch"));
        }
        // With the codes of errors it can be told what is wrong.
        let reports = manner.daemon.reports || self.understood(b"report on")?;
        let daemon = Daemon { reports, ..manner.daemon };
        let mut line = verb.to_vec();
        self.place(&mut line, path, manner.daemon.new)?;
        if let Some(more) = more {
            line.push(b' ');
            line.extend_from_slice(more);
        }
        let mut errors = Summary::default();
        let mut status = SUCCESS;
        self.ask(&line, |screen, line| match Answer::read(line, daemon, false) {
            Answer::Error => {
                status = INCOMPLETE;
                errors.error_line(line);
                screen.trouble(line);
            }
            Answer::Report(report) => {
                if report.is_about_argument() {
                    status = UNUSABLE;
                }
                errors.error_was(report);
            }
            _ => screen.line(line),
        })?;
        if manner.json {
            self.json(&errors.json_so_far());
        }
        Ok(status)
    }

    /// Appends a path to a line, as typed; nothing means the base directory.
    fn place(&mut self, line: &mut Vec<u8>, typed: &[u8], new: bool) -> Result<(), Failure> {
        let path = match typed {
            b"" => RelPath::base(),
            _ => located(self.base(new)?.as_ref(), typed)?,
        };
        if path.is_base() {
            line.extend_from_slice(b" .");
            return Ok(());
        }
        push_path(line, &path, new).map_err(|why| Failure::Path(typed.to_vec(), why))
    }
}

/// Whether something was done, or could not be.
fn says_something(total: &Total) -> bool {
    total.files > 0 || total.deleted > 0 || total.failed > 0 || total.errors > 0
}
