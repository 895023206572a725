//! `bench micro`: what one packet costs, program by program, beside one
//! look-up in a kernel hash map and a program that does nothing.

use std::borrow::Cow;

use anyhow::{Context as _, Result, bail, ensure};
use cgn_common::counters::Counters;
use cgn_common::layout::Constants;
use cgn_common::verdict::{Direction, Protocol, Reason};
use cgn_user::dataplane::load::{Dataplane, Entry};

use super::generator::{CHUNK, Generator, MAX_PACKETS, Reference, Run};
use super::sample::{Chunks, growing, median, steady};
use super::world::{Density, World};

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
}

impl Case {
    /// Name in the table and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::New => "new",
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
    /// The product's BPF object; another one than the embedded one to compare two
    /// states of the source that have the same layout of tables.
    pub object: Cow<'static, [u8]>,
}

/// Measures all cases at all sizes. `progress` hears what is going on.
///
/// # Errors
/// Rights, kernel, memory; a packet that was not translated.
pub fn measure(
    options: &Options,
    density: Density,
    mut progress: impl FnMut(&str),
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &flows in &options.flows {
        progress(&format!(
            "{flows} flows, {} mappings a host",
            density.ports_per_host
        ));
        let mut bench =
            Bench::new(&options.object, density, flows).context("cannot set up the tables")?;
        rows.extend(
            bench
                .measure(options.rounds)
                .with_context(|| format!("at {flows} flows"))?,
        );
    }
    Ok(rows)
}

/// Everything for one number of flows.
struct Bench {
    density: Density,
    flows: u64,
    world: World,
    dataplane: Dataplane,
    generator: Generator,
}

/// Chunks of every round of one size.
#[derive(Default)]
struct Samples {
    new: Vec<Chunks>,
    outbound: Vec<Chunks>,
    inbound: Vec<Chunks>,
    hash_lookup: Vec<Chunks>,
    generator_out: Vec<Chunks>,
    generator_in: Vec<Chunks>,
    bare_ns: Vec<f64>,
}

impl Bench {
    fn new(object: &[u8], density: Density, flows: u64) -> Result<Self> {
        ensure!(flows.is_power_of_two(), "{flows} flows: not a power of two");
        let world = World::new(density, flows);
        let dataplane = Dataplane::load(object, world.geometry.sizes, &Constants::PLAIN, None)?;
        world.install(dataplane.memory())?;
        Ok(Self {
            density,
            flows,
            world,
            dataplane,
            generator: Generator::load(flows)?,
        })
    }

    fn measure(&mut self, rounds: usize) -> Result<Vec<Row>> {
        let mut samples = Samples::default();
        self.fill_hash()?;
        for _ in 0..self.rounds_of_new(rounds) {
            samples.new.extend(self.open_all()?);
        }
        let memory = self.dataplane.memory().clone();
        self.world.fill(&memory)?;
        for round in 0..rounds as u64 {
            self.round(round, &mut samples)?;
        }
        Ok(self.rows(&samples))
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
                .run(first, packets)
                .context("filling the hash map")?;
            first += packets;
        }
        Ok(())
    }

    /// Opens every flow's mapping in empty blocks.
    fn open_all(&mut self) -> Result<Option<Chunks>> {
        let memory = self.dataplane.memory().clone();
        self.world.clear(&memory);
        let (plan, offsets) = self.world.outbound();
        self.generator.follow(&plan, &offsets);
        let before = self.dataplane.counters()?;
        self.aim_at_product(Entry::Inside)?;
        let run = self.generator.run(0, self.flows)?;
        // The packet that closes the last chunk is the first flow's second.
        self.check(&before, Direction::Outbound, self.flows + 1, self.flows)?;
        self.check_owner(&run, Direction::Outbound)?;
        Ok(Some(run.chunks))
    }

    /// Every program once.
    fn round(&mut self, round: u64, samples: &mut Samples) -> Result<()> {
        let first = round * 2 * PACKETS;
        samples.bare_ns.push(self.generator.bare_tx_ns()?);
        let (plan, offsets) = self.world.outbound();
        self.generator.follow(&plan, &offsets);
        self.generator.aim(Reference::Tx)?;
        samples.generator_out.push(self.warm_run(first)?.chunks);
        self.generator.aim(Reference::HashLookup)?;
        samples.hash_lookup.push(self.warm_run(first)?.chunks);
        let chunks = self.translate(first, Entry::Inside, Direction::Outbound)?;
        samples.outbound.push(chunks);

        let (plan, offsets) = self.world.inbound();
        self.generator.follow(&plan, &offsets);
        self.generator.aim(Reference::Tx)?;
        samples.generator_in.push(self.warm_run(first)?.chunks);
        let chunks = self.translate(first, Entry::Outside, Direction::Inbound)?;
        samples.inbound.push(chunks);
        Ok(())
    }

    fn translate(&mut self, first: u64, entry: Entry, direction: Direction) -> Result<Chunks> {
        self.aim_at_product(entry)?;
        let before = self.dataplane.counters()?;
        let run = self.warm_run(first)?;
        self.check(&before, direction, PACKETS + 1 + self.warm_up() + 1, 0)?;
        self.check_owner(&run, direction)?;
        Ok(run.chunks)
    }

    fn warm_up(&self) -> u64 {
        self.flows.clamp(CHUNK, PACKETS)
    }

    fn warm_run(&mut self, first: u64) -> Result<Run> {
        self.generator.run(first, self.warm_up())?;
        self.generator.run(first + PACKETS, PACKETS)
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
                .map(|r| {
                    (
                        r.name(),
                        after.reasons[*r as usize] - before.reasons[*r as usize],
                    )
                })
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
        let (sent, seen) = (&run.last_sent, &run.last_seen);
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

    fn rows(&self, samples: &Samples) -> Vec<Row> {
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
        ];
        if !samples.new.is_empty() {
            rows.push(row(Case::New, growing(&samples.new), out));
        }
        rows
    }
}
