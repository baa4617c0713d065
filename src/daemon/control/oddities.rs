//! What is odd about members: said once in the log, shown to clients, and told before a transfer.

use std::collections::BTreeSet;

use crate::engine::members::{Member, Members, Oddity};
use crate::log;

/// The most hosts that one warning names.
const NAMED: usize = 3;

/// What is odd now.
#[derive(Default, Debug)]
pub(super) struct Oddities(BTreeSet<Oddity>);

impl Oddities {
    /// Looks again if there may be something new, which the log gets to know.
    pub(super) fn look(&mut self, members: &mut Members) {
        if !members.take_odd_news() {
            return;
        }
        let now = members.oddities();
        for odd in now.difference(&self.0) {
            let about = odd.address().map(Into::into);
            let text = format_args!("{odd}: {}", odd.advice());
            log::limited(log::Level::WARNING, "clocks and names", about, text);
        }
        self.0 = now;
    }

    /// Each in a line.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().map(|odd| format!("{odd}: {}", odd.advice())).collect()
    }

    /// What a transfer to these targets is to be warned of: one line for all clocks, and one for each
    /// name.
    pub(super) fn warnings(&self, targets: &[Member]) -> Vec<String> {
        let concerns = |odd: &&Oddity| targets.iter().any(|target| odd.is_about(target.node));
        let (names, clocks): (Vec<&Oddity>, Vec<&Oddity>) =
            self.0.iter().filter(concerns).partition(|odd| matches!(odd, Oddity::Name { .. }));
        let mut lines = Vec::new();
        if let Some(first) = clocks.first() {
            let named: Vec<String> = clocks.iter().take(NAMED).map(|odd| odd.to_string()).collect();
            let more = match clocks.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(", and {more} more: see members -v"),
            };
            lines.push(format!("warning: {}{more}: {}", named.join(", "), first.advice()));
        }
        let name = |odd: &&Oddity| format!("warning: {odd}: {}", odd.advice());
        lines.extend(names.iter().map(name));
        lines
    }
}
