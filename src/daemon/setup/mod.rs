//! From the command line to the running threads: what is checked, opened and given up before.

pub(super) mod check_config;
pub(super) mod confine;
mod hazards;
pub(super) mod password;
pub(super) mod start;
