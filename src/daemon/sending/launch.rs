//! Starting a transfer: who it is for, and what it sends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc;
use std::thread;

use crate::console::command::{Scope, Watch};
use crate::console::reply::{self, Total};
use crate::daemon::control::client::Work;
use crate::daemon::control::control_loop::Control;
use crate::daemon::order::Order;
use crate::daemon::sending::outgoing_transfer::{Job, Start};
use crate::daemon::sending::report::{Host, Report};
use crate::daemon::sending::sender::ToSender;
use crate::daemon::sending::walker::{AHEAD, Found, Task};
use crate::engine::disk_job::Mode;
use crate::engine::members::Member;
use crate::engine::outgoing::{Config, Outgoing};
use crate::errno::ErrorText;
use crate::fs::found::WalkError;
use crate::fs::walk::{WalkOptions, Walker};
use crate::ids::TransferNo;
use crate::name::{Escaped, NodeId};
use crate::time::{Span, Time};
use crate::wire::header::block_for_mtu;

/// The stack of a walker: its memory grows with the depth of a tree on the heap, not here.
const WALKER_STACK: usize = 256 << 10;

impl Control {
    /// Starts what a client asks for, or answers why not. If somebody else holds its path, it is
    /// tried again until the time given.
    pub(crate) fn start(&mut self, now: Time, at: usize, order: Arc<Order>, until: Time) {
        match self.prepare(now, at, order) {
            Ok((number, order)) => self.clients[at].work = Work::Transfer(number, order, until),
            Err(lines) => {
                self.clients[at].work = Work::Idle;
                let session = &mut self.clients[at].session;
                for line in &lines.0 {
                    session.line(0, line);
                }
                session.total(&lines.1);
                session.finish();
            }
        }
    }

    fn prepare(
        &mut self,
        now: Time,
        at: usize,
        order: Arc<Order>,
    ) -> Result<(TransferNo, Arc<Order>), Refusal> {
        let targets = self.targets(&order.targets)?;
        let own_only = self.settings.own_only;
        let gid = order.gid().map_err(|line| Refusal::one(line, targets.len()))?;
        let off = Arc::new(AtomicBool::new(false));
        let walk = || {
            let options = WalkOptions { cancelled: Arc::clone(&off), ..order.walk(own_only, gid) };
            Walker::new(Arc::clone(&self.shared.root), order.path.clone(), options)
        };
        let walker = match walk() {
            Ok(walker) => Some(walker),
            Err(WalkError::Io { error, .. })
                if order.scope == Scope::PathOrGone && is_missing(&error) =>
            {
                None
            }
            Err(error) => return Err(Refusal::one(format!("error: {error}"), targets.len())),
        };
        // Only to know how much there is: nothing is read.
        let count = || {
            let options = WalkOptions { digests: false, ..order.walk(own_only, gid) };
            Walker::new(Arc::clone(&self.shared.root), order.path.clone(), options).ok()
        };
        let watch = self.clients[at].session.watch();
        let counter = (watch == Watch::Progress && walker.is_some()).then(count).flatten();
        let found = counter.map(|walker| (Arc::new(Found::default()), walker));
        let order = match walker {
            Some(_) => order,
            None => Arc::new(order.of_what_is_gone()),
        };
        if targets.is_empty() {
            return Err(Refusal(Vec::new(), Total::default()));
        }
        let number = self.next_number;
        self.next_number = number.next();
        let client = &self.clients[at];
        let errors = Arc::new(AtomicU64::new(0));
        let (walked, from_walker) = mpsc::sync_channel(AHEAD);
        let (again, to_walker) = mpsc::channel();
        let task = Task {
            shared: Arc::clone(&self.shared),
            client: client.id,
            unread: Arc::clone(&client.unread),
            walked,
            again: to_walker,
            errors: Arc::clone(&errors),
            setup: Some(order.setup()),
            order: Arc::clone(&order),
            off: Arc::clone(&off),
            own_only,
            gid,
        };
        let start = Start {
            shared: Arc::clone(&self.shared),
            outgoing: self.outgoing(now, number, &targets, order.mode),
            report: Report::new(
                client.id,
                Arc::clone(&client.unread),
                client.session.loglevel(),
                watch,
                now,
                targets
                    .iter()
                    .map(|m| Host { name: m.name.clone(), address: *m.addr.ip() })
                    .collect(),
                Arc::clone(&order),
            ),
            unread: Arc::clone(&client.unread),
            errors,
            off: Arc::clone(&off),
            walked: from_walker,
            again,
            found: found.as_ref().map(|(found, _)| Arc::clone(found)),
            block: self.block(&targets),
            what: format!("to {} hosts: {}", targets.len(), client.session.current()),
        };
        let hosts = targets.len();
        let spawned = spawn("walker", move || task.run(walker));
        spawned.map_err(|error| {
            Refusal::one(format!("error: no thread: {}", ErrorText(&error)), hosts)
        })?;
        if let Some((found, walker)) = found {
            // Without it, the progress shows no total.
            let _ = spawn("counter", move || found.count(walker, &off));
        }
        self.shared.sender.send(ToSender::Start(Box::new(Job::new(start, now))));
        Ok((number, order))
    }

