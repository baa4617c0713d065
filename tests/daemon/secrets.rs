//! Files with secrets: who may own them, and who may read them.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use crate::common::process;
use crate::common::{Fleet, is_root, skip, tree};

/// A user who is neither root nor the daemon's.
const OTHER: u32 = 54_321;

#[track_caller]
fn assert_refused(fleet: &Fleet, option: &str, path: &Path, why: &str) {
    for extra in [&[][..], &["--check-config"]] {
        let options = [&[option, path.to_str().unwrap()], extra].concat();
        let ran = process::run(&mut fleet.command(0, &options));
        let line = format!("makuosan: {option} {}: {why}\n", path.display());
        assert_eq!((ran.code, ran.err, ran.out.as_str()), (Some(1), line, ""));
    }
}

#[test]
fn a_secret_that_others_can_read_or_write_is_none() {
    let mut fleet = Fleet::idle("secret-modes", 1);
    let path = fleet.dir().join("secret");
    tree::write(&path, "open sesame\n");
    for option in ["-k", "-K"] {
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o666] {
            tree::set_mode(&path, mode);
            let why = "its group or others can read or write it";
            assert_refused(&fleet, option, &path, &format!("{why} (mode {mode:04o}): chmod 600"));
        }
    }
    // To derive keys takes its time: one will do.
    for (option, mode) in [("-K", 0o600), ("-K", 0o400), ("-K", 0o700), ("-k", 0o600)] {
        tree::set_mode(&path, mode);
        fleet.start(0, &[option, path.to_str().unwrap()]);
        fleet.stop(0);
    }
}

#[test]
fn a_secret_that_somebody_else_has_put_there_is_none() {
    if !is_root() {
        return skip("owners of secrets", "only root gives files away");
    }
    let mut fleet = Fleet::idle("secret-owners", 1);
    let path = fleet.dir().join("secret");
    tree::write(&path, "open sesame\n");
    tree::set_mode(&path, 0o600);
    let name = path.to_str().unwrap().to_owned();
    chown(&path, Some(OTHER), None).unwrap();
    for option in ["-k", "-K"] {
        let why = format!(
            "belongs to user {OTHER}, neither root nor the daemon's user: chown it to one of them"
        );
        assert_refused(&fleet, option, &path, &why);
    }
    chown(fleet.base(0), Some(OTHER), None).unwrap();
    let user = OTHER.to_string();
    for (owner, option) in [(OTHER, "-k"), (OTHER, "-K"), (0, "-K")] {
        chown(&path, Some(owner), None).unwrap();
        fleet.start(0, &["-u", &user, option, &name]);
        fleet.stop(0);
    }
    // While it runs, too.
    fs::remove_dir_all(fleet.path(0, ".makuosan")).unwrap();
    fleet.start(0, &["-k", &name]);
    chown(&path, Some(OTHER), None).unwrap();
    fleet.daemon(0).signal("HUP");
    fleet.daemon(0).wait_for_log(&format!("-k {name}: belongs to user {OTHER}"));
    fleet.daemon(0).wait_for_log("the old keys stay in use");
}
