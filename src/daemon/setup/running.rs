//! The running daemon, from the start of its threads to its end.

use std::io::Write as _;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::error::{StartError, failed};
use crate::daemon::control::control_loop::Control;
use crate::daemon::messages::ToDisk;
use crate::daemon::receiving::disk;
use crate::daemon::receiving::receiver::Receiver;
use crate::daemon::sending::sender::Sender;
use crate::daemon::shared::Shared;
use crate::daemon::spawn::spawn;
use crate::errno::ErrorText;
use crate::fs::disk::Disk;
use crate::log;
use crate::sys::daemonize::{self, Readiness};
use crate::sys::pidfile::PidFile;

/// A daemon with everything opened, whose threads have not been started.
pub(super) struct Daemon {
    pub(super) control: Control,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) disk: Disk,
    pub(super) jobs: mpsc::Receiver<ToDisk>,
    pub(super) shared: Arc<Shared>,
    pub(super) unix: Option<PathBuf>,
    pub(super) pidfile: Option<PidFile>,
}

impl Daemon {
    /// Starts the threads, runs the control loop, and returns when all threads have ended.
    ///
    /// # Errors
    /// If it cannot go to the background.
    pub(super) fn run(
        self,
        readiness: Readiness,
        foreground: bool,
    ) -> Result<ExitCode, StartError> {
        let Daemon { mut control, sender, receiver, disk, jobs, shared, unix, mut pidfile } = self;
        let spawned = (|| -> std::io::Result<Vec<JoinHandle<()>>> {
            let answers = Arc::clone(&shared);
            Ok(vec![
                spawn(&shared, "receiver", move || receiver.run())?,
                spawn(&shared, "sender", move || sender.run())?,
                spawn(&shared, "disk", move || disk::run(disk, &jobs, &answers))?,
            ])
        })();
        let threads = match spawned {
            Ok(threads) => threads,
            Err(error) => {
                // `failed` ends the process without running destructors.
                drop(pidfile);
                readiness.failed(&format!("makuosan: cannot start a thread: {}", ErrorText(&error)))
            }
        };
        if let Some(Err(error)) = pidfile.as_mut().map(PidFile::write) {
            drop(pidfile);
            readiness.failed(&format!("makuosan: --pidfile {error}"));
        }
        if let Err((path, error)) = control.begin_metrics() {
            drop(pidfile);
            let path = path.display();
            readiness.failed(&format!("makuosan: --metrics-file {path}: {}", ErrorText(&error)));
        }
        // Standard error may be closed.
        let _ = writeln!(std::io::stderr(), "pid       : {}", std::process::id());
        log::notice(format_args!(
            "version {} started: {}, group {}, base directory {}",
            crate::VERSION,
            shown(shared.net.local()),
            shared.net.group(),
            shared.base.path().display()
        ));
        readiness.up().map_err(failed("cannot detach"))?;
        if !foreground {
            log::leave_stderr();
            // So that the directory it was started in can be unmounted.
            let _ = daemonize::leave_directory();
        }
        let status = control.run();
        for thread in threads {
            // A panic has been logged.
            let _ = thread.join();
        }
        if let Some(path) = unix {
            // May fail if write access to its directory was given up.
            let _ = std::fs::remove_file(path);
        }
        // Last, because whoever waits for the pid file to vanish may start the next daemon immediately.
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
