//! Both ends of the rig: generators that the kernel runs with live frames, and sinks.
//!
//! Each call of `BPF_PROG_TEST_RUN` costs milliseconds, so one call sends all frames of a run. A
//! run with a pace has frames that are not due yet dropped; it is ended by a signal to its thread.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{DevMap, Map, MapData};
use aya::programs::xdp::{XdpLinkId, XdpMode};
use aya::programs::{TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use cgn_user::dataplane::memory::Table;

use super::population::Population;
use crate::bench::crowd::{Run, Tally};
use crate::bench::processor;
use crate::lab::{Bed, DEVICES, ENDS, Namespace, mac};

/// Generators, sinks and the bare redirect, built by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/cgn-rig.bpf.o");

/// Frames that a generator sends before the next program has its turn.
const BATCH: u32 = 64;
/// The same where frames have a time of their own.
const BATCH_PACED: u32 = 8;
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

/// What is sent in one run.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// Where from.
    pub from: End,
    /// Number of the first frame; a multiple of the subscribers to meet each session once.
    pub first: u64,
    pub frames: u64,
    /// Frames a second; 0: as fast as it goes.
    pub per_second: f64,
    /// The clock is looked at every so many frames, a power of two.
    pub timed_every: u64,
    /// Bytes of a frame without its checksum, 60 to 1514.
    pub frame_bytes: usize,
    /// Note and check each session at the far end.
    pub check: bool,
}

impl Sending {
    /// As fast as it goes, in the shortest frames.
    #[must_use]
    pub const fn flat_out(from: End, first: u64, frames: u64) -> Self {
        Self {
            from,
            first,
            frames,
            per_second: 0.0,
            timed_every: 64,
            frame_bytes: 60,
            check: false,
        }
    }
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Frames that were really sent: sessions that the responder does not know cannot be.
    pub sent: u64,
    /// Frames a second in the generator; 0 without a pace.
    pub sent_per_second: f64,
    pub tally: Tally,
}

