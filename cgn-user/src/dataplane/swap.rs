//! Other programs in the place of ours, for a time: the watching build, and back. The
//! tables stay as they are, and no packet is without a program meanwhile.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use aya::maps::{Array, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::ProgramFd;
use cgn_common::diagnostics::Tally;
use cgn_common::layout::{Constants, Features, RareProgram};
use cgn_common::watch::{self, Filter, Filters, Head, WATCHERS};

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

/// What the watching programs tell of, and where. Watchers have numbers below [`WATCHERS`].
pub struct Ear {
    map: Array<MapData, Element<Filters>>,
    filters: Filters,
    told: PerCpuArray<MapData, Element<Tally>>,
    ring: RingBuf<MapData>,
    tallies: [Told; WATCHERS],
}

/// What was told to one watcher, and is known of it.
#[derive(Clone, Copy, Default)]
struct Told {
    /// Records read since the object was loaded, and those written when that was last asked.
    heard: u64,
    written: u64,
    /// Packets beyond his limit, and missed ones that he knows of.
    suppressed: u64,
    known: u64,
}

impl Ear {
    /// The maps of a freshly loaded watching object. Nothing is told before [`Ear::listen`].
    ///
    /// # Errors
    /// It is another object, or this was called before.
    pub fn of(dataplane: &mut Dataplane) -> Result<Self, LoadError> {
        let map = Array::try_from(dataplane.take(&watch::FILTERS)?);
        let told = PerCpuArray::try_from(dataplane.take(&watch::TOLD)?);
        let ring = RingBuf::try_from(dataplane.take(&watch::WATCHED)?);
        Ok(Self {
            map: map.map_err(failed(&watch::FILTERS))?,
            filters: Filters::default(),
            told: told.map_err(failed(&watch::TOLD))?,
            ring: ring.map_err(failed(&watch::WATCHED))?,
            tallies: [Told::default(); WATCHERS],
        })
    }

    /// Tells watcher `number` of packets that fit `filter`. A filter is first written shut, and opened
    /// then: a packet that meets half of it meets none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn listen(&mut self, number: usize, filter: Filter) -> Result<(), LoadError> {
        self.filters.filters[number] = Filter {
            until_ns: 0,
            ..filter.with_ends()
        };
        self.filters.count = self.filters.count.max(number as u64 + 1);
        self.write_others()?;
        self.filters.filters[number].until_ns = filter.until_ns;
        self.write_others()
    }

    /// Moves on the end of the filters whose bits are set, to what `until_ns` says of each number.
    ///
    /// # Errors
    /// The kernel's.
    pub fn extend(
        &mut self,
        until_ns: impl Fn(usize) -> u64,
        watchers: u32,
    ) -> Result<(), LoadError> {
        for number in numbers(watchers) {
            self.filters.filters[number].until_ns = until_ns(number);
        }
        self.write()
    }

    /// Tells this watcher of nothing any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn deafen(&mut self, number: usize) -> Result<(), LoadError> {
        self.filters.filters[number].until_ns = 0;
        let open = |filter: &Filter| filter.until_ns != 0;
        let last = self.filters.filters.iter().rposition(open);
        self.filters.count = last.map_or(0, |last| last as u64 + 1);
        self.write_others()
    }

    /// Writes filters that are not those of before: what was drawn for them is drawn anew. A packet that
    /// meets half of them draws again when the whole is there, if that has yet another generation.
    fn write_others(&mut self) -> Result<(), LoadError> {
        self.filters.generation += 1;
        self.write()
    }

    fn write(&mut self) -> Result<(), LoadError> {
        let filters = Element(self.filters);
        self.map.set(0, filters, 0).map_err(failed(&watch::FILTERS))
    }

    /// The next record as bytes, and whom it is told, a bit each.
    pub fn next_record(&mut self) -> Option<(u32, Vec<u8>)> {
        let record = self.ring.next()?.to_vec();
        let head: Option<&[u8]> = record.get(..size_of::<Head>());
        let head: Option<Head> =
            head.and_then(|bytes| bytemuck::try_pod_read_unaligned(bytes).ok());
        let watchers = head.map_or(0, |head| head.watchers);
        for number in numbers(watchers) {
            self.tallies[number].heard += 1;
        }
        Some((watchers, record))
    }

    /// Packets that fitted and were not told to each watcher since the last call: those beyond his
    /// limit, and records that the ring had no room for, the latter known one call later.
    /// To be called when [`Ear::next_record`] has no more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn missed(&mut self) -> Result<[u64; WATCHERS], LoadError> {
        let mut missed = [0; WATCHERS];
        for (number, told) in self.tallies.iter_mut().enumerate() {
            let lost = told.written.saturating_sub(told.heard);
            let values = self.told.get(&(number as u32), 0);
            let values = values.map_err(failed(&watch::TOLD))?;
            told.written = values.iter().map(|tally| tally.0.written).sum();
            told.suppressed = values.iter().map(|tally| tally.0.suppressed).sum();
            missed[number] = (told.suppressed + lost).saturating_sub(told.known);
            told.known += missed[number];
        }
        Ok(missed)
    }
}

/// Numbers of the watchers whose bits are set.
pub fn numbers(watchers: u32) -> impl Iterator<Item = usize> {
    (0..WATCHERS).filter(move |number| watchers >> number & 1 != 0)
}

/// The watching programs, in place until this is dropped.
pub struct Watching {
    pub ear: Ear,
    /// Where packets that nobody watches go on. The kernel empties it when nobody holds it; then they
    /// stay where they are.
    _plain: ProgramArray<MapData>,
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
        let plain = set_plain(&mut dataplane, &place.plain)?;
        // From here on rare packets may meet the watching programs; drop puts it right.
        let mut watching = Self {
            ear,
            _plain: plain,
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

/// Has packets that nobody watches go on in the plain programs. Packets do as long as what is returned lives.
///
/// # Errors
/// It is no watching object, or this was called before.
pub fn set_plain(
    dataplane: &mut Dataplane,
    plain: &Programs,
) -> Result<ProgramArray<MapData>, LoadError> {
    let spec = &watch::PLAIN;
    let has_rules = dataplane.memory().constants.features.has(Features::ACCESS);
    let entries = plain.entries.iter().map(|(entry, fd)| match has_rules {
        true => (watch::of_access(*entry), fd),
        false => (RareProgram::translator(*entry) as u32, fd),
    });
    let rare = plain.rare.iter().map(|(rare, fd)| (*rare as u32, fd));
    let mut map = ProgramArray::try_from(dataplane.take(spec)?).map_err(failed(spec))?;
    for (place, fd) in entries.chain(rare) {
        map.set(place, fd, 0).map_err(failed(spec))?;
    }
    Ok(map)
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
