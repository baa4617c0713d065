//! From the command line to the running threads.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::{Mutex, RwLock, mpsc};
use std::thread::{self, JoinHandle};

use crate::cli::Asked;
use crate::cli::daemon::{self as cli, Config};
use crate::console::password::Secret;
use crate::daemon::clock;
use crate::daemon::control::control_loop::{Control, Settings};
use crate::daemon::keyfile;
use crate::daemon::mailbox::Mailbox;
use crate::daemon::receiving::receiver::{Receiver, ToReceiver};
use crate::daemon::sending::sender::Sender;
use crate::daemon::setup::check_config;
use crate::daemon::setup::confine::{Places, confine};
use crate::daemon::setup::hazards;
use crate::daemon::setup::password::{self, Door};
use crate::daemon::shared::{Shared, ToControl};
use crate::engine::job::Job as DiskJob;
use crate::engine::members::{self, KEEPALIVE, Members, SILENCE};
use crate::engine::rng::Rng;
use crate::errno::ErrorText;
use crate::fs::disk::{Disk, DiskConfig};
use crate::fs::resolve::{self, Resolved};
use crate::fs::root::Root;
use crate::ids::TransferNo;
use crate::log;
use crate::name::{HostName, NodeId};
use crate::net::{Net, NetConfig};
use crate::seal::{Keyring, Keys, Seal};
use crate::sys::daemonize::{self, Readiness};
use crate::sys::pidfile::PidFile;
use crate::sys::signal::{Signal, SignalFd};
use crate::sys::syslog::Syslog;
use crate::sys::{Waker, fsat, host, ids, memory, random, unixsock, user};
use crate::wire::header::Role;

/// The memory for incoming transfers, in bytes.
const BUDGET: usize = 32 << 20;
/// The mode of the console's Unix socket.
const SOCKET_MODE: u32 = 0o660;
/// Open files: cached directories, staged files, clients, and room to spare.
const OPEN_FILES: u64 = 4_096;

/// Runs the daemon; its exit status.
pub(crate) fn main() -> ExitCode {
    let asked = cli::parse(std::env::args_os().skip(1), |name| std::env::var_os(name));
    let config = match asked {
        Ok(Asked::Run(config)) => config,
        Ok(Asked::Print(text)) => {
            // A closed pipe is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return complain(format_args!("{error}")),
    };
    match start(config) {
        Ok(status) => status,
        Err(message) => complain(format_args!("makuosan: {message}")),
    }
}

/// Says on standard error what is wrong, if anybody listens there.
fn complain(what: std::fmt::Arguments<'_>) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{what}");
    ExitCode::FAILURE
}

/// Whom the daemon runs as.
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// Whether that is to be changed.
    pub(crate) drops: bool,
}

fn identity(config: &Config) -> Result<Identity, String> {
    let now = ids::effective();
    let mut gid = now.gid;
    let mut uid = now.uid;
    let mut groups = None;
    if let Some(name) = &config.user {
        let found = user::user(name).map_err(|error| format!("-u {name}: {error}"))?;
        uid = found.uid;
        gid = found.gid.unwrap_or(gid);
        if let Some(known) = &found.name {
            groups = Some(
                user::groups_of(known, gid).map_err(|e| format!("-u {name}: {}", ErrorText(&e)))?,
            );
        }
    }
    if let Some(name) = &config.group {
        gid = user::group(name).map_err(|error| format!("-g {name}: {error}"))?;
    }
    if let Some(names) = &config.groups {
        let found: Result<Vec<u32>, String> = names
            .iter()
            .map(|name| user::group(name).map_err(|error| format!("-G {name}: {error}")))
            .collect();
        groups = Some(found?);
    }
    let drops = config.user.is_some() || config.group.is_some() || config.groups.is_some();
    Ok(Identity { uid, gid, groups: groups.unwrap_or_else(|| vec![gid]), drops })
}

fn host_name(config: &Config) -> Result<HostName, String> {
    if let Some(name) = &config.name {
        return Ok(name.clone());
    }
    let name = host::hostname().map_err(|error| format!("no host name: {}", ErrorText(&error)))?;
    HostName::parse(&name)
        .map_err(|error| format!("this host's name will not do (give -N): {error}"))
}

