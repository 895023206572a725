//! Debian's packages: install them as root, or unpack one from a suite of the machine's own mirror
//! without installing it.
//!
//! The mirror's address comes from apt's configuration. A suite that the machine does not use
//! (backports, an older release) is read through a private source list and private lists, so that
//! the machine's own apt state stays as it was; apt checks its signature as always.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::step::{self, note};
use crate::workspace;

/// Holds the keys of all Debian releases and suites; without it apt's default keys are used.
const ARCHIVE_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite of a Debian archive, read apart from the machine's own lists.
pub struct Suite {
    name: String,
    state: PathBuf,
}

/// A package version that a suite offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub package: String,
    pub version: String,
}

/// True where apt can install packages.
pub fn has_apt() -> bool {
    workspace::find_program("apt-get").is_some() && workspace::find_program("dpkg").is_some()
}

/// Installs packages without asking and without recommended ones.
///
/// Errors when apt fails; its own output is on the screen then.
pub fn install(packages: &[&str]) -> Result<()> {
    let install = || {
        step::run(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["install", "--yes", "--quiet", "--no-install-recommends"])
                .args(packages),
        )
    };
    // A fresh machine or container image often has no package lists, or lists that name files which
    // the mirror has replaced since.
    if install().is_err() {
        note("apt-get install failed; trying again with fresh package lists");
        step::run(Command::new("apt-get").args(["update", "--quiet"]))?;
        install()?;
    }
    Ok(())
}

/// Addresses of the Debian archives that this machine's apt uses, such as `<mirror>/debian/`.
///
/// Errors when none is configured: another distribution, or no apt.
pub fn archives() -> Result<Vec<String>> {
    let targets = step::capture(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(REPO_URI)",
    ]))?;
    let mut archives: Vec<String> = parse_archives(&targets);
    if archives.is_empty() {
        // Origin is known only once the lists are there.
        let targets = step::capture(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "Debian $(REPO_URI)",
        ]))?;
        archives = parse_archives(&targets)
            .into_iter()
            .filter(|uri| uri.trim_end_matches('/').ends_with("debian"))
            .collect();
    }
    if archives.is_empty() {
        bail!("apt on this machine has no Debian archive in its source list");
    }
    Ok(archives)
}

fn parse_archives(targets: &str) -> Vec<String> {
    let mut archives: Vec<String> = targets
        .lines()
        .filter_map(|line| line.strip_prefix("Debian "))
        .map(|uri| uri.trim().to_owned())
        .filter(|uri| uri.contains("://"))
        .collect();
    archives.sort();
    archives.dedup();
    archives
}

