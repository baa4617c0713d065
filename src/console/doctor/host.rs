//! What is judged of the host that was asked.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use super::mirrors;
use super::{Finding, bytes};
use crate::console::mirror_row::MirrorRow;
use crate::console::moment::lasting;
use crate::console::watch_row::WatchRow;
use crate::count::counted;
use crate::time::Span;

/// With fewer open files than this, transfers of several hosts may lack some.
const FEW_FILES: u64 = 1_024;
/// Of a large file system, less than a share of it may be much.
const MUCH: u64 = 10 << 30;
/// With less than this, nothing but small files can be written.
const LITTLE: u64 = 1 << 20;
/// One packet in so many may be dropped: kernels count what they have no use for.
const FEW_DROPS: u64 = 1_000;
/// A speed that servers have not had for long, in Mbit/s.
const SLOW: u32 = 100;

/// What is known of the host; None: that could not be found out.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HostFacts {
    /// Its name.
    pub name: String,
    /// The daemon's version and process.
    pub version: String,
    /// See [`version`](HostFacts::version).
    pub pid: u32,
    /// When it was started, in words.
    pub started: String,
    /// The base directory.
    pub base: String,
    /// Why transfers are refused for its sake, if they are.
    pub refused: Option<String>,
    /// Whether it is written to at all.
    pub writes: bool,
    /// Why it cannot be written to.
    pub unwritable: Option<String>,
    /// Bytes, free bytes, objects, free objects of its file system; a total of 0: there is no limit to tell.
    pub room: Option<[u64; 4]>,
    /// Whether a time service keeps the clock.
    pub clock_kept: Option<bool>,
    /// How many files may be open.
    pub open_files: Option<u64>,
    /// The receive buffer that there is, and the one that was asked for, as the kernel counts.
    pub buffer: (u64, u64),
    /// What is watched.
    pub watches: Vec<WatchRow>,
    /// What is mirrored.
    pub mirrors: Vec<MirrorRow>,
    /// How many directories may be watched.
    pub most_watches: Option<u64>,
    /// How the interface was given, in words.
    pub interface: String,
    /// It may be any interface, as the routes say.
    pub any: bool,
    /// The address that it has.
    pub address: Option<Ipv4Addr>,
    /// The interface that carries the group.
    pub link: Option<LinkFacts>,
    /// The group.
    pub group: String,
    /// Why it is not joined.
    pub unjoined: Option<String>,
    /// What was counted in a while.
    pub counted: Option<Counted>,
    /// `rp_filter`, and an address of the own network to which packets leave by another interface.
    pub path_filter: Option<i32>,
    /// See [`path_filter`](HostFacts::path_filter).
    pub astray: Option<Ipv4Addr>,
}

/// What is known of an interface.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LinkFacts {
    /// Its name.
    pub name: String,
    /// It is switched on.
    pub up: bool,
    /// It has a carrier.
    pub running: bool,
    /// It is the loopback interface.
    pub loopback: bool,
    /// Its MTU, in bytes.
    pub mtu: u16,
    /// Its speed in Mbit/s.
    pub mbits: Option<u32>,
    /// Whether it sends and receives at the same time.
    pub full_duplex: Option<bool>,
}

/// What the interface and UDP have counted in a while.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counted {
    /// How long that was.
    pub over: Span,
    /// Packets that came in.
    pub received: u64,
    /// Packets that were damaged.
    pub errors: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Packets that met another.
    pub collisions: u64,
    /// Packets for which a receive buffer had no room (`RcvbufErrors`); None if the kernel does not tell.
    pub udp_full: Option<u64>,
}

/// What is to be said of the host.
pub fn of_host(facts: &HostFacts) -> Vec<Finding> {
    let HostFacts { name, version, pid, started, .. } = facts;
    let said = format!("makuosan {version}, process {pid}, started {started}");
    let mut found = vec![Finding::ok("daemon", name, said)];
    found.extend([base(facts), space(facts), inodes(facts), clock(facts), files(facts)]);
    found.extend([buffer(facts), interface(facts), address(facts)]);
    if let Some(link) = &facts.link {
        found.extend([mtu(name, link), speed(name, link)]);
    }
    found.extend([errors(facts), udp(facts), group(facts), path_filter(facts)]);
    found.extend(watches(facts));
    found.extend(mirrors::of_host(name, &facts.mirrors));
    found
}

