//! File systems that keep times by the second, or not far into the future.

use std::path::{Path, PathBuf};

use crate::common::fuse::{Fuse, Traits};
use crate::common::mounts::inside;
use crate::common::process::{in_mount_namespace, in_mounts};
use crate::common::{Fleet, tree};

/// Times by the second.
const SECONDS: Traits = Traits { folds: false, grain: 1_000_000_000, last: i64::MAX, plain: false };

/// One host of two is on a file system of these traits; its base directory comes with it.
fn fleet_on(name: &str, odd: usize, traits: Traits) -> Option<(Fleet, Fuse, PathBuf)> {
    let mut fleet = Fleet::idle(name, 2);
    let fuse = Fuse::new(name, traits)?;
    let mount = Fuse::mount(&format!("\"$1/h{odd}\""));
    let mut by = in_mount_namespace(name, &mount, fleet.dir())?;
    fuse.input(&mut by);
    fleet.start(1 - odd, &[]);
    fleet.start_by(by, odd, &[]);
    fleet.wait_for_members();
    let base = inside(&mut fleet, odd, &format!("h{odd}"));
    Some((fleet, fuse, base))
}

/// Edits of one size, each sent at once: what arrived is told after each.
#[track_caller]
fn assert_each_edit_arrives(fleet: &Fleet, here: &Path, there: &Path) {
    for n in 0..12 {
        tree::write(here.join("dir/page"), format!("edit {n:02}"));
        let ran = fleet.msync(0, &["-l", "2", "send", "-r"]).well();
        let arrived = std::fs::read_to_string(there.join("dir/page")).unwrap();
        assert_eq!(arrived, format!("edit {n:02}"), "{ran:?}");
    }
}

/// With nothing changed, nothing is sent, and everything counts once.
#[track_caller]
fn assert_nothing_to_do(fleet: &Fleet, files: u64) {
    for args in [&["--json", "send", "-r"][..], &["--json", "send", "-rn"]] {
        let ran = fleet.msync(0, args).well();
        let total = ran.out.lines().last().unwrap_or_default();
        assert!(total.contains("\"files\":0") && total.contains("\"bytes\":0"), "{ran:?}");
        assert!(total.contains(&format!("\"unchanged\":{files}")), "{ran:?}");
        for host in ran.out.lines().filter(|line| line.contains("\"type\":\"host\"")) {
            let counts = args.contains(&"-rn") || host.contains(&format!("\"unchanged\":{files}"));
            assert!(counts, "{ran:?}");
        }
    }
}

#[test]
fn every_edit_within_a_second_arrives_where_times_are_kept_by_the_second() {
    let Some((fleet, _fuse, base)) = fleet_on("coarse-receiver", 1, SECONDS) else { return };
    for at in ["dir/other", "old"] {
        tree::write(fleet.path(0, at), at);
        tree::set_mtime(&fleet.path(0, at), 1_500_000_000, 5);
    }
    assert_each_edit_arrives(&fleet, &fleet.base(0), &base);
    assert_nothing_to_do(&fleet, 3);
    // Long ago, but different: moved into place since.
    for (n, text) in ["aaaa", "bbbb"].into_iter().enumerate() {
        tree::write(fleet.path(0, "next"), text);
        tree::set_mtime(&fleet.path(0, "next"), 1_600_000_000, n as u32 * 1_000 + 1);
        std::fs::rename(fleet.path(0, "next"), fleet.path(0, "moved")).unwrap();
        let dry = fleet.msync(0, &["send", "-n", "moved"]).well();
        assert!(dry.out.contains("moved"), "{dry:?}");
        fleet.msync(0, &["send", "moved"]).ok();
        assert_eq!(std::fs::read_to_string(base.join("moved")).unwrap(), text);
    }
    assert_nothing_to_do(&fleet, 4);
}

#[test]
fn every_edit_within_a_second_leaves_a_sender_that_keeps_times_by_the_second() {
    let Some((fleet, _fuse, base)) = fleet_on("coarse-sender", 0, SECONDS) else { return };
    assert_each_edit_arrives(&fleet, &base, &fleet.base(1));
    assert_nothing_to_do(&fleet, 1);
}

#[test]
fn every_edit_within_a_second_arrives_on_an_ext4_with_small_inodes() {
    let mut fleet = Fleet::idle("small-inodes", 2);
    let image = fleet.dir().join("image");
    std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let setup = "mkfs.ext4 -q -I 128 \"$1/image\" 2>/dev/null; mount -o loop \"$1/image\" \"$1/h1\"; \
        rmdir \"$1/h1/lost+found\"";
    let Some(by) = in_mounts("an ext4 with small inodes", setup, fleet.dir()) else { return };
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    let base = inside(&mut fleet, 1, "h1");
    assert_each_edit_arrives(&fleet, &fleet.base(0), &base);
    assert_nothing_to_do(&fleet, 1);
}

#[test]
fn a_time_that_cannot_be_kept_is_said_once_and_nothing_is_sent_for_it_again() {
    let traits = Traits { last: i64::from(i32::MAX), ..Traits::default() };
    let Some((fleet, _fuse, base)) = fleet_on("times-2038", 1, traits) else { return };
    for n in 0..3 {
        tree::write(fleet.path(0, format!("dir/{n}")), "x");
        tree::set_mtime(&fleet.path(0, format!("dir/{n}")), 7_258_118_400, 5);
    }
    tree::write(fleet.path(0, "now"), "x");
    for (args, files) in [(&["--json", "send", "-r"][..], 4), (&["--json", "send", "-r"], 0)] {
        let ran = fleet.msync(0, args);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.out.contains("\"error\":\"time cannot be kept: 3 entries h1\""), "{ran:?}");
        let total = ran.out.lines().last().unwrap_or_default();
        assert!(total.contains(&format!("\"files\":{files},")), "{ran:?}");
        assert!(total.contains("\"errors\":1"), "{ran:?}");
    }
    let ran = fleet.msync(0, &["send", "-r", "--lax-attributes"]).well();
    assert!(ran.out.contains("warning: time cannot be kept: 3 entries h1"), "{ran:?}");
    assert!(base.join("dir/2").exists());
}

#[test]
fn of_three_hosts_one_with_coarse_times_each_counts_a_file_once() {
    let mut fleet = Fleet::idle("coarse-third", 3);
    let Some(fuse) = Fuse::new("coarse-third", SECONDS) else { return };
    let mount = Fuse::mount("\"$1/h1\"");
    let Some(mut by) = in_mount_namespace("coarse-third", &mount, fleet.dir()) else { return };
    fuse.input(&mut by);
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.start(2, &[]);
    fleet.wait_for_members();
    let base = inside(&mut fleet, 1, "h1");
    tree::write(fleet.path(0, "page"), "one");
    fleet.msync(0, &["send", "-r"]).ok();
    assert_nothing_to_do(&fleet, 1);
    tree::write(fleet.path(0, "page"), "two");
    let ran = fleet.msync(0, &["--json", "send", "-r"]).well();
    let total = ran.out.lines().last().unwrap_or_default();
    assert!(total.contains("\"files\":1") && total.contains("\"unchanged\":0"), "{ran:?}");
    let hosts = ran.out.lines().filter(|line| line.contains("\"type\":\"host\""));
    assert_eq!(hosts.filter(|line| line.contains("\"files\":1")).count(), 2, "{ran:?}");
    for base in [base, fleet.base(2)] {
        assert_eq!(std::fs::read_to_string(base.join("page")).unwrap(), "two");
    }
}
