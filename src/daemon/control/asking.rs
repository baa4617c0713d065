//! What a client waits for that has asked something of mirrors.

/// What a client has asked of mirrored trees.
#[derive(Debug)]
pub(crate) struct Asking {
    /// How many trees have not answered.
    pub(super) left: usize,
    /// The path that it is about, as messages show it.
    pub(super) shown: String,
    /// Whether the answer is JSON.
    pub(super) json: bool,
    /// What is to be said if there is nothing of the kind at that path.
    pub(super) none: Option<String>,
    /// How many paths it has concerned.
    pub(super) count: usize,
    /// Something was refused.
    pub(super) failed: bool,
    /// The lines of the answer so far.
    pub(super) said: String,
}
