//! Which of the two sockets.

/// One of the two sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// That of the group.
    Group,
    /// Our own.
    Unicast,
}
