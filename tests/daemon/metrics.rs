//! The figures that a daemon shows, after what it has done.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use makuosan::console::json::Value;

use crate::common::{Fleet, eventually, skip, tree, wall_millis};

/// All samples of a text: `name{labels}`, and the value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

fn shown(fleet: &Fleet, at: usize) -> BTreeMap<String, f64> {
    samples(&fleet.msync(at, &["metrics"]).ok().out)
}

#[track_caller]
fn one(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    *samples.get(name).unwrap_or_else(|| panic!("{name}: {samples:?}"))
}

fn ended(role: &str, result: &str) -> String {
    format!("makuosan_transfers_total{{role=\"{role}\",result=\"{result}\"}}")
}

#[test]
fn a_transfer_is_counted_at_its_sender_and_at_each_receiver() {
    let fleet = Fleet::new("metrics", 3);
    let before = shown(&fleet, 0);
    assert_eq!(one(&before, "makuosan_up"), 1.0);
    assert_eq!(one(&before, "makuosan_members"), 2.0);
    assert_eq!(one(&before, &ended("sender", "complete")), 0.0);
    let last = "makuosan_last_complete_send_timestamp_seconds";
    assert!(!before.contains_key(last), "{before:?}");
    tree::write(fleet.path(0, "d/a"), "12345");
    tree::write(fleet.path(0, "d/b"), tree::bytes(300_000, 1));
    // Neither of these moves anything.
    fleet.msync(0, &["send", "-rn", "d"]).ok();
    fleet.msync(0, &["check", "-r", "d"]);
    assert_eq!(one(&shown(&fleet, 0), &ended("sender", "complete")), 0.0);
    fleet.msync(0, &["send", "-r", "d"]).ok();
    let sent = shown(&fleet, 0);
    assert_eq!(one(&sent, &ended("sender", "complete")), 1.0);
    assert_eq!(one(&sent, "makuosan_files_total{role=\"sender\"}"), 2.0);
    assert_eq!(one(&sent, "makuosan_bytes_total{role=\"sender\"}"), 300_005.0);
    let wire = "makuosan_wire_bytes_total{direction=\"sent\"}";
    let more = one(&sent, wire) - one(&before, wire);
    assert!((300_005.0..1_000_000.0).contains(&more), "{more}");
    let ago = wall_millis() as f64 / 1e3 - one(&sent, last);
    assert!((0.0..60.0).contains(&ago), "{ago}");
    assert!(one(&sent, "makuosan_last_complete_send_duration_seconds") < 60.0);
    assert!(one(&sent, "makuosan_base_free_bytes") > 0.0);
    let up = wall_millis() as f64 / 1e3 - one(&sent, "makuosan_start_time_seconds");
    assert!((0.0..300.0).contains(&up), "{up}");
    for at in [1, 2] {
        eventually("the receiver's count", || {
            one(&shown(&fleet, at), &ended("receiver", "complete")) == 1.0
        });
        let got = shown(&fleet, at);
        assert_eq!(one(&got, "makuosan_files_total{role=\"receiver\"}"), 2.0);
        assert_eq!(one(&got, "makuosan_bytes_total{role=\"receiver\"}"), 300_005.0);
        assert!(one(&got, "makuosan_wire_bytes_total{direction=\"received\"}") > 300_005.0);
        assert_eq!(one(&got, &ended("sender", "complete")), 0.0);
        assert!(!got.contains_key(last));
    }
}

#[test]
fn what_goes_wrong_is_counted_by_its_result() {
    let mut fleet = Fleet::new("metrics-wrong", 3);
    tree::write(fleet.path(0, "f"), "x");
    tree::write(fleet.path(2, "f/full"), "x");
    assert_eq!(fleet.msync(0, &["send", "f"]).code, Some(2));
    fleet.msync(0, &["send", "nowhere"]);
    fleet.msync(0, &["send", "-t", "h9", "f"]);
    let sent = shown(&fleet, 0);
    assert_eq!(one(&sent, &ended("sender", "incomplete")), 1.0);
    assert_eq!(one(&sent, &ended("sender", "refused")), 2.0);
    assert!(!sent.contains_key("makuosan_last_complete_send_timestamp_seconds"));
    for (at, result) in [(1, "complete"), (2, "incomplete")] {
        let name = ended("receiver", result);
        eventually(&name, || one(&shown(&fleet, at), &name) == 1.0);
    }
    // A client that goes away.
    fleet.stop(0);
    fleet.start(0, &["-T", "8"]);
    fleet.wait_for_members();
    tree::write(fleet.path(0, "big"), tree::bytes(20_000_000, 1));
    let mut msync = fleet.msync_start(0, &["send", "big"]);
    fleet.wait_until_staged(1);
    msync.kill();
    eventually("the aborted transfer", || {
        one(&shown(&fleet, 0), &ended("sender", "aborted")) == 1.0
            && one(&shown(&fleet, 1), &ended("receiver", "aborted")) == 1.0
    });
    // Who is away, and lacks what is sent meanwhile.
    fleet.stop(2);
    eventually("one is away", || one(&shown(&fleet, 0), "makuosan_hosts_away") == 1.0);
    assert_eq!(one(&shown(&fleet, 0), "makuosan_members"), 1.0);
    tree::write(fleet.path(0, "g"), "x");
    fleet.msync(0, &["send", "g"]).ok();
    assert_eq!(one(&shown(&fleet, 0), "makuosan_hosts_behind"), 1.0);
    assert_eq!(fleet.msync(0, &["members", "--behind"]).code, Some(2));
}

