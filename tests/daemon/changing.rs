//! Files that change while they are sent: never a torn one on any target.
//!
//! Every version of a file says in each of its lines which version it is, so that a mixture of two
//! cannot be taken for one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::common::process::Running;
use crate::common::{Fleet, LONG, eventually, now, tree};

/// Bytes of a line.
pub const LINE: usize = 32;
const PAGE: usize = 4_096;
/// The most pages of a file that grows or shrinks: some sizes travel alone, some with others.
const MOST_PAGES: usize = 1_100;

/// So many lines of a version: `VERSION OF COUNT AT`.
pub fn version(number: u64, count: usize) -> Vec<u8> {
    // Whoever watches makes many of them: each line is the one before, counted up.
    let mut line = format!("{number:010} {:09} {count:010}\n", 0).into_bytes();
    let mut text = Vec::with_capacity(count * LINE);
    for _ in 0..count {
        text.extend_from_slice(&line);
        for digit in line[11..20].iter_mut().rev() {
            *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
            if *digit != b'0' {
                break;
            }
        }
    }
    assert_eq!(text.len(), count * LINE);
    text
}

/// The version that `content` is, or why it is none.
pub fn version_of(content: &[u8]) -> Result<u64, String> {
    let count = content.len() / LINE;
    let number =
        content.get(..10).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let number = number.ok_or_else(|| format!("{} bytes that name no version", content.len()))?;
    let want = version(number, count);
    if want == content {
        return Ok(number);
    }
    let line = |at: usize| {
        let line = content.get(at * LINE..(at + 1) * LINE).unwrap_or_default();
        String::from_utf8_lossy(line).trim_end().to_owned()
    };
    let torn =
        (0..count).find(|&at| content[at * LINE..(at + 1) * LINE] != want[at * LINE..][..LINE]);
    Err(format!(
        "torn at line {torn:?}: {:?}, where {} bytes begin with {:?}",
        line(torn.unwrap_or(count)),
        content.len(),
        line(0)
    ))
}

