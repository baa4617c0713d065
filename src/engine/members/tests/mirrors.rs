//! What HELLO says of mirrored trees.

use super::*;
use crate::wire::mirror::{MAX_TREES, Standing};
use crate::wire::names::Hash;
use crate::wire::versions::IndexId;

fn standing(tree: u64, height: u64) -> Standing {
    Standing::plain(Hash(tree), IndexId(7), height, !height)
}

fn trees(count: usize, height: u64) -> Vec<Standing> {
    (0..count as u64).map(|tree| standing(tree, height)).collect()
}

/// What the next HELLO to the group says.
fn said(members: &mut Members) -> Vec<Standing> {
    members.say_hello();
    hellos_to(members, Destination::Group).pop().map(|hello| hello.mirrors).unwrap_or_default()
}

#[test]
fn every_hello_says_how_all_trees_stand_or_as_many_as_fit_in_turn() {
    let mut members = started();
    assert!(said(&mut members).is_empty());
    members.set_mirrors(trees(MAX_TREES, 1));
    assert_eq!(said(&mut members), trees(MAX_TREES, 1));
    members.set_mirrors(trees(2, 2));
    assert_eq!(said(&mut members), trees(2, 2));
    members.set_mtu(576);
    members.set_mirrors(trees(MAX_TREES, 3));
    let mut heard = Vec::new();
    while heard.len() < 2 * MAX_TREES {
        let some = said(&mut members);
        assert!((2..MAX_TREES).contains(&some.len()));
        heard.extend(some);
    }
    let again = trees(MAX_TREES, 3).into_iter().cycle();
    assert!(heard.iter().zip(again).all(|(heard, tree)| *heard == tree));
}

#[test]
fn what_a_member_says_of_its_trees_is_kept_and_no_more_than_there_may_be() {
    let mut members = started();
    admit(&mut members, secs(2), 2, addr(2), 2);
    let mut counter = 3;
    let mut says = |members: &mut Members, mirrors| {
        counter += 1;
        assert!(members.hello(secs(3), NodeId(2), addr(2), counter, &Hello { mirrors, ..plain() }));
        members.get(NodeId(2)).map(|member| member.mirrors.clone()).unwrap_or_default()
    };
    assert_eq!(says(&mut members, vec![standing(1, 5)]), [standing(1, 5)]);
    assert_eq!(says(&mut members, Vec::new()), [standing(1, 5)], "of none this time");
    let both = [standing(1, 6), standing(2, 1)];
    assert_eq!(says(&mut members, vec![standing(2, 1), standing(1, 6)]), both);
    for first in 0..10 {
        let many = (0..MAX_TREES as u64).map(|n| standing(100 * first + n, n)).collect();
        assert!(says(&mut members, many).len() <= MAX_TREES);
    }
}
