//! Any frame through the translator on the host; see `harness::sound` for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cgn_tests::fuzz::run("translator", input));
