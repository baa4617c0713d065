//! What is said to the daemon, and what its answers mean.
//!
//! The daemon may be old: it then does not know `progress`, and the client gets by without what
//! only new daemons tell: totals, several `-t` in one command, and names in double quotes.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::link::{Event, Link, LinkError};
use super::place::{self, Base};
use super::show::Screen;
use super::{INCOMPLETE, SUCCESS, UNUSABLE};
use crate::cli::msync::{Command, Config, Send, Show, Target};
use crate::console::reply::{Progress, Total, UNKNOWN_HOST};
use crate::console::{MAX_LINE, UNKNOWN, words};
use crate::name::{Escaped, RelPath};

/// How long to wait for a sign of life.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the first prompt.
    pub prompt: Duration,
    /// From a daemon that promised to say `alive` every second.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { prompt: Duration::from_secs(5), silence: Duration::from_secs(30) }
    }
}

/// Why the dialogue ended early; each ends the client with [`UNUSABLE`].
enum Failure {
    /// The connection failed.
    Link(LinkError),
    /// The daemon's first words were no prompt; they are its own, and were shown if there were any.
    Refused,
    /// It wants a password.
    Password,
    /// A path that cannot be sent: as typed, and why.
    Path(Vec<u8>, String),
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Failure::Link(error)
    }
}

impl Failure {
    fn tell(&self, target: &Target, screen: &mut Screen) {
        match self {
            Failure::Link(error) => {
                screen.say(&format!("msync: lost the daemon at {target}: {error}"));
            }
            Failure::Refused => screen.say(&format!("msync: the daemon at {target} refused")),
            Failure::Password => {
                let what = "wants a password, which this version cannot give";
                screen.say(&format!("msync: the daemon at {target} {what}"));
            }
            Failure::Path(path, why) => screen.say(&format!("msync: {}: {why}", Escaped(path))),
        }
    }
}

/// The client's side of one connection.
pub struct Client<'a> {
    link: Link,
    screen: &'a mut Screen,
    patience: Patience,
}

/// What the sends of one call came to.
#[derive(Default)]
struct Outcome {
    /// Whether anything failed anywhere.
    failed: bool,
    /// Whether a transfer found nobody to send to.
    alone: bool,
    /// All totals together; None if there was none.
    total: Option<Total>,
}

impl Outcome {
    fn add(&mut self, total: Total) {
        let sum = self.total.get_or_insert_default();
        sum.hosts = sum.hosts.max(total.hosts);
        sum.failed = sum.failed.max(total.failed);
        sum.files += total.files;
        sum.bytes += total.bytes;
        sum.unchanged += total.unchanged;
        sum.errors += total.errors;
        sum.wire += total.wire;
        sum.time = sum.time + total.time;
    }
}

impl<'a> Client<'a> {
    /// A client on a connection over which nothing was said yet.
    pub fn new(link: Link, screen: &'a mut Screen, patience: Patience) -> Self {
        Client { link, screen, patience }
    }

    /// Does what `config` says and returns the exit status.
    pub fn run(mut self, config: &Config) -> u8 {
        let status = self.converse(config).unwrap_or_else(|failure| {
            failure.tell(&config.target, self.screen);
            UNUSABLE
        });
        // Whether it hears this makes no difference: the connection ends.
        let _ = self.link.say(b"quit");
        status
    }

    fn converse(&mut self, config: &Config) -> Result<u8, Failure> {
        self.set_patience(Some(self.patience.prompt))?;
        self.greet()?;
        self.set_patience(Some(self.patience.silence))?;
        if !self.understood(b"alive on")? {
            self.set_patience(None)?;
        }
        match &config.command {
            Command::Members => self.list(b"members"),
            Command::Status => self.list(b"status"),
            Command::Send(send) => self.send(send, config),
        }
    }

    fn set_patience(&mut self, patience: Option<Duration>) -> Result<(), LinkError> {
        self.link.set_patience(patience).map_err(LinkError::Io)
    }

    /// The next event, with all that came before it shown first.
    fn event(&mut self) -> Result<Event, LinkError> {
        if let Some(event) = self.link.ready() {
            return Ok(event);
        }
        self.screen.flush();
        self.link.event()
    }

