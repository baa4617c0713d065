//! Which patterns of a list a path has to be compared with.
#![forbid(unsafe_code)]

use std::cmp::Ordering;

use super::glob::{Compiled, Fixed, Program};

/// The patterns, filed under their most telling bytes.
#[derive(Clone, Debug)]
pub(super) struct Index {
    groups: Vec<Group>,
    /// The numbers of those that are filed nowhere.
    rest: Vec<u32>,
}

/// Patterns whose telling bytes are of one kind, in the same component, and of one length unless they are
/// whole names.
#[derive(Clone, Debug)]
struct Group {
    kind: Fixed,
    /// Which component, counted from the last one.
    at: usize,
    /// How many bytes; 0 for whole names.
    len: usize,
    /// By their bytes, and those with the same bytes by their numbers.
    filed: Vec<Filed>,
}

/// One pattern: its number, and where its telling bytes are in the program.
#[derive(Clone, Copy, Debug)]
struct Filed {
    number: u32,
    start: u32,
    len: u32,
}

impl Index {
    /// The bytes that one pattern takes in it.
    pub const EACH: usize = size_of::<Filed>();

    pub fn new<'a>(patterns: impl Iterator<Item = &'a Compiled>, program: &Program) -> Index {
        let mut index = Index { groups: Vec::new(), rest: Vec::new() };
        let mut filed = Vec::new();
        for (number, pattern) in (0..).zip(patterns) {
            match program.telling(pattern) {
                None => index.rest.push(number),
                Some((kind, at, bytes)) => {
                    let len = if kind == Fixed::Whole { 0 } else { bytes.len() };
                    let (start, bytes) = (bytes.start as u32, bytes.len() as u32);
                    filed.push(((kind, at, len), Filed { number, start, len: bytes }));
                }
            }
        }
        let bytes = |filed: &Filed| program.slice(filed.start, filed.len);
        filed.sort_by(|(group, filed), (other, with)| {
            group.cmp(other).then_with(|| bytes(filed).cmp(bytes(with)))
        });
        for ((kind, at, len), one) in filed {
            match index.groups.last_mut() {
                Some(group) if (group.kind, group.at, group.len) == (kind, at, len) => {
                    group.filed.push(one);
                }
                _ => index.groups.push(Group { kind, at, len, filed: vec![one] }),
            }
        }
        index
    }

    /// The lowest number of those that `matches` says yes to; `path` is what it compares with.
    pub fn first(
        &self,
        path: &[u8],
        program: &Program,
        matches: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut first = None;
        let is_better = |number: u32, first: Option<u32>| first.is_none_or(|best| number < best);
        for group in &self.groups {
            let Some(bytes) = group.bytes_of(path) else { continue };
            let compare = |filed: &Filed| {
                let tokens = program.slice(filed.start, filed.len);
                tokens.iter().copied().cmp(bytes.iter().copied().map(u16::from))
            };
            let from = group.filed.partition_point(|filed| compare(filed) == Ordering::Less);
            let same = group.filed.get(from..).unwrap_or_default().iter();
            let same = same.take_while(|filed| compare(filed) == Ordering::Equal);
            let numbers = same.map(|filed| filed.number);
            first = numbers
                .take_while(|number| is_better(*number, first))
                .find(|number| matches(*number))
                .or(first);
        }
        let rest = self.rest.iter().copied().take_while(|number| is_better(*number, first));
        rest.into_iter().find(|number| matches(*number)).or(first)
    }
}

impl Group {
    /// The bytes of `path` that are compared with those of the group. None if it has not as many.
    fn bytes_of<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let name = path.rsplit(|byte| *byte == b'/').nth(self.at)?;
        match self.kind {
            Fixed::Whole => Some(name),
            Fixed::Start => name.get(..self.len),
            Fixed::End => name.get(name.len().checked_sub(self.len)?..),
        }
    }
}
