//! How far a transfer that goes out has come.

use crate::daemon::messages::Holder;
use crate::engine::outgoing::Gone;
use crate::name::{Escaped, HostName};
use crate::wire::outcome::Reason;

/// How far a transfer has come, as its driver sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// The walker is at work.
    Walking,
    /// The walker has handed in all there was; files that change while they are sent may send it out
    /// again.
    Walked,
    /// No further batch will come.
    Complete,
    /// Given up: this holds the path.
    Held(Holder),
    /// Given up: the client has gone, or the daemon ends.
    Cancelled,
    /// Nothing is left to do here. The targets may still have to be told that it is over.
    Finished,
}

/// What is to be said of a transfer that has finished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// What it came to.
    Report,
    /// That this holds the path.
    Held(Holder),
    /// Nothing: nobody listens.
    Silent,
}

impl State {
    /// The walker has handed in all there was.
    pub(super) fn walked(&mut self) {
        if *self == State::Walking {
            *self = State::Walked;
        }
    }

    /// The walker is sent out again.
    pub(super) fn walk_again(&mut self) {
        if *self == State::Walked {
            *self = State::Walking;
        }
    }

    /// All batches are done, and no further one will come.
    pub(super) fn complete(&mut self) {
        if *self == State::Walked {
            *self = State::Complete;
        }
    }

    /// Another host, or its watch, holds the path; whether the transfer is to be given up for that.
    pub(super) fn hold(&mut self, by: Holder) -> bool {
        let running = matches!(self, State::Walking | State::Walked | State::Complete);
        if running {
            *self = State::Held(by);
        }
        running
    }

    /// Nobody wants it any more.
    pub(super) fn cancel(&mut self) {
        if *self != State::Finished {
            *self = State::Cancelled;
        }
    }

    /// Everything is done; what is to be said of it, the first time.
    pub(super) fn finish(&mut self) -> Option<Ending> {
        match std::mem::replace(self, State::Finished) {
            State::Walking | State::Walked | State::Complete => Some(Ending::Report),
            State::Held(by) => Some(Ending::Held(by)),
            State::Cancelled => Some(Ending::Silent),
            State::Finished => None,
        }
    }

    /// Whether nobody listens to reports any more.
    pub(super) fn is_unheard(&self) -> bool {
        matches!(self, State::Cancelled | State::Finished)
    }
}

/// What holds the path, if a target has left for that.
pub(super) fn holder(why: &Gone, host: &HostName) -> Option<Holder> {
    let Gone::Refused(reason, what) = why else { return None };
    let (host, what) = (host.to_string(), Escaped(what).to_string());
    match reason {
        Reason::Held => Some(Holder::Transfer(what)),
        Reason::Watched if what.is_empty() => Some(Holder::Watch(host, ".".to_owned())),
        Reason::Watched => Some(Holder::Watch(host, what)),
        Reason::InDoubt => Some(Holder::InDoubt(host, what)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder::Transfer("10.0.0.1".to_owned())
    }

    fn held() -> State {
        State::Held(holder())
    }

    fn all() -> [State; 6] {
        use State::{Cancelled, Complete, Finished, Walked, Walking};
        [Walking, Walked, Complete, held(), Cancelled, Finished]
    }

    /// What becomes of each state, in the order of [`all`].
    fn after(change: impl Fn(&mut State)) -> [State; 6] {
        all().map(|mut state| {
            change(&mut state);
            state
        })
    }

    #[test]
    fn a_walk_ends_and_may_begin_again_until_the_input_is_complete() {
        use State::{Cancelled, Complete, Finished, Walked, Walking};
        assert_eq!(after(State::walked), [Walked, Walked, Complete, held(), Cancelled, Finished]);
        let again = after(State::walk_again);
        assert_eq!(again, [Walking, Walking, Complete, held(), Cancelled, Finished]);
        let complete = after(State::complete);
        assert_eq!(complete, [Walking, Complete, Complete, held(), Cancelled, Finished]);
    }

    #[test]
    fn what_is_given_up_stays_given_up() {
        for mut state in all() {
            let running = !matches!(state, State::Held(_)) && !state.is_unheard();
            let before = state.clone();
            assert_eq!(state.hold(holder()), running, "{before:?}");
            assert_eq!(state, if running { held() } else { before });
        }
        let cancelled = after(State::cancel);
        assert!(cancelled[..5].iter().all(|state| *state == State::Cancelled));
        assert_eq!(cancelled[5], State::Finished);
    }

    #[test]
    fn the_ending_is_said_once() {
        for mut state in all() {
            let expected = match &state {
                State::Held(who) => Some(Ending::Held(who.clone())),
                State::Cancelled => Some(Ending::Silent),
                State::Finished => None,
                _ => Some(Ending::Report),
            };
            assert_eq!(state.finish(), expected);
            assert_eq!((state.finish(), state), (None, State::Finished));
        }
    }
}
