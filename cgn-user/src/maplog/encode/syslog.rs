//! Syslog (RFC 5424): one message per record, everything in structured data.
//!
//! ```text
//! <134>1 2026-03-03T14:03:07.123Z edge1 cgn - allocate [cgn@32473 sequence="7" inside="100.64.0.1"
//!     external="203.0.113.5" first_port="1024" last_port="1535" pool="0"]
//! ```
//!
//! What is about a subscriber of another realm than the first has `realm`, its name; `identity` is his own, if the log has it. A scattered block has `first_place`, `last_place` and `key` in place of the ports (see `maplog::scatter`);
//! one with ports below 1024 has `first_system_port` and `last_system_port`, too.
//! MSGID is `allocate`, `release` (with `reason`), `open` or `close` (of a mapping or session: `inside`, `inside_port`,
//! `external`, `external_port`, `protocol`, and `remote`, `remote_port` where destinations are logged), `start`, `stop`, `login` or `logout` (of a name),
//! `gap`, `resume` or `interim` (without `sequence`; the
//! message's time is that of the allocation), or the name of a notice. 32473 is the enterprise number for documentation
//! (RFC 5612): the project has none of its own.

use std::fmt::Write;

use super::Item;
use crate::maplog::event::{Block, Event};
use crate::maplog::notice::What;
use crate::maplog::realms::Register;
use crate::maplog::session::Session;
use crate::utc::Utc;

/// Facility local0 (16), severity informational (6): 16 * 8 + 6.
const PRIORITY: u8 = 134;
/// The same of severity warning (4), for notices.
const WARNING: u8 = 132;
/// Longest HOSTNAME (RFC 5424 section 6).
const HOSTNAME_BYTES: usize = 255;

/// One message, without framing.
#[must_use]
pub fn message(item: &Item, host: &str, realms: &Register, identity: Option<&str>) -> String {
    let (name, sequence, reason) = match item {
        Item::Notice(notice) => (notice.what.name(), None, None),
        Item::Interim { .. } => ("interim", None, None),
        Item::Record(record) => {
            let (name, reason) = match record.entry.event {
                Event::Start => ("start", None),
                Event::Stop => ("stop", None),
                Event::Gap => ("gap", None),
                Event::Resume => ("resume", None),
                Event::Allocate(_) => ("allocate", None),
                Event::Release { reason, .. } => ("release", Some(reason.name())),
                Event::Open(_) => ("open", None),
                Event::Close(_) => ("close", None),
                Event::Name(_) => ("name", None),
                Event::Login { .. } => ("login", None),
                Event::Logout(_) => ("logout", None),
            };
            (name, Some(record.sequence), reason)
        }
    };
    let mut text = format!(
        "<{}>1 {} {} cgn - {name} [cgn@32473",
        match item {
            Item::Notice(_) => WARNING,
            _ => PRIORITY,
        },
        Utc(item.unix_ms()),
        hostname(host)
    );
    // Writing to a String cannot fail.
    if let Some(sequence) = sequence {
        let _ = write!(text, " sequence=\"{sequence}\"");
    }
    if item.realm() != 0 {
        let _ = write!(text, " realm=\"{}\"", realms.name(item.realm()));
    }
    if let Some(identity) = identity {
        let _ = write!(text, " identity=\"{}\"", escaped(identity));
    }
    if let Some(login) = item.login() {
        let _ = write!(
            text,
            " inside=\"{}\" early_secs=\"{}\"",
            login.inside, login.early_secs
        );
    }
    if let Some(block) = item.block() {
        let _ = write!(
            text,
            " inside=\"{}\" external=\"{}\" {} pool=\"{}\"",
            block.inside,
            block.external,
            ports_of(&block),
            block.pool
        );
    }
    if let Some(session) = item.session() {
        put_session(&session, &mut text);
    }
    if let Item::Notice(notice) = item {
        put_notice(&notice.what, &mut text);
    }
    if let Some(reason) = reason {
        let _ = write!(text, " reason=\"{reason}\"");
    }
    text.push(']');
    text
}

