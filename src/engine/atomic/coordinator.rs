//! The sender: it counts votes, decides, tells all targets until they have done it, and knows what became of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::action::Action;
use super::decisions::Decisions;
use super::record::Record;
use super::rules::{Rule, Rules};
use super::types::{Included, Known, Message, Plan, Refusal, Transaction, Why};
use crate::ids::TargetNo;
use crate::name::HostName;
use crate::time::{Span, Time};

/// How often those are asked who have not voted, and those told who have not done it; for the latter twice
/// as long each time, up to the longest.
const AGAIN: (Span, Span) = (Span::from_secs(1), Span::from_secs(30));
/// How often all are told that it is aborted, who do not say that they have heard.
const ABORTS: u32 = 8;
/// The most that were decided and are not over.
const MAX_DECIDED: usize = 256;

/// What became of a transaction at a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is in place, but for so many operations.
    Committed(u32),
    /// It was decided without this target, which had voted no, or not in time.
    LeftOut(Option<Refusal>),
    /// Nothing was decided; the target had voted no (`Some(Err)`), yes, or not at all.
    NotDecided(Option<Result<(), Refusal>>),
    /// It was decided, and the target has aborted: with the group, or by its operator.
    Aborted(Why),
    /// It was decided, and the target has lost what it had staged, or its records.
    Lost,
    /// It was decided, and the target has not said that it has done it.
    InDoubt,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Done(u32),
    Refused(Why),
    Lost,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Voting { until: Time },
    Decided(Included),
    GivenUp { told: u32 },
}

/// One transaction.
#[derive(Clone, Debug)]
struct Deal {
    plan: Arc<Plan>,
    state: State,
    votes: Vec<Option<Result<(), Refusal>>>,
    ends: Vec<Option<End>>,
    next: Time,
    wait: Span,
    /// Somebody waits for what comes of it.
    is_watched: bool,
    is_over: bool,
}

impl Deal {
    fn new(plan: Arc<Plan>, state: State, next: Time, is_watched: bool) -> Self {
        let count = plan.targets().len();
        let (votes, ends) = (vec![None; count], vec![None; count]);
        Deal { plan, state, votes, ends, next, wait: AGAIN.0, is_watched, is_over: false }
    }

    fn have_all_ended(&self) -> bool {
        self.ends.iter().all(Option::is_some)
    }

    /// What a target is told again, if it is.
    fn told(&self, number: TargetNo) -> Option<Message> {
        match &self.state {
            State::Voting { .. } => Some(Message::Prepare(Plan::clone(&self.plan))),
            _ if self.ends[number.index()].is_some() => None,
            State::Decided(included) => Some(match included.contains(number) {
                true => Message::Commit(included.clone()),
                false => Message::Abort(Why::Excluded),
            }),
            State::GivenUp { .. } => Some(Message::Abort(Why::Undecided)),
        }
    }

    fn fate(&self, number: TargetNo) -> Fate {
        let vote = self.votes[number.index()];
        let included = match &self.state {
            State::Decided(included) => included,
            _ => return Fate::NotDecided(vote),
        };
        if !included.contains(number) {
            return Fate::LeftOut(vote.and_then(Result::err));
        }
        match self.ends[number.index()] {
            Some(End::Done(failed)) => Fate::Committed(failed),
            Some(End::Refused(why)) => Fate::Aborted(why),
            Some(End::Lost) => Fate::Lost,
            None => Fate::InDoubt,
        }
    }
}

/// A sender's part of all transactions.
#[derive(Clone, Debug)]
pub struct Coordinator {
    name: Arc<HostName>,
    decisions: Decisions,
    deals: BTreeMap<Transaction, Deal>,
    rules: Rules,
}

impl Coordinator {
    /// On the host of this name, with the records that there are. What was decided is told to all again.
    pub fn new<'a>(
        now: Time,
        name: Arc<HostName>,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Self {
        Coordinator::with_rules(now, name, records, Rules::default())
    }

