//! `[[mirror]]`: a capture without an end, whose frames go to an interface or a collector (ADR 39).

pub mod encapsulation;
pub mod sender;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cgn_common::layout::Side;
use cgn_common::realm::NOBODY;
use cgn_common::watch::{FRONT, Filter, MOST_BYTES, details};

use self::encapsulation::{About, Encapsulation};
use self::sender::{Outcome, Sender, SenderError};
use super::crypto_pan::{CryptoPan, Key, NoKey};
use super::frames::{Frame, Frames, Moment, Sides};
use super::redact::Redaction;
use super::seen::Seen;
use super::whose::{Owners, Whose};
use super::{Clock, Watcher, redact};
use crate::config::{Config, Ipv4Prefix, Mirror, MirrorSide, MirrorTo, MirrorWhen};
use crate::secret::{self, SecretError};
use crate::state::State;
use crate::wiring::Wiring;

/// Why a mirror cannot be.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    #[error(transparent)]
    Sender(#[from] SenderError),
    #[error("mirror {name:?}: {source}")]
    Secret { name: String, source: SecretError },
    #[error("mirror {name:?}: {path}: {source}", path = path.display())]
    Key {
        name: String,
        path: PathBuf,
        source: NoKey,
    },
}

/// What one mirror has done since start, for those who ask.
#[derive(Debug, Default)]
pub struct Figures {
    /// Packets that fitted (and were chosen, where it takes a sample) and came here.
    pub matched: AtomicU64,
    /// Packets that fitted and did not: beyond the rate, or than the ring had room for.
    pub missed: AtomicU64,
    /// Frames that the kernel took, and did not take.
    pub sent: AtomicU64,
    pub lost: AtomicU64,
    /// Bytes of packets sent, without the IP header in front.
    pub bytes: AtomicU64,
    state: Mutex<String>,
}

impl Figures {
    /// `on`; or why it is not, or what was wrong last.
    #[must_use]
    pub fn state(&self) -> String {
        let state = self.state.lock();
        state.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_state(&self, state: String) {
        let mut old = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *old = state;
    }

    fn add(&self, outcome: Outcome) {
        self.sent.fetch_add(outcome.sent, Ordering::Relaxed);
        self.bytes.fetch_add(outcome.bytes, Ordering::Relaxed);
        self.lost.fetch_add(outcome.lost, Ordering::Relaxed);
    }
}

/// The watcher.
pub struct Reflector {
    filter: Filter,
    /// Where there are several realms.
    whose: Option<(Owners, Whose)>,
    frames: Frames,
    redaction: Redaction,
    encapsulation: Encapsulation,
    sequence: u32,
    sender: Sender,
    clock: Clock,
    figures: Arc<Figures>,
    /// Frames lost when it was last told that some are.
    told_lost: u64,
}

impl Reflector {
    /// Opens what it sends by, and reads its key.
    ///
    /// # Errors
    /// See [`MirrorError`].
    pub fn open(mirror: &Mirror, figures: Arc<Figures>) -> Result<Self, MirrorError> {
        let addresses = names(mirror)?;
        let payload = mirror.payload_bytes.map(usize::from);
        figures.set_state("not yet: the daemon starts".to_owned());
        Ok(Self {
            filter: filter_of(mirror),
            whose: None,
            frames: Frames {
                sides: Sides::default(),
                side: match mirror.side {
                    MirrorSide::Both => None,
                    MirrorSide::Inside => Some(Side::Inside),
                    MirrorSide::Outside => Some(Side::Outside),
                },
                moment: match mirror.when {
                    MirrorWhen::Both => None,
                    MirrorWhen::Before => Some(Moment::Before),
                    MirrorWhen::After => Some(Moment::After),
                },
            },
            redaction: Redaction {
                // With other addresses, a payload must be asked for: it may tell the old ones.
                payload: payload.or(addresses.as_ref().map(|_| 0)),
                addresses,
            },
            encapsulation: Encapsulation {
                to: mirror.to,
                session: mirror.session,
            },
            sequence: 0,
            sender: Sender::open(mirror)?,
            clock: Clock::now(),
            figures,
            told_lost: 0,
        })
    }