#[test]
fn a_fetch_counts_as_received_where_it_was_asked_for_and_as_sent_where_it_is_from() {
    let fleet = Fleet::new("metrics-fetch", 2);
    tree::write(fleet.path(1, "d/a"), "12345");
    fleet.msync(0, &["fetch", "-r", "d"]).ok();
    let got = shown(&fleet, 0);
    assert_eq!(one(&got, &ended("receiver", "complete")), 1.0);
    assert_eq!(one(&got, "makuosan_bytes_total{role=\"receiver\"}"), 5.0);
    assert_eq!(one(&got, &ended("sender", "complete")), 0.0);
    let sent = shown(&fleet, 1);
    assert_eq!(one(&sent, &ended("sender", "complete")), 1.0);
    // Nobody has asked for it there.
    assert!(!sent.contains_key("makuosan_last_complete_send_timestamp_seconds"), "{sent:?}");
}

#[test]
fn what_is_watched_and_held_back_is_shown_by_its_path() {
    let mut fleet = Fleet::idle("metrics-watch", 2);
    let odd = "a \"b\" \\";
    for n in 0..3 {
        tree::write(fleet.path(0, format!("{odd}/{n}")), "x");
    }
    fleet.start(0, &["-w", odd, "--watch-delete", "--delay", "0"]);
    fleet.start(1, &[]);
    eventually("all of it is there", || fleet.path(1, format!("{odd}/2")).exists());
    for n in 0..3 {
        std::fs::remove_file(fleet.path(0, format!("{odd}/{n}"))).unwrap();
    }
    let held = "makuosan_held_deletions{path=\"a \\\"b\\\" \\\\134\"}";
    let path = |samples: &BTreeMap<String, f64>| -> Option<f64> { samples.get(held).copied() };
    eventually(held, || path(&shown(&fleet, 0)).is_some_and(|held| held > 0.0));
    let now = shown(&fleet, 0);
    assert_eq!(one(&now, "makuosan_watches"), 1.0);
    assert_eq!(one(&now, "makuosan_watches_refused"), 0.0);
    // They are what `status` shows.
    let status = fleet.msync(0, &["status", "--json"]).ok().out;
    let status = Value::parse(status.trim_end()).unwrap();
    let watches = status.get("watches").map(|watches| watches.list().to_vec()).unwrap();
    let number = watches[0].get("held").and_then(Value::number);
    assert_eq!(number.map(|held| held as f64), path(&now));
}

/// Whether `promtool` finds nothing to say about a text; None if there is none.
fn lint(text: &str) -> Option<String> {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.ok()?;
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    Some(format!("{}{}", out.status, String::from_utf8_lossy(&said)))
}

#[test]
fn promtool_finds_nothing_to_say_about_the_figures() {
    let mut fleet = Fleet::idle("metrics-lint", 2);
    tree::write(fleet.path(0, "a \"b\" \\/f"), "x");
    fleet.start(0, &["-w", "a \"b\" \\"]);
    fleet.start(1, &[]);
    eventually("it is there", || fleet.path(1, "a \"b\" \\/f").exists());
    let text = fleet.msync(0, &["metrics"]).ok().out;
    match lint(&text) {
        Some(said) => assert_eq!(said, "exit status: 0", "{text}"),
        None => skip("promtool check metrics", "promtool is not installed (Debian: prometheus)"),
    }
}

#[test]
fn both_pages_describe_every_figure_and_no_other() {
    let fleet = Fleet::new("metrics-pages", 1);
    let text = fleet.msync(0, &["metrics"]).ok().out;
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let names: Vec<&str> = names.collect();
    assert!(names.len() >= 20, "{text}");
    for page in ["man/makuosan.8", "man/ja/makuosan.8"] {
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page));
        let page = page.unwrap();
        let items = page.lines().filter_map(|line| line.strip_prefix(".It Va "));
        let mut items: Vec<&str> = items.collect();
        items.sort();
        let mut names = names.clone();
        names.sort();
        assert_eq!(items, names);
    }
}
