//! Removing, and the trash.

use std::os::fd::AsFd;

use super::*;
use crate::fs::mirror::remove::Removed;
use crate::fs::mirror::trash::Trash;

fn owned(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, content)| (String::from(*name), String::from(*content))).collect()
}

#[test]
fn only_what_is_expected_goes_and_it_goes_to_the_trash() {
    for temp in places("remove") {
        temp.write("d/f", "1");
        temp.mkdir("d/e");
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        let expected = super::here(&mut ops, "d/f");
        let (dir, empty) = (super::here(&mut ops, "d"), super::here(&mut ops, "d/e"));
        temp.write("d/f", "edit");
        let edited = super::here(&mut ops, "d/f");
        assert_eq!(ops.remove(&path("d/f"), expected).unwrap(), Removed::Other(edited));
        assert_eq!(read(temp.join("d/f")), "edit");
        assert_eq!(ops.remove(&path("d"), dir).unwrap(), Removed::NotEmpty);
        assert_eq!(ops.remove(&path("d/e"), edited).unwrap(), Removed::Other(empty));
        assert_eq!(ops.remove(&path("d/e"), empty).unwrap(), Removed::Done);
        assert_eq!(ops.remove(&path("d/f"), edited).unwrap(), Removed::Done);
        assert_eq!(ops.remove(&path("d/f"), edited).unwrap(), Removed::Gone);
        assert_eq!(ops.remove(&path("d"), dir).unwrap(), Removed::Done);
        assert_eq!(ops.remove(&path("d/f"), edited).unwrap(), Removed::Gone, "nothing above");
        assert_eq!(trashed(temp.path()), owned(&[("d/f", "edit")]));
        assert_eq!((mode(&temp.join(".makuosan/trash")), staged(temp.path())), (0o700, 0));
    }
}

#[test]
fn an_edit_at_the_very_moment_has_its_name_again_or_is_in_a_slot() {
    for temp in places("back") {
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        temp.write("f", "1");
        let expected = super::here(&mut ops, "f");
        let top = std::fs::File::open(temp.join(".makuosan")).unwrap();
        let base = std::fs::File::open(temp.path()).unwrap();
        let stage = std::fs::File::open(temp.join(".makuosan/stage")).unwrap();
        let judge = |ops: &mut Ops<'_>, meanwhile: &dyn Fn()| {
            let mut trash = Trash { us: ops.rights.uid(), now: NOW, tallies: ops.tallies };
            let (dir, name) = trash.take(top.as_fd(), (base.as_fd(), b"f"), &path("f")).unwrap();
            meanwhile();
            let (moved, stage) = ((dir.as_fd(), &name[..]), (stage.as_fd(), Slot(5)));
            crate::fs::mirror::remove::judge(moved, stage, (base.as_fd(), b"f"), expected).unwrap()
        };
        temp.write("f", "edit");
        let edited = super::here(&mut ops, "f").0;
        assert!(matches!(judge(&mut ops, &|| ()), Removed::Other(back) if back.0 == edited));
        assert_eq!(read(temp.join("f")), "edit");
        let aside = judge(&mut ops, &|| drop(temp.write("f", "second")));
        assert!(matches!(aside, Removed::Aside(slot, was) if slot == Slot(5) && was.0 == edited));
        assert_eq!(read(temp.join("f")), "second");
        assert_eq!(read(temp.join(".makuosan/stage/slot-0000000000000005")), "edit");
        assert_eq!(trashed(temp.path()), []);
    }
}

#[test]
fn what_loses_its_name_to_a_directory_is_kept_with_its_dot() {
    for temp in places("aside") {
        temp.write("a/f", "1");
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        let found = super::here(&mut ops, "a/f");
        assert_eq!(ops.set_aside(&path("a/f"), found, dot(7)).unwrap(), Removed::Done);
        ops.make_dir(&path("a/f"), None).unwrap();
        assert_eq!(ops.conflict(&path("a/f"), dot(7)).unwrap().unwrap().0, found.0);
        assert_eq!(read(temp.join(".makuosan/conflicts/0000000000000abc-7/a/f")), "1");
        assert!(!temp.join(".makuosan/trash").exists());
    }
}

