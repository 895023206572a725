//! Both ends of the rig: generators, and sinks.

use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{DevMap, Map, MapData};
use aya::programs::Xdp;
use aya::programs::xdp::{XdpLinkId, XdpMode};
use aya::{Ebpf, EbpfLoader};
use cgn_user::dataplane::memory::Table;

use super::frame_size::FrameSize;
use super::live::Live;
use super::population::Population;
use super::sending::{Sending, Sent};
use crate::bench::crowd::{Run, Tally};
use crate::lab::{Bed, DEVICES, ENDS, Namespace, mac};

/// Generators, sinks and the bare redirect, built by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/cgn-rig.bpf.o");

/// Generator of frames from both ends in turns.
const BOTH: &str = "rig_both";
/// Most frames of a run.
pub const MOST_FRAMES: u64 = 1 << 31;

/// One end of the rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where the responder is.
    Outside = 0,
    /// Where the subscribers are.
    Inside = 1,
}

impl End {
    const fn other(self) -> Self {
        match self {
            Self::Outside => Self::Inside,
            Self::Inside => Self::Outside,
        }
    }

    const fn generator(self) -> &'static str {
        match self {
            Self::Outside => "rig_answer",
            Self::Inside => "rig_send",
        }
    }

    const fn sink(self) -> &'static str {
        match self {
            Self::Outside => "rig_outside",
            Self::Inside => "rig_inside",
        }
    }

    fn namespace(self, bed: &Bed) -> &Namespace {
        match self {
            Self::Outside => &bed.server,
            Self::Inside => &bed.client,
        }
    }

    const fn device(self) -> &'static str {
        match self {
            Self::Outside => ENDS[1],
            Self::Inside => ENDS[0],
        }
    }
}

/// The loaded object, with both sinks in place.
pub struct Ends {
    ebpf: Ebpf,
    population: Population,
    run: Table<Run>,
    tally: Table<Tally>,
    seen: Table<u64>,
    sinks: Vec<(&'static str, XdpLinkId)>,
    /// Processor that generators run on.
    cpu: usize,
}

impl Ends {
    /// Loads the object for this population.
    ///
    /// # Errors
    /// Rights, kernel, memory.
    pub fn load(bed: &Bed, population: Population, cpu: usize) -> Result<Self> {
        let sessions = u32::try_from(population.sessions()).context("too many sessions")?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("RIG_SEEN", sessions)
            .load(OBJECT)
            .context("cannot load the rig's object; it needs root and Linux 6.1 or later")?;
        let mut ends = Self {
            run: table(&ebpf, "RIG_RUN", 2)?,
            tally: table(&ebpf, "RIG_TALLY", 2)?,
            seen: table(&ebpf, "RIG_SEEN", sessions as usize)?,
            sinks: Vec::new(),
            population,
            cpu,
            ebpf: {
                for name in ["rig_send", "rig_answer", BOTH, "rig_outside", "rig_inside"] {
                    program(&mut ebpf, name)?.load()?;
                }
                ebpf
            },
        };
        for end in [End::Outside, End::Inside] {
            ends.write_run(end)?;
            ends.lead_out(bed, end)?;
        }
        Ok(ends)
    }

    /// Puts the sinks in place; they pass what is not of the rig.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach(&mut self, bed: &Bed) -> Result<()> {
        for end in [End::Outside, End::Inside] {
            let name = end.sink();
            let id = self.attach_to(end.namespace(bed), end.device(), name)?;
            self.sinks.push((name, id));
        }
        Ok(())
    }

    /// Takes them away, for programs with sockets.
    ///
    /// # Errors
    /// The kernel's.
    pub fn detach(&mut self) -> Result<()> {
        for (name, id) in std::mem::take(&mut self.sinks) {
            program(&mut self.ebpf, name)?.detach(id)?;
        }
        Ok(())
    }

