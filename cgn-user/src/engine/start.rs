//! Starting: from the configuration to a running data plane, or from what a
//! dead daemon left behind. Nothing touches a packet before the tables are right.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context as _, Result};
use cgn_common::block::{blocks_per_address, first_port};
use cgn_common::diagnostics::LINES_PER_SECOND;
use cgn_common::layout::{OwnedBlock, QUEUES_PER_DEVICE, Rows, Side, VlanKey, VlanRole};
use cgn_common::limits::ticks;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _};

use super::clock;
use super::keeper::{Granted, Keeper, block};
use super::sweeper::Sweeper;
use super::{Engine, Port};
use crate::alloc::Allocator;
use crate::config::{Checked, Side as SideConfig};
use crate::dataplane::attach::Pins;
use crate::dataplane::diagnostics;
use crate::dataplane::install::{self, Grant};
use crate::dataplane::interface;
use crate::dataplane::load::{DIAGNOSTICS_OBJECT, Dataplane, Entry, OBJECT};
use crate::dataplane::routing::Applied;
use crate::maplog::{Entry as LogEntry, Event, Log, LogOptions, Recovery, ReleaseReason};
use crate::netlink::{Follower, Options};
use crate::policy::shape;
use crate::routes;
use crate::slowpath::answers::Answers;
use crate::slowpath::fragments::Store;
use crate::slowpath::rings::QueueSocket;
use crate::slowpath::waiting::Waiting;
use crate::state::{InterfaceStats, State, Stats};

/// One of our interfaces, before anything runs on it.
struct Plan {
    name: String,
    ifindex: u32,
    /// Key in `DEVICES`.
    device: u16,
    entry: Entry,
    /// First key in `SOCKETS`.
    socket_base: u32,
    sides: Vec<(&'static str, Side, Vec<u16>)>,
}

/// What the command line decides beside the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switches {
    /// Clients of the control socket may move the clock.
    pub is_test_clock: bool,
    /// Load the diagnostics object, and log what it says.
    pub diagnose: bool,
}

/// Opens the mapping log. Its lock also keeps a second daemon out, so this
/// comes before everything else.
///
/// # Errors
/// Another daemon runs, or the log is unusable.
pub fn open_log(checked: &Checked) -> Result<(Log, Recovery)> {
    let options = LogOptions {
        sync: checked.config.log.sync,
        keep_released_ms: u64::from(checked.config.hold.block_secs) * 1000,
    };
    let (log, recovery) = Log::open(&checked.config.log.directory, options)
        .context("the mapping log cannot be used")?;
    if recovery.torn_bytes > 0 {
        tracing::warn!(
            bytes = recovery.torn_bytes,
            "the mapping log ended in a torn record, which was cut off"
        );
    }
    Ok((log, recovery))
}

/// Starts everything but the thread that runs the engine.
///
/// # Errors
/// What is missing or refused, with a remedy. Nothing of ours stays behind
/// that was not there before.
pub fn start(
    checked: Checked,
    (log, recovery): (Log, Recovery),
    switches: Switches,
) -> Result<(Arc<State>, Engine)> {
    let plans = plan(&checked)?;
    let pins = Pins::open(&checked.config.control.pin_directory)?;
    let geometry = shape::geometry(&checked);
    let adopt = pins.layout_word() == Some(geometry.layout_word());
    if !adopt {
        pins.remove();
    }
    let object = match switches.diagnose {
        true => DIAGNOSTICS_OBJECT,
        false => OBJECT,
    };
    let constants = shape::constants(&checked.config);
    let directory = Some(pins.directory());
    let dataplane = Dataplane::load(object, geometry.sizes, &constants, directory);
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
                started_unix_ms: clock::system_ms(),
                fast_path_counters: Box::new(dataplane.counters_reader()?),
                is_test_clock: switches.is_test_clock,
                geometry,
                config: checked,
            });
            let parts = build(state, dataplane, log, &recovery, adopt, plans, &pins)?;
            Ok((parts, diagnostics))
        });
    match started {
        Ok((parts, diagnostics)) => Ok((Arc::clone(&parts.state), parts.engine(pins, diagnostics))),
        Err(error) => {
            if !adopt {
                pins.close();
            }
            Err(error)
        }
    }
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
    fn engine(self, pins: Pins, diagnostics: Option<diagnostics::Reader>) -> Engine {
        let state = self.state;
        Engine {
            ports: self.ports,
            events: self.events,
            keeper: self.keeper,
            sweeper: sweeper(&state),
            waiting: Waiting::default(),
            answers: self.answers,
            fragments: Store::new(shape::fragment_limits(&state.config)),
            fib: self.follower.subscribe(),
            routing: self.routing,
            follower: self.follower,
            vlans: self.vlans,
            dataplane: self.dataplane,
            pins,
            _diagnostics: diagnostics,
            housekeeping: Instant::now(),
            state,
        }
    }
}

