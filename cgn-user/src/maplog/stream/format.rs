//! Items to messages, as the sink's format and transport want them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::Transport;
use super::scope::{Scope, is_wanted};
use super::{Kinds, Options};
use crate::maplog::encode::{Item, ipfix, jsonl, netflow9, syslog};
use crate::maplog::event::Event;
use crate::maplog::identity::Book;
use crate::maplog::notice::Notice;
use crate::maplog::realms::Register;

/// Most bytes of an IPFIX message over a stream: its length has 16 bits.
const STREAM_MESSAGE_BYTES: usize = 16 * 1024;
/// Datagrams with the templates before the first data: one may be lost (RFC 7011 section 10.3.6).
const FIRST_TEMPLATES: usize = 2;

/// Host, names of realms, the subscriber's own, and whether it goes to a stream.
struct Beside<'a> {
    host: &'a str,
    realms: &'a Register,
    identity: Option<&'a str>,
    is_stream: bool,
}

type Encode = fn(&Item, &Beside<'_>) -> Vec<u8>;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Ipfix,
    Netflow9,
    Syslog,
    JsonLines,
}

/// Bytes to send, and what has arrived when they have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub bytes: Vec<u8>,
    /// Number of the record after the last one in it; None if there is none.
    pub next_sequence: Option<u64>,
}

impl Message {
    /// Nothing of the log has arrived with it.
    fn beside_the_log(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            next_sequence: None,
        }
    }
}

pub(super) struct Encoder {
    format: Format,
    kinds: Kinds,
    scope: Option<Scope>,
    is_stream: bool,
    most_bytes: usize,
    host: String,
    /// Directory of the log, which has the names of realms, and those that were read.
    root: PathBuf,
    realms: Register,
    /// Whether names of subscribers are told; those as of the last record, once it is known.
    tells_names: bool,
    names: Option<Book>,
    domain: u32,
    ipfix: ipfix::Exporter,
    netflow9: netflow9::Exporter,
    template_every: Duration,
    templates_at: Option<Instant>,
    /// The connection is new, and nobody there has the templates.
    is_new: bool,
    started: Instant,
}

impl Encoder {
    pub(super) fn new(root: &Path, options: &Options) -> Self {
        // A topic takes message by message, as datagrams do.
        let is_stream = matches!(options.transport, Transport::Tcp | Transport::Tls { .. });
        Self {
            format: options.format,
            kinds: options.kinds,
            scope: options.scope.clone(),
            is_stream,
            most_bytes: match is_stream {
                true => STREAM_MESSAGE_BYTES,
                false => options.datagram_bytes,
            },
            host: options.host.clone(),
            root: root.to_owned(),
            realms: named(root).unwrap_or_default(),
            tells_names: options.identities,
            names: None,
            domain: options.domain,
            ipfix: ipfix::Exporter::new(options.domain, 0),
            netflow9: netflow9::Exporter::new(options.domain, 0),
            template_every: options.template_every,
            templates_at: None,
            is_new: false,
            started: Instant::now(),
        }
    }

    /// A new connection: templates come first, and a stream counts from 0 again.
    pub(super) fn begin(&mut self, now: Instant) {
        self.templates_at = Some(now);
        self.is_new = true;
        if self.is_stream {
            self.ipfix = ipfix::Exporter::new(self.domain, 0);
        }
    }

