//! Access lists: before its way through the translator ([`crate::path`]) a packet meets the rules
//! of its direction. The first one that holds decides: it goes on, ends here, or goes through
//! untranslated, in both directions (RFC 6888 REQ-6). In XDP this is a program of its own, which
//! jumps into the translator's; without rules it is not there, and costs nothing.
//!
//! What is the router's own never meets a rule: nobody locks himself out by one. Rules see the addresses of
//! packets. From inside a rule can be for packets of one realm; a bypass always is, and what comes back is for
//! that one.
//!
//! A packet whose remote address is in a /16 that no prefix touches reads a bit of 8 KiB, and no trie; others wait
//! for one line of the trie, and one more where some rule asks for an address of ours; see [`crate::layout::node`].

use crate::block::page_of;
use crate::frame::Frame;
use crate::layout::{
    Action, CLASSES_PER_LINE, End, Entry as TrieEntry, Features, Held, RULES, Side, node, touched,
};
use crate::nat::next_hop::{is_host_outside, is_multicast, leave, route, route_inside, rows_of};
use crate::nat::rewrite;
use crate::path::{
    Entry, Next, check_alive, end, link_and_side, network, stop, subscriber_of, transmit,
};
use crate::rare::fits;
use crate::realm::{self, is_own, realm_of};
use crate::steps::Step;
use crate::tables::{Route, Tables};
use crate::tunnels;
use crate::verdict::{Direction, Reason, Verdict};
use crate::wire::ipv4::Ipv4;
use crate::wire::transport::flag;
use crate::wire::{Be16, ethernet, transport};

/// Where the rules send a packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Into the translator.
    Translate,
    /// Through, untranslated: [`bypass`].
    Bypass,
    /// Into the translator, if [`inspect`] lets it.
    Inspect,
    /// Nowhere.
    Done(Verdict),
}

/// What the rules say of a frame that came in by `entry`; the side that it came from, and of a bypass the
/// realm, if they matter: beside the answer, since of a part that only some answers have the verifier says
/// that it is unwritten. What is no packet to be translated is left to the translator, which knows why.
#[inline(always)]
pub fn gate<F: Frame, T: Tables>(frame: &F, tables: &T, entry: Entry) -> (Gate, Side, u8) {
    // 1 parse
    let Ok((side, link)) = link_and_side(frame, tables, entry) else {
        return (Gate::Translate, Side::Inside, realm::FIRST);
    };
    let Ok(ip) = network(frame, &link) else {
        return (Gate::Translate, side, realm::FIRST);
    };
    let (held, realm) = first_rule(frame, tables, (side, link.length), &ip);
    if held == Held::NONE || !is_concerned(tables, (side, realm), &ip, held) {
        return (Gate::Translate, side, realm::FIRST);
    }
    tables.note(Step::Listed);
    tables.hit(direction_from(side), held.rule());
    if tables.features().has(Features::RATES)
        && held.most() != 0
        && counts(frame, link.length, &ip)
        && !tables.is_within_rate(held, realm, ip.source.get())
    {
        tables.over_rate(held.rule());
        let dropped = stop(tables, Reason::RuleRate);
        return (Gate::Done(dropped), side, realm::FIRST);
    }
    let gate = match held.action() {
        Action::Permit => Gate::Translate,
        Action::Deny => Gate::Done(stop(tables, Reason::AccessDenied)),
        Action::Bypass => Gate::Bypass,
        Action::Inspect => Gate::Inspect,
    };
    (gate, side, held.realm())
}

/// Direction of a packet from this side.
#[inline(always)]
#[must_use]
pub const fn direction_from(side: Side) -> Direction {
    match side {
        Side::Inside => Direction::Outbound,
        Side::Outside => Direction::Inbound,
    }
}

/// The first rule that holds for a packet from `side` with its IPv4 header at `l3`, and the realm that it
/// came from, if there is such a rule and it came from one.
#[inline(always)]
fn first_rule<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    (side, l3): (Side, usize),
    ip: &Ipv4,
) -> (Held, u8) {
    let (outside, ours) = match side {
        Side::Inside => (ip.destination.get(), ip.source.get()),
        Side::Outside => (ip.source.get(), ip.destination.get()),
    };
    let direction = direction_from(side);
    let candidates = tables.rules_of(End::Outside, direction, outside);
    if candidates == 0 {
        return (Held::NONE, realm::NOBODY);
    }
    let candidates = candidates & tables.rules_of(End::Ours, direction, ours);
    if candidates == 0 {
        return (Held::NONE, realm::NOBODY);
    }
    let realm = match side {
        Side::Inside => realm_of(frame, tables),
        Side::Outside => realm::NOBODY,
    };
    let (from, ports) = ((direction, realm), ports_of(frame, l3, ip));
    (
        tables.first_match(candidates, from, ip.protocol, ports),
        realm,
    )
}

