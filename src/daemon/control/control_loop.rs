//! The control loop: clients, members, signals and timers, all in one poll.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::console::command::{Command, Form};
use crate::console::reply::Total;
use crate::console::report::{self, Dropped, MemberRow, StatusReport, StrangerRow};
use crate::console::{Offer, Session, reply};
use crate::daemon::clock;
use crate::daemon::control::client::{Client, Stream, Work};
use crate::daemon::keyfile;
use crate::daemon::order::Order;
use crate::daemon::receiving::receiver::ToReceiver;
use crate::daemon::sending::sender::ToSender;
use crate::daemon::setup::password::Door;
use crate::daemon::shared::{Peer, Shared, ToControl, lock};
use crate::engine::destination::Destination;
use crate::engine::members::{Event, Members, Packet, Why};
use crate::engine::rng::Rng;
use crate::errno::ErrorText;
use crate::ids::TransferNo;
use crate::log;
use crate::seal::Seal;
use crate::sys::Waker;
use crate::sys::poll::{Interest, PollFd, poll};
use crate::sys::signal::{Signal, SignalFd};
use crate::time::{Span, Time};
use crate::wire::feedback::Feedback;
use crate::wire::header::{Header, PacketKind, Role};
use crate::wire::hello::Hello;

/// One client more is told so and closed.
const MOST_CLIENTS: usize = 64;
/// While the group is not joined, it is tried so often.
const JOIN_EVERY: Span = Span::from_secs(2);
/// An interface may go and come back, and its memberships with it: so often the group is joined again.
const REJOIN_EVERY: Span = Span::from_secs(30);
/// How the line begins that says that a key file was not read again.
const KEPT_KEY: &str = "the key stays as it is";
const SECOND: Span = Span::from_secs(1);
/// A path that another host's transfer holds is waited for so long.
const PATIENCE: Span = Span::from_secs(30);
/// What this daemon's console does.
const OFFER: Offer = Offer::ALL;

pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    pub(crate) waker: Waker,
    pub(crate) signals: SignalFd,
    pub(crate) tcp: Option<TcpListener>,
    pub(crate) unix: Option<UnixListener>,
    pub(crate) members: Members,
    pub(crate) seal: Seal,
    pub(crate) settings: Settings,
    pub(crate) clients: Vec<Client>,
    pub(crate) door: Door,
    pub(crate) next_client: u32,
    pub(crate) next_number: TransferNo,
    pub(crate) rng: Rng,
    pub(crate) ticked: Time,
    pub(crate) tried_join: Time,
    pub(crate) most_open: u64,
    /// Bytes sent when `status` last asked, and when that was.
    pub(crate) rate: (u64, Time),
}

/// What the control loop has to know of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) no_send: bool,
    pub(crate) own_only: Option<u32>,
    pub(crate) parallel: usize,
    pub(crate) timeout: Span,
    pub(crate) rate: Option<u32>,
    pub(crate) sendsize: u64,
    /// The base directory as it is outside a chroot.
    pub(crate) base: PathBuf,
    pub(crate) chroot: bool,
    /// What the daemon has given up.
    pub(crate) confined: String,
    /// The key files, by paths that hold wherever the daemon is.
    pub(crate) keys: Vec<PathBuf>,
}

