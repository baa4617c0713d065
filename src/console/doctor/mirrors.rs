//! What is judged of mirrors: on the host that was asked, and on those that mirror the same.
#![forbid(unsafe_code)]

use super::Finding;
use crate::console::mirror_row::{MirrorRow, PeerRow};
use crate::console::moment::lasting;
use crate::count::counted;
use crate::time::Span;

/// Hosts say how they stand four times in this time: who was not equal for longer lacks something.
const LONG: Span = Span::from_secs(60);

/// What is to be said of the mirrors of the host that was asked: of each, what is wrong, or that nothing is.
pub(super) fn of_host(name: &str, rows: &[MirrorRow]) -> Vec<Finding> {
    rows.iter().flat_map(|row| of_row(name, row)).collect()
}

fn of_row(name: &str, row: &MirrorRow) -> Vec<Finding> {
    let (check, path) = ("mirror", &row.path);
    if let Some(why) = &row.stopped {
        let text = format!("{path} stands still: {why}");
        let advice = format!(
            "put back what was there, or go on with what is there now: msync mirror release {path}"
        );
        return vec![Finding::fail(check, name, text, &advice)];
    }
    let mut found = Vec::new();
    let mut warn = |text: String, advice: &str| {
        found.push(Finding::warn(check, name, format!("{path}: {text}"), advice));
    };
    if row.conflicts > 0 {
        let text = format!("{} of versions changed at once", counted(row.conflicts, "conflict"));
        warn(text, "choose: msync conflicts, and take or drop of it");
    }
    if let Some(why) = row.held_why() {
        let text = format!("{} held: {why}", counted(row.held, "deletion"));
        warn(text, &format!("bring back what went, or let it go: msync mirror release {path}"));
    }
    if row.listed > 0 {
        let paths = counted(row.listed, "path");
        warn(
            format!("{paths} found that no index vouches for, neither sent nor replaced"),
            &format!(
                "see msync mirror list; send them: msync mirror adopt {path}; else delete them here"
            ),
        );
    }
    if let Some((failed, why)) = &row.failed {
        let text = format!("{path}: {failed} cannot be made as it should be: {why}");
        let advice = "make room or give rights there; the rest is in msync mirror list";
        found.push(Finding::fail(check, name, text, advice));
    } else if row.lacking > 0 {
        let text = format!("{path}: the contents of {} are not here", counted(row.lacking, "path"));
        let advice =
            "they come from a host that has them; if that takes long, see msync mirror list";
        found.push(Finding::warn(check, name, text, advice));
    }
    if found.is_empty() {
        let (state, paths) = (row.state(), counted(row.entries, "path"));
        let peers = match row.peers.len() as u64 {
            0 => "no other host mirrors it now".to_owned(),
            peers => format!("{} too", counted(peers, "other host")),
        };
        found.push(Finding::ok(check, name, format!("{path}: {state}, {paths}, {peers}")));
    }
    found
}

/// The hosts that have not been equal for long.
pub(super) fn apart(rows: &[MirrorRow]) -> Vec<Finding> {
    let of = |path: &str, peer: &PeerRow| {
        let text = match peer.apart.filter(|span| *span >= LONG) {
            Some(span) => format!("{path} is not the same there as here for {}", lasting(span)),
            None if peer.lacks => format!("it lacks something of {path} that it knows of"),
            None => return None,
        };
        let advice = "ask there what keeps it: msync mirror list";
        Some(Finding::warn("mirrors", &peer.host, text, advice))
    };
    of_peers(rows, of)
}

/// The hosts that hold something back.
pub(super) fn held(rows: &[MirrorRow]) -> Vec<Finding> {
    let of = |path: &str, peer: &PeerRow| {
        let advice =
            "see there: msync mirror; if it was meant, let it go there: msync mirror release";
        let text = match (peer.stopped, peer.held) {
            (true, _) => format!("{path} stands still there"),
            (false, true) => format!("it holds deletions of {path}"),
            _ => return None,
        };
        Some(Finding::warn("held", &peer.host, text, advice))
    };
    of_peers(rows, of)
}

