//! What is fuzzed: functions of bytes that must not panic, each with what must hold in it.

pub mod console;
pub mod decoders;
pub mod incoming;
mod input;
pub mod manifests;
pub mod members;
pub mod outgoing;
pub mod sealed;
