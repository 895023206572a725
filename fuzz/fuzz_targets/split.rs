//! Packets that are fragmented, put together again.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cgn_tests::fuzz::run("split", input));
