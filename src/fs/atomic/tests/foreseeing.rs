//! What would fail when all is put into place is told before.

use super::*;
use crate::errno;
use crate::fs::disk::DiskConfig;
use crate::fs::exchange::NoExchange;
use crate::wire::outcome::{Outcome, Reason};

/// What fails of a transfer of everything, which is called off then. Nothing of it is seen or left.
fn failing(from: &TempDir, to: &TempDir, mode: Mode) -> Vec<(String, Reason)> {
    let mut disk = start(to, &[]);
    let before = exact(to.path());
    let kept = keep(from, &mut disk, mode);
    let mut all = Vec::new();
    for (path, _, outcome) in &kept.lines {
        match outcome {
            Outcome::Failed(why) => all.push((path.clone(), *why)),
            // It is tried once more, when there may be room.
            Outcome::Again => all.push(os(path, errno::ENOSPC)),
            _ => {}
        }
    }
    if mode.spools() {
        kept.tally(&mut disk);
        kept.delete(&mut disk);
        for (name, code) in kept.pages(&mut disk) {
            if let crate::wire::outcome::SpoolCode::Failed(why) = code {
                all.push((name, why));
            }
        }
    }
    kept.transfer.close(&mut disk, true);
    assert_eq!(exact(to.path()), before);
    assert_eq!(staged(to.path()), 0);
    all
}

fn os(name: &str, code: u16) -> (String, Reason) {
    (name.to_owned(), Reason::Os(code))
}

#[test]
fn a_directory_in_the_way() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("d", "1");
    to.write("d/f", "1");
    from.write("fine", "1");
    let way = ("d".to_owned(), Reason::DirectoryInPlace);
    assert_eq!(failing(&from, &to, Mode::SEND), [way]);
    assert_eq!(failing(&from, &to, DELETES), []);
}

/// Sets an attribute of a file, until this is dropped. None where that cannot be done.
struct Held(std::path::PathBuf, &'static str);

impl Held {
    fn new(path: std::path::PathBuf, attribute: &'static str) -> Option<Self> {
        let set =
            std::process::Command::new("chattr").arg(format!("+{attribute}")).arg(&path).output();
        let held = set.is_ok_and(|out| out.status.success());
        if !held {
            eprintln!("SKIPPED: no chattr +{attribute} here");
        }
        held.then_some(Held(path, attribute))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ =
            std::process::Command::new("chattr").arg(format!("-{}", self.1)).arg(&self.0).status();
    }
}

#[test]
fn what_nobody_may_change() {
    for attribute in ["i", "a"] {
        let (from, to) = (TempDir::new("from"), TempDir::new("to"));
        for (name, is_old) in [("held", true), ("in/f", true), ("in/new", false), ("mode", true)] {
            from.write(name, "new");
            if is_old {
                to.write(name, "1");
            }
        }
        to.write("mode", "new");
        for temp in [&from, &to] {
            set_mtime(&temp.join("mode"), 1_000, 0);
        }
        chmod(&from.join("mode"), 0o600);
        to.write("extra", "1");
        to.write("in/extra", "1");
        from.write("fine", "1");
        let held = ["held", "in", "mode", "extra"].map(|name| Held::new(to.join(name), attribute));
        if held.iter().any(Option::is_none) {
            return;
        }
        let mut failed = failing(&from, &to, DELETES);
        failed.sort();
        let want = ["-in", "extra", "held", "in/extra", "in/f", "in/new", "mode"];
        assert_eq!(failed, want.map(|name| os(name, errno::EPERM)), "{attribute}");
    }
}

#[test]
fn what_is_mounted_there() {
    if !is_in_namespace("fs::atomic::tests::foreseeing::what_is_mounted_there") {
        return;
    }
    let (from, to, other) = (TempDir::new("from"), TempDir::new("to"), TempDir::new("other"));
    from.write("f", "new");
    from.write("was-dir", "new");
    from.write("fine", "1");
    let bind = ["--bind", to.write("g", "1").to_str().unwrap()].map(str::to_owned);
    let bind: Vec<&str> = bind.iter().map(String::as_str).collect();
    let _file = mount(&bind, &to.write("f", "1"));
    let _dir = mount(&["--bind", other.path().to_str().unwrap()], &to.mkdir("was-dir"));
    assert_eq!(
        failing(&from, &to, Mode::SEND),
        [os("f", errno::EBUSY), os("was-dir", errno::EBUSY)]
    );
}

#[test]
fn what_there_is_no_room_for() {
    if !is_in_namespace("fs::atomic::tests::foreseeing::what_there_is_no_room_for") {
        return;
    }
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    let _small = mount_tmpfs(to.path(), "size=600k");
    to.write("f", "1");
    from.write("a", vec![1; 300 << 10]);
    from.write("b", vec![2; 200 << 10]);
    from.write("f", "new");
    from.write("z", vec![3; 250 << 10]);
    assert_eq!(failing(&from, &to, Mode::SEND), [os("z", errno::ENOSPC)]);
    // There is room for the files, but not for so many names.
    std::fs::remove_file(from.join("z")).unwrap();
    std::fs::remove_file(from.join("b")).unwrap();
    for n in 0..1_500 {
        from.write(&format!("{}{n}", "n".repeat(200)), "");
    }
    let mut disk = start(&to, &[]);
    let kept = keep(&from, &mut disk, Mode::SEND);
    assert!(kept.lines.iter().all(|line| line.2 == Outcome::Updated), "{:?}", kept.lines);
    let (_, why) = disk.prepare(kept.transfer.key).unwrap_err();
    assert_eq!(why, Reason::Os(errno::ENOSPC));
    kept.transfer.close(&mut disk, true);
    assert_eq!((staged(to.path()), at_top(&to)), (0, vec!["f".to_owned()]));
}

fn at_top(temp: &TempDir) -> Vec<String> {
    exact(temp.path()).into_keys().map(|name| String::from_utf8(name).unwrap()).collect()
}

#[test]
fn a_host_that_cannot_do_it_says_so_before_anything_is_staged() {
    let temp = TempDir::new("to");
    temp.write("f", "1");
    let mut disk = start(&temp, &[]);
    let key = Transfer::new(1, Mode::SEND).key;
    disk.staging.as_mut().unwrap().probe = |_| Err(std::io::Error::other(NoExchange));
    assert_eq!(disk.begin_atomic(key, NO), Err(Reason::NoExchange));
    assert_eq!(staged(temp.path()), 0);
    drop(disk);
    // The lists cannot be kept.
    let mut disk = temp.disk();
    assert_eq!(disk.begin_atomic(key, NO), Err(Reason::Os(errno::EROFS)));
    drop(disk);
    let readonly = DiskConfig { readonly: true, ..DiskConfig::default() };
    let mut disk = temp.disk_with(readonly);
    disk.keep_transactions(lists(&temp), &[]).unwrap();
    assert_eq!(disk.begin_atomic(key, NO), Err(Reason::ReadOnly));
    assert_eq!(disk.prepare(key).unwrap_err().1, Reason::Os(errno::EINVAL));
}
