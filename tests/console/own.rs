//! `msync` against the console of this package: what is asked for is what arrives.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use makuosan::console::command::{Command, Form, Scope, Transfer};
use makuosan::console::{Offer, Session, reply};
use makuosan::name::RelPath;
use makuosan::pattern::{Patterns, Rule};
use makuosan::wire::mode::Mode;

use crate::played::*;

/// This package's own console, which answers every `send` with one update. What it is told is
/// patterns, where they have changed, and commands.
fn own_console(mut stream: Box<dyn Socket>) -> Vec<String> {
    let mut session = Session::new(Offer::ALL);
    let mut patterns = Patterns::default();
    let mut told = Vec::new();
    let mut piece = [0; 7];
    loop {
        while let Some(command) = session.next_command() {
            if **session.patterns() != patterns {
                patterns = Patterns::clone(session.patterns());
                told.push(format!("{patterns:?}"));
            }
            match &command {
                Command::Status(Form::Table) => session.line(0, "basedir : /nowhere/"),
                Command::Transfer(Transfer { mode: Mode::Send { .. }, path, .. }) => {
                    session.line(1, &format!("update host:{path}"));
                }
                _ => {}
            }
            if !matches!(command, Command::Status(Form::Table) | Command::Quit) {
                told.push(format!("{command:?}"));
            }
            session.total(&reply::Total { hosts: 1, ..Default::default() });
            session.finish();
        }
        let count = session.output().len();
        if stream.write_all(session.output()).is_err() {
            return told;
        }
        session.consume(count);
        if session.is_closed() {
            return told;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return told,
            Ok(count) => session.input(&piece[..count]),
        }
    }
}

#[test]
fn every_name_reaches_the_console_of_this_package() {
    let mut names: Vec<Vec<u8>> =
        (1..=255_u8).filter(|b| !b"./".contains(b)).map(|b| vec![b]).collect();
    names.extend([b"a b ".to_vec(), b"> x".to_vec(), b"\"q\" \\ ".to_vec(), b"\\".to_vec()]);
    names.extend([b"-r".to_vec(), b"--".to_vec(), b"\xff/\xfe\n".to_vec(), "日本".into()]);
    let daemon = Daemon::tcp(own_console);
    let target = daemon.target.clone();
    let done =
        finish(msync(&target).arg("-v").arg("--").args(names.iter().map(|n| OsStr::from_bytes(n))));
    let shown: Vec<String> =
        names.iter().map(|name| makuosan::name::Escaped(name).to_string()).collect();
    let path = |name: &Vec<u8>| RelPath::parse(name.strip_suffix(b"/").unwrap_or(name)).unwrap();
    let send = |name| Command::Transfer(Transfer::new(Mode::SEND, path(name)));
    let expected: Vec<String> = names.iter().map(|name| format!("{:?}", send(name))).collect();
    assert_eq!(daemon.told(), expected);
    let lines: String = shown.iter().map(|name| format!("update host:{name}\n")).collect();
    assert_eq!((done.status, done.out), (0, lines));
}

/// What the console is told when `msync` is called so.
fn told(args: &str) -> Vec<String> {
    let daemon = Daemon::tcp(own_console);
    let done = finish(msync(&daemon.target.clone()).args(args.split(' ')));
    assert_eq!((done.status, done.err.as_str()), (0, ""), "{args}");
    daemon.told()
}

#[test]
fn every_option_reaches_the_console_of_this_package() {
    let path = |text: &str| RelPath::parse(text.as_bytes()).unwrap();
    let shown = |command: Command| vec![format!("{command:?}")];
    let transfer = |transfer: &Transfer| shown(Command::Transfer(transfer.clone()));
    let all = Transfer {
        scope: Scope::Tree,
        force: true,
        max_delete: Some(5),
        checksum: true,
        targets: vec!["a".to_owned(), "10.0.0.1".to_owned()],
        group: Some("www".to_owned()),
        ..Transfer::new(Mode::Send { delete: true, ignore_times: true, dry_run: true }, path("d"))
    };
    let options = "-n -I --checksum --force --max-delete 5 -t a -t 10.0.0.1";
    let args = format!("-r --delete -g www {options} d");
    assert_eq!(told(&args), transfer(&all));
    let mode = Mode::Send { delete: false, ignore_times: true, dry_run: true };
    let sync = Transfer { mode, ..all };
    assert_eq!(told(&format!("--sync -r -g www {options} d")), transfer(&sync));
    let one = Transfer { scope: Scope::PathOrGone, ..Transfer::new(Mode::SEND, path("d")) };
    assert_eq!(told("--delete d"), transfer(&one));
    assert_eq!(told("sync d"), transfer(&one));
    let dsync = Transfer {
        scope: Scope::Tree,
        force: true,
        max_delete: Some(0),
        targets: vec!["a".to_owned()],
        ..Transfer::new(Mode::DeleteOnly { gone: false, dry_run: true }, RelPath::base())
    };
    let args = "dsync -r -n --force --max-delete=0 -t a";
    assert_eq!(told(args), transfer(&dsync));
    let check = Transfer {
        scope: Scope::Tree,
        targets: vec!["a".to_owned()],
        ..Transfer::new(Mode::Check, path("d"))
    };
    for args in ["check -r -t a d", "md5 -r -t a d", "--check -r -t a d"] {
        assert_eq!(told(args), transfer(&check));
    }
    assert_eq!(told("members -v"), shown(Command::Members(Form::Verbose)));
    assert_eq!(told("--members --json"), shown(Command::Members(Form::Json)));
    assert_eq!(told("status --json"), shown(Command::Status(Form::Json)));
    let rules = vec![
        Rule::exclude(b"a\\ b\""),
        Rule::include(b"\"[!x]*/"),
        Rule::exclude(b"-x"),
        Rule::exclude(b"a\\ b\""),
    ];
    // The last one again changes nothing.
    let patterns = Patterns::new(&rules[..3]).unwrap();
    let daemon = Daemon::tcp(own_console);
    let mut command = msync(&daemon.target.clone());
    for Rule { include, pattern } in &rules {
        let option = if *include { "--include" } else { "--exclude" };
        command.arg(option).arg(OsStr::from_bytes(pattern));
    }
    let done = finish(command.arg("-r"));
    assert_eq!(done, ran(0, "", ""));
    let send = Transfer { scope: Scope::Tree, ..Transfer::new(Mode::SEND, RelPath::base()) };
    let expected = [format!("{patterns:?}"), format!("{:?}", Command::Transfer(send))];
    assert_eq!(daemon.told(), expected);
}
