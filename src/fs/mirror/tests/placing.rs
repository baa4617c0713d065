//! Looking, placing, setting attributes.

use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;
use crate::engine::disk_job::Mode;
use crate::fs::mirror::place::{by_link, by_two_renames};
use crate::fs::mirror::set::Set;
use crate::ids::EntryNo;
use crate::sys::fsat;
use crate::wire::manifest::FileTime;
use crate::wire::versions::{UNREAD, Version, What};

#[test]
fn what_is_there_is_seen_as_other_hosts_see_it() {
    for temp in places("look") {
        temp.write("d/f", "12345");
        set_mtime(&temp.join("d/f"), 77, 5);
        chmod(&temp.join("d/f"), 0o6751);
        symlink("f", temp.join("d/l")).unwrap();
        symlink("d", temp.join("ld")).unwrap();
        let _socket = UnixListener::bind(temp.join("s")).unwrap();
        std::process::Command::new("mkfifo").arg(temp.join("p")).status().unwrap();
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        let meta = std::fs::metadata(temp.join("d/f")).unwrap();
        let (version, object) = super::here(&mut ops, "d/f");
        let mtime = FileTime { secs: 77, nanos: 5 };
        let what = What::File { size: 5, mtime, digest: UNREAD };
        assert_eq!(version, Version { what, mode: 0o6751, uid: meta.uid(), gid: meta.gid() });
        assert_eq!((object.ino, object.ctime.secs), (meta.ino(), meta.ctime()));
        let link = super::here(&mut ops, "d/l").0;
        // md5 of "f": what all hosts say of it.
        assert_eq!((link.what, link.mode), (What::Symlink { target: 0x8fa1_4cdd_754f_91cc }, 0));
        assert_eq!(super::here(&mut ops, "d").0.what, What::Directory);
        assert_eq!(super::here(&mut ops, "p").0.what, What::Fifo);
        for nothing in ["s", "none", "none/x", "ld/f", "d/f/x"] {
            assert_eq!(ops.look(&path(nothing)).unwrap(), None, "{nothing}");
        }
        assert_eq!(ops.look(&RelPath::base()).unwrap().unwrap().0.what, What::Directory);
    }
}

#[test]
fn what_cannot_be_looked_at_is_not_taken_for_missing() {
    if !is_nobody("fs::mirror::tests::placing::what_cannot_be_looked_at_is_not_taken_for_missing") {
        return;
    }
    let temp = TempDir::new("closed");
    temp.write("d/f", "1");
    chmod(&temp.join("d"), 0o600);
    let mut disk = temp.disk();
    let error = ops(&mut disk).look(&path("d/f")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    chmod(&temp.join("d"), 0o700);
    // Nobody needs rights for the rest.
    let mut ops = ops(&mut disk);
    let slot = slot_with(&mut ops, "d/f", "2");
    assert!(ops.place(&path("d/f"), slot).unwrap().out.is_some());
    ops.keep_conflict(&path("d/f"), dot(1), slot).unwrap();
    let found = super::here(&mut ops, "d/f");
    ops.remove(&path("d/f"), found).unwrap();
    assert_eq!(trashed(temp.path()), [("d/f".to_owned(), "2".to_owned())]);
}

#[test]
fn what_had_the_name_is_in_the_slot_afterwards() {
    for temp in places("place") {
        let mut disk = temp.disk();
        for exchange in
            [None, Some(by_link as crate::fs::mirror::place::Exchange), Some(by_two_renames)]
        {
            let _ = std::fs::remove_file(temp.join("f"));
            let mut ops = ops(&mut disk);
            let place = |ops: &mut Ops<'_>, content| {
                let slot = slot_with(ops, "f", content);
                let waits = ops.in_slot(slot).unwrap().unwrap();
                let put = match exchange {
                    None => ops.place(&path("f"), slot),
                    Some(exchange) => ops.place_by(&path("f"), slot, exchange),
                };
                let put = put.unwrap();
                assert_eq!((put.here.0, put.here.1.ino), (waits.0, waits.1.ino));
                assert_eq!(ops.look(&path("f")).unwrap(), Some(put.here));
                assert_eq!(ops.in_slot(slot).unwrap(), put.out);
                (slot, put.out)
            };
            let (first, out) = place(&mut ops, "1");
            assert_eq!(out, None);
            ops.empty_slot(first).unwrap();
            std::fs::write(temp.join("f"), "edited").unwrap();
            let edited = super::here(&mut ops, "f").0;
            let (second, out) = place(&mut ops, "2");
            assert_eq!(out.unwrap().0, edited);
            assert_eq!(read(temp.join("f")), "2");
            assert_eq!(staged(temp.path()), 1);
            ops.keep_conflict(&path("f"), dot(1), second).unwrap();
            assert_eq!(staged(temp.path()), 0);
            let kept = ops.open_conflict(&path("f"), dot(1)).unwrap();
            assert_eq!(std::io::read_to_string(std::fs::File::from(kept)).unwrap(), "edited");
            // Of any kind.
            std::fs::remove_file(temp.join("f")).unwrap();
            symlink("x", temp.join("f")).unwrap();
            let (third, out) = place(&mut ops, "3");
            assert!(matches!(out.unwrap().0.what, What::Symlink { .. }));
            ops.discard(third, &path("f")).unwrap();
            std::fs::remove_file(temp.join("f")).unwrap();
            let _socket = UnixListener::bind(temp.join("f")).unwrap();
            let (fourth, out) = place(&mut ops, "4");
            assert_eq!(out, None, "a socket is nothing");
            ops.discard(fourth, &path("f")).unwrap();
            assert_eq!((staged(temp.path()), read(temp.join("f"))), (0, "4".to_owned()));
        }
    }
}

