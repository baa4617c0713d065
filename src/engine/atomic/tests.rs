//! What each machine does, one thing at a time; and what hosts cannot make it do that say anything.

use std::sync::Arc;

use super::log::MAX_ENDED;
use super::{
    Action, Coordinator, Fate, Included, Known, MAX_OPEN, Message, Phase, Plan, Record, Refusal,
    SILENCE, Target, Transaction, Why,
};
use crate::engine::rng::Rng;
use crate::ids::TargetNo;
use crate::name::HostName;
use crate::stamp::Stamp;
use crate::time::{Span, Time};

fn name(name: &str) -> HostName {
    HostName::parse(name.as_bytes()).unwrap()
}

fn id(sender: &str, at: u64) -> Transaction {
    Transaction { stamp: Stamp::at(at), host: Arc::new(name(sender)) }
}

fn plan() -> Plan {
    Plan::new(["a", "b", "c"].map(name).into(), 2).unwrap()
}

fn target(host: &str) -> Target {
    Target::new(Arc::new(name(host)), &[Record::Born(Stamp::at(1))])
}

fn said(actions: &[Action]) -> Vec<(String, Message)> {
    let said = |action: &Action| match action {
        Action::Send(to, _, message) => Some((to.to_string(), message.clone())),
        _ => None,
    };
    actions.iter().filter_map(said).collect()
}

/// A target that has voted.
fn prepared(host: &str, of: &Transaction) -> Target {
    let mut target = target(host);
    let actions = target.hear(Time::ZERO, &of.host, of, Message::Prepare(plan()));
    assert_eq!(actions, [Action::Stage(of.clone())]);
    let actions = target.staged(Time::ZERO, of, Ok(3));
    let vote = Action::Send(name("s"), of.clone(), Message::Vote(Ok(())));
    assert_eq!(actions, [Action::Record(Record::Prepared(of.clone(), plan(), 3)), vote]);
    target
}

fn numbers(some: &[u16]) -> Included {
    Included::of(some.iter().map(|number| TargetNo::new(*number)))
}

#[test]
fn what_is_decided_is_recorded_done_recorded_and_told_in_this_order() {
    let of = id("s", 9);
    let mut target = prepared("a", &of);
    let commit = Message::Commit(numbers(&[0, 1]));
    let actions = target.hear(Time::ZERO, &name("s"), &of, commit.clone());
    let record = Record::Commit(of.clone(), numbers(&[0, 1]));
    assert_eq!(actions, [Action::Record(record), Action::Apply(of.clone())]);
    assert!(target.hear(Time::ZERO, &name("s"), &of, commit.clone()).is_empty());
    let done = Action::Send(name("s"), of.clone(), Message::Done(1));
    let actions = target.applied(&of, 1);
    assert_eq!(actions, [Action::Record(Record::Applied(of.clone(), 1)), done.clone()]);
    assert_eq!(target.hear(Time::ZERO, &name("s"), &of, commit), [done]);
    assert!(target.applied(&of, 1).is_empty());
    let actions = target.hear(Time::ZERO, &name("s"), &of, Message::Over);
    assert_eq!(actions, [Action::Record(Record::Over(of.clone()))]);
    assert_eq!(target.log().phase(&of), Some(&Phase::Over));
}

#[test]
fn only_the_sender_may_say_what_a_sender_says() {
    let of = id("s", 9);
    for liar in ["a", "b", "x"] {
        let mut target = prepared("a", &of);
        let commit = Message::Commit(numbers(&[0, 1]));
        let lies = [commit, Message::Abort(Why::Undecided), Message::Over];
        let known = [Known::Decided(numbers(&[0])), Known::NoDecision];
        for lie in lies.into_iter().chain(known.map(Message::Answer)) {
            assert!(target.hear(Time::ZERO, &name(liar), &of, lie).is_empty());
        }
        assert_eq!(target.log().phase(&of), Some(&Phase::Prepared));
    }
    let mut target = prepared("a", &of);
    for stranger in ["s", "x"] {
        let known = [
            Known::Committed(numbers(&[0, 1])),
            Known::Aborted(Why::Undecided),
            Known::NeverVoted,
            Known::Promised,
        ];
        for known in known {
            let answer = Message::Answer(known);
            assert!(target.hear(Time::ZERO, &name(stranger), &of, answer).is_empty());
        }
    }
    assert!(target.hear(Time::ZERO, &name("x"), &of, Message::Ask).is_empty());
}

