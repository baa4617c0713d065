//! The commands that work on files.
//!
//! A new daemon gets one command for everything. An old one gets one command per host, deletes
//! before it sends, and supports neither names that need double quotes nor newer options: if
//! leaving such an option out would change the meaning, nothing is done.
#![forbid(unsafe_code)]

use super::answer::{Answer, Daemon};
use super::dialogue::Client;
use super::failure::Failure;
use super::input::{Input, Lines};
use super::line::{command, push_word};
use super::old;
use super::place::{self, Base};
use super::show::Screen;
use super::status::{INCOMPLETE, SUCCESS, UNUSABLE};
use super::summary::Summary;
use crate::cli::msync::{COMMANDS, Config, Files, Show, Verb};
use crate::cli::{Text, did_you_mean, similar};
use crate::console::absent;
use crate::console::error::{Code, ErrorReport, UNKNOWN};
use crate::console::reply::Total;
use crate::console::report::WARNING;
use crate::console::verb;
use crate::console::words;
use crate::name::{Escaped, RelPath};
use crate::pattern::Rule;

/// So many patterns are said before their answers are waited for: together they are shorter than what
/// each side takes while it waits for the other.
const PATTERNS_AT_ONCE: usize = 16;

/// What the daemon supports, and how its lines are shown.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    pub(super) daemon: Daemon,
    /// Only errors and differences are shown.
    pub(super) quiet: bool,
    /// Standard output is only JSON.
    pub(super) json: bool,
}

