//! What fuzzing began with: one input, at least, that each decoder takes.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::bodies::{decoders, manifests};
use makuosan::console::error::{Code, ErrorReport};
use makuosan::console::reply::{HostReport, Progress, Total};
use makuosan::crypto::checksum;
use makuosan::engine::catch_up::{Deed, Record, RecordId};
use makuosan::ids::Ticket;
use makuosan::ids::{BatchNo, BlockNo, BlockRange, EntryNo, PollNo, TargetNo, TransferNo};
use makuosan::name::{HostName, NodeId, RelPath};
use makuosan::pattern::{Patterns, Rule};
use makuosan::stamp::Stamp;
use makuosan::wire::audience::Audience;
use makuosan::wire::begin::{Begin, Commit, Delete, End, Offer, Recorded};
use makuosan::wire::behind::{Behind, Why};
use makuosan::wire::bits::Bits;
use makuosan::wire::feedback::{BatchStatus, Deleted, Feedback, State, Status, Verdict};
use makuosan::wire::fetch::{End as Outcomes, Fetch, Over, Request, State as Fetching, Trouble};
use makuosan::wire::header::{Header, PacketKind, Role};
use makuosan::wire::hello::{Hello, Said};
use makuosan::wire::manifest::{Extent, FileTime, Kind, Manifest, Setup};
use makuosan::wire::mirror::{Answer, Left, Mirror, Question, Reached, Standing};
use makuosan::wire::mode::Mode;
use makuosan::wire::names::{Hash, Names};
use makuosan::wire::outcome::{DeletionTally, Need, Outcome, Reason, Runs, SpoolCode};
use makuosan::wire::poll::{Asked, Mark, Poll};
use makuosan::wire::probe::{Probe, Report};
use makuosan::wire::records::{Key, Records, Summary};
use makuosan::wire::setup::AtomicSetup;
use makuosan::wire::setup::MirrorSetup;
use makuosan::wire::versions::{Dot, IndexId, Knowledge, Member, Version, What};

const DOT: Dot = Dot { by: IndexId(7), seq: 300 };

fn knowledge() -> Knowledge {
    let mut knowledge = Knowledge::default();
    knowledge.learn(DOT.by, DOT.seq);
    knowledge
}

fn standing() -> Standing {
    let (tree, by, hash) = (Hash(1), DOT.by, knowledge().hash());
    let (settled, held, looks, stopped, lacks) = (true, false, false, true, false);
    let in_part = false;
    Standing { tree, by, height: 300, hash, settled, held, looks, stopped, lacks, in_part }
}

fn reach() -> Mirror {
    let within = RelPath::parse(b"d/a").unwrap();
    Mirror::Reach { tree: Hash(1), number: 2, part: 0, within, known: knowledge() }
}

fn reached() -> Mirror {
    let left = Left { lacking: 300, held: 1, listed: 0 };
    let reached = Reached { covers: true, busy: false, left };
    Mirror::Reached { number: 2, part: 0, standing: standing(), reached }
}

fn set() -> Kind {
    let what = What::File { size: 5, mtime: FileTime { secs: 1, nanos: 2 }, digest: 3 };
    let version = Some(Version { what, mode: 0o644, uid: 0, gid: 3 });
    let members = vec![Member { dot: DOT, stamp: Stamp::at(7), version }];
    Kind::Set { members, context: Some(Arc::new(knowledge())) }
}

fn mirrored() -> Manifest {
    let (from, to, floor) = (Knowledge::default(), knowledge(), Knowledge::default());
    let mirror = Some(MirrorSetup { from, to, floor, full: true, by: DOT.by });
    Manifest { setup: Some(Setup { mirror, ..Setup::default() }), ..Manifest::default() }
}

fn fetched() -> Vec<u8> {
    let trouble = Trouble {
        is_there: true,
        path: "d/a".to_owned(),
        code: "ENOENT".to_owned(),
        text: "No such file or directory".to_owned(),
    };
    let over =
        Over { end: Outcomes::Failed, transfers: 1, wire: 9, errors: 1, troubles: vec![trouble] };
    Fetch::State(Ticket::new(9), Fetching::Over(over)).emit()
}

fn request() -> Vec<u8> {
    Request {
        mode: Mode::Send { delete: true, ignore_times: false, dry_run: false },
        recursive: true,
        or_gone: false,
        checksum: true,
        delete_before: true,
        forced: false,
        unless_behind: true,
        lax_attributes: false,
        level: 1,
        max_delete: Some(300),
        path: RelPath::parse(b"d").unwrap(),
        patterns: vec![1, 0, 1, b'x'],
    }
    .emit()
}

