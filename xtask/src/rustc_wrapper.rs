//! Stands between cargo and rustc while the BPF object is built.
//!
//! Cargo derives `-C metadata` of a path package from its absolute path, and rustc puts that number
//! into every symbol name. For the BPF target it is replaced by the crate's name, version and
//! features, so that the object has the same bytes whatever folder the clone, cargo's home and the
//! sources of `core` are in.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

/// Environment variable that makes this program act as the wrapper.
pub const SWITCH: &str = "CGN_XTASK_RUSTC_WRAPPER";

/// Becomes the rustc that cargo named as first argument.
pub fn run() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(rustc) = args.next() else {
        eprintln!("error: {SWITCH} is set, but cargo gave no compiler to run");
        return ExitCode::FAILURE;
    };
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let args = rewrite_metadata(args.collect(), &version);
    let error = Command::new(&rustc).args(args).env_remove(SWITCH).exec();
    eprintln!("error: cannot start {rustc}: {error}");
    ExitCode::FAILURE
}

/// Replaces the value of `-C metadata` where the crate is compiled for BPF.
fn rewrite_metadata(mut args: Vec<String>, version: &str) -> Vec<String> {
    let after = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    let target = after("--target").unwrap_or_default();
    let Some(crate_name) = after("--crate-name") else {
        return args;
    };
    if !target.starts_with("bpf") {
        return args;
    }
    let mut features: Vec<String> = args
        .iter()
        .filter_map(|arg| arg.strip_prefix("feature=\""))
        .map(|feature| feature.trim_end_matches('"').to_owned())
        .collect();
    features.sort();
    let stable = format!("metadata={crate_name}-{version}-{}", features.join("+"));
    for arg in &mut args {
        if arg.starts_with("metadata=") {
            arg.clone_from(&stable);
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::rewrite_metadata;

    fn args(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn metadata_no_longer_depends_on_the_path() {
        let cases = [
            (
                "a BPF crate gets its name and version",
                "--crate-name core lib.rs -C metadata=17 --target bpfel-unknown-none",
                "--crate-name core lib.rs -C metadata=core-0.1.0- --target bpfel-unknown-none",
            ),
            (
                "features tell two builds of a crate apart, in any order",
                r#"--crate-name a --cfg feature="y" --cfg feature="x" -C metadata=1 --target bpfel-unknown-none"#,
                r#"--crate-name a --cfg feature="y" --cfg feature="x" -C metadata=a-0.1.0-x+y --target bpfel-unknown-none"#,
            ),
            (
                "a build script or macro for the host is left alone",
                "--crate-name build_script_build -C metadata=17",
                "--crate-name build_script_build -C metadata=17",
            ),
            ("a question about the compiler is left alone", "-vV", "-vV"),
        ];
        for (sentence, given, wanted) in cases {
            assert_eq!(
                rewrite_metadata(args(given), "0.1.0"),
                args(wanted),
                "{sentence}"
            );
        }
    }
}