impl Control {
    /// Runs until a signal says stop.
    pub(crate) fn run(mut self) -> ExitCode {
        loop {
            let now = clock::now();
            self.members(now);
            self.commands(now);
            self.tidy(now);
            let timeout = self.next(now).map(|at| at.since(now));
            let ready = match self.wait(timeout) {
                Ok(ready) => ready,
                Err(error) => {
                    log::error(format_args!("cannot wait: {}", ErrorText(&error)));
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
            if ready.tcp {
                self.accept(now, true);
            }
            if ready.unix {
                self.accept(now, false);
            }
            self.timers(now);
        }
    }

    fn wait(&self, timeout: Option<Span>) -> std::io::Result<Ready> {
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), Interest::Read),
            PollFd::new(self.waker.as_fd(), Interest::Read),
        ];
        fds.extend(self.tcp.iter().map(|listener| PollFd::new(listener.as_fd(), Interest::Read)));
        fds.extend(self.unix.iter().map(|listener| PollFd::new(listener.as_fd(), Interest::Read)));
        let clients = fds.len();
        for client in &self.clients {
            let interest = match (client.session.wants_input(), client.session.unread() > 0) {
                (true, true) => Interest::Both,
                (true, false) => Interest::Read,
                (false, true) => Interest::Write,
                (false, false) => Interest::Nothing,
            };
            fds.push(PollFd::new(client.fd(), interest));
        }
        poll(&mut fds, timeout)?;
        let listening = |at: usize| fds.get(at).is_some_and(|fd| at < clients && fd.readable());
        let after_tcp = 2 + usize::from(self.tcp.is_some());
        Ok(Ready {
            signal: fds[0].readable(),
            woken: fds[1].readable(),
            tcp: self.tcp.is_some() && listening(2),
            unix: self.unix.is_some() && listening(after_tcp),
            readable: fds[clients..]
                .iter()
                .enumerate()
                .filter(|(_, fd)| fd.readable() || fd.failed())
                .map(|(at, fd)| (at, fd.failed()))
                .collect(),
        })
    }

    /// When something is to be done though nothing happens.
    fn next(&self, now: Time) -> Option<Time> {
        let busy = self.clients.iter().any(|client| client.session.is_busy());
        let receiving = !lock(&self.shared.recvs).is_empty();
        // An idle daemon wakes up for its log alone.
        let tick = Some(self.ticked + if busy || receiving { SECOND } else { SECOND * 10 });
        let join = Some(self.join_at());
        let retry = self.clients.iter().filter_map(|client| match client.work {
            Work::Unsettled(_) => Some(self.members.settles()),
            Work::Held(_, at, _) => Some(at),
            Work::Idle | Work::Transfer(..) => None,
        });
        let retry = retry.min();
        let deaf = self.clients.iter().filter_map(Client::deaf_at).min();
        let door = self.door.opens(&self.clients);
        let timers = [self.members.poll_timeout(), tick, join, retry, deaf, door];
        timers.into_iter().flatten().min().map(|at| at.max(now))
    }

    fn signals(&mut self) -> bool {
        while let Ok(Some(signal)) = self.signals.read() {
            match signal {
                Signal::Term | Signal::Int => {
                    log::notice(format_args!("stopping"));
                    return false;
                }
                Signal::Usr1 => log::notice(format_args!("log level {}", log::more())),
                Signal::Usr2 => log::notice(format_args!("log level {}", log::less())),
                Signal::Hup => self.hang_up(),
            }
        }
        true
    }

    /// SIGHUP: what is outside may be another now.
    fn hang_up(&self) {
        log::reconnect();
        let Some(keys) = &self.shared.keys else { return };
        if self.settings.chroot {
            let why = "the root directory is another";
            return log::error(format_args!("{KEPT_KEY}: {why}: a restart is needed"));
        }
        match keyfile::keyring(&self.settings.keys, crate::sys::ids::effective().uid) {
            Ok(ring) if ring.is_same(&keys.ring()) => {
                log::notice(format_args!("the key is as it was"))
            }
            Ok(ring) => {
                log::notice(format_args!("the key is another now ({} to open with)", ring.count()));
                keys.replace(ring);
            }
            Err(why) => log::error(format_args!("{KEPT_KEY}: {why}: a restart is needed")),
        }
    }

    fn messages(&mut self, now: Time) -> bool {
        self.waker.drain();
        for message in self.shared.control.take() {
            match message {
                ToControl::Hello { from, addr, counter, hello } => {
                    self.members.hello(now, from, addr, counter, &hello);
                }
                ToControl::Bye { from, addr, counter } => {
                    self.members.bye(now, from, addr, counter)
                }
                ToControl::Heard(node) => self.members.heard(now, node),
                ToControl::Drop(node) => self.members.drop_member(now, node),
                ToControl::Lines { client, lines } => {
                    if let Some(client) = self.client(client) {
                        lines.iter().for_each(|(level, line)| client.session.line(*level, line));
                    }
                }
                ToControl::Progress { client, progress } => {
                    if let Some(client) = self.client(client) {
                        client.session.progress(&progress);
                    }
                }
                ToControl::Over { client, number, hosts, total } => {
                    if let Some(client) = self.client(client) {
                        if matches!(client.work, Work::Transfer(at, ..) if at == number) {
                            client.work = Work::Idle;
                            hosts.iter().for_each(|host| client.session.host(host));
                            client.session.total(&total);
                            client.session.finish();
                        }
                    }
                }
                ToControl::Held { client, number, who } => self.held(now, client, number, &who),
                ToControl::Died(thread) => {
                    log::error(format_args!("the {thread} thread has died"));
                    return false;
                }
            }
        }
        true
    }

    fn client(&mut self, id: u32) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.id == id)
    }

    fn accept(&mut self, now: Time, tcp: bool) {
        let stream = match (tcp, &self.tcp, &self.unix) {
            (true, Some(listener), _) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            (false, _, Some(listener)) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
            _ => return,
        };
        let session = match self.clients.len() < MOST_CLIENTS {
            true => self.door.session(OFFER),
            false => Session::refused(),
        };
        let id = self.next_client;
        self.next_client = self.next_client.wrapping_add(1);
        match stream.and_then(|stream| Client::new(id, stream, session, now)) {
            Ok(client) => self.clients.push(client),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => log::limited(
                log::Level::NOTICE,
                "accept",
                None,
                format_args!("cannot accept a client: {}", ErrorText(&error)),
            ),
        }
    }

    fn timers(&mut self, now: Time) {
        if now >= self.ticked + SECOND {
            self.ticked = now;
            log::tick();
            self.clients.iter_mut().for_each(|client| client.session.alive_tick());
            self.say_busy(now);
        }
        if now >= self.join_at() {
            self.tried_join = now;
            let joined = self.shared.net.joined();
            match self.shared.net.join() {
                Ok(()) => {
                    self.members.set_mtu(self.shared.net.mtu());
                    if !joined {
                        log::notice(format_args!("joined {}", self.shared.net.group()));
                        self.members.announce(now);
                    }
                }
                Err(error) => log::limited(
                    log::Level::NOTICE,
                    "join",
                    None,
                    format_args!(
                        "cannot join {} yet: {}",
                        self.shared.net.group(),
                        ErrorText(&error)
                    ),
                ),
            }
        }
    }

    fn join_at(&self) -> Time {
        self.tried_join + if self.shared.net.joined() { REJOIN_EVERY } else { JOIN_EVERY }
    }

    /// While a disk holds up the receiver, this says for it that the daemon lives.
    fn say_busy(&mut self, now: Time) {
        let since = self.shared.writing_since.load(Ordering::Relaxed);
        if since == 0 || now.micros() < since + SECOND.micros() {
            return;
        }
        let senders = lock(&self.shared.recvs).clone();
        for (key, addr) in senders {
            let mut header = Header::new(PacketKind::Busy, self.shared.me, Role::Control);
            header.transfer = key.number;
            let packet = self.seal.packet(header, &Feedback::Busy.emit(key.node, 64));
            self.send(addr, &packet);
        }
    }

    fn send(&self, to: std::net::SocketAddrV4, packet: &[u8]) {
        if let Err(error) = self.shared.net.send_one(to, packet) {
            log::limited(
                log::Level::NOTICE,
                "hello",
                None,
                format_args!("cannot send to {to}: {}", ErrorText(&error)),
            );
        }
    }

    /// Every transfer before this one is closed.
    pub(crate) fn oldest_open(&self) -> TransferNo {
        lock(&self.shared.open).first().copied().unwrap_or(self.next_number)
    }

    /// Lets membership do what is due, and tells everyone what has changed.
    fn members(&mut self, now: Time) {
        self.members.set_oldest_open(self.oldest_open());
        self.members.timeout(now);
        while let Some((to, packet)) = self.members.poll_transmit() {
            self.send_membership(to, &packet);
        }
        while let Some(event) = self.members.poll_event() {
            match event {
                Event::Joined(member) => {
                    let (name, ip) = (&member.name, member.addr.ip());
                    log::many(log::Level::NOTICE, "members", format_args!("{name} ({ip}) joins"));
                    lock(&self.shared.strangers).joined(*ip);
                    self.shared.set_peer(member.node, Some(Peer { addr: member.addr }));
                }
                Event::Changed(member) => {
                    self.shared.receiver.send(ToReceiver::Oldest(member.node, member.oldest_open));
                }
                Event::Left { member, why } => {
                    let how = match why {
                        Why::Bye => "leaves",
                        Why::Silent => "is silent, and no member any more",
                        Why::Replaced { .. } => "was started anew",
                        Why::Dropped => "did not answer, and is no member any more",
                    };
                    let (name, ip) = (&member.name, member.addr.ip());
                    log::many(log::Level::NOTICE, "members", format_args!("{name} ({ip}) {how}"));
                    self.shared.set_peer(member.node, None);
                    lock(&self.shared.stats).remove(&member.node);
                    self.shared.sender.send(ToSender::Gone(member.node));
                    self.shared.receiver.send(ToReceiver::Gone(member.node));
                }
            }
        }
    }

    fn send_membership(&mut self, to: Destination, packet: &Packet) {
        let (kind, payload) = match packet {
            Packet::Hello(hello) => (PacketKind::Hello, Hello::emit(hello)),
            Packet::Bye => (PacketKind::Bye, Vec::new()),
        };
        let header = Header::new(kind, self.shared.me, Role::Control);
        let packet = self.seal.packet(header, &payload);
        let to = match to {
            Destination::Group => self.shared.net.group(),
            Destination::One(addr) => addr,
        };
        self.send(to, &packet);
    }

    /// Obeys the commands that clients have given.
    fn commands(&mut self, now: Time) {
        self.door.answer(now, &mut self.clients);
        for at in 0..self.clients.len() {
            match &self.clients[at].work {
                Work::Unsettled(order) if self.members.settled(now) => {
                    let order = Arc::clone(order);
                    self.start(now, at, order, now + PATIENCE);
                }
                Work::Held(order, again, until) if *again <= now => {
                    let (order, until) = (Arc::clone(order), *until);
                    self.start(now, at, order, until);
                }
                _ => {}
            }
            while let Some(command) = self.clients[at].session.next_command() {
                match command {
                    Command::Send(send) => {
                        let order = Order::send(send, self.clients[at].session.patterns());
                        self.order(now, at, order);
                    }
                    Command::Dsync(dsync) => {
                        let order = Order::dsync(dsync, self.clients[at].session.patterns());
                        self.order(now, at, order);
                    }
                    Command::Check(check) => {
                        let order = Order::check(check, self.clients[at].session.patterns());
                        self.order(now, at, order);
                    }
                    Command::Members(form) => self.answer(at, self.member_rows(now, form)),
                    Command::Status { json } => {
                        let status = self.status(now, at);
                        self.answer(at, if json { status.json() } else { status.text() });
                    }
                    Command::Quit => {}
                }
            }
        }
    }

    fn order(&mut self, now: Time, at: usize, order: Order) {
        if self.settings.no_send {
            let session = &mut self.clients[at].session;
            session.line(0, reply::CANNOT_SEND);
            session.finish();
        } else if self.members.settled(now) {
            self.start(now, at, Arc::new(order), now + PATIENCE);
        } else {
            self.clients[at].work = Work::Unsettled(Arc::new(order));
        }
    }

    /// Another host has the path of a client's transfer: it is tried again after a random while, or
    /// given up.
    fn held(&mut self, now: Time, client: u32, number: TransferNo, who: &str) {
        let wait = Span::from_millis(100 + self.rng.below(900));
        let Some(client) = self.client(client) else { return };
        let Work::Transfer(at, order, until) = &client.work else { return };
        if *at != number {
            return;
        }
        let (order, until) = (Arc::clone(order), *until);
        if now + wait < until {
            client.work = Work::Held(order, now + wait, until);
            return;
        }
        client.work = Work::Idle;
        client
            .session
            .line(0, &format!("error: {} is held by a transfer of {who}", path_of(&order)));
        client.session.total(&Total { hosts: 1, failed: 1, errors: 1, ..Total::default() });
        client.session.finish();
    }

    fn answer(&mut self, at: usize, text: String) {
        let session = &mut self.clients[at].session;
        session.lines(0, &text);
        session.finish();
    }

    fn member_rows(&self, now: Time, form: Form) -> String {
        let stats = lock(&self.shared.stats);
        let rows: Vec<MemberRow> = self
            .members
            .members()
            .map(|member| {
                let seen = stats.get(&member.node).copied().unwrap_or_default();
                MemberRow {
                    name: member.name.clone(),
                    address: *member.addr.ip(),
                    version: member.version.clone(),
                    node: member.node,
                    rtt_us: seen.round_trip.map(Span::micros),
                    lost: seen.lost,
                    repairs: seen.repairs,
                    rcvbuf: member.rcvbuf.into(),
                    slowest: seen.slowest,
                    last_heard_s: now.since(member.heard).millis() / 1_000,
                }
            })
            .collect();
        drop(stats);
        let strangers: Vec<StrangerRow> = lock(&self.shared.strangers)
            .about(now)
            .into_iter()
            .map(|(address, strange, ago)| StrangerRow {
                address,
                has: strange.words(),
                last_heard_s: ago.millis() / 1_000,
            })
            .collect();
        report::members(&rows, &strangers, form)
    }

    fn status(&mut self, now: Time, asking: usize) -> StatusReport {
        let commands = self
            .clients
            .iter()
            .enumerate()
            .filter(|(at, client)| *at != asking && client.session.is_busy())
            .map(|(_, client)| (client.id, client.session.current().to_owned()))
            .collect();
        let sends: Vec<String> = lock(&self.shared.sends).values().cloned().collect();
        let recvs: Vec<String> = lock(&self.shared.recvs)
            .iter()
            .map(|(key, addr)| {
                let named = self.members.get(key.node).map(|member| member.name.to_string());
                format!("from {} ({})", named.unwrap_or_else(|| key.node.to_string()), addr.ip())
            })
            .collect();
        self.most_open = self.most_open.max((sends.len() + recvs.len()) as u64);
        let sent = self.shared.sent_bytes.load(Ordering::Relaxed);
        let took = now.since(self.rate.1).secs_f64().max(0.001);
        let mbits = ((sent - self.rate.0) as f64 * 8.0 / 1e6 / took) as u64;
        self.rate = (sent, now);
        StatusReport {
            pid: std::process::id(),
            version: crate::VERSION.to_owned(),
            base: self.settings.base.as_os_str().as_encoded_bytes().to_vec(),
            chroot: self.settings.chroot,
            confined: self.settings.confined.clone(),
            mfalloc: self.most_open,
            recvsize: self.shared.net.receive_buffer() as u64,
            sendsize: self.settings.sendsize,
            sendrate: self.settings.rate.map(|limit| (mbits, limit.into())),
            commands,
            sends,
            recvs,
            dropped: self.dropped(),
        }
    }

    fn dropped(&self) -> Dropped {
        let counters = &self.shared.counters;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let members = self.members.counts();
        Dropped {
            invalid: of(&counters.bad_header),
            damaged: of(&counters.bad_trailer),
            other_key: of(&counters.other_key),
            replayed: of(&counters.replayed) + members.replayed,
            strangers: of(&counters.strangers) + members.elsewhere,
            foreign: of(&counters.foreign),
        }
    }

    /// Writes to clients, and lets go of those that are through.
    fn tidy(&mut self, now: Time) {
        let sender = &self.shared.sender;
        let open = (lock(&self.shared.sends).len() + lock(&self.shared.recvs).len()) as u64;
        self.most_open = self.most_open.max(open);
        self.clients.retain_mut(|client| {
            if client.write(now) {
                sender.send(ToSender::Resume);
            }
            let deaf = client.is_deaf(now);
            if deaf {
                log::notice(format_args!("client {} reads nothing; closed", client.id));
            }
            let over = deaf || client.is_over();
            if let (true, Work::Transfer(number, ..)) = (over, &client.work) {
                sender.send(ToSender::Abort(*number));
            }
            !over
        });
    }

    /// Says goodbye and waits for the threads to undo what is under way.
    fn stop(mut self, status: ExitCode) -> ExitCode {
        self.members.leave();
        while let Some((to, packet)) = self.members.poll_transmit() {
            self.send_membership(to, &packet);
        }
        self.shared.sender.send(ToSender::Stop);
        self.shared.receiver.send(ToReceiver::Stop);
        status
    }
}

/// The path of an order, as a line names it.
pub(crate) fn path_of(order: &Order) -> String {
    if order.path.is_base() { "the base directory".to_owned() } else { order.path.to_string() }
}

struct Ready {
    signal: bool,
    woken: bool,
    tcp: bool,
    unix: bool,
    /// Clients by their place, and whether they have hung up.
    readable: Vec<(usize, bool)>,
}
