//! Single TOML values to Rust values: one function for each kind of key.

use std::path::PathBuf;
use std::str::FromStr;

use toml::de::DeValue;

use super::fault::Fault;
use super::limit::Limit;
use super::notation::AddressError;
use super::schema::{
    Exhausted, Filtering, LogMode, LogSync, Midstream, OnFull, PoolMode, PortMode, SinkFormat,
    SinkSasl, SinkTransport, XdpMode,
};
use crate::maplog::identity::Attribute;

/// A whole number. Values that `T` cannot hold are refused here, values outside `limit` that it
/// can hold are left to the validation.
pub(super) fn integer<T: TryFrom<i128>>(
    limit: &'static Limit,
) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> {
    move |value| {
        let DeValue::Integer(number) = value else {
            return Err(wrong_type(value, "a whole number, without quotes"));
        };
        i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| limit.fault(number.to_string()))
    }
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Fault> {
    match value {
        DeValue::Boolean(boolean) => Ok(*boolean),
        _ => Err(wrong_type(value, "true or false, without quotes")),
    }
}

pub(super) fn string(value: &DeValue<'_>) -> Result<String, Fault> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        _ => Err(wrong_type(value, "a string in double quotes")),
    }
}

pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, Fault> {
    string(value).map(PathBuf::from)
}

/// A prefix, or an address span.
pub(super) fn address<T: FromStr<Err = AddressError>>(value: &DeValue<'_>) -> Result<T, Fault> {
    string(value)?.parse().map_err(Fault::Address)
}

pub(super) fn socket_address(value: &DeValue<'_>) -> Result<std::net::SocketAddr, Fault> {
    let text = string(value)?;
    text.parse().map_err(|_| Fault::SocketAddress { text })
}

pub(super) fn host(value: &DeValue<'_>) -> Result<std::net::Ipv4Addr, Fault> {
    let text = string(value)?;
    text.parse().map_err(|_| Fault::Host { text })
}

/// Of either family.
pub(super) fn any_host(value: &DeValue<'_>) -> Result<std::net::IpAddr, Fault> {
    let text = string(value)?;
    text.parse().map_err(|_| Fault::AnyHost { text })
}

pub(super) fn attribute(value: &DeValue<'_>) -> Result<Attribute, Fault> {
    let text = string(value)?;
    Attribute::named(&text).ok_or(Fault::UnknownChoice {
        text,
        choices: "\"User-Name\", \"Calling-Station-Id\", \"Chargeable-User-Identity\", \"NAS-Port-Id\", \"3GPP-IMSI\" or \"ADSL-Agent-Circuit-Id\"",
    })
}

pub(super) fn xdp_mode(value: &DeValue<'_>) -> Result<XdpMode, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "auto" => Ok(XdpMode::Auto),
        "native" => Ok(XdpMode::Native),
        "generic" => Ok(XdpMode::Generic),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"auto\", \"native\" or \"generic\"",
        }),
    }
}

pub(super) fn pool_mode(value: &DeValue<'_>) -> Result<PoolMode, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "dynamic" => Ok(PoolMode::Dynamic),
        "deterministic" => Ok(PoolMode::Deterministic),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"dynamic\" or \"deterministic\"",
        }),
    }
}

pub(super) fn port_mode(value: &DeValue<'_>) -> Result<PortMode, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "contiguous" => Ok(PortMode::Contiguous),
        "scattered" => Ok(PortMode::Scattered),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"contiguous\" or \"scattered\"",
        }),
    }
}

pub(super) fn filtering(value: &DeValue<'_>) -> Result<Filtering, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "endpoint-independent" => Ok(Filtering::EndpointIndependent),
        "address-dependent" => Ok(Filtering::AddressDependent),
        "address-and-port-dependent" => Ok(Filtering::AddressAndPortDependent),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"endpoint-independent\", \"address-dependent\" or \"address-and-port-dependent\"",
        }),
    }
}

pub(super) fn exhausted(value: &DeValue<'_>) -> Result<Exhausted, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "none" => Ok(Exhausted::None),
        "host-unreachable" => Ok(Exhausted::HostUnreachable),
        "prohibited" => Ok(Exhausted::Prohibited),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"none\", \"host-unreachable\" or \"prohibited\"",
        }),
    }
}

pub(super) fn midstream(value: &DeValue<'_>) -> Result<Midstream, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "translate" => Ok(Midstream::Translate),
        "drop" => Ok(Midstream::Drop),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"translate\" or \"drop\"",
        }),
    }
}

pub(super) fn log_mode(value: &DeValue<'_>) -> Result<LogMode, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "none" => Ok(LogMode::None),
        "block" => Ok(LogMode::Block),
        "interim" => Ok(LogMode::Interim),
        "session" => Ok(LogMode::Session),
        "session_with_destination" => Ok(LogMode::SessionWithDestination),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"none\", \"block\", \"interim\", \"session\" or \"session_with_destination\"",
        }),
    }
}

pub(super) fn log_sync(value: &DeValue<'_>) -> Result<LogSync, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "full" => Ok(LogSync::Full),
        "relaxed" => Ok(LogSync::Relaxed),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"full\" or \"relaxed\"",
        }),
    }
}

pub(super) fn on_full(value: &DeValue<'_>) -> Result<OnFull, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "refuse" => Ok(OnFull::Refuse),
        "continue" => Ok(OnFull::Continue),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"refuse\" or \"continue\"",
        }),
    }
}

pub(super) fn sink_format(value: &DeValue<'_>) -> Result<SinkFormat, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "ipfix" => Ok(SinkFormat::Ipfix),
        "netflow9" => Ok(SinkFormat::Netflow9),
        "syslog" => Ok(SinkFormat::Syslog),
        "jsonl" => Ok(SinkFormat::Jsonl),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"ipfix\", \"netflow9\", \"syslog\" or \"jsonl\"",
        }),
    }
}

pub(super) fn sink_sasl(value: &DeValue<'_>) -> Result<SinkSasl, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "plain" => Ok(SinkSasl::Plain),
        "scram-sha-256" => Ok(SinkSasl::ScramSha256),
        "scram-sha-512" => Ok(SinkSasl::ScramSha512),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"scram-sha-256\", \"scram-sha-512\" or \"plain\"",
        }),
    }
}

pub(super) fn sink_transport(value: &DeValue<'_>) -> Result<SinkTransport, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "udp" => Ok(SinkTransport::Udp),
        "tcp" => Ok(SinkTransport::Tcp),
        "tls" => Ok(SinkTransport::Tls),
        "kafka" => Ok(SinkTransport::Kafka),
        "kafka_tls" => Ok(SinkTransport::KafkaTls),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"udp\", \"tcp\", \"tls\", \"kafka\" or \"kafka_tls\"",
        }),
    }
}

pub(super) fn wrong_type(value: &DeValue<'_>, wanted: &'static str) -> Fault {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    };
    Fault::WrongType { found, wanted }
}
