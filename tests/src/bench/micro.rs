//! `bench micro`: what one packet costs, program by program, beside one
//! look-up in a kernel hash map and a program that does nothing.

mod asides;
mod features;

use std::borrow::Cow;

use anyhow::{Context as _, Result, bail, ensure};
use cgn_common::counters::Counters;
use cgn_common::verdict::{Direction, Protocol, Reason};
use cgn_user::dataplane::load::{Dataplane, Entry};

use super::generator::{CHUNK, Generator, MAX_PACKETS, Reference, Run, XDP_DROP, XDP_TX};
use super::plan::Plan;
use super::sample::{Chunks, growing, median, steady};
use super::world::{Density, World};

pub use features::{Cost, DEFAULT_POLICY, Feature, Setting, features, measure_features};

/// Packets of one measurement; before it, as many as there are flows, but no
/// more than this, warm the caches.
const PACKETS: u64 = 1 << 20;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Translating a packet from inside, of a flow that has its mapping.
    Outbound,
    /// Translating a packet from outside.
    Inbound,
    /// Translating the first packet of a flow, which opens its mapping.
    New,
    /// Dropping the first packet of a flow, because all ports are in use.
    Refused,
    /// Translating a packet to another subscriber's external endpoint, both ways at once.
    Hairpin,
    /// Translating an ICMP error from outside, with the packet that it quotes.
    IcmpError,
    /// Handing the first packet of a new subscriber to the slow path, of which none is there: up to
    /// and with the attempt.
    Punt,
    /// Leaving a frame that is not IPv4 to the kernel: what is not translated costs.
    Passed,
}

impl Case {
    /// Name in the table and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::New => "new",
            Self::Refused => "refused",
            Self::Hairpin => "hairpin",
            Self::IcmpError => "icmp_error",
            Self::Punt => "punt",
            Self::Passed => "passed",
        }
    }
}

/// One figure with what it is compared with, in nanoseconds per packet.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub case: Case,
    pub flows: u64,
    pub density: Density,
    /// The generator's own cost is subtracted.
    pub ns: f64,
    /// One look-up in a hash map with `flows` entries, likewise.
    pub hash_lookup_ns: f64,
    /// A program that only returns `XDP_TX`, with the price of the test run.
    pub xdp_tx_ns: f64,
    /// What was subtracted; includes the price of the test run.
    pub generator_ns: f64,
}

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Numbers of flows, each a power of two.
    pub flows: Vec<u64>,
    /// Rounds; in each, every program has its turn.
    pub rounds: usize,
    /// log2 of the packets of a flow that come one after the other.
    pub burst: u32,
    /// The product's BPF object; another one than the embedded one to measure
    /// another state of the source that has the same layout of tables. Several
    /// have their turns in the same rounds.
    pub objects: Vec<Cow<'static, [u8]>>,
}

/// Measures all cases at all sizes, for each object. `progress` hears what is
/// going on.
///
/// # Errors
/// Rights, kernel, memory; a packet that did not end as it should.
pub fn measure(
    options: &Options,
    density: Density,
    mut progress: impl FnMut(&str),
) -> Result<Vec<Vec<Row>>> {
    let mut rows = vec![Vec::new(); options.objects.len()];
    for &flows in &options.flows {
        progress(&format!(
            "{flows} flows, {} mappings a host",
            density.ports_per_host
        ));
        let benches = options.objects.iter().map(|object| {
            Bench::new(object, density, flows, options.burst, &Setting::default())
                .context("cannot set up the tables")
        });
        let benches = take_turns(benches.collect::<Result<_>>()?, options.rounds)
            .with_context(|| format!("at {flows} flows"))?;
        for (rows, bench) in rows.iter_mut().zip(&benches) {
            rows.extend(bench.rows());
        }
    }
    Ok(rows)
}

/// Runs every round of every bench, one bench after the other in each.
fn take_turns(mut benches: Vec<Bench>, rounds: usize) -> Result<Vec<Bench>> {
    for bench in &mut benches {
        bench.fill_hash()?;
    }
    for _ in 0..benches
        .first()
        .map_or(0, |bench| bench.rounds_of_new(rounds))
    {
        for bench in &mut benches {
            bench.open_all()?;
        }
    }
    for bench in &mut benches {
        let memory = bench.dataplane.memory().clone();
        bench.world.fill(&memory)?;
    }
    for round in 0..rounds as u64 {
        for bench in &mut benches {
            bench.round(round)?;
        }
    }
    for bench in &mut benches {
        let memory = bench.dataplane.memory().clone();
        bench.world.fill_up(&memory)?;
    }
    for round in 0..rounds as u64 {
        for bench in &mut benches {
            bench.refuse(round)?;
        }
    }
    Ok(benches)
}

