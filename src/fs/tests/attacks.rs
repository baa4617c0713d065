//! Nothing outside the base directory is touched, wherever a symbolic link stands.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::super::disk::{Disk, DiskConfig};
use super::super::found::WalkError;
use super::super::testing::*;
use crate::engine::disk_job::Mode;
use crate::name::RelPath;
use crate::wire::outcome::{Need, Outcome, Reason};

const LINK: Outcome = Outcome::Failed(Reason::LinkInPath);

/// A place that no test may change, with a directory of it.
fn outside() -> (TempDir, std::collections::BTreeMap<Vec<u8>, String>) {
    let dir = TempDir::new("outside");
    dir.write("d/f", b"outside");
    dir.write("f", b"outside");
    chmod(&dir.join("d"), 0o750);
    chmod(&dir.join("f"), 0o640);
    let before = snapshot(dir.path());
    (dir, before)
}

/// Puts a link to `to` where `at` is.
fn swap_for_link(at: &Path, to: &Path) {
    let _ = std::fs::remove_file(at).or_else(|_| std::fs::remove_dir_all(at));
    symlink(to, at).unwrap();
}

#[test]
fn a_link_in_any_directory_of_a_path_fails_once_and_silences_what_is_below() {
    let (outside, before) = outside();
    let from = TempDir::new("from");
    for name in ["d/d/d/f", "d/d/f", "d/f", "f"] {
        from.write(name, b"new");
    }
    for link in ["d", "d/d", "d/d/d"] {
        let to = TempDir::new("to");
        to.mkdir("d/d/d");
        swap_for_link(&to.join(link), outside.path());
        let lines = send(&from, &to);
        let failed: Vec<_> = news(&lines).into_iter().filter(|line| line.1 == LINK).collect();
        assert_eq!(failed, [(&*format!("+{link}"), LINK)]);
        for (name, need, outcome) in &lines {
            if name.contains(&format!("{link}/")) || *name == format!("-{link}") {
                assert_eq!((*need, *outcome), (Need::Silent, Outcome::Silent), "{name}");
            }
        }
        assert!(to.join("f").exists());
        assert_eq!(snapshot(outside.path()), before);
    }
}

#[test]
fn a_link_that_takes_a_directorys_place_after_the_plan_leads_nowhere() {
    let (outside, before) = outside();
    let from = TempDir::new("from");
    from.write("a/d/f", b"new");
    from.write("a/f", b"new");
    chmod(&from.join("a"), 0o777);
    chmod(&from.join("a/d"), 0o777);
    let root = from.root();
    let batch = one_batch(&root, &RelPath::base());
    for (there, link) in [(true, "a"), (true, "a/d"), (false, "a"), (false, "a/d")] {
        for when in ["staging", "commit"] {
            let to = TempDir::new("to");
            if there {
                to.mkdir("a/d");
            }
            let mut disk = to.disk();
            let mut transfer = Transfer::new(1, Mode::SEND);
            let (number, needs, file) = transfer.plan(&mut disk, &batch);
            to.mkdir("a");
            if when == "staging" {
                swap_for_link(&to.join(link), outside.path());
            }
            transfer.stage(&mut disk, &root, &batch, (number, &needs, file));
            swap_for_link(&to.join(link), outside.path());
            let outcomes = transfer.commit(&mut disk, number, &[]);
            assert!(outcomes.contains(&LINK), "{outcomes:?}");
            transfer.close(&mut disk, true);
            assert_eq!(snapshot(outside.path()), before, "{there} {link} {when}");
        }
    }
}

#[test]
fn attributes_are_never_set_through_a_link() {
    let (outside, before) = outside();
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    set_mtime(&from.write("f", b"same"), 5, 5);
    from.mkdir("d");
    send(&from, &to);
    chmod(&from.join("f"), 0o777);
    chmod(&from.join("d"), 0o777);
    let root = from.root();
    let batch = one_batch(&root, &RelPath::base());
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let (number, needs, _) = transfer.plan(&mut disk, &batch);
    assert_eq!(needs, [Need::Skip, Need::Attributes, Need::Attributes]);
    swap_for_link(&to.join("f"), &outside.join("f"));
    swap_for_link(&to.join("d"), &outside.join("d"));
    let outcomes = transfer.commit(&mut disk, number, &[]);
    let stale = Outcome::Failed(Reason::Os(libc::ESTALE as u16));
    assert_eq!(outcomes, [Outcome::Skipped, LINK, stale]);
    assert_eq!(snapshot(outside.path()), before);
}

#[test]
fn a_link_is_sent_and_replaced_as_a_link() {
    let (outside, before) = outside();
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    symlink(outside.join("f"), from.join("link")).unwrap();
    symlink(outside.join("d"), from.join("dir link")).unwrap();
    from.write("file", b"new");
    symlink(outside.join("f"), to.join("file")).unwrap();
    send(&from, &to);
    assert_same(&from, &to);
    assert_eq!(snapshot(outside.path()), before);
}

#[test]
fn staging_that_is_a_link_is_refused_and_links_in_it_are_not_followed() {
    let (outside, before) = outside();
    let to = TempDir::new("to");
    symlink(outside.path(), to.join(".makuosan")).unwrap();
    assert!(Disk::new(to.root(), DiskConfig::default()).is_err());
    std::fs::remove_file(to.join(".makuosan")).unwrap();
    to.write(".makuosan", b"a file").metadata().unwrap();
    assert!(Disk::new(to.root(), DiskConfig::default()).is_err());
    std::fs::remove_file(to.join(".makuosan")).unwrap();
    drop(to.disk());
    to.mkdir(".makuosan/stage/sub");
    symlink(outside.path(), to.join(".makuosan/stage/sub/link")).unwrap();
    symlink(outside.path(), to.join(".makuosan/stage/link")).unwrap();
    to.write(".makuosan/stage/mount-1", b"../outside");
    to.write(".makuosan/stage/mount-2", outside.path().to_str().unwrap());
    symlink(outside.path(), to.join("way")).unwrap();
    to.write(".makuosan/stage/mount-3", b"way");
    outside.mkdir(".makuosan");
    outside.write(".makuosan/precious", b"");
    drop(to.disk());
    assert!(outside.join(".makuosan/precious").exists());
    std::fs::remove_dir_all(outside.join(".makuosan")).unwrap();
    set_mtime(&outside.join("f"), 1, 1);
    assert_eq!(staged(to.path()), 0);
    assert_eq!(snapshot(outside.path()).len(), before.len());
}

#[test]
fn a_walk_through_a_link_says_where_it_leads() {
    let from = TempDir::new("from");
    from.write("real/dir/f", b"");
    symlink("real", from.join("way")).unwrap();
    let root = from.root();
    let error = super::super::walk::Walker::new(root.clone(), path("way/dir/f"), whole()).err();
    let error = error.unwrap();
    assert!(matches!(&error, WalkError::Link { real: Some(real), .. } if real == b"real/dir/f"));
    assert_eq!(error.to_string(), "Symbolic link in path way/dir/f; it is really real/dir/f");
    // The link itself can be sent.
    assert_eq!(found(&root, &path("way")).len(), 1);
    let missing = super::super::walk::Walker::new(root, path("no\nthing"), whole()).err();
    assert_eq!(missing.unwrap().to_string(), "No such file or directory no\\012thing");
}