fn base(facts: &HostFacts) -> Finding {
    let HostFacts { name, base, .. } = facts;
    if let Some(why) = &facts.refused {
        let advice =
            "no transfer runs until the directory that was there is back, or makuosan is restarted";
        return Finding::fail("base", name, format!("{base}: {why}"), advice);
    }
    match &facts.unwritable {
        _ if !facts.writes => {
            Finding::ok("base", name, format!("{base}, which this daemon only reads"))
        }
        Some(why) => {
            let advice = "give it to the user of the daemon, or mount it for writing";
            Finding::fail("base", name, format!("{base} cannot be written to: {why}"), advice)
        }
        None => Finding::ok("base", name, format!("{base} can be written to")),
    }
}

fn space(facts: &HostFacts) -> Finding {
    let (check, name) = ("space", &facts.name);
    let Some([all, free, ..]) = facts.room.filter(|room| room[0] > 0) else {
        return Finding::ok(check, name, "the file system does not tell how much it has left");
    };
    let text = format!("{} of {} are free", bytes(free), bytes(all));
    let advice = "make room on the file system of the base directory";
    match free {
        _ if !facts.writes => Finding::ok(check, name, text),
        ..LITTLE => Finding::fail(check, name, text, advice),
        ..MUCH if free < all / 20 => Finding::warn(check, name, text, advice),
        _ => Finding::ok(check, name, text),
    }
}

fn inodes(facts: &HostFacts) -> Finding {
    let (check, name) = ("inodes", &facts.name);
    let Some([_, _, all, free]) = facts.room.filter(|room| room[2] > 0) else {
        return Finding::ok(check, name, "the file system has no number of files that it tells");
    };
    let text = format!("{free} of {all} inodes are free");
    let advice =
        "delete files from the file system of the base directory, or make one with more inodes";
    match free {
        _ if !facts.writes => Finding::ok(check, name, text),
        ..16 => Finding::fail(check, name, text, advice),
        ..100_000 if free < all / 20 => Finding::warn(check, name, text, advice),
        _ => Finding::ok(check, name, text),
    }
}

fn clock(facts: &HostFacts) -> Finding {
    let text = match facts.clock_kept {
        Some(true) => "a time service keeps the clock right",
        Some(false) => {
            "no time service is known to keep the clock; see what is said of other hosts"
        }
        None => "whether a time service keeps the clock is not known",
    };
    Finding::ok("clock", &facts.name, text)
}

fn files(facts: &HostFacts) -> Finding {
    let (check, name) = ("files", &facts.name);
    match facts.open_files {
        Some(limit @ ..FEW_FILES) => Finding::warn(
            check,
            name,
            format!("only {} may be open", counted(limit, "file")),
            "raise the limit of open files to 4096 (LimitNOFILE= of the unit, or ulimit -n)",
        ),
        Some(limit) => Finding::ok(check, name, format!("{limit} files may be open")),
        None => Finding::ok(check, name, "how many files may be open is not known"),
    }
}

fn buffer(facts: &HostFacts) -> Finding {
    let (check, name, (has, wants)) = ("buffer", &facts.name, facts.buffer);
    if has >= wants {
        return Finding::ok(check, name, format!("the receive buffer has {}", bytes(has)));
    }
    // The kernel doubles what is asked for.
    let text = format!("the receive buffer has {} of {}", bytes(has), bytes(wants));
    let advice = format!(
        "sysctl -w net.core.rmem_max={} (and in /etc/sysctl.d), then restart makuosan",
        wants / 2
    );
    Finding::warn(check, name, text, &advice)
}

fn interface(facts: &HostFacts) -> Finding {
    let (check, name, given) = ("interface", &facts.name, &facts.interface);
    let Some(link) = &facts.link else {
        let advice = "see what ip address says, and -i of makuosan";
        return Finding::fail(check, name, format!("{given} is not there"), advice);
    };
    let called = &link.name;
    match (link.up, link.running) {
        _ if link.loopback => {
            let text = format!("{called} is the loopback interface: no other host is reached");
            Finding::ok(check, name, text)
        }
        (false, _) => {
            let advice = format!("ip link set {called} up");
            Finding::fail(check, name, format!("{called} is down"), &advice)
        }
        (true, false) => {
            let advice = "see to the cable and the port of the switch";
            Finding::fail(check, name, format!("{called} has no link"), advice)
        }
        (true, true) => Finding::ok(check, name, format!("{called} is up")),
    }
}

