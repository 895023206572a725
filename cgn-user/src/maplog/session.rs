//! Mappings and sessions, where the log has them (`log.mode`).

use std::net::Ipv4Addr;

use serde::Serialize;

/// Whose ports they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    /// ICMP queries; the identifier is the port.
    Icmp,
}

/// A remote endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Remote {
    #[serde(rename = "remote")]
    pub address: Ipv4Addr,
    /// 0 with ICMP.
    #[serde(rename = "remote_port")]
    pub port: u16,
}

/// A mapping (RFC 8158: BIB entry), or one session of it. Numbers in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Session {
    pub external: Ipv4Addr,
    pub external_port: u16,
    pub protocol: Protocol,
    /// Number of the subscriber's realm in this log, see [`super::realms`]; 0: the first.
    #[serde(skip)]
    pub realm: u16,
    pub inside: Ipv4Addr,
    pub inside_port: u16,
    /// None of a mapping, whose destinations are not logged (RFC 6888 REQ-12).
    #[serde(flatten)]
    pub remote: Option<Remote>,
}

impl Session {
    /// Before all others of that external address and port, in their order.
    pub(super) const fn least_of(external: Ipv4Addr, external_port: u16) -> Self {
        Self {
            external,
            external_port,
            protocol: Protocol::Tcp,
            realm: 0,
            inside: Ipv4Addr::UNSPECIFIED,
            inside_port: 0,
            remote: None,
        }
    }
}

impl Protocol {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    /// The word that texts, files and streams have for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }

    /// The protocol of this name; None if there is none.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|protocol| protocol.name().as_bytes() == name)
    }

    /// IANA's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp => 1,
        }
    }
}

impl From<cgn_common::verdict::Protocol> for Protocol {
    fn from(protocol: cgn_common::verdict::Protocol) -> Self {
        use cgn_common::verdict::Protocol as P;
        match protocol {
            P::Tcp => Self::Tcp,
            P::Udp => Self::Udp,
            P::Icmp => Self::Icmp,
        }
    }
}
