//! What `cgn log verify` finds, and keys that are refused. Keys and signatures are OpenSSL's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::super::directory::{self, HOUR_MS};
use super::super::keys::{KeyError, SigningKey, VerifyingKey};
use super::super::sealer::{Retention, Sealer};
use super::super::verify::verify;
use super::*;
use crate::secret::SecretError;

const START: u64 = 1_772_496_000_000;
const KEEP: Retention = Retention {
    days: None,
    sealed_bytes: None,
    spool_bytes: 0,
};

fn openssl(directory: &Directory, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(&directory.0)
        .output()
        .expect("openssl, which the test command installs");
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A key pair `log.key`, `log.pub`, and in `log/` a sealed and signed log of three days.
fn signed() -> Directory {
    let directory = Directory::new();
    openssl(&directory, "genpkey -algorithm ed25519 -out log.key");
    openssl(&directory, "pkey -in log.key -pubout -out log.pub");
    let key = directory.0.join("log.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let root = directory.0.join("log");
    let (mut log, _) = open_log(&root);
    for hour in 0..60_u16 {
        let unix_ms = START + u64::from(hour) * HOUR_MS + 77;
        let entry = match hour % 2 {
            0 => allocate(hour / 2),
            _ => release(hour / 2),
        };
        log.append(&[Entry { unix_ms, ..entry }]).unwrap();
    }
    let mut sealer = Sealer::open(&root, KEEP, Some(SigningKey::read(&key).unwrap())).unwrap();
    sealer.turn(START).unwrap();
    directory
}

fn key_of(directory: &Directory) -> VerifyingKey {
    VerifyingKey::read(&directory.0.join("log.pub")).unwrap()
}

#[test]
fn an_untouched_log_is_proved_and_openssl_agrees() {
    let directory = signed();
    let root = directory.0.join("log");
    let verdict = verify(&root, Some(&key_of(&directory))).unwrap();
    assert_eq!(verdict.problems, Vec::<String>::new());
    assert_eq!((verdict.files, verdict.records), (59 + 3, 60));
    assert_eq!((verdict.sequences, verdict.signed_days), (Some((1, 61)), 2));
    let manifest = directory::manifest_path(&root, directory::days(&root).unwrap()[0]);
    let signature = manifest.with_extension("sig");
    openssl(
        &directory,
        &format!(
            "pkeyutl -verify -pubin -inkey log.pub -rawin -in {} -sigfile {}",
            manifest.display(),
            signature.display()
        ),
    );
}

#[test]
fn whatever_is_changed_is_found() {
    type Change = fn(&Path);
    let flip: fn(&Path) = |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let remove: Change = |path| fs::remove_file(path).unwrap();
    let double: Change = |path| {
        let name = path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .replace("000", "111");
        fs::copy(path, path.with_file_name(name)).map(drop).unwrap();
    };
    type Case = (&'static str, fn(&Path) -> PathBuf, Change);
    fn hour_of_first(root: &Path) -> PathBuf {
        directory::sealed_of(root, directory::days(root).unwrap()[0]).unwrap()[9].path(root)
    }
    fn held_of_second(root: &Path) -> PathBuf {
        directory::sealed_of(root, directory::days(root).unwrap()[1]).unwrap()[0].path(root)
    }
    fn manifest_of_first(root: &Path) -> PathBuf {
        directory::manifest_path(root, directory::days(root).unwrap()[0])
    }
    fn manifest_of_second(root: &Path) -> PathBuf {
        directory::manifest_path(root, directory::days(root).unwrap()[1])
    }
    fn signature_of_second(root: &Path) -> PathBuf {
        manifest_of_second(root).with_extension("sig")
    }
    fn segment(root: &Path) -> PathBuf {
        directory::segment_path(root, *directory::segments(root).unwrap().last().unwrap())
    }
    fn hour_of_last(root: &Path) -> PathBuf {
        directory::sealed_of(root, directory::days(root).unwrap()[2]).unwrap()[3].path(root)
    }
    let rewrite_manifest: Change = |path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("\"rows\": 1", "\"rows\": 2")).unwrap();
    };
    let cases: [Case; 11] = [
        ("a flipped bit in an hour", hour_of_first, flip),
        ("a missing hour", hour_of_first, remove),
        ("an hour under another name as well", hour_of_first, double),
        ("a flipped bit in what was held", held_of_second, flip),
        ("what was held is missing", held_of_second, remove),
        ("a changed manifest", manifest_of_first, rewrite_manifest),
        ("a missing manifest", manifest_of_second, remove),
        ("a missing signature", signature_of_second, remove),
        ("another signature", signature_of_second, flip),
        (
            "a missing hour of the day that is not over",
            hour_of_last,
            remove,
        ),
        (
            "a flipped bit in a record that is not sealed",
            segment,
            flip,
        ),
    ];
    for (sentence, of, change) in cases {
        let directory = signed();
        let root = directory.0.join("log");
        change(&of(&root));
        let verdict = verify(&root, Some(&key_of(&directory))).unwrap();
        // A torn record at the very end is no damage, only less.
        let is_shorter = verdict.records < 60;
        assert!(!verdict.problems.is_empty() || is_shorter, "{sentence}");
    }
    // Another key.
    let directory = signed();
    openssl(&directory, "genpkey -algorithm ed25519 -out other.key");
    openssl(&directory, "pkey -in other.key -pubout -out log.pub");
    let verdict = verify(&directory.0.join("log"), Some(&key_of(&directory))).unwrap();
    assert_eq!(verdict.problems.len(), 2, "{:?}", verdict.problems);
}

#[test]
fn keys_that_others_can_read_or_that_are_none_are_refused() {
    let directory = Directory::new();
    openssl(&directory, "genpkey -algorithm ed25519 -out log.key");
    openssl(&directory, "genpkey -algorithm RSA -out rsa.key");
    openssl(&directory, "pkey -in rsa.key -pubout -out rsa.pub");
    let path = directory.0.join("log.key");
    for (mode, is_refused) in [
        (0o600, false),
        (0o400, false),
        (0o640, true),
        (0o604, true),
        (0o620, true),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let read = SigningKey::read(&path);
        assert_eq!(read.is_err(), is_refused, "{mode:o}");
        if let Err(error) = read {
            assert!(
                matches!(error, KeyError::Secret(SecretError::Readable { .. })),
                "{error}"
            );
            assert!(error.to_string().contains("umask 077"), "{error}");
        }
    }
    let rsa = directory.0.join("rsa.key");
    fs::set_permissions(&rsa, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(
        SigningKey::read(&rsa),
        Err(KeyError::NotPrivate { .. })
    ));
    assert!(matches!(
        VerifyingKey::read(&directory.0.join("rsa.pub")),
        Err(KeyError::NotPublic { .. })
    ));
    assert!(matches!(
        SigningKey::read(&directory.0.join("none")),
        Err(KeyError::Secret(SecretError::Read { .. }))
    ));
}
