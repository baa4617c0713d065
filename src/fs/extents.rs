//! Where a sparse file has data, by SEEK_DATA and SEEK_HOLE (lseek(2)).

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::fsat::{self, Stat};
use crate::wire::layout::STREAM_OVER;
use crate::wire::manifest::{Extent, MAX_EXTENTS};

/// Whether a file is long, and has fewer blocks than bytes.
pub(super) fn is_sparse(stat: &Stat) -> bool {
    stat.size > STREAM_OVER && stat.blocks.saturating_mul(512) < stat.size
}

/// Where a file like `stat` that begins at `start` in `fd` has data, if it is sparse and that can be told.
pub(super) fn of_sparse(fd: BorrowedFd<'_>, start: u64, stat: &Stat) -> Option<Vec<Extent>> {
    if is_sparse(stat) { of(fd, start, stat.size).ok()? } else { None }
}

/// How many bytes of a file like `stat` are data.
pub(super) fn data_len(fd: BorrowedFd<'_>, stat: &Stat) -> u64 {
    let extents = of_sparse(fd, 0, stat);
    extents.map_or(stat.size, |all| all.iter().map(|extent| extent.end - extent.start).sum())
}

/// The ranges of `size` bytes of `fd` from `base` on that hold data, ascending and disjoint. At most
/// [`MAX_EXTENTS`]: if there are more, those with the smallest gaps are merged. None if there are no
/// holes, or the file system cannot tell.
///
/// # Errors
/// Those of lseek(2).
fn of(fd: BorrowedFd<'_>, base: u64, size: u64) -> io::Result<Option<Vec<Extent>>> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match fsat::seek_data(fd, base + at).map(|at| at.map(|at| at - base)) {
            Ok(Some(start)) if start < size => start,
            Ok(_) => break,
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
            Err(e) => return Err(e),
        };
        let end = (fsat::seek_hole(fd, base + start)? - base).min(size);
        if end <= start {
            break; // the file is shrinking: reading it will fail
        }
        match extents.last_mut() {
            Some(last) if last.end >= start => last.end = end,
            _ => extents.push(Extent { start, end }),
        }
        at = end;
        if extents.len() >= 2 * MAX_EXTENTS {
            coarsen(&mut extents, MAX_EXTENTS);
        }
    }
    coarsen(&mut extents, MAX_EXTENTS);
    let whole = matches!(extents[..], [Extent { start: 0, end }] if end == size);
    Ok((!whole).then_some(extents))
}

/// Merges neighbours across the smallest gaps until `most` extents are left.
fn coarsen(extents: &mut Vec<Extent>, most: usize) {
    let excess = extents.len().saturating_sub(most.max(1));
    if excess == 0 {
        return;
    }
    let gaps = extents.windows(2).map(|pair| pair[1].start - pair[0].end);
    let mut smallest: Vec<(u64, usize)> = gaps.zip(1..).collect();
    smallest.select_nth_unstable(excess - 1);
    smallest.truncate(excess);
    let mut joined: Vec<usize> = smallest.into_iter().map(|(_, index)| index).collect();
    joined.sort_unstable();
    let mut joined = joined.into_iter().peekable();
    let mut kept: Vec<Extent> = Vec::with_capacity(most);
    for (index, &extent) in extents.iter().enumerate() {
        match kept.last_mut() {
            Some(last) if joined.next_if_eq(&index).is_some() => last.end = extent.end,
            _ => kept.push(extent),
        }
    }
    *extents = kept;
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    fn extent(start: u64, end: u64) -> Extent {
        Extent { start, end }
    }

    #[test]
    fn the_smallest_holes_are_filled_first() {
        let all =
            vec![extent(0, 1), extent(5, 6), extent(8, 9), extent(100, 110), extent(111, 112)];
        for (most, want) in [
            (9, all.clone()),
            (4, vec![extent(0, 1), extent(5, 6), extent(8, 9), extent(100, 112)]),
            (3, vec![extent(0, 1), extent(5, 9), extent(100, 112)]),
            (2, vec![extent(0, 9), extent(100, 112)]),
            (1, vec![extent(0, 112)]),
            (0, vec![extent(0, 112)]),
        ] {
            let mut got = all.clone();
            coarsen(&mut got, most);
            assert_eq!(got, want);
        }
    }

    #[test]
    fn data_is_found_and_everything_else_is_a_hole() {
        let temp = TempDir::new("extents");
        let file = std::fs::File::create_new(temp.join("f")).unwrap();
        file.set_len(64 << 20).unwrap();
        assert_eq!(of(file.as_fd(), 0, 64 << 20).unwrap(), Some(vec![]));
        file.write_all_at(b"x", 1 << 20).unwrap();
        file.write_all_at(b"x", 32 << 20).unwrap();
        let extents = of(file.as_fd(), 0, 64 << 20).unwrap().unwrap();
        for at in [1 << 20, 32 << 20] {
            assert!(extents.iter().any(|e| e.start <= at && at < e.end), "{extents:?}");
        }
        assert!(extents.iter().map(|e| e.end - e.start).sum::<u64>() < 4 << 20);
        file.write_all_at(&vec![1; 1 << 20], 0).unwrap();
        assert_eq!(of(file.as_fd(), 0, 1 << 20).unwrap(), None);
        assert_eq!(of(file.as_fd(), 0, 0).unwrap(), Some(vec![]));
    }
}
