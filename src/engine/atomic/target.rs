//! A target: it votes, and does what was decided; if the sender is silent, it asks the group.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::action::Action;
use super::doubt::Doubt;
use super::log::{Log, Phase};
use super::record::Record;
use super::rules::{Rule, Rules};
use super::types::{Included, Known, Message, Plan, Refusal, Transaction, Why};
use crate::name::HostName;
use crate::time::{Span, Time};

/// How long a sender may be silent before the others are asked.
pub const SILENCE: Span = Span::from_secs(10);
/// How soon it is asked after a restart.
const RESTART: Span = Span::from_secs(2);
/// The most transactions that have not ended here, of one sender and of all.
pub const MAX_OPEN: (usize, usize) = (8, 64);
/// The most that are kept because somebody asked about what was never here.
const MAX_REFUSED: usize = 256;
/// How many of those that have ended are told to their senders after a restart.
const TOLD: usize = 64;

/// A transaction that is in doubt here.
#[derive(Clone, Debug)]
pub struct InDoubt<'a> {
    /// Which one it is.
    pub of: &'a Transaction,
    /// For whom it is.
    pub plan: &'a Plan,
    /// It has promised: what the sender says is not believed any more.
    pub is_promised: bool,
    /// The targets whose word is missing, and what they have said, if anything; the sender is one more that could end it.
    pub missing: Vec<(&'a HostName, Option<&'a Known>)>,
}

/// A target's part of all transactions.
#[derive(Clone, Debug)]
pub struct Target {
    name: Arc<HostName>,
    log: Log,
    staging: BTreeMap<Transaction, Arc<Plan>>,
    doubts: BTreeMap<Transaction, Doubt>,
    rules: Rules,
}

