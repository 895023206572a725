use super::{ARTIFACTS, Artifact, BUILD_FILES, Record, sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const OURS: &Artifact = &ARTIFACTS[0];

/// A folder that is removed at the end of a test, also of a failed one.
struct Clone(PathBuf);

impl Clone {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("cgn-xtask-{name}-{}", std::process::id()));
        for path in BUILD_FILES
            .iter()
            .chain(&[OURS.object, "cgn-common/src/lib.rs"])
        {
            let file = root.join(path);
            fs::create_dir_all(file.parent().expect("has a folder")).expect("make folder");
            fs::write(file, path).expect("write file");
        }
        Self(root)
    }

    fn record(&self) -> Record {
        let sources = BTreeSet::from([PathBuf::from("cgn-common/src/lib.rs")]);
        let tools = BTreeMap::from([("rustc".to_owned(), "rustc 1.95.0 (abc)".to_owned())]);
        Record::take(&self.0, OURS, &sources, tools).expect("all files are there")
    }
}

impl Drop for Clone {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn sha256_is_the_published_function() {
    // FIPS 180-2, appendix B.1.
    assert_eq!(
        sha256(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn a_record_survives_writing_and_reading() {
    let clone = Clone::new("roundtrip");
    let record = clone.record();
    record.write(&clone.0, OURS).expect("writable");
    assert_eq!(Record::read(&clone.0, OURS).expect("readable"), record);
    assert_eq!(record.differences(&clone.0, OURS), [""; 0]);
}

#[test]
fn every_kind_of_change_is_named() {
    type Change = fn(&Path, &mut Record);
    let cases: [(&str, Change, &str); 4] = [
        (
            "a changed source",
            |root, _| fs::write(root.join("cgn-common/src/lib.rs"), "new").expect("writable"),
            "cgn-common/src/lib.rs has changed",
        ),
        (
            "a changed object",
            |root, _| fs::write(root.join(OURS.object), "new").expect("writable"),
            "cgn.bpf.o has changed",
        ),
        (
            "a source that is gone",
            |root, _| fs::remove_file(root.join("cgn-common/src/lib.rs")).expect("removable"),
            "cannot read",
        ),
        (
            "a record that leaves out the lock file",
            |_, record| drop(record.files.remove(Path::new("cgn-ebpf/Cargo.lock"))),
            "cgn-ebpf/Cargo.lock is not in the record",
        ),
    ];
    for (index, (sentence, change, wanted)) in cases.into_iter().enumerate() {
        let clone = Clone::new(&format!("change{index}"));
        let mut record = clone.record();
        change(&clone.0, &mut record);
        let differences = record.differences(&clone.0, OURS);
        assert_eq!(differences.len(), 1, "{sentence}: {differences:?}");
        assert!(
            differences[0].contains(wanted),
            "{sentence}: {differences:?}"
        );
    }
}

#[test]
fn a_damaged_record_is_refused() {
    let cases = [
        ("a cut checksum", "ba7816bf  cgn-common/src/lib.rs"),
        ("no path", &format!("{}  ", "0".repeat(64))),
        ("a merge conflict", "<<<<<<< HEAD"),
    ];
    for (sentence, line) in cases {
        assert!(Record::parse(line).is_err(), "{sentence}");
    }
}
