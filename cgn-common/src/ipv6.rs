//! IPv6 goes by: it is not translated, the kernel routes it. Where prefixes of it are limited (ADR 47)
//! it is looked at here, for new sessions of sources that begin too many. In XDP this is a program of
//! its own, which the others jump to with whatever is not IPv4.
//!
//! Only what begins something can be refused: a SYN, or the first packet of a flow that is not known
//! ([`flows`]). What is not understood, is not between networks, or is for the router itself is the
//! kernel's, as all of it is where nothing is limited.

pub mod flows;
pub mod prefixes;

use crate::frame::Frame;
use crate::layout::{Guards, Side, is_ahead};
use crate::path::stop;
use crate::realm;
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};
use crate::wire::ethernet;
use crate::wire::ipv6::{self, Ipv6, Kind};

/// What becomes of a frame from `side` that is not IPv4.
#[inline(always)]
pub fn verdict<F: Frame, T: Tables>(frame: &F, tables: &T, side: Side) -> Verdict {
    let is_refused = match between_networks(frame) {
        Some(packet) => is_refused(frame, tables, side, &packet),
        None => false,
    };
    stop(
        tables,
        match is_refused {
            true => Reason::Throttled,
            false => Reason::NotIpv4,
        },
    )
}

/// The packet of IPv6 from one network into another that a frame carries.
#[inline(always)]
fn between_networks<F: Frame>(frame: &F) -> Option<Ipv6> {
    let link = ethernet::parse(frame).ok()?;
    if link.ethertype != ethernet::IPV6 {
        return None;
    }
    let packet = ipv6::parse(frame, link.length)?;
    packet.is_between_networks().then_some(packet)
}

#[inline(always)]
fn is_refused<F: Frame, T: Tables>(frame: &F, tables: &T, side: Side, packet: &Ipv6) -> bool {
    let is_flow = match packet.kind {
        Kind::Neither => return false,
        Kind::Connection => false,
        Kind::Flow => true,
    };
    let flow = flows::Flow::of(tables.id_secret(), packet);
    if is_flow && tables.knows_flow(flow) {
        return false;
    }
    // Flows that were there before this table was: they are made known, and nobody is blamed.
    let is_learning = is_flow && is_ahead(tables.guard(Guards::LEARNT), tables.now());
    let realm = match side {
        Side::Inside => realm::realm_of(frame, tables),
        Side::Outside => realm::FIRST,
    };
    if is_learning || tables.newcomer_ipv6(side, realm, packet.source[0]) {
        if is_flow {
            tables.mark_flow(flow);
        }
        return false;
    }
    // Asked of those alone that would be dropped.
    !tables.is_own_ipv6(packet.source, packet.destination)
}
