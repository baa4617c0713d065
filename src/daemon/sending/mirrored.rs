//! Sending what has changed in a mirrored tree: what the index has of each path, and the contents that are here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};

use super::launch::spawn;
use super::walker::AHEAD;
use crate::console::command::Follow;
use crate::count::counted;
use crate::daemon::clock;
use crate::daemon::messages::{NewTransfer, ToSender, Walked};
use crate::daemon::order::Order;
use crate::daemon::shared::{Shared, lock};
use crate::daemon::unread::Unread;
use crate::engine::members::Member;
use crate::engine::outgoing::{Config, Outgoing};
use crate::errno::ErrorText;
use crate::fs::batch::{Batcher, SourceBatch};
use crate::fs::mirror::giving::Giver;
use crate::fs::root::Root;
use crate::ids::TransferNo;
use crate::keeping::mirrors::{Delta, Mirrors, TreeNo};
use crate::log;
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use crate::wire::header::block_for_mtu;

/// How long a target may be silent: it asks for what it has missed, and the next change waits for this one.
const PATIENCE: Span = Span::from_millis(1_500);

/// What is to be sent of a mirror.
pub(crate) struct MirrorLaunch {
    pub(crate) number: TransferNo,
    /// The oldest transfer that is still open.
    pub(crate) oldest: TransferNo,
    pub(crate) tree: TreeNo,
    pub(crate) delta: Arc<Delta>,
    pub(crate) order: Arc<Order>,
    pub(crate) targets: Vec<Member>,
    /// Whose transfer it is: the client number of the mirror.
    pub(crate) client: u32,
    pub(crate) command: String,
    pub(crate) parallel: usize,
    pub(crate) timeout: Span,
}

impl MirrorLaunch {
    /// Starts it.
    ///
    /// # Errors
    /// Why it cannot start.
    pub(crate) fn start(self, shared: &Arc<Shared>, now: Time) -> Result<(), String> {
        let root = shared.base.look().map_err(|reason| reason.to_string())?;
        let Some(mirrors) = shared.mirrors.clone() else { return Err("no mirror".to_owned()) };
        let (walked, from_walker) = mpsc::sync_channel(AHEAD);
        let (errands, _) = mpsc::channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let smallest = self.targets.iter().map(|member| member.mtu).min();
        let block = block_for_mtu(smallest.unwrap_or(u16::MAX).min(shared.net.mtu()));
        let config = Config {
            me: shared.me(),
            number: self.number,
            oldest: self.oldest.min(self.number),
            targets: self.targets.iter().map(|member| (member.node, member.addr)).collect(),
            mode: self.order.mode,
            atomic: false,
            block,
            parallel: self.parallel,
            // The index says what comes after what.
            stamp: Stamp::ZERO,
            timeout: self.timeout.at_least(Span::from_secs(1)),
            patience: PATIENCE,
        };
        let task = Task {
            shared: Arc::clone(shared),
            root: Arc::clone(&root),
            mirrors,
            tree: self.tree,
            delta: self.delta,
            order: Arc::clone(&self.order),
            walked,
            cancelled: Arc::clone(&cancelled),
        };
        let new = NewTransfer {
            recording: None,
            atomic: None,
            own_only: false,
            outgoing: Outgoing::new(config, now),
            root,
            order: self.order,
            client: self.client,
            command: self.command.clone(),
            level: 0,
            follow: Follow::default(),
            hosts: self.targets.clone(),
            unread: Unread::default(),
            errors: Arc::new(AtomicU64::new(0)),
            digested: Arc::default(),
            cancelled,
            walked: from_walker,
            errands,
            totals: None,
            block,
        };
        spawn("mirror", move || task.run())
            .map_err(|error| format!("no thread: {}", ErrorText(&error)))?;
        lock(&shared.open).insert(self.number);
        let hosts = counted(self.targets.len() as u64, "host");
        lock(&shared.sends).insert(self.number, format!("to {hosts}: {}", self.command));
        shared.sender.send(ToSender::Start(Box::new(new)));
        Ok(())
    }
}

/// Reads the index, and what it speaks of.
struct Task {
    shared: Arc<Shared>,
    root: Arc<Root>,
    mirrors: Arc<Mirrors>,
    tree: TreeNo,
    delta: Arc<Delta>,
    order: Arc<Order>,
    walked: SyncSender<Walked>,
    cancelled: Arc<AtomicBool>,
}

impl Task {
    fn run(self) {
        let setup = self.order.setup(std::iter::empty()).pop_front().unwrap_or_default();
        let mut batcher = Batcher::with_setup(setup);
        let mut giver = Giver::new(Arc::clone(&self.root), clock::wall);
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let chunk = match self.mirrors.entries(self.tree, &self.delta, after.as_deref()) {
                Ok(chunk) => chunk,
                // Without an end, nobody takes it for complete.
                Err(error) => {
                    return log::error(format_args!("{}: {error}", self.order.path_shown()));
                }
            };
            for given in chunk.entries {
                for (found, dot) in giver.give(given) {
                    if self.cancelled.load(Ordering::Relaxed) {
                        return;
                    }
                    let batch = batcher.push_version(found, dot);
                    if batch.is_some_and(|batch| !self.hand(Walked::Batch(batch))) {
                        return;
                    }
                }
            }
            match chunk.more {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        let last: Option<SourceBatch> = batcher.finish();
        if last.is_none_or(|batch| self.hand(Walked::Batch(batch))) {
            self.hand(Walked::Quiet);
        }
    }

    /// False if nobody wants it any more.
    fn hand(&self, walked: Walked) -> bool {
        let taken = self.walked.send(walked).is_ok();
        if taken {
            self.shared.sender.send(ToSender::Walked);
        }
        taken
    }
}