impl Sent {
    /// Frames a second at the far end, from the first look at the clock to the last.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let tally = &self.tally;
        let frames = tally.last_frames.saturating_sub(tally.first_frames);
        let ns = tally.last_ns.saturating_sub(tally.first_ns);
        frames as f64 * 1e9 / ns.max(1) as f64
    }

    /// Frames that did not arrive.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.tally.frames)
    }

    /// Every frame arrived with the ends that a NAT (or else: a router) gives it.
    #[must_use]
    pub const fn is_whole(&self, is_nat: bool) -> bool {
        let right = if is_nat {
            self.tally.translated
        } else {
            self.tally.untouched
        };
        self.lost() == 0 && right == self.sent && self.tally.damaged == 0
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
        let ends = Self {
            run: table(&ebpf, "RIG_RUN", 2)?,
            tally: table(&ebpf, "RIG_TALLY", 2)?,
            seen: table(&ebpf, "RIG_SEEN", sessions as usize)?,
            sinks: Vec::new(),
            population,
            cpu,
            ebpf: {
                for name in ["rig_send", "rig_answer", "rig_outside", "rig_inside"] {
                    program(&mut ebpf, name)?.load()?;
                }
                ebpf
            },
        };
        for end in [End::Outside, End::Inside] {
            ends.write_run(bed, end)?;
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
        let outside = index(&bed.dut, DEVICES[1])?;
        let inside = index(&bed.dut, DEVICES[0])?;
        bed.dut.within(|| {
            let map = self.ebpf.map_mut("RIG_DEVICES").context("no RIG_DEVICES")?;
            let mut map: DevMap<&mut MapData> = DevMap::try_from(map)?;
            map.set(0, outside, None, 0)?;
            map.set(1, inside, None, 0)?;
            Ok(())
        })?;
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
        let is_paced = sending.per_second > 0.0;
        (run.first, run.next, run.end) = (first, 0, frames);
        (run.first_ns, run.last_ns, run.unknown) = (0, 0, 0);
        run.untimed = sending.timed_every - 1;
        run.interval = match is_paced {
            true => ((1e9 * 1024.0 / sending.per_second).round() as u64).max(1),
            false => 0,
        };
        let to = from.other() as u32;
        let tally = Tally {
            untimed: run.untimed,
            check: u64::from(sending.check),
            ..Tally::default()
        };
        self.tally.write(to, tally);
        self.run.write(from as u32, run);
        self.generate(bed, sending, is_paced)?;
        self.settle(to);
        let after = self.run.read(from as u32).context("no run")?;
        ensure!(after.next == after.end, "the generator did not send all");
        let ns = after.last_ns.saturating_sub(after.first_ns).max(1);
        Ok(Sent {
            sent: frames - after.unknown,
            sent_per_second: frames as f64 * 1e9 / ns as f64,
            tally: self.tally.read(to).context("no tally")?,
        })
    }

    /// One run of the generator on its processor, in its namespace.
    fn generate(&mut self, bed: &Bed, sending: &Sending, is_paced: bool) -> Result<()> {
        let from = sending.from;
        let cpu = self.cpu;
        let deadline = Instant::now() + deadline_of(sending);
        let repeat = match is_paced {
            true => u32::MAX >> 1,
            false => u32::try_from(sending.frames)?,
        };
        let batch = if is_paced { BATCH_PACED } else { BATCH };
        let thread = AtomicI32::new(0);
        let (run, frame) = (&self.run, vec![0; sending.frame_bytes]);
        let program = program(&mut self.ebpf, from.generator())?;
        interrupt::install()?;
        std::thread::scope(|scope| {
            let generator = scope.spawn(|| {
                from.namespace(bed).within(|| {
                    processor::stay_on(cpu)?;
                    thread.store(interrupt::this_thread(), Ordering::SeqCst);
                    let options = TestRunOptions {
                        data_in: Some(&frame),
                        repeat,
                        attrs: TestRunAttrs::new().xdp_live_frames(batch),
                        ..TestRunOptions::new()
                    };
                    let result = program.test_run_live(options);
                    thread.store(0, Ordering::SeqCst);
                    result
                })
            });
            while !generator.is_finished() {
                let is_done = run.read(from as u32).is_none_or(|run| run.next >= run.end);
                let is_late = Instant::now() >= deadline;
                if (is_paced && is_done) || is_late {
                    interrupt::send(thread.load(Ordering::SeqCst));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            match generator.join() {
                Ok(result) => result.context("the generator"),
                Err(_) => bail!("the generator's thread panicked"),
            }
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

    fn write_run(&self, bed: &Bed, end: End) -> Result<()> {
        let of_server = end == End::Outside;
        let (near, far) = (mac(of_server, false), mac(of_server, true));
        let mut link = [0; 14];
        link[..6].copy_from_slice(&near);
        link[6..12].copy_from_slice(&far);
        link[12..].copy_from_slice(&[8, 0]);
        let word = |at: usize| link[at..at + 8].try_into().map(u64::from_ne_bytes);
        let run = Run {
            crowd: self.population.crowd(),
            ifindex: u64::from(index(end.namespace(bed), end.device())?),
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

/// A run that takes longer than this is not worth its wait.
fn deadline_of(sending: &Sending) -> Duration {
    let slowest = if sending.per_second > 0.0 {
        sending.per_second / 4.0
    } else {
        20_000.0
    };
    Duration::from_secs_f64(10.0 + sending.frames as f64 / slowest)
}

/// Live frames as the kernel takes them: a signal may end the run.
trait Live {
    fn test_run_live(&self, options: TestRunOptions<'_>) -> Result<()>;
}

impl Live for Xdp {
    fn test_run_live(&self, options: TestRunOptions<'_>) -> Result<()> {
        use aya::programs::TestRun as _;
        match self.test_run(options) {
            Ok(_) => Ok(()),
            Err(error) if interrupt::is_cause(&error) => Ok(()),
            Err(error) => Err(error).context("BPF_PROG_TEST_RUN with live frames failed"),
        }
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

/// A signal that does nothing but end a system call of one thread.
mod interrupt {
    use std::error::Error;
    use std::io;

    use anyhow::{Result, ensure};

    const SIGNAL: libc::c_int = libc::SIGUSR1;

    extern "C" fn nothing(_signal: libc::c_int) {}

    pub fn install() -> Result<()> {
        // SAFETY: zero is a valid sigaction; the handler does nothing. Without SA_RESTART.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as libc::sighandler_t;
            libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut())
        };
        ensure!(result == 0, "sigaction: {}", io::Error::last_os_error());
        Ok(())
    }

    pub fn this_thread() -> i32 {
        // SAFETY: a system call without arguments.
        unsafe { libc::gettid() }
    }

    /// To a thread of this process; 0 is none.
    pub fn send(thread: i32) {
        if thread != 0 {
            // SAFETY: numbers only; a thread that has ended is not found.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) };
        }
    }

    pub fn is_cause(error: &(dyn Error + 'static)) -> bool {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return io.kind() == io::ErrorKind::Interrupted;
            }
            cause = error.source();
        }
        false
    }
}
