//! What is dangerous about a start, though it is allowed.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::identity::Identity;
use super::limits;
use crate::cli::daemon::Config;
use crate::fs::root::Root;
use crate::net::address_of;

/// What root runs, or is told what to run by. Whoever can write in one of these is root soon, and so is
/// whoever can write in a directory that one of them is in.
const SYSTEM: [&str; 27] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc/cron.d",
    "/etc/ld.so.preload",
    "/etc/pam.d",
    "/etc/passwd",
    "/etc/profile.d",
    "/etc/rc.d",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/sudoers.d",
    "/etc/systemd",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/run/systemd",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/var/spool/cron",
];

/// What somebody should think about again before this start, one line each.
pub(super) fn warnings(config: &Config, identity: &Identity, root: &Root) -> Vec<String> {
    root_for_others(config, identity, root).into_iter().chain(limits::raise()).collect()
}

/// What it means that this start has root do what others say.
fn root_for_others(config: &Config, identity: &Identity, root: &Root) -> Option<String> {
    if identity.uid != 0 {
        return None;
    }
    // One that has no address is no reason to be silent.
    let address = address_of(&config.network.interface, None).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let is_open = config.files.keys.is_empty() && !address.is_loopback();
    let is_system = holds_system_files(root.path());
    let writes = !config.roles.readonly && !config.roles.no_recv;
    if !(is_open || is_system) || (config.roles.no_send && !writes) {
        return None;
    }
    let base = root.path().display();
    let how = if is_open { " without a key" } else { "" };
    let place = match is_system {
        true => format!(" in {base}, where system files are"),
        false => String::new(),
    };
    let who = match (is_open, address.is_unspecified()) {
        (true, true) => "whoever can send packets to this host".to_owned(),
        (true, false) => format!("whoever can send packets to {address}"),
        (false, _) if writes => "whoever commands it or another daemon of its group".to_owned(),
        (false, _) => "whoever commands it".to_owned(),
    };
    let what = match (writes, is_system) {
        (true, true) => "can become root on this host".to_owned(),
        (true, false) => format!("can write and delete any file below {base} as root"),
        (false, true) => format!("can have any file below {base} sent, secret ones too"),
        (false, false) => format!("can get what is sent from {base}"),
    };
    Some(format!("the daemon runs as root{how}{place}: {who} {what} (see -k, -u and -b)"))
}

/// Whether a directory is one of the [`SYSTEM`], or below or above one, or is mounted from there.
fn holds_system_files(base: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let own = id(base);
    SYSTEM.iter().map(Path::new).any(|system| {
        // Many of them are links by now.
        let real = std::fs::canonicalize(system);
        let real = real.as_deref().unwrap_or(system);
        let related = |one: &Path| one.starts_with(base) || base.starts_with(one);
        let mut above = system.ancestors().chain(real.ancestors());
        related(system) || related(real) || above.any(|dir| own.is_some() && id(dir) == own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_system_files_is_known() {
        for yes in ["/", "/etc", "/usr", "/usr/bin", "/usr/local", "/var", "/root", "/proc/self/.."]
        {
            assert!(holds_system_files(Path::new(yes)), "{yes}");
        }
        for no in ["/srv", "/srv/www", "/var/www", "/home", "/etc/nginx", "/usr/share", "/tmp"] {
            assert!(!holds_system_files(Path::new(no)), "{no}");
        }
    }
}
