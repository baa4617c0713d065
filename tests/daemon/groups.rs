//! `send -g GROUP`: who may name which group, and what becomes of the mode.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::common::process::{MSYNC, Ran, command, run};
use crate::common::{Fleet, is_root, skip, tree};

/// A user without an entry in any database, its group, and another one.
const USER: u32 = 234_567;
const GROUP: u32 = 234_568;
const OTHER: u32 = 234_569;

/// A copy of `msync` that every user can execute.
fn msync(fleet: &Fleet) -> PathBuf {
    let copy = fleet.dir().join("msync");
    fs::copy(MSYNC, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(fleet.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

/// Runs it as another user, with these groups.
fn run_as(msync: &Path, uid: u32, groups: &[u32], args: &[&str]) -> Ran {
    let list = groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut setpriv = command("setpriv");
    setpriv.args(["--reuid", &uid.to_string(), "--regid", &groups[0].to_string()]);
    setpriv.args(["--groups", &list, "--"]).arg(msync).args(args).current_dir("/");
    run(&mut setpriv)
}

/// Two hosts, the first with a console at a Unix socket for everybody, and in its base directory what
/// root has, what the user has, and what a group of the user has.
fn fleet(name: &str) -> Option<(Fleet, PathBuf, String)> {
    if !is_root() {
        skip("-g by other users", "only root can become another user");
        return None;
    }
    let mut fleet = Fleet::idle(name, 2);
    let socket = fleet.dir().join("sock").to_str().unwrap().to_owned();
    let tcp = fleet.address(0).to_string();
    fleet.start(0, &["-U", &socket, "-l", &tcp]);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    for (name, uid, gid, mode) in [
        ("of-root", 0, 0, 0o640),
        ("of-user", USER, USER, 0o4640),
        ("of-group", 0, GROUP, 0o660),
        ("program", 0, 0, 0o6755),
    ] {
        let path = fleet.path(0, format!("d/{name}"));
        tree::write(&path, "x");
        std::os::unix::fs::chown(&path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(fleet.path(0, "d"), fs::Permissions::from_mode(0o2775)).unwrap();
    let copy = msync(&fleet);
    Some((fleet, copy, socket))
}

/// Group and mode on the receiver of `d`, `d/of-root`, `d/of-user`, `d/of-group`, `d/program`.
fn arrived(fleet: &Fleet) -> Vec<(u32, u32)> {
    let names = ["d", "d/of-root", "d/of-user", "d/of-group", "d/program"];
    let meta = names.map(|name| fs::metadata(fleet.path(1, name)).unwrap());
    meta.iter().map(|meta| (meta.gid(), meta.mode() & 0o7777)).collect()
}

#[test]
fn a_user_names_only_groups_of_its_own_and_gives_them_no_more_than_it_could() {
    let Some((fleet, msync, socket)) = fleet("groups-user") else { return };
    for more in [&[][..], &["-n"], &["--delete"], &["--sync"]] {
        for group in ["shadow", "0", &OTHER.to_string()] {
            let args = [&["-c", &socket, "--json", "-g", group, "-r", "d"], more].concat();
            let ran = run_as(&msync, USER, &[USER, GROUP], &args);
            assert_eq!(ran.code, Some(2), "{group} {ran:?}");
            let words =
                format!("error: -g {group}: the user {USER} does not belong to this group\n");
            assert_eq!(ran.err, words);
            assert!(ran.out.contains("\"code\":\"not_your_group\""), "{ran:?}");
        }
    }
    assert!(!fleet.path(1, "d").exists());
    for group in [GROUP, OTHER] {
        let args = ["-c", &socket, "-g", &group.to_string(), "-r", "d"];
        run_as(&msync, USER, &[USER, GROUP, OTHER], &args).ok();
        let modes = [0o755, 0o600, 0o640, 0o660, 0o755].map(|mode| (group, mode));
        assert_eq!(arrived(&fleet), modes);
    }
    // Who is not even in the group of a file gives nobody a share in it.
    run_as(&msync, USER, &[USER], &["-c", &socket, "-g", &USER.to_string(), "-r", "d"]).ok();
    let modes = [0o755, 0o600, 0o640, 0o600, 0o755].map(|mode| (USER, mode));
    assert_eq!(arrived(&fleet), modes);
}

#[test]
fn root_names_any_group_and_no_set_id_bits_come_with_it() {
    let Some((fleet, _, socket)) = fleet("groups-root") else { return };
    let modes = |gid| [0o775, 0o640, 0o640, 0o660, 0o755].map(|mode| (gid, mode)).to_vec();
    fleet.msync(0, &["-c", &socket, "-g", "7654", "-r", "d"]).ok();
    assert_eq!(arrived(&fleet), modes(7_654));
    fleet.msync(0, &["-g", "7655", "-r", "d"]).ok();
    assert_eq!(arrived(&fleet), modes(7_655));
    // A single file, and one that is there already, with the bits.
    fleet.msync(0, &["-r", "d"]).ok();
    assert_eq!(arrived(&fleet)[4], (0, 0o6755));
    fleet.msync(0, &["-g", "7656", "d/program"]).ok();
    assert_eq!(arrived(&fleet)[4], (7_656, 0o755));
    // Nothing is left to do.
    let (_, total) = fleet.console(0).send("send -g 7656 d/program");
    assert_eq!((total.files, total.unchanged, total.errors), (0, 1, 0), "{total:?}");
}

#[test]
fn on_loopback_tcp_the_owner_of_the_socket_is_who_asks() {
    let Some((fleet, msync, _)) = fleet("groups-tcp") else { return };
    let group = fs::read_to_string("/etc/passwd").unwrap().lines().find_map(|line| {
        let words: Vec<&str> = line.split(':').collect();
        (words[0] == "nobody").then(|| [words[2], words[3]].map(|id| id.parse::<u32>().unwrap()))
    });
    let Some([nobody, own]) = group else { return skip("-g by nobody", "there is no nobody") };
    let target = fleet.target(0);
    // The groups of the process do not matter here: those of the database do.
    for (uid, group) in [(nobody, "0"), (nobody, "shadow"), (USER, "234568")] {
        let args = ["-c", &target, "--json", "-g", group, "-r", "d"];
        let ran = run_as(&msync, uid, &[own, GROUP], &args);
        assert!(ran.out.contains("\"code\":\"not_your_group\""), "{ran:?}");
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
    assert!(!fleet.path(1, "d").exists());
    let args = ["-c", &target, "-g", &own.to_string(), "-r", "d"];
    run_as(&msync, nobody, &[own], &args).ok();
    assert_eq!(arrived(&fleet)[1], (own, 0o600));
    // Without -g everybody sends what there is.
    run_as(&msync, USER, &[USER], &["-c", &target, "-r", "d"]).ok();
    assert_eq!(arrived(&fleet)[1], (0, 0o640));
}

#[test]
fn in_a_chroot_no_database_below_the_base_makes_anybody_a_member() {
    if !is_root() {
        return skip("-g in a chroot", "only root can");
    }
    let mut fleet = Fleet::idle("groups-chroot", 2);
    // What would be read if the paths meant what they mean outside.
    tree::write(fleet.path(0, "etc/passwd"), "me:x:234567:234567::/:/bin/sh\n");
    tree::write(fleet.path(0, "etc/group"), "wheel:x:4242:me\nme:x:234567:\n");
    tree::write(fleet.path(0, "f"), "x");
    fleet.start(0, &["-c"]);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    let msync = msync(&fleet);
    let target = fleet.target(0);
    for group in ["4242", "234567"] {
        let ran = run_as(&msync, USER, &[USER], &["-c", &target, "-g", group, "f"]);
        let words = format!("error: -g {group}: the user {USER} does not belong to this group\n");
        assert_eq!((ran.code, ran.err), (Some(2), words));
    }
    fleet.msync(0, &["-g", "4242", "f"]).ok();
    assert_eq!(fs::metadata(fleet.path(1, "f")).unwrap().gid(), 4_242);
}

#[test]
fn who_has_gone_names_no_group() {
    let Some((mut fleet, _, _)) = fleet("groups-gone") else { return };
    let mut console = fleet.console(0);
    // Of a socket that was closed the kernel says that it is root's.
    fleet.daemon(0).signal("STOP");
    console.write(b"send -g 4242 -r d\n");
    console.leave();
    fleet.daemon(0).signal("CONT");
    crate::common::eventually("the end of its command", || {
        let status = fleet.console(0).ask("status");
        status.contains("command : 0") && status.contains("send op : 0")
    });
    assert!(!fleet.path(1, "d").exists());
    let mut stays = fleet.console(0);
    fleet.daemon(0).signal("STOP");
    stays.write(b"send -g 4243 -r d\n");
    stays.end_input();
    fleet.daemon(0).signal("CONT");
    // Half closed, it still has its owner.
    stays.rest();
    assert_eq!(arrived(&fleet)[0], (4_243, 0o775));
}
