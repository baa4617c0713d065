//! The base directory is moved away, mounted over, removed or replaced while the daemon runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::common::process::{self, MAKUOSAN, command, in_mounts};
use crate::common::{Fleet, eventually, is_root, mounts::inside, skip, tree};

const REPLACED: &str = "base directory was replaced: restart makuosan";
const MISSING: &str = "base directory is not there";

/// A daemon on a kernel without Landlock. None, said aloud, if that cannot be had.
fn without_landlock(what: &str) -> Option<Command> {
    // Loads the number of the call; ENOSYS for those of Landlock (444 to 446), else allowed.
    let code = "import ctypes, os, struct, sys\n\
        ins = lambda *a: struct.pack('HBBI', *a)\n\
        code = (ins(0x20, 0, 0, 0) + ins(0x35, 0, 2, 444) + ins(0x25, 1, 0, 446)\n\
            + ins(0x06, 0, 0, 0x50000 | 38) + ins(0x06, 0, 0, 0x7fff0000))\n\
        buf = ctypes.create_string_buffer(code, len(code))\n\
        prog = struct.pack('HP', 5, ctypes.addressof(buf))\n\
        call = ctypes.CDLL(None, use_errno=True).prctl\n\
        if call(38, 1, 0, 0, 0) or call(22, 2, prog, 0, 0): sys.exit('no seccomp')\n\
        os.execvp(sys.argv[1], sys.argv[1:])";
    let filtered = |program: &str| {
        let mut python = command("python3");
        python.args(["-c", code, program]);
        python
    };
    let probe = filtered("true").output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        skip(what, "no python3 with seccomp");
        return None;
    }
    Some(filtered(MAKUOSAN))
}

/// Two hosts, `h0` with a file `f`; without Landlock.
fn free_fleet(name: &str) -> Option<Fleet> {
    let mut fleet = Fleet::idle(name, 2);
    tree::write(fleet.path(0, "f"), "old");
    for at in 0..2 {
        fleet.start_by(without_landlock(name)?, at, &[]);
    }
    fleet.wait_for_members();
    Some(fleet)
}

/// Two hosts, one of them held to its first base directory, by Landlock or by a chroot. None, said aloud,
/// if that cannot be had.
fn held_fleet(name: &str, held: usize, chroot: bool) -> Option<Fleet> {
    if chroot && !is_root() {
        skip(name, "only root may change its root directory");
        return None;
    }
    let mut fleet = Fleet::idle(name, 2);
    tree::write(fleet.path(0, "f"), "old");
    fleet.start(held, if chroot { &["-c"] } else { &[] });
    fleet.start(1 - held, &[]);
    fleet.wait_for_members();
    if !chroot && !fleet.console(held).ask("status").contains("Landlock") {
        skip(name, "this kernel has no Landlock");
        return None;
    }
    Some(fleet)
}

/// `mv www www.old; mv www.new www`, with a file `f` in the new one.
fn replace(base: &Path, content: &str) {
    let beside = |end: &str| base.with_extension(end);
    tree::write(beside("new").join("f"), content);
    let _ = fs::remove_dir_all(beside("old"));
    fs::rename(base, beside("old")).unwrap();
    fs::rename(beside("new"), base).unwrap();
}

