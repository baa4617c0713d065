//! What the daemon gives up once everything is open: rights that it does not need, and files that it
//! has nothing to do with. A kernel that cannot do it goes without.

use std::path::{Path, PathBuf};

use crate::errno::ErrorText;
use crate::log;
use crate::sys::caps::{self, Cap};
use crate::sys::landlock::{Access, Ruleset};

/// What the system's libraries read while the daemon runs: who is in which group (`-g` of `msync`),
/// and the time zone. The files of /etc are replaced when they change, so that it has to be the
/// directory.
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

/// The places that the daemon still has to do with.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The base directory.
    pub(crate) base: PathBuf,
    /// Files that may be read again.
    pub(crate) read: Vec<PathBuf>,
    /// Files to be removed at the end.
    pub(crate) removed: Vec<PathBuf>,
    /// Whether any file is ever written.
    pub(crate) writes: bool,
}

/// Gives up the rest, before any other thread is there; what is in force, for `status`.
pub(crate) fn confine(places: &Places) -> String {
    let needed: &[Cap] = match places.writes {
        true => &[
            Cap::Chown,
            Cap::DacOverride,
            Cap::DacReadSearch,
            Cap::Fowner,
            Cap::Fsetid,
            Cap::Mknod,
        ],
        // To remove the socket and the pid file takes the right to write to their directories.
        false if places.removed.is_empty() => &[Cap::DacReadSearch],
        false => &[Cap::DacOverride, Cap::DacReadSearch],
    };
    let mut said = Vec::new();
    let gains = caps::forbid_gain();
    match &gains {
        Ok(()) => said.push("no new privileges".to_owned()),
        Err(error) => log::info(format_args!("no new privileges: {}", ErrorText(error))),
    }
    match gains.and_then(|()| files(places)) {
        Ok(Some(abi)) => said.push(format!("Landlock {abi}")),
        Ok(None) => {
            log::info(format_args!("this kernel has no Landlock: the rights alone confine"))
        }
        Err(error) => log::notice(format_args!("Landlock: {}", ErrorText(&error))),
    }
    match caps::keep_only(needed) {
        Ok(left) => {
            let names: Vec<&str> = left.iter().map(|cap| cap.name()).collect();
            said.push(match names.is_empty() {
                true => "no capabilities".to_owned(),
                false => format!("capabilities {}", names.join(" ")),
            });
        }
        Err(error) => log::notice(format_args!("capabilities: {}", ErrorText(&error))),
    }
    if said.is_empty() { "not at all".to_owned() } else { said.join(", ") }
}

/// Gives up all other files; the ABI, if the kernel has one that will do.
fn files(places: &Places) -> std::io::Result<Option<u32>> {
    let Some(rules) = Ruleset::new() else { return Ok(None) };
    rules.allow(&places.base, if places.writes { Access::Change } else { Access::Read })?;
    let directory = |path: &Path| path.parent().map(Path::to_owned);
    for dir in places.read.iter().filter_map(|path| directory(path)) {
        rules.allow(&dir, Access::Read)?;
    }
    for dir in places.removed.iter().filter_map(|path| directory(path)) {
        rules.allow(&dir, Access::Remove)?;
    }
    for path in SYSTEM.map(Path::new) {
        // Not every system has all of them.
        let _ = rules.allow(path, Access::Read);
    }
    let abi = rules.abi();
    rules.enforce()?;
    Ok(Some(abi))
}
