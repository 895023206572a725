//! Any bytes as a packet of IPv6; see `cgn_tests::fuzz::ipv6`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cgn_tests::fuzz::run("ipv6", input));
