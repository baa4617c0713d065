//! Histories that must end well, and mutants that must not.

use super::history::{Class, history, run, shrunk};
use super::{Duty, Switches};
use crate::engine::atomic::rules::Rule;

/// How many histories each run of the suite tries.
const HISTORIES: u64 = 1_000;

const CLASSES: [Class; 2] = [Class::All, Class::Forgets];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn all_end_well(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let class = CLASSES[usize::from(seed % 8 == 7)];
        let history = history(class, seed);
        let Err(wrong) = run(&history, Switches::default(), false).0 else { continue };
        let least = shrunk(&history, Switches::default(), &wrong);
        let (wrong, trace) = run(&least, Switches::default(), true);
        panic!("{class:?} {seed}: {wrong:?}, {} targets\n{}", least.targets, trace.join("\n"));
    }
}

#[test]
fn all_commit_or_none_and_nobody_stays_in_doubt() {
    all_end_well(0..HISTORIES);
}

/// By hand: MAKUOSAN_SEED says the first, MAKUOSAN_HISTORIES how many.
#[test]
#[ignore = "takes minutes"]
fn all_commit_or_none_in_many_histories() {
    let first = number("MAKUOSAN_SEED").unwrap_or(0);
    all_end_well(first..first + number("MAKUOSAN_HISTORIES").unwrap_or(200_000));
}

#[test]
fn the_same_history_has_the_same_trace() {
    for seed in 0..50 {
        let history = history(Class::All, seed);
        let [one, other] = [(), ()].map(|()| run(&history, Switches::default(), true));
        assert!(one == other && one.1.len() > 1, "{seed}");
    }
}

/// The first history that goes wrong, of so many from a seed on.
fn first_wrong(class: Class, switches: Switches, from: u64, count: u64) -> Option<(u64, String)> {
    (from..from + count).find_map(|seed| {
        run(&history(class, seed), switches, false).0.err().map(|wrong| (seed, wrong))
    })
}

fn without_rule(rule: Rule) -> Switches {
    Switches { rules: Switches::default().rules.without(rule), ..Switches::default() }
}

fn without(duty: Duty) -> Switches {
    Switches { off: 1 << duty as u32, ..Switches::default() }
}

/// What is switched off, in which histories that must be seen, and from which on they are tried.
fn mutants() -> Vec<(String, Class, Switches, u64)> {
    let rule = |rule, class, from| (format!("{rule:?}"), class, without_rule(rule), from);
    let duty = |duty, from| (format!("{duty:?}"), Class::All, without(duty), from);
    vec![
        rule(Rule::Excluded, Class::All, 0),
        rule(Rule::NotSender, Class::All, 0),
        rule(Rule::RefuseLate, Class::All, 0),
        rule(Rule::PromiseFirst, Class::All, 0),
        rule(Rule::PromiseAsked, Class::All, 0),
        rule(Rule::RefuseAsked, Class::All, 25_000),
        rule(Rule::Born, Class::All, 0),
        rule(Rule::AbortProves, Class::All, 0),
        rule(Rule::Mark, Class::Forgets, 0),
        rule(Rule::AllKnow, Class::All, 0),
        rule(Rule::Silent, Class::All, 0),
        rule(Rule::DecideFirst, Class::All, 0),
        rule(Rule::VoteFirst, Class::All, 0),
        duty(Duty::Slot, 0),
        duty(Duty::Link, 0),
        duty(Duty::StageSync, 0),
        duty(Duty::ApplySync, 0),
        duty(Duty::Lock, 7_000),
    ]
}

#[test]
fn without_a_rule_something_goes_wrong() {
    let mut well = Vec::new();
    for (name, class, switches, from) in mutants() {
        let count = number("MAKUOSAN_HISTORIES").unwrap_or(1_000);
        match first_wrong(class, switches, from, count) {
            Some((seed, wrong)) => println!("without {name}: {seed}: {wrong}"),
            None => well.push(name),
        }
    }
    assert!(well.is_empty(), "without these all end well: {well:?}");
}
