//! What the interface and UDP have counted lately.

use super::kernel::Kernel;
use crate::console::doctor::Counted;
use crate::name::Interface;
use crate::net::{Net, interface_of};
use crate::sys::ifaddr;
use crate::sys::link::{self, Link};
use crate::time::{Span, Time};

/// How often counters are looked at, so that it can be said what they have counted lately.
const SAMPLE: Span = Span::from_secs(300);
/// What was counted at a time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Time,
    /// The interface that has counted.
    index: u32,
    link: Link,
    udp_full: Option<u64>,
}

/// What was counted before, twice: the earlier of the two is 5 to 10 minutes old, unless this has just started.
#[derive(Default, Debug)]
pub(super) struct Samples {
    earlier: Option<Sample>,
    later: Option<Sample>,
}

impl Samples {
    /// Takes one if it is time.
    pub(super) fn take_now_and_then(&mut self, now: Time, net: &Net, kernel: &Kernel) {
        if self.later.is_none_or(|later| now >= later.at + SAMPLE) {
            let sample = Sample::take(now, net, kernel);
            let is_same = |earlier: &Sample| sample.is_some_and(|it| it.index == earlier.index);
            self.earlier = self.later.filter(is_same).or(sample);
            self.later = sample;
        }
    }

    /// What was counted since the earlier one.
    pub(super) fn counted(&self, now: Time, net: &Net, kernel: &Kernel) -> Option<Counted> {
        let is = Sample::take(now, net, kernel)?;
        let was = self.earlier.filter(|was| was.index == is.index)?;
        let grown = |of: fn(&Link) -> u32| u64::from(of(&is.link).wrapping_sub(of(&was.link)));
        Some(Counted {
            over: is.at.since(was.at),
            received: grown(|link| link.received),
            errors: grown(|link| link.errors),
            dropped: grown(|link| link.dropped),
            collisions: grown(|link| link.collisions),
            udp_full: is.udp_full.zip(was.udp_full).map(|(is, was)| is.saturating_sub(was)),
        })
    }
}

impl Sample {
    fn take(at: Time, net: &Net, kernel: &Kernel) -> Option<Self> {
        let name = carrier(net)?;
        let (index, link) = (ifaddr::index(&name).ok()?, link::link(&name).ok()??);
        Some(Sample { at, index, link, udp_full: kernel.udp_full() })
    }
}

/// The interface that carries the group, by its name, if it is known.
pub(super) fn carrier(net: &Net) -> Option<Vec<u8>> {
    if let Interface::Named(name) = net.interface() {
        return name.split(':').next().map(|name| name.as_bytes().to_vec());
    }
    interface_of(net.address()?).ok()?
}
