//! ICMP errors of any bytes about mappings that there are; see `cgn_tests::fuzz::icmp_errors`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cgn_tests::fuzz::run("icmp_errors", input));
