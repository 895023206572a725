//! The benches, each so small that it takes a second or two: that they still measure what they
//! say. Their figures are not looked at.

use cgn_tests::bench::control;
use cgn_tests::bench::micro::{self, Case};
use cgn_tests::bench::rfc9693::bench::{Bench, Setup};
use cgn_tests::bench::rfc9693::traffic::{Direction, Traffic};
use cgn_tests::bench::rig::cell::Cell;
use cgn_tests::bench::rig::frame_size::FrameSize;
use cgn_tests::bench::rig::population::Population;
use cgn_tests::bench::rig::system::System;
use cgn_tests::bench::world::FEW;
use cgn_tests::skip;
use cgn_user::dataplane::load::OBJECT;

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
fn the_rig_measures_the_cgn_with_a_mirror() {
    if skip::is_root("the_rig_measures_the_cgn_with_a_mirror") {
        rig(System::CgnMirror);
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

/// A rig on which every session is known, each validated, opened at a rate that any machine keeps. Only that
/// the generator kept it is up to the machine, and gets another chance.
fn validated(population: Population, rate: f64) -> Bench {
    let setup = Setup {
        population,
        cpus: (0, 0),
        most_loss: 0.0,
    };
    let mut said = Vec::new();
    let prepared = (0..5).find_map(|_| {
        let mut bench = Bench::new(setup).expect("a rig and a daemon");
        match bench.establish(rate).expect("a trial") {
            Ok(()) => return Some(bench),
            Err(why) => said.push(why),
        }
        None
    });
    prepared.unwrap_or_else(|| panic!("no trial in order: {said:?}"))
}

/// Both phases, in all directions and with all lengths of frames.
#[test]
fn the_tests_of_rfc_9693_validate_every_connection() {
    if !skip::is_root("the_tests_of_rfc_9693_validate_every_connection") {
        return;
    }
    let mut bench = validated(Population::of(1008).expect("63 times 16"), 2_000.0);
    for direction in [Direction::Forward, Direction::Reverse, Direction::Both] {
        for size in [FrameSize::SHORTEST, FrameSize::Bytes(1514), FrameSize::Imix] {
            let traffic = Traffic { direction, size };
            let mut trial = |_| bench.forward(traffic, 5_000.0, 0.2).expect("a trial");
            let rates = (0..5).map(&mut trial).find_map(Result::ok);
            let rates = rates.unwrap_or_else(|| panic!("{traffic}: {:?}", trial(5)));
            assert_eq!(rates.len(), direction.singles().len(), "{traffic}");
            assert!(
                rates.iter().all(|rate| *rate > 2_500.0),
                "{traffic}: {rates:?}"
            );
        }
        let traffic = Traffic {
            direction,
            size: FrameSize::SHORTEST,
        };
        let latency = bench.latency(traffic, 5_000.0, 0.1).expect("a trial");
        assert!(
            latency.is_some_and(|[least, ..]| least > 0.0),
            "{latency:?}"
        );
    }
    assert!(bench.table_bytes().expect("pinned maps") > 1008 * 48);
    assert!(bench.tear_down().expect("all end") > 0.0);
}

/// In lock-step no rate is beyond the device under test, so nothing is lost; once its sessions are gone,
/// everything is.
#[test]
fn the_loss_over_the_offered_rate_is_what_is_lost() {
    if !skip::is_root("the_loss_over_the_offered_rate_is_what_is_lost") {
        return;
    }
    let mut bench = validated(Population::of(1008).expect("63 times 16"), 2_000.0);
    let traffic = Traffic {
        direction: Direction::Both,
        size: FrameSize::Imix,
    };
    let most = bench.most_offered(traffic).expect("it sends");
    assert!(most > 20_000.0, "{most} frames a second");
    let offered = bench.offer(traffic, 5_000.0, 0.2).expect("a trial");
    assert_eq!(offered.lost, [0.0, 0.0]);
    assert!(offered.per_second > 2_500.0, "{offered:?}");
    bench.tear_down().expect("all end");
    let reverse = Traffic {
        direction: Direction::Reverse,
        size: FrameSize::Imix,
    };
    let offered = bench.offer(reverse, 5_000.0, 0.2).expect("a trial");
    assert_eq!(offered.lost, [1.0], "no session is left to answer");
}

/// FD.io's denser hosts: with one block for all sessions of a subscriber, and with several.
#[test]
fn dense_subscribers_are_validated_too() {
    if !skip::is_root("dense_subscribers_are_validated_too") {
        return;
    }
    for (sessions, per_host) in [(4_032, 1_008), (16_128, 4_032)] {
        let population = Population::dense(sessions, per_host).expect("4 subscribers");
        let mut bench = validated(population, 10_000.0);
        assert!(bench.tear_down().expect("all end") > 0.0);
    }
}

#[test]
fn the_control_plane_is_measured() {
    if !skip::is_root("the_control_plane_is_measured") {
        return;
    }
    let options = control::Options {
        mappings: 1008,
        secs: 0.2,
        floods: 0,
        log_days: 0,
        cpus: (0, 0),
    };
    let figures = control::measure(&options, |what| println!("{what}")).expect("it measures");
    assert!(figures.punt_us.is_some() && figures.calm_us.is_some() && figures.swept_us.is_some());
    assert!(
        figures.sweep_secs > 0.0 && figures.takeover_secs > 0.0,
        "{figures:?}"
    );
}

/// Each feature's packets end as they should, with it and without it.
#[test]
fn every_feature_is_measured_off_and_on() {
    if !skip::is_root("every_feature_is_measured_off_and_on") {
        return;
    }
    let options = micro::Options {
        flows: vec![1024],
        rounds: 1,
        burst: 2,
        objects: vec![OBJECT.into()],
    };
    // Those whose tables differ most: each is two loads of the programs.
    let mut features = micro::features();
    let chosen = [
        "filters",
        "group limits",
        "inspect all",
        micro::DEFAULT_POLICY,
    ];
    features.retain(|feature| chosen.contains(&feature.name));
    assert_eq!(features.len(), chosen.len());
    let costs = micro::measure_features(&options, &features, FEW, |what| println!("{what}"));
    let costs = costs.expect("it measures");
    assert_eq!(costs.len(), 3 * features.len(), "outbound, inbound, new");
    let on = costs.iter().filter(|cost| cost.on_ns > 0.0).count();
    assert!(on > costs.len() / 2, "{costs:?}");
}

#[test]
fn every_case_of_the_programs_alone_is_measured() {
    if !skip::is_root("every_case_of_the_programs_alone_is_measured") {
        return;
    }
    let options = micro::Options {
        flows: vec![1024],
        rounds: 1,
        burst: 2,
        objects: vec![OBJECT.into()],
    };
    let rows = micro::measure(&options, FEW, |what| println!("{what}")).expect("it measures");
    let cases: Vec<Case> = rows[0].iter().map(|row| row.case).collect();
    let wanted = [
        Case::Outbound,
        Case::Inbound,
        Case::Refused,
        Case::New,
        Case::Hairpin,
        Case::IcmpError,
        Case::Punt,
        Case::Passed,
    ];
    assert_eq!(cases, wanted);
    // A load of the machine may make a figure less than nothing, never many of them.
    let costs = rows[0].iter().filter(|row| row.ns > 0.0).count();
    assert!(costs >= 6, "{:?}", rows[0]);
}
