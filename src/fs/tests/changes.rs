//! Files that change while they are sent.

use std::io::{IoSliceMut, Write};
use std::sync::Arc;

use super::super::found::Content;
use super::super::identity::Identity;
use super::super::source::Source;
use super::super::testing::*;
use super::super::walk::WalkOptions;
use crate::ids::EntryNo;
use crate::name::RelPath;
use crate::wire::layout::Layout;
use crate::wire::outcome::Reason;

fn source(from: &TempDir) -> Source {
    let root = from.root();
    let batch = one_batch(&root, &RelPath::base());
    let layout = Arc::new(Layout::new(&batch.manifest, 1_424).unwrap());
    Source::new(root, &batch, layout)
}

/// Everything that can happen to the file `f`; a clock's tick apart from what was before.
#[allow(clippy::type_complexity)]
fn accidents() -> Vec<(&'static str, fn(&TempDir))> {
    fn append(dir: &TempDir) {
        let mut file = std::fs::OpenOptions::new().append(true).open(dir.join("f")).unwrap();
        file.write_all(b"more").unwrap();
    }
    fn overwrite(dir: &TempDir) {
        let file = std::fs::OpenOptions::new().write(true).open(dir.join("f")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"X", 0).unwrap();
    }
    fn cut(dir: &TempDir) {
        let file = std::fs::OpenOptions::new().write(true).open(dir.join("f")).unwrap();
        file.set_len(1).unwrap();
    }
    fn replace(dir: &TempDir) {
        let content = std::fs::read(dir.join("f")).unwrap();
        dir.write("new", content);
        std::fs::rename(dir.join("new"), dir.join("f")).unwrap();
    }
    fn remove(dir: &TempDir) {
        std::fs::remove_file(dir.join("f")).unwrap();
    }
    fn fifo(dir: &TempDir) {
        remove(dir);
        let fd = std::fs::File::open(dir.path()).unwrap();
        let kind = crate::sys::fsat::FileType::Fifo;
        crate::sys::fsat::mknod_at(std::os::fd::AsFd::as_fd(&fd), b"f", kind, 0o600, (0, 0))
            .unwrap();
    }
    fn link(dir: &TempDir) {
        std::fs::rename(dir.join("f"), dir.join("moved")).unwrap();
        std::os::unix::fs::symlink("moved", dir.join("f")).unwrap();
    }
    fn directory(dir: &TempDir) {
        remove(dir);
        dir.mkdir("f");
    }
    vec![
        ("append", append),
        ("overwrite", overwrite),
        ("cut", cut),
        ("replace", replace),
        ("remove", remove),
        ("fifo", fifo),
        ("link", link),
        ("directory", directory),
    ]
}

fn tick() {
    std::thread::sleep(std::time::Duration::from_millis(20));
}

#[test]
fn a_changed_file_is_not_read_and_the_others_are() {
    for (name, accident) in accidents() {
        let from = TempDir::new("changed");
        from.write("a", b"before");
        from.write("f", b"content");
        from.write("z", b"after");
        let mut source = source(&from);
        tick();
        accident(&from);
        let (body, failed) = source.load(Vec::new(), &|_| true);
        assert_eq!(failed, [(EntryNo::new(1), Reason::Changed)], "{name}");
        assert_eq!(body, b"before\0\0\0\0\0\0\0after");
        let (body, failed) = source.load(vec![9; 1_000], &|entry| entry == EntryNo::new(2));
        assert_eq!((&body[..], failed.len()), (&b"\0\0\0\0\0\0\0\0\0\0\0\0\0after"[..], 0));
        assert_eq!(source.verify(&|_| true), [(EntryNo::new(1), Reason::Changed)]);
        assert_eq!(source.verify(&|entry| entry != EntryNo::new(1)), []);
    }
}

#[test]
fn a_change_after_the_read_shows_before_the_commit() {
    for (name, accident) in accidents() {
        let from = TempDir::new("later");
        from.write("f", b"content");
        from.write("empty", b"");
        let mut source = source(&from);
        assert_eq!(source.load(Vec::new(), &|_| true), (b"content".to_vec(), vec![]));
        assert_eq!(source.verify(&|_| true), []);
        tick();
        accident(&from);
        assert_eq!(source.verify(&|_| true), [(EntryNo::new(1), Reason::Changed)], "{name}");
    }
}

#[test]
fn a_streamed_file_that_changes_ends_its_reading() {
    for (name, accident) in accidents() {
        let from = TempDir::new("stream");
        from.write("f", vec![5; 5 << 20]);
        let mut source = source(&from);
        let mut buf = [0; 1_000];
        source.read_at((5 << 20) - 1_000, &mut [IoSliceMut::new(&mut buf)]).unwrap();
        assert_eq!(buf, [5; 1_000]);
        let past = source.read_at((5 << 20) - 999, &mut [IoSliceMut::new(&mut buf)]);
        assert_eq!(past, Err(Reason::Changed));
        source.read_at(0, &mut [IoSliceMut::new(&mut buf)]).unwrap();
        tick();
        accident(&from);
        let changed = source.read_at(0, &mut [IoSliceMut::new(&mut buf)]);
        assert_eq!(changed, Err(Reason::Changed), "{name}");
        assert_eq!(source.verify(&|_| true), [(EntryNo::ZERO, Reason::Changed)], "{name}");
    }
}

#[test]
fn many_slices_are_more_than_one_call() {
    let from = TempDir::new("slices");
    let content: Vec<u8> = (0..5_000_000u32).map(|n| (n / 7) as u8).collect();
    from.write("f", &content);
    let mut source = source(&from);
    let mut slices = vec![[0u8; 100]; 3_000];
    let mut io: Vec<IoSliceMut<'_>> = slices.iter_mut().map(|s| IoSliceMut::new(s)).collect();
    source.read_at(12_345, &mut io).unwrap();
    assert_eq!(slices.concat(), content[12_345..312_345]);
}

#[test]
fn a_body_is_read_the_way_it_travels() {
    let from = TempDir::new("ways");
    from.write("f", vec![5; 100]);
    let mut short = source(&from);
    assert!(short.read_at(0, &mut [IoSliceMut::new(&mut [0; 10])]).is_err());
    from.write("f", vec![5; 5 << 20]);
    assert_eq!(source(&from).load(Vec::new(), &|_| true), (vec![], vec![]));
}

#[allow(clippy::disallowed_methods)] // what is tested is a wait
fn now() -> (i64, u32) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    (now.as_secs() as i64, now.subsec_nanos())
}

#[test]
fn a_file_written_just_now_is_waited_for() {
    let from = TempDir::new("young");
    from.write("f", b"1");
    let options = WalkOptions { now, ..whole() };
    let items = walk(&from.root(), &RelPath::base(), options);
    let (secs, nanos) = now();
    let super::super::found::WalkItem::Found(found) = &items[0] else { panic!("{items:?}") };
    let Some(Content::Unchanged(Identity { ctime, .. })) = found.content else {
        panic!("{items:?}")
    };
    let age = (secs - ctime.secs) * 1_000_000_000 + i64::from(nanos) - i64::from(ctime.nanos);
    assert!(age >= 20_000_000, "{age}");
}
