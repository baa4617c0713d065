//! From the command line to the running threads.

use std::io::Write as _;
use std::process::ExitCode;

use super::assemble::{assemble, keyring};
use super::error::{StartError, failed};
use super::identity::{host_name, identity};
use super::{check_config, hazards, password_file, watched};
use crate::cli::Asked;
use crate::cli::daemon::{self as cli, Config};
use crate::daemon::{clock, keyfile};
use crate::fs::root::Root;
use crate::log;
use crate::sys::daemonize;
use crate::sys::memory;
use crate::sys::signal;
use crate::sys::syslog::Syslog;

/// Runs the daemon. Returns its exit status.
pub(crate) fn main() -> ExitCode {
    let asked = cli::parse(std::env::args_os().skip(1), |name| std::env::var_os(name));
    let config = match asked {
        Ok(Asked::Run(config)) => config,
        Ok(Asked::Print(text)) => {
            // A closed pipe is not an error.
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

/// Prints an error to standard error, if that is open.
fn complain(what: std::fmt::Arguments<'_>) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{what}");
    ExitCode::FAILURE
}

fn start(config: Config) -> Result<ExitCode, StartError> {
    if let Some(path) = &config.genkey {
        return keyfile::make(path).map(|()| ExitCode::SUCCESS).map_err(StartError::Genkey);
    }
    let identity = identity(&config)?;
    let name = host_name(&config)?;
    let root = Root::open_trusted(&config.files.base, identity.uid)
        .map_err(|why| StartError::Path("-b", config.files.base.clone(), why))?;
    let secret = match &config.console.password {
        Some(path) => {
            let secret = password_file::read(path, identity.uid);
            Some(secret.map_err(|why| StartError::Password(path.clone(), why))?)
        }
        None => None,
    };
    watched::check(&config, &root)?;
    let watches = (watched::watched(&config)?, watched::mirroring(&config)?);
    if config.check_config {
        keyring(&config, identity.uid)?;
        let text = check_config::describe(&config, &identity, &name, &root)?;
        // A closed pipe is not an error.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let warnings = hazards::warnings(&config, &identity, &root);
    let is_first = daemonize::is_first_process();
    // If the first process ends, so do all others of its PID namespace.
    let foreground = config.foreground || is_first;
    log::init(log::Setup {
        level: log::Level::new(config.loglevel),
        stderr: true,
        syslog: (!foreground).then(|| Syslog::open("makuosan")),
        clock: log::Clock { now: clock::now, wall: clock::wall },
    });
    log::report_panics();
    memory::keep_small();
    let readiness = match foreground {
        true => daemonize::foreground(),
        false => daemonize::detach().map_err(failed("cannot go to the background"))?,
    };
    if is_first {
        signal::forget_children().map_err(failed("signals"))?;
    }
    match assemble(&config, &identity, name, root, secret, watches) {
        Ok(daemon) => {
            for warning in warnings {
                log::warning(format_args!("warning: {warning}"));
            }
            if foreground && !config.foreground {
                log::notice(format_args!(
                    "this is process 1, with which its container ends: stays in the foreground, as with -n"
                ));
            }
            daemon.run(readiness, foreground)
        }
        Err(message) => readiness.failed(&format!("makuosan: {message}")),
    }
}