fn address(facts: &HostFacts) -> Finding {
    let (check, name, given) = ("address", &facts.name, &facts.interface);
    match facts.address {
        // An address that was given is kept though it may have gone.
        Some(address) if facts.link.is_some() => {
            Finding::ok(check, name, format!("{address} is there"))
        }
        Some(address) => {
            let advice = format!("give it to an interface again (ip address add {address}/...)");
            Finding::fail(check, name, format!("{address} is on no interface any more"), &advice)
        }
        None if facts.any => {
            let advice = "add a route to the group, or name the interface with -i";
            Finding::fail(check, name, "no address leads to the group", advice)
        }
        None => {
            let advice = "give it one (ip address add)";
            Finding::fail(check, name, format!("{given} has no IPv4 address"), advice)
        }
    }
}

fn mtu(name: &str, link: &LinkFacts) -> Finding {
    Finding::ok("mtu", name, format!("{} has an MTU of {}", link.name, link.mtu))
}

fn speed(name: &str, link: &LinkFacts) -> Finding {
    let check = "speed";
    let advice =
        "see to the cable, the port of the switch, and what both have negotiated (ethtool)";
    let called = &link.name;
    match (link.mbits, link.full_duplex) {
        (None, _) => Finding::ok(check, name, format!("{called} does not tell its speed")),
        (Some(mbits), Some(false)) => {
            let text = format!("{called} has negotiated {mbits} Mbit/s with half duplex");
            Finding::fail(check, name, text, advice)
        }
        (Some(mbits), _) => {
            let text = format!("{called} has negotiated {mbits} Mbit/s");
            match mbits {
                ..=SLOW => Finding::warn(check, name, text, advice),
                _ => Finding::ok(check, name, text),
            }
        }
    }
}

fn errors(facts: &HostFacts) -> Finding {
    let (check, name) = ("errors", &facts.name);
    let Some(Counted { over, received, errors, dropped, collisions, .. }) = facts.counted else {
        return Finding::ok(check, name, "the interface does not tell what it has counted");
    };
    let over = lasting(over);
    let many_dropped = dropped >= 10 && dropped > received / FEW_DROPS;
    let text = format!(
        "in {over} the interface has received {}, {errors} damaged and {dropped} dropped, with {}",
        counted(received, "packet"),
        counted(collisions, "collision"),
    );
    if errors > 0 || collisions > 0 {
        let advice =
            "see to the cable, the port of the switch, and what both have negotiated (ethtool -S)";
        return Finding::warn(check, name, text, advice);
    }
    match many_dropped {
        true => {
            let advice = "the host is too busy, or its ring is too small (ethtool -G)";
            Finding::warn(check, name, text, advice)
        }
        false => Finding::ok(check, name, text),
    }
}

fn udp(facts: &HostFacts) -> Finding {
    let (check, name) = ("udp", &facts.name);
    let counted_in = facts.counted.and_then(|counted| counted.udp_full.map(|n| (counted.over, n)));
    match counted_in {
        None => Finding::ok(check, name, "the kernel does not tell what UDP has dropped"),
        Some((over, 0)) => {
            let text = format!("in {} no receive buffer was full", lasting(over));
            Finding::ok(check, name, text)
        }
        Some((over, dropped)) => {
            let dropped = counted(dropped, "packet");
            let text = format!(
                "in {} UDP has dropped {dropped}: a receive buffer was full (RcvbufErrors)",
                lasting(over)
            );
            let advice = "the host is too busy, or net.core.rmem_max is too small";
            Finding::warn(check, name, text, advice)
        }
    }
}

fn group(facts: &HostFacts) -> Finding {
    let (check, name, group) = ("group", &facts.name, &facts.group);
    match &facts.unjoined {
        None => Finding::ok(check, name, format!("{group} is joined on {}", facts.interface)),
        Some(why) => {
            let advice = match facts.any {
                true => {
                    "add a route to it (ip route add 224.0.0.0/4 dev ...), or name the interface with -i"
                }
                false => "it is joined as soon as the interface is up and has its address",
            };
            Finding::fail(check, name, format!("{group} is not joined: {why}"), advice)
        }
    }
}

fn path_filter(facts: &HostFacts) -> Finding {
    let (check, name) = ("rp_filter", &facts.name);
    match (facts.path_filter, facts.astray) {
        (None, _) => Finding::ok(check, name, "reverse-path filtering is not known"),
        (Some(1), Some(address)) => {
            let text = format!(
                "what comes from {address} is dropped: packets to it leave by another interface, and rp_filter is strict"
            );
            let advice = "correct the routes, or sysctl -w net.ipv4.conf.all.rp_filter=2";
            Finding::fail(check, name, text, advice)
        }
        (Some(_), Some(address)) => {
            let text = format!("packets to {address} leave by another interface than the group's");
            Finding::warn(check, name, text, "correct the routes, or see to -i of makuosan")
        }
        (Some(0), None) => Finding::ok(check, name, "no reverse-path filtering"),
        (Some(_), None) => Finding::ok(check, name, "the way back is that by which packets come"),
    }
}