fn sweeper(state: &State) -> Sweeper {
    let hold = &state.config.config.hold;
    let most_held = match hold.max_ports {
        0 => u32::MAX,
        most => most,
    };
    let idle_ticks = ticks(u64::from(hold.block_idle_secs));
    let pools = state.geometry.pools.len();
    Sweeper::new(shape::timers(&state.config), most_held, idle_ticks, pools)
}

fn build(
    state: Arc<State>,
    mut dataplane: Dataplane,
    log: Log,
    recovery: &Recovery,
    adopt: bool,
    plans: Vec<Plan>,
    pins: &Pins,
) -> Result<Parts> {
    let mut random =
        StdRng::try_from_rng(&mut SysRng).context("no random numbers from the kernel")?;
    if !adopt {
        state.geometry.install(&state.memory, || random.next_u64());
        if let Some(settings) = state.memory.settings.get(0) {
            settings.layout.store(state.geometry.layout_word());
        }
    }
    let answers = answers(&state, random.next_u32() as u16);
    if let Some(settings) = state.memory.settings.get(0) {
        let known = shape::fragment_limits(&state.config).ticks;
        settings.fragment_ticks.store(u64::from(known));
    }
    let keeper = keeper(&state, log, recovery, adopt, random)?;
    let (vlans, follower, routing) = routes_of(&state, &mut dataplane, &plans)?;
    let events = dataplane.take_events()?;
    let ports = ports(&state, &mut dataplane, pins, plans)?;
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

/// Who tells senders of the end of their packets, and, in the tables, how often.
fn answers(state: &State, identification: u16) -> Answers {
    let icmp = &state.config.config.icmp;
    let rates = shape::rates(icmp);
    if let Some(settings) = state.memory.settings.get(0) {
        settings.answers.store(rates.0);
    }
    Answers::new(rates, shape::exhausted_code(icmp), identification)
}

/// Which program and sockets each interface gets.
fn plan(checked: &Checked) -> Result<Vec<Plan>> {
    let (inside, outside) = (&checked.config.inside, &checked.config.outside);
    let side = |name, side, config: &SideConfig| (name, side, config.vlan.clone());
    let inside_side = side("inside", Side::Inside, inside);
    let outside_side = side("outside", Side::Outside, outside);
    let index = |config: &SideConfig| {
        interface::index_of(&config.interface)
            .with_context(|| format!("there is no interface {}", config.interface))
    };
    let entry = |config: &SideConfig, plain| {
        if config.vlan.is_empty() {
            plain
        } else {
            Entry::Vlan
        }
    };
    if inside.interface == outside.interface {
        return Ok(vec![Plan {
            name: inside.interface.clone(),
            ifindex: index(inside)?,
            device: 0,
            entry: Entry::Vlan,
            socket_base: 0,
            sides: vec![inside_side, outside_side],
        }]);
    }
    Ok(vec![
        Plan {
            name: inside.interface.clone(),
            ifindex: index(inside)?,
            device: 0,
            entry: entry(inside, Entry::Inside),
            socket_base: 0,
            sides: vec![inside_side],
        },
        Plan {
            name: outside.interface.clone(),
            ifindex: index(outside)?,
            device: 1,
            entry: entry(outside, Entry::Outside),
            socket_base: QUEUES_PER_DEVICE,
            sides: vec![outside_side],
        },
    ])
}

/// Allocator and log, with what the tables and the log say of earlier blocks.
fn keeper(
    state: &Arc<State>,
    mut log: Log,
    recovery: &Recovery,
    adopt: bool,
    random: StdRng,
) -> Result<Keeper> {
    let specs = shape::pool_specs(&state.geometry);
    let mut allocator = Allocator::new(&specs, shape::hold_policy(&state.config), random)?;
    let granted = if adopt { adopted(state) } else { Vec::new() };
    for one in &granted {
        let Grant {
            pool,
            external,
            block,
            slab,
            ..
        } = one.grant;
        allocator.adopt(pool, one.subscriber, external.to_bits(), block, slab)?;
    }
    let missing = reconcile(state, &granted, recovery);
    if !missing.is_empty() {
        log.append(&missing)
            .context("the mapping log cannot be brought up to date")?;
    }
    let orphans = hold(state, &mut allocator, &granted, recovery);
    if !granted.is_empty() || orphans > 0 {
        tracing::info!(
            blocks = granted.len(),
            orphans,
            "adopted from the last daemon; orphaned blocks are held before they are given again"
        );
    }
    let mut keeper = Keeper::new(Arc::clone(state), allocator, log, granted);
    keeper.mark(Event::Start);
    keeper.advance();
    Ok(keeper)
}

/// Blocks that the tables hold whole. A block that its last daemon had only
/// half given is taken out of them.
fn adopted(state: &State) -> Vec<Granted> {
    let (geometry, memory) = (&state.geometry, &state.memory);
    let mut granted = Vec::new();
    for (pool, shape) in geometry.pools.iter().enumerate() {
        let pool = pool as u16;
        for external in shape.each_address() {
            let entry = geometry
                .external_index(external)
                .and_then(|i| memory.externals.get(i));
            let Some(entry) = entry else { continue };
            let first_row = Rows(entry.0.load()).first_row();
            for block in 0..blocks_per_address(shape.block_shift) {
                let Some(row) = memory.blocks.get(first_row + block) else {
                    continue;
                };
                let (line, inside) = row.read();
                let inside = Ipv4Addr::from_bits(inside);
                let (Some(slab), Some(subscriber)) = (
                    geometry.slab_of(pool, line),
                    geometry.subscriber_index(inside),
                ) else {
                    if line != 0 {
                        row.0.store(0);
                    }
                    continue;
                };
                let grant = Grant {
                    inside,
                    external,
                    pool,
                    block: block as u16,
                    slab,
                };
                if has_block(state, subscriber, line) {
                    granted.push(Granted {
                        grant,
                        subscriber,
                        empty_since: None,
                    });
                } else {
                    install::withdraw(memory, geometry, &grant);
                }
            }
        }
    }
    granted
}

fn has_block(state: &State, subscriber: u32, line: u32) -> bool {
    state
        .memory
        .subscribers
        .get(subscriber)
        .is_some_and(|entry| {
            entry
                .blocks
                .iter()
                .any(|block| OwnedBlock(block.load()).slab_line() == line)
        })
}

type Key = (Ipv4Addr, u16);

fn key(state: &State, grant: &Grant) -> Key {
    let shift = state.geometry.pools[usize::from(grant.pool)].block_shift;
    (grant.external, first_port(u32::from(grant.block), shift))
}

/// Log records that bring the log in line with the tables.
fn reconcile(state: &State, granted: &[Granted], recovery: &Recovery) -> Vec<LogEntry> {
    let unix_ms = clock::unix_ms(state);
    let in_tables: BTreeMap<Key, &Granted> = granted
        .iter()
        .map(|one| (key(state, &one.grant), one))
        .collect();
    let is_same = |key: &Key, inside: Ipv4Addr| {
        in_tables
            .get(key)
            .is_some_and(|one| one.grant.inside == inside)
    };
    let mut entries = Vec::new();
    for (key, logged) in &recovery.live {
        if !is_same(key, logged.block.inside) {
            let event = Event::Release {
                block: logged.block,
                reason: ReleaseReason::Orphan,
            };
            entries.push(LogEntry { unix_ms, event });
        }
    }
    for (key, one) in &in_tables {
        let logged = recovery.live.get(key);
        if logged.is_none_or(|logged| logged.block.inside != one.grant.inside) {
            tracing::warn!(inside = %one.grant.inside, external = %key.0, port = key.1, "a block in use had no log record: logged again");
            let event = Event::Allocate(block(state, &one.grant));
            entries.push(LogEntry { unix_ms, event });
        }
    }
    entries
}

/// Holds the blocks that were live or held before, and are nobody's now
/// (RFC 6888 REQ-8, also after a crash). Returns the number of orphans.
fn hold(
    state: &State,
    allocator: &mut Allocator<StdRng>,
    granted: &[Granted],
    recovery: &Recovery,
) -> usize {
    let hold_ms = u64::from(state.config.config.hold.block_secs) * 1000;
    let (now_ms, unix_ms) = (clock::monotonic_ms(state), clock::unix_ms(state));
    let owned: std::collections::BTreeSet<Key> =
        granted.iter().map(|one| key(state, &one.grant)).collect();
    let orphans = recovery.live.iter().filter(|(key, _)| !owned.contains(key));
    let orphans: Vec<_> = orphans
        .map(|(_, logged)| (logged.block, now_ms + hold_ms))
        .collect();
    let released = recovery.released.values().map(|logged| {
        let since = unix_ms.saturating_sub(logged.unix_ms);
        (logged.block, now_ms + hold_ms.saturating_sub(since))
    });
    for (block, until_ms) in orphans.iter().copied().chain(released) {
        let ports = block.ports.first()..=block.ports.last();
        let Some((pool, blocks)) = allocator.blocks_covering(block.external.to_bits(), ports)
        else {
            continue; // the configuration has it no more
        };
        for number in blocks {
            // Fails for a block that has an owner again, which needs no hold.
            let _ = allocator.hold_until(pool, block.external.to_bits(), number, until_ms);
        }
    }
    orphans.len()
}

type Vlans = HashMap<(u32, [u16; 2]), Side>;

/// Devices, VLANs and routes in the tables.
fn routes_of(
    state: &State,
    dataplane: &mut Dataplane,
    plans: &[Plan],
) -> Result<(Vlans, Follower, Applied)> {
    let mut vlans = HashMap::new();
    let mut ports = Vec::new();
    for plan in plans {
        dataplane.set_device(plan.device, plan.ifindex)?;
        for (_, side, tags) in &plan.sides {
            let at = |index: usize| tags.get(index).copied().unwrap_or(0);
            let key = VlanKey {
                ifindex: plan.ifindex,
                vlans: [at(0), at(1)],
            };
            if plan.entry == Entry::Vlan {
                let role = VlanRole {
                    side: *side as u32,
                    socket_base: plan.socket_base,
                };
                dataplane.set_vlan(key, role)?;
                vlans.insert((key.ifindex, key.vlans), *side);
            }
            ports.push(routes::Port {
                device: plan.device,
                side: match side {
                    Side::Inside => routes::Side::Inside,
                    Side::Outside => routes::Side::Outside,
                },
                phys_ifindex: plan.ifindex,
                vlan: tags.clone(),
            });
        }
    }
    let follower =
        Follower::spawn(ports, Options::default()).context("the kernel's routes cannot be read")?;
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
    follower.applied(generation);
    Ok((vlans, follower, routing))
}

/// Programs on the interfaces, then their sockets.
fn ports(
    state: &State,
    dataplane: &mut Dataplane,
    pins: &Pins,
    plans: Vec<Plan>,
) -> Result<Vec<Port>> {
    let wanted = state.config.config.xdp.mode;
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
        for (name, _, _) in &plan.sides {
            state.stats().interfaces.push(InterfaceStats {
                name: plan.name.clone(),
                side: name,
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
    Ok(ports)
}
