//! Starting: from the configuration to a running data plane, or from what a
//! dead daemon left behind. Nothing touches a packet before the tables are right.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cgn_common::diagnostics::LINES_PER_SECOND;
use cgn_common::ipv6::{flows, prefixes};
use cgn_common::layout::{Features, Guards, QUEUES_PER_DEVICE, Role, Side, VlanKey, VlanRole};
use cgn_common::limits::ticks;
use cgn_common::nat::throttle;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;

use super::floods::Floods;
use super::gathering::Gathering;
use super::keeper::Keeper;
use super::loss::Loss;
use super::sweeper::Sweeper;
use super::{Engine, Port};
use super::{adoption, clock};
use crate::config::{Checked, Config, LogSync, OnFull, Side as SideConfig};
use crate::dataplane::attach::Pins;
use crate::dataplane::diagnostics;
use crate::dataplane::geometry::Geometry;
use crate::dataplane::growth;
use crate::dataplane::interface;
use crate::dataplane::load::{DIAGNOSTICS_OBJECT, Dataplane, Entry, OBJECT};
use crate::dataplane::routing::{self, Applied};
use crate::dataplane::swap::Place;
use crate::dataplane::tables::Counted;
use crate::histogram::{self, Histogram};
use crate::maplog::realms::Register;
use crate::maplog::{Log, LogOptions, Recovery};
use crate::netlink::{Follower, Options};
use crate::policy::shape;
use crate::policy::throttle::LEARN_SECS;
use crate::realms::Realms;
use crate::routes;
use crate::slowpath::answers::Answers;
use crate::slowpath::fragments::Store;
use crate::slowpath::rings::QueueSocket;
use crate::slowpath::unsolicited::Store as SynStore;
use crate::slowpath::waiting::Waiting;
use crate::state::{InterfaceStats, State, Stats, unmoved_tick};
use crate::watch::desk::Desk;
use crate::wiring::{Way, Wiring};
use crate::withheld::Withheld;

/// One of our interfaces, before anything runs on it.
struct Plan {
    name: String,
    ifindex: u32,
    /// Key in `DEVICES`.
    device: u16,
    entry: Entry,
    /// First key in `SOCKETS`.
    socket_base: u32,
    places: Vec<Leads>,
}

/// Where an interface, or a VLAN of it, leads to.
struct Leads {
    side: Side,
    /// Number of the realm, inside.
    realm: u8,
    /// VLAN ids, outermost first.
    tags: Vec<u16>,
}

/// What the command line decides beside the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switches {
    /// Clients of the control socket may move the clock.
    pub is_test_clock: bool,
    /// Load the diagnostics object, and log what it says.
    pub diagnose: bool,
    /// Tables that cannot be adopted may be given up, with all mappings.
    pub discard_tables: bool,
}

/// Opens the mapping log. Its lock also keeps a second daemon out, so this
/// comes before everything else.
///
/// # Errors
/// Another daemon runs, or the log is unusable.
pub fn open_log(checked: &Checked) -> Result<(Log, Recovery)> {
    let options = LogOptions {
        sync: checked.config.log.sync == LogSync::Full,
        may_lack: checked.config.log.on_full == OnFull::Continue,
        keep_released_ms: u64::from(checked.config.hold.block_secs) * 1000,
    };
    let (log, recovery) = Log::open(&checked.config.log.directory, options)
        .context("the mapping log cannot be used")?;
    if recovery.torn_bytes > 0 {
        tracing::warn!(
            bytes = recovery.torn_bytes,
            "the mapping log ended in a torn group, which was cut off"
        );
    }
    Ok((log, recovery))
}

/// Has each realm named in the mapping log: before the first record, and the first sink, that tells its
/// number.
///
/// # Errors
/// They cannot be read or written.
pub fn name_realms(config: &Config) -> Result<Register> {
    let names = config.realm.iter().map(|realm| realm.name.as_str());
    Register::with(&config.log.directory, names, clock::system_ms())
        .context("the realms cannot be named in the mapping log")
}

