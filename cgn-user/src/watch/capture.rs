//! `cgn capture`: what was seen as frames of a pcapng file, before and after translation, with the
//! verdict as a comment. Pure.

use cgn_common::layout::Side;

use super::Clock;
use super::frames::{Frame, Frames, Moment, Sides};
use super::pcapng::{self, Direction, Packet};
use super::redact::Redaction;
use super::seen::{Path, Seen};
use crate::realms::FIRST_NAME;
use crate::wiring::Wiring;

/// Turns what is heard into blocks.
#[derive(Debug)]
pub struct Capture {
    /// Numbers of the interfaces, in the order of their blocks, and their names.
    interfaces: Vec<(u32, String)>,
    frames: Frames,
    redaction: Redaction,
    clock: Clock,
    packets: u64,
    missed: u64,
}

impl Capture {
    #[must_use]
    pub fn new(wiring: &Wiring, side: Option<Side>, redaction: Redaction) -> Self {
        let mut interfaces: Vec<(u32, String)> = wiring
            .ways
            .iter()
            .map(|way| (way.ifindex, way.interface.clone()))
            .collect();
        interfaces.dedup();
        Self {
            interfaces,
            frames: Frames {
                sides: Sides::new(wiring),
                side,
                moment: None,
            },
            redaction,
            clock: Clock::now(),
            packets: 0,
            missed: 0,
        }
    }

    /// The beginning of the file.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let mut header = pcapng::section(concat!("cgn ", env!("CARGO_PKG_VERSION")));
        for (ifindex, name) in &self.interfaces {
            let sides = [(Side::Inside, "inside"), (Side::Outside, "outside")];
            let words = sides
                .iter()
                .filter(|(side, _)| self.frames.sides.leads(*ifindex, *side));
            let words: Vec<&str> = words.map(|(_, word)| *word).collect();
            header.extend(pcapng::interface(name, &words.join(" and ")));
        }
        header
    }

    /// The frame as the packet came, and if it was translated, as it left; None: it is of the other side alone.
    /// `realm` is whose it is.
    pub fn tell(&mut self, seen: &Seen, realm: Option<&str>) -> Option<Vec<u8>> {
        let frames = self.frames.of(seen);
        let blocks: Vec<u8> = frames
            .flat_map(|frame| self.block(seen, realm, &frame))
            .collect();
        self.packets += u64::from(!blocks.is_empty());
        (!blocks.is_empty()).then_some(blocks)
    }

    /// So many more packets fitted and are not in the file.
    pub fn miss(&mut self, packets: u64) -> Vec<u8> {
        self.missed += packets;
        pcapng::statistics(Clock::now().unix_ns(), self.missed)
    }

    /// The block of a frame; empty if its interface is none of ours.
    fn block(&self, seen: &Seen, realm: Option<&str>, frame: &Frame<'_>) -> Vec<u8> {
        let mut all = self.interfaces.iter();
        let Some(place) = all.position(|(ifindex, _)| *ifindex == frame.ifindex) else {
            return Vec::new();
        };
        let mut bytes = frame.bytes.to_vec();
        self.redaction.apply(&mut bytes);
        let (direction, queue, comment) = match (frame.moment, seen.path) {
            (Moment::Before, _) => (Direction::In, Some(seen.queue), verdict_of(seen)),
            (Moment::After, Path::Fast) => (Direction::Out, None, "translated".to_owned()),
            (Moment::After, Path::Slow) => {
                (Direction::Out, None, "sent by the slow path".to_owned())
            }
        };
        let comment = match realm {
            None => comment,
            Some(FIRST_NAME) => format!("{comment}, of the first realm"),
            Some(realm) => format!("{comment}, of realm {realm}"),
        };
        let packet = Packet {
            interface: place as u32,
            time_ns: self.clock.unix_ns_of(frame.at_ns),
            frame: &bytes,
            length: frame.length,
            direction,
            id: self.packets,
            queue,
            comment: &comment,
        };
        packet.block()
    }
}

/// Verdict, reason, time and steps, as a comment.
fn verdict_of(seen: &Seen) -> String {
    let steps: Vec<&str> = seen.steps.iter().map(|step| step.name()).collect();
    let reason = seen.reason.map_or("", |reason| reason.name());
    let verdict = format!("{} {reason}", seen.verdict());
    let (verdict, took_ns) = (verdict.trim_end(), seen.took_ns);
    format!("{verdict}, {took_ns} ns: {}", steps.join(" "))
}