    /// The templates, if they are due.
    pub(super) fn templates(&mut self, now: Instant, unix_secs: u32) -> Vec<Message> {
        if self.templates_at.is_none_or(|due| now < due) {
            return Vec::new();
        }
        // Due at `begin`, and then never again on a stream.
        self.templates_at = (!self.is_stream).then(|| now + self.template_every);
        let uptime_ms = self.uptime_ms(now);
        let copies = match std::mem::take(&mut self.is_new) {
            true if !self.is_stream => FIRST_TEMPLATES,
            _ => 1,
        };
        let mut messages = Vec::new();
        for _ in 0..copies {
            let bytes = match self.format {
                Format::Ipfix => self.ipfix.templates(unix_secs),
                Format::Netflow9 => self.netflow9.templates(unix_secs, uptime_ms),
                Format::Syslog | Format::JsonLines => break,
            };
            messages.push(bytes);
            if self.kinds.sessions {
                messages.extend(match self.format {
                    Format::Ipfix => Some(self.ipfix.session_templates(unix_secs)),
                    Format::Netflow9 => Some(self.netflow9.session_templates(unix_secs, uptime_ms)),
                    Format::Syslog | Format::JsonLines => None,
                });
            }
            if self.kinds.notices {
                let most = self.most_bytes;
                messages.extend(match self.format {
                    Format::Ipfix => self.ipfix.notice_templates(unix_secs, most),
                    Format::Netflow9 => self.netflow9.notice_templates(unix_secs, uptime_ms, most),
                    Format::Syslog | Format::JsonLines => Vec::new(),
                });
            }
            if self.tells_names && self.format == Format::Ipfix {
                messages.extend(self.ipfix.name_templates(unix_secs, self.most_bytes));
            }
            // To a sink of some realms the others' names are not told.
            let scope = self.scope.as_ref();
            let is_told = |number| scope.is_none_or(|scope| scope.realms.contains(&number));
            let realms = self.realms.named();
            let realms: Vec<_> = realms.filter(|(number, _)| is_told(*number)).collect();
            if !realms.is_empty() {
                let most = self.most_bytes;
                messages.extend(match self.format {
                    Format::Ipfix => self.ipfix.realms(unix_secs, &realms, most),
                    Format::Netflow9 => self.netflow9.realms(unix_secs, uptime_ms, &realms, most),
                    Format::Syslog | Format::JsonLines => Vec::new(),
                });
            }
        }
        messages.into_iter().map(Message::beside_the_log).collect()
    }

    /// All notices, in as few messages as the format allows.
    pub(super) fn notices(
        &mut self,
        now: Instant,
        unix_secs: u32,
        notices: &[Notice],
    ) -> Vec<Message> {
        let (most, uptime_ms) = (self.most_bytes, self.uptime_ms(now));
        let messages = match self.format {
            Format::Ipfix => self.ipfix.notices(unix_secs, notices, most),
            Format::Netflow9 => self.netflow9.notices(unix_secs, uptime_ms, notices, most),
            Format::Syslog | Format::JsonLines => {
                let items: Vec<Item> = notices.iter().copied().map(Item::Notice).collect();
                return self.messages(now, unix_secs, &items);
            }
        };
        messages.into_iter().map(Message::beside_the_log).collect()
    }

    /// All items that are wanted, in as few messages as the format allows.
    pub(super) fn messages(
        &mut self,
        now: Instant,
        unix_secs: u32,
        items: &[Item],
    ) -> Vec<Message> {
        let (kinds, scope) = (self.kinds, self.scope.as_ref());
        let is_wanted = |item: &&Item| is_wanted(kinds, scope, item);
        let wanted: Vec<Item> = items.iter().filter(is_wanted).copied().collect();
        if wanted.len() == items.len() {
            return self.encoded(now, unix_secs, items);
        }
        let mut messages = self.encoded(now, unix_secs, &wanted);
        // What is not wanted has arrived when all before it has.
        messages.push(Message {
            bytes: Vec::new(),
            next_sequence: items.iter().rev().find_map(next_of),
        });
        messages
    }

