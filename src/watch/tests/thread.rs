//! The thread, told by its handle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::stage::{config, temp_dir};
use crate::time::Time;
use crate::watch::types::{Command, Event, Flush, WatchNo, Went, Why};
use crate::watch::watcher::{Clock, Watcher};

/// The time, which the test moves; each reading takes a microsecond.
static NOW: AtomicU64 = AtomicU64::new(1_000_000);
static READINGS: AtomicU64 = AtomicU64::new(0);

fn now() -> Time {
    READINGS.fetch_add(1, Ordering::Relaxed);
    Time::from_micros(NOW.fetch_add(1, Ordering::Relaxed))
}

const WAIT: Duration = Duration::from_secs(20);

#[test]
fn a_thread_watches_and_sleeps_until_something_happens() {
    let (temp, other) = (temp_dir("thread"), temp_dir("thread-other"));
    let (sender, events) = mpsc::channel();
    let tell = Box::new(move |event| drop(sender.send(event)));
    let clock = Clock { now, wall: || (1_000, 0) };
    let (watcher, handle) = Watcher::new(clock, 1, None, tell).unwrap();
    let thread = std::thread::spawn(move || watcher.run());
    let watch = WatchNo(3);
    let add = |watch, at: &str| Command::Add { watch, root: temp.root(), config: config(at) };
    handle.tell(add(WatchNo(9), "none"));
    assert!(matches!(events.recv_timeout(WAIT), Ok(Event::Refused(WatchNo(9), _))));
    handle.tell(add(watch, ""));
    let first = events.recv_timeout(WAIT).unwrap();
    assert!(matches!(first, Event::Flush(_, Flush::Tree { why: Why::Begun, deletes: false })));
    let done = || Command::Done { watch, went: Went::Sent { again: Vec::new() } };
    handle.tell(done());
    temp.write("f", "x");
    handle.tell(Command::Reach { watch, cookie: 1 });
    let Ok(Event::Flush(_, Flush::Paths(paths))) = events.recv_timeout(WAIT) else { panic!() };
    assert_eq!(paths[0].path.to_string(), "f");
    handle.tell(done());
    assert!(matches!(events.recv_timeout(WAIT), Ok(Event::Reached { cookie: 1, held: None, .. })));
    // It does nothing while nothing happens.
    std::thread::sleep(Duration::from_millis(50));
    let before = READINGS.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(READINGS.load(Ordering::Relaxed), before);
    let numbers = handle.numbers();
    assert_eq!((numbers[0].0, numbers[0].1.directories, numbers[0].1.flushes), (watch, 1, 2));
    handle.tell(Command::Remove(watch));
    handle.tell(Command::Base(other.root()));
    handle.tell(Command::Stop);
    thread.join().unwrap();
    assert!(handle.numbers().is_empty());
    handle.tell(Command::Stop);
}
