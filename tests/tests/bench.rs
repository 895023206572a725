//! The benches, each so small that it takes a second or two: that they still measure what they
//! say. Their figures are not looked at.

use cgn_tests::bench::rig::cell::Cell;
use cgn_tests::bench::rig::population::Population;
use cgn_tests::bench::rig::system::System;
use cgn_tests::skip;

/// The rig with sixteen subscribers: an error unless every frame came out as it should.
fn rig(system: System) {
    let cell = Cell {
        system: system.clone(),
        population: Population::of(1008).expect("63 times 16"),
        secs: 0.01,
        cpu: 0,
    };
    let measured = cell.measure().expect("the rig measures");
    assert!(measured.pps > 1000.0, "{measured:?}");
    assert_eq!(measured.cps.is_some(), system.is_nat());
    assert_eq!((measured.loss, measured.new_loss), (0.0, 0.0));
}

#[test]
fn the_rig_measures_the_cgn_in_the_driver() {
    if skip::is_root("the_rig_measures_the_cgn_in_the_driver") {
        rig(System::CgnNative);
    }
}

#[test]
fn the_rig_measures_the_cgn_in_generic_mode() {
    if skip::is_root("the_rig_measures_the_cgn_in_generic_mode") {
        rig(System::CgnGeneric);
    }
}

#[test]
fn the_rig_measures_its_limit() {
    if skip::is_root("the_rig_measures_its_limit") {
        rig(System::Redirect);
        rig(System::Drop);
    }
}

#[test]
fn the_rig_measures_nftables() {
    let name = "the_rig_measures_nftables";
    if !skip::is_root(name) {
        return;
    }
    match System::Nftables.check() {
        Ok(()) => rig(System::Nftables),
        Err(error) => skip::skip(name, &format!("{error:#}")),
    }
}
