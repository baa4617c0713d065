//! Opens everything that the daemon needs, then drops privileges.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use super::check_config;
use super::confine::{Places, confine};
use super::error::{StartError, failed};
use super::identity::Identity;
use super::journal::{self, Place};
use super::limits;
use super::mirrored;
use super::running::Daemon;
use super::transactions;
use super::watched::Mirroring;
use crate::cli::daemon::{CatchUp, Config};
use crate::console::command::Watch;
use crate::console::password::Secret;
use crate::console::status_report::Setting;
use crate::daemon::base::{Base, HeldBy};
use crate::daemon::clock::FleetClock;
use crate::daemon::control::control_loop::Control;
use crate::daemon::control::door::Door;
use crate::daemon::control::fleet::Fleet;
use crate::daemon::control::inputs::Inputs;
use crate::daemon::control::kernel::Kernel;
use crate::daemon::control::membership::Membership;
use crate::daemon::control::settings::Settings;
use crate::daemon::control::socket_owners::SocketOwners;
use crate::daemon::control::status::moment;
use crate::daemon::messages::{Jobs, ToDisk};
use crate::daemon::metrics_file::MetricsFile;
use crate::daemon::receiving::receiver::Receiver;
use crate::daemon::sending::sender::Sender;
use crate::daemon::shared::Shared;
use crate::daemon::{clock, keyfile};
use crate::engine::members::{self, KEEPALIVE, Members, SILENCE};
use crate::errno::ErrorText;
use crate::fs::before::Before;
use crate::fs::disk::{Disk, DiskConfig};
use crate::fs::long_digests::LongDigests;
use crate::fs::root::Root;
use crate::log;
use crate::name::{HostName, NodeId};
use crate::net::{Net, NetConfig};
use crate::pattern::Patterns;
use crate::seal::{Keyring, Keys};
use crate::sys::links::LinkEvents;
use crate::sys::pidfile::PidFile;
use crate::sys::signal::{Signal, SignalFd};
use crate::sys::{Waker, fsat, host, ids, random, unixsock};
use crate::watch::mounts::Mounts;

/// The memory limit for incoming transfers, in bytes.
const BUDGET: usize = 32 << 20;
/// The mode of the console's Unix socket.
const SOCKET_MODE: u32 = 0o660;

