//! The query part of a request: text to [`Selection`] and [`Part`]. Pure.

use std::net::Ipv4Addr;
use std::time::Duration;

use cgn_common::diagnostics::LINES_PER_SECOND;
use cgn_common::layout::Side;
use cgn_common::verdict::Protocol;
use cgn_common::watch::{Filter, MOST_BYTES, details};
use cgn_common::wire::transport;
use serde::Deserialize;

use super::view::{Part, Selection};
use crate::config::Ipv4Prefix;
use crate::dataplane::geometry::Geometry;
use crate::watch::client::Bounds;

/// Rows of an answer, unless the request says how many.
pub const DEFAULT_LIMIT: usize = 1000;
/// Most rows of one answer.
pub const MAX_LIMIT: usize = 10_000;
/// Longest trace: a day.
const MAX_SECONDS: u64 = 86_400;
/// Bytes of a packet that a trace needs.
const TRACED_BYTES: u32 = 128;
/// Packets that each processor tells a capture of in a second, unless it is asked for other ones.
const DEFAULT_RATE: u32 = 1000;
const MAX_RATE: u32 = 100_000;

/// The keys, as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    pub subscriber: Option<String>,
    /// Name of a realm; without it, `subscriber` is of the first.
    pub realm: Option<String>,
    pub pool: Option<String>,
    pub protocol: Option<String>,
    pub external: Option<String>,
    pub limit: Option<String>,
    pub cursor: Option<String>,
    pub all: Option<String>,
}

/// What `/v1/explain` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The packet in words, see [`crate::explain::packet`].
    pub packet: String,
    /// Side that it comes from, if its source does not tell.
    pub side: Option<String>,
    /// Name of the realm that it comes from, if it comes from inside and not from the first.
    pub realm: Option<String>,
}

impl ExplainQuery {
    /// Side that it comes from, if the request says so.
    ///
    /// # Errors
    /// A word that is no side.
    pub fn side(&self) -> Result<Option<Side>, QueryError> {
        side(self.side.as_deref())
    }
}

fn side(text: Option<&str>) -> Result<Option<Side>, QueryError> {
    match text {
        None => Ok(None),
        Some("inside") => Ok(Some(Side::Inside)),
        Some("outside") => Ok(Some(Side::Outside)),
        Some(text) => Err(malformed("side", text, "inside or outside")),
    }
}

/// What `/v1/trace` and `/v1/capture` are asked; what is not given fits any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchQuery {
    /// Address or prefix of subscribers.
    pub inside: Option<String>,
    /// Name of their realm, empty for the first; without it, they are of all.
    pub realm: Option<String>,
    /// Port of the subscriber.
    pub port: Option<String>,
    /// Address or prefix beyond the border, with or without a port.
    pub outside: Option<String>,
    pub protocol: Option<String>,
    /// Packets, then it ends.
    pub count: Option<String>,
    /// Seconds, then it ends.
    pub seconds: Option<String>,
    /// Only frames of this side.
    pub side: Option<String>,
    /// Bytes of payload.
    pub snap: Option<String>,
    /// Packets that each processor tells of in a second at most.
    pub rate: Option<String>,
}

/// How a capture is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Only frames of this side; None: of both.
    pub side: Option<Side>,
    /// Bytes that are kept behind the headers; None: nothing is said of it.
    pub payload: Option<usize>,
}

impl WatchQuery {
    /// Which packets a trace tells of, and how many at most for how long.
    ///
    /// # Errors
    /// A value that is none, or a key of captures.
    pub fn trace(&self) -> Result<(Filter, Bounds), QueryError> {
        for (key, value) in [
            ("side", &self.side),
            ("snap", &self.snap),
            ("rate", &self.rate),
        ] {
            if value.is_some() {
                let keys = Keys::TRACE;
                return Err(QueryError::Meaningless { key, keys });
            }
        }
        self.resolve(LINES_PER_SECOND as u32, TRACED_BYTES)
    }