    pub(super) fn with_rules<'a>(
        now: Time,
        name: Arc<HostName>,
        records: impl IntoIterator<Item = &'a Record>,
        rules: Rules,
    ) -> Self {
        let mut decisions = Decisions::new(rules);
        for record in records {
            if record.transaction().is_none_or(|of| of.host == name) {
                decisions.note(record);
            }
        }
        let deal = |(of, made): (&Transaction, &super::decisions::Decision)| {
            let state = State::Decided(made.included.clone());
            (of.clone(), Deal::new(Arc::clone(&made.plan), state, now, false))
        };
        let deals = decisions.open().map(deal).collect();
        Coordinator { name, decisions, deals, rules }
    }

    /// What was decided here.
    pub fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// Whether one more may begin: too many may be waiting for hosts that never come back.
    pub fn may_begin(&self) -> bool {
        self.decisions.open().count() < MAX_DECIDED
    }

    /// An operator says that what was decided is no longer to be kept: those of its targets that have not heard of it
    /// find out by themselves, or stay in doubt. None if nothing is kept.
    pub fn forget(&mut self, of: &Transaction) -> Option<Vec<Action>> {
        self.decisions.get(of)?;
        self.deals.remove(of);
        let record = Record::Over(of.clone());
        self.decisions.note(&record);
        Some(vec![Action::Record(record)])
    }

    /// Asks for votes: all was sent to all targets. Who has not voted after `patience` is left out, or
    /// the transaction is given up. Its stamp is new, and it is of this host.
    pub fn begin(
        &mut self,
        now: Time,
        of: &Transaction,
        plan: Plan,
        patience: Span,
    ) -> Vec<Action> {
        let state = State::Voting { until: now + patience };
        self.deals.insert(of.clone(), Deal::new(Arc::new(plan), state, now, true));
        self.time(now)
    }

    /// When [`Coordinator::time`] has something to do.
    pub fn timeout(&self) -> Option<Time> {
        self.deals.values().filter(|deal| !deal.is_over).map(|deal| deal.next).min()
    }

    /// Time has passed.
    pub fn time(&mut self, now: Time) -> Vec<Action> {
        let mut out = Vec::new();
        let due = |(of, deal): (&Transaction, &Deal)| {
            (deal.next <= now && !deal.is_over).then(|| of.clone())
        };
        for of in self.deals.iter().filter_map(due).collect::<Vec<_>>() {
            self.settle(now, &of, &mut out);
            self.drive(now, &of, &mut out);
        }
        out
    }

    /// Tells all who have not answered what they were told before.
    fn drive(&mut self, now: Time, of: &Transaction, out: &mut Vec<Action>) {
        let Some(deal) = self.deals.get_mut(of).filter(|deal| !deal.is_over) else { return };
        if let State::GivenUp { told } = &mut deal.state {
            *told += 1;
            if *told > ABORTS {
                // Whoever did not hear it will ask.
                self.end(of);
                return;
            }
        }
        deal.next = now + deal.wait;
        if let State::Voting { until } = deal.state {
            deal.next = deal.next.min(until.max(now + Span::from_micros(1)));
        } else {
            deal.wait = (deal.wait * 2).at_most(AGAIN.1);
        }
        for (number, host) in deal.plan.numbered() {
            let told = deal.told(number);
            out.extend(told.map(|message| Action::Send(host.clone(), of.clone(), message)));
        }
    }

    /// Decides, if that can be.
    fn settle(&mut self, now: Time, of: &Transaction, out: &mut Vec<Action>) {
        let Some(deal) = self.deals.get_mut(of) else { return };
        let State::Voting { until } = deal.state else { return };
        let count = |wanted: fn(&Option<Result<(), Refusal>>) -> bool| {
            deal.votes.iter().filter(|vote| wanted(vote)).count()
        };
        let yes = count(|vote| matches!(vote, Some(Ok(()))));
        let no = count(|vote| matches!(vote, Some(Err(_))));
        let (all, needed) = (deal.votes.len(), usize::from(deal.plan.needed()));
        let is_late = until <= now;
        if yes >= needed && (is_late || yes + no == all) {
            let is_yes = |number: &TargetNo| matches!(deal.votes[number.index()], Some(Ok(())));
            let numbers = deal.plan.numbered().map(|(number, _)| number);
            let included = Included::of(numbers.filter(is_yes));
            deal.state = State::Decided(included.clone());
            let begin = out.len();
            let record = Record::Decision(of.clone(), Plan::clone(&deal.plan), included);
            self.decisions.note(&record);
            out.push(Action::Record(record));
            self.drive(now, of, out);
            if !self.rules.has(Rule::DecideFirst) {
                out[begin..].rotate_left(1);
            }
        } else if is_late || no > all - needed {
            self.stop(now, of, out);
        }
    }

    fn stop(&mut self, now: Time, of: &Transaction, out: &mut Vec<Action>) {
        if let Some(deal) = self.deals.get_mut(of) {
            deal.state = State::GivenUp { told: 0 };
            self.drive(now, of, out);
        }
    }

    /// Gives it up, if it is not decided.
    pub fn give_up(&mut self, now: Time, of: &Transaction) -> Vec<Action> {
        let mut out = Vec::new();
        let is_voting = |deal: &&Deal| matches!(deal.state, State::Voting { .. });
        if self.deals.get(of).filter(is_voting).is_some() {
            self.stop(now, of, &mut out);
        }
        out
    }

    /// A host has left, or has failed before it could vote.
    pub fn lost(&mut self, now: Time, host: &HostName) -> Vec<Action> {
        let mut out = Vec::new();
        for of in self.deals.keys().cloned().collect::<Vec<_>>() {
            self.vote(now, host, &of, Err(Refusal::Failed), &mut out);
        }
        out
    }

    fn vote(
        &mut self,
        now: Time,
        from: &HostName,
        of: &Transaction,
        vote: Result<(), Refusal>,
        out: &mut Vec<Action>,
    ) {
        let Some(deal) = self.deals.get_mut(of) else { return };
        let State::Voting { .. } = deal.state else { return };
        if let Some(number) = deal.plan.number(from) {
            deal.votes[number.index()] = Some(vote);
            self.settle(now, of, out);
        }
    }

    /// A target has said something about a transaction of this host.
    pub fn hear(
        &mut self,
        now: Time,
        from: &HostName,
        of: &Transaction,
        message: Message,
    ) -> Vec<Action> {
        let mut out = Vec::new();
        if of.host != self.name {
            return out;
        }
        let send = |message| Action::Send(from.clone(), of.clone(), message);
        match message {
            Message::Vote(vote) => self.vote(now, from, of, vote, &mut out),
            Message::Done(_) | Message::Refused(_) if self.decisions.is_over(of) => {
                out.push(send(Message::Over));
            }
            Message::Done(failed) => self.ended(from, of, End::Done(failed), &mut out),
            Message::Refused(why) => self.ended(from, of, End::Refused(why), &mut out),
            Message::Answer(Known::Unknown) => self.ended(from, of, End::Lost, &mut out),
            Message::Ask => out.extend(self.asked(from, of).map(|a| send(Message::Answer(a)))),
            _ => {}
        }
        out
    }

    fn asked(&self, from: &HostName, of: &Transaction) -> Option<Known> {
        let is_listed = |plan: &Plan| plan.number(from).is_some();
        if let Some(decision) = self.decisions.get(of) {
            return is_listed(&decision.plan).then(|| Known::Decided(decision.included.clone()));
        }
        let deal = self.deals.get(of);
        let is_voting = deal.is_some_and(|deal| matches!(deal.state, State::Voting { .. }));
        if is_voting && self.rules.has(Rule::Silent) {
            return None;
        }
        let is_unknown = self.decisions.is_over(of) || self.decisions.is_before(of);
        Some(if is_unknown { Known::Unknown } else { Known::NoDecision })
    }

    /// A target says how it ended there.
    fn ended(&mut self, from: &HostName, of: &Transaction, end: End, out: &mut Vec<Action>) {
        let Some(deal) = self.deals.get_mut(of) else { return };
        let Some(number) = deal.plan.number(from) else { return };
        if let State::Voting { .. } = deal.state {
            return;
        }
        let end = deal.ends[number.index()].get_or_insert(end);
        let is_first = matches!(end, End::Done(_)) && !self.rules.has(Rule::AllKnow);
        if deal.is_over || !(deal.have_all_ended() || is_first) {
            return;
        }
        deal.is_over = true;
        if let State::Decided(_) = deal.state {
            let record = Record::Over(of.clone());
            self.decisions.note(&record);
            out.push(Action::Record(record));
        }
        let over = |host: &HostName| Action::Send(host.clone(), of.clone(), Message::Over);
        out.extend(deal.plan.targets().iter().map(over));
        if !deal.is_watched {
            self.deals.remove(of);
        }
    }

    /// What became of one that was begun and is watched, target by target.
    pub fn fates(&self, of: &Transaction) -> Vec<(HostName, Fate)> {
        let deal = self.deals.get(of);
        let fates = |deal: &Deal| {
            let numbered = deal.plan.numbered();
            numbered.map(|(number, host)| (host.clone(), deal.fate(number))).collect()
        };
        deal.map(fates).unwrap_or_default()
    }

    /// Whether it is decided which targets commit: none of those that are not in the set does. None while it is voted.
    pub fn decided(&self, of: &Transaction) -> Option<Option<&Included>> {
        match &self.deals.get(of)?.state {
            State::Voting { .. } => None,
            State::Decided(included) => Some(Some(included)),
            State::GivenUp { .. } => Some(None),
        }
    }

    /// Whether all targets have said how it ended there, or it was given up and told often enough.
    pub fn is_settled(&self, of: &Transaction) -> bool {
        self.deals.get(of).is_none_or(|deal| deal.is_over)
    }

    /// Nobody waits for what comes of it any more. What was decided is still told to all targets.
    pub fn unwatch(&mut self, of: &Transaction) {
        if let Some(deal) = self.deals.get_mut(of) {
            deal.is_watched = false;
            if deal.is_over {
                self.deals.remove(of);
            }
        }
    }

    fn end(&mut self, of: &Transaction) {
        if let Some(deal) = self.deals.get_mut(of) {
            deal.is_over = true;
            if !deal.is_watched {
                self.deals.remove(of);
            }
        }
    }
}
