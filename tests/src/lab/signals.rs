//! Ctrl-C and SIGTERM: the laboratory is removed before the process ends.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result, bail};

use super::janitor;

/// Signals that end a program.
const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Write end of the pipe from the handler to the thread.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Who wants the signals, if not the thread itself.
static TAKER: Mutex<Option<Sender<i32>>> = Mutex::new(None);

/// From now on a signal that ends the process removes all laboratories first. Once is enough.
///
/// # Errors
/// The operating system has no pipe or thread left.
pub fn install() -> Result<()> {
    static DONE: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    match DONE.get_or_init(|| start().map_err(|error| format!("{error:#}"))) {
        Ok(()) => Ok(()),
        Err(text) => bail!("cannot follow signals: {text}"),
    }
}

/// From now on signals do not end the process: they come out here.
pub fn take_over() -> Receiver<i32> {
    let (sender, receiver) = channel();
    *TAKER.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    receiver
}

fn start() -> Result<()> {
    let (reader, writer) = std::io::pipe().context("no pipe")?;
    PIPE.store(writer.into_raw_fd(), Ordering::SeqCst);
    let reader = File::from(OwnedFd::from(reader));
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || follow(reader))
        .context("no thread")?;
    for signal in SIGNALS {
        // SAFETY: zero is a valid sigaction; the handler only writes a byte to a pipe, which is
        // async-signal-safe.
        let failed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut()) != 0
        };
        if failed {
            return Err(std::io::Error::last_os_error()).context("sigaction");
        }
    }
    Ok(())
}

extern "C" fn handle(signal: libc::c_int) {
    let byte = signal as u8;
    // SAFETY: one byte from a live local; write(2) is async-signal-safe and errno is restored.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(PIPE.load(Ordering::SeqCst), (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

fn follow(mut reader: File) {
    let mut byte = [0];
    while reader.read_exact(&mut byte).is_ok() {
        let signal = i32::from(byte[0]);
        let taken = TAKER
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(|taker| taker.send(signal).is_ok());
        if !taken {
            eprintln!("removing the network laboratory");
            janitor::finish_all();
            die_of(signal);
        }
    }
}

/// Ends this process by the signal itself, so that its parent learns of it.
fn die_of(signal: i32) {
    // SAFETY: restores the default action of a signal and sends it to this process.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::kill(libc::getpid(), signal);
    }
}
