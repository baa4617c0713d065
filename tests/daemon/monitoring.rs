//! What `doc/monitoring.md` offers works: its alerts with real figures, its check for Nagios with real daemons.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::place::TempDir;
use crate::common::process::{MSYNC, Ran, command, run};
use crate::common::{Fleet, eventually, skip, tree};

/// What the page has in a block of this kind.
fn block(kind: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/monitoring.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rest = page.split(&format!("\n```{kind}\n")).nth(1).unwrap();
    rest.split("```").next().unwrap().to_owned()
}

/// The names of all alerts.
fn alerts(rules: &str) -> Vec<&str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

/// The figures that expressions name, each with what is in braces after it.
fn figures(rules: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for expr in rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")) {
        for (at, _) in expr.match_indices("makuosan_") {
            let rest = &expr[at..];
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_lowercase());
            let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
            let labels = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
            found.push((name.to_owned(), labels.unwrap_or_default().to_owned()));
        }
    }
    found
}

#[test]
fn every_figure_and_label_of_the_alerts_is_one_that_a_daemon_has() {
    let mut fleet = Fleet::idle("alerts-real", 2);
    tree::write(fleet.path(0, "d/f"), "x");
    fleet.start(0, &["-w", "d", "--mirror", "m"]);
    fleet.start(1, &["--mirror", "m"]);
    eventually("it is there", || fleet.path(1, "d/f").exists());
    fleet.msync(0, &["flush"]).ok();
    let text = fleet.msync(0, &["metrics"]).ok().out;
    let mut samples: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        samples.entry(name).or_default().push(line);
    }
    let rules = block("yaml");
    let figures = figures(&rules);
    assert!(figures.len() > 14, "{figures:?}");
    for (name, labels) in figures {
        let lines = samples.get(name.as_str()).unwrap_or_else(|| panic!("{name}: {text}"));
        for label in labels.split(", ").filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once('=').unwrap();
            // That one comes from Prometheus.
            if key == "instance" {
                continue;
            }
            let key = key.trim_end_matches('!');
            let values = value.trim_start_matches('~').trim_matches('"');
            for value in values.split('|') {
                let wanted = format!("{key}=\"{value}\"");
                assert!(lines.iter().any(|line| line.contains(&wanted)), "{name}: {wanted}");
            }
        }
    }
}

/// What an alert needs to fire, or with `well` not to: series with a value each five minutes.
fn series(well: bool) -> String {
    let pick = |good: &'static str, bad: &'static str| if well { good } else { bad };
    let series = [
        ("makuosan_up{instance=\"web2:9100\"}", pick("1x600", "0x600")),
        (
            "node_textfile_mtime_seconds{file=\"/d/makuosan.prom\",instance=\"web1:9100\"}",
            pick("0+300x600", "0x600"),
        ),
        ("makuosan_hosts_behind{instance=\"web1:9100\"}", pick("0x600", "1x600")),
        ("makuosan_hosts_away{instance=\"web1:9100\"}", pick("0x600", "1x600")),
        (
            "makuosan_transfers_total{instance=\"web1:9100\",role=\"sender\",result=\"incomplete\"}",
            pick("3x600", "0+1x600"),
        ),
        (
            "makuosan_transfers_total{instance=\"web1:9100\",role=\"sender\",result=\"complete\"}",
            "0+1x600",
        ),
        (
            "makuosan_last_complete_send_timestamp_seconds{instance=\"web1:9100\"}",
            pick("0+300x600", "0x600"),
        ),
        (
            "makuosan_last_complete_send_duration_seconds{instance=\"web1:9100\"}",
            pick("7x600", "700x600"),
        ),
        ("makuosan_repaired_bytes_total{instance=\"web1:9100\"}", pick("0+1x600", "0+50x600")),
        ("makuosan_wire_bytes_total{instance=\"web1:9100\",direction=\"sent\"}", "0+100x600"),
        ("makuosan_wire_bytes_total{instance=\"web1:9100\",direction=\"received\"}", "0+7x600"),
        (
            "makuosan_packets_dropped_total{instance=\"web1:9100\",reason=\"other_key\"}",
            pick("5x600", "0+20x600"),
        ),
        (
            "makuosan_base_free_bytes{instance=\"web1:9100\"}",
            pick("1000000000000x600", "1000000x600"),
        ),
        ("makuosan_held_deletions{instance=\"web1:9100\",path=\"a\"}", pick("0x600", "3x600")),
        ("makuosan_conflicts{instance=\"web1:9100\",path=\"m\"}", pick("0x600", "2x600")),
        ("makuosan_mirror_stopped{instance=\"web1:9100\",path=\"m\"}", pick("0x600", "1x600")),
        ("makuosan_mirror_settled{instance=\"web1:9100\",path=\"m\"}", "1x600"),
        (
            "makuosan_mirror_lacking_paths{instance=\"web1:9100\",path=\"m\"}",
            pick("0x600", "2x600"),
        ),
        ("makuosan_mirror_listed_paths{instance=\"web1:9100\",path=\"m\"}", pick("0x600", "2x600")),
        (
            "makuosan_mirror_apart_seconds{instance=\"web1:9100\",path=\"m\",host=\"web2\"}",
            pick("20x600", "301x600"),
        ),
        ("makuosan_watches_refused{instance=\"web1:9100\"}", pick("0x600", "1x600")),
        ("makuosan_pending_changes{instance=\"web1:9100\",path=\"a\"}", pick("0x600", "2x600")),
        ("makuosan_build_info{instance=\"web1:9100\",version=\"2.0.0\"}", "1x600"),
        (
            pick(
                "makuosan_build_info{instance=\"web2:9100\",version=\"2.0.0\"}",
                "makuosan_build_info{instance=\"web2:9100\",version=\"2.1.0\"}",
            ),
            "1x600",
        ),
    ];
    let line = |(name, values): &(&str, &str)| {
        format!("      - series: '{name}'\n        values: '{values}'\n")
    };
    series.iter().map(line).collect()
}

