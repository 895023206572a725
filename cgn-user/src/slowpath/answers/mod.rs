//! Telling senders by ICMP errors that their packets end here (RFC 1812 section
//! 4.3, RFC 5508 REQ-10, RFC 6888 REQ-11b): which error, from which address, and
//! how often. Pure. [`message`] makes the bytes.
//!
//! A packet comes here when the translator has just dropped it in the slow path,
//! with no byte changed. XDP punts few of those that it would drop, see
//! [`cgn_common::answers`]; the limit there keeps the rings free, the same limit
//! here holds for what came for another reason, too.

pub mod message;

use std::net::Ipv4Addr;

use cgn_common::answers::{self, Budget, Rates};
use cgn_common::frame::{Buffer, Frame};
use cgn_common::layout::{Features, NextHopEntry, Punts, Side};
use cgn_common::nat::next_hop::{leave, route, route_inside, rows_of};
use cgn_common::nat::{lookup, rewrite};
use cgn_common::path;
use cgn_common::realm::{key_of, of_vlans};
use cgn_common::tables::Tables;
use cgn_common::verdict::Reason;
use cgn_common::wire::ethernet::{self, Ethernet};
use cgn_common::wire::icmp::{DESTINATION_UNREACHABLE, TIME_EXCEEDED, code};
use cgn_common::wire::ipv4::{self, Ipv4};
use cgn_common::wire::transport;

use crate::dataplane::load::Entry;
use crate::dataplane::tables::{Router, UserTables};
use crate::slowpath::unsolicited;
use message::{MOST_BYTES, Message};

/// Room for the VLAN tags of the way back.
const HEAD_ROOM: usize = 8;

macro_rules! names {
    ($(#[$about:meta])* $of:ident { $($variant:ident $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $of { $($variant,)* }

        impl $of {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

names! {
    /// The errors that are sent.
    Kind {
        Expired "time_exceeded",
        TooBig "fragmentation_needed",
        Unreachable "unreachable",
        Exhausted "exhausted",
        NoMapping "no_mapping",
        UnsolicitedSyn "unsolicited_syn",
    }
}

names! {
    /// Why a sender is not told.
    Withheld {
        Rate "rate",
        Forbidden "forbidden",
        Silent "silent",
        NoAddress "no_address",
        Connected "connected",
        HoldFull "hold_full",
    }
}

/// Counters of the errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerStats {
    /// By number of the [`Kind`].
    pub sent: [u64; Kind::ALL.len()],
    /// By number of the [`Withheld`].
    pub withheld: [u64; Withheld::ALL.len()],
}

impl Kind {
    /// What is sent at once about a packet that ended for `reason`, if anything is.
    #[must_use]
    pub const fn of(reason: Reason) -> Option<Self> {
        match reason {
            Reason::TtlExpired => Some(Self::Expired),
            Reason::TooBig => Some(Self::TooBig),
            Reason::NoRoute | Reason::NeighbourUnresolved => Some(Self::Unreachable),
            Reason::NoPort
            | Reason::NoBlock
            | Reason::SessionsFull
            | Reason::MappingLimit
            | Reason::MappingRate
            | Reason::SessionLimit
            | Reason::LogUnavailable => Some(Self::Exhausted),
            Reason::NoMapping => Some(Self::NoMapping),
            _ => None,
        }
    }

    const fn feature(self) -> u64 {
        match self {
            Self::Expired => Features::TELL_EXPIRED,
            Self::TooBig => Features::TELL_TOO_BIG,
            Self::Unreachable => Features::TELL_UNREACHABLE,
            Self::Exhausted => Features::TELL_EXHAUSTED,
            Self::NoMapping => Features::TELL_NO_MAPPING,
            Self::UnsolicitedSyn => Features::TELL_SYN,
        }
    }
}

/// A frame to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub ifindex: u32,
    pub frame: Vec<u8>,
}

/// Who was told what lately.
pub struct Answers {
    rates: Rates,
    /// Code of the destination unreachable when ports are used up.
    exhausted_code: u8,
    slots: Vec<Punts>,
    stats: AnswerStats,
}

/// The packet that ended, parsed.
struct Ended<'f> {
    link: Ethernet,
    ip: Ipv4,
    /// The whole frame.
    frame: &'f [u8],
}

impl Ended<'_> {
    fn packet(&self) -> &[u8] {
        let end = self.link.length + usize::from(self.ip.total_length());
        &self.frame[self.link.length..end.min(self.frame.len())]
    }
}

