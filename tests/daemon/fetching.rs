//! `msync fetch`: one host gets something from another one by hand.

use std::fs;
use std::path::Path;

use crate::common::{Fleet, tree};

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn is_like(fleet: &Fleet, host: usize, other: usize) -> bool {
    tree::snapshot(&fleet.base(host)) == tree::snapshot(&fleet.base(other))
}

/// Hosts that keep no records, so that nothing comes by itself.
fn plain(name: &str, hosts: usize) -> Fleet {
    Fleet::with(name, &vec![&["--no-catch-up"][..]; hosts])
}

#[test]
fn a_tree_comes_from_the_host_that_is_named_and_goes_to_no_other() {
    let fleet = plain("fetch-tree", 3);
    for n in 0..2_500 {
        tree::write(fleet.path(0, format!("d/e{}/f{n}", n % 9)), format!("{n}"));
    }
    tree::write(fleet.path(0, "d/large"), tree::bytes(3_000_000, 7));
    let ran = fleet.msync(1, &["fetch", "-v", "-r", "--from", "h0", "d"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("update h1:d/e3/f3\n"), "{}", ran.out);
    assert!(ran.err.contains("2,501 files, "), "{}", ran.err);
    assert!(ran.err.contains(" to 1 host in "), "{}", ran.err);
    assert!(is_like(&fleet, 1, 0));
    assert!(!fleet.path(2, "d").exists());
    let again = fleet.msync(1, &["fetch", "-vv", "-r", "--from", "h0", "d"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.out.contains("skip   h1:d/e3/f3\n"), "{}", again.out);
    assert!(again.err.contains("0 files, 0 B to 1 host in"), "{}", again.err);
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let fleet = plain("fetch-missing", 2);
    let ran = fleet.msync(1, &["fetch", "--from", "h0", "a"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("error: No such file or directory h0:a\n"), "{ran:?}");
    assert!(read(fleet.path(1, "a")).is_none());
}
