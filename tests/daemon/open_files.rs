//! A member that begins all the transfers it can, each with as many long files as it can, leaves
//! descriptors to others.

use std::fs;
use std::thread;
use std::time::Duration;

use makuosan::name::{NodeId, RelPath};
use makuosan::wire::layout::STREAM_OVER;
use makuosan::wire::manifest::{Entry, FileTime, Kind, Manifest, Setup};
use makuosan::wire::mode::Mode;

use crate::common::enemy::Enemy;
use crate::common::process::{MAKUOSAN, command};
use crate::common::{Fleet, eventually, is_root, tree};

/// How many files the daemon may have open.
const LIMIT: usize = 256;

#[test]
fn a_member_cannot_use_up_what_a_daemon_may_have_open() {
    let mut fleet = Fleet::idle("open-files", 3);
    fleet.start(0, &[]);
    // Root could raise it again.
    let mut by = command(if is_root() { "setpriv" } else { "env" });
    if is_root() {
        by.args(["--bounding-set", "-sys_resource"]);
    }
    by.args(["sh", "-c", &format!("ulimit -n {LIMIT}; exec \"$@\""), "sh", MAKUOSAN]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    let mut enemy = Enemy::new(&fleet, 2, 1, NodeId(0x6669_6c65));
    enemy.join(&fleet, 1, false);
    let delete = Mode::Send { delete: true, ignore_times: false, dry_run: false };
    for number in 1..=60u32 {
        enemy.begin_with(number, if number % 2 == 0 { Mode::SEND } else { delete });
        for batch in 1..=16 {
            let path = RelPath::parse(format!("t{number}/long-{batch}").as_bytes()).unwrap();
            let kind = Kind::File { size: STREAM_OVER + 1, data: None };
            let (mode, uid, gid) = (0o644, 0, 0);
            let entry = Entry { path, kind, mode, uid, gid, mtime: FileTime::default() };
            let path = RelPath::parse(format!("t{number}").as_bytes()).unwrap();
            let setup = (batch == 1).then(|| Setup { path, ..Setup::default() });
            let manifest = Manifest { setup, entries: vec![entry], ..Manifest::default() };
            enemy.offer(number, batch, &manifest.emit());
        }
    }
    let open = |fleet: &mut Fleet| {
        let fds = format!("/proc/{}/fd", fleet.daemon(1).pid());
        fs::read_dir(fds).unwrap().count()
    };
    // Until it has what it can get.
    let mut last = 0;
    eventually("many open files", || {
        thread::sleep(Duration::from_secs(1));
        let before = std::mem::replace(&mut last, open(&mut fleet));
        last > 50 && last == before
    });
    assert!(last < LIMIT / 2, "{last}");
    for n in 0..8 {
        tree::write(fleet.path(0, format!("d/long-{n}")), vec![n; STREAM_OVER as usize + 9]);
        tree::write(fleet.path(0, format!("d/short-{n}")), "short");
    }
    fleet.msync(0, &["send", "-r"]).well();
    for n in 0..8 {
        let name = format!("d/long-{n}");
        assert!(fs::read(fleet.path(0, &name)).unwrap() == fs::read(fleet.path(1, &name)).unwrap());
    }
    assert!(open(&mut fleet) < LIMIT * 3 / 4, "{}", open(&mut fleet));
    fleet.msync(1, &["send", "-r", "d"]).well();
    assert!(fleet.console(1).ask("status").contains("recv op"));
}