impl Suite {
    /// Reads the package lists of one suite.
    ///
    /// Errors when the archive does not have the suite or cannot be reached.
    pub fn open(archive: &str, name: &str) -> Result<Self> {
        let archive_hash = crate::object_record::sha256(archive.as_bytes());
        let state = workspace::store().join(format!("apt/{name}-{}", &archive_hash[..8]));
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(state.join(folder))
                .with_context(|| format!("cannot make {}", state.join(folder).display()))?;
        }
        let signed_by = if Path::new(ARCHIVE_KEYRING).exists() {
            format!("[signed-by={ARCHIVE_KEYRING}] ")
        } else {
            String::new()
        };
        let list = state.join("sources.list");
        fs::write(&list, format!("deb {signed_by}{archive} {name} main\n"))
            .with_context(|| format!("cannot write {}", list.display()))?;
        let suite = Self {
            name: name.to_owned(),
            state,
        };
        step::capture(suite.apt("apt-get").args(["--quiet", "update"]))
            .with_context(|| format!("cannot read suite {name} of {archive}"))?;
        Ok(suite)
    }

    /// All versions of the packages whose whole name matches this regular expression.
    pub fn offers(&self, name_pattern: &str) -> Result<Vec<Offer>> {
        let names = step::capture(self.apt("apt-cache").args([
            "search",
            "--names-only",
            &format!("^{name_pattern}$"),
        ]))?;
        let mut offers = Vec::new();
        for name in names.lines().filter_map(|line| line.split(' ').next()) {
            let versions = step::capture(self.apt("apt-cache").args(["madison", name]))?;
            offers.extend(parse_madison(&versions));
        }
        Ok(offers)
    }

    /// Downloads one package and unpacks it into `folder` (nothing is installed, no script of it runs).
    pub fn unpack(&self, offer: &Offer, folder: &Path) -> Result<()> {
        let downloads = self.state.join("downloads");
        let unpacked = folder.with_extension("part");
        for empty in [&downloads, &unpacked] {
            remove_folder(empty)?;
            fs::create_dir_all(empty)
                .with_context(|| format!("cannot make {}", empty.display()))?;
        }
        let what = format!("{}={}", offer.package, offer.version);
        note(format_args!("downloading {what} from suite {}", self.name));
        step::run(
            self.apt("apt-get")
                .args(["--quiet", "download", &what])
                .current_dir(&downloads),
        )?;
        unpack_file(&only_file(&downloads)?, &unpacked)?;
        remove_folder(&downloads)?;
        // The rename comes last: a folder with the final name is always complete.
        remove_folder(folder)?;
        fs::rename(&unpacked, folder).with_context(|| format!("cannot make {}", folder.display()))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let state = self.state.display();
        for option in [
            format!("Dir::Etc::SourceList={state}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={state}/lists"),
            format!("Dir::Cache={state}/cache"),
            // As root apt would download as user _apt, who may not be able to enter our folder.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// Unpacks a package file.
pub fn unpack_file(package: &Path, folder: &Path) -> Result<()> {
    step::run(
        Command::new("dpkg")
            .arg("--extract")
            .arg(package)
            .arg(folder),
    )
}

/// Compares two package versions the way dpkg does.
pub fn is_newer(version: &str, than: &str) -> Result<bool> {
    let status = Command::new("dpkg")
        .args(["--compare-versions", version, "gt", than])
        .status()
        .context("cannot start dpkg")?;
    Ok(status.success())
}

fn parse_madison(versions: &str) -> Vec<Offer> {
    versions
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('|').map(str::trim);
            let (package, version, source) = (fields.next()?, fields.next()?, fields.next()?);
            source.ends_with("Packages").then(|| Offer {
                package: package.to_owned(),
                version: version.to_owned(),
            })
        })
        .collect()
}

fn remove_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .next()
        .with_context(|| format!("apt-get download left nothing in {}", folder.display()))??;
    Ok(entry.path())
}

#[cfg(test)]
mod tests {
    use super::{Offer, parse_archives, parse_madison};

    #[test]
    fn offers_are_read_from_apt() {
        let text = "  rust-src | 1.96.1+dfsg1-2~bpo13+1 | http://mirror/debian trixie-backports/main amd64 Packages\n  \
                    rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror/debian trixie-backports/main amd64 Packages\n  \
                    rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror/debian trixie-backports/main Sources\n\
                    N: a notice\n";
        let offer = |version: &str| Offer {
            package: "rust-src".to_owned(),
            version: version.to_owned(),
        };
        assert_eq!(
            parse_madison(text),
            [
                offer("1.96.1+dfsg1-2~bpo13+1"),
                offer("1.95.0+dfsg1-2~bpo13+1")
            ]
        );
    }

    #[test]
    fn only_debian_archives_are_taken() {
        let cases = [
            (
                "one archive, named once for each index",
                "Debian http://m/debian/\nDebian http://m/debian/\n",
                vec!["http://m/debian/"],
            ),
            (
                "foreign archives are left out",
                "Example http://m/apt/\nDebian http://m/debian/\n",
                vec!["http://m/debian/"],
            ),
            (
                "no lists yet: apt leaves the words as they are",
                "$(ORIGIN) http://m/debian/\n",
                vec![],
            ),
        ];
        for (sentence, targets, wanted) in cases {
            assert_eq!(parse_archives(targets), wanted, "{sentence}");
        }
    }
}
