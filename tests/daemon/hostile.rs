//! Members that mean no good: whatever they send, daemons keep within bounds, nothing outside the base
//! directories is touched, and the others' transfers complete.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use makuosan::ids::{BatchNo, BlockNo, BlockRange, EntryNo, PollNo, TransferNo};
use makuosan::name::{NodeId, RelPath};

use makuosan::wire::feedback::{BatchStatus, Feedback, State, Status, Verdict};
use makuosan::wire::header::{Header, PacketKind, Role};
use makuosan::wire::hello::Hello;
use makuosan::wire::manifest::{Entry, FileTime, Kind, Manifest};
use makuosan::wire::outcome::{Need, Outcome, Reason, Runs};

use super::garbage::{self, Random, nodes, resident};
use crate::common::enemy::{BLOCK, Enemy};
use crate::common::{Fleet, eventually, now, tree};

/// How many packets a second the flood has.
const FLOOD: u64 = 50_000;
/// The resident memory that no daemon comes to, in KiB: its budget for transfers that come in with
/// what may go beyond it, and as much as it takes by itself.
const MOST_MEMORY: u64 = (24 + 56 + 64) << 10;
/// The staged files of all transfers that come in, and what a daemon has open by itself.
const MOST_FILES: usize = 128 * 16 + 400;
/// The bytes of log that no flood of a few seconds leads to.
const MOST_LOG: usize = 50_000;

fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn entry(path: &str, kind: Kind) -> Entry {
    let path = RelPath::parse(path.as_bytes()).unwrap();
    Entry { path, kind, mode: 0o755, uid: 0, gid: 0, mtime: FileTime { secs: 5, nanos: 0 } }
}

fn manifest(entries: Vec<Entry>) -> Vec<u8> {
    Manifest { entries, ..Manifest::default() }.emit()
}

/// The highest memory, number of open files and length of log that were seen.
#[derive(Default, Debug)]
struct Peak {
    kib: u64,
    files: usize,
    log: usize,
}

impl Peak {
    fn look(&mut self, fleet: &mut Fleet, at: usize) {
        let pid = fleet.daemon(at).pid();
        self.kib = self.kib.max(resident(pid));
        self.files = self.files.max(open_files(pid));
        self.log = self.log.max(fleet.daemon(at).log().len());
    }

    #[track_caller]
    fn check(&self, what: &str) {
        eprintln!("{what}: {} KiB, {} files, {} bytes of log", self.kib, self.files, self.log);
        assert!(self.kib < MOST_MEMORY && self.files < MOST_FILES && self.log < MOST_LOG);
    }
}

/// One packet of a flood of everything.
fn flood_packet(enemy: &mut Enemy, random: &mut Random, known: &[NodeId]) -> Vec<u8> {
    use PacketKind::{Abort, Begin, Bye, Commit, Data, Hello, Offer, Poll};
    if random.below(20) == 0 {
        return garbage::packet(random, known);
    }
    let kind = [Begin, Begin, Offer, Offer, Poll, Commit, Data, Data, Abort, Hello, Bye];
    let kind = kind[random.below(11) as usize];
    let (node, role) = match kind {
        // Forged members, and storms of HELLOs.
        Hello | Bye => (NodeId(random.next()), Role::Control),
        _ => (enemy.node, Role::Sender),
    };
    let mut header = Header::new(kind, node, role);
    // Old and new transfers, and numbers that jump.
    header.transfer = TransferNo::new(match random.below(4) {
        0 => random.next() as u32,
        _ => random.below(300) as u32,
    });
    header.batch = BatchNo::new(random.below(20) as u32);
    header.block = BlockNo::new(random.below(1_000) as u32 * random.below(2) as u32);
    let payload = match kind {
        Begin => {
            let mut begin =
                vec![0, (BLOCK >> 8) as u8, BLOCK as u8, 0, 0, 0, 0, 0, 10, 0, 1, 0, 0, 0, 1];
            begin.extend(known[random.below(known.len() as u64) as usize].0.to_be_bytes());
            begin
        }
        Offer => {
            let size = [1 << 40, 3 << 20, 100, i64::MAX as u64][random.below(4) as usize];
            let file = entry("promised", Kind::File { size, data: None });
            let manifest = manifest(vec![file]);
            // Whole, or the beginning of something large that never comes.
            let len = [manifest.len() as u32, 1 << 20][random.below(2) as usize];
            [&len.to_be_bytes()[..], &manifest].concat()
        }
        Data => vec![7; BLOCK.into()],
        Hello => {
            let mut hello = makuosan::wire::hello::Hello {
                new: true,
                receives: true,
                asks: true,
                mtu: 1_500,
                rcvbuf: 0,
                oldest_open: TransferNo::ZERO,
                challenge: Some([1; 16]),
                echo: None,
                name: makuosan::name::HostName::parse(b"forged").unwrap(),
                version: "2".to_owned(),
                height: makuosan::stamp::Stamp::ZERO,
                wall: 0,
                records: None,
                mirrors: Vec::new(),
            };
            if random.below(2) == 0 {
                hello.echo = Some([random.next() as u8; 16]);
            }
            hello.emit()
        }
        _ => tree::bytes(random.below(60) as usize, random.next()),
    };
    enemy.seal(header, &payload)
}