/// True for a packet that a rate counts: of TCP only what begins a connection, so that no connection
/// suffers once it is there.
#[inline(always)]
fn counts<F: Frame>(frame: &F, l3: usize, ip: &Ipv4) -> bool {
    if ip.protocol != transport::TCP {
        return true;
    }
    if ip.is_later_fragment() {
        return false;
    }
    let flags: Option<Be16> = frame.load(l3 + ip.header_length() + transport::field::TCP_REST);
    flags.is_some_and(|flags| flags.get() as u8 & (flag::SYN | flag::ACK) == flag::SYN)
}

/// Ports of source and destination, where the packet has some.
#[inline(always)]
fn ports_of<F: Frame>(frame: &F, l3: usize, ip: &Ipv4) -> Option<(u16, u16)> {
    let has_ports = matches!(ip.protocol, transport::TCP | transport::UDP);
    if !has_ports || ip.is_later_fragment() {
        return None;
    }
    let [source, destination]: [Be16; 2] = frame.load(l3 + ip.header_length())?;
    Some((source.get(), destination.get()))
}

/// True for packets through us; the rest is the router's own. A pool address is never reached
/// untranslated.
#[inline(always)]
fn is_concerned<T: Tables>(tables: &T, (side, realm): (Side, u8), ip: &Ipv4, held: Held) -> bool {
    let (source, destination) = (ip.source.get(), ip.destination.get());
    match side {
        Side::Inside if is_multicast(destination) => false,
        Side::Inside if is_own(tables, realm, destination) => false,
        Side::Inside => match route(tables, source, destination) {
            Route::Local => false,
            Route::Pool => held.action() != Action::Bypass,
            _ => true,
        },
        Side::Outside => {
            rows_of(tables, destination).is_pool_address()
                || realm::key_of(tables, held.realm(), destination)
                    .is_ok_and(|key| is_subscriber(tables, key))
        }
    }
}

#[inline(always)]
fn is_subscriber<T: Tables>(tables: &T, key: u32) -> bool {
    match tables.inside_page(page_of(key)) {
        Some(page) => page.index_of(key).is_some(),
        None => false,
    }
}

/// The end of a packet from `side` that a rule wants looked into; None: it is translated.
#[inline(always)]
#[must_use]
pub fn inspect<F: Frame, T: Tables>(frame: &F, tables: &T, side: Side) -> Option<Verdict> {
    tunnels::is_forged_teredo(frame, tables, side).then(|| stop(tables, Reason::TunnelForged))
}

/// The way of a packet from `side` that goes through untranslated, of the rule's realm. Whatever else holds
/// for a packet, holds for it: nobody sends with another's address, nor in a tunnel, it loses one of its
/// time to live, and fits into the way out or is fragmented. Nothing is remembered of it.
#[inline(always)]
pub fn bypass<F: Frame, T: Tables>(frame: &mut F, tables: &T, (side, realm): (Side, u8)) -> Next {
    tables.note(Step::Bypassed);
    match forward(frame, tables, (side, realm)) {
        Ok(verdict) => Next::Done(verdict),
        Err(reason) => end(tables, side, reason),
    }
}

#[inline(always)]
fn forward<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    (side, realm): (Side, u8),
) -> Result<Verdict, Reason> {
    // 1 parse; which tags are ours was seen before
    let link = ethernet::parse(frame)?;
    let ip = network(frame, &link)?;
    let (source, destination) = (ip.source.get(), ip.destination.get());
    // 3 filter
    let (to, receiver) = match side {
        Side::Inside => {
            subscriber_of(tables, realm::sender(frame, tables, source)?)?;
            (Side::Outside, destination)
        }
        Side::Outside if !is_host_outside(source) => return Err(Reason::BadSource),
        Side::Outside => match realm::key_of(tables, realm, destination) {
            Ok(key) => (Side::Inside, key),
            Err(_) => return Err(Reason::NotForUs),
        },
    };
    check_alive(&ip)?;
    if ip.protocol == transport::IPV6 && tunnels::kind(frame, tables) == Reason::TunnelForged {
        return Err(Reason::TunnelForged);
    }
    // 4 route
    let way = match to {
        Side::Outside => route(tables, source, destination),
        Side::Inside => route_inside(tables, source, receiver),
    };
    let hop = leave(tables, way, to, receiver)?;
    tables.note(Step::NextHop);
    fits(tables, &ip, hop)?;
    // 6 translate: only the time to live
    rewrite::translate_addresses(frame, link.length, &ip, [source, destination])?;
    // 7 emit
    rewrite::link_header(frame, &link, hop)?;
    Ok(transmit(hop))
}

