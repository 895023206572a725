//! `cargo xtask ebpf`: rebuilds the committed BPF object; with `--check`, proves that object and
//! sources belong together.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::ebpf_build::{self, FLAGS, Tools};
use crate::object_record::{OBJECT, Record, sha256};
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
    let record = step("BPF object: recorded checksums", check_record)?;
    match tools_like(&record) {
        Ok(tools) => step("BPF object: fresh build, same bytes", || compare(&tools)),
        Err(error) if must_rebuild => Err(error),
        Err(error) => {
            note(format_args!("no fresh build to compare with: {error:#}"));
            Ok(())
        }
    }
}

fn check_record() -> Result<Record> {
    let root = workspace::root();
    let record = Record::read(&root)?;
    let mut differences = record.differences(&root);
    if record.tools.get("flags") != Some(&flags()) {
        differences.push("the build flags in xtask/src/ebpf_build.rs have changed".to_owned());
    }
    if !differences.is_empty() {
        bail!(
            "the committed object and its sources do not belong together:\n  {}\n\
             Remedy: run `cargo xtask ebpf` and commit cgn-user/bpf with the sources.",
            differences.join("\n  ")
        );
    }
    note(format_args!("{} files as recorded", record.files.len()));
    Ok(record)
}

/// The tools for a fresh build; an error when another compiler than the recorded one is in use,
/// because its object may rightly differ.
fn tools_like(record: &Record) -> Result<Tools> {
    let here = workspace::rustc_version()?;
    let recorded = record.tools.get("rustc").map_or("nothing", String::as_str);
    if here != recorded {
        bail!("the object was built by {recorded}, and here is {here}");
    }
    Tools::find()
}

fn compare(tools: &Tools) -> Result<()> {
    let committed = workspace::root().join(OBJECT);
    let committed =
        fs::read(&committed).with_context(|| format!("cannot read {}", committed.display()))?;
    let built = ebpf_build::build(tools)?;
    if built.object != committed {
        let copy = workspace::store().join("cgn.bpf.o");
        fs::write(&copy, &built.object)
            .with_context(|| format!("cannot write {}", copy.display()))?;
        bail!(
            "a fresh build has other bytes ({}, sha256 {}) than the committed {OBJECT}.\n\
             Remedy: run `cargo xtask ebpf` and commit cgn-user/bpf.",
            copy.display(),
            sha256(&built.object)
        );
    }
    note(format_args!(
        "{} bytes, sha256 {}",
        committed.len(),
        sha256(&committed)
    ));
    Ok(())
}

fn rebuild() -> Result<()> {
    let root = workspace::root();
    let tools = Tools::find()?;
    let built = step("compiling cgn-ebpf for BPF", || ebpf_build::build(&tools))?;
    let object = root.join(OBJECT);
    if let Some(folder) = object.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(&object, &built.object)
        .with_context(|| format!("cannot write {}", object.display()))?;
    let tools = BTreeMap::from([
        ("rustc".to_owned(), workspace::rustc_version()?),
        ("bpf-linker".to_owned(), bpf_linker::VERSION.to_owned()),
        ("flags".to_owned(), flags()),
    ]);
    Record::take(&root, &built.sources, tools)?.write(&root)?;
    note(format_args!(
        "{OBJECT}: {} bytes, sha256 {}",
        built.object.len(),
        sha256(&built.object)
    ));
    Ok(())
}

fn flags() -> String {
    FLAGS.join(" ")
}
