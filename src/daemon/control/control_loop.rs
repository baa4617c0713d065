//! The control loop: clients, members, signals and timers, all in one poll.

use std::process::ExitCode;
use std::sync::Arc;

use super::agreeing::Agreeing;
use super::catching_up::CatchingUp;
use super::checkups::Checkups;
use super::client::{Client, Stream, Work};
use super::door::Door;
use super::equals::Equals;
use super::fetch::Fetch;
use super::hang_up;
use super::history;
use super::inputs::Inputs;
use super::membership::Membership;
use super::places::{self, Room};
use super::samples::Samples;
use super::served::Served;
use super::settings::Settings;
use super::status::{self, Figures};
use super::watches::{self, Watches};
use crate::console::command::{Command, Form};
use crate::console::fleet::{self};
use crate::console::{Offer, Session};
use crate::daemon::clock;
use crate::daemon::messages::{NO_CLIENT, ToControl, ToReceiver, ToSender};
use crate::daemon::metrics_file::MetricsFile;
use crate::daemon::order::Order;
use crate::daemon::shared::{Shared, lock};
use crate::engine::rng::Rng;
use crate::errno::ErrorText;
use crate::ids::TransferNo;
use crate::keeping::mirrors::Asked;
use crate::log;
use crate::sys::links::LinkEvents;
use crate::sys::signal::Signal;
use crate::time::{Span, Time};

const SECOND: Span = Span::from_secs(1);
/// What this daemon's console offers.
const OFFER: Offer = Offer::ALL;

pub(crate) struct Control {
    pub(super) shared: Arc<Shared>,
    pub(super) inputs: Inputs,
    pub(super) membership: Membership,
    pub(super) settings: Settings,
    pub(super) clients: Vec<Client>,
    pub(super) catching_up: CatchingUp,
    pub(super) watches: Watches,
    pub(super) equals: Equals,
    pub(crate) agreeing: Agreeing,
    /// What another host is asked for.
    pub(super) fetch: Option<Fetch>,
    /// What other hosts have asked for.
    pub(super) served: Served,
    door: Door,
    next_client: u32,
    pub(super) next_number: TransferNo,
    pub(super) rng: Rng,
    ticked: Time,
    pub(super) figures: Figures,
    pub(super) samples: Samples,
    pub(super) checkups: Checkups,
    /// Where the figures of this daemon are written to.
    pub(crate) metrics_file: Option<MetricsFile>,
}

impl Control {
    /// `seed` is random.
    pub(crate) fn new(
        shared: Arc<Shared>,
        inputs: Inputs,
        membership: Membership,
        settings: Settings,
        door: Door,
        seed: u64,
        now: Time,
    ) -> Self {
        let catching_up = CatchingUp::new(Arc::clone(&shared), &settings, seed, now);
        let watches = Watches::new(Arc::clone(&shared), seed, settings.mounts.clone());
        let equals = Equals::new(&shared);
        Control {
            catching_up,
            watches,
            equals,
            agreeing: Agreeing::default(),
            fetch: None,
            served: Served::default(),
            shared,
            inputs,
            membership,
            settings,
            door,
            clients: Vec::new(),
            next_client: 1,
            // The first number is arbitrary.
            next_number: TransferNo::new((seed as u32 >> 2).max(1)),
            rng: Rng::new(seed),
            ticked: now,
            figures: Figures::new(now),
            samples: Samples::default(),
            checkups: Checkups::default(),
            metrics_file: None,
        }
    }

    /// Runs until a signal ends the daemon.
    pub(crate) fn run(mut self) -> ExitCode {
        self.watch_from_start();
        self.mirror_from_start();
        self.agree_from_start(clock::now());
        self.samples.take_now_and_then(clock::now(), &self.shared.net, &self.inputs.kernel);
        loop {
            let now = clock::now();
            self.drive(now);
            self.commands(now);
            self.start_flushes(now);
            self.start_mirrors(now);
            self.drive_reaches(now);
            self.tidy(now);
            let timeout = self.next(now).map(|at| at.since(now));
            let ready = match self.inputs.wait(&self.clients, timeout) {
                Ok(ready) => ready,
                Err(error) => {
                    log::error(format_args!("cannot wait for events: {}", ErrorText(&error)));
                    return self.stop(ExitCode::FAILURE);
                }
            };
            let now = clock::now();
            if ready.signal && !self.signals() {
                return self.stop(ExitCode::SUCCESS);
            }
            if ready.woken && !self.messages(now) {
                return self.stop(ExitCode::FAILURE);
            }
            for (at, hung_up) in ready.readable {
                self.clients[at].read(hung_up);
            }
            if ready.links {
                self.inputs.links.as_ref().map(LinkEvents::drain);
                self.membership.look_at_network();
            }
            if ready.tcp {
                self.accept(now, true);
            }
            if ready.unix {
                self.accept(now, false);
            }
            self.timers(now);
        }
    }