fn watches(facts: &HostFacts) -> Vec<Finding> {
    let name = &facts.name;
    let of = |row: &WatchRow| {
        let check = "watch";
        let path = &row.path;
        if let Some(why) = &row.refused {
            let advice = "what changes there is not sent until the cause has gone";
            return Finding::fail(check, name, format!("{path} is not watched: {why}"), advice);
        }
        if row.unwatched > 0 {
            let text = format!(
                "{path}: {} without a watch of the kernel, looked at each minute",
                counted(row.unwatched, "directory")
            );
            let advice = match row.needed {
                Some(n) => format!("sysctl -w fs.inotify.max_user_watches={n}, or more"),
                None => "see the log of the daemon for what keeps it from watching them".to_owned(),
            };
            return Finding::warn(check, name, text, &advice);
        }
        // Of a mirror, that is said with the mirror.
        let is_mirror = facts.mirrors.iter().any(|mirror| mirror.path == *path);
        if !is_mirror && (row.held > 0 || row.held_why.is_some()) {
            let why = row.held_why.as_deref().unwrap_or("");
            let text = format!("{path}: {} held back: {why}", counted(row.held, "deletion"));
            let advice = "bring back what went, or let them go: msync watch release";
            return Finding::warn(check, name, text, &format!("{advice} {path}"));
        }
        if let Some(why) = &row.lacking {
            let advice = "it is sent again by itself; see what is said of these hosts";
            return Finding::warn(check, name, format!("{path}: {why}"), advice);
        }
        let most = facts.most_watches.map_or(String::new(), |most| format!(" (of {most} at most)"));
        let directories = counted(row.directories, "directory");
        Finding::ok(check, name, format!("{path}: {directories} watched{most}"))
    };
    facts.watches.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::doctor::Grade;

    /// A host without a fault.
    fn sound() -> HostFacts {
        let link = LinkFacts {
            name: "eth0".to_owned(),
            up: true,
            running: true,
            loopback: false,
            mtu: 1_500,
            mbits: Some(1_000),
            full_duplex: Some(true),
        };
        let counted = Counted {
            over: Span::from_secs(300),
            received: 1_000_000,
            dropped: 9,
            udp_full: Some(0),
            ..Counted::default()
        };
        HostFacts {
            name: "web1".to_owned(),
            base: "/srv".to_owned(),
            writes: true,
            room: Some([100 << 30, 50 << 30, 1_000_000, 900_000]),
            clock_kept: Some(true),
            open_files: Some(4_096),
            buffer: (16 << 20, 16 << 20),
            interface: "interface eth0".to_owned(),
            address: Some([10, 0, 0, 1].into()),
            link: Some(link),
            group: "224.0.0.108:5000".to_owned(),
            counted: Some(counted),
            path_filter: Some(1),
            ..HostFacts::default()
        }
    }

    /// The grade of this point.
    fn grade(facts: &HostFacts, check: &str) -> Grade {
        let found = of_host(facts);
        let one = found.iter().find(|finding| finding.check == check);
        let one = one.unwrap_or_else(|| panic!("no {check} in {found:?}"));
        assert_eq!(one.advice.is_empty(), one.grade == Grade::Ok, "{one:?}");
        one.grade
    }

    #[test]
    fn nothing_is_wrong_with_a_sound_host_nor_with_what_is_not_known() {
        let unknown = HostFacts {
            room: None,
            clock_kept: None,
            open_files: None,
            counted: None,
            path_filter: None,
            link: sound().link.map(|link| LinkFacts { mbits: None, full_duplex: None, ..link }),
            ..sound()
        };
        let unlimited = HostFacts { room: Some([0; 4]), clock_kept: Some(false), ..sound() };
        let lo = sound().link.map(|link| LinkFacts { loopback: true, running: false, ..link });
        let loopback = HostFacts { link: lo, ..unknown.clone() };
        for facts in [sound(), unknown, unlimited, loopback] {
            let bad: Vec<_> = of_host(&facts).into_iter().filter(|f| f.grade > Grade::Ok).collect();
            assert_eq!(bad, []);
        }
    }

    #[test]
    fn each_fault_of_a_host_is_told_by_its_point() {
        use Grade::{Fail, Ok, Warn};
        let link = |change: fn(&mut LinkFacts)| {
            let mut facts = sound();
            facts.link.iter_mut().for_each(change);
            facts
        };
        let counts = |change: fn(&mut Counted)| {
            let mut facts = sound();
            facts.counted.iter_mut().for_each(change);
            facts
        };
        let with = |change: fn(&mut HostFacts)| {
            let mut facts = sound();
            change(&mut facts);
            facts
        };
        let cases: Vec<(&str, Grade, HostFacts)> = vec![
            ("base", Fail, with(|f| f.refused = Some("replaced".to_owned()))),
            ("base", Fail, with(|f| f.unwritable = Some("read-only".to_owned()))),
            ("base", Ok, with(|f| (f.writes, f.unwritable) = (false, Some("x".to_owned())))),
            ("space", Fail, with(|f| f.room = Some([1 << 40, 4_096, 9, 9]))),
            ("space", Warn, with(|f| f.room = Some([100 << 30, 4 << 30, 9, 9]))),
            ("space", Ok, with(|f| f.room = Some([10 << 40, 11 << 30, 9, 9]))),
            ("space", Ok, with(|f| (f.writes, f.room) = (false, Some([9, 0, 9, 0])))),
            ("inodes", Fail, with(|f| f.room = Some([9, 9, 1_000_000, 0]))),
            ("inodes", Warn, with(|f| f.room = Some([9, 9, 1_000_000, 1_000]))),
            ("files", Warn, with(|f| f.open_files = Some(64))),
            ("buffer", Warn, with(|f| f.buffer.0 = 425_984)),
            ("interface", Fail, with(|f| f.link = None)),
            ("address", Fail, with(|f| f.link = None)),
            ("address", Fail, with(|f| f.address = None)),
            ("address", Fail, with(|f| (f.any, f.address) = (true, None))),
            ("interface", Fail, link(|l| l.up = false)),
            ("interface", Fail, link(|l| l.running = false)),
            ("speed", Warn, link(|l| l.mbits = Some(100))),
            ("speed", Fail, link(|l| (l.mbits, l.full_duplex) = (Some(100), Some(false)))),
            ("errors", Warn, counts(|c| c.errors = 1)),
            ("errors", Warn, counts(|c| c.collisions = 1)),
            ("errors", Warn, counts(|c| c.dropped = 10_000)),
            ("errors", Ok, counts(|c| (c.received, c.dropped) = (0, 9))),
            ("udp", Warn, counts(|c| c.udp_full = Some(1))),
            ("udp", Ok, counts(|c| c.udp_full = None)),
            ("group", Fail, with(|f| f.unjoined = Some("no route".to_owned()))),
            ("rp_filter", Fail, with(|f| f.astray = Some([10, 0, 0, 2].into()))),
            ("rp_filter", Warn, with(|f| (f.path_filter, f.astray) = (Some(2), f.address))),
        ];
        for (check, want, facts) in cases {
            assert_eq!(grade(&facts, check), want, "{check}: {facts:?}");
        }
    }

    fn watch() -> WatchRow {
        WatchRow {
            path: "htdocs".to_owned(),
            deletes: false,
            client: None,
            refused: None,
            directories: 10,
            unwatched: 0,
            needed: None,
            pending: 0,
            held: 0,
            held_why: None,
            flushes: 0,
            last: None,
            rescans: 0,
            rescan: None,
            lacking: None,
        }
    }

    #[test]
    fn a_watch_that_the_kernel_does_not_have_is_told() {
        let of = |row: WatchRow| {
            let facts = HostFacts { watches: vec![row], most_watches: Some(8_192), ..sound() };
            of_host(&facts).pop().unwrap()
        };
        let fine = of(watch());
        assert_eq!(
            (fine.grade, &*fine.text),
            (Grade::Ok, "htdocs: 10 directories watched (of 8192 at most)")
        );
        let some = of(WatchRow { unwatched: 5, needed: Some(30), ..watch() });
        assert_eq!(some.grade, Grade::Warn);
        assert!(some.advice.contains("max_user_watches=30"), "{some:?}");
        let why = Some("gone".to_owned());
        assert_eq!(of(WatchRow { refused: why.clone(), ..watch() }).grade, Grade::Fail);
        let held = of(WatchRow { held: 7, held_why: why.clone(), ..watch() });
        assert_eq!((held.grade, &*held.text), (Grade::Warn, "htdocs: 7 deletions held back: gone"));
        assert!(held.advice.ends_with("msync watch release htdocs"));
        assert_eq!(of(WatchRow { lacking: why, ..watch() }).grade, Grade::Warn);
    }
}
