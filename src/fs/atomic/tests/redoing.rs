//! A daemon that is killed while it puts things into place, and does it again.

use super::*;

/// Applies as much as `most` changes are, as if the daemon was killed then. Whether that was all.
fn killed_after(disk: &mut Disk, most: u32) -> bool {
    let mut left = most;
    let mut fuse = || match left.checked_sub(1) {
        Some(less) => {
            left = less;
            Ok(())
        }
        None => Err(std::io::Error::other("killed")),
    };
    disk.apply_with(NO, &mut fuse).unwrap();
    left > 0
}

/// Each moment at which a daemon can be killed, of which there are so many.
fn at_each_moment_of(moments: u32, mut each: impl FnMut(u32) -> bool) {
    let mut most = 0;
    while !each(most) {
        most += 1;
    }
    assert!(most >= moments, "{most}");
}

#[test]
fn killed_at_any_moment_the_rest_is_done() {
    at_each_moment_of(20, |most| {
        let (from, to) = trees();
        to.write("extra/tree/f", "1");
        to.write("extra/f", "1");
        from.write("late", "1");
        to.write("late/with/f", "1");
        let mut disk = start(&to, &[]);
        let prepared = ready(&from, &mut disk, DELETES);
        let all = killed_after(&mut disk, most);
        drop(disk);
        let mut disk = start(&to, &[prepared]);
        let applied = apply(&mut disk);
        assert_eq!(applied.failed, 0, "{most}: {applied:?}");
        assert_same(&from, &to);
        clear(&mut disk, &to);
        assert_same(&from, &to);
        all
    });
}

/// What somebody does at a path while the daemon is not there.
type Deed = (&'static str, fn(&Path));

const DEEDS: [Deed; 4] = [
    ("edited", |at| {
        let _ = std::fs::OpenOptions::new().append(true).open(at).map(|mut file| {
            std::io::Write::write_all(&mut file, b" edited").unwrap();
        });
    }),
    ("replaced", |at| {
        let other = at.with_extension("theirs");
        if std::fs::write(&other, "theirs").is_ok() {
            std::fs::rename(&other, at).unwrap();
        }
    }),
    ("removed", |at| drop(std::fs::remove_file(at))),
    ("made a directory", |at| {
        let _ = std::fs::remove_file(at);
        if std::fs::create_dir(at).is_ok() {
            std::fs::write(at.join("theirs"), "theirs").unwrap();
        }
    }),
];

/// What is at a path, in a word.
fn at(path: &Path) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(_) if path.is_dir() => format!("a directory {:?}", at(&path.join("theirs"))),
        Err(_) => "nothing".to_owned(),
    }
}

#[test]
fn what_somebody_does_meanwhile_is_not_undone() {
    for (deed, work) in DEEDS {
        at_each_moment_of(6, |most| {
            let (from, to) = (TempDir::new("new"), TempDir::new("old"));
            from.write("d/changed", "new");
            to.write("d/changed", "old version");
            from.write("d/made", "new");
            from.write("tree/made", "new");
            to.write("d/gone", "old version");
            let mut disk = start(&to, &[]);
            let prepared = ready(&from, &mut disk, DELETES);
            let all = killed_after(&mut disk, most);
            drop(disk);
            let names = ["d/changed", "d/made", "tree/made", "d/gone"];
            let paths = names.map(|name| to.join(name));
            let before = paths.each_ref().map(|path| at(path));
            paths.iter().for_each(|path| work(path));
            let theirs = paths.each_ref().map(|path| at(path));
            let mut disk = start(&to, &[prepared]);
            let applied = apply(&mut disk);
            clear(&mut disk, &to);
            for (n, name) in names.iter().enumerate() {
                let (before, theirs, now) = (&before[n], &theirs[n], at(&paths[n]));
                let was_done = if *name == "d/gone" { "nothing" } else { "new" } == before;
                let said =
                    format!("{deed} {name} at {most}: {before}, {theirs}, {now}: {applied:?}");
                // What was done is not done again, and what they have made there is not removed.
                let stays = was_done || theirs.starts_with("a directory") || *name == "d/gone";
                match stays {
                    true => assert_eq!(now, *theirs, "{said}"),
                    false => assert_eq!(now, "new", "{said}"),
                }
            }
            all
        });
    }
}