/// For each of [`decoders::ALL`], bytes that it takes.
fn taken() -> Vec<Vec<u8>> {
    let head = Header::new(PacketKind::Data, NodeId(7), Role::Sender).emit();
    let name = HostName::parse(b"web-1").unwrap();
    let hello = Hello {
        new: true,
        receives: true,
        asks: true,
        mtu: 1_500,
        rcvbuf: 1 << 20,
        oldest_open: TransferNo::new(3),
        challenge: Some([1; 16]),
        echo: Some([2; 16]),
        name: name.clone(),
        version: "2.0.0".to_owned(),
        height: Stamp::ZERO,
        wall: 0,
        records: Some(Said {
            summary: Summary { horizon: Stamp::at(5), checksum: 6 },
            behind: Behind { count: 7, why: Why::Failed(Reason::Os(28)), ..Behind::default() },
        }),
        mirrors: vec![standing()],
    };
    let begin = Begin {
        mode: Mode::Send { delete: true, ignore_times: false, dry_run: false },
        block: 1_424,
        oldest: TransferNo::new(1),
        timeout: 10,
        stamp: Stamp::at(7),
        total: 2,
        first: TargetNo::ZERO,
        targets: vec![NodeId(1), NodeId(2)],
    };
    let mark = Mark { batch: BatchNo::FIRST, block: BlockNo::new(2) };
    let poll = Poll {
        offers: mark,
        data: mark,
        spread: 0,
        want_first: BatchNo::FIRST,
        want_need: 1,
        want_done: 1,
        asked: Asked::These(Bits::of([0, 5].map(TargetNo::new))),
    };
    let data = Some(vec![Extent { start: 0, end: 9 }, Extent { start: 100, end: 140 }]);
    let manifest = Manifest {
        setup: Some(Setup {
            ticket: Some(Ticket::new(9)),
            path: RelPath::parse(b"d").unwrap(),
            more: true,
            recursive: true,
            listed: true,
            watch: makuosan::wire::setup::Watch::Begins,
            mirror: None,
            atomic: Some(AtomicSetup { targets: Audience::named(vec![name.clone()]), quorum: 1 }),
            forced: true,
            audience: Audience::named(vec![name.clone()]),
            origin: Some(name.clone()),
            patterns: vec![0],
        }),
        entries: vec![
            manifests::entry("d", Kind::Open),
            manifests::entry("d/f", Kind::File { size: 140, data }),
            manifests::entry("d/g", Kind::File { size: 7, data: None }),
            manifests::entry("d/l", Kind::Symlink(b"../x".to_vec())),
            manifests::entry("d/p", Kind::Fifo),
            manifests::entry("d/q", Kind::Char(1, 3)),
            manifests::entry("d", Kind::Close { listed: true }),
            manifests::entry("e", Kind::Gone),
            manifests::entry("f", set()),
            manifests::entry("f", Kind::Fifo),
        ],
        digests: vec![(EntryNo::new(2), [9; 16])],
        ages: vec![(EntryNo::new(1), 70)],
        origins: vec![(EntryNo::new(2), RelPath::parse(b"old").unwrap())],
        dots: vec![(EntryNo::new(9), DOT)],
    };
    let blocks = |start, end| BlockRange::new(BlockNo::new(start), BlockNo::new(end));
    let missing = vec![blocks(0, 3), blocks(5, 9)];
    let status = Status {
        poll: PollNo::new(1),
        asked: true,
        held: 1,
        grant: 1 << 18,
        received: 9,
        digested: 70_000,
        first: BatchNo::FIRST,
        batches: vec![BatchStatus { state: State::Body, missing }],
    };
    let verdict = Verdict::Refused { reason: Reason::Held, path: b"d".to_vec() };
    let names = vec![(SpoolCode::Spooled, RelPath::parse(b"d/x").unwrap())];
    let answer = |feedback: Feedback| feedback.emit(NodeId(9), 1_424);
    let rules = [Rule::exclude(b"*.[co]"), Rule::include(b"/keep/")];
    let patterns = Patterns::new(&rules).unwrap().emit(1_000).concat();
    let recorded = Some(Recorded { names: Names { count: 3, sum: 7 }, deletes: true, folds: None });
    let key = Key { stamp: Stamp::at(7), hash: 8 };
    let record = Record {
        id: RecordId { stamp: Stamp::at(7), host: Arc::new(hello.name.clone()) },
        path: RelPath::parse(b"d").unwrap(),
        deed: Deed {
            recursive: true,
            listed: true,
            deletes: true,
            gone: false,
            forced: true,
            since: None,
        },
        audience: Audience::named(vec![hello.name.clone()]),
        patterns: Some(Hash(9)),
        names: Names { count: 3, sum: 7 },
    };
    let mut report = HostReport::new(name, Ipv4Addr::LOCALHOST);
    report.error(ErrorReport::new(Code::Other, "b").of_path("a"));
    vec![
        [&head[..], b"data", &checksum(&head, b"data")].concat(),
        hello.emit(),
        Vec::new(),
        begin.emit(),
        Offer { manifest_len: 9, slice: b"123456789" }.emit(),
        Commit { targets: Bits::of([TargetNo::ZERO]), strikes: Bits::of([EntryNo::new(3)]) }.emit(),
        Delete::Page(3).emit(),
        poll.emit(),
        manifest.emit(),
        answer(Feedback::Accept { verdict, grant: 1 }),
        answer(Feedback::Need(Runs {
            first: EntryNo::ZERO,
            runs: vec![(Need::All, 3), (Need::Skip, 1)],
        })),
        answer(Feedback::Status(status)),
        answer(Feedback::Done(Runs {
            first: EntryNo::new(2),
            runs: vec![(Outcome::Failed(Reason::Held), 2)],
        })),
        answer(Feedback::Deleted(Deleted::Page { skip: 0, names })),
        answer(Feedback::Ended),
        answer(Feedback::Busy),
        patterns,
        b"a/b".to_vec(),
        b"web-1".to_vec(),
        br#"send -r "a \"b\012" c\ d"#.to_vec(),
        br#"{"a":[1,true,null,"\u0041\n"]}"#.to_vec(),
        report.emit().into_bytes(),
        Progress { bytes_total: Some(9), ..Progress::default() }.emit().into_bytes(),
        Total { hosts: 1, ..Total::default() }.emit().into_bytes(),
        End { files: 9, recorded }.emit(),
        Records::Part { key, len: 9, offset: 2, bytes: vec![1, 2] }.emit(),
        record.emit(),
        fetched(),
        request(),
        Mirror::Ask { tree: Hash(1), number: 2, len: 9, offset: 2, bytes: vec![1, 2] }.emit(),
        Question { knowledge: knowledge(), needed: vec![DOT] }.emit(),
        Probe::Report(Ticket::new(9), Report::default()).emit(),
    ]
}