    /// Which packets a capture has, and how it is written.
    ///
    /// # Errors
    /// A value that is none.
    pub fn capture(&self) -> Result<(Filter, Bounds, Framing), QueryError> {
        const RATE: &str = "a number of packets from 1 to 100000";
        let rate = value("rate", self.rate.as_deref(), RATE)?.unwrap_or(DEFAULT_RATE);
        if !(1..=MAX_RATE).contains(&rate) {
            return Err(malformed("rate", &rate.to_string(), RATE));
        }
        let payload: Option<u16> = value(
            "snap",
            self.snap.as_deref(),
            "a number of bytes up to 65535",
        )?;
        let framing = Framing {
            side: side(self.side.as_deref())?,
            payload: payload.map(usize::from),
        };
        let (filter, bounds) = self.resolve(rate, MOST_BYTES as u32)?;
        Ok((filter, bounds, framing))
    }

    /// Number of the realm whose packets are wanted; `None`: all are.
    ///
    /// # Errors
    /// There is none of this name, or there are no realms.
    pub fn realm(&self, geometry: &Geometry) -> Result<Option<u8>, QueryError> {
        match &self.realm {
            Some(_) if geometry.realms.count() == 1 => Err(QueryError::NoRealms),
            Some(name) => realm(name, geometry).map(Some),
            None => Ok(None),
        }
    }

    fn resolve(&self, per_second: u32, bytes: u32) -> Result<(Filter, Bounds), QueryError> {
        let inside = prefix(
            "inside",
            self.inside.as_deref(),
            "an address or prefix, as in 100.64.0.1",
        )?;
        let port: Option<u16> = value("port", self.port.as_deref(), "a number up to 65535")?;
        let (address, outside_port) = match self.outside.as_deref() {
            Some(text) => match text.split_once(':') {
                Some((address, port)) => (Some(address), Some(port)),
                None => (Some(text), None),
            },
            None => (None, None),
        };
        const OUTSIDE: &str = "an address or prefix, with or without a port, as in 8.8.8.8:53";
        let outside = prefix("outside", address, OUTSIDE)?;
        let outside_port: Option<u16> = value("outside", outside_port, OUTSIDE)?;
        let protocol = self.protocol.as_deref().map(protocol_number).transpose()?;
        let count: Option<u64> = value("count", self.count.as_deref(), "a number")?;
        const SECONDS: &str = "a number of seconds up to 86400";
        let seconds: Option<u64> = value("seconds", self.seconds.as_deref(), SECONDS)?;
        let filter = Filter {
            inside: inside.0,
            inside_mask: inside.1,
            outside: outside.0,
            outside_mask: outside.1,
            inside_port: port.unwrap_or(0),
            outside_port: outside_port.unwrap_or(0),
            protocol: protocol.unwrap_or(0),
            per_second,
            bytes,
            details: details::ALL,
            ..Filter::default()
        };
        let bounds = Bounds {
            count: count.unwrap_or(u64::MAX),
            time: Duration::from_secs(seconds.unwrap_or(MAX_SECONDS).min(MAX_SECONDS)),
        };
        Ok((filter, bounds))
    }
}

/// First address and mask of a prefix or an address, in host order; both 0: any.
fn prefix(
    key: &'static str,
    text: Option<&str>,
    wanted: &'static str,
) -> Result<(u32, u32), QueryError> {
    let text = text.map(|text| match text.contains('/') {
        true => text.to_owned(),
        false => format!("{text}/32"),
    });
    let prefix: Option<Ipv4Prefix> = value(key, text.as_deref(), wanted)?;
    Ok(prefix.map_or((0, 0), |prefix| {
        let host_bits = 32 - u32::from(prefix.length());
        let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
        (prefix.range().first().to_bits(), mask)
    }))
}

/// A value, if there is one.
fn value<T: std::str::FromStr>(
    key: &'static str,
    text: Option<&str>,
    wanted: &'static str,
) -> Result<Option<T>, QueryError> {
    text.map(|text| text.parse().map_err(|_| malformed(key, text, wanted)))
        .transpose()
}

