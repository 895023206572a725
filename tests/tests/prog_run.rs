//! The cases and the corpus in the kernel (`BPF_PROG_TEST_RUN`), compared with host and slow path.

use cgn_tests::harness::cases;
use cgn_tests::harness::namespace::in_namespace;
use cgn_tests::harness::trial::Trial;
use cgn_tests::skip;

#[test]
fn every_case_is_the_same_on_host_slow_path_and_bpf() {
    if skip::is_root("every_case_is_the_same_on_host_slow_path_and_bpf") {
        in_namespace(|| cases::run_all(&mut Trial::everywhere()));
    }
}