#[test]
fn an_honest_transfer_beside_a_flood_completes() {
    // With the buffer that most systems give to those who are not root.
    let mut fleet = Fleet::with("flood", &[&[], &["-R", "212992"]]);
    let known = nodes(&fleet);
    for at in 0..50 {
        tree::write(fleet.path(0, format!("small/{at}")), tree::bytes(3_000, at));
    }
    let mut enemy = Enemy::new(&fleet, 7, 1, NodeId(3));
    enemy.join(&fleet, 1, false);
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut peak = Peak::default();
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut random = Random(0x1357_9bdf_0246_8ace);
            let begun = now();
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let due = begun.elapsed().as_micros() as u64 * FLOOD / 1_000_000;
                // What a machine that stood still has missed is not made up for.
                count = count.max(due.saturating_sub(500));
                while count < due {
                    let packet = flood_packet(&mut enemy, &mut random, &known);
                    let to = enemy.victim;
                    count += 1;
                    sent.fetch_add(
                        enemy.socket.send_to(&packet, to).is_ok().into(),
                        Ordering::Relaxed,
                    );
                }
                thread::sleep(Duration::from_micros(300));
            }
        });
        // It is well under way.
        eventually("a flood", || sent.load(Ordering::Relaxed) > 20_000 || flood.is_finished());
        let (begun, before) = (now(), sent.load(Ordering::Relaxed));
        let mut slowest = Duration::ZERO;
        let mut sends = 0;
        while begun.elapsed() < Duration::from_secs(3) {
            tree::write(fleet.path(0, format!("big{}", sends % 5)), tree::bytes(3 << 20, sends));
            let since = now();
            let ran = fleet.msync(0, &["send", "-r"]);
            slowest = slowest.max(since.elapsed());
            sends += 1;
            peak.look(&mut fleet, 1);
            if ran.code != Some(0) {
                stop.store(true, Ordering::Relaxed);
                panic!("{ran:?}");
            }
        }
        let rate = (sent.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        eprintln!("{sends} sends beside {rate:.0} packets a second, {slowest:?} at the most");
        assert!(rate > 1_000.0, "no flood");
    });
    peak.check("a flood");
    assert!(!fleet.path(1, "promised").exists());
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    // Nobody was taken in, and nobody was driven out.
    let mut members = fleet.members(1);
    members.retain(|name| name != "evil");
    assert_eq!(members, ["h0"]);
    assert_eq!(fleet.members(0), ["h1"]);
}