/// Rules, as a set, whose prefixes hold `address`, the one of `end` in a packet of this direction.
#[inline(always)]
pub fn rules_of<T: Tables + ?Sized>(
    tables: &T,
    end: End,
    direction: Direction,
    address: u32,
) -> u64 {
    let Some(access) = tables.access() else {
        return 0;
    };
    let tries = crate::layout::Tries(access.tries.load());
    let first = tries.first(end);
    if first == 0 {
        return u64::MAX;
    }
    if !is_touched(tables, first, address >> 16) {
        let elsewhere = match end {
            End::Outside => &access.elsewhere[0],
            End::Ours => &access.elsewhere[1],
        };
        return match direction {
            Direction::Outbound => elsewhere[0].load(),
            Direction::Inbound => elsewhere[1].load(),
        };
    }
    let class = class_of(tables, first + touched::LINES, address).unwrap_or(0);
    let Some(line) = tables.prefixes(tries.classes() + class / CLASSES_PER_LINE) else {
        return 0;
    };
    let at = 2 * (class % CLASSES_PER_LINE) + direction as u32;
    // LLVM must not know that it is less than 8: the verifier of 6.1 loses the bound of the sum.
    line.0[core::hint::black_box(at) as usize & 7].load()
}

/// True if a prefix touches the /16 with this number, in the trie that begins at line `first`.
#[inline(always)]
fn is_touched<T: Tables + ?Sized>(tables: &T, first: u32, network: u32) -> bool {
    let line = tables.prefixes(first + network / touched::PER_LINE);
    line.is_none_or(|line| line.0[(network / 64) as usize & 7].load() >> (network & 63) & 1 != 0)
}

/// Class of an address in the trie with this root.
#[inline(always)]
fn class_of<T: Tables + ?Sized>(tables: &T, root: u32, address: u32) -> Option<u32> {
    let entry = entry_at(tables, root, address >> 16)?;
    let Some(line) = entry.node() else {
        return Some(entry.0);
    };
    let entry = step(tables, line, address >> 8 & 0xff)?;
    let Some(line) = entry.node() else {
        return Some(entry.0);
    };
    Some(step(tables, line, address & 0xff)?.0)
}

/// Entry number `at` of those that begin at line `first`.
#[inline(always)]
fn entry_at<T: Tables + ?Sized>(tables: &T, first: u32, at: u32) -> Option<TrieEntry> {
    let line = tables.prefixes(first + at / TrieEntry::PER_LINE)?;
    Some(half(&line.0[(at / 2) as usize & 7], at))
}

/// The lower or, for an odd number, the upper half of a word.
#[inline(always)]
fn half(word: &crate::word::Word, at: u32) -> TrieEntry {
    TrieEntry((word.load() >> (32 * (at & 1))) as u32)
}

/// Entry for `value` (8 bits) of the node at this line.
#[inline(always)]
fn step<T: Tables + ?Sized>(tables: &T, line: u32, value: u32) -> Option<TrieEntry> {
    let line = tables.prefixes(line)?;
    let word = value >> 6 & 3;
    let up_to = 2_u64.wrapping_shl(value & 63).wrapping_sub(1);
    let begun = line.0[word as usize].load() & up_to;
    let entries = line.0[node::ENTRIES].load();
    let before = (entries & !node::LINE) >> (24 + 8 * word) & 0xff;
    let run = (before as u32 + begun.count_ones()).wrapping_sub(1);
    let first = (entries & node::LINE) as u32;
    if first != 0 {
        return entry_at(tables, first, run);
    }
    Some(half(
        &line.0[(node::OWN as u32 + run / 2) as usize & 7],
        run,
    ))
}

/// The first of these rules that holds for a packet of this direction, realm and protocol with these ports.
#[inline(always)]
pub fn first_match<T: Tables + ?Sized>(
    tables: &T,
    candidates: u64,
    (direction, realm): (Direction, u8),
    protocol: u8,
    ports: Option<(u16, u16)>,
) -> Held {
    let Some(access) = tables.access() else {
        return Held::NONE;
    };
    let rules = match direction {
        Direction::Outbound => &access.directions[0],
        Direction::Inbound => &access.directions[1],
    };
    let of_protocol = match protocol {
        transport::TCP => &rules.protocols[0],
        transport::UDP => &rules.protocols[1],
        transport::ICMP => &rules.protocols[2],
        _ => &rules.protocols[3],
    };
    let candidates = candidates & of_protocol.load();
    // Number by number, which the verifier knows at each turn; only who has candidates comes here.
    for number in 0..RULES {
        if candidates >> number & 1 == 0 {
            continue;
        }
        let rule = &rules.rules[number];
        if rule.is_of(realm) && rule.holds(protocol, ports) {
            let action = rule.action.load();
            let kind = Action::from_number(action as u8);
            let (realm, most) = ((action >> 24) as u8, (action >> 32) as u32);
            return Held::new(number as u32, kind, realm, most);
        }
    }
    Held::NONE
}
