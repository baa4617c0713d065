//! What tests of the real programs share: fleets of daemons on the loopback interface, trees of odd
//! files, and waiting with a deadline.
//!
//! Every fleet has directories, loopback addresses and a multicast group of its own, so that tests
//! run side by side. Whatever a fleet started or made is gone when it is dropped.

// Each test program uses its own part of this.
#![allow(dead_code)]

pub mod console;
pub mod enemy;
pub mod fleet;
pub mod fuse;
pub mod mounts;
pub mod place;
pub mod preload;
pub mod process;
pub mod sandbox;
pub mod tree;
pub mod wrong_clock;

use std::time::{Duration, Instant};

pub use console::Console;
pub use fleet::Fleet;
pub use process::Daemon;

/// Longer than anything takes that works; only what is broken comes near it.
pub const LONG: Duration = Duration::from_secs(20);

/// The time, for deadlines.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock: milliseconds since 1970.
#[allow(clippy::disallowed_methods)]
pub fn wall_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis() as u64
}

/// Asks again and again until there is an answer, and fails the test after `limit`.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + limit;
    loop {
        // Asked after the deadline too, so that a machine that stood still is no failure.
        let late = now() >= deadline;
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(!late, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// As [`within`], with a limit that only what is broken comes near.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    within(LONG, what, || holds().then_some(()));
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    // A file of one's own tells whom one is, without a call of the system that std does not have.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Says that a test, or a part of one, cannot be run here, and why.
pub fn skip(what: &str, why: &str) {
    eprintln!("SKIPPED: {what}: {why}");
}
