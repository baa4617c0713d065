//! Trees at the edges of the bounds, packets of one kind that are lost, several transfers at once.

use std::collections::HashMap;
use std::rc::Rc;

use super::scenarios::{assert_all_equal, assert_equal, fleet, seeds, small_tree, tree};
use super::sender::{Sender, When};
use super::{Action, Packet, Sim};
use crate::engine::rng::Rng;
use crate::ids::{BatchNo, BlockNo, EntryNo, TargetNo, TransferNo};
use crate::stamp::Stamp;
use crate::time::Span;
use crate::wire::begin::Begin;
use crate::wire::header::{Header, PacketKind, Role};
use crate::wire::layout::STREAM_OVER;
use crate::wire::manifest::tests::entry;
use crate::wire::manifest::{Entry, Extent, Kind, MAX_ENTRIES, MAX_MANIFEST, Manifest};
use crate::wire::mode::Mode;
use crate::wire::versions::tests::{knowledge, members};

fn completes(name: &str, input: Vec<Manifest>) {
    for (seed, block) in [(1, 480), (2, 1_424), (3, 8_192)] {
        for targets in [1, 3] {
            let mut sim = Sim::new(seed, targets, input.clone());
            sim.senders[0].block = block;
            sim.net.member_loss = 30;
            sim.start();
            assert!(sim.run(Span::from_secs(60)), "{name}: block {block}, {targets} targets");
            assert_all_equal(&sim);
            let entries: usize = input.iter().map(|manifest| manifest.entries.len()).sum();
            assert_eq!(sim.senders[0].outcomes, vec![entries as u64; targets], "{name}");
        }
    }
}

fn file(name: &str, size: u64, data: Option<Vec<Extent>>) -> Entry {
    entry(name, Kind::File { size, data })
}

fn of(entries: Vec<Entry>) -> Manifest {
    Manifest { entries, ..Manifest::default() }
}

#[test]
fn trees_at_the_edges_of_the_bounds_complete() {
    completes("nothing", Vec::new());
    completes("directories", tree(1, &[&[], &[], &[]]));
    completes("empty files", tree(1, &[&[0; 100], &[0]]));
    completes("one byte", tree(1, &[&[1]]));
    for over in [STREAM_OVER - 1, STREAM_OVER, STREAM_OVER + 1, STREAM_OVER + 8_192] {
        completes("a long file", tree(1, &[&[0, over, 0]]));
    }
    for size in [479, 480, 481, 1_423, 1_424, 1_425, 8_192, 2 * 8_192, 2 * 8_192 + 1] {
        completes("whole blocks", tree(1, &[&[size, size, size], &[size]]));
    }
    let many: Vec<Entry> = (0..MAX_ENTRIES).map(|n| file(&format!("f{n}"), 3, None)).collect();
    completes("as many entries as there may be", vec![of(many)]);
    let link = |n: usize| entry(&format!("l{n}"), Kind::Symlink(vec![b'x'; 4_000]));
    let links: Vec<Entry> = (0..260).map(link).collect();
    let long = of(links);
    assert!((MAX_MANIFEST - 10_000..=MAX_MANIFEST).contains(&long.emit().len()));
    completes("a manifest as long as it may be", vec![long]);
    let failing = (0..900).map(|n| file(&format!("{n}{}", ["", "forbidden"][n % 2]), 9, None));
    let sim = {
        // NEED and DONE take several packets.
        let mut sim = Sim::new(1, 3, vec![of(failing.collect())]);
        sim.senders[0].block = 480;
        sim.net.member_loss = 200;
        sim.start();
        assert!(sim.run(Span::from_secs(60)));
        sim
    };
    assert_eq!(sim.senders[0].outcomes, [900; 3]);
}

#[test]
fn holes_are_not_sent_and_files_of_holes_complete() {
    let extent = |start, end| Extent { start, end };
    let size = STREAM_OVER + 100_000;
    let input = vec![
        of(vec![file("nothing but a hole", size, Some(Vec::new()))]),
        of(vec![file("a", size, Some(vec![extent(0, 1)]))]),
        of(vec![file("b", size, Some(vec![extent(size - 1, size)]))]),
        of(vec![file("c", size, Some(vec![extent(479, 480), extent(90_000, 110_000)]))]),
        // Only a file that streams has holes: all of this one is sent.
        of(vec![file("d", 50_000, Some(vec![extent(5, 7)]))]),
        of(vec![file("e", 5, Some(Vec::new())), file("f", 9, None)]),
    ];
    completes("holes", input.clone());
    let mut sim = Sim::new(1, 2, input);
    sim.start();
    assert!(sim.run(Span::from_secs(60)));
    assert!(sim.wire_bytes < 120_000, "{}", sim.wire_bytes);
}

#[test]
fn what_a_mirror_says_of_its_paths_arrives_and_so_do_several_objects_of_one() {
    let set = |path, context| entry(path, Kind::Set { members: members(), context });
    let mut input = vec![
        of(vec![
            set("a", None),
            file("a", 70_000, None),
            file("a", 3, None),
            set("deleted", Some(knowledge(200).into())),
            set("long", None),
        ]),
        of(vec![file("long", STREAM_OVER + 5, None)]),
    ];
    input[0].dots = vec![(EntryNo::new(1), members()[0].dot), (EntryNo::new(2), members()[5].dot)];
    input[1].dots = vec![(EntryNo::ZERO, members()[3].dot)];
    completes("a mirror", input.clone());
    seeds(20, |seed| {
        let mut sim = Sim::new(seed, 3, input.clone());
        sim.net.member_loss = 100;
        sim.senders[0].changes.push((BatchNo::FIRST, EntryNo::new(1), When::Verified));
        sim.start();
        assert!(sim.run(Span::from_secs(60)));
        for target in 0..3 {
            let disk = sim.targets[target].disk_mut();
            let sets = [&input[0].entries[0], &input[0].entries[3], &input[0].entries[4]];
            assert!(disk.sets.iter().eq(sets), "a file that has changed strikes no set");
            let dots: Vec<_> =
                disk.dots.iter().map(|(path, dot)| (path.to_string(), *dot)).collect();
            assert!(dots.contains(&("a".into(), members()[5].dot)), "{dots:?}");
            assert!(dots.contains(&("long".into(), members()[3].dot)), "{dots:?}");
        }
    });
}

