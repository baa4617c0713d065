//! Packets sealed and opened: with a key authenticated, encrypted and taken once; without one, a
//! checksum.
//!
//! The daemon reads the key files and owns the sockets; what is here works on bytes.
#![forbid(unsafe_code)]

mod keyring;
mod packet;
mod replays;

pub use keyring::{Keyring, Keys, Master};
pub use packet::{AROUND, Bad, Checked, Opens, Seal};
pub use replays::Replays;
