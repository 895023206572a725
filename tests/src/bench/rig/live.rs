//! Generators: programs that the kernel runs with live frames (`BPF_PROG_TEST_RUN`).
//!
//! Each call costs milliseconds, so one call sends all frames of a run. A run with a pace has frames
//! that are not due yet dropped; it is ended by a signal to its thread.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};

use crate::bench::processor;
use crate::lab::Namespace;

/// Frames that a generator sends before the next program has its turn.
const BATCH: u32 = 64;
/// The same where frames have a time of their own.
const BATCH_PACED: u32 = 8;
/// Frames of a call with a pace, those that were not due among them.
const PACED_FRAMES: u32 = u32::MAX >> 1;

/// One run of a generator.
pub struct Live<'a> {
    pub program: &'a Xdp,
    pub namespace: &'a Namespace,
    pub cpu: usize,
    /// Bytes of the buffer of each frame, all zero.
    pub frame_bytes: usize,
    pub frames: u64,
    pub is_paced: bool,
    /// After this the run ends, whatever is left to send.
    pub longest: Duration,
}

impl Live<'_> {
    /// Runs it on its processor, in its namespace, until `is_done` says that all was sent.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(&self, is_done: impl Fn() -> bool + Sync) -> Result<()> {
        let deadline = Instant::now() + self.longest;
        let thread = AtomicI32::new(0);
        interrupt::install()?;
        std::thread::scope(|scope| {
            let generator = scope.spawn(|| {
                self.namespace.within(|| {
                    processor::stay_on(self.cpu)?;
                    thread.store(interrupt::this_thread(), Ordering::SeqCst);
                    let result = self.calls(&is_done);
                    thread.store(0, Ordering::SeqCst);
                    result
                })
            });
            while !generator.is_finished() {
                let is_late = Instant::now() >= deadline;
                if (self.is_paced && is_done()) || is_late {
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

    /// As many calls as it takes: with a slow pace a long run has more frames that are not due than a
    /// call may count.
    fn calls(&self, is_done: &impl Fn() -> bool) -> Result<()> {
        let frame = vec![0; self.frame_bytes];
        let (repeat, batch) = match self.is_paced {
            true => (PACED_FRAMES, BATCH_PACED),
            false => (u32::try_from(self.frames)?, BATCH),
        };
        loop {
            let result = self.program.test_run(TestRunOptions {
                data_in: Some(&frame),
                repeat,
                attrs: TestRunAttrs::new().xdp_live_frames(batch),
                ..TestRunOptions::new()
            });
            match result {
                Ok(_) if self.is_paced && !is_done() => {}
                Ok(_) => return Ok(()),
                Err(error) if interrupt::is_cause(&error) => return Ok(()),
                Err(error) => {
                    return Err(error).context("BPF_PROG_TEST_RUN with live frames failed");
                }
            }
        }
    }
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
