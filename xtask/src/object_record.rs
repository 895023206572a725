//! The committed objects, and the record beside each: what it was built from, as checksums.
//!
//! Its lines are those of `sha256sum`, so `sha256sum -c` from the top folder checks them as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// A committed object; paths are relative to the repository's top.
#[derive(Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Binary target of `cgn-ebpf`.
    pub binary: &'static str,
    /// Features of `cgn-ebpf` that it is built with, divided by commas.
    pub features: &'static str,
    pub object: &'static str,
    /// The record beside it.
    pub record: &'static str,
}

/// Every committed object.
pub const ARTIFACTS: &[Artifact] = &[
    Artifact {
        binary: "cgn",
        features: "",
        object: "cgn-user/bpf/cgn.bpf.o",
        record: "cgn-user/bpf/cgn.bpf.o.sources",
    },
    Artifact {
        binary: "cgn",
        features: "diagnostics",
        object: "cgn-user/bpf/cgn-diagnostics.bpf.o",
        record: "cgn-user/bpf/cgn-diagnostics.bpf.o.sources",
    },
    Artifact {
        binary: "cgn",
        features: "watch",
        object: "cgn-user/bpf/cgn-watch.bpf.o",
        record: "cgn-user/bpf/cgn-watch.bpf.o.sources",
    },
    Artifact {
        binary: "cgn-bench",
        features: "",
        object: "tests/bpf/cgn-bench.bpf.o",
        record: "tests/bpf/cgn-bench.bpf.o.sources",
    },
    Artifact {
        binary: "cgn-rig",
        features: "",
        object: "tests/bpf/cgn-rig.bpf.o",
        record: "tests/bpf/cgn-rig.bpf.o.sources",
    },
];

/// Inputs of the build that the compiler's own list of files does not hold.
const BUILD_FILES: &[&str] = &[
    "cgn-common/Cargo.toml",
    "cgn-ebpf/Cargo.lock",
    "cgn-ebpf/Cargo.toml",
    "rust-toolchain.toml",
];

/// What follows the object's name in the first line.
const HEADLINE: &str = "and all that it was built from. `cargo xtask ebpf` writes this file, `cargo xtask ebpf --check` compares.";

/// What the object was built with and from.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// `rustc`, `bpf-linker`, `flags` and, if there are any, `features`, each with its version or value.
    pub tools: BTreeMap<String, String>,
    /// SHA-256 in hexadecimal of each file, the object included, by path from the top.
    pub files: BTreeMap<PathBuf, String>,
}

impl Record {
    /// Takes the checksums of the object and its sources as they are on disk.
    pub fn take(
        root: &Path,
        artifact: &Artifact,
        sources: &BTreeSet<PathBuf>,
        tools: BTreeMap<String, String>,
    ) -> Result<Self> {
        let paths = sources.iter().cloned().chain(
            BUILD_FILES
                .iter()
                .copied()
                .chain([artifact.object])
                .map(PathBuf::from),
        );
        let files = paths
            .map(|path| Ok((path.clone(), sha256_file(&root.join(path))?)))
            .collect::<Result<_>>()?;
        Ok(Self { tools, files })
    }

    /// Reads the committed record.
    pub fn read(root: &Path, artifact: &Artifact) -> Result<Self> {
        let path = root.join(artifact.record);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}; remedy: cargo xtask ebpf", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", artifact.record))
    }

    /// Writes the record beside the object.
    pub fn write(&self, root: &Path, artifact: &Artifact) -> Result<()> {
        let path = root.join(artifact.record);
        fs::write(&path, self.to_text(artifact))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Compares with the files on disk and returns a sentence for each difference.
    pub fn differences(&self, root: &Path, artifact: &Artifact) -> Vec<String> {
        let mut differences = Vec::new();
        for path in BUILD_FILES.iter().chain(&[artifact.object]) {
            if !self.files.contains_key(Path::new(path)) {
                differences.push(format!("{path} is not in the record"));
            }
        }
        for (path, recorded) in &self.files {
            match sha256_file(&root.join(path)) {
                Ok(now) if now == *recorded => {}
                Ok(_) => differences.push(format!("{} has changed", path.display())),
                Err(error) => differences.push(format!("{error:#}")),
            }
        }
        differences
    }

    fn to_text(&self, artifact: &Artifact) -> String {
        let object = Path::new(artifact.object);
        let name = object.file_name().unwrap_or(object.as_os_str());
        let mut text = format!("# {} {HEADLINE}\n", name.display());
        for (tool, version) in &self.tools {
            text.push_str(&format!("# {tool}: {version}\n"));
        }
        for (path, hash) in &self.files {
            text.push_str(&format!("{hash}  {}\n", path.display()));
        }
        text
    }

    fn parse(text: &str) -> Result<Self> {
        let mut record = Self {
            tools: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        for (index, line) in text.lines().enumerate() {
            if let Some(comment) = line.strip_prefix("# ") {
                if let Some((tool, version)) = comment.split_once(": ") {
                    record.tools.insert(tool.to_owned(), version.to_owned());
                }
                continue;
            }
            match line.split_once("  ") {
                Some((hash, path)) if hash.len() == 64 && !path.is_empty() => {
                    record.files.insert(PathBuf::from(path), hash.to_owned());
                }
                _ => bail!("line {} is not a checksum and a path: {line:?}", index + 1),
            }
        }
        Ok(record)
    }
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn sha256_file(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(sha256(&bytes))
}

#[cfg(test)]
mod tests;
