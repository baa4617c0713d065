use super::attributes::{chmod_by_number, chmod_by_opening};
use super::mount::{by_handle, by_proc, mount_of};
use super::reopen::reopen_by_name;
use super::stat::{by_fstatat, by_statx};
use super::*;
use crate::wire::manifest::FileTime;
use std::ffi::CString;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

struct Dir(PathBuf, OwnedFd);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fsat-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let fd = std::fs::File::open(&path).unwrap().into();
        Dir(path, fd)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn both_ways_to_open_below_agree() {
    let dir = Dir::new("beneath");
    std::fs::create_dir_all(dir.0.join("a/b")).unwrap();
    std::fs::write(dir.0.join("a/file"), b"").unwrap();
    symlink("a", dir.0.join("link")).unwrap();
    symlink("b", dir.0.join("a/blink")).unwrap();
    symlink("nowhere", dir.0.join("dangling")).unwrap();
    let cases: [(&[u8], c_int); 11] = [
        (b"", 0),
        (b"a", 0),
        (b"a/b", 0),
        (b"a/file", libc::ENOTDIR),
        (b"a/file/x", libc::ENOTDIR),
        (b"a/none", libc::ENOENT),
        (b"link", libc::ELOOP),
        (b"link/b", libc::ELOOP),
        (b"a/blink", libc::ELOOP),
        (b"dangling/x", libc::ELOOP),
        (b"a/../..", libc::EXDEV),
    ];
    for flags in [PATH_ONLY, LISTING] {
        for (path, want) in cases {
            let by_call = open_beneath(dir.1.as_fd(), path, flags);
            let by_steps = open_beneath_by_steps(dir.1.as_fd(), path, flags);
            for got in [by_call, by_steps] {
                assert_eq!(got.map_or_else(|e| errno(&e), |_| 0), want, "{path:?}");
            }
        }
    }
}

#[test]
fn both_ways_to_look_agree() {
    let dir = Dir::new("stat");
    std::fs::write(dir.0.join("f"), b"12345").unwrap();
    symlink("f", dir.0.join("l")).unwrap();
    for name in [&b"f"[..], b"l", b"."] {
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        let new = by_statx(dir.1.as_fd(), name, flags).unwrap();
        let old = by_fstatat(dir.1.as_fd(), name, flags).unwrap();
        assert_eq!(new, old);
    }
    let link = stat_at(dir.1.as_fd(), b"l").unwrap();
    assert_eq!((link.kind, link.size), (FileType::Symlink, 1));
    assert_eq!(readlink_at(dir.1.as_fd(), b"l").unwrap(), b"f");
}

#[test]
fn all_ways_to_tell_a_mount_agree() {
    let root = std::fs::File::open("/").unwrap();
    let at = root.as_fd();
    let mut told = 0;
    for name in [&b"proc"[..], b"dev", b"sys", b"tmp", b"etc", b".", b""] {
        let flags = if name.is_empty() { libc::AT_EMPTY_PATH } else { libc::AT_SYMLINK_NOFOLLOW };
        let Ok(stat) = by_statx(at, name, flags) else { continue };
        let name = CString::new(name).unwrap();
        assert_eq!(by_proc(at, &name), stat.mount);
        let by_handle = by_handle(at, &name);
        told += usize::from(by_handle.is_some());
        assert!(by_handle.is_none() || by_handle == stat.mount);
    }
    assert!(told >= 2, "no handles at all");
    assert_ne!(mount_of(at, c"proc"), mount_of(at, c""));
}

#[test]
fn every_name_is_listed_whatever_its_bytes() {
    let dir = Dir::new("list");
    let mut want: Vec<Vec<u8>> = (0..3_000).map(|n| format!("{n:0>60}").into_bytes()).collect();
    want.extend([b"new\nline".to_vec(), b"\xff\xfe".to_vec(), vec![b'x'; 255]]);
    for name in &want {
        drop(open_at(dir.1.as_fd(), name, libc::O_CREAT | libc::O_WRONLY, 0o600).unwrap());
    }
    let mut got = Vec::new();
    list(dir.1.as_fd(), |name, kind, _| {
        assert!(matches!(kind, FileType::File | FileType::Unknown));
        got.push(name.to_vec());
    })
    .unwrap();
    got.sort_unstable();
    want.sort_unstable();
    assert_eq!(got, want);
}

#[test]
fn no_way_to_set_a_mode_goes_through_a_link() {
    let dir = Dir::new("chmod");
    let at = dir.1.as_fd();
    std::fs::write(dir.0.join("f"), b"").unwrap();
    std::fs::write(dir.0.join("other"), b"").unwrap();
    std::fs::create_dir(dir.0.join("d")).unwrap();
    symlink("f", dir.0.join("l")).unwrap();
    let path = |name: &[u8]| open_at(at, name, libc::O_PATH, 0).unwrap();
    let (file, link, sub) = (path(b"f"), path(b"l"), path(b"d"));
    chmod_at(at, b"f", file.as_fd(), 0o640).unwrap();
    let _ = chmod_at(at, b"l", link.as_fd(), 0o777);
    let _ = chmod_by_number(link.as_fd(), 0o777);
    let _ = chmod_by_opening(at, b"l", link.as_fd(), 0o777);
    // As if a link, or something else, had taken its place.
    let taken = chmod_by_opening(at, b"l", file.as_fd(), 0o777).unwrap_err();
    assert_eq!(errno(&taken), libc::ELOOP);
    let taken = chmod_by_opening(at, b"other", file.as_fd(), 0o777).unwrap_err();
    assert_eq!(errno(&taken), libc::ESTALE);
    assert_eq!(stat_at(at, b"f").unwrap().mode, 0o640);
    chmod_by_number(file.as_fd(), 0o604).unwrap().unwrap();
    assert_eq!(stat_fd(file.as_fd()).unwrap().mode, 0o604);
    chmod_by_opening(at, b"f", file.as_fd(), 0o614).unwrap();
    assert_eq!(stat_fd(file.as_fd()).unwrap().mode, 0o614);
    chmod_by_opening(at, b"d", sub.as_fd(), 0o711).unwrap();
    assert_eq!(stat_fd(sub.as_fd()).unwrap().mode, 0o711);
}

