//! The transfers that clients ask for: they begin, wait for a path that is held, and end.

use std::sync::Arc;

use super::client::Work;
use super::control_loop::Control;
use super::targets::{Targets, targets};
use crate::console::command::Follow;
use crate::console::error::{Code, ErrorLine};
use crate::console::metrics::Ended;
use crate::console::reply::{self, Said, Total};
use crate::daemon::again::{Results, Unreached};
use crate::daemon::counters::Transfers;
use crate::daemon::messages::Holder;
use crate::daemon::order::Order;
use crate::daemon::reporting::trail_line::RefusedLine;
use crate::daemon::sending::launch::{Launch, Refusal};
use crate::daemon::unread::Unread;
use crate::engine::incoming::SILENCE;
use crate::engine::members::Member;
use crate::ids::TransferNo;
use crate::log;
use crate::name::HostName;
use crate::time::{Span, Time};

/// How long a held path is waited for: longer than a target keeps that of a sender that is silent.
pub(super) const PATIENCE: Span = Span::from_micros(SILENCE.micros() + 5_000_000);

/// Whom a transfer is for.
pub(super) struct Asker {
    /// The number of the client, or that of a watch.
    pub(super) client: u32,
    /// Its log level.
    pub(super) level: u8,
    /// What else it wants to know.
    pub(super) follow: Follow,
    pub(super) unread: Unread,
    /// The command as `status` and the log show it.
    pub(super) command: String,
}

impl Control {
    /// A client's transfer is over: it gets the results, or the next one begins.
    pub(super) fn over(
        &mut self,
        now: Time,
        id: u32,
        number: TransferNo,
        results: Results,
        unreached: Option<Unreached>,
    ) {
        let Some(at) = self.clients.iter().position(|client| client.id == id) else {
            return self.served_over(now, id, results, unreached);
        };
        let client = &mut self.clients[at];
        let Work::Transfer(known, order, _) = &client.work else { return };
        if *known != number {
            return;
        }
        let order = Arc::clone(order);
        match order.over(client.counted(results), unreached) {
            Ok(results) => self.finish(at, results),
            Err(next) => self.begin(now, at, next),
        }
    }

    pub(super) fn finish(&mut self, at: usize, mut results: Results) {
        let client = &mut self.clients[at];
        let attendance = client.attendance.take();
        let (errors, absent) =
            attendance.map(|attendance| attendance.settle(&mut results)).unwrap_or_default();
        errors.iter().for_each(|error| client.session.error(error));
        self.figures.ended(client.session.current(), Some(results.1));
        client.finish(&results, &absent);
    }

    pub(super) fn order(&mut self, now: Time, at: usize, mut order: Order) {
        let (mut mirrored, is_in_mirror) = self.equals.about(&order.path);
        if order.mode.is_check() {
            // Comparing changes nothing.
            mirrored.clear();
        } else if is_in_mirror && !order.mode.changes_nothing() {
            // What is changed in a mirror is on its way.
            let path = order.path.clone();
            return self.flush(at, &path);
        } else if is_in_mirror {
            mirrored = vec![order.path.clone()];
        }
        for path in &mirrored {
            let text = format!("left out, since it is mirrored: {}", reply::shown(path));
            self.clients[at].session.said(&Said::Line(0, text));
        }
        order.leave_out(mirrored);
        if is_in_mirror && !order.mode.is_check() {
            return self.clients[at].session.finish();
        }
        let keeps = order.atomic.is_none() || self.keeps_transactions(now);
        if self.settings.no_send || !keeps {
            let error = match keeps {
                true => ErrorLine::cannot_send(),
                false => ErrorLine::new(
                    Code::CannotSend,
                    "--atomic: this daemon keeps nothing (-r or -o): start it with --state DIR",
                ),
            };
            self.refused(at, &order, error.text());
            let session = &mut self.clients[at].session;
            session.error(&error);
            session.finish();
        } else if self.membership.members.settled(now) {
            self.begin(now, at, Arc::new(order));
        } else {
            self.clients[at].work = Work::Unsettled(Arc::new(order));
        }
    }

    /// Starts the transfer that a client asks for, or answers why not.
    pub(super) fn begin(&mut self, now: Time, at: usize, order: Arc<Order>) {
        self.start(now, at, order, now + PATIENCE);
    }