impl Target {
    /// On the host of this name, with the records that there are. [`Target::restart`] follows.
    pub fn new<'a>(name: Arc<HostName>, records: impl IntoIterator<Item = &'a Record>) -> Self {
        Target::with_rules(name, records, Rules::default())
    }

    pub(super) fn with_rules<'a>(
        name: Arc<HostName>,
        records: impl IntoIterator<Item = &'a Record>,
        rules: Rules,
    ) -> Self {
        let mut log = Log::new(rules);
        let is_own = |of: &Transaction| of.host == name;
        for record in records {
            if !record.transaction().is_some_and(is_own) {
                log.note(record);
            }
        }
        Target { name, log, staging: BTreeMap::new(), doubts: BTreeMap::new(), rules }
    }

    /// What is known here.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What is to be done after a start.
    pub fn restart(&mut self, now: Time) -> Vec<Action> {
        let mut out = Vec::new();
        for (of, entry) in self.log.iter() {
            match entry.phase {
                Phase::Committed(_, None) => out.push(Action::Apply(of.clone())),
                Phase::Prepared | Phase::Promised => {
                    self.doubts.insert(of.clone(), Doubt::new(now + RESTART));
                }
                _ => {}
            }
        }
        let ended = self.log.iter().rev().filter_map(|(of, entry)| Some((of, end(&entry.phase)?)));
        out.extend(ended.take(TOLD).map(|(of, message)| tell(of, message)));
        out
    }

    /// When [`Target::time`] has something to do.
    pub fn timeout(&self) -> Option<Time> {
        self.doubts.values().map(|doubt| doubt.next).min()
    }

    /// Time has passed.
    pub fn time(&mut self, now: Time) -> Vec<Action> {
        let mut out = Vec::new();
        let due = |(of, doubt): (&Transaction, &Doubt)| (doubt.next <= now).then(|| of.clone());
        for of in self.doubts.iter().filter_map(due).collect::<Vec<_>>() {
            self.ask(now, &of, &mut out);
        }
        out
    }

    fn ask(&mut self, now: Time, of: &Transaction, out: &mut Vec<Action>) {
        let Some((plan, _)) = self.log.get(of).and_then(|entry| entry.plan.clone()) else { return };
        if self.log.phase(of) == Some(&Phase::Prepared) && self.rules.has(Rule::PromiseFirst) {
            self.record(Record::Promise(of.clone()), out);
        }
        let Some(doubt) = self.doubts.get_mut(of) else { return };
        for host in doubt.ask(now, &plan, &self.name).into_iter().chain([HostName::clone(&of.host)])
        {
            out.push(Action::Send(host, of.clone(), Message::Ask));
        }
    }

    /// Those that are in doubt here, the oldest first.
    pub fn in_doubt(&self) -> impl Iterator<Item = InDoubt<'_>> {
        self.doubts.iter().filter_map(|(of, doubt)| {
            let entry = self.log.get(of)?;
            let (plan, _) = entry.plan.as_ref()?;
            let missing = doubt.missing(plan, &self.name).collect();
            Some(InDoubt { of, plan, is_promised: entry.phase == Phase::Promised, missing })
        })
    }

    /// An operator says how one in doubt ends: here, and wherever this host is asked if it is committed. None if it is not
    /// in doubt.
    pub fn resolve(&mut self, of: &Transaction, commits: bool) -> Option<Vec<Action>> {
        let entry = self.log.get(of).filter(|entry| entry.phase.is_in_doubt())?;
        let all = entry.plan.as_ref().map(|(plan, _)| plan.all()).unwrap_or_default();
        let mut out = Vec::new();
        match commits {
            true => self.finish(of, &all, &mut out),
            false => self.abort(of, Why::Operator, &mut out),
        }
        Some(out)
    }

    /// An operator says that it is no longer to be kept how a transaction ended here.
    pub fn forget(&mut self, of: &Transaction) -> Vec<Action> {
        let mut out = Vec::new();
        if self.log.phase(of).is_some_and(|phase| phase.has_ended() && *phase != Phase::Over) {
            self.record(Record::Over(of.clone()), &mut out);
        }
        out
    }

    /// A host has said something about a transaction of another host.
    pub fn hear(
        &mut self,
        now: Time,
        from: &HostName,
        of: &Transaction,
        message: Message,
    ) -> Vec<Action> {
        let mut out = Vec::new();
        if of.host == self.name {
            return out;
        }
        let is_sender = *from == *of.host;
        match message {
            Message::Prepare(plan) if is_sender => self.prepare(now, of, plan, &mut out),
            Message::Commit(included) if is_sender => self.commit(of, &included, &mut out),
            Message::Abort(why) if is_sender => self.told_to_abort(of, why, &mut out),
            Message::Over if is_sender => return self.forget(of),
            Message::Ask => {
                let known = self.asked(from, of, &mut out);
                let answer = |known| Action::Send(from.clone(), of.clone(), Message::Answer(known));
                out.extend(known.map(answer));
            }
            Message::Answer(known) => self.answered(from, of, known, &mut out),
            _ => {}
        }
        out
    }

    /// The sender wants to know whether all is staged.
    fn prepare(&mut self, now: Time, of: &Transaction, plan: Plan, out: &mut Vec<Action>) {
        let vote = match self.log.phase(of) {
            Some(Phase::Prepared) => {
                if let Some(doubt) = self.doubts.get_mut(of) {
                    doubt.next = now + SILENCE;
                }
                Ok(())
            }
            Some(Phase::Committed(_, None)) => return,
            Some(phase) => {
                let done = end(phase).filter(|message| matches!(message, Message::Done(_)));
                out.push(tell(of, done.unwrap_or(Message::Vote(Err(Refusal::Refused)))));
                return;
            }
            None if plan.number(&self.name).is_none() || self.staging.contains_key(of) => return,
            None if self.log.is_before(of) => Err(Refusal::Young),
            None if !self.has_room(of) => Err(Refusal::TooMany),
            None => {
                self.staging.insert(of.clone(), Arc::new(plan));
                out.push(Action::Stage(of.clone()));
                return;
            }
        };
        out.push(tell(of, Message::Vote(vote)));
    }

    /// Whether one more may be open.
    fn has_room(&self, of: &Transaction) -> bool {
        let open = self.log.open().map(|(of, _)| of).chain(self.staging.keys());
        let (mut same, mut all) = (0, 0);
        for other in open {
            all += 1;
            same += usize::from(other.host == of.host);
        }
        same < MAX_OPEN.0 && all < MAX_OPEN.1
    }

    /// [`Action::Stage`] was done: there are so many operations; or it could not be.
    pub fn staged(
        &mut self,
        now: Time,
        of: &Transaction,
        operations: Result<u64, Refusal>,
    ) -> Vec<Action> {
        let mut out = Vec::new();
        let plan = self.staging.remove(of).filter(|_| self.log.phase(of).is_none());
        let (Some(plan), Ok(operations)) = (plan, operations) else {
            out.push(Action::Drop(of.clone()));
            let refusal = operations.err().unwrap_or(Refusal::Refused);
            out.push(tell(of, Message::Vote(Err(refusal))));
            return out;
        };
        let record = Record::Prepared(of.clone(), Plan::clone(&plan), operations);
        self.record(record, &mut out);
        out.push(tell(of, Message::Vote(Ok(()))));
        if !self.rules.has(Rule::VoteFirst) {
            out.rotate_left(1);
        }
        self.doubts.insert(of.clone(), Doubt::new(now + SILENCE));
        out
    }

    fn commit(&mut self, of: &Transaction, included: &Included, out: &mut Vec<Action>) {
        match self.log.phase(of) {
            Some(Phase::Prepared) => self.finish(of, included, out),
            Some(Phase::Promised) if !self.rules.has(Rule::RefuseLate) => {
                self.finish(of, included, out);
            }
            Some(phase) => out.extend(end(phase).map(|message| tell(of, message))),
            None if self.staging.contains_key(of) => {}
            None => {
                // It had voted, and that is lost. So others are not told that it never had.
                if !self.log.is_before(of) && self.may_note() {
                    self.record(Record::Over(of.clone()), out);
                }
                out.push(tell(of, Message::Answer(Known::Unknown)));
            }
        }
    }

    fn told_to_abort(&mut self, of: &Transaction, why: Why, out: &mut Vec<Action>) {
        match self.log.phase(of) {
            Some(Phase::Prepared | Phase::Promised) => self.abort(of, why, out),
            None if self.log.is_before(of) || !self.may_note() => {
                out.push(tell(of, Message::Answer(Known::Unknown)));
                return;
            }
            None => self.record(Record::Refuse(of.clone()), out),
            Some(_) => {}
        }
        out.extend(self.log.phase(of).and_then(end).map(|message| tell(of, message)));
    }

    /// What is known here of a transaction, and of no effect on it from now on.
    fn asked(&mut self, from: &HostName, of: &Transaction, out: &mut Vec<Action>) -> Option<Known> {
        let entry = self.log.get(of);
        let plan = entry.and_then(|entry| entry.plan.as_ref());
        if plan.is_some_and(|(plan, _)| plan.number(from).is_none()) {
            return None;
        }
        Some(match entry.map(|entry| &entry.phase) {
            Some(Phase::Committed(included, _)) => Known::Committed(included.clone()),
            Some(Phase::Aborted(why)) => Known::Aborted(*why),
            Some(Phase::Prepared) => {
                if self.rules.has(Rule::PromiseAsked) {
                    self.record(Record::Promise(of.clone()), out);
                }
                Known::Promised
            }
            Some(Phase::Promised) => Known::Promised,
            Some(Phase::Refused) => Known::NeverVoted,
            Some(Phase::Over) => Known::Unknown,
            None if self.log.is_before(of) || !self.may_note() => Known::Unknown,
            None => {
                if self.rules.has(Rule::RefuseAsked) {
                    self.record(Record::Refuse(of.clone()), out);
                }
                Known::NeverVoted
            }
        })
    }

    /// Whether something may be kept of a transaction that was never here.
    fn may_note(&self) -> bool {
        let is_refused = |phase: &Phase| *phase == Phase::Refused;
        self.log.iter().filter(|(_, entry)| is_refused(&entry.phase)).count() < MAX_REFUSED
    }

    /// A host has said what it knows.
    fn answered(&mut self, from: &HostName, of: &Transaction, known: Known, out: &mut Vec<Action>) {
        let Some(entry) = self.log.get(of).filter(|entry| entry.phase.is_in_doubt()) else {
            return;
        };
        let Some((plan, _)) = entry.plan.clone() else { return };
        let is_promised = entry.phase == Phase::Promised;
        let may_believe = !is_promised || !self.rules.has(Rule::NotSender);
        let is_final = |why| why == Why::Undecided || !self.rules.has(Rule::AbortProves);
        let Some(doubt) = self.doubts.get_mut(of) else { return };
        match (plan.number(from), known) {
            (None, _) if *from != *of.host => {}
            (None, Known::Decided(included)) if may_believe => self.finish(of, &included, out),
            (None, Known::NoDecision) => self.abort(of, Why::Undecided, out),
            (Some(_), Known::Committed(included)) => self.finish(of, &included, out),
            (Some(_), Known::Aborted(why)) if is_final(why) => self.abort(of, Why::Undecided, out),
            // Only the sender decides, and only targets do what was decided.
            (
                None,
                Known::Committed(_) | Known::Aborted(_) | Known::Promised | Known::NeverVoted,
            )
            | (Some(_), Known::Decided(_) | Known::NoDecision) => {}
            (target, known) => {
                doubt.hear(target, known);
                let all_refuse = is_promised && doubt.missing(&plan, &self.name).next().is_none();
                if all_refuse || doubt.too_few(&plan) {
                    self.abort(of, Why::Undecided, out);
                }
            }
        }
    }

    /// It is known to be decided.
    fn finish(&mut self, of: &Transaction, included: &Included, out: &mut Vec<Action>) {
        let plan = self.log.get(of).and_then(|entry| entry.plan.as_ref());
        let own = plan.and_then(|(plan, _)| plan.number(&self.name));
        let is_in = own.is_some_and(|own| included.contains(own));
        if !is_in && self.rules.has(Rule::Excluded) {
            return self.abort(of, Why::Excluded, out);
        }
        self.doubts.remove(of);
        self.record(Record::Commit(of.clone(), included.clone()), out);
        out.push(Action::Apply(of.clone()));
    }

    /// [`Action::Apply`] was done, but for so many operations.
    pub fn applied(&mut self, of: &Transaction, failed: u32) -> Vec<Action> {
        let mut out = Vec::new();
        if matches!(self.log.phase(of), Some(Phase::Committed(_, None))) {
            self.record(Record::Applied(of.clone(), failed), &mut out);
            out.push(tell(of, Message::Done(failed)));
        }
        out
    }

    fn abort(&mut self, of: &Transaction, why: Why, out: &mut Vec<Action>) {
        self.doubts.remove(of);
        self.record(Record::Abort(of.clone(), why), out);
        out.push(Action::Drop(of.clone()));
    }

    fn record(&mut self, record: Record, out: &mut Vec<Action>) {
        self.log.note(&record);
        out.push(Action::Record(record));
        while let Some(stamp) = self.log.excess() {
            let born = Record::Born(stamp);
            self.log.note(&born);
            out.push(Action::Record(born));
        }
    }
}

/// How it ended here, as the sender is told.
fn end(phase: &Phase) -> Option<Message> {
    match phase {
        Phase::Committed(_, Some(failed)) => Some(Message::Done(*failed)),
        Phase::Aborted(why) => Some(Message::Refused(*why)),
        Phase::Refused => Some(Message::Refused(Why::Undecided)),
        Phase::Prepared | Phase::Promised | Phase::Committed(_, None) | Phase::Over => None,
    }
}

fn tell(of: &Transaction, message: Message) -> Action {
    Action::Send(of.host.as_ref().clone(), of.clone(), message)
}
