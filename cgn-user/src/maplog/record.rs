//! The bytes of the mapping log, version 2. This file is the only place that knows them.
//!
//! A file is one header and then records, each 40 bytes, so record n (from 0)
//! is at byte 40 * (n + 1). All numbers are little endian; addresses are
//! numbers too (192.0.2.1 = 0xc0000201 = bytes 01 02 00 c0). A field that a kind
//! does not use is 0, and is checked to be. The checksum is CRC-32 (IEEE 802.3,
//! as in zlib) over the 36 bytes before it.
//!
//! ```text
//! header                              record
//! byte  size                          byte  size
//!    0     7  "CGNMLOG"                  0     2  length of the record, 40
//!    7     1  version, 2                 2     1  version, 2
//!    8     8  created, Unix ms           3     1  kind: 1 allocate 2 release 3 start 4 stop
//!   16     8  sequence number of                  5 gap 6 resume; + 64 first of its group, + 128 last
//!             the first record           4     8  sequence number, one more than the last
//!   24     2  length of a record, 40    12     8  time, Unix ms
//!   26    10  0                         20     4  inside address
//!   36     4  checksum                  24     4  external address
//!                                       28     2  first port
//!                                       30     2  port count
//!                                       32     2  pool number
//!                                       34     1  0: ports of all protocols; else the number of the
//!                                                 key of a scattered block, or 255, ports of both
//!                                                 classes (docs/log.md): places of all protocols
//!                                       35     1  reason of a release: 1 idle 2 shutdown
//!                                                 3 orphan 4 reconfigured 5 administrative
//!                                       36     4  checksum
//! ```
//!
//! Kinds 7 and 8 are allocate and release of a block of another realm than the first. They have a
//! time of 6 bytes, and at byte 18 the number of the realm (2 bytes, see `realms`).
//!
//! Kinds 9 to 11 are names of subscribers (`[identity]`): 9 a login, 10 a logout, 11 bytes of the
//! name that the next login has. They differ from byte 12 on:
//!
//! ```text
//! login, logout                       bytes of a name
//! byte  size                          byte  size
//!   12     6  time, Unix ms             12     6  time, Unix ms
//!   18     2  number of the realm       18    18  the bytes, zeros after the last
//!   20     4  inside address
//!   24     2  seconds before that time that it happened
//!   26     1  number of the attribute, of a login
//!   27     1  bytes of the name, of a login
//!   28     4  digest of the access server
//!   32     4  digest of its session
//! ```
//!
//! Kinds 32 to 43 are mappings and sessions (`log.mode`): 32 + 6 with a remote endpoint + 3 of an
//! end + 0 TCP, 1 UDP, 2 ICMP. They differ from byte 12 on:
//!
//! ```text
//! byte  size
//!   12     6  time, Unix ms
//!   18     2  remote port
//!   20     4  inside address
//!   24     4  external address
//!   28     2  external port
//!   30     2  inside port
//!   32     4  remote address
//! ```
//!
//! Kinds 44 to 55 are the same, 12 added, of a subscriber of another realm than the first. Their
//! sequence number has 6 bytes, which is as long as one gets, and at byte 10 is the number of the realm (2 bytes).
//!
//! A group is what was appended at once. It counts only as a whole, and the next one was not
//! begun before it was on the disk.
//!
//! Code numbers are never used again with another meaning.

use thiserror::Error;

use super::event::{Block, Entry, Event, PortRange, ProtocolScope, Record, ReleaseReason};
use super::identity::{Attribute, Login, Piece};
use super::session::{Protocol, Remote, Session};

/// First bytes of every mapping log.
pub(super) const MAGIC: [u8; 7] = *b"CGNMLOG";
/// Version of header and records.
pub const VERSION: u8 = 2;
/// Bytes of the file header.
pub const HEADER_BYTES: usize = 40;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 40;
/// How a record begins: its length and version.
pub(super) const RECORD_PREFIX: [u8; 3] = [RECORD_BYTES as u8, 0, VERSION];

mod header_field {
    pub const VERSION: usize = 7;
    pub const CREATED: usize = 8;
    pub const FIRST_SEQUENCE: usize = 16;
    pub const RECORD_LENGTH: usize = 24;
    pub const CHECKSUM: usize = 36;
}

