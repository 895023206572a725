//! Storage that fails: a group is in the log wholly or not at all.

use std::cell::RefCell;
use std::io;
use std::process::Command;
use std::rc::Rc;

use super::super::appender::{Appender, Storage};
use super::*;

/// What the storage does at its next calls.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    /// Takes so many bytes of a write, and goes on at the next.
    Short(usize),
    /// A signal comes first.
    Interrupted,
    /// Takes so many bytes, then is full.
    Full(usize),
    /// Takes so many bytes, then takes none and says no error.
    Stuck(usize),
    /// Writes but cannot sync.
    Sync,
    /// Takes so many bytes, is full, and cannot be cut.
    FullAndUncut(usize),
    /// Writes, and then the power fails.
    PowerCut,
}

#[derive(Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    /// What is there after a power cut, at least.
    durable: Vec<u8>,
    writes: usize,
    /// Bytes until a write fails, and how.
    room: Option<(usize, Option<io::ErrorKind>)>,
    short: Option<usize>,
    is_interrupted: bool,
    cannot_sync: bool,
    cannot_cut: bool,
}

impl Disk {
    fn set(&mut self, fault: Fault) {
        let full = Some(io::ErrorKind::StorageFull);
        (self.room, self.short) = (None, None);
        (self.is_interrupted, self.cannot_sync, self.cannot_cut) = (false, false, false);
        match fault {
            Fault::None => {}
            Fault::Short(bytes) => self.short = Some(bytes),
            Fault::Interrupted => self.is_interrupted = true,
            Fault::Full(bytes) => self.room = Some((bytes, full)),
            Fault::Stuck(bytes) => self.room = Some((bytes, None)),
            Fault::Sync => self.cannot_sync = true,
            Fault::FullAndUncut(bytes) => {
                self.room = Some((bytes, full));
                self.cannot_cut = true;
            }
            Fault::PowerCut => (self.cannot_sync, self.cannot_cut) = (true, true),
        }
    }
}

