//! What clients ask of watches, and the transfers of their flushes.

use std::sync::Arc;

use super::client::{Client, Work};
use super::control_loop::Control;
use super::lacking::Lacking;
use super::membership::Membership;
use super::transfers::Asker;
use super::watches::{Phase, client_of};
use crate::console::command::Watch;
use crate::console::error::{Code, ErrorLine};
use crate::console::reply::{self, Said};
use crate::daemon::again::{Results, Unreached};
use crate::daemon::caller::Caller;
use crate::daemon::messages::{Holder, MirrorWork, ToDisk, ToSender};
use crate::daemon::order::Order;
use crate::daemon::unread::Unread;
use crate::ids::TransferNo;
use crate::log;
use crate::name::RelPath;
use crate::pattern::{PatternError, Patterns, Rule};
use crate::time::{Span, Time};
use crate::watch::types::{Event, TEMPORARIES, WatchNo, Went};

impl Control {
    /// A client asks for a watch.
    pub(super) fn watch(&mut self, at: usize, what: Watch) {
        let client = &mut self.clients[at];
        let (id, unread) = (client.id, client.unread.clone());
        let caller = client.caller(&mut self.inputs.owners);
        let patterns = Arc::clone(client.session.patterns());
        match self.begin_watch(what, &patterns, caller, Some(id), unread) {
            Ok(_) => self.clients[at].work = Work::Watching,
            Err(error) => self.answer_error(at, &error),
        }
    }

    /// What the daemon was started to watch.
    pub(super) fn watch_from_start(&mut self) {
        for (what, patterns) in std::mem::take(&mut self.settings.watches) {
            let shown = reply::shown(&what.path);
            let begun =
                self.begin_watch(what, &patterns, Caller::this_daemon(), None, Unread::default());
            if let Err(error) = begun {
                log::error(format_args!("{shown} is not watched: {}", error.text()));
            }
        }
    }

    pub(super) fn begin_watch(
        &mut self,
        what: Watch,
        patterns: &Patterns,
        caller: Caller,
        client: Option<u32>,
        unread: Unread,
    ) -> Result<WatchNo, ErrorLine> {
        if self.settings.no_send {
            return Err(ErrorLine::cannot_send());
        }
        let patterns =
            with_temporaries(patterns).map_err(|why| ErrorLine::new(Code::InvalidPattern, why))?;
        self.watches.add(what, Arc::new(patterns), caller, client, unread)
    }

    /// A client waits until what was changed at this path is sent.
    pub(super) fn flush(&mut self, at: usize, path: &RelPath) {
        let id = self.clients[at].id;
        match self.watches.reach(id, path) {
            Ok(()) => self.clients[at].work = Work::Flushing,
            Err(error) => self.answer_error(at, &error),
        }
    }

    /// Deletions that are held at this path may go.
    pub(super) fn release(&mut self, at: usize, path: &RelPath) {
        match self.watches.release(path) {
            Ok(()) => self.answer(at, String::new()),
            Err(error) => self.answer_error(at, &error),
        }
    }

    pub(super) fn answer_error(&mut self, at: usize, error: &ErrorLine) {
        let session = &mut self.clients[at].session;
        session.error(error);
        session.finish();
    }

    /// The watcher says something.
    pub(super) fn watch_event(&mut self, now: Time, event: Event) {
        match event {
            Event::Flush(watch, flush) if self.mirror_flush(now, watch, &flush) => {}
            Event::Flush(watch, flush) => self.watches.flush(now, watch, flush),
            Event::Reached { watch, cookie, held } => {
                self.heal(now);
                match self.equals.of_watch(watch) {
                    Some(at) => self.reach(now, at, cookie),
                    None => self.watches.reached(watch, cookie, held, Vec::new()),
                }
            }
            Event::LookAtBase => {
                self.watches.look_at_base();
                for one in &self.equals.trees {
                    self.shared.to_disk(ToDisk::Mirror(one.tree, None, MirrorWork::Check));
                }
            }
            Event::Refused(watch, why) => {
                let Some(watched) = self.watches.get_mut(watch) else { return };
                let error = ErrorLine::here(reply::shown(watched.path()), Code::Other, why);
                self.unwatch(watch, &error);
            }
        }
    }

    /// Answers the clients that have waited for what was changed.
    pub(super) fn answer_reached(&mut self) {
        while let Some((client, errors)) = self.watches.poll_reached() {
            let Some(client) = self.client(client) else { continue };
            errors.iter().for_each(|error| client.session.error(error));
            client.work = Work::Idle;
            client.session.finish();
        }
    }

    /// Something cannot be watched, or no longer.
    fn unwatch(&mut self, watch: WatchNo, why: &ErrorLine) {
        let Some(watched) = self.watches.get_mut(watch) else { return };
        let (client, shown) = (watched.client, reply::shown(watched.path()));
        match client {
            None => {
                self.watches.refused(watch, why.text());
                log::error(format_args!("{shown} is not watched: {}", why.text()));
            }
            Some(client) => {
                self.watches.remove(watch, why.text());
                let Some(at) = self.clients.iter().position(|one| one.id == client) else { return };
                self.clients[at].work = Work::Idle;
                self.answer_error(at, why);
            }
        }
    }

    /// Whoever has left lacks nothing of what was sent, and whoever says so.
    fn heal(&mut self, now: Time) {
        let Membership { fleet, members, .. } = &self.membership;
        self.watches.heal(now, |host| fleet.lacks(host, members));
    }

    /// Clients that follow the progress of their watch are told what has changed.
    pub(super) fn show_watches(&mut self, now: Time) {
        self.heal(now);
        for (client, watching, held) in self.watches.news() {
            if let Some(client) = self.client(client) {
                if let Some(held) = held {
                    client.said(&Said::Line(0, format!("warning: {held}")));
                }
                client.session.watching(&watching);
            }
        }
    }

