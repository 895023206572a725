//! A packet that the fast path told of. Pure.

use cgn_common::steps::Steps;
use cgn_common::verdict::{Effect, Reason};
use cgn_common::watch::{FRONT, Head, TRANSLATED};

use crate::api::rows::TraceRow;
use crate::dataplane::interface;
use crate::explain::packet::Packet;

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Fast,
    /// Its end only: that it came was seen by the fast path, which punted it; or it is one that the
    /// CGN made itself, a fragment or an ICMP error.
    Slow,
}

/// A packet as it came, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who tells of it.
    pub path: Path,
    /// When it came, in nanoseconds of the monotonic clock.
    pub at_ns: u64,
    pub took_ns: u32,
    pub steps: Steps,
    /// Why it ended; None: it was translated.
    pub reason: Option<Reason>,
    pub ingress: u32,
    pub queue: u32,
    /// 0: it does not leave.
    pub egress: u32,
    /// Length of the frame in bytes, when it came and in the end.
    pub came_bytes: u32,
    pub left_bytes: u32,
    /// First bytes of the frame as it came.
    pub came: Vec<u8>,
    /// First bytes of the frame in the end.
    pub left: Vec<u8>,
}

impl Seen {
    /// Reads a record of the ring; None if it is none.
    #[must_use]
    pub fn parse(record: &[u8]) -> Option<Self> {
        let head = record.get(..size_of::<Head>())?;
        let header: Head = bytemuck::try_pod_read_unaligned(head).ok()?;
        let front = (header.front_length as usize).min(FRONT);
        let (came, left) = record.get(size_of::<Head>()..)?.split_at_checked(front)?;
        let mut came = came.to_vec();
        let left = left.get(..left.len().min(header.left as usize))?.to_vec();
        if front == FRONT {
            // The link header may have grown or shrunk in front of the payload.
            let shift = i64::from(header.left) - i64::from(header.came);
            let rest = usize::try_from(FRONT as i64 + shift).ok();
            came.extend(rest.and_then(|rest| left.get(rest..)).unwrap_or_default());
        }
        Some(Self {
            path: Path::Fast,
            at_ns: header.at_ns,
            took_ns: header.took_ns,
            steps: Steps(header.steps),
            reason: match header.verdict {
                TRANSLATED => None,
                number => Some(Reason::from_number(u8::try_from(number).ok()?)?),
            },
            ingress: header.ingress,
            queue: header.queue,
            egress: header.egress,
            came_bytes: header.came,
            left_bytes: header.left,
            came,
            left,
        })
    }

    /// `translate`, `drop`, `punt` or `pass`; of what the slow path sends, `send`.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match self.reason.map(Reason::effect) {
            None if self.path == Path::Slow => "send",
            None => "translate",
            Some(Effect::Drop) => "drop",
            Some(Effect::Punt) => "punt",
            Some(Effect::Pass) => "pass",
        }
    }

    /// What the API says of it; `time` is when it came, `realm` whose it is.
    #[must_use]
    pub fn row(&self, time: String, realm: Option<&str>) -> TraceRow {
        let words = |frame: &[u8]| match Packet::of(frame) {
            Some(packet) => packet.to_string(),
            None => format!("a frame of {} bytes", frame.len()),
        };
        let (frame, ifindex, bytes) = match self.path {
            Path::Fast => (&self.came, self.ingress, self.came_bytes),
            Path::Slow => (&self.left, self.egress, self.left_bytes),
        };
        TraceRow {
            time,
            packet: words(frame),
            realm: realm.map(str::to_owned),
            interface: name_of(ifindex),
            queue: self.queue,
            bytes,
            steps: self
                .steps
                .iter()
                .map(|step| step.name().to_owned())
                .collect(),
            verdict: self.verdict().to_owned(),
            reason: self.reason.map(|reason| reason.name().to_owned()),
            sent: self.reason.is_none().then(|| words(&self.left)),
            sent_by: (self.egress != 0).then(|| name_of(self.egress)),
            took_ns: self.took_ns,
        }
    }
}

fn name_of(ifindex: u32) -> String {
    interface::name_of(ifindex).unwrap_or_else(|| format!("interface {ifindex}"))
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use cgn_common::watch::Record;

    /// Bytes before the frame as it left.
    const HEADER: usize = size_of::<Head>() + FRONT;

    use super::*;

    /// A record of a frame of 300 bytes that got a tag of 4 bytes more.
    #[test]
    fn the_frame_as_it_came_is_put_together_of_front_and_end() {
        let came: Vec<u8> = (0..300_u32).map(|n| n as u8).collect();
        let mut left = vec![0xee; 4];
        left.extend(&came);
        left[4..60].fill(0xdd);
        let mut record = Record::zeroed();
        (record.head.came, record.head.left, record.head.front_length) = (300, 304, FRONT as u32);
        let frames = record.frames.as_flattened_mut();
        frames[..FRONT].copy_from_slice(&came[..FRONT]);
        frames[FRONT..][..304].copy_from_slice(&left);
        record.head.verdict = TRANSLATED;
        for bytes in [304, 250, 0] {
            let seen = Seen::parse(&bytemuck::bytes_of(&record)[..HEADER + bytes]).unwrap();
            assert_eq!(seen.left, left[..bytes], "{bytes} bytes told");
            let known = bytes.saturating_sub(4).max(FRONT);
            assert_eq!(seen.came, came[..known], "{bytes} bytes told");
            assert_eq!(seen.verdict(), "translate");
        }
        record.head.verdict = Reason::NoMapping as u32;
        let seen = Seen::parse(&bytemuck::bytes_of(&record)[..HEADER]).unwrap();
        assert_eq!(
            (seen.verdict(), seen.reason),
            ("drop", Some(Reason::NoMapping))
        );
        assert!(Seen::parse(&[0; 8]).is_none());
    }
}
