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

/// A history in which one host sends lists of changed files more than anything else happens.
pub(in super::super) fn flushing(seed: u64) -> (Vec<i64>, Vec<Event>) {
    let mut rng = Rng::new(seed);
    let mut below = |n: usize| rng.below(n as u64) as usize;
    let hosts = 2 + below(3);
    let mut events = Vec::new();
    for _ in 0..8 + below(25) {
        let host = if below(4) > 0 { 0 } else { below(hosts) };
        match below(20) {
            0..6 => {
                let file = below(3);
                events.push(Event::Edit { host, file, removes: below(10) < 3 });
                let (path, files) = ([0, 0, 0, 1][below(4)], 1 << file | below(8));
                events.push(Event::Flush { host: 0, path, files, deletes: below(6) > 0 });
                if below(4) > 0 {
                    events.push(Event::Step { which: 0, times: 4 });
                }
            }
            6..8 => {
                let files = below(8);
                events.push(Event::Flush { host: 0, path: 0, files, deletes: below(6) > 0 });
            }
            8 => {
                let to = (below(3) == 0).then(|| vec![below(hosts)]);
                events.push(Event::Send { host, path: below(6), deletes: below(3) == 0, to });
            }
            9..12 => events.push(Event::Step { which: below(3), times: below(6) }),
            12 => events.push(Event::Crash(below(hosts))),
            13 => events.push(Event::Up(below(hosts))),
            14 => events.push(Event::Hear(below(hosts), below(hosts))),
            15 => events.push(Event::Pull(below(hosts), below(6))),
            16 => events.push(Event::Partition(below(1 << hosts) as u64)),
            17 => events.push(Event::Full(below(hosts))),
            18 => events.push(Event::LoseJournal(1 + below(hosts - 1))),
            _ => events.push(Event::Edit { host, file: below(3), removes: below(10) < 3 }),
        }
    }
    (vec![0; hosts], events)
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
