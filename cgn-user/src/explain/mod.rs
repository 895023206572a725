//! `cgn explain`: what would happen to a packet, and why. The translator itself runs,
//! on a [`copy`] of the tables that the packet can touch, and tells its steps.
//!
//! | file | what | I/O |
//! |---|---|---|
//! | [`packet`] | a packet in words, and its bytes | no |
//! | [`copy`] | the part of the tables that it can touch | memory only |
//! | [`words`] | reasons and steps with the facts of this packet | no |

pub mod copy;
pub mod packet;
mod words;

#[cfg(test)]
mod tests;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use cgn_common::frame::Buffer;
use cgn_common::layout::Side;
use cgn_common::path;
use cgn_common::steps::{Step, Steps};
use cgn_common::verdict::{Direction, Effect, Verdict};
use cgn_common::wire::ethernet;

use crate::api::rows::{Explanation, MappingRow, SentRow, StepRow};
use crate::api::view::{Part, Selection, View};
use crate::dataplane::geometry::Geometry;
use crate::dataplane::interface;
use crate::dataplane::memory::Memory;
use crate::dataplane::tables::{Counted, UserTables};
use crate::realms::InsideKey;
use crate::routes::{Fib, Resolution};
use crate::state::State;
use crate::wiring::{Way, Wiring};
use packet::Packet;

/// Room in front of a frame for the tags of the way out.
const HEAD_ROOM: usize = 8;

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("the daemon is still starting; ask again in a moment")]
    Starting,
    #[error("there is no interface on this side")]
    NoWay,
    #[error("no memory for a copy of the tables: {0}")]
    Memory(#[from] io::Error),
}

/// What would happen to `packet` now, and to its answer. It comes from `side`; if that
/// is not said, from inside if its source is a subscriber's, else from outside. From inside it
/// comes from the realm with this number.
///
/// # Errors
/// See [`ExplainError`]; what becomes of the packet is never an error.
pub fn explain(
    state: &State,
    packet: &Packet,
    side: Option<Side>,
    realm: u8,
) -> Result<Explanation, ExplainError> {
    let wiring = state.wiring.get().ok_or(ExplainError::Starting)?;
    let key = state.geometry.realms.key(realm, packet.source);
    let is_subscriber = key.is_some_and(|key| state.geometry.pool_of(key).is_some());
    let side = side.unwrap_or(if is_subscriber {
        Side::Inside
    } else {
        Side::Outside
    });
    let ends = [
        (packet.source, packet.source_port),
        (packet.destination, packet.destination_port),
    ];
    let room = u64::from(state.geometry.sizes.sessions).saturating_sub(state.stats().sessions.live);
    let inside = key.filter(|_| side == Side::Inside);
    let own = copy::copy(&state.memory, &state.geometry, room as usize, inside, ends)?;
    let trial = Trial {
        state,
        geometry: &state.geometry,
        own: &own,
        wiring,
        fib: Arc::clone(&wiring.fib.borrow()),
        now: state.now_tick(),
    };
    let realm = if side == Side::Inside { realm } else { 0 };
    let way = wiring.from(side, realm).ok_or(ExplainError::NoWay)?;
    let (mut explanation, sent) = trial.packet(packet, way)?;
    if let Some((sent, from)) = sent {
        let (answer, _) = trial.packet(&sent.answer(), from)?;
        explanation.answer = Some(Box::new(answer));
    }
    Ok(explanation)
}

/// The copy of the tables, and what the translator needs beside it.
struct Trial<'a> {
    state: &'a State,
    geometry: &'a Geometry,
    own: &'a Memory,
    wiring: &'a Wiring,
    fib: Arc<Fib>,
    /// In ticks.
    now: u32,
}

/// A packet that leaves, and the way that it comes by on the other side.
type Sent<'a> = (Packet, &'a Way);

/// What one run of the translator left.
struct Ran {
    verdict: Verdict,
    steps: Steps,
    frame: Vec<u8>,
    /// MTU that the packet is too large for.
    mtu: u16,
    /// Rule of the access lists that held for it.
    hit: Option<(Direction, u32)>,
}

