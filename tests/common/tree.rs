//! Trees of files: odd ones to send, and the comparison of what arrived.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::{is_root, skip};

/// All that is compared of one entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Type and permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// The device's number, for a device.
    pub rdev: u64,
    /// A file's content, a link's target.
    pub content: Vec<u8>,
}

/// A tree by its paths.
pub type Tree = BTreeMap<Vec<u8>, Entry>;

/// Everything below `dir`, without `dir` itself and its staging directory.
pub fn snapshot(dir: &Path) -> Tree {
    look(dir).unwrap()
}

/// The same of a tree that others work in: an error if something went meanwhile.
pub fn look(dir: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    add(dir, &mut Vec::new(), &mut tree)?;
    Ok(tree)
}

fn add(dir: &Path, path: &mut Vec<u8>, tree: &mut Tree) -> io::Result<()> {
    for found in fs::read_dir(dir)? {
        let found = found?;
        if path.is_empty() && found.file_name() == ".makuosan" {
            continue;
        }
        let length = path.len();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(found.file_name().as_bytes());
        let meta = fs::symlink_metadata(found.path())?;
        let kind = meta.file_type();
        let content = match () {
            () if kind.is_file() => fs::read(found.path())?,
            () if kind.is_symlink() => {
                fs::read_link(found.path())?.into_os_string().into_encoded_bytes()
            }
            () => Vec::new(),
        };
        let device = kind.is_char_device() || kind.is_block_device();
        let entry = Entry {
            mode: meta.mode(),
            uid: meta.uid(),
            gid: meta.gid(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            rdev: if device { meta.rdev() } else { 0 },
            content,
        };
        tree.insert(path.clone(), entry);
        if kind.is_dir() {
            add(&found.path(), path, tree)?;
        }
        path.truncate(length);
    }
    Ok(())
}

/// Fails the test, with the first few differences, unless the trees are equal.
#[track_caller]
pub fn assert_same(want: &Tree, got: &Tree) {
    let mut differences = Vec::new();
    let paths = want.keys().chain(got.keys().filter(|path| !want.contains_key(*path)));
    for path in paths {
        let (a, b) = (want.get(path), got.get(path));
        if a != b {
            let path = String::from_utf8_lossy(path);
            differences.push(format!("{path}: want {}, got {}", describe(a), describe(b)));
        }
    }
    let few: Vec<&str> = differences.iter().take(10).map(String::as_str).collect();
    assert!(few.is_empty(), "{} differences:\n{}", differences.len(), few.join("\n"));
}

fn describe(entry: Option<&Entry>) -> String {
    let Some(entry) = entry else { return "nothing".to_owned() };
    let Entry { mode, uid, gid, mtime: (s, ns), rdev, content } = entry;
    let start = String::from_utf8_lossy(&content[..content.len().min(20)]).into_owned();
    let bytes = content.len();
    format!("mode {mode:o} {uid}:{gid} mtime {s}.{ns:09} rdev {rdev} {bytes} bytes {start:?}")
}

/// Compares what two directories hold.
#[track_caller]
pub fn assert_equal_dirs(want: &Path, got: &Path) {
    assert_same(&snapshot(want), &snapshot(got));
}

/// `count` bytes that repeat nowhere near, the same for the same seed.
pub fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut all = Vec::with_capacity(count + 8);
    while all.len() < count {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_le_bytes());
    }
    all.truncate(count);
    all
}

/// Writes a file, and the directories above it.
#[track_caller]
pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Makes a file that takes little room, and long to compare: there is something in each of its blocks.
pub fn write_scattered(path: impl AsRef<Path>, size: u64) {
    write(&path, "");
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(size).unwrap();
    for at in (0..size).step_by(64 << 10) {
        file.write_all_at(b"x", at).unwrap();
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Sets the mtime of a file or directory, in seconds before or after 1970 and nanoseconds.
pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: u32) {
    let span = Duration::from_secs(seconds.unsigned_abs());
    let at = match seconds < 0 {
        true => SystemTime::UNIX_EPOCH - span,
        false => SystemTime::UNIX_EPOCH + span,
    };
    let at = at + Duration::from_nanos(nanoseconds.into());
    fs::File::open(path).unwrap().set_modified(at).unwrap();
}

/// What was made of the kinds of things that not everybody may make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Made {
    /// Files of other owners, and a setuid one.
    pub owners: bool,
    pub devices: bool,
}

/// Makes a tree of everything that is odd, below `dir`.
pub fn make_odd(dir: &Path) -> Made {
    names(dir);
    sizes(dir);
    links(&dir.join("links"));
    times(&dir.join("times"));
    modes(&dir.join("modes"));
    Made { owners: owners(&dir.join("owners")), devices: devices(&dir.join("devices")) }
}

