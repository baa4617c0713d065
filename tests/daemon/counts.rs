//! What a transfer comes to, in lines, in JSON, for each host and in all: the same numbers everywhere,
//! and the same for a dry run as for the transfer that it foretells.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use makuosan::console::json::Value;

use crate::common::process::Ran;
use crate::common::{Fleet, tree};

/// The JSON objects of one type.
fn objects(ran: &Ran, kind: &str) -> Vec<Value> {
    let values = ran.out.lines().map(|line| Value::parse(line).unwrap_or_else(|| panic!("{line}")));
    let is = |value: &Value| value.get("type").and_then(Value::text) == Some(kind);
    values.filter(is).collect()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::number).unwrap_or_else(|| panic!("{name} in {value:?}"))
}

fn text(value: &Value, name: &str) -> String {
    value
        .get(name)
        .and_then(Value::text)
        .unwrap_or_else(|| panic!("{name} in {value:?}"))
        .to_owned()
}

const COUNTS: [&str; 4] = ["files", "bytes", "unchanged", "deleted"];

/// What each host and then the total say.
fn counts(ran: &Ran) -> Vec<[u64; 4]> {
    let all = [objects(ran, "host"), objects(ran, "total")].concat();
    all.iter().map(|value| COUNTS.map(|name| number(value, name))).collect()
}

/// A tree that is, at two receivers: new to both, the same, with other contents at one, with another
/// mode at one, and with something of their own.
fn fleet(name: &str) -> Fleet {
    let fleet = Fleet::new(name, 3);
    for host in 1..3 {
        for at in 0..3 * host {
            tree::write(fleet.path(host, format!("old/{at}")), "x");
        }
    }
    tree::write(fleet.path(0, "d/same"), "1234");
    tree::write(fleet.path(0, "d/mode"), "12345");
    tree::write(fleet.path(0, "d/content"), "123456");
    fleet.msync(0, &["send", "-r", "d"]).ok();
    fs::set_permissions(fleet.path(1, "d/mode"), fs::Permissions::from_mode(0o611)).unwrap();
    tree::write(fleet.path(2, "d/mode"), "other");
    tree::write(fleet.path(2, "d/content"), "other");
    tree::write(fleet.path(0, "d/new"), "1234567");
    std::os::unix::fs::symlink("new", fleet.path(0, "d/link")).unwrap();
    fleet
}

