//! Asking another host for something (`fetch`), and telling the client what came of it.

use std::sync::Arc;

use super::client::Work;
use super::control_loop::Control;
use super::fetch::{AGAIN, ANSWER, FAILED, Fetch, LAST, SILENT, Stage};
use super::targets;
use super::transfers::{PATIENCE, refused};
use crate::console::command::{Scope, Transfer};
use crate::console::error::{Code, ErrorLine};
use crate::console::reply::{self, HostReport, HostStatus, Total};
use crate::daemon::again::Results;
use crate::daemon::caller::Caller;
use crate::daemon::order::Order;
use crate::daemon::shared::lock;
use crate::daemon::wanted::Wanted;
use crate::engine::members::Member;
use crate::ids::Ticket;
use crate::name::NodeId;
use crate::pattern::Patterns;
use crate::sys::random;
use crate::time::{Span, Time};
use crate::wire::fetch::{self, End, MAX_REQUEST, Over, Request, State};
use crate::wire::header::block_for_mtu;
use crate::wire::hello::MIN_MTU;

impl Control {
    /// A client wants to have something of another host.
    pub(super) fn fetch(&mut self, now: Time, at: usize, transfer: Transfer, caller: Caller) {
        let client = &self.clients[at];
        let patterns = Arc::clone(client.session.patterns());
        let request = request(&transfer, &patterns, client.session.loglevel());
        let why = if !self.settings.receives {
            let why =
                "this host is not written to: its daemon was started with --readonly or --no-recv";
            Some(ErrorLine::new(Code::ReadOnly, why))
        } else if self.fetch.is_some() {
            Some(ErrorLine::new(Code::Held, "another fetch is running on this host"))
        } else if request.emit().len() > MAX_REQUEST {
            Some(ErrorLine::new(Code::InvalidPattern, "too many patterns for a fetch"))
        } else {
            None
        };
        let from = transfer.targets.first().cloned();
        let order = Order::new(transfer, &patterns, caller);
        if let Some(error) = why {
            let command = self.clients[at].session.current();
            refused(&self.shared.counters.into, &order, command, error.text());
            let total = Total { hosts: 1, failed: 1, errors: 1, ..Total::default() };
            self.clients[at].session.error(&error);
            return self.finish(at, (Vec::new(), total));
        }
        // What is lacking here is asked for at once, too.
        self.catching_up.hurry(now);
        let client = self.clients[at].id;
        self.clients[at].work = Work::Fetch;
        self.fetch = Some(Fetch {
            client,
            order: Arc::new(order),
            request,
            from,
            ticket: Ticket::ZERO,
            donor: None,
            others: Default::default(),
            stage: Stage::Unsettled,
            until: now + PATIENCE,
            is_said: false,
            closed: 0,
            results: None,
            refusals: Vec::new(),
        });
        self.drive_fetch(now);
    }