    /// Tells it which interfaces are on which side and in which realm; before, it would mirror nothing of one
    /// side alone.
    pub fn wire(&mut self, wiring: &Wiring, whose: Option<(Owners, Whose)>) {
        self.frames.sides = Sides::new(wiring);
        self.whose = whose;
    }

    /// What of a packet it needs beside the frame as it left.
    fn details(&self) -> u32 {
        // Whose a packet is may be seen by how it came.
        let has_came = self.frames.moment != Some(Moment::After) || self.whose.is_some();
        let came = if has_came { details::CAME } else { 0 };
        // The other headers have no time.
        match self.encapsulation.to {
            MirrorTo::Erspan3 => came | details::TIMES,
            _ => came,
        }
    }

    /// A frame with what goes in front of it.
    fn packet(&mut self, frame: &Frame<'_>) -> Vec<u8> {
        let mut bytes = frame.bytes.to_vec();
        self.redaction.apply(&mut bytes);
        let about = About {
            tag: redact::link(&bytes).and_then(|link| tag_of(&bytes, link.length)),
            is_egress: frame.moment == Moment::After,
            is_cut: bytes.len() < frame.length as usize,
            ifindex: frame.ifindex,
            unix_ns: self.clock.unix_ns_of(frame.at_ns),
        };
        let mut packet = Vec::with_capacity(bytes.len() + 24);
        self.encapsulation.begin(&mut packet, self.sequence, &about);
        self.sequence = self.sequence.wrapping_add(1);
        packet.extend(bytes);
        packet
    }
}

impl Watcher for Reflector {
    fn filter(&self) -> Filter {
        Filter {
            details: self.details(),
            ..self.filter
        }
    }

    fn hear(&mut self, seen: &Seen) {
        let whose = self.whose.as_ref();
        if whose.is_some_and(|(owners, whose)| !whose.has(owners, seen)) {
            return;
        }
        self.figures.matched.fetch_add(1, Ordering::Relaxed);
        let frames: Vec<Frame<'_>> = self.frames.of(seen).collect();
        for frame in frames {
            let packet = self.packet(&frame);
            let outcome = self.sender.put(packet);
            self.figures.add(outcome);
        }
    }

    fn miss(&mut self, packets: u64) {
        self.figures.missed.fetch_add(packets, Ordering::Relaxed);
    }

