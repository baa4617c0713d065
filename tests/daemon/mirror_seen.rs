//! What an operator sees of mirrors: in the figures, by `doctor`, `mirror` and `conflicts`.

use makuosan::console::json::Value;

use crate::common::process::in_mounts;
use crate::common::{Fleet, eventually, tree, wall_millis};
use crate::mirroring::{
    MIRROR, alike, conflicts, mirroring, read, wait_for_row, wait_until_settled,
};

/// A fleet in which `name` was changed on two hosts while they were apart.
fn with_a_conflict(of: &str, name: &str) -> Fleet {
    let mut fleet = mirroring(of, 2);
    tree::write(fleet.path(0, name), "base");
    alike(&fleet, &[0, 1]);
    fleet.kill(1);
    tree::write(fleet.path(1, name), "of host 1");
    tree::write(fleet.path(0, name), "of h0");
    fleet.start(1, MIRROR);
    (0..2).for_each(|at| {
        eventually("it is a conflict", || conflicts(&fleet, at).lines().count() == 1)
    });
    fleet
}

#[track_caller]
fn wait_for_figure(fleet: &Fleet, at: usize, sample: &str) {
    let has = || fleet.msync(at, &["metrics"]).ok().out.lines().any(|line| line == sample);
    eventually(&format!("{sample} at h{at}"), has);
}

#[test]
fn conflicts_are_in_the_figures_of_each_host_until_they_are_dropped() {
    let fleet = with_a_conflict("mirror-figures", "f");
    for at in 0..2 {
        wait_for_figure(&fleet, at, "makuosan_conflicts{path=\".\"} 1");
        wait_for_figure(&fleet, at, "makuosan_mirror_paths{path=\".\"} 1");
        wait_for_figure(&fleet, at, "makuosan_mirror_settled{path=\".\"} 1");
        wait_for_figure(&fleet, at, "makuosan_mirror_lacking_paths{path=\".\"} 0");
    }
    let shown = read(fleet.path(0, "f"));
    fleet.msync(1, &["conflicts", "drop", "f"]).ok();
    for at in 0..2 {
        wait_for_figure(&fleet, at, "makuosan_conflicts{path=\".\"} 0");
        assert_eq!(read(fleet.path(at, "f")), shown);
    }
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| Value::parse(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

#[track_caller]
fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::text).unwrap_or_else(|| panic!("{key}: {object:?}"))
}

/// Whether `doctor` says this of a point, at one host.
fn diagnosed(fleet: &Fleet, at: usize, check: &str, result: &str, says: &str) -> bool {
    let said = fleet.msync(at, &["doctor", "--no-probe", "--json"]).out;
    objects(&said).iter().any(|one| {
        text(one, "check") == check
            && text(one, "result") == result
            && text(one, "text").contains(says)
            && (result == "ok" || !text(one, "advice").is_empty())
    })
}

