//! BEGIN, which asks targets to take part.

use std::ops::Range;

use super::target::Targets;
use super::types::Config;
use crate::engine::destination::Destination;
use crate::ids::TargetNo;
use crate::wire::begin::Begin;

/// The BEGINs that name some of the targets, and where each goes.
pub(super) fn begins(
    config: &Config,
    targets: &Targets,
    some: Range<usize>,
) -> Vec<(Destination, Begin)> {
    let capacity = Begin::capacity(config.block.into()).max(1);
    let mut begins = Vec::new();
    let mut first = some.start;
    while first < some.end {
        let last = (first + capacity).min(some.end);
        let to = match some.len() {
            1 => targets[TargetNo::of(first)].to(),
            _ => targets.everyone(),
        };
        let named = (first..last).map(|at| targets[TargetNo::of(at)].node());
        let begin = Begin {
            mode: config.mode,
            block: config.block,
            oldest: config.oldest,
            // Rounded up: it is held for no shorter than the others are waited for.
            timeout: u16::try_from(config.timeout.micros().div_ceil(1_000_000)).unwrap_or(u16::MAX),
            stamp: config.stamp,
            total: targets.len() as u16,
            first: TargetNo::of(first),
            targets: named.collect(),
        };
        begins.push((to, begin));
        first = last;
    }
    begins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::disk_job::Mode;
    use crate::engine::outgoing::target;
    use crate::ids::TransferNo;
    use crate::name::NodeId;
    use crate::stamp::Stamp;
    use crate::time::Span;

    fn config(block: u16) -> Config {
        Config {
            me: NodeId(1),
            number: TransferNo::new(7),
            oldest: TransferNo::new(5),
            targets: Vec::new(),
            mode: Mode::default(),
            atomic: false,
            block,
            parallel: 8,
            stamp: Stamp::ZERO,
            timeout: Span::from_secs(10),
            patience: Span::from_secs(10),
        }
    }

    #[test]
    fn a_large_fleet_takes_several_packets() {
        let targets = target::some(100);
        let begins = begins(&config(480), &targets, 0..100);
        assert_eq!(begins.len(), 2);
        assert!(
            begins.iter().all(|(to, begin)| *to == Destination::Group && begin.emit().len() <= 480)
        );
        let named: Vec<NodeId> = begins.iter().flat_map(|(_, b)| b.targets.clone()).collect();
        assert!(named.iter().copied().eq(targets.iter().map(|(_, target)| target.node())));
        assert_eq!(begins[1].1.first.index(), begins[0].1.targets.len());
    }

    #[test]
    fn one_target_is_asked_alone() {
        let targets = target::some(3);
        let begins = begins(&config(1_424), &targets, 2..3);
        let (to, begin) = &begins[0];
        assert_eq!((begins.len(), *to), (1, targets[TargetNo::new(2)].to()));
        assert_eq!((begin.first.get(), begin.total, begin.targets.len()), (2, 3, 1));
        assert_eq!(begin.oldest, TransferNo::new(5));
    }
}