    /// Waits for the first prompt.
    fn greet(&mut self) -> Result<(), Failure> {
        let mut refused = false;
        loop {
            match self.event() {
                Ok(Event::Prompt) => return Ok(()),
                Ok(Event::Password) => return Err(Failure::Password),
                Ok(Event::Line(line)) => {
                    refused = true;
                    self.screen.trouble(&line);
                }
                Err(LinkError::Closed) if refused => return Err(Failure::Refused),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says a line, and hands what is answered, but for `alive`, to `take`.
    fn ask(
        &mut self,
        line: &[u8],
        mut take: impl FnMut(&mut Screen, &[u8]),
    ) -> Result<(), Failure> {
        self.link.say(line)?;
        loop {
            match self.event()? {
                Event::Prompt => return Ok(()),
                Event::Password => return Err(Failure::Password),
                Event::Line(line) if line == b"alive" => {}
                Event::Line(line) => take(self.screen, &line),
            }
        }
    }

    /// Says a line that is answered by nothing, and tells whether the daemon knows it.
    fn understood(&mut self, line: &[u8]) -> Result<bool, Failure> {
        let mut known = true;
        self.ask(line, |_, answer| known &= !is_unknown(answer))?;
        Ok(known)
    }

    /// Has the daemon list something, for standard output.
    fn list(&mut self, command: &[u8]) -> Result<u8, Failure> {
        let mut status = SUCCESS;
        self.ask(command, |screen, line| {
            if line.starts_with(b"error:") || is_unknown(line) {
                screen.trouble(line);
                status = INCOMPLETE;
            } else {
                screen.line(line);
            }
        })?;
        Ok(status)
    }

    fn send(&mut self, send: &Send, config: &Config) -> Result<u8, Failure> {
        self.understood(format!("loglevel {}", config.loglevel).as_bytes())?;
        let watch = if self.screen.draws() { "progress on" } else { "progress total" };
        let new = self.understood(watch.as_bytes())?;
        let mut outcome = Outcome::default();
        // All paths are understood before the first is sent.
        let commands = self.commands(send, new)?;
        if !new {
            // An old daemon sends to nobody in silence.
            outcome.alone = self.has_no_members()?;
        }
        if !outcome.alone {
            for command in commands {
                self.transfer(&command, new, config.show == Show::Quiet, &mut outcome)?;
            }
        }
        if let Some(total) = outcome.total.filter(|total| total.hosts > 0) {
            self.screen.summary(&total, send.dry_run);
        }
        if outcome.alone {
            self.screen.say("msync: no members to send to");
        }
        let complete = !outcome.failed && !outcome.alone;
        Ok(if complete { SUCCESS } else { INCOMPLETE })
    }

    /// The lines that have the daemon send what is asked for.
    fn commands(&mut self, send: &Send, new: bool) -> Result<Vec<Vec<u8>>, Failure> {
        let mut paths = Vec::new();
        if send.paths.is_empty() {
            paths.push(RelPath::base());
        } else {
            let base = self.base(new)?;
            for typed in &send.paths {
                let found = match &base {
                    Some(base) => base.locate(typed),
                    None => place::locate_blind(typed),
                };
                let path = found.map_err(|why| Failure::Path(typed.clone(), why))?;
                if path.is_base() && !send.recursive {
                    let why = "the base directory itself is sent with -r alone";
                    return Err(Failure::Path(typed.clone(), why.to_owned()));
                }
                if let Some(advice) = base.as_ref().and_then(|base| base.advice(&path)) {
                    self.screen.say(&format!("msync: {}: {advice}", Escaped(typed)));
                }
                paths.push(path);
            }
        }
        let mut hosts: Vec<String> = send.hosts.iter().map(|host| format!(" -t {host}")).collect();
        if new || hosts.is_empty() {
            hosts = vec![hosts.concat()];
        }
        let mut commands = Vec::new();
        for path in &paths {
            for hosts in &hosts {
                let recursive = if send.recursive { " -r" } else { "" };
                let dry_run = if send.dry_run { " -n" } else { "" };
                let mut line = format!("send{hosts}{recursive}{dry_run}").into_bytes();
                let fits = push_path(&mut line, path, new);
                let fits = fits.and(match line.len() <= MAX_LINE {
                    true => Ok(()),
                    false => Err("too long for one command line"),
                });
                fits.map_err(|why| Failure::Path(path.as_bytes().to_vec(), why.to_owned()))?;
                commands.push(line);
            }
        }
        Ok(commands)
    }

    /// The daemon's base directory, if it tells.
    fn base(&mut self, new: bool) -> Result<Option<Base>, Failure> {
        let mut dir = None;
        self.ask(b"status", |_, line| {
            let mut halves = line.splitn(2, |&b| b == b':');
            if let (Some(key), Some(value)) = (halves.next(), halves.next()) {
                if [&b"basedir"[..], b"chroot"].contains(&key.trim_ascii()) {
                    let value = value.strip_prefix(b" ").unwrap_or(value);
                    dir = Some(if new { words::unescape(value) } else { value.to_vec() });
                }
            }
        })?;
        let dir = dir.filter(|dir| dir.starts_with(b"/"));
        let cwd = std::env::current_dir().ok();
        Ok(dir.map(|dir| Base::new(&dir, self.link.is_local(), cwd)))
    }

    fn has_no_members(&mut self) -> Result<bool, Failure> {
        let mut none = false;
        self.ask(b"members", |_, line| none |= line.starts_with(b"Total: 0 "))?;
        Ok(none)
    }

    /// Runs one transfer and shows what comes.
    fn transfer(
        &mut self,
        command: &[u8],
        new: bool,
        quiet: bool,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let mut troubles = 0_u64;
        let mut total = None;
        self.ask(command, |screen, line| {
            let trouble = line.starts_with(b"error:")
                || is_unknown(line)
                || (!new && line.ends_with(UNKNOWN_HOST.as_bytes()));
            if trouble {
                troubles += 1;
                screen.trouble(line);
                return;
            }
            match (new.then(|| Progress::parse(line)), new.then(|| Total::parse(line))) {
                (Some(Some(progress)), _) => screen.progress(&progress),
                (_, Some(Some(sum))) => total = Some(sum),
                _ if quiet => {}
                _ => screen.line(line),
            }
        })?;
        outcome.failed |= troubles > 0;
        if let Some(total) = total {
            outcome.failed |= total.failed > 0 || total.errors > 0;
            // With an error the transfer did not even look for somebody to send to, or found
            // that `-t` names nobody; the error says so better.
            outcome.alone |= total.hosts == 0 && total.errors == 0 && troubles == 0;
            outcome.add(total);
        }
        Ok(())
    }
}

fn is_unknown(line: &[u8]) -> bool {
    line.starts_with(UNKNOWN.as_bytes())
}

/// Appends a path to a command line, with the space before it; nothing for the base itself.
///
/// # Errors
/// Why an old daemon cannot be told this path.
fn push_path(line: &mut Vec<u8>, path: &RelPath, new: bool) -> Result<(), &'static str> {
    let bytes = path.as_bytes();
    if bytes.is_empty() {
        return Ok(());
    }
    if bytes.starts_with(b"-") {
        line.extend_from_slice(b" --");
    }
    line.push(b' ');
    if new {
        words::push_quoted(line, bytes);
        return Ok(());
    }
    // It splits at the ends of lines and at spaces, of which a backslash saves all but the last;
    // and it takes any backslash before a space for that.
    let odd = |&b: &u8| b == b'\n' || b == b'\r';
    if bytes.iter().any(odd) || bytes.ends_with(b" ") || bytes.windows(2).any(|w| w == b"\\ ") {
        return Err("this daemon is too old to be told such a name");
    }
    for &byte in bytes {
        if byte == b' ' {
            line.push(b'\\');
        }
        line.push(byte);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn said(path: &[u8], new: bool) -> Result<String, &'static str> {
        let mut line = b"send".to_vec();
        push_path(&mut line, &RelPath::parse(path).unwrap(), new)?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    #[test]
    fn odd_names_are_said_as_the_daemon_understands() {
        assert_eq!(said(b"a b", true).as_deref(), Ok("send \"a b\""));
        assert_eq!(said(b"a b", false).as_deref(), Ok(r"send a\ b"));
        assert_eq!(said(b"a\n", true).as_deref(), Ok(r#"send "a\012""#));
        assert_eq!(said(b"-r", true).as_deref(), Ok("send -- \"-r\""));
        assert_eq!(said(b"-r", false).as_deref(), Ok("send -- -r"));
        for bad in [&b"a\n"[..], b"a ", b"a\\ b", b"a\r"] {
            assert!(said(bad, false).is_err());
            assert!(said(bad, true).is_ok());
        }
        let mut line = b"send".to_vec();
        push_path(&mut line, &RelPath::base(), true).unwrap();
        assert_eq!(line, b"send");
    }

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
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let pieces: Vec<String> = pieces.iter().map(|&piece| piece.to_owned()).collect();
        let daemon = std::thread::spawn(move || {
            let mut byte = [0];
            for piece in pieces {
                theirs.write_all(piece.as_bytes()).unwrap();
                while theirs.read(&mut byte).unwrap_or(0) > 0 && byte[0] != b'\n' {}
            }
            // Until the client goes.
            while theirs.read(&mut byte).unwrap_or(0) > 0 {}
        });
        let silence = Duration::from_millis(silence);
        let patience = Patience { prompt: silence, silence };
        let mut screen = Screen::new(std::io::sink(), std::io::sink(), false, false);
        let status =
            Client::new(Link::over_unix(ours), &mut screen, patience).run(&config(&["-r"]));
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
}
