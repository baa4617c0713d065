//! What is spooled and deleted, and what never is.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use super::super::batch::Batcher;
use super::super::disk::{Disk, DiskConfig};
use super::super::testing::*;
use crate::engine::disk_job::{DiskAnswer, DiskJob, Mode};
use crate::name::RelPath;
use crate::wire::manifest::{Kind, MAX_ENTRIES, Setup};
use crate::wire::outcome::{Outcome, Reason, SpoolCode};

const DELETE: Mode = Mode::Send { delete: true, ignore_times: false, dry_run: false };
const NAMES_ONLY: Mode = Mode::DeleteOnly { gone: false, dry_run: false };
const GONE: Mode = Mode::Remove { dry_run: false };

fn exists(at: &Path) -> bool {
    at.symlink_metadata().is_ok()
}

fn send(from: &TempDir, disk: &mut Disk, mode: Mode) -> Spooling {
    Spooling::send(&from.root(), disk, &RelPath::base(), mode, &[])
}

/// What became of each, by the first letter of its code.
fn fates(run: &Spooling, disk: &mut Disk) -> Vec<(String, char)> {
    let all = run.pages(disk).into_iter().map(|(name, code)| {
        let letter = match code {
            SpoolCode::Spooled => 's',
            SpoolCode::Deleted => 'd',
            SpoolCode::Kept => 'k',
            SpoolCode::Failed(_) => 'f',
        };
        (name, letter)
    });
    all.collect()
}

fn fate(all: &[(&str, char)]) -> Vec<(String, char)> {
    all.iter().map(|(name, letter)| (name.to_string(), *letter)).collect()
}

#[test]
fn what_the_sender_has_not_is_counted_shown_and_deleted() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("d/f", "1");
    from.mkdir("empty");
    to.write("d/f", "old");
    to.write("d/old/deep/x", "1");
    to.write("d/old/y", "1");
    to.write("empty/z", "1");
    symlink("/etc", to.join("link")).unwrap();
    let mut disk = to.disk();
    let run = send(&from, &mut disk, DELETE);
    let want = ["d/old/deep/x", "d/old/deep", "d/old/y", "d/old", "empty/z", "link"];
    // Nothing is deleted before it was counted.
    assert_eq!(run.delete(&mut disk), (0, 0));
    // The base: d, empty, link; d: f, old; old: deep, y; deep: x; empty: z.
    assert_eq!(run.tally(&mut disk), (6, 9));
    assert_eq!(run.names(&mut disk), want);
    assert_eq!(staged(to.path()), 0);
    assert_eq!(run.delete(&mut disk), (6, 0));
    assert!(run.pages(&mut disk).iter().all(|(_, code)| *code == SpoolCode::Deleted));
    run.transfer.close(&mut disk, false);
    assert_same(&from, &to);
    assert!(Path::new("/etc/passwd").exists());
    assert!(news(&send_with(&from.root(), &mut disk, &RelPath::base(), DELETE)).is_empty());
}