/// Starts everything but the thread that runs the engine.
///
/// # Errors
/// What is missing or refused, with a remedy. Nothing of ours stays behind
/// that was not there before.
pub fn start(
    checked: Checked,
    config_path: &Path,
    (log, recovery): (Log, Recovery),
    realms: &Register,
    switches: Switches,
) -> Result<(Arc<State>, Engine)> {
    let mut geometry = shape::geometry(&checked);
    let plans = plan(&checked, &geometry.realms)?;
    let pins = Pins::open(&checked.config.control.pin_directory)?;
    pins.end_growth();
    let lists = shape::lists(&checked);
    geometry.sizes.prefix_lines = lists.lines();
    let mut constants = shape::constants(&checked.config);
    if constants.features.has(Features::THROTTLE | Features::RATES) {
        geometry.sizes.newcomers = throttle::CELLS;
    }
    if constants.features.has(Features::THROTTLE_IPV6) {
        geometry.sizes.newcomers_ipv6 = prefixes::CELLS;
        geometry.sizes.flows_ipv6 = flows::WORDS;
    }
    geometry.withheld = Withheld::open(&checked.config.log.directory)
        .context("the list of withheld addresses cannot be read")?;
    let found = found(&pins, &geometry, &recovery, switches)?;
    let had_programs = !pins.interfaces().is_empty();
    let renewed: &[_] = match found {
        Found::Fitting => &[],
        Found::Grown(_) => {
            let begun = pins.begin_growth(geometry.layout_word());
            begun.context("no new tables can be pinned beside the old ones")?;
            &growth::RENEWED
        }
        Found::Nothing => {
            // The programs of an earlier daemon go on with the old tables until ours take their place.
            pins.remove_tables();
            &[]
        }
    };
    pins.remove_lists();
    if !pins.keeps_flows(geometry.sizes.flows_ipv6) {
        let learnt = unmoved_tick().wrapping_add(ticks(LEARN_SECS));
        constants.guards.0[Guards::LEARNT] = learnt;
    }
    let object = match switches.diagnose {
        true => DIAGNOSTICS_OBJECT,
        false => OBJECT,
    };
    let directory = Some(pins.directory());
    let dataplane =
        Dataplane::load_renewing(object, geometry.sizes, &constants, directory, renewed);
    let started = dataplane
        .map_err(anyhow::Error::from)
        .and_then(|mut dataplane| {
            let diagnostics = match switches.diagnose {
                true => Some(diagnose(&mut dataplane)?),
                false => None,
            };
            let state = Arc::new(State {
                memory: Arc::clone(dataplane.memory()),
                stats: Mutex::new(Stats::default()),
                notices: Default::default(),
                identities: Default::default(),
                started_unix_ms: clock::system_ms(),
                fast_path_counters: Box::new(dataplane.counters_reader()?),
                fast_path_hits: Box::new(dataplane.hits_reader()?),
                fast_path_realms: Box::new(dataplane.realm_drops_reader(geometry.realms.count())?),
                lists,
                is_test_clock: switches.is_test_clock,
                config_path: config_path.to_owned(),
                reload: watch::Sender::new(None),
                wiring: OnceLock::new(),
                watch: Desk::default(),
                mirrors: checked
                    .config
                    .mirror
                    .iter()
                    .map(|_| Arc::default())
                    .collect(),
                peaks: Mutex::default(),
                turns: AtomicU64::new(0),
                log_realms: geometry
                    .realms
                    .names()
                    .iter()
                    .map(|name| realms.number(name).unwrap_or(0))
                    .collect(),
                geometry,
                config: checked,
            });
            let parts = build(state, dataplane, log, &recovery, found, plans, &pins)?;
            Ok((parts, diagnostics))
        });
    match started {
        Ok((parts, diagnostics)) => Ok((Arc::clone(&parts.state), parts.engine(diagnostics))),
        Err(error) => {
            // A program that is on an interface stays there: without it, the kernel would forward.
            if !had_programs {
                pins.close();
            }
            Err(error)
        }
    }
}

/// What an earlier daemon left.
enum Found {
    /// No tables, or such that may go.
    Nothing,
    /// Tables of this layout.
    Fitting,
    /// The same but for the addresses of the pools, and every block in use is at an address that
    /// its pool still has.
    Grown(growth::Old),
}