#[test]
fn a_directory_gives_way_only_if_nothing_is_in_it() {
    for temp in places("gives-way") {
        temp.mkdir("f");
        temp.write("full/x", "kept");
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        let dir = super::here(&mut ops, "f");
        let slot = slot_with(&mut ops, "f", "1");
        let put = ops.place(&path("f"), slot).unwrap();
        assert_eq!((put.out, read(temp.join("f"))), (Some(dir), "1".to_owned()));
        let slot = slot_with(&mut ops, "full", "1");
        let error = ops.place(&path("full"), slot).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
        assert_eq!(read(temp.join("full/x")), "kept");
        assert!(ops.in_slot(slot).unwrap().is_some(), "it waits still");
        let missing = ops.place(&path("none/f"), slot).unwrap_err();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        ops.empty_slot(slot).unwrap();
        let empty = ops.place(&path("f"), slot).unwrap_err();
        assert_eq!(empty.kind(), std::io::ErrorKind::NotFound);
    }
}

#[test]
fn no_edit_is_lost_however_it_meets_what_is_placed() {
    for temp in places("race") {
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        let done = std::sync::atomic::AtomicBool::new(false);
        // The user puts a file there whenever nothing of theirs is there, so that no edit replaces another.
        let (edits, dir) = (temp.mkdir("edits"), temp.path());
        temp.write("f", "");
        let came = std::thread::scope(|scope| {
            let user = scope.spawn(|| {
                let mut count = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) && count < 2_000 {
                    if std::fs::read(dir.join("f")).is_ok_and(|now| now.starts_with(b"placed")) {
                        count += 1;
                        let new = edits.join(count.to_string());
                        std::fs::write(&new, format!("edit {count}")).unwrap();
                        std::fs::rename(new, dir.join("f")).unwrap();
                    }
                }
                count
            });
            let mut came = Vec::new();
            for n in 0..400 {
                let slot = slot_with(&mut ops, "f", &format!("placed {n}"));
                ops.place(&path("f"), slot).unwrap();
                let name = String::from_utf8(slot.name()).unwrap();
                came.push(read(temp.join(&format!(".makuosan/stage/{name}"))));
                ops.empty_slot(slot).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            let count: usize = user.join().unwrap();
            came.push(read(temp.join("f")));
            let edits = came.iter().filter(|text| text.starts_with("edit")).count();
            assert_eq!(edits, count, "{came:?}");
            came
        });
        assert_eq!(came.len(), 401);
    }
}

#[test]
fn a_crash_between_two_renames_leaves_what_the_slot_says() {
    for temp in places("crash") {
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        let stage = temp.join(".makuosan/stage");
        let at = |name: Vec<u8>| stage.join(String::from_utf8(name).unwrap());
        let content = |ops: &mut Ops<'_>, slot: Slot| {
            let found = ops.recover(&path("f"), slot).unwrap();
            found.map(|_| read(at(slot.name())))
        };
        // What had the name was moved away, and nothing else happened.
        temp.write("f", "old");
        let slot = slot_with(&mut ops, "f", "new");
        std::fs::rename(temp.join("f"), at(slot.second_name())).unwrap();
        assert_eq!(content(&mut ops, slot).unwrap(), "new");
        assert_eq!(read(temp.join("f")), "old");
        // It has a second name.
        std::fs::hard_link(temp.join("f"), at(slot.second_name())).unwrap();
        assert_eq!(content(&mut ops, slot).unwrap(), "new");
        assert_eq!((read(temp.join("f")), staged(temp.path())), ("old".to_owned(), 1));
        // The new one has the name, and the old one is not in the slot yet.
        std::fs::rename(temp.join("f"), at(slot.second_name())).unwrap();
        std::fs::rename(at(slot.name()), temp.join("f")).unwrap();
        assert_eq!(content(&mut ops, slot).unwrap(), "old");
        assert_eq!(read(temp.join("f")), "new");
        ops.empty_slot(slot).unwrap();
        assert_eq!(content(&mut ops, slot), None);
        // Somebody has taken the name meanwhile.
        let slot = slot_with(&mut ops, "f", "newer");
        std::fs::rename(temp.join("f"), at(slot.second_name())).unwrap();
        temp.write("f", "edit");
        assert_eq!(content(&mut ops, slot).unwrap(), "newer");
        assert_eq!(read(temp.join("f")), "edit");
        assert!(trashed(temp.path()).contains(&("f".to_owned(), "new".to_owned())));
    }
}

