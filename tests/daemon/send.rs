//! What arrives.

use crate::common::{Fleet, tree};

#[test]
fn an_odd_tree_arrives_whole() {
    let fleet = Fleet::new("odd", 3);
    tree::make_odd(&fleet.base(0));
    let ran = fleet.msync(0, &["send", "-r"]);
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
    ran.ok();
}