fn names(dir: &Path) {
    let odd: [&[u8]; 16] = [
        b"new\nline",
        b"car\rriage",
        b"with spaces in it",
        b" leading",
        b"trailing ",
        b"-dash",
        b"--",
        b"\xff\xfe\x80 not text",
        b"quote\"s and 'these'",
        b"back\\slash\\012",
        b"> prompt",
        b"error: none",
        b"...",
        b"\x01\x1b[31m",
        "\u{fc}ml\u{e4}ut".as_bytes(),
        &[b'x'; 255],
    ];
    for (at, name) in odd.iter().enumerate() {
        let name = OsStr::from_bytes(name);
        write(dir.join("names").join(name), format!("file {at}"));
        write(dir.join("dirs").join(name).join(name), format!("below {at}"));
    }
    // Twelve names of 249 bytes, with their slashes: 3,000 bytes.
    let mut deep = dir.join("deep");
    for _ in 0..12 {
        deep.push("d".repeat(249));
    }
    write(deep.join("end"), "far below");
    assert!(deep.strip_prefix(dir).unwrap().as_os_str().len() >= 3_000);
}

fn sizes(dir: &Path) {
    let sizes = [0, 1, 479, 480, 481, 1_423, 1_424, 1_425, 8_191, 8_192, 8_193, 100_000];
    for size in sizes {
        write(dir.join(format!("sizes/{size}")), bytes(size, size as u64));
    }
    // Over 4 MiB a file travels alone; just below, it does not.
    write(dir.join("sizes/streamed"), bytes((4 << 20) + 12_345, 1));
    write(dir.join("sizes/packed"), bytes((1 << 20) + 1, 2));
    for at in 0..300 {
        write(dir.join(format!("many/{at}")), bytes(at * 7, at as u64));
    }
    fs::create_dir(dir.join("empty")).unwrap();
}

fn links(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::create_dir(dir.join("directory")).unwrap();
    for (name, target) in [
        ("dangling", "nowhere/at/all"),
        ("absolute", "/etc/hostname"),
        ("to-directory", "directory"),
        ("up", "../../../../../.."),
        ("itself", "itself"),
        ("odd", "with\nnewline and \\ "),
    ] {
        symlink(target, dir.join(name)).unwrap();
    }
    symlink("t".repeat(4_000), dir.join("long")).unwrap();
    let fifo = Command::new("mkfifo").arg("-m").arg("0640").arg(dir.join("fifo")).status();
    assert!(fifo.unwrap().success());
}

fn times(dir: &Path) {
    for (name, seconds, nanoseconds) in [
        ("epoch", 0, 0),
        ("before", -1_000_000, 250_000_000),
        ("nanoseconds", 1_500_000_000, 123_456_789),
        ("last-nanosecond", 1_500_000_000, 999_999_999),
        ("after-2038", 4_000_000_000, 1),
    ] {
        write(dir.join(name), name);
        set_mtime(&dir.join(name), seconds, nanoseconds);
        write(dir.join("dirs").join(name).join("file"), name);
        set_mtime(&dir.join("dirs").join(name), seconds, nanoseconds);
    }
}

fn modes(dir: &Path) {
    for mode in [0o400, 0o444, 0o600, 0o644, 0o755, 0o777] {
        let path = dir.join(format!("{mode:o}"));
        write(&path, format!("{mode:o}"));
        set_mode(&path, mode);
    }
    for mode in [0o500, 0o555, 0o700, 0o1777] {
        let path = dir.join(format!("d{mode:o}"));
        write(path.join("file"), "in it");
        write(path.join("sub/file"), "in it");
        set_mode(&path.join("sub"), mode);
        set_mode(&path, mode);
    }
    if is_root() {
        write(dir.join("none"), "for root alone");
        set_mode(&dir.join("none"), 0);
    }
}

fn owners(dir: &Path) -> bool {
    fs::create_dir(dir).unwrap();
    let own = |name: &str, uid: u32, gid: u32, mode: u32| {
        let path = dir.join(name);
        write(&path, name);
        let chowned = std::os::unix::fs::chown(&path, Some(uid), Some(gid)).is_ok();
        set_mode(&path, mode);
        chowned
    };
    let all = own("setuid", 0, 0, 0o4755)
        & own("setgid", 1_000, 1_001, 0o2755)
        & own("setuid-65536", 65_536, 65_536, 0o6755)
        & own("far", 100_000, 3_000_000_000, 0o640);
    symlink("far", dir.join("link")).unwrap();
    let linked = std::os::unix::fs::lchown(dir.join("link"), Some(70_000), Some(7)).is_ok();
    if !(all && linked) {
        skip("files of other owners", "only root gives files away");
    }
    all && linked
}

fn devices(dir: &Path) -> bool {
    fs::create_dir(dir).unwrap();
    let make = |name: &str, kind: &str, major: &str, minor: &str| {
        let path = dir.join(name);
        let made = Command::new("mknod").arg(path).args([kind, major, minor]).output();
        made.is_ok_and(|made| made.status.success())
    };
    let made = make("null", "c", "1", "3") && make("far", "b", "259", "70000");
    if !made {
        skip("devices", "mknod is not allowed");
    }
    made
}

/// What changes whenever anything is done to an entry: its inode number and ctime, by path.
pub fn untouched(dir: &Path) -> BTreeMap<Vec<u8>, (u64, i64, i64)> {
    let paths = snapshot(dir).into_keys();
    let look = |path: Vec<u8>| {
        let meta = fs::symlink_metadata(dir.join(OsStr::from_bytes(&path))).unwrap();
        (path, (meta.ino(), meta.ctime(), meta.ctime_nsec()))
    };
    paths.map(look).collect()
}
