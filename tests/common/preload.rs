//! A library that is loaded before the system's own, and answers some of its calls in its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::MAKUOSAN;
use super::skip;

/// Makes one of C code, below `dir`. None, said aloud, where it cannot be had.
#[track_caller]
pub fn library(what: &str, dir: &Path, name: &str, source: &str) -> Option<PathBuf> {
    let (code, library) = (dir.join(format!("{name}.c")), dir.join(format!("{name}.so")));
    fs::write(&code, source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).args([&library, &code]);
    if !cc.status().is_ok_and(|status| status.success()) {
        skip(what, "no C compiler");
        return None;
    }
    // A program that is linked statically takes no other library.
    let program = fs::read(MAKUOSAN).unwrap();
    if !program.windows(3).any(|bytes| bytes == b"ld-") {
        skip(what, "makuosan is linked statically");
        return None;
    }
    Some(library)
}