    /// A client is gone: what it had asked for ends.
    pub(super) fn client_left(&mut self, client: Client) {
        let number = match client.work {
            Work::Transfer(number, ..) => {
                self.figures.ended(client.session.current(), None);
                Some(number)
            }
            Work::Flushing => {
                self.watches.waiting.left(client.id);
                None
            }
            Work::Watching => {
                let watch = self.watches.of_client(client.id);
                watch.and_then(|watch| self.watches.remove(watch, "its watch has ended"))
            }
            _ => None,
        };
        if let Some(number) = number {
            self.shared.sender.send(ToSender::Abort(number));
        }
    }

    /// Answers who has waited for flushes, and starts those that are due.
    pub(super) fn start_flushes(&mut self, now: Time) {
        self.answer_reached();
        if !self.membership.members.settled(now) {
            return;
        }
        while let Some((watch, order)) = self.watches.due(now) {
            self.watches.look_at_base();
            self.start_flush(now, watch, order);
        }
    }

    fn start_flush(&mut self, now: Time, watch: WatchNo, order: Arc<Order>) {
        let number = self.next_number;
        let Some(watched) = self.watches.get_mut(watch) else { return };
        let (command, unread, client) = (watched.command(), watched.unread.clone(), watched.client);
        let (level, follow) = match client.and_then(|client| self.client(client)) {
            Some(client) => (client.session.loglevel(), client.session.follow()),
            None => Default::default(),
        };
        let asker = Asker { client: client_of(watch), level, follow, unread, command };
        let started = self.targets_of(now, &order).and_then(|of| {
            let away = of.attendance.away().cloned().collect();
            let recorded = self.membership.members.any_records_possible(&of.live);
            self.launch_to(now, &order, asker, (of.live, away), recorded)
        });
        let Some(watched) = self.watches.get_mut(watch) else { return };
        match started {
            Ok(order) => {
                watched.phase = Phase::Sending(number, order);
            }
            Err(refusal) => {
                let first = refusal.errors.first();
                let lacking = first.map(|error| Lacking::Here(error.text().to_owned()));
                let errors = refusal.errors.into_iter().map(Said::Error).collect();
                self.watch_lines(watch, errors);
                // Who is not there is served when it comes back.
                let went = if lacking.is_none() {
                    Went::Sent { again: Vec::new() }
                } else {
                    Went::NotSent
                };
                self.watch_total(watch, &(Vec::new(), refusal.total));
                self.watches.done(watch, went, lacking);
            }
        }
    }

    /// Lines of a flush: for the client of its watch, or for the log.
    pub(super) fn watch_lines(&mut self, watch: WatchNo, lines: Vec<Said>) {
        let Some(watched) = self.watches.get_mut(watch) else { return };
        let (client, shown) = (watched.client, reply::shown(watched.path()));
        match client {
            Some(client) => {
                if let Some(client) = self.client(client) {
                    lines.iter().for_each(|said| client.said(said));
                }
            }
            None => {
                watched.unread.set(0, 0);
                for said in lines {
                    let Said::Error(error) = said else { continue };
                    let text = format_args!("watch {shown}: {}", error.text());
                    log::many(log::Level::WARNING, "watches", text);
                }
            }
        }
    }

    /// The transfer of a flush is over.
    pub(super) fn flush_over(
        &mut self,
        now: Time,
        watch: WatchNo,
        number: TransferNo,
        results: Results,
        unreached: Option<Unreached>,
    ) {
        if self.mirror_over(now, watch, number, &results) {
            return;
        }
        let Some(watched) = self.watches.get_mut(watch) else { return };
        let order = match &watched.phase {
            Phase::Sending(known, order) if *known == number => Arc::clone(order),
            _ => return,
        };
        match order.over(results, unreached) {
            Err(next) => watched.phase = Phase::Due(next, now),
            Ok(results) => {
                self.watch_total(watch, &results);
                let again = order.take_unread();
                self.watches.done(watch, Went::Sent { again }, Lacking::of(now, &results));
            }
        }
    }

    /// The client of a watch gets what a flush came to.
    fn watch_total(&mut self, watch: WatchNo, results: &Results) {
        let client = self.watches.get_mut(watch).and_then(|watched| watched.client);
        if let Some(client) = client.and_then(|client| self.client(client)) {
            client.flushed(results, &[]);
        }
    }

    /// Another host's transfer holds the path of a flush, which waits; or its watch does, which ends this one.
    pub(super) fn flush_held(
        &mut self,
        now: Time,
        watch: WatchNo,
        number: TransferNo,
        by: &Holder,
    ) {
        if self.mirror_held(now, watch, number, by) {
            return;
        }
        let wait = Span::from_millis(100 + self.rng.below(900));
        let Some(watched) = self.watches.get_mut(watch) else { return };
        let order = match &watched.phase {
            Phase::Sending(known, order) if *known == number => Arc::clone(order),
            _ => return,
        };
        watched.phase = Phase::Due(order, now + wait);
        if let Holder::Watch(..) = by {
            let shown = reply::shown(watched.path());
            let error = ErrorLine::new(Code::Watched, by).about("", shown);
            self.unwatch(watch, &error);
        }
    }
}

/// Patterns, and after them those of what editors make for a moment.
///
/// # Errors
/// There are too many.
fn with_temporaries(patterns: &Patterns) -> Result<Patterns, PatternError> {
    let rules =
        patterns.rules().map(|(include, pattern)| Rule { include, pattern: pattern.to_vec() });
    let temporaries = TEMPORARIES.iter().map(|pattern| Rule::exclude(pattern.as_bytes()));
    Patterns::new(&rules.chain(temporaries).collect::<Vec<_>>())
}
