//! Members whose file systems are full or read-only, as a whole or in a part.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::mounts::inside;
use crate::common::process::in_mounts;
use crate::common::{Fleet, tree};

/// `h1` has its base directory, or something in it, on file systems that `setup` mounts; its base
/// directory comes with it, as this process sees it.
fn fleet_with(name: &str, setup: &str, prepare: impl FnOnce(&Fleet)) -> Option<(Fleet, PathBuf)> {
    let mut fleet = Fleet::idle(name, 2);
    prepare(&fleet);
    let by = in_mounts(name, setup, fleet.dir())?;
    fleet.start(0, &[]);
    fleet.start_by(by, 1, &[]);
    fleet.wait_for_members();
    let base = inside(&mut fleet, 1, "h1");
    Some((fleet, base))
}

/// A file system in memory, as `h1`.
fn in_memory(options: &str) -> String {
    format!("mount -t tmpfs -o {options} tmpfs \"$1/h1\"")
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, |entries| entries.count())
}

fn number(out: &str, key: &str) -> u64 {
    let total = out.lines().last().unwrap_or_default();
    let at = total.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key} in {out}"));
    let digits = total[at + key.len() + 3..].chars().take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().unwrap()
}

#[test]
fn a_file_that_does_not_fit_keeps_no_other_away() {
    let Some((fleet, base)) = fleet_with("too-large", &in_memory("size=24m"), |fleet| {
        for n in 0..1_500 {
            tree::write(fleet.path(0, format!("many/{n}")), "x");
        }
        tree::write(fleet.path(0, "a-large"), tree::bytes(32 << 20, 1));
        fs::File::create(fleet.path(0, "b-holes")).unwrap().set_len(1 << 32).unwrap();
        tree::write(fleet.path(0, "z-last"), "x");
    }) else {
        return;
    };
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.errors(), ["error: No space left on device h1:a-large"], "{ran:?}");
    assert_eq!(count(&base.join("many")), 1_500);
    assert!(base.join("z-last").exists() && !base.join("a-large").exists());
    assert_eq!(fs::metadata(base.join("b-holes")).unwrap().len(), 1 << 32);
    // Room is looked at before anything is sent.
    let ran = fleet.msync(0, &["--json", "send", "-r"]);
    assert!(ran.code == Some(2) && number(&ran.out, "wire") < 4 << 20, "{ran:?}");
    assert_eq!((number(&ran.out, "files"), number(&ran.out, "errors")), (0, 1), "{ran:?}");
    assert!(ran.out.contains("\"code\":\"ENOSPC\""), "{ran:?}");
}

#[test]
fn a_file_system_that_takes_no_more_files_is_not_asked_for_each() {
    let Some((fleet, base)) = fleet_with("no-inodes", &in_memory("nr_inodes=40"), |fleet| {
        for n in 0..1_400 {
            tree::write(fleet.path(0, format!("many/{n}")), "x");
        }
    }) else {
        return;
    };
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let arrived = count(&base.join("many"));
    assert!((20..40).contains(&arrived), "{arrived}: {ran:?}");
    let named = ran.errors().iter().filter(|l| l.starts_with("error: No space left on")).count();
    assert!((16..100).contains(&named), "{ran:?}");
    let rest =
        format!("error: {} more entries not tried for want of room h1", 1_400 - arrived - named);
    assert!(ran.errors().contains(&rest.as_str()), "{rest}: {ran:?}");
    let json = fleet.msync(0, &["--json", "send", "-r"]);
    assert!(json.out.contains("\"code\":\"not_tried\""), "{json:?}");
}

#[test]
fn a_part_that_is_full_or_read_only_keeps_nothing_from_the_rest() {
    let setup = "mkdir \"$1/h1/b-full\" \"$1/h1/c-readonly\"; \
        mount -t tmpfs -o size=64k tmpfs \"$1/h1/b-full\"; \
        dd if=/dev/zero of=\"$1/h1/b-full/fill\" bs=4k 2>/dev/null; \
        mount -t tmpfs tmpfs \"$1/h1/c-readonly\"; touch \"$1/h1/c-readonly/old\"; \
        mount -o remount,ro \"$1/h1/c-readonly\"";
    let Some((fleet, base)) = fleet_with("parts", setup, |fleet| {
        for dir in ["a", "b-full", "c-readonly", "d"] {
            for n in 0..40 {
                tree::write(fleet.path(0, format!("{dir}/{n:02}")), "some text");
            }
        }
        tree::write(fleet.path(0, "c-readonly/old"), "");
        tree::set_mode(&fleet.path(0, "c-readonly/old"), 0o600);
    }) else {
        return;
    };
    for args in [&["send", "-r"][..], &["send", "-r", "--delete", "--max-delete", "0"]] {
        let ran = fleet.msync(0, args);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        for dir in ["a", "d"] {
            tree::assert_equal_dirs(&fleet.path(0, dir), &base.join(dir));
        }
        assert!(ran.errors().contains(&"error: No space left on device h1:b-full/00"), "{ran:?}");
        assert!(ran.errors().contains(&"error: Read-only file system h1:c-readonly/00"), "{ran:?}");
        assert!(ran.errors().iter().any(|line| line.contains("more entries not tried")), "{ran:?}");
    }
}

