//! Sending with another group (`-g`): what becomes of the mode.

use super::rights::SET_IDS;
use crate::sys::fsat::Stat;

/// The bits of the mode that are the group's, as those of others moved up three places.
const GROUP_BITS: u32 = 0o070;

/// The group that entries are sent with in place of their own.
#[derive(Clone, Debug)]
pub struct Regroup {
    /// The group.
    pub gid: u32,
    /// On whose behalf: a user and its groups, the new one among them. None for one who may do this
    /// with any file.
    pub by: Option<(u32, Vec<u32>)>,
}

impl Regroup {
    /// The mode that an entry is sent with. Never with set-id bits: they were given for the group
    /// and contents that the entry had with them. And the new group gets no right that its user
    /// could not give it: where neither the file nor its group is the user's, only what others have.
    pub(super) fn mode(&self, stat: &Stat) -> u32 {
        let mode = stat.mode & !SET_IDS;
        match &self.by {
            Some((uid, groups)) if *uid != stat.uid && !groups.contains(&stat.gid) => {
                mode & !GROUP_BITS | mode & GROUP_BITS & mode << 3
            }
            _ => mode,
        }
    }
}
