//! Transfers that are for all of their targets or none: how they end, on this host as their sender and as a target.
//!
//! The rules are in [`crate::engine::atomic`]; here is what they need of the other threads, and what goes to other hosts.

use std::collections::BTreeMap;

use super::agreeing::{Coming, Going};
use super::control_loop::Control;
use crate::daemon::clock;
use crate::daemon::messages::{
    Agree, AtomicNews, AtomicWork, Ended, ToControl, ToDisk, ToReceiver, ToSender,
};
use crate::engine::atomic::{
    Coordinator, Failure, Fate, Message, Plan, Refusal, Report, Saying, Transaction,
};
use crate::engine::catch_up::To;
use crate::engine::disk_job::TransferKey;
use crate::engine::incoming::InDoubt;
use crate::fs::atomic::transactions::{Applied, Prepared};
use crate::ids::BatchNo;
use crate::keeping::transactions::{Effect, Held, Transactions};
use crate::log;
use crate::name::{Escaped, HostName, NodeId, RelPath};
use crate::time::{Span, Time};
use crate::wire::header::PacketKind;

/// Votes are waited for as long: whoever is not there any more, is found to be gone before.
const PATIENCE: Span = Span::from_secs(3_600);
/// The most incoming transfers of which it is remembered for whom they are.
const MOST_COMING: usize = 256;

impl Control {
    /// Whether transactions can be kept here: what is needed for that is made when it is needed.
    pub(super) fn keeps_transactions(&mut self, now: Time) -> bool {
        if self.agreeing.kept.is_none() {
            let root = self.shared.base.look().ok();
            let prepared = &self.shared.prepared;
            let dir = root.and_then(|root| prepared.open(&root));
            self.agreeing.kept = dir.and_then(|dir| prepared.take_up(dir, now));
        }
        let kept = self.agreeing.kept.as_ref();
        kept.is_some_and(|kept| kept.coordinator().may_begin())
    }

    /// What is to be done for transactions that were not over when the last daemon ended.
    pub(super) fn agree_from_start(&mut self, now: Time) {
        self.agree(now, |kept| kept.restart(now));
    }

    /// The other threads, or a member, have something about a transaction.
    pub(super) fn atomic_news(&mut self, now: Time, news: AtomicNews) {
        match news {
            AtomicNews::Said(node, of, saying) => self.atomic_said(now, node, &of, saying),
            AtomicNews::Begun(of, key, plan, path) => self.atomic_begun(now, of, key, plan, path),
            AtomicNews::Ready(of, ready) => self.atomic_ready(now, &of, ready),
            AtomicNews::Applied(of, applied, began) => self.atomic_applied(now, of, applied, began),
            AtomicNews::Agree(agree) => self.atomic_agree(now, agree),
            AtomicNews::GiveUp(of) => self.atomic_give_up(now, &of),
        }
    }

    /// Does what is due for transactions.
    pub(super) fn drive_agreeing(&mut self, now: Time, left: &[NodeId]) {
        if !self.agreeing.going.is_empty() {
            let is_left = |host: &&HostName| self.node_of(host).is_none();
            let gone: Vec<HostName> = match left.is_empty() {
                true => Vec::new(),
                false => {
                    let going = self.agreeing.going.values();
                    let all = going.flat_map(|going| going.plan.targets());
                    all.filter(is_left).cloned().collect()
                }
            };
            for host in gone {
                self.agree(now, |kept| kept.coordinate(now, |machine| machine.lost(now, &host)));
            }
        }
        if self.agreeing.next().is_some_and(|at| at <= now) {
            self.agree(now, |kept| kept.time(now));
        }
        self.settle_going();
    }

    /// The daemon stops: what is not decided comes to nothing.
    pub(super) fn stop_agreeing(&mut self, now: Time) {
        for of in self.agreeing.going.keys().cloned().collect::<Vec<_>>() {
            self.agree(now, |kept| kept.coordinate(now, |machine| machine.give_up(now, &of)));
        }
    }

    /// The member of this name, if there is one, and one alone.
    fn node_of(&self, host: &HostName) -> Option<NodeId> {
        let members = &self.membership.members;
        let mut named = members.members().filter(|member| member.name == *host);
        let first = named.next()?.node;
        named.next().is_none().then_some(first)
    }