/// Everything for one number of flows.
struct Bench {
    density: Density,
    flows: u64,
    burst: u64,
    world: World,
    dataplane: Dataplane,
    generator: Generator,
    /// See [`Setting`].
    filters: bool,
    samples: Samples,
}

/// Chunks of every round of one size.
#[derive(Default)]
struct Samples {
    new: Vec<Chunks>,
    outbound: Vec<Chunks>,
    inbound: Vec<Chunks>,
    refused: Vec<Chunks>,
    hash_lookup: Vec<Chunks>,
    generator_refused: Vec<Chunks>,
    generator_out: Vec<Chunks>,
    generator_in: Vec<Chunks>,
    bare_ns: Vec<f64>,
    /// The generator and the program, of each case off the common way.
    asides: Vec<(Case, Vec<Chunks>, Vec<Chunks>)>,
}

impl Bench {
    fn new(
        object: &[u8],
        density: Density,
        flows: u64,
        burst: u32,
        setting: &Setting,
    ) -> Result<Self> {
        ensure!(flows.is_power_of_two(), "{flows} flows: not a power of two");
        let mut world = World::new(density, flows);
        setting.prepare(&mut world.geometry);
        let sizes = world.geometry.sizes;
        let dataplane = Dataplane::load(object, sizes, &setting.constants, None)?;
        world.install(dataplane.memory())?;
        setting.install(dataplane.memory(), &world.geometry);
        Ok(Self {
            density,
            flows,
            burst: u64::from(burst),
            world,
            dataplane,
            generator: Generator::load(flows)?,
            filters: setting.filters,
            samples: Samples::default(),
        })
    }

    /// Small tables fill in no time, so they are filled more often.
    fn rounds_of_new(&self, rounds: usize) -> usize {
        match self.flows {
            flows if flows < CHUNK => 0,
            flows => rounds * (1 << 17_u64).max(flows) as usize / flows as usize,
        }
    }

    fn fill_hash(&mut self) -> Result<()> {
        let (plan, offsets) = self.world.outbound();
        self.generator.follow(&plan, &offsets);
        self.generator.aim(Reference::HashFill)?;
        let mut first = 0;
        while first < self.flows {
            let packets = (self.flows - first).clamp(CHUNK, MAX_PACKETS);
            self.generator
                .run(first, packets, XDP_TX)
                .context("filling the hash map")?;
            first += packets;
        }
        Ok(())
    }

    /// Opens every flow's mapping in empty blocks.
    fn open_all(&mut self) -> Result<()> {
        let memory = self.dataplane.memory().clone();
        self.world.clear(&memory);
        let (plan, offsets) = self.world.outbound();
        self.generator.follow(&plan, &offsets);
        let before = self.dataplane.counters()?;
        self.aim_at_product(Entry::Inside)?;
        let run = self.generator.run(0, self.flows, XDP_TX)?;
        // The packet that closes the last chunk is the first flow's second.
        self.check(&before, Direction::Outbound, self.flows + 1, self.flows)?;
        self.check_owner(&run, Direction::Outbound)?;
        self.samples.new.push(run.chunks);
        Ok(())
    }

    /// Every program once.
    fn round(&mut self, round: u64) -> Result<()> {
        let first = round * 2 * PACKETS;
        self.samples.bare_ns.push(self.generator.bare_tx_ns()?);
        self.follow(self.world.outbound());
        let chunks = self.reference(first, Reference::HashLookup)?;
        self.samples.hash_lookup.push(chunks);
        self.both_ways(first)?;
        self.asides(first)
    }

    /// The generator and the product, from inside and from outside.
    fn both_ways(&mut self, first: u64) -> Result<()> {
        self.follow(self.world.outbound());
        let chunks = self.reference(first, Reference::Tx)?;
        self.samples.generator_out.push(chunks);
        self.meet(Direction::Outbound);
        let chunks = self.translate(first, Entry::Inside, Direction::Outbound)?;
        self.samples.outbound.push(chunks);

        self.follow(self.world.inbound());
        let chunks = self.reference(first, Reference::Tx)?;
        self.samples.generator_in.push(chunks);
        self.meet(Direction::Inbound);
        let chunks = self.translate(first, Entry::Outside, Direction::Inbound)?;
        self.samples.inbound.push(chunks);
        Ok(())
    }

    /// Where a pool filters, packets come from whom the mapping has sent to.
    fn meet(&self, direction: Direction) {
        if self.filters {
            self.world.meet(self.dataplane.memory(), direction);
        }
    }

    fn follow(&mut self, (mut plan, offsets): (Plan, Vec<u16>)) {
        plan.burst = self.burst;
        self.generator.follow(&plan, &offsets);
    }