impl Answers {
    /// Nobody was told anything yet.
    #[must_use]
    pub fn new(rates: Rates, exhausted_code: u8) -> Self {
        Self {
            rates,
            exhausted_code,
            slots: (0..answers::SLOTS).map(|_| Punts::default()).collect(),
            stats: AnswerStats::default(),
        }
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> AnswerStats {
        self.stats
    }

    /// The error for the sender of a frame that came in by `entry` and was
    /// dropped for `reason`, unless he is not to be told.
    pub fn answer<R: Router>(
        &mut self,
        frame: &[u8],
        tables: &UserTables<'_, R>,
        entry: Entry,
        reason: Reason,
    ) -> Option<Answer> {
        let kind = Kind::of(reason)?;
        if kind == Kind::NoMapping && unsolicited::opens_connection(frame) {
            return None; // not within six seconds
        }
        self.answer_as(frame, tables, entry, (kind, reason))
    }

    /// The error for the sender of a SYN that waited for its six seconds, unless
    /// its connection is there by now.
    pub fn answer_syn<R: Router>(
        &mut self,
        frame: &[u8],
        tables: &UserTables<'_, R>,
        entry: Entry,
    ) -> Option<Answer> {
        if unsolicited::is_admitted(frame, tables) {
            self.withhold(Withheld::Connected);
            return None;
        }
        let what = (Kind::UnsolicitedSyn, Reason::NoMapping);
        self.answer_as(frame, tables, entry, what)
    }

    /// Counts that a sender is not told.
    pub fn withhold(&mut self, why: Withheld) {
        self.stats.withheld[why as usize] += 1;
    }

    fn answer_as<R: Router>(
        &mut self,
        frame: &[u8],
        tables: &UserTables<'_, R>,
        entry: Entry,
        what: (Kind, Reason),
    ) -> Option<Answer> {
        let (kind, _) = what;
        if !tables.features().has(kind.feature()) {
            return None;
        }
        match self.make(frame, tables, entry, what) {
            Ok(answer) => {
                self.stats.sent[kind as usize] += 1;
                Some(answer)
            }
            Err(why) => {
                self.withhold(why);
                None
            }
        }
    }

    fn make<R: Router>(
        &mut self,
        frame: &[u8],
        tables: &UserTables<'_, R>,
        entry: Entry,
        (kind, reason): (Kind, Reason),
    ) -> Result<Answer, Withheld> {
        let mut bytes = frame.to_vec();
        let end = bytes.len();
        let buffer = Buffer::new(&mut bytes, 0, end).ok_or(Withheld::Forbidden)?;
        let recipient = answers::recipient(&buffer, reason).ok_or(Withheld::Forbidden)?;
        let side = path::side_of(&buffer, tables, entry).ok_or(Withheld::Forbidden)?;
        let link = ethernet::parse(&buffer).map_err(|_| Withheld::Forbidden)?;
        let ip = ipv4::parse(&buffer, link.length).map_err(|_| Withheld::Forbidden)?;
        let ended = Ended { link, ip, frame };
        let (message_type, code, mtu) = self.what(tables, &ended, (kind, reason))?;
        let source = source(tables, side, &ended).ok_or(Withheld::NoAddress)?;
        let budget = Budget::of(side, kind.feature());
        if !self.take(recipient, budget, tables.now()) {
            return Err(Withheld::Rate);
        }
        let (from, protocol) = (source.to_bits(), transport::ICMP);
        let message = Message {
            message_type,
            code,
            mtu,
            source,
            destination: Ipv4Addr::from_bits(recipient),
            // Shared with all that is translated between the two, so that no other packet has it
            // (RFC 6864 section 4.3); and it goes on where an earlier daemon ended.
            identification: tables.fresh_id(from, recipient, protocol),
        };
        send_back(tables, side, &ended, &message).ok_or(Withheld::Forbidden)
    }

    /// Type, code, and MTU of the way on.
    fn what<R: Router>(
        &self,
        tables: &UserTables<'_, R>,
        ended: &Ended<'_>,
        (kind, reason): (Kind, Reason),
    ) -> Result<(u8, u8, u16), Withheld> {
        let destination = final_destination(tables, ended);
        let unreachable = |code| (DESTINATION_UNREACHABLE, code, 0);
        Ok(match kind {
            Kind::Expired => (TIME_EXCEEDED, 0, 0),
            Kind::TooBig => {
                let mtu = mtu_towards(tables, ended.ip.source.get(), destination);
                let mtu = mtu.ok_or(Withheld::Silent)?;
                (DESTINATION_UNREACHABLE, code::FRAGMENTATION_NEEDED, mtu)
            }
            // The neighbour that should have it does not answer (RFC 1812 section 5.2.7.1).
            Kind::Unreachable if reason == Reason::NeighbourUnresolved => unreachable(code::HOST),
            Kind::Unreachable => {
                let code = tables.routing.unreachable_code(destination);
                unreachable(code.ok_or(Withheld::Silent)?)
            }
            Kind::Exhausted => unreachable(self.exhausted_code),
            Kind::NoMapping | Kind::UnsolicitedSyn => unreachable(code::PORT),
        })
    }

    fn take(&self, recipient: u32, budget: Budget, now: u32) -> bool {
        let slot = |number: u32| &self.slots[number as usize];
        let (own, all) = (answers::slot_of(recipient), budget as u32);
        self.rates.take(slot(own), slot(all), now)
    }
}

/// Where a packet goes in the end: behind a mapping, that is an inside key.
fn final_destination<R: Router>(tables: &UserTables<'_, R>, ended: &Ended<'_>) -> u32 {
    let destination = ended.ip.destination.get();
    let rows = rows_of(tables, destination);
    if !rows.is_pool_address() {
        return destination;
    }
    let mut bytes = ended.frame.to_vec();
    let end = bytes.len();
    let l4 = ended.link.length + ended.ip.header_length();
    let length = ended.ip.total_length() - ended.ip.header_length() as u16;
    let parsed = Buffer::new(&mut bytes, 0, end)
        .and_then(|frame| transport::parse(&frame, l4, length, ended.ip.protocol).ok());
    let address = (destination, rows);
    let mapping = parsed
        .and_then(|to| lookup::mapping_at(tables, address, to.protocol, to.destination_port).ok());
    mapping.map_or(destination, |(_, inside)| inside)
}

fn mtu_towards<R: Router>(
    tables: &UserTables<'_, R>,
    source: u32,
    destination: u32,
) -> Option<u16> {
    use cgn_common::tables::Route;
    match route_inside(tables, source, destination) {
        Route::Via(hop) => Some(hop.mtu()),
        _ => None,
    }
}

/// Source of a packet, by which tables know him: inside, that is a key.
fn sender<R: Router>(tables: &UserTables<'_, R>, side: Side, ended: &Ended<'_>) -> Option<u32> {
    let source = ended.ip.source.get();
    match side {
        Side::Inside => key_of(tables, of_vlans(tables, ended.link.vlans()), source).ok(),
        Side::Outside => Some(source),
    }
}

/// Our address on the side that the packet came from, or whose it was: a pool
/// address is ours as well, and may be seen outside.
fn source<R: Router>(
    tables: &UserTables<'_, R>,
    side: Side,
    ended: &Ended<'_>,
) -> Option<Ipv4Addr> {
    let (source, destination) = (sender(tables, side, ended)?, ended.ip.destination.get());
    let own = |side| tables.routing.own_address(side, source);
    own(side).or_else(|| match side {
        Side::Inside => own(Side::Outside),
        Side::Outside => rows_of(tables, destination)
            .is_pool_address()
            .then(|| Ipv4Addr::from_bits(destination)),
    })
}

/// Sends the error where the kernel's routes lead, else to the neighbour that the
/// packet came from.
fn send_back<R: Router>(
    tables: &UserTables<'_, R>,
    side: Side,
    ended: &Ended<'_>,
    message: &Message,
) -> Option<Answer> {
    let to = sender(tables, side, ended)?;
    let way = match side {
        Side::Inside => route_inside(tables, message.source.to_bits(), to),
        Side::Outside => route(tables, message.source.to_bits(), to),
    };
    let hop = leave(tables, way, side, to).ok();
    let most = hop.map_or(MOST_BYTES, |hop| MOST_BYTES.min(hop.mtu().into()));
    let header = &ended.frame[..ended.link.length];
    let mut memory = vec![0; HEAD_ROOM];
    memory.extend(message.frame(header, ended.packet(), most));
    let end = memory.len();
    let mut frame = Buffer::new(&mut memory, HEAD_ROOM, end)?;
    let ifindex = match hop {
        Some(hop) => follow(&mut frame, &ended.link, hop)?,
        None => turn_round(&mut frame).map(|()| tables.ingress())?,
    };
    Some(Answer {
        ifindex,
        frame: frame.bytes().to_vec(),
    })
}

fn follow<F: Frame>(frame: &mut F, link: &Ethernet, hop: &NextHopEntry) -> Option<u32> {
    rewrite::link_header(frame, link, hop).ok()?;
    Some(hop.mac_end_and_ifindex().1)
}

/// Exchanges the link addresses.
fn turn_round<F: Frame>(frame: &mut F) -> Option<()> {
    let [to, from]: [[u8; 6]; 2] = frame.load(0)?;
    frame.store(0, [from, to])
}