/// The tables that are pinned, as far as they can be used.
///
/// # Errors
/// Tables of another layout hold blocks, and nobody said that they may be lost.
fn found(
    pins: &Pins,
    geometry: &Geometry,
    recovery: &Recovery,
    switches: Switches,
) -> Result<Found> {
    let word = geometry.layout_word();
    let found = match pins.layout_word() {
        // 0: their daemon died before it had made them.
        None | Some(0) => return Ok(Found::Nothing),
        Some(found) if found == word => return Ok(Found::Fitting),
        Some(found) => found,
    };
    let lost = Loss::of(pins, recovery);
    if lost.blocks == 0 {
        return Ok(Found::Nothing);
    }
    if found as u32 == word as u32
        && pins.fixed_word() == Some(geometry.fixed_word())
        && let Some(old) = growth::Old::of(pins)
        && old.misfit(geometry).is_none()
    {
        return Ok(Found::Grown(old));
    }
    let why = match (found as u32, word as u32) {
        (theirs, ours) if theirs != ours => {
            format!("they have layout version {theirs}, this program has {ours}")
        }
        _ => {
            "the configuration has other pools (or lacks addresses of theirs that are in use), subscriber prefixes, block sizes, sessions.max or \
              fragments.max_datagrams than they were made for"
                .to_owned()
        }
    };
    if switches.discard_tables {
        tracing::warn!(
            blocks = lost.blocks,
            subscribers = lost.subscribers,
            "the tables of the last daemon are discarded: {lost} are lost; {why}"
        );
        return Ok(Found::Nothing);
    }
    bail!(
        "the tables of the last daemon cannot be adopted: {why}. {lost} would be lost: their \
         connections break. Nothing was changed, and their traffic goes on. Start with the program \
         and the configuration that made the tables, or, to lose them, with \
         `cgn run --discard-tables` (or `cgn detach` first)"
    )
}

/// Logs what the diagnostics object says, and that it does.
fn diagnose(dataplane: &mut Dataplane) -> Result<diagnostics::Reader> {
    let tell = |line: &str| tracing::info!("{line}");
    tracing::warn!(
        "diagnostics are on: packets that are dropped or punted are logged, at most \
         {LINES_PER_SECOND} per second and processor. Such a packet costs some hundred \
         nanoseconds more; translated packets cost the same. Start without --diagnose to end this"
    );
    let diagnostics = dataplane.diagnostics(tell as fn(&str))?;
    diagnostics::Reader::spawn(diagnostics, tell).context("no thread for diagnostics")
}

/// An engine, but for the pins.
struct Parts {
    state: Arc<State>,
    dataplane: Dataplane,
    events: aya::maps::RingBuf<aya::maps::MapData>,
    keeper: Keeper,
    vlans: Vlans,
    follower: Follower,
    routing: Applied,
    ports: Vec<Port>,
    answers: Answers,
}

impl Parts {
    fn engine(self, diagnostics: Option<diagnostics::Reader>) -> Engine {
        let state = self.state;
        Engine {
            ports: self.ports,
            events: self.events,
            sweeper: sweeper(&state, !self.keeper.granted.is_empty()),
            keeper: self.keeper,
            gathering: gathering(&state),
            waiting: Waiting::default(),
            answers: self.answers,
            fragments: Store::new(shape::fragment_limits(&state.config)),
            syns: SynStore::default(),
            fib: self.follower.subscribe(),
            routing: self.routing,
            follower: self.follower,
            vlans: self.vlans,
            dataplane: self.dataplane,
            _diagnostics: diagnostics,
            housekeeping: Instant::now(),
            looked: Instant::now(),
            came: Instant::now(),
            woke: Instant::now(),
            latency: Histogram::new(histogram::SECONDS),
            leaving: Vec::new(),
            counted: Counted::default(),
            floods: Floods::new(&state.config.config, state.memory.constants.features),
            state,
        }
    }
}

fn gathering(state: &State) -> Gathering {
    let group_ms = state.config.config.log.group_ms;
    Gathering::new(Duration::from_millis(group_ms.into()))
}

/// `is_after_another`: another daemon left blocks.
pub(super) fn sweeper(state: &State, is_after_another: bool) -> Sweeper {
    let hold = &state.config.config.hold;
    let most_held = match hold.max_ports {
        0 => u32::MAX,
        most => most,
    };
    let idle_ticks = ticks(u64::from(hold.block_idle_secs));
    let pools = state.geometry.pools.len();
    let realms = state.geometry.realms.count();
    let timers = shape::timers(&state.config);
    Sweeper::new(
        timers,
        most_held,
        idle_ticks,
        (pools, realms),
        is_after_another,
    )
}

