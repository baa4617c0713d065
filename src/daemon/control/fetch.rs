//! What this host asks another one for (`fetch`), one thing at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::console::error::ErrorLine;
use crate::daemon::again::Results;
use crate::daemon::order::Order;
use crate::engine::members::Member;
use crate::ids::Ticket;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::fetch::{Over, Request};

/// How often a donor is asked again.
pub(super) const AGAIN: Span = Span::from_secs(1);
/// How long its first answer is waited for.
pub(super) const ANSWER: Span = Span::from_secs(10);
/// How long any further one.
pub(super) const SILENT: Span = Span::from_secs(20);
/// How long the end of what has come is waited for.
pub(super) const LAST: Span = Span::from_secs(30);
/// The same where something went wrong.
pub(super) const FAILED: Span = Span::from_secs(2);

/// What a client wants to have of another host.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) client: u32,
    pub(super) order: Arc<Order>,
    pub(super) request: Request,
    /// The host that the client has named; none if any is good.
    pub(super) from: Option<String>,
    pub(super) ticket: Ticket,
    /// Who is asked now.
    pub(super) donor: Option<Member>,
    /// Who is asked if that one cannot give it.
    pub(super) others: VecDeque<Member>,
    pub(super) stage: Stage,
    /// Until when it is tried again.
    pub(super) until: Time,
    /// Whether the client knows who is asked.
    pub(super) is_said: bool,
    /// How many transfers have come for it, and what they came to.
    pub(super) closed: u64,
    pub(super) results: Option<Results>,
    /// Why others did not give it.
    pub(super) refusals: Vec<ErrorLine>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The members are not known yet.
    Unsettled,
    /// The donor has not answered: since when, and when it is asked again.
    Asking(Time, Time),
    /// It is sending: when it last said so, and when it is asked again.
    Running(Time, Time),
    /// It has said what it came to; the rest of it is to come until this time.
    Ending(Over, Time),
    /// It, or another one, is asked at this time.
    Later(Time),
}

impl Fetch {
    /// When something is due; `settles`: when the members are known.
    pub(super) fn next(&self, settles: Time) -> Time {
        match &self.stage {
            Stage::Unsettled => settles,
            Stage::Asking(since, again) => (*since + ANSWER).min(*again),
            Stage::Running(heard, again) => (*heard + SILENT).min(*again),
            Stage::Ending(_, until) => *until,
            Stage::Later(at) => *at,
        }
    }

    /// Whether this node is asked.
    pub(super) fn is_of(&self, node: NodeId) -> bool {
        self.donor.as_ref().is_some_and(|donor| donor.node == node)
    }
}