    fn go_on(&mut self) -> bool {
        let outcome = self.sender.flush();
        self.figures.add(outcome);
        let lost = self.figures.lost.load(Ordering::Relaxed);
        if lost != self.told_lost {
            self.told_lost = lost;
            if let Some(error) = &self.sender.error {
                let state = format!("on; frames were lost: {error}");
                self.figures.set_state(state);
            }
        }
        true
    }
}

impl Drop for Reflector {
    /// It was never let in, or all watches ended.
    fn drop(&mut self) {
        if self.figures.state().starts_with("on") {
            self.figures
                .set_state("off: the watch has ended, the daemon's log says why".to_owned());
        }
    }
}

/// Opens all mirrors of the configuration; one that cannot be harms nobody else. For the main thread, which has
/// the rights.
#[must_use]
pub fn open_all(state: &State) -> Vec<(Mirror, Reflector)> {
    let all = state.config.config.mirror.iter().zip(&state.mirrors);
    let opened =
        all.filter_map(
            |(mirror, figures)| match Reflector::open(mirror, Arc::clone(figures)) {
                Ok(reflector) => Some((mirror.clone(), reflector)),
                Err(error) => {
                    off(mirror, figures, &error);
                    None
                }
            },
        );
    opened.collect()
}

/// Has the reflectors watch. What each copies is said in the log: it may have to be accounted for.
pub async fn start_all(state: Arc<State>, reflectors: Vec<(Mirror, Reflector)>) {
    for (mirror, mut reflector) in reflectors {
        if let Some(wiring) = state.wiring.get() {
            let realm = state.geometry.realms.number_of(&mirror.realm);
            let whose = Whose {
                realm: realm.unwrap_or(NOBODY),
                filter: reflector.filter,
            };
            let owners = Owners::of(&state, wiring);
            reflector.wire(wiring, owners.map(|owners| (owners, whose)));
        }
        let figures = Arc::clone(&reflector.figures);
        match state.watch.watch(Box::new(reflector)).await {
            Ok(()) => {
                figures.set_state("on".to_owned());
                tracing::warn!(
                    mirror = mirror.name,
                    what = mirror.words(),
                    "a mirror is on: it copies packets"
                );
            }
            Err(error) => off(&mirror, &figures, &error),
        }
    }
}

fn off(mirror: &Mirror, figures: &Figures, error: &(dyn std::error::Error + 'static)) {
    tracing::error!(mirror = mirror.name, error, "a mirror is off");
    figures.set_state(format!("off: {error}"));
}

/// Whether all keys can be read: a reload asks before it ends anything.
///
/// # Errors
/// See [`MirrorError`].
pub fn check(config: &Config) -> Result<(), MirrorError> {
    config
        .mirror
        .iter()
        .try_for_each(|mirror| names(mirror).map(drop))
}

/// The other names of addresses, if it is to have any.
fn names(mirror: &Mirror) -> Result<Option<CryptoPan>, MirrorError> {
    let name = || mirror.name.clone();
    let Some(path) = &mirror.anonymise_key else {
        return Ok(None);
    };
    let bytes = secret::read(path).map_err(|source| MirrorError::Secret {
        name: name(),
        source,
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let key: Key = text.trim_end().parse().map_err(|source| MirrorError::Key {
        name: name(),
        path: path.clone(),
        source,
    })?;
    Ok(Some(CryptoPan::new(&key)))
}

/// The first tag of a frame whose link header has `length` bytes.
fn tag_of(frame: &[u8], length: usize) -> Option<u16> {
    const UNTAGGED: usize = 14;
    let bytes = frame.get(UNTAGGED..UNTAGGED + 2)?;
    (length > UNTAGGED).then(|| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// What the fast path is asked for.
fn filter_of(mirror: &Mirror) -> Filter {
    let prefix = |prefix: Option<Ipv4Prefix>| match prefix {
        Some(prefix) => {
            let range = prefix.range();
            let (first, last) = (range.first().to_bits(), range.last().to_bits());
            (first, !(first ^ last))
        }
        None => (0, 0),
    };
    let (inside, inside_mask) = prefix(mirror.inside);
    let (outside, outside_mask) = prefix(mirror.outside);
    // All headers, and what is kept behind them; the frame as it came needs FRONT bytes in any case.
    let bytes = match mirror.payload_bytes {
        Some(payload) => (usize::from(payload) + FRONT).min(MOST_BYTES),
        None if mirror.anonymise_key.is_some() => FRONT,
        None => MOST_BYTES,
    };
    Filter {
        inside,
        inside_mask,
        outside,
        outside_mask,
        inside_port: mirror.inside_port,
        outside_port: mirror.outside_port,
        protocol: mirror.protocol.map_or(0, |protocol| u32::from(protocol.0)),
        per_second: mirror.rate,
        bytes: bytes as u32,
        packets_of: mirror.packets_of,
        flows_of: mirror.flows_of,
        // The same flows after a restart.
        seed: seed_of(&mirror.name),
        ..Filter::default()
    }
}

/// FNV-1a of a name.
fn seed_of(name: &str) -> u32 {
    let bytes = name.bytes();
    bytes.fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