impl Client<'_> {
    /// Runs a command on files.
    pub(super) fn files(
        &mut self,
        files: &Files,
        config: &Config,
        input: &Input,
    ) -> Result<u8, Failure> {
        let manner = self.settle(config, &input.rules)?;
        if !manner.daemon.new {
            refuse_what_is_newer(files)?;
        }
        let mut summary = Summary::default();
        // All paths are checked before the first one is sent.
        let (commands, paths) = self.commands(files, manner.daemon.new)?;
        if files.together() {
            self.tell_list(&RelPath::base(), &paths)?;
        }
        if let (Some(_), [top, ..]) = (&files.list, &paths[..]) {
            self.tell_list(top, &input.listed)?;
        }
        if !manner.daemon.new || (manner.json && !manner.daemon.reports) {
            let (rows, none) = self.rows()?;
            // An old daemon does not say that there are no members.
            summary.alone = none && !manner.daemon.new;
            summary.lost = summary.alone;
            let is_meant = |row: &&super::old::Row| {
                let address = row.address.to_string();
                let named =
                    |host: &crate::name::HostName| *host == row.name || host.as_str() == address;
                files.hosts.is_empty() || files.hosts.iter().any(named)
            };
            for row in rows.iter().filter(is_meant) {
                summary.expect(row.name.clone(), row.address);
            }
        }
        if !summary.alone {
            for command in commands {
                let done = self.transfer(&command, files.verb, manner, &mut summary);
                if let (Err(_), true) = (&done, manner.json) {
                    self.json(&summary.json_so_far());
                }
                done?;
            }
        }
        self.finish(files.verb, files.dry_run, config.json, summary)
    }

    /// Sends the lines of a script.
    pub(super) fn script(
        &mut self,
        script: &Text,
        config: &Config,
        rules: &[Rule],
    ) -> Result<u8, Failure> {
        let failed = |error| Failure::Script(script.clone(), error);
        let mut lines = Lines::open(script).map_err(failed)?;
        let manner = self.settle(config, rules)?;
        let mut summary = Summary::default();
        let mut number = 0;
        while let Some(line) = lines.next_line().map_err(failed)? {
            number += 1;
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
                    if self.is_pattern_refused(&line)? {
                        return Err(Failure::ScriptPattern(script.clone(), number));
                    }
                    continue;
                }
                Some(_) => Verb::Send,
            };
            summary.place = format!("msync: -f {script}: line {number}");
            self.transfer(&line, verb, manner, &mut summary)?;
        }
        self.finish(Verb::Send, false, false, summary)
    }

    /// Sends a line of a script that adds a pattern. If it is refused, the script is to end: a later
    /// command could delete what the pattern was to protect.
    fn is_pattern_refused(&mut self, line: &[u8]) -> Result<bool, Failure> {
        let mut refused = false;
        self.ask(line, |screen, answer| {
            refused = true;
            screen.trouble(answer);
        })?;
        Ok(refused)
    }

    /// Sets up the connection as `config` says.
    pub(super) fn settle(&mut self, config: &Config, rules: &[Rule]) -> Result<Manner, Failure> {
        self.understood(format!("loglevel {}", config.loglevel).as_bytes())?;
        let watch = if self.screen.draws() { "progress on" } else { "progress total" };
        let new = self.understood(watch.as_bytes())?;
        let reports = config.json && new && self.understood(b"report on")?;
        if new && !reports && self.screen.sums_up() {
            // A daemon that does not know this says of no host that it is absent.
            self.understood(b"report absent")?;
        }
        if config.json && !reports {
            // Then the result has to be taken from the lines.
            self.understood(b"loglevel 2")?;
        }
        // An old daemon gets one line at a time.
        let most = if new { PATTERNS_AT_ONCE } else { 1 };
        rules.chunks(most).try_for_each(|some| self.patterns(some, new))?;
        let daemon = Daemon { new, reports };
        Ok(Manner { daemon, quiet: config.show == Show::Quiet, json: config.json })
    }

    /// Adds patterns. If one is refused, nothing is done: it was to protect something.
    fn patterns(&mut self, rules: &[Rule], new: bool) -> Result<(), Failure> {
        let failed = |rule: &Rule, why| Err(Failure::Pattern(rule.pattern.clone(), why));
        let mut lines = Vec::new();
        for rule in rules {
            if rule.include && !new {
                return Err(Failure::TooOld("--include"));
            }
            let mut line =
                if rule.include { "include add" } else { "exclude add" }.as_bytes().to_vec();
            if let Err(why) = push_word(&mut line, &rule.pattern, new) {
                return failed(rule, why.to_string());
            }
            lines.push(line);
        }
        self.link.say(&lines.join(&b'\n'))?;
        let mut refused = None;
        for rule in rules {
            self.answer(|_, said| {
                refused.get_or_insert_with(|| (rule, said.to_vec()));
            })?;
        }
        refused.map_or(Ok(()), |(rule, said): (&Rule, Vec<u8>)| {
            let why = old::error(&said, |_| false).error;
            let named = format!(" {}", Escaped(&rule.pattern));
            failed(rule, why.strip_suffix(&named).unwrap_or(&why).to_owned())
        })
    }

    /// Shows the result, and returns the exit status.
    fn finish(
        &mut self,
        verb: Verb,
        dry_run: bool,
        json: bool,
        mut summary: Summary,
    ) -> Result<u8, Failure> {
        if summary.unknown_host && !json {
            // If the daemon has gone meanwhile, the error alone has to do.
            let rows = self.rows().map(|(rows, _)| rows).unwrap_or_default();
            let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            self.screen.say(&format!("msync: {}", listed(&names)));
        }
        if let Some(total) = summary.total.filter(|total| total.hosts > 0) {
            self.screen.summary(verb, &total, dry_run);
        }
        let served = verb != Verb::Check && !dry_run;
        self.screen.remarks(&absent::lines(&summary.absent, served));
        if summary.alone {
            let why = match (verb, summary.lost) {
                (Verb::Check, _) => "no members to compare with",
                (Verb::Fetch, _) => "no members to fetch from",
                (_, true) => "no members to send to",
                (_, false) => "no members to send to: hosts that come later get it",
            };
            self.screen.say(&format!("msync: {why}"));
            summary.error(ErrorReport::new(Code::NoMembers, why));
        }
        let status = match (summary.failed || summary.alone, summary.refused) {
            (true, _) => INCOMPLETE,
            (false, true) => UNUSABLE,
            (false, false) => SUCCESS,
        };
        if json {
            self.json(&summary.json());
        }
        Ok(status)
    }

    pub(super) fn json(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| self.screen.line(line.as_bytes()));
    }

    /// The command lines for the daemon, and the paths that they are about.
    fn commands(
        &mut self,
        files: &Files,
        new: bool,
    ) -> Result<(Vec<Vec<u8>>, Vec<RelPath>), Failure> {
        let mut paths = Vec::new();
        if files.paths.is_empty() {
            paths.push(RelPath::base());
        } else {
            let base = self.base(new)?;
            for typed in &files.paths {
                let path = located(base.as_ref(), typed)?;
                if path.is_base() && !files.recursive && files.list.is_none() {
                    return Err(Failure::WholeBase(typed.clone()));
                }
                if let Some(meant) = base.as_ref().and_then(|base| mistyped(files, &path, base)) {
                    return Err(Failure::NoCommand(typed.clone(), meant));
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
        let base = [RelPath::base()];
        let tops = if files.together() { &base[..] } else { &paths[..] };
        for path in tops {
            let failed = |why| Failure::Path(path.as_bytes().to_vec(), why);
            for hosts in &hosts {
                if files.delete && !new {
                    let dsync = command(Verb::Dsync, files, hosts, path, new);
                    commands.push(dsync.map_err(failed)?);
                }
                commands.push(command(files.verb, files, hosts, path, new).map_err(failed)?);
            }
        }
        Ok((commands, paths))
    }

    /// The daemon's base directory, if it reports that.
    pub(super) fn base(&mut self, new: bool) -> Result<Option<Base>, Failure> {
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

    /// Sends one command and shows the answer.
    fn transfer(
        &mut self,
        command: &[u8],
        verb: Verb,
        manner: Manner,
        summary: &mut Summary,
    ) -> Result<(), Failure> {
        let Manner { daemon, quiet, json } = manner;
        let mut errors = 0_u64;
        let mut differs = false;
        let mut refused = false;
        let mut total: Option<Total> = None;
        self.ask(command, |screen: &mut Screen, line| {
            let answer = Answer::read(line, daemon, verb == Verb::Check);
            match answer {
                Answer::Error => {
                    errors += 1;
                    let error = old::error(line, |_| false);
                    refused = error.is_about_argument();
                    summary.unknown_host |= daemon.new && error.is(Code::UnknownHost);
                    match (json, daemon.reports) {
                        (true, true) => summary.error_line(line),
                        (true, false) => summary.learn_error(line),
                        (false, _) => {}
                    }
                    return match no_such_command(line).filter(|_| !summary.place.is_empty()) {
                        Some(words) => screen.say(&format!("{}: {words}", summary.place)),
                        None => screen.trouble(line),
                    };
                }
                Answer::Report(report) => {
                    refused = report.is_about_argument();
                    return summary.error_was(report);
                }
                Answer::Progress(progress) => return screen.progress(&progress),
                Answer::Total(sum) => {
                    total = Some(sum);
                    return;
                }
                Answer::Host(report) => return summary.host(&report),
                Answer::Absent(host) => return summary.is_absent(host),
                Answer::Difference(found) => return screen.line(found.json().as_bytes()),
                Answer::Differs(ref found) => {
                    differs |= found.is_of_contents();
                    if json && !daemon.reports {
                        screen.line(found.json().as_bytes());
                    }
                }
                Answer::Other => {}
            }
            if json && !daemon.reports {
                summary.learn(line);
            }
            let always = matches!(answer, Answer::Differs(found) if found.is_of_contents());
            if !json && (!quiet || always) {
                screen.line(line);
            } else if json && line.starts_with(WARNING.as_bytes()) {
                screen.trouble(line);
            }
        })?;
        // The path alone was wrong: nothing was tried with it.
        let tried = total.is_none_or(|total| total.failed > 0 || total.wire > 0);
        if refused && errors == 1 && !tried {
            summary.refused = true;
            return Ok(());
        }
        summary.failed |= errors > 0 || differs;
        if let Some(total) = total {
            summary.failed |= total.failed > 0 || total.errors > 0;
            // After an error, 0 hosts does not mean that there are no members, unless something was done all the same.
            let alone = total.hosts == 0 && (total.recorded || total.errors + errors == 0);
            summary.alone |= alone;
            summary.lost |= alone && !total.recorded;
            summary.add(total);
        }
        Ok(())
    }
}

/// The path that was typed, below the base directory.
pub(super) fn located(base: Option<&Base>, typed: &[u8]) -> Result<RelPath, Failure> {
    let found = match base {
        Some(base) => base.locate(typed),
        None => place::locate_blind(typed),
    };
    found.map_err(|why| Failure::Place(typed.to_vec(), why))
}

/// The command that may be meant by the only word that was given instead of one, if there is no such
/// file.
fn mistyped(files: &Files, path: &RelPath, base: &Base) -> Option<&'static str> {
    let first = files.paths.first().filter(|_| !files.named && !files.delete)?;
    let word = std::str::from_utf8(first).ok()?;
    if path.as_bytes() != first.as_slice() || !base.lacks(path) {
        return None;
    }
    let options = [("help", "--help"), ("version", "--version")];
    let option = options.iter().find(|(name, _)| *name == word).map(|(_, option)| *option);
    option.or_else(|| similar(word, COMMANDS.iter().map(|(name, _)| *name)))
}

/// What `msync` says in place of the console's answer to an unknown command.
fn no_such_command(line: &[u8]) -> Option<String> {
    let rest = line.strip_prefix(UNKNOWN.as_bytes())?;
    let name = String::from_utf8_lossy(rest.trim_ascii().strip_prefix(b"'")?.strip_suffix(b"'")?);
    let meant = did_you_mean(similar(&name, verb::names()));
    Some(format!("no such command: {name}{meant}"))
}

/// The names of the members, some of them if they are many.
fn listed(names: &[&str]) -> String {
    const MOST: usize = 20;
    let shown = names[..names.len().min(MOST)].join(", ");
    match names.len() {
        0 => "there are no members, or they cannot be listed".to_owned(),
        count if count > MOST => format!("the members are {shown} and {} more", count - MOST),
        _ => format!("the members are {shown}"),
    }
}

/// Refuses options that an old daemon does not have. It has no limits either, so `--force` can be
/// left out.
fn refuse_what_is_newer(files: &Files) -> Result<(), Failure> {
    let newer = [
        (files.verb == Verb::Fetch, "fetch"),
        (files.max_delete.is_some(), "--max-delete"),
        (files.delete_before, "--delete-before"),
        (files.ignore_times, "-I"),
        (files.checksum, "--checksum"),
        (files.lax_attributes, "--lax-attributes"),
        (files.atomic.is_some(), "--atomic"),
        (files.require.is_some(), "--require"),
        (files.list.is_some(), "--files-from"),
    ];
    match newer.iter().find(|(asked, _)| *asked) {
        Some((_, option)) => Err(Failure::TooOld(option)),
        None => Ok(()),
    }
}
