//! Starts that are dangerous: what is warned of, and which symbolic links are not followed.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
use std::path::Path;

use crate::common::place::TempDir;
use crate::common::process::{self, MAKUOSAN, Ran, command, is_alive};
use crate::common::sandbox::Sandbox;
use crate::common::{Fleet, eventually, is_root, skip, tree};

/// A user who is neither root nor the daemon's.
const OTHER: u32 = 54_321;

/// The lines that warn.
fn warnings(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.contains("warning")).collect()
}

#[track_caller]
fn checked(options: &[&str]) -> String {
    process::run(command(MAKUOSAN).arg("--check-config").args(options)).ok().out
}

#[test]
fn root_is_warned_of_an_open_network() {
    if !is_root() {
        return skip("a warning", "only root is warned");
    }
    let dir = TempDir::new("hazards-net");
    let base = dir.path().to_str().unwrap();
    let key = dir.path().join("key");
    process::run(command(MAKUOSAN).arg("--genkey").arg(&key)).ok();
    let key = key.to_str().unwrap();
    let warned = |options: &[&str]| {
        let text = checked(&[&["-b", base], options].concat());
        let lines = warnings(&text);
        assert!(lines.len() <= 1, "{text}");
        lines.first().map(|line| (*line).to_owned())
    };
    for options in [&[][..], &["-i", "0.0.0.0"], &["-g", "root"], &["-u", "root"], &["-s"]] {
        let line = warned(options).unwrap_or_else(|| panic!("{options:?}"));
        for word in ["root", "without a key", "can write and delete any file below", base, "-k"] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
    // It can still learn what is sent.
    assert!(warned(&["-r"]).unwrap().contains("can get what is sent"));
    for options in
        [&["-k", key][..], &["-i", "127.0.0.5"], &["-u", "nobody"], &["-r", "-s"], &["-o", "-s"]]
    {
        assert_eq!(warned(options), None, "{options:?}");
    }
}

#[test]
fn root_is_warned_of_a_base_directory_with_system_files() {
    if !is_root() {
        return skip("a warning", "only root is warned");
    }
    let dir = TempDir::new("hazards-base");
    let link = dir.path().join("link");
    symlink("/etc", &link).unwrap();
    let link = link.to_str().unwrap();
    for base in ["/", "/etc", "/usr", "/usr/", "/etc/..", "/usr/bin", "/root", "/var", link] {
        let text = checked(&["-b", base, "-i", "127.0.0.5"]);
        let lines = warnings(&text);
        assert_eq!(lines.len(), 1, "{base}: {text}");
        assert!(lines[0].contains("can become root on this host"), "{text}");
        // Both together are one line.
        let text = checked(&["-b", base]);
        let lines = warnings(&text);
        assert_eq!(lines.len(), 1, "{base}: {text}");
        assert!(lines[0].contains("without a key") && lines[0].contains("become root"), "{text}");
        assert_eq!(warnings(&checked(&["-b", base, "-u", "nobody", "-r"])), [""; 0]);
    }
    let text = checked(&["-b", "/etc", "-i", "127.0.0.5", "-r"]);
    assert!(warnings(&text)[0].contains("secret ones too"), "{text}");
    for base in [dir.path().to_str().unwrap(), "/tmp", "/srv"] {
        assert_eq!(warnings(&checked(&["-b", base, "-i", "127.0.0.5"])), [""; 0], "{base}");
    }
}

#[test]
fn a_start_warns_in_one_line_and_goes_on() {
    let dir = TempDir::new("hazards-start");
    let mount = "mkdir /srv/base /srv/etc; mount --bind /etc /srv/etc";
    let Some(sandbox) = Sandbox::new("a warning", dir.path(), mount) else { return };
    for (base, options, word) in [
        ("/srv/base", "-d 0", Some("without a key")),
        ("/etc", "-i 127.0.0.5", Some("become root")),
        ("/srv/etc", "-i 127.0.0.5", Some("become root")),
        ("/srv/base", "-i 127.0.0.5", None),
    ] {
        let start = format!("{MAKUOSAN} -b {base} {options} --pidfile /run/pid");
        let ran = sandbox.sh(&format!("{start}; kill $(cat /run/pid)"));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let lines = warnings(&ran.err);
        assert_eq!(lines.len(), usize::from(word.is_some()), "{ran:?}");
        assert!(word.is_none_or(|word| lines[0].contains(word)), "{ran:?}");
        sandbox.sh("while [ -e /run/pid ]; do sleep 0.01; done");
    }
}

/// That nothing starts, and that a check says the same, because of this link of [`OTHER`].
#[track_caller]
fn assert_refused(fleet: &Fleet, options: &[&str], link: &Path) {
    for extra in [&[][..], &["--check-config"]] {
        let ran: Ran = process::run(&mut fleet.command(0, &[options, extra].concat()));
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        let (option, path) = (options[options.len() - 2], options[options.len() - 1]);
        let why = format!("the symbolic link {} belongs to user {OTHER}", link.display());
        let start = format!("makuosan: {option} {path}: {why}");
        assert!(ran.err.starts_with(&start) && ran.err.lines().count() == 1, "{start}: {ran:?}");
    }
}

#[test]
fn a_link_of_somebody_elses_is_not_followed_by_any_option() {
    if !is_root() {
        return skip("links of other users", "only root gives links away");
    }
    let mut fleet = Fleet::idle("hazards-links", 1);
    let dir = fleet.dir().to_owned();
    tree::write(dir.join("real/key"), "a good key\n");
    tree::set_mode(&dir.join("real/key"), 0o600);
    fs::create_dir(dir.join("real/base")).unwrap();
    // A directory of the other user's, as his home would be, with a link of his.
    fs::create_dir(dir.join("home")).unwrap();
    chown(dir.join("home"), Some(OTHER), None).unwrap();
    let link = dir.join("home/link");
    symlink("../real", &link).unwrap();
    lchown(&link, Some(OTHER), None).unwrap();
    // And one of root's that leads through it.
    symlink("home/link", dir.join("over")).unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let paths = || tree::snapshot(&dir).into_keys().collect::<Vec<_>>();
    let before = paths();
    for way in ["home/link", "over", "home/../home/link", "real/../over"] {
        for (option, name) in
            [("-b", "base"), ("-k", "key"), ("-K", "key"), ("--pidfile", "pid"), ("-U", "sock")]
        {
            assert_refused(&fleet, &[option, &path(&format!("{way}/{name}"))], &link);
        }
        assert_refused(&fleet, &["-b", &path(way)], &link);
    }
    // A link in the last place.
    for (option, name) in [("-b", "home/base"), ("-k", "home/key"), ("-K", "home/key")] {
        symlink(name.replace("home", "../real"), dir.join(name)).unwrap();
        lchown(dir.join(name), Some(OTHER), None).unwrap();
        assert_refused(&fleet, &[option, &path(name)], &dir.join(name));
        fs::remove_file(dir.join(name)).unwrap();
    }
    let refused = |options: &[&str]| {
        let ran = process::run(&mut fleet.command(0, options));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.err
    };
    for option in ["--pidfile", "-U"] {
        symlink("../real/new", dir.join("home/new")).unwrap();
        lchown(dir.join("home/new"), Some(OTHER), None).unwrap();
        assert!(refused(&[option, &path("home/new")]).contains(&path("home/new")));
        fs::remove_file(dir.join("home/new")).unwrap();
    }
    let line = process::run(command(MAKUOSAN).args(["--genkey", &path("home/link/made")])).err;
    assert!(line.contains(&format!("symbolic link {}", link.display())), "{line}");
    assert_eq!(paths(), before);
    // His own are followed by a daemon that runs as him, and root's by all.
    chown(dir.join("real/key"), Some(OTHER), None).unwrap();
    chown(dir.join("real/base"), Some(OTHER), None).unwrap();
    let base = path("over/base");
    let user = OTHER.to_string();
    fleet.start(0, &["-u", &user, "-k", &path("home/link/key"), "-b", &base]);
    fleet.stop(0);
    lchown(&link, Some(0), None).unwrap();
    fs::remove_dir_all(dir.join("real/base/.makuosan")).unwrap();
    chown(dir.join("real/key"), Some(0), None).unwrap();
    fleet.start(0, &["-k", &path("home/link/key"), "-b", &base, "--pidfile", &path("over/pid")]);
    assert!(dir.join("real/pid").exists());
    fleet.stop(0);
}

#[test]
fn sighup_does_not_follow_a_link_that_has_come_since() {
    if !is_root() {
        return skip("links of other users", "only root gives links away");
    }
    let mut fleet = Fleet::idle("hazards-hup", 1);
    let key = fleet.dir().join("key");
    tree::write(&key, "a good key\n");
    tree::set_mode(&key, 0o600);
    fleet.start(0, &["-k", key.to_str().unwrap()]);
    fs::rename(&key, fleet.dir().join("other")).unwrap();
    symlink("other", &key).unwrap();
    lchown(&key, Some(OTHER), None).unwrap();
    fleet.daemon(0).signal("HUP");
    fleet.daemon(0).wait_for_log(&format!("the symbolic link {}", key.display()));
    fleet.daemon(0).wait_for_log("the old keys stay in use");
    // Of its own or root's it is.
    lchown(&key, Some(0), None).unwrap();
    fleet.daemon(0).signal("HUP");
    fleet.daemon(0).wait_for_log("key file reloaded: no change");
}

#[test]
fn a_chroot_is_the_base_directory_whatever_became_of_its_path() {
    if !is_root() {
        return skip("-c", "only root may chroot");
    }
    let mut fleet = Fleet::idle("hazards-chroot", 1);
    symlink(fleet.base(0), fleet.dir().join("link")).unwrap();
    fleet.start(0, &["-c", "-b", fleet.dir().join("link").to_str().unwrap()]);
    let root = fs::metadata(format!("/proc/{}/root", fleet.daemon(0).pid())).unwrap();
    assert_eq!(root.ino(), fs::metadata(fleet.base(0)).unwrap().ino());
    let pid = fleet.daemon(0).pid();
    // No descriptor of a directory leads out of it.
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let Ok(to) = fs::read_link(entry.path()) else { continue };
        assert!(to.starts_with(fleet.base(0)) || !to.is_dir(), "{}", to.display());
    }
    fleet.stop(0);
    eventually("its end", || !is_alive(pid));
}
