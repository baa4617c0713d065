//! The floor that the benchmark compares small files with: what the file systems alone take.
//!
//! One thread reads each file of a tree once; at the same time one thread for each receiver makes
//! all of them, from bytes that are in memory already, with the calls that nobody who puts files into
//! place at once does without: in a directory aside, a thousand files at a time, each is made with its
//! mode, written, given its time and closed; then they are renamed into place. Nothing is sent, looked
//! up, verified or waited for.
//!
//! ```text
//! floor FROM TO...      seconds until all of TO have the tree FROM; they must be empty
//! ```
#![forbid(unsafe_code)]

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Barrier;

use makuosan::daemon::clock;
use makuosan::sys::fsat::{self, Rename};
use makuosan::time::Time;
use makuosan::wire::manifest::FileTime;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Where files are made before they are renamed.
const ASIDE: &[u8] = b".aside";
/// So many are made before they are renamed.
const AT_ONCE: usize = 1_024;

struct Directory {
    name: Vec<u8>,
    mode: u32,
    mtime: FileTime,
    files: Vec<Small>,
}

struct Small {
    name: Vec<u8>,
    mode: u32,
    mtime: FileTime,
    bytes: Vec<u8>,
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match &words[..] {
        [from, to @ ..] if !to.is_empty() => measure(from.as_ref(), to),
        _ => Err("usage: floor FROM TO...".into()),
    };
    match done {
        Ok(seconds) => {
            println!("{seconds:.4} seconds");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(from: &Path, to: &[OsString]) -> Result<f64> {
    // Everybody begins with the same memory, and it is there before time starts.
    let tree = load(from)?;
    let bases = to.iter().map(|to| prepare(to.as_ref())).collect::<Result<Vec<_>>>()?;
    let barrier = Barrier::new(bases.len() + 1);
    // From the first that begins to the last that ends.
    let timed = |work: &dyn Fn() -> Result<()>| {
        barrier.wait();
        let start = clock::now();
        work()?;
        Ok((start, clock::now()))
    };
    let times = std::thread::scope(|scope| {
        let mut threads = vec![scope.spawn(|| timed(&|| load(from).map(drop)))];
        for (base, aside) in &bases {
            let (timed, tree) = (&timed, &tree);
            threads.push(scope.spawn(move || timed(&|| make(base, aside, tree))));
        }
        let died = |_| Err("a thread has panicked".into());
        threads.into_iter().map(|one| one.join().unwrap_or_else(died)).collect::<Result<Vec<_>>>()
    })?;
    for (base, _) in &bases {
        fsat::rmdir_at(base.as_fd(), ASIDE)?;
    }
    let start = times.iter().map(|(start, _)| *start).min().unwrap_or(Time::ZERO);
    let end = times.iter().map(|(_, end)| *end).max().unwrap_or(Time::ZERO);
    Ok(end.since(start).secs_f64())
}

/// Opens a receiver's directory, and one in it to make files in.
fn prepare(to: &Path) -> Result<(OwnedFd, OwnedFd)> {
    let base = OwnedFd::from(File::open(to).map_err(naming(to))?);
    fsat::mkdir_at(base.as_fd(), ASIDE, 0o700).map_err(naming(to))?;
    let aside = fsat::open_at(base.as_fd(), ASIDE, fsat::PATH_ONLY, 0)?;
    Ok((base, aside))
}

/// An error with the path that it is about.
fn naming(path: &Path) -> impl Fn(io::Error) -> String + use<> {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}

fn stamp(of: &fs::Metadata) -> FileTime {
    FileTime { secs: of.mtime(), nanos: of.mtime_nsec() as u32 }
}

/// The directories of `from`, with the files in them; nothing is deeper in the benchmark's tree.
fn load(from: &Path) -> Result<Vec<Directory>> {
    let mut tree = Vec::new();
    for dir in fs::read_dir(from).map_err(naming(from))? {
        let dir = dir?;
        let found = dir.metadata()?;
        if !found.is_dir() || dir.file_name().as_bytes().starts_with(b".") {
            continue;
        }
        let mut files = Vec::new();
        for file in fs::read_dir(dir.path()).map_err(naming(&dir.path()))? {
            let file = file?;
            let found = file.metadata()?;
            files.push(Small {
                name: file.file_name().into_vec(),
                mode: found.mode() & 0o7777,
                mtime: stamp(&found),
                bytes: fs::read(file.path()).map_err(naming(&file.path()))?,
            });
        }
        let (mode, mtime) = (found.mode() & 0o7777, stamp(&found));
        tree.push(Directory { name: dir.file_name().into_vec(), mode, mtime, files });
    }
    Ok(tree)
}

fn make(base: &OwnedFd, aside: &OwnedFd, tree: &[Directory]) -> Result<()> {
    let all: Vec<(usize, &Small)> = tree
        .iter()
        .enumerate()
        .flat_map(|(at, dir)| dir.files.iter().map(move |f| (at, f)))
        .collect();
    let mut open: Option<(usize, OwnedFd)> = None;
    for batch in all.chunks(AT_ONCE) {
        for (number, (_, file)) in batch.iter().enumerate() {
            let name = number.to_string();
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
            let made = fsat::open_at(aside.as_fd(), name.as_bytes(), flags, file.mode)?;
            let made = File::from(made);
            (&made).write_all(&file.bytes)?;
            fsat::set_mtime_fd(made.as_fd(), file.mtime)?;
        }
        for (number, (at, file)) in batch.iter().enumerate() {
            if open.as_ref().is_none_or(|(known, _)| known != at) {
                let dir = &tree[*at];
                fsat::mkdir_at(base.as_fd(), &dir.name, dir.mode)?;
                open = Some((*at, fsat::open_at(base.as_fd(), &dir.name, fsat::PATH_ONLY, 0)?));
            }
            let Some((_, to)) = &open else { continue };
            let name = number.to_string();
            fsat::rename_at(
                aside.as_fd(),
                name.as_bytes(),
                to.as_fd(),
                &file.name,
                Rename::Replace,
            )?;
        }
    }
    for dir in tree {
        fsat::set_mtime_at(base.as_fd(), &dir.name, dir.mtime)?;
    }
    Ok(())
}
