//! Manifests that an input chooses: honest ones, large ones, absurd ones.

use std::sync::OnceLock;

use super::input::Input;
use makuosan::name::RelPath;
use makuosan::wire::layout::{MAX_BODY, STREAM_OVER};
use makuosan::wire::manifest::{Entry, Extent, FileTime, Kind, Manifest, Setup};

pub fn entry(path: &str, kind: Kind) -> Entry {
    let path = RelPath::parse(path.as_bytes()).unwrap();
    Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime: FileTime { secs: 1, nanos: 2 } }
}

/// Small on the wire and large in memory: long paths that share all but their ends, and files with
/// more holes than bytes of manifest.
pub fn swollen() -> &'static [Vec<u8>; 2] {
    static SWOLLEN: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    SWOLLEN.get_or_init(|| {
        let of = |entries| Manifest { entries, ..Manifest::default() }.emit();
        let deep = format!("{}/", "d".repeat(250)).repeat(16);
        let deep = (0..250).map(|n| entry(&format!("{deep}{n}"), Kind::Fifo)).collect();
        let extents: Vec<Extent> =
            (0..16_000).map(|n| Extent { start: 2 * n, end: 2 * n + 1 }).collect();
        let file = |_| entry("f", Kind::File { size: 1 << 16, data: Some(extents.clone()) });
        [of(deep), of((0..31).map(file).collect())]
    })
}

/// A manifest as bytes; nearly always one that parses. [`swollen`] ones too, if they may be.
pub fn choose(input: &mut Input<'_>, may_swell: bool) -> Vec<u8> {
    let size = |input: &mut Input<'_>| match input.below(4) {
        0 => 0,
        1 => u64::from(input.u8()),
        2 => u64::from(input.u16()),
        _ => u64::from(input.u8()) << 10,
    };
    match input.below(64) {
        63 if may_swell => swollen()[input.below(2) as usize].clone(),
        // One long file: it streams. Holes too, and sizes of terabytes.
        56..=62 => {
            let size = match input.below(4) {
                0 => STREAM_OVER + 1,
                1 => 1 << 40,
                2 => i64::MAX as u64,
                _ => STREAM_OVER + u64::from(input.u16()),
            };
            let holes = input.flag();
            let data = holes.then(|| {
                let start = u64::from(input.u16());
                vec![Extent { start, end: start + 1 + u64::from(input.u8()) }]
            });
            let entries = vec![entry("long", Kind::File { size, data })];
            Manifest { entries, ..Manifest::default() }.emit()
        }
        // Too long for memory, too many to stream.
        55 => {
            let file = |name| entry(name, Kind::File { size: MAX_BODY, data: None });
            Manifest { entries: vec![file("a"), file("b")], ..Manifest::default() }.emit()
        }
        54 => input.bytes(200).to_vec(),
        _ => {
            let setup = input.flag().then(|| {
                let path = [b"d".as_slice(), b"d/e", b"other"][input.below(3) as usize];
                Setup { path: RelPath::parse(path).unwrap(), ..Setup::default() }
            });
            let count = match input.below(8) {
                7 => 1 + u32::from(input.u8()),
                few => few,
            };
            let one = |at: u32, input: &mut Input<'_>| {
                let name = format!("d/{at}");
                let kind = match input.below(8) {
                    0 => Kind::Open,
                    1 => Kind::Close { listed: input.flag() },
                    2 => Kind::Fifo,
                    3 => Kind::Symlink(vec![b'x'; 1 + input.below(9) as usize]),
                    _ => Kind::File { size: size(input), data: None },
                };
                entry(&name, kind)
            };
            let entries = (0..count).map(|at| one(at, input)).collect();
            Manifest { setup, entries, ..Manifest::default() }.emit()
        }
    }
}
