//! Puts what a part printed between its markers in docs/performance.md, with the command, the
//! machine and its kernel, and the plot of it.

use std::ffi::OsString;
use std::fs;

use anyhow::{Context as _, Result};

use crate::workspace;

/// From the top folder.
const DOCUMENT: &str = "docs/performance.md";
const PLOTS: &str = "docs/plots";
/// Parts that draw one.
const DRAWN: [&str; 3] = ["micro", "rig", "rfc9693"];

/// Path of a part's plot from the top folder, which is made; None if it has none.
pub fn plot(part: &str) -> Result<Option<String>> {
    if !DRAWN.contains(&part) {
        return Ok(None);
    }
    fs::create_dir_all(workspace::root().join(PLOTS)).context("cannot make docs/plots")?;
    Ok(Some(format!("{PLOTS}/{part}.svg")))
}

/// Writes the section of a part.
pub fn write(part: &str, args: &[OsString], printed: &str, plot: Option<&str>) -> Result<()> {
    let path = workspace::root().join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let command = format!("bench {part} {}", args.join(" "));
    // The document is in docs, too.
    let plot = plot.and_then(|plot| plot.strip_prefix("docs/"));
    let plot = plot.map_or_else(String::new, |plot| format!("\n![{part}]({plot})\n"));
    let section = format!(
        "`cargo xtask {}`; {}:\n\n```text\n{}\n```\n{plot}",
        command.trim_end(),
        machine(),
        printed.trim_end()
    );
    let changed = replaced(&text, part, &section)
        .with_context(|| format!("{DOCUMENT} has no <!-- {part} --> and <!-- /{part} -->"))?;
    fs::write(&path, changed).with_context(|| format!("cannot write {DOCUMENT}"))?;
    eprintln!("==> wrote {DOCUMENT}");
    Ok(())
}

/// `text` with `section` between the markers of `part`; None without them.
fn replaced(text: &str, part: &str, section: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {part} -->\n"), format!("<!-- /{part} -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{section}{end}{after}"))
}

/// Processors, model and kernel, as the machine says.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let count = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("processors", |(_, model)| model);
    let guest = if info.contains("hypervisor") {
        ", a virtual machine"
    } else {
        ""
    };
    let kernel = read("/proc/sys/kernel/osrelease");
    let release: String = kernel
        .trim()
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    format!(
        "{count} x {model}{guest}, Linux {}",
        release.trim_end_matches('.')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_of_a_part_changes() {
        let text =
            "a\n<!-- rig -->\nold\n<!-- /rig -->\nb\n<!-- micro -->\nkept\n<!-- /micro -->\n";
        assert_eq!(
            replaced(text, "rig", "new\n").as_deref(),
            Some("a\n<!-- rig -->\nnew\n<!-- /rig -->\nb\n<!-- micro -->\nkept\n<!-- /micro -->\n")
        );
        assert_eq!(replaced(text, "control", "new\n"), None);
    }
}