fn build(
    state: Arc<State>,
    mut dataplane: Dataplane,
    log: Log,
    recovery: &Recovery,
    found: Found,
    plans: Vec<Plan>,
    pins: &Pins,
) -> Result<Parts> {
    let mut random =
        StdRng::try_from_rng(&mut SysRng).context("no random numbers from the kernel")?;
    let adopt = !matches!(found, Found::Nothing);
    match &found {
        Found::Nothing => {
            state.geometry.install(&state.memory, || random.next_u64());
        }
        Found::Grown(old) => old.carry_over(&state.geometry, &state.memory),
        Found::Fitting => {}
    }
    if let Some(settings) = state.memory.settings.get(0) {
        settings.fixed.store(state.geometry.fixed_word());
        // From here on the new tables hold, if a pool grew.
        settings.layout.store(state.geometry.layout_word());
    }
    pins.end_growth();
    install_lists(&state, &mut dataplane)?;
    let answers = answers(&state);
    if let Some(settings) = state.memory.settings.get(0) {
        let known = shape::fragment_limits(&state.config).ticks;
        settings.fragment_ticks.store(u64::from(known));
        // Whatever the last daemon was in trouble with.
        settings.put_off.store(0);
    }
    let keeper = adoption::keeper(&state, log, recovery, adopt, random)?;
    let (vlans, follower, routing) = routes_of(&state, &mut dataplane, &plans)?;
    // Nobody else sets it.
    let _ = state.wiring.set(Wiring {
        ways: plans.iter().flat_map(ways).collect(),
        vlans: vlans.clone(),
        fib: follower.subscribe(),
    });
    let events = dataplane.take_events()?;
    let interfaces: Vec<(String, Entry)> = plans
        .iter()
        .map(|plan| (plan.name.clone(), plan.entry))
        .collect();
    let ports = ports(&state, &mut dataplane, pins, plans)?;
    let entries = interfaces.iter().map(|(_, entry)| *entry);
    let plain = dataplane.programs(entries)?;
    // Nobody else sets it.
    let _ = state.watch.place.set(Arc::new(Place {
        pins: pins.directory().to_owned(),
        sizes: state.geometry.sizes,
        constants: state.memory.constants,
        interfaces,
        plain,
    }));
    Ok(Parts {
        state,
        dataplane,
        events,
        keeper,
        vlans,
        follower,
        routing,
        ports,
        answers,
    })
}

/// Writes the access lists, before a program sees them. Other rules are counted anew.
fn install_lists(state: &State, dataplane: &mut Dataplane) -> Result<()> {
    state.lists.install(&state.memory);
    if let Some(settings) = state.memory.settings.get(0)
        && settings.rules.load() != state.lists.digest()
    {
        dataplane.clear_hits()?;
        settings.rules.store(state.lists.digest());
    }
    Ok(())
}

/// Who tells senders of the end of their packets, and, in the tables, how often.
fn answers(state: &State) -> Answers {
    let icmp = &state.config.config.icmp;
    let rates = shape::rates(icmp);
    if let Some(settings) = state.memory.settings.get(0) {
        settings.answers.store(rates.0);
    }
    Answers::new(rates, shape::exhausted_code(icmp))
}

/// Which program and sockets each interface gets. Where there are realms, the receiving interface
/// tells which one a packet is from: all get the program that asks for that.
fn plan(checked: &Checked, realms: &Realms) -> Result<Vec<Plan>> {
    let config = &checked.config;
    let mut plans: Vec<Plan> = Vec::new();
    for (config, place) in sides(config, realms) {
        let plain = match place.side {
            Side::Inside => Entry::Inside,
            Side::Outside => Entry::Outside,
        };
        let known = plans.iter_mut().find(|plan| plan.name == config.interface);
        if let Some(plan) = known {
            plan.entry = Entry::Vlan;
            plan.places.push(place);
            continue;
        }
        let name = config.interface.clone();
        let device = plans.len() as u16;
        plans.push(Plan {
            ifindex: interface::index_of(&name)
                .with_context(|| format!("there is no interface {name}"))?,
            name,
            device,
            entry: match config.vlan.is_empty() && realms.count() == 1 {
                true => plain,
                false => Entry::Vlan,
            },
            socket_base: u32::from(device) * QUEUES_PER_DEVICE,
            places: vec![place],
        });
    }
    Ok(plans)
}

/// All sides of the configuration, and what each is.
fn sides<'a>(config: &'a Config, realms: &'a Realms) -> Vec<(&'a SideConfig, Leads)> {
    let leads = |side, realm, config: &SideConfig| Leads {
        side,
        realm,
        tags: config.vlan.clone(),
    };
    let (inside, outside) = (&config.inside, &config.outside);
    let mut sides = vec![
        (inside, leads(Side::Inside, 0, inside)),
        (outside, leads(Side::Outside, 0, outside)),
    ];
    for realm in &config.realm {
        let number = realms.number_of(&realm.name).unwrap_or(0);
        let own = realm.inside.iter();
        sides.extend(own.map(|side| (side, leads(Side::Inside, number, side))));
    }
    sides
}

/// How packets come in by an interface: one way for each of its sides.
fn ways(plan: &Plan) -> impl Iterator<Item = Way> + '_ {
    plan.places.iter().map(|leads| Way {
        interface: plan.name.clone(),
        ifindex: plan.ifindex,
        entry: plan.entry,
        side: leads.side,
        realm: leads.realm,
        tags: leads.tags.clone(),
    })
}

