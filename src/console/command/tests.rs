//! What lines mean.

use super::*;
use crate::console::words;

fn line(text: &str) -> Line {
    parse(&words::split(text.as_bytes()).unwrap(), &Offer::ALL)
}

fn transfer(text: &str) -> Transfer {
    match line(text) {
        Line::Do(Command::Transfer(transfer)) => transfer,
        other => panic!("{text}: {other:?}"),
    }
}

fn said(text: &str) -> String {
    match line(text) {
        Line::Say(text) => text,
        Line::Error(error) => error.line().to_owned(),
        other => panic!("{text}: {other:?}"),
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

#[test]
fn sends_of_old_and_new_clients() {
    let plain = Transfer::new(Mode::SEND, path("index.html"));
    assert_eq!(transfer("send index.html"), plain);
    assert_eq!(transfer("send ./index.html"), plain);
    assert_eq!(transfer("send  index.html/"), plain);
    let base = Transfer { scope: Scope::Tree, path: RelPath::base(), ..plain.clone() };
    assert_eq!(transfer("send -r "), base);
    assert_eq!(transfer("send -r ."), base);
    assert_eq!(transfer("send -r \"\""), base);
    assert_eq!(transfer("send -r -n "), Transfer { mode: Mode::SEND.dry(), ..base.clone() });
    let some = Transfer {
        scope: Scope::Tree,
        targets: vec!["a".to_owned(), "b".to_owned()],
        group: Some("www".to_owned()),
        ..Transfer::new(Mode::SEND.dry(), path("d e/f"))
    };
    assert_eq!(transfer(r"sync -rn -t a -tb -t a -g www d\ e/f"), some);
    assert_eq!(transfer("sync \"d e//f\" -nt a -r -t b -gwww"), some);
    assert_eq!(transfer("send -- -r").path, path("-r"));
    assert_eq!(transfer("send \"-r\"").path, path("-r"));
    assert_eq!(transfer("send -").path, path("-"));
    assert_eq!(transfer("send -- --").path, path("--"));
}

#[test]
fn what_counts_as_changed_and_what_is_deleted() {
    let mode = Mode::Send { delete: true, ignore_times: true, dry_run: false };
    let all = Transfer {
        scope: Scope::Tree,
        force: true,
        max_delete: Some(7),
        checksum: true,
        ..Transfer::new(mode, path("d"))
    };
    assert_eq!(transfer("send --delete --force --max-delete 7 -I --checksum -r d"), all);
    assert_eq!(transfer("send -rI d --max-delete=7 --checksum --force --delete"), all);
    assert_eq!(transfer("send -r --ignore-times d"), transfer("send -r -I d"));
    // One path alone can only be gone as a whole.
    let sync = Transfer { scope: Scope::PathOrGone, ..Transfer::new(Mode::SEND, path("d")) };
    assert_eq!(transfer("sync d"), sync);
    assert_eq!(transfer("send --delete d"), sync);
    let before = transfer("send -r --delete-before d");
    assert_eq!(before, Transfer { delete_before: true, ..transfer("send -r --delete d") });
    let lax = transfer("send -r --lax-attributes d");
    assert_eq!(lax, Transfer { lax_attributes: true, ..transfer("send -r d") });
    assert_eq!(said("dsync --delete-before d"), "error: unknown option --delete-before");
    assert_eq!(transfer("sync -r d"), transfer("send -r d"));
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
    let dsync = |scope, dry_run, path| {
        let mode = Mode::DeleteOnly { gone: false, dry_run };
        Line::Do(Command::Transfer(Transfer { scope, ..Transfer::new(mode, path) }))
    };
    assert_eq!(line("dsync -r "), dsync(Scope::Tree, false, RelPath::base()));
    assert_eq!(line("dsync -r d"), dsync(Scope::Tree, false, path("d")));
    assert_eq!(line("dsync -n"), dsync(Scope::Tree, true, RelPath::base()));
    assert_eq!(line("dsync d"), dsync(Scope::PathOrGone, false, path("d")));
    let guarded = transfer("dsync -r --force --max-delete 0 d");
    assert_eq!((guarded.force, guarded.max_delete), (true, Some(0)));
    let check = Transfer {
        scope: Scope::Tree,
        targets: vec!["h".to_owned()],
        ..Transfer::new(Mode::Check, path("d"))
    };
    assert_eq!(transfer("check -r -t h d"), check);
    assert_eq!(transfer("md5 -r -t h d"), check);
    assert_eq!(transfer("check d").scope, Scope::Path);
    assert_eq!(line("members"), Line::Do(Command::Members(Form::Table)));
    assert_eq!(line("members -v"), Line::Do(Command::Members(Form::Verbose)));
    assert_eq!(line("members json"), Line::Do(Command::Members(Form::Json)));
    assert_eq!(line("status"), Line::Do(Command::Status(Form::Table)));
    assert_eq!(line("status -v"), Line::Do(Command::Status(Form::Verbose)));
    assert_eq!(line("status json"), Line::Do(Command::Status(Form::Json)));
    for quit in ["quit", "exit", "bye"] {
        assert_eq!(line(quit), Line::Do(Command::Quit));
    }
    assert_eq!(line("loglevel 2"), Line::Loglevel(Some(2)));
    assert_eq!(line("progress total"), Line::Progress(Some(Follow::Total)));
    let rule = |include, pattern: &[u8]| Rule { include, pattern: pattern.to_vec() };
    let edit = |edit| Line::Patterns(edit);
    assert_eq!(line("exclude add *.tmp"), edit(Edit::Add(rule(false, b"*.tmp"))));
    assert_eq!(line("exclude add \"a b\""), edit(Edit::Add(rule(false, b"a b"))));
    assert_eq!(line("include add x"), edit(Edit::Add(rule(true, b"x"))));
    assert_eq!(line("include del x"), edit(Edit::Del(rule(true, b"x"))));
    assert_eq!(line("include list"), edit(Edit::List));
    assert_eq!(line("report on"), Line::Report(Some(Reports::All)));
    assert_eq!(said("echo a  b"), "a b\n");
    assert_eq!(said("echo"), "\n");
}

#[test]
fn mirrors_and_what_is_decided_of_them() {
    let decide = |decision| Line::Do(Command::Decide(decision));
    let version = || Some("00ff-3".to_owned());
    assert_eq!(line("mirror"), Line::Do(Command::Mirror(false)));
    assert_eq!(line("mirror json"), Line::Do(Command::Mirror(true)));
    let conflicts = |path, json| Line::Do(Command::Conflicts(path, json));
    assert_eq!(line("conflicts"), conflicts(RelPath::base(), false));
    assert_eq!(line("conflicts json"), conflicts(RelPath::base(), true));
    assert_eq!(line("conflicts list d"), conflicts(path("d"), false));
    assert_eq!(line("conflicts json list \"a b\""), conflicts(path("a b"), true));
    let waiting = |path, json| Line::Do(Command::Waiting(path, json));
    assert_eq!(line("mirror list"), waiting(RelPath::base(), false));
    assert_eq!(line("mirror list json"), waiting(path("json"), false));
    assert_eq!(line("mirror json list d/"), waiting(path("d"), true));
    assert_eq!(line("mirror release d"), decide(Decision::Release(path("d"))));
    assert_eq!(line("mirror adopt \"a b\""), decide(Decision::Adopt(path("a b"))));
    assert_eq!(line("mirror adopt ."), decide(Decision::Adopt(RelPath::base())));
    assert_eq!(line("conflicts take d/f"), decide(Decision::Take(path("d/f"), None)));
    assert_eq!(line("conflicts take d/f 00ff-3"), decide(Decision::Take(path("d/f"), version())));
    assert_eq!(line("conflicts drop ./d/"), decide(Decision::Drop(path("d"), None)));
    assert_eq!(line("conflicts drop d/f 00ff-3"), decide(Decision::Drop(path("d/f"), version())));
    assert_eq!(line("conflicts drop"), decide(Decision::Drop(RelPath::base(), None)));
    for wrong in [
        "mirror release",
        "mirror json release d",
        "mirror list a b",
        "mirror d",
        "mirror release a b",
        "mirror take d",
    ] {
        assert!(said(wrong).starts_with("usage: mirror"), "{wrong}");
    }
    for wrong in ["conflicts take", "conflicts d", "conflicts drop a b c", "conflicts adopt d"] {
        assert!(said(wrong).starts_with("usage: conflicts"), "{wrong}");
    }
    for outside in ["mirror adopt ../d", "mirror release /d", "conflicts take .makuosan/x"] {
        let Line::Error(error) = line(outside) else { panic!("{outside}") };
        assert!(error.report.json().contains("invalid_path"), "{outside}");
    }
}

#[test]
fn what_is_not_offered_is_unknown() {
    let now = Offer { send: true, members: true, status: true, ..Offer::default() };
    let line = |text: &str| parse(&words::split(text.as_bytes()).unwrap(), &now);
    let error = |text: &str| match line(text) {
        Line::Error(error) => (error.line().to_owned(), error.report.code),
        other => panic!("{text}: {other:?}"),
    };
    for name in ["sync", "dsync", "check", "md5", "exclude", "include", "nonsense"] {
        let unknown = (format!("mexec: command error '{name}'"), "unknown_command".to_owned());
        assert_eq!(error(name), unknown);
        assert_eq!(error(&format!("{name} -r x")), unknown);
        let no_help = (format!("error: no help for '{name}'"), "usage".to_owned());
        assert_eq!(error(&format!("help {name}")), no_help);
    }
    for option in ["-g", "-I", "--delete", "--force", "--max-delete", "--checksum"] {
        let unknown = (format!("error: unknown option {option}"), "usage".to_owned());
        assert_eq!(error(&format!("send {option} 1 y")), unknown);
        let Line::Say(help) = line("help send") else { panic!() };
        assert!(!help.contains(option), "{help}");
    }
    assert!(matches!(line("send y"), Line::Do(Command::Transfer(_))));
}
