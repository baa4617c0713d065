//! Access to the console: open, or with a password.

use super::client::Client;
use crate::console::password::{Gate, Secret};
use crate::console::{Offer, Session};
use crate::log;
use crate::pattern::PatternBudget;
use crate::time::Time;

/// Admits clients: all of them, or those that know the password.
#[derive(Debug)]
pub(crate) struct Door {
    secret: Option<Secret>,
    gate: Gate,
    /// For the patterns of all clients.
    patterns: PatternBudget,
}

impl Door {
    pub(crate) fn new(secret: Option<Secret>) -> Self {
        Door { secret, gate: Gate::new(), patterns: PatternBudget::default() }
    }

    /// A session for a new client, which came over a network or not.
    pub(crate) fn session(&self, offer: Offer, network: bool) -> Session {
        let session = match self.secret {
            Some(secret) => Session::guarded(offer, secret),
            None => Session::new(offer),
        };
        let session = session.sharing(&self.patterns);
        if network { session.strict() } else { session }
    }

    /// Answers the passwords that are due for an answer, in the order of the clients.
    pub(crate) fn answer(&mut self, now: Time, clients: &mut [Client]) {
        let waiting = clients.iter_mut().filter(|client| client.session.wants_answer());
        for client in waiting {
            if now < self.gate.opens() {
                return;
            }
            let Some(right) = client.session.answer() else { continue };
            self.gate.answered(now, right);
            if !right {
                log::warning(format_args!("client {}: wrong password", client.id));
            }
        }
    }

    /// When the next password is due for an answer, if one is waiting.
    pub(crate) fn opens(&self, clients: &[Client]) -> Option<Time> {
        let waits = clients.iter().any(|client| client.session.wants_answer());
        waits.then(|| self.gate.opens())
    }
}