    /// Starts the transfer that a client asks for, or answers why not. If another host's transfer
    /// holds the path, this is retried until the given time.
    pub(super) fn start(&mut self, now: Time, at: usize, order: Arc<Order>, until: Time) {
        let number = self.next_number;
        let client = &self.clients[at];
        let is_first = matches!(client.work, Work::Idle | Work::Unsettled(_));
        let asker = Asker {
            client: client.id,
            level: client.session.loglevel(),
            follow: client.session.follow(),
            unread: client.unread.clone(),
            command: client.session.current().to_owned(),
        };
        let mut warnings = Vec::new();
        let mut attendance = None;
        let started = self.targets_of(now, &order).and_then(|of| {
            let targets = of.live;
            if is_first && !order.mode.changes_nothing() {
                warnings = self.membership.odd.warnings(&targets);
                warnings.extend(self.catching_up.warning(&order.path));
            }
            // Of all transfers of a command, who was there at the first one.
            let attended = match is_first {
                true => Some(&*attendance.insert(of.attendance)),
                false => self.clients[at].attendance.as_ref(),
            };
            let away = attended.map_or_else(Vec::new, |all| all.away().cloned().collect());
            let recorded = self.membership.members.any_records_possible(&targets);
            self.launch_to(now, &order, asker, (targets, away), recorded)
        });
        let client = &mut self.clients[at];
        client.attendance = attendance.or(client.attendance.take());
        match started {
            Ok(order) => {
                let (id, line) = (client.id, client.session.current());
                log::debug(format_args!("client {id}: transfer {number} begins: \"{line}\""));
                client.work = Work::Transfer(number, order, until);
                warnings.into_iter().for_each(|line| client.session.said(&Said::Line(0, line)));
            }
            Err(refusal) => {
                self.refuse(at, &order, &refusal);
            }
        }
    }

    /// Whom an order is for.
    ///
    /// # Errors
    /// As [`targets`].
    pub(super) fn targets_of(&self, now: Time, order: &Order) -> Result<Targets, Refusal> {
        let members = &self.membership.members;
        let known = self.membership.fleet.roster(now, members, &self.shared);
        targets(members, &known, order)
    }

    /// Starts a transfer to these targets, of which some are away; `recorded`: hosts may keep a record of it. Returns
    /// the order, which is a different one if the path turns out to be gone.
    ///
    /// # Errors
    /// It cannot start.
    pub(super) fn launch_to(
        &mut self,
        now: Time,
        order: &Arc<Order>,
        asker: Asker,
        (targets, away): (Vec<Member>, Vec<HostName>),
        recorded: bool,
    ) -> Result<Arc<Order>, Refusal> {
        let Asker { client, level, follow, unread, command } = asker;
        let launch = Launch {
            number: self.next_number,
            oldest: self.oldest_open(),
            recorded,
            me: self.settings.name.clone(),
            order: Arc::clone(order),
            targets,
            away,
            client,
            level,
            follow,
            unread,
            command,
            own_only: self.settings.own_only,
            writes: self.settings.writes,
            databases: !self.settings.chroot,
            parallel: self.settings.parallel,
            timeout: self.settings.timeout,
        };
        let started = launch.start(&self.shared, now)?;
        self.next_number = self.next_number.next();
        Ok(started)
    }

    /// A transfer cannot begin: its client is told why, and what those before it came to.
    fn refuse(&mut self, at: usize, order: &Order, refusal: &Refusal) {
        let why = refusal.errors.first().map_or("no members", ErrorLine::text);
        self.refused(at, order, why);
        let client = &mut self.clients[at];
        let (more, results) = order.refused(refusal.total);
        refusal.errors.iter().chain(&more).for_each(|error| client.session.error(error));
        if !refusal.errors.is_empty() {
            // Who was there makes no difference.
            client.attendance = None;
        }
        self.finish(at, results);
    }

    /// Another host's transfer holds the path of a client's transfer: retries after a random time, or
    /// gives up.
    pub(super) fn held(&mut self, now: Time, client: u32, number: TransferNo, by: &Holder) {
        let wait = Span::from_millis(100 + self.rng.below(900));
        let Some(at) = self.clients.iter().position(|one| one.id == client) else {
            return self.served_held(client, &by.to_string());
        };
        let client = &mut self.clients[at];
        let Work::Transfer(known, order, until) = &client.work else { return };
        if *known != number {
            return;
        }
        let (order, until) = (Arc::clone(order), *until);
        if now + wait < until {
            client.work = Work::Held(order, now + wait, until);
            return;
        }
        let why = format!("{} is in use by {by}", order.path_shown());
        let error = ErrorLine::new(Code::Held, why).about("", reply::shown(&order.path));
        let total = Total { hosts: 1, failed: 1, errors: 1, ..Total::default() };
        self.refuse(at, &order, &Refusal { errors: vec![error], total });
    }

    /// A transfer does not begin: it is counted, and the log has its line.
    fn refused(&self, at: usize, order: &Order, why: &str) {
        let counts = &self.shared.counters.out;
        refused(counts, order, self.clients[at].session.current(), why);
    }
}

/// A transfer does not begin: it is counted, and the log has its line.
pub(super) fn refused(counts: &Transfers, order: &Order, command: &str, why: &str) {
    if !order.mode.changes_nothing() {
        counts.ended(Ended::Refused, 0, 0);
    }
    let (mode, path, asked) = (order.mode, &order.path_shown(), (command, order.caller()));
    let line = RefusedLine { mode, path, why, asked };
    log::many(log::Level::TRANSFER, "refused transfers", format_args!("{line}"));
}
