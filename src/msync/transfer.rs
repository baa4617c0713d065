//! The commands that work on files: what is said, and what the answers mean.
//!
//! A new daemon is told the whole in one command. An old one is told one host at a time, deletes
//! before it sends, and knows neither names that need double quotes nor what is newer than it: where
//! leaving that out would do something else than was asked for, nothing is done.
#![forbid(unsafe_code)]

use super::dialogue::{Client, Failure, is_unknown};
use super::input::Lines;
use super::place::{self, Base};
use super::show::Screen;
use super::tally::Tally;
use super::{INCOMPLETE, SUCCESS};
use crate::cli::msync::{Config, Files, Show, Text, Verb};
use crate::console::reply::{DELETE_ERROR, HostReport, Progress, Total, UNKNOWN_HOST, is_ng};
use crate::console::{MAX_LINE, words};
use crate::name::{Escaped, RelPath};
use crate::pattern::Rule;

/// What is known of the daemon, and how its lines are to be shown.
#[derive(Clone, Copy)]
struct Manner {
    /// It knows `progress`, double quotes, and many hosts at once.
    new: bool,
    /// It tells of each host in JSON.
    reports: bool,
    /// Only what went wrong is shown.
    quiet: bool,
    /// Standard output is for JSON alone.
    json: bool,
}