fn of_peers(rows: &[MirrorRow], of: impl Fn(&str, &PeerRow) -> Option<Finding>) -> Vec<Finding> {
    let peers = rows.iter().flat_map(|row| row.peers.iter().map(|peer| (&row.path, peer)));
    peers.filter_map(|(path, peer)| of(path, peer)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::doctor::Grade;

    fn row() -> MirrorRow {
        let peer = |host: &str| PeerRow {
            host: host.to_owned(),
            apart: None,
            settled: true,
            held: false,
            stopped: false,
            lacks: false,
        };
        MirrorRow {
            path: "up".to_owned(),
            settled: true,
            stopped: None,
            away: Vec::new(),
            entries: 7,
            conflicts: 0,
            listed: 0,
            held: 0,
            held_here: 0,
            lacking: 0,
            indexes: 2,
            failed: None,
            peers: vec![peer("web2"), peer("web3")],
        }
    }

    fn lines(found: &[Finding]) -> Vec<String> {
        found.iter().map(Finding::line).collect()
    }

    #[test]
    fn a_sound_mirror_is_one_line_and_each_trouble_one_with_its_advice() {
        assert_eq!(
            lines(&of_host("web1", &[row()])),
            ["ok   web1 mirror: up: settled, 7 paths, 2 other hosts too"]
        );
        let alone = MirrorRow { peers: vec![], settled: false, ..row() };
        assert_eq!(
            lines(&of_host("web1", &[alone])),
            ["ok   web1 mirror: up: comparing, 7 paths, no other host mirrors it now"]
        );
        let bad = MirrorRow {
            conflicts: 2,
            held: 3,
            listed: 1,
            lacking: 4,
            failed: Some(("up/f".to_owned(), "No space left on device".to_owned())),
            ..row()
        };
        let found = of_host("web1", std::slice::from_ref(&bad));
        let grades: Vec<Grade> = found.iter().map(|finding| finding.grade).collect();
        assert_eq!(grades, [Grade::Warn, Grade::Warn, Grade::Warn, Grade::Fail]);
        assert!(
            found.iter().all(|finding| !finding.advice.is_empty() && finding.check == "mirror")
        );
        assert!(
            found[3].text.ends_with("up/f cannot be made as it should be: No space left on device")
        );
        let comes = of_host("web1", &[MirrorRow { lacking: 4, ..row() }]);
        assert_eq!((comes.len(), comes[0].grade), (1, Grade::Warn));
        let stopped = MirrorRow { stopped: Some("it is another one".to_owned()), ..bad };
        assert_eq!(
            lines(&of_host("web1", &[stopped])),
            [
                "fail web1 mirror: up stands still: it is another one: put back what was there, or go on with \
              what is there now: msync mirror release up"
            ]
        );
    }

    #[test]
    fn hosts_that_are_not_equal_for_long_and_those_that_hold_something_are_named() {
        let mut rows = [row()];
        assert!(apart(&rows).is_empty() && held(&rows).is_empty());
        rows[0].peers[0].apart = Some(Span::from_secs(59));
        assert!(apart(&rows).is_empty());
        rows[0].peers[0].apart = Some(Span::from_secs(300));
        rows[0].peers[1].held = true;
        assert_eq!(
            lines(&apart(&rows)),
            [
                "warn web2 mirrors: up is not the same there as here for 5 min: ask there what keeps it: msync mirror list"
            ]
        );
        rows[0].peers[0].apart = None;
        rows[0].peers[0].lacks = true;
        assert!(lines(&apart(&rows))[0].contains("it lacks something of up that it knows of"));
        assert_eq!(held(&rows).len(), 1);
        rows[0].peers[1].stopped = true;
        assert!(lines(&held(&rows))[0].contains("up stands still there"));
        assert_eq!((held(&rows)[0].host.as_str(), held(&rows)[0].check), ("web3", "held"));
    }
}
