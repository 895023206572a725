//! What each feature costs a packet: the same flows with it and without it, in turns.

use anyhow::{Context as _, Result};
use cgn_common::layout::{
    Action, Constants, Features, Filtering, Guards, Policy, Ports, Side, THROTTLED_LENGTHS,
};
use cgn_common::limits::ticks;
use cgn_common::nat::throttle;
use cgn_common::verdict::Direction;
use cgn_user::config::rules::BOGONS;
use cgn_user::dataplane::geometry::Geometry;
use cgn_user::dataplane::install;
use cgn_user::dataplane::memory::Memory;
use cgn_user::policy::access::{Lists, Rule};
use cgn_user::policy::groups::{Allowance, Group, Groups};

use super::{Bench, Case, Density, Options};
use crate::bench::sample::{growing, steady};

/// What the programs are loaded with, and what their tables have beside the flows.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    pub constants: Constants,
    rules: Vec<Rule>,
    allowance: Option<Allowance>,
    /// The pool filters: the mappings know whom they have sent to.
    pub(super) filters: bool,
}

/// A setting with its name.
pub struct Feature {
    pub name: &'static str,
    pub setting: Setting,
}

/// The feature that all of an operator's default policy is.
pub const DEFAULT_POLICY: &str = "default policy";

/// What a feature costs, in nanoseconds per packet.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub feature: &'static str,
    pub case: Case,
    pub flows: u64,
    pub density: Density,
    pub off_ns: f64,
    pub on_ns: f64,
}

impl Setting {
    fn with(features: u64) -> Self {
        Self {
            constants: Constants {
                features: Features(features),
                ..Constants::PLAIN
            },
            ..Self::default()
        }
    }

    fn and_rules(mut self, rules: Vec<Rule>) -> Self {
        self.constants.features.0 |= Features::ACCESS;
        if rules.iter().any(|rule| rule.most != 0) {
            self.constants.features.0 |= Features::RATES;
        }
        self.rules = rules;
        self
    }

    /// Limits that nobody reaches: a packet pays for the count.
    fn and_guards(mut self) -> Self {
        let guards = &mut self.constants.guards.0;
        for side in [Side::Inside, Side::Outside] {
            for at in 0..THROTTLED_LENGTHS.len() {
                guards[Guards::newcomers(side, at)] = u32::MAX;
            }
        }
        guards[Guards::LIMIT_TICKS] = ticks(60);
        guards[Guards::UNSOLICITED] = u32::MAX;
        self
    }

    fn and_limits(mut self) -> Self {
        self.constants.features.0 |= Features::QUOTAS;
        self.allowance = Some(Allowance {
            rate: Some((u16::MAX, u16::MAX)),
            sessions: Some(1 << 20),
            ..Allowance::ALL
        });
        self
    }

    pub(super) fn prepare(&self, geometry: &mut Geometry) {
        geometry.sizes.prefix_lines = self.lists().lines();
        if self
            .constants
            .features
            .has(Features::THROTTLE | Features::RATES)
        {
            geometry.sizes.newcomers = throttle::CELLS;
        }
        if let Some(allowance) = self.allowance {
            let all = Group {
                name: "all".to_owned(),
                allowance,
            };
            let everyone = (std::net::Ipv4Addr::UNSPECIFIED, 0);
            geometry.groups = Groups::new(vec![(all, vec![everyone])]);
        }
    }

    pub(super) fn install(&self, memory: &Memory, geometry: &Geometry) {
        self.lists().install(memory);
        if self.allowance.is_some() {
            for (inside, index) in geometry.each_subscriber() {
                install::renew(memory, geometry, inside, index);
            }
        }
    }

    fn lists(&self) -> Lists {
        Lists::new(&self.rules, &[])
    }
}

/// A rule for packets of this direction with these addresses at the far end; empty: all.
fn rule(action: Action, direction: Direction, far: Vec<(u32, u32)>) -> Rule {
    let (source, destination) = match direction {
        Direction::Outbound => (Vec::new(), far),
        Direction::Inbound => (far, Vec::new()),
    };
    Rule {
        name: "bench".to_owned(),
        direction,
        action,
        source,
        destination,
        protocol: None,
        ports: Ports::ANY,
        most: 0,
        group: String::new(),
        realm: 0,
    }
}

/// For both directions.
fn rules(action: Action, far: &[(u32, u32)]) -> Vec<Rule> {
    [Direction::Outbound, Direction::Inbound]
        .map(|direction| rule(action, direction, far.to_vec()))
        .into()
}

/// What cannot be on the internet, but the addresses of the bench itself.
fn bogons() -> Vec<Rule> {
    let all = BOGONS.iter().map(|network| network.range());
    let others: Vec<_> = all.filter(|(first, _)| first >> 24 != 198).collect();
    rules(Action::Deny, &others)
}