#[test]
fn a_page_gives_one_name_at_least_and_no_more_than_fit() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for n in 0..9 {
        to.write(&format!("{n}{}", "x".repeat(99)), "1");
    }
    let mut disk = to.disk();
    let run = send(&from, &mut disk, DELETE);
    assert_eq!(run.tally(&mut disk), (9, 9));
    for (skip, room, want) in [(0, 0, 1), (0, 211, 1), (0, 212, 2), (8, 9_999, 1), (9, 9_999, 0)] {
        match disk.run(DiskJob::Page { key: run.transfer.key, skip, room }) {
            Some(DiskAnswer::Page { names, .. }) => assert_eq!(names.len(), want, "{skip} {room}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_the_sender_has_and_does_not_send_protects_its_counterpart() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("d/x.tmp", "1");
    from.write("secret/f", "1");
    drop(std::os::unix::net::UnixListener::bind(from.join("d/socket")).unwrap());
    for name in ["d/x.tmp", "d/y.tmp", "d/socket", "d/z", "secret/g", "old/a/y.tmp", "old/b/z"] {
        to.write(name, "1");
    }
    for mode in [DELETE.dry(), DELETE] {
        let rules = ["- *.tmp", "- secret/"];
        let mut disk = to.disk();
        let run = Spooling::send(&from.root(), &mut disk, &RelPath::base(), mode, &rules);
        run.tally(&mut disk);
        // What is excluded in a directory that would go keeps it and those above it.
        assert_eq!(run.names(&mut disk), ["d/z", "old/b/z", "old/b"]);
        run.delete(&mut disk);
    }
    assert!(["d/socket", "d/y.tmp", "secret/g", "old/a/y.tmp"].iter().all(|n| exists(&to.join(n))));
}

#[test]
fn only_what_the_transfer_is_about_and_walks_is_listed() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("a/b/c/f", "1");
    to.write("a/old", "1");
    to.write("a/b/old", "1");
    to.write("a/b/c/old", "1");
    to.write("a/b/old2/old", "1");
    to.write("old", "1");
    let root = from.root();
    let mut disk = to.disk();
    let run = Spooling::send(&root, &mut disk, &path("a/b"), DELETE, &[]);
    run.tally(&mut disk);
    assert_eq!(run.names(&mut disk), ["a/b/c/old", "a/b/old", "a/b/old2/old", "a/b/old2"]);
    run.transfer.close(&mut disk, false);
    // A file that is sent alone, or again, lists nothing.
    let run = Spooling::send(&root, &mut disk, &path("a/b/c/f"), DELETE, &[]);
    assert_eq!(run.tally(&mut disk), (0, 0));
    run.transfer.close(&mut disk, false);
    let mut run = Spooling::send(&root, &mut disk, &path("a/b/c"), DELETE, &[]);
    for mut batch in spooling_batches(&root, &path("a/b/c/f"), DELETE, &[]) {
        Arc::make_mut(&mut batch.manifest).setup = None;
        run.lines.extend(run.transfer.batch(&mut disk, &root, &batch));
    }
    run.tally(&mut disk);
    assert_eq!(run.names(&mut disk), ["a/b/c/old"]);
}

#[test]
fn a_directory_that_fails_or_is_not_listed_loses_nothing() {
    let (from, to, other) = (TempDir::new("from"), TempDir::new("to"), TempDir::new("other"));
    for name in ["link/sub/f", "file/sub/f", "unlisted/sub/f", "fine/f"] {
        from.write(name, "1");
    }
    other.write("sub/old", "1");
    symlink(other.path(), to.join("link")).unwrap();
    to.write("file", "1");
    for name in ["unlisted/old", "unlisted/sub/old", "fine/old"] {
        to.write(name, "1");
    }
    let root = from.root();
    for mode in [DELETE.dry(), DELETE] {
        let mut disk = to.disk();
        let mut batches = spooling_batches(&root, &RelPath::base(), mode, &[]);
        assert_eq!(batches.len(), 1);
        let manifest = Arc::make_mut(&mut batches[0].manifest);
        for entry in &mut manifest.entries {
            if entry.path == path("unlisted") && entry.kind == (Kind::Close { listed: true }) {
                entry.kind = Kind::Close { listed: false };
            }
        }
        let mut run = Spooling { transfer: Transfer::new(3, mode), lines: Vec::new() };
        run.lines = run.transfer.batch(&mut disk, &root, &batches[0]);
        run.tally(&mut disk);
        assert_eq!(run.names(&mut disk), ["fine/old", "unlisted/sub/old"]);
        run.delete(&mut disk);
        run.transfer.close(&mut disk, false);
    }
    assert!(other.join("sub/old").exists() && to.join("unlisted/old").exists());
}

/// The transfer of a path that the sender does not have any more, but for `*.tmp`.
fn gone(disk: &mut Disk, at: &str, mode: Mode) -> Spooling {
    let mut batcher = Batcher::with_setup(setup(&path(at), &["- *.tmp"]));
    let mut run = Spooling { transfer: Transfer::new(4, mode), lines: Vec::new() };
    run.transfer.plan(disk, &batcher.finish().unwrap());
    run.tally(disk);
    run
}

#[test]
fn a_path_that_is_gone_goes_with_what_is_below_it() {
    let to = TempDir::new("to");
    to.write("d/gone/a/b", "1");
    to.write("d/gone/c", "1");
    to.write("d/file", "1");
    to.write("kept/x.tmp", "1");
    to.write("kept/y", "1");
    to.write(".outside/f", "1");
    symlink(".outside", to.join("link")).unwrap();
    let mut disk = to.disk();
    for (at, want) in [
        ("d/gone", vec!["d/gone/a/b", "d/gone/a", "d/gone/c", "d/gone"]),
        ("d/file", vec!["d/file"]),
        ("d/none", vec![]),
        ("none/at/all", vec![]),
        ("d/file/x", vec![]),
        ("kept/x.tmp", vec![]),
        ("kept", vec!["kept/y"]),
        ("link/f", vec!["link/f"]),
        ("link", vec!["link"]),
    ] {
        for mode in [GONE.dry(), GONE] {
            let run = gone(&mut disk, at, mode);
            assert_eq!(run.names(&mut disk), want, "{at}");
            let (deleted, failed) = run.delete(&mut disk);
            if !mode.changes_nothing() {
                assert_eq!(deleted + failed, want.len() as u64);
            }
            if at == "link/f" {
                let failed = SpoolCode::Failed(Reason::LinkInPath);
                assert_eq!(run.pages(&mut disk), [("link/f".to_string(), failed)]);
            }
            run.transfer.close(&mut disk, false);
        }
    }
    let left: Vec<String> =
        snapshot(to.path()).into_keys().map(|n| String::from_utf8(n).unwrap()).collect();
    assert_eq!(left, [".outside", ".outside/f", "d", "kept", "kept/x.tmp"]);
}

#[test]
fn what_a_transfer_cannot_be_about_ends_it() {
    let to = TempDir::new("to");
    to.write("f", "1");
    let mut disk = to.disk();
    let bad = Setup { path: path("x"), patterns: vec![9, 9, 9], ..Setup::default() };
    let trailing = Setup { path: path("x"), patterns: vec![0, 0], ..Setup::default() };
    let base = setup(&RelPath::base(), &[]);
    for (setup, mode) in [(bad, DELETE), (trailing, DELETE), (base, GONE)] {
        let mut transfer = Transfer::new(5, mode);
        let batch = Batcher::with_setup(setup).finish().unwrap();
        let answer = transfer.try_plan(&mut disk, &batch).1;
        assert!(matches!(answer, DiskAnswer::Fatal { reason: Reason::Os(22), .. }), "{answer:?}");
        let run = Spooling { transfer, lines: Vec::new() };
        assert_eq!((run.tally(&mut disk), run.delete(&mut disk)), ((0, 0), (0, 0)));
        run.transfer.close(&mut disk, true);
    }
    let mut transfer = Transfer::new(6, GONE);
    let first = Batcher::with_setup(setup(&path("f"), &[])).finish().unwrap();
    transfer.plan(&mut disk, &first);
    let other = Batcher::with_setup(setup(&path("g"), &[])).finish().unwrap();
    for later in [first, other] {
        assert!(matches!(transfer.try_plan(&mut disk, &later).1, DiskAnswer::Fatal { .. }));
    }
}

#[test]
fn without_a_setup_or_with_a_batch_missing_nothing_is_deleted() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for n in 0..100 {
        from.write(&format!("d/{n}"), "1");
        to.write(&format!("d/old{n}"), "1");
    }
    let root = from.root();
    for mode in [DELETE, NAMES_ONLY] {
        let mut disk = to.disk();
        let batches = spooling_batches(&root, &RelPath::base(), mode, &[]);
        assert_eq!(batches.len(), 2);
        for missing in 0..2 {
            let mut run = Spooling { transfer: Transfer::new(7, mode), lines: Vec::new() };
            if missing == 0 {
                run.lines.extend(run.transfer.batch(&mut disk, &root, &batches[1]));
            } else {
                run.lines.extend(run.transfer.batch(&mut disk, &root, &batches[0]));
                run.transfer.next = run.transfer.next.next();
                run.lines.extend(run.transfer.batch(&mut disk, &root, &batches[1]));
            }
            assert_eq!(run.tally(&mut disk), (0, 0));
            assert_eq!(run.delete(&mut disk), (0, 0));
            assert!(run.names(&mut disk).is_empty());
            run.transfer.close(&mut disk, false);
        }
    }
    assert_eq!((0..100).filter(|n| exists(&to.join(&format!("d/old{n}")))).count(), 100);
}