    /// Has the device under test only send frames on, by XDP. Ends with this value.
    ///
    /// # Errors
    /// The kernel's.
    pub fn redirect(&mut self, bed: &Bed) -> Result<()> {
        for (end, device) in [(End::Outside, DEVICES[1]), (End::Inside, DEVICES[0])] {
            let device = index(&bed.dut, device)?;
            self.set_device(&bed.dut, "RIG_DEVICES", end, device)?;
        }
        for (device, name) in DEVICES.into_iter().zip(["rig_out", "rig_in"]) {
            program(&mut self.ebpf, name)?.load()?;
            self.attach_to(&bed.dut, device, name)?;
        }
        Ok(())
    }

    /// Has the device under test drop everything: what is left is the generator and the first link.
    ///
    /// # Errors
    /// The kernel's.
    pub fn drop_all(&mut self, bed: &Bed) -> Result<()> {
        program(&mut self.ebpf, "rig_drop")?.load()?;
        self.attach_to(&bed.dut, DEVICES[0], "rig_drop").map(drop)
    }

    /// Forgets what the responder has seen.
    pub fn forget(&self) {
        for session in 0..self.seen.len() as u32 {
            self.seen.write(session, 0);
        }
    }

    /// External endpoint of a session as the responder saw it: address and port, host order.
    #[must_use]
    pub fn seen(&self, session: u32) -> Option<(u32, u16)> {
        let seen = self.seen.read(session).filter(|seen| *seen != 0)?;
        Some((seen as u32, (seen >> 32) as u16))
    }

    /// Sends frames and waits until all have arrived, or no more do.
    ///
    /// # Errors
    /// The kernel's, or it took much too long.
    pub fn send(&mut self, bed: &Bed, sending: &Sending) -> Result<Sent> {
        self.prepare(sending)?;
        self.generate(bed, sending, sending.from.generator(), &[sending.from])?;
        self.gather(sending)
    }

    /// Sends the same from both ends at once, frame by frame in turns, and waits likewise: what became of
    /// those from `sending.from`, and of the others.
    ///
    /// # Errors
    /// As of [`Self::send`].
    pub fn send_both(&mut self, bed: &Bed, sending: &Sending) -> Result<[Sent; 2]> {
        let answers = Sending {
            from: sending.from.other(),
            ..*sending
        };
        self.prepare(sending)?;
        self.prepare(&answers)?;
        self.generate(bed, sending, BOTH, &[sending.from, answers.from])?;
        Ok([self.gather(sending)?, self.gather(&answers)?])
    }

    /// Tells the generator and the far end's sink what comes.
    fn prepare(&self, sending: &Sending) -> Result<()> {
        let Sending {
            from,
            first,
            frames,
            ..
        } = *sending;
        ensure!(
            first + frames <= MOST_FRAMES,
            "{frames} frames are too many"
        );
        let mut run = self.run.read(from as u32).context("no run")?;
        (run.first, run.next, run.end) = (first, 0, frames);
        (run.first_ns, run.last_ns, run.unknown, run.bytes) = (0, 0, 0, 0);
        run.untimed = sending.timed_every - 1;
        run.interval = sending.interval();
        run.mixed = u64::from(sending.size == FrameSize::Imix);
        let tally = Tally {
            untimed: run.untimed,
            check: u64::from(sending.check),
            ..Tally::default()
        };
        self.tally.write(from.other() as u32, tally);
        self.run.write(from as u32, run);
        Ok(())
    }

    /// One run of a generator that sends from these ends.
    fn generate(&mut self, bed: &Bed, sending: &Sending, name: &str, from: &[End]) -> Result<()> {
        let frames = sending.frames * from.len() as u64;
        let run = &self.run;
        let live = Live {
            program: program(&mut self.ebpf, name)?,
            namespace: sending.from.namespace(bed),
            cpu: self.cpu,
            frame_bytes: sending.size.longest(),
            frames,
            is_paced: sending.is_paced(),
            longest: sending.longest(frames),
        };
        let is_sent = |end: &End| {
            let run = run.read(*end as u32);
            run.is_none_or(|run| run.next >= run.end)
        };
        live.run(|| from.iter().all(is_sent))?;
        for end in from {
            self.settle(end.other() as u32);
        }
        Ok(())
    }

