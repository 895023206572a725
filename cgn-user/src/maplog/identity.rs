//! Who a subscriber is, where the operator wants that on record (`[identity]`): a name that RADIUS
//! accounting gives an inside address, from a login to a logout.
//!
//! A name is longer than a record. Records with its bytes ([`Piece`]) come first, and then the login
//! that they belong to, all in one group.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{Entry, Event};

/// A subscriber: number of the realm in this log, and inside address.
pub type Who = (u16, Ipv4Addr);

/// Longest name in bytes: the value of an attribute (RFC 2865 section 5).
pub const NAME_BYTES: usize = 253;
/// Bytes of a name in one record.
pub const PIECE_BYTES: usize = 18;

/// Which attribute of RADIUS a name is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Attribute {
    #[serde(rename = "User-Name")]
    UserName = 1,
    #[serde(rename = "Calling-Station-Id")]
    CallingStationId = 2,
    #[serde(rename = "Chargeable-User-Identity")]
    ChargeableUserIdentity = 3,
    #[serde(rename = "NAS-Port-Id")]
    NasPortId = 4,
    #[serde(rename = "3GPP-IMSI")]
    Imsi = 5,
    #[serde(rename = "ADSL-Agent-Circuit-Id")]
    AgentCircuitId = 6,
}

impl Attribute {
    /// Each with its name in FreeRADIUS's dictionaries; the place is its number in records, less one.
    const NAMES: [(Self, &'static str); 6] = [
        (Self::UserName, "User-Name"),
        (Self::CallingStationId, "Calling-Station-Id"),
        (Self::ChargeableUserIdentity, "Chargeable-User-Identity"),
        (Self::NasPortId, "NAS-Port-Id"),
        (Self::Imsi, "3GPP-IMSI"),
        (Self::AgentCircuitId, "ADSL-Agent-Circuit-Id"),
    ];

    /// Its name in configuration, files and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize - 1].1
    }

    /// The attribute of this name; None if it makes no identity.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::NAMES.iter();
        all.find(|(_, known)| *known == name).map(|(one, _)| *one)
    }

    /// The attribute with this number in records.
    pub(super) fn numbered(number: u8) -> Option<Self> {
        let at = usize::from(number).checked_sub(1)?;
        Self::NAMES.get(at).map(|(one, _)| *one)
    }
}

/// A subscriber's stay at an access server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Login {
    pub inside: Ipv4Addr,
    /// Number of the subscriber's realm in this log, see [`super::realms`]; 0: the first.
    #[serde(skip)]
    pub realm: u16,
    /// Seconds before its record that it began or ended: the record was written when that was told.
    pub early_secs: u16,
    /// Digests of the access server that told it, and of its session there.
    #[serde(skip)]
    pub nas: u32,
    #[serde(skip)]
    pub session: u32,
}

impl Login {
    #[must_use]
    pub const fn who(&self) -> Who {
        (self.realm, self.inside)
    }

    /// When it began or ended, with a record of this time, in milliseconds of Unix time.
    #[must_use]
    pub fn happened_ms(&self, unix_ms: u64) -> u64 {
        unix_ms.saturating_sub(u64::from(self.early_secs) * 1000)
    }
}

/// Bytes of a name; zeros fill the last piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Piece {
    pub bytes: [u8; PIECE_BYTES],
}

/// The records of a login with this name, of which no more than [`NAME_BYTES`] count.
pub fn login(login: Login, attribute: Attribute, name: &[u8]) -> Vec<Event> {
    let name = &name[..name.len().min(NAME_BYTES)];
    let pieces = name.chunks(PIECE_BYTES).map(|chunk| {
        let mut bytes = [0; PIECE_BYTES];
        bytes[..chunk.len()].copy_from_slice(chunk);
        Event::Name(Piece { bytes })
    });
    let last = Event::Login {
        login,
        attribute,
        name_bytes: name.len() as u8,
    };
    pieces.chain([last]).collect()
}

/// How a name is told: as it is if it is text, else in hexadecimal digits.
#[must_use]
pub fn shown(name: &[u8]) -> Arc<str> {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => {
            let digits: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("0x{digits}").into()
        }
    }
}

/// A subscriber's name, since a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub login: Login,
    pub attribute: Attribute,
    pub name: Arc<str>,
    /// Milliseconds of Unix time.
    pub since_ms: u64,
}

/// What a record changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The subscriber has this name; records of it with the number of them.
    Begun { named: Named, records: u8 },
    /// It has none any more.
    Ended(Login),
}

/// All names, as of the last record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    /// Bytes of the name that is being read.
    pieces: Vec<u8>,
    names: HashMap<Who, Named>,
}