/// Changes a file again and again, on a thread of its own, until it is dropped.
pub struct Changer {
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Changer {
    /// `change` gets the number of the change, from 2 on.
    pub fn start(mut change: impl FnMut(u64) + Send + 'static) -> Changer {
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

    /// How many changes there were.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Ends it, after the change under way.
    pub fn stop(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
        self.changes()
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

/// Sends `file` again and again while `change` works on it, and has `check` look at what the targets
/// have all the while. Then, when it is left alone, it must arrive.
#[track_caller]
fn send_while_changing(
    fleet: &Fleet,
    change: impl FnMut(u64) + Send + 'static,
    check: impl Fn(&[u8]) -> Result<(), String> + Clone + Send + 'static,
) {
    let targets: Vec<PathBuf> = (1..fleet.len()).map(|at| fleet.path(at, "file")).collect();
    let mut changer = Changer::start(change);
    let look = move |paths: &[PathBuf]| {
        for path in paths {
            // It may not be there yet; once it is, it is renamed over in one step.
            if let Ok(content) = fs::read(path) {
                check(&content).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            }
        }
    };
    let (watched, watch) = (targets.clone(), look.clone());
    let mut watcher = Changer::start(move |_| {
        watch(&watched);
        thread::sleep(Duration::from_millis(2));
    });
    let (least, most) = (now() + Duration::from_millis(1_500), now() + LONG);
    let (mut arrived, mut failed) = (0, 0);
    while now() < least || (changer.changes() < 20 && now() < most) {
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
        look(&targets);
    }
    let changes = changer.stop();
    watcher.stop();
    eprintln!("{changes} changes; sent {arrived} times, {failed} times not");
    assert!(changes >= 20, "only {changes} changes");
    fleet.msync(0, &["send", "-r"]).ok();
    look(&targets);
    for at in 1..fleet.len() {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
        assert_eq!(fleet.staged(at), [""; 0]);
    }
}

/// The milliseconds between two changes: at all distances from the 20 ms for which the sender waits
/// before it believes that a file is as it looks.
fn pause(number: u64) -> Duration {
    Duration::from_millis(number * 7 % 40)
}

#[test]
fn rewritten_in_place_with_its_size_kept() {
    // A file that is read piece by piece, over a third of a second.
    let fleet = Fleet::with("rewritten", &[&["-T", "100"], &[], &[]]);
    let path = fleet.path(0, "file");
    let count = 140_000;
    fs::write(&path, version(1, count)).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    // A write that the machine leaves lying for longer than the sender waits makes a state of the
    // file like any other: the beginning of one version, then the end of the one before.
    let slow = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&slow);
    let mut next = version(2, count);
    let change = move |number: u64| {
        // Noted before it can be seen, and taken back if it was quick.
        noted.lock().unwrap().insert(number);
        let began = now();
        file.write_all_at(&next, 0).unwrap();
        if began.elapsed() < Duration::from_millis(15) {
            noted.lock().unwrap().remove(&number);
        }
        next = version(number + 1, count);
        // Now and then there is time enough to send it.
        thread::sleep(if number % 8 == 0 { Duration::from_millis(700) } else { pause(number) });
    };
    send_while_changing(&fleet, change, move |content| {
        let Err(why) = version_of(content) else { return Ok(()) };
        let half = |number: u64| {
            let (new, old) = (version(number, count), version(number - 1, count));
            let same = new.iter().zip(content).take_while(|(a, b)| a == b).count();
            content.len() == new.len() && content[same..] == old[same..]
        };
        let slow = slow.lock().unwrap().clone();
        if slow.into_iter().any(half) { Ok(()) } else { Err(why) }
    });
}

#[test]
fn replaced_by_another_of_another_size() {
    let fleet = Fleet::new("replaced-file", 3);
    let path = fleet.path(0, "file");
    // Some travel in a batch with others, some alone.
    let size =
        |number: u64| if number % 3 == 0 { 140_000 } else { 1_000 + number as usize % 10_000 };
    fs::write(&path, version(1, size(1))).unwrap();
    let aside = fleet.dir().join("aside");
    let change = move |number: u64| {
        fs::write(&aside, version(number, size(number))).unwrap();
        fs::rename(&aside, &path).unwrap();
        thread::sleep(pause(number));
    };
    let check = move |content: &[u8]| {
        let number = version_of(content)?;
        let want = size(number) * LINE;
        let got = content.len();
        if got == want { Ok(()) } else { Err(format!("{got} bytes of {want}")) }
    };
    send_while_changing(&fleet, change, check);
}

/// What a file of the next two tests begins with; they change only how much of it there is, by pages,
/// as a page is written or cut off in one step.
fn endless(pages: usize) -> Vec<u8> {
    version(1, pages * PAGE / LINE)
}

fn check_pages(content: &[u8]) -> Result<(), String> {
    let pages = content.len() / PAGE;
    let whole =
        content.len() == pages * PAGE && content == endless(MOST_PAGES).split_at(content.len()).0;
    if whole { Ok(()) } else { Err(format!("{} bytes that never were there", content.len())) }
}

#[test]
fn growing() {
    let fleet = Fleet::new("growing", 3);
    let path = fleet.path(0, "file");
    fs::write(&path, &endless(MOST_PAGES)[..PAGE]).unwrap();
    let file = File::options().append(true).open(&path).unwrap();
    let all = endless(MOST_PAGES);
    let mut pages = 1;
    let change = move |number: u64| {
        let end = (pages + 1) * PAGE;
        if let Some(next) = all.get(pages * PAGE..end) {
            (&file).write_all(next).unwrap();
            pages += 1;
        }
        thread::sleep(pause(number) / 2);
    };
    send_while_changing(&fleet, change, check_pages);
}

#[test]
fn shrinking() {
    let fleet = Fleet::new("shrinking", 3);
    let path = fleet.path(0, "file");
    fs::write(&path, endless(MOST_PAGES)).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let mut pages = MOST_PAGES;
    let change = move |number: u64| {
        if pages > 1 {
            pages -= 1;
            file.set_len((pages * PAGE) as u64).unwrap();
        }
        thread::sleep(pause(number) / 2);
    };
    send_while_changing(&fleet, change, check_pages);
}

/// A sender of 5 MB a second; a file whose bytes are on their way, while an old one is at the
/// targets; and another that has arrived.
fn on_its_way(name: &str, count: usize) -> (Fleet, Running) {
    let fleet = Fleet::with(name, &[&["-T", "40"], &[], &[]]);
    // It fills a batch, so that the file comes in the next. That one was looked at long before this
    // one's bytes are there, as walks run ahead.
    tree::write(fleet.path(0, "another"), tree::bytes(4_000_000, 1));
    fs::write(fleet.path(0, "file"), version(1, count)).unwrap();
    for at in 1..3 {
        fs::write(fleet.path(at, "file"), version(0, 10)).unwrap();
    }
    let msync = fleet.msync_start(0, &["send", "-r"]);
    for at in 1..3 {
        eventually("the other file", || fleet.path(at, "another").exists());
    }
    (fleet, msync)
}

/// Both ways to travel: in a batch with others, and alone.
const SIZES: [(&str, usize); 2] = [("batched", 60_000), ("streamed", 140_000)];

#[test]
fn changed_once_and_then_left_alone_is_delivered() {
    for (name, count) in SIZES {
        // Made before: it takes longer than the file on its way.
        let next = version(2, count);
        let (fleet, mut msync) = on_its_way(name, count);
        assert!(msync.is_running());
        let file = File::options().write(true).open(fleet.path(0, "file")).unwrap();
        file.write_all_at(&next, 0).unwrap();
        msync.end().ok();
        for at in 1..3 {
            let got = fs::read(fleet.path(at, "file")).unwrap();
            assert_eq!(version_of(&got), Ok(2), "{name}");
            tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
        }
    }
}

#[test]
fn ever_changing_is_given_up_after_three_tries() {
    for (name, count) in SIZES {
        let (fleet, msync) = on_its_way(name, count);
        let file = File::options().write(true).open(fleet.path(0, "file")).unwrap();
        let mut changer = Changer::start(move |number| {
            // One line is enough.
            file.write_all_at(&version(number, 1), 0).unwrap();
            thread::sleep(Duration::from_millis(5));
        });
        let ran = msync.end();
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
        assert_eq!(ran.err, "error: File changed while it was read file\n");
        for at in 1..3 {
            let got = fs::read(fleet.path(at, "file")).unwrap();
            assert_eq!(version_of(&got), Ok(0), "{name}: not the old one");
            assert!(fs::read(fleet.path(at, "another")).unwrap() == tree::bytes(4_000_000, 1));
            assert_eq!(fleet.staged(at), [""; 0]);
        }
        changer.stop();
        fleet.msync(0, &["send", "-r"]).ok();
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
    }
}

#[test]
fn gone_before_it_was_sent() {
    for (name, count) in SIZES {
        let (fleet, msync) = on_its_way(name, count);
        fs::remove_file(fleet.path(0, "file")).unwrap();
        let ran = msync.end();
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
        let lines: Vec<&str> = ran.err.lines().collect();
        assert!(lines.len() == 1 && lines[0].starts_with("error: "), "{ran:?}");
        assert!(lines[0].ends_with(" file"), "{ran:?}");
        for at in 1..3 {
            let got = fs::read(fleet.path(at, "file")).unwrap();
            assert_eq!(version_of(&got), Ok(0), "{name}: not the old one");
            assert!(fs::read(fleet.path(at, "another")).unwrap() == tree::bytes(4_000_000, 1));
            assert_eq!(fleet.staged(at), [""; 0]);
        }
    }
}
