//! A daemon that is killed while it puts things into place, and does it again.

use super::*;

/// Applies as much as `most` changes are, as if the daemon was killed then. Whether that was all.
fn killed_after(disk: &mut Disk, most: u32) -> bool {
    let mut left = most;
    let mut fuse = || match left.checked_sub(1) {
        Some(less) => {
            left = less;
            Ok(())
        }
        None => Err(std::io::Error::other("killed")),
    };
    disk.apply_with(NO, &mut fuse).unwrap();
    left > 0
}

/// For each moment at which a daemon can be killed: what `meanwhile` does, then a start, and all of it done.
fn at_each_moment(mut each: impl FnMut(u32) -> bool) {
    let mut most = 0;
    while !each(most) {
        most += 1;
    }
    assert!(most > 20, "{most}");
}

#[test]
fn killed_at_any_moment_the_rest_is_done() {
    at_each_moment(|most| {
        let (from, to) = trees();
        to.write("extra/tree/f", "1");
        to.write("extra/f", "1");
        from.write("late", "1");
        to.write("late/with/f", "1");
        let mut disk = start(&to, &[]);
        let prepared = ready(&from, &mut disk, DELETES);
        let all = killed_after(&mut disk, most);
        drop(disk);
        let mut disk = start(&to, &[prepared]);
        let applied = apply(&mut disk);
        assert_eq!(applied.failed, 0, "{most}: {applied:?}");
        assert_same(&from, &to);
        clear(&mut disk, &to);
        assert_same(&from, &to);
        all
    });
}
