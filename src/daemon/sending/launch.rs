//! Starting a transfer: checks, the walker thread, and the message to the sender thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc;
use std::thread;

use super::walker::{self, AHEAD, Task};
use crate::console::command::{Follow, Scope};
use crate::console::error::{Code, ErrorLine};
use crate::console::reply::Total;
use crate::count::counted;
use crate::daemon::messages::{NewTransfer, ToSender, Totals};
use crate::daemon::order::Order;
use crate::daemon::shared::{Shared, lock};
use crate::daemon::unread::Unread;
use crate::engine::atomic::{Plan, Transaction};
use crate::engine::members::Member;
use crate::engine::outgoing::{Config, Outgoing};
use crate::errno::ErrorText;
use crate::fs::before::{self, Missing, SharedBefore};
use crate::fs::found::WalkError;
use crate::fs::links::LateLinks;
use crate::fs::root::Root;
use crate::fs::walk::{WalkOptions, Walker};
use crate::ids::TransferNo;
use crate::keeping::recording::{Recording, leaves_record};
use crate::name::HostName;
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use crate::wire::audience::Audience;
use crate::wire::header::block_for_mtu;
use crate::wire::manifest::Setup;
use crate::wire::setup::AtomicSetup;

/// The stack size of a walker thread. (The depth of a tree costs heap, not stack.)
const WALKER_STACK: usize = 256 << 10;

/// A transfer to be started.
pub(crate) struct Launch {
    pub(crate) number: TransferNo,
    /// The oldest transfer that is still open.
    pub(crate) oldest: TransferNo,
    /// This host.
    pub(crate) me: HostName,
    /// Whether hosts may keep a record of it.
    pub(crate) recorded: bool,
    pub(crate) order: Arc<Order>,
    pub(crate) targets: Vec<Member>,
    /// Those that it is for beside these, if it is not for all: they get it later.
    pub(crate) away: Vec<HostName>,
    /// The client that asks for it, its log level, and whether it watches the progress.
    pub(crate) client: u32,
    pub(crate) level: u8,
    pub(crate) follow: Follow,
    /// The client's unread output.
    pub(crate) unread: Unread,
    /// The command as the client wrote it.
    pub(crate) command: String,
    /// If set, only files of this user are sent.
    pub(crate) own_only: Option<u32>,
    /// Whether anything may be written below the base directory.
    pub(crate) writes: bool,
    /// Whether the system's users and groups can be looked up.
    pub(crate) databases: bool,
    pub(crate) parallel: usize,
    pub(crate) timeout: Span,
}

/// Why a transfer does not start: the errors for the client, and the totals.
pub(crate) struct Refusal {
    pub(crate) errors: Vec<ErrorLine>,
    pub(crate) total: Total,
}

impl Refusal {
    fn one(error: ErrorLine, hosts: usize) -> Self {
        let total = Total { hosts: hosts as u64, errors: 1, ..Total::default() };
        Refusal { errors: vec![error], total }
    }
}

impl Launch {
    /// Starts the transfer. Returns the order, which is a different one if the path turns out to be
    /// gone, or if there is no target: then all that becomes of it is a record.
    ///
    /// # Errors
    /// If the transfer cannot start, or would come to nothing.
    pub(crate) fn start(mut self, shared: &Arc<Shared>, now: Time) -> Result<Arc<Order>, Refusal> {
        let hosts = self.targets.len();
        if hosts == 0 {
            self.order = Arc::new(self.order.of_nobody());
        }
        let refused = |error: ErrorLine| Refusal::one(error, hosts);
        let regroup = self.order.regroup(self.databases).map_err(refused)?;
        let root = shared
            .base
            .look()
            .map_err(|reason| refused(ErrorLine::refused(&self.me, "", reason)))?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let digested = Arc::new(AtomicU64::new(0));
        let listings = self.order.listings();
        let options = WalkOptions {
            cancelled: Arc::clone(&cancelled),
            digested: Arc::clone(&digested),
            listings: listings.clone(),
            before: Some((Arc::clone(&shared.before), self.order.guard())),
            list: self.order.list.clone(),
            ..self.order.walk(self.own_only, regroup.clone())
        };
        let walk = match self.walker(&root, options) {
            Ok(walk) => Some(walk),
            Err(error) if self.is_gone(&error) => {
                self.miss_mounts(&root, &shared.before).map_err(refused)?;
                None
            }
            Err(error) => return Err(refused(walker::error_line(&error))),
        };
        let count = match (self.follow, &walk) {
            (Follow::Progress, Some(_)) => {
                // Only counts: no file is read.
                let options = self.order.walk(self.own_only, regroup.clone());
                let options =
                    WalkOptions { digests: false, list: self.order.list.clone(), ..options };
                self.walker(&root, options).ok()
            }
            _ => None,
        };
        let order = match walk {
            Some(_) => Arc::clone(&self.order),
            None => Arc::new(self.order.of_what_is_gone()),
        };
        let config = self.config(shared, &order);
        let hosts_named = self.targets.iter().map(|member| &member.name).chain(&self.away);
        let mut setup = order.setup(hosts_named);
        let atomic = self.atomic(&config, &mut setup).map_err(refused)?;
        let recording = self.recording(&config, &setup);
        if hosts == 0 && (recording.is_none() || shared.keeper.is_none()) {
            return Err(Refusal { errors: Vec::new(), total: Total::default() });
        }
        let errors = Arc::new(AtomicU64::new(0));
        let totals = count.map(|walk| (Arc::new(Totals::default()), walk));
        let (walked, from_walker) = mpsc::sync_channel(AHEAD);
        let (errands, to_walker) = mpsc::channel();
        let task = Task {
            shared: Arc::clone(shared),
            root: Arc::clone(&root),
            client: self.client,
            unread: self.unread.clone(),
            walked,
            errands: to_walker,
            errors: Arc::clone(&errors),
            listings,
            setup,
            order: Arc::clone(&order),
            cancelled: Arc::clone(&cancelled),
            digested: Arc::clone(&digested),
            own_only: self.own_only,
            regroup,
            writes: self.writes,
            copies: None,
            gone: Vec::new(),
            late: LateLinks::default(),
            sends_late: false,
        };
        let new = NewTransfer {
            recording,
            own_only: self.own_only.is_some(),
            atomic,
            outgoing: Outgoing::new(config, now),
            root,
            order: Arc::clone(&order),
            client: self.client,
            command: self.command.clone(),
            level: self.level,
            follow: self.follow,
            hosts: self.targets.clone(),
            unread: self.unread.clone(),
            errors,
            digested,
            cancelled: Arc::clone(&cancelled),
            walked: from_walker,
            errands,
            totals: totals.as_ref().map(|(totals, _)| Arc::clone(totals)),
            block: self.block(shared),
        };
        spawn("walker", move || task.run(walk)).map_err(|error| {
            let why = format!("no thread: {}", ErrorText(&error));
            refused(ErrorLine::new(Code::of_io(&error), why))
        })?;
        if let Some((totals, walk)) = totals {
            // If this fails, the progress shows no totals.
            let _ = spawn("counter", move || walker::count(&totals, walk, &cancelled));
        }
        lock(&shared.open).insert(self.number);
        lock(&shared.sends)
            .insert(self.number, format!("to {}: {}", counted(hosts as u64, "host"), self.command));
        shared.sender.send(ToSender::Start(Box::new(new)));
        Ok(order)
    }

