//! See `tests/corpus/bodies/sealed.rs`.
#![no_main]
#![allow(dead_code)]

#[path = "../../corpus/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::sealed::run(data));