#[test]
fn nothing_is_kept_from_going_by_a_trash_that_cannot_be() {
    for temp in places("no-trash") {
        let mut disk = temp.disk();
        temp.write(".makuosan/trash", "in the way");
        temp.write("f", "1");
        temp.write("g", "1");
        let mut ops = ops(&mut disk);
        let found = super::here(&mut ops, "f");
        assert_eq!(ops.remove(&path("f"), found).unwrap(), Removed::Done);
        let slot = slot_with(&mut ops, "g", "2");
        ops.place(&path("g"), slot).unwrap();
        ops.discard(slot, &path("g")).unwrap();
        assert_eq!(staged(temp.path()), 0);
        assert!(!ops.tidy_trash());
        assert_eq!(files(&temp.join(".makuosan")), {
            let marker =
                ("made-by-makuosan".to_owned(), read(temp.join(".makuosan/made-by-makuosan")));
            vec![marker, ("trash".to_owned(), "in the way".to_owned())]
        });
    }
}

#[test]
fn the_same_name_is_in_the_trash_as_often_as_it_went() {
    for temp in places("again") {
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        for content in ["1", "2", "3"] {
            temp.write("a", content);
            let found = super::here(&mut ops, "a");
            ops.remove(&path("a"), found).unwrap();
        }
        // A directory takes the name of a file, and the other way round.
        std::fs::remove_file(temp.join("a")).unwrap_err();
        temp.write("a/b", "below");
        let found = super::here(&mut ops, "a/b");
        ops.remove(&path("a/b"), found).unwrap();
        std::fs::remove_dir(temp.join("a")).unwrap();
        std::os::unix::fs::symlink("/", temp.join("a")).unwrap();
        let found = super::here(&mut ops, "a");
        ops.remove(&path("a"), found).unwrap();
        let all = trashed(temp.path());
        for content in ["1", "2", "3", ""] {
            assert!(all.contains(&("a".to_owned(), content.to_owned())), "{all:?}");
        }
        assert!(all.contains(&("a/b".to_owned(), "below".to_owned())), "{all:?}");
    }
}

#[test]
fn the_trash_is_kept_for_a_week() {
    for temp in places("week") {
        let mut disk = temp.disk();
        for (day, name) in ["a", "b", "deep/er/c"].iter().enumerate() {
            temp.write(name, "12345");
            let mut ops = disk.mirror(NOW + day as i64 * 86_400).unwrap();
            let found = super::here(&mut ops, name);
            assert_eq!(ops.remove(&path(name), found).unwrap(), Removed::Done);
        }
        let mut tidy = |now: i64| {
            let mut ops = disk.mirror(now).unwrap();
            let mut steps = 0;
            while ops.tidy_trash() {
                steps += 1;
                assert!(steps < 100);
            }
            trashed(temp.path()).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(tidy(NOW + WEEK), ["a", "b", "deep/er/c"]);
        assert_eq!(tidy(NOW + WEEK + 1), ["b", "deep/er/c"]);
        assert_eq!(tidy(NOW + WEEK + 86_401), ["deep/er/c"]);
        assert_eq!(tidy(NOW + 9 * 86_400 + 1), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(temp.join(".makuosan/trash")).unwrap().count(), 0);
    }
}

#[test]
fn the_oldest_go_when_the_trash_takes_too_much_room() {
    if !is_in_namespace(
        "fs::mirror::tests::removing::the_oldest_go_when_the_trash_takes_too_much_room",
    ) {
        return;
    }
    let temp = TempDir::new("room");
    let _mounted = mount_tmpfs(temp.path(), "size=12m");
    let mut disk = temp.disk();
    for n in 0..8 {
        // Some is counted as it comes, some after a restart.
        if n == 4 {
            drop(disk);
            disk = temp.disk();
        }
        let name = format!("d/{n}");
        temp.write(&name, vec![1; 256 << 10]);
        let mut ops = disk.mirror(NOW + n).unwrap();
        let found = super::here(&mut ops, &name);
        assert_eq!(ops.remove(&path(&name), found).unwrap(), Removed::Done);
        if n < 4 {
            assert!(ops.tidy_trash() || n > 0);
        }
    }
    while disk.mirror(NOW + 10).unwrap().tidy_trash() {}
    let left: Vec<String> =
        files(&temp.join(".makuosan/trash")).into_iter().map(|one| one.0).collect();
    let last: Vec<&str> = left.iter().map(|name| name.rsplit('/').next().unwrap()).collect();
    assert_eq!(
        last,
        ["4", "5", "6", "7"],
        "four of 256 KiB are a tenth of 11 MiB, and five are not"
    );
    // A full file system empties it.
    std::fs::write(temp.join("big"), vec![1; 13 << 20]).unwrap_err();
    while disk.mirror(NOW + 10).unwrap().tidy_trash() {}
    assert_eq!(files(&temp.join(".makuosan/trash")), []);
}
