//! The keys of scattered blocks: what the log's records need to mean ports.
//!
//! A record of a scattered block has the *places* of the block and the number of a key;
//! with the key, which stands here, the place of any port is known (RFC 6431 section 2.2).
//! `scatter.keys` lies in the log's directory, mode 0600, and goes where the log goes: one
//! who has it can tell every port, one who has the log without it none.
//!
//! ```text
//! 1 2026-03-03T14:03:07.123Z 6f0c...   number from 1 on, when it was made, 32 bytes in hexadecimal
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cgn_common::nat::{class, scatter};
use ring::hmac;
use thiserror::Error;

use super::event::Block;
use super::sealed::{hex, unhex};
use crate::utc::Utc;

/// The highest number of a key: [`class::KEY`] stands for something else.
pub const LAST_KEY: u8 = class::KEY - 1;

const NAME: &str = "scatter.keys";
/// Name while it is written.
const UNFINISHED: &str = "scatter.keys.tmp";

/// Keys that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyringError {
    #[error("cannot use the keys of scattered blocks, {path}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("line {line} of {path} is no key: get the file from a copy, without it the log tells nothing of scattered blocks", path = path.display())]
    Line { path: PathBuf, line: usize },
    #[error("{path} has no key number {number}, which the log names: get the file from a copy", path = path.display())]
    Missing { path: PathBuf, number: u8 },
    #[error("all 254 keys of {path} are used: the last one stays in use", path = path.display())]
    Full { path: PathBuf },
}

/// A key of an epoch.
#[derive(Debug)]
struct Key {
    /// Milliseconds of Unix time.
    made_ms: u64,
    secret: [u8; 32],
}

/// All keys of a log. Number n is the n-th.
#[derive(Debug)]
pub struct Keyring {
    path: PathBuf,
    keys: Vec<Key>,
}

impl Keyring {
    /// The keys of the log in the directory `root`; none if it has none.
    ///
    /// # Errors
    /// The file cannot be read, or says something else.
    pub fn read(root: &Path) -> Result<Self, KeyringError> {
        let path = root.join(NAME);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| KeyringError::Io {
                path: path.clone(),
                source,
            })?,
        };
        let keys = text.lines().enumerate().map(|(at, line)| {
            key_of(line, at + 1).ok_or_else(|| KeyringError::Line {
                path: path.clone(),
                line: at + 1,
            })
        });
        let keys = keys.collect::<Result<_, _>>()?;
        Ok(Self { path, keys })
    }

    /// Number of the newest key; 0: there is none yet.
    #[must_use]
    pub fn newest(&self) -> u8 {
        self.keys.len() as u8
    }

    /// When the newest key was made, in milliseconds of Unix time.
    #[must_use]
    pub fn newest_made_ms(&self) -> Option<u64> {
        self.keys.last().map(|key| key.made_ms)
    }

    /// Adds a key and brings it to the disk: no record may name one that could be lost.
    ///
    /// # Errors
    /// It cannot be written, or there are 254 already; nothing was changed.
    pub fn add(&mut self, secret: [u8; 32], made_ms: u64) -> Result<(), KeyringError> {
        if self.keys.len() >= usize::from(LAST_KEY) {
            let path = self.path.clone();
            return Err(KeyringError::Full { path });
        }
        self.keys.push(Key { made_ms, secret });
        self.write().map_err(|source| {
            self.keys.pop();
            let path = self.path.clone();
            KeyringError::Io { path, source }
        })
    }

    fn write(&self) -> io::Result<()> {
        let unfinished = self.path.with_file_name(UNFINISHED);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&unfinished)?;
        for (at, key) in self.keys.iter().enumerate() {
            writeln!(file, "{} {} {}", at + 1, Utc(key.made_ms), hex(&key.secret))?;
        }
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }

    /// The four keys of an address under key `number`, see [`scatter::port_of`]: the
    /// HMAC-SHA-256 of the address, with the number in place of the last word's lowest byte.
    ///
    /// # Errors
    /// There is no such key.
    pub fn of(&self, number: u8, external: Ipv4Addr) -> Result<[u64; 4], KeyringError> {
        let key = usize::from(number).checked_sub(1);
        let Some(key) = key.and_then(|at| self.keys.get(at)) else {
            let path = self.path.clone();
            return Err(KeyringError::Missing { path, number });
        };
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &key.secret);
        let tag = hmac::sign(&secret, &external.octets());
        let word = |at: usize| {
            let bytes = tag.as_ref()[8 * at..].first_chunk().copied();
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        Ok([
            word(0),
            word(1),
            word(2),
            word(3) & !0xff | u64::from(number),
        ])
    }

    /// Whether the block has this port of its external address.
    ///
    /// # Errors
    /// The block is scattered with a key that is not here.
    pub fn has(&self, block: &Block, port: u16) -> Result<bool, KeyringError> {
        let place = match block.key {
            0 => port,
            class::KEY => class::place_of(port),
            key => scatter::place_of(self.of(key, block.external)?, port),
        };
        Ok(block.ports.contains(place))
    }
}

