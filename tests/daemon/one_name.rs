//! Members whose file system takes `A` and `a` for the same name.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::fuse::{Fuse, Traits};
use crate::common::mounts::inside;
use crate::common::process::in_mount_namespace;
use crate::common::{Fleet, tree};

/// `h1` is on a file system that folds case. With it comes its base directory, as this process sees it.
fn fleet_that_folds(name: &str) -> Option<(Fleet, Fuse, PathBuf)> {
    let mut fleet = Fleet::idle(name, 2);
    let fuse = Fuse::new(name, Traits { folds: true, ..Traits::default() })?;
    let mut by = in_mount_namespace(name, &Fuse::mount("\"$1/h1\""), fleet.dir())?;
    fuse.input(&mut by);
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    let base = inside(&mut fleet, 1, "h1");
    Some((fleet, fuse, base))
}

#[test]
fn a_rename_in_case_only_deletes_nothing_where_case_does_not_count() {
    let Some((fleet, fuse, base)) = fleet_that_folds("case-rename") else { return };
    for at in ["Photos/Summer/a.jpg", "Photos/b.jpg", "README", "12", "same"] {
        tree::write(fleet.path(0, at), at);
    }
    fleet.msync(0, &["send", "-r"]).ok();
    for at in ["Photos/Summer/EXTRA", "extra/deep/file", "Zebra"] {
        tree::write(base.join(at), "only here");
    }
    fs::rename(fleet.path(0, "Photos"), fleet.path(0, "photos")).unwrap();
    fs::rename(fleet.path(0, "photos/Summer"), fleet.path(0, "photos/summer")).unwrap();
    fs::rename(fleet.path(0, "README"), fleet.path(0, "readme")).unwrap();
    tree::write(fleet.path(0, "photos/new"), "new");
    let stays = |what: &str| {
        for at in ["photos/summer/a.jpg", "photos/b.jpg", "readme", "12", "same"] {
            assert!(base.join(at).exists(), "{what}: {at}");
        }
    };
    // What all ways to look say: the extra ones, and nothing else.
    for args in [&["check", "-r", "-l", "1"][..], &["send", "-rn", "--delete"], &["dsync", "-rn"]] {
        let ran = fleet.msync(0, args);
        let spoken = ran.out.to_lowercase();
        for at in ["summer/extra", "extra/deep/file", "zebra"] {
            assert!(spoken.contains(at), "{args:?}: {ran:?}");
        }
        for line in spoken.lines().filter(|line| line.contains("extra ") || line.contains("delete"))
        {
            assert!(!line.contains(".jpg") && !line.contains("readme"), "{args:?}: {ran:?}");
            assert!(!line.ends_with("photos") && !line.ends_with("summer"), "{args:?}: {ran:?}");
        }
    }
    let ran = fleet.msync(0, &["-l", "1", "send", "-r", "--delete"]).well();
    assert!(ran.out.contains("extra/deep/file"), "{ran:?}");
    stays("send --delete");
    assert_eq!(fuse.names("photos"), ["Summer", "b.jpg", "new"]);
    assert_eq!(fuse.names(""), ["12", "Photos", "README", "same"]);
    // And once more, with nothing to do; and by the other command that deletes.
    let again = fleet.msync(0, &["--json", "send", "-r", "--delete"]).well();
    assert!(again.out.contains("\"files\":0") && again.out.contains("\"deleted\":0"), "{again:?}");
    fleet.msync(0, &["dsync", "-r", "--force"]).ok();
    stays("dsync");
    fs::remove_file(fleet.path(0, "photos/b.jpg")).unwrap();
    fleet.msync(0, &["send", "-r", "--delete", "photos"]).ok();
    assert_eq!(fuse.names("photos"), ["Summer", "new"]);
}

#[test]
fn what_a_pattern_keeps_here_stays_under_another_case_there() {
    let Some((fleet, fuse, base)) = fleet_that_folds("case-pattern") else { return };
    tree::write(fleet.path(0, "dir/notes.log"), "x");
    tree::write(fleet.path(0, "dir/file"), "x");
    tree::write(base.join("dir/NOTES.LOG"), "y");
    tree::write(base.join("dir/other"), "y");
    fleet.msync(0, &["send", "-r", "--delete", "--exclude", "*.log"]).ok();
    assert_eq!(fuse.names("dir"), ["NOTES.LOG", "file"]);
}