/// Number of an IPv4 protocol that is translated.
fn protocol_number(text: &str) -> Result<u32, QueryError> {
    match text {
        "tcp" => Ok(transport::TCP.into()),
        "udp" => Ok(transport::UDP.into()),
        "icmp" => Ok(transport::ICMP.into()),
        _ => Err(QueryError::Malformed {
            key: "protocol",
            text: text.to_owned(),
            wanted: "tcp, udp or icmp",
        }),
    }
}

/// Keys that mean something to an endpoint; those for pages do to each that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys(pub &'static [&'static str]);

impl Keys {
    pub const SUBSCRIBERS: Self =
        Self(&["subscriber", "realm", "pool", "external", "limit", "cursor"]);
    pub const BLOCKS: Self = Self::SUBSCRIBERS;
    pub const MAPPINGS: Self = Self(&[
        "subscriber",
        "realm",
        "pool",
        "protocol",
        "external",
        "limit",
        "cursor",
    ]);
    pub const TRACE: Self = Self(&[
        "inside", "realm", "port", "outside", "protocol", "count", "seconds",
    ]);
    pub const CAPTURE: Self = Self(&[
        "inside", "realm", "port", "outside", "protocol", "count", "seconds", "side", "snap",
        "rate",
    ]);
    pub const WHO: Self = Self(&["external", "protocol", "at", "skew"]);
    pub const EXPLAIN: Self = Self(&["packet", "side", "realm"]);
    pub const POOLS: Self = Self(&["pool"]);
    pub const TOP: Self = Self(&["limit"]);
    pub const DROPS: Self = Self(&["realm", "all"]);
}

/// A query that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("`{key}` selects nothing here; what can be given: {}", .keys.0.join(", "))]
    Meaningless { key: &'static str, keys: Keys },
    #[error("{key} is {text:?}; it must be {wanted}")]
    Malformed {
        key: &'static str,
        text: String,
        wanted: &'static str,
    },
    #[error("there is no pool {name:?}; the configuration has {}", .known.join(", "))]
    NoSuchPool { name: String, known: Vec<String> },
    #[error("there is no realm {name:?}; the configuration has {}", .known.join(", "))]
    NoSuchRealm { name: String, known: Vec<String> },
    #[error("there are no realms: the configuration has no [[realm]]; ask without `realm`")]
    NoRealms,
    #[error("{address} is in no subscriber prefix of the configuration")]
    NoSuchSubscriber { address: Ipv4Addr },
    #[error("{address} is in no pool of the configuration")]
    NoSuchExternal { address: Ipv4Addr },
}

impl QueryError {
    /// True if the query is well-formed, but what it names does not exist.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::NoSuchPool { .. }
                | Self::NoSuchRealm { .. }
                | Self::NoSuchSubscriber { .. }
                | Self::NoSuchExternal { .. }
        )
    }
}

impl Query {
    /// What is wanted, and which part of it.
    ///
    /// # Errors
    /// A key that means nothing here, a value that is none, or a name that the
    /// configuration does not have.
    pub fn resolve(
        &self,
        keys: Keys,
        geometry: &Geometry,
    ) -> Result<(Selection, Part), QueryError> {
        self.check_keys(keys)?;
        let external = self.external.as_deref().map(endpoint).transpose()?;
        let asked = self.realm.as_deref();
        let realm = asked.map(|name| realm(name, geometry)).transpose()?;
        let address = self.subscriber.as_deref().map(inside).transpose()?;
        let subscriber = address.map(|address| {
            let key = geometry.realms.key(realm.unwrap_or(0), address);
            key.filter(|key| geometry.pool_of(*key).is_some())
                .ok_or(QueryError::NoSuchSubscriber { address })
        });
        let selection = Selection {
            subscriber: subscriber.transpose()?,
            realm,
            pool: self
                .pool
                .as_deref()
                .map(|name| pool(name, geometry))
                .transpose()?,
            protocol: self.protocol.as_deref().map(protocol).transpose()?,
            external: external.map(|(address, _)| address),
            external_port: external.and_then(|(_, port)| port),
        };
        if let Some(address) = selection.external
            && !is_in_a_pool(address, geometry)
        {
            return Err(QueryError::NoSuchExternal { address });
        }
        let limit = number(
            "limit",
            self.limit.as_deref(),
            DEFAULT_LIMIT as u64,
            "1 to 10000",
        )?;
        if !(1..=MAX_LIMIT as u64).contains(&limit) {
            return Err(QueryError::Malformed {
                key: "limit",
                text: limit.to_string(),
                wanted: "1 to 10000",
            });
        }
        let part = Part {
            limit: limit as usize,
            cursor: number(
                "cursor",
                self.cursor.as_deref(),
                0,
                "the next_cursor of an answer",
            )?,
        };
        Ok((selection, part))
    }