#[test]
fn a_tree_that_came_into_a_slot_goes_back() {
    let (from, to) = (TempDir::new("new"), TempDir::new("old"));
    from.write("f", "new");
    to.write("f", "old version");
    from.write("g", "new");
    for taken in [false, true] {
        let mut disk = start(&to, &[]);
        let prepared = ready(&from, &mut disk, Mode::SEND);
        drop(disk);
        // Killed after the exchange: somebody had made a tree there at that moment.
        std::fs::remove_file(to.join("f")).unwrap();
        to.write("f/theirs", "theirs");
        let stage = std::fs::read_dir(to.join(".makuosan/stage")).unwrap();
        // The first one keeps room.
        let mut slots: Vec<_> = stage.map(|one| one.unwrap().path()).collect();
        slots.sort();
        let slot = &slots[1];
        let away = to.join("away");
        std::fs::rename(slot, &away).unwrap();
        std::fs::rename(to.join("f"), slot).unwrap();
        std::fs::rename(&away, to.join("f")).unwrap();
        if taken {
            to.write("f", "changed since");
            std::fs::rename(to.write("new", "changed since"), to.join("f")).unwrap();
        }
        let mut disk = start(&to, &[prepared]);
        let applied = apply(&mut disk);
        assert_eq!((applied.done, applied.failed), (prepared.operations - 1, 1), "{applied:?}");
        clear(&mut disk, &to);
        assert_eq!(at(&to.join("f/theirs")) == "theirs", !taken);
        assert_eq!(at(&to.join("f")) == "changed since", taken);
        let trash = std::process::Command::new("find").arg(to.join(".makuosan/trash")).output();
        let trash = String::from_utf8(trash.unwrap().stdout).unwrap();
        assert_eq!(trash.contains("f/theirs"), taken, "{trash}");
        drop(disk);
        let _ = std::fs::remove_dir_all(to.join("f"));
        to.write("f", "old version");
        std::fs::remove_file(to.join("g")).unwrap();
    }
}

#[test]
fn without_roots_rights_closed_directories_are_opened_up_and_closed_again() {
    let test = "fs::atomic::tests::redoing::\
                without_roots_rights_closed_directories_are_opened_up_and_closed_again";
    if !is_nobody(test) {
        return;
    }
    for mode in [Mode::SEND, DELETES] {
        at_each_moment_of(9, |most| {
            let (from, to) = (TempDir::new("new"), TempDir::new("old"));
            for (temp, text) in [(&from, "new"), (&to, "old version")] {
                temp.write("closed/f", text);
                temp.mkdir("other");
            }
            from.write("closed/empty-or-file", "new");
            to.mkdir("closed/empty-or-file");
            chmod(&to.join("closed/empty-or-file"), 0o555);
            from.write("made/f", "new");
            chmod(&from.join("made"), 0o555);
            from.write("closed/unreadable", "new");
            chmod(&from.join("closed/unreadable"), 0o400);
            let mut dirs = vec!["closed", "other"];
            if mode.spools() {
                to.write("closed/extra/f", "old");
                to.write("other/extra", "old");
            } else {
                // What is in there cannot be listed, nor deleted.
                from.write("shut/in/f", "new");
                to.write("shut/in/f", "old version");
                chmod(&to.join("shut"), 0o400);
                dirs.push("shut");
            }
            for temp in [&from, &to] {
                set_mtime(&temp.join("other"), 5, 5);
                ["closed", "other"].iter().for_each(|dir| chmod(&temp.join(dir), 0o555));
            }
            let mut disk = start(&to, &[]);
            let modes = || {
                dirs.iter().map(|dir| crate::fs::testing::mode(&to.join(dir))).collect::<Vec<_>>()
            };
            let before = modes();
            let prepared = ready(&from, &mut disk, mode);
            assert_eq!(modes(), before);
            let all = killed_after(&mut disk, most);
            drop(disk);
            let mut disk = start(&to, &[prepared]);
            let applied = apply(&mut disk);
            assert_eq!(applied.failed, 0, "{most}: {applied:?}");
            assert_same(&from, &to);
            clear(&mut disk, &to);
            all
        });
    }
}

#[test]
fn new_directories_have_what_those_made_by_hand_would_have() {
    let flags = |name: &str, arg: &str, path: &Path| {
        let out = std::process::Command::new(name).arg(arg).arg(path).output();
        let out = out.ok().filter(|out| out.status.success())?;
        String::from_utf8(out.stdout).unwrap().split(' ').next().map(str::to_owned)
    };
    at_each_moment_of(4, |most| {
        let (from, to, plain) = (TempDir::new("new"), TempDir::new("old"), TempDir::new("plain"));
        from.write("d/made/in/f", "new");
        from.write("d/was-file/f", "new");
        for temp in [&to, &plain] {
            temp.write("d/was-file", "old");
            if flags("chattr", "+A", &temp.join("d")).is_none() {
                eprintln!("SKIPPED: no chattr +A here");
                return most >= 4;
            }
        }
        let mut disk = start(&to, &[]);
        let prepared = ready(&from, &mut disk, Mode::SEND);
        let all = killed_after(&mut disk, most);
        drop(disk);
        let mut disk = start(&to, &[prepared]);
        let applied = apply(&mut disk);
        assert_eq!(applied.failed, 0, "{most}: {applied:?}");
        clear(&mut disk, &to);
        assert_same(&from, &to);
        Spooling::send(&from.root(), &mut plain.disk(), &RelPath::base(), Mode::SEND, &[]);
        for name in ["d", "d/made", "d/made/in", "d/made/in/f", "d/was-file", "d/was-file/f"] {
            let [one, other] =
                [&to, &plain].map(|temp| flags("lsattr", "-d", &temp.join(name)).unwrap());
            assert_eq!(one, other, "{name}");
            assert!(one.contains('A'), "{one}");
        }
        all
    });
}
