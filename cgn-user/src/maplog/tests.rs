//! The mapping log as a whole, by what is asked of it.

mod codec;
mod damage;
mod faults;
mod files;
mod gap;
mod identities;
mod model;
mod proof;
mod realms;
mod store;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::identity::{Attribute, Login, PIECE_BYTES, Piece, login};
use super::record::{LAST_SEQUENCE, Place};
use super::*;

/// A directory of its own for a test, removed with everything in it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cgn-maplog-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("mapping.log")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const OPTIONS: LogOptions = LogOptions {
    sync: false,
    keep_released_ms: u64::MAX,
    may_lack: false,
};

fn open(path: &Path) -> (LogFile, Recovery) {
    when_unlocked(|| LogFile::open(path, OPTIONS)).unwrap()
}

fn open_log(root: &Path) -> (Log, Recovery) {
    when_unlocked(|| Log::open(root, OPTIONS)).unwrap()
}

/// A program that another test has just started holds copies of our locks until it runs.
fn when_unlocked<T>(mut open: impl FnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    for _ in 0..500 {
        match open() {
            Err(OpenError::Locked { .. }) => std::thread::sleep(Duration::from_millis(10)),
            outcome => return outcome,
        }
    }
    open()
}

fn records(path: &Path) -> Vec<Record> {
    read(path).unwrap().map(Result::unwrap).collect()
}

/// Block `number` of 198.51.100.7.
fn block(number: u16) -> Block {
    Block {
        realm: 0,
        inside: [100, 64, 0, number as u8].into(),
        external: [198, 51, 100, 7].into(),
        ports: PortRange::new(1024 + number * 512, 512).unwrap(),
        pool: 0,
        scope: ProtocolScope::All,
        key: 0,
    }
}

fn allocate(number: u16) -> Entry {
    Entry {
        unix_ms: 1_000 + u64::from(number),
        event: Event::Allocate(block(number)),
    }
}

fn release(number: u16) -> Entry {
    let reason = ReleaseReason::Idle;
    Entry {
        unix_ms: 2_000 + u64::from(number),
        event: Event::Release {
            block: block(number),
            reason,
        },
    }
}

/// What one append of `entries` writes; the first one is record `first_sequence`.
fn group_bytes(first_sequence: u64, entries: &[Entry]) -> Vec<u8> {
    let last = entries.len() - 1;
    let records = entries.iter().enumerate().map(|(number, entry)| {
        let record = Record {
            sequence: first_sequence + number as u64,
            entry: *entry,
        };
        record.encode_at(Place {
            is_first: number == 0,
            is_last: number == last,
        })
    });
    records.flatten().collect()
}

/// Half of them the first.
fn any_realm() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), any::<u16>()]
}

fn any_block() -> impl Strategy<Value = Block> {
    let ports = (any::<u16>(), any::<u16>())
        .prop_filter_map("a range of ports", |(first, count)| {
            PortRange::new(first, count)
        });
    let whose = (any_realm(), any::<u32>());
    (whose, any::<u32>(), ports, any::<u16>()).prop_map(
        |((realm, inside), external, ports, pool)| Block {
            realm,
            inside: inside.into(),
            external: external.into(),
            ports,
            pool,
            scope: ProtocolScope::All,
            key: 0,
        },
    )
}

fn any_session() -> impl Strategy<Value = Session> {
    let protocol = prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Icmp)
    ];
    let remote =
        prop::option::of(
            (any::<u32>(), any::<u16>()).prop_map(|(address, port)| Remote {
                address: address.into(),
                port,
            }),
        );
    let ends = (any::<u32>(), any::<u16>(), any::<u32>(), any::<u16>());
    (ends, protocol, remote, any_realm()).prop_map(
        |((inside, inside_port, external, external_port), protocol, remote, realm)| Session {
            external: external.into(),
            external_port,
            protocol,
            realm,
            inside: inside.into(),
            inside_port,
            remote,
        },
    )
}

fn any_reason() -> impl Strategy<Value = ReleaseReason> {
    prop_oneof![
        Just(ReleaseReason::Idle),
        Just(ReleaseReason::Shutdown),
        Just(ReleaseReason::Orphan),
        Just(ReleaseReason::Reconfigured),
        Just(ReleaseReason::Administrative),
    ]
}

fn any_login() -> impl Strategy<Value = Login> {
    let numbers = any::<(u32, u16, u16, u32, u32)>();
    numbers.prop_map(|(inside, realm, early_secs, nas, session)| Login {
        inside: inside.into(),
        realm,
        early_secs,
        nas,
        session,
    })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let event = prop_oneof![
        Just(Event::Start),
        Just(Event::Stop),
        Just(Event::Gap),
        Just(Event::Resume),
        any_block().prop_map(Event::Allocate),
        (any_block(), any_reason()).prop_map(|(block, reason)| Event::Release { block, reason }),
        any_session().prop_map(Event::Open),
        any_session().prop_map(Event::Close),
        any::<[u8; PIECE_BYTES]>().prop_map(|bytes| Event::Name(Piece { bytes })),
        (any_login(), any::<u8>()).prop_map(|(login, name_bytes)| Event::Login {
            login,
            attribute: Attribute::Imsi,
            name_bytes,
        }),
        any_login().prop_map(Event::Logout),
    ];
    (any::<u64>(), event).prop_map(|(unix_ms, event)| Entry {
        // Records of sessions, of realms and of names have 48 bits of time.
        unix_ms: match event.block() {
            Some(Block { realm: 1.., .. }) => unix_ms >> 16,
            _ if event.session().is_some() || event.is_of_identity() => unix_ms >> 16,
            _ => unix_ms,
        },
        event,
    })
}

fn any_record() -> impl Strategy<Value = Record> {
    (0..=LAST_SEQUENCE, any_entry()).prop_map(|(sequence, entry)| Record { sequence, entry })
}