    /// Whether reasons that never happened are wanted.
    ///
    /// # Errors
    /// Neither `true` nor `false`.
    pub fn wants_all(&self) -> Result<bool, QueryError> {
        match self.all.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(malformed("all", text, "true or false")),
        }
    }

    fn check_keys(&self, keys: Keys) -> Result<(), QueryError> {
        for (key, value) in [
            ("subscriber", &self.subscriber),
            ("realm", &self.realm),
            ("pool", &self.pool),
            ("protocol", &self.protocol),
            ("external", &self.external),
            ("limit", &self.limit),
            ("cursor", &self.cursor),
            ("all", &self.all),
        ] {
            if value.is_some() && !keys.0.contains(&key) {
                return Err(QueryError::Meaningless { key, keys });
            }
        }
        Ok(())
    }
}

fn malformed(key: &'static str, text: &str, wanted: &'static str) -> QueryError {
    QueryError::Malformed {
        key,
        text: text.to_owned(),
        wanted,
    }
}

fn inside(text: &str) -> Result<Ipv4Addr, QueryError> {
    let wanted = "an inside IPv4 address such as 100.64.0.1";
    text.parse()
        .map_err(|_| malformed("subscriber", text, wanted))
}

fn endpoint(text: &str) -> Result<(Ipv4Addr, Option<u16>), QueryError> {
    let wanted = "an external IPv4 address, or address and port such as 203.0.113.1:1024";
    let error = || malformed("external", text, wanted);
    match text.split_once(':') {
        None => Ok((text.parse().map_err(|_| error())?, None)),
        Some((address, port)) => {
            let address = address.parse().map_err(|_| error())?;
            let port = port.parse().map_err(|_| error())?;
            Ok((address, Some(port)))
        }
    }
}

fn protocol(text: &str) -> Result<Protocol, QueryError> {
    let mut all = Protocol::ALL.into_iter();
    all.find(|protocol| protocol.name() == text)
        .ok_or_else(|| malformed("protocol", text, "tcp, udp or icmp"))
}

/// Number of the realm with this name.
///
/// # Errors
/// There is none.
pub fn realm(name: &str, geometry: &Geometry) -> Result<u8, QueryError> {
    let realms = &geometry.realms;
    realms
        .number_of(name)
        .ok_or_else(|| QueryError::NoSuchRealm {
            name: name.to_owned(),
            known: realms.names()[1..].to_vec(),
        })
}

fn pool(name: &str, geometry: &Geometry) -> Result<u16, QueryError> {
    let position = geometry.pools.iter().position(|pool| pool.name == name);
    match position {
        Some(number) => Ok(number as u16),
        None => Err(QueryError::NoSuchPool {
            name: name.to_owned(),
            known: geometry
                .pools
                .iter()
                .map(|pool| pool.name.clone())
                .collect(),
        }),
    }
}

fn is_in_a_pool(address: Ipv4Addr, geometry: &Geometry) -> bool {
    let mut ranges = geometry.pools.iter().flat_map(|pool| &pool.addresses);
    ranges.any(|(first, last)| (*first..=*last).contains(&address))
}

fn number(
    key: &'static str,
    text: Option<&str>,
    default: u64,
    wanted: &'static str,
) -> Result<u64, QueryError> {
    match text {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| malformed(key, text, wanted)),
    }
}