impl Trial<'_> {
    /// What becomes of a packet that comes by `way`; and, if it is sent, as what, and where it
    /// goes to.
    fn packet(
        &self,
        packet: &Packet,
        way: &Way,
    ) -> Result<(Explanation, Option<Sent<'_>>), ExplainError> {
        let side = way.side;
        let inside = self.geometry.realms.key(way.realm, packet.source);
        let inside = inside.filter(|_| side == Side::Inside);
        let before = self.mapping(packet, inside);
        let ran = self.run(packet, way);
        let after = self.mapping(packet, inside);
        let facts = words::Facts {
            state: self.state,
            inside,
            mapping: after.as_ref(),
            neighbour: self.neighbour(packet, side, after.as_ref()),
            mtu: ran.mtu,
            rule: ran.hit.and_then(|(direction, number)| {
                let mut rules = self.state.lists.rules().iter();
                rules.find(|rule| rule.direction == direction && rule.number == number as usize)
            }),
        };
        let (verdict, reason) = match ran.verdict {
            Verdict::Transmit { .. } if ran.steps.iter().any(|step| step == Step::Bypassed) => {
                ("bypass", None)
            }
            Verdict::Transmit { .. } => ("translate", None),
            Verdict::Drop(reason) | Verdict::Punt(reason) | Verdict::Pass(reason) => {
                let name = match reason.effect() {
                    Effect::Drop => "drop",
                    Effect::Punt => "punt",
                    Effect::Pass => "pass",
                };
                (name, Some(reason))
            }
        };
        let (sent, next) = self.sent(&ran);
        let steps = ran.steps.iter().map(|step| StepRow {
            step: step.name().to_owned(),
            text: facts.step(step),
        });
        let explanation = Explanation {
            packet: packet.to_string(),
            interface: way.interface.clone(),
            side: words::side(side).to_owned(),
            steps: steps.collect(),
            verdict: verdict.to_owned(),
            reason: reason.map(|reason| reason.name().to_owned()),
            help: reason.map(|reason| reason.help().to_owned()),
            then: reason.and_then(|reason| facts.then(reason)),
            mapping_is_new: after.is_some() && before.is_none(),
            mapping: after,
            sent,
            answer: None,
        };
        Ok((explanation, next))
    }

    /// Runs the translator on the copy, as XDP would on the tables.
    fn run(&self, packet: &Packet, way: &Way) -> Ran {
        let mut memory = vec![0; HEAD_ROOM];
        memory.extend(packet.frame(&way.tags));
        let end = memory.len();
        let counted = Counted::default();
        let tables = UserTables::new(self.own, &*self.fib, &self.wiring.vlans, &counted);
        tables.now.set(self.now);
        tables.ingress.set(way.ifindex);
        tables.punts_answered.set(true);
        let Some(mut frame) = Buffer::new(&mut memory, HEAD_ROOM, end) else {
            unreachable!("the frame was appended to its head room");
        };
        let verdict = path::whole(&mut frame, &tables, way.entry);
        Ran {
            verdict,
            steps: tables.steps.take(),
            frame: frame.bytes().to_vec(),
            mtu: tables.mtu.get(),
            hit: tables.hit.get(),
        }
    }

    /// The mapping that the packet uses, in the copy as it is now.
    fn mapping(&self, packet: &Packet, inside: Option<InsideKey>) -> Option<MappingRow> {
        let selection = match inside {
            Some(_) => Selection {
                subscriber: inside,
                protocol: Some(packet.protocol),
                ..Selection::default()
            },
            None => Selection {
                external: Some(packet.destination),
                external_port: Some(packet.destination_port),
                protocol: Some(packet.protocol),
                ..Selection::default()
            },
        };
        let view = View {
            memory: self.own,
            geometry: self.geometry,
        };
        let all = Part {
            limit: usize::MAX,
            cursor: 0,
        };
        let rows = view.mappings(selection, all, self.now).rows.into_iter();
        let mut fitting =
            rows.filter(|row| inside.is_none() || row.inside_port == packet.source_port);
        fitting.next()
    }

    /// Neighbour that the route leads to, and its interface.
    fn neighbour(
        &self,
        packet: &Packet,
        side: Side,
        mapping: Option<&MappingRow>,
    ) -> Option<(Ipv4Addr, String)> {
        let destination = match (side, mapping) {
            (Side::Outside, Some(mapping)) => {
                let realms = &self.geometry.realms;
                let key = realms.key(realms.number_of(&mapping.realm)?, mapping.inside)?;
                Ipv4Addr::from_bits(key.to_bits())
            }
            _ => packet.destination,
        };
        let (address, ifindex) = match self.fib.resolve(destination) {
            Resolution::Hop(id) => self
                .fib
                .next_hop(id)
                .map(|hop| (hop.ip, hop.phys_ifindex))?,
            Resolution::Unresolved {
                gateway, ifindex, ..
            } => (gateway, ifindex),
            _ => return None,
        };
        Some((address, name_of(ifindex)))
    }

    /// What leaves, and the packet with where it goes to.
    fn sent(&self, ran: &Ran) -> (Option<SentRow>, Option<(Packet, &Way)>) {
        let Verdict::Transmit { ifindex, .. } = ran.verdict else {
            return (None, None);
        };
        let mut bytes = ran.frame.clone();
        let end = bytes.len();
        let link = Buffer::new(&mut bytes, 0, end).and_then(|frame| ethernet::parse(&frame).ok());
        let vlans = link.map_or([0; 2], |link| link.vlans());
        let tags: Vec<u16> = vlans.into_iter().filter(|tag| *tag != 0).collect();
        let packet = Packet::of(&ran.frame);
        let mut ways = self.wiring.ways.iter();
        let way = ways.find(|way| way.ifindex == ifindex && way.tags == tags);
        let row = SentRow {
            packet: packet.map(|packet| packet.to_string()),
            interface: name_of(ifindex),
            vlans: tags,
            link_address: words::link_address(&ran.frame),
            bytes: ran.frame.len() as u64,
        };
        (Some(row), packet.zip(way))
    }
}

fn name_of(ifindex: u32) -> String {
    interface::name_of(ifindex).unwrap_or_else(|| format!("interface {ifindex}"))
}