mod field {
    pub const LENGTH: usize = 0;
    pub const VERSION: usize = 2;
    pub const KIND: usize = 3;
    pub const SEQUENCE: usize = 4;
    /// Of a mapping or session, in the place of the sequence number's two highest bytes, which are 0.
    pub const SESSION_REALM: usize = 10;
    pub const UNIX_MS: usize = 12;
    /// In the place of the time's two highest bytes, which are 0 until the year 10889.
    pub const REMOTE_PORT: usize = 18;
    pub const REALM: usize = REMOTE_PORT;
    pub const PIECE: usize = 18;
    pub const INSIDE: usize = 20;
    pub const EARLY_SECS: usize = 24;
    pub const ATTRIBUTE: usize = 26;
    pub const NAME_BYTES: usize = 27;
    pub const NAS: usize = 28;
    pub const NAS_SESSION: usize = 32;
    pub const EXTERNAL: usize = 24;
    pub const FIRST_PORT: usize = 28;
    pub const PORT_COUNT: usize = 30;
    pub const EXTERNAL_PORT: usize = FIRST_PORT;
    pub const INSIDE_PORT: usize = PORT_COUNT;
    pub const POOL: usize = 32;
    pub const REMOTE: usize = 32;
    pub const SCOPE: usize = 34;
    pub const REASON: usize = 35;
    pub const CHECKSUM: usize = 36;
}

mod kind {
    pub const ALLOCATE: u8 = 1;
    pub const RELEASE: u8 = 2;
    pub const START: u8 = 3;
    pub const STOP: u8 = 4;
    pub const GAP: u8 = 5;
    pub const RESUME: u8 = 6;
    /// Of a block in another realm than the first.
    pub const ALLOCATE_IN_REALM: u8 = 7;
    pub const RELEASE_IN_REALM: u8 = 8;
    pub const LOGIN: u8 = 9;
    pub const LOGOUT: u8 = 10;
    pub const NAME: u8 = 11;
    /// The first and the last of mappings and sessions, and what is added.
    pub const SESSION: u8 = 32;
    pub const SESSION_IN_REALM: u8 = SESSION + IN_REALM;
    pub const LAST_SESSION: u8 = 55;
    pub const CLOSED: u8 = 3;
    pub const WITH_REMOTE: u8 = 6;
    pub const IN_REALM: u8 = 12;

    /// Marks beside the kind.
    pub const FIRST: u8 = 0x40;
    pub const LAST: u8 = 0x80;
}

/// Where a record stands in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub is_first: bool,
    pub is_last: bool,
}

impl Place {
    /// Of a record that is a group of its own.
    pub(super) const ALONE: Self = Self {
        is_first: true,
        is_last: true,
    };

    /// As the bytes of a whole record say, even if of an unknown kind.
    pub(super) const fn of(bytes: &[u8; RECORD_BYTES]) -> Self {
        Self {
            is_first: bytes[field::KIND] & kind::FIRST != 0,
            is_last: bytes[field::KIND] & kind::LAST != 0,
        }
    }

    const fn bits(self) -> u8 {
        let first = if self.is_first { kind::FIRST } else { 0 };
        let last = if self.is_last { kind::LAST } else { 0 };
        first | last
    }
}

/// What the header of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When the file was created, milliseconds of Unix time.
    pub created_unix_ms: u64,
    /// Sequence number of the file's first record, 1 to 2^47.
    pub first_sequence: u64,
}

/// Bytes that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are damaged or were never all written. All other errors are of
    /// bytes that are as they were written.
    #[error("checksum is {stored:08x}, the bytes give {computed:08x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("record length is {found}, not 40: a newer program wrote it")]
    Length { found: u16 },
    #[error("record version is {found}, not 2: another version of this program wrote it")]
    Version { found: u8 },
    #[error("record kind {found} is unknown: a newer program wrote it")]
    Kind { found: u8 },
    #[error("release reason {found} is unknown: a newer program wrote it")]
    Reason { found: u8 },
    #[error("attribute {found} is unknown: a newer program wrote it")]
    Attribute { found: u8 },
    #[error("{count} ports from {first} on are no range of ports")]
    Ports { first: u16, count: u16 },
    #[error("a field that this kind does not use is not 0")]
    Unused,
}

/// Why 40 bytes are no header of a mapping log that this program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    Magic,
    Version { found: u8 },
    Damaged,
}

