//! Compiles `cgn-ebpf` for BPF with the stable compiler, the same bytes from any folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::object_record::Artifact;
use crate::step;
use crate::strip::strip_debug;
use crate::{bpf_linker, core_sources, rustc_wrapper, workspace};

/// Target triple of the object: BPF, little-endian.
const TARGET: &str = "bpfel-unknown-none";

/// What every build passes to rustc; part of the object's record.
pub const FLAGS: &[&str] = &[
    // BTF is made from debug information, so the compiler must write it; it is stripped afterwards.
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    // 32-bit ALU and jumps: Linux 5.1 and later.
    "-Ctarget-cpu=v3",
    // Packets are not aligned, and the kernels that we run on read them so: without this each u32
    // is put together from four bytes.
    "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
    // aya-ebpf would otherwise take the machine that compiles.
    "--cfg=bpf_target_arch=\"x86_64\"",
];

/// What a build needs beyond the plain toolchain.
pub struct Tools {
    library: PathBuf,
    linker: PathBuf,
}

/// A freshly built object and the files of this repository that went into it.
pub struct Built {
    pub object: Vec<u8>,
    pub sources: BTreeSet<PathBuf>,
}

impl Tools {
    /// The tools that are here; the error names what is missing and how to get it.
    pub fn find() -> Result<Self> {
        let library = core_sources::find()?
            .context("the sources of core are missing; remedy: cargo xtask setup")?;
        let linker = bpf_linker::find().with_context(|| {
            format!(
                "bpf-linker {} is missing; remedy: cargo xtask setup",
                bpf_linker::VERSION
            )
        })?;
        Ok(Self { library, linker })
    }
}

/// The package's own workspace, apart from the one that is built for the host.
pub fn package_dir() -> PathBuf {
    workspace::root().join("cgn-ebpf")
}

fn target_dir() -> PathBuf {
    workspace::store().join("ebpf")
}

/// Compiles one object, without DWARF. Builds with other features of the same binary target leave
/// their result at the same place, so it is read at once.
pub fn build(tools: &Tools, artifact: &Artifact) -> Result<Built> {
    lock()?;
    let Artifact {
        binary, features, ..
    } = artifact;
    step::run(cargo(tools, "build")?.args(["--bin", binary, "--features", features]))?;
    let output = target_dir().join(TARGET).join("release");
    let linked = output.join(binary);
    let object = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    let dep_info = output.join(format!("{binary}.d"));
    let text = fs::read_to_string(&dep_info)
        .with_context(|| format!("cannot read {}", dep_info.display()))?;
    Ok(Built {
        object: strip_debug(&object)?,
        sources: parse_dep_info(&text, &workspace::root())?,
    })
}

/// Runs clippy over the BPF crate, with and without its features; needs core's sources but no linker.
pub fn clippy(tools: &Tools) -> Result<()> {
    lock()?;
    let refuse = ["--", "-D", "warnings"];
    step::run(cargo(tools, "clippy")?.args(refuse))?;
    step::run(cargo(tools, "clippy")?.arg("--all-features").args(refuse))
}

/// Makes the lock file on the first build ever; it is committed from then on.
fn lock() -> Result<()> {
    if package_dir().join("Cargo.lock").is_file() {
        return Ok(());
    }
    step::note("cgn-ebpf/Cargo.lock is not there yet: writing it (commit it with the object)");
    step::run(
        workspace::cargo()
            .arg("generate-lockfile")
            .current_dir(package_dir()),
    )
}

/// A cargo command for the BPF target that the settings of this machine cannot change.
fn cargo(tools: &Tools, subcommand: &str) -> Result<Command> {
    let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    for (from, to) in remaps(tools)? {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    }
    let wrapper = std::env::current_exe().context("cannot find this program's own file")?;
    let linker_dir = tools.linker.parent().map(Path::to_path_buf);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(linker_dir.into_iter().chain(std::env::split_paths(&path)))
        .context("a folder of PATH has a colon in its name")?;
    let mut command = workspace::cargo();
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "RUSTC_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(package_dir())
        .args([subcommand, "--release", "--locked"])
        .args(["-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(target_dir())
        .env("RUSTC_WRAPPER", wrapper)
        .env(rustc_wrapper::SWITCH, "1")
        .env("PATH", path)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", &tools.library)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    Ok(command)
}

/// Which folders get fixed names in the object. rustc takes the last one that fits, so a folder
/// that may lie inside another one comes later.
fn remaps(tools: &Tools) -> Result<Vec<(PathBuf, &'static str)>> {
    let mut remaps = vec![(workspace::root(), "/cgn")];
    remaps.extend(registries()?.into_iter().map(|dir| (dir, "/crates")));
    remaps.push((tools.library.clone(), "/rust/library"));
    Ok(remaps)
}

/// Folders that hold the unpacked dependencies; as cargo names them, as they differ with its
/// version, its home and a mirror.
fn registries() -> Result<BTreeSet<PathBuf>> {
    let text = step::capture(workspace::cargo().current_dir(package_dir()).args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?;
    Ok(packages
        .iter()
        .filter(|package| package["source"].is_string())
        .filter_map(|package| package["manifest_path"].as_str())
        .filter_map(|manifest| Some(Path::new(manifest).parent()?.parent()?.to_path_buf()))
        .collect())
}

/// Files of the repository that the compiler read, relative to its top, from cargo's dep-info
/// (`target: file file ...`, a space in a name written as `\ `).
fn parse_dep_info(text: &str, root: &Path) -> Result<BTreeSet<PathBuf>> {
    let (_, files) = text
        .lines()
        .next()
        .and_then(|line| line.split_once(": "))
        .context("cargo's dep-info has no list of files")?;
    let files: BTreeSet<PathBuf> = files
        .replace("\\ ", "\0")
        .split(' ')
        .map(|file| PathBuf::from(file.replace('\0', " ")))
        .filter_map(|file| file.strip_prefix(root).ok().map(Path::to_path_buf))
        .collect();
    if files.is_empty() {
        bail!("cargo's dep-info names no file of this repository");
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::parse_dep_info;
    use std::path::{Path, PathBuf};

    #[test]
    fn sources_are_the_files_that_the_compiler_read() {
        let text = "/a b/target/cgn: /a\\ b/cgn-ebpf/src/main.rs /a\\ b/cgn-common/src/lib.rs /other/lib.rs\n\n/x:\n";
        let sources = parse_dep_info(text, Path::new("/a b")).expect("well-formed");
        let wanted = ["cgn-common/src/lib.rs", "cgn-ebpf/src/main.rs"].map(PathBuf::from);
        assert!(sources.iter().eq(&wanted), "{sources:?}");
    }

    #[test]
    fn an_empty_list_is_an_error() {
        assert!(parse_dep_info("/a/cgn: /other/lib.rs\n", Path::new("/a")).is_err());
        assert!(parse_dep_info("", Path::new("/a")).is_err());
    }
}