/// That `h0` cannot send for a reason that it says of `host`.
#[track_caller]
fn assert_refused(fleet: &Fleet, host: &str, why: &str) {
    for args in [
        &["send", "-r"][..],
        &["send", "f"],
        &["send", "-rn", "--delete", "--force"],
        &["sync", "f"],
        &["sync", "gone"],
        &["dsync", "-r", "--force"],
        &["check", "-r"],
    ] {
        let ran = fleet.msync(0, args);
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        let line = ran.errors().into_iter().find(|line| line.contains(why));
        assert!(line.is_some_and(|line| line.contains(host)), "{args:?}: {ran:?}");
    }
    let ran = fleet.msync(0, &["--json", "send", "-r"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.out.contains(why) && ran.out.contains("\"base_"), "{ran:?}");
    assert!(ran.out.contains(&format!("\"host\":\"{host}\"")), "{ran:?}");
}

#[test]
fn what_is_sent_is_what_is_there_now() {
    let Some(mut fleet) = free_fleet("base-sender") else { return };
    fleet.msync(0, &["send", "-r"]).well();
    replace(&fleet.base(0), "new, with another length");
    fleet.msync(0, &["send", "-r"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    let base = fleet.base(0);
    fleet.daemon(0).wait_for_log(&format!("base directory {} was replaced", base.display()));
    fleet.msync(0, &["check", "-r"]).well();
    // And back: the one that was first.
    fs::rename(fleet.base(0), fleet.dir().join("h0.newest")).unwrap();
    fs::rename(fleet.dir().join("h0.old"), fleet.base(0)).unwrap();
    fleet.msync(0, &["send", "-r", "--delete"]).well();
    assert_eq!(fs::read(fleet.path(1, "f")).unwrap(), b"old");
}

#[test]
fn what_arrives_goes_where_the_path_leads_now() {
    let Some(mut fleet) = free_fleet("base-target") else { return };
    fleet.msync(0, &["send", "-r"]).well();
    replace(&fleet.base(1), "of another length");
    let ran = fleet.msync(0, &["check", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    tree::write(fleet.path(0, "d/g"), "more");
    fleet.msync(0, &["send", "-r"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    assert!(fleet.path(1, ".makuosan/made-by-makuosan").exists());
    assert!(!fleet.dir().join("h1.old/d").exists());
    let base = fleet.base(1);
    fleet.daemon(1).wait_for_log(&format!("base directory {} was replaced", base.display()));
    // No other daemon can have the new one, and one can have the old one.
    let ran = process::run(&mut fleet.command(1, &["-p", "1"]));
    assert!(ran.err.contains("another daemon has this base directory"), "{ran:?}");
    let old = fleet.dir().join("h1.old");
    let third = fleet.idle_host();
    fleet.start(third, &["-b", old.to_str().unwrap()]);
}

#[test]
fn a_disk_that_is_mounted_after_the_start_gets_the_files() {
    let name = "base-mounted";
    let mut fleet = Fleet::idle(name, 2);
    if !is_root() {
        return skip(name, "only root enters a namespace of mounts");
    }
    let Some(by) = in_mounts(name, ":", fleet.dir()) else { return };
    let Some(free) = without_landlock(name) else { return };
    let mut joined = command("unshare");
    joined.args(by.get_args().take(by.get_args().len() - 1));
    joined.arg(free.get_program()).args(free.get_args());
    tree::write(fleet.path(0, "f"), "content");
    fleet.start(0, &[]);
    fleet.start_by(joined, 1, &[]);
    fleet.wait_for_members();
    fleet.msync(0, &["send", "-r"]).well();
    let pid = fleet.daemon(1).pid().to_string();
    let in_its = |words: &[&str]| {
        let mut enter = command("nsenter");
        enter.args(["-t", &pid, "-m"]).args(words).arg(fleet.base(1));
        process::run(&mut enter).ok()
    };
    in_its(&["mount", "-t", "tmpfs", "tmpfs"]);
    fleet.msync(0, &["send", "-r"]).well();
    in_its(&["mountpoint"]);
    let base = inside(&mut fleet, 1, "h1");
    tree::assert_equal_dirs(&fleet.base(0), &base);
    // The same directory once more, by another mount.
    let twice = fleet.base(1).display().to_string();
    let mut enter = command("nsenter");
    enter.args(["-t", &pid, "-m", "mount", "--bind", &twice, &twice]);
    process::run(&mut enter).ok();
    tree::write(fleet.path(0, "g"), "content");
    fleet.msync(0, &["send", "-r"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &base);
}

#[test]
fn a_daemon_that_is_held_to_the_old_one_says_that_it_has_to_be_restarted() {
    for (held, chroot) in [(0, false), (0, true), (1, false), (1, true)] {
        let name = format!("base-held-{held}-{chroot}");
        let Some(mut fleet) = held_fleet(&name, held, chroot) else { continue };
        let host = format!("h{held}");
        fleet.msync(0, &["send", "-r"]).well();
        replace(&fleet.base(held), "of another length");
        assert_refused(&fleet, &host, REPLACED);
        assert_eq!(fs::read(fleet.path(1, "f")).unwrap().len(), if held == 0 { 3 } else { 17 });
        fleet.daemon(held).wait_for_log(REPLACED);
        let said = format!("/{host}: {REPLACED}");
        assert_eq!(fleet.daemon(held).log().matches(&said).count(), 1, "said once");
        let status = fleet.console(held).ask("status");
        assert!(status.contains(&format!("\nrefusing: {REPLACED}\n")), "{status}");
        let status = fleet.msync(held, &["--json", "status"]).ok().out;
        assert!(status.contains(&format!("\"basedir_error\":\"{REPLACED}\"")), "{status}");
        assert!(fleet.members(1 - held) == [host.clone()]);
        // It comes back.
        fs::rename(fleet.base(held), fleet.dir().join("newest")).unwrap();
        assert_refused(&fleet, &host, MISSING);
        fs::rename(fleet.base(held).with_extension("old"), fleet.base(held)).unwrap();
        fleet.msync(0, &["send", "-r"]).well();
        let status = fleet.console(held).ask("status");
        assert!(!status.contains("refusing"), "{status}");
        // Restarting is what helps.
        replace(&fleet.base(held), "of yet another length");
        assert_refused(&fleet, &host, REPLACED);
        fleet.stop(held);
        fleet.start(held, if chroot { &["-c"] } else { &[] });
        fleet.wait_for_members();
        fleet.msync(0, &["send", "-r"]).well();
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    }
}

#[test]
fn what_is_no_directory_any_more_is_neither_sent_nor_written() {
    for at in 0..2 {
        let Some(mut fleet) = free_fleet("base-gone") else { return };
        let (base, host) = (fleet.base(at), format!("h{at}"));
        let away = fleet.dir().join("away");
        fs::rename(&base, &away).unwrap();
        assert_refused(&fleet, &host, MISSING);
        tree::write(&base, "a file");
        assert_refused(&fleet, &host, MISSING);
        fs::remove_file(&base).unwrap();
        symlink("nowhere", &base).unwrap();
        assert_refused(&fleet, &host, MISSING);
        fs::remove_file(&base).unwrap();
        // A link to a directory is one, as at the start.
        symlink("away", &base).unwrap();
        fleet.msync(0, &["send", "-r"]).well();
        fs::remove_file(&base).unwrap();
        fs::remove_dir_all(&away).unwrap();
        assert_refused(&fleet, &host, MISSING);
        fs::create_dir(&base).unwrap();
        tree::write(base.join("f"), "made anew");
        fleet.msync(0, &["send", "-r"]).well();
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
        let log = fleet.daemon(at).log();
        assert!(log.contains(&format!("{MISSING} (No such file or directory)")), "{log}");
        assert!(log.contains(&format!("{MISSING} (Not a directory)")), "{log}");
    }
}

#[test]
fn a_link_on_the_way_to_it_may_lead_elsewhere() {
    for (at, held) in [(0, false), (1, false), (0, true), (1, true)] {
        let name = format!("base-link-{at}-{held}");
        let mut fleet = Fleet::idle(&name, 2);
        tree::write(fleet.dir().join("release1/www/f"), "1");
        tree::write(fleet.dir().join("release2/www/f"), "of another length");
        symlink("release1", fleet.dir().join("current")).unwrap();
        tree::write(fleet.path(1 - at, "f"), "something else");
        let path = fleet.dir().join("current/www").display().to_string();
        match held {
            true => fleet.start(at, &["-b", &path]),
            false => {
                let Some(by) = without_landlock(&name) else { return };
                fleet.start_by(by, at, &["-b", &path]);
            }
        }
        fleet.start(1 - at, &[]);
        fleet.wait_for_members();
        if held && !fleet.console(at).ask("status").contains("Landlock") {
            return skip(&name, "this kernel has no Landlock");
        }
        fleet.msync(0, &["send", "-r"]).well();
        symlink("release2", fleet.dir().join("next")).unwrap();
        fs::rename(fleet.dir().join("next"), fleet.dir().join("current")).unwrap();
        if held {
            assert_refused(&fleet, &format!("h{at}"), REPLACED);
            continue;
        }
        fleet.msync(0, &["send", "-r"]).well();
        tree::assert_equal_dirs(&fleet.dir().join("release2/www"), &fleet.base(1 - at));
        let status = fleet.console(at).ask("status");
        assert!(status.contains("release2/www/\n"), "{status}");
        assert!(fs::read(fleet.dir().join("release1/www/f")).unwrap().len() <= 14);
    }
}

#[test]
fn a_user_who_cannot_see_the_path_is_told_all_the_same() {
    let name = "base-unseen";
    if !is_root() {
        return skip(name, "only root runs daemons of other users");
    }
    for options in [&["-u", "nobody"][..], &["-u", "nobody", "-c"]] {
        let mut fleet = Fleet::idle(name, 2);
        let inner = fleet.path(0, "private/www");
        tree::write(inner.join("f"), "old");
        tree::set_mode(&fleet.path(0, "private"), 0o700);
        let nobody = process::run(command("id").args(["-u", "nobody"])).ok().out;
        std::os::unix::fs::chown(&inner, Some(nobody.trim().parse().unwrap()), None).unwrap();
        let path = inner.display().to_string();
        fleet.start(0, &[&["-b", &path][..], options].concat());
        fleet.start(1, &[]);
        fleet.wait_for_members();
        fleet.msync(0, &["send", "-r"]).well();
        replace(&inner, "of another length");
        assert_refused(&fleet, "h0", REPLACED);
        let pid = fleet.daemon(0).pid();
        fleet.stop(0);
        eventually("no process left", || !process::is_alive(pid));
    }
}

#[test]
fn a_new_one_that_is_not_the_daemons_to_write_in_is_refused() {
    let Some(mut fleet) = free_fleet("base-theirs") else { return };
    fleet.msync(0, &["send", "-r"]).well();
    let new = fleet.dir().join("h1.new");
    tree::write(new.join(".makuosan/notes"), "precious");
    replace(&fleet.base(1), "of another length");
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains(".makuosan there is not the daemon's"), "{ran:?}");
    assert_eq!(fs::read(fleet.path(1, ".makuosan/notes")).unwrap(), b"precious");
    assert_eq!(fs::read(fleet.path(1, "f")).unwrap().len(), 17);
    fs::remove_dir_all(fleet.path(1, ".makuosan")).unwrap();
    fleet.msync(0, &["send", "-r"]).well();
    // One in which another daemon works.
    let third = fleet.idle_host();
    fleet.start(third, &[]);
    fs::rename(fleet.base(1), fleet.dir().join("away")).unwrap();
    symlink(format!("h{third}"), fleet.base(1)).unwrap();
    tree::write(fleet.path(0, "f"), "newest");
    let ran = fleet.msync(0, &["-t", "h1", "send", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains(".makuosan there is not the daemon's"), "{ran:?}");
    assert!(!fleet.path(third, "f").exists());
    fleet.stop(third);
    fleet.msync(0, &["send", "-r"]).well();
    assert!(fleet.path(third, "f").exists());
}

#[test]
fn a_transfer_that_runs_meanwhile_says_that_it_has_to_be_sent_again() {
    let Some(mut fleet) = free_fleet("base-meanwhile") else { return };
    fleet.stop(0);
    fleet.start(0, &["-T", "100"]);
    fleet.wait_for_members();
    for n in 0..400 {
        tree::write(fleet.path(0, format!("d/{n}")), vec![b'x'; 100_000]);
    }
    let sending = fleet.msync_start(0, &["send", "-r"]);
    eventually("some files", || fleet.path(1, "d/5").exists());
    replace(&fleet.base(1), "of another length");
    let ran = sending.end();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("replaced during the transfer: send again h1"), "{ran:?}");
    assert!(!fleet.path(1, "d").exists());
    fleet.msync(0, &["send", "-r"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    fleet.wait_until_clean(crate::common::LONG);
}