#[test]
fn a_conflict_names_who_wrote_it_and_a_version_that_is_not_there_is_refused() {
    let fleet = with_a_conflict("mirror-versions", "f");
    assert!(diagnosed(&fleet, 0, "mirror", "warn", "1 conflict"));
    let listed = fleet.msync(0, &["--json", "conflicts", "list", "f"]).ok().out;
    let [one] = &objects(&listed)[..] else { panic!("{listed}") };
    let version = text(one, "version").to_owned();
    let size = one.get("size").and_then(Value::number);
    assert_eq!((text(one, "what"), text(one, "path")), ("file", "f"));
    let writer = if size == Some(9) { "h1" } else { "h0" };
    assert_eq!(text(one, "host"), writer);
    let mtime = one.get("mtime").and_then(Value::number).unwrap();
    assert!(wall_millis() / 1_000 - mtime < 300, "{listed}");
    assert!(fleet.base(0).join(text(one, "kept")).exists());
    assert_eq!(fleet.msync(0, &["conflicts", "list", "g"]).ok().out, "");

    for verb in ["take", "drop"] {
        let ran = fleet.msync(0, &["conflicts", verb, "f", "00000000000000ff-1"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let why = format!("error: f has no version 00000000000000ff-1, but {version}");
        assert_eq!(ran.err.lines().next(), Some(&*why));
        let ran = fleet.msync(0, &["conflicts", verb, "g"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert_eq!(ran.err, "error: g has no other version: see msync conflicts\n");
        let ran = fleet.msync(0, &["--json", "conflicts", verb, "g"]);
        let [error] = &objects(&ran.out)[..] else { panic!("{ran:?}") };
        assert_eq!((ran.code, text(error, "code")), (Some(1), "invalid_path"));
    }
    assert_eq!(conflicts(&fleet, 0).lines().count(), 1);
    let ran = fleet.msync(0, &["conflicts", "drop"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    fleet.msync(0, &["conflicts", "drop", "--all"]).ok();
    for at in 0..2 {
        eventually("none is left", || conflicts(&fleet, at).is_empty());
    }
    // There is nothing to drop any more.
    fleet.msync(0, &["conflicts", "drop", "--all"]).ok();
    assert!(diagnosed(&fleet, 0, "mirror", "ok", "settled, 1 path, 1 other host too"));
}

#[test]
fn what_is_listed_is_listed_by_name_until_it_is_adopted() {
    let mut fleet = Fleet::idle("mirror-listed", 2);
    tree::write(fleet.path(0, "f"), "of the group");
    fleet.start(0, &["--mirror", ".", "--first"]);
    wait_until_settled(&fleet, 0);
    for name in ["f", "d/only \"here\"", "d/too"] {
        tree::write(fleet.path(1, name), "of the other");
    }
    fleet.start(1, MIRROR);
    wait_for_row(&fleet, 1, "4 listed paths (msync mirror list)");
    let listed = |path: &[&str]| fleet.msync(1, &[&["mirror", "list"], path].concat()).ok().out;
    let says = "listed: msync mirror adopt";
    assert_eq!(
        listed(&[]),
        format!("d: {says}\nd/only \"here\": {says}\nd/too: {says}\nf: {says}\n")
    );
    assert_eq!(listed(&["d/too"]), format!("d/too: {says}\n"));
    let all = objects(&fleet.msync(1, &["mirror", "list", "d", "--json"]).ok().out);
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|one| text(one, "waits") == "listed" && one.get("why").is_some()));
    assert!(diagnosed(&fleet, 1, "mirror", "warn", "4 paths found that no index vouches for"));
    // Before all was heard that the others know, nothing is adopted.
    tree::write(fleet.path(0, "of h0"), "x");
    eventually("they are adopted", || fleet.msync(1, &["mirror", "adopt", "."]).code == Some(0));
    eventually("nothing waits", || listed(&[]).is_empty());
    let ran = fleet.msync(0, &["mirror", "list", "f"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""));
}

#[test]
fn held_deletions_are_seen_here_and_from_other_hosts() {
    let fleet = mirroring("mirror-held-seen", 2);
    for n in 0..200 {
        tree::write(fleet.path(0, format!("d/{n}")), "x");
    }
    tree::write(fleet.path(0, "stays"), "x");
    alike(&fleet, &[0, 1]);
    std::fs::remove_dir_all(fleet.path(0, "d")).unwrap();
    wait_for_row(&fleet, 0, "held deletions: many went at once here (msync mirror release)");
    assert!(diagnosed(&fleet, 0, "mirror", "warn", "held: many went at once here"));
    eventually("the other one knows", || {
        diagnosed(&fleet, 1, "held", "warn", "it holds deletions of .")
    });
    // Only of that host, where one is asked for.
    let about = |host| fleet.msync(1, &["doctor", "--no-probe", "-t", host]).out;
    assert!(about("h0").contains("warn h0 held: ") && !about("h1").contains(" held: it"));
    let row = objects(&fleet.msync(1, &["mirror", "--json"]).ok().out);
    let peers = row[0].get("peers").unwrap().list();
    assert_eq!(peers[0].get("held"), Some(&Value::Bool(true)), "{row:?}");
    let waits = fleet.msync(0, &["mirror", "list", "d/7"]).ok().out;
    assert_eq!(waits, "d/7: its deletion is held: msync mirror release\n");
    fleet.msync(0, &["mirror", "release", "."]).ok();
    wait_for_row(&fleet, 1, "held deletions: many went at once on another host");
    fleet.msync(1, &["mirror", "release", "."]).ok();
    alike(&fleet, &[0, 1]);
    eventually("nothing is held", || {
        (0..2).all(|at| diagnosed(&fleet, at, "held", "ok", "no other host"))
    });
}

#[test]
fn a_full_disk_is_named_with_the_path_that_has_no_room_and_a_stopped_tree_fails() {
    let mut fleet = Fleet::idle("mirror-full-seen", 2);
    let setup = "mount -t tmpfs -o size=2m tmpfs \"$1\"";
    let Some(by) = in_mounts("mirror-full-seen", setup, &fleet.base(1)) else { return };
    fleet.start(0, MIRROR);
    fleet.start_by(by, 1, MIRROR);
    (0..2).for_each(|at| wait_until_settled(&fleet, at));
    tree::write(fleet.path(0, "d/big"), tree::bytes(4_000_000, 1));
    wait_for_row(&fleet, 1, "not done: d/big: No space left on device (msync mirror list)");
    let waits = fleet.msync(1, &["mirror", "list"]).ok().out;
    assert_eq!(waits, "d/big: its contents are not here yet: No space left on device\n");
    assert!(diagnosed(&fleet, 1, "mirror", "fail", "d/big cannot be made as it should be"));
    assert_eq!(fleet.msync(1, &["doctor", "--no-probe"]).code, Some(2));
    let row = objects(&fleet.msync(1, &["mirror", "--json"]).ok().out);
    let failed = row[0].get("failed").unwrap();
    assert_eq!((text(failed, "path"), text(failed, "why")), ("d/big", "No space left on device"));
    std::fs::remove_file(fleet.path(0, "d/big")).unwrap();
    eventually("nothing waits", || fleet.msync(1, &["mirror", "list"]).ok().out.is_empty());
    eventually("nothing failed", || diagnosed(&fleet, 1, "mirror", "ok", "settled"));
}

/// For how many seconds h0 has not seen h2 equal.
fn apart(fleet: &Fleet) -> Option<u64> {
    let row = objects(&fleet.msync(0, &["mirror", "--json"]).ok().out);
    let peers = row[0].get("peers").unwrap().list();
    let h2 = peers.iter().find(|peer| text(peer, "host") == "h2")?;
    h2.get("apart_s").and_then(Value::number)
}

#[test]
fn a_host_that_is_not_equal_is_shown_with_how_long_it_has_not_been() {
    let mut fleet = mirroring("mirror-apart-seen", 3);
    tree::write(fleet.path(0, "f"), "x");
    alike(&fleet, &[0, 1, 2]);
    wait_for_row(&fleet, 0, "h1: equal");
    wait_for_figure(&fleet, 0, "makuosan_mirror_apart_seconds{path=\".\",host=\"h1\"} 0");
    // It goes on saying what it knew.
    fleet.daemon(2).signal("STOP");
    tree::write(fleet.path(0, "f"), "y and more");
    wait_for_row(&fleet, 0, "h2: not equal for ");
    eventually("that goes on", || apart(&fleet).is_some_and(|seconds| seconds >= 3));
    fleet.daemon(2).signal("CONT");
    wait_for_row(&fleet, 0, "h2: equal");
    assert_eq!(apart(&fleet), None);
}
