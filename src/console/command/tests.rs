//! What lines mean.

use super::*;
use crate::console::words;

fn line(text: &str) -> Line {
    parse(&words::split(text.as_bytes()).unwrap(), &Offer::ALL)
}

fn send(text: &str) -> Send {
    match line(text) {
        Line::Do(Command::Send(send)) => send,
        other => panic!("{text}: {other:?}"),
    }
}

fn said(text: &str) -> String {
    match line(text) {
        Line::Say(text) => text,
        other => panic!("{text}: {other:?}"),
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

#[test]
fn sends_of_old_and_new_clients() {
    let plain = Send::new(path("index.html"));
    assert_eq!(send("send index.html"), plain);
    assert_eq!(send("send ./index.html"), plain);
    assert_eq!(send("send  index.html/"), plain);
    let base = Send { recursive: true, path: RelPath::base(), ..plain.clone() };
    assert_eq!(send("send -r "), base);
    assert_eq!(send("send -r ."), base);
    assert_eq!(send("send -r \"\""), base);
    assert_eq!(send("send -r -n "), Send { dry_run: true, ..base.clone() });
    let some = Send {
        recursive: true,
        dry_run: true,
        targets: vec!["a".to_owned(), "b".to_owned()],
        group: Some("www".to_owned()),
        sync: true,
        ..Send::new(path("d e/f"))
    };
    assert_eq!(send(r"sync -rn -t a -tb -t a -g www d\ e/f"), some);
    assert_eq!(send("sync \"d e//f\" -nt a -r -t b -gwww"), some);
    assert_eq!(send("send -- -r").path, path("-r"));
    assert_eq!(send("send \"-r\"").path, path("-r"));
    assert_eq!(send("send -").path, path("-"));
    assert_eq!(send("send -- --").path, path("--"));
}

#[test]
fn what_counts_as_changed_and_what_is_deleted() {
    let all = Send {
        recursive: true,
        delete: true,
        force: true,
        max_delete: Some(7),
        ignore_times: true,
        checksum: true,
        ..Send::new(path("d"))
    };
    assert_eq!(send("send --delete --force --max-delete 7 -I --checksum -r d"), all);
    assert_eq!(send("send -rI d --max-delete=7 --checksum --force --delete"), all);
    assert_eq!(send("send -r --ignore-times d"), send("send -r -I d"));
    // One path alone can only be gone as a whole.
    assert_eq!(send("send --delete d"), send("sync d"));
    assert_eq!(said("send --max-delete -r"), "error: --max-delete needs a number");
    assert_eq!(said("send -r --max-delete"), "error: --max-delete needs a number");
    assert_eq!(said("send -r --max-delete=-1"), "error: --max-delete needs a number");
    assert_eq!(said("send -r --delete=1"), "error: --delete takes no value");
    assert_eq!(said("dsync --delete d"), "error: unknown option --delete");
    assert_eq!(said("check --checksum d"), "error: unknown option --checksum");
    assert_eq!(said("send --x\x1b d"), "error: unknown option --x\\033");
}

#[test]
fn what_cannot_be_sent_is_said_in_one_line() {
    assert_eq!(said("send ../x"), "error: path component \"..\" ../x");
    assert_eq!(said("send a/./b"), "error: path component \".\" a/./b");
    assert_eq!(said("send -r /etc/"), "error: not a relative path /etc/");
    assert_eq!(said("send -r /"), "error: not a relative path /");
    assert_eq!(said(r#"send "a\000b""#), "error: NUL byte in path a\\000b");
    assert_eq!(said("send .makuosan/x"), "error: reserved name \".makuosan\" in path .makuosan/x");
    assert!(said("send a b").starts_with("error: more than one path"));
    assert_eq!(said("send -x a"), "error: unknown option -x");
    assert_eq!(said("send -rt"), "error: -t needs a host");
    assert_eq!(said("send a -t \"\""), "error: -t needs a host");
    assert_eq!(said("send -g"), "error: -g needs a group");
    assert_eq!(said("check -n a"), "error: unknown option -n");
    assert_eq!(said("dsync -g x a"), "error: unknown option -g");
}

#[test]
fn a_command_without_a_path_shows_its_help() {
    for text in ["send", "send -n", "send .", "send \"\"", "sync -t a", "check", "dsync"] {
        assert!(said(text).starts_with("usage: "), "{text}");
    }
    for text in ["members x", "status -r", "alive yes", "loglevel 10", "loglevel -1"] {
        assert!(said(text).starts_with("usage: "), "{text}");
    }
    for text in ["exclude", "exclude add", "exclude add \"\"", "exclude list x", "progress x"] {
        assert!(said(text).starts_with("usage: "), "{text}");
    }
}

#[test]
fn the_other_commands() {
    let dsync = |dry_run, recursive, path| {
        let (force, max_delete, targets) = (false, None, vec![]);
        let dsync = Dsync { dry_run, recursive, force, max_delete, targets, path };
        Line::Do(Command::Dsync(dsync))
    };
    assert_eq!(line("dsync -r "), dsync(false, true, RelPath::base()));
    assert_eq!(line("dsync -n"), dsync(true, false, RelPath::base()));
    assert_eq!(line("dsync d"), dsync(false, false, path("d")));
    let Line::Do(Command::Dsync(guarded)) = line("dsync -r --force --max-delete 0 d") else {
        panic!()
    };
    assert_eq!((guarded.force, guarded.max_delete), (true, Some(0)));
    let check = Check { recursive: true, targets: vec!["h".to_owned()], path: path("d") };
    assert_eq!(line("check -r -t h d"), Line::Do(Command::Check(check.clone())));
    assert_eq!(line("md5 -r -t h d"), Line::Do(Command::Check(check)));
    assert_eq!(line("members"), Line::Do(Command::Members(Form::Table)));
    assert_eq!(line("members -v"), Line::Do(Command::Members(Form::Verbose)));
    assert_eq!(line("members json"), Line::Do(Command::Members(Form::Json)));
    assert_eq!(line("status"), Line::Do(Command::Status { json: false }));
    assert_eq!(line("status json"), Line::Do(Command::Status { json: true }));
    for quit in ["quit", "exit", "bye"] {
        assert_eq!(line(quit), Line::Do(Command::Quit));
    }
    assert_eq!(line("loglevel 2"), Line::Loglevel(Some(2)));
    assert_eq!(line("progress total"), Line::Progress(Some(Watch::Total)));
    let rule = |include, pattern: &[u8]| Rule { include, pattern: pattern.to_vec() };
    let edit = |edit| Line::Patterns(edit);
    assert_eq!(line("exclude add *.tmp"), edit(Edit::Add(rule(false, b"*.tmp"))));
    assert_eq!(line("exclude add \"a b\""), edit(Edit::Add(rule(false, b"a b"))));
    assert_eq!(line("include add x"), edit(Edit::Add(rule(true, b"x"))));
    assert_eq!(line("include del x"), edit(Edit::Del(rule(true, b"x"))));
    assert_eq!(line("include list"), edit(Edit::List));
    assert_eq!(line("report on"), Line::Report(Some(true)));
    assert_eq!(said("echo a  b"), "a b\n");
    assert_eq!(said("echo"), "\n");
}

#[test]
fn what_is_not_offered_is_unknown() {
    let now = Offer { send: true, members: true, status: true, ..Offer::default() };
    let line = |text: &str| parse(&words::split(text.as_bytes()).unwrap(), &now);
    for name in ["sync", "dsync", "check", "md5", "exclude", "include", "nonsense"] {
        let unknown = Line::Say(format!("mexec: command error '{name}'"));
        assert_eq!(line(name), unknown);
        assert_eq!(line(&format!("{name} -r x")), unknown);
        assert_eq!(
            line(&format!("help {name}")),
            Line::Say(format!("error: no help for '{name}'"))
        );
    }
    for option in ["-g", "-I", "--delete", "--force", "--max-delete", "--checksum"] {
        let unknown = Line::Say(format!("error: unknown option {option}"));
        assert_eq!(line(&format!("send {option} 1 y")), unknown);
        let Line::Say(help) = line("help send") else { panic!() };
        assert!(!help.contains(option), "{help}");
    }
    assert!(matches!(line("send y"), Line::Do(Command::Send(_))));
}