impl Client<'_> {
    /// Does something with files.
    pub(super) fn files(
        &mut self,
        files: &Files,
        config: &Config,
        rules: &[Rule],
    ) -> Result<u8, Failure> {
        let manner = self.settle(config, rules)?;
        if !manner.new {
            refuse_what_is_newer(files)?;
        }
        let mut tally = Tally::default();
        // All paths are understood before the first is sent.
        let commands = self.commands(files, manner.new)?;
        if !manner.new || (manner.json && !manner.reports) {
            let (rows, none) = self.rows()?;
            // An old daemon sends to nobody in silence.
            tally.alone = none && !manner.new;
            let is_meant = |row: &&super::old::Row| {
                let address = row.address.to_string();
                let named =
                    |host: &crate::name::HostName| *host == row.name || host.as_str() == address;
                files.hosts.is_empty() || files.hosts.iter().any(named)
            };
            for row in rows.iter().filter(is_meant) {
                tally.expect(row.name.clone(), row.address);
            }
        }
        if !tally.alone {
            for command in commands {
                self.transfer(&command, files.verb, manner, &mut tally)?;
            }
        }
        Ok(self.finish(files.verb, files.dry_run, config.json, tally))
    }

    /// Says the lines of a script.
    pub(super) fn script(
        &mut self,
        script: &Text,
        config: &Config,
        rules: &[Rule],
    ) -> Result<u8, Failure> {
        let mut lines = Lines::open(script).map_err(Failure::Script)?;
        let manner = self.settle(config, rules)?;
        let mut tally = Tally::default();
        while let Some(line) = lines.next_line().map_err(Failure::Script)? {
            let mut said = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
            let verb = match said.next() {
                None => continue,
                Some(word) if word.starts_with(b"#") => continue,
                Some(b"quit" | b"exit" | b"bye") => break,
                Some(b"check" | b"md5") => Verb::Check,
                Some(b"dsync") => Verb::Dsync,
                Some(b"exclude" | b"include")
                    if !matches!(said.next(), None | Some(b"list" | b"del" | b"clear")) =>
                {
                    self.pattern_of_script(&line)?;
                    continue;
                }
                Some(_) => Verb::Send,
            };
            self.transfer(&line, verb, manner, &mut tally)?;
        }
        Ok(self.finish(Verb::Send, false, false, tally))
    }

    /// A line of a script that adds a pattern. One that is not heeded ends the script: what it was to
    /// protect would go with what comes next.
    fn pattern_of_script(&mut self, line: &[u8]) -> Result<(), Failure> {
        let mut refused = false;
        self.ask(line, |screen, answer| {
            refused = true;
            screen.trouble(answer);
        })?;
        if refused { Err(Failure::ScriptPattern) } else { Ok(()) }
    }

    /// Makes the connection what `config` says.
    fn settle(&mut self, config: &Config, rules: &[Rule]) -> Result<Manner, Failure> {
        self.understood(format!("loglevel {}", config.loglevel).as_bytes())?;
        let watch = if self.screen.draws() { "progress on" } else { "progress total" };
        let new = self.understood(watch.as_bytes())?;
        let reports = config.json && new && self.understood(b"report on")?;
        if config.json && !reports {
            // Then the lines have to tell.
            self.understood(b"loglevel 2")?;
        }
        for rule in rules {
            self.pattern(rule, new)?;
        }
        Ok(Manner { new, reports, quiet: config.show == Show::Quiet, json: config.json })
    }

    /// Has the daemon heed a pattern. One that it does not heed ends everything: what was not to be
    /// touched would be.
    fn pattern(&mut self, rule: &Rule, new: bool) -> Result<(), Failure> {
        if rule.include && !new {
            return Err(Failure::TooOld("--include"));
        }
        let failed = |why: String| Failure::Pattern(rule.pattern.clone(), why);
        let mut line = if rule.include { "include add" } else { "exclude add" }.as_bytes().to_vec();
        push_word(&mut line, &rule.pattern, new).map_err(|why| failed(why.to_owned()))?;
        let mut answer = None;
        self.ask(&line, |_, said| answer = answer.take().or(Some(said.to_vec())))?;
        match answer {
            None => Ok(()),
            Some(said) => Err(failed(String::from_utf8_lossy(&said).into_owned())),
        }
    }

    /// Shows what it all came to; the exit status.
    fn finish(&mut self, verb: Verb, dry_run: bool, json: bool, tally: Tally) -> u8 {
        if let Some(total) = tally.total.filter(|total| total.hosts > 0) {
            self.screen.summary(verb, &total, dry_run);
        }
        if tally.alone {
            self.screen.say(match verb {
                Verb::Check => "msync: no members to compare with",
                _ => "msync: no members to send to",
            });
        }
        let complete = !tally.failed && !tally.alone;
        if json {
            for line in tally.json() {
                self.screen.line(line.as_bytes());
            }
        }
        if complete { SUCCESS } else { INCOMPLETE }
    }

    /// The lines that have the daemon do what is asked for.
    fn commands(&mut self, files: &Files, new: bool) -> Result<Vec<Vec<u8>>, Failure> {
        let mut paths = Vec::new();
        if files.paths.is_empty() {
            paths.push(RelPath::base());
        } else {
            let base = self.base(new)?;
            for typed in &files.paths {
                let found = match &base {
                    Some(base) => base.locate(typed),
                    None => place::locate_blind(typed),
                };
                let path = found.map_err(|why| Failure::Path(typed.clone(), why))?;
                if path.is_base() && !files.recursive {
                    let why = "the base directory itself is meant with -r alone";
                    return Err(Failure::Path(typed.clone(), why.to_owned()));
                }
                if let Some(advice) = base.as_ref().and_then(|base| base.advice(&path)) {
                    self.screen.say(&format!("msync: {}: {advice}", Escaped(typed)));
                }
                paths.push(path);
            }
        }
        let mut hosts: Vec<String> = files.hosts.iter().map(|host| format!(" -t {host}")).collect();
        if new || hosts.is_empty() {
            hosts = vec![hosts.concat()];
        }
        let mut commands = Vec::new();
        for path in &paths {
            for hosts in &hosts {
                if files.delete && !new {
                    commands.push(command(Verb::Dsync, files, hosts, path, new)?);
                }
                commands.push(command(files.verb, files, hosts, path, new)?);
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

    /// Runs one transfer, or whatever a script says, and shows what comes.
    fn transfer(
        &mut self,
        command: &[u8],
        verb: Verb,
        manner: Manner,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let Manner { new, reports, quiet, json } = manner;
        let mut troubles = 0_u64;
        let mut differs = false;
        let mut total = None;
        self.ask(command, |screen: &mut Screen, line| {
            if json && !reports {
                tally.learn(line);
            }
            let trouble = line.starts_with(b"error:")
                || is_unknown(line)
                || line.starts_with(DELETE_ERROR.as_bytes())
                || (!new && line.ends_with(UNKNOWN_HOST.as_bytes()));
            if trouble {
                troubles += 1;
                return screen.trouble(line);
            }
            if let Some(progress) = Progress::parse(line).filter(|_| new) {
                return screen.progress(&progress);
            }
            if let Some(sum) = Total::parse(line).filter(|_| new) {
                total = Some(sum);
                return;
            }
            if let Some(report) = HostReport::parse(line).filter(|_| reports) {
                return tally.host(&report);
            }
            let ng = verb == Verb::Check && is_ng(line);
            differs |= ng;
            if !json && (!quiet || ng) {
                screen.line(line);
            }
        })?;
        tally.failed |= troubles > 0 || differs;
        if let Some(total) = total {
            tally.failed |= total.failed > 0 || total.errors > 0;
            // With an error the transfer did not even look for somebody to send to, or found
            // that `-t` names nobody; the error says so better.
            tally.alone |= total.hosts == 0 && total.errors == 0 && troubles == 0;
            tally.add(total);
        }
        Ok(())
    }
}

/// An old daemon does not know these. It has no guards either, so that it needs no `--force`.
fn refuse_what_is_newer(files: &Files) -> Result<(), Failure> {
    let newer = [
        (files.max_delete.is_some(), "--max-delete"),
        (files.ignore_times, "-I"),
        (files.checksum, "--checksum"),
    ];
    match newer.iter().find(|(asked, _)| *asked) {
        Some((_, option)) => Err(Failure::TooOld(option)),
        None => Ok(()),
    }
}

/// One command line.
fn command(
    verb: Verb,
    files: &Files,
    hosts: &str,
    path: &RelPath,
    new: bool,
) -> Result<Vec<u8>, Failure> {
    let sends = matches!(verb, Verb::Send | Verb::Sync);
    let flags = [
        (files.recursive, " -r"),
        (files.dry_run, " -n"),
        (files.ignore_times, " -I"),
        (files.checksum, " --checksum"),
        (files.delete && new, " --delete"),
        (files.force && new, " --force"),
    ];
    let mut text = format!("{}{hosts}", verb.name());
    for (_, flag) in flags.iter().filter(|(given, _)| *given) {
        text.push_str(flag);
    }
    if let Some(most) = files.max_delete {
        text.push_str(&format!(" --max-delete {most}"));
    }
    if let (Some(group), true) = (&files.group, sends) {
        text.push_str(&format!(" -g {group}"));
    }
    let mut line = text.into_bytes();
    let fits = push_path(&mut line, path, new);
    let fits = fits.and(match line.len() <= MAX_LINE {
        true => Ok(()),
        false => Err("too long for one command line"),
    });
    fits.map_err(|why| Failure::Path(path.as_bytes().to_vec(), why.to_owned()))?;
    Ok(line)
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
    push_word(line, bytes, new)
}

/// Appends a word to a command line, with the space before it.
///
/// # Errors
/// Why an old daemon cannot be told this word.
fn push_word(line: &mut Vec<u8>, bytes: &[u8], new: bool) -> Result<(), &'static str> {
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
}
