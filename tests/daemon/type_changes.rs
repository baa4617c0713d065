//! What was a file becomes a directory, and what was a directory becomes a file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::common::{Fleet, tree};

const FULL: &str = "Directory not empty in its place (send -r --delete replaces it)";

#[test]
fn a_directory_takes_the_place_of_a_file_a_link_and_a_fifo() {
    let fleet = Fleet::new("to-directory", 3);
    let outside = fleet.dir().join("outside");
    tree::write(outside.join("one"), "outside");
    for dir in ["file", "link", "dangling", "fifo", "below/file"] {
        tree::write(fleet.path(0, format!("{dir}/one")), "new");
        tree::write(fleet.path(0, format!("{dir}/sub/two")), "new");
    }
    fs::create_dir(fleet.path(0, "empty")).unwrap();
    for file in ["file", "below/file", "empty"] {
        tree::write(fleet.path(1, file), "old");
    }
    symlink(&outside, fleet.path(1, "link")).unwrap();
    symlink("nowhere", fleet.path(1, "dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(fleet.path(1, "fifo")).status().unwrap().success());
    let before = (tree::snapshot(&outside), tree::untouched(&outside));
    let there = tree::snapshot(&fleet.base(1));
    let check = fleet.msync(0, &["check", "-r", "-t", "h1"]);
    assert_eq!(check.code, Some(2), "{check:?}");
    let dry = fleet.msync(0, &["-l", "1", "send", "-rn"]).well();
    assert!(
        dry.out.contains("[update:h1:link/sub/two]") || dry.out.contains("link/sub/two"),
        "{dry:?}"
    );
    assert_eq!(tree::snapshot(&fleet.base(1)), there);
    fleet.msync(0, &["send", "-r"]).ok();
    for at in [1, 2] {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
    assert_eq!((tree::snapshot(&outside), tree::untouched(&outside)), before);
    assert_eq!(fleet.staged(1), [""; 0]);
    let again = fleet.msync(0, &["--json", "send", "-r"]).well();
    assert!(again.out.contains("\"files\":0"), "{again:?}");
    fleet.msync(0, &["check", "-r"]).ok();
    // The path itself, too.
    fs::remove_dir_all(fleet.path(1, "file")).unwrap();
    tree::write(fleet.path(1, "file"), "old");
    fleet.msync(0, &["send", "-r", "file"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

/// `h0` has files and a link where `h1` has directories with something in them.
fn with_full_directories(name: &str) -> Fleet {
    let fleet = Fleet::new(name, 3);
    for file in ["dir/file", "long"] {
        tree::write(fleet.path(0, file), tree::bytes(if file == "long" { 2 << 20 } else { 9 }, 1));
    }
    symlink("elsewhere", fleet.path(0, "dir/link")).unwrap();
    tree::write(fleet.path(0, "stays"), "x");
    for at in ["dir/file/a", "dir/file/sub/b", "dir/link/c", "long/d"] {
        tree::write(fleet.path(1, at), "old");
    }
    fleet
}

#[test]
fn a_directory_that_is_not_empty_goes_with_delete_alone() {
    let fleet = with_full_directories("from-directory");
    let ran = fleet.msync(0, &["send", "-r"]);
    let line = |path: &str| format!("error: {FULL} h1:{path}");
    let lines = ["dir/file", "dir/link", "long"].map(line);
    assert_eq!((ran.code, ran.errors()), (Some(2), lines.iter().map(|l| l.as_str()).collect()));
    assert!(fleet.path(1, "stays").exists() && fleet.path(1, "dir/file/sub/b").exists());
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
    let dry = fleet.msync(0, &["send", "-rn", "--delete"]).well();
    for path in ["dir/file/sub/b", "dir/file/sub", "dir/file", "long"] {
        assert!(dry.out.contains(&format!("[delete:{path}]")), "{path}: {dry:?}");
    }
    assert!(fleet.path(1, "dir/file/sub/b").exists());
    // What is in them counts: three directories, one below them, and four files.
    let ran = fleet.msync(0, &["send", "-r", "--delete", "--max-delete", "7"]);
    assert!(ran.code == Some(2) && ran.err.contains("8 entries would be deleted on h1"), "{ran:?}");
    assert!(fleet.path(1, "dir/file/sub/b").exists());
    assert_eq!(fleet.staged(1), [""; 0]);
    let ran = fleet.msync(0, &["--json", "send", "-r", "--delete"]).well();
    assert!(ran.out.contains("\"deleted\":8") && ran.out.contains("\"errors\":0"), "{ran:?}");
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    assert_eq!(fleet.staged(1), [""; 0]);
    fleet.msync(0, &["check", "-r"]).ok();
}

#[test]
fn what_was_to_replace_a_full_directory_has_failed_where_nothing_is_deleted() {
    let fleet = with_full_directories("refused-directory");
    let late = ["dir/file", "dir/link", "long"];
    for dry in [false, true] {
        let verb = if dry { "-rnv" } else { "-rv" };
        let args = ["send", verb, "--delete", "--max-delete", "7"];
        let ran = fleet.msync(0, &args);
        assert!(ran.code == Some(2) && ran.err.contains("8 entries would be"), "{ran:?}");
        for path in late {
            assert!(
                ran.errors().contains(&&*format!("error: Directory not empty h1:{path}")),
                "{ran:?}"
            );
            assert!(!ran.out.contains(&format!("h1:{path}]")), "{path}: {ran:?}");
        }
        let mut args = vec!["--json"];
        args.extend(["send", "-r", "--delete", "--max-delete", "7"]);
        args.extend(dry.then_some("-n"));
        let ran = fleet.msync(0, &args);
        let host = |name: &str| {
            let is_host = |line: &&str| {
                line.contains(&format!("\"name\":\"{name}\"")) && line.contains("\"files\":")
            };
            ran.out.lines().find(is_host).unwrap_or_else(|| panic!("{ran:?}"))
        };
        assert!(host("h1").contains("\"files\":0,\"bytes\":0,"), "{ran:?}");
        assert!(host("h1").contains("\"status\":\"failed\""), "{ran:?}");
        let total = ran.out.lines().last().unwrap_or_default();
        assert!(total.contains("\"failed\":2,") && total.contains("\"errors\":4,"), "{ran:?}");
    }
    fleet.msync(0, &["send", "-r", "--delete", "--max-delete", "8"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn a_directory_that_is_not_empty_goes_with_delete_before() {
    let fleet = with_full_directories("before-directory");
    tree::write(fleet.path(1, "extra"), "old");
    let ran = fleet.msync(0, &["--json", "send", "-r", "--delete-before"]).well();
    assert!(ran.out.contains("\"deleted\":9"), "{ran:?}");
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn a_large_directory_in_the_place_of_a_file_needs_force() {
    let fleet = Fleet::new("large-directory", 2);
    tree::write(fleet.path(0, "file"), "new");
    for n in 0..150 {
        tree::write(fleet.path(1, format!("file/{n}")), "old");
    }
    let ran = fleet.msync(0, &["send", "-r", "--delete"]);
    assert!(
        ran.code == Some(2) && ran.err.contains("nothing is deleted without --force"),
        "{ran:?}"
    );
    assert!(fleet.path(1, "file/149").exists());
    fleet.msync(0, &["send", "-r", "--delete", "--force"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn what_a_pattern_keeps_in_such_a_directory_keeps_it() {
    let fleet = Fleet::new("kept-directory", 2);
    tree::write(fleet.path(0, "file"), "new");
    tree::write(fleet.path(1, "file/a"), "old");
    tree::write(fleet.path(1, "file/b.keep"), "old");
    let ran = fleet.msync(0, &["send", "-r", "--delete", "--exclude", "*.keep"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.errors(), ["error: Directory not empty h1:file"], "{ran:?}");
    assert!(Path::exists(&fleet.path(1, "file/b.keep")));
    assert_eq!(fleet.staged(1), [""; 0]);
}
