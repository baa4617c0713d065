//! Random histories, what they come to, and the least that comes to the same.

use super::{Event, Switches, World};
use crate::engine::rng::Rng;

/// A history of so many targets.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub targets: usize,
    pub seed: u64,
    pub events: Vec<Event>,
}

/// What can happen beside what always does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Rollbacks, edits, lost senders, new disks.
    All,
    /// Also outcomes that are forgotten by order.
    Forgets,
}

pub(super) fn history(class: Class, seed: u64) -> History {
    let mut rng = Rng::new(seed);
    let mut below = |n: usize| rng.below(n as u64) as usize;
    let targets = 2 + below(2);
    let mut events = vec![Event::Begin { which: below(2), less: below(2) }];
    let packet = |which| Event::Packet { which, dies: None, works: true };
    for _ in 0..below(9) {
        events.push(packet(below(9)));
    }
    for _ in 0..5 + below(36) {
        let host = below(30);
        let power = below(2) == 0;
        let mut fuse = |often: usize| {
            let dies = below(10) < often;
            dies.then(|| (below(6) as u32, power))
        };
        let kinds = if class == Class::Forgets { 33 } else { 31 };
        let dies = fuse(3);
        events.push(match below(kinds) {
            0..7 => Event::Packet { which: host, dies: None, works: below(4) > 0 },
            7..9 => {
                Event::Packet { which: host, dies: Some((below(8) as u32, power)), works: true }
            }
            9 => Event::Double(host),
            10 => Event::Lose(host),
            11 => Event::LoseTo(host),
            12..14 => Event::Drive { host, late: false, dies: None },
            14 => Event::Drive { host, late: false, dies },
            15 => Event::Drive { host, late: true, dies: None },
            16..18 => Event::Ask { host, dies },
            18 => Event::Dies(host, power),
            19..21 => Event::Up { host, dies, works: below(3) > 0 },
            21..23 => Event::Begin { which: below(2), less: below(2) },
            23 => Event::Back { by: below(2) },
            24..26 => Event::Edit { host, r: power },
            26 => Event::Gone(host),
            27 => Event::Wipe(host),
            28 => Event::Partition(below(32) as u64),
            29 => Event::Work { host, dies },
            30 => Event::GiveUp(host),
            _ => Event::Forget(host),
        });
    }
    History { targets, seed, events }
}

/// What goes wrong in a history, and what happens until then, if that is traced.
pub(super) fn run(
    of: &History,
    switches: Switches,
    traces: bool,
) -> (Result<(), String>, Vec<String>) {
    let mut world = World::new(of.targets, of.seed, switches, traces);
    of.events.iter().for_each(|event| world.event(event));
    let result = world.finish();
    (result, world.trace)
}

fn kind(wrong: &str) -> &str {
    wrong.split(':').next().unwrap_or("")
}

/// The least history that goes wrong in the same way.
pub(super) fn shrunk(of: &History, switches: Switches, wrong: &str) -> History {
    let mut least = of.clone();
    let mut step = (least.events.len() / 2).max(1);
    loop {
        let (mut at, mut is_less) = (0, false);
        while at < least.events.len() {
            let mut less = least.clone();
            less.events.drain(at..(at + step).min(least.events.len()));
            match run(&less, switches, false).0 {
                Err(other) if kind(&other) == kind(wrong) => (least, is_less) = (less, true),
                _ => at += step,
            }
        }
        if step == 1 && !is_less {
            return least;
        }
        step = (step / 2).max(1);
    }
}
