//! Real directories with real events, and a clock that the tests move: events are in the queue when the call that
//! makes them returns.

mod accidents;
mod bench;
mod guards;
mod histories;
mod limits;
mod stage;
mod thread;
