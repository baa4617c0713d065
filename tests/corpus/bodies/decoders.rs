//! Every decoder, on bytes from anywhere. What one takes must be written and read back as the same.

use std::fmt::Debug;

use makuosan::console::reply::{HostReport, Progress, Total};
use makuosan::console::{json, words};
use makuosan::crypto::checksum;
use makuosan::engine::catch_up::Record;
use makuosan::ids::TargetNo;
use makuosan::name::{Escaped, HostName, MAX_PATH, RelPath};
use makuosan::pattern::{Patterns, check};
use makuosan::wire::begin::{Begin, Commit, Delete, End, Offer};
use makuosan::wire::bytes::{Put, Reader};
use makuosan::wire::feedback::{Deleted, Feedback, MAX_OPEN};
use makuosan::wire::fetch::{Fetch, Request};
use makuosan::wire::header::{HEADER_LEN, Header, PacketKind, TRAILER_LEN};
use makuosan::wire::hello::{Hello, parse_bye};
use makuosan::wire::layout::Layout;
use makuosan::wire::manifest::{MAX_ENTRIES, MAX_MANIFEST, Manifest};
use makuosan::wire::mirror::{Mirror, Question};
use makuosan::wire::poll::Poll;
use makuosan::wire::probe::Probe;
use makuosan::wire::records::Records;

/// Each decoder: whether it took the bytes.
pub const ALL: [fn(&[u8]) -> bool; 32] = [
    packet,
    hello,
    |bytes| parse_bye(bytes).is_ok(),
    begin,
    offer,
    commit,
    delete,
    poll,
    manifest,
    |bytes| feedback(PacketKind::Accept, bytes),
    |bytes| feedback(PacketKind::Need, bytes),
    |bytes| feedback(PacketKind::Status, bytes),
    |bytes| feedback(PacketKind::Done, bytes),
    |bytes| feedback(PacketKind::Deleted, bytes),
    |bytes| feedback(PacketKind::Ended, bytes),
    |bytes| feedback(PacketKind::Busy, bytes),
    patterns,
    path,
    host_name,
    line,
    json_value,
    host_report,
    progress,
    total,
    end,
    records,
    record,
    fetch,
    request,
    mirror,
    question,
    probe,
];

/// The first byte says which decoder, the rest is for it.
pub fn run(data: &[u8]) {
    if let Some((which, bytes)) = data.split_first() {
        ALL[usize::from(*which) % ALL.len()](bytes);
    }
}

fn same<T: PartialEq + Debug, E: Debug>(value: &T, again: Result<T, E>) -> bool {
    assert_eq!(again.as_ref().ok(), Some(value));
    true
}

/// As `seal` opens it without a key.
fn packet(bytes: &[u8]) -> bool {
    let Some((head, payload, trailer)) = Header::split(bytes) else {
        assert!(bytes.len() < HEADER_LEN + TRAILER_LEN);
        return false;
    };
    assert_eq!(payload.len(), bytes.len() - HEADER_LEN - TRAILER_LEN);
    let _ = checksum(head, payload) == *trailer;
    let Ok(header) = Header::parse(head) else { return false };
    same(&header, Header::parse(&header.emit()))
}

fn hello(bytes: &[u8]) -> bool {
    Hello::parse(bytes).is_ok_and(|hello| same(&hello, Hello::parse(&hello.emit())))
}

fn begin(bytes: &[u8]) -> bool {
    Begin::parse(bytes).is_ok_and(|begin| {
        assert!(begin.targets.len() * 8 <= bytes.len());
        same(&begin, Begin::parse(&begin.emit()))
    })
}

fn offer(bytes: &[u8]) -> bool {
    Offer::parse(bytes).is_ok_and(|offer| {
        assert!(offer.manifest_len as usize <= MAX_MANIFEST);
        same(&offer, Offer::parse(&offer.emit()))
    })
}

fn commit(bytes: &[u8]) -> bool {
    Commit::parse(bytes).is_ok_and(|commit| {
        assert!(commit.strikes.iter().all(|entry| entry.index() < MAX_ENTRIES));
        same(&commit, Commit::parse(&commit.emit()))
    })
}

fn delete(bytes: &[u8]) -> bool {
    Delete::parse(bytes).is_ok_and(|delete| same(&delete, Delete::parse(&delete.emit())))
}

fn end(bytes: &[u8]) -> bool {
    End::parse(bytes).is_ok_and(|end| same(&end, End::parse(&end.emit())))
}

fn records(bytes: &[u8]) -> bool {
    Records::parse(bytes).is_ok_and(|records| same(&records, Records::parse(&records.emit())))
}

fn fetch(bytes: &[u8]) -> bool {
    Fetch::parse(bytes).is_ok_and(|fetch| same(&fetch, Fetch::parse(&fetch.emit())))
}

fn request(bytes: &[u8]) -> bool {
    Request::parse(bytes).is_ok_and(|request| same(&request, Request::parse(&request.emit())))
}

fn mirror(bytes: &[u8]) -> bool {
    Mirror::parse(bytes).is_ok_and(|mirror| same(&mirror, Mirror::parse(&mirror.emit())))
}

fn question(bytes: &[u8]) -> bool {
    Question::parse(bytes).is_ok_and(|question| same(&question, Question::parse(&question.emit())))
}

fn probe(bytes: &[u8]) -> bool {
    Probe::parse(bytes).is_ok_and(|probe| same(&probe, Probe::parse(&probe.emit())))
}

fn record(bytes: &[u8]) -> bool {
    Record::parse(bytes).is_ok_and(|record| same(&record, Record::parse(&record.emit())))
}

