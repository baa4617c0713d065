//! Who lacks something of what was sent, as any host of the fleet shows it.

use makuosan::console::json::Value;

use crate::common::{Fleet, eventually, tree};

/// What a host says of another one, or of itself.
fn hosts(fleet: &Fleet, at: usize) -> Vec<Value> {
    let out = fleet.msync(at, &["members", "--json"]).ok().out;
    let value = Value::parse(out.trim_end()).unwrap();
    value.get("hosts").map(|hosts| hosts.list().to_vec()).unwrap()
}

/// `presence`, and how many transfers are lacking; None if that is not known.
fn about(fleet: &Fleet, at: usize, name: &str) -> Option<(String, u64)> {
    let is = |host: &&Value| host.get("name").and_then(Value::text) == Some(name);
    let hosts = hosts(fleet, at);
    let host = hosts.iter().find(is)?;
    let presence = host.get("presence")?.text()?.to_owned();
    let behind = host.get("behind")?.get("transfers").and_then(Value::number);
    Some((presence, behind.unwrap_or(0)))
}

#[track_caller]
fn becomes(fleet: &Fleet, at: usize, name: &str, presence: &str, lacks: u64) {
    let want = Some((presence.to_owned(), lacks));
    eventually(&format!("{name} is {presence} and lacks {lacks}"), || {
        about(fleet, at, name) == want
    });
}

#[test]
fn who_is_away_is_shown_with_what_it_lacks_and_lacks_nothing_when_it_is_back() {
    let mut fleet = Fleet::new("behind", 3);
    tree::write(fleet.path(0, "a"), "1");
    fleet.msync(0, &["send", "a"]).ok();
    for (at, presence) in [(0, "live"), (1, "live"), (2, "self")] {
        becomes(&fleet, at, "h2", presence, 0);
    }
    fleet.stop(2);
    for at in 0..2 {
        becomes(&fleet, at, "h2", "away", 0);
    }
    tree::write(fleet.path(0, "b"), "2");
    fleet.msync(0, &["send", "b"]).ok();
    tree::write(fleet.path(1, "c"), "3");
    fleet.msync(1, &["send", "-t", "h0", "c"]).ok();
    for at in 0..2 {
        becomes(&fleet, at, "h2", "away", 1);
    }
    let text = fleet.msync(0, &["members", "-v"]).ok().out;
    assert!(text.contains(&format!("h2 ({}) is away, last seen ", fleet.ip(2))), "{text}");
    assert!(text.contains("lacks 1 transfer since "), "{text}");
    assert!(text.ends_with("Total: 1 members\n"), "{text}");
    // It is known after a start, whatever became of the daemon.
    fleet.stop(0);
    fleet.start(0, &[]);
    becomes(&fleet, 0, "h2", "away", 1);
    fleet.start(2, &[]);
    for (at, presence) in [(0, "live"), (1, "live"), (2, "self")] {
        becomes(&fleet, at, "h2", presence, 0);
    }
}
