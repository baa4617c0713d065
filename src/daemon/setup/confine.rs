//! Restrictions once everything is open: the daemon drops the capabilities it does not need, and access
//! to files outside the base directory. Where the kernel cannot do this, the daemon runs without.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::errno::ErrorText;
use crate::log;
use crate::sys::caps::{self, Cap};
use crate::sys::landlock::{Access, Ruleset};

/// Directories that system libraries read while the daemon runs, for group names (`-g` of `msync`) and
/// the time zone. Files in /etc are replaced when they change, so the whole directory is needed.
const SYSTEM: [&str; 8] = [
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/var/lib/sss",
    "/run/nscd",
];

/// The files that the daemon still needs.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The base directory.
    pub(crate) base: PathBuf,
    /// Another directory that is written to.
    pub(crate) state: Option<PathBuf>,
    /// Files that may be read again (on SIGHUP).
    pub(crate) read: Vec<PathBuf>,
    /// Files to be removed on exit.
    pub(crate) removed: Vec<PathBuf>,
    /// Whether the daemon ever writes below the base directory.
    pub(crate) writes: bool,
}

/// What is in force.
pub(crate) struct Confined {
    /// As text, for `status`.
    pub(crate) said: String,
    /// Whether files are restricted with Landlock.
    pub(crate) files: bool,
}

/// Applies the restrictions, before any other thread runs. In the directory `replaced`, a file is replaced now and
/// then.
pub(crate) fn confine(places: &Places, replaced: Option<BorrowedFd<'_>>) -> Confined {
    let needed: &[Cap] = match places.writes {
        true => &[
            Cap::Chown,
            Cap::DacOverride,
            Cap::DacReadSearch,
            Cap::Fowner,
            Cap::Fsetid,
            Cap::Mknod,
        ],
        // To replace a file, or to remove the socket and the pid file, takes write access to the directory.
        false if places.removed.is_empty() && replaced.is_none() => &[Cap::DacReadSearch],
        false => &[Cap::DacOverride, Cap::DacReadSearch],
    };
    let mut said = Vec::new();
    let gains = caps::forbid_gain();
    match &gains {
        Ok(()) => said.push("no new privileges".to_owned()),
        Err(error) => log::info(format_args!("cannot forbid new privileges: {}", ErrorText(error))),
    }
    let landlock = gains.and_then(|()| files(places, replaced));
    let files = matches!(landlock, Ok(Some(_)));
    match landlock {
        Ok(Some(abi)) => said.push(format!("Landlock {abi}")),
        Ok(None) => log::info(format_args!(
            "this kernel has no Landlock: only permissions restrict file access"
        )),
        Err(error) => log::warning(format_args!(
            "cannot restrict file access with Landlock: {}",
            ErrorText(&error)
        )),
    }
    match caps::keep_only(needed) {
        Ok(left) => {
            let names: Vec<&str> = left.iter().map(|cap| cap.name()).collect();
            said.push(match names.is_empty() {
                true => "no capabilities".to_owned(),
                false => format!("capabilities {}", names.join(" ")),
            });
        }
        Err(error) => log::warning(format_args!("cannot drop capabilities: {}", ErrorText(&error))),
    }
    let said = if said.is_empty() { "not at all".to_owned() } else { said.join(", ") };
    Confined { said, files }
}

/// Restricts file access with Landlock. Returns the ABI version, if the kernel supports it.
fn files(places: &Places, replaced: Option<BorrowedFd<'_>>) -> std::io::Result<Option<u32>> {
    let Some(rules) = Ruleset::new() else { return Ok(None) };
    rules.allow(&places.base, if places.writes { Access::Change } else { Access::Read })?;
    if let Some(state) = &places.state {
        rules.allow(state, Access::Change)?;
    }
    let directory = |path: &Path| path.parent().map(Path::to_owned);
    for dir in places.read.iter().filter_map(|path| directory(path)) {
        rules.allow(&dir, Access::Read)?;
    }
    for dir in places.removed.iter().filter_map(|path| directory(path)) {
        rules.allow(&dir, Access::Remove)?;
    }
    if let Some(dir) = replaced {
        rules.allow_at(dir, Access::Replace)?;
    }
    for path in SYSTEM.map(Path::new) {
        // Not every system has all of these.
        let _ = rules.allow(path, Access::Read);
    }
    let abi = rules.abi();
    rules.enforce()?;
    Ok(Some(abi))
}