    /// Does what is due for members and their records.
    fn drive(&mut self, now: Time) {
        let oldest = self.oldest_open();
        self.membership.members.set_records(now, self.catching_up.said());
        self.membership.drive(now, oldest);
        let (membership, settings) = (&mut self.membership, &self.settings);
        let left = membership.take_left();
        self.catching_up.gone(now, &left);
        self.next_number =
            self.catching_up.drive(now, membership, settings, oldest, self.next_number);
        left.iter().chain(&self.served.late(now)).for_each(|node| self.unserve(*node));
        self.fetch_gone(now, &left);
        self.mirror_gone(now, &left);
        self.drive_agreeing(now, &left);
        self.drive_mirrors(now);
        self.drive_fetch(now);
        self.drive_doctor(now);
    }

    /// When the next timer is due.
    fn next(&self, now: Time) -> Option<Time> {
        let busy = self.clients.iter().any(|client| client.session.is_busy());
        let receiving = !lock(&self.shared.recvs).is_empty();
        // An idle daemon wakes up only for its log.
        let tick = Some(self.ticked + if busy || receiving { SECOND } else { SECOND * 10 });
        let members = Some(self.membership.next());
        // Senders wait for a word.
        let says_busy = receiving.then_some(self.membership.busy_at);
        let retry = self.clients.iter().filter_map(|client| match client.work {
            Work::Unsettled(_) => Some(self.membership.members.settles()),
            Work::Held(_, at, _) => Some(at),
            Work::Idle
            | Work::Transfer(..)
            | Work::Fetch
            | Work::Watching
            | Work::Flushing
            | Work::Asking(_)
            | Work::Doctor => None,
        });
        let retry = retry.min();
        let late = self.clients.iter().filter_map(Client::late_at).min();
        let door = self.door.opens(&self.clients);
        // Commands that arrived while the client had too much output to read.
        let obey = self.clients.iter().any(|client| client.session.can_obey()).then_some(now);
        let flush = self.watches.next().map(|at| at.max(self.membership.members.settles()));
        let records = self.catching_up.next(now);
        let settles = self.membership.members.settles();
        let fetch = self.fetch.as_ref().map(|fetch| fetch.next(settles));
        let metrics = self.metrics_file.as_ref().map(MetricsFile::next);
        let served = self.served.next();
        let doctor = self.checkups.next(settles);
        let mirrors = self.equals.next(now);
        let agreeing = self.agreeing.next();
        let timers = [
            members, records, flush, tick, retry, late, door, obey, fetch, served, metrics, doctor,
            mirrors, agreeing, says_busy,
        ];
        timers.into_iter().flatten().min().map(|at| at.max(now))
    }

    fn signals(&mut self) -> bool {
        while let Ok(Some(signal)) = self.inputs.signals.read() {
            match signal {
                Signal::Term | Signal::Int | Signal::Quit => {
                    log::notice(format_args!("stopping"));
                    return false;
                }
                Signal::CpuTime => {
                    log::error(format_args!(
                        "stopping: the limit of CPU time (ulimit -t) is reached"
                    ));
                    return false;
                }
                Signal::Usr1 => log::notice(format_args!("log level {}", log::more())),
                Signal::Usr2 => log::notice(format_args!("log level {}", log::less())),
                Signal::Hup => {
                    hang_up::hang_up(&self.shared, &self.settings);
                    self.catching_up.hurry(clock::now());
                }
            }
        }
        true
    }