/// Opens everything, then drops privileges. (The keys are read only here, so that the process that
/// started the daemon in the background never has them.)
///
/// # Errors
/// What does not work.
pub(super) fn assemble(
    config: &Config,
    identity: &Identity,
    name: HostName,
    root: Root,
    password: Option<Secret>,
    (watches, mirroring): (Vec<(Watch, Patterns)>, Mirroring),
) -> Result<Daemon, StartError> {
    let chroot = config.privileges.chroot;
    if !chroot {
        fsat::hold_proc();
    }
    // Relative to a directory that the daemon leaves.
    let path = std::path::absolute(&config.files.base).map_err(failed("-b"))?;
    // Before it has keys or sockets.
    let lookout = match chroot || identity.drops {
        true => Some(Base::lookout(&path, identity.uid).map_err(failed("a process"))?),
        false => None,
    };
    let keys = keyring(config, identity.uid)?;
    let opened = Opened::open(config, identity)?;
    let metrics_file = identity.metrics_file(config, root.path())?;
    let first = root.path().to_owned();
    // Which mounts there are is known only where there is /proc.
    let mounts = Mounts::open(if chroot { first.clone() } else { "/".into() });
    let text = mounts.as_ref().map(Mounts::text).unwrap_or_default();
    let before = Before::of_mounts(&first, &text);
    let kept = Place::of(config);
    kept.prepare(&root, identity);
    let root = Arc::new(give_up_rights(config, identity, keys.is_some(), root)?);
    let readonly = config.roles.readonly || config.roles.no_recv;
    let no_devices = config.roles.no_devices;
    let most_open = limits::for_transfers();
    let how = DiskConfig { readonly, fsync: config.files.fsync, no_devices, most_open };
    let ready = mirrored::open(config, &root, &name, identity)?;
    let prepared = transactions::place(config, &name, identity.uid);
    let transactions = transactions::open(&prepared, &root);
    let slots = transactions::slots(transactions.as_ref(), mirrored::slots(&ready));
    let disk = Disk::sparing(Arc::clone(&root), how, slots);
    let of_base = |e| StartError::Option("-b", config.files.base.display().to_string(), e);
    let mut disk = disk.map_err(of_base)?;
    let mirrors = mirrored::recover(ready, &mut disk)?;
    let transactions = transactions::recover(transactions, &mut disk);
    let (to_disk, jobs) = mpsc::channel();
    let stamps = FleetClock::default();
    let state = kept.open(&root, identity.uid)?;
    let outside = state.as_ref().filter(|_| matches!(kept, Place::Dir(_)));
    let outside = outside.and_then(|dir| dir.path().parent()).map(Path::to_owned);
    let fleet = Fleet::new(journal::hosts(state.as_ref(), &name));
    let keeper = state.and_then(|dir| journal::keeper(dir, &root, &name, &stamps));
    let confined = confine(
        &opened.places(chroot, &root, !readonly, outside),
        metrics_file.as_ref().map(MetricsFile::dir),
    );
    let held_by = match confined.files {
        _ if chroot => HeldBy::Chroot,
        true => HeldBy::Landlock,
        false => HeldBy::Nothing,
    };
    let base = Base::new(path, first, identity.uid, root, held_by, lookout);

    let me = NodeId(random::u64().map_err(failed("random numbers"))?);
    let secret = random::bytes().map_err(failed("random numbers"))?;
    let seed = random::u64().map_err(failed("random numbers"))?;
    let control_waker = Waker::new().map_err(failed("eventfd"))?;
    let receiver_waker = Waker::new().map_err(failed("eventfd"))?;
    let shared = Arc::new(Shared::new(
        me,
        opened.net,
        keys.map(Keys::new),
        (base, before),
        (stamps, keeper, prepared),
        (mirrors, to_disk.clone()),
        [control_waker.clone(), receiver_waker.clone()],
    ));
    let now = clock::now();
    let members = members::Config {
        authentic: shared.keys.is_some(),
        me,
        name: name.clone(),
        version: crate::VERSION.to_owned(),
        mtu: shared.net.mtu(),
        rcvbuf: shared.receive_buffer(),
        receives: !config.roles.no_recv,
        secret,
        seed,
        silence: SILENCE,
        keepalive: KEEPALIVE,
    };
    let settings = Settings {
        no_send: config.roles.no_send,
        receives: !readonly,
        takes_all: config.roles.catch_up == CatchUp::Always,
        own_only: config.roles.own_only.then_some(identity.uid),
        writes: !readonly,
        parallel: config.limits.parallel,
        timeout: config.limits.timeout,
        rate: config.limits.rate,
        sendsize: shared.net.send_buffer() as u64,
        setting: Setting {
            name: name.clone(),
            started: moment(),
            group: shared.net.group(),
            interface: config.network.interface.clone(),
            address: shared.net.address(),
            consoles: check_config::consoles(config),
            password: config.console.password.is_some(),
            keys: config.files.keys.len(),
        },
        name,
        chroot,
        keys: opened.keys,
        watches,
        mirroring,
        mounts: mounts.map(Arc::new),
        confined: confined.said,
    };
    let members = Members::new(members, now);
    let mut membership = Membership::new(Arc::clone(&shared), members, fleet, now);
    if opened.links.is_some() {
        membership.will_be_told();
    }
    let mut control = Control::new(
        Arc::clone(&shared),
        Inputs {
            waker: control_waker,
            signals: opened.signals,
            links: opened.links,
            tcp: opened.tcp,
            unix: opened.unix,
            owners: opened.owners,
            kernel: opened.kernel,
        },
        membership,
        settings,
        Door::new(password),
        seed,
        now,
    );
    control.metrics_file = metrics_file;
    control.agreeing.kept = transactions;
    let digested = to_disk.clone();
    disk.digest_with(LongDigests::telling(move || drop(digested.send(ToDisk::Digested))));
    let receiver = Receiver::new(
        Arc::clone(&shared),
        receiver_waker,
        Jobs(to_disk),
        disk.closing(),
        !config.roles.no_recv,
        BUDGET,
    );
    let rate = config.limits.rate.map(|mbits| f64::from(mbits) * 1e6 / 8.0);
    Ok(Daemon {
        control,
        sender: Sender::new(Arc::clone(&shared), rate),
        receiver,
        disk,
        jobs,
        shared,
        // In a chroot, the path would mean another file.
        unix: opened.unix_path.filter(|_| !chroot),
        pidfile: opened.pidfile,
    })
}

/// Reads the keys, if there are any, for a daemon of user `us`.
///
/// # Errors
/// If they cannot be read.
pub(super) fn keyring(config: &Config, us: u32) -> Result<Option<Keyring>, StartError> {
    if config.files.keys.is_empty() {
        return Ok(None);
    }
    if !config.privileges.core_dumps {
        // Before there are secrets in memory.
        ids::set_core_dumps(false).map_err(failed("core dumps"))?;
    }
    keyfile::keyring(&config.files.keys, us).map(Some).map_err(StartError::Key)
}