impl Storage for Rc<RefCell<Disk>> {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let disk = &mut *self.borrow_mut();
        disk.writes += 1;
        if std::mem::take(&mut disk.is_interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut count = bytes.len();
        if let Some(short) = disk.short.take() {
            count = count.min(short);
        }
        if let Some((room, error)) = disk.room {
            if room == 0 {
                return error.map_or(Ok(0), |kind| Err(kind.into()));
            }
            count = count.min(room);
            disk.room = Some((room - count, error));
        }
        let offset = offset as usize;
        assert!(offset <= disk.bytes.len(), "no hole");
        let length = disk.bytes.len().max(offset + count);
        disk.bytes.resize(length, 0);
        disk.bytes[offset..offset + count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        let disk = &mut *self.borrow_mut();
        if disk.cannot_cut {
            return Err(io::ErrorKind::Other.into());
        }
        disk.bytes.resize(length as usize, 0);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let disk = &mut *self.borrow_mut();
        if disk.cannot_sync {
            return Err(io::ErrorKind::Other.into());
        }
        disk.durable.clone_from(&disk.bytes);
        Ok(())
    }
}

impl Disk {
    /// What a power cut leaves: of what was not synced, the sectors that `has_landed` says.
    fn after_power_cut(&self, mut has_landed: impl FnMut() -> bool) -> Vec<u8> {
        const SECTOR: usize = 512;
        let mut image = self.bytes.clone();
        for (number, sector) in image.chunks_mut(SECTOR).enumerate() {
            let begin = (number * SECTOR).min(self.durable.len());
            let durable = &self.durable[begin..(begin + SECTOR).min(self.durable.len())];
            if !has_landed() {
                sector.fill(0);
                sector[..durable.len()].copy_from_slice(durable);
            }
        }
        image
    }
}

/// A disk and an appender on it that begins with an empty log.
fn appender(is_synced: bool) -> (Rc<RefCell<Disk>>, Appender<Rc<RefCell<Disk>>>) {
    let disk = Rc::new(RefCell::new(Disk::default()));
    let appender = Appender::new(Rc::clone(&disk), "log".into(), is_synced, 0, 1);
    (disk, appender)
}

fn any_fault() -> impl Strategy<Value = Fault> {
    // A group has 3 records = 120 bytes.
    prop_oneof![
        3 => Just(Fault::None),
        1 => (1..120_usize).prop_map(Fault::Short),
        1 => Just(Fault::Interrupted),
        2 => (0..120_usize).prop_map(Fault::Full),
        1 => (0..120_usize).prop_map(Fault::Stuck),
        1 => Just(Fault::Sync),
        2 => (0..120_usize).prop_map(Fault::FullAndUncut),
    ]
}

proptest! {
    #[test]
    fn a_group_is_there_wholly_or_not_at_all(
        faults in prop::collection::vec(any_fault(), 1..30),
        is_synced in any::<bool>(),
    ) {
        let (disk, mut appender) = appender(is_synced);
        let mut expected: Vec<u8> = Vec::new();
        let group = [allocate(1), release(1), allocate(2)];
        for fault in faults {
            disk.borrow_mut().set(fault);
            let next = appender.next_sequence();
            let outcome = appender.append(&group);
            let fails = match fault {
                Fault::Full(_) | Fault::Stuck(_) | Fault::FullAndUncut(_) => true,
                Fault::Sync | Fault::PowerCut => is_synced,
                Fault::None | Fault::Short(_) | Fault::Interrupted => false,
            };
            prop_assert_eq!(outcome.is_err(), fails, "{:?}", fault);
            if let Ok(sequences) = outcome {
                prop_assert_eq!(&sequences, &(next..next + 3));
                expected.extend(group_bytes(sequences.start, &group));
            }
            prop_assert_eq!(appender.length(), expected.len() as u64);
            let disk = disk.borrow();
            prop_assert!(disk.bytes.starts_with(&expected));
            let is_uncut = matches!(fault, Fault::FullAndUncut(_));
            let rest = &disk.bytes[expected.len()..];
            prop_assert!(is_uncut || rest.iter().all(|byte| *byte == 0), "{:?}", fault);
            prop_assert!(rest.is_empty() || is_synced || is_uncut, "zeros ahead save only a sync");
            prop_assert!(fails || !is_synced || disk.durable.starts_with(&expected));
        }
    }

    #[test]
    fn a_power_cut_takes_at_most_the_group_that_nobody_was_told_of(
        sizes in prop::collection::vec(1..60_u16, 1..12),
        landed in prop::collection::vec(any::<bool>(), 8),
        is_prepared in any::<bool>(),
    ) {
        let header = Header { created_unix_ms: 1, first_sequence: 1 };
        let disk = Rc::new(RefCell::new(Disk::default()));
        disk.borrow_mut().bytes.extend(header.encode());
        disk.borrow_mut().durable.extend(header.encode());
        let start = HEADER_BYTES as u64;
        let mut appender = Appender::new(Rc::clone(&disk), "log".into(), true, start, 1);
        let mut acknowledged = Vec::new();
        let mut last = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            last = (0..*size).map(allocate).collect();
            if number + 1 < sizes.len() {
                appender.append(&last).unwrap();
                acknowledged.append(&mut last);
            }
        }
        if !is_prepared {
            appender.finish().unwrap();
        }
        disk.borrow_mut().set(Fault::PowerCut);
        appender.append(&last).unwrap_err();
        let mut landed = landed.into_iter().cycle();
        let image = disk.borrow().after_power_cut(|| landed.next().unwrap());

        let directory = Directory::new();
        let path = directory.log();
        std::fs::write(&path, image).unwrap();
        let before: Vec<Entry> = records(&path).iter().map(|record| record.entry).collect();
        let (log, recovery) = open(&path);
        drop(log);
        let read: Vec<Entry> = records(&path).iter().map(|record| record.entry).collect();
        prop_assert_eq!(&before, &read, "others read the same before and after");
        prop_assert_eq!(recovery.records as usize, read.len());
        let is_whole = read.len() > acknowledged.len();
        if is_whole {
            acknowledged.append(&mut last);
        }
        prop_assert_eq!(read, acknowledged);
    }
}

