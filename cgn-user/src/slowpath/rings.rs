//! AF_XDP sockets: one for each receive queue, receive and transmit, batched,
//! waking the kernel only when it asks for it. The only I/O of the slow path.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;

use xdpilone::{DeviceQueue, IfInfo, RingRx, RingTx, Socket, SocketConfig, Umem, UmemConfig};

/// Frames for each direction of one socket.
const FRAMES: u32 = 2048;
/// Bytes of a frame: head room (256), packet, tail.
const FRAME_BYTES: u32 = 4096;

/// The kernel's counters of a socket, `struct xdp_statistics` of `linux/if_xdp.h`.
#[derive(Default)]
#[repr(C)]
struct XdpStatistics {
    /// No frame was free.
    rx_dropped: u64,
    rx_invalid_descs: u64,
    tx_invalid_descs: u64,
    /// A frame was free, but the receive ring was full.
    rx_ring_full: u64,
    rx_fill_ring_empty_descs: u64,
    tx_ring_empty_descs: u64,
}

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open an AF_XDP socket on interface {ifindex}, queue {queue}: {step}")]
pub struct RingError {
    pub ifindex: u32,
    pub queue: u32,
    pub step: &'static str,
    #[source]
    pub source: io::Error,
}

/// Memory that is shared with the kernel.
struct Area {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: plain memory of our own, reached through `&mut QueueSocket` only.
unsafe impl Send for Area {}

impl Area {
    fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: a new anonymous mapping.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, bytes })
    }

    fn slice(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.start, self.bytes)
    }

    /// The frame that holds `address`.
    fn frame(&mut self, address: u64) -> &mut [u8] {
        let frame = (address / u64::from(FRAME_BYTES)) as usize % (2 * FRAMES) as usize;
        // SAFETY: within the area; the kernel does not touch a frame that it
        // has handed to us, and `&mut self` keeps it the only reference.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.start.as_ptr().add(frame * FRAME_BYTES as usize),
                FRAME_BYTES as usize,
            )
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: our own mapping; the socket that used it is closed (field order).
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

// SAFETY: not Send only for the `NonNull` to the area in `Umem`, which is
// memory of our own that no other thread knows.
unsafe impl Send for QueueSocket {}

/// A received frame: where it lies in the socket's memory.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    address: u64,
    length: u32,
}

/// The socket of one receive queue. Field order is drop order: rings, socket,
/// then the memory that they use.
pub struct QueueSocket {
    rx: RingRx,
    tx: RingTx,
    device: DeviceQueue,
    _umem: Umem,
    area: Area,
    /// Frames that nobody uses, for transmitting.
    free: Vec<u64>,
    /// Frames to be given back to the kernel for receiving.
    refill: Vec<u64>,
    /// Packets that the kernel could not deliver, as last read.
    undelivered: u64,
}

impl QueueSocket {
    /// Opens and binds the socket of `queue`.
    ///
    /// # Errors
    /// The step that failed, with the kernel's reason.
    pub fn open(ifindex: u32, queue: u32) -> Result<Self, RingError> {
        let failed = |step| {
            move |source: io::Error| RingError {
                ifindex,
                queue,
                step,
                source,
            }
        };
        let errno = |step| {
            move |e: xdpilone::Errno| failed(step)(io::Error::from_raw_os_error(e.get_raw()))
        };
        let area = Area::new((2 * FRAMES * FRAME_BYTES) as usize).map_err(failed("memory"))?;
        let config = UmemConfig {
            fill_size: FRAMES,
            complete_size: FRAMES,
            frame_size: FRAME_BYTES,
            headroom: 0,
            flags: 0,
        };
        // SAFETY: the area is page-aligned and outlives the Umem (field order).
        let umem = unsafe { Umem::new(config, area.slice()) }.map_err(errno("register memory"))?;
        let mut info = IfInfo::invalid();
        info.from_ifindex(ifindex).map_err(errno("interface"))?;
        info.set_queue(queue);
        let socket = Socket::with_shared(&info, &umem).map_err(errno("socket"))?;
        let device = umem
            .fq_cq(&socket)
            .map_err(errno("fill and completion ring"))?;
        let config = SocketConfig {
            rx_size: NonZeroU32::new(FRAMES),
            tx_size: NonZeroU32::new(FRAMES),
            // A zero-copy bind sets up the driver's queue anew: packets in it would be lost.
            bind_flags: SocketConfig::XDP_BIND_NEED_WAKEUP | SocketConfig::XDP_BIND_COPY,
        };
        let user = umem.rx_tx(&socket, &config).map_err(errno("rings"))?;
        let rx = user.map_rx().map_err(errno("receive ring"))?;
        let tx = user.map_tx().map_err(errno("transmit ring"))?;
        umem.bind(&user).map_err(errno("bind"))?;
        let frame = |number: u32| u64::from(number) * u64::from(FRAME_BYTES);
        let mut socket = Self {
            rx,
            tx,
            device,
            _umem: umem,
            area,
            free: (FRAMES..2 * FRAMES).map(frame).collect(),
            refill: (0..FRAMES).map(frame).collect(),
            undelivered: 0,
        };
        socket.flush();
        Ok(socket)
    }

