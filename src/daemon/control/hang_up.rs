//! What SIGHUP asks for.

use super::settings::Settings;
use crate::count::counted;
use crate::daemon::keyfile;
use crate::daemon::shared::Shared;
use crate::log;

/// The beginning of the line that says that a key file could not be read again.
const KEPT_KEY: &str = "key file not reloaded";

/// SIGHUP: reopens the log and reads the key files again.
pub(super) fn hang_up(shared: &Shared, settings: &Settings) {
    log::reconnect();
    let Some(keys) = &shared.keys else { return };
    if settings.chroot {
        let why = "it is outside the chroot: restart the daemon to read it";
        return log::error(format_args!("{KEPT_KEY}: {why}"));
    }
    match keyfile::keyring(&settings.keys, crate::sys::ids::effective().uid) {
        Ok(ring) if ring.is_same(&keys.ring()) => {
            log::notice(format_args!("key file reloaded: no change"))
        }
        Ok(ring) => {
            let accepted = counted(ring.count() as u64, "key");
            log::notice(format_args!("key file reloaded: {accepted} accepted"));
            keys.replace(ring);
        }
        Err(why) => log::error(format_args!("{KEPT_KEY}: {why}: the old keys stay in use")),
    }
}
