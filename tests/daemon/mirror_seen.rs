//! What an operator sees of mirrors: in the figures, by `doctor`, `mirror` and `conflicts`.

use crate::common::{Fleet, eventually, tree};
use crate::mirroring::{MIRROR, alike, conflicts, mirroring, read};

/// A fleet in which `name` was changed on two hosts while they were apart.
fn with_a_conflict(of: &str, name: &str) -> Fleet {
    let mut fleet = mirroring(of, 2);
    tree::write(fleet.path(0, name), "base");
    alike(&fleet, &[0, 1]);
    fleet.kill(1);
    tree::write(fleet.path(1, name), "of host 1");
    tree::write(fleet.path(0, name), "of h0");
    fleet.start(1, MIRROR);
    (0..2).for_each(|at| {
        eventually("it is a conflict", || conflicts(&fleet, at).lines().count() == 1)
    });
    fleet
}

#[track_caller]
fn wait_for_figure(fleet: &Fleet, at: usize, sample: &str) {
    let has = || fleet.msync(at, &["metrics"]).ok().out.lines().any(|line| line == sample);
    eventually(&format!("{sample} at h{at}"), has);
}

#[test]
fn conflicts_are_in_the_figures_of_each_host_until_they_are_dropped() {
    let fleet = with_a_conflict("mirror-figures", "f");
    for at in 0..2 {
        wait_for_figure(&fleet, at, "makuosan_conflicts{path=\".\"} 1");
        wait_for_figure(&fleet, at, "makuosan_mirror_paths{path=\".\"} 1");
        wait_for_figure(&fleet, at, "makuosan_mirror_settled{path=\".\"} 1");
        wait_for_figure(&fleet, at, "makuosan_mirror_lacking_paths{path=\".\"} 0");
    }
    let shown = read(fleet.path(0, "f"));
    fleet.msync(1, &["conflicts", "drop", "f"]).ok();
    for at in 0..2 {
        wait_for_figure(&fleet, at, "makuosan_conflicts{path=\".\"} 0");
        assert_eq!(read(fleet.path(at, "f")), shown);
    }
}