fn poll(bytes: &[u8]) -> bool {
    Poll::parse(bytes).is_ok_and(|poll| {
        for (index, total) in [(0, 0), (0, 1), (7, 1_000), (u16::MAX, 1), (3, u16::MAX)] {
            poll.asked.includes(TargetNo::new(index), total);
            assert!(poll.asked.count(total) <= total.max(1_000));
        }
        same(&poll, Poll::parse(&poll.emit()))
    })
}

fn manifest(bytes: &[u8]) -> bool {
    Manifest::parse(bytes).is_ok_and(|manifest| {
        // A path may share all but its last byte with the one before; an extent takes two bytes.
        let most = bytes.len() * 40 + manifest.entries.len() * (MAX_PATH + 400);
        assert!(manifest.memory() <= most, "{} for {}", manifest.memory(), bytes.len());
        for entry in &manifest.entries {
            assert_eq!(RelPath::parse(entry.path.as_bytes()).as_ref(), Ok(&entry.path));
        }
        for block in [480, 1_424, 8_192] {
            if let Some(layout) = Layout::new(&manifest, block) {
                let end = layout.bytes_of(layout.end());
                assert!(end.is_empty() && end.start == layout.len());
                for slot in layout.slots() {
                    let blocks = layout.blocks_of(slot);
                    blocks.for_each(|run| assert!(run.end <= layout.end(), "{run:?}"));
                    assert!(manifest.entries.len() > slot.entry.index());
                }
            }
        }
        same(&manifest, Manifest::parse(&manifest.emit()))
    })
}

fn feedback(kind: PacketKind, bytes: &[u8]) -> bool {
    Feedback::parse(kind, bytes).is_ok_and(|(sender, feedback)| {
        assert_eq!(feedback.kind(), kind);
        match &feedback {
            Feedback::Status(status) => {
                assert!(status.batches.len() <= MAX_OPEN);
                for batch in &status.batches {
                    assert!(batch.missing.windows(2).all(|two| two[0].end < two[1].start));
                    assert!(batch.missing.iter().all(|range| range.start < range.end));
                }
            }
            Feedback::Need(runs) => assert!(runs.iter().count() <= MAX_ENTRIES),
            Feedback::Done(runs) => assert!(runs.iter().count() <= MAX_ENTRIES),
            Feedback::Deleted(Deleted::Page { names, .. }) => assert!(names.len() <= bytes.len()),
            _ => {}
        }
        let room = bytes.len() + 100;
        same(&(sender, feedback.clone()), Feedback::parse(kind, &feedback.emit(sender, room)))
    })
}

fn patterns(bytes: &[u8]) -> bool {
    let _ = check(bytes);
    let mut reader = Reader::new(bytes);
    let mut patterns = Patterns::default();
    if patterns.extend(&mut reader).is_err() {
        return false;
    }
    // What is left is a path to try them on.
    let rest = reader.rest();
    for path in [rest, b"a/bc/d.e"] {
        if let Ok(path) = RelPath::parse(&path[..path.len().min(60)]) {
            patterns.excludes(&path, true);
            patterns.excludes(&path, false);
        }
    }
    let mut again = Patterns::default();
    let parts = patterns.emit(2_000);
    let read = parts.iter().try_for_each(|part| again.extend(&mut Reader::new(part)));
    same(&patterns, read.map(|()| again))
}

fn path(bytes: &[u8]) -> bool {
    let shown = Escaped(bytes).to_string();
    assert!(!shown.chars().any(char::is_control) && !shown.starts_with("> "));
    assert_eq!(words::unescape(shown.as_bytes()), bytes);
    let mut counted = Vec::new();
    counted.put_counted(bytes);
    assert_eq!(Reader::new(&counted).counted(bytes.len()), Ok(bytes));
    RelPath::parse(bytes).is_ok_and(|path| {
        let parts: Vec<&[u8]> = path.components().collect();
        let bad: [&[u8]; 4] = [b"", b".", b"..", b".makuosan"];
        assert!(!parts.iter().any(|part| bad.contains(part) || part.contains(&0)));
        assert_eq!(parts.join(&b'/'), bytes);
        let (dir, last) = path.split_last().unwrap();
        same(&path, dir.join(last))
    })
}

fn host_name(bytes: &[u8]) -> bool {
    HostName::parse(bytes).is_ok_and(|name| same(&name, HostName::parse(name.as_str().as_bytes())))
}

/// A line of the console, as words and back.
fn line(bytes: &[u8]) -> bool {
    words::split(bytes).is_ok_and(|words| {
        let mut line = Vec::new();
        for word in &words {
            words::push_quoted(&mut line, &word.bytes);
            line.push(b' ');
        }
        let again = words::split(&line).unwrap();
        let bytes = |words: &[words::Word]| -> Vec<Vec<u8>> {
            words.iter().map(|word| word.bytes.clone()).collect()
        };
        assert_eq!(bytes(&again), bytes(&words));
        true
    })
}

fn json_value(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    assert_eq!(
        json::Value::parse(&json::quoted(text)).as_ref().and_then(json::Value::text),
        Some(text)
    );
    json::Value::parse(text).is_some()
}

fn host_report(bytes: &[u8]) -> bool {
    HostReport::parse(bytes).is_some_and(|report| {
        let again = HostReport::parse(report.emit().as_bytes());
        same(&report, again.ok_or("lost"))
    })
}

fn progress(bytes: &[u8]) -> bool {
    Progress::parse(bytes).is_some_and(|progress| {
        let again = Progress::parse(progress.emit().as_bytes());
        same(&progress, again.ok_or("lost"))
    })
}

fn total(bytes: &[u8]) -> bool {
    Total::parse(bytes).is_some_and(|total| {
        let again = Total::parse(total.emit().as_bytes());
        same(&total, again.ok_or("lost"))
    })
}
