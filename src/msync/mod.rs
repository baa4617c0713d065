//! The client, `msync`: tells the daemon what to do, and shows what it answers.
//!
//! - `link`: the connection, as prompts and lines.
//! - `dialogue`: what is said, and what the answers mean.
//! - `transfer`: the commands that work on files, and their answers.
//! - `tally`: what these came to, in all and on each host.
//! - `old`: what is made of the answers of daemons that know no JSON.
//! - `input`: what is read from files and standard input.
//! - `place`: which path below the base directory a typed path is.
//! - `show`: standard output, standard error, the progress line and the summary.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use crate::cli::Asked;
use crate::cli::msync::{Config, Show};

mod dialogue;
mod input;
mod link;
mod old;
mod place;
mod show;
mod tally;
mod transfer;

use dialogue::{Client, Patience};
use input::Input;
use link::Link;
use show::Screen;

/// Everything is everywhere.
const SUCCESS: u8 = 0;
/// Wrong usage, or no daemon.
const UNUSABLE: u8 = 1;
/// Something failed or differs on some host, or there is no member.
const INCOMPLETE: u8 = 2;

/// Runs the client and returns its exit status.
pub fn main() -> ExitCode {
    let args = std::env::args_os().skip(1);
    let status = match crate::cli::msync::parse(args, |name| std::env::var_os(name)) {
        Ok(Asked::Run(config)) => run(&config),
        Ok(Asked::Print(text)) => {
            // Whoever closed the pipe has read enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            SUCCESS
        }
        Err(error) => {
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
    let link = || {
        let input = Input::read(config)?;
        let link = Link::connect(&config.target).map_err(|error| {
            let why = link::plain(&error);
            format!("cannot reach the daemon at {}: {why}", config.target)
        })?;
        Ok::<_, String>((input, link))
    };
    let status = match link() {
        Ok((input, link)) => {
            Client::new(link, &mut screen, Patience::default()).run(config, &input)
        }
        Err(why) => {
            screen.say(&format!("msync: {why}"));
            UNUSABLE
        }
    };
    // What could not be written was not shown: that is no success.
    match screen.finish() {
        Ok(()) => status,
        Err(_) => status.max(UNUSABLE),
    }
}