fn start(config: Config) -> Result<ExitCode, String> {
    if let Some(path) = &config.genkey {
        return keyfile::make(path).map(|()| ExitCode::SUCCESS);
    }
    let identity = identity(&config)?;
    let name = host_name(&config)?;
    let root = Root::open_trusted(&config.base, identity.uid)
        .map_err(|why| format!("-b {}: {why}", config.base.display()))?;
    let secret = match &config.password {
        Some(path) => {
            let secret = password::read(path, identity.uid);
            Some(secret.map_err(|why| format!("-K {}: {why}", path.display()))?)
        }
        None => None,
    };
    if config.check_config {
        keyring(&config, identity.uid)?;
        let text = check_config::describe(&config, &identity, &name, &root)?;
        // A closed pipe is no failure.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let warning = hazards::warning(&config, &identity, &root);
    log::init(log::Setup {
        level: log::Level::new(config.loglevel),
        stderr: true,
        syslog: (!config.foreground).then(|| Syslog::open("makuosan")),
        clock: log::Clock { now: clock::now, wall: clock::wall },
    });
    log::report_panics();
    memory::keep_small();
    let readiness = match config.foreground {
        true => daemonize::foreground(),
        false => daemonize::detach()
            .map_err(|e| format!("cannot go to the background: {}", ErrorText(&e)))?,
    };
    if let Some(warning) = warning {
        log::error(format_args!("warning: {warning}"));
    }
    let foreground = config.foreground;
    match assemble(config, identity, name, root, secret) {
        Ok(daemon) => daemon.run(readiness, foreground),
        Err(message) => readiness.failed(&format!("makuosan: {message}")),
    }
}

/// The keys, if the daemon is to have any. They are read where they are needed: the process that has
/// started the daemon, and waits for it, never has them.
fn keyring(config: &Config, us: u32) -> Result<Option<Keyring>, String> {
    if config.keys.is_empty() {
        return Ok(None);
    }
    if !config.core_dumps {
        // Before there is anything in memory that must not be in one.
        ids::set_core_dumps(false).map_err(|e| format!("core dumps: {}", ErrorText(&e)))?;
    }
    keyfile::keyring(&config.keys, us).map(Some)
}

struct Daemon {
    control: Control,
    sender: Sender,
    receiver: Receiver,
    disk: Disk,
    jobs: mpsc::Receiver<DiskJob>,
    shared: Arc<Shared>,
    unix: Option<std::path::PathBuf>,
    pidfile: Option<PidFile>,
}

/// Opens everything, then gives up the rights that this took.
fn assemble(
    config: Config,
    identity: Identity,
    name: HostName,
    root: Root,
    password: Option<Secret>,
) -> Result<Daemon, String> {
    if !config.chroot {
        fsat::hold_proc();
    }
    let keys = keyring(&config, identity.uid)?;
    let wanted = [Signal::Term, Signal::Int, Signal::Hup, Signal::Usr1, Signal::Usr2];
    let system =
        |what: &'static str| move |error: std::io::Error| format!("{what}: {}", ErrorText(&error));
    let signals = SignalFd::new(&wanted).map_err(system("signals"))?;
    // First of all: of two daemons with the same options, the second is told of the first.
    let take = |path: &PathBuf| {
        let place = place("--pidfile", path, &identity)?;
        PidFile::take(place.dir().as_fd(), place.name(), place.path())
            .map_err(|error| format!("--pidfile {error}"))
    };
    let pidfile = config.pidfile.as_ref().map(take).transpose()?;
    let net = Net::open(&NetConfig {
        group: config.multicast,
        port: config.port,
        interface: config.interface.unwrap_or(Ipv4Addr::UNSPECIFIED),
        ttl: config.ttl,
        rcvbuf: config.rcvbuf.map(|bytes| bytes as usize),
        sndbuf: config.sndbuf.map(|bytes| bytes as usize),
    })
    .map_err(|error| error.to_string())?;
    if let Err(error) = net.join() {
        log::notice(format_args!("cannot join {} yet: {}", net.group(), ErrorText(&error)));
    }
    let tcp = config.listen.map(listen).transpose()?;
    let owner = identity.drops.then_some((identity.uid, identity.gid));
    // It is removed at the end, when the daemon is in another directory.
    let unix_path =
        config.unix.as_ref().map(std::path::absolute).transpose().map_err(system("-U"))?;
    // They may be read again from there.
    let key_paths: std::io::Result<Vec<PathBuf>> =
        config.keys.iter().map(std::path::absolute).collect();
    let key_paths = key_paths.map_err(system("-k"))?;
    let unix = match &config.unix {
        Some(path) => {
            place("-U", path, &identity)?;
            let listener =
                unixsock::listen(path, SOCKET_MODE, owner).map_err(|e| format!("-U: {e}"))?;
            listener.set_nonblocking(true).map_err(system("-U"))?;
            Some(listener)
        }
        None => None,
    };
    // More is better, but not needed.
    let _ = ids::raise_nofile(OPEN_FILES);
    let base = root.path().to_owned();
    let root = match config.chroot {
        true => change_root(&root).map_err(system("-c"))?,
        false => root,
    };
    if identity.drops {
        ids::drop_privileges(identity.uid, identity.gid, &identity.groups).map_err(|error| {
            format!("cannot become user {}: {}", identity.uid, ErrorText(&error))
        })?;
    }
    // The kernel forbids it to whoever has changed its ids.
    if config.core_dumps {
        ids::set_core_dumps(true).map_err(system("-C"))?;
    } else if identity.drops || keys.is_some() {
        ids::set_core_dumps(false).map_err(system("core dumps"))?;
    }
    let root = Arc::new(root);
    let readonly = config.readonly || config.no_recv;
    let disk = Disk::new(Arc::clone(&root), DiskConfig { readonly, fsync: config.fsync });
    let disk = disk.map_err(|e| format!("-b {}: {}", config.base.display(), ErrorText(&e)))?;
    // In a chroot the other paths are other ones.
    let outside = |paths: Vec<PathBuf>| if config.chroot { Vec::new() } else { paths };
    let pid_path = pidfile.as_ref().map(|file| file.path().to_owned());
    let confined = confine(&Places {
        base: root.path().to_owned(),
        read: outside(key_paths.clone()),
        removed: outside(unix_path.iter().cloned().chain(pid_path).collect()),
        writes: !readonly,
    });

    let me = NodeId(random::u64().map_err(system("random numbers"))?);
    let secret = random::bytes().map_err(system("random numbers"))?;
    let seed = random::u64().map_err(system("random numbers"))?;
    let control_waker = Waker::new().map_err(system("eventfd"))?;
    let receiver_waker = Waker::new().map_err(system("eventfd"))?;
    let shared = Arc::new(Shared {
        me,
        net,
        keys: keys.map(|ring| Arc::new(Keys::new(ring))),
        root,
        control: Mailbox::waking(control_waker.clone()),
        sender: Mailbox::new(),
        receiver: Mailbox::waking(receiver_waker.clone()),
        peers: RwLock::default(),
        counters: Default::default(),
        strangers: Mutex::default(),
        stats: Mutex::default(),
        open: Mutex::default(),
        sends: Mutex::default(),
        recvs: Mutex::default(),
        writing_since: Default::default(),
        sent_bytes: Default::default(),
    });
    let now = clock::now();
    let members = Members::new(
        members::Config {
            me,
            name,
            version: crate::VERSION.to_owned(),
            mtu: shared.net.mtu(),
            rcvbuf: u32::try_from(shared.net.receive_buffer()).unwrap_or(u32::MAX),
            receives: !config.no_recv,
            secret,
            seed,
            silence: SILENCE,
            keepalive: KEEPALIVE,
        },
        now,
    );
    let rate = config.rate.map(|mbits| f64::from(mbits) * 1e6 / 8.0);
    let (to_disk, jobs) = mpsc::channel();
    let receives = !config.no_recv;
    Ok(Daemon {
        sender: Sender::new(Arc::clone(&shared), rate),
        receiver: Receiver::new(
            Arc::clone(&shared),
            receiver_waker,
            to_disk,
            disk.closing(),
            receives,
            BUDGET,
        ),
        disk,
        jobs,
        // In a chroot that path is another one.
        unix: unix_path.filter(|_| !config.chroot),
        pidfile,
        control: Control {
            settings: Settings {
                no_send: config.no_send,
                own_only: config.own_only.then_some(identity.uid),
                parallel: config.parallel,
                timeout: config.timeout,
                rate: config.rate,
                sendsize: shared.net.send_buffer() as u64,
                base,
                chroot: config.chroot,
                keys: key_paths,
                confined,
            },
            shared: Arc::clone(&shared),
            waker: control_waker,
            signals,
            tcp,
            unix,
            members,
            seal: Seal::new(me, Role::Control, shared.keys.as_ref()),
            clients: Vec::new(),
            door: Door::new(password),
            next_client: 1,
            // Any number will do to start from; 0 stands for none.
            next_number: TransferNo::new((seed as u32 >> 2).max(1)),
            rng: Rng::new(seed),
            ticked: now,
            tried_join: now,
            most_open: 0,
            rate: (0, now),
        },
        shared,
    })
}

/// Where the file of an option is or will be.
pub(super) fn place(
    option: &str,
    path: &Path,
    identity: &Identity,
) -> Result<Resolved, String> {
    let place = resolve::place(path, identity.uid);
    place.map_err(|why| format!("{option} {}: {why}", path.display()))
}

/// Makes the base directory the root directory, and opens it as that.
fn change_root(root: &Root) -> std::io::Result<Root> {
    host::change_root(root.as_fd())?;
    Root::open(Path::new("/"))
}

fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    let failed =
        |error: std::io::Error| format!("cannot listen on {address}: {}", ErrorText(&error));
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

impl Daemon {
    fn run(self, readiness: Readiness, foreground: bool) -> Result<ExitCode, String> {
        let Daemon { control, sender, receiver, disk, jobs, shared, unix, mut pidfile } = self;
        let spawned = (|| -> std::io::Result<Vec<JoinHandle<()>>> {
            let answers = Arc::clone(&shared);
            Ok(vec![
                spawn(&shared, "receiver", move || receiver.run())?,
                spawn(&shared, "sender", move || sender.run())?,
                spawn(&shared, "disk", move || do_jobs(disk, &jobs, &answers))?,
            ])
        })();
        let threads = match spawned {
            Ok(threads) => threads,
            Err(error) => {
                // This ends the process, which drops nothing.
                drop(pidfile);
                readiness.failed(&format!("makuosan: no thread: {}", ErrorText(&error)))
            }
        };
        if let Some(Err(error)) = pidfile.as_mut().map(PidFile::write) {
            drop(pidfile);
            readiness.failed(&format!("makuosan: --pidfile {error}"));
        }
        // Nobody may be listening.
        let _ = writeln!(std::io::stderr(), "pid       : {}", std::process::id());
        log::notice(format_args!(
            "version {} starts: {}, group {}, base directory {}",
            crate::VERSION,
            shown(shared.net.local()),
            shared.net.group(),
            control.settings.base.display()
        ));
        readiness.up().map_err(|error| format!("cannot detach: {}", ErrorText(&error)))?;
        if !foreground {
            log::leave_stderr();
            // The directory it was started in may have to be unmounted one day.
            let _ = daemonize::leave_directory();
        }
        let status = control.run();
        for thread in threads {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        if let Some(path) = unix {
            // Its directory may not be ours to change any more.
            let _ = std::fs::remove_file(path);
        }
        // Last: who waits for this file to go may start the next daemon at once.
        drop(pidfile);
        Ok(status)
    }
}

fn shown(local: SocketAddrV4) -> String {
    match local.ip().is_unspecified() {
        true => format!("any interface, port {}", local.port()),
        false => local.to_string(),
    }
}

/// Starts a thread whose panic ends the daemon.
fn spawn(
    shared: &Arc<Shared>,
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    struct Alarm(Arc<Shared>, &'static str);
    impl Drop for Alarm {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.control.send(ToControl::Died(self.1));
            }
        }
    }
    let alarm = Alarm(Arc::clone(shared), name);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _alarm = alarm;
        run();
    })
}

/// The disk thread: one job after another, until the receiver has ended. A commit passes the stages of
/// later batches, which need not be there before it: what is complete shows as soon as it can.
fn do_jobs(mut disk: Disk, jobs: &mpsc::Receiver<DiskJob>, shared: &Shared) {
    let mut waiting: VecDeque<DiskJob> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match jobs.recv() {
                Ok(job) => waiting.push_back(job),
                Err(_) => return,
            }
        }
        waiting.extend(jobs.try_iter());
        let commit = waiting.iter().position(|job| matches!(job, DiskJob::Commit { .. }));
        let Some(job) = waiting.remove(commit.unwrap_or(0)) else { continue };
        if let Some(answer) = disk.run(job) {
            shared.receiver.send(ToReceiver::Answer(answer));
        }
    }
}