/// What is opened before privileges are dropped.
struct Opened {
    signals: SignalFd,
    pidfile: Option<PidFile>,
    net: Net,
    tcp: Option<TcpListener>,
    unix: Option<UnixListener>,
    owners: SocketOwners,
    kernel: Kernel,
    /// None: the interfaces are looked at each second.
    links: Option<LinkEvents>,
    /// The absolute path of the console's Unix socket.
    unix_path: Option<PathBuf>,
    /// The absolute paths of the key files.
    keys: Vec<PathBuf>,
}

impl Opened {
    fn open(config: &Config, identity: &Identity) -> Result<Self, StartError> {
        let signals = SignalFd::new(&Signal::ALL).map_err(failed("signals"))?;
        // First, so that a second daemon with the same options says that one is already running.
        let take = |path: &PathBuf| {
            let place = identity.place("--pidfile", path)?;
            PidFile::take(place.dir().as_fd(), place.name(), place.path())
                .map_err(StartError::PidFile)
        };
        let pidfile = config.files.pidfile.as_ref().map(take).transpose()?;
        let how = NetConfig {
            group: config.network.multicast,
            port: config.network.port,
            interface: Ipv4Addr::UNSPECIFIED,
            ttl: config.network.ttl,
            rcvbuf: config.network.rcvbuf.map(|bytes| bytes as usize),
            sndbuf: config.network.sndbuf.map(|bytes| bytes as usize),
        };
        let net = Net::open_on(&config.network.interface, how).map_err(StartError::Net)?;
        if let Err(error) = net.join() {
            log::warning(format_args!("cannot join {} yet: {}", net.group(), ErrorText(&error)));
        }
        let tcp = config.console.listen.map(listen).transpose()?;
        let owner = identity.drops.then_some((identity.uid, identity.gid));
        // Absolute, because it is removed on exit, from another working directory.
        let unix_path = config.console.unix.as_ref().map(std::path::absolute).transpose();
        let unix_path = unix_path.map_err(failed("-U"))?;
        // Absolute, because they may be read again from another working directory.
        let keys: std::io::Result<_> = config.files.keys.iter().map(std::path::absolute).collect();
        let keys = keys.map_err(failed("-k"))?;
        let unix = match &config.console.unix {
            Some(path) => {
                identity.place("-U", path)?;
                let listener =
                    unixsock::listen(path, SOCKET_MODE, owner).map_err(StartError::Unix)?;
                listener.set_nonblocking(true).map_err(failed("-U"))?;
                Some(listener)
            }
            None => None,
        };
        let owners = SocketOwners::open();
        let kernel = Kernel::open();
        let links = LinkEvents::open().ok();
        Ok(Opened { signals, pidfile, net, tcp, unix, owners, kernel, links, unix_path, keys })
    }

    /// The files that are still needed. In a chroot, outside paths do not apply.
    fn places(&self, chroot: bool, root: &Root, writes: bool, state: Option<PathBuf>) -> Places {
        let outside = |paths: Vec<PathBuf>| if chroot { Vec::new() } else { paths };
        let pidfile = self.pidfile.iter().map(|file| file.path().to_owned());
        Places {
            base: root.path().to_owned(),
            state,
            read: outside(self.keys.clone()),
            removed: outside(self.unix_path.iter().cloned().chain(pidfile).collect()),
            writes,
        }
    }
}

/// Drops privileges. Returns the base directory as seen from then on.
fn give_up_rights(
    config: &Config,
    identity: &Identity,
    keyed: bool,
    root: Root,
) -> Result<Root, StartError> {
    let root = match config.privileges.chroot {
        true => change_root(&root).map_err(failed("-c"))?,
        false => root,
    };
    if identity.drops {
        identity.assume()?;
    }
    // The kernel turned core dumps off when the user changed.
    if config.privileges.core_dumps {
        ids::set_core_dumps(true).map_err(failed("-C"))?;
    } else if identity.drops || keyed {
        ids::set_core_dumps(false).map_err(failed("core dumps"))?;
    }
    Ok(root)
}

/// Makes the base directory the root directory, and opens it as such.
fn change_root(root: &Root) -> std::io::Result<Root> {
    host::change_root(root.as_fd())?;
    Root::open(Path::new("/"))
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |error| StartError::Listen(address, error);
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}
