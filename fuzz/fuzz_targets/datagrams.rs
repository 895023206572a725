//! Fragments of several through the translator; see `cgn_tests::fuzz::datagrams`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cgn_tests::fuzz::run("datagrams", input));
