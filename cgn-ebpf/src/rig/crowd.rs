//! Who sends on the rig, and what its programs tell user space. The bench program in user space
//! includes this file, too, and so knows what each frame must have become.

use bytemuck::{Pod, Zeroable};

use super::plan::{divide, remote};

/// Bytes of the shortest frame: Ethernet's least, without its checksum.
pub const FRAME_BYTES: usize = 60;
/// Bytes of a middle one of the mix, and of the longest frame: 570 and 1518 with checksum.
pub const MIDDLE_BYTES: usize = 566;
pub const LONGEST_BYTES: usize = 1514;
/// Frames after which the mix begins again.
pub const MIX_FRAMES: u64 = 12;
/// First bytes of the payload of every frame of the rig, as they lie in it.
pub const MAGIC: u16 = u16::from_ne_bytes(*b"rg");
/// Buckets of a [`Tally`]'s histogram; see [`bucket_of`].
pub const BUCKETS: usize = 512;
/// First inside port of every subscriber.
pub const FIRST_PORT: u64 = 20_000;
/// First address of the subscribers: 100.64.0.0 and up.
pub const FIRST_INSIDE: u64 = 0x6440_0000;
/// Port of every remote endpoint.
pub const REMOTE_PORT: u16 = 443;

/// Subscribers and their ports: `hosts` (a power of two) times `ports` sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Crowd {
    /// Subscribers minus one.
    pub host_mask: u64,
    /// log2 of the subscribers.
    pub host_shift: u64,
    /// Half of it, at least 1.
    pub spread: u64,
    /// Ports of a subscriber, and their reciprocal.
    pub ports: u64,
    pub ports_reciprocal: u64,
}

/// One session, from inside, host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Below `hosts` times `ports`.
    pub number: u64,
    pub inside: u32,
    pub inside_port: u16,
    pub remote: u32,
}

impl Crowd {
    /// Which session frame `frame` (below 2^32) belongs to: from any multiple of the number of
    /// subscribers on, so many frames as there are sessions meet each of them once, in an order
    /// that no prefetcher can learn.
    #[inline(always)]
    #[must_use]
    pub const fn session_of(&self, frame: u64) -> Session {
        let turn = (frame >> (self.host_shift & 31)) & 0xffff_ffff;
        let mixed = (frame + turn.wrapping_mul(0x632b_e5ab)) & self.host_mask;
        let mixed = mixed.wrapping_mul(7_368_787) & self.host_mask;
        let mixed = mixed ^ (mixed >> (self.spread & 63));
        let host = mixed.wrapping_mul(0x9e37_79b1) & self.host_mask;
        // Each subscriber goes through its ports from another one on.
        let at = turn + host;
        let port = at - divide(at, self.ports_reciprocal) * self.ports;
        self.session(host, port)
    }

    /// The session of subscriber `host` with its port number `port`.
    #[inline(always)]
    #[must_use]
    pub const fn session(&self, host: u64, port: u64) -> Session {
        let number = host * self.ports + port;
        Session {
            number,
            inside: (FIRST_INSIDE + host) as u32,
            inside_port: (FIRST_PORT + port) as u16,
            remote: remote(number),
        }
    }

    /// The session of this number, below 2^30.
    #[inline(always)]
    #[must_use]
    pub const fn numbered(&self, number: u64) -> Session {
        let host = divide(number, self.ports_reciprocal);
        self.session(host, number - host * self.ports)
    }
}

/// Bytes of frame `frame` of the mix, FD.io's `IMIX_v4_1`: of twelve frames seven have 64 bytes, four 570
/// and one 1518, with the checksum, which is not in the buffer.
#[inline(always)]
#[must_use]
pub const fn mixed_bytes(frame: u64) -> usize {
    match frame % MIX_FRAMES {
        0 => LONGEST_BYTES,
        2 | 5 | 8 | 11 => MIDDLE_BYTES,
        _ => FRAME_BYTES,
    }
}

/// What a generator does next, and how. User space writes it between runs, and reads how far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Run {
    pub crowd: Crowd,
    /// Frames of earlier runs: where among the sessions this one begins.
    pub first: u64,
    /// Number of the next frame in this run, and of the first that is not sent any more.
    pub next: u64,
    pub end: u64,
    /// Sessions that the responder has not seen, and so cannot answer.
    pub unknown: u64,
    /// Bytes of the frames that were sent.
    pub bytes: u64,
    /// Not 0: frames are as long as [`mixed_bytes`] says; else as user space gave the first one.
    pub mixed: u64,
    /// The first eight bytes of the frame, and bytes 6 to 13: link addresses and `EtherType`.
    pub link_head: u64,
    pub link_tail: u64,
    /// From one frame to the next in 1/1024 ns; 0: as fast as it goes.
    pub interval: u64,
    /// When the first and the last frame were sent, by the monotonic clock; only with an interval.
    pub first_ns: u64,
    pub last_ns: u64,
    /// A frame carries its time if its number has none of these bits.
    pub untimed: u64,
}

/// What a sink has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tally {
    /// Frames of the rig, and bytes of them.
    pub frames: u64,
    pub bytes: u64,
    /// Of them: with the right ends, as translated by a NAT; as they were sent; neither.
    pub translated: u64,
    pub untouched: u64,
    pub wrong: u64,
    /// With a checksum that is not right (only with `check`).
    pub damaged: u64,
    /// Of a session that was seen before (only with `check`).
    pub repeated: u64,
    /// By the monotonic clock: when the first of the frames that are looked at was seen, and
    /// when the last, with the frames that had been counted by then.
    pub first_ns: u64,
    pub first_frames: u64,
    pub last_ns: u64,
    pub last_frames: u64,
    /// Not 0: checksums are checked, and each session's external endpoint is noted.
    pub check: u64,
    /// The clock is looked at for frames whose number has none of these bits.
    pub untimed: u64,
    /// Frames by the time that they took, see [`bucket_of`].
    pub delays: [u64; BUCKETS],
}

impl Default for Tally {
    fn default() -> Self {
        Self::zeroed()
    }
}

/// Bucket of a time in nanoseconds: eight for each power of two.
#[inline(always)]
#[must_use]
pub const fn bucket_of(ns: u64) -> usize {
    let ns = if ns < 8 { 8 } else { ns };
    let exponent = 63 - ns.leading_zeros() as u64;
    let eighth = (ns >> (exponent - 3)) & 7;
    (exponent * 8 + eighth) as usize & (BUCKETS - 1)
}

#[cfg_attr(
    target_arch = "bpf",
    expect(dead_code, reason = "user space reads the histogram")
)]
/// Least time of a bucket in nanoseconds.
#[must_use]
pub const fn bucket_ns(bucket: usize) -> u64 {
    let (exponent, eighth) = (bucket as u64 / 8, bucket as u64 % 8);
    if exponent < 3 {
        return 0;
    }
    (8 + eighth) << (exponent - 3)
}

/// The external endpoint of a session as the responder notes it; never 0.
#[inline(always)]
#[must_use]
pub const fn seen(address: u32, port: u16) -> u64 {
    1 << 48 | (port as u64) << 32 | address as u64
}
