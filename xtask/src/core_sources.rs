//! The sources of `core` that match the compiler: `-Z build-std` compiles them for BPF.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::debian::{Offer, Suite, archives, has_apt};
use crate::step::note;
use crate::workspace;

/// Suites that may hold the package `rust-src` of a recent compiler, best first: backports keep
/// several versions side by side; unstable and testing hold one, newer or older than ours.
const SUITES: &[&str] = &["trixie-backports", "trixie", "forky", "sid"];

/// The folder `library` with core's sources, if some are on this machine.
pub fn find() -> Result<Option<PathBuf>> {
    let version_line = workspace::rustc_version()?;
    let version = workspace::version_number(&version_line)?;
    let candidates = [
        // rustup's component belongs to the toolchain, so its version is the compiler's.
        workspace::sysroot()?.join("lib/rustlib/src/rust/library"),
        library(&unpacked(version), version),
    ];
    Ok(candidates
        .into_iter()
        .find(|folder| folder.join("core/src/lib.rs").is_file()))
}

/// Gets core's sources from rustup or, failing that, from Debian.
///
/// With `skip_rustup` the toolchain is left alone. Errors say what was tried and what to do.
pub fn get(skip_rustup: bool) -> Result<PathBuf> {
    if let Some(folder) = find()? {
        note(format_args!(
            "sources of core: {} (already there)",
            folder.display()
        ));
        return Ok(folder);
    }
    let mut tried = Vec::new();
    if skip_rustup {
        tried.push("rustup: left out, as asked".to_owned());
    } else {
        match from_rustup() {
            Ok(()) => match find()? {
                Some(folder) => return Ok(folder),
                None => {
                    tried.push("rustup: added rust-src, but not to the toolchain in use".to_owned())
                }
            },
            Err(error) => tried.push(format!("rustup: {error:#}")),
        }
    }
    match from_debian() {
        Ok(folder) => return Ok(folder),
        Err(error) => tried.push(format!("Debian: {error:#}")),
    }
    bail!(
        "the sources of core for `{}` cannot be had:\n  {}\nRemedy: give rustup a network and run \
         `rustup component add rust-src`, or use a Debian machine whose mirror has that version. \
         Building and running the CGN does not need them: the committed object does.",
        workspace::rustc_version()?,
        tried.join("\n  ")
    )
}

fn from_rustup() -> Result<()> {
    if workspace::find_program("rustup").is_none() {
        bail!("not installed");
    }
    note("running `rustup component add rust-src`");
    crate::step::run(
        Command::new("rustup")
            .args(["component", "add", "rust-src"])
            .current_dir(workspace::root()),
    )
}

fn from_debian() -> Result<PathBuf> {
    if !has_apt() {
        bail!("apt-get and dpkg are not here");
    }
    let version_line = workspace::rustc_version()?;
    let version = workspace::version_number(&version_line)?;
    let mut seen = Vec::new();
    for archive in archives()? {
        for suite_name in SUITES {
            note(format_args!(
                "looking for rust-src {version} in {archive} {suite_name}"
            ));
            let suite = match Suite::open(&archive, suite_name) {
                Ok(suite) => suite,
                Err(error) => {
                    note(format_args!("not there: {error:#}"));
                    continue;
                }
            };
            let offers = suite.offers("rust-src")?;
            if let Some(offer) = matching(&offers, version) {
                let folder = unpacked(version);
                suite.unpack(offer, &folder)?;
                let library = library(&folder, version);
                if !library.join("core/src/lib.rs").is_file() {
                    bail!(
                        "package rust-src {} has no {}",
                        offer.version,
                        library.display()
                    );
                }
                return Ok(library);
            }
            seen.extend(offers.into_iter().map(|offer| offer.version));
        }
    }
    bail!(
        "no suite has version {version}; there are {}",
        seen.join(", ")
    )
}

/// Debian repacks the source (`1.95.0+dfsg1-2~bpo13+1`): what comes before `+` or `-` is upstream's version.
fn matching<'a>(offers: &'a [Offer], version: &str) -> Option<&'a Offer> {
    offers
        .iter()
        .find(|offer| offer.version.split(['+', '-', '~']).next() == Some(version))
}

fn unpacked(version: &str) -> PathBuf {
    workspace::store().join(format!("rust-src-{version}"))
}

fn library(unpacked: &Path, version: &str) -> PathBuf {
    unpacked.join(format!("usr/src/rustc-{version}/library"))
}

#[cfg(test)]
mod tests {
    use super::matching;
    use crate::debian::Offer;

    #[test]
    fn only_the_compilers_own_version_matches() {
        let offers: Vec<Offer> = [
            "1.96.1+dfsg1-2~bpo13+1",
            "1.95.0+dfsg1-2~bpo13+1",
            "1.95.0~beta.2+dfsg1-1",
        ]
        .iter()
        .map(|version| Offer {
            package: "rust-src".to_owned(),
            version: (*version).to_owned(),
        })
        .collect();
        let cases = [
            (
                "the exact version",
                "1.95.0",
                Some("1.95.0+dfsg1-2~bpo13+1"),
            ),
            ("a prefix is another version", "1.9", None),
            ("a version that nobody has", "1.95.1", None),
        ];
        for (sentence, version, wanted) in cases {
            let found = matching(&offers, version).map(|offer| offer.version.as_str());
            assert_eq!(found, wanted, "{sentence}");
        }
    }
}