    /// What became of it.
    fn gather(&self, sending: &Sending) -> Result<Sent> {
        let Sending { from, frames, .. } = *sending;
        let after = self.run.read(from as u32).context("no run")?;
        ensure!(after.next == after.end, "the generator did not send all");
        let ns = after.last_ns.saturating_sub(after.first_ns).max(1);
        let tally = self.tally.read(from.other() as u32);
        Ok(Sent {
            sent: frames - after.unknown,
            bytes: after.bytes,
            sent_per_second: frames as f64 * 1e9 / ns as f64,
            tally: tally.context("no tally")?,
        })
    }

    /// Waits until no more frames arrive.
    fn settle(&self, end: u32) {
        let count = || self.tally.read(end).map_or(0, |tally| tally.frames);
        let mut before = count();
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(10));
            let now = count();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Has what a generator sends from this end leave by its device.
    fn lead_out(&mut self, bed: &Bed, end: End) -> Result<()> {
        let namespace = end.namespace(bed);
        let device = index(namespace, end.device())?;
        self.set_device(namespace, "RIG_LINKS", end, device)
    }

    /// Puts a device of this namespace into a map of devices.
    fn set_device(
        &mut self,
        namespace: &Namespace,
        name: &str,
        end: End,
        device: u32,
    ) -> Result<()> {
        namespace.within(|| {
            let map = self.ebpf.map_mut(name);
            let map = map.with_context(|| format!("the rig's object has no map {name}"))?;
            let mut map: DevMap<&mut MapData> = DevMap::try_from(map)?;
            Ok(map.set(end as u32, device, None, 0)?)
        })
    }

    fn write_run(&self, end: End) -> Result<()> {
        let of_server = end == End::Outside;
        let (near, far) = (mac(of_server, false), mac(of_server, true));
        let mut link = [0; 14];
        link[..6].copy_from_slice(&near);
        link[6..12].copy_from_slice(&far);
        link[12..].copy_from_slice(&[8, 0]);
        let word = |at: usize| link[at..at + 8].try_into().map(u64::from_ne_bytes);
        let run = Run {
            crowd: self.population.crowd(),
            link_head: word(0)?,
            link_tail: word(6)?,
            ..Run::default()
        };
        self.run.write(end as u32, run);
        Ok(())
    }

    /// Makes an interface from which every frame comes to nothing at once.
    ///
    /// # Errors
    /// The kernel's.
    pub fn drop_copies(&mut self, bed: &Bed, device: &str) -> Result<()> {
        let sink = "rig-sink";
        bed.dut.ip(&format!(
            "link add {device} type veth peer name {sink}\nlink set {device} up\nlink set {sink} up\n"
        ))?;
        program(&mut self.ebpf, "rig_sink")?.load()?;
        self.attach_to(&bed.dut, sink, "rig_sink").map(drop)
    }

    fn attach_to(
        &mut self,
        namespace: &Namespace,
        device: &str,
        name: &'static str,
    ) -> Result<XdpLinkId> {
        let program = program(&mut self.ebpf, name)?;
        namespace
            .within(|| Ok(program.attach(device, XdpMode::Driver)?))
            .with_context(|| format!("cannot attach {name} to {device}"))
    }
}

fn index(namespace: &Namespace, device: &str) -> Result<u32> {
    namespace.within(|| cgn_user::dataplane::interface::index_of(device).context("no such device"))
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the rig's object has no program {name}"))?;
    Ok(program.try_into()?)
}

fn table<T>(ebpf: &Ebpf, name: &str, len: usize) -> Result<Table<T>> {
    let Some(Map::Array(data)) = ebpf.map(name) else {
        bail!("the rig's object has no array {name}");
    };
    Table::mapped(data.fd().as_fd(), len).with_context(|| format!("cannot map {name}"))
}
