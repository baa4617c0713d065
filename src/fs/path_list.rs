//! A list of paths that are to be sent, or are gone.

use std::ops::Range;

pub use crate::console::command::MOST_PATHS;
use crate::name::{RelPath, tree_order};

/// A path in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The path.
    pub path: RelPath,
    /// If it is a directory, all that is in it is sent, too.
    pub whole: bool,
    /// What targets have in it besides stays.
    pub keeps: bool,
    /// Where targets are likely to have the same, if it was moved.
    pub from: Option<RelPath>,
}

/// Paths in the order of a walk, each once. What is below a path that is whole is not in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PathList {
    paths: Vec<Listed>,
}

impl PathList {
    /// The list of these paths, in any order.
    pub fn new(mut paths: Vec<Listed>) -> Self {
        paths.sort_unstable_by(|a, b| {
            let by_path = tree_order(a.path.as_bytes(), b.path.as_bytes());
            by_path.then(b.whole.cmp(&a.whole)).then(b.from.is_some().cmp(&a.from.is_some()))
        });
        let mut last: Option<Listed> = None;
        paths.retain(|one| {
            let is_there = last.as_ref().is_some_and(|last| {
                one.path == last.path || (last.whole && one.path.is_under(&last.path))
            });
            if !is_there {
                last = Some(one.clone());
            }
            !is_there
        });
        PathList { paths }
    }

    /// The list of these paths, all of them whole or none.
    pub fn of(paths: &[RelPath], whole: bool) -> Self {
        PathList::new(
            paths
                .iter()
                .map(|path| Listed { path: path.clone(), whole, keeps: false, from: None })
                .collect(),
        )
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The paths.
    pub fn iter(&self) -> impl Iterator<Item = &Listed> {
        self.paths.iter()
    }

    /// Those at a path and below it: where they are.
    pub(super) fn at(&self, path: &RelPath) -> Range<usize> {
        let before = |one: &Listed| tree_order(one.path.as_bytes(), path.as_bytes()).is_lt();
        let start = self.paths.partition_point(before);
        let rest = self.paths.get(start..).unwrap_or_default();
        let len = rest.partition_point(|one| one.path.is_under(path));
        start..start + len
    }

    /// The paths that are there.
    pub(super) fn get(&self, range: Range<usize>) -> &[Listed] {
        self.paths.get(range).unwrap_or_default()
    }

    /// Where targets are likely to have what is at a path now.
    pub(super) fn origin(&self, path: &RelPath) -> Option<RelPath> {
        let last = self
            .paths
            .partition_point(|one| tree_order(one.path.as_bytes(), path.as_bytes()).is_le());
        // What is below a path that is whole is not listed, so it is the last one before.
        let listed = self.paths.get(last.checked_sub(1)?)?;
        let is_it = listed.path == *path || (listed.whole && path.is_under(&listed.path));
        let from = listed.from.as_ref().filter(|_| is_it)?;
        let rest = path.as_bytes().get(listed.path.as_bytes().len()..)?;
        RelPath::parse(&[from.as_bytes(), rest].concat()).ok()
    }

    /// The path itself, if it is listed.
    pub(super) fn find(&self, path: &RelPath) -> Option<&Listed> {
        self.get(self.at(path)).first().filter(|first| first.path == *path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::path;
    use super::*;

    fn list(paths: &[(&str, bool)]) -> PathList {
        let listed = |&(at, whole): &(&str, bool)| Listed {
            path: path(at),
            whole,
            keeps: false,
            from: None,
        };
        PathList::new(paths.iter().map(listed).collect())
    }

    #[test]
    fn paths_are_in_the_order_of_a_walk_and_each_once() {
        let all = list(&[
            ("b", false),
            ("a.b", false),
            ("a/x/y", false),
            ("a/x", true),
            ("a/x", false),
            ("a", false),
            ("a/xy", false),
        ]);
        let shown: Vec<String> = all.iter().map(|one| one.path.to_string()).collect();
        assert_eq!(shown, ["a", "a/x", "a/xy", "a.b", "b"]);
        assert!(all.find(&path("a/x")).is_some_and(|one| one.whole));
        assert_eq!(all.find(&path("a/x/y")), None);
        assert_eq!((all.at(&path("a")), all.at(&path("a/xy/z"))), (0..3, 3..3));
        assert_eq!((all.at(&RelPath::base()), all.len()), (0..5, 5));
        assert!(list(&[]).is_empty());
    }

    #[test]
    fn what_is_below_a_moved_directory_was_below_it_before() {
        let from = |at: &str, whole, from: &str| Listed {
            path: path(at),
            whole,
            keeps: false,
            from: Some(path(from)),
        };
        let plain = |at: &str| Listed { path: path(at), whole: true, keeps: false, from: None };
        let all = PathList::new(vec![
            from("d", true, "old/d"),
            from("f", false, "g"),
            plain("d.x"),
            plain("e"),
        ]);
        let origin = |at: &str| all.origin(&path(at)).map(|from| from.to_string());
        assert_eq!(origin("d").as_deref(), Some("old/d"));
        assert_eq!(origin("d/x/y").as_deref(), Some("old/d/x/y"));
        assert_eq!(origin("f").as_deref(), Some("g"));
        for none in ["f/x", "d.x", "d.x/y", "e", "c", "z"] {
            assert_eq!(origin(none), None, "{none}");
        }
    }
}