fn key_of(line: &str, number: usize) -> Option<Key> {
    let mut words = line.split(' ');
    let (at, made, secret) = (words.next()?, words.next()?, words.next()?);
    let is_next = at.parse() == Ok(number) && number <= usize::from(LAST_KEY);
    let Utc(made_ms) = Utc::parse(made)?;
    let secret = unhex(secret)?;
    (is_next && words.next().is_none()).then_some(Key { made_ms, secret })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::maplog::{PortRange, ProtocolScope};

    const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("cgn-keys-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).unwrap();
            Self(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// `printf '\313\000\161\005' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0102..`
    /// with the secret 01 02 .. 20; words in little endian, the last byte replaced by the number 1.
    #[test]
    fn keys_of_an_address_are_an_hmac_of_it() {
        let root = Root::new("hmac");
        let mut keys = Keyring::read(&root.0).unwrap();
        let mut secret = [0; 32];
        (1..).zip(&mut secret).for_each(|(n, byte)| *byte = n);
        keys.add(secret, 1_772_546_587_123).unwrap();
        assert_eq!(keys.of(1, EXTERNAL).unwrap(), HMAC);
    }
    const HMAC: [u64; 4] = [
        0xc370_b92a_049e_1dd4,
        0x73a8_8fef_2073_185d,
        0x548a_9d0c_6a0f_56a1,
        0x053f_664a_3b4d_e901,
    ];

    #[test]
    fn keys_stay_as_they_were_and_only_their_owner_reads_them() {
        let root = Root::new("stay");
        let mut keys = Keyring::read(&root.0).unwrap();
        assert_eq!((keys.newest(), keys.newest_made_ms()), (0, None));
        keys.add([7; 32], 1_772_546_587_123).unwrap();
        keys.add([9; 32], 1_772_546_587_124).unwrap();
        let again = Keyring::read(&root.0).unwrap();
        assert_eq!(again.newest(), 2);
        assert_eq!(again.newest_made_ms(), Some(1_772_546_587_124));
        for number in [1, 2] {
            let [one, other] = [&keys, &again].map(|keys| keys.of(number, EXTERNAL).unwrap());
            assert_eq!(one, other);
        }
        assert_ne!(
            again.of(1, EXTERNAL).unwrap(),
            again.of(2, EXTERNAL).unwrap()
        );
        let neighbour = Ipv4Addr::new(203, 0, 113, 6);
        assert_ne!(
            again.of(1, EXTERNAL).unwrap(),
            again.of(1, neighbour).unwrap()
        );
        let mode = fs::metadata(root.0.join(NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_key_is_refused_and_a_missing_one_is_told() {
        let good = format!("1 2026-03-03T14:03:07.123Z {}", "ab".repeat(32));
        let second = good.replacen('1', "2", 1);
        let cases = [
            ("an empty line", format!("{good}\n\n")),
            ("a number twice", format!("{good}\n{good}\n")),
            ("a number left out", format!("{second}\n")),
            ("a short secret", good[..good.len() - 2].to_owned()),
            (
                "no time",
                good.replace("2026-03-03T14:03:07.123Z", "yesterday"),
            ),
            ("something behind", format!("{good} x")),
        ];
        for (what, text) in cases {
            let root = Root::new("bad");
            fs::write(root.0.join(NAME), text).unwrap();
            let read = Keyring::read(&root.0);
            assert!(matches!(read, Err(KeyringError::Line { .. })), "{what}");
        }
        let root = Root::new("missing");
        fs::write(root.0.join(NAME), format!("{good}\n{second}\n")).unwrap();
        let keys = Keyring::read(&root.0).unwrap();
        for number in [0, 3] {
            let missing = keys.of(number, EXTERNAL);
            assert!(matches!(missing, Err(KeyringError::Missing { .. })));
        }
    }

    #[test]
    fn each_port_is_of_exactly_one_block_of_a_key() {
        let root = Root::new("each");
        let mut keys = Keyring::read(&root.0).unwrap();
        keys.add([3; 32], 0).unwrap();
        let block = |number: u8, key| Block {
            realm: 0,
            inside: Ipv4Addr::new(100, 64, 0, number),
            external: EXTERNAL,
            ports: PortRange::new(1024 + 512 * u16::from(number), 512).unwrap(),
            pool: 0,
            scope: ProtocolScope::All,
            key,
        };
        for (key, all) in [
            (0, 1024..=65_535),
            (1, 1024..=65_535),
            (class::KEY, 16..=64_527),
        ] {
            let blocks: Vec<Block> = (0..126).map(|number| block(number, key)).collect();
            let mut counts = [0; 126];
            for port in 0..=u16::MAX {
                let mut owners = (0..126).filter(|at| keys.has(&blocks[*at], port).unwrap());
                let owner = owners.next();
                assert_eq!(owner.is_some(), all.contains(&port), "{port} of key {key}");
                if let Some(owner) = owner {
                    counts[owner] += 1;
                    assert!(key == 1 || is_told(&blocks[owner], port), "{port}");
                }
                assert_eq!(owners.next(), None, "{port}");
            }
            assert_eq!(counts, [512; 126]);
        }
    }

    fn is_told(block: &Block, port: u16) -> bool {
        let ranges = block.ranges();
        let is_system = ranges.system.is_some_and(|range| range.contains(port));
        is_system || ranges.ports.contains(port)
    }

    #[test]
    fn the_number_that_stands_for_classes_is_no_key_s() {
        let root = Root::new("many");
        let mut keys = Keyring::read(&root.0).unwrap();
        keys.keys = (0..254)
            .map(|made_ms| Key {
                made_ms,
                secret: [0; 32],
            })
            .collect();
        assert_eq!(keys.newest(), class::KEY - 1);
        assert!(matches!(
            keys.add([0; 32], 0),
            Err(KeyringError::Full { .. })
        ));
    }
}
