//! The daemon's sockets: multicast to the group, unicast to a member, in batches.
//!
//! [`Net`] holds two UDP sockets and is shared by the threads of the daemon:
//!
//! - the *group socket* is bound to the group's address and port, so that it receives what is sent
//!   to the group and nothing else;
//! - the *unicast socket* is bound to the interface's address (or any) and the same port. All sends
//!   leave from it, to the group too, so the source of a packet is where to answer.
//!
//! A large send is one system call where the kernel can cut it into packets (UDP GSO), else one for
//! every 64 packets (`sendmmsg`), else one for each; a large receive likewise (UDP GRO with
//! `recvmmsg`, `recvmmsg`, `recvmsg`). What the kernel or the card refuses is done the next way,
//! at once and for good, and nothing is lost by it.
//!
//! Packets are never fragmented by IP. Nothing is logged here: errors go to the caller, for whom
//! most of them are no more than lost packets. Sending and receiving allocate nothing.
#![forbid(unsafe_code)]

mod error;
mod interface;
mod offload;
mod receive;
mod send;
mod socket;
#[cfg(test)]
mod tests;
mod wait;
mod which;

pub use crate::sys::Waker;
pub use error::NetError;
pub use interface::{address_of, interface_of, source_to};
pub use offload::{RecvMode, SendMode};
pub use receive::RecvBatch;
pub use send::Transmit;
pub use socket::{Net, NetConfig};
pub use wait::{Ready, wait};
pub use which::Which;
