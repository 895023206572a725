//! Runs a program behind the generator, and checks what it did to the packets:
//! a figure for packets that were not translated would be worth nothing.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Map, MapData, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunOptions, TestRunResult, Xdp};
use aya::{Ebpf, EbpfLoader};
use cgn_user::dataplane::memory::Table;

use super::plan::{CHUNK_SHIFT, ERROR_BYTES, FRAME_BYTES, Flow, OFFSETS, Plan, STAMPS};
use super::sample::{Chunks, median};

/// The generator and the references, built by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/cgn-bench.bpf.o");

/// Packets between two time stamps. A run begins at a multiple of it.
pub const CHUNK: u64 = 1 << CHUNK_SHIFT;
/// Most packets of a run.
pub const MAX_PACKETS: u64 = (STAMPS as u64 - 1) << CHUNK_SHIFT;
/// Actions of XDP.
pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;
pub const XDP_TX: u32 = 3;

/// Programs of the bench object that the generator can jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Does nothing.
    Tx,
    /// One look-up in the hash map.
    HashLookup,
    /// Puts the flow into the hash map.
    HashFill,
}

impl Reference {
    const ALL: [Self; 3] = [Self::Tx, Self::HashLookup, Self::HashFill];

    const fn name(self) -> &'static str {
        match self {
            Self::Tx => "bench_xdp_tx",
            Self::HashLookup => "bench_hash_lookup",
            Self::HashFill => "bench_hash_fill",
        }
    }
}

/// One run of the generator.
#[derive(Debug)]
pub struct Run {
    pub chunks: Chunks,
    /// The flow of the last packet as sent, and as it came out.
    pub last_sent: Flow,
    /// None of what is no longer, or was never, a UDP packet.
    pub last_seen: Option<Flow>,
}

/// The loaded bench object.
pub struct Generator {
    ebpf: Ebpf,
    target: ProgramArray<MapData>,
    plan: Table<Plan>,
    offsets: Table<u16>,
    stamps: Table<u64>,
}

impl Generator {
    /// Loads the bench object, with a hash map for `flows` entries.
    ///
    /// # Errors
    /// Rights, kernel, memory.
    pub fn load(flows: u64) -> Result<Self> {
        let entries = u32::try_from(flows).context("too many flows for a hash map")?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("BENCH_HASH", entries)
            .load(OBJECT)
            .context("cannot load the bench object; it needs root and Linux 6.1 or later")?;
        for name in Reference::ALL
            .map(Reference::name)
            .iter()
            .chain(&["bench_generator"])
        {
            program(&mut ebpf, name)?.load()?;
        }
        let target = ebpf.take_map("BENCH_TARGET").context("no BENCH_TARGET")?;
        Ok(Self {
            target: ProgramArray::try_from(target)?,
            plan: table(&ebpf, "BENCH_PLAN", 2)?,
            offsets: table(&ebpf, "BENCH_OFFSETS", 2 * OFFSETS)?,
            stamps: table(&ebpf, "BENCH_STAMPS", STAMPS)?,
            ebpf,
        })
    }

    /// Takes the flows of the next runs.
    pub fn follow(&self, plan: &Plan, offsets: &[u16]) {
        for (at, offset) in (0..).zip(offsets) {
            self.offsets.write(at, *offset);
        }
        self.plan.write(0, *plan);
    }

    /// Takes the far ends of packets that are hairpinned: those of these flows.
    pub fn follow_far(&self, plan: &Plan, offsets: &[u16]) {
        for (at, offset) in (OFFSETS as u32..).zip(offsets) {
            self.offsets.write(at, *offset);
        }
        self.plan.write(1, *plan);
    }

