//! Taking apart paths relative to the base directory, as bytes. The empty path is the base itself.

use std::cmp::Ordering;

/// The directory part of a path (empty for the base) and its last component.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// The directories above `path`, topmost first, without the base.
pub(super) fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|&(_, &b)| b == b'/').map(|(at, _)| &path[..at])
}

/// How a walk orders the close entries of `a` and `b`: by name, and a directory after what is in it.
pub(super) fn post_order(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (a.split(|&b| b == b'/'), b.split(|&b| b == b'/'));
    loop {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => return a.cmp(b),
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_directory_and_a_name() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert_eq!(split(b""), (&b""[..], &b""[..]));
    }

    #[test]
    fn the_base_is_above_everything_and_not_said() {
        assert_eq!(above(b"a/b/c").collect::<Vec<_>>(), [&b"a"[..], b"a/b"]);
        assert_eq!(above(b"a").count(), 0);
        assert_eq!(above(b"").count(), 0);
    }

    #[test]
    fn a_walk_closes_directories_in_one_order() {
        let order = ["a/b/c", "a/b", "a/ba", "a", "a-", "a.d/x", "a.d", "b"];
        for (at, one) in order.iter().enumerate() {
            for (other_at, other) in order.iter().enumerate() {
                assert_eq!(post_order(one.as_bytes(), other.as_bytes()), at.cmp(&other_at));
            }
        }
    }
}
