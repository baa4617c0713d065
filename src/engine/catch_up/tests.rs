//! Random histories, and the rules without which they go wrong.

use super::journal::Rules;
use super::model::{Event, Switches, Wrong, history, run};

/// How many histories each run of the suite tries.
const HISTORIES: u64 = 2_500;

fn first_wrong(switches: Switches, seeds: std::ops::Range<u64>) -> Option<(u64, Wrong)> {
    seeds.into_iter().find_map(|seed| {
        let (skews, events) = history(seed);
        run(&skews, &events, switches).err().map(|wrong| (seed, wrong))
    })
}

/// The same history without what it does not need to go wrong.
fn shrunk(seed: u64, switches: Switches) -> (Vec<Event>, Wrong) {
    let (skews, mut events) = history(seed);
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
    if let Some((seed, _)) = first_wrong(Switches::ALL, seeds) {
        let (events, wrong) = shrunk(seed, Switches::ALL);
        panic!("seed {seed}: {}\n{events:#?}\n{}", wrong.what, wrong.log.join("\n"));
    }
}

#[test]
fn everybody_gets_what_it_is_owed() {
    assert_well(0..HISTORIES);
}

/// By hand: MAKUOSAN_HISTORIES says how many.
#[test]
#[ignore = "takes minutes"]
fn everybody_gets_what_it_is_owed_in_many_histories() {
    let many = std::env::var("MAKUOSAN_HISTORIES").ok().and_then(|many| many.parse().ok());
    assert_well(0..many.unwrap_or(200_000));
}

fn assert_needed(name: &str, switches: Switches) {
    assert!(first_wrong(switches, 0..20_000).is_some(), "nothing goes wrong without {name}");
}

#[test]
fn each_rule_is_needed() {
    let all = Rules::ALL;
    let journal = |journal: Rules| Switches { journal, ..Switches::ALL };
    assert_needed("guards", journal(Rules { guard: false, ..all }));
    assert_needed("guards of what is named", journal(Rules { guard_named: false, ..all }));
    assert_needed("covering by all names", journal(Rules { cover_all: false, ..all }));
    assert_needed("covering by what is here", journal(Rules { drop_done: false, ..all }));
    assert_needed("own records stay", journal(Rules { own: false, ..all }));
    assert_needed("lists", Switches { list: false, ..Switches::ALL });
    assert_needed("the same files", Switches { same: false, ..Switches::ALL });
    assert_needed("the next donor", Switches { note: false, ..Switches::ALL });
}