#[test]
fn what_a_transfer_has_staged_gets_a_slot_and_leaves_the_batch() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("f", "content");
    from.write("g", "other");
    chmod(&from.join("f"), 0o640);
    set_mtime(&from.join("f"), 99, 0);
    let root = from.root();
    let batch = one_batch(&root, &RelPath::base());
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let key = transfer.key;
    let (number, needs, file) = transfer.plan(&mut disk, &batch);
    transfer.stage(&mut disk, &root, &batch, (number, &needs, file));
    let at = batch.manifest.entries.iter().position(|entry| entry.path == path("f")).unwrap();
    let slot = disk.keep_staged(key, number, EntryNo::of(at)).unwrap().unwrap();
    assert_eq!(disk.keep_staged(key, number, EntryNo::of(at)).unwrap(), None);
    assert_eq!(disk.keep_staged(key, number, EntryNo::new(999)).unwrap(), None);
    transfer.close(&mut disk, true);
    assert_eq!(staged(to.path()), 1);
    let mut ops = ops(&mut disk);
    ops.sync_slots(&[slot]).unwrap();
    ops.sync_slots(&[slot; 100]).unwrap();
    let put = ops.place(&path("f"), slot).unwrap();
    ops.sync_all().unwrap();
    assert_eq!(put.here.0.mode, 0o640);
    let mtime = FileTime { secs: 99, nanos: 0 };
    assert_eq!(put.here.0.what, What::File { size: 7, mtime, digest: UNREAD });
    assert_eq!(read(to.join("f")), "content");
    ops.empty_slot(slot).unwrap();
    assert_eq!(staged(to.path()), 0);
}

#[test]
fn only_slots_that_are_spoken_of_outlast_the_daemon() {
    let temp = TempDir::new("spared");
    let mut disk = temp.disk();
    let mut ops = ops(&mut disk);
    let (spared, other) = (slot_with(&mut ops, "f", "1"), slot_with(&mut ops, "f", "2"));
    drop(disk);
    let mut disk = once_free(
        || Disk::sparing(temp.root(), Default::default(), [spared.0].into()),
        |error| error.kind() == std::io::ErrorKind::WouldBlock,
    );
    let mut ops = super::ops(&mut disk);
    assert!(ops.in_slot(spared).unwrap().is_some());
    assert_eq!(ops.in_slot(other).unwrap(), None);
    ops.place(&path("f"), spared).unwrap();
    drop(disk);
    assert_eq!(read(temp.join("f")), "1");
    let slot = slot_with(&mut super::ops(&mut temp.disk()), "f", "3");
    assert!(temp.disk().mirror(NOW).unwrap().in_slot(slot).unwrap().is_none());
}

#[test]
fn attributes_alone_are_set_in_place_if_nobody_could_abuse_that() {
    for temp in places("set") {
        temp.write("f", "1");
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        let before = super::here(&mut ops, "f");
        let mtime = FileTime { secs: 5, nanos: 0 };
        let what = What::File { size: 1, mtime, digest: UNREAD };
        let wanted = Version { what, mode: 0o600, ..before.0 };
        let Set::Done(set) = ops.set_attributes(&path("f"), &wanted, before).unwrap() else {
            panic!()
        };
        assert_eq!((set.0, set.1.ino), (wanted, before.1.ino));
        assert_eq!(super::here(&mut ops, "f"), set);
        let again = ops.set_attributes(&path("f"), &before.0, before).unwrap();
        assert_eq!(again, Set::Other(Some(set)), "it is not as it was expected");
        assert_eq!(ops.set_attributes(&path("g"), &wanted, before).unwrap(), Set::Other(None));
        std::fs::hard_link(temp.join("f"), temp.join("outside")).unwrap();
        let linked = super::here(&mut ops, "f");
        let must = ops.set_attributes(&path("f"), &before.0, linked).unwrap();
        assert_eq!((must, mode(&temp.join("f"))), (Set::MustReplace, 0o600));
        assert_eq!(staged(temp.path()), 0);
    }
}

#[test]
fn directories_are_made_and_get_their_attributes() {
    for temp in places("dirs") {
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        let implied = ops.make_dir(&path("d"), None).unwrap();
        assert_eq!((implied.0.what, implied.0.mode), (What::Directory, 0o755));
        let wanted = Version { mode: 0o2710, ..implied.0 };
        let made = ops.make_dir(&path("d"), Some(&wanted)).unwrap();
        assert_eq!((made.0, made.1.ino), (wanted, implied.1.ino));
        assert_eq!(ops.make_dir(&path("d"), None).unwrap().0, wanted, "it keeps them");
        assert_eq!(ops.make_dir(&path("d/e"), Some(&wanted)).unwrap().0, wanted);
        temp.write("f", "1");
        let error = ops.make_dir(&path("f"), None).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        symlink("d", temp.join("l")).unwrap();
        assert!(ops.make_dir(&path("l"), Some(&wanted)).is_err());
        assert!(ops.make_dir(&path("l/x"), None).is_err());
        let found = fsat::stat_at(std::os::fd::AsFd::as_fd(&*temp.root()), b"l").unwrap();
        assert_eq!(found.kind, fsat::FileType::Symlink);
    }
}
