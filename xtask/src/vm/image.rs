//! Debian's kernel image: found, downloaded and unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::debian::{self, Offer, Suite};
use crate::step::{self, note};
use crate::workspace;

/// Kernel series and the Debian suites that have it.
const SERIES: &[(&str, &[&str])] = &[("6.1", &["bookworm", "bookworm-security"])];

/// An unpacked kernel package.
pub struct Kernel {
    /// What `uname -r` says in the guest.
    pub release: String,
    folder: PathBuf,
}

impl Kernel {
    /// The kernel to boot.
    pub fn image(&self) -> PathBuf {
        self.folder
            .join("boot")
            .join(format!("vmlinuz-{}", self.release))
    }

    /// The folder that the guest mounts as `/lib/modules`.
    pub fn all_modules(&self) -> PathBuf {
        self.folder.join("lib/modules")
    }

    /// The folder with `modules.dep`.
    pub fn modules(&self) -> PathBuf {
        self.all_modules().join(&self.release)
    }
}

/// The kernel of a series: the one unpacked before, or the newest of the mirror.
pub fn get(series: &str, package: Option<&Path>) -> Result<Kernel> {
    let Some((_, suites)) = SERIES.iter().find(|(known, _)| *known == series) else {
        let known: Vec<&str> = SERIES.iter().map(|(known, _)| *known).collect();
        bail!("no kernel series {series}; there is {}", known.join(", "));
    };
    let folder = workspace::store().join(format!("kernel-{series}"));
    match package {
        Some(file) => from_file(file, &folder)?,
        None if folder.is_dir() => {}
        None => from_mirror(series, suites, &folder)?,
    }
    let kernel = open(&folder)?;
    if !kernel.modules().join("modules.dep").is_file() {
        step::run(
            Command::new(
                workspace::find_program("depmod").context("depmod is missing (package kmod)")?,
            )
            .arg("--basedir")
            .arg(&folder)
            .arg(&kernel.release),
        )?;
    }
    note(format_args!(
        "{} (remove {} to get the newest)",
        kernel.release,
        folder.display()
    ));
    Ok(kernel)
}

fn from_file(package: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    debian::unpack_file(package, folder)
}

fn from_mirror(series: &str, suites: &[&str], folder: &Path) -> Result<()> {
    let remedy =
        "Remedy: give the kernel with --kernel-package linux-image-6.1.<...>-amd64_<...>.deb";
    if !debian::has_apt() {
        bail!("apt-get and dpkg are not here, so Debian's kernel cannot be fetched. {remedy}");
    }
    let pattern = format!(
        "linux-image-{}[.][0-9]+-[0-9]+-amd64",
        series.replace('.', "[.]")
    );
    let mut best: Option<(Offer, Suite)> = None;
    for archive in debian::archives().context(remedy)? {
        for name in suites {
            // Not every archive has every suite (security is one of its own).
            let suite = match Suite::open(&archive, name) {
                Ok(suite) => suite,
                Err(error) => {
                    note(format_args!("{name} is not there: {error:#}"));
                    continue;
                }
            };
            for offer in suite.offers(&pattern)? {
                if best
                    .as_ref()
                    .is_none_or(|(newest, _)| is_newer(&offer, newest))
                {
                    best = Some((offer, Suite::open(&archive, name)?));
                }
            }
        }
    }
    let (offer, suite) =
        best.with_context(|| format!("no suite of {} has {pattern}. {remedy}", suites.join(", ")))?;
    suite.unpack(&offer, folder)
}

/// Versions that cannot be compared are not newer.
fn is_newer(offer: &Offer, than: &Offer) -> bool {
    debian::is_newer(&offer.version, &than.version).unwrap_or(false)
}

fn open(folder: &Path) -> Result<Kernel> {
    let boot = folder.join("boot");
    let release = fs::read_dir(&boot)
        .with_context(|| format!("cannot read {}", boot.display()))?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .find_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
        .with_context(|| {
            format!(
                "no kernel in {}; remove that folder's parent and try again",
                boot.display()
            )
        })?;
    Ok(Kernel {
        release,
        folder: folder.to_path_buf(),
    })
}