#[test]
fn no_mode_deletes_that_is_not_meant_to() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("f", "1");
    to.write("old", "1");
    for mode in [Mode::Check, DELETE.dry(), NAMES_ONLY.dry()] {
        let mut disk = to.disk();
        let before = snapshot(to.path());
        let run = send(&from, &mut disk, mode);
        assert_eq!(run.tally(&mut disk), (1, 1));
        assert_eq!(run.delete(&mut disk), (0, 0));
        assert_eq!(fates(&run, &mut disk), fate(&[("old", 's')]));
        assert_eq!(snapshot(to.path()), before);
    }
    // A plain transfer, one that was closed, one that never was.
    let mut disk = to.disk();
    let run = send(&from, &mut disk, Mode::SEND);
    assert_eq!((run.tally(&mut disk), run.delete(&mut disk)), ((0, 0), (0, 0)));
    let key = run.transfer.key;
    run.transfer.close(&mut disk, false);
    let run = Spooling { transfer: Transfer::new(key.number.get(), DELETE), lines: Vec::new() };
    assert_eq!((run.tally(&mut disk), run.delete(&mut disk)), ((0, 0), (0, 0)));
    let config = DiskConfig { readonly: true, ..DiskConfig::default() };
    let mut disk = to.disk_with(config);
    for mode in [DELETE, NAMES_ONLY, GONE] {
        let run = if mode.path_is_gone() {
            gone(&mut disk, "old", mode)
        } else {
            send(&from, &mut disk, mode)
        };
        assert_eq!((run.tally(&mut disk), run.delete(&mut disk)), ((0, 0), (0, 0)));
        run.transfer.close(&mut disk, false);
    }
    assert!(exists(&to.join("old")));
}