    /// New flows where every port is in use.
    fn refuse(&mut self, round: u64) -> Result<()> {
        let first = round * 2 * PACKETS;
        let (plan, offsets) = self.world.refused();
        self.generator.follow(&plan, &offsets);
        let chunks = self.reference(first, Reference::Tx)?;
        self.samples.generator_refused.push(chunks);
        self.aim_at_product(Entry::Inside)?;
        let before = self.dataplane.counters()?.all_dropped(Reason::NoPort);
        let run = self.warm_run(first, XDP_DROP)?;
        let refused = self.dataplane.counters()?.all_dropped(Reason::NoPort) - before;
        let packets = self.packets_of_a_warm_run();
        ensure!(
            refused == packets && run.last_seen == Some(run.last_sent),
            "{refused} of {packets} packets were refused for want of a port"
        );
        self.samples.refused.push(run.chunks);
        Ok(())
    }

    fn reference(&mut self, first: u64, reference: Reference) -> Result<Chunks> {
        self.generator.aim(reference)?;
        Ok(self.warm_run(first, XDP_TX)?.chunks)
    }

    fn translate(&mut self, first: u64, entry: Entry, direction: Direction) -> Result<Chunks> {
        self.aim_at_product(entry)?;
        let before = self.dataplane.counters()?;
        let run = self.warm_run(first, XDP_TX)?;
        self.check(&before, direction, self.packets_of_a_warm_run(), 0)?;
        self.check_owner(&run, direction)?;
        Ok(run.chunks)
    }

    fn warm_up(&self) -> u64 {
        self.flows.clamp(CHUNK, PACKETS)
    }

    /// Each of the two runs sends one more, which closes its last chunk.
    fn packets_of_a_warm_run(&self) -> u64 {
        self.warm_up() + 1 + PACKETS + 1
    }

    fn warm_run(&mut self, first: u64, action: u32) -> Result<Run> {
        self.generator.run(first, self.warm_up(), action)?;
        self.generator.run(first + PACKETS, PACKETS, action)
    }

    fn aim_at_product(&mut self, entry: Entry) -> Result<()> {
        let program = self.dataplane.program(entry)?.fd()?;
        self.generator.aim_at(program)
    }

    /// All packets were translated, and none for another reason.
    fn check(
        &self,
        before: &Counters,
        direction: Direction,
        packets: u64,
        created: u64,
    ) -> Result<()> {
        let after = self.dataplane.counters()?;
        let udp = Protocol::Udp as usize;
        let way = direction as usize;
        let translated = after.packets[way][udp] - before.packets[way][udp];
        if translated != packets {
            let stopped: Vec<String> = Reason::ALL
                .iter()
                .map(|r| (r.name(), after.ended(*r) - before.ended(*r)))
                .filter(|(_, count)| *count != 0)
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            bail!(
                "{translated} of {packets} packets were translated; {}",
                stopped.join(", ")
            );
        }
        let opened = after.created[udp] - before.created[udp];
        ensure!(
            opened == created,
            "{opened} mappings were opened, not {created}"
        );
        Ok(())
    }

    /// The last packet has the endpoint that the tables say.
    fn check_owner(&self, run: &Run, direction: Direction) -> Result<()> {
        let sent = &run.last_sent;
        let seen = run.last_seen.context("the last packet is no longer UDP")?;
        let (inside, external, kept) = match direction {
            Direction::Outbound => (
                (sent.source, sent.source_port),
                (seen.source, seen.source_port),
                (sent.destination, sent.destination_port)
                    == (seen.destination, seen.destination_port),
            ),
            Direction::Inbound => (
                (seen.destination, seen.destination_port),
                (sent.destination, sent.destination_port),
                (sent.source, sent.source_port) == (seen.source, seen.source_port),
            ),
        };
        ensure!(
            kept && self.world.owns(inside, external),
            "wrongly translated: {sent:?} became {seen:?}"
        );
        Ok(())
    }

    fn rows(&self) -> Vec<Row> {
        let samples = &self.samples;
        let (out, inside) = (
            steady(&samples.generator_out),
            steady(&samples.generator_in),
        );
        let row = |case, gross_ns: f64, generator_ns: f64| Row {
            case,
            flows: self.flows,
            density: self.density,
            ns: gross_ns - generator_ns,
            hash_lookup_ns: steady(&samples.hash_lookup) - out,
            xdp_tx_ns: median(&samples.bare_ns),
            generator_ns,
        };
        let mut rows = vec![
            row(Case::Outbound, steady(&samples.outbound), out),
            row(Case::Inbound, steady(&samples.inbound), inside),
            row(
                Case::Refused,
                steady(&samples.refused),
                steady(&samples.generator_refused),
            ),
        ];
        if !samples.new.is_empty() {
            rows.push(row(Case::New, growing(&samples.new), out));
        }
        for (case, generator, product) in &samples.asides {
            rows.push(row(*case, steady(product), steady(generator)));
        }
        rows
    }
}
