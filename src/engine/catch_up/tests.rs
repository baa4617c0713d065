//! Random histories, and the rules without which they go wrong.

use super::model::{Event, Switches, Wrong, flushing, history, run};
use super::types::Rules;

/// How many histories each run of the suite tries.
const HISTORIES: u64 = 2_500;

/// How a history is made of a seed.
type Histories = fn(u64) -> (Vec<i64>, Vec<Event>);

fn first_wrong(switches: Switches, seeds: std::ops::Range<u64>) -> Option<(u64, Wrong)> {
    first_wrong_of(history, switches, seeds)
}

fn first_wrong_of(
    histories: Histories,
    switches: Switches,
    mut seeds: std::ops::Range<u64>,
) -> Option<(u64, Wrong)> {
    seeds.find_map(|seed| {
        let (skews, events) = histories(seed);
        run(&skews, &events, switches).err().map(|wrong| (seed, wrong))
    })
}

/// The same history without what it does not need to go wrong.
fn shrunk(histories: Histories, seed: u64, switches: Switches) -> (Vec<Event>, Wrong) {
    let (skews, mut events) = histories(seed);
    let kind = |wrong: &Wrong| wrong.what.split(':').next().unwrap_or("").to_owned();
    let mut wrong = run(&skews, &events, switches).unwrap_err();
    let mut at = events.len();
    while at > 0 {
        at -= 1;
        let mut fewer = events.clone();
        fewer.remove(at);
        if let Err(other) = run(&skews, &fewer, switches) {
            if kind(&other) == kind(&wrong) {
                (events, wrong) = (fewer, other);
            }
        }
    }
    (events, wrong)
}

fn assert_well(seeds: std::ops::Range<u64>) {
    assert_well_of(history, seeds);
}

fn assert_well_of(histories: Histories, seeds: std::ops::Range<u64>) {
    if let Some((seed, _)) = first_wrong_of(histories, Switches::ALL, seeds) {
        let (events, wrong) = shrunk(histories, seed, Switches::ALL);
        panic!("seed {seed}: {}\n{events:#?}\n{}", wrong.what, wrong.log.join("\n"));
    }
}

#[test]
fn everybody_gets_what_it_is_owed() {
    assert_well(0..HISTORIES);
}

#[test]
fn what_is_folded_is_owed_as_before() {
    assert_well_of(flushing, 0..HISTORIES);
}

#[test]
fn each_rule_of_folding_is_needed() {
    let needed = |name: &str, switches: Switches| {
        let wrong = first_wrong_of(flushing, switches, 0..60_000);
        assert!(wrong.is_some(), "nothing goes wrong without {name}");
    };
    let journal = Rules { fold_like: false, ..Rules::ALL };
    needed("what came between", Switches { journal, ..Switches::ALL });
    needed("all that is folded", Switches { fold_whole: false, ..Switches::ALL });
}

/// By hand: MAKUOSAN_SEED says the first, MAKUOSAN_HISTORIES how many.
#[test]
#[ignore = "takes minutes"]
fn everybody_gets_what_it_is_owed_in_many_histories() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let first = number("MAKUOSAN_SEED").unwrap_or(0);
    assert_well(first..first + number("MAKUOSAN_HISTORIES").unwrap_or(200_000));
}

/// `first`: the seed of a history that goes wrong without a rule; if histories are made in another way, a later one will.
fn assert_needed(name: &str, first: u64, switches: Switches) {
    let seeds = (first..first + 10).chain(0..60_000);
    let wrong = seeds.into_iter().any(|seed| first_wrong(switches, seed..seed + 1).is_some());
    assert!(wrong, "nothing goes wrong without {name}");
    assert!(first_wrong(Switches::ALL, first..first + 10).is_none(), "{name}");
}

#[test]
fn each_rule_is_needed() {
    let all = Rules::ALL;
    let journal = |journal: Rules| Switches { journal, ..Switches::ALL };
    assert_needed("guards", 7_605, journal(Rules { guard: false, ..all }));
    assert_needed("guards of what is named", 299, journal(Rules { guard_named: false, ..all }));
    assert_needed("covering by all names", 299, journal(Rules { cover_all: false, ..all }));
    assert_needed(
        "the later of two at a time",
        57_144,
        Switches { guard_all: false, ..Switches::ALL },
    );
    assert_needed("edits that stay", 5_280, Switches { local: false, ..Switches::ALL });
    assert_needed("lists", 1, Switches { list: false, ..Switches::ALL });
    assert_needed("the same files", 3_429, Switches { same: false, ..Switches::ALL });
    assert_needed("the next donor", 4_908, Switches { note: false, ..Switches::ALL });
}
