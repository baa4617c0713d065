//! The file of figures: when it is written, for whom, and what is said if it cannot be.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::process::run;
use crate::common::{Fleet, eventually, is_root, skip, within};

/// Longer than from one time that it is written to the next.
const A_WHILE: Duration = Duration::from_secs(40);

/// The path of the file, in a directory of its own.
fn place(fleet: &Fleet) -> PathBuf {
    let dir = fleet.dir().join("textfile");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    dir.join("makuosan.prom")
}

/// What the file says of how many members there are.
fn members(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("makuosan_members ")).map(str::to_owned)
}

/// The names in the directory of the file.
fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn it_is_there_at_once_follows_what_happens_and_says_when_the_daemon_stops() {
    let mut fleet = Fleet::idle("metrics-file", 2);
    let path = place(&fleet);
    fleet.start(0, &["--metrics-file", path.to_str().unwrap()]);
    assert_eq!(members(&path).as_deref(), Some("0"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
    let shown = fleet.msync(0, &["metrics"]).ok().out;
    let written = fs::read_to_string(&path).unwrap();
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(lines(&written), lines(&shown));
    fleet.start(1, &[]);
    fleet.wait_for_members();
    within(A_WHILE, "a later file", || (members(&path).as_deref() == Some("1")).then_some(()));
    assert_eq!(names(&path), ["makuosan.prom"]);
    assert!(fleet.stop(0).success());
    let left = fs::read_to_string(&path).unwrap();
    assert!(left.ends_with("\nmakuosan_up 0\n") && members(&path).is_none(), "{left}");
    // Who was killed has no time to say so: the age of the file does.
    fleet.start(0, &["--metrics-file", path.to_str().unwrap()]);
    fleet.kill(0);
    assert!(fs::read_to_string(&path).unwrap().contains("\nmakuosan_up 1\n"));
}

#[test]
fn a_place_that_is_of_no_use_is_said_at_the_start_and_before_it() {
    let fleet = Fleet::idle("metrics-file-bad", 1);
    let path = place(&fleet);
    let dir = path.parent().unwrap();
    fs::create_dir(dir.join("d")).unwrap();
    let in_base = fleet.path(0, "makuosan.prom");
    let mut bad = vec![
        (dir.join("none/makuosan.prom"), "No such file or directory", &[][..]),
        (dir.join("d"), "is there and is not a regular file", &[]),
        ("/dev/null".into(), "is there and is not a regular file", &[]),
        (in_base, "is in the base directory, from where it would be sent", &[]),
    ];
    if is_root() {
        fs::set_permissions(fleet.base(0), fs::Permissions::from_mode(0o777)).unwrap();
        bad.push((path.clone(), "Permission denied", &["-u", "nobody"]));
    } else {
        skip("the directory of another user", "only root can be another one");
        bad.push(("/makuosan.prom".into(), "Permission denied", &[]));
    }
    for (path, why, options) in bad {
        for more in [&["--check-config"][..], &[]] {
            let path = path.to_str().unwrap();
            let options = [&["--metrics-file", path], options, more].concat();
            let ran = run(&mut fleet.command(0, &options));
            assert_eq!(ran.code, Some(1), "{options:?}: {ran:?}");
            let last = ran.err.lines().last().unwrap();
            assert!(last.contains("makuosan: --metrics-file ") && last.contains(why), "{ran:?}");
            assert!(last.contains(path), "{ran:?}");
        }
    }
    assert_eq!(names(&path), ["d"]);
    // Another user's daemon was here.
    let _ = fs::remove_dir_all(fleet.path(0, ".makuosan"));
    // What would do is shown, and nothing is written.
    let said =
        run(&mut fleet.command(0, &["--check-config", "--metrics-file", path.to_str().unwrap()]));
    assert!(said.ok().out.contains(&format!("\nmetrics : {}\n", path.display())));
    assert_eq!(names(&path), ["d"]);
}

#[test]
fn a_daemon_that_has_given_up_its_rights_writes_it_all_the_same() {
    if !is_root() {
        return skip("the file of a daemon with -u and -c", "only root can give up rights");
    }
    let mut fleet = Fleet::idle("metrics-file-rights", 2);
    let path = place(&fleet);
    chown(path.parent().unwrap(), Some(65_534), None).unwrap();
    for options in [&["-c"][..], &["-u", "nobody"], &["-u", "nobody", "-c"], &["-r"], &["-r", "-c"]]
    {
        for at in 0..2 {
            fs::set_permissions(fleet.base(at), fs::Permissions::from_mode(0o777)).unwrap();
        }
        fleet.start(0, &[options, &["--metrics-file", path.to_str().unwrap()]].concat());
        // The first one is written after they are given up.
        assert_eq!(members(&path).as_deref(), Some("0"), "{options:?}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        fleet.stop(0);
        assert!(fs::read_to_string(&path).unwrap().ends_with("\nmakuosan_up 0\n"), "{options:?}");
        assert_eq!(names(&path), ["makuosan.prom"]);
        fs::remove_file(&path).unwrap();
        let _ = fs::remove_dir_all(fleet.path(0, ".makuosan"));
    }
}

#[test]
fn a_file_that_cannot_be_written_any_more_is_one_line_of_the_log_until_it_can() {
    let mut fleet = Fleet::idle("metrics-file-stuck", 1);
    let path = place(&fleet);
    fleet.start(0, &["--metrics-file", path.to_str().unwrap()]);
    // Not even root can rename a file over a directory.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let lines = |fleet: &mut Fleet| -> Vec<String> {
        let log = fleet.daemon(0).log();
        let about = log.lines().filter(|line| line.contains(" --metrics-file "));
        about.map(|line| line.split_once(" --metrics-file ").unwrap().1.to_owned()).collect()
    };
    let shown = path.display().to_string();
    within(A_WHILE, "a line", || (!lines(&mut fleet).is_empty()).then_some(()));
    let first = lines(&mut fleet);
    let whys = ["Is a directory", "Permission denied"].map(|why| format!("{shown}: {why}"));
    assert!(first.len() == 1 && whys.contains(&first[0]), "{first:?}");
    // It is tried again, and not said again.
    let tried = fs::metadata(path.parent().unwrap()).unwrap().mtime_nsec();
    within(A_WHILE, "another try", || {
        (fs::metadata(path.parent().unwrap()).unwrap().mtime_nsec() != tried).then_some(())
    });
    assert_eq!(lines(&mut fleet).len(), 1);
    fs::remove_dir(&path).unwrap();
    within(A_WHILE, "the file", || members(&path));
    eventually("a second line", || lines(&mut fleet).len() == 2);
    assert_eq!(lines(&mut fleet)[1], format!("{shown}: is written again"));
    assert_eq!(names(&path), ["makuosan.prom"]);
}