#[test]
fn who_is_no_target_stages_nothing_and_who_is_the_sender_is_no_target() {
    let of = id("s", 9);
    for host in ["d", "s"] {
        let mut target = target(host);
        assert!(target.hear(Time::ZERO, &name("s"), &of, Message::Prepare(plan())).is_empty());
    }
}

#[test]
fn a_silent_sender_is_no_longer_believed_and_the_others_are_asked() {
    let of = id("s", 9);
    let mut target = prepared("a", &of);
    assert_eq!(target.timeout(), Some(Time::ZERO + SILENCE));
    assert!(target.time(Time::ZERO).is_empty());
    // It is alive for so long as it says so.
    let alive = Time::ZERO + Span::from_secs(5);
    target.hear(alive, &name("s"), &of, Message::Prepare(plan()));
    assert!(target.time(Time::ZERO + SILENCE).is_empty());
    let actions = target.time(alive + SILENCE);
    assert_eq!(actions[0], Action::Record(Record::Promise(of.clone())));
    let asked: Vec<_> = said(&actions).into_iter().map(|(to, _)| to).collect();
    assert_eq!(asked, ["b", "c", "s"]);
    assert!(target.hear(alive, &name("s"), &of, Message::Commit(numbers(&[0, 1]))).is_empty());
    let doubt = target.in_doubt().next().unwrap();
    assert!(doubt.is_promised && *doubt.of == of && doubt.plan.needed() == 2);
    let (b, c) = (name("b"), name("c"));
    assert_eq!(doubt.missing, [(&b, None), (&c, None)]);
    target.hear(alive, &b, &of, Message::Answer(Known::Unknown));
    target.hear(alive, &c, &of, Message::Answer(Known::Promised));
    assert_eq!(target.in_doubt().next().unwrap().missing, [(&b, Some(&Known::Unknown))]);
    let actions = target.hear(alive, &b, &of, Message::Answer(Known::Promised));
    let abort = Record::Abort(of.clone(), Why::Undecided);
    assert_eq!(actions, [Action::Record(abort), Action::Drop(of.clone())]);
    assert!(target.in_doubt().next().is_none() && target.timeout().is_none());
    let refused = said(&target.hear(alive, &name("s"), &of, Message::Commit(numbers(&[0, 1]))));
    assert_eq!(refused, [("s".to_owned(), Message::Refused(Why::Undecided))]);
}

#[test]
fn an_operator_ends_what_is_in_doubt_and_nothing_else() {
    let of = id("s", 9);
    assert!(target("a").resolve(&of, true).is_none());
    let mut commits = prepared("a", &of);
    assert_eq!(commits.resolve(&of, true).unwrap()[1], Action::Apply(of.clone()));
    assert!(commits.resolve(&of, false).is_none());
    let mut aborts = prepared("a", &of);
    assert_eq!(aborts.resolve(&of, false).unwrap()[1], Action::Drop(of.clone()));
    // That is no proof for others: they may have committed.
    let answer = said(&aborts.hear(Time::ZERO, &name("b"), &of, Message::Ask));
    assert_eq!(answer[0].1, Message::Answer(Known::Aborted(Why::Operator)));
    assert!(!aborts.forget(&of).is_empty() && aborts.forget(&of).is_empty());
}