type Vlans = HashMap<(u32, [u16; 2]), Role>;

/// Devices, VLANs and routes in the tables.
fn routes_of(
    state: &State,
    dataplane: &mut Dataplane,
    plans: &[Plan],
) -> Result<(Vlans, Follower, Applied)> {
    let mut vlans = HashMap::new();
    let mut ports = Vec::new();
    let devices: Vec<_> = plans
        .iter()
        .map(|plan| (plan.device, plan.ifindex))
        .collect();
    // What is in place goes on; what changes waits for its next hops.
    dataplane.forget_devices_but(&devices)?;
    for plan in plans {
        for Leads { side, realm, tags } in &plan.places {
            let at = |index: usize| tags.get(index).copied().unwrap_or(0);
            let key = VlanKey {
                ifindex: plan.ifindex,
                vlans: [at(0), at(1)],
            };
            if plan.entry == Entry::Vlan {
                let role = Role::new(*side, *realm);
                let value = VlanRole {
                    role: role.0,
                    socket_base: plan.socket_base,
                };
                dataplane.set_vlan(key, value)?;
                vlans.insert((key.ifindex, key.vlans), role);
            }
            ports.push(routes::Port {
                device: plan.device,
                side: match side {
                    Side::Inside => routes::Side::Inside,
                    Side::Outside => routes::Side::Outside,
                },
                phys_ifindex: plan.ifindex,
                vlan: tags.clone(),
                realm: *realm,
            });
        }
    }
    dataplane.forget_vlans_but(|key| vlans.contains_key(&(key.ifindex, key.vlans)))?;
    let options = Options {
        first_hop_id: routing::free_ids(&state.memory),
        networks: shape::networks(&state.config.config, &state.geometry.realms),
        ..Options::default()
    };
    let follower = Follower::spawn(ports, options).context("the kernel's routes cannot be read")?;
    let pools = state.geometry.pools.iter();
    let networks = pools.flat_map(|pool| {
        pool.addresses.iter().flat_map(|(first, last)| {
            (first.to_bits() >> 16..=last.to_bits() >> 16).map(|n| Ipv4Addr::from_bits(n << 16))
        })
    });
    let mut routing = Applied::new(follower.fib(), networks);
    routing.adopt(dataplane)?;
    let fib = follower.fib();
    let generation = fib.generation();
    routing.apply(dataplane, fib)?;
    for (device, ifindex) in devices {
        dataplane.set_device(device, ifindex)?;
    }
    follower.applied(generation);
    Ok((vlans, follower, routing))
}

/// Names of the sides that an interface leads to, each once.
fn sides_of(plan: &Plan) -> BTreeSet<&'static str> {
    let sides = plan.places.iter().map(|leads| match leads.side {
        Side::Inside => "inside",
        Side::Outside => "outside",
    });
    sides.collect()
}

/// Programs on the interfaces, then their sockets.
fn ports(
    state: &State,
    dataplane: &mut Dataplane,
    pins: &Pins,
    plans: Vec<Plan>,
) -> Result<Vec<Port>> {
    let wanted = state.config.config.xdp.mode;
    let names: Vec<String> = plans.iter().map(|plan| plan.name.clone()).collect();
    let mut ports = Vec::new();
    for plan in plans {
        let mode = pins.attach(dataplane, plan.entry, &plan.name, plan.ifindex, wanted)?;
        let queues = interface::receive_queues(&plan.name).min(QUEUES_PER_DEVICE);
        let mut sockets = Vec::new();
        for queue in 0..queues {
            let socket = QueueSocket::open(plan.ifindex, queue)?;
            dataplane.set_socket(plan.socket_base + queue, &socket)?;
            sockets.push(socket);
        }
        tracing::info!(
            interface = plan.name,
            mode = mode.name(),
            queues,
            "XDP is attached"
        );
        for side in sides_of(&plan) {
            state.stats().interfaces.push(InterfaceStats {
                name: plan.name.clone(),
                side,
                mode: mode.name(),
            });
        }
        ports.push(Port {
            name: plan.name,
            ifindex: plan.ifindex,
            entry: plan.entry,
            sockets,
        });
    }
    for other in pins.interfaces() {
        if !names.contains(&other) {
            tracing::warn!(
                interface = other,
                "the configuration has this interface no more: XDP is detached from it"
            );
            pins.detach(&other);
        }
    }
    Ok(ports)
}
