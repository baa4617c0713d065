//! Where what is kept of transfers goes: `--state`, `--no-catch-up`, and hosts that are not written to.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::common::process::{self, MAKUOSAN, command};
use crate::common::{Fleet, eventually, is_root, skip, tree};

/// A user who is neither root nor the daemon's.
const OTHER: u32 = 54_321;

/// How many transfers a host remembers.
fn remembered(fleet: &Fleet, at: usize) -> usize {
    fleet.msync(at, &["history"]).ok().out.lines().count() - 1
}

/// That a daemon does not start at `h0` with `--state dir`, nor says `--check-config` that it would, with
/// one line that ends so.
#[track_caller]
fn assert_refused(fleet: &Fleet, dir: &Path, options: &[&str], why: &str) {
    let dir = dir.to_str().unwrap();
    for extra in [&[][..], &["--check-config"]] {
        let ran =
            process::run(&mut fleet.command(0, &[options, &["--state", dir], extra].concat()));
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.err.starts_with("makuosan: --state "), "{ran:?}");
        assert!(ran.err.ends_with(&format!("{why}\n")), "{why} {ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    }
}

/// What `--check-config` says of records.
fn said(fleet: &Fleet, options: &[&str]) -> String {
    let ran = process::run(&mut fleet.command(0, &[options, &["--check-config"]].concat())).ok();
    let line = ran.out.lines().find_map(|line| line.strip_prefix("records : "));
    line.expect("a line").to_owned()
}

#[test]
fn what_is_kept_goes_where_state_says_and_is_there_after_a_restart() {
    let mut fleet = Fleet::idle("state-dir", 3);
    let dirs: Vec<PathBuf> = (0..3).map(|at| fleet.dir().join(format!("state{at}"))).collect();
    let state: Vec<&str> = dirs.iter().map(|dir| dir.to_str().unwrap()).collect();
    // The last one is only read from, and has nothing of the daemon's in its base directory.
    let options = [vec!["--state", state[0]], vec![], vec!["-r", "--state", state[2]]];
    tree::write(fleet.path(0, "d/f"), "x");
    tree::write(fleet.path(2, "g"), "x");
    for round in 0..2 {
        for (at, options) in options.iter().enumerate() {
            fleet.start(at, options);
        }
        fleet.wait_for_members();
        if round == 0 {
            fleet.msync(0, &["send", "-r", "-t", "h1", "d"]).ok();
            fleet.msync(2, &["send", "g"]).ok();
        }
        for (at, count) in [(0, 2), (1, 2), (2, 1)] {
            eventually("the records", || remembered(&fleet, at) == count);
        }
        (0..3).for_each(|at| fleet.kill(at));
    }
    for at in [0, 2] {
        let dir = fs::metadata(dirs[at].join("journal")).unwrap();
        assert!(dir.is_dir() && dir.mode() & 0o7777 == 0o700);
        assert!(fs::read_dir(dirs[at].join("journal")).unwrap().count() > 0);
    }
    assert!(!dirs[1].exists() && fleet.path(1, ".makuosan/journal").exists());
    assert!(!fleet.path(0, ".makuosan/journal").exists());
    assert!(!fleet.path(2, ".makuosan").exists());
}

#[test]
fn hosts_that_are_not_written_to_and_those_that_shall_not_keep_nothing() {
    let mut fleet = Fleet::idle("state-none", 4);
    let state = fleet.dir().join("state");
    let state = state.to_str().unwrap();
    let options: [&[&str]; 4] =
        [&["--no-catch-up"], &["-r"], &["-o"], &["--no-catch-up", "--state", state]];
    for (at, options) in options.iter().enumerate() {
        fleet.start(at, options);
        tree::write(fleet.path(at, format!("f{at}")), "x");
    }
    fleet.wait_for_members();
    for at in 0..4 {
        fleet
            .msync(at, &["send", "-t", ["h3", "h0"][usize::from(at == 3)], &format!("f{at}")])
            .ok();
    }
    assert!(fleet.path(3, "f0").exists() && fleet.path(0, "f3").exists());
    for at in 0..4 {
        assert!(!fleet.path(at, ".makuosan/journal").exists(), "h{at}");
    }
    assert!(!Path::new(state).exists());
}

#[test]
fn a_host_with_files_and_no_records_takes_what_was_sent_only_if_told_so() {
    let mut fleet = Fleet::idle("state-always", 5);
    let state = fleet.dir().join("state");
    for at in 0..2 {
        fleet.start(at, &[]);
    }
    fleet.wait_for_members();
    tree::write(fleet.path(0, "d/f"), "new");
    fleet.msync(0, &["send", "-r"]).ok();
    let options: [&[&str]; 3] = [
        &[],
        &["--catch-up", "always"],
        &["--catch-up", "always", "-r", "--state", state.to_str().unwrap()],
    ];
    for (at, options) in (2..5).zip(options) {
        tree::write(fleet.path(at, "own"), "x");
        fleet.start(at, options);
    }
    fleet.wait_for_members();
    eventually("what was sent", || fleet.path(3, "d/f").exists());
    assert!(fleet.path(3, "own").exists());
    // As late as that, the others have not got it.
    assert!(!fleet.path(2, "d").exists() && !fleet.path(4, "d").exists());
}

#[test]
fn a_check_says_where_it_goes() {
    let fleet = Fleet::idle("state-check", 1);
    let state = fleet.dir().join("state");
    let state = state.to_str().unwrap();
    for (options, want) in [
        (&[][..], "in .makuosan"),
        (&["--catch-up", "always"], "in .makuosan"),
        (&["--no-catch-up"], "none (--no-catch-up)"),
        (&["--no-catch-up", "--state", state], "none (--no-catch-up)"),
        (&["-r"], "none (-r without --state)"),
        (&["-o"], "none (-o without --state)"),
        (&["-o", "--state", state], &format!("in {state}")),
    ] {
        assert_eq!(said(&fleet, options), want);
    }
    assert!(!Path::new(state).exists());
    let ran = process::run(&mut fleet.command(0, &["--catch-up", "always", "--check-config"])).ok();
    assert!(ran.out.contains("options : foreground, catch-up always\n"), "{ran:?}");
    let help = process::run(command(MAKUOSAN).arg("--help")).ok().out;
    for option in ["--state DIR", "--no-catch-up", "--catch-up always"] {
        assert!(help.contains(option), "{option}: {help}");
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_and_not_touched() {
    let mut fleet = Fleet::idle("state-refused", 2);
    let dir = fleet.dir().join("state");
    assert_refused(&fleet, &dir.join("sub"), &[], "No such file or directory");
    tree::write(&dir, "precious");
    assert_refused(&fleet, &dir, &[], "is not a directory; move or remove it");
    assert_eq!(fs::read(&dir).unwrap(), b"precious");
    fs::remove_file(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    for mode in [0o770, 0o702, 0o777] {
        tree::set_mode(&dir, mode);
        assert_refused(&fleet, &dir, &[], &format!("(mode 0{mode:o}): chmod 700"));
    }
    tree::set_mode(&dir, 0o700);
    let outside = fleet.dir().join("outside");
    tree::write(outside.join("precious"), "precious");
    symlink(&outside, dir.join("journal")).unwrap();
    assert_refused(&fleet, &dir, &[], "is not a directory; move or remove it");
    fs::remove_file(dir.join("journal")).unwrap();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    // In the base directory it would be sent, and where files are staged it would be swept.
    let inside = "is in the base directory; only below its .makuosan could it be there";
    symlink(fleet.base(0), fleet.dir().join("way")).unwrap();
    for name in ["h0", "h0/sub", "way/sub", "h0/.makuosan", "h0/.makuosan/stage"] {
        let options = if name.ends_with("stage") { &[][..] } else { &["-r"] };
        assert_refused(&fleet, &fleet.dir().join(name), options, inside);
    }
    assert!(!fleet.path(0, "sub").exists());
    let chroot = process::run(&mut fleet.command(0, &["-c", "--state", "/s"]));
    assert_eq!(chroot.err, "makuosan: --state: cannot be used with -c\n");
    // Below .makuosan it can be, and two cannot share one.
    let below = fleet.path(0, ".makuosan/state");
    fleet.start(0, &["--state", below.to_str().unwrap()]);
    assert!(below.join("journal").exists());
    fleet.stop(0);
    let dir = dir.to_str().unwrap();
    fleet.start(1, &["--state", dir]);
    let ran = process::run(&mut fleet.command(0, &["--state", dir]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.err, format!("makuosan: --state {dir}/journal: is in use by another daemon\n"));
}

#[test]
fn it_belongs_to_the_daemons_user_or_to_root() {
    if !is_root() {
        return skip("owners of --state", "only root gives files away");
    }
    let mut fleet = Fleet::idle("state-user", 1);
    let (dir, user) = (fleet.dir().join("state"), OTHER.to_string());
    chown(fleet.base(0), Some(OTHER), None).unwrap();
    tree::set_mode(fleet.dir(), 0o755);
    // It is made for the user whom the daemon becomes.
    let options = ["-u", &user, "--state", dir.to_str().unwrap()];
    for _ in 0..2 {
        fleet.start(0, &options);
        fleet.stop(0);
        for made in [dir.clone(), dir.join("journal")] {
            let made = fs::metadata(made).unwrap();
            assert_eq!((made.uid(), made.mode() & 0o7777), (OTHER, 0o700));
        }
    }
    let denied = "Permission denied";
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    for mode in [0o755, 0o700] {
        tree::set_mode(&dir, mode);
        assert_refused(&fleet, &dir, &["-u", &user], denied);
    }
    chown(&dir, Some(OTHER + 1), None).unwrap();
    let whose = "neither root nor the daemon's user; move it away";
    let why = format!("belongs to user {}, {whose}", OTHER + 1);
    assert_refused(&fleet, &dir, &["-u", &user], &why);
    fs::remove_dir(&dir).unwrap();
    symlink(fleet.dir().join("elsewhere"), &dir).unwrap();
    std::os::unix::fs::lchown(&dir, Some(OTHER + 1), None).unwrap();
    assert_refused(&fleet, &dir, &["-u", &user], "it is not followed");
}