    /// Takes up to `most` received frames.
    pub fn receive(&mut self, most: u32, into: &mut Vec<Received>) {
        let mut reader = self.rx.receive(most);
        while let Some(descriptor) = reader.read() {
            into.push(Received {
                address: descriptor.addr,
                length: descriptor.len,
            });
        }
        reader.release();
    }

    /// Memory of a received frame, and where in it the frame begins and ends.
    pub fn frame(&mut self, received: Received) -> (&mut [u8], usize, usize) {
        let start = (received.address % u64::from(FRAME_BYTES)) as usize;
        let end = (start + received.length as usize).min(FRAME_BYTES as usize);
        (self.area.frame(received.address), start, end)
    }

    /// Gives a received frame back.
    pub fn done(&mut self, received: Received) {
        let frame = received.address / u64::from(FRAME_BYTES) * u64::from(FRAME_BYTES);
        self.refill.push(frame);
    }

    /// Queues a frame for transmission; false if there is no room.
    #[must_use]
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > FRAME_BYTES as usize {
            return false;
        }
        if self.free.is_empty() {
            self.flush();
        }
        let Some(address) = self.free.pop() else {
            return false;
        };
        self.area.frame(address)[..bytes.len()].copy_from_slice(bytes);
        let descriptor = xdpilone::xdp::XdpDesc {
            addr: address,
            len: bytes.len() as u32,
            options: 0,
        };
        let mut writer = self.tx.transmit(1);
        let queued = writer.insert_once(descriptor);
        writer.commit();
        drop(writer);
        if !queued {
            self.free.push(address);
        }
        queued
    }

    /// Packets that the kernel dropped since the last call because the receive
    /// ring was full or no frame was free for them. XDP does not learn of it.
    pub fn newly_undelivered(&mut self) -> u64 {
        let mut statistics = XdpStatistics::default();
        let mut length = size_of::<XdpStatistics>() as libc::socklen_t;
        // SAFETY: the structure and its length are valid for the call, and any
        // bytes are such a structure.
        let result = unsafe {
            libc::getsockopt(
                self.rx.as_raw_fd(),
                libc::SOL_XDP,
                libc::XDP_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return 0;
        }
        let undelivered = statistics.rx_dropped + statistics.rx_ring_full;
        let new = undelivered.saturating_sub(self.undelivered);
        self.undelivered = undelivered;
        new
    }

    /// Has the kernel take what is queued, of which it takes 32 frames at a call (`TX_BATCH_SIZE` of
    /// `net/xdp/xsk.c`). What a busy device leaves has its turn at the next flush.
    fn transmit(&self) {
        let mut pending = self.tx.pending();
        while pending > 0 && self.tx.needs_wakeup() {
            self.tx.wake();
            let left = self.tx.pending();
            if left >= pending {
                return;
            }
            pending = left;
        }
    }

    /// Sends what is queued, takes back what was sent, refills for receiving.
    pub fn flush(&mut self) {
        self.transmit();
        let sent = self.device.available();
        let mut reader = self.device.complete(sent);
        while let Some(address) = reader.read() {
            self.free
                .push(address / u64::from(FRAME_BYTES) * u64::from(FRAME_BYTES));
        }
        reader.release();
        drop(reader);
        if !self.refill.is_empty() {
            let mut writer = self.device.fill(self.refill.len() as u32);
            let given = writer.insert(self.refill.iter().copied());
            writer.commit();
            drop(writer);
            self.refill.drain(..given as usize);
        }
        if self.device.needs_wakeup() {
            self.device.wake();
        }
    }
}

impl AsRawFd for QueueSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.rx.as_raw_fd()
    }
}