    fn block(&self, targets: &[Member]) -> u16 {
        let smallest = targets.iter().map(|member| member.mtu).min();
        block_for_mtu(smallest.unwrap_or(u16::MAX).min(self.shared.net.mtu()))
    }

    fn outgoing(&self, now: Time, number: TransferNo, targets: &[Member], mode: Mode) -> Outgoing {
        let config = Config {
            me: self.shared.me,
            number,
            oldest: self.oldest_open().min(number),
            targets: targets.iter().map(|member| (member.node, member.addr)).collect(),
            mode,
            block: self.block(targets),
            parallel: self.settings.parallel,
            timeout: self.settings.timeout.at_least(Span::from_secs(1)),
        };
        Outgoing::new(config, now)
    }

    /// The members that a transfer is for: those named, or all that receive.
    fn targets(&self, named: &[String]) -> Result<Vec<Member>, Refusal> {
        let receiving = || self.members.members().filter(|member| member.receives);
        if named.is_empty() {
            return Ok(receiving().cloned().collect());
        }
        let mut chosen: BTreeMap<NodeId, Member> = BTreeMap::new();
        let mut errors = Vec::new();
        for name in named {
            let is = |member: &&Member| {
                member.name.as_str() == name || member.addr.ip().to_string() == *name
            };
            let found: Vec<&Member> = receiving().filter(is).collect();
            match found.as_slice() {
                [] if self.members.members().any(|member| is(&member)) => {
                    let name = Escaped(name.as_bytes());
                    errors.push(format!("error: {name} never receives (it was started with -o)"));
                }
                [] => errors.push(reply::unknown_host(name)),
                [one] => drop(chosen.insert(one.node, (*one).clone())),
                several => {
                    let addresses: Vec<String> =
                        several.iter().map(|member| member.addr.ip().to_string()).collect();
                    let name = Escaped(name.as_bytes());
                    errors.push(format!(
                        "error: {name} is the name of several members: {}",
                        addresses.join(", ")
                    ));
                }
            }
        }
        if errors.is_empty() {
            return Ok(chosen.into_values().collect());
        }
        let count = errors.len() as u64;
        let total =
            Total { hosts: named.len() as u64, failed: count, errors: count, ..Total::default() };
        Err(Refusal(errors, total))
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}

/// Why a transfer does not start: lines for the client, and what it comes to.
struct Refusal(Vec<String>, Total);

impl Refusal {
    fn one(line: String, hosts: usize) -> Self {
        Refusal(vec![line], Total { hosts: hosts as u64, errors: 1, ..Total::default() })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(WALKER_STACK).spawn(run).map(drop)
}
