//! `cargo xtask dist`: a Debian package of what a release build makes.
//!
//! The maintainer's scripts and the form of `control` are in `deploy/debian`; manual pages and
//! completions come from the program itself.

mod trial;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::step::{self, step};
use crate::{debian, programs, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Cargo's profile to build with
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
    /// Package this program, of the same source, instead of building one
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    program: Option<PathBuf>,
    /// Debian's revision of the package
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    revision: u32,
    /// Also install it in a container that boots a bare Debian with its systemd: start, reload,
    /// upgrade, kill, purge. Needs root
    #[arg(long)]
    test: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if !debian::has_apt() {
        bail!("a Debian package is made with Debian's programs; this is another distribution");
    }
    let missing = programs::ensure_dist()?;
    if !missing.is_empty() {
        bail!("the package needs {}", missing.join(", "));
    }
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build(&args.profile)?,
    };
    let package = make(&program, args.revision)?;
    println!("{}", package.display());
    if args.test {
        let next = make(&program, args.revision + 1)?;
        trial::run(&package, &next)?;
    }
    Ok(())
}

/// Builds the program.
fn build(profile: &str) -> Result<PathBuf> {
    step("building cgn", || {
        step::run(workspace::cargo().args([
            "build",
            "--profile",
            profile,
            "--package",
            "cgn-user",
            "--bin",
            "cgn",
        ]))
    })?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(workspace::target_dir().join(folder).join("cgn"))
}

/// Makes the package of `program`; returns its file.
fn make(program: &Path, revision: u32) -> Result<PathBuf> {
    let version = format!("{}-{revision}", env!("CARGO_PKG_VERSION"));
    let folder = workspace::target_dir().join("dist");
    let tree = folder.join(format!("tree-{revision}"));
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    let name = format!("cgn {version}");
    step(format!("package {name}"), || {
        let tree = Tree(tree.clone());
        fill(&tree, program)?;
        control(&tree, &version)?;
        let file = folder.join(format!("cgn_{version}_{}.deb", architecture()?));
        step::capture(
            Command::new("dpkg-deb")
                .args(["--build", "--root-owner-group"])
                .arg(&tree.0)
                .arg(&file),
        )?;
        Ok(file)
    })
}

/// The files of a package, as they will be on the machine.
struct Tree(PathBuf);

