//! What the tests of incoming transfers share.

use std::sync::Arc;

use super::batch::Plan;
use super::shared::Shared;
use super::types::Config;
use crate::engine::disk_job::TransferKey;
use crate::ids::TransferNo;
use crate::name::NodeId;
use crate::wire::layout::Layout;
use crate::wire::manifest::tests::entry;
use crate::wire::manifest::{Kind, Manifest};

/// A transfer.
pub(super) const KEY: TransferKey = TransferKey { node: NodeId(9), number: TransferNo::new(7) };

/// A daemon with memory enough.
pub(super) fn shared() -> Shared {
    with_budget(32 << 20)
}

/// A daemon with so much memory.
pub(super) fn with_budget(budget: usize) -> Shared {
    Shared::new(Config { me: NodeId(1), receive_buffer: 1 << 20, budget, seed: 7 })
}

/// A manifest of files of these sizes.
pub(super) fn manifest(sizes: &[u64]) -> Manifest {
    let file = |(at, &size)| entry(&format!("f{at}"), Kind::File { size, data: None });
    Manifest { entries: sizes.iter().enumerate().map(file).collect(), ..Manifest::default() }
}

/// The plan of a batch of such files.
pub(super) fn plan(sizes: &[u64], block: u16) -> Plan {
    let manifest = manifest(sizes);
    let layout = Layout::new(&manifest, block.into()).unwrap();
    Plan { manifest: Arc::new(manifest), layout: Arc::new(layout) }
}