/// What all ways to send say of pairs that are one entry there.
#[track_caller]
fn assert_both_named(fleet: &Fleet, args: &[&str], pairs: &[(&str, &str)]) {
    let ran = fleet.msync(0, args);
    assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
    let lines: Vec<String> = pairs
        .iter()
        .map(|(one, two)| format!("error: Same name there as {one} h1:{two}"))
        .collect();
    assert_eq!(ran.errors(), lines, "{args:?}: {ran:?}");
}

#[test]
fn two_names_that_are_one_file_there_are_an_error_that_names_both() {
    let Some((fleet, fuse, base)) = fleet_that_folds("case-pairs") else { return };
    for (at, text) in [
        ("README", "upper"),
        ("readme", "lower"),
        ("dir/Sub/a", "one"),
        ("dir/sub/a", "two"),
        ("dir/sub/b", "two"),
        ("dir/X", "file"),
        ("dir/x/in", "directory"),
        ("plain", "x"),
    ] {
        tree::write(fleet.path(0, at), text);
    }
    let pairs = [("README", "readme"), ("dir/Sub", "dir/sub"), ("dir/X", "dir/x")];
    let mut sorted = [pairs[0], pairs[1], pairs[2]];
    sorted.sort_by_key(|pair| pair.1);
    let sorted = [sorted[0], sorted[1], sorted[2]];
    assert_both_named(&fleet, &["send", "-rn"], &sorted);
    for args in [&["send", "-r"][..], &["send", "-r"], &["send", "-r", "--delete"]] {
        assert_both_named(&fleet, args, &sorted);
        assert_eq!(fs::read_to_string(base.join("README")).unwrap(), "upper", "{args:?}");
        assert_eq!(fs::read_to_string(base.join("dir/Sub/a")).unwrap(), "one", "{args:?}");
        assert_eq!(fs::read_to_string(base.join("dir/X")).unwrap(), "file", "{args:?}");
        assert_eq!(fs::read_to_string(base.join("plain")).unwrap(), "x", "{args:?}");
        assert_eq!(fuse.names("dir/Sub"), ["a"], "{args:?}");
    }
    let json = fleet.msync(0, &["--json", "send", "-r"]);
    let object = "{\"path\":\"readme\",\"error\":\"Same name there as README\",\"host\":\"h1\",\
        \"code\":\"same_name\"}";
    assert!(json.code == Some(2) && json.out.contains(object), "{json:?}");
    let check = fleet.msync(0, &["check", "-r"]);
    assert!(check.code == Some(2), "{check:?}");
    assert!(check.errors().contains(&"error: Same name there as README h1:readme"), "{check:?}");
}

#[test]
fn two_names_far_apart_in_a_large_directory_are_named_too() {
    let Some((fleet, fuse, base)) = fleet_that_folds("case-many") else { return };
    for n in 0..1_500 {
        tree::write(fleet.path(0, format!("many/F{n:04}")), "x");
    }
    tree::write(fleet.path(0, "many/f0000"), "other");
    fs::create_dir(fleet.path(0, "many/DIR")).unwrap();
    tree::write(fleet.path(0, "many/dir/file"), "other");
    assert_both_named(
        &fleet,
        &["send", "-r", "--delete"],
        &[("many/DIR", "many/dir"), ("many/F0000", "many/f0000")],
    );
    assert_eq!(fuse.names("many").len(), 1_501);
    assert_eq!(fs::read_to_string(base.join("many/f0000")).unwrap(), "x");
}

#[test]
fn another_hard_link_is_surplus_where_case_counts() {
    let fleet = Fleet::new("case-links", 2);
    tree::write(fleet.path(0, "dir/file"), "x");
    tree::write(fleet.path(0, "dir/File"), "y");
    fleet.msync(0, &["send", "-r"]).ok();
    let link = |from: &str, to: &str| {
        fs::hard_link(fleet.path(1, from), fleet.path(1, to)).unwrap();
    };
    link("dir/file", "dir/FILE");
    link("dir/file", "dir/other");
    let ran = fleet.msync(0, &["-l", "1", "send", "-r", "--delete"]).well();
    assert!(ran.out.contains("dir/FILE") && ran.out.contains("dir/other"), "{ran:?}");
    let gone = |at: &str| !Path::exists(&fleet.path(1, at));
    assert!(gone("dir/FILE") && gone("dir/other"));
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}
