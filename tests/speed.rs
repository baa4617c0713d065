//! How fast a transfer with a key is, beside what one core's Blowfish and MD5 allow, and what lasts on disk
//! is read and written. These measure and judge nothing, so they run only when asked for; with nothing else at work the figures mean most:
//!
//!     TMPDIR=/dev/shm cargo test --release --test speed -- --ignored --nocapture --test-threads=1

#[allow(unused_imports)]
#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use common::process::ticks;
use common::{Fleet, tree};
use makuosan::crypto::{Cipher, HmacKey, pbkdf2};
use makuosan::fs::root::Root;
use makuosan::fs::state::dir::{Keeps, StateDir};
use makuosan::fs::state::list::List;
use makuosan::fs::state::list_writer::ListWriter;
use makuosan::fs::state::record_file::{Limits, RecordFile};
use makuosan::keeping::mirror_store::MirrorStore;
use makuosan::mirror::packed::Packed;
use makuosan::name::{HostName, RelPath};
use makuosan::wire::manifest::{Entry, FileTime, Kind, Manifest};

/// Bytes per second of `work`, which takes `bytes` each time: the best of several runs, since others
/// may have the processor meanwhile.
#[allow(clippy::disallowed_methods)]
fn speed(bytes: usize, mut work: impl FnMut(u64)) -> f64 {
    let mut best: f64 = 0.0;
    for run in 0..10 {
        let (began, mut done) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_millis(100) {
            (0..64).for_each(|at| work(run * 1_000_000 + done * 64 + at));
            done += 1;
        }
        best = best.max((done * 64) as f64 * bytes as f64 / began.elapsed().as_secs_f64());
    }
    best
}

/// Blowfish, MD5, and one after the other, in bytes per second, on packets as they are sent on `lo`.
fn allowed(payload: usize) -> [f64; 3] {
    let (mut packet, key) = (vec![0x5a; payload], HmacKey::new(b"key"));
    let cipher = Cipher::new(&[7; 16]);
    let blowfish = speed(packet.len(), |at| cipher.apply(at, &mut packet));
    let md5 = speed(packet.len(), |_| {
        std::hint::black_box(key.mac(&[&packet]));
    });
    [blowfish, md5, 1.0 / (1.0 / blowfish + 1.0 / md5)]
}

#[test]
#[ignore = "a measurement"]
fn primitives() {
    for payload in [1_424, 8_192] {
        let [blowfish, md5, both] = allowed(payload).map(|speed| speed / 1e6);
        println!("{payload} bytes: blowfish {blowfish:.0} md5 {md5:.0} both {both:.0} MB/s");
    }
    let schedules = speed(1, |at| {
        std::hint::black_box(Cipher::new(&[at as u8; 16]));
    });
    println!("schedule {:.1} us", 1e6 / schedules);
    let rounds = speed(1, |_| pbkdf2(b"a secret of this length", b"salt", 1_000, &mut [0; 16]));
    println!("pbkdf2 {rounds:.0} rounds a ms");
}

/// The speed of one file of 1 GiB to one receiver, in bytes per second, and in bytes per second of
/// processor time of the busier of the two daemons, which is what it would be with nothing else at work.
#[allow(clippy::disallowed_methods)]
fn transfer(options: &[&str]) -> [f64; 2] {
    let mut fleet = Fleet::with("speed", &[options, options]);
    let block = tree::bytes(1 << 20, 1);
    tree::write(fleet.path(0, "big"), block.repeat(1_024));
    let pids = [0, 1].map(|at| fleet.daemon(at).pid());
    let (began, used) = (Instant::now(), pids.map(ticks));
    fleet.msync(0, &["send", "-r"]).well();
    let took = began.elapsed().as_secs_f64();
    let busier = [0, 1].map(|at| ticks(pids[at]) - used[at]).into_iter().max().unwrap_or(0);
    assert!(fs::read(fleet.path(1, "big")).unwrap().chunks(1 << 20).all(|chunk| chunk == block));
    [took, busier.max(1) as f64 / 100.0].map(|seconds| f64::from(1 << 30) / seconds)
}

#[test]
#[ignore = "a measurement"]
fn transfers() {
    let dir = common::place::TempDir::new("speed-key");
    let key = dir.path().join("key");
    tree::write(&key, "a key to measure with\n");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    for run in 1..=3 {
        let before = allowed(8_192)[2];
        let keyed = transfer(&["-k", key.to_str().unwrap()]);
        let both = before.max(allowed(8_192)[2]);
        let unkeyed = transfer(&[]);
        println!("run {run}: Blowfish and MD5 allow {:.0} MB/s", both / 1e6);
        for (what, speed) in [("keyed", keyed), ("unkeyed", unkeyed)] {
            let part = speed.map(|speed| 100.0 * speed / both);
            println!(
                "  {what}: {:.0} MB/s ({:.0} %); per second of processor {:.0} MB ({:.0} %)",
                speed[0] / 1e6,
                part[0],
                speed[1] / 1e6,
                part[1],
            );
        }
    }
}

