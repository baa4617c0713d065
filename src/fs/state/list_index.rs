//! What a list names, as sorted hashes of paths, so that it can be asked without being read.
//!
//! While a list is written, the hashes of its paths are collected, and put into it as a *run*, sorted, whenever
//! there are [`MOST_IN_RUN`] of them, and in the end. The last record of a list, the *trailer*, says where
//! the runs are, whether the list is whole, how many objects it has and the sum of their hashes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::name::RelPath;
use crate::wire::bytes::{Put, Reader};
use crate::wire::manifest::Manifest;
use crate::wire::names::{Hash, named};

/// The most hashes in a run.
pub const MOST_IN_RUN: usize = 64 << 10;
/// The most runs of a list.
const MOST_RUNS: usize = 4_096;
/// The bytes of a hash.
const HASH: usize = 8;
/// How many hashes are read at a time.
const BLOCK: u64 = 512;
/// The longest trailer, as a payload.
pub const MAX_TRAILER: usize = 1 + 8 + 8 + 4 + MOST_RUNS * 12 + 4;

/// The hash of a path, as it is in runs.
pub fn hash_of(path: &RelPath) -> u64 {
    Hash::of_path(path).0
}

/// A run in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where its first hash is.
    pub at: u64,
    /// How many it has.
    pub len: u32,
}

/// What the trailer of a list says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trailer {
    /// The list was ended by whoever wrote it.
    pub is_whole: bool,
    /// How many objects it has.
    pub count: u64,
    /// The sum of the hashes of their paths, modulo 2^64.
    pub sum: u64,
    /// Its runs.
    pub runs: Vec<Run>,
}

impl Trailer {
    /// Its bytes. The last ones say how many they are.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.is_whole)];
        out.put_u64(self.count);
        out.put_u64(self.sum);
        out.put_u32(self.runs.len() as u32);
        for run in &self.runs {
            out.put_u64(run.at);
            out.put_u32(run.len);
        }
        out.put_u32(out.len() as u32 + 4);
        out
    }

    /// Reads it. None if it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let is_whole = match reader.u8().ok()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let (count, sum) = (reader.u64().ok()?, reader.u64().ok()?);
        let runs = reader.u32().ok()? as usize;
        if runs > MOST_RUNS {
            return None;
        }
        let mut run = || Some(Run { at: reader.u64().ok()?, len: reader.u32().ok()? });
        let runs = (0..runs).map(|_| run()).collect::<Option<_>>()?;
        let len = reader.u32().ok()?;
        (len as usize == bytes.len() && reader.end().is_ok()).then_some(Trailer {
            is_whole,
            count,
            sum,
            runs,
        })
    }

    /// Whether one more run can be noted.
    pub fn has_room(&self) -> bool {
        self.runs.len() < MOST_RUNS
    }

    /// Counts what a manifest names.
    pub fn add_all(&mut self, manifest: &Manifest) {
        for entry in named(manifest) {
            self.count += 1;
            self.sum = self.sum.wrapping_add(hash_of(&entry.path));
        }
    }
}

/// The payload of a run of these hashes, which are none after it.
pub fn emit_run(hashes: &mut Vec<u64>) -> Vec<u8> {
    hashes.sort_unstable();
    hashes.drain(..).flat_map(u64::to_be_bytes).collect()
}

/// Reads the hashes `from..to` of a run.
fn read(file: &File, run: Run, from: u64, to: u64) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; (to - from) as usize * HASH];
    file.read_exact_at(&mut bytes, run.at + from * HASH as u64)?;
    let number = |hash: &[u8]| hash.iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
    Ok(bytes.chunks_exact(HASH).map(number).collect())
}

/// Whether a run has a hash.
///
/// # Errors
/// The file cannot be read.
pub fn run_has(file: &File, run: Run, hash: u64) -> io::Result<bool> {
    let (mut low, mut high) = (0, u64::from(run.len));
    // Where it would be if they were spread evenly, which those of names are.
    let mut guess = ((u128::from(hash) * u128::from(high)) >> 64) as u64;
    while low < high {
        let from = guess.saturating_sub(BLOCK / 2).clamp(low, high - 1);
        let to = (from + BLOCK).min(high);
        let hashes = read(file, run, from, to)?;
        match (hashes.first(), hashes.last()) {
            (Some(first), _) if hash < *first => high = from,
            (_, Some(last)) if hash > *last => low = to,
            _ => return Ok(hashes.binary_search(&hash).is_ok()),
        }
        guess = low + (high - low) / 2;
    }
    Ok(false)
}

/// All hashes of some runs, ascending.
pub struct Ascending<'a> {
    runs: Vec<RunReader<'a>>,
    next: BinaryHeap<Reverse<(u64, usize)>>,
}

enum RunReader<'a> {
    File { file: &'a File, run: Run, at: u64, block: std::vec::IntoIter<u64> },
    Memory(std::slice::Iter<'a, u64>),
}

impl RunReader<'_> {
    fn next(&mut self) -> io::Result<Option<u64>> {
        match self {
            RunReader::Memory(hashes) => Ok(hashes.next().copied()),
            RunReader::File { file, run, at, block } => {
                if block.len() == 0 {
                    let to = (*at + BLOCK).min(u64::from(run.len));
                    *block = read(file, *run, *at, to)?.into_iter();
                    *at = to;
                }
                Ok(block.next())
            }
        }
    }
}

