//! `cargo xtask ebpf`: rebuilds the committed BPF objects; with `--check`, proves that objects and
//! sources belong together.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::ebpf_build::{self, Built, FLAGS, Tools};
use crate::object_record::{ARTIFACTS, Artifact, Record, sha256};
use crate::step::{note, step};
use crate::{bpf_linker, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Change nothing: compare the recorded checksums and, where the tools are here, a fresh build
    #[arg(long)]
    check: bool,
    /// With --check: it is an error when the tools for a fresh build are missing
    #[arg(long, requires = "check")]
    rebuild: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if args.check {
        check(args.rebuild)
    } else {
        rebuild()
    }
}

/// The check without rights, network or special tools; a fresh build only where it is possible
/// unless `must_rebuild`.
pub fn check(must_rebuild: bool) -> Result<()> {
    let records = step("BPF objects: recorded checksums", check_records)?;
    match tools_like(&records) {
        Ok(tools) => step("BPF objects: fresh build, same bytes", || compare(&tools)),
        Err(error) if must_rebuild => Err(error),
        Err(error) => {
            note(format_args!("no fresh build to compare with: {error:#}"));
            Ok(())
        }
    }
}

fn check_records() -> Result<Vec<Record>> {
    let root = workspace::root();
    let mut differences = Vec::new();
    let mut records = Vec::new();
    for artifact in ARTIFACTS {
        let record = Record::read(&root, artifact)?;
        differences.extend(record.differences(&root, artifact));
        if record.tools.get("flags") != Some(&flags())
            || record.tools.get("features") != features(artifact).as_ref()
        {
            differences.push(format!(
                "the build flags of {} have changed (xtask/src/ebpf_build.rs, object_record.rs)",
                artifact.object
            ));
        }
        note(format_args!(
            "{}: {} files recorded",
            artifact.object,
            record.files.len()
        ));
        records.push(record);
    }
    if !differences.is_empty() {
        differences.dedup();
        bail!(
            "the committed objects and their sources do not belong together:\n  {}\n\
             Remedy: run `cargo xtask ebpf` and commit cgn-user/bpf and tests/bpf with the sources.",
            differences.join("\n  ")
        );
    }
    Ok(records)
}

/// The tools for a fresh build; an error when another compiler than the recorded one is in use,
/// because its object may rightly differ.
fn tools_like(records: &[Record]) -> Result<Tools> {
    let here = workspace::rustc_version()?;
    for record in records {
        let recorded = record.tools.get("rustc").map_or("nothing", String::as_str);
        if here != recorded {
            bail!("the object was built by {recorded}, and here is {here}");
        }
    }
    Tools::find()
}

fn compare(tools: &Tools) -> Result<()> {
    ARTIFACTS
        .iter()
        .try_for_each(|artifact| compare_one(tools, artifact))
}

fn compare_one(tools: &Tools, artifact: &Artifact) -> Result<()> {
    let object = artifact.object;
    let committed = workspace::root().join(object);
    let committed =
        fs::read(&committed).with_context(|| format!("cannot read {}", committed.display()))?;
    let built = ebpf_build::build(tools, artifact)?;
    if built.object != committed {
        let name = Path::new(object).file_name().unwrap_or_default();
        let copy = workspace::store().join(name);
        fs::write(&copy, &built.object)
            .with_context(|| format!("cannot write {}", copy.display()))?;
        bail!(
            "a fresh build has other bytes ({}, sha256 {}) than the committed {object}.\n\
             Remedy: run `cargo xtask ebpf` and commit cgn-user/bpf and tests/bpf.",
            copy.display(),
            sha256(&built.object)
        );
    }
    note(format_args!(
        "{object}: {} bytes, sha256 {}",
        committed.len(),
        sha256(&committed)
    ));
    Ok(())
}

fn rebuild() -> Result<()> {
    let tools = Tools::find()?;
    ARTIFACTS.iter().try_for_each(|artifact| {
        step(format_args!("compiling {}", artifact.object), || {
            store(artifact, &ebpf_build::build(&tools, artifact)?)
        })
    })
}

/// Writes a built object and its record to where they are committed.
fn store(artifact: &Artifact, built: &Built) -> Result<()> {
    let root = workspace::root();
    let object = root.join(artifact.object);
    if let Some(folder) = object.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(&object, &built.object)
        .with_context(|| format!("cannot write {}", object.display()))?;
    let mut tools = BTreeMap::from([
        ("rustc".to_owned(), workspace::rustc_version()?),
        ("bpf-linker".to_owned(), bpf_linker::VERSION.to_owned()),
        ("flags".to_owned(), flags()),
    ]);
    tools.extend(features(artifact).map(|features| ("features".to_owned(), features)));
    Record::take(&root, artifact, &built.sources, tools)?.write(&root, artifact)?;
    note(format_args!(
        "{}: {} bytes, sha256 {}",
        artifact.object,
        built.object.len(),
        sha256(&built.object)
    ));
    Ok(())
}

fn flags() -> String {
    FLAGS.join(" ")
}

/// The record's line on features; none for an object without.
fn features(artifact: &Artifact) -> Option<String> {
    (!artifact.features.is_empty()).then(|| artifact.features.to_owned())
}