#[test]
fn what_is_never_finished_holds_little_and_goes_with_its_sender() {
    let mut fleet = Fleet::new("unfinished", 2);
    let mut enemy = Enemy::new(&fleet, 7, 1, NodeId(3));
    enemy.join(&fleet, 1, false);
    let before = open_files(fleet.daemon(1).pid());
    let mut peak = Peak::default();
    // Each batch is a file of a gigabyte, of which some blocks come; each transfer is left open.
    let file = |at: u32| entry(&format!("f{at}"), Kind::File { size: 1 << 30, data: None });
    for number in (1..=100).rev() {
        enemy.begin(number);
        for batch in 1..=20 {
            enemy.offer(number, batch, &manifest(vec![file(batch)]));
            enemy.send(PacketKind::Data, number, batch, 1 << 18, &[7; BLOCK as usize]);
        }
        if number % 10 == 0 {
            peak.look(&mut fleet, 1);
            thread::sleep(Duration::from_millis(10));
        }
    }
    // And manifests of which all but the end comes.
    for number in 1..=64 {
        let most = vec![3; 1_000];
        for block in 0..700 {
            let offer = makuosan::wire::begin::Offer { manifest_len: 1 << 20, slice: &most };
            enemy.send(PacketKind::Offer, number, 1, block, &offer.emit());
        }
    }
    eventually("files in staging", || fleet.staged(1).len() > 50);
    peak.look(&mut fleet, 1);
    let status = fleet.console(1).ask("status");
    let line = status.lines().find(|line| line.contains("recv op")).unwrap();
    let open: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((10..=64).contains(&open), "{line}");
    // Their size is a promise: no room was taken.
    for name in fleet.staged(1) {
        if let Ok(meta) = fs::metadata(fleet.path(1, ".makuosan/stage").join(name)) {
            assert!(meta.blocks() < 1_000, "{} blocks", meta.blocks());
        }
    }
    tree::write(fleet.path(0, "honest"), tree::bytes(5 << 20, 1));
    fleet.msync(0, &["send", "honest"]).well();
    peak.look(&mut fleet, 1);
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    eprintln!("{open} transfers, {} files in staging", fleet.staged(1).len());
    peak.check("unfinished batches");
    enemy.leave();
    eventually("staging is empty", || fleet.staged(1).is_empty());
    eventually("no file is left open", || open_files(fleet.daemon(1).pid()) <= before + 20);
}

#[test]
fn a_storm_of_transfers_does_not_fill_the_log() {
    let mut fleet = Fleet::new("storm", 2);
    let mut enemy = Enemy::new(&fleet, 7, 1, NodeId(3));
    enemy.join(&fleet, 1, false);
    let mut peak = Peak::default();
    for number in 1..=6_000 {
        enemy.begin(number);
        enemy.send(PacketKind::Abort, number, 0, 0, &[]);
        if number % 50 == 0 {
            thread::sleep(Duration::from_millis(2));
            peak.look(&mut fleet, 1);
        }
    }
    // Behind all that; what the storm has left no room for is said again.
    eventually("the last of them", || {
        enemy.begin(10_000);
        let answers = std::iter::from_fn(|| enemy.receive());
        let mut last = answers.filter(|(header, _)| header.transfer == TransferNo::new(10_000));
        last.any(|(header, _)| header.kind == PacketKind::Accept)
    });
    let begun = fleet.daemon(1).log().matches(" started\n").count();
    assert!((50..=2_000).contains(&begun), "{begun} lines");
    eprintln!("{begun} transfers in the log");
    assert!(peak.kib < MOST_MEMORY && peak.files < 100, "{peak:?}");
    tree::write(fleet.path(0, "file"), "x");
    fleet.msync(0, &["send", "-r"]).ok();
}