#[test]
fn what_changes_after_it_was_listed_stays() {
    let (from, to, other) = (TempDir::new("from"), TempDir::new("to"), TempDir::new("other"));
    from.mkdir("d");
    for name in
        ["changed", "filled/a", "gone", "replaced", "swapped/a", "touched", "type", "zfine/a"]
    {
        to.write(&format!("d/{name}"), "1");
    }
    other.write("a", "1");
    let mut disk = to.disk();
    let run = send(&from, &mut disk, DELETE);
    assert_eq!(run.tally(&mut disk).0, 11);
    // Clocks of file systems tick.
    std::thread::sleep(std::time::Duration::from_millis(20));
    to.write("d/changed", "2");
    to.write("d/filled/new", "1");
    std::fs::remove_file(to.join("d/gone")).unwrap();
    to.write("new", "1");
    std::fs::rename(to.join("new"), to.join("d/replaced")).unwrap();
    std::fs::rename(to.join("d/swapped"), to.join("moved")).unwrap();
    symlink(other.path(), to.join("d/swapped")).unwrap();
    set_mtime(&to.join("d/touched"), 5, 5);
    std::fs::remove_file(to.join("d/type")).unwrap();
    to.mkdir("d/type");
    assert_eq!(run.delete(&mut disk), (4, 0));
    let want = [
        ("d/changed", 'k'),
        ("d/filled/a", 'd'),
        ("d/filled", 'k'),
        ("d/gone", 'd'),
        ("d/replaced", 'k'),
        ("d/swapped/a", 'k'),
        ("d/swapped", 'k'),
        ("d/touched", 'k'),
        ("d/type", 'k'),
        ("d/zfine/a", 'd'),
        ("d/zfine", 'd'),
    ];
    assert_eq!(fates(&run, &mut disk), fate(&want));
    assert!(exists(&other.join("a")) && exists(&to.join("moved/a")));
    assert!(exists(&to.join("d/filled/new")) && exists(&to.join("d/swapped")));
}

#[test]
fn a_directory_that_is_moved_or_exchanged_takes_nothing_with_it() {
    let (from, to, other) = (TempDir::new("from"), TempDir::new("to"), TempDir::new("other"));
    for name in ["a/sub/f", "b/sub/f", "c/sub/f"] {
        from.write(name, "1");
    }
    for name in ["a/sub/old", "b/sub/old", "c/sub/old"] {
        to.write(name, "1");
    }
    let mut disk = to.disk();
    let run = send(&from, &mut disk, DELETE);
    assert_eq!(run.tally(&mut disk).0, 3);
    // Out of the base directory, with a link to where it went; another with the same content in its
    // place; and two that change places.
    std::fs::rename(to.join("a/sub"), other.join("sub")).unwrap();
    symlink(other.join("sub"), to.join("a/sub")).unwrap();
    std::fs::rename(to.join("b/sub"), to.join("x")).unwrap();
    std::fs::rename(to.join("c/sub"), to.join("b/sub")).unwrap();
    std::fs::rename(to.join("x"), to.join("c/sub")).unwrap();
    assert_eq!(run.delete(&mut disk), (0, 0));
    assert!(fates(&run, &mut disk).iter().all(|(_, letter)| *letter == 'k'));
    assert!(exists(&other.join("sub/old")) && exists(&to.join("c/sub/old")));
}