#[test]
fn what_is_older_than_the_records_is_unknown() {
    let mut target = Target::new(Arc::new(name("a")), &[Record::Born(Stamp::at(10))]);
    let of = id("s", 10);
    let answer = said(&target.hear(Time::ZERO, &name("b"), &of, Message::Ask));
    assert_eq!(answer[0].1, Message::Answer(Known::Unknown));
    let vote = said(&target.hear(Time::ZERO, &name("s"), &of, Message::Prepare(plan())));
    assert_eq!(vote[0].1, Message::Vote(Err(Refusal::Young)));
    let answer = said(&target.hear(Time::ZERO, &name("b"), &id("s", 11), Message::Ask));
    assert_eq!(answer[0].1, Message::Answer(Known::NeverVoted));
}

#[test]
fn no_sender_can_have_more_in_doubt_than_so_many_nor_can_all_together() {
    let mut target = target("a");
    let mut open = 0;
    for at in 0..200 {
        let of = id(&format!("s{}", at / 10), 9 + at);
        let actions = target.hear(Time::ZERO, &of.host, &of, Message::Prepare(plan()));
        if actions == [Action::Stage(of.clone())] {
            open += 1;
            target.staged(Time::ZERO, &of, Ok(1));
        } else {
            assert_eq!(said(&actions)[0].1, Message::Vote(Err(Refusal::TooMany)));
            assert!(at % 10 >= MAX_OPEN.0 as u64 || open == MAX_OPEN.1);
        }
    }
    assert_eq!((open, target.log().open().count()), (MAX_OPEN.1, MAX_OPEN.1));
}

#[test]
fn of_more_than_so_many_the_oldest_are_forgotten_and_nothing_is_said_of_them() {
    let mut target = target("a");
    let count = MAX_ENDED as u64 + 10;
    for at in 0..count {
        let of = id("s", 9 + at);
        target.hear(Time::ZERO, &name("s"), &of, Message::Prepare(plan()));
        target.staged(Time::ZERO, &of, Ok(1));
        target.hear(Time::ZERO, &name("s"), &of, Message::Abort(Why::Undecided));
    }
    assert_eq!(target.log().iter().count(), MAX_ENDED);
    let mut ask = |at| said(&target.hear(Time::ZERO, &name("b"), &id("s", at), Message::Ask));
    assert_eq!(ask(9)[0].1, Message::Answer(Known::Unknown));
    assert_eq!(ask(8 + count)[0].1, Message::Answer(Known::Aborted(Why::Undecided)));
}

fn coordinator() -> Coordinator {
    Coordinator::new(Time::ZERO, Arc::new(name("s")), &[Record::Born(Stamp::at(1))])
}

fn tell(of: &mut Coordinator, from: &str, message: Message) -> Vec<Action> {
    of.hear(Time::ZERO, &name(from), &id("s", 9), message)
}

#[test]
fn a_sender_decides_when_all_have_voted_and_knows_what_became_of_each() {
    let (of, mut sender) = (id("s", 9), coordinator());
    let patience = Span::from_secs(30);
    assert_eq!(said(&sender.begin(Time::ZERO, &of, plan(), patience)).len(), 3);
    assert!(tell(&mut sender, "a", Message::Ask).is_empty());
    assert!(tell(&mut sender, "a", Message::Vote(Ok(()))).is_empty());
    assert!(tell(&mut sender, "x", Message::Vote(Ok(()))).is_empty());
    assert!(tell(&mut sender, "b", Message::Vote(Err(Refusal::Failed))).is_empty());
    assert_eq!(sender.decided(&of), None);
    let actions = tell(&mut sender, "c", Message::Vote(Ok(())));
    let included = numbers(&[0, 2]);
    let decision = Record::Decision(of.clone(), plan(), included.clone());
    assert_eq!(actions[0], Action::Record(decision));
    let told: Vec<_> = said(&actions).into_iter().map(|(_, message)| message).collect();
    let commit = Message::Commit(included.clone());
    assert_eq!(told, [commit.clone(), Message::Abort(Why::Excluded), commit]);
    assert_eq!(sender.decided(&of), Some(Some(&included)));
    tell(&mut sender, "b", Message::Refused(Why::Excluded));
    tell(&mut sender, "a", Message::Done(2));
    let fates: Vec<_> = sender.fates(&of).into_iter().map(|(_, fate)| fate).collect();
    let left_out = Fate::LeftOut(Some(Refusal::Failed));
    assert_eq!(fates, [Fate::Committed(2), left_out, Fate::InDoubt]);
    assert!(!sender.is_settled(&of));
    let actions = tell(&mut sender, "c", Message::Refused(Why::Undecided));
    assert_eq!(actions[0], Action::Record(Record::Over(of.clone())));
    assert_eq!(said(&actions).len(), 3);
    assert_eq!(sender.fates(&of)[2].1, Fate::Aborted(Why::Undecided));
    assert!(sender.is_settled(&of));
    sender.unwatch(&of);
    assert!(sender.fates(&of).is_empty() && sender.timeout().is_none());
    // Who has not heard that it is over hears it again.
    assert_eq!(said(&tell(&mut sender, "a", Message::Done(2)))[0].1, Message::Over);
}

