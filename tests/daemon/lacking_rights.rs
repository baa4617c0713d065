//! Receivers that run as root and may not do what root may: in containers, and on file systems that keep
//! neither owners nor modes.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use crate::common::fuse::{Fuse, Traits};
use crate::common::mounts::inside;
use crate::common::process::{MAKUOSAN, command, in_mount_namespace};
use crate::common::{Fleet, is_root, skip, tree};

/// What is said of the tree below where files cannot be given away.
const THEIRS: [&str; 3] = [
    "owner cannot be set: 4 entries h1",
    "group cannot be set: 4 entries h1",
    "permission bits cannot be set: 1 entry h1",
];

/// A tree of several owners and modes.
fn prepare(fleet: &Fleet) {
    for (at, owner, mode) in [
        ("dir/mine", 0, 0o640),
        ("dir/theirs", 1_000, 0o644),
        ("dir/setuid", 1_000, 0o4755),
        ("theirs/file", 1_000, 0o600),
        ("plain", 0, 0o644),
    ] {
        tree::write(fleet.path(0, at), at);
        chown(fleet.path(0, at), Some(owner), Some(owner)).unwrap();
        tree::set_mode(&fleet.path(0, at), mode);
    }
    chown(fleet.path(0, "theirs"), Some(1_000), Some(1_000)).unwrap();
}

/// Everything is there, in any case with its content and its time.
#[track_caller]
fn assert_contents(here: &Path, there: &Path) {
    for at in ["dir/mine", "dir/theirs", "dir/setuid", "theirs/file", "plain"] {
        let of = |base: &Path| {
            let meta = fs::metadata(base.join(at)).unwrap();
            (fs::read(base.join(at)).unwrap(), meta.mtime(), meta.mtime_nsec())
        };
        assert_eq!(of(here), of(there), "{at}");
    }
    let setuid = fs::metadata(there.join("dir/setuid")).unwrap();
    assert!(setuid.mode() & 0o6000 == 0 || setuid.uid() == 1_000, "a program of root's");
}

