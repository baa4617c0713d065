//! Files that take long to compare, and sparse ones that do not.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::common::{Fleet, skip, tree};

/// To read so much would take an hour.
const SPARSE: u64 = 1 << 40;
/// Where there is something in it.
const FAR: u64 = 700 << 30;

/// A sparse file with `text` far inside. False where such files cannot be.
fn make_sparse(path: &Path, text: &[u8]) -> bool {
    tree::write(path, "");
    let file = File::options().write(true).open(path).unwrap();
    if let Err(error) = file.set_len(SPARSE) {
        skip("sparse files", &format!("no file of {SPARSE} bytes: {error}"));
        return false;
    }
    edit(path, FAR, text);
    file.metadata().unwrap().blocks() < 1_000_000
}

/// Writes into a file, which gets the same time in any case.
fn edit(path: &Path, at: u64, text: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(text, at).unwrap();
    tree::set_mode(path, 0o644);
    tree::set_mtime(path, 1_700_000_000, 0);
}

#[test]
fn holes_are_compared_without_being_read() {
    for (name, options) in [("sparse", vec![]), ("sparse-keyed", vec!["-k"])] {
        let mut fleet = Fleet::idle(name, 3);
        let key = fleet.dir().join("key");
        tree::write(&key, "a secret of the group");
        tree::set_mode(&key, 0o600);
        let options: Vec<&str> =
            options.into_iter().flat_map(|option| [option, key.to_str().unwrap()]).collect();
        (0..3).for_each(|at| fleet.start(at, &options));
        fleet.wait_for_members();
        if !(0..3).all(|at| make_sparse(&fleet.path(at, "d/sparse"), b"something")) {
            return;
        }
        for args in [&["check", "-r"][..], &["check", "d/sparse"], &["-n", "-r", "--checksum"]] {
            assert_eq!(fleet.msync(0, args).ok().out, "", "{args:?}");
        }
        // Zeros that are written are the same as a hole, wherever they are.
        for at in [0, 65_535, FAR - 100_000, FAR + 9, SPARSE - 1] {
            edit(&fleet.path(1, "d/sparse"), at, &[0]);
            edit(&fleet.path(0, "d/sparse"), at / 2, &[0; 100_000]);
        }
        let ran = fleet.msync(0, &["-l", "1", "check", "d/sparse"]).well();
        let same = ran.out.lines().filter(|line| line.ends_with(": OK d/sparse")).count();
        assert_eq!(same, 2, "{ran:?}");
        let (_, total) = fleet.console(0).send("send -r --checksum");
        assert_eq!((total.files, total.bytes, total.errors), (0, 0, 0), "{total:?}");
        // Anything else is not.
        for (at, text) in [(0, &b"x"[..]), (SPARSE - 1, b"\x01"), (FAR, b"somewhere")] {
            edit(&fleet.path(2, "d/sparse"), at, text);
            let ran = fleet.msync(0, &["check", "-r"]);
            assert_eq!((ran.code, ran.out.as_str()), (Some(2), "h2: NG d/sparse\n"), "{ran:?}");
            let ran = fleet.msync(0, &["-n", "-l", "1", "--checksum", "send", "-r"]).well();
            assert_eq!(ran.out, "(dryrun) update h2:d/sparse\n");
            edit(&fleet.path(2, "d/sparse"), at, &[0; 9][..text.len()]);
            edit(&fleet.path(2, "d/sparse"), FAR, b"something");
            fleet.msync(0, &["check", "-r"]).ok();
        }
        // The same bytes elsewhere are another content.
        edit(&fleet.path(2, "d/sparse"), FAR, &[0; 9]);
        edit(&fleet.path(2, "d/sparse"), FAR + (64 << 10), b"something");
        assert_eq!(fleet.msync(0, &["check", "-r"]).out, "h2: NG d/sparse\n");
        fleet.msync(0, &["send", "-r", "--checksum"]).ok();
        fleet.msync(0, &["check", "-r"]).ok();
    }
}