/// Byte of each reason.
const REASONS: [(u8, ReleaseReason); 5] = [
    (1, ReleaseReason::Idle),
    (2, ReleaseReason::Shutdown),
    (3, ReleaseReason::Orphan),
    (4, ReleaseReason::Reconfigured),
    (5, ReleaseReason::Administrative),
];

const fn reason_code(reason: ReleaseReason) -> u8 {
    match reason {
        ReleaseReason::Idle => 1,
        ReleaseReason::Shutdown => 2,
        ReleaseReason::Orphan => 3,
        ReleaseReason::Reconfigured => 4,
        ReleaseReason::Administrative => 5,
    }
}

fn reason_of(found: u8) -> Result<ReleaseReason, DecodeError> {
    let known = REASONS.iter().find(|&&(code, _)| code == found);
    known.map_or(Err(DecodeError::Reason { found }), |&(_, reason)| {
        Ok(reason)
    })
}

fn attribute_of(found: u8) -> Result<Attribute, DecodeError> {
    Attribute::numbered(found).ok_or(DecodeError::Attribute { found })
}

fn put<const N: usize>(bytes: &mut [u8; 40], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn get<const N: usize>(bytes: &[u8; 40], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn u16_at(bytes: &[u8; 40], at: usize) -> u16 {
    u16::from_le_bytes(get(bytes, at))
}

fn u32_at(bytes: &[u8; 40], at: usize) -> u32 {
    u32::from_le_bytes(get(bytes, at))
}

fn u64_at(bytes: &[u8; 40], at: usize) -> u64 {
    u64::from_le_bytes(get(bytes, at))
}

impl Header {
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, 0, MAGIC);
        bytes[header_field::VERSION] = VERSION;
        put(
            &mut bytes,
            header_field::CREATED,
            self.created_unix_ms.to_le_bytes(),
        );
        put(
            &mut bytes,
            header_field::FIRST_SEQUENCE,
            self.first_sequence.to_le_bytes(),
        );
        put(
            &mut bytes,
            header_field::RECORD_LENGTH,
            (RECORD_BYTES as u16).to_le_bytes(),
        );
        let checksum = crc32fast::hash(&bytes[..header_field::CHECKSUM]);
        put(&mut bytes, header_field::CHECKSUM, checksum.to_le_bytes());
        bytes
    }

    /// Magic and version are looked at first: another version's checksum may be elsewhere.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        if get(bytes, 0) != MAGIC {
            return Err(HeaderError::Magic);
        }
        let found = bytes[header_field::VERSION];
        if found != VERSION {
            return Err(HeaderError::Version { found });
        }
        let header = Self {
            created_unix_ms: u64_at(bytes, header_field::CREATED),
            first_sequence: u64_at(bytes, header_field::FIRST_SEQUENCE),
        };
        // The bound leaves room for 2^47 records more, so that no number has more than 48 bits.
        let is_in_range = (1..=LAST_SEQUENCE / 2 + 1).contains(&header.first_sequence);
        if is_in_range && header.encode() == *bytes {
            Ok(header)
        } else {
            Err(HeaderError::Damaged)
        }
    }
}

