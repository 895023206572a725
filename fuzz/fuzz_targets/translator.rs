//! Any frame through the translator on the host; see `fuzz_one` for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cgn_tests::harness::sound::fuzz_one(input));