#[test]
fn what_is_not_decided_is_given_up_and_told_for_a_while() {
    for gives_up in [true, false] {
        let (of, mut sender) = (id("s", 9), coordinator());
        sender.begin(Time::ZERO, &of, plan(), Span::from_secs(30));
        let mut now = Time::ZERO + Span::from_secs(30);
        let actions = if gives_up { sender.give_up(now, &of) } else { sender.time(now) };
        assert!(said(&actions).iter().all(|(_, said)| *said == Message::Abort(Why::Undecided)));
        assert_eq!(sender.decided(&of), Some(None));
        assert!(sender.give_up(now, &of).is_empty());
        let no = said(&tell(&mut sender, "a", Message::Ask));
        assert_eq!(no[0].1, Message::Answer(Known::NoDecision));
        assert!(tell(&mut sender, "a", Message::Vote(Ok(()))).is_empty());
        while let Some(next) = sender.timeout() {
            now = next;
            sender.time(now);
        }
        assert!(sender.is_settled(&of) && now < Time::ZERO + Span::from_secs(300));
        assert_eq!(sender.fates(&of)[0].1, Fate::NotDecided(None));
    }
}

#[test]
fn a_host_that_is_lost_is_left_out_if_there_are_enough() {
    let (of, mut sender) = (id("s", 9), coordinator());
    sender.begin(Time::ZERO, &of, plan(), Span::from_secs(30));
    tell(&mut sender, "a", Message::Vote(Ok(())));
    tell(&mut sender, "b", Message::Vote(Ok(())));
    assert!(matches!(sender.lost(Time::ZERO, &name("c"))[0], Action::Record(_)));
    assert_eq!(sender.decided(&of), Some(Some(&numbers(&[0, 1]))));
}

#[test]
fn in_a_new_life_what_was_decided_is_told_again_and_of_all_else_that_it_was_not() {
    let (of, mut sender) = (id("s", 9), coordinator());
    sender.begin(Time::ZERO, &of, plan(), Span::from_secs(30));
    for host in ["a", "b"] {
        tell(&mut sender, host, Message::Vote(Ok(())));
    }
    let actions = tell(&mut sender, "c", Message::Vote(Ok(())));
    let Action::Record(record) = &actions[0] else { panic!("{actions:?}") };
    let records = [Record::Born(Stamp::at(1)), record.clone()];
    let mut sender = Coordinator::new(Time::ZERO, Arc::new(name("s")), &records);
    assert_eq!(said(&sender.time(Time::ZERO)).len(), 3);
    let decided = said(&tell(&mut sender, "a", Message::Ask));
    assert_eq!(decided[0].1, Message::Answer(Known::Decided(numbers(&[0, 1, 2]))));
    let mut ask = |at| sender.hear(Time::ZERO, &name("a"), &id("s", at), Message::Ask);
    assert_eq!(said(&ask(8))[0].1, Message::Answer(Known::NoDecision));
    assert_eq!(said(&ask(1))[0].1, Message::Answer(Known::Unknown));
    // Forgotten by order: nothing is known of it.
    assert_eq!(sender.forget(&of), Some(vec![Action::Record(Record::Over(of.clone()))]));
    assert!(sender.forget(&of).is_none());
    let unknown = said(&tell(&mut sender, "a", Message::Ask));
    assert_eq!(unknown[0].1, Message::Answer(Known::Unknown));
}