    fn messages(&mut self, now: Time) -> bool {
        self.inputs.waker.drain();
        for message in self.shared.control.take() {
            match message {
                ToControl::Hello { from, addr, counter, hello } => {
                    if self.membership.hello(now, from, addr, counter, &hello) {
                        self.catching_up.hello(now, from, &self.membership.members, hello.records);
                        self.mirror_hello(now, from);
                    }
                }
                ToControl::Bye { from, addr, counter } => {
                    self.membership.members.bye(now, from, addr, counter)
                }
                ToControl::Records(from, records) => self.catching_up.packet(now, from, records),
                ToControl::Fetch(from, fetch) => self.asked(now, from, fetch),
                ToControl::Fetched(ticket, results, is_whole) => {
                    self.fetched(now, ticket, results, is_whole);
                }
                ToControl::Probe(node, probe) => self.checkups.answer(now, node, &probe),
                ToControl::PullBegun(id, from) => self.catching_up.begun(&id, from),
                ToControl::Pulled(id, how) => self.catching_up.pulled(now, &id, how),
                // It is looked at in a moment.
                ToControl::Recorded => {}
                ToControl::Over { client: NO_CLIENT, number, .. }
                | ToControl::Held { client: NO_CLIENT, number, .. } => {
                    self.catching_up.over(number);
                }
                ToControl::LookAtNetwork => self.membership.look_at_network(),
                ToControl::Heard(node) => self.membership.members.heard(now, node),
                ToControl::Drop(node) => self.membership.members.drop_member(now, node),
                ToControl::Silent(node) => drop(self.equals.silent.insert(node, now)),
                ToControl::Mirror(from, said) => self.mirror_said(now, from, said),
                ToControl::MirrorBegun(tree, from, setup) => {
                    self.mirror_begun(now, tree, from, &setup);
                }
                ToControl::MirrorEnded(tree, from, is_taken) => {
                    self.mirror_ended(now, tree, from, is_taken);
                }
                ToControl::Mirrored(tree) => self.mirror_changed(now, tree),
                ToControl::Looked(tree, seen) => self.mirror_looked(now, tree, seen),
                ToControl::Atomic(news) => self.atomic_news(now, news),
                ToControl::MirrorBack(tree) => self.mirror_back(tree),
                ToControl::Answered(client, tree, done) => {
                    self.mirrors_told(now, client, tree, done)
                }
                ToControl::Watch(event) => self.watch_event(now, event),
                ToControl::Lines { client, lines } => {
                    if let Some(watch) = watches::number_of(client) {
                        self.watch_lines(watch, lines);
                    } else {
                        match self.client(client) {
                            Some(client) => lines.iter().for_each(|said| client.said(said)),
                            None => self.served_lines(client, &lines),
                        }
                    }
                }
                ToControl::Progress { client, progress } => {
                    let client = self.watches.whom(client);
                    if let Some(client) = client.and_then(|client| self.client(client)) {
                        client.session.progress(&progress);
                    }
                }
                ToControl::Over { client, number, results, unreached } => {
                    match watches::number_of(client) {
                        Some(watch) => self.flush_over(now, watch, number, results, unreached),
                        None => self.over(now, client, number, results, unreached),
                    }
                }
                ToControl::Held { client, number, by } => match watches::number_of(client) {
                    Some(watch) => self.flush_held(now, watch, number, &by),
                    None => self.held(now, client, number, &by),
                },
                ToControl::Died(thread) => {
                    log::error(format_args!("the {thread} thread ended unexpectedly"));
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn client(&mut self, id: u32) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.id == id)
    }

    fn accept(&mut self, now: Time, tcp: bool) {
        let stream = match (tcp, &self.inputs.tcp, &self.inputs.unix) {
            (true, Some(listener), _) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            (false, _, Some(listener)) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
            _ => return,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(error) => return cannot_accept(&error),
        };
        let id = self.draw_client();
        let session = match places::make_room(&mut self.clients, id, now) {
            Room::Free => self.door.session(OFFER, tcp),
            Room::Left(client) => {
                self.client_left(*client);
                self.door.session(OFFER, tcp)
            }
            Room::Full => Session::refused(),
        };
        match Client::new(id, stream, session, now) {
            Ok(client) => {
                let how = if tcp { "TCP" } else { "the Unix socket" };
                log::debug(format_args!("client {id}: connected by {how}"));
                self.clients.push(client);
            }
            Err(error) => cannot_accept(&error),
        }
    }

    /// A number for a client, or for what another host asks for.
    pub(super) fn draw_client(&mut self) -> u32 {
        let id = self.next_client;
        self.next_client = ((id + 1) % watches::FIRST).max(NO_CLIENT + 1);
        id
    }

    fn timers(&mut self, now: Time) {
        if now >= self.ticked + SECOND {
            self.ticked = now;
            log::tick();
            self.clients.iter_mut().for_each(|client| client.session.alive_tick());
            self.show_watches(now);
            self.membership.fleet.keep(false);
            self.samples.take_now_and_then(now, &self.shared.net, &self.inputs.kernel);
        }
        self.membership.say_busy(now);
        self.membership.keep_joined(now);
        self.write_metrics(now);
    }

    /// All transfers before this one are closed.
    pub(crate) fn oldest_open(&self) -> TransferNo {
        lock(&self.shared.open).first().copied().unwrap_or(self.next_number)
    }

    /// Executes the clients' commands.
    fn commands(&mut self, now: Time) {
        self.door.answer(now, &mut self.clients);
        for at in 0..self.clients.len() {
            match &self.clients[at].work {
                Work::Unsettled(order) if self.membership.members.settled(now) => {
                    let order = Arc::clone(order);
                    self.begin(now, at, order);
                }
                Work::Held(order, again, until) if *again <= now => {
                    let (order, until) = (Arc::clone(order), *until);
                    self.start(now, at, order, until);
                }
                _ => {}
            }
            while let Some(command) = self.clients[at].session.next_command() {
                let client = &self.clients[at];
                let (id, line) = (client.id, client.session.current());
                if command != Command::Quit {
                    log::debug(format_args!("client {id}: {line}"));
                }
                match command {
                    Command::Transfer(transfer) => {
                        let client = &mut self.clients[at];
                        let caller = client.caller(&mut self.inputs.owners);
                        let order = Order::new(transfer, client.session.patterns(), caller);
                        self.order(now, at, order);
                    }
                    Command::Fetch(transfer) => {
                        let caller = self.clients[at].caller(&mut self.inputs.owners);
                        self.fetch(now, at, transfer, caller);
                    }
                    Command::Members(form) => {
                        let (shared, membership) = (&self.shared, &self.membership);
                        let hosts = self.hosts(now);
                        self.answer(at, status::members(now, shared, membership, &hosts, form));
                    }
                    Command::Status(form) => {
                        // The table, which some ask for all the time, does not show them.
                        let hosts = if form == Form::Table { Vec::new() } else { self.hosts(now) };
                        let status = self.status(now, at, hosts);
                        self.answer(at, status.form(form));
                    }
                    Command::Metrics => self.answer(at, self.metrics(now).text()),
                    Command::Behind(json) => {
                        let hosts = self.hosts(now);
                        self.answer(at, fleet::behind(&hosts, json));
                    }
                    Command::Forget(host) => {
                        let Membership { fleet, members, .. } = &mut self.membership;
                        let session = &mut self.clients[at].session;
                        if let Err(error) = fleet.forget(&host, &self.settings.name, members) {
                            session.error(&error);
                        }
                        session.finish();
                    }
                    Command::Doctor(order) => self.doctor(now, at, order),
                    Command::History(json) => {
                        self.answer(at, history::history(&self.shared, &self.settings.name, json));
                    }
                    Command::Watch(what) => self.watch(at, what),
                    Command::Flush(path) => self.flush(at, &path),
                    Command::Release(path) => self.release(at, &path),
                    Command::Mirror(json) => self.answer(at, self.mirror_rows(now, json)),
                    Command::Waiting(path, json) => {
                        self.list_of_mirrors(at, Asked::Waiting, &path, json);
                    }
                    Command::Conflicts(path, json) => {
                        self.list_of_mirrors(at, Asked::Conflicts, &path, json);
                    }
                    Command::Decide(decision) => self.decide(at, decision),
                    Command::Quit => {}
                }
            }
        }
    }

    pub(super) fn answer(&mut self, at: usize, text: String) {
        let session = &mut self.clients[at].session;
        session.lines(0, &text);
        session.finish();
    }

    /// Writes output to clients, and removes those that are finished.
    fn tidy(&mut self, now: Time) {
        self.figures.note(now, &self.shared);
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            if client.write(now) {
                self.shared.sender.send(ToSender::Resume);
            }
            client.note_prompt(now);
            if client.is_over() || places::is_late(client, now) {
                let client = self.clients.remove(at);
                self.client_left(client);
            } else {
                at += 1;
            }
        }
    }

    /// Announces that this host leaves, and tells the threads to stop.
    fn stop(mut self, status: ExitCode) -> ExitCode {
        self.stop_agreeing(clock::now());
        self.membership.fleet.keep(true);
        self.membership.leave();
        self.watches.stop();
        self.end_metrics();
        self.shared.sender.send(ToSender::Stop);
        self.shared.receiver.send(ToReceiver::Stop);
        status
    }
}

fn cannot_accept(error: &std::io::Error) {
    let text = format_args!("cannot accept a client: {}", ErrorText(error));
    log::limited(log::Level::WARNING, "accept", None, text);
}
