//! Files that change while they are sent: never a torn one on any target.
//!
//! Every version of a file says in each of its lines which version it is, so that a mixture of two
//! cannot be taken for one.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::common::{Fleet, eventually, now, tree};

/// Bytes of a line.
const LINE: usize = 32;

/// So many lines of a version: `VERSION OF COUNT AT`.
fn version(number: u64, count: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(count * LINE);
    for at in 0..count {
        // A write to a vector cannot fail.
        let _ = writeln!(text, "{number:010} {at:09} of {count:07}");
    }
    assert_eq!(text.len(), count * LINE);
    text
}

/// The version that `content` is, or why it is none.
fn version_of(content: &[u8]) -> Result<u64, String> {
    let count = content.len() / LINE;
    let number = content.get(..10).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let number = number.ok_or_else(|| format!("{} bytes that name no version", content.len()))?;
    let want = version(number, count);
    if want == content {
        return Ok(number);
    }
    let line = |at: usize| {
        let line = content.get(at * LINE..(at + 1) * LINE).unwrap_or_default();
        String::from_utf8_lossy(line).trim_end().to_owned()
    };
    let torn = (0..count).find(|&at| content[at * LINE..(at + 1) * LINE] != want[at * LINE..][..LINE]);
    Err(format!(
        "torn at line {torn:?}: {:?}, where {} bytes begin with {:?}",
        line(torn.unwrap_or(count)),
        content.len(),
        line(0)
    ))
}

/// Changes a file again and again, on a thread of its own, until it is dropped.
struct Changer {
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Changer {
    /// `change` gets the number of the change, from 2 on.
    fn start(mut change: impl FnMut(u64) + Send + 'static) -> Changer {
        let (stop, changes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&changes));
        let thread = thread::spawn(move || {
            let mut number = 2;
            while !stopped.load(Ordering::Relaxed) {
                change(number);
                number += 1;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Changer { stop, changes, thread: Some(thread) }
    }

    /// Ends it, after the change under way.
    fn stop(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
        self.changes.load(Ordering::Relaxed)
    }
}

impl Drop for Changer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends `file` again and again while it is changed by `change`, every few milliseconds or less, and
/// has `check` look at what the targets have all the while. Then it must arrive.
#[track_caller]
fn send_while_changing(
    fleet: &Fleet,
    change: impl FnMut(u64) + Send + 'static,
    check: impl Fn(&[u8]) -> Result<u64, String> + Copy + Send + 'static,
) {
    let targets: Vec<PathBuf> = (1..fleet.len()).map(|at| fleet.path(at, "file")).collect();
    let mut changer = Changer::start(change);
    let look = move |path: &Path| {
        // It may not be there yet; once it is, it is renamed over in one step.
        if let Ok(content) = fs::read(path) {
            check(&content).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        }
    };
    let watched = targets.clone();
    let mut watcher = Changer::start(move |_| {
        watched.iter().for_each(|path| look(path));
        thread::sleep(Duration::from_millis(1));
    });
    let deadline = now() + Duration::from_millis(1_500);
    let (mut arrived, mut failed) = (0, 0);
    while now() < deadline {
        let ran = fleet.msync(0, &["send", "-r"]);
        match ran.code {
            Some(0) => arrived += 1,
            _ => {
                // The only reason there can be.
                let line = "error: File changed while it was read file\n";
                assert_eq!((ran.code, ran.err.as_str()), (Some(2), line), "{ran:?}");
                failed += 1;
            }
        }
        targets.iter().for_each(|path| look(path));
    }
    let changes = changer.stop();
    watcher.stop();
    eprintln!("{changes} changes; sent {arrived} times, {failed} times not");
    assert!(changes > 10, "only {changes} changes");
    fleet.msync(0, &["send", "-r"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
    assert_eq!(fleet.staged(1), [""; 0]);
}

#[test]
fn rewritten_in_place_with_its_size_kept() {
    let fleet = Fleet::new("rewritten", 3);
    let path = fleet.path(0, "file");
    let count = 40_000;
    fs::write(&path, version(1, count)).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    // A version that takes long to be written, on a machine with other things to do, is there in
    // part for so long that its part is a state of the file like any other.
    let slow = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&slow);
    let (mut next, mut pause) = (version(2, count), 0);
    let change = move |number: u64| {
        let began = now();
        file.write_all_at(&next, 0).unwrap();
        slow.fetch_or(began.elapsed() > Duration::from_millis(15), Ordering::Relaxed);
        next = version(number + 1, count);
        // At all distances from the 20 ms for which a fresh file is waited for.
        pause = (pause + 7) % 40;
        thread::sleep(Duration::from_millis(pause));
    };
    send_while_changing(&fleet, change, |content| version_of(content));
    let _ = seen;
}