/// Sends twice: what cannot be set is one line for each kind, and the second time there is nothing to do.
#[track_caller]
fn assert_one_line_each(fleet: &Fleet, lines: &[&str]) {
    for files in [None, Some(0)] {
        let ran = fleet.msync(0, &["--json", "send", "-r"]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        for line in lines {
            assert!(ran.out.contains(&format!("\"error\":\"{line}\"")), "{line}: {ran:?}");
        }
        let total = ran.out.lines().last().unwrap_or_default();
        assert!(total.contains(&format!("\"errors\":{}", lines.len())), "{ran:?}");
        if let Some(files) = files {
            assert!(total.contains(&format!("\"files\":{files},")), "{ran:?}");
        }
    }
    let ran = fleet.msync(0, &["send", "-r"]);
    let expected: Vec<String> = lines.iter().map(|line| format!("error: {line}")).collect();
    assert_eq!((ran.code, ran.errors()), (Some(2), expected.iter().map(|l| &**l).collect()));
    let lax = fleet.msync(0, &["send", "-r", "--lax-attributes"]).well();
    for line in lines {
        assert!(lax.out.contains(&format!("warning: {line}")), "{lax:?}");
    }
    assert_eq!(lax.err, "", "{lax:?}");
    let dry = fleet.msync(0, &["send", "-rn"]).well();
    assert_eq!(dry.out, "", "nothing would be done: {dry:?}");
    fleet.msync(0, &["check", "-r"]).ok();
}

/// A fleet whose `h1` is started by `words` before the daemon's name.
fn fleet_by(name: &str, words: &[&str], prepare: impl FnOnce(&Fleet)) -> Option<Fleet> {
    if !is_root() {
        skip(name, "only root gives files away");
        return None;
    }
    let runs = Command::new(words[0]).args(&words[1..]).arg("true").status();
    if !runs.is_ok_and(|status| status.success()) {
        skip(name, &format!("{} does not run here", words.join(" ")));
        return None;
    }
    let mut fleet = Fleet::idle(name, 2);
    prepare(&fleet);
    let mut by = command(words[0]);
    by.args(&words[1..]).arg(MAKUOSAN);
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    Some(fleet)
}

fn without(caps: &str) -> [&str; 5] {
    ["setpriv", "--inh-caps", caps, "--bounding-set", caps]
}

#[test]
fn root_that_may_not_give_files_away_delivers_the_rest() {
    let Some(fleet) = fleet_by("no-chown", &without("-chown"), prepare) else { return };
    assert_one_line_each(&fleet, &THEIRS);
    assert_contents(&fleet.base(0), &fleet.base(1));
    let mode = |at| fs::metadata(fleet.path(1, at)).unwrap().mode() & 0o7777;
    assert_eq!((mode("dir/mine"), mode("theirs/file"), mode("dir/setuid")), (0o640, 0o600, 0o755));
}

#[test]
fn root_of_a_container_delivers_what_it_can() {
    let words = ["unshare", "--user", "--map-root-user"];
    let Some(fleet) = fleet_by("container", &words, prepare) else { return };
    assert_one_line_each(&fleet, &THEIRS);
    assert_contents(&fleet.base(0), &fleet.base(1));
}

#[test]
fn root_that_may_not_change_what_others_own_delivers_what_is_new() {
    let Some(fleet) = fleet_by("no-fowner", &without("-fowner"), prepare) else { return };
    let ran = fleet.msync(0, &["send", "-r"]);
    assert!(matches!(ran.code, Some(0 | 2)), "{ran:?}");
    assert_contents(&fleet.base(0), &fleet.base(1));
    let again = fleet.msync(0, &["--json", "send", "-r"]);
    assert_eq!(again.code, ran.code, "{again:?}");
    assert!(again.out.lines().last().unwrap().contains("\"files\":0,"), "{again:?}");
}

#[test]
fn root_that_may_not_make_devices_says_so_in_one_line() {
    let devices = |fleet: &Fleet| {
        for n in ["1", "2", "3"] {
            let made = Command::new("mknod").arg(fleet.path(0, n)).args(["c", "1", n]).status();
            assert!(made.unwrap().success());
        }
        tree::write(fleet.path(0, "file"), "x");
    };
    let Some(fleet) = fleet_by("no-mknod", &without("-mknod"), devices) else { return };
    for _ in 0..2 {
        let ran = fleet.msync(0, &["send", "-r"]);
        let line = "error: devices cannot be made: 3 entries h1";
        assert_eq!((ran.code, ran.errors()), (Some(2), vec![line]), "{ran:?}");
        assert!(fleet.path(1, "file").exists() && !fleet.path(1, "1").exists());
    }
    fleet.msync(0, &["send", "-r", "--lax-attributes"]).well();
}

#[test]
fn a_file_system_without_owners_and_modes_gets_everything_once() {
    if !is_root() {
        return skip("no owners and modes", "only root gives files away");
    }
    let mut fleet = Fleet::idle("no-modes", 2);
    prepare(&fleet);
    let traits = Traits { plain: true, grain: 2_000_000_000, ..Traits::default() };
    let Some(fuse) = Fuse::new("no-modes", traits) else { return };
    let mount = Fuse::mount("\"$1/h1\"");
    let Some(mut by) = in_mount_namespace("no-modes", &mount, fleet.dir()) else { return };
    fuse.input(&mut by);
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    let base = inside(&mut fleet, 1, "h1");
    // Times of which nothing is cut.
    for at in ["dir/mine", "dir/theirs", "dir/setuid", "theirs/file", "plain"] {
        tree::set_mtime(&fleet.path(0, at), 1_700_000_000, 0);
    }
    assert_one_line_each(
        &fleet,
        &[
            "owner cannot be set: 4 entries h1",
            "group cannot be set: 4 entries h1",
            "permission bits cannot be set: 5 entries h1",
        ],
    );
    assert_contents(&fleet.base(0), &base);
}
