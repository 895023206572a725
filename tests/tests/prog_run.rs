//! The cases and the corpus in the kernel (`BPF_PROG_TEST_RUN`), compared with host and slow path.

use cgn_tests::harness::cases;
use cgn_tests::harness::namespace::in_namespace;
use cgn_tests::harness::trial::Trial;
use cgn_tests::packets::corpus;
use cgn_tests::skip;

#[test]
fn every_case_is_the_same_on_host_slow_path_and_bpf() {
    if skip::is_root("every_case_is_the_same_on_host_slow_path_and_bpf") {
        in_namespace(|| cases::run_all(&mut Trial::everywhere()));
    }
}

#[test]
fn our_own_frames_are_handled_alike_everywhere() {
    if skip::is_root("our_own_frames_are_handled_alike_everywhere") {
        let sent = in_namespace(|| corpus::run(&mut Trial::everywhere(), &corpus::own()));
        assert!(sent > 20, "only {sent} were translated");
    }
}

#[test]
fn captured_frames_are_handled_alike_everywhere() {
    const TEST: &str = "captured_frames_are_handled_alike_everywhere";
    let Some(captured) = corpus::captured() else {
        let folder = corpus::folder();
        return skip::skip(TEST, &format!("no captures in {}", folder.display()));
    };
    if !skip::is_root(TEST) {
        return;
    }
    let sent = in_namespace(|| corpus::run(&mut Trial::everywhere(), &captured.samples));
    println!(
        "{} frames, {sent} runs were translated",
        captured.samples.len()
    );
    assert!(sent > 100, "only {sent} were translated");
}
