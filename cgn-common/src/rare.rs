//! The rare part of the packet's way: what is not the common packet, and leaves
//! the way of [`crate::path`] for it. A packet begins here at step 1 again, for
//! in XDP this is a program of its own (ADR 7): with its own stack, its own
//! share of the verifier's patience, and out of the common packet's way.
//!
//! The steps keep their order and their numbers. A packet that is hairpinned
//! goes outbound and inbound at once: steps 2 to 5 for its destination as for a
//! packet from outside, then step 5 for its source, then one step 6.

mod errors;
mod fragments;
mod hairpin;

pub(crate) use fragments::fits;

use crate::answers::{self, Budget};
use crate::frame::Frame;
use crate::guards;
use crate::ipv6;
use crate::layout::{RareProgram, Side};
use crate::path::{Next, check_alive, end, network, stop, subscriber_of};
use crate::realm;
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};
use crate::wire::ipv4::Ipv4;
use crate::wire::{ethernet, icmp, transport};

/// The whole rest of the way of a packet from `side` that is rare for this reason.
pub fn whole<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    side: Side,
    reason: Reason,
) -> Verdict {
    let next = match RareProgram::of(side, reason) {
        RareProgram::Inside => inside(frame, tables),
        RareProgram::Hairpin => match hairpin(frame, tables) {
            Next::Rare(_, Reason::Fragment) => fragment_inside(frame, tables),
            Next::Rare(..) => inside(frame, tables),
            next => next,
        },
        RareProgram::Outside => outside(frame, tables),
        RareProgram::FragmentInside => fragment_inside(frame, tables),
        RareProgram::FragmentOutside => fragment_outside(frame, tables),
        // No rare packet goes on in the others.
        _ => Next::Refused(side, reason),
    };
    match next {
        Next::Done(verdict) => verdict,
        Next::Foreign(side) => ipv6::verdict(frame, tables, side),
        Next::Rare(side, reason) | Next::Refused(side, reason) => {
            refused(frame, tables, side, reason)
        }
    }
}

/// Rare packets from inside.
#[inline(always)]
pub fn inside<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Next {
    match outbound(frame, tables) {
        Ok(verdict) => Next::Done(verdict),
        Err(reason) => end(tables, Side::Inside, reason),
    }
}

/// Packets from inside to a pool address. Errors go on where all of them do, and so do
/// later fragments, which have no ports.
#[inline(always)]
pub fn hairpin<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Next {
    match elsewhere(frame) {
        Ok(None) => {}
        Ok(Some(reason)) => return Next::Rare(Side::Inside, reason),
        Err(reason) => return end(tables, Side::Inside, reason),
    }
    match hairpin::hairpin(frame, tables) {
        Ok(verdict) => Next::Done(verdict),
        Err(reason) => end(tables, Side::Inside, reason),
    }
}

/// Rare packets from outside.
#[inline(always)]
pub fn outside<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Next {
    match inbound(frame, tables) {
        Ok(verdict) => Next::Done(verdict),
        Err(reason) => end(tables, Side::Outside, reason),
    }
}

/// A packet from `side` that ends for `reason`, if no guard knows better: the slow path sees it if
/// its sender is to be told.
#[inline(always)]
pub fn refused<F: Frame, T: Tables>(frame: &F, tables: &T, side: Side, reason: Reason) -> Verdict {
    let reason = guards::reconsider(frame, tables, side, reason);
    let kind = answers::kind(frame, side, reason);
    let is_told = tables.features().has(kind)
        && answers::recipient(frame, reason)
            .is_some_and(|source| tables.may_answer(source, Budget::of(side, kind)));
    stop(tables, if is_told { Reason::Answered } else { reason })
}

/// Fragments from inside, and packets that are to become some.
#[inline(always)]
pub fn fragment_inside<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Next {
    match fragments::from_inside(frame, tables) {
        Ok(verdict) => Next::Done(verdict),
        Err(reason) => end(tables, Side::Inside, reason),
    }
}

/// Fragments from outside, and packets that are to become some.
#[inline(always)]
pub fn fragment_outside<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Next {
    match fragments::from_outside(frame, tables) {
        Ok(verdict) => Next::Done(verdict),
        Err(reason) => end(tables, Side::Outside, reason),
    }
}

#[inline(always)]
fn outbound<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Verdict, Reason> {
    // 1 parse; which tags are ours was seen before
    let link = ethernet::parse(frame)?;
    let ip = network(frame, &link)?;
    if is_translated_error(frame, link.length, &ip)? {
        return errors::from_inside(frame, tables, link, ip);
    }
    // 3 filter
    subscriber_of(tables, realm::sender(frame, tables, ip.source.get())?)?;
    check_alive(&ip)?;
    Err(Reason::UnsupportedIcmp)
}

/// Why a packet to a pool address is not hairpinned as one that has ports is.
#[inline(always)]
fn elsewhere<F: Frame>(frame: &F) -> Result<Option<Reason>, Reason> {
    // 1 parse
    let link = ethernet::parse(frame)?;
    let ip = network(frame, &link)?;
    if is_translated_error(frame, link.length, &ip)? {
        return Ok(Some(Reason::UnsupportedIcmp));
    }
    Ok(ip.is_later_fragment().then_some(Reason::Fragment))
}

#[inline(always)]
fn inbound<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Verdict, Reason> {
    // 1 parse
    let link = ethernet::parse(frame)?;
    let ip = network(frame, &link)?;
    if is_translated_error(frame, link.length, &ip)? {
        return errors::from_outside(frame, tables, link, ip);
    }
    check_alive(&ip)?;
    Err(Reason::UnsupportedIcmp)
}

/// True for a whole ICMP error of a type that is translated.
#[inline(always)]
fn is_translated_error<F: Frame>(frame: &F, l3: usize, ip: &Ipv4) -> Result<bool, Reason> {
    if ip.protocol != transport::ICMP || ip.is_fragment() {
        return Ok(false);
    }
    let (header, total) = (ip.header_length(), ip.total_length() as usize);
    let message = icmp::message_type(frame, l3 + header, total - header)?;
    Ok(icmp::is_translated_error(message))
}
