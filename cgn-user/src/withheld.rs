//! External addresses that an operator took out of use for a time, because they are attacked or stand
//! on a list: `cgn pool quarantine|drain|restore`. A file beside the mapping log remembers them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

/// Name of the file.
const FILE: &str = "withheld-addresses";

/// How far an address is out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// No new subscriber gets it; who has it keeps it, with all that goes with it.
    Quarantined,
    /// Nor do those who have it open anything new: what is there goes on until it ends, and then they
    /// get another one.
    Drained,
}

impl Standing {
    /// As in the file and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Drained => "drained",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Quarantined, Self::Drained];
        all.into_iter().find(|standing| standing.name() == name)
    }
}

type Addresses = BTreeMap<Ipv4Addr, Standing>;

/// The addresses that are out of use; whoever has a copy sees the same.
#[derive(Clone, Debug, Default)]
pub struct Withheld(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    addresses: RwLock<Addresses>,
    /// None: they are not remembered.
    file: Option<PathBuf>,
}

impl PartialEq for Withheld {
    fn eq(&self, other: &Self) -> bool {
        self.all() == other.all()
    }
}
impl Eq for Withheld {}

impl Withheld {
    /// Those that the file in this folder remembers.
    ///
    /// # Errors
    /// The file is there and cannot be read, or a line of it: without that an address would be in use
    /// that should not be.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let file = folder.join(FILE);
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let mut addresses = Addresses::new();
        for line in text.lines() {
            let (address, standing) = parse(line).ok_or_else(|| unreadable(&file, line))?;
            addresses.insert(address, standing);
        }
        Ok(Self(Arc::new(Inner {
            addresses: RwLock::new(addresses),
            file: Some(file),
        })))
    }

    /// Takes an address out of use, or with `None` into use again; remembered before it holds.
    ///
    /// # Errors
    /// It cannot be remembered; nothing was changed.
    pub fn set(&self, address: Ipv4Addr, standing: Option<Standing>) -> io::Result<()> {
        let mut addresses = self
            .0
            .addresses
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut new = addresses.clone();
        match standing {
            Some(standing) => new.insert(address, standing),
            None => new.remove(&address),
        };
        if let Some(file) = &self.0.file {
            remember(file, &new)?;
        }
        *addresses = new;
        Ok(())
    }

    /// How far an address is out of use; `None`: it is in use.
    #[must_use]
    pub fn of(&self, address: Ipv4Addr) -> Option<Standing> {
        let addresses = self
            .0
            .addresses
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        addresses.get(&address).copied()
    }

    /// All that are.
    #[must_use]
    pub fn all(&self) -> Addresses {
        let addresses = self.0.addresses.read();
        addresses.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn parse(line: &str) -> Option<(Ipv4Addr, Standing)> {
    let (address, standing) = line.split_once(' ')?;
    Some((address.parse().ok()?, Standing::from_name(standing)?))
}

fn unreadable(file: &Path, line: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{}: {line:?} is no address with `quarantined` or `drained`; mend the line, or remove it to have its address in use",
            file.display()
        ),
    )
}

/// Writes the file anew: whole, or not at all.
fn remember(file: &Path, addresses: &Addresses) -> io::Result<()> {
    let mut text = String::new();
    for (address, standing) in addresses {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address} {}", standing.name());
    }
    let unfinished = file.with_extension("new");
    let mut new = File::create(&unfinished)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&unfinished, file)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fixture::Scratch;

    #[test]
    fn what_is_withheld_is_remembered_until_it_is_restored() {
        let scratch = Scratch::new("withheld");
        let (one, other) = (Ipv4Addr::new(203, 0, 113, 5), Ipv4Addr::new(203, 0, 113, 6));
        let withheld = Withheld::open(&scratch.0).expect("no file yet");
        assert_eq!(withheld.of(one), None);
        withheld
            .set(one, Some(Standing::Quarantined))
            .expect("written");
        withheld
            .set(other, Some(Standing::Drained))
            .expect("written");
        withheld.set(one, Some(Standing::Drained)).expect("written");
        withheld.set(other, None).expect("written");
        let again = Withheld::open(&scratch.0).expect("it can be read");
        assert_eq!(again.all(), Addresses::from([(one, Standing::Drained)]));
    }

    #[test]
    fn a_line_that_cannot_be_read_brings_no_address_back_into_use() {
        for line in ["203.0.113.5 draned", "203.0.113.5", "", "203.0.113 drained"] {
            let scratch = Scratch::new("withheld-damaged");
            fs::create_dir_all(&scratch.0).expect("a folder");
            let text = format!("203.0.113.4 drained\n{line}\n");
            fs::write(scratch.0.join(FILE), text).expect("written");
            let error = Withheld::open(&scratch.0).expect_err(line).to_string();
            assert!(error.contains(line) && error.contains("mend"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_remembered_does_not_hold() {
        let scratch = Scratch::new("withheld-nowhere");
        let withheld = Withheld::open(&scratch.0.join("none")).expect("no file yet");
        let address = Ipv4Addr::new(203, 0, 113, 5);
        assert!(withheld.set(address, Some(Standing::Drained)).is_err());
        assert_eq!(withheld.of(address), None);
    }
}