/// As many records as a journal may have, and lists of a million files.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods)]
fn what_lasts() {
    let temp = common::place::TempDir::new("speed-state");
    let us = fs::metadata(temp.path()).map(|meta| meta.uid());
    fs::create_dir(temp.path().join("base")).unwrap();
    let root = Root::open(&temp.path().join("base")).unwrap();
    let dir = StateDir::elsewhere(Keeps::Journal, temp.path(), &root, us.unwrap()).unwrap();
    let (host, limits) = (HostName::parse(b"h").unwrap(), Limits { file: 1 << 30, record: 4_096 });
    let open = || RecordFile::open(&dir, b"records", &host, 1, limits, |_, _, _| {}).unwrap().0;
    let mut file = open();
    let append = |n| file.append(n as u8, &[7; 160]).map(drop);
    (0..65_536).try_for_each(append).unwrap();
    let began = Instant::now();
    let file = open();
    println!("65,536 records, {} bytes: read in {:?}", file.size(), began.elapsed());
    let entry = |at: u64| {
        let path = format!("srv/www/shop/releases/assets/{:04}/image-{:06}.jpeg", at / 250, at);
        let path = RelPath::parse(path.as_bytes()).unwrap();
        let mtime = FileTime { secs: 1_700_000_000 + at as i64, nanos: 123_456_789 };
        let kind = Kind::File { size: at * 7_919 % 5_000_000, data: None };
        Entry { path, kind, mode: 0o644, uid: 1_000, gid: 1_000, mtime }
    };
    let began = Instant::now();
    for name in [b"one", b"two"] {
        let mut list = ListWriter::new(&dir, name, u64::MAX).unwrap();
        for batch in 0..1_000 {
            let entries = (batch * 1_000..(batch + 1) * 1_000).map(entry).collect();
            list.add(&Manifest { entries, ..Manifest::default() }).unwrap();
        }
        list.finish(false).unwrap();
        println!(
            "{} bytes",
            fs::metadata(dir.path().join(std::str::from_utf8(name).unwrap())).unwrap().len()
        );
    }
    println!("two lists written in {:?}", began.elapsed());
    let began = Instant::now();
    let [one, two] = [b"one", b"two"].map(|name| List::open(&dir, name).unwrap().unwrap());
    println!("opened in {:?}", began.elapsed());
    let began = Instant::now();
    assert!(one.names_all_of(&two).unwrap());
    println!("compared in {:?}", began.elapsed());
    let began = Instant::now();
    assert!((0..10_000).all(|at| one.names(&entry(at * 97).path).unwrap()));
    println!("10,000 names found in {:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(
        one.manifests().map(|manifest| manifest.unwrap().entries.len()).sum::<usize>(),
        1_000_000
    );
    println!("read in {:?}", began.elapsed());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
}

#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods)]
fn a_mirror_of_a_million() {
    let temp = common::place::TempDir::new("speed-mirror");
    let us = fs::metadata(temp.path()).unwrap().uid();
    fs::create_dir(temp.path().join("base")).unwrap();
    let root = Root::open(&temp.path().join("base")).unwrap();
    let dir = StateDir::elsewhere(Keeps::Mirror, temp.path(), &root, us).unwrap();
    let (tree, host) = (RelPath::parse(b"www").unwrap(), HostName::parse(b"h").unwrap());
    let open = || MirrorStore::open(&dir, &tree, &host, 1).unwrap();
    let name =
        |n: u64| format!("srv/www/site-{:02}/assets/{:05}/image-{n:07}.jpeg", n / 20_000, n / 100);
    // Of 60 bytes of a value, so many are as those of the neighbour.
    for same in [0, 20] {
        println!("{same} of 60 bytes the same:");
        let fill = |packed: &mut Packed, n: u64| {
            let mut value = [7; 60];
            for (at, bytes) in (1..).zip(value[same..].chunks_mut(8)) {
                let any = (n + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
                bytes.copy_from_slice(&any[..bytes.len()]);
            }
            packed.insert(name(n).as_bytes(), &value);
        };
        let (mut packed, mut other) = (Packed::default(), Packed::default());
        timed("1,000,000 in order", || (0..1_000_000).for_each(|n| fill(&mut packed, n)));
        println!("{} bytes in memory", packed.bytes());
        let any = |n: u64| n * 7_919 % 1_000_000;
        timed("in any order", || (0..1_000_000).for_each(|n| fill(&mut other, any(n))));
        println!("{} bytes in memory", other.bytes());
        timed("100,000 lookups", || {
            (0..100_000).for_each(|n| assert!(packed.get(name(any(n)).as_bytes()).is_some()));
        });
        timed("a scan", || {
            let (mut entries, mut count) = (packed.entries(), 0);
            while entries.next_entry().is_some() {
                count += 1;
            }
            assert_eq!(count, 1_000_000);
        });
        let mut store = open().store;
        timed("written and synced", || store.roll(b"head", &packed).unwrap());
        println!("{} bytes on disk", store.size());
        timed("read", || assert_eq!(open().entries.len(), 1_000_000));
        timed("100 times 60 records appended and synced", || {
            for _ in 0..100 {
                store.append([[7; 100]; 60]).unwrap();
                store.sync().unwrap();
            }
        });
    }
}

#[allow(clippy::disallowed_methods)]
fn timed(what: &str, act: impl FnOnce()) {
    let began = Instant::now();
    act();
    println!("{what}: {:.0?}", began.elapsed());
}