fn more() -> Vec<(usize, Vec<u8>)> {
    let spool = |spool| Feedback::Deleted(spool).emit(NodeId(9), 1_424);
    vec![
        (6, Delete::Tally.emit()),
        (6, Delete::Run(Bits::of([TargetNo::ZERO])).emit()),
        (13, spool(Deleted::Tally(DeletionTally { spooled: 1, failed: 1, entries: 2 }))),
        (31, Probe::Ask(Ticket::new(9)).emit()),
        (13, spool(Deleted::Ran { deleted: 1, failed: 2 })),
        (8, mirrored().emit()),
        (29, Mirror::Asking { tree: Hash(1), of: NodeId(2), hash: 3 }.emit()),
        (29, reach().emit()),
        (29, reached().emit()),
        (29, Mirror::Answer { tree: Hash(1), number: 2, answer: Answer::Part(3) }.emit()),
    ]
}

#[test]
fn each_decoder_takes_what_it_should() {
    let taken = taken();
    assert_eq!(taken.len(), decoders::ALL.len());
    for (at, bytes) in taken.into_iter().enumerate().chain(more()) {
        assert!(decoders::ALL[at](&bytes), "decoder {at}");
        // No part of it does harm.
        for len in 0..bytes.len() {
            let _ = decoders::ALL[at](&bytes[..len]);
        }
    }
}

/// Writes what fuzzing begins with below a folder: `SEEDS=folder cargo test --test corpus -- --ignored`.
#[test]
#[ignore = "writes files"]
fn write() {
    let folder = std::path::PathBuf::from(std::env::var_os("SEEDS").expect("SEEDS=folder"));
    let put = |target: &str, at: usize, bytes: &[u8]| {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("seed-{at}")), bytes).unwrap();
    };
    for (at, (which, bytes)) in taken().into_iter().enumerate().chain(more()).enumerate() {
        put("decoders", at, &[&[which as u8], &bytes[..]].concat());
    }
    let lines = [
        "send -r\n",
        "send -n -t a -t b -g staff \"d \\101\"\n",
        "sync --delete x\nquit\n",
        "dsync -r --max-delete 3 d\nmembers json\nstatus\n",
        "exclude add *.[co]\nexclude add /a/\nexclude list\ninclude add x\nexclude clear\n",
        "alive on\nprogress on\nreport on\nloglevel 9\nhelp send\nhelp\necho a b\n",
        "GET / HTTP/1.1\n",
        "secret\nsend\n",
    ];
    for (at, line) in lines.iter().enumerate() {
        for flags in [0, 2] {
            let one = [&[flags, 32, line.len() as u8], line.as_bytes()].concat();
            put("console", 2 * at + usize::from(flags) / 2, &one);
        }
    }
    for pair in 0..36u8 {
        put("sealed", pair.into(), &sealed(pair / 6, pair % 6));
    }
}

/// What `sealed` begins with: a daemon with some keys, and two packets of one with the same or others.
fn sealed(opening: u8, sealing: u8) -> Vec<u8> {
    let one = |kind: u8| [&[0, kind, 2, 1, 0, 3, 4, 5, sealing, 2, 4], &b"text"[..]].concat();
    // As they are, one of them twice; with a bit changed; with each other's payload.
    let opened = [5, 0, 5, 1, 5, 1, 8, 1, 0, 1, 44, 10, 0, 1, 2];
    [&[opening], &one(0)[..], &one(6), &opened].concat()
}
