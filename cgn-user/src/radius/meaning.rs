//! What an Accounting-Request says (RFC 2866 section 5). Pure.

use std::net::{IpAddr, Ipv4Addr};

use super::packet;
use crate::maplog::identity::Attribute;

/// What became of the subscriber's session (Acct-Status-Type).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Start,
    Stop,
    Interim,
    /// The access server begins or ends: it has no sessions.
    Restart,
    /// Nothing about an address.
    Other,
}

/// A request in our words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub status: Status,
    /// The subscriber's inside address, if it has one already.
    pub inside: Option<Ipv4Addr>,
    /// Seconds since it happened.
    pub early_secs: u16,
    /// Digests of the access server, and of the session there.
    pub nas: u32,
    pub session: u32,
    pub name: Option<(Attribute, Vec<u8>)>,
}

/// Longest delay that counts: what was told later than an hour after it happened is not looked for.
const MOST_DELAY_SECS: u32 = 3600;

mod kind {
    pub const NAS_IP_ADDRESS: u8 = 4;
    pub const FRAMED_IP_ADDRESS: u8 = 8;
    pub const VENDOR_SPECIFIC: u8 = 26;
    pub const NAS_IDENTIFIER: u8 = 32;
    pub const ACCT_STATUS_TYPE: u8 = 40;
    pub const ACCT_DELAY_TIME: u8 = 41;
    pub const ACCT_SESSION_ID: u8 = 44;
    /// RFC 3162.
    pub const NAS_IPV6_ADDRESS: u8 = 95;
}

/// Type of the attribute, and the vendor (IANA's number) if it is one of a vendor.
const fn place(attribute: Attribute) -> (Option<u32>, u8) {
    match attribute {
        Attribute::UserName => (None, 1),
        Attribute::CallingStationId => (None, 31),
        // RFC 2869.
        Attribute::NasPortId => (None, 87),
        // RFC 4372.
        Attribute::ChargeableUserIdentity => (None, 89),
        // 3GPP TS 29.061.
        Attribute::Imsi => (Some(10415), 1),
        // RFC 4679.
        Attribute::AgentCircuitId => (Some(3561), 1),
    }
}

impl Request {
    /// Of a packet that `client` sent; the first of `attributes` that it has is the name. None if it
    /// lacks what RFC 2866 section 4.1 asks for: a status, its access server, its session.
    #[must_use]
    pub fn of(
        packet: &packet::Request<'_>,
        client: IpAddr,
        attributes: &[Attribute],
    ) -> Option<Self> {
        let value = |wanted: u8| {
            let mut all = packet.attributes();
            all.find(|(kind, _)| *kind == wanted)
                .map(|(_, value)| value)
        };
        let number = |wanted: u8| {
            let bytes = value(wanted)?.try_into().ok()?;
            Some(u32::from_be_bytes(bytes))
        };
        let status = match number(kind::ACCT_STATUS_TYPE)? {
            1 => Status::Start,
            2 => Status::Stop,
            3 => Status::Interim,
            7 | 8 => Status::Restart,
            _ => Status::Other,
        };
        let servers = [
            kind::NAS_IP_ADDRESS,
            kind::NAS_IDENTIFIER,
            kind::NAS_IPV6_ADDRESS,
        ];
        let servers = servers.map(value);
        servers.iter().flatten().next()?;
        let client = client.to_string();
        let parts = [Some(client.as_bytes()), servers[0], servers[1], servers[2]];
        let nas = digest(&parts);
        let session = match value(kind::ACCT_SESSION_ID) {
            Some(session) => digest(&[Some(&nas.to_be_bytes()), Some(session)]),
            None if matches!(status, Status::Restart | Status::Other) => 0,
            None => return None,
        };
        let delay = number(kind::ACCT_DELAY_TIME).unwrap_or(0);
        let names = attributes.iter().filter_map(|attribute| {
            let name = named(packet, *attribute)?;
            Some((*attribute, name.to_vec()))
        });
        Some(Self {
            status,
            inside: number(kind::FRAMED_IP_ADDRESS).map(Ipv4Addr::from_bits),
            early_secs: delay.min(MOST_DELAY_SECS) as u16,
            nas,
            session,
            name: { names }.next(),
        })
    }
}

/// The value of an attribute that is there and not empty.
fn named<'a>(packet: &packet::Request<'a>, attribute: Attribute) -> Option<&'a [u8]> {
    let (vendor, wanted) = place(attribute);
    let mut values = packet
        .attributes()
        .filter_map(|(kind, value)| match vendor {
            None => (kind == wanted).then_some(value),
            Some(vendor) if kind == kind::VENDOR_SPECIFIC => of_vendor(value, vendor, wanted),
            Some(_) => None,
        });
    values.find(|value| !value.is_empty())
}

/// The attribute of this type in a Vendor-Specific one (RFC 2865 section 5.26).
fn of_vendor(value: &[u8], vendor: u32, wanted: u8) -> Option<&[u8]> {
    let (of, mut rest) = value.split_first_chunk()?;
    if u32::from_be_bytes(*of) != vendor {
        return None;
    }
    loop {
        let length = usize::from(*rest.get(1)?);
        let (attribute, after) = rest.split_at_checked(length)?;
        match attribute.first_chunk() {
            Some([kind, _]) if *kind == wanted => return Some(&attribute[2..]),
            Some(_) => rest = after,
            None => return None,
        }
    }
}

/// The first bytes of SHA-256 over the parts, each with its length.
fn digest(parts: &[Option<&[u8]>]) -> u32 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        let part = part.unwrap_or_default();
        context.update(&(part.len() as u32).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    let first = digest.as_ref().first_chunk().copied();
    first.map_or(0, u32::from_be_bytes)
}
