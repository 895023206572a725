//! `cgn capture`: what was seen as frames of a pcapng file, before and after translation, with the
//! verdict as a comment. Pure.

use std::collections::HashMap;

use cgn_common::layout::Side;

use super::pcapng::{self, Direction, Packet};
use super::redact::{self, Redaction};
use super::seen::Seen;
use super::{Clock, Heard};
use crate::wiring::{Way, Wiring};

/// Turns what is heard into blocks.
#[derive(Debug)]
pub struct Capture {
    /// Numbers of the interfaces, in the order of their blocks, and their names.
    interfaces: Vec<(u32, String)>,
    /// Sides by interface and VLANs, outermost first; 0 where there is none.
    sides: HashMap<(u32, [u16; 2]), Side>,
    /// Only frames of this side; None: of both.
    side: Option<Side>,
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
            sides: wiring.ways.iter().map(side_of).collect(),
            side,
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
            let words = sides.iter().filter(|(side, _)| {
                let mut all = self.sides.iter();
                all.any(|((on, _), of)| on == ifindex && of == side)
            });
            let words: Vec<&str> = words.map(|(_, word)| *word).collect();
            header.extend(pcapng::interface(name, &words.join(" and ")));
        }
        header
    }

    /// What is to be written; None: it is of the other side alone.
    pub fn tell(&mut self, heard: &Heard) -> Option<Vec<u8>> {
        match heard {
            Heard::Packet(seen) => {
                let blocks = self.frames(seen);
                self.packets += u64::from(!blocks.is_empty());
                (!blocks.is_empty()).then_some(blocks)
            }
            Heard::Missed(missed) => {
                self.missed += missed;
                Some(pcapng::statistics(Clock::now().unix_ns(), self.missed))
            }
        }
    }

    /// The frame as it came, and if it was translated, as it left.
    fn frames(&self, seen: &Seen) -> Vec<u8> {
        let steps: Vec<&str> = seen.steps.iter().map(|step| step.name()).collect();
        let reason = seen.reason.map_or("", |reason| reason.name());
        let verdict = format!("{} {reason}", seen.verdict());
        let (verdict, took_ns) = (verdict.trim_end(), seen.took_ns);
        let comment = format!("{verdict}, {took_ns} ns: {}", steps.join(" "));
        let time_ns = self.clock.unix_ns_of(seen.at_ns);
        let came = Packet {
            interface: seen.ingress,
            time_ns,
            frame: &seen.came,
            length: seen.came_bytes,
            direction: Direction::In,
            id: self.packets,
            queue: Some(seen.queue),
            comment: &comment,
        };
        let left = Packet {
            interface: seen.egress,
            time_ns: time_ns + u64::from(took_ns),
            frame: &seen.left,
            length: seen.left_bytes,
            direction: Direction::Out,
            queue: None,
            comment: "translated",
            ..came
        };
        let mut blocks = self.block(&came);
        if seen.reason.is_none() {
            blocks.extend(self.block(&left));
        }
        blocks
    }

    /// The block of a frame, whose interface is still by the kernel's number; empty if it is of the
    /// side that is not wanted.
    fn block(&self, packet: &Packet<'_>) -> Vec<u8> {
        let vlans = redact::link(packet.frame).map_or([0; 2], |link| link.vlans());
        let side = self.sides.get(&(packet.interface, vlans)).copied();
        let mut all = self.interfaces.iter();
        let place = all.position(|(ifindex, _)| *ifindex == packet.interface);
        let (Some(place), true) = (place, self.side.is_none() || self.side == side) else {
            return Vec::new();
        };
        let mut frame = packet.frame.to_vec();
        self.redaction.apply(&mut frame);
        let packet = Packet {
            interface: place as u32,
            frame: &frame,
            ..packet.clone()
        };
        packet.block()
    }
}

fn side_of(way: &Way) -> ((u32, [u16; 2]), Side) {
    let tag = |at| way.tags.get(at).copied().unwrap_or(0);
    ((way.ifindex, [tag(0), tag(1)]), way.side)
}