    /// What is kept of it, if it leaves something.
    fn recording(&self, config: &Config, setup: &VecDeque<Setup>) -> Option<Recording> {
        let (first, more) = setup.iter().next().map(|first| (first, setup.iter().skip(1)))?;
        let leaves = self.recorded && leaves_record(config.mode, config.stamp);
        let mut recording =
            leaves.then(|| Recording::new(config.stamp, self.me.clone(), config.mode, first))?;
        more.for_each(|setup| recording.add_patterns(setup));
        Some(recording)
    }

    /// If it is for all targets or none: what it is called, and for whom it is, which the setup says, too.
    fn atomic(
        &self,
        config: &Config,
        setup: &mut VecDeque<Setup>,
    ) -> Result<Option<(Transaction, Plan)>, ErrorLine> {
        let Some(quorum) = self.order.atomic.filter(|_| !self.targets.is_empty()) else {
            return Ok(None);
        };
        let targets: Vec<HostName> = self.targets.iter().map(|host| host.name.clone()).collect();
        let quorum = quorum.of(targets.len() as u32);
        let needed = u16::try_from(quorum).ok();
        let Some(plan) = needed.and_then(|needed| Plan::new(targets.clone(), needed)) else {
            let hosts = counted(targets.len() as u64, "host");
            let why = format!("--quorum {quorum}: it is for {hosts}");
            return Err(ErrorLine::new(Code::Usage, why));
        };
        if let Some(first) = setup.front_mut() {
            first.atomic = Some(AtomicSetup { targets: Audience::named(targets), quorum });
        }
        let of = Transaction { stamp: config.stamp, host: Arc::new(self.me.clone()) };
        Ok(Some((of, plan)))
    }

    fn walker(&self, root: &Arc<Root>, options: WalkOptions) -> Result<Walker, WalkError> {
        Walker::new(Arc::clone(root), self.order.path.clone(), options)
    }

    /// Makes sure that the path is not gone because a mount is missing, unless that is to be ignored.
    fn miss_mounts(&self, root: &Arc<Root>, before: &SharedBefore) -> Result<(), ErrorLine> {
        let mut before = before::lock(before);
        match before.missing_about(root, &self.order.path) {
            Some(mount) if !self.order.force => {
                return Err(walker::missing_line(&mount, Missing::Mount));
            }
            Some(_) if !self.order.mode.changes_nothing() => {
                before.forget_mounts_about(&self.order.path);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether this is a `sync` whose path no longer exists here.
    fn is_gone(&self, error: &WalkError) -> bool {
        error.is_gone() && self.order.scope == Scope::PathOrGone
    }

    fn block(&self, shared: &Shared) -> u16 {
        let smallest = self.targets.iter().map(|member| member.mtu).min();
        let smallest = smallest.into_iter().chain(self.order.mtu()).min();
        block_for_mtu(smallest.unwrap_or(u16::MAX).min(shared.net.mtu()))
    }

    fn config(&self, shared: &Shared, order: &Order) -> Config {
        Config {
            me: shared.me(),
            number: self.number,
            oldest: self.oldest.min(self.number),
            targets: self.targets.iter().map(|member| (member.node, member.addr)).collect(),
            mode: order.mode,
            atomic: order.atomic.is_some(),
            block: self.block(shared),
            parallel: self.parallel,
            // What one host has asked for is no news to others.
            stamp: match order.mode.changes_nothing() || order.ticket.is_some() {
                true => Stamp::ZERO,
                false => shared.clock.draw(),
            },
            timeout: self.timeout.at_least(Span::from_secs(1)),
            patience: self.timeout.at_least(Span::from_secs(1)),
        }
    }
}

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(WALKER_STACK).spawn(run).map(drop)
}