impl Record {
    /// The bytes of a record that is a group of its own.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        self.encode_at(Place::ALONE)
    }

    pub(super) fn encode_at(&self, place: Place) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        put(
            &mut bytes,
            field::LENGTH,
            (RECORD_BYTES as u16).to_le_bytes(),
        );
        bytes[field::VERSION] = VERSION;
        put(&mut bytes, field::SEQUENCE, self.sequence.to_le_bytes());
        put(&mut bytes, field::UNIX_MS, self.entry.unix_ms.to_le_bytes());
        let kind = match &self.entry.event {
            Event::Start => kind::START,
            Event::Stop => kind::STOP,
            Event::Gap => kind::GAP,
            Event::Resume => kind::RESUME,
            Event::Allocate(block) => {
                block.encode(&mut bytes);
                match block.realm {
                    0 => kind::ALLOCATE,
                    _ => kind::ALLOCATE_IN_REALM,
                }
            }
            Event::Release { block, reason } => {
                block.encode(&mut bytes);
                bytes[field::REASON] = reason_code(*reason);
                match block.realm {
                    0 => kind::RELEASE,
                    _ => kind::RELEASE_IN_REALM,
                }
            }
            Event::Open(session) => session.encode(&mut bytes),
            Event::Close(session) => session.encode(&mut bytes) + kind::CLOSED,
            Event::Name(piece) => {
                put(&mut bytes, field::PIECE, piece.bytes);
                kind::NAME
            }
            Event::Login {
                login,
                attribute,
                name_bytes,
            } => {
                login.encode(&mut bytes);
                bytes[field::ATTRIBUTE] = *attribute as u8;
                bytes[field::NAME_BYTES] = *name_bytes;
                kind::LOGIN
            }
            Event::Logout(login) => {
                login.encode(&mut bytes);
                kind::LOGOUT
            }
        };
        bytes[field::KIND] = kind | place.bits();
        let checksum = crc32fast::hash(&bytes[..field::CHECKSUM]);
        put(&mut bytes, field::CHECKSUM, checksum.to_le_bytes());
        bytes
    }

    /// # Errors
    /// [`DecodeError::Checksum`] if the bytes are damaged; another one if they
    /// are whole but say what this version does not know.
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Result<Self, DecodeError> {
        let stored = u32_at(bytes, field::CHECKSUM);
        let computed = crc32fast::hash(&bytes[..field::CHECKSUM]);
        if stored != computed {
            return Err(DecodeError::Checksum { stored, computed });
        }
        let length = u16_at(bytes, field::LENGTH);
        if usize::from(length) != RECORD_BYTES {
            return Err(DecodeError::Length { found: length });
        }
        if bytes[field::VERSION] != VERSION {
            return Err(DecodeError::Version {
                found: bytes[field::VERSION],
            });
        }
        let found = bytes[field::KIND] & !(kind::FIRST | kind::LAST);
        let event = match found {
            kind::START => Event::Start,
            kind::STOP => Event::Stop,
            kind::GAP => Event::Gap,
            kind::RESUME => Event::Resume,
            kind::ALLOCATE | kind::ALLOCATE_IN_REALM => {
                Event::Allocate(Block::decode(bytes, found)?)
            }
            kind::RELEASE | kind::RELEASE_IN_REALM => Event::Release {
                block: Block::decode(bytes, found)?,
                reason: reason_of(bytes[field::REASON])?,
            },
            kind::SESSION..=kind::LAST_SESSION => Session::decode(bytes, found),
            kind::NAME => Event::Name(Piece {
                bytes: get(bytes, field::PIECE),
            }),
            kind::LOGIN => Event::Login {
                login: Login::decode(bytes),
                attribute: attribute_of(bytes[field::ATTRIBUTE])?,
                name_bytes: bytes[field::NAME_BYTES],
            },
            kind::LOGOUT => Event::Logout(Login::decode(bytes)),
            _ => return Err(DecodeError::Kind { found }),
        };
        let record = Self {
            sequence: match found {
                kind::SESSION_IN_REALM..=kind::LAST_SESSION => {
                    u64_at(bytes, field::SEQUENCE) & LAST_SEQUENCE
                }
                _ => u64_at(bytes, field::SEQUENCE),
            },
            entry: Entry {
                unix_ms: match found {
                    kind::ALLOCATE_IN_REALM
                    | kind::RELEASE_IN_REALM
                    | kind::LOGIN
                    | kind::LOGOUT
                    | kind::NAME
                    | kind::SESSION..=kind::LAST_SESSION => u64_at(bytes, field::UNIX_MS) & MOST_MS,
                    _ => u64_at(bytes, field::UNIX_MS),
                },
                event,
            },
        };
        // One record has one form: what was not read must be 0.
        if record.encode_at(Place::of(bytes)) == *bytes {
            Ok(record)
        } else {
            Err(DecodeError::Unused)
        }
    }
}

/// Latest time, milliseconds of Unix time, of a record that has something else in its highest bytes.
pub(super) const MOST_MS: u64 = (1 << 48) - 1;

/// The same of a sequence number: a log of a million records a second comes there after nine years.
pub(super) const LAST_SEQUENCE: u64 = (1 << 48) - 1;

