//! Names of realms. A record has the number of its subscriber's realm; which name that number
//! stands for is written down here once, before the first record that has it, and for ever.
//!
//! `realms.jsonl` in the log's directory has one line for each: `{"time":
//! "2026-03-03T14:03:07.123Z", "number": 1, "name": "mvno"}`. Numbers go up from 1; 0 is the
//! first realm, which has no name. A line counts with its end. A realm that got another name is
//! another one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::realms::FIRST_NAME;
use crate::utc::Utc;

const NAME: &str = "realms.jsonl";

/// Names that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RealmsError {
    #[error("cannot use the names of realms, {path}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("line {line} of {path} is no name of a realm: get the file from a copy", path = path.display())]
    Line { path: PathBuf, line: usize },
    #[error("the records of deterministic maps are of a realm {name:?}, which {path} does not name: get the file from a copy", path = NAME)]
    Unnamed { name: String },
    #[error("the log has named 65535 realms: begin a new one (log.directory)")]
    Full,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    time: String,
    number: u16,
    name: String,
}

/// All names of a log, by number from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    names: Vec<String>,
}

impl Register {
    /// The names in the log's directory `root`; none if it has no such file.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read(root: &Path) -> Result<Self, RealmsError> {
        Ok(read(root)?.0)
    }

    /// The same with numbers for all of `names`; new ones are brought to the disk.
    ///
    /// # Errors
    /// They cannot be read or written.
    pub fn with<'a>(
        root: &Path,
        names: impl Iterator<Item = &'a str>,
        unix_ms: u64,
    ) -> Result<Self, RealmsError> {
        let (mut register, whole) = read(root)?;
        let mut text = String::new();
        for name in names {
            if register.number(name).is_some() {
                continue;
            }
            register.names.push(name.to_owned());
            let line = Line {
                time: Utc(unix_ms).to_string(),
                number: u16::try_from(register.names.len()).map_err(|_| RealmsError::Full)?,
                name: name.to_owned(),
            };
            text += &serde_json::to_string(&line).unwrap_or_default();
            text.push('\n');
        }
        if !text.is_empty() {
            append(root, whole, &text).map_err(|source| {
                let path = root.join(NAME);
                RealmsError::Io { path, source }
            })?;
        }
        Ok(register)
    }

    /// These names, in the order of their numbers.
    #[cfg(test)]
    pub fn of(names: &[&str]) -> Self {
        let names = names.iter().map(ToString::to_string).collect();
        Self { names }
    }

    /// Number of a realm; None if it was never named.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u16> {
        if name == FIRST_NAME {
            return Some(0);
        }
        let at = self.names.iter().position(|known| known == name)?;
        u16::try_from(at + 1).ok()
    }

    /// Name of the realm with this number. Where the file is missing, the number has to do.
    #[must_use]
    pub fn name(&self, number: u16) -> String {
        match usize::from(number).checked_sub(1) {
            None => FIRST_NAME.to_owned(),
            Some(at) => match self.names.get(at) {
                Some(name) => name.clone(),
                None => format!("#{number}"),
            },
        }
    }

    /// Each number with its name, but for the first realm.
    pub fn named(&self) -> impl Iterator<Item = (u16, &str)> {
        (1..=u16::MAX).zip(self.names.iter().map(String::as_str))
    }

    /// True if the number has a name.
    #[must_use]
    pub fn has(&self, number: u16) -> bool {
        usize::from(number) <= self.names.len()
    }
}

/// The names, and how many bytes of the file are whole lines.
fn read(root: &Path) -> Result<(Register, u64), RealmsError> {
    let path = root.join(NAME);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|source| RealmsError::Io {
            path: path.clone(),
            source,
        })?,
    };
    // What has no end was never acknowledged.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let mut names = Vec::new();
    for (at, line) in text[..whole].lines().enumerate() {
        match serde_json::from_str::<Line>(line) {
            Ok(line) if usize::from(line.number) == at + 1 => names.push(line.name),
            _ => return Err(RealmsError::Line { path, line: at + 1 }),
        }
    }
    Ok((Register { names }, whole as u64))
}

fn append(root: &Path, whole: u64, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true).mode(0o640);
    let mut file = options.open(root.join(NAME))?;
    // A line that was never all written.
    file.set_len(whole)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    File::open(root)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let name = format!("cgn-realms-{}-{name}", std::process::id());
            let root = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).unwrap();
            Self(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_number_keeps_its_name_whatever_becomes_of_the_configuration() {
        let root = Root::new("keeps");
        let with = |names: &[&str]| Register::with(&root.0, names.iter().copied(), 0).unwrap();
        let cases: [(&[&str], &str, Option<u16>); 6] = [
            (&[], "mvno", None),
            (&["mvno", "cloud"], "mvno", Some(1)),
            (&["cloud"], "cloud", Some(2)),
            (&["new", "mvno"], "new", Some(3)),
            (&["new", "mvno"], "mvno", Some(1)),
            (&[], FIRST_NAME, Some(0)),
        ];
        for (names, asked, number) in cases {
            assert_eq!(with(names).number(asked), number, "{asked} of {names:?}");
        }
        let read = Register::read(&root.0).unwrap();
        let told: Vec<_> = (0..5).map(|number| read.name(number)).collect();
        assert_eq!(told, ["", "mvno", "cloud", "new", "#4"]);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_damage_is_told() {
        let root = Root::new("torn");
        let path = root.0.join(NAME);
        Register::with(&root.0, ["mvno"].into_iter(), 0).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{}", &whole[..20])).unwrap();
        let register = Register::with(&root.0, ["cloud"].into_iter(), 0).unwrap();
        assert_eq!(register.number("cloud"), Some(2));
        assert_eq!(Register::read(&root.0).unwrap(), register);
        for damaged in [
            whole.replace("\"number\":1", "\"number\":2"),
            "\n".to_owned(),
        ] {
            fs::write(&path, damaged).unwrap();
            let read = Register::read(&root.0);
            assert!(matches!(read, Err(RealmsError::Line { line: 1, .. })));
        }
    }
}