/// Every feature that packets of the bench can meet, each alone; then all that is on by default, and
/// what an operator would have on with it.
#[must_use]
pub fn features() -> Vec<Feature> {
    use Features as F;
    let feature = |name, setting| Feature { name, setting };
    let strict = Filtering::AddressAndPortDependent;
    let mut filters = Setting::with(F::SESSIONS);
    filters.constants.pools[0] = Policy::new(strict, strict, 0);
    filters.filters = true;
    let mut parity = Setting::with(F::PARITY);
    let anyone = Filtering::EndpointIndependent;
    parity.constants.pools[0] = Policy::new(anyone, anyone, Policy::PARITY);
    let mut mss = Setting::with(0);
    mss.constants.features = mss.constants.features.with_mss(1452, 1452);
    let rate = |mut rule: Rule| {
        rule.most = 1 << 23;
        rule
    };
    let permit = rule(Action::Permit, Direction::Outbound, Vec::new());
    let udp = |rules: Vec<Rule>| {
        let of_udp = rules.into_iter().map(|rule| Rule {
            protocol: Some(17),
            ..rule
        });
        of_udp.collect::<Vec<_>>()
    };
    let told = F::TELL_EXPIRED | F::TELL_TOO_BIG | F::TELL_UNREACHABLE | F::TELL_SYN;
    let guarded = F::THROTTLE | F::ATTACKS | F::OVERLOAD;
    vec![
        feature("filters", filters),
        feature("icmp errors", Setting::with(told)),
        feature("inbound refresh", Setting::with(F::INBOUND_REFRESH)),
        feature("short timers", Setting::with(F::SHORT_TIMERS)),
        feature("midstream drop", Setting::with(F::DROP_MIDSTREAM)),
        feature("mss", mss),
        feature("parity", parity),
        feature("group limits", Setting::with(0).and_limits()),
        feature("throttle", Setting::with(F::THROTTLE).and_guards()),
        feature("attacks", Setting::with(F::ATTACKS).and_guards()),
        feature("overload", Setting::with(F::OVERLOAD).and_guards()),
        feature("bogons", Setting::with(0).and_rules(bogons())),
        feature(
            "permit all",
            Setting::with(0).and_rules(rules(Action::Permit, &[])),
        ),
        feature(
            "rate of all",
            Setting::with(0).and_rules(vec![rate(permit)]),
        ),
        feature(
            "inspect all",
            Setting::with(0).and_rules(udp(rules(Action::Inspect, &[]))),
        ),
        feature(
            DEFAULT_POLICY,
            Setting::with(told | guarded)
                .and_guards()
                .and_limits()
                .and_rules(bogons()),
        ),
    ]
}

/// What each of these features costs, off and on, at each size. `progress` hears what is going on.
///
/// # Errors
/// As of [`super::measure`].
pub fn measure_features(
    options: &Options,
    features: &[Feature],
    density: Density,
    mut progress: impl FnMut(&str),
) -> Result<Vec<Cost>> {
    let object = options.objects.first().context("no object to measure")?;
    let mut costs = Vec::new();
    for &flows in &options.flows {
        for feature in features {
            progress(&format!("{flows} flows, {}", feature.name));
            costs.extend(cost(options, object, feature, density, flows)?);
        }
    }
    Ok(costs)
}

/// One feature at one size.
fn cost(
    options: &Options,
    object: &[u8],
    feature: &Feature,
    density: Density,
    flows: u64,
) -> Result<Vec<Cost>> {
    // Mappings know whom they have sent to on both sides of the comparison, or on none.
    let off = Setting {
        filters: feature.setting.filters,
        ..Setting::default()
    };
    let bench = |setting| Bench::new(object, density, flows, options.burst, setting);
    let mut benches = [bench(&off)?, bench(&feature.setting)?];
    for _ in 0..benches[0].rounds_of_new(options.rounds) {
        for bench in &mut benches {
            bench.open_all()?;
        }
    }
    for bench in &mut benches {
        let memory = bench.dataplane.memory().clone();
        bench.world.fill(&memory)?;
    }
    for round in 0..options.rounds as u64 {
        for bench in &mut benches {
            bench.both_ways(round * 2 * super::PACKETS)?;
        }
    }
    let [off, on] = benches.map(|bench| bench.figures());
    let pairs = off.into_iter().zip(on);
    let costs = pairs.map(|((case, off_ns), (_, on_ns))| Cost {
        feature: feature.name,
        case,
        flows,
        density,
        off_ns,
        on_ns,
    });
    Ok(costs.collect())
}

impl Bench {
    /// Nanoseconds per packet without the generator's; new mappings where there are enough of them.
    fn figures(&self) -> Vec<(Case, f64)> {
        let samples = &self.samples;
        let out = steady(&samples.generator_out);
        let mut figures = vec![
            (Case::Outbound, steady(&samples.outbound) - out),
            (
                Case::Inbound,
                steady(&samples.inbound) - steady(&samples.generator_in),
            ),
        ];
        if !samples.new.is_empty() {
            figures.push((Case::New, growing(&samples.new) - out));
        }
        figures
    }
}