#[test]
fn a_rename_replaces_spares_or_swaps() {
    let dir = Dir::new("rename");
    let fd = dir.1.as_fd();
    std::fs::write(dir.0.join("a"), b"a").unwrap();
    std::fs::create_dir(dir.0.join("d")).unwrap();
    let spared = rename_at(fd, b"a", fd, b"d", Rename::NoReplace).unwrap_err();
    assert_eq!(errno(&spared), libc::EEXIST);
    match rename_at(fd, b"a", fd, b"d", Rename::Exchange) {
        Ok(()) => assert_eq!(std::fs::read(dir.0.join("d")).unwrap(), b"a"),
        Err(e) => assert_eq!(errno(&e), libc::EINVAL), // this file system cannot
    }
    std::fs::write(dir.0.join("x"), b"x").unwrap();
    std::fs::write(dir.0.join("y"), b"y").unwrap();
    rename_at(fd, b"x", fd, b"y", Rename::Replace).unwrap();
    assert_eq!(std::fs::read(dir.0.join("y")).unwrap(), b"x");
}

#[test]
fn times_keep_their_nanoseconds_and_names_their_bounds() {
    let dir = Dir::new("times");
    std::fs::write(dir.0.join("f"), b"").unwrap();
    let stamp = FileTime { secs: 1_234_567_891, nanos: 123_456_789 };
    set_mtime_at(dir.1.as_fd(), b"f", stamp).unwrap();
    assert_eq!(stat_at(dir.1.as_fd(), b"f").unwrap().mtime.secs, stamp.secs);
    assert_eq!(errno(&stat_at(dir.1.as_fd(), b"a\0b").unwrap_err()), libc::EINVAL);
    assert_eq!(errno(&stat_at(dir.1.as_fd(), &[b'x'; 383]).unwrap_err()), libc::ENAMETOOLONG);
    assert_eq!(errno(&stat_at(dir.1.as_fd(), &[b'x'; 384]).unwrap_err()), libc::ENAMETOOLONG);
}

#[test]
fn only_a_regular_file_is_opened_and_a_fifo_has_nobody_wait() {
    let dir = Dir::new("regular");
    let at = dir.1.as_fd();
    std::fs::write(dir.0.join("f"), b"content").unwrap();
    std::fs::write(dir.0.join("other"), b"").unwrap();
    std::fs::create_dir(dir.0.join("d")).unwrap();
    symlink("f", dir.0.join("l")).unwrap();
    mknod_at(at, b"fifo", FileType::Fifo, 0o600, (0, 0)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.0.join("s")).unwrap();
    for (name, code) in [
        (&b"l"[..], libc::ELOOP),
        (b"d", libc::EISDIR),
        (b"fifo", libc::ENXIO),
        (b"s", libc::ENXIO),
        (b"none", libc::ENOENT),
    ] {
        let error = open_regular_at(at, name, libc::O_RDONLY).unwrap_err();
        assert_eq!(errno(&error), code, "{}", String::from_utf8_lossy(name));
    }
    let file = open_regular_at(at, b"f", libc::O_RDONLY).unwrap();
    assert_eq!(std::io::read_to_string(std::fs::File::from(file)).unwrap(), "content");
    // Both ways, with and without `/proc`, when something else takes its name.
    let path = open_at(at, b"f", libc::O_PATH, 0).unwrap();
    std::fs::rename(dir.0.join("other"), dir.0.join("f")).unwrap();
    let file = reopen(at, b"f", path.as_fd(), libc::O_RDONLY).unwrap();
    assert_eq!(std::io::read_to_string(std::fs::File::from(file)).unwrap(), "content");
    let error = reopen_by_name(at, b"f", path.as_fd(), libc::O_RDONLY).unwrap_err();
    assert_eq!(errno(&error), libc::ESTALE);
}

#[test]
fn times_are_set_of_what_was_opened() {
    let dir = Dir::new("opened-times");
    let at = dir.1.as_fd();
    symlink("nowhere", dir.0.join("l")).unwrap();
    std::fs::write(dir.0.join("f"), b"").unwrap();
    for name in [&b"l"[..], b"f"] {
        let path = open_at(at, name, libc::O_PATH, 0).unwrap();
        let stamp = FileTime { secs: 1_234_567_890, nanos: 0 };
        set_mtime_path(at, name, path.as_fd(), stamp).unwrap();
        assert_eq!(stat_at(at, name).unwrap().mtime, stamp);
    }
}
