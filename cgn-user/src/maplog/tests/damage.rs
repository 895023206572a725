//! Torn tails are cut, damage is told, and the two are not taken for each other.

use std::fs;

use super::*;

/// Writes a log of `count` allocations, each a group of its own; returns its bytes.
fn write_log(path: &Path, count: u16) -> Vec<u8> {
    let (mut log, _) = open(path);
    for number in 0..count {
        log.append(&[allocate(number)]).unwrap();
    }
    fs::read(path).unwrap()
}

/// Opens the log after its bytes became `bytes`, which must leave `kept` whole
/// records, and shows that it can be written and read from there on.
fn assert_recovers(path: &Path, bytes: &[u8], kept: usize, sentence: &str) {
    fs::write(path, bytes).unwrap();
    assert_eq!(records(path).len(), kept, "reader: {sentence}");
    let (mut log, recovery) = open(path);
    let whole = (HEADER_BYTES + kept * RECORD_BYTES) as u64;
    assert_eq!(recovery.records, kept as u64, "{sentence}");
    let content = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let torn = (content as u64).saturating_sub(whole);
    let told = recovery.torn_bytes;
    assert!(
        (torn..torn + RECORD_BYTES as u64).contains(&told),
        "{sentence}: {told}"
    );
    assert_eq!(recovery.live.len(), kept, "{sentence}");
    assert_eq!(fs::metadata(path).unwrap().len(), whole, "{sentence}");
    let next = kept as u64 + 1;
    assert_eq!(log.append(&[allocate(90)]).unwrap(), next..next + 1);
    drop(log);
    let all = records(path);
    assert_eq!((all.len(), all[kept].entry), (kept + 1, allocate(90)));
}

/// Both ways of opening say what is wrong, and the file stays as it is.
fn assert_refused(path: &Path, bytes: &[u8], sentence: &str, is_expected: fn(&ReadError) -> bool) {
    fs::write(path, bytes).unwrap();
    // A child that another test starts has the lock of the file before, until it runs its program.
    let opened = (0..500).find_map(|_| match LogFile::open(path, OPTIONS) {
        Err(OpenError::Locked { .. }) => {
            std::thread::sleep(std::time::Duration::from_millis(10));
            None
        }
        other => Some(other),
    });
    match opened.expect("nobody keeps the lock") {
        Err(OpenError::Read(error)) => assert!(is_expected(&error), "{sentence}: {error:?}"),
        other => panic!("{sentence}: {other:?}"),
    }
    assert_eq!(fs::read(path).unwrap(), bytes, "{sentence}: unchanged");
    let error = match read(path) {
        Ok(mut reader) => {
            let error = reader.find_map(Result::err).expect(sentence);
            assert!(reader.next().is_none(), "nothing after an error");
            error
        }
        Err(error) => error,
    };
    assert!(is_expected(&error), "reader, {sentence}: {error:?}");
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_told() {
    let directory = Directory::new();
    let path = directory.log();
    let bytes = write_log(&path, 4);
    for cut in 0..RECORD_BYTES {
        let torn = &bytes[..bytes.len() - RECORD_BYTES + cut];
        assert_recovers(&path, torn, 3, &format!("{cut} bytes of the last record"));
    }
    assert_recovers(&path, &bytes, 4, "nothing torn");
}

#[test]
fn bytes_that_never_came_to_disk_are_a_torn_tail() {
    let directory = Directory::new();
    let path = directory.log();
    let bytes = write_log(&path, 4);
    for lost in 1..=4 {
        let mut zeros = bytes.clone();
        let from = bytes.len() - lost * RECORD_BYTES;
        zeros[from..].fill(0);
        assert_recovers(&path, &zeros, 4 - lost, &format!("{lost} records of zeros"));
        zeros.resize(bytes.len() + 200_000, 0);
        assert_recovers(&path, &zeros, 4 - lost, "and many more zeros");
    }
    for at in bytes.len() - RECORD_BYTES..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert_recovers(&path, &flipped, 3, &format!("flipped bit at {at}"));
    }
}

#[test]
fn a_header_torn_at_any_byte_is_written_anew() {
    let directory = Directory::new();
    let path = directory.log();
    let bytes = write_log(&path, 0);
    assert_eq!(bytes.len(), HEADER_BYTES);
    for cut in 0..HEADER_BYTES {
        fs::write(&path, &bytes[..cut]).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, ReadError::NoHeader { .. }), "{cut}");
        let (mut log, recovery) = open(&path);
        assert_eq!((recovery.records, recovery.torn_bytes), (0, cut as u64));
        log.append(&[allocate(1)]).unwrap();
        drop(log);
        assert_eq!(records(&path).len(), 1, "{cut}");
    }
}