    /// Lets the generator jump to one of our own programs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn aim(&mut self, reference: Reference) -> Result<()> {
        let fd = program(&mut self.ebpf, reference.name())?
            .fd()?
            .try_clone()?;
        self.aim_at(&fd)
    }

    /// Lets the generator jump to `program`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn aim_at(&mut self, program: &ProgramFd) -> Result<()> {
        self.target
            .set(0, program, 0)
            .context("the generator cannot jump into the program")
    }

    /// Sends `packets` packets, from number `first` on, and one more, which
    /// closes the last chunk. Both are multiples of [`CHUNK`]. The program must
    /// end with `action`.
    ///
    /// # Errors
    /// Not every packet reached the end of its program.
    pub fn run(&mut self, first: u64, packets: u64, action: u32) -> Result<Run> {
        ensure!(
            first.is_multiple_of(CHUNK) && packets.is_multiple_of(CHUNK) && packets <= MAX_PACKETS,
            "a run of {packets} packets from {first} does not fit the time stamps"
        );
        let mut plan = self.plan.read(0).context("no plan")?;
        (plan.next, plan.missed) = (first, 0);
        self.plan.write(0, plan);
        let mut frame = [0; 2 * FRAME_BYTES];
        let bytes = if plan.icmp_error == 0 {
            FRAME_BYTES
        } else {
            ERROR_BYTES
        };
        let result = test_run(
            program(&mut self.ebpf, "bench_generator")?,
            packets + 1,
            &[0; ERROR_BYTES][..bytes],
            &mut frame,
        )?;
        let after = self.plan.read(0).context("no plan")?;
        ensure!(
            result.return_value == action,
            "the last packet had XDP action {}, not {action}",
            result.return_value
        );
        ensure!(after.missed == 0, "{} packets failed", after.missed);
        ensure!(
            after.next == first + packets + 1,
            "the generator stopped at packet {} of {packets}",
            after.next - first
        );
        let mut last_sent = self.flow_of(0, first + packets)?;
        if plan.hairpin != 0 {
            last_sent = Plan::hairpin(last_sent, self.flow_of(1, first + packets + 1)?);
        }
        Ok(Run {
            chunks: self.chunks(first, packets)?,
            last_sent,
            last_seen: read_flow(&frame[..result.data_size_out as usize]),
        })
    }

    /// The flow of a packet by plan number `at`.
    fn flow_of(&self, at: u32, packet: u64) -> Result<Flow> {
        let plan = self.plan.read(at).context("no plan")?;
        let number = plan.number(packet);
        let offset_at = at * OFFSETS as u32 + number.offset_at as u32;
        let offset = self.offsets.read(offset_at).context("no offset")?;
        Ok(plan.flow(number, offset))
    }

    /// Nanoseconds of one run of the do-nothing program alone, without the
    /// generator: the price of a test run itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bare_tx_ns(&mut self) -> Result<f64> {
        const RUNS: usize = 9;
        const PACKETS: u64 = 1 << 17;
        let program = program(&mut self.ebpf, Reference::Tx.name())?;
        let mut frame = [0; 2 * FRAME_BYTES];
        let mut times = [0.0; RUNS];
        for time in &mut times {
            let result = test_run(program, PACKETS, &[0; FRAME_BYTES], &mut frame)?;
            ensure!(result.return_value == XDP_TX, "not sent");
            // The kernel's own mean, cut to whole nanoseconds.
            *time = result.duration.as_nanos() as f64 + 0.5;
        }
        Ok(median(&times))
    }

    fn chunks(&self, first: u64, packets: u64) -> Result<Chunks> {
        let (from, to) = (first >> CHUNK_SHIFT, (first + packets) >> CHUNK_SHIFT);
        let stamps: Option<Vec<u64>> = (from..=to)
            .map(|chunk| self.stamps.read(chunk as u32 % STAMPS as u32))
            .collect();
        Ok(Chunks::between(&stamps.context("no time stamp")?, CHUNK))
    }
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the bench object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// The only element of an array, as `len` parts.
fn table<T>(ebpf: &Ebpf, name: &str, len: usize) -> Result<Table<T>> {
    let Some(Map::Array(data)) = ebpf.map(name) else {
        bail!("the bench object has no array {name}");
    };
    Table::mapped(data.fd().as_fd(), len).with_context(|| format!("cannot map {name}"))
}

fn test_run(program: &Xdp, repeat: u64, input: &[u8], frame: &mut [u8]) -> Result<TestRunResult> {
    program
        .test_run(TestRunOptions {
            data_in: Some(input),
            data_out: Some(frame),
            repeat: u32::try_from(repeat).context("too many packets for one run")?,
            ..TestRunOptions::new()
        })
        .context("BPF_PROG_TEST_RUN failed")
}

/// Addresses and ports of an untagged UDP frame.
fn read_flow(frame: &[u8]) -> Option<Flow> {
    let headers = etherparse::PacketHeaders::from_ethernet_slice(frame).ok()?;
    let Some(etherparse::NetHeaders::Ipv4(ip, _)) = headers.net else {
        return None;
    };
    let Some(etherparse::TransportHeader::Udp(udp)) = headers.transport else {
        return None;
    };
    Some(Flow {
        source: u32::from_be_bytes(ip.source),
        destination: u32::from_be_bytes(ip.destination),
        source_port: udp.source_port,
        destination_port: udp.destination_port,
    })
}