fn promtool(dir: &Path, arguments: &[&str]) -> Option<Ran> {
    let found = Command::new("promtool").arg("--version").output();
    found.ok().filter(|out| out.status.success())?;
    Some(run(Command::new("promtool").current_dir(dir).args(arguments)))
}

#[test]
fn every_alert_fires_when_it_should_and_none_when_all_is_well() {
    let dir = TempDir::new("alerts");
    let rules = block("yaml");
    std::fs::write(dir.path().join("rules.yml"), &rules).unwrap();
    let names = alerts(&rules);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    let fired: String = names
        .iter()
        .map(|name| {
            format!("          - labels: '{{alertname=\"{name}\"}}'\n            value: 1\n")
        })
        .collect();
    let test = |series: &str, expected: &str| {
        format!(
            "  - interval: 5m\n    input_series:\n{series}    promql_expr_test:\n      \
             - expr: group by (alertname) (ALERTS{{alertstate=\"firing\"}})\n        \
             eval_time: 2d\n        exp_samples: {expected}\n"
        )
    };
    let tests = format!(
        "rule_files: [rules.yml]\nevaluation_interval: 5m\ntests:\n{}{}",
        test(&series(false), &format!("\n{fired}")),
        test(&series(true), "[]")
    );
    std::fs::write(dir.path().join("tests.yml"), tests).unwrap();
    match promtool(dir.path(), &["check", "rules", "rules.yml"]) {
        None => skip("the alerts", "promtool is not installed (Debian: prometheus)"),
        Some(ran) => {
            assert_eq!(ran.code, Some(0), "{ran:?}");
            let ran = promtool(dir.path(), &["test", "rules", "tests.yml"]).unwrap();
            assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
        }
    }
}

#[test]
fn the_check_for_nagios_knows_well_from_behind_and_from_not_known() {
    let mut fleet = Fleet::new("nagios", 2);
    let script = fleet.dir().join("check_makuosan");
    std::fs::write(&script, block("sh")).unwrap();
    let path = PathBuf::from(MSYNC).parent().unwrap().display().to_string();
    let check = |target: &str| {
        let mut shell = command("sh");
        shell.env("PATH", format!("{path}:/usr/bin:/bin")).arg(&script).args(["-c", target]);
        run(&mut shell)
    };
    let target = fleet.target(0);
    eventually("all is well", || check(&target).code == Some(0));
    assert_eq!(check(&target).out, "MAKUOSAN OK - no host lacks anything\n");
    fleet.stop(1);
    tree::write(fleet.path(0, "f"), "x");
    fleet.msync(0, &["send", "f"]);
    let ran = check(&target);
    assert!(ran.out.starts_with("MAKUOSAN CRITICAL - h1 "), "{ran:?}");
    assert_eq!(ran.code, Some(2), "{ran:?}");
    fleet.stop(0);
    let ran = check(&target);
    assert!(ran.out.starts_with("MAKUOSAN UNKNOWN - msync: "), "{ran:?}");
    assert_eq!(ran.code, Some(3), "{ran:?}");
}