    fn encoded(&mut self, now: Instant, unix_secs: u32, items: &[Item]) -> Vec<Message> {
        match self.format {
            Format::Ipfix => {
                let most = self.most_bytes;
                let names = match self.names {
                    Some(_) => items.iter().map(|item| self.follow(item)).collect(),
                    None => Vec::new(),
                };
                let exporter = &mut self.ipfix;
                packed(items, |rest| {
                    let before = items.len() - rest.len();
                    let names = names.get(before..).unwrap_or_default();
                    exporter.message_with(unix_secs, rest, names, most)
                })
            }
            Format::Netflow9 => {
                let (most, uptime_ms) = (self.most_bytes, self.uptime_ms(now));
                let exporter = &mut self.netflow9;
                packed(items, |rest| {
                    exporter.message(unix_secs, uptime_ms, rest, most)
                })
            }
            Format::Syslog => self.each(items, |item, beside| {
                let message = syslog::message(item, beside.host, beside.realms, beside.identity);
                match beside.is_stream {
                    true => syslog::framed(&message),
                    false => message.into_bytes(),
                }
            }),
            Format::JsonLines => self.each(items, |item, beside| {
                jsonl::line(item, beside.realms, beside.identity)
            }),
        }
    }

    fn each(&mut self, items: &[Item], encode: Encode) -> Vec<Message> {
        self.learn_realms(items);
        let mut messages = Vec::with_capacity(items.len());
        for item in items {
            let identity = self.follow(item);
            if is_piece(item) {
                continue;
            }
            let beside = Beside {
                host: &self.host,
                realms: &self.realms,
                identity: identity.as_deref(),
                is_stream: self.is_stream,
            };
            messages.push(Message {
                bytes: encode(item, &beside),
                next_sequence: next_of(item),
            });
        }
        match self.is_stream {
            // A write for each line would be a packet for each line.
            true => joined(messages.into_iter()),
            false => messages,
        }
    }

    /// The name of the item's subscriber at its time; of a logout, the one that ends.
    fn follow(&mut self, item: &Item) -> Option<Arc<str>> {
        let names = self.names.as_mut()?;
        let of = |names: &Book| {
            let named = names.of(item.who()?)?;
            Some(Arc::clone(&named.name))
        };
        let before = of(names);
        if let Item::Record(record) = item {
            names.follow(&record.entry);
        }
        of(names).or(before)
    }

    /// The names as of the record that comes next.
    pub(super) fn set_names(&mut self, names: Book) {
        self.names = Some(names);
    }

    /// Reads the names of realms, if some are missing: each was written before its first record.
    fn learn_realms(&mut self, items: &[Item]) {
        if items.iter().all(|item| self.realms.has(item.realm())) {
            return;
        }
        if let Some(realms) = named(&self.root) {
            self.realms = realms;
        }
    }

    /// Milliseconds since the start, modulo 2^32.
    fn uptime_ms(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.started).as_millis() as u32
    }
}

/// The names that the log's directory has, if they can be read.
fn named(root: &Path) -> Option<Register> {
    match Register::read(root) {
        Ok(realms) => Some(realms),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a sink is sent numbers in place of realms' names"
            );
            None
        }
    }
}

/// Bytes of a name are told with the login that has it.
fn is_piece(item: &Item) -> bool {
    matches!(item, Item::Record(record) if matches!(record.entry.event, Event::Name(_)))
}

fn next_of(item: &Item) -> Option<u64> {
    match item {
        Item::Record(record) => Some(record.sequence + 1),
        Item::Interim { .. } | Item::Notice(_) => None,
    }
}

/// Messages until all items are covered. Items without an event arrive with those before or
/// after them; if there are only such, an empty message says how far they reach.
fn packed(
    items: &[Item],
    mut encode: impl FnMut(&[Item]) -> (Option<Vec<u8>>, usize),
) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut rest = items;
    while !rest.is_empty() {
        let (bytes, covered) = encode(rest);
        let (done, left) = rest.split_at(covered);
        messages.push(Message {
            bytes: bytes.unwrap_or_default(),
            next_sequence: done.last().and_then(next_of),
        });
        rest = left;
    }
    messages
}

fn joined(messages: impl Iterator<Item = Message>) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::new();
    for message in messages {
        match all.last_mut() {
            Some(last) if last.bytes.len() < STREAM_MESSAGE_BYTES => {
                last.bytes.extend_from_slice(&message.bytes);
                last.next_sequence = message.next_sequence;
            }
            _ => all.push(message),
        }
    }
    all
}
