//! The user and groups that the daemon runs as, and the name of its host.

use std::io;
use std::path::Path;

use super::error::StartError;
use crate::cli::daemon::Config;
use crate::daemon::metrics_file::MetricsFile;
use crate::fs::resolve::{self, Resolved};
use crate::name::HostName;
use crate::sys::user::{self, LookupError};
use crate::sys::{host, ids};

/// The option for the file of figures.
const METRICS: &str = "--metrics-file";

/// Adds the option to what is wrong with its file.
pub(super) fn unusable(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    |error| StartError::Option(METRICS, path.display().to_string(), error)
}

/// The user and groups that the daemon runs as.
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    /// Whether they differ from those it was started with.
    pub(super) drops: bool,
}

impl Identity {
    /// Resolves the path of a file that an option names, whether or not it exists.
    ///
    /// # Errors
    /// If the path may not be used.
    pub(super) fn place(&self, option: &'static str, path: &Path) -> Result<Resolved, StartError> {
        let place = resolve::place(path, self.uid);
        place.map_err(|why| StartError::Path(option, path.to_owned(), why))
    }

    /// The file of `--metrics-file`, if there is to be one, with this base directory.
    ///
    /// # Errors
    /// It cannot be there.
    pub(super) fn metrics_file(
        &self,
        config: &Config,
        base: &Path,
    ) -> Result<Option<MetricsFile>, StartError> {
        let Some(path) = &config.files.metrics else { return Ok(None) };
        let place = self.place(METRICS, path)?;
        MetricsFile::new(place, base).map(Some).map_err(unusable(path))
    }

    /// Switches to this user, irrevocably.
    ///
    /// # Errors
    /// If that is not permitted.
    pub(super) fn assume(&self) -> Result<(), StartError> {
        ids::drop_privileges(self.uid, self.gid, &self.groups)
            .map_err(|error| StartError::User(self.uid, error))
    }
}

/// The user and groups that the options ask for.
///
/// # Errors
/// There is no such user or group.
pub(super) fn identity(config: &Config) -> Result<Identity, StartError> {
    let now = ids::effective();
    let mut gid = now.gid;
    let mut uid = now.uid;
    let mut groups = None;
    if let Some(name) = &config.privileges.user {
        let found = user::user(name).map_err(account("-u"))?;
        uid = found.uid;
        gid = found.gid.unwrap_or(gid);
        if let Some(known) = &found.name {
            let failed = |error| StartError::Option("-u", name.clone(), error);
            groups = Some(user::groups_of(known, gid).map_err(failed)?);
        }
    }
    if let Some(name) = &config.privileges.group {
        gid = user::group(name).map_err(account("-g"))?;
    }
    if let Some(names) = &config.privileges.groups {
        let found: Result<Vec<u32>, StartError> =
            names.iter().map(|name| user::group(name).map_err(account("-G"))).collect();
        groups = Some(found?);
    }
    let drops = config.privileges.user.is_some()
        || config.privileges.group.is_some()
        || config.privileges.groups.is_some();
    Ok(Identity { uid, gid, groups: groups.unwrap_or_else(|| vec![gid]), drops })
}

/// Adds the option to the error of an account.
fn account(option: &'static str) -> impl FnOnce(LookupError) -> StartError {
    move |why| StartError::Account(option, why)
}

/// This host's name among the members.
///
/// # Errors
/// The machine's name is not valid here and `-N` is missing.
pub(super) fn host_name(config: &Config) -> Result<HostName, StartError> {
    if let Some(name) = &config.network.name {
        return Ok(name.clone());
    }
    let name = host::hostname().map_err(StartError::NoHostName)?;
    HostName::parse(&name).map_err(StartError::BadHostName)
}
