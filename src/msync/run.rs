//! From the command line to the exit status.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use super::dialogue::{Client, Patience};
use super::doctor;
use super::failure::Failure;
use super::input::Input;
use super::link::Link;
use super::show::Screen;
use super::status::{INCOMPLETE, SUCCESS, UNUSABLE};
use crate::cli::Asked;
use crate::cli::msync::{Command, Config, Show, wants_json};
use crate::console::error::{Code, ErrorReport};

/// Runs the client and returns its exit status.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let json = wants_json(&args);
    let status = match crate::cli::msync::parse(args, |name| std::env::var_os(name)) {
        Ok(Asked::Run(config)) => run(&config),
        Ok(Asked::Print(text)) => {
            // Whoever closed the pipe has read enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            SUCCESS
        }
        Err(error) => {
            if json {
                let report = ErrorReport::new(Code::Usage, error.why());
                let _ = writeln!(std::io::stdout(), "{}", report.json_line());
            }
            let _ = writeln!(std::io::stderr(), "{error}");
            UNUSABLE
        }
    };
    ExitCode::from(status)
}

fn run(config: &Config) -> u8 {
    let terminal = std::io::stderr().is_terminal();
    let draw = match config.show {
        Show::Progress => true,
        Show::Auto => terminal,
        Show::Quiet | Show::NoProgress => false,
    };
    let summary = config.show != Show::Quiet && (draw || terminal || config.verbose);
    let mut screen = Screen::new(std::io::stdout(), std::io::stderr(), draw, summary);
    let status = match call(config, &mut screen) {
        Ok(status) => status,
        // That there is no daemon is what it was asked for.
        Err(failure @ (Failure::Connect(_) | Failure::Link(_)))
            if matches!(config.command, Command::Doctor { .. }) =>
        {
            screen.line(doctor::unreachable(&failure, &config.target, config.json).as_bytes());
            INCOMPLETE
        }
        Err(failure) => {
            screen.say(&format!("msync: {}", failure.text(&config.target)));
            if config.json {
                screen.line(failure.report(&config.target).json_line().as_bytes());
            }
            UNUSABLE
        }
    };
    // What could not be written was not shown: that is no success.
    match screen.finish() {
        Ok(()) => status,
        Err(_) => status.max(UNUSABLE),
    }
}

/// Calls the daemon and does what `config` says.
fn call(config: &Config, screen: &mut Screen) -> Result<u8, Failure> {
    // Earlier versions would have sent it.
    let is_file = |word: &&str| Path::new(word).symlink_metadata().is_ok();
    if let Some(word) = config.new_word.filter(is_file) {
        return Err(Failure::AlsoFile(word));
    }
    let input = Input::read(config)?;
    let link = Link::connect(&config.target).map_err(Failure::Connect)?;
    converse(Client::new(link, screen, Patience::default()), config, &input)
}