#[test]
fn what_did_not_fit_is_tried_once_more_when_others_have_made_room() {
    let Some((fleet, base)) = fleet_with("once-more", &in_memory("size=2m"), |fleet| {
        tree::write(fleet.path(0, "b"), tree::bytes(1 << 20, 1));
    }) else {
        return;
    };
    fleet.msync(0, &["send", "-r"]).ok();
    // 1 MiB is left, and 1.2 MiB are wanted before the small one is in its place.
    tree::write(fleet.path(0, "a"), tree::bytes(1_200 << 10, 2));
    tree::write(fleet.path(0, "b"), "small");
    let ran = fleet.msync(0, &["--json", "send", "-r"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &base);
    assert_eq!((number(&ran.out, "files"), number(&ran.out, "errors")), (2, 0), "{ran:?}");
}

#[test]
fn deleting_makes_room_before_or_after_anything_is_sent() {
    let fill = "dd if=/dev/zero of=\"$1/h1/old\" bs=4k 2>/dev/null";
    let setup = format!("{}; {fill}", in_memory("size=1m"));
    let Some((fleet, base)) = fleet_with("delete-before", &setup, |fleet| {
        for n in 0..30 {
            tree::write(fleet.path(0, format!("new/{n:02}")), tree::bytes(10_000, n));
        }
    }) else {
        return;
    };
    let dry = fleet.msync(0, &["send", "-rn", "--delete-before"]).well();
    assert!(dry.out.contains("[delete:old]") && dry.out.contains("new/00"), "{dry:?}");
    assert!(base.join("old").exists());
    // The limits are those of --delete: what they forbid stays, and the rest is done as far as it can be.
    let ran = fleet.msync(0, &["send", "-r", "--delete-before", "--max-delete", "0"]);
    assert!(ran.code == Some(2) && base.join("old").exists(), "{ran:?}");
    assert!(ran.err.contains("over the limit of 0: nothing is deleted"), "{ran:?}");
    assert!(ran.err.contains("No space left on device"), "{ran:?}");
    let ran = fleet.msync(0, &["--json", "send", "-r", "--delete-before"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &base);
    let counts = ["files", "deleted", "errors"].map(|key| number(&ran.out, key));
    assert_eq!(counts, [30, 1, 0], "{ran:?}");
    assert_eq!(ran.out.lines().filter(|line| line.contains("\"type\":\"total\"")).count(), 1);
    // Full once more: --delete deletes although nothing could be sent.
    fs::write(base.join("old"), tree::bytes(2 << 20, 1)).unwrap_err();
    fs::remove_dir_all(base.join("new")).unwrap();
    fs::write(base.join("older"), tree::bytes(2 << 20, 1)).unwrap_err();
    let ran = fleet.msync(0, &["send", "-r", "--delete"]);
    assert!(ran.code == Some(2) && !base.join("old").exists(), "{ran:?}");
    fleet.msync(0, &["send", "-r"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &base);
}

#[test]
fn delete_before_of_a_path_that_is_gone_deletes_it() {
    let fleet = Fleet::new("before-gone", 2);
    tree::write(fleet.path(0, "stays"), "x");
    tree::write(fleet.path(1, "gone/file"), "x");
    fleet.msync(0, &["send", "--delete-before", "gone"]).ok();
    assert!(!fleet.path(1, "gone").exists());
    let ran = fleet.msync(0, &["-l", "1", "send", "-r", "--delete-before"]).well();
    assert!(ran.out.contains("stays"), "{ran:?}");
    tree::write(fleet.path(1, "extra"), "x");
    let ran = fleet.msync(0, &["-l", "1", "send", "-r", "--delete-before"]).well();
    assert!(ran.out.contains("extra") && !fleet.path(1, "extra").exists(), "{ran:?}");
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}
