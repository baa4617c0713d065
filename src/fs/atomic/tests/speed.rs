//! How long it takes.
#![allow(clippy::disallowed_methods)] // the time that is measured

use std::os::fd::AsFd;
use std::time::Instant;

use super::*;
use crate::sys::fsat::{self, Rename};

/// So many files, in directories of 100.
const FILES: usize = 100_000;

fn fill(temp: &TempDir, content: &str) {
    for n in 0..FILES / 100 {
        let dir = temp.mkdir(&format!("d{n}"));
        (0..100).for_each(|m| std::fs::write(dir.join(format!("file-{m}")), content).unwrap());
    }
}

/// A bare loop of as many exchanges as fast as they can be done.
fn bare(under: &Path) -> f64 {
    let temp = TempDir::under(under, "bare");
    fill(&temp, "old");
    let stage = temp.mkdir("stage");
    (0..FILES).for_each(|n| std::fs::write(stage.join(format!("{n:x}")), "new one").unwrap());
    let stage = std::fs::File::open(stage).unwrap();
    let begun = Instant::now();
    for n in 0..FILES / 100 {
        let dir = std::fs::File::open(temp.join(&format!("d{n}"))).unwrap();
        for m in 0..100 {
            let (slot, name) = (format!("{:x}", n * 100 + m), format!("file-{m}"));
            let from = (stage.as_fd(), slot.as_bytes());
            fsat::rename_at(from.0, from.1, dir.as_fd(), name.as_bytes(), Rename::Exchange)
                .unwrap();
        }
    }
    begun.elapsed().as_secs_f64()
}

#[test]
#[ignore = "it measures; by hand, with --release"]
fn a_commit_is_about_as_fast_as_a_bare_loop() {
    for under in ["/dev/shm", "/tmp"].map(Path::new) {
        let (from, to) = (TempDir::under(under, "new"), TempDir::under(under, "old"));
        fill(&from, "new one");
        fill(&to, "old");
        let mut disk = start(&to, &[]);
        let begun = Instant::now();
        let prepared = ready(&from, &mut disk, Mode::SEND);
        let kept = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let applied = apply(&mut disk);
        let took = begun.elapsed().as_secs_f64();
        assert_eq!((applied.done, applied.failed), (prepared.operations, 0));
        let begun = Instant::now();
        while disk.clear_transaction(NO) {}
        let cleared = begun.elapsed().as_secs_f64();
        let bare = bare(under);
        println!(
            "{}: bare {bare:.3} s, commit {took:.3} s ({:.2}), kept in {kept:.1} s, cleared in {cleared:.1} s",
            under.display(),
            bare / took
        );
    }
}
