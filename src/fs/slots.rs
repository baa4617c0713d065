//! The names of what is staged. A slot is one that lasts: what has it is spared whenever the rest goes. It is one of a
//! mirror, or one of many of a transaction.

use std::collections::BTreeSet;

/// The file name of a number.
pub(super) fn name_of(number: u64) -> Vec<u8> {
    format!("{number:x}").into_bytes()
}

/// What the names of slots begin with; their number follows, and perhaps more.
pub(super) const SLOT: &[u8] = b"slot-";

/// Whether a name in a place is that of a slot among these.
pub(super) fn is_slot(name: &[u8], slots: &BTreeSet<u64>) -> bool {
    let number = name.strip_prefix(SLOT).and_then(|rest| rest.get(..16));
    let number = number.and_then(|digits| std::str::from_utf8(digits).ok());
    number.and_then(|n| u64::from_str_radix(n, 16).ok()).is_some_and(|n| slots.contains(&n))
}

/// What the names of a transaction's slots begin with.
pub(super) fn prefix_of(transaction: u64) -> Vec<u8> {
    [SLOT, format!("{transaction:016x}.").as_bytes()].concat()
}

/// The name of a transaction's slot.
pub(super) fn name_in(transaction: u64, number: u64) -> Vec<u8> {
    [&prefix_of(transaction)[..], &name_of(number)].concat()
}
