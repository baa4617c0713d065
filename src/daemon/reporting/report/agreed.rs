//! What is said of a transfer for all of its targets or none.

use super::Report;
use crate::console::error::{Code, ErrorLine};
use crate::console::reply::{HostStatus, Said};
use crate::count::counted;
use crate::daemon::messages::Ended;
use crate::daemon::shared::Shared;
use crate::engine::atomic::{Failure, Fate, Refusal, Why};
use crate::name::Escaped;

impl Report {
    /// Whether something has failed on this host.
    pub(crate) fn has_failed_here(&self) -> bool {
        self.here > 0
    }

    /// It came to nothing: no target has put any of it into place.
    pub(crate) fn came_to_nothing(&mut self, shared: &Shared) {
        for tally in &mut self.hosts {
            let report = &mut tally.report;
            (report.files, report.bytes, report.deleted) = (0, 0, 0);
            tally.worsen(HostStatus::Failed);
        }
        (self.total.files, self.total.deleted) = (0, 0);
        // Nothing takes the place of a directory any more.
        self.late = Default::default();
        let why = "nothing was changed on any host (--atomic)";
        self.error(shared, ErrorLine::new(Code::NotAgreed, why));
    }

    /// How it ended at each target.
    pub(crate) fn agreed(&mut self, shared: &Shared, decided: bool, all: &[Ended]) {
        for ended in all {
            let name = &ended.host;
            let found = self.hosts.iter_mut().find(|tally| tally.report.name == *name);
            let Some(tally) = found.filter(|tally| !tally.gone) else { continue };
            let mut lines: Vec<Said> = Vec::new();
            let mut fail = |code, why: String| {
                let error = ErrorLine::new(code, format!("{why} {name}")).about(name, "");
                tally.worsen(HostStatus::Failed);
                lines.extend(tally.error(error));
            };
            match ended.fate {
                Fate::Committed(0) => {}
                Fate::Committed(failed) => {
                    let failed = counted(failed.into(), "change");
                    fail(Code::Mixed, format!("old and new are mixed: {failed} could not be made"));
                }
                Fate::LeftOut(refusal) => {
                    fail(Code::LeftOut, format!("left out: {}", refused(refusal)));
                }
                // It has a line already, or was well.
                Fate::NotDecided(Some(Ok(()))) => {}
                Fate::NotDecided(None) if !decided => {}
                Fate::NotDecided(vote) if ended.failures.is_empty() => {
                    fail(Code::NotAgreed, refused(vote.and_then(Result::err)).to_owned());
                }
                Fate::NotDecided(_) => {}
                Fate::Aborted(Why::Operator) => {
                    fail(Code::LeftOut, "aborted there by its operator".to_owned());
                }
                Fate::Aborted(_) => {
                    fail(Code::NotAgreed, "aborted there by the group".to_owned());
                }
                Fate::Lost => fail(Code::LeftOut, "what was staged there is lost".to_owned()),
                Fate::InDoubt => fail(Code::InDoubt, "in doubt".to_owned()),
            }
            for Failure { path, reason } in &ended.failures {
                let error = ErrorLine::refused(name, Escaped(path), *reason);
                tally.worsen(HostStatus::Failed);
                lines.extend(tally.error(error));
            }
            if !matches!(ended.fate, Fate::Committed(_)) {
                let report = &mut tally.report;
                (report.files, report.bytes, report.deleted) = (0, 0, 0);
            }
            let errors = lines.iter().filter(|said| matches!(said, Said::Error(_))).count();
            self.total.errors += errors as u64;
            if let (Some((after, took)), true) = (ended.times, self.level > 0) {
                let millis = |span: crate::time::Span| span.micros() as f64 / 1_000.0;
                let (after, took) = (millis(after), millis(took));
                let text = format!(
                    "{name}: put into place within {after:.1} ms of the decision, in {took:.1} ms"
                );
                lines.push(Said::Line(1, text));
            }
            self.say(shared, lines);
        }
    }
}

fn refused(refusal: Option<Refusal>) -> &'static str {
    match refusal {
        None | Some(Refusal::Failed) => "not all of it is there",
        Some(Refusal::Overlaps) => "another --atomic to the path is not over there",
        Some(Refusal::Young) => "the host was started anew with no records",
        Some(Refusal::TooMany) => "too many transfers are in doubt there",
        Some(Refusal::Refused) => "it was aborted there",
    }
}
