//! Sending once more what a record is about, to hosts that lack it: the list of what it named is offered as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};

use super::launch::spawn;
use super::walker::AHEAD;
use crate::console::command::Follow;
use crate::count::counted;
use crate::daemon::messages::{NO_CLIENT, NewTransfer, ToSender, Walked};
use crate::daemon::order::Order;
use crate::daemon::shared::{Shared, lock};
use crate::daemon::unread::Unread;
use crate::engine::catch_up::Record;
use crate::engine::members::Member;
use crate::engine::outgoing::{Config, Outgoing};
use crate::errno::ErrorText;
use crate::fs::replay;
use crate::fs::root::{Dirs, Root};
use crate::fs::state::list::List;
use crate::ids::TransferNo;
use crate::log;
use crate::name::HostName;
use crate::time::{Span, Time};
use crate::wire::header::block_for_mtu;

/// Lists of so many entries are sent one batch after the other.
const SHORT: u64 = 8_192;

/// A record that is to be sent once more.
pub(crate) struct Replay {
    pub(crate) number: TransferNo,
    /// The oldest transfer that is still open.
    pub(crate) oldest: TransferNo,
    pub(crate) record: Record,
    pub(crate) list: Arc<List>,
    pub(crate) targets: Vec<Member>,
    pub(crate) parallel: usize,
    pub(crate) timeout: Span,
}

impl Replay {
    /// Starts it.
    ///
    /// # Errors
    /// Why it cannot start.
    pub(crate) fn start(self, shared: &Arc<Shared>, now: Time) -> Result<(), String> {
        let root = shared.base.look().map_err(|reason| reason.to_string())?;
        let order = Arc::new(Order::replay(&self.record));
        let command = format!("{} once more", self.record.id);
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
            mode: order.mode,
            atomic: false,
            block,
            // A file that did not fit at first is twice in the list: it needs its room only once if the first is in
            // place when the second is looked at. In a long list, there is much in between.
            parallel: if self.record.names.count <= SHORT { 1 } else { self.parallel },
            stamp: self.record.id.stamp,
            timeout: self.timeout.at_least(Span::from_secs(1)),
            patience: self.timeout.at_least(Span::from_secs(1)),
        };
        let task = Task {
            shared: Arc::clone(shared),
            root: Arc::clone(&root),
            list: self.list,
            origin: HostName::clone(&self.record.id.host),
            walked,
            cancelled: Arc::clone(&cancelled),
        };
        let new = NewTransfer {
            recording: None,
            atomic: None,
            own_only: false,
            outgoing: Outgoing::new(config, now),
            root,
            order,
            client: NO_CLIENT,
            command: command.clone(),
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
        spawn("replay", move || task.run())
            .map_err(|error| format!("no thread: {}", ErrorText(&error)))?;
        lock(&shared.open).insert(self.number);
        let hosts = counted(self.targets.len() as u64, "host");
        lock(&shared.sends).insert(self.number, format!("to {hosts}: {command}"));
        shared.sender.send(ToSender::Start(Box::new(new)));
        Ok(())
    }
}

/// Reads the list, and looks which of it is here.
struct Task {
    shared: Arc<Shared>,
    root: Arc<Root>,
    list: Arc<List>,
    /// Whose record it is.
    origin: HostName,
    walked: SyncSender<Walked>,
    cancelled: Arc<AtomicBool>,
}

impl Task {
    fn run(self) {
        let mut dirs = Dirs::new(Arc::clone(&self.root));
        for manifest in self.list.manifests() {
            if self.cancelled.load(Ordering::Relaxed) {
                return;
            }
            let mut manifest = match manifest {
                Ok(manifest) => manifest,
                Err(error) => {
                    // Without an end, the targets do not take it for complete.
                    return log::error(format_args!("cannot read what is to be sent: {error}"));
                }
            };
            if let Some(setup) = &mut manifest.setup {
                setup.origin = Some(self.origin.clone());
            }
            if self.walked.send(Walked::Batch(replay::batch(&mut dirs, manifest))).is_err() {
                return;
            }
            self.shared.sender.send(ToSender::Walked);
        }
        if self.walked.send(Walked::Quiet).is_ok() {
            self.shared.sender.send(ToSender::Walked);
        }
    }
}