#[test]
fn hard_links_of_one_file_all_go() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("kept", "1");
    set_mtime(&from.join("kept"), 5, 5);
    to.write("old/a", "1");
    for name in ["kept", "old/b", "old/c", "z"] {
        std::fs::hard_link(to.join("old/a"), to.join(name)).unwrap();
    }
    let mut disk = to.disk();
    let run = send(&from, &mut disk, DELETE);
    assert_eq!(run.tally(&mut disk).0, 5);
    assert_eq!(run.delete(&mut disk), (5, 0));
    run.transfer.close(&mut disk, false);
    assert_same(&from, &to);
}

#[test]
fn staging_is_never_deleted_nor_what_it_is_in() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("d/f", "1");
    to.write("d/.makuosan/x", "1");
    to.write("old/sub/.makuosan/x", "1");
    to.write("old/sub/f", "1");
    to.write("old/g", "1");
    let mut disk = to.disk();
    let run = send(&from, &mut disk, DELETE);
    run.tally(&mut disk);
    assert_eq!(run.names(&mut disk), ["old/g", "old/sub/f"]);
    assert_eq!(run.delete(&mut disk), (2, 0));
    assert!(exists(&to.join("d/.makuosan/x")) && exists(&to.join("old/sub/.makuosan/x")));
}

#[test]
fn what_is_too_deep_to_be_told_stays_and_fails() {
    let (from, to, half) = (TempDir::new("from"), TempDir::new("to"), TempDir::new("half"));
    // Built from the middle, as no call takes the whole path.
    let deep = vec!["d".repeat(100); 20].join("/");
    to.mkdir(&deep);
    half.mkdir(&format!("{deep}/{}/{}", "e".repeat(130), "f".repeat(200)));
    std::fs::rename(half.join(&"d".repeat(100)), to.join(&deep).join("d")).unwrap();
    to.write("old/f", "1");
    let mut disk = to.disk();
    let run = send(&from, &mut disk, DELETE);
    assert_eq!(run.tally(&mut disk).0, 3);
    assert_eq!(run.delete(&mut disk), (2, 1));
    let pages = run.pages(&mut disk);
    assert_eq!(pages[0].1, SpoolCode::Failed(Reason::Os(libc::ENAMETOOLONG as u16)));
    assert!(pages[0].0.ends_with('e') && pages[0].0.len() > 4_050, "{}", pages[0].0.len());
    assert_eq!(pages[2], ("old".to_string(), SpoolCode::Deleted));
    assert!(to.join(&deep).exists());
}

#[test]
fn deep_and_wide_trees_go_whole() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    to.mkdir(&vec!["d"; 1_500].join("/"));
    for n in 0..3_000 {
        to.write(&format!("wide/{n}"), "");
    }
    let mut disk = to.disk();
    let run = send(&from, &mut disk, DELETE);
    assert_eq!(run.tally(&mut disk), (4_501, 4_501));
    assert_eq!(run.delete(&mut disk), (4_501, 0));
    assert!(snapshot(to.path()).is_empty());
}

#[test]
fn names_are_compared_across_batches() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for n in 0..MAX_ENTRIES + 600 {
        from.write(&format!("d/{n}"), "");
        to.write(&format!("d/{n}"), "");
    }
    for n in 0..500 {
        to.write(&format!("d/{n}x"), "");
    }
    let mut disk = to.disk();
    for mode in [NAMES_ONLY, DELETE] {
        let run = send(&from, &mut disk, mode.dry());
        assert_eq!(run.tally(&mut disk), (500, MAX_ENTRIES as u64 + 1_100 + 1));
        run.transfer.close(&mut disk, false);
    }
    let run = send(&from, &mut disk, NAMES_ONLY);
    // Nothing is sent but names.
    assert!(run.lines.iter().all(|line| line.2 == Outcome::Skipped));
    assert_eq!(run.tally(&mut disk).0, 500);
    assert_eq!(run.delete(&mut disk), (500, 0));
    assert_eq!(std::fs::read_dir(to.join("d")).unwrap().count(), MAX_ENTRIES + 600);
}

