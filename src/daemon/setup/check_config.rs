//! `--check-config`: what the daemon would do, and whether it could start.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;

use super::error::StartError;
use super::hazards;
use super::identity::{Identity, unusable};
use super::journal::Place;
use crate::cli::daemon::{CatchUp, Config};
use crate::console::status_report::{interface_text, key_text};
use crate::fs::disk;
use crate::fs::root::Root;
use crate::name::HostName;
use crate::net::address_of;
use crate::sys::ids;

/// Describes what the daemon would do. Nothing is written, sent or left open.
///
/// # Errors
/// What it could not do.
pub(crate) fn describe(
    config: &Config,
    identity: &Identity,
    name: &HostName,
    root: &Root,
) -> Result<String, StartError> {
    let address = address_of(&config.network.interface, None).map_err(StartError::Net)?;
    probe(|| UdpSocket::bind((address, 0)).map(drop), "-i", &address.to_string())?;
    if let Some(address) = config.console.listen {
        // Any port will do: the configured one may be in use by the daemon to be replaced.
        probe(|| TcpListener::bind((address.ip(), 0)).map(drop), "-l", &address.to_string())?;
    }
    if let Some(path) = &config.console.unix {
        probe_directory_of(path, "-U")?;
        identity.place("-U", path)?;
    }
    if let Some(path) = &config.files.pidfile {
        // A pid file held by a running daemon is no obstacle.
        probe_directory_of(path, "--pidfile")?;
        identity.place("--pidfile", path)?;
    }
    if let (false, Some(why)) =
        (config.roles.readonly || config.roles.no_recv, disk::refusal(root, identity.uid))
    {
        return Err(StartError::Option("-b", config.files.base.display().to_string(), why));
    }
    Place::of(config).check(root, identity.uid)?;
    let root_now = ids::effective().uid == 0;
    if identity.drops && !root_now {
        // Without root's rights, this has no effect.
        identity.assume()?;
    }
    if config.privileges.chroot && !root_now {
        return Err(StartError::NotRoot);
    }
    let text = text(config, identity, name, root, address);
    if let Some(file) = identity.metrics_file(config, root.path())? {
        // It is written by the daemon's user. Nothing comes after this.
        if identity.drops && root_now {
            identity.assume()?;
        }
        file.check().map_err(unusable(file.path()))?;
    }
    Ok(text)
}

fn probe(
    call: impl FnOnce() -> std::io::Result<()>,
    option: &'static str,
    value: &str,
) -> Result<(), StartError> {
    call().map_err(|error| StartError::Option(option, value.to_owned(), error))
}

/// Checks that the directory exists in which the file of an option will be created.
fn probe_directory_of(path: &Path, option: &'static str) -> Result<(), StartError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let value = format!("{}: its directory", path.display());
    probe(|| std::fs::read_dir(parent).map(drop), option, &value)
}

/// Where the daemon can be called.
pub(super) fn consoles(config: &Config) -> Vec<String> {
    let tcp = config.console.listen.map(|address| format!("tcp:{address}"));
    let path = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let unix = config.console.unix.as_ref().map(|at| format!("unix:{}", path(at).display()));
    tcp.into_iter().chain(unix).collect()
}

fn text(
    config: &Config,
    identity: &Identity,
    name: &HostName,
    root: &Root,
    address: Ipv4Addr,
) -> String {
    let mut lines = Vec::new();
    let mut line = |key: &str, value: String| lines.push(format!("{key:8}: {value}\n"));
    line(
        if config.privileges.chroot { "chroot" } else { "basedir" },
        root.path().display().to_string(),
    );
    line("name", name.to_string());
    let by = interface_text(&config.network.interface, Some(address));
    line(
        "group",
        format!(
            "{}:{}, {by}, ttl {}",
            config.network.multicast, config.network.port, config.network.ttl
        ),
    );
    let password = if config.console.password.is_some() { ", with a password" } else { "" };
    line("console", format!("{}{password}", consoles(config).join(", ")));
    line("key", key_text(config.files.keys.len()));
    line(
        "records",
        match Place::of(config) {
            Place::Nowhere(option) => format!("none ({option})"),
            Place::Base => "in .makuosan".to_owned(),
            Place::Dir(dir) => format!("in {}", dir.display()),
        },
    );
    for path in &config.watch.paths {
        let path = if path.is_base() { ".".to_owned() } else { path.to_string() };
        let deletes = if config.watch.delete { ", with deletions" } else { "" };
        line("watch", format!("{path}{deletes}"));
    }
    let groups: Vec<String> = identity.groups.iter().map(u32::to_string).collect();
    line("user", format!("{}, group {}, groups {}", identity.uid, identity.gid, groups.join(",")));
    let buffer = |bytes: Option<u32>| bytes.map_or("default".to_owned(), |b| b.to_string());
    line(
        "buffers",
        format!("{}, {}", buffer(config.network.rcvbuf), buffer(config.network.sndbuf)),
    );
    let rate = config.limits.rate.map_or("no limit".to_owned(), |rate| format!("{rate} Mbit/s"));
    line("sendrate", rate);
    line("parallel", config.limits.parallel.to_string());
    line("timeout", format!("{} s", config.limits.timeout.millis() / 1_000));
    line("loglevel", config.loglevel.to_string());
    let options = [
        (config.foreground, "foreground"),
        (config.roles.readonly, "readonly"),
        (config.roles.no_send, "no-send"),
        (config.roles.no_recv, "no-recv"),
        (config.roles.own_only, "own-only"),
        (config.roles.no_devices, "no-devices"),
        (config.roles.catch_up == CatchUp::Never, "no-catch-up"),
        (config.roles.catch_up == CatchUp::Always, "catch-up always"),
        (config.files.fsync, "fsync"),
        (config.privileges.core_dumps, "core"),
    ];
    let given: Vec<&str> = options.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    if let Some(path) = &config.files.pidfile {
        line("pidfile", path.display().to_string());
    }
    if let Some(path) = &config.files.metrics {
        line("metrics", path.display().to_string());
    }
    line("options", if given.is_empty() { "none".to_owned() } else { given.join(", ") });
    for warning in hazards::warnings(config, identity, root) {
        line("warning", warning);
    }
    lines.concat()
}