    /// A member says something of a transaction.
    fn atomic_said(&mut self, now: Time, node: NodeId, of: &Transaction, saying: Saying) {
        let Some(from) = self.membership.members.get(node).map(|member| member.name.clone()) else {
            return;
        };
        if self.node_of(&from) != Some(node) || self.agreeing.kept.is_none() {
            return;
        }
        let Some(kept) = &self.agreeing.kept else { return };
        let plan = match &saying {
            Saying::Prepare(number, last) => {
                let known = kept.target().log().get(of).and_then(|entry| entry.plan.clone());
                let coming = self.agreeing.coming.get_mut(of);
                let coming =
                    coming.filter(|coming| coming.key == (TransferKey { node, number: *number }));
                match (coming, known) {
                    (Some(coming), _) => {
                        coming.last = *last;
                        Some(coming.plan.clone())
                    }
                    (None, Some((plan, _))) => Some(Plan::clone(&plan)),
                    (None, None) => {
                        // What it speaks of has not begun here, or has ended.
                        let vote = Message::Vote(Err(Refusal::Failed));
                        return self.say_atomic(now, &from, of, vote);
                    }
                }
            }
            Saying::Vote(_, failures) => {
                if let (Some(going), false) = (self.agreeing.going.get_mut(of), failures.is_empty())
                {
                    let report = Report { failures: failures.clone(), ..Report::default() };
                    going.reports.insert(from.clone(), (now, report));
                }
                None
            }
            Saying::Done(_, report) => {
                if let Some(going) = self.agreeing.going.get_mut(of) {
                    going.reports.entry(from.clone()).or_insert((now, report.clone()));
                }
                None
            }
            Saying::Other(_) => None,
        };
        let Some(message) = saying.message(plan) else { return };
        self.agree(now, |kept| kept.hear(now, &from, of, message));
        self.settle_going();
    }

    /// A transfer of a transaction has begun to come.
    fn atomic_begun(
        &mut self,
        now: Time,
        of: Transaction,
        key: TransferKey,
        plan: Plan,
        path: RelPath,
    ) {
        self.keeps_transactions(now);
        let coming = &mut self.agreeing.coming;
        if coming.len() >= MOST_COMING {
            coming.pop_first();
        }
        let (last, failures) = (BatchNo::ZERO, Vec::new());
        coming.insert(of, Coming { key, plan, path, last, failures });
    }

    /// All of it is ready to be put into place, or not.
    fn atomic_ready(&mut self, now: Time, of: &Transaction, ready: Result<Prepared, Vec<Failure>>) {
        let Some(coming) = self.agreeing.coming.get_mut(of) else { return };
        let result = match ready {
            Ok(Prepared { list, operations, .. }) => {
                Ok((Held { path: coming.path.clone(), list }, operations))
            }
            Err(failures) => {
                coming.failures = failures;
                Err(Refusal::Failed)
            }
        };
        self.agree(now, |kept| kept.staged(now, of, result));
    }

    /// It was put into place.
    fn atomic_applied(&mut self, now: Time, of: Transaction, applied: Applied, began: Time) {
        let failure =
            |(path, reason): (RelPath, _)| Failure { path: path.as_bytes().to_vec(), reason };
        let failures: Vec<Failure> = applied.first.into_iter().map(failure).collect();
        for Failure { path, reason } in &failures {
            log::warning(format_args!(
                "{}: not put into place: {}: {reason}",
                shown(&of),
                Escaped(path)
            ));
        }
        let report = Report { took: now.since(began), failures, ..Report::default() };
        self.agreeing.reports.insert(of.clone(), (began, report));
        if self.agreeing.reports.len() > MOST_COMING {
            self.agreeing.reports.pop_first();
        }
        let failed = u32::try_from(applied.failed).unwrap_or(u32::MAX);
        self.agree(now, |kept| kept.applied(now, &of, failed));
    }

    /// All targets of a transfer from here have staged all of it, but for those that are lost.
    fn atomic_agree(&mut self, now: Time, agree: Agree) {
        let Agree { of, number, plan, last, lost } = agree;
        let (reports, decided) = (BTreeMap::new(), None);
        let going = Going { number, plan: plan.clone(), last, reports, decided };
        self.agreeing.going.insert(of.clone(), going);
        self.agree(now, |kept| {
            kept.coordinate(now, |machine| {
                let mut actions = machine.begin(now, &of, plan, PATIENCE);
                for host in &lost {
                    actions.extend(machine.lost(now, host));
                }
                actions
            })
        });
        self.settle_going();
    }

    /// Nobody wants it any more: if it is not decided, it comes to nothing.
    fn atomic_give_up(&mut self, now: Time, of: &Transaction) {
        self.agree(now, |kept| kept.coordinate(now, |machine| machine.give_up(now, of)));
        self.settle_going();
    }