#[test]
fn a_dry_run_foretells_the_numbers_of_the_transfer() {
    let fleet = fleet("counts");
    // Files without directories, bytes of contents that go there, unchanged, deleted (the directory too).
    let sent = [[3, 7, 2, 4], [4, 18, 1, 7], [4, 18, 1, 7]];
    let args = ["--json", "send", "-r", "--delete", "--force"];
    for level in ["0", "1", "3"] {
        let ran = fleet.msync(0, &[&args[..], &["-n", "-l", level]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(counts(&ran), sent, "{ran:?}");
        assert!(ran.err.is_empty() || ran.err.starts_with("(dryrun)"), "{ran:?}");
    }
    let ran = fleet.msync(0, &args);
    assert_eq!((ran.code, counts(&ran)), (Some(0), sent.to_vec()), "{ran:?}");
    // Afterwards there is nothing to foretell.
    for args in [&[&args[..], &["-n"]].concat(), &args[..]] {
        let ran = fleet.msync(0, args);
        assert_eq!(counts(&ran), [[0, 0, 5, 0]; 3], "{ran:?}");
    }
    // Everything anew, by one option or the other.
    for more in [&["-I", "-n"][..], &["-I"]] {
        let ran = fleet.msync(0, &[&["--json", "send", "-r"], more].concat());
        assert_eq!(counts(&ran), [[4, 22, 1, 0]; 3], "{more:?} {ran:?}");
    }
    for more in [&["--checksum", "-n"][..], &["--checksum"]] {
        let ran = fleet.msync(0, &[&["--json", "send", "-r"], more].concat());
        assert_eq!(counts(&ran), [[0, 0, 5, 0]; 3], "{more:?} {ran:?}");
    }
}

#[test]
fn a_dry_run_foretells_how_much_is_deleted_whatever_asks_for_it() {
    let fleet = Fleet::new("counts-deleted", 3);
    for at in 0..250 {
        tree::write(fleet.path(1, format!("d/{at}")), "x");
    }
    tree::write(fleet.path(2, "d/0"), "x");
    tree::write(fleet.path(0, "d/0"), "x");
    tree::write(fleet.path(1, "gone/a"), "x");
    for host in 0..3 {
        let time = (1_700_000_000, 0);
        tree::set_mtime(&fleet.path(host, "d/0"), time.0, time.1);
    }
    let deletes = |ran: &Ran| counts(ran).iter().map(|counts| counts[3]).collect::<Vec<_>>();
    for (args, want) in [
        (&["dsync", "-r", "d"][..], [0, 0, 0]),
        (&["send", "-r", "--delete", "d", "--max-delete", "10"], [0, 0, 0]),
        (&["sync", "gone"], [2, 0, 2]),
        (&["dsync", "-r", "d", "--force"], [249, 0, 249]),
    ] {
        for dry in [&["--json", "-n"][..], &["--json"]] {
            let ran = fleet.msync(0, &[dry, args].concat());
            assert_eq!(deletes(&ran), want, "{args:?} {ran:?}");
            assert_eq!(ran.code, Some(if want == [0; 3] { 2 } else { 0 }), "{ran:?}");
        }
    }
    // As text: the summary and the lines say the same.
    tree::write(fleet.path(1, "d/x"), "x");
    tree::write(fleet.path(2, "d/x"), "x");
    let ran = fleet.msync(0, &["-n", "-v", "send", "-r", "--delete", "d"]);
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["(dryrun) delete h1:d/x", "(dryrun) delete h2:d/x"], "{ran:?}");
    assert!(ran.err.contains("; 1 unchanged; 1 deleted"), "{ran:?}");
}

#[test]
fn a_check_names_all_that_differs_in_json_too() {
    let fleet = fleet("counts-check");
    tree::set_mtime(&fleet.path(1, "d/same"), 1, 0);
    let ran = fleet.msync(0, &["--json", "check", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let mut found: Vec<[String; 3]> = objects(&ran, "difference")
        .iter()
        .map(|value| ["host", "path", "what"].map(|name| text(value, name)))
        .collect();
    found.sort();
    let of = |host: &str, what: &str| -> Vec<&str> {
        let is = |[on, _, how]: &&[String; 3]| on == host && how == what;
        found.iter().filter(is).map(|[_, path, _]| path.as_str()).collect()
    };
    assert_eq!(of("h2", "contents"), ["d/content", "d/mode"]);
    assert!(of("h1", "contents").is_empty());
    assert!(of("h1", "attributes").contains(&"d/mode"), "{found:?}");
    assert!(of("h1", "attributes").contains(&"d/same"), "{found:?}");
    assert_eq!(of("h1", "extra"), ["old", "old/0", "old/1", "old/2"]);
    assert_eq!(of("h2", "extra").len(), 7);
    // What is missing is an error of its host, and the numbers are those of what is named.
    for (host, want) in objects(&ran, "host").iter().zip(["h1", "h2"]) {
        let mut missing: Vec<[String; 2]> = host
            .get("errors")
            .unwrap()
            .list()
            .iter()
            .map(|error| ["path", "code"].map(|name| text(error, name)))
            .collect();
        missing.sort();
        let enoent = |path: &str| [path.to_owned(), "ENOENT".to_owned()];
        assert_eq!(missing, [enoent("d/link"), enoent("d/new")], "{ran:?}");
        let check = host.get("check").unwrap();
        let names = [("ng", "contents"), ("extra", "extra"), ("attr", "attributes")];
        for (count, what) in names {
            assert_eq!(number(check, count), of(want, what).len() as u64, "{ran:?}");
        }
        assert_eq!(number(check, "errors"), 2);
        assert_eq!(number(host, "files"), number(check, "ng"));
        assert_eq!(number(host, "unchanged"), number(check, "ok"));
    }
    // On the console, who asks for reports gets the object after the line.
    let mut console = fleet.console(0);
    let plain = console.ask("check -t h2 d/content");
    assert_eq!(plain, "h2: NG d/content\n");
    console.ask("report on");
    let answer = console.ask("check -t h2 d/content");
    let object =
        r#"differs {"type":"difference","host":"h2","path":"d/content","what":"contents"}"#;
    assert_eq!(answer.lines().nth(1), Some(object), "{answer}");
}

#[test]
fn a_readonly_host_is_an_error_in_its_object() {
    let fleet = Fleet::with("counts-readonly", &[&[], &["-r"]]);
    tree::write(fleet.path(0, "f"), "x");
    for dry in [&[][..], &["-n"]] {
        let ran = fleet.msync(0, &[&["--json", "send", "-r"], dry].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let host = objects(&ran, "host").remove(0);
        assert_eq!(text(&host, "status"), "readonly");
        let errors = host.get("errors").unwrap().list();
        assert_eq!(errors.len(), 1, "{ran:?}");
        assert_eq!(["host", "code"].map(|name| text(&errors[0], name)), ["h1", "read_only"]);
        assert_eq!(counts(&ran), [[0; 4]; 2], "{ran:?}");
        assert_eq!(number(&objects(&ran, "total")[0], "errors"), 1);
    }
}
