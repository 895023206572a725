//! `cgn check`.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;

use crate::config::Checked;
use crate::config::schema::{Pool, PortMode};
use crate::dataplane::interface;

use super::Check;
use super::config_file::{ConfigFileError, read_config};

/// Exit code of a configuration with errors.
const HAS_ERRORS: u8 = 2;

/// Checks a configuration file: warnings and errors to stderr, one a line;
/// what it provides to stdout. Exit code 2 with errors.
#[must_use]
pub fn check(arguments: &Check) -> ExitCode {
    let exists = |name: &str| arguments.no_interfaces || interface::index_of(name).is_some();
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    match examine(&arguments.config, exists, &mut out, &mut err) {
        Ok(true) => ExitCode::SUCCESS,
        // Without an output, the exit code is all that can be said.
        Ok(false) | Err(_) => ExitCode::from(HAS_ERRORS),
    }
}

/// True for a configuration without errors.
pub(super) fn examine(
    path: &Path,
    exists: impl Fn(&str) -> bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let file = path.display().to_string();
    let checked = match read_config(path) {
        Ok(checked) => checked,
        Err(error) => {
            writeln!(err, "{error}")?;
            if let ConfigFileError::Wrong(errors) = &error {
                writeln!(err, "{file}: {}", counted(errors.problems().len(), "error"))?;
            }
            return Ok(false);
        }
    };
    for warning in &checked.warnings {
        writeln!(err, "warning: {}", warning.in_file(&file))?;
    }
    if let Err(missing) = checked.check_interfaces(exists) {
        let count = missing.problems().len();
        writeln!(err, "{}", missing.in_file(file.as_str()))?;
        writeln!(err, "{file}: {}", counted(count, "error"))?;
        return Ok(false);
    }
    match checked.warnings.len() {
        0 => writeln!(out, "{file}: no errors")?,
        count => writeln!(out, "{file}: no errors, {}", counted(count, "warning"))?,
    }
    writeln!(out, "{}", checked.config.capacity())?;
    if uses_shared_space(&checked) {
        writeln!(out, "{SHARED_SPACE_HINT}")?;
    }
    for pool in checked.config.pool.iter().filter(|pool| is_guessed(pool)) {
        writeln!(out, "{}", resolver_hint(pool))?;
    }
    Ok(true)
}

/// Whether the source port of a resolver behind this pool is easier to guess than it need be (RFC 5452
/// section 9.2): it is one of few, all beside each other.
fn is_guessed(pool: &Pool) -> bool {
    pool.port_mode == PortMode::Contiguous && pool.block_ports < RESOLVER_PORTS
}

/// The largest block, and the ports that a resolver is better off with.
const RESOLVER_PORTS: u16 = 1024;

fn resolver_hint(pool: &Pool) -> String {
    let (name, ports) = (&pool.name, pool.block_ports);
    format!(
        "hint: pool {name}: a subscriber's own DNS resolver asks from {ports} ports beside each other, so who forges \
         answers to it guesses {} bits of its port; blocks of {RESOLVER_PORTS} or port_mode = \"scattered\" make that \
         harder, as DNSSEC does (RFC 6056, RFC 5452 section 9.2)",
        ports.ilog2()
    )
}

/// RFC 6598 section 4, of which a NAT sees nothing.
const SHARED_SPACE_HINT: &str = "hint: subscribers have addresses of 100.64.0.0/10: let your resolvers answer its reverse \
    zones, 64.100.in-addr.arpa to 127.100.in-addr.arpa, themselves (RFC 6598 section 4)";

fn uses_shared_space(checked: &Checked) -> bool {
    let (first, last) = (
        Ipv4Addr::new(100, 64, 0, 0),
        Ipv4Addr::new(100, 127, 255, 255),
    );
    let mut ranges = checked.subscribers.iter();
    ranges.any(|one| one.range.first() <= last && first <= one.range.last())
}

/// `1 error`, `2 errors`.
pub(super) fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
