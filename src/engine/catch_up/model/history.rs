//! Random histories.

use super::clocks::FAR;
use super::{Event, Switches, World, Wrong};
use crate::engine::rng::Rng;

/// A random history of a fleet: the clocks of its hosts, and what happens.
pub(in super::super) fn history(seed: u64) -> (Vec<i64>, Vec<Event>) {
    let mut rng = Rng::new(seed);
    let mut below = |n: usize| rng.below(n as u64) as usize;
    let hosts = 2 + below(3);
    let skewed = below(2) == 0;
    let skews = (0..hosts).map(|_| if skewed { [0, 0, -6, 6][below(4)] } else { 0 }).collect();
    // Some of them have clocks that are set wrong, and hosts that get another name.
    let odd = seed % 4 == 2;
    let events = (0..4 + below(13))
        .map(|_| {
            let host = below(hosts);
            match below(if odd { 31 } else { 27 }) {
                0..4 => Event::Edit { host, file: below(3), removes: below(10) < 3 },
                4..10 => {
                    let to = (below(100) >= 65)
                        .then(|| (0..1 + below(hosts - 1)).map(|_| below(hosts)).collect());
                    Event::Send { host, path: below(6), deletes: below(10) < 4, to }
                }
                10..13 => Event::Step { which: host, times: below(6) },
                13..16 => Event::Step { which: host, times: 1 },
                16..18 => Event::Crash(host),
                18 => Event::Up(host),
                19 => Event::Hear(host, below(hosts)),
                20..22 => Event::Pull(host, below(6)),
                22 => Event::Partition(below(1 << hosts) as u64),
                23 => Event::Full(host),
                24 => Event::Die(host),
                25 => Event::LoseJournal(host),
                26 => Event::Wipe(host),
                27 => Event::Rename(host),
                _ => Event::Clock(host, [0, FAR, -FAR][below(3)]),
            }
        })
        .collect();
    (skews, events)
}

/// Runs a history.
pub(in super::super) fn run(
    skews: &[i64],
    events: &[Event],
    switches: Switches,
) -> Result<(), Wrong> {
    let mut world = World::new(skews, switches);
    events.iter().try_for_each(|event| world.event(event))?;
    world.finish()
}
