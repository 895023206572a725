//! The file itself: creation, lock, modes, and reading while it is written.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_new_log_makes_its_directories_and_is_nobody_elses_to_read() {
    let directory = Directory::new();
    let path = directory.0.join("lib/cgn/mapping.log");
    let (mut log, recovery) = open(&path);
    assert_eq!(recovery, Recovery::default());
    assert_eq!(log.append(&[allocate(1)]).unwrap(), 1..2);
    assert_eq!((log.length_bytes(), log.next_sequence()), (80, 2));
    assert_eq!(log.path(), path);
    for (path, allowed) in [(&*path, 0o640), (path.parent().unwrap(), 0o750)] {
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !allowed, 0, "{} has {mode:o}", path.display());
    }
}

#[test]
fn one_process_writes_and_others_may_read() {
    let directory = Directory::new();
    let path = directory.log();
    let (log, _) = open(&path);
    let error = LogFile::open(&path, OPTIONS).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("stop it first"), "{error}");
    assert_eq!(records(&path), []);
    drop(log);
    open(&path);
}

#[test]
fn what_is_no_file_is_refused_with_its_path() {
    let directory = Directory::new();
    for path in [&*directory.0, Path::new("/dev/null")] {
        let error = LogFile::open(path, OPTIONS).unwrap_err();
        assert!(matches!(error, OpenError::NotAFile { .. }), "{error:?}");
    }
    fs::write(directory.log(), "").unwrap();
    let below = directory.log().join("mapping.log");
    let error = LogFile::open(&below, OPTIONS).unwrap_err();
    assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
    let missing = directory.0.join("missing");
    assert!(matches!(read(&missing), Err(ReadError::Io { .. })));
}

#[test]
fn a_reader_follows_a_growing_log_and_waits_for_whole_groups() {
    let directory = Directory::new();
    let path = directory.log();
    let (mut log, _) = open(&path);
    let mut reader = read(&path).unwrap();
    assert!(reader.next().is_none(), "empty");
    log.append(&[allocate(1), allocate(2)]).unwrap();
    for expected in [allocate(1), allocate(2)] {
        assert_eq!(reader.next().unwrap().unwrap().entry, expected);
    }
    assert!(reader.next().is_none(), "read to the end");
    drop(log);
    let group = group_bytes(3, &[release(1), release(2)]);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    for part in [&group[..17], &group[17..40], &group[40..]] {
        assert!(reader.next().is_none(), "not whole yet");
        file.write_all(part).unwrap();
    }
    for expected in [release(1), release(2)] {
        assert_eq!(reader.next().unwrap().unwrap().entry, expected);
    }
}

#[test]
fn a_reader_sees_what_replaced_a_group_that_was_cut() {
    let directory = Directory::new();
    let path = directory.log();
    let (mut log, _) = open(&path);
    log.append(&[allocate(1)]).unwrap();
    let good = fs::read(&path).unwrap();
    let wrong = Record {
        sequence: 2,
        entry: allocate(7),
    };
    let mut longer = good.clone();
    longer.extend_from_slice(&wrong.encode()[..30]);
    fs::write(&path, &longer).unwrap();
    let mut reader = read(&path).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().entry, allocate(1));
    assert!(reader.next().is_none());
    fs::write(&path, &good).unwrap();
    log.append(&[release(1)]).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().entry, release(1));
}

#[test]
fn a_reader_judges_bytes_as_they_are_now() {
    let directory = Directory::new();
    let path = directory.log();
    let (mut log, _) = open(&path);
    log.append(&[allocate(1)]).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0; RECORD_BYTES]);
    fs::write(&path, &bytes).unwrap();
    let mut reader = read(&path).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().entry, allocate(1));
    // The reader has seen the zeros with the first record.
    log.append(&[allocate(2), allocate(3)]).unwrap();
    for expected in [allocate(2), allocate(3)] {
        assert_eq!(reader.next().unwrap().unwrap().entry, expected);
    }
}

#[test]
fn recovery_tells_what_is_live_what_is_in_hold_and_how_it_ended() {
    let directory = Directory::new();
    let path = directory.log();
    let at = |unix_ms, event| Entry { unix_ms, event };
    let (mut log, _) = open(&path);
    log.append(&[
        at(10, Event::Start),
        allocate(1),
        allocate(2),
        allocate(3),
        release(2),
        release(3),
        allocate(3),
    ])
    .unwrap();
    drop(log);
    let (mut log, recovery) = open(&path);
    let key = |number: u16| (block(number).external, 1024 + 512 * number);
    let logged = |number, unix_ms| {
        let block = block(number);
        (key(number), LoggedBlock { block, unix_ms })
    };
    assert_eq!(recovery.live, [logged(1, 1_001), logged(3, 1_003)].into());
    assert_eq!(recovery.released, [logged(2, 2_002)].into());
    assert_eq!((recovery.records, recovery.last_sequence), (7, Some(7)));
    assert_eq!(recovery.last_unix_ms, Some(1_003));
    assert!(!recovery.is_stopped && recovery.unpaired == 0);

    // Faults of the daemon are counted, and the later record counts.
    log.append(&[allocate(1), release(9), at(3_000, Event::Stop)])
        .unwrap();
    drop(log);
    let (log, recovery) = open(&path);
    assert!(recovery.is_stopped);
    assert_eq!(recovery.unpaired, 2);
    drop(log);

    // Releases of 1970 are long over.
    let recent = LogOptions {
        keep_released_ms: 120_000,
        ..OPTIONS
    };
    let (_, recovery) = LogFile::open(&path, recent).unwrap();
    assert_eq!((recovery.released.len(), recovery.live.len()), (0, 2));
}
