//! The store of fragments that wait, step by step beside a plain one.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cgn_tests::fuzz::run("fragments", input));