impl Tree {
    /// Writes a file with this mode, with the folders above it.
    fn put(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let file = self.0.join(path);
        let failed = || format!("cannot write {}", file.display());
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(failed)?;
        }
        fs::write(&file, content).with_context(failed)?;
        fs::set_permissions(&file, Permissions::from_mode(mode)).with_context(failed)
    }

    /// Copies a file of the repository.
    fn copy(&self, from: &str, to: &str, mode: u32) -> Result<()> {
        self.put(to, &read(&workspace::root().join(from))?, mode)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What is installed.
fn fill(tree: &Tree, program: &Path) -> Result<()> {
    tree.put("usr/bin/cgn", &read(program)?, 0o755)?;
    step::capture(Command::new("strip").arg(tree.0.join("usr/bin/cgn")))?;
    for unit in ["cgn.service", "cgn-announce.service"] {
        let text = String::from_utf8(read(&workspace::root().join("deploy").join(unit))?)?;
        let text = text.replace("/usr/local/bin/", "/usr/bin/");
        tree.put(
            &format!("lib/systemd/system/{unit}"),
            text.as_bytes(),
            0o644,
        )?;
    }
    let said = |arguments: &[&str]| step::capture(Command::new(program).args(arguments));
    for (shell, path) in [
        ("bash", "usr/share/bash-completion/completions/cgn"),
        ("zsh", "usr/share/zsh/vendor-completions/_cgn"),
        ("fish", "usr/share/fish/vendor_completions.d/cgn.fish"),
    ] {
        tree.put(path, said(&["completions", shell])?.as_bytes(), 0o644)?;
    }
    let documents = "usr/share/doc/cgn";
    tree.copy(
        "deploy/debian/copyright",
        &format!("{documents}/copyright"),
        0o644,
    )?;
    tree.copy("CHANGELOG.md", &format!("{documents}/changelog"), 0o644)?;
    tree.copy("README.md", &format!("{documents}/README.md"), 0o644)?;
    copy_folder(tree, "docs", &format!("{documents}/docs"))?;
    let examples = format!("{documents}/examples");
    tree.put(
        &format!("{examples}/cgn.toml"),
        said(&["sample-config"])?.as_bytes(),
        0o644,
    )?;
    for folder in ["prometheus", "grafana", "clickhouse"] {
        copy_folder(
            tree,
            &format!("deploy/{folder}"),
            &format!("{examples}/{folder}"),
        )?;
    }
    // Where the configuration goes; it names keys, so others have no business there.
    let settings = tree.0.join("etc/cgn");
    fs::create_dir_all(&settings)?;
    fs::set_permissions(&settings, Permissions::from_mode(0o750))?;
    manual(tree, program)?;
    for file in [
        format!("{documents}/changelog"),
        format!("{documents}/docs/rfc.md"),
    ] {
        compress(&tree.0.join(file))?;
    }
    Ok(())
}

fn manual(tree: &Tree, program: &Path) -> Result<()> {
    let folder = tree.0.join("usr/share/man/man1");
    fs::create_dir_all(&folder)?;
    step::capture(Command::new(program).arg("manual").arg(&folder))?;
    for page in fs::read_dir(&folder)? {
        compress(&page?.path())?;
    }
    Ok(())
}

/// As Debian wants it: the same bytes each time.
fn compress(file: &Path) -> Result<()> {
    step::capture(Command::new("gzip").args(["-9", "--no-name"]).arg(file)).map(drop)
}

fn copy_folder(tree: &Tree, from: &str, to: &str) -> Result<()> {
    let folder = workspace::root().join(from);
    let entries = fs::read_dir(&folder);
    for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (from, to) = (format!("{from}/{name}"), format!("{to}/{name}"));
        match entry.file_type()?.is_dir() {
            true => copy_folder(tree, &from, &to)?,
            false => tree.copy(&from, &to, 0o644)?,
        }
    }
    Ok(())
}

/// What dpkg reads.
fn control(tree: &Tree, version: &str) -> Result<()> {
    for script in ["postinst", "prerm", "postrm"] {
        tree.copy(
            &format!("deploy/debian/{script}"),
            &format!("DEBIAN/{script}"),
            0o755,
        )?;
    }
    let form = read(&workspace::root().join("deploy/debian/control"))?;
    let size = step::capture(
        Command::new("du")
            .args(["--summarize", "--apparent-size", "--block-size=1024"])
            .arg(&tree.0),
    )?;
    let size = size.split_whitespace().next().unwrap_or("0");
    let text = String::from_utf8(form)?
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", &architecture()?)
        .replace("@SIZE@", size)
        .replace("@DEPENDS@", &dependencies(tree)?);
    tree.put("DEBIAN/control", text.as_bytes(), 0o644)?;
    let sums = step::capture(
        Command::new("sh")
            .args([
                "-c",
                "find . -type f ! -path './DEBIAN/*' -printf '%P\\0' | sort -z | xargs -0 md5sum",
            ])
            .current_dir(&tree.0),
    )?;
    tree.put("DEBIAN/md5sums", sums.as_bytes(), 0o644)
}

fn architecture() -> Result<String> {
    let text = step::capture(Command::new("dpkg").arg("--print-architecture"))?;
    Ok(text.trim().to_owned())
}

/// The libraries that the program is linked with, and their versions, as Debian's own tool finds them.
fn dependencies(tree: &Tree) -> Result<String> {
    let folder = workspace::target_dir().join("dist/shlibdeps");
    fs::create_dir_all(folder.join("debian"))?;
    fs::write(
        folder.join("debian/control"),
        "Source: cgn\n\nPackage: cgn\nArchitecture: any\n",
    )?;
    let found = step::capture(
        Command::new("dpkg-shlibdeps")
            .args(["-O", "-e"])
            .arg(tree.0.join("usr/bin/cgn"))
            .current_dir(&folder),
    )?;
    let line = found
        .lines()
        .find_map(|line| line.strip_prefix("shlibs:Depends="));
    line.map(str::to_owned)
        .with_context(|| format!("dpkg-shlibdeps said {found:?}"))
}
