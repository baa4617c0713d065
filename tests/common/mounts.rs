//! What a daemon in a mount namespace of its own sees.

use std::path::PathBuf;

use super::Fleet;

/// A path below the fleet's directory as the daemon of host `at` sees it.
#[track_caller]
pub fn inside(fleet: &mut Fleet, at: usize, below: &str) -> PathBuf {
    let path = fleet.dir().join(below);
    let root = format!("/proc/{}/root", fleet.daemon(at).pid());
    PathBuf::from(root).join(path.strip_prefix("/").unwrap())
}