#[test]
fn a_sender_does_not_begin_more_while_too_many_wait_for_lost_hosts() {
    let mut sender = coordinator();
    let mut begun = 0;
    while sender.may_begin() {
        let of = id("s", 9 + begun);
        sender.begin(Time::ZERO, &of, plan(), Span::from_secs(30));
        for host in ["a", "b", "c"] {
            sender.hear(Time::ZERO, &name(host), &of, Message::Vote(Ok(())));
        }
        begun += 1;
    }
    assert_eq!(begun, 256);
    sender.forget(&id("s", 9));
    assert!(sender.may_begin());
}

/// Anything that can be said.
fn anything(rng: &mut Rng) -> Message {
    let included = numbers(&[rng.below(4) as u16, rng.below(900) as u16]);
    let why = [Why::Undecided, Why::Excluded, Why::Operator][rng.below(3) as usize];
    match rng.below(16) {
        0..3 => Message::Prepare(plan()),
        3 => Message::Vote(Ok(())),
        4 => Message::Vote(Err(Refusal::Failed)),
        5 => Message::Commit(included),
        6 => Message::Abort(why),
        7 => Message::Done(7),
        8 => Message::Refused(why),
        9 => Message::Over,
        10 => Message::Answer(Known::Committed(included)),
        11 => Message::Answer(Known::Aborted(why)),
        12 => Message::Answer(Known::Decided(included)),
        13 => Message::Answer(Known::Unknown),
        _ => Message::Ask,
    }
}

#[test]
fn hosts_that_say_anything_change_little_and_fill_nothing() {
    let mut rng = Rng::new(1);
    let (mut target, mut sender) = (target("a"), coordinator());
    let mut now = Time::ZERO;
    sender.begin(now, &id("s", 9), plan(), Span::from_secs(1_000_000));
    for _ in 0..60_000 {
        now += Span::from_millis(rng.below(500));
        let of = id(["s", "t", "a"][rng.below(3) as usize], 2 + rng.below(20_000));
        let from = name(["s", "t", "b", "c", "x"][rng.below(5) as usize]);
        let message = anything(&mut rng);
        let is_ask = message == Message::Ask;
        let actions = match *of.host == name("s") {
            true => sender.hear(now, &from, &of, message.clone()),
            false => Vec::new(),
        };
        let mut all = target.hear(now, &from, &of, message);
        if all.contains(&Action::Stage(of.clone())) && rng.below(2) == 0 {
            all.extend(target.staged(now, &of, Ok(1)));
        }
        if all.contains(&Action::Apply(of.clone())) {
            all.extend(target.applied(&of, 0));
        }
        // Nobody makes a host say more than it hears, but for what its own transactions are.
        assert!(said(&all).len() <= 2 && said(&actions).len() <= 3, "{all:?} {actions:?}");
        let promises = |action: &&Action| matches!(action, Action::Record(Record::Promise(_)));
        assert!(is_ask || !all.iter().any(|action| promises(&action)));
        target.time(now);
        sender.time(now);
    }
    let refused = target.log().iter().filter(|(_, entry)| entry.phase == Phase::Refused).count();
    assert!(refused <= 256 && target.log().open().count() <= MAX_OPEN.1);
    assert!(target.log().iter().count() <= MAX_ENDED + MAX_OPEN.1);
    assert!(sender.decisions().open().count() <= 1);
}