#[test]
fn a_group_is_one_write_and_an_uncut_leftover_stops_the_next() {
    let (disk, mut one) = appender(false);
    let group: Vec<Entry> = (0..64).map(allocate).collect();
    assert_eq!(one.append(&group).unwrap(), 1..65);
    assert_eq!(one.append(&[]).unwrap(), 65..65);
    let state = disk.borrow();
    assert_eq!((state.writes, state.bytes.len()), (1, 64 * RECORD_BYTES));

    let (disk, mut one) = appender(false);
    disk.borrow_mut().set(Fault::FullAndUncut(50));
    let outcomes = [one.append(&group), one.append(&group)];
    assert!(matches!(outcomes[0], Err(AppendError::Write { .. })));
    assert!(matches!(outcomes[1], Err(AppendError::Cut { .. })));
    let state = disk.borrow();
    let written = (state.writes, state.bytes.len());
    assert_eq!(written, (2, 50), "the second group was not written");
}

#[test]
fn zeros_ahead_keep_the_length_of_the_file_as_it_is() {
    let (disk, mut one) = appender(true);
    let group: Vec<Entry> = (0..64).map(allocate).collect();
    let mut lengths = std::collections::BTreeSet::new();
    for _ in 0..400 {
        one.append(&group).unwrap();
        lengths.insert(disk.borrow().bytes.len());
    }
    assert!(lengths.len() <= 9, "it doubles from 4 KiB on: {lengths:?}");
    let first = *lengths.first().unwrap();
    assert_eq!(first, 64 * RECORD_BYTES + 4096, "a quiet log is small");
    one.finish().unwrap();
    let groups_bytes = 400 * 64 * RECORD_BYTES;
    assert_eq!(disk.borrow().bytes.len(), groups_bytes, "no zeros stay");
}

/// Set in the child process of the next test.
const LIMITED: &str = "CGN_TEST_MAPLOG_OF_LIMITED_SIZE";

/// The kernel refuses a write in the middle of a group: the test runs itself
/// again in a process whose files may have 2048 bytes (or 4096, by the shell's
/// unit) at most.
#[test]
fn a_file_that_cannot_grow_stays_well_formed() {
    if let Some(path) = std::env::var_os(LIMITED) {
        return append_until_full(Path::new(&path));
    }
    let directory = Directory::new();
    let script = "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"";
    // The test's name for the harness is without the crate's.
    let module = module_path!().split_once("::").unwrap().1;
    let name = format!("{module}::a_file_that_cannot_grow_stays_well_formed");
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(LIMITED, directory.log())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("1 passed"), "the child ran this test: {text}");
    let (mut log, recovery) = open(&directory.log());
    assert!(recovery.records > 9 && recovery.records % 9 == 2);
    assert_eq!(recovery.torn_bytes, 0);
    let next = recovery.records + 1;
    assert_eq!(log.append(&[allocate(1)]).unwrap(), next..next + 1);
}

fn append_until_full(path: &Path) {
    let (mut log, _) = open(path);
    let group: Vec<Entry> = (0..9).map(allocate).collect();
    while log.append(&group).is_ok() {}
    let (length, next) = (log.length_bytes(), log.next_sequence());
    for _ in 0..2 {
        let error = log.append(&group).unwrap_err();
        let AppendError::Write { source, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(source.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(std::fs::metadata(path).unwrap().len(), length);
    }
    let small = log.append(&group[..2]).unwrap();
    assert_eq!(
        small,
        next..next + 2,
        "what fits is written, and no number is lost"
    );
}