#[test]
fn a_target_that_answers_nonsense_holds_nothing_up_for_long() {
    let mut fleet = Fleet::new("nonsense", 2);
    tree::write(fleet.path(0, "file"), tree::bytes(5 << 20, 1));
    let mut enemy = Enemy::new(&fleet, 7, 0, NodeId(3));
    enemy.join(&fleet, 0, true);
    let mut msync = fleet.msync_start(0, &["send", "-r"]);
    let mut random = Random(77);
    let mut peak = Peak::default();
    let (deadline, mut count) = (now() + Duration::from_secs(3), 0);
    while now() < deadline && msync.is_running() {
        let Some((header, _)) = enemy.receive() else { continue };
        let Header { transfer, .. } = header;
        for _ in 0..20 {
            let mut number = || match random.below(3) {
                0 => u32::MAX - random.below(3) as u32,
                1 => random.below(4) as u32,
                _ => random.next() as u32,
            };
            let blocks = |start, end| BlockRange::new(BlockNo::new(start), BlockNo::new(end));
            let missing: Vec<_> = (0..100).map(|at| blocks(3 * at, 3 * at + 2)).collect();
            let whole = vec![blocks(0, u32::MAX)];
            let feedback = match number() % 6 {
                0 => Feedback::Accept { verdict: Verdict::Accepted, grant: number() },
                1 => Feedback::Need(Runs { first: EntryNo::ZERO, runs: vec![(Need::All, 1_024)] }),
                2 => Feedback::Done(Runs {
                    first: EntryNo::ZERO,
                    runs: vec![(Outcome::Updated, 1_024)],
                }),
                3 => Feedback::Busy,
                _ => Feedback::Status(Status {
                    poll: PollNo::new(number()),
                    asked: true,
                    held: number(),
                    grant: number(),
                    received: number(),
                    digested: number().into(),
                    first: BatchNo::new(number() % 3),
                    batches: vec![
                        BatchStatus { state: State::Body, missing: whole.clone() },
                        BatchStatus { state: State::Offer, missing },
                        BatchStatus { state: State::Body, missing: whole },
                    ],
                }),
            };
            let payload = feedback.emit(header.node, BLOCK.into());
            let mut answer = Header::new(feedback.kind(), enemy.node, Role::Receiver);
            (answer.transfer, answer.batch) = (transfer, BatchNo::new(number() % 3));
            let packet = enemy.seal(answer, &payload);
            let _ = enemy.socket.send_to(&packet, enemy.victim);
            count += 1;
        }
        peak.look(&mut fleet, 0);
    }
    assert!(count > 20, "{count} answers");
    // It goes on without it; whether it was lost before is its own matter.
    enemy.leave();
    msync.end();
    peak.check(&format!("{count} absurd answers"));
    fleet.msync(0, &["send", "-r"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn forged_members_by_the_thousand_are_none() {
    let mut fleet = Fleet::new("forged", 2);
    let mut peak = Peak::default();
    let mut random = Random(9);
    let mut enemies: Vec<Enemy> =
        (0..20).map(|at| Enemy::new(&fleet, 20 + at, 0, NodeId(0))).collect();
    for enemy in &enemies {
        enemy.socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    }
    let begun = now();
    let mut answers = 0;
    for round in 0..500 {
        for enemy in &mut enemies {
            enemy.node = NodeId(random.next());
            let echo = (round % 2 == 0).then(|| [random.next() as u8; 16]);
            enemy.hello(true, echo);
        }
        if round % 50 == 0 {
            peak.look(&mut fleet, 0);
        }
    }
    for enemy in &enemies {
        while let Some((header, payload)) = enemy.receive() {
            answers +=
                u64::from(header.kind == PacketKind::Hello && Hello::parse(&payload).is_ok());
        }
    }
    let seconds = begun.elapsed().as_secs() + 1;
    eprintln!("10000 forged members, {answers} answers");
    assert!(answers <= 100 + 100 * seconds, "{answers} answers in {seconds} s");
    peak.check("forged members");
    assert_eq!(fleet.members(0), ["h1"]);
    tree::write(fleet.path(0, "file"), "x");
    fleet.msync(0, &["send", "-r"]).ok();
}

/// Everything around the base directories, and in them.
fn world(fleet: &Fleet) -> tree::Tree {
    let mut all = tree::snapshot(fleet.dir());
    // What staging holds is its daemon's own.
    all.retain(|path, _| !path.windows(9).any(|part| part == b".makuosan"));
    all
}

fn write_outside(fleet: &Fleet) {
    tree::write(fleet.dir().join("outside/d/f"), "stays");
    tree::write(fleet.dir().join("outside/f"), "stays");
    tree::set_mtime(&fleet.dir().join("outside"), 77, 0);
}

#[test]
fn paths_that_lead_outside_are_not_gone() {
    let fleet = Fleet::new("paths", 2);
    write_outside(&fleet);
    let mut enemy = Enemy::new(&fleet, 7, 1, NodeId(3));
    enemy.join(&fleet, 1, false);
    let before = world(&fleet);
    let absolute = format!("{}/outside/f", fleet.dir().display());
    let bad: [&[u8]; 9] = [
        b"../outside/f",
        b"..",
        absolute.as_bytes(),
        b"a//f",
        b"a/",
        b"a/./f",
        b"a\0f",
        b".makuosan/f",
        b"a/.makuosan/f",
    ];
    for (number, path) in (1..).zip(bad) {
        // No such path can be made here: one as long as it is written, and then replaced.
        let plain = "p".repeat(path.len());
        let file = entry(&plain, Kind::File { size: 4, data: None });
        let mut bytes = manifest(vec![file]);
        let at = bytes.windows(path.len()).position(|some| some == plain.as_bytes()).unwrap();
        bytes[at..at + path.len()].copy_from_slice(path);
        enemy.begin(number);
        enemy.offer(number, 1, &bytes);
        enemy.data(number, 1, b"evil");
        enemy.commit(number, 1);
        enemy.until(number, |feedback| {
            const BAD_MANIFEST: Reason = Reason::Os(74);
            matches!(
                feedback,
                Feedback::Accept { verdict: Verdict::Refused { reason: BAD_MANIFEST, .. }, .. }
            )
        });
        tree::assert_same(&before, &world(&fleet));
    }
    // The same packets with a path that is as it should be.
    enemy.begin(50);
    enemy.offer(50, 1, &manifest(vec![entry("good", Kind::File { size: 4, data: None })]));
    enemy.until_state(50, State::Body);
    enemy.data(50, 1, b"fine");
    enemy.until_state(50, State::Staged);
    enemy.commit(50, 1);
    enemy.until_state(50, State::Done);
    assert_eq!(fs::read(fleet.path(1, "good")).unwrap(), b"fine");
}

fn swap_for_link(at: &Path, to: &Path) {
    let _ = fs::remove_dir_all(at);
    symlink(to, at).unwrap();
}

#[test]
fn links_that_take_a_directorys_place_in_mid_transfer_lead_nowhere() {
    let fleet = Fleet::new("links", 2);
    write_outside(&fleet);
    let outside = fleet.dir().join("outside");
    let mut enemy = Enemy::new(&fleet, 7, 1, NodeId(3));
    enemy.join(&fleet, 1, false);
    let kept = tree::snapshot(&outside);
    for (number, when) in (1..).zip([State::Offer, State::Body, State::Staged]) {
        let dir = fleet.path(1, "d");
        let _ = fs::remove_file(&dir);
        fs::create_dir_all(dir.join("d")).unwrap();
        let entries = vec![
            entry("d", Kind::Open),
            entry("d/d", Kind::Open),
            entry("d/d/f", Kind::File { size: 4, data: None }),
            entry("d/d", Kind::Close { listed: true }),
            entry("d/f", Kind::File { size: 4, data: None }),
            entry("d", Kind::Close { listed: true }),
        ];
        enemy.begin(number);
        if when == State::Offer {
            swap_for_link(&dir, &outside);
        }
        enemy.offer(number, 1, &manifest(entries));
        enemy.until_state(number, State::Body);
        if when == State::Body {
            swap_for_link(&dir, &outside);
        }
        enemy.data(number, 1, b"evilevil");
        enemy.until_state(number, State::Staged);
        if when == State::Staged {
            swap_for_link(&dir, &outside);
        }
        enemy.commit(number, 1);
        let mut failed = 0;
        enemy.until(number, |feedback| {
            let Feedback::Done(runs) = feedback else { return false };
            let link = Outcome::Failed(Reason::LinkInPath);
            failed = runs.iter().filter(|(_, outcome)| *outcome == link).count();
            true
        });
        assert!(failed > 0, "{when:?}");
        assert!(dir.is_symlink(), "{when:?}");
        tree::assert_same(&kept, &tree::snapshot(&outside));
        enemy.send(PacketKind::End, number, 0, 0, &[0, 0]);
    }
}
