//! What the control thread has to know of the configuration.

use std::path::PathBuf;

use crate::time::Span;

/// What the control loop has to know of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) no_send: bool,
    pub(crate) own_only: Option<u32>,
    pub(crate) parallel: usize,
    pub(crate) timeout: Span,
    pub(crate) rate: Option<u32>,
    pub(crate) sendsize: u64,
    /// The base directory as it is outside a chroot.
    pub(crate) base: PathBuf,
    pub(crate) chroot: bool,
    /// What the daemon has given up.
    pub(crate) confined: String,
    /// The key files, by paths that hold wherever the daemon is.
    pub(crate) keys: Vec<PathBuf>,
}
