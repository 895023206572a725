//! What is read from the socket: route messages as the packet library decodes them, and the
//! rest, of which at least it must be known that it came.

use std::convert::Infallible;

use rtnetlink::packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use rtnetlink::packet_route::RouteNetlinkMessage;

/// RTM_NEWNEXTHOP and RTM_DELNEXTHOP of linux/rtnetlink.h, which the packet library does not know.
const NEXT_HOP_TYPES: std::ops::RangeInclusive<u16> = 104..=105;

/// RTM_NEWROUTE and RTM_DELROUTE, RTM_NEWRULE and RTM_DELRULE.
const ROUTING_TYPES: [u16; 4] = [24, 25, 32, 33];

/// A message of the kernel's. The library's own type drops what it cannot decode; a lost route
/// would send packets by the wrong way, so here it stays visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KernelMessage {
    Route(RouteNetlinkMessage),
    /// A next-hop object is new, changed or gone: routes may have changed without a message.
    NextHopObject,
    /// Could not be decoded.
    Undecodable {
        message_type: u16,
    },
}

/// Whether messages of this type are about routes or rules.
pub(super) fn is_routing(message_type: u16) -> bool {
    ROUTING_TYPES.contains(&message_type)
}

impl NetlinkDeserializable for KernelMessage {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        let message_type = header.message_type;
        if NEXT_HOP_TYPES.contains(&message_type) {
            return Ok(KernelMessage::NextHopObject);
        }
        Ok(match RouteNetlinkMessage::deserialize(header, payload) {
            Ok(message) => KernelMessage::Route(message),
            Err(_) => KernelMessage::Undecodable { message_type },
        })
    }
}

/// Only [`KernelMessage::Route`] is ever sent.
impl NetlinkSerializable for KernelMessage {
    fn message_type(&self) -> u16 {
        match self {
            KernelMessage::Route(message) => message.message_type(),
            KernelMessage::NextHopObject => *NEXT_HOP_TYPES.start(),
            KernelMessage::Undecodable { message_type } => *message_type,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            KernelMessage::Route(message) => message.buffer_len(),
            _ => 0,
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        if let KernelMessage::Route(message) = self {
            message.serialize(buffer);
        }
    }
}
