//! The user and groups that the daemon runs as, and the name of its host.

use crate::cli::daemon::Config;
use crate::errno::ErrorText;
use crate::name::HostName;
use crate::sys::{host, ids, user};

/// The user and groups that the daemon runs as.
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    /// Whether they differ from those it was started with.
    pub(super) drops: bool,
}

impl Identity {
    /// Switches to this user, irrevocably.
    ///
    /// # Errors
    /// If that is not permitted.
    pub(super) fn assume(&self) -> Result<(), String> {
        ids::drop_privileges(self.uid, self.gid, &self.groups)
            .map_err(|error| format!("cannot switch to user {}: {}", self.uid, ErrorText(&error)))
    }
}

/// The user and groups that the options ask for.
///
/// # Errors
/// There is no such user or group; the text begins with the option.
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

/// This host's name among the members.
///
/// # Errors
/// The machine's name is not valid here and `-N` is missing.
pub(super) fn host_name(config: &Config) -> Result<HostName, String> {
    if let Some(name) = &config.network.name {
        return Ok(name.clone());
    }
    let name = host::hostname()
        .map_err(|error| format!("cannot get the machine's name: {}", ErrorText(&error)))?;
    HostName::parse(&name).map_err(|error| {
        format!("the machine's name is not usable here (set one with -N): {error}")
    })
}
