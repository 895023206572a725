//! Plain lists of prefixes, as blocklists are published: one a line, remarks behind `#` or `;`.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use super::Checked;
use super::fault::{ConfigErrors, Fault, Findings};
use super::place::KeyPath;

/// An IPv4 network of 1 to 32 bits, without host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: Ipv4Addr,
    pub length: u8,
}

impl Network {
    /// First and last address, in host order.
    #[must_use]
    pub fn range(&self) -> (u32, u32) {
        let first = self.address.to_bits();
        (first, first | host_bits(self.length))
    }
}

const fn host_bits(length: u8) -> u32 {
    match u32::MAX.checked_shr(length as u32) {
        Some(bits) => bits,
        None => 0,
    }
}

/// What the files of one rule hold; empty without a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleLists {
    pub source: Vec<Network>,
    pub destination: Vec<Network>,
}

/// Most prefixes in the files of all rules: they fill 200 MB of tables at worst.
pub const MOST_PREFIXES: usize = 1_000_000;

/// Reads a list.
///
/// # Errors
/// Number of the line, counted from 1, and what stands there.
pub fn parse(text: &str) -> Result<Vec<Network>, (usize, String)> {
    let lines = text.lines().enumerate().filter_map(|(number, line)| {
        let entry = line.split(['#', ';']).next().unwrap_or_default().trim();
        (!entry.is_empty()).then(|| network(entry).ok_or_else(|| (number + 1, entry.to_owned())))
    });
    lines.collect()
}

fn network(text: &str) -> Option<Network> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, length.parse().ok()?),
        None => (text, 32),
    };
    let address: Ipv4Addr = address.parse().ok()?;
    let is_right = (1..=32).contains(&length) && address.to_bits() & host_bits(length) == 0;
    is_right.then_some(Network { address, length })
}

impl Checked {
    /// Reads the files that rules name; `read` asks the machine.
    ///
    /// # Errors
    /// A file that cannot be read, the first line of each that is no prefix, or too many of them.
    pub fn read_lists(
        mut self,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, ConfigErrors> {
        let mut findings = Findings::default();
        let mut lists = vec![RuleLists::default(); self.config.rule.len()];
        for (index, (rule, lists)) in self.config.rule.iter().zip(&mut lists).enumerate() {
            for (name, file, list) in [
                ("source_file", &rule.source_file, &mut lists.source),
                (
                    "destination_file",
                    &rule.destination_file,
                    &mut lists.destination,
                ),
            ] {
                if file.as_os_str().is_empty() {
                    continue;
                }
                match read_list(file, &read) {
                    Ok(networks) => *list = networks,
                    Err(fault) => {
                        findings.add(KeyPath::from(format!("rule[{index}].{name}")), fault);
                    }
                }
            }
        }
        let count = lists
            .iter()
            .map(|l| l.source.len() + l.destination.len())
            .sum();
        if count > MOST_PREFIXES {
            let most = MOST_PREFIXES;
            findings.add("rule".into(), Fault::TooManyPrefixes { count, most });
        }
        self.lists = lists;
        match findings.into_problems(&self.places) {
            none if none.is_empty() => Ok(self),
            problems => Err(ConfigErrors::new(problems)),
        }
    }
}

fn read_list(
    file: &Path,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Vec<Network>, Fault> {
    let path = file.to_owned();
    let text = read(file).map_err(|error| Fault::ListUnreadable {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    let list = parse(&text).map_err(|(line, text)| Fault::NotAPrefix {
        path: path.clone(),
        line,
        text,
    })?;
    // It would fit everything.
    match list.is_empty() {
        true => Err(Fault::EmptyPrefixList { path }),
        false => Ok(list),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_published() {
        let text = "# a list\n192.0.2.0/24 ; SBL1\n\n  198.51.100.7  # one host\n10.0.0.0/7\r\n";
        let networks = parse(text).map(|list| list.iter().map(Network::range).collect::<Vec<_>>());
        let expected = [
            (0xc000_0200, 0xc000_02ff),
            (0xc633_6407, 0xc633_6407),
            (0x0a00_0000, 0x0bff_ffff),
        ];
        assert_eq!(networks, Ok(expected.to_vec()));
    }

    #[test]
    fn what_is_no_prefix_is_told_with_its_line() {
        for (text, line) in [
            ("192.0.2.1/24", 1),
            ("# x\n192.0.2.0/33", 2),
            ("0.0.0.0/0", 1),
            ("1.2.3.4\nexample.org", 2),
            ("2001:db8::/32", 1),
        ] {
            assert_eq!(parse(text).expect_err(text).0, line, "{text}");
        }
    }
}
