//! The fuzz targets without a fuzzer: what is kept, and mutations of it from a fixed seed.

use cgn_tests::fuzz::{TARGETS, Target, kept};
use cgn_tests::packets::mutate::{Dice, mutate};

/// Mutated inputs of each target.
const ROUNDS: usize = 20_000;

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|t| t.name == name).expect("a target")
}

/// Runs kept inputs, then mutations of them; so many must get to the end of the way.
fn runs(name: &str, least: usize) {
    let target = target(name);
    for (path, input) in kept("crashes", name) {
        println!("{}", path.display());
        let _ = (target.run)(&input);
    }
    let corpus = kept("corpus", name);
    assert!(
        corpus.len() > 5,
        "only {} inputs in fuzz/corpus/{name}",
        corpus.len()
    );
    for (path, input) in &corpus {
        println!("{}", path.display());
        let _ = (target.run)(input);
    }
    let mut dice = Dice::new(0x9e37_79b9_7f4a_7c15);
    let mut through = 0;
    for _ in 0..ROUNDS {
        let mut input = corpus[dice.roll(corpus.len())].1.clone();
        mutate(&mut input, &mut dice);
        through += usize::from((target.run)(&input));
    }
    println!("{through} of {ROUNDS} got through");
    assert!(through >= least, "only {through} of {ROUNDS} got through");
}

#[test]
fn translator() {
    runs("translator", 500);
}

#[test]
fn icmp_errors() {
    runs("icmp_errors", 500);
}

#[test]
fn datagrams() {
    runs("datagrams", 500);
}

#[test]
fn ipv6() {
    runs("ipv6", 5000);
}

#[test]
fn fragments() {
    runs("fragments", 500);
}

#[test]
fn split() {
    runs("split", 500);
}

/// A target that nobody runs is none.
#[test]
fn every_target_has_its_file_and_its_test() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("it is there");
    let manifest = read("fuzz/Cargo.toml");
    let tests = read("tests/tests/fuzz.rs");
    for Target { name, .. } in TARGETS {
        let file = read(&format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(file.contains(&format!("run(\"{name}\"")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(tests.contains(&format!("runs(\"{name}\"")), "{name}");
    }
}
