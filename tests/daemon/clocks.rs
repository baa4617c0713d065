//! What daemons say of their clocks, and in which order they put what they send.

use makuosan::name::NodeId;
use makuosan::stamp::{LIMIT, Stamp};
use makuosan::wire::begin::Begin;
use makuosan::wire::header::PacketKind;
use makuosan::wire::hello::Hello;

use crate::common::enemy::Enemy;
use crate::common::{Fleet, LONG, eventually, tree, wall_millis, within};

const HOUR: u64 = LIMIT;

/// What the victim says in its next HELLO of its clock: height and wall clock.
#[track_caller]
fn clock_of_victim(member: &mut Enemy) -> (Stamp, u64) {
    let asked = wall_millis();
    within(LONG, "a HELLO of the victim", || {
        member.hello(true, None);
        let packets = std::iter::from_fn(|| member.receive());
        let mut hellos = packets.filter(|(header, _)| header.kind == PacketKind::Hello);
        let new = |payload: Vec<u8>| Hello::parse(&payload).ok().filter(|h| h.wall >= asked);
        hellos.find_map(|(_, payload)| new(payload)).map(|hello| (hello.height, hello.wall))
    })
}

/// The stamp of the transfer that a command begins; it is given up then. `last` is its number.
#[track_caller]
fn stamp_of(fleet: &Fleet, member: &mut Enemy, last: &mut u32, command: &[&str]) -> Stamp {
    let mut msync = fleet.msync_start(0, command);
    let stamp = within(LONG, "BEGIN", || {
        let (header, payload) = member.receive()?;
        // What was given up before is still spoken of for a while.
        let is_new = header.kind == PacketKind::Begin && header.transfer.get() > *last;
        is_new.then(|| {
            *last = header.transfer.get();
            Begin::parse(&payload).unwrap().stamp
        })
    });
    msync.kill();
    stamp
}

#[test]
fn each_transfer_that_changes_something_has_a_higher_stamp_and_the_others_have_none() {
    let mut fleet = Fleet::new("stamps", 1);
    let host = fleet.idle_host();
    tree::write(fleet.path(0, "file"), "x");
    let mut member = Enemy::new(&fleet, host, 0, NodeId(77));
    member.join(&fleet, 0, true);
    let mut number = 0;
    assert_eq!(clock_of_victim(&mut member).0, Stamp::ZERO, "nothing was sent yet");
    for nothing in [&["send", "-n", "file"][..], &["check", "file"], &["dsync", "-n", "file"]] {
        assert_eq!(stamp_of(&fleet, &mut member, &mut number, nothing), Stamp::ZERO, "{nothing:?}");
    }
    let mut last = Stamp::at(wall_millis() - 1_000);
    for command in [&["send", "file"][..], &["sync", "-r"], &["dsync", "file"]] {
        let stamp = stamp_of(&fleet, &mut member, &mut number, command);
        assert!(stamp > last && stamp < Stamp::at(wall_millis() + 1_000), "{stamp} after {last}");
        last = stamp;
    }
    let (height, wall) = clock_of_victim(&mut member);
    assert_eq!(height, last);
    assert!(wall.abs_diff(wall_millis()) < 60_000);
}

#[test]
fn what_is_sent_after_a_stamp_was_heard_has_a_higher_one() {
    for key in [None, Some("a secret of thirty-two characters")] {
        let mut fleet = Fleet::idle("adopted", 2);
        tree::write(fleet.path(0, "file"), "x");
        let options: Vec<String> = key.map_or(Vec::new(), |secret| {
            let path = fleet.dir().join("key");
            tree::write(&path, format!("{secret}\n"));
            tree::set_mode(&path, 0o600);
            vec!["-k".to_owned(), path.to_str().unwrap().to_owned()]
        });
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        fleet.start(0, &options);
        let node = NodeId(77);
        let mut member = match key {
            Some(secret) => Enemy::keyed(&fleet, 1, 0, node, secret),
            None => Enemy::new(&fleet, 1, 0, node),
        };
        // In a first HELLO, in a later one, and in BEGIN.
        let ahead = |minutes: u64| Stamp::at(wall_millis() + minutes * 60_000);
        member.height = ahead(10);
        member.join(&fleet, 0, true);
        let (mut heard, mut number) = (member.height, 0);
        for how in 0..3 {
            eventually("the stamp is adopted", || clock_of_victim(&mut member).0 == heard);
            let stamp = stamp_of(&fleet, &mut member, &mut number, &["send", "file"]);
            assert_eq!(stamp.bits(), heard.bits() + 1);
            // Too far ahead is not adopted.
            member.height = Stamp::at(wall_millis() + HOUR + 60_000);
            assert_eq!(clock_of_victim(&mut member).0, stamp);
            member.begin_at(how + 1, member.height);
            assert_eq!(clock_of_victim(&mut member).0, stamp);
            member.height = Stamp::ZERO;
            heard = ahead(20 + u64::from(how) * 10);
            match how {
                0 => member.height = heard,
                _ => member.begin_at(how + 10, heard),
            }
        }
    }
}
