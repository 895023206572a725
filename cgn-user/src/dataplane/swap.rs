//! Other programs in the place of ours, for a time: the watching build, and back. The
//! tables stay as they are, and no packet is without a program meanwhile.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::ProgramFd;
use cgn_common::diagnostics::Tally;
use cgn_common::layout::{Constants, RareProgram};
use cgn_common::watch::{self, Filter};

use super::load::{Dataplane, Element, Entry, LoadError, WATCH_OBJECT, failed};
use super::memory::Sizes;
use super::pinned_link::PinnedLink;

/// Programs that the kernel has, by descriptor.
pub struct Programs {
    /// Those that packets begin in.
    pub entries: Vec<(Entry, ProgramFd)>,
    /// Those that they jump to.
    pub rare: Vec<(RareProgram, ProgramFd)>,
}

/// Why programs could not be swapped.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the program on {interface} could not be replaced; is its pinned link there?")]
    Link {
        interface: String,
        #[source]
        source: io::Error,
    },
}

/// What is needed to load the same programs once more, and to put them in place.
pub struct Place {
    pub pins: PathBuf,
    pub sizes: Sizes,
    pub constants: Constants,
    /// Interfaces with the programs that they have.
    pub interfaces: Vec<(String, Entry)>,
    /// What is there without a watch.
    pub plain: Programs,
}

/// What the watching programs tell of, and where.
pub struct Ear {
    filter: Array<MapData, Element<Filter>>,
    told: PerCpuArray<MapData, Element<Tally>>,
    ring: RingBuf<MapData>,
    /// Records read, and packets that were missed and told of.
    heard: u64,
    missed: u64,
    /// Records that had been written when the tallies were last read.
    written: u64,
}

impl Ear {
    /// The maps of a freshly loaded watching object. Nothing is told before [`Ear::listen`].
    ///
    /// # Errors
    /// It is another object, or this was called before.
    pub fn of(dataplane: &mut Dataplane) -> Result<Self, LoadError> {
        let filter = Array::try_from(dataplane.take(&watch::FILTER)?);
        let told = PerCpuArray::try_from(dataplane.take(&watch::TOLD)?);
        let ring = RingBuf::try_from(dataplane.take(&watch::WATCHED)?);
        Ok(Self {
            filter: filter.map_err(failed(&watch::FILTER))?,
            told: told.map_err(failed(&watch::TOLD))?,
            ring: ring.map_err(failed(&watch::WATCHED))?,
            heard: 0,
            missed: 0,
            written: 0,
        })
    }

    /// Hears of packets that fit `filter`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn listen(&mut self, filter: Filter) -> Result<(), LoadError> {
        let filter = Element(filter);
        self.filter
            .set(0, filter, 0)
            .map_err(failed(&watch::FILTER))
    }

    /// The ring, to wait at.
    #[must_use]
    pub fn ring(&self) -> &RingBuf<MapData> {
        &self.ring
    }

    /// The next record, as bytes.
    pub fn next_record(&mut self) -> Option<Vec<u8>> {
        let record = self.ring.next()?.to_vec();
        self.heard += 1;
        Some(record)
    }

    /// Packets that fitted and are not told of since the last call: those beyond the
    /// limit, and records that the ring had no room for, the latter known one call later.
    /// To be called when [`Ear::next_record`] has no more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn missed(&mut self) -> Result<u64, LoadError> {
        let lost = self.written.saturating_sub(self.heard);
        let values = self.told.get(&0, 0).map_err(failed(&watch::TOLD))?;
        self.written = values.iter().map(|tally| tally.0.written).sum();
        let suppressed: u64 = values.iter().map(|tally| tally.0.suppressed).sum();
        let new = (suppressed + lost).saturating_sub(self.missed);
        self.missed += new;
        Ok(new)
    }
}

/// The watching programs, in place until this is dropped.
pub struct Watching {
    pub ear: Ear,
    place: Arc<Place>,
    dataplane: Dataplane,
}

impl Watching {
    /// Loads the watching programs and puts them in the place of the plain ones: takes
    /// the verifier's time, some seconds.
    ///
    /// # Errors
    /// The kernel's; then the plain programs are in place.
    pub fn start(place: Arc<Place>) -> Result<Self, SwapError> {
        let pins = Some(place.pins.as_path());
        let mut dataplane = Dataplane::load(WATCH_OBJECT, place.sizes, &place.constants, pins)?;
        let ear = Ear::of(&mut dataplane)?;
        // From here on rare packets may meet the watching programs; drop puts it right.
        let mut watching = Self {
            ear,
            place: Arc::clone(&place),
            dataplane,
        };
        let entries = place.interfaces.iter().map(|(_, entry)| *entry);
        let programs = watching.dataplane.programs(entries)?;
        put_links(&place, &programs)?;
        Ok(watching)
    }
}

impl Drop for Watching {
    /// Puts the plain programs back, the rare ones first.
    fn drop(&mut self) {
        let plain = &self.place.plain;
        let mut result = self
            .dataplane
            .set_rare_programs(&plain.rare)
            .map_err(SwapError::from);
        result = put_links(&self.place, plain).and(result);
        if let Err(error) = result {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the watching programs stay in place; they tell of nothing any more, and cost every packet \
                 some ten nanoseconds. Restart the daemon: that loses no packet"
            );
        }
    }
}

/// Each interface gets its program by one atomic update of its pinned link.
fn put_links(place: &Place, programs: &Programs) -> Result<(), SwapError> {
    let mut result = Ok(());
    for (interface, entry) in &place.interfaces {
        let mut all = programs.entries.iter();
        let Some((_, program)) = all.find(|(of, _)| of == entry) else {
            continue;
        };
        let path = place.pins.join(format!("link-{interface}"));
        let updated = PinnedLink::open(&path).and_then(|link| link.update(program));
        result = result.and(updated.map_err(|source| SwapError::Link {
            interface: interface.clone(),
            source,
        }));
    }
    result
}