    /// Does what is due.
    pub(super) fn drive_fetch(&mut self, now: Time) {
        let Some(fetch) = &self.fetch else { return };
        let client = fetch.client;
        let is_it = |work: &Work| matches!(work, Work::Fetch);
        if !self.clients.iter().any(|one| one.id == client && is_it(&one.work)) {
            return self.stop_fetch();
        }
        let is_settled = self.membership.members.settled(now);
        match &fetch.stage {
            Stage::Unsettled if is_settled => self.choose(now),
            Stage::Asking(since, _) if now >= *since + ANSWER => {
                self.fetch_lost(now, Code::Timeout)
            }
            Stage::Running(heard, _) if now >= *heard + SILENT => {
                self.fetch_lost(now, Code::Timeout)
            }
            Stage::Asking(since, again) if now >= *again => {
                let since = *since;
                self.say_request(now, since);
            }
            Stage::Running(heard, again) if now >= *again => {
                let (heard, ticket) = (*heard, fetch.ticket);
                self.say_to_donor(&fetch::Fetch::Wait(ticket));
                self.set_stage(Stage::Running(heard, now + AGAIN));
            }
            Stage::Ending(over, until) if now >= *until => match over.end {
                End::Failed => self.end_fetch(now, &[]),
                _ => self.fetch_lost(now, Code::Timeout),
            },
            Stage::Later(at) if now >= *at => self.choose(now),
            _ => {}
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(fetch) = &mut self.fetch {
            fetch.stage = stage;
        }
    }

    /// Chooses whom to ask, and asks.
    fn choose(&mut self, now: Time) {
        let Some(fetch) = &mut self.fetch else { return };
        let members = &self.membership.members;
        let found = match &fetch.from {
            Some(name) => targets::donor(members, name).map(|member| vec![member]),
            None => Ok(self.catching_up.likely(members)),
        };
        match found {
            Ok(found) => {
                fetch.others = found.into();
                fetch.refusals = Vec::new();
                self.ask_next(now);
            }
            Err(error) => self.end_fetch(now, &[error]),
        }
    }

    /// Asks the next one.
    fn ask_next(&mut self, now: Time) {
        let Some(fetch) = &mut self.fetch else { return };
        let Some(donor) = fetch.others.pop_front() else {
            let refusals = std::mem::take(&mut fetch.refusals);
            return self.end_fetch(now, &refusals);
        };
        let Some(client) = self.clients.iter().find(|client| client.id == fetch.client) else {
            return;
        };
        let ticket = Ticket::new(random::u64().unwrap_or_else(|_| self.rng.next_u64()));
        *lock(&self.shared.wanted) = Some(Wanted {
            ticket,
            donor: donor.node,
            me: self.settings.name.clone(),
            order: Arc::clone(&fetch.order),
            client: fetch.client,
            command: client.session.current().to_owned(),
            level: client.session.loglevel(),
            follow: client.session.follow(),
            unread: client.unread.clone(),
        });
        fetch.is_said &= fetch.is_of(donor.node);
        (fetch.ticket, fetch.donor) = (ticket, Some(donor));
        (fetch.closed, fetch.results) = (0, None);
        self.say_request(now, now);
    }

    fn say_request(&mut self, now: Time, since: Time) {
        let Some(fetch) = &mut self.fetch else { return };
        fetch.stage = Stage::Asking(since, now + AGAIN);
        let request = fetch.request.emit();
        let room = block_for_mtu(MIN_MTU).into();
        for part in fetch::Fetch::parts(fetch.ticket, &request, room).collect::<Vec<_>>() {
            self.say_to_donor(&part);
        }
    }

    fn say_to_donor(&mut self, said: &fetch::Fetch) {
        let donor = self.fetch.as_ref().and_then(|fetch| fetch.donor.as_ref());
        if let Some(node) = donor.map(|donor| donor.node) {
            self.membership.say_fetch(node, said);
        }
    }

    /// The client has gone.
    fn stop_fetch(&mut self) {
        if let Some(fetch) = &self.fetch {
            let ticket = fetch.ticket;
            self.say_to_donor(&fetch::Fetch::Stop(ticket));
        }
        self.fetch = None;
        *lock(&self.shared.wanted) = None;
    }

    /// A member says how far it is with what it was asked for.
    pub(super) fn donor_says(&mut self, now: Time, node: NodeId, ticket: Ticket, state: State) {
        let is_it = |fetch: &&mut Fetch| fetch.ticket == ticket && fetch.is_of(node);
        let Some(fetch) = self.fetch.as_mut().filter(is_it) else {
            if state == State::Running {
                self.membership.say_fetch(node, &fetch::Fetch::Stop(ticket));
            }
            return;
        };
        match (state, &fetch.stage) {
            (State::Unknown, Stage::Asking(since, _)) => {
                let since = *since;
                self.say_request(now, since);
            }
            (State::Unknown, Stage::Running(..)) => self.fetch_lost(now, Code::Left),
            (State::Running, Stage::Asking(..)) => {
                fetch.stage = Stage::Running(now, now + AGAIN);
                self.say_donor();
            }
            (State::Running, Stage::Running(_, again)) => fetch.stage = Stage::Running(now, *again),
            (State::Over(over), Stage::Asking(..) | Stage::Running(..)) => {
                self.donor_is_done(now, over);
            }
            _ => {}
        }
    }

    /// Says once whom it comes from, if the client has not named that.
    fn say_donor(&mut self) {
        let Some(fetch) = &mut self.fetch else { return };
        let is_said = std::mem::replace(&mut fetch.is_said, true) || fetch.from.is_some();
        let (Some(donor), false) = (&fetch.donor, is_said) else { return };
        let line = format!("fetching from {} ({})", donor.name, donor.addr.ip());
        let client = fetch.client;
        if let Some(client) = self.clients.iter_mut().find(|one| one.id == client) {
            client.session.line(0, &line);
        }
    }

    fn donor_is_done(&mut self, now: Time, over: Over) {
        let Some(fetch) = &mut self.fetch else { return };
        let Some(donor) = &fetch.donor else { return };
        let retry = now + Span::from_millis(100 + self.rng.below(900));
        match over.end {
            End::Busy | End::Held if retry < fetch.until => fetch.stage = Stage::Later(retry),
            End::Busy => {
                let why = format!("{} has too much to send now", donor.name);
                let error = ErrorLine::new(Code::Held, why).about(&donor.name, "");
                self.end_fetch(now, &[error]);
            }
            End::Held => {
                let who = over.troubles.first().map_or("another host", |trouble| &trouble.text);
                let path = fetch.order.path_shown();
                let why = format!("{path} is in use by a transfer from {who}");
                let error = ErrorLine::new(Code::Held, why);
                let error = error.about("", reply::shown(&fetch.order.path));
                self.end_fetch(now, &[error]);
            }
            End::Behind | End::Refused => {
                let mut errors = told(donor, &over, true);
                if over.end == End::Behind {
                    let why = format!("{} lacks something itself", donor.name);
                    errors = vec![ErrorLine::new(Code::Behind, why).about(&donor.name, "")];
                } else if errors.is_empty() {
                    let why = format!("{} does not understand it", donor.name);
                    errors = vec![ErrorLine::new(Code::Other, why).about(&donor.name, "")];
                }
                fetch.refusals.extend(errors);
                self.ask_next(now);
            }
            End::Done | End::Failed => {
                let patience = if over.end == End::Done { LAST } else { FAILED };
                fetch.stage = Stage::Ending(over, now + patience);
                self.say_donor();
                self.fetch_may_end(now);
            }
        }
    }

    /// A transfer that was asked for has come.
    pub(super) fn fetched(&mut self, now: Time, ticket: Ticket, results: Results, is_whole: bool) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.ticket == ticket) else {
            return;
        };
        fetch.closed += u64::from(is_whole);
        fetch.results = Some(results);
        self.fetch_may_end(now);
    }

    fn fetch_may_end(&mut self, now: Time) {
        let Some(fetch) = &self.fetch else { return };
        if matches!(&fetch.stage, Stage::Ending(over, _) if fetch.closed >= over.transfers) {
            self.end_fetch(now, &[]);
        }
    }

    /// Members have left.
    pub(super) fn fetch_gone(&mut self, now: Time, nodes: &[NodeId]) {
        let is_gone = |fetch: &Fetch| nodes.iter().any(|node| fetch.is_of(*node));
        // What it has said at its end holds.
        let is_open = |fetch: &Fetch| matches!(fetch.stage, Stage::Asking(..) | Stage::Running(..));
        if self.fetch.as_ref().is_some_and(|fetch| is_gone(fetch) && is_open(fetch)) {
            self.fetch_lost(now, Code::Left);
        }
    }

    /// The donor does not go on.
    fn fetch_lost(&mut self, now: Time, code: Code) {
        let Some(fetch) = &mut self.fetch else { return };
        let Some(donor) = &fetch.donor else { return };
        let error = ErrorLine::gone(&donor.name, *donor.addr.ip(), code);
        match fetch.stage {
            // Nothing has come of it.
            Stage::Asking(..) => {
                fetch.refusals.push(error);
                self.ask_next(now);
            }
            _ => self.end_fetch(now, &[error]),
        }
    }

    /// It is over: the client is told what it came to.
    fn end_fetch(&mut self, now: Time, errors: &[ErrorLine]) {
        let Some(fetch) = self.fetch.take() else { return };
        *lock(&self.shared.wanted) = None;
        let Some(at) = self.clients.iter().position(|client| client.id == fetch.client) else {
            return;
        };
        let is_known = fetch.results.is_some();
        let nobody = fetch.donor.is_none() && errors.is_empty();
        let (mut hosts, mut total) = fetch.results.unwrap_or_default();
        let mut said = errors.to_vec();
        if let (Stage::Ending(over, _), Some(donor)) = (&fetch.stage, &fetch.donor) {
            total.wire = over.wire;
            total.errors = total.errors.saturating_add(over.errors);
            let there = told(donor, over, true);
            let more = over.errors.saturating_sub(there.len() as u64);
            for remark in over.troubles.iter().filter(|trouble| trouble.code.is_empty()) {
                self.clients[at].session.line(0, &format!("{}: {}", donor.name, remark.text));
            }
            there.iter().for_each(|error| self.clients[at].session.error(error));
            if more > 0 {
                let why = format!("{more} more errors on {}", donor.name);
                let error = ErrorLine::new(Code::MoreErrors, why).about(&donor.name, "");
                self.clients[at].session.error(&error);
            }
            if over.end == End::Failed && (!is_known || total.failed == 0) {
                said.extend(told(donor, over, false));
            }
            if over.end == End::Failed && said.is_empty() && total.errors == 0 {
                let why = format!("the transfer from {} broke off", donor.name);
                said.push(ErrorLine::new(Code::Other, why).about(&donor.name, ""));
            }
        }
        if !nobody {
            total.hosts = 1;
        }
        total.errors = total.errors.saturating_add(said.len() as u64);
        if !said.is_empty() {
            total.failed = 1;
            let address = self.shared.net.address().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
            if hosts.is_empty() {
                hosts.push(HostReport::new(self.settings.name.clone(), address));
            }
            for host in &mut hosts {
                host.status = host.status.max(HostStatus::Failed);
                said.iter().for_each(|error| host.error(error.report.clone()));
            }
        }
        said.iter().for_each(|error| self.clients[at].session.error(error));
        if !is_known {
            // Nothing has come that the log has a line of.
            let why = said.first().map_or("nothing has come", ErrorLine::text);
            let why = if nobody { "no members" } else { why };
            let command = self.clients[at].session.current();
            refused(&self.shared.counters.into, &fetch.order, command, why);
        }
        let is_whole = is_known && total.failed == 0 && total.errors == 0;
        if is_whole && !fetch.order.mode.changes_nothing() && fetch.request.patterns.is_empty() {
            self.catching_up.fetched(now, &fetch.request);
        }
        self.finish(at, (hosts, total));
    }
}

/// What a donor has told of errors, those on it or those here.
fn told(donor: &Member, over: &Over, is_there: bool) -> Vec<ErrorLine> {
    let is_it =
        |trouble: &&fetch::Trouble| trouble.is_there == is_there && !trouble.code.is_empty();
    let troubles = over.troubles.iter().filter(is_it);
    troubles
        .map(|trouble| ErrorLine::told(&donor.name, &trouble.path, &trouble.code, &trouble.text))
        .collect()
}

fn request(transfer: &Transfer, patterns: &Patterns, level: u8) -> Request {
    let patterns = match patterns.is_empty() {
        true => Vec::new(),
        // If they are longer, they are too long.
        false => patterns.emit(2 * MAX_REQUEST).swap_remove(0),
    };
    Request {
        mode: transfer.mode,
        recursive: transfer.scope == Scope::Tree,
        or_gone: transfer.scope == Scope::PathOrGone,
        checksum: transfer.checksum,
        delete_before: transfer.delete_before,
        forced: transfer.force,
        unless_behind: transfer.targets.is_empty(),
        lax_attributes: transfer.lax_attributes,
        level,
        max_delete: transfer.max_delete,
        path: transfer.path.clone(),
        patterns,
    }
}