fn converse(mut client: Client<'_>, config: &Config, input: &Input) -> Result<u8, Failure> {
    let done = client.begin(input.password.as_deref()).and_then(|()| match &config.command {
        Command::Members { behind: true, .. } => client.behind(config.json),
        Command::Members { verbose, .. } => client.members(*verbose, config.json),
        Command::Forget(host) => client.forget(host, config.json),
        Command::Status { verbose } => client.status(*verbose, config.json),
        Command::Doctor { hosts, probe } => client.doctor(hosts, *probe, config.json),
        Command::Metrics => client.metrics(),
        Command::History => client.history(config.json),
        Command::Watch(watch) => client.watch(watch, config, &input.rules),
        Command::Flush(path) => client.flush(b"flush", path, None, config),
        Command::Release(path) => client.flush(b"release", path, None, config),
        Command::Mirror => client.mirror(config.json),
        Command::List(of, path) => {
            let verb = if config.json { format!("{of} json list") } else { format!("{of} list") };
            client.flush(verb.as_bytes(), path, None, config)
        }
        Command::Decide(what, path, more) => {
            client.flush(what.as_bytes(), path, more.as_deref(), config)
        }
        Command::Files(files) => client.files(files, config, input),
        Command::Script(script) => client.script(script, config, &input.rules),
    });
    client.end();
    done
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    fn config(text: &[&str]) -> Config {
        let args = text.iter().map(std::ffi::OsString::from);
        match crate::cli::msync::parse(args, |_| None) {
            Ok(crate::cli::Asked::Run(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    /// Lets a client with little patience talk to a daemon that says these pieces, each after one
    /// more line was said to it, and then nothing, but keeps the connection open.
    fn talk(pieces: &[&str], silence: u64) -> u8 {
        talk_of(&["-r"], pieces, silence)
    }

    fn talk_of(args: &[&str], pieces: &[&str], silence: u64) -> u8 {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let pieces: Vec<String> = pieces.iter().map(|&piece| piece.to_owned()).collect();
        let daemon = std::thread::spawn(move || {
            let mut byte = [0];
            for piece in pieces {
                // A client of little patience may have gone before this thread ran.
                if theirs.write_all(piece.as_bytes()).is_err() {
                    return;
                }
                while theirs.read(&mut byte).unwrap_or(0) > 0 && byte[0] != b'\n' {}
            }
            // Until the client goes.
            while theirs.read(&mut byte).unwrap_or(0) > 0 {}
        });
        let silence = Duration::from_millis(silence);
        let patience = Patience { prompt: silence, password: silence, silence };
        let mut screen = Screen::new(std::io::sink(), std::io::sink(), false, false);
        let input = Input { password: Some(b"open sesame".to_vec()), ..Input::default() };
        let client = Client::new(Link::over_unix(ours), &mut screen, patience);
        let status = converse(client, &config(args), &input).unwrap_or(UNUSABLE);
        daemon.join().unwrap();
        status
    }

    #[test]
    fn a_daemon_that_says_nothing_is_given_up() {
        assert_eq!(talk(&[], 20), UNUSABLE);
        assert_eq!(talk(&["> ", "> ", "> ", "> "], 200), UNUSABLE);
    }

    #[test]
    fn a_daemon_that_lives_is_waited_for() {
        // With the whole dialogue said at once there is no wait that could be too long.
        let all = ["> ", "> ", "> ", "> ", "alive\ntotal hosts=1\n> "];
        assert_eq!(talk(&all, 10_000), SUCCESS);
    }

    #[test]
    fn figures_are_shown_only_if_they_are_some() {
        let figures = "# HELP makuosan_up Whether it runs.\n> ";
        assert_eq!(talk_of(&["metrics"], &["> ", "> ", figures], 10_000), SUCCESS);
        for other in ["error: unknown command\n> ", "> "] {
            assert_eq!(talk_of(&["metrics"], &["> ", "> ", other], 10_000), UNUSABLE);
        }
    }

    #[test]
    fn a_watch_that_had_begun_is_not_one_that_could_not_begin() {
        let before = ["> ", "> ", "> ", "> "];
        for (rest, status) in [
            ("error: No such file or directory d\n> ", UNUSABLE),
            ("total hosts=1\nerror: web2 watches d\n> ", super::super::status::INCOMPLETE),
        ] {
            let all = [&before[..], &[rest]].concat();
            assert_eq!(talk_of(&["watch"], &all, 10_000), status);
        }
    }

    #[test]
    fn a_password_is_said_once() {
        let all = ["password: \x1b]E", "\r> ", "> ", "> ", "> ", "total hosts=1\n> "];
        assert_eq!(talk(&all, 10_000), SUCCESS);
        for answer in ["\rsorry.\n", "password: \x1b]E"] {
            assert_eq!(talk(&["password: \x1b]E", answer], 10_000), UNUSABLE);
        }
        assert_eq!(talk(&["password: \x1b]E"], 20), UNUSABLE);
    }
}