impl Book {
    /// The subscriber's name.
    #[must_use]
    pub fn of(&self, who: Who) -> Option<&Named> {
        self.names.get(&who)
    }

    pub fn all(&self) -> impl Iterator<Item = &Named> {
        self.names.values()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Puts a name in, over the one before; None takes it out. Returns the one before.
    pub fn set(&mut self, who: Who, named: Option<Named>) -> Option<Named> {
        match named {
            Some(named) => self.names.insert(who, named),
            None => self.names.remove(&who),
        }
    }

    /// Takes the next record into account.
    pub fn follow(&mut self, entry: &Entry) -> Option<Change> {
        let change = match entry.event {
            Event::Name(piece) => {
                self.pieces.extend_from_slice(&piece.bytes);
                return None;
            }
            Event::Login {
                login,
                attribute,
                name_bytes,
            } => {
                let named = Named {
                    login,
                    attribute,
                    name: self.name(name_bytes.into()),
                    since_ms: login.happened_ms(entry.unix_ms),
                };
                self.names.insert(login.who(), named.clone());
                let records = usize::from(name_bytes).div_ceil(PIECE_BYTES) as u8 + 1;
                Some(Change::Begun { named, records })
            }
            Event::Logout(login) => {
                self.names.remove(&login.who());
                Some(Change::Ended(login))
            }
            _ => None,
        };
        self.pieces.clear();
        change
    }

    /// The name of so many bytes that was read last. Who begins to read in its middle has none.
    fn name(&self, bytes: usize) -> Arc<str> {
        let whole = bytes.div_ceil(PIECE_BYTES) * PIECE_BYTES;
        let first = self.pieces.len().checked_sub(whole);
        first.map_or("?".into(), |first| {
            shown(&self.pieces[first..first + bytes])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAY: Login = Login {
        inside: Ipv4Addr::new(100, 64, 0, 9),
        realm: 3,
        early_secs: 7,
        nas: 1,
        session: 2,
    };

    fn follow(book: &mut Book, events: Vec<Event>) -> Vec<Change> {
        let entries = events.into_iter().map(|event| Entry {
            unix_ms: 100_000,
            event,
        });
        let changes = entries.filter_map(|entry| book.follow(&entry));
        changes.collect()
    }

    #[test]
    fn names_of_any_length_come_back_whole() {
        for (bytes, records) in [(1, 2), (18, 2), (19, 3), (36, 3), (253, 16), (300, 16)] {
            let name: Vec<u8> = (0..bytes).map(|at| b'a' + (at % 26) as u8).collect();
            let kept = std::str::from_utf8(&name[..bytes.min(NAME_BYTES)]).unwrap();
            let mut book = Book::default();
            let events = login(STAY, Attribute::UserName, &name);
            assert_eq!(events.len(), records, "{bytes} bytes");
            let named = Named {
                login: STAY,
                attribute: Attribute::UserName,
                name: kept.into(),
                since_ms: 93_000,
            };
            let expected = Change::Begun {
                named: named.clone(),
                records: records as u8,
            };
            assert_eq!(follow(&mut book, events), [expected], "{bytes} bytes");
            assert_eq!(book.of(STAY.who()), Some(&named));
            let ended = follow(&mut book, vec![Event::Logout(STAY)]);
            assert_eq!(ended, [Change::Ended(STAY)]);
            assert!(book.is_empty());
        }
    }

    #[test]
    fn what_is_no_text_is_told_in_digits() {
        let cases: [(&[u8], &str); 5] = [
            (b"alice@example.net", "alice@example.net"),
            ("Z\u{fc}rich".as_bytes(), "Z\u{fc}rich"),
            (b"a\nb", "0x610a62"),
            (&[0xff, 0x00], "0xff00"),
            (b"", ""),
        ];
        for (bytes, text) in cases {
            assert_eq!(&*shown(bytes), text);
        }
    }

    #[test]
    fn who_begins_to_read_in_the_middle_of_a_name_says_that_it_has_none() {
        let mut events = login(STAY, Attribute::UserName, &[b'x'; 60]);
        events.remove(0);
        let mut book = Book::default();
        follow(&mut book, events);
        assert_eq!(&*book.of(STAY.who()).unwrap().name, "?");
    }

    #[test]
    fn attributes_have_their_number_for_ever() {
        for (number, (attribute, name)) in (1..).zip(Attribute::NAMES) {
            assert_eq!(attribute as u8, number);
            assert_eq!(Attribute::numbered(number), Some(attribute));
            assert_eq!(Attribute::named(name), Some(attribute));
            assert_eq!(serde_json::to_value(attribute).unwrap(), name);
        }
        assert_eq!(Attribute::numbered(0), None);
        assert_eq!(Attribute::numbered(7), None);
    }
}