    /// Tells the sender thread of those of which all is known that can be.
    fn settle_going(&mut self) {
        let now = clock::now();
        let going = &self.agreeing.going;
        let over: Vec<Transaction> =
            going.iter().filter(|(of, _)| self.has_ended(of)).map(|(of, _)| of.clone()).collect();
        for of in over {
            let Some(going) = self.agreeing.going.remove(&of) else { continue };
            let Some(kept) = &mut self.agreeing.kept else { return };
            let machine = kept.coordinator();
            let is_decided = matches!(machine.decided(&of), Some(Some(_)));
            let fates = machine.fates(&of);
            let ended = fates.into_iter().map(|(host, fate)| {
                let report = going.reports.get(&host);
                let failures =
                    report.map(|(_, report)| report.failures.clone()).unwrap_or_default();
                let times = report.filter(|_| matches!(fate, Fate::Committed(_)));
                let times = times.map(|(came, report)| {
                    let since = going.decided.unwrap_or(*came);
                    (came.since(since) - report.ago, report.took)
                });
                Ended { host, fate, failures, times }
            });
            let message = ToSender::Agreed(going.number, is_decided, ended.collect());
            self.shared.sender.send(message);
            let effects = kept.coordinate(now, |machine: &mut Coordinator| {
                machine.unwatch(&of);
                Vec::new()
            });
            self.perform(now, effects);
        }
    }

    /// Whether nothing more is to be waited for of a transaction of this host.
    fn has_ended(&self, of: &Transaction) -> bool {
        let Some(kept) = &self.agreeing.kept else { return true };
        let machine = kept.coordinator();
        match machine.decided(of) {
            None => false,
            Some(None) => true,
            Some(Some(_)) => machine.fates(of).iter().all(|(host, fate)| match fate {
                Fate::InDoubt => self.node_of(host).is_none(),
                _ => true,
            }),
        }
    }

    /// Lets the machines do something, and does what they want.
    fn agree(&mut self, now: Time, act: impl FnOnce(&mut Transactions) -> Vec<Effect>) {
        let Some(kept) = &mut self.agreeing.kept else { return };
        let effects = act(kept);
        self.perform(now, effects);
        self.tell_doubtful();
    }

    fn perform(&mut self, now: Time, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Stage(of) => {
                    if let Some(coming) = self.agreeing.coming.get(&of) {
                        let (key, last) = (coming.key, coming.last);
                        self.shared.receiver.send(ToReceiver::Ready(of, key, last));
                    } else {
                        self.shared
                            .control
                            .send(ToControl::Atomic(AtomicNews::Ready(of, Err(Vec::new()))));
                    }
                }
                Effect::Apply(of) => self.shared.to_disk(ToDisk::Atomic(of, AtomicWork::Apply)),
                Effect::Drop(of) => self.shared.to_disk(ToDisk::Atomic(of, AtomicWork::Drop)),
                Effect::Send(host, of, message) => self.say_atomic(now, &host, &of, message),
            }
        }
    }

    /// Says something of a transaction to a host, if it is there.
    fn say_atomic(&mut self, now: Time, host: &HostName, of: &Transaction, message: Message) {
        let Some(node) = self.node_of(host) else { return };
        let saying = match message {
            Message::Prepare(_) => match self.agreeing.going.get(of) {
                Some(going) => Saying::Prepare(going.number, going.last),
                None => return,
            },
            Message::Vote(vote) => {
                let coming = self.agreeing.coming.get(of);
                let failures = coming.map(|coming| coming.failures.clone()).unwrap_or_default();
                Saying::Vote(vote, failures)
            }
            Message::Done(failed) => {
                let report = self
                    .agreeing
                    .reports
                    .get(of)
                    .map(|(began, report)| Report { ago: now.since(*began), ..report.clone() });
                Saying::Done(failed, report.unwrap_or_default())
            }
            Message::Commit(included) => {
                if let Some(going) = self.agreeing.going.get_mut(of) {
                    going.decided.get_or_insert(now);
                }
                Saying::Other(Message::Commit(included))
            }
            other => Saying::Other(other),
        };
        self.membership.say(To::Node(node), PacketKind::Atomic, &saying.emit(of));
    }

    /// Tells the receiver what is in doubt here, if that has changed.
    fn tell_doubtful(&mut self) {
        let Some(kept) = &self.agreeing.kept else { return };
        let doubtful: Vec<InDoubt> = kept
            .in_doubt()
            .map(|(of, path)| InDoubt { path: path.clone(), name: shown(of) })
            .collect();
        if doubtful != self.agreeing.said_doubtful {
            self.agreeing.said_doubtful.clone_from(&doubtful);
            self.shared.receiver.send(ToReceiver::Doubtful(doubtful));
        }
    }
}

/// What a transaction is called.
pub(super) fn shown(of: &Transaction) -> String {
    format!("{}@{}", of.host, of.stamp)
}
