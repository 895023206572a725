//! Reads classic capture files (the format of `pcap-savefile(5)`).

use std::fs;
use std::path::{Path, PathBuf};

/// Link type of Ethernet.
pub const ETHERNET: u32 = 1;

/// Frames of one file.
#[derive(Debug, Default)]
pub struct Capture {
    pub link_type: u32,
    pub frames: Vec<Vec<u8>>,
}

/// Why a file has no frames for us.
#[derive(Debug, PartialEq, Eq)]
pub enum NotRead {
    /// Another format (pcapng, for one).
    OtherFormat,
    /// The file ends within its header.
    Truncated,
}

/// Reads a capture from memory. A torn record ends it: captures of attacks lie
/// about their lengths, too.
///
/// # Errors
/// See [`NotRead`].
pub fn parse(bytes: &[u8]) -> Result<Capture, NotRead> {
    let magic: [u8; 4] = bytes
        .get(..4)
        .and_then(|b| b.try_into().ok())
        .ok_or(NotRead::Truncated)?;
    let big = match magic {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => false,
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => true,
        _ => return Err(NotRead::OtherFormat),
    };
    let word = |at: usize| {
        let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    };
    // The upper bits say how long the frame check sequence is.
    let link_type = word(20).ok_or(NotRead::Truncated)? & 0x0fff_ffff & 0xffff;
    let mut frames = Vec::new();
    let mut at = 24;
    while let Some(length) = word(at + 8) {
        let start = at + 16;
        let Some(frame) = bytes.get(start..start.saturating_add(length as usize)) else {
            break;
        };
        frames.push(frame.to_vec());
        at = start + length as usize;
    }
    Ok(Capture { link_type, frames })
}

/// Every file below `folder`, sorted.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(magic: u32, big: bool, frames: &[&[u8]]) -> Vec<u8> {
        let word = |w: u32| {
            if big {
                w.to_be_bytes()
            } else {
                w.to_le_bytes()
            }
        };
        let mut bytes = Vec::new();
        for w in [magic, 0x0004_0002, 0, 0, 65_535, ETHERNET] {
            bytes.extend(word(w));
        }
        for frame in frames {
            for w in [1, 2, frame.len() as u32, frame.len() as u32] {
                bytes.extend(word(w));
            }
            bytes.extend(*frame);
        }
        bytes
    }

    #[test]
    fn both_byte_orders_and_resolutions_are_read() {
        for (magic, big) in [
            (0xa1b2_c3d4, false),
            (0xa1b2_c3d4, true),
            (0xa1b2_3c4d, false),
            (0xa1b2_3c4d, true),
        ] {
            let capture = parse(&file(magic, big, &[b"one", b"three"])).unwrap();
            assert_eq!(capture.link_type, ETHERNET);
            assert_eq!(capture.frames, [b"one".to_vec(), b"three".to_vec()]);
        }
    }

    #[test]
    fn a_torn_record_ends_the_capture_and_other_formats_are_told() {
        let mut torn = file(0xa1b2_c3d4, false, &[b"one", b"three"]);
        torn.pop();
        assert_eq!(parse(&torn).unwrap().frames, [b"one".to_vec()]);
        assert_eq!(
            parse(b"\x0a\x0d\x0d\x0a....").unwrap_err(),
            NotRead::OtherFormat
        );
        assert_eq!(parse(b"").unwrap_err(), NotRead::Truncated);
    }
}