impl<'a> Ascending<'a> {
    /// Of runs in a file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_file(file: &'a File, runs: &[Run]) -> io::Result<Self> {
        let reader =
            |run: &Run| RunReader::File { file, run: *run, at: 0, block: Vec::new().into_iter() };
        Ascending::of(runs.iter().map(reader).collect())
    }

    /// Of sorted hashes in memory.
    ///
    /// # Errors
    /// None.
    pub fn of_memory(hashes: &'a [u64]) -> io::Result<Self> {
        Ascending::of(vec![RunReader::Memory(hashes.iter())])
    }

    fn of(mut runs: Vec<RunReader<'a>>) -> io::Result<Self> {
        let mut next = BinaryHeap::new();
        for (at, run) in runs.iter_mut().enumerate() {
            next.extend(run.next()?.map(|hash| Reverse((hash, at))));
        }
        Ok(Ascending { runs, next })
    }

    /// The next one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next(&mut self) -> io::Result<Option<u64>> {
        let Some(Reverse((hash, at))) = self.next.pop() else { return Ok(None) };
        let more = self.runs.get_mut(at).map(RunReader::next).transpose()?.flatten();
        self.next.extend(more.map(|hash| Reverse((hash, at))));
        Ok(Some(hash))
    }

    /// Whether all of `other` are among these.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn has_all_of(mut self, mut other: Ascending<'_>) -> io::Result<bool> {
        let mut here = self.next()?;
        while let Some(hash) = other.next()? {
            while here.is_some_and(|here| here < hash) {
                here = self.next()?;
            }
            if here != Some(hash) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rng::Rng;
    use crate::fs::testing::TempDir;

    #[test]
    fn a_trailer_comes_back_and_nothing_else_is_one() {
        for runs in [0, 1, 7, MOST_RUNS] {
            let runs = (0..runs as u64).map(|at| Run { at: at << 33, len: at as u32 }).collect();
            let trailer = Trailer { is_whole: true, count: 1 << 40, sum: u64::MAX, runs };
            let bytes = trailer.emit();
            assert!(bytes.len() <= MAX_TRAILER);
            assert_eq!(Trailer::parse(&bytes), Some(trailer));
            for cut in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
                assert_eq!(Trailer::parse(&bytes[..cut]), None);
            }
        }
        assert_eq!(Trailer::parse(&[2; 25]), None);
    }

    /// A file with a run at an odd place.
    fn run_of(temp: &TempDir, name: &str, hashes: &[u64]) -> (File, Run) {
        let bytes = [&b"abc"[..], &emit_run(&mut hashes.to_vec())].concat();
        let file = File::open(temp.write(name, bytes)).unwrap();
        (file, Run { at: 3, len: hashes.len() as u32 })
    }

    #[test]
    fn what_is_in_a_run_is_found_however_it_is_spread() {
        let temp = TempDir::new("run");
        let mut rng = Rng::new(1);
        let even: Vec<u64> = (0..20_000).map(|_| rng.next_u64() | 1).collect();
        let skewed: Vec<u64> = (0..9_000).map(|at| u64::MAX - at * 2).collect();
        let same = vec![7; 3_000];
        let ends = vec![u64::MAX, 1, u64::MAX, 1];
        for (at, hashes) in [even, skewed, same, ends, vec![], vec![5]].iter().enumerate() {
            let (file, run) = run_of(&temp, &at.to_string(), hashes);
            let has = |hash| run_has(&file, run, hash).unwrap();
            assert!(hashes.iter().all(|hash| has(*hash)), "{at}");
            assert!(!hashes.iter().any(|hash| has(*hash ^ 1)), "{at}");
            assert!(!has(0) && !has(1 << 63));
        }
    }

    #[test]
    fn runs_are_merged_and_compared() {
        let temp = TempDir::new("runs");
        let mut rng = Rng::new(2);
        let mut all: Vec<u64> = (0..5_000).map(|_| rng.below(1 << 40)).collect();
        let (file, whole) = run_of(&temp, "whole", &all);
        // The same file, as runs of which each is sorted.
        let parts: Vec<Run> = (0..5).map(|at| Run { at: 3 + at * 8_000, len: 1_000 }).collect();
        all.sort_unstable();
        let mut merged = Ascending::of_file(&file, &parts).unwrap();
        let got: Vec<u64> = std::iter::from_fn(|| merged.next().unwrap()).collect();
        assert_eq!(got, all);
        fn of(hashes: &[u64]) -> Ascending<'_> {
            Ascending::of_memory(hashes).unwrap()
        }
        let in_file = || Ascending::of_file(&file, &[whole]).unwrap();
        assert!(in_file().has_all_of(of(&all)).unwrap() && of(&all).has_all_of(in_file()).unwrap());
        assert!(in_file().has_all_of(of(&[])).unwrap() && !of(&[]).has_all_of(in_file()).unwrap());
        for at in [0, 2_500, 4_999] {
            let mut less = all.clone();
            less.retain(|hash| *hash != all[at]);
            assert!(in_file().has_all_of(of(&less)).unwrap());
            assert!(!of(&less).has_all_of(in_file()).unwrap(), "{at}");
        }
    }
}
