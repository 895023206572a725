//! The cases and the corpus on the host and in the slow path: no rights needed.

use cgn_tests::harness::cases;
use cgn_tests::harness::trial::Trial;

#[test]
fn every_case_is_the_same_on_host_and_slow_path() {
    cases::run_all(&mut Trial::on_host());
}