impl Session {
    /// Writes all but the kind of an end, over the highest bytes of time and number; returns the
    /// kind of a beginning.
    fn encode(&self, bytes: &mut [u8; RECORD_BYTES]) -> u8 {
        let address = |address: std::net::Ipv4Addr| address.to_bits().to_le_bytes();
        put(bytes, field::INSIDE, address(self.inside));
        put(bytes, field::EXTERNAL, address(self.external));
        put(
            bytes,
            field::EXTERNAL_PORT,
            self.external_port.to_le_bytes(),
        );
        put(bytes, field::INSIDE_PORT, self.inside_port.to_le_bytes());
        let port = self.remote.map_or(0, |remote| remote.port);
        put(bytes, field::REMOTE_PORT, port.to_le_bytes());
        let with_remote = match self.remote {
            Some(remote) => {
                put(bytes, field::REMOTE, address(remote.address));
                kind::WITH_REMOTE
            }
            None => 0,
        };
        let in_realm = match self.realm {
            0 => 0,
            realm => {
                put(bytes, field::SESSION_REALM, realm.to_le_bytes());
                kind::IN_REALM
            }
        };
        kind::SESSION + in_realm + with_remote + self.protocol as u8
    }

    /// Of a kind from [`kind::SESSION`] to [`kind::LAST_SESSION`].
    fn decode(bytes: &[u8; RECORD_BYTES], kind: u8) -> Event {
        let (what, realm) = match kind {
            kind::SESSION_IN_REALM.. => (
                kind - kind::SESSION_IN_REALM,
                u16_at(bytes, field::SESSION_REALM),
            ),
            _ => (kind - kind::SESSION, 0),
        };
        let session = Self {
            external: u32_at(bytes, field::EXTERNAL).into(),
            external_port: u16_at(bytes, field::EXTERNAL_PORT),
            protocol: Protocol::ALL[usize::from(what % kind::CLOSED)],
            realm,
            inside: u32_at(bytes, field::INSIDE).into(),
            inside_port: u16_at(bytes, field::INSIDE_PORT),
            remote: (what >= kind::WITH_REMOTE).then(|| Remote {
                address: u32_at(bytes, field::REMOTE).into(),
                port: u16_at(bytes, field::REMOTE_PORT),
            }),
        };
        match what % kind::WITH_REMOTE < kind::CLOSED {
            true => Event::Open(session),
            false => Event::Close(session),
        }
    }
}

impl Login {
    fn encode(&self, bytes: &mut [u8; RECORD_BYTES]) {
        put(bytes, field::REALM, self.realm.to_le_bytes());
        put(bytes, field::INSIDE, self.inside.to_bits().to_le_bytes());
        put(bytes, field::EARLY_SECS, self.early_secs.to_le_bytes());
        put(bytes, field::NAS, self.nas.to_le_bytes());
        put(bytes, field::NAS_SESSION, self.session.to_le_bytes());
    }

    fn decode(bytes: &[u8; RECORD_BYTES]) -> Self {
        Self {
            inside: u32_at(bytes, field::INSIDE).into(),
            realm: u16_at(bytes, field::REALM),
            early_secs: u16_at(bytes, field::EARLY_SECS),
            nas: u32_at(bytes, field::NAS),
            session: u32_at(bytes, field::NAS_SESSION),
        }
    }
}

impl Block {
    fn encode(&self, bytes: &mut [u8; RECORD_BYTES]) {
        if self.realm != 0 {
            put(bytes, field::REALM, self.realm.to_le_bytes());
        }
        put(bytes, field::INSIDE, self.inside.to_bits().to_le_bytes());
        put(
            bytes,
            field::EXTERNAL,
            self.external.to_bits().to_le_bytes(),
        );
        put(bytes, field::FIRST_PORT, self.ports.first().to_le_bytes());
        put(bytes, field::PORT_COUNT, self.ports.count().to_le_bytes());
        put(bytes, field::POOL, self.pool.to_le_bytes());
        bytes[field::SCOPE] = match self.scope {
            ProtocolScope::All => self.key,
        };
    }

    fn decode(bytes: &[u8; RECORD_BYTES], kind: u8) -> Result<Self, DecodeError> {
        let first = u16_at(bytes, field::FIRST_PORT);
        let count = u16_at(bytes, field::PORT_COUNT);
        Ok(Self {
            inside: u32_at(bytes, field::INSIDE).into(),
            realm: match kind {
                kind::ALLOCATE_IN_REALM | kind::RELEASE_IN_REALM => u16_at(bytes, field::REALM),
                _ => 0,
            },
            external: u32_at(bytes, field::EXTERNAL).into(),
            ports: PortRange::new(first, count).ok_or(DecodeError::Ports { first, count })?,
            pool: u16_at(bytes, field::POOL),
            scope: ProtocolScope::All,
            key: bytes[field::SCOPE],
        })
    }
}
