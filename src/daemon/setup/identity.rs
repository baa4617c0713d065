//! Who the daemon is: the user and groups that it runs as, and its host's name.

use std::path::Path;

use crate::cli::daemon::Config;
use crate::errno::ErrorText;
use crate::fs::resolve::{self, Resolved};
use crate::name::HostName;
use crate::sys::{host, ids, user};

/// Whom the daemon runs as.
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    /// Whether that is to be changed.
    pub(super) drops: bool,
}

impl Identity {
    /// Where the file of an option is, or will be.
    ///
    /// # Errors
    /// Nowhere that may be used, in words that begin with the option.
    pub(super) fn place(&self, option: &str, path: &Path) -> Result<Resolved, String> {
        let place = resolve::place(path, self.uid);
        place.map_err(|why| format!("{option} {}: {why}", path.display()))
    }

    /// Becomes that user, for good.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn assume(&self) -> Result<(), String> {
        ids::drop_privileges(self.uid, self.gid, &self.groups)
            .map_err(|error| format!("cannot become user {}: {}", self.uid, ErrorText(&error)))
    }
}

/// Whom the options say that the daemon is to run as.
///
/// # Errors
/// There is no such user or group, in words that begin with the option.
pub(super) fn identity(config: &Config) -> Result<Identity, String> {
    let now = ids::effective();
    let mut gid = now.gid;
    let mut uid = now.uid;
    let mut groups = None;
    if let Some(name) = &config.privileges.user {
        let found = user::user(name).map_err(|error| format!("-u {name}: {error}"))?;
        uid = found.uid;
        gid = found.gid.unwrap_or(gid);
        if let Some(known) = &found.name {
            groups = Some(
                user::groups_of(known, gid).map_err(|e| format!("-u {name}: {}", ErrorText(&e)))?,
            );
        }
    }
    if let Some(name) = &config.privileges.group {
        gid = user::group(name).map_err(|error| format!("-g {name}: {error}"))?;
    }
    if let Some(names) = &config.privileges.groups {
        let found: Result<Vec<u32>, String> = names
            .iter()
            .map(|name| user::group(name).map_err(|error| format!("-G {name}: {error}")))
            .collect();
        groups = Some(found?);
    }
    let drops = config.privileges.user.is_some()
        || config.privileges.group.is_some()
        || config.privileges.groups.is_some();
    Ok(Identity { uid, gid, groups: groups.unwrap_or_else(|| vec![gid]), drops })
}

/// The name of this host among the members.
///
/// # Errors
/// There is none that will do.
pub(super) fn host_name(config: &Config) -> Result<HostName, String> {
    if let Some(name) = &config.network.name {
        return Ok(name.clone());
    }
    let name = host::hostname().map_err(|error| format!("no host name: {}", ErrorText(&error)))?;
    HostName::parse(&name)
        .map_err(|error| format!("this host's name will not do (give -N): {error}"))
}