#[test]
fn deletions_can_be_synced() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.mkdir("d");
    to.write("d/old/f", "1");
    let config = DiskConfig { fsync: true, ..DiskConfig::default() };
    let mut disk = to.disk_with(config);
    let run = send(&from, &mut disk, DELETE);
    assert_eq!(run.tally(&mut disk).0, 2);
    assert_eq!(run.delete(&mut disk), (2, 0));
}

#[test]
fn what_is_mounted_stays_with_what_it_is_in() {
    if !is_in_namespace("fs::tests::deletion::what_is_mounted_stays_with_what_it_is_in") {
        return;
    }
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("both/f", "1");
    to.write("old/a/f", "1");
    to.write("top/f", "1");
    to.write("file", "1");
    let other = to.write("other", "1");
    let _both = mount_tmpfs(&to.mkdir("both"), "size=1m");
    to.write("both/old/f", "1");
    let _abroad = mount_tmpfs(&to.mkdir("old/mnt"), "size=1m");
    to.write("old/mnt/f", "1");
    let _top = mount_tmpfs(&to.join("top"), "size=1m");
    let _file = mount(&["--bind", other.to_str().unwrap()], &to.join("file"));
    let _bound = mount(&["--bind", to.join("old/a").to_str().unwrap()], &to.mkdir("old/bound"));
    let mut disk = to.disk();
    let run = send(&from, &mut disk, DELETE);
    run.tally(&mut disk);
    assert_eq!(run.names(&mut disk), ["both/old/f", "both/old", "old/a/f", "old/a", "other"]);
    // Mounted meanwhile.
    let _late = mount_tmpfs(&to.join("both/old"), "size=1m");
    assert_eq!(run.delete(&mut disk), (3, 0));
    assert!(exists(&to.join("old/mnt/f")) && exists(&to.join("file")));
    run.transfer.close(&mut disk, false);
}

#[test]
fn without_roots_rights_what_can_go_goes_and_the_rest_is_said() {
    if !is_nobody("fs::tests::deletion::without_roots_rights_what_can_go_goes_and_the_rest_is_said")
    {
        return;
    }
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("closed/f", "1");
    from.write("blind/f", "1");
    from.write("dark/f", "1");
    chmod(&from.join("closed"), 0o555);
    for name in
        ["closed/f", "closed/old/f", "blind/f", "blind/old", "locked/f", "shut/a/f", "dark/old/f"]
    {
        to.write(name, "1");
    }
    to.mkdir("locked/empty");
    chmod(&to.join("closed/old"), 0o555);
    chmod(&to.join("closed"), 0o555);
    // The sender has it, but here nobody can say what is in it, which is said.
    chmod(&to.join("blind"), 0o300);
    // To send into it, one has to be let in.
    chmod(&to.join("dark"), 0o400);
    chmod(&to.join("locked/empty"), 0o000);
    chmod(&to.join("shut/a"), 0o000);
    let mut names = Vec::new();
    for mode in [DELETE.dry(), DELETE] {
        let mut disk = to.disk();
        let run = send(&from, &mut disk, mode);
        run.tally(&mut disk);
        names.push(run.names(&mut disk));
        if !mode.changes_nothing() {
            assert_eq!(run.delete(&mut disk), (3, 4));
            let want = [
                ("blind", 'f'),
                ("closed/old/f", 'd'),
                ("closed/old", 'd'),
                ("dark", 'f'),
                ("locked/empty", 'f'),
                ("locked/f", 'd'),
                ("shut/a", 'f'),
            ];
            assert_eq!(fates(&run, &mut disk), fate(&want));
        }
        run.transfer.close(&mut disk, false);
    }
    assert_eq!(names[0], names[1]);
    assert_eq!(mode(&to.join("closed")), 0o555);
    assert!(exists(&to.join("blind/old")) && exists(&to.join("dark/f")));
    assert!(exists(&to.join("dark/old/f")));
}
