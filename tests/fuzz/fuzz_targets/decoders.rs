//! See `tests/corpus/bodies/decoders.rs`.
#![no_main]
#![allow(dead_code)]

#[path = "../../corpus/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::decoders::run(data));
