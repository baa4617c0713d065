//! What fuzzing has kept, run as plain tests: `tests/fuzz/README.md` says how it came about.

mod bodies;
mod seeds;

use std::fs;
use std::path::PathBuf;

/// The files of a folder below `tests/fuzz`, sorted; none if there is no such folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder);
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = found.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs a body over everything that was kept for it, and says which file it is if it fails.
fn kept(name: &str, body: fn(&[u8])) {
    let corpus = files(&format!("corpus/{name}"));
    // A package of the sources has no corpora: they belong to a package of their own.
    if corpus.is_empty() && !PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").exists() {
        return eprintln!("skipped: no tests/fuzz here");
    }
    assert!(corpus.len() >= 10, "{} inputs for {name}", corpus.len());
    for file in corpus.into_iter().chain(files(&format!("regressions/{name}"))) {
        let input = fs::read(&file).unwrap();
        let shown = file.display().to_string();
        if std::panic::catch_unwind(|| body(&input)).is_err() {
            panic!("{shown} fails");
        }
    }
}

#[test]
fn decoders() {
    kept("decoders", bodies::decoders::run);
}

#[test]
fn incoming() {
    kept("incoming", bodies::incoming::run);
}

#[test]
fn outgoing() {
    kept("outgoing", bodies::outgoing::run);
}

#[test]
fn members() {
    kept("members", bodies::members::run);
}

#[test]
fn console() {
    kept("console", bodies::console::run);
}

#[test]
fn sealed() {
    kept("sealed", bodies::sealed::run);
}