#[test]
fn damage_before_whole_records_is_an_error_at_its_byte() {
    let directory = Directory::new();
    let path = directory.log();
    let bytes = write_log(&path, 3);
    for at in HEADER_BYTES + RECORD_BYTES..HEADER_BYTES + 2 * RECORD_BYTES {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x01;
        assert_refused(&path, &flipped, &format!("flipped bit at {at}"), |error| {
            matches!(
                error,
                ReadError::Damaged {
                    offset: 80,
                    next_offset: 120,
                    ..
                }
            )
        });
    }
}

#[test]
fn missing_bytes_do_not_make_the_rest_a_torn_tail() {
    let directory = Directory::new();
    let path = directory.log();
    // So many records that the next whole one is in another chunk than the damage.
    let bytes = write_log(&path, 40);
    for missing in 1..RECORD_BYTES {
        let mut shifted = bytes.clone();
        shifted.drain(100..100 + missing);
        assert_refused(&path, &shifted, &format!("{missing} missing"), |error| {
            matches!(error, ReadError::Damaged { offset: 80, .. })
        });
    }
    // 65_498 to 65_536: the next record begins in one chunk and ends in the other.
    for garbage in [1, 39, 65_497, 65_498, 65_520, 65_536, 200_000] {
        let mut stuffed = bytes[..120].to_vec();
        stuffed.resize(120 + garbage, 0xee);
        stuffed.extend_from_slice(&bytes[120..]);
        fs::write(&path, &stuffed).unwrap();
        let error = read(&path).unwrap().find_map(Result::err).unwrap();
        let ReadError::Damaged {
            offset: 120,
            next_offset,
            ..
        } = error
        else {
            panic!("{garbage} stuffed: {error:?}");
        };
        assert_eq!(next_offset, 120 + garbage as u64);
    }
}

#[test]
fn lost_and_doubled_records_are_an_error() {
    let directory = Directory::new();
    let path = directory.log();
    let bytes = write_log(&path, 5);
    let record = |number: usize| HEADER_BYTES + number * RECORD_BYTES;
    let mut lost = bytes.clone();
    lost.drain(record(1)..record(2));
    assert_refused(&path, &lost, "second record lost", |error| {
        matches!(
            error,
            ReadError::Sequence {
                offset: 80,
                expected: 2,
                found: 3,
                ..
            }
        )
    });
    let mut doubled = bytes.clone();
    doubled.extend_from_slice(&bytes[record(4)..]);
    assert_refused(&path, &doubled, "last record twice", |error| {
        matches!(
            error,
            ReadError::Sequence {
                expected: 6,
                found: 5,
                ..
            }
        )
    });
}

#[test]
fn a_whole_record_of_a_newer_version_is_not_cut() {
    let directory = Directory::new();
    let path = directory.log();
    let mut bytes = write_log(&path, 2);
    let last = bytes.len() - RECORD_BYTES;
    bytes[last + 3] = 60;
    let checksum = crc32fast::hash(&bytes[last..last + 36]);
    bytes[last + 36..].copy_from_slice(&checksum.to_le_bytes());
    assert_refused(&path, &bytes, "unknown kind", |error| {
        matches!(
            error,
            ReadError::Unknown {
                offset: 80,
                source: DecodeError::Kind { found: 60 },
                ..
            }
        )
    });
}

#[test]
fn other_files_are_refused_and_left_alone() {
    let directory = Directory::new();
    let path = directory.log();
    let log = write_log(&path, 1);
    let mut newer = log.clone();
    newer[7] = 3;
    assert_refused(&path, &newer, "next version", |error| {
        matches!(error, ReadError::Version { found: 3, .. })
    });
    let mut damaged = log.clone();
    damaged[20] ^= 1;
    assert_refused(&path, &damaged, "damaged header", |error| {
        matches!(error, ReadError::Header { .. })
    });
    for text in [
        "x",
        "CGNMLOX",
        "A file of somebody else's, longer than a header is.",
    ] {
        assert_refused(&path, text.as_bytes(), text, |error| {
            matches!(error, ReadError::NotALog { .. })
        });
    }
}