fn ports_of(block: &Block) -> String {
    let ranges = block.ranges();
    let (first, last) = (ranges.ports.first(), ranges.ports.last());
    if block.is_scattered() {
        let key = block.key;
        return format!("first_place=\"{first}\" last_place=\"{last}\" key=\"{key}\"");
    }
    let mut text = format!("first_port=\"{first}\" last_port=\"{last}\"");
    if let Some(system) = ranges.system {
        let (first, last) = (system.first(), system.last());
        let _ = write!(
            text,
            " first_system_port=\"{first}\" last_system_port=\"{last}\""
        );
    }
    text
}

fn put_session(session: &Session, text: &mut String) {
    let _ = write!(
        text,
        " inside=\"{}\" inside_port=\"{}\" external=\"{}\" external_port=\"{}\" protocol=\"{}\"",
        session.inside,
        session.inside_port,
        session.external,
        session.external_port,
        session.protocol.name()
    );
    if let Some(remote) = session.remote {
        let (address, port) = (remote.address, remote.port);
        let _ = write!(text, " remote=\"{address}\" remote_port=\"{port}\"");
    }
}

fn put_notice(what: &What, text: &mut String) {
    let _ = match what {
        What::AddressesExhausted { pool } => write!(text, " pool=\"{pool}\""),
        What::PortsExhausted {
            pool,
            external,
            protocol,
        } => write!(
            text,
            " pool=\"{pool}\" external=\"{external}\" protocol=\"{protocol}\""
        ),
        What::MappingsExceeded { pool, most } => {
            write!(text, " pool=\"{pool}\" most=\"{most}\"")
        }
        What::SubscriberExceeded {
            pool, inside, most, ..
        } => {
            write!(text, " pool=\"{pool}\" inside=\"{inside}\" most=\"{most}\"")
        }
        What::PoolHigh { pool, addresses } | What::PoolLow { pool, addresses } => {
            write!(text, " pool=\"{pool}\" addresses=\"{addresses}\"")
        }
        What::OverflowHigh { pool, blocks } | What::OverflowLow { pool, blocks } => {
            write!(text, " pool=\"{pool}\" blocks=\"{blocks}\"")
        }
        What::AttackBegan {
            pool,
            external,
            per_second,
        } => write!(
            text,
            " pool=\"{pool}\" external=\"{external}\" per_second=\"{per_second}\""
        ),
        What::AttackEnded { pool, external } => {
            write!(text, " pool=\"{pool}\" external=\"{external}\"")
        }
        What::PrefixThrottled {
            side,
            prefix,
            length,
            ..
        }
        | What::PrefixReleased {
            side,
            prefix,
            length,
            ..
        } => write!(text, " side=\"{side}\" prefix=\"{prefix}/{length}\""),
        What::OverloadBegan { busy_percent } | What::OverloadEnded { busy_percent } => {
            write!(text, " busy_percent=\"{busy_percent}\"")
        }
    };
}

/// A frame of a stream: its length in bytes, a blank, the message (RFC 6587 section 3.4.1,
/// RFC 5425 section 4.3).
#[must_use]
pub fn framed(message: &str) -> Vec<u8> {
    format!("{} {message}", message.len()).into_bytes()
}

/// A value of a parameter (RFC 5424 section 6.3.3).
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for one in value.chars() {
        if matches!(one, '"' | '\\' | ']') {
            escaped.push('\\');
        }
        escaped.push(one);
    }
    escaped
}

/// Visible ASCII, or the NILVALUE.
fn hostname(host: &str) -> &str {
    let is_visible = host.bytes().all(|byte| byte.is_ascii_graphic());
    match is_visible && (1..=HOSTNAME_BYTES).contains(&host.len()) {
        true => host,
        false => "-",
    }
}
