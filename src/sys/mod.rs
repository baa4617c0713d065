//! sys

pub mod fsat;