#[test]
fn any_kind_of_packet_may_be_lost_several_times() {
    for kind in PacketKind::ALL {
        for (targets, times) in [(1, 1), (1, 4), (3, 1), (3, 3), (30, 2)] {
            let mut sim = Sim::new(1, targets, tree(1, &[&[5_000, 7], &[9], &[20_000, 0]]));
            let mut lost: HashMap<(usize, BatchNo, BlockNo), u32> = HashMap::new();
            sim.filter = Some(Box::new(move |target, header: &Header| {
                // Each batch's and block's, as often; polls have numbers of their own.
                let block = if kind == PacketKind::Poll { BlockNo::ZERO } else { header.block };
                let count = lost.entry((target, header.batch, block)).or_insert(0);
                let lose = header.kind == kind && *count < times;
                *count += u32::from(lose);
                lose
            }));
            let began = sim.now;
            sim.start();
            assert!(sim.run(Span::from_secs(60)), "{kind:?} lost {times} times");
            assert_all_equal(&sim);
            let took = sim.senders[0].finished.unwrap().since(began);
            assert!(took < Span::from_secs(4), "{kind:?}, {targets}, {times}: {took}");
        }
    }
}

#[test]
fn a_late_begin_opens_nothing_again() {
    let mut sim = Sim::new(1, 3, tree(1, &[&[5_000]]));
    sim.start();
    assert!(sim.run(Span::from_secs(10)));
    let begin = Begin {
        mode: Mode::SEND,
        block: 1_424,
        oldest: TransferNo::new(1),
        timeout: 10,
        stamp: Stamp::ZERO,
        total: 3,
        first: TargetNo::ZERO,
        targets: sim.targets.iter().map(|target| target.node()).collect(),
    };
    let mut header = Header::new(PacketKind::Begin, sim.senders[0].node(), Role::Sender);
    header.transfer = sim.senders[0].number;
    let from = sim.senders[0].addr();
    let packet = Packet { from, header, payload: Rc::new(begin.emit()), body: None };
    for target in 0..3 {
        sim.hand_to_target(target, &packet);
        assert_eq!(sim.targets[target].open(), []);
    }
}

/// The same tree under another name.
fn below(name: &str, input: Vec<Manifest>) -> Vec<Manifest> {
    let renamed = |entry: &Entry| Entry { path: entry_path(name, entry), ..entry.clone() };
    input.iter().map(|manifest| of(manifest.entries.iter().map(renamed).collect())).collect()
}

fn entry_path(name: &str, entry: &Entry) -> crate::name::RelPath {
    let path = [name.as_bytes(), b"/", entry.path.as_bytes()].concat();
    crate::name::RelPath::parse(&path).unwrap()
}

#[test]
fn several_transfers_of_one_sender_and_of_several_run_side_by_side() {
    seeds(30, |seed| {
        let mut rng = Rng::new(seed ^ 0x2);
        let mut sim = fleet(&mut rng, seed, 3, below("s0", small_tree(1)));
        sim.net.member_loss = rng.below(100);
        for more in 1..=1 + rng.below(4) {
            let host = rng.below(3) as usize;
            let input = below(&format!("s{more}"), small_tree(1));
            let mut sender = Sender::new(host, 200 + more as u32, input, seed + more);
            sender.block = sim.senders[0].block;
            sender.walk_takes = Span::from_micros(rng.below(2_000));
            sim.senders.push(sender);
        }
        for target in 0..3 {
            sim.targets[target].set_budget([1, 8, 32][rng.below(3) as usize] << 20);
        }
        sim.start();
        assert!(sim.run(Span::from_secs(120)), "seed {seed} does not end");
        assert_all_equal(&sim);
        assert!(sim.targets.iter().all(|target| target.peak_memory <= 40 << 20));
    });
}

#[test]
fn a_transfer_that_stands_still_does_not_hold_up_another() {
    for budget in [12 << 20, 24 << 20] {
        let large: &[u64] = &[1 << 20; 4];
        let mut sim = Sim::new(1, 2, below("s0", tree(1, &[large; 16])));
        sim.senders[0].block = 8_192;
        sim.senders[0].parallel = 16;
        let mut other = Sender::new(1, 5, below("s1", tree(1, &[large; 16])), 1);
        other.block = 8_192;
        other.parallel = 16;
        sim.senders.push(other);
        for target in &mut sim.targets {
            target.set_budget(budget);
        }
        // All its bodies have their memory by then, and none has come.
        sim.after(Span::from_millis(2), Action::Pause(0));
        sim.start();
        sim.run(Span::from_secs(100));
        assert!(sim.senders[0].finished.is_none());
        assert!(sim.senders[1].finished.is_some(), "budget {budget}");
        sim.after(Span::ZERO, Action::Resume(0));
        assert!(sim.run(Span::from_secs(100)));
        assert_all_equal(&sim);
    }
}

#[test]
fn a_target_that_has_hardly_any_buffer_is_served() {
    let mut sim = Sim::new(1, 3, small_tree(1));
    sim.targets[1].set_receive_buffer(0);
    sim.start();
    assert!(sim.run(Span::from_secs(60)));
    assert_equal(&sim, 1);
    assert_all_equal(&sim);
}
